//! No process outlives an agent, a first host or a test runner that is killed: over 127.0.0.1, in real processes.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::agents::{Program, agent, wait};
use crate::crossing::free_address;
use crate::test;

/// Returns the processes of a test, which have its folder in their environment.
fn processes(folder: &Path) -> Vec<u32> {
    let mark = folder.display().to_string();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // One that has ended has no environment.
    let is_own = |id: &u32| {
        let environment = std::fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(&mark)
    };
    ids.filter(is_own).collect()
}

/// Returns a rig whose framesets cross in both directions.
fn text(listen: &str) -> String {
    format!(
        r#"
        [host.arm]
        address = "{listen}"

        [camera.left]
        driver  = "synthetic"
        host    = "arm"
        options = {{ model = "any", color = "off", depth = "32x24@30" }}

        [camera.right]
        driver  = "synthetic"
        options = {{ model = "any", color = "off", depth = "32x24@30" }}

        [processor.here]
        kind    = "verify"
        inputs  = ["left", "right"]

        [processor.there]
        kind    = "verify"
        host    = "arm"
        inputs  = ["left", "right"]
        "#
    )
}

fn killed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let listen = format!("tcp/{}", free_address());
    let rig = folder.join("rig.toml").display().to_string();
    std::fs::write(&rig, text(&listen)).unwrap();
    let agent = agent(folder, "agent", &["--listen", &listen, "--patience", "2"]);
    let run = Program::start(folder, "run", &["run", &rig]);
    // Of `arm` its agent, a camera and a processor; here as many, and one end of each crossing.
    let all_run = |processes: Vec<u32>| processes.len() == 8;
    wait("both parts", || all_run(processes(folder)), || run.stderr() + &agent.stderr());
    run.signal(Signal::KILL);
    // The agent stops its part and takes the next rig.
    wait("the end of both parts", || processes(folder) == [agent.id()], || agent.stderr());
    drop(run);
    let run = Program::start(folder, "again", &["run", &rig]);
    wait("both parts again", || all_run(processes(folder)), || run.stderr() + &agent.stderr());
    agent.signal(Signal::KILL);
    run.wait_for_stderr("host `arm` at");
    run.signal(Signal::KILL);
    wait("the end of everybody", || processes(folder).is_empty(), || format!("{:?}", processes(folder)));
}

/// The environment variable with which `orphans::a_rig_without_an_end` runs one: its folder.
const ENDLESS: &str = "CAMRIG_TEST_ENDLESS";

/// The line of the runner when the rig runs.
const RUNS: &str = "the rig runs";

/// Runs a rig over two hosts until this process is killed.
fn rig_without_an_end() {
    let Some(folder) = std::env::var_os(ENDLESS) else { return };
    let folder = Path::new(&folder);
    let listen = format!("tcp/{}", free_address());
    let rig = folder.join("rig.toml").display().to_string();
    std::fs::write(&rig, text(&listen)).unwrap();
    let agent = agent(folder, "agent", &["--listen", &listen]);
    let run = Program::start(folder, "run", &["run", &rig]);
    // This process too has the folder in its environment.
    wait("both parts", || processes(folder).len() == 9, || run.stderr() + &agent.stderr());
    println!("{RUNS}");
    loop {
        std::thread::park();
    }
}

fn killed_runner() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut runner = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "orphans::a_rig_without_an_end"])
        .env(ENDLESS, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(runner.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains(RUNS)));
    runner.kill().unwrap();
    runner.wait().unwrap();
    wait("the end of everybody", || processes(folder).is_empty(), || format!("{:?}", processes(folder)));
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    let mut endless = Vec::new();
    test(&mut endless, "orphans::a_rig_without_an_end", rig_without_an_end);
    trials.extend(endless.into_iter().map(|trial| trial.with_ignored_flag(true)));
    test(trials, "orphans::a_killed_test_runner_leaves_no_agent_and_no_rig", killed_runner);
    test(trials, "orphans::no_process_outlives_a_killed_agent_or_first_host", killed);
}
