//! Headers of frames and framesets: everything except their content.

use std::fmt;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::{MAX_FRAMES, MAX_ORIGINS, Metadata, Name, Payload, PixelFormat, Role, Stream};

/// The clock of a [`Timestamp`], as in librealsense's `rs2_timestamp_domain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// The device's own clock, with a device-specific zero.
    Hardware,
    /// The device's clock mapped to the host's wall clock.
    Global,
    /// The host's wall clock, on arrival.
    System,
}

impl Clock {
    /// Returns the clock's name: `hardware`, `global`, `system`.
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

/// Capture time of a frame, with its clock. Timestamps of different clocks are not comparable.
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
    /// The stream of the frame.
    pub stream: Stream,
    /// Role of the frame.
    pub role: Role,
    /// Type and layout of the content.
    pub payload: Payload,
    /// Frame number assigned by the device; for motion, that of the last sample. A gap means frames or samples
    /// lost by the device or its library.
    pub number: u64,
    /// Capture time; for motion, that of the last sample.
    pub timestamp: Timestamp,
    /// Metadata reported by the device.
    pub metadata: Metadata,
}

impl FrameHeader {
    /// Creates the header of frame 0 of `stream` with this payload: in the payload's default role, at the zero of
    /// the hardware clock, without metadata.
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

    /// Like [`Self::new`], for an image whose rows have no padding.
    pub const fn image(stream: Stream, format: PixelFormat, width: u32, height: u32) -> Self {
        Self::new(stream, Payload::image(format, width, height))
    }

    /// Returns the size of the content in bytes, including row padding.
    pub fn size_bytes(&self) -> u64 {
        self.payload.size_bytes()
    }

    /// Returns the number of device frame numbers that the frame covers: the number of samples for motion, otherwise 1.
    pub const fn numbers(&self) -> u64 {
        match self.payload {
            Payload::Motion { samples } => samples as u64,
            _ => 1,
        }
    }

    /// Returns the header with this number of motion samples; the frame number is that of the last one.
    #[must_use]
    pub const fn with_samples(self, samples: u32) -> Self {
        Self { payload: Payload::Motion { samples }, ..self }
    }
}

/// Maximum length of the name of an [`Origin`] in bytes: that of any actor.
pub const MAX_ORIGIN_BYTES: usize = 64;

/// One of several framesets from which a frameset was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The camera.
    pub camera: Name<MAX_ORIGIN_BYTES>,
    /// The sequence number of its frameset.
    pub sequence: u64,
    /// Capture time of its frameset; `None` if it has no frames.
    pub timestamp: Option<Timestamp>,
}

/// The framesets from which a frameset was made, at most [`MAX_ORIGINS`]; empty, without an allocation, for a frameset
/// of a single camera.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origins(Option<Box<ArrayVec<Origin, MAX_ORIGINS>>>);

impl Origins {
    /// No origins: the frameset comes from a single camera.
    pub const NONE: Self = Self(None);

    /// Creates a list of origins; returns `None` if there are more than [`MAX_ORIGINS`].
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
    /// The producer's frameset counter: 0, 1, 2, ... without gaps.
    pub sequence: u64,
    /// The camera of the frameset, as an index among those that the producer forwards: 0 for a camera, which only
    /// forwards its own.
    pub source: u16,
    /// Time at which the frameset reached its camera actor: nanoseconds of the host's monotonic clock, which all
    /// processes share. A processor's output keeps the arrival time of its input.
    pub arrival_nanos: u64,
    /// Number of the match with which it was published: framesets of a processor with the same number were
    /// captured at the same time. `None` before any matching.
    pub matched: Option<u64>,
    /// The framesets from which it was made, if there are several, as in a match.
    pub origins: Origins,
    /// The frames, at most one per stream, in the storage order of their content.
    pub frames: ArrayVec<FrameHeader, MAX_FRAMES>,
}

impl FrameSetHeader {
    /// Creates the header of frameset 0 of source 0, without match and origins.
    pub fn new(arrival_nanos: u64, frames: ArrayVec<FrameHeader, MAX_FRAMES>) -> Self {
        Self { sequence: 0, source: 0, arrival_nanos, matched: None, origins: Origins::NONE, frames }
    }
}
