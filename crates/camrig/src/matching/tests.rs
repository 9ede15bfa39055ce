//! Tests of matching: framesets in, matches out, and the counters.

use std::sync::Arc;

use camrig_frame::{CameraInfo, Payload, PixelFormat, Stream, StreamInfo, Timestamp};
use camrig_ipc::{LinkState, MatchCamera};

use super::*;
use crate::testing::{self, TestCamera};

const MILLIS: u64 = 1_000_000;

fn camera(name: &str) -> TestCamera {
    TestCamera::new(name, &[(Stream::DEPTH, PixelFormat::Z16, "1x1@30")])
}

/// Matches these cameras, each an input of its own, by the host's wall clock, which [`TestCamera`]s use.
fn matching(cameras: &[&str], partial: bool) -> Matching {
    let camera = |name: &&str| MatchedCamera {
        name: (*name).into(),
        input: (*name).into(),
        awaited: true,
        required: !partial,
    };
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
    matching.end("left").unwrap();
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
    let camera = |offset_millis, missing| MatchCamera {
        matched: 1,
        offset: Some(Duration::from_millis(offset_millis)),
        unmatched: [missing, 0, 0, 0, 0, 0, 0, 0],
        ..MatchCamera::default()
    };
    let (left, right) = (camera(0, 1), camera(2, 2));
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
    assert_eq!(unmatched(matching.stats()), [[0, 0, 0, 0, 0, 3, 0, 0], [0; 8]]);
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
}

/// The time of a frame of a camera at 30 frames per second.
fn time(number: u64) -> u64 {
    10_000_000 * MILLIS + number * 1000 * MILLIS / 30
}

/// Pushes the next frameset of `camera`, taken at `nanos` of `clock`.
fn push(
    matching: &mut Matching,
    camera: &mut TestCamera,
    clock: Clock,
    nanos: u64,
) -> Result<(), MatchError> {
    matching.push(camera.stamped(Timestamp { clock, nanos }, &[&[0, 0]])).map(drop)
}

/// Pushes frameset `number` of `camera` when it arrives, with a timestamp that may leap.
fn push_leapt(matching: &mut Matching, camera: &mut TestCamera, number: u64, nanos: u64) {
    let timestamp = Timestamp { clock: Clock::Global, nanos };
    matching.push(camera.arriving(time(number), timestamp, &[&[0, 0]])).unwrap();
}

fn matches(matching: &mut Matching) -> usize {
    std::iter::from_fn(|| matching.next()).count()
}

#[test]
fn framesets_of_another_clock_are_counted_until_the_library_has_mapped_the_cameras_clock() {
    let (mut left, mut right) = (camera("left"), camera("right"));
    let mut matching = matching(&["left", "right"], false);
    matching.spec.clock = MatchClock::Global;
    let mut found = 0;
    for number in 0..60 {
        let clock = if number < 20 { Clock::System } else { Clock::Global };
        push(&mut matching, &mut left, clock, time(number)).unwrap();
        while !matching.has_room("right") {
            assert!(number < 20, "`right` waits for `left` only as long as that has another clock");
            matching.give_up();
            found += matches(&mut matching);
        }
        push(&mut matching, &mut right, Clock::Global, time(number) + MILLIS).unwrap();
        found += matches(&mut matching);
    }
    let [left, right] = unmatched(matching.stats()).try_into().unwrap();
    assert_eq!((found, left), (40, [0, 0, 0, 0, 0, 0, 20, 0]));
    assert_eq!(right.iter().sum::<u64>(), 20);
}

#[test]
fn a_camera_that_keeps_another_clock_is_an_error_where_every_match_requires_it() {
    let expected = "`match` compares `global` clocks, but `left` uses `system`, `right` uses `global`; declare \
                    the clock that all of them have, or `clock = \"estimated\"`";
    for partial in [false, true] {
        let (mut left, mut right) = (camera("left"), camera("right"));
        let mut matching = matching(&["left", "right"], partial);
        matching.spec.clock = MatchClock::Global;
        push(&mut matching, &mut right, Clock::Global, time(0)).unwrap();
        for number in 0..89 {
            push(&mut matching, &mut left, Clock::System, time(number)).unwrap();
        }
        let last = push(&mut matching, &mut left, Clock::System, time(89));
        if partial {
            last.unwrap();
            // Nothing waits for it any more.
            assert_eq!(matches(&mut matching), 1);
        } else {
            assert_eq!(last.unwrap_err().to_string(), expected);
        }
        assert_eq!(unmatched(matching.stats())[0], [0, 0, 0, 0, 0, 0, 90, 0]);
    }
}

#[test]
fn a_camera_that_ends_with_another_clock_is_the_same_error() {
    let (mut left, mut matching) = (camera("left"), matching(&["left"], false));
    matching.spec.clock = MatchClock::Global;
    push(&mut matching, &mut left, Clock::System, time(0)).unwrap();
    assert_eq!(
        matching.end("left").unwrap_err().to_string(),
        "`match` compares `global` clocks, but `left` uses `system`; declare the clock that all of them \
         have, or `clock = \"estimated\"`"
    );
}

#[test]
fn a_timestamp_that_leaps_holds_up_nothing() {
    for (leap_seconds, from, to) in
        [(4292_i64, 20, 40), (2, 20, 40), (-2, 20, 40), (4292, 20, 21), (2, 20, 100)]
    {
        let (mut left, mut right) = (camera("left"), camera("right"));
        let mut matching = matching(&["left", "right"], false);
        matching.spec.clock = MatchClock::Global;
        let mut found = 0;
        for number in 0..100 {
            let leap = if (from..to).contains(&number) { leap_seconds * 1000 * MILLIS as i64 } else { 0 };
            let nanos = time(number).saturating_add_signed(leap);
            assert!(matching.has_room("left") && matching.has_room("right"), "{leap_seconds} s at {number}");
            push_leapt(&mut matching, &mut left, number, nanos);
            push(&mut matching, &mut right, Clock::Global, time(number) + MILLIS).unwrap();
            found += matches(&mut matching);
        }
        let lost = to - from;
        assert_eq!(found as u64, 100 - lost, "{leap_seconds} s");
        assert_eq!(unmatched(matching.stats())[0], [0, 0, 0, 0, 0, 0, 0, lost], "{leap_seconds} s");
    }
}

#[test]
fn a_timestamp_that_leaps_back_and_forth_loses_the_leaping_framesets() {
    let (mut left, mut right) = (camera("left"), camera("right"));
    let mut matching = matching(&["left", "right"], true);
    matching.spec.clock = MatchClock::Global;
    let mut complete = 0;
    for number in 0..100 {
        let leap = if number % 3 == 1 { 7_000 * MILLIS } else { 0 };
        push_leapt(&mut matching, &mut left, number, time(number) + leap);
        push(&mut matching, &mut right, Clock::Global, time(number) + MILLIS).unwrap();
        complete += std::iter::from_fn(|| matching.next()).filter(Match::is_complete).count();
    }
    assert_eq!((complete, unmatched(matching.stats())[0]), (67, [0, 0, 0, 0, 0, 0, 0, 33]));
}

/// Nobody else knows whether the clock was set.
#[test]
fn a_leap_is_followed_when_the_other_cameras_have_ended_or_are_silent() {
    for (ends, left_out) in [(true, 0), (false, 5 * 30)] {
        let (mut left, mut right) = (camera("left"), camera("right"));
        let mut matching = matching(&["left", "right"], true);
        matching.spec.clock = MatchClock::Global;
        let mut found = 0;
        for number in 0..20 {
            push_leapt(&mut matching, &mut left, number, time(number));
            push_leapt(&mut matching, &mut right, number, time(number));
            found += matches(&mut matching);
        }
        if ends {
            matching.end("left").unwrap();
        }
        for number in 20..220 {
            push_leapt(&mut matching, &mut right, number, time(number) + 3_600_000 * MILLIS);
            matching.give_up();
            found += matches(&mut matching);
        }
        assert_eq!(unmatched(matching.stats()), [[0; 8], [0, 0, 0, 0, 0, 0, 0, left_out]], "{ends}");
        assert_eq!(found as u64, 220 - left_out, "{ends}");
    }
}

#[test]
fn a_camera_whose_rate_is_not_known_is_matched() {
    let unknown = StreamInfo::new(Stream::DEPTH, Payload::image(PixelFormat::Z16, 1, 1), 0);
    let (mut left, mut right) = (TestCamera::with_streams("left", vec![unknown], 0.001), camera("right"));
    let mut matching = matching(&["left", "right"], false);
    matching.spec.clock = MatchClock::Hardware;
    for camera in [&mut left, &mut right] {
        push(&mut matching, camera, Clock::Hardware, time(0)).unwrap();
    }
    assert_eq!(matches(&mut matching), 1);
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
    matching.end("left").unwrap();
    matching.end("right").unwrap();
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
