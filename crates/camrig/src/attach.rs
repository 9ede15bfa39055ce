//! A processor of this program in a rig that another program runs.
//!
//! The supervisor of the rig starts a worker for it, which [hands over](hand_over_worker) its setup to this program. So
//! the processor gets links as any other: the rig counts it, pixels are not copied, and the others do not wait for it. As
//! that of `camrig attach`, it leaves when its connection to the rig closes, however this program ends.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use camrig_ipc::handover::{Handover, hand_over};
use camrig_ipc::{handshake, spawn_thread};
use camrig_status::control::{self, Answer, Attach, AttachedConnection};

use crate::control::Setup;
use crate::registry::Registry;
use crate::stock::attached;
use crate::worker;

/// Maximum time in which the rig ends the worker of a program that has ended.
const REMOVAL_TIME: Duration = Duration::from_secs(30);

/// The first argument of a worker that hands its setup over, if the `main` of the program is that of an [`App`](crate::App).
#[cfg(feature = "program")]
const HAND_OVER: &str = "hand-over";

/// A processor of this program in a rig that another program runs.
pub struct Attached {
    name: String,
    /// `None` when it has left.
    connection: Mutex<Option<AttachedConnection>>,
    is_over: Arc<AtomicBool>,
}

/// A processor that joins a rig.
pub struct Joining {
    /// The name of the processor, and of its process.
    pub name: String,
    /// The names of the actors that it reads.
    pub inputs: Vec<String>,
    /// Keys, each with the text of its value.
    pub settings: Vec<(String, String)>,
    /// The program of the worker and its arguments; one is added, which is that of [`hand_over_worker`].
    pub command: Vec<String>,
    /// The origin of the change, for the log and the report.
    pub by: String,
}

impl Attached {
    /// The kind of such processors: `registry` of [`Self::join`] has it.
    pub const KIND: &str = attached::KIND;

    /// Adds a processor to the rig whose status socket is called `rig`, and waits until it is ready.
    ///
    /// # Errors
    /// A message if the rig refuses it, or has ended.
    pub fn join(rig: &str, registry: &Registry, joining: Joining) -> Result<Self, String> {
        let Joining { name, inputs, settings, mut command, by } = joining;
        let place = Handover::<Setup>::open().map_err(|error| error.to_string())?;
        let place_name = place.name().to_owned();
        command.push(place_name.clone());
        let own = [("command", toml::Value::from(command)), ("stall_timeout_millis", 0.into())];
        let own = own.into_iter().map(|(key, value)| (key.to_owned(), value.to_string()));
        // The supervisor starts no further worker: its name would be that of a place that is closed.
        let own = own.chain([("restart.max".to_owned(), "0".to_owned())]);
        let settings = own.chain(settings).collect();
        let kind = Self::KIND.to_owned();
        let attach = Attach { name: name.clone(), kind, inputs, settings, program: Vec::new(), by };
        let is_over = Arc::new(AtomicBool::new(false));
        let (registry, over) = (Arc::new(registry.clone()), Arc::clone(&is_over));
        let serve = move || {
            // An error means that the worker has ended meanwhile.
            if let Ok(Some((setup, ended))) = place.take() {
                worker::serve_within(&registry, setup);
                // Fails only if the worker has ended.
                let _ = ended.send(());
            }
            over.store(true, Ordering::Release);
        };
        spawn_thread(&name, serve).map_err(|error| error.to_string())?;
        let added = match control::attach(rig, attach) {
            Ok((_, Some(connection))) => Ok(connection),
            Ok((answer, None)) => Err(refused(answer)),
            Err(error) => Err(unanswered(&error)),
        };
        let connection = added.inspect_err(|_| Handover::<Setup>::close(&place_name))?;
        Ok(Self { name, connection: Mutex::new(Some(connection)), is_over })
    }

    /// Returns the name of the processor.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether the processor has ended.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Removes the processor from the rig, and waits until it has ended.
    ///
    /// # Errors
    /// A message if the rig refuses it, or has ended.
    pub fn leave(&self) -> Result<(), String> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(connection) = connection else { return Ok(()) };
        match connection.leave().map_err(|error| unanswered(&error))? {
            Answer::Changes(_) => Ok(()),
            answer => Err(refused(answer)),
        }
    }
}

/// Serves as the worker of an [attached](Attached) processor, by handing over to the program at `place`; returns the exit
/// code, and `None` in a process that was not started as a worker.
pub fn hand_over_worker(place: &str) -> Option<ExitCode> {
    let setup = match handshake::accept::<Setup>()? {
        Ok(setup) => setup,
        Err(error) => return Some(worker::refuse(&error)),
    };
    let Ok(ended) = hand_over(place, setup) else { return Some(ExitCode::FAILURE) };
    if ended.receive().is_err() {
        // The program has ended. The rig removes its processor, and ends this process.
        std::thread::sleep(REMOVAL_TIME);
    }
    Some(ExitCode::SUCCESS)
}

/// Returns the [`Joining::command`] of this program, whose `main` is that of an [`App`](crate::App).
///
/// # Errors
/// If the program's path is unknown, or not UTF-8.
#[cfg(feature = "program")]
pub fn hand_over_command() -> std::io::Result<Vec<String>> {
    let program = std::env::current_exe()?.into_os_string().into_string();
    let program = program.map_err(|_| std::io::Error::other("the path of this program is not UTF-8"))?;
    Ok(vec![program, HAND_OVER.to_owned()])
}

/// As [`hand_over_worker`] if the arguments of this process are those of [`hand_over_command`]; `None` otherwise.
#[cfg(feature = "program")]
pub(crate) fn hand_over_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != HAND_OVER {
        return None;
    }
    hand_over_worker(&arguments.next()?.into_string().ok()?)
}

fn unanswered(error: &std::io::Error) -> String {
    format!("the rig cannot be asked: {error}")
}

/// Returns why a rig has refused a request.
fn refused(answer: Answer) -> String {
    match answer {
        Answer::Refused { message, .. } | Answer::Failed { message } => message,
        _ => "the rig has answered another request".to_owned(),
    }
}
