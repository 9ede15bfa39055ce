//! Tests of the files that the program writes: reports are complete or unchanged, and temporary folders of any kind work.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::program::{RECORDED, Test, program, wait_for, without_ending};

#[test]
fn a_killed_rig_leaves_the_report_that_was_there() {
    let test = Test::new().topology(RECORDED).args(["run", "t.toml", "--report", "r.json"]);
    let report = test.folder().join("r.json");
    fs::write(&report, "the old one").unwrap();
    let rig = test.start(Stdio::null(), Stdio::null());
    wait_for("a recording", || {
        fs::metadata(test.folder().join("rig.mcap")).is_ok_and(|file| file.len() > 0).then_some(())
    });
    rig.signal(Signal::KILL);
    assert_eq!(rig.code(), None);
    assert_eq!(fs::read_to_string(&report).unwrap(), "the old one");
    assert_eq!(names_in(test.folder()), ["r.json", "rig.mcap", "t.toml"]);
}

#[test]
fn a_report_keeps_the_permissions_of_the_one_before() {
    let test =
        Test::new().topology(RECORDED).args(["run", "t.toml", "--framesets", "1", "--report", "r.json"]);
    let report = test.folder().join("r.json");
    fs::write(&report, "the old one").unwrap();
    fs::set_permissions(&report, fs::Permissions::from_mode(0o604)).unwrap();
    assert_eq!(test.start(Stdio::null(), Stdio::null()).code(), Some(0));
    assert!(fs::read_to_string(&report).unwrap().starts_with('{'));
    assert_eq!(fs::metadata(&report).unwrap().permissions().mode() & 0o777, 0o604);
    assert_eq!(names_in(test.folder()), ["r.json", "rig.mcap", "t.toml"]);
}

fn names_in(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}

/// Runs a rig of two processes with these values of `TMPDIR` and `XDG_RUNTIME_DIR`, and returns its exit code.
fn with_folders(tmpdir: &str, runtime: &str) -> Option<i32> {
    let test = Test::new().topology(RECORDED);
    fs::create_dir_all(test.folder().join("relative")).unwrap();
    let mut command = program();
    command.args(["run", "t.toml", "--framesets", "3", "--placement", "multi-process"]);
    command.current_dir(test.folder()).env("TMPDIR", tmpdir).env("XDG_RUNTIME_DIR", runtime);
    let output = command.output().unwrap();
    assert_eq!(without_ending(&String::from_utf8_lossy(&output.stderr)), "", "{tmpdir}");
    output.status.code()
}

#[test]
fn a_temporary_folder_with_a_long_path_is_replaced() {
    let test = Test::new();
    let long = test.folder().join("long-name-of-a-folder".repeat(5));
    fs::create_dir(&long).unwrap();
    assert_eq!(with_folders(long.to_str().unwrap(), ""), Some(0));
    assert!(names_in(&long).is_empty());
}

#[test]
fn a_temporary_folder_with_a_relative_path_works() {
    assert_eq!(with_folders("relative", ""), Some(0));
}

#[test]
fn a_temporary_folder_that_is_missing_is_replaced() {
    assert_eq!(with_folders("/nowhere/at/all", ""), Some(0));
}

#[test]
fn a_temporary_folder_that_is_not_utf8_is_replaced() {
    use std::os::unix::ffi::OsStrExt;
    let test = Test::new().topology(RECORDED);
    let folder = test.folder().join(std::ffi::OsStr::from_bytes(b"\xff"));
    fs::create_dir(&folder).unwrap();
    let mut command = program();
    command.args(["run", "t.toml", "--framesets", "3", "--placement", "multi-process"]);
    let output = command.current_dir(test.folder()).env("TMPDIR", &folder).output().unwrap();
    let stderr = without_ending(&String::from_utf8_lossy(&output.stderr));
    assert_eq!((stderr.as_str(), output.status.code()), ("", Some(0)));
}

/// Mounts a file system that cannot be written in place of every folder. Needs root.
#[test]
fn without_any_temporary_folder_each_is_named() {
    let test = Test::new().topology(RECORDED);
    // The program and the folder of the test may be below /tmp: they are seen at another place too.
    let line = "mount -t tmpfs camrig-test /mnt && mkdir /mnt/program /mnt/folder \
                && mount --bind \"${0%/*}\" /mnt/program && mount --bind . /mnt/folder && cd /mnt/folder \
                && mkdir ro && mount -t tmpfs -o ro camrig-test ro && mount --bind ro /tmp \
                && exec \"/mnt/program/${0##*/}\" run t.toml --placement multi-process";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", line, env!("CARGO_BIN_EXE_camrig")])
        .current_dir(test.folder())
        .env("TMPDIR", "ro")
        .env("XDG_RUNTIME_DIR", "/nowhere")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    if output.status.code() != Some(70) && (stderr.contains("unshare:") || stderr.contains("mount:")) {
        println!("skipped, because this test cannot mount a file system: {stderr}");
        return;
    }
    let reasons = "TMPDIR=ro: Read-only file system (os error 30); \
                   XDG_RUNTIME_DIR=/nowhere: No such file or directory (os error 2); \
                   /tmp: Read-only file system (os error 30)";
    let error = format!(
        "error: the rig cannot be started: process `front` cannot be started: no temporary folder can have a socket: \
         {reasons}\n"
    );
    assert_eq!((stderr.as_ref(), output.status.code()), (error.as_str(), Some(70)));
}
