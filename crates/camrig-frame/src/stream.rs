//! Streams, their roles and their profiles.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Name;
use crate::name::shown;

/// Maximum side of an image in pixels.
pub const MAX_SIDE_PIXELS: u32 = 8192;

/// Maximum frame rate of a stream in frames per second.
pub const MAX_FRAMES_PER_SECOND: u32 = 1000;

/// Maximum duration of one frame of motion, in seconds. If a camera sends no image for longer, the oldest samples are
/// dropped.
pub const MOTION_SECONDS: u32 = 2;

/// Maximum length of a stream's name in bytes.
const STREAM_BYTES: usize = 32;

/// The name of a stream of frames: 1 to 32 of `a-z`, `0-9` and `-`.
///
/// There are constants for the common ones; drivers and processors may declare others. The name does not determine the
/// content of the frames: see the stream's [`Role`] and declared payload.
///
/// ```
/// use camrig_frame::Stream;
///
/// assert_eq!("color".parse(), Ok(Stream::COLOR));
/// assert_eq!(Stream::new("color-2")?.to_string(), "color-2");
/// assert!(Stream::new("Color").is_err());
/// # Ok::<(), camrig_frame::StreamError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Name<STREAM_BYTES>", into = "Name<STREAM_BYTES>")]
pub struct Stream(Name<STREAM_BYTES>);

/// A text that is not a valid name of a [`Stream`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of a stream, which has 1 to {STREAM_BYTES} of `a-z`, `0-9` and `-`")]
pub struct StreamError(String);

impl Stream {
    /// The color image.
    pub const COLOR: Self = Self(Name::constant("color"));
    /// The depth image: for each pixel a distance along the optical axis.
    pub const DEPTH: Self = Self(Name::constant("depth"));
    /// The left infrared image, from which depth is computed.
    pub const INFRARED_1: Self = Self(Name::constant("infrared-1"));
    /// The right infrared image.
    pub const INFRARED_2: Self = Self(Name::constant("infrared-2"));
    /// The confidence of each depth pixel.
    pub const CONFIDENCE: Self = Self(Name::constant("confidence"));
    /// The samples of the accelerometer.
    pub const ACCEL: Self = Self(Name::constant("accel"));
    /// The samples of the gyroscope.
    pub const GYRO: Self = Self(Name::constant("gyro"));
    /// The points computed from depth.
    pub const POINTS: Self = Self(Name::constant("points"));

    /// The common streams in display order; others follow alphabetically.
    const USUAL: [Self; 8] = [
        Self::COLOR,
        Self::DEPTH,
        Self::INFRARED_1,
        Self::INFRARED_2,
        Self::CONFIDENCE,
        Self::ACCEL,
        Self::GYRO,
        Self::POINTS,
    ];

    /// Creates the stream called `name`.
    ///
    /// # Errors
    /// If `name` is empty, longer than 32 bytes, or contains characters other than `a-z`, `0-9` and `-`.
    pub fn new(name: &str) -> Result<Self, StreamError> {
        let allowed = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-';
        Name::from_bytes(name.as_bytes(), allowed).map(Self).ok_or_else(|| StreamError(shown(name)))
    }

    /// Returns the name, as in topologies and logs.
    pub fn name(&self) -> &str {
        self.0.as_str()
    }
}

/// The common streams first, in display order; then by name.
impl Ord for Stream {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let rank = |stream: &Self| Self::USUAL.iter().position(|it| it == stream).unwrap_or(usize::MAX);
        rank(self).cmp(&rank(other)).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Stream {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.name(), f)
    }
}

impl FromStr for Stream {
    type Err = StreamError;

    fn from_str(name: &str) -> Result<Self, StreamError> {
        Self::new(name)
    }
}

impl TryFrom<Name<STREAM_BYTES>> for Stream {
    type Error = StreamError;

    fn try_from(name: Name<STREAM_BYTES>) -> Result<Self, StreamError> {
        Self::new(name.as_str())
    }
}

impl From<Stream> for Name<STREAM_BYTES> {
    fn from(stream: Stream) -> Self {
        stream.0
    }
}

/// Role of a stream's frames. Generic code selects by role, not by the stream's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Images of light, visible or infrared.
    Light,
    /// Images of depth.
    Depth,
    /// Points in space.
    Points,
    /// Samples of motion.
    Motion,
    /// Anything else: masks, confidence, tensors, messages.
    Other,
}

impl Role {
    /// Returns the role's name, such as `depth`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Depth => "depth",
            Self::Points => "points",
            Self::Motion => "motion",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The size and rate of a stream, written `640x480@30`.
///
/// ```
/// use camrig_frame::StreamProfile;
///
/// let profile: StreamProfile = "640x480@30".parse()?;
/// assert_eq!((profile.width(), profile.height(), profile.frames_per_second()), (640, 480, 30));
/// assert_eq!(profile.to_string(), "640x480@30");
/// # Ok::<(), camrig_frame::ParseProfileError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StreamProfile {
    width: u32,
    height: u32,
    frames_per_second: u32,
}

impl StreamProfile {
    /// Creates a profile of `width` x `height` pixels at `frames_per_second`.
    ///
    /// # Errors
    /// If a number is zero, a side is above [`MAX_SIDE_PIXELS`] or the rate above [`MAX_FRAMES_PER_SECOND`].
    pub fn new(width: u32, height: u32, frames_per_second: u32) -> Result<Self, ParseProfileError> {
        let sides = 1..=MAX_SIDE_PIXELS;
        if !sides.contains(&width) || !sides.contains(&height) {
            return Err(ParseProfileError::Size { width, height });
        }
        if !(1..=MAX_FRAMES_PER_SECOND).contains(&frames_per_second) {
            return Err(ParseProfileError::Rate(frames_per_second));
        }
        Ok(Self { width, height, frames_per_second })
    }

    /// Creates the profile of a motion stream with this number of samples per second: as wide as its largest frame.
    ///
    /// # Errors
    /// If the rate is zero or above [`MAX_FRAMES_PER_SECOND`].
    pub fn of_motion(samples_per_second: u32) -> Result<Self, ParseProfileError> {
        Self::new(1, 1, samples_per_second)?;
        Self::new(MOTION_SECONDS * samples_per_second, 1, samples_per_second)
    }

    /// Returns the width in pixels.
    pub const fn width(self) -> u32 {
        self.width
    }

    /// Returns the height in pixels.
    pub const fn height(self) -> u32 {
        self.height
    }

    /// Frames per second.
    pub const fn frames_per_second(self) -> u32 {
        self.frames_per_second
    }
}

impl fmt::Display for StreamProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}@{}", self.width, self.height, self.frames_per_second)
    }
}

impl FromStr for StreamProfile {
    type Err = ParseProfileError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let syntax = || ParseProfileError::Syntax(text.chars().take(40).collect());
        let (size, rate) = text.split_once('@').ok_or_else(syntax)?;
        let (width, height) = size.split_once('x').ok_or_else(syntax)?;
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            // A number too large for its type is too large for any profile: the range check reports it.
            plain.then(|| digits.parse().unwrap_or(u32::MAX)).ok_or_else(syntax)
        };
        Self::new(number(width)?, number(height)?, number(rate)?)
    }
}

impl TryFrom<String> for StreamProfile {
    type Error = ParseProfileError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<StreamProfile> for String {
    fn from(profile: StreamProfile) -> Self {
        profile.to_string()
    }
}

/// A text that is not a valid [`StreamProfile`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseProfileError {
    /// Not of the form `640x480@30`.
    #[error("stream profile `{0}` is not of the form `640x480@30`")]
    Syntax(String),
    /// A side is zero or too long.
    #[error("image size {width}x{height} is out of range; each side must be 1 to {MAX_SIDE_PIXELS} pixels")]
    Size {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The rate is zero or too high.
    #[error("frame rate {0} is out of range; it must be 1 to {MAX_FRAMES_PER_SECOND} frames per second")]
    Rate(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_any_plain_name() {
        for name in ["color", "color-2", "infrared-1", "x", "thermal"] {
            assert_eq!(Stream::new(name).unwrap().to_string(), name);
        }
        for name in ["", "Color", "color_2", "a b", "-".repeat(33).as_str()] {
            let message =
                format!("`{name}` is not the name of a stream, which has 1 to 32 of `a-z`, `0-9` and `-`");
            assert_eq!(Stream::new(name).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn the_usual_streams_come_first() {
        let mut streams =
            ["mask", "gyro", "boxes", "depth", "color", "accel"].map(|name| Stream::new(name).unwrap());
        streams.sort();
        assert_eq!(
            streams.map(|stream| stream.to_string()),
            ["color", "depth", "accel", "gyro", "boxes", "mask"]
        );
    }

    #[test]
    fn profiles_round_trip_and_refuse_nonsense() {
        for text in ["1x1@1", "848x480@90", "8192x8192@1000"] {
            assert_eq!(text.parse::<StreamProfile>().unwrap().to_string(), text);
        }
        for (text, message) in [
            ("640x480", "stream profile `640x480` is not of the form `640x480@30`"),
            ("640X480@30", "stream profile `640X480@30` is not of the form `640x480@30`"),
            ("-640x480@30", "stream profile `-640x480@30` is not of the form `640x480@30`"),
            ("+640x480@30", "stream profile `+640x480@30` is not of the form `640x480@30`"),
            ("0x480@30", "image size 0x480 is out of range; each side must be 1 to 8192 pixels"),
            (
                "640x99999999999@30",
                "image size 640x4294967295 is out of range; each side must be 1 to 8192 pixels",
            ),
            ("640x480@0", "frame rate 0 is out of range; it must be 1 to 1000 frames per second"),
        ] {
            assert_eq!(text.parse::<StreamProfile>().unwrap_err().to_string(), message);
        }
    }
}
