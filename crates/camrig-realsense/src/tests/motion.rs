//! Motion sensors: of software cameras, live and recorded.

use camrig::frame::{Clock, Format, FrameHeader, MotionSample, MotionView, Stream};
use camrig::{DeviceProfile, HeldFrames, LostReason};

use super::software::{Identity, Scene, SoftwareCamera};
use super::{SCENE, Scratch, WATCHDOG, error, file, open_among, options, play, record_scene, refusal, start};
use crate::driver::{Grabbed, Grabber, Held};
use crate::find::devices_in;
use crate::options::Options;
use crate::sys;

const D435I: Scene = Scene { identity: Identity::D435I, motion: true, ..SCENE };

const EVERYTHING: &str = "any = true\ndepth = '64x48@60'\ncolor = '64x48@60'\naccel = 100\ngyro = 200";

/// The samples of a stream, each with its number.
fn samples(headers: &[FrameHeader], held: &Held, stream: Stream) -> Vec<(u64, MotionSample)> {
    let Some(index) = headers.iter().position(|header| header.stream == stream) else { return Vec::new() };
    let header = &headers[index];
    assert_eq!((header.payload.format(), header.timestamp.clock), (Format::Motion, Clock::Hardware));
    let view = MotionView::new(camrig::frame::Frame::new(header, held.pixels(index)).unwrap()).unwrap();
    (header.number + 1 - header.numbers()..).zip(view.iter()).collect()
}

/// All samples from `numbers` as the scene has them.
fn expected(numbers: std::ops::Range<u32>, rate: u32) -> Vec<(u64, MotionSample)> {
    let sample = |number| {
        let nanos = (Scene::sample_millis(number, rate) * 1e6).round() as u64;
        (number.into(), MotionSample { nanos, xyz: Scene::xyz(number) })
    };
    numbers.map(sample).collect()
}

#[test]
fn a_live_camera_gives_its_motion_with_its_images() {
    let camera = SoftwareCamera::new(D435I);
    let mut grabber = Grabber::new(open_among(&options(EVERYTHING), &[&camera]).unwrap());
    grabber.start().unwrap();
    let streams: Vec<_> =
        grabber.info.streams.iter().map(|info| (info.stream, info.profile().unwrap().to_string())).collect();
    let profile = |stream, profile: &str| (stream, profile.to_owned());
    let [color, depth, accel, gyro] = [Stream::COLOR, Stream::DEPTH, Stream::ACCEL, Stream::GYRO];
    assert_eq!(
        streams,
        [
            profile(color, "64x48@60"),
            profile(depth, "64x48@60"),
            profile(accel, "200x1@100"),
            profile(gyro, "400x1@200"),
        ],
    );
    let (mut of_accel, mut of_gyro) = (Vec::new(), Vec::new());
    let mut take = |grabber: &mut Grabber, number: u32| {
        let Grabbed::FrameSet { headers, held, .. } = grabber.next(WATCHDOG).unwrap() else { panic!() };
        assert_eq!((headers[0].stream, headers[1].stream), (color, depth));
        assert_eq!((headers[0].number, headers[1].number), (number.into(), number.into()));
        assert_eq!(held.pixels(1), D435I.depth_pixels(number));
        of_accel.extend(samples(&headers, &held, accel));
        of_gyro.extend(samples(&headers, &held, gyro));
        headers.iter().map(|header| header.stream).collect::<Vec<_>>()
    };
    for number in 0..30 {
        camera.send_samples_until(number);
        camera.send_depth(number);
        camera.send_color(number);
        take(&mut grabber, number);
    }
    // No sample was made since; late samples come with the next frameset.
    for number in 30..32 {
        camera.send_depth(number);
        camera.send_color(number);
        assert_eq!(take(&mut grabber, number), [color, depth]);
    }
    for number in 30..33 {
        camera.send_samples_until(number);
    }
    camera.send_depth(32);
    camera.send_color(32);
    assert_eq!(take(&mut grabber, 32), [color, depth, accel, gyro]);
    assert_eq!(of_accel, expected(0..54, 100));
    assert_eq!(of_gyro, expected(0..107, 200));
    assert!(grabber.take_lost().is_empty());
}

#[test]
fn motion_without_a_reader_is_lost_and_counted() {
    let camera = SoftwareCamera::new(D435I);
    let wanted = options("any = true\ndepth = '64x48@60'\naccel = 100");
    let mut grabber = Grabber::new(open_among(&wanted, &[&camera]).unwrap());
    grabber.start().unwrap();
    // A frame of motion has room for 200, the queue for 1024; the gyroscope is not asked for.
    (0..210).for_each(|number| camera.send_accel(number));
    assert!(matches!(grabber.next(std::time::Duration::ZERO).unwrap(), Grabbed::Nothing));
    assert_eq!(grabber.take_lost(), [(Stream::ACCEL, LostReason::NoPartner, 10)]);
    (210..1300).for_each(|number| camera.send_accel(number));
    camera.send_depth(1000);
    let Grabbed::FrameSet { headers, held, .. } = grabber.next(WATCHDOG).unwrap() else { panic!() };
    assert_eq!(samples(&headers, &held, Stream::ACCEL), expected(1034..1234, 100));
    assert_eq!(
        grabber.take_lost(),
        [(Stream::ACCEL, LostReason::NoPartner, 1024), (Stream::ACCEL, LostReason::QueueFull, 66)]
    );
}

#[test]
fn a_recording_gives_every_sample_once_in_every_play() {
    let bag = record_scene(D435I, "motion.bag", 40);
    let mut plays = Vec::new();
    for _ in 0..3 {
        let (mut of_accel, mut of_gyro, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        play(&file(&bag.0), |headers, held| {
            let depth = headers.iter().find(|header| header.stream == Stream::DEPTH).unwrap();
            for (stream, all) in [(Stream::ACCEL, &mut of_accel), (Stream::GYRO, &mut of_gyro)] {
                let own = samples(headers, held, stream);
                counts.push(own.len());
                all.extend(own);
            }
            assert!(of_gyro.last().is_none_or(|(_, sample)| sample.nanos <= depth.timestamp.nanos));
        });
        assert_eq!(of_accel, expected(0..66, 100));
        assert_eq!(of_gyro, expected(0..131, 200));
        plays.push(counts);
    }
    assert!(plays.iter().all(|counts| *counts == plays[0]), "{plays:?}");

    // Some of its streams.
    let gyro = Options { gyro: Some(200), depth: Some("64x48@60".parse().unwrap()), ..file(&bag.0) };
    let streams: Vec<_> = start(&gyro).info.streams.iter().map(|info| info.stream).collect();
    assert_eq!(streams, [Stream::DEPTH, Stream::GYRO]);
    assert_eq!(
        error(&Options { gyro: Some(400), ..gyro }),
        format!(
            "file `{}` has no gyro stream 400; it has: color 64x48@60 rgb8, depth 64x48@60 z16, accel 100 motion, \
             gyro 200 motion",
            bag.0.display(),
        ),
    );
}

#[test]
fn librealsense_records_motion_too() {
    let bag = Scratch::new("motion-recorded.bag");
    let camera = SoftwareCamera::new(D435I);
    let wanted = Options { record_to: Some(bag.0.clone()), ..options(EVERYTHING) };
    let mut grabber = Grabber::new(open_among(&wanted, &[&camera]).unwrap());
    grabber.start().unwrap();
    let mut live = Vec::new();
    for number in 0..12 {
        camera.send_samples_until(number);
        camera.send_depth(number);
        camera.send_color(number);
        let Grabbed::FrameSet { headers, held, .. } = grabber.next(WATCHDOG).unwrap() else { panic!() };
        live.extend(samples(&headers, &held, Stream::GYRO));
    }
    // Writes the index.
    drop(grabber);
    let mut recorded = Vec::new();
    play(&file(&bag.0), |headers, held| recorded.extend(samples(headers, held, Stream::GYRO)));
    assert_eq!(live, expected(0..37, 200));
    assert_eq!(recorded, live);
}

#[test]
fn rates_that_the_camera_lacks_are_refused() {
    let refused = |more: &str, scene| {
        refusal(&options(&format!("any = true\ndepth = '64x48@60'\n{more}")), &[scene]).to_string()
    };
    assert_eq!(
        refused("gyro = 100", D435I),
        "camera `000000000045` has no gyro stream 100; expected one of: 200",
    );
    assert_eq!(
        refused("accel = 100", SCENE),
        "camera `000000000042` has no accel stream: its model has no such motion sensor",
    );
}

#[test]
fn the_list_of_devices_has_motion() {
    let context = sys::Context::new().unwrap();
    let camera = SoftwareCamera::new(D435I);
    let _plugged = context.plug_in(&camera);
    let devices = devices_in(&context).unwrap();
    let motion = |stream, profile: &str| DeviceProfile {
        stream,
        format: Format::Motion,
        profile: profile.parse().unwrap(),
    };
    assert_eq!(
        devices[0].profiles[2..],
        [motion(Stream::ACCEL, "200x1@100"), motion(Stream::GYRO, "400x1@200")]
    );
}
