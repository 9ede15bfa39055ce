//! Finds the selected device among the attached cameras, and opens files.
//!
//! It does not depend on streams.

use std::path::Path;

use camrig::{Device, DeviceProfile, DriverError};
use realsense_rust::device::Device as DeviceView;
use realsense_rust::kind::Rs2CameraInfo;

use crate::names::list;
use crate::profiles::{Candidate, candidates};
use crate::request::Selection;
use crate::sys::{Context, Fault, OpenDevice};
use crate::turn::Turns;

/// Creates a context, which finds devices. For live cameras the caller has to hold the host-wide lock.
pub(crate) fn context() -> Result<Context, DriverError> {
    Context::new().map_err(|fault| DriverError::unavailable(format!("librealsense cannot be used: {fault}")))
}

/// Returns the attached cameras.
pub(crate) fn devices() -> Result<Vec<Device>, DriverError> {
    let _turn = Turns::of_this_host().take("a list of devices")?;
    devices_in(&context()?)
}

/// Returns the cameras of `context`. One that cannot be opened is logged and omitted.
pub(crate) fn devices_in(context: &Context) -> Result<Vec<Device>, DriverError> {
    let devices = context
        .devices()
        .map_err(|fault| DriverError::unavailable(format!("RealSense cameras cannot be listed: {fault}")))?;
    let look = |device: Result<OpenDevice, Fault>| -> Result<Device, Fault> {
        let device = device?;
        let (candidates, _) = candidates(&device.sensors()?);
        let profiles = candidates.into_iter().map(|candidate| {
            let Candidate { stream, format, profile, .. } = candidate;
            DeviceProfile { stream, format, profile }
        });
        Ok(Device { profiles: profiles.collect(), ..describe(device.device()) })
    };
    let warn = |fault: &Fault| log::warn!("a RealSense camera cannot be opened: {fault}");
    let mut devices: Vec<_> =
        devices.into_iter().filter_map(|device| look(device).inspect_err(warn).ok()).collect();
    // librealsense's order varies.
    devices.sort_by(|one, other| one.serial.cmp(&other.serial));
    Ok(devices)
}

/// Returns the description of a device, without its streams.
pub(crate) fn describe(device: &DeviceView) -> Device {
    let info = |kind| device.info(kind).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
    Device {
        model: info(Rs2CameraInfo::Name),
        serial: info(Rs2CameraInfo::SerialNumber),
        firmware: info(Rs2CameraInfo::FirmwareVersion),
        usb_type: info(Rs2CameraInfo::UsbTypeDescriptor),
        usb_port: usb_port(&info(Rs2CameraInfo::PhysicalPort)),
        profiles: Vec::new(),
    }
}

/// Returns the port as sysfs names it, such as `2-1.3`; empty if librealsense does not report it.
///
/// With V4L2 librealsense reports a path of sysfs, with libusb the port and, after a dash, the device's number.
fn usb_port(physical_port: &str) -> String {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_port = |text: &&str| {
        text.split_once('-').is_some_and(|(bus, ports)| is_number(bus) && ports.split('.').all(is_number))
    };
    // The innermost one: those before it are hubs.
    if let Some(port) = physical_port.split('/').rev().find(is_port) {
        return port.to_owned();
    }
    let port = physical_port.rsplit_once('-').map(|(port, _)| port);
    port.filter(is_port).unwrap_or_default().to_owned()
}

impl Selection {
    fn matches(&self, device: &Device) -> bool {
        match self {
            Self::Serial(serial) => device.serial == *serial,
            Self::Port(port) => device.usb_port == *port,
            Self::Name(name) => {
                let last_word = device.model.rsplit(' ').next().unwrap_or_default();
                device.model.eq_ignore_ascii_case(name) || last_word.eq_ignore_ascii_case(name)
            }
            Self::Any => true,
        }
    }

    /// Returns whether at most one device can match.
    fn is_unique(&self) -> bool {
        matches!(self, Self::Serial(_) | Self::Port(_))
    }
}

/// Returns the selected camera. Unlike librealsense's own search, it does not wait for one.
pub(crate) fn find(context: &Context, selection: &Selection) -> Result<(OpenDevice, Device), DriverError> {
    let devices = context
        .devices()
        .map_err(|fault| DriverError::unavailable(format!("RealSense cameras cannot be listed: {fault}")))?;
    let (mut matching, mut others) = (Vec::new(), Vec::new());
    for device in devices {
        match device.map(|device| (describe(device.device()), device)) {
            Ok((own, device)) if selection.matches(&own) => {
                matching.push((device, own));
                // Each examined device is opened for a moment: no more than necessary.
                if selection.is_unique() {
                    break;
                }
            }
            Ok((own, _)) => others.push(brief(&own)),
            Err(fault) => others.push(format!("one that cannot be opened ({fault})")),
        }
    }
    if matching.len() > 1 {
        // librealsense's order varies.
        matching.sort_by(|(_, one), (_, other)| one.serial.cmp(&other.serial));
        let (count, which) = (matching.len(), list(matching.iter().map(|(_, own)| brief(own))));
        let matched = match selection {
            Selection::Any => "are connected".to_owned(),
            selection => format!("match {selection}"),
        };
        return Err(DriverError::new(format!(
            "{count} RealSense cameras {matched}: {which}; say by `serial` or `port` which one is meant"
        )));
    }
    matching.pop().ok_or_else(|| {
        let with = match selection {
            Selection::Serial(serial) => format!(" with serial `{serial}`"),
            Selection::Port(port) => format!(" at USB port `{port}`"),
            Selection::Name(name) => format!(" named `{name}`"),
            Selection::Any => String::new(),
        };
        let connected = list(others.into_iter());
        DriverError::unavailable(format!("no RealSense camera{with} is connected; connected: {connected}"))
    })
}

/// Resets the selected camera, which then disappears for some seconds and comes back with the same serial.
pub(crate) fn reset(who: &str, selection: &Selection) -> Result<(), DriverError> {
    let _turn = Turns::of_this_host().take(who)?;
    reset_in(&context()?, selection)
}

/// Returns whether the selected camera is connected.
pub(crate) fn is_connected(who: &str, selection: &Selection) -> Result<bool, DriverError> {
    let _turn = Turns::of_this_host().take(who)?;
    match find(&context()?, selection) {
        Ok(_) => Ok(true),
        Err(error) if error.is_unavailable() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Like [`reset`], among the devices of `context`.
pub(crate) fn reset_in(context: &Context, selection: &Selection) -> Result<(), DriverError> {
    let (device, Device { serial, .. }) = find(context, selection)?;
    device
        .hardware_reset()
        .map_err(|fault| DriverError::unavailable(format!("camera `{serial}` cannot be reset: {fault}")))
}

/// Formats a camera in a list.
fn brief(device: &Device) -> String {
    let Device { model, serial, usb_port, .. } = device;
    let port = if usb_port.is_empty() { String::new() } else { format!(" at USB port {usb_port}") };
    format!("`{serial}` ({model}{port})")
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
            // The start is valid, but the end is missing: the file was not copied completely.
            "is cut off"
        } else {
            "is not a recording that librealsense can play"
        };
        DriverError::new(format!("file `{name}` {reason}: {fault}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_named_as_in_sysfs() {
        for (physical_port, port) in [
            ("/sys/devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1.3/2-1.3:1.0/video4linux/video0", "2-1.3"),
            ("/sys/devices/platform/3610000.xhci/usb2/2-3/2-3:1.0/video4linux/video4", "2-3"),
            ("2-1.3.4-17", "2-1.3.4"),
            ("4-2-9", "4-2"),
            ("/sys/devices/platform/cam/video4linux/video0", ""),
            ("video-i2c", ""),
            ("", ""),
        ] {
            assert_eq!(usb_port(physical_port), port, "{physical_port}");
        }
    }
}
