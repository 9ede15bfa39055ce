//! What a camera driver is.

use std::time::Duration;

use camrig_frame::{CameraInfo, Format, Stream, StreamInfo, StreamProfile};
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use crate::error::DriverError;
use crate::output::{CameraOutput, OutputError};

/// How a camera gets framesets. Registered with [`App::driver`](crate::App::driver).
///
/// A driver lives on its camera's own thread, from [`Driver::open`] to its drop; it need not be `Send`.
pub trait Driver: Sized + 'static {
    /// The type of a camera's `options`.
    ///
    /// Its schema describes them: `camrig list` shows the names, types, defaults and documentation of its fields,
    /// and a topology is checked against it. `#[serde(deny_unknown_fields)]` turns typing errors into messages.
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

    /// Checks options without looking at any device: ranges, profiles that the model does not have.
    ///
    /// # Errors
    /// A message that names the fact and the choices.
    fn check(options: &Self::Options) -> Result<(), DriverError> {
        let _ = options;
        Ok(())
    }

    /// What these options claim, such as `serial 943222071836`, or a file that is written: no two cameras can
    /// claim the same.
    fn claims(options: &Self::Options) -> Vec<String> {
        let _ = options;
        Vec::new()
    }

    /// What a camera with these options takes of USB while it runs, for `camrig plan`; none when it takes
    /// nothing, as a recorded file. Looks at no device.
    fn usb(options: &Self::Options) -> Option<UsbDemand> {
        let _ = options;
        None
    }

    /// Checks that the device or file is there and fits the options, without starting it.
    ///
    /// # Errors
    /// A message that names the fact and the choices.
    fn probe(options: &Self::Options) -> Result<(), DriverError> {
        let _ = options;
        Ok(())
    }

    /// Opens the device for the camera called `name`, without letting framesets flow yet.
    ///
    /// # Errors
    /// Why the device cannot be opened.
    fn open(name: &str, options: Self::Options) -> Result<Self, DriverError>;

    /// What the camera is. Its `streams` say how large the slots have to be. `name` and `driver` are filled
    /// in by the camera actor.
    fn info(&self) -> CameraInfo;

    /// Lets framesets flow. Called once, when every actor of the rig is ready.
    ///
    /// # Errors
    /// Why the device cannot be started.
    fn start(&mut self) -> Result<(), DriverError> {
        Ok(())
    }

    /// Resets the device that these options name, as if it had been unplugged and plugged in again. The
    /// supervisor asks for it when a restart of the camera did not help; [`Driver::open`] follows, and may find
    /// the device [unavailable](DriverError::unavailable) for some time.
    ///
    /// # Errors
    /// Why the device cannot be reset. It is logged, and the device opened as it is.
    fn reset(name: &str, options: &Self::Options) -> Result<(), DriverError> {
        let _ = (name, options);
        Ok(())
    }

    /// Waits at most `timeout` for the next frameset and publishes it through `output`.
    ///
    /// # Errors
    /// Why the camera cannot go on.
    fn capture(&mut self, output: &mut CameraOutput, timeout: Duration) -> Result<Captured, DriverError>;

    /// The devices of this driver that are attached; none when the driver has no devices to attach.
    ///
    /// # Errors
    /// Why they cannot be listed.
    fn devices() -> Result<Option<Vec<Device>>, DriverError> {
        Ok(None)
    }
}

/// What [`Driver::capture`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Captured {
    /// One frameset was published, or counted as dropped.
    FrameSet,
    /// No frameset came in time.
    Nothing,
    /// There will never be another one: the end of a file.
    End,
}

/// An attached device, as `camrig devices` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Device {
    /// The model, such as `Intel RealSense D435`.
    pub model: String,
    /// The serial number.
    pub serial: String,
    /// The firmware's version.
    pub firmware: String,
    /// The USB connection, such as `3.2`.
    pub usb_type: String,
    /// The physical USB port as a path from the root hub, such as `2-1.3`; empty where it is not known.
    pub usb_port: String,
    /// What each of its streams can be; empty where it is not known.
    pub profiles: Vec<DeviceProfile>,
}

/// A stream as a device can deliver it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceProfile {
    /// Which stream.
    pub stream: Stream,
    /// How its frames are stored.
    pub format: Format,
    /// Its size and rate; of motion [`StreamProfile::of_motion`].
    pub profile: StreamProfile,
}

impl DeviceProfile {
    /// The profile of a declared stream; `None` where its frames have no size in pixels.
    pub fn of(info: &StreamInfo) -> Option<Self> {
        Some(Self { stream: info.stream, format: info.format(), profile: info.profile()? })
    }

    /// Whether its frames are samples of motion.
    pub fn is_motion(&self) -> bool {
        self.format.role() == camrig_frame::Role::Motion
    }
}

/// What a camera takes of USB, as far as its options say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsbDemand {
    /// The serial number, where the options choose the device by it.
    pub serial: Option<String>,
    /// The physical port, such as `2-1.3`, where the options choose the device by it.
    pub port: Option<String>,
    /// A word of the model's name, such as `D435`, where the options choose the device by it.
    pub name: Option<String>,
    /// The streams that run.
    pub streams: Vec<DeviceProfile>,
    /// What each stream of the model could be instead, where that is known without the device; or empty.
    pub profiles: Vec<DeviceProfile>,
}

impl From<OutputError> for DriverError {
    fn from(error: OutputError) -> Self {
        Self::new(error.to_string())
    }
}
