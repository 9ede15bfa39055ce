//! The status of a rig on a terminal: the screen of `camrig top`, and the table below a run.
//!
//! * `row`: one actor as words and numbers
//! * `columns`: the columns that fit a terminal's width
//! * `dashboard`: a screen of rows, with the history of each rate
//! * `keys`: the effects of keys, and their requests
//! * `screen`: shows the dashboard on a terminal and handles keys
//! * `footer`: a table in the last lines of a terminal, below other output
//!
//! It draws a [`RigStatus`](camrig_status::RigStatus) from any source.
#![forbid(unsafe_code)]

mod columns;
mod dashboard;
mod footer;
mod keys;
mod row;
mod screen;

pub use footer::Footer;
pub use screen::{Ended, ShownRig, show};

/// Returns whether the environment permits colors: `NO_COLOR` is not set, or is empty.
pub fn colors_are_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
