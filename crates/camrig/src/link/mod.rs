//! A link from an actor's output to another actor's input: one trait for each end, and an implementation for each
//! place where the other end can be.
//!
//! * `local`: within one process, handles in a queue
//! * `remote`: to another process of this host, slots of shared memory
//!
//! Outputs and inputs use the traits only, so that a link to another host is a third implementation. Every link has a
//! [`LinkState`], which the supervisor reads: each end counts there the outcome of each frameset.

mod local;
mod remote;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::sync::Arc;

use camrig_frame::CameraInfo;
use camrig_ipc::{LinkState, MemoryError, Overflow, Published, SlotPool};

pub(crate) use self::local::{LocalLink, LocalReader};
pub(crate) use self::remote::RemoteReader;
use crate::frameset::FrameSet;

/// The producer's end of a link. It lasts as long as the producer's process, through all instances of its actor.
pub(crate) trait ProducerEnd: Send + Sync {
    /// Returns the link's counts and presence of its reader.
    fn link_state(&self) -> &Arc<LinkState>;

    /// Returns the overflow policy.
    fn overflow(&self) -> Overflow;

    /// Returns whether the reader runs on the producer's thread: a wait for it would not end.
    fn is_on_thread(&self) -> bool {
        false
    }

    /// Returns whether framesets have to be in a slot to be published here.
    fn needs_slots(&self) -> bool;

    /// Begins an instance of the producer: announcements of the previous one are obsolete.
    fn begin(&self) {}

    /// Announces the next camera whose framesets will come; the first has number 0.
    fn announce_source(&self, _info: &Arc<CameraInfo>) {}

    /// Announces slots before the first frameset comes in one of them.
    ///
    /// # Errors
    /// If the system has no file descriptors or address space left.
    fn announce_pool(&self, _pool: &Arc<SlotPool>) -> Result<(), MemoryError> {
        Ok(())
    }

    /// Returns whether the next frameset would be queued without a drop.
    fn has_room(&self) -> bool;

    /// Takes back the oldest frameset that still waits, if the overflow policy allows that.
    fn take_back_oldest(&self) -> bool;

    /// Queues a frameset according to the overflow policy, and wakes the reader. To drop none, wait for
    /// [`Self::has_room`] first.
    fn publish(&self, frameset: &mut Outgoing<'_>);

    /// Ends the link: nothing more will be produced.
    fn end(&self);
}

/// The reader's end of a link.
pub(crate) trait ReaderEnd: Send {
    /// Returns the link's counts and wake-up flag.
    fn link_state(&self) -> &Arc<LinkState>;

    /// Returns whether the wake-ups come through the process's notifier.
    fn is_remote(&self) -> bool;

    /// Takes the oldest queued frameset. Returns `None` when nothing is queued.
    ///
    /// # Errors
    /// If the queued item is not a valid frameset: it is counted as refused, and the link should be closed.
    fn take(&mut self) -> Result<Option<FrameSet>, Box<dyn Error + Send + Sync>>;

    /// Drops everything that is queued, because its reader is gone.
    fn drop_queued(&self);
}

/// A frameset on its way to the links of its producer: in a slot, or a handle.
pub(crate) struct Outgoing<'a> {
    producer: &'a Arc<str>,
    info: &'a Arc<CameraInfo>,
    /// `None` once there is a handle, which holds it.
    published: Option<Published>,
    handle: Option<FrameSet>,
}

impl<'a> Outgoing<'a> {
    /// Creates an outgoing frameset in a slot of the producer.
    pub(crate) fn in_slot(producer: &'a Arc<str>, info: &'a Arc<CameraInfo>, published: Published) -> Self {
        Self { producer, info, published: Some(published), handle: None }
    }

    /// Creates an outgoing frameset, wherever its pixels are.
    pub(crate) fn of(producer: &'a Arc<str>, info: &'a Arc<CameraInfo>, handle: FrameSet) -> Self {
        Self { producer, info, published: None, handle: Some(handle) }
    }

    /// Returns the slot of the producer's that the frameset is in. Returns `None` when it is elsewhere.
    pub(crate) fn published(&self) -> Option<&Published> {
        self.published.as_ref().or_else(|| self.handle.as_ref()?.published())
    }

    /// Returns a handle to the frameset. It is made for the first link that asks: others need no allocation.
    pub(crate) fn handle(&mut self) -> FrameSet {
        if let Some(published) = self.published.take() {
            self.handle =
                Some(FrameSet::in_slot(Arc::clone(self.producer), Arc::clone(self.info), published));
        }
        self.handle.clone().expect("a frameset is in a slot or has a handle")
    }
}
