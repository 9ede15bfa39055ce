//! The roles of topics, by their names and types: `/camera/front/depth/image_rect_raw` is depth of `front`.

use camrig::frame::Stream;

use crate::ros;

/// A topic of a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    /// The node: `/camera/front`; empty for `/tf_static`.
    pub(crate) node: String,
    pub(crate) role: TopicRole,
}

/// The role of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TopicRole {
    Image(Stream),
    /// A JPEG image.
    Compressed(Stream),
    Calibration(Stream),
    /// Samples of one stream.
    Motion(Stream),
    /// Samples of gyro and accel together.
    BothMotions,
    Transforms,
}

/// Returns the name of depth that was aligned to color; it is the depth of a camera that has no other.
pub(crate) fn aligned_depth() -> Stream {
    Stream::new("aligned-depth").unwrap_or(Stream::DEPTH)
}

impl Topic {
    /// Returns the role of a topic; `None` if it belongs to no camera, or its type does not suit its name.
    pub(crate) fn of(topic: &str, message_type: &str) -> Option<Self> {
        if topic == "/tf_static" || topic.ends_with("/tf_static") {
            let role = TopicRole::Transforms;
            return (message_type == ros::TRANSFORMS).then_some(Self { node: String::new(), role });
        }
        let (rest, last) = topic.trim_end_matches('/').rsplit_once('/')?;
        let (rest, is_compressed) = match last {
            "compressed" => (rest, true),
            _ => (topic, false),
        };
        let (rest, what) = rest.rsplit_once('/')?;
        if what == "imu" && message_type == ros::IMU {
            return Some(Self { node: rest.to_owned(), role: TopicRole::BothMotions });
        }
        let (node, kind) = rest.rsplit_once('/')?;
        let stream = stream_of(kind)?;
        let is_motion = matches!(stream, Stream::GYRO | Stream::ACCEL);
        let role = match (what, message_type) {
            ("camera_info", ros::CAMERA_INFO) => TopicRole::Calibration(stream),
            ("sample", ros::IMU) if is_motion => TopicRole::Motion(stream),
            (what, ros::IMAGE) if what.starts_with("image") => TopicRole::Image(stream),
            (what, ros::COMPRESSED_IMAGE) if what.starts_with("image") && is_compressed => {
                TopicRole::Compressed(stream)
            }
            _ => return None,
        };
        Some(Self { node: node.to_owned(), role })
    }

    /// Returns the name of a node as that of a camera: its last part.
    pub(crate) fn camera_of(node: &str) -> &str {
        let name = node.rsplit('/').next().unwrap_or_default();
        if name.is_empty() { "camera" } else { name }
    }
}

/// Returns the stream with this name in realsense-ros.
fn stream_of(kind: &str) -> Option<Stream> {
    match kind {
        "depth" => Some(Stream::DEPTH),
        "aligned_depth_to_color" => Some(aligned_depth()),
        "color" | "rgb" => Some(Stream::COLOR),
        "infra1" | "infra" => Some(Stream::INFRARED_1),
        "infra2" => Some(Stream::INFRARED_2),
        "confidence" => Some(Stream::CONFIDENCE),
        "gyro" => Some(Stream::GYRO),
        "accel" => Some(Stream::ACCEL),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_realsense_ros_have_roles() {
        let of = |topic, message_type| Topic::of(topic, message_type).map(|it| (it.node, it.role));
        let node = |node: &str, role| Some((node.to_owned(), role));
        for (topic, message_type, expected) in [
            (
                "/camera/front/depth/image_rect_raw",
                ros::IMAGE,
                node("/camera/front", TopicRole::Image(Stream::DEPTH)),
            ),
            ("/camera/depth/image_rect_raw", ros::IMAGE, node("/camera", TopicRole::Image(Stream::DEPTH))),
            (
                "/camera/front/color/image_raw/compressed",
                ros::COMPRESSED_IMAGE,
                node("/camera/front", TopicRole::Compressed(Stream::COLOR)),
            ),
            (
                "/a/b/infra2/camera_info",
                ros::CAMERA_INFO,
                node("/a/b", TopicRole::Calibration(Stream::INFRARED_2)),
            ),
            ("/a/b/gyro/sample", ros::IMU, node("/a/b", TopicRole::Motion(Stream::GYRO))),
            ("/a/b/imu", ros::IMU, node("/a/b", TopicRole::BothMotions)),
            ("/tf_static", ros::TRANSFORMS, node("", TopicRole::Transforms)),
            ("/tf_static", ros::IMAGE, None),
            ("/camera/front/depth/image_rect_raw", ros::IMU, None),
            ("/camera/front/depth/metadata", "realsense2_camera_msgs/msg/Metadata", None),
            ("/camera/front/depth/image_rect_raw/compressedDepth", ros::COMPRESSED_IMAGE, None),
            ("/rosout", "rcl_interfaces/msg/Log", None),
            ("", ros::IMAGE, None),
        ] {
            assert_eq!(of(topic, message_type), expected, "{topic}");
        }
        assert_eq!((Topic::camera_of("/camera/front"), Topic::camera_of("")), ("front", "camera"));
    }
}
