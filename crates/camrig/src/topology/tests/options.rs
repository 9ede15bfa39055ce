//! Options and devices that a driver or a kind refuses.

use super::{Topology, VALID, parse, refused, registry};
use crate::late::StartTime;
use crate::topology::Probe;

#[test]
fn one_device_for_two_cameras() {
    refused(
        r#"[camera.left]
driver = "even"
options = { serial = 2 }
[camera.right]
driver = "even"
[camera.right.options]
serial = 2
mode = "exact"
"#,
        r"
error: cameras `left` and `right` both claim serial 2
 --> t.toml:6:15
  |
6 | [camera.right.options]
  |               ^^^^^^^
",
    );
}

#[test]
fn options_that_do_not_fit_their_schema() {
    refused(
        r#"[camera.a]
driver = "even"
options = { sreial = 2 }
[camera.b]
driver = "even"
options = { mode = "fast" }
[camera.c]
driver = "even"
[camera.c.options]
serial = "2, expected 3"
[camera.d]
driver = "even"
options.serial = -2
[camera.e]
driver = "even"
options = { serial = 2, mode = "exakt" }
[camera.f]
driver = "even"
[camera.g]
driver = "even"
options = { serial = 18446744073709551615 }
[processor.p]
kind = "idle"
inputs = ["a"]
options = { rate = 3 }
"#,
        r#"
error: camera `a` has no option `serial`
 --> t.toml:3:11
  |
3 | options = { sreial = 2 }
  |           ^^^^^^^^^^^^^^ driver `even` needs it

error: unknown option `sreial` of camera `a`
 --> t.toml:3:13
  |
3 | options = { sreial = 2 }
  |             ^^^^^^ did you mean `serial`? expected one of: `serial`, `mode`

error: camera `b` has no option `serial`
 --> t.toml:6:11
  |
6 | options = { mode = "fast" }
  |           ^^^^^^^^^^^^^^^^^ driver `even` needs it

error: option `serial` of camera `c` is string "2, expected 3"
  --> t.toml:10:10
   |
10 | serial = "2, expected 3"
   |          ^^^^^^^^^^^^^^^ must be an integer, 0 or more

error: option `serial` of camera `d` is integer `-2`
  --> t.toml:13:18
   |
13 | options.serial = -2
   |                  ^^ must be an integer, 0 or more

error: option `mode` of camera `e` has unknown value `exakt`
  --> t.toml:16:32
   |
16 | options = { serial = 2, mode = "exakt" }
   |                                ^^^^^^^ did you mean `exact`? expected one of: `fast`, `exact`

error: camera `f` has no option `serial`
  --> t.toml:17:9
   |
17 | [camera.f]
   |         ^ driver `even` needs it

error: option `serial` of camera `g`: u64 value was too large
  --> t.toml:21:22
   |
21 | options = { serial = 18446744073709551615 }
   |                      ^^^^^^^^^^^^^^^^^^^^

error: unknown option `rate` of processor `p`
  --> t.toml:25:13
   |
25 | options = { rate = 3 }
   |             ^^^^ kind `idle` takes no options
"#,
    );
}

#[test]
fn every_wrong_option_of_a_table_is_reported() {
    refused(
        r#"[camera.a]
driver = "even"
[camera.a.options]
serial = "2"
mode = 1
shutter = 3
"#,
        r#"
error: option `serial` of camera `a` is string "2"
 --> t.toml:4:10
  |
4 | serial = "2"
  |          ^^^ must be an integer, 0 or more

error: option `mode` of camera `a` is integer `1`
 --> t.toml:5:8
  |
5 | mode = 1
  |        ^ must be a string

error: unknown option `shutter` of camera `a`
 --> t.toml:6:1
  |
6 | shutter = 3
  | ^^^^^^^ expected one of: `serial`, `mode`
"#,
    );
}

#[test]
fn options_that_the_driver_refuses() {
    refused(
        r#"[camera.left]
driver = "even"
options = { serial = 102, mode = "exact" }
[camera.right]
driver = "even"
options.serial = 104
options.mode = "exact"
"#,
        r#"
error: camera `left`: serial above 100 cannot be exact
 --> t.toml:3:1
  |
3 | options = { serial = 102, mode = "exact" }
  | ^^^^^^^

error: camera `right`: serial above 100 cannot be exact
 --> t.toml:6:1
  |
6 | options.serial = 104
  | ^^^^^^^
"#,
    );
}

#[test]
fn a_device_belongs_to_one_camera_however_it_is_selected() {
    let camera = |name: &str, serial: u64| {
        format!("[camera.{name}]\ndriver = \"even\"\noptions = {{ serial = {serial} }}\n")
    };
    let probe = |last: u64| {
        let text = [camera("a", 2), camera("b", 4), camera("c", last)].concat();
        Topology::parse_and_probe("t.toml", &text, None, &registry(), Probe::Every, StartTime::default())
    };
    let topology = probe(6).unwrap();
    let devices: Vec<_> = topology.probed().values().map(|device| device.serial.as_str()).collect();
    assert_eq!(devices, ["2", "4", "6"]);
    let shared = probe(1002).unwrap_err();
    assert!(!shared.is_unavailable());
    assert_eq!(
        shared.to_string(),
        r"
error: cameras `a` and `c` are the same device: `2` (Even)
 --> t.toml:9:1
  |
9 | options = { serial = 1002 }
  | ^^^^^^^ two cameras cannot share a device
"
        .trim_matches('\n')
    );
}

#[test]
fn a_run_does_not_probe_a_remembered_device() {
    let text = "[camera.a]\ndriver = \"even\"\noptions = { serial = 777 }\n";
    let probe =
        |probe| Topology::parse_and_probe("t.toml", text, None, &registry(), probe, StartTime::default());
    assert_eq!(probe(Probe::Unknown).unwrap().probed()["a"].serial, "777");
    assert!(parse(text).unwrap().probe(&registry(), StartTime::default()).is_ok());
    assert!(probe(Probe::Every).unwrap_err().is_unavailable());
}

#[test]
fn a_problem_points_at_the_option_that_its_driver_names() {
    let problems = |options: &str| {
        let text = format!("[camera.a]\ndriver = \"even\"\noptions = {options}\n");
        Topology::parse_and_probe("t.toml", &text, None, &registry(), Probe::Every, StartTime::default())
            .unwrap_err()
            .to_string()
    };
    let checked = problems("{ mode = \"exact\", serial = 106 }");
    assert_eq!(
        checked,
        r#"
error: camera `a`: serial 106 cannot be exact
 --> t.toml:3:29
  |
3 | options = { mode = "exact", serial = 106 }
  |                             ^^^^^^
"#
        .trim_matches('\n')
    );
    let probed = problems("{ mode = \"fast\", serial = 104 }");
    assert!(probed.starts_with("error: camera `a`: serial 104 is reserved\n --> t.toml:3:28\n"), "{probed}");
}

#[test]
fn probing_reports_every_device_that_is_not_there() {
    let text = |last: u64| {
        let camera = |name: &str, serial: u64| {
            format!("[camera.{name}]\ndriver = \"even\"\noptions = {{ serial = {serial} }}\n")
        };
        [camera("a", 1), camera("b", 2), camera("c", last)].concat()
    };
    let probe = |text: &str| parse(text).unwrap().probe(&registry(), StartTime::default());
    assert!(probe(VALID).is_ok());
    let absent = probe(&text(3)).unwrap_err();
    assert!(absent.is_unavailable());
    assert_eq!(
        absent.to_string(),
        r"
error: camera `a`: serial 1 is not attached
 --> t.toml:3:1
  |
3 | options = { serial = 1 }
  | ^^^^^^^

error: camera `c`: serial 3 is not attached
 --> t.toml:9:1
  |
9 | options = { serial = 3 }
  | ^^^^^^^
"
        .trim_matches('\n')
    );
    let wrong = probe(&text(666)).unwrap_err();
    assert!(!wrong.is_unavailable());
    assert_eq!(
        wrong.to_string(),
        r"
error: camera `a`: serial 1 is not attached
 --> t.toml:3:1
  |
3 | options = { serial = 1 }
  | ^^^^^^^

error: camera `c`: serial 666 is not to be used
 --> t.toml:9:1
  |
9 | options = { serial = 666 }
  | ^^^^^^^
"
        .trim_matches('\n')
    );
}
