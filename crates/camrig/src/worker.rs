//! A worker: a process started by the supervisor to host some of the actors.
//!
//! It receives orders on one channel and has no other knowledge of the rig. If that channel closes, the supervisor has
//! ended, and the worker exits: no orphan outlives its rig.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use camrig_ipc::ReceiveError;

use crate::control::{ActorEvent, Setup, WorkerCommand};
use crate::host::{Host, Hosted};
use crate::logging;
use crate::registry::Registry;

/// Runs as a worker until the supervisor orders the end, or has ended.
pub(crate) fn run(registry: &Arc<Registry>, setup: Setup) -> ExitCode {
    let Setup { process, commands, events } = setup;
    logging::init(&process);
    // Actors report from their own threads; a sender is not `Sync`.
    let events = Arc::new(Mutex::new(events));
    let report = move |event: ActorEvent| {
        // Only fails if the supervisor has ended, which ends this process anyway.
        let _ = events.lock().unwrap_or_else(PoisonError::into_inner).send(event);
    };
    let mut host = Host::default();
    let mut hosted = None;
    loop {
        match commands.receive() {
            Ok(WorkerCommand::Host(part)) => {
                if let Err(error) = host.add(part) {
                    log::error!("this process cannot be wired: {error}");
                    return ExitCode::FAILURE;
                }
            }
            Ok(WorkerCommand::Start) => match std::mem::take(&mut host).start(registry, report.clone()) {
                Ok(started) => hosted = Some(started),
                Err(error) => {
                    log::error!("this process cannot start its actors: {error}");
                    return ExitCode::FAILURE;
                }
            },
            Ok(WorkerCommand::Go) => hosted.iter().for_each(Hosted::go),
            Ok(WorkerCommand::StopCameras) => hosted.iter().for_each(Hosted::stop_cameras),
            Ok(WorkerCommand::Actor(actor, command)) => {
                if let Some(hosted) = &hosted {
                    hosted.send(actor, command);
                }
            }
            Ok(WorkerCommand::Relink { link, announcements, absence }) => {
                if let Some(hosted) = &hosted {
                    hosted.relink(link, announcements, absence);
                }
            }
            Ok(WorkerCommand::Exit) => std::process::exit(0),
            // The supervisor has ended: exit immediately, whatever the actors do.
            Err(ReceiveError::Disconnected) => std::process::exit(1),
            Err(error) => {
                log::error!("a command of the supervisor is lost: {error}");
                std::process::exit(1);
            }
        }
    }
}
