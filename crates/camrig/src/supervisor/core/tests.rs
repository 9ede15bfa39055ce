//! Decisions about actors that are not ready, event by event.

use super::*;
use crate::control::ActorCommand;
use crate::failure::Failure;
use crate::late::{Late, START_TIME_MIN};

const CAMERA: ActorId = ActorId(0);
const READER: ActorId = ActorId(1);
const WORKER: ProcessId = ProcessId(1);
const START_TIMEOUT: Duration = Duration::from_secs(2);
const MILLI: Duration = Duration::from_millis(1);

/// A camera in a process of its own, and a reader in the supervisor's, without a time-out for its start.
struct Run {
    core: Core,
    now: Instant,
}

impl Run {
    fn new(time: Option<Duration>) -> Self {
        let now = Instant::now();
        let actor = |name: &str, process, start_timeout| ActorSetup {
            name: name.to_owned(),
            is_camera: process == WORKER,
            relays: false,
            is_guest: name == "guest",
            process,
            thread: None,
            restart: RestartPolicy {
                max: 1,
                window: Duration::from_secs(60),
                backoff: MILLI,
                backoff_max: MILLI,
                device_timeout: Duration::ZERO,
            },
            stall_timeout: None,
            start_timeout,
        };
        let setup = Setup {
            actors: vec![actor("eye", WORKER, Some(START_TIMEOUT)), actor("sum", ProcessId::MAIN, None)],
            processes: vec!["main".to_owned(), "eye".to_owned()],
            limits: RunLimits { time, framesets: None },
        };
        let mut run = Self { core: Core::new(setup, now), now };
        run.core.begin(now);
        run
    }

    fn on(&mut self, event: Event) -> Vec<Command> {
        self.core.on(event, self.now)
    }

    fn observe_after(&mut self, time: Duration) -> Vec<Command> {
        self.now += time;
        self.on(Event::Observed(Observation::default()))
    }
}

fn failed(actor: ActorId, late: Late) -> Command {
    Command::Log(Notice::Failed {
        actor,
        message: late.to_string(),
        decision: policy::Decision::GiveUp(None),
    })
}

#[test]
fn an_actor_that_is_never_ready_ends_the_start_after_its_time_out() {
    let mut run = Run::new(None);
    run.on(Event::Connected(WORKER));
    run.on(Event::Ready(ProcessId::MAIN, READER));
    assert_eq!(run.observe_after(START_TIMEOUT.saturating_sub(MILLI)), []);
    assert_eq!(
        run.observe_after(MILLI),
        [
            failed(CAMERA, Late::Actor(START_TIMEOUT)),
            Command::SetState(CAMERA, ActorState::Failed),
            Command::Actor(CAMERA, ActorCommand::GiveUp),
            Command::StopCameras,
            Command::Kill(WORKER),
        ]
    );
    run.on(Event::Finished(ProcessId::MAIN, READER));
    run.on(Event::Exited(WORKER, "was killed".to_owned()));
    assert_eq!((run.core.is_over(), run.core.exit()), (true, Exit::Failed));
}

/// Without a time-out of its own, and with an in-process actor, which nothing can end.
#[test]
fn a_limited_running_time_bounds_the_start() {
    let mut run = Run::new(Some(Duration::from_secs(1)));
    run.on(Event::Connected(WORKER));
    run.on(Event::Ready(WORKER, CAMERA));
    assert_eq!(run.observe_after(START_TIME_MIN.saturating_sub(MILLI)), []);
    let commands = run.observe_after(MILLI);
    assert_eq!(commands[0], failed(READER, Late::Rig(START_TIME_MIN)));
    assert!(!commands.contains(&Command::Kill(WORKER)) && commands.contains(&Command::StopCameras));
    run.on(Event::Finished(WORKER, CAMERA));
    run.on(Event::Exited(WORKER, "exited".to_owned()));
    assert_eq!((run.core.is_over(), run.core.exit()), (true, Exit::Failed));
}

#[test]
fn the_process_of_an_actor_that_is_not_ready_again_is_replaced() {
    let mut run = Run::new(None);
    run.on(Event::Connected(WORKER));
    run.on(Event::Ready(WORKER, CAMERA));
    run.on(Event::Ready(ProcessId::MAIN, READER));
    assert!(run.observe_after(Duration::ZERO).contains(&Command::Go));
    run.on(Event::Failed(WORKER, CAMERA, Failure::new("broken")));
    let restart = Command::Actor(CAMERA, ActorCommand::Restart { reset: false });
    assert_eq!(run.observe_after(MILLI), [restart]);
    assert_eq!(run.observe_after(START_TIMEOUT.saturating_sub(MILLI)), []);
    let late = Command::Log(Notice::NotReady { actor: CAMERA, late: Late::Actor(START_TIMEOUT) });
    assert_eq!(run.observe_after(MILLI), [late, Command::Kill(WORKER)]);
    assert_eq!(run.observe_after(START_TIMEOUT), []);
}

/// The death of the process is a failure of the actors that it was running, not of one that waits for its restart.
#[test]
fn an_actor_without_an_instance_does_not_fail_with_its_process() {
    for (unavailable, waits) in [(false, ActorState::Restarting), (true, ActorState::WaitingForDevice)] {
        let mut run = Run::new(None);
        for actor in &mut run.core.setup.actors {
            actor.process = WORKER;
        }
        for actor in &mut run.core.actors {
            actor.recovery = Recovery::new(
                RestartPolicy { device_timeout: START_TIMEOUT, ..run.core.setup.actors[0].restart },
                true,
            );
        }
        run.on(Event::Connected(WORKER));
        run.on(Event::Ready(WORKER, CAMERA));
        run.on(Event::Ready(WORKER, READER));
        run.observe_after(Duration::ZERO);
        let failure = Failure { unavailable, ..Failure::new("broken") };
        run.on(Event::Failed(WORKER, CAMERA, failure));
        run.on(Event::Exited(WORKER, "was killed".to_owned()));
        let states = [CAMERA, READER].map(|id| (run.core.actor(id).state, run.core.actor(id).errors.len()));
        assert_eq!(states, [(waits, 1), (ActorState::Restarting, 1)]);
        // Both begin with the next process.
        let started = run.observe_after(MILLI);
        assert_eq!(started, [Command::StartProcess(WORKER)]);
        let begun = run.on(Event::Connected(WORKER));
        let both = vec![(CAMERA, false), (READER, false)];
        let begin = Command::Begin { process: WORKER, actors: both, go: true, stop_cameras: false };
        assert_eq!(begun, [begin]);
        // A process that does not start is a failure of both.
        let mut run = Run::new(None);
        run.on(Event::NotStarted(WORKER, "no memory".to_owned()));
        assert_eq!(run.core.actor(CAMERA).state, ActorState::Failed);
    }
}

/// Its readers on the same thread could not continue without the process either.
#[test]
fn the_process_of_a_stalled_thread_is_replaced_with_all_its_actors() {
    for (thread, replaced) in [(Some("eye"), true), (Some("other"), false), (None, false)] {
        let mut run = Run::new(None);
        run.core.setup.actors[READER.index()].process = WORKER;
        for (actor, thread) in [(CAMERA, Some("eye")), (READER, thread)] {
            run.core.setup.actors[actor.index()].thread = thread.map(str::to_owned);
        }
        assert_eq!(run.core.replace(CAMERA), replaced, "{thread:?}");
    }
}

#[test]
fn a_paused_camera_does_not_stall_and_is_paused_again_after_a_restart() {
    let mut run = Run::new(None);
    run.core.setup.actors[0].stall_timeout = Some(START_TIMEOUT);
    run.on(Event::Connected(WORKER));
    run.on(Event::Ready(ProcessId::MAIN, READER));
    run.on(Event::Ready(WORKER, CAMERA));
    run.observe_after(MILLI);
    assert_eq!(run.core.actor(CAMERA).state, ActorState::Running);
    let paused = run.on(Event::Paused(WORKER, CAMERA, true));
    assert_eq!(paused, [Command::SetState(CAMERA, ActorState::Paused)]);
    assert_eq!(run.observe_after(START_TIMEOUT * 3), []);
    run.on(Event::Failed(WORKER, CAMERA, Failure::new("broken")));
    run.observe_after(MILLI);
    run.observe_after(MILLI);
    let ready = run.on(Event::Ready(WORKER, CAMERA));
    assert!(
        ready.ends_with(&[Command::SetState(CAMERA, ActorState::Running), Command::Pause(CAMERA)]),
        "{ready:?}"
    );
    run.on(Event::Paused(WORKER, CAMERA, true));
    assert!(run.core.is_paused(CAMERA));
    let resumed = run.on(Event::Paused(WORKER, CAMERA, false));
    assert_eq!(resumed, [Command::SetState(CAMERA, ActorState::Running)]);
    // From now on it stalls when it delivers nothing.
    run.observe_after(MILLI);
    run.observe_after(START_TIMEOUT);
    assert_eq!(run.core.actor(CAMERA).state, ActorState::Stalled);
}

#[test]
fn a_paused_camera_that_is_resumed_between_two_instances_is_not_paused_again() {
    let mut run = Run::new(None);
    run.on(Event::Connected(WORKER));
    run.on(Event::Ready(ProcessId::MAIN, READER));
    run.on(Event::Ready(WORKER, CAMERA));
    run.observe_after(MILLI);
    run.on(Event::Paused(WORKER, CAMERA, true));
    run.on(Event::Failed(WORKER, CAMERA, Failure::new("broken")));
    assert!(run.core.is_paused(CAMERA));
    assert_eq!(run.on(Event::Unpaused(CAMERA)), []);
    assert!(!run.core.is_paused(CAMERA));
    run.observe_after(MILLI);
    let ready = run.on(Event::Ready(WORKER, CAMERA));
    assert_eq!(ready.last(), Some(&Command::SetState(CAMERA, ActorState::Running)));
}

#[test]
fn texts_of_a_worker_are_bounded() {
    let mut run = Run::new(None);
    run.on(Event::Connected(WORKER));
    let long = "a\nb".repeat(10_000);
    for _ in 0..=WARNINGS_MAX {
        run.on(Event::Warned(WORKER, CAMERA, long.clone()));
    }
    run.on(Event::Progress(WORKER, CAMERA, long.clone()));
    let actor = run.core.actor(CAMERA);
    assert_eq!((actor.warned as usize, actor.warnings.len()), (WARNINGS_MAX + 1, WARNINGS_MAX));
    let is_bounded = |warning: &Warning| warning.message.len() == 1000 && !warning.message.contains('\n');
    assert!(actor.warnings.iter().all(is_bounded));
    assert_eq!(actor.progress.len(), PROGRESS_CHARACTERS_MAX);
    let commands = run.on(Event::Failed(WORKER, CAMERA, Failure::new(long)));
    let failures = commands.iter().filter_map(|command| match command {
        Command::Log(Notice::Failed { message, .. }) => Some((message.len(), message.contains('\n'))),
        _ => None,
    });
    assert_eq!(failures.collect::<Vec<_>>(), [(1000, false)]);
}

/// An actor that is removed and immediately added again, as by `camrig remove` and `camrig add`.
#[test]
fn an_actor_that_joins_a_process_that_is_ending_begins_in_the_next_one() {
    let mut run = Run::new(None);
    run.on(Event::Connected(WORKER));
    run.on(Event::Ready(WORKER, CAMERA));
    run.on(Event::Ready(ProcessId::MAIN, READER));
    run.observe_after(Duration::ZERO);
    let (first, second, process) = (ActorId(2), ActorId(3), ProcessId(2));
    let template = run.core.setup().actors[READER.index()].clone();
    let setup = ActorSetup { name: "more".to_owned(), process, ..template };
    let joining = |processes: &[&str]| Changing {
        processes: processes.iter().map(|&name| name.to_owned()).collect(),
        joins: vec![(setup.clone(), None)],
        ..Changing::default()
    };
    assert_eq!(run.on(Event::Change(joining(&["more"]))), [Command::StartProcess(process)]);
    run.on(Event::Connected(process));
    run.on(Event::Ready(process, first));
    run.on(Event::Change(Changing { leaves: vec![first], ..Changing::default() }));
    let left = run.on(Event::Finished(process, first));
    let left = [left, run.observe_after(MILLI)].concat();
    assert!(left.contains(&Command::Exit(process)), "{left:?}");
    run.on(Event::Change(joining(&[])));
    let ended = run.on(Event::Exited(process, "exited with code 0".to_owned()));
    assert!(ended.contains(&Command::StartProcess(process)), "{ended:?}");
    run.on(Event::Connected(process));
    run.on(Event::Ready(process, second));
    assert_eq!(run.core.actor(second).state, ActorState::Running);
    assert!(run.core.actor(second).errors.is_empty());
}

#[test]
fn a_rig_continues_without_an_attached_actor() {
    let mut run = Run::new(None);
    run.on(Event::Connected(WORKER));
    run.on(Event::Ready(WORKER, CAMERA));
    run.on(Event::Ready(ProcessId::MAIN, READER));
    run.observe_after(Duration::ZERO);
    let (guest, process) = (ActorId(2), ProcessId(2));
    let template = run.core.setup().actors[READER.index()].clone();
    let restart = RestartPolicy { max: 0, ..template.restart };
    let setup = ActorSetup { name: "guest".to_owned(), is_guest: true, process, restart, ..template };
    let joins = vec![(setup, None)];
    let changing = Changing { processes: vec!["guest".to_owned()], joins, ..Changing::default() };
    assert_eq!(run.on(Event::Change(changing)), [Command::StartProcess(process)]);
    run.on(Event::Connected(process));
    run.on(Event::Ready(process, guest));
    let commands = run.on(Event::Exited(process, "was killed".to_owned()));
    assert!(!commands.contains(&Command::StopCameras), "{commands:?}");
    assert_eq!(run.core.actor(guest).state, ActorState::Failed);
    run.on(Event::Stop);
    run.on(Event::Finished(WORKER, CAMERA));
    run.on(Event::Finished(ProcessId::MAIN, READER));
    run.on(Event::Exited(WORKER, "exited".to_owned()));
    assert_eq!((run.core.is_over(), run.core.exit()), (true, Exit::Asked));
}

/// A camera of this host, and one that passes on framesets of another host.
#[test]
fn a_camera_that_relays_goes_on_until_its_source_ends() {
    let both = |relays| {
        let mut run = Run::new(None);
        for actor in &mut run.core.setup.actors {
            actor.is_camera = true;
        }
        run.core.setup.actors[CAMERA.index()].relays = relays;
        run.on(Event::Connected(WORKER));
        run.on(Event::Ready(WORKER, CAMERA));
        run.on(Event::Ready(ProcessId::MAIN, READER));
        run.observe_after(Duration::ZERO);
        run
    };
    assert_eq!(both(false).on(Event::Drain), [Command::StopCameras]);
    let mut run = both(true);
    assert_eq!(run.on(Event::Drain), [Command::Actor(READER, ActorCommand::Finish)]);
    run.on(Event::Finished(ProcessId::MAIN, READER));
    assert_eq!(run.observe_after(DRAIN_TIMEOUT * 3), []);
    assert_eq!(run.on(Event::Stop), [Command::StopCameras]);
    assert_eq!(run.on(Event::Stop), []);
    run.on(Event::Finished(WORKER, CAMERA));
    run.on(Event::Exited(WORKER, "exited".to_owned()));
    assert_eq!((run.core.is_over(), run.core.exit()), (true, Exit::Asked));
}

#[test]
fn a_rig_in_which_all_is_well_is_observed_less_often() {
    let going = |limit| {
        let mut run = Run::new(limit);
        assert_eq!(run.core.pause(run.now), TICK);
        run.on(Event::Connected(WORKER));
        run.on(Event::Ready(ProcessId::MAIN, READER));
        run.on(Event::Ready(WORKER, CAMERA));
        run.observe_after(MILLI);
        run
    };
    let mut run = going(None);
    assert_eq!(run.core.pause(run.now), STEADY_TICK);
    run.on(Event::Observed(Observation { unsettled: [WORKER].into(), ..Observation::default() }));
    assert_eq!(run.core.pause(run.now), TICK);
    run.observe_after(MILLI);
    assert_eq!(run.core.pause(run.now), STEADY_TICK);
    run.on(Event::Failed(WORKER, CAMERA, Failure::new("unplugged")));
    assert_eq!(run.core.pause(run.now), DUE_TICK);
    let run = going(Some(Duration::MAX));
    assert_eq!(run.core.pause(run.now), STEADY_TICK);
    // Its end is not missed by a longer pause.
    let limit = Duration::from_secs(60);
    let mut run = going(Some(limit));
    run.now += limit.saturating_sub(3 * DUE_TICK);
    assert_eq!(run.core.pause(run.now), 3 * DUE_TICK);
    run.observe_after(3 * DUE_TICK);
    assert!(run.core.is_stopping());
    assert_eq!(run.core.pause(run.now), TICK);
}
