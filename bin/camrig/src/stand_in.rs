//! USB and memory requirements of RealSense cameras, without librealsense.
//!
//! `camrig plan` is used before cameras are available, and therefore in programs without their driver. This type parses
//! only the driver options that determine the streams of each camera, and leaves the others to the driver.

use std::path::PathBuf;
use std::time::Duration;

use camrig::frame::{CameraInfo, Format, PixelFormat, Stream, StreamProfile};
use camrig::{CameraOutput, Captured, DeviceProfile, Driver, DriverError, UsbDemand};
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

impl Driver for RealSense {
    type Options = Options;

    fn usb(options: &Options) -> Option<UsbDemand> {
        if options.file.is_some() {
            return None;
        }
        let motion = |rate: Option<u32>| rate.and_then(|rate| StreamProfile::of_motion(rate).ok());
        let streams = [
            // Independent of the color format: this is what is transferred over USB.
            (Stream::COLOR, PixelFormat::Yuyv.into(), options.color),
            (Stream::DEPTH, PixelFormat::Z16.into(), options.depth),
            (Stream::INFRARED_1, PixelFormat::Y8.into(), options.infrared_1),
            (Stream::INFRARED_2, PixelFormat::Y8.into(), options.infrared_2),
            (Stream::ACCEL, Format::Motion, motion(options.accel)),
            (Stream::GYRO, Format::Motion, motion(options.gyro)),
        ];
        let stream = |(stream, format, profile): (_, _, Option<_>)| {
            profile.map(|profile| DeviceProfile { stream, format, profile })
        };
        let name = options.name.as_deref().map(|name| name.rsplit(' ').next().unwrap_or_default());
        let name = name.or_else(|| (options.any == Some(true)).then_some("RealSense"));
        Some(UsbDemand {
            serial: options.serial.clone(),
            port: options.port.clone(),
            name: name.map(str::to_owned),
            streams: streams.into_iter().filter_map(stream).collect(),
            ..UsbDemand::default()
        })
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
