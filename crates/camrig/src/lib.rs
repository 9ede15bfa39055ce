#![doc = include_str!("../guide.md")]
#![forbid(unsafe_code)]

mod actors;
#[cfg(feature = "program")]
mod app;
mod attach;
mod calling;
#[cfg(feature = "program")]
mod cli;
mod clock;
pub mod console;
mod control;
#[cfg(feature = "program")]
mod demands;
mod driver;
mod error;
mod exit;
mod failure;
pub mod files;
mod folders;
mod frameset;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod gauge;
mod hosted;
pub mod hosts;
mod ids;
mod inputs;
mod late;
mod link;
mod logging;
mod losses;
mod mail;
mod matching;
mod metrics;
mod output;
mod processor;
mod registering;
mod registry;
mod report;
mod rig;
mod schema;
mod silence;
mod stock;
mod supervisor;
mod synthetic;
pub mod testing;
mod threads;
mod topology;
mod usage;
mod wiring;
mod worker;
mod workers;

#[cfg(feature = "program")]
pub use app::App;
#[cfg(feature = "program")]
pub use attach::hand_over_command;
pub use attach::{Attached, Joining, hand_over_worker};
pub use calling::{ActorInput, InputActor};
pub use camrig_frame as frame;
pub use camrig_image::{Colorizer, DecodeError, LightImage, Picture};
pub use camrig_ipc::{
    ClockEstimate, Counts, DropReason, Latency, LostReason, MatchCamera, MatchCounts, Overflow, Unmatched,
    spawn_thread,
};
pub use camrig_status as status;
pub use camrig_status::control::Edit;
#[cfg(feature = "program")]
pub use clap;
#[cfg(feature = "program")]
pub use cli::{Attachment, MadeTopology, devices_here, parse_time, plan_here, take_signals, time_of};
pub use clock::monotonic_nanos;
pub use driver::{
    Captured, Control, ControlRange, ControlValue, Device, DeviceProfile, Driver, DriverError, RelayedCamera,
};
pub use error::WrongOptions;
pub use exit::Exit;
pub use folders::probe_folder;
pub use frameset::{FrameSet, HeldFrames};
pub use hosts::HostSpec;
pub use inputs::Delivered;
pub use matching::{Match, MatchRules, MatchStatus, Matcher};
pub use output::{CameraOutput, FrameHeaders, InputLinkStatus, Loan, OutputError, ProcessorOutput};
pub use processor::{Declared, Input, NoOptions, Processor, ProcessorError, ProcessorOptions};
pub use registry::Registry;
pub use report::{ActorReport, LinkReport, ProcessReport, Report};
pub use rig::{Rig, RigHandle, RunningRig, StartError};
pub use schemars;
pub use stock::csv::encode as encode_csv;
pub use stock::pcd::encode as encode_pcd;
pub use stock::ply::encode as encode_ply;
pub use stock::python::{SCRIPT_KEEPS, set_interpreter};
pub use supervisor::ChangeError;
pub use synthetic::{Synthetic, SyntheticOptions, emulated};
pub use toml;
pub use topology::{ActorTable, Placement, Problems, TopologyBuilder, edit as edit_topology, read_topology};

/// The names that a program that uses camrig needs.
pub mod prelude {
    pub use std::process::ExitCode;

    #[cfg(feature = "program")]
    pub use crate::App;
    pub use crate::{
        CameraOutput, Captured, Driver, DriverError, FrameSet, Match, NoOptions, Processor, ProcessorError,
        ProcessorOutput, schemars::JsonSchema,
    };
}
