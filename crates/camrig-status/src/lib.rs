//! What a running rig does at this moment, as other programs see it.
//!
//! The supervisor sees every count of its rig. It answers whoever connects to its status socket with a
//! [`RigStatus`] as JSON; `camrig top`, the pages of `view`, `/status` and `/metrics` all read from there.
//!
//! * this module: the status itself, a contract as the report is one: fields may be added, none is renamed
//! * [`socket`]: how it is asked for on this machine
//! * [`prometheus`]: the status as Prometheus reads it
//! * [`http`]: a small server for `/status`, `/metrics` and whatever else an actor shows
//!
//! It deliberately counts nothing and knows no link state, no actor and no topology.
#![forbid(unsafe_code)]

pub mod http;
mod matching;
pub mod prometheus;
pub mod socket;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::matching::{ClockStatus, MatchedCameraStatus, MatchingStatus, SpreadStatus};

/// The version of [`RigStatus`].
pub const STATUS_VERSION: u32 = 1;

/// A rig at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(clippy::struct_field_names)] // `camrig_status` is how a reader knows the text.
pub struct RigStatus {
    /// [`STATUS_VERSION`].
    pub camrig_status: u32,
    /// The topology, as the rig was started with it.
    pub topology: String,
    /// The supervisor's process id.
    pub pid: u32,
    /// Since every actor was ready; 0 before that.
    pub seconds: f64,
    /// In the order of the topology.
    pub actors: Vec<ActorStatus>,
    /// In the order of the topology.
    pub links: Vec<LinkStatus>,
    /// One for each processor with `match`.
    #[serde(default)]
    pub matching: Vec<MatchingStatus>,
    /// The supervisor's own first.
    pub processes: Vec<ProcessStatus>,
}

/// An actor at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActorStatus {
    /// Its name in the topology.
    pub name: String,
    /// `camera` or `processor`.
    pub role: String,
    /// Its driver or kind.
    pub kind: String,
    /// The process that hosts it.
    pub process: String,
    /// Such as `running` or `failed`.
    pub state: String,
    /// Framesets that it made, dropped ones included.
    pub produced: u64,
    /// Framesets that the device or its library lost before the actor saw them.
    pub lost: u64,
    /// How often it was started again.
    pub restarts: u64,
    /// Framesets that it made in the last second.
    pub rate_hz: f64,
    /// How many of its framesets can be alive at once.
    pub slots: u64,
    /// Slots that wait for, or are held by, readers in other processes.
    pub slots_in_use: u64,
    /// Its last error; empty when there was none.
    #[serde(default)]
    pub error: String,
}

/// A link at one moment: `produced = delivered + sum(dropped) + in_flight`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// The producer.
    pub from: String,
    /// The reader.
    pub to: String,
    /// Framesets that the producer made for it.
    pub produced: u64,
    /// Framesets that reached the reader.
    pub delivered: u64,
    /// Framesets that never will, by reason; every reason is there.
    pub dropped: BTreeMap<String, u64>,
    /// Framesets that are still on the way.
    pub in_flight: u64,
    /// Framesets that reached the reader in the last second.
    pub rate_hz: f64,
    /// From the arrival in the camera actor to the call of the reader.
    pub latency_us: LatencyStatus,
}

impl LinkStatus {
    /// All dropped framesets, whatever the reason.
    pub fn dropped_sum(&self) -> u64 {
        self.dropped.values().sum()
    }
}

/// How long the framesets of a link took, in microseconds, since the link is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencyStatus {
    /// Half of them took at most this.
    pub p50: u64,
    /// 99 of 100 took at most this.
    pub p99: u64,
    /// The longest.
    pub max: u64,
    /// All of them together.
    pub sum: u64,
    /// How many took less than these microseconds: pairs of a bound, rising, and a count.
    pub below: Vec<(u64, u64)>,
}

/// A process at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    /// Its name in the topology; `main` is the supervisor's.
    pub name: String,
    /// Its id.
    pub pid: u32,
    /// Processor time since it began.
    pub cpu_seconds: f64,
    /// Processor time in the last second, in percent of one core.
    pub cpu_percent: f64,
    /// Memory of its own.
    pub private_bytes: u64,
    /// Slots and link states that it maps.
    pub shared_bytes: u64,
}
