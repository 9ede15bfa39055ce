//! Latencies as a histogram of atomics in a link state, which survives the processes that count.
//!
//! It reads no clock: callers measure.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Sub-buckets per power of two: latencies are exact to 1/16.
const LATENCY_STEPS: u32 = 16;
/// Number of buckets, up to 2^36 microseconds, 19 hours.
const LATENCY_BUCKETS: usize = (LATENCY_STEPS * 33) as usize;

/// Powers of two of the coarse histogram: from 64 microseconds to 8.4 seconds.
const HISTOGRAM_POWERS: std::ops::RangeInclusive<u32> = 6..=23;

/// Number of framesets by latency.
#[repr(C, align(64))]
pub(crate) struct LatencyCells {
    max_micros: AtomicU64,
    sum_micros: AtomicU64,
    buckets: [AtomicU32; LATENCY_BUCKETS],
}

#[cfg(shuttle)]
impl Default for LatencyCells {
    fn default() -> Self {
        let buckets = std::array::from_fn(|_| AtomicU32::new(0));
        Self { max_micros: AtomicU64::new(0), sum_micros: AtomicU64::new(0), buckets }
    }
}

impl LatencyCells {
    pub(crate) fn count(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        // No pairs here and below: counts for display, each read alone.
        self.buckets[bucket_of(micros)].fetch_add(1, Ordering::Relaxed);
        self.max_micros.fetch_max(micros, Ordering::Relaxed);
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(crate) fn sum_up(&self) -> Latency {
        Latency::of(&self.counts(), self.max_micros.load(Ordering::Relaxed))
    }

    pub(crate) fn histogram(&self) -> LatencyHistogram {
        let counts = self.counts();
        let below = HISTOGRAM_POWERS.map(|power| {
            let bound = 1 << power;
            // A power of two is the first value of a bucket.
            (bound, counts[..bucket_of(bound)].iter().map(|&count| u64::from(count)).sum())
        });
        LatencyHistogram { sum_micros: self.sum_micros.load(Ordering::Relaxed), below: below.collect() }
    }

    fn counts(&self) -> Vec<u32> {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect()
    }
}

/// Latencies of framesets in microseconds; percentiles are exact to 1/16.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latency {
    /// The median.
    pub p50: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The maximum, exact.
    pub max: u64,
}

/// A histogram of latencies, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyHistogram {
    /// The sum of all latencies, in microseconds.
    pub sum_micros: u64,
    /// Bounds in microseconds, in powers of two, each with the number of framesets below it.
    pub below: Vec<(u64, u64)>,
}

impl Latency {
    fn of(buckets: &[u32], max: u64) -> Self {
        let total: u64 = buckets.iter().map(|&count| u64::from(count)).sum();
        let percentile = |percent: u64| {
            let wanted = (total * percent).div_ceil(100);
            let mut seen = 0;
            for (index, &count) in buckets.iter().enumerate() {
                seen += u64::from(count);
                if count > 0 && seen >= wanted {
                    return upper_bound_of(index).min(max);
                }
            }
            0
        };
        Self { p50: percentile(50), p99: percentile(99), max }
    }
}

/// Returns the bucket of a latency: exact below 16 microseconds, then 16 buckets for each power of two.
fn bucket_of(micros: u64) -> usize {
    let steps = u64::from(LATENCY_STEPS);
    if micros < steps {
        return micros as usize;
    }
    let octave = micros.ilog2() - LATENCY_STEPS.ilog2();
    let step = (micros >> octave) - steps;
    ((u64::from(octave) + 1) * steps + step).min(LATENCY_BUCKETS as u64 - 1) as usize
}

/// Returns the largest value that `bucket_of` maps to `bucket`.
fn upper_bound_of(bucket: usize) -> u64 {
    let (octave, step) = (bucket as u64 / u64::from(LATENCY_STEPS), bucket as u64 % u64::from(LATENCY_STEPS));
    if octave == 0 {
        return step;
    }
    ((u64::from(LATENCY_STEPS) + step + 1) << (octave - 1)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_hold_the_values_within_their_bounds() {
        for micros in (0..5000).chain((0..60).map(|power| 1 << power)).chain([u64::MAX]) {
            let bucket = bucket_of(micros);
            if bucket < LATENCY_BUCKETS - 1 {
                assert!(micros <= upper_bound_of(bucket), "{micros}");
                assert!(bucket == 0 || micros > upper_bound_of(bucket - 1), "{micros}");
            }
        }
    }

    #[test]
    fn the_histogram_counts_values_below_each_bound() {
        let link_state = crate::LinkState::new().unwrap();
        for micros in [0, 63, 64, 127, 128, 129, 8_388_607, 8_388_608] {
            link_state.count_delivered(Duration::from_micros(micros));
        }
        let histogram = link_state.latency_histogram();
        assert_eq!(histogram.below.len(), 18);
        assert_eq!(histogram.below[..3], [(64, 2), (128, 4), (256, 6)]);
        assert_eq!(histogram.below[16..], [(1 << 22, 6), (1 << 23, 7)]);
        assert_eq!(histogram.sum_micros, 63 + 64 + 127 + 128 + 129 + 8_388_607 + 8_388_608);
    }
}
