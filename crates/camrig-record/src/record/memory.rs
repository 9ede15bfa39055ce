//! The queue in front of the disk, bounded by bytes.
//!
//! A recorder pushes framesets without ever waiting; its writer pops them. Buffers are recycled, so that a running
//! recording allocates nothing large. This module depends on no file and no frameset.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Maximum number of free buffers: those of two framesets.
const FREE_BUFFERS: usize = 8;

/// A queued item.
pub(crate) trait Queued {
    fn size_bytes(&self) -> usize;
    /// Returns whether it counts as one that is lost if it is discarded.
    fn counts(&self) -> bool {
        true
    }
    /// Returns its buffers, to be recycled.
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
    /// Size of the items that are queued or being written.
    used_bytes: usize,
    free: Vec<Vec<u8>>,
    closed: bool,
    /// Whether the recording does not end in order.
    abandoned: bool,
    /// The error with which the writer stopped.
    failure: Option<String>,
    /// Number of items that were discarded because of it.
    lost: u64,
}

impl<T: Queued> Memory<T> {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        let (queue, free) = (VecDeque::new(), Vec::new());
        let state =
            State { queue, used_bytes: 0, free, closed: false, abandoned: false, failure: None, lost: 0 };
        Self { limit_bytes, state: Mutex::new(state), changed: Condvar::new() }
    }

    pub(crate) fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Returns whether there is space for an item of this size.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.lock().used_bytes + bytes <= self.limit_bytes
    }

    /// Returns an empty buffer, recycled if possible.
    pub(crate) fn buffer(&self) -> Vec<u8> {
        self.lock().free.pop().unwrap_or_default()
    }

    /// Pushes an item that [fits](Self::has_room). After a failure of the writer it is discarded.
    pub(crate) fn push(&self, item: T) {
        let mut state = self.lock();
        if state.failure.is_some() {
            state.lost += u64::from(item.counts());
            return;
        }
        state.used_bytes += item.size_bytes();
        state.queue.push_back(item);
        self.changed.notify_all();
    }

    /// Waits for the oldest item and pops it; `None` when there will be no more.
    pub(crate) fn pop(&self) -> Option<T> {
        let waits = |state: &mut State<T>| state.queue.is_empty() && !state.closed;
        let state = self.changed.wait_while(self.lock(), waits);
        state.unwrap_or_else(PoisonError::into_inner).queue.pop_front()
    }

    /// Releases a popped item and recycles its buffers.
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

    /// Stops after an error of the writer, and discards all items: those that are queued, and `in_hand` others that were popped.
    pub(crate) fn fail(&self, message: String, in_hand: u64) {
        let mut state = self.lock();
        state.failure = Some(message);
        state.lost += in_hand + state.queue.drain(..).filter(Queued::counts).count() as u64;
        state.closed = true;
        self.changed.notify_all();
    }

    /// Returns the number of items that were discarded because of an error of the writer.
    pub(crate) fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// Returns the error with which the writer stopped.
    pub(crate) fn failure(&self) -> Option<String> {
        self.lock().failure.clone()
    }

    /// Marks that the recording does not end in order, as when its recorder fails: another instance may continue it.
    pub(crate) fn abandon(&self) {
        self.lock().abandoned = true;
    }

    /// Returns whether the recording does not end in order.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }

    /// Accepts no more items, and waits until the queue is empty, but at most for `timeout`. Discards the remaining items
    /// and returns their number.
    pub(crate) fn close(&self, timeout: Duration) -> usize {
        let deadline = Instant::now() + timeout;
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

    /// Waits until an item of this size fits. A recorder never does.
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

    impl Queued for Bytes {
        fn size_bytes(&self) -> usize {
            self.0.capacity()
        }

        fn into_buffers(self) -> impl Iterator<Item = Vec<u8>> {
            std::iter::once(self.0)
        }
    }

    #[test]
    fn memory_is_bounded_and_buffers_are_recycled() {
        let memory = Memory::new(1000);
        assert!(memory.has_room(1000) && !memory.has_room(1001));
        memory.push(Bytes(Vec::with_capacity(600)));
        assert!(memory.has_room(400) && !memory.has_room(401));
        let taken = memory.pop().unwrap();
        assert!(!memory.has_room(401), "an item that is being written uses memory");
        let address = taken.0.as_ptr();
        memory.recycle(taken);
        let again = memory.buffer();
        assert_eq!(again.as_ptr(), address);
        assert!(memory.has_room(1000));
    }

    #[test]
    fn discarded_items_are_counted() {
        let memory = Memory::new(1000);
        (0..3).for_each(|_| memory.push(Bytes(Vec::new())));
        assert_eq!(memory.close(Duration::ZERO), 3);
        assert!(memory.pop().is_none());
    }

    #[test]
    fn a_failure_is_kept_and_ends_the_queue() {
        let memory = Memory::new(1000);
        (0..3).for_each(|_| memory.push(Bytes(Vec::new())));
        memory.pop().unwrap();
        memory.fail("full".to_owned(), 1);
        memory.push(Bytes(Vec::new()));
        assert_eq!(memory.lost(), 4);
        assert_eq!(memory.failure().as_deref(), Some("full"));
        assert!(memory.pop().is_none());
    }
}
