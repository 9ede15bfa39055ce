//! The status of a run.

use std::collections::BTreeSet;

use camrig_status::{CHANGES_MAX, MatchingStatus, RigStatus};

use super::shell::Shell;
use crate::gauge::{Doing, ShownParts};
use crate::hosts;
use crate::ids::{ActorId, LinkId, ProcessId};
use crate::report::{self, rounded};
use crate::usage::{self, Usage};

impl Shell {
    /// Reads the usage of every process, and all counts.
    pub(super) fn note_usage(&mut self) {
        let mut usages = Vec::new();
        for process in &mut self.processes {
            // The number of one that has ended may be another process by now.
            let now = process.runs().then(|| usage::of(process.pid)).flatten();
            let now = now.map(|now| Usage { cpu_seconds: process.spent_seconds + now.cpu_seconds, ..now });
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
        let doing = |id: ActorId| {
            let actor = self.core.actor(id);
            let error = actor.errors.back().map(String::as_str);
            Doing {
                state: actor.state,
                error,
                progress: &actor.progress,
                warned: actor.warned,
                warnings: &actor.warnings,
            }
        };
        let pid = |process: ProcessId| self.processes[process.index()].pid;
        let shown = ShownParts {
            actors: self.shown_actors().collect(),
            links: self.shown_links().collect(),
            processes: self.shown_processes(),
        };
        let status = self.gauge.status(&self.topology, &self.wiring, &shown, doing, pid);
        let mut status = RigStatus {
            topology: self.current.name().to_owned(),
            seconds: rounded(seconds),
            matching: self.matching(seconds),
            changes: self.left.changes[self.left.changes.len().saturating_sub(CHANGES_MAX)..].to_vec(),
            ..status
        };
        if let Some(others) = &self.others {
            hosts::add_statuses(&mut status, others.hosts().statuses());
        }
        status
    }

    /// Returns the matching results of each matching processor, with rates over this number of seconds.
    pub(super) fn matching(&self, seconds: f64) -> Vec<MatchingStatus> {
        self.shown_actors().filter_map(|id| self.matching_of(id, seconds)).collect()
    }

    /// Returns the matching results of a processor.
    pub(super) fn matching_of(&self, id: ActorId, seconds: f64) -> Option<MatchingStatus> {
        let stats = self.wiring.match_stats[id.index()].as_ref()?;
        Some(report::matching(&self.topology.actor(id).name, &stats.status(), seconds))
    }

    /// Returns the actors of the topology in its order, and then those that end without a successor.
    pub(super) fn shown_actors(&self) -> impl Iterator<Item = ActorId> {
        self.order.iter().copied().chain(self.left.leaving.iter().copied())
    }

    /// Returns the links that have not ended, but of two between the same actors the newer.
    fn shown_links(&self) -> impl Iterator<Item = LinkId> {
        let links = self.wiring.links.iter().enumerate();
        let links = links.filter(|(_, link)| !link.is_gone && !link.is_followed);
        links.map(|(index, _)| LinkId::new(index))
    }

    /// Returns the supervisor's process, those that run, and those of shown actors.
    fn shown_processes(&self) -> Vec<ProcessId> {
        let hosts: BTreeSet<_> = self.shown_actors().map(|id| self.topology.actor(id).process).collect();
        let all = (0..self.processes.len()).map(ProcessId::new);
        all.filter(|process| hosts.contains(process) || self.processes[process.index()].runs()).collect()
    }
}
