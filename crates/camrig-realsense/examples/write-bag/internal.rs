//! Declarations that realsense-sys lacks: software devices, from librealsense 2.56.5's `rs_internal.h`; and checked calls
//! for programs without a camera.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{self, NonNull};

use realsense_sys as rs2;

/// Returns the value of a call. Panics on an error of librealsense.
pub(crate) fn checked<T>(call: impl FnOnce(*mut *mut rs2::rs2_error) -> T) -> T {
    let mut error = ptr::null_mut();
    let value = call(&raw mut error);
    if let Some(error) = NonNull::new(error) {
        // SAFETY: librealsense set it, so it has a message.
        let message = unsafe { CStr::from_ptr(rs2::rs2_get_error_message(error.as_ptr())) };
        panic!("librealsense: {}", message.to_string_lossy());
    }
    value
}

/// Returns the object that a call created.
pub(crate) fn some<T>(pointer: *mut T) -> NonNull<T> {
    NonNull::new(pointer).expect("librealsense gave an object")
}

/// `rs2_video_stream`.
#[repr(C)]
pub(crate) struct VideoStream {
    pub(crate) stream: rs2::rs2_stream,
    pub(crate) index: c_int,
    pub(crate) uid: c_int,
    pub(crate) width: c_int,
    pub(crate) height: c_int,
    pub(crate) frames_per_second: c_int,
    pub(crate) bytes_per_pixel: c_int,
    pub(crate) format: rs2::rs2_format,
    pub(crate) intrinsics: rs2::rs2_intrinsics,
}

/// `rs2_software_video_frame`.
#[repr(C)]
pub(crate) struct VideoFrame {
    pub(crate) pixels: *mut c_void,
    pub(crate) deleter: extern "C" fn(*mut c_void),
    pub(crate) stride: c_int,
    pub(crate) bytes_per_pixel: c_int,
    pub(crate) timestamp_millis: f64,
    pub(crate) domain: rs2::rs2_timestamp_domain,
    pub(crate) number: c_int,
    pub(crate) profile: *const rs2::rs2_stream_profile,
    pub(crate) depth_unit_meters: f32,
}

/// `rs2_motion_stream`.
#[repr(C)]
pub(crate) struct MotionStream {
    pub(crate) stream: rs2::rs2_stream,
    pub(crate) index: c_int,
    pub(crate) uid: c_int,
    pub(crate) rate: c_int,
    pub(crate) format: rs2::rs2_format,
    pub(crate) intrinsics: rs2::rs2_motion_device_intrinsic,
}

/// `rs2_software_motion_frame`.
#[repr(C)]
pub(crate) struct MotionFrame {
    pub(crate) data: *mut c_void,
    pub(crate) deleter: extern "C" fn(*mut c_void),
    pub(crate) timestamp_millis: f64,
    pub(crate) domain: rs2::rs2_timestamp_domain,
    pub(crate) number: c_int,
    pub(crate) profile: *const rs2::rs2_stream_profile,
}

/// `rs2_software_notification`.
#[repr(C)]
pub(crate) struct Notification {
    pub(crate) category: rs2::rs2_notification_category,
    pub(crate) kind: c_int,
    pub(crate) severity: rs2::rs2_log_severity,
    pub(crate) description: *const c_char,
    pub(crate) serialized_data: *const c_char,
}

// As in librealsense 2.56.5's rs_internal.h.
unsafe extern "C" {
    pub(crate) fn rs2_create_software_device(error: *mut *mut rs2::rs2_error) -> *mut rs2::rs2_device;
    pub(crate) fn rs2_software_device_add_sensor(
        device: *mut rs2::rs2_device,
        name: *const c_char,
        error: *mut *mut rs2::rs2_error,
    ) -> *mut rs2::rs2_sensor;
    pub(crate) fn rs2_software_device_register_info(
        device: *mut rs2::rs2_device,
        info: rs2::rs2_camera_info,
        text: *const c_char,
        error: *mut *mut rs2::rs2_error,
    );
    pub(crate) fn rs2_software_sensor_add_video_stream(
        sensor: *mut rs2::rs2_sensor,
        stream: VideoStream,
        error: *mut *mut rs2::rs2_error,
    ) -> *mut rs2::rs2_stream_profile;
    pub(crate) fn rs2_software_sensor_add_read_only_option(
        sensor: *mut rs2::rs2_sensor,
        option: rs2::rs2_option,
        value: f32,
        error: *mut *mut rs2::rs2_error,
    );
    pub(crate) fn rs2_software_sensor_add_option(
        sensor: *mut rs2::rs2_sensor,
        option: rs2::rs2_option,
        min: f32,
        max: f32,
        step: f32,
        default: f32,
        is_writable: c_int,
        error: *mut *mut rs2::rs2_error,
    );
    pub(crate) fn rs2_software_sensor_set_metadata(
        sensor: *mut rs2::rs2_sensor,
        key: rs2::rs2_frame_metadata_value,
        value: rs2::rs2_metadata_type,
        error: *mut *mut rs2::rs2_error,
    );
    pub(crate) fn rs2_software_sensor_add_motion_stream(
        sensor: *mut rs2::rs2_sensor,
        stream: MotionStream,
        error: *mut *mut rs2::rs2_error,
    ) -> *mut rs2::rs2_stream_profile;
    pub(crate) fn rs2_software_sensor_on_motion_frame(
        sensor: *mut rs2::rs2_sensor,
        frame: MotionFrame,
        error: *mut *mut rs2::rs2_error,
    );
    pub(crate) fn rs2_software_sensor_on_video_frame(
        sensor: *mut rs2::rs2_sensor,
        frame: VideoFrame,
        error: *mut *mut rs2::rs2_error,
    );
    pub(crate) fn rs2_software_sensor_on_notification(
        sensor: *mut rs2::rs2_sensor,
        notification: Notification,
        error: *mut *mut rs2::rs2_error,
    );
}
