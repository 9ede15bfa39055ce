//! The end of a run: every worker process exits, by itself after all its actors have finished, otherwise by force.

use std::time::{Duration, Instant};

use camrig_status::ActorState as State;

use super::{Command, Core, Event, Phase, ProcessState};
use crate::ids::ProcessId;

/// Time limit for the exit of a worker whose actors have ended, and for the end of a killed one before it is killed
/// again.
const EXIT_TIMEOUT: Duration = Duration::from_secs(5);

impl Core {
    /// Ends every process.
    pub(super) fn end_processes(&mut self) {
        self.commands.push(Command::MeasureUsage);
        for process in self.workers() {
            let forced = self.actors_of(process).any(|id| self.actor(id).state != State::Finished);
            let forced = forced || self.interrupted || !self.is_up(process);
            self.commands.push(if forced { Command::Kill(process) } else { Command::Exit(process) });
        }
        self.ended_at = Some(self.now);
        self.phase = Phase::Ending { deadline: self.now + EXIT_TIMEOUT };
        self.end_when_all_are_gone();
    }

    pub(super) fn on_ending(&mut self, event: &Event, deadline: Instant) {
        match *event {
            Event::Exited(process, _) if self.release(process) => self.end_when_all_are_gone(),
            Event::NotStarted(process, _) if self.process(process) == Some(ProcessState::Starting) => {
                self.release(process);
                self.end_when_all_are_gone();
            }
            Event::Interrupt => self.kill_the_rest(),
            Event::Observed(_) if self.now >= deadline => {
                self.kill_the_rest();
                self.phase = Phase::Ending { deadline: self.now + EXIT_TIMEOUT };
            }
            _ => {}
        }
    }

    /// Notes that a worker process has ended; returns `false` if it was not running.
    pub(super) fn release(&mut self, process: ProcessId) -> bool {
        let is_worker = process != ProcessId::MAIN;
        if !is_worker || self.process(process).is_none_or(|state| state == ProcessState::Down) {
            return false;
        }
        self.processes[process.index()] = ProcessState::Down;
        self.commands.push(Command::Release(process));
        true
    }

    fn kill_the_rest(&mut self) {
        let workers = self.workers();
        self.commands.extend(workers.into_iter().map(Command::Kill));
    }

    fn end_when_all_are_gone(&mut self) {
        if self.workers().is_empty() {
            self.phase = Phase::Over;
        }
    }

    /// Returns the worker processes that have not ended.
    fn workers(&self) -> Vec<ProcessId> {
        let processes = (1..self.processes.len()).map(ProcessId::new);
        processes.filter(|&process| self.process(process) != Some(ProcessState::Down)).collect()
    }
}
