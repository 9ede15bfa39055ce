//! The URBs of an endpoint that are waiting for data.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::lock;

/// Maximum number of bulk URBs queued per stream. `uvcvideo` keeps 5; `vhci_hcd` forwards each immediately.
pub(super) const URBS_MAX: usize = 256;

/// The bulk URBs of one stream that are waiting for data.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

#[derive(Default)]
pub(super) struct QueueState {
    urbs: VecDeque<Urb>,
    /// Changes whenever the stream starts or stops: a thread of an earlier one ends.
    generation: u64,
}

/// An URB of the host.
pub(super) struct Urb {
    /// Its number on the connection.
    pub(super) sequence: u32,
    /// Number of bytes that it takes.
    pub(super) length: u32,
}

impl Queue {
    pub(super) fn generation(&self) -> u64 {
        lock(&self.state).generation
    }

    pub(super) fn start(&self) -> u64 {
        let mut state = lock(&self.state);
        state.generation += 1;
        self.changed.notify_all();
        state.generation
    }

    pub(super) fn stop(&self) {
        self.start();
    }

    pub(super) fn clear(&self) {
        lock(&self.state).urbs.clear();
    }

    /// Adds an URB. Returns false if there are [`URBS_MAX`].
    pub(super) fn push(&self, urb: Urb) -> bool {
        let mut state = lock(&self.state);
        if state.urbs.len() == URBS_MAX {
            return false;
        }
        state.urbs.push_back(urb);
        self.changed.notify_all();
        true
    }

    /// Removes the URB with this number, and leaves the queue locked: no thread can send a result for it. `None` if it is not
    /// in the queue.
    pub(super) fn remove(&self, sequence: u32) -> Option<MutexGuard<'_, QueueState>> {
        let mut state = lock(&self.state);
        let at = state.urbs.iter().position(|urb| urb.sequence == sequence)?;
        state.urbs.remove(at);
        Some(state)
    }

    /// Waits for an URB. Returns false when the stream has stopped.
    pub(super) fn wait(&self, generation: u64) -> bool {
        self.waited(generation).is_some()
    }

    /// Waits for an URB and takes it, and leaves the queue locked. `None` when the stream has stopped.
    pub(super) fn take(&self, generation: u64) -> Option<(MutexGuard<'_, QueueState>, Urb)> {
        let mut state = self.waited(generation)?;
        let urb = state.urbs.pop_front()?;
        Some((state, urb))
    }

    fn waited(&self, generation: u64) -> Option<MutexGuard<'_, QueueState>> {
        let mut state = lock(&self.state);
        loop {
            if state.generation != generation {
                return None;
            }
            if !state.urbs.is_empty() {
                return Some(state);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
