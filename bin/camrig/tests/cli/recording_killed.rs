//! Kills a hundred recorders at random moments: every intact frameset is recovered.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::program::{Test, program};
use crate::recording_commands::counts;

/// The environment variable with the seed, which is printed.
const SEED: &str = "CAMRIG_KILL_SEED";

const KILLS: u64 = 100;

/// The opcode of an MCAP chunk, and the length of the magic bytes at the start.
const CHUNK: u8 = 6;
const MAGIC_BYTES: usize = 8;

/// Records four framesets to be replayed repeatedly, so that the recorder is the bottleneck.
const SOURCE: &str = r#"
[camera.front]
driver = "synthetic"
options = { paced = false, depth = "320x240@30", color = "320x240@30", model = "any" }

[processor.recorder]
kind = "record"
inputs = ["front"]
overflow = "block"
options = { file = "source.mcap" }
"#;

const RIG: &str = r#"
placement = "in-process"

[camera.front]
driver = "replay"
options = { file = "source.mcap", paced = false, repeat = true }

[processor.recorder]
kind = "record"
inputs = ["front"]
overflow = "block"
options = { file = "rig.mcap", memory_mib = 16 }
"#;

#[test]
fn intact_framesets_of_a_hundred_killed_recorders_are_recovered() {
    let seed = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
    });
    println!("{SEED}={seed}");
    let mut draw = random_numbers(seed);
    let mut test = Test::new().topology(SOURCE).args(["run", "t.toml", "--framesets", "4"]);
    let (stdout, stderr, status) = test.output();
    assert_eq!(status, Some(0), "{stdout}{stderr}");
    std::fs::write(test.folder().join("t.toml"), RIG).unwrap();
    let recording = test.folder().join("rig.mcap");
    let mut torn = 0;
    for kill in 0..KILLS {
        let mut rig = program()
            .args(["run", "t.toml"])
            .current_dir(test.folder())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The smallest size is before the first frameset.
        let size_bytes = draw(4 << 20);
        wait_for_size(&recording, 1 + size_bytes);
        rig.kill().unwrap();
        rig.wait().unwrap();
        let left = Left::of(&std::fs::read(&recording).unwrap());
        torn += u64::from(left.torn);
        let (stdout, stderr, status) = run(&mut test, &["recording", "repair", "rig.mcap"]);
        assert_eq!((stderr.as_str(), status), ("", Some(0)), "kill {kill} at {size_bytes}: {stdout}");
        let (verified, stderr, status) = run(&mut test, &["recording", "verify", "rig-repaired.mcap"]);
        assert_eq!((stderr.as_str(), status), ("", Some(0)), "kill {kill} at {size_bytes}: {verified}");
        // The first chunk describes the camera, every other one has a frameset.
        let expected = left.chunks.saturating_sub(1);
        let found = if expected == 0 { (0, 0) } else { counts(&verified) };
        assert_eq!(found, (expected, 0), "kill {kill} at {size_bytes}: {verified}");
        std::fs::remove_file(&recording).unwrap();
        std::fs::remove_file(test.folder().join("rig-repaired.mcap")).unwrap();
    }
    println!("{torn} of {KILLS} kills left an incomplete record");
}

fn run(test: &mut Test, args: &[&str]) -> (String, String, Option<i32>) {
    test.set_args(args);
    test.output()
}

/// The content of a killed recorder's file, by the lengths of its records alone.
#[derive(Default)]
struct Left {
    /// Number of intact chunks.
    chunks: u64,
    /// Whether the file ends inside a record.
    torn: bool,
}

impl Left {
    fn of(file: &[u8]) -> Self {
        let mut left = Self::default();
        let mut rest = file.get(MAGIC_BYTES..).unwrap_or_default();
        while let Some((header, content)) = rest.split_at_checked(9) {
            let length = u64::from_le_bytes(header[1..].try_into().unwrap());
            let Some(next) = usize::try_from(length).ok().and_then(|length| content.get(length..)) else {
                break;
            };
            left.chunks += u64::from(header[0] == CHUNK);
            rest = next;
        }
        left.torn = !rest.is_empty();
        left
    }
}

/// Returns a generator of pseudo-random numbers below a bound.
fn random_numbers(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

/// Waits until a file has at least this size.
fn wait_for_size(file: &Path, bytes: u64) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while std::fs::metadata(file).map_or(0, |metadata| metadata.len()) < bytes {
        assert!(Instant::now() < deadline, "{} does not grow to {bytes} bytes", file.display());
        std::thread::sleep(Duration::from_micros(200));
    }
}
