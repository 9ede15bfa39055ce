//! The calls of librealsense that realsense-rust lacks, and all of this crate's `unsafe`.
//!
//! realsense-rust wraps contexts, devices, sensors, profiles and frames, and is used wherever possible. It has no call
//! to open and start a sensor, to pause a player or to keep a frame, and it does not expose its pointers. So this
//! module creates devices and sensors itself and returns realsense-rust's views of them. It depends on no options and
//! no framesets and makes no decisions: it only ensures soundness.
#![allow(unsafe_code)]

mod block;
mod device;
mod frame;
mod messages;
mod option;
mod profile;
mod sensor;
mod watch;

use std::ffi::{CStr, CString, c_int};
use std::path::Path;
use std::ptr::{self, NonNull};

use realsense_sys as rs2;

use self::messages::{Logged, Messages};
#[cfg(test)]
use crate::tests::software::Plugged;
use crate::version::Version;
pub(crate) use block::{Block, BlockKind, FrameSetBlock};
pub(crate) use device::OpenDevice;
pub(crate) use frame::{Arrived, DroppedFrames, Image, Measured, Pixels, RawFrame, Sink};
pub(crate) use option::{OptionKind, OptionRange, OptionsView};
pub(crate) use profile::{ProfileData, StreamKey};
pub(crate) use sensor::{OpenSensor, format_name, stream_kind_name};

/// An error of librealsense, with its message.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Fault(String);

impl Fault {
    pub(crate) fn new(message: &str) -> Self {
        // The message may have several lines.
        Self(message.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

/// Makes one call that reports errors through librealsense's error pointer.
fn call<T>(call: impl FnOnce(*mut *mut rs2::rs2_error) -> T) -> Result<T, Fault> {
    let mut error = ptr::null_mut();
    let logged = Logged::begin();
    let value = call(&raw mut error);
    if error.is_null() {
        logged.log();
        return Ok(value);
    }
    // SAFETY: librealsense set the pointer, so it owns an error whose message lives until it is freed, which
    // happens once, here.
    let message = unsafe {
        let message = CStr::from_ptr(rs2::rs2_get_error_message(error)).to_string_lossy().into_owned();
        rs2::rs2_free_error(error);
        message
    };
    Err(Fault::new(&message))
}

/// Like [`call`], for calls that return a new object.
fn create<T>(make: impl FnOnce(*mut *mut rs2::rs2_error) -> *mut T) -> Result<NonNull<T>, Fault> {
    NonNull::new(call(make)?)
        .ok_or_else(|| Fault::new("librealsense returned neither an object nor an error"))
}

/// Returns the version of the library that is loaded, such as 2.56.5.
pub(crate) fn version() -> Version {
    // SAFETY: no precondition.
    let number = call(|error| unsafe { rs2::rs2_get_api_version(error) }).unwrap_or(0);
    Version::of(number)
}

/// librealsense's context, which finds cameras and opens files.
pub(crate) struct Context(NonNull<rs2::rs2_context>);

impl Context {
    pub(crate) fn new() -> Result<Self, Fault> {
        messages::listen();
        // SAFETY: no precondition but the version that the bindings were made for.
        create(|error| unsafe { rs2::rs2_create_context(rs2::RS2_API_VERSION as c_int, error) }).map(Self)
    }

    /// Returns a device that plays a file, which is called `subject` in messages. Fails immediately if the file is not a
    /// complete recording.
    pub(crate) fn open_file(&self, path: &Path, subject: &str) -> Result<OpenDevice, Fault> {
        let path = CString::new(path.as_os_str().as_encoded_bytes())
            .map_err(|_| Fault::new("the file's name contains a zero byte"))?;
        let messages = Messages::of(subject);
        let player = messages.own_threads_of(|| {
            // SAFETY: the context is alive; librealsense copies the path, which ends with a zero.
            create(|error| unsafe { rs2::rs2_context_add_device(self.0.as_ptr(), path.as_ptr(), error) })
        })?;
        Ok(OpenDevice::player(player, messages))
    }

    /// Returns the attached cameras, in librealsense's order, without opening one.
    pub(crate) fn devices(&self) -> Result<DeviceList, Fault> {
        // SAFETY: the context is alive.
        let list = create(|error| unsafe { rs2::rs2_query_devices(self.0.as_ptr(), error) })?;
        let mut devices = DeviceList { list, count: 0 };
        // SAFETY: the list is alive.
        devices.count = call(|error| unsafe { rs2::rs2_get_device_count(list.as_ptr(), error) })?;
        Ok(devices)
    }

    /// Adds a software camera to the context until the returned guard is dropped.
    #[cfg(test)]
    pub(crate) fn plug_in(&self, camera: &crate::tests::software::SoftwareCamera) -> Plugged {
        // SAFETY: the context is alive.
        unsafe { camera.plug_into(self.0) }
    }

    /// Removes a file from the context's devices, which librealsense treats as unplugging.
    #[cfg(test)]
    pub(crate) fn remove_file(&self, path: &Path) -> Result<(), Fault> {
        let path =
            CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| Fault::new("a zero byte"))?;
        // SAFETY: the context is alive; librealsense copies the path.
        call(|error| unsafe { rs2::rs2_context_remove_device(self.0.as_ptr(), path.as_ptr(), error) })
    }
}

/// The attached cameras.
pub(crate) struct DeviceList {
    list: NonNull<rs2::rs2_device_list>,
    count: c_int,
}

impl DeviceList {
    /// Returns their number.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.count).unwrap_or(0)
    }

    /// Opens the camera at `index`, which has to be less than the number.
    pub(crate) fn open(&self, index: usize) -> Result<OpenDevice, Fault> {
        #[cfg(test)]
        OPENED.set(OPENED.get() + 1);
        // SAFETY: the list is alive; librealsense checks the index.
        create(|error| unsafe { rs2::rs2_create_device(self.list.as_ptr(), index as c_int, error) })
            .map(OpenDevice::new)
    }
}

#[cfg(test)]
thread_local! {
    /// Number of cameras that this thread has opened.
    pub(crate) static OPENED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

impl Drop for DeviceList {
    fn drop(&mut self) {
        // SAFETY: the list is this guard's own, and deleted once. Devices own themselves.
        unsafe { rs2::rs2_delete_device_list(self.list.as_ptr()) }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: made by `new`, deleted once. Objects made from it share ownership of the objects that they need.
        unsafe { rs2::rs2_delete_context(self.0.as_ptr()) }
    }
}
