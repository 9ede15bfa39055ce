//! Long runs in which workers are killed at random moments: nothing may hang, get lost without being counted, or be
//! left behind.
//!
//! `just soak` runs them for a chosen time. Without a time they end after a thousand kills, as the gate runs them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use fastrand::Rng;
use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Placement, Plan, Rig};
use crate::test;

/// The environment variables with the duration of a soak, such as 10m, and its seed. Empty counts as unset.
const TIME: &str = "CAMRIG_SOAK_TIME";
const SEED: &str = "CAMRIG_SOAK_SEED";

/// Number of kills in a soak without a duration.
const KILLS: u64 = 1000;

/// Number of kills between two checks of the undisturbed rig.
const KILLS_BETWEEN_CHECKS: u64 = 50;

/// The longest pause after a kill: some workers die before they have connected, others in steady state.
const PAUSE_MILLIS: u64 = 40;

/// Maximum growth of the supervisor after its first kills: less than a byte per kill of a long run, plus the variation
/// of the allocator.
const GROWTH_BYTES: u64 = 1 << 20;

const CAMERAS: [&str; 6] = ["c1", "c2", "c3", "c4", "c5", "c6"];

/// The processors that report their framesets: name, process, overflow, inputs.
const WITNESSES: [(&str, &str, &str, &[&str]); 4] = [
    ("all", "all", "drop-oldest", &CAMERAS),
    ("strict", "strict", "block", &["c1", "c2", "c3", "pass"]),
    ("near", "together", "drop-oldest", &["c6", "c5", "pass"]),
    ("own", "main", "drop-newest", &["pass", "c4"]),
];

fn topology() -> String {
    // Unlimited restarts: no policy gives up an actor that is killed a thousand times.
    let common = "restart = { max = 1000, window = 1, backoff_millis = 1, backoff_max_millis = 20 }\n\
                  stall_timeout_millis = 0\n";
    let mut topology = String::new();
    for camera in CAMERAS {
        let process = if camera == "c6" { "together" } else { camera };
        write!(
            topology,
            "[camera.{camera}]\ndriver = 'synthetic'\nprocess = '{process}'\n{common}\
             options = {{ model = 'any', color = 'off', depth = '32x24@100' }}\n"
        )
        .unwrap();
    }
    write!(
        topology,
        "[processor.pass]\nkind = 'pass-on'\ninputs = ['c1', 'c2']\nprocess = 'pass'\n{common}\
         [processor.verify]\nkind = 'verify'\ninputs = ['c6', 'c3', 'pass']\nprocess = 'together'\n{common}"
    )
    .unwrap();
    for (name, process, overflow, inputs) in WITNESSES {
        write!(
            topology,
            "[processor.{name}]\nkind = 'observer'\nprocess = '{process}'\ninputs = {inputs:?}\n\
             overflow = '{overflow}'\n{common}"
        )
        .unwrap();
    }
    topology
}

/// The resources of a rig: descriptors and mappings of shared memory by process, and the size of all shared memory that
/// the processes have descriptors of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    processes: BTreeMap<String, (usize, usize)>,
    pub(crate) shared_bytes: u64,
}

impl Resources {
    /// Returns whether the processes are the same, and none has more than in `other`.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        let is_within = |(process, (descriptors, mappings)): (&String, &(usize, usize))| {
            let of_other = other.processes.get(process);
            of_other.is_some_and(|of_other| *descriptors <= of_other.0 && *mappings <= of_other.1)
        };
        self.processes.len() == other.processes.len()
            && self.processes.iter().all(is_within)
            && self.shared_bytes <= other.shared_bytes
    }
}

/// Returns a rig's resources; `None` when a process ended, or closed a descriptor, meanwhile.
pub(crate) fn resources(rig: &Rig) -> Option<Resources> {
    let mut resources = Resources::default();
    let mut shared = BTreeSet::new();
    let workers = rig.children().into_iter().map(|worker| (worker.process, worker.pid));
    for (process, pid) in workers.chain([("main".to_owned(), rig.supervisor())]) {
        let pid = pid.as_raw_nonzero();
        let mut descriptors = 0;
        for descriptor in fs::read_dir(format!("/proc/{pid}/fd")).ok()? {
            let path = descriptor.ok()?.path();
            descriptors += 1;
            if fs::read_link(&path).ok()?.to_string_lossy().starts_with("/memfd:") {
                let file = fs::metadata(&path).ok()?;
                shared.insert((file.ino(), file.len()));
            }
        }
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
        let mappings = maps.lines().filter(|line| line.contains("/memfd:")).count();
        resources.processes.insert(process, (descriptors, mappings));
    }
    resources.shared_bytes = shared.iter().map(|(_, bytes)| bytes).sum();
    Some(resources)
}

/// Returns the private memory of a process.
pub(crate) fn resident_bytes(pid: Pid) -> u64 {
    let status = procfs::process::Process::new(pid.as_raw_nonzero().get()).unwrap().status().unwrap();
    status.rssanon.unwrap() << 10
}

/// Waits until every link delivers a frameset from now on.
fn wait_for_all_links(rig: &mut Rig) {
    rig.forget_stdout();
    rig.wait_for_stdout("framesets on every link", |lines| {
        WITNESSES.iter().all(|(name, _, _, inputs)| {
            inputs.iter().all(|input| lines.contains(&format!("{name} goes on with {input}").as_str()))
        })
    });
}

/// Waits until the rig's resources are the same as before any kill.
pub(crate) fn wait_for_baseline(rig: &mut Rig, baseline: &Resources) {
    let mut last = None;
    rig.wait_for("the resources of the rig before any kill", |rig| {
        let now = resources(rig)?;
        let same = now == *baseline;
        if !same && last.as_ref() != Some(&now) {
            eprintln!("soak: not yet {baseline:?}, but {now:?}");
            last = Some(now);
        }
        same.then_some(())
    });
}

/// Kills some workers and returns how many.
fn kill_some(rig: &Rig, random: &mut Rng) -> u64 {
    let mut workers = rig.children();
    random.shuffle(&mut workers);
    let victims = match random.u8(..20) {
        // All at the same time, including both ends of every link.
        0 => workers.len(),
        1..5 => 2,
        _ => 1,
    };
    let mut kills = 0;
    for worker in workers.iter().take(victims) {
        // A worker that has ended already was killed before.
        kills += u64::from(kill_process(worker.pid, Signal::KILL).is_ok());
    }
    kills
}

fn soak() {
    let time = requested::<jiff::SignedDuration>(TIME).map(jiff::SignedDuration::unsigned_abs);
    let mut random = seeded();
    let mut rig = Plan::new(&topology(), Placement::Mixed).start();
    wait_for_all_links(&mut rig);
    let baseline = rig.wait_for("all processes", |rig| resources(rig));
    let began = Instant::now();
    let (mut kills, mut checked_at, mut resident_at_first) = (0, 0, None);
    while time.map_or(kills < KILLS, |time| began.elapsed() < time) {
        kills += kill_some(&rig, &mut random);
        // Not a wait for a fact: the next kill hits the workers in another phase.
        std::thread::sleep(Duration::from_millis(random.u64(..PAUSE_MILLIS)));
        if kills - checked_at >= KILLS_BETWEEN_CHECKS {
            checked_at = kills;
            wait_for_all_links(&mut rig);
            wait_for_baseline(&mut rig, &baseline);
            let resident = resident_bytes(rig.supervisor());
            eprintln!(
                "soak: {kills} kills in {} s, the supervisor holds {} KiB",
                began.elapsed().as_secs(),
                resident >> 10,
            );
            let resident_at_first = *resident_at_first.get_or_insert(resident);
            assert!(
                resident <= resident_at_first + GROWTH_BYTES,
                "{resident} bytes after {resident_at_first}"
            );
        }
    }
    wait_for_all_links(&mut rig);
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    let expected = |line: &&String| {
        line.contains("was killed by signal 9 (SIGKILL); it")
            || line.ends_with("is running again")
            || line.contains("verify: ")
            // The progress of a run, once a minute.
            || line.contains(" framesets/s delivered, ")
    };
    let unexpected: Vec<_> = ended.stderr.iter().filter(|line| !expected(line)).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
    assert_eq!(ended.code(), Some(0));
    ended.assert_settled();
    let restarts: u64 = ended.report().actors.iter().map(|actor| actor.restarts).sum();
    assert!(restarts > 0);
}

/// Number of rigs whose workers are killed while they start, and while they end.
const RIGS: u64 = 20;

/// Kills workers while the rig starts, until it has ended because of that or runs anyway.
fn kills_during_start() {
    let mut random = seeded();
    for _ in 0..RIGS {
        let rig = Plan::new(&topology(), Placement::Mixed).start();
        let mut kills = 0;
        while kills < 3 {
            std::thread::sleep(Duration::from_millis(random.u64(..PAUSE_MILLIS)));
            kills += kill_some(&rig, &mut random);
            if rig.children().is_empty() && kills > 0 {
                break;
            }
        }
        rig.signal(Signal::TERM);
        assert_ended(rig);
    }
}

/// Kills workers while the rig ends.
fn kills_during_end() {
    let mut random = seeded();
    for _ in 0..RIGS {
        let mut rig = Plan::new(&topology(), Placement::Mixed).start();
        wait_for_all_links(&mut rig);
        let (before, after) = (random.u64(..3), random.u64(..3));
        for _ in 0..before {
            kill_some(&rig, &mut random);
        }
        std::thread::sleep(Duration::from_micros(random.u64(..2_000)));
        rig.signal(Signal::TERM);
        for _ in 0..after {
            std::thread::sleep(Duration::from_millis(random.u64(..10)));
            kill_some(&rig, &mut random);
        }
        assert_ended(rig);
    }
}

/// Checks that a rig ends with exact accounting and leaves nothing, whichever workers were killed.
fn assert_ended(rig: Rig) {
    let ended = rig.finish();
    assert!([Some(0), Some(70)].contains(&ended.code()), "{:?}", ended.status);
    assert!(!ended.stderr.iter().any(|line| line.contains("did not end within")), "{:#?}", ended.stderr);
    ended.assert_settled();
}

/// Returns the value of an environment variable.
pub(crate) fn requested<T: FromStr<Err: Debug>>(variable: &str) -> Option<T> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable}={text}: {error:?}")))
}

/// Returns a generator with the requested seed, or a random one. Printed to stderr, which the harness does not capture.
pub(crate) fn seeded() -> Rng {
    let seed = requested(SEED).unwrap_or_else(|| fastrand::u64(..));
    eprintln!("soak: {SEED}={seed}");
    Rng::with_seed(seed)
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    // Only `just soak` runs them: they take minutes.
    let mut soaks = Vec::new();
    test(&mut soaks, "soak::workers_are_killed", soak);
    test(&mut soaks, "soak::workers_are_killed_while_the_rig_starts", kills_during_start);
    test(&mut soaks, "soak::workers_are_killed_while_the_rig_ends", kills_during_end);
    trials.extend(soaks.into_iter().map(|soak| soak.with_ignored_flag(true)));
}
