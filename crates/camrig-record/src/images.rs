//! Frames and calibration as Foxglove messages, which viewers support without plug-ins.
//!
//! This module encodes messages and has no knowledge of files.

use bytes::Bytes;
use camrig::FrameSet;
use camrig::frame::{
    Distortion, Extrinsics, Format, Frame, FrameHeader, Intrinsics, MJPEG, POINT_BYTES, Payload, Stream,
    StreamInfo, Timestamp,
};
use foxglove::Encode;
use foxglove::messages::packed_element_field::NumericType;
use foxglove::messages::{
    self, CameraCalibration, CompressedImage, FrameTransform, PackedElementField, PointCloud, Quaternion,
    RawImage, Vector3,
};

/// Returns the coordinate frame of a stream: `front/color`.
pub(crate) fn frame_id(camera: &str, stream: Stream) -> String {
    format!("{camera}/{stream}")
}

/// Appends the message with the raw pixels of a frame.
pub(crate) fn raw_image(camera: &str, header: &FrameHeader, pixels: Bytes, message: &mut Vec<u8>) {
    let Payload::Image { format, width, height, stride_bytes } = header.payload else { return };
    let image = RawImage {
        timestamp: Some(timestamp(header.timestamp)),
        frame_id: frame_id(camera, header.stream),
        width,
        height,
        encoding: format.ros_name().to_owned(),
        step: stride_bytes,
        data: pixels,
    };
    encode(&image, message);
}

/// Appends the message with an image as compressed by the camera.
pub(crate) fn encoded_image(camera: &str, header: &FrameHeader, bytes: Bytes, message: &mut Vec<u8>) {
    let Payload::Encoded { codec, .. } = header.payload else { return };
    let format = if codec == MJPEG { "jpeg" } else { codec.as_str() };
    let image = CompressedImage {
        timestamp: Some(timestamp(header.timestamp)),
        frame_id: frame_id(camera, header.stream),
        data: bytes,
        format: format.to_owned(),
    };
    encode(&image, message);
}

/// Appends the message with the points of a frame.
pub(crate) fn points(camera: &str, header: &FrameHeader, pixels: Bytes, message: &mut Vec<u8>) {
    let fields = [("x", 0), ("y", 4), ("z", 8)].map(|(name, at)| (name, at, NumericType::Float32));
    let colors = [("red", 12), ("green", 13), ("blue", 14), ("alpha", 15)];
    let fields = fields.into_iter().chain(colors.map(|(name, at)| (name, at, NumericType::Uint8)));
    let field = |(name, offset, of): (&str, u32, NumericType)| PackedElementField {
        name: name.to_owned(),
        offset,
        r#type: of as i32,
    };
    let cloud = PointCloud {
        timestamp: Some(timestamp(header.timestamp)),
        frame_id: frame_id(camera, header.stream),
        pose: None,
        point_stride: POINT_BYTES,
        fields: fields.map(field).collect(),
        data: pixels,
    };
    encode(&cloud, message);
}

/// Returns the pixels of a frame in place, without a copy.
pub(crate) fn pixels_of(frames: &FrameSet, index: usize) -> Bytes {
    Bytes::from_owner(Pixels { frames: frames.clone(), index })
}

/// The pixels of one frame, which keep the frameset alive.
struct Pixels {
    frames: FrameSet,
    index: usize,
}

impl AsRef<[u8]> for Pixels {
    fn as_ref(&self) -> &[u8] {
        self.frames.frames().nth(self.index).map_or(&[], |frame| frame.bytes())
    }
}

/// Appends the message with a frame as JPEG.
pub(crate) fn jpeg_image(camera: &str, frame: &Frame<'_>, jpeg: Bytes, message: &mut Vec<u8>) {
    let header = frame.header();
    let image = CompressedImage {
        timestamp: Some(timestamp(header.timestamp)),
        frame_id: frame_id(camera, header.stream),
        data: jpeg,
        format: "jpeg".to_owned(),
    };
    encode(&image, message);
}

/// Creates the message with the calibration of a stream.
pub(crate) fn calibration(
    camera: &str,
    stream: Stream,
    taken: Timestamp,
    intrinsics: &Intrinsics,
) -> Vec<u8> {
    let Intrinsics { width, height, ppx, ppy, fx, fy, distortion, coefficients } = *intrinsics;
    let [ppx, ppy, fx, fy] = [ppx, ppy, fx, fy].map(f64::from);
    let undistorted = coefficients.iter().all(|&coefficient| coefficient == 0.0);
    // The models' names in viewers. Other models have no entry, which is better than a wrong one.
    let (model, count) = match distortion {
        Distortion::None | Distortion::BrownConrady => ("plumb_bob", 5),
        _ if undistorted => ("plumb_bob", 5),
        Distortion::KannalaBrandt4 => ("kannala_brandt", 4),
        Distortion::ModifiedBrownConrady | Distortion::InverseBrownConrady | Distortion::Ftheta => ("", 0),
    };
    let message = CameraCalibration {
        timestamp: Some(timestamp(taken)),
        frame_id: frame_id(camera, stream),
        width,
        height,
        distortion_model: model.to_owned(),
        d: coefficients[..count].iter().copied().map(f64::from).collect(),
        k: vec![fx, 0.0, ppx, 0.0, fy, ppy, 0.0, 0.0, 1.0],
        r: vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p: vec![fx, 0.0, ppx, 0.0, 0.0, fy, ppy, 0.0, 0.0, 0.0, 1.0, 0.0],
    };
    encoded(&message)
}

/// Creates the message with the position of a stream in the coordinates of depth; returns `None` for depth itself,
/// and if the camera does not report it.
pub(crate) fn transform(camera: &str, info: &StreamInfo, taken: Timestamp) -> Option<Vec<u8>> {
    let Extrinsics { rotation, translation_meters } =
        info.to_depth.filter(|_| info.stream != Stream::DEPTH)?;
    let [x, y, z] = translation_meters.map(f64::from);
    Some(encoded(&FrameTransform {
        timestamp: Some(timestamp(taken)),
        parent_frame_id: frame_id(camera, Stream::DEPTH),
        child_frame_id: frame_id(camera, info.stream),
        translation: Some(Vector3 { x, y, z }),
        rotation: Some(quaternion(rotation.map(f64::from))),
    }))
}

/// Converts a column-major rotation matrix to a quaternion: magnitudes from the diagonal, signs from the other
/// elements.
fn quaternion([xx, xy, xz, yx, yy, yz, zx, zy, zz]: [f64; 9]) -> Quaternion {
    let part = |sum: f64, sign: f64| (1.0 + sum).max(0.0).sqrt().copysign(sign) / 2.0;
    Quaternion {
        x: part(xx - yy - zz, yz - zy),
        y: part(yy - xx - zz, zx - xz),
        z: part(zz - xx - yy, xy - yx),
        w: part(xx + yy + zz, 1.0),
    }
}

/// Returns the schema of a message type: name, encoding and description.
pub(crate) fn schema<M: Encode>() -> Option<foxglove::Schema> {
    M::get_schema()
}

/// Returns whether a stream is stored as JPEG if color is configured to be.
pub(crate) fn takes_jpeg(stream: Stream, format: Format) -> bool {
    match format {
        Format::Image(format) => format.is_colored() || stream == Stream::COLOR && format.is_light(),
        _ => false,
    }
}

fn timestamp(taken: Timestamp) -> messages::Timestamp {
    // 32 bits of seconds suffice until the year 2106.
    let seconds = u32::try_from(taken.nanos / 1_000_000_000).unwrap_or(u32::MAX);
    messages::Timestamp::new(seconds, (taken.nanos % 1_000_000_000) as u32)
}

fn encoded(message: &impl Encode) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(message, &mut bytes);
    bytes
}

fn encode(message: &impl Encode, bytes: &mut Vec<u8>) {
    bytes.reserve(message.encoded_len().unwrap_or(0));
    // A vector grows as needed: this cannot fail.
    let _ = message.encode(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_and_its_quaternion_turn_alike() {
        // A quarter turn about each axis, column-major.
        for (matrix, expected) in [
            ([1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0], [1.0, 0.0, 0.0]),
            ([0.0, 0.0, -1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0]),
            ([0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0]),
        ] {
            let Quaternion { x, y, z, w } = quaternion(matrix);
            let half = 0.5_f64.sqrt();
            for (found, expected) in [x, y, z, w].into_iter().zip(expected.into_iter().chain([1.0])) {
                assert!((found - expected * half).abs() < 1e-12, "{matrix:?}: {x} {y} {z} {w}");
            }
        }
    }
}
