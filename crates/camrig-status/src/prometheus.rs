//! The status in Prometheus' text format 0.0.4, with names by Prometheus' conventions.
//!
//! Every value comes from the [`RigStatus`].

use std::fmt::{Display, Write};

use crate::{ActorStatus, LinkStatus, MatchingStatus, ProcessStatus, RigStatus, StreamStatus};

/// The content type of the text in an HTTP response.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

const STATE: &str = "camrig_actor_state";
const LOST: &str = "camrig_framesets_lost_by_reason_total";
const DROPPED: &str = "camrig_framesets_dropped_total";
const LATENCY: &str = "camrig_latency_seconds";

/// Returns the status as text.
pub fn text(status: &RigStatus) -> String {
    let mut text = Text(String::new());
    text.family("camrig_up_seconds", "gauge", "Time since every actor was ready.");
    text.sample("camrig_up_seconds", &[("topology", &status.topology)], status.seconds);
    actors(&mut text, &status.actors);
    links(&mut text, &status.links);
    matching(&mut text, &status.matching);
    processes(&mut text, &status.processes);
    text.0
}

fn actors(text: &mut Text, actors: &[ActorStatus]) {
    let mut each = |name, kind, help, value: fn(&ActorStatus) -> u64| {
        text.family(name, kind, help);
        for actor in actors {
            text.sample(name, &[("actor", &actor.name), ("role", actor.role.name())], value(actor));
        }
    };
    each("camrig_framesets_produced_total", "counter", "Framesets that an actor produced.", |actor| {
        actor.produced
    });
    each(
        "camrig_framesets_lost_total",
        "counter",
        "Framesets that were lost before an actor could produce them, of all reasons.",
        |actor| actor.lost,
    );
    each(
        "camrig_framesets_copied_total",
        "counter",
        "Framesets that an actor copied into shared memory for readers in other processes.",
        |actor| actor.copied,
    );
    each("camrig_restarts_total", "counter", "Restarts of an actor.", |actor| actor.restarts);
    each("camrig_warnings_total", "counter", "Warnings of a processor.", |actor| actor.warned);
    each(
        "camrig_slots",
        "gauge",
        "Maximum number of framesets of an actor in use at the same time.",
        |actor| actor.slots,
    );
    each(
        "camrig_slots_in_use",
        "gauge",
        "Slots that are queued for, or held by, readers in other processes.",
        |actor| actor.slots_in_use,
    );
    text.family(
        LOST,
        "counter",
        "Framesets that were lost before an actor could produce them, by reason: in a device, between hosts, or in a file.",
    );
    for actor in actors {
        for (reason, count) in &actor.lost_by_reason {
            let labels = [("actor", &*actor.name), ("role", actor.role.name()), ("reason", reason.name())];
            text.sample(LOST, &labels, count);
        }
    }
    streams(text, actors);
    text.family(STATE, "gauge", "1 for the current state of an actor.");
    for actor in actors {
        text.sample(
            STATE,
            &[("actor", &actor.name), ("role", actor.role.name()), ("state", actor.state.name())],
            1,
        );
    }
}

/// Writes no family when no camera has declared its streams.
fn streams(text: &mut Text, actors: &[ActorStatus]) {
    if actors.iter().all(|actor| actor.streams.is_empty()) {
        return;
    }
    let all = || actors.iter().flat_map(|actor| actor.streams.iter().map(|stream| (&actor.name, stream)));
    let mut each = |name, kind, help, value: fn(&StreamStatus) -> Option<f64>| {
        text.family(name, kind, help);
        for (actor, stream) in all() {
            if let Some(value) = value(stream) {
                text.sample(name, &[("actor", actor), ("stream", &stream.stream)], value);
            }
        }
    };
    each("camrig_stream_frames_total", "counter", "Frames or samples of a camera's stream.", |stream| {
        Some(stream.frames as f64)
    });
    each(
        "camrig_stream_silences_total",
        "counter",
        "How often a camera's stream was silent while others continued.",
        |stream| Some(stream.silences as f64),
    );
    each("camrig_stream_age_seconds", "gauge", "Time since the last frame of a camera's stream.", |stream| {
        stream.age_ms.map(|age| age / 1e3)
    });
}

fn links(text: &mut Text, links: &[LinkStatus]) {
    let mut each = |name, kind, help, value: fn(&LinkStatus) -> u64| {
        text.family(name, kind, help);
        for link in links {
            text.sample(name, &[("from", &link.from), ("to", &link.to)], value(link));
        }
    };
    each("camrig_framesets_offered_total", "counter", "Framesets published on a link.", |link| link.produced);
    each(
        "camrig_framesets_delivered_total",
        "counter",
        "Framesets that reached the reader of a link.",
        |link| link.delivered,
    );
    each("camrig_framesets_in_flight", "gauge", "Framesets neither delivered nor dropped.", |link| {
        link.in_flight
    });
    text.family(DROPPED, "counter", "Framesets that do not reach the reader of a link, by reason.");
    for link in links {
        for (reason, count) in &link.dropped {
            text.sample(DROPPED, &[("from", &link.from), ("to", &link.to), ("reason", reason.name())], count);
        }
    }
    text.family(LATENCY, "histogram", "Time from arrival in a camera to the call of the reader of a link.");
    for link in links {
        let labels = [("from", link.from.as_str()), ("to", link.to.as_str())];
        let latency = &link.latency_us;
        for (bound_micros, count) in &latency.below {
            let bound = (*bound_micros as f64 / 1e6).to_string();
            text.sample("camrig_latency_seconds_bucket", &[labels[0], labels[1], ("le", &bound)], count);
        }
        let infinite = [labels[0], labels[1], ("le", "+Inf")];
        text.sample("camrig_latency_seconds_bucket", &infinite, link.delivered);
        text.sample("camrig_latency_seconds_sum", &labels, latency.sum as f64 / 1e6);
        text.sample("camrig_latency_seconds_count", &labels, link.delivered);
    }
}

/// Writes no family when no processor has `match`.
fn matching(text: &mut Text, matching: &[MatchingStatus]) {
    if matching.is_empty() {
        return;
    }
    text.family("camrig_matches_total", "counter", "Matches passed to a processor.");
    for each in matching {
        text.sample("camrig_matches_total", &[("processor", &each.processor)], each.matches);
    }
    text.family(
        "camrig_match_spread_seconds",
        "gauge",
        "Time from the earliest to the latest frameset of a match.",
    );
    for each in matching {
        for (quantile, micros) in [("0.5", each.spread_us.p50), ("0.99", each.spread_us.p99)] {
            let labels = [("processor", each.processor.as_str()), ("quantile", quantile)];
            text.sample("camrig_match_spread_seconds", &labels, micros as f64 / 1e6);
        }
    }
    let cameras = || matching.iter().flat_map(|each| each.cameras.iter().map(move |camera| (each, camera)));
    text.family("camrig_framesets_matched_total", "counter", "Framesets of a camera in a match.");
    for (each, camera) in cameras() {
        let labels = [("processor", each.processor.as_str()), ("camera", camera.name.as_str())];
        text.sample("camrig_framesets_matched_total", &labels, camera.matched);
    }
    text.family(
        "camrig_framesets_unmatched_total",
        "counter",
        "Framesets of a camera in no match, by reason.",
    );
    for (each, camera) in cameras() {
        for (reason, count) in &camera.unmatched {
            let labels =
                [("processor", each.processor.as_str()), ("camera", &camera.name), ("reason", reason.name())];
            text.sample("camrig_framesets_unmatched_total", &labels, count);
        }
    }
    text.family(
        "camrig_match_offset_seconds",
        "gauge",
        "Mean time of a camera's last matched framesets after the earliest ones of their matches.",
    );
    for (each, camera) in cameras() {
        if let Some(offset_us) = camera.offset_us {
            let labels = [("processor", each.processor.as_str()), ("camera", camera.name.as_str())];
            text.sample("camrig_match_offset_seconds", &labels, offset_us / 1e6);
        }
    }
    text.family(
        "camrig_clock_offset_seconds",
        "gauge",
        "Host time minus camera time, where it is estimated.",
    );
    for (each, camera) in cameras() {
        if let Some(clock) = camera.clock {
            let labels = [("processor", each.processor.as_str()), ("camera", camera.name.as_str())];
            text.sample("camrig_clock_offset_seconds", &labels, clock.offset_ms / 1e3);
        }
    }
    text.family(
        "camrig_clock_drift_ratio",
        "gauge",
        "Rate error of a camera's clock; positive when it runs fast.",
    );
    for (each, camera) in cameras() {
        if let Some(clock) = camera.clock {
            let labels = [("processor", each.processor.as_str()), ("camera", camera.name.as_str())];
            text.sample("camrig_clock_drift_ratio", &labels, clock.drift_ppm / 1e6);
        }
    }
}

fn processes(text: &mut Text, processes: &[ProcessStatus]) {
    let mut each = |name, kind, help, value: fn(&ProcessStatus) -> f64| {
        text.family(name, kind, help);
        for process in processes {
            text.sample(name, &[("process", &process.name)], value(process));
        }
    };
    each("camrig_process_cpu_seconds_total", "counter", "CPU time of a process.", |process| {
        process.cpu_seconds
    });
    each("camrig_process_private_bytes", "gauge", "Private resident memory of a process.", |process| {
        process.private_bytes as f64
    });
    each(
        "camrig_process_shared_bytes",
        "gauge",
        "Resident shared memory of a process: slots and link states.",
        |process| process.shared_bytes as f64,
    );
}

/// Builds the text line by line. Writing to a string cannot fail.
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"", if index == 0 { '{' } else { ',' });
            value.chars().for_each(|letter| match letter {
                '\\' => self.0.push_str(r"\\"),
                '"' => self.0.push_str("\\\""),
                '\n' => self.0.push_str("\\n"),
                letter => self.0.push(letter),
            });
            self.0.push('"');
        }
        let _ = writeln!(self.0, "{}{value}", if labels.is_empty() { " " } else { "} " });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ActorRole, ActorState, ClockStatus, DropReason, LatencyStatus, LostReason, MatchedCameraStatus,
        SpreadStatus, Unmatched,
    };

    #[test]
    fn every_number_has_its_line() {
        let status = RigStatus {
            topology: "a \"b\"\\\n.toml".to_owned(),
            seconds: 1.5,
            actors: vec![ActorStatus {
                name: "left".to_owned(),
                role: ActorRole::Camera,
                state: ActorState::Running,
                produced: 100,
                lost: 7,
                lost_by_reason: [(LostReason::Device, 4), (LostReason::Wire, 3)].into(),
                copied: 90,
                restarts: 1,
                progress: String::new(),
                warned: 2,
                slots: 8,
                slots_in_use: 2,
                ..ActorStatus::default()
            }],
            links: vec![LinkStatus {
                from: "left".to_owned(),
                to: "view".to_owned(),
                produced: 100,
                delivered: 97,
                dropped: [(DropReason::DropOldest, 2), (DropReason::NoSlot, 0)].into(),
                in_flight: 1,
                latency_us: LatencyStatus {
                    sum: 250_000,
                    below: vec![(1024, 20), (2048, 90)],
                    ..LatencyStatus::default()
                },
                ..LinkStatus::default()
            }],
            matching: vec![MatchingStatus {
                processor: "fusion".to_owned(),
                matches: 50,
                spread_us: SpreadStatus { p50: 2000, p99: 9000, max: 9500 },
                cameras: vec![MatchedCameraStatus {
                    name: "left".to_owned(),
                    matched: 50,
                    offset_us: Some(1500.0),
                    unmatched: [(Unmatched::Missing, 3)].into(),
                    clock: Some(ClockStatus { offset_ms: -12.5, drift_ppm: 40.0, uncertainty_us: 100.0 }),
                    ..MatchedCameraStatus::default()
                }],
                ..MatchingStatus::default()
            }],
            processes: vec![ProcessStatus {
                name: "main".to_owned(),
                cpu_seconds: 0.25,
                private_bytes: 4096,
                shared_bytes: 8192,
                ..ProcessStatus::default()
            }],
            ..RigStatus::default()
        };
        let text = text(&status);
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                r#"camrig_up_seconds{topology="a \"b\"\\\n.toml"} 1.5"#,
                r#"camrig_framesets_produced_total{actor="left",role="camera"} 100"#,
                r#"camrig_framesets_lost_total{actor="left",role="camera"} 7"#,
                r#"camrig_framesets_copied_total{actor="left",role="camera"} 90"#,
                r#"camrig_restarts_total{actor="left",role="camera"} 1"#,
                r#"camrig_warnings_total{actor="left",role="camera"} 2"#,
                r#"camrig_slots{actor="left",role="camera"} 8"#,
                r#"camrig_slots_in_use{actor="left",role="camera"} 2"#,
                r#"camrig_framesets_lost_by_reason_total{actor="left",role="camera",reason="device"} 4"#,
                r#"camrig_framesets_lost_by_reason_total{actor="left",role="camera",reason="wire"} 3"#,
                r#"camrig_actor_state{actor="left",role="camera",state="running"} 1"#,
                r#"camrig_framesets_offered_total{from="left",to="view"} 100"#,
                r#"camrig_framesets_delivered_total{from="left",to="view"} 97"#,
                r#"camrig_framesets_in_flight{from="left",to="view"} 1"#,
                r#"camrig_framesets_dropped_total{from="left",to="view",reason="drop-oldest"} 2"#,
                r#"camrig_framesets_dropped_total{from="left",to="view",reason="no-slot"} 0"#,
                r#"camrig_latency_seconds_bucket{from="left",to="view",le="0.001024"} 20"#,
                r#"camrig_latency_seconds_bucket{from="left",to="view",le="0.002048"} 90"#,
                r#"camrig_latency_seconds_bucket{from="left",to="view",le="+Inf"} 97"#,
                r#"camrig_latency_seconds_sum{from="left",to="view"} 0.25"#,
                r#"camrig_latency_seconds_count{from="left",to="view"} 97"#,
                r#"camrig_matches_total{processor="fusion"} 50"#,
                r#"camrig_match_spread_seconds{processor="fusion",quantile="0.5"} 0.002"#,
                r#"camrig_match_spread_seconds{processor="fusion",quantile="0.99"} 0.009"#,
                r#"camrig_framesets_matched_total{processor="fusion",camera="left"} 50"#,
                r#"camrig_framesets_unmatched_total{processor="fusion",camera="left",reason="missing"} 3"#,
                r#"camrig_match_offset_seconds{processor="fusion",camera="left"} 0.0015"#,
                r#"camrig_clock_offset_seconds{processor="fusion",camera="left"} -0.0125"#,
                r#"camrig_clock_drift_ratio{processor="fusion",camera="left"} 0.00004"#,
                r#"camrig_process_cpu_seconds_total{process="main"} 0.25"#,
                r#"camrig_process_private_bytes{process="main"} 4096"#,
                r#"camrig_process_shared_bytes{process="main"} 8192"#,
            ]
        );
    }
}
