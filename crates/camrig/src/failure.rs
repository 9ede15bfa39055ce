//! Failures of actors, derived from the errors of their threads and drivers.

use std::any::Any;

pub(crate) use camrig_ipc::protocol::Failure;
use tokio::task::JoinError;

use crate::console::{StdoutClosed, is_panic_of_closed_stdout};
use crate::error::{DriverError, ProcessorError};
use crate::logging;

/// Returns the result of a task that panicked or was cancelled.
pub(crate) fn of_task(error: JoinError) -> Result<(), Failure> {
    match error.try_into_panic() {
        Ok(panic) => of_panic(&*panic),
        Err(error) => Err(Failure::new(error)),
    }
}

/// Returns the result of a panic on this thread: a failure, unless `println!` panicked because stdout is closed.
pub(crate) fn of_panic(panic: &(dyn Any + Send)) -> Result<(), Failure> {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message");
    let location = logging::take_panic_location();
    if is_panic_of_closed_stdout(text) {
        return Ok(());
    }
    Err(Failure::new(format_args!("panicked{location}: {text}")))
}

/// Returns the result of a processor's error: a failure, unless stdout is closed.
pub(crate) fn of_error(error: ProcessorError) -> Result<(), Failure> {
    if error.is::<StdoutClosed>() { Ok(()) } else { Err(Failure::new(error)) }
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        Self { unavailable: error.is_unavailable(), ..Self::new(error) }
    }
}
