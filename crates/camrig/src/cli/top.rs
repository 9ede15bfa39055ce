//! `camrig top`: selects a running rig and shows its status on the terminal.

use std::io;
use std::process::ExitCode;

use camrig_status::control::{self, Answer, Attach, AttachedConnection, Request};
use camrig_status::{LinkStatus, RigStatus, socket};
use clap::Args;

use super::{code, code_of, live, print_json, table};
use crate::console::{print, print_error, print_stderr};

#[derive(Debug, Args)]
pub(super) struct TopArgs {
    /// Name of the rig's topology, or the rig's process ID; optional if only one rig runs
    rig: Option<String>,
    /// Print the status once, as lines
    #[arg(long)]
    once: bool,
    /// Print the status once, as JSON
    #[arg(long)]
    json: bool,
}

/// Shows the selected rig.
pub(super) fn run(args: &TopArgs) -> ExitCode {
    let name = match live::select(args.rig.as_deref()) {
        Ok(name) => name,
        Err(code) => return code,
    };
    if args.once || args.json {
        return match socket::read(&name) {
            Ok(status) if args.json => code_of(print_json(&status)),
            Ok(status) => code_of(print(&describe(&status))),
            Err(error) => {
                print_error(format_args!("the rig cannot be asked: {error}"));
                ExitCode::from(code::UNAVAILABLE)
            }
        };
    }
    match camrig_top::show(&Asked(name)) {
        Ok(camrig_top::Ended::Quit) => ExitCode::SUCCESS,
        Ok(camrig_top::Ended::Rig) => {
            print_stderr("the rig has ended");
            ExitCode::SUCCESS
        }
        Err(error) => {
            print_error(format_args!("`top` needs a terminal: {error}"));
            ExitCode::from(code::SOFTWARE)
        }
    }
}

/// The rig whose status socket has this name.
#[derive(Clone)]
struct Asked(String);

impl camrig_top::ShownRig for Asked {
    fn read(&self) -> io::Result<RigStatus> {
        socket::read(&self.0)
    }

    fn ask(&self, request: &Request) -> io::Result<Answer> {
        control::ask(&self.0, request)
    }

    fn attach(&self, attach: Attach) -> io::Result<(Answer, Option<AttachedConnection>)> {
        control::attach(&self.0, attach)
    }
}

/// Returns the status as two tables: actors and links.
fn describe(status: &RigStatus) -> String {
    let words = |words: [&str; 8]| words.map(str::to_owned);
    let head = words(["ACTOR", "PROCESS", "STATE", "HZ", "PRODUCED", "LOST", "RESTARTS", "ERROR"]);
    let actors = status.actors.iter().map(|actor| {
        let state = serde_json::to_value(actor.state).unwrap_or_default();
        [
            actor.name.clone(),
            actor.process.clone(),
            state.as_str().unwrap_or_default().to_owned(),
            format!("{:.1}", actor.rate_hz),
            actor.produced.to_string(),
            actor.lost.to_string(),
            actor.restarts.to_string(),
            actor.error.clone(),
        ]
    });
    let actors = table([head].into_iter().chain(actors));
    let head = words(["FROM", "TO", "HZ", "DELIVERED", "DROPPED", "IN FLIGHT", "P50 MS", "P99 MS"]);
    let millis = |micros: u64| format!("{:.1}", micros as f64 / 1e3);
    let links = status.links.iter().map(|link: &LinkStatus| {
        [
            link.from.clone(),
            link.to.clone(),
            format!("{:.1}", link.rate_hz),
            link.delivered.to_string(),
            link.dropped_sum().to_string(),
            link.in_flight.to_string(),
            millis(link.latency_us.p50),
            millis(link.latency_us.p99),
        ]
    });
    let links = table([head].into_iter().chain(links));
    format!("{}: {:.0} s\n\n{actors}\n{links}", status.topology, status.seconds)
}
