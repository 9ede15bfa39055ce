//! The orderings of shared words, with loom, which shows every value that a load may return under its ordering:
//! `RUSTFLAGS="--cfg shuttle --cfg orderings" cargo test -p camrig-ipc --lib orderings`.
//!
//! The code is that of a rig; only its atomics and locks are loom's. For each ordering that is not `Relaxed`, and for each fence,
//! a test fails without it.
//!
//! loom treats accesses that are `SeqCst` as `AcqRel`, and delays no load until after a later store. So the code has fences where
//! it needs sequential consistency, and no test here would notice a load that has to come before a store.
#![allow(unsafe_code)] // Accesses that loom checks.
#![allow(clippy::unwrap_used)] // An error fails the test.

use std::sync::Arc;
use std::time::Duration;

use camrig_frame::Stream;
use loom::cell::UnsafeCell;
use loom::thread;

use crate::slots::Slots;
use crate::{ActorCounters, ClockEstimate, Deaths, DropReason, LinkState, Listener, MatchCounters, Notifier};

/// The memory whose ownership a word passes.
struct Pixels(UnsafeCell<u64>);

// SAFETY: loom fails the test where two threads access it at the same time.
unsafe impl Sync for Pixels {}

impl Pixels {
    fn new() -> Arc<Self> {
        Arc::new(Self(UnsafeCell::new(0)))
    }

    fn write(&self, value: u64) {
        // SAFETY: loom checks that nothing else accesses it.
        self.0.with_mut(|pixels| unsafe { *pixels = value });
    }

    fn read(&self) -> u64 {
        // SAFETY: loom checks that nothing writes it.
        self.0.with(|pixels| unsafe { *pixels })
    }
}

/// Runs `one` on a thread beside `other`; returns their results.
fn both<A, B>(one: impl FnOnce() -> A + Send + 'static, other: impl FnOnce() -> B) -> (A, B)
where
    A: Send + 'static,
{
    let thread = thread::spawn(one);
    let other = other();
    (thread.join().unwrap(), other)
}

/// Runs the two sides of a scene beside each other, in every order.
fn side_by_side<A, B>(scene: impl Fn() -> (A, B) + Send + Sync + 'static)
where
    A: FnOnce() + Send + 'static,
    B: FnOnce(),
{
    loom::model(move || {
        let (one, other) = scene();
        both(one, other);
    });
}

/// A link, for each of two ends.
fn ends() -> [Arc<LinkState>; 2] {
    let link_state = Arc::new(LinkState::new().unwrap());
    [Arc::clone(&link_state), link_state]
}

/// A link and the memory whose ownership its words pass, for each of two ends.
fn scene() -> [(Arc<LinkState>, Arc<Pixels>); 2] {
    let pixels = Pixels::new();
    ends().map(|link_state| (link_state, Arc::clone(&pixels)))
}

#[test]
fn a_queued_slot_is_whole() {
    side_by_side(|| {
        let [(producer, written), (reader, pixels)] = scene();
        // The queue does not become empty: then the reader would pass a fence.
        producer.publish(1, 0, 1);
        let produce = move || {
            written.write(7);
            producer.publish(0, 0, 0);
        };
        let look = move || {
            if reader.take().unwrap().slot == 0 {
                assert_eq!(pixels.read(), 7);
            }
        };
        (produce, look)
    });
}

#[test]
fn a_released_slot_is_no_longer_read() {
    side_by_side(|| {
        let [(reader, shown), (producer, pixels)] = scene();
        producer.publish(0, 0, 0);
        producer.take().unwrap();
        let release = move || {
            shown.read();
            reader.release(0);
        };
        let write_again = move || {
            if producer.slot_is_free(0) {
                pixels.write(1);
            }
        };
        (release, write_again)
    });
}

#[test]
fn a_slot_that_is_lent_again_is_no_longer_read_in_its_process() {
    side_by_side(|| {
        let slots = Arc::new(Slots::new());
        let pixels = Pixels::new();
        assert_eq!(slots.claim(1), Some(0));
        let (holder, shown) = (Arc::clone(&slots), Arc::clone(&pixels));
        let hold = move || {
            shown.read();
            holder.free(0);
        };
        let lend = move || {
            if slots.claim(1).is_some() {
                pixels.write(1);
            }
        };
        (hold, lend)
    });
}

#[test]
fn a_reader_that_sees_the_end_sees_all_queued_framesets() {
    side_by_side(|| {
        let [(producer, _), (reader, _)] = scene();
        let end = move || {
            producer.publish(0, 0, 0);
            producer.end();
        };
        let look = move || {
            if reader.ended() {
                assert!(reader.take().is_some());
            }
        };
        (end, look)
    });
}

#[test]
fn a_reader_that_sees_the_end_sees_whether_another_link_follows() {
    side_by_side(|| {
        let [supervisor, reader] = ends();
        let end = move || {
            supervisor.set_continues();
            supervisor.end();
        };
        let look = move || assert!(!reader.ended() || reader.continues());
        (end, look)
    });
}

#[test]
fn framesets_are_taken_in_their_order() {
    side_by_side(|| {
        let [producer, reader] = ends();
        let produce = move || {
            producer.publish(0, 0, 0);
            producer.publish(1, 0, 1);
        };
        let look = move || assert!(reader.take().is_none_or(|taken| taken.sequence == 0));
        (produce, look)
    });
}

#[test]
fn a_counted_announcement_was_sent() {
    side_by_side(|| {
        let [(producer, written), (reader, channel)] = scene();
        let announce = move || {
            written.write(1);
            producer.count_announced();
        };
        let receive = move || {
            if reader.announced() == 1 {
                assert_eq!(channel.read(), 1);
            }
        };
        (announce, receive)
    });
}

/// A link whose reader is about to be woken, for each of two ends.
fn notified() -> [Arc<LinkState>; 2] {
    let ends = ends();
    ends[0].notify();
    ends
}

#[test]
fn a_frameset_wakes_its_reader_or_is_found() {
    loom::model(|| {
        let [producer, reader] = notified();
        let queue = move || {
            producer.publish(0, 0, 0);
            producer.notify()
        };
        let look = || {
            reader.clear_notified();
            reader.take().is_some()
        };
        let (wakes, found) = both(queue, look);
        assert!(wakes || found, "a frameset waits without a wake-up");
    });
}

/// Their wake-up comes in any case, but the reader looks only if it finds that it was notified.
#[test]
fn an_end_and_an_announcement_are_seen_or_wake_the_reader() {
    loom::model(|| {
        let [producer, reader] = notified();
        let end = move || {
            producer.count_announced();
            producer.end();
        };
        let look = || {
            reader.clear_notified();
            (reader.announced(), reader.ended())
        };
        let ((), seen) = both(end, look);
        assert!(seen == (1, true) || reader.is_notified(), "{seen:?}");
    });
}

/// Lets a producer that waits for `is_there` meet a reader whose `step` makes it so.
fn wait_and_step(prepare: fn(&LinkState), is_there: fn(&LinkState) -> bool, step: fn(&LinkState)) {
    loom::model(move || {
        let [producer, reader] = ends();
        prepare(&producer);
        let wait = move || {
            let seen = producer.begin_wait();
            (!is_there(&producer)).then_some(seen)
        };
        let (sleeps, ()) = both(wait, || step(&reader));
        // The value that the kernel compares, at the latest when the step has been made.
        assert_ne!(sleeps, Some(reader.begin_wait()), "a producer sleeps although there is progress");
    });
}

#[test]
fn a_producer_that_waits_sees_an_empty_queue_or_is_woken() {
    let take = |reader: &LinkState| {
        reader.take().unwrap();
    };
    wait_and_step(|producer| producer.publish(0, 0, 0), |producer| producer.queued() == 0, take);
}

#[test]
fn a_producer_that_waits_sees_a_reader_that_is_gone_or_is_woken() {
    wait_and_step(|_| (), LinkState::reader_gone, |reader| reader.set_reader_paused(true));
}

#[test]
fn a_producer_that_waits_sees_that_all_was_received_or_is_woken() {
    let receive = |reader: &LinkState| reader.set_received(reader.announced());
    wait_and_step(LinkState::count_announced, LinkState::has_received_all, receive);
}

#[test]
fn a_frameset_is_not_left_queued_for_a_reader_that_is_gone() {
    loom::model(|| {
        let [producer, reader] = ends();
        let queue = move || {
            producer.publish(0, 0, 0);
            producer.reader_gone()
        };
        let leave = || {
            reader.set_reader_ended();
            reader.queued() != 0
        };
        let (gone, found) = both(queue, leave);
        assert!(gone || found, "a frameset stays queued");
    });
}

/// The end comes from a third side, in place of the producer.
#[test]
fn a_frameset_is_not_left_queued_on_a_link_that_has_ended() {
    loom::model(|| {
        let [producer, reader] = ends();
        let supervisor = Arc::clone(&reader);
        let end = thread::spawn(move || supervisor.end());
        let queue = move || {
            producer.publish(0, 0, 0);
            producer.ended()
        };
        let (takes_back, left) = both(queue, || reader.ended() && reader.queued() == 0);
        end.join().unwrap();
        assert!(takes_back || !left, "a frameset stays queued");
    });
}

#[test]
fn a_notification_is_seen_or_wakes() {
    loom::model(|| {
        let notifier = Arc::new(Notifier::new().unwrap());
        let other = Arc::clone(&notifier);
        let (wakes, sleeps) = both(move || other.count(), || notifier.begin_sleep(0));
        assert!(wakes || !sleeps, "a process sleeps although it was notified");
    });
}

#[test]
fn what_a_process_is_woken_for_is_seen_after_its_wait() {
    side_by_side(|| {
        let notifier = Arc::new(Notifier::new().unwrap());
        let mut listener = Listener::new(Arc::clone(&notifier));
        let pixels = Pixels::new();
        let written = Arc::clone(&pixels);
        let notify = move || {
            written.write(1);
            notifier.notify();
        };
        let wait = move || {
            listener.wait();
            if listener.seen == 1 {
                assert_eq!(pixels.read(), 1);
            }
        };
        (notify, wait)
    });
}

/// Looks at the counts of a link beside `count`, in every order.
fn look_at_counts(count: fn(&LinkState), check: fn(crate::Counts)) {
    side_by_side(move || {
        let [end, observer] = ends();
        (move || count(&end), move || check(observer.counts()))
    });
}

#[test]
fn a_frameset_that_is_delivered_or_dropped_is_produced() {
    fn deliver(link_state: &LinkState) {
        link_state.count_produced();
        link_state.count_delivered(Duration::ZERO);
    }
    fn drop(link_state: &LinkState) {
        link_state.count_produced();
        link_state.count_dropped(DropReason::DropNewest);
    }
    for count in [deliver, drop] {
        look_at_counts(count, |counts| assert!(counts.add_up(), "{counts:?}"));
    }
}

#[test]
fn no_more_is_in_flight_than_was() {
    let one_after_the_other = |link_state: &LinkState| {
        for _ in 0..2 {
            link_state.count_produced();
            link_state.count_delivered(Duration::ZERO);
        }
    };
    look_at_counts(one_after_the_other, |counts| assert!(counts.in_flight <= 1, "{counts:?}"));
}

#[test]
fn what_a_death_has_cost_is_dropped_after_it_is_produced() {
    side_by_side(|| {
        let [supervisor, observer] = ends();
        supervisor.set_reader_away();
        let look = move || {
            let counts = observer.counts();
            assert!(counts.add_up(), "{counts:?}");
        };
        // Here, and not on the other thread: loom would not see that its changes concern the observer, because it reads the counts
        // before it changes them.
        let settle = move || assert!(supervisor.settle(Deaths { producer: true, reader: true }, 1));
        (look, settle)
    });
}

/// Lets the supervisor settle a link with one frameset while its living end is within a step, and once more after that.
fn settle_beside(deaths: Deaths, prepare: fn(&LinkState), step: fn(&LinkState)) {
    loom::model(move || {
        let [living, supervisor] = ends();
        prepare(&supervisor);
        let (_, settled) = both(move || step(&living), || supervisor.settle(deaths, 1));
        assert!(settled || supervisor.settle(deaths, 1));
        let counts = supervisor.counts();
        assert!(counts.produced == 1 && counts.in_flight == 0 && counts.add_up(), "{counts:?}");
    });
}

const DEAD_READER: Deaths = Deaths { producer: false, reader: true };

#[test]
fn a_death_is_not_settled_within_a_step_that_drops() {
    let prepare = |link_state: &LinkState| {
        link_state.set_reader_away();
    };
    settle_beside(DEAD_READER, prepare, |producer| {
        producer.count_produced_and_dropped(DropReason::ReaderGone);
    });
}

#[test]
fn a_death_is_not_settled_within_a_step_that_takes_back() {
    let prepare = |link_state: &LinkState| {
        link_state.count_produced();
        link_state.publish(0, 0, 0);
        link_state.set_reader_away();
    };
    settle_beside(DEAD_READER, prepare, |producer| {
        let _step = producer.producer_step();
        producer.take_back_oldest(DropReason::ReaderGone);
    });
}

#[test]
fn a_death_is_not_settled_within_a_step_that_delivers() {
    let prepare = |link_state: &LinkState| {
        link_state.count_produced();
        link_state.publish(0, 0, 0);
    };
    settle_beside(Deaths { producer: true, reader: false }, prepare, |reader| {
        let _step = reader.reader_step();
        if reader.take().is_some() {
            reader.count_delivered(Duration::ZERO);
        }
    });
}

#[test]
fn a_declared_stream_has_its_name() {
    side_by_side(|| {
        let counters = Arc::new(ActorCounters::new().unwrap());
        let camera = Arc::clone(&counters);
        let declare = move || camera.declare_streams([Stream::INFRARED_1].into_iter(), false);
        let look = move || {
            for counts in counters.streams() {
                assert_eq!(counts.stream, Stream::INFRARED_1);
            }
        };
        (declare, look)
    });
}

#[test]
fn the_first_offset_and_the_first_estimate_of_a_camera_are_whole() {
    let clock = ClockEstimate { offset_nanos: -5, drift_ppb: 50_000, uncertainty_nanos: 7 };
    side_by_side(move || {
        let counters = Arc::new(MatchCounters::new().unwrap());
        let processor = Arc::clone(&counters);
        let count = move || {
            processor.count_match([(0, Duration::from_nanos(9))], Duration::ZERO, false);
            processor.set_clock(0, clock);
        };
        let look = move || {
            let camera = counters.camera(0);
            assert!(camera.offset.is_none_or(|offset| offset == Duration::from_nanos(9)), "{camera:?}");
            assert!(camera.clock.is_none_or(|estimate| estimate == clock), "{camera:?}");
        };
        (count, look)
    });
}
