//! Looks for what a topology names outside itself: devices, files and programs. Nothing is started.

use std::collections::BTreeMap;

use super::problem::{Problems, quote};
use super::processes::{self, ProcessCommand};
use super::section::{Options, span_of};
use super::{MAIN, Probed, Role};
use crate::driver::{Device, DriverError};
use crate::error::WrongOption;
use crate::registry::{CameraOptions, Registry};

/// Which devices a probe opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// All of them.
    Every,
    /// Those that were not probed with the same options before.
    Unknown,
}

/// Probes the device of a camera, which is added to `devices`, or what the options of a processor name. Wrong options are not probed.
pub(super) fn probe_options(
    name: &str,
    role: &Role,
    options: &Options,
    registry: &Registry,
    probe: Probe,
    devices: &mut Probed,
    problems: &mut Problems,
) {
    let (subject, probed, unavailable) = match (role, &options.camera, &options.text) {
        (Role::Camera { .. }, Some(camera), _) => match probed(&**camera, probe) {
            Ok(device) => {
                if let Some(device) = device {
                    add_device(name, device, options, devices, problems);
                }
                return;
            }
            Err(error) => {
                let unavailable = error.is_unavailable();
                ("camera", Err(error.into_wrong_options()), unavailable)
            }
        },
        (Role::Processor { kind }, _, Some(text)) => {
            ("processor", registry.kind(kind).map_or(Ok(()), |kind| kind.probe(text)), false)
        }
        _ => return,
    };
    for WrongOption { options: names, message } in probed.err().into_iter().flat_map(|wrong| wrong.list) {
        let span = span_of(&options.spans, &names).unwrap_or(&options.span).clone();
        let title = format!("{subject} {}: {message}", quote(name));
        if unavailable {
            problems.add_unavailable(span, title);
        } else {
            problems.add(span, title, "");
        }
    }
}

/// Returns the device of a camera; `None` for a file.
fn probed(camera: &dyn CameraOptions, probe: Probe) -> Result<Option<Device>, DriverError> {
    let known = if probe == Probe::Unknown { camera.recall() } else { None };
    known.map_or_else(|| camera.probe(), |device| Ok(Some(device)))
}

/// Adds the device of a camera, unless another camera has it.
fn add_device(name: &str, device: Device, options: &Options, devices: &mut Probed, problems: &mut Problems) {
    if let Some((first, _)) = devices.iter().find(|(_, other)| is_same(other, &device)) {
        let Device { model, serial, usb_port, .. } = &device;
        let which = quote(if serial.is_empty() { usb_port } else { serial });
        let (first, second) = (quote(first), quote(name));
        let title = format!("cameras {first} and {second} are the same device: {which} ({model})");
        problems.add(options.span.clone(), title, "two cameras cannot share a device");
    }
    devices.insert(name.to_owned(), device);
}

/// Returns whether two descriptions are of one device: they have the same serial number, or else the same port.
fn is_same(one: &Device, other: &Device) -> bool {
    let same = |of: fn(&Device) -> &str| !of(one).is_empty() && of(one) == of(other);
    same(|device| &device.serial) || same(|device| &device.usb_port)
}

/// Looks for the program of every process.
pub(super) fn probe_commands(
    names: &[String],
    commands: &BTreeMap<String, ProcessCommand>,
    problems: &mut Problems,
) {
    let path = std::env::var_os("PATH");
    for name in names.iter().filter(|name| *name != MAIN) {
        if let Some(command) = commands.get(name) {
            processes::probe(name, command, path.as_deref(), problems);
        }
    }
}
