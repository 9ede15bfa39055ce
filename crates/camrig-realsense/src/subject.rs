//! The name of a device in messages.

use camrig::DriverError;

use crate::sys::Fault;

/// The name of the device in errors.
#[derive(Clone, Debug)]
pub(crate) enum Subject {
    Live(String),
    File(String),
}

impl Subject {
    /// Converts an error of librealsense that should not happen: the camera is in use, or the file is damaged.
    pub(crate) fn refuses(&self, fault: &Fault) -> DriverError {
        match self {
            Self::Live(_) => DriverError::unavailable(format!("{self} cannot be used: {fault}")),
            Self::File(_) => DriverError::new(format!("{self} cannot be played: {fault}")),
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Live(serial) => write!(f, "camera `{serial}`"),
            Self::File(path) => write!(f, "file `{path}`"),
        }
    }
}
