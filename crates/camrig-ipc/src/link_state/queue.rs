//! The words of the slots, which are the queue of the link.

use std::sync::atomic::Ordering;

use super::LinkState;
use super::overflow::DropReason;
use super::word::{State, TakenSlot, Word};
use crate::sync::fence;

impl LinkState {
    /// Returns the producer's slots that are queued or being read, as a bit mask with the first slot lowest.
    pub fn slots_in_use(&self) -> u64 {
        self.words().fold(0, |bits, (slot, _)| bits | 1 << slot)
    }

    pub(crate) fn slot_is_free(&self, slot: usize) -> bool {
        // Pairs with `release`: the reader has read the slot before.
        let word = self.slots[slot].load(Ordering::Acquire);
        Word::of(word).is_none_or(|word| word.state != State::Queued && word.state != State::Reading)
    }

    /// Returns the number of queued framesets.
    pub fn queued(&self) -> usize {
        self.bits().filter(|bits| is_queued(*bits)).count()
    }

    /// Returns the generations of the pools with queued framesets or framesets being read.
    pub(crate) fn generations(&self) -> Vec<u16> {
        self.words().map(|(_, word)| word.generation).collect()
    }

    pub(crate) fn publish(&self, slot: usize, generation: u16, sequence: u64) {
        let word = Word { state: State::Queued, generation, sequence }.bits();
        // Pairs with the looks of `take`: header and pixels were written before.
        self.slots[slot].store(word, Ordering::Release);
        // Pairs with the fences of `note_progress`, after a change of `gone`, and of `ended`: each side writes its word before
        // it, and looks at that of the other after it.
        fence(Ordering::SeqCst);
    }

    /// Takes back the oldest queued frameset and counts the reason; returns false if none is queued.
    pub(crate) fn take_back_oldest(&self, reason: DropReason) -> bool {
        while let Some((slot, word)) = self.oldest_queued() {
            // Of this exchange and that in `take`, one gets the slot. Pairs with the looks of `settle`, which then see that the
            // step of this end has begun.
            if self.slots[slot].compare_exchange(word.bits(), 0, Ordering::Release, Ordering::Relaxed).is_ok()
            {
                self.count_dropped(reason);
                return true;
            }
        }
        false
    }

    /// Takes back all framesets that are queued for a reader that is gone.
    pub fn take_back_all(&self) {
        while self.take_back_oldest(DropReason::ReaderGone) {}
    }

    /// Takes back a frameset that was queued on a link that has ended, unless its reader has taken it.
    pub(crate) fn take_back_one(&self, slot: usize, generation: u16, sequence: u64) {
        let word = Word { state: State::Queued, generation, sequence }.bits();
        // Pairs with the exchange in `take`: one of the two gets the slot.
        if self.slots[slot].compare_exchange(word, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            self.count_dropped(DropReason::ReaderGone);
        }
    }

    /// Takes the oldest queued frameset: its slot changes from queued to reading.
    pub(crate) fn take(&self) -> Option<TakenSlot> {
        while let Some((slot, word)) = self.oldest_queued() {
            let reading = Word { state: State::Reading, ..word }.bits();
            // As in `take_back_oldest`. The look has acquired the frameset, which no other one has the word of.
            if self.slots[slot]
                .compare_exchange(word.bits(), reading, Ordering::Release, Ordering::Relaxed)
                .is_ok()
            {
                // Not for every frameset: if a producer is woken for each one, each costs the reader a context switch.
                if self.queued() == 0 {
                    self.note_progress();
                }
                return Some(TakenSlot { slot, generation: word.generation, sequence: word.sequence });
            }
        }
        None
    }

    /// Frees a slot that was being read.
    pub(crate) fn release(&self, slot: usize) {
        // Pairs with `slot_is_free`: the slot was read before.
        self.slots[slot].store(0, Ordering::Release);
    }

    pub(super) fn oldest_queued(&self) -> Option<(usize, Word)> {
        // Scans twice: during the first scan the producer may queue a frameset behind the scan and a later one before
        // it. Every frameset older than the one found is queued when the second scan begins.
        self.look_for_oldest()?;
        self.look_for_oldest()
    }

    fn look_for_oldest(&self) -> Option<(usize, Word)> {
        // Of two queued words, that with the lower sequence number is lower: see `Word`.
        let (slot, oldest) =
            self.bits().enumerate().filter(|(_, bits)| is_queued(*bits)).min_by_key(|(_, bits)| *bits)?;
        Some((slot, Word::of(oldest)?))
    }

    pub(super) fn words(&self) -> impl Iterator<Item = (usize, Word)> + '_ {
        self.bits().enumerate().filter_map(|(slot, bits)| Some((slot, Word::of(bits)?)))
    }

    fn bits(&self) -> impl Iterator<Item = u64> + '_ {
        // Pairs with `publish`, and with the exchanges of `take` and `take_back_oldest`.
        self.slots.iter().map(|cell| cell.load(Ordering::Acquire))
    }
}

fn is_queued(bits: u64) -> bool {
    bits & Word::STATE == State::Queued as u64
}
