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
    findings.extend(cameras.iter().filter_map(|camera| permission(root, camera)));
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

/// Checks whether this user may open the device node of a camera.
fn permission(root: &Root, camera: &AttachedCamera) -> Option<Finding> {
    let AttachedCamera { port, .. } = camera;
    let number = |name| root.number(&format!("sys/bus/usb/devices/{port}/{name}"));
    let node = format!("dev/bus/usb/{:03}/{:03}", number("busnum")?, number("devnum")?);
    if !root.exists(&node) {
        return root.exists(".dockerenv").then(|| {
            Finding::new(TOPIC, State::Problem, format!("`/{node}` of the camera at port {port} is missing"))
                .advise("start the container with `--privileged -v /dev:/dev`")
        });
    }
    access(root.path(&node), Access::READ_OK | Access::WRITE_OK).is_err().then(|| {
        Finding::new(TOPIC, State::Problem, format!("this user cannot open `/{node}` of the camera at port {port}"))
            .advise("install librealsense's 99-realsense-libusb.rules in /etc/udev/rules.d, run `sudo udevadm control --reload`, and plug the camera in again")
    })
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
            "no udev rule for RealSense cameras is installed: only root can open them",
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
