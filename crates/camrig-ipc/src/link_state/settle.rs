//! Steps of the ends, and the correction of a link state after an end died within one.

use std::sync::atomic::Ordering;

use super::LinkState;
use super::overflow::DropReason;
use super::word::State;
use crate::sync::AtomicU32;

/// Marks that one end is between changing a count and a word, so that they need not agree.
///
/// A step of an end that dies stays unfinished; [`LinkState::settle`] corrects it.
pub struct Step<'a>(&'a AtomicU32);

impl<'a> Step<'a> {
    fn begin(step: &'a AtomicU32) -> Self {
        // No pair of its own: the counts and words of the step, which come after, are released, and `settle` acquires them.
        step.fetch_add(1, Ordering::Relaxed);
        Self(step)
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        // Pairs with the first load in `settle`: the counts and words of the step came before.
        self.0.fetch_add(1, Ordering::Release);
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

impl LinkState {
    /// Begins the producer's step of a frameset, from its count to its word.
    pub fn producer_step(&self) -> Step<'_> {
        Step::begin(&self.step)
    }

    /// Begins the reader's step of a frameset, from its word to its count.
    pub fn reader_step(&self) -> Step<'_> {
        Step::begin(&self.reader.step)
    }

    /// Reconciles slot states and counters of dead endpoints. A dead reader's slots are freed, and its queued
    /// framesets are dropped; a dead producer's queued framesets are still delivered; framesets between a count and a
    /// word in a dead process are dropped. `produced` is the count of the producer's
    /// [`ActorCounters`](crate::ActorCounters).
    ///
    /// Returns false if the surviving end is in the middle of a step: then nothing was settled, and the caller has to try
    /// again. Only for dead ends: a running reader would continue to read. A dead reader has to be marked as absent or ended.
    pub fn settle(&self, deaths: Deaths, produced: u64) -> bool {
        let cells = self;
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
        // Pairs with the end of a `Step`.
        let step = living.map(|step| step.load(Ordering::Acquire));
        if step.is_some_and(|step| step % 2 != 0) {
            return false;
        }
        let in_flight = self.counts().in_flight.saturating_sub(self.queued() as u64);
        // No pair of its own: if a count or word is of a later `Step`, it was acquired after the begin of that.
        if living.map(|step| step.load(Ordering::Relaxed)) != step {
            return false;
        }
        // Framesets that the producer had counted for itself, but not yet for this link.
        // No pair: see `join`.
        let joined = cells.joined.load(Ordering::Relaxed);
        let due = produced.saturating_sub(joined);
        let missing = if producer { due.saturating_sub(self.counts().produced) } else { 0 };
        // As `count_produced` and then `count_dropped`, which pairs with `counts`. Nobody settles at the same time.
        cells.produced.fetch_add(missing, Ordering::Relaxed);
        cells.dropped[DropReason::ProcessDied as usize]
            .fetch_add(in_flight.saturating_add(missing), Ordering::Release);
        // Interrupted steps are finished. Their ends have died, and the next instance starts after this: no pair.
        if producer {
            cells.step.store(0, Ordering::Relaxed);
        }
        if reader {
            cells.reader.step.store(0, Ordering::Relaxed);
        }
        true
    }
}
