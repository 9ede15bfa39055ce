//! The driver of a build without librealsense: it checks options, and cannot open a camera.

use std::time::Duration;

use camrig::frame::CameraInfo;
use camrig::{CameraOutput, Captured, Device, DeviceProfile, Driver, DriverError};

use crate::options::Options;
use crate::request::Request;

/// The reason, and what to do.
const NO_LIBRARY: &str =
    "this build has no librealsense: build it with `--features realsense` (`just sdk` installs the library)";

/// The driver `realsense` of a build without librealsense. It has no instances.
pub enum RealSense {}

impl Driver for RealSense {
    type Options = Options;

    fn check(options: &Options) -> Result<(), DriverError> {
        Request::new(options).map(drop)
    }

    fn claims(options: &Options) -> Vec<String> {
        options.claims()
    }

    fn streams(options: &Options) -> Vec<DeviceProfile> {
        options.usb_demand().map(|demand| demand.streams).unwrap_or_default()
    }

    fn probe(_: &Options) -> Result<Option<Device>, DriverError> {
        Err(DriverError::new(NO_LIBRARY))
    }

    fn open(_: &str, _: Options) -> Result<Self, DriverError> {
        Err(DriverError::new(NO_LIBRARY))
    }

    fn info(&self) -> CameraInfo {
        match *self {}
    }

    fn capture(&mut self, _: &mut CameraOutput, _: Duration) -> Result<Captured, DriverError> {
        match *self {}
    }

    fn devices() -> Result<Option<Vec<Device>>, DriverError> {
        Err(DriverError::new(NO_LIBRARY))
    }
}
