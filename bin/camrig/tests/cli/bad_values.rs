//! Tests of well-formed but invalid values: out of range, used twice, cyclic, or missing in this build.

use crate::bad_input::refused;
use crate::program::Test;

#[test]
fn one_serial_for_two_cameras() {
    refused(
        r#"
[camera.c]
driver = "synthetic"
options.serial = "943222071836"

[camera.d]
driver = "synthetic"
options = { serial = "943222071836" }
"#,
        r#"
error: cameras `c` and `d` both claim serial 943222071836
 --> t.toml:7:1
  |
7 | options = { serial = "943222071836" }
  | ^^^^^^^
"#,
    );
}

#[test]
fn slots_and_queues_out_of_range() {
    refused(
        r#"
[camera.a]
driver = "synthetic"
slots = 0

[camera.b]
driver = "synthetic"
slots = -1

[camera.c]
driver = "synthetic"
slots = 100000000000000000000

[processor.p]
kind = "stats"
inputs = ["a", "b", "c"]
queue = 0
"#,
        "
error: `slots` of camera `a` is out of range
 --> t.toml:3:9
  |
3 | slots = 0
  |         ^ must be 2 to 64

error: `slots` of camera `b` is out of range
 --> t.toml:7:9
  |
7 | slots = -1
  |         ^^ must be 2 to 64

error: `slots` of camera `c` is out of range
  --> t.toml:11:9
   |
11 | slots = 100000000000000000000
   |         ^^^^^^^^^^^^^^^^^^^^^ must be 2 to 64

error: `queue` of processor `p` is out of range
  --> t.toml:16:9
   |
16 | queue = 0
   |         ^ must be 1 to 32
",
    );
}

#[test]
fn an_invalid_usb_budget() {
    refused(
        r#"
[usb]
cautious_megabits = 0
optimistic_megabits = "3200"
cautious = 1200

[camera.c]
driver = "synthetic"
"#,
        r#"
error: `cautious_megabits` of `usb` is out of range
 --> t.toml:2:21
  |
2 | cautious_megabits = 0
  |                     ^ must be 1 to 80000

error: `optimistic_megabits` of `usb` is a string
 --> t.toml:3:23
  |
3 | optimistic_megabits = "3200"
  |                       ^^^^^^ must be an integer, 1 to 80000

error: unknown key `cautious` of `usb`
 --> t.toml:4:1
  |
4 | cautious = 1200
  | ^^^^^^^^ expected one of: `cautious_megabits`, `optimistic_megabits`
"#,
    );
}

#[test]
fn sizes_and_rates_out_of_range() {
    refused(
        r#"
[camera.zero]
driver = "synthetic"
options = { depth = "0x480@30" }

[camera.negative]
driver = "synthetic"
options = { depth = "-640x480@30" }

[camera.still]
driver = "synthetic"
options = { depth = "640x480@0" }

[camera.fast]
driver = "synthetic"
options = { depth = "640x480@1000000" }

[camera.large]
driver = "synthetic"
options = { model = "any", color = "99999x99999@30" }

[camera.heavy]
driver = "synthetic"
options = { model = "any", color = "8192x8192@30", depth = "8192x8192@30" }

[camera.lossy]
driver = "synthetic"
options = { drop_rate = -0.5 }

[processor.pictures]
kind = "snapshot"
inputs = ["zero"]
options = { folder = ".", every = 0 }
"#,
        r#"
error: option `depth` of camera `zero`: image size 0x480 is out of range; each side must be 1 to 8192 pixels
 --> t.toml:3:21
  |
3 | options = { depth = "0x480@30" }
  |                     ^^^^^^^^^^

error: option `depth` of camera `negative`: stream profile `-640x480@30` is not of the form `640x480@30`, nor `off`
 --> t.toml:7:21
  |
7 | options = { depth = "-640x480@30" }
  |                     ^^^^^^^^^^^^^

error: option `depth` of camera `still`: frame rate 0 is out of range; it must be 1 to 1000 frames per second
  --> t.toml:11:21
   |
11 | options = { depth = "640x480@0" }
   |                     ^^^^^^^^^^^

error: option `depth` of camera `fast`: frame rate 1000000 is out of range; it must be 1 to 1000 frames per second
  --> t.toml:15:21
   |
15 | options = { depth = "640x480@1000000" }
   |                     ^^^^^^^^^^^^^^^^^

error: option `color` of camera `large`: image size 99999x99999 is out of range; each side must be 1 to 8192 pixels
  --> t.toml:19:36
   |
19 | options = { model = "any", color = "99999x99999@30" }
   |                                    ^^^^^^^^^^^^^^^^

error: camera `heavy`: the streams make framesets of 320 MiB; one has at most 256 MiB
  --> t.toml:23:52
   |
23 | options = { model = "any", color = "8192x8192@30", depth = "8192x8192@30" }
   |                                                    ^^^^^

error: option `drop_rate` of camera `lossy` is number `-0.5`
  --> t.toml:27:25
   |
27 | options = { drop_rate = -0.5 }
   |                         ^^^^ must be a number, 0 to 0.99

error: option `every` of processor `pictures` is integer `0`
  --> t.toml:32:35
   |
32 | options = { folder = ".", every = 0 }
   |                                   ^ must be an integer, 1 or more
"#,
    );
}

#[test]
fn a_profile_that_the_model_does_not_have() {
    refused(
        r#"
[camera.c]
driver = "synthetic"
options = { model = "d405", depth = "1920x1080@30" }
"#,
        r#"
error: camera `c`: model `d405` has no depth profile `1920x1080@30`; nearest: `1280x720@30`, `1280x720@15`
 --> t.toml:3:29
  |
3 | options = { model = "d405", depth = "1920x1080@30" }
  |                             ^^^^^
"#,
    );
}

#[test]
fn processors_in_a_cycle() {
    refused(
        r#"
[camera.c]
driver = "synthetic"

[processor.a]
kind = "stats"
inputs = ["c", "b"]

[processor.b]
kind = "stats"
inputs = ["a"]

[processor.mirror]
kind = "stats"
inputs = ["mirror"]
"#,
        r#"
error: processors `a` -> `b` -> `a` read each other in a circle
 --> t.toml:6:16
  |
6 | inputs = ["c", "b"]
  |                ^^^ `a` reads `b` here

error: processor `mirror` reads itself
  --> t.toml:14:11
   |
14 | inputs = ["mirror"]
   |           ^^^^^^^^
"#,
    );
}

#[test]
#[cfg(not(feature = "realsense"))]
fn a_driver_whose_library_this_build_does_not_have() {
    let topology = r#"
[camera.c]
driver = "realsense"
options = { serial = "943222071836", depth = "640x480@30" }
"#
    .trim_start();
    let stderr = r#"
error: camera `c`: this build has no librealsense: build it with `--features realsense` (`just sdk` installs the library)
 --> t.toml:3:1
  |
3 | options = { serial = "943222071836", depth = "640x480@30" }
  | ^^^^^^^
"#;
    for args in [["check", "t.toml"], ["run", "t.toml"]] {
        Test::new().topology(topology).args(args).stderr(stderr).status(78).run();
    }
}

#[test]
fn realsense_options_are_checked_without_the_library() {
    refused(
        r#"
[camera.a]
driver = "realsense"
options = { serial = "1", depth = "640x480@30", set = { exposur = 1 } }
[camera.b]
driver = "realsense"
options = { any = true, depth = "640x480@30", filters = { decimation = { filter_magnitude = 9 } } }
"#,
        r#"
error: camera `a`: librealsense has no option `exposur`; did you mean `exposure`?
 --> t.toml:3:57
  |
3 | options = { serial = "1", depth = "640x480@30", set = { exposur = 1 } }
  |                                                         ^^^^^^^

error: camera `b`: option `filter_magnitude` of filter `decimation` is 9: it must be 1 to 8 in steps of 1
 --> t.toml:6:74
  |
6 | options = { any = true, depth = "640x480@30", filters = { decimation = { filter_magnitude = 9 } } }
  |                                                                          ^^^^^^^^^^^^^^^^
"#,
    );
}

/// In every build, with librealsense or without.
#[test]
fn problems_of_a_realsense_camera_point_at_their_option() {
    for (options, at, message) in [
        (
            "any = true, depth = \"640x480@30\", set = { exposur = 1 }",
            "exposur",
            "librealsense has no option `exposur`; did you mean `exposure`?",
        ),
        (
            "file = \"a.bag\", preset = \"p.json\"",
            "preset",
            "`preset` is for a live camera, not for a `file`",
        ),
        (
            "serial = \"1\", port = \"2-1\"",
            "port",
            "`serial` and `port` exclude each other: one of them selects the camera",
        ),
        (
            "file = \"a.bag\", filters = { spatial = { smooth = 1 } }",
            "smooth",
            "filter `spatial` has no option `smooth`; it has: `filter_magnitude`, `filter_smooth_alpha`, \
             `filter_smooth_delta`, `holes_fill`",
        ),
        (
            "any = true, depth = \"640x480@30\", align = \"depth-to-color\"",
            "align",
            "`align` needs both a `depth` and a `color` stream",
        ),
    ] {
        let line = format!("options = {{ {options} }}");
        let column = line.find(&format!("{at} =")).unwrap();
        let (space, caret) = (" ".repeat(column), "^".repeat(at.len()));
        let stderr = format!(
            "error: camera `c`: {message}\n --> t.toml:3:{}\n  |\n3 | {line}\n  | {space}{caret}\n",
            column + 1
        );
        let topology = format!("[camera.c]\ndriver = \"realsense\"\n{line}\n");
        for args in [&["plan", "t.toml", "--controllers", "1"][..], &["check", "--no-devices", "t.toml"]] {
            Test::new().topology(&topology).args(args.iter().copied()).stderr(&stderr).status(78).run();
        }
    }
}
