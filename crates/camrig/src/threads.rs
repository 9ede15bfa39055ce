//! The threads of a process.

use std::io;

#[cfg(feature = "program")]
use nix::sys::signal::{SigSet, Signal};

/// Starts a detached thread: the end of the process is decided by the supervisor, independent of its threads.
///
/// # Errors
/// If the system cannot create another thread.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    camrig_ipc::spawn_thread(name, run).map(drop)
}

/// Blocks SIGXFSZ in this thread, and in the threads and processes that it starts from now on: writing beyond the
/// limit of file sizes (`ulimit -f`) is then an error of the writer, and does not end the process. The limit holds for
/// shared memory as well.
#[cfg(feature = "program")]
pub(crate) fn block_file_size_signal() {
    // It cannot fail for a valid signal.
    let _ = SigSet::from(Signal::SIGXFSZ).thread_block();
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
