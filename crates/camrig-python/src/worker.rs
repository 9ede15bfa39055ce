//! This interpreter as the worker that a supervisor started.

use std::process::ExitCode;

use camrig::Registry;
use pyo3::prelude::*;

use crate::driver::ScriptCamera;
use crate::processor::{Script, stock};

/// Serves as the worker that a supervisor started, and returns its exit code; `None` if none did.
#[pyfunction]
pub(crate) fn serve(py: Python<'_>) -> Option<u8> {
    let registry = registry();
    let code = py.detach(|| registry.serve_worker())?;
    Some(u8::from(code != ExitCode::SUCCESS))
}

/// Hands the worker that a supervisor started over to the program at `place`, which attaches to a rig.
#[pyfunction]
pub(crate) fn hand_over(py: Python<'_>, place: &str) -> Option<u8> {
    let code = py.detach(|| camrig::hand_over_worker(place))?;
    Some(u8::from(code != ExitCode::SUCCESS))
}

/// Returns the registry of a worker in Python: drivers and kinds of the stock program, and scripts.
fn registry() -> Registry {
    stock().with_delivered("python", Script::start).with_driver::<ScriptCamera>("python")
}
