//! Runs the program as a user does, in every placement, and compares all of its output.
// `allow-unwrap-in-tests` covers functions with `#[test]` only, not their helpers.
#![allow(clippy::unwrap_used)]

use std::io::Read;
use std::process::{Command, Stdio};

const EXPECTED: &str = "\
left #0: 4.019 m
left #1: 2.624 m
left #2: 2.570 m
right #0: 2.747 m
right #1: 3.797 m
right #2: 3.797 m
";

#[track_caller]
fn says_the_expected(placement: &[&str]) {
    let output = Command::new("setpriv")
        .args([
            "--pdeathsig=KILL",
            "timeout",
            "--kill-after=5",
            "60",
            "setpriv",
            "--pdeathsig=KILL",
            env!("CARGO_BIN_EXE_center-depth"),
            "run",
            "center-depth.toml",
        ])
        .args(["--framesets", "3"])
        .args(placement)
        .output()
        .unwrap();
    // The order of the cameras varies; each camera's own framesets are in order.
    let mut lines: Vec<_> = std::str::from_utf8(&output.stdout).unwrap().lines().collect();
    lines.sort_by_key(|line| line.split(' ').next());
    assert_eq!(lines, EXPECTED.lines().collect::<Vec<_>>());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn as_the_topology_places_it() {
    says_the_expected(&[]);
}

#[test]
fn in_one_process() {
    says_the_expected(&["--placement", "in-process"]);
}

#[test]
fn in_a_process_each() {
    says_the_expected(&["--placement", "multi-process"]);
}

/// As `| head -1` does: `println!` panics, which ends the processor, and so the rig.
#[test]
fn a_closed_pipe_ends_it_quietly() {
    for placement in ["in-process", "multi-process"] {
        let (_, writer) = std::io::pipe().unwrap();
        let mut ended = Command::new("setpriv")
            .args([
                "--pdeathsig=KILL",
                "timeout",
                "--kill-after=5",
                "60",
                "setpriv",
                "--pdeathsig=KILL",
                env!("CARGO_BIN_EXE_center-depth"),
                "run",
                "center-depth.toml",
            ])
            .args(["--placement", placement])
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = String::new();
        ended.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!((stderr.as_str(), ended.wait().unwrap().code()), ("", Some(0)), "{placement}");
    }
}

#[test]
fn init_says_why_there_is_no_camera() {
    let output = Command::new("setpriv")
        .args(["--pdeathsig=KILL", env!("CARGO_BIN_EXE_center-depth"), "init", "/nowhere/rig.toml"])
        .output()
        .unwrap();
    let stderr = "error: no camera is attached: no driver of this program can list devices\n";
    assert_eq!(
        (String::from_utf8(output.stderr).unwrap().as_str(), output.status.code()),
        (stderr, Some(69))
    );
}
