//! One file of a recording: definitions, framesets, index.
//!
//! A chunk is written as a whole, when everything that it depends on is already in the file: if the recorder crashes,
//! the file is readable up to its last complete chunk. This module has no knowledge of threads.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use camrig::frame::{Stream, Timestamp};

use super::channels::{self, ChannelOf, ContentOf};
use super::encode::{Encoded, ImuMessage, Messages, WrittenCamera};
use super::secrets::without_secrets;
use crate::compression::Compression;
use crate::format::{
    CAMERA_KEY, CHANGE_METADATA, Changed, FRAMESET_JSON_SCHEMA, FRAMESET_SCHEMA, GAP_JSON_SCHEMA, GAP_SCHEMA,
    INCOMPLETE_METADATA, Incomplete, NEXT_KEY, OFFSET_KEY, ORIGIN_KEY, PART_KEY, PART_METADATA,
    RECORDER_METADATA, RUN_KEY, TOPOLOGY_ATTACHMENT, VERSION, VERSION_KEY,
};
use crate::write::{self, Attachment, Message, Output, WriteError};

/// Maximum number of cameras in a file, where one that was reopened with other streams counts again. It bounds the
/// definitions of a file.
const MAX_SOURCES: usize = 1024;

/// Parameters of a part.
#[derive(Clone, Copy)]
pub(crate) struct PartOptions {
    /// 1 for the first file of a recording.
    pub(crate) number: u32,
    pub(crate) compression: Compression,
}

/// The reference of a file that ends to the next one.
#[derive(Clone, Copy)]
pub(crate) enum Next<'a> {
    /// It continues the recording.
    File(&'a Path),
    /// The recording ends.
    End,
    /// Nothing: another instance of the recorder may continue.
    Unknown,
}

/// A file in the process of being written.
pub(crate) struct RecordingPart {
    path: PathBuf,
    options: PartOptions,
    output: Output,
    cameras: Vec<(Arc<WrittenCamera>, Channels)>,
    is_attached: bool,
    /// The `log_time` of the first and the last frameset.
    began: Option<u64>,
    last: u64,
}

/// The channels of a camera.
struct Channels {
    frameset: u16,
    gaps: u16,
    images: BTreeMap<Stream, u16>,
    /// With the `log_time` of the last sample.
    imu: BTreeMap<Stream, (u16, u64)>,
}

impl RecordingPart {
    /// Creates the first file of this name that does not exist.
    pub(crate) fn create(path: &Path, options: PartOptions) -> Result<Self, WriteError> {
        let (file, path) = write::create(path)?;
        Self::begin(file, path, options)
    }

    /// Begins a file that is or will be called `path`.
    pub(crate) fn begin(file: File, path: PathBuf, options: PartOptions) -> Result<Self, WriteError> {
        let output =
            Output::new(file, options.compression).map_err(|error| WriteError::write(&path, error))?;
        let cameras = Vec::new();
        Ok(Self { path, options, output, cameras, is_attached: false, began: None, last: 0 })
    }

    /// Writes the description of the recorder.
    pub(super) fn describe(&mut self, recorder: &BTreeMap<String, String>) -> Result<(), WriteError> {
        let written = self.output.write_metadata(RECORDER_METADATA, recorder);
        written.map_err(|error| WriteError::write(&self.path, error))
    }

    /// Attaches the topology of the rig, unless the file has it.
    fn attach(&mut self, topology: &str, time: u64) -> io::Result<()> {
        if self.is_attached || topology.is_empty() {
            return Ok(());
        }
        let text = without_secrets(topology);
        let attachment = Attachment {
            log_time: time,
            create_time: time,
            name: TOPOLOGY_ATTACHMENT,
            media_type: "application/toml",
            data_bytes: text.len() as u64,
        };
        self.output.write_attachment(&attachment, text.as_bytes())?;
        self.is_attached = true;
        Ok(())
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn number(&self) -> u32 {
        self.options.number
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.output.size_bytes()
    }

    /// Returns whether the index has the size at which another file is begun.
    pub(crate) fn is_full(&self) -> bool {
        self.output.is_full() || self.cameras.len() >= MAX_SOURCES
    }

    /// Returns the `log_time` of the first frameset.
    pub(crate) fn began(&self) -> Option<u64> {
        self.began
    }

    /// Writes a frameset and the preceding gaps. `origin` is the start time of the recording.
    ///
    /// # Errors
    /// If the disk is full or fails: the file ends with its previous content.
    pub(crate) fn write(&mut self, encoded: &Encoded, origin: u64) -> Result<(), WriteError> {
        self.try_write(encoded, origin).map_err(|error| WriteError::write(&self.path, error))
    }

    fn try_write(&mut self, encoded: &Encoded, origin: u64) -> io::Result<()> {
        let Encoded { source, gaps, frameset, .. } = encoded;
        let known = self.cameras.iter().position(|(known, _)| Arc::ptr_eq(known, source));
        let time = frameset.as_ref().map_or(self.last.max(origin), |messages| messages.log_time);
        let began = *self.began.get_or_insert(time);
        self.last = self.last.max(time);
        let camera = match known {
            Some(index) => index,
            None => self.define(source, frameset.as_ref(), origin, time)?,
        };
        let Channels { frameset: frameset_channel, gaps: gap_channel, images, imu } =
            &mut self.cameras[camera].1;
        let sequence = frameset.as_ref().map_or(0, |messages| messages.sequence);
        let publish_time = frameset.as_ref().map_or(time, |messages| messages.publish_time);
        let message = |channel: u16, data| Message {
            channel,
            // The frameset message contains the full number.
            sequence: sequence as u32,
            log_time: time,
            publish_time,
            data,
        };
        let gaps = gaps.iter().map(serde_json::to_vec).collect::<Result<Vec<_>, _>>()?;
        let mut chunk: Vec<_> = gaps.iter().map(|gap| message(*gap_channel, &gap[..])).collect();
        if let Some(messages) = frameset {
            chunk.push(message(*frameset_channel, &messages.record));
            let images =
                messages.images.iter().filter_map(|(stream, image)| Some((*images.get(stream)?, image)));
            chunk.extend(images.map(|(channel, image)| message(channel, image)));
            for ImuMessage { stream, nanos, before_nanos, message: data } in &messages.imu {
                let Some((channel, last)) = imu.get_mut(stream) else { continue };
                // The file begins with a frameset, which may have arrived after this one, and the samples of a stream are in
                // order. None is after its frameset: the end of a chunk is the time of that.
                *last = time.saturating_sub(*before_nanos).max(began).max(*last).min(time);
                chunk.push(Message { log_time: *last, publish_time: *nanos, ..message(*channel, data) });
            }
        }
        self.output.write_chunk(&chunk)
    }

    /// Writes the definitions required before a camera's first frameset, as a separate chunk.
    fn define(
        &mut self,
        source: &Arc<WrittenCamera>,
        messages: Option<&Messages>,
        origin: u64,
        time: u64,
    ) -> io::Result<usize> {
        self.attach(&source.topology, time)?;
        let taken = Timestamp {
            clock: camrig::frame::Clock::System,
            nanos: messages.map_or(time, |messages| messages.publish_time),
        };
        let text = |key: &str, value: String| (key.to_owned(), value);
        let run = (!source.run.is_empty()).then(|| text(RUN_KEY, source.run.to_string()));
        let of_frameset = [
            text(VERSION_KEY, VERSION.to_owned()),
            text(CAMERA_KEY, serde_json::to_string(&source.info)?),
            text(ORIGIN_KEY, origin.to_string()),
            text(PART_KEY, self.options.number.to_string()),
            text(OFFSET_KEY, source.wall_minus_monotonic_nanos.to_string()),
        ];
        let mut define =
            |topic: &str, schema: &foxglove::Schema, encoding: &str, metadata: &BTreeMap<_, _>| {
                let schema = self.output.add_schema(&schema.name, &schema.encoding, &schema.data)?;
                self.output.add_channel(schema, topic, encoding, metadata)
            };
        let json =
            |name: &str, schema: &'static str| foxglove::Schema::new(name, "jsonschema", schema.as_bytes());
        let (frameset, gap) =
            (json(FRAMESET_SCHEMA, FRAMESET_JSON_SCHEMA), json(GAP_SCHEMA, GAP_JSON_SCHEMA));
        let name = &source.name;
        let of_camera = channels::metadata(source);
        let of_frameset = of_camera.clone().into_iter().chain(of_frameset).chain(run).collect();
        let mut channels = Channels {
            frameset: define(&format!("/{name}/frameset"), &frameset, "json", &of_frameset)?,
            gaps: define(&format!("/{name}/gaps"), &gap, "json", &of_camera)?,
            images: BTreeMap::new(),
            imu: BTreeMap::new(),
        };
        let mut once = Vec::new();
        for ChannelOf { topic, schema, encoding, metadata, content } in channels::of(source, taken)? {
            let channel = define(&topic, &schema, &encoding, &metadata)?;
            match content {
                ContentOf::Once(message) => once.push((channel, message)),
                ContentOf::Frame(stream) => drop(channels.images.insert(stream, channel)),
                ContentOf::Samples(stream) => drop(channels.imu.insert(stream, (channel, 0))),
            }
        }
        let publish_time = taken.nanos;
        let once = once.iter().map(|(channel, data)| Message {
            channel: *channel,
            sequence: 0,
            log_time: time,
            publish_time,
            data,
        });
        self.output.write_chunk(&once.collect::<Vec<_>>())?;
        self.cameras.push((Arc::clone(source), channels));
        Ok(self.cameras.len() - 1)
    }

    /// Writes the parts that the recording lacks because its source did.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub(crate) fn note(&mut self, incomplete: &Incomplete) -> Result<(), WriteError> {
        let noted = self.output.write_metadata(INCOMPLETE_METADATA, &incomplete.entries());
        noted.map_err(|error| WriteError::write(&self.path, error))
    }

    /// Writes a change of the rig during the recording.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub(crate) fn note_change(&mut self, change: &Changed) -> Result<(), WriteError> {
        let noted = self.output.write_metadata(CHANGE_METADATA, &change.entries());
        noted.map_err(|error| WriteError::write(&self.path, error))
    }

    /// Makes this the part of a recording that an earlier instance began. No frameset may have been written.
    pub(super) fn set_number(&mut self, number: u32) {
        self.options.number = number;
    }

    /// Writes the name of the file that continues the recording, if it is known, and the index. If this fails, the file
    /// ends with its last complete chunk. Returns the size of the file.
    pub(crate) fn finish(mut self, next: Next<'_>) -> Result<u64, WriteError> {
        let name = |path: &Path| Some(path.file_name()?.to_string_lossy().into_owned());
        let entries = match next {
            Next::File(path) => {
                Some(name(path).map(|name| (NEXT_KEY.to_owned(), name)).into_iter().collect())
            }
            Next::End => Some(BTreeMap::new()),
            Next::Unknown => None,
        };
        let named = entries.map_or(Ok(()), |entries| self.output.write_metadata(PART_METADATA, &entries));
        let finished = self.output.finish();
        named.and(finished).map_err(|error| WriteError::write(&self.path, error))
    }
}
