//! The stock processor `verify`: checks that framesets arrive unchanged.
//!
//! It renders each synthetic frameset again from its metadata, and compares every byte, which detects pixels under
//! the name of another camera, duplicate frames and torn frames. For cameras with unpredictable content, it computes
//! a digest: equal digests from two placements mean equal framesets. Motion samples are compared as well (`motion`).
//!
//! It has no knowledge of slots, links and placements, only the interface of any processor.

mod motion;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use camrig_frame::{
    CameraInfo, Frame, JSON, MessageView, Payload, PixelFormat, Role, Stream, StreamInfo, TensorView,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::console::Lines;
use crate::frameset::FrameSet;
use crate::output::ProcessorOutput;
use crate::processor::{Declared, Processor, ProcessorError};
use crate::synthetic::Scene;

/// The options of [`Verify`].
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct VerifyOptions {
    /// Prints a digest of everything that each camera sent, at the end.
    digest: bool,
    /// Compares pixels with those that the synthetic driver renders; `false` admits other cameras.
    content: bool,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self { digest: false, content: true }
    }
}

/// Compares framesets with their expected content.
pub(crate) struct Verify {
    options: VerifyOptions,
    cameras: BTreeMap<String, Camera>,
    /// Buffer for rendering frames, allocated once.
    rendered: Vec<u8>,
}

/// State of one camera.
struct Camera {
    info: Arc<CameraInfo>,
    /// The rendered scene; `None` if content is not compared.
    scene: Option<Scene>,
    /// By producer: each actor that forwards the framesets numbers them itself.
    last: BTreeMap<String, Place>,
    framesets: u64,
    digest: Digest,
}

/// Position of a frameset in its camera's sequence.
#[derive(Clone, Copy)]
struct Place {
    sequence: u64,
    number: u64,
    arrival_nanos: u64,
}

/// A frameset that differs from the expectation.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(
        "the content of `{camera}` is unknown: driver `{driver}` with model `{model}` is not synthetic; \
         `content = false` only digests"
    )]
    NotSynthetic { camera: String, driver: String, model: String },
    #[error("`{camera}` has serial {serial}, but so has `{other}`")]
    SerialTwice { camera: String, serial: String, other: String },
    #[error("`{camera}` had serial {before}, and now has {now}")]
    SerialChanged { camera: String, before: String, now: String },
    #[error("frameset {sequence} of `{camera}` came after frameset {last}")]
    WorkerCommand { camera: String, sequence: u64, last: u64 },
    #[error("frameset {sequence} of `{camera}` has {found}, but the camera has {expected}")]
    Streams { camera: String, sequence: u64, found: String, expected: String },
    #[error("frameset {sequence} of `{camera}` mixes frames {first} and {other}")]
    Numbers { camera: String, sequence: u64, first: u64, other: u64 },
    #[error("frameset {sequence} of `{camera}`: {stream} sample {number} {what}")]
    Sample { camera: String, sequence: u64, stream: Box<str>, number: u64, what: String },
    #[error("frameset {sequence} of `{camera}`: {stream} frame {number} {what}")]
    Made { camera: String, sequence: u64, stream: Box<str>, number: u64, what: String },
    #[error(
        "frameset {sequence} of `{camera}`: in {stream} frame {number} the pixel at column {x}, row {y} is \
         {found}, not {expected}"
    )]
    Pixel {
        camera: String,
        sequence: u64,
        stream: Box<str>,
        number: u64,
        x: usize,
        y: usize,
        found: String,
        expected: String,
    },
}

impl Verify {
    pub(crate) fn new(options: VerifyOptions) -> Self {
        Self { options, cameras: BTreeMap::new(), rendered: Vec::new() }
    }

    /// Registers the camera of `frames` in `cameras`, and checks that it is unchanged.
    fn meet(&mut self, frames: &FrameSet) -> Result<(), Fault> {
        let info = frames.info();
        let known = self.cameras.get_mut(frames.camera());
        match known {
            Some(camera) if Arc::ptr_eq(&camera.info, info) || camera.info == *info => return Ok(()),
            Some(camera) if camera.info.serial != info.serial => {
                return Err(Fault::SerialChanged {
                    camera: info.name.clone(),
                    before: camera.info.serial.clone(),
                    now: info.serial.clone(),
                });
            }
            // The same device with other streams: it was reopened.
            Some(camera) => {
                camera.scene = self.options.content.then(|| scene(info)).transpose()?;
                camera.info = Arc::clone(info);
                return Ok(());
            }
            None => {}
        }
        let same_serial = |camera: &&Camera| !info.serial.is_empty() && camera.info.serial == info.serial;
        if let Some(other) = self.cameras.values().find(same_serial) {
            return Err(Fault::SerialTwice {
                camera: info.name.clone(),
                serial: info.serial.clone(),
                other: other.info.name.clone(),
            });
        }
        let camera = Camera {
            info: Arc::clone(info),
            scene: self.options.content.then(|| scene(info)).transpose()?,
            last: BTreeMap::new(),
            framesets: 0,
            digest: Digest::default(),
        };
        self.cameras.insert(info.name.clone(), camera);
        Ok(())
    }

    fn look(&mut self, frames: &FrameSet) -> Result<(), Fault> {
        self.meet(frames)?;
        let Some(camera) = self.cameras.get_mut(frames.camera()) else { return Ok(()) };
        camera.check_order(frames)?;
        if let Some(scene) = &camera.scene {
            check_headers(frames)?;
            for frame in frames.frames() {
                if frame.role() == Role::Motion {
                    motion::check(frames, &frame, scene)?;
                } else if scene.shows(frame.stream()) {
                    check_pixels(frames, &frame, scene, &mut self.rendered)?;
                } else {
                    check_made(frames, frame)?;
                }
            }
        }
        if self.options.digest {
            camera.digest.frameset(frames);
        }
        camera.framesets += 1;
        Ok(())
    }

    /// Returns the final report: one line per camera, sorted by name.
    fn report(&self) -> impl Iterator<Item = String> {
        self.cameras.iter().map(|(name, camera)| {
            let mut line = format!("{name}: {} framesets", camera.framesets);
            if self.options.digest {
                // Writing to a string cannot fail.
                let _ = write!(line, ", digest {:016x}", camera.digest.0);
            }
            line
        })
    }
}

impl Processor for Verify {
    /// It publishes nothing.
    fn declare(_: &[StreamInfo]) -> Declared {
        Ok(Some(Vec::new()))
    }

    fn process(&mut self, frames: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        Ok(self.look(frames)?)
    }

    fn finish(&mut self, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        for line in self.report() {
            if self.options.digest {
                Lines::new().print(&format!("verify: {line}"))?;
            } else {
                log::info!("verify: {line}");
            }
        }
        Ok(())
    }
}

impl Camera {
    /// Checks that sequence numbers increase. Only a reopened camera restarts from the beginning: its frame
    /// numbers restart as well, and its time is later.
    fn check_order(&mut self, frames: &FrameSet) -> Result<(), Fault> {
        let number = frames.header().frames.first().map_or(0, |frame| frame.number);
        let place = Place { sequence: frames.sequence(), number, arrival_nanos: frames.arrival_nanos() };
        if let Some(last) = self.last.insert(frames.producer().to_owned(), place) {
            let anew = place.number <= last.number && place.arrival_nanos > last.arrival_nanos;
            if place.sequence <= last.sequence && !anew {
                return Err(Fault::WorkerCommand {
                    camera: self.info.name.clone(),
                    sequence: place.sequence,
                    last: last.sequence,
                });
            }
        }
        Ok(())
    }
}

fn scene(info: &CameraInfo) -> Result<Scene, Fault> {
    Scene::of(info).ok_or_else(|| Fault::NotSynthetic {
        camera: info.name.clone(),
        driver: info.driver.clone(),
        model: info.model.clone(),
    })
}

/// Checks that there is one frame per stream of the camera, with the declared sizes and a common capture time; frames
/// of motion may be missing or shorter, and have their own numbers.
fn check_headers(frames: &FrameSet) -> Result<(), Fault> {
    let headers = &frames.header().frames;
    let found = headers.iter().map(|frame| (frame.stream, frame.payload));
    let expected = frames.info().streams.iter().filter_map(|info| {
        let frame = headers.iter().find(|frame| frame.stream == info.stream);
        // A frameset between two samples has no frame of motion.
        if info.role == Role::Motion && frame.is_none() {
            return None;
        }
        // Frames of varying length may be smaller than declared.
        let admitted = frame.filter(|frame| info.payload.admits(&frame.payload) && varies(&info.payload));
        Some((info.stream, admitted.map_or(info.payload, |frame| frame.payload)))
    });
    if !found.clone().eq(expected.clone()) {
        return Err(Fault::Streams {
            camera: frames.camera().to_owned(),
            sequence: frames.sequence(),
            found: describe(found),
            expected: describe(expected),
        });
    }
    let first = headers.first().map_or(0, |frame| frame.number);
    match headers.iter().find(|frame| frame.number != first && frame.role != Role::Motion) {
        Some(frame) => Err(Fault::Numbers {
            camera: frames.camera().to_owned(),
            sequence: frames.sequence(),
            first,
            other: frame.number,
        }),
        None => Ok(()),
    }
}

/// Whether frames may be smaller than their stream declares.
fn varies(payload: &Payload) -> bool {
    !matches!(payload, Payload::Image { .. } | Payload::Points { .. })
}

/// Checks a frame that a processor made: numbers are numbers, and JSON is JSON. What it should be is not known here; its
/// digest says whether it is the same in every placement.
fn check_made(frames: &FrameSet, frame: Frame<'_>) -> Result<(), Fault> {
    let fault = |what: &str| Fault::Made {
        camera: frames.camera().to_owned(),
        sequence: frames.sequence(),
        stream: frame.stream().name().into(),
        number: frame.header().number,
        what: what.to_owned(),
    };
    let numbers = TensorView::new(frame).and_then(|tensor| tensor.iter_f32());
    if numbers.is_some_and(|mut numbers| numbers.any(|number| !number.is_finite())) {
        return Err(fault("has an element that is not a finite number"));
    }
    let json = MessageView::new(frame).filter(|message| message.encoding() == JSON.as_str());
    let parses = |message: MessageView<'_>| serde_json::from_slice::<IgnoredAny>(message.bytes()).is_ok();
    if json.is_some_and(|message| !parses(message)) {
        return Err(fault("is not JSON, though it is declared to be"));
    }
    Ok(())
}

/// Describes frames by stream, format, size and bytes per row.
fn describe(frames: impl Iterator<Item = (Stream, Payload)>) -> String {
    let frame = |(stream, payload): (Stream, Payload)| match payload.stride_bytes() {
        Some(stride_bytes) => format!("{stream} {payload} in rows of {stride_bytes} bytes"),
        None => format!("{stream} {payload}"),
    };
    let frames: Vec<_> = frames.map(frame).collect();
    if frames.is_empty() { "no frames".to_owned() } else { frames.join(", ") }
}

/// Renders a frame into `rendered`, and compares it.
fn check_pixels(
    frames: &FrameSet,
    frame: &Frame<'_>,
    scene: &Scene,
    rendered: &mut Vec<u8>,
) -> Result<(), Fault> {
    let (header, pixels) = (frame.header(), frame.bytes());
    rendered.resize(pixels.len(), 0);
    scene.render(header.stream, header.number, rendered);
    if pixels == rendered {
        return Ok(());
    }
    let at = pixels.iter().zip(rendered.iter()).position(|(found, expected)| found != expected).unwrap_or(0);
    let size = header.payload.pixel_format().map_or(1, PixelFormat::bytes_per_pixel) as usize;
    let pixel = at / size;
    let hex = |bytes: &[u8]| {
        let bytes: Vec<_> = bytes[pixel * size..][..size].iter().map(|byte| format!("{byte:02x}")).collect();
        bytes.join(" ")
    };
    Err(Fault::Pixel {
        camera: frames.camera().to_owned(),
        sequence: frames.sequence(),
        stream: header.stream.name().into(),
        number: header.number,
        x: pixel % frame.width().max(1) as usize,
        y: pixel / frame.width().max(1) as usize,
        found: hex(pixels),
        expected: hex(rendered),
    })
}

/// A digest of everything that is the same in every placement: all except the arrival time.
///
/// FNV-1a over words of 8 bytes, with a rotation because multiplication does not propagate bits downwards. It detects
/// accidental differences, not deliberate ones.
struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    fn frameset(&mut self, frames: &FrameSet) {
        let header = frames.header();
        self.word(header.sequence);
        self.word(header.frames.len() as u64);
        for frame in frames.frames() {
            let header = frame.header();
            self.bytes(header.stream.name().as_bytes());
            self.bytes(header.role.name().as_bytes());
            self.bytes(header.payload.to_string().as_bytes());
            self.word(header.number);
            self.word(header.timestamp.clock as u64);
            self.word(header.timestamp.nanos);
            self.word(header.metadata.iter().count() as u64);
            for (key, value) in header.metadata.iter() {
                self.word(key.number() as u64);
                self.word(value as u64);
            }
            // Row by row, to exclude the padding.
            frame.rows().for_each(|row| self.bytes(row));
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for &word in words {
            self.word(u64::from_le_bytes(word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.word(u64::from_le_bytes(last));
    }

    fn word(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use camrig_frame::FrameSetHeader;

    use super::*;
    use crate::frameset::HeldFrames;
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
    fn what_the_camera_saw_is_right_wherever_it_lies() {
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
    fn the_digest_tells_everything_but_the_arrival() {
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
            |parts| parts.header.frames[0].timestamp.clock = camrig_frame::Clock::System,
            |parts| parts.header.frames[1].metadata.set(camrig_frame::MetadataKey::GAIN_LEVEL, -1),
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

    #[test]
    fn a_flipped_bit_is_found_where_it_is() {
        let parts = &captured("front", "seed = 1", 3)[2];
        let number = parts.header.frames[0].number;
        let found = fault([parts.with(|parts| parts.pixels.0[0][(5 * 32 + 7) * 3 + 1] ^= 0x10)]);
        let place =
            format!("frameset 2 of `front`: in color frame {number} the pixel at column 7, row 5 is ");
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
    fn a_repeated_or_late_sequence_is_found_and_a_new_start_is_none() {
        let all = &captured("front", "", 3);
        let (again, old) = (all[2].clone().frameset(), all[1].clone().frameset());
        assert_eq!(fault([again.clone(), again.clone()]), "frameset 2 of `front` came after frameset 2");
        assert_eq!(fault([again.clone(), old]), "frameset 1 of `front` came after frameset 2");
        // Two framesets with the same sequence number are not a restart: the device's number continues.
        let doubled = all[2].with(|parts| {
            parts.header = FrameSetHeader { sequence: 1, ..parts.header.clone() };
        });
        assert_eq!(
            fault([all[1].clone().frameset(), doubled]),
            "frameset 1 of `front` came after frameset 1",
        );
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
    fn motion_has_to_be_what_the_camera_measured() {
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
                "frameset 2 of `front`: gyro sample 8 is no later than the one before",
            ),
            (
                |parts| parts.header.frames[3].timestamp.nanos += 1,
                "frameset 2 of `front`: gyro sample 13 is not of the time that its frame says, or after it",
            ),
            (|parts| parts.header.frames[3].number += 1, "frameset 2 of `front`: gyro sample 8 is ["),
            (
                |parts| parts.header.frames[3].number = 1,
                "frameset 2 of `front`: gyro sample 1 is the last of 7",
            ),
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
                verify.cameras.values_mut().for_each(|camera| camera.last.clear());
                verify.look(&frames).unwrap();
            }
            println!(
                "{options:?}: {:.3} ms a frameset",
                start.elapsed().as_secs_f64() * 1e3 / f64::from(count)
            );
        }
    }
}
