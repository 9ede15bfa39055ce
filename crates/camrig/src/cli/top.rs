//! `camrig top`: selects a running rig and shows its status on the terminal.

use std::path::Path;
use std::process::ExitCode;

use camrig_status::{RigStatus, socket};
use clap::Args;

use super::code;
use crate::console::{print_error, print_stderr};

#[derive(Debug, Args)]
pub(super) struct TopArgs {
    /// Name of the rig's topology, or the rig's process ID; optional if only one rig runs
    rig: Option<String>,
}

/// Shows the selected rig.
pub(super) fn run(args: &TopArgs) -> ExitCode {
    let wanted = args.rig.as_deref();
    let names = match socket::names() {
        Ok(names) => names,
        Err(error) => {
            print_error(format_args!("the rigs of this machine cannot be listed: {error}"));
            return ExitCode::from(code::SOFTWARE);
        }
    };
    // A rig that does not answer is starting or ending.
    let rigs = names.into_iter().filter_map(|name| Some((socket::read(&name).ok()?, name)));
    let mut rigs: Vec<_> =
        rigs.filter(|(rig, _)| wanted.is_none_or(|wanted| is_called(rig, wanted))).collect();
    let shown = |(rig, _): &(RigStatus, String)| format!("`{}` (process {})", rig.topology, rig.pid);
    match (rigs.pop(), wanted) {
        (Some((_, name)), _) if rigs.is_empty() => match camrig_top::show(|| socket::read(&name)) {
            Ok(camrig_top::Ended::Quit) => ExitCode::SUCCESS,
            Ok(camrig_top::Ended::Rig) => {
                print_stderr("the rig has ended");
                ExitCode::SUCCESS
            }
            Err(error) => {
                print_error(format_args!("`top` needs a terminal: {error}"));
                ExitCode::from(code::SOFTWARE)
            }
        },
        (Some(last), _) => {
            rigs.push(last);
            let shown: Vec<_> = rigs.iter().map(shown).collect();
            print_error(format_args!("several rigs are running; name one of: {}", shown.join(", ")));
            ExitCode::from(code::USAGE)
        }
        (None, Some(wanted)) => {
            print_error(format_args!("no running rig has the name or process ID `{wanted}`"));
            ExitCode::from(code::UNAVAILABLE)
        }
        (None, None) => {
            print_error("no rig is running");
            ExitCode::from(code::UNAVAILABLE)
        }
    }
}

/// Returns whether `wanted` is the rig's topology, with or without folder and extension, or its process ID.
fn is_called(rig: &RigStatus, wanted: &str) -> bool {
    let path = Path::new(&rig.topology);
    let is = |part: Option<&std::ffi::OsStr>| part.is_some_and(|part| part == wanted);
    rig.topology == wanted || is(path.file_name()) || is(path.file_stem()) || rig.pid.to_string() == wanted
}
