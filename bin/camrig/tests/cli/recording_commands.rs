//! Tests of the commands on recordings, with their complete output: `record`, `replay`, and those of `recording`.

use crate::program::Test;
use crate::recording::Folder;

/// Two cameras.
const TWO_CAMERAS: &str = r#"
[camera.front]
driver = "synthetic"
options = { depth = "64x48@300", color = "64x48@300", model = "any", seed = 1 }

[camera.top]
driver = "synthetic"
options = { depth = "64x48@300", color = "off", model = "any", seed = 2 }
"#;

/// Returns a processor that reads both cameras and drops nothing.
fn of_both(name: &str, kind: &str, options: &str) -> String {
    format!(
        "
[processor.{name}]
kind = \"{kind}\"
inputs = [\"front\", \"top\"]
overflow = \"block\"
options = {{ {options} }}
"
    )
}

/// Records ten framesets of each of the two cameras into `rig.mcap`.
fn two_cameras() -> Folder {
    let mut folder = Folder::new();
    let recorder =
        of_both("recorder", "record", "file = \"rig.mcap\", color = \"jpeg\", compression = \"none\"");
    // They wait for the recorder, so that none is missing.
    let cameras = TWO_CAMERAS.replace("model", "paced = false, model");
    folder.write("record.toml", &format!("{cameras}{recorder}"));
    assert_eq!(folder.succeed(&["run", "record.toml", "--framesets", "10"]), "");
    folder
}

/// Masks the numbers that differ from run to run: sizes, times and rates.
fn masked(text: &str) -> String {
    let word = |word: &str, next: Option<&&str>| {
        let unit = next.is_some_and(|next| ["MB", "s", "Hz"].contains(&next.trim_end_matches(',')));
        if unit { "_".to_owned() } else { word.to_owned() }
    };
    let line = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        let masked = words.iter().enumerate().map(|(index, text)| word(text, words.get(index + 1)));
        masked.collect::<Vec<_>>().join(" ") + "\n"
    };
    text.lines().map(line).collect()
}

/// Returns the numbers of recorded and of missing framesets of `front`.
pub(crate) fn counts(verified: &str) -> (u64, u64) {
    let line = verified.lines().find_map(|line| line.strip_prefix("front: ")).unwrap();
    let numbers: Vec<u64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
    (numbers[0], numbers[1])
}

#[test]
fn commands_on_an_intact_recording() {
    let mut folder = two_cameras();
    assert_eq!(
        masked(&folder.succeed(&["recording", "info", "rig.mcap"])),
        "\
rig.mcap: 2 cameras, 20 framesets, 0 missing, _ MB, with an index
front: Synthetic, serial 000000000001, depth unit 0.001 m
  color 64x48@300 rgb8 from jpeg, depth 64x48@300 z16
  10 framesets, 0 missing, _ s, _ Hz, _ MB
top: Synthetic, serial 000000000002, depth unit 0.001 m
  depth 64x48@300 z16
  10 framesets, 0 missing, _ s, _ Hz, _ MB
"
    );
    assert_eq!(
        folder.succeed(&["recording", "verify", "rig.mcap"]),
        "\
front: 10 intact framesets, 0 missing
top: 10 intact framesets, 0 missing
rig.mcap: OK
"
    );
    assert_eq!(folder.succeed(&["recording", "repair", "rig.mcap"]), "rig.mcap: intact, nothing to repair\n");
    assert_eq!(
        folder.succeed(&[
            "recording",
            "export",
            "rig.mcap",
            "-o",
            "images",
            "--every",
            "5",
            "--camera",
            "front"
        ]),
        "front: 2 framesets in images/front\n"
    );
    let ply = ["recording", "export", "rig.mcap", "-o", "points", "--format", "ply", "--every", "10"];
    assert_eq!(folder.succeed(&ply), "front: 1 frameset in points/front\ntop: 1 frameset in points/top\n");
    for (camera, colored) in [("front", true), ("top", false)] {
        let file = std::fs::read(folder.path().join(format!("points/{camera}/points/000000.ply"))).unwrap();
        let header = String::from_utf8_lossy(&file[..250]).into_owned();
        assert!(header.starts_with("ply\n") && header.contains("property uchar red") == colored, "{header}");
    }
    let lines = std::fs::read_to_string(folder.path().join("images/front/framesets.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 2);
    let image = std::fs::File::open(folder.path().join("images/front/depth/000005.png")).unwrap();
    let mut image = png::Decoder::new(std::io::BufReader::new(image)).read_info().unwrap();
    assert_eq!((image.info().width, image.info().height), (64, 48));
    assert_eq!(image.info().bit_depth, png::BitDepth::Sixteen);
    let mut depth = vec![0; image.output_buffer_size().unwrap()];
    image.next_frame(&mut depth).unwrap();
    // PNG stores the high byte first, the array the low byte.
    depth.as_chunks_mut::<2>().0.iter_mut().for_each(|pair| pair.reverse());
    folder.succeed(&[
        "recording",
        "export",
        "rig.mcap",
        "-o",
        "arrays",
        "--format",
        "npy",
        "--camera",
        "front",
    ]);
    let array = std::fs::read(folder.path().join("arrays/front/depth/000005.npy")).unwrap();
    let (header, values) = array.split_at(array.len() - depth.len());
    assert_eq!(values, depth);
    assert!(header.starts_with(b"\x93NUMPY\x01\x00") && header.len() % 64 == 0);
    let header = String::from_utf8_lossy(header).into_owned();
    assert!(header.contains("{'descr': '<u2', 'fortran_order': False, 'shape': (48, 64), }"), "{header}");
}

#[test]
fn commands_on_a_truncated_recording() {
    let mut folder = two_cameras();
    let bytes = std::fs::read(folder.path().join("rig.mcap")).unwrap();
    // Without the index and the end of the last chunk.
    std::fs::write(folder.path().join("torn.mcap"), &bytes[..bytes.len() * 9 / 10]).unwrap();
    let info = folder.succeed(&["recording", "info", "torn.mcap"]);
    assert!(info.contains("MB, without an index: `recording repair` restores it\nbytes "), "{info}");
    let (stdout, stderr, status) = folder.run(&["recording", "verify", "torn.mcap"]);
    assert_eq!(status, Some(65), "{stdout}{stderr}");
    let whole = stdout.replace("\nfront", "");
    let errors: Vec<_> = stderr.lines().collect();
    assert_eq!(errors[0], "error: `torn.mcap`: no index: the recorder did not close the file");
    assert!(errors[1].starts_with("error: `torn.mcap`: bytes "), "{stderr}");
    assert_eq!(errors.len(), 2, "{stderr}");
    let repaired = folder.succeed(&["recording", "repair", "torn.mcap"]);
    assert!(repaired.starts_with("torn-repaired.mcap: "), "{repaired}");
    let verified = folder.succeed(&["recording", "verify", "torn-repaired.mcap"]);
    assert_eq!(verified, format!("{whole}torn-repaired.mcap: OK\n"));
    let (stdout, stderr, status) = folder.run(&["recording", "repair", "torn.mcap"]);
    assert_eq!(
        (stdout.as_str(), stderr.as_str(), status),
        ("", "error: cannot write `torn-repaired.mcap`: File exists (os error 17)\n", Some(73))
    );
}

#[test]
fn commands_refuse_files_that_are_not_recordings() {
    let mut folder = Folder::new();
    folder.write("text.mcap", "a text");
    for (args, error) in [
        (
            ["recording", "info", "none.mcap"],
            "`none.mcap` cannot be read: No such file or directory (os error 2)",
        ),
        (["recording", "verify", "text.mcap"], "`text.mcap` is not an MCAP file"),
        (["recording", "repair", "text.mcap"], "`text.mcap` is not an MCAP file"),
    ] {
        let (stdout, stderr, status) = folder.run(&args);
        assert_eq!(
            (stdout.as_str(), stderr, status),
            ("", format!("error: {error}\n"), Some(66)),
            "{args:?}"
        );
    }
}

#[test]
fn the_commands_record_and_replay() {
    let mut folder = two_cameras();
    let (stdout, stderr, status) = folder.run(&["record", "record.toml", "-o", "rig.mcap"]);
    assert_eq!(
        (stdout.as_str(), stderr.as_str(), status),
        ("", "error: `rig.mcap` exists already; choose another name\n", Some(73))
    );
    let (stdout, stderr, status) = folder.run(&["record", "record.toml", "-o", "no/such/rig.mcap"]);
    assert_eq!(
        (stdout.as_str(), stderr.as_str(), status),
        (
            "",
            "error: cannot create `no/such/rig.mcap`: there is no folder `no/such`; create it first\n",
            Some(73)
        )
    );
    assert!(!folder.path().join("no").exists());
    folder.write("cameras.toml", TWO_CAMERAS);
    folder.succeed(&["record", "cameras.toml", "-o", "short.mcap", "--framesets", "10"]);
    // On a busy machine a camera may be faster than the recorder: then the recording contains the gap.
    let verified = folder.succeed(&["recording", "verify", "short.mcap"]);
    let (framesets, missing) = counts(&verified);
    assert_eq!(framesets + missing, 10, "{verified}");
    let stats = folder.succeed(&["replay", "rig.mcap", "--fast"]);
    assert!(stats.starts_with("stats: front ") && stats.contains("\nstats: top "), "{stats}");
    let check = of_both("check", "verify", "digest = true, content = false");
    folder.write("check.toml", &format!("{TWO_CAMERAS}{check}"));
    let twice = [(); 2].map(|()| folder.succeed(&["replay", "rig.mcap", "check.toml", "--fast"]));
    assert_eq!(twice[0], twice[1]);
    assert!(twice[0].starts_with("verify: front: 10 framesets, digest "), "{}", twice[0]);
    let (stdout, stderr, status) = folder.run(&["replay", "rig.mcap", "check.toml", "--speed", "0"]);
    assert_eq!((stdout.as_str(), status), ("", Some(64)), "{stderr}");
    let named = "invalid value '0' for '--speed <FACTOR>': expected a number, 0.001 to 1000";
    assert!(stderr.contains(named), "{stderr}");
}

#[test]
fn wrong_arguments_are_named_and_no_file_is_read_without_end() {
    let mut folder = two_cameras();
    for (arguments, message, code) in [
        (&["record", "/dev/zero", "-o", "x.mcap"][..], "`/dev/zero` is larger than 1024 KiB", 66),
        (&["replay", "rig.mcap", "/dev/zero"], "`/dev/zero` is larger than 1024 KiB", 66),
        (
            &["record", "cameras.toml", "-o", "x.bag"],
            "'--output <FILE>': the name of a recording ends with .mcap",
            64,
        ),
        (&["record", "cameras.toml", "-o", "x.mcap", "--color", "png"], "'--color <raw|jpeg>'", 64),
        (
            &["record", "cameras.toml", "-o", "x.mcap", "--compression", "gz"],
            "'--compression <none|lz4|zstd>'",
            64,
        ),
        (
            &["replay", "rig.mcap", "--from=-1"],
            "'--from <SECONDS>': expected a number of seconds, 0 or more",
            64,
        ),
        (
            &["replay", "rig.mcap", "--from=2", "--to=1"],
            "`--to` is 1; it must be more than `--from`, which is 2",
            64,
        ),
    ] {
        let (stdout, stderr, status) = folder.run(arguments);
        assert_eq!((stdout.as_str(), status), ("", Some(code)), "{stderr}");
        assert!(stderr.contains(message), "{arguments:?}: {stderr}");
        assert!(!folder.path().join("x.mcap").exists());
    }
}

/// With less memory than a file without an end would take.
#[test]
fn a_topology_without_an_end_is_not_read_to_the_end() {
    let mut test = Test::new();
    let large = "`/dev/zero` is larger than 1024 KiB";
    let other = "`/dev/zero` is not an MCAP file";
    for (args, reason, code) in [
        (&["check", "/dev/zero"][..], large, 78),
        (&["run", "/dev/zero"], large, 78),
        (&["record", "/dev/zero", "-o", "x.mcap"], large, 66),
        (&["recording", "info", "/dev/zero"], other, 66),
        (&["replay", "/dev/zero"], other, 66),
    ] {
        test.set_args(args);
        let (stdout, stderr, found) = test.output_of("ulimit -v 1000000; exec \"$@\"");
        assert_eq!((stdout.as_str(), found), ("", Some(code)), "{args:?}: {stderr}");
        assert!(stderr.ends_with(&format!("{reason}\n")), "{args:?}: {stderr}");
    }
}

#[test]
fn a_fast_replay_loses_nothing() {
    let mut folder = two_cameras();
    let check = of_both("check", "verify", "content = false").replace("overflow = \"block\"", "queue = 1");
    folder.write("check.toml", &format!("{TWO_CAMERAS}{check}"));
    let report = folder.path().join("report.json");
    let report = report.to_str().unwrap();
    folder.succeed(&["replay", "rig.mcap", "check.toml", "--fast", "--report", report]);
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    for link in report["links"].as_array().unwrap() {
        assert_eq!(link["dropped"], serde_json::json!({}), "{link}");
        assert_eq!(link["delivered"], link["produced"], "{link}");
    }
}

#[test]
fn the_demo_is_recorded_and_replayed() {
    let mut folder = Folder::new();
    folder.succeed(&["record", "demo", "-o", "demo.mcap", "--framesets", "2"]);
    let verified = folder.succeed(&["recording", "verify", "demo.mcap"]);
    let (framesets, missing) = counts(&verified);
    // A line for each camera, and one for the file.
    assert_eq!((framesets + missing, verified.lines().count()), (2, 7), "{verified}");
    folder.succeed(&["replay", "demo.mcap", "demo", "--fast"]);
}

#[test]
fn a_recorder_prints_its_framesets_and_its_file() {
    let mut folder = two_cameras();
    folder.write("cameras.toml", TWO_CAMERAS);
    for (args, place) in [
        (["run", "record.toml", "--framesets", "10"].as_slice(), "rig-2.mcap"),
        (&["record", "cameras.toml", "-o", "new.mcap", "--framesets", "10"], "new.mcap"),
    ] {
        let (stdout, stderr, status) = folder.run(args);
        assert_eq!((stderr.as_str(), status), ("", Some(0)), "{args:?}: {stdout}");
        let bytes = stdout.split(", ").nth(2).and_then(|text| text.split_once(" in ")).unwrap().0;
        let numbers: Vec<u64> = stdout.split(' ').filter_map(|word| word.parse().ok()).collect();
        let (framesets, missing) = (numbers[0], numbers[2]);
        let expected =
            format!("record: {framesets} framesets of 2 cameras, {missing} missing, {bytes} in {place}\n");
        assert_eq!(stdout, expected, "{args:?}");
        // On a busy machine, cameras that do not wait are faster than the recorder.
        assert!(framesets + missing >= 20 && (place == "new.mcap" || missing == 0), "{stdout}");
        assert!(bytes.ends_with(" MB"), "{bytes}");
    }
}

#[test]
fn a_replay_without_framesets_is_reported() {
    let mut folder = Folder::new();
    let camera = TWO_CAMERAS.split("[camera.top]").next().unwrap().replace("@300", "@6");
    folder.write("camera.toml", &camera);
    folder.succeed(&["record", "camera.toml", "-o", "rig.mcap", "--framesets", "2"]);
    // The second frameset comes 167 ms after the first one.
    let (_, stderr, status) = folder.run(&["replay", "rig.mcap", "--from", "0.001", "--to", "0.0011"]);
    let (_, said) = stderr.split_once("WARN  ").unwrap();
    let nothing = "`rig.mcap` has no frameset of camera `front` in the part that is played\n";
    assert_eq!((said, status), (format!("front/front: {nothing}").as_str(), Some(0)), "{stderr}");
    // A recording that ended before its first frameset.
    folder.write("late.toml", &camera.replace("options = {", "options = { start_delay = 3_600_000,"));
    folder.succeed(&["record", "late.toml", "-o", "late.mcap", "--for", "100ms"]);
    let error = "error: `late.mcap` has no cameras, so there is nothing to replay\n";
    assert_eq!(folder.run(&["replay", "late.mcap"]), (String::new(), error.to_owned(), Some(66)));
    let error = error.replace("replay", "export");
    for format in ["png", "ros2"] {
        let export = ["recording", "export", "late.mcap", "-o", "out", "--format", format];
        assert_eq!(folder.run(&export), (String::new(), error.clone(), Some(66)));
        assert!(!folder.path().join("out").exists());
    }
}

#[test]
fn an_export_names_the_file_that_is_in_its_way() {
    let mut folder = two_cameras();
    std::fs::create_dir(folder.path().join("out")).unwrap();
    folder.write("out/front", "");
    let (stdout, stderr, status) = folder.run(&["recording", "export", "rig.mcap", "-o", "out"]);
    let error = "error: cannot write into `out`: `out/front`: File exists (os error 17)\n";
    assert_eq!((stdout.as_str(), stderr.as_str(), status), ("", error, Some(73)));
}

#[test]
fn a_replayed_camera_needs_its_recording() {
    let folder = two_cameras();
    let recording = folder.path().join("rig.mcap");
    for (options, error, status) in [
        (
            format!("file = '{}', camera = 'left'", recording.display()),
            format!("`{}` has no camera `left`; expected one of: `front`, `top`", recording.display()),
            69,
        ),
        ("file = 'none.mcap'".to_owned(), "`none.mcap` cannot be read: No such file".to_owned(), 69),
    ] {
        let test = Test::new()
            .topology(format!("[camera.left]\ndriver = 'replay'\noptions = {{ {options} }}\n"))
            .args(["check", "t.toml"]);
        let (stdout, stderr, found) = test.output();
        assert_eq!((stdout.as_str(), found), ("", Some(status)), "{stderr}");
        assert!(stderr.contains(&error), "{stderr}");
    }
}
