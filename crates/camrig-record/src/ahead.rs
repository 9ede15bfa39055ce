//! Iterates over framesets of a recording, which threads read and decode before they are requested.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::available_parallelism;

use camrig::spawn_thread;

use crate::opened::{OpenRecording, RecordedFrameSet, Requested};
use crate::read::ReadError;
use crate::sequence::Sequence;

/// Maximum number of threads that read for one iterator.
const MAX_THREADS: usize = 4;

/// Maximum number of framesets that are read before they are requested.
const MAX_AHEAD: usize = 4;

/// Size of the waiting framesets at which no more are read, in bytes.
const MAX_WAITING_BYTES: u64 = 64 << 20;

type Read = Result<RecordedFrameSet, ReadError>;

/// Iterates over framesets of an open recording. From the second one on, threads read the next framesets, and decode those of
/// their frames that were requested of earlier framesets of the same camera. A thread that waits for a frameset reads as well.
pub struct ReadAhead {
    shared: Arc<Shared>,
    is_started: bool,
}

struct Shared {
    recording: Arc<OpenRecording>,
    sequence: Sequence,
    /// By the index of the camera.
    requested: Vec<Arc<Requested>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Number of framesets that the iterator has returned.
    taken: usize,
    /// Number of framesets that are read or being read.
    begun: usize,
    ready: BTreeMap<usize, Read>,
    waiting_bytes: u64,
    has_ended: bool,
}

impl ReadAhead {
    /// Iterates over a sequence of framesets.
    pub fn new(recording: Arc<OpenRecording>, sequence: Sequence) -> Self {
        let requested = recording.cameras().iter().map(|_| Arc::default()).collect();
        let (state, changed) = (Mutex::default(), Condvar::new());
        Self {
            shared: Arc::new(Shared { recording, sequence, requested, state, changed }),
            is_started: false,
        }
    }

    /// Starts the threads, one less than there are processors: the iterator itself uses that one.
    fn start(&mut self) {
        self.is_started = true;
        let others = available_parallelism().map_or(1, usize::from) - 1;
        for _ in 0..others.clamp(1, MAX_THREADS).min(self.shared.sequence.count()) {
            let shared = Arc::clone(&self.shared);
            if let Err(error) = spawn_thread("read-ahead", move || shared.read_ahead()) {
                log::debug!("framesets are not read ahead: {error}");
            }
        }
    }
}

impl Iterator for ReadAhead {
    type Item = Read;

    fn next(&mut self) -> Option<Read> {
        if !self.is_started && self.shared.state().taken == 1 {
            self.start();
        }
        self.shared.take()
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        self.shared.state().has_ended = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the next frameset. While other threads read it, this thread reads a later one.
    fn take(&self) -> Option<Read> {
        let mut state = self.state();
        let position = state.taken;
        if position == self.sequence.count() {
            return None;
        }
        state.taken += 1;
        let read = loop {
            if let Some(read) = state.ready.remove(&position) {
                state.waiting_bytes -= size_bytes(&read);
                break read;
            }
            let Some(begun) = self.begin(&mut state) else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            let read = self.read(begun);
            state = self.state();
            if begun == position {
                break read;
            }
            state.add(begun, read);
        };
        drop(state);
        self.changed.notify_all();
        Some(read)
    }

    /// Reads the next framesets until the iterator ends.
    fn read_ahead(&self) {
        let mut state = self.state();
        while !state.has_ended && state.begun < self.sequence.count() {
            let Some(begun) = self.begin(&mut state) else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            let read = self.read(begun);
            state = self.state();
            state.add(begun, read);
            self.changed.notify_all();
        }
    }

    /// Returns the position of another frameset that is to be read now; `None` if enough are, and behind the last one.
    fn begin(&self, state: &mut State) -> Option<usize> {
        let is_wanted = state.begun < state.taken
            || state.begun < state.taken + MAX_AHEAD && state.waiting_bytes < MAX_WAITING_BYTES;
        (is_wanted && state.begun < self.sequence.count()).then(|| {
            state.begun += 1;
            state.begun - 1
        })
    }

    fn read(&self, position: usize) -> Read {
        // The iterator waits for a result of every frameset that was begun.
        let read = catch_unwind(AssertUnwindSafe(|| {
            let mut frames = self.recording.read(self.recording.number(&self.sequence, position)?)?;
            frames.prepare(&self.requested[frames.camera()]);
            Ok(frames)
        }));
        read.unwrap_or_else(|_| {
            Err(self.recording.failed(format_args!("reading frameset {position} panicked")))
        })
    }
}

impl State {
    fn add(&mut self, position: usize, read: Read) {
        self.waiting_bytes += size_bytes(&read);
        self.ready.insert(position, read);
    }
}

fn size_bytes(read: &Read) -> u64 {
    read.as_ref().map_or(0, RecordedFrameSet::size_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::Compression;
    use crate::record::testing::{TestFolder, write};

    const FRAMESETS: u64 = 30;

    fn open(folder: &TestFolder) -> Arc<OpenRecording> {
        let path = folder.path().join("rig.mcap");
        write(&path, &["front", "rear"], FRAMESETS, Compression::Zstd, &[]);
        Arc::new(OpenRecording::open(&path).unwrap())
    }

    fn all(recording: &Arc<OpenRecording>) -> ReadAhead {
        ReadAhead::new(Arc::clone(recording), recording.sequence())
    }

    #[test]
    fn framesets_come_in_their_order_and_equal_those_that_are_read_alone() {
        let folder = TestFolder::new("ahead");
        let recording = open(&folder);
        let mut count = 0;
        for (number, read) in all(&recording).enumerate() {
            let (read, alone) = (read.unwrap(), recording.read(number).unwrap());
            assert_eq!((read.header(), &read.info().name), (alone.header(), &alone.info().name));
            for index in 0..read.header().frames.len() {
                assert_eq!(read.decode(index).unwrap(), alone.decode(index).unwrap());
            }
            count += 1;
        }
        assert_eq!(count, 2 * FRAMESETS);
        let some = recording.sequence().slice(58, -17, 4);
        let read = ReadAhead::new(Arc::clone(&recording), some);
        let expected = [58, 41, 24, 7].map(|number| recording.place(number).unwrap().arrived_nanos);
        assert_eq!(read.map(|read| read.unwrap().arrived_nanos()).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_bounded_number_is_read_ahead_and_requested_frames_are_decoded() {
        let folder = TestFolder::new("ahead-bound");
        let recording = open(&folder);
        let mut read = all(&recording);
        let shared = Arc::clone(&read.shared);
        let first = read.next().unwrap().unwrap();
        assert_eq!(shared.state().begun, 1, "one frameset alone starts no thread");
        first.decode(1).unwrap();
        read.next().unwrap().unwrap();
        let mut state = shared.state();
        while state.ready.len() < MAX_AHEAD {
            state = shared.changed.wait(state).unwrap();
        }
        assert_eq!((state.taken, state.begun), (2, 2 + MAX_AHEAD));
        // The frame at 1 of the camera `front` was requested, whose framesets have even positions.
        for (position, frames) in &state.ready {
            let frames = frames.as_ref().unwrap();
            let decoded: Vec<_> = (0..2).map(|index| frames.is_decoded(index)).collect();
            assert_eq!(decoded, [false, position % 2 == 0], "{position}");
        }
        let bytes: u64 = state.ready.values().map(size_bytes).sum();
        assert_eq!(state.waiting_bytes, bytes);
        drop(state);
        drop(read);
        // The threads end with their iterator, and drop their shared state.
        while Arc::strong_count(&shared) > 1 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_damaged_frameset_is_an_error_in_its_turn() {
        let folder = TestFolder::new("ahead-damage");
        drop(open(&folder));
        let path = folder.path().join("rig.mcap");
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        std::fs::write(&path, bytes).unwrap();
        let recording = Arc::new(OpenRecording::open(&path).unwrap());
        let read: Vec<_> = all(&recording).collect();
        assert_eq!(read.len() as u64, 2 * FRAMESETS);
        let damaged: Vec<_> =
            (0..).zip(&read).filter_map(|(at, read)| Some((at, read.as_ref().err()?))).collect();
        let [(at, error)] = damaged[..] else { panic!("{damaged:?}") };
        assert_eq!(error.to_string(), recording.read(at).err().unwrap().to_string());
    }
}
