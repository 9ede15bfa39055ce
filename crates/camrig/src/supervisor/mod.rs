//! The supervisor: one run of a rig, from validated topology to report.
//!
//! It starts workers, hands every process its parts, lets framesets flow when all actors are ready, restarts
//! what fails, and ends the run in order: cameras first, then whatever is in flight, then every process. All
//! that happens reaches it as events on one channel. It deliberately never touches a frameset.
//!
//! * this module: the course of a run
//! * `policy`: whether an actor that failed gets another life
//! * `recovery`: failures, deaths of processes, and what follows
//! * `health`: actors that neither fail nor do anything
//! * `status`: how it is now, for whoever asks
//! * `outcome`: how it all ended, and the report

mod health;
mod outcome;
mod policy;
mod recovery;
mod status;

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use camrig_http::Server;
use camrig_status::socket::StatusSocket;
use camrig_status::{ActorState as State, RigStatus};

use self::health::Watch;
pub(crate) use self::outcome::{End, Outcome};
use self::policy::Ladder;
use crate::control::{ActorEvent, Part, WorkerCommand};
use crate::gauge::Gauge;
use crate::host::{Host, Hosted};
use crate::ids::{ActorId, ProcessId};
use crate::registry::Registry;
use crate::status::Progress;
use crate::topology::{ActorSpec, MetricsSpec, Role, Topology};
use crate::usage::Usage;
use crate::wiring::{Beginning, Rig};
use crate::workers::{Worker, WorkerEvent};

/// Events that may wait for the supervisor; who has more to say waits.
const EVENTS: usize = 1024;

/// How often the supervisor looks at clocks, counts and processes.
const TICK: Duration = Duration::from_millis(100);

/// The same, at the most, while a life is due.
const DUE_TICK: Duration = Duration::from_millis(5);

/// How often it looks at what processes use.
const USAGE_INTERVAL: Duration = Duration::from_secs(1);

/// A rig without cameras in which nothing moves for so long, and no processor is called, has an actor that will
/// never end.
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

/// What the supervisor hears.
enum Event {
    /// Somebody wants to know how the rig is.
    Asked(SyncSender<RigStatus>),
    Actor(ActorEvent),
    Worker(ProcessId, WorkerEvent),
    /// Ctrl-C or SIGTERM.
    Interrupt,
}

impl From<(ProcessId, WorkerEvent)> for Event {
    fn from((process, event): (ProcessId, WorkerEvent)) -> Self {
        Self::Worker(process, event)
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
    progress: Progress,
) -> std::io::Result<Outcome> {
    let (sender, events) = sync_channel(EVENTS);
    let interrupts = sender.clone();
    // A full queue means that earlier interrupts, or the end, are being heard.
    ctrlc::set_handler(move || drop(interrupts.try_send(Event::Interrupt))).map_err(std::io::Error::other)?;
    let socket = StatusSocket::open()?;
    let rig = Rig::new(topology, socket.name(), limits.framesets)?;
    // Until the run is over.
    let _metrics = topology.metrics().map(|metrics| serve_metrics(metrics, socket.name())).transpose()?;
    let asked = sender.clone();
    socket.serve(move || {
        let (answer, status) = sync_channel(1);
        // None means that the run is over.
        asked.send(Event::Asked(answer)).ok()?;
        status.recv().ok()
    })?;
    let mut run = Run {
        topology,
        rig,
        gauge: Gauge::default(),
        hosted: None,
        actors: topology.actors().iter().map(Actor::new).collect(),
        processes: topology.processes().iter().map(|_| Process::default()).collect(),
        sender,
        asked: limits.framesets.is_some(),
        interrupted: false,
        going_since: None,
        stopping: false,
        progress,
    };
    if let Err(error) = run.begin(registry) {
        // Workers that were started already end first, and leave nothing.
        run.end_workers(&events);
        return Err(error);
    }
    Ok(run.drive(limits, &events))
}

/// Serves the rig's numbers, and says where.
fn serve_metrics(metrics: &MetricsSpec, rig: &str) -> std::io::Result<Server> {
    let MetricsSpec { listen, access } = metrics;
    let server =
        Server::start("metrics", *listen, access.clone(), camrig_http::routes(rig)).map_err(|error| {
            std::io::Error::new(error.kind(), format!("metrics cannot be served at {listen}: {error}"))
        })?;
    // A rig whose stdout nobody reads is watched by other means.
    let _ = writeln!(std::io::stdout(), "metrics: http://{}/metrics", server.address());
    Ok(server)
}

struct Actor {
    state: State,
    /// The number of changes to each state.
    changes: BTreeMap<State, u64>,
    ladder: Ladder,
    watch: Watch,
    /// The newest of its failures.
    errors: VecDeque<String>,
    /// Whether it failed, last, for want of its device.
    unavailable: bool,
    /// When its next life begins.
    due: Option<Due>,
}

/// When the next life of an actor begins, and with what help.
#[derive(Clone, Copy)]
struct Due {
    at: Instant,
    reset: bool,
}

impl Actor {
    fn new(spec: &ActorSpec) -> Self {
        Self {
            state: State::default(),
            changes: BTreeMap::new(),
            ladder: Ladder::new(spec.restart, matches!(spec.role, Role::Camera { .. })),
            watch: Watch::begin(0),
            errors: VecDeque::new(),
            unavailable: false,
            due: None,
        }
    }
}

/// A process of the rig: first the supervisor's own, which has no worker, then the others.
#[derive(Default)]
struct Process {
    /// None while it is dead.
    worker: Option<Worker>,
    pid: u32,
    /// Why it was killed.
    fault: Option<String>,
    /// The most that it was seen to use; processor time of all workers that were this process.
    usage: Usage,
    /// Processor time of those that died.
    spent_seconds: f64,
    /// The signal that has stopped it, as long as it is stopped.
    stopped_by: Option<String>,
}

/// A run in progress.
struct Run<'a> {
    topology: &'a Topology,
    rig: Rig,
    gauge: Gauge,
    /// The actors in this process.
    hosted: Option<Hosted>,
    processes: Vec<Process>,
    actors: Vec<Actor>,
    /// Where workers and actors report.
    sender: SyncSender<Event>,
    /// Whether the end, when it comes, is one that was asked for.
    asked: bool,
    interrupted: bool,
    going_since: Option<Instant>,
    stopping: bool,
    progress: Progress,
}

impl Run<'_> {
    /// Starts every process, and the actors of this one.
    fn begin(&mut self, registry: &Arc<Registry>) -> std::io::Result<()> {
        self.processes[0].pid = std::process::id();
        for (process, name) in self.topology.processes().iter().enumerate().skip(1) {
            self.start_worker(process).map_err(|error| {
                std::io::Error::other(format!("process `{name}` cannot be started: {error}"))
            })?;
        }
        self.host_own(registry)
    }

    fn start_worker(&mut self, process: usize) -> std::io::Result<()> {
        let name = &self.topology.processes()[process];
        let worker = Worker::start(ProcessId::new(process), name, self.sender.clone())?;
        self.processes[process].pid = worker.pid();
        self.processes[process].worker = Some(worker);
        Ok(())
    }

    fn drive(mut self, limits: &RunLimits, events: &Receiver<Event>) -> Outcome {
        let mut drained = (0, Instant::now());
        let mut usage_at = Instant::now();
        while !self.interrupted && self.actors.iter().any(|actor| !actor.state.has_ended()) {
            match events.recv_timeout(self.pause()) {
                Ok(event) => self.hear(event),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            self.go_when_ready();
            self.look_after_processes();
            self.look_after_actors();
            self.begin_what_is_due();
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
            if !self.draining() || settled != drained.0 || self.some_are_in_a_call() {
                drained = (settled, Instant::now());
            } else if drained.1.elapsed() >= DRAIN_TIMEOUT {
                self.give_up_on_the_rest();
            }
            if self.progress.is_due() {
                let status = self.status();
                self.progress.show(&status);
            }
        }
        self.progress.end();
        let seconds = self.going_since.map_or(0.0, |since| since.elapsed().as_secs_f64());
        self.note_usage();
        self.end_workers(events);
        self.outcome(seconds)
    }

    /// How long there is nothing to do, unless something happens.
    fn pause(&self) -> Duration {
        let dues = self.actors.iter().filter_map(|actor| actor.due);
        let next = dues.map(|due| due.at.saturating_duration_since(Instant::now())).min();
        // A life that is due may have to wait for others of its process, or for a link to be settled.
        next.map_or(TICK, |next| next.clamp(DUE_TICK, TICK))
    }

    /// Starts the actors of this process.
    fn host_own(&mut self, registry: &Arc<Registry>) -> std::io::Result<()> {
        let mut own = Host::default();
        for part in self.beginning_of(0)?.parts {
            own.add(part).map_err(std::io::Error::other)?;
        }
        let events = self.sender.clone();
        // An error means that the run is over.
        self.hosted = Some(own.start(registry, move |event| drop(events.send(Event::Actor(event))))?);
        Ok(())
    }

    fn beginning_of(&mut self, process: usize) -> std::io::Result<Beginning> {
        let (actors, processes) = (&self.actors, &self.processes);
        let alive = |actor: ActorId| !actors[actor.index()].state.has_ended();
        let is_there = |id: ProcessId| id == ProcessId::MAIN || processes[id.index()].hears();
        let mut beginning = self.rig.begin(self.topology, ProcessId::new(process), alive, is_there)?;
        for part in &mut beginning.parts {
            if let Part::Actor(part, _) = part {
                part.reset = self.take_due(part.id.index());
            }
        }
        Ok(beginning)
    }

    /// An actor begins; whether its device is reset first.
    fn take_due(&mut self, id: usize) -> bool {
        self.actors[id].watch = Watch::begin(self.progress_of(id));
        self.actors[id].due.take().is_some_and(|due| due.reset)
    }

    fn hear(&mut self, event: Event) {
        match event {
            // Who asked may have gone.
            Event::Asked(answer) => drop(answer.try_send(self.status())),
            Event::Actor(event) | Event::Worker(_, WorkerEvent::Actor(event)) => self.hear_actor(event),
            Event::Worker(process, WorkerEvent::Hello(orders)) => self.hear_hello(process.index(), orders),
            Event::Worker(process, WorkerEvent::Exited(how)) => self.hear_exit(process.index(), &how),
            Event::Interrupt if self.stopping && self.asked => self.interrupted = true,
            Event::Interrupt => {
                self.asked = true;
                self.stop();
            }
        }
    }

    /// A worker is there: it is told what it hosts, and joins the others.
    fn hear_hello(&mut self, process: usize, orders: ipc_channel::ipc::IpcSender<WorkerCommand>) {
        let beginning = match self.beginning_of(process) {
            Ok(beginning) => beginning,
            Err(error) => {
                // Its end is heard like any other, but this is why.
                self.processes[process].fault = Some(format!("cannot begin: {error}"));
                return self.processes[process].worker.iter().for_each(Worker::kill);
            }
        };
        let mut first: Vec<WorkerCommand> = beginning.parts.into_iter().map(WorkerCommand::Host).collect();
        first.push(WorkerCommand::Start);
        if self.going_since.is_some() {
            first.push(WorkerCommand::Go);
        }
        if self.stopping {
            first.push(WorkerCommand::StopCameras);
        }
        let Some(worker) = &mut self.processes[process].worker else { return };
        if let Err(error) = worker.greet(orders, first) {
            worker.kill();
            self.processes[process].fault = Some(format!("cannot begin: {error}"));
            return;
        }
        beginning.others.into_iter().for_each(|(process, order)| self.tell(process.index(), order));
    }

    /// Events come from other processes: an actor that is not there is passed over.
    fn hear_actor(&mut self, event: ActorEvent) {
        let id = match &event {
            ActorEvent::Ready { actor }
            | ActorEvent::Finished { actor }
            | ActorEvent::Failed { actor, .. } => actor.index(),
        };
        if self.actors.get(id).is_none_or(|actor| actor.state.has_ended()) {
            return;
        }
        match event {
            ActorEvent::Ready { .. } => self.hear_ready(id),
            ActorEvent::Finished { .. } => self.set_state(id, State::Finished),
            ActorEvent::Failed { failure, .. } => self.fail(id, failure),
        }
    }

    fn hear_ready(&mut self, id: usize) {
        let going = self.going_since.is_some();
        if going && self.actors[id].state.is_between_instances() {
            self.rig.actor_counters[id].count_restart();
            let spec = &self.topology.actors()[id];
            log::warn!("{} `{}` is running again", spec.role.name(), spec.name);
        }
        self.actors[id].watch = Watch::begin(self.progress_of(id));
        self.set_state(id, if going { State::Running } else { State::Ready });
    }

    fn set_state(&mut self, id: usize, state: State) {
        let actor = &mut self.actors[id];
        if actor.state != state {
            *actor.changes.entry(state).or_default() += 1;
        }
        actor.state = state;
        self.rig.actor_counters[id].set_state(state as u32);
    }

    /// Gives an order to a process; one that is dead takes none.
    fn tell(&self, process: usize, order: WorkerCommand) {
        match (&self.processes[process].worker, &self.hosted, order) {
            (Some(worker), _, order) => worker.order(order),
            (None, Some(hosted), WorkerCommand::Actor(actor, command)) if process == 0 => {
                hosted.tell(actor, command);
            }
            (None, Some(hosted), WorkerCommand::Relink { link, announcements, absence }) if process == 0 => {
                hosted.relink(link, announcements, absence);
            }
            _ => {}
        }
    }

    fn tell_all(&self, order: impl Fn() -> WorkerCommand) {
        self.processes
            .iter()
            .filter_map(|process| process.worker.as_ref())
            .for_each(|worker| worker.order(order()));
    }

    fn go_when_ready(&mut self) {
        let waiting = |actor: &Actor| actor.state == State::Starting;
        if self.going_since.is_some() || self.stopping || self.actors.iter().any(waiting) {
            return;
        }
        for id in 0..self.actors.len() {
            if self.actors[id].state == State::Ready {
                self.actors[id].watch = Watch::begin(self.progress_of(id));
                self.set_state(id, State::Running);
            }
        }
        self.going_since = Some(Instant::now());
        self.tell_all(|| WorkerCommand::Go);
        self.hosted.iter().for_each(Hosted::go);
    }

    fn stop(&mut self) {
        if self.stopping {
            return;
        }
        self.stopping = true;
        self.progress.end();
        self.tell_all(|| WorkerCommand::StopCameras);
        self.hosted.iter().for_each(Hosted::stop_cameras);
        // What is between two lives: a camera stays there, a processor begins, to see what is in flight.
        for id in 0..self.actors.len() {
            if !self.actors[id].state.is_between_instances() {
                continue;
            }
            if self.is_camera(id) {
                self.give_up(id);
            } else if let Some(due) = &mut self.actors[id].due {
                due.at = Instant::now();
            }
        }
    }

    fn is_camera(&self, id: usize) -> bool {
        matches!(self.topology.actors()[id].role, Role::Camera { .. })
    }

    /// Whether no camera will produce another frameset, so that everything left has to end.
    fn draining(&self) -> bool {
        self.stopping
            || (0..self.actors.len()).all(|id| !self.is_camera(id) || self.actors[id].state.has_ended())
    }

    /// Framesets that are done with, and actors too: as long as this grows, the rig drains.
    fn settled(&self) -> u64 {
        let framesets = |counts: camrig_ipc::Counts| counts.delivered + counts.dropped.iter().sum::<u64>();
        let links: u64 = self.rig.links.iter().map(|link| framesets(link.link_state.counts())).sum();
        links + self.actors.iter().filter(|actor| actor.state.has_ended()).count() as u64
    }

    /// Every worker exits: by itself when all its actors have ended, by force otherwise.
    fn end_workers(&mut self, events: &Receiver<Event>) {
        for (process, worker) in self.workers() {
            let forced = self.actors_of(process).any(|id| self.actors[id].state != State::Finished);
            if forced || self.interrupted || !worker.is_there() {
                worker.kill();
            } else {
                worker.order(WorkerCommand::Exit);
            }
        }
        let mut deadline = Instant::now() + EXIT_TIMEOUT;
        while self.workers().next().is_some() {
            let left = deadline.saturating_duration_since(Instant::now());
            match events.recv_timeout(left) {
                Ok(Event::Worker(process, WorkerEvent::Exited(_))) => self.bury(process.index()),
                Ok(Event::Interrupt) => self.workers().for_each(|(_, worker)| worker.kill()),
                Ok(_) => {}
                Err(_) => {
                    self.workers().for_each(|(_, worker)| worker.kill());
                    deadline = Instant::now() + EXIT_TIMEOUT;
                }
            }
        }
        self.settle_links();
    }

    /// The workers that are alive, with their processes.
    fn workers(&self) -> impl Iterator<Item = (usize, &Worker)> {
        let processes = self.processes.iter().enumerate();
        processes.filter_map(|(process, alive)| Some((process, alive.worker.as_ref()?)))
    }

    fn actors_of(&self, process: usize) -> impl Iterator<Item = usize> {
        self.topology.actors_of(ProcessId::new(process)).map(ActorId::index)
    }
}

impl Process {
    /// Whether it takes orders.
    fn hears(&self) -> bool {
        self.worker.as_ref().is_some_and(Worker::is_there)
    }
}
