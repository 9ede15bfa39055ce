//! Failures of actors, derived from the errors of their threads and drivers.

use std::any::Any;

pub(crate) use camrig_ipc::protocol::Failure;
use tokio::task::JoinError;

use crate::error::DriverError;
use crate::logging;

/// Returns the failure of a task that panicked or was cancelled.
pub(crate) fn of_task(error: JoinError) -> Failure {
    match error.try_into_panic() {
        Ok(panic) => of_panic(&*panic),
        Err(error) => Failure::new(error),
    }
}

/// Returns the failure of a panic on this thread.
pub(crate) fn of_panic(panic: &(dyn Any + Send)) -> Failure {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message");
    Failure::new(format_args!("panicked{}: {text}", logging::take_panic_location()))
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        Self { unavailable: error.is_unavailable(), ..Self::new(error) }
    }
}
