//! A library that gives a program cameras without a camera: `LD_PRELOAD` it, and librealsense lists its software devices.
//!
//! For measurements of the whole program, as `bin/camrig/tests/whole-rig` does. Each context that the program creates gets the
//! devices `c0`, `c1` and so on. One that the program has started sends a frameset of YUYV and Z16 at its rate, with pixels of
//! a file, as copies that librealsense then owns. Variables of the environment describe them:
//!
//! * `SOFTWARE_CAMERAS`: the number of devices
//! * `SOFTWARE_CAMERAS_PROFILE`: their profile, such as `848x480@30`
//! * `SOFTWARE_CAMERAS_IMAGES`: a file of framesets, each a YUYV and a Z16 image, which are sent in turn
//! * `SOFTWARE_CAMERAS_TIMES`: a folder. A device writes a file of its name there, once a second: the framesets that it has
//!   sent, and the processor time of their copies and of all of the thread, in nanoseconds.
#![allow(unsafe_code)]

#[allow(dead_code, reason = "it has what recordings and tests need, too")]
#[path = "write-bag/software.rs"]
mod software;

use std::env::var;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::PathBuf;
use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard, Once, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use camrig::frame::StreamProfile;
use realsense_sys as rs2;
use rustix::time::{ClockId, clock_gettime};
use software::{ExtraStream, Identity, Pacer, Scene, SoftwareCamera};

/// The number of sensors of a device: it sends while both have started.
const SENSORS: usize = 2;

const COLOR: ExtraStream = ExtraStream {
    kind: rs2::rs2_stream_RS2_STREAM_COLOR,
    index: 0,
    format: rs2::rs2_format_RS2_FORMAT_YUYV,
    of_color: true,
};

/// The devices of this process.
struct Cameras {
    all: Vec<Sending>,
    profile: StreamProfile,
    /// Color and depth.
    images: Vec<(Vec<u8>, Vec<u8>)>,
    times: PathBuf,
}

struct Sending {
    camera: SoftwareCamera,
    serial: &'static str,
    /// The number of sensors that have started. Nothing is sent while it changes, so that no sensor gets a frame at its end.
    started: Mutex<usize>,
    thread: Once,
}

// SAFETY: librealsense locks its devices itself; a camera is used by its own thread, once it has started.
unsafe impl Send for Sending {}
// SAFETY: as above.
unsafe impl Sync for Sending {}

fn cameras() -> &'static Cameras {
    static CAMERAS: OnceLock<Cameras> = OnceLock::new();
    CAMERAS.get_or_init(Cameras::of_environment)
}

fn variable(name: &str) -> String {
    var(name).unwrap_or_else(|_| panic!("`{name}` is not set"))
}

impl Cameras {
    fn of_environment() -> Self {
        let profile: StreamProfile =
            variable("SOFTWARE_CAMERAS_PROFILE").parse().expect("SOFTWARE_CAMERAS_PROFILE is a profile");
        let count: usize = variable("SOFTWARE_CAMERAS").parse().expect("SOFTWARE_CAMERAS is a number");
        let file =
            std::fs::read(variable("SOFTWARE_CAMERAS_IMAGES")).expect("SOFTWARE_CAMERAS_IMAGES is a file");
        // Both formats have two bytes for a pixel.
        let image_bytes = 2 * profile.width() as usize * profile.height() as usize;
        let images = file.chunks_exact(2 * image_bytes).map(|pair| pair.split_at(image_bytes));
        let images: Vec<_> = images.map(|(color, depth)| (color.to_vec(), depth.to_vec())).collect();
        assert!(!images.is_empty(), "SOFTWARE_CAMERAS_IMAGES has no frameset");
        let all = (0..count).map(|number| Sending::new(number, &profile)).collect();
        Self { all, profile, images, times: variable("SOFTWARE_CAMERAS_TIMES").into() }
    }
}

impl Sending {
    fn new(number: usize, profile: &StreamProfile) -> Self {
        let serial: &'static str = format!("c{number}").leak();
        let port = format!("/sys/devices/usb2/2-{number}/2-{number}:1.0/video4linux/video{number}");
        let scene = Scene {
            identity: Identity { serial, physical_port: port.leak(), ..Identity::D435 },
            width: profile.width(),
            height: profile.height(),
            frames_per_second: profile.frames_per_second(),
            color_delay_millis: 0.0,
            infrared: None,
            infrared_2: false,
            extra: &[COLOR],
            also: &[],
            one_sensor: false,
            options: &[],
            motion: false,
            begin_millis: None,
            unsettled: 0,
            wall_meters: None,
        };
        Self { camera: SoftwareCamera::new(scene), serial, started: Mutex::new(0), thread: Once::new() }
    }

    fn started(&self) -> MutexGuard<'_, usize> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a sensor has started. The first one starts the thread that sends.
    fn start_sensor(&'static self) {
        *self.started() += 1;
        self.thread.call_once(|| {
            let thread = std::thread::Builder::new().name("software".to_owned());
            thread.spawn(|| self.send()).expect("a thread starts");
        });
    }

    /// Notes that a sensor is about to stop.
    fn stop_sensor(&'static self) {
        let mut started = self.started();
        *started = started.saturating_sub(1);
    }

    /// Sends framesets until the process ends.
    fn send(&self) {
        let Cameras { images, profile, times, .. } = cameras();
        let mut pacer = Pacer::new(profile.frames_per_second());
        let (mut copying, mut written) = (Duration::ZERO, Instant::now());
        let mut number = 0;
        loop {
            pacer.wait();
            let started = self.started();
            if *started < SENSORS {
                continue;
            }
            let (color, depth) = &images[number as usize % images.len()];
            copying += self.camera.send_pair(number, depth, color, thread_time);
            drop(started);
            number += 1;
            if written.elapsed() >= Duration::from_secs(1) {
                written = Instant::now();
                let text = format!("{number} {} {}", copying.as_nanos(), thread_time().as_nanos());
                // A rename, so that a reader finds a whole file.
                let (new, file) = (times.join(format!("{}.new", self.serial)), times.join(self.serial));
                std::fs::write(&new, text)
                    .and_then(|()| std::fs::rename(new, file))
                    .expect("times can be written");
            }
        }
    }
}

/// Returns the processor time of this thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Returns librealsense's own function of a name.
fn real(name: &CStr) -> NonNull<c_void> {
    unsafe extern "C" {
        fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    }
    // `RTLD_NEXT`: the libraries after this one.
    let next = std::ptr::without_provenance_mut(usize::MAX);
    // SAFETY: the name ends with a zero.
    NonNull::new(unsafe { dlsym(next, name.as_ptr()) }).expect("librealsense is loaded")
}

/// Creates a context that has the devices.
///
/// # Safety
/// As librealsense's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs2_create_context(
    version: c_int,
    error: *mut *mut rs2::rs2_error,
) -> *mut rs2::rs2_context {
    type Create = unsafe extern "C" fn(c_int, *mut *mut rs2::rs2_error) -> *mut rs2::rs2_context;
    // SAFETY: the type is that of `rs2_create_context`; the arguments are the caller's.
    let context = unsafe {
        std::mem::transmute::<NonNull<c_void>, Create>(real(c"rs2_create_context"))(version, error)
    };
    if let Some(context) = NonNull::new(context) {
        for sending in &cameras().all {
            // SAFETY: the context is alive. The device stays in it.
            std::mem::forget(unsafe { sending.camera.plug_into(context) });
        }
    }
    context
}

/// Starts a sensor, and then its device.
///
/// # Safety
/// As librealsense's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs2_start(
    sensor: *const rs2::rs2_sensor,
    on_frame: rs2::rs2_frame_callback_ptr,
    user: *mut c_void,
    error: *mut *mut rs2::rs2_error,
) {
    type Start = unsafe extern "C" fn(
        *const rs2::rs2_sensor,
        rs2::rs2_frame_callback_ptr,
        *mut c_void,
        *mut *mut rs2::rs2_error,
    );
    // SAFETY: the type is that of `rs2_start`; the arguments are the caller's.
    unsafe {
        std::mem::transmute::<NonNull<c_void>, Start>(real(c"rs2_start"))(sensor, on_frame, user, error);
        if !(*error).is_null() {
            return;
        }
    }
    // SAFETY: the sensor is alive.
    unsafe { of_sensor(sensor) }.for_each(Sending::start_sensor);
}

/// Stops a sensor, and before it its device.
///
/// # Safety
/// As librealsense's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs2_stop(sensor: *const rs2::rs2_sensor, error: *mut *mut rs2::rs2_error) {
    type Stop = unsafe extern "C" fn(*const rs2::rs2_sensor, *mut *mut rs2::rs2_error);
    // SAFETY: the sensor is alive.
    unsafe { of_sensor(sensor) }.for_each(Sending::stop_sensor);
    // SAFETY: the type is that of `rs2_stop`; the arguments are the caller's.
    unsafe { std::mem::transmute::<NonNull<c_void>, Stop>(real(c"rs2_stop"))(sensor, error) };
}

/// Returns the device of a sensor.
///
/// # Safety
/// The sensor is alive.
unsafe fn of_sensor(sensor: *const rs2::rs2_sensor) -> impl Iterator<Item = &'static Sending> {
    let (mut error, info) = (std::ptr::null_mut(), rs2::rs2_camera_info_RS2_CAMERA_INFO_SERIAL_NUMBER);
    // SAFETY: the sensor is alive, and the text as long as its device, until it is copied.
    let serial = unsafe {
        let device = rs2::rs2_create_device_from_sensor(sensor, &raw mut error);
        let serial = CStr::from_ptr(rs2::rs2_get_device_info(device, info, &raw mut error));
        let serial = serial.to_string_lossy().into_owned();
        rs2::rs2_delete_device(device);
        serial
    };
    cameras().all.iter().filter(move |sending| sending.serial == serial)
}

/// Returns the bytes of a frame. librealsense reports none for frames of software devices.
///
/// # Safety
/// As librealsense's function.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rs2_get_frame_data_size(
    frame: *const rs2::rs2_frame,
    error: *mut *mut rs2::rs2_error,
) -> c_int {
    type Size = unsafe extern "C" fn(*const rs2::rs2_frame, *mut *mut rs2::rs2_error) -> c_int;
    // SAFETY: the type is that of `rs2_get_frame_data_size`; the arguments are the caller's.
    unsafe {
        match std::mem::transmute::<NonNull<c_void>, Size>(real(c"rs2_get_frame_data_size"))(frame, error) {
            0 => rs2::rs2_get_frame_stride_in_bytes(frame, error) * rs2::rs2_get_frame_height(frame, error),
            bytes => bytes,
        }
    }
}
