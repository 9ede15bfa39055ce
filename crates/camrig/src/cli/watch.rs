//! A topology file that is applied to its running rig whenever it changes.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{TopologyArgs, is_colored, signals};
use crate::console::{print_error, print_stderr};
use crate::hosts::RunningHosts;
use crate::registry::Registry;
use crate::rig::{Rig, RigHandle};
use crate::supervisor::{ChangeError, RunLimits};
use crate::threads;

/// Interval at which the file is checked.
const LOOK: Duration = Duration::from_millis(250);

/// The origin of the changes, for the log and the report.
const BY: &str = "`camrig run --watch`";

/// A file that is watched.
pub(super) struct WatchedFile {
    arguments: TopologyArgs,
    registry: Arc<Registry>,
    seen: Option<Version>,
    reload: Arc<AtomicBool>,
    /// Whether the run began on a terminal.
    had_terminal: bool,
}

/// A content of a file: one that is replaced has another inode, one that is written another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Version {
    /// Returns `None` while there is no file, as between two steps of an editor.
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Some(Self { inode: metadata.ino(), bytes: metadata.len(), modified })
    }
}

/// Returns whether this process has a terminal, which was not closed.
fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}

impl WatchedFile {
    /// Notes the content of the file, which is about to be run.
    pub(super) fn new(arguments: TopologyArgs, registry: &Arc<Registry>) -> Self {
        let seen = Version::of(&arguments.topology);
        let (registry, had_terminal) = (Arc::clone(registry), has_terminal());
        Self { arguments, registry, seen, reload: Arc::default(), had_terminal }
    }

    /// Returns the flag that makes the file be applied although it has not changed.
    pub(super) fn reload(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.reload)
    }

    /// Watches the file, on a thread that lasts as long as the rig.
    pub(super) fn watch(
        mut self,
        rig: RigHandle,
        others: Option<Arc<dyn RunningHosts>>,
    ) -> std::io::Result<()> {
        threads::spawn("watch", move || {
            while !rig.wait_timeout(LOOK) {
                // A terminal that closes sends SIGHUP too.
                if self.reload.load(Ordering::Acquire) && self.had_terminal && !has_terminal() {
                    log::warn!("the terminal was closed, and the rig stops");
                    signals::stop(&rig, others.as_ref());
                    return;
                }
                // Before every actor is ready, the rig does not change; the file is checked again then.
                if rig.status().seconds == 0.0 {
                    continue;
                }
                let now = Version::of(&self.arguments.topology);
                let differs = now.is_some() && now != self.seen;
                if self.reload.swap(false, Ordering::AcqRel) || differs {
                    self.seen = now;
                    self.apply(&rig);
                }
            }
        })
    }

    /// Applies the file, or prints why that is refused.
    fn apply(&self, rig: &RigHandle) {
        let read = self.arguments.read(&self.registry).map_err(ChangeError::Problems);
        let limits = RunLimits::default();
        let applied = read.and_then(|topology| rig.apply(&Rig::new(topology, &self.registry, limits), BY));
        match applied {
            // The supervisor logs them.
            Ok(_) | Err(ChangeError::Over) => {}
            Err(ChangeError::Problems(problems)) => {
                print_stderr(problems.render(is_colored(&std::io::stderr())));
            }
            Err(error) => print_error(error),
        }
    }
}
