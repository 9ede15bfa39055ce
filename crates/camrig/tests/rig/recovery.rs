//! Tests that no fault stops a rig: a failed or dead actor is named and restarted, and the others continue.
//!
//! Each fault is injected into a running rig of real processes. The tests check facts: the log, that framesets flow
//! again, the report's counts, and that no other link lost any.

use camrig_status::ActorState;
use camrig_status::control::{self, Answer, Edit, Edits, Request};
use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::endings::{KILLED, STEADY, started, wait_for_more};
use crate::harness::{Ended, Placement, Plan, Rig};
use crate::{conformance, conformance_with_one_thread, program, test};

/// Returns [`STEADY`] with a process of its own for `verify`.
fn steady_with_verify_apart() -> String {
    STEADY.replace(
        "[processor.verify]\nkind = 'verify'\nprocess = 'together'",
        "[processor.verify]\nkind = 'verify'\nprocess = 'verify'",
    )
}

/// Waits until more of both cameras' framesets arrive, some of which were made after this call.
fn wait_for_more_of_both(rig: &mut Rig) {
    for _ in 0..2 {
        for camera in ["front", "rear"] {
            wait_for_more(rig, camera);
        }
    }
}

/// Stops a rig, and checks that exactly these lines were logged, exactly these actors were restarted, and every
/// frameset is accounted for.
fn end_in_order(rig: Rig, said: &[&str], restarted: &[(&str, u64)]) -> Ended {
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    ended.assert_said(0, said);
    assert_recovered(&ended, restarted);
    ended
}

fn assert_recovered(ended: &Ended, restarted: &[(&str, u64)]) {
    ended.assert_settled();
    for actor in &ended.report().actors {
        let restarts =
            restarted.iter().find(|(name, _)| *name == actor.name).map_or(0, |(_, restarts)| *restarts);
        assert_eq!((actor.state.as_str(), actor.restarts), ("finished", restarts), "{actor:?}");
        assert_eq!(actor.errors.len() as u64, restarts, "{actor:?}");
    }
    for link in &ended.report().links {
        assert_eq!(link.produced, ended.report().actor(&link.from).produced, "{link:?}");
    }
}

/// Checks that only links from or to `actor` dropped any, because it was missing, and at most one with its death.
fn assert_only_lost_by(ended: &Ended, actor: &str) {
    for link in &ended.report().links {
        if link.to != actor && link.from != actor {
            assert!(link.dropped.is_empty(), "{link:?}");
        }
        let known = |reason: &String| ["reader-gone", "process-died"].contains(&reason.as_str());
        assert!(link.dropped.keys().all(known), "{link:?}");
        assert!(link.dropped.get("process-died").is_none_or(|&died| died <= 1), "{link:?}");
    }
}

fn killed(placement: Placement, process: &str, actor: &str) {
    let mut rig = started(&steady_with_verify_apart(), placement);
    rig.kill_worker(process);
    let failed = format!("{actor} failed: process `{process}` {KILLED}; it is restarted");
    let again = format!("{actor} is running again");
    rig.wait_for_stderr(&again);
    wait_for_more_of_both(&mut rig);
    let ended = end_in_order(
        rig,
        &[&format!("ERROR main: {failed}"), &format!("WARN  main: {again}")],
        &[(process, 1)],
    );
    assert_only_lost_by(&ended, process);
}

/// Both ends of a link die at the same time, together with a process of a camera and a processor.
fn killed_together() {
    let mut rig = started(STEADY, Placement::Mixed);
    rig.kill_worker("front");
    rig.kill_worker("together");
    for actor in ["camera `front`", "camera `rear`", "processor `verify`"] {
        rig.wait_for_stderr(&format!("{actor} is running again"));
    }
    wait_for_more_of_both(&mut rig);
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(0), "{:?}", ended.stderr);
    assert_recovered(&ended, &[("front", 1), ("rear", 1), ("verify", 1)]);
}

/// A worker that ends itself, in ways that only the signal distinguishes.
fn dies_by_itself() {
    for (how, signal) in [("abort", "6 (SIGABRT)"), ("out-of-memory", "6 (SIGABRT)")] {
        let topology = faulty(&format!("{{ at = 'process', how = '{how}', after = 7 }}"), "max = 1");
        let ended = Plan::new(&topology, Placement::MultiProcess).run();
        assert_eq!(ended.code(), Some(70), "{:?}", ended.stderr);
        let died = format!("process `faulty` was killed by signal {signal}");
        let said: Vec<&str> =
            ended.stderr.iter().map(String::as_str).filter(|line| line.contains(" main: ")).collect();
        assert_eq!(
            said,
            [
                &format!("ERROR main: processor `faulty` failed: {died}; it is restarted"),
                "WARN  main: processor `faulty` is running again",
                &format!(
                    "ERROR main: processor `faulty` failed for good: {died}; it was restarted 1 time within 60 s"
                ),
            ]
        );
        ended.assert_settled();
    }
}

/// Returns the cameras of [`STEADY`] and `pulse`, with a processor that fails.
fn faulty(fault: &str, policy: &str) -> String {
    STEADY.replace(
        "[processor.verify]\nkind = 'verify'",
        &format!("[processor.faulty]\nkind = 'faulty'\noptions = {fault}\nrestart = {{ {policy} }}"),
    )
}

fn processor_fails(placement: Placement, at: &str) {
    for how in ["error", "panic"] {
        let fault = format!("{{ at = '{at}', how = '{how}', after = 7, times = 1 }}");
        let mut rig = started(&faulty(&fault, "max = 2"), placement);
        let again = "processor `faulty` is running again";
        rig.wait_for_stderr(again);
        wait_for_more_of_both(&mut rig);
        let failed = format!("ERROR main: processor `faulty` failed: {}; it is restarted", said(how));
        let ended = end_in_order(rig, &[&failed, &format!("WARN  main: {again}")], &[("faulty", 1)]);
        assert_only_lost_by(&ended, "faulty");
    }
}

fn processor_fails_for_good(placement: Placement) {
    let topology = faulty("{ at = 'process', how = 'error', after = 7 }", "max = 2, backoff_millis = 1");
    let ended = Plan::new(&topology, placement).run();
    let failed = "ERROR main: processor `faulty` failed";
    let restarted = format!("{failed}: a requested fault; it is restarted");
    let again = "WARN  main: processor `faulty` is running again";
    let for_good = format!("{failed} for good: a requested fault; it was restarted 2 times within 60 s");
    ended.assert_said(70, &[&restarted, again, &restarted, again, &for_good]);
    ended.assert_settled();
    assert_eq!(ended.report().actor("faulty").errors.len(), 3);
}

/// Returns `pulse` over two cameras, of which one fails.
fn with_faulty_camera(fault: &str, keys: &str) -> String {
    format!(
        "[camera.front]\ndriver = 'pattern'\nprocess = 'front'\n{keys}\n\
         options = {{ pause_millis = 1, fault = {fault} }}\n\
         [camera.rear]\ndriver = 'pattern'\nprocess = 'rear'\noptions = {{ pause_millis = 1 }}\n\
         [processor.pulse]\nkind = 'count'\nprocess = 'main'\ninputs = ['front', 'rear']\noverflow = 'block'\n\
         options = {{ beat = 10 }}\n"
    )
}

/// Returns the message of a fault of this kind.
fn said(how: &str) -> String {
    match how {
        "panic" => format!("panicked at {}: a requested fault", program::FILE),
        "unavailable" => "a requested absence".to_owned(),
        _ => "a requested fault".to_owned(),
    }
}

fn camera_fails(placement: Placement) {
    for (how, follows) in [
        ("error", "it is restarted"),
        ("panic", "it is restarted"),
        ("unavailable", "waiting for its device"),
    ] {
        let fault = format!("{{ at = 'capture', how = '{how}', after = 7, times = 1 }}");
        let mut rig = Plan::new(&with_faulty_camera(&fault, ""), placement).start();
        let again = "camera `front` is running again";
        rig.wait_for_stderr(again);
        wait_for_more_of_both(&mut rig);
        let failed = format!("ERROR main: camera `front` failed: {}; {follows}", said(how));
        let ended = end_in_order(rig, &[&failed, &format!("WARN  main: {again}")], &[("front", 1)]);
        assert!(ended.report().links.iter().all(|link| link.dropped.is_empty()), "{:#?}", ended.report());
    }
}

/// The other actors continue without a camera that fails permanently; the exit code reports it.
fn camera_fails_for_good(placement: Placement) {
    let fault = "{ at = 'capture', how = 'error', after = 7 }";
    let topology = with_faulty_camera(fault, "restart = { max = 2, window = 60, backoff_millis = 1 }");
    let mut rig = Plan::new(&topology, placement).start();
    let failed = "camera `front` failed";
    let for_good = format!("{failed} for good: a requested fault; it was restarted 2 times within 60 s");
    rig.wait_for_stderr(&for_good);
    for _ in 0..2 {
        wait_for_more(&mut rig, "rear");
    }
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(70), "{:?}", ended.stderr);
    ended.assert_settled();
    assert_eq!(ended.report().actor("front").state, "failed");
    assert_eq!(ended.report().actor("rear").state, "finished");
}

/// Returns [`STEADY`] with options and keys for one of its cameras.
fn with_injected_fault(options: &str, keys: &str) -> String {
    STEADY
        .replacen("{ model = 'any',", &format!("{{ model = 'any', serial = 'f1', {options},"), 1)
        .replace("process = 'front'\n", &format!("process = 'front'\n{keys}\n"))
}

const UNPLUGGED: &str = "the device with serial f1 was unplugged, as option `unplug_at` asks";

fn unplugged_and_back(placement: Placement) {
    let topology = with_injected_fault("unplug_at = 0.3, replug_after = 0.3", "");
    let mut rig = started(&topology, placement);
    let again = "camera `front` is running again";
    rig.wait_for_stderr(again);
    wait_for_more_of_both(&mut rig);
    let failed = format!("ERROR main: camera `front` failed: {UNPLUGGED}; waiting for its device");
    let ended = end_in_order(rig, &[&failed, &format!("WARN  main: {again}")], &[("front", 1)]);
    assert!(ended.report().links.iter().all(|link| link.dropped.is_empty()), "{:#?}", ended.report());
    assert_changes(&ended, "front", "finished 1, ready 1, running 2, waiting-for-device 1");
}

fn unplugged_for_too_long(placement: Placement) {
    let topology = with_injected_fault("unplug_at = 0.1", "device_timeout_millis = 300");
    // On a busy machine it may be unplugged before it has delivered much.
    let mut rig = Plan::new(&topology, placement).start();
    let for_good = format!("camera `front` failed for good: {UNPLUGGED}; it has been missing for ");
    rig.wait_for("a camera that has failed for good", |rig| {
        let actors = rig.status().actors;
        actors.iter().any(|actor| actor.name == "front" && actor.state.name() == "failed").then_some(())
    });
    wait_for_more(&mut rig, "rear");
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    let waits = format!("ERROR main: camera `front` failed: {UNPLUGGED}; waiting for its device");
    // On a busy machine for more seconds.
    let last = ended.stderr.last().map_or("", String::as_str);
    assert!(last.starts_with(&format!("ERROR main: {for_good}")) && last.ends_with(" s"), "{last}");
    ended.assert_said(69, &[&waits, last]);
    ended.assert_settled();
}

/// A rig can be stopped while it waits for a missing device.
fn stopped_while_unplugged(placement: Placement) {
    let mut rig = Plan::new(&with_injected_fault("unplug_at = 0.1", ""), placement).start();
    let waits = format!("camera `front` failed: {UNPLUGGED}; waiting for its device");
    rig.wait_for_stderr(&waits);
    let states: Vec<_> = rig.status().actors.iter().map(|actor| actor.state.name()).collect();
    assert_eq!(states, ["waiting-for-device", "running", "running", "running"]);
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    ended.assert_said(69, &[&format!("ERROR main: {waits}")]);
    ended.assert_settled();
    assert_eq!(ended.report().actor("front").state, "failed");
}

const STALLED: &str = "camera `front` failed: delivered nothing within its `stall_timeout_millis`";

fn stalled(placement: Placement) {
    let topology = with_injected_fault("stall_at = 0.3", "stall_timeout_millis = 2000");
    let mut rig = started(&topology, placement);
    let again = "camera `front` is running again";
    rig.wait_for_stderr(again);
    wait_for_more_of_both(&mut rig);
    let said = [
        "WARN  main: camera `front` has delivered nothing for 2000 ms",
        &format!("ERROR main: {STALLED}; it is restarted"),
        &format!("WARN  main: {again}"),
    ];
    end_in_order(rig, &said, &[("front", 1)]);
}

/// Opening the camera again does not help; a device reset does.
fn wedged(placement: Placement) {
    let topology =
        with_injected_fault("stall_at = 0.3, wedge_until_reset = true", "stall_timeout_millis = 2000");
    let mut rig = started(&topology, placement);
    let again = "camera `front` is running again";
    rig.wait_for_stderr_times(again, 2);
    wait_for_more_of_both(&mut rig);
    let nothing = "WARN  main: camera `front` has delivered nothing for 2000 ms";
    let again = format!("WARN  main: {again}");
    let said = [
        nothing,
        &format!("ERROR main: {STALLED}; it is restarted"),
        &again,
        nothing,
        &format!("ERROR main: {STALLED}; its device is reset, and it is restarted"),
        &again,
    ];
    let ended = end_in_order(rig, &said, &[("front", 2)]);
    assert_changes(&ended, "front", "finished 1, ready 1, restarting 2, running 3, stalled 2");
}

/// A camera of which the stream `color` stops after 0.3 s while `depth` continues, with these restarts, and one that works.
fn with_silent_stream(restarts: u32) -> String {
    let camera = "driver = 'synthetic'\nstall_timeout_millis = 2000\n";
    let options = "model = 'any', depth = '64x48@100', color = '64x48@100'";
    format!(
        "[camera.front]\n{camera}restart = {{ max = {restarts}, backoff_millis = 1 }}\n\
         options = {{ {options}, stall_at = 0.3, stall_stream = 'color', wedge_until_reset = true }}\n\
         [camera.rear]\n{camera}options = {{ {options} }}\n\
         [processor.pulse]\nkind = 'count'\nprocess = 'main'\ninputs = ['front', 'rear']\noptions = {{ beat = 10 }}\n"
    )
}

const SILENT: &str =
    "its stream `color` delivered nothing within `stall_timeout_millis` while others continued";

/// A stream that stops is named and counted; opening its camera again does not help, a device reset does.
fn silent_stream(placement: Placement) {
    let mut rig = Plan::new(&with_silent_stream(9), placement).start();
    rig.wait_for_stderr_times("camera `front` is running again", 2);
    wait_for_more(&mut rig, "front");
    // The stream that goes on has a rate.
    let status = rig.wait_for("the rate of a stream", |rig| {
        let status = rig.status();
        let front = status.actors.iter().find(|actor| actor.name == "front")?;
        let depth = front.streams.iter().find(|stream| stream.stream == "depth")?;
        (depth.rate_hz > 0.0).then_some(status)
    });
    let text = camrig::status::prometheus::text(&status);
    for (stream, silences) in [("color", 2), ("depth", 0)] {
        let sample =
            format!("camrig_stream_silences_total{{actor=\"front\",stream=\"{stream}\"}} {silences}\n");
        assert!(text.contains(&sample), "{text}");
        let age = format!("camrig_stream_age_seconds{{actor=\"front\",stream=\"{stream}\"}} ");
        assert!(text.contains(&age), "{text}");
    }
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    let again = "WARN  main: camera `front` is running again";
    let failed = |follows: &str| format!("ERROR main: camera `front` failed: {SILENT}; {follows}");
    let (first, second) = (failed("it is restarted"), failed("its device is reset, and it is restarted"));
    ended.assert_said(0, &[&first, again, &second, again]);
    ended.assert_settled();
}

/// Its camera is given up by the policy; the other one continues.
fn silent_stream_for_good(placement: Placement) {
    let mut rig = Plan::new(&with_silent_stream(1), placement).start();
    let for_good = format!("camera `front` failed for good: {SILENT}; it was restarted 1 time within 60 s");
    rig.wait_for_stderr(&for_good);
    wait_for_more(&mut rig, "rear");
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(70), "{:?}", ended.stderr);
    assert_eq!(ended.report().actor("front").errors, [SILENT, SILENT]);
    assert_eq!(ended.report().actor("rear").state, "finished");
    ended.assert_settled();
}

/// Compares how often an actor entered each state.
fn assert_changes(ended: &Ended, actor: &str, expected: &str) {
    let changes = ended.report().actor(actor).changes.iter();
    let changes: Vec<_> = changes.map(|(state, times)| format!("{state} {times}")).collect();
    assert_eq!(changes.join(", "), expected);
}

/// A driver that never returns: only a new process helps, if it has a process of its own.
fn hanging_camera() {
    let fault = "{ at = 'capture', how = 'hang', after = 40 }";
    let topology = with_faulty_camera(fault, "stall_timeout_millis = 2000\nrestart = { max = 1 }");
    let mut rig = Plan::new(&topology, Placement::MultiProcess).start();
    let failed = "camera `front` failed";
    rig.wait_for_stderr(&format!(
        "{failed} for good: process `front` {KILLED}; it was restarted 1 time within 60 s"
    ));
    wait_for_more(&mut rig, "rear");
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    let nothing = "WARN  main: camera `front` has delivered nothing for 2000 ms";
    ended.assert_said(
        70,
        &[
            nothing,
            &format!("ERROR main: {failed}: process `front` {KILLED}; it is restarted"),
            "WARN  main: camera `front` is running again",
            nothing,
            &format!(
                "ERROR main: {failed} for good: process `front` {KILLED}; it was restarted 1 time within 60 s"
            ),
        ],
    );
    ended.assert_settled();
    assert_eq!(ended.report().actor("rear").state, "finished");
}

/// A driver that does not return from a call of an operator is replaced like any other, and the call is answered.
fn hanging_call() {
    let fault = "{ at = 'controls', how = 'hang', times = 1 }";
    let topology = with_faulty_camera(fault, "stall_timeout_millis = 2000");
    let mut rig = Plan::new(&topology, Placement::MultiProcess).start();
    let socket = crate::changes::socket(&mut rig);
    let call =
        || control::ask(&socket, &Request::Controls { camera: "front".to_owned(), to_set: false }).unwrap();
    assert_eq!(call(), Answer::Controls(Err("the process of camera `front` has ended".to_owned())));
    let again = "camera `front` is running again";
    rig.wait_for_stderr(again);
    wait_for_more_of_both(&mut rig);
    end_in_order(
        rig,
        &[
            "WARN  main: camera `front` has delivered nothing for 2000 ms",
            &format!("ERROR main: camera `front` failed: process `front` {KILLED}; it is restarted"),
            &format!("WARN  main: {again}"),
        ],
        &[("front", 1)],
    );
}

/// A camera whose device answers too late is not restarted for a setting, which is refused.
fn late_call() {
    let fault = "{ at = 'controls', how = 'long-pause', times = 1 }";
    let topology = with_faulty_camera(fault, "stall_timeout_millis = 60000");
    let mut rig = Plan::new(&topology, Placement::MultiProcess).start();
    let socket = crate::changes::socket(&mut rig);
    let settings = vec![("pause_millis".to_owned(), "2".to_owned())];
    let edits = vec![Edit::Set { name: "front".to_owned(), settings }];
    let edits = Edits { edits, by: "a test".to_owned(), ..Edits::default() };
    let answer = control::ask(&socket, &Request::Edit(edits)).unwrap();
    let Answer::Refused { message, .. } = answer else { panic!("{answer:?}") };
    assert!(message.contains("camera `front` did not answer within 10 s"), "{message}");
    wait_for_more_of_both(&mut rig);
    end_in_order(rig, &[], &[]);
}

/// A paused camera that is resumed while it has no instance begins the next one with its streams.
fn resumed_while_it_restarts() {
    let topology =
        STEADY.replace("process = 'front'\n", "process = 'front'\nrestart = { backoff_millis = 3000 }\n");
    let mut rig = started(&topology, Placement::MultiProcess);
    let socket = crate::changes::socket(&mut rig);
    let ask = |paused| {
        let cameras = vec!["front".to_owned()];
        control::ask(&socket, &Request::Pause { cameras, paused, by: "a test".to_owned() }).unwrap()
    };
    let changes = |line: &str| Answer::Changes(vec![line.to_owned()]);
    assert_eq!(ask(true), changes("pause camera `front`"));
    rig.kill_worker("front");
    rig.wait_for("the failure", |rig| {
        let status = rig.status();
        let front = status.actors.iter().find(|actor| actor.name == "front")?;
        (front.state == ActorState::Restarting).then_some(())
    });
    assert_eq!(ask(false), changes("resume camera `front`"));
    assert_eq!(ask(false), Answer::Changes(Vec::new()));
    wait_for_more_of_both(&mut rig);
    rig.signal(Signal::TERM);
    assert_eq!(rig.finish().code(), Some(0));
}

/// A camera whose process is stopped delivers nothing, and does not respond to commands.
fn stopped_camera() {
    let topology = STEADY.replace("process = 'front'\n", "process = 'front'\nstall_timeout_millis = 2000\n");
    let mut rig = started(&topology, Placement::MultiProcess);
    rig.signal_worker("front", Signal::STOP);
    let again = "camera `front` is running again";
    rig.wait_for_stderr(again);
    wait_for_more_of_both(&mut rig);
    let said = [
        "WARN  main: process `front` is stopped by signal 19 (SIGSTOP)",
        "WARN  main: camera `front` has delivered nothing for 2000 ms",
        &format!("ERROR main: camera `front` failed: process `front` {KILLED}; it is restarted"),
        &format!("WARN  main: {again}"),
    ];
    end_in_order(rig, &said, &[("front", 1)]);
}

/// A processor that never returns is replaced with its process.
fn hanging_processor() {
    let topology = faulty("{ at = 'process', how = 'hang', after = 40 }", "max = 1")
        .replace("restart = { max = 1 }", "restart = { max = 1 }\nstall_timeout_millis = 2000");
    let ended = Plan::new(&topology, Placement::MultiProcess).run();
    let hangs =
        "ERROR main: processor `faulty` has not returned from a call for 2000 ms; its process is replaced";
    let failed = "ERROR main: processor `faulty` failed";
    ended.assert_said(
        70,
        &[
            hangs,
            &format!("{failed}: process `faulty` {KILLED}; it is restarted"),
            "WARN  main: processor `faulty` is running again",
            hangs,
            &format!("{failed} for good: process `faulty` {KILLED}; it was restarted 1 time within 60 s"),
        ],
    );
    ended.assert_settled();
    for other in ["front", "rear", "pulse"] {
        assert_eq!(ended.report().actor(other).state, "finished");
    }
}

/// In a shared process it can only be reported, and so can that it runs again.
fn pausing_processor(placement: Placement) {
    let topology = faulty("{ at = 'process', how = 'pause', after = 40, times = 1 }", "max = 1")
        .replace("overflow = 'block'\noptions = { beat", "options = { beat")
        .replace("restart = { max = 1 }", "restart = { max = 1 }\nstall_timeout_millis = 2000");
    let mut rig = started(&topology, placement);
    let again = "processor `faulty` is running again";
    rig.wait_for_stderr(again);
    wait_for_more_of_both(&mut rig);
    let process = if placement == Placement::InProcess { "main" } else { "together" };
    let pauses = format!(
        "ERROR main: processor `faulty` has not returned from a call for 2000 ms, and shares process \
         `{process}` with others"
    );
    end_in_order(rig, &[&pauses, &format!("WARN  main: {again}")], &[]);
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    for placement in [Placement::MultiProcess, Placement::Mixed] {
        for (process, actor) in [("front", "camera `front`"), ("verify", "processor `verify`")] {
            test(trials, format!("recovery::{process}_is_killed::{}", placement.name()), move || {
                killed(placement, process, actor);
            });
        }
    }
    test(trials, "recovery::two_processes_are_killed_at_once", killed_together);
    test(trials, "recovery::a_worker_dies_by_itself", dies_by_itself);
    conformance(trials, "recovery::a_processor_fails", |placement| processor_fails(placement, "process"));
    conformance(trials, "recovery::a_processor_fails_too_often", processor_fails_for_good);
    conformance_with_one_thread(trials, "recovery::a_camera_fails", camera_fails);
    conformance(trials, "recovery::a_camera_fails_too_often", camera_fails_for_good);
    conformance_with_one_thread(trials, "recovery::a_camera_is_unplugged_and_comes_back", unplugged_and_back);
    conformance(trials, "recovery::a_camera_is_unplugged_for_too_long", unplugged_for_too_long);
    conformance(trials, "recovery::a_rig_stops_without_its_camera", stopped_while_unplugged);
    conformance_with_one_thread(trials, "recovery::a_camera_stalls", stalled);
    conformance_with_one_thread(trials, "recovery::a_camera_is_wedged_until_reset", wedged);
    conformance_with_one_thread(trials, "recovery::a_stream_is_silent", silent_stream);
    conformance(trials, "recovery::a_stream_is_silent_for_good", silent_stream_for_good);
    test(trials, "recovery::a_camera_never_returns", hanging_camera);
    test(trials, "recovery::a_call_of_a_device_never_returns", hanging_call);
    test(trials, "recovery::a_device_answers_a_call_too_late", late_call);
    test(trials, "recovery::a_paused_camera_is_resumed_while_it_restarts", resumed_while_it_restarts);
    test(trials, "recovery::a_camera_is_stopped", stopped_camera);
    test(trials, "recovery::a_processor_never_returns", hanging_processor);
    for placement in [Placement::InProcess, Placement::Mixed] {
        test(trials, format!("recovery::a_processor_takes_too_long::{}", placement.name()), move || {
            pausing_processor(placement);
        });
    }
}
