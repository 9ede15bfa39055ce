//! The events that the core takes, and the commands that it gives.

use std::collections::BTreeSet;
use std::time::Duration;

use camrig_status::ActorState;

use super::{ActorSetup, Notice};
use crate::control::ActorCommand;
use crate::failure::Failure;
use crate::ids::{ActorId, ProcessId};
use crate::workers::Unreaped;

/// An input of the supervisor.
#[derive(Clone, Debug)]
pub(in crate::supervisor) enum Event {
    /// The counters were read; occurs at least every [`Core::pause`](super::Core::pause).
    Observed(Observation),
    /// A process reports that an actor has been built and its device is open.
    Ready(ProcessId, ActorId),
    /// A process reports that an actor ended without an error.
    Finished(ProcessId, ActorId),
    /// A process reports that an actor failed.
    Failed(ProcessId, ActorId, Failure),
    /// A process reports that a processor found something that its user has to know.
    Warned(ProcessId, ActorId, String),
    /// A process reports what a processor is doing.
    Progress(ProcessId, ActorId, String),
    /// A worker process accepts commands.
    Connected(ProcessId),
    /// A worker process could not be started.
    NotStarted(ProcessId, String),
    /// A worker process ended, with this description.
    Exited(ProcessId, String),
    /// A worker process has closed its channels: it ends.
    Closed(ProcessId),
    /// A worker process that had to end was not reaped; answers [`Command::Inspect`].
    Unreaped(ProcessId, Unreaped),
    /// Stop in order.
    Stop,
    /// Stop in order, and let cameras that relay go on until their sources end.
    Drain,
    /// Stop in order; if that was already requested, end immediately.
    Interrupt,
    /// A process reports that a camera has stopped its streams (true), or was asked to start them again.
    Paused(ProcessId, ActorId, bool),
    /// The streams of a paused camera without an instance are to start with its next one.
    Unpaused(ActorId),
    /// The rig changes while it runs.
    Change(Changing),
    /// The rig cannot be started: end the processes that have been started.
    Abandon { started: Vec<ProcessId> },
}

/// A change of a rig.
#[derive(Clone, Debug, Default)]
pub(in crate::supervisor) struct Changing {
    /// The names of processes that are added to those of the setup.
    pub(in crate::supervisor) processes: Vec<String>,
    /// Actors that end in order.
    pub(in crate::supervisor) leaves: Vec<ActorId>,
    /// Actors that begin, each after the end of the other one, if any.
    pub(in crate::supervisor) joins: Vec<(ActorSetup, Option<ActorId>)>,
}

/// Counters at one point in time.
#[derive(Clone, Debug, Default)]
pub(in crate::supervisor) struct Observation {
    /// By actor.
    pub(in crate::supervisor) actors: Vec<Activity>,
    /// Number of framesets delivered or dropped, over all links.
    pub(in crate::supervisor) settled_framesets: u64,
    /// Processes with a link whose counts are not settled after the death of an end.
    pub(in crate::supervisor) unsettled: BTreeSet<ProcessId>,
}

/// Observed activity of an actor.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::supervisor) struct Activity {
    /// Number of framesets produced, or for a processor, delivered to it.
    pub(in crate::supervisor) progress: u64,
    /// Duration of its current call; `None` if there is none.
    pub(in crate::supervisor) called_for: Option<Duration>,
    /// Whether it waits for blocking readers.
    pub(in crate::supervisor) is_blocked: bool,
    /// Whether a stream of a camera has not delivered yet.
    pub(in crate::supervisor) awaits_streams: bool,
}

/// Output of the supervisor, to be executed in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::supervisor) enum Command {
    /// Start a worker process.
    StartProcess(ProcessId),
    /// Send a process its actors and start them; the flag requests a reset of the device first.
    Begin { process: ProcessId, actors: Vec<(ActorId, bool)>, go: bool, stop_cameras: bool },
    /// Add actors to a process that accepts commands, and start them.
    Host { process: ProcessId, actors: Vec<ActorId> },
    /// Start the flow of framesets, in every process that accepts commands.
    Go,
    /// Stop the cameras, in every process that accepts commands.
    StopCameras,
    /// For one actor, in its process.
    Actor(ActorId, ActorCommand),
    /// Stop the streams of a camera that was paused before its last failure.
    Pause(ActorId),
    /// End the links of an actor whose process cannot do so.
    EndLinks(ActorId),
    /// A process has ended: settle its counts.
    Release(ProcessId),
    /// End a process in order: all its actors have ended.
    Exit(ProcessId),
    /// Kill a process.
    Kill(ProcessId),
    /// Find out why a process that had to end was not reaped.
    Inspect(ProcessId),
    /// Show the new state of an actor.
    SetState(ActorId, ActorState),
    /// Increment the restart count of an actor.
    CountRestart(ActorId),
    /// Measure the usage of each process, before they end.
    MeasureUsage,
    /// Log this message.
    Log(Notice),
}
