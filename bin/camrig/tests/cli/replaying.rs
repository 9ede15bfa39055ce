//! Tests that a replay delivers every recorded frameset: its matches, its repetitions, its speed.

use serde_json::Value;

use crate::recording::Folder;

/// Three cameras whose exposures are a little apart, one of them at half the rate, two with lost framesets.
const CAMERAS: &str = "
[camera.left]
driver = 'synthetic'
options = { model = 'any', seed = 1, paced = false, color = 'off', depth = '64x48@30', drop_rate = 0.05 }

[camera.right]
driver = 'synthetic'
options = { model = 'any', seed = 2, paced = false, color = 'off', depth = '64x48@30', drop_rate = 0.05, clock_skew = 9.0 }

[camera.top]
driver = 'synthetic'
options = { model = 'any', seed = 3, paced = false, color = '32x24@15', depth = '64x48@15', clock_skew = -3.0 }
";

const NAMES: [&str; 3] = ["left", "right", "top"];

/// Returns the processor `match` with a recorder that reads it.
fn matched(file: &str) -> String {
    format!(
        "
[processor.together]
kind = 'match'
inputs = ['left', 'right', 'top']
overflow = 'block'
match = {{ window_millis = 14, clock = 'hardware' }}

[processor.recorder]
kind = 'record'
inputs = ['together']
overflow = 'block'
options = {{ file = '{file}' }}
"
    )
}

/// Returns a replayed camera.
fn replayed(name: &str, options: &str) -> String {
    format!("\n[camera.{name}]\ndriver = 'replay'\noptions = {{ {options} }}\n")
}

/// Returns a recorder that drops no frameset.
fn recorder(inputs: &str, file: &str) -> String {
    format!(
        "\n[processor.all]\nkind = 'record'\ninputs = {inputs}\noverflow = 'block'\noptions = {{ file = '{file}' }}\n"
    )
}

/// Returns a recorded camera's framesets in order, without their arrival times.
fn framesets(folder: &mut Folder, file: &str, camera: &str) -> Vec<Value> {
    let output = format!("images/{file}/{camera}");
    std::fs::create_dir_all(folder.path().join(&output)).unwrap();
    folder.succeed(&["recording", "export", file, "-o", &output, "--format", "npy", "--camera", camera]);
    let lines = folder.path().join(output).join(camera).join("framesets.jsonl");
    let lines = std::fs::read_to_string(lines).unwrap();
    let without_arrival = |line| {
        let mut frameset: Value = serde_json::from_str(line).unwrap();
        frameset.as_object_mut().unwrap().remove("arrival_nanos").unwrap();
        frameset
    };
    lines.lines().map(without_arrival).collect()
}

fn number(frameset: &Value, place: &str) -> u64 {
    frameset.pointer(place).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {place} in {frameset}"))
}

#[test]
fn a_replay_gives_the_recorded_matches() {
    let mut folder = Folder::new();
    let cameras = recorder("['left', 'right', 'top']", "rig.mcap");
    folder.write("record.toml", &format!("{CAMERAS}{cameras}{}", matched("matched.mcap")));
    folder.succeed(&["run", "record.toml", "--framesets", "120"]);
    let matches = |folder: &mut Folder, file: &str| {
        NAMES.map(|name| framesets(folder, file, &format!("together/{name}")))
    };
    let original = matches(&mut folder, "matched.mcap");
    assert!(original[0].len() > 40, "{} matches", original[0].len());
    for framesets in &original {
        let numbers = framesets.iter().map(|frameset| number(frameset, "/matched"));
        assert!(numbers.eq(0..original[0].len() as u64));
    }
    for at in 0..original[0].len() {
        let times = original.each_ref().map(|framesets| number(&framesets[at], "/frames/0/timestamp_nanos"));
        let spread_nanos = times.iter().max().unwrap() - times.iter().min().unwrap();
        assert!(spread_nanos <= 14_000_000, "match {at}: {times:?}");
    }
    let unmatched = framesets(&mut folder, "rig.mcap", "left");
    assert!(unmatched.iter().all(|frameset| frameset.get("matched").is_none()));

    let cameras = NAMES.map(|name| replayed(name, "file = 'rig.mcap', paced = false")).concat();
    for placement in ["in-process", "multi-process"] {
        let file = format!("{placement}.mcap");
        folder.write("replay.toml", &format!("{cameras}{}", matched(&file)));
        folder.succeed(&["run", "replay.toml", "--placement", placement]);
        assert_eq!(matches(&mut folder, &file), original, "{placement}");
    }
    // Some actors share a process, some do not.
    let mixed = format!("{cameras}{}", matched("mixed.mcap"))
        .replace("[camera.right]\n", "[camera.right]\nprocess = 'eyes'\n")
        .replace("[camera.top]\n", "[camera.top]\nprocess = 'eyes'\n")
        .replace("kind = 'match'\n", "kind = 'match'\nprocess = 'main'\n");
    folder.write("mixed.toml", &mixed);
    folder.succeed(&["run", "mixed.toml"]);
    assert_eq!(matches(&mut folder, "mixed.mcap"), original, "mixed");
}

/// The number of the match was left out of a replay before.
#[test]
fn a_replayed_frameset_keeps_the_number_of_its_match() {
    let mut folder = Folder::new();
    folder.write("record.toml", &format!("{CAMERAS}{}", matched("matched.mcap")));
    folder.succeed(&["run", "record.toml", "--framesets", "40"]);
    let original = framesets(&mut folder, "matched.mcap", "together/top");
    assert_eq!(number(&original[7], "/matched"), 7);
    let camera = replayed("top", "file = 'matched.mcap', camera = 'together/top', paced = false");
    for placement in ["in-process", "multi-process"] {
        let file = format!("{placement}.mcap");
        folder.write("replay.toml", &format!("{camera}{}", recorder("['top']", &file)));
        folder.succeed(&["run", "replay.toml", "--placement", placement]);
        let mut expected = original.clone();
        for (sequence, frameset) in expected.iter_mut().enumerate() {
            frameset["sequence"] = sequence.into();
        }
        assert_eq!(framesets(&mut folder, &file, "top"), expected, "{placement}");
    }
}

/// A camera whose recording starts late does not count as stalled.
#[test]
fn a_pause_in_a_recording_does_not_count_as_a_stall() {
    let mut folder = Folder::new();
    let camera = |name: &str, more: &str| {
        format!(
            "\n[camera.{name}]\nstall_timeout_millis = 60000\ndriver = 'synthetic'\n\
             options = {{ model = 'any', color = 'off', depth = '16x12@10', frames = 5, {more} }}\n"
        )
    };
    let cameras = format!("{}{}", camera("left", "seed = 1"), camera("late", "seed = 2, start_delay = 5000"));
    folder.write("record.toml", &format!("{cameras}{}", recorder("['left', 'late']", "rig.mcap")));
    folder.succeed(&["run", "record.toml"]);
    let late = replayed("late", "file = 'rig.mcap'").replace("driver", "stall_timeout_millis = 2000\ndriver");
    folder.write("replay.toml", &format!("{late}{}", recorder("['late']", "again.mcap")));
    folder.succeed(&["run", "replay.toml", "--report", "report.json"]);
    let report = std::fs::read(folder.path().join("report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let late = &report["actors"][0];
    assert_eq!((&late["restarts"], &late["produced"]), (&0.into(), &5.into()), "{late}");
}

/// Records ten framesets of the camera `left` into `rig.mcap`, and returns them.
fn ten_framesets() -> (Folder, Vec<Value>) {
    let mut folder = Folder::new();
    let camera = CAMERAS.split("\n\n").next().unwrap().replace(", drop_rate = 0.05", "");
    folder.write("record.toml", &format!("{camera}{}", recorder("['left']", "rig.mcap")));
    folder.succeed(&["run", "record.toml", "--framesets", "10"]);
    let recorded = framesets(&mut folder, "rig.mcap", "left");
    assert_eq!(recorded.len(), 10);
    (folder, recorded)
}

#[test]
fn each_repetition_gives_the_same_framesets() {
    let (mut folder, recorded) = ten_framesets();
    for pace in ["paced = false", "speed = 1000.0"] {
        let camera = replayed("left", &format!("file = 'rig.mcap', repeat = true, {pace}"));
        let file = format!("{}.mcap", pace.split(' ').next().unwrap());
        folder.write("repeat.toml", &format!("{camera}{}", recorder("['left']", &file)));
        folder.succeed(&["run", "repeat.toml", "--framesets", "25"]);
        let mut expected: Vec<_> = recorded.iter().cycle().take(25).cloned().collect();
        for (sequence, frameset) in expected.iter_mut().enumerate() {
            frameset["sequence"] = sequence.into();
        }
        assert_eq!(framesets(&mut folder, &file, "left"), expected, "{pace}");
    }
}

/// Changes a byte of the frameset of a recording without compression.
fn damage(folder: &Folder, file: &str, sequence: u64) {
    let file = folder.path().join(file);
    let mut bytes = std::fs::read(&file).unwrap();
    let record = format!("\"sequence\":{sequence},");
    let found = bytes.windows(record.len()).position(|window| window == record.as_bytes());
    bytes[found.unwrap_or_else(|| panic!("no frameset {sequence}")) + 1] ^= 1;
    std::fs::write(file, bytes).unwrap();
}

#[test]
fn a_frameset_that_cannot_be_read_is_lost_for_that_reason() {
    let (mut folder, recorded) = ten_framesets();
    for sequence in [4, 5, 9] {
        damage(&folder, "rig.mcap", sequence);
    }
    let camera = replayed("left", "file = 'rig.mcap', paced = false");
    folder.write("replay.toml", &format!("{camera}{}", recorder("['left']", "again.mcap")));
    let (_, stderr, code) = folder.run(&["run", "replay.toml", "--report", "report.json"]);
    assert_eq!((code, stderr.lines().count()), (Some(0), 3), "{stderr}");
    assert!(stderr.lines().all(|line| line.contains("`rig.mcap` is damaged at byte")), "{stderr}");
    let report = std::fs::read(folder.path().join("report.json")).unwrap();
    let report: Value = serde_json::from_slice(&report).unwrap();
    let left = &report["actors"][0];
    assert_eq!(left["lost_by_reason"], serde_json::json!({ "unreadable": 3 }));
    assert_eq!((&left["lost"], &left["produced"]), (&3.into(), &7.into()));
    let numbers = |framesets: &[Value]| -> Vec<Value> {
        framesets.iter().map(|frameset| frameset["frames"][0]["number"].clone()).collect()
    };
    let left: Vec<Value> = [0, 1, 2, 3, 6, 7, 8].map(|index: usize| recorded[index].clone()).to_vec();
    assert_eq!(numbers(&framesets(&mut folder, "again.mcap", "left")), numbers(&left));
    // The recording lists the framesets that it lacks, and so does a recording of it.
    let camera = replayed("left", "file = 'again.mcap', paced = false");
    folder.write("third.toml", &format!("{camera}{}", recorder("['left']", "third.mcap")));
    let (_, stderr, code) = folder.run(&["run", "third.toml"]);
    let lacks = "`left` is incomplete: its source lacked 3 framesets, which could not be read";
    assert_eq!((stderr.contains(&format!("`again.mcap`: {lacks}")), code), (true, Some(0)), "{stderr}");
    for file in ["again.mcap", "third.mcap"] {
        for command in ["info", "verify"] {
            let stdout = folder.succeed(&["recording", command, file]);
            assert_eq!(stdout.matches(&format!("{lacks}\n")).count(), 1, "{command} {file}: {stdout}");
        }
    }
}

#[test]
fn a_recording_of_a_camera_that_failed_is_incomplete() {
    let mut folder = Folder::new();
    let camera = "[camera.left]\ndriver = 'synthetic'\nrestart = { max = 0 }\n\
                  options = { depth = '64x48@100', color = 'off', model = 'any', unplug_at = 0.2, seed = 1 }\n";
    folder.write("record.toml", &format!("{camera}{}", recorder("['left']", "rig.mcap")));
    let (_, _, code) = folder.run(&["run", "record.toml"]);
    assert_eq!(code, Some(69));
    let lacks = "`left` is incomplete: its camera failed: the device with serial 000000000001 was unplugged, as \
                 option `unplug_at` asks\n";
    let stdout = folder.succeed(&["recording", "info", "rig.mcap"]);
    assert!(stdout.contains(lacks), "{stdout}");
}

#[test]
fn every_frameset_arrives_at_any_speed() {
    let (mut folder, recorded) = ten_framesets();
    for speed in ["0.9", "1000.0"] {
        let file = format!("{speed}.mcap");
        let camera = replayed("left", &format!("file = 'rig.mcap', speed = {speed}"));
        folder.write("speed.toml", &format!("{camera}{}", recorder("['left']", &file)));
        folder.succeed(&["run", "speed.toml"]);
        assert_eq!(framesets(&mut folder, &file, "left"), recorded, "{speed}");
    }
}

#[test]
fn a_player_that_waits_for_its_time_is_not_stalled() {
    let mut folder = Folder::new();
    let camera = "[camera.left]\ndriver = 'synthetic'\noptions = { depth = '64x48@30', color = 'off', model = 'any' }\n";
    folder.write("record.toml", &format!("{camera}{}", recorder("['left']", "rig.mcap")));
    folder.succeed(&["run", "record.toml", "--framesets", "2"]);
    let recorded = framesets(&mut folder, "rig.mcap", "left");
    // The camera is silent for 5 s between two framesets, more than twice its time-out. A delay by a busy machine must not
    // count as a stall.
    let camera = replayed("left", "file = 'rig.mcap', speed = 0.00667")
        .replace("[camera.left]", "[camera.left]\nstall_timeout_millis = 2000");
    folder.write("slow.toml", &format!("{camera}{}", recorder("['left']", "again.mcap")));
    folder.succeed(&["run", "slow.toml", "--report", "report.json"]);
    assert_eq!(framesets(&mut folder, "again.mcap", "left"), recorded);
    let report: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("report.json")).unwrap()).unwrap();
    let left = &report["actors"][0];
    assert_eq!((&left["restarts"], &left["produced"]), (&0.into(), &2.into()), "{left}");
}
