//! State of a link's reader: present, absent until it is back, or ended.

use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::LinkState;

/// The reader will never take another frameset.
const ENDED: u32 = 1;
/// The reader takes nothing until it is back.
const AWAY: u32 = 2;
/// Mask of both.
const STATE: u32 = 3;

/// One absence of a reader, distinguished from all others, so that only its own owner can end it.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Absence(u32);

impl LinkState {
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
            // Fails if another absence has begun. Pairs with `reader_gone`.
            let _ =
                self.reader.gone.compare_exchange(away, away & !STATE, Ordering::SeqCst, Ordering::SeqCst);
        }
    }

    fn change_presence(&self, change: impl Fn(u32) -> u32) -> u32 {
        let gone = &self.reader.gone;
        // Pairs with `reader_gone`: written before the caller reads the slots to take back queued framesets.
        let mut before = gone.load(Ordering::SeqCst);
        loop {
            let after = change(before);
            match gone.compare_exchange_weak(before, after, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return after,
                Err(now) => before = now,
            }
        }
    }

    /// Returns whether the reader is absent or has ended.
    pub fn reader_gone(&self) -> bool {
        // After `publish`; pairs with `change_presence`.
        self.reader.gone.load(Ordering::SeqCst) & STATE != 0
    }

    /// Returns whether the reader has ended.
    pub fn reader_ended(&self) -> bool {
        // As in `reader_gone`.
        self.reader.gone.load(Ordering::SeqCst) & STATE == ENDED
    }
}
