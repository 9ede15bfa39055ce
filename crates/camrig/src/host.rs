//! The actors of one process: created from parts, started, and sent their mail.
//!
//! The same code runs in the supervisor's process and in every worker and does not depend on which: it reports events
//! through a function.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Weak};

use actix::Addr;
use actix::dev::channel::channel;
use camrig_ipc::protocol::Announcement;
use camrig_ipc::{
    Absence, ActorCounters, LinkReader, LinkState, LinkWriter, Listener, MemoryError, Notifier, Sender,
};
use tokio::sync::Notify;

use crate::actors::{self, ActorParts};
use crate::control::{ActorCommand, ActorEvent, Part};
use crate::ids::{ActorId, LinkId};
use crate::inputs::InputLinks;
use crate::link::{LocalLink, LocalReader, ProducerEnd, RemoteReader};
use crate::mail::{Mail, MailSender, UNREAD_MAX, Unread};
use crate::matching::{MatchStats, Matching};
use crate::registry::Registry;
use crate::threads;

/// The actors of a process while its parts arrive.
#[derive(Default)]
pub(crate) struct Host {
    actors: BTreeMap<ActorId, Wired>,
    notifier: Option<Arc<Notifier>>,
    /// The readers of links from other processes.
    sleepers: Vec<Sleeper>,
    writers: BTreeMap<LinkId, Arc<LinkWriter>>,
}

/// An actor with the ends of its links, and what wakes it.
struct Wired {
    parts: ActorParts,
    wake: Arc<Notify>,
}

/// Wakes the reader of a link when the notifier of the process was notified for this link.
struct Sleeper {
    link_state: Arc<LinkState>,
    /// Ends with the thread of the reader.
    wake: Weak<Notify>,
}

/// The actors of a process on their threads.
pub(crate) struct Hosted {
    actors: BTreeMap<ActorId, HostedActor>,
    /// The producers' ends of links to other processes, by link.
    writers: BTreeMap<LinkId, Arc<LinkWriter>>,
}

/// An actor on its thread, and the ends of its links.
struct HostedActor {
    mail: MailSender,
    outputs: Vec<Weak<dyn ProducerEnd>>,
    inputs: Vec<Weak<LinkState>>,
}

/// An error of a part.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PartError {
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A link or matching of an actor that is not in this process, or comes after it.
    #[error("a part belongs to actor {}, which was not sent before it", .0.0)]
    UnknownActor(ActorId),
}

impl Host {
    /// Adds one part. Actors must be added before their links.
    ///
    /// # Errors
    /// If shared memory is invalid, or the actor of the part is unknown.
    pub(crate) fn add(&mut self, part: Part) -> Result<(), PartError> {
        match part {
            Part::Actor { actor: part, counters } => {
                let wake = Arc::new(Notify::new());
                let counters = Arc::new(ActorCounters::received(counters)?);
                let unread = Unread::default();
                let inputs = InputLinks::new(Arc::clone(&wake), Arc::clone(&counters), unread.clone());
                let id = part.id;
                let parts = ActorParts { part: *part, counters, inputs, outputs: Vec::new(), unread };
                self.actors.insert(id, Wired { parts, wake });
            }
            Part::Matching { actor, spec, counters } => {
                let stats = Arc::new(MatchStats::received(&spec, counters)?);
                self.actor(actor)?.parts.inputs.match_by(Matching::new(spec, stats));
            }
            Part::Local { from, to, link_state, overflow, queue } => {
                let link_state = Arc::new(LinkState::received(link_state)?);
                let wake = match to {
                    Some(to) => Arc::clone(&self.actor(to)?.wake),
                    None => Arc::default(),
                };
                let link = Arc::new(LocalLink::new(link_state, wake, overflow, queue));
                let from = &mut self.actor(from)?.parts;
                let (name, reader) = (from.part.name.clone(), LocalReader::new(&link));
                from.outputs.push(link);
                if let Some(to) = to {
                    self.actor(to)?.parts.inputs.add(&name, Box::new(reader));
                }
            }
            Part::Output { from, link, link_state, notifier, announcements, overflow, queue } => {
                let (link_state, notifier) =
                    (Arc::new(LinkState::received(link_state)?), Notifier::received(notifier)?);
                let writer = Arc::new(LinkWriter::new(link_state, notifier, announcements, overflow, queue));
                self.actor(from)?.parts.outputs.push(Arc::clone(&writer) as _);
                self.writers.insert(link, writer);
            }
            Part::Input { from, to, link_state, announcements } => {
                let link_state = Arc::new(LinkState::received(link_state)?);
                let to = self.actor(to)?;
                let reader = LinkReader::new(Arc::clone(&link_state), announcements);
                to.parts.inputs.add(&from, Box::new(RemoteReader::new(&from, reader)));
                let wake = Arc::downgrade(&to.wake);
                self.sleepers.push(Sleeper { link_state, wake });
            }
            Part::Listener(notifier) => self.notifier = Some(Arc::new(Notifier::received(notifier)?)),
        }
        Ok(())
    }

    fn actor(&mut self, id: ActorId) -> Result<&mut Wired, PartError> {
        self.actors.get_mut(&id).ok_or(PartError::UnknownActor(id))
    }

    /// Starts a thread for each actor and reports its events to `events`.
    ///
    /// # Errors
    /// If a thread cannot be created. The process must then be ended.
    pub(crate) fn start(
        self,
        registry: &Arc<Registry>,
        events: impl Fn(ActorEvent) + Clone + Send + 'static,
    ) -> io::Result<Hosted> {
        let Self { mut actors, notifier, sleepers, writers } = self;
        let mut hosted = Hosted { actors: BTreeMap::new(), writers };
        // The actor whose thread sleeps on the notifier.
        let mut sleeps = None;
        if let Some(notifier) = &notifier {
            let listener = Listener::new(Arc::clone(notifier));
            let mut readers = actors.values_mut().map(|wired| &mut wired.parts);
            let mut readers = readers.by_ref().filter(|parts| parts.inputs.some_and_all_remote().0);
            match (readers.next(), readers.next()) {
                (Some(only), None) if only.inputs.some_and_all_remote().1 => {
                    only.inputs.listen(listener);
                    sleeps = Some(only.part.id);
                }
                _ => threads::spawn("notifiers", move || wake(listener, sleepers))?,
            }
        }
        for (id, Wired { parts, .. }) in actors {
            let (to, mail) = channel(UNREAD_MAX);
            let notifier = notifier.clone().filter(|_| sleeps == Some(id));
            let sender = MailSender { to: Addr::new(to).recipient(), unread: parts.unread.clone(), notifier };
            hosted.actors.insert(id, HostedActor::new(sender, &parts));
            let (registry, events) = (Arc::clone(registry), events.clone());
            let name = parts.part.name.clone();
            threads::spawn(&name, move || actors::run(parts, registry, mail, events))?;
        }
        Ok(hosted)
    }
}

/// Wakes actors when the notifier of their process is notified, until all of them have ended.
fn wake(mut listener: Listener, mut sleepers: Vec<Sleeper>) {
    while !sleepers.is_empty() {
        listener.wait();
        sleepers.retain(|Sleeper { link_state, wake }| {
            let Some(wake) = wake.upgrade() else { return false };
            if link_state.is_notified() {
                wake.notify_one();
            }
            true
        });
    }
}

impl HostedActor {
    fn new(mail: MailSender, parts: &ActorParts) -> Self {
        let inputs = parts.inputs.link_states();
        Self {
            mail,
            outputs: parts.outputs.iter().map(Arc::downgrade).collect(),
            inputs: inputs.iter().map(|(_, link_state)| Arc::downgrade(link_state)).collect(),
        }
    }

    /// Ends the links in place of the actor: no other actor waits for it.
    fn end_links(&self) {
        self.outputs.iter().filter_map(Weak::upgrade).for_each(|output| output.end());
        self.inputs.iter().filter_map(Weak::upgrade).for_each(|input| input.set_reader_ended());
    }
}

impl Hosted {
    /// Starts the flow of framesets.
    pub(crate) fn go(&self) {
        self.send_all(Mail::Go);
    }

    /// Makes every camera end before its next frameset.
    pub(crate) fn stop_cameras(&self) {
        self.send_all(Mail::Stop);
    }

    /// Sends an actor the supervisor's command.
    pub(crate) fn send(&self, actor: ActorId, command: ActorCommand) {
        let Some(actor) = self.actors.get(&actor) else { return };
        actor.mail.send(command.into());
        if command == ActorCommand::GiveUp {
            // It may be in a call that never returns.
            actor.end_links();
        }
    }

    fn send_all(&self, mail: Mail) {
        self.actors.values().for_each(|actor| actor.mail.send(mail));
    }

    /// Continues with another reader of a link to another process.
    pub(crate) fn relink(&self, link: LinkId, announcements: Sender<Announcement>, absence: Absence) {
        if let Some(writer) = self.writers.get(&link)
            && let Err(error) = writer.relink(announcements, absence)
        {
            log::error!("the slots here cannot be announced to a reader that was restarted: {error}");
        }
    }
}

/// Actors that have not ended get no more mail, so they end.
impl Drop for Hosted {
    fn drop(&mut self) {
        self.send_all(Mail::GiveUp);
    }
}
