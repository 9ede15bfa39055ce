//! The end of rigs whose framesets cross to another host and back: over 127.0.0.1, in real processes.

use std::path::Path;

use libtest_mimic::Trial;
use rustix::process::Signal;
use serde_json::Value;

use crate::agents::{Crossing, Program, agent, report, wait};
use crate::crossing::free_address;
use crate::test;

/// Framesets of each camera.
const FRAMESETS: u64 = 40;

/// Part of what the log says when a sender has waited for its reader in vain.
const WAITED: &str = "the cameras start without it";

/// Two cameras, whose framesets another host passes on to a reader here. All of them wait for each other.
fn topology(folder: &Path, listen: &str) -> String {
    let camera = |name: &str| {
        format!(
            "[camera.{name}]\ndriver = 'synthetic'\noptions = {{ model = 'any', color = 'off', depth = '64x48@60' }}\n"
        )
    };
    let text = format!(
        r#"
        [host.arm]
        address = "{listen}"

        [processor.there]
        kind     = "pass-on"
        host     = "arm"
        inputs   = ["left", "right"]
        overflow = "block"

        [processor.back]
        kind     = "verify"
        inputs   = ["there"]
        overflow = "block"
        "#
    );
    let path = folder.join("rig.toml").display().to_string();
    std::fs::write(&path, camera("left") + &camera("right") + &text).unwrap();
    path
}

/// Runs the rig; `stop` has it end, if it does not by itself. Everything that a camera delivered comes back.
fn ends(limit: &[&str], stop: impl FnOnce(&Program)) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let listen = format!("tcp/{}", free_address());
    let agent = agent(folder, "agent", &["--listen", &listen]);
    let (path, report_file) = (topology(folder, &listen), folder.join("report.json").display().to_string());
    let mut run = Program::start(folder, "run", &[&["run", &path, "--report", &report_file], limit].concat());
    stop(&run);
    let (code, _) = run.finish();
    let said = run.stderr() + &agent.stderr();
    assert_eq!(code, Some(0), "{said}");
    for waited in ["did not end", "has not acknowledged", WAITED] {
        assert!(!said.contains(waited), "{said}");
    }
    let report = report(folder);
    let mut sent = 0;
    for camera in ["left", "right"] {
        let there = Crossing::of(&report, camera, &format!("arm/{camera}"));
        assert_eq!((there.published, there.lost), (there.delivered, 0), "{camera}: {report:#}");
        sent += there.published;
    }
    let back = Crossing::of(&report, "arm/there", "there");
    assert_eq!((back.delivered, back.published, back.lost), (sent, sent, 0), "{report:#}");
    let links = report["links"].as_array().unwrap();
    let read = links.iter().find(|link| link["to"] == "back").unwrap();
    assert_eq!(read["delivered"].as_u64(), Some(sent), "{read:#}");
    assert!(sent > 0, "{report:#}");
    report
}

/// More framesets come back than each camera has.
fn by_framesets() {
    let report = ends(&["--framesets", &FRAMESETS.to_string()], |_| {});
    assert_eq!(Crossing::of(&report, "arm/there", "there").published, 2 * FRAMESETS, "{report:#}");
}

/// A signal while framesets are on their way.
fn by_signal() {
    ends(&[], |run| {
        let id = run.id();
        let flows = || {
            let names = camrig_status::socket::names().unwrap();
            let name = names.into_iter().find(|name| name.contains(&format!("-{id}-")));
            let status = name.and_then(|name| camrig_status::socket::read(&name).ok());
            let links = status.map(|status| status.links).unwrap_or_default();
            links.iter().any(|link| link.to == "back" && link.delivered > 20)
        };
        wait("framesets that come back", flows, || run.stderr());
        run.signal(Signal::INT);
    });
}

/// Two other hosts that read each other, and the first host.
fn of_other_hosts() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let hosts = ["arm", "base"].map(|name| {
        let listen = format!("tcp/{}", free_address());
        let agent = agent(folder, name, &["--listen", &listen]);
        (name, listen, agent)
    });
    let tables = hosts.iter().zip(["base", "arm"]).map(|((name, listen, _), other)| {
        format!(
            r#"
            [host.{name}]
            address = "{listen}"

            [camera.of-{name}]
            driver  = "synthetic"
            host    = "{name}"
            options = {{ model = "any", color = "off", depth = "64x48@60" }}

            [processor.on-{name}]
            kind     = "pass-on"
            host     = "{name}"
            inputs   = ["of-{other}"]
            overflow = "block"
            "#
        )
    });
    let reader = "[processor.here]\nkind = 'verify'\ninputs = ['on-arm', 'on-base']\noverflow = 'block'\n";
    let path = folder.join("rig.toml").display().to_string();
    std::fs::write(&path, tables.collect::<String>() + reader).unwrap();
    let report_file = folder.join("report.json").display().to_string();
    let framesets = FRAMESETS.to_string();
    let mut run =
        Program::start(folder, "run", &["run", &path, "--framesets", &framesets, "--report", &report_file]);
    let code = run.finish().0;
    let said = hosts.iter().fold(run.stderr(), |said, (_, _, agent)| said + &agent.stderr());
    assert!(code == Some(0) && !said.contains(WAITED), "{said}");
    let report = report(folder);
    for (name, ..) in &hosts {
        let back = Crossing::of(&report, &format!("{name}/on-{name}"), &format!("on-{name}"));
        assert_eq!((back.delivered, back.published, back.lost), (FRAMESETS, FRAMESETS, 0), "{report:#}");
    }
}

/// A reader on the first host that fails for good: senders of other hosts, which wait for it, do not wait any longer.
fn by_failure() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let listen = format!("tcp/{}", free_address());
    let mut agent = agent(folder, "agent", &["--listen", &listen]);
    let path = folder.join("rig.toml").display().to_string();
    let text = format!(
        r#"
        [host.arm]
        address = "{listen}"

        [camera.there]
        driver  = "synthetic"
        host    = "arm"
        options = {{ model = "any", color = "off", depth = "640x480@60", paced = false }}

        [processor.reader]
        kind     = "fails"
        inputs   = ["there"]
        overflow = "block"
        restart  = {{ max = 0 }}
        wire     = {{ depth = "raw" }}
        "#
    );
    std::fs::write(&path, text).unwrap();
    let mut run = Program::start(folder, "run", &["run", &path]);
    assert_eq!(run.finish().0, Some(70), "{}", run.stderr());
    agent.signal(Signal::TERM);
    assert_eq!(agent.finish().0, Some(0), "{}", agent.stderr());
    let said = run.stderr() + &agent.stderr();
    assert!(said.contains("it has had enough"), "{said}");
    for waited in ["did not end", "has not acknowledged", "has not answered"] {
        assert!(!said.contains(waited), "{said}");
    }
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    test(trials, "circle::what_comes_back_is_not_limited_and_ends", by_framesets);
    test(trials, "circle::a_signal_ends_it_without_loss", by_signal);
    test(trials, "circle::other_hosts_that_read_each_other_start", of_other_hosts);
    test(trials, "circle::a_reader_that_fails_ends_senders_that_wait_for_it", by_failure);
    test(trials, "circle::a_limit_of_time_ends_it_without_loss", || drop(ends(&["--for", "2s"], |_| {})));
}
