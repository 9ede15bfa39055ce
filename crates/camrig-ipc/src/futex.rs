//! Sleep on a word of shared memory until it changes: a futex between processes.
//!
//! The meaning of the word is the caller's. A wake-up may be spurious, and every sleep has a time-out, so callers check
//! the word again.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::fs::Timespec;
use rustix::thread::futex::{self, Flags};

/// Without `PRIVATE`, because the other side may be another process.
const SHARED: Flags = Flags::empty();

/// Sleeps while the word equals `seen`, but at most for `timeout`.
pub(crate) fn sleep(word: &AtomicU32, seen: u32, timeout: Duration) {
    let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
    // Every error has the same meaning as a wake-up: the word has changed, or the sleep was interrupted or timed out.
    let _ = futex::wait(word, SHARED, seen, Some(&timeout));
}

/// Changes the word and wakes its sleepers.
pub(crate) fn change(word: &AtomicU32) {
    // Pairs with the comparison of `sleep`, which the kernel makes.
    word.fetch_add(1, Ordering::SeqCst);
    wake(word);
}

/// Wakes the sleepers of the word, which was changed before.
pub(crate) fn wake(word: &AtomicU32) {
    // It cannot fail for a valid word.
    let _ = futex::wake(word, SHARED, u32::MAX >> 1);
}
