//! The command line: `run`, `top`, `check`, `plan`, `devices`, `init`, `list`, and the program's own commands.
//!
//! Each command is one function from arguments to an exit code. Errors are printed here and nowhere else, except those
//! of the program's own commands.

mod attach;
mod devices;
mod doctor;
mod drive;
mod ending;
mod installed;
mod list;
mod live;
mod memory;
mod plan;
mod progress;
mod service;
mod signals;
mod spread;
mod top;
mod watch;

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use camrig_status::control::Edit;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use self::attach::Attachment;
pub use self::devices::devices_here;
pub use self::plan::plan_here;
pub use self::signals::take as take_signals;
use self::watch::WatchedFile;
use crate::console::{print, print_error, print_stderr, print_warning};
use crate::demands::UsbDemands;
use crate::exit::Exit;
use crate::files;
use crate::ids::ProcessId;
use crate::late::StartTime;
use crate::logging;
use crate::registry::Registry;
use crate::rig::Rig;
use crate::supervisor::RunLimits;
use crate::topology::{MAIN, Placement, Probe, Problems, Role, Topology, edit, read_topology, schema};

/// The name of the built-in topology.
const DEMO_NAME: &str = "demo";

/// The `exit(3)` codes of sysexits.h that this program uses, and two others.
mod code {
    /// The answer of a check is no.
    pub(super) const NO: u8 = 1;
    pub(super) const USAGE: u8 = 64;
    pub(super) const UNAVAILABLE: u8 = 69;
    pub(super) const SOFTWARE: u8 = 70;
    pub(super) const CANT_CREATE: u8 = 73;
    pub(super) const CONFIG: u8 = 78;
    /// 128 + SIGINT, as in shells.
    pub(super) const INTERRUPTED: u8 = 130;
}

/// Captures from several RGB-D cameras: actors placed by a topology file, in one process or in many
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, subcommand_required = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a topology until Ctrl-C, a limit, or the end of all cameras
    Run(RunArgs),
    /// Show a running rig: its actors, rates, drops and latencies
    Top(top::TopArgs),
    /// Print the topology of a running rig
    Topology(live::TopologyOfArgs),
    /// Change a running rig so that it runs another topology: only actors that differ are affected
    Apply(live::ApplyArgs),
    /// Add a processor or a camera to a running rig
    Add(live::AddArgs),
    /// End actors of a running rig after they have processed the framesets in their queues
    Remove(live::RemoveArgs),
    /// Move actors of a running rig to another process
    Move(live::MoveArgs),
    /// Restart actors of a running rig in order
    Restart(live::RestartArgs),
    /// Change options of an actor of a running rig; it restarts, unless its device can set them while it runs
    Set(live::SetArgs),
    /// List the options of a camera of a running rig, with their present values
    Get(live::GetArgs),
    /// Save the options of a camera of a running rig into a file, or load them from one, while it runs
    Options(live::OptionsArgs),
    /// Stop the streams of cameras of a running rig; their devices stay open
    Pause(live::PauseArgs),
    /// Start the streams of paused cameras again
    Resume(live::PauseArgs),
    /// Write the topology of a running rig into a file
    Save(live::SaveArgs),
    /// Add a processor to a running rig in a process of its own, until Ctrl-C or a time
    Attach(attach::AttachArgs),
    /// Show cameras of a running rig in a web page, until Ctrl-C
    View(attach::ViewArgs),
    /// Check a topology and print all its problems, without starting anything
    Check(CheckArgs),
    /// Compare the cameras' USB bandwidth with the budget of each controller; exits 1 when one does not fit
    Plan(plan::PlanArgs),
    /// List the problems of this machine that affect a rig, with advice; exits 1 when a rig cannot run
    Doctor(doctor::DoctorArgs),
    /// List the attached cameras with their tables for a topology
    Devices(devices::DevicesArgs),
    /// Write a topology of all attached cameras
    Init(devices::InitArgs),
    /// List drivers and kinds of processors with their options
    List(list::ListArgs),
    /// Print the JSON schema of topologies, with which editors complete and check them
    Schema,
    /// Print a script with which a shell completes this command line
    Completions(installed::CompletionsArgs),
    /// Write man pages of all commands into a folder
    Man(installed::ManArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    topology: TopologyArgs,
    /// Apply the file whenever it changes, and at SIGHUP
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    how: RunOptions,
}

// Options of a run. No doc comment: clap would show it as that of the command.
#[derive(Debug, Args)]
struct RunOptions {
    /// Stop after this time, such as 10s or 5m
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    time: Option<Duration>,
    /// Stop each camera after N framesets
    #[arg(long, value_name = "N", value_parser = parse_framesets)]
    framesets: Option<u64>,
    /// Write a report of the run as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    topology: TopologyArgs,
    /// Do not check that cameras and recorded files exist
    #[arg(long)]
    no_devices: bool,
}

#[derive(Debug, Args)]
struct TopologyArgs {
    /// A topology file, or `demo`
    topology: PathBuf,
    /// Set an option or a key of an actor, such as camera.left.seed=2
    #[arg(long = "set", value_name = "ROLE.NAME.KEY=VALUE", value_parser = parse_set)]
    sets: Vec<Edit>,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Args)]
struct PlaceArgs {
    /// Override the placement: all actors in this process, or each in its own
    #[arg(long, value_name = "PLACEMENT")]
    placement: Option<Placement>,
}

// Options of `run` for commands that generate their topology.
#[derive(Debug, Args)]
struct MadeArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    how: RunOptions,
}

impl TopologyArgs {
    /// Returns the arguments that name a topology and change nothing.
    fn of(topology: PathBuf) -> Self {
        Self { topology, sets: Vec::new(), place: PlaceArgs { placement: None } }
    }

    fn read(&self, registry: &Registry) -> Result<Topology, Problems> {
        let (name, text) = self.text(registry)?;
        Topology::parse(&name, &text, self.place.placement, registry)
    }

    /// Checks and probes for a rig that runs for `time`.
    fn read_and_probe(
        &self,
        registry: &Registry,
        probe: Probe,
        time: Option<Duration>,
    ) -> Result<Topology, Problems> {
        let (name, text) = self.text(registry)?;
        let time = StartTime::of_rig(time);
        Topology::parse_and_probe(&name, &text, self.place.placement, registry, probe, time)
    }

    /// Returns the name and the text of the topology, with the changes of `--set`.
    fn text(&self, registry: &Registry) -> Result<(String, String), Problems> {
        let (name, mut text) = if self.is_demo() {
            (DEMO_NAME.to_owned(), registry.demo().to_owned())
        } else {
            let name = self.topology.display().to_string();
            let text = read_topology(&self.topology).map_err(|fact| Problems::of_file(&name, &fact))?;
            (name, text)
        };
        for set in &self.sets {
            let refused =
                |fact: String| Problems::of_file(&name, &format!("cannot be changed by `--set`: {fact}"));
            text = edit(&text, set).map_err(refused)?;
        }
        Ok((name, text))
    }

    fn is_demo(&self) -> bool {
        self.topology.as_os_str() == DEMO_NAME
    }
}

/// Parses `camera.left.seed=2`.
fn parse_set(text: &str) -> Result<Edit, &'static str> {
    const EXPECTED: &str = "expected ROLE.NAME.KEY=VALUE, such as camera.left.seed=2";
    let (path, value) = text.split_once('=').ok_or(EXPECTED)?;
    let mut parts = path.splitn(3, '.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("camera" | "processor"), Some(name), Some(key)) => {
            let settings = vec![(key.to_owned(), value.to_owned())];
            Ok(Edit::Set { name: name.to_owned(), settings })
        }
        _ => Err(EXPECTED),
    }
}

/// Parses a time with its unit, such as `10s` or `5m`; it is more than zero.
///
/// # Errors
/// A message for the command line.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration =
        text.parse().map_err(|_| "expected a number with a unit, such as 500ms, 10s or 5m".to_owned())?;
    let time = Duration::try_from(span).map_err(|_| "must not be negative".to_owned())?;
    if time.is_zero() { Err("must be greater than zero".to_owned()) } else { Ok(time) }
}

fn parse_framesets(text: &str) -> Result<u64, &'static str> {
    text.parse().ok().filter(|&count| count > 0).ok_or("expected an integer, 1 or more")
}

/// Returns the time of `--for` among the arguments of a command that runs a topology.
pub fn time_of(matches: &ArgMatches) -> Option<Duration> {
    matches.try_get_one::<Duration>("time").ok().flatten().copied()
}

/// A topology that a command generated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MadeTopology {
    /// Its name in messages.
    pub name: String,
    /// Its text, like the content of a file.
    pub text: String,
}

/// Generates a topology from the arguments of its command. Without one the command has ended: an error was printed, or there
/// is nothing to run.
type Make = Box<dyn Fn(&ArgMatches) -> Result<MadeTopology, ExitCode>>;

/// The function of a command that needs the drivers and kinds of the program.
type ActWithRegistry = Box<dyn Fn(&ArgMatches, &Registry) -> ExitCode>;

/// The function of one of the program's own commands.
pub(crate) enum Act {
    /// Does everything, up to the exit code.
    Whole(Box<dyn Fn(&ArgMatches) -> ExitCode>),
    /// As `Whole`, with the drivers and kinds of the program.
    Registry(ActWithRegistry),
    /// Generates a topology, which is then run.
    Make(Make),
}

/// One of the program's own commands.
pub(crate) struct OwnCommand {
    pub(crate) command: clap::Command,
    pub(crate) act: Act,
}

impl OwnCommand {
    /// Returns the command, with the options of `run` if it runs a topology.
    fn command(&self) -> clap::Command {
        match self.act {
            Act::Whole(_) | Act::Registry(_) => self.command.clone(),
            Act::Make(_) => MadeArgs::augment_args(self.command.clone()),
        }
    }
}

/// Parses the command line of the program called `name`, and runs the command. Prints help and errors.
pub(crate) fn main(name: &str, own: &[OwnCommand], registry: &Arc<Registry>, usb: &UsbDemands) -> ExitCode {
    // clap needs a static name, which is leaked once per process.
    let name: &'static str = Box::leak(name.to_owned().into_boxed_str());
    let command = Cli::command().name(name).subcommands(own.iter().map(OwnCommand::command));
    let whole = command.clone();
    let done = command.try_get_matches().and_then(|matches| {
        let chosen = matches.subcommand().and_then(|(name, matches)| {
            let own = own.iter().find(|own| own.command.get_name() == name)?;
            Some((own, matches))
        });
        match chosen {
            Some((own, matches)) => run_own(own, matches, registry, usb),
            None => match Cli::from_arg_matches(&matches)? {
                Cli { command: Command::Completions(args) } => Ok(installed::complete(&args, whole, name)),
                Cli { command: Command::Man(args) } => Ok(installed::write_man_pages(&args, whole)),
                cli => Ok(run(cli, registry, usb)),
            },
        }
    });
    done.unwrap_or_else(|error| refuse_arguments(&error))
}

/// Prints an error of the arguments, or the help or version that they ask for.
fn refuse_arguments(error: &clap::Error) -> ExitCode {
    if error.use_stderr() {
        // An error that cannot be printed cannot be reported.
        let _ = error.print();
        return ExitCode::from(code::USAGE);
    }
    let text = error.render();
    let text = if is_colored(&std::io::stdout()) { text.ansi().to_string() } else { text.to_string() };
    code_of(print(&text))
}

/// Returns the exit code of a command that has printed its result.
fn code_of(printed: Result<(), ExitCode>) -> ExitCode {
    printed.err().unwrap_or(ExitCode::SUCCESS)
}

/// Returns whether output on this stream has colors: on a terminal, unless `NO_COLOR` is set.
fn is_colored(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && camrig_top::colors_are_wanted()
}

/// Runs the command.
fn run(cli: Cli, registry: &Arc<Registry>, usb: &UsbDemands) -> ExitCode {
    logging::init(MAIN);
    match cli.command {
        Command::Run(args) => {
            if args.watch && args.topology.is_demo() {
                print_error("`--watch` needs a file: `demo` is not a file");
                return ExitCode::from(code::USAGE);
            }
            let topology = args.topology.read_and_probe(registry, Probe::Unknown, args.how.time);
            let RunArgs { topology: arguments, watch, how } = args;
            let watched = watch.then(|| WatchedFile::new(arguments, registry));
            run_topology(topology, watched, &how, registry, usb)
        }
        Command::Top(args) => top::run(&args),
        Command::Topology(args) => live::topology(&args),
        Command::Apply(args) => live::apply(&args),
        Command::Add(args) => live::add(&args),
        Command::Remove(args) => live::remove(&args),
        Command::Move(args) => live::move_actors(&args),
        Command::Restart(args) => live::restart(&args),
        Command::Set(args) => live::set(&args),
        Command::Get(args) => live::get(&args),
        Command::Pause(args) => live::pause(&args, true),
        Command::Resume(args) => live::pause(&args, false),
        Command::Save(args) => live::save(&args),
        Command::Options(args) => live::options(&args),
        Command::Attach(args) => attach::attach(&args, registry),
        Command::View(args) => attach::view(&args, registry),
        Command::Check(args) => check(&args, registry),
        Command::Plan(args) => plan::run(&args, registry, usb),
        Command::Doctor(args) => doctor::run(&args, registry, usb),
        Command::Devices(args) => devices::run(&args, registry),
        Command::Init(args) => devices::init(&args, registry),
        Command::List(args) => list::run(&args, registry),
        Command::Schema => code_of(print_json(&schema(registry))),
        // Before this: the program's own commands are not known here.
        Command::Completions(_) | Command::Man(_) => ExitCode::SUCCESS,
    }
}

fn run_own(
    own: &OwnCommand,
    matches: &ArgMatches,
    registry: &Arc<Registry>,
    usb: &UsbDemands,
) -> Result<ExitCode, clap::Error> {
    logging::init(MAIN);
    let make = match &own.act {
        Act::Whole(act) => return Ok(act(matches)),
        Act::Registry(act) => return Ok(act(matches, registry)),
        Act::Make(make) => make,
    };
    let MadeArgs { place, how } = MadeArgs::from_arg_matches(matches)?;
    Ok(match make(matches) {
        Ok(MadeTopology { name, text }) => {
            let (probe, time) = (Probe::Unknown, StartTime::of_rig(how.time));
            let topology = Topology::parse_and_probe(&name, &text, place.placement, registry, probe, time);
            run_topology(topology, None, &how, registry, usb)
        }
        Err(code) => code,
    })
}

fn run_topology(
    topology: Result<Topology, Problems>,
    watched: Option<WatchedFile>,
    args: &RunOptions,
    registry: &Arc<Registry>,
    usb: &UsbDemands,
) -> ExitCode {
    let topology = match topology {
        Ok(topology) => topology,
        Err(problems) => return refuse(&problems),
    };
    // Before anything starts: nothing should run if its report cannot be written.
    if let Some(path) = &args.report
        && let Err(error) = files::check(path)
    {
        return refuse_report(path, &error);
    }
    let (topology, others) = match spread::begin(topology, args, registry) {
        Ok(begun) => begun,
        Err(code) => return code,
    };
    plan::warn(&topology, usb);
    // Cameras stop on all hosts then: only `drive` can have them do so.
    let time = if others.is_some() { None } else { args.time };
    let limits = RunLimits { time, framesets: args.framesets };
    let rig = Rig::new(topology, registry, limits);
    let rig = others.iter().fold(rig, |rig, others| rig.beside(others.clone()));
    let driven =
        drive::drive(&rig, watched, others.as_ref().map(|others| (Arc::clone(others.hosts()), args.time)));
    let run = match spread::end(driven, others) {
        Ok(report) => report,
        Err(error) => {
            print_error(format_args!("the rig cannot be started: {error}"));
            return ExitCode::from(code::SOFTWARE);
        }
    };
    if let Some(path) = &args.report {
        let write = |file: &mut File| {
            let mut file = BufWriter::new(file);
            serde_json::to_writer_pretty(&mut file, &run)?;
            writeln!(file)?;
            file.flush()
        };
        if let Err(error) = files::write(path, write) {
            return refuse_report(path, &error);
        }
    }
    if let Some(line) = ending::line(&run) {
        print_stderr(line);
    }
    match run.exit {
        Exit::Asked | Exit::Inputs => ExitCode::SUCCESS,
        Exit::Failed => ExitCode::from(code::SOFTWARE),
        Exit::Unavailable => ExitCode::from(code::UNAVAILABLE),
        Exit::Interrupted => ExitCode::from(code::INTERRUPTED),
    }
}

fn refuse_report(path: &Path, error: &std::io::Error) -> ExitCode {
    print_error(format_args!("report `{}` cannot be written: {error}", path.display()));
    ExitCode::from(code::CANT_CREATE)
}

fn check(args: &CheckArgs, registry: &Registry) -> ExitCode {
    let topology = &args.topology;
    let checked = if args.no_devices {
        topology.read(registry)
    } else {
        topology.read_and_probe(registry, Probe::Every, None)
    };
    match checked {
        Ok(topology) => {
            let hosts = match spread::check(&topology, registry, args.no_devices) {
                Ok(hosts) => hosts,
                Err(code) => return code,
            };
            let memory = memory::describe(&topology);
            for warning in topology.warnings(registry) {
                print_warning(warning);
            }
            let cameras = topology.actors().iter().filter(|actor| matches!(actor.role, Role::Camera { .. }));
            let cameras = cameras.count();
            let used = |process: &usize| topology.actors_of(ProcessId::new(*process)).next().is_some();
            code_of(print(&format!(
                "{}: OK ({}, {}, {})\n{}{hosts}",
                topology.name(),
                counted(cameras, "camera"),
                counted(topology.actors().len() - cameras, "processor"),
                counted((0..topology.processes().len()).filter(used).count(), "process"),
                memory,
            )))
        }
        Err(problems) => refuse(&problems),
    }
}

fn refuse(problems: &Problems) -> ExitCode {
    print_stderr(problems.render(is_colored(&std::io::stderr())));
    ExitCode::from(if problems.is_unavailable() { code::UNAVAILABLE } else { code::CONFIG })
}

fn counted(count: usize, what: &str) -> String {
    match (count, what.ends_with('s')) {
        (1, _) => format!("1 {what}"),
        (_, true) => format!("{count} {what}es"),
        (_, false) => format!("{count} {what}s"),
    }
}

/// The number of spaces between two columns of a table.
const COLUMN_GAP: u16 = 2;

/// Returns `rows` as lines of aligned columns, without borders and trailing spaces.
fn table<const COLUMNS: usize>(rows: impl IntoIterator<Item = [String; COLUMNS]>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, COLUMN_GAP));
    }
    let text = table.trim_fmt();
    if text.is_empty() { text } else { text + "\n" }
}

/// Prints a result as JSON.
fn print_json(value: &impl serde::Serialize) -> Result<(), ExitCode> {
    // These values contain nothing that JSON cannot represent.
    print(&serde_json::to_string_pretty(value).unwrap_or_default())
}
