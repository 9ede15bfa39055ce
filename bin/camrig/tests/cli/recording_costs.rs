//! Measures the cost of recording six cameras in real time; useful in release builds only.

use serde_json::Value;

use crate::program::Test;

const NAMES: [&str; 6] = ["front", "rear", "left", "right", "top", "wrist"];

/// Run by `just bench-record`.
#[test]
#[ignore = "a measurement, useful in release builds only"]
fn six_cameras() {
    for compression in ["none", "zstd"] {
        six_cameras_with(compression);
    }
}

fn six_cameras_with(compression: &str) {
    let file = format!("/dev/shm/camrig-six-{}.mcap", std::process::id());
    let options = "{ depth = \"848x480@30\", color = \"848x480@30\" }";
    let camera = |name| format!("[camera.{name}]\ndriver = \"synthetic\"\noptions = {options}\n\n");
    let cameras: String = NAMES.into_iter().map(camera).collect();
    let recorder = format!(
        "[processor.recorder]\nkind = \"record\"\ninputs = {NAMES:?}\nqueue = 8\n\
         options = {{ file = \"{file}\", color = \"jpeg\", compression = \"{compression}\" }}\n"
    );
    let test = Test::new().topology(format!("placement = \"multi-process\"\n\n{cameras}{recorder}"));
    let mut test = test.args(["run", "t.toml", "--for", "10s", "--report", "report.json"]);
    let (stdout, stderr, status) = test.output();
    test.set_args(&["recording", "verify", &file]);
    let verified = test.output();
    let bytes = std::fs::metadata(&file).map_or(0, |metadata| metadata.len());
    let _ = std::fs::remove_file(&file);
    assert_eq!(status, Some(0), "{stdout}{stderr}");
    // The recording may have gaps, but has to contain them.
    assert_eq!(verified.2, Some(0), "{}{}", verified.0, verified.1);
    let report = std::fs::read_to_string(test.folder().join("report.json")).unwrap();
    let report: Value = serde_json::from_str(&report).unwrap();
    let sum = |list: &str, key: &str| -> f64 {
        report[list].as_array().unwrap().iter().map(|entry| entry[key].as_f64().unwrap()).sum()
    };
    let produced = sum("links", "produced");
    let counts = verified.0.lines().filter_map(|line| line.split_once(" intact framesets"));
    let recorded: f64 =
        counts.map(|(start, _)| start.split(' ').next_back().unwrap().parse::<f64>().unwrap()).sum();
    let processes = report["processes"].as_array().unwrap();
    let recorder = processes.iter().find(|process| process["name"] == "recorder").unwrap();
    let millis = |seconds: f64| seconds * 1e3 / produced;
    println!(
        "six cameras of 848x480@30, color in JPEG, compression {compression}: {recorded} of {produced} framesets \
         recorded, {:.0} kB each",
        bytes as f64 / 1e3 / recorded,
    );
    println!(
        "processor time of a frameset: {:.2} ms in the recorder, {:.2} ms in the rig, its synthetic cameras included",
        millis(recorder["cpu_seconds"].as_f64().unwrap()),
        millis(sum("processes", "cpu_seconds")),
    );
}
