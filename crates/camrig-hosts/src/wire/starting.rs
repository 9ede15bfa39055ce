//! The runs whose parts start on this agent. Their senders wait until their readers take framesets: only then are they ready, so
//! that the cameras of their part start, and no frameset is lost to a slower start of another host.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Maximum time after which a part starts although a reader takes no framesets.
const START_TIME: Duration = Duration::from_secs(60);

/// By run, when this is over.
static STARTING: Mutex<BTreeMap<String, Instant>> = Mutex::new(BTreeMap::new());

fn starting() -> MutexGuard<'static, BTreeMap<String, Instant>> {
    let mut starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
    starting.retain(|_, until| Instant::now() < *until);
    starting
}

/// Has the senders of a run wait for their readers from now on.
pub(crate) fn begin(run: &str) {
    starting().insert(run.to_owned(), Instant::now() + START_TIME);
}

/// Has them wait no longer.
pub(crate) fn end(run: &str) {
    starting().remove(run);
}

/// Returns whether they wait.
pub(crate) fn contains(run: &str) -> bool {
    starting().contains_key(run)
}

/// Returns whether the sender of a crossing waits for its reader.
pub(super) fn awaits_reader(key: &str) -> bool {
    key.split('/').nth(1).is_some_and(contains)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_of_a_run_wait_until_that_ends() {
        begin("a1");
        assert!(awaits_reader("camrig/a1/left/main") && !awaits_reader("camrig/a2/left/main"));
        end("a1");
        assert!(!awaits_reader("camrig/a1/left/main") && !awaits_reader("left"));
    }
}
