//! Worker processes from the supervisor's side: start, commands, monitoring, termination.
//!
//! This module has no knowledge of actors: it forwards a worker's messages, and reports its end once.

use std::io::{Error, ErrorKind};
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
use crate::topology::ProcessCommand;

/// A message of a worker, or its end.
pub(crate) enum WorkerEvent {
    /// The worker is ready.
    Hello(Sender<WorkerCommand>),
    /// An event of one of its actors.
    Actor(ActorEvent),
    /// The worker ended for this reason; always the last event.
    Exited(String),
}

/// A process started by the supervisor.
pub(crate) struct Worker {
    child: Arc<Mutex<Child>>,
    pid: u32,
    orders: Option<SyncSender<WorkerCommand>>,
}

/// Maximum number of pending orders of a worker in addition to the initial ones: the channel to it buffers some hundred
/// more. Each may contain a file descriptor.
const ORDERS: usize = 64;

impl Worker {
    /// Starts a worker called `process`, by `program` or else by this executable; its messages are sent to `events`.
    ///
    /// # Errors
    /// If the process cannot be created.
    pub(crate) fn start<E: From<(ProcessId, WorkerEvent)> + Send + 'static>(
        id: ProcessId,
        process: &str,
        program: Option<&ProcessCommand>,
        events: SyncSender<E>,
    ) -> std::io::Result<Self> {
        let (orders, ordered) = channel()?;
        let (told, answers) = channel()?;
        let greeting = Setup { process: process.to_owned(), commands: ordered, events: told };
        let mut command = command(process, program);
        // Ctrl-C in the terminal only reaches the supervisor, which stops the rig in an orderly way.
        command.process_group(0);
        let handshake = Handshake::prepare(&mut command)?;
        let child = command.spawn().map_err(|error| unspawned(program, error))?;
        drop(command);
        let pid = child.id();
        let child = Arc::new(Mutex::new(child));
        let (watched, process) = (Arc::clone(&child), process.to_owned());
        std::thread::Builder::new().name(process.clone()).spawn(move || {
            // If `tell` fails, there is no receiver: the supervisor is ending.
            let tell = |event| events.send(E::from((id, event))).is_ok();
            let met = handshake.greet(greeting).map(|_lifeline| {
                let _ = tell(WorkerEvent::Hello(orders)) && listen(&answers, tell);
            });
            let unmet = met.err().inspect(|_| drop(lock(&watched).kill()));
            let status = lock(&watched).wait();
            tell(WorkerEvent::Exited(match unmet {
                // Otherwise its exit status shows how it ended.
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

    /// Sets the worker's command channel and sends the initial orders. Sending an order never blocks, whatever
    /// the worker does, because a separate thread sends it.
    ///
    /// # Errors
    /// If a thread cannot be created.
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
                    // It has ended, or would miss an order: its end is reported as a separate
                    // event.
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

    /// Sends an order. A worker that has ended receives none, and one whose queue is full is killed: its end is
    /// reported as a separate event.
    pub(crate) fn order(&self, order: WorkerCommand) {
        if let Some(orders) = &self.orders
            && orders.try_send(order).is_err()
        {
            self.kill();
        }
    }

    /// Returns the signal that has stopped it, while it is stopped.
    pub(crate) fn stopped_by(&self) -> Option<String> {
        let pid = WaitId::Pid(Pid::from_raw(self.pid as i32)?);
        // Only a query: its end can still be waited for.
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // An error means that it has ended.
        let signal = waitid(pid, options).ok().flatten()?.stopping_signal()?;
        Some(format!("{signal}{}", signal_name(signal)))
    }

    /// Kills the process.
    pub(crate) fn kill(&self) {
        // Only fails if it has already ended.
        let _ = lock(&self.child).kill();
    }
}

/// Ensures that a supervisor leaves no worker behind, however it ends.
impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Returns the command of a worker called `process`.
fn command(process: &str, program: Option<&ProcessCommand>) -> Command {
    if let Some(ProcessCommand { program, arguments, .. }) = program {
        let mut command = Command::new(program);
        command.args(arguments);
        return command;
    }
    let mut command = Command::new("/proc/self/exe");
    // The running executable, even if its file was replaced; name and arguments are for `ps`.
    command.arg0(std::env::args_os().next().unwrap_or_default()).args(["worker", process]);
    command
}

/// Names the program, unless it is this executable.
fn unspawned(program: Option<&ProcessCommand>, error: Error) -> Error {
    match program {
        Some(ProcessCommand { program, .. }) => {
            Error::new(error.kind(), format!("program `{program}`: {error}"))
        }
        None => error,
    }
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forwards the worker's messages until it has ended or there is no receiver.
fn listen(answers: &Receiver<ActorEvent>, tell: impl Fn(WorkerEvent) -> bool) -> bool {
    while let Ok(event) = answers.receive() {
        if !tell(WorkerEvent::Actor(event)) {
            return false;
        }
    }
    true
}

/// Returns ` (SIGKILL)` for 9; empty for a signal without a name, such as a real-time signal.
fn signal_name(signal: i32) -> String {
    Signal::try_from(signal).map(|signal| format!(" ({signal})")).unwrap_or_default()
}

/// Describes how a process ended.
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
