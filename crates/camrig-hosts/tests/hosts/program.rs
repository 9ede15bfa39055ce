//! The program under test.

use std::process::ExitCode;

use camrig::App;

/// This file, as panics name it.
pub(crate) const FILE: &str = file!();

pub(crate) fn main() -> ExitCode {
    camrig_hosts::add_to(App::new()).main()
}
