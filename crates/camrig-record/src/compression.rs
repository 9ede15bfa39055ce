//! How chunks are compressed, and the writer that does it.

use std::fs::File;
use std::io::{self, BufWriter};

use mcap::write::NoSeek;
use mcap::{McapError, WriteOptions, Writer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Small writes are gathered; a chunk's content goes by in one.
const BUFFER_BYTES: usize = 64 << 10;

/// How chunks are compressed; nothing is lost.
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
    /// By MCAP's name for it.
    pub(crate) fn of_name(name: &[u8]) -> Self {
        match name {
            b"lz4" => Self::Lz4,
            b"zstd" => Self::Zstd,
            _ => Self::None,
        }
    }

    /// A writer into an empty file. A chunk ends when it is flushed, and is written when it is whole.
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
            // Fastest: the recorder has to keep up.
            .compression_level(1)
            .compression_threads(0)
            .chunk_size(None)
            .disable_seeking(true)
            // Every chunk has a checksum.
            .calculate_data_section_crc(false)
            .create(NoSeek::new(BufWriter::with_capacity(BUFFER_BYTES, file)))
            .map_err(into_io)
    }
}

/// A recording that is being written.
pub(crate) type Output = Writer<NoSeek<BufWriter<File>>>;

/// The system's error, where it is one.
pub(crate) fn into_io(error: McapError) -> io::Error {
    match error {
        McapError::Io(error) => error,
        error => io::Error::other(error),
    }
}
