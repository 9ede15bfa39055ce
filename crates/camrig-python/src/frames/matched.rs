//! Framesets of several cameras.

use pyo3::prelude::*;
use pyo3::types::PyList;

use super::set::PyFrameSet;
use super::source::Source;

/// One frameset of each of several cameras, taken at the same instant.
#[pyclass(name = "Match", frozen, module = "camrig")]
pub(crate) struct PyMatch {
    pub(crate) number: u64,
    pub(crate) spread_nanos: u64,
    pub(crate) complete: bool,
    pub(crate) framesets: Vec<Source>,
}

impl PyMatch {
    pub(crate) fn live(matched: &camrig::Match, framesets: Vec<Source>) -> Self {
        Self {
            number: matched.number(),
            spread_nanos: matched.spread().as_nanos() as u64,
            complete: matched.is_complete(),
            framesets,
        }
    }
}

#[pymethods]
impl PyMatch {
    /// Its number among the matches: 0, 1, 2, ...
    #[getter]
    fn number(&self) -> u64 {
        self.number
    }

    /// Seconds from its earliest frameset to its latest.
    #[getter]
    fn spread(&self) -> f64 {
        self.spread_nanos as f64 * 1e-9
    }

    /// Whether every camera that matches wait for is present.
    #[getter]
    fn complete(&self) -> bool {
        self.complete
    }

    /// Names of its cameras.
    #[getter]
    fn cameras(&self) -> Vec<String> {
        self.framesets.iter().map(|frames| frames.info().name.clone()).collect()
    }

    fn __getitem__(&self, camera: &str) -> PyResult<PyFrameSet> {
        self.get(camera).ok_or_else(|| {
            let names: Vec<_> = self.cameras().iter().map(|name| format!("`{name}`")).collect();
            let (number, names) = (self.number, names.join(", "));
            crate::errors::no_name(format_args!("match {number} has no camera `{camera}`; it has: {names}"))
        })
    }

    /// Returns the frameset of a camera; `None` when the match lacks it.
    fn get(&self, camera: &str) -> Option<PyFrameSet> {
        let found = self.framesets.iter().find(|frames| frames.info().name == camera)?;
        Some(PyFrameSet { source: found.clone() })
    }

    fn __contains__(&self, camera: &str) -> bool {
        self.framesets.iter().any(|frames| frames.info().name == camera)
    }

    fn __len__(&self) -> usize {
        self.framesets.len()
    }

    fn __iter__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let framesets = self.framesets.iter().map(|source| PyFrameSet { source: source.clone() });
        let framesets = framesets.map(|frames| Py::new(py, frames)).collect::<PyResult<Vec<_>>>()?;
        Ok(PyList::new(py, framesets)?.try_iter()?.into_any().unbind())
    }

    fn __repr__(&self) -> String {
        format!("<camrig.Match #{}: {}>", self.number, self.cameras().join(", "))
    }
}
