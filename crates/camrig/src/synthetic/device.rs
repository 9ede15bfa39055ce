//! The state of a synthetic camera's device, which outlives an open camera.
//!
//! A real camera that was unplugged stays unplugged, however often it is opened; one with hanging firmware delivers nothing
//! until it is reset. This module keeps that state as long as the process runs, so that the supervisor's recovery can be
//! tested. It does not depend on frames.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// All devices of this process, by camera and serial number.
static DEVICES: Mutex<BTreeMap<(String, String), Arc<Device>>> = Mutex::new(BTreeMap::new());

/// A device, plugged in or not.
#[derive(Debug, Default)]
pub(super) struct Device {
    faults: Mutex<Faults>,
}

/// The faults that have occurred; each occurs once.
#[derive(Debug, Default)]
struct Faults {
    unplugged_at: Option<Instant>,
    has_stalled: bool,
    /// If true, it delivers nothing until it is reset.
    is_wedged: bool,
}

impl Device {
    /// Returns the device of the camera called `name`, with this serial number.
    pub(super) fn of(name: &str, serial: &str) -> Arc<Self> {
        let mut devices = DEVICES.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(devices.entry((name.to_owned(), serial.to_owned())).or_default())
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether it is plugged in: it never was unplugged, or it came back after `replug_after`.
    pub(super) fn is_plugged_in(&self, replug_after: Duration) -> bool {
        self.faults().unplugged_at.is_none_or(|at| at.elapsed() >= replug_after)
    }

    /// Returns whether it can still be unplugged.
    pub(super) fn can_be_unplugged(&self) -> bool {
        self.faults().unplugged_at.is_none()
    }

    /// Unplugs it.
    pub(super) fn unplug(&self) {
        self.faults().unplugged_at = Some(Instant::now());
    }

    /// Returns whether it can still stall.
    pub(super) fn can_stall(&self) -> bool {
        !self.faults().has_stalled
    }

    /// Stalls it; with `until_reset`, opening it again does not help.
    pub(super) fn stall(&self, until_reset: bool) {
        let mut faults = self.faults();
        faults.has_stalled = true;
        faults.is_wedged = until_reset;
    }

    /// Returns whether it delivers nothing until it is reset.
    pub(super) fn is_wedged(&self) -> bool {
        self.faults().is_wedged
    }

    /// Resets the hardware.
    pub(super) fn reset(&self) {
        self.faults().is_wedged = false;
    }
}
