//! Tests of rigs in real processes: they are started, signalled, killed, and checked by their report, stdout, stderr,
//! exit code, remaining processes and files.
//!
//! With `CAMRIG_TEST_RIG` set, this binary is a camrig program with drivers and processors for tests, as in
//! `CAMRIG_TEST_RIG=1 target/debug/deps/rig-* run FILE`; otherwise it runs the tests, which start it in that role.
//! Behaviour that has to be the same in every placement is one function that runs for each placement. Tests wait for
//! facts under a watchdog; no test asserts a time.
#![allow(clippy::unwrap_used)] // A test that cannot continue fails.
#![allow(clippy::print_stdout, clippy::print_stderr)] // Tests print for the developer.

mod accounting;
mod changes;
mod copies;
mod corrupt_memory;
mod costs;
mod devices;
mod endings;
mod forwarding;
mod harness;
mod leases;
mod limits;
mod load;
mod matching;
mod merging;
mod placement;
mod program;
mod recovery;
mod runner;
mod scale;
mod soak;
mod traced;
mod uninterruptible;
mod unknown_peers;
mod watching;

use std::alloc::System;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use self::harness::{Placement, test};

/// Counts every allocation of this binary, for `costs`.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Rigs that run at the same time, unless `RUST_TEST_THREADS` gives a number: each has up to ten processes.
const RIGS_AT_ONCE: usize = 2;

fn main() -> ExitCode {
    if std::env::var_os(harness::MARK).is_some() {
        return program::main();
    }
    let mut arguments = Arguments::from_args();
    // libtest-mimic does not read the variable.
    let threads = std::env::var("RUST_TEST_THREADS").ok().and_then(|number| number.parse().ok());
    arguments.test_threads.get_or_insert(threads.unwrap_or(RIGS_AT_ONCE));
    let mut trials = Vec::new();
    placement::add_to(&mut trials);
    copies::add_to(&mut trials);
    costs::add_to(&mut trials);
    accounting::add_to(&mut trials);
    changes::add_to(&mut trials);
    forwarding::add_to(&mut trials);
    endings::add_to(&mut trials);
    matching::add_to(&mut trials);
    merging::add_to(&mut trials);
    recovery::add_to(&mut trials);
    leases::add_to(&mut trials);
    scale::add_to(&mut trials);
    devices::add_to(&mut trials);
    limits::add_to(&mut trials);
    load::add_to(&mut trials);
    unknown_peers::add_to(&mut trials);
    corrupt_memory::add_to(&mut trials);
    traced::add_to(&mut trials);
    uninterruptible::add_to(&mut trials);
    runner::add_to(&mut trials);
    watching::add_to(&mut trials);
    soak::add_to(&mut trials);
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Adds the same test for each placement, and for all actors on one thread.
fn conformance_with_one_thread(
    trials: &mut Vec<Trial>,
    name: &str,
    run: impl Fn(Placement) + Copy + Send + 'static,
) {
    for placement in Placement::WITH_ONE_THREAD {
        test(trials, format!("{name}::{}", placement.name()), move || run(placement));
    }
}

/// Adds the same test for each placement.
fn conformance(trials: &mut Vec<Trial>, name: &str, run: impl Fn(Placement) + Copy + Send + 'static) {
    for placement in Placement::ALL {
        test(trials, format!("{name}::{}", placement.name()), move || run(placement));
    }
}
