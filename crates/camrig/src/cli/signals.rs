//! Signals that end a run: in order, or immediately. ctrlc receives Ctrl-C; it does not distinguish SIGTERM and SIGHUP from it,
//! so signal-hook receives those.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use camrig_ipc::name_process_limit;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::hosts::RunningHosts;
use crate::rig::RigHandle;
use crate::threads;

/// Minimum time between two Ctrl-C. One key press can arrive twice, from the terminal and from a program between that
/// passes signals on.
const BETWEEN_INTERRUPTS: Duration = Duration::from_millis(200);

/// Maximum number of signals that wait for a rig to start.
const WAITING: usize = 8;

/// The effect of a signal on a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    /// It ends in order; a run that is already ending continues with that.
    Stop,
    /// It ends immediately.
    StopAtOnce,
}

/// The signals that a run has received. Only a second Ctrl-C ends it immediately: a terminal that closes sends SIGHUP more than
/// once, service managers send SIGTERM after it, and a run may have begun to end for another reason.
#[derive(Debug, Default)]
struct Received {
    first_interrupt: Option<Instant>,
}

impl Received {
    /// Returns the effect of a signal that arrives at the time `now`.
    fn take(&mut self, signal: i32, now: Instant) -> Effect {
        if signal != SIGINT {
            return Effect::Stop;
        }
        let first = *self.first_interrupt.get_or_insert(now);
        if now.saturating_duration_since(first) < BETWEEN_INTERRUPTS {
            Effect::Stop
        } else {
            Effect::StopAtOnce
        }
    }
}

/// Takes SIGINT, SIGTERM and SIGHUP from now on, once in a process: they wait in the channel that is returned. SIGHUP stays
/// ignored if it was, as by `nohup`.
///
/// # Errors
/// If the system lacks resources, or the signals are taken already.
pub fn take() -> io::Result<Receiver<i32>> {
    let (sender, signals) = sync_channel(WAITING);
    let interrupts = sender.clone();
    let interrupted = move || {
        // Further ones mean the same as those that wait.
        let _ = interrupts.try_send(SIGINT);
    };
    ctrlc::set_handler(interrupted).map_err(|error| match error {
        ctrlc::Error::System(error) => name_process_limit(error),
        error => io::Error::other(error),
    })?;
    let hangup = (!is_ignored(SIGHUP)).then_some(SIGHUP);
    let mut ends = Signals::new([SIGTERM].into_iter().chain(hangup))?;
    threads::spawn("ends", move || {
        for signal in ends.forever() {
            let _ = sender.try_send(signal);
        }
    })?;
    Ok(signals)
}

/// Passes signals on to a rig, on a thread that lasts as long as the program. SIGHUP sets `reload` instead, if there is one.
pub(super) fn pass_on(
    signals: Receiver<i32>,
    rig: RigHandle,
    reload: Option<Arc<AtomicBool>>,
    others: Option<Arc<dyn RunningHosts>>,
) -> io::Result<()> {
    let mut received = Received::default();
    let pass_on = move || {
        for signal in signals {
            if let Some(reload) = reload.as_ref().filter(|_| signal == SIGHUP) {
                reload.store(true, Ordering::Release);
                continue;
            }
            match received.take(signal, Instant::now()) {
                Effect::Stop => stop(&rig, others.as_ref()),
                Effect::StopAtOnce => rig.interrupt(),
            }
        }
    };
    threads::spawn("signals", pass_on)
}

/// Stops a rig in order, with its parts on other hosts. Does not wait.
pub(super) fn stop(rig: &RigHandle, others: Option<&Arc<dyn RunningHosts>>) {
    let Some(others) = others else { return rig.stop() };
    let (own, others) = (rig.clone(), Arc::clone(others));
    threads::spawn("stop", move || drain(&own, &*others)).unwrap_or_else(|_| rig.stop());
}

/// Stops a rig over several hosts in order. Waits for the end of the parts on other hosts.
pub(super) fn drain(rig: &RigHandle, others: &dyn RunningHosts) {
    others.drain(&|| rig.drain(), &|| rig.stop());
}

/// Returns whether this process ignores the signal; without /proc it is assumed that it does not.
pub(super) fn is_ignored(signal: i32) -> bool {
    let status = procfs::process::Process::myself().and_then(|process| process.status());
    status.is_ok_and(|status| status.sigign & (1 << (signal - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the effects of signals at these milliseconds.
    fn effects(signals: &[(u64, i32)]) -> Vec<Effect> {
        let (start, mut received) = (Instant::now(), Received::default());
        let take = |&(millis, signal)| received.take(signal, start + Duration::from_millis(millis));
        signals.iter().map(take).collect()
    }

    #[test]
    fn only_a_second_interrupt_ends_a_run_immediately() {
        use Effect::{Stop, StopAtOnce};
        assert_eq!(effects(&[(0, SIGINT), (3000, SIGINT)]), [Stop, StopAtOnce]);
        assert_eq!(effects(&[(0, SIGHUP), (5, SIGHUP), (3000, SIGHUP)]), [Stop; 3]);
        assert_eq!(effects(&[(0, SIGHUP), (3000, SIGTERM), (6000, SIGTERM)]), [Stop; 3]);
        assert_eq!(effects(&[(0, SIGTERM), (3000, SIGINT)]), [Stop; 2]);
        assert_eq!(effects(&[(0, SIGINT), (1000, SIGTERM), (3000, SIGINT)]), [Stop, Stop, StopAtOnce]);
    }

    #[test]
    fn one_key_press_that_arrives_twice_is_one() {
        use Effect::{Stop, StopAtOnce};
        assert_eq!(effects(&[(0, SIGINT), (1, SIGINT)]), [Stop; 2]);
        // A key that is held down repeats: that is meant.
        assert_eq!(effects(&[(0, SIGINT), (199, SIGINT), (200, SIGINT)]), [Stop, Stop, StopAtOnce]);
    }
}
