//! Progress output of a run: a table on a terminal, otherwise one line per minute.

use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use camrig_status::{ActorState, RigStatus};
use camrig_top::Footer;
use signal_hook::consts::{SIGCONT, SIGQUIT, SIGTSTP};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::signals::is_ignored;
use crate::console::print_stderr;
use crate::threads;

/// Interval between updates of the table.
const TABLE_INTERVAL: Duration = Duration::from_millis(500);

/// Interval between status lines.
const LINE_INTERVAL: Duration = Duration::from_secs(60);

/// Writes the state of a rig to stderr.
pub(crate) struct ProgressDisplay {
    /// `None` if stderr is not a terminal. The thread that handles Ctrl-Z has it too.
    table: Option<Arc<Mutex<Footer>>>,
    /// Time of the next output.
    due: Instant,
}

impl ProgressDisplay {
    /// Begins with a table where stderr is a terminal.
    ///
    /// # Errors
    /// If the signals of job control cannot be received.
    pub(crate) fn new() -> io::Result<Self> {
        let table = io::stderr().is_terminal().then(Arc::<Mutex<Footer>>::default);
        if let Some(table) = &table {
            remove_for_shell(Arc::clone(table))?;
        }
        let first = if table.is_some() { Duration::ZERO } else { LINE_INTERVAL };
        Ok(Self { table, due: Instant::now() + first })
    }

    /// Returns the time until the next output is due.
    pub(crate) fn due_in(&self) -> Duration {
        self.due.saturating_duration_since(Instant::now())
    }

    pub(crate) fn show(&mut self, status: &RigStatus) {
        let interval = if let Some(table) = &self.table {
            locked(table).draw(status);
            TABLE_INTERVAL
        } else {
            print_stderr(line(status));
            LINE_INTERVAL
        };
        self.due = Instant::now() + interval;
    }

    /// Removes the table from the terminal.
    pub(crate) fn end(&self) {
        self.table.iter().for_each(|table| locked(table).clear());
    }
}

fn locked(table: &Mutex<Footer>) -> MutexGuard<'_, Footer> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes the table while Ctrl-Z stops the run, and before Ctrl-\ ends it, so that the shell gets a clean terminal, on a
/// thread that lasts as long as the program. After any stop the table is drawn again.
fn remove_for_shell(table: Arc<Mutex<Footer>>) -> io::Result<()> {
    let own = [SIGTSTP, SIGQUIT].into_iter().filter(|signal| !is_ignored(*signal));
    let mut signals = Signals::new([SIGCONT].into_iter().chain(own))?;
    threads::spawn("job", move || {
        for signal in signals.forever() {
            let mut table = locked(&table);
            if signal != SIGCONT {
                table.clear();
                // Stops this process while the table is locked, and returns when it continues; or ends it.
                if let Err(error) = emulate_default_handler(signal) {
                    log::warn!("the run cannot be stopped by signal {signal}: {error}");
                }
            }
            table.renew();
        }
    })
}

fn line(status: &RigStatus) -> String {
    let rate_hz: f64 = status.links.iter().map(|link| link.rate_hz).sum();
    let dropped: u64 = status.links.iter().map(camrig_status::LinkStatus::dropped_sum).sum();
    let p99_micros = status.links.iter().map(|link| link.latency_us.p99).max().unwrap_or(0);
    let unwell = status
        .actors
        .iter()
        .filter(|actor| !matches!(actor.state, ActorState::Running | ActorState::Finished));
    let unwell: Vec<_> = unwell.map(|actor| format!(", {} {}", actor.name, actor.state)).collect();
    format!(
        "{}: {:.0} s, {rate_hz:.1} framesets/s delivered, {dropped} dropped, latency p99 {:.1} ms{}",
        status.topology,
        status.seconds,
        p99_micros as f64 / 1000.0,
        unwell.concat(),
    )
}

#[cfg(test)]
mod tests {
    use camrig_status::{ActorStatus, DropReason, LatencyStatus, LinkStatus};

    use super::*;

    #[test]
    fn a_line_shows_the_totals_and_the_failing_actors() {
        let actor = |name: &str, state: ActorState| ActorStatus {
            name: name.to_owned(),
            state,
            ..ActorStatus::default()
        };
        let link = |rate_hz| LinkStatus {
            rate_hz,
            dropped: [(DropReason::NoSlot, 2), (DropReason::DropOldest, 1)].into(),
            latency_us: LatencyStatus { p99: 1234, ..LatencyStatus::default() },
            ..LinkStatus::default()
        };
        let status = RigStatus {
            topology: "rig.toml".to_owned(),
            seconds: 60.2,
            actors: vec![actor("left", ActorState::Running), actor("right", ActorState::WaitingForDevice)],
            links: vec![link(30.0), link(0.25)],
            ..RigStatus::default()
        };
        assert_eq!(
            line(&status),
            "rig.toml: 60 s, 30.2 framesets/s delivered, 6 dropped, latency p99 1.2 ms, \
             right waiting-for-device"
        );
    }
}
