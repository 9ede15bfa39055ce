//! The part of one other host, as the first host watches it.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use camrig::status::{ClockStatus, HostState, HostStatus, RigStatus};
use camrig::{Exit, Report};

use super::agents::Agent;
use super::{CHECK_TIME, STOP_TIME, locked};
use crate::clock::{ClockFilter, HostClock};
use crate::protocol::{Answer, HostRequest, PartRequest, PartState};

/// Interval at which agents are asked for the state of their parts.
const INTERVAL: Duration = Duration::from_millis(400);

/// The same while the rig ends.
pub(super) const STOP_INTERVAL: Duration = Duration::from_millis(50);

/// Interval at which the clocks of hosts are compared.
const CLOCK_PERIOD: Duration = Duration::from_millis(500);

/// Maximum time in which an agent reports the state of its part; then its host counts as lost.
const STATUS_TIME: Duration = Duration::from_millis(1500);

/// Maximum time in which an agent takes a request to stop.
const REQUEST_TIME: Duration = Duration::from_secs(5);

/// Maximum time for which a host may be lost and is still waited for at the end of a rig: a machine that is suspended for a
/// moment is not lost.
const LOST_TIME: Duration = Duration::from_secs(10);

/// Maximum time in which a part ends after it was asked to end immediately.
const END_TIME: Duration = Duration::from_secs(5);

/// Maximum number of starts of a part whose agent was restarted.
const RESTARTS_MAX: u32 = 5;

/// The error of a part whose agent was restarted.
const RESTARTED: &str = "its agent was restarted, and its counts are lost";

/// The problem of a part that had to be ended immediately.
const INTERRUPTED: &str = "its part did not stop in time and was ended immediately";

/// The function that stops the rig.
pub(super) type StopRig = Box<dyn Fn() + Send + Sync>;

/// Observations of a part.
#[derive(Default)]
struct Observed {
    state: HostState,
    error: String,
    status: Option<RigStatus>,
    report: Option<Report>,
    restarts: u32,
    /// The last request to stop; `None` while it runs.
    wanted: Option<HostRequest>,
    /// Whether that request is to be sent again.
    is_due: bool,
    /// Whether it was asked to end immediately.
    was_interrupted: bool,
    /// Since when the host is lost.
    lost: Option<Instant>,
}

impl Observed {
    /// Returns whether the part may still end by itself.
    fn may_end(&self, now: Instant) -> bool {
        match self.state {
            HostState::Running => true,
            HostState::Lost => self.lost.is_some_and(|lost| now.saturating_duration_since(lost) < LOST_TIME),
            HostState::Ended => false,
        }
    }
}

/// The part of one host.
pub(super) struct Host {
    agent: Agent,
    part: Mutex<PartRequest>,
    seen: Mutex<Observed>,
    clock: Mutex<ClockFilter>,
}

impl Host {
    pub(super) fn new(agent: Agent, part: PartRequest) -> Self {
        Self { agent, part: Mutex::new(part), seen: Mutex::default(), clock: Mutex::default() }
    }

    pub(super) fn agent(&self) -> &Agent {
        &self.agent
    }

    pub(super) fn name(&self) -> &str {
        &self.agent.spec().name
    }

    /// Returns the part that runs.
    pub(super) fn part(&self) -> MutexGuard<'_, PartRequest> {
        locked(&self.part)
    }

    pub(super) fn run(&self) -> String {
        self.part().run.clone()
    }

    pub(super) fn has_ended(&self) -> bool {
        locked(&self.seen).state == HostState::Ended
    }

    /// Returns whether the part may still end by itself. A host that is lost for longer is not waited for.
    pub(super) fn may_end(&self) -> bool {
        locked(&self.seen).may_end(Instant::now())
    }

    /// Requests the state of the part, until it has ended or the rig is over.
    pub(super) fn watch(&self, stop_rig: &Mutex<Option<StopRig>>) {
        while !self.has_ended() {
            let began = Instant::now();
            self.look();
            let is_fault = |report: &Report| matches!(report.exit, Exit::Failed | Exit::Unavailable);
            let has_failed = locked(&self.seen).report.as_ref().is_some_and(is_fault);
            if let Some(stop) = locked(stop_rig).as_ref().filter(|_| has_failed) {
                log::error!("host `{}`: its part has failed: the rig stops", self.name());
                stop();
            }
            let interval = if locked(&self.seen).wanted.is_some() { STOP_INTERVAL } else { INTERVAL };
            std::thread::sleep(interval.saturating_sub(began.elapsed()));
        }
    }

    /// Requests the state of the part. If that runs, sends the request to stop again that its agent has not taken.
    fn look(&self) {
        self.note(self.agent.ask(&HostRequest::Status { run: self.run() }, STATUS_TIME));
        let due = {
            let seen = locked(&self.seen);
            seen.wanted.clone().filter(|_| seen.is_due && seen.state == HostState::Running)
        };
        if let Some(request) = due
            && self.send(&request).is_ok()
            && !locked(&self.seen).is_due
        {
            log::warn!("host `{}` has taken the request to stop", self.name());
        }
    }

    /// Compares the host's clock with this one's, until the part has ended.
    pub(super) fn measure(&self) {
        while locked(&self.seen).state != HostState::Ended {
            if let Some(exchange) = self.agent.clock() {
                locked(&self.clock).add(exchange);
            }
            std::thread::sleep(CLOCK_PERIOD);
        }
    }

    /// Notes the state of the part. A part that its agent no longer has is started again: the agent was restarted.
    fn note(&self, answer: Result<Answer, String>) {
        let mut seen = locked(&self.seen);
        if seen.state == HostState::Ended {
            return;
        }
        let was_lost = seen.state == HostState::Lost;
        match answer {
            Ok(Answer::Part(PartState::Running(status))) => {
                seen.state = HostState::Running;
                seen.status = Some(*status);
            }
            Ok(Answer::Part(PartState::Ended(report))) => {
                seen.state = HostState::Ended;
                seen.status = None;
                seen.report = Some(*report);
            }
            Ok(Answer::Part(PartState::Unknown))
                if seen.wanted.is_some() || seen.restarts >= RESTARTS_MAX =>
            {
                seen.state = HostState::Ended;
                RESTARTED.clone_into(&mut seen.error);
            }
            Ok(Answer::Part(PartState::Unknown)) => {
                seen.restarts += 1;
                RESTARTED.clone_into(&mut seen.error);
                drop(seen);
                log::error!("host `{}`: its agent was restarted: its part starts again", self.name());
                let part = self.part().clone();
                match self.agent.done(&HostRequest::Start(part), CHECK_TIME) {
                    Ok(()) => locked(&self.seen).state = HostState::Running,
                    Err(errors) => errors.iter().for_each(|error| log::error!("{error}")),
                }
                return;
            }
            Ok(answer) => {
                seen.state = HostState::Running;
                seen.error = match answer {
                    Answer::Refused(lines) => lines.join("; "),
                    _ => "its agent answered another request".to_owned(),
                };
            }
            Err(fact) => {
                if !was_lost {
                    log::error!("{fact}");
                    seen.lost = Some(Instant::now());
                }
                seen.state = HostState::Lost;
                seen.status = None;
                seen.error = fact;
                return;
            }
        }
        if was_lost {
            log::warn!("host `{}` is back", self.name());
        }
    }

    /// Asks the part to stop by this request. If its agent does not take it, the thread that watches the part sends it again
    /// until it does: the host may be lost for a moment.
    pub(super) fn ask(&self, request: &HostRequest) {
        {
            let mut seen = locked(&self.seen);
            (seen.wanted, seen.is_due) = (Some(request.clone()), false);
        }
        if let Err(fact) = self.send(request) {
            log::error!("{fact}: it is asked again to stop");
        }
    }

    /// Sends a request to stop, and notes whether it is to be sent again.
    ///
    /// # Errors
    /// A line that names the host, if it does not answer.
    fn send(&self, request: &HostRequest) -> Result<(), String> {
        let answer = self.agent.ask(request, REQUEST_TIME);
        let mut seen = locked(&self.seen);
        if seen.wanted.as_ref() == Some(request) {
            seen.is_due = !matches!(answer, Ok(Answer::Done));
        }
        match answer {
            // It may have no such part any more: its state says that.
            Ok(Answer::Refused(lines)) => seen.error = lines.join("; "),
            Ok(_) => {}
            Err(fact) => {
                seen.error.clone_from(&fact);
                return Err(fact);
            }
        }
        Ok(())
    }

    /// Stops the part, and waits until it has ended, within a bounded time. A host that is lost is not waited for.
    pub(super) fn stop(&self) {
        let run = self.run();
        for (request, time) in [
            (HostRequest::Stop { run: run.clone() }, STOP_TIME),
            (HostRequest::Interrupt { run: run.clone() }, END_TIME),
        ] {
            if self.has_ended() {
                return;
            }
            if matches!(request, HostRequest::Interrupt { .. }) {
                log::error!("host `{}`: {INTERRUPTED}", self.name());
                locked(&self.seen).was_interrupted = true;
            }
            self.ask(&request);
            let until = Instant::now() + time;
            // An agent that does not answer for a moment continues stopping.
            self.look();
            while self.may_end() && Instant::now() < until {
                std::thread::sleep(STOP_INTERVAL);
                self.look();
            }
            if !self.may_end() {
                break;
            }
        }
        // The thread that watches it ends.
        locked(&self.seen).state = HostState::Ended;
    }

    /// Returns the newest status of the host, and of its part if there is one.
    pub(super) fn status(&self) -> (HostStatus, Option<RigStatus>) {
        let seen = locked(&self.seen);
        let spec = self.agent.spec();
        let status = HostStatus {
            name: spec.name.clone(),
            address: spec.address.clone(),
            state: seen.state,
            error: seen.error.clone(),
            clock: locked(&self.clock).estimate().map(clock_status),
            synchronized_by: self.agent.hello().synchronized_by.clone(),
        };
        (status, seen.status.clone())
    }

    /// Returns the number of framesets that the part had produced and delivered when it was last seen.
    pub(super) fn framesets(&self) -> u64 {
        let seen = locked(&self.seen);
        let Some(status) = &seen.status else { return 0 };
        let delivered = status.links.iter().map(|link| link.delivered).sum::<u64>();
        delivered + status.actors.iter().map(|actor| actor.produced).sum::<u64>()
    }

    /// Takes the report of the part; an error is the reason why there is none.
    pub(super) fn take_report(&self) -> Result<Report, String> {
        let mut seen = locked(&self.seen);
        let unended = || "it has not ended".to_owned();
        let error = Some(seen.error.clone()).filter(|error| !error.is_empty());
        let mut report = seen.report.take().ok_or_else(|| error.unwrap_or_else(unended))?;
        if seen.was_interrupted {
            report.problems.push(INTERRUPTED.to_owned());
        }
        Ok(report)
    }
}

/// Returns an estimate in the form of the status.
fn clock_status(estimate: HostClock) -> ClockStatus {
    ClockStatus {
        offset_ms: estimate.offset_nanos as f64 / 1e6,
        // That of the other clock.
        drift_ppm: -estimate.drift_ppm,
        uncertainty_us: estimate.uncertainty_nanos as f64 / 1e3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_does_not_answer_for_a_moment_is_waited_for() {
        let begin = Instant::now();
        let mut seen = Observed { state: HostState::Lost, lost: Some(begin), ..Observed::default() };
        assert!(seen.may_end(begin + LOST_TIME / 2) && !seen.may_end(begin + LOST_TIME));
        seen.state = HostState::Running;
        assert!(seen.may_end(begin + 2 * LOST_TIME));
        seen.state = HostState::Ended;
        assert!(!seen.may_end(begin));
    }
}
