//! Property tests of the core with random sequences of faults, restarts, stops, late and duplicate reports.
//!
//! A model of processes and actors executes every command, and checks that it is valid: no actor has two instances, an
//! actor that was given up gets no commands, restarts stay below their limit, cameras stop before processes end. At
//! the end, depending on the test, the run is stopped, or every camera reaches its maximum number of framesets; and the
//! model either responds to commands, or only ends when killed, or its processes do not even end then. The run must end
//! in each case, with the correct reason.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::control::ActorCommand;
use crate::failure::Failure;
use crate::supervisor::core::policy::Decision;
use crate::workers::Unreaped;

/// Number of observations within which every run must end, in steps of [`STEP`].
const OBSERVATIONS_MAX: usize = 2_000;

/// Time between two observations at the end.
const STEP: Duration = Duration::from_millis(500);

/// Maximum numbers of actors and processes of a rig in the model.
const ACTORS_MAX: usize = 30;
const PROCESSES_MAX: usize = 6;

/// Kinds of actions: an actor leaves, is replaced, or joins; the rig is stopped.
const LEAVE: u8 = 21;
const JOIN: u8 = 23;
const PAUSE: u8 = 24;
const STOP: u8 = 25;

/// An actor's instance in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Instance {
    None,
    Beginning,
    Ready,
}

/// A process in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    Down,
    Started,
    Connected,
}

/// An event, with an index that is taken modulo the number of candidates.
#[derive(Clone, Copy, Debug)]
struct Act {
    kind: u8,
    place: usize,
    flag: bool,
    millis: u64,
}

#[allow(clippy::struct_excessive_bools)] // Each is a fact of its own.
struct World {
    core: Core,
    now: Instant,
    processes: Vec<Process>,
    /// The processes that end: they were killed, or obey a command.
    killed: BTreeSet<ProcessId>,
    /// The ones that were killed.
    forced: BTreeSet<ProcessId>,
    /// The processes whose inspection was not answered.
    inspected: BTreeSet<ProcessId>,
    instances: Vec<Instance>,
    states: Vec<ActorState>,
    /// Times at which restarts of each actor were decided.
    restarts: Vec<Vec<Instant>>,
    given_up: Vec<bool>,
    progress: Vec<u64>,
    went: bool,
    went_at: Option<Instant>,
    stopped: bool,
    asked: bool,
    interrupted: bool,
    ended: bool,
}

impl World {
    fn new(setup: Setup) -> Self {
        let (now, actors, processes) = (Instant::now(), setup.actors.len(), setup.processes.len());
        // Whoever limits a run has asked for its end.
        let asked = setup.limits.framesets.is_some();
        let mut world = Self {
            core: Core::new(setup, now),
            now,
            processes: vec![Process::Down; processes],
            killed: BTreeSet::new(),
            forced: BTreeSet::new(),
            inspected: BTreeSet::new(),
            instances: vec![Instance::None; actors],
            states: vec![ActorState::Starting; actors],
            restarts: vec![Vec::new(); actors],
            given_up: vec![false; actors],
            progress: vec![0; actors],
            went: false,
            went_at: None,
            stopped: false,
            asked,
            interrupted: false,
            ended: false,
        };
        let commands = world.core.begin(now);
        world.carry_out(commands);
        world
    }

    fn setup(&self, id: ActorId) -> &ActorSetup {
        &self.core.setup.actors[id.index()]
    }

    fn all_have_ended(&self) -> bool {
        self.states.iter().all(|state| state.has_ended())
    }

    fn all_cameras_have_ended(&self) -> bool {
        let mut actors = self.core.setup.actors.iter().zip(&self.states);
        actors.all(|(setup, state)| !setup.is_camera || state.has_ended())
    }

    /// Sends the core an event that is true in this model.
    fn handle(&mut self, event: Event) {
        let active = !self.ended && !self.all_have_ended();
        match event {
            Event::Interrupt if active && self.asked && self.core.stopping => self.interrupted = true,
            Event::Stop | Event::Drain | Event::Interrupt if active => self.asked = true,
            _ => {}
        }
        let commands = self.core.on(event, self.now);
        self.carry_out(commands);
        // The time of the rig is over: that counts as a stop.
        if self.core.asked && !self.asked {
            let (time, went_at) = (self.core.setup.limits.time, self.went_at);
            let is_over = time.zip(went_at).is_some_and(|(time, at)| self.now.duration_since(at) >= time);
            assert!(is_over, "it stops within its time");
            self.asked = true;
        }
    }

    /// Sends the core an event that is late, duplicated or from the wrong process.
    fn mislead(&mut self, event: Event) {
        let text = format!("{event:?}");
        assert_eq!(self.core.on(event, self.now), [], "after {text}");
    }

    /// Lets every actor that is ready process one frameset. A camera ends with its last one.
    fn flow(&mut self) {
        for id in (0..self.instances.len()).map(ActorId::new) {
            if self.instances[id.index()] != Instance::Ready {
                continue;
            }
            self.progress[id.index()] += 1;
            let is_limited = self.setup(id).is_camera && !self.setup(id).relays;
            let most = self.core.setup.limits.framesets.filter(|_| is_limited);
            if !self.ended && most.is_some_and(|most| self.progress[id.index()] >= most) {
                self.report(id, Event::Finished, Instance::None);
            }
        }
    }

    fn observe(&mut self, called_for: Option<Duration>, unsettled: BTreeSet<ProcessId>) {
        let activity =
            |&progress: &u64| Activity { progress, called_for, is_blocked: false, awaits_streams: false };
        let actors = self.progress.iter().map(activity).collect();
        let settled_framesets = self.progress.iter().sum();
        self.handle(Event::Observed(Observation { actors, settled_framesets, unsettled }));
    }

    fn carry_out(&mut self, commands: Vec<Command>) {
        for command in commands {
            self.carry_out_one(command);
        }
    }

    fn carry_out_one(&mut self, command: Command) {
        match command {
            Command::StartProcess(process) => {
                assert_eq!(self.processes[process.index()], Process::Down, "{process:?} is started twice");
                assert!(process != ProcessId::MAIN && !self.ended, "{process:?} is started");
                self.processes[process.index()] = Process::Started;
            }
            Command::Begin { process, actors, go, stop_cameras } => {
                assert_eq!((go, stop_cameras), (self.went, self.stopped));
                self.processes[process.index()] = Process::Connected;
                for (id, reset) in actors {
                    self.begin(id, process, reset);
                }
            }
            Command::Host { process, actors } => {
                assert!(self.went && !actors.is_empty());
                for actor in actors {
                    self.begin(actor, process, false);
                }
            }
            Command::Go => {
                assert!(!self.went && !self.stopped, "goes twice, or after the stop");
                assert!(
                    !self.states.contains(&ActorState::Starting) && !self.states.contains(&ActorState::Ready)
                );
                (self.went, self.went_at) = (true, Some(self.now));
            }
            Command::StopCameras => {
                assert!(!self.stopped, "stops twice");
                self.stopped = true;
            }
            Command::Actor(id, ActorCommand::Restart { reset }) => {
                self.begin(id, self.setup(id).process, reset);
            }
            Command::Actor(id, command) => {
                self.check_alive(id);
                if command == ActorCommand::GiveUp {
                    self.give_up(id);
                }
            }
            Command::Pause(id) => {
                self.check_alive(id);
                assert!(self.setup(id).is_camera);
            }
            Command::EndLinks(id) => self.give_up(id),
            Command::Release(process) => {
                assert_eq!(self.processes[process.index()], Process::Down);
            }
            Command::Exit(process) => {
                let mut actors = self.core.actors_of(process);
                if self.ended {
                    assert!(
                        actors.all(|id| self.states[id.index()] == ActorState::Finished),
                        "{process:?} exits"
                    );
                } else {
                    // Changes have left it without actors.
                    let has_left = |id| self.core.actor(id).leaves() && self.states[id.index()].has_ended();
                    assert!(actors.all(has_left), "{process:?} exits");
                }
                drop(actors);
                // It obeys the command.
                self.killed.insert(process);
            }
            Command::Kill(process) => {
                assert_ne!(self.processes[process.index()], Process::Down);
                self.killed.insert(process);
                self.forced.insert(process);
            }
            Command::Inspect(process) => {
                assert_ne!(self.processes[process.index()], Process::Down);
                self.inspected.insert(process);
            }
            Command::SetState(id, state) => self.set_state(id, state),
            Command::CountRestart(id) => assert!(self.states[id.index()].is_between_instances()),
            Command::MeasureUsage => {
                assert!(!self.ended && (self.all_have_ended() || self.interrupted), "ends too early");
                self.ended = true;
            }
            Command::Log(Notice::Failed { decision: Decision::Restart { reset, .. }, actor, .. }) => {
                assert!(!reset || self.setup(actor).is_camera);
            }
            Command::Log(notice) => assert!(!notice.text(&self.core.setup).is_empty()),
        }
    }

    fn begin(&mut self, id: ActorId, process: ProcessId, reset: bool) {
        self.check_alive(id);
        assert_eq!(self.setup(id).process, process);
        assert_eq!(self.processes[process.index()], Process::Connected);
        assert_eq!(self.instances[id.index()], Instance::None, "{id:?} has two instances");
        assert!(!reset || self.setup(id).is_camera);
        self.instances[id.index()] = Instance::Beginning;
    }

    fn check_alive(&self, id: ActorId) {
        assert!(!self.given_up[id.index()], "{id:?} was given up and gets a command");
        assert_ne!(self.states[id.index()], ActorState::Finished);
    }

    fn give_up(&mut self, id: ActorId) {
        self.given_up[id.index()] = true;
        self.instances[id.index()] = Instance::None;
    }

    fn set_state(&mut self, id: ActorId, state: ActorState) {
        assert!(!self.states[id.index()].has_ended(), "{id:?} has ended");
        if state == ActorState::Restarting {
            let (window, max) = (self.setup(id).restart.window, self.setup(id).restart.max);
            let restarts = &mut self.restarts[id.index()];
            restarts.push(self.now);
            let recent = restarts.iter().filter(|&&at| self.now.duration_since(at) < window).count();
            assert!(recent <= max, "{id:?} is restarted {recent} times");
        }
        self.states[id.index()] = state;
    }

    /// Ends a process with its actors.
    fn die(&mut self, process: ProcessId) {
        self.set_down(process);
        self.handle(Event::Exited(process, "was killed".to_owned()));
    }

    fn set_down(&mut self, process: ProcessId) {
        self.processes[process.index()] = Process::Down;
        self.killed.remove(&process);
        self.forced.remove(&process);
        self.inspected.remove(&process);
        for id in self.core.actors_of(process).collect::<Vec<_>>() {
            self.instances[id.index()] = Instance::None;
        }
    }

    /// Answers every inspection: the processes have ended, or do not end.
    fn answer_inspections(&mut self, has_ended: bool) {
        for process in std::mem::take(&mut self.inspected) {
            let released = has_ended || self.ended && self.forced.contains(&process);
            if released {
                self.set_down(process);
            }
            self.handle(Event::Unreaped(process, Unreaped { has_ended, reason: "a debugger".to_owned() }));
        }
    }

    /// Sends a report of an actor: a true one if its instance can send it, otherwise a misleading one.
    fn report(&mut self, id: ActorId, event: impl Fn(ProcessId, ActorId) -> Event, after: Instance) {
        let process = self.setup(id).process;
        let instance = self.instances[id.index()];
        let is_ready = after == Instance::Ready;
        let possible = !self.ended
            && match instance {
                Instance::None => false,
                Instance::Beginning => true,
                Instance::Ready => !is_ready,
            };
        if possible {
            self.instances[id.index()] = after;
            self.handle(event(process, id));
        } else {
            self.mislead(event(process, id));
        }
    }

    /// Changes the rig: an actor leaves, is replaced in its process or another one, or joins.
    fn change(&mut self, id: ActorId, process: ProcessId, Act { kind, flag, .. }: Act) {
        if !self.core.accepts_changes() {
            return self.mislead(Event::Change(Changing { leaves: vec![id], ..Changing::default() }));
        }
        let mut changing = Changing::default();
        // A rig keeps some actor that does not leave.
        let stays = |id: &ActorId| !self.core.actor(*id).leaves();
        let staying = self.core.ids().filter(stays).count();
        let leaves = stays(&id) && (kind != LEAVE || staying > 1);
        if kind != JOIN && leaves {
            changing.leaves.push(id);
        }
        if kind != LEAVE && self.instances.len() < ACTORS_MAX {
            let setup = ActorSetup { process, ..self.setup(id).clone() };
            changing.joins.push((setup, (kind != JOIN && leaves).then_some(id)));
        }
        if flag && kind == JOIN && self.processes.len() < PROCESSES_MAX {
            changing.processes.push("new".to_owned());
            self.processes.push(Process::Down);
        }
        for _ in &changing.joins {
            self.instances.push(Instance::None);
            self.states.push(ActorState::Starting);
            self.restarts.push(Vec::new());
            self.given_up.push(false);
            self.progress.push(0);
        }
        self.handle(Event::Change(changing));
    }

    fn act(&mut self, Act { kind, place, flag, millis }: Act) {
        let id = ActorId::new(place % self.instances.len());
        let process = ProcessId::new(place % self.processes.len());
        let failure = Failure { unavailable: flag, ..Failure::new("broken") };
        match kind {
            0..=4 => {
                self.now += Duration::from_millis(millis);
                if flag {
                    self.flow();
                }
                let unsettled = if flag { BTreeSet::from([process]) } else { BTreeSet::new() };
                self.observe((kind == 0).then_some(Duration::from_secs(60)), unsettled);
            }
            5..=8 => self.report(id, Event::Ready, Instance::Ready),
            9 => self.report(id, Event::Finished, Instance::None),
            10 | 11 => {
                self.report(id, |process, id| Event::Failed(process, id, failure.clone()), Instance::None);
            }
            12..=14 => match self.processes[process.index()] {
                Process::Started => self.handle(Event::Connected(process)),
                _ => self.mislead(Event::Connected(process)),
            },
            15 => match self.processes[process.index()] {
                Process::Started if flag => {
                    self.set_down(process);
                    self.handle(Event::NotStarted(process, "no memory".to_owned()));
                }
                Process::Started => {}
                _ => self.mislead(Event::NotStarted(process, "no memory".to_owned())),
            },
            16 => match self.processes[process.index()] {
                Process::Down => self.mislead(Event::Exited(process, "was killed".to_owned())),
                _ if process == ProcessId::MAIN => {
                    self.mislead(Event::Exited(process, "was killed".to_owned()));
                }
                _ => self.die(process),
            },
            17 => {
                let mut others = (0..self.processes.len()).map(ProcessId::new);
                if let Some(wrong) = others.find(|&other| other != self.setup(id).process) {
                    self.mislead(Event::Finished(wrong, id));
                }
                let nobody = ActorId::new(self.instances.len());
                self.mislead(Event::Ready(process, nobody));
            }
            18 => self.killed.clone().into_iter().for_each(|process| self.die(process)),
            19 => self.answer_inspections(flag),
            20 if process != ProcessId::MAIN => self.handle(Event::Closed(process)),
            20 => self.mislead(Event::Closed(process)),
            LEAVE..=JOIN => self.change(id, process, Act { kind, place, flag, millis }),
            PAUSE => {
                let event = Event::Paused(self.setup(id).process, id, flag);
                let may_pause = self.setup(id).is_camera && !self.ended;
                match self.instances[id.index()] {
                    Instance::Ready if may_pause => self.handle(event),
                    Instance::None => self.mislead(event),
                    _ => {}
                }
            }
            STOP => self.handle(if flag { Event::Drain } else { Event::Stop }),
            _ => self.handle(Event::Interrupt),
        }
    }

    /// Ends the run: it is stopped, or its cameras deliver their last framesets. The model sends the expected reports, or
    /// nothing at all; its killed processes end, or do not.
    fn end(&mut self, is_stopped: bool, answers: bool, are_reaped: bool) {
        if is_stopped {
            self.handle(Event::Stop);
        }
        for _ in 0..OBSERVATIONS_MAX {
            if self.core.is_over() {
                return self.check_end();
            }
            self.now += STEP;
            if !is_stopped {
                self.flow();
            }
            self.observe(None, BTreeSet::new());
            if are_reaped {
                self.killed.clone().into_iter().for_each(|process| self.die(process));
            } else {
                self.answer_inspections(false);
            }
            for process in (0..self.processes.len()).map(ProcessId::new).filter(|_| answers) {
                if self.processes[process.index()] == Process::Started {
                    self.handle(Event::Connected(process));
                }
            }
            for id in (0..self.instances.len()).map(ActorId::new).filter(|_| answers) {
                // The source of a camera that relays has ended.
                let setup = self.setup(id);
                let may_end = is_stopped || setup.relays || !setup.is_camera && self.all_cameras_have_ended();
                match self.instances[id.index()] {
                    Instance::Beginning if !self.ended && !is_stopped => {
                        self.report(id, Event::Ready, Instance::Ready);
                    }
                    Instance::Beginning | Instance::Ready if !self.ended && may_end => {
                        self.report(id, Event::Finished, Instance::None);
                    }
                    _ => {}
                }
            }
        }
        panic!("it never ends: {:?}", self.core);
    }

    fn check_end(&self) {
        assert!(self.processes[1..].iter().all(|process| *process == Process::Down));
        let stays = |id: &usize| !self.core.actors[*id].leaves() && !self.setup(ActorId::new(*id)).is_guest;
        let failed = |id: usize| self.states[id] == ActorState::Failed;
        let failed = (0..self.states.len()).filter(stays).any(failed);
        match self.core.exit() {
            Exit::Interrupted => assert!(self.interrupted),
            Exit::Failed | Exit::Unavailable => assert!(failed && !self.interrupted),
            Exit::Asked => assert!(!failed && self.asked && !self.interrupted),
            Exit::Inputs => assert!(!failed && !self.asked && !self.interrupted),
        }
        for (id, actor) in self.core.actors.iter().enumerate() {
            assert_eq!(actor.state, self.states[id]);
            assert!(actor.errors.len() <= recovery::ERRORS_MAX);
        }
    }
}

fn actors(processes: usize) -> impl Strategy<Value = Vec<ActorSetup>> {
    let actor = (any::<[bool; 5]>(), 0..processes, 0_usize..4);
    let actor = actor.prop_map(|(facts, process, max)| {
        let [is_camera, relays, is_guest, may_stall, shares] = facts;
        ActorSetup {
            name: "actor".to_owned(),
            is_camera,
            relays: relays && is_camera,
            is_guest: is_guest && !is_camera,
            process: ProcessId::new(process),
            // A thread is one of a process: its name has that of the process.
            thread: shares.then(|| format!("thread of {process}")),
            restart: RestartPolicy {
                max,
                window: Duration::from_secs(5),
                backoff: Duration::from_millis(100),
                backoff_max: Duration::from_millis(400),
                device_timeout: Duration::from_secs(3),
            },
            stall_timeout: may_stall.then_some(Duration::from_secs(1)),
            start_timeout: may_stall.then_some(Duration::from_secs(2)),
        }
    });
    prop::collection::vec(actor, 1..6)
}

fn setups() -> impl Strategy<Value = Setup> {
    (1_usize..4).prop_flat_map(|processes| {
        let names = (0..processes).map(|process| format!("p{process}")).collect::<Vec<_>>();
        let time = prop::option::of((1_u64..20).prop_map(Duration::from_secs));
        let framesets = prop::option::of(1_u64..20);
        (actors(processes), time, framesets).prop_map(move |(actors, time, framesets)| Setup {
            actors,
            processes: names.clone(),
            limits: RunLimits { time, framesets },
        })
    })
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    // The last kinds end a run and are therefore rare.
    let kind = prop_oneof![40 => 0_u8..STOP, 1 => STOP..STOP + 2];
    let act = (kind, any::<usize>(), any::<bool>(), 0_u64..2_000);
    prop::collection::vec(
        act.prop_map(|(kind, place, flag, millis)| Act { kind, place, flag, millis }),
        0..200,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(5_000) })]

    #[test]
    fn every_run_ends_in_order(
        setup in setups(), acts in acts(), is_stopped: bool, answers: bool, are_reaped: bool
    ) {
        // Nothing else ends a run in which no camera delivers its last frameset.
        let is_stopped = is_stopped || setup.limits.framesets.is_none() || !answers;
        let mut world = World::new(setup);
        for act in acts {
            world.act(act);
        }
        world.end(is_stopped, answers, are_reaped);
    }
}
