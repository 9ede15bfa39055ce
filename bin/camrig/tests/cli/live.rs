//! Commands that change a running rig, from another process.

use std::fs;
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
    lab.says(&set, "exposure = 4000 us\ngain = 32\n", "", 0);
    let controls: serde_json::Value =
        serde_json::from_str(&lab.said(&["get", "left", "--json", "--rig", &pid]).unwrap()).unwrap();
    let exposure = controls.as_array().unwrap().iter().find(|control| control["name"] == "exposure");
    assert_eq!(exposure.unwrap()["value"], 4000.0);
    let wrong = "error: option `gain` is 1: it is 16 to 248 in steps of 1\n";
    lab.says(&["set", "left", "gain=1", "--live", "--rig", &pid], "", wrong, 78);
    let (_, unknown, code) = lab.test.output_of_args(&["get", "check", "--rig", &pid]);
    assert!(unknown.contains("`check`") && code == Some(78), "{unknown}");
    let log = lab.log();
    assert!(
        log.contains("`camrig set` (process ") && log.contains("camera `left`: exposure = 4000"),
        "{log}"
    );
    // The topology did not get them, and the camera goes on.
    lab.says(&["topology", &pid], RIG, "", 0);
    lab.end();
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
    // The recording is whole while the rig goes on.
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

/// The lines of a text, sorted: a key that is added stands at the end of its table.
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
    lab.rig.signal(Signal::HUP);
    lab.says(&["topology", &pid], RIG, "", 0);
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
    lab.says(&["topology", &pid], RIG, "", 0);
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
