//! The cameras on USB: their links, hubs and permissions, and the settings that concern them.

use camrig_usb::{USB_TREE, UsbSettings, UsbTree};
use rustix::fs::{Access, access};

use crate::finding::{Finding, State};
use crate::root::Root;

const TOPIC: &str = "usb";

/// The vendors of RealSense cameras: Intel, and RealSense since version 2.58.3 of librealsense.
const VENDORS: [&str; 2] = ["8086", "38e5"];

/// Speed of USB 3, in Mb/s.
const USB3_MEGABITS: u32 = 5000;

/// Number of cameras at one controller from which bandwidth should be planned.
const CAMERAS_TO_PLAN: usize = 2;

/// A RealSense camera on USB.
pub(crate) struct AttachedCamera {
    /// The path from the root hub, such as `2-1.3`.
    port: String,
    product: String,
    megabits: u32,
}

impl AttachedCamera {
    /// Returns whether the model has an IMU: those whose number ends with `i`, and 455, 457 and 555.
    pub(crate) fn has_imu(&self) -> bool {
        let model = self.product.rsplit(' ').next().unwrap_or_default();
        let number = model.trim_start_matches(['D', 'd']);
        let digits = number.len() - number.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (digits, rest) = number.split_at(digits);
        matches!(digits, "455" | "457" | "555") || (digits.len() == 3 && rest.eq_ignore_ascii_case("i"))
    }
}

/// Returns the attached cameras, ordered by port.
pub(crate) fn cameras(root: &Root) -> Vec<AttachedCamera> {
    let folder = USB_TREE.trim_start_matches('/');
    let tree = UsbTree::read(&root.path(folder)).unwrap_or_default();
    let is_camera = |port: &str, product: &str| {
        let vendor = root.text(&format!("{folder}/{port}/idVendor")).unwrap_or_default();
        VENDORS.contains(&vendor.to_lowercase().as_str()) && product.to_lowercase().contains("realsense")
    };
    let cameras = tree.devices().filter(|device| is_camera(&device.port, &device.product));
    cameras
        .map(|device| AttachedCamera {
            port: device.port.clone(),
            product: device.product.clone(),
            megabits: device.megabits,
        })
        .collect()
}

pub(crate) fn examine(root: &Root, cameras: &[AttachedCamera], transfers_mb: Option<u64>) -> Vec<Finding> {
    let tree = UsbTree::read(&root.path(USB_TREE.trim_start_matches('/')));
    let Ok(tree) = tree.map(|tree| (!tree.is_empty()).then_some(tree)) else {
        return vec![no_usb(root)];
    };
    let Some(tree) = tree else { return vec![no_usb(root)] };
    let mut findings = Vec::new();
    if cameras.is_empty() {
        findings.push(Finding::new(TOPIC, State::Note, "no RealSense camera is attached"));
    }
    findings.extend(cameras.iter().map(|camera| link(camera, &tree)));
    findings.extend(cameras.iter().filter_map(|camera| access_to(root, camera)));
    findings.extend(cameras.iter().filter_map(|camera| autosuspend(root, camera)));
    findings.extend(shared_controllers(cameras, &tree));
    let settings = UsbSettings::read(&root.path(USB_TREE.trim_start_matches('/')));
    findings.push(rules(root, &settings));
    findings.extend(usbfs(cameras, &settings, transfers_mb));
    findings
}

fn no_usb(root: &Root) -> Finding {
    let finding =
        Finding::new(TOPIC, State::Warning, format!("this system shows no USB device below `{USB_TREE}`"));
    if root.exists(".dockerenv") || root.exists("run/.containerenv") {
        return finding.advise(
            "start the container with `--privileged -v /dev:/dev`, or attach cameras to its host only",
        );
    }
    finding.advise("cameras on GMSL or Ethernet need no USB; otherwise load the driver of the USB controller")
}

/// Checks the speed of a camera's link, and the hubs above it.
fn link(camera: &AttachedCamera, tree: &UsbTree) -> Finding {
    let AttachedCamera { port, product, megabits } = camera;
    let hubs = tree.at_port(port).map_or(0, |device| tree.hubs_above(device).count());
    let behind = match hubs {
        0 => "without a hub".to_owned(),
        1 => "behind 1 hub".to_owned(),
        count => format!("behind {count} hubs"),
    };
    let fact = format!("{product} at port {port}: {megabits} Mb/s, {behind}");
    if *megabits < USB3_MEGABITS {
        return Finding::new(TOPIC, State::Warning, fact)
            .advise("it is on USB 2: use a USB 3 port and a cable for USB 3, and plug it in again with the plug fully inserted");
    }
    Finding::new(TOPIC, State::Ok, fact)
}

/// Checks whether this user may open the device nodes of a camera: librealsense's V4L2 backend opens those of the kernel's
/// drivers, its RSUSB backend the one of the USB device. A copy of another machine's files has none.
fn access_to(root: &Root, camera: &AttachedCamera) -> Option<Finding> {
    if !root.exists("dev") {
        return None;
    }
    let AttachedCamera { port, .. } = camera;
    let number = |name| root.number(&format!("sys/bus/usb/devices/{port}/{name}"));
    let of_usb =
        number("busnum").zip(number("devnum")).map(|(bus, device)| format!("bus/usb/{bus:03}/{device:03}"));
    let backends = [("V4L2", nodes_of_drivers(root, port)), ("RSUSB", of_usb.into_iter().collect())];
    // Without a driver of the kernel, or a number, nothing is known of a backend.
    let known: Vec<_> = backends.into_iter().filter(|(_, nodes)| !nodes.is_empty()).collect();
    let closed: Vec<_> = known
        .iter()
        .filter_map(|(backend, nodes)| Some((backend, nodes.iter().find_map(|node| closed(root, node))?)))
        .collect();
    let state = if closed.len() == known.len() { State::Problem } else { State::Warning };
    let (_, (_, is_missing)) = closed.first()?;
    let facts: Vec<_> = closed
        .iter()
        .map(|(backend, (fact, _))| format!("{fact}, which the {backend} backend needs"))
        .collect();
    let fact = format!("camera at port {port}: {}", facts.join("; "));
    let advice = if *is_missing {
        "give a container the devices of its host: `--privileged -v /dev:/dev`"
    } else {
        "install librealsense's 99-realsense-libusb.rules in /etc/udev/rules.d, run `sudo udevadm control --reload`, \
         and plug the camera in again"
    };
    Some(Finding::new(TOPIC, state, fact).advise(advice))
}

/// Returns the device nodes below `/dev` that the kernel's drivers made of a camera: video, and motion.
fn nodes_of_drivers(root: &Root, port: &str) -> Vec<String> {
    let folder = format!("sys/bus/usb/devices/{port}");
    let below = |folder: &str| -> Vec<String> {
        root.names(folder).iter().map(|name| format!("{folder}/{name}")).collect()
    };
    let parts = below(&folder).into_iter().filter(|part| part.starts_with(&format!("{folder}/{port}:")));
    let mut nodes = Vec::new();
    for part in parts {
        nodes.extend(root.names(&format!("{part}/video4linux")));
        // A HID device, and its sensors.
        for device in below(&part) {
            nodes.extend(root.names(&format!("{device}/hidraw")));
            let sensors = below(&device).into_iter().flat_map(|sensor| root.names(&sensor));
            nodes.extend(sensors.filter(|name| name.starts_with("iio:device")));
        }
    }
    nodes
}

/// Returns why this user cannot open a device node, and whether it is missing; `None` if the user can.
fn closed(root: &Root, node: &str) -> Option<(String, bool)> {
    let path = format!("dev/{node}");
    if !root.exists(&path) {
        return Some((format!("`/{path}` is missing"), true));
    }
    let may = access(root.path(&path), Access::READ_OK | Access::WRITE_OK);
    may.is_err().then(|| (format!("this user cannot open `/{path}`"), false))
}

/// Checks whether the kernel may suspend a camera.
fn autosuspend(root: &Root, camera: &AttachedCamera) -> Option<Finding> {
    let AttachedCamera { port, .. } = camera;
    let power = format!("sys/bus/usb/devices/{port}/power");
    let suspends = root.text(&format!("{power}/control"))? == "auto"
        && root.number(&format!("{power}/autosuspend_delay_ms")).is_none_or(|delay| delay >= 0);
    suspends.then(|| {
        Finding::new(
            TOPIC,
            State::Warning,
            format!("the kernel may suspend the camera at port {port} (autosuspend)"),
        )
        .advise(format!(
            "`echo on | sudo tee /{power}/control`, or `usbcore.autosuspend=-1` on the kernel's command line"
        ))
    })
}

/// Reports controllers with several cameras.
fn shared_controllers(cameras: &[AttachedCamera], tree: &UsbTree) -> Vec<Finding> {
    let root_of = |camera: &AttachedCamera| Some(tree.root_of(tree.at_port(&camera.port)?)?.serial.clone());
    let mut controllers: Vec<_> = cameras.iter().filter_map(root_of).collect();
    controllers.sort();
    let groups = controllers.chunk_by(|one, other| one == other);
    let shared = groups.filter(|group| group.len() >= CAMERAS_TO_PLAN);
    shared
        .map(|group| {
            Finding::new(
                TOPIC,
                State::Note,
                format!("{} cameras share the controller {}", group.len(), group[0]),
            )
            .advise("`camrig plan TOPOLOGY` computes whether it carries their streams")
        })
        .collect()
}

/// Checks for the udev rules of both vendors.
fn rules(root: &Root, settings: &UsbSettings) -> Finding {
    let missing: Vec<_> = VENDORS.into_iter().filter(|vendor| !rules_name(root, vendor)).collect();
    match settings.udev_rules {
        None => Finding::new(
            TOPIC,
            State::Note,
            "no folder of udev rules exists: permissions of devices are those of this system's own manager",
        ),
        Some(false) => Finding::new(
            TOPIC,
            State::Warning,
            "no udev rule for RealSense cameras is installed: users other than root may not open them",
        )
        .advise("install librealsense's 99-realsense-libusb.rules in /etc/udev/rules.d"),
        Some(true) if missing.is_empty() => {
            Finding::new(TOPIC, State::Ok, "udev rules for RealSense cameras are installed")
        }
        Some(true) => {
            let vendors = missing.join(" and ");
            let fact = format!(
                "the installed udev rules for RealSense cameras have no line for the vendor {vendors}"
            );
            Finding::new(TOPIC, State::Warning, fact).advise(
                "install the rules of a newer librealsense: cameras of 2025 and later have the vendor 38e5",
            )
        }
    }
}

/// Returns whether a file of udev rules for RealSense cameras names a vendor.
fn rules_name(root: &Root, vendor: &str) -> bool {
    camrig_usb::RULES_FOLDERS.iter().any(|folder| {
        let files = root.names(folder).into_iter().filter(|name| camrig_usb::is_of_realsense(name));
        files
            .filter_map(|name| root.text(&format!("{folder}/{name}")))
            .any(|text| text.to_lowercase().contains(vendor))
    })
}

/// Checks the memory limit of transfers, which the RSUSB backend needs, against `need_mb`. Without a topology, the cameras
/// may have their largest streams.
fn usbfs(cameras: &[AttachedCamera], settings: &UsbSettings, need_mb: Option<u64>) -> Option<Finding> {
    let limit = settings.usbfs_memory_mb?;
    let need_mb = need_mb.unwrap_or_else(|| camrig_usb::largest_transfers_mb(cameras.len()));
    if limit == 0 || u64::from(limit) >= need_mb {
        return Some(Finding::new(TOPIC, State::Ok, format!("`usbfs_memory_mb` is {limit}")));
    }
    Some(
        Finding::new(TOPIC, State::Note, format!("`usbfs_memory_mb` is {limit}: too low for a librealsense with the RSUSB backend, unused by the V4L2 backend"))
            .advise("with RSUSB: `echo 1000 | sudo tee /sys/module/usbcore/parameters/usbfs_memory_mb`"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit was compared with 128 MiB for each camera, where `camrig plan` found 15 MiB enough.
    #[test]
    fn the_limit_of_transfers_is_compared_with_the_streams() {
        let cameras = || AttachedCamera { port: String::new(), product: String::new(), megabits: 5000 };
        let state = |limit, cameras: &[AttachedCamera], need_mb| {
            let settings = UsbSettings { usbfs_memory_mb: Some(limit), ..UsbSettings::default() };
            usbfs(cameras, &settings, need_mb).unwrap().state
        };
        assert_eq!(state(16, &[cameras()], None), State::Ok);
        assert_eq!(state(16, &[cameras(), cameras()], None), State::Note);
        assert_eq!(state(16, &[cameras(), cameras()], Some(16)), State::Ok);
        assert_eq!(state(16, &[], Some(17)), State::Note);
        assert_eq!(state(0, &[], Some(17)), State::Ok);
    }

    #[test]
    fn the_models_with_an_imu_are_known() {
        let has_imu = |product: &str| {
            AttachedCamera { port: String::new(), product: product.to_owned(), megabits: 0 }.has_imu()
        };
        for product in [
            "Intel(R) RealSense(TM) Depth Camera 435i",
            "Intel(R) RealSense(TM) Depth Camera 455",
            "RealSense D457",
            "RealSense D435I",
            "RealSense D455F",
        ] {
            assert!(has_imu(product), "{product}");
        }
        for product in [
            "Intel(R) RealSense(TM) Depth Camera 435",
            "Intel(R) RealSense(TM) Depth Camera 405",
            "RealSense D421",
            "",
        ] {
            assert!(!has_imu(product), "{product}");
        }
    }
}
