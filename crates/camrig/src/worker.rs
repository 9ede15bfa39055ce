//! A worker: a process started by the supervisor to host some of the actors.
//!
//! It receives commands on one channel and has no other knowledge of the rig. If that channel closes, the supervisor has
//! ended, and the worker exits: no orphan outlives its rig.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use camrig_ipc::ReceiveError;

use crate::console;
use crate::control::{ActorEvent, Setup, WorkerCommand};
use crate::hosted::{Arriving, Hosted};
use crate::logging;
use crate::registry::Registry;

/// Exit code of a worker that cannot continue.
const FAILURE: i32 = 1;

/// Ends a worker whose handshake failed: the supervisor has ended, or reports the end of this process. Without a supervisor the
/// error is printed.
pub(crate) fn refuse(error: &std::io::Error) -> ExitCode {
    if error.kind() == std::io::ErrorKind::NotConnected {
        console::print_error(error);
    }
    ExitCode::FAILURE
}

/// Runs as a worker until the supervisor commands the end, or has ended. The process then exits without waiting for actors.
pub(crate) fn run(registry: &Arc<Registry>, setup: Setup) -> ExitCode {
    logging::init(&setup.process);
    let mut hosted = None;
    std::process::exit(serve(registry, setup, &mut hosted, camrig_ipc::release_startup_memory))
}

/// Executes the supervisor's commands until the end, within a program that continues: the actors end too.
pub(crate) fn serve_within(registry: &Arc<Registry>, setup: Setup) {
    let mut hosted = None;
    serve(registry, setup, &mut hosted, || {});
    hosted.iter().for_each(Hosted::give_up);
}

/// Executes the supervisor's commands until the end, and returns the exit code. The actors are left in `hosted`. Calls `started`
/// when framesets begin to flow.
fn serve(registry: &Arc<Registry>, setup: Setup, hosted: &mut Option<Hosted>, started: impl Fn()) -> i32 {
    let Setup { commands, events, .. } = setup;
    // Actors report from their own threads; a sender is not `Sync`.
    let events = Arc::new(Mutex::new(events));
    let report = move |event: ActorEvent| {
        // Only fails if the supervisor has ended, which ends this process anyway.
        let _ = events.lock().unwrap_or_else(PoisonError::into_inner).send(event);
    };
    // The parts since the last start.
    let mut arriving: Option<Arriving> = None;
    loop {
        match commands.receive() {
            Ok(WorkerCommand::Host(part)) => {
                let arriving =
                    arriving.get_or_insert_with(|| hosted.as_mut().map(Hosted::arriving).unwrap_or_default());
                if let Err(error) = arriving.add(part) {
                    log::error!("the links of this process cannot be created: {error}");
                    return FAILURE;
                }
            }
            Ok(WorkerCommand::Start) => {
                if let Err(error) = start(arriving.take().unwrap_or_default(), registry, &report, hosted) {
                    log::error!("this process cannot start its actors: {error}");
                    return FAILURE;
                }
            }
            Ok(WorkerCommand::Unlink { from, link }) => {
                if let Some(hosted) = hosted {
                    hosted.unlink(from, link);
                }
            }
            Ok(WorkerCommand::Go) => {
                hosted.iter().for_each(Hosted::go);
                started();
            }
            Ok(WorkerCommand::StopCameras) => hosted.iter().for_each(Hosted::stop_cameras),
            Ok(WorkerCommand::Actor(actor, command)) => {
                if let Some(hosted) = hosted {
                    hosted.send(actor, command);
                }
            }
            Ok(WorkerCommand::Device(actor, request)) => {
                let number = request.number;
                if !hosted.as_ref().is_some_and(|hosted| hosted.call_device(actor, request)) {
                    let answer = Err("the camera has ended".to_owned());
                    report(ActorEvent::Answered { actor, number, answer });
                }
            }
            Ok(WorkerCommand::Relink { link, announcements, absence }) => {
                if let Some(hosted) = hosted {
                    hosted.relink(link, announcements, absence);
                }
            }
            Ok(WorkerCommand::Exit) => return 0,
            // The supervisor has ended.
            Err(ReceiveError::Disconnected) => return FAILURE,
            Err(error) => {
                log::error!("a command of the supervisor was lost: {error}");
                return FAILURE;
            }
        }
    }
}

/// Starts the actors of a process, or those that are added to it.
fn start(
    arriving: Arriving,
    registry: &Arc<Registry>,
    report: &(impl Fn(ActorEvent) + Clone + Send + 'static),
    hosted: &mut Option<Hosted>,
) -> std::io::Result<()> {
    if let Some(hosted) = hosted {
        return hosted.extend(arriving, registry, report.clone());
    }
    *hosted = Some(arriving.start(registry, report.clone())?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use camrig_ipc::protocol::LinkStart;
    use camrig_ipc::{ActorCounters, LinkState, Overflow, Receiver, Sender, channel};

    use super::*;
    use crate::control::{ActorPart, Part};
    use crate::ids::{ActorId, LinkId};
    use crate::processor::{NoOptions, Processor, ProcessorError};
    use crate::topology::Role;
    use crate::{FrameSet, ProcessorOutput};

    /// A longer wait fails the test.
    const WATCHDOG: Duration = Duration::from_secs(20);

    const ACTOR: ActorId = ActorId(3);

    struct Idle;

    impl Processor for Idle {
        fn process(&mut self, _: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
            Ok(())
        }
    }

    /// Serves as a worker on a thread; returns its commands, its events, and its exit code.
    fn worker() -> (Sender<WorkerCommand>, mpsc::Receiver<ActorEvent>, mpsc::Receiver<i32>) {
        let (sender, commands) = channel().unwrap();
        let (events, received): (_, Receiver<ActorEvent>) = channel().unwrap();
        let setup = Setup { process: "worker".to_owned(), commands, events };
        let registry = Registry::new().with_processor("idle", |_: NoOptions| Ok(Idle)).with_processor(
            "stuck",
            |_: NoOptions| -> Result<Idle, _> {
                loop {
                    std::thread::park();
                }
            },
        );
        let (exit, exits) = mpsc::sync_channel(4);
        std::thread::spawn(move || exit.send(serve(&Arc::new(registry), setup, &mut None, || {})));
        let (forward, forwarded) = mpsc::sync_channel(4);
        std::thread::spawn(move || {
            while let Ok(event) = received.receive() {
                forward.send(event).unwrap();
            }
        });
        (sender, forwarded, exits)
    }

    fn host(kind: &str) -> WorkerCommand {
        let actor = ActorPart {
            id: ACTOR,
            name: kind.to_owned(),
            rig: "rig".to_owned(),
            topology: String::new(),
            role: Role::Processor { kind: kind.to_owned() },
            options: String::new(),
            timeline: None,
            thread: None,
            slots: 2,
            reset: false,
            framesets: None,
            stall_timeout_millis: None,
            calibrated: None,
        };
        let counters = ActorCounters::new().unwrap().share().unwrap();
        WorkerCommand::Host(Part::Actor { actor: Box::new(actor), counters })
    }

    #[test]
    fn a_worker_hosts_its_actors_until_the_command_to_exit() {
        let (commands, events, exit) = worker();
        commands.send(host("idle")).unwrap();
        commands.send(WorkerCommand::Start).unwrap();
        assert_eq!(events.recv_timeout(WATCHDOG), Ok(ActorEvent::Ready { actor: ACTOR }));
        assert_eq!(events.recv_timeout(WATCHDOG), Ok(ActorEvent::Finished { actor: ACTOR }));
        commands.send(WorkerCommand::Exit).unwrap();
        assert_eq!(exit.recv_timeout(WATCHDOG), Ok(0));
    }

    #[test]
    fn a_worker_ends_with_its_supervisor_even_if_its_actors_are_busy() {
        let (commands, _events, exit) = worker();
        commands.send(host("stuck")).unwrap();
        commands.send(WorkerCommand::Start).unwrap();
        drop(commands);
        assert_eq!(exit.recv_timeout(WATCHDOG), Ok(FAILURE));
    }

    #[test]
    fn a_worker_ends_at_a_part_that_it_cannot_use() {
        let (commands, _events, exit) = worker();
        let link_state = LinkState::new().unwrap().share().unwrap();
        let overflow = Overflow::Block;
        let (link, producer, joining) = (LinkId(0), String::new(), LinkStart::default());
        let link =
            Part::Local { link, from: ACTOR, producer, to: None, link_state, overflow, queue: 1, joining };
        commands.send(WorkerCommand::Host(link)).unwrap();
        assert_eq!(exit.recv_timeout(WATCHDOG), Ok(FAILURE));
    }
}
