//! The first host's side: has agents check, run and stop their parts, and collects their reports.

mod agents;
mod changes;
mod windows;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use camrig::hosts::{
    HostDevices, HostPart, HostPlan, Hosts, LinkPlan, PartChange, PreparedHosts, RunningHosts, StreamNeed,
    WholeTopology,
};
use camrig::status::control;
use camrig::status::{ClockStatus, HostState, HostStatus, RigStatus};
use camrig::{Exit, HostSpec, Report, read_topology, spawn_thread};

use self::agents::Agent;
use crate::clock::{ClockFilter, HostClock};
use crate::protocol::{Answer, PartRequest, PartState, Request};
use crate::split::{self, crossings_of, split};
use crate::{identity, plan};

/// Interval at which agents are asked for the state of their parts.
const INTERVAL: Duration = Duration::from_millis(400);

/// Number of exchanges of times before a rig over several hosts starts, with a host whose clock matters for a match.
const EXCHANGES: usize = 16;

/// Interval at which the clocks of hosts are compared.
const CLOCK_PERIOD: Duration = Duration::from_millis(500);

/// Maximum time in which an agent reports the state of its part; then its host counts as lost.
const STATUS_TIME: Duration = Duration::from_millis(1500);

/// Maximum time for the check and for the start of a part: cameras may take long to open.
const CHECK_TIME: Duration = Duration::from_secs(180);

/// Maximum time in which an agent takes a request to stop.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// Maximum time in which a part ends after it was asked to; then it is ended immediately.
const STOP_TIME: Duration = Duration::from_secs(30);

/// Maximum time for which a host may be lost and is still waited for at the end of a rig: a machine that is suspended for a
/// moment is not lost.
const LOST_TIME: Duration = Duration::from_secs(10);

/// Maximum time in which it then ends.
const END_TIME: Duration = Duration::from_secs(5);

/// Maximum number of starts of a part whose agent was restarted.
const RESTARTS_MAX: u32 = 5;

/// The error of a part whose agent was restarted.
const RESTARTED: &str = "its agent was restarted, and its counts are lost";

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
}

impl Hosts for OverZenoh {
    fn devices(&self, hosts: &[HostSpec]) -> Vec<(String, Result<HostDevices, String>)> {
        let devices = |spec: &HostSpec| {
            let spec = spec.clone();
            move || {
                let agent = Agent::connect(&spec)?;
                match agent.ask(&Request::Devices { host: spec.name.clone() }, CHECK_TIME)? {
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
                match agent.ask(&Request::Plan(part), CHECK_TIME)? {
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
        Ok(Box::new(PreparedRig { own, run, framesets: topology.framesets, hosts }))
    }
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
    let mut parts = split(&topology.text, &topology.hosts, run)?;
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
    PartRequest { run: run.to_owned(), name: format!("{topology} (host {host})"), text, framesets }
}

/// Connects to an agent, and has it check its part.
fn check(spec: &HostSpec, part: PartRequest, reads: Vec<Option<String>>) -> Result<Prepared, Vec<String>> {
    let agent = Agent::connect(spec).map_err(|fact| vec![fact])?;
    agent.done(&Request::Check(part.clone()), CHECK_TIME)?;
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
        let mut errors = Vec::new();
        for host in &self.hosts {
            let started = host.agent.announce(&self.run).map_err(|fact| vec![fact]);
            let started =
                started.and_then(|()| host.agent.done(&Request::Start(host.part.clone()), CHECK_TIME));
            errors.extend(started.err().into_iter().flatten());
        }
        let running = RunningRig {
            run: self.run,
            framesets: self.framesets,
            hosts: Mutex::default(),
            reads: Mutex::default(),
            own: Arc::default(),
            asked: AtomicBool::new(false),
        };
        for prepared in self.hosts {
            errors.extend(running.add(prepared).err());
        }
        if errors.is_empty() {
            return Ok(Arc::new(running));
        }
        running.stop();
        Err(errors)
    }
}

/// The function that stops the part of the first host.
type StopOwn = Box<dyn Fn() + Send + Sync>;

/// Observations of a part.
#[derive(Default)]
struct Seen {
    state: HostState,
    error: String,
    status: Option<RigStatus>,
    report: Option<Report>,
    restarts: u32,
    /// Whether it was asked to stop.
    stops: bool,
    /// Since when the host is lost.
    lost: Option<Instant>,
}

impl Seen {
    /// Returns whether the part may still end by itself.
    fn may_end(&self, now: Instant) -> bool {
        match self.state {
            HostState::Running => true,
            HostState::Lost => self.lost.is_some_and(|lost| now.saturating_duration_since(lost) < LOST_TIME),
            HostState::Ended => false,
        }
    }
}

/// The part of one host.
struct Host {
    agent: Agent,
    part: Mutex<PartRequest>,
    seen: Mutex<Seen>,
    clock: Mutex<ClockFilter>,
}

struct RunningRig {
    run: String,
    framesets: Option<u64>,
    /// With those whose part a change has ended: their reports remain.
    hosts: Mutex<Vec<Arc<Host>>>,
    /// The hosts whose framesets each host reads.
    reads: Mutex<BTreeMap<String, Vec<Option<String>>>>,
    /// Stops the part of the first host.
    own: Arc<Mutex<Option<StopOwn>>>,
    /// Whether a signal asked the rig to stop.
    asked: AtomicBool,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    fn name(&self) -> &str {
        &self.agent.spec().name
    }

    fn part(&self) -> PartRequest {
        locked(&self.part).clone()
    }

    fn run(&self) -> String {
        locked(&self.part).run.clone()
    }

    fn has_ended(&self) -> bool {
        locked(&self.seen).state == HostState::Ended
    }

    /// Requests the state of the part, until it has ended or the rig is over.
    fn watch(&self, own: &Mutex<Option<StopOwn>>) {
        while locked(&self.seen).state != HostState::Ended {
            let began = Instant::now();
            let answer = self.agent.ask(&Request::Status { run: self.run() }, STATUS_TIME);
            self.note(answer);
            let is_fault = |report: &Report| matches!(report.exit, Exit::Failed | Exit::Unavailable);
            let has_failed = locked(&self.seen).report.as_ref().is_some_and(is_fault);
            if let Some(stop) = locked(own).as_ref().filter(|_| has_failed) {
                log::error!("host `{}`: its part has failed: the rig stops", self.name());
                stop();
            }
            std::thread::sleep(INTERVAL.saturating_sub(began.elapsed()));
        }
    }

    /// Compares the host's clock with this one's, until the part has ended.
    fn measure(&self) {
        while locked(&self.seen).state != HostState::Ended {
            if let Some(exchange) = self.agent.clock() {
                locked(&self.clock).add(exchange);
            }
            std::thread::sleep(CLOCK_PERIOD);
        }
    }

    /// Notes the state of the part. A part that its agent no longer has is started again: the agent was restarted.
    fn note(&self, answer: Result<Answer, String>) {
        let mut seen = locked(&self.seen);
        let was_lost = seen.state == HostState::Lost;
        match answer {
            Ok(Answer::Part(PartState::Running(status))) => {
                seen.state = HostState::Running;
                seen.status = Some(*status);
            }
            Ok(Answer::Part(PartState::Ended(report))) => {
                seen.state = HostState::Ended;
                seen.status = None;
                seen.report = Some(*report);
            }
            Ok(Answer::Part(PartState::Unknown)) if seen.stops || seen.restarts >= RESTARTS_MAX => {
                seen.state = HostState::Ended;
                RESTARTED.clone_into(&mut seen.error);
            }
            Ok(Answer::Part(PartState::Unknown)) => {
                seen.restarts += 1;
                RESTARTED.clone_into(&mut seen.error);
                drop(seen);
                log::error!("host `{}`: its agent was restarted: its part starts again", self.name());
                match self.agent.done(&Request::Start(self.part()), CHECK_TIME) {
                    Ok(()) => locked(&self.seen).state = HostState::Running,
                    Err(errors) => errors.iter().for_each(|error| log::error!("{error}")),
                }
                return;
            }
            Ok(Answer::Refused(lines)) => seen.error = lines.join("; "),
            Ok(_) => "its agent answered another request".clone_into(&mut seen.error),
            Err(fact) => {
                if !was_lost {
                    log::error!("{fact}");
                    seen.lost = Some(Instant::now());
                }
                seen.state = HostState::Lost;
                seen.status = None;
                seen.error = fact;
                return;
            }
        }
        if was_lost {
            log::warn!("host `{}` is back", self.name());
        }
    }

    /// Waits until the part has ended by itself, within a bounded time. A host that is lost for longer is not waited for.
    fn finish(&self) {
        let until = Instant::now() + STOP_TIME;
        while Instant::now() < until && locked(&self.seen).may_end(Instant::now()) {
            std::thread::sleep(INTERVAL / 8);
        }
    }

    /// Stops the part, and waits until it has ended, within a bounded time. A host that is lost is not waited for.
    fn stop(&self) {
        locked(&self.seen).stops = true;
        let run = self.run();
        for (request, time) in [
            (Request::Stop { run: run.clone() }, STOP_TIME),
            (Request::Interrupt { run: run.clone() }, END_TIME),
        ] {
            if locked(&self.seen).state == HostState::Ended {
                return;
            }
            match self.agent.done(&request, REQUEST_TIME) {
                Ok(()) => locked(&self.seen).state = HostState::Running,
                Err(errors) => locked(&self.seen).error = errors.join("; "),
            }
            let until = Instant::now() + time;
            // An agent that does not answer for a moment continues stopping.
            while Instant::now() < until && locked(&self.seen).state != HostState::Ended {
                self.note(self.agent.ask(&Request::Status { run: run.clone() }, STATUS_TIME));
                std::thread::sleep(INTERVAL / 8);
            }
        }
        // The thread that watches it ends.
        locked(&self.seen).state = HostState::Ended;
    }
}

impl RunningHosts for RunningRig {
    fn watch(&self, stop: StopOwn) {
        *locked(&self.own) = Some(stop);
    }

    fn split(&self, topology: &WholeTopology) -> Result<Vec<HostPart>, String> {
        parts_of(topology, &self.run)
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
        let status = |host: &Arc<Host>| {
            let seen = locked(&host.seen);
            let spec = host.agent.spec();
            let status = HostStatus {
                name: spec.name.clone(),
                address: spec.address.clone(),
                state: seen.state,
                error: seen.error.clone(),
                clock: locked(&host.clock).estimate().map(clock_status),
                synchronized_by: host.agent.hello().synchronized_by.clone(),
            };
            (status, seen.status.clone())
        };
        let hosts = self.hosts();
        // If the part of a host has ended and started again, the newest one.
        let is_newest = |(index, host): &(usize, &Arc<Host>)| {
            hosts[index + 1..].iter().all(|later| later.name() != host.name())
        };
        hosts.iter().enumerate().filter(is_newest).map(|(_, host)| status(host)).collect()
    }

    fn stop_sources(&self) {
        self.asked.store(true, Ordering::Release);
        self.stop_some(&sources(&locked(&self.reads).clone()));
    }

    fn stop(&self) {
        // Each camera has the same number of framesets to deliver: a part is not ended early because this one was faster.
        if !self.asked.load(Ordering::Acquire) {
            self.hosts().iter().filter(|_| self.framesets.is_some()).for_each(|host| host.finish());
        }
        self.stop_some(&order(&locked(&self.reads).clone()));
    }

    fn reports(&self) -> Vec<(String, Result<Report, String>)> {
        let report = |host: &Arc<Host>| {
            let mut seen = locked(&host.seen);
            let error = seen.error.clone();
            let report = seen.report.take().ok_or(if error.is_empty() {
                "it has not ended".to_owned()
            } else {
                error
            });
            (host.name().to_owned(), report)
        };
        self.hosts().iter().map(report).collect()
    }
}

impl RunningRig {
    fn hosts(&self) -> Vec<Arc<Host>> {
        locked(&self.hosts).clone()
    }

    /// Takes a host whose part was started, and watches it.
    fn add(&self, prepared: Prepared) -> Result<(), String> {
        let Prepared { agent, part, reads } = prepared;
        let host = Host { agent, part: Mutex::new(part), seen: Mutex::default(), clock: Mutex::default() };
        let host = Arc::new(host);
        locked(&self.reads).insert(host.name().to_owned(), reads);
        locked(&self.hosts).push(Arc::clone(&host));
        let (own, measured) = (Arc::clone(&self.own), Arc::clone(&host));
        let watching = spawn_thread("host", move || host.watch(&own));
        let measuring = spawn_thread("host-clock", move || measured.measure());
        watching.and(measuring).map(drop).map_err(|error| error.to_string())
    }

    fn stop_some(&self, names: &[String]) {
        for name in names {
            self.hosts().iter().filter(|host| host.name() == name).for_each(|host| host.stop());
        }
    }
}

/// Returns an estimate in the form of the status.
fn clock_status(estimate: HostClock) -> ClockStatus {
    ClockStatus {
        offset_ms: estimate.offset_nanos as f64 / 1e6,
        // That of the other clock.
        drift_ppm: -estimate.drift_ppm,
        uncertainty_us: estimate.uncertainty_nanos as f64 / 1e3,
    }
}

/// Returns the order in which hosts stop: one that reads others' framesets stops after them. Those that read each other in a
/// cycle come last.
fn order(reads: &BTreeMap<String, Vec<Option<String>>>) -> Vec<String> {
    let mut left: Vec<_> = reads.keys().cloned().collect();
    let mut order: Vec<String> = Vec::new();
    while !left.is_empty() {
        let is_free = |name: &String| reads[name].iter().flatten().all(|read| order.contains(read));
        let (free, rest): (Vec<_>, Vec<_>) = left.iter().cloned().partition(is_free);
        if free.is_empty() {
            order.extend(rest);
            break;
        }
        order.extend(free);
        left = rest;
    }
    order
}

/// Returns the hosts that stop before the first host: those that read no frameset of it, even by others.
fn sources(reads: &BTreeMap<String, Vec<Option<String>>>) -> Vec<String> {
    let mut sources = order(reads);
    loop {
        let reads_first = |name: &String, sources: &[String]| {
            reads[name].iter().any(|read| read.as_ref().is_none_or(|read| !sources.contains(read)))
        };
        let kept: Vec<_> = sources.iter().filter(|name| !reads_first(name, &sources)).cloned().collect();
        if kept.len() == sources.len() {
            return kept;
        }
        sources = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(of: &[(&str, &[Option<&str>])]) -> BTreeMap<String, Vec<Option<String>>> {
        let owned = |read: Option<&str>| read.map(str::to_owned);
        of.iter()
            .map(|(name, reads)| ((*name).to_owned(), reads.iter().copied().map(owned).collect()))
            .collect()
    }

    #[test]
    fn a_host_that_does_not_answer_for_a_moment_is_waited_for() {
        let begin = Instant::now();
        let mut seen = Seen { state: HostState::Lost, lost: Some(begin), ..Seen::default() };
        assert!(seen.may_end(begin + LOST_TIME / 2) && !seen.may_end(begin + LOST_TIME));
        seen.state = HostState::Running;
        assert!(seen.may_end(begin + 2 * LOST_TIME));
        seen.state = HostState::Ended;
        assert!(!seen.may_end(begin));
    }

    #[test]
    fn readers_stop_after_their_sources() {
        let chain = reads(&[("a", &[Some("b")]), ("b", &[Some("c")]), ("c", &[])]);
        assert_eq!(order(&chain), ["c", "b", "a"]);
        assert_eq!(sources(&chain), ["c", "b", "a"]);
        let circle = reads(&[("a", &[Some("b")]), ("b", &[Some("a")]), ("c", &[])]);
        assert_eq!(order(&circle), ["c", "a", "b"]);
    }

    #[test]
    fn readers_of_the_first_host_stop_after_it() {
        let reads = reads(&[("a", &[None]), ("b", &[Some("a")]), ("c", &[]), ("d", &[Some("c"), None])]);
        assert_eq!(sources(&reads), ["c"]);
        assert_eq!(order(&reads), ["a", "c", "b", "d"]);
    }
}
