//! The parts of a topology that other hosts run.

use std::io;
use std::process::ExitCode;
use std::sync::Arc;

use super::{RunOptions, code, refuse};
use crate::console::print_error;
use crate::exit::Exit;
use crate::hosts::{PreparedHosts, WholeTopology, add_reports};
use crate::late::StartTime;
use crate::registry::Registry;
use crate::report::Report;
use crate::supervisor::Others;
use crate::topology::{Probe, Topology};

/// Returns the part of this host, after the parts of the others were started. A topology without other hosts is its own part.
///
/// # Errors
/// The exit code, after the reasons were printed.
pub(super) fn begin(
    topology: Topology,
    how: &RunOptions,
    registry: &Registry,
) -> Result<(Topology, Option<Others>), ExitCode> {
    let Some(prepared) = prepare(&topology, how.framesets, registry)? else {
        return Ok((topology, None));
    };
    let own = own_part(&topology, &*prepared, registry)?;
    let others = prepared.start().map_err(|errors| unavailable(&errors))?;
    Ok((own, Some(Others::new(others, Arc::new(topology), how.framesets))))
}

/// Ends the parts of other hosts, and adds their reports to that of this host.
///
/// # Errors
/// As for this host's part.
pub(super) fn end(driven: io::Result<Report>, others: Option<Others>) -> io::Result<Report> {
    let Some(others) = others else { return driven };
    let in_order = driven.as_ref().is_ok_and(|report| matches!(report.exit, Exit::Asked | Exit::Inputs));
    others.hosts().stop(in_order);
    let mut report = driven?;
    report.hosts = others.hosts().statuses().into_iter().map(|(host, _)| host).collect();
    add_reports(&mut report, others.hosts().reports());
    Ok(report)
}

/// Has the agents check their parts; returns a line about each host.
///
/// # Errors
/// The exit code, after the reasons were printed.
pub(super) fn check(topology: &Topology, registry: &Registry, no_devices: bool) -> Result<String, ExitCode> {
    // Without devices there is no network either.
    if no_devices {
        return Ok(String::new());
    }
    let Some(prepared) = prepare(topology, None, registry)? else { return Ok(String::new()) };
    own_part(topology, &*prepared, registry)?;
    Ok(prepared.describe().iter().fold(String::new(), |lines, line| lines + "\n" + line))
}

fn prepare(
    topology: &Topology,
    framesets: Option<u64>,
    registry: &Registry,
) -> Result<Option<Box<dyn PreparedHosts>>, ExitCode> {
    let Some(hosts) = registry.hosts().filter(|_| !topology.hosts().is_empty()) else { return Ok(None) };
    hosts.prepare(&whole(topology, framesets)).map(Some).map_err(|errors| unavailable(&errors))
}

/// Returns a topology in the form that [`Hosts`](crate::hosts::Hosts) takes.
pub(super) fn whole(topology: &Topology, framesets: Option<u64>) -> WholeTopology {
    WholeTopology {
        name: topology.name().to_owned(),
        text: topology.running_text(),
        hosts: topology.hosts().to_vec(),
        declarations: topology.declarations(),
        framesets,
    }
}

/// Parses the part of this host. Its devices were probed with the whole topology.
fn own_part(
    topology: &Topology,
    prepared: &dyn PreparedHosts,
    registry: &Registry,
) -> Result<Topology, ExitCode> {
    let (name, text) = (topology.name(), prepared.own_part());
    let part = Topology::parse_and_probe(name, text, None, registry, Probe::Unknown, StartTime::default());
    part.map_err(|problems| refuse(&problems))
}

pub(super) fn unavailable(errors: &[String]) -> ExitCode {
    errors.iter().for_each(print_error);
    ExitCode::from(code::UNAVAILABLE)
}
