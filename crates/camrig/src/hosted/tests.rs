//! Actors of one process, from their parts to their end: their reports, and the effect of mail.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use camrig_frame::CameraInfo;
use camrig_ipc::Overflow;

use super::*;
use crate::FrameSet;
use crate::control::{ActorPart, DeviceCall};
use crate::driver::{Captured, Control, ControlRange, ControlValue, Driver, DriverError};
use crate::failure::Failure;
use crate::output::{CameraOutput, ProcessorOutput};
use crate::processor::{NoOptions, Processor, ProcessorError};
use crate::topology::Role;

/// A longer wait for an event fails the test.
const WATCHDOG: Duration = Duration::from_secs(60);

const FIRST: ActorId = ActorId(0);
const SECOND: ActorId = ActorId(1);
const THIRD: ActorId = ActorId(2);

/// A camera that delivers nothing, and cannot be started.
struct Silent;

impl Driver for Silent {
    type Options = NoOptions;

    fn open(_: &str, _: NoOptions) -> Result<Self, DriverError> {
        Ok(Self)
    }

    fn info(&self) -> CameraInfo {
        CameraInfo::default()
    }

    fn capture(&mut self, _: &mut CameraOutput, timeout: Duration) -> Result<Captured, DriverError> {
        std::thread::sleep(timeout);
        Ok(Captured::Nothing)
    }
}

/// A camera whose device has one option, and delivers nothing.
struct Dimmable(f64, bool);

impl Driver for Dimmable {
    type Options = NoOptions;

    fn open(_: &str, _: NoOptions) -> Result<Self, DriverError> {
        Ok(Self(1.0, false))
    }

    fn info(&self) -> CameraInfo {
        CameraInfo::default()
    }

    fn controls(&self) -> Vec<Control> {
        vec![Control {
            name: "light".into(),
            key: String::new(),
            description: String::new(),
            unit: String::new(),
            range: ControlRange::Number { min: 0.0, max: 9.0, step: 0.0 },
            default: ControlValue::Number(1.0),
            value: Some(ControlValue::Number(self.0)),
            read_only: false,
            live: true,
        }]
    }

    /// The device takes whole numbers only, and rounds others.
    fn set(&mut self, _: &str, value: &ControlValue) -> Result<ControlValue, DriverError> {
        let value = self.controls()[0].accept(value).map_err(DriverError::new)?;
        if let ControlValue::Number(number) = value {
            self.0 = number.round();
        }
        Ok(ControlValue::Number(self.0))
    }

    fn pause(&mut self) -> Result<(), DriverError> {
        self.1 = true;
        Ok(())
    }

    fn resume(&mut self) -> Result<(), DriverError> {
        self.1 = false;
        if self.0 == 0.0 { Err(DriverError::new("it is dark")) } else { Ok(()) }
    }

    fn capture(&mut self, _: &mut CameraOutput, timeout: Duration) -> Result<Captured, DriverError> {
        assert!(!self.1, "a paused camera captures");
        std::thread::sleep(timeout);
        Ok(Captured::Nothing)
    }
}

/// A camera that cannot be started.
struct Broken;

impl Driver for Broken {
    type Options = NoOptions;

    fn open(_: &str, _: NoOptions) -> Result<Self, DriverError> {
        Ok(Self)
    }

    fn info(&self) -> CameraInfo {
        CameraInfo::default()
    }

    fn start(&mut self) -> Result<(), DriverError> {
        Err(DriverError::new("was started"))
    }

    fn capture(&mut self, _: &mut CameraOutput, _: Duration) -> Result<Captured, DriverError> {
        Ok(Captured::End)
    }
}

/// A processor that does nothing with its framesets.
struct Idle;

impl Processor for Idle {
    fn process(&mut self, _: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        Ok(())
    }
}

fn registry() -> Registry {
    let builds = AtomicU32::new(0);
    Registry::new()
        .with_driver::<Silent>("silent")
        .with_driver::<Broken>("broken")
        .with_driver::<Dimmable>("dimmable")
        .with_processor("idle", |_: NoOptions| Ok(Idle))
        .with_processor("second-time", move |_: NoOptions| match builds.fetch_add(1, Ordering::SeqCst) {
            0 => Err("not the first time".into()),
            _ => Ok(Idle),
        })
        .with_processor("stuck", |_: NoOptions| -> Result<Idle, _> {
            loop {
                std::thread::park();
            }
        })
}

fn camera(driver: &str) -> Role {
    Role::Camera { driver: driver.to_owned() }
}

fn processor(kind: &str) -> Role {
    Role::Processor { kind: kind.to_owned() }
}

fn actor(id: ActorId, role: Role) -> Part {
    let actor = ActorPart {
        id,
        name: format!("actor-{}", id.0),
        rig: "rig".to_owned(),
        topology: String::new(),
        role,
        options: String::new(),
        timeline: None,
        thread: None,
        slots: 2,
        reset: false,
        framesets: None,
        stall_timeout_millis: None,
        calibrated: None,
    };
    Part::Actor { actor: Box::new(actor), counters: ActorCounters::new().unwrap().share().unwrap() }
}

fn local_link(link_state: &LinkState) -> Part {
    let link_state = link_state.share().unwrap();
    Part::Local {
        link: LinkId(0),
        from: FIRST,
        producer: "actor-0".to_owned(),
        to: Some(SECOND),
        link_state,
        overflow: Overflow::Block,
        queue: 1,
        joining: LinkStart::default(),
    }
}

fn arriving(parts: impl IntoIterator<Item = Part>) -> Arriving {
    let mut arriving = Arriving::default();
    parts.into_iter().try_for_each(|part| arriving.add(part)).unwrap();
    arriving
}

fn start(parts: impl IntoIterator<Item = Part>) -> (Hosted, Receiver<ActorEvent>) {
    let (sender, events) = sync_channel(16);
    let report = move |event| drop(sender.send(event));
    (arriving(parts).start(&Arc::new(registry()), report).unwrap(), events)
}

fn next(events: &Receiver<ActorEvent>) -> ActorEvent {
    events.recv_timeout(WATCHDOG).expect("an event")
}

/// Checks that every thread has ended: they hold the sender of events.
fn assert_over(events: &Receiver<ActorEvent>) {
    assert_eq!(events.recv_timeout(WATCHDOG), Err(RecvTimeoutError::Disconnected));
}

fn failed(actor: ActorId, message: &str) -> ActorEvent {
    ActorEvent::Failed { actor, failure: Failure::new(message) }
}

#[test]
fn a_part_before_its_actor_is_an_error() {
    let link_state = LinkState::new().unwrap();
    let mut arriving = Arriving::default();
    let error = arriving.add(local_link(&link_state)).unwrap_err();
    assert_eq!(error.to_string(), "a part belongs to actor 0, which was not sent before it");
    arriving.add(actor(FIRST, camera("silent"))).unwrap();
    // The other one may be added later.
    arriving.add(local_link(&link_state)).unwrap();
    arriving.add(actor(SECOND, processor("idle"))).unwrap();
}

/// Adds actors to a process.
fn extend(hosted: &mut Hosted, parts: impl IntoIterator<Item = Part>) -> io::Result<Receiver<ActorEvent>> {
    let (sender, events) = sync_channel(16);
    let mut arriving = hosted.arriving();
    parts.into_iter().try_for_each(|part| arriving.add(part)).unwrap();
    let report = move |event| drop(sender.send(event));
    hosted.extend(arriving, &Arc::new(registry()), report).map(|()| events)
}

/// Checks that a reader that is added gets the link that came before it.
fn assert_reads(mut hosted: Hosted, camera: &Receiver<ActorEvent>, link_state: &LinkState) {
    let reader = extend(&mut hosted, [actor(SECOND, processor("idle"))]).unwrap();
    assert_eq!(next(&reader), ActorEvent::Ready { actor: SECOND });
    assert!(reader.try_recv().is_err(), "it has no input");
    hosted.stop_cameras();
    assert_eq!(next(camera), ActorEvent::Finished { actor: FIRST });
    assert_eq!(next(&reader), ActorEvent::Finished { actor: SECOND });
    assert_over(&reader);
    assert!(link_state.reader_ended());
}

#[test]
fn a_process_that_cannot_take_parts_keeps_what_it_had() {
    let link_state = LinkState::new().unwrap();
    let (mut hosted, events) = start([actor(FIRST, camera("silent")), local_link(&link_state)]);
    assert_eq!(next(&events), ActorEvent::Ready { actor: FIRST });
    let mut arriving = hosted.arriving();
    arriving.add(actor(THIRD, processor("idle"))).unwrap();
    let counters = ActorCounters::new().unwrap().share().unwrap();
    let wrong = Part::Local {
        link: LinkId(1),
        from: THIRD,
        producer: "actor-2".to_owned(),
        to: None,
        link_state: counters,
        overflow: Overflow::Block,
        queue: 1,
        joining: LinkStart::default(),
    };
    assert!(matches!(arriving.add(wrong), Err(PartError::Memory(_))));
    hosted.leave_out(arriving);
    assert!(!hosted.actors.contains_key(&THIRD));
    assert_reads(hosted, &events, &link_state);
}

/// In a process of its own: other tests need threads.
#[test]
fn a_process_without_threads_keeps_what_it_had() {
    let mut test = std::process::Command::new(std::env::current_exe().unwrap());
    let test = test.args(["--ignored", "--exact", "hosted::tests::no_thread_is_left", "--nocapture"]);
    let output = test.output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && stdout.contains("1 passed"), "{output:?}");
}

#[test]
#[ignore = "another test starts it"]
fn no_thread_is_left() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let link_state = LinkState::new().unwrap();
    let (mut hosted, events) = start([actor(FIRST, camera("silent")), local_link(&link_state)]);
    assert_eq!(next(&events), ActorEvent::Ready { actor: FIRST });
    let limit = getrlimit(Resource::As);
    let used = procfs::process::Process::myself().unwrap().stat().unwrap().vsize;
    // Space for the stacks of some threads, not of all.
    setrlimit(Resource::As, Rlimit { current: Some(used + (16 << 20)), ..limit }).unwrap();
    let parts = (2..100).map(|id| actor(ActorId(id), processor("idle")));
    let error = extend(&mut hosted, parts).unwrap_err().to_string();
    setrlimit(Resource::As, limit).unwrap();
    assert!(error.starts_with("no thread can be started for `actor-"), "{error}");
    assert_eq!(hosted.actors.keys().collect::<Vec<_>>(), [&FIRST]);
    assert_reads(hosted, &events, &link_state);
}

/// The supervisor may not know of its end when it sends it a link.
#[test]
fn an_actor_that_has_ended_refuses_links() {
    let (mut hosted, events) = start([actor(FIRST, processor("idle"))]);
    assert_eq!(next(&events), ActorEvent::Ready { actor: FIRST });
    assert_eq!(next(&events), ActorEvent::Finished { actor: FIRST });
    assert_over(&events);
    while hosted.actors[&FIRST].wake.strong_count() > 0 {
        std::thread::yield_now();
    }
    let link_state = LinkState::new().unwrap();
    let reader = extend(&mut hosted, [actor(SECOND, processor("idle")), local_link(&link_state)]).unwrap();
    assert_eq!(next(&reader), ActorEvent::Ready { actor: SECOND });
    assert_eq!(next(&reader), ActorEvent::Finished { actor: SECOND });
    assert!(link_state.ended());
}

#[test]
fn a_failed_actor_waits_for_its_restart() {
    let (hosted, events) = start([actor(FIRST, processor("second-time"))]);
    assert_eq!(next(&events), failed(FIRST, "not the first time"));
    hosted.send(FIRST, ActorCommand::Restart { reset: false });
    assert_eq!(next(&events), ActorEvent::Ready { actor: FIRST });
    assert_eq!(next(&events), ActorEvent::Finished { actor: FIRST });
    assert_over(&events);
}

#[test]
fn a_failed_actor_that_is_given_up_ends_its_links() {
    let link_state = LinkState::new().unwrap();
    let parts = [actor(FIRST, camera("none")), actor(SECOND, processor("idle")), local_link(&link_state)];
    let (hosted, events) = start(parts);
    let mut first = [next(&events), next(&events)];
    first.sort_by_key(|event| matches!(event, ActorEvent::Ready { .. }));
    let unknown = failed(FIRST, "is not registered in this program");
    assert_eq!(first, [unknown, ActorEvent::Ready { actor: SECOND }]);
    assert!(!link_state.ended());
    hosted.send(FIRST, ActorCommand::GiveUp);
    assert_eq!(next(&events), ActorEvent::Finished { actor: SECOND });
    assert_over(&events);
    assert!(link_state.ended() && link_state.reader_ended());
}

#[test]
fn a_camera_that_is_stopped_before_it_goes_is_never_started() {
    let (hosted, events) = start([actor(FIRST, camera("broken"))]);
    assert_eq!(next(&events), ActorEvent::Ready { actor: FIRST });
    hosted.stop_cameras();
    hosted.go();
    assert_eq!(next(&events), ActorEvent::Finished { actor: FIRST });
    let (hosted, events) = start([actor(FIRST, camera("broken"))]);
    assert_eq!(next(&events), ActorEvent::Ready { actor: FIRST });
    hosted.go();
    assert_eq!(next(&events), failed(FIRST, "was started"));
}

#[test]
fn a_silent_camera_fails_when_it_is_interrupted_and_begins_again() {
    let (hosted, events) = start([actor(FIRST, camera("silent"))]);
    hosted.go();
    for _ in 0..2 {
        assert_eq!(next(&events), ActorEvent::Ready { actor: FIRST });
        hosted.send(FIRST, ActorCommand::Interrupt);
        assert_eq!(next(&events), failed(FIRST, "delivered nothing within its `stall_timeout_millis`"));
        // Too late: there is no instance.
        hosted.send(FIRST, ActorCommand::Interrupt);
        hosted.send(FIRST, ActorCommand::Restart { reset: true });
    }
    assert_eq!(next(&events), ActorEvent::Ready { actor: FIRST });
    hosted.stop_cameras();
    assert_eq!(next(&events), ActorEvent::Finished { actor: FIRST });
}

/// Makes a call to the device of the first actor, and returns the value of each control of the answer.
fn call(
    hosted: &Hosted,
    events: &Receiver<ActorEvent>,
    number: u64,
    call: DeviceCall,
) -> Result<String, String> {
    assert!(hosted.call_device(FIRST, DeviceRequest { number, until_nanos: u64::MAX, call }));
    let ActorEvent::Answered { actor: FIRST, number: answered, answer } = next(events) else { panic!() };
    assert_eq!(answered, number);
    let shown = |control: &Control| format!("{} {}", control.name, control.value.as_ref().unwrap());
    answer.map(|controls| controls.iter().map(shown).collect::<Vec<_>>().join(", "))
}

fn set(value: f64) -> DeviceCall {
    DeviceCall::Set { settings: vec![("light".into(), ControlValue::Number(value))], options: None }
}

#[test]
fn a_device_is_called_before_it_starts_and_while_it_captures() {
    let (hosted, events) = start([actor(FIRST, camera("dimmable"))]);
    assert_eq!(next(&events), ActorEvent::Ready { actor: FIRST });
    assert_eq!(call(&hosted, &events, 1, DeviceCall::Controls), Ok("light 1".to_owned()));
    assert_eq!(call(&hosted, &events, 2, set(3.2)), Ok("light 3".to_owned()));
    hosted.go();
    assert_eq!(call(&hosted, &events, 3, DeviceCall::Controls), Ok("light 3".to_owned()));
    assert_eq!(
        call(&hosted, &events, 4, set(10.0)),
        Err("option `light` is 10: it must be 0 to 9".to_owned())
    );
    assert_eq!(call(&hosted, &events, 5, set(9.0)), Ok("light 9".to_owned()));
    // Another instance opens the device again.
    hosted.send(FIRST, ActorCommand::Interrupt);
    assert!(matches!(next(&events), ActorEvent::Failed { .. }));
    let closed = Err("camera `actor-0` is not open".to_owned());
    assert_eq!(call(&hosted, &events, 6, DeviceCall::Controls), closed);
    hosted.send(FIRST, ActorCommand::Restart { reset: false });
    assert_eq!(next(&events), ActorEvent::Ready { actor: FIRST });
    assert_eq!(call(&hosted, &events, 7, DeviceCall::Controls), Ok("light 1".to_owned()));
    hosted.stop_cameras();
    assert_eq!(next(&events), ActorEvent::Finished { actor: FIRST });
    assert_over(&events);
}

#[test]
fn settings_are_made_together_or_not_at_all() {
    let (hosted, events) = start([actor(FIRST, camera("dimmable"))]);
    assert_eq!(next(&events), ActorEvent::Ready { actor: FIRST });
    let settings = [3.0, 12.0].map(|value| ("light".to_owned(), ControlValue::Number(value))).to_vec();
    let refused = call(&hosted, &events, 1, DeviceCall::Set { settings, options: None });
    assert_eq!(refused, Err("option `light` is 12: it must be 0 to 9".to_owned()));
    assert_eq!(call(&hosted, &events, 2, DeviceCall::Controls), Ok("light 1".to_owned()));
}

#[test]
fn a_paused_camera_does_not_capture_and_answers_calls() {
    let (hosted, events) = start([actor(FIRST, camera("dimmable"))]);
    assert_eq!(next(&events), ActorEvent::Ready { actor: FIRST });
    let early = Err("its streams have not started".to_owned());
    assert_eq!(call(&hosted, &events, 1, DeviceCall::Pause), early);
    hosted.go();
    // It may not have begun.
    let mut number = 1;
    while let Err(error) = call(
        &hosted,
        &events,
        {
            number += 1;
            number
        },
        DeviceCall::Pause,
    ) {
        assert_eq!(error, "its streams have not started");
    }
    assert_eq!(call(&hosted, &events, number + 1, DeviceCall::Pause), Ok(String::new()));
    assert_eq!(call(&hosted, &events, number + 2, set(3.0)), Ok("light 3".to_owned()));
    assert_eq!(call(&hosted, &events, number + 3, DeviceCall::Resume), Ok(String::new()));
    assert_eq!(call(&hosted, &events, number + 4, set(0.0)), Ok("light 0".to_owned()));
    assert_eq!(call(&hosted, &events, number + 5, DeviceCall::Pause), Ok(String::new()));
    assert_eq!(call(&hosted, &events, number + 6, DeviceCall::Resume), Err("it is dark".to_owned()));
    let failure = Failure::new("it is dark");
    assert_eq!(next(&events), ActorEvent::Failed { actor: FIRST, failure });
}

#[test]
fn a_driver_that_cannot_pause_reports_that_and_the_camera_continues() {
    let (hosted, events) = start([actor(FIRST, camera("silent"))]);
    assert_eq!(next(&events), ActorEvent::Ready { actor: FIRST });
    hosted.go();
    let mut number = 0;
    let refused = loop {
        number += 1;
        match call(&hosted, &events, number, DeviceCall::Pause) {
            Err(error) if error == "its streams have not started" => {}
            answer => break answer,
        }
    };
    assert_eq!(refused, Err("the driver of the camera cannot pause it".to_owned()));
    hosted.stop_cameras();
    assert_eq!(next(&events), ActorEvent::Finished { actor: FIRST });
}

#[test]
fn a_call_to_a_camera_without_the_option_is_refused() {
    let (hosted, events) = start([actor(FIRST, camera("silent"))]);
    assert_eq!(next(&events), ActorEvent::Ready { actor: FIRST });
    assert_eq!(call(&hosted, &events, 1, DeviceCall::Controls), Ok(String::new()));
    let refused = "the camera has no option `light` that can be set while it runs".to_owned();
    assert_eq!(call(&hosted, &events, 2, set(1.0)), Err(refused));
    let link_state = LinkState::new().unwrap();
    let parts = [actor(FIRST, camera("silent")), actor(SECOND, processor("idle")), local_link(&link_state)];
    let (hosted, events) = start(parts);
    (0..2).for_each(|_| assert!(matches!(next(&events), ActorEvent::Ready { .. })));
    assert!(
        hosted.call_device(
            SECOND,
            DeviceRequest { number: 3, until_nanos: u64::MAX, call: DeviceCall::Controls }
        )
    );
    let answer = Err("processor `actor-1` has no device".to_owned());
    assert_eq!(next(&events), ActorEvent::Answered { actor: SECOND, number: 3, answer });
}

#[test]
fn an_actor_that_is_given_up_does_not_finish() {
    let (hosted, events) = start([actor(FIRST, camera("silent"))]);
    assert_eq!(next(&events), ActorEvent::Ready { actor: FIRST });
    hosted.go();
    hosted.send(FIRST, ActorCommand::Interrupt);
    hosted.send(FIRST, ActorCommand::GiveUp);
    // It may fail before it is given up.
    let interrupted = failed(FIRST, "delivered nothing within its `stall_timeout_millis`");
    match events.recv_timeout(WATCHDOG) {
        Ok(event) => assert_eq!(event, interrupted),
        Err(error) => assert_eq!(error, RecvTimeoutError::Disconnected),
    }
    assert_over(&events);
}

/// Nothing ends the thread, and nothing waits for it.
#[test]
fn an_actor_that_never_returns_is_given_up_with_its_links() {
    let link_state = LinkState::new().unwrap();
    let parts = [actor(FIRST, camera("silent")), actor(SECOND, processor("stuck")), local_link(&link_state)];
    let (hosted, events) = start(parts);
    assert_eq!(next(&events), ActorEvent::Ready { actor: FIRST });
    hosted.go();
    hosted.send(SECOND, ActorCommand::GiveUp);
    assert!(link_state.reader_ended());
    // A camera ends when all its readers have.
    assert_eq!(next(&events), ActorEvent::Finished { actor: FIRST });
}

#[test]
fn actors_end_when_no_sender_of_mail_is_left() {
    let parts = [actor(FIRST, camera("silent")), actor(SECOND, processor("second-time"))];
    let (hosted, events) = start(parts);
    (0..2).for_each(|_| drop(next(&events)));
    drop(hosted);
    assert_over(&events);
}

#[test]
fn the_thread_that_wakes_readers_ends_with_them() {
    let notifier = Arc::new(Notifier::new().unwrap());
    let notify = Arc::new(Notify::new());
    let link_state = Arc::new(LinkState::new().unwrap());
    let sleeper = Sleeper { link_state: Arc::clone(&link_state), wake: Arc::downgrade(&notify) };
    let listener = Listener::new(Arc::clone(&notifier));
    let sleepers = Sleepers::default();
    sleepers.locked().0.push(sleeper);
    let thread = std::thread::spawn(move || sleepers.wake(listener));
    link_state.notify();
    notifier.notify();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(WATCHDOG, notify.notified()).await }).unwrap();
    drop(notify);
    notifier.notify();
    thread.join().unwrap();
}
