//! How an actor is: what it has produced, what it is doing, and what its supervisor makes of it.
#![allow(unsafe_code)] // One marker: `Shared` for the structure below.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::MemoryError;
use crate::channel::SharedMemory;
use crate::region::{Mapped, Shared};

/// Why a frameset was lost before its camera actor saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LostReason {
    /// The device or its library lost it: a gap in its numbers that nothing else explains.
    Device,
    /// The driver had as many in its queue as it takes: the camera actor was late.
    QueueFull,
    /// It could not be made without a partner that did not come, such as color that it is aligned to.
    NoPartner,
    /// It came again, and was left out: its number and its time were those of the one before.
    Repeated,
    /// The driver could not make it from its source, such as a damaged part of a recording.
    Unreadable,
}

impl LostReason {
    /// Every reason.
    pub const ALL: [Self; 5] =
        [Self::Device, Self::QueueFull, Self::NoPartner, Self::Repeated, Self::Unreadable];

    /// The reason's name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::QueueFull => "queue-full",
            Self::NoPartner => "no-partner",
            Self::Repeated => "repeated",
            Self::Unreadable => "unreadable",
        }
    }
}

/// How an actor is, in shared memory, so that its supervisor sees it, and its counts survive its process.
pub struct ActorCounters {
    cells: Mapped<ActorCells>,
}

#[repr(C, align(64))]
struct ActorCells {
    produced: AtomicU64,
    lost: [AtomicU64; LostReason::ALL.len()],
    /// When the call began that the actor is in, in nanoseconds; 0 while it is in none.
    called_at_nanos: AtomicU64,
    /// 1 while the actor waits for its readers.
    blocked: AtomicU32,
    generations: AtomicU32,
    state: AtomicU32,
    restarts: AtomicU32,
    copied: AtomicU64,
}

// SAFETY: every field is an atomic or padding; aligned to 64.
unsafe impl Shared for ActorCells {
    const NAME: &'static str = "an actor's counters";
    const MAGIC: [u8; 8] = *b"camrigAC";
    const VERSION: u32 = 1;
}

impl ActorCounters {
    /// Counters that are all zero.
    ///
    /// # Errors
    /// When the system has no memory or descriptors left.
    pub fn new() -> Result<Self, MemoryError> {
        Ok(Self { cells: Mapped::new()? })
    }

    /// The same counters, received from another process.
    ///
    /// # Errors
    /// When the memory is too small to hold these counters.
    pub fn received(memory: SharedMemory) -> Result<Self, MemoryError> {
        Ok(Self { cells: Mapped::received(memory)? })
    }

    /// Another handle to the counters, to be sent to another process.
    ///
    /// # Errors
    /// When the system has no descriptors or addresses left.
    pub fn share(&self) -> Result<SharedMemory, MemoryError> {
        self.cells.share()
    }

    fn cells(&self) -> &ActorCells {
        &self.cells
    }

    /// Counts a frameset. Always before any link counts it.
    pub fn count_produced(&self) {
        self.cells().produced.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts framesets that were lost before the actor saw them.
    pub fn count_lost(&self, reason: LostReason, framesets: u64) {
        self.cells().lost[reason as usize].fetch_add(framesets, Ordering::SeqCst);
    }

    /// Counts a frameset that was copied into a slot because a reader needs it there.
    pub fn count_copied(&self) {
        self.cells().copied.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns the framesets that were copied into a slot, in all instances of the actor.
    pub fn copied(&self) -> u64 {
        self.cells().copied.load(Ordering::SeqCst)
    }

    /// Framesets so far, in all lives of the actor.
    pub fn produced(&self) -> u64 {
        self.cells().produced.load(Ordering::SeqCst)
    }

    /// Framesets lost so far before the actor saw them.
    pub fn lost(&self) -> u64 {
        self.lost_by_reason().iter().sum()
    }

    /// As [`Self::lost`], in the order of [`LostReason::ALL`].
    pub fn lost_by_reason(&self) -> [u64; LostReason::ALL.len()] {
        LostReason::ALL.map(|reason| self.cells().lost[reason as usize].load(Ordering::SeqCst))
    }

    /// A number that none of the actor's pools had before, in any of its lives (until 65536 were made).
    pub fn next_generation(&self) -> u16 {
        self.cells().generations.fetch_add(1, Ordering::SeqCst) as u16
    }

    /// Notes that the actor was called with a frameset at `now_nanos`, or that it has returned (none).
    pub fn set_called_at(&self, now_nanos: Option<u64>) {
        self.cells().called_at_nanos.store(now_nanos.unwrap_or(0), Ordering::Relaxed);
    }

    /// When the call began that the actor is in; none while it is in none.
    pub fn called_at_nanos(&self) -> Option<u64> {
        Some(self.cells().called_at_nanos.load(Ordering::Relaxed)).filter(|&nanos| nanos != 0)
    }

    /// Notes whether the actor waits for its readers: that it does nothing else is not its fault.
    pub fn set_blocked(&self, blocked: bool) {
        self.cells().blocked.store(blocked.into(), Ordering::Relaxed);
    }

    /// Whether the actor waits for its readers.
    pub fn is_blocked(&self) -> bool {
        self.cells().blocked.load(Ordering::Relaxed) != 0
    }

    /// Notes what the supervisor makes of the actor; the numbers are the supervisor's.
    pub fn set_state(&self, state: u32) {
        self.cells().state.store(state, Ordering::SeqCst);
    }

    /// What the supervisor makes of the actor.
    pub fn state(&self) -> u32 {
        self.cells().state.load(Ordering::SeqCst)
    }

    /// Counts a life of the actor that ended and was followed by another.
    pub fn count_restart(&self) {
        self.cells().restarts.fetch_add(1, Ordering::SeqCst);
    }

    /// How often the actor was restarted.
    pub fn restarts(&self) -> u32 {
        self.cells().restarts.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_documented_one() {
        use std::mem::offset_of;
        crate::protocol::assert_documented(&[
            (offset_of!(ActorCells, produced), "produced: u64"),
            (offset_of!(ActorCells, lost), "lost: [u64]"),
            (offset_of!(ActorCells, called_at_nanos), "called_at_nanos: u64"),
            (offset_of!(ActorCells, blocked), "blocked: u32"),
            (offset_of!(ActorCells, generations), "generations: u32"),
            (offset_of!(ActorCells, state), "state: u32"),
            (offset_of!(ActorCells, restarts), "restarts: u32"),
        ]);
    }
}
