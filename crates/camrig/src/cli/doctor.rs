//! `camrig doctor`: lists problems of a machine that affect a rig, with advice.
//!
//! camrig-doctor has the checks. This module adds the needs of a topology and the findings of drivers.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use camrig_doctor::{Finding, Needs, State, examine, measure_disk};
use camrig_usb::USB_TREE;
use clap::Args;
use serde::Serialize;

use super::{TopologyArgs, UsbDemands, code, counted, memory, plan, print_json, refuse, table};
use crate::console::{print, print_error};
use crate::registry::Registry;
use crate::topology::Topology;

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// A topology file, or `demo`, whose needs are compared with the machine
    topology: Option<PathBuf>,
    /// Examine a copy of another machine's /proc, /sys, /etc and /run
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
    /// Write 256 MiB into this folder to measure its speed, and remove them
    #[arg(long, value_name = "FOLDER")]
    disk: Option<PathBuf>,
    /// Print the findings as JSON
    #[arg(long)]
    json: bool,
}

/// The findings as JSON: fields may be added, but never renamed.
#[derive(Debug, Serialize)]
struct Findings {
    /// The version of this contract.
    camrig_doctor: u32,
    findings: Vec<Finding>,
}

/// Runs the command `doctor`: exits 1 if there is a problem, and 0 otherwise.
pub(super) fn run(args: &DoctorArgs, registry: &Registry, usb: &UsbDemands) -> ExitCode {
    if let Some(root) = args.root.as_ref().filter(|root| !root.is_dir()) {
        print_error(format_args!("`--root {}` is not a folder", root.display()));
        return ExitCode::from(code::USAGE);
    }
    let topology = args.topology.clone().map(|topology| TopologyArgs::of(topology).read(registry));
    let topology = match topology.transpose() {
        Ok(topology) => topology,
        Err(problems) => return refuse(&problems),
    };
    let root = args.root.as_deref().unwrap_or(Path::new("/"));
    let mut findings =
        examine(root, topology.as_ref().map(|topology| needs(topology, usb)).unwrap_or_default());
    if args.root.is_none() {
        findings.extend(libraries(registry));
    }
    if let Some(topology) = &topology {
        findings.extend(bandwidth(topology, usb, root));
    }
    if let Some(folder) = &args.disk {
        let need = topology.as_ref().map(memory::bytes_per_second);
        match measure_disk(folder, need) {
            Ok(finding) => findings.push(finding),
            Err(error) => {
                print_error(format_args!("`--disk {}` cannot be written: {error}", folder.display()));
                return ExitCode::from(code::CANT_CREATE);
            }
        }
    }
    let problems = findings.iter().filter(|finding| finding.state == State::Problem).count();
    let printed = if args.json {
        print_json(&Findings { camrig_doctor: 1, findings })
    } else {
        print(&describe(&findings))
    };
    match printed {
        Err(code) => code,
        Ok(()) if problems > 0 => {
            print_error(format_args!("{} will keep a rig from running", counted(problems, "problem")));
            ExitCode::from(code::NO)
        }
        Ok(()) => ExitCode::SUCCESS,
    }
}

fn needs(topology: &Topology, usb: &UsbDemands) -> Needs {
    Needs {
        memory_bytes: Some(memory::bound(topology).bytes as u64),
        actors: Some(topology.actors().len()),
        transfers_mb: Some(plan::transfers_mb(topology, usb)),
    }
}

/// Returns the library of each driver that needs one.
fn libraries(registry: &Registry) -> Vec<Finding> {
    let found = registry.drivers().filter_map(|(driver, entry)| match entry.library() {
        Ok(None) => None,
        Ok(Some(library)) => {
            Some(Finding::new("library", State::Ok, format!("driver `{driver}`: {library}")))
        }
        Err(error) => Some(Finding::new("library", State::Warning, format!("driver `{driver}`: {error}"))),
    });
    found.collect()
}

/// Returns the warnings of `camrig plan`.
fn bandwidth(topology: &Topology, usb: &UsbDemands, root: &Path) -> Vec<Finding> {
    let tree = root.join(USB_TREE.trim_start_matches('/'));
    let warnings = plan::warnings(topology, usb, &tree).into_iter();
    let advice = "`camrig plan TOPOLOGY` shows the budgets";
    warnings.map(|warning| Finding::new("plan", State::Warning, warning).advise(advice)).collect()
}

/// Formats the findings as a table; advice has a line of its own.
fn describe(findings: &[Finding]) -> String {
    let rows = findings.iter().flat_map(|finding| {
        let fact = [finding.state.name().to_owned(), finding.topic.to_owned(), finding.fact.clone()];
        let advice =
            finding.advice.as_ref().map(|advice| [String::new(), String::new(), format!("  do: {advice}")]);
        std::iter::once(fact).chain(advice)
    });
    table(rows)
}
