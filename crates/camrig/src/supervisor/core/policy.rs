//! The restart policy: whether and when a failed actor is restarted, and whether its device is reset first.
//!
//! Recovery of a camera escalates: its pipeline is restarted; if that does not help, its device is reset once; a
//! missing device is waited for, with increasing pauses; after too many failures, or too long without the device, the
//! camera has failed permanently. A processor is only restarted. When the actor produces output again, the state is
//! reset, and the next failure starts with the first step.
//!
//! This module performs no actions and has no clock: it gets the time as an argument.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::topology::RestartPolicy;

/// Reaction to the failure of an actor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Restart after a pause.
    Restart { pause: Duration, reset: bool },
    /// Restart after a pause because the device is missing: does not count as a restart.
    WaitForDevice { pause: Duration },
    /// The actor has failed permanently, with this additional reason.
    GiveUp(Option<String>),
}

/// The recovery of one actor: its failures so far, from which the next step follows.
#[derive(Debug)]
pub(crate) struct Recovery {
    policy: RestartPolicy,
    /// If true, a device reset may help.
    has_device: bool,
    /// Times of the restarts within the window.
    restarts: VecDeque<Instant>,
    /// Number of consecutive restarts without success.
    unsuccessful: u32,
    /// Number of consecutive pauses, which determines the length of the next one.
    pauses: u32,
    was_reset: bool,
    missing_since: Option<Instant>,
}

impl Recovery {
    pub(crate) fn new(policy: RestartPolicy, has_device: bool) -> Self {
        Self {
            policy,
            has_device,
            restarts: VecDeque::new(),
            unsuccessful: 0,
            pauses: 0,
            was_reset: false,
            missing_since: None,
        }
    }

    /// Notes that the actor produces output: the next failure starts with the first step.
    pub(crate) fn note_success(&mut self) {
        self.unsuccessful = 0;
        self.pauses = 0;
        self.was_reset = false;
        self.missing_since = None;
    }

    /// Decides how to react to a failure at the time `now`.
    pub(crate) fn decide(&mut self, now: Instant, device_is_missing: bool) -> Decision {
        if self.policy.max == 0 {
            return Decision::GiveUp(None);
        }
        if device_is_missing && self.has_device {
            let since = *self.missing_since.get_or_insert(now);
            let missing = now.saturating_duration_since(since);
            if missing >= self.policy.device_timeout {
                let reason = format!("it has been missing for {} s", missing.as_secs());
                return Decision::GiveUp(Some(reason));
            }
            let left = self.policy.device_timeout.saturating_sub(missing);
            return Decision::WaitForDevice { pause: self.pause().min(left) };
        }
        self.missing_since = None;
        let window = self.policy.window;
        self.restarts.retain(|&at| now.saturating_duration_since(at) < window);
        if self.restarts.len() >= self.policy.max {
            let (max, seconds) = (self.policy.max, window.as_secs());
            let times = if max == 1 { "time" } else { "times" };
            let reason = format!("it was restarted {max} {times} within {seconds} s");
            return Decision::GiveUp(Some(reason));
        }
        self.restarts.push_back(now);
        let reset = self.has_device && self.unsuccessful > 0 && !self.was_reset;
        self.was_reset |= reset;
        self.unsuccessful += 1;
        Decision::Restart { pause: self.pause(), reset }
    }

    /// Returns the next pause: twice the previous one, up to the maximum.
    fn pause(&mut self) -> Duration {
        let factor = 2_u32.saturating_pow(self.pauses);
        self.pauses = self.pauses.saturating_add(1);
        self.policy.backoff.saturating_mul(factor).min(self.policy.backoff_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RestartPolicy = RestartPolicy {
        max: 4,
        window: Duration::from_secs(60),
        backoff: Duration::from_millis(100),
        backoff_max: Duration::from_millis(300),
        device_timeout: Duration::from_secs(10),
    };

    fn restart(pause_millis: u64, reset: bool) -> Decision {
        Decision::Restart { pause: Duration::from_millis(pause_millis), reset }
    }

    fn wait(pause_millis: u64) -> Decision {
        Decision::WaitForDevice { pause: Duration::from_millis(pause_millis) }
    }

    fn give_up(reason: &str) -> Decision {
        Decision::GiveUp(Some(reason.to_owned()))
    }

    #[test]
    fn recovery_of_a_camera_escalates_step_by_step() {
        let mut recovery = Recovery::new(POLICY, true);
        let now = Instant::now();
        assert_eq!(recovery.decide(now, false), restart(100, false));
        assert_eq!(recovery.decide(now, false), restart(200, true));
        // A reset disconnects the device for some time.
        assert_eq!(recovery.decide(now, true), wait(300));
        assert_eq!(recovery.decide(now, true), wait(300));
        assert_eq!(recovery.decide(now, false), restart(300, false));
        assert_eq!(recovery.decide(now, false), restart(300, false));
        assert_eq!(recovery.decide(now, false), give_up("it was restarted 4 times within 60 s"));
    }

    #[test]
    fn success_leads_back_to_the_first_step_but_not_out_of_the_window() {
        let mut recovery = Recovery::new(POLICY, true);
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in 0..4 {
            assert_eq!(recovery.decide(at(second), false), restart(100, false));
            recovery.note_success();
        }
        assert_eq!(recovery.decide(at(59), false), give_up("it was restarted 4 times within 60 s"));
        assert_eq!(recovery.decide(at(60), false), restart(100, false));
    }

    #[test]
    fn a_missing_device_is_waited_for_until_its_time_is_up() {
        let mut recovery = Recovery::new(POLICY, true);
        let start = Instant::now();
        let after = |millis| start + Duration::from_millis(millis);
        assert_eq!(recovery.decide(start, true), wait(100));
        assert_eq!(recovery.decide(after(100), true), wait(200));
        assert_eq!(recovery.decide(after(9_900), true), wait(100));
        assert_eq!(recovery.decide(after(10_000), true), give_up("it has been missing for 10 s"));
        recovery.note_success();
        assert_eq!(recovery.decide(after(10_000), true), wait(100));
    }

    #[test]
    fn a_processor_has_no_device() {
        let mut recovery = Recovery::new(POLICY, false);
        let now = Instant::now();
        assert_eq!(recovery.decide(now, true), restart(100, false));
        assert_eq!(recovery.decide(now, false), restart(200, false));
        let mut none = Recovery::new(RestartPolicy { max: 0, ..POLICY }, false);
        assert_eq!(none.decide(now, false), Decision::GiveUp(None));
    }
}
