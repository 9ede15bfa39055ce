//! Cameras written in Python, in the process that a supervisor started for them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use camrig::frame::{
    CameraInfo, Clock, Distortion, FrameHeader, Intrinsics, Payload, PixelFormat, StreamInfo, Timestamp,
};
use camrig::{CameraOutput, Captured, Driver, DriverError, FrameHeaders, monotonic_nanos};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};
use serde::Deserialize;

use crate::errors::{Unavailable, error};
use crate::interpreter::attach;
use crate::memory::{Lending, SharedLoan};
use crate::processor::{AnyOptions, Draft, dtype_named, failure, named, role_named, shape_of};

/// A camera of a script.
pub(crate) struct ScriptCamera {
    hosted: Py<PyAny>,
    output: Arc<Lending<CameraOutput>>,
    outlet: Py<CameraOutlet>,
    info: CameraInfo,
}

/// A camera as the script describes it.
#[derive(Deserialize)]
struct Described {
    serial: String,
    model: String,
    depth_unit_meters: f32,
    streams: Vec<DescribedStream>,
}

/// A stream as the script declares it.
#[derive(Deserialize)]
struct DescribedStream {
    name: String,
    format: String,
    shape: Vec<u32>,
    rate: u32,
    /// Without one that of its format.
    role: Option<String>,
    /// The rows of the pinhole model.
    intrinsics: Option<[[f32; 3]; 3]>,
    distortion: Option<Vec<f32>>,
}

impl DescribedStream {
    fn info(&self) -> PyResult<StreamInfo> {
        let payload = match PixelFormat::named(&self.format) {
            Some(format) => match *self.shape.as_slice() {
                [height, width, ..] => Payload::image(format, width, height),
                _ => return Err(PyValueError::new_err("the shape of an image is (height, width)")),
            },
            None => Payload::Tensor { dtype: dtype_named(&self.format)?, shape: shape_of(&self.shape)? },
        };
        let mut info = StreamInfo::new(named(&self.name)?, payload, self.rate);
        if let Some(role) = &self.role {
            info.role = role_named(role)?;
        }
        if let Some([[fx, _, ppx], [_, fy, ppy], _]) = self.intrinsics {
            let (width, height) = payload.size().unwrap_or_default();
            let given = self.distortion.as_deref().unwrap_or_default();
            let mut coefficients = [0.0; 5];
            coefficients.iter_mut().zip(given).for_each(|(own, &given)| *own = given);
            let distortion = if given.is_empty() { Distortion::None } else { Distortion::BrownConrady };
            info.intrinsics = Some(Intrinsics { width, height, ppx, ppy, fx, fy, distortion, coefficients });
        }
        Ok(info)
    }
}

impl ScriptCamera {
    fn try_open(py: Python<'_>, options: &str) -> PyResult<Self> {
        let opened = py.import("camrig._worker")?.call_method1("open_camera", (options,))?;
        let (hosted, described): (Py<PyAny>, String) = opened.extract()?;
        let Described { serial, model, depth_unit_meters, streams } =
            serde_json::from_str(&described).map_err(error)?;
        let streams: Vec<_> = streams.iter().map(DescribedStream::info).collect::<PyResult<_>>()?;
        let info = CameraInfo {
            serial,
            model,
            depth_unit_meters,
            streams: streams.clone(),
            ..CameraInfo::default()
        };
        let output = Arc::new(Lending::new());
        let outlet = CameraOutlet {
            output: Arc::clone(&output),
            streams,
            timeout: Mutex::default(),
            next_number: AtomicU64::new(0),
            published: AtomicU64::new(0),
        };
        Ok(Self { hosted, output, outlet: Py::new(py, outlet)?, info })
    }
}

/// Returns an exception of a script as an error of its driver.
fn driver_error(py: Python<'_>, fault: &PyErr) -> DriverError {
    if fault.is_instance_of::<Unavailable>(py) {
        return DriverError::unavailable(fault.value(py).to_string());
    }
    DriverError::new(failure(py, fault).to_string())
}

impl Driver for ScriptCamera {
    type Options = AnyOptions;

    fn open(_: &str, options: AnyOptions) -> Result<Self, DriverError> {
        let options = options.json()?;
        attach(|py| Self::try_open(py, &options).map_err(|fault| driver_error(py, &fault)))
    }

    fn info(&self) -> CameraInfo {
        self.info.clone()
    }

    fn capture(&mut self, output: &mut CameraOutput, timeout: Duration) -> Result<Captured, DriverError> {
        attach(|py| {
            let outlet = self.outlet.get();
            *outlet.timeout.lock().unwrap_or_else(PoisonError::into_inner) = timeout;
            let before = outlet.published.load(Ordering::Relaxed);
            let call = || self.hosted.call_method1(py, "capture", (self.outlet.clone_ref(py),));
            let returned = self.output.lend(output, call).map_err(|fault| driver_error(py, &fault))?;
            Ok(if returned.extract::<bool>(py).is_ok_and(|goes_on| !goes_on) {
                Captured::End
            } else if outlet.published.load(Ordering::Relaxed) > before {
                Captured::FrameSet
            } else {
                Captured::Nothing
            })
        })
    }
}

/// Closes the device.
impl Drop for ScriptCamera {
    fn drop(&mut self) {
        attach(|py| {
            if let Err(fault) = self.hosted.call_method0(py, "close") {
                log::warn!("`close` failed: {}", failure(py, &fault));
            }
        });
    }
}

/// Publishes a camera's framesets. It is valid during the call of `capture` that got it, on the thread of that call.
#[pyclass(frozen, module = "camrig")]
pub(crate) struct CameraOutlet {
    output: Arc<Lending<CameraOutput>>,
    streams: Vec<StreamInfo>,
    timeout: Mutex<Duration>,
    next_number: AtomicU64,
    /// The number of framesets, including dropped ones.
    published: AtomicU64,
}

#[pymethods]
impl CameraOutlet {
    /// The longest time in seconds that `capture` waits for a frameset: without one it returns, and is called again.
    #[getter]
    fn timeout(&self) -> f64 {
        self.timeout.lock().unwrap_or_else(PoisonError::into_inner).as_secs_f64()
    }

    /// Makes a frameset of these streams, of all by default. Write into its arrays, then publish it.
    ///
    /// `timestamp` is in seconds of `clock`: `hardware`, `global` or `system`; without it the frameset was taken now.
    /// A gap in `number` counts as lost by the device. If all slots are in use, the frameset is counted as dropped.
    #[pyo3(signature = (*streams, timestamp=None, clock="system", number=None))]
    fn create(
        &self,
        py: Python<'_>,
        streams: &Bound<'_, PyTuple>,
        timestamp: Option<f64>,
        clock: &str,
        number: Option<u64>,
    ) -> PyResult<Draft> {
        let arrival_nanos = monotonic_nanos();
        let (given, number) = (number, number.unwrap_or_else(|| self.next_number.load(Ordering::Relaxed)));
        let timestamp = Timestamp { clock: clock_named(clock)?, nanos: nanos_of(timestamp)? };
        let streams: Vec<String> = streams.extract()?;
        let infos = if streams.is_empty() {
            self.streams.iter().collect()
        } else {
            streams.iter().map(|name| self.stream(name)).collect::<PyResult<Vec<_>>>()?
        };
        let header = |info: &&StreamInfo| FrameHeader {
            role: info.role,
            number,
            timestamp,
            ..FrameHeader::new(info.stream, info.payload)
        };
        let headers: FrameHeaders = infos.iter().map(header).collect();
        let kept = headers.iter().copied().collect();
        let loan = self.output.with(py, |output| output.loan(arrival_nanos, headers).map_err(error))?;
        if loan.is_none() {
            // It is counted as dropped, with its number.
            self.note_number(number);
        }
        Ok(Draft::new(kept, loan.map(SharedLoan::new), given))
    }

    /// Publishes a frameset that was created, or a dict of arrays by the names of their streams, which are copied.
    #[pyo3(signature = (frames, *, timestamp=None, clock="system", number=None))]
    fn publish(
        &self,
        py: Python<'_>,
        frames: &Bound<'_, PyAny>,
        timestamp: Option<f64>,
        clock: &str,
        number: Option<u64>,
    ) -> PyResult<()> {
        if let Ok(made) = frames.cast::<Draft>() {
            return self.publish_draft(py, made.get());
        }
        let Ok(arrays) = frames.cast::<PyDict>() else {
            let given = frames.get_type().name()?;
            return Err(PyTypeError::new_err(format!(
                "`publish` takes a result of `create`, or a dict of arrays, not {given}"
            )));
        };
        let draft = self.create(py, &PyTuple::new(py, arrays.keys())?, timestamp, clock, number)?;
        for (stream, array) in arrays {
            draft.fill(py, stream.extract()?, &array)?;
        }
        self.publish_draft(py, &draft)
    }
}

impl CameraOutlet {
    fn publish_draft(&self, py: Python<'_>, draft: &Draft) -> PyResult<()> {
        self.output.with(py, |output| {
            if let Some(mut loan) = draft.take_loan()? {
                // The next number as of now: a frameset that is not published is not lost by the device.
                let next = || self.next_number.load(Ordering::Relaxed);
                let number = draft.number().unwrap_or_else(next);
                self.note_number(number);
                loan.set_number(number);
                output.publish(loan);
            }
            self.published.fetch_add(1, Ordering::Relaxed);
            Ok(())
        })
    }

    fn note_number(&self, number: u64) {
        self.next_number.store(number.wrapping_add(1), Ordering::Relaxed);
    }

    fn stream(&self, name: &str) -> PyResult<&StreamInfo> {
        self.streams.iter().find(|info| info.stream.name() == name).ok_or_else(|| {
            let names: Vec<_> = self.streams.iter().map(|info| format!("`{}`", info.stream)).collect();
            PyValueError::new_err(format!("`open` declared no stream `{name}`; it has: {}", names.join(", ")))
        })
    }
}

fn clock_named(name: &str) -> PyResult<Clock> {
    let all = [Clock::Hardware, Clock::Global, Clock::System];
    all.into_iter().find(|clock| clock.name() == name).ok_or_else(|| {
        PyValueError::new_err(format!(
            "unknown clock `{name}`; expected one of: `hardware`, `global`, `system`"
        ))
    })
}

/// Returns a time in seconds, by default that of the host, in nanoseconds.
fn nanos_of(seconds: Option<f64>) -> PyResult<u64> {
    let time = match seconds {
        Some(seconds) => Duration::try_from_secs_f64(seconds)
            .map_err(|fault| PyValueError::new_err(format!("`timestamp` is {seconds}: {fault}")))?,
        None => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
    };
    Ok(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}
