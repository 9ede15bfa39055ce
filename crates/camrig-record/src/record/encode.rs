//! A frameset as the messages that a file holds: pixels copied or coded, once, on the recorder's thread.

use std::sync::Arc;

use bytes::Bytes;
use camrig::frame::{CameraInfo, PixelFormat, Stream};
use camrig::{FrameSet, ProcessorError};

use super::memory::Item;
use crate::format::{FrameRecord, FrameSetRecord, GapRecord, JPEG, RAW};
use crate::{images, motion};

/// What a message has beside its pixels, with room to spare.
const MESSAGE_BYTES: usize = 4096;

/// A camera, as a recording knows it.
pub(crate) struct Source {
    /// `front`, or `mask/front` when the processor `mask` passed its framesets on.
    pub(crate) name: String,
    pub(crate) producer: String,
    /// What the producer gives: a processor that passes framesets on may have other formats than the camera.
    pub(crate) info: CameraInfo,
    /// The streams that its framesets have, with their formats; of motion those that they may have.
    pub(crate) frames: Vec<(Stream, PixelFormat)>,
    /// What the camera says of itself.
    said: Arc<CameraInfo>,
    /// Whether its color is stored in JPEG.
    pub(crate) jpeg: bool,
    pub(crate) wall_minus_monotonic_nanos: i64,
}

impl Source {
    pub(super) fn new(name: String, frames: &FrameSet, jpeg: bool, wall_minus_monotonic_nanos: i64) -> Self {
        Self::given(
            name,
            frames.producer(),
            frames.info(),
            formats_of(frames).collect(),
            jpeg,
            wall_minus_monotonic_nanos,
        )
    }

    pub(super) fn given(
        name: String,
        producer: &str,
        said: &Arc<CameraInfo>,
        frames: Vec<(Stream, PixelFormat)>,
        jpeg: bool,
        wall_minus_monotonic_nanos: i64,
    ) -> Self {
        let mut info = CameraInfo::clone(said);
        for stream in &mut info.streams {
            let given = frames.iter().find(|(given, _)| *given == stream.stream);
            stream.format = given.map_or(stream.format, |&(_, format)| format);
        }
        let jpeg = jpeg && images::takes_jpeg(&info, Stream::Color);
        let (producer, said) = (producer.to_owned(), Arc::clone(said));
        Self { name, producer, info, frames, said, jpeg, wall_minus_monotonic_nanos }
    }

    pub(super) fn name_of(frames: &FrameSet) -> String {
        let (camera, producer) = (frames.camera(), frames.producer());
        if camera == producer { camera.to_owned() } else { format!("{producer}/{camera}") }
    }

    pub(super) fn shows(&self, frames: &FrameSet) -> bool {
        let same_camera = Arc::ptr_eq(&self.said, frames.info()) || self.said == *frames.info();
        same_camera && self.frames.iter().copied().eq(formats_of(frames))
    }
}

fn formats_of(frames: &FrameSet) -> impl Iterator<Item = (Stream, PixelFormat)> {
    let images = frames.header().frames.iter().map(|frame| (frame.stream, frame.format));
    // A frameset between two samples has no frame of motion, and is of the same camera all the same.
    let motion = frames.info().streams.iter().map(|info| (info.stream, info.format));
    let images = images.filter(|(stream, _)| !stream.is_motion());
    images.chain(motion.filter(|(stream, _)| stream.is_motion()))
}

/// A frameset as messages, and the gaps before it.
pub(super) struct Encoded {
    pub(super) source: Arc<Source>,
    pub(super) gaps: Vec<GapRecord>,
    /// None when there are only gaps.
    pub(super) frameset: Option<Messages>,
}

/// The messages of one frameset.
pub(super) struct Messages {
    pub(super) sequence: u64,
    pub(super) log_time: u64,
    pub(super) publish_time: u64,
    /// [`FrameSetRecord`].
    pub(super) record: Vec<u8>,
    pub(super) images: Vec<(Stream, Vec<u8>)>,
}

/// How much memory a frameset takes at most.
pub(super) fn size_bytes(frames: &FrameSet) -> usize {
    let message = |frame: camrig::frame::Frame<'_>| match frame.header().format {
        PixelFormat::Motion => frame.width() as usize * motion::SAMPLE_BYTES + MESSAGE_BYTES,
        _ => frame.bytes().len() + MESSAGE_BYTES,
    };
    frames.frames().map(message).sum::<usize>() + MESSAGE_BYTES
}

impl Encoded {
    /// `buffer` gives an empty buffer.
    pub(super) fn new(
        source: Arc<Source>,
        frames: &FrameSet,
        jpeg_quality: Option<u8>,
        buffer: impl Fn() -> Vec<u8>,
    ) -> Result<Self, ProcessorError> {
        let header = frames.header();
        let (mut images, mut records) = (Vec::new(), Vec::new());
        for (index, frame) in frames.frames().enumerate() {
            let stream = frame.stream();
            let mut message = buffer();
            let coded = jpeg_quality.filter(|_| source.jpeg && stream == Stream::Color);
            let coded = coded.and_then(|quality| images::jpeg(frame, quality)).transpose()?;
            let coding = if let Some(jpeg) = coded {
                images::jpeg_image(&source.name, &frame, Bytes::from(jpeg), &mut message);
                JPEG
            } else {
                let pixels = images::pixels_of(frames, index);
                let header = frame.header();
                match header.format {
                    PixelFormat::Xyzrgb => images::points(&source.name, header, pixels, &mut message),
                    PixelFormat::Motion => motion::encode(frame, &mut message)?,
                    _ => images::raw_image(&source.name, header, pixels, &mut message),
                }
                RAW
            };
            records.push(FrameRecord::new(frame.header(), coding));
            images.push((stream, message));
        }
        let record = FrameSetRecord {
            sequence: header.sequence,
            arrival_nanos: header.arrival_nanos,
            matched: header.matched,
            frames: records,
        };
        let messages = Messages {
            sequence: header.sequence,
            // Both are far below the limit of their type until the year 2262.
            log_time: (header.arrival_nanos as i64 + source.wall_minus_monotonic_nanos).max(0) as u64,
            publish_time: header.frames.first().map_or(0, |frame| frame.timestamp.nanos),
            record: serde_json::to_vec(&record)?,
            images,
        };
        Ok(Self { source, gaps: Vec::new(), frameset: Some(messages) })
    }

    pub(super) fn only_gaps(source: Arc<Source>, gaps: Vec<GapRecord>) -> Self {
        Self { source, gaps, frameset: None }
    }
}

impl Item for Encoded {
    fn size_bytes(&self) -> usize {
        let messages = self.frameset.iter();
        messages
            .map(|messages| {
                let images: usize = messages.images.iter().map(|(_, image)| image.capacity()).sum();
                messages.record.capacity() + images
            })
            .sum()
    }

    fn into_buffers(self) -> impl Iterator<Item = Vec<u8>> {
        self.frameset.into_iter().flat_map(|messages| messages.images.into_iter().map(|(_, image)| image))
    }
}
