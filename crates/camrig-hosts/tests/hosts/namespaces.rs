//! Tests of hosts that are network namespaces, with a cable between them.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::agents::{Crossing, Program, agent_by, ends_with_parent, identity, report, wait};
use crate::same::{digests, on_one_host};
use crate::test;

/// The program that carries packets.
pub(crate) const BAD_CABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hosts/bad_cable.py");

/// Network namespaces: `first`, and one for each other host, with a cable between both. They end with the test.
pub(crate) struct Network {
    /// The other hosts.
    hosts: Vec<String>,
    /// Distinguishes the networks of tests that run at the same time.
    number: u32,
}

static NETWORKS: AtomicU32 = AtomicU32::new(0);

/// Runs `ip`; returns whether it could.
fn ip(words: &[&str]) -> bool {
    Command::new("ip").args(words).output().is_ok_and(|output| output.status.success())
}

impl Network {
    pub(crate) fn new(hosts: &[&str]) -> Self {
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let network = Self { hosts: hosts.iter().map(|host| (*host).to_owned()).collect(), number };
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
        format!("camrig-{host}-{}-{}", std::process::id(), self.number)
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

    /// Returns an address in the namespace `first` that the other ones reach. It does not forward packets between them.
    pub(crate) fn meeting_point(&self) -> &'static str {
        const PLACE: &str = "10.78.0.1";
        let first = self.of("first");
        let must = |words: &[&str]| assert!(ip(words), "ip {words:?}");
        must(&["-n", &first, "address", "add", PLACE, "dev", "lo"]);
        must(&["netns", "exec", &first, "sh", "-c", "echo 0 >/proc/sys/net/ipv4/ip_forward"]);
        for (number, host) in self.hosts.iter().enumerate() {
            must(&["-n", &self.of(host), "route", "add", PLACE, "via", &format!("10.77.{number}.1")]);
        }
        PLACE
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

/// A cable that loses packets, delays all, and lets some overtake others.
struct BadCable {
    namespace: String,
    carrier: Child,
    lines: BufReader<ChildStdout>,
}

impl BadCable {
    /// Replaces the cable of a host by one that delays each way by `delay_millis` and up to `jitter_millis` more.
    fn of(network: &Network, host: &str, [delay_millis, jitter_millis, loss]: [f64; 3]) -> Self {
        let (first, other, namespace) = (network.of("first"), network.of(host), network.of("between"));
        let here = format!("{}1/24", network.address(host).trim_end_matches('2'));
        let there = format!("{}/24", network.address(host));
        for words in [
            &["netns", "add", &namespace][..],
            &["-n", &first, "link", "delete", host],
            &["-n", &first, "link", "add", host, "type", "veth", "peer", "name", "one", "netns", &namespace],
            &[
                "-n", &other, "link", "add", "cable", "type", "veth", "peer", "name", "other", "netns",
                &namespace,
            ],
            &["-n", &first, "address", "add", &here, "dev", host],
            &["-n", &other, "address", "add", &there, "dev", "cable"],
            &["-n", &first, "link", "set", host, "up"],
            &["-n", &other, "link", "set", "cable", "up"],
            &["-n", &namespace, "link", "set", "one", "up"],
            &["-n", &namespace, "link", "set", "other", "up"],
        ] {
            assert!(ip(words), "ip {words:?}");
        }
        let python = |namespace: &str| {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", namespace, "python3", BAD_CABLE]);
            command
        };
        for (namespace, interface) in [(&first, host), (&other, "cable")] {
            assert!(python(namespace).args(["whole", interface]).status().unwrap().success());
        }
        let numbers = [delay_millis, jitter_millis, loss].map(|number| number.to_string());
        let mut carrier = python(&namespace);
        carrier.args(["carry", "one", "other"]).args(numbers).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut carrier = carrier.spawn().unwrap();
        let mut lines = BufReader::new(carrier.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { namespace, carrier, lines }
    }

    /// Ends; returns the numbers of packets that were carried, lost and overtaken.
    fn finish(mut self) -> [u64; 3] {
        drop(self.carrier.stdin.take());
        let mut line = String::new();
        self.lines.read_to_string(&mut line).unwrap();
        let numbers: Vec<u64> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
        numbers.try_into().unwrap()
    }
}

impl Drop for BadCable {
    fn drop(&mut self) {
        let _ = self.carrier.kill();
        let _ = self.carrier.wait();
        ip(&["netns", "delete", &self.namespace]);
    }
}

/// Starts an agent on host `arm`; returns it with the table of the host.
pub(crate) fn agent_on_arm(network: &Network, folder: &Path) -> (Program, String) {
    let (first, arm) = (identity(folder, "first.pem"), identity(folder, "arm.pem"));
    let (listen, file) =
        (format!("tls/{}:7447", network.address("arm")), folder.join("arm.pem").display().to_string());
    let pinned = ["--listen", &listen, "--identity", &file, "--peer", &first];
    let agent = agent_by(inside(&network.of("arm")), folder, "agent", &pinned);
    (agent, format!("[host.arm]\naddress = \"{listen}\"\nfingerprint = \"{arm}\"\n"))
}

/// Returns the command that runs the program in a namespace.
pub(crate) fn inside(namespace: &str) -> Command {
    let mut command = ends_with_parent();
    command.args(["ip", "netns", "exec", namespace]).arg(std::env::current_exe().unwrap());
    command
}

/// A cable that is cut and plugged again: the host is named, its camera continues, and each frameset is accounted for.
fn cut() {
    let network = Network::new(&["arm"]);
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (agent, host) = agent_on_arm(&network, folder);
    let path = folder.join("rig.toml").display().to_string();
    let text = format!(
        r#"
        {host}
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

/// Below TCP, packets are lost and overtake others: framesets do not, and have the content of one host. `spoil` makes the cable
/// of host `arm` such a one.
pub(crate) fn same_content<Cable>(network: &Network, spoil: impl FnOnce() -> Cable) -> Cable {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let text = r#"
        [camera.there]
        driver  = "synthetic"
        host    = "arm"
        options = { model = "any", seed = 9, paced = false, depth = "160x120@30", color = "160x120@30" }

        [processor.reader]
        kind     = "verify"
        inputs   = ["there"]
        overflow = "block"
        wire     = { depth = "delta", color = "zstd" }
        options  = { digest = true }
        "#;
    let path = folder.join("rig.toml").display().to_string();
    let report_file = folder.join("report.json").display().to_string();
    let run = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let words = ["run", &path, "--framesets", "150", "--report", &report_file];
        let mut run = Program::start_by(inside(&network.of("first")), folder, "run", &words);
        let (code, stdout) = run.finish();
        assert_eq!(code, Some(0), "{}", run.stderr());
        digests(&stdout)
    };
    let of_one_host = run(&on_one_host(text));
    let cable = spoil();
    let (_agent, host) = agent_on_arm(network, folder);
    assert_eq!(run(&(host + text)), of_one_host);
    let report = report(folder);
    let crossing = Crossing::of(&report, "arm/there", "there");
    assert_eq!((crossing.delivered, crossing.published, crossing.lost), (150, 150, 0), "{report:#}");
    cable
}

/// A cable that a program makes bad.
fn bad_cable() {
    let network = Network::new(&["arm"]);
    let cable = same_content(&network, || BadCable::of(&network, "arm", [3.0, 2.0, 0.01]));
    let [carried, lost, overtaken] = cable.finish();
    println!("bad cable: {carried} packets carried, {lost} lost, {overtaken} overtaken");
    assert!(lost > 0 && overtaken > 0, "{carried} {lost} {overtaken}");
}

/// They create namespaces, which only root may: `just test-hosts` runs them.
pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    let mut of_root = Vec::new();
    test(&mut of_root, "namespaces::a_cable_that_is_cut_costs_what_is_counted", cut);
    test(&mut of_root, "namespaces::a_cable_that_loses_and_reorders_packets_changes_nothing", bad_cable);
    trials.extend(of_root.into_iter().map(|trial| trial.with_ignored_flag(true)));
}
