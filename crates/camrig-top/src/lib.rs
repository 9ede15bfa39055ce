//! A rig's status on a terminal: the whole screen of `camrig top`, and the few lines below a run.
//!
//! * `row`: what is said of each actor, in words and numbers
//! * `dashboard`: a screen of them, with how the rates went
//! * `screen`: that screen on a terminal, and its keys
//! * `footer`: a table in the last lines of a terminal, below whatever else is printed
//!
//! It deliberately knows no rig: it draws a [`RigStatus`](camrig_status::RigStatus), wherever that comes from.
#![forbid(unsafe_code)]

mod dashboard;
mod footer;
mod row;
mod screen;

pub use footer::Footer;
pub use screen::{Ended, show};
