//! Encoding of framesets as messages: pixels are copied or compressed once, on the recorder's thread.

use std::sync::Arc;

use bytes::Bytes;
use camrig::frame::{CameraInfo, Format, Frame, FrameHeader, Payload, PixelFormat, Role, Stream, StreamInfo};
use camrig::{FrameSet, ProcessorError};

use super::memory::Queued;
use crate::depth::DepthForm;
use crate::format::{DEPTH, DEPTH_METERS, FrameRecord, FrameSetRecord, GapRecord, JPEG, RAW};
use crate::read::ReadFrameSet;
use crate::write::MESSAGE_HEADER_BYTES;
use crate::{images, motion, npy};

/// Upper bound for the size of a message without its pixels.
const MESSAGE_BYTES: usize = 4096;

/// Upper bound for the size of a sample's message with its entry in memory.
const IMU_BYTES: usize = 1024;

/// A camera as represented in a recording.
pub(crate) struct WrittenCamera {
    /// `front`, or `mask/front` if its framesets are forwarded by the processor `mask`.
    pub(crate) name: String,
    pub(crate) producer: String,
    /// Description of the framesets: a forwarding processor may have other formats than the camera.
    pub(crate) info: CameraInfo,
    /// The streams of its framesets, with their formats; streams of motion are optional.
    pub(crate) frames: Vec<(Stream, Format)>,
    /// The camera's own description.
    said: Arc<CameraInfo>,
    /// Whether its color is stored as JPEG.
    pub(crate) jpeg: bool,
    pub(crate) wall_minus_monotonic_nanos: i64,
    /// The text of the topology; empty if it is not known.
    pub(crate) topology: Arc<str>,
    /// Identifies the run of the rig; empty if it is not known.
    pub(crate) run: Arc<str>,
}

impl WrittenCamera {
    pub(crate) fn new(name: String, frames: &FrameSet, jpeg: bool, wall_minus_monotonic_nanos: i64) -> Self {
        Self::given(
            name,
            frames.producer(),
            frames.info(),
            &streams_of(frames),
            jpeg,
            wall_minus_monotonic_nanos,
        )
    }

    pub(crate) fn given(
        name: String,
        producer: &str,
        said: &Arc<CameraInfo>,
        streams: &[StreamInfo],
        jpeg: bool,
        wall_minus_monotonic_nanos: i64,
    ) -> Self {
        let frames = streams.iter().map(|info| (info.stream, info.format())).collect();
        // The calibration of streams that were not forwarded may be needed as well.
        let others = said.streams.iter().filter(|own| streams.iter().all(|it| it.stream != own.stream));
        let mut streams: Vec<_> = streams.iter().chain(others).copied().collect();
        streams.sort_by_key(|info| {
            said.streams.iter().position(|own| own.stream == info.stream).unwrap_or(usize::MAX)
        });
        let info = CameraInfo { streams, ..CameraInfo::clone(said) };
        let (producer, said) = (producer.to_owned(), Arc::clone(said));
        let (topology, run) = (Arc::from(""), Arc::from(""));
        Self { name, producer, info, frames, said, jpeg, wall_minus_monotonic_nanos, topology, run }
    }

    /// Returns the form of frames of depth; `None` for other frames.
    pub(super) fn depth_form(&self, format: Format) -> Option<DepthForm> {
        match format {
            Format::Image(format) => DepthForm::of(format, self.info.depth_unit_meters),
            _ => None,
        }
    }

    /// Appends the message with the pixels of an image, in the form that viewers show. Returns its coding.
    pub(super) fn image(&self, header: &FrameHeader, pixels: Bytes, message: &mut Vec<u8>) -> &'static str {
        let Some(form) = self.depth_form(header.payload.format()) else {
            images::raw_image(&self.name, header, pixels, message);
            return RAW;
        };
        images::depth_image(&self.name, header, form, &pixels, message);
        match form {
            DepthForm::AsIs(_) => DEPTH,
            DepthForm::Meters(_) => DEPTH_METERS,
        }
    }

    /// Appends the message with the frame at this index of a frameset. Returns its coding, and the messages of samples of
    /// motion.
    pub(crate) fn encode(
        &self,
        frames: &FrameSet,
        index: usize,
        jpeg_quality: Option<u8>,
        message: &mut Vec<u8>,
    ) -> Result<(&'static str, Vec<ImuMessage>), ProcessorError> {
        let Some(frame) = frames.frames().nth(index) else { return Err("there is no such frame".into()) };
        let (header, pixels) = (frame.header(), || images::pixels_of(frames, index));
        let coded = jpeg_quality
            .filter(|_| self.jpeg && images::takes_jpeg(frame.stream(), frame.payload().format()));
        if let Some(jpeg) = coded.and_then(|quality| camrig_image::jpeg(frame, quality)).transpose()? {
            images::jpeg_image(&self.name, &frame, Bytes::from(jpeg), message);
            return Ok((JPEG, Vec::new()));
        }
        let mut samples = Vec::new();
        match header.payload {
            Payload::Image { .. } => return Ok((self.image(header, pixels(), message), samples)),
            Payload::Encoded { .. } => images::encoded_image(&self.name, header, pixels(), message),
            Payload::Points { .. } => images::points(&self.name, header, &pixels(), message),
            Payload::Motion { .. } => {
                motion::encode(frame, message)?;
                samples = imu_of(&self.name, frame);
            }
            Payload::Tensor { dtype, shape } => {
                message.extend(npy::file(dtype, shape.lengths(), frame.bytes()));
            }
            Payload::Message { .. } => message.extend_from_slice(frame.bytes()),
        }
        Ok((RAW, samples))
    }

    /// Returns the record of a frame in this coding.
    pub(super) fn record(&self, header: &FrameHeader, coding: &str) -> FrameRecord {
        let unit_meters = (coding == DEPTH_METERS).then_some(self.info.depth_unit_meters);
        FrameRecord { unit_meters, ..FrameRecord::new(header, coding) }
    }

    pub(crate) fn name_of(frames: &FrameSet) -> String {
        let (camera, producer) = (frames.camera(), frames.producer());
        if camera == producer { camera.to_owned() } else { format!("{producer}/{camera}") }
    }

    pub(crate) fn shows(&self, frames: &FrameSet) -> bool {
        let same_camera = Arc::ptr_eq(&self.said, frames.info()) || self.said == *frames.info();
        same_camera && self.frames.iter().copied().eq(formats_of(frames))
    }
}

fn formats_of(frames: &FrameSet) -> impl Iterator<Item = (Stream, Format)> {
    let images = frames.header().frames.iter().filter(|frame| frame.role != Role::Motion);
    images
        .map(|frame| (frame.stream, frame.payload.format()))
        .chain(motion_of(frames).map(|info| (info.stream, info.format())))
}

/// Returns the streams of motion. They are optional: a frameset between two samples has no motion frame.
fn motion_of(frames: &FrameSet) -> impl Iterator<Item = &StreamInfo> {
    frames.info().streams.iter().filter(|info| info.role == Role::Motion)
}

/// Returns the text of a record, whose message is before those of the frames. It ends with a blank if the numbers of depth
/// would be at odd places of the chunk otherwise, where a reader cannot use them without a copy.
pub(super) fn text_of(record: &FrameSetRecord, images: &[(Stream, Vec<u8>)]) -> serde_json::Result<Vec<u8>> {
    let mut text = serde_json::to_vec(record)?;
    if let Some(depth) = record.frames.iter().position(|frame| frame.coding == DEPTH) {
        let before: usize = images[..depth].iter().map(|(_, image)| image.len()).sum();
        // The headers of this message, of the frames before, and of depth, whose numbers are at an even place of its message.
        let headers = (2 + depth) * MESSAGE_HEADER_BYTES;
        if (headers + text.len() + before) % 2 == 1 {
            text.push(b' ');
        }
    }
    Ok(text)
}

/// Returns the declarations of the streams in a frameset, and of all streams of motion.
fn streams_of(frames: &FrameSet) -> Vec<StreamInfo> {
    let images = frames.header().frames.iter().filter(|frame| frame.role != Role::Motion);
    images.map(|frame| stream_of(frames.info(), frame)).chain(motion_of(frames).copied()).collect()
}

/// Returns the declaration of a frame's stream, derived from the frame if a processor did not declare it.
fn stream_of(info: &CameraInfo, frame: &FrameHeader) -> StreamInfo {
    let declared = info.stream(frame.stream);
    if let Some(declared) = declared.filter(|declared| declared.payload.admits(&frame.payload)) {
        return *declared;
    }
    let like = declared.or(info.stream_of(Role::Depth)).or(info.streams.first());
    let own = StreamInfo::new(frame.stream, frame.payload, like.map_or(1, |like| like.frames_per_second));
    let calibrated = declared.or(like.filter(|_| frame.role == Role::Points));
    StreamInfo {
        role: frame.role,
        intrinsics: calibrated.and_then(|like| like.intrinsics),
        to_depth: calibrated.and_then(|like| like.to_depth),
        ..own
    }
}

/// Returns the messages of a frame's samples for viewers.
fn imu_of(camera: &str, frame: Frame<'_>) -> Vec<ImuMessage> {
    let stream = frame.stream();
    let samples = images::imu(camera, frame);
    let last = samples.last().map_or(0, |(nanos, _)| *nanos);
    let sample =
        |(nanos, message)| ImuMessage { stream, nanos, before_nanos: last.saturating_sub(nanos), message };
    samples.into_iter().map(sample).collect()
}

/// A frameset as messages, with the preceding gaps.
pub(crate) struct Encoded {
    pub(super) source: Arc<WrittenCamera>,
    pub(super) gaps: Vec<GapRecord>,
    /// If it is the first of its producer, and an earlier instance of this recorder had framesets of it: the number of the
    /// first frameset on its link.
    pub(super) continues: Option<u64>,
    /// `None` if there are only gaps.
    pub(super) frameset: Option<Messages>,
}

/// The messages of one frameset.
pub(crate) struct Messages {
    pub(super) sequence: u64,
    pub(super) log_time: u64,
    pub(super) publish_time: u64,
    /// [`FrameSetRecord`].
    pub(super) record: Vec<u8>,
    pub(super) images: Vec<(Stream, Vec<u8>)>,
    /// Samples of motion for viewers.
    pub(super) imu: Vec<ImuMessage>,
}

/// The message with a sample of motion.
pub(crate) struct ImuMessage {
    pub(crate) stream: Stream,
    /// Time of the sample, by the camera's clock.
    pub(crate) nanos: u64,
    /// Time from the sample to the last one of its frame.
    pub(crate) before_nanos: u64,
    pub(crate) message: Vec<u8>,
}

/// Returns an upper bound of the memory for a frameset.
pub(super) fn size_bytes(frames: &FrameSet) -> usize {
    let message = |frame: Frame<'_>| match *frame.payload() {
        Payload::Motion { samples } => samples as usize * (motion::SAMPLE_BYTES + IMU_BYTES) + MESSAGE_BYTES,
        Payload::Image { format: PixelFormat::Z16, .. } => 2 * frame.bytes().len() + MESSAGE_BYTES,
        _ => frame.bytes().len() + MESSAGE_BYTES,
    };
    frames.frames().map(message).sum::<usize>() + MESSAGE_BYTES
}

impl Encoded {
    /// Creates an encoder; `buffer` returns an empty buffer.
    pub(super) fn new(
        source: Arc<WrittenCamera>,
        frames: &FrameSet,
        jpeg_quality: Option<u8>,
        buffer: impl Fn() -> Vec<u8>,
    ) -> Result<Self, ProcessorError> {
        let header = frames.header();
        let (mut images, mut records, mut imu) = (Vec::new(), Vec::new(), Vec::new());
        for (index, frame) in frames.frames().enumerate() {
            let mut message = buffer();
            let (coding, samples) = source.encode(frames, index, jpeg_quality, &mut message)?;
            imu.extend(samples);
            records.push(source.record(frame.header(), coding));
            images.push((frame.stream(), message));
        }
        let record = FrameSetRecord {
            sequence: header.sequence,
            arrival_nanos: header.arrival_nanos,
            matched: header.matched,
            origins: header.origins.to_vec(),
            frames: records,
        };
        let messages = Messages {
            sequence: header.sequence,
            // Both are far below the limit of their type until the year 2262.
            log_time: (header.arrival_nanos as i64 + source.wall_minus_monotonic_nanos).max(0) as u64,
            publish_time: header.frames.first().map_or(0, |frame| frame.timestamp.nanos),
            record: text_of(&record, &images)?,
            images,
            imu,
        };
        Ok(Self { source, gaps: Vec::new(), continues: None, frameset: Some(messages) })
    }

    /// Encodes frames that are of no rig.
    ///
    /// # Errors
    /// If a frame has another size than that in its header.
    pub(crate) fn of_frames(
        source: Arc<WrittenCamera>,
        sequence: u64,
        log_time: u64,
        frames: &[(FrameHeader, Bytes)],
    ) -> Result<Self, ProcessorError> {
        let (mut images, mut records, mut imu) = (Vec::new(), Vec::new(), Vec::new());
        for (header, data) in frames {
            let frame = Frame::new(header, &data[..])?;
            let mut message = Vec::new();
            let coding = match header.payload {
                Payload::Image { .. } => source.image(header, data.clone(), &mut message),
                Payload::Motion { .. } => {
                    motion::encode(frame, &mut message)?;
                    imu.extend(imu_of(&source.name, frame));
                    RAW
                }
                _ => {
                    images::encoded_image(&source.name, header, data.clone(), &mut message);
                    RAW
                }
            };
            records.push(source.record(header, coding));
            images.push((header.stream, message));
        }
        let (matched, origins) = (None, Vec::new());
        let record = FrameSetRecord { sequence, arrival_nanos: log_time, matched, origins, frames: records };
        let publish_time = frames.first().map_or(log_time, |(header, _)| header.timestamp.nanos);
        let record = text_of(&record, &images)?;
        let messages = Messages { sequence, log_time, publish_time, record, images, imu };
        Ok(Self { source, gaps: Vec::new(), continues: None, frameset: Some(messages) })
    }

    /// Returns the frameset as a reader finds it in a recording.
    pub(crate) fn into_read(self) -> Option<ReadFrameSet> {
        let Messages { log_time, record, images, .. } = self.frameset?;
        let record = serde_json::from_slice(&record).ok()?;
        let images = images.into_iter().map(|(_, image)| image.into()).collect();
        Some(ReadFrameSet { log_time, record, images })
    }

    pub(super) fn only_gaps(source: Arc<WrittenCamera>, gaps: Vec<GapRecord>) -> Self {
        Self { source, gaps, continues: None, frameset: None }
    }
}

impl Queued for Encoded {
    fn size_bytes(&self) -> usize {
        let messages = self.frameset.iter();
        messages
            .map(|messages| {
                let images: usize = messages.images.iter().map(|(_, image)| image.capacity()).sum();
                let imu: usize = messages.imu.iter().map(|sample| sample.message.capacity()).sum();
                messages.record.capacity() + images + imu
            })
            .sum()
    }

    fn counts(&self) -> bool {
        self.frameset.is_some()
    }

    fn into_buffers(self) -> impl Iterator<Item = Vec<u8>> {
        self.frameset.into_iter().flat_map(|messages| messages.images.into_iter().map(|(_, image)| image))
    }
}
