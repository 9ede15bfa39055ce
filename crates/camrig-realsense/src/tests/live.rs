//! Live cameras: software cameras that librealsense finds as it finds real ones.

use std::path::Path;
use std::time::Duration;

use camrig::frame::{DepthView, Frame, PixelFormat, Stream};
use camrig::{Device, DeviceProfile, Driver, HeldFrames, LostReason};

use super::software::{Identity, Scene, SoftwareCamera};
use super::{SCENE, WATCHDOG, file, open_among, options, record, refusal, start, wait};
use crate::camera::RealSenseCamera;
use crate::driver::{Grabbed, Grabber};
use crate::find::{devices_in, reset_in};
use crate::options::Options;
use crate::order::EARLIER_MAX;
use crate::request::{CameraRequest, Selection};
use crate::turn::tests::TAKEN;
use crate::{RealSense, sys};

/// A live camera, with frames from [`SoftwareCamera::send_depth`] and similar functions.
#[test]
fn a_live_camera_takes_the_same_path() {
    let context = sys::Context::new().unwrap();
    let camera = SoftwareCamera::new(SCENE);
    let _plugged = context.plug_in(&camera);
    let options = Options {
        serial: Some(Identity::D405.serial.into()),
        depth: Some("64x48@60".parse().unwrap()),
        color: Some("64x48@60".parse().unwrap()),
        ..Options::default()
    };
    let live = RealSenseCamera::open_in(context, "a test", &CameraRequest::new(&options).unwrap()).unwrap();
    let mut grabber = Grabber::new(live);
    grabber.start().unwrap();
    assert!(matches!(grabber.next(Duration::from_millis(1)).unwrap(), Grabbed::Nothing));

    let mut held = Vec::new();
    for number in 0..40 {
        camera.send_depth(number);
        camera.send_color(number);
        let Grabbed::FrameSet { headers, held: own, .. } = grabber.next(WATCHDOG).unwrap() else { panic!() };
        assert_eq!(headers.iter().map(|it| it.number).collect::<Vec<_>>(), [u64::from(number); 2]);
        assert_eq!(
            (own.pixels(0), own.pixels(1)),
            (&*SCENE.color_pixels(number), &*SCENE.depth_pixels(number))
        );
        held.push(own);
    }
    // A partner that does not come is not waited for.
    camera.send_depth(40);
    let Grabbed::FrameSet { headers, .. } = grabber.next(WATCHDOG).unwrap() else { panic!() };
    assert_eq!(headers.iter().map(|it| (it.stream, it.number)).collect::<Vec<_>>(), [(Stream::DEPTH, 40)]);
    assert!(grabber.take_lost().is_empty());
    // No frame is taken: the camera is not delayed, and loses the newest.
    for number in 41..241 {
        camera.send_depth(number);
    }
    for number in 41..57 {
        let Grabbed::FrameSet { headers, .. } = grabber.next(WATCHDOG).unwrap() else { panic!() };
        assert_eq!(headers[0].number, number);
    }
    assert_eq!(grabber.take_lost(), [(Stream::DEPTH, LostReason::QueueFull, 184)]);
    assert!(grabber.take_lost().is_empty());
    assert!(matches!(grabber.next(Duration::from_millis(1)).unwrap(), Grabbed::Nothing));
}

/// A pause stops the sensors; options are read and set meanwhile, and nothing of the time between counts as lost.
#[test]
fn a_paused_camera_keeps_its_device_and_sends_again() {
    let camera = SoftwareCamera::new(SCENE);
    let any = depth("64x48@60", options("any = true"));
    let mut grabber = Grabber::new(open_among(&any, &[&camera]).unwrap());
    grabber.start().unwrap();
    camera.send_depth(3);
    assert!(matches!(wait(&mut grabber), Ok(Grabbed::FrameSet { .. })));
    grabber.pause().unwrap();
    assert!(!grabber.camera.is_running() && !grabber.camera.controls().is_empty());
    grabber.start().unwrap();
    camera.send_depth(90);
    let Ok(Grabbed::FrameSet { headers, .. }) = wait(&mut grabber) else { panic!("no frameset") };
    assert_eq!((headers[0].number, headers.len()), (90, 1));
    assert!(grabber.take_lost().is_empty());
}

#[test]
fn a_frame_that_comes_again_is_left_out_and_counted() {
    let camera = SoftwareCamera::new(SCENE);
    let any = depth("64x48@60", options("any = true"));
    let mut grabber = Grabber::new(open_among(&any, &[&camera]).unwrap());
    grabber.start().unwrap();
    let mut numbers = Vec::new();
    // The frame before 104 was 103, with the metadata of 102: the gap counts it.
    for number in [100, 101, 101, 101, 102, 102, 104] {
        camera.send_depth(number);
    }
    while numbers.len() < 4 {
        let Ok(Grabbed::FrameSet { headers, .. }) = wait(&mut grabber) else { panic!("{numbers:?}") };
        numbers.extend(headers.iter().map(|it| it.number));
    }
    assert_eq!(numbers, [100, 101, 102, 104]);
    assert_eq!(grabber.take_lost(), [(Stream::DEPTH, LostReason::Repeated, 2)]);
    assert!(grabber.take_lost().is_empty());
    // Older numbers and times are a new start of the camera's, not repeats, if they are not of a few frames.
    let mut older = 0..1000;
    let first = loop {
        camera.send_depth(older.next().unwrap());
        match grabber.next(Duration::from_millis(10)) {
            Ok(Grabbed::Nothing) => {}
            Ok(Grabbed::FrameSet { headers, .. }) => break headers[0].number,
            _ => panic!("{older:?}"),
        }
    };
    assert_eq!(first, u64::from(EARLIER_MAX));
    assert!(grabber.take_lost().is_empty());
}

/// Color 10 was published alone: a repeated frame before its partner in the queue ended the wait.
#[test]
fn a_repeated_frame_does_not_end_the_wait_for_a_partner_in_the_queue() {
    let camera = SoftwareCamera::new(SCENE);
    let options = options("any = true\ndepth = '64x48@60'\ncolor = '64x48@60'");
    let mut grabber = Grabber::new(open_among(&options, &[&camera]).unwrap());
    grabber.start().unwrap();
    let next = |grabber: &mut Grabber| {
        let Ok(Grabbed::FrameSet { headers, .. }) = wait(grabber) else { panic!("no frameset") };
        headers.iter().map(|it| (it.stream, it.number)).collect::<Vec<_>>()
    };
    let both = |number| [(Stream::COLOR, number), (Stream::DEPTH, number)];
    camera.send_depth(9);
    camera.send_color(9);
    assert_eq!(next(&mut grabber), both(9));
    // As if the capture had been held up for longer than frames wait.
    grabber.partner_timeout = Some(Duration::ZERO);
    camera.send_color(10);
    camera.send_depth(9);
    camera.send_depth(10);
    assert_eq!(next(&mut grabber), both(10));
}

/// Adds depth to `options`, which select a camera.
fn depth(profile: &str, options: Options) -> Options {
    Options { depth: Some(profile.parse().unwrap()), ..options }
}

const LEFT: Scene = Scene { identity: Identity::D435, ..SCENE };
const RIGHT: Scene = Scene {
    identity: Identity {
        serial: "000000000044",
        physical_port: "/sys/devices/pci0000:00/0000:00:14.0/usb2/2-3/2-3:1.0/video4linux/video4",
        ..Identity::D435
    },
    ..SCENE
};

#[test]
fn a_camera_is_found_by_serial_port_name_or_alone() {
    let cameras = [SCENE, LEFT, RIGHT].map(SoftwareCamera::new);
    let cameras = cameras.each_ref();
    for (selection, count, serial) in [
        ("serial = '000000000043'", 3, "000000000043"),
        ("port = '2-3'", 3, "000000000044"),
        ("port = '2-1.3'", 3, "000000000042"),
        ("name = 'd405'", 3, "000000000042"),
        ("name = 'Intel RealSense D435'", 2, "000000000043"),
        ("any = true", 1, "000000000042"),
    ] {
        let options = depth("64x48@60", options(selection));
        assert_eq!(open_among(&options, &cameras[..count]).unwrap().info().serial, serial, "{selection}");
    }
}

#[test]
fn two_matches_are_named() {
    let name = Options { name: Some("D435".into()), ..Options::default() };
    let refused = refusal(&depth("64x48@60", name), &[SCENE, LEFT, RIGHT]);
    assert!(!refused.is_unavailable());
    assert_eq!(
        refused.to_string(),
        "2 RealSense cameras match name D435: `000000000043` (Intel RealSense D435 at USB port 2-2), \
         `000000000044` (Intel RealSense D435 at USB port 2-3); select one by `serial` or `port`",
    );
    let any = Options { any: Some(true), ..Options::default() };
    assert_eq!(
        refusal(&depth("64x48@60", any), &[SCENE, LEFT]).to_string(),
        "2 RealSense cameras are connected: `000000000042` (Intel RealSense D405 at USB port 2-1.3), \
         `000000000043` (Intel RealSense D435 at USB port 2-2); select one by `serial` or `port`",
    );
}

#[test]
fn a_missing_camera_is_unavailable() {
    let connected = "connected: `000000000042` (Intel RealSense D405 at USB port 2-1.3)";
    let text = |text: &str| Some(text.to_owned());
    for (options, what) in [
        (Options { serial: text("123"), ..Options::default() }, " with serial `123`"),
        (Options { port: text("1-1"), ..Options::default() }, " at USB port `1-1`"),
        (Options { name: text("D435"), ..Options::default() }, " named `D435`"),
    ] {
        let refused = refusal(&depth("64x48@60", options), &[SCENE]);
        assert!(refused.is_unavailable());
        assert_eq!(refused.to_string(), format!("no RealSense camera{what} is connected; {connected}"));
    }
    let any = Options { any: Some(true), ..Options::default() };
    let refused = refusal(&depth("64x48@60", any), &[]);
    assert_eq!(refused.to_string(), "no RealSense camera is connected; connected: none");
}

#[test]
fn a_wrong_profile_is_refused_with_the_nearest() {
    let any = || Options { any: Some(true), ..Options::default() };
    assert_eq!(
        refusal(&depth("640x480@30", any()), &[SCENE]).to_string(),
        "camera `000000000042` has no depth stream 640x480@30 in z16; expected one of: 64x48@60",
    );
    let also = &[
        (1280, 720, 30),
        (848, 480, 90),
        (848, 480, 30),
        (848, 480, 5),
        (848, 480, 30),
        (640, 480, 30),
        (480, 270, 30),
    ];
    assert_eq!(
        refusal(&depth("848x480@60", any()), &[Scene { also, ..SCENE }]).to_string(),
        "camera `000000000042` has no depth stream 848x480@60 in z16; \
         the nearest are: 848x480@30, 848x480@90, 848x480@5, 640x480@30, 480x270@30",
    );
}

#[test]
fn usb_2_is_refused_unless_it_is_accepted() {
    let slow = Scene { identity: Identity { usb_type: "2.1", ..Identity::D405 }, ..SCENE };
    let any = || Options { any: Some(true), ..Options::default() };
    assert_eq!(
        refusal(&depth("64x48@60", any()), &[slow]).to_string(),
        "camera `000000000042` is on USB 2.1, where profiles are fewer and slower: connect it to a USB 3 port with a \
         USB 3 cable, or set `allow_usb2 = true`",
    );
    // It is then only its profile that is refused.
    let accepted = Options { allow_usb2: Some(true), ..any() };
    assert_eq!(
        refusal(&depth("640x480@30", accepted), &[slow]).to_string(),
        "camera `000000000042` has no depth stream 640x480@30 in z16; expected one of: 64x48@60",
    );
}

#[test]
fn the_list_of_devices_has_ports_and_profiles() {
    let context = sys::Context::new().unwrap();
    let camera = SoftwareCamera::new(Scene { also: &[(848, 480, 30)], ..LEFT });
    let _plugged = context.plug_in(&camera);
    let profile = |stream, format: camrig::frame::Format, profile: &str| {
        let profile = profile.parse().unwrap();
        DeviceProfile { stream, format, profile }
    };
    let Identity { model, serial, firmware, usb_type, .. } = Identity::D435;
    assert_eq!(
        devices_in(&context).unwrap(),
        [Device {
            model: model.into(),
            serial: serial.into(),
            firmware: firmware.into(),
            usb_type: usb_type.into(),
            usb_port: "2-2".into(),
            profiles: vec![
                profile(Stream::DEPTH, PixelFormat::Z16.into(), "64x48@60"),
                profile(Stream::DEPTH, PixelFormat::Z16.into(), "848x480@30"),
                profile(Stream::COLOR, PixelFormat::Rgb8.into(), "64x48@60"),
                profile(Stream::COLOR, PixelFormat::Rgb8.into(), "848x480@30"),
            ],
            ..Device::default()
        }],
    );
}

#[test]
fn an_absent_camera_is_unavailable_immediately() {
    let depth = Some("640x480@30".parse().unwrap());
    let options = Options { serial: Some("123".into()), depth, ..Options::default() };
    let error = RealSense::probe(&options).unwrap_err();
    assert!(error.is_unavailable());
    // A machine with cameras lists them.
    let message = error.to_string();
    let start = "no RealSense camera with serial `123` is connected; connected: ";
    assert!(message.starts_with(start), "{message}");
    assert_eq!(RealSense::claims(&options), ["serial 123"]);
    assert!(RealSense::claims(&file(Path::new("a.bag"))).is_empty());
}

#[test]
fn a_reset_reaches_the_camera() {
    let context = sys::Context::new().unwrap();
    let camera = SoftwareCamera::new(SCENE);
    let _plugged = context.plug_in(&camera);
    let error = reset_in(&context, &Selection::Serial("123".into())).unwrap_err();
    assert!(error.is_unavailable());
    assert!(error.to_string().starts_with("no RealSense camera with serial `123` is connected"), "{error}");
    // That is librealsense's answer: software cameras have nothing to reset.
    assert_eq!(
        reset_in(&context, &Selection::Any).unwrap_err().to_string(),
        "camera `000000000042` cannot be reset: hardware_reset is not implemented for this device!",
    );
    assert!(RealSense::reset("recorded", &file(Path::new("a.bag"))).is_ok());
}

#[test]
fn the_same_wall_is_as_far_from_a_d405_as_from_a_d435() {
    for identity in [Identity::D405, Identity::D435] {
        let camera = SoftwareCamera::new(Scene { identity, wall_meters: Some(0.3), ..SCENE });
        let options = depth("64x48@60", options("any = true"));
        let mut grabber = Grabber::new(open_among(&options, &[&camera]).unwrap());
        grabber.start().unwrap();
        camera.send_depth(0);
        let Ok(Grabbed::FrameSet { headers, held, .. }) = wait(&mut grabber) else { panic!() };
        let unit = grabber.info.depth_unit_meters;
        let view = DepthView::new(Frame::new(&headers[0], held.pixels(0)).unwrap(), unit, None).unwrap();
        let meters = view.center_meters().unwrap();
        assert!((meters - 0.3).abs() < 1e-6, "{}: {meters} m", identity.model);
    }
}

#[test]
fn depth_comes_with_both_infrared_streams() {
    let scene = Scene { infrared: Some(realsense_sys::rs2_format_RS2_FORMAT_Y8), infrared_2: true, ..SCENE };
    let camera = SoftwareCamera::new(scene);
    let options = options("any = true\ndepth = '64x48@60'\ninfrared_1 = '64x48@60'\ninfrared_2 = '64x48@60'");
    let mut grabber = Grabber::new(open_among(&options, &[&camera]).unwrap());
    grabber.start().unwrap();
    for number in 0..5 {
        camera.send_depth(number);
        camera.send_infrared(number);
        let Ok(Grabbed::FrameSet { headers, held, .. }) = wait(&mut grabber) else { panic!("{number}") };
        let streams: Vec<_> = headers.iter().map(|it| (it.stream, it.number)).collect();
        let both = [Stream::DEPTH, Stream::INFRARED_1, Stream::INFRARED_2].map(|it| (it, number.into()));
        assert_eq!(streams, both);
        assert_eq!(held.pixels(1), scene.infrared_pixels(number));
        assert_eq!(held.pixels(2), scene.infrared_pixels(number + 100));
    }
}

#[test]
fn every_way_to_a_camera_takes_a_turn() {
    let turns = |way: &dyn Fn()| {
        let before = TAKEN.get();
        way();
        TAKEN.get() - before
    };
    let absent = depth("64x48@60", options("serial = '123'"));
    assert_eq!(turns(&|| assert!(RealSense::probe(&absent).unwrap_err().is_unavailable())), 1);
    assert_eq!(turns(&|| assert!(RealSense::open("left", absent.clone()).is_err())), 1);
    assert_eq!(turns(&|| assert!(RealSense::reset("left", &absent).unwrap_err().is_unavailable())), 1);
    assert_eq!(turns(&|| assert!(RealSense::devices().is_ok())), 1);
    let camera = SoftwareCamera::new(SCENE);
    let any = depth("64x48@60", options("any = true"));
    assert_eq!(turns(&|| Grabber::new(open_among(&any, &[&camera]).unwrap()).start().unwrap()), 1);
    // Checks of options, and open files, need no lock.
    assert_eq!(turns(&|| RealSense::check(&any).unwrap()), 0);
    let bag = record("turn.bag", 1);
    assert_eq!(turns(&|| drop(start(&file(&bag.0)))), 1);
}
