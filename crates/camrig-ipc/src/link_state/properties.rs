//! Property tests: for any sequence of operations and crashes of the ends of links, the accounting is exact, and no
//! slot has two owners.
//!
//! One producer and two readers take turns, through the ends used in a rig. A crash leaves an end in its current
//! state, even between a word and its count; it is followed by the supervisor's cleanup, and possibly by a new
//! instance. The owner of a slot is visible in its pixels: each loan is immediately filled with a unique stamp, so
//! that a slot with two owners contains the wrong one.
#![allow(clippy::unwrap_used)] // An error fails the test.

use std::mem::{forget, take};
use std::sync::Arc;

use camrig_frame::{CameraInfo, Clock, FrameHeader, FrameSetHeader, PixelFormat, Stream, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::channel::{Sender, channel};
use crate::protocol::Announcement;
use crate::{ActorCounters, Lease, LinkReader, LinkWriter, Loan, Notifier, Published, SlotPool};

const SLOTS: usize = 4;
const READERS: usize = 2;
const SMALL: u32 = 64;
const LARGE: u32 = 96;

/// An operation of one of the ends, or an event.
#[derive(Clone, Copy, Debug)]
enum Action {
    Lend {
        large: bool,
    },
    Publish {
        loan: usize,
    },
    DropLoan,
    DropPublished {
        index: usize,
    },
    Take {
        reader: usize,
    },
    Clone {
        reader: usize,
        index: usize,
    },
    DropLease {
        reader: usize,
        index: usize,
    },
    Pause {
        reader: usize,
    },
    Resume {
        reader: usize,
    },
    /// Another instance of the producer in the same process.
    BeginAgain,
    ProducerDies {
        link: usize,
        at: ProducerAt,
    },
    ReaderDies {
        reader: usize,
        at: ReaderAt,
    },
    /// The supervisor cleans up after the crashed ends, and starts readers again; running producers know nothing of these.
    Settle,
    /// The same, then producers link the new readers, or are started again.
    Revive,
}

/// Progress of a producer with a frameset on a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ProducerAt {
    Between,
    CountedForItself,
    InStep,
    Counted,
    TakenBack,
    TakenBackAndCounted,
    Queued,
}

/// Progress of a reader with a frameset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ReaderAt {
    Between,
    InStep,
    Taken,
    Counted,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let reader = || 0..READERS;
    let index = || 0..SLOTS;
    let producer_at = prop::sample::select(vec![
        ProducerAt::Between,
        ProducerAt::CountedForItself,
        ProducerAt::InStep,
        ProducerAt::Counted,
        ProducerAt::TakenBack,
        ProducerAt::TakenBackAndCounted,
        ProducerAt::Queued,
    ]);
    let reader_at =
        prop::sample::select(vec![ReaderAt::Between, ReaderAt::InStep, ReaderAt::Taken, ReaderAt::Counted]);
    let action = prop_oneof![
        12 => prop::bool::weighted(0.1).prop_map(|large| Action::Lend { large }),
        12 => index().prop_map(|loan| Action::Publish { loan }),
        1 => Just(Action::DropLoan),
        6 => index().prop_map(|index| Action::DropPublished { index }),
        12 => reader().prop_map(|reader| Action::Take { reader }),
        3 => (reader(), index()).prop_map(|(reader, index)| Action::Clone { reader, index }),
        10 => (reader(), index()).prop_map(|(reader, index)| Action::DropLease { reader, index }),
        1 => reader().prop_map(|reader| Action::Pause { reader }),
        2 => reader().prop_map(|reader| Action::Resume { reader }),
        1 => Just(Action::BeginAgain),
        2 => (reader(), producer_at).prop_map(|(link, at)| Action::ProducerDies { link, at }),
        2 => (reader(), reader_at).prop_map(|(reader, at)| Action::ReaderDies { reader, at }),
        2 => Just(Action::Settle),
        3 => Just(Action::Revive),
    ];
    prop::collection::vec(action, 0..120)
}

/// The producer's process.
struct Producer {
    writers: Vec<Arc<LinkWriter>>,
    pool: Option<Arc<SlotPool>>,
    loans: Vec<Loan>,
    published: Vec<Published>,
}

/// A link as seen by its supervisor, its reader's process, and the expected counts.
struct Link {
    state: LinkState,
    announcements: Sender<Announcement>,
    overflow: Overflow,
    capacity: usize,
    reader: Option<Reader>,
    absence: Absence,
    relinked: bool,
    deaths: Deaths,
    delivered: u64,
    next: u64,
}

struct Reader {
    end: LinkReader,
    leases: Vec<Arc<Lease>>,
}

struct Rig {
    counters: ActorCounters,
    info: Arc<CameraInfo>,
    producer: Option<Producer>,
    links: Vec<Link>,
    stamp: u64,
}

impl Link {
    fn new(overflow: Overflow, capacity: usize) -> Self {
        let link_state = LinkState::new().unwrap();
        let (announcements, announced) = channel().unwrap();
        let end = LinkReader::new(received(&link_state), announced);
        let reader = Some(Reader { end, leases: Vec::new() });
        Self {
            state: link_state,
            announcements,
            overflow,
            capacity,
            reader,
            absence: Absence::default(),
            relinked: true,
            deaths: Deaths::default(),
            delivered: 0,
            next: 0,
        }
    }

    fn writer(&self) -> Arc<LinkWriter> {
        let (link_state, announcements) = (received(&self.state), self.announcements.clone());
        Arc::new(LinkWriter::new(
            link_state,
            Notifier::new().unwrap(),
            announcements,
            self.overflow,
            self.capacity,
        ))
    }

    /// Like `Inputs` of a rig: one step, from the word to the count.
    fn take(&mut self) -> bool {
        let Some(reader) = &mut self.reader else { return false };
        let link_state = Arc::clone(reader.end.link_state());
        let _step = link_state.reader_step();
        let Some(lease) = reader.end.take().unwrap() else { return false };
        link_state.count_delivered(Duration::ZERO);
        self.delivered += 1;
        let sequence = lease.header().sequence;
        assert!(sequence >= self.next, "{sequence} came after {}", self.next);
        self.next = sequence + 1;
        reader.leases.push(Arc::new(lease));
        true
    }

    fn die(&mut self, at: ReaderAt) {
        let Some(reader) = self.reader.take() else { return };
        if at >= ReaderAt::InStep {
            forget(self.state.reader_step());
        }
        if at >= ReaderAt::Taken && !self.state.reader_gone() && self.state.take().is_some() {
            // It is never counted.
            if at == ReaderAt::Counted {
                self.state.count_delivered(Duration::ZERO);
                self.delivered += 1;
            }
        }
        // Clones share one lease.
        reader.leases.into_iter().filter_map(Arc::into_inner).for_each(Lease::forget);
        self.deaths.reader = true;
    }
}

fn received(link_state: &LinkState) -> Arc<LinkState> {
    Arc::new(LinkState::received(link_state.share().unwrap()).unwrap())
}

impl Rig {
    fn new(links: &[(Overflow, usize)]) -> Self {
        let info = CameraInfo { name: "camera".to_owned(), ..CameraInfo::default() };
        let links: Vec<Link> =
            links.iter().map(|&(overflow, capacity)| Link::new(overflow, capacity)).collect();
        let mut rig = Self {
            counters: ActorCounters::new().unwrap(),
            info: Arc::new(info),
            producer: None,
            links,
            stamp: 0,
        };
        rig.begin_producer();
        rig
    }

    fn begin_producer(&mut self) {
        let writers: Vec<_> = self.links.iter().map(Link::writer).collect();
        for writer in &writers {
            writer.begin();
            writer.announce_source(&self.info);
        }
        self.producer = Some(Producer { writers, pool: None, loans: Vec::new(), published: Vec::new() });
    }

    fn action(&mut self, action: Action) {
        match action {
            Action::Lend { large } => self.lend(if large { LARGE } else { SMALL }),
            Action::Publish { loan } => self.publish(loan),
            Action::DropLoan => self.producer.iter_mut().for_each(|producer| drop(producer.loans.pop())),
            Action::DropPublished { index } => {
                let published = self.producer.iter_mut().map(|producer| &mut producer.published);
                published.for_each(|published| drop(remove(published, index)));
            }
            Action::Take { reader } => {
                self.links[reader].take();
            }
            Action::Clone { reader, index } => {
                if let Some(reader) = &mut self.links[reader].reader
                    && let Some(lease) = reader.leases.get(index).cloned()
                {
                    reader.leases.push(lease);
                }
            }
            Action::DropLease { reader, index } => {
                if let Some(reader) = &mut self.links[reader].reader {
                    drop(remove(&mut reader.leases, index));
                }
            }
            Action::Pause { reader } if self.links[reader].reader.is_some() => {
                let link = &mut self.links[reader];
                link.state.set_reader_paused(true);
                let _step = link.state.reader_step();
                link.state.take_back_all();
            }
            Action::Resume { reader } if self.links[reader].reader.is_some() => {
                self.links[reader].state.set_reader_paused(false);
            }
            Action::Pause { .. } | Action::Resume { .. } => {}
            Action::BeginAgain => {
                if let Some(producer) = &mut self.producer {
                    producer.loans.clear();
                    producer.pool = None;
                    for writer in &producer.writers {
                        writer.begin();
                        writer.announce_source(&self.info);
                    }
                }
            }
            Action::ProducerDies { link, at } => self.kill_producer(link, at),
            Action::ReaderDies { reader, at } => self.links[reader].die(at),
            Action::Settle => self.settle(),
            Action::Revive => self.revive(),
        }
    }

    /// Like an output.
    fn lend(&mut self, width: u32) {
        let Some(producer) = &mut self.producer else { return };
        self.stamp += 1;
        let frame = FrameHeader {
            number: self.stamp,
            timestamp: Timestamp { clock: Clock::System, nanos: 0 },
            ..FrameHeader::image(Stream::INFRARED_1, PixelFormat::Y8, width, 64)
        };
        let size_bytes = frame.size_bytes() as usize;
        let pool = match producer.pool.take() {
            Some(pool) if pool.pixel_bytes() >= size_bytes => pool,
            old => {
                let generation = self.counters.next_generation();
                let pool = match old {
                    Some(old) => old.enlarged(SLOTS, size_bytes, generation),
                    None => SlotPool::new(SLOTS, size_bytes, generation),
                };
                let pool = pool.unwrap();
                producer.writers.iter().for_each(|writer| writer.announce_pool(&pool).unwrap());
                pool
            }
        };
        producer.pool = Some(Arc::clone(&pool));
        let header = FrameSetHeader::new(0, [frame].into_iter().collect());
        let mut lent = pool.lend(&header).unwrap();
        while lent.is_none() && producer.writers.iter().any(|writer| writer.take_back_oldest()) {
            lent = pool.lend(&header).unwrap();
        }
        if let Some(mut loan) = lent {
            stamp(loan.frame_mut(0), self.stamp);
            producer.loans.push(loan);
            return;
        }
        self.counters.count_produced();
        for writer in &producer.writers {
            writer.link_state().count_produced_and_dropped(DropReason::NoSlot);
        }
    }

    fn publish(&mut self, loan: usize) {
        let Some(producer) = &mut self.producer else { return };
        if !has_room(&producer.writers) {
            return;
        }
        if let Some(loan) = remove(&mut producer.loans, loan) {
            let sequence = self.counters.produced();
            self.counters.count_produced();
            let published = loan.publish(sequence);
            producer.writers.iter().for_each(|writer| writer.publish(&published));
            producer.published.push(published);
        }
    }

    /// Kills the producer while it publishes on one of its links.
    fn kill_producer(&mut self, link: usize, at: ProducerAt) {
        let Some(mut producer) = self.producer.take() else { return };
        self.links.iter_mut().for_each(|link| link.deaths.producer = true);
        let publishes = at > ProducerAt::Between && has_room(&producer.writers);
        let Some(loan) = producer.loans.pop().filter(|_| publishes) else { return };
        let sequence = self.counters.produced();
        self.counters.count_produced();
        let published = loan.publish(sequence);
        let writer = Arc::clone(&producer.writers[link]);
        producer.writers[..link].iter().for_each(|writer| writer.publish(&published));
        let link = &mut self.links[link];
        if at < ProducerAt::InStep {
            return;
        }
        forget(link.state.producer_step());
        if at < ProducerAt::Counted {
            return;
        }
        link.state.count_produced();
        if at < ProducerAt::TakenBack {
            return;
        }
        if link.overflow == Overflow::DropOldest
            && let Some((slot, _)) = link.state.oldest_queued()
        {
            link.state.release(slot);
            if at >= ProducerAt::TakenBackAndCounted {
                link.state.count_dropped(DropReason::DropOldest);
            }
        }
        if at == ProducerAt::Queued && !link.state.reader_gone() && published.is_known_to(&writer) {
            let (slot, generation) = published.place();
            link.state.publish(slot, generation, sequence);
        }
    }

    /// Like the supervisor, which gives readers that are started again a channel of their own.
    fn settle(&mut self) {
        for link in &mut self.links {
            if link.deaths.reader {
                link.absence = link.state.set_reader_away();
                link.relinked = false;
            }
            assert!(
                link.state.settle(take(&mut link.deaths), self.counters.produced()),
                "nobody is in a step"
            );
            if link.reader.is_none() {
                let (announcements, announced) = channel().unwrap();
                link.announcements = announcements;
                let end = LinkReader::new(received(&link.state), announced);
                link.reader = Some(Reader { end, leases: Vec::new() });
            }
        }
        self.check();
    }

    fn revive(&mut self) {
        self.settle();
        for (number, link) in self.links.iter_mut().enumerate().filter(|(_, link)| !link.relinked) {
            link.relinked = true;
            let announcements = link.announcements.clone();
            match &self.producer {
                Some(producer) => producer.writers[number].relink(announcements, link.absence).unwrap(),
                None => link.state.set_reader_back(link.absence),
            }
        }
        if self.producer.is_none() {
            self.begin_producer();
        }
    }

    /// Checks the invariants that hold between steps.
    fn check(&self) {
        for (number, link) in self.links.iter().enumerate() {
            let counts = link.state.counts();
            let sum = counts.delivered + counts.dropped.iter().sum::<u64>() + counts.in_flight;
            assert_eq!(counts.produced, sum, "link {number}: {counts:?}");
            assert_eq!(counts.delivered, link.delivered, "link {number}");
            if link.deaths == Deaths::default() {
                assert_eq!(counts.produced, self.counters.produced(), "link {number}: {counts:?}");
                assert_eq!(counts.in_flight, link.state.queued() as u64, "link {number}: {counts:?}");
            }
            if link.overflow == Overflow::Block {
                assert!(link.state.queued() <= link.capacity, "link {number}: {counts:?}");
                let overflowed = [DropReason::DropOldest, DropReason::DropNewest];
                assert_eq!(overflowed.map(|reason| counts.dropped[reason as usize]), [0, 0], "link {number}");
            }
            let leases = link.reader.iter().flat_map(|reader| &reader.leases);
            leases.for_each(|lease| assert_stamped(lease.header(), lease.frame(0)));
        }
        let published = self.producer.iter().flat_map(|producer| &producer.published);
        published.for_each(|published| assert_stamped(published.header(), published.frame(0)));
    }

    /// Stops production and reads everything: then nothing is in flight, and every slot is free.
    fn drain(&mut self) {
        self.revive();
        for link in &mut self.links {
            while link.take() {}
            let reader = link.reader.as_mut().expect("everybody was revived");
            reader.leases.clear();
            assert_eq!(link.state.counts().in_flight, 0);
        }
        self.check();
        let producer = self.producer.as_mut().expect("everybody was revived");
        producer.loans.clear();
        producer.published.clear();
        for _ in 0..SLOTS {
            self.lend(LARGE);
        }
        assert_eq!(self.producer.as_ref().map(|producer| producer.loans.len()), Some(SLOTS));
    }
}

/// Returns whether a producer with blocking readers would publish now rather than wait.
fn has_room(writers: &[Arc<LinkWriter>]) -> bool {
    writers.iter().all(|writer| writer.overflow() != Overflow::Block || writer.has_room())
}

fn remove<T>(list: &mut Vec<T>, index: usize) -> Option<T> {
    (index < list.len()).then(|| list.remove(index))
}

fn stamp(pixels: &mut [u8], stamp: u64) {
    pixels.as_chunks_mut().0.iter_mut().for_each(|chunk| *chunk = stamp.to_le_bytes());
}

fn assert_stamped(header: &FrameSetHeader, pixels: &[u8]) {
    let stamp = header.frames[0].number.to_le_bytes();
    assert!(pixels.as_chunks().0.iter().all(|chunk| *chunk == stamp), "a slot has two owners: {header:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn accounting_is_exact_and_no_slot_has_two_owners(
        links in prop::collection::vec(
            (prop::sample::select(vec![Overflow::DropOldest, Overflow::DropNewest, Overflow::Block]), 1..4_usize),
            READERS,
        ),
        actions in actions(),
    ) {
        let mut rig = Rig::new(&links);
        for action in actions {
            rig.action(action);
            rig.check();
        }
        rig.drain();
    }
}
