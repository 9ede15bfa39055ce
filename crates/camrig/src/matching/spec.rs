//! The matching settings of one processor.

use camrig_frame::Clock;
use serde::{Deserialize, Serialize};

/// The clock by which framesets are matched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MatchClock {
    /// One hardware clock that all cameras share.
    Hardware,
    /// The cameras' clocks, each mapped to the host's wall clock by its library.
    #[default]
    Global,
    /// The host's wall clock on arrival.
    System,
    /// Each camera's own clock, of any kind, mapped to the host's monotonic clock here.
    Estimated,
}

impl MatchClock {
    /// The names in topologies.
    pub(crate) const NAMES: &[(&str, Self)] = &[
        ("hardware", Self::Hardware),
        ("global", Self::Global),
        ("system", Self::System),
        ("estimated", Self::Estimated),
    ];

    /// Returns the clock that every frameset has to use; `None` when each camera may use its own.
    pub(super) fn of_all(self) -> Option<Clock> {
        match self {
            Self::Hardware => Some(Clock::Hardware),
            Self::Global => Some(Clock::Global),
            Self::System => Some(Clock::System),
            Self::Estimated => None,
        }
    }
}

/// The matching settings of one processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MatchSpec {
    pub(crate) window_nanos: u64,
    /// Whether a match may lack cameras that matches wait for.
    pub(crate) partial: bool,
    pub(crate) clock: MatchClock,
    /// Maximum number of queued framesets of each camera.
    pub(crate) queue: usize,
    /// Whether producers wait while a queue is full, so that no camera needs to be given up to make room.
    pub(crate) blocks: bool,
    pub(crate) cameras: Vec<MatchedCamera>,
}

/// A camera whose framesets are matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MatchedCamera {
    pub(crate) name: String,
    /// The input that delivers them.
    pub(crate) input: String,
    /// Whether matches wait for it.
    pub(crate) awaited: bool,
}
