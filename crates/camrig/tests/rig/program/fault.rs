//! Faults that a topology requests: kind, place and time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use camrig::DriverError;
use schemars::JsonSchema;
use serde::Deserialize;

/// The file of the panics, as messages name it; the harness removes line and column.
pub(crate) const FILE: &str = file!();

/// The environment variable with the path of a file for [`How::Look`].
pub(crate) const AWAITED: &str = "CAMRIG_TEST_FILE";

/// The call in which the fault occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum At {
    Nowhere,
    Open,
    Start,
    Capture,
    Controls,
    Constructor,
    Process,
    Finish,
}

/// The kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum How {
    Error,
    Unavailable,
    Panic,
    /// Never returns.
    Hang,
    /// Looks for the file that [`AWAITED`] names.
    Look,
    /// Returns after [`PAUSE`].
    Pause,
    /// Returns after [`LONG_PAUSE`], longer than any actor may take to end unless it is in a call.
    LongPause,
    Abort,
    /// Aborts like the standard library when an allocation fails.
    OutOfMemory,
}

/// The fault, in the call after `after` framesets where the call has framesets.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    pub(super) at: At,
    pub(super) how: How,
    #[serde(default)]
    pub(super) after: u64,
    /// Maximum number of faults in one process; by default unlimited.
    pub(super) times: Option<u32>,
}

/// Number of faults in this process.
static OCCURRED: AtomicU32 = AtomicU32::new(0);

/// Duration of [`How::Pause`].
const PAUSE: Duration = Duration::from_millis(4500);

/// Duration of [`How::LongPause`]: the supervisor waits 10 s for an actor that is not in a call.
const LONG_PAUSE: Duration = Duration::from_secs(12);

impl Fault {
    pub(super) fn occur(&self, at: At) -> Result<(), DriverError> {
        if self.at != at {
            return Ok(());
        }
        let occurred = OCCURRED.fetch_add(1, Ordering::Relaxed);
        if self.times.is_some_and(|times| occurred >= times) {
            return Ok(());
        }
        match self.how {
            How::Error => Err(DriverError::new("a requested fault")),
            How::Unavailable => Err(DriverError::unavailable("a requested absence")),
            How::Panic => panic!("a requested fault"),
            How::Hang => loop {
                std::thread::park();
            },
            How::Look => {
                let file = std::env::var_os(AWAITED).ok_or("no file to look for")?;
                Ok(std::fs::metadata(file).map(drop)?)
            }
            How::Pause | How::LongPause => {
                std::thread::sleep(if matches!(self.how, How::Pause) { PAUSE } else { LONG_PAUSE });
                Ok(())
            }
            How::Abort => std::process::abort(),
            How::OutOfMemory => std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u64; 1 << 40]>()),
        }
    }
}
