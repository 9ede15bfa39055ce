//! What the actors of a topology are connected with: ledgers, tallies, bells and channels, and the parts of each
//! process that are made of them, at the start and whenever a process takes the place of one that died.
//!
//! It deliberately starts nothing: parts go to hosts, and what the supervisor keeps sees every count.

use std::io;
use std::sync::Arc;

use camrig_ipc::{Absence, Announcement, Bell, Deaths, Ledger, MemoryError, Tally};
use ipc_channel::ipc::{IpcReceiver, IpcSender, IpcSharedMemory, channel};

use crate::control::{ActorPart, Order, Part};
use crate::matching::MatchBook;
use crate::topology::{ActorSpec, LinkSpec, Topology};

/// What the supervisor keeps of a rig: every count, whoever lives or dies.
pub(crate) struct Rig {
    /// By actor.
    pub(crate) tallies: Vec<Tally>,
    /// By actor: those whose inputs are matched.
    pub(crate) match_books: Vec<Option<MatchBook>>,
    /// By link.
    pub(crate) links: Vec<RigLink>,
    /// By process; none where no link comes from another process.
    bells: Vec<Option<Arc<Bell>>>,
    /// The name of its status socket.
    name: String,
    /// A camera ends after so many framesets.
    framesets: Option<u64>,
}

/// A link as the supervisor sees it.
pub(crate) struct RigLink {
    pub(crate) ledger: Ledger,
    /// Which ends have died, as long as the ledger is not settled.
    deaths: Deaths,
    /// That of the reader's process that died last.
    absence: Absence,
    /// None for a link within one process.
    remote: Option<Remote>,
}

/// What a link between two processes has beside its ledger.
struct Remote {
    /// Wakes the reader's process.
    bell: Arc<Bell>,
    announcements: IpcSender<Announcement>,
    /// Where the reader's process will hear; none once it was sent there.
    heard: Option<IpcReceiver<Announcement>>,
}

impl RigLink {
    /// In the place of a producer that died: nothing more will come.
    pub(crate) fn end(&self) {
        self.ledger.end();
        self.remote.iter().for_each(|remote| remote.bell.ring());
    }

    /// Whether an end has died and the ledger is not settled.
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
        self.absence = self.ledger.set_reader_away();
        if let Some(remote) = &mut self.remote {
            remote.heard = None;
        }
    }

    /// Makes good what died with an end, or leaves it for another try. `produced` is what the producer has
    /// made.
    pub(crate) fn settle(&mut self, produced: u64) {
        if self.ledger.settle(self.deaths, produced) {
            self.deaths = Deaths::default();
        }
    }
}

/// What a process that begins has to be told, and who else has to be told of it.
pub(crate) struct Beginning {
    pub(crate) parts: Vec<Part>,
    /// Orders to other processes.
    pub(crate) others: Vec<(usize, Order)>,
}

impl Rig {
    /// Makes everything that the actors of a topology are connected with.
    ///
    /// # Errors
    /// When the system has no descriptors or memory left.
    pub(crate) fn new(topology: &Topology, name: &str, framesets: Option<u64>) -> io::Result<Self> {
        camrig_ipc::prepare()?;
        let tallies =
            topology.actors().iter().map(|actor| Tally::new().map_err(|error| unwired(actor, &error)));
        let tallies = tallies.collect::<io::Result<_>>()?;
        let match_books = topology.actors().iter().map(|actor| {
            let book = actor.matching.as_ref().map(MatchBook::new).transpose();
            book.map_err(|error| unwired(actor, &error))
        });
        let match_books = match_books.collect::<io::Result<_>>()?;
        let mut bells: Vec<Option<Arc<Bell>>> = topology.processes().iter().map(|_| None).collect();
        let mut links = Vec::new();
        for link in topology.links() {
            let (from, to) = (topology.actor(link.from), topology.actor(link.to));
            let ledger = Ledger::new().map_err(|error| unlinked(topology, link, &error))?;
            let mut remote = None;
            if from.process != to.process {
                let bell = match &bells[to.process] {
                    Some(bell) => Arc::clone(bell),
                    None => Arc::new(Bell::new().map_err(|error| unlinked(topology, link, &error))?),
                };
                bells[to.process] = Some(Arc::clone(&bell));
                let (announcements, heard) = channel().map_err(|error| unlinked(topology, link, &error))?;
                remote = Some(Remote { bell, announcements, heard: Some(heard) });
            }
            links.push(RigLink { ledger, deaths: Deaths::default(), absence: Absence::default(), remote });
        }
        Ok(Self { tallies, match_books, links, bells, name: name.to_owned(), framesets })
    }

    /// What `process` has to be told to host those of its actors that are `alive`, and what others have to be
    /// told then. `is_there` says of a process whether it hears orders.
    ///
    /// # Errors
    /// When the system has no descriptors left. The process has to end then, and to be begun again.
    pub(crate) fn begin(
        &mut self,
        topology: &Topology,
        process: usize,
        alive: impl Fn(usize) -> bool,
        is_there: impl Fn(usize) -> bool,
    ) -> io::Result<Beginning> {
        let lives_here = |actor: usize| topology.actors()[actor].process == process && alive(actor);
        let mut parts = Vec::new();
        for actor in (0..topology.actors().len()).filter(|&actor| lives_here(actor)) {
            parts.push(self.actor_part(topology, actor)?);
            parts.extend(self.matching_part(topology, actor)?);
        }
        if let Some(bell) = &self.bells[process] {
            let bell = bell.share().map_err(|error| {
                let name = &topology.processes()[process];
                io::Error::other(format!("process `{name}` cannot be wired: {error}"))
            })?;
            parts.push(Part::Inbox(bell));
        }
        let mut others = Vec::new();
        for (number, (spec, link)) in topology.links().iter().zip(&mut self.links).enumerate() {
            let (writes, reads) = (lives_here(spec.from.0), lives_here(spec.to.0));
            let refused = |error: MemoryError| unlinked(topology, spec, &error);
            let Some(remote) = &mut link.remote else {
                if reads {
                    link.ledger.set_reader_back(link.absence);
                }
                // A producer goes on counting for a reader that has ended.
                if writes {
                    parts.push(local_part(spec, link.ledger.share().map_err(refused)?, reads));
                }
                continue;
            };
            if writes {
                parts.push(Part::Output {
                    from: spec.from.0 as u32,
                    link: number as u32,
                    ledger: link.ledger.share().map_err(refused)?,
                    bell: remote.bell.share().map_err(refused)?,
                    announcements: remote.announcements.clone(),
                    overflow: spec.overflow,
                    queue: spec.queue,
                });
                // A reader that is there hears this producer. It was to be back when the one before would hear
                // of it, which may have died without.
                if is_there(topology.actor(spec.to).process) {
                    link.ledger.set_reader_back(link.absence);
                }
            }
            if reads {
                if remote.heard.is_none() {
                    let (announcements, heard) =
                        channel().map_err(|error| unlinked(topology, spec, &error))?;
                    remote.announcements = announcements.clone();
                    remote.heard = Some(heard);
                    let producer = topology.actor(spec.from).process;
                    if alive(spec.from.0) && is_there(producer) {
                        others.push((
                            producer,
                            Order::Relink { link: number as u32, announcements, absence: link.absence },
                        ));
                    } else {
                        // Whoever produces next tells the reader everything first.
                        link.ledger.set_reader_back(link.absence);
                    }
                }
                let (from, to) = (topology.actor(spec.from).name.clone(), spec.to.0 as u32);
                let ledger = link.ledger.share().map_err(refused)?;
                let input = |announcements| Part::Input { from, to, ledger, announcements };
                parts.extend(remote.heard.take().map(input));
            }
        }
        Ok(Beginning { parts, others })
    }

    fn matching_part(&self, topology: &Topology, actor: usize) -> io::Result<Option<Part>> {
        let spec = &topology.actors()[actor];
        let Some((matching, book)) = spec.matching.clone().zip(self.match_books[actor].as_ref()) else {
            return Ok(None);
        };
        let counts = book.share().map_err(|error| unwired(spec, &error))?;
        Ok(Some(Part::Matching(actor as u32, matching, counts)))
    }

    fn actor_part(&self, topology: &Topology, actor: usize) -> io::Result<Part> {
        let spec = &topology.actors()[actor];
        let tally = self.tallies[actor].share().map_err(|error| unwired(spec, &error))?;
        let part = ActorPart {
            id: actor as u32,
            name: spec.name.clone(),
            rig: self.name.clone(),
            role: spec.role.clone(),
            options: spec.options.clone(),
            slots: spec.slots,
            reset: false,
            framesets: self.framesets,
        };
        Ok(Part::Actor(part, tally))
    }
}

fn local_part(link: &LinkSpec, ledger: IpcSharedMemory, reads: bool) -> Part {
    Part::Local {
        from: link.from.0 as u32,
        to: reads.then_some(link.to.0 as u32),
        ledger,
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
