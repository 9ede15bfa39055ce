//! Rigs over several hosts: the interface between the program and the code that reaches other hosts.
//!
//! A topology names other hosts and places actors on them. [`Hosts`] splits it into a part for each host, has agents check
//! and run theirs, and returns the part of this host, which is an ordinary topology. Their reports are merged here:
//! rows of another host are named `HOST/NAME`.

use std::collections::BTreeMap;
use std::sync::Arc;

use camrig_frame::{PixelFormat, Role};
use camrig_status::control::{Answer, Request};
use camrig_status::{HostStatus, RigStatus};
use serde::{Deserialize, Serialize};

use crate::driver::{DeviceProfile, RelayedCamera};
#[cfg(any(test, feature = "program"))]
use crate::exit::Exit;
use crate::ids;
use crate::report::Report;

/// The name of the host where a rig is started, among the hosts of a topology.
pub const FIRST: &str = "main";

/// Maximum length of the name of a host, in bytes.
pub const HOST_NAME_BYTES_MAX: usize = ids::NAME_BYTES_MAX;

/// Returns whether a topology may give another host this name: 1 to [`HOST_NAME_BYTES_MAX`] of `a-z`, `A-Z`, `0-9`, `_` and
/// `-`, a letter or digit first, and not [`FIRST`].
pub fn is_host_name(name: &str) -> bool {
    ids::is_name(name) && name != FIRST
}

/// Returns whether a topology may name this codec of a stream between hosts: `raw`, `zstd`, `delta`, or `jpeg:QUALITY` with a
/// quality of 1 to 100.
pub fn is_codec(codec: &str) -> bool {
    let quality = |quality: &str| quality.parse::<u8>().is_ok_and(|quality| (1..=100).contains(&quality));
    matches!(codec, "raw" | "zstd" | "delta") || codec.strip_prefix("jpeg:").is_some_and(quality)
}

/// Another host of a rig, on which an agent runs some of its actors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    /// Its name in the topology.
    pub name: String,
    /// Where its agent listens, such as `tls/10.0.0.12:7447`, or the router to which it is connected.
    pub address: String,
    /// The public key of its agent, or of the router, as `ed25519:` and base64; `None` if its address does not use TLS.
    pub fingerprint: Option<String>,
    /// Whether the address is that of a router, to which its agent is connected under the name of the host.
    pub router: bool,
    /// The rate of the network link to it, in Mb/s; `None` if the topology does not say it.
    pub rate_megabits: Option<u32>,
}

/// A topology that names other hosts.
#[derive(Clone, Debug)]
pub struct WholeTopology {
    /// Its name in messages.
    pub name: String,
    /// Its text, in which every name of a host is known.
    pub text: String,
    /// The other hosts.
    pub hosts: Vec<HostSpec>,
    /// The known properties of the framesets of its actors, by the names of these.
    pub declarations: BTreeMap<String, Declaration>,
    /// The number of framesets after which each camera stops.
    pub framesets: Option<u64>,
}

/// The properties of the framesets of an actor that are known before the first one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declaration {
    /// The cameras whose framesets it may publish.
    pub cameras: Vec<RelayedCamera>,
    /// Its streams; empty if they are not known, or are those of several cameras.
    pub streams: Vec<DeviceProfile>,
}

/// The part of one host: an ordinary topology.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostPart {
    /// The host; `None` for that where the rig is started.
    pub host: Option<String>,
    /// Its topology.
    pub text: String,
    /// The hosts whose framesets its actors read, without itself, in no order.
    pub reads: Vec<Option<String>>,
}

/// A change of the part of one other host, which may begin or end with it.
#[derive(Clone, Debug)]
pub struct PartChange<'a> {
    /// The host.
    pub spec: &'a HostSpec,
    /// The name of the whole topology in messages.
    pub name: &'a str,
    /// Its part from then on; `None` if it has no actors any more.
    pub part: Option<&'a HostPart>,
    /// Its actors that restart although nothing differs.
    pub restarts: Vec<String>,
    /// Whether to refuse changes that start or end an actor.
    pub live: bool,
    /// Whether to return the changes without carrying them out.
    pub dry_run: bool,
    /// The origin of the request, for the log and the report.
    pub by: &'a str,
}

/// The devices of a host, as `camrig devices` shows them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HostDevices {
    /// As text.
    pub text: String,
    /// As JSON: a list.
    pub json: serde_json::Value,
    /// Messages about drivers that cannot list their devices.
    pub errors: Vec<String>,
}

/// The USB bandwidth of a host's cameras, as `camrig plan` shows it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct HostPlan {
    /// As text.
    pub text: String,
    /// As JSON.
    pub json: serde_json::Value,
    /// A sentence for each controller that does not fit.
    pub overloads: Vec<String>,
    /// The data rates of its cameras' streams, by camera name.
    pub needs: BTreeMap<String, Vec<StreamNeed>>,
}

/// The data rate of one stream, from which its demand between hosts is computed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamNeed {
    /// Its name.
    pub stream: String,
    /// Its role.
    pub role: Role,
    /// The format of its pixels; `None` if they are encoded, or not an image.
    pub format: Option<PixelFormat>,
    /// Pixels per second.
    pub pixels_per_second: u64,
    /// Bytes per second, as it is.
    pub bytes_per_second: u64,
}

/// The framesets on one host's network link in one direction, compared with the rate of the link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkPlan {
    /// The host; [`FIRST`] for that where the rig is started.
    pub host: String,
    /// `in` or `out`.
    pub direction: String,
    /// The actors whose framesets cross.
    pub actors: Vec<String>,
    /// Their data rate as it is.
    pub raw_megabits: u64,
    /// Their data rate as it is coded: an estimate.
    pub need_megabits: u64,
    /// The part of the link's rate that frames can use; `None` if the topology does not say the rate.
    pub usable_megabits: Option<u64>,
    /// A sentence that names the streams that do not fit, and codecs that would; `None` if they fit, or no rate is known.
    pub problem: Option<String>,
    /// Those of the actors whose data rates are not known.
    pub unknown: Vec<String>,
}

impl LinkPlan {
    /// Returns `fits`, `too-much`, or `-` if no rate is known.
    pub fn assessment(&self) -> &'static str {
        match (&self.problem, self.usable_megabits) {
            (Some(_), _) => "too-much",
            (None, Some(_)) => "fits",
            (None, None) => "-",
        }
    }
}

/// Reaches the agents of other hosts.
pub trait Hosts: Send + Sync {
    /// Connects to the agents of a topology, and has each check its part. Nothing is started.
    ///
    /// # Errors
    /// Messages of one line each, of all hosts.
    fn prepare(&self, topology: &WholeTopology) -> Result<Box<dyn PreparedHosts>, Vec<String>>;

    /// Asks the agents of hosts for their devices. A host that does not answer is an `Err` of one line.
    fn devices(&self, hosts: &[HostSpec]) -> Vec<(String, Result<HostDevices, String>)>;

    /// Has the agents of a topology plan the USB bandwidth of their parts.
    ///
    /// # Errors
    /// Messages of one line each, of all hosts.
    fn plan(&self, topology: &WholeTopology) -> Result<Vec<(String, HostPlan)>, Vec<String>>;

    /// Adds up the data rates on the network link of each host, in each direction. `needs` has the data rates of the cameras'
    /// streams, by camera name. Connects to nothing.
    ///
    /// # Errors
    /// A line that says why the topology cannot be split.
    fn network(
        &self,
        topology: &WholeTopology,
        needs: &BTreeMap<String, Vec<StreamNeed>>,
    ) -> Result<Vec<LinkPlan>, String>;
}

/// The checked parts of a rig on other hosts, which have not been started.
pub trait PreparedHosts {
    /// Returns the topology of this host's part.
    fn own_part(&self) -> &str;

    /// Returns a line about each host, for `camrig check`.
    fn describe(&self) -> Vec<String>;

    /// Starts the parts of the other hosts.
    ///
    /// # Errors
    /// Messages of one line each; no part is left running.
    fn start(self: Box<Self>) -> Result<Arc<dyn RunningHosts>, Vec<String>>;
}

/// The parts of a rig on other hosts, while they run.
pub trait RunningHosts: Send + Sync {
    /// Takes the function that stops the rig, which is called when the part of another host fails for good.
    fn watch(&self, stop: Box<dyn Fn() + Send + Sync>);

    /// Called when the part of this host no longer starts: its framesets flow, or one of its actors has ended.
    fn has_started(&self);

    /// Splits another topology of the rig into the parts of the hosts that have actors, that of this host first. An actor
    /// without a difference is the same in the part of its host.
    ///
    /// # Errors
    /// A line that says why it cannot be split.
    fn split(&self, topology: &WholeTopology) -> Result<Vec<HostPart>, String>;

    /// Returns the hosts in the order in which their parts change: one whose framesets others read comes before these.
    /// `None` is this host.
    fn order(&self) -> Vec<Option<String>>;

    /// Has an agent change its part, and waits until that is done. The answer has the changes, or says why there is none.
    fn change(&self, change: &PartChange<'_>) -> Answer;

    /// Has the agent of a host answer a request about its part.
    fn ask(&self, host: &str, request: Request) -> Answer;

    /// Returns the newest status of each host, and of its part if there is one. Does not wait.
    fn statuses(&self) -> Vec<(HostStatus, Option<RigStatus>)>;

    /// Stops the cameras of all hosts, those of this host by `drain_own`. Everything else ends when it has no more input, also
    /// where that comes from another host. Waits until the other parts have ended, within a bounded time; then nothing more
    /// comes for this host's part, and `stop_own` is called.
    fn drain(&self, drain_own: &dyn Fn(), stop_own: &dyn Fn());

    /// Ends all other parts as [`Self::drain`] does, and waits for that within a bounded time. To be called after the end of this
    /// host's part. If that ended `in_order` at a limit of framesets, the cameras of the other hosts reach theirs first.
    fn stop(&self, in_order: bool);

    /// Returns the report of each host's part; `Err` with the fact if there is none. To be called after [`Self::stop`].
    fn reports(&self) -> Vec<(String, Result<Report, String>)>;
}

/// Returns the name of something on another host.
fn on(host: &str, name: &str) -> String {
    format!("{host}/{name}")
}

/// Adds the statuses of other hosts to that of this one.
pub(crate) fn add_statuses(status: &mut RigStatus, others: Vec<(HostStatus, Option<RigStatus>)>) {
    for (host, part) in others {
        let name = host.name.clone();
        status.hosts.push(host);
        let Some(part) = part else { continue };
        for mut actor in part.actors {
            actor.name = on(&name, &actor.name);
            actor.process = on(&name, &actor.process);
            status.actors.push(actor);
        }
        for mut link in part.links {
            link.from = on(&name, &link.from);
            link.to = on(&name, &link.to);
            status.links.push(link);
        }
        for mut matching in part.matching {
            matching.processor = on(&name, &matching.processor);
            status.matching.push(matching);
        }
        for mut process in part.processes {
            process.name = on(&name, &process.name);
            status.processes.push(process);
        }
    }
}

/// Adds the reports of other hosts to that of this one.
#[cfg(any(test, feature = "program"))]
pub(crate) fn add_reports(report: &mut Report, others: Vec<(String, Result<Report, String>)>) {
    for (name, part) in others {
        let part = match part {
            Ok(part) => part,
            Err(fact) => {
                report.problems.push(format!("host `{name}` has no report: {fact}"));
                continue;
            }
        };
        for mut actor in part.actors {
            actor.name = on(&name, &actor.name);
            actor.process = on(&name, &actor.process);
            report.actors.push(actor);
        }
        for mut link in part.links {
            link.from = on(&name, &link.from);
            link.to = on(&name, &link.to);
            report.links.push(link);
        }
        for mut matching in part.matching {
            matching.processor = on(&name, &matching.processor);
            report.matching.push(matching);
        }
        for mut process in part.processes {
            process.name = on(&name, &process.name);
            report.processes.push(process);
        }
        report.problems.extend(part.problems.into_iter().map(|problem| format!("host `{name}`: {problem}")));
        report.exit = of_both(report.exit, part.exit);
    }
}

/// Returns the reason for the end of a rig whose parts ended for these reasons.
#[cfg(any(test, feature = "program"))]
fn of_both(own: Exit, other: Exit) -> Exit {
    let is_fault = |exit| matches!(exit, Exit::Failed | Exit::Unavailable);
    if !is_fault(own) && is_fault(other) { other } else { own }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = include_str!("../tests/before/report.json");

    fn report() -> Report {
        serde_json::from_str(REPORT).unwrap()
    }

    #[test]
    fn rows_name_their_host() {
        let (mut whole, own) = (report(), report());
        add_reports(
            &mut whole,
            vec![("arm".to_owned(), Ok(report())), ("base".to_owned(), Err("gone".to_owned()))],
        );
        let names = |report: &Report| -> Vec<String> {
            let actors = report.actors.iter().map(|actor| format!("{} in {}", actor.name, actor.process));
            let links = report.links.iter().map(|link| format!("{} to {}", link.from, link.to));
            actors.chain(links).collect()
        };
        assert_eq!((whole.actors.len(), whole.links.len()), (2 * own.actors.len(), 2 * own.links.len()));
        let of_arm = whole.actors.split_off(own.actors.len());
        let links_of_arm = whole.links.split_off(own.links.len());
        assert_eq!(names(&whole), names(&own));
        for (there, here) in of_arm.iter().zip(&own.actors) {
            assert_eq!(there.name, format!("arm/{}", here.name));
            assert_eq!(there.process, format!("arm/{}", here.process));
            assert_eq!(there.produced, here.produced);
        }
        for (there, here) in links_of_arm.iter().zip(&own.links) {
            assert_eq!(
                (&there.from, &there.to),
                (&format!("arm/{}", here.from), &format!("arm/{}", here.to))
            );
            assert!(there.problem().is_none());
        }
        assert_eq!(whole.problems, ["host `base` has no report: gone"]);
    }

    #[test]
    fn a_fault_of_any_host_is_one_of_the_rig() {
        assert_eq!(of_both(Exit::Asked, Exit::Inputs), Exit::Asked);
        assert_eq!(of_both(Exit::Asked, Exit::Failed), Exit::Failed);
        assert_eq!(of_both(Exit::Unavailable, Exit::Failed), Exit::Unavailable);
        assert_eq!(of_both(Exit::Interrupted, Exit::Asked), Exit::Interrupted);
    }

    #[test]
    fn a_status_has_the_rows_of_every_host() {
        let part = RigStatus {
            actors: vec![camrig_status::ActorStatus {
                name: "left".to_owned(),
                process: "main".to_owned(),
                ..Default::default()
            }],
            ..RigStatus::default()
        };
        let mut whole = part.clone();
        let arm = HostStatus { name: "arm".to_owned(), ..HostStatus::default() };
        let base = HostStatus { name: "base".to_owned(), ..HostStatus::default() };
        add_statuses(&mut whole, vec![(arm.clone(), Some(part)), (base.clone(), None)]);
        let rows: Vec<_> = whole.actors.iter().map(|actor| (&*actor.name, &*actor.process)).collect();
        assert_eq!(rows, [("left", "main"), ("arm/left", "arm/main")]);
        assert_eq!(whole.hosts, [arm, base]);
    }
}
