//! Rigs that this interpreter runs: the supervisor and the actors of process `main` are threads of it.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use camrig::status::control::{Answer, Edit, Edits, Request};
use camrig::{ControlValue, Registry, Rig, RigHandle, RunningRig, edit_topology};
use pyo3::prelude::*;

use crate::errors::error;
use crate::feed::{KIND, LoopOptions, Loops, Reader};
use crate::logs::{self, BY};
use crate::processor::stock;

/// Interval at which a wait checks for signals.
const LOOK: Duration = Duration::from_millis(20);

/// The process of a rig's supervisor.
const MAIN: &str = "main";

/// A rig of this interpreter: planned, running, or over.
#[pyclass(name = "Rig", frozen, module = "camrig._camrig")]
pub(crate) struct PyRig {
    name: String,
    registry: Registry,
    loops: Loops,
    limits: Limits,
    /// The topology that `start` starts: loops are added to it before. `None` from then on.
    planned: Arc<Mutex<Option<String>>>,
    running: Mutex<Option<RunningRig>>,
    /// Set by `start`.
    handle: Arc<OnceLock<RigHandle>>,
    /// Held during a change: the supervisor refuses a second one.
    changing: Arc<Mutex<()>>,
    report: OnceLock<String>,
}

#[derive(Clone, Copy, Default)]
struct Limits {
    framesets: Option<u64>,
    time: Option<Duration>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The error of a request to a rig that is not running yet.
fn not_started() -> PyErr {
    error("the rig is not started: use `with camrig.Rig(...) as rig`")
}

/// Changes a rig that runs, as another program would: changes of others meanwhile stay.
fn change(handle: &RigHandle, edit: Edit) -> Result<(), String> {
    let edits = Edits { edits: vec![edit], by: BY.to_owned(), ..Edits::default() };
    match handle.answer(Request::Edit(edits)) {
        Answer::Refused { message, .. } | Answer::Failed { message } => Err(message),
        _ => Ok(()),
    }
}

impl PyRig {
    fn handle(&self) -> PyResult<&RigHandle> {
        self.handle.get().ok_or_else(not_started)
    }

    fn rig(&self, text: &str) -> PyResult<Rig> {
        Rig::parse(&self.name, text, None, &self.registry).map_err(error)
    }

    /// Changes the topology that is planned, or runs.
    fn edit(&self, edit: Edit) -> PyResult<()> {
        if let Some(planned) = lock(&self.planned).as_mut() {
            *planned = edit_topology(planned, &edit).map_err(error)?;
            return Ok(());
        }
        let handle = self.handle()?;
        let _changing = lock(&self.changing);
        change(handle, edit).map_err(error)
    }

    fn text(&self) -> PyResult<String> {
        let planned = lock(&self.planned).clone();
        planned.map_or_else(|| self.handle()?.topology().map_err(error), Ok)
    }

    /// Starts the rig in a thread of its own, since scripts are imported to check them: a signal ends the wait. A rig
    /// that starts after that ends immediately.
    fn start_checked(&self, py: Python<'_>, text: &str) -> PyResult<RunningRig> {
        let rig = py.detach(|| self.rig(text))?;
        let rig = self.limits.time.into_iter().fold(rig, Rig::stop_after);
        let rig = self.limits.framesets.into_iter().fold(rig, Rig::stop_after_framesets);
        // Without a place to wait in: the thread keeps a rig that nobody takes, and drops it.
        let (sender, started) = sync_channel(0);
        let start = move || {
            let _ = sender.send(rig.start().map_err(|fault| fault.to_string()));
        };
        camrig_ipc::spawn_thread("start", start).map_err(error)?;
        let started = Mutex::new(started);
        loop {
            match py.detach(|| lock(&started).recv_timeout(LOOK)) {
                Ok(started) => return started.map_err(error),
                Err(RecvTimeoutError::Timeout) => py.check_signals()?,
                Err(fault @ RecvTimeoutError::Disconnected) => return Err(error(fault)),
            }
        }
    }
}

#[pymethods]
impl PyRig {
    #[new]
    #[pyo3(signature = (name, text, worker, framesets, seconds))]
    fn new(
        name: String,
        text: String,
        worker: Vec<String>,
        framesets: Option<u64>,
        seconds: Option<f64>,
    ) -> PyResult<Self> {
        let loops = Loops::default();
        let (program, arguments) = worker.split_first().ok_or_else(|| error("workers need a command"))?;
        camrig::set_interpreter(program.into());
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let registry = loops.register::<LoopOptions>(stock(), KIND).with_options::<LoopOptions>(KIND);
        let registry = registry.with_worker_command(program, &arguments);
        let seconds = seconds.map(Duration::try_from_secs_f64).transpose();
        let time = seconds.map_err(|fault| error(format_args!("`seconds`: {fault}")))?;
        Ok(Self {
            name,
            registry,
            loops,
            limits: Limits { framesets, time },
            planned: Arc::new(Mutex::new(Some(text))),
            running: Mutex::default(),
            handle: Arc::default(),
            changing: Arc::default(),
            report: OnceLock::new(),
        })
    }

    /// Checks the topology, starts the rig, and waits until its framesets flow, or it has ended.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        logs::start();
        let text = lock(&self.planned).take().ok_or_else(|| error("the rig was started already"))?;
        let running = self.start_checked(py, &text).inspect_err(|_| *lock(&self.planned) = Some(text))?;
        let handle = running.handle();
        *lock(&self.running) = Some(running);
        let handle = self.handle.get_or_init(|| handle);
        while py.detach(|| handle.status().seconds == 0.0 && !handle.wait_timeout(LOOK)) {
            py.check_signals()?;
        }
        Ok(())
    }

    /// Adds a loop over the framesets, or the matches, of these actors.
    #[pyo3(signature = (name, inputs, settings))]
    fn read(
        &self,
        py: Python<'_>,
        name: String,
        inputs: Vec<String>,
        settings: Vec<(String, String)>,
    ) -> PyResult<Reader> {
        let shared = self.loops.add(&name)?;
        let own = [("process", MAIN), ("stall_timeout_millis", "0")];
        let own = own.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let settings = own.into_iter().chain(settings).collect();
        let edit = Edit::Add { name: name.clone(), kind: KIND.to_owned(), inputs, settings };
        py.detach(|| self.edit(edit)).inspect_err(|_| self.loops.remove(&name))?;
        let (planned, handle) = (Arc::clone(&self.planned), Arc::clone(&self.handle));
        let is_over = move || match handle.get() {
            Some(handle) => Ok(handle.wait_timeout(Duration::ZERO)),
            None if lock(&planned).is_some() => Err(not_started()),
            None => Ok(false),
        };
        Ok(Reader::new(name, shared, Box::new(is_over)))
    }

    /// Removes the actor of a loop that has ended, without waiting for it.
    fn leave(&self, name: String) {
        let (Some(handle), changing) = (self.handle.get().cloned(), Arc::clone(&self.changing)) else {
            return;
        };
        let remove = move || {
            let _changing = lock(&changing);
            // A rig that stops ends it too.
            let _ = change(&handle, Edit::Remove { name });
        };
        // Without a thread the actor stays, and discards its input.
        let _ = camrig_ipc::spawn_thread("leave", remove);
    }

    /// The names of the cameras and of the processors.
    fn actors(&self, py: Python<'_>) -> PyResult<(Vec<String>, Vec<String>)> {
        let text = py.detach(|| self.text())?;
        let table: camrig::toml::Table = text.parse().map_err(error)?;
        let of = |role: &str| {
            let table = table.get(role).and_then(camrig::toml::Value::as_table);
            table.into_iter().flat_map(|table| table.keys().cloned()).collect()
        };
        Ok((of("camera"), of("processor")))
    }

    /// The topology as the text of a file.
    fn topology(&self, py: Python<'_>) -> PyResult<String> {
        py.detach(|| self.text())
    }

    /// Changes the running rig to another topology; returns the changes.
    fn apply(&self, py: Python<'_>, text: &str) -> PyResult<Vec<String>> {
        let handle = self.handle()?;
        py.detach(|| {
            let _changing = lock(&self.changing);
            handle.apply(&self.rig(text)?, BY).map_err(error)
        })
    }

    /// The status as JSON.
    fn status(&self, py: Python<'_>) -> PyResult<String> {
        let handle = self.handle()?;
        let status = py.detach(|| handle.status());
        serde_json::to_string(&status).map_err(error)
    }

    /// The options of a camera's device as JSON.
    fn controls(&self, py: Python<'_>, camera: &str) -> PyResult<String> {
        let handle = self.handle()?;
        let controls = py.detach(|| handle.controls(camera)).map_err(error)?;
        serde_json::to_string(&controls).map_err(error)
    }

    /// Sets an option of a camera's device to a value of JSON; returns the value that it has then as JSON.
    fn set(&self, py: Python<'_>, camera: &str, option: &str, value: &str) -> PyResult<String> {
        let handle = self.handle()?;
        let value: ControlValue = serde_json::from_str(value).map_err(error)?;
        let control = py.detach(|| handle.set(camera, option, value)).map_err(error)?;
        serde_json::to_string(&control.and_then(|control| control.value)).map_err(error)
    }

    /// Ends every loop.
    fn close_loops(&self, py: Python<'_>) {
        py.detach(|| self.loops.close());
    }

    /// Stops the rig in order; the second call ends it immediately. Returns whether it was started.
    #[pyo3(signature = (*, now=false))]
    fn stop(&self, py: Python<'_>, now: bool) -> bool {
        let Some(handle) = self.handle.get() else { return false };
        py.detach(|| if now { handle.interrupt() } else { handle.stop() });
        true
    }

    /// Waits until the rig has ended, and returns its report as JSON; `None` after `timeout` seconds.
    #[pyo3(signature = (timeout=None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<Option<String>> {
        let handle = self.handle()?;
        let until = timeout.map(|timeout| Instant::now() + Duration::from_secs_f64(timeout.clamp(0.0, 1e9)));
        while !py.detach(|| handle.wait_timeout(LOOK)) {
            py.check_signals()?;
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(None);
            }
        }
        py.detach(|| {
            // The lock keeps a second thread here until the report is there.
            let mut running = lock(&self.running);
            if let Some(running) = running.take() {
                let report = serde_json::to_string(&running.wait()).map_err(error)?;
                let _ = self.report.set(report);
            }
            Ok(self.report.get().cloned())
        })
    }
}

/// A rig to which no reference is left is stopped in order. The other threads of the interpreter continue.
impl Drop for PyRig {
    fn drop(&mut self) {
        self.loops.close();
        let running = lock(&self.running).take();
        if running.is_some() {
            // Without an interpreter, `running` is dropped as well.
            Python::try_attach(|py| py.detach(|| drop(running)));
        }
    }
}

/// Returns a table of JSON as TOML.
#[pyfunction]
pub(crate) fn to_toml(json: &str) -> PyResult<String> {
    let table: camrig::toml::Table = serde_json::from_str(json)
        .map_err(|fault| error(format_args!("a topology has a value that TOML cannot hold: {fault}")))?;
    Ok(table.to_string())
}
