//! Rigs as values inside a program: at the same time, one after another, stopped, waited for, dropped, refused.
//!
//! This binary serves as their workers, so it has a `main` of its own.
#![allow(clippy::unwrap_used)] // A test that cannot go on fails.
#![allow(clippy::print_stdout, clippy::print_stderr)] // Tests print for the developer.

use std::path::Path;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use camrig::frame::MetadataKey;
use camrig::prelude::*;
use camrig::status::{ActorState, RigStatus, socket};
use camrig::toml::Table;
use camrig::{
    ActorTable, ControlValue, Exit, Overflow, ProcessorOptions, Registry, Report, Rig, RunningRig,
    StartError, TopologyBuilder, WrongOptions,
};
use libtest_mimic::{Arguments, Trial};

/// A rig that takes longer will never end.
const WATCHDOG: Duration = Duration::from_secs(120);

/// Makes this program one that does not serve as a worker.
const FORGETS: &str = "CAMRIG_TEST_FORGETS";

/// The measurement of `just bench-changes`.
const MEASURED: &str = "changes_take_effect_soon";

const PLACEMENTS: [&str; 2] = ["in-process", "multi-process"];

fn main() -> ExitCode {
    if std::env::var_os(FORGETS).is_some() {
        return forget();
    }
    if let Some(code) = registry().serve_worker() {
        return code;
    }
    let tests: [(&str, fn()); 12] = [
        ("a_rig_ends_at_its_limit_with_a_report", a_rig_ends_at_its_limit_with_a_report),
        ("two_rigs_run_at_the_same_time", two_rigs_run_at_the_same_time),
        ("one_rig_runs_after_another", one_rig_runs_after_another),
        ("a_stop_ends_a_rig_in_order", a_stop_ends_a_rig_in_order),
        ("an_interrupt_ends_a_rig_that_stops", an_interrupt_ends_a_rig_that_stops),
        ("a_camera_is_set_while_it_runs", a_camera_is_set_while_it_runs),
        ("a_change_of_the_calibration_moves_a_camera", a_change_of_the_calibration_moves_a_camera),
        ("a_restart_keeps_a_change_under_way", a_restart_keeps_a_change_under_way),
        ("a_dropped_rig_leaves_nothing", a_dropped_rig_leaves_nothing),
        ("a_wrong_topology_starts_nothing", a_wrong_topology_starts_nothing),
        ("a_taken_address_starts_nothing", a_taken_address_starts_nothing),
        ("a_program_that_serves_no_worker_ends", a_program_that_serves_no_worker_ends),
    ];
    let measured: fn() = changes_take_effect_soon;
    let tests = tests.into_iter().chain([(MEASURED, measured)]);
    let trials = tests.map(|(name, run)| {
        let trial = Trial::test(name, move || {
            let (done, ended) = sync_channel(1);
            let test = std::thread::spawn(move || {
                run();
                done.send(()).unwrap();
            });
            match ended.recv_timeout(WATCHDOG) {
                Err(RecvTimeoutError::Timeout) => Err("never ends".into()),
                _ => test.join().map_err(|_| "failed".into()),
            }
        });
        trial.with_ignored_flag(name == MEASURED)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

/// A processor that never returns.
struct Stuck;

impl Processor for Stuck {
    fn process(&mut self, _: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        loop {
            std::thread::park();
        }
    }
}

/// Tells the place of the camera of each frameset.
struct Places;

/// The last place that [`Places`] has seen, in metres along the first axis.
static PLACE: Mutex<Option<f64>> = Mutex::new(None);

impl Processor for Places {
    fn process(&mut self, frames: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        *PLACE.lock().unwrap() = frames.info().pose.as_ref().map(|pose| pose.translation_meters[0]);
        Ok(())
    }
}

/// Options whose probe takes until [`GO`] has a word.
#[derive(Debug, serde::Deserialize, camrig::schemars::JsonSchema)]
#[schemars(crate = "camrig::schemars")]
struct Slow {}

static PROBES: Mutex<Option<SyncSender<()>>> = Mutex::new(None);
static GO: Mutex<Option<Receiver<()>>> = Mutex::new(None);

impl ProcessorOptions for Slow {
    fn probe(&self) -> Result<(), WrongOptions> {
        PROBES.lock().unwrap().take().unwrap().send(()).unwrap();
        GO.lock().unwrap().take().unwrap().recv().unwrap();
        Ok(())
    }
}

/// Tells number and exposure of each frameset.
struct Exposures;

/// The exposures that [`Exposures`] has seen.
static SEEN: Mutex<Vec<(u64, i64)>> = Mutex::new(Vec::new());

impl Processor for Exposures {
    fn process(&mut self, frames: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        let header = &frames.header().frames[0];
        let exposure = header.metadata.get(MetadataKey::ACTUAL_EXPOSURE).unwrap_or(0);
        SEEN.lock().unwrap().push((header.number, exposure));
        Ok(())
    }
}

/// Everything that the rigs here name.
fn registry() -> Registry {
    Registry::new()
        .with_processor("places", |_: NoOptions| Ok(Places))
        .with_processor("slow", |_: Slow| Ok(Places))
        .with_options::<Slow>("slow")
        .with_processor("stuck", |_: NoOptions| Ok(Stuck))
        .with_processor("exposures", |_: NoOptions| Ok(Exposures))
}

/// Two cameras that wait for their reader, in this placement.
fn rig(name: &str, placement: &str) -> Rig {
    let camera = |name| ActorTable::camera(name, "synthetic").option("paced", false);
    let topology = TopologyBuilder::new(name)
        .set("placement", placement)
        .actor(camera("left"))
        .actor(camera("right"))
        .actor(ActorTable::processor("check", "verify").inputs(["left", "right"]).overflow(Overflow::Block));
    Rig::build(&topology, &registry()).unwrap()
}

/// The counts of each link in a report: produced, delivered, in flight.
fn links(report: &Report) -> Vec<(u64, u64, u64)> {
    report.links.iter().map(|link| (link.produced, link.delivered, link.in_flight)).collect()
}

fn assert_finished(report: &Report, name: &str, exit: Exit) {
    assert_eq!((report.topology.as_str(), report.exit), (name, exit));
    let ended: Vec<_> =
        report.actors.iter().map(|actor| (actor.name.as_str(), actor.state, actor.errors.len())).collect();
    let finished = |name| (name, ActorState::Finished, 0);
    assert_eq!(ended, [finished("left"), finished("right"), finished("check")]);
    assert!(links(report).iter().all(|&(produced, delivered, rest)| produced == delivered && rest == 0));
}

fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

/// Waits until every link has delivered.
fn wait_until_it_flows(rig: &RunningRig) -> RigStatus {
    loop {
        let status = rig.status();
        if status.links.iter().all(|link| link.delivered > 0) {
            return status;
        }
        assert!(!rig.wait_timeout(Duration::from_millis(2)), "it ended: {status:?}");
    }
}

/// The other processes of the rig have ended, and its socket is closed.
fn assert_nothing_left(status: &RigStatus, name: &str) {
    let own = std::process::id();
    assert!(status.processes.iter().all(|process| process.pid == own || is_gone(process.pid)), "{status:?}");
    while socket::names().unwrap().iter().any(|other| other == name) {
        std::thread::yield_now();
    }
}

fn a_rig_ends_at_its_limit_with_a_report() {
    for placement in PLACEMENTS {
        let running = rig("limited", placement).stop_after_framesets(5).start().unwrap();
        let (name, handle) = (running.socket().to_owned(), running.handle());
        let report = running.wait();
        assert_finished(&report, "limited", Exit::Asked);
        assert_eq!(links(&report), [(5, 5, 0), (5, 5, 0)]);
        let last = handle.status();
        assert_eq!(last.actors.iter().map(|actor| actor.produced).sum::<u64>(), 10);
        assert!(handle.wait_timeout(Duration::ZERO));
        // Late calls change nothing.
        handle.stop();
        handle.interrupt();
        assert_nothing_left(&last, &name);
    }
}

fn two_rigs_run_at_the_same_time() {
    let rigs = PLACEMENTS.map(|placement| (placement, rig(placement, placement).start().unwrap()));
    let statuses = rigs.each_ref().map(|(_, rig)| wait_until_it_flows(rig));
    assert_eq!(statuses.map(|status| status.processes.len()), [1, 4]);
    let [(_, first), second] = rigs;
    first.stop();
    assert_finished(&first.wait(), "in-process", Exit::Asked);
    // The other one continues.
    let before = second.1.status().links[0].delivered;
    while second.1.status().links[0].delivered == before {
        assert!(!second.1.wait_timeout(Duration::from_millis(2)));
    }
    second.1.stop();
    assert_finished(&second.1.wait(), second.0, Exit::Asked);
}

fn one_rig_runs_after_another() {
    let rigs = PLACEMENTS.map(|placement| rig(placement, placement).stop_after_framesets(2));
    for (rig, name) in rigs.iter().zip(PLACEMENTS).cycle().take(6) {
        let report = rig.start().unwrap().wait();
        assert_finished(&report, name, Exit::Asked);
        assert_eq!(links(&report), [(2, 2, 0), (2, 2, 0)]);
    }
}

fn a_stop_ends_a_rig_in_order() {
    for placement in PLACEMENTS {
        let running = rig("stopped", placement).start().unwrap();
        let status = wait_until_it_flows(&running);
        assert_eq!(socket::read(running.socket()).unwrap().topology, "stopped");
        let (name, other) = (running.socket().to_owned(), running.handle());
        std::thread::spawn(move || other.stop());
        assert_finished(&running.wait(), "stopped", Exit::Asked);
        assert_nothing_left(&status, &name);
    }
}

fn an_interrupt_ends_a_rig_that_stops() {
    let topology = TopologyBuilder::new("stuck")
        .actor(ActorTable::camera("left", "synthetic"))
        .actor(ActorTable::processor("stuck", "stuck").inputs(["left"]));
    let running = Rig::build(&topology, &registry()).unwrap().start().unwrap();
    let status = wait_until_it_flows(&running);
    let handle = running.handle();
    handle.stop();
    handle.interrupt();
    let name = running.socket().to_owned();
    assert_eq!(running.wait().exit, Exit::Interrupted);
    assert_nothing_left(&status, &name);
}

/// `verify` renders each frameset again, with the exposure in its metadata: the compared frames have the exposure that was
/// set, and nothing is lost meanwhile.
fn a_camera_is_set_while_it_runs() {
    for placement in PLACEMENTS {
        let running = rig("set", placement).start().unwrap();
        let handle = running.handle();
        let values = |camera: &str| {
            let controls = handle.controls(camera).unwrap().into_iter();
            controls.map(|it| format!("{} {}", it.name, it.value.unwrap())).collect::<Vec<_>>()
        };
        wait_until_it_flows(&running);
        assert_eq!(values("left"), ["auto_exposure true", "exposure 8500", "gain 16", "emitter true"]);
        for exposure in [1.0, 500.0, 165_000.0] {
            let own = handle.set("left", "exposure", ControlValue::Number(exposure)).unwrap().unwrap();
            assert_eq!((own.name.as_str(), own.value), ("exposure", Some(ControlValue::Number(exposure))));
            wait_for_more(&running);
        }
        handle.set("left", "emitter", ControlValue::Switch(false)).unwrap();
        assert_eq!(values("left"), ["auto_exposure false", "exposure 165000", "gain 16", "emitter false"]);
        assert_eq!(values("right")[0], "auto_exposure true");
        wait_for_more(&running);
        let refused = |camera: &str, option: &str, value| handle.set(camera, option, value).unwrap_err();
        assert_eq!(
            refused("left", "gain", ControlValue::Number(7.0)),
            "option `gain` is 7: it must be 16 to 248 in steps of 1"
        );
        assert_eq!(
            refused("left", "hue", ControlValue::Number(7.0)),
            "a synthetic camera has no option `hue`; it has: `auto_exposure`, `exposure`, `gain`, `emitter`"
        );
        assert_eq!(
            refused("lefft", "gain", ControlValue::Number(16.0)),
            "the rig has no camera `lefft`; it has: `left`, `right`"
        );
        running.stop();
        assert_finished(&running.wait(), "set", Exit::Asked);
        assert_eq!(handle.controls("left").unwrap_err(), "the rig has ended");
    }
}

/// A camera restarts for another calibration, and has its pose then.
fn a_change_of_the_calibration_moves_a_camera() {
    let folder = tempfile::tempdir().unwrap();
    let rig = |x: f64| {
        let file = folder.path().join(format!("{x}.toml"));
        let calibration = format!(
            "version = 1\nroot = 'left'\n[camera.left]\nserial = '1'\ntranslation_meters = [{x}, 0, 0]\n\
             quaternion_xyzw = [0, 0, 0, 1]\n"
        );
        std::fs::write(&file, calibration).unwrap();
        let text = format!(
            "placement = 'in-process'\ncalibration = '{}'\n\
             [camera.left]\ndriver = 'synthetic'\noptions = {{ serial = '1', color = 'off', depth = '424x240@30' }}\n\
             [processor.places]\nkind = 'places'\ninputs = ['left']\n",
            file.display()
        );
        Rig::parse("t.toml", &text, None, &registry()).unwrap()
    };
    let running = rig(0.5).start().unwrap();
    let wait_for_place = |place| {
        while *PLACE.lock().unwrap() != Some(place) {
            assert!(!running.wait_timeout(Duration::from_millis(2)), "it ended");
        }
    };
    wait_for_place(0.5);
    let changes = running.handle().apply(&rig(7.75), "a test").unwrap();
    assert_eq!(changes, ["restart camera `left`: calibration"]);
    wait_for_place(7.75);
    running.stop();
    assert_eq!(running.wait().exit, Exit::Asked);
}

/// A restart that waits for a change is one of the changed rig.
fn a_restart_keeps_a_change_under_way() {
    let running = rig("restarted", "in-process").start().unwrap();
    wait_until_it_flows(&running);
    let handle = running.handle();
    let more = "[processor.more]\nkind = 'slow'\ninputs = ['left']\n";
    let more = Rig::parse("t.toml", &(handle.topology().unwrap() + more), None, &registry()).unwrap();
    let ((probes, probing), (go, goes)) = (sync_channel(1), sync_channel(1));
    *PROBES.lock().unwrap() = Some(probes);
    *GO.lock().unwrap() = Some(goes);
    std::thread::scope(|scope| {
        let changed = scope.spawn(|| handle.apply(&more, "a test"));
        probing.recv().unwrap();
        let restarted = scope.spawn(|| handle.restart(&["right"], "a test"));
        // It has begun long before the rig has answered this often.
        for _ in 0..1000 {
            handle.topology().unwrap();
        }
        go.send(()).unwrap();
        assert_eq!(changed.join().unwrap().unwrap(), ["add processor `more` in process `main`"]);
        assert_eq!(restarted.join().unwrap().unwrap(), ["restart camera `right`: as requested"]);
    });
    assert!(handle.topology().unwrap().contains("[processor.more]"));
    running.stop();
    running.wait();
}

/// Measures how long changes of a rig with a camera of 30 framesets per second take: `just bench-changes`.
fn changes_take_effect_soon() {
    let text = "[camera.left]\ndriver = 'synthetic'\nprocess = 'left'\n\
                options = { model = 'any', color = 'off', depth = '64x48@30' }\n\
                [processor.exposures]\nkind = 'exposures'\nprocess = 'main'\ninputs = ['left']\n";
    let parse = |text: &str| Rig::parse("t.toml", text, None, &registry()).unwrap();
    let running = parse(text).start().unwrap();
    wait_until_it_flows(&running);
    let handle = running.handle();
    let newest = || SEEN.lock().unwrap().last().copied().unwrap_or_default();
    let (mut frames, mut sets, mut applies) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=60 {
        let before = newest().0;
        while newest().0 == before {
            std::thread::sleep(Duration::from_millis(1));
        }
        // At all times between two frames.
        std::thread::sleep(Duration::from_millis(round % 33));
        let (newest_before, began) = (newest().0, Instant::now());
        let exposure = 1000 + round as i64;
        handle.set("left", "exposure", ControlValue::Number(exposure as f64)).unwrap();
        sets.push(began.elapsed().as_millis());
        let first = || SEEN.lock().unwrap().iter().find(|(_, own)| *own == exposure).copied();
        while first().is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        frames.push(u128::from(first().unwrap().0 - newest_before));
    }
    for process in ["main", "more"] {
        for _ in 0..10 {
            let text = handle.topology().unwrap();
            let more =
                format!("{text}[processor.more]\nkind = 'stats'\nprocess = '{process}'\ninputs = ['left']\n");
            let began = Instant::now();
            handle.apply(&parse(&more), "a benchmark").unwrap();
            applies.push(began.elapsed().as_millis());
            handle.apply(&parse(&text), "a benchmark").unwrap();
        }
    }
    running.stop();
    running.wait();
    let shown = |values: &mut Vec<u128>| {
        values.sort_unstable();
        format!("median {}, max {}", values[values.len() / 2], values[values.len() - 1])
    };
    println!(
        "first frame with the exposure that was set, from the newest one at the request: {}",
        shown(&mut frames)
    );
    println!("set of an option, ms: {}", shown(&mut sets));
    let (in_main, in_its_own) = applies.split_at_mut(10);
    println!("apply of one added actor, ms: in a process that runs {}", shown(&mut in_main.to_vec()));
    println!("apply of one added actor, ms: in a new process {}", shown(&mut in_its_own.to_vec()));
}

/// Waits until each link has delivered ten framesets more.
fn wait_for_more(running: &RunningRig) {
    let delivered = || running.status().links.iter().map(|link| link.delivered).collect::<Vec<_>>();
    let before = delivered();
    while delivered().iter().zip(&before).any(|(now, before)| *now < before + 10) {
        assert!(!running.wait_timeout(Duration::from_millis(2)), "it ended");
    }
}

fn a_dropped_rig_leaves_nothing() {
    for placement in PLACEMENTS {
        let running = rig("dropped", placement).start().unwrap();
        let (status, name) = (wait_until_it_flows(&running), running.socket().to_owned());
        drop(running);
        assert_nothing_left(&status, &name);
    }
}

fn a_wrong_topology_starts_nothing() {
    let registry = registry();
    let topology = TopologyBuilder::new("wrong").actor(ActorTable::camera("left", "synthetik"));
    let problems = Rig::build(&topology, &registry).map(drop).unwrap_err();
    assert!(
        problems.to_string().starts_with("error: camera `left` has unknown driver `synthetik`"),
        "{problems}"
    );
    let missing = Rig::read("/nowhere/rig.toml", &registry).map(drop).unwrap_err();
    assert_eq!(missing.to_string(), "error: topology `/nowhere/rig.toml` does not exist");
}

/// A program that starts a rig of several processes and does not serve as their worker.
fn forget() -> ExitCode {
    match rig("forgotten", "multi-process").start() {
        Ok(running) => {
            println!("{}", running.wait().exit);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn a_program_that_serves_no_worker_ends() {
    let program = std::env::current_exe().unwrap();
    let output = std::process::Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(program)
        .env(FORGETS, "1")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "an actor failed\n");
    let stderr = String::from_utf8(output.stderr).unwrap();
    let unserved = "this process was started as a worker: call `Registry::serve_worker` first in `main`";
    // Several workers write at the same time: their line ends may come later.
    assert_eq!((stderr.replace(unserved, "").trim(), stderr.contains(unserved)), ("", true), "{stderr}");
    assert!(output.status.success());
}

fn a_taken_address_starts_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let listen = Table::from_iter([("listen".to_owned(), address.clone().into())]);
    let topology =
        TopologyBuilder::new("taken").set("metrics", listen).actor(ActorTable::camera("left", "synthetic"));
    let error = Rig::build(&topology, &registry()).unwrap().start().map(drop).unwrap_err();
    let StartError::System(error) = error else { panic!("{error}") };
    assert!(error.to_string().starts_with(&format!("metrics cannot be served at {address}: ")), "{error}");
}
