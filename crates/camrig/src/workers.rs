//! Worker processes, from the supervisor's side: started, told, watched, ended.
//!
//! It deliberately knows no actor: what a worker says is passed on, and that it ended is said once.

use std::io::ErrorKind;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use camrig_ipc::handshake::Handshake;
use camrig_ipc::{Receiver, Sender, channel};
use nix::sys::signal::Signal;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::control::{ActorEvent, Setup, WorkerCommand};
use crate::ids::ProcessId;

/// What a worker tells the supervisor, and its end.
pub(crate) enum WorkerEvent {
    /// It is there.
    Hello(Sender<WorkerCommand>),
    /// Something happened to one of its actors.
    Actor(ActorEvent),
    /// It ended, for this reason; always the last event.
    Exited(String),
}

/// A process that the supervisor started.
pub(crate) struct Worker {
    child: Arc<Mutex<Child>>,
    pid: u32,
    orders: Option<SyncSender<WorkerCommand>>,
}

/// Orders beside those that it begins with that a worker need not have taken yet: the channel to it holds some
/// hundred more. Each may hold a descriptor.
const ORDERS: usize = 64;

impl Worker {
    /// Starts the same program as a worker called `process`; everything that it says goes to `events`.
    ///
    /// # Errors
    /// When the system cannot start another process.
    pub(crate) fn start<E: From<(ProcessId, WorkerEvent)> + Send + 'static>(
        id: ProcessId,
        process: &str,
        events: SyncSender<E>,
    ) -> std::io::Result<Self> {
        let (orders, ordered) = channel()?;
        let (told, answers) = channel()?;
        let greeting = Setup { process: process.to_owned(), commands: ordered, events: told };
        let mut command = Command::new("/proc/self/exe");
        // The same file, also when it was replaced meanwhile; the name and arguments are for `ps`.
        command.arg0(std::env::args_os().next().unwrap_or_default()).args(["worker", process]);
        // Ctrl-C on the terminal reaches the supervisor only: it stops the rig in order.
        command.process_group(0);
        let handshake = Handshake::prepare(&mut command)?;
        let child = command.spawn()?;
        drop(command);
        let pid = child.id();
        let child = Arc::new(Mutex::new(child));
        let (watched, process) = (Arc::clone(&child), process.to_owned());
        std::thread::Builder::new().name(process.clone()).spawn(move || {
            // An error of `tell` means that nobody is left to hear: the supervisor is ending.
            let tell = |event| events.send(E::from((id, event))).is_ok();
            let met = handshake.greet(greeting).map(|_lifeline| {
                let _ = tell(WorkerEvent::Hello(orders)) && listen(&answers, tell);
            });
            let unmet = met.err().inspect(|_| drop(lock(&watched).kill()));
            let status = lock(&watched).wait();
            tell(WorkerEvent::Exited(match unmet {
                // Otherwise its status tells how it ended.
                Some(error) if error.kind() != ErrorKind::UnexpectedEof => {
                    format!("cannot be connected: {error}")
                }
                _ => describe(status),
            }));
        })?;
        Ok(Self { child, pid, orders: None })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Notes where the worker hears orders, and gives it the first ones. Whatever it does, giving an order never
    /// waits: a thread of its own does.
    ///
    /// # Errors
    /// When the system has no room for a thread.
    pub(crate) fn greet(
        &mut self,
        orders: Sender<WorkerCommand>,
        first: Vec<WorkerCommand>,
    ) -> std::io::Result<()> {
        let (sender, given) = sync_channel(first.len() + ORDERS);
        let child = Arc::clone(&self.child);
        std::thread::Builder::new().name("orders".to_owned()).spawn(move || {
            while let Ok(order) = given.recv() {
                if orders.send(order).is_err() {
                    // It is gone, or would miss an order: its end is an event of its own.
                    return drop(lock(&child).kill());
                }
            }
        })?;
        self.orders = Some(sender);
        for order in first {
            self.order(order);
        }
        Ok(())
    }

    /// Gives an order. A worker that is gone takes none, and one that has not taken any for so long is ended: its
    /// end is an event of its own.
    pub(crate) fn order(&self, order: WorkerCommand) {
        if let Some(orders) = &self.orders
            && orders.try_send(order).is_err()
        {
            self.kill();
        }
    }

    /// The signal that has stopped it, as long as it is stopped.
    pub(crate) fn stopped_by(&self) -> Option<String> {
        let pid = WaitId::Pid(Pid::from_raw(self.pid as i32)?);
        // Only looked at: its end stays to be waited for.
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // An error means that it has ended.
        let signal = waitid(pid, options).ok().flatten()?.stopping_signal()?;
        Some(format!("{signal}{}", signal_name(signal)))
    }

    /// Ends the process at once.
    pub(crate) fn kill(&self) {
        // Fails only when it has ended already.
        let _ = lock(&self.child).kill();
    }
}

/// A supervisor that ends for whatever reason leaves no worker behind.
impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Passes on what the worker says, until it is gone or nobody is left to hear.
fn listen(answers: &Receiver<ActorEvent>, tell: impl Fn(WorkerEvent) -> bool) -> bool {
    while let Ok(event) = answers.receive() {
        if !tell(WorkerEvent::Actor(event)) {
            return false;
        }
    }
    true
}

/// Returns ` (SIGKILL)` for 9; nothing for a number that the system does not name, such as a real-time signal.
fn signal_name(signal: i32) -> String {
    Signal::try_from(signal).map(|signal| format!(" ({signal})")).unwrap_or_default()
}

/// How a process ended, in words.
fn describe(status: std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => format!("was killed by signal {signal}{}", signal_name(signal)),
            (None, Some(code)) => format!("exited with code {code}"),
            (None, None) => status.to_string(),
        },
        Err(error) => format!("cannot be waited for: {error}"),
    }
}
