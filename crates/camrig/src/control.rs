//! What the supervisor and the hosts of a rig's processes say to each other.
//!
//! A host is told its part of the rig piece by piece, the same pieces whether it is in the supervisor's own
//! process or behind an ipc-channel, at the start and after a restart. Pieces are small because a message
//! carries at most 64 descriptors.

use camrig_ipc::{Absence, Announcement, Overflow};
use ipc_channel::ipc::{IpcReceiver, IpcSender, IpcSharedMemory};
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::ids::{ActorId, LinkId};
use crate::matching::MatchSpec;
use crate::topology::Role;

/// One piece of what a process hosts.
#[derive(Serialize, Deserialize)]
pub(crate) enum Part {
    /// An actor and its counters; always before its links.
    Actor(ActorPart, IpcSharedMemory),
    /// How an actor's inputs are matched, and where that is counted; before its links.
    Matching(ActorId, MatchSpec, IpcSharedMemory),
    /// A link between two actors of this process; to none when the reader has ended.
    Local {
        from: ActorId,
        to: Option<ActorId>,
        link_state: IpcSharedMemory,
        overflow: Overflow,
        queue: usize,
    },
    /// The producer's end of a link to another process.
    Output {
        from: ActorId,
        link: LinkId,
        link_state: IpcSharedMemory,
        notifier: IpcSharedMemory,
        announcements: IpcSender<Announcement>,
        overflow: Overflow,
        queue: usize,
    },
    /// The reader's end of a link from another process.
    Input { from: String, to: ActorId, link_state: IpcSharedMemory, announcements: IpcReceiver<Announcement> },
    /// The notifier that all those inputs ring.
    Listener(IpcSharedMemory),
}

/// An actor, without its links.
#[derive(Serialize, Deserialize)]
pub(crate) struct ActorPart {
    pub(crate) id: ActorId,
    pub(crate) name: String,
    /// The name of the rig's status socket.
    pub(crate) rig: String,
    pub(crate) role: Role,
    /// The text of a TOML table.
    pub(crate) options: String,
    pub(crate) slots: usize,
    /// Whether its device is reset before it begins.
    pub(crate) reset: bool,
    /// A camera ends after so many framesets.
    pub(crate) framesets: Option<u64>,
}

/// What the supervisor tells a worker.
#[derive(Serialize, Deserialize)]
pub(crate) enum WorkerCommand {
    /// Take this as yours.
    Host(Part),
    /// That was all: start the actors.
    Start,
    /// Every actor of the rig is ready: let framesets flow.
    Go,
    /// To one of the actors.
    Actor(ActorId, ActorCommand),
    /// The reader of this link is another process from now on, and hears here.
    Relink { link: LinkId, announcements: IpcSender<Announcement>, absence: Absence },
    /// No camera produces another frameset.
    StopCameras,
    /// Every actor has ended, or has to: end the process.
    Exit,
}

/// What becomes of an actor that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ActorCommand {
    /// It delivers nothing: it is to fail.
    Interrupt,
    /// It failed: it begins another life, with a reset of its device before it when `reset`.
    Restart { reset: bool },
    /// It failed for good: its links end.
    GiveUp,
}

/// What the supervisor hands a worker when they meet.
#[derive(Serialize, Deserialize)]
pub(crate) struct Greeting {
    pub(crate) process: String,
    pub(crate) orders: IpcReceiver<WorkerCommand>,
    pub(crate) events: IpcSender<ActorEvent>,
}

/// Something that happened to an actor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ActorEvent {
    /// It is built, its device open: it waits for `Go`.
    Ready { actor: ActorId },
    /// It ended as it should: no more input, or told to stop.
    Finished { actor: ActorId },
    /// It failed, for this reason, and waits for a [`ActorCommand`].
    Failed { actor: ActorId, failure: Failure },
}
