//! What a depth camera sees: streams, frames, framesets, calibration.
//!
//! This crate is the vocabulary of camrig and a good place to start reading. It holds plain data and
//! arithmetic only: it deliberately knows no actor, no file, no process, no shared memory and no
//! librealsense, and it contains no `unsafe`.
//!
//! * [`Stream`], [`Role`]: the open name of a stream, and what its frames are for
//! * [`Payload`], [`PixelFormat`]: what a frame holds: image, encoded image, points, motion, tensor or message
//! * [`StreamProfile`]: size and rate of a stream, written `640x480@30`
//! * [`FrameHeader`], [`FrameSetHeader`]: everything about a frame or frameset except its content
//! * [`Frame`], [`DepthView`], [`ColorView`], [`PointsView`], [`MotionView`], [`TensorView`], [`MessageView`]:
//!   checked access to a frame's content
//! * [`PointCloud`], [`Intrinsics`], [`Extrinsics`]: where in space pixels are
//! * [`CameraInfo`], [`StreamInfo`]: what stays the same from frameset to frameset: identity, calibration, streams
#![forbid(unsafe_code)]

mod camera;
mod format;
mod header;
mod layout;
mod metadata;
mod motion;
mod name;
mod payload;
mod points;
mod projection;
mod schema;
mod stream;
mod view;

pub use camera::{CameraInfo, Distortion, Extrinsics, Intrinsics, StreamInfo};
pub use format::{Codec, DType, Encoding, Format, JSON, MJPEG, PixelFormat, SchemaName};
pub use header::{Clock, FrameHeader, FrameSetHeader, MAX_ORIGIN_BYTES, Origin, Origins, Timestamp};
pub use layout::{FRAME_ALIGN_BYTES, Layout, LayoutError, MAX_FRAMESET_BYTES};
pub use metadata::{Metadata, MetadataKey};
pub use motion::{MOTION_SECONDS, MotionSample, MotionView};
pub use name::{Name, NameError};
pub use payload::{MAX_DIMENSIONS, POINT_BYTES, Payload, SAMPLE_BYTES, Shape};
pub use points::{Point, PointCloud, PointCloudError, PointsView};
pub use stream::{
    MAX_FRAMES_PER_SECOND, MAX_SIDE_PIXELS, ParseProfileError, Role, Stream, StreamError, StreamProfile,
};
pub use view::{ColorView, DepthView, Frame, FrameError, Memory, MessageView, TensorView};

/// The most frames that a frameset can hold. Headers are moved as a whole, so this is no larger than needed.
pub const MAX_FRAMES: usize = 10;

/// The most origins that a frameset can name: as many as a processor has inputs.
pub const MAX_ORIGINS: usize = 16;
