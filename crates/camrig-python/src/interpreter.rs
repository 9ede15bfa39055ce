//! The interpreter on threads that Python did not start.

#![allow(unsafe_code)]

use pyo3::ffi;
use pyo3::prelude::*;

thread_local! {
    /// Made by the first call on a thread.
    static KEPT: () = keep_thread_state();
}

/// Runs Python code on this thread, which keeps its state in Python until the process ends.
///
/// `Python::attach` alone makes a state for each call. Values of `threading.local` would be lost, and libraries that remember
/// the state of a thread, as those made with pybind11 do, would wait for ever for a state that was deleted.
pub(crate) fn attach<R>(act: impl for<'py> FnOnce(Python<'py>) -> R) -> R {
    KEPT.with(|()| ());
    Python::attach(act)
}

/// Makes this thread's state, which stays when the interpreter is released.
fn keep_thread_state() {
    // SAFETY: the interpreter runs, since an extension module of it calls this. `PyGILState_Ensure` counts one user of this
    // thread's state, which is never released: so the state stays as long as the interpreter. If this thread has taken the
    // interpreter for that (`UNLOCKED` before), it releases it immediately, as `Python::attach` expects to find it.
    unsafe {
        if matches!(ffi::PyGILState_Ensure(), ffi::PyGILState_STATE::PyGILState_UNLOCKED) {
            ffi::PyEval_SaveThread();
        }
    }
}
