//! Topologies, right and wrong. Each test compares everything that a user would read.

mod all_at_once;
mod hosts;
mod keys;
mod matching;
mod meaning;
mod options;
mod processes;
mod restarts;
mod text;
mod values;

use std::time::Duration;

use actix::{Actor, Context, Handler};
use camrig_frame::CameraInfo;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Problems, Topology};
use crate::driver::{Captured, Device, Driver, DriverError};
use crate::frameset::FrameSet;
use crate::output::CameraOutput;
use crate::processor::{NoOptions, ProcessorError};
use crate::registry::Registry;

/// A driver whose devices are those with an even serial number.
struct Even;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EvenOptions {
    serial: u64,
    #[serde(default)]
    mode: Mode,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    #[default]
    Fast,
    Exact,
}

/// The serial numbers with which [`Even`] never returns.
const HANGS_IN_PROBE: u64 = 900_002;
const HANGS_IN_CHECK: u64 = 900_004;

fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

impl Driver for Even {
    type Options = EvenOptions;

    fn check(options: &EvenOptions) -> Result<(), DriverError> {
        match options.mode {
            Mode::Fast | Mode::Exact if options.serial == HANGS_IN_CHECK => hang(),
            Mode::Exact if options.serial == 106 => {
                Err(DriverError::new("serial 106 cannot be exact").at("serial"))
            }
            Mode::Exact if options.serial > 100 => Err(DriverError::new("serial above 100 cannot be exact")),
            Mode::Fast | Mode::Exact => Ok(()),
        }
    }

    fn claims(options: &EvenOptions) -> Vec<String> {
        vec![format!("serial {}", options.serial)]
    }

    fn probe(options: &EvenOptions) -> Result<Option<Device>, DriverError> {
        match options.serial {
            HANGS_IN_PROBE => hang(),
            104 => Err(DriverError::new("serial 104 is reserved").at("serial.of.something")),
            666 => Err(DriverError::new("serial 666 is not to be used")),
            odd if odd % 2 == 1 => Err(DriverError::unavailable(format!("serial {odd} is not attached"))),
            // From 1000 on another number of the device 1000 below.
            serial => {
                let serial = (serial % 1000).to_string();
                Ok(Some(Device { serial, model: "Even".into(), ..Device::default() }))
            }
        }
    }

    fn recall(options: &EvenOptions) -> Option<Device> {
        let device = || Device { serial: "777".into(), model: "Even".into(), ..Device::default() };
        (options.serial == 777).then(device)
    }

    fn open(_: &str, _: EvenOptions) -> Result<Self, DriverError> {
        unreachable!("a topology opens nothing")
    }

    fn info(&self) -> CameraInfo {
        unreachable!("a topology opens nothing")
    }

    fn capture(&mut self, _: &mut CameraOutput, _: Duration) -> Result<Captured, DriverError> {
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
    registry.add_actor("idle", |_: NoOptions, _| Ok(Idle));
    registry
}

fn parse(text: &str) -> Result<Topology, Problems> {
    Topology::parse("t.toml", text, None, &registry())
}

/// Parses `text`, which has to be wrong, and compares all its problems.
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
