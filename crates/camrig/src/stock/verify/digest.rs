//! A digest of framesets.

use crate::frameset::FrameSet;

/// A digest of everything that is the same in every placement: all except the arrival time.
///
/// FNV-1a over words of 8 bytes, with a rotation because multiplication does not propagate bits downwards. It detects
/// accidental differences, not deliberate ones.
pub(super) struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// Returns the digest of all framesets that were added.
    pub(super) const fn value(&self) -> u64 {
        self.0
    }

    /// Adds a frameset.
    pub(super) fn frameset(&mut self, frames: &FrameSet) {
        let header = frames.header();
        self.word(header.sequence);
        self.word(header.frames.len() as u64);
        for frame in frames.frames() {
            let header = frame.header();
            self.bytes(header.stream.name().as_bytes());
            self.bytes(header.role.name().as_bytes());
            self.bytes(header.payload.to_string().as_bytes());
            self.word(header.number);
            self.word(header.timestamp.clock as u64);
            self.word(header.timestamp.nanos);
            self.word(header.metadata.iter().count() as u64);
            for (key, value) in header.metadata.iter() {
                self.word(key.number() as u64);
                self.word(value as u64);
            }
            // Row by row, to exclude the padding.
            frame.rows().for_each(|row| self.bytes(row));
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for &word in words {
            self.word(u64::from_le_bytes(word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(last));
    }

    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }
}
