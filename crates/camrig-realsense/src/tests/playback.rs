//! Recordings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use camrig::frame::{Clock, Distortion, MetadataKey, Payload, PixelFormat, Stream, StreamProfile};
use camrig::{Driver, HeldFrames, LostReason};

use super::software::{Identity, Scene, SoftwareCamera};
use super::{SCENE, Scratch, WATCHDOG, error, file, play, record, record_scene, start, wait};
use crate::driver::Grabbed;
use crate::options::Options;
use crate::{RealSense, sys};

#[test]
fn every_byte_of_a_recording_comes_out() {
    let bag = record("bytes.bag", 12);
    let mut number = 0;
    play(&file(&bag.0), |headers, held| {
        let [color, depth] = headers else { panic!("{headers:?}") };
        assert_eq!((color.stream, color.payload), (Stream::COLOR, Payload::image(PixelFormat::Rgb8, 64, 48)));
        assert_eq!((depth.stream, depth.payload), (Stream::DEPTH, Payload::image(PixelFormat::Z16, 64, 48)));
        assert_eq!((color.number, depth.number), (number.into(), number.into()));
        let nanos = |millis: f64| (millis * 1e6).round() as u64;
        for (header, delay) in [(depth, 0.0), (color, SCENE.color_delay_millis)] {
            assert_eq!(header.timestamp.clock, Clock::Hardware);
            assert_eq!(header.timestamp.nanos, nanos(SCENE.millis(number) + delay));
            assert_eq!(header.metadata.get(MetadataKey::FRAME_COUNTER), Some(number.into()));
            assert_eq!(header.metadata.get(MetadataKey::GAIN_LEVEL), None);
        }
        assert_eq!(held.pixels(0), SCENE.color_pixels(number));
        assert_eq!(held.pixels(1), SCENE.depth_pixels(number));
        number += 1;
    });
    assert_eq!(number, 12);
}

#[test]
fn the_camera_is_the_one_that_was_recorded() {
    let bag = record("info.bag", 1);
    let info = start(&file(&bag.0)).info;
    assert_eq!(
        (&*info.serial, &*info.model, &*info.firmware, &*info.usb_type),
        (Identity::D405.serial, Identity::D405.model, Identity::D405.firmware, Identity::D405.usb_type),
    );
    assert!((info.depth_unit_meters - Identity::D405.depth_unit_meters).abs() < 1e-9);
    assert_eq!(info.streams.iter().map(|it| it.stream).collect::<Vec<_>>(), [Stream::COLOR, Stream::DEPTH]);
    for stream in &info.streams {
        assert_eq!(stream.profile(), "64x48@60".parse::<StreamProfile>().ok());
        let (own, scene) = (stream.intrinsics.unwrap(), SCENE.intrinsics());
        assert_eq!((own.width, own.height, own.distortion), (64, 48, Distortion::BrownConrady));
        assert_eq!(
            [own.ppx, own.ppy, own.fx, own.fy].map(f32::to_bits),
            [scene.ppx, scene.ppy, scene.fx, scene.fy].map(f32::to_bits),
        );
        assert_eq!(own.coefficients.map(f32::to_bits), scene.coeffs.map(f32::to_bits));
    }
    let to_depth = info.streams[0].to_depth.unwrap();
    assert!((to_depth.translation_meters[0] - Scene::BASELINE_METERS).abs() < 1e-6, "{to_depth:?}");
}

#[test]
fn a_slow_consumer_loses_nothing() {
    let bag = record("slow.bag", 60);
    let mut numbers = Vec::new();
    play(&file(&bag.0), |headers, _| {
        std::thread::sleep(Duration::from_millis(20));
        numbers.extend(headers.iter().map(|header| (header.stream, header.number)));
    });
    let expected: Vec<_> =
        (0..60).flat_map(|number| [(Stream::COLOR, number), (Stream::DEPTH, number)]).collect();
    assert_eq!(numbers, expected);
}

/// librealsense waits 10 s for callbacks at the end of a file; they wait longer here, in every state that the
/// queues can be in when the file ends.
#[test]
#[ignore = "it takes half a minute"]
fn a_consumer_that_stalls_at_the_end_loses_nothing() {
    std::thread::scope(|scope| {
        for count in 7..14 {
            scope.spawn(move || {
                let bag = record(&format!("stall-{count}.bag"), count);
                let mut frames = 0;
                play(&file(&bag.0), |headers, _| {
                    if frames == 0 {
                        std::thread::sleep(Duration::from_secs(25));
                    }
                    frames += headers.len();
                });
                assert_eq!(frames, 2 * count as usize);
            });
        }
    });
}

/// Returns the depth and color numbers of each frameset.
fn numbers_of_framesets(bag: &Path) -> Vec<Vec<u64>> {
    let mut framesets = Vec::new();
    play(&file(bag), |headers, _| framesets.push(headers.iter().map(|header| header.number).collect()));
    framesets
}

#[test]
fn streams_slower_than_their_rate_are_paired() {
    // 30 of 60 frames a second, as with a long exposure, and color half an interval later: no pair by the nominal rate.
    let bag = Scratch::new("half.bag");
    let scene = Scene { color_delay_millis: 16.6, ..SCENE };
    SoftwareCamera::new(scene).record(&bag.0, |camera, pacer| {
        for number in (0..40).step_by(2) {
            pacer.wait();
            camera.send_depth(number);
            pacer.wait();
            camera.send_color(number);
        }
    });
    let expected: Vec<_> = (0..40).step_by(2).map(|number| vec![number; 2]).collect();
    assert_eq!(numbers_of_framesets(&bag.0), expected);
}

#[test]
fn a_stream_that_is_recorded_late_is_paired() {
    // More than 8 frames, which was the limit, and less than 0.3 seconds.
    const LATE: u32 = 15;
    let bag = Scratch::new("late.bag");
    SoftwareCamera::new(SCENE).record(&bag.0, |camera, pacer| {
        for number in 0..40 + LATE {
            pacer.wait();
            if number < 40 {
                camera.send_depth(number);
            }
            if let Some(number) = number.checked_sub(LATE) {
                camera.send_color(number);
            }
        }
    });
    assert_eq!(numbers_of_framesets(&bag.0), (0..40).map(|number| vec![number; 2]).collect::<Vec<_>>());
}

#[test]
fn held_frames_do_not_silence_the_camera() {
    let bag = record("held.bag", 80);
    let mut all = Vec::new();
    let mut grabber = start(&file(&bag.0));
    while all.len() < 80 {
        match grabber.next(WATCHDOG).unwrap() {
            Grabbed::FrameSet { held, .. } => all.push(held),
            Grabbed::Nothing | Grabbed::End => panic!("only {} framesets while all are held", all.len()),
        }
    }
    drop(grabber);
    // Frames outlive the camera, and may be read and released anywhere.
    std::thread::spawn(move || {
        for (number, held) in (0..).zip(all) {
            assert_eq!(held.pixels(1), SCENE.depth_pixels(number));
        }
    })
    .join()
    .unwrap();
}

/// At its own pace a player does not wait for a machine that is busy with something else, and drops frames: the frames that
/// arrive are checked, not their number.
#[test]
fn a_recording_at_its_own_pace_comes_in_order() {
    let bag = record("pace.bag", 12);
    let mut numbers: BTreeMap<Stream, Vec<u64>> = BTreeMap::new();
    play(&Options { real_time: None, ..file(&bag.0) }, |headers, _| {
        for header in headers {
            numbers.entry(header.stream).or_default().push(header.number);
        }
    });
    assert_eq!(numbers.len(), 2, "{numbers:?}");
    for numbers in numbers.values() {
        assert!(numbers.is_sorted_by(|one, next| one < next) && numbers.len() <= 12, "{numbers:?}");
    }
}

#[test]
fn a_frame_that_was_recorded_twice_comes_once() {
    let bag = Scratch::new("twice.bag");
    SoftwareCamera::new(SCENE).record(&bag.0, |camera, pacer| {
        for number in [0, 1, 2, 2, 3] {
            pacer.wait();
            camera.send_depth(number);
        }
    });
    let mut grabber = start(&file(&bag.0));
    let mut numbers = Vec::new();
    while let Grabbed::FrameSet { headers, .. } = wait(&mut grabber).unwrap() {
        numbers.extend(headers.iter().map(|header| header.number));
    }
    assert_eq!(numbers, [0, 1, 2, 3]);
    assert_eq!(grabber.take_lost(), [(Stream::DEPTH, LostReason::Repeated, 1)]);
}

#[test]
fn a_repeated_file_starts_again() {
    let bag = record("repeat.bag", 5);
    let mut grabber = start(&Options { repeat: Some(true), ..file(&bag.0) });
    for index in 0..23 {
        let Grabbed::FrameSet { headers, .. } = grabber.next(WATCHDOG).unwrap() else { panic!("{index}") };
        assert_eq!(headers.iter().map(|it| it.number).collect::<Vec<_>>(), [index % 5; 2]);
    }
}

#[test]
fn the_times_of_a_recording_are_known_from_a_clock_of_the_host() {
    let scene = Scene { begin_millis: Some(1.7e12), ..SCENE };
    let bag = record_scene(scene, "times.bag", 12);
    let paced = Options { real_time: None, ..file(&bag.0) };
    let recorded = RealSense::recorded(&paced).unwrap().unwrap();
    assert_eq!(recorded.start, 1_700_000_000_000_000_000);
    let millis = (recorded.end - recorded.start) / 1_000_000;
    assert!((11 * 1000 / 60..2000).contains(&millis), "{millis}");
    // Without a pace there is no time to begin at; and the time that is given applies.
    assert_eq!(RealSense::recorded(&file(&bag.0)).unwrap(), None);
    assert_eq!(RealSense::recorded(&Options { start_offset_millis: Some(0), ..paced }).unwrap(), None);
    // The device's own clock has no known relation to others.
    let own = record("own-clock.bag", 3);
    assert_eq!(RealSense::recorded(&Options { real_time: None, ..file(&own.0) }).unwrap(), None);
}

#[test]
fn a_camera_that_stops_in_the_middle_releases_its_frames() {
    let bag = record("middle.bag", 60);
    // Callbacks wait for room in the queue here.
    let mut grabber = start(&file(&bag.0));
    assert!(matches!(grabber.next(WATCHDOG).unwrap(), Grabbed::FrameSet { .. }));
    drop(grabber);
}

#[test]
fn only_requested_streams_are_delivered() {
    let bag = record("streams.bag", 3);
    let depth = Options { depth: Some("64x48@60".parse().unwrap()), ..file(&bag.0) };
    let mut numbers = Vec::new();
    play(&depth, |headers, _| numbers.extend(headers.iter().map(|it| (it.stream, it.number))));
    assert_eq!(numbers, [0, 1, 2].map(|number| (Stream::DEPTH, number)));

    let infrared = Options { infrared_1: Some("64x48@60".parse().unwrap()), ..file(&bag.0) };
    assert_eq!(
        error(&infrared),
        format!(
            "file `{}` has no infrared-1 stream 64x48@60; it has: color 64x48@60 rgb8, depth 64x48@60 z16",
            bag.0.display()
        ),
    );
    assert!(RealSense::probe(&depth).is_ok());
}

#[test]
fn infrared_comes_from_the_same_sensor_as_depth() {
    let scene = Scene { infrared: Some(realsense_sys::rs2_format_RS2_FORMAT_Y8), ..SCENE };
    let bag = record_scene(scene, "infrared.bag", 6);
    let mut number = 0;
    play(&file(&bag.0), |headers, held| {
        let streams: Vec<_> = headers.iter().map(|it| (it.stream, it.number)).collect();
        assert_eq!(streams, [Stream::COLOR, Stream::DEPTH, Stream::INFRARED_1].map(|it| (it, number.into())));
        assert_eq!(headers[2].payload.pixel_format(), Some(PixelFormat::Y8));
        assert_eq!(held.pixels(2), scene.infrared_pixels(number));
        number += 1;
    });
    assert_eq!(number, 6);
    let infrared = Options { infrared_1: Some("64x48@60".parse().unwrap()), ..file(&bag.0) };
    let info = start(&infrared).info;
    assert_eq!(info.streams.len(), 1);
    assert!((info.depth_unit_meters - Identity::D405.depth_unit_meters).abs() < 1e-9);
}

#[test]
fn a_stream_in_an_unknown_format_is_left_out() {
    let frames = |format, name| {
        let bag = record_scene(Scene { infrared: Some(format), ..SCENE }, name, 2);
        let mut frames = 0;
        play(&file(&bag.0), |headers, _| frames += headers.len());
        frames
    };
    assert_eq!(frames(realsense_sys::rs2_format_RS2_FORMAT_RAW16, "unknown.bag"), 4);
    assert_eq!(frames(realsense_sys::rs2_format_RS2_FORMAT_Y16, "y16.bag"), 6);
}

/// A check of the file logs these; each open of it logged them again.
#[test]
fn streams_of_a_file_that_are_not_played_are_a_warning() {
    let warnings = |infrared| {
        let bag = record_scene(Scene { infrared: Some(infrared), ..SCENE }, "warned.bag", 2);
        let warnings = start(&file(&bag.0)).camera.warnings();
        let name = bag.0.display().to_string();
        warnings.into_iter().map(|warning| warning.replace(&name, "FILE")).collect::<Vec<_>>()
    };
    assert_eq!(
        warnings(realsense_sys::rs2_format_RS2_FORMAT_RAW16),
        ["file `FILE`: infrared-1 64x48@60 raw16 is ignored: its kind, format or size is unknown"]
    );
    assert!(warnings(realsense_sys::rs2_format_RS2_FORMAT_Y16).is_empty());
}

#[test]
fn the_clock_of_a_file_is_that_of_its_frames() {
    let bag = record("clock.bag", 2);
    assert_eq!(RealSense::clock(&file(&bag.0)), Some(Clock::Hardware));
    let scene = Scene { begin_millis: Some(1.7e12), ..SCENE };
    let bag = record_scene(scene, "global.bag", 2);
    assert_eq!(RealSense::clock(&file(&bag.0)), Some(Clock::Global));
    // While the camera's clock is not mapped yet, times are those of the host.
    for (unsettled, clock) in [(9, Clock::Global), (10, Clock::System)] {
        let bag = record_scene(Scene { unsettled, ..scene }, "settles.bag", 10);
        assert_eq!(RealSense::clock(&file(&bag.0)), Some(clock), "{unsettled}");
    }
    assert_eq!(RealSense::clock(&file(Path::new("/nonexistent/x.bag"))), None);
}

#[test]
fn a_file_that_cannot_be_played_gives_the_reason() {
    let absent = Path::new("/nonexistent/x.bag");
    assert_eq!(error(&file(absent)), "file `/nonexistent/x.bag` does not exist");
    assert_eq!(error(&file(Path::new("/"))), "file `/` is a directory");

    let is_bag = sys::version().extension() == "bag";
    let newer = Scratch::new("newer.db3");
    std::fs::write(&newer.0, b"SQLite format 3\0 and pages").unwrap();
    let refused = error(&file(&newer.0));
    let reason = if is_bag {
        format!(
            "a `.db3` recording, which librealsense 2.58.0 or later plays; this one is {}",
            sys::version()
        )
    } else {
        "not a recording that librealsense can play: ".to_owned()
    };
    let start = format!("file `{}` is {reason}", newer.0.display());
    assert!(refused.starts_with(&start), "{refused}");

    let broken = Scratch::new("broken.bag");
    let message = |content: &[u8]| {
        std::fs::write(&broken.0, content).unwrap();
        error(&file(&broken.0)).replace(&*broken.0.to_string_lossy(), "broken.bag")
    };
    let no_recording = "file `broken.bag` is not a recording that librealsense can play: ";
    let of_bag = if is_bag { "Failed to create ros reader: Error reading version line" } else { "" };
    for content in [b"".to_vec(), b"this is not a recording\n".repeat(100)] {
        let refused = message(&content);
        let reason = refused.strip_prefix(no_recording).unwrap_or_else(|| panic!("{refused}"));
        assert!(!reason.is_empty() && (reason == of_bag || !is_bag), "{refused}");
    }

    let bytes = std::fs::read(&record("whole.bag", 3).0).unwrap();
    let cut = message(&bytes[..4000]);
    if is_bag {
        assert_eq!(
            cut,
            "file `broken.bag` is cut off: \
             Failed to create ros reader: Error reading from file: wanted 4 bytes, read 0 bytes",
        );
        // A recorder that is killed leaves 0 where the place of the index belongs.
        let field = b"index_pos=";
        let index_pos = bytes.windows(field.len()).position(|window| window == field).unwrap() + field.len();
        let unindexed = [&bytes[..index_pos], &[0; 8], &bytes[index_pos + 8..]].concat();
        assert_eq!(
            message(&unindexed),
            "file `broken.bag` is not closed properly (bag unindexed): \
             Failed to create ros reader: Bag unindexed",
        );
    } else {
        assert!(cut.starts_with(no_recording) && cut.contains("malformed"), "{cut}");
    }

    let empty = std::fs::read(&record("empty.bag", 0).0).unwrap();
    assert_eq!(message(&empty), "file `broken.bag` holds no color, depth or infrared frames");

    let silent = Scratch::new("silent.bag");
    SoftwareCamera::new(SCENE).record(&silent.0, |camera, _| camera.send_depth(0));
    let color = Some("64x48@60".parse().unwrap());
    let message = error(&Options { color, ..file(&silent.0) });
    assert_eq!(message, format!("file `{}` holds no frames of color", silent.0.display()));
}

/// Records as many frames as fill several chunks, and damages the file at this part of it.
fn damaged(name: &str, at: f64) -> Scratch {
    let scene = Scene { width: 320, height: 240, ..SCENE };
    let bag = record_scene(scene, name, 20);
    let mut bytes = std::fs::read(&bag.0).unwrap();
    let begin = (bytes.len() as f64 * at) as usize;
    bytes[begin..begin + 64].iter_mut().for_each(|byte| *byte ^= 0xff);
    std::fs::write(&bag.0, bytes).unwrap();
    bag
}

/// Plays a file until it fails or ends; returns the number of framesets with the error.
fn failure(options: &Options) -> (usize, Option<String>) {
    let mut grabber = start(options);
    let mut framesets = 0;
    loop {
        match wait(&mut grabber) {
            Ok(Grabbed::FrameSet { .. }) => framesets += 1,
            Ok(_) => return (framesets, None),
            Err(error) => return (framesets, Some(error.to_string())),
        }
    }
}

#[test]
fn a_player_that_stops_early_fails_once_and_is_not_started_again() {
    let is_bag = sys::version().extension() == "bag";
    for real_time in [false, true] {
        let bag = damaged(&format!("damaged-{real_time}.bag"), 0.5);
        let options = Options { real_time: Some(real_time), ..file(&bag.0) };
        // A `.db3` may be refused when it is opened, or the damage may be in no frame.
        if !is_bag && RealSense::probe(&options).is_err() {
            continue;
        }
        let (framesets, error) = failure(&options);
        let Some(error) = error else {
            assert!(!is_bag && framesets == 20, "the end after {framesets} framesets");
            continue;
        };
        let reason = if is_bag { "Failed to read next frame from file: " } else { "" };
        let expected = format!("file `{}` stopped before its end: {reason}", bag.0.display());
        assert!(error.starts_with(&expected), "{error}");
        assert!(!is_bag || (1..20).contains(&framesets), "{framesets}");
        // A restarted camera.
        let repeated = Options { repeat: Some(true), ..options };
        assert_eq!(RealSense::open("a", repeated).err().unwrap().to_string(), error);
        let whole = record("undamaged.bag", 2);
        std::fs::copy(&whole.0, &bag.0).unwrap();
        assert!(RealSense::probe(&file(&bag.0)).is_ok());
    }
}

/// librealsense 2.58 and 2.59 neither end nor fail at some damage: without a bound this test does not end.
#[test]
fn a_damaged_file_ends_or_fails_wherever_the_damage_is() {
    // Damage of a `.bag` outside of frames may crash librealsense.
    let places: &[f64] = if sys::version().extension() == "bag" { &[0.5] } else { &[0.2, 0.6, 0.9] };
    for at in places.iter().copied() {
        let bag = damaged(&format!("damaged-at-{at}.bag"), at);
        let name = bag.0.display();
        let error = match RealSense::probe(&file(&bag.0)) {
            Ok(_) => failure(&file(&bag.0)).1,
            Err(error) => Some(error.to_string()),
        };
        assert!(error.iter().all(|error| error.starts_with(&format!("file `{name}` "))), "{error:?}");
    }
}

/// The real recordings, if they exist: beside the repository, or in the folder `CAMRIG_RECORDINGS`.
fn recording(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings");
    let folder = std::env::var_os("CAMRIG_RECORDINGS").map_or_else(beside, PathBuf::from);
    let path = folder.join(name);
    if !path.exists() {
        eprintln!("skipped: `{}` does not exist; set CAMRIG_RECORDINGS", path.display());
        return None;
    }
    Some(path)
}

/// The number of each frame of a stream, in the order of arrival.
fn numbers(options: &Options, framesets: &mut usize) -> (Vec<u64>, Vec<u64>) {
    let (mut depth, mut color) = (Vec::new(), Vec::new());
    play(options, |headers, held| {
        *framesets += 1;
        for (index, header) in headers.iter().enumerate() {
            assert_eq!(held.pixels(index).len() as u64, header.size_bytes());
            assert_eq!(header.payload.size(), Some((640, 480)));
            if header.stream == Stream::DEPTH { &mut depth } else { &mut color }.push(header.number);
        }
    });
    (depth, color)
}

#[test]
fn a_real_recording_with_an_odd_frame_is_delivered_completely() {
    let Some(path) = recording("d435_640x480_one_frameset.bag") else { return };
    for real_time in [false, true] {
        let mut framesets = 0;
        let options = Options { real_time: Some(real_time), ..file(&path) };
        let (depth, color) = numbers(&options, &mut framesets);
        assert_eq!((depth, color, framesets), (vec![169, 170], vec![162], 3));
    }
    assert_eq!(start(&file(&path)).info.serial, "728612070259");
}

#[test]
fn a_real_recording_whose_streams_do_not_overlap_is_delivered_completely() {
    let Some(path) = recording("d435_640x480_streams_do_not_overlap.bag") else { return };
    for real_time in [false, true] {
        let mut framesets = 0;
        let options = Options { real_time: Some(real_time), ..file(&path) };
        let (depth, color) = numbers(&options, &mut framesets);
        assert_eq!((depth, color, framesets), ((0..6).collect(), (0..5).collect(), 11));
    }
    assert_eq!(start(&file(&path)).info.serial, "233522074606");
}
