//! Looks for the devices, files and programs that a topology names. Nothing is started.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::problem::{Problems, quote};
use super::processes::{self, ProcessCommand, ProcessScheduling};
use super::section::{Options, span_of};
use super::{MAIN, Probed, Role, Span};
use crate::driver::{Device, DriverError};
use crate::error::{WrongOption, WrongOptions};
use crate::late::{Late, within};
use crate::registry::{CameraOptions, Registry};

/// The devices that a probe opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// All of them.
    // Only commands of the program ask for it.
    #[cfg_attr(not(feature = "program"), allow(dead_code))]
    Every,
    /// Those that were not probed with the same options before.
    Unknown,
}

/// Probes the device of a camera, which is added to `devices`, or the files that the options of a processor name. Wrong options are
/// not probed. A probe that exceeds `bound` is a problem. Returns whether the probe found none.
pub(super) fn probe_options(
    name: &str,
    role: &Role,
    options: &Options,
    registry: &Registry,
    (probe, bound): (Probe, Option<(Duration, Late)>),
    devices: &mut Probed,
    problems: &mut Problems,
) -> bool {
    let (subject, probed, unavailable) = match (role, &options.camera, &options.text) {
        (Role::Camera { driver }, Some(camera), _) => {
            let camera = Arc::clone(camera);
            match within(bound, move || probed(&*camera, probe)) {
                Ok(Ok(device)) => {
                    if let Some(device) = device {
                        add_device(name, device, options, devices, problems);
                    }
                    return true;
                }
                Ok(Err(error)) => {
                    let unavailable = error.is_unavailable();
                    ("camera", error.into_wrong_options(), unavailable)
                }
                Err(late) => ("camera", hangs("driver", driver, late), true),
            }
        }
        (Role::Processor { kind }, _, Some(text)) => {
            let Some(entry) = registry.kind(kind).map(Arc::clone) else { return true };
            let text = text.clone();
            match within(bound, move || entry.probe(&text)) {
                Ok(Ok(())) => return true,
                Ok(Err(wrong)) => ("processor", wrong, false),
                Err(late) => ("processor", hangs("kind", kind, late), true),
            }
        }
        _ => return true,
    };
    for WrongOption { options: names, message } in probed.list {
        let span = span_of(&options.spans, &names).unwrap_or(&options.span).clone();
        let title = format!("{subject} {}: {message}", quote(name));
        if unavailable {
            problems.add_unavailable(span, title);
        } else {
            problems.add(span, title, "");
        }
    }
    false
}

/// Describes a probe that has not returned.
fn hangs(what: &str, name: &str, late: Late) -> WrongOptions {
    WrongOptions::from(format!("{what} {} did not return from its probe {}", quote(name), late.bound()))
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

/// Looks for the program of every process, but not for those that `refused` options have chosen.
pub(super) fn probe_commands(
    names: &[String],
    commands: &BTreeMap<String, ProcessCommand>,
    refused: &[Span],
    problems: &mut Problems,
) {
    let path = std::env::var_os("PATH");
    for name in names.iter().filter(|name| *name != MAIN) {
        if let Some(command) = commands.get(name).filter(|command| !refused.contains(&command.span)) {
            processes::probe(name, command, path.as_deref(), problems);
        }
    }
}

/// Tries out how the kernel is to run each process.
pub(super) fn probe_schedulings(
    names: &[String],
    schedulings: &BTreeMap<String, ProcessScheduling>,
    problems: &mut Problems,
) {
    for name in names.iter().filter(|name| *name != MAIN) {
        if let Some(scheduling) = schedulings.get(name) {
            processes::probe_scheduling(name, scheduling, problems);
        }
    }
}
