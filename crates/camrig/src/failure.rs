//! How an actor failed.

use std::any::Any;

use serde::{Deserialize, Serialize};
use tokio::task::JoinError;

use crate::error::DriverError;
use crate::logging;

/// How an actor failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// What went wrong, as one line.
    pub(crate) message: String,
    /// Whether a device is missing.
    pub(crate) unavailable: bool,
    /// Whether another instance would have nothing to do: every input has ended.
    pub(crate) in_vain: bool,
}

impl Failure {
    pub(crate) fn new(message: impl std::fmt::Display) -> Self {
        Self { message: message.to_string(), unavailable: false, in_vain: false }
    }

    /// Of a task that did not end by itself.
    pub(crate) fn of_task(error: JoinError) -> Self {
        match error.try_into_panic() {
            Ok(panic) => Self::of_panic(&panic),
            Err(error) => Self::new(error),
        }
    }

    /// Of a panic on this thread.
    pub(crate) fn of_panic(panic: &Box<dyn Any + Send>) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message");
        Self::new(format_args!("panicked{}: {text}", logging::take_panic_location()))
    }
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        Self { unavailable: error.is_unavailable(), ..Self::new(error) }
    }
}
