//! The driver `realsense`: options are checked in every build, devices need librealsense.

use std::ops::Range;
use std::time::Duration;

use camrig::frame::{CameraInfo, Clock};
use camrig::{CameraOutput, Captured, Control, ControlValue, Device, DeviceProfile, Driver, DriverError};

use crate::library::{Library, Opened};
use crate::options::Options;
use crate::request::{CameraRequest, FileRequest, SourceRequest};

/// The reason why a build without librealsense has no devices, with advice.
const NO_LIBRARY: &str =
    "this build has no librealsense: build it with `--features realsense` (`just sdk` installs the library)";

#[cfg(feature = "librealsense")]
const LIBRARY: Option<Library> = Some(crate::driver::LIBRARY);
#[cfg(not(feature = "librealsense"))]
const LIBRARY: Option<Library> = None;

fn library() -> Result<Library, DriverError> {
    LIBRARY.ok_or_else(|| DriverError::new(NO_LIBRARY))
}

/// A RealSense camera, live or recorded.
///
/// A frameset holds librealsense's own frames until its last handle is dropped; nothing is copied. librealsense limits
/// the frames in use to 16 per stream (32 for a file) and then silently stops, so every frame is marked as kept when it
/// arrives: it then no longer counts towards the limit, but its memory is still recycled. Memory is bounded by the
/// driver's own limits: the camera's `slots`, 8 frames per stream in the queue, and those of 0.3 seconds (or three of
/// the slowest stream's intervals) that wait for a partner.
///
/// Samples of motion are copied: they are part of the first frameset that is not older than they are.
///
/// From a file with `real_time = false` every frame arrives exactly once, however slow its consumers are. At the pace
/// of the recording, and from a live camera, frames that find the queue full are lost, which leaves a gap in their
/// numbers. Frames that a player at that pace drops after the last delivered frame are not counted: librealsense
/// reports the duration of a file, but not its number of frames.
pub struct RealSense {
    camera: Box<dyn Opened>,
    options: Options,
}

impl Driver for RealSense {
    type Options = Options;

    fn check(options: &Options) -> Result<(), DriverError> {
        CameraRequest::new(options).map(drop)
    }

    fn claims(options: &Options) -> Vec<String> {
        options.claims()
    }

    fn streams(options: &Options) -> Vec<DeviceProfile> {
        options.usb_demand().map(|demand| demand.streams).unwrap_or_default()
    }

    fn probe(options: &Options) -> Result<Option<Device>, DriverError> {
        (library()?.probe)(CameraRequest::new(options)?)
    }

    fn recall(options: &Options) -> Option<Device> {
        (library().ok()?.recall)(&CameraRequest::new(options).ok()?)
    }

    fn recorded(options: &Options) -> Result<Option<Range<u64>>, DriverError> {
        let request = CameraRequest::new(options)?;
        match &request.source {
            SourceRequest::File(FileRequest { real_time: true, start_offset: None, .. }) => {
                (library()?.recorded)(request)
            }
            _ => Ok(None),
        }
    }

    /// Returns the clock of a live camera only if the topology determines it. Without metadata from the kernel, a camera
    /// has another clock by default.
    fn clock(options: &Options) -> Option<Clock> {
        let request = CameraRequest::new(options).ok()?;
        match &request.source {
            SourceRequest::File(_) => (library().ok()?.clock)(request),
            SourceRequest::Live(live) => live.settings.clock(),
        }
    }

    fn open(name: &str, options: Options) -> Result<Self, DriverError> {
        Ok(Self { camera: (library()?.open)(name, &options)?, options })
    }

    fn start(&mut self) -> Result<(), DriverError> {
        self.camera.start()
    }

    fn info(&self) -> CameraInfo {
        self.camera.info()
    }

    fn join(&mut self, timeline: Range<u64>) {
        // The supervisor read the same times.
        if let Ok(Some(recorded)) = Self::recorded(&self.options) {
            self.camera.join(recorded, timeline);
        }
    }

    fn may_fall_silent(&self) -> bool {
        self.camera.may_fall_silent()
    }

    fn reset(name: &str, options: &Options) -> Result<(), DriverError> {
        (library()?.reset)(name, options)
    }

    fn capture(&mut self, output: &mut CameraOutput, timeout: Duration) -> Result<Captured, DriverError> {
        self.camera.capture(output, timeout)
    }

    fn controls(&self) -> Vec<Control> {
        self.camera.controls()
    }

    fn set(&mut self, name: &str, value: &ControlValue) -> Result<ControlValue, DriverError> {
        self.camera.set(name, value)
    }

    fn preset(&self) -> Result<String, DriverError> {
        self.camera.preset()
    }

    fn library() -> Result<Option<String>, DriverError> {
        (library()?.describe)().map(Some)
    }

    fn pause(&mut self) -> Result<(), DriverError> {
        self.camera.pause()
    }

    fn resume(&mut self) -> Result<(), DriverError> {
        self.camera.resume()
    }

    fn devices() -> Result<Option<Vec<Device>>, DriverError> {
        (library()?.devices)().map(Some)
    }
}
