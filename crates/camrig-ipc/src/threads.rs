//! Starts threads, with errors that name the limit that prevents it, and sets variables of the environment before there are
//! several.
#![allow(unsafe_code)] // One call: a variable is set while there is one thread.

use std::io::{Error, ErrorKind, Result};
use std::thread::{Builder, JoinHandle};

/// Starts a thread called `name`.
///
/// # Errors
/// If the system cannot create another thread: the error names it.
pub fn spawn_thread<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>> {
    // The kernel cuts names at 15 bytes by itself.
    Builder::new().name(name.to_owned()).spawn(run).map_err(|error| {
        let error = name_process_limit(error);
        Error::new(error.kind(), format!("no thread can be started for `{name}`: {error}"))
    })
}

/// Sets a variable of this process, and of those that it starts, if the process has one thread only: others could read the
/// environment meanwhile. Returns whether it is set.
pub fn set_variable_before_threads(name: &str, value: &str) -> bool {
    let is_alone = std::fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1);
    if is_alone {
        // SAFETY: no other thread exists that could read or change the environment.
        unsafe { std::env::set_var(name, value) };
    }
    is_alone
}

/// Adds the name of the limit to the error of starting a process or a thread.
pub fn name_process_limit(error: Error) -> Error {
    // Neither call waits for anything: the limit alone is such an error.
    if error.kind() == ErrorKind::WouldBlock {
        return Error::new(error.kind(), format!("{error}; `ulimit -u` limits processes and threads"));
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_of_several_threads_is_left_alone() {
        // Tests run on threads of their own.
        assert!(!set_variable_before_threads("CAMRIG_TEST_VARIABLE", "1"));
        assert_eq!(std::env::var_os("CAMRIG_TEST_VARIABLE"), None);
    }

    #[test]
    fn a_thread_has_its_name() {
        let name = spawn_thread("front", || std::thread::current().name().map(str::to_owned)).unwrap();
        assert_eq!(name.join().unwrap().as_deref(), Some("front"));
    }

    #[test]
    fn only_the_limit_is_named() {
        let limit = name_process_limit(rustix::io::Errno::AGAIN.into()).to_string();
        let message =
            "Resource temporarily unavailable (os error 11); `ulimit -u` limits processes and threads";
        assert_eq!(limit, message);
        assert_eq!(name_process_limit(ErrorKind::NotFound.into()).to_string(), "entity not found");
    }
}
