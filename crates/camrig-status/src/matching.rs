//! The matching of a processor, as the status and the report of a run contain it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Unmatched;

/// The matches of a processor with `match`. The delivered framesets of each camera are
/// `matched + sum(unmatched)`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MatchingStatus {
    /// The processor.
    pub processor: String,
    /// The number of matches.
    pub matches: u64,
    /// The number of matches that lack a camera.
    pub partial: u64,
    /// Matches per second of the run.
    pub rate_hz: f64,
    /// Time from the earliest to the latest frameset of a match, by their timestamps.
    pub spread_us: SpreadStatus,
    /// In the order of the processor's inputs.
    pub cameras: Vec<MatchedCameraStatus>,
}

/// The spreads of all matches so far, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpreadStatus {
    /// The median.
    pub p50: u64,
    /// The 99th percentile.
    pub p99: u64,
    /// The maximum.
    pub max: u64,
}

/// The matching of one camera's framesets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MatchedCameraStatus {
    /// The camera.
    pub name: String,
    /// Framesets in a match.
    pub matched: u64,
    /// Mean time of its last matched framesets after the earliest ones of their matches, in microseconds; `None` before the
    /// first.
    #[serde(default)]
    pub offset_us: Option<f64>,
    /// Framesets in no match, by reason. Reasons without a frameset are omitted.
    pub unmatched: BTreeMap<Unmatched, u64>,
    /// The number of restarts of its clock or of its frame numbers.
    pub epochs: u64,
    /// Its clock, if it is estimated.
    pub clock: Option<ClockStatus>,
}

/// The relation of a camera's clock to the host's monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClockStatus {
    /// Host time minus camera time, in milliseconds.
    pub offset_ms: f64,
    /// The rate error of the camera's clock, in parts per million; positive when it runs fast.
    pub drift_ppm: f64,
    /// The uncertainty of the offset, in microseconds.
    pub uncertainty_us: f64,
}
