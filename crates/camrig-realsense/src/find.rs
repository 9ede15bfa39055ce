//! Which device is meant: the attached cameras, and files.
//!
//! It knows no streams.

use std::path::Path;

use camrig::{Device, DriverError};
use realsense_rust::context::Context as ViewContext;
use realsense_rust::device::Device as DeviceView;
use realsense_rust::kind::Rs2CameraInfo;

use crate::profiles::list;
use crate::sys::{Context, Fault, OpenDevice};
use crate::turn::Turns;

/// How errors call the device.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    Live(String),
    File(String),
}

impl Subject {
    /// librealsense fails where it should not: a camera that is used by someone else, or a broken file.
    pub(crate) fn refuses(&self, fault: &Fault) -> DriverError {
        match self {
            Self::Live(_) => DriverError::unavailable(format!("{self} cannot be used: {fault}")),
            Self::File(_) => DriverError::new(format!("{self} cannot be played: {fault}")),
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Live(serial) => write!(f, "camera `{serial}`"),
            Self::File(path) => write!(f, "file `{path}`"),
        }
    }
}

/// The attached cameras.
pub(crate) fn devices() -> Result<Vec<Device>, DriverError> {
    let _turn = Turns::of_this_host().take("a list of devices")?;
    let context = ViewContext::new()
        .map_err(|error| DriverError::new(format!("librealsense cannot be used: {}", error.1)))?;
    Ok(context.query_devices([].into()).iter().map(describe).collect())
}

pub(crate) fn describe(device: &DeviceView) -> Device {
    let info = |kind| device.info(kind).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
    Device {
        model: info(Rs2CameraInfo::Name),
        serial: info(Rs2CameraInfo::SerialNumber),
        firmware: info(Rs2CameraInfo::FirmwareVersion),
        usb_type: info(Rs2CameraInfo::UsbTypeDescriptor),
        usb_port: String::new(),
        profiles: Vec::new(),
    }
}

/// The connected camera with this serial number. It does not wait for one, as librealsense's own search does.
pub(crate) fn find(context: &Context, serial: &str) -> Result<OpenDevice, DriverError> {
    let devices = context
        .devices()
        .map_err(|fault| DriverError::unavailable(format!("RealSense cameras cannot be listed: {fault}")))?;
    let mut others = Vec::new();
    for device in devices {
        match device.map(|device| (describe(device.device()).serial, device)) {
            Ok((own, device)) if own == serial => return Ok(device),
            Ok((own, _)) => others.push(format!("`{own}`")),
            Err(fault) => others.push(format!("one that cannot be opened ({fault})")),
        }
    }
    let connected = list(others.into_iter());
    Err(DriverError::unavailable(format!(
        "no RealSense camera with serial `{serial}` is connected; connected: {connected}"
    )))
}

pub(crate) fn open_file(context: &Context, path: &Path) -> Result<OpenDevice, DriverError> {
    let name = path.display();
    match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(DriverError::new(format!("file `{name}` does not exist")));
        }
        Err(error) => return Err(DriverError::new(format!("file `{name}` cannot be read: {error}"))),
        Ok(metadata) if metadata.is_dir() => {
            return Err(DriverError::new(format!("file `{name}` is a directory")));
        }
        Ok(_) => {}
    }
    context.open_file(path).map_err(|fault| {
        let told = fault.to_string();
        let reason = if told.contains("unindexed") {
            // The recorder writes the index last, and was killed before.
            "is not closed properly (bag unindexed)"
        } else if told.contains("Error reading from file") {
            // It begins as a recording and ends too soon: it was not copied to its end.
            "is cut off"
        } else {
            "is not a recording that librealsense can play"
        };
        DriverError::new(format!("file `{name}` {reason}: {fault}"))
    })
}
