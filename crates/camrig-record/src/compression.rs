//! Compression of chunks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Lossless compression of chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema, clap::ValueEnum)]
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

    /// Returns its MCAP name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}
