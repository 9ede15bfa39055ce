//! Why a processor or a driver cannot go on.
//!
//! These types lie in a module of their own because everything that a user implements or holds names them.

/// Why a processor cannot go on: any error, or a text (`"too dark".into()`).
pub type ProcessorError = Box<dyn std::error::Error + Send + Sync>;

/// Why a driver cannot do what was asked, as one line that a user can act on.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct DriverError {
    message: String,
    unavailable: bool,
}

impl DriverError {
    /// An error that a later attempt does not change, such as options that contradict the device.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), unavailable: false }
    }

    /// The device is missing, or another program uses it: a later attempt may succeed.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { message: message.into(), unavailable: true }
    }

    /// Whether the device is missing, or another program uses it.
    pub fn is_unavailable(&self) -> bool {
        self.unavailable
    }
}
