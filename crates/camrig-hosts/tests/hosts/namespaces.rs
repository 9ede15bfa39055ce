//! Tests of hosts that are network namespaces, with a cable between them.

use std::process::Command;

use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::agents::{Program, agent_by, identity, report, wait};
use crate::test;

/// Two network namespaces with a cable, which end with the test.
struct Cable {
    first: String,
    arm: String,
}

/// The address of host `arm` on its end of the cable.
const ARM: &str = "10.77.0.2";

/// Runs `ip`; returns whether it could.
fn ip(words: &[&str]) -> bool {
    Command::new("ip").args(words).output().is_ok_and(|output| output.status.success())
}

impl Cable {
    fn new() -> Self {
        let [first, arm] = ["first", "arm"].map(|host| format!("camrig-{host}-{}", std::process::id()));
        let cable = Self { first, arm };
        let Self { first, arm } = &cable;
        for words in [
            &["netns", "add", first][..],
            &["netns", "add", arm],
            &["-n", first, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", arm],
            &["-n", first, "address", "add", "10.77.0.1/24", "dev", "cable"],
            &["-n", arm, "address", "add", "10.77.0.2/24", "dev", "cable"],
            &["-n", first, "link", "set", "lo", "up"],
            &["-n", arm, "link", "set", "lo", "up"],
            &["-n", first, "link", "set", "cable", "up"],
            &["-n", arm, "link", "set", "cable", "up"],
        ] {
            assert!(ip(words), "ip {words:?}");
        }
        cable
    }

    fn plug(&self, plugged: bool) {
        assert!(ip(&["-n", &self.arm, "link", "set", "cable", if plugged { "up" } else { "down" }]));
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.first]);
        ip(&["netns", "delete", &self.arm]);
    }
}

/// Returns the command that runs the program in a namespace.
fn inside(namespace: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(std::env::current_exe().unwrap());
    command
}

/// A cable that is cut and plugged again: the host is named, its camera goes on, and each frameset is accounted for.
fn cut() {
    let cable = Cable::new();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (first, arm) = (identity(folder, "first.pem"), identity(folder, "arm.pem"));
    let (listen, file) = (format!("tls/{ARM}:7447"), folder.join("arm.pem").display().to_string());
    let pinned = ["--listen", &listen, "--identity", &file, "--peer", &first];
    let agent = agent_by(inside(&cable.arm), folder, "agent", &pinned);
    let path = folder.join("rig.toml").display().to_string();
    let text = format!(
        r#"
        [host.arm]
        address     = "{listen}"
        fingerprint = "{arm}"

        [camera.there]
        driver  = "synthetic"
        host    = "arm"
        options = {{ model = "any", depth = "160x120@30" }}

        [processor.reader]
        kind   = "stats"
        inputs = ["there"]
        wire   = {{ depth = "delta" }}
        "#
    );
    std::fs::write(&path, text).unwrap();
    let report_file = folder.join("report.json").display().to_string();
    let mut run =
        Program::start_by(inside(&cable.first), folder, "run", &["run", &path, "--report", &report_file]);
    let lines = run.lines();
    let context = || run.stderr() + &agent.stderr();
    let printed = || lines.lock().unwrap().iter().filter(|line| line.starts_with("stats: there")).count();
    wait("framesets", || printed() > 0, context);
    cable.plug(false);
    run.wait_for_stderr("host `arm` at");
    // Its camera goes on: its framesets wait, and are dropped.
    agent.wait_for_stderr("framesets wait for it");
    cable.plug(true);
    run.wait_for_stderr("host `arm` is back");
    let before = printed();
    wait("framesets after the cut", || printed() > before + 1, context);
    run.signal(Signal::INT);
    assert_eq!(run.finish().0, Some(0), "{}", run.stderr());

    let report = report(folder);
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    let link = report["links"].as_array().unwrap().iter().find(|link| link["from"] == "arm/there").unwrap();
    let there = report["actors"].as_array().unwrap().iter().find(|actor| actor["name"] == "there").unwrap();
    assert_eq!(number(&link["delivered"]), number(&there["produced"]) + number(&there["lost"]), "{report:#}");
    assert!(number(&link["dropped"]["drop-oldest"]) > 0, "{link:#}");
}

/// They make namespaces, which root alone may: `just test-hosts` runs them.
pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    let mut of_root = Vec::new();
    test(&mut of_root, "namespaces::a_cable_that_is_cut_costs_what_is_counted", cut);
    trials.extend(of_root.into_iter().map(|trial| trial.with_ignored_flag(true)));
}
