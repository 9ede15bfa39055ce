//! Tests of the keys for restarts and time-outs.

use std::time::Duration;

use super::registry;
use crate::topology::{ActorSpec, Problems, RestartPolicy, Topology};

/// Parses a camera and a processor with these keys.
fn parse(camera: &str, processor: &str) -> Result<Topology, Problems> {
    let text = format!(
        "[camera.c]\ndriver = 'even'\noptions = {{ serial = 2 }}\n{camera}\n\
         [processor.p]\nkind = 'idle'\ninputs = ['c']\n{processor}\n"
    );
    Topology::parse("t.toml", &text, None, &registry())
}

fn actors(camera: &str, processor: &str) -> (ActorSpec, ActorSpec) {
    let topology = parse(camera, processor).unwrap();
    (topology.actors()[0].clone(), topology.actors()[1].clone())
}

#[track_caller]
fn refused(camera: &str, processor: &str, expected: &[&str]) {
    let problems = parse(camera, processor).expect_err("the text has problems").to_string();
    let titles: Vec<_> = problems.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
    assert_eq!(titles, expected, "\n{problems}");
}

#[test]
fn omitted_keys_have_defaults() {
    let (camera, processor) = actors("", "");
    let policy = RestartPolicy {
        max: 5,
        window: Duration::from_secs(60),
        backoff: Duration::from_millis(100),
        backoff_max: Duration::from_secs(5),
        device_timeout: Duration::from_secs(3600),
    };
    assert_eq!(camera.restart, policy);
    assert_eq!(camera.stall_timeout, Some(Duration::from_secs(5)));
    assert_eq!(camera.start_timeout, Some(Duration::from_secs(90)));
    assert_eq!(processor.start_timeout, Some(Duration::from_secs(90)));
    assert_eq!(processor.restart, RestartPolicy { device_timeout: Duration::ZERO, ..policy });
    assert_eq!(processor.stall_timeout, Some(Duration::from_secs(30)));
}

#[test]
fn every_key_can_be_set() {
    let (camera, processor) = actors(
        "restart = { max = 0, window = 1, backoff_millis = 2, backoff_max_millis = 3 }\n\
         stall_timeout_millis = 4\ndevice_timeout_millis = 0\nstart_timeout_millis = 5",
        "start_timeout_millis = 0\nrestart.backoff_millis = 9000\nstall_timeout_millis = 0",
    );
    let policy = RestartPolicy {
        max: 0,
        window: Duration::from_secs(1),
        backoff: Duration::from_millis(2),
        backoff_max: Duration::from_millis(3),
        device_timeout: Duration::ZERO,
    };
    assert_eq!((camera.restart, camera.stall_timeout), (policy, Some(Duration::from_millis(4))));
    // A long pause alone raises the maximum too; a time-out of 0 disables it.
    assert_eq!(processor.restart.backoff_max, Duration::from_secs(9));
    assert_eq!((processor.stall_timeout, processor.start_timeout), (None, None));
    assert_eq!(camera.start_timeout, Some(Duration::from_millis(5)));
}

#[test]
fn invalid_values_are_refused() {
    refused("restart = 3", "", &["`restart` of camera `c` is an integer"]);
    refused(
        "restart = { mx = 1, window = 0 }\nstall_timeout_millis = 86400001",
        "device_timeout_millis = 1\nrestart.max = 1001",
        &[
            "unknown key `mx` of `restart` of camera `c`",
            "`window` of `restart` of camera `c` is out of range",
            "`stall_timeout_millis` of camera `c` is out of range",
            "unknown key `device_timeout_millis` of processor `p`",
            "`max` of `restart` of processor `p` is out of range",
        ],
    );
}
