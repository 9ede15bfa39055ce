//! Tests that matches are the same in every placement, and that every frameset is accounted for.

use libtest_mimic::Trial;
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Ended, Placement, Plan};
use crate::program::FEW_MATCHES;
use crate::{conformance, conformance_with_one_thread, test};

const FRAMESETS: u64 = 400;

/// Three cameras whose exposures are a little apart, one of them at half the rate, two with lost framesets.
const CAMERAS: &str = "
[camera.left]
driver = 'synthetic'
process = 'eyes'
options = { model = 'any', seed = 1, paced = false, color = 'off', depth = '64x48@30', drop_rate = 0.05 }

[camera.right]
driver = 'synthetic'
process = 'eyes'
options = { model = 'any', seed = 2, paced = false, color = 'off', depth = '64x48@30', drop_rate = 0.05, clock_skew = 9.0 }

[camera.top]
driver = 'synthetic'
process = 'top'
options = { model = 'any', seed = 3, paced = false, color = '32x24@15', depth = '64x48@15', clock_skew = -3.0, gyro = 400 }
";

/// Returns a processor with `match` that drops no frameset.
fn processor(name: &str, kind: &str, process: &str, inputs: &str, matching: &str) -> String {
    format!(
        "[processor.{name}]\nkind = '{kind}'\nprocess = '{process}'\ninputs = {inputs}\noverflow = 'block'\n\
         match = {{ window_millis = 14, clock = 'hardware'{matching} }}\n"
    )
}

fn run(topology: &str, placement: Placement) -> Ended {
    let framesets = FRAMESETS.to_string();
    let ended = Plan::new(topology, placement).arguments(&["--framesets", &framesets]).run();
    ended.assert_said(0, &[]);
    ended.assert_settled();
    ended
}

/// Returns the sorted lines that processors printed at their end.
fn lines(ended: &Ended) -> Vec<&str> {
    let mut lines: Vec<_> = ended.stdout.lines().filter(|line| !line.contains(" so far: ")).collect();
    lines.sort_unstable();
    lines
}

/// Returns the rest of the line that starts with this name.
fn said<'a>(lines: &[&'a str], name: &str) -> &'a str {
    let found = lines.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    found.unwrap_or_else(|| panic!("`{name}` printed no line in {lines:#?}"))
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// Returns the report's counts and spreads, which depend on the cameras' clocks only.
fn matching_without_rates(ended: &Ended) -> Value {
    let mut matching = ended.report().matching.clone();
    for of_processor in matching.as_array_mut().unwrap() {
        of_processor.as_object_mut().unwrap().remove("rate_hz").unwrap();
    }
    matching
}

fn same_in_every_placement() {
    let all = "['left', 'right', 'top']";
    let topology = CAMERAS.to_owned()
        + &processor("whole", "fuse", "main", all, "")
        + &processor("actor", "fuse-actor", "actor", all, "")
        + &processor("partial", "fuse", "top", all, ", missing = 'partial', queue = 3")
        + &processor("together", "match", "together", all, "")
        + &processor("again", "fuse", "main", "['together']", "")
        + &processor("single", "verify", "eyes", all, "")
            .replace("'block'\n", "'block'\noptions = { digest = true }\n")
        + "[processor.verify]\nkind = 'verify'\ninputs = ['together']\noverflow = 'block'\noptions = { digest = true }\n";
    let [first, others @ ..] = Placement::WITH_ONE_THREAD.map(|placement| run(&topology, placement));
    let expected = lines(&first);
    for other in others {
        assert_eq!(lines(&other), expected);
        assert_eq!(matching_without_rates(&other), matching_without_rates(&first));
    }
    // Each of about 400 framesets of the slow camera has a partner, unless one was lost.
    let whole = said(&expected, "whole");
    assert_eq!(said(&expected, "again"), whole);
    assert_eq!(said(&expected, "actor"), whole);
    let matches = |text: &str| text.split(' ').next().unwrap().parse::<u64>().unwrap();
    assert!((150..=200).contains(&matches(whole)), "{expected:#?}");
    assert!(matches(said(&expected, "partial")) > matches(whole), "{expected:#?}");
    assert!(said(&expected, "partial").contains(&format!(" {} complete", matches(whole))), "{expected:#?}");

    let report = first.report();
    for of_processor in report.matching.as_array().unwrap() {
        let name = of_processor["processor"].as_str().unwrap();
        for camera in of_processor["cameras"].as_array().unwrap() {
            let unmatched: u64 = camera["unmatched"].as_object().unwrap().values().map(count).sum();
            let accounted = count(&camera["matched"]) + unmatched;
            let from = camera["name"].as_str().unwrap();
            let delivered = if name == "again" { matches(whole) } else { report.link(from, name).delivered };
            assert_eq!(accounted, delivered, "{of_processor:#}");
        }
    }
    // A plain processor with `match` is called with each matched frameset, and so is a reader of a `match`.
    let single: Vec<_> = expected.iter().filter(|line| line.starts_with("verify: left: ")).collect();
    assert_eq!(single.len(), 2, "{expected:#?}");
    assert!(
        single.iter().all(|line| line.contains(&format!(" {} framesets", matches(whole)))),
        "{expected:#?}"
    );
}

/// A camera that delivers nothing, and does not end, stalls no match that may lack it.
fn a_silent_camera(placement: Placement) {
    let topology = CAMERAS.replace("clock_skew = -3.0", "stall_at = 0.0").replace("paced = false, ", "")
        + &processor("block", "fuse", "main", "['left', 'right', 'top']", ", missing = 'partial'")
        + &processor("drop", "fuse", "drop", "['left', 'right', 'top']", ", missing = 'partial'")
            .replace("'block'", "'drop-oldest'");
    let mut rig = Plan::new(&topology, placement).start();
    rig.wait_for("matches without a silent camera", |rig| {
        let few = |name| rig.highest(name) >= FEW_MATCHES;
        (few("block so far: ") && few("drop so far: ")).then_some(())
    });
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(0), "{:?}", ended.stderr);
    ended.assert_settled();
}

/// A camera that was disconnected has another clock: the change is detected, and the camera is matched again.
fn a_camera_that_comes_back(placement: Placement) {
    let camera = |name: &str, options: &str| {
        format!(
            "[camera.{name}]\ndriver = 'synthetic'\nprocess = '{name}'\nrestart = {{ backoff_millis = 20 }}\n\
             options = {{ model = 'any', color = 'off', depth = '64x48@30'{options} }}\n"
        )
    };
    let topology = camera("left", "")
        + &camera("right", ", clock_skew = 5000.0, unplug_at = 1.0, replug_after = 0.1")
        + "[processor.fuse]\nkind = 'fuse'\nprocess = 'main'\ninputs = ['left', 'right']\n\
           match = { window_millis = 17, clock = 'estimated' }\n";
    let mut rig = Plan::new(&topology, placement).start();
    rig.wait_for_stderr("camera `right` is running again");
    let before = rig.highest("fuse so far: ");
    rig.wait_for("matches after the camera came back", |rig| {
        (rig.highest("fuse so far: ") > before + FEW_MATCHES).then_some(())
    });
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(0), "{:?}", ended.stderr);
    let epochs: Vec<_> = ["/0/cameras/0/epochs", "/0/cameras/1/epochs"]
        .map(|place| ended.report().matching.pointer(place).and_then(Value::as_u64))
        .into();
    assert_eq!(epochs, [Some(0), Some(1)], "{:#}", ended.report().matching);
}

fn clocks_that_are_not_the_declared_one(placement: Placement) {
    let topology = CAMERAS.to_owned()
        + &processor("fuse", "fuse", "main", "['left']", "").replace("'hardware'", "'global'");
    let ended = Plan::new(&topology, placement).run();
    let error = "error: processor `fuse` compares `global` clocks, but `left` uses `hardware`";
    assert_eq!((ended.code(), ended.stderr[0].as_str()), (Some(78), error), "{:?}", ended.stderr);
}

/// Cameras with default options, matched with the required keys only. Nothing triggers them together: the framesets of three at
/// 30 Hz are up to two thirds of 33 ms apart.
fn clocks_by_default(placement: Placement) {
    let camera = |name: &str| format!("[camera.{name}]\ndriver = 'synthetic'\nprocess = '{name}'\n");
    let cameras = ["left", "right", "top"].map(camera).concat().replace(
        "'synthetic'\n",
        "'synthetic'\noptions = { model = 'any', color = 'off', depth = '64x48@30' }\n",
    );
    let fuse = "[processor.fuse]\nkind = 'fuse'\nprocess = 'main'\ninputs = ['left', 'right', 'top']\n\
                match = { window_millis = 23 }\n";
    let mut rig = Plan::new(&(cameras + fuse), placement).start();
    rig.wait_for("a match", |rig| rig.status().matching.iter().any(|it| it.matches > 0).then_some(()));
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(0), "{:?}", ended.stderr);
    let matched = ended.stdout.lines().find(|line| line.starts_with("fuse: "));
    assert!(matched.is_some_and(|line| !line.starts_with("fuse: 0 ")), "{}", ended.stdout);
}

/// Timestamps that leap, or are of another clock, are logged, counted and left out.
fn wrong_times(placement: Placement) {
    let process = if placement == Placement::MultiProcess { "fuse" } else { "main" };
    let leaps = "the timestamp of frame 20 leaps by +60.000 s (leap 1); framesets are left out as `time-leap` until it \
                 returns";
    let keeps = "`match` compares `hardware` clocks, but `left` uses `hardware`, `right` uses `global`; \
                 declare the clock that all of them have, or `clock = \"estimated\"`; matching continues without camera";
    let leapt = [
        format!("WARN  {process}/fuse: camera `right`: {leaps}"),
        format!("WARN  {process}/fuse: camera `right`: timestamps are back after 10 framesets"),
    ];
    let mixed = format!("WARN  {process}/fuse: camera `right` mixes clocks: `hardware` and `global`");
    let kept = [mixed.clone(), format!("ERROR {process}/fuse: {keeps} `right`")];
    let (all, some) = ("", ", missing = 'partial', wait = ['left']");
    for (wrong, matching, reason, left_out, matches, said) in [
        ("to = 30, leap_millis = 60000, global = false", all, "time-leap", 10, 190, &leapt[..]),
        ("to = 30, leap_millis = 0, global = true", all, "other-clock", 10, 190, &[mixed]),
        ("to = 200, leap_millis = 0, global = true", some, "other-clock", 180, 200, &kept),
    ] {
        let camera = |name: &str, times: &str| {
            let options = format!("frames = 200, times = {{ {times} }}");
            format!("[camera.{name}]\ndriver = 'pattern'\noptions = {{ {options} }}\n")
        };
        let topology = camera("left", "from = 0, to = 0, leap_millis = 0, global = false")
            + &camera("right", &format!("from = 20, {wrong}"))
            + &processor("fuse", "fuse", "main", "['left', 'right']", matching);
        let ended = Plan::new(&topology, placement).run();
        ended.assert_said(0, &said.iter().map(String::as_str).collect::<Vec<_>>());
        ended.assert_settled();
        let unmatched = &ended.report().matching[0]["cameras"][1]["unmatched"];
        assert_eq!(unmatched[reason], left_out, "{unmatched}");
        let matched = format!("fuse: {matches} matches, {matches} complete, ");
        assert!(ended.stdout.lines().any(|line| line.starts_with(&matched)), "{wrong}: {}", ended.stdout);
    }
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    test(trials, "matching::the_same_in_every_placement", same_in_every_placement);
    conformance_with_one_thread(trials, "matching::a_silent_camera_stalls_no_match", a_silent_camera);
    conformance_with_one_thread(trials, "matching::a_camera_comes_back", a_camera_that_comes_back);
    conformance_with_one_thread(trials, "matching::clocks_by_default", clocks_by_default);
    conformance(trials, "matching::wrong_times_are_logged_and_left_out", wrong_times);
    conformance(trials, "matching::clocks_are_checked", clocks_that_are_not_the_declared_one);
}
