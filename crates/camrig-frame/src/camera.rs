//! What stays the same from frameset to frameset: a camera's identity, calibration and depth unit.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{FrameHeader, Metadata, PixelFormat, Stream, StreamProfile, Timestamp};

/// Who produces framesets, and everything about them that does not change while it runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CameraInfo {
    /// The actor's name in the topology.
    pub name: String,
    /// The driver, or for a processor its kind: `realsense`, `synthetic`, ...
    pub driver: String,
    /// The device's serial number; empty where there is none.
    pub serial: String,
    /// The model, such as `Intel RealSense D435`; empty where there is none.
    pub model: String,
    /// The firmware's version; empty where there is none.
    pub firmware: String,
    /// The USB connection, such as `3.2`; empty where there is none.
    pub usb_type: String,
    /// Metres in one unit of depth: 0.0001 for a D405 by default, 0.001 for other D400 models.
    pub depth_unit_meters: f32,
    /// The streams, at most one of each kind, in the order of [`Stream::ALL`].
    pub streams: Vec<StreamInfo>,
}

/// A camera without a name, a device or streams, whose depth is in millimetres.
impl Default for CameraInfo {
    fn default() -> Self {
        Self {
            name: String::new(),
            driver: String::new(),
            serial: String::new(),
            model: String::new(),
            firmware: String::new(),
            usb_type: String::new(),
            depth_unit_meters: 0.001,
            streams: Vec::new(),
        }
    }
}

impl CameraInfo {
    /// What is known of one stream, if the camera has it.
    pub fn stream(&self, stream: Stream) -> Option<&StreamInfo> {
        self.streams.iter().find(|info| info.stream == stream)
    }
}

/// One stream of a camera.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamInfo {
    /// Which stream.
    pub stream: Stream,
    /// How its pixels are stored.
    pub format: PixelFormat,
    /// Its size and rate.
    pub profile: StreamProfile,
    /// Its pinhole model, where the camera tells it.
    pub intrinsics: Option<Intrinsics>,
    /// The transform from this stream's coordinates to those of depth, where the camera tells it.
    pub to_depth: Option<Extrinsics>,
}

impl StreamInfo {
    /// The header of one frame of this stream, rows without padding and without metadata.
    pub fn header(&self, number: u64, timestamp: Timestamp) -> FrameHeader {
        FrameHeader {
            stream: self.stream,
            format: self.format,
            width: self.profile.width(),
            height: self.profile.height(),
            stride_bytes: self.profile.width() * self.format.bytes_per_pixel(),
            number,
            timestamp,
            metadata: Metadata::EMPTY,
        }
    }
}

/// A pinhole model with distortion, as librealsense's `rs2_intrinsics`.
///
/// The optical axis is +Z, +X points right, +Y down. An undistorted point `(x, y, z)` in metres falls on
/// the pixel `(fx * x / z + ppx, fy * y / z + ppy)`; the centre of the upper left pixel is `(0, 0)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intrinsics {
    /// Width of the image, in pixels.
    pub width: u32,
    /// Height of the image, in pixels.
    pub height: u32,
    /// Horizontal principal point, in pixels from the left edge.
    pub ppx: f32,
    /// Vertical principal point, in pixels from the top edge.
    pub ppy: f32,
    /// Horizontal focal length, in pixels.
    pub fx: f32,
    /// Vertical focal length, in pixels.
    pub fy: f32,
    /// The distortion model.
    pub distortion: Distortion,
    /// The model's coefficients.
    pub coefficients: [f32; 5],
}

/// A distortion model, as librealsense's `rs2_distortion`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distortion {
    /// Rectilinear images.
    None,
    /// Brown-Conrady with the tangential part on radially distorted points.
    ModifiedBrownConrady,
    /// As `ModifiedBrownConrady`, but undistorting.
    InverseBrownConrady,
    /// F-theta fish eye.
    Ftheta,
    /// Brown-Conrady.
    BrownConrady,
    /// Kannala-Brandt with four coefficients.
    KannalaBrandt4,
}

impl Distortion {
    /// The model's name: `none`, `brown-conrady`, ...
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ModifiedBrownConrady => "modified-brown-conrady",
            Self::InverseBrownConrady => "inverse-brown-conrady",
            Self::Ftheta => "ftheta",
            Self::BrownConrady => "brown-conrady",
            Self::KannalaBrandt4 => "kannala-brandt4",
        }
    }
}

impl fmt::Display for Distortion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A rigid transform between two streams' coordinates, as librealsense's `rs2_extrinsics`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Extrinsics {
    /// A rotation matrix, column by column.
    pub rotation: [f32; 9],
    /// A translation, in metres.
    pub translation_meters: [f32; 3],
}

impl Extrinsics {
    /// The transform that changes nothing.
    pub const IDENTITY: Self =
        Self { rotation: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], translation_meters: [0.0; 3] };
}
