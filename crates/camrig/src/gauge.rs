//! The status of a running rig: all its counters and link states, and the rates at which they grow.
//!
//! It makes no decisions: the supervisor updates it periodically, for the rates, and passes the status on.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use camrig_frame::MAX_FRAMES;
use camrig_ipc::{DropReason, LostReason};
use camrig_status::{
    ActorState, ActorStatus, LatencyStatus, LinkStatus, ProcessStatus, RigStatus, STATUS_VERSION, Warning,
};

use crate::ids::{ActorId, LinkId, ProcessId};
use crate::report::{self, rounded};
use crate::topology::{Role, Topology, shown_role};
use crate::usage::Usage;
use crate::wiring::RigWiring;

/// The counts of the last update, and their growth per second since the update before.
#[derive(Default)]
pub(crate) struct Gauge {
    at: Option<Instant>,
    produced: Rates,
    /// Of each actor's streams, [`MAX_FRAMES`] for each actor.
    frames: Rates,
    delivered: Rates,
    cpu_seconds: Rates,
    usage: Vec<Usage>,
}

/// Growing values and their growth per second.
#[derive(Default)]
struct Rates {
    values: Vec<f64>,
    per_second: Vec<f64>,
}

impl Rates {
    fn note(&mut self, values: Vec<f64>, elapsed: Option<Duration>) {
        let growth = |(before, now): (&f64, &f64)| {
            elapsed.map_or(0.0, |elapsed| (now - before).max(0.0) / elapsed.as_secs_f64())
        };
        self.per_second = self.values.iter().zip(&values).map(growth).collect();
        self.values = values;
    }

    fn of(&self, index: usize) -> f64 {
        rounded(self.per_second.get(index).copied().unwrap_or_default())
    }
}

/// The parts of a rig that a status shows.
pub(crate) struct ShownParts {
    pub(crate) actors: Vec<ActorId>,
    pub(crate) links: Vec<LinkId>,
    pub(crate) processes: Vec<ProcessId>,
}

/// The state of an actor, from the supervisor.
#[derive(Clone, Copy)]
pub(crate) struct Doing<'a> {
    pub(crate) state: ActorState,
    pub(crate) error: Option<&'a str>,
    pub(crate) progress: &'a str,
    pub(crate) warned: u64,
    pub(crate) warnings: &'a VecDeque<Warning>,
}

impl Gauge {
    /// Reads all counters; `usage` has each process's resource usage, `None` for a process that has ended.
    pub(crate) fn note(&mut self, rig: &RigWiring, usage: Vec<Option<Usage>>) {
        let elapsed = self.at.replace(Instant::now()).map(|at| at.elapsed());
        let produced = rig.actor_counters.iter().map(|counters| counters.produced() as f64);
        let frames = rig.actor_counters.iter().flat_map(|counters| {
            let frames = counters.streams().into_iter().map(|stream| stream.frames as f64);
            frames.chain(std::iter::repeat(0.0)).take(MAX_FRAMES)
        });
        let delivered = rig.links.iter().map(|link| link.link_state.counts().delivered as f64);
        // A process that has ended keeps its last known processor time.
        let before = std::mem::take(&mut self.usage).into_iter().map(Some).chain(std::iter::repeat(None));
        self.usage = usage
            .into_iter()
            .zip(before)
            .map(|(now, before)| match (now, before) {
                (Some(now), _) => now,
                (None, Some(Usage { cpu_seconds, .. })) => Usage { cpu_seconds, ..Usage::default() },
                (None, None) => Usage::default(),
            })
            .collect();
        self.produced.note(produced.collect(), elapsed);
        self.frames.note(frames.collect(), elapsed);
        self.delivered.note(delivered.collect(), elapsed);
        self.cpu_seconds.note(self.usage.iter().map(|usage| usage.cpu_seconds).collect(), elapsed);
    }

    /// Returns the status of these parts of a rig, with the current counts and the rates of the last update.
    pub(crate) fn status<'a>(
        &self,
        topology: &Topology,
        rig: &RigWiring,
        shown: &ShownParts,
        doing: impl Fn(ActorId) -> Doing<'a>,
        pid: impl Fn(ProcessId) -> u32,
    ) -> RigStatus {
        let actors = shown.actors.iter().map(|&id| self.actor(topology, rig, id, doing(id)));
        let links = shown.links.iter().map(|&link| self.link(topology, rig, link));
        let processes = shown.processes.iter().map(|&process| {
            let usage = self.usage.get(process.index()).copied().unwrap_or_default();
            ProcessStatus {
                name: topology.process(process).to_owned(),
                pid: pid(process),
                cpu_seconds: rounded(usage.cpu_seconds),
                cpu_percent: (self.cpu_seconds.of(process.index()) * 1000.0).round() / 10.0,
                private_bytes: usage.private_bytes,
                shared_bytes: usage.shared_bytes,
            }
        });
        RigStatus {
            camrig_status: STATUS_VERSION,
            topology: topology.name().to_owned(),
            pid: std::process::id(),
            seconds: 0.0,
            actors: actors.collect(),
            links: links.collect(),
            matching: Vec::new(),
            processes: processes.collect(),
            changes: Vec::new(),
            hosts: Vec::new(),
        }
    }

    fn actor(&self, topology: &Topology, rig: &RigWiring, id: ActorId, doing: Doing<'_>) -> ActorStatus {
        let (spec, counters) = (topology.actor(id), &rig.actor_counters[id.index()]);
        let own = topology.links().iter().zip(&rig.links).filter(|(link, _)| link.from == id);
        let slots = own.fold(0, |bits, (_, link)| bits | link.link_state.slots_in_use());
        let (Role::Camera { driver: kind } | Role::Processor { kind }) = &spec.role;
        ActorStatus {
            name: spec.name.clone(),
            role: shown_role(&spec.role),
            kind: kind.clone(),
            process: topology.process(spec.process).to_owned(),
            state: doing.state,
            produced: counters.produced(),
            lost: counters.lost(),
            lost_by_reason: report::by_reason(LostReason::ALL, counters.lost_by_reason()),
            copied: counters.copied(),
            restarts: counters.restarts().into(),
            rate_hz: self.produced.of(id.index()),
            slots: spec.slots as u64,
            slots_in_use: slots.count_ones().into(),
            error: doing.error.unwrap_or_default().to_owned(),
            progress: doing.progress.to_owned(),
            warned: doing.warned,
            warnings: doing.warnings.iter().cloned().collect(),
            streams: report::streams(counters, |index| self.frames.of(MAX_FRAMES * id.index() + index)),
        }
    }

    fn link(&self, topology: &Topology, rig: &RigWiring, id: LinkId) -> LinkStatus {
        let (spec, link_state) = (&topology.links()[id.index()], &rig.links[id.index()].link_state);
        let (counts, latency, histogram) =
            (link_state.counts(), link_state.latency(), link_state.latency_histogram());
        let dropped = DropReason::ALL.into_iter().zip(counts.dropped);
        LinkStatus {
            from: topology.actor(spec.from).name.clone(),
            to: topology.actor(spec.to).name.clone(),
            produced: counts.produced,
            delivered: counts.delivered,
            dropped: dropped.collect(),
            in_flight: counts.in_flight,
            rate_hz: self.delivered.of(id.index()),
            latency_us: LatencyStatus {
                p50: latency.p50,
                p99: latency.p99,
                max: latency.max,
                sum: histogram.sum_micros,
                below: histogram.below,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_growth_per_second_and_start_at_zero() {
        let mut rates = Rates::default();
        rates.note(vec![10.0, 5.0], None);
        assert_eq!((rates.of(0), rates.of(1), rates.of(2)), (0.0, 0.0, 0.0));
        rates.note(vec![40.0, 5.0], Some(Duration::from_secs(2)));
        assert_eq!((rates.of(0), rates.of(1)), (15.0, 0.0));
        // The counters of a restarted process start again.
        rates.note(vec![1.0, 6.0], Some(Duration::from_secs(2)));
        assert_eq!((rates.of(0), rates.of(1)), (0.0, 0.5));
    }
}
