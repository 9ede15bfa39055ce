//! `camrig devices` and `camrig init`: the attached cameras, and a topology of them.
//!
//! Drivers list their devices, and the USB tree their controllers. The options in the topology come from the schema of
//! the driver, so that tables for drivers of users are complete too.

use std::cmp::Reverse;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use camrig_frame::{Format, Stream, StreamProfile};
use camrig_usb::{USB_TREE, UsbTree};
use clap::Args;
use serde::Serialize;

use super::{code, code_of, counted, print_json, table};
use crate::console::{print, print_error, print_warning};
use crate::driver::Device;
use crate::files::NewFile;
use crate::hosts::{FIRST, HostDevices};
use crate::registry::Registry;
use crate::schema::OptionsSchema;
use crate::topology::Topology;

/// The preferred profile: the native resolution of D400 cameras.
const PREFERRED: (u32, u32, u32) = (848, 480, 30);

/// The option with which a driver accepts a camera on USB 2.
const ALLOW_USB2: &str = "allow_usb2";

#[derive(Debug, Args)]
pub(super) struct DevicesArgs {
    /// A topology: the devices of its other hosts as well, as their agents list them
    topology: Option<PathBuf>,
    /// Only the devices of this host of the topology; `main` is this one
    #[arg(long, requires = "topology")]
    host: Vec<String>,
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The file to write; it must not exist
    #[arg(default_value = "rig.toml")]
    file: PathBuf,
}

/// The attached devices as JSON: fields may be added, but never renamed.
#[derive(Debug, Serialize)]
#[allow(clippy::struct_field_names)] // `camrig_devices` identifies the format.
struct Devices {
    /// The version of this contract.
    camrig_devices: u32,
    devices: Vec<AttachedDevice>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hosts: Vec<HostDevicesJson>,
}

/// The devices of another host.
#[derive(Debug, Serialize)]
struct HostDevicesJson {
    name: String,
    devices: serde_json::Value,
}

/// A device without the fields that its driver does not report.
#[derive(Debug, Serialize)]
struct AttachedDevice {
    driver: String,
    #[serde(flatten)]
    device: Device,
    /// The USB controller that it is attached to; empty if unknown.
    controller: String,
    /// Its name in the topology.
    name: String,
    /// Its table in the topology.
    topology: String,
}

/// The devices of all drivers.
#[derive(Debug, Default)]
struct FoundDevices {
    devices: Vec<AttachedDevice>,
    /// Messages about drivers that found no device, or that this build lacks.
    remarks: Vec<String>,
    /// Messages about drivers that cannot list their devices.
    errors: Vec<String>,
}

/// Runs the command `devices`.
pub(super) fn run(args: &DevicesArgs, registry: &Registry) -> ExitCode {
    let (here, others) = match args.topology.as_deref().map(|file| other_hosts(file, &args.host, registry)) {
        Some(Ok(hosts)) => hosts,
        Some(Err(code)) => return code,
        None => (true, Vec::new()),
    };
    let found = if here { find_devices(registry, Path::new(USB_TREE)) } else { FoundDevices::default() };
    let FoundDevices { devices, remarks, mut errors } = found;
    let (mut text, mut hosts) = (String::new(), Vec::new());
    if !devices.is_empty() || !remarks.is_empty() {
        text = describe(&devices, remarks);
    }
    for (name, found) in others {
        match found {
            Ok(found) => {
                errors.extend(found.errors.iter().map(|error| format!("host `{name}`: {error}")));
                let gap = if text.is_empty() { "" } else { "\n" };
                text = format!("{text}{gap}host {name}:\n{}", found.text);
                hosts.push(HostDevicesJson { name, devices: found.json });
            }
            Err(error) => errors.push(error),
        }
    }
    let printed = if args.json {
        print_json(&Devices { camrig_devices: 1, devices, hosts })
    } else if text.is_empty() {
        Ok(())
    } else {
        print(&text)
    };
    refuse(&errors).unwrap_or(code_of(printed))
}

/// The devices of other hosts, by the names of the hosts.
type OfOthers = Vec<(String, Result<HostDevices, String>)>;

/// Has the agents of a topology list their devices. Returns whether those of this host are wanted too.
///
/// # Errors
/// The exit code, after the reasons were printed.
fn other_hosts(file: &Path, wanted: &[String], registry: &Registry) -> Result<(bool, OfOthers), ExitCode> {
    let topology = Topology::read(file, None, registry).map_err(|problems| super::refuse(&problems))?;
    let all = topology.hosts();
    let is_known = |name: &&String| name.as_str() == FIRST || all.iter().any(|host| host.name == **name);
    if let Some(unknown) = wanted.iter().find(|name| !is_known(name)) {
        let names = std::iter::once(FIRST).chain(all.iter().map(|host| host.name.as_str()));
        let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
        let file = file.display();
        print_error(format_args!("`{file}` has no host `{unknown}`; expected one of: {}", names.join(", ")));
        return Err(ExitCode::from(code::USAGE));
    }
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let hosts: Vec<_> = all.iter().filter(|host| is_wanted(&host.name)).cloned().collect();
    let found = registry.hosts().map(|others| others.devices(&hosts)).unwrap_or_default();
    Ok((is_wanted(FIRST), found))
}

/// Lists the devices of this host for a first host, which calls this one `host`.
pub fn devices_here(host: &str, registry: &Registry) -> HostDevices {
    let FoundDevices { mut devices, remarks, errors } = find_devices(registry, Path::new(USB_TREE));
    for device in &mut devices {
        device.topology =
            device.topology.replacen("\noptions", &format!("\nhost    = \"{host}\"\noptions"), 1);
    }
    HostDevices {
        text: describe(&devices, remarks),
        json: serde_json::to_value(&devices).unwrap_or_default(),
        errors,
    }
}

/// Runs the command `init`.
pub(super) fn init(args: &InitArgs, registry: &Registry) -> ExitCode {
    let FoundDevices { devices, remarks, errors } = find_devices(registry, Path::new(USB_TREE));
    if let Some(code) = refuse(&errors) {
        return code;
    }
    if devices.is_empty() {
        let reason = if remarks.is_empty() {
            "no driver of this program can list devices".to_owned()
        } else {
            remarks.join("; ")
        };
        print_error(format_args!("no camera is attached: {reason}"));
        return ExitCode::from(code::UNAVAILABLE);
    }
    let (devices, unusable): (Vec<_>, Vec<_>) = devices.into_iter().partition(AttachedDevice::is_usable);
    for AttachedDevice { driver, device, .. } in &unusable {
        print_warning(format_args!("left out: {driver}: {} {}", named(device), device.problem));
    }
    if devices.is_empty() {
        print_error("no attached camera can be used");
        return ExitCode::from(code::UNAVAILABLE);
    }
    let name = args.file.display();
    let text = topology(&devices);
    let written = NewFile::creating(&args.file).and_then(|mut new| {
        new.file().write_all(text.as_bytes())?;
        new.keep()
    });
    match written {
        Ok(()) => code_of(print(&format!("wrote {name}: {}", counted(devices.len(), "camera")))),
        Err(error) => {
            let reason = match error.kind() {
                ErrorKind::AlreadyExists => "the file exists".to_owned(),
                _ => error.to_string(),
            };
            print_error(format_args!("topology `{name}` cannot be written: {reason}"));
            ExitCode::from(code::CANT_CREATE)
        }
    }
}

/// Prints the errors; returns `None` if there are none.
fn refuse(errors: &[String]) -> Option<ExitCode> {
    errors.iter().for_each(print_error);
    (!errors.is_empty()).then(|| ExitCode::from(code::UNAVAILABLE))
}

/// Lists the devices of every driver, with their controllers in the USB tree in `folder`.
fn find_devices(registry: &Registry, folder: &Path) -> FoundDevices {
    // A machine without USB has no controllers.
    let tree = UsbTree::read(folder).unwrap_or_default();
    let mut found = FoundDevices::default();
    for (driver, entry) in registry.drivers() {
        match entry.devices() {
            Ok(None) => {}
            Ok(Some(devices)) if devices.is_empty() => {
                found.remarks.push(format!("driver `{driver}` found no device"));
            }
            Ok(Some(devices)) => {
                let schema = entry.schema();
                for device in devices {
                    found.add(driver, device, &schema, &tree);
                }
            }
            Err(error) => found.errors.push(format!("driver `{driver}`: {error}")),
        }
    }
    found
}

impl FoundDevices {
    fn add(&mut self, driver: &str, device: Device, schema: &OptionsSchema, tree: &UsbTree) {
        let base = base_name(&device.model);
        let same = self.devices.iter().filter(|other| base_name(&other.device.model) == base).count();
        let name = format!("{base}-{}", same + 1);
        let topology = camera_table(&name, driver, &device, schema);
        let root = tree.at_port(&device.usb_port).and_then(|at| tree.root_of(at));
        let controller = root.map(|root| root.serial.clone()).unwrap_or_default();
        self.devices.push(AttachedDevice { driver: driver.to_owned(), device, controller, name, topology });
    }
}

/// Formats the devices: each with its profiles, then their tables for a topology.
fn describe(devices: &[AttachedDevice], remarks: Vec<String>) -> String {
    let parts = devices.iter().map(AttachedDevice::describe);
    let topologies = devices.iter().filter(|device| device.is_usable()).map(|device| device.topology.clone());
    let for_a_topology =
        devices.iter().any(AttachedDevice::is_usable).then(|| "For a topology:\n".to_owned());
    let remarks = remarks.into_iter().map(|remark| format!("{remark}\n"));
    parts.chain(for_a_topology).chain(topologies).chain(remarks).collect::<Vec<_>>().join("\n")
}

/// Returns the model of a device, with its serial number or port.
fn named(device: &Device) -> String {
    let Device { model, serial, usb_port, .. } = device;
    match (serial.as_str(), usb_port.as_str()) {
        ("", "") => model.clone(),
        ("", port) => format!("{model} at port {port}"),
        (serial, _) => format!("{model} {serial}"),
    }
}

impl AttachedDevice {
    fn is_usable(&self) -> bool {
        self.device.problem.is_empty()
    }

    fn describe(&self) -> String {
        let Device { model, serial, firmware, usb_type, usb_port, profiles, problem } = &self.device;
        let facts = [
            ("serial", serial),
            ("firmware", firmware),
            ("USB", usb_type),
            ("port", usb_port),
            ("controller", &self.controller),
        ];
        let facts = facts.iter().filter(|(_, fact)| !fact.is_empty());
        let facts: Vec<_> = facts.map(|(name, fact)| format!(", {name} {fact}")).collect();
        let mut streams: Vec<(Stream, Format)> = profiles.iter().map(|it| (it.stream, it.format)).collect();
        streams.sort_by_key(|&(stream, format)| (stream, format.to_string()));
        streams.dedup();
        let rows = streams.into_iter().map(|(stream, format)| {
            let own = profiles.iter().filter(|it| (it.stream, it.format) == (stream, format));
            let own: Vec<_> = own.map(|it| it.profile).collect();
            let profiles = if format == Format::Motion { by_rate(&own) } else { by_size(own) };
            [format!("  {stream}"), format.to_string(), profiles]
        });
        let remark = match problem.as_str() {
            "" if self.device.is_on_usb2() => "  on USB 2: profiles are fewer and slower\n".to_owned(),
            "" => String::new(),
            problem => format!("  {problem}\n"),
        };
        format!("{}: {model}{}\n{remark}{}", self.driver, facts.concat(), table(rows))
    }
}

/// Formats as `848x480@90,60,30 640x480@30`: the largest size and the highest rate first.
fn by_size(mut profiles: Vec<StreamProfile>) -> String {
    profiles.sort_by_key(|it| Reverse((it.width() * it.height(), it.width(), it.frames_per_second())));
    profiles.dedup();
    let same_size = |a: &StreamProfile, b: &StreamProfile| (a.width(), a.height()) == (b.width(), b.height());
    let size = |profiles: &[StreamProfile]| {
        let rates: Vec<_> = profiles.iter().map(|it| it.frames_per_second().to_string()).collect();
        format!("{}x{}@{}", profiles[0].width(), profiles[0].height(), rates.join(","))
    };
    profiles.chunk_by(same_size).map(size).collect::<Vec<_>>().join(" ")
}

/// Formats as `@200,100`: samples of motion per second, the highest rate first.
fn by_rate(profiles: &[StreamProfile]) -> String {
    let mut rates: Vec<_> = profiles.iter().map(|it| it.frames_per_second()).collect();
    rates.sort_by_key(|&rate| Reverse(rate));
    rates.dedup();
    format!("@{}", rates.iter().map(u32::to_string).collect::<Vec<_>>().join(","))
}

/// Returns `d435` for an `Intel RealSense D435`: the last word of the model, as the name of an actor.
fn base_name(model: &str) -> String {
    let word = model.split_whitespace().next_back().unwrap_or_default();
    let name: String = word.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
    if name.is_empty() { "camera".to_owned() } else { name.to_ascii_lowercase() }
}

/// Returns the camera's table in a topology, with the options that its driver has: those with which `check` accepts it.
fn camera_table(name: &str, driver: &str, device: &Device, schema: &OptionsSchema) -> String {
    let text = |text: &str| toml::Value::from(text).to_string();
    if !device.problem.is_empty() {
        return String::new();
    }
    let streams = [("depth", Stream::DEPTH), ("color", Stream::COLOR)];
    let preferred = |(name, stream)| Some((name, preferred(device, stream)?.to_string()));
    let streams = streams.into_iter().filter_map(preferred);
    // A serial number is better than a port, which changes when the camera is plugged in elsewhere.
    let selection = match device.serial.as_str() {
        "" => ("port", device.usb_port.clone()),
        serial => ("serial", serial.to_owned()),
    };
    let usb2 = device.is_on_usb2().then(|| (ALLOW_USB2, "true".to_owned()));
    let options: Vec<_> = std::iter::once(selection)
        .chain(streams)
        .map(|(name, value)| (name, text(&value)))
        .chain(usb2)
        .filter(|(name, _)| schema.has(name))
        .map(|(name, value)| format!("{name} = {value}"))
        .collect();
    let options = options.join(", ");
    format!("[camera.{name}]\ndriver  = {}\noptions = {{ {options} }}\n", text(driver))
}

/// Returns the profile of a stream that is nearest to the preferred one, which is also that of a device without a
/// list of profiles; `None` if the device has no such stream.
fn preferred(device: &Device, stream: Stream) -> Option<StreamProfile> {
    let (width, height, rate) = PREFERRED;
    if device.profiles.is_empty() {
        return StreamProfile::new(width, height, rate).ok();
    }
    let own = device.profiles.iter().filter(|it| it.stream == stream).map(|it| it.profile);
    own.min_by_key(|it| {
        let sides = it.width().abs_diff(width) + it.height().abs_diff(height);
        (it.frames_per_second().abs_diff(rate), sides)
    })
}

/// Returns a topology of all devices with a processor that prints their statistics.
fn topology(devices: &[AttachedDevice]) -> String {
    let names: Vec<_> = devices.iter().map(|device| format!("\"{}\"", device.name)).collect();
    let cameras: Vec<_> = devices.iter().map(|device| device.topology.as_str()).collect();
    format!(
        "# The cameras that were attached when `init` wrote this file, and a processor that prints their statistics.\n\
         placement = \"multi-process\"\n\n{}\n[processor.stats]\nkind   = \"stats\"\ninputs = [{}]\n",
        cameras.join("\n"),
        names.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processor::NoOptions;
    use crate::testing::{TestFolder, usb_tree};

    #[test]
    fn a_device_is_attached_to_a_controller() {
        let folder = TestFolder::new("devices-controller");
        let tree =
            usb_tree(&folder, &[("usb2", "5000", "3.00", "0000:00:14.0"), ("2-1.3", "5000", "3.20", "asic")]);
        let device = |model: &str, usb_port: &str| Device {
            model: model.to_owned(),
            usb_port: usb_port.to_owned(),
            ..Device::default()
        };
        let mut found = FoundDevices::default();
        let schema = OptionsSchema::of::<NoOptions>();
        for (model, port) in [("Intel RealSense D435", "2-1.3"), ("D435", "2-9"), ("\u{2014}", "")] {
            found.add("realsense", device(model, port), &schema, &tree);
        }
        let found = found.devices.iter().map(|it| (it.name.as_str(), it.controller.as_str()));
        assert_eq!(found.collect::<Vec<_>>(), [("d435-1", "0000:00:14.0"), ("d435-2", ""), ("camera-1", "")]);
    }

    #[test]
    fn a_stream_runs_at_the_profile_nearest_to_the_preferred_one() {
        let profile = |stream, profile: &str| crate::driver::DeviceProfile {
            stream,
            format: camrig_frame::PixelFormat::Z16.into(),
            profile: profile.parse().unwrap(),
        };
        let preferred = |profiles: &[&str]| {
            let profiles = profiles.iter().map(|it| profile(Stream::DEPTH, it)).collect();
            let device = Device { profiles, ..Device::default() };
            preferred(&device, Stream::DEPTH).map(|profile| profile.to_string())
        };
        assert_eq!(preferred(&[]).as_deref(), Some("848x480@30"));
        assert_eq!(preferred(&["1280x720@30", "848x480@30", "848x480@90"]).as_deref(), Some("848x480@30"));
        // The profiles of a camera on USB 2.
        assert_eq!(preferred(&["1280x720@6", "640x480@15", "480x270@15"]).as_deref(), Some("640x480@15"));
        let color = Device { profiles: vec![profile(Stream::COLOR, "640x480@30")], ..Device::default() };
        assert_eq!(super::preferred(&color, Stream::DEPTH), None);
    }

    /// The options of a driver such as `realsense`.
    #[derive(schemars::JsonSchema)]
    #[allow(dead_code)]
    struct CameraOptions {
        serial: Option<String>,
        port: Option<String>,
        depth: Option<String>,
        allow_usb2: Option<bool>,
    }

    #[test]
    fn a_table_has_the_options_that_the_check_demands() {
        let profiles = vec![crate::driver::DeviceProfile {
            stream: Stream::DEPTH,
            format: camrig_frame::PixelFormat::Z16.into(),
            profile: "640x480@15".parse().unwrap(),
        }];
        let device = Device {
            model: "Intel RealSense D435".into(),
            serial: "1".into(),
            usb_type: "2.1".into(),
            usb_port: "1-2".into(),
            profiles,
            ..Device::default()
        };
        let schema = OptionsSchema::of::<CameraOptions>();
        let options =
            |device: &Device| camera_table("c", "d", device, &schema).lines().nth(2).map(str::to_owned);
        let options = |device: &Device| options(device).unwrap_or_default();
        assert_eq!(
            options(&device),
            "options = { serial = \"1\", depth = \"640x480@15\", allow_usb2 = true }"
        );
        // A camera on GMSL, without USB, and one without a serial number.
        let off_usb = Device { usb_type: String::new(), usb_port: String::new(), ..device.clone() };
        assert_eq!(options(&off_usb), "options = { serial = \"1\", depth = \"640x480@15\" }");
        let nameless = Device { serial: String::new(), usb_type: "3.2".into(), ..device.clone() };
        assert_eq!(options(&nameless), "options = { port = \"1-2\", depth = \"640x480@15\" }");
        let broken = Device { problem: "is in recovery mode".into(), ..device };
        assert_eq!(options(&broken), "");
    }

    #[test]
    fn a_camera_that_cannot_be_used_gives_the_reason() {
        let mut found = FoundDevices::default();
        let device = Device {
            model: "Intel RealSense D4XX Recovery".into(),
            usb_port: "2-1".into(),
            problem: "is in recovery mode".into(),
            ..Device::default()
        };
        found.add("realsense", device.clone(), &OptionsSchema::of::<CameraOptions>(), &UsbTree::default());
        assert_eq!(
            describe(&found.devices, Vec::new()),
            "realsense: Intel RealSense D4XX Recovery, port 2-1\n  is in recovery mode\n"
        );
        assert_eq!(named(&device), "Intel RealSense D4XX Recovery at port 2-1");
    }
}
