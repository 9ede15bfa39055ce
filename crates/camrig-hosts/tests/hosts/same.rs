//! Framesets that cross between hosts are those of one host.

use std::path::Path;

use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::agents::{Program, agent, identity, produced, report};
use crate::crossing::free_address;
use crate::test;

/// Framesets of each camera.
const FRAMESETS: u64 = 60;

/// Two cameras on two hosts, and two readers of both; without `address` all on one host.
fn topology(folder: &Path, address: Option<&str>, host: &str, codec: &str) -> String {
    let text = format!(
        r#"
        [camera.there]
        driver  = "synthetic"
        host    = "arm"
        options = {{ model = "any", seed = 3, depth = "160x120@60", color = "160x120@60", gyro = 200, paced = false }}

        [camera.here]
        driver  = "synthetic"
        options = {{ model = "any", seed = 4, depth = "160x120@60", color = "160x120@60", paced = false }}

        [processor.near]
        kind     = "verify"
        inputs   = ["there", "here"]
        overflow = "block"
        wire     = {{ depth = "{codec}", color = "{codec}", gyro = "{codec}" }}
        options  = {{ digest = true }}

        [processor.far]
        kind     = "verify"
        host     = "arm"
        inputs   = ["there", "here"]
        overflow = "block"
        wire     = {{ depth = "{codec}", color = "{codec}" }}
        options  = {{ digest = true }}
        "#
    );
    let text = match address {
        Some(address) => format!("[host.arm]\naddress = \"{address}\"\n{host}\n{text}"),
        None => on_one_host(&text),
    };
    let path = folder.join("rig.toml").display().to_string();
    std::fs::write(&path, text).unwrap();
    path
}

/// Returns a topology whose actors are all on this host.
pub(crate) fn on_one_host(text: &str) -> String {
    let is_of_hosts = |line: &&str| ["host ", "wire "].iter().any(|key| line.trim_start().starts_with(key));
    text.lines().filter(|line| !is_of_hosts(line)).collect::<Vec<_>>().join("\n")
}

/// Returns the lines that processors of kind `verify` print, sorted.
pub(crate) fn digests(stdout: &str) -> Vec<String> {
    let mut lines: Vec<_> =
        stdout.lines().filter(|line| line.starts_with("verify: ")).map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

/// Runs a topology; returns stdout.
fn run(folder: &Path, path: &str, agent: Option<&Program>) -> String {
    let report_file = folder.join("report.json").display().to_string();
    let framesets = FRAMESETS.to_string();
    let mut run =
        Program::start(folder, "run", &["run", path, "--framesets", &framesets, "--report", &report_file]);
    let (code, stdout) = run.finish();
    let context = || run.stderr() + &agent.map(Program::stderr).unwrap_or_default();
    assert_eq!(code, Some(0), "{}", context());
    let report = report(folder);
    for link in report["links"].as_array().unwrap() {
        let counts = (link["produced"].as_u64(), link["delivered"].as_u64());
        assert_eq!(counts, (Some(FRAMESETS), Some(FRAMESETS)), "{link:#}\n{}", context());
    }
    let is_known = |(_, count): &(String, u64)| *count == 0 || *count == FRAMESETS;
    assert!(produced(&report).iter().all(is_known), "{report:#}");
    stdout
}

/// Each frameset that crosses, in either direction, is the same at both hosts, and the same as on one host.
fn same(tls: bool, codec: &str) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let whole = topology(folder, None, "", codec);
    let of_one_host = digests(&run(folder, &whole, None));
    let (first, arm) = (identity(folder, "first.pem"), identity(folder, "arm.pem"));
    let (address, file) = (free_address(), folder.join("arm.pem").display().to_string());
    let listen = if tls { format!("tls/{address}") } else { format!("tcp/{address}") };
    let pinned = ["--listen", &listen, "--identity", &file, "--peer", &first];
    let mut agent = agent(folder, "agent", if tls { &pinned } else { &pinned[..4] });
    let fingerprint = if tls { format!("fingerprint = \"{arm}\"") } else { String::new() };
    let path = topology(folder, Some(&listen), &fingerprint, codec);
    let near = digests(&run(folder, &path, Some(&agent)));
    agent.signal(Signal::TERM);
    let (code, far) = agent.finish();
    assert_eq!(code, Some(0), "{}", agent.stderr());
    assert_eq!(near.len(), 2, "{near:?}");
    assert_eq!(near, digests(&far));
    // There each of two readers printed both lines.
    assert_eq!(of_one_host.iter().step_by(2).collect::<Vec<_>>(), near.iter().collect::<Vec<_>>());
    assert_eq!(of_one_host.iter().skip(1).step_by(2).collect::<Vec<_>>(), near.iter().collect::<Vec<_>>());
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    // Zenoh uses a connection of TLS on two threads at the same time, which may end it: `just test-hosts` runs these.
    let mut of_tls = Vec::new();
    test(&mut of_tls, "same::raw_over_tls_has_the_digests_of_one_host", || same(true, "raw"));
    trials.extend(of_tls.into_iter().map(|trial| trial.with_ignored_flag(true)));
    for codec in ["raw", "zstd", "delta"] {
        test(trials, format!("same::{codec}_over_tcp_has_the_digests_of_one_host"), move || {
            same(false, codec);
        });
    }
}
