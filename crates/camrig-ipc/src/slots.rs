//! The producer's end: a pool of slots, loans of them, and the writers that publish them.
//!
//! # Access to slots
//!
//! A slot is the producer's alone while its `busy` flag is set and no link state holds it as queued or reading: a [`Loan`]
//! represents that. Publishing turns the loan into shares: a [`Published`] handle is the producer's own, for readers in its
//! process, and each link state's word is one from the moment a [`LinkWriter`] queues the slot until its reader frees it.
//! Shares only read. The slot is lent again only when the flag is clear and the word of every link is free that the pool was
//! announced on, which comes before anything is queued there. A pool that replaces a smaller one has its flags and its links,
//! because a word refers to the slot of this number in either.
#![allow(unsafe_code)]

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use camrig_frame::{CameraInfo, FrameSetHeader, Layout, LayoutError};

use crate::Notifier;
use crate::channel::{Sender, is_closed};
use crate::header::{self, HEADER_BYTES};
use crate::link_state::{Absence, DropReason, LinkState, MAX_SLOTS, Overflow};
use crate::memory::MemoryError;
use crate::present::{self, PresentSlots};
use crate::protocol::{Announcement, description_bytes};
use crate::reader::{POOLS_KEPT, UNACKNOWLEDGED_BYTES_MAX, UNACKNOWLEDGED_MAX};
use crate::region::Region;
use crate::sync::{AtomicBool, Mutex, MutexGuard, PoisonError};

/// Slots begin at multiples of it: the size of a page of most machines.
const PAGE_BYTES: usize = 4096;

/// A producer's slots, in one shared-memory region.
pub struct SlotPool {
    region: Region,
    slots: Arc<Slots>,
    /// The number of slots.
    count: usize,
    pixel_bytes: usize,
    generation: u16,
    present: PresentSlots,
}

/// The holders of the slots of a pool, and of the pools that replace it.
pub(crate) struct Slots {
    /// Set while this process holds the slot; a pool may use fewer.
    busy: [AtomicBool; MAX_SLOTS],
    /// The links on which a slot may be queued or read.
    links: Mutex<Vec<Arc<LinkState>>>,
}

impl Slots {
    pub(crate) fn new() -> Self {
        Self { busy: std::array::from_fn(|_| AtomicBool::new(false)), links: Mutex::new(Vec::new()) }
    }

    fn links(&self) -> MutexGuard<'_, Vec<Arc<LinkState>>> {
        // No code panics while it holds the lock.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds one of the first `count` slots that is free, and sets its flag.
    pub(crate) fn claim(&self, count: usize) -> Option<usize> {
        let mut links = self.links();
        // A link that has ended, and that no producer has, gets no more slots. Its reader may hold some for a while.
        links.retain(|link| !link.ended() || Arc::strong_count(link) > 1 || link.slots_in_use() != 0);
        // Pairs with the end of a `Share` in this process, and with `release` in that of a reader.
        let free = |&slot: &usize| {
            !self.busy[slot].load(Ordering::Acquire) && links.iter().all(|link| link.slot_is_free(slot))
        };
        let slot = (0..count).find(free)?;
        // No pair: only this function looks at it, with the lock of the links.
        self.busy[slot].store(true, Ordering::Relaxed);
        Some(slot)
    }

    /// Frees a slot that this process held.
    pub(crate) fn free(&self, slot: usize) {
        // Pairs with `claim`: this process has read the slot before.
        self.busy[slot].store(false, Ordering::Release);
    }

    fn add_link(&self, link_state: &Arc<LinkState>) {
        let mut links = self.links();
        if !links.iter().any(|link| Arc::ptr_eq(link, link_state)) {
            links.push(Arc::clone(link_state));
        }
    }
}

impl SlotPool {
    /// Creates a pool of `slots` slots for up to `pixel_bytes` of pixels each. Memory for all of them is reserved; the
    /// pages of most slots come with their first loan. The `generation` distinguishes this pool from earlier ones of the
    /// same producer.
    ///
    /// # Errors
    /// When the system has no memory or descriptors left.
    ///
    /// # Panics
    /// When `slots` is zero or above [`MAX_SLOTS`].
    pub fn new(slots: usize, pixel_bytes: usize, generation: u16) -> Result<Arc<Self>, MemoryError> {
        assert!((1..=MAX_SLOTS).contains(&slots), "a pool of {slots} slots");
        Self::with(slots, pixel_bytes, generation, Arc::new(Slots::new()))
    }

    /// Creates a pool of at least as many slots for at least as many pixels, which replaces this one. A slot that is still
    /// held in this pool cannot be lent by the other.
    ///
    /// # Errors
    /// When the system has no memory or descriptors left.
    ///
    /// # Panics
    /// When `slots` is above [`MAX_SLOTS`].
    pub fn enlarged(
        &self,
        slots: usize,
        pixel_bytes: usize,
        generation: u16,
    ) -> Result<Arc<Self>, MemoryError> {
        assert!(slots <= MAX_SLOTS, "a pool of {slots} slots");
        let (slots, pixel_bytes) = (slots.max(self.count), pixel_bytes.max(self.pixel_bytes));
        Self::with(slots, pixel_bytes, generation, Arc::clone(&self.slots))
    }

    fn with(
        count: usize,
        pixel_bytes: usize,
        generation: u16,
        slots: Arc<Slots>,
    ) -> Result<Arc<Self>, MemoryError> {
        let region = Region::reserved(Self::size_bytes(count, pixel_bytes))?;
        let pixel_bytes = pixel_bytes.next_multiple_of(PAGE_BYTES);
        let present = PresentSlots::at_start(&region, count, pixel_bytes);
        Ok(Arc::new(Self { region, slots, count, pixel_bytes, generation, present }))
    }

    /// Returns the size in bytes of a pool of `slots` slots for up to `pixel_bytes` of pixels each.
    pub fn size_bytes(slots: usize, pixel_bytes: usize) -> usize {
        slots * (HEADER_BYTES + pixel_bytes.next_multiple_of(PAGE_BYTES))
    }

    /// Returns the capacity of one slot for pixels, in bytes.
    pub fn pixel_bytes(&self) -> usize {
        self.pixel_bytes
    }

    /// Returns the number of slots.
    pub fn slots(&self) -> usize {
        self.count
    }

    /// Returns the announcement of this pool, which a reader needs before its first frameset.
    fn announcement(&self) -> Result<Announcement, MemoryError> {
        Ok(Announcement::Pool {
            generation: self.generation,
            slots: self.slots() as u32,
            pixel_bytes: self.pixel_bytes as u64,
            memory: self.region.share()?,
        })
    }

    /// Lends a free slot for a frameset with this header. Returns `None` when every slot is held.
    ///
    /// # Errors
    /// If the header is inconsistent. It must also fit: see [`Self::pixel_bytes`].
    ///
    /// # Panics
    /// When the frameset is larger than a slot.
    pub fn lend(self: &Arc<Self>, header: &FrameSetHeader) -> Result<Option<Loan>, LayoutError> {
        let layout = Layout::of(&header.frames)?;
        assert!(layout.size_bytes() <= self.pixel_bytes, "a frameset larger than its slot");
        let Some(slot) = self.slots.claim(self.count) else { return Ok(None) };
        self.present.provide(&self.region, slot, self.pixel_bytes);
        let pool = Arc::clone(self);
        Ok(Some(Loan(Share { pool, slot, number: 0, header: header::copied(header), layout })))
    }

    fn header_start(&self, slot: usize) -> usize {
        present::bytes_of(slot, self.pixel_bytes).start
    }
}

/// A slot held by this process, with its header and layout.
struct Share {
    pool: Arc<SlotPool>,
    slot: usize,
    /// The number in the producer's words, once it is published.
    number: u64,
    header: Box<FrameSetHeader>,
    layout: Layout,
}

impl Share {
    fn pixel_range(&self, index: usize) -> std::ops::Range<usize> {
        let start = self.pool.header_start(self.slot) + HEADER_BYTES;
        let range = self.layout.range(index);
        start + range.start..start + range.end
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.pool.slots.free(self.slot);
    }
}

/// A slot to write a frameset into. If it is dropped unpublished, the slot is free again.
pub struct Loan(Share);

impl Loan {
    /// Returns the header that was passed to `lend`.
    pub fn header(&self) -> &FrameSetHeader {
        &self.0.header
    }

    /// Returns the pixels of the frame at `index` of the header, to be written: their initial content is undefined.
    ///
    /// # Panics
    /// When there is no such frame.
    pub fn frame_mut(&mut self, index: usize) -> &mut [u8] {
        let range = self.0.pixel_range(index);
        // SAFETY: a loan is the only handle to its slot (see the module), and `&mut self` makes the slice
        // the only one of this loan.
        unsafe { self.0.pool.region.bytes_mut(range) }
    }

    /// Gives every frame this number of the device.
    pub fn set_number(&mut self, number: u64) {
        self.0.header.frames.iter_mut().for_each(|frame| frame.number = number);
    }

    /// Publishes the frameset under this sequence number: from now on it is only read, here and on each link that it
    /// is [queued](LinkWriter::publish) on.
    pub fn publish(self, sequence: u64) -> Published {
        self.publish_as(sequence, sequence)
    }

    /// Publishes the `number`th frameset of this producer under the sequence number that it has elsewhere. The links keep
    /// the order of the numbers.
    pub fn publish_as(self, number: u64, sequence: u64) -> Published {
        let mut share = self.0;
        share.number = number;
        share.header.sequence = sequence;
        let pool = &share.pool;
        let start = pool.header_start(share.slot);
        // SAFETY: no word holds the slot yet, so it is still the loan's alone.
        let bytes = unsafe { pool.region.bytes_mut(start..start + HEADER_BYTES) };
        header::encode(&share.header, number, bytes);
        Published(share)
    }
}

/// A published frameset, for readers in the producer's own process.
pub struct Published(Share);

impl Published {
    /// Returns the frameset's header.
    pub fn header(&self) -> &FrameSetHeader {
        &self.0.header
    }

    /// Returns the pixels of the frame at `index` of the header.
    ///
    /// # Panics
    /// When there is no such frame.
    pub fn frame(&self, index: usize) -> &[u8] {
        let range = self.0.pixel_range(index);
        // SAFETY: the busy flag keeps the slot from being lent while this share lives; shares only read.
        unsafe { self.0.pool.region.bytes(range) }
    }
}

#[cfg(all(test, not(shuttle)))]
impl Published {
    /// Returns the slot, and the generation of its pool.
    pub(crate) fn place(&self) -> (usize, u16) {
        (self.0.slot, self.0.pool.generation)
    }

    /// Returns whether a reader has received the announcements for it.
    pub(crate) fn is_known_to(&self, writer: &LinkWriter) -> bool {
        writer.knows(&self.0.pool).is_ok_and(|all| all)
    }
}

/// The producer's end of one link to another process. It outlives instances of the producer and of the reader.
pub struct LinkWriter {
    link_state: Arc<LinkState>,
    notifier: Notifier,
    announced: Mutex<Announced>,
    overflow: Overflow,
    capacity: usize,
}

/// The announcements that the reader needs, and those that were sent.
struct Announced {
    announcements: Sender<Announcement>,
    /// Whether the begin of this instance was announced.
    begun: bool,
    /// The cameras, each with the size of its description.
    sources: Vec<(Arc<CameraInfo>, usize)>,
    /// The index of the first source that was not announced.
    next_source: usize,
    /// The pools that the reader keeps or needs, each with whether it was announced.
    pools: Vec<(Weak<SlotPool>, bool)>,
    /// Number of announcements since the reader had received all of them.
    unacknowledged: u32,
    /// The size of the descriptions among them.
    unacknowledged_bytes: usize,
    /// The absence of the reader that ends when the announcements reach a new one.
    absence: Option<Absence>,
}

impl Announced {
    fn is_all(&self) -> bool {
        self.begun
            && self.next_source == self.sources.len()
            && self.pools.iter().all(|(_, announced)| *announced)
    }

    /// Returns the next announcement, which [`Self::note_sent`] then marks.
    fn next(&mut self) -> Result<Option<Announcement>, MemoryError> {
        if !self.begun {
            return Ok(Some(Announcement::Begin));
        }
        if let Some((info, _)) = self.sources.get(self.next_source) {
            return Ok(Some(Announcement::Source(Box::new((**info).clone()))));
        }
        for (pool, announced) in self.pools.iter_mut().filter(|(_, announced)| !announced) {
            if let Some(pool) = pool.upgrade() {
                return pool.announcement().map(Some);
            }
            // A pool that no longer exists has no framesets.
            *announced = true;
        }
        Ok(None)
    }

    /// Returns whether the channel has space for the next announcement, so that sending it does not wait.
    fn has_space(&self) -> bool {
        let bytes = self.sources.get(self.next_source).filter(|_| self.begun).map_or(0, |(_, bytes)| *bytes);
        self.unacknowledged == 0
            || self.unacknowledged < UNACKNOWLEDGED_MAX
                && self.unacknowledged_bytes + bytes <= UNACKNOWLEDGED_BYTES_MAX
    }

    /// Forgets what was not acknowledged: the reader has received everything, or there is another channel.
    fn note_received(&mut self) {
        (self.unacknowledged, self.unacknowledged_bytes) = (0, 0);
    }

    /// Marks the next announcement as sent.
    fn note_sent(&mut self) {
        if !self.begun {
            self.begun = true;
        } else if let Some((_, bytes)) = self.sources.get(self.next_source) {
            self.unacknowledged_bytes += bytes;
            self.next_source += 1;
        } else if let Some((_, announced)) = self.pools.iter_mut().find(|(_, announced)| !announced) {
            *announced = true;
        }
    }
}

impl LinkWriter {
    /// Creates the producer's end of a link whose reader queues at most `capacity` framesets.
    pub fn new(
        link_state: Arc<LinkState>,
        notifier: Notifier,
        announcements: Sender<Announcement>,
        overflow: Overflow,
        capacity: usize,
    ) -> Self {
        let announced = Announced {
            announcements,
            begun: true,
            sources: Vec::new(),
            next_source: 0,
            pools: Vec::new(),
            unacknowledged: 0,
            unacknowledged_bytes: 0,
            absence: None,
        };
        Self { link_state, notifier, announced: Mutex::new(announced), overflow, capacity }
    }

    /// Returns the link state.
    pub fn link_state(&self) -> &Arc<LinkState> {
        &self.link_state
    }

    /// Returns the behaviour for a full queue.
    pub fn overflow(&self) -> Overflow {
        self.overflow
    }

    /// Begins an instance of the producer: the reader discards the cameras of the previous one.
    pub fn begin(&self) {
        let mut announced = self.announced();
        announced.begun = false;
        announced.sources.clear();
        announced.next_source = 0;
        announced.pools.clear();
        // An error is reported when a frameset is published.
        let _ = self.catch_up(&mut announced);
    }

    /// Announces a pool to the reader, so that the pool is mapped before its first frameset.
    ///
    /// # Errors
    /// When the system has no descriptors or addresses left.
    pub fn announce_pool(&self, pool: &Arc<SlotPool>) -> Result<(), MemoryError> {
        self.knows(pool).map(drop)
    }

    /// Announces a pool if necessary, and returns whether it and all cameras were announced. Nothing is announced to
    /// a reader with too many unreceived announcements.
    fn knows(&self, pool: &Arc<SlotPool>) -> Result<bool, MemoryError> {
        let mut announced = self.announced();
        if !announced.pools.iter().any(|(known, _)| std::ptr::eq(known.as_ptr(), Arc::as_ptr(pool))) {
            if announced.pools.len() == POOLS_KEPT {
                announced.pools.remove(0);
            }
            announced.pools.push((Arc::downgrade(pool), false));
            pool.slots.add_link(&self.link_state);
        }
        self.catch_up(&mut announced)
    }

    /// Announces the next camera whose framesets will follow; the first has number 0. Its description has at most
    /// [`MAX_DESCRIPTION_BYTES`](crate::protocol::MAX_DESCRIPTION_BYTES): sending a larger one can wait for the reader.
    pub fn announce_source(&self, info: &Arc<CameraInfo>) {
        let bytes = description_bytes(info);
        let mut announced = self.announced();
        announced.sources.push((Arc::clone(info), bytes));
        // An error is reported when a frameset is published.
        let _ = self.catch_up(&mut announced);
    }

    /// Continues with a new reader, which ends the `absence` of the previous one, and announces everything to it.
    ///
    /// # Errors
    /// If the system has no descriptors or addresses left. The reader stays absent until the next frameset finds some.
    pub fn relink(&self, announcements: Sender<Announcement>, absence: Absence) -> Result<(), MemoryError> {
        let mut announced = self.announced();
        announced.announcements = announcements;
        announced.begun = true;
        announced.next_source = 0;
        announced.pools.iter_mut().for_each(|(_, announced)| *announced = false);
        announced.note_received();
        announced.absence = Some(absence);
        // The new reader has received nothing.
        let begun = self.announce(&mut announced, Announcement::Begin);
        announced.begun = begun.is_ok();
        begun.and_then(|()| self.catch_up(&mut announced)).map(drop)
    }

    /// Returns whether the next frameset would be queued without dropping one. A reader that has not received this
    /// instance's announcements has no room.
    pub fn has_room(&self) -> bool {
        self.link_state.reader_gone()
            || self.link_state.queued() < self.capacity
                && self.catch_up(&mut self.announced()).is_ok_and(|all| all)
    }

    /// Marks the link as ended by the producer.
    pub fn end(&self) {
        self.link_state.end();
        self.notifier.notify();
    }

    /// Takes back the oldest queued frameset if the policy is `DropOldest`.
    pub fn take_back_oldest(&self) -> bool {
        let _step = self.link_state.producer_step();
        self.take_back()
    }

    fn take_back(&self) -> bool {
        self.overflow == Overflow::DropOldest && self.link_state.take_back_oldest(DropReason::DropOldest)
    }

    fn announced(&self) -> MutexGuard<'_, Announced> {
        // No code panics while it holds the lock.
        self.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends outstanding announcements as far as the reader receives them; returns whether all were sent. A new reader is back
    /// unless that failed.
    fn catch_up(&self, announced: &mut Announced) -> Result<bool, MemoryError> {
        let all = self.send_outstanding(announced)?;
        if let Some(absence) = announced.absence.take() {
            self.link_state.set_reader_back(absence);
        }
        Ok(all)
    }

    /// Sends outstanding announcements, see [`Self::catch_up`]. The reader has to receive all announcements of an instance before
    /// those of the next one: so the channel holds the memory of at most two instances.
    fn send_outstanding(&self, announced: &mut Announced) -> Result<bool, MemoryError> {
        if announced.is_all() {
            return Ok(true);
        }
        if self.link_state.has_received_all() {
            announced.note_received();
        } else if !announced.begun {
            return Ok(false);
        }
        while announced.has_space() {
            let Some(announcement) = announced.next()? else { return Ok(true) };
            self.announce(announced, announcement)?;
            announced.note_sent();
        }
        Ok(announced.is_all())
    }

    /// Sends an announcement and wakes the reader, unless it has ended or its process has.
    fn announce(&self, announced: &mut Announced, announcement: Announcement) -> Result<(), MemoryError> {
        if self.link_state.reader_ended() {
            return Ok(());
        }
        match announced.announcements.send(announcement) {
            Ok(()) => {
                announced.unacknowledged += 1;
                self.link_state.count_announced();
                self.notifier.notify();
                Ok(())
            }
            // Everything is announced again to the next one.
            Err(error) if is_closed(&error) => Ok(()),
            Err(error) => Err(MemoryError::Unsent(error)),
        }
    }

    /// Queues a frameset by the link's overflow policy. To lose none, wait for [`Self::has_room`] first.
    pub fn publish(&self, frameset: &Published) {
        let Share { pool, slot, number, .. } = &frameset.0;
        // A loan may be older than pools that were announced since.
        let knows = self.knows(pool);
        let step = self.link_state.producer_step();
        self.link_state.count_produced();
        if knows.is_err() {
            // The reader could not map it.
            self.link_state.count_dropped(DropReason::NoSlot);
            return;
        }
        if self.link_state.reader_gone() {
            self.link_state.count_dropped(DropReason::ReaderGone);
            self.link_state.take_back_all();
            return;
        }
        if self.link_state.ended() {
            // Ended in place of a producer that did not return from a call. The reader still takes what was queued before.
            self.link_state.count_dropped(DropReason::ReaderGone);
            return;
        }
        if knows.is_ok_and(|all| !all) {
            // The reader cannot map it until it receives announcements again.
            self.link_state.count_dropped(DropReason::DropNewest);
            return;
        }
        while self.link_state.queued() >= self.capacity {
            if self.overflow != Overflow::DropOldest {
                self.link_state.count_dropped(DropReason::DropNewest);
                return;
            }
            // If the reader has just emptied the queue, there is nothing to take back, but room.
            self.take_back();
        }
        self.link_state.publish(*slot, pool.generation, *number);
        // Since the checks above, a reader that left may have emptied its queue before this frameset was in it, and one
        // whose link was ended may have found it empty for good. What was queued before the end is still delivered.
        if self.link_state.reader_gone() {
            self.link_state.take_back_all();
        } else if self.link_state.ended() {
            self.link_state.take_back_one(*slot, pool.generation, *number);
        }
        drop(step);
        if self.link_state.notify() {
            self.notifier.notify();
        }
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests;
