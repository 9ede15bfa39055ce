//! The word of a slot: its state, its pool's generation, and its frameset's number.

/// A taken slot, which is the reader's until it releases it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TakenSlot {
    pub(crate) slot: usize,
    pub(crate) generation: u16,
    pub(crate) sequence: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Queued = 1,
    Reading = 2,
}

/// A slot's word: 2 bits of state, 16 of generation, 46 of sequence, by which its producer counts its framesets. All zero is a
/// free slot. 46 bits count framesets for two thousand years at 1000 Hz. The sequence is highest, so that words of one state are
/// ordered by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) state: State,
    pub(super) generation: u16,
    pub(super) sequence: u64,
}

impl Word {
    /// Mask of the state.
    pub(super) const STATE: u64 = 3;

    /// Parses a word; `None` for a free slot, and for an invalid state.
    pub(super) fn of(bits: u64) -> Option<Self> {
        let state = match bits & Self::STATE {
            1 => State::Queued,
            2 => State::Reading,
            _ => return None,
        };
        Some(Self { state, generation: (bits >> 2) as u16, sequence: bits >> 18 })
    }

    pub(super) fn bits(self) -> u64 {
        self.sequence << 18 | u64::from(self.generation) << 2 | self.state as u64
    }
}
