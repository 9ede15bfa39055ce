//! A depth camera without hardware: librealsense's own software device, and its recorder.
//!
//! For tests and for recordings. Its `scene` describes the camera and its images.
//!
//! All of this program's `unsafe` is in this module, and in `internal`, which has the declarations.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_int, c_void};
use std::path::Path;
use std::ptr::{self, NonNull};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use realsense_sys as rs2;

#[path = "internal.rs"]
mod internal;
#[path = "scene.rs"]
mod scene;

use internal::{
    MotionFrame, MotionStream, Notification, VideoFrame, VideoStream, checked, rs2_create_software_device,
    rs2_software_device_add_sensor, rs2_software_device_register_info, rs2_software_sensor_add_motion_stream,
    rs2_software_sensor_add_option, rs2_software_sensor_add_read_only_option,
    rs2_software_sensor_add_video_stream, rs2_software_sensor_on_motion_frame,
    rs2_software_sensor_on_notification, rs2_software_sensor_on_video_frame,
    rs2_software_sensor_set_metadata, some,
};
use scene::bytes_per_pixel;
#[allow(unused_imports, reason = "a program without options and extra streams has no use for theirs")]
pub(crate) use scene::{ExtraStream, Identity, Scene, SoftwareOption};

/// Cameras register their extrinsics one at a time.
static REGISTERING: Mutex<()> = Mutex::new(());

/// A camera of librealsense's kind `software device`, with a stereo and a color sensor, and optional motion sensors.
pub(crate) struct SoftwareCamera {
    scene: Scene,
    device: NonNull<rs2::rs2_device>,
    depth: SoftwareStream,
    /// Of the same sensor as depth.
    infrared: Option<SoftwareStream>,
    infrared_2: Option<SoftwareStream>,
    color: SoftwareStream,
    /// In the order of the scene.
    #[allow(dead_code, reason = "only the tests have extra streams")]
    extra: Vec<SoftwareStream>,
    motion: Option<MotionModule>,
}

/// Both motion sensors, which are one sensor to librealsense.
struct MotionModule {
    sensor: NonNull<rs2::rs2_sensor>,
    accel: NonNull<rs2::rs2_stream_profile>,
    gyro: NonNull<rs2::rs2_stream_profile>,
}

struct SoftwareStream {
    sensor: NonNull<rs2::rs2_sensor>,
    profile: NonNull<rs2::rs2_stream_profile>,
    bytes_per_pixel: u32,
}

impl SoftwareCamera {
    /// Creates a camera that is not open yet.
    pub(crate) fn new(scene: Scene) -> Self {
        // SAFETY: no precondition.
        let device = some(checked(|error| unsafe { rs2_create_software_device(error) }));
        for (info, text) in [
            (rs2::rs2_camera_info_RS2_CAMERA_INFO_NAME, scene.identity.model),
            (rs2::rs2_camera_info_RS2_CAMERA_INFO_SERIAL_NUMBER, scene.identity.serial),
            (rs2::rs2_camera_info_RS2_CAMERA_INFO_FIRMWARE_VERSION, scene.identity.firmware),
            (rs2::rs2_camera_info_RS2_CAMERA_INFO_USB_TYPE_DESCRIPTOR, scene.identity.usb_type),
            (rs2::rs2_camera_info_RS2_CAMERA_INFO_PHYSICAL_PORT, scene.identity.physical_port),
        ] {
            let text = CString::new(text).expect("no zero byte");
            // SAFETY: the device is alive; librealsense copies the text.
            checked(|error| unsafe {
                rs2_software_device_register_info(device.as_ptr(), info, text.as_ptr(), error);
            });
        }
        let add_sensor = |name: &CStr| {
            // SAFETY: the device is alive; librealsense copies the name.
            some(checked(|error| unsafe {
                rs2_software_device_add_sensor(device.as_ptr(), name.as_ptr(), error)
            }))
        };
        let stereo = add_sensor(c"Stereo Module");
        let (stream, format) = (rs2::rs2_stream_RS2_STREAM_DEPTH, rs2::rs2_format_RS2_FORMAT_Z16);
        let depth = SoftwareStream::new(stereo, &scene, stream, 0, format);
        let stream = rs2::rs2_stream_RS2_STREAM_INFRARED;
        let infrared = scene.infrared.map(|format| SoftwareStream::new(stereo, &scene, stream, 1, format));
        let infrared_2 = scene.infrared.filter(|_| scene.infrared_2);
        let infrared_2 = infrared_2.map(|format| SoftwareStream::new(stereo, &scene, stream, 2, format));
        let (stream, format) = (rs2::rs2_stream_RS2_STREAM_COLOR, rs2::rs2_format_RS2_FORMAT_RGB8);
        let color_sensor = if scene.one_sensor { stereo } else { add_sensor(c"RGB Camera") };
        let color = SoftwareStream::new(color_sensor, &scene, stream, 0, format);
        let extra = scene.extra.iter().map(|&ExtraStream { kind, index, format, of_color }| {
            let sensor = if of_color { color_sensor } else { stereo };
            SoftwareStream::new(sensor, &scene, kind, index, format)
        });
        let extra = extra.collect();
        let motion = scene.motion.then(|| MotionModule::new(add_sensor(c"Motion Module")));
        for &SoftwareOption { of_color, option, range: [min, max, step, default], writable } in scene.options
        {
            let sensor = if of_color { color_sensor } else { stereo };
            // SAFETY: the sensor is alive.
            checked(|error| unsafe {
                let (sensor, writable) = (sensor.as_ptr(), c_int::from(writable));
                rs2_software_sensor_add_option(sensor, option, min, max, step, default, writable, error);
            });
        }
        // SAFETY: the sensor is alive.
        checked(|error| unsafe {
            let option = rs2::rs2_option_RS2_OPTION_DEPTH_UNITS;
            let sensor = depth.sensor.as_ptr();
            rs2_software_sensor_add_read_only_option(sensor, option, scene.identity.depth_unit_meters, error);
        });
        let color_to_depth = rs2::rs2_extrinsics {
            rotation: [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
            translation: [Scene::BASELINE_METERS, 0.0, 0.0],
        };
        // librealsense keeps the extrinsics of all cameras in a list without a lock.
        let _turn = REGISTERING.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: both profiles are alive.
        checked(|error| unsafe {
            let (color, depth) = (color.profile.as_ptr(), depth.profile.as_ptr());
            rs2::rs2_register_extrinsics(color, depth, color_to_depth, error);
        });
        Self { scene, device, depth, infrared, infrared_2, color, extra, motion }
    }

    /// Adds the camera to a context until the returned guard is dropped.
    ///
    /// # Safety
    /// The context is alive.
    #[allow(dead_code, reason = "only the tests pretend to be live")]
    pub(crate) unsafe fn plug_into(&self, context: NonNull<rs2::rs2_context>) -> Plugged {
        // SAFETY: the caller's; the device is alive, and librealsense shares its ownership.
        unsafe {
            let hub = some(checked(|error| rs2::rs2_create_device_hub(context.as_ptr(), error)));
            checked(|error| {
                rs2::rs2_context_add_software_device(context.as_ptr(), self.device.as_ptr(), error);
            });
            Plugged(hub)
        }
    }

    /// Sends depth frame `number`.
    pub(crate) fn send_depth(&self, number: u32) {
        let millis = self.scene.millis(number);
        self.depth.send(&self.scene, number, millis, &self.scene.depth_pixels(number));
    }

    /// Sends depth frame `number` with its time, and the number 0.
    #[allow(dead_code, reason = "only the tests have a camera that does not count")]
    pub(crate) fn send_depth_uncounted(&self, number: u32) {
        let millis = self.scene.millis(number);
        self.depth.send(&self.scene, 0, millis, &self.scene.depth_pixels(number));
    }

    /// Sends depth and the first extra stream of frameset `number`, with these pixels. Returns the time of their copies, as
    /// the difference of two calls of `now`.
    #[allow(dead_code, reason = "only measurements have pixels of their own")]
    pub(crate) fn send_pair(
        &self,
        number: u32,
        depth: &[u8],
        extra: &[u8],
        now: impl Fn() -> Duration,
    ) -> Duration {
        let millis = self.scene.millis(number);
        let mut copying = Duration::ZERO;
        for (stream, pixels) in [(&self.depth, depth), (&self.extra[0], extra)] {
            let begin = now();
            let copy = hand_over(pixels);
            copying += now().saturating_sub(begin);
            let stride = pixels.len() as c_int / self.scene.height as c_int;
            stream.send_copy(&self.scene, number, millis, copy, stride);
        }
        copying
    }

    /// Sends infrared frame `number` of each infrared stream.
    pub(crate) fn send_infrared(&self, number: u32) {
        if let Some(infrared) = &self.infrared {
            let millis = self.scene.millis(number);
            infrared.send(&self.scene, number, millis, &self.scene.infrared_pixels(number));
        }
        if let Some(infrared) = &self.infrared_2 {
            let millis = self.scene.millis(number);
            infrared.send(&self.scene, number, millis, &self.scene.infrared_pixels(number + 100));
        }
    }

    /// Sends color frame `number`.
    pub(crate) fn send_color(&self, number: u32) {
        let millis = self.scene.millis(number) + self.scene.color_delay_millis;
        self.color.send(&self.scene, number, millis, &self.scene.color_pixels(number));
    }

    /// Sets a metadata value of the depth sensor's following frames.
    #[allow(dead_code, reason = "only the tests have metadata")]
    pub(crate) fn set_metadata(&self, key: rs2::rs2_frame_metadata_value, value: i64) {
        // SAFETY: the sensor is alive.
        checked(|error| unsafe {
            rs2_software_sensor_set_metadata(self.depth.sensor.as_ptr(), key, value, error);
        });
    }

    /// Has the depth sensor notify its users of an error, by this text.
    #[allow(dead_code, reason = "only the tests have notifications")]
    pub(crate) fn notify(&self, severity: rs2::rs2_log_severity, description: &CStr) {
        let notification = Notification {
            category: rs2::rs2_notification_category_RS2_NOTIFICATION_CATEGORY_HARDWARE_ERROR,
            kind: 0,
            severity,
            description: description.as_ptr(),
            serialized_data: c"".as_ptr(),
        };
        // SAFETY: the sensor is alive; librealsense copies the texts.
        checked(|error| unsafe {
            rs2_software_sensor_on_notification(self.depth.sensor.as_ptr(), notification, error);
        });
    }

    /// Sends frame `number` of the extra stream at `index`.
    #[allow(dead_code, reason = "only the tests have extra streams")]
    pub(crate) fn send_extra(&self, index: usize, number: u32) {
        let millis = self.scene.millis(number);
        self.extra[index].send(&self.scene, number, millis, &self.scene.extra_pixels(index, number));
    }

    /// Sends sample `number` of the accelerometer, if there is one.
    pub(crate) fn send_accel(&self, number: u32) {
        if let Some(MotionModule { sensor, accel, .. }) = self.motion {
            send_sample(sensor, accel, number, Scene::ACCEL_RATE);
        }
    }

    /// Sends sample `number` of the gyroscope, if there is one.
    pub(crate) fn send_gyro(&self, number: u32) {
        if let Some(MotionModule { sensor, gyro, .. }) = self.motion {
            send_sample(sensor, gyro, number, Scene::GYRO_RATE);
        }
    }

    /// Sends all samples of both between the previous image and image `number`.
    pub(crate) fn send_samples_until(&self, number: u32) {
        let samples = |rate: u32| {
            let end = |number: u32| number * rate / self.scene.frames_per_second + 1;
            number.checked_sub(1).map_or(0, end)..end(number)
        };
        samples(Scene::ACCEL_RATE).for_each(|number| self.send_accel(number));
        samples(Scene::GYRO_RATE).for_each(|number| self.send_gyro(number));
    }

    /// Records the frames that `send` sends, at the pace of a pacer, into the file at `path`.
    pub(crate) fn record(&self, path: &Path, send: impl FnOnce(&Self, &mut Pacer)) {
        let path = CString::new(path.as_os_str().as_encoded_bytes()).expect("no zero byte in a path");
        // SAFETY: the device is alive and outlives the recorder; librealsense copies the path.
        let recorder = some(checked(|error| unsafe {
            rs2::rs2_create_record_device_ex(self.device.as_ptr(), path.as_ptr(), 1, error)
        }));
        // SAFETY: the recorder is alive, and everything made from it is deleted before it. The callback takes
        // no user data and releases its argument.
        unsafe {
            let sensors = some(checked(|error| rs2::rs2_query_sensors(recorder.as_ptr(), error)));
            let sensor_count = checked(|error| rs2::rs2_get_sensors_count(sensors.as_ptr(), error));
            let started: Vec<_> = (0..sensor_count)
                .map(|index| {
                    let sensor =
                        some(checked(|error| rs2::rs2_create_sensor(sensors.as_ptr(), index, error)));
                    let list = some(checked(|error| rs2::rs2_get_stream_profiles(sensor.as_ptr(), error)));
                    let count = checked(|error| rs2::rs2_get_stream_profiles_count(list.as_ptr(), error));
                    let mut profiles: Vec<_> = (0..count)
                        .map(|index| {
                            checked(|error| rs2::rs2_get_stream_profile(list.as_ptr(), index, error))
                        })
                        .collect();
                    checked(|error| {
                        rs2::rs2_open_multiple(sensor.as_ptr(), profiles.as_mut_ptr(), count, error);
                    });
                    checked(|error| {
                        rs2::rs2_start(sensor.as_ptr(), Some(release), ptr::null_mut(), error);
                    });
                    rs2::rs2_delete_stream_profiles_list(list.as_ptr());
                    sensor
                })
                .collect();
            send(self, &mut Pacer::new(self.scene.frames_per_second));
            for sensor in started {
                checked(|error| rs2::rs2_stop(sensor.as_ptr(), error));
                checked(|error| rs2::rs2_close(sensor.as_ptr(), error));
                rs2::rs2_delete_sensor(sensor.as_ptr());
            }
            rs2::rs2_delete_sensor_list(sensors.as_ptr());
            // Writes the queued frames, and the index.
            rs2::rs2_delete_device(recorder.as_ptr());
        }
    }
}

/// Keeps a camera in a context: librealsense itself has only a weak pointer.
pub(crate) struct Plugged(NonNull<rs2::rs2_device_hub>);

impl Drop for Plugged {
    fn drop(&mut self) {
        // SAFETY: the hub is this guard's own, and deleted once.
        unsafe { rs2::rs2_delete_device_hub(self.0.as_ptr()) }
    }
}

impl Drop for SoftwareCamera {
    fn drop(&mut self) {
        // SAFETY: all are this camera's own, and deleted once. Profiles belong to their sensors.
        unsafe {
            rs2::rs2_delete_sensor(self.depth.sensor.as_ptr());
            if !self.scene.one_sensor {
                rs2::rs2_delete_sensor(self.color.sensor.as_ptr());
            }
            if let Some(motion) = &self.motion {
                rs2::rs2_delete_sensor(motion.sensor.as_ptr());
            }
            rs2::rs2_delete_device(self.device.as_ptr());
        }
    }
}

impl MotionModule {
    fn new(sensor: NonNull<rs2::rs2_sensor>) -> Self {
        let add = |stream, rate: u32| {
            let intrinsics = rs2::rs2_motion_device_intrinsic {
                data: [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]],
                noise_variances: [0.0; 3],
                bias_variances: [0.0; 3],
            };
            let format = rs2::rs2_format_RS2_FORMAT_MOTION_XYZ32F;
            let uid = 10 * stream as c_int;
            let motion = MotionStream { stream, index: 0, uid, rate: rate as c_int, format, intrinsics };
            // SAFETY: the sensor is alive.
            some(checked(|error| unsafe {
                rs2_software_sensor_add_motion_stream(sensor.as_ptr(), motion, error)
            }))
        };
        let accel = add(rs2::rs2_stream_RS2_STREAM_ACCEL, Scene::ACCEL_RATE);
        Self { sensor, accel, gyro: add(rs2::rs2_stream_RS2_STREAM_GYRO, Scene::GYRO_RATE) }
    }
}

/// Sends sample `number` of a motion sensor at this rate.
fn send_sample(
    sensor: NonNull<rs2::rs2_sensor>,
    profile: NonNull<rs2::rs2_stream_profile>,
    number: u32,
    rate: u32,
) {
    let bytes: Vec<u8> = Scene::xyz(number).iter().flat_map(|part| part.to_le_bytes()).collect();
    let frame = MotionFrame {
        data: hand_over(&bytes),
        deleter: take_back,
        timestamp_millis: Scene::sample_millis(number, rate),
        domain: rs2::rs2_timestamp_domain_RS2_TIMESTAMP_DOMAIN_HARDWARE_CLOCK,
        number: number as c_int,
        profile: profile.as_ptr(),
    };
    // SAFETY: sensor and profile are alive; the data are a whole sample and live until `take_back`.
    checked(|error| unsafe { rs2_software_sensor_on_motion_frame(sensor.as_ptr(), frame, error) });
}

/// Keeps the rate, because a recorder uses the wall clock for timestamps.
pub(crate) struct Pacer {
    period: Duration,
    next: Instant,
}

impl Pacer {
    pub(crate) fn new(frames_per_second: u32) -> Self {
        Self { period: Duration::from_secs(1) / frames_per_second, next: Instant::now() }
    }

    /// Waits until the next frame is due.
    pub(crate) fn wait(&mut self) {
        std::thread::sleep(self.next.saturating_duration_since(Instant::now()));
        self.next += self.period;
    }
}

impl SoftwareStream {
    fn new(
        sensor: NonNull<rs2::rs2_sensor>,
        scene: &Scene,
        stream: rs2::rs2_stream,
        index: c_int,
        format: rs2::rs2_format,
    ) -> Self {
        let bytes_per_pixel = bytes_per_pixel(format);
        let add = |(width, height, frames_per_second): (u32, u32, u32)| {
            let video = VideoStream {
                stream,
                index,
                uid: 10 * stream as c_int + index,
                width: width as c_int,
                height: height as c_int,
                frames_per_second: frames_per_second as c_int,
                bytes_per_pixel: bytes_per_pixel as c_int,
                format,
                intrinsics: scene.intrinsics(),
            };
            // SAFETY: the sensor is alive.
            some(checked(|error| unsafe {
                rs2_software_sensor_add_video_stream(sensor.as_ptr(), video, error)
            }))
        };
        let profile = add((scene.width, scene.height, scene.frames_per_second));
        for &profile in scene.also {
            add(profile);
        }
        Self { sensor, profile, bytes_per_pixel }
    }

    fn send(&self, scene: &Scene, number: u32, timestamp_millis: f64, pixels: &[u8]) {
        let stride = pixels.len() as c_int / scene.height as c_int;
        self.send_copy(scene, number, timestamp_millis, hand_over(pixels), stride);
    }

    /// Sends the result of [`hand_over`].
    fn send_copy(
        &self,
        scene: &Scene,
        number: u32,
        timestamp_millis: f64,
        pixels: *mut c_void,
        stride: c_int,
    ) {
        let key = rs2::rs2_frame_metadata_value_RS2_FRAME_METADATA_FRAME_COUNTER;
        // SAFETY: the sensor is alive.
        checked(|error| unsafe {
            rs2_software_sensor_set_metadata(self.sensor.as_ptr(), key, number.into(), error);
        });
        let (clock, begin_millis) = match scene.begin_millis {
            Some(begin) if number < scene.unsettled => {
                (rs2::rs2_timestamp_domain_RS2_TIMESTAMP_DOMAIN_SYSTEM_TIME, begin)
            }
            Some(begin) => (rs2::rs2_timestamp_domain_RS2_TIMESTAMP_DOMAIN_GLOBAL_TIME, begin),
            None => (rs2::rs2_timestamp_domain_RS2_TIMESTAMP_DOMAIN_HARDWARE_CLOCK, 0.0),
        };
        let frame = VideoFrame {
            pixels,
            deleter: take_back,
            stride,
            bytes_per_pixel: self.bytes_per_pixel as c_int,
            timestamp_millis: begin_millis + timestamp_millis,
            domain: clock,
            number: number as c_int,
            profile: self.profile.as_ptr(),
            depth_unit_meters: scene.identity.depth_unit_meters,
        };
        // SAFETY: sensor and profile are alive; the pixels are a whole image and live until `take_back`.
        checked(|error| unsafe {
            rs2_software_sensor_on_video_frame(self.sensor.as_ptr(), frame, error);
        });
    }
}

/// Copies `pixels` for librealsense, which later passes the copy to [`take_back`]. Like librealsense's own frames it is
/// aligned to 16 bytes, which librealsense's alignment requires.
fn hand_over(pixels: &[u8]) -> *mut c_void {
    let block_len = 1 + pixels.len().div_ceil(size_of::<u128>());
    let block = Box::leak(vec![block_len as u128; block_len].into_boxed_slice());
    let start = block[1..].as_mut_ptr().cast::<u8>();
    // SAFETY: the block has space for the pixels after its first number, and does not overlap them.
    unsafe { start.copy_from_nonoverlapping(pixels.as_ptr(), pixels.len()) };
    start.cast()
}

/// Frees a copy of [`hand_over`].
extern "C" fn take_back(pixels: *mut c_void) {
    // SAFETY: librealsense passes the result of `hand_over`, once: a box whose first number is its length.
    unsafe {
        let block = pixels.cast::<u128>().sub(1);
        drop(Box::from_raw(ptr::slice_from_raw_parts_mut(block, block.read() as usize)));
    }
}

extern "C" fn release(frame: *mut rs2::rs2_frame, _: *mut c_void) {
    // SAFETY: librealsense passes the frame on.
    unsafe { rs2::rs2_release_frame(frame) }
}
