//! The trait of camera drivers.

use std::ops::Range;
use std::time::Duration;

use camrig_frame::{CameraInfo, Clock};
pub use camrig_frame::{Control, ControlRange, ControlValue, Device, DeviceProfile};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

pub use crate::error::DriverError;
use crate::output::{CameraOutput, OutputError};

/// A source of framesets for a camera. Registered with [`App::driver`](crate::App::driver).
///
/// A driver stays on its camera's own thread, from [`Driver::open`] until it is dropped; it need not be `Send`.
pub trait Driver: Sized + 'static {
    /// The type of a camera's `options`.
    ///
    /// Its schema describes them: `camrig list` shows the names, types, defaults and documentation of its fields,
    /// and a topology is checked against it. `#[serde(deny_unknown_fields)]` detects misspelled names.
    ///
    /// ```
    /// use camrig::prelude::*;
    /// use serde::Deserialize;
    ///
    /// #[derive(Deserialize, JsonSchema)]
    /// #[schemars(crate = "camrig::schemars")] // Not needed by a crate that depends on schemars itself.
    /// #[serde(deny_unknown_fields)]
    /// struct Options {
    ///     /// Time before the first frameset.
    ///     #[serde(default)]
    ///     #[schemars(range(max = 60_000), extend("x-unit" = "ms"))]
    ///     delay: u64,
    /// }
    /// ```
    type Options: DeserializeOwned + JsonSchema + Send + Sync + 'static;

    /// Checks options without accessing any device: ranges, profiles that the model does not have.
    ///
    /// # Errors
    /// A message with the fact and the choices.
    fn check(options: &Self::Options) -> Result<(), DriverError> {
        let _ = options;
        Ok(())
    }

    /// Returns the exclusive resources that these options use, such as `serial 943222071836`, or an output file: no two
    /// cameras can use the same.
    fn claims(options: &Self::Options) -> Vec<String> {
        let _ = options;
        Vec::new()
    }

    /// Returns the streams that a camera with these options sends, as far as they are known without the device: the
    /// memory that they take is known before anything starts then.
    fn streams(options: &Self::Options) -> Vec<DeviceProfile> {
        let _ = options;
        Vec::new()
    }

    /// Returns the clock by which a camera with these options stamps its frames; `None` if that is not known without the
    /// device. A topology's `match` is checked against it, and chooses its clock by it.
    fn clock(options: &Self::Options) -> Option<Clock> {
        let _ = options;
        None
    }

    /// Returns the cameras of another host whose framesets a camera with these options passes on, by
    /// [`CameraOutput::loan_relayed`]; an empty list for one camera of the same name, `None` for a camera of this host. The
    /// descriptions of relayed cameras have their poses. A limit of framesets is that of the other host, and a rig whose
    /// cameras have [stopped](crate::RigHandle::drain) takes the framesets that arrive until [`Captured::End`].
    fn relayed(options: &Self::Options) -> Option<Vec<RelayedCamera>> {
        let _ = options;
        None
    }

    /// Returns the command of the process that runs a camera with these options, where that is another program than this
    /// one: the program and its arguments. Such a camera is in a process of its own, or in one with other actors of the
    /// same command.
    fn command(options: &Self::Options) -> Option<Vec<String>> {
        let _ = options;
        None
    }

    /// Checks that the device or file exists and fits the options, without starting it. Returns the device that the
    /// options select, by which two cameras with the same device are detected; `None` for a file.
    ///
    /// # Errors
    /// A message with the fact and the choices.
    fn probe(options: &Self::Options) -> Result<Option<Device>, DriverError> {
        let _ = options;
        Ok(None)
    }

    /// Returns the device that an earlier [`Driver::probe`] of the same options found, if the machine shows that it is still
    /// connected, without opening it. A run looks here first, and probes only devices that are not known; `camrig check` always
    /// probes. [`Driver::open`] has to check the options again.
    fn recall(options: &Self::Options) -> Option<Device> {
        let _ = options;
        None
    }

    /// Returns the times of the start and the end of the recording that a camera with these options plays at its own pace, in
    /// nanoseconds since 1970; `None` for a live camera, or if its times are not known. Recordings of one topology that overlap
    /// each other [join](Driver::join) the same timeline.
    ///
    /// # Errors
    /// If the recording cannot be read.
    fn recorded(options: &Self::Options) -> Result<Option<Range<u64>>, DriverError> {
        let _ = options;
        Ok(None)
    }

    /// Opens the device for the camera called `name`, without starting it.
    ///
    /// # Errors
    /// If the device cannot be opened.
    fn open(name: &str, options: Self::Options) -> Result<Self, DriverError>;

    /// Returns the description of the camera. Its `streams` determine the size of the slots. The camera actor sets
    /// `name` and `driver`.
    fn info(&self) -> CameraInfo;

    /// Sets the timeline that contains [`Driver::recorded`]. Called once before [`Driver::start`], which is the timeline's
    /// start. A camera whose recording begins later waits with [`CameraOutput::wait`].
    fn join(&mut self, timeline: Range<u64>) {
        let _ = timeline;
    }

    /// Returns whether a declared stream may be silent while others continue, as in a recording. For other cameras that is a
    /// failure after `stall_timeout_millis`.
    fn may_fall_silent(&self) -> bool {
        false
    }

    /// Starts framesets. Called once, when every actor of the rig is ready.
    ///
    /// # Errors
    /// If the device cannot be started.
    fn start(&mut self) -> Result<(), DriverError> {
        Ok(())
    }

    /// Resets the device that these options select, as if it had been unplugged and plugged in again. The supervisor
    /// calls it if a restart of the camera did not help; [`Driver::open`] follows, and may find the device
    /// [unavailable](DriverError::unavailable) for some time.
    ///
    /// # Errors
    /// If the device cannot be reset. The error is logged, and the device opened without a reset.
    fn reset(name: &str, options: &Self::Options) -> Result<(), DriverError> {
        let _ = (name, options);
        Ok(())
    }

    /// Waits at most `timeout` for the next frameset and publishes it through `output`.
    ///
    /// # Errors
    /// If the camera cannot continue.
    fn capture(&mut self, output: &mut CameraOutput, timeout: Duration) -> Result<Captured, DriverError>;

    /// Returns the options of the open device that can be read, and mostly set, while it runs, with their present values.
    /// Called between two calls of [`Driver::capture`], or before [`Driver::start`]: no frameset is captured during the call.
    fn controls(&self) -> Vec<Control> {
        Vec::new()
    }

    /// Sets the control called `name`, at the time of [`Driver::controls`], and returns the value that the device has
    /// then. [`Control::accept`] checks a value.
    ///
    /// # Errors
    /// If there is no such control, it cannot be set to `value`, or the device refuses. The camera continues.
    fn set(&mut self, name: &str, value: &ControlValue) -> Result<ControlValue, DriverError> {
        let _ = value;
        Err(DriverError::new(format!("the camera has no option `{name}` that can be set while it runs")))
    }

    /// Returns the options of the open device as the text of a file from which the vendor's programs load them:
    /// `camrig options CAMERA --save` writes it. A control whose range is [`ControlRange::File`] loads such a file.
    ///
    /// # Errors
    /// If there are no such files, or the device does not report its options.
    fn preset(&self) -> Result<String, DriverError> {
        Err(DriverError::new("the driver of the camera knows no files of options"))
    }

    /// Returns the library through which the driver reaches its devices, with its version, such as `librealsense 2.57.7`;
    /// `None` if it needs none. `camrig doctor` shows it.
    ///
    /// # Errors
    /// If the library is missing, with advice.
    fn library() -> Result<Option<String>, DriverError> {
        Ok(None)
    }

    /// Stops the streams, and keeps the device open: no call of [`Driver::capture`] follows before [`Driver::resume`].
    /// Called between two calls of [`Driver::capture`].
    ///
    /// # Errors
    /// If the driver cannot pause, or the device refuses. The camera continues.
    fn pause(&mut self) -> Result<(), DriverError> {
        Err(DriverError::new("the driver of the camera cannot pause it"))
    }

    /// Starts the streams again after [`Driver::pause`]. Frames that the device would have delivered meanwhile are not lost: the
    /// frame numbers that are missing then are not counted.
    ///
    /// # Errors
    /// If the device does not start again. The camera has failed then.
    fn resume(&mut self) -> Result<(), DriverError> {
        Ok(())
    }

    /// Returns the attached devices of this driver; `None` if the driver has no devices to attach.
    ///
    /// # Errors
    /// If they cannot be listed.
    fn devices() -> Result<Option<Vec<Device>>, DriverError> {
        Ok(None)
    }
}

/// A camera whose framesets pass through other actors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelayedCamera {
    /// Its name.
    pub name: String,
    /// The clock of its timestamps; `None` if it is not known before the first frameset.
    pub clock: Option<Clock>,
}

/// Outcome of [`Driver::capture`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Captured {
    /// One frameset was published, or counted as dropped.
    FrameSet,
    /// No frameset arrived in time. A camera that continues like this is stalled, unless it waits by [`CameraOutput::wait`].
    Nothing,
    /// There will be no more framesets, as at the end of a file.
    End,
}

impl From<OutputError> for DriverError {
    fn from(error: OutputError) -> Self {
        Self::new(error.to_string())
    }
}
