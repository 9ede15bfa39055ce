//! Consequences of the failure of an actor or the end of a process: a restart, or the end of its links.
//!
//! An actor's links outlive its instances. Between two instances, its readers wait, and framesets sent to it are
//! dropped and counted; after a permanent failure, its links end. No other actor waits for it.

use camrig_status::ActorState;

use super::policy::Decision;
use super::{Command, Core, Due, Notice, ProcessState};
use crate::control::ActorCommand;
use crate::failure::Failure;
use crate::ids::{ActorId, ProcessId};

/// Maximum number of failures per actor in the report; older ones have been logged.
pub(super) const ERRORS_MAX: usize = 32;

impl Core {
    /// Handles the failure of an actor and decides how to react.
    pub(super) fn fail(&mut self, id: ActorId, failure: Failure) {
        let now = self.now;
        let Failure { message, unavailable, is_final } = failure;
        let leaves = self.actor(id).leaves();
        let decision = if self.going_since.is_none() || self.stopping || is_final || leaves {
            // An actor that never worked will not work the next time either; one that is stopping need not.
            Decision::GiveUp(None)
        } else {
            self.actor_mut(id).recovery.decide(now, unavailable)
        };
        let waits_again = self.actor(id).state == ActorState::WaitingForDevice
            && matches!(decision, Decision::WaitForDevice { .. });
        if !waits_again {
            self.log(Notice::Failed { actor: id, message: message.clone(), decision: decision.clone() });
        }
        let actor = self.actor_mut(id);
        actor.unavailable = unavailable;
        if !waits_again {
            actor.errors.push_back(message);
            if actor.errors.len() > ERRORS_MAX {
                actor.errors.pop_front();
            }
        }
        match decision {
            Decision::Restart { pause, reset } => {
                actor.due = Some(Due { at: now + pause, reset });
                self.set_state(id, ActorState::Restarting);
            }
            Decision::WaitForDevice { pause } => {
                actor.due = Some(Due { at: now + pause, reset: false });
                self.set_state(id, ActorState::WaitingForDevice);
            }
            Decision::GiveUp(_) => {
                self.give_up(id);
                // A rig continues with one camera less, but not without one of its processors, and
                // not if it was never fully started. It does without one that leaves, that joined and never worked, or
                // that another program runs.
                let spared = self.is_camera(id) || leaves || self.actor(id).joins || self.is_guest(id);
                if self.going_since.is_none() || !spared {
                    self.stop();
                }
            }
        }
    }

    /// Handles the permanent failure of an actor: its links end.
    pub(super) fn give_up(&mut self, id: ActorId) {
        self.actor_mut(id).due = None;
        self.set_state(id, ActorState::Failed);
        let process = self.process_of(id);
        let is_reachable =
            self.actor(id).hosted && self.is_up(process) && !self.leaving.contains_key(&process);
        self.commands.push(if is_reachable {
            Command::Actor(id, ActorCommand::GiveUp)
        } else {
            Command::EndLinks(id)
        });
    }

    /// Handles the end of a process: its actors have failed.
    pub(super) fn on_exited(&mut self, process: ProcessId, how: &str) {
        let was_asked = self.process(process) == Some(ProcessState::Exiting);
        let was_up = self.is_up(process);
        if !self.release(process) {
            return;
        }
        // Actors that were given up may have ended before they received the command.
        self.end_links_of_ended_actors(process);
        if was_asked {
            // All its actors had left. Others that joined meanwhile begin in the next process of this name.
            self.begin_due_instances();
        } else {
            self.fail_process(process, how, was_up);
        }
    }

    pub(super) fn end_links_of_ended_actors(&mut self, process: ProcessId) {
        let ended: Vec<_> = self.actors_of(process).filter(|&id| self.actor(id).has_ended()).collect();
        self.commands.extend(ended.into_iter().map(Command::EndLinks));
    }

    /// Fails every actor of a process that has ended. Those without an instance in a process that `was_up` have already failed:
    /// they start again with the others.
    pub(super) fn fail_process(&mut self, process: ProcessId, how: &str, was_up: bool) {
        let message = format!("process `{}` {how}", self.setup.processes[process.index()]);
        let is_between = |id: ActorId| was_up && self.actor(id).due.is_some();
        let is_left =
            |id: &ActorId| !self.actor(*id).has_ended() && !self.is_waiting(*id) && !is_between(*id);
        let left: Vec<_> = self.actors_of(process).filter(is_left).collect();
        for id in left {
            // The failure of one actor may have ended another.
            if !self.actor(id).has_ended() {
                self.fail(id, Failure::new(&message));
            }
        }
    }

    /// Starts the next instance of every actor whose pause is over.
    pub(super) fn begin_due_instances(&mut self) {
        for process in (0..self.processes.len()).map(ProcessId::new) {
            let now = self.now;
            let is_due = |id: &ActorId| self.actor(*id).due.is_some_and(|due| due.at <= now);
            let remains = |id: &ActorId| !self.actor(*id).has_ended() && !self.is_waiting(*id);
            let remaining = self.actors_of(process).filter(remains);
            let (due, waiting): (Vec<_>, Vec<_>) = remaining.partition(is_due);
            match self.processes[process.index()] {
                ProcessState::Up => {
                    let mut added = Vec::new();
                    for id in due {
                        let hosted = self.actor(id).hosted;
                        let reset = self.take_due(id);
                        if hosted {
                            self.commands.push(Command::Actor(id, ActorCommand::Restart { reset }));
                        } else {
                            added.push(id);
                        }
                    }
                    if !added.is_empty() {
                        self.commands.push(Command::Host { process, actors: added });
                    }
                }
                // They start together, after everything of the previous process has been settled.
                ProcessState::Down => {
                    let settled = !self.observed.unsettled.contains(&process);
                    if !due.is_empty() && waiting.is_empty() && settled {
                        self.start_process(process);
                    }
                }
                ProcessState::Starting | ProcessState::Exiting => {}
            }
        }
    }
}
