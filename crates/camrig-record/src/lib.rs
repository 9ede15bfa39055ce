//! The processor `record` and the driver `replay`.
#![forbid(unsafe_code)]
#![allow(dead_code)]

mod format;
mod images;
mod read;
mod record;
mod replay;

use camrig::App;
pub use replay::{Replay, ReplayOptions};

/// Adds them.
#[must_use]
pub fn add_to(app: App) -> App {
    app.driver::<Replay>("replay").processor("record", record::Record::new)
}
