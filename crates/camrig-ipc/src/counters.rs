//! The counters and the state of an actor.
#![allow(unsafe_code)] // One marker: `Shared` for the structure below.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::mapped::{Mapped, Shared};

/// Reason for the loss of a frameset before its camera actor received it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LostReason {
    /// The device or its library lost it: a gap in its numbers without another explanation.
    Device,
    /// The driver's queue was full: the camera actor was late.
    QueueFull,
    /// A required partner frame is missing, such as the color frame to align to.
    NoPartner,
    /// It was a duplicate: number and time were those of the previous one.
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

/// The layout of [`ActorCounters`], as PROTOCOL.md describes it.
#[repr(C, align(64))]
pub struct ActorCells {
    produced: AtomicU64,
    lost: [AtomicU64; LostReason::ALL.len()],
    /// Start time of the current call in nanoseconds; 0 if there is none.
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

/// State of an actor, in shared memory, so that its supervisor can read it, and the counts survive the process.
pub type ActorCounters = Mapped<ActorCells>;

impl ActorCounters {
    /// Counts a frameset. Must be called before any link counts it.
    pub fn count_produced(&self) {
        self.produced.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts framesets that were lost before the actor received them.
    pub fn count_lost(&self, reason: LostReason, framesets: u64) {
        self.lost[reason as usize].fetch_add(framesets, Ordering::SeqCst);
    }

    /// Counts a frameset that was copied into a slot because a reader needs it there.
    pub fn count_copied(&self) {
        self.copied.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns the framesets that were copied into a slot, in all instances of the actor.
    pub fn copied(&self) -> u64 {
        self.copied.load(Ordering::SeqCst)
    }

    /// Returns the number of framesets produced by all instances of the actor.
    pub fn produced(&self) -> u64 {
        self.produced.load(Ordering::SeqCst)
    }

    /// Returns the number of framesets lost before the actor received them.
    pub fn lost(&self) -> u64 {
        self.lost_by_reason().iter().sum()
    }

    /// Like [`Self::lost`], in the order of [`LostReason::ALL`].
    pub fn lost_by_reason(&self) -> [u64; LostReason::ALL.len()] {
        LostReason::ALL.map(|reason| self.lost[reason as usize].load(Ordering::SeqCst))
    }

    /// Returns a number that none of the actor's pools has used, in any of its instances (for the first 65536).
    pub fn next_generation(&self) -> u16 {
        self.generations.fetch_add(1, Ordering::SeqCst) as u16
    }

    /// Sets the start time of the current call with a frameset, or `None` after it has returned.
    pub fn set_called_at(&self, now_nanos: Option<u64>) {
        self.called_at_nanos.store(now_nanos.unwrap_or(0), Ordering::Relaxed);
    }

    /// Returns the start time of the current call; `None` if there is none.
    pub fn called_at_nanos(&self) -> Option<u64> {
        Some(self.called_at_nanos.load(Ordering::Relaxed)).filter(|&nanos| nanos != 0)
    }

    /// Sets whether the actor waits for its readers, or for a time that it knows, which excuses its inactivity.
    pub fn set_blocked(&self, blocked: bool) {
        self.blocked.store(blocked.into(), Ordering::Relaxed);
    }

    /// Returns whether the actor waits for its readers, or for a time that it knows.
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed) != 0
    }

    /// Sets the supervisor's state of the actor; the numbers are defined by the supervisor.
    pub fn set_state(&self, state: u32) {
        self.state.store(state, Ordering::SeqCst);
    }

    /// Returns the supervisor's state of the actor.
    pub fn state(&self) -> u32 {
        self.state.load(Ordering::SeqCst)
    }

    /// Counts a restart of the actor.
    pub fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::SeqCst);
    }

    /// Returns the number of restarts of the actor.
    pub fn restarts(&self) -> u32 {
        self.restarts.load(Ordering::SeqCst)
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
            (offset_of!(ActorCells, copied), "copied: u64"),
        ]);
    }
}
