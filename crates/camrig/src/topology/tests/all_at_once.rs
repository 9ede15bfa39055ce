//! Every problem of a topology is reported, also beside others.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{Problems, Topology};
use crate::error::WrongOptions;
use crate::late::StartTime;
use crate::processor::{Declared, ProcessorOptions};
use crate::registry::Registry;
use crate::topology::Probe;
use camrig_frame::{Stream, StreamInfo};

/// The stock program, with a kind that checks its options.
#[derive(Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct WithinOptions {
    near: f32,
    far: f32,
    stream: String,
    file: String,
}

impl Default for WithinOptions {
    fn default() -> Self {
        Self { near: 0.0, far: 1.0, stream: "depth".to_owned(), file: String::new() }
    }
}

impl ProcessorOptions for WithinOptions {
    fn check(&self) -> Result<(), WrongOptions> {
        let mut wrong = WrongOptions::default();
        if self.stream == "hangs" {
            super::hang();
        }
        if self.near < 0.0 {
            wrong.add(["near"], format!("`near` is {}; it must be 0 or more", self.near));
        }
        if self.far <= self.near {
            wrong.add(["far", "near"], format!("`far` is {}; it must be more than `near`", self.far));
        }
        wrong.or_ok()
    }

    fn probe(&self) -> Result<(), WrongOptions> {
        let mut wrong = WrongOptions::default();
        if self.file == "hangs" {
            super::hang();
        }
        if !self.file.is_empty() {
            wrong.add(["file"], format!("`{}` does not exist", self.file));
        }
        wrong.or_ok()
    }

    fn declare(&self, input: &[StreamInfo]) -> Declared {
        let lacks = || format!("it has no {}", self.stream);
        let stream: Stream = self.stream.parse().map_err(|_| lacks())?;
        let found = input.iter().find(|info| info.stream == stream).ok_or_else(lacks)?;
        Ok(Some(vec![*found]))
    }
}

fn registry() -> Registry {
    let registry = Registry::new();
    registry
        .with_actor("within", |_: WithinOptions, _| Ok(super::Idle))
        .with_options::<WithinOptions>("within")
}

/// Compares all problems that `check` reports of `text`.
#[track_caller]
fn refused(text: &str, expected: &str) {
    refused_by(&registry(), text, expected);
}

/// As [`refused`], of a program with these drivers and kinds.
#[track_caller]
fn refused_by(registry: &Registry, text: &str, expected: &str) {
    let parsed =
        Topology::parse_and_probe("t.toml", text, None, registry, Probe::Every, StartTime::default());
    let problems: Problems = parsed.expect_err("the text has problems");
    assert_eq!(problems.to_string(), expected.trim_matches('\n'), "\n{problems}");
}

#[test]
fn every_wrong_option_of_a_camera_is_under_its_key() {
    refused(
        "[camera.a]\ndriver = 'synthetic'\n[camera.a.options]\npaced = 1\ncolor = '640x480'\nframes = 0\n\
         serial = 'a b'\nreplug_after = 1\nunplug_at = -1\n",
        r"
error: option `paced` of camera `a` is integer `1`
 --> t.toml:4:9
  |
4 | paced = 1
  |         ^ must be a boolean

error: option `color` of camera `a`: stream profile `640x480` is not of the form `640x480@30`, nor `off`
 --> t.toml:5:9
  |
5 | color = '640x480'
  |         ^^^^^^^^^

error: camera `a`: frames 0 is out of range; it must be 1 or more
 --> t.toml:6:1
  |
6 | frames = 0
  | ^^^^^^

error: camera `a`: serial `a b` is not of 1 to 32 letters and digits
 --> t.toml:7:1
  |
7 | serial = 'a b'
  | ^^^^^^

error: option `unplug_at` of camera `a` is integer `-1`
 --> t.toml:9:13
  |
9 | unplug_at = -1
  |             ^^ must be a number, 0 to 1000000
",
    );
}

#[test]
fn a_processor_checks_its_options_and_hides_no_other_problem() {
    refused(
        "[camera.a]\ndriver = 'synthetic'\noptions = { depth = 'off', serial = '1' }\n\
         [camera.b]\ndriver = 'synthetic'\noptions = { seed = 1, frames = 0 }\n\
         [processor.p]\nkind = 'within'\ninputs = ['a']\noptions = { near = -1, far = -2 }\n\
         [processor.q]\nkind = 'within'\ninputs = ['a', 'c']\n\
         [processor.r]\nkind = 'within'\ninputs = ['a']\noptions = { stream = 'color', file = 'x.bin' }\n\
         [processor.s]\nkind = 'snapshot'\ninputs = ['r']\noptions = { folder = '/dev/null/a' }\n\
         [processor.t]\nkind = 'stats'\ninputs = ['s']\n",
        r"
error: camera `b`: frames 0 is out of range; it must be 1 or more
 --> t.toml:6:23
  |
6 | options = { seed = 1, frames = 0 }
  |                       ^^^^^^

error: processor `p`: `near` is -1; it must be 0 or more
  --> t.toml:10:13
   |
10 | options = { near = -1, far = -2 }
   |             ^^^^

error: processor `p`: `far` is -2; it must be more than `near`
  --> t.toml:10:24
   |
10 | options = { near = -1, far = -2 }
   |                        ^^^

error: `q` cannot read `a`: it has no depth
  --> t.toml:13:11
   |
13 | inputs = ['a', 'c']
   |           ^^^

error: processor `q` reads unknown actor `c`
  --> t.toml:13:16
   |
13 | inputs = ['a', 'c']
   |                ^^^ did you mean `a`? expected one of: `a`, `b`, `p`, `r`, `s`, `t`

error: processor `r`: `x.bin` does not exist
  --> t.toml:17:31
   |
17 | options = { stream = 'color', file = 'x.bin' }
   |                               ^^^^

error: processor `s`: nothing can be written into `/dev/null/a`: `/dev/null` is not a folder
  --> t.toml:21:13
   |
21 | options = { folder = '/dev/null/a' }
   |             ^^^^^^

error: processor `t` reads `s`, which publishes nothing
  --> t.toml:24:11
   |
24 | inputs = ['s']
   |           ^^^
",
    );
}

/// Also where the streams of its input are not known before the first frameset.
#[test]
fn a_processor_that_publishes_nothing_has_no_readers() {
    let text = "[camera.a]\ndriver = 'even'\noptions = { serial = 2 }\n\
                [processor.s]\nkind = 'snapshot'\ninputs = ['a']\noptions = { folder = '.' }\n\
                [processor.t]\nkind = 'stats'\ninputs = ['s']\n";
    let registry = registry().with_driver::<super::Even>("even");
    let problems = Topology::parse("t.toml", text, None, &registry).unwrap_err().to_string();
    let expected = r"error: processor `t` reads `s`, which publishes nothing
  --> t.toml:10:11
   |
10 | inputs = ['s']
   |           ^^^";
    assert_eq!(problems, expected);
}

#[test]
fn cameras_without_readers_are_warned_of() {
    let warnings =
        |text: &str| Topology::parse("t.toml", text, None, &registry()).unwrap().warnings(&registry());
    let cameras = "[camera.a]\ndriver = 'synthetic'\n[camera.b]\ndriver = 'synthetic'\n";
    assert_eq!(warnings(cameras), ["the rig has no processor: nothing reads its cameras"]);
    let reader = |inputs: &str| format!("{cameras}[processor.p]\nkind = 'stats'\ninputs = {inputs}\n");
    assert_eq!(warnings(&reader("['b']")), ["no processor reads: `a`"]);
    assert!(warnings(&reader("['a', 'b']")).is_empty());
}

/// Three cameras and a processor of which one hangs; the first camera has no device, the last has a wrong option.
fn hanging(second: u64, processor: &str) -> String {
    let camera = |name: &str, serial: u64| {
        format!(
            "[camera.{name}]\ndriver = 'even'\nstart_timeout_millis = 2000\noptions = {{ serial = {serial} }}\n"
        )
    };
    let cameras = [camera("a", 1), camera("b", second), camera("c", 666)].concat();
    format!(
        "{cameras}[processor.p]\nkind = 'within'\ninputs = ['a']\nstart_timeout_millis = 2000\n\
         options = {{ stream = '{processor}', file = 'hangs' }}\n"
    )
}

#[test]
fn a_probe_that_hangs_is_late_and_hides_no_other() {
    refused_by(
        &registry().with_driver::<super::Even>("even"),
        &hanging(super::HANGS_IN_PROBE, "depth"),
        r"
error: camera `a`: serial 1 is not attached
 --> t.toml:4:1
  |
4 | options = { serial = 1 }
  | ^^^^^^^

error: camera `b`: driver `even` did not return from its probe within its `start_timeout_millis` (2000 ms)
 --> t.toml:8:1
  |
8 | options = { serial = 900002 }
  | ^^^^^^^

error: camera `c`: serial 666 is not to be used
  --> t.toml:12:1
   |
12 | options = { serial = 666 }
   | ^^^^^^^

error: processor `p`: kind `within` did not return from its probe within its `start_timeout_millis` (2000 ms)
  --> t.toml:17:1
   |
17 | options = { stream = 'depth', file = 'hangs' }
   | ^^^^^^^
",
    );
}

#[test]
fn a_check_that_hangs_is_late() {
    let registry = registry().with_driver::<super::Even>("even");
    refused_by(
        &registry,
        &hanging(super::HANGS_IN_CHECK, "depth"),
        r"
error: camera `b`: driver `even` did not return from the check of its options within its `start_timeout_millis` (2000 ms)
 --> t.toml:8:1
  |
8 | options = { serial = 900004 }
  | ^^^^^^^
",
    );
    refused_by(
        &registry,
        &hanging(2, "hangs"),
        r"
error: processor `p`: kind `within` did not return from the check of its options within its `start_timeout_millis` (2000 ms)
  --> t.toml:17:1
   |
17 | options = { stream = 'hangs', file = 'hangs' }
   | ^^^^^^^
",
    );
}
