//! The connections of a topology's actors: link states, counters, notifiers and channels, and the parts of each process
//! that contain them, at the start and whenever a process replaces one that crashed.
//!
//! This module starts no processes: parts are passed to hosts, and the supervisor keeps access to all counts.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use camrig_ipc::protocol::{Announcement, Joining};
use camrig_ipc::{Absence, ActorCounters, Deaths, LinkState, Notifier, Receiver, Sender, channel};

use crate::control::{ActorPart, Part, WorkerCommand};
use crate::ids::{ActorId, LinkId, ProcessId};
use crate::matching::MatchStats;
use crate::topology::{ActorSpec, LinkEnd, LinkSpec, Role, Topology};

/// The supervisor's view of a rig: all counts, independent of the processes.
pub(crate) struct Rig {
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
    /// Replaces the counts of actors and links that are gone.
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

/// The supervisor's view of a link.
#[allow(clippy::struct_excessive_bools)] // Each is a fact of its own.
pub(crate) struct RigLink {
    pub(crate) link_state: Arc<LinkState>,
    /// The ends that have died, until the link state is settled.
    deaths: Deaths,
    /// Absence of the reader's process that died last.
    absence: Absence,
    /// Whether the running process of the producer, or both actors, have their part.
    producer_sent: bool,
    reader_sent: bool,
    /// The link that ends where this one begins.
    replaces: Option<LinkId>,
    /// Whether a change has ended the link in place of its producer, which goes on.
    unlinked: bool,
    /// Whether a change ends the link.
    leaves: bool,
    /// Whether another link between actors with the same names takes its place.
    pub(crate) is_followed: bool,
    /// Whether the link is gone: its counts are in a report.
    pub(crate) is_gone: bool,
    /// `None` for a link within one process.
    remote: Option<Remote>,
}

/// Additional state of a link between two processes.
struct Remote {
    /// Wakes the reader's process.
    notifier: Arc<Notifier>,
    announcements: Sender<Announcement>,
    /// The reader's end; `None` once it has been sent to the reader's process.
    receiver: Option<Receiver<Announcement>>,
}

impl RigLink {
    /// Marks the end of the link in place of a producer that cannot.
    pub(crate) fn end(&self) {
        self.link_state.end();
        self.remote.iter().for_each(|remote| remote.notifier.notify());
    }

    /// Adds the parts of the ends that a process has not got. Returns the command for the process of a running producer if
    /// the reader was replaced.
    fn wire(
        &mut self,
        spec: &LinkSpec,
        ends: &Ends<'_>,
        parts: &mut Vec<Part>,
    ) -> io::Result<Option<WorkerCommand>> {
        if self.remote.is_none() {
            let sent = self.producer_sent || self.unlinked || ends.from == End::Ended;
            if !sent && (ends.from == End::Here || ends.to == End::Here) {
                parts.push(self.local_part(spec, ends)?);
                self.producer_sent = true;
            }
            return Ok(None);
        }
        if ends.from == End::Here && !self.producer_sent && !self.unlinked {
            parts.extend(self.output_part(spec, ends)?);
            self.producer_sent = true;
        }
        if ends.to != End::Here || self.reader_sent {
            return Ok(None);
        }
        let relink = self.renew_reader(ends)?;
        parts.extend(self.input_part(spec, ends)?);
        self.reader_sent = true;
        Ok(relink)
    }

    /// Creates the part of a link within the process. A producer continues to count for a reader that has ended.
    fn local_part(&self, spec: &LinkSpec, ends: &Ends<'_>) -> io::Result<Part> {
        if ends.to != End::Ended {
            self.link_state.set_reader_back(self.absence);
        }
        Ok(Part::Local {
            link: ends.id,
            from: spec.from,
            producer: ends.producer.to_owned(),
            to: (ends.to != End::Ended).then_some(spec.to),
            link_state: self.link_state.share().map_err(io::Error::other)?,
            overflow: spec.overflow,
            queue: spec.queue,
            joining: self.joining(ends),
        })
    }

    fn joining(&self, ends: &Ends<'_>) -> Joining {
        Joining { replaces: self.replaces, slots: ends.slots }
    }

    /// Creates the part of the producer's process.
    fn output_part(&self, spec: &LinkSpec, ends: &Ends<'_>) -> io::Result<Option<Part>> {
        let Some(remote) = &self.remote else { return Ok(None) };
        let part = Part::Output {
            from: spec.from,
            link: ends.id,
            link_state: self.link_state.share().map_err(io::Error::other)?,
            notifier: remote.notifier.share().map_err(io::Error::other)?,
            announcements: remote.announcements.clone(),
            overflow: spec.overflow,
            queue: spec.queue,
            joining: self.joining(ends),
        };
        // A running reader receives this producer's announcements. Its absence would have ended with the
        // relink of the previous producer, which may have crashed before it.
        if ends.to == End::There {
            self.link_state.set_reader_back(self.absence);
        }
        Ok(Some(part))
    }

    /// Creates another channel if the reader's end of the previous one was lost with its process, and returns the
    /// command that announces it to a running producer.
    fn renew_reader(&mut self, ends: &Ends<'_>) -> io::Result<Option<WorkerCommand>> {
        let Some(remote) = self.remote.as_mut().filter(|remote| remote.receiver.is_none()) else {
            return Ok(None);
        };
        let (announcements, receiver) = channel()?;
        remote.announcements = announcements.clone();
        remote.receiver = Some(receiver);
        if ends.from == End::There {
            return Ok(Some(WorkerCommand::Relink { link: ends.id, announcements, absence: self.absence }));
        }
        // The next instance of the producer announces everything first.
        self.link_state.set_reader_back(self.absence);
        Ok(None)
    }

    /// Creates the part of the reader's process.
    fn input_part(&mut self, spec: &LinkSpec, ends: &Ends<'_>) -> io::Result<Option<Part>> {
        let link_state = self.link_state.share().map_err(io::Error::other)?;
        let receiver = self.remote.as_mut().and_then(|remote| remote.receiver.take());
        let from = ends.producer.to_owned();
        Ok(receiver.map(|announcements| Part::Input { from, to: spec.to, link_state, announcements }))
    }

    /// Notes that a change ends the link, in place of its producer if that goes on.
    pub(crate) fn leave(&mut self, end: LinkEnd) {
        self.leaves = true;
        self.unlinked = end.producer_goes_on;
        if end.reader_goes_on {
            self.link_state.set_continues();
        }
    }

    /// Returns whether a change ends the link, or has ended it.
    pub(crate) fn leaves(&self) -> bool {
        self.leaves
    }

    /// Returns whether everything on a link that a change ends has been delivered or dropped.
    pub(crate) fn is_over(&self) -> bool {
        self.leaves && !self.is_gone && !self.has_deaths() && self.link_state.ended() && {
            let counts = self.link_state.counts();
            counts.in_flight == 0
        }
    }

    /// Returns whether an end has died and the link state is not settled.
    pub(crate) fn has_deaths(&self) -> bool {
        self.deaths != Deaths::default()
    }

    /// Notes that the producer's process has ended.
    pub(crate) fn producer_died(&mut self) {
        self.deaths.producer = true;
        self.producer_sent = false;
        if self.unlinked {
            self.end();
        }
    }

    /// Notes that the reader's process has ended: nothing more is queued for it, and its successor uses another
    /// channel.
    pub(crate) fn reader_died(&mut self) {
        self.deaths.reader = true;
        self.reader_sent = false;
        self.absence = self.link_state.set_reader_away();
        if let Some(remote) = &mut self.remote {
            remote.receiver = None;
        }
    }

    /// Settles the link state after an end has died, or leaves it for a later attempt. `produced` is the number of
    /// framesets produced.
    pub(crate) fn settle(&mut self, produced: u64) {
        if self.link_state.settle(self.deaths, produced) {
            self.deaths = Deaths::default();
        }
    }
}

/// The parts of a starting process, and the resulting commands to other processes.
#[derive(Default)]
pub(crate) struct Beginning {
    pub(crate) parts: Vec<Part>,
    pub(crate) others: Vec<(ProcessId, WorkerCommand)>,
}

/// The ends of a link relative to a process.
struct Ends<'a> {
    id: LinkId,
    /// The producer's name.
    producer: &'a str,
    /// The producer's slots.
    slots: usize,
    from: End,
    to: End,
}

/// Location of the actor at the end of a link, relative to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// In this process.
    Here,
    /// In another process that accepts commands.
    There,
    /// Not begun, or in a process that does not accept commands.
    Later,
    Ended,
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

impl Rig {
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

    /// Creates the connections of actors and links that were added to the topology, and returns nothing of them if one fails.
    /// `timelines` are those of the new actors. `followed` has the actors whose counters others go on with, `replaced` the
    /// links that others replace.
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
                let (announcements, receiver) =
                    channel().map_err(|error| unlinked(topology, link, &error))?;
                remote = Some(Remote { notifier, announcements, receiver: Some(receiver) });
            }
            let replaces = replaced.iter().find(|(_, after)| after.index() == index);
            self.links.push(RigLink {
                link_state,
                deaths: Deaths::default(),
                absence: Absence::default(),
                producer_sent: false,
                reader_sent: false,
                replaces: replaces.map(|(before, _)| *before),
                unlinked: false,
                leaves: false,
                is_followed: false,
                is_gone: false,
                remote,
            });
        }
        Ok(())
    }

    /// Returns the parts that `process` has not got: those of the actors that begin there, and the ends of links whose actors
    /// are there; and the resulting commands to other processes. Nothing is returned twice until the process has ended.
    ///
    /// # Errors
    /// If there are not enough file descriptors. A process that begins must then be ended and restarted.
    pub(crate) fn wire(
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
    }

    /// Releases the memory of a link that is over.
    pub(crate) fn forget_link(&mut self, link: LinkId) -> io::Result<()> {
        let (_, blank) = self.blank()?;
        let link = &mut self.links[link.index()];
        (link.link_state, link.remote, link.is_gone) = (blank, None, true);
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
            slots: spec.slots,
            reset: false,
            framesets: self.framesets,
            stall_timeout_millis: spec.stall_timeout.map(|timeout| timeout.as_millis() as u64),
            calibrated: topology.calibrated(actor).cloned(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::Registry;

    const CAMERA: ProcessId = ProcessId(1);
    const READER: ProcessId = ProcessId(2);

    /// A camera that a processor of its own process reads, and one of another process.
    fn rig() -> (Topology, Rig) {
        let text = "[camera.c]\ndriver = 'synthetic'\nprocess = 'cameras'\n\
                    [processor.near]\nkind = 'stats'\nprocess = 'cameras'\ninputs = ['c']\n\
                    [processor.far]\nkind = 'stats'\nprocess = 'readers'\ninputs = ['c']\n";
        let topology = Topology::parse("t.toml", text, None, &Registry::new()).unwrap();
        let rig = Rig::new(&topology, "rig", Some(7)).unwrap();
        (topology, rig)
    }

    /// Wires a process that begins, while others accept commands.
    fn begin(
        rig: &mut Rig,
        topology: &Topology,
        process: ProcessId,
        alive: impl Fn(ActorId) -> bool,
        up: &[ProcessId],
    ) -> io::Result<Beginning> {
        let begins: Vec<_> = topology.actors_of(process).filter(|&id| alive(id)).collect();
        rig.wire(topology, process, &begins, |id| {
            let its_own = topology.actor(id).process;
            match alive(id) {
                false => Presence::Ended,
                true if its_own == process || up.contains(&its_own) => Presence::Hosted,
                true => Presence::Later,
            }
        })
    }

    fn names(parts: &[Part]) -> Vec<String> {
        let name = |part: &Part| match part {
            Part::Actor { actor, .. } => format!("actor {}", actor.name),
            Part::Matching { .. } => "matching".to_owned(),
            Part::Local { to, .. } => format!("local {}", to.map_or(-1, |to| i64::from(to.0))),
            Part::Output { link, .. } => format!("output {}", link.0),
            Part::Input { from, to, .. } => format!("input {from} {}", to.0),
            Part::Listener(_) => "listener".to_owned(),
        };
        parts.iter().map(name).collect()
    }

    #[test]
    fn each_process_gets_its_actors_before_the_ends_of_their_links() {
        let (topology, mut rig) = rig();
        let cameras = begin(&mut rig, &topology, CAMERA, |_| true, &[]).unwrap();
        assert_eq!(names(&cameras.parts), ["actor c", "actor near", "local 1", "output 1"]);
        let readers = begin(&mut rig, &topology, READER, |_| true, &[CAMERA]).unwrap();
        assert_eq!(names(&readers.parts), ["actor far", "listener", "input c 2"]);
        assert!(cameras.others.is_empty() && readers.others.is_empty());
    }

    #[test]
    fn a_running_producer_gets_the_channel_of_a_restarted_reader() {
        let (topology, mut rig) = rig();
        for process in [CAMERA, READER] {
            begin(&mut rig, &topology, process, |_| true, &[]).unwrap();
        }
        rig.links[1].reader_died();
        assert!(rig.links[1].has_deaths() && rig.links[1].link_state.reader_gone());
        let again = begin(&mut rig, &topology, READER, |_| true, &[CAMERA]).unwrap();
        assert_eq!(names(&again.parts), ["actor far", "listener", "input c 2"]);
        let [(CAMERA, WorkerCommand::Relink { link, absence, .. })] = again.others.as_slice() else {
            panic!("the camera's process gets one command")
        };
        assert_eq!(*link, LinkId(1));
        // The reader is away until the producer has announced everything to it.
        assert!(rig.links[1].link_state.reader_gone());
        rig.links[1].link_state.set_reader_back(*absence);
        assert!(!rig.links[1].link_state.reader_gone());
    }

    #[test]
    fn a_reader_that_starts_before_its_producer_is_back_at_once() {
        let (topology, mut rig) = rig();
        for process in [CAMERA, READER] {
            begin(&mut rig, &topology, process, |_| true, &[]).unwrap();
        }
        rig.links[1].producer_died();
        rig.links[1].reader_died();
        let again = begin(&mut rig, &topology, READER, |_| true, &[]).unwrap();
        assert!(again.others.is_empty());
        assert!(!rig.links[1].link_state.reader_gone());
    }

    #[test]
    fn a_producer_counts_for_a_reader_that_has_ended() {
        let (topology, mut rig) = rig();
        let alive = |actor: ActorId| topology.actor(actor).name != "near";
        let cameras = begin(&mut rig, &topology, CAMERA, alive, &[]).unwrap();
        assert_eq!(names(&cameras.parts), ["actor c", "local -1", "output 1"]);
    }
}
