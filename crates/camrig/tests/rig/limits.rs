//! Tests of a machine without free descriptors, threads, memory or disk space: one line names the actor that lacks them, and
//! the rest of the rig continues where possible.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use libtest_mimic::Trial;
use rustix::process::{Resource, Rlimit, Signal, prlimit};

use crate::harness::{Placement, Plan, Rig};
use crate::{conformance, test};

const TOPOLOGY: &str = "
[camera.front]
driver = 'pattern'
restart = { max = 1000, window = 1, backoff_millis = 1, backoff_max_millis = 10 }
options = { pause_millis = 1 }
[camera.rear]
driver = 'pattern'
options = { pause_millis = 1 }
[processor.reader]
kind = 'observer'
restart = { max = 1000, window = 1, backoff_millis = 1, backoff_max_millis = 10 }
inputs = ['front', 'rear']
[processor.pulse]
kind = 'count'
process = 'main'
inputs = ['front', 'rear']
options = { beat = 10 }
";

/// The lowest limit: with fewer descriptors the program cannot start at all, since signals and the status need theirs. A
/// test runner may leave it some open ones.
const FEWEST: u32 = 15;

/// Checks that each line names an actor, or its process or link, once, and names the missing resource.
fn assert_lacks<'a>(said: impl Iterator<Item = &'a str>, lack: &str) {
    let mut subjects = BTreeSet::new();
    for line in said {
        let (before, subject) = line.split_once('`').unwrap_or_else(|| panic!("{line} names no actor"));
        let known =
            ["error: the rig cannot be started: ", "ERROR main: "].iter().any(|start| before.contains(start));
        assert!(known && line.contains(lack), "{line}");
        // Each failed restart is reported.
        let once = subjects.insert(subject.split('`').next()) || line.ends_with("restarted");
        assert!(once, "{line} was reported before");
    }
}

/// With any number of descriptors below the required one, a rig reports why it cannot start, once, and leaves nothing.
fn too_few_descriptors_at_start(placement: Placement) {
    for descriptors in FEWEST.. {
        let limit = format!("ulimit -n {descriptors}");
        let ended = Plan::new(TOPOLOGY, placement).limit(&limit).arguments(&["--framesets", "20"]).run();
        if ended.code() == Some(0) {
            assert!(descriptors > 2 * FEWEST, "a limit that has no effect");
            return;
        }
        assert_eq!(ended.code(), Some(70), "{descriptors}: {:?}", ended.stderr);
        assert_lacks(ended.stderr.iter().map(String::as_str), "Too many open files (os error 24)");
    }
}

/// Sets the supervisor's limit of descriptors.
fn allow_descriptors(rig: &Rig, descriptors: u64) {
    let limit = Rlimit { current: Some(descriptors), maximum: Some(4096) };
    prlimit(Some(rig.supervisor()), Resource::Nofile, limit).unwrap();
}

/// With any number of spare descriptors below the required one, a process that cannot be restarted is reported with the
/// reason, and the others continue; it is restarted when there are descriptors again.
fn too_few_descriptors_at_a_restart(process: &str) {
    let mut rig = Plan::new(TOPOLOGY, Placement::Mixed).start();
    rig.wait_for_stdout("the first framesets", |lines| lines.contains(&"reader goes on with front"));
    for spare in 0.. {
        let used = fs::read_dir(format!("/proc/{}/fd", rig.supervisor().as_raw_nonzero())).unwrap().count();
        allow_descriptors(&rig, used as u64 - 1 + spare);
        let before = rig.stderr().lines().count();
        rig.kill_worker(process);
        let again = rig.wait_for("a failure, or that it is running again", |rig| {
            let said = rig.stderr();
            let mut new = said.lines().skip(before);
            let failed = new.clone().any(|line| line.contains("Too many open files"));
            (failed || new.any(|line| line.ends_with("is running again"))).then_some(!failed)
        });
        // The other camera continues.
        rig.forget_stdout();
        rig.wait_for_stdout("the other camera", |lines| {
            lines.iter().any(|line| line.starts_with("pulse rear"))
        });
        allow_descriptors(&rig, 1024);
        rig.forget_stdout();
        rig.wait_for_stdout("framesets of both cameras", |lines| {
            lines.contains(&"reader goes on with front") && lines.contains(&"reader goes on with rear")
        });
        let said = rig.stderr();
        let new = said.lines().skip(before).filter(|line| !line.ends_with("is running again"));
        assert_lacks(
            new.filter(|line| !line.contains("was killed by signal 9 (SIGKILL); it")),
            "Too many open files (os error 24)",
        );
        if again {
            assert!(spare > 2, "a limit that has no effect");
            break;
        }
    }
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(0), "{:?}", ended.stderr);
    ended.assert_settled();
}

fn is_installed(command: &&str) -> bool {
    Command::new(command).arg("--version").output().is_ok()
}

/// With any number of processes and threads below the required one, a rig names the thing that cannot be started and the limit.
fn too_few_threads(placement: Placement) {
    if !rustix::process::getuid().is_root() || !["setpriv", "prlimit"].iter().all(is_installed) {
        eprintln!("SKIPPED: the limit holds for all processes of a user, and another user cannot be taken");
        return;
    }
    // A user of this test alone: the placements are tested in parallel.
    let user = 200_000 + std::process::id() % 100_000 * 3 + placement as u32;
    let lack = "Resource temporarily unavailable (os error 11); `ulimit -u` limits processes and threads";
    for threads in 1.. {
        let limit = format!(
            "chmod 777 \"$TMPDIR\" \"$TMPDIR/..\"; \
             exec prlimit --nproc={threads} setpriv --reuid={user} --clear-groups \"$0\" \"$@\""
        );
        let ended = Plan::new(TOPOLOGY, placement).limit(&limit).arguments(&["--framesets", "20"]).run();
        if ended.code() == Some(0) {
            assert!(threads > 3, "a limit that has no effect");
            return;
        }
        assert_eq!(ended.code(), Some(70), "{threads}: {:?}", ended.stderr);
        assert!(ended.stderr.iter().any(|line| line.ends_with(lack)), "{threads}: {:?}", ended.stderr);
        // A process that cannot start a thread reports that, and then its end is reported.
        let known = |line: &String| {
            line.contains(lack)
                || line.ends_with("exited with code 1")
                || line.contains("exited with code 1; ")
        };
        assert!(ended.stderr.iter().all(known), "{threads}: {:?}", ended.stderr);
    }
}

/// With any limit of file sizes below the required one, a rig reports that shared memory is too large for it.
fn too_small_files(placement: Placement) {
    let lack = "File too large (os error 27); `ulimit -f` limits files, and shared memory as well";
    for half_kibibytes in (0..).map(|index| index * 16) {
        let limit = format!("ulimit -f {half_kibibytes}");
        let ended = Plan::new(TOPOLOGY, placement).limit(&limit).arguments(&["--framesets", "20"]).run();
        if ended.code() == Some(0) {
            assert!(half_kibibytes > 0, "a limit that has no effect");
            return;
        }
        assert_eq!(ended.code(), Some(70), "{half_kibibytes}: {:?}", ended.stderr);
        assert!(ended.stderr.iter().any(|line| line.contains(lack)), "{half_kibibytes}: {:?}", ended.stderr);
        assert!(
            !ended.stderr.iter().any(|line| line.contains("signal")),
            "{half_kibibytes}: {:?}",
            ended.stderr
        );
    }
}

/// Without address space for its slots a camera fails to start, and is named.
fn no_memory_for_slots() {
    let topology = "[camera.front]\ndriver = 'synthetic'\nslots = 64\n\
                    options = { model = 'any', color = '1920x1080@30', depth = '1280x720@30' }\n\
                    [processor.pulse]\nkind = 'count'\nprocess = 'main'\ninputs = ['front']\n";
    let ended = Plan::new(topology, Placement::Mixed).limit("ulimit -v 400000").run();
    ended.assert_said(
        70,
        &["ERROR main: camera `front` failed: 64 slots of 7875 KiB cannot be made: no shared memory of \
           504832 KiB is available: Cannot allocate memory (os error 12)"],
    );
}

/// A snapshot that finds no space on the disk names its file, and the cameras continue.
fn full_disk(placement: Placement) {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(folder).output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        eprintln!("SKIPPED: cannot mount a small file system to fill");
        return;
    }
    let topology = format!(
        "[camera.front]\ndriver = 'synthetic'\noptions = {{ model = 'any', color = '320x240@100', depth = 'off' }}\n\
         [processor.snapshot]\nkind = 'snapshot'\ninputs = ['front']\n\
         restart = {{ max = 2, backoff_millis = 1 }}\noptions = {{ folder = '{}', every = 1 }}\n\
         [processor.pulse]\nkind = 'count'\nprocess = 'main'\ninputs = ['front']\noptions = {{ beat = 10 }}\n",
        folder.display()
    );
    let ended = Plan::new(&topology, placement).run();
    Command::new("umount").arg(folder).status().unwrap();
    // The rig was built for its snapshots: without them it ends in order.
    assert_eq!(ended.code(), Some(70), "{:?}", ended.stderr);
    ended.assert_settled();
    let failed =
        format!("ERROR main: processor `snapshot` failed: cannot write `{}/front-", folder.display());
    let for_good = failed.replace("failed:", "failed for good:");
    let full = "No space left on device (os error 28); ";
    let said = |start: &str, line: &String| line.starts_with(start) && line.contains(full);
    assert_eq!(ended.stderr.iter().filter(|line| said(&failed, line)).count(), 2, "{:?}", ended.stderr);
    assert_eq!(ended.stderr.iter().filter(|line| said(&for_good, line)).count(), 1, "{:?}", ended.stderr);
    for other in ["front", "pulse"] {
        assert_eq!(ended.report().actor(other).state, "finished");
    }
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    conformance(trials, "limits::too_few_descriptors_at_start", too_few_descriptors_at_start);
    for process in ["front", "reader"] {
        test(trials, format!("limits::too_few_descriptors_at_a_restart::{process}"), move || {
            too_few_descriptors_at_a_restart(process);
        });
    }
    conformance(trials, "limits::too_few_threads", too_few_threads);
    conformance(trials, "limits::too_small_files", too_small_files);
    test(trials, "limits::no_memory_for_slots", no_memory_for_slots);
    conformance(trials, "limits::a_full_disk", full_disk);
}
