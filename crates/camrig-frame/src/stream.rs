//! Streams, pixel formats and profiles, in librealsense's terms.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest side of an image, in pixels.
pub const MAX_SIDE_PIXELS: u32 = 8192;

/// The highest frame rate of a stream, in frames per second.
pub const MAX_FRAMES_PER_SECOND: u32 = 1000;

/// One kind of image of a camera, or of its motion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// The color image.
    Color,
    /// The depth image: a distance along the optical axis for each pixel.
    Depth,
    /// The left infrared image, from which depth is computed.
    #[serde(rename = "infrared-1")]
    Infrared1,
    /// The right infrared image.
    #[serde(rename = "infrared-2")]
    Infrared2,
    /// What the accelerometer measures.
    Accel,
    /// What the gyroscope measures.
    Gyro,
}

impl Stream {
    /// Every stream, in the order in which a frameset holds them.
    pub const ALL: [Self; 6] =
        [Self::Color, Self::Depth, Self::Infrared1, Self::Infrared2, Self::Accel, Self::Gyro];

    /// The stream's name as in topologies and logs: `color`, `depth`, `infrared-1`, `infrared-2`, `accel`,
    /// `gyro`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Color => "color",
            Self::Depth => "depth",
            Self::Infrared1 => "infrared-1",
            Self::Infrared2 => "infrared-2",
            Self::Accel => "accel",
            Self::Gyro => "gyro",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How the pixels of a frame are stored, named as in librealsense where that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PixelFormat {
    /// 3 bytes a pixel: red, green, blue.
    Rgb8,
    /// 3 bytes a pixel: blue, green, red.
    Bgr8,
    /// 4 bytes for two pixels: Y0, U, Y1, V.
    Yuyv,
    /// 2 bytes a pixel, little endian: depth in depth units, 0 where there is none.
    Z16,
    /// 1 byte a pixel: luminance.
    Y8,
    /// 16 bytes a pixel, for points that are made from depth: x, y and z in metres, each an `f32` in little
    /// endian, all 0 where there is no depth; red, green, blue; 255 where these are known, 0 elsewhere.
    Xyzrgb,
    /// 20 bytes a sample of motion, which a frame has in one row: its time in nanoseconds, a `u64`, and what was
    /// measured along x, y and z, each an `f32`, all in little endian: see [`MotionSample`](crate::MotionSample).
    Motion,
}

impl PixelFormat {
    /// The bytes that one pixel takes.
    pub const fn bytes_per_pixel(self) -> u32 {
        match self {
            Self::Rgb8 | Self::Bgr8 => 3,
            Self::Yuyv | Self::Z16 => 2,
            Self::Y8 => 1,
            Self::Xyzrgb => 16,
            Self::Motion => 20,
        }
    }

    /// The format's name: `rgb8`, `bgr8`, `yuyv`, `z16`, `y8`, `xyzrgb`, `motion`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rgb8 => "rgb8",
            Self::Bgr8 => "bgr8",
            Self::Yuyv => "yuyv",
            Self::Z16 => "z16",
            Self::Y8 => "y8",
            Self::Xyzrgb => "xyzrgb",
            Self::Motion => "motion",
        }
    }
}

impl fmt::Display for PixelFormat {
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
    /// A profile of `width` x `height` pixels at `frames_per_second`.
    ///
    /// # Errors
    /// When a number is zero, a side is above [`MAX_SIDE_PIXELS`] or the rate above [`MAX_FRAMES_PER_SECOND`].
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

    /// Width in pixels.
    pub const fn width(self) -> u32 {
        self.width
    }

    /// Height in pixels.
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
            // A number too large for its type is too large for any profile: let the range check say so.
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

/// Why a text is no [`StreamProfile`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseProfileError {
    /// Not of the form `640x480@30`.
    #[error("stream profile `{0}` is not of the form `640x480@30`")]
    Syntax(String),
    /// A side is zero or too long.
    #[error("image size {width}x{height} is out of range; each side is 1 to {MAX_SIDE_PIXELS} pixels")]
    Size {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// The rate is zero or too high.
    #[error("frame rate {0} is out of range; it is 1 to {MAX_FRAMES_PER_SECOND} frames per second")]
    Rate(u32),
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ("0x480@30", "image size 0x480 is out of range; each side is 1 to 8192 pixels"),
            (
                "640x99999999999@30",
                "image size 640x4294967295 is out of range; each side is 1 to 8192 pixels",
            ),
            ("640x480@0", "frame rate 0 is out of range; it is 1 to 1000 frames per second"),
        ] {
            assert_eq!(text.parse::<StreamProfile>().unwrap_err().to_string(), message);
        }
    }
}
