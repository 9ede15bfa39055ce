//! Commands that change a running rig, from another process.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;

use crate::program::{Running, Test, wait_for};

const RIG: &str = r#"# The lab.
[camera.left]
driver = "synthetic"
process = "left"
options = { depth = "64x48@100", color = "off", model = "any", seed = 3 }

[processor.check]
kind = "verify"
inputs = ["left"]
overflow = "block"
process = "check"
"#;

const RECORDER: &str = r#"
[processor.rec]
kind = "record"
inputs = ["left"]
process = "check"
options = { file = "live.mcap" }
"#;

/// A rig, and commands for it.
struct Lab {
    test: Test,
    rig: Running,
}

impl Lab {
    fn start(args: &[&str]) -> Self {
        let test = Test::new().topology(RIG).args(["run", "t.toml"].into_iter().chain(args.iter().copied()));
        let log = fs::File::create(test.folder().join("log")).unwrap();
        let rig = test.start(Stdio::null(), log);
        let lab = Self { test, rig };
        wait_for("every actor", || {
            lab.said(&["top", "--json", &lab.pid()])?.contains("\"running\"").then_some(())
        });
        lab
    }

    fn pid(&self) -> String {
        self.rig.pid().to_string()
    }

    /// Returns the stdout of a command, if it succeeds.
    fn said(&self, args: &[&str]) -> Option<String> {
        let (stdout, _, code) = self.test.output_of_args(args);
        (code == Some(0)).then_some(stdout)
    }

    /// Checks the output and the exit code of a command.
    #[track_caller]
    fn says(&self, args: &[&str], stdout: &str, stderr: &str, code: i32) {
        let (found, error, status) = self.test.output_of_args(args);
        assert_eq!((found.as_str(), error.as_str(), status), (stdout, stderr, Some(code)), "{args:?}");
    }

    fn log(&self) -> String {
        fs::read_to_string(self.test.folder().join("log")).unwrap()
    }

    fn end(self) {
        let Self { test, rig } = self;
        rig.signal(Signal::TERM);
        assert_eq!(rig.code(), Some(0), "{}", fs::read_to_string(test.folder().join("log")).unwrap());
    }
}

#[test]
fn options_of_a_running_camera_are_listed_and_set() {
    let lab = Lab::start(&[]);
    let pid = lab.pid();
    let listed = lab.said(&["get", "left", "--rig", &pid]).unwrap();
    let line = listed.lines().find(|line| line.starts_with("exposure ")).unwrap();
    let words: Vec<_> = line.split_whitespace().take(12).collect();
    assert_eq!(words.join(" "), "exposure 8500 us 1 to 165000 in steps of 1 default 8500");
    let set = ["set", "left", "exposure=4000", "gain=32", "--live", "--rig", &pid];
    let line = "set camera `left`: option `exposure` unset -> 4000, option `gain` unset -> 32\n";
    let dry = set.into_iter().chain(["--dry-run"]).collect::<Vec<_>>();
    lab.says(&dry, &format!("{line}nothing was changed: this was a dry run\n"), "", 0);
    lab.says(&set, line, "", 0);
    let controls: serde_json::Value =
        serde_json::from_str(&lab.said(&["get", "left", "--json", "--rig", &pid]).unwrap()).unwrap();
    let exposure = controls.as_array().unwrap().iter().find(|control| control["name"] == "exposure");
    assert_eq!(exposure.unwrap()["value"], 4000.0);
    let wrong = "error: option `gain` is 1: it must be 16 to 248 in steps of 1\n";
    lab.says(&["set", "left", "gain=1", "--live", "--rig", &pid], "", wrong, 78);
    let (_, unknown, code) = lab.test.output_of_args(&["get", "check", "--rig", &pid]);
    assert!(unknown.contains("`check`") && code == Some(78), "{unknown}");
    let log = lab.log();
    assert!(
        log.contains("`camrig set` (process ") && log.contains("set camera `left`: option `exposure`"),
        "{log}"
    );
    let anew = "error: this is not possible while it runs, it needs: restart camera `left`: option `gain` 32 -> 16, option `seed` 3 -> 4\n";
    lab.says(&["set", "left", "gain=16", "options.seed=4", "--live", "--rig", &pid], "", anew, 78);
    // A control without a place in the topology keeps its value until the device is opened again.
    let auto = "set camera `left`: `auto_exposure` false -> true, until it is opened again\n";
    lab.says(&["set", "left", "auto_exposure=true", "--rig", &pid], auto, "", 0);
    // The topology that runs has the others, and so has a file that is applied.
    let changed = RIG.replace("seed = 3 }", "seed = 3, exposure = 4000, gain = 32 }");
    lab.says(&["topology", &pid], &changed, "", 0);
    fs::write(lab.test.folder().join("new.toml"), changed.replace("4000", "5000")).unwrap();
    let applied = "set camera `left`: option `exposure` 4000 -> 5000\n";
    lab.says(&["apply", "new.toml", &pid], applied, "", 0);
    let unset = "restart camera `left`: option `exposure` 5000 -> unset, option `gain` 32 -> unset\n";
    fs::write(lab.test.folder().join("new.toml"), RIG).unwrap();
    lab.says(&["apply", "new.toml", &pid], unset, "", 0);
    lab.end();
}

#[test]
fn a_camera_is_paused_and_resumed() {
    let lab = Lab::start(&["--report", "report.json"]);
    let pid = lab.pid();
    let state = || {
        let status: serde_json::Value = serde_json::from_str(&lab.said(&["top", "--json", &pid])?).ok()?;
        let actor = status["actors"].as_array()?.iter().find(|actor| actor["name"] == "left")?.clone();
        Some((actor["state"].as_str()?.to_owned(), actor["produced"].as_u64()?))
    };
    lab.says(&["pause", "left", "--rig", &pid], "pause camera `left`\n", "", 0);
    lab.says(&["pause", "left", "--rig", &pid], "nothing changes\n", "", 0);
    let (word, paused_at) = state().unwrap();
    assert_eq!(word, "paused");
    // Its device is still open.
    lab.said(&["set", "left", "exposure=4000", "--rig", &pid]).unwrap();
    assert_eq!(state().unwrap(), ("paused".to_owned(), paused_at));
    let unknown = "error: the rig has no camera `check`; it has: `left`\n";
    lab.says(&["pause", "check", "--rig", &pid], "", unknown, 78);
    lab.says(&["resume", "left", "--rig", &pid], "resume camera `left`\n", "", 0);
    wait_for("framesets", || state().filter(|(_, produced)| *produced > paused_at + 10));
    let Lab { test, rig } = lab;
    rig.signal(Signal::TERM);
    assert_eq!(rig.code(), Some(0));
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(test.folder().join("report.json")).unwrap()).unwrap();
    let left = &report["actors"][0];
    assert_eq!(left["restarts"], 0, "{left}");
    // A machine that stops for a moment loses framesets of a camera, but none of the pause.
    let seconds = |change: usize| report["changes"][change]["seconds"].as_f64().unwrap();
    let of_pause = 100.0 * (seconds(2) - seconds(0));
    assert!(left["lost"].as_f64().unwrap() < of_pause / 2.0, "{of_pause} framesets of the pause, {left}");
    let reasons = left["lost_by_reason"].as_object().into_iter().flatten();
    assert!(reasons.map(|(reason, _)| reason).all(|reason| reason == "queue-full"), "{left}");
    let link = &report["links"][0];
    assert_eq!(link["produced"], link["delivered"], "{link}");
    let lines: Vec<_> =
        report["changes"].as_array().unwrap().iter().map(|it| it["changes"][0].clone()).collect();
    let set = "set camera `left`: option `exposure` unset -> 4000";
    assert_eq!(lines, ["pause camera `left`", set, "resume camera `left`"]);
}

#[test]
fn a_running_rig_is_changed_by_commands() {
    let lab = Lab::start(&["--report", "report.json"]);
    let pid = lab.pid();
    lab.says(&["topology", &pid], RIG, "", 0);
    let add =
        ["add", "record.rec", "--inputs", "left", "--process", "check", "file=live.mcap", "--rig", &pid];
    let line = "add processor `rec` in process `check`\n";
    let dry = add.into_iter().chain(["--dry-run"]).collect::<Vec<_>>();
    lab.says(&dry, &format!("{line}nothing was changed: this was a dry run\n"), "", 0);
    lab.says(&["topology", &pid], RIG, "", 0);
    lab.says(&add, line, "", 0);
    lab.says(&add, "", "error: the rig already has an actor `rec`\n", 78);
    let shown = lab.said(&["top", "--once", &pid]).unwrap();
    assert!(shown.contains("\nrec ") && shown.contains("\nleft  rec "), "{shown}");
    let moved = "start process `eye`\nrestart processor `check`: process `check` -> `eye`\n";
    lab.says(&["move", "check", "--process", "eye", "--rig", &pid], moved, "", 0);
    let again = "restart camera `left`: as requested\n";
    lab.says(&["restart", "left", "--rig", &pid], again, "", 0);
    let set = "restart processor `check`: option `content` unset -> false, queue\n";
    lab.says(&["set", "check", "content=false", "queue=3", "--rig", &pid], set, "", 0);
    let removed = "remove processor `rec`\nend process `check`\n";
    lab.says(&["remove", "rec", "--rig", &pid], removed, "", 0);
    // The recording is complete while the rig continues.
    assert!(lab.said(&["recording", "info", "live.mcap"]).unwrap().contains("with an index"));
    lab.says(&["save", "saved.toml", &pid], "", "", 0);
    let saved = fs::read_to_string(lab.test.folder().join("saved.toml")).unwrap();
    let expected =
        RIG.replace("process = \"check\"\n", "process = \"eye\"\nqueue = 3\noptions = { content = false }\n");
    assert_eq!(sorted(&saved), sorted(&expected));
    lab.says(&["apply", "saved.toml", &pid], "nothing changes\n", "", 0);
    let unknown = "error: the rig has no actor `top`; expected one of: `left`, `check`\n";
    lab.says(&["remove", "top", "--rig", &pid], "", unknown, 78);
    let log = lab.log();
    assert!(log.contains("`camrig move` (process "), "{log}");
    let Lab { test, rig } = lab;
    let folder = test.folder().join("report.json");
    rig.signal(Signal::TERM);
    assert_eq!(rig.code(), Some(0), "{log}");
    let report: serde_json::Value = serde_json::from_slice(&fs::read(folder).unwrap()).unwrap();
    assert_eq!(report["changes"].as_array().unwrap().len(), 5);
    let links = report["links"].as_array().unwrap();
    let ended = links.iter().filter(|link| link["ended_seconds"].is_number()).count();
    assert_eq!((links.len(), ended), (6, 5), "{links:#?}");
}

/// The lines of a text, sorted: a key that is added is at the end of its table.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_mistake_in_an_applied_file_changes_nothing() {
    let lab = Lab::start(&[]);
    let pid = lab.pid();
    fs::write(lab.test.folder().join("new.toml"), RIG.replace("[\"left\"]", "[\"lefft\"]")).unwrap();
    let (stdout, stderr, code) = lab.test.output_of_args(&["apply", "new.toml", &pid]);
    assert!(stderr.starts_with("error: processor `check` reads unknown actor `lefft`\n"), "{stderr}");
    assert!(stderr.contains("new.toml:9:"), "{stderr}");
    assert_eq!((stdout.as_str(), code), ("", Some(78)));
    lab.says(&["topology", &pid], RIG, "", 0);
    lab.end();
}

#[test]
fn a_watched_file_is_applied_when_it_changes_and_at_a_hangup() {
    let lab = Lab::start(&["--watch"]);
    let pid = lab.pid();
    let actors = || lab.said(&["top", "--once", &pid]).unwrap();
    fs::write(lab.test.folder().join("t.toml"), format!("{RIG}{RECORDER}")).unwrap();
    wait_for("the recorder", || actors().contains("\nrec ").then_some(()));
    fs::write(lab.test.folder().join("t.toml"), "[camera").unwrap();
    wait_for("the problem", || lab.log().contains("error: ").then_some(()));
    assert!(actors().contains("\nrec "));
    fs::write(lab.test.folder().join("t.toml"), RIG).unwrap();
    wait_for("the end of the recorder", || (!actors().contains("\nrec ")).then_some(()));
    // The file has not changed since, and is applied again at the signal.
    lab.said(&["set", "left", "seed=5", "--rig", &pid]).unwrap();
    assert_ne!(lab.said(&["topology", &pid]).unwrap(), RIG);
    lab.rig.signal(Signal::HUP);
    wait_for("the file again", || (lab.said(&["topology", &pid])? == RIG).then_some(()));
    lab.end();
}

#[test]
fn a_processor_is_attached_for_a_while() {
    let lab = Lab::start(&[]);
    let pid = lab.pid();
    let attach =
        ["attach", "record", "--inputs", "left", "file=live.mcap", "--for", "300ms", "--rig", pid.as_str()];
    let stdout = lab.said(&attach).unwrap();
    assert!(
        stdout.contains("\nadd processor `record-") && stdout.contains("\nend process `record-"),
        "{stdout}"
    );
    assert!(lab.said(&["recording", "info", "live.mcap"]).unwrap().contains("with an index"));
    let by_position = ["attach", &pid, "stats", "seconds=1", "--inputs", "left", "--for", "10ms"];
    let (stdout, stderr, code) = lab.test.output_of_args(&by_position);
    assert!(stderr.contains("`seconds`") && code == Some(78), "{stdout}{stderr}");
    let (stdout, stderr, code) =
        lab.test.output_of_args(&["attach", &pid, "stats", "--inputs", "left", "--for", "10ms"]);
    assert!(stdout.contains("\nend process `stats-") && code == Some(0), "{stdout}{stderr}");
    let twice = ["attach", &pid, "stats", "--inputs", "left", "--rig", &pid];
    lab.says(&twice, "", "error: the rig is named twice\n", 64);
    let words = "error: expected `[RIG] KIND [KEY=VALUE]...`, such as `record file=x.mcap`\n";
    lab.says(&["attach", "a=b", "--inputs", "left"], "", words, 64);
    // The driver has no presets.
    let none = "error: the driver of the camera knows no files of options\n";
    lab.says(&["options", "left", "--save", "left.json", "--rig", &pid], "", none, 78);
    lab.says(&["topology", &pid], RIG, "", 0);
    lab.end();
}

/// A rig that is stopped for a while has not ended: its processor stays, and so does the command that attached it.
#[test]
fn an_attached_processor_stays_while_its_rig_is_stopped() {
    let mut lab = Lab::start(&[]);
    let pid = lab.pid();
    let path = lab.test.folder().to_owned();
    let read = |name: &str| fs::read_to_string(path.join(name)).unwrap();
    let attach = |lab: &mut Lab, more: &[&str]| {
        let args = ["attach", "stats", "--inputs", "left", "--rig", &pid];
        lab.test.set_args(&[&args, more].concat());
        let file = |name: &str| fs::File::create(path.join(name)).unwrap();
        let attached = lab.test.start(file("stdout"), file("stderr"));
        wait_for("the command", || read("stdout").contains("\nadd processor `stats-").then_some(()));
        attached
    };
    let attached = attach(&mut lab, &[]);
    lab.rig.signal(Signal::STOP);
    let stopped = format!("error: the rig does not answer in time; its process is {pid}\n");
    // By the end of the second one, the command has not been answered either.
    for _ in 0..2 {
        lab.says(&["top", "--once", &pid], "", &stopped, 69);
    }
    lab.rig.signal(Signal::CONT);
    assert!(lab.said(&["topology", &pid]).unwrap().contains("[processor.stats-"));
    attached.signal(Signal::TERM);
    assert_eq!(attached.code(), Some(0), "{}", read("stderr"));
    assert!(read("stdout").contains("\nend process `stats-"), "{}{}", read("stdout"), read("stderr"));
    lab.says(&["topology", &pid], RIG, "", 0);
    // A rig that ends before the time is over.
    let attached = attach(&mut lab, &["--for", "60s"]);
    lab.rig.signal(Signal::TERM);
    assert_eq!(attached.code(), Some(69));
    let early = "` has ended before the time of `--for` was over\n";
    assert!(read("stderr").ends_with(early), "{}", read("stderr"));
    lab.end();
}

#[test]
fn cameras_of_a_running_rig_are_shown_in_a_page() {
    let lab = Lab::start(&[]);
    let pid = lab.pid();
    let stdout = lab.said(&["view", "left", "--for", "200ms", "--rig", &pid]).unwrap();
    let lines: Vec<_> = stdout.lines().collect();
    assert!(lines[0].starts_with("start process `view-"), "{stdout}");
    assert!(lines[2].starts_with("view: http://127.0.0.1:"), "{stdout}");
    lab.says(&["topology", &pid], RIG, "", 0);
    lab.end();
}

/// Sends a request to the control socket `name`, and prints its answer.
const ASK: &str = "import socket, struct, sys
with socket.socket(socket.AF_UNIX) as rig:
    rig.connect('\\0' + sys.argv[1])
    request = sys.argv[2].encode()
    rig.sendall(struct.pack('<I', len(request)) + request)
    with rig.makefile('rb') as answer:
        sys.stdout.write(answer.read()[4:].decode())
";

#[test]
fn another_user_cannot_change_a_rig() {
    // Not one from `PATH`, which may be in a folder of root.
    let python = "/usr/bin/python3";
    if !rustix::process::getuid().is_root() || !Path::new(python).exists() {
        eprintln!("SKIPPED: only root can take another user, and {python} is needed");
        return;
    }
    let mut lab = Lab::start(&[]);
    let pid = lab.pid();
    let names = camrig::status::socket::names().unwrap();
    let name = names.into_iter().find(|name| name.contains(&format!("-{pid}-"))).unwrap();
    let version = camrig::status::control::CONTROL_VERSION;
    let request = format!(r#"{{"camrig_control":{version},"content":"topology"}}"#);
    lab.test.set_args(&["-c", ASK, &format!("control-{name}"), &request]);
    let ask = |user: &str| lab.test.output_of(&format!("shift; exec {user} {python} \"$@\""));
    let (own, _, code) = ask("");
    assert!(own.contains("[camera.left]") && code == Some(0), "{own}");
    let (other, stderr, _) = ask("setpriv --reuid=65534 --clear-groups");
    // The rig closes the connection, before or after it is written to.
    assert_eq!(other, "", "{stderr}");
    assert!(
        stderr.is_empty() || stderr.contains("BrokenPipe") || stderr.contains("ConnectionReset"),
        "{stderr}"
    );
    lab.end();
}

/// A recording lists the changes that were made during it, with their times.
#[test]
fn a_running_rig_is_recorded_across_a_change() {
    let lab = Lab::start(&[]);
    let pid = lab.pid();
    lab.said(&["set", "left", "exposure=3000", "--rig", &pid]).unwrap();
    let record = ["record", "--attach", &pid, "--cameras", "left", "-o", "short.mcap"];
    // In a folder of its own: paths are those of the command.
    let desk = Test::new().args(record);
    let stdout = fs::File::create(desk.folder().join("stdout")).unwrap();
    let recording = desk.start(stdout, Stdio::null());
    wait_for("the recorder", || lab.said(&["top", "--once", &pid])?.contains("\nrecord-").then_some(()));
    lab.said(&["set", "left", "exposure=4000", "--rig", &pid]).unwrap();
    recording.signal(Signal::TERM);
    assert_eq!(recording.code(), Some(0));
    let stdout = fs::read_to_string(desk.folder().join("stdout")).unwrap();
    assert!(stdout.contains("\nend process `record-"), "{stdout}");
    let (info, ..) = desk.output_of_args(&["recording", "info", "short.mcap"]);
    let changes: Vec<_> = info.lines().filter(|line| line.starts_with("changed at ")).collect();
    let line = "set camera `left`: option `exposure` 3000 -> 4000";
    let own: Vec<_> = changes.iter().filter(|change| change.ends_with(line)).collect();
    assert!(own.len() == 1 && own[0].contains(" s by `camrig set` (process "), "{info}");
    assert!(changes.iter().all(|change| !change.contains("unset -> 3000")), "{info}");
    let (info, ..) = desk.output_of_args(&["recording", "info", "short.mcap", "--json"]);
    assert!(
        !info.contains("\"first_sequence\": 0,"),
        "framesets of before it joined are not missing: {info}"
    );
    let again = "error: `short.mcap` exists already; choose another name\n";
    let (_, stderr, code) = desk.output_of_args(&["record", "--attach", &pid, "-o", "short.mcap"]);
    assert_eq!((stderr.as_str(), code), (again, Some(73)));
    lab.end();
}

#[test]
fn an_option_is_set_on_the_command_line() {
    let check = ["check", "t.toml", "--set", "camera.left.seed=4", "--set", "processor.check.queue=99"];
    let (_, stderr, code) = Test::new().topology(RIG).output_of_args(&check);
    assert!(stderr.starts_with("error: `queue` of processor `check` is out of range\n"), "{stderr}");
    assert_eq!(code, Some(78));
    let (_, stderr, code) =
        Test::new().topology(RIG).output_of_args(&["check", "t.toml", "--set", "left.seed=4"]);
    assert!(stderr.contains("expected ROLE.NAME.KEY=VALUE, such as camera.left.seed=2"), "{stderr}");
    assert_eq!(code, Some(64));
    let (stdout, _, code) = Test::new().output_of_args(&["completions", "bash"]);
    assert!(stdout.contains("complete -F") && stdout.contains("recording"), "{stdout}");
    assert_eq!(code, Some(0));
}
