//! The frameset handle that drivers make and processors read.
//!
//! It hides where the pixels are: in a slot of this process, in a slot of another one, or in the memory of
//! the camera's library. It deliberately knows no link: how it got here is the output's business.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use camrig_frame::{
    CameraInfo, ColorView, DepthView, Frame, FrameHeader, FrameSetHeader, Memory, MessageView, MotionView,
    Origin, PointsView, Role, Stream, TensorView, Timestamp,
};
use camrig_ipc::{Lease, Published};

use crate::error::ProcessorError;

/// What one camera saw at one instant: a frame for each of its streams; and how it moved since the frameset
/// before, where it has motion sensors.
///
/// A cheap handle: borrow it, or clone it to keep it. The memory behind it returns to the camera when the
/// last clone drops; a processor that keeps as many framesets as the camera has slots starves the rig.
#[derive(Clone)]
pub struct FrameSet(Arc<Inner>);

struct Inner {
    producer: Arc<str>,
    info: Arc<CameraInfo>,
    pixels: Pixels,
}

enum Pixels {
    Slot(Published),
    Lease(Lease),
    Held(Held),
}

/// Frames that stay in the memory of the camera's library while a frameset refers to them.
pub trait HeldFrames: Send + Sync {
    /// The content of the frame at `index` of the header: exactly as many bytes as the header says, which is checked
    /// when the frameset is published.
    fn pixels(&self, index: usize) -> &[u8];
}

/// A frameset that is passed on: the handle holds its frames where they are.
impl HeldFrames for FrameSet {
    fn pixels(&self, index: usize) -> &[u8] {
        self.memory(index).bytes()
    }
}

struct Held {
    header: FrameSetHeader,
    frames: Box<dyn HeldFrames>,
    alive: Arc<AtomicUsize>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Ordering::AcqRel);
    }
}

impl FrameSet {
    pub(crate) fn in_slot(producer: Arc<str>, info: Arc<CameraInfo>, published: Published) -> Self {
        Self(Arc::new(Inner { producer, info, pixels: Pixels::Slot(published) }))
    }

    pub(crate) fn leased(producer: Arc<str>, lease: Lease) -> Self {
        let info = Arc::clone(lease.info());
        Self(Arc::new(Inner { producer, info, pixels: Pixels::Lease(lease) }))
    }

    /// A frameset that counts itself in `alive` until it drops.
    pub(crate) fn held(
        producer: Arc<str>,
        info: Arc<CameraInfo>,
        header: FrameSetHeader,
        frames: Box<dyn HeldFrames>,
        alive: &Arc<AtomicUsize>,
    ) -> Self {
        alive.fetch_add(1, Ordering::AcqRel);
        let held = Held { header, frames, alive: Arc::clone(alive) };
        Self(Arc::new(Inner { producer, info, pixels: Pixels::Held(held) }))
    }

    /// The name of the camera that took it, as in the topology.
    pub fn camera(&self) -> &str {
        &self.0.info.name
    }

    /// The name of the actor that published it: the camera itself, or a processor that passed it on.
    pub fn producer(&self) -> &str {
        &self.0.producer
    }

    /// The camera that took it: identity, calibration, depth unit.
    pub fn info(&self) -> &Arc<CameraInfo> {
        &self.0.info
    }

    /// The producer's count of framesets: 0, 1, 2, ... A gap is a frameset that was dropped on the way here.
    pub fn sequence(&self) -> u64 {
        self.header().sequence
    }

    /// When it reached its camera actor, in nanoseconds of [`monotonic_nanos`](crate::monotonic_nanos).
    pub fn arrival_nanos(&self) -> u64 {
        self.header().arrival_nanos
    }

    /// When it was taken: when its depth frame was, or its first frame where it has no depth.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.instant().map(|frame| frame.timestamp)
    }

    /// The frame that says when it was taken.
    pub(crate) fn instant(&self) -> Option<&FrameHeader> {
        let frames = &self.header().frames;
        frames.iter().find(|frame| frame.role == Role::Depth).or_else(|| frames.first())
    }

    /// Everything but the pixels.
    pub fn header(&self) -> &FrameSetHeader {
        match &self.0.pixels {
            Pixels::Slot(published) => published.header(),
            Pixels::Lease(lease) => lease.header(),
            Pixels::Held(held) => &held.header,
        }
    }

    /// Every frameset that it was made from, where these are several, as in a match; otherwise empty.
    pub fn origins(&self) -> &[Origin] {
        &self.header().origins
    }

    /// The frames, in the order of the header.
    pub fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        let frames = self.header().frames.iter().enumerate();
        frames.filter_map(|(index, header)| self.frame_at(index, header))
    }

    /// The frame of one stream, if there is one.
    pub fn frame(&self, stream: Stream) -> Option<Frame<'_>> {
        let frames = &self.header().frames;
        let index = frames.iter().position(|header| header.stream == stream)?;
        self.frame_at(index, &frames[index])
    }

    /// The first frame with this role, if there is one.
    pub fn frame_of(&self, role: Role) -> Option<Frame<'_>> {
        let frames = &self.header().frames;
        let index = frames.iter().position(|header| header.role == role)?;
        self.frame_at(index, &frames[index])
    }

    /// The first depth frame in metres, if there is one.
    pub fn depth(&self) -> Option<DepthView<'_>> {
        let frame = self.frame_of(Role::Depth)?;
        let info = self.0.info.stream(frame.stream());
        let intrinsics = info.and_then(|depth| depth.intrinsics.as_ref());
        DepthView::new(frame, self.0.info.depth_unit_meters, intrinsics)
    }

    /// The color frame as red, green and blue, if there is one.
    pub fn color(&self) -> Option<ColorView<'_>> {
        ColorView::new(self.frame(Stream::COLOR)?)
    }

    /// The points that a processor made of the depth frame, if there are any.
    pub fn points(&self) -> Option<PointsView<'_>> {
        PointsView::new(self.frame_of(Role::Points)?)
    }

    /// The tensor of a stream, if there is one.
    pub fn tensor(&self, stream: Stream) -> Option<TensorView<'_>> {
        TensorView::new(self.frame(stream)?)
    }

    /// The message of a stream, if there is one.
    pub fn message(&self, stream: Stream) -> Option<MessageView<'_>> {
        MessageView::new(self.frame(stream)?)
    }

    /// The samples of [`Stream::ACCEL`] or [`Stream::GYRO`] that came since the frameset before, if there are any.
    pub fn motion(&self, stream: Stream) -> Option<MotionView<'_>> {
        MotionView::new(self.frame(stream)?)
    }

    /// Returns the slot that this process published it in. Returns `None` when it is elsewhere.
    pub(crate) fn published(&self) -> Option<&Published> {
        match &self.0.pixels {
            Pixels::Slot(published) => Some(published),
            Pixels::Lease(_) | Pixels::Held(_) => None,
        }
    }

    fn frame_at<'a>(&'a self, index: usize, header: &'a FrameHeader) -> Option<Frame<'a>> {
        // The lengths were checked when it was published; a library that changes them takes the frame away.
        Frame::new(header, self.memory(index)).ok()
    }

    /// Where the content of the frame at `index` is: the only place that knows.
    fn memory(&self, index: usize) -> Memory<'_> {
        Memory::Host(match &self.0.pixels {
            Pixels::Slot(published) => published.frame(index),
            Pixels::Lease(lease) => lease.frame(index),
            Pixels::Held(held) => held.frames.pixels(index),
        })
    }
}

/// Identity, not pixels.
impl fmt::Debug for FrameSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameSet")
            .field("camera", &self.camera())
            .field("sequence", &self.sequence())
            .finish()
    }
}

/// An actor that handles framesets answers when it is ready for the next one; an error fails the actor.
impl actix::Message for FrameSet {
    type Result = Result<(), ProcessorError>;
}
