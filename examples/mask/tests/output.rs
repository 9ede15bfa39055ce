//! Runs the program as a user does, in every placement, and compares all of its output.
// `allow-unwrap-in-tests` covers functions with `#[test]` only, not their helpers.
#![allow(clippy::unwrap_used)]

#[path = "../../testing.rs"]
mod testing;

use testing::{output, program};

#[track_caller]
fn says(args: &[&str], stdout: &str) {
    let said = output(program(env!("CARGO_BIN_EXE_mask")).arg("run").args(args));
    assert_eq!(said, (stdout.to_owned(), String::new(), Some(0)));
}

#[test]
fn every_placement_gives_the_same_mask() {
    let masked = "\
front #0: 3254 pixels are near
front #1: 3256 pixels are near
front #2: 3247 pixels are near
";
    says(&["mask.toml", "--framesets", "3"], masked);
    for placement in ["in-process", "multi-process"] {
        says(&["mask.toml", "--framesets", "3", "--placement", placement], masked);
    }
}

#[test]
fn the_actor_notices_that_nothing_arrives() {
    // A camera that stalls before its first frameset, and an actor with a short time-out.
    let text = std::fs::read_to_string("mask.toml").unwrap();
    let text = text.replace("paced = false", "stall_at = 0.0");
    let text = text.replace("silence_seconds = 5.0", "silence_seconds = 0.2");
    let topology = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("stalled.toml");
    std::fs::write(&topology, text).unwrap();
    says(&[topology.to_str().unwrap(), "--for", "2s"], "nothing arrives\n");
}
