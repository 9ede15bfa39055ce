//! The words that pass the ownership of memory, with loom, which shows every value that a load may return under its ordering:
//! `RUSTFLAGS="--cfg shuttle --cfg orderings" cargo test -p camrig-ipc --lib orderings`.
//!
//! The code is that of a rig; only its atomics and locks are loom's. Each test fails if an ordering of its words is `Relaxed`.
//! loom treats `SeqCst` as `AcqRel`, so the words that need more are in `link_state::meetings`.
#![allow(unsafe_code)] // Accesses that loom checks.
#![allow(clippy::unwrap_used)] // An error fails the test.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread;

use crate::LinkState;
use crate::slots::Slots;

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

/// Runs `one` on a thread beside `other`, in every order.
fn side_by_side<A, B>(scene: impl Fn() -> (A, B) + Send + Sync + 'static)
where
    A: FnOnce() + Send + 'static,
    B: FnOnce(),
{
    loom::model(move || {
        let (one, other) = scene();
        let thread = thread::spawn(one);
        other();
        thread.join().unwrap();
    });
}

/// A link and the memory whose ownership its words pass, for each of two ends.
fn scene() -> [(Arc<LinkState>, Arc<Pixels>); 2] {
    let link_state = Arc::new(LinkState::new().unwrap());
    let pixels = Pixels::new();
    [(Arc::clone(&link_state), Arc::clone(&pixels)), (link_state, pixels)]
}

#[test]
fn a_queued_slot_is_whole() {
    side_by_side(|| {
        let [(producer, written), (reader, pixels)] = scene();
        let produce = move || {
            written.write(7);
            producer.publish(0, 0, 0);
        };
        let look = move || {
            if reader.take().is_some() {
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
