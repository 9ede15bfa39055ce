//! The work itself, the same for every candidate: where pixels come from, how they are read, and when.
//!
//! It deliberately knows no transport.

use std::hint::black_box;
use std::time::Duration;

use camrig::monotonic_nanos;

use crate::load::{Load, Size};

/// Buffers in the ring of a camera's library, which the driver copies from.
const RING: usize = 4;

/// What travels with a frameset in candidates that have no header of their own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stamped {
    pub(crate) camera: usize,
    /// 0, 1, 2, ... for every frameset that the camera made, lost ones included.
    pub(crate) sequence: u64,
    /// When the camera's library had the frameset: before any copy.
    pub(crate) begun_nanos: u64,
    /// When the frameset was handed over: after the copy, just before the transport was called.
    pub(crate) handed_nanos: u64,
}

impl Stamped {
    pub(crate) fn to_words(self) -> [u64; 4] {
        [self.camera as u64, self.sequence, self.begun_nanos, self.handed_nanos]
    }

    pub(crate) fn of_words([camera, sequence, begun_nanos, handed_nanos]: [u64; 4]) -> Self {
        Self { camera: camera as usize, sequence, begun_nanos, handed_nanos }
    }
}

/// The buffers of a camera's library: a ring of framesets that differ, all pages present.
pub(crate) struct Source {
    buffers: Vec<Vec<u8>>,
}

impl Source {
    pub(crate) fn new(size: Size, camera: usize) -> Self {
        let buffer = |index: usize| {
            let mut bytes = vec![0; size.frameset_bytes()];
            generate(&mut bytes, (camera * RING + index) as u64);
            bytes
        };
        Self { buffers: (0..RING).map(buffer).collect() }
    }

    /// The frameset with this sequence number.
    pub(crate) fn frameset(&self, sequence: u64) -> &[u8] {
        &self.buffers[sequence as usize % RING]
    }

    /// The bytes of the whole ring: the driver's own data.
    pub(crate) fn bytes(size: Size) -> usize {
        RING * size.frameset_bytes()
    }
}

/// Generates frames in place: one memset, so each byte is written once and nothing is read. It is the least
/// that a driver can do which writes into the slot itself; one that decodes or renders does more, before it
/// writes.
#[inline(never)]
pub(crate) fn generate(bytes: &mut [u8], seed: u64) {
    bytes.fill(seed as u8);
    black_box(bytes);
}

/// The reader: every byte of a frame, by eight. The same function in every candidate.
#[inline(never)]
pub(crate) fn read(bytes: &[u8]) {
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(0_u64, |sum, word| sum.wrapping_add(u64::from_ne_bytes(*word)));
    black_box(rest.iter().fold(sum, |sum, &byte| sum.wrapping_add(byte.into())));
}

/// Copies a frameset. The same function wherever a candidate leaves the copy to us.
#[inline(never)]
pub(crate) fn copy(from: &[u8], to: &mut [u8]) {
    to.copy_from_slice(from);
    black_box(to);
}

/// When a camera has its next frameset.
pub(crate) struct Pacer {
    period: Option<Duration>,
    next_nanos: Option<u64>,
    phase_nanos: u64,
}

impl Pacer {
    pub(crate) fn new(load: Load, camera: usize) -> Self {
        let period = load.period();
        let phase = period.map_or(Duration::ZERO, |period| period * camera as u32 / load.cameras as u32);
        Self { period, next_nanos: None, phase_nanos: phase.as_nanos() as u64 }
    }

    /// Sleeps until the camera has its next frameset. The first is there at once; the others follow the
    /// host's clock, in all processes alike, each camera at its own phase.
    pub(crate) fn wait(&mut self) {
        let Some(period) = self.period else { return };
        let period_nanos = period.as_nanos() as u64;
        let now = monotonic_nanos();
        let Some(next) = self.next_nanos else {
            self.next_nanos = Some((now / period_nanos + 1) * period_nanos + self.phase_nanos);
            return;
        };
        if next > now {
            std::thread::sleep(Duration::from_nanos(next - now));
        }
        self.next_nanos = Some(next + period_nanos);
    }
}
