//! What becomes of a frameset that finds no room, and why it did not arrive.

use serde::{Deserialize, Serialize};

/// What a producer does when a reader's queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// The oldest queued frameset makes room: the reader sees the freshest.
    #[default]
    DropOldest,
    /// The new frameset is dropped: the reader finishes what it has.
    DropNewest,
    /// The producer waits: nothing is lost, and the slowest reader sets the pace.
    Block,
}

/// Why a link did not deliver a frameset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DropReason {
    /// Every slot of the producer was held.
    NoSlot,
    /// It was the oldest in a full queue.
    DropOldest,
    /// It was the newest for a full queue, or for a reader that has not heard of its slots yet.
    DropNewest,
    /// The reader had ended or died, or was being restarted.
    ReaderGone,
    /// What arrived was not a frameset.
    Refused,
    /// It was lost with a process that died.
    ProcessDied,
}

impl DropReason {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::NoSlot,
        Self::DropOldest,
        Self::DropNewest,
        Self::ReaderGone,
        Self::Refused,
        Self::ProcessDied,
    ];

    /// The reason's name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NoSlot => "no-slot",
            Self::DropOldest => "drop-oldest",
            Self::DropNewest => "drop-newest",
            Self::ReaderGone => "reader-gone",
            Self::Refused => "refused",
            Self::ProcessDied => "process-died",
        }
    }
}
