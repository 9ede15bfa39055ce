//! The work that is the same for every candidate: generating, copying and reading pixels, at a camera's pace.
//!
//! It does not depend on any transport.

use std::hint::black_box;
use std::time::Duration;

use camrig::monotonic_nanos;

use crate::load::{Load, Size};

/// Number of buffers in a camera's library, from which the driver copies.
const RING: usize = 4;

/// The header of a frameset in candidates that have no header of their own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stamped {
    pub(crate) camera: usize,
    /// 0, 1, 2, ... for every frameset of the camera, including lost ones.
    pub(crate) sequence: u64,
    /// When the camera's library had the frameset, before any copy.
    pub(crate) begun_nanos: u64,
    /// When the frameset was passed to the transport, after the copy.
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

/// The buffers of a camera's library: a ring of different framesets, all pages present.
pub(crate) struct FrameRing {
    buffers: Vec<Vec<u8>>,
}

impl FrameRing {
    pub(crate) fn new(size: Size, camera: usize) -> Self {
        let buffer = |index: usize| {
            let mut bytes = vec![0; size.frameset_bytes()];
            generate(&mut bytes, (camera * RING + index) as u64);
            bytes
        };
        Self { buffers: (0..RING).map(buffer).collect() }
    }

    /// Returns the frameset with this sequence number.
    pub(crate) fn frameset(&self, sequence: u64) -> &[u8] {
        &self.buffers[sequence as usize % RING]
    }

    /// Returns the size of the whole ring, which is the driver's own data.
    pub(crate) fn bytes(size: Size) -> usize {
        RING * size.frameset_bytes()
    }
}

/// Generates a frame in place with one memset: each byte is written once and nothing is read. This is the minimum for a
/// driver that writes into the slot itself; one that decodes or renders does more before it writes.
#[inline(never)]
pub(crate) fn generate(bytes: &mut [u8], seed: u64) {
    bytes.fill(seed as u8);
    black_box(bytes);
}

/// Reads every byte of a frame, eight at a time. All candidates use this function.
#[inline(never)]
pub(crate) fn read(bytes: &[u8]) {
    let (words, rest) = bytes.as_chunks::<8>();
    let sum = words.iter().fold(0_u64, |sum, word| sum.wrapping_add(u64::from_ne_bytes(*word)));
    black_box(rest.iter().fold(sum, |sum, &byte| sum.wrapping_add(byte.into())));
}

/// Copies a frameset. All candidates that leave the copy to the driver use this function.
#[inline(never)]
pub(crate) fn copy(from: &[u8], to: &mut [u8]) {
    to.copy_from_slice(from);
    black_box(to);
}

/// The schedule of a camera's framesets.
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

    /// Sleeps until the camera's next frameset is due. The first is due immediately; the others follow the host's clock, the
    /// same in all processes, each camera with its own phase.
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
