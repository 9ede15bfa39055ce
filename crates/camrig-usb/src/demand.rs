//! The demand of one camera.

use camrig_frame::DeviceProfile;

/// The USB bandwidth that a camera needs, as far as its options determine it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsbDemand {
    /// The serial number, if the options select the device by it.
    pub serial: Option<String>,
    /// The physical port, such as `2-1.3`, if the options select the device by it.
    pub port: Option<String>,
    /// A word of the model's name, such as `D435`, if the options select the device by it.
    pub name: Option<String>,
    /// Whether the driver refuses the device on USB 2 with these options.
    pub refuses_usb2: bool,
    /// The streams that run.
    pub streams: Vec<DeviceProfile>,
    /// The profiles that each stream of the model has, if they are known without the device; or empty.
    pub profiles: Vec<DeviceProfile>,
}
