//! Tests of recording and replay: a replay gives the recorded framesets, in every placement.

use std::path::Path;

use crate::program::Test;

/// Six small cameras without pace, without their readers.
const SIX_CAMERAS: &str = r#"
[camera.front]
driver = "synthetic"
options = { paced = false, depth = "64x48@30", color = "64x48@30", model = "any", infrared = "64x48@30", accel = 100, gyro = 200 }

[camera.rear]
driver = "synthetic"
options = { paced = false, depth = "64x48@30", color = "48x32@30", model = "any", color_format = "bgr8" }

[camera.left]
driver = "synthetic"
options = { paced = false, depth = "64x48@30", color = "64x48@30", model = "any", color_format = "yuyv" }

[camera.right]
driver = "synthetic"
options = { paced = false, depth = "off", color = "64x48@30", model = "any" }

[camera.top]
driver = "synthetic"
options = { paced = false, depth = "64x48@30", color = "off", model = "any", drop_rate = 0.3, accel = 20 }

[camera.wrist]
driver = "synthetic"
options = { paced = false, depth = "64x48@30", color = "64x48@30", model = "any", clock_skew = 12.5 }
"#;

const INPUTS: &str = r#"inputs = ["front", "rear", "left", "right", "top", "wrist"]
overflow = "block""#;

/// Returns the six cameras with a recorder, and a processor that prints digests.
fn recorded(options: &str) -> String {
    format!(
        "{SIX_CAMERAS}
[processor.recorder]
kind = \"record\"
{INPUTS}
options = {{ {options} }}

[processor.check]
kind = \"verify\"
{INPUTS}
options = {{ digest = true }}
"
    )
}

/// Returns the six cameras replayed from `rig.mcap`, and a processor that prints digests.
fn replayed(processes: bool) -> String {
    let camera = |(index, name): (usize, &str)| {
        // Some cameras share a process, some do not.
        let process = if processes { format!("process = \"p{}\"\n", index / 2) } else { String::new() };
        format!(
            "[camera.{name}]\ndriver = \"replay\"\n{process}options = {{ file = \"rig.mcap\", paced = false }}\n\n"
        )
    };
    let cameras: String = NAMES.into_iter().enumerate().map(camera).collect();
    let options = "options = { digest = true, content = false }";
    format!("{cameras}[processor.check]\nkind = \"verify\"\n{INPUTS}\n{options}\n")
}

const NAMES: [&str; 6] = ["front", "rear", "left", "right", "top", "wrist"];

/// A folder for several runs.
pub(crate) struct Folder(Test);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(Test::new())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.folder()
    }

    /// Runs the program in the folder and returns stdout, stderr and exit code.
    #[track_caller]
    pub(crate) fn run(&mut self, args: &[&str]) -> (String, String, Option<i32>) {
        self.0.set_args(args);
        self.0.output()
    }

    /// Runs the program, checks that it succeeds without errors, and returns stdout without the recorders' lines about their
    /// files.
    #[track_caller]
    pub(crate) fn succeed(&mut self, args: &[&str]) -> String {
        let (stdout, stderr, status) = self.run(args);
        assert_eq!((stderr.as_str(), status), ("", Some(0)), "{args:?}: {stdout}");
        stdout.split_inclusive('\n').filter(|line| !line.starts_with("record: ")).collect()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path().join(name), text).unwrap();
    }
}

#[test]
fn six_cameras_replay_the_same_in_every_placement() {
    let mut folder = Folder::new();
    folder.write("record.toml", &recorded("file = \"rig.mcap\""));
    let digests = folder.succeed(&["run", "record.toml", "--framesets", "20"]);
    assert_eq!(digests.lines().count(), NAMES.len(), "{digests}");
    folder.write("replay.toml", &replayed(false));
    folder.write("mixed.toml", &replayed(true));
    // A digest covers numbers, timestamps, metadata and pixels in order of arrival.
    for _ in 0..20 {
        for args in [
            ["run", "replay.toml", "--placement", "in-process"].as_slice(),
            &["run", "replay.toml", "--placement", "multi-process"],
            &["run", "mixed.toml"],
        ] {
            assert_eq!(folder.succeed(args), digests, "{args:?}");
        }
    }
}

/// One camera for each format of color and infrared, with the format in which `export` writes them.
const FORMATS: [(&str, &str, &str); 8] = [
    ("color", "rgb8", "png"),
    ("color", "bgr8", "png"),
    ("color", "rgba8", "png"),
    ("color", "bgra8", "png"),
    ("color", "yuyv", "png"),
    ("color", "uyvy", "png"),
    ("color", "mjpeg", "jpg"),
    ("infrared", "y16", "png"),
];

/// Returns the cameras of [`FORMATS`], each made by `camera` from its stream and format, and a processor that prints
/// digests. Without `content` it compares no pixels: those of a replay are compared by their digest.
fn of_every_format(content: bool, camera: impl Fn(&str, &str) -> String) -> String {
    let cameras: String = FORMATS.iter().map(|(stream, format, _)| camera(stream, format)).collect();
    let inputs = inputs_of_formats();
    format!(
        "{cameras}[processor.check]\nkind = \"verify\"\n{inputs}\noptions = {{ digest = true, content = {content} }}\n"
    )
}

fn inputs_of_formats() -> String {
    let names = FORMATS.map(|(_, format, _)| format!("\"{format}\"")).join(", ");
    format!("inputs = [{names}]\noverflow = \"block\"")
}

#[test]
fn every_format_is_recorded_replayed_and_exported_byte_for_byte() {
    let mut folder = Folder::new();
    let live = of_every_format(true, |stream, format| {
        let streams = if stream == "color" { "" } else { ", color = \"off\"" };
        format!(
            "[camera.{format}]\ndriver = \"synthetic\"\noptions = {{ model = \"any\", paced = false, depth = \"64x48@30\", \
             {stream} = \"64x48@30\", {stream}_format = \"{format}\"{streams} }}\n\n"
        )
    });
    folder.write("live.toml", &live);
    let recorder = "\n[processor.recorder]\nkind = \"record\"\noptions = { file = \"rig.mcap\" }\n";
    folder.write("record.toml", &format!("{live}{recorder}{}\n", inputs_of_formats()));
    let digests = folder.succeed(&["run", "record.toml", "--framesets", "5"]);
    assert_eq!(digests.lines().count(), FORMATS.len(), "{digests}");
    let replay = of_every_format(false, |_, format| {
        let options = "options = { file = \"rig.mcap\", paced = false }";
        format!("[camera.{format}]\ndriver = \"replay\"\n{options}\n\n")
    });
    folder.write("replay.toml", &replay);
    for (file, count) in [("live.toml", ["--framesets", "5"].as_slice()), ("replay.toml", &[])] {
        for placement in ["in-process", "multi-process"] {
            let args = [["run", file, "--placement", placement].as_slice(), count].concat();
            assert_eq!(folder.succeed(&args), digests, "{args:?}");
        }
    }

    let export = ["recording", "export", "rig.mcap", "-o", "images", "--every", "5"];
    assert_eq!(folder.succeed(&export).lines().count(), FORMATS.len());
    for (stream, format, extension) in FORMATS {
        let stream = if stream == "color" { stream } else { "infrared-1" };
        let file = folder.path().join(format!("images/{format}/{stream}/000000.{extension}"));
        let bytes = std::fs::read(&file).unwrap();
        let magic = if extension == "png" { b"\x89PNG" } else { b"\xff\xd8\xff\xe0" };
        assert!(bytes.starts_with(magic), "{}", file.display());
    }
    let points = ["recording", "export", "rig.mcap", "-o", "points", "--format", "ply", "--every", "5"];
    folder.succeed(&points);
    for (stream, format, _) in FORMATS {
        let file = std::fs::read(folder.path().join(format!("points/{format}/points/000000.ply"))).unwrap();
        let header = String::from_utf8_lossy(&file[..250]).into_owned();
        assert_eq!(header.contains("property uchar red"), stream == "color", "{format}: {header}");
    }
}

#[test]
fn split_and_compressed_files_replay_the_same() {
    for (options, files) in [
        ("file = \"rig.mcap\", compression = \"lz4\", split_mib = 1", ["rig.mcap", "rig-2.mcap"].as_slice()),
        ("file = \"rig.mcap\", compression = \"zstd\"", &["rig.mcap"]),
    ] {
        let mut folder = Folder::new();
        folder.write("record.toml", &recorded(options));
        let digests = folder.succeed(&["run", "record.toml", "--framesets", "150"]);
        for file in files {
            assert!(folder.path().join(file).exists(), "{file} with {options}");
        }
        folder.write("replay.toml", &replayed(false));
        assert_eq!(folder.succeed(&["run", "replay.toml"]), digests, "{options}");
    }
}

#[test]
fn a_file_for_each_camera() {
    let mut folder = Folder::new();
    std::fs::create_dir(folder.path().join("new")).unwrap();
    folder.write("record.toml", &recorded("file = \"new/rig.mcap\", files = \"camera\""));
    let digests = folder.succeed(&["run", "record.toml", "--framesets", "5"]);
    let replayed = replayed(false);
    let replayed = NAMES
        .into_iter()
        .fold(replayed, |text, name| text.replacen("\"rig.mcap\"", &format!("\"new/rig-{name}.mcap\""), 1));
    folder.write("replay.toml", &replayed);
    assert_eq!(folder.succeed(&["run", "replay.toml"]), digests);
}

#[test]
fn nothing_is_overwritten() {
    let mut folder = Folder::new();
    folder.write("record.toml", &recorded("file = \"rig.mcap\""));
    folder.succeed(&["run", "record.toml", "--framesets", "2"]);
    let first = std::fs::read(folder.path().join("rig.mcap")).unwrap();
    folder.succeed(&["run", "record.toml", "--framesets", "3"]);
    assert_eq!(std::fs::read(folder.path().join("rig.mcap")).unwrap(), first);
    let info = folder.succeed(&["recording", "info", "rig-2.mcap"]);
    assert!(info.starts_with("rig-2.mcap: 6 cameras, 18 framesets, 0 missing, "), "{info}");
}

#[test]
fn framesets_of_a_processor_are_recorded_under_both_names() {
    let mut folder = Folder::new();
    let check = |input: &str, options: &str| {
        format!(
            "
[processor.check]
kind = \"verify\"
inputs = [\"{input}\"]
overflow = \"block\"
options = {{ digest = true, content = false }}
{options}"
        )
    };
    let points = r#"
[camera.front]
driver = "synthetic"
options = { paced = false, depth = "64x48@30", color = "64x48@30", model = "any" }

[processor.cloud]
kind = "pointcloud"
inputs = ["front"]
overflow = "block"
"#;
    let recorder = r#"
[processor.recorder]
kind = "record"
inputs = ["front", "cloud"]
overflow = "block"
options = { file = "rig.mcap" }
"#;
    folder.write("record.toml", &format!("{points}{}", check("cloud", recorder)));
    let digest = folder.succeed(&["run", "record.toml", "--framesets", "5"]);
    let verified = folder.succeed(&["recording", "verify", "rig.mcap"]);
    assert_eq!(
        verified,
        "\
cloud/front: 5 intact framesets, 0 missing
front: 5 intact framesets, 0 missing
rig.mcap: OK
"
    );
    let camera = r#"
[camera.front]
driver = "replay"
options = { file = "rig.mcap", camera = "cloud/front", paced = false }
"#;
    folder.write("replay.toml", &format!("{camera}{}", check("front", "")));
    assert_eq!(folder.succeed(&["run", "replay.toml"]), digest);
}

#[test]
fn motion_is_recorded_replayed_and_exported() {
    let mut folder = Folder::new();
    let camera = r#"
[camera.front]
driver = "synthetic"
options = { paced = false, depth = "16x12@90", color = "off", model = "any", accel = 60, gyro = 400 }
"#;
    let snapshot = |folder: &str| {
        format!(
            "
[processor.snapshot]
kind = \"snapshot\"
inputs = [\"front\"]
overflow = \"block\"
options = {{ folder = \"{folder}\", every = 1 }}
"
        )
    };
    let recorder = r#"
[processor.recorder]
kind = "record"
inputs = ["front"]
overflow = "block"
options = { file = "rig.mcap" }
"#;
    for name in ["live", "replayed"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
    }
    folder.write("record.toml", &format!("{camera}{}{recorder}", snapshot("live")));
    folder.succeed(&["run", "record.toml", "--framesets", "10"]);
    let whole = folder.succeed(&["recording", "verify", "rig.mcap"]);
    assert_eq!(whole, "front: 10 intact framesets, 0 missing\nrig.mcap: OK\n");
    let replay = "[camera.front]\ndriver = \"replay\"\noptions = { file = \"rig.mcap\", paced = false }\n";
    folder.write("replay.toml", &format!("{replay}{}", snapshot("replayed")));
    folder.succeed(&["run", "replay.toml"]);
    folder.succeed(&["recording", "export", "rig.mcap", "-o", "exported"]);

    let read = |path: String| std::fs::read_to_string(folder.path().join(path)).ok();
    let mut lines = [0, 0];
    for sequence in 0..10 {
        for (stream, lines) in ["accel", "gyro"].into_iter().zip(&mut lines) {
            let live = read(format!("live/front-{sequence:06}-{stream}.csv"));
            assert_eq!(read(format!("replayed/front-{sequence:06}-{stream}.csv")), live);
            assert_eq!(read(format!("exported/front/{stream}/{sequence:06}.csv")), live);
            *lines += live.map_or(0, |text| text.lines().count() - 1);
        }
    }
    // In a tenth of a second, including the first sample of each.
    assert_eq!(lines, [7, 41]);
}
