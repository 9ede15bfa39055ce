//! Sleeping on a word of shared memory until somebody changes it: a futex, between processes.
//!
//! It knows nothing of what the word means. A wake-up may come without a change, and a sleep is bounded:
//! whoever sleeps looks again.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::fs::Timespec;
use rustix::thread::futex::{self, Flags};

/// Without `PRIVATE`: the other side may be another process.
const SHARED: Flags = Flags::empty();

/// Sleeps until the word is no longer `seen`, at most `timeout`.
pub(crate) fn sleep(word: &AtomicU32, seen: u32, timeout: Duration) {
    let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
    // Every error means the same as a wake-up: changed already, interrupted, or time is up.
    let _ = futex::wait(word, SHARED, seen, Some(&timeout));
}

/// Changes the word and wakes whoever sleeps on it.
pub(crate) fn change(word: &AtomicU32) {
    word.fetch_add(1, Ordering::SeqCst);
    wake(word);
}

/// Wakes whoever sleeps on the word, which was changed before.
pub(crate) fn wake(word: &AtomicU32) {
    // Fails for no word of ours.
    let _ = futex::wake(word, SHARED, u32::MAX >> 1);
}
