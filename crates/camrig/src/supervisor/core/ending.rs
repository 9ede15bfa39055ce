//! The end of a run: every worker process exits, by itself after all its actors have finished, otherwise by force.

use camrig_status::ActorState;

use super::{Command, Core, Event, Phase, ProcessState};
use crate::ids::ProcessId;

impl Core {
    /// Ends every process.
    pub(super) fn end_processes(&mut self) {
        self.commands.push(Command::MeasureUsage);
        for process in self.workers() {
            let forced = self.actors_of(process).any(|id| self.actor(id).state != ActorState::Finished);
            if self.processes[process.index()] == ProcessState::Exiting && !self.interrupted {
                // It has the command to exit.
                continue;
            }
            let forced = forced || self.interrupted || !self.is_up(process);
            if forced {
                self.kill(process);
            } else {
                self.commands.push(Command::Exit(process));
                self.expect_end(process);
            }
        }
        self.ended_at = Some(self.now);
        self.phase = Phase::Ending;
        self.end_when_all_are_gone();
    }

    pub(super) fn on_ending(&mut self, event: Event) {
        match event {
            Event::Exited(process, _) => self.note_end(process),
            Event::NotStarted(process, _) if self.process(process) == Some(ProcessState::Starting) => {
                self.note_end(process);
            }
            Event::Interrupt => self.workers().into_iter().for_each(|process| self.kill(process)),
            Event::Observed(_) => self.look_at_leaving(),
            Event::Unreaped(process, unreaped) => self.on_unreaped(process, unreaped),
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
        for id in self.actors_of(process).collect::<Vec<_>>() {
            self.actor_mut(id).hosted = false;
        }
        self.leaving.remove(&process);
        self.commands.push(Command::Release(process));
        true
    }

    /// Notes that a worker process has ended, or is given up, while all have to end.
    pub(super) fn note_end(&mut self, process: ProcessId) {
        if self.release(process) {
            self.end_when_all_are_gone();
        }
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
