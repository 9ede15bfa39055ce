//! Tests that a topology gives the same framesets in every placement.

use std::collections::BTreeSet;
use std::fs;

use libtest_mimic::Trial;
use rustix::process::{Pid, Signal};

use crate::harness::{Placement, Plan, Rig};
use crate::test;

const FRAMESETS: u64 = 500;

const SIX_CAMERAS: &str = r#"
[camera.front]
driver = "synthetic"
process = "front"
options = { model = "any", seed = 1, paced = false, color = "160x120@30", depth = "160x120@30" }

[camera.rear]
driver = "synthetic"
process = "main"
options = { model = "any", seed = 2, paced = false, color = "120x80@30", depth = "160x120@30", color_format = "bgr8" }

[camera.left]
driver = "synthetic"
process = "sides"
options = { model = "any", seed = 3, paced = false, color = "160x120@30", depth = "80x60@30", infrared = "80x60@30" }

[camera.right]
driver = "synthetic"
process = "sides"
options = { model = "any", seed = 4, paced = false, color = "96x64@60", depth = "96x64@60", color_format = "yuyv" }

[camera.top]
driver = "synthetic"
process = "vision"
options = { model = "any", seed = 5, paced = false, color = "160x120@90", depth = "160x120@90", drop_rate = 0.1, accel = 63, gyro = 1000 }

[camera.wrist]
driver = "synthetic"
process = "wrist"
options = { model = "any", seed = 6, paced = false, color = "96x64@30", depth = "96x64@30", accel = 100, gyro = 200 }

[processor.verify]
kind = "verify"
process = "vision"
inputs = ["front", "rear", "left", "right", "top", "wrist"]
overflow = "block"
options = { digest = true }
"#;

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    test(trials, "placement::six_cameras_are_the_same_in_every_placement", || {
        let framesets = FRAMESETS.to_string();
        let run = |placement: Placement| {
            let ended = Plan::new(SIX_CAMERAS, placement).arguments(&["--framesets", &framesets]).run();
            ended.assert_said(0, &[]);
            ended.assert_complete(FRAMESETS);
            assert_eq!(ended.report().links.len(), 6);
            let between = |link: &&crate::harness::Link| link.placement == "multi-process";
            let between = ended.report().links.iter().filter(between).count();
            let expected = match placement {
                Placement::InProcess => 0,
                Placement::MultiProcess => 6,
                Placement::Mixed => 5,
            };
            assert_eq!(between, expected, "{:#?}", ended.report().links);
            ended.stdout
        };
        let digests = run(Placement::InProcess);
        let cameras: BTreeSet<_> = digests
            .lines()
            .map(|line| {
                line.strip_prefix("verify: ").unwrap().split_once(": 500 framesets, digest ").unwrap()
            })
            .collect();
        let distinct: BTreeSet<_> = cameras.iter().map(|(_, digest)| digest).collect();
        assert_eq!((cameras.len(), distinct.len()), (6, 6), "{digests}");
        assert_eq!(run(Placement::MultiProcess), digests);
        assert_eq!(run(Placement::Mixed), digests);
    });
    test(trials, "placement::each_thread_of_a_process_is_scheduled", || {
        let cpu = camrig_ipc::allowed_cpus()[0];
        let scheduling = format!("[process.sides]\ncpus = [{cpu}]\nnice = 5\n");
        let topology = format!("{SIX_CAMERAS}{scheduling}");
        let mut rig = Plan::new(&topology, Placement::Mixed).start();
        rig.wait_for("every actor", |rig| (rig.status().seconds > 0.0).then_some(()));
        let scheduled = |rig: &Rig, process: &str| {
            let worker = rig.workers().into_iter().find(|worker| worker.process == process).unwrap();
            threads(worker.pid)
        };
        let all = |threads: &[(String, i32)], wanted: &(String, i32)| {
            // Two actors, and what they need.
            threads.len() > 2 && threads.iter().all(|thread| thread == wanted)
        };
        let wanted = (cpu.to_string(), 5);
        let sides = scheduled(&rig, "sides");
        assert!(all(&sides, &wanted), "{sides:?}");
        let vision = scheduled(&rig, "vision");
        assert!(vision.iter().all(|(_, nice)| *nice == 0), "{vision:?}");
        // A process that is started again, too.
        let first = rig.workers().into_iter().find(|worker| worker.process == "sides").unwrap();
        rig.kill_worker("sides");
        rig.wait_for("the restarted process", |rig| {
            let restarted = rig.workers().into_iter().find(|worker| worker.process == "sides")?;
            (restarted != first && all(&threads(restarted.pid), &wanted)).then_some(())
        });
        for camera in ["left", "right"] {
            let running = format!("camera `{camera}` is running again");
            rig.wait_for(&running, |rig| rig.stderr().contains(&running).then_some(()));
        }
        rig.signal(Signal::INT);
        assert_eq!(rig.finish().code(), Some(0));
    });
    test(trials, "placement::a_process_that_cannot_be_scheduled_is_refused", || {
        let topology = "
[camera.left]
driver = 'synthetic'
process = 'eye'
[processor.count]
kind = 'count'
inputs = ['left']
[process.eye]
cpus = [1023]
";
        let ended = Plan::new(topology, Placement::Mixed).run();
        assert_eq!(ended.code(), Some(78));
        let title = "error: process `eye` cannot be run so";
        assert_eq!(ended.stderr[0], title);
        let reason =
            "the system refuses `cpus`: Invalid argument (os error 22); this process may use the CPUs [";
        assert!(ended.stderr.iter().any(|line| line.contains(reason)), "{:?}", ended.stderr);
    });
}

/// Returns the allowed CPUs and the nice value of each thread of a process.
fn threads(process: Pid) -> Vec<(String, i32)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.as_raw_pid())).into_iter().flatten().flatten();
    let thread = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t"))?;
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        // Field 19; the name, which may contain spaces, is the second.
        let nice = stat.rsplit_once(')')?.1.split_whitespace().nth(19 - 3)?.parse().ok()?;
        Some((cpus.to_owned(), nice))
    };
    tasks.filter_map(thread).collect()
}
