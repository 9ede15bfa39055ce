//! Rigs that are killed, and disks that are slow or full: the recording is readable, and says what it holds.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::program::Test;
use crate::recording::counts;

const RIG: &str = r#"
[camera.front]
driver = "synthetic"
options = { depth = "64x48@300", color = "64x48@300", model = "any" }

[processor.recorder]
kind = "record"
inputs = ["front"]
overflow = "block"
options = { file = "rig.mcap" }
"#;

/// Runs a command about the recording, where all has to be well.
#[track_caller]
fn well(test: &mut Test, args: &[&str]) -> String {
    test.set_args(args);
    let (stdout, stderr, status) = test.output();
    assert_eq!((stderr.as_str(), status), ("", Some(0)), "{args:?}: {stdout}");
    stdout
}

/// Waits until a file is as large as this.
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
        let mut test = Test::new().topology(RIG);
        let recording = test.folder().join("rig.mcap");
        let mut rig = Command::new(env!("CARGO_BIN_EXE_camrig"))
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
        let info = well(&mut test, &["recording", "info", "rig.mcap"]);
        assert!(info.contains("without an index"), "{info}");
        let repaired = well(&mut test, &["recording", "repair", "rig.mcap"]);
        assert!(repaired.starts_with("rig-repaired.mcap: "), "{repaired}");
        let verified = well(&mut test, &["recording", "verify", "rig-repaired.mcap"]);
        let (framesets, missing) = counts(&verified);
        assert!(framesets > 10 && missing == 0, "{verified}");
    }
}

/// Ends the worker of this process by SIGKILL.
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
            assert!(Command::new("kill").args(["-9", id]).status().unwrap().success());
            return;
        }
        assert!(Instant::now() < deadline, "there is no process `{process}`");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_recorder_that_is_started_again_goes_on_in_a_new_file() {
    let mut test = Test::new().topology(RIG);
    let mut rig = Command::new(env!("CARGO_BIN_EXE_camrig"))
        .args(["run", "t.toml", "--placement", "multi-process"])
        .current_dir(test.folder())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let first = test.folder().join("rig.mcap");
    wait_for_size(&first, 200_000);
    kill_worker(&rig, "recorder");
    wait_for_size(&test.folder().join("rig-2.mcap"), 200_000);
    let interrupted = Command::new("kill").args(["-INT", &rig.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    rig.wait().unwrap();
    let verified = well(&mut test, &["recording", "verify", "rig-2.mcap"]);
    let (framesets, missing) = counts(&verified);
    assert!(framesets > 10 && missing == 0, "{verified}");
    let repaired = well(&mut test, &["recording", "repair", "rig.mcap"]);
    assert!(repaired.starts_with("rig-repaired.mcap: "), "{repaired}");
}

/// Waits until nobody writes a file any more: no process has it open.
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

/// What a rig leaves whose recording may not grow: the rig goes on, and the recorder says so.
#[track_caller]
fn ends_early(
    test: &mut Test,
    (stdout, stderr, status): (String, String, Option<i32>),
    error: &str,
    indexed: bool,
) {
    assert_eq!(status, Some(70), "{stdout}{stderr}");
    let told: Vec<_> = stderr.lines().filter_map(|line| line.split_once(' ').map(|(_, line)| line)).collect();
    let ends = format!(
        "ERROR main/recorder: cannot write `rig.mcap`: {error}; the recording ends here, and the rig goes on \
         without it"
    );
    assert_eq!(told[0], ends, "{stderr}");
    assert!(
        told[1].starts_with(&format!(
            "ERROR main: processor `recorder` failed: cannot write `rig.mcap`: {error}; "
        )) && told[1].ends_with(" framesets came after the end of the recording"),
        "{stderr}"
    );
    assert_eq!(told.len(), 2, "{stderr}");
    // The rig went on.
    assert!(stdout.contains("verify: front: 300 framesets"), "{stdout}");
    let verified = if indexed {
        well(test, &["recording", "verify", "rig.mcap"])
    } else {
        well(test, &["recording", "repair", "rig.mcap"]);
        well(test, &["recording", "verify", "rig-repaired.mcap"])
    };
    let (framesets, missing) = counts(&verified);
    assert!(framesets > 10 && framesets < 300 && missing == 0, "{verified}");
}

fn rig_with_check() -> String {
    format!(
        "placement = \"in-process\"
{RIG}
[processor.check]
kind = \"verify\"
inputs = [\"front\"]
overflow = \"block\"
options = {{ digest = true }}
"
    )
}

/// The kernel promises room beyond the shell's limit on the size of files, and refuses to have it written: so fail
/// disks that break, and file systems that promise nothing. Then there is no room for the index.
#[test]
fn a_file_that_may_not_grow_ends_the_recording_and_not_the_rig() {
    let mut test = Test::new().topology(rig_with_check()).args(["run", "t.toml", "--framesets", "300"]);
    // In blocks of 512 bytes: 1.5 MB. Without the trap the kernel would end the process.
    let output = test.output_of("trap '' XFSZ; ulimit -f 3000; exec \"$@\"");
    ends_early(&mut test, output, "File too large (os error 27)", false);
}

/// A real file system that is full. Needs root.
#[test]
fn a_full_disk_ends_the_recording_and_not_the_rig() {
    let mut test = Test::new().topology(rig_with_check()).args(["run", "t.toml", "--framesets", "300"]);
    let folder = test.folder().to_owned();
    let mount =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=1500k", "camrig-test"]).arg(&folder).output();
    if !mount.is_ok_and(|mount| mount.status.success()) {
        println!("left out, because this test may not mount a file system: a full disk");
        return;
    }
    let _unmount = Unmount(folder.clone());
    std::fs::write(folder.join("t.toml"), rig_with_check()).unwrap();
    let output = test.output();
    ends_early(&mut test, output, "No space left on device (os error 28)", true);
}

/// A disk that takes 20 ms for each write: strace, which is not everywhere, holds up nothing but the writes to the file.
#[test]
fn what_a_slow_disk_leaves_out_is_in_the_recording() {
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
        println!("left out, because there is no strace: a slow disk");
        return;
    }
    let mut test = Test::new().topology(rig);
    test.set_args(&["run", "t.toml", "--framesets", &FRAMESETS.to_string(), "--report", "report.json"]);
    let slow = "exec strace -f -qq -o trace -P \"$PWD/rig.mcap\" -e trace=write -e inject=write:delay_enter=20ms \"$@\"";
    let (stdout, stderr, status) = test.output_of(slow);
    assert_eq!(status, Some(0), "{stdout}{stderr}");
    // The camera, which waits for its readers, was not held up: all it made was there to be recorded.
    assert!(stdout.contains("verify: front: 1000 framesets, "), "{stdout}");
    let verified = well(&mut test, &["recording", "verify", "rig.mcap"]);
    let (framesets, missing) = counts(&verified);
    assert_eq!(framesets + missing, FRAMESETS, "{verified}");
    assert!(
        stderr.contains(&format!("{missing} framesets were left out: the disk was too slow")),
        "{stderr}"
    );
    let info = well(&mut test, &["recording", "info", "rig.mcap"]);
    let mut gaps = info.lines().filter(|line| line.trim_start().starts_with("missing: ")).peekable();
    assert!(
        gaps.peek().is_some() && gaps.all(|gap| gap.ends_with(", memory") || gap.ends_with("gaps")),
        "{info}"
    );
    // What was left out would have taken a gigabyte.
    let report = std::fs::read_to_string(test.folder().join("report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let processes = report["processes"].as_array().unwrap();
    let recorder = processes.iter().find(|process| process["name"] == "recorder").unwrap();
    assert!(recorder["private_bytes_peak"].as_u64().unwrap() < 64 << 20, "{recorder}");
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        // Lazily: a test that failed may have left something open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
