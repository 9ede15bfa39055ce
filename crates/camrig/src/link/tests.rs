//! The behaviour that both kinds of links have in common, through their ends as outputs and inputs see them.

use std::sync::Arc;

use camrig_frame::{CameraInfo, Clock, FrameSetHeader, PixelFormat, Stream, StreamInfo, Timestamp};
use camrig_ipc::{DropReason, LinkReader, LinkState, LinkWriter, Notifier, Overflow, SlotPool, channel};
use tokio::sync::Notify;

use super::*;

const SLOTS: usize = 6;
const QUEUE: usize = 2;
const PIXELS: usize = 4;

/// A link, and the slots of its producer.
struct Ends {
    writer: Arc<dyn ProducerEnd>,
    reader: Box<dyn ReaderEnd>,
    pool: Arc<SlotPool>,
    producer: Arc<str>,
    info: Arc<CameraInfo>,
    sequence: u64,
}

impl Ends {
    fn local(overflow: Overflow) -> Self {
        let link_state = Arc::new(LinkState::new().unwrap());
        let link = Arc::new(LocalLink::new(link_state, Arc::new(Notify::new()), overflow, QUEUE));
        let reader = Box::new(LocalReader::new(&link));
        Self::new(link, reader)
    }

    fn remote(overflow: Overflow) -> Self {
        let link_state = Arc::new(LinkState::new().unwrap());
        let (announcements, announced) = channel().unwrap();
        let notifier = Notifier::new().unwrap();
        let writer = LinkWriter::new(Arc::clone(&link_state), notifier, announcements, overflow, QUEUE);
        let reader = RemoteReader::new("left", LinkReader::new(link_state, announced));
        Self::new(Arc::new(writer), Box::new(reader))
    }

    fn each(overflow: Overflow, check: impl Fn(Self)) {
        check(Self::local(overflow));
        check(Self::remote(overflow));
    }

    fn new(writer: Arc<dyn ProducerEnd>, reader: Box<dyn ReaderEnd>) -> Self {
        let info = CameraInfo { name: "left".to_owned(), ..CameraInfo::default() };
        let (info, pool) = (Arc::new(info), SlotPool::new(SLOTS, PIXELS, 0).unwrap());
        writer.begin();
        writer.announce_source(&info);
        writer.announce_pool(&pool).unwrap();
        Self { writer, reader, pool, producer: "left".into(), info, sequence: 0 }
    }

    /// Publishes a frameset whose pixels are all its sequence number.
    fn publish(&mut self) {
        let profile = "2x1@30".parse().unwrap();
        let (stream, format) = (Stream::DEPTH, PixelFormat::Z16);
        let stream = StreamInfo::image(stream, format, profile);
        let frame = stream.header(self.sequence, Timestamp { clock: Clock::System, nanos: 0 });
        let frames = [frame].into_iter().collect();
        let header = FrameSetHeader::new(0, frames);
        let mut loan = self.pool.lend(&header).unwrap().unwrap();
        loan.frame_mut(0).fill(self.sequence as u8);
        let published = loan.publish(self.sequence);
        self.sequence += 1;
        self.writer.publish(&mut Outgoing::in_slot(&self.producer, &self.info, published));
    }

    /// The sequence numbers of all framesets that are queued, with their pixels checked.
    fn drain(&mut self) -> Vec<u64> {
        let queued = std::iter::from_fn(|| self.reader.take().unwrap());
        let sequence = |frames: FrameSet| {
            assert_eq!((frames.camera(), frames.producer()), ("left", "left"));
            let pixels: Vec<u8> = frames.frames().flat_map(|frame| frame.bytes().to_vec()).collect();
            assert_eq!(pixels, [frames.sequence() as u8; PIXELS]);
            frames.sequence()
        };
        queued.map(sequence).collect()
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.reader.link_state().counts().dropped[reason as usize]
    }
}

#[test]
fn framesets_arrive_in_order() {
    Ends::each(Overflow::Block, |mut ends| {
        for round in 0..10 {
            (0..QUEUE).for_each(|_| ends.publish());
            let first = round * QUEUE as u64;
            assert_eq!(ends.drain(), (first..first + QUEUE as u64).collect::<Vec<_>>());
        }
        assert!(ends.reader.link_state().is_notified());
        assert_eq!(ends.reader.link_state().counts().produced, 10 * QUEUE as u64);
    });
}

#[test]
fn a_full_queue_drops_by_the_links_policy() {
    Ends::each(Overflow::DropOldest, |mut ends| {
        (0..4).for_each(|_| ends.publish());
        assert!(!ends.writer.has_room());
        assert_eq!(ends.drain(), [2, 3]);
        assert_eq!(ends.dropped(DropReason::DropOldest), 2);
    });
    Ends::each(Overflow::DropNewest, |mut ends| {
        (0..4).for_each(|_| ends.publish());
        assert_eq!(ends.drain(), [0, 1]);
        assert!(ends.writer.has_room());
        assert_eq!(ends.dropped(DropReason::DropNewest), 2);
    });
}

/// Nothing on the thread could make room meanwhile.
#[test]
fn a_producer_never_waits_for_a_reader_on_its_thread() {
    for (overflow, kept) in [
        (Overflow::Block, vec![0, 1, 2, 3]),
        (Overflow::DropOldest, vec![2, 3]),
        (Overflow::DropNewest, vec![0, 1]),
    ] {
        let link = LocalLink::new(Arc::new(LinkState::new().unwrap()), Arc::default(), overflow, QUEUE);
        let link = Arc::new(link.on_thread(true));
        let reader = Box::new(LocalReader::new(&link));
        let mut ends = Ends::new(Arc::clone(&link) as Arc<dyn ProducerEnd>, reader);
        assert!(ends.writer.is_on_thread() && !link.is_waiting());
        (0..4).for_each(|_| ends.publish());
        assert!(link.is_waiting());
        assert_eq!(ends.writer.has_room(), overflow == Overflow::Block);
        assert_eq!(ends.drain(), kept);
    }
}

#[test]
fn only_a_queue_that_drops_its_oldest_gives_it_back() {
    for (overflow, expected) in
        [(Overflow::DropOldest, true), (Overflow::DropNewest, false), (Overflow::Block, false)]
    {
        Ends::each(overflow, |mut ends| {
            assert!(!ends.writer.take_back_oldest());
            ends.publish();
            assert_eq!(ends.writer.take_back_oldest(), expected);
            assert_eq!(ends.dropped(DropReason::DropOldest), u64::from(expected));
        });
    }
}

#[test]
fn nothing_is_queued_for_a_reader_without_an_instance() {
    Ends::each(Overflow::Block, |mut ends| {
        ends.publish();
        ends.reader.link_state().set_reader_paused(true);
        ends.reader.drop_queued();
        assert!(ends.writer.has_room());
        ends.publish();
        assert_eq!(ends.dropped(DropReason::ReaderGone), 2);
        ends.reader.link_state().set_reader_paused(false);
        ends.publish();
        assert_eq!(ends.drain(), [2]);
    });
}

#[test]
fn nothing_is_queued_after_an_end_during_a_call_of_the_producer() {
    Ends::each(Overflow::DropOldest, |mut ends| {
        ends.publish();
        ends.reader.link_state().end();
        ends.publish();
        assert_eq!(ends.drain(), [0]);
        assert_eq!(ends.dropped(DropReason::ReaderGone), 1);
    });
}

#[test]
fn an_end_wakes_the_reader_once_more() {
    Ends::each(Overflow::Block, |mut ends| {
        ends.reader.link_state().clear_notified();
        ends.writer.end();
        assert!(ends.reader.link_state().ended() && ends.reader.link_state().is_notified());
        assert!(ends.reader.take().unwrap().is_none());
    });
}

#[test]
fn a_slot_is_free_when_its_last_reader_has_dropped_it() {
    Ends::each(Overflow::Block, |mut ends| {
        ends.publish();
        let frames = ends.reader.take().unwrap().unwrap();
        let kept = frames.clone();
        drop(frames);
        let header = kept.header().clone();
        let lend =
            |ends: &Ends| -> Vec<_> { std::iter::from_fn(|| ends.pool.lend(&header).unwrap()).collect() };
        assert_eq!(lend(&ends).len(), SLOTS - 1);
        drop(kept);
        assert_eq!(lend(&ends).len(), SLOTS);
    });
}

#[test]
fn a_reader_in_this_process_is_woken_once_until_it_looks() {
    let wake = Arc::new(Notify::new());
    let link = LocalLink::new(Arc::new(LinkState::new().unwrap()), Arc::clone(&wake), Overflow::Block, QUEUE);
    let mut ends = Ends::local(Overflow::Block);
    let info = Arc::clone(&ends.info);
    let producer: Arc<str> = "left".into();
    let mut publish = || {
        ends.publish();
        let frameset = ends.reader.take().unwrap().unwrap();
        link.publish(&mut Outgoing::of(&producer, &info, frameset));
    };
    let is_woken = || futures_util::FutureExt::now_or_never(wake.notified()).is_some();
    assert!(!is_woken());
    publish();
    assert!(is_woken());
    // It is on its way to the queue already.
    publish();
    assert!(!is_woken());
    link.link_state().clear_notified();
    assert_eq!((link.take().is_some(), link.take().is_some(), link.take().is_some()), (true, true, false));
    publish();
    assert!(is_woken());
    link.end();
    assert!(is_woken());
}

/// Framesets that are not in a slot cannot cross: they are counted, and nothing is queued.
#[test]
fn framesets_outside_of_slots_do_not_leave_the_process() {
    let mut local = Ends::local(Overflow::Block);
    let mut remote = Ends::remote(Overflow::Block);
    remote.publish();
    let elsewhere = remote.reader.take().unwrap().unwrap();
    let (producer, info) = (Arc::clone(&remote.producer), Arc::clone(&remote.info));
    let mut outgoing = Outgoing::of(&producer, &info, elsewhere);
    remote.writer.publish(&mut outgoing);
    local.writer.publish(&mut outgoing);
    assert_eq!((remote.drain(), remote.dropped(DropReason::NoSlot)), (vec![], 1));
    assert_eq!(local.drain(), [0]);
}
