//! Looks for what a topology names outside itself: devices, files and programs. Nothing is started.

use std::collections::BTreeMap;

use super::problem::{Problems, quote};
use super::processes::{self, ProcessCommand};
use super::section::{Options, span_of};
use super::{MAIN, Role};
use crate::error::WrongOption;
use crate::registry::Registry;

/// Probes the device of a camera, or what the options of a processor name. Wrong options are not probed.
pub(super) fn probe_options(
    name: &str,
    role: &Role,
    options: &Options,
    registry: &Registry,
    problems: &mut Problems,
) {
    let (subject, probed, unavailable) = match (role, &options.camera, &options.text) {
        (Role::Camera { .. }, Some(camera), _) => match camera.probe() {
            Ok(()) => return,
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
