//! The complete findings on copies of machines: `machines/NAME.tree` holds the files, `machines/NAME.findings` the result.
//!
//! A line `== PATH` begins a file, `== PATH/` makes a folder. A changed result is written beside the old one as
//! `NAME.findings.new`.

// `allow-unwrap-in-tests` covers functions with `#[test]` only, not their helpers.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use camrig_doctor::{Needs, State, examine};

/// Six cameras 848x480 with color and depth in four slots, and twelve actors.
const NEEDS: Needs = Needs { memory_bytes: Some(120 << 20), actors: Some(12), transfers_mb: None };

/// Creates the files of a tree below `root`.
fn create(tree: &str, root: &Path) {
    for entry in tree.split("== ").skip(1) {
        let (name, text) = entry.split_once('\n').unwrap();
        let path = root.join(name);
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
            continue;
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

/// Returns the findings on a machine as text.
fn findings(name: &str) -> (String, State) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machines");
    let root = tempfile::tempdir().unwrap();
    create(&fs::read_to_string(folder.join(format!("{name}.tree"))).unwrap(), root.path());
    let found = examine(root.path(), NEEDS);
    let line = |finding: &camrig_doctor::Finding| {
        let advice = finding.advice.as_ref().map(|advice| format!("    {advice}\n")).unwrap_or_default();
        format!("{} {}: {}\n{advice}", finding.state.name(), finding.topic, finding.fact)
    };
    let text = found.iter().map(line).collect();
    (text, found.iter().map(|finding| finding.state).max().unwrap())
}

#[test]
fn each_machine_has_its_findings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machines");
    let mut wrong = Vec::new();
    for (name, worst) in [
        ("nano", State::Problem),
        ("orin-nano", State::Problem),
        ("agx-orin", State::Ok),
        ("pc", State::Warning),
        ("container", State::Warning),
        ("container-usb", State::Problem),
        ("nothing", State::Warning),
    ] {
        let (text, state) = findings(name);
        let expected = folder.join(format!("{name}.findings"));
        if (fs::read_to_string(&expected).unwrap_or_default(), worst) != (text.clone(), state) {
            fs::write(expected.with_extension("findings.new"), &text).unwrap();
            wrong.push(format!("{name}, worst {state:?}:\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
