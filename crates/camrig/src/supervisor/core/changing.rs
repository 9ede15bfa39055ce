//! Changes of a rig that runs: actors that leave, and actors that join, some of which replace one that leaves.
//!
//! Entries are never removed: an actor that has left keeps its number, and one that joins gets the next. So a late report
//! of the first is never attributed to the second.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use camrig_status::ActorState;

use super::health::Watch;
use super::messages::Changing;
use super::policy::Recovery;
use super::{Actor, Command, Core, DRAIN_TIMEOUT, Due, GUEST_TIMEOUT, Phase, ProcessState};
use crate::control::ActorCommand;
use crate::failure::Failure;
use crate::ids::{ActorId, ProcessId};

/// The end of an actor that leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leave {
    /// Number of framesets at its last observed activity, and the time of that.
    seen: u64,
    since: Instant,
}

impl Core {
    /// Returns whether the rig can change: it runs, and was not stopped.
    pub(in crate::supervisor) fn accepts_changes(&self) -> bool {
        self.phase == Phase::Active && self.going_since.is_some() && !self.stopping
    }

    pub(super) fn change(&mut self, changing: Changing) {
        if !self.accepts_changes() {
            return;
        }
        let Changing { processes, leaves, joins } = changing;
        self.processes.extend(processes.iter().map(|_| ProcessState::Down));
        self.setup.processes.extend(processes);
        for (setup, after) in joins {
            let (changes, errors, warned, warnings) = match after {
                Some(before) => {
                    let Actor { changes, errors, warned, warnings, .. } = self.actor(before);
                    (changes.clone(), errors.clone(), *warned, warnings.clone())
                }
                None => Default::default(),
            };
            self.actors.push(Actor {
                state: ActorState::default(),
                changes,
                errors,
                progress: String::new(),
                warned,
                warnings,
                unavailable: false,
                recovery: Recovery::new(setup.restart, setup.is_camera),
                watch: Watch::begin(self.now),
                due: Some(Due { at: self.now, reset: false }),
                hosted: false,
                after,
                joins: true,
                is_paused: false,
                leave: None,
            });
            self.setup.actors.push(setup);
            self.observed.actors.push(super::Activity::default());
        }
        for id in leaves {
            self.leave(id);
        }
        self.begin_due_instances();
    }

    /// Ends an actor in order. A processor ends when its inputs have ended.
    fn leave(&mut self, id: ActorId) {
        let seen = self.observed.actors[id.index()].progress;
        let leave = Leave { seen, since: self.now };
        let actor = self.actor_mut(id);
        actor.leave = Some(leave);
        if actor.has_ended() {
            return;
        }
        if actor.due.is_some() {
            self.dismiss(id);
        } else if self.leaving.contains_key(&self.process_of(id)) {
            // It has closed its channels: no command reaches it.
            self.kill(self.process_of(id));
        } else if self.is_camera(id) {
            self.commands.push(Command::Actor(id, ActorCommand::Finish));
        }
    }

    /// Ends an actor that has no instance.
    pub(super) fn dismiss(&mut self, id: ActorId) {
        self.actor_mut(id).due = None;
        let process = self.process_of(id);
        let is_reachable =
            self.actor(id).hosted && self.is_up(process) && !self.leaving.contains_key(&process);
        self.commands.push(if is_reachable {
            Command::Actor(id, ActorCommand::GiveUp)
        } else {
            Command::EndLinks(id)
        });
        self.set_state(id, ActorState::Finished);
    }

    /// Releases the past of an actor that has left, when the report has it: its entry stays.
    pub(in crate::supervisor) fn forget(&mut self, id: ActorId) {
        let setup = &self.setup.actors[id.index()];
        let recovery = Recovery::new(setup.restart, setup.is_camera);
        let actor = self.actor_mut(id);
        (actor.changes, actor.errors, actor.recovery) = (BTreeMap::new(), VecDeque::new(), recovery);
        (actor.warnings, actor.progress) = (VecDeque::new(), String::new());
    }

    /// Gives up actors that leave and make no progress.
    pub(super) fn look_at_leaves(&mut self) {
        for id in self.ids() {
            let (now, activity) = (self.now, self.observed.actors[id.index()]);
            let is_guest = self.is_guest(id);
            let timeout = if is_guest { GUEST_TIMEOUT } else { DRAIN_TIMEOUT };
            let actor = self.actor_mut(id);
            let (Some(leave), false) = (&mut actor.leave, actor.state.has_ended()) else { continue };
            // The last call of a processor may take long: its own time-out applies.
            let called = activity.called_for.is_some() && !activity.is_blocked && !actor.watch.is_given_up();
            let called = called && !is_guest;
            if activity.progress != leave.seen || called {
                *leave = Leave { seen: activity.progress, since: now };
            } else if now.saturating_duration_since(leave.since) >= timeout {
                let failure = Failure::new(format_args!("did not end within {} s", timeout.as_secs()));
                self.fail(id, Failure { is_final: true, ..failure });
                self.replace(id);
            }
        }
    }

    /// Ends the processes that changes have left without actors.
    pub(super) fn end_empty_processes(&mut self) {
        for process in (1..self.processes.len()).map(ProcessId::new) {
            let has_left = |id: ActorId| self.actor(id).leaves() && self.actor(id).has_ended();
            if self.processes[process.index()] == ProcessState::Up
                && self.actors_of(process).next().is_some()
                && self.actors_of(process).all(has_left)
            {
                self.processes[process.index()] = ProcessState::Exiting;
                self.commands.push(Command::Exit(process));
                self.expect_end(process);
            }
        }
    }

    /// Returns whether an actor is in a process that accepts commands, and has not ended.
    pub(in crate::supervisor) fn is_hosted(&self, id: ActorId) -> bool {
        let actor = self.actor(id);
        actor.hosted && !actor.has_ended() && self.is_up(self.process_of(id))
    }

    /// Returns whether an actor waits for the end of the one that it replaces.
    pub(super) fn is_waiting(&self, id: ActorId) -> bool {
        self.actor(id).after.is_some_and(|before| !self.actor(before).has_ended())
    }
}

impl Actor {
    /// Returns whether a change has removed or replaced the actor.
    pub(in crate::supervisor) fn leaves(&self) -> bool {
        self.leave.is_some()
    }

    /// Returns whether the actor joined a running rig and its first instance has not been ready.
    pub(in crate::supervisor) fn joins(&self) -> bool {
        self.joins
    }
}
