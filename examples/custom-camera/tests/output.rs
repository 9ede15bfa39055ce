//! Runs the program as a user does, in every placement, and compares all of its output.
// `allow-unwrap-in-tests` covers functions with `#[test]` only, not their helpers.
#![allow(clippy::unwrap_used)]

#[path = "../../testing.rs"]
mod testing;

use testing::{output, program};

fn custom_camera(args: &[&str]) -> (String, String, Option<i32>) {
    output(program(env!("CARGO_BIN_EXE_custom-camera")).args(args))
}

#[track_caller]
fn says(args: &[&str], stdout: &str, stderr: &str, status: i32) {
    assert_eq!(custom_camera(args), (stdout.to_owned(), stderr.to_owned(), Some(status)));
}

#[test]
fn every_placement_gives_the_same_pixels() {
    let digests = "\
verify: large: 3 framesets, digest 2aa901397653bee2
verify: small: 3 framesets, digest 0ecc7ea1886cb872
";
    let run = ["run", "custom-camera.toml", "--framesets", "3"];
    says(&run, digests, "", 0);
    for placement in ["in-process", "multi-process"] {
        says(&[run.as_slice(), &["--placement", placement]].concat(), digests, "", 0);
    }
}

#[test]
fn its_options_are_checked_as_those_of_a_stock_driver() {
    let topology = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("colour.toml");
    std::fs::write(&topology, "[camera.a]\ndriver = \"test-pattern\"\noptions = { colour = \"64x48@30\" }\n")
        .unwrap();
    let path = topology.to_str().unwrap();
    let stderr = format!(
        "\
error: camera `a` has no option `color`
 --> {path}:3:11
  |
3 | options = {{ colour = \"64x48@30\" }}
  |           ^^^^^^^^^^^^^^^^^^^^^^^ driver `test-pattern` needs it

error: unknown option `colour` of camera `a`
 --> {path}:3:13
  |
3 | options = {{ colour = \"64x48@30\" }}
  |             ^^^^^^ did you mean `color`? expected one of: `color`
"
    );
    says(&["run", path], "", &stderr, 78);
}

#[test]
fn list_shows_the_driver() {
    let (listed, ..) = custom_camera(&["list"]);
    assert!(listed.contains("driver test-pattern\n  color  string  required  Width, height"), "{listed}");
}
