//! Actors that neither fail nor do anything: a camera that delivers nothing, a processor that does not return.
//!
//! A camera that only waits for readers that asked it to is healthy, and so is a processor without input. What
//! can be done depends on where the actor lives: a thread cannot be killed, a process can.

use std::time::{Duration, Instant};

use camrig_status::ActorState as State;

use super::{DRAIN_TIMEOUT, Run};
use crate::clock::monotonic_nanos;
use crate::control::{ActorCommand, WorkerCommand};
use crate::failure::Failure;
use crate::ids::ActorId;

/// How long an actor may take to be built, or its device to be opened.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(300);

/// A life that brought so many framesets was worth beginning.
const SUCCESS_FRAMESETS: u64 = 2;

/// What was last seen of an actor in its present life.
#[derive(Debug)]
pub(super) struct Watch {
    /// Framesets at the beginning of this life.
    began_with: u64,
    /// Framesets when it was last seen to do something.
    seen: u64,
    /// When it was last seen to do something, or was told to fail.
    since: Instant,
    /// Whether it was said that nothing can be done.
    given_up: bool,
}

impl Watch {
    pub(super) fn begin(framesets: u64) -> Self {
        Self { began_with: framesets, seen: framesets, since: Instant::now(), given_up: false }
    }
}

impl Run<'_> {
    /// Framesets that an actor has produced, or has been given.
    pub(super) fn progress_of(&self, id: usize) -> u64 {
        if self.is_camera(id) {
            return self.rig.actor_counters[id].produced();
        }
        let links = self.topology.links().iter().zip(&self.rig.links);
        links
            .filter(|(spec, _)| spec.to.index() == id)
            .map(|(_, link)| link.link_state.counts().delivered)
            .sum()
    }

    /// Notices processes that are stopped. Whoever stopped one may let it go on: only what its actors do not do
    /// meanwhile is a failure.
    pub(super) fn look_after_processes(&mut self) {
        for (process, name) in self.processes.iter_mut().zip(self.topology.processes()) {
            let Some(worker) = &process.worker else { continue };
            let stopped_by = worker.stopped_by();
            match (&process.stopped_by, &stopped_by) {
                (None, Some(signal)) => log::warn!("process `{name}` is stopped by signal {signal}"),
                (Some(_), None) => log::warn!("process `{name}` goes on"),
                _ => {}
            }
            process.stopped_by = stopped_by;
        }
    }

    /// Looks at every actor, and does what can be done for those that need it.
    pub(super) fn look_after_actors(&mut self) {
        for id in 0..self.actors.len() {
            match self.actors[id].state {
                State::Starting | State::Restarting | State::WaitingForDevice
                    if self.actors[id].due.is_none() =>
                {
                    self.look_at_beginning(id);
                }
                // A camera that is told to stop has nothing to deliver.
                State::Running | State::Stalled if !(self.stopping && self.is_camera(id)) => {
                    self.look_at_life(id);
                }
                _ => {}
            }
        }
    }

    /// Whether a processor is in a call, its last one included, and not known to have stalled there: then it has
    /// as long as its time-out says. One that only waits for its readers in there does nothing.
    pub(super) fn some_are_in_a_call(&self) -> bool {
        let in_a_call = |id: usize| {
            let (actor, counters) = (&self.actors[id], &self.rig.actor_counters[id]);
            let called = counters.called_at_nanos().is_some() && !counters.is_blocked();
            called && !actor.state.has_ended() && !actor.watch.given_up
        };
        (0..self.actors.len()).any(in_a_call)
    }

    /// An actor that takes too long to begin.
    fn look_at_beginning(&mut self, id: usize) {
        if self.actors[id].watch.since.elapsed() < BEGIN_TIMEOUT {
            return;
        }
        let failure = Failure::new(format_args!("was not ready within {} s", BEGIN_TIMEOUT.as_secs()));
        self.replace_or(id, |run| run.fail(id, Failure { in_vain: true, ..failure }));
    }

    fn look_at_life(&mut self, id: usize) {
        let progress = self.progress_of(id);
        let counters = &self.rig.actor_counters[id];
        let called_at = counters.called_at_nanos();
        let waits_for_readers = counters.is_blocked();
        let idle = !self.is_camera(id) && called_at.is_none();
        let actor = &mut self.actors[id];
        if progress >= actor.watch.began_with + SUCCESS_FRAMESETS {
            actor.ladder.note_success();
        }
        if progress != actor.watch.seen || waits_for_readers || idle {
            actor.watch.seen = progress;
            actor.watch.since = Instant::now();
            if actor.state == State::Stalled && !self.is_camera(id) {
                self.actors[id].watch.given_up = false;
                let spec = &self.topology.actors()[id];
                log::warn!("{} `{}` is running again", spec.role.name(), spec.name);
                self.set_state(id, State::Running);
            }
            return;
        }
        let Some(timeout) = self.topology.actors()[id].stall_timeout else { return };
        let called_for = called_at.map(|at| Duration::from_nanos(monotonic_nanos().saturating_sub(at)));
        let stalled = actor.watch.since.elapsed() >= timeout && called_for.is_none_or(|time| time >= timeout);
        if stalled && !actor.watch.given_up {
            if self.is_camera(id) {
                self.rouse_camera(id, timeout);
            } else {
                self.rouse_processor(id, timeout);
            }
        }
    }

    /// A camera delivers nothing: it is told to fail, and when it does not even do that, its process is
    /// replaced.
    fn rouse_camera(&mut self, id: usize, timeout: Duration) {
        let spec = &self.topology.actors()[id];
        if self.actors[id].state == State::Running {
            log::warn!("camera `{}` has delivered nothing for {} ms", spec.name, timeout.as_millis());
            self.set_state(id, State::Stalled);
            self.actors[id].watch.since = Instant::now();
            self.tell(spec.process.index(), WorkerCommand::Actor(ActorId::new(id), ActorCommand::Interrupt));
            return;
        }
        self.replace_or(id, |run| {
            let (spec, process) = run.names(id);
            log::error!("camera `{spec}` does not react, and shares process `{process}` with others");
        });
    }

    /// A processor does not return from a call: its process is replaced.
    fn rouse_processor(&mut self, id: usize, timeout: Duration) {
        let (name, process) = self.names(id);
        let fact = format!("processor `{name}` has not returned from a call for {} ms", timeout.as_millis());
        if self.lives_alone(id) {
            log::error!("{fact}; its process is {}", if self.stopping { "killed" } else { "replaced" });
        } else {
            log::error!("{fact}, and shares process `{process}` with others");
        }
        self.set_state(id, State::Stalled);
        self.replace_or(id, |_| {});
    }

    /// Gives up actors that will not end by themselves: cameras first, since their readers only wait for the end of
    /// their links. A thread of a process with others cannot be ended; its process will be.
    pub(super) fn give_up_on_the_rest(&mut self) {
        let left = (0..self.actors.len()).filter(|&id| !self.actors[id].state.has_ended());
        let (cameras, others): (Vec<_>, Vec<_>) = left.partition(|&id| self.is_camera(id));
        for id in if cameras.is_empty() { others } else { cameras } {
            let failure = Failure::new(format_args!("did not end within {} s", DRAIN_TIMEOUT.as_secs()));
            self.fail(id, Failure { in_vain: true, ..failure });
            self.replace_or(id, |_| {});
        }
    }

    /// Kills the process of an actor that has one of its own: that it is gone will be heard, and is a failure
    /// like any other. Otherwise nothing can be done but what `otherwise` does.
    fn replace_or(&mut self, id: usize, otherwise: impl FnOnce(&mut Self)) {
        self.actors[id].watch.given_up = true;
        let process = &self.processes[self.topology.actors()[id].process.index()];
        match &process.worker {
            Some(worker) if self.lives_alone(id) => worker.kill(),
            _ => otherwise(self),
        }
    }

    /// Whether an actor is the only one in its process that has not ended, and that is not the supervisor's.
    fn lives_alone(&self, id: usize) -> bool {
        let process = self.topology.actors()[id].process.index();
        let mut others = self.actors_of(process).filter(|&other| other != id);
        process != 0 && others.all(|other| self.actors[other].state.has_ended())
    }

    fn names(&self, id: usize) -> (&str, &str) {
        let spec = &self.topology.actors()[id];
        (&spec.name, self.topology.process(spec.process))
    }
}
