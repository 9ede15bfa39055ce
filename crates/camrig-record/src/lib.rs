//! The processor `record`.
#![forbid(unsafe_code)]
#![allow(dead_code)]

mod format;
mod images;
mod record;

use camrig::App;

/// Adds them.
#[must_use]
pub fn add_to(app: App) -> App {
    app.processor("record", record::Record::new)
}
