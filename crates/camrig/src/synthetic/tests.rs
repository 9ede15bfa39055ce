//! Tests of the camera's output: pixels against exact values, times against the options.

use std::sync::Arc;

use camrig_frame::{ColorView, DepthView, Format, Frame, Intrinsics, PixelFormat, Stream};
use camrig_image::LightImage;
use camrig_ipc::{ActorCounters, LinkState, Overflow};
use tokio::sync::Notify;

use super::world::Surface;
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

fn intrinsics(camera: &Synthetic, stream: Stream) -> Intrinsics {
    camera.info().stream(stream).unwrap().intrinsics.unwrap()
}

/// Options for every model, format and stream, and sizes of many aspect ratios down to one pixel.
const EVERY_KIND: [&str; 11] = [
    "",
    "seed = 5\nmodel = 'd405'\ninfrared = '848x480@30'",
    "seed = 6\nmodel = 'd405'\ndepth = '424x240@90'\ncolor = '480x270@90'\ncolor_format = 'bgr8'",
    "seed = 7\ndepth = '640x480@6'\ncolor = '320x240@6'\ncolor_format = 'yuyv'\ninfrared = '480x270@6'",
    "model = 'any'\ndepth = '64x48@30'\ncolor = '75x31@30'\ncolor_format = 'yuyv'\ninfrared = '5x9@30'",
    "seed = 9\nmodel = 'any'\ndepth = '1x1@1000'\ncolor = '2x300@1000'",
    "color = '424x240@30'\ncolor_format = 'uyvy'\ninfrared = '424x240@30'\ninfrared_format = 'y16'",
    "color = '424x240@30'\ncolor_format = 'rgba8'",
    "color = '424x240@30'\ncolor_format = 'bgra8'",
    "color = '848x480@30'\ncolor_format = 'mjpeg'",
    "seed = 10\nmodel = 'any'\ndepth = '300x2@100'\ncolor = 'off'",
];

#[test]
fn every_depth_pixel_is_exact_to_one_unit() {
    for options in EVERY_KIND {
        let mut camera = camera(options);
        let mut bodies_seen = 0;
        for number in [0, 1, 77, 100_000] {
            let (header, pixels) = images(&mut camera, number)
                .into_iter()
                .find(|(header, _)| header.stream == Stream::DEPTH)
                .unwrap();
            let unit = camera.info().depth_unit_meters;
            let depth = DepthView::new(Frame::new(&header, &pixels).unwrap(), unit, None).unwrap();
            let (width, height) = header.payload.size().unwrap();
            for y in 0..height {
                for x in 0..width {
                    let truth = camera.scene.depth_meters_at(number, x, y);
                    let seen = depth.meters(x, y).map(f64::from);
                    let close = match (truth, seen) {
                        (Some(truth), Some(seen)) => (truth - seen).abs() <= f64::from(unit),
                        (truth, seen) => truth == seen,
                    };
                    assert!(close, "{options}: #{number} at {x}, {y}: {seen:?} m instead of {truth:?} m");
                    let sight = camera.scene.sight(Stream::DEPTH, number, x, y);
                    bodies_seen += u32::from(matches!(sight.surface, Surface::Body(_)));
                }
            }
        }
        assert!(bodies_seen > 0, "{options}: no body is ever seen");
    }
}

#[test]
fn every_color_pixel_has_the_color_of_its_object() {
    for options in EVERY_KIND {
        let mut camera = camera(options);
        for number in [0, 31] {
            for (header, pixels) in images(&mut camera, number) {
                let Some(color) = ColorView::new(Frame::new(&header, &pixels).unwrap()) else { continue };
                // One level of brightness, and where two pixels share their chroma its rounding error.
                let format = color.format();
                let (width, height) = header.payload.size().unwrap();
                let in_pairs = matches!(format, PixelFormat::Yuyv | PixelFormat::Uyvy);
                let tolerance = if in_pairs { 6 } else { 1 };
                for y in code_rows(&header)..height {
                    for x in 0..width {
                        let truth = |x| camera.scene.sight(header.stream, number, x, y);
                        let (sight, neighbor) = (truth(x), truth((x ^ 1).min(width - 1)));
                        if in_pairs && sight.rgb != neighbor.rgb {
                            // Two pixels share their chroma.
                            continue;
                        }
                        if in_pairs && x ^ 1 >= width {
                            continue;
                        }
                        let rgb = match format {
                            PixelFormat::Y8 | PixelFormat::Y16 => {
                                let [r, g, b] = sight.rgb.map(u32::from);
                                [((77 * r + 150 * g + 29 * b + 128) >> 8) as u8; 3]
                            }
                            _ => sight.rgb,
                        };
                        let seen = color.rgb(x, y).unwrap();
                        let close = rgb.iter().zip(seen).all(|(a, b)| a.abs_diff(b) <= tolerance);
                        let stream = header.stream;
                        assert!(close, "{options}: {stream} #{number} at {x}, {y}: {seen:?} for {sight:?}");
                    }
                }
            }
        }
    }
}

/// The maximum mean difference of a channel between an image and its JPEG.
const JPEG_TOLERANCE: f64 = 3.0;

#[test]
fn a_jpeg_shows_the_rendered_image_and_has_the_same_bytes_each_time() {
    let options = |format: &str| format!("color = '424x240@30'\nseed = 5\ncolor_format = '{format}'");
    let (mut plain, mut coded) = (camera(&options("rgb8")), camera(&options("mjpeg")));
    for number in [0, 31, 100_000] {
        let (_, expected) = images(&mut plain, number).remove(0);
        let (header, jpeg) = images(&mut coded, number).remove(0);
        assert!(jpeg == images(&mut camera(&options("mjpeg")), number).remove(0).1);
        assert!(jpeg.len() < expected.len() / 4, "{} bytes", jpeg.len());
        let image = LightImage::new(Frame::new(&header, &jpeg).unwrap()).unwrap().unwrap();
        let seen = image.view().unwrap().to_rgb8();
        let sum: u32 = seen.iter().zip(&expected).map(|(a, b)| u32::from(a.abs_diff(*b))).sum();
        let mean = f64::from(sum) / expected.len() as f64;
        assert!(mean < JPEG_TOLERANCE, "#{number}: {mean}");
    }
}

#[test]
fn a_jpeg_of_any_size_fits_into_its_slot() {
    for size in ["1x1@30", "2x300@30", "300x2@30", "33x17@30", "1920x1080@30"] {
        let options = format!("model = 'any'\ndepth = 'off'\ncolor = '{size}'\ncolor_format = 'mjpeg'");
        let mut camera = camera(&options);
        let declared = camera.info().streams[0].payload;
        for (header, _) in images(&mut camera, 7) {
            assert_eq!(header.payload.format(), Format::Encoded(camrig_frame::MJPEG));
            assert!(declared.admits(&header.payload), "{:?} in {declared:?}", header.payload);
        }
    }
}

/// Returns the number of rows that the code covers.
fn code_rows(header: &FrameHeader) -> u32 {
    let (width, height) = header.payload.size().unwrap();
    let cell = width / 64;
    if height >= 2 * cell { cell } else { 0 }
}

#[test]
fn deprojected_floor_pixels_lie_in_the_floor() {
    for options in ["", "model = 'd405'", "model = 'd405'\ndepth = '640x480@30'"] {
        let mut camera = camera(options);
        let (header, pixels) = images(&mut camera, 12).pop().unwrap();
        let unit = camera.info().depth_unit_meters;
        let lens = intrinsics(&camera, Stream::DEPTH);
        let depth = DepthView::new(Frame::new(&header, &pixels).unwrap(), unit, Some(&lens)).unwrap();
        let mut found = 0;
        let (width, height) = header.payload.size().unwrap();
        for y in 0..height {
            for x in 0..width {
                if camera.scene.sight(Stream::DEPTH, 12, x, y).surface == Surface::Floor {
                    let z = f64::from(depth.meters(x, y).unwrap());
                    let point = [
                        z * f64::from((x as f32 - lens.ppx) / lens.fx),
                        z * f64::from((y as f32 - lens.ppy) / lens.fy),
                        z,
                    ];
                    let above = camera.scene.meters_above_floor(point);
                    assert!(
                        above.abs() <= f64::from(unit),
                        "{options}: {above} m above the floor at {x}, {y}"
                    );
                    found += 1;
                }
            }
        }
        assert!(found > width * height / 10, "{options}: {found} pixels of floor");
    }
}

#[test]
fn the_scene_follows_from_the_camera_info_alone() {
    let mut one = camera_called("left", EVERY_KIND[3]);
    let again = Scene::of(&one.info()).unwrap();
    for (header, pixels) in images(&mut one, 41) {
        let mut rendered = Vec::new();
        again.write(header.stream, 41, &header.metadata, &mut rendered);
        assert!(rendered == pixels, "{}", header.stream);
    }
    let info = one.info();
    assert!(Scene::of(&CameraInfo { driver: "realsense".into(), ..info.clone() }).is_none());
    assert!(Scene::of(&CameraInfo { model: "Intel RealSense D435".into(), ..info.clone() }).is_none());
    let mut other = info;
    other.streams[0].intrinsics = None;
    assert!(Scene::of(&other).is_none());
}

#[test]
fn all_cameras_and_frames_differ() {
    let mut seen = std::collections::HashSet::new();
    for name in ["left", "right", "front", "rear", "top", "wrist"] {
        let mut camera = camera_called(name, "depth = '424x240@30'\ncolor = '424x240@30'");
        for number in 0..5 {
            for (header, pixels) in images(&mut camera, number) {
                assert!(seen.insert(pixels), "{name} #{number} {}", header.stream);
            }
        }
    }
}

#[test]
fn light_images_contain_the_frames_number_and_the_seed() {
    for options in EVERY_KIND {
        let mut camera = camera(options);
        for (header, pixels) in images(&mut camera, 0x0012_3456_789a) {
            let image = LightImage::new(Frame::new(&header, &pixels).unwrap()).unwrap();
            let Some(color) = image.as_ref().and_then(LightImage::view) else { continue };
            let cell = color.frame().width() / 64;
            if code_rows(&header) > 0 {
                let bit = |index| u64::from(color.rgb(index * cell + cell / 2, cell / 2).unwrap()[0] > 127);
                let code = (0..64).fold(0, |code, index| code << 1 | bit(index));
                assert_eq!(code >> 32, 0x3456_789a, "{options}");
                assert_eq!(code as u32, Scene::seed(&camera.serial) as u32, "{options}");
            }
        }
    }
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
fn motion_beyond_two_seconds_is_lost_and_counted() {
    let mut rig = Rig::new("model = 'any'\ncolor = 'off'\ndepth = '16x12@30'\ngyro = 1000");
    assert_eq!(samples(&rig.frameset(), Stream::GYRO).len(), 1);
    // As if the host had been suspended for five seconds.
    rig.camera.started = Instant::now().checked_sub(Duration::from_secs(5));
    let own = samples(&rig.frameset(), Stream::GYRO);
    assert_eq!(own.len(), 2000);
    let images = rig.camera.number - 2;
    assert_eq!(rig.counters.lost(), images + own[0].0 - 1);
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
fn an_unplugged_camera_fails_by_name() {
    for (name, pace) in [("paced", "paced = true"), ("hurried", "paced = false")] {
        let mut rig = Rig::called(name, &format!("{TINY}unplug_at = 0.003\nserial = 'S7'\n{pace}"));
        let error = loop {
            match rig.capture() {
                Ok(_) => drop(rig.link.take()),
                Err(error) => break error,
            }
        };
        assert!(error.is_unavailable());
        assert_eq!(error.to_string(), "the device with serial S7 was unplugged, as option `unplug_at` asks");
        assert!(rig.capture().is_err(), "it stays unplugged");
        assert!(rig.camera.captured <= 3);
    }
}

#[test]
fn an_unplugged_device_cannot_be_opened_until_it_is_back() {
    let open = |replug_after: &str| {
        let options = format!("{TINY}unplug_at = 0\nserial = 'S8'\npaced = false\n{replug_after}");
        Synthetic::open("doorway", toml::from_str(&options).unwrap())
    };
    let mut rig = Rig::called("doorway", &format!("{TINY}unplug_at = 0\nserial = 'S8'\npaced = false"));
    assert!(rig.capture().is_err());
    assert!(open("").is_err_and(|error| error.is_unavailable()));
    assert!(open("replug_after = 1000").is_err_and(|error| error.is_unavailable()));
    // It is unplugged only once.
    rig.camera = open("replug_after = 0").unwrap();
    assert_eq!(rig.numbers(3), [0, 1, 2]);
}

#[test]
fn a_wedged_device_needs_a_reset() {
    let options = format!("{TINY}stall_at = 0.003\nwedge_until_reset = true\npaced = false");
    let mut rig = Rig::called("wedged", &options);
    assert_eq!(rig.numbers(3), [0, 1, 2]);
    assert_eq!(rig.capture().unwrap(), Captured::Nothing);
    rig.camera = camera_called("wedged", &options);
    assert_eq!(rig.capture().unwrap(), Captured::Nothing);
    Synthetic::reset("wedged", &toml::from_str(&options).unwrap()).unwrap();
    rig.camera = camera_called("wedged", &options);
    // It stalls only once.
    assert_eq!(rig.numbers(5), [0, 1, 2, 3, 4]);
}

#[test]
fn a_silent_stream_is_named_and_counted_while_others_go_on() {
    let options =
        format!("{TINY}stall_at = 0.003\nstall_stream = 'color'\nwedge_until_reset = true\npaced = false");
    let mut rig = Rig::called("mute", &options);
    let timeout = Duration::from_millis(20);
    rig.output.expect_all_streams(timeout);
    let deadline = Instant::now() + Duration::from_secs(60);
    let silent = loop {
        let streams = rig.frameset().header().frames.len();
        assert_eq!(streams, if rig.camera.number <= 3 { 2 } else { 1 });
        if let Some(silent) = rig.output.silent_stream() {
            break silent;
        }
        assert!(Instant::now() < deadline, "no stream is silent");
    };
    assert_eq!(silent, Stream::COLOR);
    let counts = rig.counters.streams();
    let of = |stream| counts.iter().find(|counts| counts.stream == stream).unwrap();
    assert_eq!((of(Stream::COLOR).frames, of(Stream::COLOR).silences, of(Stream::DEPTH).silences), (3, 1, 0));
    assert!(of(Stream::DEPTH).frames > 3 && !rig.counters.awaits_streams());

    // An instance without color is no success.
    rig.camera = camera_called("mute", &options);
    rig.output.expect_all_streams(timeout);
    rig.frameset();
    assert!(rig.counters.awaits_streams());
    Synthetic::reset("mute", &toml::from_str(&options).unwrap()).unwrap();
    rig.camera = camera_called("mute", &options);
    rig.frameset();
    assert!(!rig.counters.awaits_streams());
}

#[test]
fn a_stalled_camera_delivers_nothing_until_it_is_unplugged() {
    let mut rig = Rig::called("stalled", &format!("{TINY}stall_at = 0.003\npaced = false"));
    assert_eq!(rig.numbers(3), [0, 1, 2]);
    for _ in 0..5 {
        assert_eq!(rig.capture().unwrap(), Captured::Nothing);
    }
    let mut rig = Rig::called("pulled", &format!("{TINY}stall_at = 0.003\nunplug_at = 1\npaced = false"));
    assert_eq!(rig.numbers(3), [0, 1, 2]);
    assert!(rig.capture().is_err());
}

#[test]
fn a_camera_with_a_drop_rate_always_loses_the_same_framesets() {
    let options = format!("{TINY}drop_rate = 0.25\nseed = 3\npaced = false");
    let mut rig = Rig::new(&options);
    let numbers = rig.numbers(600);
    assert_eq!(numbers, Rig::new(&options).numbers(600));
    assert_ne!(numbers, Rig::new(&options.replace("seed = 3", "seed = 4")).numbers(600));
    let end = numbers[599] + 1;
    let lost = end - 600;
    assert!((150..=250).contains(&lost), "{lost} of {end} are lost");
    // Framesets lost before the first one leave no gap to be counted.
    assert_eq!(rig.counters.lost(), lost - numbers[0]);
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

/// Returns the next number of a camera of one frame per second, without waiting for its time.
fn number_without_wait(rig: &mut Rig) -> u64 {
    while rig.capture().unwrap() != Captured::FrameSet {
        pass(rig, 1);
    }
    rig.link.take().unwrap().header().frames[0].number
}

/// Counted as `device` before, all of them: with a late host a drop rate of 0.25 read as more.
#[test]
fn framesets_that_the_host_missed_are_no_losses_of_the_device() {
    let options = "model = 'any'\nseed = 3\ndepth = '16x12@1'\ncolor = '16x12@1'\n";
    let unpaced = format!("{options}drop_rate = 0.25\npaced = false");
    let kept = Rig::new(&unpaced).numbers(400);
    let mut rig = Rig::new(&unpaced.replace("paced = false", ""));
    let mut delivered = vec![number_without_wait(&mut rig)];
    for late in [100, 30, 3, 100] {
        pass(&mut rig, late);
        delivered.push(number_without_wait(&mut rig));
    }
    let end = *delivered.last().unwrap();
    let sent = kept.iter().filter(|&&number| number <= end).count() as u64;
    let numbers = end - kept[0] + 1;
    assert!(sent < numbers && sent > 150, "{sent} of {numbers}");
    let missed = sent - delivered.len() as u64;
    assert_eq!(rig.counters.lost_by_reason(), [numbers - sent, missed, 0, 0, 0]);
}

#[test]
fn an_absent_device_loses_nothing_by_the_host() {
    let slow = TINY.replace("@1000", "@1");
    for fault in ["stall_at = 10", "unplug_at = 10"] {
        let mut rig = Rig::called(fault, &format!("{slow}{fault}"));
        assert_eq!(rig.numbers(1), [0]);
        pass(&mut rig, 100);
        while rig.capture().is_ok_and(|captured| captured == Captured::FrameSet) {}
        drop(rig.output);
        let [_, missed, ..] = rig.counters.lost_by_reason();
        assert!((8..=10).contains(&missed) && rig.counters.lost() == missed, "{fault}: {missed}");
    }
}

#[test]
fn samples_without_room_were_missed_or_have_no_image() {
    let options = "model = 'any'\nseed = 3\ncolor = 'off'\ndepth = '16x12@1'\ngyro = 100\n";
    let mut late = Rig::new(options);
    assert_eq!(samples(&late.frameset(), Stream::GYRO).len(), 1);
    pass(&mut late, 10);
    let images = late.frameset().header().frames[0].number - 1;
    assert_eq!(late.counters.lost_by_reason(), [0, images + images * 100 - 100, 0, 0, 0]);

    // The device loses images, but no samples: one image in ten does not carry those of ten seconds.
    let mut rare = Rig::new(&format!("{options}paced = false\ndrop_rate = 0.9"));
    let first = rare.frameset().header().frames[0].number;
    let last = rare.numbers(20)[19];
    let [device, queue_full, no_partner, ..] = rare.counters.lost_by_reason();
    assert_eq!((device, queue_full), (last - first - 20, 0));
    assert!(no_partner > 0);
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

/// Run with `cargo test --release -p camrig --lib rendering_time -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, useful in release builds only"]
fn rendering_time() {
    for options in [
        "",
        "color_format = 'yuyv'",
        "color_format = 'mjpeg'",
        "model = 'd405'",
        "color = '1280x720@30'\ndepth = '1280x720@30'",
    ] {
        let mut camera = camera(options);
        let mut frames = images(&mut camera, 0);
        let start = Instant::now();
        let count = 300;
        for number in 0..count {
            for (header, pixels) in &mut frames {
                camera.scene.write(header.stream, number, &header.metadata, pixels);
            }
        }
        let millis = start.elapsed().as_secs_f64() * 1e3 / count as f64;
        println!(
            "{options:?}: {millis:.3} ms a frameset; six cameras at 30 Hz: {:.0} % of a core",
            millis * 18.0
        );
    }
}

#[test]
fn controls_show_in_pictures_which_follow_from_the_metadata() {
    let options = "seed = 3\nmodel = 'any'\ndepth = '64x48@30'\ncolor = '128x96@30'\ninfrared = '64x48@30'";
    let mut camera = camera(options);
    let scene = Scene::of(&camera.info()).unwrap();
    let brightness = |camera: &mut Synthetic, stream| {
        let images = images(camera, 7);
        let (header, pixels) = images.iter().find(|(header, _)| header.stream == stream).unwrap();
        let mut again = vec![0; pixels.len()];
        scene.render(stream, 7, &header.metadata, &mut again);
        assert!(again == *pixels, "{stream}");
        // Without the code in the first rows.
        let rest = &pixels[pixels.len() / 4..];
        rest.iter().map(|&level| u64::from(level)).sum::<u64>() as f64 / rest.len() as f64
    };
    let number = ControlValue::Number;
    let auto = [Stream::COLOR, Stream::INFRARED_1].map(|stream| brightness(&mut camera, stream));
    for (name, value, share) in
        [("exposure", 4250.0, 0.5), ("exposure", 8500.0, 1.0), ("exposure", 2125.0, 0.25)]
    {
        assert_eq!(camera.set(name, &number(value)).unwrap(), number(value));
        for (stream, auto) in [Stream::COLOR, Stream::INFRARED_1].into_iter().zip(auto) {
            let own = brightness(&mut camera, stream);
            assert!((own - share * auto).abs() < 1.0, "{value} {stream}: {own} of {auto}");
        }
    }
    camera.set("gain", &number(32.0)).unwrap();
    assert!((brightness(&mut camera, Stream::COLOR) - 0.5 * auto[0]).abs() < 1.0);
    let values = |camera: &Synthetic| {
        let controls = camera.controls().into_iter();
        controls.map(|it| format!("{} {}", it.name, it.value.unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(values(&camera), ["auto_exposure false", "exposure 2125", "gain 32", "emitter true"]);
    camera.set("auto_exposure", &ControlValue::Switch(true)).unwrap();
    assert!((brightness(&mut camera, Stream::COLOR) - auto[0]).abs() < 1e-9);
    camera.set("emitter", &ControlValue::Switch(false)).unwrap();
    let holes = |camera: &mut Synthetic| {
        let images = images(camera, 7);
        let (_, depth) = images.iter().find(|(header, _)| header.stream == Stream::DEPTH).unwrap();
        depth.chunks_exact(2).filter(|depth| **depth == [0, 0]).count()
    };
    assert!(holes(&mut camera) >= 64 * 48 / 2);
    brightness(&mut camera, Stream::DEPTH);
}

#[test]
fn half_the_exposure_is_half_as_bright_in_every_format() {
    for format in PixelFormat::ALL.into_iter().filter(|format| format.is_light()) {
        let (size, levels) = (format.bytes_per_pixel() as usize, [200_u8, 100]);
        let [mut pixels, half] = levels.map(|level| {
            let pixel = |odd| format.encode_rgb(odd, [level; 3])[..size].to_vec();
            [pixel(false), pixel(true)].concat()
        });
        let mut metadata = Metadata::EMPTY;
        Controls::new(Some(4250), None, true).show(0, &mut metadata);
        controls::Look::of(&metadata).apply(format, 2, &mut pixels);
        // Luminance of YUYV has an offset in some conventions.
        let near = |(one, other): (&u8, &u8)| one.abs_diff(*other) <= 8;
        assert!(pixels.iter().zip(&half).all(near), "{format}: {pixels:?}, {half:?}");
    }
}

#[test]
fn controls_are_refused_with_the_choices_and_options_set_them() {
    let mut own = camera("exposure = 1000\nemitter = false");
    let values: Vec<_> = own.controls().into_iter().map(|it| it.value.unwrap().to_string()).collect();
    assert_eq!(values, ["false", "1000", "16", "false"]);
    let mut refused = |name: &str, value| own.set(name, &value).unwrap_err().to_string();
    assert_eq!(
        refused("exposure", ControlValue::Number(0.0)),
        "option `exposure` is 0: it is 1 to 165000 in steps of 1"
    );
    assert_eq!(
        refused("gain", ControlValue::Number(16.5)),
        "option `gain` is 16.5: it is 16 to 248 in steps of 1"
    );
    assert_eq!(
        refused("contrast", ControlValue::Number(1.0)),
        "a synthetic camera has no option `contrast`; it has: `auto_exposure`, `exposure`, `gain`, `emitter`"
    );
    let options: SyntheticOptions = toml::from_str("exposure = 0\ngain = 249").unwrap();
    let wrong = Synthetic::check(&options).unwrap_err().to_string();
    assert_eq!(
        wrong,
        "exposure 0 is out of range; it is 1 to 165000; gain 249 is out of range; it is 16 to 248"
    );
}
