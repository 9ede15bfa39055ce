//! Replaces some calls of librealsense in this program, so that the cameras of `cameras` are attached to every context.
//!
//! The linker prefers definitions of a program to those of a library. So the driver's calls arrive here first, and the
//! driver is the same as everywhere. Everything else is passed on to librealsense.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::transmute;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use realsense_sys as rs2;

use crate::cameras::{self, Behaviour, cameras};
use crate::software::SoftwareCamera;

/// The environment variable that allows hardware resets: the camera then disappears, and comes back when a test sets it.
/// Otherwise librealsense refuses to reset software cameras.
pub(crate) const TAKES_RESETS: &str = "CAMRIG_TEST_TAKES_RESETS";

/// The environment variable that makes software cameras take presets: JSON of the values of `exposure` and `gain`.
pub(crate) const TAKES_PRESETS: &str = "CAMRIG_TEST_TAKES_PRESETS";

/// The environment variable with a file: sensors of software cameras take regions of auto exposure, and write them into it. Like
/// those of a real camera, they refuse the first ones.
pub(crate) const TAKES_REGIONS: &str = "CAMRIG_TEST_TAKES_REGIONS";

/// Number of regions that are refused.
const REGIONS_REFUSED: u32 = 2;

/// The options of a preset.
const PRESET: [(&str, rs2::rs2_option); 2] =
    [("exposure", rs2::rs2_option_RS2_OPTION_EXPOSURE), ("gain", rs2::rs2_option_RS2_OPTION_GAIN)];

/// A value out of every range, so that librealsense makes the error of a refusal.
const OUT_OF_RANGE: f32 = 1e9;

type Error = *mut *mut rs2::rs2_error;

/// As in dlfcn.h.
const RTLD_NEXT: usize = usize::MAX;

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// Returns the next definition of a call, which is librealsense's.
fn next(name: &CStr) -> *mut c_void {
    // SAFETY: the name ends with a zero.
    let next = unsafe { dlsym(ptr::without_provenance_mut(RTLD_NEXT), name.as_ptr()) };
    assert!(!next.is_null(), "librealsense has {name:?}");
    next
}

fn create_context(version: c_int, error: Error) -> *mut rs2::rs2_context {
    type Call = unsafe extern "C" fn(c_int, Error) -> *mut rs2::rs2_context;
    // SAFETY: librealsense's call has this type, and is made as the driver makes its own.
    unsafe { transmute::<*mut c_void, Call>(next(c"rs2_create_context"))(version, error) }
}

/// # Safety
/// The context is alive, and not used any more.
unsafe fn delete_context(context: *mut rs2::rs2_context) {
    type Call = unsafe extern "C" fn(*mut rs2::rs2_context);
    // SAFETY: the caller ensures it, and as in `create_context`.
    unsafe { transmute::<*mut c_void, Call>(next(c"rs2_delete_context"))(context) }
}

#[unsafe(no_mangle)]
extern "C" fn rs2_create_context(version: c_int, error: Error) -> *mut rs2::rs2_context {
    let mut cameras = cameras();
    let context = create_context(version, error);
    if let Some(context) = NonNull::new(context) {
        // SAFETY: it is deleted below, and forgotten before.
        unsafe { cameras.add(context) };
    }
    context
}

/// Returns a list of this camera for a callback, which has to delete it.
pub(crate) fn list_of(camera: &SoftwareCamera) -> *mut rs2::rs2_device_list {
    let context = create_context(rs2::RS2_API_VERSION as c_int, ptr::null_mut());
    // SAFETY: the context is alive until it is deleted, once, and the list owns its elements.
    unsafe {
        let plugged = camera.plug_into(NonNull::new(context).unwrap());
        let list = rs2::rs2_query_devices(context, ptr::null_mut());
        drop(plugged);
        delete_context(context);
        list
    }
}

#[unsafe(no_mangle)]
extern "C" fn rs2_delete_context(context: *mut rs2::rs2_context) {
    cameras().remove(context);
    // SAFETY: the driver is done with it.
    unsafe { delete_context(context) }
}

/// librealsense itself never reports removed software cameras.
#[unsafe(no_mangle)]
extern "C" fn rs2_set_devices_changed_callback(
    context: *const rs2::rs2_context,
    callback: rs2::rs2_devices_changed_callback_ptr,
    user: *mut c_void,
    _: Error,
) {
    cameras().watch(context, callback.unwrap(), user);
}

/// Sensors of software cameras must not start while they get a frame; real ones ensure that themselves.
#[unsafe(no_mangle)]
extern "C" fn rs2_start(
    sensor: *const rs2::rs2_sensor,
    callback: rs2::rs2_frame_callback_ptr,
    user: *mut c_void,
    error: Error,
) {
    type Call = unsafe extern "C" fn(*const rs2::rs2_sensor, rs2::rs2_frame_callback_ptr, *mut c_void, Error);
    let _cameras = cameras();
    // SAFETY: as in `create_context`.
    unsafe { transmute::<*mut c_void, Call>(next(c"rs2_start"))(sensor, callback, user, error) }
}

/// They must not stop at that time either.
#[unsafe(no_mangle)]
extern "C" fn rs2_stop(sensor: *const rs2::rs2_sensor, error: Error) {
    type Call = unsafe extern "C" fn(*const rs2::rs2_sensor, Error);
    let _cameras = cameras();
    // SAFETY: as in `create_context`.
    unsafe { transmute::<*mut c_void, Call>(next(c"rs2_stop"))(sensor, error) }
}

/// Software cameras report no size for the pixels that were passed to them.
#[unsafe(no_mangle)]
extern "C" fn rs2_get_frame_data_size(frame: *const rs2::rs2_frame, error: Error) -> c_int {
    // SAFETY: the caller's frame is alive, and an image.
    unsafe { rs2::rs2_get_frame_stride_in_bytes(frame, error) * rs2::rs2_get_frame_height(frame, error) }
}

#[unsafe(no_mangle)]
extern "C" fn rs2_hardware_reset(device: *const rs2::rs2_device, error: Error) {
    type Call = unsafe extern "C" fn(*const rs2::rs2_device, Error);
    if std::env::var_os(TAKES_RESETS).is_some() {
        let mut cameras = cameras();
        Behaviour::Unplugged.set(&cameras::file());
        cameras.follow();
        return;
    }
    // SAFETY: as in `create_context`.
    unsafe { transmute::<*mut c_void, Call>(next(c"rs2_hardware_reset"))(device, error) }
}

/// # Safety
/// The options are alive.
unsafe fn set_option(options: *const rs2::rs2_options, option: rs2::rs2_option, value: f32, error: Error) {
    type Call = unsafe extern "C" fn(*const rs2::rs2_options, rs2::rs2_option, f32, Error);
    // SAFETY: the caller ensures it, and as in `create_context`.
    unsafe { transmute::<*mut c_void, Call>(next(c"rs2_set_option"))(options, option, value, error) }
}

#[unsafe(no_mangle)]
extern "C" fn rs2_set_option(
    options: *const rs2::rs2_options,
    option: rs2::rs2_option,
    value: f32,
    error: Error,
) {
    let value = if cameras().refuses() { OUT_OF_RANGE } else { value };
    // SAFETY: the driver's options are alive.
    unsafe { set_option(options, option, value, error) }
}

#[unsafe(no_mangle)]
extern "C" fn rs2_is_device_extendable_to(
    device: *const rs2::rs2_device,
    extension: rs2::rs2_extension,
    error: Error,
) -> c_int {
    type Call = unsafe extern "C" fn(*const rs2::rs2_device, rs2::rs2_extension, Error) -> c_int;
    let is_preset = extension == rs2::rs2_extension_RS2_EXTENSION_SERIALIZABLE;
    if is_preset && std::env::var_os(TAKES_PRESETS).is_some() {
        return 1;
    }
    // SAFETY: as in `create_context`.
    unsafe { transmute::<*mut c_void, Call>(next(c"rs2_is_device_extendable_to"))(device, extension, error) }
}

#[unsafe(no_mangle)]
extern "C" fn rs2_is_sensor_extendable_to(
    sensor: *const rs2::rs2_sensor,
    extension: rs2::rs2_extension,
    error: Error,
) -> c_int {
    type Call = unsafe extern "C" fn(*const rs2::rs2_sensor, rs2::rs2_extension, Error) -> c_int;
    let is_region = extension == rs2::rs2_extension_RS2_EXTENSION_ROI;
    if is_region && std::env::var_os(TAKES_REGIONS).is_some() {
        return 1;
    }
    // SAFETY: as in `create_context`.
    unsafe { transmute::<*mut c_void, Call>(next(c"rs2_is_sensor_extendable_to"))(sensor, extension, error) }
}

#[unsafe(no_mangle)]
extern "C" fn rs2_set_region_of_interest(
    sensor: *const rs2::rs2_sensor,
    left: c_int,
    top: c_int,
    right: c_int,
    bottom: c_int,
    error: Error,
) {
    type Call = unsafe extern "C" fn(*const rs2::rs2_sensor, c_int, c_int, c_int, c_int, Error);
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let file = std::env::var_os(TAKES_REGIONS);
    if let Some(file) = file.filter(|_| CALLS.fetch_add(1, Ordering::Relaxed) >= REGIONS_REFUSED) {
        std::fs::write(file, format!("{left} {top} {right} {bottom}")).unwrap();
        return;
    }
    // SAFETY: as in `create_context`. Software cameras refuse it.
    unsafe {
        let call = transmute::<*mut c_void, Call>(next(c"rs2_set_region_of_interest"));
        call(sensor, left, top, right, bottom, error);
    }
}

/// Calls `act` with the options of a device's first sensor, which measures depth.
fn with_options<T>(device: *const rs2::rs2_device, act: impl FnOnce(*const rs2::rs2_options) -> T) -> T {
    // SAFETY: the driver's device is alive, and each object made here is deleted once.
    unsafe {
        let sensors = rs2::rs2_query_sensors(device, ptr::null_mut());
        let sensor = rs2::rs2_create_sensor(sensors, 0, ptr::null_mut());
        let done = act(sensor.cast_const().cast());
        rs2::rs2_delete_sensor(sensor);
        rs2::rs2_delete_sensor_list(sensors);
        done
    }
}

#[unsafe(no_mangle)]
extern "C" fn rs2_load_json(device: *mut rs2::rs2_device, json: *const c_void, size: u32, error: Error) {
    // SAFETY: the driver's text has this size.
    let json = unsafe { std::slice::from_raw_parts(json.cast::<u8>(), size as usize) };
    let values: serde_json::Value = serde_json::from_slice(json).unwrap();
    with_options(device, |options| {
        for (name, option) in PRESET {
            let value = values[name].as_f64().unwrap();
            // SAFETY: the options are alive.
            unsafe { set_option(options, option, value as f32, error) };
        }
    });
}

/// The text of a preset, instead of librealsense's own buffer.
type Text = Vec<u8>;

#[unsafe(no_mangle)]
extern "C" fn rs2_serialize_json(
    device: *mut rs2::rs2_device,
    error: Error,
) -> *mut rs2::rs2_raw_data_buffer {
    let values = with_options(device, |options| {
        // SAFETY: the options are alive.
        let value = |option| unsafe { rs2::rs2_get_option(options, option, error) };
        PRESET.map(|(name, option)| (name.to_owned(), serde_json::Value::from(value(option))))
    });
    let text = serde_json::to_vec(&serde_json::Map::from_iter(values)).unwrap();
    Box::into_raw(Box::<Text>::new(text)).cast()
}

#[unsafe(no_mangle)]
extern "C" fn rs2_get_raw_data_size(buffer: *const rs2::rs2_raw_data_buffer, _: Error) -> c_int {
    // SAFETY: it comes from `rs2_serialize_json`.
    unsafe { (*buffer.cast::<Text>()).len() as c_int }
}

#[unsafe(no_mangle)]
extern "C" fn rs2_get_raw_data(buffer: *const rs2::rs2_raw_data_buffer, _: Error) -> *const u8 {
    // SAFETY: it comes from `rs2_serialize_json`.
    unsafe { (*buffer.cast::<Text>()).as_ptr() }
}

#[unsafe(no_mangle)]
extern "C" fn rs2_delete_raw_data(buffer: *const rs2::rs2_raw_data_buffer) {
    // SAFETY: it comes from `rs2_serialize_json`, and is deleted once.
    drop(unsafe { Box::from_raw(buffer.cast_mut().cast::<Text>()) });
}
