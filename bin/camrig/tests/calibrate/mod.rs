//! Tests of `board`, `calibrate` and `calibration`: cameras that draw a board as real ones would see it are recorded, and their
//! poses are found.

#[path = "../../../../crates/camrig-calib/src/tests/render.rs"]
#[expect(dead_code, reason = "used by the tests of camrig-calib")]
mod render;
#[path = "../../../../crates/camrig-calib/src/tests/stage.rs"]
mod stage;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use camrig::frame::{
    CameraInfo, Clock, Extrinsics, Intrinsics, PixelFormat, Stream, StreamInfo, StreamProfile, Timestamp,
};
use camrig::status::socket;
use camrig::{App, monotonic_nanos, prelude::*};
use camrig_calib::{Optics, RigCalibration};
use serde::Deserialize;

use self::render::{Frame, Painter, Print};
use self::stage::{USUAL, arc, board, intrinsics, shown};
use super::Folder;

/// With this variable in its environment, the binary of these tests is the program whose cameras draw boards.
pub(crate) const MARK: &str = "CAMRIG_TEST_BOARDS";

/// Number of cameras, and the angle between neighbors.
const CAMERAS: usize = 3;
const DEGREES: f64 = 18.0;
/// Number of places in which the board is shown.
const PLACES: usize = 10;
/// Number of places that the last camera misses.
const MISSED: usize = 2;
/// Distance of depth to the left of color, in metres.
const BESIDE: f64 = 0.015;
/// The board is printed a little too small.
const SCALE: f64 = 0.99;
/// The time between two framesets, in nanoseconds.
const PERIOD: u64 = 100_000_000;
/// Time for which live cameras see the board in one place, in nanoseconds.
const HOLD: u64 = 1_500_000_000;
/// Number of places and of moments of a live capture.
const LIVE_PLACES: usize = 8;
const MOMENTS: usize = 5;
/// The longest time that a rig may take to start.
const WATCHDOG: Duration = Duration::from_secs(120);

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "camrig::schemars")]
#[serde(deny_unknown_fields)]
struct Options {
    /// Its position in the arc.
    number: u32,
    /// Shows each place for some time, repeatedly, instead of once.
    #[serde(default)]
    live: bool,
    /// Number of the first place that it shows.
    #[serde(default)]
    first: usize,
}

/// A camera that draws the board in one place after another.
struct BoardCamera {
    number: usize,
    live: bool,
    framesets: Vec<(Vec<u16>, Vec<u8>)>,
    next: usize,
}

pub(crate) fn program() -> App {
    camrig_cli::app().driver::<BoardCamera>("board")
}

/// Returns the coordinate frames of color and depth of a camera.
fn frames(number: usize) -> [Frame; 2] {
    let color = arc(CAMERAS, DEGREES)[number];
    [color, Frame { origin: color.out([-BESIDE, 0.0, 0.0]), ..color }]
}

fn optics() -> Intrinsics {
    intrinsics(0)
}

impl Driver for BoardCamera {
    type Options = Options;

    fn open(_: &str, options: Options) -> Result<Self, DriverError> {
        let Options { number, live, first } = options;
        let number = number as usize;
        let (board, painter) = (board(), Painter::new(optics()));
        let print = Print::new(&board);
        let [color, depth] = frames(number);
        let mut random = fastrand::Rng::with_seed(2);
        let places = if live { LIVE_PLACES } else { PLACES };
        let framesets = (0..places).map(|place| {
            let shown = shown(&board, 0.0, &mut random);
            let gray =
                painter.draw(&print, [&color, &shown], SCALE, USUAL, (place * CAMERAS + number) as u64);
            (painter.depth(&print, [&depth, &shown], SCALE), gray)
        });
        Ok(Self { number, live, framesets: framesets.collect(), next: first })
    }

    fn info(&self) -> CameraInfo {
        let profile: StreamProfile = "848x480@10".parse().unwrap();
        let translation_meters = [BESIDE as f32, 0.0, 0.0];
        let calibrated = |stream: Stream, format: PixelFormat, to_depth: Extrinsics| StreamInfo {
            intrinsics: Some(optics()),
            to_depth: Some(to_depth),
            ..StreamInfo::image(stream, format, profile)
        };
        CameraInfo {
            model: "drawn".to_owned(),
            serial: format!("00{}", self.number),
            streams: vec![
                calibrated(Stream::DEPTH, PixelFormat::Z16, Extrinsics::IDENTITY),
                calibrated(
                    Stream::COLOR,
                    PixelFormat::Y8,
                    Extrinsics { translation_meters, ..Extrinsics::IDENTITY },
                ),
            ],
            ..CameraInfo::default()
        }
    }

    fn start(&mut self) -> Result<(), DriverError> {
        Ok(())
    }

    fn capture(&mut self, output: &mut CameraOutput, _: Duration) -> Result<Captured, DriverError> {
        // All cameras have the same clock.
        let arrival = monotonic_nanos();
        let place = if self.live { (arrival / HOLD) as usize % LIVE_PLACES } else { self.next };
        let Some((depth, gray)) = self.framesets.get(place) else { return Ok(Captured::End) };
        let number = self.next as u64;
        let timestamp = Timestamp { clock: Clock::Global, nanos: number * PERIOD };
        let headers = self.info().streams.into_iter().map(|stream| stream.header(number, timestamp));
        if let Some(mut loan) = output.loan(arrival, headers.collect())? {
            let units = depth.iter().flat_map(|units| units.to_le_bytes());
            loan.frame_mut(0).iter_mut().zip(units).for_each(|(to, from)| *to = from);
            loan.frame_mut(1).copy_from_slice(gray);
            output.publish(loan);
        }
        self.next += 1;
        if self.live {
            std::thread::sleep(Duration::from_nanos(PERIOD));
        }
        Ok(Captured::FrameSet)
    }
}

/// Returns a topology of cameras that draw, with a recording of their matches, and one of the matches of two pairs. The last
/// camera misses the first places, so the matches of the second pair have other numbers.
fn topology() -> String {
    let camera = |number| {
        let first = if number == CAMERAS - 1 { MISSED } else { 0 };
        format!(
            "[camera.c{number}]\ndriver = 'board'\nslots = 24\n\
             options = {{ number = {number}, first = {first} }}\n"
        )
    };
    let cameras: String = (0..CAMERAS).map(camera).collect();
    let matched = |name: &str, inputs: &str| {
        format!(
            "[processor.{name}]\nkind = 'match'\ninputs = [{inputs}]\nmatch = {{ window_millis = 40 }}\n\
             overflow = 'block'\nqueue = 10\nslots = 40\n"
        )
    };
    let recorder = |name: &str, inputs: &str| {
        format!(
            "[processor.{name}-recorder]\nkind = 'record'\ninputs = [{inputs}]\noverflow = 'block'\n\
             options = {{ file = '{name}.mcap' }}\n"
        )
    };
    [
        "placement = 'in-process'\n".to_owned(),
        cameras,
        matched("sync", "'c0', 'c1', 'c2'"),
        recorder("rig", "'sync'"),
        matched("left", "'c0', 'c1'"),
        matched("right", "'c1', 'c2'"),
        recorder("pairs", "'left', 'right'"),
    ]
    .concat()
}

pub(crate) fn a_recording_of_boards_calibrates_its_cameras() {
    let folder = Folder::new(&[]);
    std::fs::write(folder.0.path().join("rig.toml"), topology()).unwrap();
    let recorded = drawing(&folder, &["run", "rig.toml"]).output().unwrap();
    assert!(recorded.status.success(), "{recorded:?}");

    let output = folder.camrig(&["board", "--size", "8x6", "--square", "50mm", "-o", "board.svg"]);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "board.svg: 8x6 squares of 50 mm, markers of 37.5 mm from 4X4_50, on A2; print it at 100 %, and measure the ruler \
         below it\nboard.toml: its description, for `calibrate --board`; write the measured sizes into it\n"
    );
    let output = folder.camrig(&["calibrate", "rig.mcap", "--board", "board.toml", "--root", "c1"]);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stderr}");
    assert!(
        stderr.starts_with("warning: depth says that the board is 99.0 % of its size")
            && stderr.contains("squares of 49.5"),
        "{stderr}"
    );
    assert!(stdout.starts_with("rig.calib.toml: ") && stdout.contains("\nc1: the root; "), "{stdout}");

    let text = std::fs::read_to_string(folder.0.path().join("rig.calib.toml")).unwrap();
    let rig = RigCalibration::from_toml(&text).unwrap();
    assert_places(&rig, 0.003);

    let how = ["--board", "board.toml", "-o", "other.calib.toml"];
    let calibrate = |file: &str, more: &[&str]| {
        let output = folder.camrig(&[&["calibrate", file], &how[..], more].concat());
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let read = || {
        let text = std::fs::read_to_string(folder.0.path().join("other.calib.toml")).unwrap();
        RigCalibration::from_toml(&text).unwrap()
    };
    // Matches of different processors with the same number are not those of one moment.
    let (code, stderr) = calibrate("pairs.mcap", &["--root", "c1"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_places(&read(), 0.006);
    let (code, stderr) = calibrate("rig.mcap", &["--cameras", "c1,c0", "--root", "c1"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(read().camera.keys().collect::<Vec<_>>(), ["c0", "c1"]);
    for (more, refused) in [
        (["--cameras", "c0,c9"], "no camera `c9` has images; expected one of: `c0`, `c1`, `c2`"),
        (["--cameras", "c0"], "a calibration needs at least two cameras, not 1"),
        (["--for", "1s"], "`--for` is of a live capture, and this is a recording"),
    ] {
        assert_eq!(calibrate("rig.mcap", &more), (Some(65), format!("error: {refused}\n")));
    }

    let refine = ["--refine-intrinsics", "-o", "refined.calib.toml"];
    let arguments =
        [&["calibrate", "rig.mcap", "--board", "board.toml", "--root", "c1"], &refine[..]].concat();
    let output = folder.camrig(&arguments);
    assert!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(folder.0.path().join("refined.calib.toml")).unwrap();
    let refined = RigCalibration::from_toml(&text).unwrap();
    assert_places(&refined, 0.006);
    for (name, camera) in &refined.camera {
        let off = camera.intrinsics.fx - optics().fx;
        assert!(off != 0.0 && off.abs() < 2.0, "{name}: {off}");
        assert_eq!(rig.camera[name].intrinsics, Optics::from(&optics()), "those of the factory are kept");
    }

    let output = folder.camrig(&["calibration", "rig.calib.toml", "--format", "ros2"]);
    let lines = String::from_utf8(output.stdout).unwrap();
    assert_eq!(lines.matches("--frame-id c1 --child-frame-id c").count(), 2, "{lines}");

    a_replay_has_the_poses(&folder, &rig);

    // The board's description is that of another board.
    folder.camrig(&[
        "board",
        "--size",
        "5x7",
        "--square",
        "50mm",
        "--dictionary",
        "6X6_50",
        "-o",
        "another.pdf",
    ]);
    let output = folder.camrig(&["calibrate", "rig.mcap", "--board", "another.toml"]);
    assert_eq!(output.status.code(), Some(65));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr, "error: `rig.mcap`: camera `c0` saw the board in no usable image\n");
}

/// Checks that the position of each camera is at most this far, in metres, from the one for which it was drawn.
fn assert_places(rig: &RigCalibration, meters: f64) {
    let root = frames(1)[1];
    for (number, (name, camera)) in rig.camera.iter().enumerate() {
        assert_eq!(
            (name.as_str(), camera.serial.as_str()),
            (&*format!("c{number}"), &*format!("00{number}"))
        );
        let truth = frames(number)[1];
        // The board seems to be 1 % larger than it is, and with it the distances.
        for at in [[0.0; 3], [0.0, 0.0, 1.0]] {
            let found = camera.pose().apply(at.map(|meters| meters / SCALE));
            let expected = root.inside(truth.out(at));
            for (found, expected) in found.into_iter().zip(expected) {
                assert!((found * SCALE - expected).abs() < meters, "{name}: {found} {expected}\n{rig:?}");
            }
        }
    }
}

/// Returns a command of the program whose cameras draw boards, in this folder.
fn drawing(folder: &Folder, arguments: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(std::env::current_exe().unwrap()).args(arguments);
    command.current_dir(&folder.0).env(MARK, "1").env_remove("RUST_LOG");
    command
}

/// A rig that ends with its test.
struct Running(Child);

impl Running {
    /// Waits until the rig is ready; returns the process ID of its supervisor.
    fn wait(&self) -> String {
        let (pid, since) = (self.0.id().to_string(), Instant::now());
        let status = || socket::read(&socket::find(Some(&pid)).ok()?).ok();
        while status().is_none_or(|status| status.seconds == 0.0) {
            assert!(since.elapsed() < WATCHDOG, "the rig is not ready");
            std::thread::sleep(Duration::from_millis(50));
        }
        pid
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn live_cameras_are_calibrated_while_they_run() {
    let folder = Folder::new(&[]);
    let camera = |number| {
        format!("[camera.c{number}]\ndriver = 'board'\noptions = {{ number = {number}, live = true }}\n")
    };
    let cameras: String = (0..CAMERAS).map(camera).collect();
    std::fs::write(folder.0.path().join("live.toml"), format!("placement = 'in-process'\n{cameras}"))
        .unwrap();
    std::fs::write(folder.0.path().join("board.toml"), board().to_toml()).unwrap();
    let moments = MOMENTS.to_string();
    let how = ["--board", "board.toml", "--root", "c1", "--moments", &moments];

    // A topology is run meanwhile.
    let started = [&["calibrate", "live.toml", "--json", "-o", "started.calib.toml"], &how[..]].concat();
    let output = drawing(&folder, &started).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{stdout}{stderr}");
    let lines: Vec<serde_json::Value> =
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (done, captures) = lines.split_last().unwrap();
    assert_eq!(done["calibration"]["root"], "c1");
    // Moments are taken one after another, and the cameras are linked by the first ones.
    let taken: Vec<_> = captures.iter().map(|line| line["capture"]["moments"].as_u64().unwrap()).collect();
    assert!(taken.is_sorted() && taken[0] == 0, "{taken:?}");
    let last = &captures.last().unwrap()["capture"];
    let names: Vec<_> = last["cameras"].as_array().unwrap().iter().map(|camera| &camera["name"]).collect();
    assert_eq!(names, ["c0", "c1", "c2"]);
    let text = std::fs::read_to_string(folder.0.path().join("started.calib.toml")).unwrap();
    let rig = RigCalibration::from_toml(&text).unwrap();
    assert!(rig.moments >= 3, "{text}");
    assert!(rig.depth_ratio.is_some_and(|ratio| (ratio - SCALE).abs() < 0.003), "{text}");
    assert_places(&rig, 0.004);

    // A running rig continues.
    let child = drawing(&folder, &["run", "live.toml"]).stdout(Stdio::null()).spawn().unwrap();
    let running = Running(child);
    let pid = running.wait();
    let attach = ["calibrate", "--attach", &pid, "-o", "attached.calib.toml"];
    let arguments = [&attach[..], &how[..]].concat();
    let rig = socket::find(Some(&pid)).unwrap();
    // Meanwhile its status says what the page shows.
    let (attached, progress) = std::thread::scope(|scope| {
        let calibrating = scope.spawn(|| folder.camrig(&arguments));
        let mut progress = String::new();
        while !calibrating.is_finished() {
            let status = socket::read(&rig).unwrap();
            let said = status.actors.into_iter().filter(|actor| actor.name.starts_with("calibrate-"));
            progress = said.map(|actor| actor.progress).find(|said| !said.is_empty()).unwrap_or(progress);
            std::thread::sleep(Duration::from_millis(50));
        }
        (calibrating.join().unwrap(), progress)
    });
    assert!(progress.contains(" % covered, ") && progress.contains("\nlinks: c0-c1 "), "{progress}");
    let stderr = String::from_utf8_lossy(&attached.stderr);
    assert!(attached.status.success(), "{stderr}");
    assert!(stderr.contains("1 moments; ") && stderr.contains("warning: depth says"), "{stderr}");
    let stdout = String::from_utf8_lossy(&attached.stdout);
    assert!(stdout.starts_with("attached.calib.toml: ") && stdout.contains("\nc1: the root; "), "{stdout}");
    let text = std::fs::read_to_string(folder.0.path().join("attached.calib.toml")).unwrap();
    assert_places(&RigCalibration::from_toml(&text).unwrap(), 0.004);
    let status = socket::read(&socket::find(Some(&pid)).unwrap()).unwrap();
    let actors: Vec<_> = status.actors.iter().filter(|actor| !actor.state.has_ended()).collect();
    assert_eq!(actors.iter().map(|actor| &*actor.name).collect::<Vec<_>>(), ["c0", "c1", "c2"]);

    for (cameras, refused) in [
        ("c0,c9", "the rig has no camera `c9`; expected one of: `c0`, `c1`, `c2`"),
        ("c0", "a calibration needs at least two cameras, not 1"),
    ] {
        let output =
            folder.camrig(&["calibrate", "--attach", &pid, "--board", "board.toml", "--cameras", cameras]);
        assert_eq!(output.status.code(), Some(65));
        assert_eq!(String::from_utf8(output.stderr).unwrap(), format!("error: {refused}\n"));
    }
}

/// A topology that names the calibration gives its cameras, and recordings of them, their poses, and refuses another device.
fn a_replay_has_the_poses(folder: &Folder, rig: &RigCalibration) {
    let camera = |number| {
        format!(
            "[camera.c{number}]\ndriver = 'replay'\nrestart = {{ max = 0 }}\n\
             options = {{ file = 'rig.mcap', camera = 'sync/c{number}', paced = false }}\n"
        )
    };
    let cameras: String = (0..CAMERAS).map(camera).collect();
    let record = "[processor.record]\nkind = 'record'\ninputs = ['c0', 'c1', 'c2']\noverflow = 'block'\n\
                  options = { file = 'posed.mcap' }\n";
    let topology = format!("calibration = 'rig.calib.toml'\n{cameras}{record}");
    std::fs::write(folder.0.path().join("replay.toml"), &topology).unwrap();
    for placement in ["in-process", "multi-process"] {
        let output = folder.camrig(&["run", "replay.toml", "--placement", placement]);
        assert!(output.status.success(), "{output:?}");
        let output = folder.camrig(&["recording", "info", "posed.mcap", "--json"]);
        let info: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let cameras = info["cameras"].as_array().unwrap();
        assert_eq!(cameras.len(), CAMERAS);
        for camera in cameras {
            let expected = &rig.camera[camera["name"].as_str().unwrap()];
            let pose = &camera["info"]["pose"];
            assert_eq!(pose["root"], "c1");
            let expected = expected.translation_meters.into_iter().chain(expected.quaternion_xyzw);
            let found = ["translation_meters", "quaternion_xyzw"].map(|key| pose[key].as_array().unwrap());
            let found = found.into_iter().flatten().map(|number| number.as_f64().unwrap());
            // JSON is read with an error in the last digit.
            assert!(found.zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-12), "{pose}");
        }
        std::fs::remove_file(folder.0.path().join("posed.mcap")).unwrap();
    }

    let calibration = std::fs::read_to_string(folder.0.path().join("rig.calib.toml")).unwrap();
    let other = calibration.replace("serial = \"002\"", "serial = \"009\"");
    std::fs::write(folder.0.path().join("other.calib.toml"), other).unwrap();
    let topology = topology.replace("rig.calib.toml", "other.calib.toml");
    std::fs::write(folder.0.path().join("other.toml"), topology).unwrap();
    let output = folder.camrig(&["run", "other.toml"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    let refused = "camera `c2` failed: its calibration is of serial number `009`, not of serial number `002`";
    assert!(stderr.contains(refused), "{stderr}");
    assert_eq!(output.status.code(), Some(70), "{stderr}");
}
