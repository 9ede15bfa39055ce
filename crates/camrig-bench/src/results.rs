//! Results: collects samples, and computes medians over rounds and ratios within rounds.
//!
//! A ratio is the median of the ratios of each round, so that a round in which the machine was slow for all candidates
//! has no special weight. Bars are not evaluated here.

use serde::Serialize;
use serde_json::json;

use crate::Fallible;
use crate::candidate::Candidate;
use crate::load::Load;
use crate::measure::{Measured, Plan, Sample};

/// All measurements.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) loads: Vec<Load>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) left_out: Vec<String>,
    rounds: u32,
    seconds: f64,
}

/// One candidate under one load.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    pub(crate) candidate: Candidate,
    pub(crate) load: Load,
    pub(crate) samples: Vec<Sample>,
    /// The round in which system calls were counted.
    pub(crate) counted: Option<Sample>,
}

/// Returns a figure of a sample.
pub(crate) type Metric = fn(&Sample) -> f64;

pub(crate) fn cpu_micros(sample: &Sample) -> f64 {
    sample.cpu_micros.total()
}

/// Returns the processor time of the cameras' processes.
pub(crate) fn producers_cpu_micros(sample: &Sample) -> f64 {
    sample.cpu_micros.producers
}

pub(crate) fn framesets_per_second(sample: &Sample) -> f64 {
    if sample.window.seconds > 0.0 { sample.window.delivered as f64 / sample.window.seconds } else { 0.0 }
}

/// Returns the framesets of the least served camera, as a share of those of the most served one.
pub(crate) fn fairness(sample: &Sample) -> f64 {
    let least = sample.window.by_camera.iter().min().copied().unwrap_or(0);
    let most = sample.window.by_camera.iter().max().copied().unwrap_or(0);
    least as f64 / most.max(1) as f64
}

pub(crate) fn hop_p50_micros(sample: &Sample) -> f64 {
    sample.window.hop.p50_micros
}

pub(crate) fn hop_p99_micros(sample: &Sample) -> f64 {
    sample.window.hop.p99_micros
}

pub(crate) fn startup_seconds(sample: &Sample) -> f64 {
    sample.window.startup_seconds
}

/// Returns the largest private memory of a worker; the supervisor does not count.
pub(crate) fn private_bytes(sample: &Sample) -> f64 {
    sample.private_bytes.producers.max(sample.private_bytes.reader) as f64
}

/// Returns the memory of all processes, without the driver's own data.
pub(crate) fn memory_bytes(sample: &Sample) -> f64 {
    sample.memory_bytes as f64
}

impl Entry {
    pub(crate) fn median(&self, metric: Metric) -> f64 {
        median(self.samples.iter().map(metric).collect())
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.samples.iter().map(|sample| sample.window.dropped).sum()
    }

    fn in_round(&self, round: u32) -> Option<&Sample> {
        self.samples.iter().find(|sample| sample.round == round)
    }

    /// Combines this entry's and the other's figure in each round, and returns the median.
    pub(crate) fn against(&self, other: &Self, metric: Metric, combine: fn(f64, f64) -> f64) -> Option<f64> {
        let pairs = self.samples.iter().filter_map(|sample| Some((sample, other.in_round(sample.round)?)));
        let combined: Vec<f64> = pairs.map(|(ours, theirs)| combine(metric(ours), metric(theirs))).collect();
        (!combined.is_empty()).then(|| median(combined))
    }

    pub(crate) fn ratio(&self, other: &Self, metric: Metric) -> Option<f64> {
        self.against(other, metric, |ours, theirs| ours / theirs)
    }
}

impl Results {
    pub(crate) fn of(plan: &Plan, measured: Measured) -> Self {
        let Measured { samples, mut counted, left_out } = measured;
        let mut entries = Vec::new();
        for (load, candidates) in &plan.loads {
            for (&load, &candidate) in candidates.iter().map(|candidate| (load, candidate)) {
                let of_this = |sample: &&Sample| sample.load == load && sample.candidate == candidate;
                let samples: Vec<Sample> = samples.iter().filter(of_this).cloned().collect();
                let index = counted.iter().position(|sample| of_this(&sample));
                let counted = index.map(|index| counted.swap_remove(index));
                if !samples.is_empty() {
                    entries.push(Entry { candidate, load, samples, counted });
                }
            }
        }
        let seconds = plan.window.as_secs_f64();
        let loads = plan.loads.iter().map(|&(load, _)| load).collect();
        Self { loads, entries, left_out, rounds: plan.rounds, seconds }
    }

    pub(crate) fn entry(&self, load: Load, candidate: Candidate) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.load == load && entry.candidate == candidate)
    }

    pub(crate) fn under(&self, load: Load) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.load == load)
    }

    pub(crate) fn to_json(&self, bars: &impl Serialize) -> Fallible<String> {
        let medians: Vec<_> = self
            .entries
            .iter()
            .map(|entry| {
                let ratio = |candidate, metric| {
                    self.entry(entry.load, candidate).and_then(|other| entry.ratio(other, metric))
                };
                json!({
                    "load": entry.load,
                    "candidate": entry.candidate,
                    "framesets_per_second": entry.median(framesets_per_second),
                    "least_camera_to_most": entry.median(fairness),
                    "dropped": entry.dropped(),
                    "cpu_micros": entry.median(cpu_micros),
                    "cpu_ratio_to_floor": ratio(Candidate::Floor, cpu_micros as Metric),
                    "cpu_ratio_to_iceoryx2": ratio(Candidate::Iceoryx2, cpu_micros),
                    "hop_p50_micros": entry.median(hop_p50_micros),
                    "hop_p99_micros": entry.median(hop_p99_micros),
                    "startup_seconds": entry.median(startup_seconds),
                    "private_bytes": entry.median(private_bytes),
                    "memory_bytes": entry.median(memory_bytes),
                })
            })
            .collect();
        let all = json!({
            "camrig_bench": 1,
            "rounds": self.rounds,
            "seconds": self.seconds,
            "bars": bars,
            "medians": medians,
            "entries": self.entries,
            "left_out": self.left_out,
        });
        Ok(serde_json::to_string_pretty(&all)? + "\n")
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        even if even % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}
