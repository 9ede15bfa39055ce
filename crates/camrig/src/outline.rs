//! The names and types of a driver's or processor's options, found by asking serde.

use serde::de::DeserializeOwned;

/// What options a type takes.
pub(crate) struct Outline;

impl Outline {
    pub(crate) fn of<O: DeserializeOwned>() -> Self {
        Self
    }
}
