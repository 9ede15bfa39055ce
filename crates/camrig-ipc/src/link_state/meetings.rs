//! Two ends that write a word and then read that of the other: at least one sees the write of the other. Processors, x86
//! included, reorder a read before an earlier write of the same thread unless a fence is between them, so the threads meet many
//! times. On x86 every exchange is such a fence as well, so that only `orderings` shows what a fence after one is for.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;

/// Number of meetings: without a fence, at least one in some thousand goes wrong on x86.
const ROUNDS: u32 = 100_000;

/// Number of looks before a thread lets another one run.
const SPINS: u32 = 10_000;

/// Lets two threads continue at the same instant.
#[derive(Default)]
struct Meeting(AtomicU32);

impl Meeting {
    /// Waits for the other thread, which also comes here for the `count`th time.
    fn wait(&self, count: u32) {
        self.0.fetch_add(1, Ordering::SeqCst);
        let mut spins = 0;
        while self.0.load(Ordering::SeqCst) < 2 * count {
            spins += 1;
            if spins % SPINS == 0 {
                std::thread::yield_now();
            }
            spin_loop();
        }
    }
}

/// Runs both sides at the same time, then checks their results and prepares the next round.
fn meet(one: impl Fn(u32) -> bool + Sync, other: impl Fn(u32) -> bool, check: impl Fn(u32, bool, bool)) {
    let (meeting, seen) = (Meeting::default(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..ROUNDS {
                meeting.wait(3 * round + 1);
                seen.store(one(round), Ordering::SeqCst);
                meeting.wait(3 * round + 2);
                meeting.wait(3 * round + 3);
            }
        });
        for round in 0..ROUNDS {
            meeting.wait(3 * round + 1);
            let other = other(round);
            meeting.wait(3 * round + 2);
            // A check that fails lets the other thread continue without this one.
            let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                check(round, seen.load(Ordering::SeqCst), other);
            }));
            if let Err(panic) = checked {
                meeting.0.store(u32::MAX / 2, Ordering::SeqCst);
                std::panic::resume_unwind(panic);
            }
            meeting.wait(3 * round + 3);
        }
    });
}

#[test]
fn a_frameset_wakes_its_reader_or_is_found() {
    let link_state = LinkState::new().unwrap();
    link_state.notify();
    let queue = |round: u32| {
        link_state.publish(0, 0, u64::from(round));
        link_state.notify()
    };
    let look = |_| {
        link_state.clear_notified();
        link_state.take().is_some()
    };
    meet(queue, look, |round, wakes, found| {
        assert!(wakes || found, "round {round}: a frameset waits without a wake-up");
        if !found {
            link_state.take().unwrap();
        }
        link_state.release(0);
        link_state.notify();
    });
}

#[test]
fn a_frameset_is_not_left_queued_for_a_reader_that_is_gone() {
    let link_state = LinkState::new().unwrap();
    // As a producer does: it takes back the framesets that it has queued for a reader that is gone.
    let queue = |round: u32| {
        link_state.publish(0, 0, u64::from(round));
        link_state.reader_gone()
    };
    let leave = |_| {
        link_state.set_reader_ended();
        link_state.queued() != 0
    };
    meet(queue, leave, |round, gone, found| {
        assert!(gone || found, "round {round}: a frameset stays queued");
        link_state.take_back_all();
        link_state.reader.gone.store(0, Ordering::SeqCst);
    });
}

/// Lets a producer that waits for `is_there` meet a reader whose `step` makes it so; `prepare` begins each round.
fn wait_and_step(
    link_state: &LinkState,
    prepare: impl Fn(),
    is_there: impl Fn() -> bool + Sync,
    step: impl Fn(),
) {
    let progress = || link_state.reader.progress.load(Ordering::SeqCst);
    prepare();
    let wait = |_| {
        link_state.begin_wait();
        is_there()
    };
    let step = |_| {
        let before = progress();
        step();
        progress() != before
    };
    meet(wait, step, |round, seen, woken| {
        assert!(seen || woken, "round {round}: a producer sleeps although there is progress");
        link_state.reader.awaited.store(0, Ordering::SeqCst);
        prepare();
    });
}

#[test]
fn a_producer_that_waits_sees_an_empty_queue_or_is_woken() {
    let link_state = LinkState::new().unwrap();
    let fill = || {
        link_state.release(0);
        link_state.publish(0, 0, 0);
    };
    let take = || {
        link_state.take().unwrap();
    };
    wait_and_step(&link_state, fill, || link_state.queued() == 0, take);
}

#[test]
fn a_producer_that_waits_sees_a_reader_that_is_gone_or_is_woken() {
    let link_state = LinkState::new().unwrap();
    let come_back = || link_state.set_reader_paused(false);
    let pause = || link_state.set_reader_paused(true);
    wait_and_step(&link_state, come_back, || link_state.reader_gone(), pause);
}

#[test]
fn a_producer_that_waits_sees_that_all_was_received_or_is_woken() {
    let link_state = LinkState::new().unwrap();
    let announce = || link_state.count_announced();
    let receive = || link_state.set_received(link_state.announced());
    wait_and_step(&link_state, announce, || link_state.has_received_all(), receive);
}
