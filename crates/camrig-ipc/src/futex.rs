//! Sleep on a word of shared memory until it changes: a futex between processes.
//!
//! The meaning of the word is the caller's. A wake-up may be spurious, and every sleep has a time-out, so callers check
//! the word again.

use std::sync::atomic::Ordering;
use std::time::Duration;

#[cfg(not(orderings))]
use rustix::fs::Timespec;
#[cfg(not(orderings))]
use rustix::thread::futex::{self, Flags};

use crate::sync::FutexWord;

/// Without `PRIVATE`, because the other side may be another process.
#[cfg(not(orderings))]
const SHARED: Flags = Flags::empty();

/// Sleeps while the word equals `seen`, but at most for `timeout`.
#[cfg(not(orderings))]
pub(crate) fn sleep(word: &FutexWord, seen: u32, timeout: Duration) {
    let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
    // Every error has the same meaning as a wake-up: the word has changed, or the sleep was interrupted or timed out.
    let _ = futex::wait(word, SHARED, seen, Some(&timeout));
}

/// With loom, every wake-up is spurious: the kernel does not know loom's words.
#[cfg(orderings)]
pub(crate) fn sleep(_: &FutexWord, _: u32, _: Duration) {}

/// Changes the word and wakes its sleepers. What the change is for comes before a fence of the caller.
pub(crate) fn change(word: &FutexWord) {
    // That fence pairs with the load of the value that `sleep` compares.
    word.fetch_add(1, Ordering::Relaxed);
    wake(word);
}

/// Wakes the sleepers of the word, which was changed before.
#[cfg(not(orderings))]
pub(crate) fn wake(word: &FutexWord) {
    // It cannot fail for a valid word.
    let _ = futex::wake(word, SHARED, u32::MAX >> 1);
}

#[cfg(orderings)]
pub(crate) fn wake(_: &FutexWord) {}
