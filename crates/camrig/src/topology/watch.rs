//! A watch on the checks of options, which are code of drivers and kinds and may never return.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::problem::Problems;
use crate::late::Late;

/// Interval at which an unfinished parser is checked.
const LOOK: Duration = Duration::from_millis(20);

/// The check that runs: the time when it is late, and the report of that.
struct Step {
    until: Instant,
    otherwise: Problems,
}

/// Knows which check runs.
#[derive(Clone, Default)]
pub(super) struct CheckWatch(Arc<Mutex<Option<Step>>>);

impl CheckWatch {
    /// Calls `check`. If it has not returned after `bound`, [`run`] returns `otherwise` instead.
    pub(super) fn call<T>(
        &self,
        bound: Option<(Duration, Late)>,
        otherwise: impl FnOnce(Late) -> Problems,
        check: impl FnOnce() -> T,
    ) -> T {
        let until = bound.and_then(|(time, late)| Some((Instant::now().checked_add(time)?, late)));
        *self.step() = until.map(|(until, late)| Step { until, otherwise: otherwise(late) });
        let returned = check();
        *self.step() = None;
        returned
    }

    fn step(&self) -> MutexGuard<'_, Option<Step>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a parser, which calls checks through its watch, on a thread of its own. When a check is late, that thread is
/// left alone.
///
/// # Errors
/// The problems of the parser, or those of a check that is late.
pub(super) fn run<T: Send + 'static>(
    parser: impl FnOnce(&CheckWatch) -> Result<T, Problems> + Clone + Send + 'static,
) -> Result<T, Problems> {
    let watch = CheckWatch::default();
    let (sender, parsed) = sync_channel(1);
    let (own, watched) = (parser.clone(), watch.clone());
    let spawned = camrig_ipc::spawn_thread("check", move || {
        // No thread waits any more if a check was late.
        let _ = sender.send(own(&watched));
    });
    let Ok(thread) = spawned else { return parser(&watch) };
    loop {
        match parsed.recv_timeout(LOOK) {
            Ok(parsed) => return parsed,
            Err(RecvTimeoutError::Timeout) => {
                let late = watch.step().take_if(|step| Instant::now() >= step.until);
                if let Some(Step { otherwise, .. }) = late {
                    return Err(otherwise);
                }
            }
            Err(RecvTimeoutError::Disconnected) => match thread.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => return parser(&watch),
            },
        }
    }
}
