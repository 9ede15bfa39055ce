//! The report of a run.

use camrig_ipc::{ActorCounters, DropReason, LostReason};
use camrig_status::{LinkPlacement, StreamStatus};

use super::shell::Shell;
use crate::ids::{ActorId, LinkId};
use crate::report::{self, ActorReport, LinkReport, ProcessReport, Report, by_reason, rate_hz, rounded};
use crate::topology::shown_role;

impl Shell {
    /// Returns the report, after every worker has exited. Actors and links that left come after those of the topology.
    pub(super) fn report(&self) -> Report {
        let topology = &self.topology;
        let seconds = self.core.seconds();
        let links = (0..topology.links().len()).map(LinkId::new);
        let links = links.filter(|link| !self.wiring.links[link.index()].is_gone);
        let mut links: Vec<LinkReport> = links.map(|link| self.link_report(link, None)).collect();
        links.extend(self.left.links.iter().cloned());
        let problems: Vec<String> = links.iter().filter_map(LinkReport::problem).collect();
        for problem in &problems {
            log::error!("{problem}");
        }
        let mut actors: Vec<_> = self.shown_actors().map(|id| self.actor_report(id)).collect();
        actors.extend(self.left.actors.iter().cloned());
        let mut matching = self.matching(seconds);
        matching.extend(self.left.matching.iter().cloned());
        let processes = topology.processes().iter().zip(&self.processes);
        Report {
            camrig_report: 1,
            topology: self.current.name().to_owned(),
            seconds: rounded(seconds),
            exit: self.core.exit(),
            actors,
            links,
            hosts: Vec::new(),
            problems,
            matching,
            processes: processes
                .map(|(name, process)| ProcessReport {
                    name: name.clone(),
                    pid: process.pid,
                    cpu_seconds: rounded(process.usage.cpu_seconds),
                    private_bytes_peak: process.usage.private_bytes,
                    shared_bytes: process.usage.shared_bytes,
                })
                .collect(),
            changes: self.left.changes.clone(),
        }
    }

    /// Returns the report of a link, which a change ended at this second of the run.
    pub(super) fn link_report(&self, id: LinkId, ended_seconds: Option<f64>) -> LinkReport {
        let topology = &self.topology;
        let spec = &topology.links()[id.index()];
        let link_state = &self.wiring.links[id.index()].link_state;
        let (from, to) = (topology.actor(spec.from), topology.actor(spec.to));
        let counts = link_state.counts();
        let local = from.process == to.process;
        let began_seconds = self.left.began_seconds(id);
        let seconds = ended_seconds.unwrap_or(self.core.seconds()) - began_seconds.unwrap_or(0.0);
        LinkReport {
            from: from.name.clone(),
            to: to.name.clone(),
            placement: if local { LinkPlacement::InProcess } else { LinkPlacement::MultiProcess },
            produced: counts.produced,
            delivered: counts.delivered,
            dropped: by_reason(DropReason::ALL, counts.dropped),
            in_flight: counts.in_flight,
            rate_hz: rate_hz(counts.delivered, seconds),
            latency_us: link_state.latency(),
            began_seconds: began_seconds.map(rounded),
            ended_seconds: ended_seconds.map(rounded),
        }
    }

    pub(super) fn actor_report(&self, id: ActorId) -> ActorReport {
        let (spec, actor) = (self.topology.actor(id), self.core.actor(id));
        let counters = &self.wiring.actor_counters[id.index()];
        ActorReport {
            name: spec.name.clone(),
            role: shown_role(&spec.role),
            process: self.topology.process(spec.process).to_owned(),
            state: actor.state,
            changes: actor.changes.clone(),
            produced: counters.produced(),
            copied: counters.copied(),
            lost: counters.lost(),
            lost_by_reason: by_reason(LostReason::ALL, counters.lost_by_reason()),
            restarts: counters.restarts().into(),
            errors: actor.errors.iter().cloned().collect(),
            warned: actor.warned,
            warnings: actor.warnings.iter().cloned().collect(),
            streams: streams_of_run(counters, self.core.seconds()),
        }
    }
}

/// Returns the frames of an actor's streams in a run of `seconds`.
fn streams_of_run(counters: &ActorCounters, seconds: f64) -> Vec<StreamStatus> {
    let frames: Vec<_> = counters.streams().iter().map(|stream| stream.frames).collect();
    report::streams(counters, |index| rate_hz(frames.get(index).copied().unwrap_or_default(), seconds))
}
