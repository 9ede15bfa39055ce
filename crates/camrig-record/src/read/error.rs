//! The errors of reading a recording, from the smallest part to the whole file.

use std::io;
use std::path::{Path, PathBuf};

use camrig::frame::{LayoutError, Stream, one_line};
use camrig_image::DecodeError;

use super::MAX_CAMERAS;
use crate::format::{DEPTH, DEPTH_METERS, JPEG, RAW, VERSION};

/// A file that cannot be read as a recording.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{}` {what}", path.display())]
pub struct ReadError {
    path: PathBuf,
    what: String,
    kind: FileKind,
}

/// The kind of a file that cannot be read as a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileKind {
    Other,
    /// A bag of ROS 2 in MCAP.
    Bag,
    /// A file of `SQLite`, which may be a bag.
    Sqlite,
}

impl ReadError {
    /// Creates an error; `what` completes a sentence that begins with the file's name.
    pub(crate) fn new(path: &Path, what: impl std::fmt::Display) -> Self {
        Self { path: path.to_owned(), what: what.to_string(), kind: FileKind::Other }
    }

    /// Returns the error for a bag of ROS 2 where a recording is needed.
    pub(super) fn bag(path: &Path) -> Self {
        let what = "is a bag of ROS 2; `camrig recording import` makes a recording of it";
        Self { kind: FileKind::Bag, ..Self::new(path, what) }
    }

    /// Returns the error for a file of `SQLite` where a recording is needed.
    pub(super) fn sqlite(path: &Path) -> Self {
        let what = if cfg!(feature = "sqlite") {
            "is a bag of ROS 2 in SQLite; `camrig recording import` makes a recording of it"
        } else {
            "is a bag of ROS 2 in SQLite; `ros2 bag convert` and `rosbags-convert` make MCAP of it"
        };
        Self { kind: FileKind::Sqlite, ..Self::new(path, what) }
    }

    /// Returns whether the file is of `SQLite`.
    #[cfg(feature = "sqlite")]
    pub(crate) fn is_sqlite(&self) -> bool {
        self.kind == FileKind::Sqlite
    }

    /// Returns whether the file may be a bag of ROS 2.
    pub(crate) fn may_be_bag(&self) -> bool {
        self.kind == FileKind::Bag || cfg!(feature = "sqlite") && self.kind == FileKind::Sqlite
    }
}

/// A channel of framesets whose metadata describes no camera.
#[derive(Debug, thiserror::Error)]
pub(super) enum MetadataError {
    /// The name of a camera has control characters.
    #[error("has a camera named `{name}` in `{topic}`, which is not a name")]
    Name { name: String, topic: String },
    /// A key is missing.
    #[error("lacks `{key}` of channel `{topic}`")]
    Missing { key: &'static str, topic: String },
    /// The value of a key is not a number.
    #[error("has a wrong `{key}` in `{topic}`")]
    NotANumber { key: &'static str, topic: String },
    /// The description of the camera is malformed.
    #[error("has a wrong `{key}` in `{topic}`: {}", one_line(source))]
    Camera { key: &'static str, topic: String, source: serde_json::Error },
    /// No rig has as many cameras.
    #[error("has {0} cameras; a recording has at most {MAX_CAMERAS}")]
    TooManyCameras(usize),
    /// The recording has another version.
    #[error("is a recording of version {0}; this program reads version {VERSION}")]
    Version(String),
}

/// A file of which no index can be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum IndexError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// Its schemas and channels are larger than those of any recording.
    #[error("has more than {} MiB of schemas and channels", .0 >> 20)]
    TooManyDefinitions(u64),
}

/// Damage of a chunk, or of the bytes between two chunks.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChunkError {
    /// The content is larger than a frameset of this recording, and than chunks of other programs.
    #[error("it has {} MiB, more than the {} MiB that this recording's framesets need", bytes >> 20, most >> 20)]
    TooLarge { bytes: u64, most: u64 },
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(io::Error),
    /// The record between data and index is missing.
    #[error("the end of the data is damaged")]
    NoDataEnd,
    /// The data have another checksum than the one stored after them.
    #[error("the checksum of the data is {found:08x}, not {expected:08x}")]
    DataChecksum { found: u32, expected: u32 },
    /// No record begins at this position.
    #[error("no valid record")]
    NoRecord,
    /// The record is of another kind.
    #[error("it is not a chunk")]
    NotAChunk,
    /// The content does not decompress.
    #[error("it cannot be decompressed: {0}")]
    Compression(io::Error),
    /// The content has another length than that in the header.
    #[error("it has {found} bytes instead of {expected}")]
    Length { found: u64, expected: u64 },
    /// The content has another checksum than that in the header.
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
    #[error("frameset {sequence} is invalid: {}", one_line(source))]
    Invalid { sequence: u32, source: serde_json::Error },
    /// The record of a gap is invalid.
    #[error("a gap is invalid: {}", one_line(.0))]
    InvalidGap(serde_json::Error),
    /// Its record is larger than that of any frameset.
    #[error("its record has {} KiB", .0 >> 10)]
    RecordTooLarge(u64),
    /// Frames have no frameset.
    #[error("frames without a frameset: {0}")]
    NoFrameSet(u64),
    /// The message of a frame is missing.
    #[error("frameset {sequence} lacks its {stream} frame")]
    FrameMissing { sequence: u64, stream: Stream },
    /// It has more frames than a frameset can have.
    #[error("it has {0} frames")]
    TooManyFrames(usize),
    /// It was made from more framesets than are possible.
    #[error("it is made from {0} framesets")]
    TooManyOrigins(usize),
    /// A frame is damaged.
    #[error(transparent)]
    Frame(#[from] RecordedFrameError),
    /// Its frames have impossible sizes.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// A frame that cannot be decoded from its message. The text completes "frameset 7: ".
#[derive(Debug, thiserror::Error)]
#[error("its {stream} {fault}")]
pub(crate) struct RecordedFrameError {
    stream: Stream,
    fault: FrameFault,
}

impl RecordedFrameError {
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
    #[error("frame is coded as `{0}`; known: `{RAW}`, `{JPEG}`, `{DEPTH}`, `{DEPTH_METERS}`")]
    Coding(String),
    /// The frame has another size than that in its record.
    #[error("frame has {found} bytes, not {expected}")]
    Size { found: u64, expected: u64 },
    /// The JPEG is damaged, or has other sides than those in the frame's record.
    #[error("frame does not decode: {0}")]
    Jpeg(DecodeError),
}
