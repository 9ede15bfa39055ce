//! Messages of ROS 2 in CDR, with their definitions, which viewers and `rosbags` read without any installation of ROS.
//!
//! This module has no knowledge of files and of recordings.

use std::fmt::Write;

use crate::cdr::{CdrReader, CdrWriter};

/// Encoding of the messages.
pub(crate) const ENCODING: &str = "cdr";
/// Encoding of their schemas.
pub(crate) const SCHEMA_ENCODING: &str = "ros2msg";

/// Type of images of raw pixels.
pub(crate) const IMAGE: &str = "sensor_msgs/msg/Image";
/// Type of compressed images.
pub(crate) const COMPRESSED_IMAGE: &str = "sensor_msgs/msg/CompressedImage";
/// Type of calibration.
pub(crate) const CAMERA_INFO: &str = "sensor_msgs/msg/CameraInfo";
/// Type of motion.
pub(crate) const IMU: &str = "sensor_msgs/msg/Imu";
/// Type of points.
pub(crate) const POINT_CLOUD: &str = "sensor_msgs/msg/PointCloud2";
/// Type of transforms.
pub(crate) const TRANSFORMS: &str = "tf2_msgs/msg/TFMessage";

/// The fields of each type, and the types of its fields.
const DEFINITIONS: [(&str, &str, &[&str]); 13] = [
    (
        IMAGE,
        "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\n\
         uint8[] data\n",
        &["std_msgs/msg/Header"],
    ),
    (COMPRESSED_IMAGE, "std_msgs/Header header\nstring format\nuint8[] data\n", &["std_msgs/msg/Header"]),
    (
        CAMERA_INFO,
        "std_msgs/Header header\nuint32 height\nuint32 width\nstring distortion_model\nfloat64[] d\nfloat64[9] k\n\
         float64[9] r\nfloat64[12] p\nuint32 binning_x\nuint32 binning_y\nRegionOfInterest roi\n",
        &["std_msgs/msg/Header", "sensor_msgs/msg/RegionOfInterest"],
    ),
    (
        IMU,
        "std_msgs/Header header\ngeometry_msgs/Quaternion orientation\nfloat64[9] orientation_covariance\n\
         geometry_msgs/Vector3 angular_velocity\nfloat64[9] angular_velocity_covariance\n\
         geometry_msgs/Vector3 linear_acceleration\nfloat64[9] linear_acceleration_covariance\n",
        &["std_msgs/msg/Header", "geometry_msgs/msg/Quaternion", "geometry_msgs/msg/Vector3"],
    ),
    (
        POINT_CLOUD,
        "std_msgs/Header header\nuint32 height\nuint32 width\nPointField[] fields\nbool is_bigendian\n\
         uint32 point_step\nuint32 row_step\nuint8[] data\nbool is_dense\n",
        &["std_msgs/msg/Header", "sensor_msgs/msg/PointField"],
    ),
    (
        TRANSFORMS,
        "geometry_msgs/TransformStamped[] transforms\n",
        &["geometry_msgs/msg/TransformStamped", "std_msgs/msg/Header"],
    ),
    (
        "geometry_msgs/msg/TransformStamped",
        "std_msgs/Header header\nstring child_frame_id\nTransform transform\n",
        &["geometry_msgs/msg/Transform"],
    ),
    (
        "geometry_msgs/msg/Transform",
        "Vector3 translation\nQuaternion rotation\n",
        &["geometry_msgs/msg/Vector3", "geometry_msgs/msg/Quaternion"],
    ),
    ("geometry_msgs/msg/Vector3", "float64 x\nfloat64 y\nfloat64 z\n", &[]),
    ("geometry_msgs/msg/Quaternion", "float64 x\nfloat64 y\nfloat64 z\nfloat64 w\n", &[]),
    (
        "sensor_msgs/msg/RegionOfInterest",
        "uint32 x_offset\nuint32 y_offset\nuint32 height\nuint32 width\nbool do_rectify\n",
        &[],
    ),
    ("sensor_msgs/msg/PointField", "string name\nuint32 offset\nuint8 datatype\nuint32 count\n", &[]),
    (
        "std_msgs/msg/Header",
        "builtin_interfaces/Time stamp\nstring frame_id\n",
        &["builtin_interfaces/msg/Time"],
    ),
];

/// The definition of a time, on which every header depends.
const TIME: (&str, &str) = ("builtin_interfaces/msg/Time", "int32 sec\nuint32 nanosec\n");

/// Returns the schema of a message type: its definition, followed by those of the types of its fields.
pub(crate) fn schema(name: &str) -> foxglove::Schema {
    let mut known = vec![name];
    let mut text = String::new();
    let mut next = 0;
    while let Some(&of) = known.get(next) {
        next += 1;
        let found = DEFINITIONS.iter().find(|(defined, ..)| *defined == of);
        let (fields, types) = found.map_or((TIME.1, [].as_slice()), |(_, fields, types)| (*fields, *types));
        if next > 1 {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}\nMSG: {}", "=".repeat(80), of.replace("/msg/", "/"));
        }
        text.push_str(fields);
        for &of in types {
            if !known.contains(&of) {
                known.push(of);
            }
        }
    }
    foxglove::Schema::new(name, SCHEMA_ENCODING, text.into_bytes())
}

/// The header of a message.
#[derive(Clone, Copy)]
pub(crate) struct Header<'a> {
    pub(crate) nanos: u64,
    pub(crate) frame_id: &'a str,
}

impl<'a> Header<'a> {
    fn read(reader: &mut CdrReader<'a>) -> Option<Self> {
        let (seconds, nanos) = (reader.i32()?, reader.u32()?);
        let seconds = u64::try_from(seconds).unwrap_or(0);
        Some(Self { nanos: seconds * 1_000_000_000 + u64::from(nanos), frame_id: reader.string()? })
    }

    fn write(&self, writer: &mut CdrWriter<'_>) {
        // 31 bits of seconds suffice until the year 2038.
        writer.i32(i32::try_from(self.nanos / 1_000_000_000).unwrap_or(i32::MAX));
        writer.u32((self.nanos % 1_000_000_000) as u32);
        writer.string(self.frame_id);
    }
}

/// Size and encoding of an image.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'a> {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// `16UC1` and so on.
    pub(crate) encoding: &'a str,
    /// Bytes from the start of one row to the start of the next.
    pub(crate) step: u32,
}

/// Appends an image, whose pixels `data` are in little endian.
pub(crate) fn image(header: &Header<'_>, rows: &Rows<'_>, data: &[u8], message: &mut Vec<u8>) {
    message.reserve(data.len() + header.frame_id.len() + rows.encoding.len() + 64);
    let mut writer = CdrWriter::new(message);
    header.write(&mut writer);
    writer.u32(rows.height);
    writer.u32(rows.width);
    writer.string(rows.encoding);
    writer.u8(0);
    writer.u32(rows.step);
    writer.data(data);
}

/// An image that was read.
pub(crate) struct ReadImage<'a> {
    pub(crate) header: Header<'a>,
    pub(crate) rows: Rows<'a>,
    pub(crate) is_bigendian: bool,
    pub(crate) data: &'a [u8],
}

/// Returns an image; `None` if the message is not one.
pub(crate) fn read_image(message: &[u8]) -> Option<ReadImage<'_>> {
    let mut reader = CdrReader::new(message)?;
    let header = Header::read(&mut reader)?;
    let (height, width) = (reader.u32()?, reader.u32()?);
    let encoding = reader.string()?;
    let is_bigendian = reader.u8()? != 0;
    let rows = Rows { width, height, encoding, step: reader.u32()? };
    Some(ReadImage { header, rows, is_bigendian, data: reader.data()? })
}

/// Returns the header, the format and the data of a compressed image; `None` if the message is not one.
pub(crate) fn read_compressed_image(message: &[u8]) -> Option<(Header<'_>, &str, &[u8])> {
    let mut reader = CdrReader::new(message)?;
    Some((Header::read(&mut reader)?, reader.string()?, reader.data()?))
}

/// A calibration that was read.
pub(crate) struct ReadCameraInfo<'a> {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) distortion_model: &'a str,
    pub(crate) coefficients: Vec<f64>,
    /// The matrix of the pinhole model, by rows.
    pub(crate) k: [f64; 9],
}

/// Returns a calibration; `None` if the message is not one.
pub(crate) fn read_camera_info(message: &[u8]) -> Option<ReadCameraInfo<'_>> {
    /// More than any model has.
    const MAX_COEFFICIENTS: u32 = 64;
    let mut reader = CdrReader::new(message)?;
    Header::read(&mut reader)?;
    let (height, width) = (reader.u32()?, reader.u32()?);
    let distortion_model = reader.string()?;
    let count = reader.u32().filter(|&count| count <= MAX_COEFFICIENTS)?;
    let coefficients = (0..count).map(|_| reader.f64s().map(|[number]| number)).collect::<Option<_>>()?;
    Some(ReadCameraInfo { width, height, distortion_model, coefficients, k: reader.f64s()? })
}

/// A sample of motion that was read; `None` for unknown values.
pub(crate) struct ReadImu<'a> {
    pub(crate) header: Header<'a>,
    pub(crate) angular_velocity: Option<[f64; 3]>,
    pub(crate) linear_acceleration: Option<[f64; 3]>,
}

/// Returns a sample of motion; `None` if the message is not one.
pub(crate) fn read_imu(message: &[u8]) -> Option<ReadImu<'_>> {
    let mut reader = CdrReader::new(message)?;
    let header = Header::read(&mut reader)?;
    let _orientation: ([f64; 4], [f64; 9]) = (reader.f64s()?, reader.f64s()?);
    let mut part = || {
        let (xyz, covariance): ([f64; 3], [f64; 9]) = (reader.f64s()?, reader.f64s()?);
        Some((covariance[0] >= 0.0).then_some(xyz))
    };
    Some(ReadImu { header, angular_velocity: part()?, linear_acceleration: part()? })
}

/// Returns transforms; `None` if the message has none.
pub(crate) fn read_transforms(message: &[u8]) -> Option<Vec<Transform>> {
    let mut reader = CdrReader::new(message)?;
    let count = reader.u32()?;
    let transform = |_| {
        let parent = Header::read(&mut reader)?.frame_id.to_owned();
        let child = reader.string()?.to_owned();
        Some(Transform { parent, child, translation: reader.f64s()?, rotation: reader.f64s()? })
    };
    (0..count).map(transform).collect()
}

/// Appends a compressed image.
pub(crate) fn compressed_image(header: &Header<'_>, format: &str, data: &[u8], message: &mut Vec<u8>) {
    message.reserve(data.len() + header.frame_id.len() + format.len() + 64);
    let mut writer = CdrWriter::new(message);
    header.write(&mut writer);
    writer.string(format);
    writer.data(data);
}

/// A pinhole model in the fields of ROS.
pub(crate) struct Pinhole {
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Horizontal and vertical focal length, in pixels.
    pub(crate) focal: [f64; 2],
    /// The principal point, in pixels.
    pub(crate) center: [f64; 2],
    /// Empty if ROS has no name for the model.
    pub(crate) distortion_model: &'static str,
    pub(crate) coefficients: Vec<f64>,
}

/// Appends a calibration.
pub(crate) fn camera_info(header: &Header<'_>, pinhole: &Pinhole, message: &mut Vec<u8>) {
    let ([fx, fy], [cx, cy]) = (pinhole.focal, pinhole.center);
    let mut writer = CdrWriter::new(message);
    header.write(&mut writer);
    writer.u32(pinhole.height);
    writer.u32(pinhole.width);
    writer.string(pinhole.distortion_model);
    writer.count(pinhole.coefficients.len());
    writer.f64s(&pinhole.coefficients);
    writer.f64s(&[fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]);
    writer.f64s(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]);
    writer.f64s(&[fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]);
    // Binning and region of interest: none.
    (0..6).for_each(|_| writer.u32(0));
    writer.u8(0);
}

/// Appends one sample of motion: either an acceleration in metres per second squared, or an angular velocity in radians
/// per second. The covariance of unknown values begins with -1, as ROS defines it.
pub(crate) fn imu(header: &Header<'_>, is_gyro: bool, xyz: [f64; 3], message: &mut Vec<u8>) {
    const UNKNOWN: [f64; 9] = [-1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    message.reserve(header.frame_id.len() + 360);
    let mut writer = CdrWriter::new(message);
    header.write(&mut writer);
    writer.f64s(&[0.0, 0.0, 0.0, 1.0]);
    writer.f64s(&UNKNOWN);
    for is_known in [is_gyro, !is_gyro] {
        writer.f64s(if is_known { &xyz } else { &[0.0; 3] });
        writer.f64s(if is_known { &[0.0; 9] } else { &UNKNOWN });
    }
}

/// Appends points of 16 bytes each: x, y and z as 32-bit floating point; blue, green, red and a byte without meaning.
pub(crate) fn point_cloud(header: &Header<'_>, data: &[u8], message: &mut Vec<u8>) {
    const POINT_BYTES: u32 = 16;
    const FLOAT32: u8 = 7;
    message.reserve(data.len() + header.frame_id.len() + 160);
    let points = (data.len() / POINT_BYTES as usize) as u32;
    let mut writer = CdrWriter::new(message);
    header.write(&mut writer);
    writer.u32(1);
    writer.u32(points);
    writer.count(4);
    for (name, offset) in [("x", 0), ("y", 4), ("z", 8), ("rgb", 12)] {
        writer.string(name);
        writer.u32(offset);
        writer.u8(FLOAT32);
        writer.u32(1);
    }
    writer.u8(0);
    writer.u32(POINT_BYTES);
    writer.u32(points.saturating_mul(POINT_BYTES));
    writer.data(data);
    writer.u8(1);
}

/// The position of a coordinate frame in another one.
pub(crate) struct Transform {
    pub(crate) parent: String,
    pub(crate) child: String,
    /// In metres.
    pub(crate) translation: [f64; 3],
    /// A quaternion: x, y, z, w.
    pub(crate) rotation: [f64; 4],
}

/// Appends transforms.
pub(crate) fn transforms(nanos: u64, transforms: &[Transform], message: &mut Vec<u8>) {
    let mut writer = CdrWriter::new(message);
    writer.count(transforms.len());
    for Transform { parent, child, translation, rotation } in transforms {
        Header { nanos, frame_id: parent }.write(&mut writer);
        writer.string(child);
        writer.f64s(translation);
        writer.f64s(rotation);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        let header = Header { nanos: 1_790_000_000_123_456_789, frame_id: "front/gyro" };
        let mut message = Vec::new();
        imu(&header, true, [1.0, -2.0, 0.5], &mut message);
        let read = read_imu(&message).unwrap();
        assert_eq!((read.header.nanos, read.header.frame_id), (header.nanos, header.frame_id));
        assert_eq!((read.angular_velocity, read.linear_acceleration), (Some([1.0, -2.0, 0.5]), None));

        let mut message = Vec::new();
        let pinhole = Pinhole {
            width: 640,
            height: 480,
            focal: [600.5, 601.5],
            center: [320.25, 240.75],
            distortion_model: "plumb_bob",
            coefficients: vec![0.1, 0.2, 0.3, 0.4, 0.5],
        };
        camera_info(&header, &pinhole, &mut message);
        let read = read_camera_info(&message).unwrap();
        assert_eq!((read.width, read.height, read.distortion_model), (640, 480, "plumb_bob"));
        assert_eq!(read.coefficients, pinhole.coefficients);
        assert_eq!(read.k.to_vec(), [600.5, 0.0, 320.25, 0.0, 601.5, 240.75, 0.0, 0.0, 1.0]);

        let mut message = Vec::new();
        let transform = Transform {
            parent: "a".to_owned(),
            child: "bc".to_owned(),
            translation: [1.0, 2.0, 3.0],
            rotation: [0.0, 0.0, 0.6, 0.8],
        };
        transforms(7, &[transform], &mut message);
        let read = read_transforms(&message).unwrap();
        let [Transform { parent, child, translation, rotation }] = &read[..] else { panic!("one") };
        assert_eq!((&parent[..], &child[..]), ("a", "bc"));
        assert_eq!((*translation, *rotation), ([1.0, 2.0, 3.0], [0.0, 0.0, 0.6, 0.8]));
        assert!(read_transforms(&message[..message.len() - 1]).is_none());

        let mut message = Vec::new();
        compressed_image(&header, "jpeg", &[1, 2, 3], &mut message);
        let (read, format, data) = read_compressed_image(&message).unwrap();
        assert_eq!((read.nanos, format, data), (header.nanos, "jpeg", &[1, 2, 3][..]));
    }

    #[test]
    fn a_definition_has_every_type_once() {
        for (name, types) in [(IMAGE, 3), (IMU, 5), (TRANSFORMS, 7), (POINT_CLOUD, 4), (CAMERA_INFO, 4)] {
            let schema = schema(name);
            let text = String::from_utf8(schema.data.to_vec()).unwrap();
            assert_eq!(text.matches("MSG: ").count() + 1, types, "{name}: {text}");
            assert_eq!(text.matches("MSG: builtin_interfaces/Time\nint32 sec").count(), 1, "{text}");
        }
    }
}
