//! The first host's side: has agents check, run and stop their parts, and collects their reports.

mod agents;
mod changes;
mod declared;
mod ending;
mod host;
mod waiting;
mod windows;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use camrig::hosts::{
    HostDevices, HostPart, HostPlan, Hosts, LinkPlan, PartChange, PreparedHosts, RunningHosts, StreamNeed,
    WholeTopology,
};
use camrig::status::control;
use camrig::status::{HostStatus, RigStatus};
use camrig::{HostSpec, Report, read_topology, spawn_thread};

use self::agents::Agent;
use self::declared::{Declarations, completed};
use self::host::{Host, StopRig};
use crate::clock::ClockFilter;
use crate::protocol::{Answer, Declared, HostRequest, PartRequest};
use crate::split::{self, Crossing, crossings_of, split};
use crate::wire::starting;
use crate::{identity, plan};

/// Number of exchanges of times before a rig over several hosts starts, with a host whose clock matters for a match.
const EXCHANGES: usize = 16;

/// Maximum time for the check and for the start of a part: cameras may take long to open.
const CHECK_TIME: Duration = Duration::from_secs(180);

/// Maximum time in which parts end after they were asked to; then they are ended immediately.
const STOP_TIME: Duration = Duration::from_secs(30);

/// Maximum number of parts whose declarations are kept.
const DECLARED_MAX: usize = 64;

/// Reaches agents over Zenoh.
pub struct OverZenoh;

/// The part of one host, which its agent has checked.
struct Prepared {
    agent: Agent,
    part: PartRequest,
    reads: Vec<Option<String>>,
}

struct PreparedRig {
    own: String,
    run: String,
    framesets: Option<u64>,
    hosts: Vec<Prepared>,
    /// The crossings whose sender waits at its start, by its host.
    awaited: Awaited,
}

/// Keys of crossings, by the host of the sender; `None` is the first host.
type Awaited = BTreeMap<Option<String>, Vec<String>>;

impl Hosts for OverZenoh {
    fn devices(&self, hosts: &[HostSpec]) -> Vec<(String, Result<HostDevices, String>)> {
        let devices = |spec: &HostSpec| {
            let spec = spec.clone();
            move || {
                let agent = Agent::connect(&spec)?;
                match agent.ask(&HostRequest::Devices { host: spec.name.clone() }, CHECK_TIME)? {
                    Answer::Devices(devices) => Ok(*devices),
                    answer => Err(unexpected(&spec, answer)),
                }
            }
        };
        let found = at_once(hosts.iter().map(devices));
        hosts.iter().map(|spec| spec.name.clone()).zip(found).collect()
    }

    fn plan(&self, topology: &WholeTopology) -> Result<Vec<(String, HostPlan)>, Vec<String>> {
        let parts = parts_of(topology, "plan").map_err(|fact| vec![format!("{}: {fact}", topology.name)])?;
        let plan = |part: HostPart| {
            let spec = topology.hosts.iter().find(|spec| Some(&spec.name) == part.host.as_ref())?.clone();
            let part = request("plan", &topology.name, &spec.name, part.text, None);
            Some(move || {
                let agent = Agent::connect(&spec)?;
                match agent.ask(&HostRequest::Plan(part), CHECK_TIME)? {
                    Answer::Plan(plan) => Ok((spec.name, *plan)),
                    answer => Err(unexpected(&spec, answer)),
                }
            })
        };
        let (mut plans, mut errors) = (Vec::new(), Vec::new());
        for planned in at_once(parts.into_iter().filter_map(plan)) {
            match planned {
                Ok(plan) => plans.push(plan),
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() { Ok(plans) } else { Err(errors) }
    }

    fn network(
        &self,
        topology: &WholeTopology,
        needs: &BTreeMap<String, Vec<StreamNeed>>,
    ) -> Result<Vec<LinkPlan>, String> {
        plan::network(&topology.text, &topology.hosts, needs)
    }

    fn prepare(&self, topology: &WholeTopology) -> Result<Box<dyn PreparedHosts>, Vec<String>> {
        let run = format!("{:016x}", fastrand::u64(..));
        let name = &topology.name;
        let topology = &completed(
            topology,
            &run,
            |whole| parts_of(whole, &run),
            |spec, part| {
                let agent = Agent::connect(spec).map_err(|fact| vec![fact])?;
                declarations(&agent, part)
            },
        )?;
        let parts = parts_of(topology, &run).map_err(|fact| vec![format!("{name}: {fact}")])?;
        let of_host = |spec: &HostSpec| parts.iter().find(|part| part.host.as_ref() == Some(&spec.name));
        let prepare = |spec: &HostSpec| {
            let HostPart { text, reads, .. } = of_host(spec)?.clone();
            let part = request(&run, name, &spec.name, text, topology.framesets);
            let spec = spec.clone();
            // Each on a thread of its own: devices are opened on all hosts at the same time.
            Some(spawn_thread("prepare", move || check(&spec, part, reads)))
        };
        let preparing: Vec<_> = topology.hosts.iter().filter_map(prepare).collect();
        let (mut hosts, mut errors) = (Vec::new(), Vec::new());
        for prepared in preparing {
            let prepared = prepared.map_err(|error| vec![error.to_string()]);
            let prepared = prepared.and_then(|thread| {
                thread.join().unwrap_or_else(|_| Err(vec!["a check has panicked".to_owned()]))
            });
            match prepared {
                Ok(prepared) => hosts.push(prepared),
                Err(more) => errors.extend(more),
            }
        }
        if errors.is_empty() {
            errors.extend(narrow_windows(&topology.text, &hosts));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let own =
            parts.into_iter().find(|part| part.host.is_none()).map(|part| part.text).unwrap_or_default();
        let awaited = awaited(&topology.text, &run);
        Ok(Box::new(PreparedRig { own, run, framesets: topology.framesets, hosts, awaited }))
    }
}

/// Returns the crossings of a run whose sender waits at its start until its reader takes framesets.
fn awaited(text: &str, run: &str) -> Awaited {
    let crossings = crossings_of(text).unwrap_or_default();
    let pair = |crossing: &Crossing| (crossing.from.clone(), crossing.to.clone());
    let waiting = waiting::waiting(crossings.iter().map(pair));
    let mut awaited = Awaited::new();
    for crossing in crossings.iter().filter(|crossing| waiting.contains(&pair(crossing))) {
        awaited.entry(crossing.from.clone()).or_default().push(crossing.key(run));
    }
    awaited
}

/// Returns a line for each match whose window is too narrow for the uncertainty of its hosts' clocks.
fn narrow_windows(text: &str, hosts: &[Prepared]) -> Vec<String> {
    let crossings = crossings_of(text).unwrap_or_default();
    let matched = windows::hosts_of(&crossings);
    let asked = hosts.iter().filter(|host| matched.contains(&host.agent.spec().name));
    let uncertainty = |host: &Prepared| {
        let mut filter = ClockFilter::default();
        (0..EXCHANGES).filter_map(|_| host.agent.clock()).for_each(|exchange| filter.add(exchange));
        Some((host.agent.spec().name.clone(), filter.estimate()?.uncertainty_nanos))
    };
    windows::too_narrow(&crossings, &asked.filter_map(uncertainty).collect())
}

/// Asks an agent for the declarations of its part.
fn declarations(agent: &Agent, part: PartRequest) -> Result<Declarations, Vec<String>> {
    let asked = agent.ask(&HostRequest::Declare(part), CHECK_TIME).map_err(|fact| vec![fact])?;
    let of = |(actor, declared): (String, Declared)| (actor, declared.declaration());
    match asked {
        Answer::Declared(declared) => Ok(declared.into_iter().map(of).collect()),
        Answer::Refused(lines) => {
            Err(lines.into_iter().map(|line| format!("host `{}`: {line}", agent.spec().name)).collect())
        }
        answer => Err(vec![unexpected(agent.spec(), answer)]),
    }
}

/// Calls functions, each on a thread of its own: agents answer at the same time.
fn at_once<T: Send + 'static>(
    calls: impl Iterator<Item = impl FnOnce() -> Result<T, String> + Send + 'static>,
) -> Vec<Result<T, String>> {
    let threads: Vec<_> = calls.map(|call| spawn_thread("host", call)).collect();
    let result = |thread: std::io::Result<std::thread::JoinHandle<Result<T, String>>>| {
        let thread = thread.map_err(|error| error.to_string())?;
        thread.join().unwrap_or_else(|_| Err("a request has panicked".to_owned()))
    };
    threads.into_iter().map(result).collect()
}

/// Describes an answer that is not the one to the request.
fn unexpected(spec: &HostSpec, answer: Answer) -> String {
    match answer {
        Answer::Refused(lines) => format!("host `{}`: {}", spec.name, lines.join("; ")),
        _ => format!("host `{}`: its agent answered another request", spec.name),
    }
}

/// Splits a topology; the part of this host has its identity, and the others have the poses.
fn parts_of(topology: &WholeTopology, run: &str) -> Result<Vec<HostPart>, String> {
    let mut parts = split(&topology.text, &topology.hosts, &topology.declarations, run)?;
    for part in &mut parts {
        part.text = match part.host {
            None => split::with_identity(&part.text, &identity::default_file())?,
            Some(_) => split::with_calibration(&part.text, read_topology)?,
        };
    }
    Ok(parts)
}

/// Returns the request for the part of a host.
fn request(run: &str, topology: &str, host: &str, text: String, framesets: Option<u64>) -> PartRequest {
    let name = format!("{topology} (host {host})");
    PartRequest { run: run.to_owned(), name, text, framesets, awaited: Vec::new() }
}

/// Connects to an agent, and has it check its part.
fn check(spec: &HostSpec, part: PartRequest, reads: Vec<Option<String>>) -> Result<Prepared, Vec<String>> {
    let agent = Agent::connect(spec).map_err(|fact| vec![fact])?;
    agent.done(&HostRequest::Check(part.clone()), CHECK_TIME)?;
    Ok(Prepared { agent, part, reads })
}

impl PreparedHosts for PreparedRig {
    fn own_part(&self) -> &str {
        &self.own
    }

    fn describe(&self) -> Vec<String> {
        let line = |host: &Prepared| {
            let (spec, hello) = (host.agent.spec(), host.agent.hello());
            let (name, address) = (&spec.name, &spec.address);
            let (drivers, kinds) = (hello.drivers.len(), hello.kinds.len());
            let clock = hello.synchronized_by.as_deref().map_or_else(
                || "no program synchronises its clock".to_owned(),
                |program| format!("{program} synchronises its clock"),
            );
            format!("host {name}: OK ({address}; {drivers} drivers, {kinds} kinds; {clock})")
        };
        self.hosts.iter().map(line).collect()
    }

    fn start(self: Box<Self>) -> Result<Arc<dyn RunningHosts>, Vec<String>> {
        let Self { run, framesets, hosts, mut awaited, .. } = *self;
        let mut errors = Vec::new();
        for host in &hosts {
            let started = host.agent.announce(&run).map_err(|fact| vec![fact]);
            let awaited = awaited.remove(&Some(host.agent.spec().name.clone())).unwrap_or_default();
            let part = PartRequest { awaited, ..host.part.clone() };
            let started = started.and_then(|()| host.agent.done(&HostRequest::Start(part), CHECK_TIME));
            errors.extend(started.err().into_iter().flatten());
        }
        let running = RunningRig {
            run,
            framesets,
            hosts: Mutex::default(),
            reads: Mutex::default(),
            declared: Mutex::default(),
            stop_rig: Arc::default(),
            is_asked: AtomicBool::new(false),
            own_has_ended: AtomicBool::new(false),
        };
        for prepared in hosts {
            errors.extend(running.add(prepared).err());
        }
        if errors.is_empty() {
            starting::begin(&running.run, &awaited.remove(&None).unwrap_or_default());
            return Ok(Arc::new(running));
        }
        running.end_others(false);
        Err(errors)
    }
}

struct RunningRig {
    run: String,
    framesets: Option<u64>,
    /// With those whose part a change has ended: their reports remain.
    hosts: Mutex<Vec<Arc<Host>>>,
    /// The hosts whose framesets each host reads.
    reads: Mutex<BTreeMap<String, Vec<Option<String>>>>,
    /// What agents have declared for parts, so that a change that leaves a part as it is does not ask again.
    declared: Mutex<BTreeMap<(String, String), Declarations>>,
    /// Stops the rig.
    stop_rig: Arc<Mutex<Option<StopRig>>>,
    /// Whether the rig was asked to stop.
    is_asked: AtomicBool,
    /// Whether the part of the first host has ended.
    own_has_ended: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RunningHosts for RunningRig {
    fn watch(&self, stop: StopRig) {
        *locked(&self.stop_rig) = Some(stop);
    }

    fn has_started(&self) {
        starting::end(&self.run);
    }

    fn split(&self, topology: &WholeTopology) -> Result<Vec<HostPart>, String> {
        let ask = |spec: &HostSpec, part| self.declarations(spec, part);
        let completed = completed(topology, &self.run, |whole| parts_of(whole, &self.run), ask);
        parts_of(&completed.map_err(|lines| lines.join("; "))?, &self.run)
    }

    fn order(&self) -> Vec<Option<String>> {
        changes::order(&locked(&self.reads))
    }

    fn change(&self, change: &PartChange<'_>) -> control::Answer {
        self.change_part(change)
    }

    fn ask(&self, host: &str, request: control::Request) -> control::Answer {
        self.ask_agent(host, request)
    }

    fn statuses(&self) -> Vec<(HostStatus, Option<RigStatus>)> {
        let hosts = self.hosts();
        // If the part of a host has ended and started again, the newest one.
        let is_newest = |(index, host): &(usize, &Arc<Host>)| {
            hosts[index + 1..].iter().all(|later| later.name() != host.name())
        };
        hosts.iter().enumerate().filter(is_newest).map(|(_, host)| host.status()).collect()
    }

    fn drain(&self, drain_own: &dyn Fn(), stop_own: &dyn Fn()) {
        self.drain_all(drain_own, stop_own);
    }

    fn stop(&self, in_order: bool) {
        self.end_others(in_order);
    }

    fn reports(&self) -> Vec<(String, Result<Report, String>)> {
        self.hosts().iter().map(|host| (host.name().to_owned(), host.take_report())).collect()
    }
}

impl RunningRig {
    fn hosts(&self) -> Vec<Arc<Host>> {
        locked(&self.hosts).clone()
    }

    /// Returns the declarations of a part, which its agent may have made before.
    fn declarations(&self, spec: &HostSpec, part: PartRequest) -> Result<Declarations, Vec<String>> {
        let key = (spec.name.clone(), part.text.clone());
        if let Some(known) = locked(&self.declared).get(&key) {
            return Ok(known.clone());
        }
        let found = match self.running(&spec.name) {
            Some(host) => declarations(host.agent(), part)?,
            None => declarations(&Agent::connect(spec).map_err(|fact| vec![fact])?, part)?,
        };
        let mut declared = locked(&self.declared);
        if declared.len() >= DECLARED_MAX {
            declared.clear();
        }
        declared.insert(key, found.clone());
        Ok(found)
    }

    /// Takes a host whose part was started, and watches it.
    fn add(&self, prepared: Prepared) -> Result<(), String> {
        let Prepared { agent, part, reads } = prepared;
        let host = Arc::new(Host::new(agent, part));
        locked(&self.reads).insert(host.name().to_owned(), reads);
        locked(&self.hosts).push(Arc::clone(&host));
        let (stop_rig, measured) = (Arc::clone(&self.stop_rig), Arc::clone(&host));
        let watching = spawn_thread("host", move || host.watch(&stop_rig));
        let measuring = spawn_thread("host-clock", move || measured.measure());
        watching.and(measuring).map(drop).map_err(|error| error.to_string())
    }
}
