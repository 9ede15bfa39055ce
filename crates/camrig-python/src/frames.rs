//! Framesets, frames and matches as Python objects.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use camrig::FrameSet;
use camrig::frame::{
    CameraInfo, ColorView, DepthView, Frame, FrameHeader, FrameSetHeader, Intrinsics, Payload, PointCloud,
    PointsView, Role, Stream, StreamInfo,
};
use camrig_record::RecordedFrameSet;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyList, PyTuple};

use crate::camera::{PyCamera, matrix, transform};
use crate::errors::{MissingStream, error};
use crate::kept::Kept;
use crate::memory::{Content, Memory};

/// Maximum number of cameras whose rays are kept.
const MAX_CLOUDS: usize = 16;

/// A frameset of a rig or of a recording.
#[derive(Clone)]
pub(crate) enum Source {
    Live(FrameSet, Option<Arc<Kept>>),
    Recorded(Arc<Recorded>),
}

/// A frameset of a recording, and its frames that were decoded so far.
pub(crate) struct Recorded {
    pub(crate) frames: RecordedFrameSet,
    decoded: Vec<OnceLock<Bytes>>,
}

impl Source {
    pub(crate) fn recorded(frames: RecordedFrameSet) -> Self {
        let decoded = frames.header().frames.iter().map(|_| OnceLock::new()).collect();
        Self::Recorded(Arc::new(Recorded { frames, decoded }))
    }

    pub(crate) fn header(&self) -> &FrameSetHeader {
        match self {
            Self::Live(frames, _) => frames.header(),
            Self::Recorded(recorded) => recorded.frames.header(),
        }
    }

    pub(crate) fn info(&self) -> &Arc<CameraInfo> {
        match self {
            Self::Live(frames, _) => frames.info(),
            Self::Recorded(recorded) => recorded.frames.info(),
        }
    }

    fn producer(&self) -> &str {
        match self {
            Self::Live(frames, _) => frames.producer(),
            Self::Recorded(recorded) => &recorded.frames.info().name,
        }
    }

    /// Returns the content of a frame; of a recording it is decoded once.
    fn content(&self, index: usize) -> PyResult<Content> {
        Ok(match self {
            Self::Live(frames, kept) => Content::Live { frames: frames.clone(), index, _kept: kept.clone() },
            Self::Recorded(recorded) => {
                let cell = &recorded.decoded[index];
                let bytes = if let Some(bytes) = cell.get() {
                    bytes.clone()
                } else {
                    let decoded = recorded.frames.decode(index).map_err(|fault| {
                        let (camera, sequence) = (&self.info().name, self.header().sequence);
                        error(format_args!("frameset {sequence} of camera `{camera}` is damaged: {fault}"))
                    })?;
                    cell.get_or_init(|| decoded).clone()
                };
                Content::Owned(bytes)
            }
        })
    }

    fn of_role(&self, role: Role) -> Option<usize> {
        self.header().frames.iter().position(|header| header.role == role)
    }

    fn of_stream(&self, name: &str) -> Option<usize> {
        self.header().frames.iter().position(|header| header.stream.name() == name)
    }
}

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

    fn missing(&self, what: &str) -> PyErr {
        let header = self.source.header();
        let names: Vec<_> = header.frames.iter().map(|frame| format!("`{}`", frame.stream)).collect();
        let camera = &self.source.info().name;
        MissingStream::new_err(format!(
            "frameset {} of camera `{camera}` has no {what}; it has: {}",
            header.sequence,
            names.join(", ")
        ))
    }

    fn of_role(&self, py: Python<'_>, role: Role, what: &str) -> PyResult<Py<PyFrame>> {
        self.frame(py, self.source.of_role(role).ok_or_else(|| self.missing(what))?)
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
            Source::Recorded(recorded) => Some(recorded.frames.arrived_nanos()),
        }
    }

    /// Capture time of its depth, or of its first frame, in nanoseconds of `clock`; `None` without frames.
    #[getter]
    pub(crate) fn timestamp_nanos(&self) -> Option<u64> {
        self.instant().map(|frame| frame.timestamp.nanos)
    }

    /// The clock of `timestamp_nanos`: `hardware`, `global` or `system`.
    #[getter]
    pub(crate) fn clock(&self) -> Option<&'static str> {
        self.instant().map(|frame| frame.timestamp.clock.name())
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
        self.frame(py, index.ok_or_else(|| self.missing(&format!("stream `{stream}`")))?)
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
        let bytes = self.point_bytes(py, color)?;
        Ok(py.import("camrig._arrays")?.call_method1("points", (bytes,))?.unbind())
    }

    fn __repr__(&self) -> String {
        let streams = self.streams().join(", ");
        format!("<camrig.FrameSet {} #{}: {streams}>", self.camera(), self.sequence())
    }
}

impl PyFrameSet {
    fn instant(&self) -> Option<&FrameHeader> {
        let frames = &self.source.header().frames;
        frames.iter().find(|frame| frame.role == Role::Depth).or_else(|| frames.first())
    }

    fn point_bytes<'py>(&self, py: Python<'py>, with_color: bool) -> PyResult<Bound<'py, PyAny>> {
        let frames = &self.source.header().frames;
        if let Some(index) = self.source.of_role(Role::Points) {
            let content = self.source.content(index)?;
            let frame = Frame::new(&frames[index], content.bytes()).map_err(error)?;
            let points = PointsView::new(frame).ok_or_else(|| self.missing("points"))?;
            return Ok(PyBytes::new(py, points.frame().bytes()).into_any());
        }
        let index = self.source.of_role(Role::Depth).ok_or_else(|| self.missing("points and no depth"))?;
        let content = self.source.content(index)?;
        let info = self.source.info();
        let depth = Frame::new(&frames[index], content.bytes()).map_err(error)?;
        let depth = DepthView::new(depth, info.depth_unit_meters, None)
            .ok_or_else(|| self.missing("depth in a known format"))?;
        let color = self.source.of_stream(Stream::COLOR.name()).filter(|_| with_color);
        let color_content = color.map(|index| self.source.content(index)).transpose()?;
        let color = match (&color_content, color) {
            (Some(content), Some(index)) => {
                ColorView::new(Frame::new(&frames[index], content.bytes()).map_err(error)?)
            }
            _ => None,
        };
        let cloud = cloud(info)?;
        let header = PointCloud::header(&frames[index]);
        let points = PyByteArray::new_with(py, header.size_bytes() as usize, |bytes| {
            py.detach(|| cloud.write(&depth, color.as_ref(), bytes)).map_err(error)
        })?;
        Ok(points.into_any())
    }
}

/// Returns the converter of a camera's depth to points, which is made once.
fn cloud(info: &Arc<CameraInfo>) -> PyResult<Arc<PointCloud>> {
    type Clouds = Vec<(Arc<CameraInfo>, Arc<PointCloud>)>;
    static CLOUDS: Mutex<Clouds> = Mutex::new(Vec::new());
    let mut clouds = CLOUDS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, cloud)) = clouds.iter().find(|(known, _)| Arc::ptr_eq(known, info)) {
        return Ok(Arc::clone(cloud));
    }
    let depth = info.stream_of(Role::Depth);
    let depth = depth.ok_or_else(|| error(format_args!("camera `{}` declares no depth", info.name)))?;
    let color = info.stream(Stream::COLOR);
    let color = color.filter(|color| color.intrinsics.is_some() && color.to_depth.is_some());
    let made = PointCloud::new(depth, color);
    let made = made.map_err(|fault| error(format_args!("camera `{}` has no points: {fault}", info.name)))?;
    let made = Arc::new(made);
    if clouds.len() == MAX_CLOUDS {
        clouds.remove(0);
    }
    clouds.push((Arc::clone(info), Arc::clone(&made)));
    Ok(made)
}

/// One frame of one stream. `numpy.asarray(frame)` is a read-only view of its memory, without a copy.
///
/// Shapes: images (height, width) or (height, width, channels); tensors as declared; points (height, width) with the
/// fields x, y, z, r, g, b, known; samples of motion (n,) with the fields nanos, x, y, z; encoded images and messages
/// (bytes,).
#[pyclass(name = "Frame", extends = Memory, frozen, module = "camrig")]
pub(crate) struct PyFrame {
    header: FrameHeader,
    info: Arc<CameraInfo>,
}

impl PyFrame {
    fn new(py: Python<'_>, source: &Source, index: usize) -> PyResult<Py<Self>> {
        let header = source.header().frames[index];
        let memory = Memory::new(source.content(index)?, &header.payload)?;
        let info = Arc::clone(source.info());
        Py::new(py, PyClassInitializer::from(memory).add_subclass(Self { header, info }))
    }

    fn declared(&self) -> Option<&StreamInfo> {
        self.info.stream(self.header.stream)
    }

    fn intrinsics_of(&self) -> PyResult<&Intrinsics> {
        let found = self.declared().and_then(|info| info.intrinsics.as_ref());
        found.ok_or_else(|| {
            error(format_args!(
                "the intrinsics of stream `{}` of camera `{}` are not known",
                self.header.stream, self.info.name
            ))
        })
    }
}

#[pymethods]
impl PyFrame {
    /// Name of the stream, such as `depth`.
    #[getter]
    fn stream(&self) -> String {
        self.header.stream.name().to_owned()
    }

    /// Role of the stream: `light`, `depth`, `points`, `motion` or `other`.
    #[getter]
    fn role(&self) -> String {
        format!("{:?}", self.header.role).to_lowercase()
    }

    /// Format, such as `z16`, `rgb8`, `motion`, `tensor-f32` or `camrig.Boxes`.
    #[getter]
    fn format(&self) -> String {
        self.header.payload.format().to_string()
    }

    /// Shape of the array.
    #[getter]
    fn shape<'py>(slf: PyRef<'py, Self>, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let shape = slf.as_super().layout.shape.clone();
        PyTuple::new(py, shape)
    }

    /// Type of the array's elements as NumPy writes it, such as `<u2`; `None` for elements with fields.
    #[getter]
    fn dtype(slf: PyRef<'_, Self>) -> Option<&'static str> {
        slf.as_super().layout.dtype.map(camrig::frame::DType::numpy_name)
    }

    /// Width in pixels, points or samples; 0 for tensors and messages.
    #[getter]
    fn width(&self) -> u32 {
        self.header.payload.size().map_or(0, |(width, _)| width)
    }

    /// Height in pixels or rows; 0 for tensors and messages.
    #[getter]
    fn height(&self) -> u32 {
        self.header.payload.size().map_or(0, |(_, height)| height)
    }

    /// The device's frame number.
    #[getter]
    fn number(&self) -> u64 {
        self.header.number
    }

    /// Capture time in nanoseconds of `clock`.
    #[getter]
    fn timestamp_nanos(&self) -> u64 {
        self.header.timestamp.nanos
    }

    /// The clock of `timestamp_nanos`: `hardware`, `global` or `system`.
    #[getter]
    fn clock(&self) -> &'static str {
        self.header.timestamp.clock.name()
    }

    /// Metadata of the device, by librealsense's names, such as `actual-exposure` in microseconds.
    #[getter]
    fn metadata<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let found = PyDict::new(py);
        for (key, value) in self.header.metadata.iter() {
            found.set_item(key.name(), value)?;
        }
        Ok(found)
    }

    /// Size of one depth unit in metres.
    #[getter]
    fn unit_meters(&self) -> f32 {
        self.info.depth_unit_meters
    }

    /// The pinhole model in pixels, float64 of the shape (3, 3), as OpenCV takes it. Raises `CamrigError` if the camera
    /// does not report it.
    #[getter]
    fn intrinsics(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let lens = self.intrinsics_of()?;
        let numbers = [lens.fx, 0.0, lens.ppx, 0.0, lens.fy, lens.ppy, 0.0, 0.0, 1.0];
        matrix(py, &numbers, (3, 3))
    }

    /// Coefficients of the distortion in the order of OpenCV, k1, k2, p1, p2, k3: float64 of the shape (5,).
    #[getter]
    fn distortion(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let coefficients = self.intrinsics_of()?.coefficients;
        matrix(py, &coefficients, (5,))
    }

    /// Model of the distortion: `none`, `brown-conrady` (that of OpenCV), `inverse-brown-conrady` and so on.
    #[getter]
    fn distortion_model(&self) -> PyResult<&'static str> {
        Ok(self.intrinsics_of()?.distortion.name())
    }

    /// Transform of points from the coordinates of this stream to those of depth, in metres: float64 of the shape (4, 4).
    #[getter]
    fn to_depth(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        transform(py, self.declared(), &self.info.name)
    }

    /// Depth in metres along the optical axis: float32 of the shape (height, width), 0 without depth.
    ///
    /// `out` is an array of this shape that is filled and returned; without it, a new one is made.
    #[pyo3(signature = (*, out=None))]
    fn meters<'py>(slf: &Bound<'py, Self>, out: Option<Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        let frame = slf.get();
        let is_depth = frame.header.payload.pixel_format().is_some_and(|format| format.role() == Role::Depth);
        if !is_depth {
            return Err(error(format_args!(
                "stream `{}` has the format `{}`, which is not depth",
                frame.header.stream,
                frame.format()
            )));
        }
        let unit = if slf.as_super().get().layout.dtype == Some(camrig::frame::DType::U16) {
            frame.info.depth_unit_meters
        } else {
            1.0
        };
        slf.py().import("camrig._arrays")?.call_method1("meters", (slf, unit, out))
    }

    /// Returns a copy that can be written: an array of NumPy, which keeps no slot.
    fn copy<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("camrig._arrays")?.call_method1("copy", (slf,))
    }

    /// Color as red, green and blue: uint8 of the shape (height, width, 3), a copy.
    fn rgb<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let (py, frame) = (slf.py(), slf.get());
        let memory = slf.as_super().get();
        let view = Frame::new(&frame.header, memory.content.bytes()).map_err(error)?;
        let color = ColorView::new(view).ok_or_else(|| {
            error(format_args!(
                "stream `{}` has the format `{}`, which has no color",
                frame.header.stream,
                frame.format()
            ))
        })?;
        let bytes = py.detach(|| color.to_rgb8());
        let bytes = PyByteArray::new(py, &bytes);
        py.import("camrig._arrays")?.call_method1("image", (bytes, frame.height(), frame.width()))
    }

    /// The image as one of Pillow: mode `RGB`, `L`, or `I;16` for depth in its own unit.
    fn to_pil<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("camrig._arrays")?.call_method1("to_pil", (slf,))
    }

    /// The content as bytes, including the padding of rows; a copy.
    fn tobytes<'py>(slf: PyRef<'py, Self>, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, slf.as_super().content.bytes())
    }

    /// The content of a message: the value of its JSON, or its bytes.
    fn message<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let (py, frame) = (slf.py(), slf.get());
        let Payload::Message { encoding, .. } = frame.header.payload else {
            let (stream, format) = (frame.header.stream, frame.format());
            return Err(error(format_args!(
                "stream `{stream}` has the format `{format}`, which is no message"
            )));
        };
        let bytes = PyBytes::new(py, slf.as_super().get().content.bytes());
        if encoding.as_str() == "json" {
            return py.import("json")?.call_method1("loads", (bytes,));
        }
        Ok(bytes.into_any())
    }

    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        slf: &Bound<'py, Self>,
        dtype: Option<Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("camrig._arrays")?.call_method1("array", (slf, dtype, copy))
    }

    fn __len__(slf: PyRef<'_, Self>) -> usize {
        slf.as_super().layout.shape.first().copied().unwrap_or(1)
    }

    fn __repr__(slf: PyRef<'_, Self>) -> String {
        let shape: Vec<_> = slf.as_super().layout.shape.iter().map(ToString::to_string).collect();
        format!(
            "<camrig.Frame {} {} {} #{}>",
            slf.header.stream,
            slf.format(),
            shape.join("x"),
            slf.header.number
        )
    }
}

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
