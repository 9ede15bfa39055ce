//! A run of a program: signals stop it, stderr shows its progress.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::progress::ProgressDisplay;
use super::watch::WatchedFile;
use super::{service, signals};
use crate::console::print_note;
use crate::hosts::RunningHosts;
use crate::report::Report;
use crate::rig::{Rig, RigHandle, RunningRig};
use crate::supervisor::Stage;
use crate::threads;

/// Maximum wait for a run that has nothing more to show.
const LONG: Duration = Duration::from_secs(3600);

/// Interval at which a rig that starts is checked.
const START_LOOK: Duration = Duration::from_millis(50);

/// Minimum time between two checks of the time that a rig has run.
const SHORT: Duration = Duration::from_millis(10);

/// Runs a rig, whose devices were found, to its end. Ctrl-C, SIGTERM and SIGHUP stop it in order, a second Ctrl-C immediately.
/// SIGHUP of a rig whose file is watched applies the file instead, unless its terminal was closed. A rig over several hosts has
/// its limit of time here: its cameras stop on all hosts.
///
/// # Errors
/// When it cannot be started; nothing is left running then.
pub(super) fn drive(
    rig: &Rig,
    watched: Option<WatchedFile>,
    others: Option<(Arc<dyn RunningHosts>, Option<Duration>)>,
) -> io::Result<Report> {
    let unreceived =
        |error: io::Error| io::Error::new(error.kind(), format!("signals cannot be received: {error}"));
    let signals = signals::take().map_err(unreceived)?;
    let running = rig.start_without_probe()?;
    if let Some(address) = running.metrics() {
        print_note(format_args!("metrics: http://{address}/metrics"));
    }
    let reload = watched.as_ref().map(WatchedFile::reload);
    if let Some((others, time)) = &others {
        let (own, all) = (running.handle(), Arc::downgrade(others));
        others.watch(Box::new(move || signals::stop(&own, all.upgrade().as_ref())));
        tell_start(running.handle(), Arc::clone(others))?;
        if let Some(time) = *time {
            stop_after(time, running.handle(), Arc::clone(others))?;
        }
    }
    let others = others.map(|(others, _)| others);
    signals::pass_on(signals, running.handle(), reload, others.clone())?;
    service::tell(running.handle())?;
    if let Some(watched) = watched {
        watched.watch(running.handle(), others)?;
    }
    show_progress(&running)?;
    Ok(running.wait())
}

/// Tells the other hosts, on a thread, when the rig no longer starts.
fn tell_start(rig: RigHandle, others: Arc<dyn RunningHosts>) -> io::Result<()> {
    threads::spawn("start", move || {
        while rig.status().is_starting() && !rig.wait_timeout(START_LOOK) {}
        others.has_started();
    })
}

/// Stops the rig with its parts on other hosts, on a thread, once it has run for a time.
fn stop_after(time: Duration, rig: RigHandle, others: Arc<dyn RunningHosts>) -> io::Result<()> {
    threads::spawn("limit", move || {
        loop {
            let left = time.saturating_sub(Duration::from_secs_f64(rig.status().seconds));
            if left.is_zero() {
                return signals::drain(&rig, &*others);
            }
            // At its start and while it is stopped by its terminal, a rig has no seconds.
            if rig.wait_timeout(left.max(SHORT)) {
                return;
            }
        }
    })
}

/// Shows how a run goes, until it is over.
fn show_progress(rig: &RunningRig) -> io::Result<()> {
    let mut progress = ProgressDisplay::new()?;
    let mut stage = Stage::Starting;
    while stage != Stage::Over {
        let runs = matches!(stage, Stage::Starting | Stage::Active);
        let before = stage;
        stage = rig.wait_for_stage(stage, if runs { progress.due_in() } else { LONG });
        if before == Stage::Starting && stage == Stage::Active {
            camrig_ipc::release_startup_memory();
        }
        if matches!(stage, Stage::Stopping | Stage::Over) {
            progress.end();
        } else if progress.due_in().is_zero() {
            progress.show(&rig.status());
        }
    }
    Ok(())
}
