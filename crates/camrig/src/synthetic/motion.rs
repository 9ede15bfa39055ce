//! Selects the samples of motion of each frameset of a synthetic camera: those since the frameset before.
//!
//! Times are not needed: frames and samples are numbered, and start together.

use std::ops::RangeInclusive;

use camrig_frame::{FrameHeader, Role, Stream, StreamInfo};

/// The samples of one stream of motion.
pub(super) struct Samples {
    info: StreamInfo,
    /// The number of the first sample that is in no frameset yet.
    next: u64,
}

impl Samples {
    pub(super) fn new(info: &StreamInfo) -> Option<Self> {
        (info.role == Role::Motion).then_some(Self { info: *info, next: 0 })
    }

    pub(super) fn stream(&self) -> Stream {
        self.info.stream
    }

    pub(super) fn info(&self) -> &StreamInfo {
        &self.info
    }

    pub(super) fn per_second(&self) -> u64 {
        self.info.frames_per_second.into()
    }

    /// Returns the numbers of the samples up to frame `number` that are in no frameset yet; `None` if there are none.
    /// Omits the oldest ones if there are more than a frame of motion can hold.
    pub(super) fn until(&self, number: u64, frames_per_second: u64) -> Option<RangeInclusive<u64>> {
        let last = u128::from(number) * u128::from(self.per_second()) / u128::from(frames_per_second);
        let last = last as u64;
        let first = self.next.max((last + 1).saturating_sub(self.info.largest().numbers()));
        (first <= last).then_some(first..=last)
    }

    /// Omits all samples before frame `number`: the streams were stopped.
    pub(super) fn skip_to(&mut self, number: u64, frames_per_second: u64) {
        let first = u128::from(number) * u128::from(self.per_second()) / u128::from(frames_per_second);
        self.next = self.next.max(first as u64);
    }

    /// Marks all samples up to those of this frame as taken, and returns how many of them are in no frame.
    pub(super) fn take(&mut self, frame: &FrameHeader) -> u64 {
        let end = frame.number + 1;
        let omitted = (end - self.next).saturating_sub(frame.numbers());
        self.next = end;
        omitted
    }
}
