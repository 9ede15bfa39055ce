//! Limits of this user: files, processes, real-time priority.

use crate::finding::{Finding, State};
use crate::root::Root;

const TOPIC: &str = "limits";

/// Descriptors of the supervisor without any actor.
const FILES_BASE: u64 = 64;

/// Descriptors that each actor may cost the supervisor: its process, its memory, its links.
const FILES_OF_ACTOR: u64 = 16;

/// Actors of a rig without a topology.
const ACTORS_TYPICAL: usize = 12;

pub(crate) fn examine(root: &Root, actors: Option<usize>) -> Vec<Finding> {
    let Some(text) = root.text("proc/self/limits") else {
        return vec![Finding::new(
            TOPIC,
            State::Note,
            "the limits are unknown: `/proc/self/limits` cannot be read",
        )];
    };
    let needed = FILES_BASE + FILES_OF_ACTOR * actors.unwrap_or(ACTORS_TYPICAL) as u64;
    let files = match soft(&text, "Max open files") {
        Some(files) if files < needed => Finding::new(
            TOPIC,
            State::Problem,
            format!("{files} files may be open in a process, and a rig needs up to {needed}"),
        )
        .advise(format!("`ulimit -n {}` before the rig starts", needed.next_power_of_two())),
        Some(u64::MAX) => Finding::new(TOPIC, State::Ok, "any number of files may be open in a process"),
        Some(files) => Finding::new(TOPIC, State::Ok, format!("{files} files may be open in a process")),
        None => Finding::new(TOPIC, State::Note, "the limit of open files is unknown"),
    };
    let priority = match soft(&text, "Max realtime priority") {
        Some(0) => {
            Finding::new(TOPIC, State::Note, "this user may not use real-time priority (`ulimit -r` is 0)")
        }
        Some(priority) => Finding::new(
            TOPIC,
            State::Ok,
            format!("this user may use real-time priority up to {}", priority.min(99)),
        ),
        None => Finding::new(TOPIC, State::Note, "the limit of real-time priority is unknown"),
    };
    vec![files, priority]
}

/// Returns the soft limit of a line such as `Max open files  1024  524288  files`; the largest number for `unlimited`.
fn soft(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    match rest.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}
