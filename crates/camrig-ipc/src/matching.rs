//! The counters of a processor's matching: matches, their spread, unmatched framesets, each camera's clock.
//!
//! They are in shared memory like the link states, so that any process of a rig can read them and they survive the
//! processes that count. This module does not depend on the rules of matching.
#![allow(unsafe_code)] // One marker: `Shared` for the structure below.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::latency::{Latency, LatencyCells};
#[cfg(not(shuttle))]
use crate::mapped::Shared;
use crate::sync::{AtomicI64, AtomicU64, Mapped};

/// Maximum number of cameras in a match. One is enough to test the orderings of its words.
pub const MAX_MATCH_CAMERAS: usize = if cfg!(shuttle) { 1 } else { 64 };

/// Weight of the earlier framesets in the mean of a camera's offset: it follows a change within about so many matches.
const OFFSET_WEIGHT: u64 = 16;

/// The reason why a delivered frameset is in no match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unmatched {
    /// A camera that has to be in the match had nothing within the window.
    Missing,
    /// The next frameset of the same camera was nearer to the others.
    PassedOver,
    /// It arrived sooner after the previous one than the camera's rate allows, or was a duplicate.
    TooSoon,
    /// The match of its instant had been decided without it.
    Late,
    /// The estimate of its camera's clock was not settled, so its time of capture was unknown.
    Unsettled,
    /// It was still waiting when the processor failed.
    LeftOver,
    /// Its timestamp is of another clock than the one that is compared.
    OtherClock,
    /// Its timestamp leapt by more than its frame number explains.
    TimeLeap,
}

impl Unmatched {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Missing,
        Self::PassedOver,
        Self::TooSoon,
        Self::Late,
        Self::Unsettled,
        Self::LeftOver,
        Self::OtherClock,
        Self::TimeLeap,
    ];

    /// Returns the reason's name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::PassedOver => "passed-over",
            Self::TooSoon => "too-soon",
            Self::Late => "late",
            Self::Unsettled => "unsettled",
            Self::LeftOver => "left-over",
            Self::OtherClock => "other-clock",
            Self::TimeLeap => "time-leap",
        }
    }
}

/// The layout of [`MatchCounters`], as PROTOCOL.md describes it.
#[repr(C, align(64))]
#[cfg_attr(shuttle, derive(Default))]
pub struct MatchCells {
    matches: AtomicU64,
    partial: AtomicU64,
    cameras: [CameraCells; MAX_MATCH_CAMERAS],
    spread: LatencyCells,
}

#[repr(C, align(64))]
#[cfg_attr(shuttle, derive(Default))]
struct CameraCells {
    matched: AtomicU64,
    /// Mean offset of the matched framesets: see [`MatchCamera::offset`].
    match_offset_nanos: AtomicU64,
    unmatched: [AtomicU64; Unmatched::ALL.len()],
    epochs: AtomicU64,
    /// 1 once the three below were estimated.
    estimated: AtomicU64,
    offset_nanos: AtomicI64,
    drift_ppb: AtomicI64,
    uncertainty_nanos: AtomicU64,
}

// SAFETY: every field is an atomic, an array of atomics, or padding; aligned to 64.
#[cfg(not(shuttle))]
unsafe impl Shared for MatchCells {
    const NAME: &'static str = "the counters of a matching";
    const MAGIC: [u8; 8] = *b"camrigMC";
    const VERSION: u32 = 2;
}

/// The counters of one processor's matching. A camera's index is its place in the processor's list.
pub type MatchCounters = Mapped<MatchCells>;

/// The counts of a matching.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatchCounts {
    /// Number of matches.
    pub matches: u64,
    /// Number of matches that lack a camera.
    pub partial: u64,
    /// The times from the earliest to the latest frameset of a match, in microseconds.
    pub spread: Latency,
}

/// The counts of one camera's framesets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MatchCamera {
    /// Framesets in matches.
    pub matched: u64,
    /// Mean time of the last framesets in matches after the earliest ones of those matches; `None` before the first.
    pub offset: Option<Duration>,
    /// Unmatched framesets, in the order of [`Unmatched::ALL`].
    pub unmatched: [u64; Unmatched::ALL.len()],
    /// Number of restarts of its clock or its frame numbers.
    pub epochs: u64,
    /// The estimate of its clock, if it is estimated.
    pub clock: Option<ClockEstimate>,
}

/// The relation of a camera's clock to the host's monotonic clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockEstimate {
    /// The difference from the camera's time to the host's, including the minimum latency from exposure to arrival.
    pub offset_nanos: i64,
    /// By how much the camera's clock is too fast, in parts per billion.
    pub drift_ppb: i64,
    /// The uncertainty of the offset.
    pub uncertainty_nanos: u64,
}

impl MatchCounters {
    /// Counts a match of the framesets of these cameras, each with its time after the earliest one. One thread counts.
    ///
    /// # Panics
    /// If a camera is not below [`MAX_MATCH_CAMERAS`].
    pub fn count_match(
        &self,
        cameras: impl IntoIterator<Item = (usize, Duration)>,
        spread: Duration,
        partial: bool,
    ) {
        let cells: &MatchCells = self;
        cells.spread.count(spread);
        // No pairs here and below but where named: counts for display, each read alone.
        cells.partial.fetch_add(partial.into(), Ordering::Relaxed);
        cells.matches.fetch_add(1, Ordering::Relaxed);
        for (camera, offset) in cameras {
            let cells = &cells.cameras[camera];
            let offset_nanos = u64::try_from(offset.as_nanos()).unwrap_or(u64::MAX);
            let mean_nanos = match cells.matched.load(Ordering::Relaxed) {
                0 => offset_nanos,
                _ => mean(cells.match_offset_nanos.load(Ordering::Relaxed), offset_nanos),
            };
            cells.match_offset_nanos.store(mean_nanos, Ordering::Relaxed);
            // Pairs with the load in `camera`: the first mean was written before.
            cells.matched.fetch_add(1, Ordering::Release);
        }
    }

    /// Counts an unmatched frameset of a camera.
    ///
    /// # Panics
    /// If the number of the camera is not below [`MAX_MATCH_CAMERAS`].
    pub fn count_unmatched(&self, camera: usize, reason: Unmatched) {
        self.cameras[camera].unmatched[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a restart of a camera's clock or frame numbers.
    ///
    /// # Panics
    /// If the number of the camera is not below [`MAX_MATCH_CAMERAS`].
    pub fn count_epoch(&self, camera: usize) {
        self.cameras[camera].epochs.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the estimate of a camera's clock.
    ///
    /// # Panics
    /// If the number of the camera is not below [`MAX_MATCH_CAMERAS`].
    pub fn set_clock(&self, camera: usize, clock: ClockEstimate) {
        let cells = &self.cameras[camera];
        cells.offset_nanos.store(clock.offset_nanos, Ordering::Relaxed);
        cells.drift_ppb.store(clock.drift_ppb, Ordering::Relaxed);
        cells.uncertainty_nanos.store(clock.uncertainty_nanos, Ordering::Relaxed);
        // Pairs with the load in `camera`: the first estimate was written before. A later one may be seen in part, for
        // display only.
        cells.estimated.store(1, Ordering::Release);
    }

    /// Returns the current counts.
    pub fn counts(&self) -> MatchCounts {
        let cells: &MatchCells = self;
        MatchCounts {
            matches: cells.matches.load(Ordering::Relaxed),
            partial: cells.partial.load(Ordering::Relaxed),
            spread: cells.spread.sum_up(),
        }
    }

    /// Returns the current counts of one camera.
    ///
    /// # Panics
    /// If the number of the camera is not below [`MAX_MATCH_CAMERAS`].
    pub fn camera(&self, camera: usize) -> MatchCamera {
        let cells = &self.cameras[camera];
        // Pairs with the store of `estimated`.
        let clock = (cells.estimated.load(Ordering::Acquire) != 0).then(|| ClockEstimate {
            offset_nanos: cells.offset_nanos.load(Ordering::Relaxed),
            drift_ppb: cells.drift_ppb.load(Ordering::Relaxed),
            uncertainty_nanos: cells.uncertainty_nanos.load(Ordering::Relaxed),
        });
        // Pairs with the count in `count_match`.
        let matched = cells.matched.load(Ordering::Acquire);
        let offset_nanos = cells.match_offset_nanos.load(Ordering::Relaxed);
        MatchCamera {
            matched,
            offset: (matched > 0).then(|| Duration::from_nanos(offset_nanos)),
            unmatched: Unmatched::ALL.map(|reason| cells.unmatched[reason as usize].load(Ordering::Relaxed)),
            epochs: cells.epochs.load(Ordering::Relaxed),
            clock,
        }
    }
}

/// Returns the mean of the earlier values, moved towards a new one.
fn mean(earlier: u64, new: u64) -> u64 {
    let sum = u128::from(earlier) * u128::from(OFFSET_WEIGHT - 1) + u128::from(new);
    // A mean of 64-bit numbers.
    ((sum + u128::from(OFFSET_WEIGHT / 2)) / u128::from(OFFSET_WEIGHT)) as u64
}

impl fmt::Debug for MatchCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MatchCounters").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_documented_one() {
        use std::mem::offset_of;
        crate::protocol::assert_documented(&[
            (offset_of!(MatchCells, matches), "matches: u64"),
            (offset_of!(MatchCells, partial), "partial: u64"),
            (
                offset_of!(MatchCells, cameras),
                "cameras: [camera; 64]` | the cameras in the order of [`MatchSpec`], 128 bytes each: `matched: u64`",
            ),
            (
                offset_of!(MatchCells, spread),
                "spread_max_micros: u64`, `spread_sum_micros: u64`, `spread_buckets: [u32; 528]",
            ),
        ]);
        assert_eq!((size_of::<CameraCells>(), MAX_MATCH_CAMERAS), (128, 64));
        let offsets = [
            offset_of!(CameraCells, matched),
            offset_of!(CameraCells, match_offset_nanos),
            offset_of!(CameraCells, unmatched),
            offset_of!(CameraCells, epochs),
            offset_of!(CameraCells, estimated),
            offset_of!(CameraCells, offset_nanos),
            offset_of!(CameraCells, drift_ppb),
            offset_of!(CameraCells, uncertainty_nanos),
        ];
        assert_eq!(offsets, [0, 8, 16, 80, 88, 96, 104, 112]);
    }

    #[test]
    fn counts_of_one_process_are_seen_by_another() {
        let counters = MatchCounters::new().unwrap();
        let seen = MatchCounters::received(counters.share().unwrap()).unwrap();
        assert_eq!((seen.counts(), seen.camera(63)), (MatchCounts::default(), MatchCamera::default()));
        let later = Duration::from_micros(12);
        counters.count_match([(0, Duration::ZERO), (63, later)], later, false);
        counters.count_match([(63, Duration::ZERO)], Duration::ZERO, true);
        counters.count_unmatched(0, Unmatched::Late);
        counters.count_epoch(63);
        let clock = ClockEstimate { offset_nanos: -5, drift_ppb: 50_000, uncertainty_nanos: 7 };
        counters.set_clock(63, clock);
        let spread = Latency { p50: 0, p99: 12, max: 12 };
        assert_eq!(seen.counts(), MatchCounts { matches: 2, partial: 1, spread });
        let unmatched = Unmatched::ALL.map(|reason| u64::from(reason == Unmatched::Late));
        let offset = Some(Duration::ZERO);
        let first = MatchCamera { matched: 1, offset, unmatched, ..MatchCamera::default() };
        assert_eq!(seen.camera(0), first);
        let offset = Some(Duration::from_nanos(11_250));
        let last =
            MatchCamera { matched: 2, offset, epochs: 1, clock: Some(clock), ..MatchCamera::default() };
        assert_eq!(seen.camera(63), last);
    }

    #[test]
    fn the_offset_of_a_camera_follows_its_framesets() {
        let counters = MatchCounters::new().unwrap();
        let after = |nanos: u64| {
            let offset = Duration::from_nanos(nanos);
            for _ in 0..200 {
                counters.count_match([(5, offset)], offset, false);
            }
            counters.camera(5).offset.unwrap().as_nanos().abs_diff(u128::from(nanos))
        };
        assert_eq!(after(3_000_000), 0);
        assert!(after(5_000_000) < 100);
        assert!(after(0) < 100);
        assert_eq!(mean(u64::MAX, u64::MAX), u64::MAX);
    }
}
