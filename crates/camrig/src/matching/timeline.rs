//! Checks a camera's timestamps against its frame numbers, and against the other cameras.
//!
//! A timestamp that leaps would delay a match by the size of the leap: the frameset waits for a time that no
//! other camera reaches. Frame numbers distinguish a leap from a gap: without lost frames, time moves on by one frame
//! interval for each number. A frameset whose time its number does not explain is left out, until
//!
//! * the camera's times fit its numbers again, or
//! * its numbers restart, as after a restart of the camera, or
//! * another camera has the same time: then the clock that all of them share was set, or
//! * no other camera has a time to compare with: the others have ended, or are silent.
//!
//! A state machine without clock, thread or link. It applies to cameras that share one clock; where each camera's own
//! clock is mapped to the host's, the estimator of `clock` notices leaps.

/// Maximum deviation of a timestamp from the time by its frame number that is not a leap, in nanoseconds.
const LEAP_NANOS: i128 = 1_000_000_000;

/// Maximum step back in time that is not a leap, in nanoseconds: the library that maps a clock corrects itself by less.
const STEP_BACK_NANOS: i128 = 100_000_000;

/// Factor by which a camera may be slower than its profile, as in the dark with automatic exposure.
const SLOWDOWN: i128 = 4;

/// The timestamps of one camera.
#[derive(Debug)]
pub(super) struct Timeline {
    /// Time from one frame to the next.
    interval_nanos: u64,
    /// The last frameset that was used.
    last: Option<Point>,
    /// Framesets that were left out since then.
    left_out: u64,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    nanos: u64,
    number: u64,
}

/// The reliability of a timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// It continues the camera's timeline.
    Fits,
    /// It continues the camera's timeline after this many framesets that did not.
    Returned(u64),
    /// It begins another timeline: its numbers restart, or other cameras have this time too.
    Restarted,
    /// The first of a leap, with its deviation from the time by its frame number.
    Leapt {
        /// Deviation, in nanoseconds; negative for a leap back.
        by_nanos: i64,
    },
    /// A further one of a leap.
    StillLeapt,
}

impl Timeline {
    pub(super) fn new(frames_per_second: u32) -> Self {
        Self { interval_nanos: 1_000_000_000 / u64::from(frames_per_second.max(1)), last: None, left_out: 0 }
    }

    /// Checks the next frameset. `others` are the newest timestamps of the other cameras that deliver, used or not.
    pub(super) fn check(&mut self, nanos: u64, number: u64, others: &[u64]) -> Check {
        let point = Point { nanos, number };
        let Some(last) = self.last else {
            self.accept(point);
            return Check::Fits;
        };
        if number < last.number {
            self.accept(point);
            return Check::Restarted;
        }
        let deviation = self.deviation(last, point);
        let nears_another =
            others.iter().any(|&other| (i128::from(nanos) - i128::from(other)).abs() <= LEAP_NANOS);
        let left_out = self.left_out;
        match (deviation, left_out) {
            (0, 0) => {
                self.accept(point);
                Check::Fits
            }
            // The longer a leap lasts, the more times fit the numbers: another camera has to confirm it.
            (0, _) if others.is_empty() || nears_another => {
                self.accept(point);
                Check::Returned(left_out)
            }
            _ if others.is_empty() || nears_another => {
                self.accept(point);
                Check::Restarted
            }
            _ => {
                self.left_out += 1;
                let by_nanos = deviation.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
                if left_out == 0 { Check::Leapt { by_nanos } } else { Check::StillLeapt }
            }
        }
    }

    /// Returns the earliest time that the frameset with this number can have been taken at, for one whose timestamp is
    /// not used. `None` before the first frameset that was.
    pub(super) fn earliest_nanos(&self, number: u64) -> Option<u64> {
        let last = self.last?;
        let intervals = number.saturating_sub(last.number);
        let passed = intervals.saturating_mul(self.interval_nanos).saturating_sub(self.interval_nanos / 2);
        Some(last.nanos.saturating_add(passed))
    }

    fn accept(&mut self, point: Point) {
        self.last = Some(point);
        self.left_out = 0;
    }

    /// Returns the time beyond the time by the frame numbers; 0 if they explain it.
    fn deviation(&self, last: Point, point: Point) -> i128 {
        let moved = i128::from(point.nanos) - i128::from(last.nanos);
        let explained = i128::from(point.number - last.number) * i128::from(self.interval_nanos);
        let earliest = (explained / 2 - LEAP_NANOS).max(-STEP_BACK_NANOS);
        let latest = explained * SLOWDOWN + LEAP_NANOS;
        if (earliest..=latest).contains(&moved) { 0 } else { moved - explained }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const START: u64 = 10_000 * SECOND;

    /// Returns the time of a frame of a camera at 10 frames per second.
    fn time(number: u64) -> u64 {
        START + number * SECOND / 10
    }

    fn timeline(frames: u64) -> Timeline {
        let mut timeline = Timeline::new(10);
        for number in 0..frames {
            assert_eq!(timeline.check(time(number), number, &[time(number)]), Check::Fits);
        }
        timeline
    }

    #[test]
    fn a_leap_ends_when_times_fit_the_numbers_again() {
        for seconds in [-4292_i64, -2, 2, 4292] {
            let leapt = |number| time(number).saturating_add_signed(seconds * SECOND as i64);
            let mut timeline = timeline(20);
            let first = timeline.check(leapt(20), 20, &[time(20)]);
            assert_eq!(first, Check::Leapt { by_nanos: seconds * SECOND as i64 });
            for number in 21..60 {
                assert_eq!(
                    timeline.check(leapt(number), number, &[time(number)]),
                    Check::StillLeapt,
                    "{seconds} {number}"
                );
            }
            assert_eq!(timeline.earliest_nanos(59), Some(time(59) - SECOND / 20));
            assert_eq!(timeline.check(time(60), 60, &[time(60)]), Check::Returned(40));
            assert_eq!(timeline.check(time(61), 61, &[time(61)]), Check::Fits);
        }
    }

    #[test]
    fn back_and_forth_uses_fitting_timestamps() {
        let mut timeline = timeline(20);
        for number in (20..200).step_by(2) {
            let first = timeline.check(time(number) + 2 * SECOND, number, &[time(number)]);
            assert_eq!(first, Check::Leapt { by_nanos: 2 * SECOND as i64 });
            assert_eq!(timeline.check(time(number + 1), number + 1, &[time(number)]), Check::Returned(1));
        }
    }

    #[test]
    fn a_clock_that_is_set_for_all_cameras_is_followed() {
        let (mut left, mut right) = (timeline(20), timeline(20));
        let set = |number| time(number) + 3600 * SECOND;
        assert!(matches!(left.check(set(20), 20, &[time(19)]), Check::Leapt { .. }));
        assert_eq!(right.check(set(20), 20, &[set(20)]), Check::Restarted);
        assert_eq!(left.check(set(21), 21, &[set(20)]), Check::Restarted);
        assert_eq!(left.check(set(22), 22, &[set(21)]), Check::Fits);
    }

    #[test]
    fn gaps_restarts_and_slow_cameras_are_no_leaps() {
        let mut timeline = timeline(20);
        // 300 frames lost, an exposure that takes three intervals, a small correction back.
        assert_eq!(timeline.check(time(320), 320, &[time(20)]), Check::Fits);
        assert_eq!(timeline.check(time(323), 321, &[]), Check::Fits);
        assert_eq!(timeline.check(time(323) - SECOND / 20, 322, &[]), Check::Fits);
        assert_eq!(timeline.check(5 * SECOND, 0, &[time(330)]), Check::Restarted);
        assert_eq!(timeline.check(5 * SECOND + SECOND / 10, 1, &[time(330)]), Check::Fits);
    }

    #[test]
    fn without_another_camera_a_leap_is_followed() {
        let mut timeline = timeline(20);
        assert_eq!(timeline.check(time(20) + 4292 * SECOND, 20, &[]), Check::Restarted);
        assert_eq!(timeline.check(time(21), 21, &[]), Check::Restarted);
    }
}
