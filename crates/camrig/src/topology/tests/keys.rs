//! Tests of missing, unknown and duplicate keys, of wrong types, and of text that is not TOML.

use super::refused;

#[test]
fn broken_syntax_is_all_that_is_reported() {
    refused(
        r"placement = in-process
[camera.left

[camera.right]
driver =
slots = 1000
",
        r"
error: invalid float, expected `inf`
 --> t.toml:1:13
  |
1 | placement = in-process
  |             ^^^^^^^^^^ a string needs quotes

error: unclosed table, expected `]`
 --> t.toml:2:13
  |
2 | [camera.left
  |             ^

error: string values must be quoted, expected literal string
 --> t.toml:5:9
  |
5 | driver =
  |         ^
",
    );
}

#[test]
fn duplicate_keys() {
    refused(
        r#"[camera.left]
driver = "even"
options = { serial = 1, serial = 2 }
"#,
        r"
error: duplicate key `serial`
 --> t.toml:3:25
  |
3 | options = { serial = 1, serial = 2 }
  |                         ^^^^^^
",
    );
}

#[test]
fn a_topology_needs_a_camera() {
    refused(
        r#"[processor.p]
kind = "idle"
inputs = ["left"]
"#,
        r#"
error: topology `t.toml` has no cameras; it needs at least one `[camera.NAME]`

error: processor `p` reads unknown actor `left`
 --> t.toml:3:11
  |
3 | inputs = ["left"]
  |           ^^^^^^ there are none
"#,
    );
}

#[test]
fn unknown_keys() {
    refused(
        r#"placment = "in-process"
[camera.left]
driver = "even"
inputs = []
options.serial = 2
[processor.p]
kind = "idle"
inputs = ["left"]
qeue = 2
"#,
        r#"
error: unknown key `placment`
 --> t.toml:1:1
  |
1 | placment = "in-process"
  | ^^^^^^^^ did you mean `placement`? expected one of: `placement`, `calibration`, `usb`, `metrics`, `host`, `process`, `camera`, `processor`

error: unknown key `inputs` of camera `left`
 --> t.toml:4:1
  |
4 | inputs = []
  | ^^^^^^ expected one of: `driver`, `host`, `process`, `thread`, `slots`, `restart`, `start_timeout_millis`, `stall_timeout_millis`, `device_timeout_millis`, `options`

error: unknown key `qeue` of processor `p`
 --> t.toml:9:1
  |
9 | qeue = 2
  | ^^^^ did you mean `queue`? expected one of: `kind`, `host`, `process`, `thread`, `inputs`, `wire`, `overflow`, `queue`, `match`, `slots`, `restart`, `start_timeout_millis`, `stall_timeout_millis`, `options`
"#,
    );
}

#[test]
fn wrong_types() {
    refused(
        r#"placement = true
processor = []
[camera]
left = 1
[camera.right]
driver = 3
process = []
slots = "4"
options = 1.5
"#,
        r#"
error: `placement` is a boolean
 --> t.toml:1:13
  |
1 | placement = true
  |             ^^^^ must be a string

error: `processor` is an array
 --> t.toml:2:13
  |
2 | processor = []
  |             ^^ must be a table for each processor, as in `[processor.NAME]`

error: camera `left` is an integer
 --> t.toml:4:8
  |
4 | left = 1
  |        ^ must be a table

error: `driver` of camera `right` is an integer
 --> t.toml:6:10
  |
6 | driver = 3
  |          ^ must be a string

error: `process` of camera `right` is an array
 --> t.toml:7:11
  |
7 | process = []
  |           ^^ must be a string

error: `slots` of camera `right` is a string
 --> t.toml:8:9
  |
8 | slots = "4"
  |         ^^^ must be an integer, 2 to 64

error: `options` of camera `right` is a float
 --> t.toml:9:11
  |
9 | options = 1.5
  |           ^^^ must be a table
"#,
    );
}

#[test]
fn missing_keys() {
    refused(
        r"[camera.left]
[processor.p]
",
        r"
error: camera `left` has no `driver`
 --> t.toml:1:9
  |
1 | [camera.left]
  |         ^^^^ expected one of: `even`

error: processor `p` has no `kind`
 --> t.toml:2:12
  |
2 | [processor.p]
  |            ^ expected one of: `idle`

error: processor `p` has no `inputs`
 --> t.toml:2:12
  |
2 | [processor.p]
  |            ^ it needs an array of names of actors
",
    );
}
