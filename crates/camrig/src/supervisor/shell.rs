//! The I/O around the core: turns messages and counters into events, and executes commands.
//!
//! It makes no decisions about a run. `processes` has the starts, commands and ends of processes.

mod processes;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use camrig_ipc::Sender;
use camrig_status::ActorState;
use camrig_status::control::{Attach, ControlSocket};
use camrig_status::socket::{Serving, StatusSocket};

use super::calls::Calls;
use super::change::Left;
use super::core::{Activity, Command, Core, Event, Observation, Setup};
use super::progress::{Progress, Stage};
use super::run_clock::RunClock;
use super::{Message, Others, RunControl, RunLimits, requests};
use crate::clock::monotonic_nanos;
use crate::control::{ActorEvent, DeviceAnswer, DeviceCall, DeviceRequest, WorkerCommand};
use crate::gauge::Gauge;
use crate::hosted::Hosted;
use crate::ids::{ActorId, ProcessId};
use crate::metrics::MetricsServer;
use crate::registry::Registry;
use crate::report::Report;
use crate::topology::Topology;
use crate::usage::Usage;
use crate::wiring::RigWiring;
use crate::workers::{Worker, WorkerEvent};

/// Interval at which the usage of processes is measured.
const USAGE_INTERVAL: Duration = Duration::from_secs(1);

/// A process of the rig: first the supervisor's, which has no worker, then the others.
#[derive(Default)]
pub(super) struct Process {
    /// `None` while it is not running.
    worker: Option<Worker>,
    pub(super) pid: u32,
    /// Its command channel, until its start.
    connected: Option<Sender<WorkerCommand>>,
    /// Reason for killing it.
    fault: Option<String>,
    /// Maximum usage observed; processor time of all workers that were this process.
    pub(super) usage: Usage,
    /// Processor time of those that have ended.
    pub(super) spent_seconds: f64,
    /// The signal that has stopped it, while it is stopped.
    stopped_by: Option<String>,
    /// Whether it was killed, or has closed its channels: it ends.
    ends: bool,
}

impl Process {
    /// Returns whether it is the supervisor's, or a worker that has not been released.
    pub(super) fn runs(&self) -> bool {
        self.worker.is_some() || self.pid == std::process::id()
    }
}

/// A run in progress, and its resources.
pub(super) struct Shell {
    /// All actors, links and processes of the run, with those that changes have ended.
    pub(super) topology: Arc<Topology>,
    /// The topology that runs.
    pub(super) current: Arc<Topology>,
    /// Its actors among those of the run, in its order.
    pub(super) order: Vec<ActorId>,
    pub(super) left: Left,
    registry: Arc<Registry>,
    pub(super) core: Core,
    clock: RunClock,
    pub(super) wiring: RigWiring,
    pub(super) gauge: Gauge,
    pub(super) processes: Vec<Process>,
    /// The actors of this process.
    hosted: Option<Hosted>,
    /// The calls to devices of cameras that wait for an answer.
    calls: Calls,
    /// Whether everything has been started; until then a failure to start a process fails the rig.
    begun: bool,
    start_error: Option<io::Error>,
    sender: SyncSender<Message>,
    messages: Receiver<Message>,
    metrics: Option<MetricsServer>,
    /// The parts of the rig on other hosts.
    pub(super) others: Option<Others>,
    /// Takes requests until it is dropped.
    _control: ControlSocket,
    socket: Serving,
}

impl Shell {
    /// Starts every process, and the actors of this one.
    ///
    /// # Errors
    /// If there are not enough processes or file descriptors. No process is left running.
    pub(super) fn start(
        topology: Arc<Topology>,
        registry: &Arc<Registry>,
        limits: RunLimits,
        control: RunControl,
        messages: Receiver<Message>,
    ) -> io::Result<Self> {
        let sender = control.messages.clone();
        let socket = StatusSocket::open()?;
        let wiring = RigWiring::new(&topology, socket.name(), limits.framesets)?;
        let metrics = topology.metrics().map(|spec| MetricsServer::start(spec, socket.name())).transpose()?;
        let asked = sender.clone();
        let socket = socket.serve(move || {
            let (answer, status) = sync_channel(1);
            // `None` means that the run is over.
            asked.send(Message::Status(answer)).ok()?;
            status.recv().ok()
        })?;
        let others = control.others.clone();
        let asked = control.clone();
        let answer = move |request| requests::answer(&asked, request);
        let leave = move |attach: &Attach| requests::leave(&control, attach);
        let control = ControlSocket::serve(socket.name(), answer, leave)?;
        let clock = RunClock::default();
        let mut shell = Self {
            core: Core::new(Setup::new(&topology, limits), clock.now()),
            clock,
            processes: topology.processes().iter().map(|_| Process::default()).collect(),
            current: Arc::clone(&topology),
            order: (0..topology.actors().len()).map(ActorId::new).collect(),
            left: Left::default(),
            topology,
            registry: Arc::clone(registry),
            wiring,
            gauge: Gauge::default(),
            hosted: None,
            calls: Calls::default(),
            begun: false,
            start_error: None,
            sender,
            messages,
            metrics,
            others,
            _control: control,
            socket,
        };
        shell.process_mut(ProcessId::MAIN).pid = std::process::id();
        shell.begin()?;
        Ok(shell)
    }

    /// Returns the address of the metrics server.
    pub(super) fn metrics(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(MetricsServer::address)
    }

    /// Returns the name of the status socket.
    pub(super) fn name(&self) -> &str {
        self.socket.name()
    }

    /// Drives the run to its end.
    pub(super) fn drive(mut self, progress: &Progress) -> Report {
        let over = Over(progress);
        let mut usage_at = Instant::now();
        while !self.core.is_over() {
            self.step();
            if self.core.is_stopping() {
                progress.set(Stage::Stopping);
            } else if self.core.is_going() {
                progress.set(Stage::Active);
            }
            if usage_at.elapsed() >= USAGE_INTERVAL && !self.core.is_stopping() {
                usage_at = Instant::now();
                self.note_usage();
            }
        }
        self.settle_links();
        progress.set_last_status(self.status());
        let report = self.report();
        // The address and the socket are released before other threads see that the run is over.
        drop(self);
        drop(over);
        report
    }

    /// Executes the initial commands. If one fails, ends everything again.
    fn begin(&mut self) -> io::Result<()> {
        for command in self.core.begin(self.clock.now()) {
            self.carry_out(command);
            if let Some(error) = self.start_error.take() {
                self.abandon();
                return Err(error);
            }
        }
        self.begun = true;
        Ok(())
    }

    /// Ends the workers that were started.
    fn abandon(&mut self) {
        let processes = self.processes.iter().enumerate();
        let started = processes.filter(|(_, process)| process.worker.is_some());
        let started = started.map(|(index, _)| ProcessId::new(index)).collect();
        self.decide(Event::Abandon { started });
        while !self.core.is_over() {
            self.step();
        }
    }

    /// Waits for a message until the next observation is due, and takes both.
    fn step(&mut self) {
        let pause = self.core.pause(self.clock.now());
        let since = Instant::now();
        let message = self.messages.recv_timeout(pause);
        self.clock.note_wait(pause, since.elapsed());
        if let Ok(message) = message {
            self.take(message);
        }
        self.note_stopped_processes();
        self.settle_links();
        let observation = self.observe();
        self.decide(Event::Observed(observation));
        self.look_at_changes();
    }

    fn take(&mut self, message: Message) {
        match message {
            // The requesting thread may have ended.
            Message::Status(answer) => drop(answer.try_send(self.status())),
            Message::Actor(event) => self.take_from_actor(ProcessId::MAIN, event),
            Message::Worker(process, pid, event) if self.has_worker(process, pid) => {
                self.take_from_worker(process, event);
            }
            // It ended late, after the process was given up.
            Message::Worker(..) => {}
            Message::Topology(answer) => drop(answer.try_send(Arc::clone(&self.current))),
            Message::Change(request) => self.change(*request),
            Message::Note(changes, by) => self.note_change(&changes, by),
            Message::Device(camera, call, answer) => self.call_device(&camera, call, answer),
            Message::Unpause(camera, answer) => drop(answer.try_send(self.unpause(&camera))),
            Message::Stop => self.decide(Event::Stop),
            Message::Drain => self.decide(Event::Drain),
            Message::Interrupt => self.decide(Event::Interrupt),
        }
    }

    fn take_from_worker(&mut self, process: ProcessId, event: WorkerEvent) {
        match event {
            WorkerEvent::Actor(event) => self.take_from_actor(process, event),
            WorkerEvent::Connected(commands) => self.connect(process, commands),
            WorkerEvent::Closed => {
                self.process_mut(process).ends = true;
                self.decide(Event::Closed(process));
            }
            WorkerEvent::Exited(how) => {
                let fault = self.process_mut(process).fault.take();
                self.decide(Event::Exited(process, fault.unwrap_or(how)));
            }
        }
    }

    fn take_from_actor(&mut self, process: ProcessId, event: ActorEvent) {
        let event = match event {
            ActorEvent::Ready { actor } => Event::Ready(process, actor),
            ActorEvent::Finished { actor } => {
                let name = &self.core.setup().actors[actor.index()].name;
                self.calls.fail(actor, &format!("camera `{name}` has ended"));
                Event::Finished(process, actor)
            }
            ActorEvent::Failed { actor, failure } => Event::Failed(process, actor, failure),
            ActorEvent::Warned { actor, message } => Event::Warned(process, actor, message),
            ActorEvent::Progress { actor, text } => Event::Progress(process, actor, text),
            ActorEvent::Answered { actor, number, answer } => {
                return self.take_answer(process, actor, number, answer);
            }
        };
        self.decide(event);
    }

    /// Takes the answer of a camera to a call, and sends it the next one.
    fn take_answer(&mut self, process: ProcessId, camera: ActorId, number: u64, answer: DeviceAnswer) {
        let is_done = answer.is_ok();
        let Some((call, next)) = self.calls.end(camera, number, answer) else { return };
        match call {
            DeviceCall::Pause if is_done => self.decide(Event::Paused(process, camera, true)),
            // A camera that does not start again fails, and its next instance runs.
            DeviceCall::Resume => self.decide(Event::Paused(process, camera, false)),
            _ => {}
        }
        if let Some(request) = next {
            self.send_call(camera, request);
        }
    }

    /// Sends a call to the open device of the camera with this name.
    fn call_device(&mut self, camera: &str, call: (DeviceCall, u64), answer: SyncSender<DeviceAnswer>) {
        let Some(id) = self.camera(camera) else {
            let names: Vec<_> = self.cameras().map(|(_, name)| format!("`{name}`")).collect();
            let message = format!("the rig has no camera `{camera}`; it has: {}", names.join(", "));
            // The requesting thread may have ended.
            return drop(answer.try_send(Err(message)));
        };
        self.begin_call(id, call, Some(answer));
    }

    /// Returns the cameras of the rig, with their names.
    fn cameras(&self) -> impl Iterator<Item = (ActorId, &str)> {
        let actors = self.shown_actors().map(|id| (id, &self.core.setup().actors[id.index()]));
        actors.filter(|(_, actor)| actor.is_camera).map(|(id, actor)| (id, actor.name.as_str()))
    }

    fn camera(&self, name: &str) -> Option<ActorId> {
        self.cameras().find(|(_, own)| *own == name).map(|(id, _)| id)
    }

    /// Starts the streams of a paused camera; without an instance it begins the next one with streams. Returns whether it was
    /// paused.
    fn unpause(&mut self, camera: &str) -> bool {
        let Some(id) = self.camera(camera).filter(|&id| self.core.is_paused(id)) else { return false };
        if self.core.actor(id).state.is_between_instances() {
            self.decide(Event::Unpaused(id));
        } else {
            // After the call that pauses its new instance.
            self.begin_call(id, (DeviceCall::Resume, u64::MAX), None);
        }
        true
    }

    /// Sends a camera a call, or leaves it for after those before.
    fn begin_call(&mut self, id: ActorId, call: (DeviceCall, u64), answer: Option<SyncSender<DeviceAnswer>>) {
        let name = &self.core.setup().actors[id.index()].name;
        if let Some(request) = self.calls.begin(id, name, call, answer) {
            self.send_call(id, request);
        }
    }

    fn send_call(&mut self, id: ActorId, request: DeviceRequest) {
        let process = self.topology.actor(id).process;
        let is_sent = match (&self.processes[process.index()].worker, &self.hosted) {
            (Some(worker), _) if worker.has_begun() && !self.core.actor(id).has_ended() => {
                worker.send(WorkerCommand::Device(id, request));
                true
            }
            (None, Some(hosted)) if process == ProcessId::MAIN => hosted.call_device(id, request),
            _ => false,
        };
        if !is_sent {
            let name = &self.core.setup().actors[id.index()].name;
            self.calls.fail(id, &format!("camera `{name}` is not running"));
        }
    }

    pub(super) fn decide(&mut self, event: Event) {
        for command in self.core.on(event, self.clock.now()) {
            self.carry_out(command);
        }
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::StartProcess(process) => self.start_process(process),
            Command::Begin { process, actors, go, stop_cameras } => {
                self.begin_actors(process, &actors, go, stop_cameras);
            }
            Command::Host { process, actors } => self.host_actors(process, &actors),
            Command::Go => {
                self.send_all(|| WorkerCommand::Go);
                self.hosted.iter().for_each(Hosted::go);
            }
            Command::StopCameras => {
                self.send_all(|| WorkerCommand::StopCameras);
                self.hosted.iter().for_each(Hosted::stop_cameras);
            }
            Command::Actor(id, command) => self.send_actor(id, command),
            Command::Pause(id) => self.begin_call(id, (DeviceCall::Pause, u64::MAX), None),
            Command::EndLinks(id) => {
                let name = &self.core.setup().actors[id.index()].name;
                self.calls.fail(id, &format!("camera `{name}` has ended"));
                self.end_links(id);
            }
            Command::Release(process) => self.release(process),
            Command::Exit(process) => self.send(process, WorkerCommand::Exit),
            Command::Kill(process) => self.kill(process),
            Command::Inspect(process) => self.inspect(process),
            Command::SetState(id, state) => {
                self.wiring.actor_counters[id.index()].set_state(state as u32);
            }
            Command::CountRestart(id) => self.wiring.actor_counters[id.index()].count_restart(),
            Command::MeasureUsage => self.note_usage(),
            Command::Log(notice) => log::log!(notice.level(), "{}", notice.text(self.core.setup())),
        }
    }

    /// Ends the links of an actor that has ended.
    pub(super) fn end_links(&self, id: ActorId) {
        for (spec, link) in self.topology.links().iter().zip(&self.wiring.links) {
            if spec.from == id {
                link.end();
            }
            if spec.to == id {
                link.link_state.set_reader_ended();
            }
        }
    }

    /// Accounts for framesets lost with processes, as far as the state of the running ends currently allows.
    fn settle_links(&mut self) {
        for (spec, link) in self.topology.links().iter().zip(&mut self.wiring.links) {
            if link.has_deaths() {
                // The counts of a producer that has finished are complete, and its successor continues with its counters.
                let has_finished = self.core.actor(spec.from).state == ActorState::Finished;
                let produced = self.wiring.actor_counters[spec.from.index()].produced();
                link.settle(if has_finished { 0 } else { produced });
            }
        }
    }

    /// Reads the counters.
    fn observe(&self) -> Observation {
        let mut observation = Observation::default();
        let mut delivered = vec![0; self.topology.actors().len()];
        let links = self.topology.links().iter().zip(&self.wiring.links);
        for (spec, link) in links.filter(|(_, link)| !link.is_gone) {
            let counts = link.link_state.counts();
            delivered[spec.to.index()] += counts.delivered;
            observation.settled_framesets += counts.delivered + counts.dropped.iter().sum::<u64>();
            if link.has_deaths() {
                observation.unsettled.extend(self.topology.ends(spec));
            }
        }
        let nanos = monotonic_nanos();
        let activity = |(index, delivered): (usize, u64)| {
            let counters = &self.wiring.actor_counters[index];
            let is_camera = self.core.setup().actors[index].is_camera;
            let called_for = |at| Duration::from_nanos(nanos.saturating_sub(at));
            Activity {
                progress: if is_camera { counters.produced() } else { delivered },
                called_for: counters.called_at_nanos().map(called_for),
                is_blocked: counters.is_blocked(),
                awaits_streams: counters.awaits_streams(),
            }
        };
        observation.actors = delivered.into_iter().enumerate().map(activity).collect();
        observation
    }

    fn process_mut(&mut self, process: ProcessId) -> &mut Process {
        &mut self.processes[process.index()]
    }
}

/// Notifies waiting threads that the run is over, even if the supervisor panics.
struct Over<'a>(&'a Progress);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.set(Stage::Over);
    }
}
