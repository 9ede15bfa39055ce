//! Tests that a test runner which is killed leaves no rig behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::program::{RECORDED, processes_with, program, wait_for};

/// The environment variable with which `a_rig_without_an_end` runs one: its folder.
const ENDLESS: &str = "CAMRIG_TEST_ENDLESS";

/// The line of the runner when the rig records.
const RECORDS: &str = "the rig records";

/// Runs a rig until this process is killed.
#[test]
#[ignore = "the test below runs it"]
fn a_rig_without_an_end() {
    let Some(folder) = std::env::var_os(ENDLESS) else { return };
    let folder = Path::new(&folder);
    fs::write(folder.join("t.toml"), RECORDED).unwrap();
    let mut rig = program();
    rig.args(["run", "t.toml", "--placement", "multi-process"]).current_dir(folder);
    let mut rig = rig.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    wait_for("a recording", || {
        fs::metadata(folder.join("rig.mcap")).is_ok_and(|it| it.len() > 0).then_some(())
    });
    println!("{RECORDS}");
    // It has no end.
    rig.wait().unwrap();
}

#[test]
fn a_killed_test_runner_leaves_no_rig() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut runner = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "runner::a_rig_without_an_end"])
        .env(ENDLESS, folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(runner.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains(RECORDS)));
    let processes = || processes_with(&format!("{ENDLESS}={}", folder.path().display()));
    // The runner, the supervisor and two workers.
    assert_eq!(processes().len(), 4);
    runner.kill().unwrap();
    runner.wait().unwrap();
    wait_for("the end of all processes", || processes().is_empty().then_some(()));
}
