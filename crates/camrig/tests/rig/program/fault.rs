//! What goes wrong, where and when, as a topology asks for it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use camrig::DriverError;
use serde::Deserialize;

/// Where faults panic, as messages name it; the harness takes away line and column.
pub(crate) const FILE: &str = file!();

/// Where something goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum At {
    Nowhere,
    Open,
    Start,
    Capture,
    Constructor,
    Process,
    Finish,
}

/// How it goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum How {
    Error,
    Unavailable,
    Panic,
    /// Never to return.
    Hang,
    /// To return after a while.
    Nap,
    /// To return after longer than any actor but one that is called may take to end.
    LongNap,
    Abort,
    /// As the standard library does when there is no memory.
    OutOfMemory,
}

/// The fault to be made, after so many framesets where there are some.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    pub(super) at: At,
    pub(super) how: How,
    #[serde(default)]
    pub(super) after: u64,
    /// So often in a process, and never again; by default always.
    pub(super) times: Option<u32>,
}

/// How often faults struck in this process.
static STRUCK: AtomicU32 = AtomicU32::new(0);

/// How long a nap is.
const NAP: Duration = Duration::from_millis(1500);

/// How long a long nap is: the supervisor waits 10 s for an actor that is not called.
const LONG_NAP: Duration = Duration::from_secs(12);

impl Fault {
    pub(super) fn strike(&self, at: At) -> Result<(), DriverError> {
        if self.at != at {
            return Ok(());
        }
        let struck = STRUCK.fetch_add(1, Ordering::Relaxed);
        if self.times.is_some_and(|times| struck >= times) {
            return Ok(());
        }
        match self.how {
            How::Error => Err(DriverError::new("as it was asked to")),
            How::Unavailable => Err(DriverError::unavailable("gone, as it was asked to")),
            How::Panic => panic!("as it was asked to"),
            How::Hang => loop {
                std::thread::park();
            },
            How::Nap | How::LongNap => {
                std::thread::sleep(if matches!(self.how, How::Nap) { NAP } else { LONG_NAP });
                Ok(())
            }
            How::Abort => std::process::abort(),
            How::OutOfMemory => std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u64; 1 << 40]>()),
        }
    }
}
