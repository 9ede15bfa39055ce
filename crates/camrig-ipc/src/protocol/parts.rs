//! The parts of a rig that one process hosts.

use std::ops::Range;

use camrig_frame::CameraPose;
use serde::{Deserialize, Serialize};

use super::{ActorId, Announcement, LinkId};
use crate::channel::{Receiver, Sender};
use crate::link_state::Overflow;
use crate::memory::SharedMemory;

/// One part of a process. Parts are small because a message carries at most 64 file descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub enum Part {
    /// An actor; always before its links.
    Actor {
        /// The actor.
        actor: Box<ActorPart>,
        /// Its [`ActorCounters`](crate::ActorCounters).
        counters: SharedMemory,
    },
    /// The matching of an actor's inputs; before its links.
    Matching {
        /// The actor.
        actor: ActorId,
        /// The rules.
        spec: MatchSpec,
        /// The [`MatchCounters`](crate::MatchCounters).
        counters: SharedMemory,
    },
    /// A link between two actors of this process; one of them may be added later.
    Local {
        /// The link.
        link: LinkId,
        /// The producer.
        from: ActorId,
        /// The producer's name.
        producer: String,
        /// The reader; `None` if it has ended, and the producer only counts.
        to: Option<ActorId>,
        /// The [`LinkState`](crate::LinkState); its slot states are not used.
        link_state: SharedMemory,
        /// Overflow policy of the queue.
        overflow: Overflow,
        /// The maximum number of queued framesets.
        queue: usize,
        /// The place of the link among those of a running producer.
        joining: LinkStart,
    },
    /// The producer's end of a link to another process.
    Output {
        /// The producer.
        from: ActorId,
        /// The link, as named in [`WorkerCommand::Relink`](super::WorkerCommand::Relink).
        link: LinkId,
        /// The [`LinkState`](crate::LinkState).
        link_state: SharedMemory,
        /// The [`Notifier`](crate::Notifier) that wakes the reader's process.
        notifier: SharedMemory,
        /// Takes the producer's announcements.
        announcements: Sender<Announcement>,
        /// Overflow policy of the queue.
        overflow: Overflow,
        /// The maximum number of queued framesets.
        queue: usize,
        /// The place of the link among those of a running producer.
        joining: LinkStart,
    },
    /// The reader's end of a link from another process.
    Input {
        /// The producer's name.
        from: String,
        /// The reader.
        to: ActorId,
        /// The [`LinkState`](crate::LinkState).
        link_state: SharedMemory,
        /// Delivers the producer's announcements.
        announcements: Receiver<Announcement>,
    },
    /// The [`Notifier`](crate::Notifier) that the producers of all these inputs notify.
    Listener(SharedMemory),
}

/// The begin of a new link at a running producer. A link that begins with its producer replaces no other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStart {
    /// The link that ends where this one begins: no frameset is published between them, and none on both.
    pub replaces: Option<LinkId>,
    /// Minimum number of slots of the producer from now on.
    pub slots: usize,
}

/// An actor, without its links.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActorPart {
    /// Identifies it in commands and events.
    pub id: ActorId,
    /// Its name in the topology.
    pub name: String,
    /// The name of the rig's status socket.
    pub rig: String,
    /// The text of the rig's topology; empty for cameras.
    pub topology: String,
    /// Camera or processor, with its driver or kind.
    pub role: Role,
    /// Its options, as the text of a TOML table.
    pub options: String,
    /// The timeline of its recording and of those that overlap it, in nanoseconds since 1970; `None` of other actors.
    pub timeline: Option<Range<u64>>,
    /// The thread that it shares with other actors of its process; `None` for one of its own.
    pub thread: Option<String>,
    /// Number of slots of its pool, which is the maximum number of its framesets in use at the same time.
    pub slots: usize,
    /// If true, its device is reset before its first instance opens it.
    pub reset: bool,
    /// The number of framesets after which a camera ends; `None` for no limit.
    pub framesets: Option<u64>,
    /// The time after which a camera fails whose stream is silent while others continue; `None` for no limit.
    pub stall_timeout_millis: Option<u64>,
    /// The pose of a camera in a calibrated rig; `None` without one.
    pub calibrated: Option<CalibratedPose>,
}

/// The pose of a camera, as a calibration has measured it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibratedPose {
    /// The serial number of the device that was calibrated; empty if it has none.
    pub serial: String,
    /// Its pose.
    pub pose: CameraPose,
}

/// Type of an actor, with the name under which its program registered it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// A camera.
    Camera {
        /// Its driver.
        driver: String,
    },
    /// A processor.
    Processor {
        /// Its kind.
        kind: String,
    },
}

impl Role {
    /// Returns `camera` or `processor`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Camera { .. } => "camera",
            Self::Processor { .. } => "processor",
        }
    }
}

/// The clock by which framesets are matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MatchClock {
    /// One hardware clock that all cameras share.
    Hardware,
    /// The cameras' clocks, each mapped to the host's wall clock by its library.
    #[default]
    Global,
    /// The host's wall clock on arrival.
    System,
    /// Each camera's own clock, of any kind, mapped to the host's monotonic clock by the reader.
    Estimated,
}

/// The matching settings of one processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchSpec {
    /// Maximum spread of a match: the time from its earliest frameset to its latest.
    pub window_nanos: u64,
    /// If true, a match may lack cameras that matches wait for.
    pub partial: bool,
    /// The clock of the timestamps.
    pub clock: MatchClock,
    /// Maximum number of queued framesets of each camera.
    pub queue: usize,
    /// If true, producers wait while a queue is full, so that no frameset must be discarded to make room.
    pub blocks: bool,
    /// The cameras, in the order of the counters.
    pub cameras: Vec<MatchedCamera>,
}

/// A camera whose framesets are matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchedCamera {
    /// Its name.
    pub name: String,
    /// The input that delivers its framesets.
    pub input: String,
    /// If true, matches wait for it.
    pub awaited: bool,
    /// Whether it is in every match.
    pub required: bool,
}
