//! The time of a run: it does not advance while the supervisor is stopped, as by Ctrl-Z.
//!
//! Otherwise every time-out would have passed when the rig continues: cameras would count as stalled, since they are stopped
//! and continued with their supervisor.

use std::time::{Duration, Instant};

/// Delay of a wait from which on the supervisor counts as stopped. A loaded machine delays waits by less.
const STOPPED_MIN: Duration = Duration::from_secs(1);

/// A clock without the times for which this process was stopped.
#[derive(Debug, Default)]
pub(super) struct RunClock {
    stopped: Duration,
}

impl RunClock {
    pub(super) fn now(&self) -> Instant {
        let now = Instant::now();
        now.checked_sub(self.stopped).unwrap_or(now)
    }

    /// Notes that a wait for at most `asked` took this long.
    pub(super) fn note_wait(&mut self, asked: Duration, took: Duration) {
        let late = took.saturating_sub(asked);
        if late >= STOPPED_MIN {
            self.stopped += late;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_does_not_advance_while_the_process_is_stopped() {
        let mut clock = RunClock::default();
        let asked = Duration::from_millis(100);
        for took in [Duration::ZERO, asked, Duration::from_millis(1099)] {
            clock.note_wait(asked, took);
            assert_eq!(clock.stopped, Duration::ZERO);
        }
        clock.note_wait(asked, Duration::from_secs(60));
        assert_eq!(clock.stopped, Duration::from_millis(59_900));
        assert!(clock.now() <= Instant::now().checked_sub(clock.stopped).unwrap());
    }
}
