//! The reader's end: takes queued slots as leases, and validates everything that it reads.
//!
//! A lease is the right to read one slot. The link state's word of the slot is *reading* from the take until the
//! lease is dropped, and the producer writes only slots that are free in every word. Headers are copied and checked
//! before any pixel is accessed; the mapping of the pixels is read-only.
#![allow(unsafe_code)]

use std::sync::Arc;

use camrig_frame::{CameraInfo, FrameSetHeader, Layout, MAX_FRAMESET_BYTES};

use crate::channel::{ReceiveError, Receiver};
use crate::header::{self, HEADER_BYTES};
use crate::link_state::{DropReason, LinkState, MAX_SLOTS, TakenSlot};
use crate::memory::{MemoryError, SharedMemory};
use crate::present::{self, PresentSlots};
use crate::protocol::{Announcement, MAX_DESCRIPTION_BYTES};
use crate::region::Region;

/// Number of the newest pools that a reader keeps without queued framesets. The producer may have lent a slot of any,
/// and announces a pool again if the reader has discarded it.
pub(crate) const POOLS_KEPT: usize = 2;

/// Maximum unacknowledged announcements per link, so that a stopped or slow reader blocks no producer: the channel
/// holds some hundred.
pub(crate) const UNACKNOWLEDGED_MAX: u32 = 16;

/// Maximum size of the descriptions among them. The channel holds 208 KiB by default: each may take twice its size there,
/// and a producer that dies may leave one more.
pub(crate) const UNACKNOWLEDGED_BYTES_MAX: usize = 3 * MAX_DESCRIPTION_BYTES;

/// Maximum number of announcements received at a time: no producer has as many unacknowledged, however often it dies.
const ANNOUNCEMENTS_MAX: u32 = 4 * UNACKNOWLEDGED_MAX;

/// Maximum number of cameras whose framesets one producer can publish.
pub const MAX_SOURCES: usize = 256;

/// The announcements of one instance of the producer.
#[derive(Default)]
struct Instance {
    sources: Vec<Arc<CameraInfo>>,
    pools: Vec<Arc<ReaderPool>>,
}

/// A producer's pool, mapped by a reader.
struct ReaderPool {
    region: Region,
    slots: usize,
    pixel_bytes: usize,
    generation: u16,
    present: PresentSlots,
}

impl ReaderPool {
    fn new(generation: u16, slots: u32, pixel_bytes: u64, memory: SharedMemory) -> Result<Self, Refused> {
        let (slots, pixel_bytes) = (slots as usize, usize::try_from(pixel_bytes).unwrap_or(usize::MAX));
        if slots == 0 || slots > MAX_SLOTS || pixel_bytes > MAX_FRAMESET_BYTES.next_multiple_of(4096) {
            return Err(Refused::Pool { slots, pixel_bytes });
        }
        let region = Region::received_read_only(memory, slots * (HEADER_BYTES + pixel_bytes))?;
        let present = PresentSlots::at_start(&region, slots, pixel_bytes);
        Ok(Self { region, slots, pixel_bytes, generation, present })
    }
}

/// The reason why a reader closed its link.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The announced pool is invalid.
    #[error("a pool of {slots} slots of {pixel_bytes} bytes was announced")]
    Pool {
        /// Number of slots.
        slots: usize,
        /// Size of each slot's pixels.
        pixel_bytes: usize,
    },
    /// An announcement cannot be read, for example because no descriptor is left.
    #[error("an announcement cannot be read: {0}")]
    Unreadable(String),
    /// The shared memory cannot be used.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// More announcements arrived than any producer sends.
    #[error("more than {ANNOUNCEMENTS_MAX} announcements arrived together")]
    TooMany,
    /// More cameras were announced than any rig has.
    #[error("more than {MAX_SOURCES} cameras were announced")]
    Sources,
    /// A frameset belongs to a pool or camera that was not announced.
    #[error("a frameset came without an announcement of its {0}")]
    Unannounced(&'static str),
    /// A slot that the pool does not have.
    #[error("slot {0} of a pool of {1} slots was queued")]
    Slot(usize, usize),
    /// The header is invalid, belongs to another frameset, or describes more pixels than the slot has.
    #[error("the header in slot {0} is not that of a frameset")]
    Header(usize),
}

/// The reader's end of one link from another process.
pub struct LinkReader {
    link_state: Arc<LinkState>,
    announcements: Receiver<Announcement>,
    /// The number of announcements at the last receive.
    received: Option<u32>,
    /// The announcements of the producer's current instance.
    instance: Instance,
    /// The pools of earlier instances with queued framesets.
    earlier: Vec<Instance>,
    /// For the private copy of a header.
    copy: Vec<u8>,
}

impl LinkReader {
    /// Creates the reader's end of a link.
    pub fn new(link_state: Arc<LinkState>, announcements: Receiver<Announcement>) -> Self {
        let (instance, earlier, copy) = Default::default();
        Self { link_state, announcements, received: None, instance, earlier, copy }
    }

    /// Returns the link state.
    pub fn link_state(&self) -> &Arc<LinkState> {
        &self.link_state
    }

    /// Takes the oldest queued frameset; `None` if none is queued.
    ///
    /// # Errors
    /// If the queued slot is invalid: it is counted as refused, and the link should be closed.
    pub fn take(&mut self) -> Result<Option<Lease>, Refused> {
        let received = self.receive_announcements();
        if !self.earlier.is_empty() {
            self.forget();
        }
        let Some(taken) = self.link_state.take() else { return received.map(|()| None) };
        // The pool of this frameset may have been announced between the two steps.
        let mut copy = std::mem::take(&mut self.copy);
        let lease =
            received.and_then(|()| self.receive_announcements()).and_then(|()| self.lease(&taken, &mut copy));
        self.copy = copy;
        if lease.is_err() {
            self.link_state.release(taken.slot);
            self.link_state.count_dropped(DropReason::Refused);
        }
        lease.map(Some)
    }

    fn lease(&self, taken: &TakenSlot, copy: &mut Vec<u8>) -> Result<Lease, Refused> {
        let (instance, pool) = self.pool(taken.generation).ok_or(Refused::Unannounced("pool"))?;
        if taken.slot >= pool.slots {
            return Err(Refused::Slot(taken.slot, pool.slots));
        }
        pool.present.provide(&pool.region, taken.slot, pool.pixel_bytes);
        let start = present::bytes_of(taken.slot, pool.pixel_bytes).start;
        // SAFETY: the word is `reading`, so the producer does not write the slot. One that does anyway can
        // only garble the private copy that `decode` makes and checks.
        let bytes = unsafe { pool.region.bytes(start..start + HEADER_BYTES) };
        let (header, _) = header::decode(bytes, copy)
            .filter(|(_, number)| *number == taken.sequence)
            .ok_or(Refused::Header(taken.slot))?;
        let layout = Layout::of(&header.frames)
            .ok()
            .filter(|layout| layout.size_bytes() <= pool.pixel_bytes)
            .ok_or(Refused::Header(taken.slot))?;
        let info = instance.sources.get(usize::from(header.source)).ok_or(Refused::Unannounced("camera"))?;
        Ok(Lease {
            pixels_start: start + HEADER_BYTES,
            slot: taken.slot,
            link_state: Arc::clone(&self.link_state),
            info: Arc::clone(info),
            pool: Arc::clone(pool),
            header,
            layout,
        })
    }

    fn pool(&self, generation: u16) -> Option<(&Instance, &Arc<ReaderPool>)> {
        let instances = std::iter::once(&self.instance).chain(&self.earlier);
        let mut pools =
            instances.flat_map(|instance| instance.pools.iter().map(move |pool| (instance, pool)));
        pools.find(|(_, pool)| pool.generation == generation)
    }

    /// Receives all new announcements.
    fn receive_announcements(&mut self) -> Result<(), Refused> {
        let announced = self.link_state.announced();
        if self.received == Some(announced) {
            return Ok(());
        }
        // Announcements are sent before they are counted. A producer that died in between sent one more, which is
        // received too.
        self.received = Some(announced);
        for _ in 0..ANNOUNCEMENTS_MAX {
            let announcement = match self.announcements.try_receive() {
                Ok(Some(announcement)) => announcement,
                Ok(None) | Err(ReceiveError::Disconnected) => {
                    self.link_state.set_received(announced);
                    return Ok(());
                }
                Err(ReceiveError::Unreadable(reason)) => return Err(Refused::Unreadable(reason)),
            };
            match announcement {
                Announcement::Begin => self.earlier.push(std::mem::take(&mut self.instance)),
                Announcement::Pool { generation, slots, pixel_bytes, memory } => {
                    let pools = &mut self.instance.pools;
                    // A repeated announcement replaces the earlier one.
                    let known = pools.iter().position(|pool| pool.generation == generation);
                    let pool = match known {
                        Some(known) => pools.remove(known),
                        None => Arc::new(ReaderPool::new(generation, slots, pixel_bytes, memory)?),
                    };
                    pools.push(pool);
                }
                Announcement::Source(_) if self.instance.sources.len() == MAX_SOURCES => {
                    return Err(Refused::Sources);
                }
                Announcement::Source(info) => self.instance.sources.push(Arc::from(info)),
            }
            self.forget();
        }
        Err(Refused::TooMany)
    }

    /// Discards pools without queued framesets, and instances without pools.
    fn forget(&mut self) {
        let in_use = self.link_state.generations();
        let is_in_use = |pool: &Arc<ReaderPool>| in_use.contains(&pool.generation);
        let pools = &mut self.instance.pools;
        let newest = pools.split_off(pools.len().saturating_sub(POOLS_KEPT));
        pools.retain(is_in_use);
        pools.extend(newest);
        self.earlier.iter_mut().for_each(|instance| instance.pools.retain(is_in_use));
        self.earlier.retain(|instance| !instance.pools.is_empty());
    }
}

/// The right to read one frameset in its slot, until it is dropped.
pub struct Lease {
    header: Box<FrameSetHeader>,
    layout: Layout,
    pixels_start: usize,
    slot: usize,
    link_state: Arc<LinkState>,
    info: Arc<CameraInfo>,
    pool: Arc<ReaderPool>,
}

impl Lease {
    /// Returns the camera of the frameset.
    pub fn info(&self) -> &Arc<CameraInfo> {
        &self.info
    }

    /// Returns the frameset's header.
    pub fn header(&self) -> &FrameSetHeader {
        &self.header
    }

    /// Returns the pixels of the frame at `index` of the header.
    ///
    /// # Panics
    /// When there is no such frame.
    pub fn frame(&self, index: usize) -> &[u8] {
        let range = self.layout.range(index);
        // SAFETY: the word is `reading` until this lease drops, so the producer does not write the slot.
        unsafe { self.pool.region.bytes(self.pixels_start + range.start..self.pixels_start + range.end) }
    }
}

#[cfg(test)]
impl Lease {
    /// Leaks the slot, like a process that dies.
    #[cfg_attr(orderings, allow(dead_code))] // Only `schedules` and `properties` call it.
    pub(crate) fn forget(mut self) {
        self.link_state = Arc::new(LinkState::new().unwrap());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.link_state.release(self.slot);
    }
}

#[cfg(all(test, not(shuttle)))]
mod invalid;
