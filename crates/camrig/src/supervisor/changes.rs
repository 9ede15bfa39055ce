//! Changes of a running rig: a new topology is compared with the one that runs; equal actors continue.
//!
//! A change is checked completely before anything happens: its links and counters are created, or it is refused. Then running
//! readers get the links from new actors, running producers get the links that replace others, and the core ends the leaving
//! actors and starts the joining ones. Ended links and actors are released when they have drained: their counts stay in the
//! report.

use std::sync::Arc;
use std::time::SystemTime;

use camrig_status::{ActorState, ChangeReport};

use super::change::{ChangeError, ChangeRequest, Pending};
use super::core::{ActorSetup, Changing, Event};
use super::live::CHANGING;
use super::shell::{Process, Shell};
use crate::control::WorkerCommand;
use crate::failure::Failure;
use crate::ids::{ActorId, LinkId, ProcessId};

use crate::topology::{Diff, Growth, Topology};
use crate::wiring::{Beginning, Presence};

/// Maximum number of actors that a rig has during a run, with those that changes have replaced or removed.
const ACTORS_EVER_MAX: usize = 100_000;

impl Shell {
    /// Changes the rig to another topology, or refuses that.
    pub(super) fn change(&mut self, request: ChangeRequest) {
        let answer = request.answer.clone();
        if let Err(refused) = self.try_to_change(request) {
            // The requesting thread may have ended.
            let _ = answer.try_send(Err(ChangeError::Refused(refused)));
        }
    }

    fn try_to_change(&mut self, request: ChangeRequest) -> Result<(), String> {
        let ChangeRequest { topology: new, restarts, sets, notes, by, answer } = request;
        if !self.core.accepts_changes() {
            let phase = if self.core.is_stopping() { "stopping" } else { "starting" };
            return Err(format!("the rig is {phase}"));
        }
        if self.left.pending.is_some() {
            return Err(CHANGING.to_owned());
        }
        let diff = Diff::of(&self.current, &new, &restarts, &sets)?;
        let changes: Vec<_> = diff.changes.iter().map(ToString::to_string).chain(notes).collect();
        if diff.changes.is_empty() {
            self.current = Arc::new(new);
            self.note_change(&changes, by);
            let _ = answer.try_send(Ok(changes));
            return Ok(());
        }
        if self.topology.actors().len() + new.actors().len() > ACTORS_EVER_MAX {
            return Err(format!("the rig has had {ACTORS_EVER_MAX} actors; restart it"));
        }
        let mut grown = Topology::clone(&self.topology);
        let is_live = |link: LinkId| !self.wiring.links[link.index()].leaves();
        let growth = grown.grow(&new, &diff, &self.order, is_live);
        let timelines = new.timelines();
        let timelines = growth.joins.iter().map(|(_, of, _)| timelines[of.index()].clone()).collect();
        let followed: Vec<_> =
            growth.joins.iter().filter_map(|&(joined, _, before)| Some((before?, joined))).collect();
        self.wiring
            .grow(&grown, timelines, &followed, &growth.replaced)
            .map_err(|error| error.to_string())?;
        self.note_change(&changes, by);
        let seconds = self.core.seconds();
        let began = (self.topology.links().len()..grown.links().len()).map(LinkId::new);
        self.left.began.extend(began.map(|link| (link, seconds)));
        let processes = grown.processes()[self.topology.processes().len()..].to_vec();
        self.processes.extend(processes.iter().map(|_| Process::default()));
        self.topology = Arc::new(grown);
        self.current = Arc::new(new);
        self.order.clone_from(&growth.order);
        for &id in &growth.leaves {
            let has_successor = followed.iter().any(|(before, _)| *before == id);
            let left = if has_successor { &mut self.left.replaced } else { &mut self.left.leaving };
            left.push(id);
        }
        let joins = growth.joins.iter().map(|(id, ..)| *id).collect();
        self.left.pending = Some(Pending { leaves: growth.leaves.clone(), joins, changes, answer });
        self.end_replaced_links(&growth);
        self.wire_running();
        let setups =
            growth.joins.iter().map(|&(id, _, before)| (ActorSetup::of(self.topology.actor(id)), before));
        let joins = setups.collect();
        self.decide(Event::Change(Changing { processes, leaves: growth.leaves, joins }));
        Ok(())
    }

    /// Writes changes into the log and the report.
    pub(super) fn note_change(&mut self, changes: &[String], by: String) {
        if !changes.is_empty() {
            log::warn!("{by} changes the rig: {}", changes.join("; "));
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let unix_nanos = now.map_or(0, |now| now.as_nanos() as u64);
            let (seconds, changes) = (self.core.seconds(), changes.to_vec());
            self.left.changes.push(ChangeReport { seconds, unix_nanos, by, changes });
        }
    }

    /// Ends the links to readers that leave, where their producers continue. A link that another one replaces ends when the
    /// producer gets that.
    fn end_replaced_links(&mut self, growth: &Growth) {
        for end in &growth.ends {
            let link = &mut self.wiring.links[end.link.index()];
            link.leave(*end);
            let follower = growth.replaced.iter().any(|(before, _)| *before == end.link);
            link.is_followed = follower || end.reader_goes_on;
            if !end.producer_continues {
                continue;
            }
            let from = self.topology.links()[end.link.index()].from;
            if !self.core.is_hosted(from) {
                self.wiring.links[end.link.index()].end();
            } else if !follower {
                let process = self.topology.actor(from).process;
                self.send(process, WorkerCommand::Unlink { from, link: end.link });
            }
        }
    }

    /// Sends every process that accepts commands the parts of links that its running actors have not got.
    pub(super) fn wire_running(&mut self) {
        let (mut failed, mut waits) = (None, false);
        for process in (0..self.processes.len()).map(ProcessId::new) {
            if !self.core.is_up(process) {
                continue;
            }
            if self.wiring.has_lost_readers(&self.topology, process) {
                waits = true;
                continue;
            }
            let wired = self.wire(process, &[]).and_then(|beginning| {
                if beginning.parts.is_empty() { Ok(()) } else { self.send_parts(process, beginning) }
            });
            failed = wired.err().or(failed);
        }
        self.left.unsent = waits || failed.is_some();
        let was_logged = self.left.unsent_logged;
        self.left.unsent_logged = self.left.unsent && (was_logged || failed.is_some());
        if let Some(error) = failed.filter(|_| !was_logged) {
            log::error!("links of running actors are not connected yet: {error}");
        }
    }

    /// Adds actors to a process that accepts commands.
    pub(super) fn host_actors(&mut self, process: ProcessId, actors: &[ActorId]) {
        let sent = self.wire(process, actors).and_then(|beginning| self.send_parts(process, beginning));
        if let Err(error) = sent {
            for &actor in actors {
                let failure = Failure::new(format_args!("cannot begin: {error}"));
                // The process has not got it, so that a restart of the actor cannot help.
                self.decide(Event::Failed(process, actor, Failure { is_final: true, ..failure }));
                self.end_links(actor);
            }
            return;
        }
        self.send(process, WorkerCommand::Go);
        if self.core.stops_cameras() {
            self.send(process, WorkerCommand::StopCameras);
        }
    }

    /// Returns the parts that a process has not got.
    pub(super) fn wire(&mut self, process: ProcessId, begins: &[ActorId]) -> std::io::Result<Beginning> {
        let core = &self.core;
        let presence = |id: ActorId| match id {
            // The core has only those that have joined.
            id if id.index() >= core.setup().actors.len() => Presence::Later,
            id if core.actor(id).has_ended() => Presence::Ended,
            id if core.is_hosted(id) || begins.contains(&id) => Presence::Hosted,
            _ => Presence::Later,
        };
        self.wiring.wire(&self.topology, process, begins, presence)
    }

    /// Completes the change that is being carried out, if it is done, and releases drained links and ended actors.
    pub(super) fn look_at_changes(&mut self) {
        self.release_ended_parts();
        let Some(pending) = &self.left.pending else { return };
        if self.left.unsent {
            self.wire_running();
            return;
        }
        let ended = |id: &ActorId| self.core.actor(*id).has_ended();
        let is_settled = |id: &ActorId| {
            let actor = self.core.actor(*id);
            !actor.joins() || actor.state != ActorState::Starting
        };
        let done = pending.leaves.iter().all(ended) && pending.joins.iter().all(is_settled);
        if !done && !self.core.is_stopping() {
            return;
        }
        let failed = pending.joins.iter().find(|id| self.core.actor(**id).joins());
        let failed = failed.map(|id| {
            let (spec, actor) = (self.topology.actor(*id), self.core.actor(*id));
            let error = actor.errors.back().map_or("has not begun", String::as_str);
            ChangeError::Failed(format!("{} `{}` failed: {error}", spec.role.name(), spec.name))
        });
        if let Some(Pending { changes, answer, .. }) = self.left.pending.take() {
            // The requesting thread may have ended.
            let _ = answer.try_send(failed.map_or(Ok(changes), Err));
        }
    }

    /// Releases ended links and actors: their entries stay, and those of the report.
    fn release_ended_parts(&mut self) {
        if self.left.leaving.is_empty() && self.left.replaced.is_empty() {
            return;
        }
        let over = (0..self.wiring.links.len()).filter(|&link| self.wiring.links[link].is_over());
        for link in over.map(LinkId::new).collect::<Vec<_>>() {
            let report = self.link_report(link, Some(self.core.seconds()));
            if self.wiring.forget_link(link).is_ok() {
                self.left.links.push(report);
            }
        }
        for id in self.left.leaving.iter().chain(&self.left.replaced).copied().collect::<Vec<_>>() {
            let mut links = self.topology.links().iter().zip(&self.wiring.links);
            let is_over = self.core.actor(id).has_ended()
                && links.all(|(spec, link)| link.is_gone || spec.from != id && spec.to != id);
            if !is_over {
                continue;
            }
            let matching = self.matching_of(id, self.core.seconds());
            let report = self.left.leaving.contains(&id).then(|| self.actor_report(id));
            if self.wiring.forget_actor(id).is_ok() {
                Arc::make_mut(&mut self.topology).forget(id);
                self.core.forget(id);
                self.left.matching.extend(matching);
                self.left.actors.extend(report);
                self.left.leaving.retain(|other| *other != id);
                self.left.replaced.retain(|other| *other != id);
            }
        }
    }
}
