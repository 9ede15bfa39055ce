//! Commands that add a processor to a running rig, and remove it when they end.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use camrig_status::control::{self, Answer, Attach};
use camrig_status::{ActorState, RigStatus, socket};
use clap::Args;

use super::live::{by, parse_settings, print_answer, quoted, select, unanswered};
use super::{code, parse_time, signals};
use crate::console::{print, print_error, print_stderr};
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
        // A time beyond the clock's range has no end.
        let until = time.and_then(|time| Instant::now().checked_add(time));
        let is_in_time = || time.is_some() && until.is_none_or(|until| Instant::now() < until);
        let (mut failure, mut too_early) = (None, false);
        let mut is_over = printed != ExitCode::SUCCESS || begun().is_err();
        while !is_over {
            let left = until.map_or(LOOK, |until| until.saturating_duration_since(Instant::now()).min(LOOK));
            let signal = signals.recv_timeout(left).is_ok();
            let has_ended = match socket::read(&rig) {
                Ok(status) => {
                    let actor = status.actors.iter().find(|actor| actor.name == name);
                    let failed = actor.filter(|actor| actor.state == ActorState::Failed);
                    failure = failed.map(|actor| actor.error.clone());
                    actor.is_none_or(|actor| actor.state.has_ended())
                }
                // One that is stopped or busy has not ended, and has the processor.
                Err(error) => error.kind() == ErrorKind::ConnectionRefused,
            };
            too_early = has_ended && !signal && is_in_time();
            is_over = signal || has_ended || time.is_some() && !is_in_time();
        }
        let printed = match attached.leave() {
            // It was removed before.
            Ok(Answer::Changes(changes)) if changes.is_empty() => ExitCode::SUCCESS,
            Ok(answer) => print_answer(answer, false),
            Err(error) if error.kind() == ErrorKind::TimedOut => unanswered(&error),
            Err(_) => {
                print_stderr("the rig has ended");
                ExitCode::SUCCESS
            }
        };
        if let Some(error) = failure {
            print_error(format_args!("processor `{name}` failed: {error}"));
            return ExitCode::from(code::SOFTWARE);
        }
        if too_early {
            print_error(format_args!("processor `{name}` has ended before the time of `--for` was over"));
            return ExitCode::from(code::UNAVAILABLE);
        }
        printed
    }

    /// Returns the request to the rig with this socket. An error was printed.
    fn request(self, rig: &str) -> Result<Attach, ExitCode> {
        let Self { kind, mut inputs, settings, is_own, .. } = self;
        if inputs.is_empty() {
            inputs = cameras_of(&socket::read(rig).map_err(|error| unanswered(&error))?);
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

/// Returns the names of the cameras that have not ended, on whichever host they are.
fn cameras_of(status: &RigStatus) -> Vec<String> {
    let cameras = status.cameras().filter(|camera| !camera.state.has_ended());
    cameras.map(|camera| camera.plain_name().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use camrig_status::{ActorRole, ActorState, ActorStatus, RELAY};

    use super::*;

    #[test]
    fn all_cameras_are_those_of_every_host_once() {
        let actor = |name: &str, kind: &str, role, state| ActorStatus {
            name: name.to_owned(),
            kind: kind.to_owned(),
            role,
            state,
            ..ActorStatus::default()
        };
        let camera = |name, state| actor(name, "synthetic", ActorRole::Camera, state);
        let relay = |name| actor(name, RELAY, ActorRole::Camera, ActorState::Running);
        let status = RigStatus {
            actors: vec![
                relay("left"),
                relay("mask"),
                camera("right", ActorState::Running),
                camera("over", ActorState::Finished),
                camera("arm/left", ActorState::Running),
                camera("arm/gone", ActorState::Failed),
                actor("arm/mask", "mask", ActorRole::Processor, ActorState::Running),
                relay("arm/right"),
            ],
            ..RigStatus::default()
        };
        assert_eq!(cameras_of(&status), ["right", "left"]);
        let origins: Vec<_> = status.actors.iter().map(|actor| status.origin(actor).name.as_str()).collect();
        let expected = ["arm/left", "arm/mask", "right", "over", "arm/left", "arm/gone", "arm/mask", "right"];
        assert_eq!(origins, expected);
    }
}
