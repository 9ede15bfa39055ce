//! A link within one process: a bounded queue of handles, with the same link state as a link between processes.

use std::collections::VecDeque;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use camrig_ipc::{DropReason, LinkState, Overflow};
use tokio::sync::Notify;

use super::{Outgoing, ProducerEnd, ReaderEnd};
use crate::frameset::FrameSet;

/// Both ends of a link within one process.
pub(crate) struct LocalLink {
    link_state: Arc<LinkState>,
    queue: Mutex<VecDeque<FrameSet>>,
    wake: Arc<Notify>,
    overflow: Overflow,
    capacity: usize,
    on_thread: bool,
}

impl LocalLink {
    /// Creates a link whose reader queues at most `capacity` framesets and is woken through `wake`.
    pub(crate) fn new(
        link_state: Arc<LinkState>,
        wake: Arc<Notify>,
        overflow: Overflow,
        capacity: usize,
    ) -> Self {
        let queue = Mutex::new(VecDeque::with_capacity(capacity));
        Self { link_state, queue, wake, overflow, capacity, on_thread: false }
    }

    /// Marks the reader as one that runs on the producer's thread. With [`Overflow::Block`] the queue then holds all
    /// framesets that the producer publishes in one call, which its slots bound: the reader cannot take any meanwhile.
    pub(crate) fn on_thread(self, on_thread: bool) -> Self {
        Self { on_thread, ..self }
    }

    /// Returns whether a frameset waits for the reader.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.queue().is_empty()
    }

    fn is_full(&self, queued: usize) -> bool {
        queued >= self.capacity && !(self.on_thread && self.overflow == Overflow::Block)
    }

    /// Takes the oldest queued frameset.
    pub(crate) fn take(&self) -> Option<FrameSet> {
        let mut queue = self.queue();
        let frameset = queue.pop_front();
        if frameset.is_some() && queue.is_empty() {
            self.link_state.note_progress();
        }
        frameset
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

impl ProducerEnd for LocalLink {
    fn link_state(&self) -> &Arc<LinkState> {
        &self.link_state
    }

    fn overflow(&self) -> Overflow {
        self.overflow
    }

    fn is_on_thread(&self) -> bool {
        self.on_thread
    }

    fn needs_slots(&self) -> bool {
        false
    }

    fn has_room(&self) -> bool {
        self.link_state.reader_gone() || !self.is_full(self.queue().len())
    }

    fn take_back_oldest(&self) -> bool {
        let oldest = (self.overflow == Overflow::DropOldest).then(|| self.queue().pop_front()).flatten();
        if oldest.is_some() {
            self.link_state.count_dropped(DropReason::DropOldest);
        }
        oldest.is_some()
    }

    fn publish(&self, frameset: &mut Outgoing<'_>) {
        let frameset = frameset.handle();
        self.link_state.count_produced();
        let mut queue = self.queue();
        // Checked under the lock: the reader sets the one before it empties the queue, and looks at the other before it finds
        // the queue empty for good.
        if self.link_state.reader_gone() || self.link_state.ended() {
            return self.link_state.count_dropped(DropReason::ReaderGone);
        }
        let mut oldest = None;
        if self.is_full(queue.len()) {
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

    fn end(&self) {
        self.link_state.end();
        self.wake.notify_one();
    }
}

/// The reader's end of a link within one process.
pub(crate) struct LocalReader(Arc<LocalLink>);

impl LocalReader {
    pub(crate) fn new(link: &Arc<LocalLink>) -> Self {
        Self(Arc::clone(link))
    }
}

impl ReaderEnd for LocalReader {
    fn link_state(&self) -> &Arc<LinkState> {
        &self.0.link_state
    }

    fn is_remote(&self) -> bool {
        false
    }

    fn take(&mut self) -> Result<Option<FrameSet>, Box<dyn Error + Send + Sync>> {
        Ok(self.0.take())
    }

    fn drop_queued(&self) {
        while self.0.take().is_some() {
            self.0.link_state.count_dropped(DropReason::ReaderGone);
        }
    }
}
