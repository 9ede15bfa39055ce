//! The links of an actor's output. They outlast its instances, and change while one runs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ids::LinkId;
use crate::link::ProducerEnd;

/// The links of one actor, shared by its runner and its publisher.
#[derive(Clone, Default)]
pub(crate) struct OutputLinks(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Increases with each change.
    version: AtomicUsize,
    current: Mutex<Current>,
}

/// The links at one time.
#[derive(Clone, Default)]
pub(super) struct Current {
    pub(super) links: Vec<(LinkId, Arc<dyn ProducerEnd>)>,
    /// Minimum number of slots that the readers need.
    pub(super) slots: usize,
}

impl OutputLinks {
    /// Links that exist from the start.
    pub(crate) fn of(ends: Vec<Arc<dyn ProducerEnd>>) -> Self {
        let links = Self::default();
        ends.into_iter().enumerate().for_each(|(number, end)| links.add(LinkId::new(number), end, 0));
        links
    }

    /// Adds a link, whose readers need the actor to have at least `slots` slots.
    pub(crate) fn add(&self, link: LinkId, end: Arc<dyn ProducerEnd>, slots: usize) {
        let mut current = self.current();
        current.links.push((link, end));
        current.slots = current.slots.max(slots);
        self.0.version.fetch_add(1, Ordering::Release);
    }

    /// Ends a link, on the thread of the actor: nothing more is published there.
    pub(crate) fn end(&self, link: LinkId) {
        let mut current = self.current();
        let Some(index) = current.links.iter().position(|(known, _)| *known == link) else { return };
        let (_, end) = current.links.remove(index);
        self.0.version.fetch_add(1, Ordering::Release);
        drop(current);
        end.end();
    }

    /// Ends every link.
    pub(crate) fn end_all(&self) {
        self.ends().iter().for_each(|end| end.end());
    }

    /// Returns the producer's ends.
    pub(crate) fn ends(&self) -> Vec<Arc<dyn ProducerEnd>> {
        self.current().links.iter().map(|(_, end)| Arc::clone(end)).collect()
    }

    /// Returns the links and their version if that is not `seen`.
    pub(super) fn newer(&self, seen: Option<usize>) -> Option<(usize, Current)> {
        if seen == Some(self.0.version.load(Ordering::Acquire)) {
            return None;
        }
        let current = self.current();
        Some((self.0.version.load(Ordering::Acquire), current.clone()))
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        // No code panics while it holds the lock.
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
