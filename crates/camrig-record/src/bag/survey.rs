//! The cameras of a bag, as the first message of each topic describes them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use camrig::frame::{
    CameraInfo, Distortion, Extrinsics, Format, Intrinsics, MAX_FRAMES_PER_SECOND, MJPEG, Payload,
    PixelFormat, Stream, StreamInfo, StreamProfile,
};
use camrig_image::jpeg_size;

use super::gather::Frame;
use super::topics::{Topic, TopicRole, aligned_depth};
use crate::ros;

/// Maximum number of coordinate frames from one to the root.
const MAX_DEPTH: usize = 64;

/// Maximum number of transforms that are kept.
const MAX_TRANSFORMS: usize = 10_000;

/// Returns the streams of images, in the order of their frames in a frameset: others are matched to the first.
fn images() -> [Stream; 6] {
    [
        Stream::DEPTH,
        aligned_depth(),
        Stream::COLOR,
        Stream::INFRARED_1,
        Stream::INFRARED_2,
        Stream::CONFIDENCE,
    ]
}

/// A topic of a bag, with the content of its first message.
struct Surveyed {
    name: String,
    message_type: String,
    /// `None` if it belongs to no camera.
    topic: Option<Topic>,
    messages: u64,
    first: Option<First>,
}

/// The part of the first message of a topic that describes its stream.
enum First {
    Image {
        payload: Payload,
        frame_id: String,
    },
    Calibration(Option<Intrinsics>),
    Motion {
        frame_id: String,
    },
    Transforms,
    /// It cannot be read, for this reason.
    Unreadable(String),
}

/// The topics of a bag.
pub(crate) struct Survey {
    topics: BTreeMap<u16, Surveyed>,
    /// By the child: its parent, and its position there.
    transforms: BTreeMap<String, (String, Extrinsics)>,
}

/// A camera of a bag.
#[derive(Clone)]
pub(crate) struct BagCamera {
    pub(crate) info: Arc<CameraInfo>,
    pub(crate) images: Vec<Stream>,
    pub(crate) motions: Vec<Stream>,
    /// The topics of frames, with the role of each.
    pub(crate) topics: BTreeMap<u16, TopicRole>,
    /// One line for each topic: the stream that it became, or the reason why it is left out.
    pub(crate) mapping: Vec<String>,
}

impl Survey {
    /// Begins with the topics, each with its number, name, type and number of messages.
    pub(crate) fn new<'a>(topics: impl Iterator<Item = (u16, &'a str, &'a str, u64)>) -> Self {
        let surveyed = |(id, name, of, messages): (u16, &str, &str, u64)| {
            let topic = Topic::of(name, of);
            let (name, message_type) = (name.escape_debug().to_string(), of.escape_debug().to_string());
            (id, Surveyed { name, message_type, topic, messages, first: None })
        };
        Self { topics: topics.map(surveyed).collect(), transforms: BTreeMap::new() }
    }

    /// Adds a message.
    pub(crate) fn add(&mut self, id: u16, message: &Bytes) {
        let Some(surveyed) = self.topics.get_mut(&id) else { return };
        let Some(Topic { role, .. }) = surveyed.topic else { return };
        if role == TopicRole::Transforms {
            surveyed.first = Some(First::Transforms);
            self.add_transforms(message);
        } else if surveyed.first.is_none() {
            surveyed.first = Some(first(role, message));
        }
    }

    /// Returns whether every topic of a camera has had a message, so that further messages add nothing.
    pub(crate) fn is_complete(&self) -> bool {
        let mut of_cameras = self.topics.values().filter(|it| it.topic.is_some() && it.messages > 0);
        of_cameras.all(|it| it.first.is_some())
    }

    fn add_transforms(&mut self, message: &[u8]) {
        for ros::Transform { parent, child, translation, rotation } in
            ros::read_transforms(message).unwrap_or_default()
        {
            if self.transforms.len() < MAX_TRANSFORMS {
                let pose = Extrinsics::from_quaternion(rotation, translation);
                self.transforms.insert(child, (parent, pose));
            }
        }
    }

    /// Returns the position of a coordinate frame in the root of its tree, and the root.
    fn pose<'a>(&'a self, frame: &'a str) -> (&'a str, Extrinsics) {
        let (mut root, mut pose) = (frame, Extrinsics::IDENTITY);
        for _ in 0..MAX_DEPTH {
            let Some((parent, step)) = self.transforms.get(root) else { break };
            pose = step.after(&pose);
            root = parent;
        }
        (root, pose)
    }

    /// Returns the position of a coordinate frame in another one; `None` if they are not of one tree.
    fn between(&self, frame: &str, other: &str) -> Option<Extrinsics> {
        if frame == other {
            return Some(Extrinsics::IDENTITY);
        }
        let ((root, pose), (other_root, other_pose)) = (self.pose(frame), self.pose(other));
        (root == other_root).then(|| other_pose.inverse().after(&pose))
    }

    /// Returns the cameras, and the topics that belong to none. The bag lasts `seconds`.
    pub(crate) fn cameras(&self, seconds: f64) -> (Vec<BagCamera>, Vec<String>) {
        let mut nodes: BTreeMap<&str, Vec<(u16, &Surveyed)>> = BTreeMap::new();
        let mut left_out = Vec::new();
        for (&id, it) in &self.topics {
            match &it.topic {
                Some(topic) if topic.role == TopicRole::Transforms => {}
                Some(topic) => nodes.entry(&topic.node).or_default().push((id, it)),
                None => left_out.push(format!("left out: {} ({})", it.name, it.message_type)),
            }
        }
        let mut cameras: Vec<BagCamera> = Vec::new();
        for (node, topics) in nodes {
            let short = Topic::camera_of(node).to_owned();
            let is_taken = cameras.iter().any(|camera| camera.info.name == short);
            let name = if is_taken { node.trim_matches('/').replace('/', "-") } else { short };
            match self.camera(&name, &topics, seconds) {
                Ok(camera) => cameras.push(camera),
                Err(reason) => left_out.push(format!("left out: {node}: {reason}")),
            }
        }
        (cameras, left_out)
    }

    fn camera(&self, name: &str, topics: &[(u16, &Surveyed)], seconds: f64) -> Result<BagCamera, String> {
        let role = |it: &Surveyed| it.topic.as_ref().map(|topic| topic.role);
        let of_role = |wanted: TopicRole| topics.iter().find(|(_, it)| role(it) == Some(wanted)).copied();
        let frame_id = |stream: Stream| {
            let found = of_role(TopicRole::Image(stream)).or_else(|| of_role(TopicRole::Compressed(stream)));
            match &found?.1.first {
                Some(First::Image { frame_id, .. }) => Some(frame_id.as_str()),
                _ => None,
            }
        };
        let has_depth = of_role(TopicRole::Image(Stream::DEPTH)).is_some();
        let origin = if has_depth { frame_id(Stream::DEPTH) } else { frame_id(aligned_depth()) };
        let origin = origin.or_else(|| images().into_iter().find_map(frame_id));
        let rate = |messages: u64| {
            let rate = (messages.saturating_sub(1) as f64 / seconds.max(1e-3)).round();
            (rate as u32).clamp(1, MAX_FRAMES_PER_SECOND)
        };
        let mut camera = BagCamera {
            info: Arc::default(),
            images: Vec::new(),
            motions: Vec::new(),
            topics: BTreeMap::new(),
            mapping: Vec::new(),
        };
        let mut streams = Vec::new();
        for kind in images() {
            // Raw pixels take precedence over the same image as JPEG.
            let found = [TopicRole::Image(kind), TopicRole::Compressed(kind)].map(of_role);
            for (index, (id, it)) in found.into_iter().flatten().enumerate() {
                let (payload, own_frame) = match &it.first {
                    Some(First::Image { payload, frame_id }) if index == 0 => (*payload, frame_id.as_str()),
                    Some(First::Unreadable(reason)) => {
                        camera.mapping.push(format!("left out: {}: {reason}", it.name));
                        continue;
                    }
                    Some(_) => {
                        camera.mapping.push(format!("left out: {}, which is {kind} again", it.name));
                        continue;
                    }
                    None => continue,
                };
                let stream = if kind == aligned_depth() && !has_depth { Stream::DEPTH } else { kind };
                let size = payload.size().unwrap_or_default();
                if StreamProfile::new(size.0, size.1, 1).is_err() {
                    camera
                        .mapping
                        .push(format!("left out: {}: it has {} x {} pixels", it.name, size.0, size.1));
                    continue;
                }
                let lens = match of_role(TopicRole::Calibration(kind)).map(|(_, it)| &it.first) {
                    Some(Some(First::Calibration(lens))) => *lens,
                    _ => None,
                };
                streams.push(StreamInfo {
                    intrinsics: lens.filter(|lens| (lens.width, lens.height) == size),
                    to_depth: origin.and_then(|origin| self.between(own_frame, origin)),
                    ..StreamInfo::new(stream, largest(payload), rate(it.messages))
                });
                camera.mapping.push(format!("{} is {stream}, {payload}", it.name));
                camera.images.push(stream);
                let role = match role(it) {
                    Some(TopicRole::Compressed(_)) => TopicRole::Compressed(stream),
                    _ => TopicRole::Image(stream),
                };
                camera.topics.insert(id, role);
            }
        }
        for stream in [Stream::ACCEL, Stream::GYRO] {
            let found = of_role(TopicRole::Motion(stream)).or_else(|| of_role(TopicRole::BothMotions));
            let Some((id, it)) = found else { continue };
            let Some(First::Motion { frame_id }) = &it.first else { continue };
            streams.push(StreamInfo {
                to_depth: origin.and_then(|origin| self.between(frame_id, origin)),
                ..StreamInfo::motion(stream, rate(it.messages))
            });
            camera.mapping.push(format!("{} is {stream}", it.name));
            camera.motions.push(stream);
            if let Some(role) = role(it) {
                camera.topics.insert(id, role);
            }
        }
        if camera.images.is_empty() {
            return Err("it has no images that can be read".to_owned());
        }
        camera.info = Arc::new(CameraInfo {
            name: name.to_owned(),
            driver: "realsense-ros".to_owned(),
            streams,
            ..CameraInfo::default()
        });
        Ok(camera)
    }
}

/// Returns the largest frame of a stream whose first one is given: images in JPEG have any size.
fn largest(payload: Payload) -> Payload {
    let size = payload.size().filter(|_| matches!(payload, Payload::Encoded { .. }));
    size.and_then(|(width, height)| payload.format().payload(width, height)).unwrap_or(payload)
}

/// Returns the description in the first message of a topic.
fn first(role: TopicRole, message: &Bytes) -> First {
    let first = match role {
        TopicRole::Image(stream) | TopicRole::Compressed(stream) => frame_of(role, stream, message, 0)
            .map(|(frame, frame_id)| First::Image { payload: frame.payload, frame_id }),
        TopicRole::Calibration(_) => {
            let read = ros::read_camera_info(message);
            read.map(|read| First::Calibration(intrinsics(&read)))
                .ok_or_else(|| "it is not a calibration".to_owned())
        }
        TopicRole::Motion(_) | TopicRole::BothMotions => {
            let read = ros::read_imu(message);
            read.map(|read| First::Motion { frame_id: read.header.frame_id.to_owned() })
                .ok_or_else(|| "it is not a sample of motion".to_owned())
        }
        TopicRole::Transforms => Ok(First::Transforms),
    };
    first.unwrap_or_else(First::Unreadable)
}

/// Returns the frame of a message, and its coordinate frame.
///
/// # Errors
/// The reason why it is not one of these streams.
pub(crate) fn frame_of(
    role: TopicRole,
    stream: Stream,
    message: &Bytes,
    log_time: u64,
) -> Result<(Frame, String), String> {
    if let TopicRole::Compressed(_) = role {
        let read = ros::read_compressed_image(message).ok_or("it is not a compressed image")?;
        let (header, _, data) = read;
        let (width, height) = jpeg_size(data).ok_or("it is not JPEG")?;
        let payload = Format::Encoded(MJPEG).payload(width, height);
        let payload = match payload {
            Some(Payload::Encoded { codec, width, height, .. }) => {
                Payload::Encoded { codec, width, height, size_bytes: data.len() as u32 }
            }
            _ => return Err("it is not JPEG".to_owned()),
        };
        let frame = Frame { stream, nanos: header.nanos, log_time, payload, data: message.slice_ref(data) };
        return Ok((frame, header.frame_id.to_owned()));
    }
    let image = ros::read_image(message).ok_or("it is not an image")?;
    let ros::Rows { width, height, encoding, step } = image.rows;
    let is_depth = stream == Stream::DEPTH || stream == aligned_depth();
    let format = pixel_format(encoding, is_depth)
        .ok_or_else(|| format!("its encoding `{}` is not known", encoding.escape_debug()))?;
    if image.is_bigendian && format.element().size_bytes() > 1 {
        return Err("its numbers are in big endian".to_owned());
    }
    let payload = Payload::Image { format, width, height, stride_bytes: step };
    let is_whole =
        payload.row_bytes().is_some_and(|row| row <= step) && payload.size_bytes() == image.data.len() as u64;
    if !is_whole {
        return Err("its data have another size than its rows".to_owned());
    }
    let data = message.slice_ref(image.data);
    let frame_id = image.header.frame_id.to_owned();
    Ok((Frame { stream, nanos: image.header.nanos, log_time, payload, data }, frame_id))
}

/// Returns the format with this name in ROS.
fn pixel_format(encoding: &str, is_depth: bool) -> Option<PixelFormat> {
    match encoding {
        "16UC1" | "mono16" if is_depth => Some(PixelFormat::Z16),
        "32FC1" if is_depth => Some(PixelFormat::Distance),
        _ if is_depth => None,
        "8UC1" => Some(PixelFormat::Y8),
        "16UC1" => Some(PixelFormat::Y16),
        "yuv422_yuy2" => Some(PixelFormat::Yuyv),
        "yuv422" => Some(PixelFormat::Uyvy),
        name => PixelFormat::ALL.into_iter().find(|format| format.is_light() && format.ros_name() == name),
    }
}

/// Returns a calibration; `None` if camrig has no such model.
fn intrinsics(read: &ros::ReadCameraInfo<'_>) -> Option<Intrinsics> {
    let is_rectilinear = read.coefficients.iter().all(|&coefficient| coefficient == 0.0);
    let distortion = match read.distortion_model {
        _ if is_rectilinear => Distortion::None,
        "plumb_bob" if read.coefficients.len() <= 5 => Distortion::BrownConrady,
        "equidistant" if read.coefficients.len() <= 4 => Distortion::KannalaBrandt4,
        _ => return None,
    };
    let mut coefficients = [0.0; 5];
    for (own, &found) in coefficients.iter_mut().zip(&read.coefficients) {
        *own = found as f32;
    }
    let [fx, _, ppx, _, fy, ppy, ..] = read.k.map(|number| number as f32);
    let (width, height) = (read.width, read.height);
    // ROS calls a camera uncalibrated whose first number is 0.
    (fx != 0.0).then_some(Intrinsics { width, height, ppx, ppy, fx, fy, distortion, coefficients })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_found_through_the_tree() {
        let mut survey = Survey::new([(1, "/tf_static", ros::TRANSFORMS, 1)].into_iter());
        let optical = [-0.5, 0.5, -0.5, 0.5];
        let level = [0.0, 0.0, 0.0, 1.0];
        let transform = |parent: &str, child: &str, translation, rotation| ros::Transform {
            parent: parent.to_owned(),
            child: child.to_owned(),
            translation,
            rotation,
        };
        let transforms = [
            transform("link", "depth_frame", [0.0; 3], level),
            transform("depth_frame", "depth_optical", [0.0; 3], optical),
            transform("link", "color_frame", [0.0, -0.015, 0.0], level),
            transform("color_frame", "color_optical", [0.0; 3], optical),
            // A cycle, and another tree.
            transform("b", "a", [0.0; 3], level),
            transform("a", "b", [0.0; 3], level),
        ];
        let mut message = Vec::new();
        ros::transforms(0, &transforms, &mut message);
        survey.add(1, &message.into());
        let found = survey.between("color_optical", "depth_optical").unwrap();
        // To the right in the axes of a body is +x of an optical frame.
        for (found, expected) in found.translation_meters.into_iter().zip([0.015, 0.0, 0.0]) {
            assert!((found - expected).abs() < 1e-6, "{found}");
        }
        for (found, expected) in found.rotation.into_iter().zip(Extrinsics::IDENTITY.rotation) {
            assert!((found - expected).abs() < 1e-6, "{found}");
        }
        assert_eq!(survey.between("x", "x"), Some(Extrinsics::IDENTITY));
        assert_eq!(survey.between("color_optical", "a"), None);
    }
}
