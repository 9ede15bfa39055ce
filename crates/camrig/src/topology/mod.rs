//! The topology: which cameras and processors exist, who reads whom, and in which process each of them lives.
//!
//! A topology file is parsed once, by [`Topology::parse`], and every problem in it is reported at once. What
//! comes out holds no doubt: an input is an [`ActorId`], not a name that may be missing; a link is a place in
//! a list. It deliberately starts nothing and knows no process that runs, no device and no pixels: drivers
//! and kinds judge their own options through the [`Registry`].
//!
//! `section` reads one table, `parse` makes actors of tables, `graph` makes links and processes of actors,
//! `matching` says what a match of several cameras is, `metrics` where numbers are served, and `problem` says what is wrong.

mod builder;
mod draft;
mod graph;
mod matching;
mod metrics;
mod parse;
mod problem;
mod schema;
mod section;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use camrig_ipc::Overflow;
use camrig_status::ActorRole;
use camrig_usb::Budgets;

pub use self::builder::{ActorTable, TopologyBuilder};
pub use self::problem::Problems;
use self::problem::Source;
#[cfg(feature = "program")]
pub(crate) use self::schema::schema;
use crate::ids::{ActorId, ProcessId};
use crate::matching::MatchSpec;
use crate::metrics::MetricsSpec;
use crate::registry::{CameraOptions, Registry};
pub(crate) use camrig_ipc::protocol::Role;

/// The largest topology file, in bytes.
pub(crate) const FILE_BYTES_MAX: usize = 1024 * 1024;

/// The longest name of an actor or process, in bytes. Names become thread names, process names and log lines.
pub(crate) const NAME_BYTES_MAX: usize = 64;

/// The most actors of a topology.
pub(crate) const ACTORS_MAX: usize = 256;

/// The most inputs of one processor.
pub(crate) const INPUTS_MAX: usize = 64;

/// The most links from other processes into one process: each takes descriptors there, and a look at a ring.
pub(crate) const LINKS_INTO_PROCESS_MAX: usize = 256;

/// The most framesets that may wait at one input.
pub(crate) const QUEUE_MAX: usize = 32;

/// Framesets that may wait at one input unless the file says otherwise: one to work on next, one to arrive.
pub(crate) const QUEUE_DEFAULT: usize = 2;

/// Framesets of each camera that may wait for a match unless the file says otherwise: a quarter of a second at
/// 30 Hz.
pub(crate) const MATCH_QUEUE_DEFAULT: usize = 8;

/// The longest window of a match.
pub(crate) const MATCH_WINDOW_MILLIS_MAX: usize = 10_000;

/// The fewest slots: one to write into while another is read.
pub(crate) const SLOTS_MIN: usize = 2;

/// How often an actor is restarted within the window of its policy, unless the file says otherwise.
const RESTARTS_DEFAULT: usize = 5;

/// The most restarts within the window of a policy.
const RESTARTS_MAX: usize = 1_000;

/// The window of a restart policy, in seconds, unless the file says otherwise.
const WINDOW_SECONDS_DEFAULT: usize = 60;

/// The pause before the first restart in a row, and the longest one, unless the file says otherwise.
const BACKOFF_MILLIS_DEFAULT: usize = 100;
const BACKOFF_MAX_MILLIS_DEFAULT: usize = 5_000;

/// How long a camera may deliver nothing, and how long a processor may stay in one call.
const CAMERA_STALL_MILLIS_DEFAULT: usize = 5_000;
const PROCESSOR_STALL_MILLIS_DEFAULT: usize = 30_000;

/// How long a camera's device may be missing: an hour.
const DEVICE_TIMEOUT_MILLIS_DEFAULT: usize = 3_600_000;

/// The longest of all these times: a day.
const TIME_MILLIS_MAX: usize = 86_400_000;

/// The supervisor's own process.
pub(crate) const MAIN: &str = "main";

/// A stretch of the file's text, in bytes.
type Span = Range<usize>;

/// Where actors live that do not say so themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "program", derive(clap::ValueEnum))]
pub enum Placement {
    /// Every actor in this process, on a thread of its own
    InProcess,
    /// Every actor in a process of its own
    MultiProcess,
}

/// Returns the role of an actor as statuses and reports show it.
pub(crate) fn shown_role(role: &Role) -> ActorRole {
    match role {
        Role::Camera { .. } => ActorRole::Camera,
        Role::Processor { .. } => ActorRole::Processor,
    }
}

/// What becomes of an actor that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RestartPolicy {
    /// It is restarted so often within the window; with 0 every failure is for good.
    pub(crate) max: usize,
    pub(crate) window: Duration,
    /// The pause before the first restart. It doubles from restart to restart, as long as none of them helps.
    pub(crate) backoff: Duration,
    pub(crate) backoff_max: Duration,
    /// How long a camera's device may be missing.
    pub(crate) device_timeout: Duration,
}

/// One camera or processor.
#[derive(Clone, Debug)]
pub(crate) struct ActorSpec {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// Its place in [`Topology::processes`].
    pub(crate) process: ProcessId,
    /// How many of its framesets can be alive at once.
    pub(crate) slots: usize,
    pub(crate) restart: RestartPolicy,
    /// How long a camera may deliver nothing, or a processor stay in one call; none for ever.
    pub(crate) stall_timeout: Option<Duration>,
    /// How its inputs are matched, if they are.
    pub(crate) matching: Option<MatchSpec>,
    /// Its options as they travel to a worker: the text of a TOML table, already checked.
    pub(crate) options: String,
    /// The same of a camera, read; `None` of a processor.
    pub(crate) camera_options: Option<Arc<dyn CameraOptions>>,
    /// Where the file speaks of its options, for problems that only show when the device is looked for.
    options_span: Span,
}

/// The way from one actor's output to another's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkSpec {
    pub(crate) from: ActorId,
    pub(crate) to: ActorId,
    pub(crate) overflow: Overflow,
    /// Framesets that may wait at the input.
    pub(crate) queue: usize,
    /// Framesets that the reader may hold beside the one that it looks at, until others match them.
    pub(crate) held: usize,
}

/// A topology in which everything that is named exists.
#[derive(Clone, Debug)]
pub(crate) struct Topology {
    source: Arc<Source>,
    actors: Vec<ActorSpec>,
    links: Vec<LinkSpec>,
    processes: Vec<String>,
    usb: Budgets,
    metrics: Option<MetricsSpec>,
}

impl Topology {
    /// Reads and parses the file at `path`.
    pub(crate) fn read(
        path: &Path,
        placement: Option<Placement>,
        registry: &Registry,
    ) -> Result<Self, Problems> {
        let file = path.display().to_string();
        match read_text(path) {
            Ok(text) => Self::parse(&file, &text, placement, registry),
            Err(fact) => Err(Problems::of_file(&file, &fact)),
        }
    }

    /// Parses `text`, which problems show as `file`. A `placement` overrides whatever the text says.
    pub(crate) fn parse(
        file: &str,
        text: &str,
        placement: Option<Placement>,
        registry: &Registry,
    ) -> Result<Self, Problems> {
        parse::parse(Source::new(file, text), placement, registry)
    }

    /// Looks for the device of every camera, without starting any.
    pub(crate) fn probe(&self) -> Result<(), Problems> {
        let mut problems = Problems::new(Arc::clone(&self.source));
        for actor in &self.actors {
            let Some(options) = &actor.camera_options else { continue };
            if let Err(error) = options.probe() {
                problems.add_device(actor.options_span.clone(), &actor.name, &error);
            }
        }
        problems.none_yet().map(drop)
    }

    /// The file's name as problems show it.
    pub(crate) fn name(&self) -> &str {
        &self.source.file
    }

    /// Every actor, in the order of the file. An [`ActorId`] is a place in this list.
    pub(crate) fn actors(&self) -> &[ActorSpec] {
        &self.actors
    }

    pub(crate) fn actor(&self, id: ActorId) -> &ActorSpec {
        &self.actors[id.index()]
    }

    /// Every link. Its place in this list is its number in notifiers and reports.
    pub(crate) fn links(&self) -> &[LinkSpec] {
        &self.links
    }

    /// The processes of the producer and of the reader of a link.
    pub(crate) fn ends(&self, link: &LinkSpec) -> [ProcessId; 2] {
        [self.actor(link.from).process, self.actor(link.to).process]
    }

    /// What a USB controller may carry.
    pub(crate) fn usb_budgets(&self) -> Budgets {
        self.usb
    }

    /// Where the rig's numbers are served, if it asks for that.
    pub(crate) fn metrics(&self) -> Option<&MetricsSpec> {
        self.metrics.as_ref()
    }

    /// The name of a process.
    pub(crate) fn process(&self, id: ProcessId) -> &str {
        &self.processes[id.index()]
    }

    /// The actors that a process hosts.
    pub(crate) fn actors_of(&self, process: ProcessId) -> impl Iterator<Item = ActorId> {
        let actors = self.actors.iter().enumerate();
        actors.filter(move |(_, spec)| spec.process == process).map(|(index, _)| ActorId::new(index))
    }

    /// The names of the processes: first [`MAIN`], which exists even when no actor lives there.
    pub(crate) fn processes(&self) -> &[String] {
        &self.processes
    }
}

/// The text of the file, or what is wrong with it, to be said after the file's name.
fn read_text(path: &Path) -> Result<String, String> {
    let describe = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory, not a file".to_owned(),
        io::ErrorKind::PermissionDenied => "is not yours to read".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    let mut bytes = Vec::new();
    // Not `metadata().len()`: a pipe has none, and a file may grow.
    let limit = FILE_BYTES_MAX as u64 + 1;
    File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)).map_err(describe)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(format!("is larger than {} KiB", FILE_BYTES_MAX / 1024));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.split(|&byte| byte == b'\n').count();
        format!("is not UTF-8 text: see line {line}")
    })
}
