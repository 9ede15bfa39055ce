//! Tests of the real program with librealsense: recordings are played as cameras, in every placement.
//!
//! The example `write-bag` of camrig-realsense writes recordings of a software camera. The real recordings are beside
//! the repository; without them their tests are skipped with a message.

// All functions here are part of tests: an unexpected error fails the test.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;

const PLACEMENTS: [&str; 2] = ["in-process", "multi-process"];

/// A temporary folder, removed at the end of the test.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

/// Returns the command of the program in `folder`, to which relative paths refer.
fn command(folder: &Folder, arguments: &[&str]) -> Command {
    let program = env!("CARGO_BIN_EXE_camrig");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", program]).args(arguments);
    command.current_dir(folder.path()).env_remove("RUST_LOG");
    command
}

/// Runs the program in `folder`.
fn camrig(folder: &Folder, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

/// Writes a recording of a software camera: `framesets` pairs of depth and color, 64x48 pixels each.
fn write_bag(folder: &Folder, name: &str, framesets: u32) {
    write_bag_of(folder, name, framesets, &[]);
}

fn write_bag_of(folder: &Folder, name: &str, framesets: u32, more: &[&str]) {
    let programs = Path::new(env!("CARGO_BIN_EXE_camrig")).parent().unwrap();
    let writer = programs.join("examples/write-bag");
    assert!(writer.exists(), "{} is not built: run `just test-realsense`", writer.display());
    let framesets = framesets.to_string();
    let size = if more.contains(&"--size") { &[][..] } else { &["--size", "64x48"] };
    let arguments = [&[name, "--framesets", &framesets], size, more].concat();
    let written = Command::new(writer).args(arguments).current_dir(folder.path()).output().unwrap();
    assert!(written.status.success(), "{}", text(&written.stderr));
}

/// Returns the produced, delivered and dropped framesets of each link in a report.
fn deliveries(report: &Path) -> BTreeMap<String, (u64, u64, u64)> {
    let report: serde_json::Value = serde_json::from_str(&fs::read_to_string(report).unwrap()).unwrap();
    let link = |link: &serde_json::Value| {
        let dropped =
            link["dropped"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
        let counts = (link["produced"].as_u64().unwrap(), link["delivered"].as_u64().unwrap(), dropped);
        (format!("{} -> {}", link["from"].as_str().unwrap(), link["to"].as_str().unwrap()), counts)
    };
    report["links"].as_array().unwrap().iter().map(link).collect()
}

/// Returns the pixels of a PNG: 8-bit RGB unchanged, 16-bit gray in big endian as PNG stores it.
fn decode(path: &Path) -> Vec<u8> {
    let file = fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut png = png::Decoder::new(std::io::BufReader::new(file)).read_info().unwrap();
    let mut pixels = vec![0; png.output_buffer_size().unwrap()];
    png.next_frame(&mut pixels).unwrap();
    pixels
}

#[test]
fn a_recording_is_played_byte_for_byte_in_every_placement() {
    let folder = Folder::new();
    write_bag(&folder, "a.bag", 20);
    let mut digests = Vec::new();
    for placement in PLACEMENTS {
        fs::create_dir(folder.path().join(placement)).unwrap();
        let topology = format!(
            r#"
            [camera.recorded]
            driver = "realsense"
            options = {{ file = "a.bag", real_time = false }}

            [processor.snapshot]
            kind = "snapshot"
            inputs = ["recorded"]
            overflow = "block"
            options = {{ folder = "{placement}", every = 1, depth16 = true }}

            [processor.verify]
            kind = "verify"
            inputs = ["recorded"]
            overflow = "block"
            options = {{ digest = true, content = false }}
            "#
        );
        folder.write("a.toml", &topology);
        let run = camrig(&folder, &["run", "a.toml", "--placement", placement, "--report", "report.json"]);
        assert_eq!((run.status.code(), text(&run.stderr)), (Some(0), ""), "{placement}");
        let all = (20, 20, 0);
        let expected = [("recorded -> snapshot".to_owned(), all), ("recorded -> verify".to_owned(), all)];
        assert_eq!(deliveries(&folder.path().join("report.json")), expected.into());
        digests.push(text(&run.stdout).to_owned());
        // As write-bag documents, its content is a function of the frame's number and the pixel.
        let pixels = || (0..48_u32).flat_map(|y| (0..64_u32).map(move |x| (x, y)));
        for number in 0..20_u32 {
            let file = |what| folder.path().join(placement).join(format!("recorded-{number:06}-{what}.png"));
            let color: Vec<u8> = pixels()
                .flat_map(|(x, y)| [x + number, y + 2 * number, x + y + 3 * number].map(|value| value as u8))
                .collect();
            assert!(decode(&file("color")) == color, "color of frame {number}, {placement}");
            let depth: Vec<u8> =
                pixels().flat_map(|(x, y)| ((1000 + 17 * number + x + 3 * y) as u16).to_be_bytes()).collect();
            assert!(decode(&file("depth16")) == depth, "depth of frame {number}, {placement}");
        }
    }
    assert!(digests[0].starts_with("verify: recorded: 20 framesets, digest "), "{}", digests[0]);
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn motion_of_a_recording_is_the_same_in_every_placement() {
    let folder = Folder::new();
    write_bag_of(&folder, "a.bag", 20, &["--model", "d435i"]);
    let mut seen = Vec::new();
    for placement in PLACEMENTS {
        fs::create_dir(folder.path().join(placement)).unwrap();
        let topology = format!(
            r#"
            [camera.recorded]
            driver = "realsense"
            options = {{ file = "a.bag", real_time = false }}

            [processor.snapshot]
            kind = "snapshot"
            inputs = ["recorded"]
            overflow = "block"
            options = {{ folder = "{placement}", every = 1 }}

            [processor.verify]
            kind = "verify"
            inputs = ["recorded"]
            overflow = "block"
            options = {{ digest = true, content = false }}
            "#
        );
        folder.write("a.toml", &topology);
        let run = camrig(&folder, &["run", "a.toml", "--placement", placement]);
        assert_eq!((run.status.code(), text(&run.stderr)), (Some(0), ""), "{placement}");
        let mut samples = Vec::new();
        for number in 0..20 {
            let file = folder.path().join(placement).join(format!("recorded-{number:06}-gyro.csv"));
            let file = fs::read_to_string(file).unwrap();
            samples.extend(file.lines().skip(1).map(str::to_owned));
        }
        // As write-bag documents: at 200 Hz, until the last image at 19/30 s.
        let expected = (0..127_u64)
            .map(|number| format!("{},{number},-9.8,{}", number * 5_000_000, number as f32 / 8.0));
        assert!(samples.iter().eq(expected.collect::<Vec<_>>().iter()), "{samples:?}");
        seen.push(text(&run.stdout).to_owned());
    }
    assert!(seen[0].starts_with("verify: recorded: 20 framesets, digest "), "{}", seen[0]);
    assert_eq!(seen[0], seen[1]);
}

/// Returns the text chunk of a PNG as `keyword: text`.
fn text_of(path: &Path) -> String {
    let png = png::Decoder::new(std::io::BufReader::new(fs::File::open(path).unwrap())).read_info().unwrap();
    let text = &png.info().uncompressed_latin1_text[0];
    format!("{}: {}", text.keyword, text.text)
}

#[test]
fn a_d405_and_a_d435_give_the_same_depth_of_a_wall() {
    let folder = Folder::new();
    write_bag_of(&folder, "d405.bag", 1, &["--model", "d405", "--wall-meters", "0.3"]);
    write_bag_of(&folder, "d435.bag", 1, &["--model", "d435", "--wall-meters", "0.3"]);
    let topology = r#"
        [camera.d405]
        driver = "realsense"
        options = { file = "d405.bag", real_time = false }

        [camera.d435]
        driver = "realsense"
        options = { file = "d435.bag", real_time = false }

        [processor.snapshot]
        kind = "snapshot"
        inputs = ["d405", "d435"]
        overflow = "block"
        options = { folder = "out", every = 1, depth16 = true }
    "#;
    folder.write("wall.toml", topology);
    for placement in PLACEMENTS {
        fs::create_dir(folder.path().join("out")).unwrap();
        let run = camrig(&folder, &["run", "wall.toml", "--placement", placement]);
        assert_eq!((run.status.code(), text(&run.stderr)), (Some(0), ""), "{placement}");
        let file = |camera, what| folder.path().join("out").join(format!("{camera}-000000-{what}.png"));
        // 0.300 m each, in the depth unit that the file contains.
        for (camera, units, unit) in [("d405", 3000_u16, "0.0001"), ("d435", 300, "0.001")] {
            let depth = file(camera, "depth16");
            assert_eq!(decode(&depth), units.to_be_bytes().repeat(64 * 48));
            assert_eq!(text_of(&depth), format!("Depth unit meters: {unit}"));
        }
        assert!(decode(&file("d405", "depth")) == decode(&file("d435", "depth")), "the same color");
        fs::remove_dir_all(folder.path().join("out")).unwrap();
    }
}

#[test]
fn filters_and_alignment_give_the_same_in_every_placement() {
    let folder = Folder::new();
    write_bag_of(&folder, "a.bag", 10, &["--model", "d435", "--wall-meters", "0.3"]);
    let topology = r#"
        [camera.recorded]
        driver = "realsense"

        [camera.recorded.options]
        file = "a.bag"
        real_time = false
        align = "color-to-depth"
        filters.decimation = { filter_magnitude = 2 }
        filters.temporal = {}

        [processor.verify]
        kind = "verify"
        inputs = ["recorded"]
        overflow = "block"
        options = { digest = true, content = false }

        [processor.snapshot]
        kind = "snapshot"
        inputs = ["recorded"]
        overflow = "block"
        options = { folder = "out", every = 1, depth16 = true }
    "#;
    folder.write("a.toml", topology);
    fs::create_dir(folder.path().join("out")).unwrap();
    let mut digests = Vec::new();
    for placement in PLACEMENTS {
        let run = camrig(&folder, &["run", "a.toml", "--placement", placement, "--report", "report.json"]);
        assert_eq!((run.status.code(), text(&run.stderr)), (Some(0), ""), "{placement}");
        let all = (10, 10, 0);
        let expected = [("recorded -> snapshot".to_owned(), all), ("recorded -> verify".to_owned(), all)];
        assert_eq!(deliveries(&folder.path().join("report.json")), expected.into());
        let depth = folder.path().join("out/recorded-000009-depth16.png");
        assert_eq!(decode(&depth), 300_u16.to_be_bytes().repeat(32 * 24));
        assert_eq!(decode(&folder.path().join("out/recorded-000009-color.png")).len(), 32 * 24 * 3);
        digests.push(text(&run.stdout).to_owned());
    }
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn a_rig_has_one_master() {
    let folder = Folder::new();
    let camera = |name: &str, serial: &str, sync: &str| {
        format!(
            "[camera.{name}]\ndriver = \"realsense\"\n\
             options = {{ serial = \"{serial}\", depth = \"640x480@30\", sync = \"{sync}\" }}\n"
        )
    };
    let cameras = [("a", "1", "master"), ("b", "2", "slave"), ("c", "3", "slave")];
    let topology = |cameras: &[(&str, &str, &str)]| {
        cameras.iter().map(|(name, serial, sync)| camera(name, serial, sync)).collect::<String>()
    };
    folder.write("one.toml", &topology(&cameras));
    let checked = camrig(&folder, &["check", "--no-devices", "one.toml"]);
    let unread = "warning: the rig has no processor: nothing reads its cameras\n";
    assert_eq!((checked.status.code(), text(&checked.stderr)), (Some(0), unread));
    folder.write("two.toml", &topology(&[cameras[0], cameras[1], ("c", "3", "master")]));
    let checked = camrig(&folder, &["check", "--no-devices", "two.toml"]);
    assert_eq!(checked.status.code(), Some(78));
    let expected = "error: cameras `a` and `c` both claim hardware sync master\n";
    assert!(text(&checked.stderr).starts_with(expected), "{}", text(&checked.stderr));
}

/// Returns the folder of the real recordings; `None`, with a message, if it does not exist.
fn recordings() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/recordings");
    let folder = std::env::var_os("CAMRIG_RECORDINGS").map_or(beside, PathBuf::from);
    if folder.is_dir() {
        return Some(folder.canonicalize().unwrap());
    }
    // Not `eprintln!`, which the test harness captures.
    let note = format!("SKIPPED: no real recordings in {}; set CAMRIG_RECORDINGS\n", folder.display());
    std::io::stderr().write_all(note.as_bytes()).unwrap();
    None
}

#[test]
fn real_recordings_deliver_every_frame_in_every_placement() {
    let Some(recordings) = recordings() else { return };
    let folder = Folder::new();
    let topology = format!(
        r#"
        [camera.odd]
        driver = "realsense"
        options = {{ file = "{0}/d435_640x480_one_frameset.bag", real_time = false }}

        [camera.apart]
        driver = "realsense"
        options = {{ file = "{0}/d435_640x480_streams_do_not_overlap.bag", real_time = false }}

        [processor.verify]
        kind = "verify"
        inputs = ["odd", "apart"]
        overflow = "block"
        options = {{ digest = true, content = false }}
        "#,
        recordings.display()
    );
    folder.write("real.toml", &topology);
    let mut outputs = Vec::new();
    for placement in PLACEMENTS {
        let run = camrig(&folder, &["run", "real.toml", "--placement", placement, "--report", "report.json"]);
        assert_eq!((run.status.code(), text(&run.stderr)), (Some(0), ""), "{placement}");
        // 2 depth and 1 color frames that are far apart; 6 depth and 5 color frames that do not overlap.
        let expected = [("odd -> verify".to_owned(), (3, 3, 0)), ("apart -> verify".to_owned(), (11, 11, 0))];
        assert_eq!(deliveries(&folder.path().join("report.json")), expected.into());
        outputs.push(text(&run.stdout).to_owned());
    }
    assert!(outputs[0].contains("verify: odd: 3 framesets, digest "), "{}", outputs[0]);
    assert_eq!(outputs[0], outputs[1]);
}

#[test]
fn bad_recordings_and_missing_cameras_are_refused_before_the_start() {
    let folder = Folder::new();
    write_bag(&folder, "whole.bag", 5);
    let whole = fs::read(folder.path().join("whole.bag")).unwrap();
    fs::write(folder.path().join("cut.bag"), &whole[..5000]).unwrap();
    // Like the file of a killed recorder: without the position of the index in the header.
    let mut unindexed = whole;
    let place = unindexed.windows(10).position(|bytes| bytes == b"index_pos=").unwrap() + 10;
    unindexed[place..place + 8].fill(0);
    fs::write(folder.path().join("unindexed.bag"), unindexed).unwrap();
    folder.write("garbage.bag", "not a recording");
    for (options, at, message, code) in [
        (r#"file = "absent.bag""#, "file", "file `absent.bag` does not exist", 78),
        (
            r#"file = "garbage.bag""#,
            "file",
            "file `garbage.bag` is not a recording that librealsense can play: Failed to create ros reader: Error \
             reading version line",
            78,
        ),
        (
            r#"file = "cut.bag""#,
            "file",
            "file `cut.bag` is cut off: Failed to create ros reader: Error reading from file: wanted 4 bytes, \
             read 0 bytes",
            78,
        ),
        (
            r#"file = "unindexed.bag""#,
            "file",
            "file `unindexed.bag` is not closed properly (bag unindexed): Failed to create ros reader: Bag \
             unindexed",
            78,
        ),
        (
            r#"file = "whole.bag", depth = "64x48@15""#,
            "depth",
            "file `whole.bag` has no depth stream 64x48@15; it has: color 64x48@30 rgb8, depth 64x48@30 z16",
            78,
        ),
        (
            r#"serial = "123", depth = "640x480@30""#,
            "serial",
            "no RealSense camera with serial `123` is connected; connected: none",
            69,
        ),
        (
            r#"serial = "123", file = "whole.bag""#,
            "file",
            "a live camera and a `file` exclude each other: a camera is live or recorded",
            78,
        ),
    ] {
        let topology = format!("[camera.a]\ndriver = \"realsense\"\noptions = {{ {options} }}\n");
        folder.write("bad.toml", &topology);
        let line = format!("options = {{ {options} }}");
        let column = line.find(&format!("{at} =")).unwrap();
        let (space, caret) = (" ".repeat(column), "^".repeat(at.len()));
        let stderr = format!(
            "error: camera `a`: {message}\n --> bad.toml:3:{}\n  |\n3 | {line}\n  | {space}{caret}\n",
            column + 1
        );
        for command in ["check", "run"] {
            let refused = camrig(&folder, &[command, "bad.toml"]);
            assert_eq!(text(&refused.stderr), stderr);
            assert_eq!(
                (refused.status.code(), text(&refused.stdout)),
                (Some(code), ""),
                "{command} {options}"
            );
        }
    }
}

#[test]
fn a_damaged_recording_is_a_failure_with_a_name() {
    let folder = Folder::new();
    write_bag_of(&folder, "a.bag", 20, &["--size", "320x240"]);
    write_bag_of(&folder, "whole.bag", 5, &["--model", "d435"]);
    let mut bytes = fs::read(folder.path().join("a.bag")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(folder.path().join("a.bag"), bytes).unwrap();
    let topology = r#"
        [camera.damaged]
        driver = "realsense"
        restart = { backoff_millis = 1 }
        options = { file = "a.bag", real_time = false }

        [camera.whole]
        driver = "realsense"
        options = { file = "whole.bag", real_time = false }

        [processor.verify]
        kind = "verify"
        inputs = ["damaged", "whole"]
        overflow = "block"
        options = { content = false }
        "#;
    folder.write("a.toml", topology);
    for placement in PLACEMENTS {
        let run = camrig(&folder, &["run", "a.toml", "--placement", placement, "--report", "report.json"]);
        let stderr = text(&run.stderr);
        assert_ne!(run.status.code(), Some(0), "{stderr}");
        let failure = "file `a.bag` stopped before its end: Failed to read next frame from file: ";
        assert!(stderr.contains(failure), "{stderr}");
        // librealsense's own message, once in each process that reads the file: the supervisor may read it ahead.
        let own = stderr
            .lines()
            .filter(|line| line.contains("file `a.bag`: Failed to read next frame from file: "));
        let processes: Vec<_> = own.filter_map(|line| line.split_whitespace().nth(2)).collect();
        let once: BTreeSet<_> = processes.iter().collect();
        assert!(!once.is_empty() && once.len() == processes.len(), "{stderr}");
        let links = deliveries(&folder.path().join("report.json"));
        // The readable part was delivered once, and the other camera lost nothing.
        let (produced, ..) = links["damaged -> verify"];
        assert!((1..20).contains(&produced), "{links:?}");
        assert_eq!(links["whole -> verify"], (5, 5, 0));
    }
}

/// In a process of its own: librealsense may crash there, and then it is restarted.
#[test]
fn a_recording_that_is_cut_while_it_plays_is_a_failure_with_a_name() {
    let folder = Folder::new();
    write_bag_of(&folder, "a.bag", 90, &["--size", "320x240"]);
    fs::create_dir(folder.path().join("played")).unwrap();
    let topology = r#"
        [camera.eye]
        driver = "realsense"
        restart = { backoff_millis = 1 }
        options = { file = "a.bag" }

        [processor.snapshot]
        kind = "snapshot"
        inputs = ["eye"]
        options = { folder = "played", every = 1 }
        "#;
    folder.write("a.toml", topology);
    let arguments = ["run", "a.toml", "--placement", "multi-process", "--report", "report.json"];
    let mut playing = command(&folder, &arguments).stderr(Stdio::piped()).spawn().unwrap();
    while !folder.path().join("played/eye-000000-color.png").exists() {
        assert_eq!(playing.try_wait().unwrap(), None);
        std::thread::sleep(Duration::from_millis(2));
    }
    let file = fs::File::options().write(true).open(folder.path().join("a.bag")).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    let run = playing.wait_with_output().unwrap();
    let stderr = text(&run.stderr);
    assert_eq!(run.status.code(), Some(70), "{stderr}");
    assert!(stderr.contains("camera `eye` failed for good: file `a.bag` "), "{stderr}");
    let (produced, ..) = deliveries(&folder.path().join("report.json"))["eye -> snapshot"];
    assert!((1..90).contains(&produced), "{stderr}");
}

/// The supervisor and the process of the camera both open the file: one of them warns, in every placement.
#[test]
fn a_warning_about_a_recording_comes_once() {
    let folder = Folder::new();
    write_bag_of(&folder, "a.bag", 5, &["--raw"]);
    let topology = r#"
        [camera.a]
        driver = "realsense"
        options = { file = "a.bag", real_time = false }

        [processor.verify]
        kind = "verify"
        inputs = ["a"]
        overflow = "block"
        options = { content = false }
        "#;
    folder.write("a.toml", topology);
    let warning = "file `a.bag`: infrared-1 64x48@30 raw16 is ignored: its kind, format or size is unknown";
    for arguments in [
        &["check", "a.toml"][..],
        &["run", "a.toml", "--placement", "in-process"],
        &["run", "a.toml", "--placement", "multi-process"],
    ] {
        let run = camrig(&folder, arguments);
        let stderr = text(&run.stderr);
        assert_eq!(run.status.code(), Some(0), "{stderr}");
        let warnings: Vec<_> = stderr.lines().filter(|line| line.contains(" WARN ")).collect();
        assert!(warnings.len() == 1 && warnings[0].ends_with(warning), "{arguments:?}: {stderr}");
    }
}

/// The first images of a live camera are stamped by the host, until librealsense has mapped its clock. A recording of it is of
/// the clock that it has then, and the first ones are counted.
#[test]
fn a_recording_that_begins_with_another_clock_is_matched() {
    let folder = Folder::new();
    for (name, unsettled) in [("a.bag", "0"), ("b.bag", "5")] {
        let begin = ["--begin-millis", "1700000000000", "--unsettled", unsettled];
        write_bag_of(&folder, name, 20, &begin);
    }
    for (placement, clock) in
        PLACEMENTS.iter().flat_map(|placement| [(placement, ""), (placement, ", clock = \"global\"")])
    {
        let topology = format!(
            r#"
            [camera.a]
            driver = "realsense"
            options = {{ file = "a.bag", real_time = false }}

            [camera.b]
            driver = "realsense"
            options = {{ file = "b.bag", real_time = false }}

            [processor.together]
            kind = "match"
            inputs = ["a", "b"]
            overflow = "block"
            match = {{ window_millis = 10{clock} }}
            "#
        );
        folder.write("t.toml", &topology);
        let run = camrig(&folder, &["run", "t.toml", "--placement", placement, "--report", "report.json"]);
        assert_eq!((run.status.code(), text(&run.stderr)), (Some(0), ""), "{placement}{clock}");
        let report: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(folder.path().join("report.json")).unwrap()).unwrap();
        let matching = &report["matching"][0];
        let unmatched = [0, 1].map(|camera| matching["cameras"][camera]["unmatched"].clone());
        let expected = [serde_json::json!({ "missing": 5 }), serde_json::json!({ "other-clock": 5 })];
        assert_eq!(
            (matching["matches"].as_u64(), unmatched),
            (Some(15), expected),
            "{placement}{clock}: {matching}"
        );
    }
}

/// Cargo and `just` set `LD_LIBRARY_PATH`, a user's shell does not.
#[test]
fn the_program_finds_the_library_without_an_environment() {
    let list = Command::new(env!("CARGO_BIN_EXE_camrig")).arg("list").env_clear().output().unwrap();
    assert_eq!((list.status.code(), text(&list.stderr)), (Some(0), ""));
}

/// Returns the examples that need librealsense.
fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/topologies");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| fs::read_to_string(file).unwrap().contains("\"realsense\""));
    files.sort();
    files
}

#[test]
fn the_example_with_a_recording_plays_any() {
    let folder = Folder::new();
    let example = examples().into_iter().find(|file| file.ends_with("recorded.toml")).unwrap();
    let play = |framesets: u64| {
        let run = camrig(&folder, &["run", example.to_str().unwrap(), "--report", "report.json"]);
        assert_eq!((run.status.code(), text(&run.stderr)), (Some(0), ""));
        let all = (framesets, framesets, 0);
        let expected = [("recorded -> digest".to_owned(), all), ("recorded -> stats".to_owned(), all)];
        assert_eq!(deliveries(&folder.path().join("report.json")), expected.into());
    };
    for more in [&["--infrared"][..], &["--model", "d435i"], &["--depth-only"]] {
        write_bag_of(&folder, "recording.bag", 5, more);
        play(5);
    }
    let Some(recordings) = recordings() else { return };
    for (name, framesets) in
        [("d435_640x480_one_frameset.bag", 3), ("d435_640x480_streams_do_not_overlap.bag", 11)]
    {
        fs::copy(recordings.join(name), folder.path().join("recording.bag")).unwrap();
        play(framesets);
    }
}

/// No camera is attached to a machine that runs tests: each is named as missing, which is the last check before the start.
#[test]
fn the_examples_with_live_cameras_miss_nothing_but_them() {
    let folder = Folder::new();
    let live: Vec<_> = examples().into_iter().filter(|file| !file.ends_with("recorded.toml")).collect();
    assert!(live.len() >= 3, "{live:?}");
    for file in live {
        let cameras = fs::read_to_string(&file).unwrap().matches("driver = \"realsense\"").count();
        let run = camrig(&folder, &["run", file.to_str().unwrap()]);
        let stderr = text(&run.stderr);
        assert_eq!(run.status.code(), Some(69), "{stderr}");
        let missing = stderr.lines().filter(|line| line.ends_with("is connected; connected: none")).count();
        assert_eq!(missing, stderr.matches("error: ").count(), "{stderr}");
        assert!(missing >= cameras.max(2), "{stderr}");
    }
}

/// The driver's demand is the same as in builds without librealsense.
#[test]
fn a_plan_depends_on_options_only() {
    let folder = Folder::new();
    let topology = r#"
        [camera.left]
        driver = "realsense"
        options = { serial = "943222071836", depth = "1280x720@30", color = "848x480@30", infrared_1 = "1280x720@30" }

        [camera.recorded]
        driver = "realsense"
        options = { file = "absent.bag" }
        "#;
    folder.write("plan.toml", topology);
    let plan = camrig(&folder, &["plan", "plan.toml", "--controllers", "1", "--json"]);
    assert_eq!((plan.status.code(), text(&plan.stderr)), (Some(0), ""));
    let plan: serde_json::Value = serde_json::from_slice(&plan.stdout).unwrap();
    assert_eq!(
        (&plan["need_megabits"], &plan["cameras"][0]["serial"]),
        (&859.into(), &"943222071836".into())
    );
    assert_eq!(plan["cameras"].as_array().unwrap().len(), 1);
}

/// Without times of the host, a file begins with the rig, or as much later as its options say.
#[test]
fn a_file_begins_after_its_offset() {
    let folder = Folder::new();
    write_bag(&folder, "a.bag", 5);
    for placement in PLACEMENTS {
        let topology = r#"
            [camera.now]
            driver = "realsense"
            options = { file = "a.bag" }

            [camera.tomorrow]
            driver = "realsense"
            stall_timeout_millis = 500
            options = { file = "a.bag", start_offset_millis = 86_400_000 }

            [processor.verify]
            kind = "verify"
            inputs = ["now", "tomorrow"]
            options = { content = false }
        "#;
        folder.write("t.toml", topology);
        let args = ["run", "t.toml", "--for", "2s", "--placement", placement, "--report", "report.json"];
        let run = camrig(&folder, &args);
        assert_eq!(run.status.code(), Some(0), "{}", text(&run.stderr));
        let links = deliveries(&folder.path().join("report.json"));
        assert!(links["now -> verify"].0 > 0, "{links:?}");
        assert_eq!(links["tomorrow -> verify"], (0, 0, 0), "{}", text(&run.stderr));
    }
}

/// Both files begin when the rig starts without a common timeline: then no frameset has a partner.
#[test]
fn files_that_were_recorded_together_play_together() {
    let folder = Folder::new();
    let begin = |millis: u64| ["--begin-millis".to_owned(), (1_700_000_000_000 + millis).to_string()];
    for (name, begin) in [("a.bag", begin(0)), ("b.bag", begin(3000))] {
        write_bag_of(&folder, name, 120, &begin.each_ref().map(String::as_str));
    }
    write_bag(&folder, "c.bag", 30);
    for placement in PLACEMENTS {
        let topology = r#"
            [camera.a]
            driver = "realsense"
            options = { file = "a.bag" }

            [camera.b]
            driver = "realsense"
            stall_timeout_millis = 2500
            options = { file = "b.bag" }

            [camera.c]
            driver = "realsense"
            options = { file = "c.bag", start_offset_millis = 500 }

            [processor.together]
            kind = "match"
            inputs = ["a", "b"]
            match = { window_millis = 10 }

            [processor.stats]
            kind = "stats"
            inputs = ["c"]
        "#;
        folder.write("t.toml", topology);
        let run = camrig(&folder, &["run", "t.toml", "--placement", placement, "--report", "report.json"]);
        // At its own pace a player loses framesets when the machine is too slow, which the last line counts.
        let others: Vec<_> =
            text(&run.stderr).lines().filter(|line| !line.contains(": ended after ")).collect();
        assert_eq!((run.status.code(), others), (Some(0), Vec::new()), "{placement}");
        let report: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(folder.path().join("report.json")).unwrap()).unwrap();
        // One of four seconds overlaps. At its own pace a player drops framesets when the machine is too slow.
        let matches = report["matching"][0]["matches"].as_u64().unwrap();
        assert!((10..=31).contains(&matches), "{placement}: {}", report["matching"]);
        let restarts: Vec<_> =
            report["actors"].as_array().unwrap().iter().map(|it| &it["restarts"]).collect();
        assert!(restarts.iter().all(|restarts| **restarts == 0), "{restarts:?}");
    }
}
