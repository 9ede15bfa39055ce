//! Tests that a topology gives the same framesets in every placement.

use std::collections::BTreeSet;
use std::fs;

use libtest_mimic::Trial;
use rustix::process::{Pid, Signal};

use crate::endings::wait_for_more;
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

/// A camera whose readers share its thread: one directly, one behind a processor that passes framesets on. Another
/// camera and its reader have threads of their own.
const SHARED: &str = r#"
[camera.front]
driver = "synthetic"
thread = "eye"
options = { model = "any", seed = 1, paced = false, color = "96x64@30", depth = "64x48@30" }

[processor.near]
kind = "verify"
thread = "eye"
inputs = ["front"]
overflow = "block"
options = { digest = true }

[processor.first]
kind = "pass-on"
thread = "eye"
inputs = ["front"]
overflow = "block"

[processor.far]
kind = "verify"
thread = "eye"
inputs = ["first"]
overflow = "block"
options = { digest = true }

[processor.apart]
kind = "verify"
inputs = ["first"]
overflow = "block"
options = { digest = true }
"#;

fn same_on_one_thread() {
    let framesets = FRAMESETS.to_string();
    let run = |topology: &str, placement| {
        let ended = Plan::new(topology, placement).arguments(&["--framesets", &framesets]).run();
        ended.assert_said(0, &[]);
        ended.assert_complete(FRAMESETS);
        let links = &ended.report().links;
        let local = links.iter().filter(|link| link.placement == "in-process").count();
        let mut said: Vec<_> = ended.stdout.lines().map(str::to_owned).collect();
        said.sort_unstable();
        (said, local, ended.report().processes.len())
    };
    let apart = SHARED.replace("thread = \"eye\"\n", "");
    let (expected, ..) = run(&apart, Placement::Mixed);
    assert_eq!(expected.len(), 3, "{expected:?}");
    assert_eq!(run(SHARED, Placement::Mixed), (expected.clone(), 3, 3));
    assert_eq!(run(SHARED, Placement::MultiProcess), (expected.clone(), 3, 3));
    assert_eq!(run(SHARED, Placement::InProcess), (expected, 4, 1));
}

/// A camera, its readers and a processor behind them on one thread, which fail in turn.
fn faults_on_one_thread() {
    let topology = |camera: &str, processor: &str| {
        format!(
            "[camera.front]\ndriver = 'pattern'\nthread = 'eye'\noptions = {{ pause_millis = 1{camera} }}\n\
             [processor.faulty]\nkind = 'faulty'\nthread = 'eye'\ninputs = ['front']\n{processor}\
             [processor.pulse]\nkind = 'count'\nthread = 'eye'\ninputs = ['front']\noverflow = 'block'\n\
             options = {{ beat = 10 }}\n"
        )
    };
    let never = "options = { at = 'nowhere', how = 'error', after = 7 }\n";
    for how in ["error", "panic"] {
        let fault = |at: &str| format!("{{ at = '{at}', how = '{how}', after = 7, times = 1 }}");
        for (topology, actor) in [
            (topology("", &format!("options = {}\n", fault("process"))), "processor `faulty`"),
            (topology(&format!(", fault = {}", fault("capture")), never), "camera `front`"),
        ] {
            let mut rig = Plan::new(&topology, Placement::Mixed).start();
            rig.wait_for_stderr(&format!("{actor} is running again"));
            wait_for_more(&mut rig, "front");
            wait_for_more(&mut rig, "front");
            rig.signal(Signal::TERM);
            let ended = rig.finish();
            assert_eq!(ended.code(), Some(0), "{:?}", ended.stderr);
            ended.assert_settled();
            let pulse = ended.report().link("front", "pulse");
            assert_eq!((pulse.delivered, pulse.dropped.len()), (pulse.produced, 0), "{pulse:?}");
            assert!(!ended.report().link("front", "faulty").dropped.contains_key("process-died"));
        }
    }
    // Another instance of `pulse` would start its count again.
    let apart = topology("", never).replace("'count'\nthread = 'eye'", "'count'\nprocess = 'main'");
    let mut rig = Plan::new(&apart, Placement::Mixed).start();
    wait_for_more(&mut rig, "front");
    let names = threads_named(rig.workers()[0].pid);
    assert!(names.contains(&"eye".to_owned()) && !names.contains(&"faulty".to_owned()), "{names:?}");
    rig.kill_worker("eye");
    for actor in ["camera `front`", "processor `faulty`"] {
        rig.wait_for_stderr(&format!("{actor} is running again"));
    }
    wait_for_more(&mut rig, "front");
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(0), "{:?}", ended.stderr);
    ended.assert_settled();
}

/// The camera of its thread is not to blame, although it delivers nothing for longer than it may.
fn hangs_on_one_thread() {
    let topology = "[camera.front]\ndriver = 'pattern'\nthread = 'eye'\nstall_timeout_millis = 2000\n\
                    options = { pause_millis = 1 }\n\
                    [processor.faulty]\nkind = 'faulty'\nthread = 'eye'\ninputs = ['front']\n\
                    stall_timeout_millis = 4000\nrestart = { max = 1 }\n\
                    options = { at = 'process', how = 'hang', after = 40 }\n";
    let ended = Plan::new(topology, Placement::Mixed).run();
    assert_eq!(ended.code(), Some(70), "{:?}", ended.stderr);
    ended.assert_settled();
    let said = |line: &str| ended.stderr.iter().filter(|said| said.contains(line)).count();
    let hangs = "processor `faulty` has not returned from a call for 4000 ms; its process is replaced";
    assert_eq!((said(hangs), said("camera `front` has delivered nothing")), (2, 0), "{:?}", ended.stderr);
    let failed = "`faulty` failed for good: process `eye` was killed by signal 9 (SIGKILL)";
    assert_eq!((said(failed), said("camera `front` is running again")), (1, 1), "{:?}", ended.stderr);
}

/// The other camera of its thread is not to blame either.
fn camera_hangs_on_one_thread() {
    let topology = "[camera.front]\ndriver = 'pattern'\nthread = 'eyes'\nstall_timeout_millis = 2000\n\
                    options = { pause_millis = 1 }\n\
                    [camera.rear]\ndriver = 'pattern'\nthread = 'eyes'\nstall_timeout_millis = 2000\n\
                    restart = { max = 1 }\n\
                    options = { pause_millis = 1, fault = { at = 'capture', how = 'hang', after = 40 } }\n\
                    [processor.both]\nkind = 'faulty'\nthread = 'eyes'\ninputs = ['front', 'rear']\n\
                    options = { at = 'nowhere', how = 'error' }\n";
    let mut rig = Plan::new(topology, Placement::Mixed).start();
    let failed = "camera `rear` failed for good: process `eyes` was killed by signal 9 (SIGKILL)";
    let again = "camera `front` is running again";
    rig.wait_for_stderr_times(again, 2);
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(70), "{:?}", ended.stderr);
    ended.assert_settled();
    let said = |line: &str| ended.stderr.iter().filter(|said| said.contains(line)).count();
    let nothing = |camera: &str| said(&format!("camera `{camera}` has delivered nothing for 2000 ms"));
    assert_eq!((nothing("rear"), nothing("front")), (2, 0), "{:?}", ended.stderr);
    assert_eq!((said(failed), said(again)), (1, 2), "{:?}", ended.stderr);
}

/// Returns the names of the threads of a process.
fn threads_named(pid: Pid) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).unwrap().flatten();
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    tasks.filter_map(name).map(|name| name.trim().to_owned()).collect()
}

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
                Placement::InProcess | Placement::OneThread => 0,
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
        assert_eq!(run(Placement::OneThread), digests);
    });
    test(trials, "placement::actors_of_one_thread_get_the_same", same_on_one_thread);
    test(trials, "placement::actors_of_one_thread_fail_and_go_on", faults_on_one_thread);
    test(trials, "placement::a_processor_never_returns_to_its_thread", hangs_on_one_thread);
    test(trials, "placement::a_camera_never_returns_to_its_thread", camera_hangs_on_one_thread);
    test(trials, "placement::each_thread_of_a_process_is_scheduled", || {
        let cpu = camrig_ipc::allowed_cpus()[0];
        // Whether the policy is allowed depends on the user.
        let fifo = camrig_ipc::Scheduling { fifo: Some(1), ..camrig_ipc::Scheduling::default() };
        let fifo = fifo.try_out().unwrap().is_ok();
        let line = if fifo { "fifo = 1\n" } else { "" };
        let scheduling = format!("[process.sides]\ncpus = [{cpu}]\nnice = 5\n{line}");
        let topology = format!("{SIX_CAMERAS}{scheduling}");
        let mut rig = Plan::new(&topology, Placement::Mixed).start();
        rig.wait_for("every actor", |rig| (rig.status().seconds > 0.0).then_some(()));
        let scheduled = |rig: &Rig, process: &str| {
            let worker = rig.workers().into_iter().find(|worker| worker.process == process).unwrap();
            threads(worker.pid)
        };
        let all = |threads: &[Scheduled], wanted: &Scheduled| {
            // Two actors, and their needs.
            threads.len() > 2 && threads.iter().all(|thread| thread == wanted)
        };
        // The numbers of the policies are the kernel's: SCHED_OTHER is 0, SCHED_FIFO 1.
        let wanted = (cpu.to_string(), 5, if fifo { (1, 1) } else { (0, 0) });
        let sides = scheduled(&rig, "sides");
        assert!(all(&sides, &wanted), "{sides:?}");
        let vision = scheduled(&rig, "vision");
        // As these tests run.
        let own = threads(rustix::process::getpid()).swap_remove(0);
        assert!(vision.iter().all(|thread| *thread == own), "{vision:?}, {own:?}");
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
        let title = "error: process `eye` cannot be scheduled like this";
        assert_eq!(ended.stderr[0], title);
        let reason =
            "the system refuses `cpus`: Invalid argument (os error 22); this process may use the CPUs [";
        assert!(ended.stderr.iter().any(|line| line.contains(reason)), "{:?}", ended.stderr);
    });
}

/// The allowed CPUs, the nice value, and the policy with its real-time priority.
type Scheduled = (String, i32, (u32, u32));

/// Returns the scheduling of each thread of a process.
fn threads(process: Pid) -> Vec<Scheduled> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.as_raw_pid())).into_iter().flatten().flatten();
    let thread = |task: fs::DirEntry| {
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let cpus = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t"))?;
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        // Fields 19, 41 and 40; the name, which may contain spaces, is the second.
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let (nice, policy) = (fields.get(19 - 3)?.parse().ok()?, fields.get(41 - 3)?.parse().ok()?);
        Some((cpus.to_owned(), nice, (policy, fields.get(40 - 3)?.parse().ok()?)))
    };
    tasks.filter_map(thread).collect()
}
