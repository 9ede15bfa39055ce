//! Ctrl-C ends a writing command between two framesets, so that each written frameset is complete.

use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};

use super::code;

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Receives Ctrl-C from now on. A second one ends the program immediately.
pub(super) fn receive() {
    // Without a handler Ctrl-C ends the program, as before.
    let _ = ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            exit(code::INTERRUPTED.into());
        }
    });
}

/// Returns whether there was a Ctrl-C.
pub(super) fn is_requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}
