//! Errors of processors and drivers.
//!
//! These types have a module of their own because everything that a user implements or holds refers to them.

/// An error that stops a processor: any error, or a text (`"too dark".into()`).
pub type ProcessorError = Box<dyn std::error::Error + Send + Sync>;

/// An error of a driver, as one line with enough information to fix it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct DriverError {
    message: String,
    unavailable: bool,
}

impl DriverError {
    /// An error that retrying does not fix, such as options that the device does not support.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), unavailable: false }
    }

    /// The device is missing, or in use by another program: retrying may succeed.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { message: message.into(), unavailable: true }
    }

    /// Returns whether the device is missing or in use by another program.
    pub fn is_unavailable(&self) -> bool {
        self.unavailable
    }
}
