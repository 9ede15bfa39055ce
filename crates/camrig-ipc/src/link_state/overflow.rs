//! Overflow policies, and the reasons of drops.

use serde::{Deserialize, Serialize};

/// The policy of a producer for a reader whose queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// Drop the oldest queued frameset: the reader gets the newest.
    #[default]
    DropOldest,
    /// Drop the new frameset: the reader finishes the queued ones.
    DropNewest,
    /// Wait: nothing is dropped, and the slowest reader sets the pace.
    Block,
}

/// The reason why a link did not deliver a frameset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DropReason {
    /// Every slot of the producer was held.
    NoSlot,
    /// It was the oldest in a full queue.
    DropOldest,
    /// It was new when the queue was full, or the reader had not received its pool's announcement yet.
    DropNewest,
    /// The reader had ended or died, or was being restarted.
    ReaderGone,
    /// It was invalid.
    Refused,
    /// It was lost in a process that died.
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

    /// Returns the reason's name in reports.
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
