//! The status line: one line on a terminal, redrawn while a rig runs. Elsewhere nothing is written.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::logging;
use crate::wiring::Rig;

/// How often the line is redrawn.
const INTERVAL: Duration = Duration::from_millis(500);

/// A line that says how a rig is doing.
pub(crate) struct StatusLine {
    shown: bool,
    topology: String,
    last: Option<(Instant, u64)>,
}

impl StatusLine {
    /// A line on stderr, if that is a terminal.
    pub(crate) fn new(topology: &str) -> Self {
        let shown = std::io::stderr().is_terminal();
        logging::set_status_line(shown);
        Self { shown, topology: topology.to_owned(), last: None }
    }

    /// Redraws the line when it is time to.
    pub(crate) fn show(&mut self, going: Option<Duration>, rig: &Rig) {
        let now = Instant::now();
        if !self.shown || self.last.is_some_and(|(at, _)| now - at < INTERVAL) {
            return;
        }
        let counts: Vec<_> = rig.links.iter().map(|link| link.ledger.counts()).collect();
        let delivered: u64 = counts.iter().map(|counts| counts.delivered).sum();
        let dropped: u64 = counts.iter().flat_map(|counts| counts.dropped).sum();
        let p99_micros = rig.links.iter().map(|link| link.ledger.latency().p99).max().unwrap_or(0);
        let line = match (going, self.last) {
            (Some(going), Some((at, before))) => {
                let rate = (delivered - before) as f64 / (now - at).as_secs_f64();
                format!(
                    "{} {:4} s  {rate:7.1} framesets/s delivered  {dropped} dropped  latency p99 {:.1} ms",
                    self.topology,
                    going.as_secs(),
                    p99_micros as f64 / 1000.0,
                )
            }
            (Some(_), None) => return self.last = Some((now, delivered)),
            (None, _) => format!("{} starting", self.topology),
        };
        self.last = Some((now, delivered));
        // Back to the start, so that what processors print goes over it. A terminal that is gone ends the rig by
        // SIGHUP; nothing to do about it here.
        let _ = write!(std::io::stderr(), "\r\x1b[K{line}\r");
    }

    /// Takes the line away.
    pub(crate) fn clear(&mut self) {
        if self.shown {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
            logging::set_status_line(false);
            self.shown = false;
        }
    }
}
