//! The commands `board`, `calibrate` and `calibration`: a board to print, the poses of cameras to which it is shown, or was
//! while they were recorded, and the formats of other programs.

mod args;
mod board;
mod export;
mod live;
mod pictures;
mod recording;
mod solve;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use camrig::clap::{self, Args, Command, FromArgMatches};
use camrig::console::{print, print_error, print_stderr};
use camrig::{App, Registry};

/// The exit codes of sysexits.h that these commands use.
mod code {
    pub(super) const DATA: u8 = 65;
    pub(super) const NO_INPUT: u8 = 66;
    pub(super) const UNAVAILABLE: u8 = 69;
    pub(super) const SOFTWARE: u8 = 70;
    pub(super) const CANT_CREATE: u8 = 73;
    pub(super) const CONFIG: u8 = 78;
}

/// Adds the commands to a program.
pub(crate) fn add_to(app: App) -> App {
    let board = board::BoardArgs::augment_args(
        Command::new("board").about("Draw a board to print, which `calibrate` finds in images"),
    );
    let calibrate = args::CalibrateArgs::augment_args(
        Command::new("calibrate").about("Compute the poses of a rig's cameras from a board shown to them"),
    );
    let calibration = export::CalibrationArgs::augment_args(
        Command::new("calibration").about("Write a calibrated rig in the format of another program"),
    );
    app.command(board, |matches| run(matches, board::board))
        .registry_command(calibrate, |matches, registry| {
            run(matches, |args| calibrate_source(args, registry))
        })
        .command(calibration, |matches| run(matches, export::export))
}

/// Calibrates from a recording, a topology, or a running rig.
fn calibrate_source(args: &args::CalibrateArgs, registry: &Registry) -> Result<String, CommandError> {
    // Not only after minutes of a capture.
    check_output(&args.output)?;
    match &args.source {
        Some(path) if path.extension().is_some_and(|extension| extension == "toml") => {
            live::calibrate(args, Some(path), registry)
        }
        Some(path) => recording::calibrate(args, path),
        None => live::calibrate(args, None, registry),
    }
}

/// Runs a command with its arguments, and prints its output or its error.
fn run<A: FromArgMatches>(
    matches: &clap::ArgMatches,
    command: impl Fn(&A) -> Result<String, CommandError>,
) -> ExitCode {
    // The arguments were parsed with the same description.
    let args = A::from_arg_matches(matches).unwrap_or_else(|error| error.exit());
    match command(&args) {
        Ok(text) => print(&text).err().unwrap_or(ExitCode::SUCCESS),
        Err(error) => {
            match &error {
                // They begin with `error: ` themselves.
                CommandError::Topology(problems) => print_stderr(problems),
                error => print_error(error),
            }
            ExitCode::from(error.code())
        }
    }
}

/// The reason why a command failed.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    /// A file cannot be read.
    #[error("{0}")]
    Read(String),
    /// The data that were read are of no use.
    #[error("{0}")]
    Data(String),
    /// A rig cannot be reached, or has no cameras that are ready.
    #[error("{0}")]
    Unavailable(String),
    /// The system lacks resources.
    #[error("{0}")]
    Failed(String),
    /// A topology is wrong.
    #[error("{0}")]
    Topology(String),
    /// A file cannot be written.
    #[error("cannot write `{}`: {error}", .path.display())]
    Write { path: PathBuf, error: std::io::Error },
}

impl CommandError {
    fn code(&self) -> u8 {
        match self {
            Self::Read(_) => code::NO_INPUT,
            Self::Data(_) => code::DATA,
            Self::Unavailable(_) => code::UNAVAILABLE,
            Self::Failed(_) => code::SOFTWARE,
            Self::Topology(_) => code::CONFIG,
            Self::Write { .. } => code::CANT_CREATE,
        }
    }
}

/// Reads a text file.
fn read(path: &Path) -> Result<String, CommandError> {
    std::fs::read_to_string(path)
        .map_err(|error| CommandError::Read(format!("cannot read `{}`: {error}", path.display())))
}

/// Checks that [`write()`] can write a file, as far as this can be known before.
fn check_output(path: &Path) -> Result<(), CommandError> {
    camrig::files::check(path).map_err(|error| CommandError::Write { path: path.to_owned(), error })
}

/// Writes a file, replacing one that may exist.
fn write(path: &Path, content: &[u8]) -> Result<(), CommandError> {
    use std::io::Write;
    camrig::files::write(path, |file| file.write_all(content))
        .map_err(|error| CommandError::Write { path: path.to_owned(), error })
}

/// Returns the index of a camera among those with these names.
fn index_of<'a>(names: impl Iterator<Item = &'a str> + Clone, wanted: &str) -> Result<usize, CommandError> {
    names.clone().position(|name| name == wanted).ok_or_else(|| {
        let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
        let choices = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        CommandError::Data(format!("no camera `{wanted}` has images; expected one of: {choices}"))
    })
}
