//! Processes that have to end: killed when they do not, and given up when the kernel does not end them.
//!
//! A killed process can stay for any time: a debugger that traces it keeps its exit status, and a system call that cannot be
//! interrupted keeps it alive. Nothing waits for it: the rig continues, and ends without it.

use std::time::{Duration, Instant};

use super::{Command, Core, GUEST_TIMEOUT, Notice, Phase, ProcessState};
use crate::ids::ProcessId;
use crate::workers::Unreaped;

/// Time limit for the exit of a worker before it is inspected: one that has ended is released, another one is killed.
/// A killed one is inspected again after this time.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// A process that has to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaving {
    /// Time of its next inspection.
    inspected_at: Instant,
    killed: bool,
    /// Whether it was logged that it does not end.
    logged: bool,
}

impl Core {
    /// Kills a process.
    pub(super) fn kill(&mut self, process: ProcessId) {
        self.commands.push(Command::Kill(process));
        let is_of_guests = self.actors_of(process).all(|id| self.is_guest(id));
        let inspected_at = self.now + if is_of_guests { GUEST_TIMEOUT } else { EXIT_TIMEOUT };
        let leaving = Leaving { inspected_at, killed: true, logged: false };
        let known = self.leaving.entry(process).or_insert(leaving);
        if !known.killed {
            *known = leaving;
        }
    }

    /// Notes that a process has to end by itself.
    pub(super) fn expect_end(&mut self, process: ProcessId) {
        let is_worker = process != ProcessId::MAIN;
        if is_worker && self.process(process).is_some_and(|state| state != ProcessState::Down) {
            let inspected_at = self.now + EXIT_TIMEOUT;
            let leaving = Leaving { inspected_at, killed: false, logged: false };
            self.leaving.entry(process).or_insert(leaving);
        }
    }

    /// Inspects the processes that have not ended in time.
    pub(super) fn look_at_leaving(&mut self) {
        for (&process, leaving) in &mut self.leaving {
            if self.now >= leaving.inspected_at {
                leaving.inspected_at = self.now + EXIT_TIMEOUT;
                self.commands.push(Command::Inspect(process));
            }
        }
    }

    /// Handles the inspection of a process that has not ended in time.
    pub(super) fn on_unreaped(&mut self, process: ProcessId, unreaped: Unreaped) {
        let Some(leaving) = self.leaving.get_mut(&process) else { return };
        let Unreaped { has_ended, reason } = unreaped;
        let ending = self.phase == Phase::Ending;
        if has_ended && !ending {
            self.on_exited(process, &format!("has ended in an unknown way: {reason}"));
        } else if has_ended {
            self.note_end(process);
        } else if !leaving.killed {
            self.kill(process);
        } else {
            let logged = std::mem::replace(&mut leaving.logged, true);
            if ending || !logged {
                self.log(Notice::DoesNotEnd { process, reason, ending });
            }
            if ending {
                self.note_end(process);
            } else {
                // Actors that were given up did not receive the command.
                self.end_links_of_ended_actors(process);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::RunLimits;
    use crate::supervisor::core::{ActorSetup, Event, Observation, Setup};
    use crate::topology::RestartPolicy;

    const EYE: ProcessId = ProcessId(1);

    /// Returns the core of a camera in a process of its own, which accepts commands.
    fn core(now: Instant) -> Core {
        let restart = RestartPolicy {
            max: 4,
            window: Duration::from_secs(60),
            backoff: Duration::ZERO,
            backoff_max: Duration::ZERO,
            device_timeout: Duration::ZERO,
        };
        let (name, process) = ("left".to_owned(), EYE);
        let (is_camera, relays, is_guest, thread) = (true, false, false, None);
        let (stall_timeout, start_timeout) = (None, None);
        let camera = ActorSetup {
            name,
            is_camera,
            relays,
            is_guest,
            process,
            thread,
            restart,
            stall_timeout,
            start_timeout,
        };
        let processes = vec!["main".to_owned(), "eye".to_owned()];
        let mut core =
            Core::new(Setup { actors: vec![camera], processes, limits: RunLimits::default() }, now);
        core.begin(now);
        core.on(Event::Connected(EYE), now);
        core.on(Event::Ready(EYE, crate::ids::ActorId(0)), now);
        core.on(Event::Observed(Observation::default()), now);
        core
    }

    fn unreaped(has_ended: bool) -> Event {
        Event::Unreaped(EYE, Unreaped { has_ended, reason: "it sleeps".to_owned() })
    }

    fn observe(core: &mut Core, at: Instant) -> Vec<Command> {
        core.on(Event::Observed(Observation::default()), at)
    }

    #[test]
    fn a_process_that_ended_without_being_reaped_is_replaced() {
        let now = Instant::now();
        let mut core = core(now);
        assert_eq!(core.on(Event::Closed(EYE), now), []);
        assert_eq!(observe(&mut core, now + EXIT_TIMEOUT / 2), []);
        assert_eq!(observe(&mut core, now + EXIT_TIMEOUT), [Command::Inspect(EYE)]);
        let commands = core.on(unreaped(true), now + EXIT_TIMEOUT);
        assert_eq!(commands[0], Command::Release(EYE));
        assert_eq!(observe(&mut core, now + EXIT_TIMEOUT), [Command::StartProcess(EYE)]);
    }

    #[test]
    fn a_process_that_does_not_end_is_killed_and_waited_for_and_the_rig_ends_without_it() {
        let now = Instant::now();
        let mut core = core(now);
        core.on(Event::Closed(EYE), now);
        observe(&mut core, now + EXIT_TIMEOUT);
        assert_eq!(core.on(unreaped(false), now + EXIT_TIMEOUT), [Command::Kill(EYE)]);
        let later = now + EXIT_TIMEOUT * 2;
        assert_eq!(observe(&mut core, later), [Command::Inspect(EYE)]);
        let log = |ending| {
            Command::Log(Notice::DoesNotEnd { process: EYE, reason: "it sleeps".to_owned(), ending })
        };
        assert_eq!(core.on(unreaped(false), later), [log(false)]);
        assert_eq!(observe(&mut core, later + EXIT_TIMEOUT), [Command::Inspect(EYE)]);
        assert_eq!(core.on(unreaped(false), later + EXIT_TIMEOUT), []);
        core.on(Event::Interrupt, later + EXIT_TIMEOUT);
        let commands = core.on(Event::Interrupt, later + EXIT_TIMEOUT);
        assert_eq!(commands, [Command::MeasureUsage, Command::Kill(EYE)]);
        let end = later + EXIT_TIMEOUT * 2;
        assert_eq!(observe(&mut core, end), [Command::Inspect(EYE)]);
        assert_eq!(core.on(unreaped(false), end), [log(true), Command::Release(EYE)]);
        assert!(core.is_over());
    }
}
