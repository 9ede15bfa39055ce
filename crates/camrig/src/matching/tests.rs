//! Tests of matching: framesets in, matches out, and the counters.

use std::sync::Arc;

use camrig_frame::{CameraInfo, PixelFormat, Stream};
use camrig_ipc::{LinkState, MatchCamera};

use super::*;
use crate::testing::{self, TestCamera};

const MILLIS: u64 = 1_000_000;

fn camera(name: &str) -> TestCamera {
    TestCamera::new(name, &[(Stream::DEPTH, PixelFormat::Z16, "1x1@30")])
}

/// Matches these cameras, each an input of its own, by the host's wall clock, which [`TestCamera`]s use.
fn matching(cameras: &[&str], partial: bool) -> Matching {
    let camera = |name: &&str| MatchedCamera { name: (*name).into(), input: (*name).into(), awaited: true };
    let spec = MatchSpec {
        window_nanos: 10 * MILLIS,
        partial,
        clock: MatchClock::System,
        queue: 3,
        blocks: true,
        cameras: cameras.iter().map(camera).collect(),
    };
    let stats = Arc::new(MatchStats::new(&spec).unwrap());
    Matching::new(spec, stats)
}

fn unmatched(stats: &MatchStats) -> Vec<[u64; Unmatched::ALL.len()]> {
    stats.status().cameras.iter().map(|(_, camera)| camera.unmatched).collect()
}

#[test]
fn a_match_is_one_frameset_of_each_camera() {
    let (mut left, mut right) = (camera("left"), camera("right"));
    let mut matching = matching(&["left", "right"], false);
    matching.push(left.frameset(0, &[&[0, 0]])).unwrap();
    matching.push(left.frameset(100 * MILLIS, &[&[1, 0]])).unwrap();
    matching.push(right.frameset(102 * MILLIS, &[&[2, 0]])).unwrap();
    // The next frameset of `left` could match that of `right`.
    assert!(matching.next().is_none());
    matching.end("left");
    let matched = matching.next().unwrap();
    assert!(matching.next().is_none());
    assert_eq!(
        (matched.number(), matched.spread(), matched.is_complete()),
        (0, Duration::from_millis(2), true)
    );
    let sequences: Vec<_> =
        matched.framesets().iter().map(|frames| (frames.camera(), frames.sequence())).collect();
    assert_eq!(sequences, [("left", 1), ("right", 0)]);
    assert_eq!(matched.get("right").map(FrameSet::sequence), Some(0));
    assert!(matched.get("top").is_none());

    let stats = Arc::clone(matching.stats());
    matching.push(right.frameset(200 * MILLIS, &[&[3, 0]])).unwrap();
    assert!(matching.next().is_none());
    matching.push(right.frameset(300 * MILLIS, &[&[3, 0]])).unwrap();
    drop(matching);
    let status = stats.status();
    assert_eq!((status.counts.matches, status.counts.partial, status.counts.spread.max), (1, 0, 2000));
    let left = MatchCamera { matched: 1, unmatched: [1, 0, 0, 0, 0, 0], ..MatchCamera::default() };
    let right = MatchCamera { matched: 1, unmatched: [2, 0, 0, 0, 0, 0], ..MatchCamera::default() };
    assert_eq!(status.cameras, [("left", left), ("right", right)]);
}

#[test]
fn a_stopped_reader_leaves_queued_framesets_unmatched() {
    let mut left = camera("left");
    let mut matching = matching(&["left", "right"], true);
    for nanos in [0, 100 * MILLIS, 200 * MILLIS] {
        assert!(matching.has_room("left"));
        matching.push(left.frameset(nanos, &[&[0, 0]])).unwrap();
    }
    assert!(!matching.has_room("left") && matching.has_room("right"));
    matching.forget();
    assert_eq!(unmatched(matching.stats()), [[0, 0, 0, 0, 0, 3], [0; 6]]);
    assert!(matching.has_room("left") && matching.next().is_none());

    // A silent camera is given up: the others are matched without it, until its next frameset.
    matching.push(left.frameset(300 * MILLIS, &[&[0, 0]])).unwrap();
    assert!(matching.next().is_none());
    matching.give_up();
    let matched = matching.next().unwrap();
    assert_eq!((matched.framesets().len(), matched.is_complete()), (1, false));
    assert_eq!(matching.stats().status().counts.partial, 1);
}

#[test]
fn errors_name_the_frameset_or_clock_that_cannot_be_matched() {
    let mut matching = matching(&["left"], false);
    let error = matching.push(camera("other").frameset(0, &[&[0, 0]])).unwrap_err();
    assert_eq!(error.to_string(), "a frameset of camera `other` came from `other`, which does not read it");
    matching.spec.clock = MatchClock::Global;
    let error = matching.push(camera("left").frameset(0, &[&[0, 0]])).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`match` compares `global` clocks, but `left` stamps by `system`; declare the clock that all of them \
         have, or `clock = \"estimated\"`"
    );
    assert_eq!(unmatched(matching.stats()), [[0, 0, 0, 0, 0, 1]]);
}

#[test]
fn a_match_is_published_under_its_number() {
    let (mut left, mut right) = (camera("left"), camera("right"));
    let mut matching = matching(&["left", "right"], false);
    for (index, nanos) in [0, 100 * MILLIS, 200 * MILLIS].into_iter().enumerate() {
        matching.push(left.frameset(nanos, &[&[index as u8, 0]])).unwrap();
        matching.push(right.frameset(nanos, &[&[index as u8, 0]])).unwrap();
    }
    matching.next().unwrap();
    let second = matching.next().unwrap();
    let (mut output, link) =
        testing::output_with_reader("match", &[("left", &Arc::new(LinkState::new().unwrap()))]);
    output.forward_match(&second).unwrap();
    let published: Vec<_> = std::iter::from_fn(|| link.take()).collect();
    let header = |frames: &FrameSet| (frames.camera().to_owned(), frames.sequence(), frames.header().matched);
    assert_eq!(
        published.iter().map(header).collect::<Vec<_>>(),
        [("left".to_owned(), 0, Some(1)), ("right".to_owned(), 1, Some(1))]
    );
    // Forwarding it once more keeps the number.
    output.forward(&published[1]).unwrap();
    assert_eq!(link.take().map(|frames| frames.header().matched), Some(Some(1)));
    assert_eq!(second.framesets()[0].header().matched, None);
}

#[test]
fn a_frameset_made_from_a_match_has_its_number_its_latest_arrival_and_its_origins() {
    let (mut left, mut right) = (camera("left"), camera("right"));
    let mut matching = matching(&["left", "right"], false);
    for nanos in [0, 100 * MILLIS] {
        matching.push(left.frameset(nanos, &[&[0, 0]])).unwrap();
        matching.push(right.frameset(nanos + MILLIS, &[&[0, 0]])).unwrap();
    }
    matching.end("left");
    matching.end("right");
    matching.next().unwrap();
    let second = matching.next().unwrap();
    let (mut output, link) = testing::output_with_reader("fusion", &[]);
    let volume = Arc::new(CameraInfo { name: "volume".to_owned(), ..CameraInfo::default() });
    let headers = second.framesets()[0].header().frames.clone();
    output.derive_match(&volume, &second, headers).map(|loan| output.publish(loan.unwrap())).unwrap();
    let made = link.take().unwrap();
    assert_eq!((made.camera(), made.producer(), made.sequence()), ("volume", "fusion", 0));
    assert_eq!((made.header().matched, made.arrival_nanos()), (Some(1), 101 * MILLIS));
    let origins: Vec<_> =
        made.origins().iter().map(|origin| (origin.camera.to_string(), origin.sequence)).collect();
    assert_eq!(origins, [("left".to_owned(), 1), ("right".to_owned(), 1)]);
}
