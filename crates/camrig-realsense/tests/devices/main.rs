//! Tests of rigs of RealSense cameras: the real driver `realsense` in real processes, on a librealsense with attached
//! software cameras.
//!
//! With `CAMRIG_TEST_RIG` set, this binary is a camrig program, otherwise it runs the tests, which start it in that role:
//! see `camrig`'s own tests, whose harness it uses. Its calls of librealsense that create and delete contexts pass through
//! `librealsense`, so that every process finds the cameras of `cameras`. Tests wait for facts under a watchdog; no test
//! asserts a time.
#![allow(clippy::unwrap_used)] // A test that cannot continue fails.
#![allow(clippy::print_stdout, clippy::print_stderr)] // Tests print for the developer.

mod cameras;
#[allow(dead_code, reason = "no worker is killed here")]
#[path = "../../../camrig/tests/rig/harness.rs"]
mod harness;
mod librealsense;
mod options;
mod program;
mod recovery;
#[allow(dead_code, reason = "nothing is recorded here")]
#[path = "../../examples/write-bag/software.rs"]
mod software;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use self::harness::Placement;

fn main() -> ExitCode {
    if std::env::var_os(harness::MARK).is_some() {
        return program::main();
    }
    let mut trials = Vec::new();
    recovery::add_to(&mut trials);
    options::add_to(&mut trials);
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// The same test for each placement.
fn conformance(trials: &mut Vec<Trial>, name: &str, run: fn(Placement)) {
    for placement in [Placement::InProcess, Placement::MultiProcess] {
        harness::test(trials, format!("{name}::{}", placement.name()), move || run(placement));
    }
}
