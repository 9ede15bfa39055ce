//! The status of a running rig, for other programs.
//!
//! The supervisor maps every counter of its rig. It sends each client of its status socket a [`RigStatus`] as
//! JSON; `camrig top`, the pages of `view`, `/status` and `/metrics` all read from that socket.
//!
//! * this module: the status itself, a stable contract: fields may be added, none is renamed
//! * [`control`]: takes requests that change the rig
//! * [`socket`]: serves and reads the status on this machine
//! * [`prometheus`]: the status in Prometheus' text format
//!
//! It counts nothing, and does not depend on links, actors or topologies: of camrig-ipc it uses the names of reasons.
#![forbid(unsafe_code)]

pub mod control;
mod matching;
pub mod prometheus;
pub mod socket;
mod words;

use std::collections::BTreeMap;

pub use camrig_ipc::spawn_thread;
use serde::{Deserialize, Serialize};

pub use self::matching::{ClockStatus, MatchedCameraStatus, MatchingStatus, SpreadStatus};
pub use self::words::{ActorRole, ActorState, DropReason, HostState, LinkPlacement, LostReason, Unmatched};

/// Maximum number of changes in a status.
pub const CHANGES_MAX: usize = 256;

/// Maximum number of warnings of an actor in a status.
pub const WARNINGS_MAX: usize = 16;

/// Maximum number of characters of [`ActorStatus::progress`].
pub const PROGRESS_CHARACTERS_MAX: usize = 2000;

/// The version of [`RigStatus`].
pub const STATUS_VERSION: u32 = 1;

/// The status of a rig at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(clippy::struct_field_names)] // `camrig_status` identifies the text to a reader.
pub struct RigStatus {
    /// [`STATUS_VERSION`].
    pub camrig_status: u32,
    /// The name of the topology: the path of its file, or `demo`.
    pub topology: String,
    /// The supervisor's process id.
    pub pid: u32,
    /// Time since every actor was ready, in seconds; 0 before that.
    pub seconds: f64,
    /// In the order of the topology.
    pub actors: Vec<ActorStatus>,
    /// In the order of the topology.
    pub links: Vec<LinkStatus>,
    /// One entry per processor with `match`.
    #[serde(default)]
    pub matching: Vec<MatchingStatus>,
    /// The supervisor's process first.
    pub processes: Vec<ProcessStatus>,
    /// The newest changes of the rig while it runs, in their order: at most [`CHANGES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangeReport>,
    /// The other hosts of the rig. Rows of their actors are named `HOST/NAME`, and come after those of this host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostStatus>,
}

/// The driver of a camera that passes on framesets of another host.
pub const RELAY: &str = "wire-in";

impl RigStatus {
    /// Returns the cameras of all hosts, in the order of their rows, without those that pass on framesets of another host.
    /// Requests name them by [`ActorStatus::plain_name`].
    pub fn cameras(&self) -> impl Iterator<Item = &ActorStatus> {
        self.actors.iter().filter(|actor| actor.role == ActorRole::Camera && actor.kind != RELAY)
    }

    /// Returns the row where an actor runs: another one if it passes on framesets of an actor of another host.
    pub fn origin<'s>(&'s self, actor: &'s ActorStatus) -> &'s ActorStatus {
        let name = actor.plain_name();
        let is_origin = |other: &&ActorStatus| other.kind != RELAY && other.plain_name() == name;
        if actor.kind == RELAY { self.actors.iter().find(is_origin).unwrap_or(actor) } else { actor }
    }

    /// Returns whether the rig may still start: its framesets do not flow yet, and no actor has ended permanently.
    pub fn is_starting(&self) -> bool {
        self.seconds == 0.0 && !self.actors.iter().any(|actor| actor.state.has_ended())
    }
}

/// The status of another host at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Its name in the topology.
    pub name: String,
    /// Where its agent listens.
    pub address: String,
    /// Whether its agent answers, and its part runs.
    pub state: HostState,
    /// Its last error; empty without one.
    #[serde(default)]
    pub error: String,
    /// The monotonic clock of the host, compared with that of this one: offset and drift are as those of a camera's clock.
    /// `None` as long as it was not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockStatus>,
    /// The program there that synchronises the system's clock, such as `chronyd` or `ptp4l`; `None` without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub synchronized_by: Option<String>,
}

/// A change of a rig while it ran.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChangeReport {
    /// When it was made, in seconds of the run.
    pub seconds: f64,
    /// The same in nanoseconds since 1970, by the clock of the host; 0 if that is not known.
    #[serde(default)]
    pub unix_nanos: u64,
    /// The program that requested it, such as `camrig set`.
    pub by: String,
    /// The differences, one line each, in the order in which it was carried out, such as
    /// ``restart processor `check`: inputs``.
    pub changes: Vec<String>,
}

impl ChangeReport {
    /// Returns whether a processor with this name began: it was added, or replaced another one.
    pub fn begins(&self, processor: &str) -> bool {
        let starts = [format!("add processor `{processor}` "), format!("restart processor `{processor}`: ")];
        self.changes.iter().any(|line| starts.iter().any(|start| line.starts_with(start)))
    }
}

/// The status of an actor at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActorStatus {
    /// Its name in the topology.
    pub name: String,
    /// Its role.
    pub role: ActorRole,
    /// Its driver or kind.
    pub kind: String,
    /// The process that hosts it.
    pub process: String,
    /// Its state.
    pub state: ActorState,
    /// Framesets that it produced, including dropped ones.
    pub produced: u64,
    /// Framesets that the device or its library lost before the actor saw them.
    pub lost: u64,
    /// The lost framesets by reason. Reasons without a frameset are omitted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lost_by_reason: BTreeMap<LostReason, u64>,
    /// Framesets that it copied into shared memory because a reader in another process needs them there.
    #[serde(default)]
    pub copied: u64,
    /// The number of its restarts.
    pub restarts: u64,
    /// Framesets produced in the last second.
    pub rate_hz: f64,
    /// The maximum number of its framesets in use at the same time.
    pub slots: u64,
    /// Slots that are queued for, or held by, readers in other processes.
    pub slots_in_use: u64,
    /// Its last error; empty without one.
    #[serde(default)]
    pub error: String,
    /// What a processor says that it is doing, in lines; empty if it says nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub progress: String,
    /// The number of its warnings.
    #[serde(default)]
    pub warned: u64,
    /// The newest of its warnings, in their order: at most [`WARNINGS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// A camera's streams, in the order of their frames.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<StreamStatus>,
}

impl ActorStatus {
    /// Returns its name in the topology over all hosts, by which requests call it: its own without the host.
    pub fn plain_name(&self) -> &str {
        self.name.rsplit_once('/').map_or(&self.name, |(_, name)| name)
    }
}

/// What a processor found that its user has to know, such as a camera that has moved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Warning {
    /// When, in seconds of the run.
    pub seconds: f64,
    /// The fact as one line.
    pub message: String,
}

/// The frames of a camera's stream so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamStatus {
    /// Its name.
    pub stream: String,
    /// Frames, or samples of motion.
    pub frames: u64,
    /// Frames in the last second; in a report, per second of the run.
    pub rate_hz: f64,
    /// Time since the last frame, in milliseconds; `None` before the first one since the camera was opened.
    pub age_ms: Option<f64>,
    /// Number of times that it was silent while other streams continued.
    pub silences: u64,
}

/// The status of a link at one moment: `produced = delivered + sum(dropped) + in_flight`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// The producer.
    pub from: String,
    /// The reader.
    pub to: String,
    /// Framesets that the producer published on it.
    pub produced: u64,
    /// Framesets that reached the reader.
    pub delivered: u64,
    /// Framesets that will not reach the reader, by reason. Every reason is present.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Framesets that are neither delivered nor dropped.
    pub in_flight: u64,
    /// Framesets delivered in the last second.
    pub rate_hz: f64,
    /// Time from arrival in the camera actor to the call of the reader.
    pub latency_us: LatencyStatus,
}

impl LinkStatus {
    /// Returns the number of dropped framesets, over all reasons.
    pub fn dropped_sum(&self) -> u64 {
        self.dropped.values().sum()
    }
}

/// The latencies of all framesets of a link so far, in microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyStatus {
    /// The median.
    pub p50: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The maximum.
    pub max: u64,
    /// The sum.
    pub sum: u64,
    /// A cumulative histogram: pairs of a bound, in rising order, and the number of framesets below it.
    pub below: Vec<(u64, u64)>,
}

/// The status of a process at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Its name in the topology; `main` is the supervisor's.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// CPU time since its start, in seconds.
    pub cpu_seconds: f64,
    /// CPU time in the last second, in percent of one core.
    pub cpu_percent: f64,
    /// Private resident memory, in bytes.
    pub private_bytes: u64,
    /// Resident shared memory, in bytes: slots and link states.
    pub shared_bytes: u64,
}
