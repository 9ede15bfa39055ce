//! Tests that every rig ends as requested, in order or not, with every frameset accounted for, and leaves nothing.
//!
//! Failures here are final: `recovery` tests restarts.

use std::fmt::Write;

use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::harness::{Ended, Placement, Plan, Rig};
use crate::{conformance, program, test};

/// Two cameras without an end, and two processors that read both; `pulse` prints every tenth frameset of each camera.
pub(crate) const STEADY: &str = "
[camera.front]
driver = 'synthetic'
process = 'front'
options = { model = 'any', color = 'off', depth = '32x24@200' }
[camera.rear]
driver = 'synthetic'
process = 'together'
options = { model = 'any', color = 'off', depth = '32x24@200' }
[processor.pulse]
kind = 'count'
process = 'main'
inputs = ['front', 'rear']
overflow = 'block'
options = { beat = 10 }
[processor.verify]
kind = 'verify'
process = 'together'
inputs = ['front', 'rear']
overflow = 'block'
";

/// Starts [`STEADY`] and waits until both cameras have delivered framesets.
fn steady(placement: Placement) -> Rig {
    started(STEADY, placement)
}

/// Starts a rig over the cameras of [`STEADY`] and waits until both have delivered framesets.
pub(crate) fn started(topology: &str, placement: Placement) -> Rig {
    let mut rig = Plan::new(topology, placement).start();
    for camera in ["front", "rear"] {
        wait_for_more(&mut rig, camera);
    }
    rig
}

/// Waits until more of a camera's framesets arrive.
pub(crate) fn wait_for_more(rig: &mut Rig, camera: &str) {
    let start = format!("pulse {camera} ");
    let until_now = rig.highest(&start);
    rig.wait_for(&start, |rig| (rig.highest(&start) > until_now).then_some(()));
}

/// Checks that everything in [`STEADY`] ended in order.
fn assert_in_order(ended: &Ended, exit: &str) {
    ended.assert_said(0, &[]);
    ended.assert_settled();
    assert_eq!(ended.report().exit, exit);
    for actor in &ended.report().actors {
        assert_eq!((actor.state.as_str(), actor.errors.len()), ("finished", 0), "{actor:?}");
    }
    for link in &ended.report().links {
        assert_eq!((link.delivered, link.dropped.len()), (link.produced, 0), "{link:?}");
        assert_eq!(link.produced, ended.report().actor(&link.from).produced, "{link:?}");
    }
}

fn stops_at_a_signal(placement: Placement, signal: Signal) {
    let rig = steady(placement);
    rig.signal(signal);
    let ended = rig.finish();
    assert_in_order(&ended, "stopped as asked");
    assert!(ended.report().links.iter().all(|link| link.delivered >= 10), "{:#?}", ended.report().links);
}

fn stops_at_a_limit(placement: Placement) {
    let ended = Plan::new(STEADY, placement).arguments(&["--framesets", "30"]).run();
    assert_in_order(&ended, "stopped as asked");
    ended.assert_complete(30);
    let ended = Plan::new(STEADY, placement).arguments(&["--for", "300ms"]).run();
    assert_in_order(&ended, "stopped as asked");
}

fn ends_with_its_inputs(placement: Placement) {
    let topology = STEADY.replace("'any',", "'any', paced = false, frames = 50,");
    let ended = Plan::new(&topology, placement).run();
    assert_in_order(&ended, "end of all inputs");
    ended.assert_complete(50);
}

/// A camera that ends as soon as it receives the stop, and a processor that never returns.
const STUCK: &str = "
[camera.front]
driver = 'pattern'
process = 'front'
options = { pause_millis = 1 }
[processor.stuck]
kind = 'faulty'
process = 'stuck'
inputs = ['front']
options = { at = 'process', how = 'hang' }
[processor.pulse]
kind = 'count'
process = 'main'
inputs = ['front']
overflow = 'block'
options = { beat = 1 }
";

fn second_interrupt(placement: Placement) {
    let mut rig = Plan::new(STUCK, placement).start();
    rig.wait_for_stdout("a processor that hangs", |lines| lines.contains(&"stuck: here it comes"));
    rig.signal(Signal::INT);
    // The driver prints when it is dropped, which shows that the first signal was handled.
    rig.wait_for_stdout("the end of the camera", |lines| {
        lines.iter().any(|line| line.starts_with("front: "))
    });
    // Soon after the first one it would count as the same.
    rig.signal_until_the_end(Signal::INT);
    let ended = rig.finish();
    ended.assert_said(130, &[]);
    assert_eq!(ended.report().exit, "interrupted");
}

/// Returns [`STUCK`] with a processor that sleeps or hangs after everything else has ended.
fn stuck_at_the_end(how: &str, keys: &str) -> String {
    STUCK
        .replace("at = 'process', how = 'hang'", &format!("at = 'finish', how = '{how}'"))
        .replace("kind = 'faulty'", &format!("kind = 'faulty'\noverflow = 'block'\n{keys}"))
}

const NEVER_RETURNS: &str =
    "ERROR main: processor `stuck` has not returned from a call for 2000 ms; its process is";
const FAILED: &str = "failed: process `stuck` was killed by signal 9 (SIGKILL)";

/// One interrupt is enough to end the rig: the processor is killed.
fn stuck_processor() {
    let topology = stuck_at_the_end("hang", "stall_timeout_millis = 2000");
    let mut rig = Plan::new(&topology, Placement::Mixed).start();
    rig.wait_for_stdout("the first frameset", |lines| lines.contains(&"pulse front 1"));
    rig.signal(Signal::INT);
    let ended = rig.finish();
    let failed = format!("ERROR main: processor `stuck` {FAILED}");
    ended.assert_said(70, &[&format!("{NEVER_RETURNS} killed"), &failed]);
    assert_eq!(ended.report().actor("pulse").state, "finished");
    ended.assert_settled();
}

/// A rig whose cameras have ended needs no interrupt to end.
fn stuck_processor_without_cameras() {
    let topology = stuck_at_the_end("hang", "stall_timeout_millis = 2000\nrestart = { max = 0 }");
    let ended = Plan::new(&topology, Placement::Mixed).arguments(&["--framesets", "3"]).run();
    let failed = format!("ERROR main: processor `stuck` {FAILED}");
    ended.assert_said(70, &[&format!("{NEVER_RETURNS} replaced"), &failed]);
}

/// One interrupt of a rig that has reached its limit, and ends, is not a second one.
fn interrupted_after_its_limit() {
    let topology = stuck_at_the_end("long-pause", "");
    let mut rig = Plan::new(&topology, Placement::Mixed).arguments(&["--for", "300ms"]).start();
    rig.wait_for_stdout("the end of the camera", |lines| {
        lines.iter().any(|line| line.starts_with("front: "))
    });
    rig.signal(Signal::INT);
    let ended = rig.finish();
    ended.assert_said(0, &[]);
    assert_eq!(ended.report().exit, "stopped as asked");
    ended.assert_settled();
}

/// A processor that takes long to finish is not killed.
fn slow_processor() {
    let topology = stuck_at_the_end("long-pause", "");
    let ended = Plan::new(&topology, Placement::Mixed).arguments(&["--framesets", "3"]).run();
    ended.assert_said(0, &[]);
    ended.assert_complete(3);
}

/// A camera that does not return, and so never stops by itself: its readers finish without it, also in its process.
fn stuck_camera(placement: Placement) {
    let topology = STUCK
        .replace("pause_millis = 1", "pause_millis = 1, fault = { at = 'capture', how = 'hang', after = 5 }")
        .replace("process = 'front'", "process = 'front'\nstall_timeout_millis = 0")
        .replace("at = 'process', how = 'hang'", "at = 'nowhere', how = 'hang'");
    let mut rig = Plan::new(&topology, placement).start();
    rig.wait_for_stdout("the last frameset", |lines| lines.contains(&"pulse front 5"));
    rig.signal(Signal::INT);
    let ended = rig.finish();
    ended.assert_said(70, &["ERROR main: camera `front` failed: did not end within 10 s"]);
    assert_eq!(ended.report().actor("pulse").state, "finished");
    ended.assert_settled();
}

/// A key for an actor's table: every failure is final.
const FOR_GOOD: &str = "restart = { max = 0 }\n";

/// Returns a camera and a processor with faults, beside others without.
fn with_faults(camera: &str, processor: &str) -> String {
    format!(
        "[camera.front]\ndriver = 'pattern'\nprocess = 'front'\n{FOR_GOOD}\
         options = {{ frames = 40, fault = {camera} }}\n\
         [camera.rear]\ndriver = 'pattern'\nprocess = 'together'\noptions = {{ frames = 80 }}\n\
         [processor.faulty]\nkind = 'faulty'\nprocess = 'together'\ninputs = ['front', 'rear']\n{FOR_GOOD}\
         overflow = 'block'\noptions = {processor}\n\
         [processor.pulse]\nkind = 'count'\nprocess = 'main'\ninputs = ['front', 'rear']\noverflow = 'block'\n"
    )
}

const NO_FAULT: &str = "{ at = 'nowhere', how = 'error' }";

/// Returns the message of a fault of this kind.
fn said(how: &str) -> String {
    match how {
        "panic" => format!("panicked at {}: a requested fault", program::FILE),
        "unavailable" => "a requested absence".to_owned(),
        _ => "a requested fault".to_owned(),
    }
}

fn faulty_processor(placement: Placement, at: &str) {
    for how in ["error", "panic"] {
        let fault = format!("{{ at = '{at}', how = '{how}', after = 7 }}");
        let ended = Plan::new(&with_faults(NO_FAULT, &fault), placement).run();
        ended.assert_said(70, &[&format!("ERROR main: processor `faulty` failed: {}", said(how))]);
        ended.assert_settled();
        let faulty = ended.report().actor("faulty");
        assert_eq!((faulty.state.as_str(), faulty.errors.len()), ("failed", 1), "{faulty:?}");
        for other in ["front", "rear", "pulse"] {
            assert_eq!(ended.report().actor(other).state, "finished", "{other} {how}");
        }
        for link in ended.report().links.iter().filter(|link| link.to == "pulse") {
            assert!(link.dropped.is_empty(), "{link:?}");
        }
        for link in ended.report().links.iter().filter(|link| link.to == "faulty") {
            assert!(link.dropped.keys().all(|reason| reason == "reader-gone"), "{link:?}");
            if at == "finish" {
                assert!(link.dropped.is_empty(), "{link:?}");
            }
        }
    }
}

fn faulty_camera(placement: Placement, at: &str) {
    for (how, code) in [("error", 70), ("unavailable", 69), ("panic", 70)] {
        let fault = format!("{{ at = '{at}', how = '{how}', after = 7 }}");
        let ended = Plan::new(&with_faults(&fault, NO_FAULT), placement).run();
        ended.assert_said(code, &[&format!("ERROR main: camera `front` failed: {}", said(how))]);
        ended.assert_settled();
        let front = ended.report().actor("front");
        assert_eq!((front.state.as_str(), front.errors.len()), ("failed", 1), "{front:?}");
        assert_eq!(front.produced, if at == "capture" { 7 } else { 0 });
        for link in &ended.report().links {
            assert_eq!((link.delivered, link.dropped.len()), (link.produced, 0), "{link:?}");
        }
        // A running rig continues with one camera less, but does not start with one less.
        let rear = if at == "open" { 0 } else { 80 };
        assert_eq!(ended.report().actor("rear").produced, rear, "{at} {how}");
    }
}

fn unplugged(placement: Placement) {
    let topology = STEADY.replacen("'any',", "'any', paced = false, serial = 'f1', unplug_at = 0.25,", 1);
    let topology = topology.replace("'any', color", "'any', paced = false, frames = 100, color");
    let topology = topology.replace("process = 'front'\n", &format!("process = 'front'\n{FOR_GOOD}"));
    let ended = Plan::new(&topology, placement).run();
    let unplugged = "the device with serial f1 was unplugged, as option `unplug_at` asks";
    ended.assert_said(69, &[&format!("ERROR main: camera `front` failed: {unplugged}")]);
    ended.assert_settled();
    for link in &ended.report().links {
        // A quarter of a second of 200 frames a second.
        let framesets = if link.from == "front" { 50 } else { 100 };
        assert_eq!((link.produced, link.delivered), (framesets, framesets), "{link:?}");
    }
}

/// An actor that is never ready is named after its time-out, and the rig ends in order.
fn never_ready(placement: Placement, table: &str, camera: &str, processor: &str) {
    let topology =
        with_faults(camera, processor).replace(table, &format!("{table}start_timeout_millis = 500\n"));
    let ended = Plan::new(&topology, placement).run();
    let (role, name) = table.trim_matches(['[', ']', '\n']).split_once('.').unwrap();
    let late = "was not ready within its `start_timeout_millis` (500 ms)";
    ended.assert_said(70, &[&format!("ERROR main: {role} `{name}` failed: {late}")]);
    ended.assert_settled();
    for actor in &ended.report().actors {
        assert_eq!(actor.state, if actor.name == name { "failed" } else { "finished" }, "{actor:?}");
    }
}

pub(crate) const KILLED: &str = "was killed by signal 9 (SIGKILL)";

fn killed_camera(placement: Placement) {
    let mut rig = started(&STEADY.replace("'front'\n", &format!("'front'\n{FOR_GOOD}")), placement);
    rig.kill_worker("front");
    let failed = format!("camera `front` failed: process `front` {KILLED}");
    rig.wait_for_stderr(&failed);
    for _ in 0..3 {
        wait_for_more(&mut rig, "rear");
    }
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    ended.assert_said(70, &[&format!("ERROR main: {failed}")]);
    ended.assert_settled();
    for link in &ended.report().links {
        // A producer may die after counting a frameset and before queueing it.
        let died = link.dropped.get("process-died").copied().unwrap_or(0);
        assert_eq!(link.dropped_of_all_reasons(), died, "{link:?}");
        assert!(died <= u64::from(link.from == "front"), "{link:?}");
    }
    for other in ["rear", "pulse", "verify"] {
        assert_eq!(ended.report().actor(other).state, "finished");
    }
}

fn killed_processor(placement: Placement) {
    let topology = STEADY.replace(
        "[processor.verify]\nkind = 'verify'\nprocess = 'together'",
        &format!("[processor.verify]\nkind = 'verify'\nprocess = 'verify'\n{FOR_GOOD}"),
    );
    let rig = started(&topology, placement);
    rig.kill_worker("verify");
    // A rig ends by itself without its processor.
    let ended = rig.finish();
    ended.assert_said(70, &[&format!("ERROR main: processor `verify` failed: process `verify` {KILLED}")]);
    ended.assert_settled();
    for link in &ended.report().links {
        assert!(link.to == "verify" || link.dropped.is_empty(), "{link:?}");
        // A reader may die after taking a frameset and before counting it.
        assert!(link.dropped.get("process-died").is_none_or(|&died| died == 1), "{link:?}");
        let known = |reason: &String| ["reader-gone", "process-died"].contains(&reason.as_str());
        assert!(link.dropped.keys().all(known), "{link:?}");
    }
    for other in ["front", "rear", "pulse"] {
        assert_eq!(ended.report().actor(other).state, "finished");
    }
}

/// Kills the supervisor; the harness checks that no process and no file is left.
fn assert_killed(rig: Rig) {
    rig.signal(Signal::KILL);
    let ended = rig.finish();
    assert_eq!(ended.code(), None);
    assert_eq!(ended.stderr, [""; 0]);
}

fn killed_supervisor(placement: Placement) {
    assert_killed(steady(placement));
}

/// Returns a topology with this many worker processes, which take a while to start.
fn many(workers: usize) -> String {
    let mut topology = "[camera.front]\ndriver = 'pattern'\n".to_owned();
    for number in 1..workers {
        write!(topology, "[processor.reader-{number}]\nkind = 'count'\ninputs = ['front']\n").unwrap();
    }
    topology
}

/// Kills the supervisor when every worker was started but maybe none has connected, and when all have connected.
fn killed_while_workers_connect() {
    for workers in [1, 2, 3, 4, 6, 8] {
        let topology = many(workers);
        let mut rig = Plan::new(&topology, Placement::MultiProcess).start();
        rig.wait_for("all workers", |rig| (rig.workers().len() == workers).then_some(()));
        assert_killed(rig);
        let mut rig = Plan::new(&topology, Placement::MultiProcess).start();
        rig.wait_for("the end of the last temporary file", |rig| {
            (rig.workers().len() == workers && rig.temporary_files().is_empty()).then_some(())
        });
        assert_killed(rig);
    }
}

/// Kills the supervisor while it still starts workers, each of which creates a folder for its socket.
fn killed_while_it_starts_workers() {
    let topology = many(4);
    for _ in 0..20 {
        let mut rig = Plan::new(&topology, Placement::MultiProcess).start();
        // The folder may be removed before it is seen, so a running worker counts too.
        rig.wait_for("the first temporary file or worker", |rig| {
            (!rig.temporary_files().is_empty() || !rig.workers().is_empty()).then_some(())
        });
        assert_killed(rig);
    }
    for workers in [1, 2, 3] {
        let mut rig = Plan::new(&topology, Placement::MultiProcess).start();
        rig.wait_for("the first workers", |rig| (rig.workers().len() >= workers).then_some(()));
        assert_killed(rig);
    }
}

fn exits_before_it_connects() {
    let died = format!("exited with code {}", program::EARLY_EXIT_CODE);
    for (process, actor) in [("front", "camera `front`"), ("reader-2", "processor `reader-2`")] {
        let topology = many(4);
        let ended =
            Plan::new(&topology, Placement::MultiProcess).environment(program::EXITS_EARLY, process).run();
        ended.assert_said(70, &[&format!("ERROR main: {actor} failed: process `{process}` {died}")]);
        ended.assert_settled();
    }
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    // The longest tests first: they are idle most of the time.
    test(trials, "endings::a_processor_finishes_slowly", slow_processor);
    test(trials, "endings::an_interrupt_after_the_limit_is_no_second_one", interrupted_after_its_limit);
    conformance(trials, "endings::a_camera_never_returns", stuck_camera);
    test(trials, "endings::a_processor_never_returns", stuck_processor);
    test(trials, "endings::a_processor_never_returns_without_cameras", stuck_processor_without_cameras);
    conformance(trials, "endings::an_interrupt_stops", |placement| stops_at_a_signal(placement, Signal::INT));
    conformance(trials, "endings::a_termination_stops", |placement| {
        stops_at_a_signal(placement, Signal::TERM);
    });
    conformance(trials, "endings::a_limit_stops", stops_at_a_limit);
    conformance(trials, "endings::a_rig_ends_with_its_inputs", ends_with_its_inputs);
    conformance(trials, "endings::a_second_interrupt_ends_at_once", second_interrupt);
    for at in ["constructor", "process", "finish"] {
        conformance(trials, &format!("endings::a_processor_fails::{at}"), move |placement| {
            faulty_processor(placement, at);
        });
    }
    for at in ["open", "start", "capture"] {
        conformance(trials, &format!("endings::a_camera_fails::{at}"), move |placement| {
            faulty_camera(placement, at);
        });
    }
    conformance(trials, "endings::a_constructor_never_returns", |placement| {
        never_ready(placement, "[processor.faulty]\n", NO_FAULT, "{ at = 'constructor', how = 'hang' }");
    });
    conformance(trials, "endings::an_open_never_returns", |placement| {
        never_ready(placement, "[camera.front]\n", "{ at = 'open', how = 'hang' }", NO_FAULT);
    });
    conformance(trials, "endings::a_camera_is_unplugged", unplugged);
    for placement in [Placement::MultiProcess, Placement::Mixed] {
        let name = placement.name();
        test(trials, format!("endings::a_camera_is_killed::{name}"), move || killed_camera(placement));
        test(trials, format!("endings::a_processor_is_killed::{name}"), move || killed_processor(placement));
    }
    conformance(trials, "endings::the_supervisor_is_killed", killed_supervisor);
    test(trials, "endings::the_supervisor_is_killed_while_workers_connect", killed_while_workers_connect);
    test(trials, "endings::the_supervisor_is_killed_while_it_starts_workers", killed_while_it_starts_workers);
    test(trials, "endings::a_worker_exits_before_it_connects", exits_before_it_connects);
}
