//! Formats and names of the streams that a topology requests.
//!
//! It does not depend on librealsense: `request` has the request, and `profiles` looks for it on a device.

use std::collections::BTreeMap;

use camrig::frame::{Format, MJPEG, PixelFormat, Stream, StreamProfile};
use schemars::JsonSchema;
use serde::Deserialize;

/// Format of an image, by librealsense's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    /// Red, green, blue: converted by librealsense.
    Rgb8,
    /// Blue, green, red: converted by librealsense.
    Bgr8,
    /// Red, green, blue, opacity: converted by librealsense.
    Rgba8,
    /// Blue, green, red, opacity: converted by librealsense.
    Bgra8,
    /// As transferred over USB by most cameras, without conversion.
    Yuyv,
    /// Like `yuyv`, with the bytes of each pair in the other order.
    Uyvy,
    /// Luminance with 8 bits.
    Y8,
    /// Luminance with 16 bits.
    Y16,
    /// Motion JPEG, as the camera sends it: each frame is a JPEG image.
    Mjpeg,
    /// Depth in depth units.
    Z16,
    /// Depth in metres.
    Distance,
    /// Disparity in pixels.
    Disparity32,
}

impl ImageFormat {
    pub(crate) fn format(self) -> Format {
        Format::Image(match self {
            Self::Rgb8 => PixelFormat::Rgb8,
            Self::Bgr8 => PixelFormat::Bgr8,
            Self::Rgba8 => PixelFormat::Rgba8,
            Self::Bgra8 => PixelFormat::Bgra8,
            Self::Yuyv => PixelFormat::Yuyv,
            Self::Uyvy => PixelFormat::Uyvy,
            Self::Y8 => PixelFormat::Y8,
            Self::Y16 => PixelFormat::Y16,
            Self::Z16 => PixelFormat::Z16,
            Self::Distance => PixelFormat::Distance,
            Self::Disparity32 => PixelFormat::Disparity32,
            Self::Mjpeg => return Format::Encoded(MJPEG),
        })
    }
}

/// Profile and format of a stream that is requested by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamChoice {
    /// Size and rate, such as `640x480@30`.
    pub profile: StreamProfile,
    /// Format of a live camera; by default `rgb8` for color, `z16` for depth and `y8` for other streams.
    pub format: Option<ImageFormat>,
}

/// Returns the format of a stream for which the options give none.
pub(crate) fn usual_format(stream: Stream) -> Format {
    let kind = |kind: Stream| stream == kind || is_another(kind, stream);
    Format::Image(match stream {
        _ if kind(Stream::COLOR) => PixelFormat::Rgb8,
        _ if kind(Stream::DEPTH) => PixelFormat::Z16,
        _ => PixelFormat::Y8,
    })
}

/// Returns whether `stream` is a further stream of the kind of `first`, such as `color-2`.
pub(crate) fn is_another(first: Stream, stream: Stream) -> bool {
    let number = stream.name().strip_prefix(first.name()).and_then(|rest| rest.strip_prefix('-'));
    number.is_some_and(|number| number.parse::<u32>().is_ok())
}

/// Returns whether a stream is one of motion.
pub(crate) fn is_motion(stream: Stream) -> bool {
    matches!(stream, Stream::ACCEL | Stream::GYRO)
}

/// The requests of `streams` by their names, as in a topology.
pub type StreamChoices = BTreeMap<String, StreamChoice>;
