//! Messages between a supervisor and its workers, and between the ends of a link.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ActorId, Announcement, LinkId, Part};
use crate::channel::{Receiver, Sender};
use crate::link_state::Absence;

/// The greeting of a worker: the only message of the channel that the handshake makes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The name of the process in the topology.
    pub process: String,
    /// Delivers the supervisor's commands. Its end means that the supervisor is gone, and ends the worker.
    pub commands: Receiver<WorkerCommand>,
    /// Takes the events of the worker's actors.
    pub events: Sender<ActorEvent>,
}

/// A command of the supervisor to a worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum WorkerCommand {
    /// Adds a part to what the worker hosts; only before `Start`.
    Host(Part),
    /// Starts the actors: there are no more parts.
    Start,
    /// Lets framesets flow: every actor of the rig is ready.
    Go,
    /// Passes a command on to an actor.
    Actor(ActorId, ActorCommand),
    /// Replaces the reader of a link from this worker, whose process was restarted.
    Relink {
        /// The link.
        link: LinkId,
        /// Takes the announcements to the new reader.
        announcements: Sender<Announcement>,
        /// The absence of the reader, which ends when the new one knows everything.
        absence: Absence,
    },
    /// Ends every camera before its next frameset.
    StopCameras,
    /// Ends the process.
    Exit,
}

/// A command to one actor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActorCommand {
    /// Makes a camera fail that delivers nothing.
    Interrupt,
    /// Starts another instance of an actor that failed.
    Restart {
        /// Whether its device is reset first.
        reset: bool,
    },
    /// Ends an actor and its links: it has failed for good.
    GiveUp,
}

/// An event of an actor, for the supervisor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActorEvent {
    /// An instance is built, its device open. A camera waits for [`WorkerCommand::Go`].
    Ready {
        /// The actor.
        actor: ActorId,
    },
    /// The actor ended in order: its device or its inputs ended, or it was told to stop.
    Finished {
        /// The actor.
        actor: ActorId,
    },
    /// The instance failed. The actor waits for [`ActorCommand::Restart`] or [`ActorCommand::GiveUp`].
    Failed {
        /// The actor.
        actor: ActorId,
        /// How it failed.
        failure: Failure,
    },
}

/// How an actor failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong, as one line.
    pub message: String,
    /// Whether a device is missing.
    pub unavailable: bool,
    /// Whether another instance would have nothing to do: every input has ended.
    pub in_vain: bool,
}

impl Failure {
    /// A failure that a restart may mend.
    pub fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), unavailable: false, in_vain: false }
    }
}
