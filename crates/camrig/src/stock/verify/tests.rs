use std::sync::atomic::AtomicUsize;

use camrig_frame::{Clock, FrameSetHeader, Metadata, MetadataKey, Payload, PixelFormat, Stream};

use super::*;
use crate::frameset::HeldFrames;
use crate::synthetic::emulated;
use crate::synthetic::tests::Rig;
use crate::testing;

const TINY: &str = "model = 'any'\ndepth = '64x48@30'\ncolor = '32x24@30'\npaced = false\n";

/// A frameset that tests can take apart and reassemble incorrectly.
#[derive(Clone)]
struct Parts {
    info: CameraInfo,
    header: FrameSetHeader,
    pixels: Pixels,
}

#[derive(Clone)]
struct Pixels(Vec<Vec<u8>>);

impl HeldFrames for Pixels {
    fn pixels(&self, index: usize) -> &[u8] {
        &self.0[index]
    }
}

impl Parts {
    fn of(frames: &FrameSet) -> Self {
        let pixels = Pixels(frames.frames().map(|frame| frame.bytes().to_vec()).collect());
        Self { info: CameraInfo::clone(frames.info()), header: frames.header().clone(), pixels }
    }

    fn frameset(self) -> FrameSet {
        let alive = Arc::new(AtomicUsize::new(0));
        FrameSet::held(
            self.info.name.as_str().into(),
            Arc::new(self.info),
            self.header,
            Box::new(self.pixels),
            &alive,
        )
    }

    fn with(&self, change: impl FnOnce(&mut Self)) -> FrameSet {
        let mut changed = self.clone();
        change(&mut changed);
        changed.frameset()
    }
}

fn captured(name: &str, options: &str, count: usize) -> Vec<Parts> {
    let mut rig = Rig::called(name, &format!("{TINY}{options}"));
    (0..count).map(|_| Parts::of(&rig.frameset())).collect()
}

fn verify(options: &str) -> Verify {
    Verify::new(toml::from_str(options).unwrap())
}

fn fault(framesets: impl IntoIterator<Item = FrameSet>) -> String {
    let mut verify = verify("");
    let faults: Vec<_> = framesets.into_iter().filter_map(|frames| verify.look(&frames).err()).collect();
    let [fault] = &faults[..] else { panic!("one fault expected: {faults:?}") };
    fault.to_string()
}

#[test]
fn rendered_frames_are_correct_in_any_memory() {
    let mut rig = Rig::called("front", TINY);
    let (mut in_slots, mut held) = (verify("digest = true"), verify("digest = true"));
    let mut output = testing::output("verify", &[]);
    for _ in 0..5 {
        let frames = rig.frameset();
        in_slots.process(&frames, &mut output).unwrap();
        let elsewhere = Parts::of(&frames).with(|parts| parts.header.arrival_nanos += 1);
        held.process(&elsewhere, &mut output).unwrap();
    }
    let report: Vec<_> = in_slots.report().collect();
    assert_eq!(report, held.report().collect::<Vec<_>>());
    let [line] = &report[..] else { panic!("{report:?}") };
    let digest = line.strip_prefix("front: 5 framesets, digest ").unwrap();
    assert!(digest.len() == 16 && u64::from_str_radix(digest, 16).is_ok(), "{line}");
    in_slots.finish(&mut output).unwrap();
}

#[test]
fn the_digest_depends_on_everything_but_the_arrival() {
    let [parts, ..] = &captured("front", "color_format = 'yuyv'", 1)[..] else { unreachable!() };
    let digest = |frames: FrameSet| {
        let mut verify = verify("content = false\ndigest = true");
        verify.look(&frames).unwrap();
        verify.report().next().unwrap()
    };
    let right = digest(parts.clone().frameset());
    assert_eq!(right, digest(parts.with(|parts| parts.header.arrival_nanos += 1)));
    let changes: [fn(&mut Parts); 9] = [
        |parts| parts.header.sequence += 1,
        |parts| parts.header.frames[0].number += 1,
        |parts| parts.header.frames[1].timestamp.nanos += 1,
        |parts| parts.header.frames[0].timestamp.clock = Clock::System,
        |parts| parts.header.frames[1].metadata.set(MetadataKey::GAIN_LEVEL, -1),
        |parts| parts.header.frames[1].payload = Payload::image(PixelFormat::Yuyv, 64, 48),
        |parts| parts.pixels.0[0][0] ^= 1,
        |parts| *parts.pixels.0[1].last_mut().unwrap() ^= 0x80,
        // The highest bits of two words, which cancel out in plain FNV.
        |parts| [7, 15].into_iter().for_each(|byte| parts.pixels.0[1][byte] ^= 0x80),
    ];
    for (index, change) in changes.into_iter().enumerate() {
        assert_ne!(right, digest(parts.with(change)), "change {index}");
    }
}

/// The order in which framesets of two producers arrive is chance.
#[test]
fn each_producer_of_a_camera_has_a_digest_of_its_own() {
    let mut rig = Rig::called("front", TINY);
    let (mut mask, masked) = testing::output_with_reader("mask", &[]);
    let framesets: Vec<_> = (0..3)
        .map(|_| {
            let frames = rig.frameset();
            mask.forward(&frames).unwrap();
            (Parts::of(&frames).frameset(), masked.take().unwrap())
        })
        .collect();
    let own = framesets.iter().map(|(own, _)| own);
    let passed_on = || framesets.iter().map(|(_, passed_on)| passed_on);
    let report = |order: Vec<&FrameSet>| -> Vec<_> {
        let mut verify = verify("digest = true");
        for frames in order {
            verify.look(frames).unwrap();
        }
        verify.report().collect()
    };
    let alternating = report(own.clone().zip(passed_on()).flat_map(|(own, other)| [own, other]).collect());
    assert_eq!(alternating, report(passed_on().chain(own.clone()).collect()));
    let digest = report(own.collect())[0].strip_prefix("front: ").unwrap().to_owned();
    assert_eq!(alternating, [format!("front: {digest}"), format!("mask/front: {digest}")]);
}

#[test]
fn a_flipped_bit_is_found_where_it_is() {
    let parts = &captured("front", "seed = 1", 3)[2];
    let number = parts.header.frames[0].number;
    let found = fault([parts.with(|parts| parts.pixels.0[0][(5 * 32 + 7) * 3 + 1] ^= 0x10)]);
    let place = format!("frameset 2 of `front`: in color frame {number} the pixel at column 7, row 5 is ");
    assert!(found.starts_with(&place), "{found}");
    let last = parts.pixels.0[1].len() - 1;
    let right = parts.pixels.0[1][last - 1..].to_vec();
    let found = fault([parts.with(|parts| parts.pixels.0[1][last] ^= 0x80)]);
    let wrong = format!(
        "frameset 2 of `front`: in depth frame 2 the pixel at column 63, row 47 is {:02x} {:02x}, not \
         {:02x} {:02x}",
        right[0],
        right[1] ^ 0x80,
        right[0],
        right[1],
    );
    assert_eq!(found, wrong);
}

/// The formats of color and of infrared, as in the options of the driver.
const FORMATS: [(&str, &str); 7] = [
    ("rgb8", "y8"),
    ("bgr8", "y16"),
    ("rgba8", "y8"),
    ("bgra8", "y16"),
    ("yuyv", "y8"),
    ("uyvy", "y16"),
    ("mjpeg", "y8"),
];

#[test]
fn every_byte_of_every_format_is_compared() {
    for (color, infrared) in FORMATS {
        let options = format!(
            "infrared = '32x24@30'\ncolor_format = '{color}'\ninfrared_format = '{infrared}'\nseed = 5"
        );
        let parts = &captured("front", &options, 2)[1];
        let formats: Vec<_> =
            parts.header.frames.iter().map(|frame| frame.payload.format().to_string()).collect();
        assert_eq!(formats, [color, "z16", infrared]);
        verify("").look(&parts.clone().frameset()).unwrap();
        for index in [0, 2] {
            let last = parts.pixels.0[index].len() - 1;
            for at in [0, last / 2, last] {
                let found = fault([parts.with(|parts| parts.pixels.0[index][at] ^= 1)]);
                assert!(found.starts_with("frameset 1 of `front`: "), "{color}, byte {at}: {found}");
            }
        }
    }
}

#[test]
fn a_jpeg_that_differs_is_found_where_it_does() {
    let parts = &captured("front", "color_format = 'mjpeg'", 1)[0];
    let length = parts.pixels.0[0].len();
    assert_eq!(
        fault([parts.with(|parts| parts.pixels.0[0][100] ^= 1)]),
        format!(
            "frameset 0 of `front`: color frame 0 of {length} bytes differs from byte 100 on from the expected JPEG of \
             {length} bytes"
        )
    );
    let cut = parts.with(|parts| {
        parts.pixels.0[0].pop();
        let Payload::Encoded { size_bytes, .. } = &mut parts.header.frames[0].payload else { unreachable!() };
        *size_bytes -= 1;
    });
    let (found, at) = (length - 1, length - 1);
    assert_eq!(
        fault([cut]),
        format!(
            "frameset 0 of `front`: color frame 0 of {found} bytes differs from byte {at} on from the expected JPEG of \
             {length} bytes"
        )
    );
}

/// A frameset as an emulated D435 sends it.
fn emulated_parts() -> Parts {
    let mut parts = captured("front", "color_format = 'yuyv'", 3).remove(2);
    parts.info.driver = "realsense".to_owned();
    parts.info.model = "Intel RealSense D435".to_owned();
    let scene = Scene::of_emulated(&parts.info).unwrap();
    for (frame, pixels) in parts.header.frames.iter_mut().zip(&mut parts.pixels.0) {
        frame.metadata.set(MetadataKey::FRAME_COUNTER, frame.number as i64);
        frame.timestamp.clock = Clock::Hardware;
        frame.timestamp.nanos = (1_230_000 + emulated::frame_micros(frame.number, 30)) * 1000;
        scene.write(frame.stream, frame.number, &Metadata::EMPTY, pixels);
    }
    parts
}

#[test]
fn frames_of_emulated_cameras_are_known() {
    type Change = fn(&mut Parts);
    let parts = emulated_parts();
    let found = |change: Change| {
        let found = verify("emulated = true").look(&parts.with(change)).err();
        found.map(|fault| fault.to_string()).unwrap_or_default()
    };
    assert_eq!(found(|_| {}), "");
    // A camera may lose the frame of a stream.
    assert_eq!(found(|parts| drop((parts.header.frames.pop(), parts.pixels.0.pop()))), "");
    let changes: [(Change, &str); 4] = [
        (|parts| parts.pixels.0[0][9] ^= 1, "the pixel at column 4, row 0 is"),
        (|parts| parts.header.frames[0].number += 1, "color frame 3 has frame counter Some(2)"),
        (
            |parts| parts.header.frames[1].timestamp.nanos += 1000,
            "has timestamp 1296667 us, which was not sent",
        ),
        (|parts| parts.info.model = "Intel RealSense D415".to_owned(), "with these streams is not emulated"),
    ];
    for (change, message) in changes {
        let found = found(change);
        assert!(found.contains(message), "{found}");
    }
}

#[test]
fn no_pixels_pass_under_another_name_or_number() {
    let (left, right) = (&captured("left", "", 2), &captured("right", "", 2));
    for index in [0, 1] {
        let swapped = left[1].with(|parts| parts.pixels.0[index] = right[1].pixels.0[index].clone());
        assert!(fault([swapped]).starts_with("frameset 1 of `left`: in "));
        let repeated = left[1].with(|parts| parts.pixels.0[index] = left[0].pixels.0[index].clone());
        assert!(fault([repeated]).starts_with("frameset 1 of `left`: in "));
    }
    let serials = (&left[0].info.serial, &right[0].info.serial);
    let renamed = right[1].with(|parts| parts.info.name = "left".into());
    assert_eq!(
        fault([left[0].clone().frameset(), renamed]),
        format!("`left` had serial {}, and now has {}", serials.0, serials.1),
    );
    let twin = left[1].with(|parts| parts.info.name = "right".into());
    assert_eq!(
        fault([left[0].clone().frameset(), twin]),
        format!("`right` has serial {}, but so has `left`", serials.0),
    );
}

#[test]
fn a_repeated_or_late_sequence_is_a_fault_and_a_restart_is_not() {
    let all = &captured("front", "", 3);
    let (again, old) = (all[2].clone().frameset(), all[1].clone().frameset());
    assert_eq!(fault([again.clone(), again.clone()]), "frameset 2 of `front` came after frameset 2");
    assert_eq!(fault([again.clone(), old]), "frameset 1 of `front` came after frameset 2");
    // Two framesets with the same sequence number are not a restart: the device's number continues.
    let doubled = all[2].with(|parts| {
        parts.header = FrameSetHeader { sequence: 1, ..parts.header.clone() };
    });
    assert_eq!(fault([all[1].clone().frameset(), doubled]), "frameset 1 of `front` came after frameset 1",);
    let mut verify = verify("");
    let anew = all[0].with(|parts| parts.header.arrival_nanos = again.arrival_nanos() + 1);
    assert!(verify.look(&again).is_ok() && verify.look(&anew).is_ok());
}

#[test]
fn frames_have_to_be_those_that_the_camera_has() {
    let parts = &captured("front", "", 1)[0];
    let lost = parts.with(|parts| parts.header.frames.truncate(1));
    assert_eq!(
        fault([lost]),
        "frameset 0 of `front` has color rgb8 32x24 in rows of 96 bytes, but the camera has color rgb8 \
         32x24 in rows of 96 bytes, depth z16 64x48 in rows of 128 bytes",
    );
    let mixed = parts.with(|parts| parts.header.frames[1].number = 9);
    assert_eq!(fault([mixed]), "frameset 0 of `front` mixes frames 0 and 9");
}

#[test]
fn motion_has_to_be_as_the_camera_measured_it() {
    let all = &captured("front", "accel = 60\ngyro = 200", 3);
    let mut right = verify("");
    for parts in all {
        right.look(&parts.clone().frameset()).unwrap();
    }
    let (parts, gyro) = (&all[2], 3);
    assert_eq!((parts.header.frames[gyro].number, parts.header.frames[gyro].numbers()), (13, 7));
    let none = parts.with(|parts| parts.header.frames.truncate(2));
    assert!(right.look(&none).is_err_and(|fault| fault.to_string().contains("came after")));
    for (change, found) in [
        (
            (|parts| parts.pixels.0[3][2 * 20 + 8] ^= 1) as fn(&mut Parts),
            "frameset 2 of `front`: gyro sample 9 is [",
        ),
        (
            |parts| parts.pixels.0[3][20..28].fill(0),
            "frameset 2 of `front`: gyro sample 8 is not later than the one before",
        ),
        (
            |parts| parts.header.frames[3].timestamp.nanos += 1,
            "frameset 2 of `front`: gyro sample 13 has another time than its frame, or is later than its frameset",
        ),
        (|parts| parts.header.frames[3].number += 1, "frameset 2 of `front`: gyro sample 8 is ["),
        (|parts| parts.header.frames[3].number = 1, "frameset 2 of `front`: gyro sample 1 is the last of 7"),
        (
            |parts| parts.pixels.0[3] = parts.pixels.0[2].repeat(4)[..140].to_vec(),
            "frameset 2 of `front`: gyro sample 7 is [",
        ),
        (
            |parts| parts.header.frames[3].payload = Payload::image(PixelFormat::Y8, 140, 1),
            "frameset 2 of `front` has color rgb8 32x24 in rows of 96 bytes, depth z16 64x48 in rows of 128 \
             bytes, accel motion 2x1 in rows of 40 bytes, gyro y8 140x1 in rows of 140 bytes, but",
        ),
    ] {
        let fault = fault([parts.with(change)]);
        assert!(fault.starts_with(found), "{fault}");
    }
}

#[test]
fn other_cameras_are_only_digested() {
    let real = captured("front", "", 1)[0].with(|parts| {
        parts.info.driver = "realsense".into();
        parts.info.model = "Intel RealSense D435".into();
    });
    assert_eq!(
        fault([real.clone()]),
        "the content of `front` is unknown: driver `realsense` with model `Intel RealSense D435` is not \
         synthetic; `content = false` only digests",
    );
    let mut verify = verify("content = false");
    verify.look(&real).unwrap();
    assert_eq!(verify.report().collect::<Vec<_>>(), ["front: 1 framesets"]);
    assert_eq!(real.frame(Stream::DEPTH).map(|frame| frame.width()), Some(64));
}

/// `cargo test --release -p camrig --lib verifying_time -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, worth something in release only"]
fn verifying_time() {
    for options in ["", "digest = true", "digest = true\ncontent = false"] {
        let frames = Rig::called("front", "paced = false").frameset();
        let mut verify = verify(options);
        verify.look(&frames).unwrap();
        let start = std::time::Instant::now();
        let count = 200;
        for _ in 0..count {
            verify.sources.values_mut().for_each(|camera| camera.last = None);
            verify.look(&frames).unwrap();
        }
        println!("{options:?}: {:.3} ms a frameset", start.elapsed().as_secs_f64() * 1e3 / f64::from(count));
    }
}
