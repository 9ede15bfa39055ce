//! What follows when an actor fails or a process dies: another life, or the end of its links.
//!
//! An actor's links outlive it. While it is between two lives its readers wait, and what it would have read is
//! dropped and counted; when it has failed for good they end. Nobody else waits for it.

use std::time::Instant;

use camrig_status::ActorState as State;

use super::policy::Decision;
use super::{Due, Run};
use crate::control::{ActorCommand, WorkerCommand};
use crate::failure::Failure;
use crate::ids::{ActorId, ProcessId};

/// The most failures of one actor that the report tells; older ones were logged.
const ERRORS_MAX: usize = 32;

impl Run<'_> {
    /// An actor failed: decides what becomes of it, says so once, and sees to it.
    pub(super) fn fail(&mut self, id: usize, failure: Failure) {
        let now = Instant::now();
        let Failure { message, unavailable, in_vain } = failure;
        let decision = if self.going_since.is_none() || self.stopping || in_vain {
            // What never worked will not work the next time either; what is stopping need not.
            Decision::GiveUp(None)
        } else {
            self.actors[id].ladder.decide(now, unavailable)
        };
        let waited_already = self.actors[id].state == State::WaitingForDevice;
        let spec = &self.topology.actors()[id];
        let subject = format!("{} `{}`", spec.role.name(), spec.name);
        match &decision {
            Decision::Restart { reset: false, .. } => {
                log::error!("{subject} failed: {message}; it is restarted");
            }
            Decision::Restart { reset: true, .. } => {
                log::error!("{subject} failed: {message}; its device is reset, and it is restarted");
            }
            Decision::WaitForDevice { .. } if waited_already => {}
            Decision::WaitForDevice { .. } => {
                log::error!("{subject} failed: {message}; it waits for its device");
            }
            Decision::GiveUp(None) => log::error!("{subject} failed: {message}"),
            Decision::GiveUp(Some(reason)) => log::error!("{subject} failed for good: {message}; {reason}"),
        }
        let actor = &mut self.actors[id];
        actor.unavailable = unavailable;
        if !(waited_already && matches!(decision, Decision::WaitForDevice { .. })) {
            actor.errors.push_back(message);
            if actor.errors.len() > ERRORS_MAX {
                actor.errors.pop_front();
            }
        }
        match decision {
            Decision::Restart { pause, reset } => {
                actor.due = Some(Due { at: now + pause, reset });
                self.set_state(id, State::Restarting);
            }
            Decision::WaitForDevice { pause } => {
                actor.due = Some(Due { at: now + pause, reset: false });
                self.set_state(id, State::WaitingForDevice);
            }
            Decision::GiveUp(_) => {
                self.give_up(id);
                // A rig goes on with one camera less, but not without a processor that it was built for, and
                // not when it never got going.
                if self.going_since.is_none() || !self.is_camera(id) {
                    self.stop();
                }
            }
        }
    }

    /// An actor has failed for good: its links end.
    pub(super) fn give_up(&mut self, id: usize) {
        self.actors[id].due = None;
        self.set_state(id, State::Failed);
        let process = self.topology.actors()[id].process.index();
        if process == 0 || self.processes[process].hears() {
            self.tell(process, WorkerCommand::Actor(ActorId::new(id), ActorCommand::GiveUp));
        } else {
            self.end_links(id);
        }
    }

    /// In the place of an actor that has ended: its links end.
    fn end_links(&self, id: usize) {
        for (spec, link) in self.topology.links().iter().zip(&self.rig.links) {
            if spec.from.index() == id {
                link.end();
            }
            if spec.to.index() == id {
                link.link_state.set_reader_ended();
            }
        }
    }

    /// A process is gone, and its actors have failed.
    pub(super) fn hear_exit(&mut self, process: usize, how: &str) {
        self.bury(process);
        let fault = self.processes[process].fault.take();
        // Those that were given up may have died before they heard of it.
        for id in self.actors_of(process).filter(|&id| self.actors[id].state.has_ended()) {
            self.end_links(id);
        }
        self.fail_process(process, fault.as_deref().unwrap_or(how));
    }

    /// Fails every actor of a process that is dead.
    fn fail_process(&mut self, process: usize, how: &str) {
        let name = &self.topology.processes()[process];
        let left: Vec<usize> =
            self.actors_of(process).filter(|&id| !self.actors[id].state.has_ended()).collect();
        for id in left {
            self.fail(id, Failure::new(format_args!("process `{name}` {how}")));
        }
    }

    /// Notes that a process is gone: nothing is queued for its readers any more, and what it had on its way
    /// will be made good.
    pub(super) fn bury(&mut self, process: usize) {
        let buried = &mut self.processes[process];
        buried.worker = None;
        buried.stopped_by = None;
        buried.spent_seconds = buried.usage.cpu_seconds;
        for (spec, link) in self.topology.links().iter().zip(&mut self.rig.links) {
            if self.topology.actor(spec.from).process.index() == process {
                link.producer_died();
            }
            if self.topology.actor(spec.to).process.index() == process {
                link.reader_died();
            }
        }
        self.settle_links();
    }

    /// Makes good what died with processes, as far as the living ends let it be seen at this moment.
    pub(super) fn settle_links(&mut self) {
        for (spec, link) in self.topology.links().iter().zip(&mut self.rig.links) {
            if link.has_deaths() {
                link.settle(self.rig.actor_counters[spec.from.index()].produced());
            }
        }
    }

    /// Begins the next life of every actor whose pause is over.
    pub(super) fn begin_what_is_due(&mut self) {
        let now = Instant::now();
        self.settle_links();
        for process in 0..self.processes.len() {
            let living = |id: &usize| !self.actors[*id].state.has_ended();
            let (due, waiting): (Vec<_>, Vec<_>) = self
                .actors_of(process)
                .filter(living)
                .partition(|&id| self.actors[id].due.is_some_and(|due| due.at <= now));
            if process == 0 || self.processes[process].hears() {
                for id in due {
                    let reset = self.take_due(id);
                    self.tell(
                        process,
                        WorkerCommand::Actor(ActorId::new(id), ActorCommand::Restart { reset }),
                    );
                }
            } else if self.processes[process].worker.is_none()
                && !due.is_empty()
                && waiting.is_empty()
                && self.is_settled(process)
            {
                self.restart_process(process);
            }
        }
    }

    fn is_settled(&self, process: usize) -> bool {
        let ends_here = |spec| self.topology.ends(spec).contains(&ProcessId::new(process));
        let mut links = self.topology.links().iter().zip(&self.rig.links);
        links.all(|(spec, link)| !ends_here(spec) || !link.has_deaths())
    }

    fn restart_process(&mut self, process: usize) {
        if let Err(error) = self.start_worker(process) {
            self.fail_process(process, &format!("cannot be started: {error}"));
        }
    }
}
