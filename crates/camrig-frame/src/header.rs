//! What is known of a frame and of a frameset beside the pixels.

use std::fmt;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::{MAX_FRAMES, Metadata, PixelFormat, Stream};

/// Which clock a [`Timestamp`] was read from, as librealsense's `rs2_timestamp_domain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// The device's own clock; its zero is the device's.
    Hardware,
    /// The device's clock mapped to the host's wall clock.
    Global,
    /// The host's wall clock, on arrival.
    System,
}

impl Clock {
    /// The clock's name: `hardware`, `global`, `system`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hardware => "hardware",
            Self::Global => "global",
            Self::System => "system",
        }
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// When a frame was taken, and by which clock. Timestamps of different clocks do not compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timestamp {
    /// The clock.
    pub clock: Clock,
    /// Nanoseconds since the clock's zero.
    pub nanos: u64,
}

/// What is known of one frame beside its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameHeader {
    /// Which stream it belongs to.
    pub stream: Stream,
    /// How its pixels are stored.
    pub format: PixelFormat,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Bytes from the start of one row to the start of the next.
    pub stride_bytes: u32,
    /// The device's number of the frame, of motion that of its last sample. A gap is a frame, or a sample, that
    /// the device or its library lost.
    pub number: u64,
    /// When it was taken; its last sample, where it is of motion.
    pub timestamp: Timestamp,
    /// What the device says of it.
    pub metadata: Metadata,
}

impl FrameHeader {
    /// The bytes of its pixels, rows with their padding. Exact for any 32-bit sizes.
    pub const fn size_bytes(&self) -> u64 {
        self.stride_bytes as u64 * self.height as u64
    }
}

/// What is known of one frameset beside its pixels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameSetHeader {
    /// The producer's own count: 0, 1, 2, ... without gaps, every produced frameset counted.
    pub sequence: u64,
    /// Which camera took the frameset, by its number among those that the producer passes on: 0 for a camera,
    /// which passes on only itself.
    pub source: u16,
    /// When the frameset reached its camera actor: nanoseconds of the host's monotonic clock, which all
    /// processes share. A processor that publishes keeps the arrival of what it was made from.
    pub arrival_nanos: u64,
    /// The number of the match that it was published with: those that a processor publishes with the same number
    /// were taken at the same instant. None before anything was matched.
    pub matched: Option<u64>,
    /// The frames, at most one of each stream, in the order in which their pixels are stored.
    pub frames: ArrayVec<FrameHeader, MAX_FRAMES>,
}
