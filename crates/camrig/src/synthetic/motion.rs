//! Which samples of motion come with which frameset of a synthetic camera: those of the time since the one
//! before.
//!
//! Knows no times: frames and samples are numbered, and begin together.

use std::ops::RangeInclusive;

use camrig_frame::{Role, Stream, StreamInfo};

/// The samples of one stream of motion, as the framesets take them.
pub(super) struct Samples {
    info: StreamInfo,
    /// The number of the first one that no frameset has taken.
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

    /// The numbers of those that are not taken when frame `number` comes; none when there are none. The oldest
    /// are left out when there are more than a frame of motion can hold.
    pub(super) fn until(&self, number: u64, frames_per_second: u64) -> Option<RangeInclusive<u64>> {
        let last = u128::from(number) * u128::from(self.per_second()) / u128::from(frames_per_second);
        let last = last as u64;
        let first = self.next.max((last + 1).saturating_sub(self.info.largest().numbers()));
        (first <= last).then_some(first..=last)
    }

    /// A frameset takes all samples up to `number`.
    pub(super) fn take(&mut self, number: u64) {
        self.next = number + 1;
    }
}
