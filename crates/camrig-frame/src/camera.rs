//! Static properties of a camera: identity, calibration and depth unit.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    CameraPose, Format, FrameHeader, MOTION_SECONDS, Payload, PixelFormat, Role, Stream, StreamProfile,
    Timestamp,
};

/// Static description of a producer: identity, calibration, streams.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CameraInfo {
    /// The actor's name in the topology.
    pub name: String,
    /// The driver, or the kind of a processor: `realsense`, `synthetic`, ...
    pub driver: String,
    /// The device's serial number; empty if not applicable.
    pub serial: String,
    /// The model, such as `Intel RealSense D435`; empty if not applicable.
    pub model: String,
    /// The firmware version; empty if not applicable.
    pub firmware: String,
    /// The USB version of the connection, such as `3.2`; empty if not applicable.
    pub usb_type: String,
    /// The depth unit in metres: 0.0001 for a D405 by default, 0.001 for other D400 models.
    pub depth_unit_meters: f32,
    /// The streams, with unique names, in the order of their frames in a frameset.
    pub streams: Vec<StreamInfo>,
    /// The pose in the rig, if the topology names a calibration that has the camera.
    #[serde(default)]
    pub pose: Option<CameraPose>,
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
            pose: None,
        }
    }
}

impl CameraInfo {
    /// Returns the declaration of one stream, if the camera has it.
    pub fn stream(&self, stream: Stream) -> Option<&StreamInfo> {
        self.streams.iter().find(|info| info.stream == stream)
    }

    /// Returns the declaration of the first stream with this role.
    pub fn stream_of(&self, role: Role) -> Option<&StreamInfo> {
        self.streams.iter().find(|info| info.role == role)
    }

    /// Returns the highest frame rate of its images, in frames per second; `None` where it has no images, or none with a known
    /// rate.
    pub fn image_rate(&self) -> Option<u32> {
        let images = self.streams.iter().filter(|info| info.role != Role::Motion);
        images.map(|info| info.frames_per_second).max().filter(|rate| *rate > 0)
    }
}

/// The declaration of one stream: its static properties.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StreamInfo {
    /// Name of the stream.
    pub stream: Stream,
    /// Role of its frames.
    pub role: Role,
    /// Its largest frame, for which the slots are sized. Frames of motion, encoded images, tensors and messages
    /// may be smaller, and frames of points may have fewer rows.
    pub payload: Payload,
    /// Number of frames, or motion samples, per second; 0 if it is not known, as of streams that a processor in Python made.
    pub frames_per_second: u32,
    /// Pinhole model, if the camera reports it.
    pub intrinsics: Option<Intrinsics>,
    /// Transformation from this stream's coordinates to those of depth, if the camera reports it.
    pub to_depth: Option<Extrinsics>,
}

impl StreamInfo {
    /// Creates a stream whose largest frame has this payload, in the payload's default role, without calibration.
    pub const fn new(stream: Stream, payload: Payload, frames_per_second: u32) -> Self {
        let role = payload.format().role();
        Self { stream, role, payload, frames_per_second, intrinsics: None, to_depth: None }
    }

    /// Creates a stream of images whose rows have no padding.
    pub const fn image(stream: Stream, format: PixelFormat, profile: StreamProfile) -> Self {
        let payload = Payload::image(format, profile.width(), profile.height());
        Self::new(stream, payload, profile.frames_per_second())
    }

    /// Creates a stream of motion with this number of samples per second; a frame holds those of
    /// [`MOTION_SECONDS`].
    pub const fn motion(stream: Stream, samples_per_second: u32) -> Self {
        let samples = samples_per_second.saturating_mul(MOTION_SECONDS);
        Self::new(stream, Payload::Motion { samples }, samples_per_second)
    }

    /// Creates a stream with a format for which the profile determines the frame size; returns `None` for others.
    pub fn with_profile(stream: Stream, format: Format, profile: StreamProfile) -> Option<Self> {
        let payload = format.payload(profile.width(), profile.height())?;
        Some(Self::new(stream, payload, profile.frames_per_second()))
    }

    /// Returns the format of its frames.
    pub const fn format(&self) -> Format {
        self.payload.format()
    }

    /// Returns size and rate; `None` for tensors and messages.
    pub fn profile(&self) -> Option<StreamProfile> {
        let (width, height) = self.payload.size()?;
        StreamProfile::new(width, height, self.frames_per_second).ok()
    }

    /// Returns the header of its largest frame: number 0, at the zero of the hardware clock, without metadata.
    pub const fn largest(&self) -> FrameHeader {
        FrameHeader { role: self.role, ..FrameHeader::new(self.stream, self.payload) }
    }

    /// Returns the header of one frame of this stream with the declared size, without metadata.
    pub const fn header(&self, number: u64, timestamp: Timestamp) -> FrameHeader {
        FrameHeader { number, timestamp, ..self.largest() }
    }
}

/// A declaration as serialized in binary formats.
#[derive(Serialize, Deserialize)]
struct BinaryInfo {
    stream: Stream,
    role: Role,
    payload: Payload,
    frames_per_second: u32,
    intrinsics: Option<Intrinsics>,
    to_depth: Option<Extrinsics>,
}

/// A declaration as serialized in JSON: images, points and motion by format and profile, everything else by its
/// payload.
#[derive(Serialize, Deserialize)]
struct TextInfo {
    stream: Stream,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    format: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    profile: Option<StreamProfile>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<Payload>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    frames_per_second: Option<u32>,
    intrinsics: Option<Intrinsics>,
    to_depth: Option<Extrinsics>,
}

impl From<&StreamInfo> for TextInfo {
    fn from(info: &StreamInfo) -> Self {
        let StreamInfo { stream, payload, frames_per_second, intrinsics, to_depth, .. } = *info;
        let role = (info.role != info.format().role()).then_some(info.role);
        let as_rows = info.profile().filter(|profile| {
            let (width, height) = (profile.width(), profile.height());
            let stride_bytes = payload.row_bytes().unwrap_or_default();
            Payload::of_rows(&info.format().to_string(), width, height, stride_bytes) == Some(payload)
        });
        let (format, payload, frames_per_second) = match as_rows {
            Some(_) => (Some(info.format().to_string()), None, None),
            None => (None, Some(payload), Some(frames_per_second)),
        };
        Self { stream, role, format, profile: as_rows, payload, frames_per_second, intrinsics, to_depth }
    }
}

impl TryFrom<TextInfo> for StreamInfo {
    type Error = String;

    fn try_from(text: TextInfo) -> Result<Self, String> {
        let TextInfo { stream, intrinsics, to_depth, .. } = text;
        let (payload, frames_per_second) = match (text.payload, text.format, text.profile) {
            (Some(payload), ..) => (payload, text.frames_per_second.unwrap_or(1)),
            (None, Some(format), Some(profile)) => {
                let (width, height) = (profile.width(), profile.height());
                let payload = match Payload::of_rows(&format, width, height, 0) {
                    Some(Payload::Image { format, .. }) => Payload::image(format, width, height),
                    other => {
                        other.ok_or_else(|| format!("stream `{stream}` has an unknown format `{format}`"))?
                    }
                };
                (payload, profile.frames_per_second())
            }
            _ => return Err(format!("stream `{stream}` has neither a payload nor a format and a profile")),
        };
        let info = Self { intrinsics, to_depth, ..Self::new(stream, payload, frames_per_second) };
        Ok(Self { role: text.role.unwrap_or(info.role), ..info })
    }
}

impl Serialize for StreamInfo {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return TextInfo::from(self).serialize(serializer);
        }
        let Self { stream, role, payload, frames_per_second, intrinsics, to_depth } = *self;
        BinaryInfo { stream, role, payload, frames_per_second, intrinsics, to_depth }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for StreamInfo {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return Self::try_from(TextInfo::deserialize(deserializer)?).map_err(serde::de::Error::custom);
        }
        let BinaryInfo { stream, role, payload, frames_per_second, intrinsics, to_depth } =
            BinaryInfo::deserialize(deserializer)?;
        Ok(Self { stream, role, payload, frames_per_second, intrinsics, to_depth })
    }
}

/// A pinhole model with distortion, like librealsense's `rs2_intrinsics`.
///
/// The optical axis is +Z, +X points right, +Y down. An undistorted point `(x, y, z)` in metres is projected to the
/// pixel `(fx * x / z + ppx, fy * y / z + ppy)`; the center of the upper left pixel is `(0, 0)`.
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

/// A distortion model, like librealsense's `rs2_distortion`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distortion {
    /// Rectilinear images.
    None,
    /// Brown-Conrady with the tangential part on radially distorted points.
    ModifiedBrownConrady,
    /// Like `ModifiedBrownConrady`, but for undistorting.
    InverseBrownConrady,
    /// F-theta fisheye.
    Ftheta,
    /// Brown-Conrady.
    BrownConrady,
    /// Kannala-Brandt with four coefficients.
    KannalaBrandt4,
}

impl Distortion {
    /// Returns the model's name: `none`, `brown-conrady`, ...
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

/// A rigid transformation between the coordinates of two streams, like librealsense's `rs2_extrinsics`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Extrinsics {
    /// A rotation matrix in column-major order.
    pub rotation: [f32; 9],
    /// A translation, in metres.
    pub translation_meters: [f32; 3],
}

impl Extrinsics {
    /// The transform that changes nothing.
    pub const IDENTITY: Self =
        Self { rotation: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], translation_meters: [0.0; 3] };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{JSON, Name};

    #[test]
    fn a_declaration_of_rows_is_written_as_it_always_was() {
        let json =
            r#"{"stream":"depth","format":"z16","profile":"848x480@30","intrinsics":null,"to_depth":null}"#;
        let info = StreamInfo::image(Stream::DEPTH, PixelFormat::Z16, "848x480@30".parse().unwrap());
        assert_eq!(serde_json::to_string(&info).unwrap(), json);
        assert_eq!(serde_json::from_str::<StreamInfo>(json).unwrap(), info);

        let json =
            r#"{"stream":"gyro","format":"motion","profile":"400x1@200","intrinsics":null,"to_depth":null}"#;
        let info = StreamInfo::motion(Stream::GYRO, 200);
        assert_eq!(serde_json::to_string(&info).unwrap(), json);
        assert_eq!(serde_json::from_str::<StreamInfo>(json).unwrap(), info);
    }

    #[test]
    fn every_other_declaration_has_its_payload() {
        let schema = Name::constant("camrig.Boxes");
        let boxes = Payload::Message { schema, encoding: JSON, size_bytes: 4096 };
        let info = StreamInfo::new(Stream::new("boxes").unwrap(), boxes, 30);
        let json = serde_json::to_string(&info).unwrap();
        assert_eq!(
            json,
            r#"{"stream":"boxes","payload":{"message":{"schema":"camrig.Boxes","encoding":"json","size_bytes":4096}},"frames_per_second":30,"intrinsics":null,"to_depth":null}"#
        );
        assert_eq!(serde_json::from_str::<StreamInfo>(&json).unwrap(), info);

        let mask =
            StreamInfo::image(Stream::new("mask").unwrap(), PixelFormat::Y8, "4x4@30".parse().unwrap());
        let mask = StreamInfo { role: Role::Other, ..mask };
        let json = serde_json::to_string(&mask).unwrap();
        assert_eq!(serde_json::from_str::<StreamInfo>(&json).unwrap(), mask);
        for json in [
            r#"{"stream":"depth","format":"z17","profile":"4x4@30","intrinsics":null,"to_depth":null}"#,
            r#"{"stream":"depth","format":"z16","intrinsics":null,"to_depth":null}"#,
        ] {
            assert!(serde_json::from_str::<StreamInfo>(json).is_err());
        }
    }
}
