//! The supervisor: one run of a rig, from a checked topology to its report.
//!
//! It starts workers, sends every process its parts, starts the flow of framesets when all actors are ready, restarts
//! failed actors, and ends the run in order: cameras first, then processors when they have drained, then every process.
//!
//! * `core`: decisions: from events and the time to commands
//! * `shell`: turns messages and counters into events, and executes the commands, on its own thread
//! * `calls`: calls to the devices of cameras that wait for an answer
//! * `live`: requested changes: the options that devices can set while they run, and the rest
//! * `changes`: changes of the rig while it runs; `change`: their types
//! * `requests`: answers requests of other processes
//! * `over_hosts`: requests to a rig over several hosts, and changes of it
//! * `progress`: the stage of a run, for other threads
//! * `run_clock`: the time of a run
//! * `status`, `outcome`: the status of a run while it lasts, and its report
//!
//! It prints nothing, installs no signal handlers and never accesses framesets. A process can have several.

mod calls;
mod change;
mod changes;
mod core;
mod live;
mod outcome;
mod over_hosts;
mod progress;
mod requests;
mod run_clock;
mod shell;
mod status;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use camrig_status::RigStatus;

pub use self::change::ChangeError;
use self::change::ChangeRequest;
pub(crate) use self::live::WantedTopology;
pub(crate) use self::over_hosts::Others;
use self::progress::Progress;
pub(crate) use self::progress::Stage;
pub(crate) use self::requests::answer;
use self::shell::Shell;
use crate::clock::monotonic_nanos;
use crate::control::{ActorEvent, DeviceAnswer, DeviceCall};
use crate::ids::ProcessId;
use crate::registry::Registry;
use crate::report::Report;
use crate::topology::Topology;
use crate::workers::WorkerEvent;

/// Maximum number of pending messages to the supervisor; senders block when it is reached.
const MESSAGES: usize = 1024;

/// Maximum time until a device has answered a call. Real cameras take a few milliseconds for each option.
const CALL_TIME: Duration = Duration::from_secs(10);

/// Maximum time for an answer in time to arrive: a call that is made is not refused.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// The refusal of a topology that names other hosts.
pub(crate) const OTHER_HOSTS: &str = "the topology names other hosts: only `run` starts one, and a rig that began without \
                                      them does not take one";

/// Limits at which a run stops by itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RunLimits {
    /// Maximum time after all actors are ready.
    pub(crate) time: Option<Duration>,
    /// Maximum number of framesets of each camera.
    pub(crate) framesets: Option<u64>,
}

/// A message to the supervisor.
enum Message {
    /// A request for the status.
    Status(SyncSender<RigStatus>),
    /// A request for the topology that runs.
    Topology(SyncSender<Arc<Topology>>),
    /// A request to change the rig.
    Change(Box<ChangeRequest>),
    /// Lines for the log and the report: each change with its requester.
    Note(Vec<String>, String),
    /// From an actor of this process.
    Actor(ActorEvent),
    /// From the worker with this process ID.
    Worker(ProcessId, u32, WorkerEvent),
    /// A call to the open device of the camera with this name, the monotonic time until which it is made, and the place for
    /// its answer.
    Device(String, (DeviceCall, u64), SyncSender<DeviceAnswer>),
    /// A request to start the streams of the paused camera with this name. The answer is false if it is not paused.
    Unpause(String, SyncSender<bool>),
    Stop,
    Drain,
    Interrupt,
}

impl From<(ProcessId, u32, WorkerEvent)> for Message {
    fn from((process, pid, event): (ProcessId, u32, WorkerEvent)) -> Self {
        Self::Worker(process, pid, event)
    }
}

/// A started run.
pub(crate) struct Run {
    pub(crate) control: RunControl,
    /// The thread that drives the run, and returns its report.
    pub(crate) thread: JoinHandle<Report>,
    /// The address of the metrics server, if configured.
    pub(crate) metrics: Option<SocketAddr>,
    /// The name of the rig's status socket.
    pub(crate) name: String,
}

/// Starts a rig: every process, and the actors of this one.
///
/// # Errors
/// If the system lacks processes or file descriptors. No process is left running.
pub(crate) fn start(
    topology: Arc<Topology>,
    registry: &Arc<Registry>,
    limits: RunLimits,
    others: Option<Others>,
) -> io::Result<Run> {
    if !topology.hosts().is_empty() {
        return Err(io::Error::new(ErrorKind::InvalidInput, OTHER_HOSTS));
    }
    let (sender, messages) = sync_channel(MESSAGES);
    let control = RunControl {
        messages: sender,
        progress: Arc::default(),
        registry: Arc::clone(registry),
        turn: Arc::default(),
        others,
    };
    let shell = Shell::start(topology, registry, limits, control.clone(), messages)?;
    let (metrics, name) = (shell.metrics(), shell.name().to_owned());
    let progress = Arc::clone(&control.progress);
    // If the thread cannot be created, the shell is dropped, and ends everything it has started.
    let thread = camrig_ipc::spawn_thread("supervisor", move || shell.drive(&progress))?;
    Ok(Run { control, thread, metrics, name })
}

/// Queries and controls the supervisor of a run, from any thread.
#[derive(Clone)]
pub(crate) struct RunControl {
    messages: SyncSender<Message>,
    progress: Arc<Progress>,
    registry: Arc<Registry>,
    /// Held by the thread that changes the rig.
    turn: Arc<Mutex<()>>,
    /// The parts of the rig on other hosts.
    others: Option<Others>,
}

impl RunControl {
    /// Stops the run in order; further calls have no effect.
    pub(crate) fn stop(&self) {
        // An error means that the run is over.
        let _ = self.messages.send(Message::Stop);
    }

    /// As [`Self::stop`], but cameras that relay framesets of another host end when their sources do.
    pub(crate) fn drain(&self) {
        let _ = self.messages.send(Message::Drain);
    }

    /// Stops the run in order; if that was already requested, ends it immediately.
    pub(crate) fn interrupt(&self) {
        let _ = self.messages.send(Message::Interrupt);
    }

    /// Returns the current status, or the last one if the run is over.
    pub(crate) fn status(&self) -> RigStatus {
        self.ask().unwrap_or_else(|| self.progress.last_status())
    }

    /// Returns the topology that runs on this host; `None` if the run is over.
    fn topology(&self) -> Option<Arc<Topology>> {
        let (answer, topology) = sync_channel(1);
        self.messages.send(Message::Topology(answer)).ok()?;
        topology.recv().ok()
    }

    /// Makes a call to the open device of a camera of this host, and waits for the answer.
    fn call_own_device(&self, camera: &str, call: DeviceCall) -> DeviceAnswer {
        self.ask_own_device(camera, call)?
    }

    /// As [`Self::call_own_device`]; the outer error says why there is no answer.
    fn ask_own_device(&self, camera: &str, call: DeviceCall) -> Result<DeviceAnswer, String> {
        let (answer, answered) = sync_channel(1);
        let over = || "the rig has ended".to_owned();
        let call = (call, monotonic_nanos().saturating_add(CALL_TIME.as_nanos() as u64));
        self.messages.send(Message::Device(camera.to_owned(), call, answer)).map_err(|_| over())?;
        answered.recv_timeout(CALL_TIME + ANSWER_TIME).map_err(|error| match error {
            RecvTimeoutError::Timeout => {
                format!("camera `{camera}` did not answer within {} s", CALL_TIME.as_secs())
            }
            RecvTimeoutError::Disconnected => over(),
        })
    }

    /// Waits until the run's stage differs from `seen`, for at most `timeout`; returns its stage.
    pub(crate) fn wait(&self, seen: Stage, timeout: Duration) -> Stage {
        self.progress.wait(seen, timeout)
    }

    /// Returns `None` if the run is over.
    fn ask(&self) -> Option<RigStatus> {
        let (answer, status) = sync_channel(1);
        self.messages.send(Message::Status(answer)).ok()?;
        status.recv().ok()
    }
}
