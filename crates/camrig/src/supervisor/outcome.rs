//! The report of a run.

use camrig_ipc::{ActorCounters, DropReason, LostReason};
use camrig_status::{LinkPlacement, StreamStatus};

use super::shell::Shell;
use crate::ids::ActorId;
use crate::report::{self, ActorReport, LinkReport, ProcessReport, Report, by_reason, rate_hz, rounded};
use crate::topology::shown_role;

impl Shell {
    /// Returns the report, after every worker has exited.
    pub(super) fn report(&self) -> Report {
        let topology = &self.topology;
        let seconds = self.core.seconds();
        let actors = (0..topology.actors().len()).map(ActorId::new);
        let links = topology.links().iter().zip(&self.wiring.links);
        let processes = topology.processes().iter().zip(&self.processes);
        let links: Vec<LinkReport> = links
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
            .collect();
        let problems: Vec<String> = links.iter().filter_map(LinkReport::problem).collect();
        for problem in &problems {
            log::error!("{problem}");
        }
        Report {
            camrig_report: 1,
            topology: topology.name().to_owned(),
            seconds: rounded(seconds),
            exit: self.core.exit(),
            actors: actors
                .map(|id| (topology.actor(id), self.core.actor(id), &self.wiring.actor_counters[id.index()]))
                .map(|(spec, actor, counters)| ActorReport {
                    name: spec.name.clone(),
                    role: shown_role(&spec.role),
                    process: topology.process(spec.process).to_owned(),
                    state: actor.state,
                    changes: actor.changes.clone(),
                    produced: counters.produced(),
                    copied: counters.copied(),
                    lost: counters.lost(),
                    lost_by_reason: by_reason(LostReason::ALL, counters.lost_by_reason()),
                    restarts: counters.restarts().into(),
                    errors: actor.errors.iter().cloned().collect(),
                    streams: streams_of_run(counters, seconds),
                })
                .collect(),
            links,
            problems,
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

/// Returns the frames of an actor's streams in a run of `seconds`.
fn streams_of_run(counters: &ActorCounters, seconds: f64) -> Vec<StreamStatus> {
    let frames: Vec<_> = counters.streams().iter().map(|stream| stream.frames).collect();
    report::streams(counters, |index| rate_hz(frames.get(index).copied().unwrap_or_default(), seconds))
}
