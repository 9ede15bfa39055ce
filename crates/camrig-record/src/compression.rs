//! Compression of chunks, and the writer that performs it.

use std::fs::File;
use std::io::{self, BufWriter};

use mcap::write::NoSeek;
use mcap::{McapError, WriteOptions, Writer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Buffer size for small writes; a chunk's content bypasses the buffer.
const BUFFER_BYTES: usize = 64 << 10;

/// Lossless compression of chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Compression {
    /// As they are.
    None,
    /// Fast.
    Lz4,
    /// Small.
    Zstd,
}

impl Compression {
    /// Returns the compression with this MCAP name.
    pub(crate) fn of_name(name: &[u8]) -> Self {
        match name {
            b"lz4" => Self::Lz4,
            b"zstd" => Self::Zstd,
            _ => Self::None,
        }
    }

    /// Creates a writer for an empty file. A chunk ends when it is flushed, and is written as a whole.
    pub(crate) fn writer(self, file: File) -> io::Result<Output> {
        let compression = match self {
            Self::None => None,
            Self::Lz4 => Some(mcap::Compression::Lz4),
            Self::Zstd => Some(mcap::Compression::Zstd),
        };
        WriteOptions::new()
            .profile("camrig")
            .library(concat!("camrig ", env!("CARGO_PKG_VERSION")))
            .compression(compression)
            // The fastest level, so that the recorder keeps up.
            .compression_level(1)
            .compression_threads(0)
            .chunk_size(None)
            .disable_seeking(true)
            .create(NoSeek::new(BufWriter::with_capacity(BUFFER_BYTES, file)))
            .map_err(into_io)
    }
}

/// A recording in the process of being written.
pub(crate) type Output = Writer<NoSeek<BufWriter<File>>>;

/// Extracts the system's error, if there is one.
pub(crate) fn into_io(error: McapError) -> io::Error {
    match error {
        McapError::Io(error) => error,
        error => io::Error::other(error),
    }
}
