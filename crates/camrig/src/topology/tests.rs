//! Each test compares everything that a user would read.

use std::fs;
use std::path::Path;
use std::time::Duration;

use actix::{Actor, Context, Handler};
use camrig_frame::CameraInfo;
use camrig_ipc::Overflow;
use serde::Deserialize;

use super::{ACTORS_MAX, ActorId, FILE_BYTES_MAX, INPUTS_MAX, LinkSpec, Placement, Problems, Role, Topology};
use crate::driver::{Captured, Driver, DriverError};
use crate::frameset::FrameSet;
use crate::outlet::Outlet;
use crate::processor::{NoOptions, ProcessorError};
use crate::registry::Registry;

/// A driver whose devices are those with an even serial number.
struct Even;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EvenOptions {
    serial: u64,
    #[serde(default)]
    mode: Mode,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    #[default]
    Fast,
    Exact,
}

impl Driver for Even {
    type Options = EvenOptions;

    fn check(options: &EvenOptions) -> Result<(), DriverError> {
        match options.mode {
            Mode::Exact if options.serial > 100 => Err(DriverError::new("serial above 100 cannot be exact")),
            Mode::Fast | Mode::Exact => Ok(()),
        }
    }

    fn claims(options: &EvenOptions) -> Vec<String> {
        vec![format!("serial {}", options.serial)]
    }

    fn probe(options: &EvenOptions) -> Result<(), DriverError> {
        match options.serial {
            666 => Err(DriverError::new("serial 666 is not to be used")),
            odd if odd % 2 == 1 => Err(DriverError::unavailable(format!("serial {odd} is not attached"))),
            _ => Ok(()),
        }
    }

    fn open(_: &str, _: EvenOptions) -> Result<Self, DriverError> {
        unreachable!("a topology opens nothing")
    }

    fn info(&self) -> CameraInfo {
        unreachable!("a topology opens nothing")
    }

    fn capture(&mut self, _: &mut Outlet, _: Duration) -> Result<Captured, DriverError> {
        unreachable!("a topology opens nothing")
    }
}

struct Idle;

impl Actor for Idle {
    type Context = Context<Self>;
}

impl Handler<FrameSet> for Idle {
    type Result = Result<(), ProcessorError>;

    fn handle(&mut self, _: FrameSet, _: &mut Context<Self>) -> Self::Result {
        Ok(())
    }
}

pub(super) fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.add_driver::<Even>("even");
    registry.add_absent_driver::<Even>("realsense", "it was built without the feature `realsense`");
    registry.add_actor("idle", |_: NoOptions, _| Ok(Idle));
    registry
}

fn parse(text: &str) -> Result<Topology, Problems> {
    Topology::parse("t.toml", text, None, &registry())
}

/// Parses `text`, which has to be wrong, and compares all that is said of it.
#[track_caller]
fn refused(text: &str, expected: &str) {
    let problems = parse(text).expect_err("the text has problems");
    assert!(!problems.is_unavailable());
    assert_eq!(problems.to_string(), expected.trim_matches('\n'), "\n{problems}");
}

/// A valid text that uses everything there is.
const VALID: &str = r#"
placement = "multi-process"

[camera.left]
driver  = "even"
options = { serial = 2, mode = "exact" }

[camera.right]
driver  = "even"
process = "right-eye"
slots   = 4
[camera.right.options]
serial = 4

[processor.far]
kind   = "idle"
inputs = ["both"]
process = "main"

[processor.both]
kind     = "idle"
process  = "vision"
inputs   = ["left", "right"]
overflow = "block"
queue    = 3
options  = {}
"#;

/// Each actor as `name@process`.
fn homes(topology: &Topology) -> Vec<String> {
    let home = |actor: &super::ActorSpec| format!("{}@{}", actor.name, topology.processes()[actor.process]);
    topology.actors().iter().map(home).collect()
}

#[test]
fn a_valid_text_becomes_actors_links_and_processes() {
    let topology = parse(VALID).unwrap();
    assert_eq!(topology.name(), "t.toml");
    assert_eq!(topology.processes(), ["main", "left", "right-eye", "vision"]);
    assert_eq!(homes(&topology), ["left@left", "right@right-eye", "far@main", "both@vision"]);
    let slots: Vec<_> = topology.actors().iter().map(|actor| actor.slots).collect();
    // What `both` can hold and two more; as the file says; no reader; what `far` can hold and two more.
    assert_eq!(slots, [6, 4, 2, 5]);
    assert_eq!(topology.actor(ActorId(1)).role, Role::Camera { driver: "even".to_owned() });
    assert_eq!(topology.actor(ActorId(3)).role, Role::Processor { kind: "idle".to_owned() });
    let options: Vec<_> = topology.actors().iter().map(|actor| actor.options.as_str()).collect();
    assert_eq!(options, ["mode = \"exact\"\nserial = 2\n", "serial = 4\n", "", ""]);
    let link = |from, to, overflow, queue| LinkSpec {
        from: ActorId(from),
        to: ActorId(to),
        overflow,
        queue,
        held: 0,
    };
    assert_eq!(
        topology.links(),
        [link(3, 2, Overflow::DropOldest, 2), link(0, 3, Overflow::Block, 3), link(1, 3, Overflow::Block, 3),]
    );
}

#[test]
fn the_placement_of_the_command_line_overrides_the_file() {
    let place = |placement| Topology::parse("t.toml", VALID, Some(placement), &registry()).unwrap();
    let together = place(Placement::InProcess);
    assert_eq!(together.processes(), ["main"]);
    assert_eq!(homes(&together), ["left@main", "right@main", "far@main", "both@main"]);
    let apart = place(Placement::MultiProcess);
    assert_eq!(apart.processes(), ["main", "left", "right", "far", "both"]);
    assert_eq!(homes(&apart), ["left@left", "right@right", "far@far", "both@both"]);
}

#[test]
fn in_process_is_main_unless_an_actor_says_otherwise() {
    let topology = parse(&VALID.replace("multi-process", "in-process")).unwrap();
    assert_eq!(homes(&topology), ["left@main", "right@right-eye", "far@main", "both@vision"]);
}

#[test]
fn the_same_word_is_the_same_process() {
    let topology = parse(&VALID.replace("\"vision\"", "\"left\"")).unwrap();
    assert_eq!(homes(&topology), ["left@left", "right@right-eye", "far@main", "both@left"]);
}

#[test]
fn slots_never_exceed_what_a_producer_can_have() {
    let camera = "[camera.left]\ndriver = \"even\"\noptions.serial = 2\n".to_owned();
    let reader = |name| format!("[processor.{name}]\nkind = \"idle\"\ninputs = [\"left\"]\nqueue = 32\n");
    assert_eq!(
        parse(&(camera + &reader("a") + &reader("b") + &reader("c"))).unwrap().actors()[0].slots,
        camrig_ipc::MAX_SLOTS
    );
}

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
fn a_key_twice() {
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
fn processors_alone_are_no_topology() {
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
  | ^^^^^^^^ did you mean `placement`? there are: `placement`, `usb`, `metrics`, `camera`, `processor`

error: unknown key `inputs` of camera `left`
 --> t.toml:4:1
  |
4 | inputs = []
  | ^^^^^^ there are: `driver`, `process`, `slots`, `restart`, `stall_timeout_millis`, `device_timeout_millis`, `options`

error: unknown key `qeue` of processor `p`
 --> t.toml:9:1
  |
9 | qeue = 2
  | ^^^^ did you mean `queue`? there are: `kind`, `process`, `inputs`, `overflow`, `queue`, `match`, `slots`, `restart`, `stall_timeout_millis`, `options`
"#,
    );
}

#[test]
fn metrics_that_make_no_sense() {
    let camera = "[camera.left]\ndriver = \"even\"\noptions.serial = 2\n";
    for (metrics, problem) in [
        (
            "[metrics]\n",
            r#"
error: `metrics` has no `listen`
 --> t.toml:1:1
  |
1 | [metrics]
  | ^^^^^^^^^ such as `listen = "127.0.0.1:9464"`
"#,
        ),
        (
            "[metrics]\nlisten = \"9464\"\n",
            r#"
error: `listen` of `metrics` is `9464`
 --> t.toml:2:10
  |
2 | listen = "9464"
  |          ^^^^^^ it has to be an address and a port, such as `127.0.0.1:9464`
"#,
        ),
        (
            "[metrics]\nlisten = \"0.0.0.0:9464\"\n",
            r#"
error: `metrics`: `listen` is 0.0.0.0:9464, which others can reach: `token` is needed, a secret of 8 to 128 letters, digits, `-` and `_`
 --> t.toml:2:10
  |
2 | listen = "0.0.0.0:9464"
  |          ^^^^^^^^^^^^^^
"#,
        ),
        (
            "[metrics]\nlisten = \"127.0.0.1:0\"\nport = 1\n",
            r"
error: unknown key `port` of `metrics`
 --> t.toml:3:1
  |
3 | port = 1
  | ^^^^ there are: `listen`, `token`
",
        ),
    ] {
        refused(&format!("{metrics}{camera}"), problem);
    }
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
  |             ^^^^ it has to be a string

error: `processor` is an array
 --> t.toml:2:13
  |
2 | processor = []
  |             ^^ it has to be a table for each processor, as in `[processor.NAME]`

error: camera `left` is an integer
 --> t.toml:4:8
  |
4 | left = 1
  |        ^ it has to be a table

error: `driver` of camera `right` is an integer
 --> t.toml:6:10
  |
6 | driver = 3
  |          ^ it has to be a string

error: `process` of camera `right` is an array
 --> t.toml:7:11
  |
7 | process = []
  |           ^^ it has to be a string

error: `slots` of camera `right` is a string
 --> t.toml:8:9
  |
8 | slots = "4"
  |         ^^^ it has to be an integer, 2 to 64

error: `options` of camera `right` is a float
 --> t.toml:9:11
  |
9 | options = 1.5
  |           ^^^ it has to be a table
"#,
    );
}

#[test]
fn wrong_inputs() {
    refused(
        r#"[camera.left]
driver = "even"
options.serial = 2
[processor.a]
kind = "idle"
inputs = "left"
[processor.b]
kind = "idle"
inputs = []
[processor.c]
kind = "idle"
inputs = ["left", 3, "left", "c", "lefft"]
"#,
        r#"
error: `inputs` of processor `a` is a string
 --> t.toml:6:10
  |
6 | inputs = "left"
  |          ^^^^^^ it has to be an array of names of actors

error: processor `b` has no inputs
 --> t.toml:9:10
  |
9 | inputs = []
  |          ^^ it needs an array of names of actors

error: an input of processor `c` is an integer
  --> t.toml:12:19
   |
12 | inputs = ["left", 3, "left", "c", "lefft"]
   |                   ^ it has to be the name of an actor

error: processor `c` reads `left` twice
  --> t.toml:12:22
   |
12 | inputs = ["left", 3, "left", "c", "lefft"]
   |                      ^^^^^^

error: processor `c` reads itself
  --> t.toml:12:30
   |
12 | inputs = ["left", 3, "left", "c", "lefft"]
   |                              ^^^

error: processor `c` reads unknown actor `lefft`
  --> t.toml:12:35
   |
12 | inputs = ["left", 3, "left", "c", "lefft"]
   |                                   ^^^^^^^ did you mean `left`? there are: `left`, `a`, `b`
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
  |         ^^^^ there are: `even`

error: processor `p` has no `kind`
 --> t.toml:2:12
  |
2 | [processor.p]
  |            ^ there are: `idle`

error: processor `p` has no `inputs`
 --> t.toml:2:12
  |
2 | [processor.p]
  |            ^ it needs an array of names of actors
",
    );
}

#[test]
fn unknown_drivers_and_kinds() {
    refused(
        r#"[camera.left]
driver = "evn"
[camera.right]
driver = "realsense"
options = { serial = "841512070537" }
[processor.p]
kind = "record"
inputs = ["left"]
"#,
        r#"
error: camera `left` has unknown driver `evn`
 --> t.toml:2:10
  |
2 | driver = "evn"
  |          ^^^^^ did you mean `even`? there are: `even`, `realsense`

error: driver `realsense` is not in this build: it was built without the feature `realsense`
 --> t.toml:4:10
  |
4 | driver = "realsense"
  |          ^^^^^^^^^^^ there are: `even`

error: processor `p` has unknown kind `record`
 --> t.toml:7:8
  |
7 | kind = "record"
  |        ^^^^^^^^ there are: `idle`
"#,
    );
}

#[test]
fn unknown_choices() {
    refused(
        r#"placement = "multiprocess"
[camera.left]
driver = "even"
options.serial = 2
[processor.p]
kind = "idle"
inputs = ["left"]
overflow = "drop"
"#,
        r#"
error: unknown placement `multiprocess`
 --> t.toml:1:13
  |
1 | placement = "multiprocess"
  |             ^^^^^^^^^^^^^^ did you mean `multi-process`? there are: `multi-process`, `in-process`

error: processor `p` has unknown overflow `drop`
 --> t.toml:8:12
  |
8 | overflow = "drop"
  |            ^^^^^^ there are: `drop-oldest`, `drop-newest`, `block`
"#,
    );
}

#[test]
fn numbers_out_of_range() {
    refused(
        r#"[camera.left]
driver = "even"
slots = 1
options.serial = 2
[camera.right]
driver = "even"
slots = 0x41
options.serial = 4
[processor.p]
kind = "idle"
inputs = ["left"]
queue = -1
slots = 99999999999999999999999
"#,
        r"
error: `slots` of camera `left` is out of range
 --> t.toml:3:9
  |
3 | slots = 1
  |         ^ it has to be 2 to 64

error: `slots` of camera `right` is out of range
 --> t.toml:7:9
  |
7 | slots = 0x41
  |         ^^^^ it has to be 2 to 64

error: `queue` of processor `p` is out of range
  --> t.toml:12:9
   |
12 | queue = -1
   |         ^^ it has to be 1 to 32

error: `slots` of processor `p` is out of range
  --> t.toml:13:9
   |
13 | slots = 99999999999999999999999
   |         ^^^^^^^^^^^^^^^^^^^^^^^ it has to be 2 to 64
",
    );
}

#[test]
fn names() {
    refused(
        r#"[camera."left eye"]
driver = "even"
process = "-x"
options.serial = 2
[camera.main]
driver = "even"
options.serial = 4
[camera.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]
driver = "even"
options.serial = 6
"#,
        r#"
error: `left eye` cannot be the name of a camera
 --> t.toml:1:9
  |
1 | [camera."left eye"]
  |         ^^^^^^^^^^ 1 to 64 of a-z A-Z 0-9 _ -, and first a letter or digit

error: `-x` cannot be the name of a process
 --> t.toml:3:11
  |
3 | process = "-x"
  |           ^^^^ 1 to 64 of a-z A-Z 0-9 _ -, and first a letter or digit

error: a camera is called `main`
 --> t.toml:5:9
  |
5 | [camera.main]
  |         ^^^^ this is the supervisor's own process

error: `aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa...` cannot be the name of a camera
 --> t.toml:8:9
  |
8 | [camera.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]
  |         ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ 1 to 64 of a-z A-Z 0-9 _ -, and first a letter or digit
"#,
    );
}

#[test]
fn one_name_for_two_actors() {
    refused(
        r#"[processor.x]
kind = "idle"
inputs = ["left"]
[camera.x]
driver = "even"
options.serial = 2
[camera.left]
driver = "even"
options.serial = 4
"#,
        r"
error: a camera and a processor are both called `x`
 --> t.toml:4:9
  |
4 | [camera.x]
  |         ^ actors need names of their own
",
    );
}

#[test]
fn circles() {
    refused(
        r#"[camera.left]
driver = "even"
options.serial = 2
[processor.a]
kind = "idle"
inputs = ["left", "c"]
[processor.b]
kind = "idle"
inputs = ["a"]
[processor.c]
kind = "idle"
inputs = ["b", "d"]
[processor.d]
kind = "idle"
inputs = ["c"]
[processor.e]
kind = "idle"
inputs = ["d"]
"#,
        r#"
error: processors `a` -> `b` -> `c` -> `a` read each other in a circle
 --> t.toml:6:19
  |
6 | inputs = ["left", "c"]
  |                   ^^^ `a` reads `c` here

error: processors `d` -> `c` -> `d` read each other in a circle
  --> t.toml:15:11
   |
15 | inputs = ["c"]
   |           ^^^ `d` reads `c` here
"#,
    );
}

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
fn options_that_serde_refuses() {
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
error: unknown option `sreial` of camera `a`
 --> t.toml:3:13
  |
3 | options = { sreial = 2 }
  |             ^^^^^^ did you mean `serial`? there are: `serial`, `mode`

error: camera `b` has no option `serial`
 --> t.toml:6:11
  |
6 | options = { mode = "fast" }
  |           ^^^^^^^^^^^^^^^^^ driver `even` needs it

error: option `serial` of camera `c` is string "2, expected 3"
  --> t.toml:10:10
   |
10 | serial = "2, expected 3"
   |          ^^^^^^^^^^^^^^^ it has to be an integer, 0 or more

error: option `serial` of camera `d` is integer `-2`
  --> t.toml:13:18
   |
13 | options.serial = -2
   |                  ^^ it has to be an integer, 0 or more

error: option `mode` of camera `e` has unknown value `exakt`
  --> t.toml:16:32
   |
16 | options = { serial = 2, mode = "exakt" }
   |                                ^^^^^^^ did you mean `exact`? there are: `fast`, `exact`

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
fn text_from_the_file_cannot_drive_a_terminal() {
    refused(
        "[camera.\"\\u001b[2J\"]\ndriver = \"even\\n\"\n",
        r#"
error: `\u{1b}[2J` cannot be the name of a camera
 --> t.toml:1:9
  |
1 | [camera."\u001b[2J"]
  |         ^^^^^^^^^^^ 1 to 64 of a-z A-Z 0-9 _ -, and first a letter or digit

error: camera `\u{1b}[2J` has unknown driver `even\n`
 --> t.toml:2:10
  |
2 | driver = "even\n"
  |          ^^^^^^^^ did you mean `even`? there are: `even`, `realsense`
"#,
    );
}

#[test]
fn lines_may_end_as_on_windows() {
    refused(
        "[camera.left]\r\ndriver = \"evn\"\r\n",
        r#"
error: camera `left` has unknown driver `evn`
 --> t.toml:2:10
  |
2 | driver = "evn"
  |          ^^^^^ did you mean `even`? there are: `even`, `realsense`
"#,
    );
}

#[test]
fn probing_reports_every_device_that_is_not_there() {
    let text = |last: u64| {
        let camera = |name: &str, serial: u64| {
            format!("[camera.{name}]\ndriver = \"even\"\noptions = {{ serial = {serial} }}\n")
        };
        [camera("a", 1), camera("b", 2), camera("c", last)].concat()
    };
    let probe = |text: &str| parse(text).unwrap().probe(&registry());
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

#[test]
fn files_that_are_no_topology() {
    let folder = std::env::temp_dir().join(format!("camrig-topology-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let read =
        |path: &Path| Topology::read(path, None, &registry()).map(drop).map_err(|error| error.to_string());
    let path = folder.join("t.toml");
    let said = |fact: &str| Err(format!("error: topology `{}` {fact}", path.display()));

    assert_eq!(read(&path), said("does not exist"));
    let of_folder = format!("error: topology `{}` is a directory, not a file", folder.display());
    assert_eq!(read(&folder), Err(of_folder));
    fs::write(&path, "").unwrap();
    assert_eq!(read(&path), said("has no cameras; it needs at least one `[camera.NAME]`"));
    fs::write(&path, b"[camera.left]\nname = \"\xff\"").unwrap();
    assert_eq!(read(&path), said("is not UTF-8 text: see line 2"));
    fs::write(&path, vec![b'#'; FILE_BYTES_MAX + 1]).unwrap();
    assert_eq!(read(&path), said("is larger than 1024 KiB"));
    fs::write(&path, VALID).unwrap();
    assert_eq!(read(&path), Ok(()));
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_style_adds_nothing_but_colors() {
    let problems = parse("[camera.left]").unwrap_err();
    let styled = problems.render(true);
    assert!(styled.contains("\x1b["));
    let mut plain = String::new();
    for (index, part) in styled.split("\x1b[").enumerate() {
        plain += if index == 0 { part } else { part.split_once('m').unwrap().1 };
    }
    assert_eq!(plain, problems.to_string());
}

#[test]
fn limits() {
    let camera =
        |name: &str, serial| format!("[camera.{name}]\ndriver = \"even\"\noptions.serial = {serial}\n");
    let processor = |name: &str, inputs: &str, process: &str| {
        format!("[processor.{name}]\nkind = \"idle\"\ninputs = [{inputs}]\nprocess = \"{process}\"\n")
    };
    let join = |texts: &mut dyn Iterator<Item = String>| texts.collect::<Vec<_>>().join("\n");
    let first_line = |text: &str| parse(text).unwrap_err().to_string().lines().next().unwrap().to_owned();

    let many = join(&mut (0..=ACTORS_MAX).map(|index| camera(&format!("c{index}"), index)));
    assert_eq!(first_line(&many), "error: topology has 257 actors");

    let inputs: Vec<_> = (0..=INPUTS_MAX).map(|index| format!("\"x{index}\"")).collect();
    let wide = camera("left", 2) + &processor("p", &inputs.join(", "), "main");
    assert_eq!(first_line(&wide), "error: processor `p` has 65 inputs");

    // 65 processors of one process that read 4 cameras each.
    let cameras = join(&mut (0..4).map(|index| camera(&format!("c{index}"), index)));
    let all = r#""c0", "c1", "c2", "c3""#;
    let readers = join(&mut (0..65).map(|index| processor(&format!("p{index}"), all, "main")));
    let crowded = format!("{cameras}\n{readers}");
    assert_eq!(first_line(&crowded), "error: process `main` reads 260 actors of other processes");
    // Within a process there are no bells.
    assert!(parse(&format!("placement = \"in-process\"\n{crowded}")).is_ok());
}

#[test]
fn of_very_many_problems_only_the_first_are_shown() {
    let keys: Vec<_> = (0..1000).map(|index| format!("k{index} = 0\n")).collect();
    let problems = parse(&keys.concat()).unwrap_err().to_string();
    assert!(problems.starts_with("error: unknown key `k0`\n --> t.toml:1:1\n"), "{problems}");
    assert!(problems.ends_with("\n\nerror: there are 936 more problems"), "{problems}");
}

#[test]
fn no_text_makes_it_panic() {
    let registry = registry();
    let survives = |text: &str| {
        if let Err(problems) = Topology::parse("t.toml", text, None, &registry) {
            assert!(problems.to_string().starts_with("error: "), "{text}");
        }
    };
    for end in 0..=VALID.len() {
        survives(&VALID[..end]);
        survives(&VALID[end..]);
    }
    for at in 0..VALID.len() {
        for byte in ['\0', '\n', '"', '[', ']', '{', '}', '.', '=', ',', '#', '9', 'z', '\'', '\\', 'ä'] {
            survives(&format!("{}{byte}{}", &VALID[..at], &VALID[at + 1..]));
            survives(&format!("{}{byte}{}", &VALID[..at], &VALID[at..]));
        }
    }
    survives(&"[".repeat(FILE_BYTES_MAX));
    survives(&"a.".repeat(FILE_BYTES_MAX / 2));
    survives(&format!("x = {}", "[".repeat(FILE_BYTES_MAX / 2)));
}
