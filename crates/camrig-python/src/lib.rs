//! The Python package `camrig`: framesets as arrays, recordings, processors, rigs.
//!
//! * `memory`: memory of frames as buffers and DLPack tensors; `unsafe`, as `interpreter`
//! * `interpreter`: the interpreter on threads that Python did not start
//! * `frames`: framesets, frames and matches as Python objects
//! * `camera`: cameras as Python objects
//! * `kept`: framesets that a script keeps
//! * `recording`: recordings as sequences
//! * `processor`, `driver`: processors and cameras of scripts, in the worker that a supervisor started
//! * `worker`: this interpreter as such a worker
//! * `rig`: rigs that this interpreter runs; `feed`: their framesets for loops; `logs`: their log
//! * `attach`: loops over framesets of a rig that another program runs
//! * `errors`: the exceptions
//!
//! `python/camrig/_arrays.py` has the part that needs NumPy.
#![deny(unsafe_code)]
#![allow(clippy::doc_markdown, reason = "documentation becomes docstrings, which Python shows as they are")]
#![allow(clippy::needless_pass_by_value, reason = "arguments arrive from Python by value")]

mod attach;
mod camera;
mod driver;
mod errors;
mod feed;
mod frames;
mod interpreter;
mod kept;
mod logs;
mod memory;
mod processor;
mod recording;
mod rig;
mod worker;

use pyo3::prelude::*;

#[pymodule]
fn _camrig(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("CamrigError", py.get_type::<errors::CamrigError>())?;
    module.add("MissingStream", py.get_type::<errors::MissingStream>())?;
    module.add("Unavailable", py.get_type::<errors::Unavailable>())?;
    module.add_class::<memory::Memory>()?;
    module.add_class::<frames::PyFrameSet>()?;
    module.add_class::<frames::PyFrame>()?;
    module.add_class::<camera::PyCamera>()?;
    module.add_class::<frames::PyMatch>()?;
    module.add_class::<recording::PyRecording>()?;
    module.add_class::<processor::Outlet>()?;
    module.add_class::<processor::Draft>()?;
    module.add_class::<driver::CameraOutlet>()?;
    module.add_class::<rig::PyRig>()?;
    module.add_class::<feed::Reader>()?;
    module.add_class::<attach::PyAttached>()?;
    module.add_function(wrap_pyfunction!(worker::hand_over, module)?)?;
    module.add_function(wrap_pyfunction!(rig::to_toml, module)?)?;
    module.add_function(wrap_pyfunction!(worker::serve, module)?)?;
    module.add_function(wrap_pyfunction!(processor::log_record, module)?)?;
    module.add_function(wrap_pyfunction!(recording::open, module)?)
}
