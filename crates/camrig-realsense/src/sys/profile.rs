//! Profiles of streams, as librealsense describes them.

use std::ptr::NonNull;

use realsense_sys as rs2;

use super::{Fault, call};

/// A stream of a sensor or of a file, in librealsense's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProfileData {
    pub(crate) stream: rs2::rs2_stream,
    pub(crate) index: i32,
    pub(crate) format: rs2::rs2_format,
    pub(crate) width: i32,
    pub(crate) height: i32,
    pub(crate) frames_per_second: i32,
}

/// librealsense's number and index of a stream.
pub(crate) type StreamKey = (rs2::rs2_stream, i32);

impl ProfileData {
    /// Returns number and index of the stream.
    pub(crate) fn key(&self) -> StreamKey {
        (self.stream, self.index)
    }
}

/// Describes a profile. Those that are not of images have no size.
pub(super) fn described(profile: NonNull<rs2::rs2_stream_profile>) -> Option<ProfileData> {
    // SAFETY: the caller's list keeps the profile alive.
    let data = unsafe { profile_data(profile) }.ok()?;
    if is_motion(data.stream) {
        return Some(data);
    }
    let (mut width, mut height) = (0, 0);
    // SAFETY: as above, and each pointer is that of a variable of its type. For a profile without images the call fails, and
    // leaves both at zero.
    let _ = call(|error| unsafe {
        rs2::rs2_get_video_stream_resolution(profile.as_ptr(), &raw mut width, &raw mut height, error);
    });
    Some(ProfileData { width, height, ..data })
}

/// Describes any profile, without its size.
///
/// # Safety
/// The profile is alive.
pub(super) unsafe fn profile_data(profile: NonNull<rs2::rs2_stream_profile>) -> Result<ProfileData, Fault> {
    let profile = profile.as_ptr();
    let (mut stream, mut format, mut index, mut unique_id, mut frames_per_second) = (0, 0, 0, 0, 0);
    // SAFETY: the profile is alive, and each pointer is that of a variable of its type.
    call(|error| unsafe {
        rs2::rs2_get_stream_profile_data(
            profile,
            &raw mut stream,
            &raw mut format,
            &raw mut index,
            &raw mut unique_id,
            &raw mut frames_per_second,
            error,
        );
    })?;
    Ok(ProfileData { stream, index, format, width: 0, height: 0, frames_per_second })
}

/// Returns whether a stream is one of motion.
pub(super) fn is_motion(stream: rs2::rs2_stream) -> bool {
    matches!(stream, rs2::rs2_stream_RS2_STREAM_ACCEL | rs2::rs2_stream_RS2_STREAM_GYRO)
}
