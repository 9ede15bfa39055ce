//! The counters and the state of an actor.
#![allow(unsafe_code)] // One marker: `Shared` for the structure below.

use std::sync::atomic::Ordering;

use camrig_frame::{MAX_FRAMES, Stream};
use serde::{Deserialize, Serialize};

#[cfg(not(shuttle))]
use crate::mapped::Shared;
use crate::sync::{AtomicU32, AtomicU64, Mapped};

/// Reason for the loss of a frameset before its camera actor received it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LostReason {
    /// The device or its library lost it: a gap in its numbers without another explanation.
    Device,
    /// The driver's queue was full: the camera actor was late.
    QueueFull,
    /// A required partner frame is missing, such as the color frame to align to.
    NoPartner,
    /// It was a duplicate: number and time were those of the previous one.
    Repeated,
    /// The driver could not make it from its source, such as a damaged part of a recording.
    Unreadable,
    /// It did not arrive at another host.
    Wire,
}

impl LostReason {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::Device, Self::QueueFull, Self::NoPartner, Self::Repeated, Self::Unreadable, Self::Wire];

    /// Returns the reason's name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::QueueFull => "queue-full",
            Self::NoPartner => "no-partner",
            Self::Repeated => "repeated",
            Self::Unreadable => "unreadable",
            Self::Wire => "wire",
        }
    }
}

/// The layout of [`ActorCounters`], as PROTOCOL.md describes it.
#[repr(C, align(64))]
#[cfg_attr(shuttle, derive(Default))]
pub struct ActorCells {
    produced: AtomicU64,
    lost: [AtomicU64; LostReason::ALL.len()],
    /// Start time of the current call in nanoseconds; 0 if there is none.
    called_at_nanos: AtomicU64,
    /// 1 while the actor waits for its readers.
    blocked: AtomicU32,
    generations: AtomicU32,
    state: AtomicU32,
    restarts: AtomicU32,
    copied: AtomicU64,
    /// Streams of the current instance that have not delivered a frame yet.
    awaited: AtomicU32,
    /// The number of declared streams.
    streams_count: AtomicU32,
    streams: [StreamCells; MAX_FRAMES],
}

/// The counts of one stream.
#[repr(C)]
#[cfg_attr(shuttle, derive(Default))]
struct StreamCells {
    /// The name, 8 bytes in each number, filled up with zeros.
    name: [AtomicU64; NAME_WORDS],
    frames: AtomicU64,
    /// When the last frame arrived, on the monotonic clock; 0 before the first of the current instance.
    last_nanos: AtomicU64,
    silences: AtomicU64,
}

/// Number of 64-bit numbers in the name of a stream.
const NAME_WORDS: usize = 4;

/// The counts of a camera's stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamCounts {
    /// Its name.
    pub stream: Stream,
    /// Frames, or samples of motion, of all instances.
    pub frames: u64,
    /// When the last frame arrived, in nanoseconds of the monotonic clock; `None` before the first one of the current
    /// instance.
    pub last_nanos: Option<u64>,
    /// Number of times that it was silent while other streams continued.
    pub silences: u64,
}

// SAFETY: every field is an atomic or padding; aligned to 64.
#[cfg(not(shuttle))]
unsafe impl Shared for ActorCells {
    const NAME: &'static str = "an actor's counters";
    const MAGIC: [u8; 8] = *b"camrigAC";
    const VERSION: u32 = 3;
}

/// State of an actor, in shared memory, so that its supervisor can read it, and the counts survive the process.
///
/// Each word is read alone, so its ordering is `Relaxed` and has no pair, except `streams_count`.
pub type ActorCounters = Mapped<ActorCells>;

impl ActorCounters {
    /// Counts a frameset. Must be called before any link counts it.
    pub fn count_produced(&self) {
        // No pair: `LinkState::settle` compares it with the count of a link only after the end of this process.
        self.produced.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts framesets that were lost before the actor received them.
    pub fn count_lost(&self, reason: LostReason, framesets: u64) {
        self.lost[reason as usize].fetch_add(framesets, Ordering::Relaxed);
    }

    /// Counts a frameset that was copied into a slot because a reader needs it there.
    pub fn count_copied(&self) {
        self.copied.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the framesets that were copied into a slot, in all instances of the actor.
    pub fn copied(&self) -> u64 {
        self.copied.load(Ordering::Relaxed)
    }

    /// Returns the number of framesets produced by all instances of the actor.
    pub fn produced(&self) -> u64 {
        self.produced.load(Ordering::Relaxed)
    }

    /// Returns the number of framesets lost before the actor received them.
    pub fn lost(&self) -> u64 {
        self.lost_by_reason().iter().sum()
    }

    /// Like [`Self::lost`], in the order of [`LostReason::ALL`].
    pub fn lost_by_reason(&self) -> [u64; LostReason::ALL.len()] {
        LostReason::ALL.map(|reason| self.lost[reason as usize].load(Ordering::Relaxed))
    }

    /// Declares the streams of a new instance; streams with the same name and place keep their counts. With `awaited`, all
    /// of them are expected to deliver frames.
    pub fn declare_streams(&self, streams: impl Iterator<Item = Stream>, awaited: bool) {
        let mut count = 0;
        for (cells, stream) in self.streams.iter().zip(streams) {
            count += 1;
            let name = name_words(stream);
            if cells.name() != name {
                cells.frames.store(0, Ordering::Relaxed);
                cells.silences.store(0, Ordering::Relaxed);
            }
            cells.name.iter().zip(name).for_each(|(cell, word)| cell.store(word, Ordering::Relaxed));
            cells.last_nanos.store(0, Ordering::Relaxed);
        }
        // Pairs with `streams`: the names were written before.
        self.streams_count.store(count, Ordering::Release);
        self.awaited.store(if awaited { count } else { 0 }, Ordering::Relaxed);
    }

    /// Counts frames of the declared stream at `index`, the last of which arrived at `nanos`.
    pub fn count_frames(&self, index: usize, frames: u64, nanos: u64) {
        let Some(cells) = self.streams.get(index) else { return };
        cells.frames.fetch_add(frames, Ordering::Relaxed);
        if cells.last_nanos.swap(nanos.max(1), Ordering::Relaxed) == 0 {
            let awaited = &self.awaited;
            let _ = awaited.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
        }
    }

    /// Counts that the declared stream at `index` was silent while others continued.
    pub fn count_silence(&self, index: usize) {
        if let Some(cells) = self.streams.get(index) {
            cells.silences.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns whether a declared stream of the current instance has not delivered a frame yet.
    pub fn awaits_streams(&self) -> bool {
        self.awaited.load(Ordering::Relaxed) > 0
    }

    /// Returns the counts of the declared streams.
    pub fn streams(&self) -> Vec<StreamCounts> {
        // Pairs with `declare_streams`.
        let count = self.streams_count.load(Ordering::Acquire) as usize;
        let counts = |cells: &StreamCells| {
            Some(StreamCounts {
                stream: stream_of(cells.name())?,
                frames: cells.frames.load(Ordering::Relaxed),
                last_nanos: Some(cells.last_nanos.load(Ordering::Relaxed)).filter(|&nanos| nanos > 0),
                silences: cells.silences.load(Ordering::Relaxed),
            })
        };
        self.streams.iter().take(count).filter_map(counts).collect()
    }

    /// Returns a number that none of the actor's pools has used, in any of its instances (for the first 65536).
    pub fn next_generation(&self) -> u16 {
        self.generations.fetch_add(1, Ordering::Relaxed) as u16
    }

    /// Sets the start time of the current call with a frameset, or `None` after it has returned.
    pub fn set_called_at(&self, now_nanos: Option<u64>) {
        self.called_at_nanos.store(now_nanos.unwrap_or(0), Ordering::Relaxed);
    }

    /// Returns the start time of the current call; `None` if there is none.
    pub fn called_at_nanos(&self) -> Option<u64> {
        Some(self.called_at_nanos.load(Ordering::Relaxed)).filter(|&nanos| nanos != 0)
    }

    /// Sets whether the actor waits for its readers, or for a known time, which excuses its inactivity.
    pub fn set_blocked(&self, blocked: bool) {
        self.blocked.store(blocked.into(), Ordering::Relaxed);
    }

    /// Returns whether the actor waits for its readers, or for a known time.
    pub fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed) != 0
    }

    /// Sets the supervisor's state of the actor, by its number in PROTOCOL.md: for workers, which may show it.
    pub fn set_state(&self, state: u32) {
        self.state.store(state, Ordering::Relaxed);
    }

    /// Counts a restart of the actor.
    pub fn count_restart(&self) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the number of restarts of the actor.
    pub fn restarts(&self) -> u32 {
        self.restarts.load(Ordering::Relaxed)
    }
}

impl StreamCells {
    fn name(&self) -> [u64; NAME_WORDS] {
        std::array::from_fn(|word| self.name[word].load(Ordering::Relaxed))
    }
}

fn name_words(stream: Stream) -> [u64; NAME_WORDS] {
    let name = stream.name().as_bytes();
    std::array::from_fn(|word| {
        let bytes = name.iter().skip(8 * word).take(8);
        bytes.enumerate().fold(0, |number, (at, &byte)| number | u64::from(byte) << (8 * at))
    })
}

/// Returns the stream with this name; `None` while the other end is writing it, or if the memory is invalid.
fn stream_of(words: [u64; NAME_WORDS]) -> Option<Stream> {
    let bytes = words.map(u64::to_le_bytes);
    let name = bytes.as_flattened().iter().copied().take_while(|&byte| byte != 0).collect();
    Stream::new(&String::from_utf8(name).ok()?).ok()
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn streams_keep_their_counts_over_instances() {
        let counters = ActorCounters::new().unwrap();
        assert_eq!((counters.streams(), counters.awaits_streams()), (Vec::new(), false));
        let long = Stream::new("abcdefghijklmnopqrstuvwxyz-12345").unwrap();
        counters.declare_streams([Stream::COLOR, long].into_iter(), true);
        counters.count_frames(0, 1, 70);
        counters.count_frames(0, 1, 90);
        assert!(counters.awaits_streams());
        counters.count_frames(1, 5, 80);
        counters.count_silence(1);
        counters.count_frames(99, 1, 1);
        assert!(!counters.awaits_streams());
        let counts =
            |stream, frames, last_nanos, silences| StreamCounts { stream, frames, last_nanos, silences };
        assert_eq!(counters.streams(), [counts(Stream::COLOR, 2, Some(90), 0), counts(long, 5, Some(80), 1)],);
        counters.declare_streams([Stream::DEPTH, long].into_iter(), false);
        assert!(!counters.awaits_streams());
        assert_eq!(counters.streams(), [counts(Stream::DEPTH, 0, None, 0), counts(long, 5, None, 1)]);
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        use std::mem::offset_of;
        crate::protocol::assert_documented(&[
            (offset_of!(ActorCells, produced), "produced: u64"),
            (offset_of!(ActorCells, lost), "lost: [u64]"),
            (offset_of!(ActorCells, called_at_nanos), "called_at_nanos: u64"),
            (offset_of!(ActorCells, blocked), "blocked: u32"),
            (offset_of!(ActorCells, generations), "generations: u32"),
            (offset_of!(ActorCells, state), "state: u32"),
            (offset_of!(ActorCells, restarts), "restarts: u32"),
            (offset_of!(ActorCells, copied), "copied: u64"),
            (offset_of!(ActorCells, awaited), "awaited: u32"),
            (offset_of!(ActorCells, streams_count), "streams_count: u32"),
            (offset_of!(ActorCells, streams), "streams: [stream]"),
        ]);
    }
}
