//! The link state of a link: its counters, and the state of each slot.
//!
//! It is a small shared-memory region of atomics, created by the supervisor and mapped by both ends, so that the
//! accounting survives the death of either. A link within one process uses its counters and leaves the slot states
//! unused.
//!
//! # Slot states
//!
//! For each slot of the producer there is one word per link: a state, the pool's generation, and the number of the frameset,
//! by which its producer counts.
//!
//! ```text
//!           publish (producer)          take (reader)
//!   free  ---------------------> queued -------------> reading
//!    ^                             |                      |
//!    |   take back (producer)      |     drop (reader)    |
//!    +-----------------------------+----------------------+
//! ```
//!
//! Where both ends may act, the word changes by compare-and-swap, otherwise by a store. It contains the number, so that a slot
//! that was taken back and published again is never mistaken for the earlier frameset. There is no other queue: its order is
//! that of the numbers.
//!
//! # Orderings
//!
//! Words that pass something pair a release with an acquire: writes of one side before the release are seen by the other after
//! the acquire.
//!
//! | word | release | acquire | passes |
//! |---|---|---|---|
//! | a slot, to queued | `publish` | the looks of `take` | header and pixels, to the reader |
//! | a slot, to free | `release` | `slot_is_free` | the slot, to the producer |
//! | `busy` of a slot | the end of a share | `claim` | the slot, to the next loan of its process |
//! | `announced` | `count_announced` | `announced` | the announcement in the channel |
//! | `ended` | `end` | `ended` | everything that was queued before the end, and `continues` |
//! | `notified` | `notify` | `clear_notified` | what the reader is woken for, unless `notify` returns true |
//! | `notifications` | [`Notifier::notify`](crate::Notifier::notify) | [`Listener::wait`](crate::Listener::wait) | what the process is woken for |
//! | `progress` | `note_progress` | `begin_wait` | the step that the producer waits for |
//! | `delivered`, `dropped` | `count_delivered`, `count_dropped` | `counts` | the frameset in `produced` |
//! | `produced` | `count_produced` | `counts` | earlier framesets in `delivered` and `dropped` |
//! | `step`, to even | the end of a [`Step`] | the first look of `settle` | the counts and words of the step |
//! | a count or a slot | a change within a [`Step`] | the looks of `settle` | that the step has begun |
//!
//! Words by which one side that is about to sleep, or to leave, meets one that continues have a sequentially consistent fence on
//! both sides: each side writes its word before its fence, and looks at that of the other after it. At least one sees the other.
//!
//! | writes, then looks: one side | the other side | otherwise |
//! |---|---|---|
//! | `awaited`, then the slots, `gone` and `received` (`begin_wait`) | a slot, `gone` or `received`, then `awaited` (`note_progress`) | a producer sleeps for its time-out |
//! | a slot, then `gone` (`publish`) | `gone`, then the slots (`set_reader_ended`, `take_back_all`) | a frameset stays queued for a reader that is gone |
//! | a slot, then `ended` (`publish`) | `ended`, which the supervisor has set, then the slots (`ended`, `take`) | a frameset stays queued on a link that has ended |
//! | `notifications`, then `asleep` ([`Notifier`](crate::Notifier)) | `asleep`, then `notifications` ([`Listener`](crate::Listener)) | a process sleeps for a second |
//!
//! `orderings` has a test of each ordering and fence, which fails without it. `meetings` has tests of the fences on this
//! machine's processor, `properties` and `schedules` of the steps.
//!
//! This module does not depend on pixels: the pool has the offsets of a slot's bytes.

mod cells;
mod counts;
#[cfg(all(test, not(shuttle)))]
mod meetings;
mod overflow;
mod presence;
#[cfg(all(test, not(shuttle)))]
mod properties;
mod queue;
mod settle;
mod word;

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use self::cells::LinkCells;
pub use self::counts::Counts;
pub use self::overflow::{DropReason, Overflow};
pub use self::presence::Absence;
pub use self::settle::{Deaths, Step};
pub(crate) use self::word::TakenSlot;
use crate::futex;
use crate::memory::MemoryError;
use crate::sync::{Mapped, fence};

/// Maximum number of slots of a producer. A few are enough to test the orders of steps.
pub const MAX_SLOTS: usize = if cfg!(shuttle) { 4 } else { 64 };

/// Number of times a producer yields before it sleeps: a quick reader frees a slot sooner than a wake-up takes.
const YIELDS: u32 = 20;

/// The value of `continues` of a link that another one replaces.
const CONTINUES: u32 = 1;

/// The value of `continues` of a link whose reader leaves the rig.
const READER_LEAVES: u32 = 2;

/// Counters and slot states of one link; the module describes the protocol.
pub type LinkState = Mapped<LinkCells>;

impl LinkState {
    /// Creates the state of a link that begins while its producer runs: see [`Self::join`].
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn late() -> Result<Self, MemoryError> {
        let link_state = Self::new()?;
        // Alone: no other process has the link state yet.
        link_state.joined.store(u64::MAX, Ordering::Relaxed);
        Ok(link_state)
    }

    /// Marks that the link begins, after the producer has counted `produced` framesets. Only the first call counts.
    pub fn join(&self, produced: u64) {
        // No pair: who computes with it has seen the end of the link before, or that of the producer's process.
        let _ = self.joined.compare_exchange(u64::MAX, produced, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Returns the number of framesets that the producer had counted before the link began: 0 for a link that exists from the
    /// start, or has not begun.
    pub fn joined(&self) -> u64 {
        // No pair: see `join`.
        let joined = self.joined.load(Ordering::Relaxed);
        if joined == u64::MAX { 0 } else { joined }
    }

    /// Marks that another link from an actor with the same name replaces this one, so that its end is not the end of the input.
    pub fn set_continues(&self) {
        // Written before `end`, and read after `ended`, which pair.
        self.continues.store(CONTINUES, Ordering::Relaxed);
    }

    /// Returns whether another link replaces this one.
    pub fn continues(&self) -> bool {
        // After `ended`: see `set_continues`.
        self.continues.load(Ordering::Relaxed) == CONTINUES
    }

    /// Marks that the reader leaves the rig: the end of the link says nothing about its producer.
    pub fn set_reader_leaves(&self) {
        // As in `set_continues`.
        self.continues.store(READER_LEAVES, Ordering::Relaxed);
    }

    /// Returns whether the reader leaves the rig.
    pub fn reader_leaves(&self) -> bool {
        // As in `continues`.
        self.continues.load(Ordering::Relaxed) == READER_LEAVES
    }

    /// Marks that nothing more will be produced on this link. The reader has to be woken, even if it was before.
    pub fn end(&self) {
        // Pairs with `ended`: a reader that sees it also sees everything that was queued before.
        self.ended.store(1, Ordering::Release);
        self.notify();
    }

    /// Returns whether nothing more will be produced on this link.
    pub fn ended(&self) -> bool {
        let ended = self.ended.load(Ordering::Relaxed) != 0;
        if ended {
            // Pairs with `end`; and with the fence of `publish`, because a producer may queue a frameset while the link is ended
            // in its place: it sees the end, or who has seen the end finds the frameset.
            fence(Ordering::SeqCst);
        }
        ended
    }

    /// Counts a sent announcement, so that the reader polls the channel only if necessary. The reader has to be
    /// woken, even if it was before.
    pub(crate) fn count_announced(&self) {
        // Pairs with `announced`: the announcement is in the channel before.
        self.announced.fetch_add(1, Ordering::Release);
        self.notify();
    }

    /// Returns the number of sent announcements.
    pub(crate) fn announced(&self) -> u32 {
        // Pairs with `count_announced`.
        self.announced.load(Ordering::Acquire)
    }

    /// Records that the reader has received the first `announced` announcements.
    pub(crate) fn set_received(&self, announced: u32) {
        // Passes nothing; before the fence of `note_progress`.
        self.reader.received.store(announced, Ordering::Relaxed);
        self.note_progress();
    }

    /// Returns whether the reader has received all announcements.
    pub(crate) fn has_received_all(&self) -> bool {
        // After the fence of `begin_wait` in a producer that waits.
        self.reader.received.load(Ordering::Relaxed) == self.announced()
    }

    /// Waits until the reader has emptied the queue, `timeout` has passed, or `is_there` returns true.
    pub fn await_progress(&self, timeout: Duration, is_there: impl Fn() -> bool) {
        for _ in 0..YIELDS {
            if is_there() {
                return;
            }
            std::thread::yield_now();
        }
        let seen = self.begin_wait();
        if !is_there() {
            futex::sleep(&self.reader.progress, seen, timeout);
        }
        // No pair: a needless wake-up costs one call of the system.
        self.reader.awaited.store(0, Ordering::Relaxed);
    }

    /// Marks that the producer waits; returns the value of `progress` that a later step of the reader changes.
    pub(crate) fn begin_wait(&self) -> u32 {
        self.reader.awaited.store(1, Ordering::Relaxed);
        // Pairs with the fence of `note_progress`: each side writes before it, and looks at the words of the other after it.
        fence(Ordering::SeqCst);
        // Pairs with the fence of `note_progress`: the step before a change that is seen here is seen, too. A later change ends
        // the sleep.
        self.reader.progress.load(Ordering::Acquire)
    }

    /// Wakes a producer that waits for its reader, which has emptied the queue or is gone. A look at the slots after this call
    /// sees each frameset whose producer did not see that.
    pub fn note_progress(&self) {
        let reader = &self.reader;
        // Pairs with the fences of `begin_wait` and `publish`: the caller has written a word that the producer looks at after them.
        // Pairs with the load of `begin_wait`, too, which acquires what was written before this.
        fence(Ordering::SeqCst);
        if reader.awaited.load(Ordering::Relaxed) != 0 {
            futex::change(&reader.progress);
        }
    }

    /// Marks that the reader has to be woken; returns false if a wake-up is pending already.
    pub fn notify(&self) -> bool {
        // Pairs with `clear_notified`. Of the two exchanges, the second one gets the value of the first.
        self.reader.notified.swap(1, Ordering::Release) == 0
    }

    /// Returns whether a wake-up is pending.
    pub fn is_notified(&self) -> bool {
        // No pair: `clear_notified` follows before the reader finds nothing.
        self.reader.notified.load(Ordering::Relaxed) != 0
    }

    /// Marks that the reader is awake. Everything that was written before a `notify` is seen after this call, unless that
    /// `notify` returns true.
    pub fn clear_notified(&self) {
        // Pairs with `notify`. An exchange, not a store, because only that acquires.
        self.reader.notified.swap(0, Ordering::Acquire);
    }
}

impl fmt::Debug for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkState").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_ordered_and_can_be_taken_back() {
        let link_state = LinkState::new().unwrap();
        for (slot, sequence) in [(2, 10), (0, 11), (1, 12)] {
            link_state.count_produced();
            link_state.publish(slot, 1, sequence);
        }
        assert!(link_state.take_back_oldest(DropReason::DropOldest));
        let taken = link_state.take().unwrap();
        assert_eq!(taken, TakenSlot { slot: 0, generation: 1, sequence: 11 });
        link_state.count_delivered(Duration::ZERO);
        assert!(link_state.slot_is_free(2) && !link_state.slot_is_free(0) && !link_state.slot_is_free(1));
        link_state.release(0);
        assert!(link_state.slot_is_free(0));
        link_state.take_back_all();
        assert_eq!(link_state.take(), None);
        let counts = link_state.counts();
        assert_eq!((counts.produced, counts.delivered, counts.in_flight), (3, 1, 0));
        let once = [DropReason::DropOldest, DropReason::ReaderGone];
        assert_eq!(counts.dropped, DropReason::ALL.map(|reason| u64::from(once.contains(&reason))));
    }

    #[test]
    fn one_frameset_is_taken_back_from_a_link_that_has_ended() {
        let link_state = LinkState::new().unwrap();
        for (slot, sequence) in [(2, 10), (0, 11)] {
            link_state.count_produced();
            link_state.publish(slot, 1, sequence);
        }
        link_state.end();
        link_state.take_back_one(0, 1, 11);
        // Another frameset has its slot since.
        link_state.take_back_one(2, 1, 9);
        assert_eq!(link_state.take(), Some(TakenSlot { slot: 2, generation: 1, sequence: 10 }));
        // The reader was faster.
        link_state.take_back_one(2, 1, 10);
        assert_eq!(link_state.take(), None);
        assert!(link_state.slot_is_free(0) && !link_state.slot_is_free(2));
        assert_eq!(link_state.counts().dropped[DropReason::ReaderGone as usize], 1);
    }

    #[test]
    fn a_reader_is_notified_once_until_it_polls() {
        let link_state = LinkState::new().unwrap();
        assert!(link_state.notify());
        assert!(!link_state.notify());
        link_state.clear_notified();
        assert!(link_state.notify());
    }
}
