//! What waits for the disk: a queue that is bounded by bytes.
//!
//! A recorder puts framesets in without ever waiting; its writer takes them out. Buffers go round, so that a
//! recording that runs allocates nothing large. It deliberately knows no file and no frameset.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most buffers that wait to be used again: those of two framesets.
const FREE_BUFFERS: usize = 8;

/// What waits, and how much memory it takes.
pub(crate) trait Item {
    fn size_bytes(&self) -> usize;
    /// The buffers that can be used again.
    fn into_buffers(self) -> impl Iterator<Item = Vec<u8>>;
}

/// The queue between a recorder and its writer.
pub(crate) struct Memory<T> {
    limit_bytes: usize,
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    queue: VecDeque<T>,
    /// Of what waits or is being written.
    used_bytes: usize,
    free: Vec<Vec<u8>>,
    closed: bool,
    /// Why the writer gave up.
    failure: Option<String>,
}

impl<T: Item> Memory<T> {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        let state =
            State { queue: VecDeque::new(), used_bytes: 0, free: Vec::new(), closed: false, failure: None };
        Self { limit_bytes, state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(crate) fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Whether there is room for so many bytes more.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.lock().used_bytes + bytes <= self.limit_bytes
    }

    /// An empty buffer, used before if there is one.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        self.lock().free.pop().unwrap_or_default()
    }

    /// Puts something in that [has room](Self::has_room). When the writer gave up, it is gone.
    pub(crate) fn push(&self, item: T) {
        let mut state = self.lock();
        if state.failure.is_some() {
            return;
        }
        state.used_bytes += item.size_bytes();
        state.queue.push_back(item);
        self.changed.notify_all();
    }

    /// Takes the oldest, waiting for it; none when there will be no more.
    pub(crate) fn pop(&self) -> Option<T> {
        let waits = |state: &mut State<T>| state.queue.is_empty() && !state.closed;
        let state = self.changed.wait_while(self.lock(), waits);
        state.unwrap_or_else(PoisonError::into_inner).queue.pop_front()
    }

    /// What was taken is done with.
    pub(crate) fn recycle(&self, item: T) {
        let mut state = self.lock();
        state.used_bytes -= item.size_bytes();
        for mut buffer in item.into_buffers() {
            if state.free.len() < FREE_BUFFERS {
                buffer.clear();
                state.free.push(buffer);
            }
        }
        self.changed.notify_all();
    }

    /// The writer gives up: nothing waits any more.
    pub(crate) fn fail(&self, message: String) {
        let mut state = self.lock();
        state.failure = Some(message);
        state.queue.clear();
        state.closed = true;
        self.changed.notify_all();
    }

    /// Why the writer gave up, if it did.
    pub(crate) fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    /// Puts nothing in any more, and waits until the rest is taken, at most `patience`. What is still there
    /// then is thrown away: how many.
    pub(crate) fn close(&self, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        state.closed = true;
        self.changed.notify_all();
        while !state.queue.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let left = state.queue.len();
        state.queue.clear();
        left
    }

    /// Waits until there is room for so many bytes more. A recorder never does.
    #[cfg(test)]
    pub(super) fn wait_for_room(&self, bytes: usize) {
        let full =
            |state: &mut State<T>| state.used_bytes + bytes > self.limit_bytes && state.failure.is_none();
        drop(self.changed.wait_while(self.lock(), full));
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytes(Vec<u8>);

    impl Item for Bytes {
        fn size_bytes(&self) -> usize {
            self.0.capacity()
        }

        fn into_buffers(self) -> impl Iterator<Item = Vec<u8>> {
            std::iter::once(self.0)
        }
    }

    #[test]
    fn memory_is_capped_and_goes_round() {
        let memory = Memory::new(1000);
        assert!(memory.has_room(1000) && !memory.has_room(1001));
        memory.push(Bytes(Vec::with_capacity(600)));
        assert!(memory.has_room(400) && !memory.has_room(401));
        let taken = memory.pop().unwrap();
        assert!(!memory.has_room(401), "what is being written takes memory as well");
        let address = taken.0.as_ptr();
        memory.recycle(taken);
        let again = memory.buffer();
        assert_eq!(again.as_ptr(), address);
        assert!(memory.has_room(1000));
    }

    #[test]
    fn what_a_slow_writer_leaves_is_counted() {
        let memory = Memory::new(1000);
        (0..3).for_each(|_| memory.push(Bytes(Vec::new())));
        assert_eq!(memory.close(Duration::ZERO), 3);
        assert!(memory.pop().is_none());
    }

    #[test]
    fn a_failure_is_told_and_ends_it() {
        let memory = Memory::new(1000);
        memory.push(Bytes(Vec::new()));
        memory.fail("full".to_owned());
        memory.push(Bytes(Vec::new()));
        assert_eq!(memory.failure().as_deref(), Some("full"));
        assert!(memory.pop().is_none());
    }
}
