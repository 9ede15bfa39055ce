//! The program that synchronises the system's clock.

use crate::finding::{Finding, State};
use crate::root::Root;

const TOPIC: &str = "time";

/// Programs that synchronise the system's clock, the most exact first. Names of processes are cut after 15 letters.
const KEEPERS: [&str; 6] = ["phc2sys", "ptp4l", "chronyd", "ntpd", "systemd-timesyn", "openntpd"];

/// Returns the program that synchronises the system's clock, by the name of its process.
pub(crate) fn synchronizer(root: &Root) -> Option<&'static str> {
    root.running(&KEEPERS)
}

pub(crate) fn examine(root: &Root) -> Finding {
    let clocks = root.names("sys/class/ptp").len();
    let ptp = match clocks {
        0 => String::new(),
        1 => "; 1 PTP clock".to_owned(),
        count => format!("; {count} PTP clocks"),
    };
    let Some(keeper) = synchronizer(root) else {
        return Finding::new(TOPIC, State::Note, format!("no program synchronises the system's clock{ptp}"))
            .advise("only rigs on several machines, and recordings that are compared with others, need one: chrony, or PTP");
    };
    if keeper == "systemd-timesyn" {
        let synchronized = root.exists("run/systemd/timesync/synchronized");
        let (state, word) = if synchronized {
            (State::Ok, "and has synchronised it")
        } else {
            (State::Note, "and has not synchronised it yet")
        };
        return Finding::new(
            TOPIC,
            state,
            format!("systemd-timesyncd synchronises the system's clock, {word}{ptp}"),
        );
    }
    Finding::new(TOPIC, State::Ok, format!("{keeper} synchronises the system's clock{ptp}"))
}
