//! The kernel's support for cameras: metadata of frames, and the IMU.

use crate::finding::{Finding, State};
use crate::machine::Machine;
use crate::root::Root;
use crate::usb::AttachedCamera;

/// The first version of Linux for Tegra whose kernel has no HIDRAW: that of `JetPack` 6.
const TEGRA_WITHOUT_HIDRAW: u32 = 36;

pub(crate) fn examine(root: &Root, machine: &Machine, cameras: &[AttachedCamera]) -> Vec<Finding> {
    vec![metadata(root), imu(root, machine, cameras)]
}

/// Checks whether the V4L2 backend delivers the metadata of frames.
fn metadata(root: &Root) -> Finding {
    let topic = "metadata";
    let Some(version) = root.text("sys/module/uvcvideo/version") else {
        return Finding::new(topic, State::Note, "the kernel's driver `uvcvideo` is not loaded: only a librealsense with the RSUSB backend can open cameras")
            .advise("`sudo modprobe uvcvideo`, unless librealsense has the RSUSB backend");
    };
    if version.to_lowercase().contains("realsense") {
        return Finding::new(topic, State::Ok, format!("`uvcvideo` {version} has librealsense's patch"));
    }
    Finding::new(topic, State::Note, format!("`uvcvideo` {version} has no patch of librealsense: frames may come without metadata, and are then stamped by the host's clock"))
        .advise("librealsense's patch script for this kernel, or a librealsense with the RSUSB backend; `match` by `arrival` works without")
}

/// Checks whether the V4L2 backend can open cameras with an IMU.
fn imu(root: &Root, machine: &Machine, cameras: &[AttachedCamera]) -> Finding {
    let topic = "imu";
    if root.exists("sys/class/hidraw") {
        return Finding::new(topic, State::Ok, "the kernel has HIDRAW, through which the IMU is read");
    }
    let attached = cameras.iter().any(AttachedCamera::has_imu);
    let lacks = machine.tegra.is_some_and(|major| major >= TEGRA_WITHOUT_HIDRAW);
    let fact =
        "the kernel has no HIDRAW: the V4L2 backend does not find cameras with an IMU (D435i, D455, D457)";
    let state = match (attached, lacks) {
        (true, _) => State::Problem,
        (false, true) => State::Warning,
        (false, false) => State::Note,
    };
    Finding::new(topic, state, fact)
        .advise("use a librealsense with the RSUSB backend (its `libuvc_installation.sh`), or a kernel with CONFIG_HIDRAW and CONFIG_HID_SENSOR_HUB")
}
