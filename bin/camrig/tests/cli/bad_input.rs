//! Tests that every command reports all problems of a topology in one run, with the same messages, and starts nothing: files,
//! syntax, keys and types. `bad_values` tests well-formed but invalid values.

use crate::program::Test;

/// Checks that both `check` and `run` refuse `topology` with these words.
#[track_caller]
pub(crate) fn refused(topology: impl AsRef<[u8]>, stderr: &str) {
    let topology = topology.as_ref().strip_prefix(b"\n").unwrap_or(topology.as_ref());
    let run = ["run", "t.toml", "--framesets", "1", "--report", "report.json"];
    for args in [["check", "t.toml"].as_slice(), &["check", "t.toml", "--no-devices"], &run] {
        let test = Test::new().topology(topology).args(args.iter().copied()).stderr(stderr).status(78);
        test.run();
        assert!(!test.folder().join("report.json").exists(), "the refused run wrote a report");
    }
}

#[test]
fn a_missing_file() {
    for args in [["check", "no.toml"].as_slice(), &["run", "no.toml"]] {
        let stderr = "error: topology `no.toml` does not exist\n";
        Test::new().args(args.iter().copied()).stderr(stderr).status(78).run();
        let args = [args[0], "."];
        let stderr = "error: topology `.` is a directory, not a file\n";
        Test::new().args(args).stderr(stderr).status(78).run();
    }
}

#[test]
fn a_file_without_a_topology() {
    let no_cameras = "error: topology `t.toml` has no cameras; it needs at least one `[camera.NAME]`\n";
    refused("", no_cameras);
    refused("# nothing yet\n", no_cameras);
    refused("#".repeat(2_000_000), "error: topology `t.toml` is larger than 1024 KiB\n");
    refused(b"# \xc3\xa9\n\n# caf\xe9\n", "error: topology `t.toml` is not UTF-8 text: see line 3\n");
}

/// Shows with a processor that writes a file that an invalid topology starts nothing.
#[test]
fn nothing_is_started() {
    let test = Test::new()
        .topology(
            r#"
[camera.c]
driver = "synthetic"

[processor.pictures]
kind = "snapshot"
inputs = ["c"]
options = { folder = "pictures" }
"#,
        )
        .args(["run", "t.toml", "--framesets", "1"]);
    let missing = "error: processor `pictures`: nothing can be written into `pictures`: there is no folder \
                   `pictures`; create it first\n --> t.toml:8:13\n  |\n8 | options = { folder = \"pictures\" }\n  \
                   |             ^^^^^^\n";
    let (stdout, stderr, status) = test.output();
    assert_eq!((stdout.as_str(), stderr.as_str(), status), ("", missing, Some(78)));
    std::fs::create_dir(test.folder().join("pictures")).unwrap();
    test.run();
    assert!(test.folder().join("pictures/c-000000-color.png").exists());
    std::fs::remove_dir_all(test.folder().join("pictures")).unwrap();
    std::fs::create_dir(test.folder().join("pictures")).unwrap();

    let text = std::fs::read_to_string(test.folder().join("t.toml")).unwrap();
    let test = test.topology(text.replace("options =", "queue = 0\noptions ="));
    let (stdout, _, status) = test.output();
    assert_eq!((stdout.as_str(), status), ("", Some(78)));
    assert!(std::fs::read_dir(test.folder().join("pictures")).unwrap().next().is_none());
}

#[test]
fn a_recording_into_a_folder_that_cannot_be() {
    for (file, reason) in [
        ("no/such/rig.mcap", "there is no folder `no/such`; create it first"),
        ("/dev/null/rig.mcap", "`/dev/null` is not a folder"),
    ] {
        let topology = format!(
            "[camera.c]\ndriver = \"synthetic\"\n\n[processor.recorder]\nkind = \"record\"\ninputs = [\"c\"]\n\
             options = {{ file = \"{file}\" }}\n"
        );
        let stderr = format!(
            "error: processor `recorder`: recording `{file}` cannot be written: {reason}\n --> t.toml:7:13\n  |\n\
             7 | options = {{ file = \"{file}\" }}\n  |             ^^^^\n"
        );
        for args in [["check", "t.toml"], ["run", "t.toml"]] {
            let test = Test::new().topology(&topology).args(args).stderr(&stderr).status(78);
            test.run();
            assert!(!test.folder().join("no").exists());
        }
    }
}

#[test]
fn broken_syntax() {
    refused(
        r#"
[camera.c
driver = "synthetic"
"#,
        "
error: unclosed table, expected `]`
 --> t.toml:1:10
  |
1 | [camera.c
  |          ^
",
    );
    refused(
        r#"
placement = in-process

[camera.c]
driver = "synthetic"
"#,
        "
error: invalid float, expected `inf`
 --> t.toml:1:13
  |
1 | placement = in-process
  |             ^^^^^^^^^^ a string needs quotes
",
    );
}

#[test]
fn the_same_name_twice() {
    refused(
        r#"
[camera.c]
driver = "synthetic"

[camera.c]
driver = "synthetic"
"#,
        r#"
error: duplicate key `c`
 --> t.toml:4:9
  |
4 | [camera.c]
  |         ^

error: duplicate key `driver`
 --> t.toml:5:1
  |
5 | driver = "synthetic"
  | ^^^^^^
"#,
    );
    refused(
        r#"
[camera.c]
driver = "synthetic"

[processor.c]
kind = "stats"
inputs = ["c"]
"#,
        r#"
error: a camera and a processor are both called `c`
 --> t.toml:4:12
  |
4 | [processor.c]
  |            ^ actors need names of their own

error: processor `c` reads itself
 --> t.toml:6:11
  |
6 | inputs = ["c"]
  |           ^^^
"#,
    );
}

#[test]
fn unknown_keys() {
    refused(
        r#"
placment = "in-process"

[camera.c]
driver = "synthetic"
proces = "eye"
options = { sead = 1 }

[processor.p]
kind = "stats"
inputs = ["c"]
overflo = "block"
options = { every_second = 1 }
"#,
        r#"
error: unknown key `placment`
 --> t.toml:1:1
  |
1 | placment = "in-process"
  | ^^^^^^^^ did you mean `placement`? expected one of: `placement`, `calibration`, `usb`, `metrics`, `host`, `process`, `camera`, `processor`

error: unknown key `proces` of camera `c`
 --> t.toml:5:1
  |
5 | proces = "eye"
  | ^^^^^^ did you mean `process`? expected one of: `driver`, `host`, `process`, `thread`, `slots`, `restart`, `start_timeout_millis`, `stall_timeout_millis`, `device_timeout_millis`, `options`

error: unknown option `sead` of camera `c`
 --> t.toml:6:13
  |
6 | options = { sead = 1 }
  |             ^^^^ did you mean `seed`? expected one of: `model`, `serial`, `seed`, `depth`, `color`, `color_format`, `infrared`, `infrared_format`, `accel`, `gyro`, `exposure`, `gain`, `emitter`, `paced`, `frames`, `unplug_at` and 8 more

error: unknown key `overflo` of processor `p`
  --> t.toml:11:1
   |
11 | overflo = "block"
   | ^^^^^^^ did you mean `overflow`? expected one of: `kind`, `host`, `process`, `thread`, `inputs`, `wire`, `overflow`, `queue`, `match`, `slots`, `restart`, `start_timeout_millis`, `stall_timeout_millis`, `options`

error: unknown option `every_second` of processor `p`
  --> t.toml:12:13
   |
12 | options = { every_second = 1 }
   |             ^^^^^^^^^^^^ did you mean `every_seconds`? expected one of: `every_seconds`, `streams`
"#,
    );
}

#[test]
#[cfg_attr(feature = "hosts", ignore = "the feature `hosts` adds a driver and a kind")]
fn unknown_drivers_kinds_inputs_and_policies() {
    refused(
        r#"
placement = "everywhere"

[camera.c]
driver = "sinthetic"

[processor.p]
kind = "statistics"
inputs = ["d"]
overflow = "drop"
"#,
        r#"
error: unknown placement `everywhere`
 --> t.toml:1:13
  |
1 | placement = "everywhere"
  |             ^^^^^^^^^^^^ expected one of: `multi-process`, `in-process`

error: camera `c` has unknown driver `sinthetic`
 --> t.toml:4:10
  |
4 | driver = "sinthetic"
  |          ^^^^^^^^^^^ did you mean `synthetic`? expected one of: `python`, `realsense`, `replay`, `synthetic`

error: processor `p` has unknown kind `statistics`
 --> t.toml:7:8
  |
7 | kind = "statistics"
  |        ^^^^^^^^^^^^ expected one of: `attached`, `foxglove`, `match`, `merge`, `pointcloud`, `python`, `record`, `snapshot`, `stats`, `verify`, `view`, `watch-poses`

error: processor `p` reads unknown actor `d`
 --> t.toml:8:11
  |
8 | inputs = ["d"]
  |           ^^^ did you mean `c`? expected one of: `c`

error: processor `p` has unknown overflow `drop`
 --> t.toml:9:12
  |
9 | overflow = "drop"
  |            ^^^^^^ expected one of: `drop-oldest`, `drop-newest`, `block`
"#,
    );
}

#[test]
#[cfg_attr(feature = "hosts", ignore = "the feature `hosts` adds a driver and a kind")]
fn missing_keys() {
    refused(
        r#"
[camera.c]

[processor.p]

[processor.q]
kind = "snapshot"
inputs = []
"#,
        "
error: camera `c` has no `driver`
 --> t.toml:1:9
  |
1 | [camera.c]
  |         ^ expected one of: `python`, `realsense`, `replay`, `synthetic`

error: processor `p` has no `kind`
 --> t.toml:3:12
  |
3 | [processor.p]
  |            ^ expected one of: `attached`, `foxglove`, `match`, `merge`, `pointcloud`, `python`, `record`, `snapshot`, `stats`, `verify`, `view`, `watch-poses`

error: processor `p` has no `inputs`
 --> t.toml:3:12
  |
3 | [processor.p]
  |            ^ it needs an array of names of actors

error: processor `q` has no option `folder`
 --> t.toml:5:12
  |
5 | [processor.q]
  |            ^ kind `snapshot` needs it

error: processor `q` has no inputs
 --> t.toml:7:10
  |
7 | inputs = []
  |          ^^ it needs an array of names of actors
",
    );
    refused(
        r#"
[processor.p]
kind = "stats"
inputs = ["c"]
"#,
        r#"
error: topology `t.toml` has no cameras; it needs at least one `[camera.NAME]`

error: processor `p` reads unknown actor `c`
 --> t.toml:3:11
  |
3 | inputs = ["c"]
  |           ^^^ there are none
"#,
    );
}

#[test]
fn values_of_the_wrong_type() {
    refused(
        r#"
[camera.c]
driver = 435
slots = 2.5
options = "fast"

[camera.d]
driver = "synthetic"
options = { depth = 640 }

[camera.e]
driver = "synthetic"
options = { model = "d455" }

[processor.p]
kind = "stats"
inputs = "c"
"#,
        r#"
error: `driver` of camera `c` is an integer
 --> t.toml:2:10
  |
2 | driver = 435
  |          ^^^ must be a string

error: `slots` of camera `c` is a float
 --> t.toml:3:9
  |
3 | slots = 2.5
  |         ^^^ must be an integer, 2 to 64

error: `options` of camera `c` is a string
 --> t.toml:4:11
  |
4 | options = "fast"
  |           ^^^^^^ must be a table

error: option `depth` of camera `d` is integer `640`
 --> t.toml:8:21
  |
8 | options = { depth = 640 }
  |                     ^^^ must be a string

error: option `model` of camera `e` has unknown value `d455`
  --> t.toml:12:21
   |
12 | options = { model = "d455" }
   |                     ^^^^^^ did you mean `d405`? expected one of: `d405`, `d435`, `d435i`, `any`

error: `inputs` of processor `p` is a string
  --> t.toml:16:10
   |
16 | inputs = "c"
   |          ^^^ must be an array of names of actors
"#,
    );
}
