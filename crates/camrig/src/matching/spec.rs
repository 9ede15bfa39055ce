//! The matching settings of one processor, which travel to its process.

use camrig_frame::Clock;
pub(crate) use camrig_ipc::protocol::{MatchClock, MatchSpec, MatchedCamera};

/// Returns the clock that every frameset has to use; `None` when each camera may use its own.
pub(crate) fn clock_of_all(clock: MatchClock) -> Option<Clock> {
    match clock {
        MatchClock::Hardware => Some(Clock::Hardware),
        MatchClock::Global => Some(Clock::Global),
        MatchClock::System => Some(Clock::System),
        MatchClock::Estimated => None,
    }
}
