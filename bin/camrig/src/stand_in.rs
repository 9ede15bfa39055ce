//! USB and memory requirements of RealSense cameras, without librealsense.
//!
//! `camrig plan` is used before cameras are available, and therefore in programs without their driver. This type parses
//! only the driver options that determine the streams of each camera, and leaves the others to the driver.

use std::path::PathBuf;
use std::time::Duration;

use camrig::frame::{CameraInfo, Format, PixelFormat, Stream, StreamProfile};
use camrig::{CameraOutput, Captured, DeviceProfile, Driver, DriverError};
use camrig_usb::UsbDemand;
use serde::Deserialize;

/// Stand-in for the driver `realsense`. It is never instantiated.
pub(crate) enum RealSense {}

/// Some options of the driver `realsense`; any others are accepted.
#[derive(Deserialize, camrig::schemars::JsonSchema)]
#[schemars(crate = "camrig::schemars")]
pub(crate) struct Options {
    serial: Option<String>,
    port: Option<String>,
    name: Option<String>,
    any: Option<bool>,
    file: Option<PathBuf>,
    depth: Option<StreamProfile>,
    color: Option<StreamProfile>,
    infrared_1: Option<StreamProfile>,
    infrared_2: Option<StreamProfile>,
    accel: Option<u32>,
    gyro: Option<u32>,
}

impl Options {
    /// Returns what a live camera with these options needs of USB.
    pub(crate) fn usb_demand(&self) -> Option<UsbDemand> {
        if self.file.is_some() {
            return None;
        }
        let motion = |rate: Option<u32>| rate.and_then(|rate| StreamProfile::of_motion(rate).ok());
        let streams = [
            // Whatever it is converted to: that is what comes over USB.
            (Stream::COLOR, PixelFormat::Yuyv.into(), self.color),
            (Stream::DEPTH, PixelFormat::Z16.into(), self.depth),
            (Stream::INFRARED_1, PixelFormat::Y8.into(), self.infrared_1),
            (Stream::INFRARED_2, PixelFormat::Y8.into(), self.infrared_2),
            (Stream::ACCEL, Format::Motion, motion(self.accel)),
            (Stream::GYRO, Format::Motion, motion(self.gyro)),
        ];
        let stream = |(stream, format, profile): (_, _, Option<_>)| {
            profile.map(|profile| DeviceProfile { stream, format, profile })
        };
        let name = self.name.as_deref().map(|name| name.rsplit(' ').next().unwrap_or_default());
        let name = name.or_else(|| (self.any == Some(true)).then_some("RealSense"));
        Some(UsbDemand {
            serial: self.serial.clone(),
            port: self.port.clone(),
            name: name.map(str::to_owned),
            streams: streams.into_iter().filter_map(stream).collect(),
            ..UsbDemand::default()
        })
    }
}

impl Driver for RealSense {
    type Options = Options;

    fn streams(options: &Options) -> Vec<DeviceProfile> {
        options.usb_demand().map(|demand| demand.streams).unwrap_or_default()
    }

    fn open(_: &str, _: Options) -> Result<Self, DriverError> {
        Err(DriverError::new("this program was built without librealsense"))
    }

    fn info(&self) -> CameraInfo {
        match *self {}
    }

    fn capture(&mut self, _: &mut CameraOutput, _: Duration) -> Result<Captured, DriverError> {
        match *self {}
    }
}
