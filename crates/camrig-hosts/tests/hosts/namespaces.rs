//! Tests of hosts that are network namespaces, with a cable between them.

use std::process::Command;

use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::agents::{Crossing, Program, agent_by, identity, report, wait};
use crate::test;

/// Network namespaces: `first`, and one for each other host, with a cable between both. They end with the test.
pub(crate) struct Network {
    /// The other hosts.
    hosts: Vec<String>,
}

/// Runs `ip`; returns whether it could.
fn ip(words: &[&str]) -> bool {
    Command::new("ip").args(words).output().is_ok_and(|output| output.status.success())
}

impl Network {
    pub(crate) fn new(hosts: &[&str]) -> Self {
        let network = Self { hosts: hosts.iter().map(|host| (*host).to_owned()).collect() };
        let first = network.of("first");
        let must = |words: &[&str]| assert!(ip(words), "ip {words:?}");
        must(&["netns", "add", &first]);
        must(&["-n", &first, "link", "set", "lo", "up"]);
        for (number, host) in hosts.iter().enumerate() {
            let (other, [here, there]) =
                (network.of(host), [1, 2].map(|end| format!("10.77.{number}.{end}/24")));
            for words in [
                &["netns", "add", &other][..],
                &["-n", &other, "link", "set", "lo", "up"],
                &[
                    "-n", &first, "link", "add", host, "type", "veth", "peer", "name", "cable", "netns",
                    &other,
                ],
                &["-n", &first, "address", "add", &here, "dev", host],
                &["-n", &other, "address", "add", &there, "dev", "cable"],
                &["-n", &first, "link", "set", host, "up"],
                &["-n", &other, "link", "set", "cable", "up"],
            ] {
                must(words);
            }
        }
        network
    }

    /// Returns the namespace of a host.
    pub(crate) fn of(&self, host: &str) -> String {
        format!("camrig-{host}-{}-{}", std::process::id(), self.hosts.len())
    }

    /// Returns the address of another host on its end of the cable.
    pub(crate) fn address(&self, host: &str) -> String {
        format!("10.77.{}.2", self.hosts.iter().position(|name| name == host).unwrap())
    }

    /// Returns the number of bytes that the first host has received from another one.
    pub(crate) fn received_bytes(&self, host: &str) -> u64 {
        let file = format!("/sys/class/net/{host}/statistics/rx_bytes");
        let read =
            Command::new("ip").args(["netns", "exec", &self.of("first"), "cat", &file]).output().unwrap();
        String::from_utf8(read.stdout).unwrap().trim().parse().unwrap()
    }

    fn plug(&self, host: &str, plugged: bool) {
        assert!(ip(&["-n", &self.of(host), "link", "set", "cable", if plugged { "up" } else { "down" }]));
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in self.hosts.iter().map(String::as_str).chain(["first"]) {
            ip(&["netns", "delete", &self.of(host)]);
        }
    }
}

/// Returns the command that runs the program in a namespace.
pub(crate) fn inside(namespace: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(std::env::current_exe().unwrap());
    command
}

/// A cable that is cut and plugged again: the host is named, its camera continues, and each frameset is accounted for.
fn cut() {
    let network = Network::new(&["arm"]);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (first, arm) = (identity(folder, "first.pem"), identity(folder, "arm.pem"));
    let (listen, file) =
        (format!("tls/{}:7447", network.address("arm")), folder.join("arm.pem").display().to_string());
    let pinned = ["--listen", &listen, "--identity", &file, "--peer", &first];
    let agent = agent_by(inside(&network.of("arm")), folder, "agent", &pinned);
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
    let mut run = Program::start_by(
        inside(&network.of("first")),
        folder,
        "run",
        &["run", &path, "--report", &report_file],
    );
    let lines = run.lines();
    let context = || run.stderr() + &agent.stderr();
    let printed = || lines.lock().unwrap().iter().filter(|line| line.starts_with("stats: there")).count();
    wait("framesets", || printed() > 0, context);
    network.plug("arm", false);
    run.wait_for_stderr("host `arm` at");
    // Its camera continues: its framesets wait, and are dropped.
    agent.wait_for_stderr("framesets wait for it");
    network.plug("arm", true);
    run.wait_for_stderr("host `arm` is back");
    let before = printed();
    wait("framesets after the cut", || printed() > before + 1, context);
    run.signal(Signal::INT);
    assert_eq!(run.finish().0, Some(0), "{}", run.stderr());

    let report = report(folder);
    assert_eq!(Crossing::of(&report, "arm/there", "there").in_flight(), 0, "{report:#}");
    let link = report["links"].as_array().unwrap().iter().find(|link| link["from"] == "arm/there").unwrap();
    assert!(link["dropped"]["drop-oldest"].as_u64().is_some_and(|dropped| dropped > 0), "{link:#}");
}

/// They create namespaces, which only root may: `just test-hosts` runs them.
pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    let mut of_root = Vec::new();
    test(&mut of_root, "namespaces::a_cable_that_is_cut_costs_what_is_counted", cut);
    trials.extend(of_root.into_iter().map(|trial| trial.with_ignored_flag(true)));
}
