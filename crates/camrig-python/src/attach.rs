//! Loops of this interpreter over framesets of a rig that another program runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use camrig::status::control::{self, Answer, Edit, Edits, Request};
use camrig::status::{ActorRole, RigStatus, socket};
use camrig::{Attached, Control, Joining};
use pyo3::prelude::*;

use crate::errors::error;
use crate::feed::{Loops, Reader};
use crate::logs;
use crate::processor::{AnyOptions, stock};

/// A rig that another program runs.
#[pyclass(name = "Attached", frozen, module = "camrig._camrig")]
pub(crate) struct PyAttached {
    /// The name of its status socket.
    rig: String,
    /// The origin of changes, for the log and the report.
    by: String,
    loops: Loops,
    joined: Mutex<Vec<Arc<Attached>>>,
}

impl PyAttached {
    fn joined(&self) -> MutexGuard<'_, Vec<Arc<Attached>>> {
        self.joined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_status(&self, py: Python<'_>) -> PyResult<RigStatus> {
        py.detach(|| socket::read(&self.rig)).map_err(asked)
    }

    fn ask(&self, py: Python<'_>, request: &Request) -> PyResult<Answer> {
        match py.detach(|| control::ask(&self.rig, request)).map_err(asked)? {
            Answer::Refused { message, .. } | Answer::Failed { message } => Err(error(message)),
            answer => Ok(answer),
        }
    }

    fn device(&self, py: Python<'_>, camera: &str) -> PyResult<Vec<Control>> {
        match self.ask(py, &Request::Controls { camera: camera.to_owned(), to_set: false })? {
            Answer::Controls(answer) => answer.map_err(error),
            _ => Err(asked("it has answered another request")),
        }
    }
}

fn asked(fault: impl std::fmt::Display) -> PyErr {
    error(format_args!("the rig cannot be asked: {fault}"))
}

#[pymethods]
impl PyAttached {
    #[new]
    #[pyo3(signature = (wanted=None))]
    fn new(py: Python<'_>, wanted: Option<&str>) -> PyResult<Self> {
        logs::start();
        let rig = py.detach(|| socket::find(wanted)).map_err(error)?;
        let by = format!("`camrig.attach` (process {})", std::process::id());
        Ok(Self { rig, by, loops: Loops::default(), joined: Mutex::default() })
    }

    /// The names of the cameras and of the processors.
    fn actors(&self, py: Python<'_>) -> PyResult<(Vec<String>, Vec<String>)> {
        let status = self.read_status(py)?;
        let cameras = status.cameras().map(|camera| camera.plain_name().to_owned());
        let processors = status.actors.iter().filter(|actor| actor.role == ActorRole::Processor);
        Ok((cameras.collect(), processors.map(|actor| actor.name.clone()).collect()))
    }

    /// Adds a loop over the framesets, or the matches, of these actors. `command` starts the worker that hands its setup over.
    fn read(
        &self,
        py: Python<'_>,
        name: String,
        inputs: Vec<String>,
        settings: Vec<(String, String)>,
        command: Vec<String>,
    ) -> PyResult<Reader> {
        let shared = self.loops.add(&name)?;
        let registry = self.loops.register::<AnyOptions>(stock(), Attached::KIND);
        let joining = Joining { name: name.clone(), inputs, settings, command, by: self.by.clone() };
        let joined = py.detach(|| Attached::join(&self.rig, &registry, joining));
        let joined = Arc::new(joined.map_err(error).inspect_err(|_| self.loops.remove(&name))?);
        self.joined().push(Arc::clone(&joined));
        Ok(Reader::new(name, shared, Box::new(move || Ok(joined.is_over()))))
    }

    /// Removes the actor of a loop that has ended, and waits until the rig has done so.
    fn leave(&self, py: Python<'_>, name: &str) {
        let left = {
            let mut joined = self.joined();
            let place = joined.iter().position(|attached| attached.name() == name);
            place.map(|place| joined.swap_remove(place))
        };
        // An error means that the rig has ended.
        py.detach(|| left.map(|attached| attached.leave()));
        self.loops.remove(name);
    }

    /// Ends every loop, and leaves the rig.
    fn close(&self, py: Python<'_>) {
        py.detach(|| {
            self.loops.close();
            let joined = std::mem::take(&mut *self.joined());
            for attached in joined {
                // An error means that the rig has ended.
                let _ = attached.leave();
            }
        });
    }

    /// The topology as the text of a file.
    fn topology(&self, py: Python<'_>) -> PyResult<String> {
        match self.ask(py, &Request::Topology)? {
            Answer::Topology { text, .. } => Ok(text),
            _ => Err(asked("it has answered another request")),
        }
    }

    /// The status as JSON.
    fn status(&self, py: Python<'_>) -> PyResult<String> {
        serde_json::to_string(&self.read_status(py)?).map_err(error)
    }

    /// The options of a camera's device as JSON.
    fn controls(&self, py: Python<'_>, camera: &str) -> PyResult<String> {
        serde_json::to_string(&self.device(py, camera)?).map_err(error)
    }

    /// Sets an option of a camera's device to a value of JSON; returns the value that it has then as JSON.
    fn set(&self, py: Python<'_>, camera: &str, option: &str, value: &str) -> PyResult<String> {
        self.device(py, camera)?;
        let settings = vec![(option.to_owned(), value.to_owned())];
        let edits = vec![Edit::Set { name: camera.to_owned(), settings }];
        let edits = Edits { edits, live: true, by: self.by.clone(), ..Edits::default() };
        self.ask(py, &Request::Edit(edits))?;
        let controls = self.device(py, camera)?;
        let set = controls.into_iter().find(|control| control.name == option);
        serde_json::to_string(&set.and_then(|control| control.value)).map_err(error)
    }
}
