//! Tests of recordings of killed rigs, and on slow or full disks: they are readable and contain their gaps.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::program::{RECORDED, Test, program, wait_for, without_ending};
use crate::recording_commands::counts;

/// Runs a command on the recording, checks that it succeeds without errors, and returns stdout.
#[track_caller]
fn succeed(test: &mut Test, args: &[&str]) -> String {
    test.set_args(args);
    let (stdout, stderr, status) = test.output();
    assert_eq!((stderr.as_str(), status), ("", Some(0)), "{args:?}: {stdout}");
    stdout
}

/// Waits until a file has at least this size.
fn wait_for_size(file: &Path, bytes: u64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::fs::metadata(file).map_or(0, |metadata| metadata.len()) < bytes {
        assert!(Instant::now() < deadline, "{} does not grow to {bytes} bytes", file.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_killed_rig_leaves_a_recording_up_to_its_last_chunk() {
    for (round, placement) in ["in-process", "multi-process"].into_iter().enumerate() {
        let mut test = Test::new().topology(patient());
        let recording = test.folder().join("rig.mcap");
        let mut rig = program()
            .args(["run", "t.toml", "--placement", placement])
            .current_dir(test.folder())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        wait_for_size(&recording, 200_000 + 77_777 * round as u64);
        // `kill` is SIGKILL; workers end with their supervisor.
        rig.kill().unwrap();
        rig.wait().unwrap();
        wait_for_end_of(&recording);
        let info = succeed(&mut test, &["recording", "info", "rig.mcap"]);
        assert!(info.contains("without an index"), "{info}");
        let repaired = succeed(&mut test, &["recording", "repair", "rig.mcap"]);
        assert!(repaired.starts_with("rig-repaired.mcap: "), "{repaired}");
        let verified = succeed(&mut test, &["recording", "verify", "rig-repaired.mcap"]);
        let (framesets, missing) = counts(&verified);
        assert!(framesets > 10 && missing == 0, "{verified}");
    }
}

/// Kills the worker of this process.
fn kill_worker(of: &Child, process: &str) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let parent = format!("PPid:\t{}\n", of.id());
    let is_wanted = |id: &str| {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{id}/{file}")).unwrap_or_default();
        read("cmdline").ends_with(&format!("\0worker\0{process}\0")) && read("status").contains(&parent)
    };
    loop {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let ids: Vec<_> = processes.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        if let Some(id) = ids.iter().find(|id| is_wanted(id)) {
            kill_process(Pid::from_raw(id.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
            return;
        }
        assert!(Instant::now() < deadline, "there is no process `{process}`");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_restarted_recorder_continues_in_a_new_file() {
    // At 30 framesets a second, a machine that stops for 60 ms loses none of them.
    let mut test = Test::new().topology(RECORDED.replace("@300", "@30"));
    let mut rig = program()
        .args(["run", "t.toml", "--placement", "multi-process"])
        .current_dir(test.folder())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let first = test.folder().join("rig.mcap");
    wait_for_size(&first, 200_000);
    // The recorder is killed before it has read the changes: its next instance writes them.
    let pid = rig.id().to_string();
    let set = succeed(&mut test, &["set", "front", "gain=32", "--rig", &pid]);
    kill_worker(&rig, "recorder");
    wait_for_size(&test.folder().join("rig-2.mcap"), 200_000);
    kill_process(Pid::from_child(&rig), Signal::INT).unwrap();
    rig.wait().unwrap();
    let verified = succeed(&mut test, &["recording", "verify", "rig-2.mcap"]);
    let (framesets, missing) = counts(&verified);
    assert!(framesets > 10, "{verified}");
    let info = succeed(&mut test, &["recording", "info", "rig-2.mcap"]);
    let gaps: Vec<_> = info.lines().filter(|line| line.trim_start().starts_with("missing: ")).collect();
    assert!(gaps.len() <= 1 && gaps.iter().all(|gap| gap.ends_with(", restart")), "{info}");
    // Both files are one recording without an unexplained gap. The first one has no index.
    test.set_args(&["recording", "verify", "rig.mcap"]);
    let (stdout, stderr, status) = test.output();
    let problem = "error: `rig.mcap`: no index: the recorder did not close the file\n";
    let torn = stderr.strip_prefix(problem).unwrap();
    assert!(
        status == Some(65) && torn.lines().all(|line| line.contains("` bytes ") || line.contains(": bytes "))
    );
    let (all, all_missing) = counts(&stdout);
    assert!(all > framesets + 10 && all_missing == missing, "{stdout}");
    test.set_args(&["recording", "info", "rig.mcap"]);
    let (info, ..) = test.output();
    let changes = info.lines().filter(|line| line.starts_with("changed at "));
    assert_eq!(changes.filter(|line| line.ends_with(set.trim())).count(), 1, "{info}");
    test.set_args(&["replay", "rig.mcap", "--fast", "--report", "report.json"]);
    let (stdout, stderr, status) = test.output();
    assert_eq!(status, Some(0), "{stdout}{stderr}");
    let report = std::fs::read_to_string(test.folder().join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["links"][0]["delivered"], all, "{report}");
    let repaired = succeed(&mut test, &["recording", "repair", "rig.mcap"]);
    assert!(repaired.starts_with("rig-repaired.mcap: "), "{repaired}");
}

/// Waits until no process has the file open.
fn wait_for_end_of(file: &Path) {
    let file = file.canonicalize().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let is_open = || {
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let open = |process: std::fs::DirEntry| std::fs::read_dir(process.path().join("fd"));
        let mut files = processes.filter_map(|process| open(process).ok()).flatten().flatten();
        files.any(|open| std::fs::read_link(open.path()).is_ok_and(|path| path == file))
    };
    while is_open() {
        assert!(Instant::now() < deadline, "{} stays open", file.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Checks that a rig whose recording could not grow continued, and that the recorder reported the error.
#[track_caller]
fn ends_early(
    test: &mut Test,
    (stdout, stderr, status): (String, String, Option<i32>),
    error: &str,
    indexed: bool,
) {
    assert_eq!(status, Some(70), "{stdout}{stderr}");
    let stderr = without_ending(&stderr);
    let logged: Vec<_> =
        stderr.lines().filter_map(|line| line.split_once(' ').map(|(_, line)| line)).collect();
    let ends = format!(
        "ERROR main/recorder: cannot write `rig.mcap`: {error}; recording stopped, the rig continues"
    );
    assert_eq!(logged[0], ends, "{stderr}");
    assert!(
        logged[1].starts_with(&format!(
            "ERROR main: processor `recorder` failed: cannot write `rig.mcap`: {error}; "
        )) && logged[1].ends_with(" framesets were not recorded"),
        "{stderr}"
    );
    assert_eq!(logged.len(), 2, "{stderr}");
    // The rig continued.
    assert!(stdout.contains("verify: front: 300 framesets"), "{stdout}");
    let verified = if indexed {
        succeed(test, &["recording", "verify", "rig.mcap"])
    } else {
        succeed(test, &["recording", "repair", "rig.mcap"]);
        succeed(test, &["recording", "verify", "rig-repaired.mcap"])
    };
    let (framesets, missing) = counts(&verified);
    assert!(framesets > 10 && framesets < 300 && missing == 0, "{verified}");
}

fn rig_with_check() -> String {
    format!(
        "placement = \"in-process\"
{}
[processor.check]
kind = \"verify\"
inputs = [\"front\"]
overflow = \"block\"
options = {{ digest = true }}
",
        patient()
    )
}

/// A limit on the size of files: the kernel reserves space beyond it but refuses writes, like broken disks and file
/// systems that reserve nothing. So there is no space for the index either.
#[test]
fn a_limit_on_the_file_ends_the_recording_but_not_the_rig() {
    let mut test = Test::new().topology(rig_with_check()).args(["run", "t.toml", "--framesets", "300"]);
    // In blocks of 512 bytes: 1.5 MB. Without the trap the kernel would kill the process.
    let output = test.output_of("trap '' XFSZ; ulimit -f 3000; exec \"$@\"");
    ends_early(&mut test, output, "File too large (os error 27)", false);
}

/// Fills a real file system. Needs root.
#[test]
fn a_full_disk_ends_the_recording_but_not_the_rig() {
    let mut test = Test::new().topology(rig_with_check()).args(["run", "t.toml", "--framesets", "300"]);
    let folder = test.folder().to_owned();
    let mount =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=1500k", "camrig-test"]).arg(&folder).output();
    if !mount.is_ok_and(|mount| mount.status.success()) {
        println!("skipped, because this test cannot mount a file system");
        return;
    }
    let _unmount = Unmount(folder.clone());
    std::fs::write(folder.join("t.toml"), rig_with_check()).unwrap();
    let output = test.output();
    ends_early(&mut test, output, "No space left on device (os error 28)", true);
}

/// A disk that needs 20 ms for each write: strace delays only the writes to the file. Skipped without strace.
#[test]
fn gaps_of_a_slow_disk_are_in_the_recording() {
    const FRAMESETS: u64 = 1000;
    let rig = r#"
placement = "multi-process"

[camera.front]
driver = "synthetic"
options = { paced = false, depth = "640x480@30", color = "640x480@30", model = "any" }

[processor.recorder]
kind = "record"
inputs = ["front"]
overflow = "block"
options = { file = "rig.mcap", memory_mib = 16 }

[processor.check]
kind = "verify"
inputs = ["front"]
overflow = "block"
options = { digest = true }
"#;
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped, because strace is not installed");
        return;
    }
    let mut test = Test::new().topology(rig);
    test.set_args(&["run", "t.toml", "--framesets", &FRAMESETS.to_string(), "--report", "report.json"]);
    let slow = "exec strace -f -qq -o trace -P \"$PWD/rig.mcap\" -e trace=write,writev -e inject=write,writev:delay_enter=20ms \"$@\"";
    let (stdout, stderr, status) = test.output_of(slow);
    assert_eq!(status, Some(0), "{stdout}{stderr}");
    // The camera waits for its readers, but was not delayed: all its framesets reached the recorder.
    assert!(stdout.contains("verify: front: 1000 framesets, "), "{stdout}");
    let verified = succeed(&mut test, &["recording", "verify", "rig.mcap"]);
    let (framesets, missing) = counts(&verified);
    assert_eq!(framesets + missing, FRAMESETS, "{verified}");
    assert!(
        stderr.contains(&format!("{missing} framesets were dropped because the disk was too slow")),
        "{stderr}"
    );
    let info = succeed(&mut test, &["recording", "info", "rig.mcap"]);
    let mut gaps = info.lines().filter(|line| line.trim_start().starts_with("missing: ")).peekable();
    assert!(
        gaps.peek().is_some() && gaps.all(|gap| gap.ends_with(", memory") || gap.ends_with("gaps")),
        "{info}"
    );
    // The missing framesets would have taken a gigabyte.
    let report = std::fs::read_to_string(test.folder().join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let processes = report["processes"].as_array().unwrap();
    let recorder = processes.iter().find(|process| process["name"] == "recorder").unwrap();
    assert!(recorder["private_bytes_peak"].as_u64().unwrap() < 64 << 20, "{recorder}");
}

/// Returns [`RECORDED`] with a camera that waits for its recorder, so that no frameset is missing.
fn patient() -> String {
    RECORDED.replace("model", "paced = false, model")
}

/// Records three hundred framesets into `rig.mcap`: 4.6 MB.
fn recorded() -> Test {
    let mut test = Test::new().topology(format!("placement = \"in-process\"\n{}", patient()));
    succeed(&mut test, &["run", "t.toml", "--framesets", "300"]);
    test
}

/// Checks that a failed copy named the part that it kept, and that this part is complete.
#[track_caller]
fn kept_in_part(
    test: &mut Test,
    (stderr, status): (&str, Option<i32>),
    start: &str,
    code: i32,
    file: &str,
    index: &str,
) {
    assert_eq!(status, Some(code), "{stderr}");
    let rest = stderr.strip_prefix(start).unwrap_or_else(|| panic!("{stderr}"));
    let rest =
        rest.strip_prefix(&format!("`{file}` has the copied part, ")).unwrap_or_else(|| panic!("{stderr}"));
    let framesets: u64 = rest.strip_suffix(&format!(" framesets, and {index}\n")).unwrap().parse().unwrap();
    assert!(framesets > 10 && framesets < 300, "{stderr}");
    let verified = if index == "an index" {
        succeed(test, &["recording", "verify", file])
    } else {
        succeed(test, &["recording", "repair", file]);
        succeed(test, &["recording", "verify", &file.replace(".mcap", "-repaired.mcap")])
    };
    assert_eq!(counts(&verified), (framesets, 0), "{verified}");
    // Neither the final name nor a temporary one is left.
    let folder = test.folder().join(file).parent().unwrap().to_owned();
    let names =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let left: Vec<_> =
        names.filter(|name| name == "copy.mcap" || name == "bag.mcap" || name.contains(".mcap-")).collect();
    assert_eq!(left, [""; 0]);
}

#[test]
fn a_copy_on_a_full_disk_is_kept_in_part() {
    let mut test = recorded();
    test.set_args(&["recording", "trim", "rig.mcap", "-o", "copy.mcap"]);
    // The file may not grow: there is no space for the index either.
    let (_, stderr, status) = test.output_of("trap '' XFSZ; ulimit -f 3000; exec \"$@\"");
    let start = "error: cannot write `copy.mcap`: File too large (os error 27); ";
    kept_in_part(&mut test, (&stderr, status), start, 73, "copy-partial.mcap", "no index");
    let export = ["recording", "export", "rig.mcap", "-o", "ros", "--format", "ros2"];
    test.set_args(&export);
    let (_, stderr, status) = test.output_of("trap '' XFSZ; ulimit -f 100; exec \"$@\"");
    let text = "error: cannot write `ros/rig.mcap`: File too large (os error 27); `ros/rig-partial.mcap` has the copied part, \
                and an index\n";
    assert_eq!((stderr.as_str(), status), (text, Some(73)));
    succeed(&mut test, &export);
    test.set_args(&["recording", "import", "ros/rig.mcap", "-o", "bag.mcap"]);
    let (_, stderr, status) = test.output_of("trap '' XFSZ; ulimit -f 300; exec \"$@\"");
    let start = "error: cannot write `bag.mcap`: File too large (os error 27); ";
    kept_in_part(&mut test, (&stderr, status), start, 73, "bag-partial.mcap", "no index");
    let disk = test.folder().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=1500k", "camrig-test"]).arg(&disk).output();
    if !mount.is_ok_and(|mount| mount.status.success()) {
        println!("skipped in part, because this test cannot mount a file system");
        return;
    }
    let _unmount = Unmount(disk);
    test.set_args(&["recording", "trim", "rig.mcap", "-o", "disk/copy.mcap"]);
    let (_, stderr, status) = test.output();
    let start = "error: cannot write `disk/copy.mcap`: No space left on device (os error 28); ";
    kept_in_part(&mut test, (&stderr, status), start, 73, "disk/copy-partial.mcap", "an index");
}

/// strace delays each write of the copy, so that there is time for Ctrl-C. Skipped without strace.
#[test]
fn an_interrupted_copy_is_kept_in_part() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped, because strace is not installed");
        return;
    }
    let mut test = recorded();
    let recompress = ["recording", "recompress", "rig.mcap", "-o", "copy.mcap"];
    let (stderr, status) = interrupted(&test, (WRITES, 20), &recompress, ("", ".mcap-"), 200_000);
    let start = "error: interrupted; ";
    kept_in_part(&mut test, (&stderr, status), start, 130, "copy-partial.mcap", "an index");
    let export = ["recording", "export", "rig.mcap", "-o", "ros", "--format", "ros2"];
    // A megabyte is written at once.
    let (stderr, status) = interrupted(&test, (WRITES, 500), &export, ("ros", ".mcap-"), 30_000);
    assert_eq!(status, Some(130), "{stderr}");
    let kept = stderr.strip_prefix("error: interrupted; `ros/rig-partial.mcap` has the copied part, ");
    let kept = kept.and_then(|kept| kept.strip_suffix(" framesets, and an index\n"));
    let written: u64 = kept.unwrap_or_else(|| panic!("{stderr}")).parse().unwrap();
    assert!(written > 10 && written < 300, "{stderr}");
    succeed(&mut test, &["recording", "import", "ros/rig-partial.mcap", "-o", "partial.mcap"]);
    assert_eq!(counts(&succeed(&mut test, &["recording", "verify", "partial.mcap"])), (written, 0));
    succeed(&mut test, &export);
    let import = ["recording", "import", "ros/rig.mcap", "-o", "bag.mcap"];
    let (stderr, status) = ended_by(Signal::TERM, &test, (WRITES, 20), &import, ("", ".mcap-"), 200_000);
    kept_in_part(&mut test, (&stderr, status), start, 143, "bag-partial.mcap", "an index");
}

/// strace delays each read of the recording, so that there is time for Ctrl-C. Skipped without strace.
#[test]
fn an_interrupted_fuse_leaves_no_file() {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("skipped, because strace is not installed");
        return;
    }
    let test = recorded();
    let before = std::fs::read_dir(test.folder()).unwrap().count();
    let fuse = ["recording", "fuse", "rig.mcap", "-o", "mesh.ply"];
    let ended = interrupted(&test, ("pread64", 20), &fuse, ("", ".mesh.ply-"), 0);
    assert_eq!(ended, ("error: interrupted; `mesh.ply` is not written\n".to_owned(), Some(130)));
    // That of strace is there.
    assert_eq!(std::fs::read_dir(test.folder()).unwrap().count(), before + 1);
}

/// The system calls that write.
const WRITES: &str = "write,writev";

/// Interrupts a command, whose system calls of these kinds are delayed by this many milliseconds, when the file of this folder
/// with this in its name has so many bytes; returns its messages and its exit code.
fn interrupted(
    test: &Test,
    delayed: (&str, u32),
    arguments: &[&str],
    file: (&str, &str),
    bytes: u64,
) -> (String, Option<i32>) {
    ended_by(Signal::INT, test, delayed, arguments, file, bytes)
}

/// As [`interrupted`], with this signal.
fn ended_by(
    signal: Signal,
    test: &Test,
    (calls, delay_millis): (&str, u32),
    arguments: &[&str],
    (into, name): (&str, &str),
    bytes: u64,
) -> (String, Option<i32>) {
    let (trace, delay) = (format!("trace={calls}"), format!("inject={calls}:delay_enter={delay_millis}ms"));
    let slow = ["-f", "-qq", "-o", "trace", "-e", &trace, "-e", &delay];
    let copy = Command::new("strace")
        .args(slow)
        .arg(env!("CARGO_BIN_EXE_camrig"))
        .args(arguments)
        .current_dir(test.folder())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let folder = test.folder().join(into);
    wait_for("a part of the copy", || {
        let parts = std::fs::read_dir(&folder).into_iter().flatten().map(Result::unwrap);
        let mut parts = parts.filter(|entry| entry.file_name().to_string_lossy().contains(name));
        parts.next().filter(|part| part.metadata().is_ok_and(|metadata| metadata.len() >= bytes)).map(drop)
    });
    kill_process_group(Pid::from_child(&copy), signal).unwrap();
    let output = copy.wait_with_output().unwrap();
    (String::from_utf8(output.stderr).unwrap(), output.status.code())
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        // Lazily: a failed test may have left a file open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
