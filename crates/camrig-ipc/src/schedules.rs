//! The two ends of a link, and the supervisor between their instances, in every order of steps that shuttle generates:
//! `RUSTFLAGS="--cfg shuttle" cargo test -p camrig-ipc --lib schedules`.
//!
//! The code is that of a rig; only its atomics and locks are shuttle's. Effects of memory orderings weaker than
//! sequential consistency are not tested.
#![allow(clippy::unwrap_used)] // An error fails the test.

use std::sync::Arc;
use std::time::Duration;

use camrig_frame::{CameraInfo, Clock, FrameHeader, FrameSetHeader, PixelFormat, Stream, Timestamp};
use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner, thread};

use crate::channel::{Sender, channel};
use crate::protocol::Announcement;
use crate::{Deaths, LinkReader, LinkState, LinkWriter, Loan, Notifier, Overflow, SlotPool};

const SCHEDULES: usize = 3_000;
/// Number of thread switches of a schedule at the most critical points.
const DEPTH: usize = 4;
const SLOTS: usize = 3;
const FRAMESETS: u64 = 5;
/// Stack of each thread, in bytes: shuttle's default has no room for several headers of framesets.
const STACK_BYTES: usize = 1 << 20;

fn try_out(scene: impl Fn() + Send + Sync + 'static) {
    let scene = Arc::new(scene);
    let again = Arc::clone(&scene);
    run(RandomScheduler::new(SCHEDULES), move || again());
    run(PctScheduler::new(DEPTH, SCHEDULES), move || scene());
}

fn run(scheduler: impl Scheduler + 'static, scene: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    Runner::new(scheduler, config).run(scene);
}

/// Creates a link whose producer has announced everything.
fn link(overflow: Overflow) -> (Arc<LinkWriter>, LinkReader, Arc<SlotPool>, Sender<Announcement>) {
    let link_state = Arc::new(LinkState::new().unwrap());
    let (announcements, receiver) = channel().unwrap();
    let notifier = Notifier::new().unwrap();
    let writer = LinkWriter::new(Arc::clone(&link_state), notifier, announcements.clone(), overflow, 2);
    let info = CameraInfo { name: "camera".to_owned(), ..CameraInfo::default() };
    writer.begin();
    writer.announce_source(&Arc::new(info));
    let pool = SlotPool::new(SLOTS, 64, 0).unwrap();
    writer.announce_pool(&pool).unwrap();
    (Arc::new(writer), LinkReader::new(link_state, receiver), pool, announcements)
}

fn loan(pool: &Arc<SlotPool>, number: u64) -> Option<Loan> {
    let frame = FrameHeader {
        number,
        timestamp: Timestamp { clock: Clock::System, nanos: 0 },
        ..FrameHeader::image(Stream::INFRARED_1, PixelFormat::Y8, 8, 8)
    };
    let frames = [frame].into_iter().collect();
    let header = FrameSetHeader::new(0, frames);
    let mut loan = pool.lend(&header).unwrap()?;
    // In two parts: a concurrent reader of the slot would notice.
    loan.frame_mut(0)[..32].fill(number as u8);
    thread::yield_now();
    loan.frame_mut(0)[32..].fill(number as u8);
    Some(loan)
}

/// Publishes this number of framesets.
fn produce(pool: &Arc<SlotPool>, writer: &Arc<LinkWriter>, sequences: std::ops::Range<u64>) {
    for sequence in sequences {
        let loan = loop {
            if let Some(loan) = loan(pool, sequence) {
                break loan;
            }
            writer.take_back_oldest();
            thread::yield_now();
        };
        writer.publish(&loan.publish(sequence));
    }
}

/// Takes and checks one frameset, as one step.
fn take(reader: &mut LinkReader, next: &mut u64) -> bool {
    let link_state = Arc::clone(reader.link_state());
    let step = link_state.reader_step();
    let Some(lease) = reader.take().unwrap() else { return false };
    link_state.count_delivered(Duration::ZERO);
    drop(step);
    let sequence = lease.header().sequence;
    assert!(sequence >= *next, "{sequence} came after {next}");
    *next = sequence + 1;
    thread::yield_now();
    assert!(lease.frame(0).iter().all(|&pixel| u64::from(pixel) == sequence), "the slot has two owners");
    true
}

/// Checks that all framesets are accounted for, and none is in flight.
fn assert_settled(link_state: &LinkState, produced: u64) {
    let counts = link_state.counts();
    let sum = counts.delivered + counts.dropped.iter().sum::<u64>();
    assert_eq!((counts.produced, sum, counts.in_flight, link_state.queued()), (produced, produced, 0, 0));
}

/// Reads like a rig's inputs: checks only after a notification, or after the previous check found something.
fn read_to_the_end(reader: &mut LinkReader, next: &mut u64) {
    let mut busy = true;
    loop {
        if !busy && !reader.link_state().is_notified() {
            thread::yield_now();
            continue;
        }
        busy = take(reader, next);
        if !busy {
            reader.link_state().clear_notified();
            let ended = reader.link_state().ended();
            busy = take(reader, next);
            if ended && !busy {
                return;
            }
        }
    }
}

#[test]
fn framesets_arrive_complete_and_in_order() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest] {
        try_out(move || {
            let (writer, mut reader, pool, _) = link(overflow);
            let link_state = Arc::clone(reader.link_state());
            let producer = thread::spawn(move || {
                produce(&pool, &writer, 0..FRAMESETS);
                writer.end();
            });
            let mut next = 0;
            read_to_the_end(&mut reader, &mut next);
            producer.join().unwrap();
            assert_settled(&link_state, FRAMESETS);
            if overflow == Overflow::DropOldest {
                assert_eq!(next, FRAMESETS, "the freshest is never dropped");
            }
        });
    }
}

#[test]
fn a_reader_that_goes_leaves_nothing_queued() {
    try_out(|| {
        let (writer, mut reader, pool, _) = link(Overflow::DropOldest);
        let link_state = Arc::clone(reader.link_state());
        let producer = thread::spawn(move || produce(&pool, &writer, 0..FRAMESETS));
        take(&mut reader, &mut 0);
        link_state.set_reader_ended();
        let step = link_state.reader_step();
        link_state.take_back_all();
        drop(step);
        producer.join().unwrap();
        assert_settled(&link_state, FRAMESETS);
    });
}

/// Retries to settle, like the supervisor, concurrently with the running end.
fn settle(link_state: &LinkState, deaths: Deaths, produced: u64) {
    while !link_state.settle(deaths, produced) {
        thread::yield_now();
    }
}

/// Another thread ends the link of a producer that is in a call.
#[test]
fn a_frameset_that_was_queued_before_the_end_is_delivered() {
    try_out(|| {
        let (writer, mut reader, pool, _) = link(Overflow::DropNewest);
        let link_state = Arc::clone(reader.link_state());
        produce(&pool, &writer, 0..1);
        let producer = thread::spawn(move || produce(&pool, &writer, 1..2));
        link_state.end();
        let mut next = 0;
        read_to_the_end(&mut reader, &mut next);
        producer.join().unwrap();
        assert_ne!(next, 0, "the first was taken back");
        assert_settled(&link_state, 2);
    });
}

#[test]
fn a_dead_reader_is_replaced_while_its_producer_continues() {
    try_out(|| {
        let (writer, mut reader, pool, _) = link(Overflow::DropOldest);
        let link_state = Arc::clone(reader.link_state());
        // It dies with one frameset taken but not counted, and another one being read.
        produce(&pool, &writer, 0..2);
        reader.take().unwrap().unwrap().forget();
        link_state.count_delivered(Duration::ZERO);
        std::mem::forget(link_state.reader_step());
        link_state.take().unwrap();
        let producer = {
            let writer = Arc::clone(&writer);
            thread::spawn(move || produce(&pool, &writer, 2..FRAMESETS))
        };
        let absence = link_state.set_reader_away();
        settle(&link_state, Deaths { reader: true, producer: false }, 0);
        let (announcements, receiver) = channel().unwrap();
        let mut reader = LinkReader::new(Arc::clone(&link_state), receiver);
        writer.relink(announcements, absence).unwrap();
        let mut next = 0;
        while take(&mut reader, &mut next) {}
        producer.join().unwrap();
        while take(&mut reader, &mut next) {}
        assert_settled(&link_state, FRAMESETS);
    });
}

#[test]
fn a_dead_producer_is_replaced_while_its_reader_continues() {
    try_out(|| {
        let (writer, mut reader, pool, announcements) = link(Overflow::DropOldest);
        let link_state = Arc::clone(reader.link_state());
        // It dies after counting one frameset without queueing it, and without counting another one.
        produce(&pool, &writer, 0..2);
        std::mem::forget(link_state.producer_step());
        link_state.count_produced();
        drop((writer, pool));
        let other = Arc::clone(&link_state);
        let reading = thread::spawn(move || {
            let mut next = 0;
            read_to_the_end(&mut reader, &mut next);
            next
        });
        settle(&other, Deaths { producer: true, reader: false }, 4);
        let notifier = Notifier::new().unwrap();
        let writer = LinkWriter::new(Arc::clone(&other), notifier, announcements, Overflow::DropOldest, 2);
        writer.begin();
        let info = CameraInfo { name: "camera".to_owned(), ..CameraInfo::default() };
        writer.announce_source(&Arc::new(info));
        let (writer, pool) = (Arc::new(writer), SlotPool::new(SLOTS, 64, 1).unwrap());
        writer.announce_pool(&pool).unwrap();
        produce(&pool, &writer, 4..4 + FRAMESETS);
        writer.end();
        assert_eq!(reading.join().unwrap(), 4 + FRAMESETS);
        assert_settled(&other, 4 + FRAMESETS);
    });
}

#[test]
fn the_oldest_is_taken_first_however_the_look_meets_the_queueing() {
    // All possible orders: there are few steps.
    let scene = || {
        let link_state = Arc::new(LinkState::new().unwrap());
        let producer = {
            let link_state = Arc::clone(&link_state);
            thread::spawn(move || (0..3).for_each(|number| link_state.publish(number, 0, number as u64)))
        };
        let mut next = 0;
        while let Some(taken) = link_state.take() {
            assert_eq!(taken.sequence, next);
            next += 1;
        }
        producer.join().unwrap();
    };
    run(DfsScheduler::new(None, false), scene);
}

#[test]
fn a_frameset_is_taken_or_taken_back_but_never_both() {
    try_out(|| {
        let link_state = Arc::new(LinkState::new().unwrap());
        link_state.count_produced();
        link_state.publish(0, 0, 0);
        let producer = {
            let link_state = Arc::clone(&link_state);
            thread::spawn(move || {
                let back = link_state.take_back_oldest(crate::DropReason::DropOldest);
                // The same slot again, if it is free: the reader must not mistake it for the previous
                // frameset.
                if link_state.slot_is_free(0) {
                    link_state.publish(0, 0, 1);
                }
                back
            })
        };
        let taken = link_state.take().map(|taken| taken.sequence);
        let free = link_state.slot_is_free(0);
        assert!(taken.is_none() || !free, "a slot that is read is not free");
        let back = producer.join().unwrap();
        assert!(!(back && taken == Some(0)) && (back || taken == Some(0)), "{back} {taken:?}");
    });
}
