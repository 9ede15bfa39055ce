//! A camera's output: publishes framesets of its device, and counts lost frames.

use std::sync::Arc;
use std::time::Duration;

use camrig_frame::{CameraInfo, FrameHeader, FrameSetHeader, Layout, Origins, Stream, StreamInfo};
use camrig_ipc::LostReason;

use super::publisher::{FrameSetOrigin, Lent, Publisher};
use super::{FrameHeaders, Loan, OutputError, largest_frames};
use crate::clock::monotonic_nanos;
use crate::frameset::HeldFrames;
use crate::losses::{Losses, Lost};
use crate::silence::Silence;

/// Publishes the framesets of a driver's camera.
///
/// Gaps in the frame numbers of a stream are counted as lost: by the device, unless the driver
/// [explains](Self::explain_lost) them.
pub struct CameraOutput {
    publisher: Publisher,
    /// The camera's index among the publisher's sources.
    source: usize,
    losses: Losses,
    streams: Vec<StreamInfo>,
    /// `None` unless silent streams are a failure.
    silence: Option<Silence>,
}

impl CameraOutput {
    /// Creates the output of a camera, with slots for its framesets if a reader needs them.
    pub(crate) fn new(mut publisher: Publisher, info: CameraInfo) -> Result<Self, OutputError> {
        let largest = Layout::of(&largest_frames(&info.streams))?;
        let losses = Losses::of(&info.streams);
        let streams = info.streams.clone();
        publisher.counters().declare_streams(streams.iter().map(|info| info.stream), false);
        let source = publisher.source(&Arc::new(info))?;
        publisher.prepare(largest.size_bytes())?;
        Ok(Self { publisher, source, losses, streams, silence: None })
    }

    /// Expects each declared stream to deliver frames as long as others do, with at most this time between two.
    pub(crate) fn expect_all_streams(&mut self, timeout: Duration) {
        self.publisher.counters().declare_streams(self.streams.iter().map(|info| info.stream), true);
        self.silence = Some(Silence::new(&self.streams, timeout));
    }

    /// Forgets numbers and times of frames: the streams were stopped, and start again.
    pub(crate) fn begin_again(&mut self) {
        let lost = self.losses.begin_again();
        self.count_lost(lost);
        self.silence.iter_mut().for_each(Silence::begin_again);
    }

    /// Returns the stream that is silent while others continue, if there is one, and counts that.
    pub(crate) fn silent_stream(&mut self) -> Option<Stream> {
        let (index, stream) = self.silence.as_ref()?.silent()?;
        self.publisher.counters().count_silence(index);
        Some(stream)
    }

    /// Lends a slot for the next frameset, which arrived at `arrival_nanos` of
    /// [`monotonic_nanos`](crate::monotonic_nanos). Returns `None` if all slots are in use, and counts the
    /// frameset as dropped.
    ///
    /// # Errors
    /// If the headers do not form a valid frameset.
    pub fn loan(&mut self, arrival_nanos: u64, frames: FrameHeaders) -> Result<Option<Loan>, OutputError> {
        self.loan_recorded(arrival_nanos, None, Origins::NONE, frames)
    }

    /// Lends a slot as [`Self::loan`] does, for a frameset that was recorded behind a processor: with the number of its
    /// match, and the framesets from which it was made.
    ///
    /// # Errors
    /// If the headers do not form a valid frameset.
    pub fn loan_recorded(
        &mut self,
        arrival_nanos: u64,
        matched: Option<u64>,
        origins: Origins,
        frames: FrameHeaders,
    ) -> Result<Option<Loan>, OutputError> {
        let origin = FrameSetOrigin { matched, origins, ..self.origin(arrival_nanos) };
        match self.publisher.loan(origin, frames)? {
            Lent::Slot(loan) => Ok(Some(loan)),
            Lent::Nothing(frames) => {
                self.note_numbers(&frames);
                Ok(None)
            }
        }
    }

    /// Lends a slot for a frameset that an actor of another host published: with the camera, the sequence number and the
    /// match that it has there. Keep the `Arc`: framesets with the same `Arc` belong to the same camera.
    ///
    /// # Errors
    /// If the headers do not form a valid frameset, the source has no name, or the limit of sources is exceeded.
    pub fn loan_relayed(
        &mut self,
        source: &Arc<CameraInfo>,
        header: FrameSetHeader,
    ) -> Result<Option<Loan>, OutputError> {
        if source.name.is_empty() {
            return Err(OutputError::Unnamed);
        }
        if self.streams.is_empty() {
            self.streams.clone_from(&source.streams);
            self.publisher.counters().declare_streams(self.streams.iter().map(|info| info.stream), false);
        }
        let FrameSetHeader { sequence, arrival_nanos, matched, origins, frames, .. } = header;
        let origin =
            FrameSetOrigin { source: self.publisher.source(source)?, arrival_nanos, matched, origins };
        let loan = self.publisher.loan(origin, frames)?.slot();
        Ok(loan.map(|loan| Loan { sequence: Some(sequence), ..loan }))
    }

    /// Publishes a loan of [`Self::loan_relayed`]. Gaps in the numbers of its frames are not counted here: they were counted
    /// at the other host.
    pub fn publish_relayed(&mut self, loan: Loan) {
        self.count_frames(&loan.slot.header().frames);
        self.publisher.publish(loan);
    }

    /// Returns the number of framesets that all instances of the camera have published, or dropped for want of a slot, and of
    /// those that they have counted as lost for this reason.
    pub fn accounted(&self, reason: LostReason) -> (u64, u64) {
        let counters = self.publisher.counters();
        (counters.produced(), counters.lost_by_reason()[reason as usize])
    }

    /// Publishes a loan after all its frames have been written.
    pub fn publish(&mut self, loan: Loan) {
        self.note_numbers(&loan.slot.header().frames);
        self.publisher.publish(loan);
    }

    /// Publishes frames in the driver's own memory: without a copy if all readers are in this process, otherwise
    /// with one copy into a slot. If as many framesets as there are slots are in use, counts the frameset as
    /// dropped.
    ///
    /// # Errors
    /// If the headers do not form a valid frameset, or the sizes in `held` do not match.
    pub fn publish_held(
        &mut self,
        arrival_nanos: u64,
        frames: FrameHeaders,
        held: Box<dyn HeldFrames>,
    ) -> Result<(), OutputError> {
        Layout::of(&frames)?;
        self.note_numbers(&frames);
        self.publisher.publish_held(self.origin(arrival_nanos), frames, held)
    }

    /// Explains why frames of `stream` will be missing although the device delivered them: the driver discarded
    /// them. Gaps without an explanation are counted as lost by the device.
    pub fn explain_lost(&mut self, stream: Stream, reason: LostReason, frames: u64) {
        let lost = self.losses.explain(stream, reason, frames);
        self.count_lost(lost);
    }

    /// Counts framesets that the device delivered and the driver cannot make, such as those of a damaged recording.
    /// The gap that the next frameset shows for them does not count once more.
    pub fn count_lost_framesets(&mut self, reason: LostReason, framesets: u64) {
        self.losses.note_counted(reason, framesets);
        self.publisher.counters().count_lost(reason, framesets);
    }

    /// Calls `wait`, which waits for something that may never come, such as a frameset of another host: the camera is not
    /// stalled then.
    pub fn blocked<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.publisher.blocked(wait)
    }

    /// Waits, because the camera has nothing to publish before: as part of a recording that has not begun, or a pause
    /// in it. The camera is not stalled then, however long it delivers nothing.
    pub fn wait(&self, time: Duration) {
        self.publisher.blocked(|| std::thread::sleep(time));
    }

    /// Marks the camera as blocked by its readers, or not any more.
    pub(crate) fn set_blocked(&self, blocked: bool) {
        self.publisher.counters().set_blocked(blocked);
    }

    /// Returns whether there were readers and all of them have ended.
    pub(crate) fn abandoned(&mut self) -> bool {
        self.publisher.abandoned()
    }

    /// Returns the number of framesets, including dropped ones.
    pub(crate) fn produced(&self) -> u64 {
        self.publisher.produced()
    }

    fn origin(&self, arrival_nanos: u64) -> FrameSetOrigin {
        FrameSetOrigin { source: self.source, arrival_nanos, matched: None, origins: Origins::NONE }
    }

    /// Counts the gaps before these frames. Decreasing numbers mean a restart.
    fn note_numbers(&mut self, frames: &[FrameHeader]) {
        let lost = self.losses.note(frames);
        self.count_lost(lost);
        self.count_frames(frames);
    }

    fn count_frames(&mut self, frames: &[FrameHeader]) {
        let now_nanos = monotonic_nanos();
        for frame in frames {
            let Some(index) = self.streams.iter().position(|info| info.stream == frame.stream) else {
                continue;
            };
            self.publisher.counters().count_frames(index, frame.numbers(), now_nanos);
            if let Some(silence) = &mut self.silence {
                silence.note(index, now_nanos);
            }
        }
    }

    fn count_lost(&self, lost: Lost) {
        let lost = LostReason::ALL.into_iter().zip(lost).filter(|(_, lost)| *lost > 0);
        lost.for_each(|(reason, lost)| self.publisher.counters().count_lost(reason, lost));
    }
}

/// No further frame will show the gap that the driver explained last.
impl Drop for CameraOutput {
    fn drop(&mut self) {
        let lost = self.losses.end();
        self.count_lost(lost);
    }
}
