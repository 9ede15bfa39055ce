//! Commands that add a processor to a running rig, and remove it when they end.

use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use camrig_status::control::{self, Answer, Attach};
use camrig_status::{ActorStatus, RigStatus, socket};
use clap::Args;

use super::live::{by, parse_settings, print_answer, quoted, select, topology_of, unanswered};
use super::{code, parse_time, signals};
use crate::console::{print, print_error, print_stderr};
use crate::hosts::FIRST;
use crate::registry::Registry;

/// Interval at which an attached processor is checked.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(super) struct AttachArgs {
    /// The kind of the processor, of the rig's program or of this one; before it the name of the rig's topology, or the
    /// rig's process ID, if several rigs run; behind it options and keys, such as file=x.mcap
    #[arg(value_name = "[RIG] KIND [KEY=VALUE]...", required = true, num_args = 1.., hide_possible_values = true)]
    words: Vec<String>,
    /// The actors that it reads
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', required = true)]
    inputs: Vec<String>,
    /// Remove it after this time, such as 10s or 5m
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    time: Option<Duration>,
    /// Name of the rig's topology, or the rig's process ID; optional if only one rig runs
    #[arg(long)]
    rig: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ViewArgs {
    /// The actors whose framesets are shown; without any, all cameras
    #[arg(value_name = "NAME")]
    inputs: Vec<String>,
    /// Address of the page; by default a free port of this machine
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Leave after this time, such as 10s or 5m
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    time: Option<Duration>,
    /// Name of the rig's topology, or the rig's process ID; optional if only one rig runs
    #[arg(long)]
    rig: Option<String>,
}

/// Adds a processor to a running rig in a process of its own, and removes it after a time, or at a signal.
pub(super) fn attach(args: &AttachArgs, registry: &Registry) -> ExitCode {
    let (rig, kind, settings) = match split_words(&args.words) {
        Some((rig, _, _)) if rig.is_some() && args.rig.is_some() => {
            print_error("the rig is named twice");
            return ExitCode::from(code::USAGE);
        }
        Some((rig, kind, settings)) => (rig.or(args.rig.as_deref()), kind.to_owned(), settings),
        None => {
            print_error("expected `[RIG] KIND [KEY=VALUE]...`, such as `record file=x.mcap`");
            return ExitCode::from(code::USAGE);
        }
    };
    let settings = match parse_settings(settings) {
        Ok(settings) => settings,
        Err(code) => return code,
    };
    let (rig, inputs, time) = (rig.map(str::to_owned), args.inputs.clone(), args.time);
    let is_own = registry.kind(&kind).is_some();
    Attachment { rig, kind, inputs, settings, time, is_own }.run(|| Ok(()))
}

/// Splits `[RIG] KIND [KEY=VALUE]...`.
fn split_words(words: &[String]) -> Option<(Option<&str>, &str, &[String])> {
    let named = words.iter().position(|word| word.contains('=')).unwrap_or(words.len());
    match words.split_at(named) {
        ([kind], settings) => Some((None, kind, settings)),
        ([rig, kind], settings) => Some((Some(rig), kind, settings)),
        _ => None,
    }
}

/// Shows cameras of a running rig in a web page.
pub(super) fn view(args: &ViewArgs, registry: &Registry) -> ExitCode {
    let listen = match args.listen.clone().map_or_else(free_address, Ok) {
        Ok(listen) => listen,
        Err(error) => {
            print_error(format_args!("there is no free port: {error}"));
            return ExitCode::from(code::UNAVAILABLE);
        }
    };
    let settings = vec![("listen".to_owned(), quoted(&listen))];
    let (rig, kind, inputs) = (args.rig.clone(), "view".to_owned(), args.inputs.clone());
    let is_own = registry.kind(&kind).is_some();
    let attached = Attachment { rig, kind, inputs, settings, time: args.time, is_own };
    attached.run(|| print(&format!("view: http://{listen}/\n")))
}

/// Returns an address of this machine with a port that nothing listens on at the moment.
fn free_address() -> std::io::Result<String> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.to_string())
}

/// A processor that joins a running rig for a while, in a process of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The name of the rig's topology, or the rig's process ID; optional if only one rig runs.
    pub rig: Option<String>,
    /// Its kind.
    pub kind: String,
    /// The actors that it reads; without any, all cameras.
    pub inputs: Vec<String>,
    /// Its keys and options, each with the text of its value.
    pub settings: Vec<(String, String)>,
    /// When it leaves; `None` to stay until a signal.
    pub time: Option<Duration>,
    /// Whether this program has the kind: it runs the processor then, if the rig's program has no such kind.
    pub is_own: bool,
}

impl Attachment {
    /// Adds the processor, and removes it after its time, or at a signal; prints the changes and errors. `begun` is called
    /// when it has joined. The rig removes it as well when this process ends in any other way.
    pub fn run(self, begun: impl FnOnce() -> Result<(), ExitCode>) -> ExitCode {
        let time = self.time;
        let signals = match signals::take() {
            Ok(signals) => signals,
            Err(error) => {
                print_error(format_args!("signals cannot be received: {error}"));
                return ExitCode::from(code::SOFTWARE);
            }
        };
        let (rig, attach) =
            match select(self.rig.as_deref()).and_then(|rig| Ok((rig.clone(), self.request(&rig)?))) {
                Ok(selected) => selected,
                Err(code) => return code,
            };
        let name = attach.name.clone();
        let (answer, attached) = match control::attach(&rig, attach) {
            Ok(answered) => answered,
            Err(error) => return unanswered(&error),
        };
        let printed = print_answer(answer, false);
        let Some(attached) = attached else { return printed };
        let until = time.map(|time| Instant::now() + time);
        let mut is_over = printed != ExitCode::SUCCESS || begun().is_err();
        while !is_over {
            let left = until.map_or(LOOK, |until| until.saturating_duration_since(Instant::now()).min(LOOK));
            let signal = signals.recv_timeout(left).is_ok();
            let Ok(status) = socket::read(&rig) else { return rig_has_ended() };
            let actor = status.actors.iter().find(|actor| actor.name == name);
            let has_ended = actor.is_none_or(|actor| actor.state.has_ended());
            is_over = signal || has_ended || until.is_some_and(|until| Instant::now() >= until);
        }
        match attached.leave() {
            // It was removed before.
            Ok(Answer::Changes(changes)) if changes.is_empty() => ExitCode::SUCCESS,
            Ok(answer) => print_answer(answer, false),
            Err(_) => rig_has_ended(),
        }
    }

    /// Returns the request to the rig with this socket. An error was printed.
    fn request(self, rig: &str) -> Result<Attach, ExitCode> {
        let Self { kind, mut inputs, settings, is_own, .. } = self;
        if inputs.is_empty() {
            let (_, topology) = topology_of(rig)?;
            inputs = socket::read(rig).map_or_else(|_| Vec::new(), |status| cameras_of(&topology, &status));
        }
        if inputs.is_empty() {
            print_error("the rig has no camera");
            return Err(ExitCode::from(code::UNAVAILABLE));
        }
        let name = format!("{kind}-{}", std::process::id());
        let this = std::env::current_exe().ok().filter(|_| is_own);
        let program = this.iter().filter_map(|program| program.to_str().map(str::to_owned)).collect();
        Ok(Attach { name, kind, inputs, settings, program, by: by("attach") })
    }
}

fn rig_has_ended() -> ExitCode {
    print_stderr("the rig has ended");
    ExitCode::SUCCESS
}

/// Returns the names of the cameras of a topology that have not ended, on whichever host they are. The status has more rows:
/// an actor of another host appears here as a camera too.
fn cameras_of(topology: &str, status: &RigStatus) -> Vec<String> {
    let table: toml::Table = topology.parse().unwrap_or_default();
    let cameras = table.get("camera").and_then(toml::Value::as_table).into_iter().flatten();
    let runs = |(name, camera): &(&String, &toml::Value)| {
        let host = camera.get("host").and_then(toml::Value::as_str).filter(|host| *host != FIRST);
        let row = host.map_or_else(|| (*name).clone(), |host| format!("{host}/{name}"));
        let has_ended = |actor: &ActorStatus| actor.name == row && actor.state.has_ended();
        !status.actors.iter().any(has_ended)
    };
    cameras.filter(runs).map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use camrig_status::{ActorRole, ActorState};

    use super::*;

    #[test]
    fn all_cameras_are_those_of_every_host_once() {
        let topology = "[camera.left]\ndriver = 'd'\nhost = 'arm'\n[camera.right]\ndriver = 'd'\nhost = 'main'\n\
                        [camera.over]\ndriver = 'd'\n[camera.gone]\ndriver = 'd'\nhost = 'arm'\n";
        let actor = |name: &str, state| ActorStatus {
            name: name.to_owned(),
            role: ActorRole::Camera,
            state,
            ..ActorStatus::default()
        };
        let status = RigStatus {
            actors: vec![
                actor("left", ActorState::Running),
                actor("mask", ActorState::Running),
                actor("right", ActorState::Running),
                actor("over", ActorState::Finished),
                actor("arm/left", ActorState::Running),
                actor("arm/gone", ActorState::Failed),
            ],
            ..RigStatus::default()
        };
        assert_eq!(cameras_of(topology, &status), ["left", "right"]);
    }
}
