//! Devices as drivers list them.

use serde::Serialize;

use crate::{Format, Role, Stream, StreamInfo, StreamProfile};

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
    /// The profiles of its streams; empty if they are not known.
    pub profiles: Vec<DeviceProfile>,
    /// The reason why it cannot be used as it is, such as that it is in recovery mode; empty where there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub problem: String,
}

impl Device {
    /// Returns whether it is known not to be on USB, but for example on GMSL or Ethernet: its driver reports neither a
    /// USB port nor a USB connection.
    pub fn is_off_usb(&self) -> bool {
        self.problem.is_empty() && self.usb_port.is_empty() && self.usb_type.is_empty()
    }

    /// Returns whether it is connected by USB 2, where cameras are slower.
    pub fn is_on_usb2(&self) -> bool {
        self.usb_type.starts_with('2')
    }
}

/// A stream as a device can deliver it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceProfile {
    /// Name of the stream.
    pub stream: Stream,
    /// Format of its frames.
    pub format: Format,
    /// Its size and rate; of motion [`StreamProfile::of_motion`].
    pub profile: StreamProfile,
}

impl DeviceProfile {
    /// Returns the profile of a declared stream; `None` where its frames have no size in pixels.
    pub fn of(info: &StreamInfo) -> Option<Self> {
        Some(Self { stream: info.stream, format: info.format(), profile: info.profile()? })
    }

    /// Returns whether its frames are samples of motion.
    pub fn is_motion(&self) -> bool {
        self.format.role() == Role::Motion
    }
}
