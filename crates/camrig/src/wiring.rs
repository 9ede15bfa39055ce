//! What the actors of a topology are connected with: link states, counters, notifiers and channels, and the parts of each
//! process that are made of them, at the start and whenever a process takes the place of one that died.
//!
//! It deliberately starts nothing: parts go to hosts, and what the supervisor keeps sees every count.

use std::io;
use std::sync::Arc;

use camrig_ipc::{Absence, ActorCounters, Announcement, Deaths, LinkState, MemoryError, Notifier};
use ipc_channel::ipc::{IpcReceiver, IpcSender, IpcSharedMemory, channel};

use crate::control::{ActorPart, Part, WorkerCommand};
use crate::ids::{ActorId, LinkId, ProcessId};
use crate::matching::MatchStats;
use crate::topology::{ActorSpec, LinkSpec, Topology};

/// What the supervisor keeps of a rig: every count, whoever lives or dies.
pub(crate) struct Rig {
    /// By actor.
    pub(crate) actor_counters: Vec<ActorCounters>,
    /// By actor: those whose inputs are matched.
    pub(crate) match_stats: Vec<Option<MatchStats>>,
    /// By link.
    pub(crate) links: Vec<RigLink>,
    /// By process; none where no link comes from another process.
    notifiers: Vec<Option<Arc<Notifier>>>,
    /// The name of its status socket.
    name: String,
    /// A camera ends after so many framesets.
    framesets: Option<u64>,
}

/// A link as the supervisor sees it.
pub(crate) struct RigLink {
    pub(crate) link_state: LinkState,
    /// Which ends have died, as long as the link state is not settled.
    deaths: Deaths,
    /// That of the reader's process that died last.
    absence: Absence,
    /// None for a link within one process.
    remote: Option<Remote>,
}

/// What a link between two processes has beside its link state.
struct Remote {
    /// Wakes the reader's process.
    notifier: Arc<Notifier>,
    announcements: IpcSender<Announcement>,
    /// Where the reader's process will hear; none once it was sent there.
    heard: Option<IpcReceiver<Announcement>>,
}

impl RigLink {
    /// In the place of a producer that died: nothing more will come.
    pub(crate) fn end(&self) {
        self.link_state.end();
        self.remote.iter().for_each(|remote| remote.notifier.notify());
    }

    /// Whether an end has died and the link state is not settled.
    pub(crate) fn has_deaths(&self) -> bool {
        self.deaths != Deaths::default()
    }

    /// The producer's process is gone.
    pub(crate) fn producer_died(&mut self) {
        self.deaths.producer = true;
    }

    /// The reader's process is gone: nothing is queued for it any more, and another one hears elsewhere.
    pub(crate) fn reader_died(&mut self) {
        self.deaths.reader = true;
        self.absence = self.link_state.set_reader_away();
        if let Some(remote) = &mut self.remote {
            remote.heard = None;
        }
    }

    /// Makes good what died with an end, or leaves it for another try. `produced` is what the producer has
    /// made.
    pub(crate) fn settle(&mut self, produced: u64) {
        if self.link_state.settle(self.deaths, produced) {
            self.deaths = Deaths::default();
        }
    }
}

/// What a process that begins has to be told, and who else has to be told of it.
pub(crate) struct Beginning {
    pub(crate) parts: Vec<Part>,
    /// Orders to other processes.
    pub(crate) others: Vec<(ProcessId, WorkerCommand)>,
}

impl Rig {
    /// Makes everything that the actors of a topology are connected with.
    ///
    /// # Errors
    /// When the system has no descriptors or memory left.
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
                let (announcements, heard) = channel().map_err(|error| unlinked(topology, link, &error))?;
                remote = Some(Remote { notifier, announcements, heard: Some(heard) });
            }
            links.push(RigLink {
                link_state,
                deaths: Deaths::default(),
                absence: Absence::default(),
                remote,
            });
        }
        Ok(Self { actor_counters, match_stats, links, notifiers, name: name.to_owned(), framesets })
    }

    /// What `process` has to be told to host those of its actors that are `alive`, and what others have to be
    /// told then. `is_there` says of a process whether it hears orders.
    ///
    /// # Errors
    /// When the system has no descriptors left. The process has to end then, and to be begun again.
    pub(crate) fn begin(
        &mut self,
        topology: &Topology,
        process: ProcessId,
        alive: impl Fn(ActorId) -> bool,
        is_there: impl Fn(ProcessId) -> bool,
    ) -> io::Result<Beginning> {
        let lives_here = |actor: ActorId| topology.actor(actor).process == process && alive(actor);
        let mut parts = Vec::new();
        for actor in topology.actors_of(process).filter(|&actor| alive(actor)) {
            parts.push(self.actor_part(topology, actor)?);
            parts.extend(self.matching_part(topology, actor)?);
        }
        if let Some(notifier) = &self.notifiers[process.index()] {
            let notifier = notifier.share().map_err(|error| {
                let name = topology.process(process);
                io::Error::other(format!("process `{name}` cannot be wired: {error}"))
            })?;
            parts.push(Part::Listener(notifier));
        }
        let mut others = Vec::new();
        for (number, (spec, link)) in topology.links().iter().zip(&mut self.links).enumerate() {
            let (writes, reads) = (lives_here(spec.from), lives_here(spec.to));
            let refused = |error: MemoryError| unlinked(topology, spec, &error);
            let Some(remote) = &mut link.remote else {
                if reads {
                    link.link_state.set_reader_back(link.absence);
                }
                // A producer goes on counting for a reader that has ended.
                if writes {
                    parts.push(local_part(spec, link.link_state.share().map_err(refused)?, reads));
                }
                continue;
            };
            if writes {
                parts.push(Part::Output {
                    from: spec.from,
                    link: LinkId::new(number),
                    link_state: link.link_state.share().map_err(refused)?,
                    notifier: remote.notifier.share().map_err(refused)?,
                    announcements: remote.announcements.clone(),
                    overflow: spec.overflow,
                    queue: spec.queue,
                });
                // A reader that is there hears this producer. It was to be back when the one before would hear
                // of it, which may have died without.
                if is_there(topology.actor(spec.to).process) {
                    link.link_state.set_reader_back(link.absence);
                }
            }
            if reads {
                if remote.heard.is_none() {
                    let (announcements, heard) =
                        channel().map_err(|error| unlinked(topology, spec, &error))?;
                    remote.announcements = announcements.clone();
                    remote.heard = Some(heard);
                    let producer = topology.actor(spec.from).process;
                    if alive(spec.from) && is_there(producer) {
                        others.push((
                            producer,
                            WorkerCommand::Relink {
                                link: LinkId::new(number),
                                announcements,
                                absence: link.absence,
                            },
                        ));
                    } else {
                        // Whoever produces next tells the reader everything first.
                        link.link_state.set_reader_back(link.absence);
                    }
                }
                let (from, to) = (topology.actor(spec.from).name.clone(), spec.to);
                let link_state = link.link_state.share().map_err(refused)?;
                let input = |announcements| Part::Input { from, to, link_state, announcements };
                parts.extend(remote.heard.take().map(input));
            }
        }
        Ok(Beginning { parts, others })
    }

    fn matching_part(&self, topology: &Topology, actor: ActorId) -> io::Result<Option<Part>> {
        let spec = topology.actor(actor);
        let Some((matching, stats)) = spec.matching.clone().zip(self.match_stats[actor.index()].as_ref())
        else {
            return Ok(None);
        };
        let counts = stats.share().map_err(|error| unwired(spec, &error))?;
        Ok(Some(Part::Matching(actor, matching, counts)))
    }

    fn actor_part(&self, topology: &Topology, actor: ActorId) -> io::Result<Part> {
        let spec = topology.actor(actor);
        let counters = self.actor_counters[actor.index()].share().map_err(|error| unwired(spec, &error))?;
        let part = ActorPart {
            id: actor,
            name: spec.name.clone(),
            rig: self.name.clone(),
            role: spec.role.clone(),
            options: spec.options.clone(),
            slots: spec.slots,
            reset: false,
            framesets: self.framesets,
        };
        Ok(Part::Actor(part, counters))
    }
}

fn local_part(link: &LinkSpec, link_state: IpcSharedMemory, reads: bool) -> Part {
    Part::Local {
        from: link.from,
        to: reads.then_some(link.to),
        link_state,
        overflow: link.overflow,
        queue: link.queue,
    }
}

fn unwired(actor: &ActorSpec, error: &dyn std::error::Error) -> io::Error {
    io::Error::other(format!("{} `{}` cannot be wired: {error}", actor.role.name(), actor.name))
}

fn unlinked(topology: &Topology, link: &LinkSpec, error: &dyn std::error::Error) -> io::Error {
    let (from, to) = (&topology.actor(link.from).name, &topology.actor(link.to).name);
    io::Error::other(format!("the link from `{from}` to `{to}` cannot be wired: {error}"))
}
