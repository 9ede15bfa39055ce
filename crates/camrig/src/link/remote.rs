//! A link to another process of this host: the ends of camrig-ipc, as outputs and inputs see them.

use std::error::Error;
use std::sync::Arc;

use camrig_frame::CameraInfo;
use camrig_ipc::{DropReason, LinkReader, LinkState, LinkWriter, MemoryError, Overflow, SlotPool};

use super::{Outgoing, ProducerEnd, ReaderEnd};
use crate::frameset::FrameSet;

impl ProducerEnd for LinkWriter {
    fn link_state(&self) -> &Arc<LinkState> {
        self.link_state()
    }

    fn overflow(&self) -> Overflow {
        self.overflow()
    }

    fn needs_slots(&self) -> bool {
        true
    }

    fn begin(&self) {
        self.begin();
    }

    fn announce_source(&self, info: &Arc<CameraInfo>) {
        self.announce_source(info);
    }

    fn announce_pool(&self, pool: &Arc<SlotPool>) -> Result<(), MemoryError> {
        self.announce_pool(pool)
    }

    fn has_room(&self) -> bool {
        self.has_room()
    }

    fn take_back_oldest(&self) -> bool {
        self.take_back_oldest()
    }

    fn publish(&self, frameset: &mut Outgoing<'_>) {
        match frameset.published() {
            Some(published) => self.publish(published),
            None => self.link_state().count_produced_and_dropped(DropReason::NoSlot),
        }
    }

    fn end(&self) {
        self.end();
    }
}

/// The reader's end of a link from another process.
pub(crate) struct RemoteReader {
    from: Arc<str>,
    reader: LinkReader,
}

impl RemoteReader {
    /// Creates the reader's end of a link from the actor called `from`.
    pub(crate) fn new(from: &str, reader: LinkReader) -> Self {
        Self { from: from.into(), reader }
    }
}

impl ReaderEnd for RemoteReader {
    fn link_state(&self) -> &Arc<LinkState> {
        self.reader.link_state()
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn take(&mut self) -> Result<Option<FrameSet>, Box<dyn Error + Send + Sync>> {
        let lease = self.reader.take()?;
        Ok(lease.map(|lease| FrameSet::leased(Arc::clone(&self.from), lease)))
    }

    fn drop_queued(&self) {
        self.link_state().take_back_all();
    }
}
