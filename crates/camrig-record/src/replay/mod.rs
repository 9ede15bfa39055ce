//! The driver `replay`: a camera of a recording as a camera of a topology.
//!
//! Framesets are published as recorded: frame numbers, timestamps with their clocks, metadata, pixels; only color
//! stored as JPEG is decoded to RGB, with its losses. Sequence number and arrival time are new, as for any camera.
//! The number of a match is not restored: cameras do not match, and matching the recorded timestamps again gives the
//! same matches. With `repeat`, each round has the numbers and timestamps of the first.
//!
//! Each camera opens the file itself and reads nothing of the others. They keep their relative timing because each
//! uses the same instant of the recording as its reference, and starts when the rig does: the error is the difference
//! between the times at which their processes receive the start message and are scheduled by the system.
//!
//! This module has no knowledge of readers: a slow reader loses framesets according to its link's policy, or slows
//! down the replay if the policy is `block`.

mod options;
mod reader;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use camrig::frame::CameraInfo;
use camrig::{
    CameraOutput, Captured, Driver, DriverError, FrameHeaders, LostReason, OutputError, monotonic_nanos,
};

pub use self::options::ReplayOptions;
use self::reader::Reader;
use crate::format::FrameRecord;
use crate::read::{
    FrameError, FrameSetError, Parts, ReadError, ReadFrameSet, image_data, shown_header, write_pixels,
};

/// A camera of a recording. See [`ReplayOptions`].
pub struct Replay {
    options: ReplayOptions,
    reader: Reader,
    /// The `log_time` at which the replay starts.
    begin_nanos: u64,
    /// Duration of one round, in time of the recording.
    round_nanos: u64,
    round: u64,
    next: Option<ReadFrameSet>,
    started: Instant,
}

impl Driver for Replay {
    type Options = ReplayOptions;

    fn check(options: &ReplayOptions) -> Result<(), DriverError> {
        Ok(options.check()?)
    }

    fn probe(options: &ReplayOptions) -> Result<(), DriverError> {
        let recording = Parts::open(&options.file, &|_| {})?;
        if let Some(camera) = &options.camera {
            recording.camera(camera)?;
        }
        options.check_begin(&recording.range())
    }

    fn open(name: &str, options: ReplayOptions) -> Result<Self, DriverError> {
        options.check()?;
        let camera = options.camera.as_deref().unwrap_or(name);
        let mut reader = Reader::open(&options.file, camera)?;
        let (recorded, wanted) = (reader.range(), options.range_nanos());
        options.check_begin(&recorded)?;
        let begin_nanos = recorded.start.saturating_add(wanted.start);
        let end_nanos = recorded.start.saturating_add(wanted.end);
        reader.rewind(begin_nanos..end_nanos);
        // The next round starts one frame interval after the last frameset of any camera.
        let frame_nanos = 1_000_000_000 / u64::from(reader.frames_per_second());
        let last_nanos = recorded.end.saturating_add(frame_nanos).min(end_nanos);
        let mut replay = Self {
            options,
            reader,
            begin_nanos,
            round_nanos: last_nanos.saturating_sub(begin_nanos),
            round: 0,
            next: None,
            started: Instant::now(),
        };
        replay.next = replay.reader.next();
        Ok(replay)
    }

    fn info(&self) -> CameraInfo {
        self.reader.camera().info.clone()
    }

    fn start(&mut self) -> Result<(), DriverError> {
        self.started = Instant::now();
        Ok(())
    }

    fn capture(&mut self, output: &mut CameraOutput, timeout: Duration) -> Result<Captured, DriverError> {
        for _ in 0..self.reader.take_unreadable() {
            output.count_lost_frameset(LostReason::Unreadable);
        }
        let Some(frameset) = self.next.take() else { return Ok(Captured::End) };
        if !self.wait(frameset.log_time, timeout) {
            self.next = Some(frameset);
            return Ok(Captured::Waiting);
        }
        match publish(&frameset, output) {
            Ok(()) => {}
            Err(NotPublished::Unreadable(what)) => {
                let sequence = frameset.record.sequence;
                log::warn!("frameset {sequence} cannot be read: {what}; it is counted as lost");
                output.count_lost_frameset(LostReason::Unreadable);
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
        if self.next.is_none() && self.options.repeat && self.round_nanos > 0 {
            self.round += 1;
            self.reader.rewind(self.begin_nanos..self.begin_nanos.saturating_add(self.round_nanos));
            self.next = self.reader.next();
        }
    }

    /// Returns the publication time of a frameset, relative to the start of the rig: the same clock for all
    /// cameras.
    fn due(&self, log_time: u64) -> Duration {
        let nanos = log_time.saturating_sub(self.begin_nanos) + self.round.saturating_mul(self.round_nanos);
        Duration::from_nanos((nanos as f64 / self.options.speed) as u64)
    }

    /// Waits for the publication time of a frameset, at most `timeout`; returns false if it has not been reached.
    fn wait(&self, log_time: u64, timeout: Duration) -> bool {
        if !self.options.paced {
            return true;
        }
        let wait = self.due(log_time).saturating_sub(self.started.elapsed());
        std::thread::sleep(wait.min(timeout));
        wait <= timeout
    }
}

/// The reason why a recorded frameset is not published.
enum NotPublished {
    /// The recording is damaged there.
    Unreadable(FrameSetError),
    /// Publishing failed for good.
    Failed(OutputError),
}

impl From<FrameError> for NotPublished {
    fn from(error: FrameError) -> Self {
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
    let Some(mut loan) = output.loan(arrival_nanos, headers)? else { return Ok(()) };
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
