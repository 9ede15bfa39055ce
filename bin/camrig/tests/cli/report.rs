//! Tests of the report, whose fields other programs rely on.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::program::Test;

/// Runs the demo's topology with `--framesets 5` and more `args`, and returns the report. The stall time-out is
/// disabled, because a loaded machine may take long for a frameset.
#[track_caller]
fn report_of_demo(args: &[&str]) -> Value {
    let run = ["run", "t.toml", "--framesets", "5", "--report", "report.json"];
    let driver = "driver = \"synthetic\"\n";
    let without_timeout = format!("{driver}stall_timeout_millis = 0\n");
    let topology = include_str!("../../src/demo.toml").replace(driver, &without_timeout);
    let test = Test::new().topology(topology).args(run.iter().chain(args).copied());
    let (stdout, stderr, status) = test.output();
    // No table, because stdout is not a terminal.
    assert_eq!((stderr.as_str(), status), ("", Some(0)));
    let port = stdout.strip_prefix("view: http://127.0.0.1:").and_then(|rest| rest.strip_suffix("/\n"));
    assert!(port.is_some_and(|port| port.parse::<u16>().is_ok()), "{stdout}");
    let text = std::fs::read_to_string(test.folder().join("report.json")).unwrap();
    assert!(text.ends_with("}\n"));
    serde_json::from_str(&text).unwrap()
}

const CAMERAS: [&str; 6] = ["front", "rear", "left", "right", "top", "wrist"];

fn list<'a>(report: &'a Value, key: &str) -> &'a [Value] {
    report[key].as_array().unwrap()
}

fn names<'a>(list: &'a [Value], key: &str) -> Vec<&'a str> {
    list.iter().map(|entry| entry[key].as_str().unwrap()).collect()
}

/// Returns every key with the type of its value, in alphabetical order.
fn shape(value: &Value) -> String {
    let entries = value.as_object().unwrap().iter().map(|(key, value)| {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_u64() => "count",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        format!("{key} {kind}")
    });
    let mut entries: Vec<_> = entries.collect();
    entries.sort_unstable();
    entries.join(", ")
}

/// Checks a report of the demo, in any placement.
#[track_caller]
fn check_contract(report: &Value) {
    assert_eq!(
        shape(report),
        "actors array, camrig_report count, exit string, links array, matching array, problems array, processes array, \
         seconds number, topology string"
    );
    assert_eq!(report["camrig_report"], 1);
    assert_eq!(report["topology"], "t.toml");
    assert_eq!(report["exit"], "stopped as asked");
    assert!(report["seconds"].as_f64().unwrap() > 0.0);

    let actors = list(report, "actors");
    assert_eq!(names(actors, "name"), [CAMERAS.as_slice(), &["view"]].concat());
    for actor in actors {
        let camera = actor["name"] != "view";
        let streams = if camera { ", streams array" } else { "" };
        assert_eq!(
            shape(actor),
            "changes object, copied count, errors array, lost count, lost_by_reason object, name string, process string, produced count, restarts count, \
             role string, state string"
                .to_owned()
                + streams
                + ", warned count"
        );
        assert_eq!(actor["role"], if camera { "camera" } else { "processor" });
        assert_eq!(actor["state"], "finished");
        assert_eq!(actor["produced"], if camera { 5 } else { 0 });
        assert_eq!(actor["restarts"], 0);
        assert_eq!(actor["warned"], 0);
        assert_eq!(actor["changes"], json!({ "ready": 1, "running": 1, "finished": 1 }));
        assert_eq!(actor["errors"], Value::Array(Vec::new()));
    }

    let links = list(report, "links");
    assert_eq!(names(links, "from"), CAMERAS);
    for link in links {
        assert_eq!(
            shape(link),
            "delivered count, dropped object, from string, in_flight count, latency_us object, \
             placement string, produced count, rate_hz number, to string"
        );
        assert_eq!(link["to"], "view");
        let count = |value: &Value| value.as_u64().unwrap();
        let dropped: u64 = link["dropped"].as_object().unwrap().values().map(count).sum();
        assert_eq!(count(&link["produced"]), count(&link["delivered"]) + dropped + count(&link["in_flight"]));
        assert_eq!((count(&link["produced"]), count(&link["in_flight"])), (5, 0));
        assert!(link["rate_hz"].as_f64().unwrap() > 0.0);
        let latency = &link["latency_us"];
        assert_eq!(shape(latency), "max count, p50 count, p99 count");
        let [p50, p99, max] = ["p50", "p99", "max"].map(|key| count(&latency[key]));
        assert!(0 < p50 && p50 <= p99 && p99 <= max, "{latency}");
    }

    for process in list(report, "processes") {
        assert_eq!(
            shape(process),
            "cpu_seconds number, name string, pid count, private_bytes_peak count, shared_bytes count"
        );
        assert!(process["pid"].as_u64().unwrap() > 1);
    }
    // In ticks of the kernel, so a process that did little may have none.
    let spent = list(report, "processes").iter().map(|process| process["cpu_seconds"].as_f64().unwrap());
    assert!(spent.sum::<f64>() > 0.0);
}

#[test]
fn the_report_of_many_processes() {
    let report = report_of_demo(&[]);
    check_contract(&report);
    for actor in list(&report, "actors") {
        assert_eq!(actor["process"], actor["name"]);
    }
    for link in list(&report, "links") {
        assert_eq!(link["placement"], "multi-process");
    }
    let processes = list(&report, "processes");
    assert_eq!(names(processes, "name"), [&["main"], CAMERAS.as_slice(), &["view"]].concat());
    let ids: BTreeSet<_> = processes.iter().map(|process| process["pid"].as_u64()).collect();
    assert_eq!(ids.len(), processes.len(), "each process has an id of its own");
}

#[test]
fn the_report_of_one_process() {
    let report = report_of_demo(&["--placement", "in-process"]);
    check_contract(&report);
    for actor in list(&report, "actors") {
        assert_eq!(actor["process"], "main");
    }
    for link in list(&report, "links") {
        assert_eq!(link["placement"], "in-process");
    }
    assert_eq!(names(list(&report, "processes"), "name"), ["main"]);
}

#[test]
fn the_report_names_a_failed_camera() {
    let test = Test::new()
        .topology(
            r#"
[camera.left]
driver = "synthetic"
restart = { max = 0 }
options = { unplug_at = 0.0, seed = 1 }

[processor.stats]
kind = "stats"
inputs = ["left"]
"#,
        )
        .args(["run", "t.toml", "--report", "report.json"]);
    let (stdout, stderr, status) = test.output_of("exec \"$@\"");
    let error = "the device with serial 000000000001 was unplugged, as option `unplug_at` asks";
    assert_eq!(stdout, "stats: left      - Hz        0 framesets  latency -  dropped 0\n");
    let (time, line) = stderr.split_once(' ').unwrap();
    assert!(time.ends_with('Z'), "{stderr}");
    let (line, ending) = line.split_once('\n').unwrap();
    assert_eq!(line, format!("ERROR main: camera `left` failed: {error}"));
    let (seconds, failure) = ending.strip_prefix("t.toml: ended after ").unwrap().split_once(" s: ").unwrap();
    assert!(seconds.parse::<f64>().unwrap() >= 0.0, "{ending}");
    assert_eq!(failure, format!("camera `left` failed: {error}\n"));
    assert_eq!(status, Some(69));
    let text = std::fs::read_to_string(test.folder().join("report.json")).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["exit"], "a camera is unavailable");
    let left = &report["actors"][0];
    assert_eq!((left["state"].as_str(), left["errors"][0].as_str()), (Some("failed"), Some(error)));
}

#[test]
fn the_report_has_the_matches() {
    let test = Test::new()
        .topology(
            r#"
[camera.left]
driver = "synthetic"
options = { model = "any", depth = "64x48@30", color = "off" }

[camera.right]
driver = "synthetic"
options = { model = "any", depth = "64x48@30", color = "off", drop_rate = 0.05 }

[processor.together]
kind = "match"
inputs = ["left", "right"]
overflow = "block"
match = { window_millis = 30, clock = "estimated" }
"#,
        )
        .args(["run", "t.toml", "--framesets", "60", "--report", "report.json"]);
    let (stdout, stderr, status) = test.output();
    assert_eq!((stdout.as_str(), stderr.as_str(), status), ("", "", Some(0)));
    let text = std::fs::read_to_string(test.folder().join("report.json")).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    let [matching] = list(&report, "matching") else { panic!("{report}") };
    assert_eq!(
        shape(matching),
        "cameras array, matches count, partial count, processor string, rate_hz number, spread_us object"
    );
    assert_eq!((&matching["processor"], &matching["partial"]), (&"together".into(), &0.into()));
    assert_eq!(shape(&matching["spread_us"]), "max count, p50 count, p99 count");
    let cameras = list(matching, "cameras");
    assert_eq!(names(cameras, "name"), ["left", "right"]);
    for camera in cameras {
        assert_eq!(
            shape(camera),
            "clock object, epochs count, matched count, name string, offset_us number, unmatched object"
        );
        assert_eq!(shape(&camera["clock"]), "drift_ppm number, offset_ms number, uncertainty_us number");
        assert_eq!(camera["matched"], matching["matches"]);
        let count = |value: &Value| value.as_u64().unwrap();
        let unmatched: u64 = camera["unmatched"].as_object().unwrap().values().map(count).sum();
        assert_eq!(count(&camera["matched"]) + unmatched, 60, "{camera}");
    }
}
