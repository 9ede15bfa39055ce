//! Commands that change a running rig: each sends a request to its control socket.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use camrig_status::control::{self, Answer, Apply, Edit, Edits, Request};
use camrig_status::socket::{self, FindError};
use clap::Args;

use super::{code, code_of, print_json, table};
use crate::console::{print, print_error};
use crate::driver::{Control, ControlRange};
use crate::files;
use crate::topology::{merged, read_topology};

/// The option that loads a file of options, by drivers that have it.
const PRESET: &str = "preset";

#[derive(Debug, Args)]
pub(super) struct TopologyOfArgs {
    /// Name of the rig's topology, or the rig's process ID; optional if only one rig runs
    rig: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    /// A topology file
    file: PathBuf,
    /// Name of the rig's topology, or the rig's process ID; optional if only one rig runs
    rig: Option<String>,
    /// Print the changes without carrying them out
    #[arg(long)]
    dry_run: bool,
}

// Options of commands that change a topology a little. No doc comment: clap would show it as that of the command.
#[derive(Debug, Args)]
struct ChangeArgs {
    /// Name of the rig's topology, or the rig's process ID; optional if only one rig runs
    #[arg(long)]
    rig: Option<String>,
    /// Print the changes without carrying them out
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    /// The kind of a processor, or the driver of a camera, and the name of the new actor
    #[arg(value_name = "KIND.NAME")]
    actor: String,
    /// Keys and options of the actor, such as queue=4 or file=x.mcap
    #[arg(value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// The actors that a processor reads; without any, a camera is added
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    inputs: Vec<String>,
    /// The process of the actor
    #[arg(long)]
    process: Option<String>,
    /// The host of the actor, a table of the topology; that where the rig was started by default
    #[arg(long)]
    host: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
pub(super) struct RemoveArgs {
    /// The actors
    #[arg(required = true)]
    actors: Vec<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
pub(super) struct MoveArgs {
    /// The actors
    #[arg(required = true)]
    actors: Vec<String>,
    /// The process that hosts them from now on; `main` is the supervisor's
    #[arg(long, required_unless_present = "host")]
    process: Option<String>,
    /// The host that runs them from now on, a table of the topology; `main` is the one where the rig was started
    #[arg(long)]
    host: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
pub(super) struct RestartArgs {
    /// The actors
    #[arg(required = true)]
    actors: Vec<String>,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
pub(super) struct SetArgs {
    /// The actor
    actor: String,
    /// Options or keys of the actor, such as seed=2 or queue=4; options of a camera's device also as `camrig get` names them
    #[arg(value_name = "KEY=VALUE", required = true)]
    settings: Vec<String>,
    /// Refuse options that the device cannot set while it runs, instead of restarting
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Debug, Args)]
pub(super) struct PauseArgs {
    /// The cameras
    #[arg(required = true)]
    cameras: Vec<String>,
    /// Name of the rig's topology, or the rig's process ID; optional if only one rig runs
    #[arg(long)]
    rig: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// The camera
    camera: String,
    /// Name of the rig's topology, or the rig's process ID; optional if only one rig runs
    #[arg(long)]
    rig: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct OptionsArgs {
    /// The camera
    camera: String,
    /// Write all options of its device into this file, which the vendor's programs load, such as realsense-viewer
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Load the options from such a file
    #[arg(long, value_name = "FILE", conflicts_with = "save", required_unless_present = "save")]
    load: Option<PathBuf>,
    /// Name of the rig's topology, or the rig's process ID; optional if only one rig runs
    #[arg(long)]
    rig: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct SaveArgs {
    /// The file; one that exists keeps its comments and its order
    file: PathBuf,
    /// Name of the rig's topology, or the rig's process ID; optional if only one rig runs
    rig: Option<String>,
}

/// Prints the topology of a running rig.
pub(super) fn topology(args: &TopologyOfArgs) -> ExitCode {
    running(args.rig.as_deref()).and_then(|(_, _, text)| print(&text)).err().unwrap_or(ExitCode::SUCCESS)
}

/// Writes the topology of a running rig into a file.
pub(super) fn save(args: &SaveArgs) -> ExitCode {
    let text = match running(args.rig.as_deref()) {
        Ok((_, _, text)) => text,
        Err(code) => return code,
    };
    // Comments that were added to the file since the start of the rig are kept.
    let before = args.file.is_file().then(|| read_topology(&args.file).ok()).flatten();
    let text = before.map_or_else(|| text.clone(), |before| merged(&before, &text));
    match files::write(&args.file, |file| file.write_all(text.as_bytes())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print_error(format_args!("`{}` cannot be written: {error}", args.file.display()));
            ExitCode::from(code::CANT_CREATE)
        }
    }
}

/// Applies a file to a running rig.
pub(super) fn apply(args: &ApplyArgs) -> ExitCode {
    let name = args.file.display().to_string();
    let text = match read_topology(&args.file) {
        Ok(text) => text,
        Err(fact) => {
            print_error(format_args!("topology `{name}` {fact}"));
            return ExitCode::from(code::CONFIG);
        }
    };
    let rig = match select(args.rig.as_deref()) {
        Ok(rig) => rig,
        Err(code) => return code,
    };
    let apply = Apply {
        name,
        text,
        restarts: Vec::new(),
        base: None,
        live: false,
        dry_run: args.dry_run,
        by: by("apply"),
    };
    request(&rig, &Request::Apply(apply), args.dry_run)
}

/// Adds an actor to a running rig.
pub(super) fn add(args: &AddArgs) -> ExitCode {
    let Some((kind, name)) = args.actor.split_once('.') else {
        print_error(format_args!("`{}` is not KIND.NAME, such as `record.inspection`", args.actor));
        return ExitCode::from(code::USAGE);
    };
    let mut settings = match parse_settings(&args.settings) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    settings.splice(0..0, place(args.process.as_ref(), args.host.as_ref()));
    let (name, kind, inputs) = (name.to_owned(), kind.to_owned(), args.inputs.clone());
    change("add", &args.change, vec![Edit::Add { name, kind, inputs, settings }], &[])
}

/// Removes actors of a running rig.
pub(super) fn remove(args: &RemoveArgs) -> ExitCode {
    let edits = args.actors.iter().map(|name| Edit::Remove { name: name.clone() }).collect();
    change("remove", &args.change, edits, &[])
}

/// Moves actors of a running rig to another process.
pub(super) fn move_actors(args: &MoveArgs) -> ExitCode {
    let settings = place(args.process.as_ref(), args.host.as_ref());
    let edit = |name: &String| Edit::Set { name: name.clone(), settings: settings.clone() };
    change("move", &args.change, args.actors.iter().map(edit).collect(), &[])
}

/// Returns the keys that place an actor.
fn place(process: Option<&String>, host: Option<&String>) -> Vec<(String, String)> {
    let keys = [("process", process), ("host", host)];
    keys.into_iter().filter_map(|(key, value)| Some((key.to_owned(), quoted(value?)))).collect()
}

/// Restarts actors of a running rig.
pub(super) fn restart(args: &RestartArgs) -> ExitCode {
    change("restart", &args.change, Vec::new(), &args.actors)
}

/// Lists the options of a camera's device that can be read while it runs.
pub(super) fn get(args: &GetArgs) -> ExitCode {
    let controls = select(args.rig.as_deref()).and_then(|rig| controls(&rig, &args.camera));
    match controls {
        Ok(controls) if args.json => code_of(print_json(&controls)),
        Ok(controls) if controls.is_empty() => code_of(print(&format!(
            "camera `{}` has no options that can be read while it runs\n",
            args.camera
        ))),
        Ok(controls) => code_of(print(&table(controls.iter().map(row)))),
        Err(code) => code,
    }
}

fn row(control: &Control) -> [String; 6] {
    let note = match (control.read_only, control.live) {
        (true, _) => "read-only",
        (false, true) => "",
        (false, false) => "at the next start",
    };
    let is_file = control.range == ControlRange::File;
    let default = if is_file { String::new() } else { format!("default {}", control.default) };
    let range = control.range.to_string();
    [control.name.clone(), value_of(control), range, default, note.to_owned(), control.description.clone()]
}

/// Returns the present value of a control with its unit.
fn value_of(control: &Control) -> String {
    let value = control.value.as_ref().map_or_else(|| "unknown".to_owned(), ToString::to_string);
    if control.unit.is_empty() { value } else { format!("{value} {}", control.unit) }
}

/// Returns the options of a camera's device. An error was printed.
fn controls(rig: &str, camera: &str) -> Result<Vec<Control>, ExitCode> {
    match control::ask(rig, &Request::Controls { camera: camera.to_owned(), to_set: false }) {
        Ok(Answer::Controls(Ok(controls))) => Ok(controls),
        Ok(Answer::Controls(Err(message))) => {
            print_error(message);
            Err(ExitCode::from(code::CONFIG))
        }
        Ok(answer) => Err(refused(answer)),
        Err(error) => Err(unanswered(&error)),
    }
}

/// Changes options of an actor of a running rig.
pub(super) fn set(args: &SetArgs) -> ExitCode {
    let settings = match parse_settings(&args.settings) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let rig = match select(args.change.rig.as_deref()) {
        Ok(rig) => rig,
        Err(code) => return code,
    };
    let edits = vec![Edit::Set { name: args.actor.clone(), settings }];
    let (live, dry_run) = (args.live, args.change.dry_run);
    let edits = Edits { edits, restarts: Vec::new(), live, dry_run, by: by("set") };
    request(&rig, &Request::Edit(edits), dry_run)
}

/// Stops the streams of cameras, or starts them again.
pub(super) fn pause(args: &PauseArgs, paused: bool) -> ExitCode {
    let by = by(if paused { "pause" } else { "resume" });
    match select(args.rig.as_deref()) {
        Ok(rig) => request(&rig, &Request::Pause { cameras: args.cameras.clone(), paused, by }, false),
        Err(code) => code,
    }
}

/// Saves the options of a camera's device into a file, or loads them from one.
pub(super) fn options(args: &OptionsArgs) -> ExitCode {
    let rig = match select(args.rig.as_deref()) {
        Ok(rig) => rig,
        Err(code) => return code,
    };
    let absolute = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        path.display().to_string()
    };
    let camera = args.camera.clone();
    if let Some(file) = &args.save {
        let file = absolute(file);
        let request = Request::Preset { camera, file: file.clone() };
        return match control::ask(&rig, &request) {
            Ok(Answer::Changes(_)) => {
                code_of(print(&format!("options of camera `{}` are in `{file}`\n", args.camera)))
            }
            Ok(answer) => refused(answer),
            Err(error) => unanswered(&error),
        };
    }
    let file = args.load.as_deref().map(absolute).unwrap_or_default();
    let settings = vec![(PRESET.to_owned(), quoted(&file))];
    let edits = vec![Edit::Set { name: camera, settings }];
    let edits = Edits { edits, live: true, by: by("options"), ..Edits::default() };
    request(&rig, &Request::Edit(edits), false)
}

/// Changes the topology that runs, and applies it.
fn change(command: &str, args: &ChangeArgs, edits: Vec<Edit>, restarts: &[String]) -> ExitCode {
    match select(args.rig.as_deref()) {
        Ok(rig) => edit_rig(&rig, command, args.dry_run, edits, restarts),
        Err(code) => code,
    }
}

/// Changes the topology of the rig with this socket.
fn edit_rig(rig: &str, command: &str, dry_run: bool, edits: Vec<Edit>, restarts: &[String]) -> ExitCode {
    let (restarts, by) = (restarts.to_vec(), by(command));
    request(rig, &Request::Edit(Edits { edits, restarts, live: false, dry_run, by }), dry_run)
}

/// Sends a request, and prints its answer.
fn request(rig: &str, request: &Request, dry_run: bool) -> ExitCode {
    match control::ask(rig, request) {
        Ok(answer) => print_answer(answer, dry_run),
        Err(error) => unanswered(&error),
    }
}

pub(super) fn print_answer(answer: Answer, dry_run: bool) -> ExitCode {
    match answer {
        Answer::Changes(changes) if changes.is_empty() => code_of(print("nothing changes\n")),
        Answer::Changes(changes) => {
            let end = if dry_run { "nothing was changed: this was a dry run\n" } else { "" };
            code_of(print(&format!("{}\n{end}", changes.join("\n"))))
        }
        answer => refused(answer),
    }
}

fn refused(answer: Answer) -> ExitCode {
    match answer {
        Answer::Refused { message, unavailable } => {
            // Problems of a topology begin with `error: `.
            print_error(message.strip_prefix("error: ").unwrap_or(&message));
            ExitCode::from(if unavailable { code::UNAVAILABLE } else { code::CONFIG })
        }
        Answer::Failed { message } => {
            print_error(message);
            ExitCode::from(code::SOFTWARE)
        }
        Answer::Topology { .. } | Answer::Changes(_) | Answer::Controls(_) => {
            print_error("the rig has answered another request");
            ExitCode::from(code::SOFTWARE)
        }
    }
}

pub(super) fn unanswered(error: &std::io::Error) -> ExitCode {
    print_error(format_args!("the rig cannot be asked: {error}"));
    ExitCode::from(code::UNAVAILABLE)
}

/// Returns the socket of a running rig, and the name and the text of its topology.
fn running(wanted: Option<&str>) -> Result<(String, String, String), ExitCode> {
    let rig = select(wanted)?;
    let (name, text) = topology_of(&rig)?;
    Ok((rig, name, text))
}

/// Returns the name and the text of the topology of the rig with this socket.
pub(super) fn topology_of(rig: &str) -> Result<(String, String), ExitCode> {
    match control::ask(rig, &Request::Topology) {
        Ok(Answer::Topology { name, text }) => Ok((name, text)),
        Ok(answer) => Err(refused(answer)),
        Err(error) => Err(unanswered(&error)),
    }
}

/// Splits `key=value`.
pub(super) fn parse_settings(settings: &[String]) -> Result<Vec<(String, String)>, ExitCode> {
    let split = |setting: &String| {
        setting.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())).ok_or_else(|| {
            print_error(format_args!("`{setting}` is not KEY=VALUE, such as `exposure=8500`"));
            ExitCode::from(code::USAGE)
        })
    };
    settings.iter().map(split).collect()
}

/// Returns a string as a file has it.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

pub(super) fn by(command: &str) -> String {
    format!("`camrig {command}` (process {})", std::process::id())
}

/// Returns the status socket of the running rig that is called `wanted`, or of the only one. If there is none, prints the
/// reason.
pub(super) fn select(wanted: Option<&str>) -> Result<String, ExitCode> {
    socket::find(wanted).map_err(|error| {
        print_error(format_args!("{error}"));
        ExitCode::from(match error {
            FindError::Unlisted(_) => code::SOFTWARE,
            FindError::Several(_) => code::USAGE,
            FindError::Nothing(_) | FindError::Silent(_) => code::UNAVAILABLE,
        })
    })
}
