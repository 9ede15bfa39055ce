//! Frames, from librealsense's callback to their pixels.

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};

use realsense_rust::frame::{FrameEx, ImageFrame};
use realsense_sys as rs2;

use super::profile::{StreamKey, is_motion, profile_data};
use super::{Fault, call};

/// The channels of a sensor's callback: images and samples of motion apart, so that neither fills the other's queue.
pub(crate) struct Sink {
    pub(crate) images: SyncSender<Arrived>,
    pub(crate) samples: SyncSender<Arrived>,
    /// Whether the callback waits for space in the queue, which also pauses a player without real time, or drops the frame.
    pub(crate) wait: bool,
    /// Counts the dropped frames.
    pub(crate) dropped: Arc<DroppedFrames>,
}

/// Number of dropped frames of each stream, by librealsense's number of the stream.
#[derive(Debug)]
pub(crate) struct DroppedFrames([AtomicU64; STREAM_KINDS]);

impl Default for DroppedFrames {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; STREAM_KINDS])
    }
}

/// Number of indices of a kind of stream that are counted apart.
const INDICES: usize = 8;

/// Number of counters: librealsense's kinds of streams and some spare ones, with their indices.
const STREAM_KINDS: usize = INDICES * 16;

impl DroppedFrames {
    fn count(&self, (kind, index): StreamKey) {
        let counter = INDICES * kind as usize + (index.max(0) as usize).min(INDICES - 1);
        if let Some(count) = self.0.get(counter) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Takes the counts, each with its stream.
    pub(crate) fn take(&self) -> impl Iterator<Item = (StreamKey, u64)> + '_ {
        self.0.iter().enumerate().filter_map(|(counter, count)| {
            let count = count.swap(0, Ordering::Relaxed);
            let key = ((counter / INDICES) as rs2::rs2_stream, (counter % INDICES) as c_int);
            (count > 0).then_some((key, count))
        })
    }
}

/// A frame with its arrival by the host's monotonic clock.
pub(crate) struct Arrived {
    pub(crate) frame: RawFrame,
    /// Number and index of its stream.
    pub(crate) key: StreamKey,
    pub(crate) arrival_nanos: u64,
}

/// Called by librealsense for every frame, whose reference it passes on.
pub(super) extern "C" fn on_frame(frame: *mut rs2::rs2_frame, user: *mut c_void) {
    let Some(frame) = NonNull::new(frame) else { return };
    // SAFETY: the reference is ours.
    let frame = unsafe { RawFrame::keep(frame) };
    let arrival_nanos = camrig::monotonic_nanos();
    // SAFETY: `start` passed a `Sink` that `silence` frees only after the last callback. It is only read,
    // and a sender may be used from any thread.
    let sink = unsafe { user.cast::<Sink>().as_ref() };
    let Some(sink) = sink else { return };
    let Some(key) = frame.stream() else { return };
    let arrived = Arrived { frame, key, arrival_nanos };
    let sender = if is_motion(key.0) { &sink.samples } else { &sink.images };
    // A frame that cannot be sent is dropped and so released.
    if sink.wait {
        drop(sender.send(arrived));
    } else if let Err(TrySendError::Full(_)) = sender.try_send(arrived) {
        sink.dropped.count(key);
    }
}

/// A frame of librealsense, not examined yet.
pub(crate) struct RawFrame(NonNull<rs2::rs2_frame>);

// SAFETY: a frame's count of references is atomic, and the archive that it returns to has a lock, so that
// any thread may release it; a reference belongs to one thread at a time here.
unsafe impl Send for RawFrame {}

impl RawFrame {
    /// Keeps a frame, which then no longer counts towards librealsense's limit of frames in use (16 per stream, 32
    /// for a file); its memory is still recycled.
    ///
    /// # Safety
    /// The frame is alive, and the reference to it is the caller's.
    pub(super) unsafe fn keep(frame: NonNull<rs2::rs2_frame>) -> Self {
        // SAFETY: the caller ensures it.
        unsafe { rs2::rs2_keep_frame(frame.as_ptr()) };
        Self(frame)
    }

    pub(super) fn pointer(&self) -> NonNull<rs2::rs2_frame> {
        self.0
    }

    /// Returns number and index of its stream.
    pub(crate) fn stream(&self) -> Option<StreamKey> {
        // SAFETY: the frame is alive, and its profile as long.
        let profile =
            call(|error| unsafe { rs2::rs2_get_frame_stream_profile(self.0.as_ptr(), error) }).ok()?;
        let profile = NonNull::new(profile.cast_mut())?;
        // SAFETY: as above.
        let data = unsafe { profile_data(profile) }.ok()?;
        Some(data.key())
    }

    /// Returns its number, and the bits of its time.
    pub(crate) fn number_and_time(&self) -> Result<(u64, u64), Fault> {
        // SAFETY: the frame is alive, here and below.
        let number = call(|error| unsafe { rs2::rs2_get_frame_number(self.0.as_ptr(), error) })?;
        // SAFETY: as above.
        let millis = call(|error| unsafe { rs2::rs2_get_frame_timestamp(self.0.as_ptr(), error) })?;
        Ok((number, millis.to_bits()))
    }

    /// Returns the sample of a frame of motion.
    pub(crate) fn measured(&self) -> Result<Measured, Fault> {
        let frame = self.0.as_ptr();
        // SAFETY: the frame is alive, here and below.
        let number = call(|error| unsafe { rs2::rs2_get_frame_number(frame, error) })?;
        // SAFETY: as above.
        let millis = call(|error| unsafe { rs2::rs2_get_frame_timestamp(frame, error) })?;
        // SAFETY: as above.
        let domain = call(|error| unsafe { rs2::rs2_get_frame_timestamp_domain(frame, error) })?;
        // SAFETY: as above.
        let claimed_bytes = call(|error| unsafe { rs2::rs2_get_frame_data_size(frame, error) })?;
        // SAFETY: as above.
        let data = call(|error| unsafe { rs2::rs2_get_frame_data(frame, error) })?;
        // As for images, a file may contain any size, and software devices report 0.
        let vouched_for = cfg!(test) && claimed_bytes == 0;
        if data.is_null() || (claimed_bytes as usize) < size_of::<[f32; 3]>() && !vouched_for {
            return Err(Fault::new(&format!(
                "a frame of motion has {claimed_bytes} bytes, too few for a sample"
            )));
        }
        // SAFETY: the memory is the frame's, has space for three numbers, and is copied immediately.
        let xyz = unsafe { data.cast::<[f32; 3]>().read_unaligned() };
        Ok(Measured { number, millis, domain, xyz })
    }

    /// Returns the reference, which is then the caller's to release.
    pub(super) fn into_pointer(self) -> NonNull<rs2::rs2_frame> {
        let frame = self.0;
        std::mem::forget(self);
        frame
    }

    /// Converts the frame to realsense-rust's view of an image.
    pub(crate) fn into_image(self) -> Result<Image, Fault> {
        let frame = self.0;
        // realsense-rust panics on a frame without pixels.
        // SAFETY: the frame is alive.
        let data = call(|error| unsafe { rs2::rs2_get_frame_data(frame.as_ptr(), error) })?;
        if data.is_null() {
            return Err(Fault::new("a frame has no pixels"));
        }
        // A failed constructor does not release the frame, so `self` does.
        let image = ImageFrame::try_from(frame).map_err(|error| Fault::new(&error.to_string()))?;
        // From here on the image releases the frame.
        std::mem::forget(self);
        let (stride, height, claimed_bytes) = (image.stride(), image.height(), image.get_data_size());
        // The size of an encoded image varies.
        let size_bytes = if is_encoded(&image) && claimed_bytes > 0 {
            claimed_bytes
        } else {
            stride.saturating_mul(height)
        };
        // A file may contain any size. Software devices, as in the tests, report 0 for the pixels passed to them.
        let vouched_for = cfg!(test) && claimed_bytes == 0;
        if claimed_bytes < size_bytes && !vouched_for {
            let message = format!("a frame has {claimed_bytes} bytes, too few for {height} rows of {stride}");
            return Err(Fault::new(&message));
        }
        Ok(Image { image, size_bytes })
    }
}

/// Returns whether an image is encoded, so that it has no rows.
fn is_encoded(image: &ImageFrame<AnyImage>) -> bool {
    image.stream_profile().format() as rs2::rs2_format == rs2::rs2_format_RS2_FORMAT_MJPEG
}

impl Drop for RawFrame {
    fn drop(&mut self) {
        // SAFETY: librealsense passed this reference on, and it is released once: `into_image` does not drop it.
        unsafe { rs2::rs2_release_frame(self.0.as_ptr()) }
    }
}

/// A sample of motion, in librealsense's units.
pub(crate) struct Measured {
    pub(crate) number: u64,
    pub(crate) millis: f64,
    pub(crate) domain: rs2::rs2_timestamp_domain,
    pub(crate) xyz: [f32; 3],
}

/// Any kind of image; its profile describes it.
#[derive(Debug)]
pub(crate) struct AnyImage;

/// An image whose size was checked.
pub(crate) struct Image {
    image: ImageFrame<AnyImage>,
    size_bytes: usize,
}

impl Image {
    /// Returns realsense-rust's view of it.
    pub(crate) fn view(&self) -> &ImageFrame<AnyImage> {
        &self.image
    }

    /// Returns its size in bytes.
    pub(crate) fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Converts it to its pixels, which may be read from any thread.
    pub(crate) fn into_pixels(self) -> Pixels {
        Pixels::Held(self)
    }
}

/// The pixels of a frame.
pub(crate) enum Pixels {
    /// Those of a frame of librealsense, which is held.
    Held(Image),
    /// Pixels that this driver has computed.
    Own(Vec<u8>),
}

// SAFETY: all that can be done with `&Pixels` is to read bytes that are no longer written: librealsense has filled the frame
// before it passed it on, and reuses its memory only after the last reference is released, which is ours. Dropping it releases
// the frame, which any thread may do (`ImageFrame` is `Send`).
unsafe impl Sync for Pixels {}

impl From<Vec<u8>> for Pixels {
    fn from(pixels: Vec<u8>) -> Self {
        Self::Own(pixels)
    }
}

impl Pixels {
    /// Returns the frame, for further processing; `None` if it is not one of librealsense.
    pub(crate) fn into_raw(self) -> Option<RawFrame> {
        let Self::Held(held) = self else { return None };
        // SAFETY: the image gives its reference away, and no longer releases it.
        Some(RawFrame(unsafe { held.image.get_owned_raw() }))
    }

    /// Returns the intrinsics of the frame's profile.
    #[cfg(test)]
    pub(crate) fn intrinsics(&self) -> rs2::rs2_intrinsics {
        let Self::Held(held) = self else { panic!("pixels of this driver have no profile") };
        held.image.stream_profile().intrinsics().unwrap().0
    }

    /// Returns the rows from the top, with their padding.
    pub(crate) fn bytes(&self) -> &[u8] {
        let Image { image, size_bytes } = match self {
            Self::Held(held) => held,
            Self::Own(pixels) => return pixels,
        };
        // SAFETY: the frame is held, so that its memory is alive and unchanged as long as `self`; it has
        // `size_bytes`, as `into_image` checked.
        unsafe {
            let data: *const c_void = image.get_data();
            std::slice::from_raw_parts(data.cast(), *size_bytes)
        }
    }
}
