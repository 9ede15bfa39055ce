//! The supervisor: one run of a rig, from validated topology to report.
//!
//! It starts workers, hands every process its parts, lets framesets flow when all actors are ready, and ends
//! the run in order: cameras first, then whatever is in flight, then every process. All that happens reaches
//! it as events on one channel. It deliberately never touches a frameset.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::control::{ActorEvent, Order};
use crate::host::{Host, Hosted};
use crate::registry::Registry;
use crate::report::{ActorReport, LinkReport, ProcessReport, Report, dropped_by_reason, rounded};
use crate::status::StatusLine;
use crate::topology::{ActorSpec, Role, Topology};
use crate::usage::{self, Usage};
use crate::wiring::{Rig, Wiring, wire};
use crate::workers::{Worker, WorkerEvent};

/// Events that may wait for the supervisor; who has more to say waits.
const EVENTS: usize = 1024;

/// How often the supervisor looks at clocks, counts and processes.
const TICK: Duration = Duration::from_millis(100);

/// How often it looks at what processes use.
const USAGE_INTERVAL: Duration = Duration::from_secs(1);

/// A rig without cameras in which nothing moves for so long has an actor that will never end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a worker may take to exit when it has nothing left to do.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a run is asked to do beside the topology.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunLimits {
    /// Stop after this time.
    pub(crate) time: Option<Duration>,
    /// Stop each camera after so many framesets.
    pub(crate) framesets: Option<u64>,
}

/// How a run ended.
pub(crate) struct Outcome {
    pub(crate) report: Report,
    pub(crate) end: End,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As it was asked to: Ctrl-C, SIGTERM, a time or a number of framesets.
    Asked,
    /// Every camera came to its end.
    Inputs,
    /// An actor failed for good.
    Failed,
    /// A camera was not available.
    Unavailable,
    /// A second Ctrl-C: at once.
    Interrupted,
}

/// What the supervisor hears.
enum Event {
    Actor(ActorEvent),
    Worker(usize, WorkerEvent),
    /// Ctrl-C or SIGTERM.
    Interrupt,
}

impl From<(usize, WorkerEvent)> for Event {
    fn from((process, event): (usize, WorkerEvent)) -> Self {
        Self::Worker(process, event)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Starting,
    Ready,
    Running,
    Finished,
    Failed,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }

    fn has_ended(self) -> bool {
        matches!(self, Self::Finished | Self::Failed)
    }
}

/// Runs a rig to its end.
///
/// # Errors
/// When the system lacks what a rig is made of: processes, descriptors. Nothing is left running.
pub(crate) fn run(
    topology: &Topology,
    registry: &Arc<Registry>,
    limits: &RunLimits,
    status: StatusLine,
) -> std::io::Result<Outcome> {
    let (sender, events) = sync_channel(EVENTS);
    let interrupts = sender.clone();
    // A full queue means that earlier interrupts, or the end, are being heard.
    ctrlc::set_handler(move || drop(interrupts.try_send(Event::Interrupt))).map_err(std::io::Error::other)?;
    let Wiring { rig, parts } = wire(topology, limits.framesets)?;
    let mut workers = Vec::new();
    for (process, name) in topology.processes().iter().enumerate().skip(1) {
        workers.push(Worker::start(process, name, sender.clone())?);
    }
    let run = Run {
        topology,
        rig,
        hosted: None,
        actors: topology.actors().iter().map(|_| Actor::default()).collect(),
        alive: (1..topology.processes().len()).collect(),
        usage: topology.processes().iter().map(|_| Usage::default()).collect(),
        workers,
        asked: limits.framesets.is_some(),
        interrupted: false,
        going_since: None,
        stopping: false,
        status,
    };
    run.drive(parts, registry, limits, (&sender, &events))
}

#[derive(Default)]
struct Actor {
    state: State,
    errors: Vec<String>,
    /// Whether it failed for want of its device.
    unavailable: bool,
}

/// A run in progress.
struct Run<'a> {
    topology: &'a Topology,
    rig: Rig,
    /// The actors in this process.
    hosted: Option<Hosted>,
    /// By process, without `main`: the worker of process n is at n - 1.
    workers: Vec<Worker>,
    /// The processes whose workers have not exited.
    alive: BTreeSet<usize>,
    actors: Vec<Actor>,
    /// The most that each process was seen to use.
    usage: Vec<Usage>,
    /// Whether the end, when it comes, is one that was asked for.
    asked: bool,
    interrupted: bool,
    going_since: Option<Instant>,
    stopping: bool,
    status: StatusLine,
}

impl Run<'_> {
    fn drive(
        mut self,
        mut parts: Vec<Vec<crate::control::Part>>,
        registry: &Arc<Registry>,
        limits: &RunLimits,
        (sender, events): (&SyncSender<Event>, &Receiver<Event>),
    ) -> std::io::Result<Outcome> {
        let mut own = Host::default();
        for part in parts[0].drain(..) {
            own.add(part).map_err(std::io::Error::other)?;
        }
        let actor_events = sender.clone();
        // An error means that the run is over.
        self.hosted = Some(own.start(registry, move |event| drop(actor_events.send(Event::Actor(event)))));
        let mut progress = (0, Instant::now());
        let mut usage_at = Instant::now();
        while !self.interrupted && self.actors.iter().any(|actor| !actor.state.has_ended()) {
            match events.recv_timeout(TICK) {
                Ok(event) => self.hear(event, &mut parts),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            self.go_when_ready();
            let going = self.going_since.map(|since| since.elapsed());
            if limits.time.is_some_and(|limit| going.is_some_and(|going| going >= limit)) {
                self.asked = true;
                self.stop();
            }
            if usage_at.elapsed() >= USAGE_INTERVAL {
                usage_at = Instant::now();
                self.note_usage();
            }
            let settled = self.settled();
            if !self.draining() || settled != progress.0 {
                progress = (settled, Instant::now());
            } else if progress.1.elapsed() >= DRAIN_TIMEOUT {
                self.give_up();
            }
            self.status.show(going, &self.rig);
        }
        self.status.clear();
        let seconds = self.going_since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        self.note_usage();
        self.end_workers(events);
        Ok(Outcome { end: self.end(), report: self.report(seconds) })
    }

    fn hear(&mut self, event: Event, parts: &mut [Vec<crate::control::Part>]) {
        match event {
            Event::Actor(event) | Event::Worker(_, WorkerEvent::Actor(event)) => self.hear_actor(event),
            Event::Worker(process, WorkerEvent::Hello(orders)) => {
                let worker = &mut self.workers[process - 1];
                worker.greet(orders);
                parts[process].drain(..).for_each(|part| worker.order(Order::Host(part)));
                worker.order(Order::Start);
                if self.stopping {
                    worker.order(Order::StopCameras);
                }
            }
            Event::Worker(process, WorkerEvent::Exited(how)) => self.hear_exit(process, &how),
            Event::Interrupt if self.stopping && self.asked => self.interrupted = true,
            Event::Interrupt => {
                self.asked = true;
                self.stop();
            }
        }
    }

    fn hear_actor(&mut self, event: ActorEvent) {
        match event {
            ActorEvent::Ready { actor } => self.set_state(actor, State::Ready),
            ActorEvent::Finished { actor } => self.set_state(actor, State::Finished),
            ActorEvent::Failed { actor, message, unavailable } => {
                self.fail(actor as usize, message, unavailable);
            }
        }
    }

    /// Events come from other processes: an actor that is not there is passed over.
    fn set_state(&mut self, actor: u32, state: State) {
        if let Some(actor) = self.actors.get_mut(actor as usize).filter(|actor| !actor.state.has_ended()) {
            actor.state = state;
        }
    }

    fn fail(&mut self, id: usize, message: String, unavailable: bool) {
        let Some(actor) = self.actors.get_mut(id).filter(|actor| !actor.state.has_ended()) else { return };
        let spec = &self.topology.actors()[id];
        log::error!("{} `{}` failed: {message}", spec.role.name(), spec.name);
        actor.unavailable = unavailable;
        actor.errors.push(message);
        actor.state = State::Failed;
        // A rig goes on with one camera less, but not without a processor that it was built for, and not
        // when it never got going.
        if self.going_since.is_none() || matches!(spec.role, Role::Processor { .. }) {
            self.stop();
        }
    }

    /// A process is gone: in the place of its actors, their readers are told the end and their producers that
    /// nobody reads.
    fn hear_exit(&mut self, process: usize, how: &str) {
        self.alive.remove(&process);
        let name = &self.topology.processes()[process];
        let hosts = |actor: usize| self.topology.actors()[actor].process == process;
        for (spec, link) in self.topology.links().iter().zip(&self.rig.links) {
            if hosts(spec.from.0) {
                link.end();
            }
            if hosts(spec.to.0) {
                link.ledger.reader_died();
            }
        }
        let left: Vec<usize> =
            (0..self.actors.len()).filter(|&id| hosts(id) && !self.actors[id].state.has_ended()).collect();
        for id in left {
            self.fail(id, format!("process `{name}` {how}"), false);
        }
    }

    fn go_when_ready(&mut self) {
        let waiting = |actor: &Actor| actor.state == State::Starting;
        if self.going_since.is_some() || self.stopping || self.actors.iter().any(waiting) {
            return;
        }
        for actor in self.actors.iter_mut().filter(|actor| actor.state == State::Ready) {
            actor.state = State::Running;
        }
        self.going_since = Some(Instant::now());
        self.workers.iter().for_each(|worker| worker.order(Order::Go));
        self.hosted.iter().for_each(Hosted::go);
    }

    fn stop(&mut self) {
        if !self.stopping {
            self.stopping = true;
            self.status.clear();
            self.workers.iter().for_each(|worker| worker.order(Order::StopCameras));
            self.hosted.iter().for_each(Hosted::stop_cameras);
        }
    }

    /// Whether no camera will produce another frameset, so that everything left has to end.
    fn draining(&self) -> bool {
        let is_camera = |spec: &ActorSpec| matches!(spec.role, Role::Camera { .. });
        let mut actors = self.topology.actors().iter().zip(&self.actors);
        self.stopping || actors.all(|(spec, actor)| !is_camera(spec) || actor.state.has_ended())
    }

    /// Framesets that are done with, and actors too: as long as this grows, the rig drains.
    fn settled(&self) -> u64 {
        let framesets = |counts: camrig_ipc::Counts| counts.delivered + counts.dropped.iter().sum::<u64>();
        let links: u64 = self.rig.links.iter().map(|link| framesets(link.ledger.counts())).sum();
        links + self.actors.iter().filter(|actor| actor.state.has_ended()).count() as u64
    }

    /// Ends actors that will not end by themselves. A thread of this process cannot be ended; its process
    /// will be.
    fn give_up(&mut self) {
        for id in 0..self.actors.len() {
            self.fail(id, format!("did not end within {} s", DRAIN_TIMEOUT.as_secs()), false);
        }
    }

    fn note_usage(&mut self) {
        for process in std::iter::once(0).chain(self.alive.iter().copied()) {
            if let Some(now) = usage::of(self.pid(process)) {
                let most = &mut self.usage[process];
                most.cpu_seconds = most.cpu_seconds.max(now.cpu_seconds);
                most.private_bytes = most.private_bytes.max(now.private_bytes);
                most.shared_bytes = most.shared_bytes.max(now.shared_bytes);
            }
        }
    }

    fn pid(&self, process: usize) -> u32 {
        process.checked_sub(1).map_or_else(std::process::id, |worker| self.workers[worker].pid())
    }

    /// Every worker exits: by itself when all its actors have ended, by force otherwise.
    fn end_workers(&mut self, events: &Receiver<Event>) {
        for process in &self.alive {
            let worker = &self.workers[process - 1];
            let hosts = |id: &usize| self.topology.actors()[*id].process == *process;
            let mut actors = (0..self.actors.len()).filter(hosts);
            let forced = actors.any(|id| self.actors[id].state != State::Finished);
            if forced || self.interrupted || !worker.is_there() {
                worker.kill();
            } else {
                worker.order(Order::Exit);
            }
        }
        let mut deadline = Instant::now() + EXIT_TIMEOUT;
        while !self.alive.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            match events.recv_timeout(left) {
                Ok(Event::Worker(process, WorkerEvent::Exited(_))) => {
                    self.alive.remove(&process);
                }
                Ok(Event::Interrupt) => self.workers.iter().for_each(Worker::kill),
                Ok(_) => {}
                Err(_) => {
                    self.workers.iter().for_each(Worker::kill);
                    deadline = Instant::now() + EXIT_TIMEOUT;
                }
            }
        }
    }

    fn end(&self) -> End {
        let failed = self.actors.iter().any(|actor| actor.state == State::Failed);
        let unavailable = self.actors.iter().any(|actor| actor.unavailable);
        match (self.interrupted, failed, unavailable, self.asked) {
            (true, ..) => End::Interrupted,
            (_, true, true, _) => End::Unavailable,
            (_, true, false, _) => End::Failed,
            (.., true) => End::Asked,
            (.., false) => End::Inputs,
        }
    }

    fn report(&self, seconds: f64) -> Report {
        let exit = match self.end() {
            End::Asked => "stopped as asked",
            End::Inputs => "end of all inputs",
            End::Failed => "an actor failed",
            End::Unavailable => "a camera is unavailable",
            End::Interrupted => "interrupted",
        };
        let topology = self.topology;
        let actors = topology.actors().iter().zip(&self.actors).zip(&self.rig.tallies);
        let links = topology.links().iter().zip(&self.rig.links);
        let processes = topology.processes().iter().zip(&self.usage).enumerate();
        Report {
            camrig_report: 1,
            topology: topology.name().to_owned(),
            seconds: rounded(seconds),
            exit: exit.to_owned(),
            actors: actors
                .map(|((spec, actor), tally)| ActorReport {
                    name: spec.name.clone(),
                    role: spec.role.name(),
                    process: topology.processes()[spec.process].clone(),
                    state: actor.state.name(),
                    produced: tally.produced(),
                    lost: tally.lost(),
                    restarts: 0,
                    errors: actor.errors.clone(),
                })
                .collect(),
            links: links
                .map(|(spec, link)| {
                    let (from, to) = (topology.actor(spec.from), topology.actor(spec.to));
                    let counts = link.ledger.counts();
                    let local = from.process == to.process;
                    LinkReport {
                        from: from.name.clone(),
                        to: to.name.clone(),
                        placement: if local { "in-process" } else { "multi-process" },
                        produced: counts.produced,
                        delivered: counts.delivered,
                        dropped: dropped_by_reason(&counts.dropped),
                        in_flight: counts.in_flight,
                        rate_hz: if seconds > 0.0 { rounded(counts.delivered as f64 / seconds) } else { 0.0 },
                        latency_us: link.ledger.latency(),
                    }
                })
                .collect(),
            processes: processes
                .map(|(process, (name, usage))| ProcessReport {
                    name: name.clone(),
                    pid: self.pid(process),
                    cpu_seconds: rounded(usage.cpu_seconds),
                    private_bytes_peak: usage.private_bytes,
                    shared_bytes: usage.shared_bytes,
                })
                .collect(),
        }
    }
}
