//! The stock processors that every program has.

mod colorize;
pub(crate) mod snapshot;
pub(crate) mod stats;
pub(crate) mod verify;
