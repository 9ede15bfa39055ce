//! One file of a recording: definitions, framesets, index.
//!
//! A chunk is written as a whole, when everything that it depends on is already in the file: if the recorder crashes,
//! the file is readable up to its last complete chunk. This module has no knowledge of threads.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use camrig::frame::{CameraInfo, Format, Payload, Stream, Timestamp};
use foxglove::messages::{CameraCalibration, CompressedImage, FrameTransform, PointCloud, RawImage};
use mcap::McapError;
use mcap::records::{MessageHeader, Metadata};

use super::disk::{self, Room};
use super::encode::{Encoded, Messages, Source};
use super::error::WriteError;
use crate::compression::{Compression, Output, into_io};
use crate::format::{
    CAMERA_KEY, FRAMESET_JSON_SCHEMA, FRAMESET_SCHEMA, GAP_JSON_SCHEMA, GAP_SCHEMA, MOTION_JSON_SCHEMA,
    MOTION_SCHEMA, NAME_KEY, NEXT_KEY, OFFSET_KEY, ORIGIN_KEY, PART_KEY, PART_METADATA, STREAM_KEY,
    TENSOR_ENCODING, TENSOR_SCHEMA, VERSION, VERSION_KEY,
};
use crate::images;

/// Size of the index per additional camera and per additional chunk.
const INDEX_BYTES_PER_CAMERA: u64 = 64 << 10;
const INDEX_BYTES_PER_CHUNK: u64 = 256;

/// Returns the maximum size of a chunk, including the overhead of incompressible data: one byte in 255.
fn chunk_bytes(message_bytes: u64) -> u64 {
    message_bytes + message_bytes / 255 + (16 << 10)
}

/// A schema without a description, known only by its name.
fn named(name: &str) -> foxglove::Schema {
    foxglove::Schema::new(name, "", b"".as_slice())
}

/// Returns the encoding of the messages of a stream whose schema has no description.
fn encoding_of(info: &CameraInfo, stream: Stream) -> &str {
    match info.stream(stream).map(|info| &info.payload) {
        Some(Payload::Message { encoding, .. }) => encoding.as_str(),
        _ => TENSOR_ENCODING,
    }
}

/// Parameters of a part.
#[derive(Clone, Copy)]
pub(crate) struct PartOptions {
    /// 1 for the first file of a recording.
    pub(crate) number: u32,
    pub(crate) compression: Compression,
}

/// A file in the process of being written.
pub(crate) struct Part {
    path: PathBuf,
    options: PartOptions,
    writer: Output,
    room: Room,
    cameras: Vec<(Arc<Source>, Channels)>,
    size_bytes: u64,
    chunks: u64,
    /// The `log_time` of the first and the last frameset.
    began: Option<u64>,
    last: u64,
}

/// The channels of a camera.
struct Channels {
    frameset: u16,
    gaps: u16,
    images: BTreeMap<Stream, u16>,
}

impl Part {
    /// Creates the first file of this name that does not exist.
    pub(crate) fn create(path: &Path, options: PartOptions) -> Result<Self, WriteError> {
        let (file, path) = disk::create(path)?;
        let fail = |error| WriteError::write(&path, error);
        let room = Room::new(file.try_clone().map_err(fail)?);
        let writer = options.compression.writer(file).map_err(fail)?;
        let mut part = Self {
            path,
            options,
            writer,
            room,
            cameras: Vec::new(),
            size_bytes: 0,
            chunks: 0,
            began: None,
            last: 0,
        };
        part.end_chunk().map_err(|error| WriteError::write(&part.path, error))?;
        Ok(part)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn number(&self) -> u32 {
        self.options.number
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Returns the `log_time` of the first frameset.
    pub(crate) fn began(&self) -> Option<u64> {
        self.began
    }

    /// Writes a frameset and the preceding gaps. `origin` is the start time of the recording.
    ///
    /// # Errors
    /// If the disk is full or fails: the file ends with its previous content.
    pub(super) fn write(&mut self, encoded: &Encoded, origin: u64) -> Result<(), WriteError> {
        self.try_write(encoded, origin).map_err(|error| WriteError::write(&self.path, error))
    }

    fn try_write(&mut self, encoded: &Encoded, origin: u64) -> io::Result<()> {
        let Encoded { source, gaps, frameset } = encoded;
        let known = self.cameras.iter().position(|(known, _)| Arc::ptr_eq(known, source));
        let definitions = if known.is_none() { INDEX_BYTES_PER_CAMERA } else { 0 };
        let images = frameset.iter().flat_map(|messages| &messages.images);
        let message_bytes = images.map(|(_, image)| image.len() as u64).sum::<u64>()
            + frameset.iter().map(|messages| messages.record.len() as u64).sum::<u64>()
            + 128 * gaps.len() as u64;
        let index = INDEX_BYTES_PER_CAMERA * (self.cameras.len() as u64 + 1)
            + INDEX_BYTES_PER_CHUNK * (self.chunks + 2);
        self.room.reserve(self.size_bytes + chunk_bytes(message_bytes) + definitions + index)?;
        let time = frameset.as_ref().map_or(self.last.max(origin), |messages| messages.log_time);
        self.began.get_or_insert(time);
        self.last = self.last.max(time);
        let camera = match known {
            Some(index) => index,
            None => self.define(source, frameset.as_ref(), origin, time)?,
        };
        let Channels { frameset: frameset_channel, gaps: gap_channel, images } = &self.cameras[camera].1;
        let sequence = frameset.as_ref().map_or(0, |messages| messages.sequence);
        let publish_time = frameset.as_ref().map_or(time, |messages| messages.publish_time);
        let header = |channel_id: u16| MessageHeader {
            channel_id,
            // The frameset message contains the full number.
            sequence: sequence as u32,
            log_time: time,
            publish_time,
        };
        for gap in gaps {
            let gap = serde_json::to_vec(gap)?;
            self.writer.write_to_known_channel(&header(*gap_channel), &gap).map_err(into_io)?;
        }
        if let Some(messages) = frameset {
            self.writer
                .write_to_known_channel(&header(*frameset_channel), &messages.record)
                .map_err(into_io)?;
            for (stream, image) in &messages.images {
                let Some(&channel) = images.get(stream) else { continue };
                self.writer.write_to_known_channel(&header(channel), image).map_err(into_io)?;
            }
        }
        self.end_chunk()
    }

    /// Writes the definitions required before a camera's first frameset, as a separate chunk.
    fn define(
        &mut self,
        source: &Arc<Source>,
        messages: Option<&Messages>,
        origin: u64,
        time: u64,
    ) -> io::Result<usize> {
        let Source { name, info, frames, jpeg, wall_minus_monotonic_nanos, .. } = &**source;
        let taken = Timestamp {
            clock: camrig::frame::Clock::System,
            nanos: messages.map_or(time, |messages| messages.publish_time),
        };
        let text = |key: &str, value: String| (key.to_owned(), value);
        let camera = [
            text(NAME_KEY, name.clone()),
            text("serial", info.serial.clone()),
            text("model", info.model.clone()),
            text("depth_unit_meters", info.depth_unit_meters.to_string()),
        ];
        let of_frameset = [
            text(VERSION_KEY, VERSION.to_owned()),
            text(CAMERA_KEY, serde_json::to_string(info)?),
            text(ORIGIN_KEY, origin.to_string()),
            text(PART_KEY, self.options.number.to_string()),
            text(OFFSET_KEY, wall_minus_monotonic_nanos.to_string()),
        ];
        let of_camera = camera.into_iter().collect::<BTreeMap<_, _>>();
        let of_frameset = of_camera.clone().into_iter().chain(of_frameset).collect();
        let mut define = |topic: String, schema: &foxglove::Schema, encoding, metadata: &BTreeMap<_, _>| {
            let schema = self.writer.add_schema(&schema.name, &schema.encoding, &schema.data)?;
            self.writer.add_channel(schema, &topic, encoding, metadata)
        };
        let json =
            |name: &str, schema: &'static str| foxglove::Schema::new(name, "jsonschema", schema.as_bytes());
        let frameset = json(FRAMESET_SCHEMA, FRAMESET_JSON_SCHEMA);
        let gap = json(GAP_SCHEMA, GAP_JSON_SCHEMA);
        let mut channels = Channels {
            frameset: define(format!("/{name}/frameset"), &frameset, "json", &of_frameset)
                .map_err(into_io)?,
            gaps: define(format!("/{name}/gaps"), &gap, "json", &of_camera).map_err(into_io)?,
            images: BTreeMap::new(),
        };
        let mut once = Vec::new();
        for &(which, format) in frames {
            let mut metadata = of_camera.clone();
            metadata.insert(STREAM_KEY.to_owned(), which.name().to_owned());
            let mut add = |what: &str, schema: Option<foxglove::Schema>| {
                let schema = schema.ok_or(McapError::InvalidSchemaId)?;
                // The encoding of the messages is determined by that of their schema, if it has one.
                let encoding = match schema.encoding.as_str() {
                    "jsonschema" => "json",
                    "" => encoding_of(info, which),
                    _ => "protobuf",
                };
                define(format!("/{name}/{which}/{what}"), &schema, encoding, &metadata)
            };
            let image = match format {
                Format::Image(_) if *jpeg && images::takes_jpeg(which, format) => {
                    add("image", images::schema::<CompressedImage>())
                }
                Format::Image(_) => add("image", images::schema::<RawImage>()),
                Format::Encoded(_) => add("image", images::schema::<CompressedImage>()),
                Format::Points => add("points", images::schema::<PointCloud>()),
                Format::Motion => add("samples", Some(json(MOTION_SCHEMA, MOTION_JSON_SCHEMA))),
                Format::Tensor(_) => add("tensor", Some(named(TENSOR_SCHEMA))),
                Format::Message(schema) => add("message", Some(named(schema.as_str()))),
            };
            channels.images.insert(which, image.map_err(into_io)?);
            let Some(stream) = info.stream(which) else { continue };
            if let Some(intrinsics) = &stream.intrinsics {
                let channel = add("calibration", images::schema::<CameraCalibration>()).map_err(into_io)?;
                once.push((channel, images::calibration(name, which, taken, intrinsics)));
            }
            if let Some(transform) = images::transform(name, stream, taken) {
                let channel = add("transform", images::schema::<FrameTransform>()).map_err(into_io)?;
                once.push((channel, transform));
            }
        }
        for (channel_id, message) in once {
            let header = MessageHeader { channel_id, sequence: 0, log_time: time, publish_time: taken.nanos };
            self.writer.write_to_known_channel(&header, &message).map_err(into_io)?;
        }
        self.end_chunk()?;
        self.cameras.push((Arc::clone(source), channels));
        Ok(self.cameras.len() - 1)
    }

    fn end_chunk(&mut self) -> io::Result<()> {
        self.writer.flush().map_err(into_io)?;
        self.chunks += 1;
        self.size_bytes = self.room.size_bytes()?;
        Ok(())
    }

    /// Writes the name of the file that continues the recording, if there is one, and the index. If this fails, the file
    /// ends with its last complete chunk.
    pub(crate) fn finish(mut self, next: Option<&Path>) -> Result<(), WriteError> {
        let next = next.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
        let metadata = Metadata {
            name: PART_METADATA.to_owned(),
            metadata: next.into_iter().map(|name| (NEXT_KEY.to_owned(), name)).collect(),
        };
        let finished = self.writer.write_metadata(&metadata).and_then(|()| self.writer.finish().map(drop));
        let finished = finished.map_err(into_io);
        // Data that could not be written must not be written later.
        let (file, _) = self.writer.into_inner().into_inner().into_parts();
        drop(file);
        let size_bytes = match finished {
            Ok(()) => self.room.size_bytes(),
            Err(_) => Ok(self.size_bytes),
        };
        let cut = size_bytes.and_then(|size_bytes| self.room.cut(size_bytes));
        finished.and(cut).map_err(|error| WriteError::write(&self.path, error))
    }
}
