//! Rigs as a user runs them: real processes, started, told, killed, and judged by what they leave: report,
//! stdout, stderr, exit code, processes and files.
//!
//! This binary is a camrig program, with drivers and processors made for tests, when `CAMRIG_TEST_RIG` is set,
//! as in `CAMRIG_TEST_RIG=1 target/debug/deps/rig-* run FILE`; otherwise it is the tests, which start it as the
//! former. What has to hold wherever actors live is one function that runs for each placement. Tests wait for
//! facts under a watchdog; no test asserts a time.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.

mod accounting;
mod copies;
mod costs;
mod devices;
mod endings;
mod harness;
mod leases;
mod limits;
mod load;
mod matching;
mod passing_on;
mod placement;
mod program;
mod recovery;
mod scale;
mod soak;
mod strangers;
mod wild;

use std::alloc::System;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use self::harness::Placement;

/// Counts every allocation of this binary, for `costs`.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Rigs at a time: each has up to ten processes.
const RIGS_AT_ONCE: usize = 2;

fn main() -> ExitCode {
    if std::env::var_os(harness::MARK).is_some() {
        return program::main();
    }
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(RIGS_AT_ONCE);
    let mut trials = Vec::new();
    placement::add_to(&mut trials);
    copies::add_to(&mut trials);
    costs::add_to(&mut trials);
    accounting::add_to(&mut trials);
    passing_on::add_to(&mut trials);
    endings::add_to(&mut trials);
    matching::add_to(&mut trials);
    recovery::add_to(&mut trials);
    leases::add_to(&mut trials);
    scale::add_to(&mut trials);
    devices::add_to(&mut trials);
    limits::add_to(&mut trials);
    load::add_to(&mut trials);
    strangers::add_to(&mut trials);
    wild::add_to(&mut trials);
    soak::add_to(&mut trials);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// One test.
fn test(trials: &mut Vec<Trial>, name: impl Into<String>, run: impl FnOnce() + Send + 'static) {
    trials.push(Trial::test(name, move || {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("failed");
            Failed::from(format!("{text}\nthe last rig: {}", harness::take_last_words()))
        })
    }));
}

/// The same test for each placement.
fn conformance(trials: &mut Vec<Trial>, name: &str, run: impl Fn(Placement) + Copy + Send + 'static) {
    for placement in Placement::ALL {
        test(trials, format!("{name}::{}", placement.name()), move || run(placement));
    }
}
