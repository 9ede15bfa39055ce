//! Matches of cameras on two hosts, over a cable that delays and limits the rate, and with a clock that is wrong.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::agents::{Crossing, Program, WINDOW, agent_by, ends_with_parent, program, report, wait};
use crate::cable::{Cable, Quality};
use crate::crossing::free_address;
use crate::program::PAIR;
use crate::test;

/// Matches after which a run ends.
const MATCHES: usize = 40;

/// Half the time between two framesets of `right`, in microseconds: no frameset of `left` is further from the nearest one.
const HALF_MICROS: i64 = 83_333;

/// A camera on each host, matched on both. Their rates differ, so that framesets of every distance are matched; and the time
/// between two framesets is long beside what is not known of the clocks, also on a machine that does other work.
fn topology(folder: &Path, address: &str) -> String {
    let text = format!(
        r#"
        [host.arm]
        address = "tcp/{address}"
        insecure = true
        rate_megabits = 100

        [camera.left]
        driver  = "synthetic"
        host    = "arm"
        options = {{ model = "any", seed = 1, depth = "320x240@5", color = "320x240@5" }}

        [camera.right]
        driver  = "synthetic"
        options = {{ model = "any", seed = 2, depth = "320x240@6", color = "320x240@6" }}

        [processor.here]
        kind   = "pairs"
        inputs = ["left", "right"]
        match  = {{ window_millis = 90, clock = "estimated" }}

        [processor.there]
        kind   = "pairs"
        host   = "arm"
        inputs = ["left", "right"]
        match  = {{ window_millis = 90, clock = "estimated" }}
        "#
    );
    let path = folder.join("rig.toml").display().to_string();
    std::fs::write(&path, text).unwrap();
    path
}

/// Returns the frameset of `right` that was matched with each of `left`, and how far both are apart in microseconds.
pub(crate) fn pairs(lines: &[String]) -> BTreeMap<u64, (u64, i64)> {
    let pair = |line: &String| {
        let numbers: Vec<i64> =
            line.strip_prefix(PAIR)?.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let [left, right, spread] = numbers[..] else { panic!("{line}") };
        Some((left as u64, (right as u64, spread)))
    };
    lines.iter().filter_map(pair).collect()
}

/// Two hosts, and the way between them.
pub(crate) struct TwoHosts {
    /// The commands of the agent and of the first host, without arguments.
    pub(crate) agent: Command,
    pub(crate) first: Command,
    /// Where the agent listens, and where the first host finds it.
    pub(crate) listen: String,
    pub(crate) address: String,
    /// The least time from one to the other.
    pub(crate) delay: Duration,
    /// How far the agent's clock is behind that of the first host.
    pub(crate) offset_seconds: f64,
}

impl TwoHosts {
    /// Two hosts on this machine, with a cable between them.
    fn of(quality: Quality, agent: Command, offset_seconds: f64) -> Self {
        let listen = free_address();
        let address = Cable::of(quality, &listen).address;
        Self { agent, first: program(), listen, address, delay: quality.delay, offset_seconds }
    }
}

/// The hosts match the same framesets, unless these are as near to the next ones within the uncertainty of the clocks.
pub(crate) fn same_matches(hosts: TwoHosts) {
    let TwoHosts { agent, first, listen, address, delay, offset_seconds } = hosts;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let allowed = ["--listen", &format!("tcp/{listen}"), "--insecure"];
    let mut agent = agent_by(agent, folder, "agent", &allowed);
    let path = topology(folder, &address);
    let report_file = folder.join("report.json").display().to_string();
    let mut run = Program::start_by(first, folder, "run", &["run", &path, "--report", &report_file]);
    let (here, there) = (run.lines(), agent.lines());
    let context = || run.stderr() + &agent.stderr();
    let both = || [&here, &there].map(|lines| pairs(&lines.lock().unwrap()));
    let common = || {
        let [here, there] = both();
        here.keys().filter(|left| there.contains_key(left)).count()
    };
    wait("matches", || common() >= MATCHES, context);
    run.signal(Signal::INT);
    let (code, _) = run.finish();
    assert_eq!(code, Some(0), "{}{}", run.stderr(), agent.stderr());

    let report = report(folder);
    let clock = &report["hosts"][0]["clock"];
    let number = |key: &str| clock[key].as_f64().unwrap_or_else(|| panic!("{report:#}"));
    let (offset, known) = (number("offset_ms") / 1e3, number("uncertainty_us"));
    assert!((offset - offset_seconds).abs() * 1e6 <= known, "{clock}");
    assert!(known >= delay.as_micros() as f64, "{clock}");
    // Either host maps the other's times, and a camera's own clock is estimated from its arrivals.
    let unsure = 2 * known as i64 + 3000;
    let [here, there] = both();
    let mut compared = 0;
    for (left, (right, spread)) in &here {
        let Some((other, other_spread)) = there.get(left) else { continue };
        if HALF_MICROS - spread.abs().min(other_spread.abs()) > unsure {
            assert_eq!(right, other, "#{left}: {spread} and {other_spread} us, {clock}");
            compared += 1;
        }
    }
    assert!(compared > 0, "nothing was compared: {known} us, {here:?} {there:?}");
    println!("matches: {compared} of {} alike, {clock}", here.len());
    for (sender, receiver) in [("arm/left", "left"), ("right", "arm/right")] {
        let crossing = Crossing::of(&report, sender, receiver);
        assert!(crossing.published > 0 && crossing.in_flight() <= WINDOW + 1, "{crossing:?} {report:#}");
    }
}

/// Framesets that a processor of another host has made from those of its camera are matched by that camera.
fn processed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let listen = format!("tcp/{}", free_address());
    let agent = agent_by(program(), folder, "agent", &["--listen", &listen]);
    let camera = |name: &str, place: &str| {
        format!(
            "[camera.{name}]\ndriver = 'synthetic'\n{place}\n\
             options = {{ model = 'any', color = 'off', depth = '32x24@30' }}\n"
        )
    };
    let text = format!(
        r#"
        [host.arm]
        address = "{listen}"

        [processor.clouds]
        kind   = "pointcloud"
        host   = "arm"
        inputs = ["left"]

        [processor.both]
        kind   = "pairs"
        inputs = ["clouds", "right"]
        match  = {{ window_millis = 500, clock = "estimated", wait = ["left", "right"] }}
        "#
    );
    let path = folder.join("rig.toml").display().to_string();
    std::fs::write(&path, camera("left", "host = 'arm'") + &camera("right", "") + &text).unwrap();
    let mut run = Program::start(folder, "run", &["run", &path]);
    let lines = run.lines();
    let context = || run.stderr() + &agent.stderr();
    wait("matches", || pairs(&lines.lock().unwrap()).len() >= 5, context);
    run.signal(Signal::INT);
    assert_eq!(run.finish().0, Some(0), "{}", run.stderr());
}

/// Returns the command that runs the program with a monotonic clock that is 3 s ahead.
fn wrong_clock() -> Command {
    let mut command = ends_with_parent();
    command
        .args(["unshare", "--time", "--fork", "--kill-child", "--monotonic", "3", "--"])
        .arg(std::env::current_exe().unwrap());
    command
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    let millis = Duration::from_millis;
    let slow = Quality { delay: millis(3), jitter: millis(2), mbps: Some(100) };
    test(trials, "matches::a_slow_cable_of_100_megabits_changes_no_match", move || {
        same_matches(TwoHosts::of(slow, program(), 0.0));
    });
    test(trials, "matches::framesets_of_a_processor_are_matched_by_their_camera", processed);
    // Only root may set the clock of others.
    let mut of_root = Vec::new();
    test(&mut of_root, "matches::a_clock_that_is_wrong_by_3_s_changes_no_match", || {
        same_matches(TwoHosts::of(Quality::default(), wrong_clock(), -3.0));
    });
    trials.extend(of_root.into_iter().map(|trial| trial.with_ignored_flag(true)));
}
