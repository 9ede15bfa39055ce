//! The threads of a process.

use std::io;

/// Starts a detached thread: the end of the process is decided by the supervisor, independent of its threads.
///
/// # Errors
/// If the system cannot create another thread.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // The kernel cuts names at 15 bytes by itself.
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    spawned.map(drop).map_err(|error| {
        io::Error::new(error.kind(), format!("no thread can be started for `{name}`: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_has_the_name_of_its_actor() {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        spawn("front", move || sender.send(std::thread::current().name().map(str::to_owned)).unwrap())
            .unwrap();
        assert_eq!(receiver.recv().unwrap().as_deref(), Some("front"));
    }
}
