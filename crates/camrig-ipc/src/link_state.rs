//! The link state of a link: its counters, and the state of each slot.
//!
//! It is a small shared-memory region of atomics, created by the supervisor and mapped by both ends, so that the
//! accounting survives the death of either. A link within one process uses its counters and leaves the slot states
//! unused.
//!
//! # Slot states
//!
//! For each slot of the producer there is one word per link: a state, the pool's generation, and the sequence number of
//! the frameset.
//!
//! ```text
//!           publish (producer)          take (reader)
//!   free  ---------------------> queued -------------> reading
//!    ^                             |                      |
//!    |   take back (producer)      |     drop (reader)    |
//!    +-----------------------------+----------------------+
//! ```
//!
//! Where both ends may act, the word changes by compare-and-swap. It contains the sequence number, so that a slot that
//! was taken back and published again is never mistaken for the earlier frameset. There is no other queue: its order is
//! that of the sequence numbers.
//!
//! This module does not depend on pixels: the pool knows where a slot's bytes are.
#![allow(unsafe_code)] // One marker: `Shared` for the structure below.

mod overflow;
#[cfg(all(test, not(shuttle)))]
mod properties;
mod word;

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::MemoryError;
use crate::channel::SharedMemory;
use crate::futex;
use crate::latency::{Latency, LatencyCells, LatencyHistogram};
#[cfg(not(shuttle))]
use crate::region::Shared;
use crate::sync::{AtomicU32, AtomicU64, FutexWord, Mapped};

pub use self::overflow::{DropReason, Overflow};
pub(crate) use self::word::Taken;
use self::word::{State, Word};

/// Maximum number of slots of a producer. A few are enough to test the orders of steps.
pub const MAX_SLOTS: usize = if cfg!(shuttle) { 4 } else { 64 };

/// Number of times a producer yields before it sleeps: a quick reader frees a slot sooner than a wake-up takes.
const YIELDS: u32 = 20;

/// Maximum number of reads of the counts while framesets are being produced. A quicker producer makes `in_flight` too
/// high by the framesets produced meanwhile, but the sum always holds.
const COUNT_TRIES: u32 = 8;

#[repr(C, align(64))]
struct Cells {
    produced: AtomicU64,
    ended: AtomicU32,
    announced: AtomicU32,
    /// Odd while the producer changes counts and words together.
    step: AtomicU32,
    dropped: [AtomicU64; DropReason::ALL.len()],
    reader: ReaderCells,
    slots: [AtomicU64; MAX_SLOTS],
    latency: LatencyCells,
}

/// The fields that the reader writes, on cache lines of their own.
#[repr(C, align(64))]
struct ReaderCells {
    delivered: AtomicU64,
    /// 0 while the reader takes framesets, otherwise [`ENDED`] or [`AWAY`]; the other bits count its absences.
    gone: AtomicU32,
    /// Odd while the reader changes counts and words together.
    step: AtomicU32,
    /// Changes when the reader has emptied the queue while the producer waits for that.
    progress: FutexWord,
    /// 1 while the producer waits for progress.
    awaited: AtomicU32,
    /// 1 while a wake-up of the reader is pending.
    rung: AtomicU32,
    /// Number of announcements sent when the reader had last received all of them.
    heard: AtomicU32,
}

// SAFETY: every field is an atomic, an array of atomics, or padding; aligned to 64.
#[cfg(not(shuttle))]
unsafe impl Shared for Cells {
    const NAME: &'static str = "a link state";
    const MAGIC: [u8; 8] = *b"camrigLS";
    const VERSION: u32 = 1;
}

/// The reader will never take another frameset.
const ENDED: u32 = 1;
/// The reader takes nothing until it is back.
const AWAY: u32 = 2;
/// Mask of both.
const STATE: u32 = 3;

/// One absence of a reader, distinguished from all others, so that only its own owner can end it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Absence(u32);

#[cfg(shuttle)]
impl Default for Cells {
    fn default() -> Self {
        let reader = ReaderCells {
            delivered: AtomicU64::new(0),
            gone: AtomicU32::new(0),
            step: AtomicU32::new(0),
            progress: FutexWord::new(0),
            awaited: AtomicU32::new(0),
            rung: AtomicU32::new(0),
            heard: AtomicU32::new(0),
        };
        Self {
            produced: AtomicU64::new(0),
            ended: AtomicU32::new(0),
            announced: AtomicU32::new(0),
            step: AtomicU32::new(0),
            dropped: std::array::from_fn(|_| AtomicU64::new(0)),
            reader,
            slots: std::array::from_fn(|_| AtomicU64::new(0)),
            latency: LatencyCells::default(),
        }
    }
}

/// Marks that one end is between changing a count and a word, so that they need not agree.
///
/// A step of an end that dies stays unfinished; [`LinkState::settle`] corrects it.
pub struct Step<'a>(&'a AtomicU32);

impl<'a> Step<'a> {
    fn begin(step: &'a AtomicU32) -> Self {
        step.fetch_add(1, Ordering::SeqCst);
        Self(step)
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// The ends of a link that have died.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deaths {
    /// Whether the producer's process died.
    pub producer: bool,
    /// Whether the reader's process died.
    pub reader: bool,
}

/// Counters and slot states of one link; the module describes the protocol.
pub struct LinkState(Mapped<Cells>);

impl LinkState {
    /// Creates a link state with zero counts and free slots.
    ///
    /// # Errors
    /// When the system has no memory or descriptors left.
    pub fn new() -> Result<Self, MemoryError> {
        Mapped::new().map(Self)
    }

    /// Maps a link state received from another process.
    ///
    /// # Errors
    /// When the memory is too small to be a link state.
    pub fn received(memory: SharedMemory) -> Result<Self, MemoryError> {
        Mapped::received(memory).map(Self)
    }

    /// Returns another handle to the link state, to be sent to another process.
    ///
    /// # Errors
    /// When the system has no descriptors or addresses left.
    pub fn share(&self) -> Result<SharedMemory, MemoryError> {
        self.0.share()
    }

    fn cells(&self) -> &Cells {
        &self.0
    }

    /// Counts a frameset of the producer, always before its delivery or drop is counted.
    pub fn count_produced(&self) {
        self.cells().produced.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts a frameset delivered to the reader's processor, `latency` after it arrived in the camera actor.
    pub fn count_delivered(&self, latency: Duration) {
        let cells = self.cells();
        cells.latency.count(latency);
        cells.reader.delivered.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts a frameset that is not delivered.
    pub fn count_dropped(&self, reason: DropReason) {
        self.cells().dropped[reason as usize].fetch_add(1, Ordering::SeqCst);
    }

    /// Counts a frameset that is dropped as it is produced, as one step.
    pub fn count_produced_and_dropped(&self, reason: DropReason) {
        let _step = self.producer_step();
        self.count_produced();
        self.count_dropped(reason);
    }

    /// Marks that nothing more will be produced on this link. The reader has to be woken, even if it was before.
    pub fn end(&self) {
        self.cells().ended.store(1, Ordering::SeqCst);
        self.notify();
    }

    /// Returns whether nothing more will be produced on this link.
    pub fn ended(&self) -> bool {
        self.cells().ended.load(Ordering::SeqCst) != 0
    }

    /// Counts a sent announcement, so that the reader polls the channel only if necessary. The reader has to be
    /// woken, even if it was before.
    pub(crate) fn count_announced(&self) {
        self.cells().announced.fetch_add(1, Ordering::SeqCst);
        self.notify();
    }

    /// Returns the number of sent announcements.
    pub(crate) fn announced(&self) -> u32 {
        self.cells().announced.load(Ordering::SeqCst)
    }

    /// Records that the reader has received the first `announced` announcements.
    pub(crate) fn set_heard(&self, announced: u32) {
        self.cells().reader.heard.store(announced, Ordering::SeqCst);
        self.note_progress();
    }

    /// Returns whether the reader has received all announcements.
    pub(crate) fn has_heard_all(&self) -> bool {
        self.cells().reader.heard.load(Ordering::SeqCst) == self.announced()
    }

    /// Begins the producer's step of a frameset, from its count to its word.
    pub fn producer_step(&self) -> Step<'_> {
        Step::begin(&self.cells().step)
    }

    /// Begins the reader's step of a frameset, from its word to its count.
    pub fn reader_step(&self) -> Step<'_> {
        Step::begin(&self.cells().reader.step)
    }

    /// Marks that the reader will take nothing more.
    pub fn set_reader_ended(&self) {
        self.change_presence(|presence| presence & !STATE | ENDED);
        self.note_progress();
    }

    /// Marks the reader as absent: framesets are dropped until it is back. A reader that has ended stays ended. Only
    /// the returned absence can [end it](Self::set_reader_back).
    pub fn set_reader_away(&self) -> Absence {
        let presence = self.change_presence(|presence| match presence & STATE {
            ENDED => presence,
            _ => (presence & !STATE).wrapping_add(STATE + 1) | AWAY,
        });
        self.note_progress();
        Absence(presence)
    }

    /// Marks the reader as present, unless it has ended or become absent again since.
    pub fn set_reader_back(&self, absence: Absence) {
        let Absence(away) = absence;
        if away & STATE == AWAY {
            // Fails if another absence has begun.
            let _ = self.cells().reader.gone.compare_exchange(
                away,
                away & !STATE,
                Ordering::SeqCst,
                Ordering::SeqCst,
            );
        }
    }

    fn change_presence(&self, change: impl Fn(u32) -> u32) -> u32 {
        let gone = &self.cells().reader.gone;
        let mut before = gone.load(Ordering::SeqCst);
        loop {
            let after = change(before);
            match gone.compare_exchange_weak(before, after, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return after,
                Err(now) => before = now,
            }
        }
    }

    /// Waits until the reader has emptied the queue, `timeout` has passed, or `is_there` returns true.
    pub fn await_progress(&self, timeout: Duration, is_there: impl Fn() -> bool) {
        for _ in 0..YIELDS {
            if is_there() {
                return;
            }
            std::thread::yield_now();
        }
        let reader = &self.cells().reader;
        let seen = reader.progress.load(Ordering::SeqCst);
        reader.awaited.store(1, Ordering::SeqCst);
        // After `awaited` is set, every step of the reader wakes the producer.
        if !is_there() {
            futex::sleep(&reader.progress, seen, timeout);
        }
        reader.awaited.store(0, Ordering::SeqCst);
    }

    /// Wakes a producer that waits for its reader, which has emptied the queue or is gone.
    pub fn note_progress(&self) {
        let reader = &self.cells().reader;
        if reader.awaited.load(Ordering::SeqCst) != 0 {
            futex::change(&reader.progress);
        }
    }

    /// Returns whether the reader is absent or has ended.
    pub fn reader_gone(&self) -> bool {
        self.cells().reader.gone.load(Ordering::SeqCst) & STATE != 0
    }

    /// Returns whether the reader has ended.
    pub fn reader_ended(&self) -> bool {
        self.cells().reader.gone.load(Ordering::SeqCst) & STATE == ENDED
    }

    /// Takes back all framesets that are queued for a reader that is gone.
    pub fn take_back_all(&self) {
        while self.take_back_oldest(DropReason::ReaderGone) {}
    }

    /// Reconciles slot states and counters of dead endpoints. A dead reader's slots are freed, and its queued
    /// framesets are dropped; a dead producer's queued framesets are still delivered; framesets between a count and a
    /// word in a dead process are dropped. `produced` is the count of the producer's
    /// [`ActorCounters`](crate::ActorCounters).
    ///
    /// Returns false if the living end is in the middle of a step: then nothing was settled, and the caller has to
    /// try again. Only for dead ends: a living reader would continue to read. A dead reader has to be marked as
    /// absent or ended.
    pub fn settle(&self, deaths: Deaths, produced: u64) -> bool {
        let cells = self.cells();
        let Deaths { producer, reader } = deaths;
        if reader {
            debug_assert!(self.reader_gone(), "a dead reader takes nothing");
            self.take_back_all();
            self.words()
                .filter(|(_, word)| word.state == State::Reading)
                .for_each(|(slot, _)| self.release(slot));
        }
        let living = match (producer, reader) {
            (false, false) => return true,
            (true, true) => None,
            (true, false) => Some(&cells.reader.step),
            (false, true) => Some(&cells.step),
        };
        let step = living.map(|step| step.load(Ordering::SeqCst));
        if step.is_some_and(|step| step % 2 != 0) {
            return false;
        }
        let in_flight = self.counts().in_flight.saturating_sub(self.queued() as u64);
        if living.map(|step| step.load(Ordering::SeqCst)) != step {
            return false;
        }
        // Framesets that the producer had counted for itself, but not yet for this link.
        let missing = if producer { produced.saturating_sub(self.counts().produced) } else { 0 };
        cells.produced.fetch_add(missing, Ordering::SeqCst);
        cells.dropped[DropReason::ProcessDied as usize].fetch_add(in_flight + missing, Ordering::SeqCst);
        // Interrupted steps are finished.
        if producer {
            cells.step.store(0, Ordering::SeqCst);
        }
        if reader {
            cells.reader.step.store(0, Ordering::SeqCst);
        }
        true
    }

    /// Marks that the reader has to be woken; returns false if a wake-up is pending already.
    pub fn notify(&self) -> bool {
        self.cells().reader.rung.swap(1, Ordering::SeqCst) == 0
    }

    /// Returns whether a wake-up is pending.
    pub fn is_notified(&self) -> bool {
        self.cells().reader.rung.load(Ordering::SeqCst) != 0
    }

    /// Marks that the reader is awake. A read of the queue after this call sees everything that was published before
    /// a later `notify` that returns true.
    pub fn clear_notified(&self) {
        self.cells().reader.rung.store(0, Ordering::SeqCst);
    }

    /// Returns the current counts; in flight are the framesets neither delivered nor dropped yet.
    pub fn counts(&self) -> Counts {
        let cells = self.cells();
        let mut tries = COUNT_TRIES;
        let (produced, delivered, dropped) = loop {
            let before = cells.produced.load(Ordering::SeqCst);
            // Delivered and dropped are read before produced, because their framesets were counted as produced before.
            let delivered = cells.reader.delivered.load(Ordering::SeqCst);
            let dropped = DropReason::ALL.map(|reason| cells.dropped[reason as usize].load(Ordering::SeqCst));
            let produced = cells.produced.load(Ordering::SeqCst);
            tries -= 1;
            // A frameset produced meanwhile may be delivered too, and would count as in flight.
            if produced == before || tries == 0 {
                break (produced, delivered, dropped);
            }
        };
        let in_flight = produced.saturating_sub(delivered + dropped.iter().sum::<u64>());
        Counts { produced, delivered, dropped, in_flight }
    }

    /// Returns the latencies from the camera actor to the call of the processor.
    pub fn latency(&self) -> Latency {
        self.cells().latency.sum_up()
    }

    /// Returns the histogram of the latencies.
    pub fn latency_histogram(&self) -> LatencyHistogram {
        self.cells().latency.histogram()
    }

    /// Returns the producer's slots that are queued or being read, as a bit mask with the first slot lowest.
    pub fn slots_in_use(&self) -> u64 {
        self.words().fold(0, |bits, (slot, _)| bits | 1 << slot)
    }

    pub(crate) fn slot_is_free(&self, slot: usize) -> bool {
        let word = self.cells().slots[slot].load(Ordering::Acquire);
        Word::of(word).is_none_or(|word| word.state != State::Queued && word.state != State::Reading)
    }

    /// Returns the number of queued framesets.
    pub fn queued(&self) -> usize {
        self.words().filter(|(_, word)| word.state == State::Queued).count()
    }

    /// Returns the generations of the pools with queued framesets or framesets being read.
    pub(crate) fn generations(&self) -> Vec<u16> {
        self.words().map(|(_, word)| word.generation).collect()
    }

    pub(crate) fn publish(&self, slot: usize, generation: u16, sequence: u64) {
        let word = Word { state: State::Queued, generation, sequence }.bits();
        // SeqCst, not Release: ordered before the look at `rung` that follows.
        self.cells().slots[slot].store(word, Ordering::SeqCst);
    }

    /// Takes back the oldest queued frameset and counts the reason; returns false if none is queued.
    pub(crate) fn take_back_oldest(&self, reason: DropReason) -> bool {
        while let Some((slot, word)) = self.oldest_queued() {
            if self.cells().slots[slot]
                .compare_exchange(word.bits(), 0, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
            {
                self.count_dropped(reason);
                return true;
            }
        }
        false
    }

    /// Takes the oldest queued frameset: its slot changes from queued to reading.
    pub(crate) fn take(&self) -> Option<Taken> {
        while let Some((slot, word)) = self.oldest_queued() {
            let reading = Word { state: State::Reading, ..word }.bits();
            if self.cells().slots[slot]
                .compare_exchange(word.bits(), reading, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
            {
                // Not for every frameset: if a producer is woken for each one, each costs the reader a context switch.
                if self.queued() == 0 {
                    self.note_progress();
                }
                return Some(Taken { slot, generation: word.generation, sequence: word.sequence });
            }
        }
        None
    }

    /// Frees a slot that was being read.
    pub(crate) fn release(&self, slot: usize) {
        self.cells().slots[slot].store(0, Ordering::Release);
    }

    fn oldest_queued(&self) -> Option<(usize, Word)> {
        // Scans twice: during the first scan the producer may queue a frameset behind the scan and a later one before
        // it. Every frameset older than the one found is queued when the second scan begins.
        self.look_for_oldest()?;
        self.look_for_oldest()
    }

    fn look_for_oldest(&self) -> Option<(usize, Word)> {
        self.words().filter(|(_, word)| word.state == State::Queued).min_by_key(|(_, word)| word.sequence)
    }

    fn words(&self) -> impl Iterator<Item = (usize, Word)> + '_ {
        let load = |(slot, cell): (usize, &AtomicU64)| Some((slot, Word::of(cell.load(Ordering::SeqCst))?));
        self.cells().slots.iter().enumerate().filter_map(load)
    }
}

impl fmt::Debug for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkState").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

/// The counts of a link's framesets: `produced = delivered + sum(dropped) + in_flight`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Framesets produced while the link existed.
    pub produced: u64,
    /// Framesets delivered to the reader's processor.
    pub delivered: u64,
    /// Framesets that will not be delivered, in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Framesets in transit.
    pub in_flight: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_counted_values() {
        let link_state = LinkState::new().unwrap();
        assert_eq!(link_state.latency(), Latency::default());
        for micros in 1..=100 {
            link_state.count_delivered(Duration::from_micros(micros));
        }
        let latency = link_state.latency();
        assert!((50..=53).contains(&latency.p50), "{latency:?}");
        assert!((99..=100).contains(&latency.p99), "{latency:?}");
        assert_eq!(latency.max, 100);
    }

    #[test]
    fn the_queue_is_ordered_and_can_be_taken_back() {
        let link_state = LinkState::new().unwrap();
        for (slot, sequence) in [(2, 10), (0, 11), (1, 12)] {
            link_state.count_produced();
            link_state.publish(slot, 1, sequence);
        }
        assert!(link_state.take_back_oldest(DropReason::DropOldest));
        let taken = link_state.take().unwrap();
        assert_eq!(taken, Taken { slot: 0, generation: 1, sequence: 11 });
        link_state.count_delivered(Duration::ZERO);
        assert!(link_state.slot_is_free(2) && !link_state.slot_is_free(0) && !link_state.slot_is_free(1));
        link_state.release(0);
        assert!(link_state.slot_is_free(0));
        link_state.take_back_all();
        assert_eq!(link_state.take(), None);
        let counts = link_state.counts();
        assert_eq!((counts.produced, counts.delivered, counts.in_flight), (3, 1, 0));
        assert_eq!(counts.dropped, [0, 1, 0, 1, 0, 0]);
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

#[cfg(all(test, not(shuttle)))]
mod layout {
    use std::mem::offset_of;

    use super::*;

    #[test]
    fn the_layout_is_the_documented_one() {
        let reader = offset_of!(Cells, reader);
        crate::protocol::assert_documented(&[
            (offset_of!(Cells, produced), "produced: u64"),
            (offset_of!(Cells, ended), "ended: u32"),
            (offset_of!(Cells, announced), "announced: u32"),
            (offset_of!(Cells, step), "step: u32"),
            (offset_of!(Cells, dropped), "dropped: [u64]"),
            (reader + offset_of!(ReaderCells, delivered), "delivered: u64"),
            (reader + offset_of!(ReaderCells, gone), "gone: u32"),
            (reader + offset_of!(ReaderCells, step), "step: u32"),
            (reader + offset_of!(ReaderCells, progress), "progress: u32"),
            (reader + offset_of!(ReaderCells, awaited), "awaited: u32"),
            (reader + offset_of!(ReaderCells, rung), "rung: u32"),
            (reader + offset_of!(ReaderCells, heard), "heard: u32"),
            (offset_of!(Cells, slots), "slots: [u64; 64]"),
            (offset_of!(Cells, latency), "max_micros: u64`, `sum_micros: u64`, `buckets: [u32; 528]"),
        ]);
        assert_eq!(DropReason::ALL.len(), 6);
    }
}
