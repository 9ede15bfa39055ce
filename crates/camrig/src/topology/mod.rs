//! The topology: the cameras and processors of a rig, their links, and the process of each.
//!
//! A topology file is parsed once, by [`Topology::parse`], which reports all its problems together. The result is fully
//! resolved: an input is an [`ActorId`], not a name that may be missing; a link is an index in a list. This module starts
//! nothing and depends on no running process, no device and no pixels: drivers and kinds check their own options through the
//! [`Registry`].
//!
//! `section` reads one table, `parse` turns tables into actors, `graph` derives links and processes from actors,
//! `matching` reads the matching of several cameras, `metrics` the address of the metrics, `processes` the commands of
//! processes, `hosts` the other hosts, `streams` the streams that actors publish, `probe` looks for devices, files and programs,
//! `watch` bounds checks of options, and `problem` renders problems.

mod builder;
mod calibration;
mod diff;
mod draft;
mod edit;
mod graph;
mod growth;
mod hosts;
mod matching;
mod metrics;
mod parse;
mod probe;
mod problem;
mod processes;
mod recordings;
#[cfg(any(test, feature = "program"))]
mod schema;
mod section;
mod streams;
mod syntax;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use camrig_ipc::Overflow;
use camrig_ipc::protocol::CalibratedPose;
use camrig_status::ActorRole;
use camrig_usb::Budgets;

pub use self::builder::{ActorTable, TopologyBuilder};
use self::calibration::Calibration;
pub(crate) use self::calibration::of_another_device;
pub(crate) use self::diff::{Diff, OptionChange, only_options};
pub use self::edit::edit;
#[cfg(feature = "program")]
pub(crate) use self::edit::merged;
pub(crate) use self::edit::with_command;
pub(crate) use self::growth::{Growth, LinkEnd};
use self::matching::cameras_behind;
pub(crate) use self::probe::Probe;
pub use self::problem::Problems;
use self::problem::TopologyText;
pub(crate) use self::processes::{ProcessCommand, ProcessScheduling};
#[cfg(any(test, feature = "program"))]
pub(crate) use self::schema::schema;
use self::section::Options;
pub(crate) use self::streams::PublishedStreams;
use self::streams::profiles;
use crate::driver::{Device, RelayedCamera};
use crate::hosts::{Declaration, HostSpec};
use crate::ids::{ActorId, ProcessId};
use crate::late::StartTime;
use crate::matching::MatchSpec;
use crate::metrics::MetricsSpec;
use crate::registry::{CameraOptions, Registry};
pub(crate) use camrig_ipc::protocol::Role;

/// Maximum size of a topology file, in bytes.
pub(crate) const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Maximum number of actors in a topology.
pub(crate) const ACTORS_MAX: usize = 256;

/// Maximum number of inputs of one processor.
pub(crate) const INPUTS_MAX: usize = 64;

const _: () = assert!(INPUTS_MAX <= camrig_frame::MAX_ORIGINS, "a frameset can be made from any match");

/// Maximum number of links from other processes into one process: each needs descriptors there, and a check at each
/// notification.
pub(crate) const LINKS_INTO_PROCESS_MAX: usize = 256;

/// Maximum number of queued framesets at one input.
pub(crate) const QUEUE_MAX: usize = 32;

/// Default number of queued framesets at one input: one to process next, one to arrive.
pub(crate) const QUEUE_DEFAULT: usize = 2;

/// Default number of queued framesets of each camera that wait for a match: a quarter of a second at 30 Hz.
pub(crate) const MATCH_QUEUE_DEFAULT: usize = 8;

/// Maximum window of a match.
pub(crate) const MATCH_WINDOW_MILLIS_MAX: usize = 10_000;

/// Minimum number of slots: one to write into while another is read.
pub(crate) const SLOTS_MIN: usize = 2;

/// Default maximum of restarts within the window of a restart policy.
const RESTARTS_DEFAULT: usize = 5;

/// The most restarts within the window of a policy.
const RESTARTS_MAX: usize = 1_000;

/// Default window of a restart policy, in seconds.
const WINDOW_SECONDS_DEFAULT: usize = 60;

/// Default pause before the first restart in a row, and default maximum pause.
const BACKOFF_MILLIS_DEFAULT: usize = 100;
const BACKOFF_MAX_MILLIS_DEFAULT: usize = 5_000;

/// Default time for which a camera may deliver nothing, and for which a processor may stay in one call.
const CAMERA_STALL_MILLIS_DEFAULT: usize = 5_000;
const PROCESSOR_STALL_MILLIS_DEFAULT: usize = 30_000;

/// Default time in which an actor has to be built, or its device opened. A RealSense camera waits 60 s for others that are
/// opened, and then names them.
const START_MILLIS_DEFAULT: usize = 90_000;

/// Default time for which a camera's device may be missing: an hour.
const DEVICE_TIMEOUT_MILLIS_DEFAULT: usize = 3_600_000;

/// Maximum of all these times: a day.
const TIME_MILLIS_MAX: usize = 86_400_000;

/// The name of the supervisor's own process.
pub(crate) const MAIN: &str = "main";

/// A range of the file's text, in bytes.
type Span = Range<usize>;

/// The placement of actors without a `process` of their own.
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

/// The restart policy of an actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RestartPolicy {
    /// Maximum number of restarts within the window; with 0 every failure is final.
    pub(crate) max: usize,
    pub(crate) window: Duration,
    /// The pause before the first restart. It doubles with each restart until one succeeds.
    pub(crate) backoff: Duration,
    pub(crate) backoff_max: Duration,
    /// Maximum time for which a camera's device may be missing.
    pub(crate) device_timeout: Duration,
}

/// One camera or processor.
#[derive(Clone, Debug)]
pub(crate) struct ActorSpec {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// The host that it is on; `None` for that where the rig is started.
    pub(crate) host: Option<String>,
    /// Its index in [`Topology::processes`].
    pub(crate) process: ProcessId,
    /// The thread that it shares with other actors of its process; `None` for one of its own.
    pub(crate) thread: Option<String>,
    /// Maximum number of its framesets in use at the same time.
    pub(crate) slots: usize,
    /// As the file has it; `None` if it follows from the readers.
    pub(crate) given_slots: Option<usize>,
    pub(crate) restart: RestartPolicy,
    /// Maximum time for which a camera may deliver nothing, or a processor stay in one call; `None` for no limit.
    pub(crate) stall_timeout: Option<Duration>,
    /// Maximum time for building it, or opening its device; `None` for no limit.
    pub(crate) start_timeout: Option<Duration>,
    /// The matching of its inputs, if they are matched.
    pub(crate) matching: Option<MatchSpec>,
    /// The streams that it publishes, as far as they are known before the first frameset.
    // Only commands of the program show it.
    #[cfg_attr(not(feature = "program"), allow(dead_code))]
    pub(crate) streams: PublishedStreams,
    options: Options,
}

impl ActorSpec {
    /// Returns the checked options as they are sent to a worker: the text of a TOML table.
    pub(crate) fn options(&self) -> &str {
        self.options.text.as_deref().unwrap_or_default()
    }

    /// Returns whether it is a camera that passes on framesets of another host.
    pub(crate) fn relays(&self) -> bool {
        self.camera_options().is_some_and(|options| options.relayed().is_some())
    }

    /// Returns the options of a camera, read; `None` of a processor.
    pub(crate) fn camera_options(&self) -> Option<&dyn CameraOptions> {
        self.options.camera.as_deref()
    }
}

/// A link from one actor's output to another's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkSpec {
    pub(crate) from: ActorId,
    pub(crate) to: ActorId,
    pub(crate) overflow: Overflow,
    /// Maximum number of queued framesets at the input.
    pub(crate) queue: usize,
    /// Number of further framesets that the reader may hold: until others match them, or as long as it keeps them.
    pub(crate) held: usize,
}

/// A valid topology, in which every reference is resolved.
#[derive(Clone, Debug)]
pub(crate) struct Topology {
    source: Arc<TopologyText>,
    actors: Vec<ActorSpec>,
    links: Vec<LinkSpec>,
    processes: Vec<String>,
    /// By the name of the process.
    commands: BTreeMap<String, ProcessCommand>,
    /// By the name of the process.
    schedulings: BTreeMap<String, ProcessScheduling>,
    calibration: Option<Calibration>,
    // Only commands of the program show it.
    #[cfg_attr(not(feature = "program"), allow(dead_code))]
    usb: Budgets,
    metrics: Option<MetricsSpec>,
    hosts: Vec<HostSpec>,
    // Only commands of the program show it.
    #[cfg_attr(not(feature = "program"), allow(dead_code))]
    probed: Probed,
    /// The placement that overrides that of the file.
    placement: Option<Placement>,
}

/// The devices that were found for cameras, by the cameras' names.
pub(crate) type Probed = BTreeMap<String, Device>;

impl Topology {
    /// Returns the devices that a probe has found while the topology was parsed.
    #[cfg(any(test, feature = "program"))]
    pub(crate) fn probed(&self) -> &Probed {
        &self.probed
    }

    /// Returns the text that was parsed.
    pub(crate) fn text(&self) -> &str {
        &self.source.text
    }

    /// Reads and parses the file at `path`.
    pub(crate) fn read(
        path: &Path,
        placement: Option<Placement>,
        registry: &Registry,
    ) -> Result<Self, Problems> {
        let file = path.display().to_string();
        let text = read_topology(path).map_err(|fact| Problems::of_file(&file, &fact))?;
        Self::parse(&file, &text, placement, registry)
    }

    /// As [`Self::parse`] and [`Self::probe`], with the problems of both.
    #[cfg(any(test, feature = "program"))]
    pub(crate) fn parse_and_probe(
        file: &str,
        text: &str,
        placement: Option<Placement>,
        registry: &Registry,
        probe: Probe,
        time: StartTime,
    ) -> Result<Self, Problems> {
        parse::parse(TopologyText::new(file, text), placement, registry, time, Some(probe))
    }

    /// Parses `text`, whose file name in problems is `file`. A `placement` overrides that of the text.
    pub(crate) fn parse(
        file: &str,
        text: &str,
        placement: Option<Placement>,
        registry: &Registry,
    ) -> Result<Self, Problems> {
        parse::parse(TopologyText::new(file, text), placement, registry, StartTime::default(), None)
    }

    /// Probes the device of every camera, unless it was probed with the same options before, the files of every processor and
    /// the program of every process, without starting any. A probe may take as long as its actor's start, and no longer than
    /// the rest of `time`.
    pub(crate) fn probe(&self, registry: &Registry, time: StartTime) -> Result<(), Problems> {
        self.probe_some(registry, time, |_| true)
    }

    /// As [`Self::probe`], for some of the actors. Those that run may hold their device, and have made their files.
    pub(crate) fn probe_some(
        &self,
        registry: &Registry,
        time: StartTime,
        is_probed: impl Fn(ActorId) -> bool,
    ) -> Result<(), Problems> {
        let mut problems = Problems::new(Arc::clone(&self.source));
        let (mut probed, mut refused, mut processes) = (Probed::new(), Vec::new(), Vec::new());
        let actors = self.actors.iter().enumerate();
        for (_, actor) in
            actors.filter(|(index, actor)| actor.host.is_none() && is_probed(ActorId::new(*index)))
        {
            processes.push(self.process(actor.process).to_owned());
            let how = (Probe::Unknown, time.bound(actor.start_timeout));
            let ActorSpec { name, role, options, .. } = actor;
            if !probe::probe_options(name, role, options, registry, how, &mut probed, &mut problems) {
                refused.push(options.span.clone());
            }
        }
        processes.sort();
        processes.dedup();
        probe::probe_commands(&processes, &self.commands, &refused, &mut problems);
        probe::probe_schedulings(&processes, &self.schedulings, &mut problems);
        if let Some(calibration) = &self.calibration {
            calibration.probe(&probed, &mut problems);
        }
        problems.none_yet().map(drop)
    }

    /// Returns warnings about values that are valid but probably a mistake.
    #[cfg(any(test, feature = "program"))]
    pub(crate) fn warnings(&self, registry: &Registry) -> Vec<String> {
        let mut warnings = self.foreign_kinds(registry);
        let reads = |id: usize| self.links.iter().any(|link| link.from.index() == id);
        let is_camera = |actor: &ActorSpec| matches!(actor.role, Role::Camera { .. });
        let actors = self.actors.iter().enumerate();
        let unread = actors.filter(|&(id, actor)| is_camera(actor) && !reads(id));
        let unread: Vec<_> = unread.map(|(_, actor)| format!("`{}`", actor.name)).collect();
        if self.actors.iter().all(is_camera) {
            warnings.push("the rig has no processor: nothing reads its cameras".to_owned());
        } else if !unread.is_empty() {
            warnings.push(format!("no processor reads: {}", unread.join(", ")));
        }
        warnings
    }

    /// Returns a warning about each kind that only the program of another process has.
    #[cfg(any(test, feature = "program"))]
    fn foreign_kinds(&self, registry: &Registry) -> Vec<String> {
        let warning = |actor: &ActorSpec| {
            let Role::Processor { kind } = &actor.role else { return None };
            let program = &self.command(actor.process)?.program;
            let (name, kind) = (&actor.name, Some(kind).filter(|kind| registry.kind(kind).is_none())?);
            Some(format!(
                "kind `{kind}` of processor `{name}` is not known here: `{program}` checks its options when it starts"
            ))
        };
        self.actors.iter().filter_map(warning).collect()
    }

    /// Returns the timeline of each actor's recording, in nanoseconds since 1970; `None` if it plays none, or one
    /// without such times, or one that cannot be read, as its start will show.
    pub(crate) fn timelines(&self) -> Vec<Option<Range<u64>>> {
        let recorded = |actor: &ActorSpec| actor.camera_options()?.recorded().ok().flatten();
        recordings::timelines(&self.actors.iter().map(recorded).collect::<Vec<_>>())
    }

    /// Returns the text of a file with this topology, and with the placement that overrides that of the file.
    pub(crate) fn running_text(&self) -> String {
        match self.placement {
            Some(placement) => edit::placed(&self.source.text, placement, &self.processes),
            None => self.source.text.clone(),
        }
    }

    /// Returns the file's name in problems.
    pub(crate) fn name(&self) -> &str {
        &self.source.file
    }

    /// Returns the properties of the framesets of each actor that are known before the first one, for its readers on other
    /// hosts.
    pub(crate) fn declarations(&self) -> BTreeMap<String, Declaration> {
        let declaration = |(index, actor): (usize, &ActorSpec)| {
            let cameras = self.cameras_behind(ActorId::new(index));
            (actor.name.clone(), Declaration { cameras, streams: profiles(&actor.streams) })
        };
        self.actors.iter().enumerate().map(declaration).collect()
    }

    /// Returns the cameras whose framesets an actor may publish, in the order of its inputs.
    fn cameras_behind(&self, actor: ActorId) -> Vec<RelayedCamera> {
        let is_camera = |id| matches!(self.actor(id).role, Role::Camera { .. });
        let relayed = |id| {
            let actor = self.actor(id);
            let clock = actor.camera_options().and_then(CameraOptions::clock);
            RelayedCamera { name: actor.name.clone(), clock }
        };
        cameras_behind(actor, &self.links, is_camera).into_iter().map(relayed).collect()
    }

    /// Returns every actor, in the order of the file. An [`ActorId`] is an index in this list.
    pub(crate) fn actors(&self) -> &[ActorSpec] {
        &self.actors
    }

    pub(crate) fn actor(&self, id: ActorId) -> &ActorSpec {
        &self.actors[id.index()]
    }

    /// Returns the actor with this name.
    pub(crate) fn find(&self, name: &str) -> Option<ActorId> {
        self.actors.iter().position(|actor| actor.name == name).map(ActorId::new)
    }

    /// Returns the pose of a camera, if there is a calibration that has it.
    pub(crate) fn calibrated(&self, camera: ActorId) -> Option<&CalibratedPose> {
        let ActorSpec { name, role, .. } = self.actor(camera);
        let calibration = self.calibration.as_ref().filter(|_| matches!(role, Role::Camera { .. }));
        calibration?.pose(name)
    }

    /// Returns every link. Its index in this list is its number in announcements and reports.
    pub(crate) fn links(&self) -> &[LinkSpec] {
        &self.links
    }

    /// Returns the processes of the producer and of the reader of a link.
    pub(crate) fn ends(&self, link: &LinkSpec) -> [ProcessId; 2] {
        [self.actor(link.from).process, self.actor(link.to).process]
    }

    /// Returns the budgets of a USB controller.
    #[cfg(any(test, feature = "program"))]
    pub(crate) fn usb_budgets(&self) -> Budgets {
        self.usb
    }

    /// Returns the settings of the metrics server, if the rig has one.
    pub(crate) fn metrics(&self) -> Option<&MetricsSpec> {
        self.metrics.as_ref()
    }

    /// Returns the other hosts of the rig, in the order of the file.
    pub(crate) fn hosts(&self) -> &[HostSpec] {
        &self.hosts
    }

    /// Returns the name of a process.
    pub(crate) fn process(&self, id: ProcessId) -> &str {
        &self.processes[id.index()]
    }

    /// Returns the command that runs a process; `None` if this executable does.
    pub(crate) fn command(&self, id: ProcessId) -> Option<&ProcessCommand> {
        self.commands.get(self.process(id))
    }

    /// Returns how the kernel runs the threads of a process; `None` if the topology does not say it.
    pub(crate) fn scheduling(&self, id: ProcessId) -> Option<&ProcessScheduling> {
        self.schedulings.get(self.process(id))
    }

    /// Returns the actors that a process hosts.
    pub(crate) fn actors_of(&self, process: ProcessId) -> impl Iterator<Item = ActorId> {
        let actors = self.actors.iter().enumerate();
        actors.filter(move |(_, spec)| spec.process == process).map(|(index, _)| ActorId::new(index))
    }

    /// Returns the names of the processes: first [`MAIN`], which exists even without actors.
    pub(crate) fn processes(&self) -> &[String] {
        &self.processes
    }
}

/// Reads the text of a topology file, at most 1 MiB.
///
/// # Errors
/// A phrase that follows the file's name, such as `does not exist`.
pub fn read_topology(path: &Path) -> Result<String, String> {
    let describe = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory, not a file".to_owned(),
        io::ErrorKind::PermissionDenied => "is not readable: permission denied".to_owned(),
        _ => format!("cannot be read: {error}"),
    };
    let mut bytes = Vec::new();
    // Not `metadata().len()`: a pipe has no length, and a file may grow.
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
