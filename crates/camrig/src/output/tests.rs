//! The framesets that reach a reader, and the counts, for each way of publishing.

use std::cell::RefCell;
use std::rc::Rc;

use camrig_frame::{CameraInfo, Clock, PixelFormat, Stream, StreamInfo, Timestamp};
use camrig_ipc::{ActorCounters, DropReason, LinkState, LostReason, Overflow};

use super::*;
use crate::frameset::{FrameSet, HeldFrames};
use crate::link::{LocalLink, ProducerEnd};
use crate::testing::{self, TestCamera};

const SLOTS: usize = 2;
const QUEUE: usize = 4;

fn link(overflow: Overflow) -> Arc<LocalLink> {
    testing::local_link(overflow, QUEUE)
}

fn publisher(name: &str, link: &Arc<LocalLink>, counters: &Arc<ActorCounters>) -> Publisher {
    Publisher::new(Wiring {
        name: name.to_owned(),
        slots: SLOTS,
        links: OutputLinks::of(vec![Arc::clone(link) as _]),
        counters: Arc::clone(counters),
    })
}

fn counters() -> Arc<ActorCounters> {
    Arc::new(ActorCounters::new().unwrap())
}

fn depth() -> StreamInfo {
    let profile = "2x1@30".parse().unwrap();
    StreamInfo::image(Stream::DEPTH, PixelFormat::Z16, profile)
}

fn info(name: &str) -> CameraInfo {
    CameraInfo { name: name.to_owned(), streams: vec![depth()], ..CameraInfo::default() }
}

fn headers(number: u64) -> FrameHeaders {
    let at = Timestamp { clock: Clock::System, nanos: number };
    FrameHeaders::from_iter([depth().header(number, at)])
}

struct Pixels([u8; 4]);

impl HeldFrames for Pixels {
    fn pixels(&self, _: usize) -> &[u8] {
        &self.0
    }
}

/// Camera, producer, sequence, match and pixels of a frameset.
fn summary(frames: &FrameSet) -> (&str, &str, u64, Option<u64>, Vec<u8>) {
    let pixels = frames.frames().flat_map(|frame| frame.bytes().to_vec()).collect();
    (frames.camera(), frames.producer(), frames.sequence(), frames.header().matched, pixels)
}

#[test]
fn a_camera_publishes_loans_and_held_frames_under_one_count() {
    let (link, counters) = (link(Overflow::DropNewest), counters());
    let mut output = CameraOutput::new(publisher("left", &link, &counters), info("left")).unwrap();
    let mut loan = output.loan(1, headers(0)).unwrap().unwrap();
    loan.frame_mut(0).copy_from_slice(&[1, 2, 3, 4]);
    output.publish_held(2, headers(1), Box::new(Pixels([5, 6, 7, 8]))).unwrap();
    output.publish(loan);
    let first = link.take().unwrap();
    assert_eq!(summary(&first), ("left", "left", 0, None, vec![5, 6, 7, 8]));
    assert_eq!(first.arrival_nanos(), 2);
    assert_eq!(summary(&link.take().unwrap()), ("left", "left", 1, None, vec![1, 2, 3, 4]));
    assert_eq!((output.produced(), counters.produced()), (2, 2));
}

#[test]
fn a_description_that_would_fill_a_channel_is_refused() {
    let (link, counters) = (link(Overflow::DropNewest), counters());
    let described = |bytes: usize| CameraInfo { model: "m".repeat(bytes), ..info("left") };
    let refused = CameraOutput::new(publisher("left", &link, &counters), described(1 << 14)).err().unwrap();
    let sentence = "the description of `left` has 16417 bytes, more than 16384: shorten its texts, such as `model`, or \
                    declare fewer streams";
    assert_eq!(refused.to_string(), sentence);
    CameraOutput::new(publisher("left", &link, &counters), described(16_000)).unwrap();
    let (mut output, _reader) = testing::output_with_reader("boxes", &[]);
    let refused = output.loan(&Arc::new(described(1 << 14)), 0, headers(0)).err().unwrap();
    assert_eq!(refused.to_string(), sentence);
}

#[test]
fn a_camera_counts_gaps_as_lost_by_their_reason() {
    let (link, counters) = (link(Overflow::DropNewest), counters());
    let mut output = CameraOutput::new(publisher("left", &link, &counters), info("left")).unwrap();
    let publish = |output: &mut CameraOutput, number| {
        output.publish_held(0, headers(number), Box::new(Pixels([0; 4]))).unwrap();
        link.take().unwrap();
    };
    publish(&mut output, 0);
    output.explain_lost(Stream::DEPTH, LostReason::QueueFull, 1);
    publish(&mut output, 4);
    let lost = |reason: LostReason| counters.lost_by_reason()[reason as usize];
    assert_eq!((lost(LostReason::Device), lost(LostReason::QueueFull)), (2, 1));
    // No frame follows that would show it.
    output.explain_lost(Stream::DEPTH, LostReason::NoPartner, 3);
    assert_eq!(lost(LostReason::NoPartner), 0);
    drop(output);
    assert_eq!(lost(LostReason::NoPartner), 3);
}

#[test]
fn a_camera_counts_a_frameset_that_it_cannot_make_once() {
    let (link, counters) = (link(Overflow::DropNewest), counters());
    let mut output = CameraOutput::new(publisher("left", &link, &counters), info("left")).unwrap();
    for number in [0, 2, 4] {
        output.publish_held(0, headers(number), Box::new(Pixels([0; 4]))).unwrap();
        output.count_lost_framesets(LostReason::Unreadable, 1);
    }
    assert_eq!(counters.lost_by_reason()[LostReason::Unreadable as usize], 3);
    assert_eq!((counters.lost(), counters.produced()), (3, 3));
}

#[test]
fn a_processor_forwards_without_a_copy_inside_the_process() {
    let mut camera = TestCamera::new("left", &[(Stream::DEPTH, PixelFormat::Z16, "2x1@30")]);
    let (mut first, between) = testing::output_with_reader("first", &[]);
    let (mut second, last) = testing::output_with_reader("second", &[]);
    camera.frameset(0, &[&[0; 4]]);
    let origin = camera.frameset(7, &[&[1, 2, 3, 4]]);
    first.forward(&origin).unwrap();
    second.forward(&between.take().unwrap()).unwrap();
    let forwarded = last.take().unwrap();
    assert_eq!(summary(&forwarded), ("left", "second", 0, None, vec![1, 2, 3, 4]));
    assert_eq!((forwarded.arrival_nanos(), forwarded.timestamp()), (7, origin.timestamp()));
    let address = |frames: &FrameSet| frames.frame(Stream::DEPTH).unwrap().bytes().as_ptr();
    assert_eq!(address(&forwarded), address(&origin));
}

#[test]
fn a_text_about_progress_is_passed_on_once_and_cut() {
    let said: Rc<RefCell<Vec<String>>> = Rc::default();
    let (output, _reader) = testing::output_with_reader("busy", &[]);
    let taken = Rc::clone(&said);
    let mut output = output.progressing(move |text| taken.borrow_mut().push(text));
    let long = "é".repeat(3000);
    (0..9).for_each(|_| output.tell(&long));
    assert_eq!(*said.borrow(), ["é".repeat(2000)]);
}

#[test]
fn as_many_framesets_as_there_are_slots_are_forwarded_and_kept() {
    let mut camera = TestCamera::new("left", &[(Stream::DEPTH, PixelFormat::Z16, "2x1@30")]);
    let (link, counters) = (link(Overflow::DropNewest), counters());
    let mut output = ProcessorOutput::new(publisher("filter", &link, &counters), InputStatus::default());
    let origin = camera.frameset(0, &[&[0; 4]]);
    let mut forward = || {
        output.forward(&origin).unwrap();
        link.take()
    };
    let kept: Vec<_> = (0..SLOTS).map(|_| forward().unwrap()).collect();
    assert!(forward().is_none());
    assert_eq!(link.link_state().counts().dropped[DropReason::NoSlot as usize], 1);
    drop(kept);
    assert!(forward().is_some());
    assert_eq!(counters.copied(), 0);
}

#[test]
fn a_frameset_without_a_slot_is_dropped_on_every_link() {
    let (link, counters) = (link(Overflow::DropNewest), counters());
    let mut output = CameraOutput::new(publisher("left", &link, &counters), info("left")).unwrap();
    let loans: Vec<_> = (0..SLOTS as u64).map(|_| output.loan(0, headers(0)).unwrap().unwrap()).collect();
    assert!(output.loan(0, headers(5)).unwrap().is_none());
    let counts = link.link_state().counts();
    assert_eq!((counts.produced, counts.dropped[DropReason::NoSlot as usize]), (1, 1));
    // A loan that is not published was never produced.
    drop(loans);
    assert_eq!(counters.produced(), 1);
}

#[test]
fn an_instance_continues_the_count_of_the_previous_one() {
    let (link, counters) = (link(Overflow::DropNewest), counters());
    for sequence in 0..3 {
        let mut output = CameraOutput::new(publisher("left", &link, &counters), info("left")).unwrap();
        output.publish_held(0, headers(0), Box::new(Pixels([0; 4]))).unwrap();
        assert_eq!(link.take().unwrap().sequence(), sequence);
    }
}

#[test]
fn a_processor_derives_from_its_inputs() {
    let mut camera = TestCamera::new("left", &[(Stream::DEPTH, PixelFormat::Z16, "2x1@30")]);
    let origin = camera.frameset(7, &[&[1, 0, 2, 0]]);
    let (mut output, link) = testing::output_with_reader("halve", &[]);
    let mut loan = output.derive(&origin, headers(3)).unwrap().unwrap();
    loan.frame_mut(0).copy_from_slice(&[9; 4]);
    output.publish(loan);
    let derived = link.take().unwrap();
    assert_eq!(summary(&derived), ("left", "halve", 0, None, vec![9; 4]));
    assert_eq!((derived.arrival_nanos(), derived.info() == origin.info()), (7, true));
}

#[test]
fn a_processor_publishes_framesets_of_its_own() {
    let (mut output, link) = testing::output_with_reader("fusion", &[]);
    let (volume, floor) = (Arc::new(info("volume")), Arc::new(info("floor")));
    for (source, byte) in [(&volume, 1), (&floor, 2), (&volume, 3)] {
        let mut loan = output.loan(source, 5, headers(0)).unwrap().unwrap();
        loan.frame_mut(0).fill(byte);
        output.publish(loan);
    }
    let published: Vec<_> = std::iter::from_fn(|| link.take()).collect();
    assert_eq!(
        published.iter().map(summary).collect::<Vec<_>>(),
        [
            ("volume", "fusion", 0, None, vec![1; 4]),
            ("floor", "fusion", 1, None, vec![2; 4]),
            ("volume", "fusion", 2, None, vec![3; 4]),
        ]
    );
    let error = output.loan(&Arc::new(info("")), 0, headers(0)).err().map(|error| error.to_string());
    assert_eq!(error.as_deref(), Some("a source of framesets needs a name"));
}

#[test]
fn a_publisher_refuses_one_source_too_many() {
    let (mut output, _link) = testing::output_with_reader("fusion", &[]);
    for number in 0..MAX_SOURCES {
        assert!(output.loan(&Arc::new(info(&number.to_string())), 0, headers(0)).is_ok());
    }
    let error = output.loan(&Arc::new(info("last")), 0, headers(0)).err().map(|error| error.to_string());
    assert_eq!(error.as_deref(), Some("framesets of more than 256 cameras are published"));
}

/// A wait would be for a reader that this very thread runs.
#[test]
fn a_frameset_without_a_slot_is_dropped_immediately_for_a_blocking_reader_on_the_thread() {
    let link = LocalLink::new(Arc::new(LinkState::new().unwrap()), Arc::default(), Overflow::Block, QUEUE);
    let (link, counters) = (Arc::new(link.on_thread(true)), counters());
    let mut output = CameraOutput::new(publisher("left", &link, &counters), info("left")).unwrap();
    for number in 0..=SLOTS as u64 {
        output.publish_held(number, headers(number), Box::new(Pixels([7; 4]))).unwrap();
    }
    assert_eq!(std::iter::from_fn(|| link.take()).count(), SLOTS);
    assert_eq!(link.link_state().counts().dropped[DropReason::NoSlot as usize], 1);
}
