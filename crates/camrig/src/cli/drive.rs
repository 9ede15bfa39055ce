//! A run under a program's care: signals stop it, stderr shows how it goes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::progress::Progress;
use super::signals;
use super::watch::Watched;
use crate::console::print_note;
use crate::hosts::RunningHosts;
use crate::report::Report;
use crate::rig::{Rig, RunningRig};
use crate::supervisor::Stage;

/// Maximum wait for a run that has nothing more to show.
const LONG: Duration = Duration::from_secs(3600);

/// Runs a rig, whose devices were found, to its end. Ctrl-C, SIGTERM and SIGHUP stop it in order, a second Ctrl-C at
/// once. SIGHUP of a rig whose file is watched applies the file instead, unless its terminal was closed.
///
/// # Errors
/// When it cannot be started; nothing is left running then.
pub(super) fn drive(
    rig: &Rig,
    watched: Option<Watched>,
    others: Option<Arc<dyn RunningHosts>>,
) -> io::Result<Report> {
    let unreceived =
        |error: io::Error| io::Error::new(error.kind(), format!("signals cannot be received: {error}"));
    let signals = signals::take().map_err(unreceived)?;
    let running = rig.start_without_probe()?;
    if let Some(address) = running.metrics() {
        print_note(format_args!("metrics: http://{address}/metrics"));
    }
    let reload = watched.as_ref().map(Watched::reload);
    if let Some(others) = &others {
        let own = running.handle();
        others.watch(Box::new(move || own.stop()));
    }
    signals::pass_on(signals, running.handle(), reload, others)?;
    if let Some(watched) = watched {
        watched.watch(running.handle())?;
    }
    show_progress(&running)?;
    Ok(running.wait())
}

/// Shows how a run goes, until it is over.
fn show_progress(rig: &RunningRig) -> io::Result<()> {
    let mut progress = Progress::new()?;
    let mut stage = Stage::Active;
    while stage != Stage::Over {
        stage = rig.wait_for_stage(stage, if stage == Stage::Active { progress.due_in() } else { LONG });
        if stage != Stage::Active {
            progress.end();
        } else if progress.due_in().is_zero() {
            progress.show(&rig.status());
        }
    }
    Ok(())
}
