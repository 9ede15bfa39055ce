//! Common parts of the outputs of cameras and processors: slots, links, waiting and counting.
//!
//! A frameset for which there is no slot or no room is dropped according to the policy, and the reason is counted on
//! the state of each link.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use camrig_frame::{CameraInfo, Frame, FrameSetHeader, Layout, Origins, one_line};
use camrig_ipc::protocol::{MAX_DESCRIPTION_BYTES, description_bytes};
use camrig_ipc::{ActorCounters, DropReason, LinkState, MAX_SLOTS, MAX_SOURCES, Overflow, SlotPool};

use super::{FrameHeaders, Loan, OutputError, OutputLinks};
use crate::frameset::{FrameSet, HeldFrames};
use crate::link::{Outgoing, ProducerEnd};

/// Maximum time that a producer with blocking readers waits for a slot that they hold, before it drops the frameset.
const SLOT_WAIT_MAX: Duration = Duration::from_secs(10);

/// Pauses between attempts on an exhausted pool: short at first, for fast readers.
const PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_micros(20)..=Duration::from_millis(1);

/// Maximum time between two checks of a full link; guards against a lost wake-up.
const ROOM_LOOK: Duration = Duration::from_millis(100);

/// Publishes an actor's framesets on its links.
pub(crate) struct Publisher {
    name: Arc<str>,
    slots: usize,
    links: Vec<Arc<dyn ProducerEnd>>,
    /// The links as they change, and the version of those above.
    shared: OutputLinks,
    version: Option<usize>,
    counters: Arc<ActorCounters>,
    sources: Vec<Arc<CameraInfo>>,
    pool: Option<Arc<SlotPool>>,
    sequence: u64,
    held: Arc<AtomicUsize>,
    /// Whether it was logged that a reader on the thread lost a frameset although it blocks.
    shortage_is_logged: bool,
}

/// The parts of a publisher.
pub(crate) struct Wiring {
    pub(crate) name: String,
    pub(crate) slots: usize,
    pub(crate) links: OutputLinks,
    pub(crate) counters: Arc<ActorCounters>,
}

/// The origin of a frameset.
pub(super) struct FrameSetOrigin {
    /// The index of its camera: see [`Publisher::source`].
    pub(super) source: usize,
    /// Time at which it reached its camera actor.
    pub(super) arrival_nanos: u64,
    /// The number of its match.
    pub(super) matched: Option<u64>,
    /// The framesets from which it was made, if there are several.
    pub(super) origins: Origins,
}

/// Result of requesting a slot.
#[allow(clippy::large_enum_variant, reason = "it is nearly always a slot, and taken apart at once")]
pub(super) enum Lent {
    /// The slot.
    Slot(Loan),
    /// All slots are in use: the frameset with these frames is dropped.
    Nothing(FrameHeaders),
}

impl Lent {
    pub(super) fn slot(self) -> Option<Loan> {
        match self {
            Self::Slot(loan) => Some(loan),
            Self::Nothing(_) => None,
        }
    }
}

impl FrameSetOrigin {
    fn header(self, sequence: u64, frames: FrameHeaders) -> FrameSetHeader {
        let Self { source, arrival_nanos, matched, origins } = self;
        FrameSetHeader { sequence, source: source as u16, arrival_nanos, matched, origins, frames }
    }
}

impl Publisher {
    /// Starts an instance of an actor, which continues the sequence numbers of the previous one.
    pub(crate) fn new(wiring: Wiring) -> Self {
        let Wiring { name, slots, links, counters } = wiring;
        // The previous instance may have crashed while waiting.
        counters.set_blocked(false);
        let mut publisher = Self {
            sequence: counters.produced(),
            name: name.into(),
            slots,
            links: Vec::new(),
            shared: links,
            version: None,
            counters,
            sources: Vec::new(),
            pool: None,
            held: Arc::default(),
            shortage_is_logged: false,
        };
        publisher.follow_links();
        publisher
    }

    /// Continues with the present links. New ones begin with the next frameset: everything is announced to their readers.
    fn follow_links(&mut self) {
        let Some((version, current)) = self.shared.newer(self.version) else { return };
        self.version = Some(version);
        let links: Vec<_> = current.links.into_iter().map(|(_, link)| link).collect();
        for link in &links {
            if self.links.iter().any(|known| Arc::ptr_eq(known, link)) {
                continue;
            }
            link.begin();
            link.link_state().join(self.sequence);
            self.sources.iter().for_each(|info| link.announce_source(info));
            // The next frameset announces it again where this fails.
            let _ = self.pool.iter().try_for_each(|pool| link.announce_pool(pool));
        }
        self.links = links;
        self.slots = self.slots.max(current.slots.min(MAX_SLOTS));
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn counters(&self) -> &ActorCounters {
        &self.counters
    }

    /// Allocates the slots for framesets of this size in advance, if a reader needs them.
    pub(super) fn prepare(&mut self, frameset_bytes: usize) -> Result<(), OutputError> {
        if self.needs_slots() {
            self.provide_pool(frameset_bytes)?;
        }
        Ok(())
    }

    /// Returns whether some reader needs framesets in slots.
    fn needs_slots(&self) -> bool {
        self.links.iter().any(|link| link.needs_slots())
    }

    /// Publishes a loan after all its frames have been written.
    pub(super) fn publish(&mut self, loan: Loan) {
        self.follow_links();
        self.wait_for_room();
        // The number at lending may be outdated: other framesets may have been published since.
        let number = self.sequence;
        self.count();
        let published = loan.slot.publish_as(number, loan.sequence.unwrap_or(number));
        self.give(Outgoing::in_slot(&self.name, &self.sources[loan.source], published));
    }

    /// Publishes frames in place, or copies them into a slot if a reader requires it.
    pub(super) fn publish_held(
        &mut self,
        origin: FrameSetOrigin,
        frames: FrameHeaders,
        held: Box<dyn HeldFrames>,
    ) -> Result<(), OutputError> {
        self.follow_links();
        if self.needs_slots() {
            if let Lent::Slot(mut loan) = self.loan(origin, frames)? {
                copy(held.as_ref(), &mut loan)?;
                self.counters.count_copied();
                drop(held);
                self.publish(loan);
            }
            return Ok(());
        }
        for (index, header) in frames.iter().enumerate() {
            Frame::new(header, held.pixels(index))?;
        }
        if !self.wait_for(|publisher| publisher.held.load(Ordering::Acquire) < publisher.slots) {
            self.drop_for_want_of_a_slot();
            return Ok(());
        }
        self.wait_for_room();
        let source = origin.source;
        let header = origin.header(self.sequence, frames);
        self.count();
        let info = &self.sources[source];
        let frameset = FrameSet::held(Arc::clone(&self.name), Arc::clone(info), header, held, &self.held);
        self.give(Outgoing::of(&self.name, info, frameset));
        Ok(())
    }

    /// Passes on a frameset as it is, under the next sequence number: its frames stay where they are, or are copied
    /// into a slot where a reader needs that.
    pub(super) fn forward(&mut self, frameset: &FrameSet, matched: Option<u64>) -> Result<(), OutputError> {
        let source = self.source(frameset.info())?;
        let origins = frameset.header().origins.clone();
        let origin = FrameSetOrigin { source, arrival_nanos: frameset.arrival_nanos(), matched, origins };
        self.publish_held(origin, frameset.header().frames.clone(), Box::new(frameset.clone()))
    }

    /// Returns whether there are readers and all of them have ended. Removed readers do not count.
    pub(super) fn abandoned(&mut self) -> bool {
        self.follow_links();
        !self.links.is_empty() && self.links.iter().all(|link| link.link_state().reader_ended())
    }

    /// Returns the framesets so far, dropped ones included.
    pub(super) fn produced(&self) -> u64 {
        self.sequence
    }

    /// Lends a slot. If all slots are in use, counts the frameset as dropped and returns its frames.
    pub(super) fn loan(&mut self, origin: FrameSetOrigin, frames: FrameHeaders) -> Result<Lent, OutputError> {
        self.follow_links();
        let pool = self.provide_pool(Layout::of(&frames)?.size_bytes())?;
        let source = origin.source;
        let header = origin.header(self.sequence, frames);
        let mut slot = None;
        self.wait_for(|_| {
            // A header without a valid layout was rejected above.
            slot = pool.lend(&header).ok().flatten();
            slot.is_some()
        });
        if let Some(slot) = slot {
            return Ok(Lent::Slot(Loan { slot, source, sequence: None }));
        }
        self.drop_for_want_of_a_slot();
        Ok(Lent::Nothing(header.frames))
    }

    /// Tries until `attempt` succeeds: takes back queued framesets, and waits where a reader blocks. Returns whether it
    /// succeeded; otherwise the frameset has to be dropped.
    fn wait_for(&self, mut attempt: impl FnMut(&Self) -> bool) -> bool {
        attempt(self) || self.blocked(|| self.keep_trying(attempt))
    }

    /// Marks the actor as blocked, by its readers or its source, during `wait`.
    pub(super) fn blocked<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.counters.set_blocked(true);
        let outcome = wait();
        self.counters.set_blocked(false);
        outcome
    }

    fn keep_trying(&self, mut attempt: impl FnMut(&Self) -> bool) -> bool {
        let mut pause = *PAUSES.start();
        let mut deadline = None;
        loop {
            if attempt(self) {
                return true;
            }
            if self.links.iter().any(|link| link.take_back_oldest()) {
                continue;
            }
            let Some(blocking) = self.blocking() else { return false };
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + SLOT_WAIT_MAX);
            if Instant::now() >= deadline {
                log::warn!(
                    "all {} slots have been held for {} s: a frameset is dropped although a reader blocks; \
                     raise `slots`, or keep fewer framesets",
                    self.slots,
                    SLOT_WAIT_MAX.as_secs(),
                );
                return false;
            }
            // Only this reader's progress ends the pause early; handles dropped elsewhere do not.
            blocking.await_progress(pause, || false);
            pause = (pause * 2).min(*PAUSES.end());
        }
    }

    /// Waits until no blocking link is full. It ends because a reader reads, ends, or is declared gone.
    fn wait_for_room(&self) {
        for link in self.links.iter().filter(|link| link.overflow() == Overflow::Block) {
            self.wait_until(link.link_state(), || link.has_room());
        }
    }

    fn wait_until(&self, link_state: &LinkState, has_room: impl Fn() -> bool) {
        if has_room() {
            return;
        }
        self.blocked(|| {
            while !has_room() {
                link_state.await_progress(ROOM_LOOK, &has_room);
            }
        });
    }

    fn give(&self, mut frameset: Outgoing<'_>) {
        self.links.iter().for_each(|link| link.publish(&mut frameset));
    }

    fn drop_for_want_of_a_slot(&mut self) {
        let blocks = |link: &Arc<dyn ProducerEnd>| {
            link.overflow() == Overflow::Block && link.is_on_thread() && !link.link_state().reader_gone()
        };
        if self.links.iter().any(blocks) && !std::mem::replace(&mut self.shortage_is_logged, true) {
            log::warn!(
                "all {} slots are held: framesets are dropped as `{}` although a reader on this thread blocks, which reads \
                 nothing meanwhile; raise `slots`, or publish fewer framesets in one call",
                self.slots,
                DropReason::NoSlot,
            );
        }
        self.count();
        for link in &self.links {
            link.link_state().count_produced_and_dropped(DropReason::NoSlot);
        }
    }

    /// Counts the frameset before any link does: `LinkState::settle` needs that order when this process dies.
    fn count(&mut self) {
        self.sequence += 1;
        self.counters.count_produced();
    }

    /// Returns the pool. Makes or replaces it if the frameset does not fit, and announces it to the readers.
    fn provide_pool(&mut self, size_bytes: usize) -> Result<Arc<SlotPool>, OutputError> {
        let suffices = |pool: &&Arc<SlotPool>| pool.pixel_bytes() >= size_bytes && pool.slots() >= self.slots;
        if let Some(pool) = self.pool.as_ref().filter(suffices) {
            return Ok(Arc::clone(pool));
        }
        let refused = |reason| OutputError::Slots {
            slots: self.slots,
            frameset_bytes: size_bytes,
            reason: Arc::new(reason),
        };
        let generation = self.counters.next_generation();
        let pool = match &self.pool {
            Some(pool) => pool.enlarged(self.slots, size_bytes, generation),
            None => SlotPool::new(self.slots, size_bytes, generation),
        };
        let pool = pool.map_err(refused)?;
        self.links.iter().try_for_each(|link| link.announce_pool(&pool)).map_err(refused)?;
        self.pool = Some(Arc::clone(&pool));
        Ok(pool)
    }

    /// Returns the index of a camera among those whose framesets are published here, and announces a new one to the
    /// readers.
    pub(super) fn source(&mut self, info: &Arc<CameraInfo>) -> Result<usize, OutputError> {
        let known = self.sources.iter().position(|source| Arc::ptr_eq(source, info) || source == info);
        if let Some(number) = known {
            return Ok(number);
        }
        if self.sources.len() == MAX_SOURCES {
            return Err(OutputError::Sources);
        }
        let size_bytes = description_bytes(info);
        if size_bytes > MAX_DESCRIPTION_BYTES {
            return Err(OutputError::Description { name: one_line(&info.name), size_bytes });
        }
        self.links.iter().for_each(|link| link.announce_source(info));
        self.sources.push(Arc::clone(info));
        Ok(self.sources.len() - 1)
    }

    /// Returns the link state of a running reader, on another thread, for which no framesets may be dropped.
    fn blocking(&self) -> Option<&Arc<LinkState>> {
        let blocking =
            self.links.iter().filter(|link| link.overflow() == Overflow::Block && !link.is_on_thread());
        blocking.map(|link| link.link_state()).find(|link_state| !link_state.reader_gone())
    }
}

/// Copies frames into a slot. Each is asked for once.
fn copy(held: &dyn HeldFrames, loan: &mut Loan) -> Result<(), OutputError> {
    for index in 0..loan.slot.header().frames.len() {
        let pixels = held.pixels(index);
        Frame::new(&loan.slot.header().frames[index], pixels)?;
        loan.frame_mut(index).copy_from_slice(pixels);
    }
    Ok(())
}
