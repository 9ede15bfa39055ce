//! The frames of a frameset.

use std::sync::Arc;

use camrig::frame::{Role, Stream};
use pyo3::prelude::*;
use pyo3::types::PyList;

use super::frame::PyFrame;
use super::points::point_arrays;
use super::source::Source;
use crate::camera::PyCamera;

/// The data of one camera at one point in time: a frame for each of its streams.
///
/// An array made from one of its frames is a view: it is read-only and keeps the frameset's slot. Delete arrays that are no longer
/// needed: a camera whose slots are all kept drops framesets.
#[pyclass(name = "FrameSet", frozen, module = "camrig")]
pub(crate) struct PyFrameSet {
    pub(crate) source: Source,
}

impl PyFrameSet {
    fn frame(&self, py: Python<'_>, index: usize) -> PyResult<Py<PyFrame>> {
        PyFrame::new(py, &self.source, index)
    }

    fn of_role(&self, py: Python<'_>, role: Role, what: &str) -> PyResult<Py<PyFrame>> {
        self.frame(py, self.source.of_role(role).ok_or_else(|| self.source.missing(what))?)
    }
}

#[pymethods]
impl PyFrameSet {
    /// Name of the camera that captured it.
    #[getter]
    fn camera(&self) -> &str {
        &self.source.info().name
    }

    /// Name of the actor that published it: the camera, or a processor that forwarded it.
    #[getter]
    fn producer(&self) -> &str {
        self.source.producer()
    }

    /// The producer's counter: 0, 1, 2, ... A gap means framesets dropped on the way.
    #[getter]
    fn sequence(&self) -> u64 {
        self.source.header().sequence
    }

    /// Time at which it reached its camera's actor, in nanoseconds of `time.monotonic_ns()` on the host of the rig.
    #[getter]
    fn arrival_nanos(&self) -> u64 {
        self.source.header().arrival_nanos
    }

    /// Time of its arrival by the wall clock in nanoseconds since 1970, if it is recorded.
    #[getter]
    fn arrived_nanos(&self) -> Option<u64> {
        match &self.source {
            Source::Live(..) => None,
            Source::Recorded(recorded) => Some(recorded.arrived_nanos()),
        }
    }

    /// Capture time of its depth, or of its first frame, in nanoseconds of `clock`; `None` without frames.
    #[getter]
    fn timestamp_nanos(&self) -> Option<u64> {
        self.source.timestamp_nanos()
    }

    /// The clock of `timestamp_nanos`: `hardware`, `global` or `system`.
    #[getter]
    fn clock(&self) -> Option<&'static str> {
        self.source.clock()
    }

    /// Number of the match with which it was published, if any.
    #[getter]
    fn matched(&self) -> Option<u64> {
        self.source.header().matched
    }

    /// The framesets from which it was made, if there are several: pairs of camera and sequence number.
    #[getter]
    fn origins(&self) -> Vec<(String, u64)> {
        let origins = self.source.header().origins.iter();
        origins.map(|origin| (origin.camera.as_str().to_owned(), origin.sequence)).collect()
    }

    /// Description of its camera.
    #[getter]
    fn info(&self) -> PyCamera {
        PyCamera { info: Arc::clone(self.source.info()) }
    }

    /// Names of its streams, in the order of its frames.
    #[getter]
    fn streams(&self) -> Vec<String> {
        self.source.header().frames.iter().map(|frame| frame.stream.name().to_owned()).collect()
    }

    /// The first depth frame. Raises `MissingStream` without one.
    #[getter]
    fn depth(&self, py: Python<'_>) -> PyResult<Py<PyFrame>> {
        self.of_role(py, Role::Depth, "depth")
    }

    /// The frame of the stream `color`. Raises `MissingStream` without one.
    #[getter]
    fn color(&self, py: Python<'_>) -> PyResult<Py<PyFrame>> {
        self.__getitem__(py, Stream::COLOR.name())
    }

    /// The accelerometer's samples since the previous frameset. Raises `MissingStream` without any.
    #[getter]
    fn accel(&self, py: Python<'_>) -> PyResult<Py<PyFrame>> {
        self.__getitem__(py, Stream::ACCEL.name())
    }

    /// The gyroscope's samples since the previous frameset. Raises `MissingStream` without any.
    #[getter]
    fn gyro(&self, py: Python<'_>) -> PyResult<Py<PyFrame>> {
        self.__getitem__(py, Stream::GYRO.name())
    }

    fn __getitem__(&self, py: Python<'_>, stream: &str) -> PyResult<Py<PyFrame>> {
        let index = self.source.of_stream(stream);
        self.frame(py, index.ok_or_else(|| self.source.missing(&format!("stream `{stream}`")))?)
    }

    /// Returns the frame of a stream; `None` without it.
    fn get(&self, py: Python<'_>, stream: &str) -> PyResult<Option<Py<PyFrame>>> {
        self.source.of_stream(stream).map(|index| self.frame(py, index)).transpose()
    }

    fn __contains__(&self, stream: &str) -> bool {
        self.source.of_stream(stream).is_some()
    }

    fn __len__(&self) -> usize {
        self.source.header().frames.len()
    }

    fn __iter__(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let frames = (0..self.__len__()).map(|index| self.frame(py, index)).collect::<PyResult<Vec<_>>>()?;
        Ok(PyList::new(py, frames)?.try_iter()?.into_any().unbind())
    }

    /// Points in metres in the coordinates of the depth camera: x to the right, y down, z forward.
    ///
    /// Returns `Points(xyz, rgb)`: float32 of the shape (n, 3) and uint8 of the shape (n, 3), of the pixels that have depth.
    /// `rgb` is black where color is not known. They are those of a frame of points, or are computed from depth.
    #[pyo3(signature = (*, color=true))]
    fn points(&self, py: Python<'_>, color: bool) -> PyResult<Py<PyAny>> {
        let arrays = point_arrays(py, &self.source, color)?;
        Ok(py.import("camrig._arrays")?.call_method1("points", arrays)?.unbind())
    }

    fn __repr__(&self) -> String {
        let streams = self.streams().join(", ");
        format!("<camrig.FrameSet {} #{}: {streams}>", self.camera(), self.sequence())
    }
}
