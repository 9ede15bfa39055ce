//! The open pages: at most a fixed number. A new page replaces one that requests nothing.
//!
//! It does not depend on messages or framesets.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// The maximum number of open pages.
const PAGES_MAX: usize = 16;

/// The time without a request after which a page may be replaced by another. A visible page requests twice a second; one
/// that is closed connects again when fewer are open.
const IDLE: Duration = Duration::from_secs(5);

/// The open pages of a view.
#[derive(Default)]
pub(crate) struct Pages(Mutex<State>);

#[derive(Default)]
struct State {
    next: u64,
    open: Vec<PageEntry>,
}

struct PageEntry {
    id: u64,
    asked: Instant,
    closed: Arc<Notify>,
}

/// An open page, until this is dropped.
pub(crate) struct Page {
    pages: Arc<Pages>,
    id: u64,
    closed: Arc<Notify>,
}

impl Pages {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a page. At the maximum it closes the one that is idle for longest; returns `None` if none is idle.
    pub(crate) fn open(self: &Arc<Self>, now: Instant) -> Option<Page> {
        let mut state = self.state();
        if state.open.len() >= PAGES_MAX {
            let idle =
                state.open.iter().enumerate().filter(|(_, page)| now.duration_since(page.asked) >= IDLE);
            let (index, _) = idle.min_by_key(|(_, page)| page.asked)?;
            state.open.remove(index).closed.notify_one();
        }
        let (id, closed) = (state.next, Arc::new(Notify::new()));
        state.next += 1;
        state.open.push(PageEntry { id, asked: now, closed: Arc::clone(&closed) });
        Some(Page { pages: Arc::clone(self), id, closed })
    }
}

impl Page {
    /// Notes a request.
    pub(crate) fn asked(&self, now: Instant) {
        let mut state = self.pages.state();
        if let Some(page) = state.open.iter_mut().find(|page| page.id == self.id) {
            page.asked = now;
        }
    }

    /// Waits until another page replaces this one.
    pub(crate) async fn closed(&self) {
        self.closed.notified().await;
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.pages.state().open.retain(|page| page.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_page_replaces_the_one_that_is_idle_for_longest() {
        let pages = Arc::new(Pages::default());
        let start = Instant::now();
        let open: Vec<_> = (0..PAGES_MAX).map(|_| pages.open(start).unwrap()).collect();
        let ids = || pages.state().open.iter().map(|page| page.id).collect::<Vec<_>>();
        assert!(pages.open(start + IDLE / 2).is_none());
        open.iter().filter(|page| page.id != 3).for_each(|page| page.asked(start + IDLE / 2));
        let new = pages.open(start + IDLE).unwrap();
        assert_eq!(ids(), (0..=16).filter(|&id| id != 3).collect::<Vec<_>>());
        // The others have sent requests since.
        assert!(pages.open(start + IDLE).is_none());
        drop(new);
        assert_eq!(ids(), (0..16).filter(|&id| id != 3).collect::<Vec<_>>());
        drop(open);
        assert!(ids().is_empty());
    }
}
