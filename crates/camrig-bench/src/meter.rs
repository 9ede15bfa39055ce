//! Measurements inside the processes: at the reader within its window, and at each producer.
//!
//! The reader's meter sends a message when its window begins and ends, and the benchmark then reads the usage of all
//! processes from outside. It does not depend on any candidate.

use std::time::Duration;

use camrig::monotonic_nanos;

use crate::allocations::Allocations;
use crate::message::{Latency, Message, Produced, Window};
use crate::task::Task;
use crate::work::Stamped;

/// The reader's side of a measurement.
pub(crate) struct Meter {
    /// The next sequence number of each camera; `None` before its first frameset.
    expected: Vec<Option<u64>>,
    launch_nanos: u64,
    warmup: Duration,
    window: Duration,
    phase: Phase,
    begun_nanos: u64,
    before: Allocations,
    hop: Histogram,
    age: Histogram,
    seen: Window,
}

enum Phase {
    Starting,
    Warming,
    Measuring,
    Over,
}

impl Meter {
    pub(crate) fn new(task: &Task) -> Self {
        Self {
            expected: vec![None; task.load.cameras],
            launch_nanos: task.launch_nanos,
            warmup: task.warmup,
            window: task.window,
            phase: Phase::Starting,
            begun_nanos: 0,
            before: Allocations::default(),
            hop: Histogram::new(),
            age: Histogram::new(),
            seen: Window { by_camera: vec![0; task.load.cameras], ..Window::default() },
        }
    }

    /// Records a frameset that the reader has received, before it reads it.
    pub(crate) fn record(&mut self, stamped: &Stamped) {
        let now = monotonic_nanos();
        let expected = self.expected[stamped.camera].replace(stamped.sequence + 1);
        self.advance_phase(now);
        if matches!(self.phase, Phase::Measuring) {
            self.seen.delivered += 1;
            self.seen.by_camera[stamped.camera] += 1;
            self.seen.dropped += expected.map_or(0, |expected| stamped.sequence.saturating_sub(expected));
            self.hop.record(now.saturating_sub(stamped.handed_nanos));
            self.age.record(now.saturating_sub(stamped.begun_nanos));
        }
    }

    fn advance_phase(&mut self, now: u64) {
        let elapsed = Duration::from_nanos(now.saturating_sub(self.begun_nanos));
        match self.phase {
            Phase::Starting if self.expected.iter().all(Option::is_some) => {
                self.seen.startup_seconds = seconds(now.saturating_sub(self.launch_nanos));
                self.begun_nanos = now;
                self.phase = Phase::Warming;
            }
            Phase::Warming if elapsed >= self.warmup => {
                Message::Begin { reader: std::process::id() }.send();
                self.before = Allocations::so_far();
                self.begun_nanos = now;
                self.phase = Phase::Measuring;
            }
            Phase::Measuring if elapsed >= self.window => {
                self.seen.allocations = Allocations::so_far().since(self.before);
                self.seen.seconds = elapsed.as_secs_f64();
                Message::End.send();
                self.phase = Phase::Over;
            }
            _ => {}
        }
    }

    /// Sends the measurements at the reader's end.
    pub(crate) fn finish(mut self) {
        self.seen.hop = self.hop.latency();
        self.seen.age = self.age.latency();
        Message::Window(self.seen).send();
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// A producer's side of a measurement; it sends its measurements when it is dropped.
pub(crate) struct ProducerMeter {
    camera: usize,
    warmup: Duration,
    since_nanos: Option<u64>,
    warm: bool,
    before: Allocations,
    after: Allocations,
    framesets: u64,
}

impl ProducerMeter {
    pub(crate) fn new(task: &Task, camera: usize) -> Self {
        Self {
            camera,
            warmup: task.warmup,
            since_nanos: None,
            warm: false,
            before: Allocations::default(),
            after: Allocations::default(),
            framesets: 0,
        }
    }

    /// Records that a frameset was published.
    pub(crate) fn record(&mut self, now: u64) {
        let since = *self.since_nanos.get_or_insert(now);
        self.after = Allocations::so_far();
        if self.warm {
            self.framesets += 1;
        } else if now.saturating_sub(since) >= self.warmup.as_nanos() as u64 {
            self.warm = true;
            self.before = self.after;
        }
    }
}

impl Drop for ProducerMeter {
    fn drop(&mut self) {
        let Self { camera, framesets, .. } = *self;
        let allocations = if self.warm { self.after.since(self.before) } else { Allocations::default() };
        Message::Produced(Produced { camera, framesets, allocations }).send();
    }
}

/// Steps per power of two: latencies are exact to 1 %.
const STEPS: u64 = 64;
/// Number of steps, up to 2^40 ns, 18 minutes.
const BUCKETS: usize = (STEPS * 35) as usize;

/// A histogram of latencies that does not allocate while recording.
struct Histogram {
    buckets: Vec<u32>,
    max_nanos: u64,
}

impl Histogram {
    fn new() -> Self {
        Self { buckets: vec![0; BUCKETS], max_nanos: 0 }
    }

    fn record(&mut self, nanos: u64) {
        self.buckets[bucket_of(nanos)] += 1;
        self.max_nanos = self.max_nanos.max(nanos);
    }

    fn latency(&self) -> Latency {
        let percentile = |percent| self.percentile(percent) / 1e3;
        Latency {
            p50_micros: percentile(50),
            p99_micros: percentile(99),
            max_micros: self.max_nanos as f64 / 1e3,
        }
    }

    fn percentile(&self, percent: u64) -> f64 {
        let total: u64 = self.buckets.iter().map(|&count| u64::from(count)).sum();
        let wanted = (total * percent).div_ceil(100).max(1);
        let mut seen = 0;
        for (bucket, &count) in self.buckets.iter().enumerate() {
            seen += u64::from(count);
            if seen >= wanted {
                return middle_of(bucket).min(self.max_nanos as f64);
            }
        }
        0.0
    }
}

/// Returns the bucket of a latency: exact below 64 ns, then 64 buckets for each power of two.
fn bucket_of(nanos: u64) -> usize {
    if nanos < STEPS {
        return nanos as usize;
    }
    let octave = u64::from(nanos.ilog2() - STEPS.ilog2());
    ((octave * STEPS + (nanos >> octave)) as usize).min(BUCKETS - 1)
}

/// Returns the middle of the latencies that `bucket_of` maps to `bucket`.
fn middle_of(bucket: usize) -> f64 {
    let (octave, step) = (bucket as u64 / STEPS, bucket as u64 % STEPS);
    if octave == 0 {
        return step as f64;
    }
    (step + STEPS) as f64 * 2_f64.powi(octave as i32 - 1) + 2_f64.powi(octave as i32 - 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_exact_to_one_percent() {
        let mut histogram = Histogram::new();
        (1..=100_000).for_each(|micros| histogram.record(micros * 1000));
        let latency = histogram.latency();
        assert!((latency.p50_micros / 50_000.0 - 1.0).abs() < 0.01, "{latency:?}");
        assert!((latency.p99_micros / 99_000.0 - 1.0).abs() < 0.01, "{latency:?}");
        assert!((latency.max_micros - 100_000.0).abs() < 0.001, "{latency:?}");
    }

    #[test]
    fn the_middle_of_a_bucket_is_in_it() {
        for bucket in 0..BUCKETS - 1 {
            assert_eq!(bucket_of(middle_of(bucket) as u64), bucket);
        }
    }
}
