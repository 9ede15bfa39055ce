//! Runs the program as a user does, in every placement, and compares the framesets that it publishes, records, replays
//! and exports.
// `allow-unwrap-in-tests` covers functions with `#[test]` only, not their helpers.
#![allow(clippy::unwrap_used)]

#[path = "../../testing.rs"]
mod testing;

use std::fs;
use std::path::Path;

use testing::{output, program};

fn detect(args: &[&str]) -> (String, String, Option<i32>) {
    output(program(env!("CARGO_BIN_EXE_detect")).args(args))
}

/// Runs the program, checks that it succeeds without errors, and returns stdout.
#[track_caller]
fn says(args: &[&str]) -> String {
    let (stdout, stderr, status) = detect(args);
    assert_eq!((stderr.as_str(), status), ("", Some(0)), "{args:?}");
    stdout
}

/// Returns the digest that `verify` prints.
fn digest(stdout: &str) -> String {
    let line = stdout.lines().find(|line| line.starts_with("verify: front: 5 framesets, digest "));
    line.unwrap_or_else(|| panic!("{stdout}")).rsplit(' ').next().unwrap().to_owned()
}

fn written(folder: &Path, name: &str, topology: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, topology).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn every_placement_publishes_the_same_bytes() {
    let run =
        |placement| digest(&says(&["run", "detect.toml", "--framesets", "5", "--placement", placement]));
    assert_eq!(run("in-process"), run("multi-process"));
}

#[test]
fn check_reports_the_memory_and_the_missing_streams_of_an_input() {
    let said = says(&["check", "detect.toml"]);
    // Five slots of the camera with 308 KiB each, and five of the processor with 416 KiB: color, mask, heat map and boxes are
    // declared. The rest are queues and counters.
    let kib = said.strip_suffix(" KiB of memory\n").and_then(|said| said.rsplit(' ').next()).unwrap();
    assert!((3620..3700).contains(&kib.replace('_', "").parse::<u32>().unwrap()), "{said}");

    let folder = tempfile::tempdir().unwrap();
    let text = fs::read_to_string("detect.toml").unwrap();
    let text =
        text.replace(r#"color = "424x240@30", depth = "off""#, r#"color = "off", depth = "424x240@30""#);
    let topology = written(folder.path(), "depth.toml", &text);
    let (_, stderr, status) = detect(&["check", &topology]);
    let first = stderr.lines().next();
    assert_eq!(first, Some("error: `detect` cannot read `front`: it has no color"), "{stderr}");
    assert!(stderr.contains("| inputs   = [\"front\"]\n"), "{stderr}");
    assert_eq!(status, Some(78));
}

#[test]
fn a_recording_gives_back_every_byte() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rig.mcap").to_str().unwrap().to_owned();
    let text = fs::read_to_string("detect.toml").unwrap();
    let record = format!(
        "{text}\n[processor.record]\nkind = 'record'\ninputs = ['detect']\noverflow = 'block'\n\
         options = {{ file = '{file}' }}\n"
    );
    // The camera ends, so that the recorder has everything.
    let record = record.replace("paced = false", "paced = false, frames = 5");
    let live = digest(&says(&["run", &written(folder.path(), "record.toml", &record)]));

    let replay = format!(
        "[camera.front]\ndriver = 'replay'\noptions = {{ file = '{file}', camera = 'detect/front', paced = false }}\n\
         [processor.verify]\nkind = 'verify'\ninputs = ['front']\noverflow = 'block'\n\
         options = {{ digest = true, content = false }}\n"
    );
    for placement in ["in-process", "multi-process"] {
        let replay = written(folder.path(), "replay.toml", &replay);
        assert_eq!(digest(&says(&["run", &replay, "--placement", placement])), live);
    }

    says(&["recording", "verify", &file]);
    let exported = folder.path().join("exported");
    says(&["recording", "export", &file, "--output", exported.to_str().unwrap()]);
    let of =
        |stream: &str, name: &str| fs::read(exported.join("detect/front").join(stream).join(name)).unwrap();
    assert!(of("mask", "000004.png").starts_with(b"\x89PNG"));
    let heat = of("heat", "000004.npy");
    let header = String::from_utf8_lossy(&heat[10..]);
    assert!(header.starts_with("{'descr': '<f4', 'fortran_order': False, 'shape': (30, 53), }"), "{header}");
    assert_eq!(heat.len() % 64, (30 * 53 * 4) % 64);
    let boxes: Vec<serde_json::Value> = serde_json::from_slice(&of("boxes", "000004.json")).unwrap();
    assert!(!boxes.is_empty());
    for found in boxes {
        assert!(["red", "green", "blue"].contains(&found["label"].as_str().unwrap()));
        assert!((0.45..=1.0).contains(&found["score"].as_f64().unwrap()), "{found}");
        assert_eq!(found["box"].as_array().unwrap().len(), 4);
    }
}
