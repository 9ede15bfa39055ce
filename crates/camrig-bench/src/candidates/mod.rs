//! The compared ways to move framesets, one module each.
//!
//! All do identical work: a driver with the same frames, pace, queue and buffers, and one reader that reads every byte
//! with the same function. Only the transport from driver to reader differs. They do not depend on rounds or on each
//! other.

mod crossbeam;
mod iceoryx;
mod naive;
mod rig;
mod single;

use std::process::ExitCode;

use camrig::console::print_stderr;

use crate::Fallible;
use crate::candidate::Candidate;
use crate::task::{Role, Task};

pub(crate) use rig::{prepare, reported_drops};

/// Runs a process of a measurement.
pub(crate) fn run(task: &Task) -> ExitCode {
    if task.candidate.is_camrig() {
        return rig::run(task);
    }
    let done: Fallible<()> = match (task.candidate, &task.role) {
        (Candidate::Memcpy | Candidate::Floor, _) => {
            single::run(task);
            Ok(())
        }
        (Candidate::Crossbeam, _) => {
            crossbeam::run(task);
            Ok(())
        }
        (Candidate::Naive, Role::Leader) => naive::lead(task),
        (Candidate::Naive, Role::Producer { camera, address }) => naive::produce(task, *camera, address),
        (_, Role::Leader) => iceoryx::lead(task),
        (_, Role::Producer { camera, .. }) => iceoryx::produce(task, *camera),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_stderr(format_args!("{}: {error}", task.candidate));
            ExitCode::FAILURE
        }
    }
}
