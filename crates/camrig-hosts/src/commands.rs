//! The commands `camrig join` and `camrig route`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use camrig::Registry;
use camrig::console::{print, print_error};
use camrig::files;
use camrig::hosts::{FIRST, HOST_NAME_BYTES_MAX, is_host_name};
use clap::{Args, FromArgMatches};

use crate::agent::{self, AgentOptions};
use crate::session::{self, SessionOptions};
use crate::{identity, router};

/// Run the agent of this host, which runs its part of rigs over several hosts
#[derive(Debug, Args)]
pub(crate) struct JoinArgs {
    /// Where to listen, such as tls/0.0.0.0:7447
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// Connect to a router instead, such as quic/10.0.0.20:7447, which `route` starts
    #[arg(long, value_name = "ADDRESS", conflicts_with = "listen", requires = "name")]
    connect: Vec<String>,
    /// The name of this host at the router, the same as in topologies
    #[arg(long, value_name = "NAME", requires = "connect")]
    name: Option<String>,
    /// Accept requests of the first host, or framesets for the agent, with this fingerprint; or that of the router
    #[arg(long, value_name = "FINGERPRINT")]
    peer: Vec<String>,
    /// The file of the identity of this host
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Make an identity, print its fingerprint, and run nothing
    #[arg(long)]
    new_identity: bool,
    /// Listen without encryption on addresses that other machines reach
    #[arg(long)]
    insecure: bool,
    /// Time for which a first host may be disconnected before its part stops
    #[arg(long, value_name = "SECONDS", default_value_t = PATIENCE_SECONDS)]
    patience: u64,
    /// Write a systemd unit that runs this agent, and run nothing
    #[arg(long)]
    install: bool,
}

/// Default time for which a first host may be disconnected: a cable that is cut for half a minute causes no restart.
const PATIENCE_SECONDS: u64 = 40;

/// Maximum of that time, in seconds: an hour.
const PATIENCE_SECONDS_MAX: u64 = 3600;

/// The path of the unit.
const UNIT: &str = "/etc/systemd/system/camrig-agent.service";

/// `EX_USAGE`, `EX_UNAVAILABLE` and `EX_CANTCREAT` of sysexits.h.
const USAGE: u8 = 64;
const UNAVAILABLE: u8 = 69;
const CANT_CREATE: u8 = 73;

pub(crate) fn command() -> clap::Command {
    JoinArgs::augment_args(clap::Command::new("join"))
}

pub(crate) fn run(matches: &clap::ArgMatches, registry: &Registry) -> ExitCode {
    match JoinArgs::from_arg_matches(matches) {
        Ok(args) => join(args, registry),
        Err(error) => refused(USAGE, &error.to_string()),
    }
}

fn join(args: JoinArgs, registry: &Registry) -> ExitCode {
    let identity = args.identity.clone().unwrap_or_else(identity::default_file);
    if args.new_identity {
        return match identity::create(&identity) {
            Ok(fingerprint) => print(&fingerprint.to_string()).err().unwrap_or(ExitCode::SUCCESS),
            Err(error) => refused(CANT_CREATE, &error.to_string()),
        };
    }
    if args.listen.is_empty() && args.connect.is_empty() {
        return refused(USAGE, "an agent needs an address, such as `--listen tls/0.0.0.0:7447`");
    }
    if let Some(name) = args.name.as_deref().filter(|name| !is_host_name(name)) {
        let fact = format!(
            "`{name}` cannot be the name of a host: expected 1 to {HOST_NAME_BYTES_MAX} of `a-z`, `A-Z`, `0-9`, `_` and `-`, a \
             letter or digit first, and not `{FIRST}`"
        );
        return refused(USAGE, &fact);
    }
    if args.patience > PATIENCE_SECONDS_MAX {
        return refused(USAGE, &format!("`--patience` is at most {PATIENCE_SECONDS_MAX} seconds"));
    }
    if args.install {
        return install(&args, &identity);
    }
    let options = AgentOptions {
        listen: args.listen,
        connect: args.connect,
        name: args.name,
        identity,
        peers: args.peer,
        insecure: args.insecure,
        patience: Duration::from_secs(args.patience),
    };
    match agent::run(&options, registry) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fact) => refused(UNAVAILABLE, &fact),
    }
}

/// Writes the unit, and prints the commands that start it.
fn install(args: &JoinArgs, identity: &Path) -> ExitCode {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return refused(CANT_CREATE, &format!("the program is not known: {error}")),
    };
    let identity = match checked_identity(args, identity) {
        Ok(identity) => identity,
        Err(fact) => return refused(UNAVAILABLE, &fact),
    };
    let unit = agent::unit(&program, &arguments(args, &identity));
    let written = files::write(Path::new(UNIT), |file| std::io::Write::write_all(file, unit.as_bytes()));
    match written {
        Ok(()) => print(&format!("wrote {UNIT}; `systemctl enable --now camrig-agent` starts it"))
            .err()
            .unwrap_or(ExitCode::SUCCESS),
        Err(error) => refused(CANT_CREATE, &format!("`{UNIT}` cannot be written: {error}")),
    }
}

/// Returns the absolute path of the identity, since the unit starts in another folder.
///
/// # Errors
/// A line that says why an agent with these arguments would not start.
fn checked_identity(args: &JoinArgs, identity: &Path) -> Result<PathBuf, String> {
    let identity =
        std::path::absolute(identity).map_err(|error| format!("`{}`: {error}", identity.display()))?;
    let options = SessionOptions {
        listen: args.listen.clone(),
        connect: args.connect.clone(),
        router: args.name.is_some(),
        insecure: args.insecure,
        identity: Some(identity.clone()),
        peers: args.peer.clone(),
    };
    session::config(&options).map_err(|error| error.to_string())?;
    Ok(identity)
}

/// Returns the arguments of the same agent.
fn arguments(args: &JoinArgs, identity: &Path) -> Vec<String> {
    let mut words = vec!["join".to_owned(), "--identity".to_owned(), identity.display().to_string()];
    let names = args.name.iter().cloned().collect();
    let options = [
        ("--listen", &args.listen),
        ("--connect", &args.connect),
        ("--name", &names),
        ("--peer", &args.peer),
    ];
    for (name, values) in options {
        words.extend(values.iter().flat_map(|value| [name.to_owned(), value.clone()]));
    }
    if args.insecure {
        words.push("--insecure".to_owned());
    }
    words.extend(["--patience".to_owned(), args.patience.to_string()]);
    words
}

/// Run a router, which forwards between hosts that cannot reach each other
#[derive(Debug, Args)]
pub(crate) struct RouteArgs {
    /// Where to listen, such as quic/0.0.0.0:7447
    #[arg(long, value_name = "ADDRESS", required = true)]
    listen: Vec<String>,
    /// Connect to the router of another site, such as quic/203.0.113.7:7447
    #[arg(long, value_name = "ADDRESS")]
    connect: Vec<String>,
    /// Accept the host or router with this fingerprint: each may send requests to every agent that is connected
    #[arg(long, value_name = "FINGERPRINT")]
    peer: Vec<String>,
    /// The file of the identity of this host
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Listen without encryption on addresses that other machines reach
    #[arg(long)]
    insecure: bool,
}

pub(crate) fn route_command() -> clap::Command {
    RouteArgs::augment_args(clap::Command::new("route"))
}

pub(crate) fn route(matches: &clap::ArgMatches) -> ExitCode {
    let args = match RouteArgs::from_arg_matches(matches) {
        Ok(args) => args,
        Err(error) => return refused(USAGE, &error.to_string()),
    };
    let options = SessionOptions {
        listen: args.listen,
        connect: args.connect,
        identity: Some(args.identity.unwrap_or_else(identity::default_file)),
        peers: args.peer,
        insecure: args.insecure,
        router: true,
    };
    match router::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fact) => refused(UNAVAILABLE, &fact),
    }
}

fn refused(code: u8, fact: &str) -> ExitCode {
    print_error(fact);
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installed_agent_has_the_same_arguments() {
        let words = ["join", "--listen", "tls/[::]:7447", "--peer", "a", "--peer", "b", "--patience", "5"];
        let args = JoinArgs::from_arg_matches(&command().try_get_matches_from(words).unwrap()).unwrap();
        let arguments = arguments(&args, Path::new("/id.pem"));
        assert_eq!(
            arguments,
            [
                "join",
                "--identity",
                "/id.pem",
                "--listen",
                "tls/[::]:7447",
                "--peer",
                "a",
                "--peer",
                "b",
                "--patience",
                "5"
            ]
        );
        assert!(command().try_get_matches_from(&arguments).is_ok());
        let words = ["join", "--connect", "quic/a:1", "--name", "arm", "--peer", "a", "--patience", "40"];
        let args = JoinArgs::from_arg_matches(&command().try_get_matches_from(words).unwrap()).unwrap();
        let arguments = super::arguments(&args, Path::new("/id.pem"));
        assert_eq!(arguments[3..], words[1..]);
    }

    #[test]
    fn an_agent_that_would_not_start_is_not_installed() {
        let folder = tempfile::tempdir().unwrap();
        let identity = folder.path().join("id.pem");
        let fingerprint = identity::create(&identity).unwrap().to_string();
        let checked = |peer: &str, identity: &Path| {
            let words = ["join", "--listen", "tls/0.0.0.0:7447", "--peer", peer];
            let args = JoinArgs::from_arg_matches(&command().try_get_matches_from(words).unwrap()).unwrap();
            checked_identity(&args, identity)
        };
        assert_eq!(checked(&fingerprint, &identity), Ok(identity.clone()));
        let missing = checked(&fingerprint, Path::new("missing.pem")).unwrap_err();
        let absolute = std::env::current_dir().unwrap().join("missing.pem");
        assert!(missing.contains(&absolute.display().to_string()), "{missing}");
        let wrong = checked("nonsense", &identity).unwrap_err();
        assert!(wrong.contains("nonsense"), "{wrong}");
    }

    #[test]
    fn a_host_has_the_same_name_at_a_router_as_in_a_topology() {
        assert!(["arm", "0", "Arm_2-b"].into_iter().all(is_host_name));
        assert!(
            !["", "main", "-arm", "a.b", "a/b", "a*", "ä", &"a".repeat(65)].into_iter().any(is_host_name)
        );
    }
}
