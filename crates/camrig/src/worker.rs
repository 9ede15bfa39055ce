//! A worker: a process that the supervisor started to host some of the actors.
//!
//! It hears orders on one channel and knows nothing else of the rig. When that channel closes, the
//! supervisor is gone, and so is the worker: no orphan outlives its rig.

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use ipc_channel::ipc::{IpcSender, channel};

use crate::control::{ActorEvent, Answer, Order};
use crate::host::{Host, Hosted};
use crate::logging;
use crate::registry::Registry;

/// The environment variable that makes a program a worker: the name of the supervisor's one-shot server.
pub(crate) const SERVER_VARIABLE: &str = "CAMRIG_WORKER";

/// The environment variable with the name of the worker's process.
pub(crate) const PROCESS_VARIABLE: &str = "CAMRIG_PROCESS";

/// Lives as a worker until the supervisor orders the end, or is gone.
pub(crate) fn run(registry: &Arc<Registry>, server: &str, process: &str) -> ExitCode {
    logging::init(process);
    let Some(answers) = connect(server) else { return ExitCode::FAILURE };
    let Ok((orders_sender, orders)) = channel() else { return ExitCode::FAILURE };
    if answers.send(Answer::Hello(orders_sender)).is_err() {
        return ExitCode::FAILURE;
    }
    // Actors report from their own threads; `IpcSender` is not `Sync`.
    let answers = Arc::new(Mutex::new(answers));
    let report = move |event: ActorEvent| {
        // Fails only when the supervisor is gone, which ends this process anyway.
        let _ = answers.lock().unwrap_or_else(PoisonError::into_inner).send(Answer::Actor(event));
    };
    let mut host = Host::default();
    let mut hosted = None;
    loop {
        match orders.recv() {
            Ok(Order::Host(part)) => {
                if let Err(error) = host.add(part) {
                    log::error!("this process cannot be wired: {error}");
                    return ExitCode::FAILURE;
                }
            }
            Ok(Order::Start) => hosted = Some(std::mem::take(&mut host).start(registry, report.clone())),
            Ok(Order::Go) => hosted.iter().for_each(Hosted::go),
            Ok(Order::StopCameras) => hosted.iter().for_each(Hosted::stop_cameras),
            Ok(Order::Exit) => std::process::exit(0),
            // The supervisor is gone: end at once, whatever the actors do.
            Err(_) => std::process::exit(1),
        }
    }
}

/// Connects to the supervisor, and clears away the socket's folder in its place: a supervisor that was
/// killed meanwhile leaves that to nobody else.
fn connect(server: &str) -> Option<IpcSender<Answer>> {
    let answers = IpcSender::connect(server.to_owned());
    let listens = !answers.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused);
    if answers.is_ok() || !listens {
        let _ = std::fs::remove_file(server);
        if let Some(folder) = Path::new(server).parent() {
            // Fails when it is gone already, or when it is not the empty folder that it should be.
            let _ = std::fs::remove_dir(folder);
        }
    }
    answers.ok()
}
