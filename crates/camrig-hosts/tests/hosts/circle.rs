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
    assert!(!said.contains("did not end") && !said.contains("has not acknowledged"), "{said}");
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
    test(trials, "circle::a_reader_that_fails_ends_senders_that_wait_for_it", by_failure);
    test(trials, "circle::a_limit_of_time_ends_it_without_loss", || drop(ends(&["--for", "2s"], |_| {})));
}
