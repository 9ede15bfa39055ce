//! A run under a program's care: signals stop it, stderr shows how it goes.

use std::io;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use super::progress::Progress;
use crate::console::print_note;
use crate::report::Report;
use crate::rig::{Rig, RigHandle, RunningRig};
use crate::supervisor::Stage;

/// Maximum number of signals that wait to be taken; further ones say nothing new.
const SIGNALS: usize = 2;

/// Maximum wait for a run that has nothing more to show.
const LONG: Duration = Duration::from_secs(3600);

/// Runs a rig, whose devices were found, to its end. The first Ctrl-C or SIGTERM stops it in order, the second one at
/// once.
///
/// # Errors
/// When it cannot be started; nothing is left running then.
pub(super) fn drive(rig: &Rig) -> io::Result<Report> {
    let (sender, signals) = sync_channel(SIGNALS);
    let pass_on = move || {
        let _ = sender.try_send(());
    };
    ctrlc::set_handler(pass_on).map_err(io::Error::other)?;
    let running = rig.start_without_probe()?;
    if let Some(address) = running.metrics() {
        print_note(format_args!("metrics: http://{address}/metrics"));
    }
    stop_at_signals(signals, running.handle())?;
    show_progress(&running);
    Ok(running.wait())
}

/// Passes signals on, on a thread that lasts as long as the program.
fn stop_at_signals(signals: Receiver<()>, rig: RigHandle) -> io::Result<()> {
    let pass_on = move || signals.iter().for_each(|()| rig.interrupt());
    std::thread::Builder::new().name("signals".to_owned()).spawn(pass_on).map(drop)
}

/// Shows how a run goes, until it is over.
fn show_progress(rig: &RunningRig) {
    let mut progress = Progress::new();
    let mut stage = Stage::Active;
    while stage != Stage::Over {
        stage = rig.wait_for_stage(stage, if stage == Stage::Active { progress.due_in() } else { LONG });
        if stage != Stage::Active {
            progress.end();
        } else if progress.due_in().is_zero() {
            progress.show(&rig.status());
        }
    }
}
