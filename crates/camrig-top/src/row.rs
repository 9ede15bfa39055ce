//! One actor as words and numbers.

use camrig_status::{
    ActorRole, ActorState, ActorStatus, HostState, HostStatus, LinkStatus, ProcessStatus, RigStatus,
    StreamStatus,
};

use crate::columns::shortened;

/// An actor as tables show it.
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) process: String,
    pub(crate) state: ActorState,
    pub(crate) rate_hz: f64,
    pub(crate) produced: String,
    pub(crate) lost: String,
    pub(crate) dropped: String,
    pub(crate) latency: String,
    pub(crate) restarts: String,
    pub(crate) cpu: String,
    pub(crate) memory: String,
}

/// The severity of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    Good,
    Waiting,
    Bad,
}

impl Row {
    /// Returns a row per actor, in the order of the topology.
    pub(crate) fn all(status: &RigStatus) -> Vec<Self> {
        let mut shown = Vec::new();
        let rows = status.actors.iter().map(|actor| {
            // The numbers of a process appear once, in the row of its first actor.
            let first = !shown.contains(&&actor.process);
            shown.push(&actor.process);
            let process = status.processes.iter().find(|process| process.name == actor.process);
            Self::of(actor, &status.links, process.filter(|_| first))
        });
        rows.collect()
    }

    fn of(actor: &ActorStatus, links: &[LinkStatus], process: Option<&ProcessStatus>) -> Self {
        // A camera shows the links from it, a processor the links to it.
        let is_camera = actor.role == ActorRole::Camera;
        let own =
            |link: &&LinkStatus| if is_camera { link.from == actor.name } else { link.to == actor.name };
        let links: Vec<_> = links.iter().filter(own).collect();
        let delivered: f64 = links.iter().map(|link| link.rate_hz).sum();
        let dropped: u64 = links.iter().map(|link| link.dropped_sum()).sum();
        let latency = links.iter().map(|link| link.latency_us.p99).max();
        Self {
            name: actor.name.clone(),
            kind: actor.kind.clone(),
            process: actor.process.clone(),
            state: actor.state,
            rate_hz: if is_camera { actor.rate_hz } else { delivered },
            produced: if is_camera || actor.produced > 0 { actor.produced.to_string() } else { no_number() },
            lost: if is_camera { actor.lost.to_string() } else { no_number() },
            dropped: dropped.to_string(),
            latency: latency.map_or_else(no_number, |micros| format!("{:.1}", micros as f64 / 1e3)),
            restarts: actor.restarts.to_string(),
            cpu: process.map_or_else(String::new, |process| format!("{:.0}", process.cpu_percent)),
            memory: process.map_or_else(String::new, |process| {
                format!("{:.0}", (process.private_bytes + process.shared_bytes) as f64 / f64::from(1 << 20))
            }),
        }
    }

    pub(crate) fn severity(&self) -> Severity {
        match self.state {
            ActorState::Running | ActorState::Finished => Severity::Good,
            ActorState::Starting | ActorState::Ready | ActorState::Paused => Severity::Waiting,
            ActorState::Stalled
            | ActorState::Restarting
            | ActorState::WaitingForDevice
            | ActorState::Failed => Severity::Bad,
        }
    }
}

/// Returns the text for a number that does not apply.
fn no_number() -> String {
    "-".to_owned()
}

/// Returns `demo, 1:02:03, 7 actors in 8 processes` followed by `more`, with as many of these parts as fit `width`.
pub(crate) fn title(status: &RigStatus, more: &str, width: usize) -> String {
    let seconds = status.seconds as u64;
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let (actors, processes) = (status.actors.len(), status.processes.len());
    let time = if status.seconds > 0.0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        "starting".to_owned()
    };
    let topology = &status.topology;
    let actors = format!("{actors} actor{}", if actors == 1 { "" } else { "s" });
    let processes = format!("{processes} process{}", if processes == 1 { "" } else { "es" });
    let titles = [
        format!("{topology}, {time}, {actors} in {processes}{more}"),
        format!("{topology}, {time}, {actors}{more}"),
        format!("{topology}, {time}{more}"),
        format!("{topology}{more}"),
    ];
    let fitting = titles.iter().find(|title| title.chars().count() <= width);
    fitting.cloned().unwrap_or_else(|| shortened(topology, width))
}

/// Returns a line about an actor: rate and age of each stream of a running camera, and its last error. Returns `None` if
/// there is nothing to say.
pub(crate) fn facts(actor: &ActorStatus) -> Option<String> {
    let streams = actor.streams.iter().filter(|_| actor.state == ActorState::Running);
    let mut parts: Vec<_> = streams.map(stream_facts).collect();
    if !actor.error.is_empty() {
        let before = if parts.is_empty() { "" } else { "last error: " };
        parts.push(format!("{before}{}", actor.error));
    }
    (!parts.is_empty()).then(|| format!("{}: {}", actor.name, parts.join("; ")))
}

fn stream_facts(StreamStatus { stream, rate_hz, age_ms, .. }: &StreamStatus) -> String {
    let age = match *age_ms {
        None => "no frame yet".to_owned(),
        Some(millis) if millis < 1000.0 => format!("{millis:.0} ms ago"),
        Some(millis) => format!("{:.1} s ago", millis / 1e3),
    };
    format!("{stream} {rate_hz:.1} Hz, {age}")
}

/// Returns a rig with a running camera, a camera without its device, and a processor.
/// Returns another host as a line: its state, and its clock.
pub(crate) fn host_line(host: &HostStatus) -> String {
    let clock = host.clock.map(|clock| {
        let word = if clock.offset_ms < 0.0 { "ahead" } else { "behind" };
        let (seconds, known, drift) = (clock.offset_ms.abs() / 1e3, clock.uncertainty_us, clock.drift_ppm);
        format!(", clock {seconds:.6} s {word}, known to {known:.0} us, drift {drift:+.1} ppm")
    });
    let program = host.synchronized_by.as_ref().map(|program| format!(", {program}"));
    let error = (host.state == HostState::Lost).then(|| format!("; {}", host.error));
    let state = format!("host {}: {}", host.name, host.state.name());
    [Some(state), clock, program, error].into_iter().flatten().collect()
}

#[cfg(test)]
pub(crate) fn example() -> RigStatus {
    let camera = |name: &str, state: ActorState, rate_hz: f64| ActorStatus {
        name: name.to_owned(),
        role: ActorRole::Camera,
        kind: "synthetic".to_owned(),
        process: name.to_owned(),
        state,
        produced: 1234,
        lost: 7,
        restarts: u64::from(rate_hz == 0.0),
        rate_hz,
        ..ActorStatus::default()
    };
    let link = |from: &str, rate_hz: f64| LinkStatus {
        from: from.to_owned(),
        to: "view".to_owned(),
        produced: 1234,
        delivered: 1231,
        dropped: [(camrig_status::DropReason::DropOldest, 3)].into(),
        rate_hz,
        latency_us: camrig_status::LatencyStatus { p99: 2345, ..Default::default() },
        ..LinkStatus::default()
    };
    let process = |name: &str| ProcessStatus {
        name: name.to_owned(),
        cpu_percent: 12.4,
        private_bytes: 5 << 20,
        shared_bytes: 10 << 20,
        ..ProcessStatus::default()
    };
    let view = ActorStatus {
        name: "view".to_owned(),
        role: ActorRole::Processor,
        kind: "view".to_owned(),
        process: "right".to_owned(),
        state: ActorState::Running,
        ..ActorStatus::default()
    };
    RigStatus {
        topology: "demo".to_owned(),
        pid: 1234,
        seconds: 3723.5,
        actors: vec![
            camera("left", ActorState::Running, 30.0),
            camera("right", ActorState::WaitingForDevice, 0.0),
            view,
        ],
        links: vec![link("left", 30.0), link("right", 0.0)],
        processes: vec![process("main"), process("left"), process("right")],
        ..RigStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use camrig_status::ClockStatus;

    use super::*;

    #[test]
    fn a_title_omits_parts_that_do_not_fit() {
        for (width, expected) in [
            (46, "demo, 1:02:03, 3 actors in 3 processes, 2 more"),
            (45, "demo, 1:02:03, 3 actors, 2 more"),
            (30, "demo, 1:02:03, 2 more"),
            (20, "demo, 2 more"),
            (11, "demo"),
            (3, "de…"),
        ] {
            assert_eq!(title(&example(), ", 2 more", width), expected, "{width}");
        }
    }

    #[test]
    fn a_host_has_a_state_and_a_clock() {
        let clock = ClockStatus { offset_ms: 3000.25, drift_ppm: -50.0, uncertainty_us: 120.4 };
        let host = HostStatus {
            name: "arm".to_owned(),
            clock: Some(clock),
            synchronized_by: Some("chronyd".to_owned()),
            ..HostStatus::default()
        };
        assert_eq!(
            host_line(&host),
            "host arm: running, clock 3.000250 s behind, known to 120 us, drift -50.0 ppm, chronyd"
        );
        let lost =
            HostStatus { state: HostState::Lost, error: "it is silent".to_owned(), ..HostStatus::default() };
        assert_eq!(host_line(&lost), "host : lost; it is silent");
    }
}
