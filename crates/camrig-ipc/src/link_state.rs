//! The link state of a link: what became of every frameset, and who holds which slot.
//!
//! It is a small shared-memory region of atomics, made by the supervisor and mapped by both ends, so that
//! the accounting survives the death of either. A link within one process uses the same link state for its
//! counts and leaves the slot states alone.
//!
//! # Slot states
//!
//! For each slot of the producer there is one word per link: a state, the pool's generation, and the
//! sequence number of the frameset.
//!
//! ```text
//!           publish (producer)          take (reader)
//!   free  ---------------------> queued -------------> reading
//!    ^                             |                      |
//!    |   take back (producer)      |     drop (reader)    |
//!    +-----------------------------+----------------------+
//! ```
//!
//! The word changes by compare-and-swap wherever both ends may act, and holds the sequence number, so that
//! a slot that was taken back and published again is never mistaken for its earlier self. The queue has no
//! other form: its order is that of the sequence numbers.
//!
//! It deliberately knows no pixels: where a slot's bytes lie is the pool's business.
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

/// The most slots that a producer can have. To try out how the ends may meet, few are enough.
pub const MAX_SLOTS: usize = if cfg!(shuttle) { 4 } else { 64 };

/// How often a producer lets others run before it sleeps: a quick reader is not worth being woken by.
const YIELDS: u32 = 20;

/// How often counts are read again when a frameset was produced meanwhile. A producer that is quicker than
/// that makes `in_flight` too high by what it produced, never the sum wrong.
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

/// What the reader writes lies on cache lines of its own.
#[repr(C, align(64))]
struct ReaderCells {
    delivered: AtomicU64,
    /// 0 while the reader takes framesets, [`ENDED`] or [`AWAY`] otherwise; beside that, how often it was away.
    gone: AtomicU32,
    /// Odd while the reader changes counts and words together.
    step: AtomicU32,
    /// Changes when the reader took all that was queued while the producer waits for that.
    progress: FutexWord,
    /// 1 while the producer waits for progress.
    awaited: AtomicU32,
    /// 1 while a wake-up is on its way to the reader.
    rung: AtomicU32,
    /// How many announcements were counted when the reader had last heard all that there were.
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
/// The bits of either.
const STATE: u32 = 3;

/// One absence of a reader: told from every other one, so that nobody ends another by mistake.
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

/// While it lives, counts and words need not agree: one end is between the two.
///
/// An end that dies in between leaves its step unfinished, which [`LinkState::settle`] makes good.
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

/// Which ends of a link have died.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deaths {
    /// The producer's process has.
    pub producer: bool,
    /// The reader's process has.
    pub reader: bool,
}

/// One link's accounting and slot states; see the module for the protocol.
pub struct LinkState(Mapped<Cells>);

impl LinkState {
    /// A link state that says: nothing produced, every slot free.
    ///
    /// # Errors
    /// When the system has no memory or descriptors left.
    pub fn new() -> Result<Self, MemoryError> {
        Mapped::new().map(Self)
    }

    /// The same link state, received from another process.
    ///
    /// # Errors
    /// When the memory is too small to be a link state.
    pub fn received(memory: SharedMemory) -> Result<Self, MemoryError> {
        Mapped::received(memory).map(Self)
    }

    /// Another handle to the link state, to be sent to another process.
    ///
    /// # Errors
    /// When the system has no descriptors or addresses left.
    pub fn share(&self) -> Result<SharedMemory, MemoryError> {
        self.0.share()
    }

    fn cells(&self) -> &Cells {
        &self.0
    }

    /// Counts a frameset that the producer made. Always before its delivery or drop is counted.
    pub fn count_produced(&self) {
        self.cells().produced.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts a frameset that reached the reader's processor, `latency` after it arrived in the camera actor.
    pub fn count_delivered(&self, latency: Duration) {
        let cells = self.cells();
        cells.latency.count(latency);
        cells.reader.delivered.fetch_add(1, Ordering::SeqCst);
    }

    /// Counts a frameset that will never reach the reader.
    pub fn count_dropped(&self, reason: DropReason) {
        self.cells().dropped[reason as usize].fetch_add(1, Ordering::SeqCst);
    }

    /// Counts a frameset that is dropped as it is produced, as one step.
    pub fn count_produced_and_dropped(&self, reason: DropReason) {
        let _step = self.producer_step();
        self.count_produced();
        self.count_dropped(reason);
    }

    /// Says that nothing more will be produced on this link. The reader is to be woken, whoever rang before.
    pub fn end(&self) {
        self.cells().ended.store(1, Ordering::SeqCst);
        self.notify();
    }

    /// Whether nothing more will be produced on this link.
    pub fn ended(&self) -> bool {
        self.cells().ended.load(Ordering::SeqCst) != 0
    }

    /// Counts an announcement that was sent, so that the reader need not ask the channel in vain. The reader
    /// is to be woken, whoever rang before.
    pub(crate) fn count_announced(&self) {
        self.cells().announced.fetch_add(1, Ordering::SeqCst);
        self.notify();
    }

    /// How many announcements were sent.
    pub(crate) fn announced(&self) -> u32 {
        self.cells().announced.load(Ordering::SeqCst)
    }

    /// Notes that the reader has heard everything that had been announced when so many announcements were counted.
    pub(crate) fn set_heard(&self, announced: u32) {
        self.cells().reader.heard.store(announced, Ordering::SeqCst);
        self.note_progress();
    }

    /// Whether the reader has heard everything that was announced.
    pub(crate) fn has_heard_all(&self) -> bool {
        self.cells().reader.heard.load(Ordering::SeqCst) == self.announced()
    }

    /// The producer's part of the way of a frameset, from its count to its word, is one step.
    pub fn producer_step(&self) -> Step<'_> {
        Step::begin(&self.cells().step)
    }

    /// The reader's part of the way of a frameset, from its word to its count, is one step.
    pub fn reader_step(&self) -> Step<'_> {
        Step::begin(&self.cells().reader.step)
    }

    /// Says that the reader will take nothing more.
    pub fn set_reader_ended(&self) {
        self.change_presence(|presence| presence & !STATE | ENDED);
        self.note_progress();
    }

    /// Says that the reader takes nothing until it is back: whatever is produced meanwhile is dropped. A reader
    /// that has ended does not go away. Only who knows of this absence can [end it](Self::set_reader_back).
    pub fn set_reader_away(&self) -> Absence {
        let presence = self.change_presence(|presence| match presence & STATE {
            ENDED => presence,
            _ => (presence & !STATE).wrapping_add(STATE + 1) | AWAY,
        });
        self.note_progress();
        Absence(presence)
    }

    /// Says that the reader takes framesets again, unless it has ended or gone away once more since.
    pub fn set_reader_back(&self, absence: Absence) {
        let Absence(away) = absence;
        if away & STATE == AWAY {
            // Fails when it is not this absence that it would end.
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

    /// Waits until the reader has taken all that was queued, or `timeout` has passed, or `is_there` says that
    /// what the producer waits for is there already.
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
        // After `awaited`: whatever the reader does from here on wakes us.
        if !is_there() {
            futex::sleep(&reader.progress, seen, timeout);
        }
        reader.awaited.store(0, Ordering::SeqCst);
    }

    /// Wakes a producer that waits for its reader: it took the last frameset, or is gone.
    pub fn note_progress(&self) {
        let reader = &self.cells().reader;
        if reader.awaited.load(Ordering::SeqCst) != 0 {
            futex::change(&reader.progress);
        }
    }

    /// Whether the reader takes nothing, for good or for now.
    pub fn reader_gone(&self) -> bool {
        self.cells().reader.gone.load(Ordering::SeqCst) & STATE != 0
    }

    /// Whether the reader will never take another frameset.
    pub fn reader_ended(&self) -> bool {
        self.cells().reader.gone.load(Ordering::SeqCst) & STATE == ENDED
    }

    /// Takes back everything that is still queued for a reader that is gone.
    pub fn take_back_all(&self) {
        while self.take_back_oldest(DropReason::ReaderGone) {}
    }

    /// In the place of ends whose processes died: makes words and counts agree again. What a dead reader held
    /// is free again, what it had not begun is dropped; what a dead producer had queued is still delivered;
    /// what was on its way in a dead process is dropped. `produced` is what the producer's [`ActorCounters`](crate::ActorCounters)
    /// says.
    ///
    /// False when the living end is in the middle of a step: then nothing has been settled, ask again. Safe
    /// only for ends that are dead: a living reader would go on reading. A dead reader has to be gone or away.
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
        // Framesets that the producer had counted for itself, but not for this link yet.
        let missing = if producer { produced.saturating_sub(self.counts().produced) } else { 0 };
        cells.produced.fetch_add(missing, Ordering::SeqCst);
        cells.dropped[DropReason::ProcessDied as usize].fetch_add(in_flight + missing, Ordering::SeqCst);
        // Steps that were cut short are over.
        if producer {
            cells.step.store(0, Ordering::SeqCst);
        }
        if reader {
            cells.reader.step.store(0, Ordering::SeqCst);
        }
        true
    }

    /// Notes that the reader is to be woken; false when a wake-up is on its way already.
    pub fn notify(&self) -> bool {
        self.cells().reader.rung.swap(1, Ordering::SeqCst) == 0
    }

    /// Whether a wake-up is on its way, or was not heard yet.
    pub fn is_notified(&self) -> bool {
        self.cells().reader.rung.load(Ordering::SeqCst) != 0
    }

    /// Notes that the reader is awake. Whatever was published before a later `ring` that returns true is
    /// seen by a look at the queue after this call.
    pub fn clear_notified(&self) {
        self.cells().reader.rung.store(0, Ordering::SeqCst);
    }

    /// The counts of this moment, in flight being what is neither delivered nor dropped yet.
    pub fn counts(&self) -> Counts {
        let cells = self.cells();
        let mut tries = COUNT_TRIES;
        let (produced, delivered, dropped) = loop {
            let before = cells.produced.load(Ordering::SeqCst);
            // Delivered and dropped before produced: whatever they hold was counted as produced first.
            let delivered = cells.reader.delivered.load(Ordering::SeqCst);
            let dropped = DropReason::ALL.map(|reason| cells.dropped[reason as usize].load(Ordering::SeqCst));
            let produced = cells.produced.load(Ordering::SeqCst);
            tries -= 1;
            // What was produced meanwhile may be delivered as well, and would look as if it were in flight.
            if produced == before || tries == 0 {
                break (produced, delivered, dropped);
            }
        };
        let in_flight = produced.saturating_sub(delivered + dropped.iter().sum::<u64>());
        Counts { produced, delivered, dropped, in_flight }
    }

    /// How long framesets took from the camera actor to the call of the processor.
    pub fn latency(&self) -> Latency {
        self.cells().latency.sum_up()
    }

    /// How many framesets took how long.
    pub fn latency_histogram(&self) -> LatencyHistogram {
        self.cells().latency.histogram()
    }

    /// The producer's slots that wait for the reader or are read by it: a bit for each, the first one lowest.
    pub fn slots_in_use(&self) -> u64 {
        self.words().fold(0, |bits, (slot, _)| bits | 1 << slot)
    }

    pub(crate) fn slot_is_free(&self, slot: usize) -> bool {
        let word = self.cells().slots[slot].load(Ordering::Acquire);
        Word::of(word).is_none_or(|word| word.state != State::Queued && word.state != State::Reading)
    }

    /// How many framesets wait for the reader.
    pub fn queued(&self) -> usize {
        self.words().filter(|(_, word)| word.state == State::Queued).count()
    }

    /// The generations of the pools whose framesets wait for the reader, or are read.
    pub(crate) fn generations(&self) -> Vec<u16> {
        self.words().map(|(_, word)| word.generation).collect()
    }

    pub(crate) fn publish(&self, slot: usize, generation: u16, sequence: u64) {
        let word = Word { state: State::Queued, generation, sequence }.bits();
        // SeqCst, not Release: ordered before the look at `rung` that follows.
        self.cells().slots[slot].store(word, Ordering::SeqCst);
    }

    /// Takes back the oldest queued frameset, counting why; false when there is none.
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

    /// The reader's step from queued to reading: the oldest queued frameset is now its own.
    pub(crate) fn take(&self) -> Option<Taken> {
        while let Some((slot, word)) = self.oldest_queued() {
            let reading = Word { state: State::Reading, ..word }.bits();
            if self.cells().slots[slot]
                .compare_exchange(word.bits(), reading, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
            {
                // Not at every step: a producer that is woken for one frameset at a time costs its reader a
                // switch of processes each.
                if self.queued() == 0 {
                    self.note_progress();
                }
                return Some(Taken { slot, generation: word.generation, sequence: word.sequence });
            }
        }
        None
    }

    /// The reader's step from reading to free.
    pub(crate) fn release(&self, slot: usize) {
        self.cells().slots[slot].store(0, Ordering::Release);
    }

    fn oldest_queued(&self) -> Option<(usize, Word)> {
        // Looks twice: while the first look passes over the words, the producer may queue a frameset behind it
        // and a later one before it. Whatever is older than what it found is there when the second begins.
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

/// What became of the framesets of a link: `produced = delivered + sum(dropped) + in_flight`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Framesets that the producer made while the link existed.
    pub produced: u64,
    /// Framesets that reached the reader's processor.
    pub delivered: u64,
    /// Framesets that never will, in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Framesets that are still on the way.
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
    fn a_bell_rings_once_until_it_is_heard() {
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
