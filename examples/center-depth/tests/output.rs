//! Runs the program as a user does, in every placement, and compares all of its output.
// `allow-unwrap-in-tests` covers functions with `#[test]` only, not their helpers.
#![allow(clippy::unwrap_used)]

#[path = "../../testing.rs"]
mod testing;

use std::io::Read;
use std::process::Stdio;

use testing::{output, program};

const EXPECTED: &str = "\
left #0: 4.019 m
left #1: 2.624 m
left #2: 2.570 m
right #0: 2.747 m
right #1: 3.797 m
right #2: 3.797 m
";

const PROGRAM: &str = env!("CARGO_BIN_EXE_center-depth");

#[track_caller]
fn says_the_expected(placement: &[&str]) {
    let mut command = program(PROGRAM);
    command.args(["run", "center-depth.toml", "--framesets", "3"]).args(placement);
    let (stdout, stderr, status) = output(&mut command);
    // The order of the cameras varies; each camera's own framesets are in order.
    let mut lines: Vec<_> = stdout.lines().collect();
    lines.sort_by_key(|line| line.split(' ').next());
    assert_eq!(lines, EXPECTED.lines().collect::<Vec<_>>());
    assert_eq!((stderr.as_str(), status), ("", Some(0)));
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
        let mut ended = program(PROGRAM)
            .args(["run", "center-depth.toml"])
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
fn init_gives_the_reason_for_finding_no_camera() {
    let error = "error: no camera is attached: no driver of this program can list devices\n".to_owned();
    let said = output(program(PROGRAM).args(["init", "/nowhere/rig.toml"]));
    assert_eq!(said, (String::new(), error, Some(69)));
}
