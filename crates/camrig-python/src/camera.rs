//! Cameras as Python objects: identity, streams, calibration.

use std::sync::Arc;

use camrig::frame::{CameraInfo, Distortion, Intrinsics, StreamInfo};
use pyo3::prelude::*;

use crate::errors::{MissingStream, error};

/// A camera: identity, calibration, depth unit, streams.
#[pyclass(name = "Camera", frozen, module = "camrig")]
pub(crate) struct PyCamera {
    pub(crate) info: Arc<CameraInfo>,
}

impl PyCamera {
    fn stream(&self, name: &str) -> PyResult<&StreamInfo> {
        let found = self.info.streams.iter().find(|info| info.stream.name() == name);
        found.ok_or_else(|| {
            let names: Vec<_> = self.info.streams.iter().map(|info| format!("`{}`", info.stream)).collect();
            let (camera, names) = (&self.info.name, names.join(", "));
            MissingStream::new_err(format!("camera `{camera}` has no stream `{name}`; it has: {names}"))
        })
    }

    fn lens(&self, name: &str) -> PyResult<&Intrinsics> {
        let info = self.stream(name)?;
        info.intrinsics.as_ref().ok_or_else(|| {
            error(format_args!(
                "the intrinsics of stream `{name}` of camera `{}` are not known",
                self.info.name
            ))
        })
    }
}

#[pymethods]
impl PyCamera {
    /// Name in the topology.
    #[getter]
    fn name(&self) -> &str {
        &self.info.name
    }

    /// Name of the driver, such as `realsense`.
    #[getter]
    fn driver(&self) -> &str {
        &self.info.driver
    }

    /// Serial number.
    #[getter]
    fn serial(&self) -> &str {
        &self.info.serial
    }

    /// Model, such as `Intel RealSense D405`.
    #[getter]
    fn model(&self) -> &str {
        &self.info.model
    }

    /// Version of the firmware.
    #[getter]
    fn firmware(&self) -> &str {
        &self.info.firmware
    }

    /// Size of one depth unit in metres.
    #[getter]
    fn depth_unit_meters(&self) -> f32 {
        self.info.depth_unit_meters
    }

    /// The transform from the camera's coordinates, those of depth, to the root camera's of a calibrated rig: float64 of
    /// the shape (4, 4), metres; `None` without a calibration.
    #[getter]
    fn pose(&self, py: Python<'_>) -> PyResult<Option<Py<PyAny>>> {
        let Some(pose) = &self.info.pose else { return Ok(None) };
        matrix(py, pose.matrix().into_iter().flatten(), (4, 4)).map(Some)
    }

    /// Name of the root camera of the calibrated rig; `None` without a calibration.
    #[getter]
    fn root(&self) -> Option<&str> {
        self.info.pose.as_ref().map(|pose| pose.root.as_str())
    }

    /// Names of its streams.
    #[getter]
    fn streams(&self) -> Vec<String> {
        self.info.streams.iter().map(|info| info.stream.name().to_owned()).collect()
    }

    /// The declared frames per second of a stream.
    fn rate(&self, stream: &str) -> PyResult<u32> {
        Ok(self.stream(stream)?.frames_per_second)
    }

    /// Format of a stream, such as `z16`.
    fn format(&self, stream: &str) -> PyResult<String> {
        Ok(self.stream(stream)?.format().to_string())
    }

    /// Width and height of a stream in pixels; `None` for tensors and messages.
    fn size(&self, stream: &str) -> PyResult<Option<(u32, u32)>> {
        Ok(self.stream(stream)?.payload.size())
    }

    /// The pinhole model of a stream in pixels: float64 of the shape (3, 3), as OpenCV takes it.
    fn intrinsics(&self, py: Python<'_>, stream: &str) -> PyResult<Py<PyAny>> {
        pinhole(py, self.lens(stream)?)
    }

    /// Coefficients of a stream's distortion as OpenCV takes them: see `Frame.distortion`.
    fn distortion(&self, py: Python<'_>, stream: &str) -> PyResult<Py<PyAny>> {
        coefficients(py, self.lens(stream)?)
    }

    /// Model of a stream's distortion, such as `brown-conrady`.
    fn distortion_model(&self, stream: &str) -> PyResult<&'static str> {
        Ok(self.lens(stream)?.distortion.name())
    }

    /// Transform of points from the coordinates of a stream to those of depth: float64 of the shape (4, 4), metres.
    fn to_depth(&self, py: Python<'_>, stream: &str) -> PyResult<Py<PyAny>> {
        transform(py, Some(self.stream(stream)?), &self.info.name)
    }

    fn __repr__(&self) -> String {
        format!("<camrig.Camera {}: {}>", self.info.name, self.streams().join(", "))
    }
}

/// Returns the pinhole model as OpenCV takes it, of the shape (3, 3).
pub(crate) fn pinhole(py: Python<'_>, lens: &Intrinsics) -> PyResult<Py<PyAny>> {
    let numbers = [lens.fx, 0.0, lens.ppx, 0.0, lens.fy, lens.ppy, 0.0, 0.0, 1.0];
    matrix(py, numbers, (3, 3))
}

/// Returns the coefficients of a distortion as OpenCV takes them.
pub(crate) fn coefficients(py: Python<'_>, lens: &Intrinsics) -> PyResult<Py<PyAny>> {
    match lens.distortion {
        Distortion::None => matrix(py, [0.0; 5], (5,)),
        // The three differ in the point of the tangential part: by less than a tenth of a pixel for RealSense cameras.
        Distortion::BrownConrady | Distortion::ModifiedBrownConrady | Distortion::InverseBrownConrady => {
            matrix(py, lens.coefficients, (5,))
        }
        Distortion::KannalaBrandt4 => matrix(py, lens.coefficients.into_iter().take(4), (4,)),
        Distortion::Ftheta => Err(error("OpenCV has no model of the distortion `ftheta`")),
    }
}

/// Returns numbers as an array of float64.
fn matrix<'py, S: IntoPyObject<'py>>(
    py: Python<'py>,
    numbers: impl IntoIterator<Item = impl Into<f64>>,
    shape: S,
) -> PyResult<Py<PyAny>> {
    let numbers: Vec<f64> = numbers.into_iter().map(Into::into).collect();
    Ok(py.import("camrig._arrays")?.call_method1("matrix", (numbers, shape))?.unbind())
}

/// Returns the transform of a stream to depth, as an array of shape (4, 4) in metres.
pub(crate) fn transform(py: Python<'_>, info: Option<&StreamInfo>, camera: &str) -> PyResult<Py<PyAny>> {
    let Some(to_depth) = info.and_then(|info| info.to_depth) else {
        return Err(error(format_args!(
            "the transform to depth of this stream of camera `{camera}` is not known"
        )));
    };
    // The rotation is in column-major order.
    let (r, t) = (to_depth.rotation, to_depth.translation_meters);
    let rows = [r[0], r[3], r[6], t[0], r[1], r[4], r[7], t[1], r[2], r[5], r[8], t[2], 0.0, 0.0, 0.0, 1.0];
    matrix(py, rows, (4, 4))
}
