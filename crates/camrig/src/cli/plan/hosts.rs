//! The plan of a rig over several hosts: the USB of each host as its agent sees it, and the network links between them.

use std::collections::BTreeMap;
use std::process::ExitCode;

use camrig_frame::{Format, StreamProfile};
use serde::Serialize;

use super::super::spread::{unavailable, whole};
use super::super::table;
use super::{UsbDemands, demands};
use crate::hosts::{HostPlan, LinkPlan, StreamNeed};
use crate::registry::Registry;
use crate::topology::Topology;

/// The parts of a plan for other hosts, as JSON: fields may be added but are never renamed.
#[derive(Default, Serialize)]
pub(super) struct OtherHosts {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hosts: Vec<OtherHost>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    network: Vec<LinkPlan>,
}

#[derive(Serialize)]
struct OtherHost {
    name: String,
    /// Its own plan.
    plan: serde_json::Value,
    #[serde(skip)]
    text: String,
    #[serde(skip)]
    overloads: Vec<String>,
}

/// Has the agents plan their parts, and adds up the data rates between hosts.
///
/// # Errors
/// The exit code, after the reasons were printed.
pub(super) fn plan(
    topology: &Topology,
    registry: &Registry,
    usb: &UsbDemands,
) -> Result<OtherHosts, ExitCode> {
    let Some(hosts) = registry.hosts().filter(|_| !topology.hosts().is_empty()) else {
        return Ok(OtherHosts::default());
    };
    let whole = whole(topology, None);
    let planned = hosts.plan(&whole).map_err(|errors| unavailable(&errors))?;
    let mut known = needs(topology, usb);
    let mut others = Vec::new();
    for (name, HostPlan { text, json, overloads, needs }) in planned {
        known.extend(needs);
        others.push(OtherHost { name, plan: json, text, overloads });
    }
    let network = hosts.network(&whole, &known).map_err(|fact| unavailable(&[fact]))?;
    Ok(OtherHosts { hosts: others, network })
}

/// Returns the data rates of the streams of this host's cameras, by camera name; only of cameras whose driver declares its
/// demand.
pub(super) fn needs(topology: &Topology, usb: &UsbDemands) -> BTreeMap<String, Vec<StreamNeed>> {
    let of_camera = |(name, _, demand): (String, &str, camrig_usb::UsbDemand)| {
        let needs = demand.streams.iter().map(|it| need(it.stream.name(), it.format, it.profile));
        (name, needs.collect())
    };
    demands(topology, usb).map(of_camera).collect()
}

fn need(stream: &str, format: Format, profile: StreamProfile) -> StreamNeed {
    let pixels = u64::from(profile.width()) * u64::from(profile.height());
    let pixels_per_second = pixels * u64::from(profile.frames_per_second());
    let bytes_per_pixel = match format {
        Format::Image(format) => format.bytes_per_pixel(),
        other => other.usb_bytes_per_pixel(),
    };
    StreamNeed {
        stream: stream.to_owned(),
        role: format.role(),
        format: match format {
            Format::Image(format) => Some(format),
            _ => None,
        },
        pixels_per_second,
        bytes_per_second: pixels_per_second * u64::from(bytes_per_pixel),
    }
}

impl OtherHosts {
    /// Returns a sentence for each controller and each network link that does not fit.
    pub(super) fn overloads(&self) -> impl Iterator<Item = String> {
        let of_host = |host: &OtherHost| {
            let name = host.name.clone();
            host.overloads.clone().into_iter().map(move |line| format!("host `{name}`: {line}"))
        };
        let links = self.network.iter().filter_map(|link| link.problem.clone());
        self.hosts.iter().flat_map(of_host).chain(links)
    }

    /// Formats them as text, behind the plan of this host.
    pub(super) fn describe(&self) -> String {
        let hosts = self.hosts.iter().map(|host| format!("\nhost {}: {}", host.name, host.text));
        let hosts: String = hosts.collect();
        if self.network.is_empty() { hosts } else { hosts + "\n" + &self.describe_network() }
    }

    fn describe_network(&self) -> String {
        let head = ["network of", "direction", "actors", "raw Mb/s", "as coded", "usable", "assessment"];
        let row = |link: &LinkPlan| {
            let known = |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |it| it.to_string());
            [
                link.host.clone(),
                link.direction.clone(),
                link.actors.join(", "),
                link.raw_megabits.to_string(),
                link.need_megabits.to_string(),
                known(link.usable_megabits),
                link.assessment().to_owned(),
            ]
        };
        let rows = std::iter::once(head.map(str::to_owned)).chain(self.network.iter().map(row));
        let unknown = self.network.iter().flat_map(|link| link.unknown.iter());
        let mut unknown: Vec<_> = unknown.map(|name| format!("`{name}`")).collect();
        unknown.sort_unstable();
        unknown.dedup();
        let mut text = table(rows);
        if !unknown.is_empty() {
            let unknown = unknown.join(", ");
            text = format!("{text}\nwarning: what these send is not known, and left out: {unknown}\n");
        }
        text
    }
}
