//! Tests of `devices` and `init` with a driver whose devices the environment selects.

use std::fs;
use std::process::Command;
use std::time::Duration;

use camrig::frame::{CameraInfo, Format, PixelFormat, Stream, StreamProfile};
use camrig::prelude::*;
use camrig::{Device, DeviceProfile};
use libtest_mimic::Trial;
use schemars::JsonSchema;
use serde::Deserialize;
use tempfile::TempDir;

use crate::harness::MARK;

/// The environment variable that selects the devices: `two`, `slow`, `broken`, `none` or `locked`; if unset, the driver cannot
/// list any.
const SHELF: &str = "CAMRIG_TEST_SHELF";

/// A driver whose devices can be listed but not opened.
pub(crate) struct Shelf;

/// Options, some of which `init` writes.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)] // Nothing is opened.
pub(crate) struct ShelfOptions {
    serial: String,
    depth: Option<StreamProfile>,
    gain: Option<f32>,
}

impl Driver for Shelf {
    type Options = ShelfOptions;

    fn open(_: &str, _: ShelfOptions) -> Result<Self, DriverError> {
        Err(DriverError::new("it stays on the shelf"))
    }

    fn info(&self) -> CameraInfo {
        CameraInfo::default()
    }

    fn capture(&mut self, _: &mut CameraOutput, _: Duration) -> Result<Captured, DriverError> {
        Ok(Captured::End)
    }

    fn devices() -> Result<Option<Vec<Device>>, DriverError> {
        let Ok(shelf) = std::env::var(SHELF) else { return Ok(None) };
        match shelf.as_str() {
            "two" => Ok(Some(vec![depth_and_color(), silent()])),
            "slow" => {
                Ok(Some(vec![Device { usb_type: "2.1".to_owned(), ..depth_and_color() }, in_recovery()]))
            }
            "broken" => Ok(Some(vec![in_recovery()])),
            "none" => Ok(Some(Vec::new())),
            _ => Err(DriverError::unavailable("the shelf is locked")),
        }
    }
}

fn depth_and_color() -> Device {
    let profile = |stream, format: Format, profile: &str| DeviceProfile {
        stream,
        format,
        profile: profile.parse().unwrap(),
    };
    let depth = |size: &str| profile(Stream::DEPTH, PixelFormat::Z16.into(), size);
    Device {
        model: "Shelf Cam S1".to_owned(),
        serial: "0042".to_owned(),
        firmware: "1.2".to_owned(),
        usb_type: "3.2".to_owned(),
        usb_port: "2-1.3".to_owned(),
        profiles: vec![
            depth("640x480@30"),
            depth("640x480@60"),
            depth("1280x720@30"),
            profile(Stream::COLOR, PixelFormat::Yuyv.into(), "640x480@30"),
            profile(Stream::COLOR, PixelFormat::Rgb8.into(), "640x480@30"),
            profile(Stream::GYRO, Format::Motion, "400x1@200"),
            profile(Stream::GYRO, Format::Motion, "800x1@400"),
        ],
        ..Device::default()
    }
}

fn silent() -> Device {
    Device { model: "S1".to_owned(), serial: "say \"7\"".to_owned(), ..Device::default() }
}

fn in_recovery() -> Device {
    let problem = "is in recovery mode".to_owned();
    Device { model: "S1 Recovery".to_owned(), usb_port: "2-2".to_owned(), problem, ..Device::default() }
}

/// Runs the program with these devices, and compares its output and exit code.
#[track_caller]
fn prints(folder: &TempDir, shelf: &str, args: &[&str], status: i32, stdout: &str, stderr: &str) {
    let output = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "timeout", "--kill-after=5", "30", "setpriv", "--pdeathsig", "KILL"])
        .arg(std::env::current_exe().unwrap())
        .args(args)
        .current_dir(folder.path())
        .env(MARK, folder.path())
        .env(SHELF, shelf)
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let margin = |text: &str| text.strip_prefix('\n').unwrap_or(text).to_owned();
    assert_eq!(
        (text(output.stdout), text(output.stderr), output.status.code()),
        (margin(stdout), margin(stderr), Some(status)),
    );
}

const DEVICES: &str = r#"
shelf: Shelf Cam S1, serial 0042, firmware 1.2, USB 3.2, port 2-1.3
  color  rgb8    640x480@30
  color  yuyv    640x480@30
  depth  z16     1280x720@30 640x480@60,30
  gyro   motion  @400,200

shelf: S1, serial say "7"

For a topology:

[camera.s1-1]
driver  = "shelf"
options = { serial = "0042", depth = "640x480@30" }

[camera.s1-2]
driver  = "shelf"
options = { serial = 'say "7"', depth = "848x480@30" }
"#;

const SLOW: &str = r#"
shelf: Shelf Cam S1, serial 0042, firmware 1.2, USB 2.1, port 2-1.3
  on USB 2: profiles are fewer and slower
  color  rgb8    640x480@30
  color  yuyv    640x480@30
  depth  z16     1280x720@30 640x480@60,30
  gyro   motion  @400,200

shelf: S1 Recovery, port 2-2
  is in recovery mode

For a topology:

[camera.s1-1]
driver  = "shelf"
options = { serial = "0042", depth = "640x480@30" }
"#;

const TOPOLOGY: &str = r#"
# The cameras that were attached when `init` wrote this file, and a processor that prints their statistics.
placement = "multi-process"

[camera.s1-1]
driver  = "shelf"
options = { serial = "0042", depth = "640x480@30" }

[camera.s1-2]
driver  = "shelf"
options = { serial = 'say "7"', depth = "848x480@30" }

[processor.stats]
kind   = "stats"
inputs = ["s1-1", "s1-2"]
"#;

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    crate::test(trials, "devices::each_is_listed_with_its_table", || {
        let folder = tempfile::tempdir().unwrap();
        prints(&folder, "two", &["devices"], 0, DEVICES, "");
        prints(&folder, "none", &["devices"], 0, "driver `shelf` found no device\n", "");
        prints(&folder, "locked", &["devices"], 69, "", "error: driver `shelf`: the shelf is locked\n");
    });
    crate::test(trials, "devices::json_has_every_field", || {
        let folder = tempfile::tempdir().unwrap();
        let none = "{\n  \"camrig_devices\": 1,\n  \"devices\": []\n}\n";
        prints(&folder, "none", &["devices", "--json"], 0, none, "");
        let profile = |stream: &str, format: &str, profile: &str| {
            format!(
                "        {{\n          \"stream\": \"{stream}\",\n          \"format\": \"{format}\",\n          \
                 \"profile\": \"{profile}\"\n        }}"
            )
        };
        let profiles = [
            profile("depth", "z16", "640x480@30"),
            profile("depth", "z16", "640x480@60"),
            profile("depth", "z16", "1280x720@30"),
            profile("color", "yuyv", "640x480@30"),
            profile("color", "rgb8", "640x480@30"),
            profile("gyro", "motion", "400x1@200"),
            profile("gyro", "motion", "800x1@400"),
        ];
        let two = format!(
            r#"
{{
  "camrig_devices": 1,
  "devices": [
    {{
      "driver": "shelf",
      "model": "Shelf Cam S1",
      "serial": "0042",
      "firmware": "1.2",
      "usb_type": "3.2",
      "usb_port": "2-1.3",
      "profiles": [
{}
      ],
      "controller": "",
      "name": "s1-1",
      "topology": "[camera.s1-1]\ndriver  = \"shelf\"\noptions = {{ serial = \"0042\", depth = \"640x480@30\" }}\n"
    }},
    {{
      "driver": "shelf",
      "model": "S1",
      "serial": "say \"7\"",
      "firmware": "",
      "usb_type": "",
      "usb_port": "",
      "profiles": [],
      "controller": "",
      "name": "s1-2",
      "topology": "[camera.s1-2]\ndriver  = \"shelf\"\noptions = {{ serial = 'say \"7\"', depth = \"848x480@30\" }}\n"
    }}
  ]
}}
"#,
            profiles.join(",\n")
        );
        prints(&folder, "two", &["devices", "--json"], 0, &two, "");
    });
    crate::test(trials, "devices::init_writes_a_topology_of_them_once", || {
        let folder = tempfile::tempdir().unwrap();
        prints(&folder, "two", &["init"], 0, "wrote rig.toml: 2 cameras\n", "");
        let written = fs::read_to_string(folder.path().join("rig.toml")).unwrap();
        assert_eq!(written, TOPOLOGY.trim_start());
        let valid = "rig.toml: OK (2 cameras, 1 processor, 3 processes)\n\
                    slots and queues take at most 36 KiB of memory, plus 5 slots of `s1-1`, 5 slots of \
                    `s1-2` whose size depends on the first frameset\n";
        prints(&folder, "two", &["check", "--no-devices", "rig.toml"], 0, valid, "");

        let there = "error: topology `rig.toml` cannot be written: the file exists\n";
        prints(&folder, "two", &["init"], 73, "", there);
        assert_eq!(fs::read_to_string(folder.path().join("rig.toml")).unwrap(), written);
        let nowhere =
            "error: topology `no/a.toml` cannot be written: there is no folder `no`; create it first\n";
        prints(&folder, "two", &["init", "no/a.toml"], 73, "", nowhere);
        prints(&folder, "two", &["init", "a.toml"], 0, "wrote a.toml: 2 cameras\n", "");
    });
    crate::test(trials, "devices::a_camera_on_usb_2_and_one_in_recovery_are_said_to_be", || {
        let folder = tempfile::tempdir().unwrap();
        prints(&folder, "slow", &["devices"], 0, SLOW, "");
        let left_out = "warning: left out: shelf: S1 Recovery at port 2-2 is in recovery mode\n";
        prints(&folder, "slow", &["init"], 0, "wrote rig.toml: 1 camera\n", left_out);
        let written = fs::read_to_string(folder.path().join("rig.toml")).unwrap();
        assert_eq!(written.matches("[camera.").count(), 1, "{written}");
        let unusable = format!("{left_out}error: no attached camera can be used\n");
        prints(&folder, "broken", &["init", "none.toml"], 69, "", &unusable);
        assert!(!folder.path().join("none.toml").exists());
    });
    crate::test(trials, "devices::init_needs_a_camera", || {
        let folder = tempfile::tempdir().unwrap();
        let none = "error: no camera is attached: driver `shelf` found no device\n";
        prints(&folder, "none", &["init"], 69, "", none);
        prints(&folder, "locked", &["init"], 69, "", "error: driver `shelf`: the shelf is locked\n");
        assert!(!folder.path().join("rig.toml").exists());
    });
}
