//! Recordings as sequences of framesets.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use camrig::frame::{CameraInfo, Role};
use camrig::{MatchRules, Matcher};
use camrig_record::{OpenRecording, ReadAhead, ReadError, RecordedFrameSet, Sequence};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PySlice, PyTuple};

use crate::camera::PyCamera;
use crate::errors::{CamrigError, error, no_index, no_name};
use crate::frames::{PyFrameSet, PyMatch, Source};

/// Maximum number of framesets of each camera that wait for a match.
const MATCH_QUEUE: usize = 32;

/// Opens a recording, with the files that continue it.
///
/// A recording is a sequence of framesets, in the order of their arrival; `recording["left"]` is that of one camera. Only
/// the index is read before a frameset is requested, and a frame is decoded when its array is requested.
#[pyfunction]
pub(crate) fn open(py: Python<'_>, path: PathBuf) -> PyResult<PyRecording> {
    let recording = py.detach(|| OpenRecording::open(&path)).map_err(error)?;
    let framesets = recording.sequence();
    let cameras = (0..recording.cameras().len()).collect();
    Ok(PyRecording { recording: Arc::new(recording), framesets, cameras, path })
}

/// Framesets of a recording: of all cameras or of one, of all of its time or a part of it.
#[pyclass(name = "Recording", frozen, module = "camrig")]
pub(crate) struct PyRecording {
    recording: Arc<OpenRecording>,
    framesets: Sequence,
    /// The indices of its cameras, in rising order; there may be no frameset of one.
    cameras: Vec<usize>,
    path: PathBuf,
}

impl PyRecording {
    fn part(&self, framesets: Sequence) -> Self {
        let cameras = self.cameras.clone();
        Self { recording: Arc::clone(&self.recording), framesets, cameras, path: self.path.clone() }
    }

    fn seconds_of(&self, nanos: u64) -> f64 {
        let began = self.recording.range().start;
        nanos.saturating_sub(began) as f64 * 1e-9
    }

    /// Calls the recording without the interpreter.
    fn ask<T: Send>(
        &self,
        py: Python<'_>,
        what: impl FnOnce(&OpenRecording) -> Result<T, ReadError> + Send,
    ) -> PyResult<T> {
        py.detach(|| what(&self.recording)).map_err(error)
    }

    /// Reads the frameset at a position.
    fn read(&self, py: Python<'_>, at: usize) -> PyResult<PyFrameSet> {
        let frames = self.ask(py, |recording| recording.read(recording.number(&self.framesets, at)?))?;
        Ok(PyFrameSet { source: Source::Recorded(Arc::new(frames)) })
    }

    fn read_ahead(&self) -> Mutex<ReadAhead> {
        Mutex::new(ReadAhead::new(Arc::clone(&self.recording), self.framesets.clone()))
    }

    fn of_cameras(&self, py: Python<'_>, names: &[String]) -> PyResult<Self> {
        let known = self.recording.cameras();
        let number = |name: &String| {
            known.iter().position(|camera| camera.name == *name).ok_or_else(|| {
                let names: Vec<_> = known.iter().map(|camera| format!("`{}`", camera.name)).collect();
                let (path, names) = (self.path.display(), names.join(", "));
                no_name(format_args!("`{path}` has no camera `{name}`; it has: {names}"))
            })
        };
        let mut cameras = names.iter().map(number).collect::<PyResult<Vec<_>>>()?;
        cameras.sort_unstable();
        cameras.dedup();
        let part = self.ask(py, |recording| recording.of_cameras(&self.framesets, &cameras))?;
        Ok(Self { cameras, ..self.part(part) })
    }

    /// Returns the position of the first frameset of each of its cameras; `None` for a camera without one.
    fn firsts(&self, py: Python<'_>) -> PyResult<Vec<Option<usize>>> {
        let first = |&camera| self.ask(py, |recording| recording.first_of(&self.framesets, camera));
        self.cameras.iter().map(first).collect()
    }

    fn between(&self, py: Python<'_>, from: Option<f64>, to: Option<f64>) -> PyResult<Self> {
        let is_before = |nanos| from.is_some_and(|from| self.seconds_of(nanos) < from);
        let is_within = |nanos| to.is_none_or(|to| self.seconds_of(nanos) < to);
        let between = |recording: &OpenRecording| recording.between(&self.framesets, is_before, is_within);
        self.ask(py, between).map(|part| self.part(part))
    }
}

#[pymethods]
impl PyRecording {
    /// Path of its first file.
    #[getter]
    fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// The cameras by name: identity, calibration, depth unit.
    #[getter]
    fn cameras<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let cameras = PyDict::new(py);
        for camera in self.recording.cameras() {
            cameras.set_item(&camera.name, PyCamera { info: Arc::clone(&camera.info) })?;
        }
        Ok(cameras)
    }

    /// Seconds from its start to its last frameset.
    #[getter]
    fn duration(&self) -> f64 {
        let range = self.recording.range();
        range.end.saturating_sub(range.start) as f64 * 1e-9
    }

    /// Start of the recording by the wall clock, in nanoseconds since 1970.
    #[getter]
    fn began_nanos(&self) -> u64 {
        self.recording.range().start
    }

    /// The problems of the file, as far as they are known without reading every frameset.
    #[getter]
    fn damage(&self) -> Vec<String> {
        self.recording.damage().to_vec()
    }

    /// The changes of the rig during the recording, in their order.
    #[getter]
    fn changes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let changes = serde_json::to_string(&self.recording.changes()).map_err(error)?;
        py.import("camrig._status")?.call_method1("changes", (changes,))
    }

    /// Seconds since the start of the recording of each frameset: a list as long as the sequence.
    #[getter]
    fn seconds(&self, py: Python<'_>) -> PyResult<Vec<f64>> {
        self.ask(py, |recording| {
            let place = |at| recording.place_in(&self.framesets, at);
            (0..self.framesets.count()).map(|at| Ok(self.seconds_of(place(at)?.arrived_nanos))).collect()
        })
    }

    fn __len__(&self) -> usize {
        self.framesets.count()
    }

    /// Framesets by number, a part by a slice of numbers or of seconds (`recording[1.5:3.0]`), cameras by
    /// name (`recording["left"]`, `recording["left", "right"]`).
    fn __getitem__(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
        if let Ok(name) = key.extract::<String>() {
            return Ok(Py::new(py, self.of_cameras(py, &[name])?)?.into_any());
        }
        if let Ok(names) =
            key.cast::<PyTuple>().map_err(PyErr::from).and_then(|names| names.extract::<Vec<String>>())
        {
            return Ok(Py::new(py, self.of_cameras(py, &names)?)?.into_any());
        }
        if let Ok(slice) = key.cast::<PySlice>() {
            let [from, to, step] = ["start", "stop", "step"].map(|name| slice.getattr(name));
            let (from, to) = (from?, to?);
            let is_time = |bound: &Bound<'_, PyAny>| bound.is_instance_of::<pyo3::types::PyFloat>();
            let part = if is_time(&from) || is_time(&to) {
                if !step?.is_none() {
                    return Err(PyTypeError::new_err("a slice of seconds has no step"));
                }
                self.between(py, from.extract()?, to.extract()?)?
            } else {
                let indices = slice.indices(self.framesets.count() as isize)?;
                // Without framesets it may begin anywhere.
                let first = usize::try_from(indices.start).unwrap_or_default();
                self.part(self.framesets.slice(first, indices.step, indices.slicelength))
            };
            return Ok(Py::new(py, part)?.into_any());
        }
        let index: isize = key.extract().map_err(|_| {
            PyTypeError::new_err(
                "a recording is indexed by a number, the name of a camera or several, or a slice of numbers or seconds",
            )
        })?;
        let length = self.framesets.count() as isize;
        let from_start = if index < 0 { index + length } else { index };
        if !(0..length).contains(&from_start) {
            return Err(no_index("the recording", self.framesets.count(), index));
        }
        Ok(Py::new(py, self.read(py, from_start as usize)?)?.into_any())
    }

    /// Whether it is a recording of the camera of this name.
    fn __contains__(&self, camera: &str) -> bool {
        self.cameras.iter().any(|&own| self.recording.cameras()[own].name == camera)
    }

    fn __iter__(&self) -> Walk {
        Walk { framesets: self.read_ahead() }
    }

    /// Iterates over matches: one frameset of each camera, at most `window` seconds apart, each frameset in at most one. A part
    /// in which a camera has no frameset has no match.
    ///
    /// Times are those of capture where all cameras stamp by the same clock and none by its own, `hardware`; otherwise those of
    /// arrival. `clock` is `"capture"` or `"arrival"` and decides instead. With `partial`, cameras may be missing.
    #[pyo3(signature = (window, *, clock=None, partial=false))]
    fn matches(&self, py: Python<'_>, window: f64, clock: Option<&str>, partial: bool) -> PyResult<Matches> {
        if !(0.0..=10.0).contains(&window) {
            return Err(PyValueError::new_err(format!("`window` is {window}; it must be 0 to 10 seconds")));
        }
        let firsts = self.firsts(py)?;
        let by_capture = match clock {
            Some("capture") => true,
            Some("arrival") => false,
            None => self.share_a_clock(py, &firsts)?,
            Some(other) => {
                return Err(PyValueError::new_err(format!(
                    "`clock` is `{other}`; expected one of: `capture`, `arrival`"
                )));
            }
        };
        let cameras = self.cameras.clone();
        let gap = |&camera: &usize| half_interval(&self.recording.cameras()[camera].info);
        let rules = MatchRules { window_nanos: (window * 1e9) as u64, partial, queue: MATCH_QUEUE };
        let mut matcher = Matcher::new(rules, cameras.iter().map(gap));
        let absent = firsts.iter().enumerate().filter(|(_, first)| first.is_none());
        absent.for_each(|(lane, _)| matcher.end(lane));
        let (framesets, state) = (self.read_ahead(), MatchState { matcher, number: 0, ended: false });
        Ok(Matches { cameras, by_capture, framesets, state: Mutex::new(state) })
    }

    fn __repr__(&self) -> String {
        let (path, seconds) = (self.path.display(), self.duration());
        format!("<camrig.Recording {path}: {} framesets, {seconds:.3} s>", self.framesets.count())
    }
}

impl PyRecording {
    /// Returns whether the first framesets of all cameras are stamped by one clock that they share.
    fn share_a_clock(&self, py: Python<'_>, firsts: &[Option<usize>]) -> PyResult<bool> {
        let clock = |&at: &usize| Ok(self.read(py, at)?.source.clock());
        let clocks = firsts.iter().flatten().map(clock).collect::<PyResult<Vec<_>>>()?;
        Ok(clocks.iter().all(|&clock| clock == clocks[0] && clock != Some("hardware")))
    }
}

/// Returns half a frame interval of a camera: the least between two of its framesets.
fn half_interval(info: &CameraInfo) -> u64 {
    let images = info.streams.iter().filter(|info| info.role != Role::Motion);
    let rate = images.map(|stream| stream.frames_per_second).max().unwrap_or(0);
    if rate == 0 { 0 } else { 500_000_000 / u64::from(rate) }
}

/// Iterates over framesets.
#[pyclass(frozen, module = "camrig")]
pub(crate) struct Walk {
    framesets: Mutex<ReadAhead>,
}

#[pymethods]
impl Walk {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<PyFrameSet>> {
        let frames = next(py, &self.framesets)?;
        Ok(frames.map(|frames| PyFrameSet { source: Source::Recorded(Arc::new(frames)) }))
    }
}

/// Returns the next frameset; `None` at the end.
fn next(py: Python<'_>, framesets: &Mutex<ReadAhead>) -> PyResult<Option<RecordedFrameSet>> {
    // Locked without the interpreter: another thread that waits here must not keep it.
    let read = py.detach(|| framesets.lock().unwrap_or_else(PoisonError::into_inner).next());
    read.transpose().map_err(error)
}

/// Iterates over matches.
#[pyclass(frozen, module = "camrig")]
pub(crate) struct Matches {
    /// The index of each matched camera.
    cameras: Vec<usize>,
    by_capture: bool,
    framesets: Mutex<ReadAhead>,
    state: Mutex<MatchState>,
}

struct MatchState {
    matcher: Matcher<Source>,
    number: u64,
    ended: bool,
}

#[pymethods]
impl Matches {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__(&self, py: Python<'_>) -> PyResult<Option<PyMatch>> {
        let state = self.state.try_lock();
        let mut state = state.map_err(|_| CamrigError::new_err("another thread takes the next match"))?;
        loop {
            if let Some(matched) = state.matcher.pop() {
                let times = || matched.iter().map(|(_, nanos, _)| *nanos);
                let spread_nanos = times().max().unwrap_or(0) - times().min().unwrap_or(0);
                let complete = matched.len() == self.cameras.len();
                let number = state.number;
                state.number += 1;
                let framesets = matched.into_iter().map(|(_, _, source)| source).collect();
                return Ok(Some(PyMatch { number, spread_nanos, complete, framesets }));
            }
            let read = next(py, &self.framesets);
            let Some(frames) = read? else {
                if std::mem::replace(&mut state.ended, true) {
                    return Ok(None);
                }
                (0..self.cameras.len()).for_each(|lane| state.matcher.end(lane));
                continue;
            };
            let lane = self.cameras.iter().position(|&camera| camera == frames.camera());
            let arrived = frames.arrived_nanos();
            let source = Source::Recorded(Arc::new(frames));
            let captured = if self.by_capture { source.timestamp_nanos() } else { Some(arrived) };
            if let (Some(lane), Some(nanos)) = (lane, captured) {
                state.matcher.push(lane, nanos, source);
            }
        }
    }
}
