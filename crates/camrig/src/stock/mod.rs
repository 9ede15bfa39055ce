//! The stock processors that every program has.

pub(crate) mod snapshot;
pub(crate) mod stats;
pub(crate) mod verify;
