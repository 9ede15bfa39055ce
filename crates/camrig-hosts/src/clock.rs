//! The offset of another host's monotonic clock from this host's: an exchange of four times, and a filter.
//!
//! This host asks at `asked`, the other receives the question at `received` and answers at `answered`, the answer arrives at
//! `arrived`. The network delays both ways; however the delay is divided between them, the offset is wrong by at most half of
//! the delay. So the exchanges with the least delay are the most exact: the best one of each section of the window is used, and
//! a line through these gives offset and drift.

use std::collections::VecDeque;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, SystemTime};

use camrig::{monotonic_nanos, spawn_thread};
use zenoh::qos::Priority;
use zenoh::query::Query;
use zenoh::{Session, Wait};

/// Number of exchanges in the window.
const WINDOW: usize = 64;

/// Number of sections of the window; the best exchange of each is used.
const STRETCHES: usize = 8;

/// Maximum drift that an offset is assumed to have without a measured one, in parts per million: more than quartz has.
const DRIFT_PPM_MAX: f64 = 200.0;

/// The least time between the first and the last of the best exchanges from which a drift is computed.
const DRIFT_SPAN: Duration = Duration::from_secs(2);

/// Size of an answer in bytes: two times, and how far the wall clock is ahead of the monotonic one.
const ANSWER_BYTES: usize = 24;

/// Maximum time between two readings of the monotonic clock around one of the wall clock, and the number of attempts.
const LOOK_NANOS: u64 = 50_000;
const LOOKS: usize = 8;

/// Maximum number of questions that wait for their answers; further ones are discarded, and asked again.
const QUESTIONS_MAX: usize = 64;

/// Maximum time for an answer.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// One exchange; all times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// When this host asked, by its clock.
    pub asked: u64,
    /// When the other host received the question, by its clock.
    pub received: u64,
    /// When the other host answered, by its clock.
    pub answered: u64,
    /// When the answer arrived, by this host's clock.
    pub arrived: u64,
    /// The lead of this host's wall clock over its monotonic clock, minus the same of the other host, in nanoseconds.
    pub wall: i64,
}

impl Exchange {
    /// Returns the time on the network, in nanoseconds; `None` if the times contradict each other.
    pub fn delay_nanos(&self) -> Option<u64> {
        let here = self.arrived.checked_sub(self.asked)?;
        here.checked_sub(self.answered.checked_sub(self.received)?)
    }

    /// Returns this host's time minus the other's, in nanoseconds, if the network delays both directions equally.
    pub fn offset_nanos(&self) -> i64 {
        let middle = |one: u64, other: u64| i128::from(u64::midpoint(one, other));
        (middle(self.asked, self.arrived) - middle(self.received, self.answered)) as i64
    }

    fn middle(&self) -> u64 {
        u64::midpoint(self.asked, self.arrived)
    }
}

/// The estimate of the other host's clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HostClock {
    /// This host's time minus the other's at [`Self::at_nanos`], in nanoseconds.
    pub offset_nanos: i64,
    /// The rate by which this host's clock is faster, in parts per million.
    pub drift_ppm: f64,
    /// The offset is wrong by at most this at [`Self::at_nanos`], in nanoseconds.
    pub uncertainty_nanos: u64,
    /// The time of the last exchange, by this host's clock.
    pub at_nanos: u64,
    /// This host's wall clock minus the other's, in nanoseconds.
    pub wall_offset_nanos: i64,
}

impl HostClock {
    /// Returns the time of this host at which the other's clock shows `there`, in nanoseconds.
    pub fn here(&self, there: u64) -> u64 {
        let here = i128::from(there) + i128::from(self.offset_nanos);
        let since = here - i128::from(self.at_nanos);
        let drifted = here + (since as f64 * self.drift_ppm / 1e6) as i128;
        u64::try_from(drifted.max(0)).unwrap_or(u64::MAX)
    }

    /// Returns the time of this host's wall clock at which the other's shows `there`, in nanoseconds. Wall clocks that differ
    /// by no more than the uncertainty, such as those that PTP or chrony synchronises, count as one clock.
    pub fn wall_here(&self, there: u64) -> u64 {
        let is_one = self.wall_offset_nanos.unsigned_abs() <= self.uncertainty_nanos;
        if is_one { there } else { there.saturating_add_signed(self.wall_offset_nanos) }
    }

    /// Checks that a window of a match is at least twice the uncertainty: a narrower one would decide by chance.
    ///
    /// # Errors
    /// If it is narrower, with the figures.
    pub fn check_window(&self, window_nanos: u64) -> Result<(), NarrowWindow> {
        let least_nanos = self.uncertainty_nanos.saturating_mul(2);
        if window_nanos >= least_nanos { Ok(()) } else { Err(NarrowWindow { window_nanos, least_nanos }) }
    }
}

/// The window of a match that is narrower than the clocks of two hosts allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the window of {} ms is narrower than twice the uncertainty of the clocks of two hosts, {} ms; widen `window_millis`, or \
     synchronise with less delay",
    *window_nanos as f64 / 1e6,
    *least_nanos as f64 / 1e6
)]
pub struct NarrowWindow {
    window_nanos: u64,
    least_nanos: u64,
}

/// The last exchanges.
#[derive(Clone, Debug, Default)]
pub struct ClockFilter {
    exchanges: VecDeque<Exchange>,
}

impl ClockFilter {
    /// Adds an exchange; one whose times contradict each other is ignored.
    pub fn add(&mut self, exchange: Exchange) {
        if exchange.delay_nanos().is_none() {
            return;
        }
        if self.exchanges.len() == WINDOW {
            self.exchanges.pop_front();
        }
        self.exchanges.push_back(exchange);
    }

    /// Returns the number of exchanges in the window.
    pub fn len(&self) -> usize {
        self.exchanges.len()
    }

    /// Returns whether there was no exchange.
    pub fn is_empty(&self) -> bool {
        self.exchanges.is_empty()
    }

    /// Returns the estimate; `None` before the first exchange.
    pub fn estimate(&self) -> Option<HostClock> {
        let newest = self.exchanges.back()?;
        let (at_nanos, wall) = (newest.middle(), newest.wall);
        let delay = |exchange: &Exchange| exchange.delay_nanos().unwrap_or(u64::MAX);
        let exchanges: Vec<_> = self.exchanges.iter().copied().collect();
        let stretches = exchanges.chunks(exchanges.len().div_ceil(STRETCHES));
        let best: Vec<_> =
            stretches.filter_map(|stretch| stretch.iter().copied().min_by_key(delay)).collect();
        // The delays of the best ones bound how wrong each of them is.
        let least = best.iter().copied().min_by_key(delay)?;
        let line = Line::through(&best, at_nanos);
        let Some(line) = line else {
            let age = at_nanos.abs_diff(least.middle()) as f64;
            let uncertainty = delay(&least) / 2 + (age * DRIFT_PPM_MAX / 1e6) as u64;
            let offset_nanos = least.offset_nanos();
            return Some(HostClock {
                offset_nanos,
                drift_ppm: 0.0,
                uncertainty_nanos: uncertainty,
                at_nanos,
                wall_offset_nanos: offset_nanos.saturating_add(wall),
            });
        };
        let worst = best.iter().map(delay).max()? / 2;
        let residual = best.iter().map(|exchange| line.residual(exchange)).fold(0.0, f64::max);
        Some(HostClock {
            offset_nanos: line.offset(),
            drift_ppm: line.slope * 1e6,
            uncertainty_nanos: worst.saturating_add(residual as u64),
            at_nanos,
            wall_offset_nanos: line.offset().saturating_add(wall),
        })
    }
}

/// A line through offsets over time, by least squares.
struct Line {
    /// The origin, so that numbers stay small: an offset and a time.
    zero: (i64, u64),
    /// The offset at `zero`'s time, relative to `zero`'s, in nanoseconds.
    height: f64,
    slope: f64,
}

impl Line {
    /// Returns `None` if there are too few exchanges, or over too short a time.
    fn through(exchanges: &[Exchange], at_nanos: u64) -> Option<Self> {
        let (first, last) = (exchanges.first()?, exchanges.last()?);
        if u128::from(last.middle().abs_diff(first.middle())) < DRIFT_SPAN.as_nanos() || exchanges.len() < 3 {
            return None;
        }
        let zero = (last.offset_nanos(), at_nanos);
        let points: Vec<_> = exchanges.iter().map(|exchange| point(exchange, zero)).collect();
        let count = points.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (time, offset) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points.iter().map(|point| (point.0 - time).powi(2)).sum();
        let both: f64 = points.iter().map(|point| (point.0 - time) * (point.1 - offset)).sum();
        let slope = (both / spread).clamp(-DRIFT_PPM_MAX / 1e6, DRIFT_PPM_MAX / 1e6);
        Some(Self { zero, height: offset - slope * time, slope })
    }

    fn offset(&self) -> i64 {
        self.zero.0.saturating_add(self.height as i64)
    }

    /// Returns how far the offset of an exchange is from the line, in nanoseconds.
    fn residual(&self, exchange: &Exchange) -> f64 {
        let (time, offset) = point(exchange, self.zero);
        (self.height + self.slope * time - offset).abs()
    }
}

/// Returns time and offset relative to an origin.
fn point(exchange: &Exchange, zero: (i64, u64)) -> (f64, f64) {
    let time = i128::from(exchange.middle()) - i128::from(zero.1);
    (time as f64, exchange.offset_nanos().saturating_sub(zero.0) as f64)
}

/// Answers questions for this host's monotonic time under `key`, until the result is dropped.
///
/// # Errors
/// If `key` cannot be declared, or the system has no thread left.
pub fn serve(session: &Session, key: &str) -> zenoh::Result<zenoh::query::Queryable<()>> {
    let own = key.to_owned();
    let (questions, asked) = sync_channel::<(Query, u64)>(QUESTIONS_MAX);
    // An answer may have to wait for the network. On a thread of Zenoh, that wait would hold up the transmission that it
    // waits for.
    spawn_thread("clock", move || {
        for (query, received) in asked {
            let mut bytes = [0; ANSWER_BYTES];
            bytes[..8].copy_from_slice(&received.to_le_bytes());
            bytes[16..].copy_from_slice(&wall_ahead().to_le_bytes());
            bytes[8..16].copy_from_slice(&monotonic_nanos().to_le_bytes());
            // The other host asks again.
            let _ = query.reply(&own, &bytes[..]).wait();
        }
    })?;
    let take = move |query: Query| drop(questions.try_send((query, monotonic_nanos())));
    session.declare_queryable(key).callback(take).wait()
}

/// Asks once for the time of the host that serves `key`; `None` if it does not answer within a second. It waits, so do not call
/// it on the thread of an actor.
pub fn exchange(session: &Session, key: &str) -> Option<Exchange> {
    let asked = monotonic_nanos();
    // It overtakes framesets that wait for the network, and so does the answer.
    let question = session.get(key).priority(Priority::RealTime).express(true);
    let replies = question.timeout(ANSWER_TIME).wait().ok()?;
    let reply = replies.recv_timeout(ANSWER_TIME).ok().flatten()?;
    let arrived = monotonic_nanos();
    let bytes: [u8; ANSWER_BYTES] = reply.result().ok()?.payload().to_bytes().as_ref().try_into().ok()?;
    let time = |at: usize| bytes[at..].first_chunk().copied().map(u64::from_le_bytes);
    let wall = wall_ahead().saturating_sub(time(16)? as i64);
    Some(Exchange { asked, received: time(0)?, answered: time(8)?, arrived, wall })
}

/// Returns by how much this host's wall clock is ahead of its monotonic one, in nanoseconds.
fn wall_ahead() -> i64 {
    let look = || {
        let before = monotonic_nanos();
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let after = monotonic_nanos();
        let ahead =
            i128::try_from(wall.as_nanos()).unwrap_or_default() - i128::from(u64::midpoint(before, after));
        (after - before, ahead as i64)
    };
    // A thread may be suspended between two readings of the clock.
    let first = look();
    let looks = (1..LOOKS).scan(first, |best, _| {
        (best.0 > LOOK_NANOS).then(|| {
            *best = (*best).min(look());
            *best
        })
    });
    looks.last().unwrap_or(first).1
}

/// Asks this number of times for the time of the host that serves `key`; `None` if it never answers. It waits, so do not call
/// it on the thread of an actor.
pub fn measure(session: &Session, key: &str, rounds: usize) -> Option<HostClock> {
    let mut filter = ClockFilter::default();
    (0..rounds).filter_map(|_| exchange(session, key)).for_each(|exchange| filter.add(exchange));
    filter.estimate()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Another host, whose clock is 3 s ahead and runs fast by 50 ppm.
    struct Simulation {
        random: fastrand::Rng,
        /// Minimum delay in each direction, and the maximum addition to it, in nanoseconds.
        delays: [u64; 2],
        jitter: u64,
    }

    impl Simulation {
        /// Returns the other clock's time at a time of this one.
        fn there(here: u64) -> u64 {
            here + 3 * SECOND + (here as f64 * 50e-6) as u64
        }

        fn delay(&mut self, base: u64) -> u64 {
            // Most messages are quick, some are late.
            let unit = self.random.f64();
            base + (self.jitter as f64 * unit.powi(4)) as u64
        }

        fn exchange(&mut self, asked: u64) -> Exchange {
            let [there, back] = self.delays;
            let received = asked + self.delay(there);
            let answered = received + 20_000;
            let arrived = answered + self.delay(back);
            let (received, answered) = (Self::there(received), Self::there(answered));
            Exchange { asked, received, answered, arrived, wall: 0 }
        }

        /// Returns the estimate after exchanges of a second each, and how wrong it is at a time of this host.
        fn run(&mut self, exchanges: u64) -> (HostClock, impl Fn(u64) -> u64 + use<>) {
            let mut filter = ClockFilter::default();
            (0..exchanges).for_each(|second| filter.add(self.exchange(100 * SECOND + second * SECOND)));
            let estimate = filter.estimate().unwrap();
            (estimate, move |here: u64| estimate.here(Self::there(here)).abs_diff(here))
        }
    }

    #[test]
    fn a_clock_that_is_wrong_by_seconds_and_drifts_is_known_within_its_uncertainty() {
        for (delays, jitter) in [
            ([100_000, 100_000], 0),
            ([100_000, 100_000], 2_000_000),
            ([100_000, 900_000], 500_000),
            ([5_000_000, 1_000_000], 20_000_000),
        ] {
            for seed in 0..50 {
                let random = fastrand::Rng::with_seed(seed);
                let mut simulation = Simulation { random, delays, jitter };
                for exchanges in [1, 2, 8, 64, 300] {
                    let (estimate, error) = simulation.run(exchanges);
                    let (error, allowed) = (error(estimate.at_nanos), estimate.uncertainty_nanos + 1000);
                    assert!(error <= allowed, "{delays:?} {jitter}, {exchanges}: {error} of {allowed} ns");
                    let least = u64::midpoint(delays[0], delays[1]);
                    assert!(estimate.uncertainty_nanos + 1000 >= least, "{estimate:?}");
                }
            }
        }
    }

    #[test]
    fn drift_is_measured_over_a_minute() {
        let random = fastrand::Rng::with_seed(1);
        let mut simulation = Simulation { random, delays: [100_000, 100_000], jitter: 200_000 };
        let (estimate, error) = simulation.run(64);
        assert!((estimate.drift_ppm + 50.0).abs() < 5.0, "{estimate:?}");
        assert!(estimate.uncertainty_nanos < 300_000, "{estimate:?}");
        // Also for times between two exchanges, and for some seconds without any.
        assert!(
            error(estimate.at_nanos + 5 * SECOND) < 100_000
                && error(estimate.at_nanos - 5 * SECOND) < 100_000
        );
        // Without a line, drift is only assumed.
        let (estimate, _) = simulation.run(2);
        assert!(estimate.drift_ppm == 0.0 && estimate.uncertainty_nanos > 100_000, "{estimate:?}");
    }

    #[test]
    fn a_window_narrower_than_twice_the_uncertainty_is_refused_with_the_figure() {
        let estimate = HostClock {
            offset_nanos: 0,
            drift_ppm: 0.0,
            uncertainty_nanos: 4_250_000,
            at_nanos: 0,
            wall_offset_nanos: 0,
        };
        assert_eq!(estimate.check_window(8_500_000), Ok(()));
        assert_eq!(
            estimate.check_window(5_000_000).unwrap_err().to_string(),
            "the window of 5 ms is narrower than twice the uncertainty of the clocks of two hosts, 8.5 ms; widen \
             `window_millis`, or synchronise with less delay"
        );
    }

    #[test]
    fn wall_clocks_are_mapped_where_they_are_known_to_differ() {
        // The other host's monotonic clock is 3 s ahead, and its wall clock 2 s behind.
        let exchange = |wall| Exchange {
            asked: 10 * SECOND,
            received: 13 * SECOND + 100_000,
            answered: 13 * SECOND + 100_000,
            arrived: 10 * SECOND + 200_000,
            wall,
        };
        let estimate = |wall| {
            let mut filter = ClockFilter::default();
            filter.add(exchange(wall));
            filter.estimate().unwrap()
        };
        let far = estimate(5 * SECOND as i64);
        assert_eq!((far.offset_nanos, far.wall_offset_nanos), (-3 * SECOND as i64, 2 * SECOND as i64));
        assert_eq!(far.wall_here(1_000 * SECOND), 1_002 * SECOND);
        // They are the same as far as the exchange can tell.
        let near = estimate(3 * SECOND as i64 + 90_000);
        assert_eq!((near.wall_offset_nanos, near.uncertainty_nanos), (90_000, 100_000));
        assert_eq!(near.wall_here(1_000 * SECOND), 1_000 * SECOND);
        assert!(wall_ahead() > 0);
    }

    #[test]
    fn contradictions_are_ignored_and_extremes_do_not_overflow() {
        let mut filter = ClockFilter::default();
        let good =
            Exchange { asked: 10, received: u64::MAX - 5, answered: u64::MAX, arrived: 30, wall: i64::MIN };
        filter.add(Exchange { asked: 20, arrived: 10, ..good });
        filter.add(Exchange { received: 9, answered: 8, ..good });
        filter.add(Exchange { received: 0, answered: 40, ..good });
        assert!(filter.is_empty() && filter.estimate().is_none());
        filter.add(good);
        let estimate = filter.estimate().unwrap();
        let _ = (estimate.here(0), estimate.here(u64::MAX));
        let _ = (estimate.wall_here(0), estimate.wall_here(u64::MAX));
    }
}
