//! The frameset handle that drivers create and processors read.
//!
//! It hides the location of the pixels: a slot of this process, a slot of another process, or the memory of the
//! camera's library. It has no knowledge of links, which are the responsibility of the output.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use camrig_frame::{
    CameraInfo, ColorView, DepthView, Frame, FrameHeader, FrameSetHeader, Memory, MessageView, MotionView,
    Origin, PointsView, Role, Stream, TensorView, Timestamp,
};
use camrig_image::{DecodeError, LightImage};
use camrig_ipc::{Lease, Published};

use crate::error::ProcessorError;

/// The data of one camera at one point in time: a frame for each of its streams, and, for cameras with motion
/// sensors, the samples since the previous frameset.
///
/// A cheap handle: borrow it, or clone it to keep it. Its memory returns to the camera when the last clone is
/// dropped; a processor that keeps as many framesets as the camera has slots blocks the rig.
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

/// Frames that remain in the memory of the camera's library as long as a frameset refers to them.
pub trait HeldFrames: Send + Sync {
    /// Returns the content of the frame at `index` of the header: exactly as many bytes as the header declares. A frame of
    /// another length is refused when it is copied, and missing for readers in the same process.
    fn pixels(&self, index: usize) -> &[u8];
}

/// A frameset that is passed on: the handle holds its frames where they are.
impl HeldFrames for FrameSet {
    fn pixels(&self, index: usize) -> &[u8] {
        self.memory(index).bytes()
    }
}

/// The content of frames in memory of its own.
struct CopiedFrames(Vec<Vec<u8>>);

impl HeldFrames for CopiedFrames {
    fn pixels(&self, index: usize) -> &[u8] {
        &self.0[index]
    }
}

struct Held {
    header: Box<FrameSetHeader>,
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

    /// Creates a frameset that is counted in `alive` until it is dropped.
    pub(crate) fn held(
        producer: Arc<str>,
        info: Arc<CameraInfo>,
        header: FrameSetHeader,
        frames: Box<dyn HeldFrames>,
        alive: &Arc<AtomicUsize>,
    ) -> Self {
        alive.fetch_add(1, Ordering::AcqRel);
        let held = Held { header: Box::new(header), frames, alive: Arc::clone(alive) };
        Self(Arc::new(Inner { producer, info, pixels: Pixels::Held(held) }))
    }

    /// Returns a copy of it in memory of its own, which keeps no slot.
    #[must_use]
    pub fn copied(&self) -> Self {
        let header = self.header().clone();
        let frames = (0..header.frames.len()).map(|index| self.pixels(index).to_vec()).collect();
        let (producer, info) = (Arc::clone(&self.0.producer), Arc::clone(&self.0.info));
        Self::held(producer, info, header, Box::new(CopiedFrames(frames)), &Arc::default())
    }

    /// Returns the name of the camera that captured it, as in the topology.
    pub fn camera(&self) -> &str {
        &self.0.info.name
    }

    /// Returns the name of the actor that published it: the camera, or a processor that forwarded it.
    pub fn producer(&self) -> &str {
        &self.0.producer
    }

    /// Returns the description of the camera that captured it: identity, calibration, depth unit.
    pub fn info(&self) -> &Arc<CameraInfo> {
        &self.0.info
    }

    /// Returns the producer's frameset counter: 0, 1, 2, ... A gap means framesets dropped on the way.
    pub fn sequence(&self) -> u64 {
        self.header().sequence
    }

    /// Returns the time at which it reached its camera actor, in nanoseconds of
    /// [`monotonic_nanos`](crate::monotonic_nanos).
    pub fn arrival_nanos(&self) -> u64 {
        self.header().arrival_nanos
    }

    /// Returns the capture time: that of its depth frame, or of its first frame if it has no depth.
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.instant().map(|frame| frame.timestamp)
    }

    /// Returns the frame that determines the capture time.
    pub(crate) fn instant(&self) -> Option<&FrameHeader> {
        let frames = &self.header().frames;
        frames.iter().find(|frame| frame.role == Role::Depth).or_else(|| frames.first())
    }

    /// Returns the header: everything except the content.
    pub fn header(&self) -> &FrameSetHeader {
        match &self.0.pixels {
            Pixels::Slot(published) => published.header(),
            Pixels::Lease(lease) => lease.header(),
            Pixels::Held(held) => &held.header,
        }
    }

    /// Returns the framesets from which it was made, if there are several, as in a match; otherwise empty.
    pub fn origins(&self) -> &[Origin] {
        &self.header().origins
    }

    /// Iterates over the frames, in the order of the header.
    pub fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        let frames = self.header().frames.iter().enumerate();
        frames.filter_map(|(index, header)| self.frame_at(index, header))
    }

    /// Returns the frame of one stream, if present.
    pub fn frame(&self, stream: Stream) -> Option<Frame<'_>> {
        let frames = &self.header().frames;
        let index = frames.iter().position(|header| header.stream == stream)?;
        self.frame_at(index, &frames[index])
    }

    /// Returns the first frame with this role, if present.
    pub fn frame_of(&self, role: Role) -> Option<Frame<'_>> {
        let frames = &self.header().frames;
        let index = frames.iter().position(|header| header.role == role)?;
        self.frame_at(index, &frames[index])
    }

    /// Returns the first depth frame in metres, if present.
    pub fn depth(&self) -> Option<DepthView<'_>> {
        let frame = self.frame_of(Role::Depth)?;
        let info = self.0.info.stream(frame.stream());
        let intrinsics = info.and_then(|depth| depth.intrinsics.as_ref());
        DepthView::new(frame, self.0.info.depth_unit_meters, intrinsics)
    }

    /// Returns the color frame as red, green and blue, if it is present and holds pixels; see also
    /// [`Self::color_image`].
    pub fn color(&self) -> Option<ColorView<'_>> {
        ColorView::new(self.frame(Stream::COLOR)?)
    }

    /// Returns the color frame, if present, as an image that can be read as red, green and blue. A JPEG, as some
    /// cameras send it, is decoded.
    ///
    /// # Errors
    /// If it is a JPEG that cannot be decoded, such as one that was damaged on USB.
    pub fn color_image(&self) -> Result<Option<LightImage<'_>>, DecodeError> {
        self.frame(Stream::COLOR).map_or(Ok(None), LightImage::new)
    }

    /// Returns the points that a processor computed from the depth frame, if present.
    pub fn points(&self) -> Option<PointsView<'_>> {
        PointsView::new(self.frame_of(Role::Points)?)
    }

    /// Returns the tensor of a stream, if present.
    pub fn tensor(&self, stream: Stream) -> Option<TensorView<'_>> {
        TensorView::new(self.frame(stream)?)
    }

    /// Returns the message of a stream, if present.
    pub fn message(&self, stream: Stream) -> Option<MessageView<'_>> {
        MessageView::new(self.frame(stream)?)
    }

    /// Returns the samples of [`Stream::ACCEL`] or [`Stream::GYRO`] since the previous frameset, if present.
    pub fn motion(&self, stream: Stream) -> Option<MotionView<'_>> {
        MotionView::new(self.frame(stream)?)
    }

    /// Returns the slot in which this process published it; `None` if it is elsewhere.
    pub(crate) fn published(&self) -> Option<&Published> {
        match &self.0.pixels {
            Pixels::Slot(published) => Some(published),
            Pixels::Lease(_) | Pixels::Held(_) => None,
        }
    }

    fn frame_at<'a>(&'a self, index: usize, header: &'a FrameHeader) -> Option<Frame<'a>> {
        // Only a driver's own memory can have another length.
        Frame::new(header, self.memory(index)).ok()
    }

    /// Returns the location of the content of the frame at `index`. No other code depends on the location.
    fn memory(&self, index: usize) -> Memory<'_> {
        Memory::Host(match &self.0.pixels {
            Pixels::Slot(published) => published.frame(index),
            Pixels::Lease(lease) => lease.frame(index),
            Pixels::Held(held) => held.frames.pixels(index),
        })
    }
}

/// Shows the identity, not the pixels.
impl fmt::Debug for FrameSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameSet")
            .field("camera", &self.camera())
            .field("sequence", &self.sequence())
            .finish()
    }
}

/// An actor that handles framesets responds when it is ready for the next one; an error fails the actor.
impl actix::Message for FrameSet {
    type Result = Result<(), ProcessorError>;
}
