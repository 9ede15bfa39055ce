//! Tests that load does not make a rig grow beyond the bound that `check` prints: not a stopped reader, and not a slow
//! one whose camera dies.

use std::collections::BTreeMap;

use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::harness::{Placement, Plan, Rig};
use crate::soak::{resident_bytes, resources, wait_for_baseline};
use crate::{conformance, test};

/// Returns a camera with a reader that may be slow or stopped, beside one that receives everything.
fn topology(sluggish: &str) -> String {
    format!(
        "[camera.front]\ndriver = 'pattern'\noptions = {{ pause_millis = 1 }}\n\
         restart = {{ max = 9, backoff_millis = 1 }}\n\
         [processor.sluggish]\nkind = 'count'\ninputs = ['front']\n{sluggish}\n\
         [processor.pulse]\nkind = 'count'\ninputs = ['front']\noverflow = 'block'\noptions = {{ beat = 10 }}\n"
    )
}

/// Waits until `reader` has printed that it received this many more framesets.
fn wait_for_framesets(rig: &mut Rig, reader: &str, framesets: u64) {
    let start = format!("{reader} front ");
    let until_now = rig.highest(&start);
    rig.wait_for(&start, |rig| (rig.highest(&start) >= until_now + framesets).then_some(()));
}

/// Framesets that the other reader receives while one is stopped: far more than all slots and queues hold.
const STOPPED_FOR: u64 = 2000;

/// Maximum number of framesets queued for a reader.
const QUEUE: u64 = 3;

/// Maximum growth of a process, in bytes: a tenth of the framesets produced while a reader is stopped.
const GROWTH_BYTES: u64 = 1 << 20;

/// Returns the private memory of every process.
fn resident(rig: &Rig) -> BTreeMap<String, u64> {
    let workers = rig.children().into_iter().map(|worker| (worker.process, worker.pid));
    let processes = workers.chain([("main".to_owned(), rig.supervisor())]);
    processes.map(|(process, pid)| (process, resident_bytes(pid))).collect()
}

/// While a reader is stopped, its camera drops nothing for the other reader, and no process grows. Then the reader
/// continues with framesets no older than the length of its queue.
fn stopped_reader() {
    let sluggish = format!("queue = {QUEUE}\noptions = {{ beat = 10, sequences = true }}");
    let mut rig = Plan::new(&topology(&sluggish), Placement::MultiProcess).start();
    wait_for_framesets(&mut rig, "sluggish", 100);
    wait_for_framesets(&mut rig, "pulse", 100);
    let before = rig.wait_for("all processes", |rig| resources(rig));
    let resident_before = resident(&rig);
    rig.signal_worker("sluggish", Signal::STOP);
    rig.wait_for_stderr("process `sluggish` is stopped by signal 19 (SIGSTOP)");
    wait_for_framesets(&mut rig, "pulse", STOPPED_FOR);
    assert_eq!(resources(&rig).as_ref(), Some(&before));
    for (process, bytes) in resident(&rig) {
        let before = resident_before[&process];
        assert!(bytes <= before + GROWTH_BYTES, "{process} has {bytes} bytes after {before}");
    }
    let produced = rig.status().actors[0].produced;
    rig.forget_stdout();
    rig.signal_worker("sluggish", Signal::CONT);
    wait_for_framesets(&mut rig, "sluggish", 20);
    let sequences = rig.numbers("sluggish front sequence ");
    // It may have been processing one when it was stopped; and the producer counts a frameset before it queues it.
    let fresh = |&sequence: &u64| sequence + QUEUE + 1 >= produced;
    assert!(sequences.iter().skip(1).all(fresh), "{produced} were produced before {sequences:?}");
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(0), "{:?}", ended.stderr);
    ended.assert_settled();
    let link = ended.report().link("front", "sluggish");
    assert_eq!(link.dropped.keys().collect::<Vec<_>>(), ["drop-oldest"], "{link:?}");
    // All framesets except those in process or in its queue were dropped.
    assert!(link.dropped["drop-oldest"] >= STOPPED_FOR - 20, "{link:?}");
    let link = ended.report().link("front", "pulse");
    assert_eq!((link.delivered, link.dropped.len()), (link.produced, 0), "{link:?}");
}

/// Number of restarts of an actor while another process is stopped: the commands and events about them are far more than
/// any channel holds.
const RESTARTS: u64 = 1000;

/// Waits until an actor was restarted [`RESTARTS`] times, and the other reader still receives framesets. The watchdog
/// guards each tenth of them.
fn wait_for_restarts(rig: &mut Rig, actor: usize) {
    for restarts in (1..=10).map(|tenth| RESTARTS / 10 * tenth) {
        rig.wait_for("restarts", |rig| (rig.status().actors[actor].restarts >= restarts).then_some(()));
    }
    wait_for_framesets(rig, "pulse", 50);
}

/// Unlimited restarts, as in the soak.
const UNLIMITED_RESTARTS: &str = "restart = { max = 1000, window = 1, backoff_millis = 1, backoff_max_millis = 1 }\nstall_timeout_millis = 0\n";

/// A stopped reader receives nothing about the instances of its camera. That blocks no other process, and the memory of
/// at most two instances is kept.
fn stopped_reader_of_a_camera_that_fails() {
    let fault = format!("{{ at = 'capture', how = 'error', after = 3, times = {RESTARTS} }}");
    let topology = topology("options = { beat = 10 }")
        .replace("pause_millis = 1 }", &format!("pause_millis = 1, fault = {fault} }}"))
        .replace("restart = { max = 9, backoff_millis = 1 }\n", UNLIMITED_RESTARTS);
    let mut rig = Plan::new(&topology, Placement::MultiProcess).start();
    wait_for_framesets(&mut rig, "sluggish", 10);
    let before = rig.wait_for("all processes", |rig| resources(rig));
    rig.signal_worker("sluggish", Signal::STOP);
    wait_for_restarts(&mut rig, 0);
    let most = before.shared_bytes * 2;
    let now = rig.wait_for("all processes", |rig| resources(rig));
    assert!(now.shared_bytes <= most, "{now:?} after {before:?}");
    rig.signal_worker("sluggish", Signal::CONT);
    wait_for_framesets(&mut rig, "sluggish", 50);
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(0));
    ended.assert_settled();
    assert!(!ended.report().link("front", "sluggish").dropped.contains_key("refused"));
    let link = ended.report().link("front", "pulse");
    assert_eq!((link.delivered, link.dropped.len()), (link.produced, 0), "{link:?}");
}

/// A stopped producer takes no commands about the instances of its reader. That blocks no other process: when too many
/// commands are queued, its process is killed and restarted.
fn stopped_producer_of_a_reader_that_dies() {
    let topology = format!(
        "[camera.front]\ndriver = 'pattern'\noptions = {{ pause_millis = 1 }}\n\
         [processor.pass]\nkind = 'pass-on'\ninputs = ['front']\n{UNLIMITED_RESTARTS}\
         [processor.sluggish]\nkind = 'observer'\ninputs = ['front', 'pass']\n{UNLIMITED_RESTARTS}\
         [processor.pulse]\nkind = 'count'\ninputs = ['front']\noverflow = 'block'\noptions = {{ beat = 10 }}\n"
    );
    let mut rig = Plan::new(&topology, Placement::MultiProcess).start();
    let goes_on = |lines: &[&str]| lines.contains(&"sluggish goes on with pass");
    rig.wait_for_stdout("framesets of `pass`", goes_on);
    rig.signal_worker("pass", Signal::STOP);
    let again = "processor `sluggish` is running again";
    let mut deaths = 0;
    while !rig.stderr().contains("processor `pass` is running again") {
        deaths += 1;
        assert!(deaths <= RESTARTS, "a stopped process takes any number of commands");
        rig.kill_worker("sluggish");
        rig.wait_for_stderr_times(again, deaths as usize);
    }
    wait_for_framesets(&mut rig, "pulse", 50);
    rig.forget_stdout();
    rig.wait_for_stdout("framesets of `pass`", goes_on);
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(0));
    ended.assert_settled();
    let link = ended.report().link("front", "pulse");
    assert_eq!((link.delivered, link.dropped.len()), (link.produced, 0), "{link:?}");
}

/// A camera that dies leaves framesets in the queue of a slow reader. Once they are read, their pool is freed.
fn slow_reader_of_a_camera_that_dies() {
    let slow = "overflow = 'block'\noptions = { pause_millis = 20, beat = 1 }";
    let mut rig = Plan::new(&topology(slow), Placement::MultiProcess).start();
    wait_for_framesets(&mut rig, "sluggish", 5);
    let baseline = rig.wait_for("all processes", |rig| resources(rig));
    for _ in 0..3 {
        rig.kill_worker("front");
        wait_for_framesets(&mut rig, "sluggish", 5);
        wait_for_baseline(&mut rig, &baseline);
    }
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(0), "{:?}", ended.stderr);
    ended.assert_settled();
}

/// Returns the upper bound of the rig's memory that `check` prints, in bytes.
fn bound(topology: &str, placement: Placement) -> u64 {
    let said = Plan::new(topology, placement).check();
    let line = said.lines().find_map(|line| line.strip_prefix("slots and queues take at most ")).unwrap();
    line.strip_suffix(" KiB of memory").unwrap().parse::<u64>().unwrap() << 10
}

/// `check` names the slots whose sizes are unknown before the first frameset.
fn unknown_sizes() {
    let topology = "
[camera.front]
driver = 'pattern'
[camera.rear]
driver = 'synthetic'
options = { model = 'any', color = 'off', depth = '32x24@30' }
[processor.pass]
kind = 'pass-on'
slots = 2
inputs = ['front', 'rear']
[processor.pulse]
kind = 'count'
inputs = ['pass']
";
    let said = Plan::new(topology, Placement::MultiProcess).check();
    // Four pages for each of five slots, and one for each of three links, four actors and five processes.
    assert_eq!(
        said.lines().nth(1),
        Some(
            "slots and queues take at most 128 KiB of memory, plus 5 slots of `front`, 2 slots of `pass` \
             whose size depends on the first frameset"
        )
    );
}

/// With readers slower than the cameras, the memory that processes share stays below the bound that `check` prints, and
/// reaches most of it.
fn bounded(placement: Placement) {
    let topology = "
[camera.front]
driver = 'synthetic'
slots = 6
options = { model = 'any', paced = false, color = '160x120@30', depth = '320x240@30' }
[camera.rear]
driver = 'synthetic'
process = 'together'
options = { model = 'any', paced = false, color = 'off', depth = '640x480@30' }
[processor.slow]
kind = 'count'
process = 'together'
inputs = ['front', 'rear']
options = { pause_millis = 5 }
[processor.slower]
kind = 'count'
inputs = ['front']
options = { pause_millis = 20 }
[processor.pulse]
kind = 'count'
process = 'main'
inputs = ['front', 'rear']
options = { beat = 10 }
";
    let bound = bound(topology, placement);
    let mut rig = Plan::new(topology, placement).start();
    let mut peak = 0;
    rig.wait_for("a loaded rig", |rig| {
        // `None` while processes start and end.
        peak = peak.max(resources(rig).map_or(0, |resources| resources.shared_bytes));
        (rig.highest("pulse rear ") >= 300).then_some(())
    });
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(0), "{:?}", ended.stderr);
    assert!(peak <= bound, "{peak} bytes, but at most {bound} were announced");
    assert!(peak > bound / 10 * 9, "{peak} bytes, but {bound} were announced");
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    conformance(trials, "load::memory_is_bounded", bounded);
    test(trials, "load::memory_that_is_not_known", unknown_sizes);
    test(trials, "load::a_reader_is_stopped", stopped_reader);
    test(trials, "load::a_reader_is_stopped_while_its_camera_fails", stopped_reader_of_a_camera_that_fails);
    test(trials, "load::a_producer_is_stopped_while_its_reader_dies", stopped_producer_of_a_reader_that_dies);
    test(trials, "load::a_camera_of_a_slow_reader_dies", slow_reader_of_a_camera_that_dies);
}
