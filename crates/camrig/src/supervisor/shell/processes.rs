//! The processes of a run: started, sent parts and commands, killed, and their resources released.

use std::io;

use camrig_ipc::Sender;

use super::super::Message;
use super::super::core::Event;
use super::Shell;
use crate::control::{ActorCommand, Part, WorkerCommand};
use crate::hosted::{Arriving, Hosted};
use crate::ids::{ActorId, ProcessId};
use crate::topology::ProcessCommand;
use crate::wiring::Beginning;
use crate::workers::Worker;

impl Shell {
    pub(super) fn start_process(&mut self, process: ProcessId) {
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
    pub(super) fn connect(&mut self, process: ProcessId, commands: Sender<WorkerCommand>) {
        self.process_mut(process).connected = Some(commands);
        self.decide(Event::Connected(process));
    }

    pub(super) fn begin_actors(
        &mut self,
        process: ProcessId,
        actors: &[(ActorId, bool)],
        go: bool,
        stop_cameras: bool,
    ) {
        let begun = self.beginning_of(process, actors).and_then(|Beginning { parts, others, .. }| {
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
    ///
    /// # Errors
    /// If this process cannot take them: then it has none of them, and they are returned again.
    pub(in crate::supervisor) fn send_parts(
        &mut self,
        process: ProcessId,
        beginning: Beginning,
    ) -> io::Result<()> {
        let Beginning { parts, others, before } = beginning;
        if process == ProcessId::MAIN {
            self.host(parts).inspect_err(|_| self.wiring.take_back(process, &before))?;
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
        let mut own = self.hosted.as_mut().map_or_else(Arriving::default, Hosted::arriving);
        if let Err(error) = parts.into_iter().try_for_each(|part| own.add(part)) {
            if let Some(hosted) = &mut self.hosted {
                hosted.leave_out(own);
            }
            return Err(io::Error::other(error));
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

    pub(super) fn kill(&mut self, process: ProcessId) {
        let process = self.process_mut(process);
        process.ends = true;
        process.worker.iter().for_each(Worker::kill);
    }

    /// Sends a command to a worker; one that has ended receives none.
    pub(in crate::supervisor) fn send(&mut self, process: ProcessId, command: WorkerCommand) {
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

    pub(super) fn send_actor(&mut self, id: ActorId, command: ActorCommand) {
        self.send(self.topology.actor(id).process, WorkerCommand::Actor(id, command));
    }

    pub(super) fn send_all(&self, command: impl Fn() -> WorkerCommand) {
        let workers = self.processes.iter().filter_map(|process| process.worker.as_ref());
        workers.for_each(|worker| worker.send(command()));
    }

    /// Notes that a process has ended: nothing more is queued for its readers, and framesets in flight to or from
    /// it are accounted for.
    pub(super) fn release(&mut self, process: ProcessId) {
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

    /// Detects processes that are stopped by a signal. They may be continued: only the missing progress of their
    /// actors is a failure.
    pub(super) fn note_stopped_processes(&mut self) {
        for (process, name) in self.processes.iter_mut().zip(self.topology.processes()) {
            let Some(worker) = &process.worker else { continue };
            let stopped_by = worker.stopped_by();
            match (&process.stopped_by, &stopped_by) {
                (None, Some(signal)) => log::warn!("process `{name}` is stopped by signal {signal}"),
                // A stopped process that was killed does not continue.
                (Some(_), None) if process.ends || worker.has_ended() => {}
                (Some(_), None) => log::warn!("process `{name}` continues"),
                _ => {}
            }
            process.stopped_by = stopped_by;
        }
    }

    /// Finds out why a process has not been reaped.
    pub(super) fn inspect(&mut self, process: ProcessId) {
        if let Some(worker) = &self.processes[process.index()].worker {
            let unreaped = worker.unreaped();
            self.decide(Event::Unreaped(process, unreaped));
        }
    }

    /// Returns whether `pid` is the worker that currently is this process.
    pub(super) fn has_worker(&self, process: ProcessId, pid: u32) -> bool {
        self.processes[process.index()].worker.as_ref().is_some_and(|worker| worker.pid() == pid)
    }
}
