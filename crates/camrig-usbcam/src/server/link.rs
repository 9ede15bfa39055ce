//! The data rate that cameras share.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::lock;

/// Data rate that all cameras of a hub share.
#[derive(Debug, Default)]
pub struct Link {
    megabits: Mutex<Option<u64>>,
    free_at: Mutex<Option<Instant>>,
}

impl Link {
    /// Creates a link with this data rate in megabits per second; `None` means no limit.
    pub fn new(megabits: Option<u64>) -> Arc<Self> {
        Arc::new(Self { megabits: Mutex::new(megabits), free_at: Mutex::default() })
    }

    /// Changes the data rate.
    pub fn set_megabits(&self, megabits: Option<u64>) {
        *lock(&self.megabits) = megabits;
    }

    /// Waits until the link has carried everything sent before and `bytes`. Returns the time that this takes by its data rate.
    pub(crate) fn carry(&self, bytes: usize) -> Duration {
        let Some(megabits) = *lock(&self.megabits) else { return Duration::ZERO };
        let takes = Duration::from_nanos(bytes as u64 * 8 * 1000 / megabits.max(1));
        let now = Instant::now();
        let start = {
            let mut free_at = lock(&self.free_at);
            let start = free_at.unwrap_or(now).max(now);
            *free_at = Some(start + takes);
            start
        };
        let wait = (start + takes).saturating_duration_since(now);
        std::thread::sleep(wait);
        wait
    }
}
