//! What the supervisor and the hosts of a rig's processes say to each other.
//!
//! A host is told its part of the rig piece by piece, the same pieces whether it is in the supervisor's own
//! process or behind an ipc-channel. Pieces are small because a message carries at most 64 descriptors.

use camrig_ipc::{Announcement, Overflow};
use ipc_channel::ipc::{IpcReceiver, IpcSender, IpcSharedMemory};
use serde::{Deserialize, Serialize};

use crate::topology::Role;

/// One piece of what a process hosts.
#[derive(Serialize, Deserialize)]
pub(crate) enum Part {
    /// An actor; always before its links.
    Actor(ActorPart),
    /// A link between two actors of this process.
    Local { from: u32, to: u32, ledger: IpcSharedMemory, overflow: Overflow, queue: usize },
    /// The producer's end of a link to another process.
    Output {
        from: u32,
        ledger: IpcSharedMemory,
        bell: IpcSharedMemory,
        announcements: IpcSender<Announcement>,
        overflow: Overflow,
        queue: usize,
    },
    /// The reader's end of a link from another process.
    Input { from: String, to: u32, ledger: IpcSharedMemory, announcements: IpcReceiver<Announcement> },
    /// The bell that all those inputs ring.
    Inbox(IpcSharedMemory),
}

/// An actor, without its links.
#[derive(Serialize, Deserialize)]
pub(crate) struct ActorPart {
    pub(crate) id: u32,
    pub(crate) name: String,
    pub(crate) role: Role,
    /// The text of a TOML table.
    pub(crate) options: String,
    pub(crate) slots: usize,
    /// A camera ends after so many framesets.
    pub(crate) framesets: Option<u64>,
    pub(crate) tally: IpcSharedMemory,
}

/// What the supervisor tells a worker.
#[derive(Serialize, Deserialize)]
pub(crate) enum Order {
    /// Take this as yours.
    Host(Part),
    /// That was all: start the actors.
    Start,
    /// Every actor of the rig is ready: let framesets flow.
    Go,
    /// No camera produces another frameset.
    StopCameras,
    /// Every actor has ended, or has to: end the process.
    Exit,
}

/// What the supervisor hands a worker when they meet.
#[derive(Serialize, Deserialize)]
pub(crate) struct Greeting {
    pub(crate) process: String,
    pub(crate) orders: IpcReceiver<Order>,
    pub(crate) events: IpcSender<ActorEvent>,
}

/// Something that happened to an actor.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ActorEvent {
    /// It is built, its device open: it waits for `Go`.
    Ready { actor: u32 },
    /// It ended as it should: no more input, or told to stop.
    Finished { actor: u32 },
    /// It failed, for this reason; a device is missing when `unavailable`.
    Failed { actor: u32, message: String, unavailable: bool },
}
