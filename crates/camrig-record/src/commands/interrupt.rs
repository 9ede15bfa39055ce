//! Ctrl-C, SIGTERM and SIGHUP end a writing command between two framesets, so that each written frameset is complete.

use std::process::exit;
use std::sync::atomic::{AtomicI32, Ordering};

use camrig::{spawn_thread, take_signals};

/// The number of Ctrl-C.
const SIGINT: i32 = 2;

/// The last signal; 0 if there was none.
static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// Receives the signals from now on. A Ctrl-C after another signal ends the program immediately.
pub(super) fn receive() {
    // If they cannot be received, they end the program, as before.
    let Ok(signals) = take_signals() else { return };
    let receive = move || {
        for signal in signals {
            if RECEIVED.swap(signal, Ordering::Relaxed) != 0 && signal == SIGINT {
                exit(code().into());
            }
        }
    };
    let _ = spawn_thread("signals", receive);
}

/// Returns whether there was a signal.
pub(super) fn is_requested() -> bool {
    RECEIVED.load(Ordering::Relaxed) != 0
}

/// Returns the exit code of a program that was ended by the signal, such as 130 after Ctrl-C.
pub(super) fn code() -> u8 {
    128 + RECEIVED.load(Ordering::Relaxed) as u8
}
