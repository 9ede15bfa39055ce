//! What is measured from inside: at the reader, between two marks, and at each producer.
//!
//! The reader's meter says when the window begins and ends; the benchmark, which looks at processes from
//! outside, hears it at that moment. It deliberately knows no candidate.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use camrig::monotonic_nanos;

use crate::allocations::Allocations;
use crate::message::Message;
use crate::task::Task;
use crate::work::Stamped;

/// What one reader saw in its window.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Window {
    pub(crate) seconds: f64,
    pub(crate) delivered: u64,
    /// The same by camera: an unpaced way may serve some and starve others.
    pub(crate) by_camera: Vec<u64>,
    /// Gaps in the sequence numbers.
    pub(crate) dropped: u64,
    /// From the hand-over to the reader having the frameset.
    pub(crate) hop: Latency,
    /// The same from before the copy.
    pub(crate) age: Latency,
    /// From the launch of the first process to the first frameset of the last camera.
    pub(crate) startup_seconds: f64,
    /// What the reader's process allocated.
    pub(crate) allocations: Allocations,
}

/// What one camera's process did after its warm-up.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Produced {
    pub(crate) camera: usize,
    pub(crate) framesets: u64,
    pub(crate) allocations: Allocations,
}

/// Percentiles in microseconds.
#[allow(clippy::struct_field_names)] // Their unit belongs to their names.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
    pub(crate) max_micros: f64,
}

/// The reader's side of a measurement: told of every frameset before it is read.
pub(crate) struct Meter {
    /// The next sequence number of each camera, once one was seen.
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

    /// Notes a frameset that the reader has, before it reads it.
    pub(crate) fn note(&mut self, stamped: &Stamped) {
        let now = monotonic_nanos();
        let expected = self.expected[stamped.camera].replace(stamped.sequence + 1);
        self.turn_phase(now);
        if matches!(self.phase, Phase::Measuring) {
            self.seen.delivered += 1;
            self.seen.by_camera[stamped.camera] += 1;
            self.seen.dropped += expected.map_or(0, |expected| stamped.sequence.saturating_sub(expected));
            self.hop.note(now.saturating_sub(stamped.handed_nanos));
            self.age.note(now.saturating_sub(stamped.begun_nanos));
        }
    }

    fn turn_phase(&mut self, now: u64) {
        let elapsed = Duration::from_nanos(now.saturating_sub(self.begun_nanos));
        match self.phase {
            Phase::Starting if self.expected.iter().all(Option::is_some) => {
                self.seen.startup_seconds = seconds(now.saturating_sub(self.launch_nanos));
                self.begun_nanos = now;
                self.phase = Phase::Warming;
            }
            Phase::Warming if elapsed >= self.warmup => {
                Message::Begin { reader: std::process::id() }.say();
                self.before = Allocations::so_far();
                self.begun_nanos = now;
                self.phase = Phase::Measuring;
            }
            Phase::Measuring if elapsed >= self.window => {
                self.seen.allocations = Allocations::so_far().since(self.before);
                self.seen.seconds = elapsed.as_secs_f64();
                Message::End.say();
                self.phase = Phase::Over;
            }
            _ => {}
        }
    }

    /// Says what was seen, when nothing more will come.
    pub(crate) fn finish(mut self) {
        self.seen.hop = self.hop.latency();
        self.seen.age = self.age.latency();
        Message::Window(self.seen).say();
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// A producer's side of a measurement: says what it did when it drops.
pub(crate) struct Account {
    camera: usize,
    warmup: Duration,
    since_nanos: Option<u64>,
    warm: bool,
    before: Allocations,
    after: Allocations,
    framesets: u64,
}

impl Account {
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

    /// Notes that a frameset was handed over.
    pub(crate) fn note(&mut self, now: u64) {
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

impl Drop for Account {
    fn drop(&mut self) {
        let Self { camera, framesets, .. } = *self;
        let allocations = if self.warm { self.after.since(self.before) } else { Allocations::default() };
        Message::Produced(Produced { camera, framesets, allocations }).say();
    }
}

/// Steps per power of two: latencies are known within 1 %.
const STEPS: u64 = 64;
/// Up to 2^40 ns, 18 minutes.
const BUCKETS: usize = (STEPS * 35) as usize;

/// Latencies, counted without allocating.
struct Histogram {
    buckets: Vec<u32>,
    max_nanos: u64,
}

impl Histogram {
    fn new() -> Self {
        Self { buckets: vec![0; BUCKETS], max_nanos: 0 }
    }

    fn note(&mut self, nanos: u64) {
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

/// Exact below 64 ns, then 64 buckets for each power of two.
fn bucket_of(nanos: u64) -> usize {
    if nanos < STEPS {
        return nanos as usize;
    }
    let octave = u64::from(nanos.ilog2() - STEPS.ilog2());
    ((octave * STEPS + (nanos >> octave)) as usize).min(BUCKETS - 1)
}

/// The middle of what `bucket_of` maps to `bucket`.
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
    fn percentiles_are_known_within_one_percent() {
        let mut histogram = Histogram::new();
        (1..=100_000).for_each(|micros| histogram.note(micros * 1000));
        let latency = histogram.latency();
        assert!((latency.p50_micros / 50_000.0 - 1.0).abs() < 0.01, "{latency:?}");
        assert!((latency.p99_micros / 99_000.0 - 1.0).abs() < 0.01, "{latency:?}");
        assert!((latency.max_micros - 100_000.0).abs() < 0.001, "{latency:?}");
    }

    #[test]
    fn buckets_hold_their_middle() {
        for bucket in 0..BUCKETS - 1 {
            assert_eq!(bucket_of(middle_of(bucket) as u64), bucket);
        }
    }
}
