//! State of a link's reader: present, absent until it is back, or ended.
//!
//! There are two kinds of absence, which can overlap: the reader's own, in which it has no instance, and that of a process
//! that has died, which lasts until the producer has announced everything to the next one.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::LinkState;

/// The reader will never take another frameset.
const ENDED: u32 = 1;
/// The reader's process died, and the producer has announced nothing to the next one.
const UNLINKED: u32 = 2;
/// The reader has no instance.
const PAUSED: u32 = 4;
/// Mask of all.
const STATE: u32 = 7;
/// The lowest bit of the number of processes that have died.
const DEATH: u32 = 8;

/// The absence of a reader after the death of its process, distinguished from those after other deaths.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Absence(u32);

impl LinkState {
    /// Marks that the reader will take nothing more.
    pub fn set_reader_ended(&self) {
        self.change_presence(|presence| presence | ENDED);
        self.note_progress();
    }

    /// Marks the reader as absent because its process died: framesets are dropped until [its end](Self::set_reader_back). A
    /// reader that has ended stays ended.
    pub fn set_reader_away(&self) -> Absence {
        // The next process begins with an instance.
        let presence = self.change_presence(|presence| (presence & !PAUSED | UNLINKED).wrapping_add(DEATH));
        self.note_progress();
        Absence(presence & !STATE)
    }

    /// Ends the absence of a reader whose process died, unless another one has died since.
    pub fn set_reader_back(&self, Absence(deaths): Absence) {
        self.change_presence(
            |presence| {
                if presence & !STATE == deaths { presence & !UNLINKED } else { presence }
            },
        );
    }

    /// Marks whether the reader has no instance, so that framesets are dropped until it has one.
    pub fn set_reader_paused(&self, paused: bool) {
        self.change_presence(|presence| if paused { presence | PAUSED } else { presence & !PAUSED });
        self.note_progress();
    }

    fn change_presence(&self, change: impl Fn(u32) -> u32) -> u32 {
        let gone = &self.reader.gone;
        // Passes nothing. The callers that make the reader absent note progress, whose fence pairs with that of `publish`.
        let mut before = gone.load(Ordering::Relaxed);
        loop {
            let after = change(before);
            match gone.compare_exchange_weak(before, after, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return after,
                Err(now) => before = now,
            }
        }
    }

    /// Returns whether the reader is absent or has ended.
    pub fn reader_gone(&self) -> bool {
        // After the fence of `publish`, or of `begin_wait`.
        self.reader.gone.load(Ordering::Relaxed) & STATE != 0
    }

    /// Returns whether the reader has ended.
    pub fn reader_ended(&self) -> bool {
        // As in `reader_gone`.
        self.reader.gone.load(Ordering::Relaxed) & ENDED != 0
    }
}
