//! The layout of a link state in shared memory, as PROTOCOL.md describes it.
#![allow(unsafe_code)] // One marker: `Shared` for the structure below.

use super::MAX_SLOTS;
use super::overflow::DropReason;
use crate::latency::LatencyCells;
#[cfg(not(shuttle))]
use crate::mapped::Shared;
use crate::sync::{AtomicU32, AtomicU64, FutexWord};

/// The layout of a link state.
#[repr(C, align(64))]
#[cfg_attr(shuttle, derive(Default))]
pub struct LinkCells {
    pub(super) produced: AtomicU64,
    pub(super) ended: AtomicU32,
    pub(super) announced: AtomicU32,
    /// Odd while the producer changes counts and words together.
    pub(super) step: AtomicU32,
    pub(super) dropped: [AtomicU64; DropReason::ALL.len()],
    /// The number of framesets that the producer had counted when the link began; `u64::MAX` before that.
    pub(super) joined: AtomicU64,
    /// 1 if another link replaces this one when it has ended, 2 if its reader leaves.
    pub(super) continues: AtomicU32,
    pub(super) reader: ReaderCells,
    pub(super) slots: [AtomicU64; MAX_SLOTS],
    pub(super) latency: LatencyCells,
}

/// The fields that the reader writes, on cache lines of their own.
#[repr(C, align(64))]
#[cfg_attr(shuttle, derive(Default))]
pub(super) struct ReaderCells {
    pub(super) delivered: AtomicU64,
    /// 0 in the lowest bits while the reader takes framesets, otherwise why not; the other bits count its deaths.
    pub(super) gone: AtomicU32,
    /// Odd while the reader changes counts and words together.
    pub(super) step: AtomicU32,
    /// Changes when the reader has emptied the queue while the producer waits for that.
    pub(super) progress: FutexWord,
    /// 1 while the producer waits for progress.
    pub(super) awaited: AtomicU32,
    /// 1 while a wake-up of the reader is pending.
    pub(super) notified: AtomicU32,
    /// Number of announcements sent when the reader had last received all of them.
    pub(super) received: AtomicU32,
}

// SAFETY: every field is an atomic, an array of atomics, or padding; aligned to 64.
#[cfg(not(shuttle))]
unsafe impl Shared for LinkCells {
    const NAME: &'static str = "a link state";
    const MAGIC: [u8; 8] = *b"camrigLS";
    const VERSION: u32 = 5;
}

#[cfg(all(test, not(shuttle)))]
mod layout {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn the_layout_is_the_documented_one() {
        let reader = offset_of!(LinkCells, reader);
        crate::protocol::assert_documented(&[
            (offset_of!(LinkCells, produced), "produced: u64"),
            (offset_of!(LinkCells, ended), "ended: u32"),
            (offset_of!(LinkCells, announced), "announced: u32"),
            (offset_of!(LinkCells, step), "step: u32"),
            (offset_of!(LinkCells, dropped), "dropped: [u64]"),
            (offset_of!(LinkCells, joined), "joined: u64"),
            (offset_of!(LinkCells, continues), "continues: u32"),
            (reader + offset_of!(ReaderCells, delivered), "delivered: u64"),
            (reader + offset_of!(ReaderCells, gone), "gone: u32"),
            (reader + offset_of!(ReaderCells, step), "step: u32"),
            (reader + offset_of!(ReaderCells, progress), "progress: u32"),
            (reader + offset_of!(ReaderCells, awaited), "awaited: u32"),
            (reader + offset_of!(ReaderCells, notified), "notified: u32"),
            (reader + offset_of!(ReaderCells, received), "received: u32"),
            (offset_of!(LinkCells, slots), "slots: [u64; 64]"),
            (offset_of!(LinkCells, latency), "max_micros: u64`, `sum_micros: u64`, `buckets: [u32; 528]"),
        ]);
        assert_eq!(DropReason::ALL.len(), 6);
    }
}
