//! Messages about limits of a rig other than the data rates of its controllers.

use std::collections::BTreeMap;

use super::{CameraLocation, USB3_MEGABITS, UsbCamera, bus_of, interface, transfers_mb};
use crate::network::{CAMERA_MEGABITS, CAMERA_MTU, Interface};
use crate::tree::{UsbSettings, UsbTree};

/// Data rate of a USB 2 link.
const USB2_MEGABITS: u32 = 480;

/// Hubs with a lower USB version are slow; the slow half of a USB 3 hub has 2.1.
const USB3_HUB_SLOW_HALF_VERSION: f32 = 2.1;

/// Returns messages about other limits of the rig.
pub(super) fn warnings(cameras: &[UsbCamera], tree: &UsbTree, settings: &UsbSettings) -> Vec<String> {
    let mut warnings: Vec<_> = cameras.iter().filter_map(ambiguous).collect();
    warnings.extend(without_root(cameras, tree));
    warnings.extend(cameras.iter().filter_map(|camera| slow_link(camera, tree)));
    warnings.extend(network_warnings(cameras, settings));
    let on_usb = cameras.iter().filter(|camera| camera.place != CameraLocation::Ethernet);
    let wanted_mb = transfers_mb(on_usb.flat_map(|camera| &camera.demand.streams));
    if let Some(allowed_mb @ 1..) = settings.usbfs_memory_mb
        && u64::from(allowed_mb) < wanted_mb
    {
        warnings.push(format!(
            "`usbfs_memory_mb` is {allowed_mb}, and a librealsense with the RSUSB backend takes about {wanted_mb} \
             for these streams (one with the V4L2 backend takes none); it is set in \
             /sys/module/usbcore/parameters/usbfs_memory_mb"
        ));
    }
    let attached = cameras.iter().any(|camera| matches!(camera.place, CameraLocation::Port(_)));
    if attached && settings.udev_rules == Some(false) {
        warnings.push(
            "no udev rule for RealSense cameras is installed: without librealsense's \
             99-realsense-libusb.rules in /etc/udev/rules.d users other than root may not open them"
                .to_owned(),
        );
    }
    warnings
}

/// Returns messages about the network of cameras on Ethernet.
fn network_warnings(cameras: &[UsbCamera], settings: &UsbSettings) -> Vec<String> {
    let names: Vec<_> = cameras.iter().filter(|camera| camera.place == CameraLocation::Ethernet).collect();
    let names: Vec<_> = names.iter().map(|camera| format!("`{}`", camera.name)).collect();
    if names.is_empty() {
        return Vec::new();
    }
    let (Interface { name, megabits, mtu }, names) = (interface(settings), names.join(", "));
    let mut warnings = Vec::new();
    match &settings.interfaces[..] {
        [] => warnings.push(format!(
            "no Ethernet interface with a link is known; planned on one of {megabits} Mb/s with an MTU of {mtu}: {names}"
        )),
        [_] => (),
        [_, others @ ..] => {
            let others: Vec<_> =
                others.iter().map(|it| format!("`{}` ({} Mb/s)", it.name, it.megabits)).collect();
            warnings.push(format!(
                "planned on `{name}`, the fastest interface: {names}; this machine also has {}",
                others.join(", ")
            ));
        }
    }
    if megabits < CAMERA_MEGABITS {
        warnings.push(format!(
            "interface `{name}` has {megabits} Mb/s, a camera's own link {CAMERA_MEGABITS}: look for a slow switch, or a \
             cable below Cat 5e"
        ));
    }
    if mtu < CAMERA_MTU {
        warnings.push(format!(
            "interface `{name}` has an MTU of {mtu}, and cameras send packets of {CAMERA_MTU} bytes unless they are set \
             otherwise: set it on the interface (`ip link set {name} mtu {CAMERA_MTU}`) and on each switch, or lower it \
             in the camera with a transmission delay (librealsense's `rs-dds-config`)"
        ));
    }
    if names.contains(',') {
        warnings.push(format!(
            "{names} share one link behind a switch: it buffers frames that they send at the same time, and drops what its \
             buffer does not hold; a transmission delay in each camera spreads them"
        ));
    }
    warnings
}

/// Returns a message if several devices match a camera.
fn ambiguous(camera: &UsbCamera) -> Option<String> {
    let (CameraLocation::Port(port), false) = (&camera.place, camera.rivals.is_empty()) else { return None };
    Some(format!(
        "camera `{}` is planned at port {port}, and could be at {} as well: it is refused unless its options say \
         which one is meant",
        camera.name,
        camera.rivals.join(", "),
    ))
}

/// Returns a message for each bus whose root hub is missing in the tree.
fn without_root(cameras: &[UsbCamera], tree: &UsbTree) -> Vec<String> {
    let mut buses: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for camera in cameras {
        let CameraLocation::Port(port) = &camera.place else { continue };
        if tree.at_port(&bus_of(port)).is_none() {
            buses.entry(bus_of(port)).or_default().push(format!("`{}`", camera.name));
        }
    }
    let message = |(bus, cameras): (String, Vec<String>)| {
        format!("the USB tree has no root hub {bus}: the controller of {} is unknown", cameras.join(", "))
    };
    buses.into_iter().map(message).collect()
}

/// Returns a message if a camera's connection is slower than USB 3.
fn slow_link(camera: &UsbCamera, tree: &UsbTree) -> Option<String> {
    let CameraLocation::Port(port) = &camera.place else { return None };
    let device = tree.at_port(port).filter(|device| device.megabits < USB3_MEGABITS)?;
    let slow_hub =
        tree.hubs_above(device).find(|hub| hub.version > 0.0 && hub.version < USB3_HUB_SLOW_HALF_VERSION);
    let cause = match slow_hub {
        Some(hub) => format!("the hub at port {} is one of USB 2", hub.port),
        None => "its port, plug or cable is one of USB 2".to_owned(),
    };
    let refused = if camera.demand.refuses_usb2 && device.megabits <= USB2_MEGABITS {
        "; it is refused unless its options have `allow_usb2 = true`"
    } else {
        ""
    };
    Some(format!("camera `{}` at port {port} has {} Mb/s: {cause}{refused}", camera.name, device.megabits))
}
