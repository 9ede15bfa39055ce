//! What a topology says of a processor's matching.

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
    /// Each camera's own clock, whichever it is, mapped to the host's monotonic clock here.
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

    /// The clock that every frameset has to be stamped by; none when each camera may have its own.
    pub(super) fn of_all(self) -> Option<Clock> {
        match self {
            Self::Hardware => Some(Clock::Hardware),
            Self::Global => Some(Clock::Global),
            Self::System => Some(Clock::System),
            Self::Estimated => None,
        }
    }
}

/// What a topology says of a processor's matching.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MatchSpec {
    pub(crate) window_nanos: u64,
    /// Whether a match may lack cameras that are waited for.
    pub(crate) partial: bool,
    pub(crate) clock: MatchClock,
    /// Framesets of each camera that can wait for the others.
    pub(crate) queue: usize,
    /// Whether producers wait where there is no room, so that nothing needs to be given up for it.
    pub(crate) blocks: bool,
    pub(crate) cameras: Vec<MatchedCamera>,
}

/// A camera whose framesets are matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MatchedCamera {
    pub(crate) name: String,
    /// The input by which they come.
    pub(crate) input: String,
    /// Whether matches wait for it.
    pub(crate) awaited: bool,
}
