//! The data model of camrig: streams, frames, framesets, calibration.
//!
//! A good place to start reading. This crate contains only plain data and arithmetic: it has no knowledge of actors,
//! files, processes, shared memory or librealsense, and contains no `unsafe`.
//!
//! * [`Stream`], [`Role`]: the name of a stream, which is freely chosen, and the role of its frames
//! * [`Payload`], [`PixelFormat`]: the content of a frame: image, encoded image, points, motion, tensor or message
//! * [`StreamProfile`]: size and rate of a stream, written `640x480@30`
//! * [`FrameHeader`], [`FrameSetHeader`]: everything about a frame or frameset except its content
//! * [`Frame`], [`DepthView`], [`ColorView`], [`PointsView`], [`MotionView`], [`TensorView`], [`MessageView`]:
//!   checked access to a frame's content
//! * [`PointCloud`], [`Intrinsics`], [`Extrinsics`]: conversion between pixels and 3D points
//! * [`CameraInfo`], [`StreamInfo`], [`CameraPose`]: static properties of a camera: identity, calibration, streams, pose
#![forbid(unsafe_code)]

mod align;
mod calibration;
mod camera;
mod cloud;
mod control;
mod device;
mod format;
mod header;
mod layout;
mod metadata;
mod motion;
mod name;
mod payload;
mod points;
mod pose;
mod projection;
mod schema;
mod stream;
mod sum;
mod view;
mod yuv422;

pub use align::AlignDepth;
pub use calibration::{CALIBRATION_VERSION, CalibrationError, check_calibration};
pub use camera::{CameraInfo, Distortion, Extrinsics, Intrinsics, StreamInfo};
pub use cloud::{PointCloud, PointCloudError, check_declared_size};
pub use control::{Control, ControlRange, ControlValue};
pub use device::{Device, DeviceProfile};
pub use format::{
    Codec, DType, Encoding, Format, JSON, MJPEG, POINT_BYTES, PixelFormat, SAMPLE_BYTES, SchemaName,
};
pub use header::{Clock, FrameHeader, FrameSetHeader, MAX_ORIGIN_BYTES, Origin, Origins, Timestamp};
pub use layout::{FRAME_ALIGN_BYTES, Layout, LayoutError, MAX_FRAMESET_BYTES};
pub use metadata::{Metadata, MetadataKey};
pub use motion::{MotionSample, MotionView};
pub use name::{NAME_BYTES_MAX, Name, NameError, is_name, one_line};
pub use payload::{MAX_DIMENSIONS, Payload, Shape};
pub use points::{DensePoints, Point, PointsView};
pub use pose::CameraPose;
pub use stream::{
    MAX_FRAMES_PER_SECOND, MAX_SIDE_PIXELS, MOTION_SECONDS, ParseProfileError, Role, Stream, StreamError,
    StreamProfile,
};
pub use view::{ColorView, DepthView, Frame, FrameError, Memory, MessageView, TensorView};

/// Maximum number of frames in a frameset. Headers are moved as a whole, so this is no larger than needed.
pub const MAX_FRAMES: usize = 10;

/// Maximum number of origins of a frameset, which is the maximum number of a processor's inputs.
pub const MAX_ORIGINS: usize = 64;
