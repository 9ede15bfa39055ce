//! An actor's output: every frameset leaves its producer through here, in every placement.
//!
//! The outlet owns the producer's slots and knows the links to its readers, whether they are in this process
//! or in another. It counts everything: a frameset that finds no slot or no room is dropped by policy, with
//! its reason, on the link state of each link. It deliberately knows nothing of drivers, actors and processes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use camrig_frame::{
    CameraInfo, Clock, FrameHeader, FrameSetHeader, Layout, LayoutError, MAX_FRAMES, Stream, StreamInfo,
    Timestamp,
};
use camrig_ipc::{
    ActorCounters, Counts, DropReason, Latency, LinkState, LinkWriter, Loan as SlotLoan, LostReason,
    MAX_SOURCES, MemoryError, Overflow, SlotPool,
};

use crate::frameset::{FrameSet, HeldFrames};
use crate::local::LocalLink;
use crate::losses::{Losses, Lost};
use crate::matching::{Match, MatchStats, MatchStatus};

/// How long a producer whose readers ask it to `block` waits for a slot that they hold, before it drops.
const SLOT_PATIENCE: Duration = Duration::from_secs(10);

/// Pauses between looks at an exhausted pool: short at first, so that a fast reader is not waited for.
const PAUSES: std::ops::RangeInclusive<Duration> = Duration::from_micros(20)..=Duration::from_millis(1);

/// How often a full link is looked at though its reader has not said that there is room.
const ROOM_LOOK: Duration = Duration::from_millis(100);

/// Where an actor publishes its framesets.
pub struct Outlet {
    name: Arc<str>,
    rig: Arc<str>,
    slots: usize,
    remotes: Vec<Arc<LinkWriter>>,
    locals: Vec<Arc<LocalLink>>,
    inputs: Vec<(String, Arc<LinkState>)>,
    matching: Option<Arc<MatchStats>>,
    counters: Arc<ActorCounters>,
    sources: Vec<Source>,
    pool: Option<Arc<SlotPool>>,
    sequence: u64,
    held: Arc<AtomicUsize>,
}

/// A camera whose framesets this outlet publishes, with what it lost.
struct Source {
    info: Arc<CameraInfo>,
    losses: Losses,
}

/// Everything that an outlet is wired with.
pub(crate) struct Wiring {
    pub(crate) name: String,
    /// The name of the rig's status socket.
    pub(crate) rig: String,
    pub(crate) slots: usize,
    pub(crate) remotes: Vec<Arc<LinkWriter>>,
    pub(crate) locals: Vec<Arc<LocalLink>>,
    pub(crate) inputs: Vec<(String, Arc<LinkState>)>,
    pub(crate) matching: Option<Arc<MatchStats>>,
    pub(crate) counters: Arc<ActorCounters>,
}

/// A slot to write a frameset into: first the pixels of every frame, then [`Outlet::publish`].
///
/// Dropped without being published, it leaves no trace: the frameset was never produced.
pub struct Loan {
    slot: SlotLoan,
    source: usize,
}

impl Loan {
    /// The pixels of the frame at `index` of the headers that the loan was asked with. They hold anything at
    /// first.
    ///
    /// # Panics
    /// When there is no such frame.
    pub fn frame_mut(&mut self, index: usize) -> &mut [u8] {
        self.slot.frame_mut(index)
    }
}

/// The headers of a frameset's frames.
pub type FrameHeaders = ArrayVec<FrameHeader, MAX_FRAMES>;

/// One input link, as [`Outlet::inputs`] shows it.
#[derive(Clone, Debug)]
pub struct LinkStatus<'a> {
    /// The actor at the other end.
    pub from: &'a str,
    /// What became of its framesets.
    pub counts: Counts,
    /// How long they took from the camera actor to this processor.
    pub latency: Latency,
}

/// Why framesets cannot be published.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OutletError {
    /// The headers are not those of a frameset.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The producer passes on framesets of too many cameras.
    #[error("framesets of more than {MAX_SOURCES} cameras are passed on")]
    Sources,
    /// The system has no memory for the slots.
    #[error("{slots} slots of {} KiB cannot be made: {reason}", frameset_bytes.div_ceil(1024))]
    Slots {
        /// How many.
        slots: usize,
        /// What each of them has to hold, in bytes.
        frameset_bytes: usize,
        /// What the system said.
        reason: Arc<MemoryError>,
    },
}

impl Outlet {
    /// The output of an actor that begins a life: its sequence numbers go on from the one before.
    pub(crate) fn new(wiring: Wiring) -> Self {
        let Wiring { name, rig, slots, remotes, locals, inputs, matching, counters } = wiring;
        for link in &remotes {
            link.begin();
        }
        // The life before may have died while it waited.
        counters.set_blocked(false);
        Self {
            sequence: counters.produced(),
            name: name.into(),
            rig: rig.into(),
            slots,
            remotes,
            locals,
            inputs,
            matching,
            counters,
            sources: Vec::new(),
            pool: None,
            held: Arc::default(),
        }
    }

    /// The actor's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name under which the rig's status can be read, as `camrig top` does: what all its actors and
    /// processes do.
    pub fn rig(&self) -> &str {
        &self.rig
    }

    /// The actor's input links as they are now; empty for a camera.
    pub fn inputs(&self) -> impl Iterator<Item = LinkStatus<'_>> {
        self.inputs.iter().map(|(from, link_state)| LinkStatus {
            from,
            counts: link_state.counts(),
            latency: link_state.latency(),
        })
    }

    /// What the matching of the actor's inputs came to so far, where its topology has `match`.
    pub fn matching(&self) -> Option<MatchStatus<'_>> {
        self.matching.as_ref().map(|stats| stats.status())
    }

    /// Makes the slots for a camera's framesets before the first one comes.
    pub(crate) fn prepare(&mut self, info: &Arc<CameraInfo>) -> Result<(), OutletError> {
        let layout = Layout::of(&largest_frames(&info.streams))?;
        self.source(info)?;
        if self.needs_slots() {
            self.provide_pool(layout.size_bytes())?;
        }
        Ok(())
    }

    /// Whether a slot is needed at all: not when each frame can stay where it is.
    fn needs_slots(&self) -> bool {
        !self.remotes.is_empty()
    }

    /// A slot for the next frameset of the camera itself, which arrived at `arrival_nanos`; none when every
    /// slot is held, which counts the frameset as dropped.
    ///
    /// # Errors
    /// When the headers are not those of a frameset.
    ///
    /// # Panics
    /// When a processor calls it, which has no camera of its own: see [`Self::derive`].
    pub fn loan(&mut self, arrival_nanos: u64, frames: FrameHeaders) -> Result<Option<Loan>, OutletError> {
        assert!(!self.sources.is_empty(), "only a camera has framesets of its own; a processor derives them");
        self.loan_slot(0, arrival_nanos, None, frames)
    }

    /// A slot for a frameset that is made from `origin`, whose camera, arrival and match it keeps; none when
    /// every slot is held, which counts the frameset as dropped.
    ///
    /// # Errors
    /// When the headers are not those of a frameset.
    pub fn derive(&mut self, origin: &FrameSet, frames: FrameHeaders) -> Result<Option<Loan>, OutletError> {
        let source = self.source(origin.info())?;
        self.loan_slot(source, origin.arrival_nanos(), origin.header().matched, frames)
    }

    /// Tells why frames of `stream` will be missing that the device gave: the driver left them out. What no
    /// driver explains counts as the device's own loss.
    ///
    /// # Panics
    /// As [`Self::loan`].
    pub fn explain_lost(&mut self, stream: Stream, reason: LostReason, frames: u64) {
        let lost = self.sources[0].losses.tell(stream, reason, frames);
        self.count_lost(lost);
    }

    /// Publishes a loan whose frames are all written.
    pub fn publish(&mut self, loan: Loan) {
        self.note_numbers(loan.source, &loan.slot.header().frames);
        self.wait_for_room();
        // Not the number of when it was lent: others may have been published since.
        let sequence = self.sequence;
        self.count();
        let published = loan.slot.publish(sequence, &self.remotes);
        if !self.locals.is_empty() {
            let info = Arc::clone(&self.sources[loan.source].info);
            self.publish_locally(&FrameSet::in_slot(Arc::clone(&self.name), info, published));
        }
    }

    /// Publishes the camera's own frames where they are, without a copy if every reader is in this process,
    /// and with one copy into a slot otherwise. Counts the frameset as dropped when as many as there are
    /// slots are held.
    ///
    /// # Errors
    /// When the headers are not those of a frameset.
    ///
    /// # Panics
    /// As [`Self::loan`]; also when `held` gives other sizes than the headers.
    pub fn publish_held(
        &mut self,
        arrival_nanos: u64,
        frames: FrameHeaders,
        held: Box<dyn HeldFrames>,
    ) -> Result<(), OutletError> {
        if self.needs_slots() {
            if let Some(mut loan) = self.loan(arrival_nanos, frames.clone())? {
                (0..frames.len()).for_each(|index| loan.frame_mut(index).copy_from_slice(held.pixels(index)));
                self.publish(loan);
            }
            return Ok(());
        }
        Layout::of(&frames)?;
        self.note_numbers(0, &frames);
        if !self.wait_for(|outlet| outlet.held.load(Ordering::Acquire) < outlet.slots) {
            self.drop_for_want_of_a_slot();
            return Ok(());
        }
        self.wait_for_room();
        let header =
            FrameSetHeader { sequence: self.sequence, source: 0, arrival_nanos, matched: None, frames };
        let info = Arc::clone(&self.sources[0].info);
        self.count();
        self.publish_locally(&FrameSet::held(Arc::clone(&self.name), info, header, held, &self.held));
        Ok(())
    }

    /// Passes on a frameset as it is, under the next sequence number of this actor.
    ///
    /// # Errors
    /// When framesets of too many cameras are passed on.
    pub fn forward(&mut self, frameset: &FrameSet) -> Result<(), OutletError> {
        self.forward_as(frameset, frameset.header().matched)
    }

    /// Passes on the framesets of a match as they are, one after another, under the match's number: see
    /// [`FrameSetHeader::matched`].
    ///
    /// # Errors
    /// When framesets of too many cameras are passed on.
    pub fn forward_match(&mut self, matched: &Match) -> Result<(), OutletError> {
        matched.framesets().iter().try_for_each(|frameset| self.forward_as(frameset, Some(matched.number())))
    }

    fn forward_as(&mut self, frameset: &FrameSet, matched: Option<u64>) -> Result<(), OutletError> {
        let source = self.source(frameset.info())?;
        let frames = frameset.header().frames.clone();
        if let Some(mut loan) = self.loan_slot(source, frameset.arrival_nanos(), matched, frames)? {
            for (index, frame) in frameset.frames().enumerate() {
                loan.frame_mut(index).copy_from_slice(frame.bytes());
            }
            self.publish(loan);
        }
        Ok(())
    }

    /// Whether there were readers and all of them have ended.
    pub(crate) fn abandoned(&self) -> bool {
        let mut link_states = self.link_states().peekable();
        link_states.peek().is_some() && link_states.all(|link_state| link_state.reader_ended())
    }

    /// Framesets so far, dropped ones included.
    pub(crate) fn produced(&self) -> u64 {
        self.sequence
    }

    fn loan_slot(
        &mut self,
        source: usize,
        arrival_nanos: u64,
        matched: Option<u64>,
        frames: FrameHeaders,
    ) -> Result<Option<Loan>, OutletError> {
        let size_bytes = Layout::of(&frames)?.size_bytes();
        let pool = self.provide_pool(size_bytes)?;
        let (sequence, source_number) = (self.sequence, source as u16);
        let header = FrameSetHeader { sequence, source: source_number, arrival_nanos, matched, frames };
        let mut slot = None;
        self.wait_for(|outlet| {
            // A header that makes no layout was refused above.
            slot = pool.lend(header.clone(), &outlet.remotes).ok().flatten();
            slot.is_some()
        });
        if slot.is_none() {
            self.note_numbers(source, &header.frames);
            self.drop_for_want_of_a_slot();
        }
        Ok(slot.map(|slot| Loan { slot, source }))
    }

    /// Tries until `attempt` succeeds: takes back what readers have not begun, and waits where a reader asks
    /// its producer to block. False when the frameset has to be dropped.
    fn wait_for(&self, mut attempt: impl FnMut(&Self) -> bool) -> bool {
        attempt(self) || self.blocked(|| self.keep_trying(attempt))
    }

    /// Says meanwhile that the actor waits for its readers.
    fn blocked<T>(&self, wait: impl FnOnce() -> T) -> T {
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
            let taken_back = self.remotes.iter().any(|link| link.take_back_oldest())
                || self.locals.iter().any(|link| link.take_back_oldest());
            if taken_back {
                continue;
            }
            let Some(blocking) = self.blocking().next() else { return false };
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + SLOT_PATIENCE);
            if Instant::now() >= deadline {
                log::warn!(
                    "all {} slots have been held for {} s: a frameset is dropped although a reader blocks; \
                     raise `slots`, or keep fewer framesets",
                    self.slots,
                    SLOT_PATIENCE.as_secs(),
                );
                return false;
            }
            // This reader's progress wakes us; others' and that of handles in this process does not.
            blocking.await_progress(pause, || false);
            pause = (pause * 2).min(*PAUSES.end());
        }
    }

    /// Waits until no link that blocks is full. It ends: a reader reads, ends, or is declared gone.
    fn wait_for_room(&self) {
        for link in self.remotes.iter().filter(|link| link.overflow() == Overflow::Block) {
            self.wait_until(link.link_state(), || link.has_room());
        }
        for link in self.locals.iter().filter(|link| link.overflow() == Overflow::Block) {
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

    fn publish_locally(&self, frameset: &FrameSet) {
        self.locals.iter().for_each(|link| link.publish(frameset.clone()));
    }

    fn drop_for_want_of_a_slot(&mut self) {
        self.count();
        for link_state in self.link_states() {
            let _step = link_state.producer_step();
            link_state.count_produced();
            link_state.count_dropped(DropReason::NoSlot);
        }
    }

    /// Before any link counts it: what a link lacks when this process dies was produced all the same.
    fn count(&mut self) {
        self.sequence += 1;
        self.counters.count_produced();
    }

    /// Counts what the device lost: a gap in the numbers of a stream. Numbers that go back are a new start.
    fn note_numbers(&mut self, source: usize, frames: &[FrameHeader]) {
        let lost = self.sources[source].losses.note(frames);
        self.count_lost(lost);
    }

    /// A processor loses nothing: its inputs' links count what it was not given.
    fn count_lost(&self, lost: Lost) {
        if self.inputs.is_empty() {
            let lost = LostReason::ALL.into_iter().zip(lost).filter(|(_, lost)| *lost > 0);
            lost.for_each(|(reason, lost)| self.counters.count_lost(reason, lost));
        }
    }

    /// The pool, made or replaced if the frameset does not fit; readers are told.
    fn provide_pool(&mut self, size_bytes: usize) -> Result<Arc<SlotPool>, OutletError> {
        if let Some(pool) = self.pool.as_ref().filter(|pool| pool.pixel_bytes() >= size_bytes) {
            return Ok(Arc::clone(pool));
        }
        let refused = |reason| OutletError::Slots {
            slots: self.slots,
            frameset_bytes: size_bytes,
            reason: Arc::new(reason),
        };
        let generation = self.counters.next_generation();
        let pool = match &self.pool {
            Some(pool) => pool.enlarged(size_bytes, generation),
            None => SlotPool::new(self.slots, size_bytes, generation),
        };
        let pool = pool.map_err(refused)?;
        self.remotes.iter().try_for_each(|link| link.announce_pool(&pool)).map_err(refused)?;
        self.pool = Some(Arc::clone(&pool));
        Ok(pool)
    }

    /// The number of a camera among those that this outlet passes on; readers are told of a new one.
    fn source(&mut self, info: &Arc<CameraInfo>) -> Result<usize, OutletError> {
        let known =
            self.sources.iter().position(|source| Arc::ptr_eq(&source.info, info) || source.info == *info);
        if let Some(number) = known {
            return Ok(number);
        }
        if self.sources.len() == MAX_SOURCES {
            return Err(OutletError::Sources);
        }
        self.remotes.iter().for_each(|link| link.announce_source(info));
        self.sources.push(Source { info: Arc::clone(info), losses: Losses::default() });
        Ok(self.sources.len() - 1)
    }

    fn link_states(&self) -> impl Iterator<Item = &Arc<LinkState>> {
        self.remotes
            .iter()
            .map(|link| link.link_state())
            .chain(self.locals.iter().map(|link| link.link_state()))
    }

    /// The link states of living readers for which nothing may be dropped.
    fn blocking(&self) -> impl Iterator<Item = &Arc<LinkState>> {
        let remotes = self.remotes.iter().map(|link| (link.overflow(), link.link_state()));
        let locals = self.locals.iter().map(|link| (link.overflow(), link.link_state()));
        let blocks = |&(overflow, link_state): &(_, &Arc<LinkState>)| {
            overflow == Overflow::Block && !link_state.reader_gone()
        };
        remotes.chain(locals).filter(blocks).map(|(_, link_state)| link_state)
    }
}

/// A life ends, and no frame comes any more that would show what is missing.
impl Drop for Outlet {
    fn drop(&mut self) {
        for source in 0..self.sources.len() {
            let lost = self.sources[source].losses.end();
            self.count_lost(lost);
        }
    }
}

/// The frames of the largest frameset that a camera with these streams makes.
pub(crate) fn largest_frames(streams: &[StreamInfo]) -> FrameHeaders {
    let any_time = Timestamp { clock: Clock::Hardware, nanos: 0 };
    streams.iter().map(|stream| stream.header(0, any_time)).take(MAX_FRAMES).collect()
}
