//! Native recordings can be played, by this driver and so by every tool of librealsense.

use camrig::frame::Stream;
use camrig::{Driver, HeldFrames};

use super::software::{Identity, SoftwareCamera};
use super::{SCENE, Scratch, file, open_among, options, play, start, wait};
use crate::driver::{Grabbed, Grabber};
use crate::options::Options;
use crate::{RealSense, sys};

const STREAMS: &str = "any = true\ndepth = '64x48@60'\ncolor = '64x48@60'";

fn record_to(file: &Scratch) -> Options {
    // The recording has the frames of the sensors, not the processed ones.
    options(&format!("{STREAMS}\nrecord_to = '{}'\nfilters.decimation = {{}}", file.0.display()))
}

#[test]
fn a_native_recording_has_every_frame() {
    let bag = Scratch::new("native.bag");
    let camera = SoftwareCamera::new(SCENE);
    let mut grabber = Grabber::new(open_among(&record_to(&bag), &[&camera]).unwrap());
    grabber.start().unwrap();
    for number in 0..12 {
        camera.send_depth(number);
        camera.send_color(number);
        let Ok(Grabbed::FrameSet { headers, .. }) = wait(&mut grabber) else { panic!("{number}") };
        assert_eq!(headers.iter().map(|it| it.number).collect::<Vec<_>>(), [u64::from(number); 2]);
    }
    drop(grabber);
    assert_eq!(start(&file(&bag.0)).info.serial, Identity::D405.serial);
    let mut frames = Vec::new();
    play(&file(&bag.0), |headers, held| {
        for (index, header) in headers.iter().enumerate() {
            let number = header.number as u32;
            let seen = match header.stream {
                Stream::DEPTH => SCENE.depth_pixels(number),
                _ => SCENE.color_pixels(number),
            };
            assert!(held.pixels(index) == seen, "{} {number}", header.stream);
            frames.push((header.stream, number));
        }
    });
    frames.sort_unstable();
    let expected: Vec<_> =
        [Stream::COLOR, Stream::DEPTH].iter().flat_map(|stream| (0..12).map(move |n| (*stream, n))).collect();
    assert_eq!(frames, expected);
}

#[test]
fn a_camera_that_is_opened_again_replaces_nothing() {
    let bag = Scratch::new("parts.bag");
    // The second part has its number after the name of the first.
    let second = bag.0.with_file_name(format!("parts-2.{}", sys::version().extension()));
    let camera = SoftwareCamera::new(SCENE);
    for number in 0..2 {
        let mut grabber = Grabber::new(open_among(&record_to(&bag), &[&camera]).unwrap());
        grabber.start().unwrap();
        camera.send_depth(number);
        camera.send_color(number);
        assert!(matches!(wait(&mut grabber), Ok(Grabbed::FrameSet { .. })));
    }
    for (number, bag) in [&bag.0, &second].into_iter().enumerate() {
        let mut numbers = Vec::new();
        play(&file(bag), |headers, _| numbers.extend(headers.iter().map(|it| it.number)));
        assert_eq!(numbers, [number as u64; 2]);
    }
}

#[test]
fn a_place_that_cannot_be_recorded_to_is_refused() {
    let own = sys::version().extension();
    let other = if own == "bag" { "db3" } else { "bag" };
    let there = Scratch::new("there.bag");
    std::fs::write(&there.0, "a recording").unwrap();
    let there = there.0.display();
    for (path, message) in [
        (there.to_string(), format!("file `{there}` exists, and no recording is replaced")),
        (format!("/nonexistent/x.{own}"), "there is no folder `/nonexistent`; create it first".into()),
        (format!("/dev/null/x.{own}"), "`/dev/null` is not a folder".into()),
        ("x.mkv".into(), format!("`x.mkv` does not end with `.{own}`, as librealsense's tools expect")),
        (
            format!("x.{other}"),
            format!(
                "`x.{other}` does not end with `.{own}`: the extension that librealsense {} records",
                sys::version()
            ),
        ),
    ] {
        let options = options(&format!("{STREAMS}\nrecord_to = '{path}'"));
        assert_eq!(RealSense::probe(&options).unwrap_err().to_string(), format!("`record_to`: {message}"));
        assert_eq!(RealSense::claims(&options), ["any RealSense camera".to_owned(), format!("file {path}")]);
    }
}
