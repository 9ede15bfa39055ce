//! Converts times of a camera's clock to wall-clock time.

use camrig::frame::Clock;

/// Maximum difference between a frame's time and its arrival. Beyond it, the clock of the camera has started again.
const MAX_DELAY_NANOS: u64 = 1_000_000_000;

/// Maps a camera's clock to the wall clock as realsense-ros does: it takes the first frame to have no delay.
#[derive(Default)]
pub(crate) struct WallClock {
    /// Difference of the camera's clock from the wall's, in nanoseconds.
    ahead_nanos: Option<i128>,
}

impl WallClock {
    /// Returns the time of a frame, of which that of its arrival is known.
    pub(crate) fn time(&mut self, clock: Clock, nanos: u64, arrival: u64) -> u64 {
        if matches!(clock, Clock::Global | Clock::System) {
            return nanos;
        }
        let at_once = i128::from(arrival) - i128::from(nanos);
        let ahead = *self.ahead_nanos.get_or_insert(at_once);
        let ahead =
            if (at_once - ahead).unsigned_abs() > u128::from(MAX_DELAY_NANOS) { at_once } else { ahead };
        self.ahead_nanos = Some(ahead);
        u64::try_from(i128::from(nanos) + ahead).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_camera_become_those_of_the_wall() {
        const SECOND: u64 = 1_000_000_000;
        let mut clock = WallClock::default();
        assert_eq!(clock.time(Clock::Global, 7, 9 * SECOND), 7);
        assert_eq!(clock.time(Clock::Hardware, 5, 9 * SECOND), 9 * SECOND);
        assert_eq!(clock.time(Clock::Hardware, 5 + SECOND, 10 * SECOND + 40), 10 * SECOND);
        // The camera was plugged in again.
        assert_eq!(clock.time(Clock::Hardware, 1, 20 * SECOND), 20 * SECOND);
        assert_eq!(clock.time(Clock::Hardware, 2, 20 * SECOND + 70), 20 * SECOND + 1);
        // Numbers of a file do not overflow.
        assert_eq!(clock.time(Clock::Hardware, u64::MAX, 0), 0);
        assert_eq!(clock.time(Clock::Hardware, 0, u64::MAX), u64::MAX);
    }
}
