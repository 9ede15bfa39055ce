//! Headers of frames and framesets: everything except their content.

use std::fmt;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::{MAX_FRAMES, MAX_ORIGINS, Metadata, Name, Payload, PixelFormat, Role, Stream};

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

/// Everything about one frame except its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameHeader {
    /// Which stream it belongs to.
    pub stream: Stream,
    /// What the frame is for.
    pub role: Role,
    /// What the frame holds.
    pub payload: Payload,
    /// The device's number of the frame, of motion that of its last sample. A gap is a frame, or a sample, that
    /// the device or its library lost.
    pub number: u64,
    /// When it was taken; its last sample, where it is of motion.
    pub timestamp: Timestamp,
    /// What the device reports about it.
    pub metadata: Metadata,
}

impl FrameHeader {
    /// The header of frame 0 of `stream` with this payload: in the payload's usual role, at the zero of the
    /// hardware clock, without metadata.
    pub const fn new(stream: Stream, payload: Payload) -> Self {
        Self {
            stream,
            role: payload.format().role(),
            payload,
            number: 0,
            timestamp: Timestamp { clock: Clock::Hardware, nanos: 0 },
            metadata: Metadata::EMPTY,
        }
    }

    /// As [`Self::new`], for an image whose rows have no padding.
    pub const fn image(stream: Stream, format: PixelFormat, width: u32, height: u32) -> Self {
        Self::new(stream, Payload::image(format, width, height))
    }

    /// The bytes of its content, rows with their padding.
    pub fn size_bytes(&self) -> u64 {
        self.payload.size_bytes()
    }

    /// How many of the device's numbers the frame stands for: the number of samples of motion, 1 otherwise.
    pub const fn numbers(&self) -> u64 {
        match self.payload {
            Payload::Motion { samples } => samples as u64,
            _ => 1,
        }
    }

    /// The header with so many samples of motion; the number is that of the last one.
    #[must_use]
    pub const fn with_samples(self, samples: u32) -> Self {
        Self { payload: Payload::Motion { samples }, ..self }
    }
}

/// The longest name of an [`Origin`], in bytes: that of any actor.
pub const MAX_ORIGIN_BYTES: usize = 64;

/// One of several framesets that a frameset was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The camera.
    pub camera: Name<MAX_ORIGIN_BYTES>,
    /// The sequence number of its frameset.
    pub sequence: u64,
    /// When its frameset was taken; `None` where it has no frames.
    pub timestamp: Option<Timestamp>,
}

/// The framesets that a frameset was made from, at most [`MAX_ORIGINS`]; empty, without allocation, for a frameset
/// of one camera.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origins(Option<Box<ArrayVec<Origin, MAX_ORIGINS>>>);

impl Origins {
    /// No origins beside the camera itself.
    pub const NONE: Self = Self(None);

    /// These origins; `None` when there are more than [`MAX_ORIGINS`].
    pub fn new(origins: &[Origin]) -> Option<Self> {
        if origins.is_empty() {
            return Some(Self::NONE);
        }
        ArrayVec::try_from(origins).ok().map(|origins| Self(Some(Box::new(origins))))
    }
}

impl std::ops::Deref for Origins {
    type Target = [Origin];

    fn deref(&self) -> &[Origin] {
        self.0.as_deref().map_or(&[], |origins| origins)
    }
}

/// Everything about one frameset except the content of its frames.
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
    /// were taken at the same instant. `None` before anything was matched.
    pub matched: Option<u64>,
    /// Each frameset that it was made from, where these are several, as in a match.
    pub origins: Origins,
    /// The frames, at most one of each stream, in the order in which their content is stored.
    pub frames: ArrayVec<FrameHeader, MAX_FRAMES>,
}

impl FrameSetHeader {
    /// The header of frameset 0 of source 0, without match and origins.
    pub fn new(arrival_nanos: u64, frames: ArrayVec<FrameHeader, MAX_FRAMES>) -> Self {
        Self { sequence: 0, source: 0, arrival_nanos, matched: None, origins: Origins::NONE, frames }
    }
}
