//! What a depth camera sees: streams, frames, framesets, calibration.
//!
//! This crate is the vocabulary of camrig and a good place to start reading. It holds plain data and
//! arithmetic only: it deliberately knows no actor, no file, no process, no shared memory and no
//! librealsense, and it contains no `unsafe`.
//!
//! * [`StreamProfile`]: which image, in which format, size and rate, written `640x480@30`
//! * [`FrameHeader`], [`FrameSetHeader`]: what is known of a frame or frameset beside its pixels
//! * [`Frame`], [`DepthView`], [`ColorView`], [`PointsView`]: pixels with their meaning
//! * [`MotionView`], [`MotionSample`]: what moved between two framesets
//! * [`PointCloud`], [`Intrinsics`], [`Extrinsics`]: where in space pixels are
//! * [`CameraInfo`]: what stays the same from frameset to frameset: identity, calibration, depth unit
#![forbid(unsafe_code)]

mod camera;
mod header;
mod layout;
mod metadata;
mod motion;
mod points;
mod projection;
mod stream;
mod view;

pub use camera::{CameraInfo, Distortion, Extrinsics, Intrinsics, StreamInfo};
pub use header::{Clock, FrameHeader, FrameSetHeader, Timestamp};
pub use layout::{FRAME_ALIGN_BYTES, Layout, LayoutError, MAX_FRAMESET_BYTES};
pub use metadata::{Metadata, MetadataKey};
pub use motion::{MOTION_SECONDS, MotionSample, MotionView};
pub use points::{Point, PointCloud, PointCloudError, PointsView};
pub use stream::{
    MAX_FRAMES_PER_SECOND, MAX_SIDE_PIXELS, ParseProfileError, PixelFormat, Stream, StreamProfile,
};
pub use view::{ColorView, DepthView, Frame};

/// The most frames a frameset can hold: one of each [`Stream`].
pub const MAX_FRAMES: usize = Stream::ALL.len();
