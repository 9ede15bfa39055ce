//! Tests of matching on simulated rigs: counts right and wrong matches over up to an hour.

use std::collections::BTreeMap;

use camrig_frame::{Clock, Timestamp};
use camrig_ipc::Unmatched;

use super::clock::CameraClock;
use super::simulation::Random;
use super::window::{Decision, LaneRules, Rules, Window};

const MILLIS: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;
const RATE: u64 = 30;
const HOUR: u64 = 3600;
/// The first trigger of the cameras, by the host's clock.
const START: u64 = 1000 * SECOND;
const DEPTH: usize = 8;

/// A camera that is triggered with the others and has a clock of its own.
#[derive(Clone, Copy)]
struct SimulatedCamera {
    /// Time from the trigger to its exposure.
    skew_nanos: u64,
    /// Rate error of its clock: positive if it is too fast.
    drift_ppm: f64,
    /// The minimum latency to the host, and the largest addition to it.
    latency_nanos: u64,
    jitter_nanos: u64,
    /// Percentage of framesets that are lost.
    lost_percent: u64,
    /// It takes a frameset at every n-th trigger.
    every: u64,
    /// The seconds between which it is disconnected; its clock and its numbers restart afterwards.
    disconnected: Option<(u64, u64)>,
}

const CAMERA: SimulatedCamera = SimulatedCamera {
    skew_nanos: 0,
    drift_ppm: 0.0,
    latency_nanos: 5 * MILLIS,
    jitter_nanos: 3 * MILLIS,
    lost_percent: 0,
    every: 1,
    disconnected: None,
};

/// A frameset as it arrives.
struct Arrival {
    at_nanos: u64,
    lane: usize,
    trigger: u64,
    timestamp: Timestamp,
    number: u64,
}

/// Returns the framesets of a rig's cameras in the order of arrival.
fn arrivals(cameras: &[SimulatedCamera], seconds: u64, random: &mut Random) -> Vec<Arrival> {
    let mut all = Vec::new();
    for (lane, camera) in cameras.iter().enumerate() {
        let (mut last_arrival, mut epoch_nanos, mut number) = (0, 0, 0);
        for trigger in (0..seconds * RATE).step_by(camera.every as usize) {
            number += 1;
            let is_disconnected = |(from, to): (u64, u64)| (from * RATE..to * RATE).contains(&trigger);
            let taken = START + trigger * SECOND / RATE + camera.skew_nanos;
            if camera.disconnected.is_some_and(is_disconnected) {
                (epoch_nanos, number) = (taken, 0);
            }
            if camera.disconnected.is_some_and(is_disconnected) || random.below(100) < camera.lost_percent {
                continue;
            }
            let age = taken - epoch_nanos + random.below(200_000);
            let nanos = age.saturating_add_signed((age as f64 * camera.drift_ppm * 1e-6) as i64);
            // Sometimes the host is delayed.
            let busy = if random.below(1000) == 0 { random.below(80 * MILLIS) } else { 0 };
            let arrival = taken + camera.latency_nanos + random.below(camera.jitter_nanos) + busy;
            last_arrival = arrival.max(last_arrival + 1);
            let timestamp = Timestamp { clock: Clock::Hardware, nanos };
            all.push(Arrival { at_nanos: last_arrival, lane, trigger, timestamp, number });
        }
    }
    all.sort_by_key(|arrival| arrival.at_nanos);
    all
}

/// The matches of a rig.
#[derive(Default, Debug)]
struct Outcome {
    /// Matches of one trigger, by the number of cameras in them.
    right: BTreeMap<usize, u64>,
    /// Matches of several triggers.
    wrong: u64,
    unmatched: BTreeMap<&'static str, u64>,
    epochs: u64,
}

fn run(rules: Rules, cameras: &[SimulatedCamera], arrivals: Vec<Arrival>) -> Outcome {
    let gap_nanos = |camera: &SimulatedCamera| SECOND * camera.every / RATE / 2;
    let lane_rules = |camera: &SimulatedCamera| LaneRules {
        awaited: true,
        required: !rules.partial,
        gap_nanos: gap_nanos(camera),
    };
    let mut window = Window::new(rules, cameras.iter().map(lane_rules));
    let mut clocks: Vec<_> = cameras.iter().map(|_| CameraClock::new(true)).collect();
    let (mut outcome, mut last_trigger) = (Outcome::default(), None);
    let mut take = |window: &mut Window<u64>, outcome: &mut Outcome| {
        while let Some(decided) = window.pop() {
            match decided {
                Decision::Match(set) => {
                    let times = || set.iter().map(|(_, item)| item.nanos);
                    assert!(times().max().unwrap() - times().min().unwrap() <= rules.window_nanos);
                    let trigger = set[0].1.value;
                    if set.iter().all(|(_, item)| item.value == trigger) {
                        *outcome.right.entry(set.len()).or_default() += 1;
                    } else {
                        outcome.wrong += 1;
                    }
                    assert!(last_trigger < Some(trigger), "matches come in the order of time");
                    last_trigger = Some(trigger);
                }
                Decision::Unmatched(_, reason, _) => {
                    *outcome.unmatched.entry(reason.name()).or_default() += 1;
                }
            }
        }
    };
    for Arrival { at_nanos, lane, trigger, timestamp, number } in arrivals {
        let reading = clocks[lane].read(timestamp, number, at_nanos);
        outcome.epochs += u64::from(reading.restarted);
        match reading.nanos {
            Some(nanos) => _ = window.push(lane, nanos, trigger),
            None => *outcome.unmatched.entry(Unmatched::Unsettled.name()).or_default() += 1,
        }
        assert!(window.waiting() <= DEPTH * cameras.len());
        take(&mut window, &mut outcome);
    }
    (0..cameras.len()).for_each(|lane| assert!(window.end(lane)));
    take(&mut window, &mut outcome);
    assert_eq!(window.waiting(), 0);
    outcome
}

/// Returns the number of triggers that each number of cameras delivered; the first second of a clock does not count.
fn delivered(cameras: &[SimulatedCamera], arrivals: &[Arrival]) -> BTreeMap<usize, u64> {
    let mut of_trigger: BTreeMap<u64, usize> = BTreeMap::new();
    for arrival in arrivals {
        let back = cameras[arrival.lane].disconnected.map_or(0, |(_, to)| to * RATE);
        let settled = arrival.trigger >= RATE && !(back..back + RATE).contains(&arrival.trigger);
        *of_trigger.entry(arrival.trigger).or_default() += usize::from(settled);
    }
    let mut counts = BTreeMap::new();
    for cameras in of_trigger.into_values() {
        *counts.entry(cameras).or_default() += 1;
    }
    counts
}

const RULES: Rules = Rules { window_nanos: 15 * MILLIS, partial: false, depth: DEPTH };

/// Runs a rig and checks that no match is wrong and at least 999 of 1000 complete matches are found.
#[track_caller]
fn finds_all(rules: Rules, cameras: &[SimulatedCamera], seconds: u64) -> Outcome {
    let arrivals = arrivals(cameras, seconds, &mut Random::new(11));
    let delivered = delivered(cameras, &arrivals);
    let outcome = run(rules, cameras, arrivals);
    assert_eq!(outcome.wrong, 0, "{outcome:?}");
    let [found, whole] =
        [&outcome.right, &delivered].map(|sets| sets.get(&cameras.len()).copied().unwrap_or(0));
    assert!(whole > 0 && found * 1000 >= whole * 999, "{found} of {whole}: {outcome:?}");
    outcome
}

fn skewed() -> [SimulatedCamera; 4] {
    [
        SimulatedCamera { drift_ppm: 50.0, ..CAMERA },
        SimulatedCamera { skew_nanos: 4 * MILLIS, latency_nanos: 6 * MILLIS, drift_ppm: -50.0, ..CAMERA },
        SimulatedCamera { skew_nanos: 9 * MILLIS, drift_ppm: 20.0, ..CAMERA },
        SimulatedCamera { skew_nanos: 12 * MILLIS, ..CAMERA },
    ]
}

#[test]
fn known_skews_and_drifting_clocks_for_an_hour() {
    let outcome = finds_all(RULES, &skewed(), HOUR);
    assert_eq!(outcome.epochs, 0);
}

#[test]
fn lost_framesets_cause_no_wrong_matches() {
    let outcome =
        finds_all(RULES, &skewed().map(|camera| SimulatedCamera { lost_percent: 5, ..camera }), HOUR);
    assert!(outcome.unmatched["missing"] > 0, "{outcome:?}");
}

#[test]
fn framesets_that_arrive_in_another_order_than_taken() {
    let mut cameras = skewed();
    for (camera, latency_millis) in cameras.iter_mut().zip([2, 70, 30, 5]) {
        (camera.latency_nanos, camera.jitter_nanos) = (latency_millis * MILLIS, 30 * MILLIS);
    }
    // The estimator counts the minimum latency as offset; here exact times are used instead.
    let arrivals = arrivals(&cameras, 600, &mut Random::new(5));
    let (mut window, mut found) =
        (Window::new(RULES, [LaneRules { awaited: true, required: true, gap_nanos: 16 * MILLIS }; 4]), 0);
    for arrival in &arrivals {
        let nanos = START + arrival.trigger * SECOND / RATE + cameras[arrival.lane].skew_nanos;
        window.push(arrival.lane, nanos, arrival.trigger);
        while let Some(decided) = window.pop() {
            let Decision::Match(set) = decided else { panic!("{decided:?}") };
            assert!(set.iter().all(|(_, item)| item.value == set[0].1.value));
            found += 1;
        }
    }
    assert!(found >= 600 * RATE - DEPTH as u64, "{found}");
}

#[test]
fn a_camera_at_half_the_rate() {
    let cameras = [CAMERA, SimulatedCamera { every: 2, skew_nanos: 7 * MILLIS, ..CAMERA }, CAMERA];
    let outcome = finds_all(RULES, &cameras, HOUR / 6);
    assert!(outcome.unmatched["missing"] > 0, "{outcome:?}");
    let partial = finds_all(Rules { partial: true, ..RULES }, &cameras, HOUR / 6);
    assert!(partial.right[&2] >= HOUR / 6 * RATE / 2 - RATE, "{partial:?}");
}

/// Cameras half an interval apart, where each frameset fits two of the other camera nearly as well.
#[test]
fn complete_matches_are_not_split_where_cameras_may_be_missing() {
    let half = SECOND / RATE / 2;
    let cameras = [CAMERA, SimulatedCamera { skew_nanos: half, ..CAMERA }];
    let rules = Rules { window_nanos: 23 * MILLIS, partial: true, depth: DEPTH };
    let arrivals = arrivals(&cameras, 600, &mut Random::new(3));
    let sizes = sizes(rules, &cameras, &arrivals);
    assert!(sizes[&2] >= 599 * RATE && sizes.get(&1).copied().unwrap_or(0) < RATE / 2, "{sizes:?}");
}

/// Returns the number of matches for each number of cameras, by the cameras' true clocks.
fn sizes(rules: Rules, cameras: &[SimulatedCamera], arrivals: &[Arrival]) -> BTreeMap<usize, u64> {
    let lane_rules = LaneRules { awaited: true, required: false, gap_nanos: SECOND / RATE / 2 };
    let mut window = Window::new(rules, cameras.iter().map(|_| lane_rules));
    let mut sizes = BTreeMap::new();
    for arrival in arrivals {
        window.push(arrival.lane, arrival.timestamp.nanos, ());
        while let Some(decided) = window.pop() {
            if let Decision::Match(set) = decided {
                *sizes.entry(set.len()).or_default() += 1;
            }
        }
    }
    sizes
}

#[test]
fn a_camera_that_restarts() {
    let cameras =
        [CAMERA, SimulatedCamera { disconnected: Some((300, 307)), drift_ppm: 50.0, ..CAMERA }, CAMERA];
    for partial in [false, true] {
        let outcome = finds_all(Rules { partial, ..RULES }, &cameras, 600);
        assert_eq!(outcome.epochs, 1);
        assert!(!partial || outcome.right[&2] >= 6 * RATE, "{outcome:?}");
    }
}

#[test]
fn a_dead_camera_does_not_stall_a_match_that_may_lack_it() {
    let cameras = [CAMERA, SimulatedCamera { disconnected: Some((10, HOUR)), ..CAMERA }, CAMERA];
    let partial = finds_all(Rules { partial: true, ..RULES }, &cameras, 600);
    assert!(partial.right[&2] >= 589 * RATE, "{partial:?}");
    let dropped = finds_all(RULES, &cameras, 600);
    assert!(dropped.unmatched["missing"] >= 2 * 589 * RATE, "{dropped:?}");
}
