//! A link within one process: a bounded queue of handles, with the same ledger as a link between processes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use camrig_ipc::{DropReason, Ledger, Overflow};
use tokio::sync::Notify;

use crate::frameset::FrameSet;

/// Both ends of a link within one process.
pub(crate) struct LocalLink {
    ledger: Arc<Ledger>,
    queue: Mutex<VecDeque<FrameSet>>,
    wake: Arc<Notify>,
    overflow: Overflow,
    capacity: usize,
}

impl LocalLink {
    /// A link whose reader queues at most `capacity` framesets and is woken through `wake`.
    pub(crate) fn new(ledger: Arc<Ledger>, wake: Arc<Notify>, overflow: Overflow, capacity: usize) -> Self {
        Self { ledger, queue: Mutex::new(VecDeque::with_capacity(capacity)), wake, overflow, capacity }
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    pub(crate) fn overflow(&self) -> Overflow {
        self.overflow
    }

    pub(crate) fn has_room(&self) -> bool {
        self.ledger.reader_gone() || self.queue().len() < self.capacity
    }

    pub(crate) fn publish(&self, frameset: FrameSet) {
        self.ledger.count_produced();
        let mut queue = self.queue();
        // Asked under the lock: it is set before the queue is emptied.
        if self.ledger.reader_gone() {
            return self.ledger.count_dropped(DropReason::ReaderGone);
        }
        let mut oldest = None;
        if queue.len() >= self.capacity {
            if self.overflow != Overflow::DropOldest {
                return self.ledger.count_dropped(DropReason::DropNewest);
            }
            oldest = queue.pop_front();
            self.ledger.count_dropped(DropReason::DropOldest);
        }
        queue.push_back(frameset);
        drop(queue);
        drop(oldest);
        self.ring();
    }

    /// Takes back the oldest frameset that still waits, if the policy allows that.
    pub(crate) fn take_back_oldest(&self) -> bool {
        let oldest = (self.overflow == Overflow::DropOldest).then(|| self.queue().pop_front()).flatten();
        if oldest.is_some() {
            self.ledger.count_dropped(DropReason::DropOldest);
        }
        oldest.is_some()
    }

    pub(crate) fn take(&self) -> Option<FrameSet> {
        let mut queue = self.queue();
        let frameset = queue.pop_front();
        if frameset.is_some() && queue.is_empty() {
            self.ledger.note_progress();
        }
        frameset
    }

    /// Says that nothing more will come.
    pub(crate) fn end(&self) {
        self.ledger.end();
        self.wake.notify_one();
    }

    /// Drops whatever waits for a reader that is gone.
    pub(crate) fn take_back_all(&self) {
        while self.take().is_some() {
            self.ledger.count_dropped(DropReason::ReaderGone);
        }
    }

    fn ring(&self) {
        if self.ledger.ring() {
            self.wake.notify_one();
        }
    }

    fn queue(&self) -> std::sync::MutexGuard<'_, VecDeque<FrameSet>> {
        // No code panics while it holds the lock; a poisoned queue is still a queue.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
