//! Hosts with a cable of `tc netem` between them: it delays, loses and reorders packets, at a limited rate.
//!
//! They need root, `tc` of iproute2 and the kernel's module `sch_netem`: `just test-netem` runs them in a guest that has it.

use std::process::Command;
use std::time::Duration;

use libtest_mimic::Trial;

use crate::agents::{Crossing, Program, report};
use crate::matches::{TwoHosts, pairs, same_matches};
use crate::namespaces::{BAD_CABLE, Network, agent_on_arm, inside, same_content};
use crate::same::on_one_host;
use crate::test;

/// What the cable does to the packets of each direction: `reorder` sends a quarter of them at once, before those that are delayed.
const QUALITY: &[&str] =
    &["delay", "4ms", "1ms", "loss", "1%", "reorder", "25%", "50%", "rate", "100mbit", "limit", "10000"];

/// The variable with which a machine that lacks `tc netem` fails a test instead of skipping it.
const NEEDED: &str = "CAMRIG_TEST_NETEM";

/// Framesets of each camera whose matches are compared.
const FRAMESETS: &str = "60";

/// The cable of host `arm`, made bad in both directions.
struct Netem {
    /// The namespace and interface of each end.
    ends: [(String, &'static str); 2],
}

impl Netem {
    /// Says that a test is skipped and returns `None` where this cannot be done.
    fn of(network: &Network) -> Option<Self> {
        let ends = [(network.of("first"), "arm"), (network.of("arm"), "cable")];
        for (namespace, interface) in &ends {
            // As on a cable, where packets have its size.
            let whole = Command::new("ip")
                .args(["netns", "exec", namespace, "python3", BAD_CABLE, "whole", interface])
                .status();
            assert!(whole.unwrap().success());
            let words = ["-n", namespace, "qdisc", "add", "dev", interface, "root", "netem"];
            let fact = match Command::new("tc").args(words).args(QUALITY).output() {
                Ok(output) if output.status.success() => continue,
                Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
                Err(error) => format!("tc: {error}"),
            };
            assert!(std::env::var_os(NEEDED).is_none(), "{fact}");
            println!("skipped: this machine has no `tc netem`: {fact}");
            return None;
        }
        Some(Self { ends })
    }

    /// Prints the numbers of packets that were sent, lost, and queued because others had overtaken them, and checks that some were.
    fn check(&self) {
        let (mut sent, mut lost, mut early) = (0, 0, 0);
        for (namespace, interface) in &self.ends {
            let read =
                Command::new("tc").args(["-n", namespace, "-s", "qdisc", "show", "dev", interface]).output();
            let text = String::from_utf8(read.unwrap().stdout).unwrap();
            let before = |word: &str| text.split_whitespace().take_while(|it| !it.starts_with(word)).last();
            let number = |text: Option<&str>| text.unwrap().parse::<u64>().unwrap();
            sent += number(before("pkt"));
            let after = text.split_once("(dropped ").unwrap().1;
            lost += number(after.split(',').next());
            let read = Command::new("ip")
                .args(["netns", "exec", namespace, "cat", "/proc/net/netstat"])
                .output()
                .unwrap();
            let text = String::from_utf8(read.stdout).unwrap();
            let mut rows = text.lines().filter(|line| line.starts_with("TcpExt:")).map(str::split_whitespace);
            let [names, numbers] = [(); 2].map(|()| rows.next().unwrap());
            early +=
                number(names.zip(numbers).find(|(name, _)| *name == "TCPOFOQueue").map(|(_, number)| number));
        }
        println!("netem: {sent} packets sent, {lost} lost, {early} arrived before others");
        assert!(lost > 0 && early > 0);
    }
}

/// Framesets over such a cable have the content of one host.
fn content() {
    let network = Network::new(&["arm"]);
    let Some(netem) = Netem::of(&network) else { return };
    same_content(&network, || ());
    netem.check();
}

/// Matches over such a cable are those of one host, by the cameras' own clock.
fn matches_of_one_host() {
    let network = Network::new(&["arm"]);
    let Some(netem) = Netem::of(&network) else { return };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let text = r#"
        [camera.left]
        driver  = "synthetic"
        host    = "arm"
        options = { model = "any", seed = 1, depth = "160x120@5", color = "160x120@5" }

        [camera.right]
        driver  = "synthetic"
        options = { model = "any", seed = 2, depth = "160x120@6", color = "160x120@6" }

        [processor.here]
        kind   = "pairs"
        inputs = ["left", "right"]
        match  = { window_millis = 90, clock = "hardware", queue = 32 }
        wire   = { depth = "delta", color = "zstd" }
        "#;
    let path = folder.join("rig.toml").display().to_string();
    let report_file = folder.join("report.json").display().to_string();
    let matched = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let words = ["run", &path, "--framesets", FRAMESETS, "--report", &report_file];
        let mut run = Program::start_by(inside(&network.of("first")), folder, "run", &words);
        let (code, stdout) = run.finish();
        assert_eq!(code, Some(0), "{}", run.stderr());
        pairs(&stdout.lines().map(str::to_owned).collect::<Vec<_>>())
    };
    let of_one_host = matched(&on_one_host(text));
    let (_agent, host) = agent_on_arm(&network, folder);
    let over_hosts = matched(&(host + text));
    println!("netem: {} matches", over_hosts.len());
    assert!(over_hosts.len() >= 40, "{over_hosts:?}");
    assert_eq!(over_hosts, of_one_host);
    let report = report(folder);
    let crossing = Crossing::of(&report, "arm/left", "left");
    let framesets = FRAMESETS.parse().unwrap();
    assert_eq!(
        (crossing.delivered, crossing.published, crossing.lost),
        (framesets, framesets, 0),
        "{report:#}"
    );
    netem.check();
}

/// By mapped clocks, both hosts match the same framesets.
fn matches_of_both_hosts() {
    let network = Network::new(&["arm"]);
    let Some(netem) = Netem::of(&network) else { return };
    let address = format!("{}:7447", network.address("arm"));
    same_matches(TwoHosts {
        agent: inside(&network.of("arm")),
        first: inside(&network.of("first")),
        listen: address.clone(),
        address,
        // Some packets are not delayed.
        delay: Duration::ZERO,
        offset_seconds: 0.0,
    });
    netem.check();
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    let mut of_root = Vec::new();
    test(&mut of_root, "netem::framesets_have_the_content_of_one_host", content);
    test(&mut of_root, "netem::matches_are_those_of_one_host", matches_of_one_host);
    test(&mut of_root, "netem::both_hosts_match_the_same_framesets", matches_of_both_hosts);
    trials.extend(of_root.into_iter().map(|trial| trial.with_ignored_flag(true)));
}
