//! The driver `replay`: a camera of a recording as a camera of a topology.
//!
//! Framesets are published as recorded: frame numbers, timestamps with their clocks, metadata, pixels; only color stored as
//! JPEG is decoded to RGB, with its losses. Sequence number and arrival time are new, as for any camera. A frameset that was
//! recorded after a matching has the number of its match until it is matched again, which gives the same matches; one that was
//! made from several keeps their names and numbers. With `repeat`, each round has the numbers and timestamps of the first.
//!
//! Each camera opens the file itself and reads nothing of the others. They keep their relative timing because each uses the
//! same instant as its reference, the start of the timeline of all recordings that overlap, and starts when the rig does: the
//! error is the difference between the times at which their processes receive the start message and are scheduled by the
//! system.
//!
//! This module has no knowledge of readers: a slow reader loses framesets according to its link's policy, or slows
//! down the replay if the policy is `block`.

mod bag;
mod options;
mod played;
mod reader;
#[cfg(test)]
mod tests;

use std::ops::Range;
use std::time::{Duration, Instant};

use camrig::frame::{CameraInfo, Clock, Origins};
use camrig::{
    CameraOutput, Captured, Device, Driver, DriverError, FrameHeaders, LostReason, OutputError,
    monotonic_nanos,
};

pub use self::options::ReplayOptions;
pub(crate) use self::options::{MAX_SECONDS, SPEEDS};
use self::played::Played;
pub(crate) use self::played::clock_of;
use self::reader::Reader;
use crate::format::{FrameRecord, FrameSetRecord};
use crate::read::{
    FrameSetError, ReadError, ReadFrameSet, RecordedFrameError, image_data, shown_header, write_pixels,
};

/// A camera of a recording. See [`ReplayOptions`].
pub struct Replay {
    options: ReplayOptions,
    reader: Reader,
    /// The part that it plays, by `log_time`.
    range: Range<u64>,
    /// The same for all recordings that play together: a round begins and ends for all of them at the same time.
    timeline: Range<u64>,
    round: u64,
    next: Option<ReadFrameSet>,
    started: Instant,
    /// Since when it is paused; `None` if it is not.
    paused: Option<Instant>,
}

impl Driver for Replay {
    type Options = ReplayOptions;

    fn check(options: &ReplayOptions) -> Result<(), DriverError> {
        Ok(options.check()?)
    }

    fn probe(options: &ReplayOptions) -> Result<Option<Device>, DriverError> {
        let at = |key| move |error| DriverError::from(error).at(key);
        let file = Played::open(&options.file).map_err(at("file"))?;
        if let Some(camera) = &options.camera {
            file.check_camera(camera).map_err(at("camera"))?;
        }
        options.check_begin(&file.range())?;
        Ok(None)
    }

    fn recorded(options: &ReplayOptions) -> Result<Option<Range<u64>>, DriverError> {
        let range = || Ok::<_, ReadError>(played(&Played::open(&options.file)?, options));
        Ok(options.paced.then(range).transpose()?)
    }

    /// Returns the clock of each camera that the options may select: without `camera`, that is the one with the name of
    /// the topology's.
    fn clock(options: &ReplayOptions) -> Option<Clock> {
        Played::open(&options.file).ok()?.clock(options.camera.as_deref())
    }

    fn open(name: &str, options: ReplayOptions) -> Result<Self, DriverError> {
        options.check()?;
        let camera = options.camera.clone().unwrap_or_else(|| name.to_owned());
        let file = Played::open(&options.file)?;
        let range = played(&file, &options);
        options.check_begin(&file.range())?;
        let mut reader = Reader::new(file, &camera)?;
        reader.rewind(range.clone());
        let mut replay = Self {
            options,
            reader,
            timeline: range.clone(),
            range,
            round: 0,
            next: None,
            started: Instant::now(),
            paused: None,
        };
        replay.next = replay.reader.next();
        if replay.next.is_none() {
            let file = replay.options.file.display();
            log::warn!("`{file}` has no frameset of camera `{camera}` in the part that is played");
        }
        Ok(replay)
    }

    fn may_fall_silent(&self) -> bool {
        true
    }

    fn info(&self) -> CameraInfo {
        self.reader.info().clone()
    }

    fn join(&mut self, timeline: Range<u64>) {
        self.timeline = timeline;
    }

    fn start(&mut self) -> Result<(), DriverError> {
        self.started = Instant::now();
        Ok(())
    }

    fn pause(&mut self) -> Result<(), DriverError> {
        self.paused = Some(Instant::now());
        Ok(())
    }

    /// Continues at the position at which it stopped.
    fn resume(&mut self) -> Result<(), DriverError> {
        self.started += self.paused.take().map_or(Duration::ZERO, |paused| paused.elapsed());
        Ok(())
    }

    fn capture(&mut self, output: &mut CameraOutput, timeout: Duration) -> Result<Captured, DriverError> {
        output.count_lost_framesets(LostReason::Unreadable, self.reader.take_unreadable());
        let Some(frameset) = self.next.take() else { return Ok(Captured::End) };
        if !self.wait(frameset.log_time, timeout, output) {
            self.next = Some(frameset);
            return Ok(Captured::Nothing);
        }
        match publish(&frameset, output) {
            Ok(()) => {}
            Err(NotPublished::Unreadable(what)) => {
                let sequence = frameset.record.sequence;
                log::warn!("frameset {sequence} cannot be read: {what}; it is counted as lost");
                output.count_lost_framesets(LostReason::Unreadable, 1);
            }
            Err(NotPublished::Failed(error)) => return Err(error.into()),
        }
        self.advance();
        Ok(Captured::FrameSet)
    }
}

impl Replay {
    /// Advances to the next frameset, which is the first one of the next round at the end of this one.
    fn advance(&mut self) {
        self.next = self.reader.next();
        if self.next.is_none() && self.options.repeat && !self.range.is_empty() {
            self.round += 1;
            self.reader.rewind(self.range.clone());
            self.next = self.reader.next();
        }
    }

    /// Returns the publication time of a frameset, relative to the start of the rig: the same clock for all
    /// cameras.
    fn due(&self, log_time: u64) -> Duration {
        let round_nanos = self.timeline.end.saturating_sub(self.timeline.start);
        let nanos = log_time.saturating_sub(self.timeline.start) + self.round.saturating_mul(round_nanos);
        Duration::from_nanos((nanos as f64 / self.options.speed) as u64)
    }

    /// Waits for the publication time of a frameset, at most `timeout`; returns false if it has not been reached.
    fn wait(&self, log_time: u64, timeout: Duration, output: &CameraOutput) -> bool {
        if !self.options.paced {
            return true;
        }
        let wait = self.due(log_time).saturating_sub(self.started.elapsed());
        output.wait(wait.min(timeout));
        wait <= timeout
    }
}

/// Returns the part of a recording that these options play, by `log_time`. It ends one frame interval after the last
/// frameset of any camera, where the next round starts.
fn played(file: &Played, options: &ReplayOptions) -> Range<u64> {
    let (recorded, wanted) = (file.range(), options.range_nanos());
    let begin = recorded.start.saturating_add(wanted.start);
    let frame_nanos = 1_000_000_000 / u64::from(file.frames_per_second());
    let end = recorded.end.saturating_add(frame_nanos).min(recorded.start.saturating_add(wanted.end));
    begin..end.max(begin)
}

/// The reason why a recorded frameset is not published.
enum NotPublished {
    /// The recording is damaged there.
    Unreadable(FrameSetError),
    /// Publishing failed for good.
    Failed(OutputError),
}

impl From<RecordedFrameError> for NotPublished {
    fn from(error: RecordedFrameError) -> Self {
        Self::Unreadable(error.into())
    }
}

impl From<OutputError> for NotPublished {
    fn from(error: OutputError) -> Self {
        match error {
            OutputError::Layout(layout) => Self::Unreadable(layout.into()),
            other => Self::Failed(other),
        }
    }
}

/// Publishes a frameset; pixels are decoded directly into the memory of its readers.
fn publish(frameset: &ReadFrameSet, output: &mut CameraOutput) -> Result<(), NotPublished> {
    let arrival_nanos = monotonic_nanos();
    let frames: &[FrameRecord] = &frameset.record.frames;
    if frames.len() > camrig::frame::MAX_FRAMES {
        return Err(NotPublished::Unreadable(FrameSetError::TooManyFrames(frames.len())));
    }
    let headers: FrameHeaders = frames.iter().map(shown_header).collect();
    let FrameSetRecord { matched, origins, .. } = &frameset.record;
    let origins = Origins::new(origins)
        .ok_or(NotPublished::Unreadable(FrameSetError::TooManyOrigins(origins.len())))?;
    let loan = output.loan_recorded(arrival_nanos, *matched, origins, headers)?;
    let Some(mut loan) = loan else { return Ok(()) };
    for (index, (frame, message)) in frames.iter().zip(&frameset.images).enumerate() {
        let data = image_data(frame, message.clone())?;
        write_pixels(frame, &data, loan.frame_mut(index))?;
    }
    output.publish(loan);
    Ok(())
}

impl From<ReadError> for DriverError {
    fn from(error: ReadError) -> Self {
        Self::unavailable(error.to_string())
    }
}
