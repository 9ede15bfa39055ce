//! Tests of the driver with librealsense: software cameras, recordings of them, and real recordings.

mod controls;
mod filters;
mod formats;
mod live;
mod motion;
mod playback;
mod recording;
mod settings;

#[path = "../../examples/write-bag/software.rs"]
pub(crate) mod software;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use camrig::frame::FrameHeader;
use camrig::{Driver, DriverError};
use software::{Identity, Scene, SoftwareCamera};
use tempfile::TempDir;

use crate::camera::RealSenseCamera;
use crate::driver::{Grabbed, Grabber, Held};
use crate::options::Options;
use crate::request::CameraRequest;
use crate::{RealSense, sys};

pub(crate) const SCENE: Scene = Scene {
    identity: Identity::D405,
    width: 64,
    height: 48,
    frames_per_second: 60,
    color_delay_millis: 1.0,
    infrared: None,
    infrared_2: false,
    extra: &[],
    also: &[],
    one_sensor: false,
    options: &[],
    motion: false,
    begin_millis: None,
    unsettled: 0,
    wall_meters: None,
};

/// Maximum wait for a fact; a longer wait fails the test.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(60);

/// A file in a folder of its own, removed with it at the end.
pub(crate) struct Scratch(pub(crate) PathBuf, #[expect(dead_code)] TempDir);

impl Scratch {
    /// Returns the path for a file called `name`, with the extension of the library's recordings in place of `.bag`.
    pub(crate) fn new(name: &str) -> Self {
        let name = name.replace(".bag", &format!(".{}", sys::version().extension()));
        let folder = tempfile::tempdir().unwrap();
        Self(folder.path().join(name), folder)
    }
}

/// Records `count` framesets of [`SCENE`].
pub(crate) fn record(name: &str, count: u32) -> Scratch {
    record_scene(SCENE, name, count)
}

pub(crate) fn record_scene(scene: Scene, name: &str, count: u32) -> Scratch {
    let file = Scratch::new(name);
    SoftwareCamera::new(scene).record(&file.0, |camera, pacer| {
        for number in 0..count {
            pacer.wait();
            camera.send_samples_until(number);
            camera.send_depth(number);
            camera.send_infrared(number);
            camera.send_color(number);
        }
    });
    file
}

pub(crate) fn file(path: &Path) -> Options {
    Options { file: Some(path.to_owned()), real_time: Some(false), ..Options::default() }
}

pub(crate) fn start(options: &Options) -> Grabber {
    let mut grabber =
        Grabber::new(RealSenseCamera::open("a test", &CameraRequest::new(options).unwrap()).unwrap());
    grabber.start().unwrap();
    grabber
}

/// Plays a file to its end and calls `look` with every frameset.
pub(crate) fn play(options: &Options, mut look: impl FnMut(&[FrameHeader], &Held)) {
    let mut grabber = start(options);
    let deadline = Instant::now() + WATCHDOG;
    loop {
        assert!(Instant::now() < deadline, "the file does not end");
        match grabber.next(Duration::from_millis(100)).unwrap() {
            Grabbed::FrameSet { headers, held, .. } => look(&headers, &held),
            Grabbed::Nothing => {}
            Grabbed::End => break,
        }
    }
    assert!(matches!(grabber.next(Duration::ZERO).unwrap(), Grabbed::End), "the end stays the end");
}

/// Opens the camera with these `options` among `cameras`, without starting it.
pub(crate) fn open_among(
    options: &Options,
    cameras: &[&SoftwareCamera],
) -> Result<RealSenseCamera, DriverError> {
    let context = sys::Context::new().unwrap();
    let _plugged: Vec<_> = cameras.iter().map(|camera| context.plug_in(camera)).collect();
    let mut camera = RealSenseCamera::open_in(context, "a test", &CameraRequest::new(options)?)?;
    camera.set_up()?;
    Ok(camera)
}

/// Returns the error of opening the camera with these `options` among `scenes`.
pub(crate) fn refusal(options: &Options, scenes: &[Scene]) -> DriverError {
    let cameras: Vec<_> = scenes.iter().map(|scene| SoftwareCamera::new(*scene)).collect();
    open_among(options, &cameras.iter().collect::<Vec<_>>()).err().unwrap()
}

/// Parses options of a topology.
pub(crate) fn options(toml: &str) -> Options {
    toml::from_str(toml).unwrap()
}

pub(crate) fn error(options: &Options) -> String {
    RealSense::probe(options).unwrap_err().to_string()
}

/// Waits for the next frameset, end or error.
pub(crate) fn wait(grabber: &mut Grabber) -> Result<Grabbed, DriverError> {
    let deadline = Instant::now() + WATCHDOG;
    loop {
        match grabber.next(Duration::from_millis(10)) {
            Ok(Grabbed::Nothing) => assert!(Instant::now() < deadline, "no frameset arrives"),
            other => return other,
        }
    }
}
