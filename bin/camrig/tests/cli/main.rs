//! Tests of the real program, run as a user runs it: all of its output and its exit code are compared.
// `allow-unwrap-in-tests` covers functions with `#[test]` only, not their helpers.
#![allow(clippy::unwrap_used)]
#![allow(clippy::print_stdout, clippy::print_stderr)] // Tests print for the developer.

mod bad_input;
mod bad_values;
mod commands;
mod doctor;
mod examples;
mod files;
mod live;
mod outputs;
mod plan;
mod points;
mod program;
mod recording;
mod recording_commands;
mod recording_costs;
mod recording_faults;
mod recording_killed;
mod replaying;
mod report;
mod runner;
mod service;
mod signals;
mod terminal;
