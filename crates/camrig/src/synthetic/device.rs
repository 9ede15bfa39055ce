//! The device behind a synthetic camera: what happened to it outlives every opening of it.
//!
//! A real camera that was pulled out stays out, however often it is opened; one that hangs in its firmware hangs
//! on until it is reset. So that the supervisor's ladder can be rehearsed, this remembers as much, for as long
//! as the process lives. It deliberately knows no frame.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Every device of this process that misbehaved or may, by camera and serial number.
static DEVICES: Mutex<BTreeMap<(String, String), Arc<Device>>> = Mutex::new(BTreeMap::new());

/// A device, plugged in or not.
#[derive(Debug, Default)]
pub(super) struct Device {
    past: Mutex<Past>,
}

/// What happened to a device; nothing happens twice.
#[derive(Debug, Default)]
struct Past {
    unplugged_at: Option<Instant>,
    has_stalled: bool,
    /// Whether only a reset helps.
    is_wedged: bool,
}

impl Device {
    /// The device of the camera called `name`, with this serial number.
    pub(super) fn of(name: &str, serial: &str) -> Arc<Self> {
        let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(devices.entry((name.to_owned(), serial.to_owned())).or_default())
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is plugged in: it always was, or it came back `replug_after` it was pulled out.
    pub(super) fn is_there(&self, replug_after: Duration) -> bool {
        self.past().unplugged_at.is_none_or(|at| at.elapsed() >= replug_after)
    }

    /// Whether it can still be pulled out.
    pub(super) fn can_be_unplugged(&self) -> bool {
        self.past().unplugged_at.is_none()
    }

    /// It is pulled out.
    pub(super) fn unplug(&self) {
        self.past().unplugged_at = Some(Instant::now());
    }

    /// Whether it can still stall.
    pub(super) fn can_stall(&self) -> bool {
        !self.past().has_stalled
    }

    /// It stalls; `until_reset` when opening it again will not help.
    pub(super) fn stall(&self, until_reset: bool) {
        let mut past = self.past();
        past.has_stalled = true;
        past.is_wedged = until_reset;
    }

    /// Whether it delivers nothing, however often it is opened.
    pub(super) fn is_wedged(&self) -> bool {
        self.past().is_wedged
    }

    /// A hardware reset.
    pub(super) fn reset(&self) {
        self.past().is_wedged = false;
    }
}
