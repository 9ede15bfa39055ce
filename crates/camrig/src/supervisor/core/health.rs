//! Actors that make no progress without failing: a camera that delivers no framesets, a processor that does not return.
//!
//! A camera that only waits for blocking readers is healthy, and so is a processor without input. The possible reaction
//! depends on the actor's placement: a thread cannot be killed, a process can.

use std::time::{Duration, Instant};

use camrig_status::ActorState;

use super::{Command, Core, Notice, ProcessState, is_beginning};
use crate::control::ActorCommand;
use crate::failure::Failure;
use crate::ids::{ActorId, ProcessId};
use crate::late::{Late, START_TIME_MIN};

/// Number of framesets after which a restart counts as successful, if all streams have delivered.
const SUCCESS_FRAMESETS: u64 = 2;

/// Last observation of an actor's current instance.
#[derive(Debug)]
pub(super) struct Watch {
    /// Number of framesets at its first observation.
    began_with: Option<u64>,
    /// Number of framesets at its last observed activity.
    seen: u64,
    /// Time of its last observed activity, or of its interruption.
    since: Instant,
    /// If true, all possible reactions have been tried.
    given_up: bool,
}

impl Watch {
    pub(super) fn begin(now: Instant) -> Self {
        Self { began_with: None, seen: 0, since: now, given_up: false }
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up
    }
}

impl Core {
    /// Checks every actor, and reacts to those that make no progress.
    pub(super) fn check_actors(&mut self) {
        for id in self.ids() {
            let actor = self.actor(id);
            match actor.state {
                state if is_beginning(state) && actor.due.is_none() => self.look_at_beginning(id),
                // A camera that is being stopped has nothing to deliver.
                ActorState::Running | ActorState::Stalled
                    if !((self.stopping || actor.leaves()) && self.is_camera(id)) =>
                {
                    self.look_at_instance(id);
                }
                _ => {}
            }
        }
    }

    /// Returns whether a processor is in a call, including its last one, and not known to be stalled: its stall
    /// timeout then applies. A processor that is waiting for its readers does not count, nor one of another program.
    pub(super) fn some_are_in_a_call(&self) -> bool {
        let in_a_call = |id: ActorId| {
            let (actor, activity) = (self.actor(id), &self.observed.actors[id.index()]);
            let called = activity.called_for.is_some() && !activity.is_blocked;
            called && !actor.has_ended() && !actor.watch.given_up && !self.is_guest(id)
        };
        self.ids().any(in_a_call)
    }

    /// Checks an actor that has not finished starting.
    fn look_at_beginning(&mut self, id: ActorId) {
        let watch = &self.actor(id).watch;
        let late = self.is_late(id, self.now.saturating_duration_since(watch.since));
        let Some(late) = late.filter(|_| !watch.given_up) else { return };
        if self.going_since.is_some() && self.is_alone(id) {
            self.log(Notice::NotReady { actor: id, late });
        } else {
            self.fail(id, Failure { is_final: true, ..Failure::new(late) });
        }
        self.replace(id);
    }

    /// Returns the time-out that the start of an actor has exceeded, if it has.
    fn is_late(&self, id: ActorId, elapsed: Duration) -> Option<Late> {
        let own = self.setup.actors[id.index()].start_timeout;
        if let Some(timeout) = own.filter(|&timeout| elapsed >= timeout) {
            return Some(Late::Actor(timeout));
        }
        let time = self.setup.limits.time.filter(|_| self.going_since.is_none())?.max(START_TIME_MIN);
        (self.now.saturating_duration_since(self.begun_at) >= time).then_some(Late::Rig(time))
    }

    fn look_at_instance(&mut self, id: ActorId) {
        let now = self.now;
        let activity = self.observed.actors[id.index()];
        let idle = !self.is_camera(id) && activity.called_for.is_none();
        let (is_camera, timeout) = (self.is_camera(id), self.setup.actors[id.index()].stall_timeout);
        let actor = self.actor_mut(id);
        let began_with = *actor.watch.began_with.get_or_insert(activity.progress);
        if activity.progress >= began_with + SUCCESS_FRAMESETS && !activity.awaits_streams {
            actor.recovery.note_success();
        }
        if activity.progress != actor.watch.seen || activity.is_blocked || idle {
            actor.watch.seen = activity.progress;
            actor.watch.since = now;
            if actor.state == ActorState::Stalled && !is_camera {
                actor.watch.given_up = false;
                self.log(Notice::RunsAgain(id));
                self.set_state(id, ActorState::Running);
            }
            return;
        }
        let Some(timeout) = timeout else { return };
        let stalled = now.saturating_duration_since(actor.watch.since) >= timeout
            && activity.called_for.is_none_or(|time| time >= timeout);
        if stalled && !actor.watch.given_up {
            if is_camera {
                self.on_stalled_camera(id, timeout);
            } else {
                self.on_stalled_processor(id, timeout);
            }
        }
    }

    /// Interrupts a camera that delivers no framesets; if it does not even fail then, its process is replaced.
    fn on_stalled_camera(&mut self, id: ActorId, timeout: Duration) {
        if self.actor(id).state == ActorState::Running {
            self.log(Notice::DeliversNothing { actor: id, timeout });
            self.set_state(id, ActorState::Stalled);
            self.actor_mut(id).watch.since = self.now;
            self.commands.push(Command::Actor(id, ActorCommand::Interrupt));
        } else if !self.replace(id) {
            self.log(Notice::DoesNotReact(id));
        }
    }

    /// Replaces the process of a processor that does not return from a call.
    fn on_stalled_processor(&mut self, id: ActorId, timeout: Duration) {
        let alone = self.is_alone(id);
        self.log(Notice::DoesNotReturn { actor: id, timeout, alone, stopping: self.stopping });
        self.set_state(id, ActorState::Stalled);
        self.replace(id);
    }

    /// Gives up actors that will not end by themselves: cameras first, since their readers only wait for the end
    /// of their links. A thread of a shared process cannot be ended; its process will be.
    pub(super) fn give_up_on_the_rest(&mut self, timeout: Duration) {
        let left = self.ids().filter(|&id| !self.actor(id).has_ended());
        let (cameras, others): (Vec<_>, Vec<_>) = left.partition(|&id| self.is_camera(id));
        for id in if cameras.is_empty() { others } else { cameras } {
            if self.actor(id).has_ended() {
                continue;
            }
            let failure = Failure::new(format_args!("did not end within {} s", timeout.as_secs()));
            self.fail(id, Failure { is_final: true, ..failure });
            self.replace(id);
        }
    }

    /// Kills the process of an actor that has its own: its exit is a failure like any other. Returns whether it
    /// has its own.
    pub(super) fn replace(&mut self, id: ActorId) -> bool {
        self.actor_mut(id).watch.given_up = true;
        let process = self.process_of(id);
        let alone = self.process(process) != Some(ProcessState::Down) && self.is_alone(id);
        if alone {
            self.kill(process);
        }
        alone
    }

    /// Returns whether an actor is the only one in its process that has not ended, beside those of its thread, which cannot
    /// continue without it; and the process is a worker.
    fn is_alone(&self, id: ActorId) -> bool {
        let (process, thread) = (self.process_of(id), &self.setup.actors[id.index()].thread);
        let is_apart =
            |other: ActorId| thread.is_none() || self.setup.actors[other.index()].thread != *thread;
        let mut others = self.actors_of(process).filter(|&other| other != id && is_apart(other));
        // Others that have not begun there lose nothing with the process.
        let is_absent = |other| {
            let actor = self.actor(other);
            actor.has_ended() || actor.due.is_some() && !actor.hosted
        };
        process != ProcessId::MAIN && others.all(is_absent)
    }
}
