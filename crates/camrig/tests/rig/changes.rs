//! Rigs that change while they run: unchanged actors lose no frameset, and every frameset is accounted for.

mod random;

use std::fmt::Write;
use std::time::Instant;

use camrig_status::RigStatus;
use camrig_status::control::{self, Answer, Apply, Edit, Edits, Request};
use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Ended, Placement, Plan, Report, Rig};
use crate::program::PLAIN;
use crate::soak::requested;
use crate::{conformance, test};

/// Number of swaps without the environment variable.
const SWAPS: u64 = 20;

/// The environment variable with the number of swaps.
const SWAPS_VARIABLE: &str = "CAMRIG_SOAK_SWAPS";

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

/// A camera restarts, and then moves to another process; its readers continue.
fn a_camera_restarts_and_moves(placement: Placement) {
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

/// A camera and its readers on one thread: they join, leave, restart and move, one of them or all. Readers elsewhere continue.
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
    // A single actor of a thread cannot move to another process.
    let set = |name: &str| Edit::Set {
        name: name.to_owned(),
        settings: vec![("process".to_owned(), "'check'".to_owned())],
    };
    let edit = |edits| {
        let edits = Edits { edits, by: "a test".to_owned(), ..Edits::default() };
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
fn a_process_ends_after_its_camera_has_moved() {
    let start = "[camera.b]\ndriver = 'synthetic'\nprocess = 'b'\n\
                 options = { model = 'any', color = 'off', depth = '48x24@60' }\n\
                 [processor.slow]\nkind = 'faulty'\nprocess = 'check'\ninputs = ['b']\noverflow = 'block'\nqueue = 32\n\
                 options = { at = 'process', how = 'long-pause', after = 7, times = 1 }\n\
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

/// Changes that are asked for at the same time are carried out one after another.
fn changes_take_turns() {
    let mut rig = Plan::new(CAMERAS, Placement::Mixed).start();
    let socket = socket(&mut rig);
    let add = &|name: String| {
        let inputs = vec!["a".to_owned()];
        let edits = vec![Edit::Add { name, kind: "stats".to_owned(), inputs, settings: Vec::new() }];
        control::ask(&socket, &Request::Edit(Edits { edits, by: "a test".to_owned(), ..Edits::default() }))
    };
    std::thread::scope(|scope| {
        let asking: Vec<_> =
            (0..6).map(|number| scope.spawn(move || add(format!("s{number}")).unwrap())).collect();
        for answer in asking {
            let answer = answer.join().unwrap();
            assert!(matches!(answer, Answer::Changes(_)), "{answer:?}");
        }
    });
    wait_for_flow(&mut rig, &[("a", "s0"), ("a", "s5")]);
    finish(rig);
}

/// The processors behind six cameras move from the supervisor's process into one each and back, and each frameset passes
/// them once: the digests behind them are those in front of them, where nothing moves. With the variable set the cameras are
/// as fast as their readers, so that they miss no frameset, and the digests are also those of a rig that never changes.
fn processors_of_six_cameras_are_swapped() {
    let requested = requested(SWAPS_VARIABLE);
    let (swaps, is_paced) = (requested.unwrap_or(SWAPS), requested.is_none());
    let topology = |placement: Placement| {
        let mut text = String::new();
        for number in 1..=6 {
            let process =
                if placement == Placement::InProcess { "main".to_owned() } else { format!("p{number}") };
            write!(
                text,
                "[camera.c{number}]\ndriver = 'synthetic'\nprocess = 'c{number}'\n\
                 options = {{ model = 'any', color = 'off', depth = '{}x24@60', paced = {is_paced} }}\n\
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
    assert_eq!((verified.len(), &near), (12, &far), "{}", ended.stdout);
    if is_paced {
        return;
    }
    // As many framesets of each camera in a rig that never changes.
    let mut still = String::new();
    for number in 1..=6 {
        let frames = ended.report().actor(&format!("c{number}")).produced;
        write!(
            still,
            "[camera.c{number}]\ndriver = 'synthetic'\n\
             options = {{ model = 'any', color = 'off', depth = '{}x24@60', paced = false, frames = {frames} }}\n",
            30 + 2 * number,
        )
        .unwrap();
    }
    still += "[processor.near]\nkind = 'verify'\ninputs = ['c1', 'c2', 'c3', 'c4', 'c5', 'c6']\n\
              overflow = 'block'\noptions = { digest = true }\n";
    let still = Plan::new(&still, Placement::InProcess).run();
    let mut expected: Vec<_> = still.stdout.lines().collect();
    expected.sort_unstable();
    assert_eq!(far, expected, "{:#?}", still.stderr);
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
    let controls =
        |rig: &str| match control::ask(rig, &Request::Controls { camera: "a".to_owned(), to_set: false })
            .unwrap()
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
        control::ask(&socket, &Request::Controls { camera: "a".to_owned(), to_set: false }).unwrap()
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
    // A processor that cannot be built is reported, and the others continue.
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

/// A processor of another terminal that is slow, or whose process is stopped, misses framesets, and nobody else does; it
/// leaves with its command.
fn an_attached_processor_costs_nothing() {
    // They wait for the reader that blocks, so that a busy machine loses nothing.
    let cameras = CAMERAS.replace("@100'", "@100', paced = false");
    let mut rig = Plan::new(&cameras, Placement::Mixed).start();
    let socket = socket(&mut rig);
    let pid = rig.supervisor().as_raw_nonzero().to_string();
    // The slow one takes seconds for each frameset.
    for (words, is_stopped) in [(&["faulty", "at=process", "how=pause"][..], false), (&["observer"], true)] {
        let arguments = [&["attach", &pid, "--inputs", "a,b"], words].concat();
        let mut command = rig.command(&arguments).spawn().unwrap();
        let name = format!("{}-{}", words[0], command.id());
        let least = |rig: &mut Rig, count: fn(&camrig_status::LinkStatus) -> u64| {
            let status = rig.status();
            check(&status);
            status.links.iter().filter(|link| link.to == name).map(count).min().unwrap_or(0)
        };
        // One that is stopped earlier is waited for until its time to start is over.
        rig.wait_for("the processor", |rig| {
            let status = rig.status();
            let own = status.actors.iter().find(|actor| actor.name == name)?;
            (own.state == camrig_status::ActorState::Running).then_some(())
        });
        if is_stopped {
            rig.signal_worker(&name, Signal::STOP);
            rig.wait_for_stderr(&format!("process `{name}` is stopped by signal 19 (SIGSTOP)"));
        }
        let missed = |rig: &mut Rig| least(rig, camrig_status::LinkStatus::dropped_sum);
        let before = missed(&mut rig);
        rig.wait_for("missed framesets", |rig| (missed(rig) > before + 100).then_some(()));
        command.kill().unwrap();
        command.wait().unwrap();
        rig.wait_for("the end of the processor", |_| (text(&socket) == cameras).then_some(()));
        rig.wait_for("the end of its process", |rig| {
            rig.children().iter().all(|worker| worker.process != name).then_some(())
        });
    }
    wait_for_flow(&mut rig, &[("a", "check"), ("b", "check")]);
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(0), "{:#?}", ended.stderr);
    for camera in ["a", "b"] {
        let produced = ended.report().actor(camera).produced;
        assert_eq!(sum(ended.report(), camera, "check"), (produced, produced, 0, 1));
        assert_eq!(ended.report().actor(camera).lost, 0, "{:?}", ended.report().actor(camera));
        assert_eq!(ended.report().actor("check").restarts, 0);
    }
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    conformance(trials, "changes::readers_join_and_leave", readers_join_and_leave);
    conformance(trials, "changes::a_processor_moves", a_processor_moves);
    conformance(trials, "changes::a_camera_restarts_and_moves", a_camera_restarts_and_moves);
    conformance(trials, "changes::options_are_set_by_another_topology", options_are_set_by_another_topology);
    test(trials, "changes::set_options_outlast_a_crash", set_options_outlast_a_crash);
    let ends_behind = a_process_ends_after_its_camera_has_moved;
    test(trials, "changes::a_process_ends_after_its_camera_has_moved", ends_behind);
    test(trials, "changes::actors_of_one_thread_change", actors_of_one_thread_change);
    test(trials, "changes::changes_take_turns", changes_take_turns);
    test(trials, "changes::processors_of_six_cameras_are_swapped", processors_of_six_cameras_are_swapped);
    test(trials, "changes::wrong_changes_change_nothing", wrong_changes_change_nothing);
    test(trials, "changes::a_kind_of_another_program_joins", a_kind_of_another_program_joins);
    test(trials, "changes::an_attached_processor_costs_nothing", an_attached_processor_costs_nothing);
    test(trials, "changes::random_changes", random::random_changes);
}
