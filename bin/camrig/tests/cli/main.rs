//! The real program, run as a user runs it: everything that it prints is compared, and its exit code.
// `allow-unwrap-in-tests` reaches functions with `#[test]` only, not what they share.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod bad_values;
mod commands;
mod plan;
mod points;
mod program;
mod recording;
mod recording_costs;
mod recording_faults;
mod recording_killed;
mod replaying;
mod report;
