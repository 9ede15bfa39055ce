//! The actors of one process: created from parts, started, and sent their mail.
//!
//! The same code runs in the supervisor's process and in every worker and does not depend on which: it reports events
//! through a function.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use actix::Addr;
use actix::dev::channel::channel;
use camrig_ipc::protocol::Announcement;
use camrig_ipc::protocol::LinkStart;
use camrig_ipc::{
    Absence, ActorCounters, LinkReader, LinkState, LinkWriter, Listener, MemoryError, Notifier, Sender,
};
use tokio::sync::Notify;

use crate::actors::{self, ActorParts, LinkChange, LinkChanges};
use crate::control::{ActorCommand, ActorEvent, DeviceRequest, Part};
use crate::ids::{ActorId, LinkId};
use crate::inputs::InputLinks;
use crate::link::{LocalLink, LocalReader, ProducerEnd, RemoteReader};
use crate::mail::{Mail, MailSender, UNREAD_MAX, Unread};
use crate::matching::{MatchStats, Matching};
use crate::registry::Registry;
use crate::threads;

/// The actors of a process while its parts arrive.
#[derive(Default)]
pub(crate) struct Arriving {
    actors: BTreeMap<ActorId, Wired>,
    notifier: Option<Arc<Notifier>>,
    /// The readers of links from other processes.
    sleepers: Vec<Sleeper>,
    writers: BTreeMap<LinkId, Arc<LinkWriter>>,
    /// Changes of the links of actors that are not among `actors`: they run, or are added later.
    changes: BTreeMap<ActorId, Vec<LinkChange>>,
    /// The changes that the process had for actors that are added later.
    earlier: BTreeMap<ActorId, Vec<LinkChange>>,
    /// Wakes actors that are not among `actors`.
    wakes: BTreeMap<ActorId, Arc<Notify>>,
}

/// An actor with the ends of its links, and its wake-up.
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
    writers: BTreeMap<LinkId, Weak<LinkWriter>>,
    notifier: Option<Arc<Notifier>>,
    sleepers: Sleepers,
    /// Links of actors that are added later.
    changes: BTreeMap<ActorId, Vec<LinkChange>>,
    wakes: BTreeMap<ActorId, Arc<Notify>>,
}

/// The sleepers of a process, and whether a thread wakes them.
#[derive(Clone, Default)]
struct Sleepers(Arc<Mutex<(Vec<Sleeper>, bool)>>);

/// An actor on its thread, and the ends of its links.
struct HostedActor {
    mail: MailSender,
    changes: LinkChanges,
    /// Ends with the thread of the actor.
    wake: Weak<Notify>,
    /// Whether the actor waits on the notifier of the process itself.
    listens: bool,
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

impl Arriving {
    /// Adds one part. New actors must be added before their links; one of the two actors of a link may be added later.
    ///
    /// # Errors
    /// If shared memory is invalid, or the actor of the part is unknown.
    pub(crate) fn add(&mut self, part: Part) -> Result<(), PartError> {
        match part {
            Part::Actor { actor: part, counters } => {
                let id = part.id;
                let wake = self.wakes.remove(&id).unwrap_or_default();
                let counters = Arc::new(ActorCounters::received(counters)?);
                let unread = Unread::default();
                let inputs = InputLinks::new(Arc::clone(&wake), Arc::clone(&counters), unread.clone());
                let (outputs, changes, on_thread) = Default::default();
                let parts = ActorParts { part: *part, counters, inputs, outputs, changes, unread, on_thread };
                self.actors.insert(id, Wired { parts, wake });
                let earlier = self.earlier.remove(&id).into_iter().flatten();
                for change in earlier.chain(self.changes.remove(&id).into_iter().flatten()) {
                    self.change(id, change);
                }
            }
            Part::Matching { actor, spec, counters } => {
                let stats = Arc::new(MatchStats::received(&spec, counters)?);
                self.actor(actor)?.parts.inputs.match_by(Matching::new(spec, stats));
            }
            Part::Local { link, from, producer, to, link_state, overflow, queue, joining } => {
                let link_state = Arc::new(LinkState::received(link_state)?);
                if !self.knows(from) && to.is_none_or(|to| !self.knows(to)) {
                    return Err(PartError::UnknownActor(from));
                }
                let wake = to.map(|to| self.wake(to)).unwrap_or_default();
                let on_thread = to.is_some_and(|to| self.share_a_thread(from, to));
                let local = LocalLink::new(link_state, wake, overflow, queue).on_thread(on_thread);
                let local = Arc::new(local);
                if let Some(to) = to.filter(|_| on_thread) {
                    self.actor(from)?.parts.on_thread.push((to, Arc::clone(&local)));
                }
                let reader = LocalReader::new(&local);
                let LinkStart { replaces, slots } = joining;
                self.change(from, LinkChange::Publish { link, end: local, replaces, slots });
                if let Some(to) = to {
                    self.change(to, LinkChange::Read { from: producer, end: Box::new(reader) });
                }
            }
            Part::Output { from, link, link_state, notifier, announcements, overflow, queue, joining } => {
                let (link_state, notifier) =
                    (Arc::new(LinkState::received(link_state)?), Notifier::received(notifier)?);
                let writer = Arc::new(LinkWriter::new(link_state, notifier, announcements, overflow, queue));
                self.known(from)?;
                self.writers.insert(link, Arc::clone(&writer));
                let LinkStart { replaces, slots } = joining;
                self.change(from, LinkChange::Publish { link, end: writer, replaces, slots });
            }
            Part::Input { from, to, link_state, announcements } => {
                let link_state = Arc::new(LinkState::received(link_state)?);
                self.known(to)?;
                let reader = LinkReader::new(Arc::clone(&link_state), announcements);
                let wake = Arc::downgrade(&self.wake(to));
                self.sleepers.push(Sleeper { link_state, wake });
                self.change(to, LinkChange::Read { end: Box::new(RemoteReader::new(&from, reader)), from });
            }
            Part::Listener(notifier) => self.notifier = Some(Arc::new(Notifier::received(notifier)?)),
        }
        Ok(())
    }

    fn actor(&mut self, id: ActorId) -> Result<&mut Wired, PartError> {
        self.actors.get_mut(&id).ok_or(PartError::UnknownActor(id))
    }

    /// Returns whether an actor was added already.
    fn knows(&self, id: ActorId) -> bool {
        self.actors.contains_key(&id) || self.wakes.contains_key(&id)
    }

    /// Returns whether two actors will start on the same thread.
    fn share_a_thread(&self, one: ActorId, other: ActorId) -> bool {
        let thread = |id| self.actors.get(&id).and_then(|wired| wired.parts.part.thread.as_deref());
        thread(one).is_some() && thread(one) == thread(other)
    }

    fn known(&self, id: ActorId) -> Result<(), PartError> {
        if self.knows(id) { Ok(()) } else { Err(PartError::UnknownActor(id)) }
    }

    /// Returns the wake-up of an actor, which may be added later.
    fn wake(&mut self, id: ActorId) -> Arc<Notify> {
        match self.actors.get(&id) {
            Some(wired) => Arc::clone(&wired.wake),
            None => Arc::clone(self.wakes.entry(id).or_default()),
        }
    }

    /// Changes the links of an actor that has not started, or leaves the change for one that runs or is added later.
    fn change(&mut self, id: ActorId, change: LinkChange) {
        let Some(Wired { parts, .. }) = self.actors.get_mut(&id) else {
            return self.changes.entry(id).or_default().push(change);
        };
        match change {
            LinkChange::Publish { link, end, slots, .. } => parts.outputs.add(link, end, slots),
            LinkChange::Read { from, end } => parts.inputs.add(&from, end),
            LinkChange::End(link) => parts.outputs.end(link),
        }
    }

    /// Starts a thread for each actor, or for those that share one, and reports their events to `events`.
    ///
    /// # Errors
    /// If a thread cannot be created. The process must then be ended.
    pub(crate) fn start(
        self,
        registry: &Arc<Registry>,
        events: impl Fn(ActorEvent) + Clone + Send + 'static,
    ) -> io::Result<Hosted> {
        let mut hosted = Hosted {
            actors: BTreeMap::new(),
            writers: BTreeMap::new(),
            notifier: None,
            sleepers: Sleepers::default(),
            changes: BTreeMap::new(),
            wakes: BTreeMap::new(),
        };
        let Self { mut actors, notifier, sleepers, writers, changes, wakes, .. } = self;
        let writers = writers.iter().map(|(link, writer)| (*link, Arc::downgrade(writer)));
        hosted.writers.extend(writers);
        (hosted.changes, hosted.wakes) = (changes, wakes);
        hosted.notifier.clone_from(&notifier);
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
                _ => hosted.sleepers.add(sleepers, listener)?,
            }
        }
        let sleeper = sleeps.zip(notifier);
        let created = create_threads(actors, sleeper.as_ref(), registry, &events)?;
        hosted.start_actors(created);
        Ok(hosted)
    }
}

impl Sleepers {
    fn locked(&self) -> MutexGuard<'_, (Vec<Sleeper>, bool)> {
        // No code panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds readers, and starts the thread that wakes them with this listener if there is none.
    ///
    /// # Errors
    /// If that thread cannot be created. Then no reader was added.
    fn add(&self, sleepers: Vec<Sleeper>, listener: Listener) -> io::Result<()> {
        let mut locked = self.locked();
        let (sleeping, runs) = &mut *locked;
        let nobody_sleeps = sleeping.is_empty() && sleepers.is_empty();
        if !*runs && !nobody_sleeps {
            let this = self.clone();
            // It waits for the lock.
            threads::spawn("notifiers", move || this.wake(listener))?;
            *runs = true;
        }
        sleeping.extend(sleepers);
        Ok(())
    }

    /// Wakes actors when the notifier of their process is notified, until all of them have ended.
    fn wake(&self, mut listener: Listener) {
        loop {
            listener.wait();
            let (sleepers, runs) = &mut *self.locked();
            sleepers.retain(|Sleeper { link_state, wake }| {
                let Some(wake) = wake.upgrade() else { return false };
                if link_state.is_notified() {
                    wake.notify_one();
                }
                // A link that has ended and is empty notifies no more; a link that another continues can end while its reader
                // continues.
                !(link_state.ended() && link_state.continues() && !link_state.is_notified())
            });
            if sleepers.is_empty() {
                *runs = false;
                return;
            }
        }
    }
}

impl HostedActor {
    fn new(mail: MailSender, wake: &Arc<Notify>, parts: &ActorParts) -> Self {
        Self {
            listens: mail.notifier.is_some(),
            mail,
            changes: parts.changes.clone(),
            wake: Arc::downgrade(wake),
            outputs: parts.outputs.ends().iter().map(Arc::downgrade).collect(),
            inputs: parts.inputs.link_states().iter().map(Arc::downgrade).collect(),
        }
    }

    /// Changes links of the actor, on its thread.
    fn change(&mut self, changes: Vec<LinkChange>) {
        self.outputs.retain(|output| output.strong_count() > 0);
        self.inputs.retain(|input| input.strong_count() > 0);
        for change in &changes {
            match change {
                LinkChange::Publish { end, .. } => self.outputs.push(Arc::downgrade(end)),
                LinkChange::Read { end, .. } => self.inputs.push(Arc::downgrade(end.link_state())),
                LinkChange::End(_) => {}
            }
        }
        if self.changes.leave(changes) {
            self.mail.send(Mail::Links);
        }
    }

    /// Ends the links in place of the actor: no other actor waits for it.
    fn end_links(&self) {
        self.outputs.iter().filter_map(Weak::upgrade).for_each(|output| output.end());
        self.inputs.iter().filter_map(Weak::upgrade).for_each(|input| input.set_reader_ended());
    }
}

/// Actors with the threads that were created for them: each begins with the message, and ends without it.
type CreatedThreads = (Vec<(ActorId, HostedActor)>, Vec<SyncSender<()>>);

/// Creates the threads of actors. The `sleeper` is the actor that sleeps on the notifier of the process, with it.
///
/// # Errors
/// If one cannot be created: then all others end.
fn create_threads(
    actors: BTreeMap<ActorId, Wired>,
    sleeper: Option<&(ActorId, Arc<Notifier>)>,
    registry: &Arc<Registry>,
    events: &(impl Fn(ActorEvent) + Clone + Send + 'static),
) -> io::Result<CreatedThreads> {
    let (mut hosted, mut begins) = (Vec::new(), Vec::new());
    let mut threads: Vec<(Option<String>, Vec<_>)> = Vec::new();
    for (id, Wired { parts, wake }) in actors {
        let (to, mail) = channel(UNREAD_MAX);
        let notifier = sleeper.filter(|(actor, _)| *actor == id).map(|(_, notifier)| Arc::clone(notifier));
        let sender = MailSender::new(Addr::new(to).recipient(), parts.unread.clone(), notifier);
        hosted.push((id, HostedActor::new(sender.clone(), &wake, &parts)));
        let shared = parts.part.thread.clone();
        match threads.iter_mut().find(|(known, _)| known.is_some() && *known == shared) {
            Some((_, actors)) => actors.push((parts, mail, sender)),
            None => threads.push((shared, vec![(parts, mail, sender)])),
        }
    }
    for (shared, actors) in threads {
        let name = shared.unwrap_or_else(|| actors[0].0.part.name.clone());
        let (registry, events, logged) = (Arc::clone(registry), events.clone(), name.clone());
        let (begin, begun) = sync_channel(1);
        begins.push(begin);
        threads::spawn(&name, move || {
            if begun.recv().is_err() {
                return;
            }
            let (actors, senders): (Vec<_>, Vec<_>) =
                actors.into_iter().map(|(parts, mail, sender)| ((parts, mail), sender)).unzip();
            actors::run(&logged, actors, &registry, events);
            senders.iter().for_each(MailSender::close);
        })?;
    }
    Ok((hosted, begins))
}

impl Hosted {
    /// Returns the place for parts that are added to this process. If they cannot be added, it has to be [left
    /// out](Self::leave_out).
    pub(crate) fn arriving(&mut self) -> Arriving {
        self.writers.retain(|_, writer| writer.strong_count() > 0);
        // An actor that has ended refuses its links: the supervisor may not know of its end.
        let known = |(id, actor): (&ActorId, &HostedActor)| (*id, actor.wake.upgrade().unwrap_or_default());
        let mut wakes: BTreeMap<_, _> = self.actors.iter().map(known).collect();
        wakes.append(&mut self.wakes);
        Arriving { earlier: std::mem::take(&mut self.changes), wakes, ..Arriving::default() }
    }

    /// Continues without the parts that arrived.
    pub(crate) fn leave_out(&mut self, arriving: Arriving) {
        let Arriving { earlier, wakes, .. } = arriving;
        (self.changes, self.wakes) = (earlier, wakes);
        self.wakes.retain(|id, _| !self.actors.contains_key(id));
    }

    /// Starts the [arriving](Self::arriving) actors, and changes the links of running ones.
    ///
    /// # Errors
    /// If a thread cannot be created. Then nothing has started or changed; changes that waited for one of the arriving
    /// actors are lost with it.
    pub(crate) fn extend(
        &mut self,
        arriving: Arriving,
        registry: &Arc<Registry>,
        events: impl Fn(ActorEvent) + Clone + Send + 'static,
    ) -> io::Result<()> {
        let Arriving { actors, notifier, mut sleepers, writers, changes, earlier, wakes } = arriving;
        self.leave_out(Arriving { earlier, wakes, ..Arriving::default() });
        let created = create_threads(actors, None, registry, &events)?;
        let notifier = self.notifier.clone().or(notifier);
        // A reader that waits on the notifier itself needs no thread.
        let own: Vec<_> = self.actors.values().filter(|actor| actor.listens).collect();
        sleepers.retain(|sleeper| !own.iter().any(|actor| Weak::ptr_eq(&actor.wake, &sleeper.wake)));
        if let Some(notifier) = &notifier {
            self.sleepers.add(sleepers, Listener::new(Arc::clone(notifier)))?;
        }
        self.notifier = notifier;
        self.writers.extend(writers.iter().map(|(link, writer)| (*link, Arc::downgrade(writer))));
        self.start_actors(created);
        for (id, changes) in changes {
            match self.actors.get_mut(&id) {
                Some(actor) => actor.change(changes),
                None => self.changes.entry(id).or_default().extend(changes),
            }
        }
        self.wakes.retain(|id, _| !self.actors.contains_key(id));
        Ok(())
    }

    /// Ends a link of a running producer.
    pub(crate) fn unlink(&mut self, from: ActorId, link: LinkId) {
        if let Some(actor) = self.actors.get_mut(&from) {
            actor.change(vec![LinkChange::End(link)]);
        }
    }

    /// Starts actors whose threads were created.
    fn start_actors(&mut self, (actors, threads): CreatedThreads) {
        self.actors.extend(actors);
        for thread in threads {
            // The thread waits for it, and has space for it.
            let _ = thread.send(());
        }
    }

    /// Starts the flow of framesets.
    pub(crate) fn go(&self) {
        self.send_all(&Mail::Go);
    }

    /// Makes every camera end before its next frameset.
    pub(crate) fn stop_cameras(&self) {
        self.send_all(&Mail::Stop);
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

    /// Ends every actor: the supervisor has ended.
    pub(crate) fn give_up(&self) {
        self.actors.keys().for_each(|&actor| self.send(actor, ActorCommand::GiveUp));
    }

    /// Sends a request to the device of a camera. Its answer is an event, unless the result is false: the actor has ended.
    pub(crate) fn call_device(&self, actor: ActorId, request: DeviceRequest) -> bool {
        self.actors.get(&actor).is_some_and(|actor| actor.mail.send(Mail::Device(request)))
    }

    fn send_all(&self, mail: &Mail) {
        self.actors.values().for_each(|actor| {
            actor.mail.send(mail.clone());
        });
    }

    /// Continues with another reader of a link to another process.
    pub(crate) fn relink(&self, link: LinkId, announcements: Sender<Announcement>, absence: Absence) {
        if let Some(writer) = self.writers.get(&link).and_then(Weak::upgrade)
            && let Err(error) = writer.relink(announcements, absence)
        {
            log::error!(
                "the slots here cannot be announced to a reader that was restarted, until the next frameset: {error}"
            );
        }
    }
}

/// Actors that have not ended get no more mail, so they end.
impl Drop for Hosted {
    fn drop(&mut self) {
        self.send_all(&Mail::GiveUp);
    }
}
