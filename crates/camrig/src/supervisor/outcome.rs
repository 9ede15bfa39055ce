//! How a run ended, and the report that is made of it.

use camrig_ipc::{DropReason, LostReason};
use camrig_status::{ActorRole, ActorState as State, LinkPlacement};

use super::Run;
use crate::report::{ActorReport, LinkReport, ProcessReport, Report, by_reason, rate_hz, rounded};

/// How a run ended.
pub(crate) struct Outcome {
    pub(crate) report: Report,
    pub(crate) end: End,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As it was asked to: Ctrl-C, SIGTERM, a time or a number of framesets.
    Asked,
    /// Every camera came to its end.
    Inputs,
    /// An actor failed for good.
    Failed,
    /// A camera was not available.
    Unavailable,
    /// A second Ctrl-C: at once.
    Interrupted,
}

impl End {
    fn in_words(self) -> &'static str {
        match self {
            Self::Asked => "stopped as asked",
            Self::Inputs => "end of all inputs",
            Self::Failed => "an actor failed",
            Self::Unavailable => "a camera is unavailable",
            Self::Interrupted => "interrupted",
        }
    }
}

impl Run<'_> {
    /// What the run came to after `seconds`, when every worker has exited.
    pub(super) fn outcome(&self, seconds: f64) -> Outcome {
        let end = self.end();
        Outcome { report: self.report(end, seconds), end }
    }

    fn end(&self) -> End {
        let failed = || self.actors.iter().filter(|actor| actor.state == State::Failed);
        match (
            self.interrupted,
            failed().next().is_some(),
            failed().any(|actor| actor.unavailable),
            self.asked,
        ) {
            (true, ..) => End::Interrupted,
            (_, true, true, _) => End::Unavailable,
            (_, true, false, _) => End::Failed,
            (.., true) => End::Asked,
            (.., false) => End::Inputs,
        }
    }

    fn report(&self, end: End, seconds: f64) -> Report {
        let topology = self.topology;
        let actors = topology.actors().iter().zip(&self.actors).zip(&self.rig.actor_counters);
        let links = topology.links().iter().zip(&self.rig.links);
        let processes = topology.processes().iter().zip(&self.processes);
        Report {
            camrig_report: 1,
            topology: topology.name().to_owned(),
            seconds: rounded(seconds),
            exit: end.in_words().to_owned(),
            actors: actors
                .map(|((spec, actor), counters)| ActorReport {
                    name: spec.name.clone(),
                    role: ActorRole::from(&spec.role),
                    process: topology.process(spec.process).to_owned(),
                    state: actor.state,
                    changes: actor.changes.clone(),
                    produced: counters.produced(),
                    copied: counters.copied(),
                    lost: counters.lost(),
                    lost_by_reason: by_reason(LostReason::ALL, counters.lost_by_reason()),
                    restarts: counters.restarts().into(),
                    errors: actor.errors.iter().cloned().collect(),
                })
                .collect(),
            links: links
                .map(|(spec, link)| {
                    let (from, to) = (topology.actor(spec.from), topology.actor(spec.to));
                    let counts = link.link_state.counts();
                    let local = from.process == to.process;
                    LinkReport {
                        from: from.name.clone(),
                        to: to.name.clone(),
                        placement: if local { LinkPlacement::InProcess } else { LinkPlacement::MultiProcess },
                        produced: counts.produced,
                        delivered: counts.delivered,
                        dropped: by_reason(DropReason::ALL, counts.dropped),
                        in_flight: counts.in_flight,
                        rate_hz: rate_hz(counts.delivered, seconds),
                        latency_us: link.link_state.latency(),
                    }
                })
                .collect(),
            matching: self.matching(seconds),
            processes: processes
                .map(|(name, process)| ProcessReport {
                    name: name.clone(),
                    pid: process.pid,
                    cpu_seconds: rounded(process.usage.cpu_seconds),
                    private_bytes_peak: process.usage.private_bytes,
                    shared_bytes: process.usage.shared_bytes,
                })
                .collect(),
        }
    }
}
