//! Matching: framesets of several cameras that belong to the same instant.
//!
//! A processor whose table has `match` gets its inputs this way. Between its inputs and itself stands a
//! [`Matching`]: it reads each frameset's time by one declared clock, lets the framesets of each camera wait for
//! those of the others, and gives what belongs together as one [`Match`].
//!
//! * `window`: what belongs together, decided by times alone
//! * `clock`: a camera's clock, read or mapped to the host's
//! * `spec`, `stats`: what a topology says of it, and what it came to
//! * this module: framesets in, matches out, everything counted
//!
//! It deliberately knows no link and no actor: the inputs push, and take out what was decided.
//!
//! # Beside others
//!
//! The rules are in the tradition of the ROS package `message_filters`, whose `ApproximateTime` policy is described
//! at <https://wiki.ros.org/message_filters/ApproximateTime>, and of the node `Sync` of Luxonis' `DepthAI`
//! (<https://docs.luxonis.com/software/depthai-components/nodes/sync>). As these pages say it:
//!
//! | | `ApproximateTime` | `Sync` | here |
//! |---|---|---|---|
//! | has to be told | nothing | a threshold | a window |
//! | which set | smallest spread after the last set | first within the threshold | smallest spread in the window |
//! | largest spread | any, or a limit | the threshold, or any after some attempts | the window |
//! | each frameset used once | yes | yes | yes |
//! | sets do not cross | yes | yes | yes |
//! | no further set in what was dropped between two | yes | not said | yes, within the window |
//! | depends on times only, not on arrival | yes, while queues suffice | not said | yes, while queues suffice |
//! | waits for a camera's next frameset | unless told how soon it can come | no | unless half its interval is too late |
//! | early sets before good ones | optional (age penalty) | yes | no |
//! | a camera falls silent | no more sets | no more sets | `partial`: sets without it |
//! | sets that lack a camera | no | no | `partial` |
//! | clocks | one is assumed | one is assumed | one is declared and checked, or each is estimated |
//!
//! Queues suffice always where producers wait for room (`overflow = "block"`), until a camera is silent for too long.

mod clock;
#[cfg(test)]
mod rig_tests;
#[cfg(test)]
mod simulation;
mod spec;
mod stats;
#[cfg(test)]
mod tests;
mod window;
#[cfg(test)]
mod window_tests;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use camrig_frame::Clock;
use camrig_ipc::Unmatched;

use self::clock::CameraClock;
pub(crate) use self::spec::{MatchClock, MatchSpec, MatchedCamera};
pub(crate) use self::stats::MatchStats;
pub use self::stats::MatchStatus;
use self::window::{Decided, Item, Rules, Source, Window};
use crate::frameset::FrameSet;

/// Framesets of several cameras that belong to the same instant.
///
/// A [`Processor<Match>`](crate::Processor) is called with it. As each of its [framesets](FrameSet), it is worth
/// keeping only as long as the cameras have slots to spare.
#[derive(Clone, Debug)]
pub struct Match {
    number: u64,
    framesets: Vec<FrameSet>,
    spread: Duration,
    complete: bool,
}

impl Match {
    /// Its number among the matches of its processor: 0, 1, 2, ... without gaps.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// One frameset of each camera, in the order of the processor's inputs.
    pub fn framesets(&self) -> &[FrameSet] {
        &self.framesets
    }

    /// The frameset of one camera, by its name in the topology.
    pub fn get(&self, camera: &str) -> Option<&FrameSet> {
        self.framesets.iter().find(|frames| frames.camera() == camera)
    }

    /// How much later its latest frameset was taken than its earliest.
    pub fn spread(&self) -> Duration {
        self.spread
    }

    /// Whether every camera that is waited for is there.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    pub(crate) fn into_framesets(self) -> Vec<FrameSet> {
        self.framesets
    }
}

/// Why framesets cannot be matched.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum MatchError {
    /// A camera's timestamps are of another clock than the declared one.
    #[error(
        "`match` compares `{declared}` clocks, but {}; declare the clock that all of them have, or \
         `clock = \"estimated\"`",
        stamps(seen)
    )]
    Clocks { declared: Clock, seen: Vec<(String, Clock)> },
    /// A frameset without a time.
    #[error("frameset {sequence} of camera `{camera}` has no frames, so nobody knows when it was taken")]
    NoFrames { camera: String, sequence: u64 },
    /// A camera that no input should bring.
    #[error("a frameset of camera `{camera}` came from `{producer}`, which does not read it")]
    Stranger { camera: String, producer: String },
}

/// `` `left` stamps by `hardware`, `right` by `global` ``
fn stamps(seen: &[(String, Clock)]) -> String {
    let stamps: Vec<_> =
        seen.iter().map(|(camera, clock)| format!("`{camera}` stamps by `{clock}`")).collect();
    stamps.join(", ")
}

/// Framesets in, matches out.
pub(crate) struct Matching {
    spec: MatchSpec,
    cameras: Vec<Camera>,
    window: Window<FrameSet>,
    stats: Arc<MatchStats>,
    matches: u64,
    /// Framesets of the last match, for a reader that takes them one by one.
    loose: VecDeque<FrameSet>,
}

struct Camera {
    clock: CameraClock,
    /// The clock of its timestamps, once it is known.
    stamps_by: Option<Clock>,
}

impl Matching {
    pub(crate) fn new(spec: MatchSpec, stats: Arc<MatchStats>) -> Self {
        let rules = Rules { window_nanos: spec.window_nanos, partial: spec.partial, depth: spec.queue };
        let sources = spec.cameras.iter().map(|camera| Source { awaited: camera.awaited, gap_nanos: 0 });
        let estimated = spec.clock == MatchClock::Estimated;
        let camera = |_: &MatchedCamera| Camera { clock: CameraClock::new(estimated), stamps_by: None };
        Self {
            cameras: spec.cameras.iter().map(camera).collect(),
            window: Window::new(rules, sources),
            spec,
            // Numbers go on where a process that died has stopped.
            matches: stats.counters.counts().matches,
            stats,
            loose: VecDeque::new(),
        }
    }

    pub(crate) fn stats(&self) -> &Arc<MatchStats> {
        &self.stats
    }

    /// Whether the next frameset of this input can be taken.
    pub(crate) fn has_room(&self, input: &str) -> bool {
        !self.spec.blocks || self.lanes_of(input).all(|lane| self.window.has_room(lane))
    }

    /// Takes the next frameset of its camera.
    pub(crate) fn push(&mut self, frames: FrameSet) -> Result<(), MatchError> {
        let of_camera = |camera: &MatchedCamera| camera.name == frames.camera();
        let Some(lane) = self.spec.cameras.iter().position(of_camera) else {
            let (camera, producer) = (frames.camera().to_owned(), frames.producer().to_owned());
            return Err(MatchError::Stranger { camera, producer });
        };
        let Some(frame) = frames.instant() else {
            let (camera, sequence) = (frames.camera().to_owned(), frames.sequence());
            return Err(MatchError::NoFrames { camera, sequence });
        };
        let clock = frame.timestamp.clock;
        if self.cameras[lane].stamps_by.replace(clock) != Some(clock) {
            if let Err(error) = self.check_clocks() {
                self.stats.counters.count_unmatched(lane, Unmatched::LeftOver);
                return Err(error);
            }
            self.window.set_gap(lane, gap_nanos(&frames, clock));
        }
        let camera = &mut self.cameras[lane];
        let reading = camera.clock.read(frame.timestamp, frame.number, frames.arrival_nanos());
        if reading.anew {
            self.stats.counters.count_epoch(lane);
        }
        camera.clock.estimate().into_iter().for_each(|clock| self.stats.counters.set_clock(lane, clock));
        match reading.nanos {
            Some(nanos) => self.window.push(lane, nanos, frames),
            None => self.stats.counters.count_unmatched(lane, Unmatched::Unsettled),
        }
        Ok(())
    }

    /// Says that nothing more will come from an input; false when that was known.
    pub(crate) fn end(&mut self, input: &str) -> bool {
        let lanes: Vec<_> = self.lanes_of(input).collect();
        lanes.into_iter().fold(false, |news, lane| self.window.end(lane) | news)
    }

    /// Goes on without the cameras that are waited for, until they catch up.
    pub(crate) fn give_up(&mut self) {
        self.window.give_up();
    }

    /// Takes out the next match, if there is one.
    pub(crate) fn next(&mut self) -> Option<Match> {
        while let Some(decided) = self.window.pop() {
            match decided {
                Decided::Unmatched(lane, reason, _) => self.stats.counters.count_unmatched(lane, reason),
                Decided::Match(set) => return Some(self.matched(set)),
            }
        }
        None
    }

    /// Takes out the next frameset of the last match that was taken apart.
    pub(crate) fn next_loose(&mut self) -> Option<FrameSet> {
        self.loose.pop_front()
    }

    /// Takes a match apart, for a reader that takes its framesets one by one.
    pub(crate) fn loosen(&mut self, matched: Match) {
        self.loose.extend(matched.into_framesets());
    }

    /// Leaves everything that waits: its reader is gone, for a while or for good.
    pub(crate) fn forget(&mut self) {
        self.loose.clear();
        let mut left: Vec<usize> = self.window.drain().map(|(lane, _)| lane).collect();
        while let Some(decided) = self.window.pop() {
            match decided {
                Decided::Unmatched(lane, reason, _) => self.stats.counters.count_unmatched(lane, reason),
                Decided::Match(set) => left.extend(set.into_iter().map(|(lane, _)| lane)),
            }
        }
        for lane in left {
            self.stats.counters.count_unmatched(lane, Unmatched::LeftOver);
        }
    }

    fn matched(&mut self, set: Vec<(usize, Item<FrameSet>)>) -> Match {
        let times = || set.iter().map(|(_, item)| item.nanos);
        let spread_nanos = times().max().unwrap_or(0) - times().min().unwrap_or(0);
        let spread = Duration::from_nanos(spread_nanos);
        let has = |lane: usize| set.iter().any(|(of, _)| *of == lane);
        let mut cameras = self.spec.cameras.iter().enumerate();
        let complete = cameras.all(|(lane, camera)| !camera.awaited || has(lane));
        self.stats.counters.count_match(set.iter().map(|(lane, _)| *lane), spread, !complete);
        let number = self.matches;
        self.matches += 1;
        Match { number, framesets: set.into_iter().map(|(_, item)| item.what).collect(), spread, complete }
    }

    fn lanes_of(&self, input: &str) -> impl Iterator<Item = usize> {
        let lanes = self.spec.cameras.iter().enumerate();
        lanes.filter(move |(_, camera)| camera.input == input).map(|(lane, _)| lane)
    }

    /// Checks that every camera stamps by the declared clock, as far as that is known.
    fn check_clocks(&self) -> Result<(), MatchError> {
        let Some(declared) = self.spec.clock.of_all() else { return Ok(()) };
        let seen = self.spec.cameras.iter().zip(&self.cameras);
        let seen: Vec<_> =
            seen.filter_map(|(spec, camera)| Some((spec.name.clone(), camera.stamps_by?))).collect();
        if seen.iter().all(|(_, clock)| *clock == declared) {
            return Ok(());
        }
        Err(MatchError::Clocks { declared, seen })
    }
}

/// A camera's framesets are at least half their interval apart, unless it is the moment of their arrival that is
/// stamped.
fn gap_nanos(frames: &FrameSet, clock: Clock) -> u64 {
    let images = frames.info().streams.iter().filter(|info| !info.stream.is_motion());
    let rate = images.map(|info| info.profile.frames_per_second()).max();
    match (clock, rate) {
        (Clock::System, _) | (_, None) => 0,
        (_, Some(rate)) => 500_000_000 / u64::from(rate),
    }
}

/// What still waits when the processor goes is in no match.
impl Drop for Matching {
    fn drop(&mut self) {
        self.forget();
    }
}

impl fmt::Debug for Matching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Matching")
            .field("spec", &self.spec)
            .field("matches", &self.matches)
            .finish_non_exhaustive()
    }
}
