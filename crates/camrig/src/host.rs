//! The actors of one process: created from parts, started, restarted and stopped.
//!
//! The same code runs in the supervisor's process and in every worker and does not depend on which: it reports events
//! through a function.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use camrig_ipc::protocol::Announcement;
use camrig_ipc::{
    Absence, ActorCounters, LinkReader, LinkState, LinkWriter, Listener, MemoryError, Notifier, Sender,
};
use tokio::sync::Notify;

use crate::actors::{CameraLife, CameraLimits, run_camera, run_processor};
use crate::control::{ActorCommand, ActorEvent, ActorPart, Part};
use crate::failure::Failure;
use crate::ids::{ActorId, LinkId};
use crate::inputs::{InputLinks, Inputs};
use crate::link::{LocalLink, LocalReader, ProducerEnd, RemoteReader};
use crate::logging;
use crate::matching::{MatchStats, Matching};
use crate::output::{InputStatus, ProcessorOutput, Publisher, Wiring};
use crate::registry::Registry;
use crate::threads;
use crate::topology::Role;

/// Maximum number of pending commands of an actor: one per failure.
const VERDICTS: usize = 2;

/// The actors of a process while its parts arrive.
#[derive(Default)]
pub(crate) struct Host {
    actors: BTreeMap<ActorId, Wired>,
    listener: Option<Listener>,
    /// The tasks to wake when the notifier receives a notification for each of these links.
    sleepers: Vec<(Arc<LinkState>, Arc<Notify>)>,
    writers: BTreeMap<LinkId, Arc<LinkWriter>>,
}

/// An actor with the ends of its links.
struct Wired {
    part: ActorPart,
    counters: Arc<ActorCounters>,
    wake: Arc<Notify>,
    inputs: InputLinks,
    outputs: Vec<Arc<dyn ProducerEnd>>,
}

/// The actors of a process on their threads.
pub(crate) struct Hosted {
    gate: Arc<Gate>,
    stop: Arc<AtomicBool>,
    actors: BTreeMap<ActorId, ActorHandle>,
    /// The producers' ends of links to other processes, by link.
    writers: BTreeMap<LinkId, Arc<LinkWriter>>,
}

/// Channel to an actor's thread for the supervisor's decisions.
struct ActorHandle {
    commands: SyncSender<ActorCommand>,
    interrupt: Arc<AtomicBool>,
}

impl Host {
    /// Adds one part. Actors must be added before their links.
    ///
    /// # Errors
    /// If shared memory is invalid.
    pub(crate) fn add(&mut self, part: Part) -> Result<(), MemoryError> {
        match part {
            Part::Actor { actor: part, counters } => {
                let wake = Arc::new(Notify::new());
                let counters = Arc::new(ActorCounters::received(counters)?);
                let inputs = InputLinks::new(Arc::clone(&wake), Arc::clone(&counters));
                let wired = Wired { counters, wake, inputs, outputs: Vec::new(), part };
                self.actors.insert(wired.part.id, wired);
            }
            Part::Matching { actor, spec, counters } => {
                let stats = Arc::new(MatchStats::received(&spec, counters)?);
                self.actor(actor).inputs.match_by(Matching::new(spec, stats));
            }
            Part::Local { from, to, link_state, overflow, queue } => {
                let link_state = Arc::new(LinkState::received(link_state)?);
                let wake = to.map_or_else(Arc::default, |to| Arc::clone(&self.actor(to).wake));
                let link = Arc::new(LocalLink::new(link_state, wake, overflow, queue));
                let from = self.actor(from);
                let (name, reader) = (from.part.name.clone(), LocalReader::new(&link));
                from.outputs.push(link);
                if let Some(to) = to {
                    self.actor(to).inputs.add(&name, Box::new(reader));
                }
            }
            Part::Output { from, link, link_state, notifier, announcements, overflow, queue } => {
                let (link_state, notifier) =
                    (Arc::new(LinkState::received(link_state)?), Notifier::received(notifier)?);
                let writer = Arc::new(LinkWriter::new(link_state, notifier, announcements, overflow, queue));
                self.writers.insert(link, Arc::clone(&writer));
                self.actor(from).outputs.push(writer);
            }
            Part::Input { from, to, link_state, announcements } => {
                let link_state = Arc::new(LinkState::received(link_state)?);
                let to = self.actor(to);
                let reader = LinkReader::new(Arc::clone(&link_state), announcements);
                to.inputs.add(&from, Box::new(RemoteReader::new(&from, reader)));
                let wake = Arc::clone(&to.wake);
                self.sleepers.push((link_state, wake));
            }
            Part::Listener(notifier) => self.listener = Some(Listener::new(Notifier::received(notifier)?)),
        }
        Ok(())
    }

    fn actor(&mut self, id: ActorId) -> &mut Wired {
        self.actors.get_mut(&id).expect("the supervisor sends actors before their links")
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
        let Self { mut actors, listener, sleepers, writers } = self;
        let mut hosted =
            Hosted { gate: Arc::default(), stop: Arc::default(), actors: BTreeMap::new(), writers };
        if let Some(mut listener) = listener {
            let gate = Arc::downgrade(&hosted.gate);
            let mut readers = actors.values_mut().filter(|actor| actor.inputs.some_and_all_remote().0);
            match (readers.next(), readers.next()) {
                (Some(only), None) if only.inputs.some_and_all_remote().1 => only.inputs.listen(listener),
                _ => threads::spawn("notifiers", move || {
                    // Every actor's thread holds the gate.
                    while gate.strong_count() > 0 {
                        listener.wait();
                        let rung = sleepers.iter().filter(|(link_state, _)| link_state.is_notified());
                        rung.for_each(|(_, wake)| wake.notify_one());
                    }
                })?,
            }
        }
        for (actor, wired) in actors {
            let (commands, told) = sync_channel(VERDICTS);
            let limits = CameraLimits {
                stop: Arc::clone(&hosted.stop),
                interrupt: Arc::default(),
                framesets: wired.part.framesets,
            };
            hosted.actors.insert(actor, ActorHandle { commands, interrupt: Arc::clone(&limits.interrupt) });
            let (registry, events, gate) = (Arc::clone(registry), events.clone(), Arc::clone(&hosted.gate));
            let name = wired.part.name.clone();
            threads::spawn(&name, move || wired.live(&registry, &limits, &gate, &told, &events))?;
        }
        Ok(hosted)
    }
}

impl Wired {
    /// Runs one instance of the actor after another, until one ends normally or the supervisor gives up. Its
    /// links exist for the whole time.
    fn live(
        self,
        registry: &Registry,
        limits: &CameraLimits,
        gate: &Gate,
        commands: &Receiver<ActorCommand>,
        events: &impl Fn(ActorEvent),
    ) {
        let Self { part, counters, inputs, outputs, .. } = self;
        logging::set_actor(&part.name);
        let actor = part.id;
        let status = InputStatus {
            rig: part.rig.as_str().into(),
            links: inputs.link_states(),
            matching: inputs.match_stats(),
        };
        let inputs = Inputs::new(inputs);
        let mut reset = part.reset;
        let finished = loop {
            let publisher = Publisher::new(Wiring {
                name: part.name.clone(),
                slots: part.slots,
                links: outputs.clone(),
                counters: Arc::clone(&counters),
            });
            limits.interrupt.store(false, Ordering::Release);
            let life = live_once(&part, registry, publisher, (&inputs, &status), limits, reset, || {
                events(ActorEvent::Ready { actor });
                // A processor starts to receive framesets without a command.
                if matches!(part.role, Role::Camera { .. }) {
                    gate.wait();
                }
            });
            let Err(failure) = life else { break true };
            let in_vain = !status.links.is_empty() && inputs.give_nothing_more();
            inputs.pause();
            events(ActorEvent::Failed { actor, failure: Failure { in_vain, ..failure } });
            match commands.recv() {
                Ok(ActorCommand::Restart { reset: again }) => reset = again,
                _ => break false,
            }
            inputs.resume();
        };
        inputs.close();
        for link in &outputs {
            link.end();
        }
        if finished {
            events(ActorEvent::Finished { actor });
        }
    }
}

/// Runs one instance from build to end. `ready` is called after the build, and returns when the instance may continue.
fn live_once(
    part: &ActorPart,
    registry: &Registry,
    publisher: Publisher,
    (inputs, status): (&Inputs, &InputStatus),
    limits: &CameraLimits,
    reset: bool,
    ready: impl FnOnce(),
) -> Result<(), Failure> {
    let unknown = || Failure::new("is not registered in this program");
    match &part.role {
        Role::Camera { driver } => {
            let entry = registry.driver(driver).ok_or_else(unknown)?;
            let life = CameraLife {
                name: &part.name,
                driver_name: driver,
                driver: entry.as_ref(),
                options: &part.options,
                reset,
            };
            run_camera(&life, publisher, limits.clone(), ready)
        }
        Role::Processor { kind } => {
            let entry = registry.kind(kind).ok_or_else(unknown)?;
            let output = ProcessorOutput::new(publisher, status.clone());
            run_processor(entry.as_ref(), &part.options, output, inputs.clone(), ready)
        }
    }
}

impl Hosted {
    /// Starts the flow of framesets.
    pub(crate) fn go(&self) {
        self.gate.open();
    }

    /// Makes every camera end before its next frameset.
    pub(crate) fn stop_cameras(&self) {
        self.stop.store(true, Ordering::Release);
        // A camera that is still waiting for the start checks for the stop behind the gate.
        self.gate.open();
    }

    /// Sends an actor the supervisor's decision.
    pub(crate) fn tell(&self, actor: ActorId, command: ActorCommand) {
        let Some(handle) = self.actors.get(&actor) else { return };
        if command == ActorCommand::Interrupt {
            handle.interrupt.store(true, Ordering::Release);
        } else {
            // The actor's thread has ended, or has enough pending commands to know.
            let _ = handle.commands.try_send(command);
        }
    }

    /// Continues with another reader of a link to another process.
    pub(crate) fn relink(&self, link: LinkId, announcements: Sender<Announcement>, absence: Absence) {
        if let Some(writer) = self.writers.get(&link)
            && let Err(error) = writer.relink(announcements, absence)
        {
            log::error!("a reader that was restarted cannot be told of the slots here: {error}");
        }
    }
}

/// Blocks cameras until every actor of the rig is ready.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }

    fn wait(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened.wait_while(open, |open| !*open).unwrap_or_else(PoisonError::into_inner));
    }
}
