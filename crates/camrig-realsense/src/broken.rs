//! Files that could not be played to their end: a restarted camera would deliver their first frames repeatedly.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use camrig::DriverError;

/// The files of this process, each with its size and time when it failed.
static BROKEN: Mutex<BTreeMap<PathBuf, (State, DriverError)>> = Mutex::new(BTreeMap::new());

/// Size and time of a file: another one is another file.
type State = Option<(u64, SystemTime)>;

fn broken() -> MutexGuard<'static, BTreeMap<PathBuf, (State, DriverError)>> {
    BROKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn state(path: &Path) -> State {
    let metadata = path.metadata().ok()?;
    Some((metadata.len(), metadata.modified().ok()?))
}

/// Records that the file at `path` failed.
pub(crate) fn remember(path: &Path, error: &DriverError) {
    broken().insert(path.to_owned(), (state(path), error.clone()));
}

/// Returns the error of the file at `path` if it failed, and was not replaced since.
pub(crate) fn check(path: &Path) -> Result<(), DriverError> {
    match broken().get(path) {
        Some((then, error)) if *then == state(path) => Err(error.clone()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::Scratch;

    #[test]
    fn a_file_fails_until_it_is_replaced() {
        let file = Scratch::new("broken-file.bag");
        std::fs::write(&file.0, "one").unwrap();
        assert!(check(&file.0).is_ok());
        remember(&file.0, &DriverError::new("damaged"));
        assert_eq!(check(&file.0).unwrap_err().to_string(), "damaged");
        std::fs::write(&file.0, "three").unwrap();
        assert!(check(&file.0).is_ok());
    }
}
