//! Changes of the links of an actor that runs, on their way to its thread.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::ids::LinkId;
use crate::link::{ProducerEnd, ReaderEnd};

/// A change of the links of a running actor.
pub(crate) enum LinkChange {
    /// Publishes on another link, from the end of the one that it replaces.
    Publish { link: LinkId, end: Arc<dyn ProducerEnd>, replaces: Option<LinkId>, slots: usize },
    /// Ends a link to a reader that is removed.
    End(LinkId),
    /// Reads another link from the actor with this name.
    Read { from: String, end: Box<dyn ReaderEnd> },
}

impl LinkChange {
    /// Ends the link in place of an actor that has ended.
    fn refuse(self) {
        match self {
            Self::Publish { end, .. } => end.end(),
            Self::Read { end, .. } => {
                end.link_state().set_reader_ended();
                let _step = end.link_state().reader_step();
                end.drop_queued();
            }
            Self::End(_) => {}
        }
    }
}

/// The changes that an actor has not taken; `None` after its end.
#[derive(Clone)]
pub(crate) struct LinkChanges(Arc<Mutex<Option<Vec<LinkChange>>>>);

impl Default for LinkChanges {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some(Vec::new()))))
    }
}

impl LinkChanges {
    /// Leaves changes for the actor. Returns whether it has to be sent mail.
    pub(crate) fn leave(&self, changes: Vec<LinkChange>) -> bool {
        let mut waiting = self.waiting();
        let Some(waiting) = &mut *waiting else {
            changes.into_iter().for_each(LinkChange::refuse);
            return false;
        };
        let first = waiting.is_empty() && !changes.is_empty();
        waiting.extend(changes);
        first
    }

    /// Takes all changes.
    pub(super) fn take(&self) -> Vec<LinkChange> {
        self.waiting().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Refuses all changes from now on: the actor has ended.
    pub(super) fn close(&self) {
        let waiting = self.waiting().take();
        waiting.into_iter().flatten().for_each(LinkChange::refuse);
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Vec<LinkChange>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
