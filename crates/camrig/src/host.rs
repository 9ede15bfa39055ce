//! The actors of one process: built from parts, started, told to go and to stop.
//!
//! The same code in the supervisor's process and in every worker. It deliberately does not know which of them
//! it is in: events leave through a function.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use camrig_ipc::{Bell, Inbox, Ledger, LinkReader, LinkWriter, MemoryError, Tally};
use tokio::sync::Notify;

use crate::actors::{CameraLimits, Failure, run_camera, run_processor};
use crate::control::{ActorEvent, ActorPart, Part};
use crate::inputs::{End, Inputs};
use crate::local::LocalLink;
use crate::logging;
use crate::outlet::{Outlet, Wiring};
use crate::registry::Registry;
use crate::topology::Role;

/// The actors of a process while parts arrive.
#[derive(Default)]
pub(crate) struct Host {
    actors: BTreeMap<u32, Wired>,
    inbox: Option<Inbox>,
    /// Whom the bell wakes when each of these links was rung.
    sleepers: Vec<(Arc<Ledger>, Arc<Notify>)>,
}

/// An actor with both ends of its links.
struct Wired {
    part: ActorPart,
    wake: Arc<Notify>,
    inputs: Inputs,
    remotes: Vec<LinkWriter>,
    locals: Vec<Arc<LocalLink>>,
}

/// The actors of a process on their threads.
pub(crate) struct Hosted {
    gate: Arc<Gate>,
    stop: Arc<AtomicBool>,
}

impl Host {
    /// Takes one part. Actors come before their links.
    ///
    /// # Errors
    /// When shared memory is not what it should be.
    pub(crate) fn add(&mut self, part: Part) -> Result<(), MemoryError> {
        match part {
            Part::Actor(part) => {
                let wake = Arc::new(Notify::new());
                let inputs = Inputs::new(Arc::clone(&wake));
                let wired = Wired { wake, inputs, remotes: Vec::new(), locals: Vec::new(), part };
                self.actors.insert(wired.part.id, wired);
            }
            Part::Local { from, to, ledger, overflow, queue } => {
                let ledger = Arc::new(Ledger::received(ledger)?);
                let link = Arc::new(LocalLink::new(ledger, self.actor(to).wake.clone(), overflow, queue));
                let from = self.actor(from);
                from.locals.push(Arc::clone(&link));
                let name = from.part.name.clone();
                self.actor(to).inputs.add(name, End::Local(link));
            }
            Part::Output { from, ledger, bell, announcements, overflow, queue } => {
                let (ledger, bell) = (Arc::new(Ledger::received(ledger)?), Bell::received(bell)?);
                self.actor(from).remotes.push(LinkWriter::new(ledger, bell, announcements, overflow, queue));
            }
            Part::Input { from, to, ledger, announcements } => {
                let ledger = Arc::new(Ledger::received(ledger)?);
                let to = self.actor(to);
                to.inputs.add(from, End::Remote(LinkReader::new(Arc::clone(&ledger), announcements)));
                let wake = Arc::clone(&to.wake);
                self.sleepers.push((ledger, wake));
            }
            Part::Inbox(bell) => self.inbox = Some(Inbox::new(Bell::received(bell)?)),
        }
        Ok(())
    }

    fn actor(&mut self, id: u32) -> &mut Wired {
        self.actors.get_mut(&id).expect("the supervisor sends actors before their links")
    }

    /// Starts a thread for each actor and tells `events` what becomes of them.
    pub(crate) fn start(
        self,
        registry: &Arc<Registry>,
        events: impl Fn(ActorEvent) + Clone + Send + 'static,
    ) -> Hosted {
        let Self { mut actors, inbox, sleepers } = self;
        let hosted = Hosted { gate: Arc::default(), stop: Arc::default() };
        if let Some(mut inbox) = inbox {
            let mut readers = actors.values_mut().filter(|actor| actor.inputs.some_and_all_remote().0);
            match (readers.next(), readers.next()) {
                (Some(only), None) if only.inputs.some_and_all_remote().1 => only.inputs.listen(inbox),
                _ => spawn("bells", move || {
                    loop {
                        inbox.wait();
                        let rung = sleepers.iter().filter(|(ledger, _)| ledger.rung());
                        rung.for_each(|(_, wake)| wake.notify_one());
                    }
                }),
            }
        }
        for (actor, wired) in actors {
            let (registry, events) = (Arc::clone(registry), events.clone());
            let (gate, stop) = (Arc::clone(&hosted.gate), Arc::clone(&hosted.stop));
            let name = wired.part.name.clone();
            spawn(&name, move || {
                logging::set_actor(&wired.part.name);
                let limits = CameraLimits { stop, framesets: wired.part.framesets };
                let ready = || events(ActorEvent::Ready { actor });
                events(match wired.run(&registry, limits, &gate, ready) {
                    Ok(()) => ActorEvent::Finished { actor },
                    Err(Failure { message, unavailable }) => {
                        ActorEvent::Failed { actor, message, unavailable }
                    }
                });
            });
        }
        hosted
    }
}

/// A thread that nobody joins: a process ends when the supervisor says so, however its threads fare.
pub(crate) fn spawn(name: &str, life: impl FnOnce() + Send + 'static) {
    // The kernel cuts names at 15 bytes by itself.
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(life);
    spawned.expect("the system has room for one thread per actor");
}

impl Wired {
    fn run(
        self,
        registry: &Registry,
        limits: CameraLimits,
        gate: &Gate,
        ready: impl FnOnce(),
    ) -> Result<(), Failure> {
        let Self { part, inputs, remotes, locals, .. } = self;
        let ActorPart { name, role, options, slots, tally, .. } = part;
        let tally = Arc::new(Tally::received(tally).map_err(Failure::new)?);
        let wiring = Wiring { name: name.clone(), slots, remotes, locals, inputs: inputs.ledgers(), tally };
        let outlet = Outlet::new(wiring);
        let unknown = || Failure::new("is not registered in this program");
        match role {
            Role::Camera { driver } => {
                let entry = registry.driver(&driver).ok_or_else(unknown)?;
                run_camera(&name, (&driver, entry.as_ref()), &options, outlet, limits, || {
                    ready();
                    gate.wait();
                })
            }
            Role::Processor { kind } => {
                let entry = registry.kind(&kind).ok_or_else(unknown)?;
                run_processor(entry.as_ref(), &options, outlet, inputs, ready)
            }
        }
    }
}

impl Hosted {
    /// Lets framesets flow.
    pub(crate) fn go(&self) {
        self.gate.open();
    }

    /// Makes every camera end before its next frameset.
    pub(crate) fn stop_cameras(&self) {
        self.stop.store(true, Ordering::Release);
        // A camera that still waits to go learns of the stop behind the gate.
        self.gate.open();
    }
}

/// Where cameras wait until every actor of the rig is ready.
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
