//! Streams of every kind and format: several of a kind, encoded images, and streams that are left out.

use camrig::frame::{Format, FrameHeader, MJPEG, Payload, PixelFormat, Role, Stream};
use camrig::{HeldFrames, LostReason};
use realsense_sys as rs2;

use super::software::{ExtraStream, Identity, Scene, SoftwareCamera};
use super::{SCENE, Scratch, file, open_among, options, play, refusal, start, wait};
use crate::driver::{Grabbed, Grabber};
use crate::options::Options;

const COLOR: rs2::rs2_stream = rs2::rs2_stream_RS2_STREAM_COLOR;
const INFRARED: rs2::rs2_stream = rs2::rs2_stream_RS2_STREAM_INFRARED;

const fn of_color(index: i32, format: rs2::rs2_format) -> ExtraStream {
    ExtraStream { kind: COLOR, index, format, of_color: true }
}

const fn of_depth(kind: rs2::rs2_stream, index: i32, format: rs2::rs2_format) -> ExtraStream {
    ExtraStream { kind, index, format, of_color: false }
}

/// Every format of color beside RGB8.
const FORMATS: Scene = Scene {
    extra: &[
        of_color(0, rs2::rs2_format_RS2_FORMAT_BGR8),
        of_color(0, rs2::rs2_format_RS2_FORMAT_RGBA8),
        of_color(0, rs2::rs2_format_RS2_FORMAT_BGRA8),
        of_color(0, rs2::rs2_format_RS2_FORMAT_YUYV),
        of_color(0, rs2::rs2_format_RS2_FORMAT_UYVY),
        of_color(0, rs2::rs2_format_RS2_FORMAT_Y16),
        of_color(0, rs2::rs2_format_RS2_FORMAT_MJPEG),
    ],
    ..SCENE
};

/// A D415: its left imager in color, beside both infrared images.
const D415: Scene = Scene {
    identity: Identity { model: "Intel RealSense D415", ..Identity::D435 },
    infrared: Some(rs2::rs2_format_RS2_FORMAT_Y8),
    infrared_2: true,
    extra: &[of_depth(INFRARED, 0, rs2::rs2_format_RS2_FORMAT_RGB8)],
    ..SCENE
};

/// An L515: confidence; and two fisheye streams and a second color camera, which no model has beside it.
const MANY: Scene = Scene {
    extra: &[
        of_depth(rs2::rs2_stream_RS2_STREAM_CONFIDENCE, 0, rs2::rs2_format_RS2_FORMAT_RAW8),
        of_depth(rs2::rs2_stream_RS2_STREAM_FISHEYE, 1, rs2::rs2_format_RS2_FORMAT_Y8),
        of_depth(rs2::rs2_stream_RS2_STREAM_FISHEYE, 2, rs2::rs2_format_RS2_FORMAT_Y8),
        of_color(1, rs2::rs2_format_RS2_FORMAT_RGB8),
    ],
    ..SCENE
};

/// Returns the first frameset of a live camera that sends frame 3 of `streams`, extra streams by their index.
fn live(scene: Scene, toml: &str, streams: &[usize]) -> (Grabber, Vec<FrameHeader>, Vec<Vec<u8>>) {
    let camera = SoftwareCamera::new(scene);
    let options = options(&format!("any = true\n{toml}"));
    let mut grabber = Grabber::new(open_among(&options, &[&camera]).unwrap());
    grabber.start().unwrap();
    for &index in streams {
        camera.send_extra(index, 3);
    }
    let Ok(Grabbed::FrameSet { headers, held, .. }) = wait(&mut grabber) else { panic!("{toml}") };
    let pixels = (0..headers.len()).map(|index| held.pixels(index).to_vec()).collect();
    (grabber, headers.to_vec(), pixels)
}

#[test]
fn color_comes_in_every_format() {
    let formats = ["bgr8", "rgba8", "bgra8", "yuyv", "uyvy", "y16", "mjpeg"];
    for (index, name) in formats.into_iter().enumerate() {
        let toml = format!("color = '64x48@60'\ncolor_format = '{name}'");
        let (grabber, headers, pixels) = live(FORMATS, &toml, &[index]);
        let declared = grabber.info.stream(Stream::COLOR).unwrap();
        assert_eq!((declared.format().to_string().as_str(), declared.role), (name, Role::Light));
        assert!(declared.payload.admits(&headers[0].payload), "{declared:?} {headers:?}");
        assert_eq!(pixels, [FORMATS.extra_pixels(index, 3)], "{name}");
        assert_eq!(headers[0].size_bytes(), pixels[0].len() as u64);
    }
}

#[test]
fn a_format_that_a_camera_does_not_have_names_those_that_it_has() {
    let refused = |toml: &str, scene| refusal(&options(&format!("any = true\n{toml}")), &[scene]).to_string();
    assert_eq!(
        refused("color = '64x48@60'\ncolor_format = 'mjpeg'", MANY),
        "camera `000000000042` has no color stream 64x48@60 in mjpeg; expected one of: rgb8",
    );
    assert_eq!(
        refused("depth = '64x48@60'\nstreams = { fisheye = { profile = '64x48@60' } }", MANY),
        "camera `000000000042` has no fisheye stream; it has: color, depth, confidence, color-1, fisheye-1, fisheye-2",
    );
    let unknown = Scene { infrared: Some(rs2::rs2_format_RS2_FORMAT_RAW16), ..SCENE };
    assert_eq!(
        refused("infrared_1 = '64x48@60'", unknown),
        "camera `000000000042` has no infrared-1 stream; it has: color, depth; \
         unknown formats: infrared-1 64x48@60 raw16",
    );
}

#[test]
fn the_left_imager_of_a_d415_comes_in_color() {
    let toml = "infrared_1 = '64x48@60'\ninfrared_format = 'rgb8'";
    let (grabber, headers, pixels) = live(D415, toml, &[0]);
    assert_eq!(headers[0].stream, Stream::INFRARED_1);
    assert_eq!(headers[0].payload, Payload::image(PixelFormat::Rgb8, 64, 48));
    assert_eq!(grabber.info.streams[0].format(), PixelFormat::Rgb8.into());
    assert_eq!(pixels, [D415.extra_pixels(0, 3)]);

    let toml = "streams = { infrared = { profile = '64x48@60', format = 'rgb8' } }";
    let (_, headers, _) = live(D415, toml, &[0]);
    assert_eq!(headers[0].stream.name(), "infrared");
}

#[test]
fn streams_beside_the_usual_ones_come_by_name() {
    let toml = "confidence = '64x48@60'\nstreams = { color-1 = { profile = '64x48@60' }, \
                fisheye-1 = { profile = '64x48@60' }, fisheye-2 = { profile = '64x48@60' } }";
    let (grabber, headers, pixels) = live(MANY, toml, &[0, 1, 2, 3]);
    let names: Vec<_> = headers.iter().map(|it| it.stream.to_string()).collect();
    assert_eq!(names, ["confidence", "color-1", "fisheye-1", "fisheye-2"]);
    let roles: Vec<_> = headers.iter().map(|it| it.role).collect();
    assert_eq!(roles, [Role::Other, Role::Light, Role::Light, Role::Light]);
    assert_eq!(roles, grabber.info.streams.iter().map(|it| it.role).collect::<Vec<_>>());
    assert_eq!(pixels, [0, 3, 1, 2].map(|index| MANY.extra_pixels(index, 3)));
}

#[test]
fn losses_of_each_stream_of_a_kind_are_distinguished() {
    let camera = SoftwareCamera::new(MANY);
    let toml = "any = true\nstreams = { fisheye-1 = { profile = '64x48@60' }, fisheye-2 = { profile = '64x48@60' } }";
    let mut grabber = Grabber::new(open_among(&options(toml), &[&camera]).unwrap());
    grabber.start().unwrap();
    // The queue holds 8 frames of each stream.
    (0..16).for_each(|number| camera.send_extra(1, number));
    (0..3).for_each(|number| camera.send_extra(2, number));
    let fisheye = Stream::new("fisheye-2").unwrap();
    assert_eq!(grabber.take_lost(), [(fisheye, LostReason::QueueFull, 3)]);
}

/// Records 4 framesets of depth, infrared and all extra streams of a scene.
fn record_all(scene: Scene, name: &str) -> Scratch {
    let bag = Scratch::new(name);
    SoftwareCamera::new(scene).record(&bag.0, |camera, pacer| {
        for number in 0..4 {
            pacer.wait();
            camera.send_depth(number);
            camera.send_infrared(number);
            (0..scene.extra.len()).for_each(|index| camera.send_extra(index, number));
        }
    });
    bag
}

#[test]
fn a_recording_plays_all_streams_of_a_kind() {
    let bag = record_all(D415, "d415.bag");
    let names = |options: &Options| {
        let mut names: Vec<(u64, Vec<String>)> = Vec::new();
        play(options, |headers, held| {
            for (index, header) in headers.iter().enumerate() {
                if header.stream.name() == "infrared" {
                    assert_eq!(held.pixels(index), D415.extra_pixels(0, header.number as u32));
                }
            }
            names.push((headers[0].number, headers.iter().map(|it| it.stream.to_string()).collect()));
        });
        names
    };
    let expected = |names: &[&str]| -> Vec<(u64, Vec<String>)> {
        (0..4).map(|number| (number, names.iter().map(ToString::to_string).collect())).collect()
    };
    let all = ["depth", "infrared-1", "infrared-2", "infrared"];
    assert_eq!(names(&file(&bag.0)), expected(&all));
    let infrared = options("file = ''\nstreams = { infrared = { profile = '64x48@60', format = 'rgb8' } }");
    assert_eq!(names(&Options { streams: infrared.streams, ..file(&bag.0) }), expected(&["infrared"]));
}

#[test]
fn confidence_and_fisheye_of_a_recording_play() {
    let bag = record_all(MANY, "many.bag");
    let mut framesets = 0;
    play(&file(&bag.0), |headers, held| {
        let names: Vec<_> = headers.iter().map(|it| it.stream.to_string()).collect();
        assert_eq!(names, ["depth", "confidence", "color-1", "fisheye-1", "fisheye-2"]);
        assert_eq!((headers[1].role, headers[1].payload.format()), (Role::Other, PixelFormat::Y8.into()));
        assert_eq!(held.pixels(1), MANY.extra_pixels(0, headers[1].number as u32));
        framesets += 1;
    });
    assert_eq!(framesets, 4);
    let info = start(&file(&bag.0)).info;
    assert_eq!(info.stream(Stream::CONFIDENCE).unwrap().role, Role::Other);
}

#[test]
fn encoded_images_of_a_recording_keep_every_byte() {
    const ENCODED: Scene = Scene { extra: &[of_color(1, rs2::rs2_format_RS2_FORMAT_MJPEG)], ..SCENE };
    let bag = record_all(ENCODED, "encoded.bag");
    let mut lengths = Vec::new();
    play(&file(&bag.0), |headers, held| {
        let FrameHeader { number, stream, payload, .. } = headers[1];
        assert_eq!((stream.name(), payload.format()), ("color-1", Format::Encoded(MJPEG)));
        assert_eq!(held.pixels(1), ENCODED.extra_pixels(0, number as u32));
        lengths.push(held.pixels(1).len());
    });
    assert_eq!(lengths, [64, 65, 66, 67].map(|row| row * 48));
}
