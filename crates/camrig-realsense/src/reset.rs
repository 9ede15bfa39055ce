//! The reset of a live camera before it is opened for the first time.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use camrig::DriverError;

use crate::find::{self, is_connected};
use crate::request::Selection;

/// Maximum time in which a reset camera disappears.
const LEAVES: Duration = Duration::from_secs(5);

/// Maximum time in which it comes back. Cameras with a hub between take the longest.
const RETURNS: Duration = Duration::from_secs(20);

/// Interval between two checks.
const LOOK: Duration = Duration::from_millis(200);

/// The cameras that were reset in this process: a restart of the rig's camera does not reset it again.
static DONE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Resets the selected camera and waits until it is back, unless that was done for the camera called `name` before.
pub(crate) fn once(name: &str, who: &str, selection: &Selection) -> Result<(), DriverError> {
    if !DONE.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned()) {
        return Ok(());
    }
    find::reset(who, selection)?;
    log::info!("{who} was reset; waiting for it");
    // A camera that is away between two checks only is not waited for.
    wait(LEAVES, || Ok(!is_connected(who, selection)?))?;
    if wait(RETURNS, || is_connected(who, selection))? {
        return Ok(());
    }
    let seconds = RETURNS.as_secs();
    Err(DriverError::unavailable(format!("{who} has not come back within {seconds} s of its reset")))
}

/// Polls until a fact holds, at most for `longest`; returns whether it holds.
fn wait(longest: Duration, fact: impl Fn() -> Result<bool, DriverError>) -> Result<bool, DriverError> {
    let deadline = Instant::now() + longest;
    loop {
        if fact()? {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        std::thread::sleep(LOOK);
    }
}
