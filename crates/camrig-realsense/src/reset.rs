//! The reset of a live camera before it is opened for the first time.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use camrig::DriverError;

use crate::find::{self, is_connected};
use crate::request::Selection;

/// Maximum time in which a reset camera disappears.
const LEAVES: Duration = Duration::from_secs(5);

/// Maximum time in which it comes back. Cameras behind a hub take the longest.
const RETURNS: Duration = Duration::from_secs(20);

/// Interval between two checks.
const LOOK: Duration = Duration::from_millis(200);

/// The names of cameras that were reset in this process, with the device that each selects: a restart of the rig's camera does
/// not reset it again.
type Done = Mutex<BTreeSet<(String, String)>>;

static DONE: Done = Mutex::new(BTreeSet::new());

/// Resets the selected camera and waits until it is back, unless that was done for the camera called `name` before.
pub(crate) fn once(name: &str, who: &str, selection: &Selection) -> Result<(), DriverError> {
    if !is_first(&DONE, name, selection, || find::reset(who, selection))? {
        return Ok(());
    }
    log::info!("{who} was reset; waiting for it");
    wait_for_return(who, (LEAVES, RETURNS), || is_connected(who, selection))
}

/// Calls `reset`, unless it succeeded before for this name and device. Returns whether it was called.
fn is_first(
    done: &Done,
    name: &str,
    selection: &Selection,
    reset: impl FnOnce() -> Result<(), DriverError>,
) -> Result<bool, DriverError> {
    let done = || done.lock().unwrap_or_else(PoisonError::into_inner);
    let camera = (name.to_owned(), selection.to_string());
    if done().contains(&camera) {
        return Ok(false);
    }
    reset()?;
    done().insert(camera);
    Ok(true)
}

/// Waits until a camera that was reset has disappeared and is back, each for a maximum time.
fn wait_for_return(
    who: &str,
    (leaves, returns): (Duration, Duration),
    mut is_connected: impl FnMut() -> Result<bool, DriverError>,
) -> Result<(), DriverError> {
    // A camera that is absent only between two checks is not waited for.
    wait(leaves, || Ok(!is_connected()?))?;
    if wait(returns, is_connected)? {
        return Ok(());
    }
    let seconds = returns.as_secs();
    Err(DriverError::unavailable(format!("{who} has not come back within {seconds} s of its reset")))
}

/// Polls until a fact holds, at most for `longest`; returns whether it holds.
fn wait(longest: Duration, mut fact: impl FnMut() -> Result<bool, DriverError>) -> Result<bool, DriverError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits for a camera whose connection is checked with these results; returns the error, and the number of results that are
    /// left.
    fn waited(times: (Duration, Duration), looks: &[bool]) -> (String, usize) {
        let mut looks = looks.iter().copied();
        let ended =
            wait_for_return("`left`", times, || looks.next().ok_or_else(|| DriverError::new("another look")));
        (ended.err().map(|error| error.to_string()).unwrap_or_default(), looks.len())
    }

    #[test]
    fn each_device_of_a_name_is_reset_until_that_succeeds() {
        let done = Done::default();
        let resets = |serial: &str, outcome: Result<(), DriverError>| {
            is_first(&done, "left", &Selection::Serial(serial.into()), || outcome).ok()
        };
        assert_eq!(resets("1", Err(DriverError::unavailable("busy"))), None);
        assert_eq!(resets("1", Ok(())), Some(true));
        assert_eq!(resets("1", Ok(())), Some(false));
        // `camrig apply` may give a camera another device.
        assert_eq!(resets("2", Ok(())), Some(true));
    }

    #[test]
    fn a_reset_camera_is_waited_for_until_it_is_back() {
        let long = (Duration::from_secs(60), Duration::from_secs(60));
        assert_eq!(waited(long, &[true, true, false, false, true]), (String::new(), 0));
        let at_once = (Duration::ZERO, Duration::ZERO);
        assert_eq!(waited(at_once, &[true, true]), (String::new(), 0));
        let missing = "`left` has not come back within 0 s of its reset";
        assert_eq!(waited(at_once, &[false, false]), (missing.to_owned(), 0));
        assert_eq!(waited(long, &[true]), ("another look".to_owned(), 0));
    }
}
