//! Tests of the holders of a slot, and of the moment at which it is free again.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

use crate::channel::channel;
use camrig_frame::{FrameHeader, PixelFormat, Stream};

use super::*;
use crate::protocol::MAX_DESCRIPTION_BYTES;
use crate::{ActorCounters, LinkReader};

/// A longer wait fails the test.
const WATCHDOG: std::time::Duration = std::time::Duration::from_secs(60);

const SLOTS: usize = 3;
const WIDTH: u32 = 64;
const HEIGHT: u32 = 2;
const PIXEL_BYTES: usize = (WIDTH * HEIGHT) as usize;

fn header(height: u32) -> FrameSetHeader {
    let frame = FrameHeader::image(Stream::INFRARED_1, PixelFormat::Y8, WIDTH, height);
    FrameSetHeader::new(0, [frame].into_iter().collect())
}

fn pool() -> Arc<SlotPool> {
    SlotPool::new(SLOTS, PIXEL_BYTES, 0).unwrap()
}

/// Lends as many slots as there are.
fn lend_all(pool: &Arc<SlotPool>) -> Vec<Loan> {
    std::iter::from_fn(|| pool.lend(&header(HEIGHT)).unwrap()).collect()
}

/// A link whose producer has announced its camera.
fn link(overflow: Overflow, capacity: usize) -> (LinkWriter, LinkReader) {
    let link_state = Arc::new(LinkState::new().unwrap());
    let (announcements, announced) = channel().unwrap();
    let notifier = Notifier::new().unwrap();
    let writer = LinkWriter::new(Arc::clone(&link_state), notifier, announcements, overflow, capacity);
    let info = CameraInfo { name: "camera".to_owned(), ..CameraInfo::default() };
    writer.announce_source(&Arc::new(info));
    (writer, LinkReader::new(link_state, announced))
}

#[test]
fn a_slot_is_lent_once_until_its_loan_drops() {
    let pool = pool();
    let mut loans = lend_all(&pool);
    assert_eq!(loans.len(), SLOTS);
    let mut slots: Vec<_> = loans.iter_mut().map(|loan| loan.frame_mut(0).as_ptr()).collect();
    slots.dedup();
    assert_eq!(slots.len(), SLOTS);
    loans.pop();
    assert_eq!(lend_all(&pool).len(), 1);
}

#[test]
fn a_published_frameset_keeps_its_slot_and_its_pixels() {
    let pool = pool();
    let mut loan = pool.lend(&header(HEIGHT)).unwrap().unwrap();
    loan.frame_mut(0).fill(7);
    let published = loan.publish(5);
    assert_eq!(published.header(), &FrameSetHeader { sequence: 5, ..header(HEIGHT) });
    for loan in &mut lend_all(&pool) {
        loan.frame_mut(0).fill(1);
    }
    assert_eq!(published.frame(0), [7; PIXEL_BYTES]);
    drop(published);
    assert_eq!(lend_all(&pool).len(), SLOTS);
}

#[test]
fn a_slot_is_free_when_every_link_has_released_it() {
    let (pool, mut links) = (pool(), [link(Overflow::Block, 1), link(Overflow::Block, 1)]);
    let mut loan = pool.lend(&header(HEIGHT)).unwrap().unwrap();
    loan.frame_mut(0).fill(7);
    let published = loan.publish(0);
    for (writer, _) in &links {
        writer.publish(&published);
    }
    drop(published);
    for (_, reader) in &mut links {
        assert_eq!(lend_all(&pool).len(), SLOTS - 1);
        let lease = reader.take().unwrap().unwrap();
        assert_eq!(lease.frame(0), [7; PIXEL_BYTES]);
        assert_eq!(lend_all(&pool).len(), SLOTS - 1);
    }
    assert_eq!(lend_all(&pool).len(), SLOTS);
}

#[test]
fn a_larger_pool_waits_for_the_slots_of_the_smaller_one() {
    let (small, (writer, mut reader)) = (pool(), link(Overflow::Block, 1));
    let published = small.lend(&header(HEIGHT)).unwrap().unwrap().publish(0);
    writer.publish(&published);
    let loan = small.lend(&header(HEIGHT)).unwrap();
    let large = small.enlarged(SLOTS, 2 * PIXEL_BYTES, 1).unwrap();
    assert_eq!(large.slots(), SLOTS);
    assert_eq!(lend_all(&large).len(), SLOTS - 2);
    drop(published);
    assert_eq!(lend_all(&large).len(), SLOTS - 2);
    drop(loan);
    assert_eq!(lend_all(&large).len(), SLOTS - 1);
    drop(reader.take().unwrap());
    assert_eq!(lend_all(&large).len(), SLOTS);
}

#[test]
fn pixels_of_slots_are_complete_pages_after_the_header() {
    assert_eq!(pool().pixel_bytes(), 4096);
    assert_eq!(SlotPool::size_bytes(SLOTS, 1), SLOTS * (HEADER_BYTES + 4096));
    assert_eq!(SlotPool::size_bytes(SLOTS, 4097), SLOTS * (HEADER_BYTES + 8192));
}

#[test]
fn headers_that_contradict_themselves_get_no_slot() {
    let pool = pool();
    assert!(pool.lend(&header(0)).is_err());
    assert_eq!(lend_all(&pool).len(), SLOTS);
}

#[test]
fn an_instance_is_announced_after_the_reader_has_received_the_previous_one() {
    let (writer, mut reader) = link(Overflow::Block, 1);
    let counters = ActorCounters::new().unwrap();
    let publish = |sequence| {
        let pool = SlotPool::new(SLOTS, PIXEL_BYTES, counters.next_generation()).unwrap();
        writer.publish(&pool.lend(&header(HEIGHT)).unwrap().unwrap().publish(sequence));
    };
    publish(0);
    writer.begin();
    assert!(!writer.has_room(), "the reader has to learn of the instance");
    assert!(reader.take().unwrap().is_some());
    assert!(writer.has_room());
    // The reader knows no camera of this instance yet.
    publish(1);
    let refused = reader.take().err().map(|refused| refused.to_string());
    assert_eq!(refused.as_deref(), Some("a frameset came without an announcement of its camera"));
}

#[test]
fn descriptions_block_no_producer_whose_reader_does_not_read() {
    let (writer, mut reader) = link(Overflow::Block, SLOTS);
    let model = "m".repeat(MAX_DESCRIPTION_BYTES - 100);
    let described =
        |number: u32| CameraInfo { name: number.to_string(), model: model.clone(), ..CameraInfo::default() };
    let infos: Vec<_> = (0..60).map(|number| Arc::new(described(number))).collect();
    let (done, is_done) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        for info in &infos {
            writer.announce_source(info);
        }
        done.send(writer).unwrap();
    });
    let writer = is_done.recv_timeout(WATCHDOG).expect("the producer waits for its reader");
    let pool = pool();
    let publish = |number: u16| {
        let header = FrameSetHeader { source: number, ..header(HEIGHT) };
        writer.publish(&pool.lend(&header).unwrap().unwrap().publish(u64::from(number)));
    };
    publish(60);
    assert_eq!(writer.link_state().counts().dropped[DropReason::DropNewest as usize], 1);
    // A reader that reads gets the others some at a time.
    let mut looks = 0;
    while !writer.has_room() {
        assert!(reader.take().unwrap().is_none());
        looks += 1;
        assert!(looks <= 60, "the others are not sent");
    }
    assert!(looks > 10, "{looks}");
    publish(60);
    assert_eq!(reader.take().unwrap().unwrap().info().name, "59");
}

#[test]
fn framesets_with_the_numbers_of_another_host_keep_their_order() {
    let (pool, (writer, mut reader)) = (pool(), link(Overflow::Block, SLOTS));
    // Numbers there may begin again, and be of any size.
    let sequences = [9, 1 << 60, 0];
    for (number, sequence) in (0..).zip(sequences) {
        writer.publish(&pool.lend(&header(HEIGHT)).unwrap().unwrap().publish_as(number, sequence));
    }
    let taken = std::iter::from_fn(|| reader.take().unwrap()).map(|lease| lease.header().sequence);
    assert_eq!(taken.collect::<Vec<_>>(), sequences);
}

#[test]
fn nothing_is_queued_on_a_link_that_was_ended_during_a_call() {
    let (pool, (writer, mut reader)) = (pool(), link(Overflow::DropOldest, SLOTS));
    let publish = || writer.publish(&pool.lend(&header(HEIGHT)).unwrap().unwrap().publish(0));
    publish();
    writer.link_state().end();
    publish();
    assert!(reader.take().unwrap().is_some());
    assert!(reader.take().unwrap().is_none());
    let counts = writer.link_state().counts();
    let gone = counts.dropped[DropReason::ReaderGone as usize];
    assert_eq!((counts.produced, counts.delivered + counts.in_flight, gone), (2, 1, 1));
}

#[test]
fn a_slot_is_watched_on_an_ended_link_as_long_as_its_producer_has_the_link() {
    let (pool, (writer, _reader)) = (pool(), link(Overflow::Block, SLOTS));
    let published = pool.lend(&header(HEIGHT)).unwrap().unwrap().publish(0);
    writer.announce_pool(&pool).unwrap();
    writer.link_state().end();
    // As a call that began before the end does.
    assert_eq!(lend_all(&pool).len(), SLOTS - 1);
    let (slot, generation) = published.place();
    writer.link_state().publish(slot, generation, 0);
    drop(published);
    assert_eq!(lend_all(&pool).len(), SLOTS - 1);
}

/// In a process of its own, where no other test opens sockets.
#[test]
fn what_could_not_be_announced_is_announced_later() {
    let mut test = std::process::Command::new(std::env::current_exe().unwrap());
    let test =
        test.args(["--ignored", "--exact", "slots::tests::an_announcement_is_repeated", "--nocapture"]);
    let output = test.output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("1 passed"), "{output:?}");
}

#[test]
#[ignore = "another test starts it"]
fn an_announcement_is_repeated() {
    use rustix::fs::{OFlags, fcntl_setfl};
    use std::os::fd::BorrowedFd;
    let descriptors =
        || (3..64).filter(|number| std::fs::read_link(format!("/proc/self/fd/{number}")).is_ok());
    let before: Vec<_> = descriptors().collect();
    let (announcements, announced) = channel().unwrap();
    for socket in descriptors().filter(|number| !before.contains(number)) {
        // SAFETY: it is one of the two ends above, which stay open.
        let socket = unsafe { BorrowedFd::borrow_raw(socket) };
        fcntl_setfl(socket, OFlags::RDWR | OFlags::NONBLOCK).unwrap();
    }
    // The system fails to send: here, because the socket is full and does not wait.
    while announcements.send(Announcement::Begin).is_ok() {}
    let (pool, link_state) = (pool(), Arc::new(LinkState::new().unwrap()));
    let (state, notifier) = (Arc::clone(&link_state), Notifier::new().unwrap());
    let writer = LinkWriter::new(state, notifier, announcements, Overflow::Block, 1);
    writer.announce_source(&Arc::new(CameraInfo::default()));
    let publish = || writer.publish(&pool.lend(&header(HEIGHT)).unwrap().unwrap().publish(0));
    publish();
    assert_eq!(link_state.counts().dropped[DropReason::NoSlot as usize], 1);
    while announced.try_receive().unwrap().is_some() {}
    let mut reader = LinkReader::new(link_state, announced);
    publish();
    assert!(reader.take().unwrap().is_some());
}
