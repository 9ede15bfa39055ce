//! The exceptions of the package.

use pyo3::exceptions::{PyException, PyLookupError};
use pyo3::prelude::*;

pyo3::create_exception!(
    camrig,
    CamrigError,
    PyException,
    "An error of camrig: one line with the fact and the choices."
);
pyo3::create_exception!(
    camrig,
    MissingStream,
    CamrigError,
    "A frameset has no such stream; the message names those that it has."
);

pyo3::create_exception!(
    camrig,
    Unavailable,
    CamrigError,
    "Raised by a driver: the device is missing, or in use by another program. The rig waits for it."
);

/// Creates an error with this text.
pub(crate) fn error(error: impl std::fmt::Display) -> PyErr {
    CamrigError::new_err(error.to_string())
}

/// Creates an error for an index outside of a sequence.
pub(crate) fn no_index(what: &str, length: usize, index: isize) -> PyErr {
    pyo3::exceptions::PyIndexError::new_err(format!("{what} has {length} framesets, so no number {index}"))
}

/// Creates an error for a name that does not exist.
pub(crate) fn no_name(error: impl std::fmt::Display) -> PyErr {
    PyLookupError::new_err(error.to_string())
}
