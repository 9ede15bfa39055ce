//! The stage of a run, for threads that wait for it.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use camrig_status::RigStatus;

/// Stage of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Some actors are not ready.
    #[default]
    Starting,
    /// Framesets flow.
    Active,
    /// No camera will produce another frameset.
    Stopping,
    /// All workers have ended.
    Over,
}

/// The stage of a run, and its last status.
#[derive(Default)]
pub(super) struct Progress {
    now: Mutex<(Stage, RigStatus)>,
    changed: Condvar,
}

impl Progress {
    pub(super) fn set(&self, stage: Stage) {
        let mut now = self.lock();
        if now.0 != stage {
            now.0 = stage;
            self.changed.notify_all();
        }
    }

    pub(super) fn set_last_status(&self, status: RigStatus) {
        self.lock().1 = status;
    }

    pub(super) fn last_status(&self) -> RigStatus {
        self.lock().1.clone()
    }

    /// Waits until the stage differs from `seen`, for at most `timeout`; returns the stage.
    pub(super) fn wait(&self, seen: Stage, timeout: Duration) -> Stage {
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, |now| now.0 == seen);
        waited.unwrap_or_else(PoisonError::into_inner).0.0
    }

    fn lock(&self) -> MutexGuard<'_, (Stage, RigStatus)> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_is_waited_for_and_a_time_out_returns_the_old_one() {
        let progress = Progress::default();
        assert_eq!(progress.wait(Stage::Starting, Duration::ZERO), Stage::Starting);
        progress.set(Stage::Active);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| progress.wait(Stage::Active, Duration::from_secs(60)));
            progress.set(Stage::Over);
            assert_eq!(waiting.join().unwrap(), Stage::Over);
        });
        assert_eq!(progress.wait(Stage::Active, Duration::from_secs(60)), Stage::Over);
    }

    #[test]
    fn the_last_status_stays() {
        let progress = Progress::default();
        let status = RigStatus { topology: "rig.toml".to_owned(), ..RigStatus::default() };
        progress.set_last_status(status.clone());
        assert_eq!(progress.last_status(), status);
    }
}
