//! librealsense's own point cloud of given images: two software sensors, and its processing block.
//!
//! It does not depend on camrig's arithmetic. All of these tests' `unsafe` is here; an error of librealsense is a panic.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_int, c_void};
use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use realsense_sys as rs2;

#[allow(dead_code, reason = "these software devices say nothing of themselves")]
#[path = "../../examples/write-bag/internal.rs"]
mod internal;

use internal::{
    VideoFrame, VideoStream, checked, rs2_create_software_device, rs2_software_device_add_sensor,
    rs2_software_sensor_add_read_only_option, rs2_software_sensor_add_video_stream,
    rs2_software_sensor_on_video_frame, some,
};

/// Extrinsics are registered by one test at a time: librealsense keeps those of all cameras in a list without a lock.
static REGISTERING: Mutex<()> = Mutex::new(());

/// A stream and its image.
pub(crate) struct Eye {
    pub(crate) intrinsics: rs2::rs2_intrinsics,
    /// Two bytes per pixel for depth, three for color.
    pub(crate) pixels: Vec<u8>,
}

/// The points, one per pixel of the depth image.
pub(crate) struct Points {
    /// In metres.
    pub(crate) vertices: Vec<[f32; 3]>,
    /// Columns and rows of the color image, as fractions of its width and height.
    pub(crate) texture: Vec<[f32; 2]>,
}

/// Returns the point cloud of a Z16 and an RGB8 image.
pub(crate) fn points(
    depth: &Eye,
    color: &Eye,
    color_to_depth: rs2::rs2_extrinsics,
    depth_unit_meters: f32,
) -> Points {
    // SAFETY: every object is made here, used while it is alive, and deleted once, after the objects made from it; pixels
    // outlive the frames that refer to them; the points are copied before their frame is released.
    unsafe {
        let device = some(checked(|error| rs2_create_software_device(error)));
        let sensor = |name: &CStr| {
            some(checked(|error| rs2_software_device_add_sensor(device.as_ptr(), name.as_ptr(), error)))
        };
        let (stereo, rgb) = (sensor(c"Stereo Module"), sensor(c"RGB Camera"));
        checked(|error| {
            let option = rs2::rs2_option_RS2_OPTION_DEPTH_UNITS;
            rs2_software_sensor_add_read_only_option(stereo.as_ptr(), option, depth_unit_meters, error);
        });
        let z16 = (rs2::rs2_stream_RS2_STREAM_DEPTH, rs2::rs2_format_RS2_FORMAT_Z16, 2);
        let rgb8 = (rs2::rs2_stream_RS2_STREAM_COLOR, rs2::rs2_format_RS2_FORMAT_RGB8, 3);
        let depth_profile = add_stream(stereo, depth, z16);
        let color_profile = add_stream(rgb, color, rgb8);
        let turn = REGISTERING.lock().unwrap_or_else(PoisonError::into_inner);
        checked(|error| {
            let (color, depth) = (color_profile.as_ptr(), depth_profile.as_ptr());
            rs2::rs2_register_extrinsics(color, depth, color_to_depth, error);
        });
        drop(turn);

        let block = some(checked(|error| rs2::rs2_create_pointcloud(error)));
        let made = some(checked(|error| rs2::rs2_create_frame_queue(2, error)));
        checked(|error| rs2::rs2_start_processing_queue(block.as_ptr(), made.as_ptr(), error));
        for (option, value) in [
            (rs2::rs2_option_RS2_OPTION_STREAM_FILTER, rgb8.0),
            (rs2::rs2_option_RS2_OPTION_STREAM_FORMAT_FILTER, rgb8.1),
            (rs2::rs2_option_RS2_OPTION_STREAM_INDEX_FILTER, 0),
        ] {
            let options = block.as_ptr().cast::<rs2::rs2_options>();
            checked(|error| rs2::rs2_set_option(options, option, value as f32, error));
        }
        for frame in [
            send(rgb, color_profile, color, rgb8.2, depth_unit_meters),
            send(stereo, depth_profile, depth, z16.2, depth_unit_meters),
        ] {
            checked(|error| rs2::rs2_process_frame(block.as_ptr(), frame.as_ptr(), error));
        }
        let points = loop {
            let frame = some(checked(|error| rs2::rs2_wait_for_frame(made.as_ptr(), 5000, error)));
            let kind = rs2::rs2_extension_RS2_EXTENSION_POINTS;
            if checked(|error| rs2::rs2_is_frame_extendable_to(frame.as_ptr(), kind, error)) != 0 {
                break take_points(frame);
            }
            // The forwarded color image.
            rs2::rs2_release_frame(frame.as_ptr());
        };
        rs2::rs2_delete_frame_queue(made.as_ptr());
        rs2::rs2_delete_processing_block(block.as_ptr());
        for sensor in [stereo, rgb] {
            checked(|error| rs2::rs2_stop(sensor.as_ptr(), error));
            checked(|error| rs2::rs2_close(sensor.as_ptr(), error));
            rs2::rs2_delete_sensor(sensor.as_ptr());
        }
        rs2::rs2_delete_device(device.as_ptr());
        points
    }
}

/// Calls `rs2_deproject_pixel_to_point`.
pub(crate) fn deproject(intrinsics: &rs2::rs2_intrinsics, pixel: [f32; 2], depth_meters: f32) -> [f32; 3] {
    let mut point = [0.0; 3];
    // SAFETY: three floats are written, two are read.
    unsafe {
        rs2::rs2_deproject_pixel_to_point(point.as_mut_ptr(), intrinsics, pixel.as_ptr(), depth_meters);
    }
    point
}

/// Calls `rs2_project_point_to_pixel`.
pub(crate) fn project(intrinsics: &rs2::rs2_intrinsics, point: [f32; 3]) -> [f32; 2] {
    let mut pixel = [0.0; 2];
    // SAFETY: two floats are written, three are read.
    unsafe { rs2::rs2_project_point_to_pixel(pixel.as_mut_ptr(), intrinsics, point.as_ptr()) }
    pixel
}

/// Adds the only stream of a sensor.
///
/// # Safety
/// The sensor is alive.
unsafe fn add_stream(
    sensor: NonNull<rs2::rs2_sensor>,
    eye: &Eye,
    (stream, format, bytes_per_pixel): (rs2::rs2_stream, rs2::rs2_format, c_int),
) -> NonNull<rs2::rs2_stream_profile> {
    let video = VideoStream {
        stream,
        index: 0,
        uid: stream as c_int,
        width: eye.intrinsics.width,
        height: eye.intrinsics.height,
        frames_per_second: 30,
        bytes_per_pixel,
        format,
        intrinsics: eye.intrinsics,
    };
    // SAFETY: the caller's.
    some(checked(|error| unsafe { rs2_software_sensor_add_video_stream(sensor.as_ptr(), video, error) }))
}

/// Starts a sensor and sends its image; the returned frame is the caller's.
///
/// # Safety
/// Sensor and profile are alive, and the pixels outlive the frame.
unsafe fn send(
    sensor: NonNull<rs2::rs2_sensor>,
    profile: NonNull<rs2::rs2_stream_profile>,
    eye: &Eye,
    bytes_per_pixel: c_int,
    depth_unit_meters: f32,
) -> NonNull<rs2::rs2_frame> {
    let frame = VideoFrame {
        pixels: eye.pixels.as_ptr().cast_mut().cast(),
        deleter: leave,
        stride: eye.intrinsics.width * bytes_per_pixel,
        bytes_per_pixel,
        timestamp_millis: 0.0,
        domain: rs2::rs2_timestamp_domain_RS2_TIMESTAMP_DOMAIN_HARDWARE_CLOCK,
        number: 1,
        profile: profile.as_ptr(),
        depth_unit_meters,
    };
    // SAFETY: the caller's; the queue is deleted when its frame has been taken out.
    unsafe {
        let seen = some(checked(|error| rs2::rs2_create_frame_queue(1, error)));
        checked(|error| rs2::rs2_open(sensor.as_ptr(), profile.as_ptr(), error));
        checked(|error| rs2::rs2_start_queue(sensor.as_ptr(), seen.as_ptr(), error));
        checked(|error| rs2_software_sensor_on_video_frame(sensor.as_ptr(), frame, error));
        some(checked(|error| rs2::rs2_wait_for_frame(seen.as_ptr(), 5000, error)))
    }
}

/// Copies the points and releases their frame.
///
/// # Safety
/// The frame is one of points, and the caller's.
unsafe fn take_points(frame: NonNull<rs2::rs2_frame>) -> Points {
    // SAFETY: the caller's; librealsense gives as many of each as it counts, and texture coordinates as floats.
    unsafe {
        let count = checked(|error| rs2::rs2_get_frame_points_count(frame.as_ptr(), error)) as usize;
        let vertices = checked(|error| rs2::rs2_get_frame_vertices(frame.as_ptr(), error));
        let texture = checked(|error| rs2::rs2_get_frame_texture_coordinates(frame.as_ptr(), error));
        let vertices = std::slice::from_raw_parts(vertices.cast::<[f32; 3]>(), count).to_vec();
        let texture = std::slice::from_raw_parts(texture.cast::<[f32; 2]>(), count).to_vec();
        rs2::rs2_release_frame(frame.as_ptr());
        Points { vertices, texture }
    }
}

/// Does not free the pixels, which belong to the test.
extern "C" fn leave(_: *mut c_void) {}
