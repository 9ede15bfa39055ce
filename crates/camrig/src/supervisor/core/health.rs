//! Actors that neither fail nor do anything: a camera that delivers nothing, a processor that does not return.
//!
//! A camera that only waits for readers that asked it to is healthy, and so is a processor without input. What
//! can be done depends on where the actor lives: a thread cannot be killed, a process can.

use std::time::{Duration, Instant};

use camrig_status::ActorState as State;

use super::{Command, Core, DRAIN_TIMEOUT, Notice, ProcessState, is_beginning};
use crate::control::ActorCommand;
use crate::failure::Failure;
use crate::ids::{ActorId, ProcessId};

/// Maximum time for building an actor, or opening its device.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(300);

/// Framesets after which a restart counts as successful.
const SUCCESS_FRAMESETS: u64 = 2;

/// What was last seen of an actor's present instance.
#[derive(Debug)]
pub(super) struct Watch {
    /// Framesets at its first observation.
    began_with: Option<u64>,
    /// Framesets when it was last seen to do something.
    seen: u64,
    /// When it was last seen to do something, or was interrupted.
    since: Instant,
    /// Whether everything that can be done was done.
    given_up: bool,
}

impl Watch {
    pub(super) fn begin(now: Instant) -> Self {
        Self { began_with: None, seen: 0, since: now, given_up: false }
    }
}

impl Core {
    /// Looks at every actor, and does what can be done for those that need it.
    pub(super) fn look_after_actors(&mut self) {
        for id in self.ids() {
            let actor = self.actor(id);
            match actor.state {
                state if is_beginning(state) && actor.due.is_none() => self.look_at_beginning(id),
                // A camera that is told to stop has nothing to deliver.
                State::Running | State::Stalled if !(self.stopping && self.is_camera(id)) => {
                    self.look_at_instance(id);
                }
                _ => {}
            }
        }
    }

    /// Whether a processor is in a call, its last one included, and not known to have stalled there: then it has
    /// as long as its time-out says. One that only waits for its readers in there does nothing.
    pub(super) fn some_are_in_a_call(&self) -> bool {
        let in_a_call = |id: ActorId| {
            let (actor, activity) = (self.actor(id), &self.observed.actors[id.index()]);
            let called = activity.called_for.is_some() && !activity.is_blocked;
            called && !actor.has_ended() && !actor.watch.given_up
        };
        self.ids().any(in_a_call)
    }

    /// An actor that takes too long to begin.
    fn look_at_beginning(&mut self, id: ActorId) {
        let watch = &self.actor(id).watch;
        if watch.given_up || self.now.saturating_duration_since(watch.since) < BEGIN_TIMEOUT {
            return;
        }
        let failure = Failure::new(format_args!("was not ready within {} s", BEGIN_TIMEOUT.as_secs()));
        if !self.replace(id) {
            self.fail(id, Failure { in_vain: true, ..failure });
        }
    }

    fn look_at_instance(&mut self, id: ActorId) {
        let now = self.now;
        let activity = self.observed.actors[id.index()];
        let idle = !self.is_camera(id) && activity.called_for.is_none();
        let (is_camera, timeout) = (self.is_camera(id), self.setup.actors[id.index()].stall_timeout);
        let actor = self.actor_mut(id);
        let began_with = *actor.watch.began_with.get_or_insert(activity.progress);
        if activity.progress >= began_with + SUCCESS_FRAMESETS {
            actor.ladder.note_success();
        }
        if activity.progress != actor.watch.seen || activity.is_blocked || idle {
            actor.watch.seen = activity.progress;
            actor.watch.since = now;
            if actor.state == State::Stalled && !is_camera {
                actor.watch.given_up = false;
                self.log(Notice::RunsAgain(id));
                self.set_state(id, State::Running);
            }
            return;
        }
        let Some(timeout) = timeout else { return };
        let stalled = now.saturating_duration_since(actor.watch.since) >= timeout
            && activity.called_for.is_none_or(|time| time >= timeout);
        if stalled && !actor.watch.given_up {
            if is_camera {
                self.rouse_camera(id, timeout);
            } else {
                self.rouse_processor(id, timeout);
            }
        }
    }

    /// A camera delivers nothing: it is interrupted, and when it does not even fail then, its process is replaced.
    fn rouse_camera(&mut self, id: ActorId, timeout: Duration) {
        if self.actor(id).state == State::Running {
            self.log(Notice::DeliversNothing { actor: id, timeout });
            self.set_state(id, State::Stalled);
            self.actor_mut(id).watch.since = self.now;
            self.commands.push(Command::Actor(id, ActorCommand::Interrupt));
        } else if !self.replace(id) {
            self.log(Notice::DoesNotReact(id));
        }
    }

    /// A processor does not return from a call: its process is replaced.
    fn rouse_processor(&mut self, id: ActorId, timeout: Duration) {
        let alone = self.lives_alone(id);
        self.log(Notice::DoesNotReturn { actor: id, timeout, alone, stopping: self.stopping });
        self.set_state(id, State::Stalled);
        self.replace(id);
    }

    /// Gives up actors that will not end by themselves: cameras first, since their readers only wait for the end of
    /// their links. A thread of a process with others cannot be ended; its process will be.
    pub(super) fn give_up_on_the_rest(&mut self) {
        let left = self.ids().filter(|&id| !self.actor(id).has_ended());
        let (cameras, others): (Vec<_>, Vec<_>) = left.partition(|&id| self.is_camera(id));
        for id in if cameras.is_empty() { others } else { cameras } {
            if self.actor(id).has_ended() {
                continue;
            }
            let failure = Failure::new(format_args!("did not end within {} s", DRAIN_TIMEOUT.as_secs()));
            self.fail(id, Failure { in_vain: true, ..failure });
            self.replace(id);
        }
    }

    /// Kills the process of an actor that has one of its own: its exit is a failure like any other. Returns whether it
    /// has.
    fn replace(&mut self, id: ActorId) -> bool {
        self.actor_mut(id).watch.given_up = true;
        let process = self.process_of(id);
        let alone = self.process(process) != Some(ProcessState::Down) && self.lives_alone(id);
        if alone {
            self.commands.push(Command::Kill(process));
        }
        alone
    }

    /// Whether an actor is the only one in its process that has not ended, and that is not the supervisor's.
    fn lives_alone(&self, id: ActorId) -> bool {
        let process = self.process_of(id);
        let mut others = self.actors_of(process).filter(|&other| other != id);
        process != ProcessId::MAIN && others.all(|other| self.actor(other).has_ended())
    }
}
