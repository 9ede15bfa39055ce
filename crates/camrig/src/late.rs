//! Bounds on the start of actors, and on code of drivers and kinds that is asked before it and may never return.

use std::fmt;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// The least time that a rig whose running time is limited has for its start.
pub(crate) const START_TIME_MIN: Duration = Duration::from_secs(30);

/// A bound that was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// That of the actor.
    Actor(Duration),
    /// That of the start of a rig whose running time is limited.
    Rig(Duration),
}

impl Late {
    /// Returns the bound as part of a sentence about an actor, such as `` within its `start_timeout_millis` (7 ms)``.
    pub(crate) fn bound(self) -> String {
        match self {
            Self::Actor(timeout) => format!("within its `start_timeout_millis` ({} ms)", timeout.as_millis()),
            Self::Rig(time) => format!("within {} s, as the rig's time is limited", time.as_secs()),
        }
    }
}

impl fmt::Display for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "was not ready {}", self.bound())
    }
}

/// The time that is left for the start of a rig, from now on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StartTime(Option<(Duration, Instant)>);

impl StartTime {
    /// Returns the bound of a rig whose running time is `limit`; `None` if it is not limited.
    pub(crate) fn of_rig(limit: Option<Duration>) -> Self {
        let time = limit.map(|limit| limit.max(START_TIME_MIN));
        // A time beyond the range of the clock is not a bound.
        Self(time.and_then(|time| Some((time, Instant::now().checked_add(time)?))))
    }

    /// Returns how long something for an actor with this `start_timeout_millis` may take; `None` if it has no bound.
    pub(crate) fn bound(&self, own: Option<Duration>) -> Option<(Duration, Late)> {
        let own = own.map(|timeout| (timeout, Late::Actor(timeout)));
        let rig =
            self.0.map(|(time, until)| (until.saturating_duration_since(Instant::now()), Late::Rig(time)));
        [own, rig].into_iter().flatten().min_by_key(|(time, _)| *time)
    }
}

/// Returns the result of `call`; after `bound`, an error instead. Then its thread is left alone, since no thread can be
/// ended.
///
/// # Errors
/// The bound that was exceeded.
pub(crate) fn within<T: Send + 'static>(
    bound: Option<(Duration, Late)>,
    call: impl FnOnce() -> T + Clone + Send + 'static,
) -> Result<T, Late> {
    let Some((time, late)) = bound else { return Ok(call()) };
    let (sender, returned) = sync_channel(1);
    let own = call.clone();
    let spawned = camrig_ipc::spawn_thread("check", move || {
        // No thread waits any more after the bound.
        let _ = sender.send(own());
    });
    let Ok(thread) = spawned else { return Ok(call()) };
    match returned.recv_timeout(time) {
        Ok(returned) => Ok(returned),
        Err(RecvTimeoutError::Timeout) => Err(late),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => Ok(call()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn the_shorter_bound_counts() {
        assert_eq!(StartTime::default().bound(None), None);
        assert_eq!(StartTime::default().bound(Some(MILLI)), Some((MILLI, Late::Actor(MILLI))));
        let limited = StartTime::of_rig(Some(MILLI));
        assert_eq!(limited.bound(Some(MILLI)), Some((MILLI, Late::Actor(MILLI))));
        for own in [None, Some(START_TIME_MIN * 2)] {
            let (time, late) = limited.bound(own).unwrap();
            assert_eq!(late, Late::Rig(START_TIME_MIN));
            assert!(time <= START_TIME_MIN, "{time:?}");
        }
        assert_eq!(StartTime::of_rig(Some(Duration::MAX)).bound(None), None);
    }

    #[test]
    fn a_call_returns_or_is_late() {
        let late = Late::Actor(MILLI);
        assert_eq!(within(None, || 7), Ok(7));
        assert_eq!(within(Some((START_TIME_MIN, late)), || 7), Ok(7));
        let never = || loop {
            std::thread::park();
        };
        assert_eq!(within::<u8>(Some((MILLI, late)), never), Err(late));
    }

    #[test]
    #[should_panic(expected = "a mistake")]
    fn a_panic_is_that_of_the_caller() {
        let _ = within::<u8>(Some((START_TIME_MIN, Late::Actor(MILLI))), || panic!("a mistake"));
    }
}
