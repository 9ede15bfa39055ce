//! The supervisor: one run of a rig, from a checked topology to its report.
//!
//! It starts workers, hands every process its parts, lets framesets flow when all actors are ready, restarts
//! what fails, and ends the run in order: cameras first, then whatever is in flight, then every process.
//!
//! * `core`: decides: events and the time in, commands out
//! * `shell`: turns messages and counters into events, and carries out the commands, on a thread of its own
//! * `progress`: how far a run is, for other threads
//! * `status`, `outcome`: what is known of a run while it lasts, and at its end
//!
//! It prints nothing, installs no signal handler and never sees a frameset. A process can have several.

mod core;
mod outcome;
mod progress;
mod shell;
mod status;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use camrig_status::RigStatus;

use self::progress::Progress;
pub(crate) use self::progress::Stage;
use self::shell::Shell;
use crate::control::ActorEvent;
use crate::ids::ProcessId;
use crate::registry::Registry;
use crate::report::Report;
use crate::topology::Topology;
use crate::workers::WorkerEvent;

/// Maximum number of messages that wait for the supervisor; senders of more wait.
const MESSAGES: usize = 1024;

/// When a run stops by itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RunLimits {
    /// Maximum time after all actors are ready.
    pub(crate) time: Option<Duration>,
    /// Maximum number of framesets of each camera.
    pub(crate) framesets: Option<u64>,
}

/// What reaches the supervisor.
enum Message {
    /// A request for the status.
    Status(SyncSender<RigStatus>),
    /// From an actor of this process.
    Actor(ActorEvent),
    Worker(ProcessId, WorkerEvent),
    Stop,
    Interrupt,
}

impl From<(ProcessId, WorkerEvent)> for Message {
    fn from((process, event): (ProcessId, WorkerEvent)) -> Self {
        Self::Worker(process, event)
    }
}

/// A run that was started.
pub(crate) struct Run {
    pub(crate) control: Control,
    /// The thread that drives the run, and returns its report.
    pub(crate) thread: JoinHandle<Report>,
    /// Where the rig's numbers are served, if the topology asks for that.
    pub(crate) metrics: Option<SocketAddr>,
    /// The name of the rig's status socket.
    pub(crate) name: String,
}

/// Starts a rig: every process, and the actors of this one.
///
/// # Errors
/// When the system lacks what a rig is made of: processes, descriptors. Nothing is left running.
pub(crate) fn start(topology: Arc<Topology>, registry: &Arc<Registry>, limits: RunLimits) -> io::Result<Run> {
    let (sender, messages) = sync_channel(MESSAGES);
    let control = Control { messages: sender.clone(), progress: Arc::default() };
    let shell = Shell::start(topology, registry, limits, sender, messages)?;
    let (metrics, name) = (shell.metrics(), shell.name().to_owned());
    let progress = Arc::clone(&control.progress);
    let thread = std::thread::Builder::new().name("supervisor".to_owned());
    // Without a thread the shell drops, and ends what it has started.
    let thread = thread.spawn(move || shell.drive(&progress))?;
    Ok(Run { control, thread, metrics, name })
}

/// Asks and tells the supervisor of a run, from any thread.
#[derive(Clone)]
pub(crate) struct Control {
    messages: SyncSender<Message>,
    progress: Arc<Progress>,
}

impl Control {
    /// Stops the run in order; a second time it changes nothing.
    pub(crate) fn stop(&self) {
        // An error means that the run is over.
        let _ = self.messages.send(Message::Stop);
    }

    /// Stops the run in order; when that was asked for before, ends it at once.
    pub(crate) fn interrupt(&self) {
        let _ = self.messages.send(Message::Interrupt);
    }

    /// The status of the moment, or the last one of a run that is over.
    pub(crate) fn status(&self) -> RigStatus {
        self.ask().unwrap_or_else(|| self.progress.last_status())
    }

    /// Waits until the run is at another stage than `seen`, for at most `timeout`; returns its stage.
    pub(crate) fn wait(&self, seen: Stage, timeout: Duration) -> Stage {
        self.progress.wait(seen, timeout)
    }

    /// `None` when the run is over.
    fn ask(&self) -> Option<RigStatus> {
        let (answer, status) = sync_channel(1);
        self.messages.send(Message::Status(answer)).ok()?;
        status.recv().ok()
    }
}
