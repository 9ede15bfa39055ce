//! Tests of the camera's output: times and motion against the options, and the subjects of its submodules.

mod controls;
mod losses;
mod pictures;

use std::sync::Arc;

use camrig_frame::Stream;
use camrig_ipc::{ActorCounters, LinkState, Overflow};
use tokio::sync::Notify;

use super::*;
use crate::frameset::FrameSet;
use crate::link::LocalLink;
use crate::output::{OutputLinks, Publisher, Wiring};

const SOON: Duration = Duration::from_millis(1);

fn camera(options: &str) -> Synthetic {
    camera_called("front", options)
}

fn camera_called(name: &str, options: &str) -> Synthetic {
    Synthetic::open(name, toml::from_str(options).unwrap()).unwrap()
}

/// A camera with an output and one reader.
pub(crate) struct Rig {
    camera: Synthetic,
    output: CameraOutput,
    link: Arc<LocalLink>,
    counters: Arc<ActorCounters>,
}

impl Rig {
    fn new(options: &str) -> Self {
        Self::called("front", options)
    }

    pub(crate) fn called(name: &str, options: &str) -> Self {
        let camera = camera_called(name, options);
        let link_state = Arc::new(LinkState::new().unwrap());
        let link = Arc::new(LocalLink::new(link_state, Arc::new(Notify::new()), Overflow::DropNewest, 4));
        let counters = Arc::new(ActorCounters::new().unwrap());
        let publisher = Publisher::new(Wiring {
            name: name.into(),
            slots: 4,
            links: OutputLinks::of(vec![Arc::clone(&link) as _]),
            counters: Arc::clone(&counters),
        });
        let output = CameraOutput::new(publisher, camera.info()).unwrap();
        Self { camera, output, link, counters }
    }

    fn capture(&mut self) -> Result<Captured, DriverError> {
        self.camera.capture(&mut self.output, SOON)
    }

    /// Returns the next frameset, however long it takes.
    pub(crate) fn frameset(&mut self) -> FrameSet {
        while self.capture().unwrap() != Captured::FrameSet {}
        self.link.take().unwrap()
    }

    fn numbers(&mut self, count: usize) -> Vec<u64> {
        (0..count).map(|_| self.frameset().header().frames[0].number).collect()
    }
}

/// Returns headers and pixels of one frame of each stream.
fn images(camera: &mut Synthetic, number: u64) -> Vec<(FrameHeader, Vec<u8>)> {
    camera.number = number;
    let render = |mut header: FrameHeader| {
        let pixels = camera.encode(&mut header).unwrap_or_else(|| {
            let mut pixels = vec![0xa5; header.size_bytes() as usize];
            camera.scene.render(header.stream, number, &header.metadata, &mut pixels);
            pixels
        });
        (header, pixels)
    };
    camera.headers().into_iter().map(render).collect()
}

const TINY: &str = "model = 'any'\ndepth = '16x12@1000'\ncolor = '16x12@1000'\n";

#[test]
fn times_follow_from_the_number_and_the_options_alone() {
    let options = format!("{TINY}paced = false\nclock_skew = 2\nclock_drift_ppm = 1000\nstart_delay = 10");
    let mut rig = Rig::new(&options);
    for number in 0..5 {
        let frameset = rig.frameset();
        let header = frameset.header();
        assert_eq!((header.sequence, header.frames.len()), (number, 2));
        for frame in &header.frames {
            let run_time = 10_000_000 + number * 1_000_000;
            let nanos = 60_002_000_000 + run_time + run_time / 1000;
            assert_eq!(frame.timestamp, Timestamp { clock: Clock::Hardware, nanos });
            assert_eq!(frame.number, number);
            assert_eq!(frame.metadata.get(MetadataKey::FRAME_COUNTER), Some(number as i64));
            assert_eq!(frame.metadata.get(MetadataKey::SENSOR_TIMESTAMP), Some(nanos as i64 / 1000));
        }
    }
}

/// Returns the samples of one stream of motion, each with its number.
fn samples(frames: &FrameSet, stream: Stream) -> Vec<(u64, MotionSample)> {
    let Some(motion) = frames.motion(stream) else { return Vec::new() };
    let header = motion.frame().header();
    (header.number + 1 - header.numbers()..).zip(motion.iter()).collect()
}

#[test]
fn each_frameset_has_the_motion_since_the_one_before() {
    let options = "model = 'any'\nseed = 3\npaced = false\ndrop_rate = 0.3\nstart_delay = 10\ncolor = 'off'\n\
                   depth = '16x12@100'\naccel = 63\ngyro = 400";
    let mut rig = Rig::new(options);
    let (mut accel, mut gyro, mut images) = (Vec::new(), Vec::new(), 0);
    while images < 300 {
        let frames = rig.frameset();
        images = frames.header().frames[0].number;
        let taken = frames.timestamp().unwrap().nanos;
        for (stream, rate, all) in [(Stream::ACCEL, 63, &mut accel), (Stream::GYRO, 400, &mut gyro)] {
            let own = samples(&frames, stream);
            // All samples before the image, and no others.
            let count = images * rate / 100 + 1 - all.len() as u64;
            assert_eq!(own.len() as u64, count);
            assert_eq!(frames.frame(stream).is_some(), count > 0);
            all.extend(own);
            let (number, last) = all.last().unwrap();
            assert!(last.nanos <= taken && last.nanos + 1_000_000_000 / rate >= taken);
            assert_eq!(last.nanos, 60_010_000_000 + number * 1_000_000_000 / rate);
        }
    }
    for all in [&accel, &gyro] {
        assert!(all.iter().map(|(number, _)| *number).eq(0..all.len() as u64), "each sample once, in order");
    }
    // Images are lost, but no sample.
    assert_eq!(rig.counters.lost(), images + 1 - rig.output.produced());
}

#[test]
fn motion_is_that_of_a_camera_at_rest() {
    for seed in 0..10 {
        let options = format!("model = 'd435i'\nseed = {seed}\naccel = 100\ngyro = 200");
        let scene = camera(&options).scene;
        for number in 0..100 {
            let [x, y, z] = scene.motion(Stream::ACCEL, number);
            // The floor is below: the camera is pitched 3 to 8 degrees down.
            assert!((x.hypot(y).hypot(z) - 9.80665).abs() < 0.1, "{x} {y} {z}");
            assert!(y < -9.6 && (-1.5..-0.5).contains(&z) && x.abs() <= 0.05, "{x} {y} {z}");
            assert!(scene.motion(Stream::GYRO, number).iter().all(|part| part.abs() <= 0.005));
            let bits = |number| scene.motion(Stream::GYRO, number).map(f32::to_bits);
            assert_ne!(bits(number), bits(number + 1));
        }
    }
}

#[test]
fn the_camera_ends_after_the_last_frameset() {
    let mut rig = Rig::new(&format!("{TINY}frames = 3\npaced = false"));
    assert_eq!(rig.numbers(3), [0, 1, 2]);
    assert_eq!(rig.capture().unwrap(), Captured::End);
    assert_eq!(rig.capture().unwrap(), Captured::End);
    assert_eq!(rig.output.produced(), 3);
}

#[test]
fn a_paced_camera_does_not_wait_for_calls() {
    // Slow enough that a busy test machine is never late by itself.
    let slow = TINY.replace("@1000", "@1");
    let mut rig = Rig::new(&slow);
    assert_eq!(rig.numbers(1), [0]);
    assert_eq!(rig.capture().unwrap(), Captured::Nothing);
    // Up to two frames are late, more are lost.
    pass(&mut rig, 2);
    assert_eq!((rig.numbers(2), rig.counters.lost()), (vec![1, 2], 0));
    pass(&mut rig, 100);
    assert_eq!((rig.numbers(1), rig.counters.lost()), (vec![102], 99));
}

/// As if this much time passed without a call of `capture`.
fn pass(rig: &mut Rig, seconds: u64) {
    let started = rig.camera.started.get_or_insert_with(Instant::now);
    *started = started.checked_sub(Duration::from_secs(seconds)).unwrap();
}

#[test]
fn nothing_comes_before_the_start_delay() {
    let mut rig = Rig::new(&format!("{TINY}start_delay = 3600000"));
    assert_eq!(rig.capture().unwrap(), Captured::Nothing);
}

#[test]
fn only_given_serials_are_claimed() {
    let claims = |options: &str| Synthetic::claims(&toml::from_str(options).unwrap());
    assert!(claims("").is_empty());
    assert_eq!(claims("seed = 12"), ["serial 000000000012"]);
    assert_eq!(claims("serial = '943222071836'"), ["serial 943222071836"]);
}
