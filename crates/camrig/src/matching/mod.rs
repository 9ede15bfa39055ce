//! Matching: groups framesets of several cameras that were taken at the same instant.
//!
//! A processor whose topology table has `match` reads its inputs through a [`Matching`]. It reads each frameset's
//! time by one declared clock, queues the framesets of each camera until those of the others arrive, and returns each
//! group as one [`Match`].
//!
//! * `window`: decides from times alone which framesets form a match
//! * `clock`: reads a camera's clock, or maps it to the host's clock
//! * `timeline`: detects timestamps that leap
//! * `matcher`: matches of items whose times are known
//! * `spec`, `stats`: the settings in a topology, and the counters
//! * this module: takes framesets, returns matches, counts both
//!
//! It depends on no link and no actor: the inputs push framesets and take matches.
//!
//! # Comparison
//!
//! The rules follow the ROS package `message_filters`, whose `ApproximateTime` policy is described at
//! <https://wiki.ros.org/message_filters/ApproximateTime>, and the node `Sync` of Luxonis' `DepthAI`
//! (<https://docs.luxonis.com/software/depthai-components/nodes/sync>). According to these pages:
//!
//! | | `ApproximateTime` | `Sync` | here |
//! |---|---|---|---|
//! | required settings | none | a threshold | a window |
//! | chosen set | smallest spread after the last set | first within the threshold | smallest spread in the window |
//! | largest spread | unlimited, or a limit | the threshold, or unlimited after some attempts | the window |
//! | each frameset used once | yes | yes | yes |
//! | sets do not cross | yes | yes | yes |
//! | no further set among the framesets dropped between two | yes | not stated | yes, within the window |
//! | depends on times only, not on arrival | yes, while queues suffice | not stated | yes, while queues suffice |
//! | waits for a camera's next frameset | unless its earliest time is known | no | unless half its interval is too late |
//! | early sets before better ones | optional (age penalty) | yes | no |
//! | a camera stops sending | no more sets | no more sets | `partial`: sets without it |
//! | sets that lack a camera | no | no | `partial` |
//! | clocks | one is assumed | one is assumed | one is declared and checked, or each is estimated |
//!
//! With `overflow = "block"` queues always suffice, until a camera is silent for too long.

mod clock;
mod matcher;
#[cfg(test)]
mod rig_tests;
#[cfg(test)]
mod simulation;
mod spec;
mod stats;
#[cfg(test)]
mod tests;
mod timeline;
mod window;
#[cfg(test)]
mod window_tests;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arrayvec::ArrayVec;
use camrig_frame::Clock;
use camrig_ipc::{MAX_MATCH_CAMERAS, Unmatched};

use self::clock::CameraClock;
pub use self::matcher::{MatchRules, Matcher};
pub(crate) use self::spec::{MatchClock, MatchSpec, MatchedCamera, clock_of_all};
pub(crate) use self::stats::MatchStats;
pub use self::stats::MatchStatus;
use self::timeline::{Check, Timeline};
use self::window::{Decision, LaneRules, Rules, Timed, Window};
use crate::error::ProcessorError;
use crate::frameset::FrameSet;

/// A camera that stamps by another clock for longer, by its frame rate, keeps it: the library that maps a camera's clock
/// to the host's needs a second or two, and stamps by the host's clock until then.
const OTHER_CLOCK_SECONDS: u64 = 3;

/// A camera without a frameset for longer says nothing about the clock that all share: it may have been set since.
const SILENT_NANOS: u64 = 5_000_000_000;

/// Frame rate of a camera whose streams have none, in frames per second.
const RATE_DEFAULT: u32 = 30;

/// One frameset of each of several cameras, taken at the same instant.
///
/// Passed to a [`Processor<Match>`](crate::Processor). Each of its [framesets](FrameSet) holds a slot of its camera,
/// so keep a match only while the cameras have slots to spare.
#[derive(Clone, Debug)]
pub struct Match {
    number: u64,
    framesets: Vec<FrameSet>,
    spread: Duration,
    complete: bool,
}

impl Match {
    /// Makes a match of framesets that were matched, such as copies of those of another match.
    pub fn of(number: u64, framesets: Vec<FrameSet>, complete: bool) -> Self {
        let nanos = || framesets.iter().filter_map(FrameSet::timestamp).map(|timestamp| timestamp.nanos);
        let spread = nanos().max().unwrap_or(0) - nanos().min().unwrap_or(0);
        Self { number, framesets, spread: Duration::from_nanos(spread), complete }
    }

    /// Returns its number among the matches of its processor: 0, 1, 2, ... without gaps.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Returns one frameset of each camera, in the order of the processor's inputs.
    pub fn framesets(&self) -> &[FrameSet] {
        &self.framesets
    }

    /// Returns the frameset of the camera with this name in the topology; `None` when the match lacks it.
    pub fn get(&self, camera: &str) -> Option<&FrameSet> {
        self.framesets.iter().find(|frames| frames.camera() == camera)
    }

    /// Returns the time from its earliest frameset to its latest.
    pub fn spread(&self) -> Duration {
        self.spread
    }

    /// Returns whether every camera that matches wait for is present.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    pub(crate) fn into_framesets(self) -> Vec<FrameSet> {
        self.framesets
    }
}

/// An actor that handles matches responds when it is ready for the next one; an error fails the actor.
impl actix::Message for Match {
    type Result = Result<(), ProcessorError>;
}

/// The reason why framesets cannot be matched.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum MatchError {
    /// A camera's timestamps use another clock than the declared one.
    #[error(
        "`match` compares `{declared}` clocks, but {}; declare the clock that all of them have, or \
         `clock = \"estimated\"`",
        stamps(seen)
    )]
    Clocks { declared: Clock, seen: Vec<(String, Clock)> },
    /// A frameset without frames has no timestamp.
    #[error("frameset {sequence} of camera `{camera}` has no frames and so no timestamp")]
    NoFrames { camera: String, sequence: u64 },
    /// The camera belongs to no input of this processor.
    #[error("a frameset of camera `{camera}` came from `{producer}`, which does not read it")]
    UnknownCamera { camera: String, producer: String },
}

/// Formats as `` `left` uses `hardware`, `right` uses `global` ``.
fn stamps(seen: &[(String, Clock)]) -> String {
    let stamps: Vec<_> = seen.iter().map(|(camera, clock)| format!("`{camera}` uses `{clock}`")).collect();
    stamps.join(", ")
}

/// Takes framesets and returns matches.
pub(crate) struct Matching {
    spec: MatchSpec,
    cameras: Vec<CameraState>,
    window: Window<FrameSet>,
    stats: Arc<MatchStats>,
    matches: u64,
    /// Framesets of the last match, for a processor that takes them one by one.
    loose: VecDeque<FrameSet>,
}

struct CameraState {
    clock: CameraClock,
    /// Checks timestamps of a clock that the cameras share; `None` where each camera's own clock is estimated.
    timeline: Option<Timeline>,
    /// The clock of its timestamps; `None` before its first frameset.
    timestamp_clock: Option<Clock>,
    /// Its newest timestamp, used or not, and its arrival; `None` before the first one and after its end.
    newest: Option<Stamped>,
    rate: u32,
    /// Framesets of another clock than the declared one since the last one of that.
    other_clock: u64,
    /// Whether it has had a frameset of the declared clock.
    has_declared_clock: bool,
    /// Whether it was logged that its timestamps mix clocks.
    mix_is_logged: bool,
    /// Leaps of its timestamps.
    leaps: u64,
}

/// The timestamp of a frameset, and its arrival.
#[derive(Clone, Copy)]
struct Stamped {
    nanos: u64,
    arrival_nanos: u64,
}

impl CameraState {
    fn new(estimated: bool) -> Self {
        Self {
            clock: CameraClock::new(estimated),
            timeline: (!estimated).then(|| Timeline::new(RATE_DEFAULT)),
            timestamp_clock: None,
            newest: None,
            rate: RATE_DEFAULT,
            other_clock: 0,
            has_declared_clock: false,
            mix_is_logged: false,
            leaps: 0,
        }
    }

    /// Returns whether it has stamped by another clock for so long that it keeps it.
    fn keeps_other_clock(&self) -> bool {
        self.other_clock >= OTHER_CLOCK_SECONDS * u64::from(self.rate)
    }
}

impl Matching {
    pub(crate) fn new(spec: MatchSpec, stats: Arc<MatchStats>) -> Self {
        let rules = Rules { window_nanos: spec.window_nanos, partial: spec.partial, depth: spec.queue };
        let sources = spec.cameras.iter().map(|camera| LaneRules {
            awaited: camera.awaited,
            required: camera.required,
            gap_nanos: 0,
        });
        let estimated = spec.clock == MatchClock::Estimated;
        let camera = |_: &MatchedCamera| CameraState::new(estimated);
        Self {
            cameras: spec.cameras.iter().map(camera).collect(),
            window: Window::new(rules, sources),
            spec,
            // A replacement for a dead process continues its numbers.
            matches: stats.counters.counts().matches,
            stats,
            loose: VecDeque::new(),
        }
    }

    pub(crate) fn stats(&self) -> &Arc<MatchStats> {
        &self.stats
    }

    /// Returns whether the next frameset of this input can be taken.
    pub(crate) fn has_room(&self, input: &str) -> bool {
        !self.spec.blocks || self.lanes_of(input).all(|lane| self.window.has_room(lane))
    }

    /// Takes the next frameset of its camera. Returns false when it is left out, so that no queue is fuller.
    pub(crate) fn push(&mut self, frames: FrameSet) -> Result<bool, MatchError> {
        let of_camera = |camera: &MatchedCamera| camera.name == frames.camera();
        let Some(lane) = self.spec.cameras.iter().position(of_camera) else {
            let (camera, producer) = (frames.camera().to_owned(), frames.producer().to_owned());
            return Err(MatchError::UnknownCamera { camera, producer });
        };
        let Some(frame) = frames.instant() else {
            let (camera, sequence) = (frames.camera().to_owned(), frames.sequence());
            return Err(MatchError::NoFrames { camera, sequence });
        };
        let (timestamp, number) = (frame.timestamp, frame.number);
        self.note_clock(lane, timestamp.clock, &frames);
        if clock_of_all(self.spec.clock).is_some_and(|declared| declared != timestamp.clock) {
            return self.leave_out_other_clock(lane, number).map(|()| false);
        }
        let camera = &mut self.cameras[lane];
        (camera.other_clock, camera.has_declared_clock) = (0, true);
        let stamped = Stamped { nanos: timestamp.nanos, arrival_nanos: frames.arrival_nanos() };
        if self.leaps(lane, stamped, number) {
            self.leave_out(lane, Unmatched::TimeLeap, number);
            return Ok(false);
        }
        let camera = &mut self.cameras[lane];
        let reading = camera.clock.read(timestamp, number, frames.arrival_nanos());
        if reading.restarted {
            self.stats.counters.count_epoch(lane);
        }
        camera.clock.estimate().into_iter().for_each(|clock| self.stats.counters.set_clock(lane, clock));
        let Some(nanos) = reading.nanos else {
            self.stats.counters.count_unmatched(lane, Unmatched::Unsettled);
            return Ok(false);
        };
        Ok(self.window.push(lane, nanos, frames))
    }

    /// Notes the clock of a camera's next timestamp, and the smallest distance of framesets by it. Logs a mix of clocks
    /// once.
    fn note_clock(&mut self, lane: usize, clock: Clock, frames: &FrameSet) {
        let camera = &mut self.cameras[lane];
        let before = camera.timestamp_clock.replace(clock);
        if before == Some(clock) {
            return;
        }
        let rate = frames.info().image_rate();
        if before.is_none() {
            camera.rate = rate.unwrap_or(RATE_DEFAULT);
            camera.timeline = camera.timeline.take().map(|_| Timeline::new(camera.rate));
        }
        self.window.set_gap(lane, gap_nanos(rate, clock));
        // Its first timestamps may be of another clock: its library needs time to map its clock.
        let settles = clock_of_all(self.spec.clock).is_some_and(|_| !camera.has_declared_clock);
        if let Some(before) =
            before.filter(|_| !settles && !std::mem::replace(&mut camera.mix_is_logged, true))
        {
            log::warn!("camera `{}` mixes clocks: `{before}` and `{clock}`", self.spec.cameras[lane].name);
        }
    }

    /// Returns whether a camera's timestamp leaps, and logs where leaps begin and end.
    fn leaps(&mut self, lane: usize, stamped: Stamped, number: u64) -> bool {
        let others = self.cameras.iter().enumerate().filter(|(other, _)| *other != lane);
        let others = others.filter_map(|(_, camera)| camera.newest);
        let others = others
            .filter(|other| stamped.arrival_nanos.saturating_sub(other.arrival_nanos) <= SILENT_NANOS)
            .map(|other| other.nanos);
        let others: ArrayVec<u64, MAX_MATCH_CAMERAS> = others.take(MAX_MATCH_CAMERAS).collect();
        let camera = &mut self.cameras[lane];
        camera.newest = Some(stamped);
        let Some(timeline) = &mut camera.timeline else { return false };
        let check = timeline.check(stamped.nanos, number, &others);
        let name = &self.spec.cameras[lane].name;
        match check {
            Check::Leapt { by_nanos } => {
                camera.leaps += 1;
                // A camera may leap back and forth: the 1st, 2nd, 4th, 8th leap is logged.
                if camera.leaps.is_power_of_two() {
                    log::warn!(
                        "camera `{name}`: the timestamp of frame {number} leaps by {:+.3} s (leap {}); framesets are \
                         left out as `{}` until it returns",
                        by_nanos as f64 * 1e-9,
                        camera.leaps,
                        Unmatched::TimeLeap,
                    );
                }
            }
            Check::Returned(framesets) if camera.leaps.is_power_of_two() => {
                log::warn!("camera `{name}`: timestamps are back after {framesets} framesets");
            }
            Check::Fits | Check::Returned(_) | Check::Restarted | Check::StillLeapt => {}
        }
        matches!(check, Check::Leapt { .. } | Check::StillLeapt)
    }

    /// Counts a frameset whose time is not known, and lets the others continue up to the earliest time for its number.
    fn leave_out(&mut self, lane: usize, reason: Unmatched, number: u64) {
        self.stats.counters.count_unmatched(lane, reason);
        let earliest =
            self.cameras[lane].timeline.as_ref().and_then(|timeline| timeline.earliest_nanos(number));
        if let Some(earliest_nanos) = earliest {
            self.window.skip(lane, earliest_nanos);
        }
    }

    /// Counts a frameset of another clock than the declared one. A camera that keeps it is named once, and is an error
    /// where every match requires it.
    fn leave_out_other_clock(&mut self, lane: usize, number: u64) -> Result<(), MatchError> {
        let camera = &mut self.cameras[lane];
        let kept = camera.keeps_other_clock();
        camera.other_clock += 1;
        let keeps = camera.keeps_other_clock();
        self.leave_out(lane, Unmatched::OtherClock, number);
        if keeps && !kept { self.refuse_other_clock(lane) } else { Ok(()) }
    }

    /// Names the cameras' clocks: as an error where every match requires this camera, otherwise in the log.
    fn refuse_other_clock(&mut self, lane: usize) -> Result<(), MatchError> {
        let Some(declared) = clock_of_all(self.spec.clock) else { return Ok(()) };
        let seen = self.spec.cameras.iter().zip(&self.cameras);
        let seen = seen.filter_map(|(spec, camera)| Some((spec.name.clone(), camera.timestamp_clock?)));
        let error = MatchError::Clocks { declared, seen: seen.collect() };
        if self.spec.cameras[lane].required {
            return Err(error);
        }
        log::error!("{error}; matching continues without camera `{}`", self.spec.cameras[lane].name);
        self.window.stop_waiting_for(lane);
        Ok(())
    }

    /// Marks an input as ended; returns false when it was marked before.
    ///
    /// # Errors
    /// When a camera that every match requires had timestamps of another clock only.
    pub(crate) fn end(&mut self, input: &str) -> Result<bool, MatchError> {
        let lanes: Vec<_> = self.lanes_of(input).collect();
        let mut first = false;
        for lane in lanes {
            if self.window.end(lane) {
                first = true;
                let camera = &mut self.cameras[lane];
                camera.newest = None;
                if camera.other_clock > 0 && !camera.has_declared_clock && !camera.keeps_other_clock() {
                    self.refuse_other_clock(lane)?;
                }
            }
        }
        Ok(first)
    }

    /// Stops waiting for the cameras that hold up the next match, until they catch up.
    pub(crate) fn give_up(&mut self) {
        self.window.give_up();
    }

    /// Takes the next match, if there is one.
    pub(crate) fn next(&mut self) -> Option<Match> {
        while let Some(decided) = self.window.pop() {
            match decided {
                Decision::Unmatched(lane, reason, _) => self.stats.counters.count_unmatched(lane, reason),
                Decision::Match(set) => return Some(self.matched(set)),
            }
        }
        None
    }

    /// Takes the next frameset of the match that [`loosen`](Self::loosen) split.
    pub(crate) fn next_loose(&mut self) -> Option<FrameSet> {
        self.loose.pop_front()
    }

    /// Splits a match, for a processor that takes its framesets one by one.
    pub(crate) fn loosen(&mut self, matched: Match) {
        self.loose.extend(matched.into_framesets());
    }

    /// Discards all queued framesets: the reader has stopped, temporarily or for good.
    pub(crate) fn forget(&mut self) {
        self.loose.clear();
        let mut left: Vec<usize> = self.window.drain().map(|(lane, _)| lane).collect();
        while let Some(decided) = self.window.pop() {
            match decided {
                Decision::Unmatched(lane, reason, _) => self.stats.counters.count_unmatched(lane, reason),
                Decision::Match(set) => left.extend(set.into_iter().map(|(lane, _)| lane)),
            }
        }
        for lane in left {
            self.stats.counters.count_unmatched(lane, Unmatched::LeftOver);
        }
    }

    fn matched(&mut self, set: Vec<(usize, Timed<FrameSet>)>) -> Match {
        let times = || set.iter().map(|(_, item)| item.nanos);
        let first_nanos = times().min().unwrap_or(0);
        let spread = Duration::from_nanos(times().max().unwrap_or(0) - first_nanos);
        let has = |lane: usize| set.iter().any(|(of, _)| *of == lane);
        let mut cameras = self.spec.cameras.iter().enumerate();
        let complete = cameras.all(|(lane, camera)| !camera.awaited || has(lane));
        let offsets = set.iter().map(|(lane, item)| (*lane, Duration::from_nanos(item.nanos - first_nanos)));
        self.stats.counters.count_match(offsets, spread, !complete);
        let number = self.matches;
        self.matches += 1;
        Match { number, framesets: set.into_iter().map(|(_, item)| item.value).collect(), spread, complete }
    }

    fn lanes_of(&self, input: &str) -> impl Iterator<Item = usize> {
        let lanes = self.spec.cameras.iter().enumerate();
        lanes.filter(move |(_, camera)| camera.input == input).map(|(lane, _)| lane)
    }
}

/// Returns the smallest distance between a camera's framesets: half their nominal interval, or 0 when timestamps are
/// arrival times.
fn gap_nanos(rate: Option<u32>, clock: Clock) -> u64 {
    match (clock, rate) {
        (Clock::System, _) | (_, None) => 0,
        (_, Some(rate)) => 500_000_000 / u64::from(rate),
    }
}

/// Counts framesets that are still queued as unmatched.
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
