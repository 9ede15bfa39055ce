//! The USB budget of a rig: the data rate that its cameras need on each controller, compared with the available rate.
//!
//! Several cameras on one controller are the usual reason why a rig loses frames or fails to start, and this can be
//! predicted before the start. This module only adds up and evaluates: it reads no files (`tree` does), queries no
//! drivers and prints nothing (the command line does).

mod warnings;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use camrig_frame::{Device, DeviceProfile, Stream, StreamProfile};
use serde::Serialize;

use self::warnings::warnings;
use crate::demand::UsbDemand;
use crate::network::{CAMERA_MEGABITS, Interface, payload_bits};
use crate::tree::{UsbDevice, UsbSettings, UsbTree};

/// Minimum data rate of a USB 3 link. Budgets are for such a link: a faster link does not help cameras that are no
/// faster; a slower one has a proportional budget.
const USB3_MEGABITS: u32 = 5000;

/// The controller of a bus whose root hub is missing in the tree.
const UNKNOWN: &str = "unknown";

/// Number of frames in flight per stream in librealsense's own USB code. It explains the observations with five
/// cameras at 16 MB: `realsenseai/realsense-ros#2242`.
const FRAMES_UNDER_WAY: u64 = 2;

/// Size of a frame of each stream of a D400 camera at its largest profile: depth and two of infrared, and color in YUYV.
const LARGEST_FRAMES_BYTES: u64 = 1280 * 720 * (2 + 1 + 1) + 1920 * 1080 * 2;

/// The sizes that depth and color of all D400 cameras have in common, each with its rates: for cameras of which only
/// the options are known.
const COMMON_PROFILES: [(u32, u32, &[u32]); 5] = [
    (1280, 720, &[15, 30]),
    (848, 480, &[15, 30, 60]),
    (640, 480, &[15, 30, 60]),
    (640, 360, &[15, 30, 60]),
    (424, 240, &[15, 30, 60]),
];

/// The models that have Ethernet. They have USB too.
const ON_ETHERNET: [&str; 1] = ["D555"];

/// The `bus` of an Ethernet link.
const ETHERNET: &str = "ethernet";

/// Share of an Ethernet link that is used on nearly any network: cameras send each frame in one burst.
const CAUTIOUS_PERCENT: u64 = 80;

/// Share of an Ethernet link that is used on a good network.
const OPTIMISTIC_PERCENT: u64 = 95;

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

/// A camera of the rig that is connected by USB or Ethernet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsbCamera {
    /// Name of the camera.
    pub name: String,
    /// The bandwidth that it needs.
    pub demand: UsbDemand,
    /// The place where it is connected.
    pub place: CameraLocation,
    /// Ports of other devices that also match.
    pub rivals: Vec<String>,
}

/// Location of a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CameraLocation {
    /// On the assumed controller with this number.
    Assumed(usize),
    /// At this port.
    Port(String),
    /// On Ethernet, by the fastest interface.
    Ethernet,
}

/// Returns the devices in `tree`, which has the ports, that match the camera with this demand: one, unless it is
/// selected by name. `attached` are the devices reported by its driver, with models and serial numbers; a D400's USB
/// descriptor has different serial numbers.
pub fn find<'t>(demand: &UsbDemand, tree: &'t UsbTree, attached: &[Device]) -> Vec<&'t UsbDevice> {
    let at_port = |port: &str| tree.at_port(port);
    let seen = || -> Vec<_> {
        meant(demand, attached).into_iter().filter_map(|device| at_port(&device.usb_port)).collect()
    };
    let UsbDemand { serial, port, name, .. } = demand;
    if let Some(found) = port.as_deref().and_then(at_port) {
        return vec![found];
    }
    if let Some(serial) = serial {
        return tree.with_serial(serial).map_or_else(seen, |it| vec![it]);
    }
    let Some(name) = name else { return Vec::new() };
    let found = seen();
    if found.is_empty() {
        tree.devices().filter(|device| is_called(&device.product, name)).collect()
    } else {
        found
    }
}

/// Returns the devices of `attached` that the demand selects: by port, by serial number or by name.
pub fn meant<'d>(demand: &UsbDemand, attached: &'d [Device]) -> Vec<&'d Device> {
    let UsbDemand { serial, port, name, .. } = demand;
    let is_meant = |device: &&Device| match (port, serial, name) {
        (Some(port), ..) if device.usb_port == *port => true,
        (_, Some(serial), _) => device.serial == *serial,
        (None, None, Some(name)) => is_called(&device.model, name),
        _ => false,
    };
    attached.iter().filter(is_meant).collect()
}

/// Returns whether the camera with this demand, which is at no USB port, is on Ethernet: it is one of the models that have
/// it, by its options or as the device `model` that its driver reports.
pub fn is_on_ethernet(demand: &UsbDemand, model: Option<&str>) -> bool {
    let words = model.or(demand.name.as_deref());
    demand.port.is_none() && words.is_some_and(|words| ON_ETHERNET.iter().any(|name| is_called(words, name)))
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
#[allow(clippy::struct_field_names)] // Readers identify the JSON by `camrig_plan`.
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
    /// Each camera that uses USB or Ethernet.
    pub cameras: Vec<CameraPlan>,
    /// Other limits of the rig, as messages.
    pub warnings: Vec<String>,
}

/// One controller or Ethernet link, and the data rate of its cameras.
#[derive(Debug, Serialize)]
pub struct ControllerPlan {
    /// Its address, or `assumed 1`; of an Ethernet link its interface, or the camera whose own link it is.
    pub controller: String,
    /// Its bus, such as `usb2`; empty if the controller is assumed, and `ethernet` for an Ethernet link.
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
    /// The data rate compared with the budgets. The name in JSON is a contract.
    #[serde(rename = "verdict")]
    pub assessment: Assessment,
    /// The largest profile that all streams of these cameras can have at the same time, within the cautious
    /// budget and no faster than requested.
    pub largest_profile: Option<StreamProfile>,
    /// The same where cameras or rates differ, so that no profile is the same for all streams: the largest of each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub largest_profiles: Vec<LargestProfile>,
}

/// The largest profile of one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LargestProfile {
    /// Name of the camera.
    pub camera: String,
    /// The stream.
    pub stream: Stream,
    /// Its profile.
    pub profile: StreamProfile,
}

/// Formats as in a message: `` `left` depth 640x480@30 ``.
impl fmt::Display for LargestProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {} {}", self.camera, self.stream, self.profile)
    }
}

/// One camera and its data rate.
#[derive(Debug, Serialize)]
pub struct CameraPlan {
    /// Name of the camera.
    pub name: String,
    /// Serial number, if its options select the device by it.
    pub serial: Option<String>,
    /// The USB port; `None` if it is not connected, or on Ethernet.
    pub port: Option<String>,
    /// Whether it is on Ethernet, not on USB.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub on_ethernet: bool,
    /// Streams that run.
    pub streams: Vec<DeviceProfile>,
    /// Data rate of these streams.
    pub need_megabits: u64,
}

impl ControllerPlan {
    /// Returns whether it is an Ethernet link, not a USB controller.
    pub fn is_ethernet(&self) -> bool {
        self.bus == ETHERNET
    }
}

/// A data rate compared with the budgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assessment {
    /// Within the cautious budget.
    Fits,
    /// Above the cautious budget, within the optimistic one.
    Risky,
    /// Above both budgets.
    TooMuch,
}

impl Assessment {
    /// Returns `fits`, `risky`, `too-much`.
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
        links.entry(Link::of(&camera.place, tree, settings)).or_default().push(camera);
    }
    let mut controllers: Vec<_> =
        links.into_iter().map(|(link, cameras)| assess(link, &cameras, budgets)).collect();
    controllers.extend(own_links(cameras, settings, budgets));
    Plan {
        camrig_plan: 1,
        topology: topology.to_owned(),
        fits: controllers.iter().all(|controller| controller.assessment == Assessment::Fits),
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
    /// Size of the largest packet in bytes; 0 for USB.
    mtu: u32,
}

impl Link {
    fn of(place: &CameraLocation, tree: &UsbTree, settings: &UsbSettings) -> Self {
        let mtu = 0;
        let device = match place {
            CameraLocation::Assumed(number) => {
                let controller = format!("assumed {}", number + 1);
                let bus = String::new();
                return Self { assumed: number + 1, controller, bus, megabits: USB3_MEGABITS, mtu };
            }
            CameraLocation::Ethernet => {
                let Interface { name, megabits, mtu } = interface(settings);
                // After all controllers.
                return Self {
                    assumed: usize::MAX,
                    controller: name,
                    bus: ETHERNET.to_owned(),
                    megabits,
                    mtu,
                };
            }
            CameraLocation::Port(port) => tree.at_port(port).ok_or(port),
        };
        if let Some(root) = device.ok().and_then(|device| tree.root_of(device)) {
            let UsbDevice { port, serial, megabits, .. } = root.clone();
            return Self { assumed: 0, controller: serial, bus: port, megabits, mtu };
        }
        // The tree is incomplete. A bus has devices of one speed, or slower ones.
        let (port, megabits) = match device {
            Ok(device) => (&device.port, device.megabits.min(USB3_MEGABITS)),
            Err(port) => (port, USB3_MEGABITS),
        };
        Self { assumed: 0, controller: UNKNOWN.to_owned(), bus: bus_of(port), megabits, mtu }
    }

    /// Returns its cautious and its optimistic budget in bits per second.
    fn budgets(&self, budgets: Budgets) -> (u64, u64) {
        if self.bus == ETHERNET {
            let of_link = |percent| payload_bits(self.megabits, self.mtu, percent);
            return (of_link(CAUTIOUS_PERCENT), of_link(OPTIMISTIC_PERCENT));
        }
        let share = u64::from(self.megabits.min(USB3_MEGABITS));
        let budget_bits = |megabits: u32| u64::from(megabits) * 1_000_000 * share / u64::from(USB3_MEGABITS);
        let cautious = budget_bits(budgets.cautious_megabits);
        (cautious, budget_bits(budgets.optimistic_megabits).max(cautious))
    }
}

/// Returns the interface of the cameras on Ethernet: the fastest, because nothing tells which one it is.
fn interface(settings: &UsbSettings) -> Interface {
    settings.interfaces.first().cloned().unwrap_or_else(Interface::assumed)
}

/// Returns an entry for each camera on Ethernet that is too fast for its own link, which others do not share.
fn own_links(cameras: &[UsbCamera], settings: &UsbSettings, budgets: Budgets) -> Vec<ControllerPlan> {
    let on_ethernet: Vec<_> =
        cameras.iter().filter(|camera| camera.place == CameraLocation::Ethernet).collect();
    let Interface { megabits, mtu, .. } = interface(settings);
    if on_ethernet.len() == 1 && megabits <= CAMERA_MEGABITS {
        return Vec::new();
    }
    let of_camera = |camera: &&UsbCamera| {
        let controller = format!("own link of {}", camera.name);
        let (bus, megabits) = (ETHERNET.to_owned(), CAMERA_MEGABITS);
        assess(Link { assumed: usize::MAX, controller, bus, megabits, mtu }, &[*camera], budgets)
    };
    on_ethernet.iter().map(of_camera).filter(|link| link.assessment != Assessment::Fits).collect()
}

/// Returns the name of the root hub that a port is below.
fn bus_of(port: &str) -> String {
    format!("usb{}", port.split('-').next().unwrap_or_default())
}

fn assess(link: Link, cameras: &[&UsbCamera], budgets: Budgets) -> ControllerPlan {
    let (cautious, optimistic) = link.budgets(budgets);
    let need: u64 = cameras.iter().map(|camera| bits(&camera.demand.streams)).sum();
    let largest = largest(cameras, cautious);
    let same = the_same(&largest);
    ControllerPlan {
        controller: link.controller,
        bus: link.bus,
        link_megabits: link.megabits,
        cameras: cameras.iter().map(|camera| camera.name.clone()).collect(),
        need_megabits: megabits(need),
        cautious_megabits: megabits(cautious),
        optimistic_megabits: megabits(optimistic),
        assessment: match need {
            _ if need <= cautious => Assessment::Fits,
            _ if need <= optimistic => Assessment::Risky,
            _ => Assessment::TooMuch,
        },
        largest_profile: same,
        largest_profiles: if same.is_some() { Vec::new() } else { largest },
    }
}

impl CameraPlan {
    fn of(camera: &UsbCamera) -> Self {
        let UsbDemand { serial, streams, .. } = camera.demand.clone();
        let port = match &camera.place {
            CameraLocation::Assumed(_) | CameraLocation::Ethernet => None,
            CameraLocation::Port(port) => Some(port.clone()),
        };
        let need_megabits = megabits(bits(&streams));
        let on_ethernet = camera.place == CameraLocation::Ethernet;
        Self { name: camera.name.clone(), serial, port, on_ethernet, streams, need_megabits }
    }
}

/// Returns the largest profiles that the streams of these cameras can have at the same time within the budget, each no
/// faster than requested: by rate first, because the rate was chosen deliberately, then by size. Empty if even the
/// smallest do not fit.
fn largest(cameras: &[&UsbCamera], budget_bits: u64) -> Vec<LargestProfile> {
    let streams: Vec<_> = cameras.iter().flat_map(|camera| WantedStream::of(camera)).collect();
    let mixed = largest_mixed(&streams, budget_bits);
    let slowest = mixed.iter().map(|it| it.profile.frames_per_second()).min();
    // One profile for all streams is simpler, if it costs no rate.
    match largest_shared(&streams, budget_bits) {
        Some(shared) if slowest.is_none_or(|slowest| shared.frames_per_second() >= slowest) => {
            streams.iter().map(|stream| stream.at(shared)).collect()
        }
        _ => mixed,
    }
}

/// A stream with the profiles that it can have.
struct WantedStream<'c> {
    camera: &'c UsbCamera,
    stream: DeviceProfile,
    choices: Vec<StreamProfile>,
}

impl<'c> WantedStream<'c> {
    fn of(camera: &'c UsbCamera) -> impl Iterator<Item = Self> {
        let wanted =
            move |stream: &DeviceProfile| Self { camera, stream: *stream, choices: choices(camera, stream) };
        camera.demand.streams.iter().map(wanted)
    }

    fn at(&self, profile: StreamProfile) -> LargestProfile {
        LargestProfile { camera: self.camera.name.clone(), stream: self.stream.stream, profile }
    }

    fn bits_at(&self, profile: StreamProfile) -> u64 {
        bits(&[DeviceProfile { profile, ..self.stream }])
    }

    /// Returns the largest profile within this rate and number of pixels: by rate first, then by size.
    fn within(&self, (rate, size): (u32, u32)) -> Option<StreamProfile> {
        let is_within =
            |profile: &&StreamProfile| profile.frames_per_second() <= rate && pixels(profile) <= size;
        self.choices.iter().filter(is_within).max_by_key(|it| rank(it)).copied()
    }
}

/// Returns the largest profile that all streams have; `None` if their rates differ.
fn largest_shared(streams: &[WantedStream<'_>], budget_bits: u64) -> Option<StreamProfile> {
    let rates: BTreeSet<_> = streams.iter().map(|it| it.stream.profile.frames_per_second()).collect();
    if rates.len() != 1 {
        return None;
    }
    let fits = |profile: &StreamProfile| {
        streams.iter().all(|it| it.choices.contains(profile))
            && streams.iter().map(|it| it.bits_at(*profile)).sum::<u64>() <= budget_bits
    };
    streams.first()?.choices.iter().copied().filter(fits).max_by_key(rank)
}

/// Returns the largest profile of each stream below one limit of rate and size; a camera that lacks it has the next
/// smaller one.
fn largest_mixed(streams: &[WantedStream<'_>], budget_bits: u64) -> Vec<LargestProfile> {
    let choices = || streams.iter().flat_map(|it| &it.choices);
    let rates: BTreeSet<_> = choices().map(|it| it.frames_per_second()).collect();
    let sizes: BTreeSet<_> = choices().map(pixels).collect();
    let below = |limit: (u32, u32)| -> Option<Vec<LargestProfile>> {
        let limited =
            |it: &WantedStream<'_>| it.within(limit).map(|profile| (it.at(profile), it.bits_at(profile)));
        let (profiles, bits): (Vec<_>, Vec<u64>) = streams.iter().map(limited).collect::<Option<_>>()?;
        (bits.iter().sum::<u64>() <= budget_bits).then_some(profiles)
    };
    let mut limits = rates.iter().rev().flat_map(|&rate| sizes.iter().rev().map(move |&size| (rate, size)));
    limits.find_map(below).unwrap_or_default()
}

/// Orders profiles by rate, then by size.
fn rank(profile: &StreamProfile) -> (u32, u32) {
    (profile.frames_per_second(), pixels(profile))
}

/// Returns the profile that all streams have.
fn the_same(largest: &[LargestProfile]) -> Option<StreamProfile> {
    let first = largest.first()?.profile;
    largest.iter().all(|it| it.profile == first).then_some(first)
}

fn pixels(profile: &StreamProfile) -> u32 {
    profile.width() * profile.height()
}

/// Returns the profiles that a camera's stream can have, no faster than the requested one, which is one of them.
fn choices(camera: &UsbCamera, stream: &DeviceProfile) -> Vec<StreamProfile> {
    let of_stream = |it: &&DeviceProfile| (it.stream, it.format) == (stream.stream, stream.format);
    let known = camera.demand.profiles.iter().filter(of_stream);
    let mut profiles: Vec<_> = known.map(|it| it.profile).collect();
    if profiles.is_empty() {
        profiles = COMMON_PROFILES
            .iter()
            .flat_map(|&(width, height, rates)| {
                rates.iter().filter_map(move |&rate| StreamProfile::new(width, height, rate).ok())
            })
            .collect();
        profiles.push(stream.profile);
    }
    profiles.retain(|profile| profile.frames_per_second() <= stream.profile.frames_per_second());
    profiles
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

/// Returns the size of the transfers that librealsense's own USB code, the RSUSB backend, keeps under way for these streams,
/// in MiB: `usbfs_memory_mb` must not be less.
pub fn transfers_mb<'s>(streams: impl IntoIterator<Item = &'s DeviceProfile>) -> u64 {
    under_way_mb(streams.into_iter().map(frame_bytes).sum())
}

/// Returns [`transfers_mb`] of this number of D400 cameras with the largest profile of each stream.
pub fn largest_transfers_mb(cameras: usize) -> u64 {
    under_way_mb(cameras as u64 * LARGEST_FRAMES_BYTES)
}

/// Returns the size of the transfers of streams whose frames have this size together, in MiB.
fn under_way_mb(frames_bytes: u64) -> u64 {
    (frames_bytes * FRAMES_UNDER_WAY).div_ceil(1 << 20)
}

fn megabits(bits: u64) -> u64 {
    (bits + 500_000) / 1_000_000
}

#[cfg(test)]
mod tests;
