//! Rigs that change while they run: unchanged actors lose no frameset, and every frameset is accounted for.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use camrig_status::RigStatus;
use camrig_status::control::{self, Answer, Apply, Request};
use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Ended, Placement, Plan, Report, Rig};
use crate::program::PLAIN;
use crate::soak::{requested, resident_bytes, resources, seeded};
use crate::{conformance, test};

/// Number of random changes without the environment variable.
const CHANGES: u64 = 60;

/// Number of swaps without the environment variable.
const SWAPS: u64 = 20;

/// The environment variable with the number of swaps.
const SWAPS_VARIABLE: &str = "CAMRIG_SOAK_SWAPS";

/// Resources that are the same after this time have settled: a thread looks once a second whether readers have ended.
const SETTLING: Duration = Duration::from_millis(1500);

/// Memory of the supervisor for a row of the report, and of what it keeps of a link, an actor and a process that have ended.
const LINK_BYTES: u64 = 1 << 10;
const ACTOR_BYTES: u64 = 2 << 10;
const PROCESS_BYTES: u64 = 1 << 10;
const CHANGE_BYTES: u64 = 1 << 10;

/// Maximum growth of a supervisor beside its rows: what its allocator keeps for the threads that have served requests. A
/// thousand changes need 3 MiB.
const KEPT_BYTES: u64 = 6 << 20;

/// The environment variable with the number of random changes.
const CHANGES_VARIABLE: &str = "CAMRIG_SOAK_CHANGES";

const CAMERAS: &str = "\
    [camera.a]\ndriver = 'synthetic'\nprocess = 'a'\n\
    options = { model = 'any', color = 'off', depth = '32x24@100' }\n\
    [camera.b]\ndriver = 'synthetic'\nprocess = 'b'\n\
    options = { model = 'any', color = 'off', depth = '48x24@100' }\n\
    [processor.check]\nkind = 'verify'\nprocess = 'check'\ninputs = ['a', 'b']\noverflow = 'block'\n";

/// A processor between a camera and another one.
fn pass(process: &str) -> String {
    format!(
        "[processor.pass]\nkind = 'pass-on'\nprocess = '{process}'\ninputs = ['a']\noverflow = 'block'\n\
         [processor.last]\nkind = 'verify'\nprocess = 'check'\ninputs = ['pass']\noverflow = 'block'\n"
    )
}

/// The status socket of a rig.
pub(crate) fn socket(rig: &mut Rig) -> String {
    rig.wait_for("every actor", |rig| (rig.status().seconds > 0.0).then_some(()));
    let pid = format!("-{}-", rig.supervisor().as_raw_nonzero());
    let names = camrig_status::socket::names().unwrap();
    names.into_iter().find(|name| name.contains(&pid)).unwrap()
}

fn ask(socket: &str, text: &str, restarts: &[&str]) -> Answer {
    let apply = Apply {
        name: "changed.toml".to_owned(),
        text: text.to_owned(),
        restarts: restarts.iter().map(|&name| name.to_owned()).collect(),
        base: None,
        live: false,
        dry_run: false,
        by: "a test".to_owned(),
    };
    control::ask(socket, &Request::Apply(apply)).unwrap()
}

#[track_caller]
fn apply(socket: &str, text: &str) -> Vec<String> {
    match ask(socket, text, &[]) {
        Answer::Changes(changes) => changes,
        answer => panic!("{answer:?}"),
    }
}

/// Checks the equation of every link.
fn check(status: &RigStatus) {
    for link in &status.links {
        assert_eq!(link.produced, link.delivered + link.dropped_sum() + link.in_flight, "{link:?}");
    }
}

/// Waits until each of these links has delivered more framesets.
fn wait_for_flow(rig: &mut Rig, links: &[(&str, &str)]) {
    let delivered = |status: &RigStatus| -> Option<Vec<u64>> {
        let link = |(from, to): &(&str, &str)| {
            let mut links = status.links.iter();
            links.find(|link| link.from == *from && link.to == *to).map(|link| link.delivered)
        };
        links.iter().map(link).collect()
    };
    let mut before = None;
    rig.wait_for("framesets on every link", |rig| {
        let status = rig.status();
        check(&status);
        let now = delivered(&status)?;
        let before = before.get_or_insert_with(|| now.clone());
        before.iter().zip(&now).all(|(before, now)| now > &(before + 2)).then_some(())
    });
}

/// Returns the produced, delivered and dropped framesets of all links between two names, and the number of those.
fn sum(report: &Report, from: &str, to: &str) -> (u64, u64, u64, usize) {
    let links: Vec<_> = report.links.iter().filter(|link| link.from == from && link.to == to).collect();
    let sum = |count: fn(&crate::harness::Link) -> u64| links.iter().map(|link| count(link)).sum();
    (
        sum(|link| link.produced),
        sum(|link| link.delivered),
        sum(crate::harness::Link::dropped_of_all_reasons),
        links.len(),
    )
}

fn finish(rig: Rig) -> Ended {
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(0), "{:#?}", ended.stderr);
    ended.assert_settled();
    assert_eq!(ended.report().problems, <[String; 0]>::default());
    for actor in &ended.report().actors {
        assert!(actor.errors.is_empty(), "{actor:?}");
    }
    ended
}

fn text(rig: &str) -> String {
    match control::ask(rig, &Request::Topology).unwrap() {
        Answer::Topology { text, .. } => text,
        answer => panic!("{answer:?}"),
    }
}

/// A reader joins and leaves, in a process of its own and in others'.
fn readers_join_and_leave(placement: Placement) {
    let mut rig = Plan::new(CAMERAS, placement).start();
    let socket = socket(&mut rig);
    let base = text(&socket);
    assert_eq!(apply(&socket, &base), <[&str; 0]>::default());
    for process in ["new", "check", "main", "a", "new"] {
        let more = format!("[processor.w]\nkind = 'observer'\nprocess = '{process}'\ninputs = ['b', 'a']\n");
        let changes = apply(&socket, &format!("{base}{more}"));
        assert!(changes.contains(&format!("add processor `w` in process `{process}`")), "{changes:?}");
        wait_for_flow(&mut rig, &[("a", "check"), ("b", "check"), ("a", "w"), ("b", "w")]);
        let changes = apply(&socket, &base);
        assert_eq!(changes[0], "remove processor `w`");
        wait_for_flow(&mut rig, &[("a", "check"), ("b", "check")]);
    }
    let ended = finish(rig);
    let report = ended.report();
    for camera in ["a", "b"] {
        let produced = report.actor(camera).produced;
        assert_eq!(sum(report, camera, "check"), (produced, produced, 0, 1));
        let (w_produced, .., links) = sum(report, camera, "w");
        assert!(w_produced < produced && links == 5, "{w_produced} of {produced} on {links} links");
    }
}

/// A processor between two others moves from process to process, and loses nothing.
fn a_processor_moves(placement: Placement) {
    let start = format!("{CAMERAS}{}", pass("pass"));
    let mut rig = Plan::new(&start, placement).start();
    let socket = socket(&mut rig);
    let base = text(&socket);
    let moved = |process: &str| {
        let other = format!("kind = 'pass-on'\nprocess = '{process}'\n");
        base.replace("kind = 'pass-on'\nprocess = 'pass'\n", &other)
            .replace("kind = 'pass-on'\ninputs", &format!("{other}inputs"))
    };
    for process in ["check", "a", "main", "other", "check", "pass"] {
        let changes = apply(&socket, &moved(process));
        assert!(changes.iter().any(|change| change.starts_with("restart processor `pass`")), "{changes:?}");
        wait_for_flow(&mut rig, &[("a", "check"), ("b", "check"), ("a", "pass"), ("pass", "last")]);
    }
    let ended = finish(rig);
    let report = ended.report();
    for camera in ["a", "b"] {
        let produced = report.actor(camera).produced;
        assert_eq!(sum(report, camera, "check"), (produced, produced, 0, 1));
    }
    let produced = report.actor("a").produced;
    assert_eq!(sum(report, "a", "pass"), (produced, produced, 0, 7));
    assert_eq!(report.actor("pass").produced, produced);
    assert_eq!(sum(report, "pass", "last"), (produced, produced, 0, 7));
}

/// A camera restarts, and then moves to another process; its readers go on.
fn a_camera_begins_anew(placement: Placement) {
    let mut rig = Plan::new(CAMERAS, placement).start();
    let socket = socket(&mut rig);
    let base = text(&socket);
    for _ in 0..3 {
        let answer = ask(&socket, &base, &["b"]);
        assert_eq!(answer, Answer::Changes(vec!["restart camera `b`: as requested".to_owned()]));
        wait_for_flow(&mut rig, &[("a", "check"), ("b", "check")]);
    }
    for process in ["check", "a", "main"] {
        let moved = base.replace("[camera.b]\n", &format!("[camera.b]\nprocess = '{process}'\n"));
        let moved = moved.replace("driver = 'synthetic'\nprocess = 'b'", "driver = 'synthetic'");
        apply(&socket, &moved);
        wait_for_flow(&mut rig, &[("a", "check"), ("b", "check")]);
    }
    let ended = finish(rig);
    let report = ended.report();
    let produced = report.actor("a").produced;
    assert_eq!(sum(report, "a", "check"), (produced, produced, 0, 1));
    let produced = report.actor("b").produced;
    let (of_links, delivered, dropped, _) = sum(report, "b", "check");
    assert_eq!((of_links, delivered, dropped), (produced, produced, 0));
    assert_eq!(report.actor("check").restarts, 0);
}

/// A camera and its readers on one thread: they join, leave, restart and move, one of them or all. Readers elsewhere go on.
fn actors_of_one_thread_change() {
    let start = "\
        [camera.a]\ndriver = 'synthetic'\nthread = 'eye'\n\
        options = { model = 'any', color = 'off', depth = '32x24@100' }\n\
        [camera.b]\ndriver = 'synthetic'\nprocess = 'b'\n\
        options = { model = 'any', color = 'off', depth = '48x24@100' }\n\
        [processor.near]\nkind = 'verify'\nthread = 'eye'\ninputs = ['a']\noverflow = 'block'\n\
        [processor.check]\nkind = 'verify'\nprocess = 'check'\ninputs = ['a', 'b']\noverflow = 'block'\n\
        [process.eye]\nnice = 1\n";
    let mut rig = Plan::new(start, Placement::Mixed).start();
    let socket = socket(&mut rig);
    let eye = "thread = 'eye'\n";
    let more =
        format!("[processor.more]\nkind = 'verify'\n{eye}inputs = ['a']\noverflow = 'block'\n[process.eye]");
    let with_more = start.replace("[process.eye]", &more);
    let (bare, _) = start.split_once("[process.eye]").unwrap();
    let moved = |process: &str| bare.replace(eye, &format!("{eye}process = '{process}'\n"));
    let apart = bare.replacen(eye, "process = 'eye'\n", 2);
    let flow = [("a", "near"), ("a", "check"), ("b", "check")];
    for (text, restarts, first) in [
        (with_more.as_str(), &[][..], "add processor `more` in process `eye`"),
        (start, &[], "remove processor `more`"),
        (start, &["near"], "restart camera `a`: its thread restarts"),
        (start, &["a"], "restart camera `a`: as requested"),
        (start, &["a", "near"], "restart camera `a`: as requested"),
        (&moved("check"), &[], "restart camera `a`: process `eye` -> `check`"),
        (&moved("main"), &[], "restart camera `a`: process `check` -> `main`"),
        (start, &[], "start process `eye`"),
        (&apart, &[], "restart camera `a`: scheduling of its process, thread"),
        (start, &[], "restart camera `a`: scheduling of its process, thread"),
    ] {
        match ask(&socket, text, restarts) {
            Answer::Changes(changes) => assert_eq!(changes[0], first, "{changes:?}"),
            answer => panic!("{first}: {answer:?}"),
        }
        wait_for_flow(&mut rig, &flow);
    }
    // One actor of a thread cannot go elsewhere alone.
    let set = |name: &str| control::Edit::Set {
        name: name.to_owned(),
        settings: vec![("process".to_owned(), "'check'".to_owned())],
    };
    let edit = |edits| {
        let edits = control::Edits { edits, by: "a test".to_owned(), ..control::Edits::default() };
        control::ask(&socket, &Request::Edit(edits)).unwrap()
    };
    let Answer::Refused { message, .. } = edit(vec![set("near")]) else { panic!("`near` moves alone") };
    assert!(message.contains("actors of thread `eye` are in processes `eye` and `check`"), "{message}");
    assert!(matches!(edit(vec![set("a"), set("near")]), Answer::Changes(_)));
    wait_for_flow(&mut rig, &flow);
    let ended = finish(rig);
    let report = ended.report();
    for (from, to) in flow {
        let produced = report.actor(from).produced;
        let (of_links, delivered, dropped, _) = sum(report, from, to);
        assert_eq!((of_links, delivered, dropped), (produced, produced, 0), "{from} -> {to}");
    }
    assert_eq!(sum(report, "b", "check").3, 1);
    let restarts = ["a", "b", "near", "check"].map(|actor| report.actor(actor).restarts);
    assert_eq!(restarts, [0; 4]);
}

/// A camera has moved, and its framesets of before wait for a slow reader: the end of its process loses none of them.
fn a_process_ends_behind_a_camera_that_has_moved() {
    let start = "[camera.b]\ndriver = 'synthetic'\nprocess = 'b'\n\
                 options = { model = 'any', color = 'off', depth = '48x24@60' }\n\
                 [processor.slow]\nkind = 'faulty'\nprocess = 'check'\ninputs = ['b']\noverflow = 'block'\nqueue = 32\n\
                 options = { at = 'process', how = 'pause', after = 7, times = 1 }\n\
                 [processor.other]\nkind = 'verify'\nprocess = 'b'\ninputs = ['b']\n";
    let mut rig = Plan::new(start, Placement::Mixed).start();
    let socket = socket(&mut rig);
    let waits = |rig: &mut Rig| {
        let status = rig.status();
        let link = status.links.into_iter().find(|link| link.to == "slow")?;
        (link.in_flight >= 2).then_some(link.produced)
    };
    rig.wait_for("framesets that wait", waits);
    apply(&socket, &start.replacen("process = 'b'", "process = 'main'", 1));
    rig.wait_for("framesets of the next instance", waits);
    rig.kill_worker("b");
    rig.wait_for_stderr("processor `other` is running again");
    wait_for_flow(&mut rig, &[("b", "slow")]);
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(0), "{:#?}", ended.stderr);
    ended.assert_settled();
    let produced = ended.report().actor("b").produced;
    assert_eq!(sum(ended.report(), "b", "slow"), (produced, produced, 0, 2));
}

/// The processors behind six cameras move from the supervisor's process into one each and back, and each frameset passes
/// them once: the digests behind them are those in front of them, where nothing moves.
fn processors_of_six_cameras_are_swapped() {
    let swaps = requested(SWAPS_VARIABLE).unwrap_or(SWAPS);
    let topology = |placement: Placement| {
        let mut text = String::new();
        for number in 1..=6 {
            let process =
                if placement == Placement::InProcess { "main".to_owned() } else { format!("p{number}") };
            write!(
                text,
                "[camera.c{number}]\ndriver = 'synthetic'\nprocess = 'c{number}'\n\
                 options = {{ model = 'any', color = 'off', depth = '{}x24@60' }}\n\
                 [processor.p{number}]\nkind = 'pass-on'\nprocess = '{process}'\ninputs = ['c{number}']\n\
                 overflow = 'block'\n",
                30 + 2 * number,
            )
            .unwrap();
        }
        for (name, from) in [("near", 'c'), ("far", 'p')] {
            let inputs: Vec<_> = (1..=6).map(|number| format!("{from}{number}")).collect();
            write!(
                text,
                "[processor.{name}]\nkind = 'verify'\nprocess = '{name}'\ninputs = {inputs:?}\n\
                 overflow = 'block'\noptions = {{ digest = true }}\n"
            )
            .unwrap();
        }
        text
    };
    let mut rig = Plan::new(&topology(Placement::InProcess), Placement::Mixed).start();
    let socket = socket(&mut rig);
    let flow: Vec<_> = ["p1", "p2", "p3", "p4", "p5", "p6"].map(|processor| (processor, "far")).to_vec();
    let began = Instant::now();
    for swap in 0..swaps {
        let to = if swap % 2 == 0 { Placement::MultiProcess } else { Placement::InProcess };
        let changes = apply(&socket, &topology(to));
        let moved = changes.iter().filter(|change| change.starts_with("restart processor `p"));
        assert_eq!(moved.count(), 6, "{changes:?}");
        wait_for_flow(&mut rig, &flow);
    }
    eprintln!("changes: {swaps} swaps in {} ms", began.elapsed().as_millis());
    let ended = finish(rig);
    let mut verified: Vec<_> = ended.stdout.lines().filter(|line| line.starts_with("verify: ")).collect();
    verified.sort_unstable();
    let (near, far): (Vec<_>, Vec<_>) =
        verified.chunks(2).map(|pair| (pair[0], pair[pair.len() - 1])).unzip();
    assert_eq!((verified.len(), near), (12, far), "{}", ended.stdout);
}

/// Options that the devices set while they run: nothing restarts, no frameset is lost, and later instances have them.
fn options_are_set_by_another_topology(placement: Placement) {
    let mut rig = Plan::new(CAMERAS, placement).start();
    let socket = socket(&mut rig);
    let base = text(&socket);
    let with =
        |options: &str| base.replace("depth = '32x24@100' }", &format!("depth = '32x24@100', {options} }}"));
    let set = |rig: &mut Rig, options: &str, changes: &[&str]| {
        assert_eq!(apply(&socket, &with(options)), changes, "{options}");
        wait_for_flow(rig, &[("a", "check"), ("b", "check")]);
    };
    set(&mut rig, "exposure = 3000", &["set camera `a`: option `exposure` unset -> 3000"]);
    set(&mut rig, "exposure = 165000", &["set camera `a`: option `exposure` 3000 -> 165000"]);
    let both = "set camera `a`: option `emitter` unset -> false, option `gain` unset -> 32";
    set(&mut rig, "exposure = 165000, gain = 32, emitter = false", &[both]);
    let Answer::Refused { message, .. } = ask(&socket, &with("exposure = 165000, gain = 300"), &[]) else {
        panic!("a gain out of range is accepted")
    };
    assert!(message.contains("gain"), "{message}");
    let controls = |rig: &str| match control::ask(rig, &Request::Controls { camera: "a".to_owned() }).unwrap()
    {
        Answer::Controls(Ok(controls)) => {
            controls.iter().map(|it| it.value.as_ref().unwrap().to_string()).collect::<Vec<_>>()
        }
        answer => panic!("{answer:?}"),
    };
    assert_eq!(controls(&socket), ["false", "165000", "32", "false"]);
    // A restart keeps them, also in another process.
    assert!(matches!(ask(&socket, &text(&socket), &["a"]), Answer::Changes(_)));
    assert_eq!(controls(&socket), ["false", "165000", "32", "false"]);
    let ended = finish(rig);
    let report = ended.report();
    for camera in ["a", "b"] {
        let produced = report.actor(camera).produced;
        let (of_links, delivered, dropped, _) = sum(report, camera, "check");
        assert_eq!((of_links, delivered, dropped), (produced, produced, 0));
    }
    assert_eq!(report.actor("b").restarts, 0);
}

/// A camera whose process is killed after an option was set begins again with that value.
fn set_options_outlast_a_crash() {
    let mut rig = Plan::new(CAMERAS, Placement::Mixed).start();
    let socket = socket(&mut rig);
    let text = text(&socket).replace("'32x24@100' }", "'32x24@100', exposure = 3000 }");
    assert_eq!(apply(&socket, &text), ["set camera `a`: option `exposure` unset -> 3000"]);
    let worker = rig.children().into_iter().find(|worker| worker.process == "a").unwrap();
    kill_process(worker.pid, Signal::KILL).unwrap();
    rig.wait_for("the restart", |rig| {
        let status = rig.status();
        let a = status.actors.iter().find(|actor| actor.name == "a")?;
        (a.restarts == 1 && a.state == camrig_status::ActorState::Running).then_some(())
    });
    let Answer::Controls(Ok(controls)) =
        control::ask(&socket, &Request::Controls { camera: "a".to_owned() }).unwrap()
    else {
        panic!("no controls")
    };
    let exposure = controls.iter().find(|control| control.name == "exposure").unwrap();
    assert_eq!(exposure.value.as_ref().unwrap().to_string(), "3000");
    rig.signal(Signal::TERM);
    assert_eq!(rig.finish().code(), Some(0));
}

fn wrong_changes_change_nothing() {
    let mut rig = Plan::new(CAMERAS, Placement::Mixed).start();
    let socket = socket(&mut rig);
    let refused = |text: &str| match ask(&socket, text, &[]) {
        Answer::Refused { message, .. } => message,
        answer => panic!("{answer:?}"),
    };
    let message = refused(&CAMERAS.replace("'a', 'b'", "'a', 'd'"));
    assert!(message.starts_with("error: processor `check` reads unknown actor `d`"), "{message}");
    let metrics = format!("{CAMERAS}[metrics]\nlisten = '127.0.0.1:0'\n");
    assert_eq!(refused(&metrics), "`metrics` cannot change while the rig runs");
    assert!(matches!(ask(&socket, CAMERAS, &["d"]), Answer::Refused { .. }));
    assert_eq!(text(&socket), CAMERAS);
    // A processor that cannot be built is reported, and the others go on.
    let broken = format!(
        "{CAMERAS}[processor.broken]\nkind = 'faulty'\ninputs = ['a']\noptions = {{ at = 'constructor', how = 'error' }}\n\
         restart = {{ max = 0 }}\n"
    );
    let Answer::Failed { message } = ask(&socket, &broken, &[]) else { panic!("a broken processor works") };
    assert!(message.starts_with("the rig was changed, but processor `broken` failed: "), "{message}");
    wait_for_flow(&mut rig, &[("a", "check"), ("b", "check")]);
    apply(&socket, CAMERAS);
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(0), "{:#?}", ended.stderr);
    ended.assert_settled();
    let produced = ended.report().actor("a").produced;
    assert_eq!(sum(ended.report(), "a", "check"), (produced, produced, 0, 1));
}

/// Kinds that only the program of the command has join a rig, and leave with the command, also if it is killed.
fn a_kind_of_another_program_joins() {
    let mut rig = Plan::new(CAMERAS, Placement::Mixed).environment(PLAIN, "1").start();
    let socket = socket(&mut rig);
    let pid = rig.supervisor().as_raw_nonzero().to_string();
    let observers = ["attach", &pid, "observer", "--inputs", "a,b"];
    for is_killed in [false, true] {
        let mut command = rig.command(&observers).spawn().unwrap();
        let name = format!("observer-{}", command.id());
        let line = format!("{name} goes on with b");
        rig.wait_for_stdout(&line, |lines| lines.contains(&line.as_str()));
        assert!(text(&socket).contains(&format!("[process.{name}]\ncommand = [\"/")), "{}", text(&socket));
        if is_killed {
            command.kill().unwrap();
        } else {
            kill_process(Pid::from_child(&command), Signal::TERM).unwrap();
        }
        let code = command.wait().unwrap().code();
        assert_eq!(code, (!is_killed).then_some(0));
        rig.wait_for("the end of the processor", |_| (text(&socket) == CAMERAS).then_some(()));
    }
    // A kind that fails at its start leaves nothing; one that neither program has is refused.
    let run = |rig: &Rig, words: &[&str]| {
        let words = [&["attach", &pid, "--inputs", "a"], words].concat();
        let ended = rig.command(&words).output().unwrap();
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
    };
    let (code, stderr) = run(&rig, &["faulty", "at=constructor", "how=error", "restart.max=0"]);
    assert!(stderr.starts_with("error: the rig was changed, but processor `faulty-"), "{stderr}");
    assert_eq!((code, text(&socket).as_str()), (Some(70), CAMERAS));
    let (code, stderr) = run(&rig, &["observer", "colour=1"]);
    assert!(stderr.contains("unknown field `colour`"), "{stderr}");
    assert_eq!((code, text(&socket).as_str()), (Some(70), CAMERAS));
    let (code, stderr) = run(&rig, &["observe"]);
    assert!(stderr.contains("has unknown kind `observe`"), "{stderr}");
    assert_eq!((code, text(&socket).as_str()), (Some(78), CAMERAS));
    wait_for_flow(&mut rig, &[("a", "check"), ("b", "check")]);
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(0), "{:#?}", ended.stderr);
    ended.assert_settled();
    for camera in ["a", "b"] {
        let produced = ended.report().actor(camera).produced;
        assert_eq!(sum(ended.report(), camera, "check"), (produced, produced, 0, 1));
    }
}

/// The processors of a random topology: name, process, inputs.
type Actors = BTreeMap<String, (String, Vec<String>)>;

/// Returns a topology with these exposures of its six cameras, and these processors.
fn random_text(exposures: [u32; 6], actors: &Actors) -> String {
    let mut text = String::new();
    for (camera, exposure) in (1..).zip(exposures) {
        write!(
            text,
            "[camera.c{camera}]\ndriver = 'synthetic'\nprocess = 'c{camera}'\n\
             options = {{ model = 'any', color = 'off', depth = '{}x24@60', exposure = {exposure} }}\n",
            30 + 2 * camera,
        )
        .unwrap();
    }
    text += "[processor.check]\nkind = 'verify'\nprocess = 'check'\noverflow = 'block'\n\
             inputs = ['c1', 'c2', 'c3', 'c4', 'c5', 'c6']\n";
    for (name, (process, inputs)) in actors {
        write!(
            text,
            "[processor.{name}]\nkind = 'observer'\nprocess = '{process}'\ninputs = {inputs:?}\n\
             restart = {{ max = 1000, window = 1, backoff_millis = 1, backoff_max_millis = 20 }}\n"
        )
        .unwrap();
    }
    text
}

/// The end of an attached processor.
#[derive(Clone, Copy, Debug)]
enum AttachedEnd {
    /// Its time is over.
    Time,
    /// The command that attached it is killed.
    CommandKilled,
    /// Its process is killed, and then its time is over.
    WorkerKilled,
}

/// Attaches a processor as from another terminal, and waits until it has left.
fn attach_for_a_while(rig: &mut Rig, camera: &str, end: AttachedEnd) {
    let time = if matches!(end, AttachedEnd::CommandKilled) { "1h" } else { "100ms" };
    let pid = rig.supervisor().as_raw_nonzero().to_string();
    let arguments = ["attach", &pid, "observer", "--inputs", camera, "--for", time];
    let mut command = rig.command(&arguments).spawn().unwrap();
    let name = format!("observer-{}", command.id());
    let state = |rig: &mut Rig| {
        let status = rig.status();
        check(&status);
        status.actors.iter().find(|actor| actor.name == name).map(|actor| actor.state)
    };
    match end {
        AttachedEnd::Time => {}
        AttachedEnd::CommandKilled => {
            rig.wait_for("the attached processor", |rig| state(rig));
            command.kill().unwrap();
        }
        AttachedEnd::WorkerKilled => {
            let worker = |rig: &mut Rig| rig.children().into_iter().find(|worker| worker.process == name);
            // It may have left already.
            let found = rig.wait_for("its process", |rig| {
                let is_over = command.try_wait().unwrap().is_some();
                worker(rig).map(Some).or(is_over.then_some(None))
            });
            let _ = found.map(|worker| kill_process(worker.pid, Signal::KILL));
        }
    }
    let ended = command.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    if matches!(end, AttachedEnd::Time) {
        assert!(ended.status.success(), "{stderr}");
    }
    rig.wait_for("the end of the attached processor", |rig| {
        state(rig).is_none_or(camrig_status::ActorState::has_ended).then_some(())
    });
}

/// Checks that the memory of a supervisor has grown by no more than the rows of its report, and what it keeps of each.
fn check_memory(report: &Report, grown: u64) {
    let rows = [
        (report.links.len(), LINK_BYTES),
        (report.actors.len(), ACTOR_BYTES),
        (report.processes.len(), PROCESS_BYTES),
        (report.changes_of_run.len(), CHANGE_BYTES),
    ];
    let kept: u64 = rows.iter().map(|&(count, bytes)| count as u64 * bytes).sum();
    eprintln!(
        "changes: the supervisor has {} KiB more than before; rows and their bytes: {rows:?}",
        grown >> 10
    );
    assert!(grown <= KEPT_BYTES + kept, "{grown} bytes; rows and their bytes: {rows:?}");
}

/// Adds, removes, moves, sets, restarts and attaches actors, and kills the processes of some in between.
fn random_changes() {
    let changes = requested(CHANGES_VARIABLE).unwrap_or(CHANGES);
    let mut random = seeded();
    let mut exposures = [8500; 6];
    let mut rig = Plan::new(&random_text(exposures, &Actors::new()), Placement::Mixed).start();
    let socket = socket(&mut rig);
    let flow: Vec<_> = ["c1", "c2", "c3", "c4", "c5", "c6"].map(|camera| (camera, "check")).to_vec();
    // Producers keep the slots, and processes the notifiers, that the largest topology so far has needed.
    let processes = ["main", "p1", "p2", "p3", "check", "c1"];
    let inputs: Vec<_> = flow.iter().map(|(camera, _)| (*camera).to_owned()).collect();
    let observer = |number: usize| (format!("w{number}"), (processes[number % 6].to_owned(), inputs.clone()));
    apply(&socket, &random_text(exposures, &(0..8).map(observer).collect()));
    wait_for_flow(&mut rig, &flow);
    apply(&socket, &random_text(exposures, &Actors::new()));
    wait_for_flow(&mut rig, &flow);
    let mut settled = resources(&rig);
    let baseline = rig.wait_for("the end of all processes that are left", |rig| {
        std::thread::sleep(SETTLING);
        let before = std::mem::replace(&mut settled, resources(rig));
        before.filter(|before| settled.as_ref() == Some(before))
    });
    let (mut actors, began) = (Actors::new(), Instant::now());
    let mut slowest = Duration::ZERO;
    let resident = resident_bytes(rig.supervisor());
    for number in 0..changes {
        let process = processes[random.usize(..processes.len())].to_owned();
        let names: Vec<_> = actors.keys().cloned().collect();
        let chosen = (!names.is_empty()).then(|| names[random.usize(..names.len())].clone());
        let mut restarts = Vec::new();
        match (random.u8(..10), &chosen) {
            (0..2, Some(name)) => drop(actors.remove(name)),
            (2..4, Some(name)) => actors.get_mut(name).unwrap().0 = process,
            (4, Some(name)) => restarts.push(name.as_str()),
            (5, _) => exposures[random.usize(..6)] = random.u32(1..=165_000),
            (6, _) => {
                let ends = [AttachedEnd::Time, AttachedEnd::CommandKilled, AttachedEnd::WorkerKilled];
                let end = ends[random.usize(..ends.len())];
                attach_for_a_while(&mut rig, &format!("c{}", 1 + number % 6), end);
            }
            _ => {
                let inputs = (1..=6).filter(|_| random.bool()).map(|camera| format!("c{camera}"));
                let mut inputs: Vec<_> = inputs.collect();
                inputs.push(format!("c{}", 1 + number % 6));
                inputs.sort();
                inputs.dedup();
                actors.insert(format!("w{}", number % 8), (process, inputs));
            }
        }
        if random.u8(..5) == 0 {
            // Only processes of observers: those of unchanged links go on.
            let workers: Vec<_> =
                rig.children().into_iter().filter(|worker| worker.process.starts_with('p')).collect();
            if !workers.is_empty() {
                // It may have ended already.
                let _ = kill_process(workers[random.usize(..workers.len())].pid, Signal::KILL);
            }
        }
        let asked = Instant::now();
        match ask(&socket, &random_text(exposures, &actors), &restarts) {
            // A process that was killed fails its actors, which are restarted.
            Answer::Changes(_) | Answer::Failed { .. } => {}
            answer => panic!("{answer:?}"),
        }
        slowest = slowest.max(asked.elapsed());
        check(&rig.status());
    }
    eprintln!(
        "changes: {changes} in {} ms, the slowest took {} ms",
        began.elapsed().as_millis(),
        slowest.as_millis()
    );
    match ask(&socket, &random_text(exposures, &Actors::new()), &[]) {
        Answer::Changes(_) => {}
        answer => panic!("{answer:?}"),
    }
    wait_for_flow(&mut rig, &flow);
    // Some of the baseline may have been on its way to its end.
    rig.wait_for("no more resources than before the changes", |rig| {
        let now = resources(rig)?;
        let is_kept = now.is_within(&baseline);
        if !is_kept {
            eprintln!("changes: not yet {baseline:?}, but {now:?}");
            std::thread::sleep(SETTLING);
        }
        is_kept.then_some(())
    });
    let names: Vec<_> = rig.status().processes.into_iter().map(|process| process.name).collect();
    assert_eq!(names, ["main", "c1", "c2", "c3", "c4", "c5", "c6", "check"]);
    let grown = resident_bytes(rig.supervisor()).saturating_sub(resident);
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(0), "{:#?}", ended.stderr);
    ended.assert_settled();
    let report = ended.report();
    check_memory(report, grown);
    for (camera, _) in flow {
        let produced = report.actor(camera).produced;
        assert_eq!(sum(report, camera, "check"), (produced, produced, 0, 1));
    }
    assert_eq!((report.actor("check").restarts, report.actor("check").errors.len()), (0, 0));
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    conformance(trials, "changes::readers_join_and_leave", readers_join_and_leave);
    conformance(trials, "changes::a_processor_moves", a_processor_moves);
    conformance(trials, "changes::a_camera_begins_anew", a_camera_begins_anew);
    conformance(trials, "changes::options_are_set_by_another_topology", options_are_set_by_another_topology);
    test(trials, "changes::set_options_outlast_a_crash", set_options_outlast_a_crash);
    let ends_behind = a_process_ends_behind_a_camera_that_has_moved;
    test(trials, "changes::a_process_ends_behind_a_camera_that_has_moved", ends_behind);
    test(trials, "changes::actors_of_one_thread_change", actors_of_one_thread_change);
    test(trials, "changes::processors_of_six_cameras_are_swapped", processors_of_six_cameras_are_swapped);
    test(trials, "changes::wrong_changes_change_nothing", wrong_changes_change_nothing);
    test(trials, "changes::a_kind_of_another_program_joins", a_kind_of_another_program_joins);
    test(trials, "changes::random_changes", random_changes);
}
