//! The connections of a topology's actors: link states, counters, notifiers and channels, and the parts of each process
//! that contain them, at the start and whenever a process replaces one that crashed.
//!
//! This module starts no processes: parts are passed to hosts, and the supervisor keeps access to all counts.

mod link;
#[cfg(test)]
mod tests;

use std::io;
use std::ops::Range;
use std::sync::Arc;

use camrig_ipc::{ActorCounters, LinkState, Notifier};

use self::link::{End, Ends, Remote, RigLink};
use crate::control::{ActorPart, Part, WorkerCommand};
use crate::ids::{ActorId, LinkId, ProcessId};
use crate::matching::MatchStats;
use crate::topology::{ActorSpec, LinkSpec, Role, Topology};

/// All connections of a rig and all its counts, which outlast the processes.
pub(crate) struct RigWiring {
    /// By actor; an actor that replaces another has its counters.
    pub(crate) actor_counters: Vec<Arc<ActorCounters>>,
    /// By actor; `None` unless its inputs are matched.
    pub(crate) match_stats: Vec<Option<MatchStats>>,
    /// By link.
    pub(crate) links: Vec<RigLink>,
    /// By process.
    processes: Vec<Wires>,
    /// The name of its status socket.
    name: String,
    /// By actor; `None` unless it plays a recording whose times are known.
    timelines: Vec<Option<Range<u64>>>,
    /// A camera ends after this number of framesets.
    framesets: Option<u64>,
    /// Replaces the counts of released actors and links.
    blank: Option<(Arc<ActorCounters>, Arc<LinkState>)>,
}

/// The notifier of a process.
#[derive(Default)]
struct Wires {
    /// `None` if no link comes from another process.
    notifier: Option<Arc<Notifier>>,
    /// Whether the running process has it.
    sent: bool,
}

/// The parts of a starting process, and the resulting commands to other processes.
#[derive(Default)]
pub(crate) struct Beginning {
    pub(crate) parts: Vec<Part>,
    pub(crate) others: Vec<(ProcessId, WorkerCommand)>,
    /// The parts that the process, and each link, had got before.
    pub(crate) before: (bool, Vec<[bool; 2]>),
}

/// The activity of an actor, as far as its links depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// It starts now, or runs, in a process that accepts commands.
    Hosted,
    /// It has not begun, or its process does not accept commands.
    Later,
    Ended,
}

impl RigWiring {
    /// Creates all connections of a topology's actors.
    ///
    /// # Errors
    /// If there are not enough file descriptors or memory.
    pub(crate) fn new(topology: &Topology, name: &str, framesets: Option<u64>) -> io::Result<Self> {
        camrig_ipc::prepare()?;
        let mut rig = Self {
            actor_counters: Vec::new(),
            match_stats: Vec::new(),
            links: Vec::new(),
            processes: Vec::new(),
            name: name.to_owned(),
            timelines: Vec::new(),
            framesets,
            blank: None,
        };
        rig.grow(topology, topology.timelines(), &[], &[])?;
        Ok(rig)
    }

    /// Creates the connections of actors and links that were added to the topology, or none of them if one fails. `timelines`
    /// are those of the new actors. `followed` has the actors whose counters others continue with, `replaced` the links that
    /// others replace.
    ///
    /// # Errors
    /// If there are not enough file descriptors or memory.
    pub(crate) fn grow(
        &mut self,
        topology: &Topology,
        timelines: Vec<Option<Range<u64>>>,
        followed: &[(ActorId, ActorId)],
        replaced: &[(LinkId, LinkId)],
    ) -> io::Result<()> {
        let late = !self.links.is_empty() || !self.actor_counters.is_empty();
        let before = (self.actor_counters.len(), self.links.len(), self.processes.len());
        self.timelines.extend(timelines);
        let grown = self.try_to_grow(topology, late, followed, replaced);
        if grown.is_err() {
            let (actors, links, processes) = before;
            self.actor_counters.truncate(actors);
            self.match_stats.truncate(actors);
            self.timelines.truncate(actors);
            self.links.truncate(links);
            self.processes.truncate(processes);
        }
        grown
    }

    fn try_to_grow(
        &mut self,
        topology: &Topology,
        late: bool,
        followed: &[(ActorId, ActorId)],
        replaced: &[(LinkId, LinkId)],
    ) -> io::Result<()> {
        for (index, actor) in topology.actors().iter().enumerate().skip(self.actor_counters.len()) {
            let before = followed.iter().find(|(_, after)| after.index() == index);
            let counters = match before {
                Some((before, _)) => Arc::clone(&self.actor_counters[before.index()]),
                None => Arc::new(ActorCounters::new().map_err(|error| unwired(actor, &error))?),
            };
            let stats = actor.matching.as_ref().map(MatchStats::new).transpose();
            self.actor_counters.push(counters);
            self.match_stats.push(stats.map_err(|error| unwired(actor, &error))?);
        }
        self.processes.resize_with(topology.processes().len(), Wires::default);
        for (index, link) in topology.links().iter().enumerate().skip(self.links.len()) {
            let (from, to) = (topology.actor(link.from), topology.actor(link.to));
            let link_state = if late { LinkState::late() } else { LinkState::new() };
            let link_state = Arc::new(link_state.map_err(|error| unlinked(topology, link, &error))?);
            let mut remote = None;
            if from.process != to.process {
                let notifier = &mut self.processes[to.process.index()].notifier;
                let notifier = if let Some(notifier) = notifier {
                    Arc::clone(notifier)
                } else {
                    let made = Notifier::new().map_err(|error| unlinked(topology, link, &error))?;
                    Arc::clone(notifier.insert(Arc::new(made)))
                };
                let made = Remote::new(notifier).map_err(|error| unlinked(topology, link, &error))?;
                remote = Some(made);
            }
            let replaces = replaced.iter().find(|(_, after)| after.index() == index);
            self.links.push(RigLink::new(link_state, replaces.map(|(before, _)| *before), remote));
        }
        Ok(())
    }

    /// Returns the parts that `process` has not got: those of the actors that begin there, and the ends of links whose
    /// actors are there; and the resulting commands to other processes. Nothing is returned twice until the process has
    /// ended.
    ///
    /// # Errors
    /// If there are not enough file descriptors: the next call returns everything. A process that begins must then be ended and
    /// restarted.
    pub(crate) fn wire(
        &mut self,
        topology: &Topology,
        process: ProcessId,
        begins: &[ActorId],
        presence: impl Fn(ActorId) -> Presence,
    ) -> io::Result<Beginning> {
        let before =
            (self.processes[process.index()].sent, self.links.iter().map(RigLink::sent).collect::<Vec<_>>());
        match self.try_to_wire(topology, process, begins, presence) {
            Ok(beginning) => Ok(Beginning { before, ..beginning }),
            Err(error) => {
                self.take_back(process, &before);
                Err(error)
            }
        }
    }

    /// Notes that a process has not got the parts that were last returned for it: the next call returns them again, and
    /// has to wait until the [lost readers](Self::has_lost_readers) are accounted for.
    pub(crate) fn take_back(&mut self, process: ProcessId, (listens, links): &(bool, Vec<[bool; 2]>)) {
        self.processes[process.index()].sent = *listens;
        self.links.iter_mut().zip(links).for_each(|(link, sent)| link.take_back(*sent));
    }

    /// Returns whether a link into this process, whose last reader is lost, is not settled.
    pub(crate) fn has_lost_readers(&self, topology: &Topology, process: ProcessId) -> bool {
        let mut links = topology.links().iter().zip(&self.links);
        links.any(|(spec, link)| link.has_lost_reader() && topology.ends(spec)[1] == process)
    }

    fn try_to_wire(
        &mut self,
        topology: &Topology,
        process: ProcessId,
        begins: &[ActorId],
        presence: impl Fn(ActorId) -> Presence,
    ) -> io::Result<Beginning> {
        let mut beginning = Beginning::default();
        for &actor in begins {
            beginning.parts.push(self.actor_part(topology, actor)?);
            beginning.parts.extend(self.matching_part(topology, actor)?);
        }
        beginning.parts.extend(self.listener_part(topology, process, !begins.is_empty())?);
        let end = |actor: ActorId| match presence(actor) {
            Presence::Ended => End::Ended,
            Presence::Hosted if topology.actor(actor).process == process => End::Here,
            Presence::Hosted => End::There,
            Presence::Later => End::Later,
        };
        for (number, (spec, link)) in topology.links().iter().zip(&mut self.links).enumerate() {
            if link.is_gone || !topology.ends(spec).contains(&process) {
                continue;
            }
            let from = topology.actor(spec.from);
            let ends = Ends {
                id: LinkId::new(number),
                producer: &from.name,
                slots: from.slots,
                from: end(spec.from),
                to: end(spec.to),
            };
            let relink = link.wire(spec, &ends, &mut beginning.parts);
            let relink = relink.map_err(|error| unlinked(topology, spec, &error))?;
            beginning.others.extend(relink.map(|command| (from.process, command)));
        }
        Ok(beginning)
    }

    /// Notes that a process has ended.
    pub(crate) fn release(&mut self, process: ProcessId) {
        let wires = &mut self.processes[process.index()];
        wires.sent = false;
        wires.notifier.iter().for_each(|notifier| notifier.note_death());
        self.forget_notifiers();
    }

    /// Releases the notifiers that no running process has, and by which no link wakes one.
    fn forget_notifiers(&mut self) {
        for wires in self.processes.iter_mut().filter(|wires| !wires.sent) {
            wires.notifier.take_if(|notifier| Arc::strong_count(notifier) == 1);
        }
    }

    /// Releases the memory of a link that is over.
    pub(crate) fn forget_link(&mut self, link: LinkId) -> io::Result<()> {
        let (_, blank) = self.blank()?;
        let link = &mut self.links[link.index()];
        link.forget(blank);
        self.forget_notifiers();
        Ok(())
    }

    /// Releases the memory of an actor that has ended.
    pub(crate) fn forget_actor(&mut self, actor: ActorId) -> io::Result<()> {
        let (blank, _) = self.blank()?;
        self.actor_counters[actor.index()] = blank;
        self.match_stats[actor.index()] = None;
        Ok(())
    }

    fn blank(&mut self) -> io::Result<(Arc<ActorCounters>, Arc<LinkState>)> {
        if let Some((counters, link_state)) = &self.blank {
            return Ok((Arc::clone(counters), Arc::clone(link_state)));
        }
        let counters = Arc::new(ActorCounters::new().map_err(io::Error::other)?);
        let link_state = Arc::new(LinkState::new().map_err(io::Error::other)?);
        self.blank = Some((Arc::clone(&counters), Arc::clone(&link_state)));
        Ok((counters, link_state))
    }

    fn listener_part(
        &mut self,
        topology: &Topology,
        process: ProcessId,
        begins: bool,
    ) -> io::Result<Option<Part>> {
        let wires = &mut self.processes[process.index()];
        let Some(notifier) = wires.notifier.as_ref().filter(|_| begins || !wires.sent) else {
            return Ok(None);
        };
        let notifier = notifier.share().map_err(|error| {
            io::Error::other(format!("process `{}` cannot be wired: {error}", topology.process(process)))
        })?;
        wires.sent = true;
        Ok(Some(Part::Listener(notifier)))
    }

    fn matching_part(&self, topology: &Topology, actor: ActorId) -> io::Result<Option<Part>> {
        let spec = topology.actor(actor);
        let Some((matching, stats)) = spec.matching.clone().zip(self.match_stats[actor.index()].as_ref())
        else {
            return Ok(None);
        };
        let counters = stats.share().map_err(|error| unwired(spec, &error))?;
        Ok(Some(Part::Matching { actor, spec: matching, counters }))
    }

    fn actor_part(&self, topology: &Topology, actor: ActorId) -> io::Result<Part> {
        let spec = topology.actor(actor);
        let counters = self.actor_counters[actor.index()].share().map_err(|error| unwired(spec, &error))?;
        let actor = ActorPart {
            id: actor,
            name: spec.name.clone(),
            rig: self.name.clone(),
            topology: match spec.role {
                Role::Processor { .. } => topology.text().to_owned(),
                Role::Camera { .. } => String::new(),
            },
            role: spec.role.clone(),
            options: spec.options().to_owned(),
            timeline: self.timelines[actor.index()].clone(),
            thread: spec.thread.clone(),
            slots: spec.slots,
            reset: false,
            framesets: self.framesets.filter(|_| !spec.relays()),
            stall_timeout_millis: spec.stall_timeout.map(|timeout| timeout.as_millis() as u64),
            calibrated: topology.calibrated(actor).filter(|_| !spec.relays()).cloned(),
        };
        Ok(Part::Actor { actor: Box::new(actor), counters })
    }
}

fn unwired(actor: &ActorSpec, error: &dyn std::error::Error) -> io::Error {
    io::Error::other(format!("{} `{}` cannot be wired: {error}", actor.role.name(), actor.name))
}

fn unlinked(topology: &Topology, link: &LinkSpec, error: &dyn std::error::Error) -> io::Error {
    let (from, to) = (&topology.actor(link.from).name, &topology.actor(link.to).name);
    io::Error::other(format!("the link from `{from}` to `{to}` cannot be wired: {error}"))
}
