//! The errors of reading a recording, from the smallest part to the whole file.

use std::io;
use std::path::{Path, PathBuf};

use camrig::frame::{LayoutError, Stream};

use crate::format::{JPEG, RAW, VERSION};

/// A file that cannot be read as a recording.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{}` {what}", path.display())]
pub(crate) struct ReadError {
    path: PathBuf,
    what: String,
}

impl ReadError {
    /// `what` completes a sentence that begins with the file's name.
    pub(crate) fn new(path: &Path, what: impl std::fmt::Display) -> Self {
        Self { path: path.to_owned(), what: what.to_string() }
    }
}

/// A channel of framesets whose metadata describes no camera.
#[derive(Debug, thiserror::Error)]
pub(super) enum MetadataError {
    /// A key is missing.
    #[error("lacks `{key}` of channel `{topic}`")]
    Missing { key: &'static str, topic: String },
    /// The value of a key is no number.
    #[error("has a wrong `{key}` in `{topic}`")]
    NotANumber { key: &'static str, topic: String },
    /// The description of the camera is malformed.
    #[error("has a wrong `{key}` in `{topic}`: {source}")]
    Camera { key: &'static str, topic: String, source: serde_json::Error },
    /// The recording has another version.
    #[error("is a recording of version {0}; this program reads version {VERSION}")]
    Version(String),
}

/// Damage of a chunk, or of the bytes between two chunks.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChunkError {
    /// The record is larger than any frameset.
    #[error("it has {} MiB, more than a frameset can have", .0 >> 20)]
    TooLarge(u64),
    /// The content is larger than any frameset.
    #[error("it has {} MiB, more than a frameset can have", .0 >> 20)]
    ContentTooLarge(u64),
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(io::Error),
    /// No record begins at this place.
    #[error("no valid record")]
    NoRecord,
    /// The record is of another kind.
    #[error("it is not a chunk")]
    NotAChunk,
    /// The fields of the header exclude each other.
    #[error("its header is inconsistent")]
    Header,
    /// The content does not decompress.
    #[error("it cannot be decompressed: {0}")]
    Compression(io::Error),
    /// The content has another length than the header says.
    #[error("it has {found} bytes instead of {expected}")]
    Length { found: usize, expected: usize },
    /// The content has another checksum than the header says.
    #[error("its checksum is {found:08x}, not {expected:08x}")]
    Checksum { found: u32, expected: u32 },
}

/// A frameset that cannot be read from its chunk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameSetError {
    /// The chunk is damaged.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// Its record is invalid.
    #[error("frameset {sequence} is invalid: {source}")]
    Invalid { sequence: u32, source: serde_json::Error },
    /// The message of a frame is missing.
    #[error("frameset {sequence} lacks its {stream} frame")]
    FrameMissing { sequence: u64, stream: Stream },
    /// It has more frames than a frameset can have.
    #[error("it has {0} frames")]
    TooManyFrames(usize),
    /// A frame is damaged.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Its frames have impossible sizes.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// A frame that cannot be decoded from its message. The text completes "frameset 7: ".
#[derive(Debug, thiserror::Error)]
#[error("its {stream} {fault}")]
pub(crate) struct FrameError {
    stream: Stream,
    fault: FrameFault,
}

impl FrameError {
    pub(super) fn new(stream: Stream, fault: FrameFault) -> Self {
        Self { stream, fault }
    }
}

/// The fault of a frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameFault {
    /// The message is not of its schema.
    #[error("message is invalid: {0}")]
    Message(String),
    /// The coding is unknown.
    #[error("frame is coded as `{0}`; known: `{RAW}`, `{JPEG}`")]
    Coding(String),
    /// The frame has another size than its record says.
    #[error("frame has {found} bytes, not {expected}")]
    Size { found: u64, expected: u64 },
    /// The JPEG has other sides than the frame's record says.
    #[error("frame does not decode: it has another size")]
    Sides,
    /// The JPEG is damaged.
    #[error("frame does not decode: {0}")]
    Jpeg(String),
}
