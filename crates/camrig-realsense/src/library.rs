//! The functions of the half that needs librealsense, as the driver calls them.

use std::ops::Range;
use std::time::Duration;

use camrig::frame::{CameraInfo, Clock};
use camrig::{CameraOutput, Captured, Control, ControlValue, Device, DriverError};

use crate::options::Options;
use crate::request::CameraRequest;

/// The half of the driver that needs librealsense.
pub(crate) struct Library {
    pub(crate) probe: fn(CameraRequest) -> Result<Option<Device>, DriverError>,
    pub(crate) recall: fn(&CameraRequest) -> Option<Device>,
    pub(crate) recorded: fn(CameraRequest) -> Result<Option<Range<u64>>, DriverError>,
    pub(crate) clock: fn(CameraRequest) -> Option<Clock>,
    pub(crate) open: fn(&str, &Options) -> OpenResult,
    pub(crate) reset: fn(&str, &Options) -> Result<(), DriverError>,
    pub(crate) devices: fn() -> Result<Vec<Device>, DriverError>,
    pub(crate) describe: fn() -> Result<String, DriverError>,
}

/// An open camera, or the reason why there is none.
pub(crate) type OpenResult = Result<Box<dyn Opened>, DriverError>;

/// An open camera; the functions are those of [`Driver`](camrig::Driver).
pub(crate) trait Opened {
    fn start(&mut self) -> Result<(), DriverError>;
    fn info(&self) -> CameraInfo;
    /// Sets the timeline of a file with these times.
    fn join(&mut self, recorded: Range<u64>, timeline: Range<u64>);
    fn may_fall_silent(&self) -> bool;
    fn controls(&self) -> Vec<Control>;
    fn set(&mut self, name: &str, value: &ControlValue) -> Result<ControlValue, DriverError>;
    fn preset(&self) -> Result<String, DriverError>;
    fn pause(&mut self) -> Result<(), DriverError>;
    fn resume(&mut self) -> Result<(), DriverError>;
    fn capture(&mut self, output: &mut CameraOutput, timeout: Duration) -> Result<Captured, DriverError>;
}
