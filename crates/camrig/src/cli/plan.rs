//! `camrig plan`: the USB bandwidth of each camera and controller, from the topology, the drivers and the machine.

mod hosts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use camrig_usb::{
    Assessment, Budgets, CameraLocation, CameraPlan, ControllerPlan, MEGABITS_MAX, Plan, USB_TREE, UsbCamera,
    UsbDemand, UsbSettings, UsbTree,
};
use clap::Args;
use serde::Serialize;

use self::hosts::OtherHosts;
use super::{TopologyArgs, code, counted, print_json, refuse, table};
use crate::console::{print, print_error, print_warning};
use crate::demands::UsbDemands;
use crate::driver::Device;
use crate::hosts::HostPlan;
use crate::registry::Registry;
use crate::topology::{Probed, Problems, Role, Topology};

/// Maximum number of assumed controllers.
const CONTROLLERS_MAX: i64 = 64;

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    topology: TopologyArgs,
    /// Distribute the cameras over N assumed controllers, without looking for devices
    #[arg(long, value_name = "N", conflicts_with = "usb_tree",
          value_parser = clap::value_parser!(u32).range(1..=CONTROLLERS_MAX))]
    controllers: Option<u32>,
    /// Look for the cameras in a copy of /sys/bus/usb/devices
    #[arg(long, value_name = "FOLDER")]
    usb_tree: Option<PathBuf>,
    /// Budget of a controller on nearly any machine, in Mb/s on a 5 Gb/s link
    #[arg(long, value_name = "MEGABITS", value_parser = budget())]
    cautious: Option<u32>,
    /// Budget of a controller on a good machine, in Mb/s on a 5 Gb/s link
    #[arg(long, value_name = "MEGABITS", value_parser = budget())]
    optimistic: Option<u32>,
    /// Print the plan as JSON
    #[arg(long)]
    json: bool,
}

fn budget() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=MEGABITS_MAX as i64)
}

/// Runs the command `plan`: exits 0 if everything fits, and 1 otherwise.
pub(super) fn run(args: &PlanArgs, registry: &Registry, usb: &UsbDemands) -> ExitCode {
    let topology = match args.topology.read(registry) {
        Ok(topology) => topology,
        Err(problems) => return refuse(&problems),
    };
    let of_file = topology.usb_budgets();
    let budgets = Budgets {
        cautious_megabits: args.cautious.unwrap_or(of_file.cautious_megabits),
        optimistic_megabits: args.optimistic.unwrap_or(of_file.optimistic_megabits),
    };
    let mut plan = match make(args, &topology, registry, usb, budgets) {
        Ok(plan) => plan,
        Err(message) => {
            print_error(message);
            return ExitCode::from(code::USAGE);
        }
    };
    // An assumed machine has no agents.
    let is_assumed = args.controllers.is_some() || args.usb_tree.is_some();
    let others = if is_assumed { Ok(OtherHosts::default()) } else { hosts::plan(&topology, registry, usb) };
    let others = match others {
        Ok(others) => others,
        Err(code) => return code,
    };
    let errors: Vec<_> = overloads(&plan).chain(others.overloads()).collect();
    let printed = if args.json {
        plan.fits = errors.is_empty();
        print_json(&WholePlan { plan: &plan, others: &others })
    } else {
        print(&(describe(&plan) + &others.describe()))
    };
    if let Err(code) = printed {
        return code;
    }
    if errors.is_empty() {
        return ExitCode::SUCCESS;
    }
    errors.iter().for_each(print_error);
    ExitCode::from(code::NO)
}

/// The plan of all hosts as JSON.
#[derive(Serialize)]
struct WholePlan<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    #[serde(flatten)]
    others: &'a OtherHosts,
}

/// Plans the USB bandwidth of the cameras of a part, for the agent that is to run it.
///
/// # Errors
/// All problems of the part.
pub fn plan_here(name: &str, text: &str, registry: &Registry) -> Result<HostPlan, Problems> {
    let topology = Topology::parse(name, text, None, registry)?;
    let usb = registry.usb();
    let folder = Path::new(USB_TREE);
    let tree = UsbTree::read(folder).unwrap_or_default();
    let plan = made_here(&topology, registry, usb, (folder, &tree), topology.usb_budgets());
    Ok(HostPlan {
        text: describe(&plan),
        json: serde_json::to_value(&plan).unwrap_or_default(),
        overloads: overloads(&plan).collect(),
        needs: hosts::needs(&topology, usb),
    })
}

/// Prints warnings about the USB bandwidth of the attached cameras before a run.
pub(super) fn warn(topology: &Topology, usb: &UsbDemands) {
    for warning in warnings(topology, usb, Path::new(USB_TREE)) {
        print_warning(warning);
    }
}

/// Returns messages about controllers that do not fit and other limits, from the USB tree in `folder`.
pub(super) fn warnings(topology: &Topology, usb: &UsbDemands, folder: &Path) -> Vec<String> {
    // A machine without USB, such as a container, has no camera attached.
    let Ok(tree) = UsbTree::read(folder) else { return Vec::new() };
    let mut cameras = find(topology, usb, &tree, &AttachedDevices::Probed(topology.probed())).cameras;
    // Cameras that are not attached, such as synthetic ones, need no bandwidth.
    let is_attached = |camera: &UsbCamera| match camera.place {
        CameraLocation::Port(_) => true,
        CameraLocation::Ethernet => topology.probed().get(&camera.name).is_some(),
        CameraLocation::Assumed(_) => false,
    };
    cameras.retain(is_attached);
    let settings = UsbSettings::read(folder);
    let plan = camrig_usb::plan(topology.name(), &cameras, &tree, &settings, topology.usb_budgets());
    overloads(&plan).chain(plan.warnings.iter().cloned()).collect()
}

fn make(
    args: &PlanArgs,
    topology: &Topology,
    registry: &Registry,
    usb: &UsbDemands,
    budgets: Budgets,
) -> Result<Plan, String> {
    if let Some(controllers) = args.controllers {
        let deal = |(number, (name, _, demand))| {
            let place = if camrig_usb::is_on_ethernet(&demand, None) {
                CameraLocation::Ethernet
            } else {
                CameraLocation::Assumed(number % controllers as usize)
            };
            UsbCamera { name, demand, place, rivals: Vec::new() }
        };
        let cameras: Vec<_> = demands(topology, usb).enumerate().map(deal).collect();
        let (tree, settings) = Default::default();
        return Ok(camrig_usb::plan(topology.name(), &cameras, &tree, &settings, budgets));
    }
    let (folder, tree) = match &args.usb_tree {
        Some(folder) => {
            let tree = UsbTree::read(folder);
            (&**folder, tree.map_err(|error| format!("`{}` cannot be read: {error}", folder.display()))?)
        }
        None => (Path::new(USB_TREE), UsbTree::read(Path::new(USB_TREE)).unwrap_or_default()),
    };
    Ok(match args.usb_tree {
        None => made_here(topology, registry, usb, (folder, &tree), budgets),
        // It is of another machine, so this machine's drivers are not asked for their devices.
        Some(_) => made(topology, usb, &AttachedDevices::Unknown, (folder, &tree), budgets),
    })
}

/// Returns the plan of a machine with this USB tree and the devices that its drivers list.
fn made_here(
    topology: &Topology,
    registry: &Registry,
    usb: &UsbDemands,
    (folder, tree): (&Path, &UsbTree),
    budgets: Budgets,
) -> Plan {
    let attached =
        if tree.is_empty() { AttachedDevices::Unknown } else { AttachedDevices::of(topology, usb, registry) };
    made(topology, usb, &attached, (folder, tree), budgets)
}

fn made(
    topology: &Topology,
    usb: &UsbDemands,
    attached: &AttachedDevices<'_>,
    (folder, tree): (&Path, &UsbTree),
    budgets: Budgets,
) -> Plan {
    let FoundCameras { cameras, warnings } = find(topology, usb, tree, attached);
    let mut plan = camrig_usb::plan(topology.name(), &cameras, tree, &UsbSettings::read(folder), budgets);
    plan.warnings.extend(warnings);
    let assumed = cameras.iter().filter(|camera| matches!(camera.place, CameraLocation::Assumed(_)));
    let assumed: Vec<_> = assumed.map(|camera| format!("`{}`", camera.name)).collect();
    if !assumed.is_empty() {
        plan.warnings.push(format!(
            "not attached, and assumed on one controller (`--controllers N` assumes more): {}",
            assumed.join(", ")
        ));
    }
    plan
}

/// Returns the name, driver and demand of each camera of this host that uses USB.
fn demands<'t>(
    topology: &'t Topology,
    usb: &UsbDemands,
) -> impl Iterator<Item = (String, &'t str, UsbDemand)> {
    topology.actors().iter().filter(|actor| actor.host.is_none()).filter_map(|actor| {
        let Role::Camera { driver } = &actor.role else { return None };
        let mut demand = usb.of(driver, actor.camera_options()?.typed())?;
        // Motion needs almost nothing: a few bytes a sample, at most a thousand times a second.
        demand.streams.retain(|it| !it.is_motion());
        Some((actor.name.clone(), driver.as_str(), demand))
    })
}

/// Returns the size of the USB transfers of all cameras with librealsense's RSUSB backend, in MiB.
pub(super) fn transfers_mb(topology: &Topology, usb: &UsbDemands) -> u64 {
    let streams: Vec<_> = demands(topology, usb).flat_map(|(_, _, demand)| demand.streams).collect();
    camrig_usb::transfers_mb(&streams)
}

/// The known devices of the machine.
enum AttachedDevices<'a> {
    /// Nothing.
    Unknown,
    /// The device of each camera.
    Probed(&'a Probed),
    /// The devices of each driver.
    Drivers(BTreeMap<String, Vec<Device>>),
}

impl AttachedDevices<'_> {
    /// Asks the drivers of the topology's cameras on USB for their devices.
    fn of(topology: &Topology, usb: &UsbDemands, registry: &Registry) -> Self {
        let mut devices = BTreeMap::new();
        for (_, driver, _) in demands(topology, usb) {
            devices.entry(driver.to_owned()).or_insert_with(|| {
                let listed = registry.driver(driver).map_or(Ok(None), |entry| entry.devices());
                listed.unwrap_or_else(|error| {
                    print_warning(format_args!("driver `{driver}`: {error}"));
                    None
                })
            });
        }
        Self::Drivers(devices.into_iter().map(|(name, listed)| (name, listed.unwrap_or_default())).collect())
    }

    /// Returns the devices that `camera` of `driver` may be.
    fn devices(&self, camera: &str, driver: &str) -> &[Device] {
        match self {
            Self::Unknown => &[],
            Self::Probed(probed) => probed.get(camera).map(std::slice::from_ref).unwrap_or_default(),
            Self::Drivers(devices) => devices.get(driver).map(Vec::as_slice).unwrap_or_default(),
        }
    }
}

/// The cameras on USB, and warnings about the others.
struct FoundCameras {
    cameras: Vec<UsbCamera>,
    warnings: Vec<String>,
}

/// Looks for each camera in the tree, also by the known attached devices.
fn find(
    topology: &Topology,
    usb: &UsbDemands,
    tree: &UsbTree,
    attached: &AttachedDevices<'_>,
) -> FoundCameras {
    let mut found = FoundCameras { cameras: Vec::new(), warnings: Vec::new() };
    for (name, driver, mut demand) in demands(topology, usb) {
        let devices = attached.devices(&name, driver);
        let meant: Vec<_> = match attached {
            AttachedDevices::Probed(_) => devices.iter().collect(),
            _ => camrig_usb::meant(&demand, devices),
        };
        if let [device] = meant[..] {
            if device.is_off_usb() && camrig_usb::is_on_ethernet(&demand, Some(&device.model)) {
                demand.profiles.clone_from(&device.profiles);
                let (place, rivals) = (CameraLocation::Ethernet, Vec::new());
                found.cameras.push(UsbCamera { name, demand, place, rivals });
                continue;
            }
            if device.is_off_usb() {
                found
                    .warnings
                    .push(format!("not on USB or Ethernet, and left out: `{name}` ({})", device.model));
                continue;
            }
            if !device.problem.is_empty() {
                found.warnings.push(format!("camera `{name}` ({}) {}", device.model, device.problem));
            }
            if demand.port.is_none() && !device.usb_port.is_empty() {
                demand.port = Some(device.usb_port.clone());
            }
            demand.profiles.clone_from(&device.profiles);
        }
        let mut ports = camrig_usb::find(&demand, tree, devices).into_iter().map(|found| found.port.clone());
        let place = match ports.next() {
            Some(port) => CameraLocation::Port(port),
            None if camrig_usb::is_on_ethernet(&demand, None) => CameraLocation::Ethernet,
            None => CameraLocation::Assumed(0),
        };
        found.cameras.push(UsbCamera { name, demand, place, rivals: ports.collect() });
    }
    found
}

/// Returns a sentence for each controller that does not fit.
fn overloads(plan: &Plan) -> impl Iterator<Item = String> {
    let overload = |controller: &ControllerPlan| {
        let (needs, budget) = (controller.need_megabits, controller.cautious_megabits);
        let cameras: Vec<_> = controller.cameras.iter().map(|name| format!("`{name}`")).collect();
        let largest = match (controller.largest_profile, controller.largest_profiles.as_slice()) {
            (Some(profile), _) => format!("the largest profile that fits all its cameras is {profile}"),
            (None, []) => "no profile fits all its cameras".to_owned(),
            (None, several) => {
                let several: Vec<_> = several.iter().map(ToString::to_string).collect();
                format!("the largest profiles that fit are {}", several.join(", "))
            }
        };
        let kind = if controller.is_ethernet() { "Ethernet link" } else { "controller" };
        format!(
            "{kind} {} needs {needs} Mb/s for {}, but its budget is {budget} Mb/s; {largest}",
            if controller.is_ethernet() { controller.controller.clone() } else { place_of(controller) },
            cameras.join(", "),
        )
    };
    let overloaded = plan.controllers.iter().filter(|controller| controller.assessment != Assessment::Fits);
    overloaded.map(overload).collect::<Vec<_>>().into_iter()
}

/// Formats as `0000:00:14.0 usb2`, or `assumed 1`.
fn place_of(ControllerPlan { controller, bus, .. }: &ControllerPlan) -> String {
    format!("{controller} {bus}").trim().to_owned()
}

/// Formats the plan as text.
fn describe(plan: &Plan) -> String {
    let need = plan.need_megabits;
    let on_ethernet = plan.cameras.iter().filter(|camera| camera.on_ethernet).count();
    let on_usb = plan.cameras.len() - on_ethernet;
    let places = match (on_usb, on_ethernet) {
        (_, 0) => format!("{} on USB", counted(on_usb, "camera")),
        (0, _) => format!("{} on Ethernet", counted(on_ethernet, "camera")),
        _ => format!("{} on USB, {on_ethernet} on Ethernet", counted(on_usb, "camera")),
    };
    let mut parts = vec![format!("{}: {places}, {need} Mb/s in all\n", plan.topology)];
    if !plan.cameras.is_empty() {
        parts.extend([describe_cameras(&plan.cameras), describe_controllers(&plan.controllers)]);
    }
    parts.extend(plan.warnings.iter().map(|warning| format!("warning: {warning}\n")));
    parts.join("\n")
}

fn describe_cameras(cameras: &[CameraPlan]) -> String {
    let head = ["camera", "serial", "port", "Mb/s", "streams"].map(str::to_owned);
    let row = |camera: &CameraPlan| {
        let streams = camera.streams.iter().map(|it| format!("{} {} {}", it.stream, it.format, it.profile));
        let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let (name, streams) = (camera.name.clone(), streams.collect::<Vec<_>>().join(", "));
        [name, known(&camera.serial), known(&camera.port), camera.need_megabits.to_string(), streams]
    };
    table(std::iter::once(head).chain(cameras.iter().map(row)))
}

fn describe_controllers(controllers: &[ControllerPlan]) -> String {
    let head = [
        "controller",
        "link",
        "cameras",
        "Mb/s",
        "cautious",
        "optimistic",
        "assessment",
        "largest that fits",
    ];
    let row = |controller: &ControllerPlan| {
        [
            place_of(controller),
            controller.link_megabits.to_string(),
            controller.cameras.len().to_string(),
            controller.need_megabits.to_string(),
            controller.cautious_megabits.to_string(),
            controller.optimistic_megabits.to_string(),
            controller.assessment.name().to_owned(),
            match (controller.largest_profile, controller.largest_profiles.is_empty()) {
                (Some(profile), _) => profile.to_string(),
                (None, true) => "-".to_owned(),
                (None, false) => "mixed".to_owned(),
            },
        ]
    };
    table(std::iter::once(head.map(str::to_owned)).chain(controllers.iter().map(row)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{Synthetic, SyntheticOptions};
    use crate::testing::{TestFolder, usb_tree};

    /// Returns the driver and its demands.
    fn synthetic() -> (Registry, UsbDemands) {
        let (mut registry, mut usb) = (Registry::default(), UsbDemands::default());
        registry.add_driver::<Synthetic>("synthetic");
        usb.add::<Synthetic>("synthetic", SyntheticOptions::usb_demand);
        (registry, usb)
    }

    fn camera(name: &str, serial: &str) -> String {
        format!(
            "[camera.{name}]\ndriver = 'synthetic'\noptions = {{ serial = '{serial}', \
             depth = '1280x720@30', color = '1280x720@30' }}\n"
        )
    }

    #[test]
    fn cameras_on_gmsl_or_ethernet_need_no_usb() {
        let folder = TestFolder::new("plan-off-usb");
        let tree =
            usb_tree(&folder, &[("usb2", "5000", "3.10", "0000:00:14.0"), ("2-1", "5000", "3.20", "1")]);
        let (registry, usb) = synthetic();
        let cameras = [camera("usb", "1"), camera("gmsl", "2"), camera("ethernet", "3")].concat();
        let topology = Topology::parse("t.toml", &cameras, None, &registry).unwrap();
        let device = |model: &str, serial: &str, port: &str| Device {
            model: model.to_owned(),
            serial: serial.to_owned(),
            usb_port: port.to_owned(),
            ..Device::default()
        };
        let devices = vec![device("D435", "1", "2-1"), device("D457", "2", ""), device("D555", "3", "")];
        let attached = AttachedDevices::Drivers([("synthetic".to_owned(), devices)].into());
        let FoundCameras { cameras, warnings } = find(&topology, &usb, &tree, &attached);
        let places: Vec<_> = cameras.iter().map(|camera| (camera.name.as_str(), &camera.place)).collect();
        let port = CameraLocation::Port("2-1".to_owned());
        assert_eq!(places, [("usb", &port), ("ethernet", &CameraLocation::Ethernet)]);
        assert_eq!(warnings, ["not on USB or Ethernet, and left out: `gmsl` (D457)"]);
    }

    #[test]
    fn a_run_warns_about_attached_cameras() {
        let folder = TestFolder::new("plan-warn");
        usb_tree(
            &folder,
            &[
                ("usb2", "5000", "3.10", "0000:00:14.0"),
                ("2-1", "5000", "3.20", "1"),
                ("2-2", "5000", "3.20", "2"),
            ],
        );
        let (registry, usb) = synthetic();
        let warnings = |budget: &str| {
            let cameras = [camera("left", "1"), camera("right", "2"), camera("absent", "3")].concat();
            let topology = Topology::parse("t.toml", &format!("{budget}{cameras}"), None, &registry);
            warnings(&topology.unwrap(), &usb, folder.path())
        };
        assert_eq!(
            warnings(""),
            ["controller 0000:00:14.0 usb2 needs 1769 Mb/s for `left`, `right`, but its budget is \
                  1200 Mb/s; the largest profile that fits all its cameras is 848x480@30"],
        );
        assert!(warnings("usb = { cautious_megabits = 3200 }\n").is_empty());
        let folder = TestFolder::new("plan-no-usb");
        let topology = Topology::parse("t.toml", "[camera.c]\ndriver = 'synthetic'", None, &registry);
        assert!(super::warnings(&topology.unwrap(), &usb, folder.path()).is_empty());
    }
}
