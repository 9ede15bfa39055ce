//! The commands `recording info|verify|repair|export|import|trim|merge|recompress|fuse`, `record` and `replay`.
//!
//! Each command is one function from arguments to its output; errors are printed here and nowhere else.

mod copy;
mod edit;
mod export;
mod fuse;
mod import;
mod info;
mod interrupt;
mod problems;
mod progress;
mod repair;
mod rigs;
mod ros2;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use camrig::App;
use camrig::console::{print, print_error};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use self::edit::{MergeArgs, RecompressArgs, TrimArgs};
use self::export::{ExportArgs, Format};
use self::fuse::FuseArgs;
use self::import::ImportArgs;
use self::info::InfoArgs;
use self::repair::RepairArgs;
use crate::counted::counted;
use crate::read::ReadError;
use crate::replay::MAX_SECONDS;

/// The `exit(3)` codes of sysexits.h that these commands use.
mod code {
    pub(super) const USAGE: u8 = 64;
    pub(super) const DATA: u8 = 65;
    pub(super) const NO_INPUT: u8 = 66;
    pub(super) const CANT_CREATE: u8 = 73;
}

/// Maximum of `--match`.
const MAX_MATCH_MILLIS: f64 = 10_000.0;

/// Show, check, repair, edit, export and import recordings
#[derive(Debug, Parser)]
#[command(name = "recording", arg_required_else_help = true, subcommand_required = true)]
struct RecordingArgs {
    #[command(subcommand)]
    command: RecordingCommand,
}

#[derive(Debug, Subcommand)]
enum RecordingCommand {
    /// Show a recording's contents
    Info(InfoArgs),
    /// Check every byte of a recording
    Verify {
        /// A recording
        file: PathBuf,
    },
    /// Recover intact framesets into a new file with an index
    Repair(RepairArgs),
    /// Write the frames of a recording as image files
    Export(ExportArgs),
    /// Make a recording of a bag of ROS 2 that realsense-ros has recorded
    Import(ImportArgs),
    Trim(TrimArgs),
    Merge(MergeArgs),
    Recompress(RecompressArgs),
    Fuse(FuseArgs),
}

/// Adds the commands to a program.
pub(crate) fn add_to(app: App) -> App {
    let demo = app.demo_topology();
    app.command(RecordingArgs::command(), |matches| match RecordingArgs::from_arg_matches(matches) {
        Ok(args) => recording(&args.command),
        // The arguments were parsed with the same description.
        Err(error) => error.exit(),
    })
    .run_command(rigs::RecordArgs::command(), move |matches| {
        match rigs::RecordArgs::from_arg_matches(matches) {
            Ok(args) => match args.attach(camrig::time_of(matches)) {
                None => args.make(demo).map_err(|error| error.print()),
                Some(attached) => Err(attached.unwrap_or_else(|error| error.print())),
            },
            Err(error) => error.exit(),
        }
    })
    .run_command(rigs::ReplayArgs::command(), move |matches| {
        match rigs::ReplayArgs::from_arg_matches(matches) {
            Ok(args) => args.make(demo).map_err(|error| error.print()),
            Err(error) => error.exit(),
        }
    })
}

fn recording(command: &RecordingCommand) -> ExitCode {
    let output = match command {
        RecordingCommand::Info(args) => info::info(args),
        RecordingCommand::Verify { file } => verify::verify(file),
        RecordingCommand::Repair(args) => repair::repair(args),
        RecordingCommand::Export(args) if args.format == Format::Ros2 => ros2::export(args),
        RecordingCommand::Export(args) => export::export(args),
        RecordingCommand::Import(args) => import::import(args),
        RecordingCommand::Trim(args) => edit::trim(args),
        RecordingCommand::Merge(args) => edit::merge(args),
        RecordingCommand::Recompress(args) => edit::recompress(args),
        RecordingCommand::Fuse(args) => fuse::fuse(args),
    };
    match output {
        Ok(text) => print(&text).err().unwrap_or(ExitCode::SUCCESS),
        Err(error) => error.print(),
    }
}

/// Returns the output of `recording info`.
#[cfg(test)]
pub(crate) fn info(file: &std::path::Path) -> String {
    info::info(&InfoArgs { file: file.to_owned(), json: false }).unwrap()
}

/// A reason why a command failed.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A file cannot be written, or the like.
    #[error("{0}")]
    Create(String),
    /// Arguments contradict each other.
    #[error("{0}")]
    Usage(String),
    /// Ctrl-C or another signal; the text names the files that are left.
    #[error("interrupted; {0}")]
    Interrupted(String),
    /// A recording is damaged: the output, and every problem.
    #[error("{problems:?}")]
    Damaged { text: String, problems: Vec<String> },
}

impl CommandError {
    /// Prints the error.
    fn print(&self) -> ExitCode {
        match self {
            Self::Read(error) => {
                print_error(error);
                ExitCode::from(code::NO_INPUT)
            }
            Self::Usage(error) => {
                print_error(error);
                ExitCode::from(code::USAGE)
            }
            Self::Create(error) => {
                print_error(error);
                ExitCode::from(code::CANT_CREATE)
            }
            Self::Interrupted(_) => {
                print_error(self);
                ExitCode::from(interrupt::code())
            }
            Self::Damaged { text, problems } => {
                let printed = print(text);
                problems.iter().for_each(print_error);
                printed.err().unwrap_or(ExitCode::from(code::DATA))
            }
        }
    }
}

/// Parses an option that is a time in milliseconds, such as `10ms`, at most [`MAX_MATCH_MILLIS`]. Returns nanoseconds.
fn milliseconds(text: &str) -> Result<u64, &'static str> {
    let millis: Option<f64> = text.strip_suffix("ms").and_then(|number| number.trim_end().parse().ok());
    let millis = millis.filter(|millis| (0.0..=MAX_MATCH_MILLIS).contains(millis));
    millis
        .map(|millis| (millis * 1e6) as u64)
        .ok_or("expected a time of 0 to 10000 milliseconds, such as 10ms")
}

/// Parses an option that is a number of seconds.
fn seconds(text: &str) -> Result<f64, &'static str> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=MAX_SECONDS).contains(seconds));
    seconds.ok_or("expected a number of seconds, 0 or more")
}
