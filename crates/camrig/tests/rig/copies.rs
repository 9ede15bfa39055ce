//! Tests how often pixels are copied, counted where they are read: never within a process, once between processes.

use std::fmt::Write;

use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::harness::{Ended, Placement, Plan};
use crate::soak::resources;
use crate::test;

const FRAMESETS: u64 = 200;

/// Runs a camera in process `camera`, and a reader in each of these processes that expects this kind of memory.
fn run(placement: Placement, camera: &str, readers: &[&str], memory: &str) -> Ended {
    let mut topology = format!("[camera.camera]\ndriver = 'pattern'\nprocess = '{camera}'\n");
    for (number, process) in readers.iter().enumerate() {
        write!(
            topology,
            "[processor.reader-{number}]\nkind = 'addresses'\nprocess = '{process}'\ninputs = ['camera']\n\
             overflow = 'block'\noptions = {{ expect = '{memory}' }}\n"
        )
        .unwrap();
    }
    let framesets = FRAMESETS.to_string();
    let ended = Plan::new(&topology, placement).arguments(&["--framesets", &framesets]).run();
    ended.assert_said(0, &[]);
    ended.assert_complete(FRAMESETS);
    ended
}

/// Returns the sorted lines of stdout: processes print in any order.
fn lines(ended: &Ended) -> Vec<&str> {
    let mut lines: Vec<_> = ended.stdout.lines().collect();
    lines.sort_unstable();
    lines
}

/// Runs a camera, two processors that forward, and a reader at the end that expects this kind of memory.
fn forward(placement: Placement, memory: &str) -> Ended {
    let processor = |name: &str, kind: &str, input: &str, options: &str| {
        format!(
            "[processor.{name}]\nkind = '{kind}'\ninputs = ['{input}']\noverflow = 'block'\noptions = {options}\n"
        )
    };
    let topology = "[camera.camera]\ndriver = 'pattern'\n".to_owned()
        + &processor("first", "pass-on", "camera", "{}")
        + &processor("second", "pass-on", "first", "{}")
        + &processor("reader", "addresses", "second", &format!("{{ expect = '{memory}' }}"));
    let framesets = FRAMESETS.to_string();
    let ended = Plan::new(&topology, placement).arguments(&["--framesets", &framesets]).run();
    ended.assert_said(0, &[]);
    ended.assert_complete(FRAMESETS);
    ended
}

/// Returns the framesets that each of these actors copied.
fn copied<const N: usize>(ended: &Ended, actors: [&str; N]) -> [u64; N] {
    actors.map(|name| ended.report().actor(name).copied)
}

/// Pixels of a frameset of a camera below.
const PIXEL_BYTES: u64 = 640 * 480 * (2 + 3);

/// The shared memory that two cameras in one process and their readers have reserved. How much of it they use depends on how
/// late the readers are.
fn shared_bytes(processors: &str) -> u64 {
    let camera = |name: &str| {
        format!(
            "[camera.{name}]\ndriver = 'synthetic'\nslots = 12\n\
             options = {{ model = 'any', color = '640x480@30', depth = '640x480@30' }}\n"
        )
    };
    let topology = camera("left") + &camera("right") + processors;
    let mut rig = Plan::new(&topology, Placement::InProcess).start();
    rig.wait_for("framesets", |rig| rig.status().links.iter().all(|link| link.delivered >= 10).then_some(()));
    let bytes = rig.wait_for("all processes", |rig| resources(rig)).shared_bytes;
    rig.signal(Signal::TERM);
    rig.finish().assert_said(0, &[]);
    bytes
}

const READ_ONCE: &str = "camera: frames by how often they were read: {1: 200}";

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    test(trials, "copies::readers_in_the_process_see_the_drivers_own_memory", || {
        let ended = run(Placement::InProcess, "camera", &["a", "b"], "same");
        let lines = lines(&ended);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(
            lines[1..],
            ["reader-0: 200 framesets, Same memory", "reader-1: 200 framesets, Same memory"]
        );
    });
    test(trials, "copies::one_reader_in_another_process_costs_one_copy", || {
        let ended = run(Placement::MultiProcess, "camera", &["a"], "shared");
        assert_eq!(lines(&ended), [READ_ONCE, "reader-0: 200 framesets, Shared memory"]);
    });
    test(trials, "copies::four_readers_in_four_processes_cost_one_copy", || {
        let ended = run(Placement::MultiProcess, "camera", &["a", "b", "c", "d"], "shared");
        let readers = [0, 1, 2, 3].map(|number| format!("reader-{number}: 200 framesets, Shared memory"));
        let expected: Vec<_> = [READ_ONCE].into_iter().chain(readers.iter().map(String::as_str)).collect();
        assert_eq!(lines(&ended), expected);
    });
    test(trials, "copies::forwarding_in_the_process_copies_nothing", || {
        let ended = forward(Placement::InProcess, "same");
        let lines = lines(&ended);
        assert_eq!(lines[1..], ["reader: 200 framesets, Same memory"]);
        assert_eq!(copied(&ended, ["camera", "first", "second"]), [0, 0, 0]);
    });
    test(trials, "copies::forwarding_to_another_process_costs_one_copy_that_is_counted", || {
        let ended = forward(Placement::MultiProcess, "shared");
        assert_eq!(lines(&ended), [READ_ONCE, "reader: 200 framesets, Shared memory"]);
        assert_eq!(copied(&ended, ["camera", "first", "second"]), [FRAMESETS; 3]);
    });
    test(trials, "copies::match_before_stats_takes_no_shared_memory_of_its_own", || {
        let matched = "match = { window_millis = 30, clock = 'hardware', missing = 'partial' }\n";
        let alone = format!("[processor.stats]\nkind = 'stats'\ninputs = ['left', 'right']\n{matched}");
        let behind = format!(
            "[processor.together]\nkind = 'match'\ninputs = ['left', 'right']\n{matched}\
             [processor.stats]\nkind = 'stats'\ninputs = ['together']\n"
        );
        let (alone, behind) = (shared_bytes(&alone), shared_bytes(&behind));
        assert!(alone > 2 * 12 * PIXEL_BYTES, "{alone} bytes");
        assert!(behind < alone + PIXEL_BYTES, "{alone} bytes, behind `match` {behind}");
    });
    test(trials, "copies::a_reader_beside_the_camera_shares_the_one_copy", || {
        // Two of three readers share a process that is not the camera's: also one copy.
        for processes in [["together", "main", "far"], ["far", "far", "main"]] {
            let ended = run(Placement::Mixed, "together", &processes, "shared");
            let readers = [0, 1, 2].map(|number| format!("reader-{number}: 200 framesets, Shared memory"));
            let expected: Vec<_> =
                [READ_ONCE].into_iter().chain(readers.iter().map(String::as_str)).collect();
            assert_eq!(lines(&ended), expected);
        }
    });
}
