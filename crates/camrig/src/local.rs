//! A link within one process: a bounded queue of handles, with the same link state as a link between processes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use camrig_ipc::{DropReason, LinkState, Overflow};
use tokio::sync::Notify;

use crate::frameset::FrameSet;

/// Both ends of a link within one process.
pub(crate) struct LocalLink {
    link_state: Arc<LinkState>,
    queue: Mutex<VecDeque<FrameSet>>,
    wake: Arc<Notify>,
    overflow: Overflow,
    capacity: usize,
}

impl LocalLink {
    /// A link whose reader queues at most `capacity` framesets and is woken through `wake`.
    pub(crate) fn new(
        link_state: Arc<LinkState>,
        wake: Arc<Notify>,
        overflow: Overflow,
        capacity: usize,
    ) -> Self {
        Self { link_state, queue: Mutex::new(VecDeque::with_capacity(capacity)), wake, overflow, capacity }
    }

    pub(crate) fn link_state(&self) -> &Arc<LinkState> {
        &self.link_state
    }

    pub(crate) fn overflow(&self) -> Overflow {
        self.overflow
    }

    pub(crate) fn has_room(&self) -> bool {
        self.link_state.reader_gone() || self.queue().len() < self.capacity
    }

    pub(crate) fn publish(&self, frameset: FrameSet) {
        self.link_state.count_produced();
        let mut queue = self.queue();
        // Asked under the lock: it is set before the queue is emptied.
        if self.link_state.reader_gone() {
            return self.link_state.count_dropped(DropReason::ReaderGone);
        }
        let mut oldest = None;
        if queue.len() >= self.capacity {
            if self.overflow != Overflow::DropOldest {
                return self.link_state.count_dropped(DropReason::DropNewest);
            }
            oldest = queue.pop_front();
            self.link_state.count_dropped(DropReason::DropOldest);
        }
        queue.push_back(frameset);
        drop(queue);
        drop(oldest);
        self.notify();
    }

    /// Takes back the oldest frameset that still waits, if the policy allows that.
    pub(crate) fn take_back_oldest(&self) -> bool {
        let oldest = (self.overflow == Overflow::DropOldest).then(|| self.queue().pop_front()).flatten();
        if oldest.is_some() {
            self.link_state.count_dropped(DropReason::DropOldest);
        }
        oldest.is_some()
    }

    pub(crate) fn take(&self) -> Option<FrameSet> {
        let mut queue = self.queue();
        let frameset = queue.pop_front();
        if frameset.is_some() && queue.is_empty() {
            self.link_state.note_progress();
        }
        frameset
    }

    /// Says that nothing more will come.
    pub(crate) fn end(&self) {
        self.link_state.end();
        self.wake.notify_one();
    }

    /// Drops whatever waits for a reader that is gone.
    pub(crate) fn take_back_all(&self) {
        while self.take().is_some() {
            self.link_state.count_dropped(DropReason::ReaderGone);
        }
    }

    fn notify(&self) {
        if self.link_state.notify() {
            self.wake.notify_one();
        }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<FrameSet>> {
        // No code panics while it holds the lock; a poisoned queue is still a queue.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
