//! Tests of rigs over several hosts, in real processes.
//!
//! With `CAMRIG_TEST_RIG` set, this binary is a camrig program with the kinds of crossings; otherwise it runs the tests, which
//! start it in that role. Tests wait for facts under a watchdog; no test asserts a time.
#![allow(clippy::unwrap_used)] // A test that cannot continue fails.
#![allow(clippy::print_stdout, clippy::print_stderr)] // Tests print for the developer.

mod agents;
mod bench;
mod cable;
mod changes;
mod circle;
mod crossing;
#[allow(dead_code)] // It serves other tests too.
#[path = "../../../camrig/tests/rig/harness.rs"]
mod harness;
mod hostile;
mod matches;
mod namespaces;
mod netem;
mod orphans;
mod program;
mod python;
mod recordings;
mod routers;
mod same;
mod soak;
mod viewers;

use std::process::ExitCode;

use libtest_mimic::Arguments;

use self::harness::test;

/// Tests that run at the same time: each has up to ten processes.
const TESTS_AT_ONCE: usize = 2;

fn main() -> ExitCode {
    if std::env::var_os(harness::MARK).is_some() {
        return program::main();
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(TESTS_AT_ONCE);
    let mut trials = Vec::new();
    crossing::add_to(&mut trials);
    agents::add_to(&mut trials);
    changes::add_to(&mut trials);
    circle::add_to(&mut trials);
    orphans::add_to(&mut trials);
    same::add_to(&mut trials);
    python::add_to(&mut trials);
    recordings::add_to(&mut trials);
    routers::add_to(&mut trials);
    viewers::add_to(&mut trials);
    hostile::add_to(&mut trials);
    matches::add_to(&mut trials);
    bench::add_to(&mut trials);
    soak::add_to(&mut trials);
    namespaces::add_to(&mut trials);
    netem::add_to(&mut trials);
    libtest_mimic::run(&arguments, trials).exit_code()
}
