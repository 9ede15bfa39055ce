//! Frames and calibration as Foxglove messages, which viewers support without plug-ins.
//!
//! This module encodes messages and has no knowledge of files.

use bytes::Bytes;
use camrig::FrameSet;
use camrig::frame::{
    CameraInfo, Distortion, Extrinsics, Format, Frame, FrameHeader, Intrinsics, MAX_FRAMESET_BYTES, MJPEG,
    MotionSample, MotionView, POINT_BYTES, Payload, Stream, StreamInfo, Timestamp,
};
use foxglove::Encode;
use foxglove::messages::packed_element_field::NumericType;
use foxglove::messages::{
    self, CameraCalibration, CompressedImage, FrameTransform, PackedElementField, PointCloud, Quaternion,
    RawImage, Vector3,
};
use prost::Message as _;

use crate::depth::{self, DepthForm};
use crate::ros;

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

/// Appends the message with depth in a form that viewers show as depth.
pub(crate) fn depth_image(
    camera: &str,
    header: &FrameHeader,
    form: DepthForm,
    pixels: &[u8],
    message: &mut Vec<u8>,
) {
    let Payload::Image { width, height, stride_bytes, .. } = header.payload else { return };
    let frame_id = frame_id(camera, header.stream);
    let of_ros = ros::Header { nanos: header.timestamp.nanos, frame_id: &frame_id };
    let meters;
    let (encoding, step, data) = match form {
        DepthForm::AsIs(encoding) => (encoding, stride_bytes, pixels),
        DepthForm::Meters(unit_meters) => {
            meters = depth::to_meters(&header.payload, pixels, unit_meters);
            (depth::METERS_NAME, width.saturating_mul(4), meters.as_slice())
        }
    };
    ros::image(&of_ros, &ros::Rows { width, height, encoding, step }, data, message);
}

/// The fields of a message of points beside Foxglove's, which readers of `foxglove.PointCloud` skip.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Present {
    /// One bit for each point of the frame, from the lowest bit of the first byte: whether it is in the message. Empty
    /// if all are.
    #[prost(bytes = "bytes", tag = "1000")]
    pub(crate) present: Bytes,
}

/// Returns the points that are not empty, and a bit for each point of the frame.
fn present(points: &Bytes) -> (Bytes, Present) {
    let all = || points.chunks_exact(POINT_BYTES as usize);
    let is_empty = |point: &[u8]| point.iter().all(|&byte| byte == 0);
    let mut present = vec![0; all().len().div_ceil(8)];
    let mut data = Vec::new();
    for (index, point) in all().enumerate().filter(|(_, point)| !is_empty(point)) {
        present[index / 8] |= 1 << (index % 8);
        data.extend_from_slice(point);
    }
    if data.len() == points.len() {
        return (points.clone(), Present::default());
    }
    (data.into(), Present { present: present.into() })
}

/// Returns all points of a frame: those of the message, and empty ones between them. Returns `None` if the message has
/// other numbers of points than its fields.
pub(crate) fn all_points(payload: &Payload, points: Bytes, present: &Present) -> Option<Bytes> {
    let present = &present.present;
    if present.is_empty() {
        return Some(points);
    }
    let size_bytes = payload.size_bytes();
    let count = size_bytes / u64::from(POINT_BYTES);
    let is_possible = size_bytes <= MAX_FRAMESET_BYTES as u64 && present.len() as u64 == count.div_ceil(8);
    let mut all = vec![0; if is_possible { size_bytes as usize } else { return None }];
    let mut left = points.chunks_exact(POINT_BYTES as usize);
    for (index, point) in all.chunks_exact_mut(POINT_BYTES as usize).enumerate() {
        if present[index / 8] & (1 << (index % 8)) != 0 {
            point.copy_from_slice(left.next()?);
        }
    }
    left.next().is_none().then(|| all.into())
}

/// Appends the messages with the samples of a motion frame, each with its time, for viewers. Streams of other names have
/// no message that viewers plot.
pub(crate) fn imu(camera: &str, frame: Frame<'_>) -> Vec<(u64, Vec<u8>)> {
    let stream = frame.stream();
    let is_gyro = stream == Stream::GYRO;
    let motion = MotionView::new(frame).filter(|_| is_gyro || stream == Stream::ACCEL);
    let frame_id = frame_id(camera, stream);
    let samples = motion.iter().flat_map(MotionView::iter);
    let message = |MotionSample { nanos, xyz }: MotionSample| {
        let mut message = Vec::new();
        let header = ros::Header { nanos, frame_id: &frame_id };
        ros::imu(&header, is_gyro, xyz.map(f64::from), &mut message);
        (nanos, message)
    };
    samples.map(message).collect()
}

/// Appends the message with the points of a frame, without empty ones.
pub(crate) fn points(camera: &str, header: &FrameHeader, pixels: &Bytes, message: &mut Vec<u8>) {
    let fields = [("x", 0), ("y", 4), ("z", 8)].map(|(name, at)| (name, at, NumericType::Float32));
    let colors = [("red", 12), ("green", 13), ("blue", 14), ("alpha", 15)];
    let fields = fields.into_iter().chain(colors.map(|(name, at)| (name, at, NumericType::Uint8)));
    let field = |(name, offset, of): (&str, u32, NumericType)| PackedElementField {
        name: name.to_owned(),
        offset,
        r#type: of as i32,
    };
    let (data, present) = present(pixels);
    let cloud = PointCloud {
        timestamp: Some(timestamp(header.timestamp)),
        frame_id: frame_id(camera, header.stream),
        pose: None,
        point_stride: POINT_BYTES,
        fields: fields.map(field).collect(),
        data,
    };
    encode(&cloud, message);
    // A message that follows another one adds its fields.
    message.extend(present.encode_to_vec());
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
    let (model, count) = distortion_model(distortion, &coefficients, "kannala_brandt");
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

/// Returns the name of a distortion model in viewers, and the number of its coefficients. A model that viewers do not support
/// gets no name and no coefficients, which is better than wrong ones.
pub(crate) fn distortion_model(
    distortion: Distortion,
    coefficients: &[f32; 5],
    kannala_brandt: &'static str,
) -> (&'static str, usize) {
    let undistorted = coefficients.iter().all(|&coefficient| coefficient == 0.0);
    let no_tangential = coefficients[2..4].iter().all(|&coefficient| coefficient == 0.0);
    match distortion {
        Distortion::None | Distortion::BrownConrady => ("plumb_bob", 5),
        _ if undistorted => ("plumb_bob", 5),
        // The two differ in the tangential part only.
        Distortion::ModifiedBrownConrady if no_tangential => ("plumb_bob", 5),
        Distortion::KannalaBrandt4 => (kannala_brandt, 4),
        Distortion::ModifiedBrownConrady | Distortion::InverseBrownConrady | Distortion::Ftheta => ("", 0),
    }
}

/// The coordinate frame at the root of all cameras of a rig.
pub(crate) const ROOT_FRAME: &str = "rig";

/// Creates the message with the pose of a camera in the rig, which is the identity without a calibration. The camera's coordinates are those of depth, or of its only stream.
pub(crate) fn root_transform(camera: &str, info: &CameraInfo, taken: Timestamp) -> Option<Vec<u8>> {
    let is_related = info.streams.iter().any(|stream| stream.to_depth.is_some());
    let is_depth = info.stream(Stream::DEPTH).is_some();
    let origin = if is_related || is_depth { Stream::DEPTH } else { info.streams.first()?.stream };
    let [x, y, z] = info.pose.as_ref().map_or([0.0; 3], |pose| pose.translation_meters);
    let [qx, qy, qz, qw] = info.pose.as_ref().map_or([0.0, 0.0, 0.0, 1.0], |pose| pose.quaternion_xyzw);
    let rotation = Quaternion { x: qx, y: qy, z: qz, w: qw };
    Some(encoded(&FrameTransform {
        timestamp: Some(timestamp(taken)),
        parent_frame_id: ROOT_FRAME.to_owned(),
        child_frame_id: frame_id(camera, origin),
        translation: Some(Vector3 { x, y, z }),
        rotation: Some(rotation),
    }))
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
pub(crate) fn quaternion([xx, xy, xz, yx, yy, yz, zx, zy, zz]: [f64; 9]) -> Quaternion {
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
    use camrig::frame::{CameraPose, Clock};

    use super::*;

    #[test]
    fn models_that_viewers_do_not_have_are_left_out() {
        use Distortion::{
            BrownConrady, Ftheta, InverseBrownConrady, KannalaBrandt4, ModifiedBrownConrady, None,
        };
        let name = |distortion, coefficients| distortion_model(distortion, &coefficients, "kannala_brandt");
        let radial = [0.1, 0.2, 0.0, 0.0, 0.3];
        let all = [0.1, 0.2, 0.3, 0.4, 0.5];
        for model in [None, BrownConrady, ModifiedBrownConrady, InverseBrownConrady, Ftheta, KannalaBrandt4] {
            assert_eq!(name(model, [0.0; 5]), ("plumb_bob", 5));
        }
        for (model, coefficients, expected) in [
            (BrownConrady, all, ("plumb_bob", 5)),
            (ModifiedBrownConrady, radial, ("plumb_bob", 5)),
            (ModifiedBrownConrady, all, ("", 0)),
            (InverseBrownConrady, radial, ("", 0)),
            (KannalaBrandt4, all, ("kannala_brandt", 4)),
            (Ftheta, all, ("", 0)),
        ] {
            assert_eq!(name(model, coefficients), expected, "{model}");
        }
    }

    #[test]
    fn empty_points_are_left_out_and_come_back() {
        let payload = Payload::Points { width: 5, height: 4 };
        for filled in [vec![], vec![0], vec![19], vec![3, 8, 9, 15], (0..20).collect()] {
            let mut points = vec![0; 20 * POINT_BYTES as usize];
            for &index in &filled {
                points[index * POINT_BYTES as usize + 7] = 1 + index as u8;
            }
            let points = Bytes::from(points);
            let mut message = Vec::new();
            super::points("front", &FrameHeader::new(Stream::POINTS, payload), &points, &mut message);
            let cloud: PointCloud = foxglove::Decode::decode(&*message).unwrap();
            assert_eq!(cloud.data.len(), filled.len() * POINT_BYTES as usize);
            let present = Present::decode(&*message).unwrap();
            assert_eq!(all_points(&payload, cloud.data.clone(), &present), Some(points));
            // Other numbers of points than the fields of the message are refused.
            if !present.present.is_empty() {
                let more = [&cloud.data[..], &[1; POINT_BYTES as usize]].concat();
                assert_eq!(all_points(&payload, more.into(), &present), None);
                let huge = Payload::Points { width: u32::MAX, height: u32::MAX };
                assert_eq!(all_points(&huge, cloud.data, &present), None);
            }
        }
    }

    #[test]
    fn a_camera_has_the_pose_of_its_calibration() {
        let info = crate::record::testing::info("front");
        let transform = |info: &CameraInfo| {
            let message =
                root_transform("front", info, Timestamp { clock: Clock::Global, nanos: 0 }).unwrap();
            FrameTransform::decode(&*message).unwrap()
        };
        let parts = |it: FrameTransform| {
            let (place, turn) = (it.translation.unwrap(), it.rotation.unwrap());
            ([place.x, place.y, place.z], [turn.x, turn.y, turn.z, turn.w])
        };
        assert_eq!(parts(transform(&info)), ([0.0; 3], [0.0, 0.0, 0.0, 1.0]));
        let pose = CameraPose {
            root: "rear".to_owned(),
            translation_meters: [0.5, -0.25, 2.0],
            quaternion_xyzw: [0.0, 0.6, 0.0, 0.8],
        };
        let found = transform(&CameraInfo { pose: Some(pose.clone()), ..info });
        assert_eq!((found.parent_frame_id.as_str(), found.child_frame_id.as_str()), ("rig", "front/depth"));
        assert_eq!(parts(found), (pose.translation_meters, pose.quaternion_xyzw));
    }

    #[test]
    fn a_matrix_and_its_quaternion_are_the_same_rotation() {
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
