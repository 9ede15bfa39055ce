//! The USB budget of a rig: the data rate that its cameras need on each controller, compared with what is available.
//!
//! Several cameras on one controller are the usual reason why a rig loses frames or fails to start, and this can be
//! predicted before the start. This module only adds up and evaluates: it reads no files (`tree` does), queries no
//! drivers and prints nothing (the command line does).

use std::collections::BTreeMap;

use camrig_frame::{Device, DeviceProfile, StreamProfile};
use serde::Serialize;

use crate::demand::UsbDemand;
use crate::tree::{UsbDevice, UsbSettings, UsbTree};

/// Minimum data rate of a USB 3 link. Budgets are for such a link: a faster link does not help cameras that are no
/// faster; a slower one has a proportional budget.
const USB3_MEGABITS: u32 = 5000;

/// Hubs with a lower USB version are slow; the slow half of a USB 3 hub has 2.1.
const USB3_HUB_SLOW_HALF_VERSION: f32 = 2.1;

/// Number of frames in flight per stream in librealsense's own USB code. It explains what was observed with five
/// cameras at 16 MB: `realsenseai/realsense-ros#2242`.
const FRAMES_UNDER_WAY: u64 = 2;

/// The sizes that depth and color of all D400 cameras have in common, each with its rates: for cameras of which only
/// the options are known.
const COMMON_PROFILES: [(u32, u32, &[u32]); 5] = [
    (1280, 720, &[15, 30]),
    (848, 480, &[15, 30, 60]),
    (640, 480, &[15, 30, 60]),
    (640, 360, &[15, 30, 60]),
    (424, 240, &[15, 30, 60]),
];

/// Maximum budget: USB4's fastest link.
pub const MEGABITS_MAX: usize = 80_000;

/// The available data rate of one controller on a link of 5 Gb/s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Works on nearly any machine.
    pub cautious_megabits: u32,
    /// Works with good controllers, hubs and cables.
    pub optimistic_megabits: u32,
}

impl Default for Budgets {
    fn default() -> Self {
        Self { cautious_megabits: 1200, optimistic_megabits: 3200 }
    }
}

/// A camera of the rig that is connected by USB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsbCamera {
    /// Name of the camera.
    pub name: String,
    /// What it needs.
    pub demand: UsbDemand,
    /// Where it is connected.
    pub place: Place,
    /// Ports of other devices that also match.
    pub rivals: Vec<String>,
}

/// Location of a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the assumed controller with this number.
    Assumed(usize),
    /// At this port.
    Port(String),
}

/// Returns the devices in `tree`, which has the ports, that match the camera with this demand: one, unless it is
/// selected by name. `attached` are the devices reported by its driver, with models and serial numbers; a D400's USB
/// descriptor has different serial numbers.
pub fn find<'t>(demand: &UsbDemand, tree: &'t UsbTree, attached: &[Device]) -> Vec<&'t UsbDevice> {
    let at_port = |port: &str| tree.at_port(port);
    let seen = |is_meant: &dyn Fn(&Device) -> bool| -> Vec<_> {
        attached
            .iter()
            .filter(|device| is_meant(device))
            .filter_map(|device| at_port(&device.usb_port))
            .collect()
    };
    let UsbDemand { serial, port, name, .. } = demand;
    if let Some(found) = port.as_deref().and_then(at_port) {
        return vec![found];
    }
    if let Some(serial) = serial {
        return tree
            .with_serial(serial)
            .map_or_else(|| seen(&|device| device.serial == *serial), |it| vec![it]);
    }
    let Some(name) = name else { return Vec::new() };
    let found = seen(&|device| is_called(&device.model, name));
    if found.is_empty() {
        tree.devices().filter(|device| is_called(&device.product, name)).collect()
    } else {
        found
    }
}

/// Returns whether `name` is a word of a device's product name. USB descriptors omit the D of D435.
fn is_called(what: &str, name: &str) -> bool {
    let number =
        name.strip_prefix(['D', 'd']).filter(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    let mut words = what.split(|char: char| !char.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.any(|word| [Some(name), number].into_iter().flatten().any(|name| word.eq_ignore_ascii_case(name)))
}

/// A plan, as JSON: fields may be added but are never renamed.
#[derive(Debug, Serialize)]
#[allow(clippy::struct_field_names)] // `camrig_plan` is how a reader knows it.
pub struct Plan {
    /// Version of this format.
    pub camrig_plan: u32,
    /// Name of the topology.
    pub topology: String,
    /// Whether every controller is within its cautious budget.
    pub fits: bool,
    /// Total of all cameras.
    pub need_megabits: u64,
    /// Each controller that has cameras.
    pub controllers: Vec<ControllerPlan>,
    /// Each camera that uses USB.
    pub cameras: Vec<CameraPlan>,
    /// Other limits of the rig, as messages.
    pub warnings: Vec<String>,
}

/// One controller, and what its cameras need.
#[derive(Debug, Serialize)]
pub struct ControllerPlan {
    /// Its address, or `assumed 1`.
    pub controller: String,
    /// Its bus, such as `usb2`; empty if the controller is assumed.
    pub bus: String,
    /// Speed of its link.
    pub link_megabits: u32,
    /// Names of its cameras.
    pub cameras: Vec<String>,
    /// Data rate of its cameras.
    pub need_megabits: u64,
    /// Cautious budget of its link.
    pub cautious_megabits: u64,
    /// Optimistic budget of its link.
    pub optimistic_megabits: u64,
    /// The data rate compared with the budgets.
    pub verdict: Verdict,
    /// The largest profile that all streams of these cameras can have at the same time, within the cautious
    /// budget and no faster than requested.
    pub largest_profile: Option<StreamProfile>,
}

/// One camera, and what it needs.
#[derive(Debug, Serialize)]
pub struct CameraPlan {
    /// Name of the camera.
    pub name: String,
    /// Serial number, if its options select the device by it.
    pub serial: Option<String>,
    /// `None` if it is not connected.
    pub port: Option<String>,
    /// Streams that run.
    pub streams: Vec<DeviceProfile>,
    /// Data rate of these streams.
    pub need_megabits: u64,
}

/// A data rate compared with the budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Within the cautious budget.
    Fits,
    /// Above the cautious budget, within the optimistic one.
    Risky,
    /// Above both budgets.
    TooMuch,
}

impl Verdict {
    /// `fits`, `risky`, `too-much`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::Risky => "risky",
            Self::TooMuch => "too-much",
        }
    }
}

/// Evaluates the cameras of `topology`; those with ports are in `tree`.
pub fn plan(
    topology: &str,
    cameras: &[UsbCamera],
    tree: &UsbTree,
    settings: &UsbSettings,
    budgets: Budgets,
) -> Plan {
    let mut links: BTreeMap<Link, Vec<&UsbCamera>> = BTreeMap::new();
    for camera in cameras {
        links.entry(Link::of(&camera.place, tree)).or_default().push(camera);
    }
    let controllers: Vec<_> =
        links.into_iter().map(|(link, cameras)| judge(link, &cameras, budgets)).collect();
    Plan {
        camrig_plan: 1,
        topology: topology.to_owned(),
        fits: controllers.iter().all(|controller| controller.verdict == Verdict::Fits),
        need_megabits: megabits(cameras.iter().map(|camera| bits(&camera.demand.streams)).sum()),
        controllers,
        cameras: cameras.iter().map(CameraPlan::of).collect(),
        warnings: warnings(cameras, tree, settings),
    }
}

/// A shared resource: one bus of one controller. Slow and fast devices of a controller are on separate buses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Link {
    assumed: usize,
    controller: String,
    bus: String,
    megabits: u32,
}

impl Link {
    fn of(place: &Place, tree: &UsbTree) -> Self {
        let device = match place {
            Place::Assumed(number) => {
                let controller = format!("assumed {}", number + 1);
                return Self { assumed: number + 1, controller, bus: String::new(), megabits: USB3_MEGABITS };
            }
            Place::Port(port) => tree.at_port(port),
        };
        let root = device.and_then(|device| tree.root_of(device));
        let UsbDevice { port, serial, megabits, .. } = root.cloned().unwrap_or_default();
        Self { assumed: 0, controller: serial, bus: port, megabits }
    }
}

fn judge(link: Link, cameras: &[&UsbCamera], budgets: Budgets) -> ControllerPlan {
    let share = u64::from(link.megabits.min(USB3_MEGABITS));
    let budget_bits = |megabits: u32| u64::from(megabits) * 1_000_000 * share / u64::from(USB3_MEGABITS);
    let cautious = budget_bits(budgets.cautious_megabits);
    let optimistic = budget_bits(budgets.optimistic_megabits).max(cautious);
    let need: u64 = cameras.iter().map(|camera| bits(&camera.demand.streams)).sum();
    ControllerPlan {
        controller: link.controller,
        bus: link.bus,
        link_megabits: link.megabits,
        cameras: cameras.iter().map(|camera| camera.name.clone()).collect(),
        need_megabits: megabits(need),
        cautious_megabits: megabits(cautious),
        optimistic_megabits: megabits(optimistic),
        verdict: match need {
            _ if need <= cautious => Verdict::Fits,
            _ if need <= optimistic => Verdict::Risky,
            _ => Verdict::TooMuch,
        },
        largest_profile: largest(cameras, cautious),
    }
}

impl CameraPlan {
    fn of(camera: &UsbCamera) -> Self {
        let UsbDemand { serial, streams, .. } = camera.demand.clone();
        let port = match &camera.place {
            Place::Assumed(_) => None,
            Place::Port(port) => Some(port.clone()),
        };
        let need_megabits = megabits(bits(&streams));
        Self { name: camera.name.clone(), serial, port, streams, need_megabits }
    }
}

/// Returns the largest profile that every stream of these cameras can have at the same time within the budget: by rate
/// first, because the rate was chosen deliberately, then by size.
fn largest(cameras: &[&UsbCamera], budget_bits: u64) -> Option<StreamProfile> {
    let streams: Vec<(&UsbCamera, &DeviceProfile)> = cameras
        .iter()
        .flat_map(|camera| camera.demand.streams.iter().map(move |stream| (*camera, stream)))
        .collect();
    let fastest = streams.iter().map(|(_, stream)| stream.profile.frames_per_second()).max()?;
    let choices = streams.iter().map(|(camera, stream)| choices(camera, stream));
    let mut shared =
        choices.reduce(|shared, own| shared.into_iter().filter(|it| own.contains(it)).collect())?;
    shared.retain(|profile| profile.frames_per_second() <= fastest);
    let fits = |profile: &StreamProfile| {
        let changed = streams.iter().map(|(_, stream)| DeviceProfile { profile: *profile, ..**stream });
        bits(&changed.collect::<Vec<_>>()) <= budget_bits
    };
    shared.into_iter().filter(fits).max_by_key(|it| (it.frames_per_second(), it.width() * it.height()))
}

/// Returns the alternative profiles of a camera's stream.
fn choices(camera: &UsbCamera, stream: &DeviceProfile) -> Vec<StreamProfile> {
    let known = camera.demand.profiles.iter().filter(|it| it.stream == stream.stream);
    let known: Vec<_> = known.map(|it| it.profile).collect();
    if !known.is_empty() {
        return known;
    }
    let profiles = COMMON_PROFILES.iter().flat_map(|&(width, height, rates)| {
        rates.iter().filter_map(move |&rate| StreamProfile::new(width, height, rate).ok())
    });
    profiles.collect()
}

/// Returns the data rate on the wire in bits per second.
fn bits(streams: &[DeviceProfile]) -> u64 {
    let rate = |stream: &DeviceProfile| u64::from(stream.profile.frames_per_second());
    streams.iter().map(|stream| frame_bytes(stream) * rate(stream) * 8).sum()
}

/// Returns the size of one frame on the wire in bytes.
fn frame_bytes(stream: &DeviceProfile) -> u64 {
    let bytes_per_pixel = stream.format.usb_bytes_per_pixel();
    u64::from(stream.profile.width()) * u64::from(stream.profile.height()) * u64::from(bytes_per_pixel)
}

fn megabits(bits: u64) -> u64 {
    (bits + 500_000) / 1_000_000
}

/// Returns messages about other limits of the rig.
fn warnings(cameras: &[UsbCamera], tree: &UsbTree, settings: &UsbSettings) -> Vec<String> {
    let mut warnings: Vec<_> = cameras.iter().filter_map(ambiguous).collect();
    warnings.extend(cameras.iter().filter_map(|camera| slow_link(camera, tree)));
    let frames = cameras.iter().flat_map(|camera| &camera.demand.streams).map(frame_bytes);
    let wanted_mb = (frames.sum::<u64>() * FRAMES_UNDER_WAY).div_ceil(1 << 20);
    if let Some(allowed_mb @ 1..) = settings.usbfs_memory_mb
        && u64::from(allowed_mb) < wanted_mb
    {
        warnings.push(format!(
            "`usbfs_memory_mb` is {allowed_mb}, and a librealsense with the RSUSB backend takes about {wanted_mb} \
             for these streams (one with the V4L2 backend takes none); it is set in \
             /sys/module/usbcore/parameters/usbfs_memory_mb"
        ));
    }
    let attached = cameras.iter().any(|camera| matches!(camera.place, Place::Port(_)));
    if attached && settings.udev_rules == Some(false) {
        warnings.push(
            "no udev rule for RealSense cameras is installed: without librealsense's \
             99-realsense-libusb.rules in /etc/udev/rules.d only root can open them"
                .to_owned(),
        );
    }
    warnings
}

/// Returns a message if several devices match a camera.
fn ambiguous(camera: &UsbCamera) -> Option<String> {
    let (Place::Port(port), false) = (&camera.place, camera.rivals.is_empty()) else { return None };
    Some(format!(
        "camera `{}` is planned at port {port}, and could be at {} as well: it is refused unless its options say \
         which one is meant",
        camera.name,
        camera.rivals.join(", "),
    ))
}

/// Returns a message if a camera's connection is slower than USB 3.
fn slow_link(camera: &UsbCamera, tree: &UsbTree) -> Option<String> {
    let Place::Port(port) = &camera.place else { return None };
    let device = tree.at_port(port).filter(|device| device.megabits < USB3_MEGABITS)?;
    let slow_hub =
        tree.hubs_above(device).find(|hub| hub.version > 0.0 && hub.version < USB3_HUB_SLOW_HALF_VERSION);
    let cause = match slow_hub {
        Some(hub) => format!("the hub at port {} is one of USB 2", hub.port),
        None => "its port, plug or cable is one of USB 2".to_owned(),
    };
    Some(format!("camera `{}` at port {port} has {} Mb/s: {cause}", camera.name, device.megabits))
}

#[cfg(test)]
mod tests;
