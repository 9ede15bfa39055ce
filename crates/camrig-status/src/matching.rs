//! What the matching of a processor came to, as the status and the report of a run tell it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What became of the framesets that reached a processor with `match`: those of each camera that were delivered
/// are `matched + sum(unmatched)`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MatchingStatus {
    /// The processor.
    pub processor: String,
    /// How many matches there were.
    pub matches: u64,
    /// Those of them that lack a camera.
    pub partial: u64,
    /// Matches per second of the run.
    pub rate_hz: f64,
    /// From the earliest to the latest frameset of a match, as they were taken.
    pub spread_us: SpreadStatus,
    /// In the order of the processor's inputs.
    pub cameras: Vec<MatchedCameraStatus>,
}

/// How far the framesets of matches were apart, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpreadStatus {
    /// Half of the matches have at most this.
    pub p50: u64,
    /// 99 of 100 have at most this.
    pub p99: u64,
    /// The widest.
    pub max: u64,
}

/// What became of the framesets of one camera.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MatchedCameraStatus {
    /// The camera.
    pub name: String,
    /// Framesets that are in a match.
    pub matched: u64,
    /// Framesets that are in none, by reason; reasons without a frameset are left out.
    pub unmatched: BTreeMap<String, u64>,
    /// How often its clock or its frame numbers started anew.
    pub epochs: u64,
    /// Its clock, where it is estimated.
    pub clock: Option<ClockStatus>,
}

/// A camera's clock against the host's monotonic one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClockStatus {
    /// What is to be added to the camera's time to get the host's, in milliseconds.
    pub offset_ms: f64,
    /// How much too fast the camera's clock is, in parts per million.
    pub drift_ppm: f64,
    /// The offset is known within this, in microseconds.
    pub uncertainty_us: f64,
}
