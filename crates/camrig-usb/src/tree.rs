//! The USB tree as the kernel shows it in sysfs, and other properties of a machine that limit cameras on USB.
//!
//! It reads `/sys/bus/usb/devices`, or a copy of it. It has no knowledge of cameras, topologies and budgets, which
//! belong to `plan`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::attribute::read_attribute;
use crate::network::Interface;

/// Path of the tree on Linux.
pub const USB_TREE: &str = "/sys/bus/usb/devices";

/// Maximum number of devices that are read: 16 controllers with two full buses each.
const DEVICES_MAX: usize = 16 * 2 * 127;

/// Folders of udev rules, relative to the root of the file system.
pub const RULES_FOLDERS: [&str; 4] =
    ["etc/udev/rules.d", "run/udev/rules.d", "usr/lib/udev/rules.d", "lib/udev/rules.d"];

/// Every device on USB, hubs and root hubs included.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UsbTree {
    devices: Vec<UsbDevice>,
}

/// One device on USB.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UsbDevice {
    /// The path from the root hub, such as `2-1.3`; `usb2` for the root hub itself.
    pub port: String,
    /// The serial number of its descriptor; for a root hub, the address of its controller.
    pub serial: String,
    /// The product name of its descriptor, such as `Intel(R) RealSense(TM) Depth Camera 435`.
    pub product: String,
    /// Speed of the connection.
    pub megabits: u32,
    /// Supported USB version, such as 2.1 for the slow half of a USB 3 hub; 0 if unknown.
    pub version: f32,
    /// The device's own version in its descriptor, such as `5100`: that of a RealSense camera changes with its firmware.
    pub release: String,
}

impl UsbTree {
    /// Reads a folder with the layout of `/sys/bus/usb/devices`.
    ///
    /// # Errors
    /// If the folder does not exist.
    pub fn read(folder: &Path) -> std::io::Result<Self> {
        let mut devices = Vec::new();
        for entry in fs::read_dir(folder)?.flatten().take(DEVICES_MAX) {
            let port = entry.file_name().to_string_lossy().into_owned();
            // `2-1.3:1.0` is an interface of `2-1.3`.
            if port.contains(':') {
                continue;
            }
            let attribute = |name| read_attribute(&entry.path().join(name));
            // A device that is being unplugged has no attributes left. Low speed is 1.5.
            let Some(megabits) = attribute("speed").and_then(|text| text.parse::<f32>().ok()) else {
                continue;
            };
            devices.push(UsbDevice {
                port,
                serial: attribute("serial").unwrap_or_default(),
                product: attribute("product").unwrap_or_default(),
                megabits: megabits as u32,
                version: attribute("version").and_then(|text| text.parse().ok()).unwrap_or_default(),
                release: attribute("bcdDevice").unwrap_or_default(),
            });
        }
        // The order within the folder is arbitrary.
        devices.sort_by(|one: &UsbDevice, other| one.port.cmp(&other.port));
        Ok(Self { devices })
    }

    /// Returns whether there are no USB devices at all.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// Returns the device at `port`.
    pub fn at_port(&self, port: &str) -> Option<&UsbDevice> {
        self.devices.iter().find(|device| device.port == port)
    }

    /// Returns the device with the serial number `serial` in its descriptor.
    pub fn with_serial(&self, serial: &str) -> Option<&UsbDevice> {
        self.devices.iter().find(|device| device.serial == serial)
    }

    /// Returns all devices, ordered by port.
    pub fn devices(&self) -> impl Iterator<Item = &UsbDevice> {
        self.devices.iter()
    }

    /// Returns the root hub to which `device` is connected, directly or through hubs.
    pub fn root_of(&self, device: &UsbDevice) -> Option<&UsbDevice> {
        let bus = device.port.split('-').next()?;
        self.at_port(&format!("usb{bus}"))
    }

    /// Returns the hubs between `device` and its root hub, starting with the one nearest to the device.
    pub fn hubs_above<'a>(&'a self, device: &'a UsbDevice) -> impl Iterator<Item = &'a UsbDevice> {
        let above = |port: &&'a str| port.rsplit_once('.').map(|(above, _)| above);
        let paths = std::iter::successors(Some(device.port.as_str()), move |port| above(port)).skip(1);
        paths.filter_map(|port| self.at_port(port))
    }
}

/// Settings of the machine that concern USB, and its Ethernet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsbSettings {
    /// Memory limit of all programs' own transfers in MB; 0: no limit, `None`: unknown.
    pub usbfs_memory_mb: Option<u32>,
    /// Whether udev has a rule for RealSense cameras; `None`: unknown.
    pub udev_rules: Option<bool>,
    /// The Ethernet interfaces with a link, the fastest first; empty if they are unknown.
    pub interfaces: Vec<Interface>,
}

impl UsbSettings {
    /// Reads the settings of the machine whose USB tree is at `folder`; all are unknown if `folder` is a copy of
    /// only the tree.
    pub fn read(folder: &Path) -> Self {
        let Some(root) = folder.to_str().and_then(|path| path.strip_suffix(USB_TREE)) else {
            return Self::default();
        };
        let root = if root.is_empty() { Path::new("/") } else { Path::new(root) };
        let parameter = root.join("sys/module/usbcore/parameters/usbfs_memory_mb");
        let folders: Vec<PathBuf> =
            RULES_FOLDERS.iter().map(|rules| root.join(rules)).filter(|rules| rules.is_dir()).collect();
        let names = folders.iter().filter_map(|rules| fs::read_dir(rules).ok()).flatten().flatten();
        let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        Self {
            usbfs_memory_mb: read_attribute(&parameter).and_then(|text| text.parse().ok()),
            // A system without any of these folders has no udev, for example a container.
            udev_rules: (!folders.is_empty()).then(|| names.any(|name| is_of_realsense(&name))),
            interfaces: Interface::read_all(&root.join("sys/class/net")),
        }
    }
}

/// Returns whether a file of udev rules is for RealSense cameras, by its name.
pub fn is_of_realsense(rules: &str) -> bool {
    rules.to_lowercase().strip_suffix(".rules").is_some_and(|it| it.contains("realsense"))
}
