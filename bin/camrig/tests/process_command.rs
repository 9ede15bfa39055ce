//! Tests of processes that another program runs: this binary is that program, when its arguments are `serve` and
//! a file, which shows that it ran. It is also the program whose cameras draw boards, for tests of `calibrate`.
#![allow(clippy::unwrap_used)] // A test that cannot continue fails.

#[path = "calibrate/mod.rs"]
mod calibrate;

use std::process::{Command, ExitCode, Output};

use camrig::Registry;
use camrig_calib::{Board, Rect};
use libtest_mimic::{Arguments, Trial};
use tempfile::TempDir;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if let (Some(word), Some(path)) = (arguments.next(), arguments.next())
        && word == "serve"
    {
        std::fs::write(path, "served").unwrap();
        return Registry::new().serve_worker().unwrap();
    }
    if std::env::var_os(calibrate::MARK).is_some() {
        return calibrate::program().main();
    }
    let tests: [(&str, fn()); 6] = [
        (
            "a_recording_of_boards_calibrates_its_cameras",
            calibrate::a_recording_of_boards_calibrates_its_cameras,
        ),
        ("live_cameras_are_calibrated_while_they_run", calibrate::live_cameras_are_calibrated_while_they_run),
        ("a_second_program_gives_the_same_digests", a_second_program_gives_the_same_digests),
        ("a_program_that_does_not_exist_starts_nothing", a_program_that_does_not_exist_starts_nothing),
        ("a_program_that_cannot_be_executed_is_named", a_program_that_cannot_be_executed_is_named),
        ("a_program_that_is_no_worker_fails", a_program_that_is_no_worker_fails),
    ];
    let trials = tests.into_iter().map(|(name, run)| {
        Trial::test(name, move || {
            run();
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

/// A topology in a file of its own, and the files beside it.
struct Folder(TempDir);

impl Folder {
    /// Writes a topology whose process `vision` has this command.
    fn new(command: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "[camera.left]\ndriver = 'synthetic'\noptions = {{ paced = false }}\n\
             [processor.check]\nkind = 'verify'\ninputs = ['left']\nprocess = 'vision'\noverflow = 'block'\n\
             restart = {{ max = 0 }}\noptions = {{ digest = true }}\n\
             [process.vision]\ncommand = {command:?}\n"
        );
        std::fs::write(folder.path().join("rig.toml"), text).unwrap();
        Self(folder)
    }

    fn camrig(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", env!("CARGO_BIN_EXE_camrig")]);
        command.current_dir(&self.0).args(arguments).env_remove("RUST_LOG").output().unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.camrig(&[&["run", "rig.toml", "--framesets", "20"], arguments].concat())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn a_second_program_gives_the_same_digests() {
    let program = std::env::current_exe().unwrap();
    let folder = Folder::new(&[program.to_str().unwrap(), "serve", "was-here"]);
    let mark = folder.0.path().join("was-here");
    let run = |arguments: &[&str]| {
        let output = folder.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let digests = run(&["--placement", "in-process"]);
    assert!(digests.starts_with("verify: left: 20 framesets, digest "), "{digests}");
    assert!(!mark.exists());
    assert_eq!(run(&[]), digests);
    assert!(mark.exists());
}

fn a_program_that_does_not_exist_starts_nothing() {
    let folder = Folder::new(&["camrig-nowhere", "-v"]);
    let expected = "error: program `camrig-nowhere` of process `vision` does not exist\n  \
                    --> rig.toml:12:12\n   \
                    |\n\
                    12 | command = [\"camrig-nowhere\", \"-v\"]\n   \
                    |            ^^^^^^^^^^^^^^^^ no folder of `PATH` has it\n";
    for output in [folder.camrig(&["check", "rig.toml"]), folder.run(&[])] {
        assert_eq!((text(&output.stdout), text(&output.stderr)), (String::new(), expected.to_owned()));
        assert_eq!(output.status.code(), Some(78));
    }
    let unprobed = folder.camrig(&["check", "rig.toml", "--no-devices"]);
    assert_eq!(unprobed.status.code(), Some(0), "{}", text(&unprobed.stderr));
}

fn a_program_that_cannot_be_executed_is_named() {
    // A folder exists, but is not a program.
    let output = Folder::new(&["/"]).run(&[]);
    assert_eq!(
        text(&output.stderr),
        "error: the rig cannot be started: process `vision` cannot be started: program `/`: \
         Permission denied (os error 13)\n"
    );
    assert_eq!((text(&output.stdout), output.status.code()), (String::new(), Some(70)));
}

fn a_program_that_is_no_worker_fails() {
    let output = Folder::new(&["sh", "-c", "exit 7"]).run(&[]);
    let stderr = text(&output.stderr);
    assert!(stderr.contains("process `vision` exited with code 7"), "{stderr}");
    assert_eq!(output.status.code(), Some(70));
}
