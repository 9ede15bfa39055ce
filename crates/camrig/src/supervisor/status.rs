//! The status of a run.

use camrig_status::{MatchingStatus, RigStatus};

use super::shell::Shell;
use crate::gauge::Doing;
use crate::ids::{ActorId, ProcessId};
use crate::report;
use crate::usage::{self, Usage};

impl Shell {
    /// Reads the usage of every process, and all counts.
    pub(super) fn note_usage(&mut self) {
        let mut usages = Vec::new();
        for process in &mut self.processes {
            let now = usage::of(process.pid)
                .map(|now| Usage { cpu_seconds: process.spent_seconds + now.cpu_seconds, ..now });
            if let Some(now) = now {
                let most = &mut process.usage;
                most.cpu_seconds = most.cpu_seconds.max(now.cpu_seconds);
                most.private_bytes = most.private_bytes.max(now.private_bytes);
                most.shared_bytes = most.shared_bytes.max(now.shared_bytes);
            }
            usages.push(now);
        }
        self.gauge.note(&self.wiring, usages);
    }

    /// Returns the current status.
    pub(super) fn status(&self) -> RigStatus {
        let seconds = self.core.seconds();
        let doing = |id: ActorId| Doing {
            state: self.core.actor(id).state,
            error: self.core.actor(id).errors.back().map(String::as_str),
        };
        let pid = |process: ProcessId| self.processes[process.index()].pid;
        let status = self.gauge.status(&self.topology, &self.wiring, seconds, doing, pid);
        RigStatus { matching: self.matching(seconds), ..status }
    }

    /// Returns the matching results of each matching processor, with rates over this number of seconds.
    pub(super) fn matching(&self, seconds: f64) -> Vec<MatchingStatus> {
        let actors = self.topology.actors().iter().zip(&self.wiring.match_stats);
        let stats = actors.filter_map(|(spec, stats)| Some((&spec.name, stats.as_ref()?)));
        stats.map(|(name, stats)| report::matching(name, &stats.status(), seconds)).collect()
    }
}
