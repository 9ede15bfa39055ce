//! The I/O around the core: turns messages and counters into events, and executes commands.
//!
//! It makes no decisions about a run.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use camrig_ipc::Sender;
use camrig_status::control::ControlSocket;
use camrig_status::socket::{Serving, StatusSocket};

use super::calls::Calls;
use super::change::Left;
use super::core::{Activity, Command, Core, Event, Observation, Setup};
use super::progress::{Progress, Stage};
use super::run_clock::RunClock;
use super::{Control, Message, RunLimits, requests};
use crate::clock::monotonic_nanos;
use crate::control::{
    ActorCommand, ActorEvent, DeviceAnswer, DeviceCall, DeviceRequest, Part, WorkerCommand,
};
use crate::gauge::Gauge;
use crate::host::{Host, Hosted};
use crate::ids::{ActorId, ProcessId};
use crate::metrics::MetricsServer;
use crate::registry::Registry;
use crate::report::Report;
use crate::topology::{ProcessCommand, Topology};
use crate::usage::Usage;
use crate::wiring::{Beginning, Rig as Wiring};
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
    pub(super) wiring: Wiring,
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
        control: Control,
        messages: Receiver<Message>,
    ) -> io::Result<Self> {
        let sender = control.messages.clone();
        let socket = StatusSocket::open()?;
        let wiring = Wiring::new(&topology, socket.name(), limits.framesets)?;
        let metrics = topology.metrics().map(|spec| MetricsServer::start(spec, socket.name())).transpose()?;
        let asked = sender.clone();
        let socket = socket.serve(move || {
            let (answer, status) = sync_channel(1);
            // `None` means that the run is over.
            asked.send(Message::Status(answer)).ok()?;
            status.recv().ok()
        })?;
        let checked = Arc::clone(registry);
        let answer = move |request| requests::answer(&control, &checked, request);
        let control = ControlSocket::serve(socket.name(), answer)?;
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
            if self.core.is_stopping() {
                progress.set(Stage::Stopping);
            }
            self.step();
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
            Message::Stop => self.decide(Event::Stop),
            Message::Interrupt => self.decide(Event::Interrupt),
        }
    }

    /// Returns whether `pid` is the worker that currently is this process.
    fn has_worker(&self, process: ProcessId, pid: u32) -> bool {
        self.processes[process.index()].worker.as_ref().is_some_and(|worker| worker.pid() == pid)
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
    fn call_device(&mut self, camera: &str, call: DeviceCall, answer: SyncSender<DeviceAnswer>) {
        let actors = self.core.setup().actors.iter();
        let cameras = actors.enumerate().filter(|(_, actor)| actor.is_camera);
        // A camera that began anew has the name of the one before.
        let Some(id) = cameras.clone().rfind(|(_, actor)| actor.name == camera) else {
            let names: Vec<_> = cameras.map(|(_, actor)| format!("`{}`", actor.name)).collect();
            let message = format!("the rig has no camera `{camera}`; it has: {}", names.join(", "));
            // The requesting thread may have ended.
            return drop(answer.try_send(Err(message)));
        };
        self.begin_call(ActorId::new(id.0), call, Some(answer));
    }

    /// Sends a camera a call, or leaves it for after those before.
    fn begin_call(&mut self, id: ActorId, call: DeviceCall, answer: Option<SyncSender<DeviceAnswer>>) {
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

    /// Looks why a process has not been reaped.
    fn inspect(&mut self, process: ProcessId) {
        if let Some(worker) = &self.processes[process.index()].worker {
            let unreaped = worker.unreaped();
            self.decide(Event::Unreaped(process, unreaped));
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
            Command::Pause(id) => self.begin_call(id, DeviceCall::Pause, None),
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

    fn start_process(&mut self, process: ProcessId) {
        let name = self.topology.process(process);
        let own = self.registry.worker().map(|(program, arguments)| {
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            ProcessCommand::new(program, &arguments)
        });
        let command = self.topology.command(process).or(own.as_ref());
        let scheduling = self.topology.scheduling(process).map(|of_process| &of_process.scheduling);
        match Worker::start(process, name, command, scheduling, self.sender.clone()) {
            Ok(worker) => {
                let started = self.process_mut(process);
                started.pid = worker.pid();
                started.worker = Some(worker);
            }
            Err(error) if self.begun => self.decide(Event::NotStarted(process, error.to_string())),
            Err(error) => {
                let text = format!("process `{name}` cannot be started: {error}");
                self.start_error = Some(io::Error::other(text));
            }
        }
    }

    /// Handles a worker that is ready for commands.
    fn connect(&mut self, process: ProcessId, commands: Sender<WorkerCommand>) {
        self.process_mut(process).connected = Some(commands);
        self.decide(Event::Connected(process));
    }

    fn begin_actors(&mut self, process: ProcessId, actors: &[(ActorId, bool)], go: bool, stop_cameras: bool) {
        let begun = self.beginning_of(process, actors).and_then(|Beginning { parts, others }| {
            if process == ProcessId::MAIN {
                self.host(parts)?;
            } else {
                let first = parts.into_iter().map(WorkerCommand::Host).chain([WorkerCommand::Start]);
                let go = go.then_some(WorkerCommand::Go);
                let stop_cameras = stop_cameras.then_some(WorkerCommand::StopCameras);
                self.begin_worker(process, first.chain(go).chain(stop_cameras).collect())?;
            }
            Ok(others)
        });
        match begun {
            Ok(others) => others.into_iter().for_each(|(process, command)| self.send(process, command)),
            Err(error) if process == ProcessId::MAIN => self.start_error = Some(error),
            Err(error) => {
                // Its exit will be reported as an event; this is the reason.
                self.process_mut(process).fault = Some(format!("cannot begin: {error}"));
                self.kill(process);
            }
        }
    }

    /// Sends a worker its first commands.
    fn begin_worker(&mut self, process: ProcessId, first: Vec<WorkerCommand>) -> io::Result<()> {
        let process = self.process_mut(process);
        // Without a worker or its channel it has ended, which is reported as a separate event.
        process
            .worker
            .as_mut()
            .zip(process.connected.take())
            .map_or(Ok(()), |(worker, commands)| worker.begin(commands, first))
    }

    /// Returns the messages that make `process` host these actors, some of them with a reset first.
    fn beginning_of(&mut self, process: ProcessId, actors: &[(ActorId, bool)]) -> io::Result<Beginning> {
        let begins: Vec<_> = actors.iter().map(|(id, _)| *id).collect();
        let mut beginning = self.wire(process, &begins)?;
        for part in &mut beginning.parts {
            if let Part::Actor { actor: part, .. } = part {
                part.reset = actors.contains(&(part.id, true));
            }
        }
        Ok(beginning)
    }

    /// Sends a process that accepts commands further parts, and others the resulting commands.
    pub(super) fn send_parts(&mut self, process: ProcessId, beginning: Beginning) -> io::Result<()> {
        let Beginning { parts, others } = beginning;
        if process == ProcessId::MAIN {
            self.host(parts)?;
        } else {
            for command in parts.into_iter().map(WorkerCommand::Host).chain([WorkerCommand::Start]) {
                self.send(process, command);
            }
        }
        for (process, command) in others {
            self.send(process, command);
        }
        Ok(())
    }

    /// Starts the actors of this process, or those that are added to it.
    fn host(&mut self, parts: Vec<Part>) -> io::Result<()> {
        let mut own = self.hosted.as_mut().map_or_else(Host::default, Hosted::host);
        for part in parts {
            own.add(part).map_err(io::Error::other)?;
        }
        let events = self.sender.clone();
        // An error means that the run is over.
        let report = move |event| drop(events.send(Message::Actor(event)));
        match &mut self.hosted {
            Some(hosted) => hosted.extend(own, &self.registry, report)?,
            None => self.hosted = Some(own.start(&self.registry, report)?),
        }
        Ok(())
    }

    fn kill(&mut self, process: ProcessId) {
        let process = self.process_mut(process);
        process.ends = true;
        process.worker.iter().for_each(Worker::kill);
    }

    /// Sends a command to a worker; one that has ended receives none.
    pub(super) fn send(&mut self, process: ProcessId, command: WorkerCommand) {
        match (&self.processes[process.index()].worker, &mut self.hosted, command) {
            (Some(worker), _, command) => worker.send(command),
            (None, Some(hosted), WorkerCommand::Actor(id, command)) if process == ProcessId::MAIN => {
                hosted.send(id, command);
            }
            (None, Some(hosted), WorkerCommand::Relink { link, announcements, absence })
                if process == ProcessId::MAIN =>
            {
                hosted.relink(link, announcements, absence);
            }
            (None, Some(hosted), WorkerCommand::Unlink { from, link }) if process == ProcessId::MAIN => {
                hosted.unlink(from, link);
            }
            (None, Some(hosted), WorkerCommand::Go) if process == ProcessId::MAIN => hosted.go(),
            (None, Some(hosted), WorkerCommand::StopCameras) if process == ProcessId::MAIN => {
                hosted.stop_cameras();
            }
            _ => {}
        }
    }

    fn send_actor(&mut self, id: ActorId, command: ActorCommand) {
        self.send(self.topology.actor(id).process, WorkerCommand::Actor(id, command));
    }

    fn send_all(&self, command: impl Fn() -> WorkerCommand) {
        let workers = self.processes.iter().filter_map(|process| process.worker.as_ref());
        workers.for_each(|worker| worker.send(command()));
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

    /// Notes that a process has ended: nothing more is queued for its readers, and framesets in flight to or from
    /// it are accounted for.
    fn release(&mut self, process: ProcessId) {
        let gone = self.process_mut(process);
        gone.worker = None;
        gone.connected = None;
        gone.stopped_by = None;
        gone.ends = false;
        gone.fault = None;
        gone.spent_seconds = gone.usage.cpu_seconds;
        self.wiring.release(process);
        for (index, actor) in self.core.setup().actors.iter().enumerate() {
            let id = ActorId::new(index);
            if self.topology.actor(id).process == process {
                self.calls.fail(id, &format!("the process of camera `{}` has ended", actor.name));
            }
        }
        for (spec, link) in self.topology.links().iter().zip(&mut self.wiring.links) {
            let [from, to] = self.topology.ends(spec);
            if from == process && !link.is_gone {
                link.producer_died();
            }
            if to == process && !link.is_gone {
                link.reader_died();
            }
        }
        self.settle_links();
    }

    /// Accounts for framesets lost with processes, as far as the state of the running ends currently allows.
    fn settle_links(&mut self) {
        for (spec, link) in self.topology.links().iter().zip(&mut self.wiring.links) {
            if link.has_deaths() {
                link.settle(self.wiring.actor_counters[spec.from.index()].produced());
            }
        }
    }

    /// Reads the counters.
    fn observe(&self) -> Observation {
        let mut observation = Observation::default();
        let mut delivered = vec![0; self.topology.actors().len()];
        for (spec, link) in self.topology.links().iter().zip(&self.wiring.links) {
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

    /// Detects processes that are stopped by a signal. They may be continued: only the missing progress of their
    /// actors is a failure.
    fn note_stopped_processes(&mut self) {
        for (process, name) in self.processes.iter_mut().zip(self.topology.processes()) {
            let Some(worker) = &process.worker else { continue };
            let stopped_by = worker.stopped_by();
            match (&process.stopped_by, &stopped_by) {
                (None, Some(signal)) => log::warn!("process `{name}` is stopped by signal {signal}"),
                // A stopped process that was killed does not go on.
                (Some(_), None) if process.ends || worker.has_ended() => {}
                (Some(_), None) => log::warn!("process `{name}` goes on"),
                _ => {}
            }
            process.stopped_by = stopped_by;
        }
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
