//! Guesses which of the attached cameras has to be opened to find a selected one.
//!
//! librealsense reports the serial number and the port of a camera only after it has opened it, which disturbs cameras
//! that other processes use. The kernel's USB tree has the ports and the products without that, and librealsense lists
//! USB cameras in the order of their ports. A guess is verified after the camera is opened. This module does not depend
//! on librealsense.

use std::collections::BTreeMap;
use std::path::Path;

use camrig::Device;
use camrig_usb::{USB_TREE, UsbDevice, UsbTree};

use crate::hints::HintFile;
use crate::names::list;
use crate::request::Selection;

/// The word that the product name of each camera has.
const PRODUCT: &str = "RealSense";

/// Name of the file of the serial numbers.
const FILE_NAME: &str = "camrig-realsense.cameras";

/// A camera that may be the selected one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Guess {
    /// Its index in librealsense's list.
    pub(crate) index: usize,
    /// The port at which it is then.
    pub(crate) port: String,
}

/// The cameras in the USB tree, and their serial numbers as far as they are known.
#[derive(Debug, Default)]
pub(crate) struct AttachedCamera {
    /// In librealsense's order.
    cameras: Vec<UsbDevice>,
    serials: Serials,
    file: Option<HintFile>,
}

/// The serial numbers of cameras by those in their USB descriptors, which differ. Both never change.
type Serials = BTreeMap<String, String>;

impl AttachedCamera {
    /// Reads the tree of this machine, and the serial numbers that earlier opens found.
    pub(crate) fn read() -> Self {
        let file = HintFile::named(FILE_NAME);
        let text = file.as_ref().map(HintFile::read).unwrap_or_default();
        let tree = UsbTree::read(Path::new(USB_TREE)).unwrap_or_default();
        Self { file, ..Self::new(&tree, parse(&text)) }
    }

    fn new(tree: &UsbTree, serials: Serials) -> Self {
        let is_camera = |device: &&UsbDevice| {
            let mut words = device.product.split(|char: char| !char.is_ascii_alphanumeric());
            words.any(|word| word.eq_ignore_ascii_case(PRODUCT))
        };
        let mut cameras: Vec<_> = tree.devices().filter(is_camera).cloned().collect();
        // librealsense compares texts of port and device number, such as `2-1.3-7`.
        cameras.sort_by_key(|camera| format!("{}-", camera.port));
        Self { cameras, serials, file: None }
    }

    /// Returns the cameras to open of a list of `count`; empty if the selected one is not attached. `None` if the tree
    /// does not describe this list, as with cameras that are not on USB: each may be the selected one then.
    pub(crate) fn guesses(&self, selection: &Selection, count: usize) -> Option<Vec<Guess>> {
        if self.cameras.is_empty() || self.cameras.len() != count {
            return None;
        }
        let serial_of = |camera: &UsbDevice| self.serials.get(&camera.serial);
        let is_known = |serial: &String| self.cameras.iter().any(|it| serial_of(it) == Some(serial));
        let may_be = |camera: &UsbDevice| match selection {
            Selection::Port(port) => camera.port == *port,
            // The model in the descriptor is written in another way.
            Selection::Name(_) | Selection::Any => true,
            Selection::Serial(serial) if is_known(serial) => serial_of(camera) == Some(serial),
            Selection::Serial(_) => serial_of(camera).is_none(),
        };
        let guess = |(index, camera): (usize, &UsbDevice)| Guess { index, port: camera.port.clone() };
        Some(self.cameras.iter().enumerate().filter(|(_, camera)| may_be(camera)).map(guess).collect())
    }

    /// Returns the cameras as a list in an error, without opening one.
    pub(crate) fn brief(&self) -> String {
        list(self.cameras.iter().map(|camera| {
            let UsbDevice { product, port, .. } = camera;
            match self.serials.get(&camera.serial) {
                Some(serial) => format!("`{serial}` ({product} at USB port {port})"),
                None => format!("{product} at USB port {port}"),
            }
        }))
    }

    /// Keeps the serial number of an opened camera for later guesses.
    pub(crate) fn remember(&mut self, device: &Device) {
        let Some(camera) = self.at(&device.usb_port) else { return };
        let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_word(&camera.serial) || !is_word(&device.serial) {
            return;
        }
        let before = self.serials.insert(camera.serial.clone(), device.serial.clone());
        if before.as_ref() == Some(&device.serial) {
            return;
        }
        if let Some(file) = &self.file {
            file.write(&format(&self.serials));
        }
    }

    /// Returns the only camera that can be the selected one, as far as is known without opening one.
    pub(crate) fn only(&self, selection: &Selection) -> Option<&UsbDevice> {
        match &self.guesses(selection, self.cameras.len())?[..] {
            [Guess { index, .. }] => self.cameras.get(*index),
            _ => None,
        }
    }

    /// Returns the camera at `port`.
    pub(crate) fn at(&self, port: &str) -> Option<&UsbDevice> {
        self.cameras.iter().find(|camera| camera.port == port)
    }
}

fn parse(text: &str) -> Serials {
    let pair = |line: &str| line.split_once(' ').map(|(one, other)| (one.to_owned(), other.to_owned()));
    text.lines().filter_map(pair).collect()
}

fn format(serials: &Serials) -> String {
    let lines: Vec<_> =
        serials.iter().map(|(descriptor, serial)| format!("{descriptor} {serial}\n")).collect();
    lines.concat()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs;

    /// Returns the cameras at these ports, with the serial numbers of their descriptors, and a hub.
    fn attached(cameras: &[(&str, &str)], serials: &str) -> AttachedCamera {
        let folder = tempfile::tempdir().unwrap();
        for (port, serial) in cameras.iter().chain(&[("2-4", "hub")]) {
            let device = folder.path().join(port);
            fs::create_dir_all(&device).unwrap();
            let product = if *serial == "hub" { "USB3.0 Hub" } else { "RealSense(TM) Depth Camera 435" };
            for (name, text) in [("speed", "5000"), ("serial", serial), ("product", product)] {
                fs::write(device.join(name), text).unwrap();
            }
        }
        let tree = UsbTree::read(folder.path()).unwrap();
        AttachedCamera::new(&tree, parse(serials))
    }

    /// Returns the cameras at these ports, which the library lists in this order.
    pub(crate) fn listed(ports: &[String]) -> AttachedCamera {
        let cameras: Vec<_> = ports.iter().map(|port| (port.as_str(), port.as_str())).collect();
        let mut attached = attached(&cameras, "");
        attached.cameras.sort_by_key(|camera| ports.iter().position(|port| *port == camera.port));
        attached
    }

    fn guesses(attached: &AttachedCamera, selection: &Selection) -> Option<Vec<(usize, String)>> {
        let guesses = attached.guesses(selection, attached.cameras.len())?;
        Some(guesses.into_iter().map(|guess| (guess.index, guess.port)).collect())
    }

    #[test]
    fn a_port_leads_to_one_camera_in_the_order_of_the_library() {
        let attached = attached(&[("2-1.3", "a"), ("10-1", "b"), ("2-1", "c"), ("2-2", "d")], "");
        let port = |port: &str| guesses(&attached, &Selection::Port(port.to_owned()));
        assert_eq!(port("10-1"), Some(vec![(0, "10-1".into())]));
        assert_eq!(port("2-1"), Some(vec![(1, "2-1".into())]));
        assert_eq!(port("2-1.3"), Some(vec![(2, "2-1.3".into())]));
        assert_eq!(port("2-2"), Some(vec![(3, "2-2".into())]));
        assert_eq!(port("2-9"), Some(Vec::new()));
        assert_eq!(guesses(&attached, &Selection::Any).map(|all| all.len()), Some(4));
        // A camera on GMSL is in the list only.
        assert_eq!(attached.guesses(&Selection::Port("2-1".into()), 5), None);
        assert_eq!(AttachedCamera::default().guesses(&Selection::Any, 0), None);
    }

    #[test]
    fn a_serial_number_leads_to_one_camera_once_it_is_known() {
        let serial = |serials: &str| {
            let attached = attached(&[("2-1", "a"), ("2-2", "b"), ("2-3", "c")], serials);
            guesses(&attached, &Selection::Serial("2".into()))
                .map(|all| all.into_iter().map(|it| it.0).collect::<Vec<_>>())
        };
        assert_eq!(serial(""), Some(vec![0, 1, 2]));
        assert_eq!(serial("a 1\n"), Some(vec![1, 2]));
        assert_eq!(serial("a 1\nb 2\n"), Some(vec![1]));
        assert_eq!(serial("b 2\nnonsense\n"), Some(vec![1]));
        // It is not attached, and no camera is opened to see that.
        assert_eq!(serial("a 1\nb 3\nc 4\n"), Some(Vec::new()));
    }

    #[test]
    fn found_cameras_are_remembered() {
        let mut attached = attached(&[("2-1", "a"), ("2-2", "b")], "");
        let device = |port: &str, serial: &str| Device {
            usb_port: port.into(),
            serial: serial.into(),
            ..Device::default()
        };
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path();
        attached.file = Some(HintFile::at(folder.join(FILE_NAME)));
        attached.remember(&device("2-2", "2"));
        attached.remember(&device("2-9", "9"));
        attached.remember(&device("2-1", ""));
        assert_eq!(fs::read_to_string(folder.join(FILE_NAME)).unwrap(), "b 2\n");
        attached.remember(&device("2-1", "1"));
        assert_eq!(fs::read_to_string(folder.join(FILE_NAME)).unwrap(), "a 1\nb 2\n");
        assert_eq!(fs::read_dir(folder).unwrap().count(), 1);
        assert_eq!(
            attached.brief(),
            "`1` (RealSense(TM) Depth Camera 435 at USB port 2-1), `2` (RealSense(TM) Depth Camera 435 at USB port 2-2)"
        );
    }
}
