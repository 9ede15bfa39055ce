//! The decisions of the supervisor: from an event and the time to commands.
//!
//! It contains the state of every actor and process, restart policies, stall timeouts, and the order in which a rig
//! starts, stops and ends. It performs no I/O, starts no threads and reads no clock: `shell` generates the events and
//! executes the commands, in order. Any sequence of events can therefore be tested (`properties`).
//!
//! Events may be late, duplicated or from the wrong process: reports of an actor without an instance are ignored.
//!
//! * this module: the state of a run, and its course
//! * `messages`: events in, commands out
//! * `policy`: whether a failed actor is restarted
//! * `recovery`: failures, ends of processes, and their consequences
//! * `health`: actors that make no progress without failing
//! * `ending`: the end of all processes
//! * `changing`: actors that join and leave while the rig runs
//! * `leaving`: processes that have to end, and do not

mod changing;
mod ending;
mod health;
mod leaving;
mod messages;
mod notice;
mod policy;
#[cfg(test)]
mod properties;
mod recovery;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use camrig_frame::one_line;
use camrig_status::{ActorState, PROGRESS_CHARACTERS_MAX, WARNINGS_MAX, Warning};

use self::changing::Leave;
use self::health::Watch;
use self::leaving::Leaving;
pub(super) use self::messages::{Activity, Changing, Command, Event, Observation};
pub(super) use self::notice::Notice;
use self::policy::Recovery;
use super::RunLimits;
use crate::control::ActorCommand;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::ids::{ActorId, ProcessId};
use crate::report::rounded;
use crate::stock::attached;
use crate::topology::{ActorSpec, RestartPolicy, Role, Topology};

/// Maximum time between two observations.
const TICK: Duration = Duration::from_millis(100);

/// Maximum time between two observations while every actor runs or has ended, and nothing is due: each one wakes a
/// processor for a moment, which small rigs notice.
const STEADY_TICK: Duration = Duration::from_millis(250);

/// Minimum time between two observations while a restart is due: it may have to wait for others in its process, or
/// for a link to be settled.
const DUE_TICK: Duration = Duration::from_millis(5);

/// Timeout of a rig without running cameras: if nothing progresses for this time, and no processor is in a call, some
/// actor will never end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// Timeout of an actor that another program runs, which may be stopped or wait for its user: if nothing progresses for this
/// time, and all others have ended or it has to leave, it is given up; and so is its process, after the same time again.
const GUEST_TIMEOUT: Duration = Duration::from_secs(1);

/// The static properties of a rig on which decisions depend.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) actors: Vec<ActorSetup>,
    /// The names of the processes, the supervisor's own first.
    pub(super) processes: Vec<String>,
    pub(super) limits: RunLimits,
}

/// The static properties of an actor.
#[derive(Clone, Debug)]
pub(super) struct ActorSetup {
    pub(super) name: String,
    pub(super) is_camera: bool,
    /// Whether it is a camera that passes on framesets of another host.
    pub(super) relays: bool,
    /// Whether it runs in another program, which may end at any time: the rig continues without it.
    pub(super) is_guest: bool,
    pub(super) process: ProcessId,
    /// The thread that it shares with other actors of its process; `None` for one of its own.
    pub(super) thread: Option<String>,
    pub(super) restart: RestartPolicy,
    /// `None`: it never counts as stalled.
    pub(super) stall_timeout: Option<Duration>,
    /// `None`: it may take any time to be ready.
    pub(super) start_timeout: Option<Duration>,
}

impl ActorSetup {
    pub(super) fn of(spec: &ActorSpec) -> Self {
        Self {
            name: spec.name.clone(),
            is_camera: matches!(spec.role, Role::Camera { .. }),
            relays: spec.relays(),
            is_guest: matches!(&spec.role, Role::Processor { kind } if kind == attached::KIND),
            process: spec.process,
            thread: spec.thread.clone(),
            restart: spec.restart,
            stall_timeout: spec.stall_timeout,
            start_timeout: spec.start_timeout,
        }
    }
}

impl Setup {
    pub(super) fn new(topology: &Topology, limits: RunLimits) -> Self {
        let actors = topology.actors().iter().map(ActorSetup::of);
        Self { actors: actors.collect(), processes: topology.processes().to_vec(), limits }
    }
}

/// Phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Some actors have not ended.
    Active,
    /// Processes end.
    Ending,
    /// All worker processes have ended.
    Over,
}

/// The state of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProcessState {
    Down,
    /// It was started and does not accept commands yet.
    Starting,
    Up,
    /// It has no actors any more, and obeys a command to end.
    Exiting,
}

/// The changing state of an actor.
#[allow(clippy::struct_excessive_bools)] // Each is a fact of its own.
#[derive(Debug)]
pub(super) struct Actor {
    pub(super) state: ActorState,
    /// The number of changes to each state.
    pub(super) changes: BTreeMap<ActorState, u64>,
    /// Its most recent failures.
    pub(super) errors: VecDeque<String>,
    /// What it says that it is doing.
    pub(super) progress: String,
    /// The number of its warnings, and the newest of them.
    pub(super) warned: u64,
    pub(super) warnings: VecDeque<Warning>,
    /// Whether its last failure was a missing device.
    unavailable: bool,
    recovery: Recovery,
    watch: Watch,
    /// Start of its next instance; `None` while it has one.
    due: Option<Due>,
    /// Whether the running process has the actor.
    hosted: bool,
    /// The actor that has to end before this one begins.
    after: Option<ActorId>,
    /// Whether it joined a running rig and has not been ready.
    joins: bool,
    /// Whether it is a camera whose streams were stopped on request, also between two instances.
    is_paused: bool,
    /// `None` unless a change removes or replaces it.
    leave: Option<Leave>,
}

/// The pending start of an actor's next instance.
#[derive(Clone, Copy, Debug)]
struct Due {
    at: Instant,
    /// If true, its device is reset first.
    reset: bool,
}

/// The supervisor's state.
#[allow(clippy::struct_excessive_bools)] // As of an actor.
#[derive(Debug)]
pub(super) struct Core {
    setup: Setup,
    actors: Vec<Actor>,
    processes: Vec<ProcessState>,
    /// The processes that have to end.
    leaving: BTreeMap<ProcessId, Leaving>,
    observed: Observation,
    phase: Phase,
    /// Time of the current event.
    now: Instant,
    begun_at: Instant,
    going_since: Option<Instant>,
    /// Time at which the last actor ended.
    ended_at: Option<Instant>,
    stopping: bool,
    /// Whether cameras that relay go on although it stops, until their sources end.
    drains: bool,
    /// Whether the end was requested.
    asked: bool,
    interrupted: bool,
    /// Number of settled framesets, and the time of its last increase.
    drained: (u64, Instant),
    commands: Vec<Command>,
}

impl Core {
    /// Creates the state of a rig that has not been started.
    pub(super) fn new(setup: Setup, now: Instant) -> Self {
        let actor = |setup: &ActorSetup| Actor {
            state: ActorState::default(),
            changes: BTreeMap::new(),
            errors: VecDeque::new(),
            progress: String::new(),
            warned: 0,
            warnings: VecDeque::new(),
            unavailable: false,
            recovery: Recovery::new(setup.restart, setup.is_camera),
            watch: Watch::begin(now),
            due: None,
            hosted: false,
            after: None,
            joins: false,
            is_paused: false,
            leave: None,
        };
        Self {
            actors: setup.actors.iter().map(actor).collect(),
            processes: vec![ProcessState::Down; setup.processes.len()],
            leaving: BTreeMap::new(),
            observed: Observation {
                actors: vec![Activity::default(); setup.actors.len()],
                ..Observation::default()
            },
            phase: Phase::Active,
            now,
            begun_at: now,
            going_since: None,
            ended_at: None,
            stopping: false,
            drains: false,
            asked: setup.limits.framesets.is_some(),
            interrupted: false,
            drained: (0, now),
            commands: Vec::new(),
            setup,
        }
    }

    /// Starts every process, and the actors in the supervisor's process.
    pub(super) fn begin(&mut self, now: Instant) -> Vec<Command> {
        (self.now, self.begun_at) = (now, now);
        for process in (1..self.processes.len()).map(ProcessId::new) {
            self.start_process(process);
        }
        self.begin_actors(ProcessId::MAIN);
        std::mem::take(&mut self.commands)
    }

    /// Handles an event at the time `now`, and returns the resulting commands.
    pub(super) fn on(&mut self, event: Event, now: Instant) -> Vec<Command> {
        self.now = now;
        match self.phase {
            Phase::Active => self.on_active(event),
            Phase::Ending => self.on_ending(event),
            Phase::Over => {}
        }
        if self.phase == Phase::Active {
            self.end_empty_processes();
        }
        if self.phase == Phase::Active && (self.interrupted || self.actors.iter().all(Actor::has_ended)) {
            self.end_processes();
        }
        std::mem::take(&mut self.commands)
    }

    fn on_active(&mut self, event: Event) {
        match event {
            Event::Observed(observation) => self.on_observed(observation),
            Event::Ready(process, id) => {
                if self.has_instance(process, id) && is_beginning(self.actor(id).state) {
                    self.on_ready(id);
                }
            }
            Event::Finished(process, id) => {
                if self.has_instance(process, id) {
                    self.set_state(id, ActorState::Finished);
                }
            }
            Event::Failed(process, id, failure) => {
                if self.has_instance(process, id) {
                    // A worker of another language may not keep to one line.
                    self.fail(id, Failure { message: one_line(failure.message), ..failure });
                }
            }
            Event::Warned(process, id, message) => {
                if self.has_instance(process, id) {
                    self.warn(id, one_line(message));
                }
            }
            Event::Progress(process, id, text) => {
                if self.has_instance(process, id) {
                    self.actor_mut(id).progress = text.chars().take(PROGRESS_CHARACTERS_MAX).collect();
                }
            }
            Event::Connected(process) => {
                if self.process(process) == Some(ProcessState::Starting) {
                    self.begin_actors(process);
                }
            }
            Event::NotStarted(process, error) => {
                if self.process(process) == Some(ProcessState::Starting) {
                    self.processes[process.index()] = ProcessState::Down;
                    self.leaving.remove(&process);
                    self.fail_process(process, &format!("cannot be started: {error}"), false);
                }
            }
            Event::Exited(process, how) => self.on_exited(process, &how),
            Event::Closed(process) => self.expect_end(process),
            Event::Unreaped(process, unreaped) => self.on_unreaped(process, unreaped),
            Event::Paused(process, id, paused) => {
                if self.has_instance(process, id) {
                    self.on_paused(id, paused);
                }
            }
            Event::Unpaused(id) => self.actor_mut(id).is_paused = false,
            Event::Change(changing) => self.change(changing),
            Event::Drain => {
                self.asked = true;
                self.drain();
            }
            Event::Interrupt if self.stopping && self.asked => self.interrupted = true,
            Event::Stop | Event::Interrupt => self.stop_as_asked(),
            Event::Abandon { started } => {
                for process in (1..self.processes.len()).map(ProcessId::new) {
                    if !started.contains(&process) {
                        self.processes[process.index()] = ProcessState::Down;
                    }
                }
                self.end_processes();
            }
        }
    }

    fn on_observed(&mut self, observation: Observation) {
        self.observed = observation;
        self.observed.actors.resize(self.actors.len(), Activity::default());
        self.go_when_ready();
        self.check_actors();
        self.look_at_leaves();
        self.begin_due_instances();
        let going = self.going_since.map(|since| self.now.saturating_duration_since(since));
        if self.setup.limits.time.is_some_and(|limit| going.is_some_and(|going| going >= limit)) {
            self.stop_as_asked();
        }
        self.look_at_drain();
        self.look_at_leaving();
    }

    /// Returns the maximum time until the next observation.
    pub(super) fn pause(&self, now: Instant) -> Duration {
        let restarts = self.actors.iter().filter_map(|actor| Some(actor.due?.at));
        // A limit beyond the end of time is none.
        let end = self.going_since.zip(self.setup.limits.time);
        let end = end.and_then(|(since, limit)| since.checked_add(limit));
        let next = restarts.chain(end.filter(|_| !self.stopping)).min();
        let tick = if self.is_steady() { STEADY_TICK } else { TICK };
        next.map_or(tick, |next| next.saturating_duration_since(now).clamp(DUE_TICK, tick))
    }

    /// Returns whether every actor runs or has ended, and nothing ends or waits.
    fn is_steady(&self) -> bool {
        let is_well =
            |actor: &Actor| (actor.has_ended() || actor.state == ActorState::Running) && !actor.leaves();
        self.is_going()
            && !self.is_stopping()
            && self.leaving.is_empty()
            && self.observed.unsettled.is_empty()
            && self.actors.iter().all(is_well)
    }

    /// Returns whether all worker processes have ended, and nothing is left to do.
    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Returns whether the rig is stopping, or its actors have ended.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping || self.phase != Phase::Active
    }

    /// Returns whether framesets flow: every actor was ready.
    pub(super) fn is_going(&self) -> bool {
        self.going_since.is_some()
    }

    /// Returns whether every camera stops, also those that relay.
    pub(super) fn stops_cameras(&self) -> bool {
        self.stopping && !self.drains
    }

    /// Returns the seconds from the time at which every actor was ready to the end of the last one, or to the
    /// last event.
    pub(super) fn seconds(&self) -> f64 {
        let end = self.ended_at.unwrap_or(self.now);
        self.going_since.map_or(0.0, |since| end.saturating_duration_since(since).as_secs_f64())
    }

    pub(super) fn setup(&self) -> &Setup {
        &self.setup
    }

    pub(super) fn actor(&self, id: ActorId) -> &Actor {
        &self.actors[id.index()]
    }

    /// Returns whether a camera that has not ended was paused, also between two instances.
    pub(super) fn is_paused(&self, id: ActorId) -> bool {
        self.actor(id).is_paused && !self.actor(id).has_ended()
    }

    /// Returns whether a process accepts commands.
    pub(super) fn is_up(&self, process: ProcessId) -> bool {
        self.process(process) == Some(ProcessState::Up)
    }

    /// Returns the reason for the end of the run, as far as known.
    pub(super) fn exit(&self) -> Exit {
        let counts = |id: &ActorId| !self.actor(*id).leaves() && !self.is_guest(*id);
        let actors = || self.ids().filter(counts).map(|id| self.actor(id));
        let failed = || actors().filter(|actor| actor.state == ActorState::Failed);
        match (
            self.interrupted,
            failed().next().is_some(),
            failed().any(|actor| actor.unavailable),
            self.asked,
        ) {
            (true, ..) => Exit::Interrupted,
            (_, true, true, _) => Exit::Unavailable,
            (_, true, false, _) => Exit::Failed,
            (.., true) => Exit::Asked,
            (.., false) => Exit::Inputs,
        }
    }

    fn process(&self, process: ProcessId) -> Option<ProcessState> {
        self.processes.get(process.index()).copied()
    }

    /// Returns whether an actor currently has an instance in this process: reports of others are late or wrong.
    fn has_instance(&self, process: ProcessId, id: ActorId) -> bool {
        let Some(actor) = self.actors.get(id.index()) else { return false };
        self.process_of(id) == process && self.is_up(process) && !actor.has_ended() && actor.due.is_none()
    }

    fn start_process(&mut self, process: ProcessId) {
        self.processes[process.index()] = ProcessState::Starting;
        self.commands.push(Command::StartProcess(process));
    }

    /// Sends a process the actors that have not ended.
    fn begin_actors(&mut self, process: ProcessId) {
        self.processes[process.index()] = ProcessState::Up;
        let remains = |id: &ActorId| !self.actor(*id).has_ended() && !self.is_waiting(*id);
        let remaining: Vec<_> = self.actors_of(process).filter(remains).collect();
        let actors = remaining.into_iter().map(|id| (id, self.take_due(id))).collect();
        self.commands.push(Command::Begin {
            process,
            actors,
            go: self.going_since.is_some(),
            stop_cameras: self.stops_cameras(),
        });
    }

    /// Notes the start of an instance of an actor; returns whether its device is reset first.
    fn take_due(&mut self, id: ActorId) -> bool {
        let now = self.now;
        let actor = self.actor_mut(id);
        actor.watch = Watch::begin(now);
        actor.hosted = true;
        actor.due.take().is_some_and(|due| due.reset)
    }

    fn on_ready(&mut self, id: ActorId) {
        let going = self.going_since.is_some();
        if going && self.actor(id).state.is_between_instances() {
            self.commands.push(Command::CountRestart(id));
            self.log(Notice::RunsAgain(id));
        }
        self.actor_mut(id).watch = Watch::begin(self.now);
        self.actor_mut(id).joins = false;
        self.set_state(id, if going { ActorState::Running } else { ActorState::Ready });
        if going && self.actor(id).is_paused {
            self.commands.push(Command::Pause(id));
        }
    }

    /// Notes that the streams of a camera were stopped or started: without streams it is not stalled.
    fn on_paused(&mut self, id: ActorId, paused: bool) {
        let now = self.now;
        let actor = self.actor_mut(id);
        actor.is_paused = paused;
        let (from, to) = if paused {
            (&[ActorState::Running, ActorState::Stalled][..], ActorState::Paused)
        } else {
            (&[ActorState::Paused][..], ActorState::Running)
        };
        if from.contains(&actor.state) {
            actor.watch = Watch::begin(now);
            self.set_state(id, to);
        }
    }

    /// Notes a warning of a processor.
    fn warn(&mut self, id: ActorId, message: String) {
        let seconds = rounded(self.seconds());
        self.log(Notice::Warned { actor: id, message: message.clone() });
        let actor = self.actor_mut(id);
        actor.warned += 1;
        actor.warnings.push_back(Warning { seconds, message });
        if actor.warnings.len() > WARNINGS_MAX {
            actor.warnings.pop_front();
        }
    }

    fn go_when_ready(&mut self) {
        let waiting = |actor: &Actor| actor.state == ActorState::Starting;
        if self.going_since.is_some() || self.stopping || self.actors.iter().any(waiting) {
            return;
        }
        for id in self.ids() {
            if self.actor(id).state == ActorState::Ready {
                self.actor_mut(id).watch = Watch::begin(self.now);
                self.set_state(id, ActorState::Running);
            }
        }
        self.going_since = Some(self.now);
        self.commands.push(Command::Go);
    }

    fn stop_as_asked(&mut self) {
        self.asked = true;
        self.stop();
    }

    /// Stops the cameras; everything else ends when it has no more input.
    fn stop(&mut self) {
        if self.stops_cameras() {
            return;
        }
        (self.stopping, self.drains) = (true, false);
        self.commands.push(Command::StopCameras);
        self.settle_actors_without_instance();
    }

    /// Stops the cameras of this host; those that relay end when their sources do.
    fn drain(&mut self) {
        if self.stopping {
            return;
        }
        self.drains = self.going_since.is_some() && self.ids().any(|id| self.is_relaying(id));
        if !self.drains {
            return self.stop();
        }
        self.stopping = true;
        for id in self.ids() {
            if self.is_camera(id) && self.has_live_instance(id) && !self.is_relaying(id) {
                self.commands.push(Command::Actor(id, ActorCommand::Finish));
            }
        }
        self.settle_actors_without_instance();
    }

    /// Returns whether a camera has an instance that passes on framesets of another host.
    fn is_relaying(&self, id: ActorId) -> bool {
        self.setup.actors[id.index()].relays && self.has_live_instance(id)
    }

    fn has_live_instance(&self, id: ActorId) -> bool {
        let actor = self.actor(id);
        actor.hosted && actor.due.is_none() && !actor.has_ended()
    }

    fn settle_actors_without_instance(&mut self) {
        // Between two instances: a camera ends, a processor is restarted to process the framesets in flight.
        for id in self.ids() {
            let now = self.now;
            if self.is_camera(id) && !self.actor(id).hosted && self.actor(id).due.is_some() {
                // It has not begun, whether it replaces another one or is added.
                self.dismiss(id);
                continue;
            }
            if !self.actor(id).state.is_between_instances() {
                continue;
            }
            if self.is_camera(id) {
                self.give_up(id);
            } else if let Some(due) = &mut self.actor_mut(id).due {
                due.at = now;
            }
        }
    }

    /// Gives up the remaining actors of a stopping rig that makes no progress.
    fn look_at_drain(&mut self) {
        let ended = self.actors.iter().filter(|actor| actor.has_ended()).count() as u64;
        let settled = self.observed.settled_framesets + ended;
        let only_guests = self.ids().all(|id| self.actor(id).has_ended() || self.is_guest(id));
        let timeout = if only_guests { GUEST_TIMEOUT } else { DRAIN_TIMEOUT };
        if !self.is_draining() || settled != self.drained.0 || self.some_are_in_a_call() {
            self.drained = (settled, self.now);
        } else if self.now.saturating_duration_since(self.drained.1) >= timeout {
            self.give_up_on_the_rest(timeout);
        }
    }

    /// Returns whether no camera will produce another frameset, so that all remaining actors must end.
    fn is_draining(&self) -> bool {
        self.stops_cameras() || self.ids().all(|id| !self.is_camera(id) || self.actor(id).has_ended())
    }

    fn set_state(&mut self, id: ActorId, state: ActorState) {
        let actor = self.actor_mut(id);
        if actor.state != state {
            *actor.changes.entry(state).or_default() += 1;
        }
        actor.state = state;
        self.commands.push(Command::SetState(id, state));
    }

    fn log(&mut self, notice: Notice) {
        self.commands.push(Command::Log(notice));
    }

    fn actor_mut(&mut self, id: ActorId) -> &mut Actor {
        &mut self.actors[id.index()]
    }

    fn is_camera(&self, id: ActorId) -> bool {
        self.setup.actors[id.index()].is_camera
    }

    fn is_guest(&self, id: ActorId) -> bool {
        self.setup.actors[id.index()].is_guest
    }

    fn process_of(&self, id: ActorId) -> ProcessId {
        self.setup.actors[id.index()].process
    }

    fn ids(&self) -> impl Iterator<Item = ActorId> + use<> {
        (0..self.actors.len()).map(ActorId::new)
    }

    fn actors_of(&self, process: ProcessId) -> impl Iterator<Item = ActorId> {
        self.ids().filter(move |&id| self.process_of(id) == process)
    }
}

/// Returns whether an actor has an instance that is not ready, or waits for one.
fn is_beginning(state: ActorState) -> bool {
    state == ActorState::Starting || state.is_between_instances()
}

impl Actor {
    pub(super) fn has_ended(&self) -> bool {
        self.state.has_ended()
    }
}
