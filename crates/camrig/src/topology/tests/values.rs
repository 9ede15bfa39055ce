//! Tests of invalid values: names, choices, numbers, inputs, addresses.

use super::{parse, refused};
use crate::topology::{ACTORS_MAX, INPUTS_MAX};

#[test]
fn invalid_metrics() {
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
error: `metrics`: `listen` is `9464`; it must be an address and a port, such as `127.0.0.1:9464`
 --> t.toml:2:10
  |
2 | listen = "9464"
  |          ^^^^^^
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
  | ^^^^ expected one of: `listen`, `token`
",
        ),
    ] {
        refused(&format!("{metrics}{camera}"), problem);
    }
}

#[test]
fn invalid_inputs() {
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
  |          ^^^^^^ must be an array of names of actors

error: processor `b` has no inputs
 --> t.toml:9:10
  |
9 | inputs = []
  |          ^^ it needs an array of names of actors

error: an input of processor `c` is an integer
  --> t.toml:12:19
   |
12 | inputs = ["left", 3, "left", "c", "lefft"]
   |                   ^ must be the name of an actor

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
   |                                   ^^^^^^^ did you mean `left`? expected one of: `left`, `a`, `b`
"#,
    );
}

#[test]
fn unknown_drivers_and_kinds() {
    refused(
        r#"[camera.left]
driver = "evn"
[processor.p]
kind = "record"
inputs = ["left"]
"#,
        r#"
error: camera `left` has unknown driver `evn`
 --> t.toml:2:10
  |
2 | driver = "evn"
  |          ^^^^^ did you mean `even`? expected one of: `even`

error: processor `p` has unknown kind `record`
 --> t.toml:4:8
  |
4 | kind = "record"
  |        ^^^^^^^^ expected one of: `idle`
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
  |             ^^^^^^^^^^^^^^ did you mean `multi-process`? expected one of: `multi-process`, `in-process`

error: processor `p` has unknown overflow `drop`
 --> t.toml:8:12
  |
8 | overflow = "drop"
  |            ^^^^^^ expected one of: `drop-oldest`, `drop-newest`, `block`
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
  |         ^ must be 2 to 64

error: `slots` of camera `right` is out of range
 --> t.toml:7:9
  |
7 | slots = 0x41
  |         ^^^^ must be 2 to 64

error: `queue` of processor `p` is out of range
  --> t.toml:12:9
   |
12 | queue = -1
   |         ^^ must be 1 to 32

error: `slots` of processor `p` is out of range
  --> t.toml:13:9
   |
13 | slots = 99999999999999999999999
   |         ^^^^^^^^^^^^^^^^^^^^^^^ must be 2 to 64
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
fn duplicate_names() {
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
fn cycles() {
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
    // Links within a process need no notifiers.
    assert!(parse(&format!("placement = \"in-process\"\n{crowded}")).is_ok());
}
