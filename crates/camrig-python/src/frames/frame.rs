//! One frame, as an array and with its calibration.

use std::sync::Arc;

use camrig::frame::{CameraInfo, ColorView, Frame, FrameHeader, Intrinsics, Payload, Role, StreamInfo};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyDict, PyTuple};

use super::source::Source;
use crate::camera::{coefficients, pinhole, transform};
use crate::errors::error;
use crate::memory::Memory;

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
    pub(super) fn new(py: Python<'_>, source: &Source, index: usize) -> PyResult<Py<Self>> {
        let header = source.header().frames[index];
        let memory = Memory::new(source.content(index), &header.payload)?;
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
        pinhole(py, self.intrinsics_of()?)
    }

    /// Coefficients of the distortion as OpenCV takes them, float64: k1, k2, p1, p2, k3 of the shape (5,), which are 0
    /// without distortion; k1, k2, k3, k4 of the shape (4,) for `cv2.fisheye` if the model is `kannala-brandt4`. Raises
    /// `CamrigError` for `ftheta`, which OpenCV does not have.
    #[getter]
    fn distortion(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        coefficients(py, self.intrinsics_of()?)
    }

    /// Model of the distortion: `none`, `brown-conrady` (that of OpenCV), `modified-brown-conrady`, `inverse-brown-conrady`,
    /// `kannala-brandt4` or `ftheta`.
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
        let view = Frame::new(&frame.header, memory.content.bytes(py)?).map_err(error)?;
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
    fn tobytes<'py>(slf: PyRef<'py, Self>, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, slf.as_super().content.bytes(py)?))
    }

    /// The content of a message: the value of its JSON, or its bytes.
    fn message<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let (py, frame) = (slf.py(), slf.get());
        let Payload::Message { encoding, .. } = frame.header.payload else {
            let (stream, format) = (frame.header.stream, frame.format());
            return Err(error(format_args!(
                "stream `{stream}` has the format `{format}`, which is not a message"
            )));
        };
        let bytes = PyBytes::new(py, slf.as_super().get().content.bytes(py)?);
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
