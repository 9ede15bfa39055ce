//! The connections of a topology's actors: link states, counters, notifiers and channels, and the parts of each process
//! that contain them, at the start and whenever a process replaces one that crashed.
//!
//! This module starts no processes: parts are passed to hosts, and the supervisor keeps access to all counts.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use camrig_ipc::protocol::Announcement;
use camrig_ipc::{Absence, ActorCounters, Deaths, LinkState, Notifier, Receiver, Sender, channel};

use crate::control::{ActorPart, Part, WorkerCommand};
use crate::ids::{ActorId, LinkId, ProcessId};
use crate::matching::MatchStats;
use crate::topology::{ActorSpec, LinkSpec, Role, Topology};

/// The supervisor's view of a rig: all counts, independent of the processes.
pub(crate) struct Rig {
    /// By actor.
    pub(crate) actor_counters: Vec<ActorCounters>,
    /// By actor; `None` unless its inputs are matched.
    pub(crate) match_stats: Vec<Option<MatchStats>>,
    /// By link.
    pub(crate) links: Vec<RigLink>,
    /// By process; `None` if no link comes from another process.
    notifiers: Vec<Option<Arc<Notifier>>>,
    /// The name of its status socket.
    name: String,
    /// By actor; `None` unless it plays a recording whose times are known.
    timelines: Vec<Option<Range<u64>>>,
    /// A camera ends after this number of framesets.
    framesets: Option<u64>,
}

/// The supervisor's view of a link.
pub(crate) struct RigLink {
    pub(crate) link_state: LinkState,
    /// The ends that have died, until the link state is settled.
    deaths: Deaths,
    /// Absence of the reader's process that died last.
    absence: Absence,
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
    /// Marks the end of the link in place of a crashed producer.
    pub(crate) fn end(&self) {
        self.link_state.end();
        self.remote.iter().for_each(|remote| remote.notifier.notify());
    }

    /// Adds the parts of the ends in the starting process. Returns the command for the process of a running
    /// producer if the reader was replaced.
    fn begin(
        &mut self,
        spec: &LinkSpec,
        ends: &Ends<'_>,
        parts: &mut Vec<Part>,
    ) -> io::Result<Option<WorkerCommand>> {
        if self.remote.is_none() {
            parts.extend(self.local_part(spec, ends)?);
            return Ok(None);
        }
        if ends.from == End::Here {
            parts.extend(self.output_part(spec, ends)?);
        }
        if ends.to != End::Here {
            return Ok(None);
        }
        let relink = self.renew_reader(ends)?;
        parts.extend(self.input_part(spec, ends)?);
        Ok(relink)
    }

    /// Creates the part of a link within the process. A producer continues to count for a reader that has ended.
    fn local_part(&self, spec: &LinkSpec, ends: &Ends<'_>) -> io::Result<Option<Part>> {
        if ends.to == End::Here {
            self.link_state.set_reader_back(self.absence);
        }
        if ends.from != End::Here {
            return Ok(None);
        }
        Ok(Some(Part::Local {
            from: spec.from,
            to: (ends.to == End::Here).then_some(spec.to),
            link_state: self.link_state.share().map_err(io::Error::other)?,
            overflow: spec.overflow,
            queue: spec.queue,
        }))
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

    /// Returns whether an end has died and the link state is not settled.
    pub(crate) fn has_deaths(&self) -> bool {
        self.deaths != Deaths::default()
    }

    /// Notes that the producer's process has ended.
    pub(crate) fn producer_died(&mut self) {
        self.deaths.producer = true;
    }

    /// Notes that the reader's process has ended: nothing more is queued for it, and its successor uses another
    /// channel.
    pub(crate) fn reader_died(&mut self) {
        self.deaths.reader = true;
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

/// The ends of a link relative to a starting process.
struct Ends<'a> {
    id: LinkId,
    /// The producer's name.
    producer: &'a str,
    from: End,
    to: End,
}

/// Location of the actor at the end of a link, relative to a starting process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// In the starting process.
    Here,
    /// In another process that accepts commands.
    There,
    /// Ended, or in a process that does not accept commands.
    Gone,
}

impl Rig {
    /// Creates all connections of a topology's actors.
    ///
    /// # Errors
    /// If there are not enough file descriptors or memory.
    pub(crate) fn new(topology: &Topology, name: &str, framesets: Option<u64>) -> io::Result<Self> {
        camrig_ipc::prepare()?;
        let actor_counters = topology
            .actors()
            .iter()
            .map(|actor| ActorCounters::new().map_err(|error| unwired(actor, &error)));
        let actor_counters = actor_counters.collect::<io::Result<_>>()?;
        let match_stats = topology.actors().iter().map(|actor| {
            let stats = actor.matching.as_ref().map(MatchStats::new).transpose();
            stats.map_err(|error| unwired(actor, &error))
        });
        let match_stats = match_stats.collect::<io::Result<_>>()?;
        let mut notifiers: Vec<Option<Arc<Notifier>>> = topology.processes().iter().map(|_| None).collect();
        let mut links = Vec::new();
        for link in topology.links() {
            let (from, to) = (topology.actor(link.from), topology.actor(link.to));
            let link_state = LinkState::new().map_err(|error| unlinked(topology, link, &error))?;
            let mut remote = None;
            if from.process != to.process {
                let notifier = match &notifiers[to.process.index()] {
                    Some(notifier) => Arc::clone(notifier),
                    None => Arc::new(Notifier::new().map_err(|error| unlinked(topology, link, &error))?),
                };
                notifiers[to.process.index()] = Some(Arc::clone(&notifier));
                let (announcements, receiver) =
                    channel().map_err(|error| unlinked(topology, link, &error))?;
                remote = Some(Remote { notifier, announcements, receiver: Some(receiver) });
            }
            links.push(RigLink {
                link_state,
                deaths: Deaths::default(),
                absence: Absence::default(),
                remote,
            });
        }
        let (name, timelines) = (name.to_owned(), topology.timelines());
        Ok(Self { actor_counters, match_stats, links, notifiers, name, timelines, framesets })
    }

    /// Returns the parts of the `alive` actors of `process`, and the resulting commands to other processes.
    /// `is_there` returns whether a process accepts commands.
    ///
    /// # Errors
    /// If there are not enough file descriptors. The process must then be ended and restarted.
    pub(crate) fn begin(
        &mut self,
        topology: &Topology,
        process: ProcessId,
        alive: impl Fn(ActorId) -> bool,
        is_there: impl Fn(ProcessId) -> bool,
    ) -> io::Result<Beginning> {
        let mut beginning = Beginning::default();
        for actor in topology.actors_of(process).filter(|&actor| alive(actor)) {
            beginning.parts.push(self.actor_part(topology, actor)?);
            beginning.parts.extend(self.matching_part(topology, actor)?);
        }
        beginning.parts.extend(self.listener_part(topology, process)?);
        let end = |actor: ActorId| match topology.actor(actor).process {
            _ if !alive(actor) => End::Gone,
            its_own if its_own == process => End::Here,
            its_own if is_there(its_own) => End::There,
            _ => End::Gone,
        };
        for (number, (spec, link)) in topology.links().iter().zip(&mut self.links).enumerate() {
            let ends = Ends {
                id: LinkId::new(number),
                producer: &topology.actor(spec.from).name,
                from: end(spec.from),
                to: end(spec.to),
            };
            let relink = link.begin(spec, &ends, &mut beginning.parts);
            let relink = relink.map_err(|error| unlinked(topology, spec, &error))?;
            beginning.others.extend(relink.map(|command| (topology.actor(spec.from).process, command)));
        }
        Ok(beginning)
    }

    fn listener_part(&self, topology: &Topology, process: ProcessId) -> io::Result<Option<Part>> {
        let Some(notifier) = &self.notifiers[process.index()] else { return Ok(None) };
        let notifier = notifier.share().map_err(|error| {
            io::Error::other(format!("process `{}` cannot be wired: {error}", topology.process(process)))
        })?;
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
        let cameras = rig.begin(&topology, CAMERA, |_| true, |_| false).unwrap();
        assert_eq!(names(&cameras.parts), ["actor c", "actor near", "local 1", "output 1"]);
        let readers = rig.begin(&topology, READER, |_| true, |process| process == CAMERA).unwrap();
        assert_eq!(names(&readers.parts), ["actor far", "listener", "input c 2"]);
        assert!(cameras.others.is_empty() && readers.others.is_empty());
    }

    #[test]
    fn a_running_producer_gets_the_channel_of_a_restarted_reader() {
        let (topology, mut rig) = rig();
        for process in [CAMERA, READER] {
            rig.begin(&topology, process, |_| true, |_| false).unwrap();
        }
        rig.links[1].reader_died();
        assert!(rig.links[1].has_deaths() && rig.links[1].link_state.reader_gone());
        let again = rig.begin(&topology, READER, |_| true, |process| process == CAMERA).unwrap();
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
            rig.begin(&topology, process, |_| true, |_| false).unwrap();
        }
        rig.links[1].producer_died();
        rig.links[1].reader_died();
        let again = rig.begin(&topology, READER, |_| true, |_| false).unwrap();
        assert!(again.others.is_empty());
        assert!(!rig.links[1].link_state.reader_gone());
    }

    #[test]
    fn a_producer_counts_for_a_reader_that_has_ended() {
        let (topology, mut rig) = rig();
        let alive = |actor: ActorId| topology.actor(actor).name != "near";
        let cameras = rig.begin(&topology, CAMERA, alive, |_| false).unwrap();
        assert_eq!(names(&cameras.parts), ["actor c", "local -1", "output 1"]);
    }
}
