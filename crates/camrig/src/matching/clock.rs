//! Reads a camera's clock, either directly or mapped to the host's monotonic clock.
//!
//! The hardware clocks of different cameras have different zeros and slightly different rates. Every frameset has two times:
//! its exposure, by the camera's clock, and its arrival, by the host's. The difference is the *delay*: the offset between the
//! clocks plus the latency from exposure to arrival. That latency has a minimum and is often longer. So the delays are on or
//! above a line whose height is the offset and whose slope is the drift.
//!
//! The estimator keeps the lowest delay of each half second, for about a minute, and fits the line below all of them
//! with the smallest average distance to them: the edge of their convex hull at the mean time (Moon, Skelly and
//! Towsley, "Estimation and Removal of Clock Skew from Network Delay Measurements", INFOCOM 1999). Late framesets do
//! not change the estimate, however late they are.
//!
//! It never reads the wall clock, so steps of the wall clock have no effect, and it does not depend on matches. It
//! cannot measure the minimum latency: cameras whose minimum latencies differ are matched with that difference.

use std::collections::VecDeque;

use camrig_frame::Timestamp;
use camrig_ipc::ClockEstimate;

/// Window over which the minimum delay is kept.
const STEP_NANOS: u64 = 500_000_000;

/// Number of windows whose minimum delay is kept.
const STEPS: usize = 128;

/// Before this many framesets, or this time, no time is returned: all of the first framesets may have been late.
const UNSETTLED_FRAMESETS: u32 = 8;
const UNSETTLED_NANOS: u64 = STEP_NANOS;

/// Before this time the drift is taken as zero, because it cannot be measured yet.
const DRIFT_NANOS: f64 = 2e9;

/// The largest accepted drift in either direction, as a ratio. Real clocks stay below a tenth of it.
const DRIFT_MAX: f64 = 1e-3;

/// A frameset that is later than expected by more than this is from another clock.
const LATE_NANOS: i64 = 1_000_000_000;

/// A frameset that is earlier than expected by more than this is from another clock.
const EARLY_NANOS: i64 = 50_000_000;

/// Reads one camera's clock.
pub(super) struct CameraClock {
    estimator: Option<Estimator>,
    last: Option<(Timestamp, u64)>,
}

/// The time of one frameset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// When it was taken; `None` before the clock is estimated.
    pub(super) nanos: Option<u64>,
    /// Whether the clock or the frame numbers restarted.
    pub(super) restarted: bool,
}

impl CameraClock {
    /// Creates a reader that maps the clock to the host's if `estimated`, and returns its times unchanged otherwise.
    pub(super) fn new(estimated: bool) -> Self {
        Self { estimator: estimated.then(Estimator::default), last: None }
    }

    /// Returns the time of the next frameset.
    pub(super) fn read(&mut self, timestamp: Timestamp, number: u64, arrival_nanos: u64) -> Reading {
        let last = self.last.replace((timestamp, number));
        let mut restarted = last.is_some_and(|(last, last_number)| {
            timestamp.clock != last.clock || timestamp.nanos < last.nanos || number < last_number
        });
        let Some(estimator) = &mut self.estimator else {
            return Reading { nanos: Some(timestamp.nanos), restarted };
        };
        restarted |= estimator.leaps(timestamp.nanos, arrival_nanos);
        if restarted {
            *estimator = Estimator::default();
        }
        Reading { nanos: estimator.observe(timestamp.nanos, arrival_nanos), restarted }
    }

    /// Returns the estimate of the clock; `None` before there is one, and for a clock that is not mapped.
    pub(super) fn estimate(&self) -> Option<ClockEstimate> {
        let line = self.estimator.as_ref()?.line?;
        Some(ClockEstimate {
            offset_nanos: line.delay_nanos,
            drift_ppb: (-line.slope * 1e9).round() as i64,
            uncertainty_nanos: line.uncertainty_nanos,
        })
    }
}

/// Maps a camera's clock to the host's.
#[derive(Default)]
struct Estimator {
    /// The lowest delay of each step, oldest first.
    lowest: VecDeque<Point>,
    line: Option<Line>,
    seen: u32,
    first_nanos: Option<u64>,
}

/// A time by the camera's clock, and the lead of the host's clock at the arrival of that frameset.
#[derive(Clone, Copy)]
struct Point {
    camera_nanos: u64,
    delay_nanos: i64,
}

#[derive(Clone, Copy)]
struct Line {
    /// A time by the camera's clock, and the delay at that time.
    camera_nanos: u64,
    delay_nanos: i64,
    slope: f64,
    uncertainty_nanos: u64,
}

impl Line {
    fn delay_at(&self, camera_nanos: u64) -> i64 {
        let since = camera_nanos.wrapping_sub(self.camera_nanos).cast_signed();
        self.delay_nanos + (since as f64 * self.slope).round() as i64
    }
}

impl Estimator {
    /// Returns whether a frameset cannot be from the clock seen so far: the camera restarted, or its library set its
    /// clock.
    fn leaps(&self, camera_nanos: u64, arrival_nanos: u64) -> bool {
        let delay = arrival_nanos.wrapping_sub(camera_nanos).cast_signed();
        let late = |line: Line| delay.saturating_sub(line.delay_at(camera_nanos));
        self.line.is_some_and(|line| !(-EARLY_NANOS..=LATE_NANOS).contains(&late(line)))
    }

    /// Adds a frameset to the estimate, and returns when it was taken by the host's clock.
    fn observe(&mut self, camera_nanos: u64, arrival_nanos: u64) -> Option<u64> {
        let point =
            Point { camera_nanos, delay_nanos: arrival_nanos.wrapping_sub(camera_nanos).cast_signed() };
        let step = |point: &Point| point.camera_nanos / STEP_NANOS;
        match self.lowest.back_mut() {
            Some(lowest) if step(lowest) == step(&point) => {
                if point.delay_nanos < lowest.delay_nanos {
                    *lowest = point;
                    self.line = None;
                }
            }
            _ => {
                if self.lowest.len() == STEPS {
                    self.lowest.pop_front();
                }
                self.lowest.push_back(point);
                self.line = None;
            }
        }
        let line = *self.line.get_or_insert_with(|| fit(self.lowest.make_contiguous()));
        self.seen = self.seen.saturating_add(1);
        let since = camera_nanos.saturating_sub(*self.first_nanos.get_or_insert(camera_nanos));
        let settled = self.seen > UNSETTLED_FRAMESETS && since >= UNSETTLED_NANOS;
        settled.then(|| camera_nanos.wrapping_add_signed(line.delay_at(camera_nanos)))
    }
}

/// Returns the line below all points with the smallest average distance to them. There is at least one point.
fn fit(points: &[Point]) -> Line {
    let (first, last) = (points[0], points[points.len() - 1]);
    // Relative to the first point, so that the floats are exact.
    let relative = |point: &Point| {
        let time = point.camera_nanos.wrapping_sub(first.camera_nanos) as f64;
        (time, point.delay_nanos.wrapping_sub(first.delay_nanos) as f64)
    };
    let points: Vec<(f64, f64)> = points.iter().map(relative).collect();
    let (end, count) = (points[points.len() - 1].0, points.len() as f64);
    let slope = if end < DRIFT_NANOS { 0.0 } else { slope_of_hull(&points).clamp(-DRIFT_MAX, DRIFT_MAX) };
    let height = |&(time, delay): &(f64, f64)| delay - slope * (time - end);
    let lowest = points.iter().map(height).fold(f64::INFINITY, f64::min);
    let above = points.iter().map(height).map(|height| height - lowest).sum::<f64>() / count;
    Line {
        camera_nanos: last.camera_nanos,
        delay_nanos: first.delay_nanos.wrapping_add(lowest.round() as i64),
        slope,
        uncertainty_nanos: above.round() as u64,
    }
}

/// Returns the slope of the lower convex hull's edge at the mean time.
fn slope_of_hull(points: &[(f64, f64)]) -> f64 {
    let mut hull: Vec<(f64, f64)> = Vec::with_capacity(points.len());
    for &point in points {
        while let [.., a, b] = hull[..] {
            let turn = (b.0 - a.0) * (point.1 - a.1) - (b.1 - a.1) * (point.0 - a.0);
            if turn > 0.0 {
                break;
            }
            hull.pop();
        }
        hull.push(point);
    }
    let middle = points.iter().map(|point| point.0).sum::<f64>() / points.len() as f64;
    let edge = hull.windows(2).find(|edge| edge[1].0 >= middle);
    edge.map_or(0.0, |edge| (edge[1].1 - edge[0].1) / (edge[1].0 - edge[0].0))
}

#[cfg(test)]
mod tests {
    use camrig_frame::Clock;

    use super::*;
    use crate::matching::simulation::Random;

    const SECOND: u64 = 1_000_000_000;
    const PERIOD: u64 = SECOND / 30;
    const FRAMESETS: u64 = 3600 * 30;
    /// The host's clock when the camera's shows zero.
    const AHEAD: u64 = 5_000 * SECOND;
    /// The minimum latency from exposure to arrival.
    const SHORTEST: u64 = 3_000_000;

    /// A camera whose clock is too fast by `drift_ppm`.
    struct Simulated {
        clock: CameraClock,
        drift_ppm: f64,
        number: u64,
        start_nanos: u64,
        /// The step by which the camera's clock was set.
        set_nanos: u64,
    }

    impl Simulated {
        fn new(drift_ppm: f64) -> Self {
            Self { clock: CameraClock::new(true), drift_ppm, number: 0, start_nanos: 0, set_nanos: 0 }
        }

        /// Returns the next frameset's reading and its error.
        fn next(&mut self, late_nanos: u64) -> (Reading, i64) {
            let since_start = self.number * PERIOD;
            let camera =
                since_start.saturating_add_signed((since_start as f64 * self.drift_ppm * 1e-6) as i64);
            let truth = AHEAD + self.start_nanos + since_start;
            let timestamp = Timestamp { clock: Clock::Hardware, nanos: camera + self.set_nanos };
            let reading = self.clock.read(timestamp, self.number, truth + SHORTEST + late_nanos);
            self.number += 1;
            (reading, reading.nanos.map_or(0, |nanos| nanos as i64 - (truth + SHORTEST) as i64))
        }
    }

    /// Returns the lateness of the next frameset, in nanoseconds.
    type Lateness = fn(&mut Random) -> u64;

    fn latenesses() -> [(&'static str, Lateness); 4] {
        [
            ("never", |_| 0),
            ("evenly up to 8 ms", |random| random.below(8_000_000)),
            ("mostly a little, sometimes much", |random| {
                let little = (-random.unit().ln() * 1e6) as u64;
                if random.below(100) == 0 { little + random.below(200_000_000) } else { little }
            }),
            ("by a cable that delivers in pairs", |random| random.below(2) * PERIOD + random.below(500_000)),
        ]
    }

    #[test]
    fn the_offset_is_found_in_ten_seconds_and_kept_for_an_hour() {
        for (name, late) in latenesses() {
            for drift_ppm in [0.0, 50.0, -80.0] {
                let mut random = Random::new(7);
                let mut camera = Simulated::new(drift_ppm);
                let mut worst = 0;
                let mut outside = 0;
                for number in 0..FRAMESETS {
                    if random.below(20) == 0 {
                        camera.number += 1;
                        continue;
                    }
                    let (reading, error) = camera.next(late(&mut random));
                    assert!(!reading.restarted, "{name}, {drift_ppm} ppm: frameset {number}");
                    if number >= 10 * 30 {
                        worst = error.unsigned_abs().max(worst);
                        let estimate = camera.clock.estimate().unwrap();
                        outside += u64::from(error.unsigned_abs() > estimate.uncertainty_nanos + 1_000);
                    }
                }
                let estimate = camera.clock.estimate().unwrap();
                let drift_error = estimate.drift_ppb as f64 / 1e3 - drift_ppm;
                let shown = format!(
                    "{name}, {drift_ppm} ppm: at worst {worst} ns off, {outside} outside, {estimate:?}"
                );
                assert!(worst < 500_000 && drift_error.abs() < 1.0 && outside < FRAMESETS / 20, "{shown}");
            }
        }
    }

    #[test]
    fn a_restarted_camera_is_detected_and_estimated_again() {
        for off_seconds in [0, 5, 1000] {
            let (mut random, mut camera) = (Random::new(3), Simulated::new(30.0));
            (0..20 * 30).for_each(|_| assert!(!camera.next(random.below(2_000_000)).0.restarted));
            // Its clock and its numbers restart from zero.
            camera.start_nanos = camera.number * PERIOD + off_seconds * SECOND;
            camera.number = 0;
            assert!(camera.next(random.below(2_000_000)).0.restarted, "after {off_seconds} s");
            (0..10 * 30).for_each(|_| assert!(!camera.next(random.below(2_000_000)).0.restarted));
            for _ in 0..10 * 30 {
                let (_, error) = camera.next(random.below(2_000_000));
                assert!(error.abs() < 500_000, "{error} ns off, {off_seconds} s after the restart");
            }
        }
    }

    #[test]
    fn a_set_clock_is_detected_and_causes_no_error() {
        // An hour and 200 ms forward, and back again, as a wall clock may be set.
        for set_nanos in [3600 * SECOND, SECOND / 5] {
            let (mut random, mut camera) = (Random::new(3), Simulated::new(30.0));
            for seconds in [20, 20, 20] {
                let restarted = camera.next(random.below(2_000_000)).0.restarted;
                assert_eq!(restarted, camera.number > 1, "frameset {}", camera.number);
                for _ in 1..seconds * 30 {
                    let (reading, error) = camera.next(random.below(2_000_000));
                    assert!(
                        !reading.restarted && error.abs() < 1_000_000,
                        "{error} ns off at {}",
                        camera.number
                    );
                }
                camera.set_nanos = set_nanos - camera.set_nanos;
            }
        }
    }

    #[test]
    fn a_leap_of_the_clock_is_detected_and_lateness_is_not() {
        let mut clock = CameraClock::new(true);
        // Times are in tenths of a second, by the camera's clock and by the host's.
        let mut read = |number: u64, camera: u64, arrival: u64| {
            let timestamp = Timestamp { clock: Clock::Hardware, nanos: camera * SECOND / 10 };
            let Reading { nanos, restarted } = clock.read(timestamp, number, arrival * SECOND / 10);
            (nanos.map(|nanos| nanos * 10 / SECOND), restarted)
        };
        for number in 0..8 {
            assert_eq!(read(number, number, 100 + number), (None, false));
        }
        assert_eq!(read(8, 8, 108), (Some(108), false));
        assert_eq!(read(9, 9, 118), (Some(109), false));
        assert_eq!(read(10, 30, 119), (None, true));
        // Earlier than anything before, but by less than `EARLY_NANOS`.
        assert_eq!(read(11, 31, 120), (None, false));
        assert_eq!(read(10, 32, 121), (None, true));
        assert_eq!(read(11, 5, 122), (None, true));
    }

    #[test]
    fn an_unmapped_clock_is_returned_unchanged() {
        let mut clock = CameraClock::new(false);
        let at = |clock, nanos| Timestamp { clock, nanos };
        assert_eq!(clock.read(at(Clock::Global, 5), 0, 1), Reading { nanos: Some(5), restarted: false });
        assert_eq!(clock.read(at(Clock::Global, 9), 1, 2), Reading { nanos: Some(9), restarted: false });
        assert_eq!(clock.read(at(Clock::Global, 8), 2, 3), Reading { nanos: Some(8), restarted: true });
        assert_eq!(clock.estimate(), None);
    }
}
