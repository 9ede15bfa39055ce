//! Tests of the due times of several cameras' framesets, by the recording's clock, without waiting.

use std::path::Path;
use std::sync::{Arc, Mutex};

use camrig::frame::{Clock, Name, Origin, Timestamp};
use camrig::{FrameSet, NoOptions, Processor, ProcessorError, ProcessorOutput, Registry, Rig};

use super::*;
use crate::record::testing::{ORIGIN, PERIOD, TestFolder, write_apart, write_made, write_stamped};

const CAMERAS: [&str; 3] = ["left", "right", "top"];
const FRAMESETS: u64 = 5;
/// Time from one camera's frameset to the next camera's.
const APART: u64 = 7_000_000;

/// Returns every frameset of the cameras: due time in microseconds, camera and recorded number, sorted.
fn schedule(file: &Path, options: &str, count: usize) -> Vec<(u128, &'static str, u64)> {
    let mut all = Vec::new();
    for name in CAMERAS {
        let options: ReplayOptions =
            toml::from_str(&format!("file = '{}'\n{options}", file.display())).unwrap();
        let mut replay = Replay::open(name, options).unwrap();
        for _ in 0..count {
            let Some(frameset) = &replay.next else { break };
            all.push((replay.due(frameset.log_time).as_micros(), name, frameset.record.sequence));
            replay.advance();
        }
    }
    all.sort_unstable();
    all
}

/// Returns the framesets `first..last` of each camera, in nanoseconds of the recording after `begin`.
fn recorded(begin: u64, first: u64, last: u64) -> Vec<(u64, &'static str, u64)> {
    let time = |sequence: u64, camera: usize| sequence * PERIOD + camera as u64 * APART;
    let one = |sequence| {
        CAMERAS.into_iter().enumerate().map(move |(at, name)| (time(sequence, at), name, sequence))
    };
    (first..last).flat_map(one).map(|(nanos, name, sequence)| (nanos - begin, name, sequence)).collect()
}

fn at_speed(framesets: Vec<(u64, &'static str, u64)>, speed: f64) -> Vec<(u128, &'static str, u64)> {
    let micros = |nanos: u64| Duration::from_nanos((nanos as f64 / speed) as u64).as_micros();
    framesets.into_iter().map(|(nanos, name, sequence)| (micros(nanos), name, sequence)).collect()
}

#[test]
fn cameras_keep_their_relative_timing_at_every_speed() {
    let folder = TestFolder::new("timing");
    let file = folder.path().join("rig.mcap");
    write_apart(&file, &CAMERAS, FRAMESETS, APART);
    for speed in [1.0, 0.25, 4.0, 1000.0] {
        let found = schedule(&file, &format!("speed = {speed:?}"), 100);
        assert_eq!(found, at_speed(recorded(0, 0, FRAMESETS), speed), "{speed}");
    }
    // A replay with a later start has all framesets from then on, by the same clock.
    let found = schedule(&file, "from_seconds = 0.03\nto_seconds = 0.09", 100);
    assert_eq!(found, at_speed(recorded(30_000_000, 1, 3), 1.0));
}

#[test]
fn repetitions_of_several_cameras_begin_together() {
    let folder = TestFolder::new("rounds");
    let file = folder.path().join("rig.mcap");
    write_apart(&file, &CAMERAS, FRAMESETS, APART);
    let rounds = 3;
    let found = schedule(&file, "repeat = true", FRAMESETS as usize * rounds);
    // From the first frameset of any camera to the last, plus one frame.
    let round_nanos = (FRAMESETS - 1) * PERIOD + 2 * APART + 1_000_000_000 / 30;
    let round = |round: u64| {
        let framesets = recorded(0, 0, FRAMESETS).into_iter();
        framesets.map(move |(nanos, name, sequence)| (nanos + round * round_nanos, name, sequence))
    };
    let expected = (0..rounds as u64).flat_map(round).collect();
    assert_eq!(found, at_speed(expected, 1.0));
}

#[test]
fn a_start_after_the_end_is_refused_before_anything_starts() {
    let folder = TestFolder::new("behind");
    let file = folder.path().join("rig.mcap");
    write_apart(&file, &CAMERAS, FRAMESETS, APART);
    let options = |from: f64| -> ReplayOptions {
        toml::from_str(&format!("file = '{}'\ncamera = 'left'\nfrom_seconds = {from:?}", file.display()))
            .unwrap()
    };
    assert!(Replay::probe(&options(0.1)).is_ok());
    let error = Replay::probe(&options(0.2)).unwrap_err().to_string();
    assert_eq!(error, format!("`from_seconds` is 0.2, but `{}` lasts 0.147 s", file.display()));
    assert_eq!(Replay::open("left", options(0.2)).err().unwrap().to_string(), error);
}

/// Recordings do not all start with the rig: frames that were recorded together would have no partner.
#[test]
fn a_recording_begins_at_its_place_in_the_timeline() {
    let folder = TestFolder::new("timeline");
    let file = folder.path().join("rig.mcap");
    write_apart(&file, &["left"], FRAMESETS, 0);
    let options = |more: &str| -> ReplayOptions {
        toml::from_str(&format!("file = '{}'\n{more}", file.display())).unwrap()
    };
    let end = ORIGIN + (FRAMESETS - 1) * PERIOD + 1_000_000_000 / 30;
    assert_eq!(Replay::recorded(&options("")).unwrap(), Some(ORIGIN..end));
    let part = options("from_seconds = 0.03\nto_seconds = 0.09");
    assert_eq!(Replay::recorded(&part).unwrap(), Some(ORIGIN + 30_000_000..ORIGIN + 90_000_000));
    assert_eq!(Replay::recorded(&options("paced = false")).unwrap(), None);

    let mut replay = Replay::open("left", options("repeat = true\nspeed = 2.0")).unwrap();
    let second = 1_000_000_000;
    replay.join(ORIGIN - 2 * second..ORIGIN + 4 * second);
    for round in 0..2 {
        for number in 0..FRAMESETS {
            let due = replay.due(replay.next.as_ref().unwrap().log_time);
            assert_eq!(due.as_nanos(), u128::from((2 * second + round * 6 * second + number * PERIOD) / 2));
            replay.advance();
        }
    }
}

/// One frameset as a processor saw it: the number of its match, and its origins.
type Seen = (Option<u64>, Vec<Origin>);

struct Look(Arc<Mutex<Vec<Seen>>>);

impl Processor for Look {
    fn process(&mut self, frames: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        self.0.lock().unwrap().push((frames.header().matched, frames.origins().to_vec()));
        Ok(())
    }
}

/// A replay restores both, not only the frames.
#[test]
fn matches_and_origins_are_replayed() {
    let folder = TestFolder::new("origins");
    let file = folder.path().join("rig.mcap");
    let origin = |camera: &str, sequence| Origin {
        camera: Name::new(camera).unwrap(),
        sequence,
        timestamp: Some(Timestamp { clock: Clock::Hardware, nanos: 7 * sequence }),
    };
    let made = |sequence: u64| -> Seen {
        let origins = [origin("left", sequence + 1), origin("right", 2 * sequence)];
        (Some(sequence + 10), origins.to_vec())
    };
    write_made(&file, "mosaic", FRAMESETS, made);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let looked = Arc::clone(&seen);
    let registry = Registry::new()
        .with_driver::<Replay>("replay")
        .with_processor("look", move |_: NoOptions| Ok(Look(Arc::clone(&looked))));
    let topology = format!(
        "placement = 'in-process'\n[camera.mosaic]\ndriver = 'replay'\n\
         options = {{ file = '{}', paced = false }}\n\
         [processor.look]\nkind = 'look'\ninputs = ['mosaic']\noverflow = 'block'\n",
        file.display(),
    );
    let rig = Rig::parse("t.toml", &topology, None, &registry).unwrap();
    rig.start().unwrap().wait();
    assert_eq!(*seen.lock().unwrap(), (0..FRAMESETS).map(made).collect::<Vec<_>>());
}

/// Without it, a match of the replay would compare clocks that its cameras do not have, and the rig would end.
#[test]
fn the_clock_is_that_of_the_recorded_cameras() {
    let folder = TestFolder::new("clock");
    let file = folder.path().join("rig.mcap");
    write_apart(&file, &CAMERAS, 2, APART);
    let clock = |options: &str| {
        let options: ReplayOptions = toml::from_str(options).unwrap();
        Replay::clock(&options)
    };
    let file = format!("file = '{}'\n", file.display());
    let expected = Some(Clock::Hardware);
    assert_eq!((clock(&file), clock(&format!("{file}camera = 'left'"))), (expected, expected));
    assert_eq!(clock(&format!("{file}camera = 'nobody'")), None);
    assert_eq!(clock("file = '/nonexistent/rig.mcap'"), None);
    // While a library maps the camera's clock, times are those of the host.
    for (unsettled, expected) in [(9, Clock::Global), (10, Clock::System)] {
        let path = folder.path().join(format!("{unsettled}.mcap"));
        write_stamped(
            &path,
            "left",
            10,
            |number| {
                if number < unsettled { Clock::System } else { Clock::Global }
            },
        );
        assert_eq!(clock(&format!("file = '{}'", path.display())), Some(expected), "{unsettled}");
    }
}
