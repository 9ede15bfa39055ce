//! Tests of output that cannot be written: a full disk, or a closed pipe.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::process::Stdio;

use serde_json::Value;

use crate::program::{Test, without_ending};

/// A camera of 50 framesets with readers that print.
const RIG: &str = r#"
[camera.front]
driver = "synthetic"
options = { depth = "64x48@300", color = "off", model = "any" }

[processor.stats]
kind = "stats"
inputs = ["front"]
options = { every_seconds = 0.01 }

[processor.digest]
kind = "verify"
inputs = ["front"]
overflow = "block"
options = { digest = true }
"#;

const PLACEMENTS: [&str; 2] = ["in-process", "multi-process"];

/// Commands that print a result, and succeed.
const COMMANDS: [&[&str]; 8] = [
    &["check", "t.toml"],
    &["plan", "t.toml"],
    &["list"],
    &["list", "--json"],
    &["schema"],
    &["--help"],
    &["--version"],
    &["recording", "info", "rig.mcap"],
];

/// A disk without space.
fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

/// A pipe without a reader.
fn closed() -> Stdio {
    let (_, writer) = std::io::pipe().unwrap();
    writer.into()
}

/// Runs the program with this stdout, and returns its stderr and exit code.
#[track_caller]
fn with_stdout(test: &mut Test, args: &[&str], stdout: Stdio) -> (String, Option<i32>) {
    test.set_args(args);
    let path = test.folder().join("stderr");
    let code = test.start(stdout, File::create(&path).unwrap()).code();
    (without_ending(&std::fs::read_to_string(path).unwrap()), code)
}

/// Returns [`RIG`] and a recording of it.
fn recorded() -> Test {
    let mut test = Test::new().topology(RIG);
    test.set_args(&["record", "t.toml", "-o", "rig.mcap", "--framesets", "5"]);
    assert_eq!(test.output().2, Some(0));
    test
}

fn report(test: &Test) -> Value {
    serde_json::from_str(&std::fs::read_to_string(test.folder().join("r.json")).unwrap()).unwrap()
}

#[test]
fn a_result_that_cannot_be_written_is_an_error() {
    let mut test = recorded();
    for args in COMMANDS {
        let (stderr, code) = with_stdout(&mut test, args, full());
        let error = "error: stdout cannot be written: No space left on device (os error 28)\n";
        assert_eq!((stderr.as_str(), code), (error, Some(74)), "{args:?}");
    }
}

#[test]
fn a_closed_pipe_ends_a_command_quietly() {
    let mut test = recorded();
    for args in COMMANDS {
        assert_eq!(with_stdout(&mut test, args, closed()), (String::new(), Some(0)), "{args:?}");
    }
}

#[test]
fn an_error_that_cannot_be_written_keeps_its_exit_code() {
    let mut test = Test::new().topology("[camera.front]\ndriver = 'absent'\n");
    for (args, code) in [
        (&["check", "t.toml"] as &[&str], 78),
        (&["run", "t.toml"], 78),
        (&["plan", "t.toml"], 78),
        (&["recording", "info", "absent.mcap"], 66),
        (&["replay", "absent.mcap"], 66),
        (&["top", "no-rig-has-this-name"], 69),
        (&["absent"], 64),
    ] {
        test.set_args(args);
        for stderr in [Stdio::null(), full(), closed()] {
            assert_eq!(test.start(Stdio::null(), stderr).code(), Some(code), "{args:?}");
        }
    }
}

#[test]
fn on_a_full_disk_behind_stdout_a_rig_loses_only_lines() {
    for placement in PLACEMENTS {
        let mut test = Test::new().topology(RIG);
        let args = ["run", "t.toml", "--framesets", "50", "--report", "r.json", "--placement", placement];
        let (stderr, code) = with_stdout(&mut test, &args, full());
        assert_eq!(code, Some(0), "{stderr}");
        let report = report(&test);
        assert_eq!(report["exit"], "stopped as asked");
        for link in report["links"].as_array().unwrap() {
            assert_eq!(link["produced"], 50, "{link}");
        }
        // Once for each processor that prints.
        let lost = "lines are lost: stdout cannot be written: No space left on device (os error 28)";
        let places: Vec<_> = stderr.lines().map(|line| line.split_whitespace().nth(2).unwrap()).collect();
        assert!(stderr.lines().all(|line| line.ends_with(lost)), "{stderr}");
        assert_eq!(places.len(), 2, "{stderr}");
    }
}

#[test]
fn stderr_that_cannot_be_written_does_not_affect_a_rig() {
    for placement in PLACEMENTS {
        for stderr in [full(), closed()] {
            let test = Test::new().topology(RIG).args([
                "run",
                "t.toml",
                "--framesets",
                "50",
                "--report",
                "r.json",
                "--placement",
                placement,
            ]);
            assert_eq!(test.start(Stdio::null(), stderr).code(), Some(0));
            assert_eq!(report(&test)["exit"], "stopped as asked");
        }
    }
}

/// A processor that prints to a closed pipe ends, and then its camera and the rig end in order.
#[test]
fn a_rig_without_a_reader_of_stdout_ends_quietly() {
    let stats_only = RIG.split("[processor.digest]").next().unwrap();
    for placement in PLACEMENTS {
        let mut test = Test::new().topology(stats_only);
        let args = ["run", "t.toml", "--report", "r.json", "--placement", placement];
        assert_eq!(with_stdout(&mut test, &args, closed()), (String::new(), Some(0)));
        assert_eq!(report(&test)["exit"], "end of all inputs");
    }
}

/// Other processors continue.
#[test]
fn a_closed_pipe_ends_only_actors_that_print() {
    for placement in PLACEMENTS {
        let mut test = Test::new().topology(RIG.replace("digest = true", "digest = false"));
        let args = ["run", "t.toml", "--framesets", "50", "--report", "r.json", "--placement", placement];
        assert_eq!(with_stdout(&mut test, &args, closed()), (String::new(), Some(0)));
        let report = report(&test);
        let links = report["links"].as_array().unwrap();
        let link = links.iter().find(|link| link["to"] == "digest").unwrap();
        assert_eq!((&link["delivered"], &link["dropped"]), (&50.into(), &serde_json::json!({})), "{report}");
    }
}

#[test]
fn head_ends_a_rig_quietly() {
    let mut test = Test::new().topology(RIG.split("[processor.digest]").next().unwrap());
    test.set_args(&["run", "t.toml"]);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let stderr = test.folder().join("stderr");
    let rig = test.start(writer, File::create(&stderr).unwrap());
    let mut byte = [0];
    reader.read_exact(&mut byte).unwrap();
    drop(reader);
    assert_eq!(rig.code(), Some(0));
    assert_eq!(without_ending(&std::fs::read_to_string(stderr).unwrap()), "");
}
