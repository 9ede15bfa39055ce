//! Processors written in Python, in the process that a supervisor started for them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use camrig::frame::{
    CameraInfo, DType, FrameHeader, JSON, Name, Payload, PixelFormat, Role, Shape, Stream, StreamInfo,
};
use camrig::schemars::JsonSchema;
use camrig::{
    Delivered, FrameHeaders, FrameSet, Loan, Match, Processor, ProcessorError, ProcessorOutput, Registry,
    monotonic_nanos,
};
use pyo3::exceptions::{PySystemExit, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use serde::Deserialize;

use crate::errors::{MissingStream, error};
use crate::frames::{PyFrameSet, PyMatch, Source};
use crate::interpreter::attach;
use crate::kept::KeptFrames;
use crate::memory::{Lending, Memory, SharedLoan};

/// Options as the supervisor checked them.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "camrig::schemars")]
pub(crate) struct AnyOptions {
    #[serde(flatten)]
    all: BTreeMap<String, serde_json::Value>,
}

impl AnyOptions {
    /// Returns them as JSON.
    pub(crate) fn json(&self) -> Result<String, String> {
        serde_json::to_string(&self.all).map_err(|error| error.to_string())
    }
}

/// Returns the drivers and kinds of the stock program.
pub(crate) fn stock() -> Registry {
    camrig_cli::app().registry()
}

/// Writes a record of Python's `logging` to camrig's log. `level` is that of `logging`.
#[pyfunction]
pub(crate) fn log_record(py: Python<'_>, level: u32, text: &str) {
    let level = match level {
        40.. => log::Level::Error,
        30.. => log::Level::Warn,
        20.. => log::Level::Info,
        _ => log::Level::Debug,
    };
    py.detach(|| log::log!(level, "{text}"));
}

/// The processor of a script.
pub(crate) struct Script {
    hosted: Py<PyAny>,
    output: Arc<Lending<ProcessorOutput>>,
    outlet: Py<Outlet>,
    takes_matches: bool,
    kept_frames: KeptFrames,
}

impl Script {
    pub(crate) fn start(options: AnyOptions, output: &ProcessorOutput) -> Result<Self, ProcessorError> {
        let options = options.json()?;
        let is_matched = output.matching().is_some();
        attach(|py| {
            let start = || {
                let hosted = py.import("camrig._worker")?.call_method1("start", (options, is_matched))?;
                let takes_matches = hosted.getattr("takes_matches")?.extract()?;
                let lending = Arc::new(Lending::new());
                let outlet = Outlet { output: Arc::clone(&lending), sources: Mutex::new(BTreeMap::new()) };
                let outlet = Py::new(py, outlet)?;
                Ok(Self {
                    hosted: hosted.unbind(),
                    output: lending,
                    outlet,
                    takes_matches,
                    kept_frames: KeptFrames::default(),
                })
            };
            start().map_err(|error| failure(py, &error))
        })
    }

    fn call(&self, py: Python<'_>, method: &str, argument: Option<Py<PyAny>>) -> PyResult<()> {
        let outlet = self.outlet.clone_ref(py);
        match argument {
            Some(argument) => self.hosted.call_method1(py, method, (argument, outlet))?,
            None => self.hosted.call_method1(py, method, (outlet,))?,
        };
        Ok(())
    }
}

impl Processor<Delivered> for Script {
    fn process(&mut self, input: &Delivered, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        let mut keep = |frames: &FrameSet| {
            let (frames, kept) = self.kept_frames.given(frames);
            Source::Live(frames, kept)
        };
        let mut framesets: Vec<Source> = match input {
            Delivered::FrameSet(frames) => vec![keep(frames)],
            Delivered::Match(matched) => matched.framesets().iter().map(keep).collect(),
        };
        attach(|py| {
            let call = || match input {
                Delivered::Match(matched) if self.takes_matches => {
                    let matched = PyMatch::live(matched, std::mem::take(&mut framesets));
                    self.call(py, "process", Some(Py::new(py, matched)?.into_any()))
                }
                _ => framesets.drain(..).try_for_each(|source| {
                    let frames = Py::new(py, PyFrameSet { source })?;
                    self.call(py, "process", Some(frames.into_any()))
                }),
            };
            self.output.lend(output, call).map_err(|error| failure(py, &error))
        })
    }

    fn finish(&mut self, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        attach(|py| {
            let called = self.output.lend(output, || self.call(py, "finish", None));
            called.map_err(|error| failure(py, &error))
        })
    }
}

/// Returns a frameset of the rig.
fn live(source: &Source) -> PyResult<&FrameSet> {
    match source {
        Source::Live(frames, _) => Ok(frames),
        Source::Recorded(_) => Err(error("a frameset of a recording cannot be published in a rig")),
    }
}

/// Returns a match of the rig.
fn live_match(matched: &PyMatch) -> PyResult<Match> {
    let framesets = matched.framesets.iter().map(|source| live(source).cloned());
    Ok(Match::of(matched.number, framesets.collect::<PyResult<_>>()?, matched.complete))
}

/// Logs the traceback of an exception, and returns it as one line with its location in the script.
pub(crate) fn failure(py: Python<'_>, error: &PyErr) -> ProcessorError {
    let described = py
        .import("camrig._worker")
        .and_then(|worker| worker.call_method1("describe", (error.clone_ref(py).into_value(py),)))
        .and_then(|described| described.extract::<(String, String)>());
    let (line, traceback) = described.unwrap_or_else(|_| (error.to_string(), String::new()));
    if !traceback.is_empty() && !error.is_instance_of::<PySystemExit>(py) {
        log::error!("{}", traceback.trim_end());
    }
    line.into()
}

/// Publishes a processor's framesets. It is valid during the call that got it, on the thread of that call.
#[pyclass(frozen, module = "camrig")]
pub(crate) struct Outlet {
    output: Arc<Lending<ProcessorOutput>>,
    /// The sources of framesets that were not derived, by name and streams.
    sources: Mutex<BTreeMap<String, Arc<CameraInfo>>>,
}

#[pymethods]
impl Outlet {
    /// Name of the processor.
    #[getter]
    fn name(&self, py: Python<'_>) -> PyResult<String> {
        self.output.with(py, |output| Ok(output.name().to_owned()))
    }

    /// Publishes a frameset that was derived or created, or forwards one, or those of a match, unchanged.
    fn publish(&self, py: Python<'_>, frames: &Bound<'_, PyAny>) -> PyResult<()> {
        if let Ok(made) = frames.cast::<Draft>() {
            let made = made.get();
            return self.output.with(py, |output| {
                if let Some(loan) = made.take_loan()? {
                    output.publish(loan);
                }
                Ok(())
            });
        }
        if let Ok(frames) = frames.cast::<PyFrameSet>() {
            let frames = live(&frames.get().source)?;
            return self.output.with(py, |output| output.forward(frames).map_err(error));
        }
        if let Ok(matched) = frames.cast::<PyMatch>() {
            let matched = live_match(matched.get())?;
            return self.output.with(py, |output| output.forward_match(&matched).map_err(error));
        }
        let given = frames.get_type().name()?;
        Err(PyTypeError::new_err(format!(
            "`publish` takes a result of `derive` or `create`, a FrameSet or a Match, not {given}"
        )))
    }

    /// Makes a frameset from another one, whose camera, arrival time and match it inherits, or from a match.
    ///
    /// `image` is (stream, format, (height, width)), `tensor` is (stream, type, shape) such as ("heat", "f32", (1, 30, 40)),
    /// `message` is (stream, value) or (stream, schema, value), where the value is any JSON value. Each may be
    /// a list of several. Write into its `array`, then publish it. If all slots are in use, the frameset is counted as
    /// dropped, and its pixels are discarded.
    ///
    /// A `y8` image is a mask or has classes (the role `other`), unless it has the name of a camera's stream, such as
    /// `color` or `infrared-1`. A fourth element, `"light"`, `"depth"` or `"other"`, gives an image another role.
    #[pyo3(signature = (origin, *, image=None, tensor=None, message=None))]
    fn derive(
        &self,
        py: Python<'_>,
        origin: &Bound<'_, PyAny>,
        image: Option<&Bound<'_, PyAny>>,
        tensor: Option<&Bound<'_, PyAny>>,
        message: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Draft> {
        let mut parts = parts(image, tensor, message)?;
        let stamp = |source: &Source, parts: &mut [UnpublishedFrame]| {
            let first = source.header().frames.first();
            for part in parts {
                if let Some(first) = first {
                    part.header.number = first.number;
                    part.header.timestamp = first.timestamp;
                }
            }
        };
        if let Ok(frames) = origin.cast::<PyFrameSet>() {
            let source = &frames.get().source;
            stamp(source, &mut parts);
            let frames = live(source)?;
            return self.draft(py, parts, |output, headers| output.derive(frames, headers));
        }
        let matched = origin
            .cast::<PyMatch>()
            .map_err(|_| PyTypeError::new_err("`derive` takes a FrameSet or a Match as its origin"))?;
        let matched = matched.get();
        if let Some(source) = matched.framesets.first() {
            stamp(source, &mut parts);
        }
        let matched = live_match(matched)?;
        let source = self.source(&self.name(py)?, &parts);
        self.draft(py, parts, |output, headers| output.derive_match(&source, &matched, headers))
    }

    /// Makes a frameset of this processor's own: readers see `source` as its camera. The arguments are those of `derive`.
    #[pyo3(signature = (source, *, image=None, tensor=None, message=None))]
    fn create(
        &self,
        py: Python<'_>,
        source: &str,
        image: Option<&Bound<'_, PyAny>>,
        tensor: Option<&Bound<'_, PyAny>>,
        message: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Draft> {
        let parts = parts(image, tensor, message)?;
        let source = self.source(source, &parts);
        self.draft(py, parts, |output, headers| output.loan(&source, monotonic_nanos(), headers))
    }
}

impl Outlet {
    fn draft(
        &self,
        py: Python<'_>,
        parts: Vec<UnpublishedFrame>,
        lend: impl FnOnce(&mut ProcessorOutput, FrameHeaders) -> Result<Option<Loan>, camrig::OutputError> + Send,
    ) -> PyResult<Draft> {
        let headers: FrameHeaders = parts.iter().map(|part| part.header).collect();
        let loan = self.output.with(py, |output| lend(output, headers).map_err(error))?;
        let loan = match loan {
            Some(mut loan) => {
                for (index, part) in parts.iter().enumerate() {
                    if let Some(content) = &part.content {
                        loan.frame_mut(index).copy_from_slice(content);
                    }
                }
                Some(SharedLoan::new(loan))
            }
            None => None,
        };
        Ok(Draft::new(parts.into_iter().map(|part| part.header).collect(), loan, None))
    }

    /// Returns the source of this name whose framesets have these streams: the same one each time.
    fn source(&self, name: &str, parts: &[UnpublishedFrame]) -> Arc<CameraInfo> {
        let stream = |FrameHeader { stream, payload, role, .. }: FrameHeader| StreamInfo {
            role,
            ..StreamInfo::new(stream, payload, 0)
        };
        let streams: Vec<_> = parts.iter().map(|part| stream(part.header)).collect();
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let known = sources.get(name).filter(|info| {
            let same = |(known, new): (&StreamInfo, &StreamInfo)| {
                known.stream == new.stream && known.format() == new.format()
            };
            info.streams.len() == streams.len() && info.streams.iter().zip(&streams).all(same)
        });
        if let Some(known) = known {
            return Arc::clone(known);
        }
        let info = CameraInfo {
            name: name.to_owned(),
            driver: "python".to_owned(),
            streams,
            ..CameraInfo::default()
        };
        let info = Arc::new(info);
        sources.insert(name.to_owned(), Arc::clone(&info));
        info
    }
}

/// A frame to be published.
struct UnpublishedFrame {
    header: FrameHeader,
    /// The bytes of a message; `None` for other frames.
    content: Option<Vec<u8>>,
}

/// A frameset that is being made: write into its arrays, then publish it.
#[pyclass(frozen, module = "camrig")]
pub(crate) struct Draft {
    headers: Vec<FrameHeader>,
    /// The device's number, if the script gave one.
    number: Option<u64>,
    state: Mutex<DraftState>,
}

struct DraftState {
    /// `None` if there was no slot, or after it is published.
    loan: Option<Arc<SharedLoan>>,
    published: bool,
}

#[pymethods]
impl Draft {
    /// The array of the first image or tensor, which may be written until the frameset is published.
    #[getter]
    fn array(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let first = self.headers.iter().position(|header| !matches!(header.payload, Payload::Message { .. }));
        let first = first.ok_or_else(|| error("this frameset has messages only, so no array"))?;
        self.array_of(py, first)
    }

    /// The array of a stream.
    fn __getitem__(&self, py: Python<'_>, stream: &str) -> PyResult<Py<PyAny>> {
        let index = self.headers.iter().position(|header| header.stream.name() == stream);
        let index = index.ok_or_else(|| {
            let names: Vec<_> = self.headers.iter().map(|header| format!("`{}`", header.stream)).collect();
            MissingStream::new_err(format!("no stream `{stream}`; it has: {}", names.join(", ")))
        })?;
        self.array_of(py, index)
    }

    /// If true, all slots were in use: the frameset is counted as dropped, and its pixels are discarded.
    #[getter]
    fn dropped(&self) -> bool {
        let state = self.lock();
        state.loan.is_none() && !state.published
    }
}

impl Draft {
    /// Makes a draft with this loan, or without one if all slots are in use. `number` is the device's, if the script gave one.
    pub(crate) fn new(headers: Vec<FrameHeader>, loan: Option<Arc<SharedLoan>>, number: Option<u64>) -> Self {
        Self { headers, number, state: Mutex::new(DraftState { loan, published: false }) }
    }

    fn lock(&self) -> MutexGuard<'_, DraftState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn number(&self) -> Option<u64> {
        self.number
    }

    /// Returns the loan to be published; `None` if there was no slot, and the frameset was counted as dropped.
    ///
    /// # Errors
    /// If it is published already, or an array still refers to it: it can be published later then.
    pub(crate) fn take_loan(&self) -> PyResult<Option<Loan>> {
        let mut state = self.lock();
        if state.published {
            return Err(error("this frameset is published already"));
        }
        let loan = state.loan.take().map(SharedLoan::into_loan).transpose();
        let loan = loan.map_err(|shared| {
            state.loan = Some(shared);
            error(
                "an array of this frameset is still in use, and a published frameset must not change: `del` it before \
                 `publish`",
            )
        })?;
        state.published = true;
        Ok(loan)
    }

    /// Copies an array into a stream.
    pub(crate) fn fill(&self, py: Python<'_>, stream: &str, array: &Bound<'_, PyAny>) -> PyResult<()> {
        let own = self.__getitem__(py, stream)?;
        py.import("camrig._arrays")?.call_method1("fill", (own, array, stream))?;
        Ok(())
    }

    fn array_of(&self, py: Python<'_>, index: usize) -> PyResult<Py<PyAny>> {
        let header = &self.headers[index];
        let content = {
            let state = self.lock();
            if state.published {
                return Err(error("this frameset is published: its memory belongs to its readers"));
            }
            state.loan.as_ref().map(|loan| loan.frame(index))
        };
        let Some(content) = content else {
            return Ok(py.import("camrig._arrays")?.call_method1("scratch", scratch(header))?.unbind());
        };
        let memory = Py::new(py, Memory::new(content, &header.payload)?)?;
        Ok(py.import("camrig._arrays")?.call_method1("view", (memory,))?.unbind())
    }
}

/// Returns the type and the shape of a frame's array.
fn scratch(header: &FrameHeader) -> (&'static str, Vec<usize>) {
    let layout = crate::memory::ArrayLayout::of(&header.payload);
    (layout.dtype.map_or("|u1", DType::numpy_name), layout.shape)
}

/// Reads the arguments of `derive` and `create`.
fn parts(
    image: Option<&Bound<'_, PyAny>>,
    tensor: Option<&Bound<'_, PyAny>>,
    message: Option<&Bound<'_, PyAny>>,
) -> PyResult<Vec<UnpublishedFrame>> {
    let mut parts = Vec::new();
    for given in each(image) {
        let wrong = |_| {
            PyTypeError::new_err(
                "`image` is (stream, format, (height, width)), such as (\"mask\", \"y8\", (480, 640))",
            )
        };
        let (stream, format, shape, role) = if given.len().is_ok_and(|length| length == 4) {
            let (stream, format, shape, role) = given.extract().map_err(wrong)?;
            (stream, format, shape, Some(role))
        } else {
            let (stream, format, shape) = given.extract().map_err(wrong)?;
            (stream, format, shape, None)
        };
        let (stream, format, shape, role): (String, String, Vec<u32>, Option<String>) =
            (stream, format, shape, role);
        let format = PixelFormat::named(&format).ok_or_else(|| {
            let known: Vec<_> = PixelFormat::ALL.iter().map(|known| format!("`{known}`")).collect();
            PyValueError::new_err(format!("unknown format `{format}`; expected one of: {}", known.join(", ")))
        })?;
        let &[height, width, ..] = shape.as_slice() else {
            return Err(PyValueError::new_err("the shape of an image is (height, width)"));
        };
        let header = FrameHeader::new(named(&stream)?, Payload::image(format, width, height));
        let role = role.map_or_else(|| Ok(role_of(&header)), |role| role_named(&role))?;
        parts.push(UnpublishedFrame { header: FrameHeader { role, ..header }, content: None });
    }
    for given in each(tensor) {
        let (stream, dtype, shape): (String, String, Vec<u32>) = given.extract().map_err(|_| {
            PyTypeError::new_err("`tensor` is (stream, type, shape), such as (\"heat\", \"f32\", (30, 40))")
        })?;
        let dtype = dtype_named(&dtype)?;
        let payload = Payload::Tensor { dtype, shape: shape_of(&shape)? };
        parts.push(UnpublishedFrame { header: FrameHeader::new(named(&stream)?, payload), content: None });
    }
    for given in each(message) {
        let wrong = || PyTypeError::new_err("`message` is (stream, value) or (stream, schema, value)");
        let given = given.cast::<PyTuple>().map_err(|_| wrong())?;
        let (stream, schema, value) = match given.len() {
            2 => (given.get_item(0)?, None, given.get_item(1)?),
            3 => (given.get_item(0)?, Some(given.get_item(1)?), given.get_item(2)?),
            _ => return Err(wrong()),
        };
        let stream: String = stream.extract()?;
        let schema = schema.map_or(Ok("camrig.Json".to_owned()), |schema| schema.extract())?;
        let schema = Name::new(&schema).map_err(|fault| PyValueError::new_err(fault.to_string()))?;
        let content = json(&value, &stream)?.into_bytes();
        let payload = Payload::Message { schema, encoding: JSON, size_bytes: content.len() as u32 };
        parts.push(UnpublishedFrame {
            header: FrameHeader::new(named(&stream)?, payload),
            content: Some(content),
        });
    }
    if parts.is_empty() || parts.len() > camrig::frame::MAX_FRAMES {
        let most = camrig::frame::MAX_FRAMES;
        return Err(PyValueError::new_err(format!("a frameset has 1 to {most} frames, not {}", parts.len())));
    }
    Ok(parts)
}

/// Returns a value as JSON. Python itself would write NaN and infinities, which other programs cannot read.
fn json(value: &Bound<'_, PyAny>, stream: &str) -> PyResult<String> {
    let py = value.py();
    let options = PyDict::new(py);
    options.set_item("allow_nan", false)?;
    let written = py.import("json")?.call_method("dumps", (value,), Some(&options));
    let named = |fault: PyErr| {
        if !fault.is_instance_of::<PyValueError>(py) {
            return fault;
        }
        let fact = fault.value(py);
        PyValueError::new_err(format!("the message of stream `{stream}` cannot be written as JSON: {fact}"))
    };
    written.map_err(named)?.extract()
}

/// Returns the role of an image of a processor: that of its format, except for a `y8` image that is not a stream of a camera.
/// Such an image is a mask or has classes.
fn role_of(header: &FrameHeader) -> Role {
    const OF_CAMERAS: [Stream; 4] = [Stream::COLOR, Stream::DEPTH, Stream::INFRARED_1, Stream::INFRARED_2];
    if header.payload.pixel_format() == Some(PixelFormat::Y8) && !OF_CAMERAS.contains(&header.stream) {
        Role::Other
    } else {
        header.role
    }
}

/// Returns the role of an image by its name.
pub(crate) fn role_named(name: &str) -> PyResult<Role> {
    let all = [Role::Light, Role::Depth, Role::Other];
    all.into_iter().find(|role| role.name() == name).ok_or_else(|| {
        PyValueError::new_err(format!("unknown role `{name}`; expected one of: `light`, `depth`, `other`"))
    })
}

/// Returns the shape of a tensor.
pub(crate) fn shape_of(lengths: &[u32]) -> PyResult<Shape> {
    Shape::new(lengths).ok_or_else(|| {
        let (most, given) = (camrig::frame::MAX_DIMENSIONS, lengths.len());
        PyValueError::new_err(format!("a tensor has at most {most} dimensions, not {given}"))
    })
}

pub(crate) fn named(stream: &str) -> PyResult<Stream> {
    Stream::new(stream).map_err(|fault| PyValueError::new_err(fault.to_string()))
}

pub(crate) fn dtype_named(name: &str) -> PyResult<DType> {
    let all = [
        DType::U8,
        DType::U16,
        DType::U32,
        DType::U64,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::F16,
        DType::F32,
        DType::F64,
    ];
    all.into_iter().find(|dtype| dtype.name() == name).ok_or_else(|| {
        let known: Vec<_> = all.iter().map(|dtype| format!("`{dtype}`")).collect();
        PyValueError::new_err(format!("unknown type `{name}`; expected one of: {}", known.join(", ")))
    })
}

/// Returns the elements of a list, or the value itself.
fn each<'py>(given: Option<&Bound<'py, PyAny>>) -> Vec<Bound<'py, PyAny>> {
    let Some(given) = given else { return Vec::new() };
    match given.cast::<PyList>() {
        Ok(list) => list.iter().collect(),
        Err(_) => vec![given.clone()],
    }
}
