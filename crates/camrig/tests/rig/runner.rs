//! Tests that a test runner which is killed leaves no rig behind.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use libtest_mimic::Trial;

use crate::harness::{MARK, Placement, Plan, processes_of, wait_until};
use crate::test;

/// The environment variable with which `runner::a_rig_without_an_end` runs one.
const ENDLESS: &str = "CAMRIG_TEST_ENDLESS";

/// Before the mark of the rig's processes, in the output of the runner.
const PREFIX: &str = "the rig's mark: ";

/// A rig that prints nothing: a processor that prints would end with the pipe to its runner, and the rig with it.
const SILENT: &str = "
[camera.front]
driver = 'synthetic'
process = 'front'
options = { model = 'any', color = 'off', depth = '32x24@200' }
[processor.verify]
kind = 'verify'
process = 'together'
inputs = ['front']
";

/// Runs a rig until this process is killed.
fn rig_without_an_end() {
    if std::env::var_os(ENDLESS).is_none() {
        return;
    }
    let mut rig = Plan::new(SILENT, Placement::Mixed).start();
    rig.wait_for("framesets", |rig| rig.status().links.iter().all(|link| link.delivered > 0).then_some(()));
    println!("{PREFIX}{}", rig.mark());
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

fn killed_runner() {
    // The runner is killed: it removes nothing.
    let folder = tempfile::tempdir().unwrap();
    let mut runner = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "runner::a_rig_without_an_end"])
        .env(ENDLESS, "1")
        .env("TMPDIR", folder.path())
        .env_remove(MARK)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(runner.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mark = lines.find_map(|line| line.split_once(PREFIX).map(|(_, mark)| mark.to_owned())).unwrap();
    assert!(processes_of(&mark).count() >= 3);
    runner.kill().unwrap();
    runner.wait().unwrap();
    wait_until("the end of all processes", || processes_of(&mark).next().is_none());
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    trials.push(
        Trial::test("runner::a_rig_without_an_end", || {
            rig_without_an_end();
            Ok(())
        })
        .with_ignored_flag(true),
    );
    test(trials, "runner::a_killed_test_runner_leaves_no_rig", killed_runner);
}
