//! Reads recordings, intact or damaged. Nothing in a file is trusted.
//!
//! * `error`: the errors of reading
//! * `records`: the bytes of MCAP
//! * `index`: the contents of a file and their positions
//! * `parts`: the files of a split recording
//! * `framesets`: framesets from chunks
//! * `pixels`: pixels from a frame's message

mod error;
mod framesets;
mod index;
mod parts;
mod pixels;
mod records;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use camrig::frame::{CameraInfo, Payload, Stream};

use self::error::{ChunkError, MetadataError};
pub(crate) use self::error::{FrameError, FrameSetError, ReadError};
pub(crate) use self::framesets::{ReadFrameSet, framesets};
pub(crate) use self::index::{Channel, ChunkPlace, Index};
pub(crate) use self::parts::Parts;
pub(crate) use self::pixels::{check_image, image_data, shown_header, write_pixels};
pub(crate) use self::records::messages;
use crate::format::{
    CAMERA_KEY, COMPRESSED_SCHEMA, FRAMESET_SCHEMA, GAP_SCHEMA, MOTION_SCHEMA, NAME_KEY, ORIGIN_KEY,
    PART_KEY, POINTS_SCHEMA, RAW_SCHEMA, STREAM_KEY, VERSION, VERSION_KEY,
};

/// An open recording.
pub(crate) struct Recording {
    path: PathBuf,
    file: File,
    size_bytes: u64,
    index: Index,
    cameras: Vec<RecordedCamera>,
}

/// A camera of a recording.
#[derive(Clone, Debug)]
pub(crate) struct RecordedCamera {
    /// `front`, or `mask/front` if the processor `mask` published the framesets.
    pub(crate) name: String,
    /// Its description when it is replayed: color in JPEG becomes RGB.
    pub(crate) info: CameraInfo,
    /// Channels of framesets: several if the camera was reopened with other streams.
    pub(crate) frameset_channels: BTreeSet<u16>,
    pub(crate) gap_channels: BTreeSet<u16>,
    pub(crate) image_channels: BTreeMap<u16, Stream>,
    /// The `log_time` at which the recording began.
    pub(crate) origin_nanos: u64,
    /// 1 for the first file of the recording.
    pub(crate) part: u32,
}

impl RecordedCamera {
    /// Returns whether a chunk has messages of it.
    pub(crate) fn is_in(&self, chunk: &ChunkPlace) -> bool {
        let mut channels = chunk.channels.iter();
        channels.any(|id| {
            self.frameset_channels.contains(id)
                || self.gap_channels.contains(id)
                || self.image_channels.contains_key(id)
        })
    }
}

impl Recording {
    /// Opens a recording by its index, or, without an index, by scanning the file, with calls of `progress`.
    ///
    /// # Errors
    /// If it cannot be read, with the name of the file.
    pub(crate) fn open(path: &Path, progress: &dyn Fn(u64)) -> Result<Self, ReadError> {
        Self::open_with(path, |file, size_bytes| match Index::read(file, size_bytes)? {
            Some(index) => Ok(index),
            None => Index::scan(file, size_bytes, progress),
        })
    }

    /// Opens a recording by scanning the file, even if it has an index.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn scan(path: &Path, progress: &dyn Fn(u64)) -> Result<Self, ReadError> {
        Self::open_with(path, |file, size_bytes| {
            let whole = Index::read(file, size_bytes)?.is_some();
            Ok(Index { whole, ..Index::scan(file, size_bytes, progress)? })
        })
    }

    fn open_with(
        path: &Path,
        index: impl FnOnce(&File, u64) -> io::Result<Index>,
    ) -> Result<Self, ReadError> {
        let fail = |error: io::Error| ReadError::new(path, format_args!("cannot be read: {error}"));
        let file = File::open(path).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        let (size_bytes, mut magic) = (metadata.len(), [0; 8]);
        let short = !metadata.is_file() || size_bytes < magic.len() as u64;
        if short || file.read_exact_at(&mut magic, 0).is_err() || magic != records::MAGIC {
            return Err(ReadError::new(path, "is not an MCAP file"));
        }
        let index = index(&file, size_bytes).map_err(fail)?;
        let cameras = cameras(&index).map_err(|what| ReadError::new(path, what))?;
        if cameras.is_empty() && index.profile != "camrig" {
            return Err(ReadError::new(path, "is an MCAP file but not a camrig recording"));
        }
        Ok(Self { path: path.to_owned(), file, size_bytes, index, cameras })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    /// Returns the cameras, sorted by name.
    pub(crate) fn cameras(&self) -> &[RecordedCamera] {
        &self.cameras
    }

    /// Returns the camera of this name.
    ///
    /// # Errors
    /// If there is none, with the names of all cameras.
    pub(crate) fn camera(&self, name: &str) -> Result<&RecordedCamera, ReadError> {
        let found = self.cameras.iter().find(|camera| camera.name == name);
        found.ok_or_else(|| no_camera(&self.path, name, self.cameras.iter()))
    }

    /// Returns the `log_time` that counts as the file's begin: for the first file that of the recording, so that files of
    /// several cameras keep their relative times; for another one that of its first frameset.
    pub(crate) fn began_nanos(&self) -> u64 {
        let first = self.index.chunks.iter().filter(|chunk| !chunk.channels.is_empty());
        let first = first.map(|chunk| chunk.start_time).min().unwrap_or(0);
        match self.cameras.first() {
            Some(camera) if camera.part == 1 => camera.origin_nanos.min(first),
            _ => first,
        }
    }

    /// Returns the records of a chunk.
    ///
    /// # Errors
    /// A description of the problem.
    pub(crate) fn read_chunk(&self, place: &ChunkPlace) -> Result<Bytes, ChunkError> {
        if place.size_bytes > records::MAX_CHUNK_BYTES {
            return Err(ChunkError::TooLarge(place.size_bytes));
        }
        let record = index::read_at(&self.file, place.offset, place.size_bytes).map_err(ChunkError::Io)?;
        if records::chunk_length(&record) != Some(place.size_bytes - records::HEADER_BYTES as u64) {
            return Err(ChunkError::NotAChunk);
        }
        records::open_chunk(&Bytes::from(record).slice(records::HEADER_BYTES..))
    }
}

fn no_camera<'a>(path: &Path, name: &str, cameras: impl Iterator<Item = &'a RecordedCamera>) -> ReadError {
    let names: Vec<_> = cameras.map(|camera| format!("`{}`", camera.name)).collect();
    let choices = if names.is_empty() {
        "it has no cameras".to_owned()
    } else {
        format!("expected one of: {}", names.join(", "))
    };
    ReadError::new(path, format_args!("has no camera `{name}`; {choices}"))
}

/// Whether a channel holds the frames of a stream, or gaps. The schemas of messages may be any: the topic identifies
/// them.
fn has_frames(channel: &Channel) -> bool {
    let schemas = [GAP_SCHEMA, RAW_SCHEMA, COMPRESSED_SCHEMA, POINTS_SCHEMA, MOTION_SCHEMA];
    let topics = ["/tensor", "/message"];
    schemas.contains(&channel.schema.as_str()) || topics.iter().any(|end| channel.topic.ends_with(end))
}

/// Returns the cameras that the channels describe.
fn cameras(index: &Index) -> Result<Vec<RecordedCamera>, MetadataError> {
    let mut cameras: BTreeMap<&str, RecordedCamera> = BTreeMap::new();
    let of_schema = |wanted: &'static [&'static str]| {
        let is = move |(_, channel): &(&u16, &Channel)| wanted.contains(&channel.schema.as_str());
        index.channels.iter().filter(is)
    };
    for (&id, Channel { metadata, topic, .. }) in of_schema(&[FRAMESET_SCHEMA]) {
        let topic = || topic.clone();
        let get = |key| metadata.get(key).ok_or_else(|| MetadataError::Missing { key, topic: topic() });
        let number = |key| get(key)?.parse().map_err(|_| MetadataError::NotANumber { key, topic: topic() });
        let version = get(VERSION_KEY)?;
        if version != VERSION {
            return Err(MetadataError::Version(version.clone()));
        }
        let name = get(NAME_KEY)?;
        let info: CameraInfo = serde_json::from_str(get(CAMERA_KEY)?)
            .map_err(|source| MetadataError::Camera { key: CAMERA_KEY, topic: topic(), source })?;
        let camera = RecordedCamera {
            name: name.clone(),
            info,
            frameset_channels: BTreeSet::new(),
            gap_channels: BTreeSet::new(),
            image_channels: BTreeMap::new(),
            origin_nanos: number(ORIGIN_KEY)?,
            part: u32::try_from(number(PART_KEY)?).unwrap_or(u32::MAX),
        };
        cameras.entry(name).or_insert(camera).frameset_channels.insert(id);
    }
    for (&id, Channel { metadata, schema, .. }) in
        index.channels.iter().filter(|(_, channel)| has_frames(channel))
    {
        let name = metadata.get(NAME_KEY).map(String::as_str);
        let Some(camera) = name.and_then(|name| cameras.get_mut(name)) else { continue };
        if schema == GAP_SCHEMA {
            camera.gap_channels.insert(id);
            continue;
        }
        let stream = metadata.get(STREAM_KEY).map(String::as_str);
        let Some(stream) = stream.and_then(|stream| Stream::new(stream).ok()) else { continue };
        camera.image_channels.insert(id, stream);
        let shown = camera.info.streams.iter_mut().find(|info| info.stream == stream);
        if let Some(info) = shown.filter(|_| schema == COMPRESSED_SCHEMA)
            && let Payload::Image { width, height, .. } = info.payload
        {
            info.payload = Payload::image(pixels::decoded_format(&info.payload), width, height);
        }
    }
    Ok(cameras.into_values().collect())
}
