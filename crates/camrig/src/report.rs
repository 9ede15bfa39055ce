//! The report of a run: a stable contract for other programs. Fields may be added, none is renamed.

use std::collections::BTreeMap;

use camrig_ipc::{
    ActorCounters, ClockEstimate, DropReason, Latency, LostReason, MatchCamera, MatchCounts, StreamCounts,
    Unmatched,
};
use camrig_status::{
    ActorRole, ActorState, ChangeReport, ClockStatus, HostStatus, LinkPlacement, MatchedCameraStatus,
    MatchingStatus, SpreadStatus, StreamStatus, Warning,
};
use serde::{Deserialize, Serialize};

use crate::clock::monotonic_nanos;
use crate::exit::Exit;
use crate::matching::MatchStatus;

/// The report of a run. Written as JSON it is a contract: fields may be added, none is renamed.
#[derive(Debug, Serialize, Deserialize)]
#[allow(clippy::struct_field_names)] // `camrig_report` identifies the file to a reader.
pub struct Report {
    /// The version of this contract.
    pub camrig_report: u32,
    /// The name of the topology in messages.
    pub topology: String,
    /// Time from the start of the cameras to the end of the last actor, in seconds.
    pub seconds: f64,
    /// The reason for the end.
    pub exit: Exit,
    /// In the order of the topology.
    pub actors: Vec<ActorReport>,
    /// In the order of the topology.
    pub links: Vec<LinkReport>,
    /// One for each processor with `match`, then one for each of its instances that a change has replaced.
    pub matching: Vec<MatchingStatus>,
    /// The supervisor's own first.
    pub processes: Vec<ProcessReport>,
    /// The changes of the rig while it ran.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangeReport>,
    /// The other hosts of the rig, at its end. Rows of their actors and processes are named `HOST/NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<HostStatus>,
    /// The errors in this report: counts that do not add up because a process wrote wrong ones.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// An actor in a report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ActorReport {
    /// The name in the topology.
    pub name: String,
    /// Camera or processor.
    pub role: ActorRole,
    /// The process that hosted it.
    pub process: String,
    /// The last state.
    pub state: ActorState,
    /// The number of changes to each state. States without a change are omitted.
    pub changes: BTreeMap<ActorState, u64>,
    /// Framesets that it produced, dropped ones included.
    pub produced: u64,
    /// Framesets that were copied into shared memory because a reader in another process needs them there.
    #[serde(default)]
    pub copied: u64,
    /// Framesets that the device, its library or its driver lost before the camera actor got them.
    pub lost: u64,
    /// Lost framesets by reason. Reasons without a frameset are omitted.
    pub lost_by_reason: BTreeMap<LostReason, u64>,
    /// The number of restarts.
    pub restarts: u64,
    /// The newest failures.
    pub errors: Vec<String>,
    /// The number of warnings.
    #[serde(default)]
    pub warned: u64,
    /// The newest warnings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// A camera's streams, in the order of their frames.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<StreamStatus>,
}

/// A link in a report: `produced = delivered + sum(dropped) + in_flight`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LinkReport {
    /// The producer.
    pub from: String,
    /// The reader.
    pub to: String,
    /// Whether both ends were in the same process.
    pub placement: LinkPlacement,
    /// Framesets that the producer made for it.
    pub produced: u64,
    /// Framesets that reached the reader.
    pub delivered: u64,
    /// By reason. Reasons without a frameset are omitted.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Framesets that were still on the way.
    pub in_flight: u64,
    /// Delivered framesets per second of the run.
    pub rate_hz: f64,
    /// Time from arrival in the camera actor to the call of the processor, in microseconds.
    pub latency_us: Latency,
    /// When a change of the running rig began it, in seconds of the run; `None` if it was there from the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_seconds: Option<f64>,
    /// When a change of the running rig had ended it, in seconds of the run; `None` if the end of its actors did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_seconds: Option<f64>,
}

/// A process in a report.
#[derive(Debug, Serialize, Deserialize)]
pub struct ProcessReport {
    /// The name in the topology.
    pub name: String,
    /// The process id.
    pub pid: u32,
    /// Processor time, in seconds.
    pub cpu_seconds: f64,
    /// The maximum of samples taken once a second.
    pub private_bytes_peak: u64,
    /// The maximum of samples taken once a second.
    pub shared_bytes: u64,
}

impl LinkReport {
    /// Returns the problem of counts that do not add up.
    pub(crate) fn problem(&self) -> Option<String> {
        let Self { from, to, produced, delivered, dropped, in_flight, .. } = self;
        let dropped = dropped.values().fold(0, |sum: u64, &count| sum.saturating_add(count));
        let accounted_for = delivered.saturating_add(dropped).saturating_add(*in_flight);
        (*produced != accounted_for).then(|| {
            format!(
                "the counts of the link from `{from}` to `{to}` do not add up: {produced} produced, {delivered} \
                 delivered, {dropped} dropped, {in_flight} in flight; a process wrote wrong ones"
            )
        })
    }
}

/// Returns the frames of an actor's streams, with the rate of the stream at each index.
pub(crate) fn streams(counters: &ActorCounters, rate_hz: impl Fn(usize) -> f64) -> Vec<StreamStatus> {
    let now_nanos = monotonic_nanos();
    let status = |(index, counts): (usize, StreamCounts)| StreamStatus {
        stream: counts.stream.to_string(),
        frames: counts.frames,
        rate_hz: rate_hz(index),
        age_ms: counts.last_nanos.map(|last| rounded(now_nanos.saturating_sub(last) as f64 / 1e6)),
        silences: counts.silences,
    };
    counters.streams().into_iter().enumerate().map(status).collect()
}

/// Returns the matching of a processor in a run of `seconds`.
pub(crate) fn matching(processor: &str, status: &MatchStatus<'_>, seconds: f64) -> MatchingStatus {
    let MatchCounts { matches, partial, spread } = status.counts;
    MatchingStatus {
        processor: processor.to_owned(),
        matches,
        partial,
        rate_hz: rate_hz(matches, seconds),
        spread_us: SpreadStatus { p50: spread.p50, p99: spread.p99, max: spread.max },
        cameras: status.cameras.iter().map(|(name, camera)| matched_camera(name, camera)).collect(),
    }
}

fn matched_camera(name: &str, camera: &MatchCamera) -> MatchedCameraStatus {
    let clock = |clock: ClockEstimate| ClockStatus {
        offset_ms: rounded(clock.offset_nanos as f64 / 1e6),
        drift_ppm: rounded(clock.drift_ppb as f64 / 1e3),
        uncertainty_us: rounded(clock.uncertainty_nanos as f64 / 1e3),
    };
    MatchedCameraStatus {
        name: name.to_owned(),
        matched: camera.matched,
        offset_us: camera.offset.map(|offset| rounded(offset.as_nanos() as f64 / 1e3)),
        unmatched: by_reason(Unmatched::ALL, camera.unmatched),
        epochs: camera.epochs,
        clock: camera.clock.map(clock),
    }
}

/// Returns the counts by reason, without reasons that have none.
pub(crate) fn by_reason<Reason: Ord, const REASONS: usize>(
    reasons: [Reason; REASONS],
    counts: [u64; REASONS],
) -> BTreeMap<Reason, u64> {
    reasons.into_iter().zip(counts).filter(|&(_, count)| count > 0).collect()
}

/// Returns the mean rate of `count` events in `seconds`; 0 for a run of no length.
pub(crate) fn rate_hz(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { rounded(count as f64 / seconds) } else { 0.0 }
}

/// Rounds to three decimals, so that people can read reports too.
pub(crate) fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// A report that this program wrote before roles, states, placements and reasons were types.
    const BEFORE: &str = include_str!("../tests/before/report.json");

    /// Returns whether `new` has everything of `old`: fields may be added.
    fn contains(new: &Value, old: &Value) -> bool {
        match (new, old) {
            (Value::Object(new), Value::Object(old)) => {
                old.iter().all(|(key, old)| new.get(key).is_some_and(|new| contains(new, old)))
            }
            (Value::Array(new), Value::Array(old)) => {
                new.len() == old.len() && new.iter().zip(old).all(|(new, old)| contains(new, old))
            }
            _ => new == old,
        }
    }

    #[test]
    fn an_earlier_report_reads_and_is_written_the_same() {
        let report: Report = serde_json::from_str(BEFORE).unwrap();
        assert_eq!(report.actors[1].changes[&ActorState::WaitingForDevice], 1);
        assert_eq!(report.actors[0].lost_by_reason[&LostReason::Device], 6);
        assert_eq!(report.links[2].placement, LinkPlacement::InProcess);
        assert_eq!(report.matching[0].cameras[1].unmatched[&Unmatched::Unsettled], 30);
        let (new, old) = (serde_json::to_value(&report).unwrap(), serde_json::from_str(BEFORE).unwrap());
        assert!(contains(&new, &old), "{new:#}");
    }

    #[test]
    fn counts_that_do_not_add_up_are_a_problem() {
        let report: Report = serde_json::from_str(BEFORE).unwrap();
        assert!(report.links.iter().all(|link| link.problem().is_none()));
        let mut link = report.links.into_iter().next().unwrap();
        link.delivered += 1;
        let problem = link.problem().unwrap();
        let LinkReport { from, to, produced, delivered, .. } = link;
        let start =
            format!("the counts of the link from `{from}` to `{to}` do not add up: {produced} produced, ");
        assert!(problem.starts_with(&format!("{start}{delivered} delivered, ")), "{problem}");
    }

    #[test]
    fn counts_by_reason_leave_out_reasons_without_any() {
        let counts = by_reason(LostReason::ALL, std::array::from_fn(|reason| u64::from(reason == 1)));
        assert_eq!(counts, [(LostReason::ALL[1], 1)].into());
    }
}
