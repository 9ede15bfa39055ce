//! A processor of Python on another host: over 127.0.0.1, in real processes.

use std::ffi::OsStr;
use std::path::Path;

use libtest_mimic::Trial;
use rustix::process::Signal;

use crate::agents::{Program, agent, report};
use crate::crossing::free_address;
use crate::same::{digests, on_one_host};
use crate::test;

/// The interpreter, which has the package of `camrig`.
const INTERPRETER: &str = "CAMRIG_PYTHON";

/// Publishes twice the depth of each frameset.
const SCRIPT: &str = r#"
import camrig
import numpy as np


def process(frames: camrig.FrameSet, out: camrig.Outlet) -> None:
    made = out.derive(frames, image=("depth", "z16", frames.depth.shape))
    np.multiply(np.asarray(frames.depth), 2, out=made.array)
    out.publish(made)
"#;

/// A camera here, a script of another host that reads it, and a reader of the script here.
fn topology(folder: &Path, python: &OsStr, address: Option<&str>) -> String {
    let (script, path) = (folder.join("double.py"), folder.join("rig.toml"));
    std::fs::write(&script, SCRIPT).unwrap();
    let text = format!(
        r#"
        [camera.here]
        driver  = "synthetic"
        options = {{ model = "any", seed = 8, paced = false, depth = "64x48@30", color = "64x48@30" }}

        [processor.double]
        kind     = "python"
        host     = "arm"
        inputs   = ["here"]
        overflow = "block"
        wire     = {{ depth = "delta", color = "zstd" }}
        options  = {{ script = "{}", python = "{}" }}

        [processor.check]
        kind     = "verify"
        inputs   = ["double"]
        overflow = "block"
        wire     = {{ depth = "delta" }}
        options  = {{ digest = true, content = false }}
        "#,
        script.display(),
        python.display()
    );
    let text = match address {
        Some(address) => format!("[host.arm]\naddress = \"tcp/{address}\"\n{text}"),
        None => on_one_host(&text),
    };
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn run(folder: &Path, path: &str) -> Vec<String> {
    let report_file = folder.join("report.json").display().to_string();
    let words = ["run", path, "--framesets", "60", "--report", &report_file];
    let mut run = Program::start(folder, "run", &words);
    let (code, stdout) = run.finish();
    assert_eq!(code, Some(0), "{}", run.stderr());
    let report = report(folder);
    let links = report["links"].as_array().unwrap();
    let read = links.iter().find(|link| link["to"] == "check").unwrap();
    assert_eq!(read["delivered"].as_u64(), Some(60), "{report:#}");
    digests(&stdout)
}

fn same() {
    let python = std::env::var_os(INTERPRETER);
    let python =
        python.unwrap_or_else(|| panic!("{INTERPRETER} is an interpreter that has the package `camrig`"));
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let of_one_host = run(folder, &topology(folder, &python, None));
    assert_eq!(of_one_host.len(), 1, "{of_one_host:?}");
    let address = free_address();
    let mut agent = agent(folder, "agent", &["--listen", &format!("tcp/{address}")]);
    assert_eq!(run(folder, &topology(folder, &python, Some(&address))), of_one_host, "{}", agent.stderr());
    agent.signal(Signal::TERM);
    assert_eq!(agent.finish().0, Some(0), "{}", agent.stderr());
}

/// It is ignored unless the variable names an interpreter: after `just test-python`, `target/python/venv/bin/python`.
pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    let is_ignored = std::env::var_os(INTERPRETER).is_none();
    let mut of_python = Vec::new();
    test(&mut of_python, "python::a_script_on_another_host_makes_what_it_makes_here", same);
    trials.extend(of_python.into_iter().map(|trial| trial.with_ignored_flag(is_ignored)));
}
