//! The report of a run: a stable contract that other programs read. Fields may be added, none is renamed.

use std::collections::BTreeMap;

use camrig_ipc::{ClockEstimate, DropReason, Latency, LostReason, MatchCamera, MatchCounts, Unmatched};
use camrig_status::{ClockStatus, MatchedCameraStatus, MatchingStatus, SpreadStatus};
use serde::Serialize;

use crate::matching::MatchStatus;

/// What became of a rig, as JSON.
#[derive(Debug, Serialize)]
#[allow(clippy::struct_field_names)] // `camrig_report` is how a reader knows the file.
pub(crate) struct Report {
    /// The version of this contract.
    pub(crate) camrig_report: u32,
    pub(crate) topology: String,
    /// From the first camera's go to the end of the last actor.
    pub(crate) seconds: f64,
    /// Why the run ended, in words.
    pub(crate) exit: String,
    pub(crate) actors: Vec<ActorReport>,
    pub(crate) links: Vec<LinkReport>,
    pub(crate) matching: Vec<MatchingStatus>,
    pub(crate) processes: Vec<ProcessReport>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ActorReport {
    pub(crate) name: String,
    /// `camera` or `processor`.
    pub(crate) role: &'static str,
    pub(crate) process: String,
    /// The last one: `starting`, `ready`, `running`, `stalled`, `restarting`, `waiting-for-device`, `finished` or
    /// `failed`.
    pub(crate) state: &'static str,
    /// How often it came into each state after the first; states in which it never was are left out.
    pub(crate) changes: BTreeMap<&'static str, u64>,
    pub(crate) produced: u64,
    /// Framesets that the device, its library or its driver lost before the camera actor saw them.
    pub(crate) lost: u64,
    /// The same by reason; reasons without a frameset are left out.
    pub(crate) lost_by_reason: BTreeMap<&'static str, u64>,
    pub(crate) restarts: u64,
    pub(crate) errors: Vec<String>,
}

/// `produced = delivered + sum(dropped) + in_flight`.
#[derive(Debug, Serialize)]
pub(crate) struct LinkReport {
    pub(crate) from: String,
    pub(crate) to: String,
    /// `in-process` or `multi-process`.
    pub(crate) placement: &'static str,
    pub(crate) produced: u64,
    pub(crate) delivered: u64,
    /// By reason; reasons without a frameset are left out.
    pub(crate) dropped: BTreeMap<&'static str, u64>,
    pub(crate) in_flight: u64,
    /// Delivered framesets per second of the run.
    pub(crate) rate_hz: f64,
    /// From the arrival in the camera actor to the call of the processor.
    pub(crate) latency_us: Latency,
}

#[derive(Debug, Serialize)]
pub(crate) struct ProcessReport {
    pub(crate) name: String,
    pub(crate) pid: u32,
    pub(crate) cpu_seconds: f64,
    /// The most that was seen at once, looked at every second.
    pub(crate) private_bytes_peak: u64,
    /// The most that was seen at once, looked at every second.
    pub(crate) shared_bytes: u64,
}

/// What the matching of a processor came to in so many seconds.
pub(crate) fn matching(processor: &str, status: &MatchStatus<'_>, seconds: f64) -> MatchingStatus {
    let MatchCounts { matches, partial, spread } = status.counts;
    MatchingStatus {
        processor: processor.to_owned(),
        matches,
        partial,
        rate_hz: rate_hz(matches, seconds),
        spread_us: SpreadStatus { p50: spread.p50, p99: spread.p99, max: spread.max },
        cameras: status.cameras.iter().map(|(name, camera)| matched_camera(name, camera)).collect(),
    }
}

fn matched_camera(name: &str, camera: &MatchCamera) -> MatchedCameraStatus {
    let reasons = Unmatched::ALL.iter().map(|reason| reason.name().to_owned());
    let clock = |clock: ClockEstimate| ClockStatus {
        offset_ms: rounded(clock.offset_nanos as f64 / 1e6),
        drift_ppm: rounded(clock.drift_ppb as f64 / 1e3),
        uncertainty_us: rounded(clock.uncertainty_nanos as f64 / 1e3),
    };
    MatchedCameraStatus {
        name: name.to_owned(),
        matched: camera.matched,
        unmatched: reasons.zip(camera.unmatched).filter(|&(_, count)| count > 0).collect(),
        epochs: camera.epochs,
        clock: camera.clock.map(clock),
    }
}

/// Dropped framesets by reason, in words.
pub(crate) fn dropped_by_reason(dropped: &[u64; DropReason::ALL.len()]) -> BTreeMap<&'static str, u64> {
    DropReason::ALL.iter().map(|reason| reason.name()).zip(*dropped).filter(|&(_, count)| count > 0).collect()
}

/// How often something happened in a second of a run.
pub(crate) fn rate_hz(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { rounded(count as f64 / seconds) } else { 0.0 }
}

/// Lost framesets by reason, in words.
pub(crate) fn lost_by_reason(lost: &[u64; LostReason::ALL.len()]) -> BTreeMap<&'static str, u64> {
    LostReason::ALL.iter().map(|reason| reason.name()).zip(*lost).filter(|&(_, count)| count > 0).collect()
}

/// Three decimals: reports are for people too.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
