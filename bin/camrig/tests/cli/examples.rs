//! Runs every example topology with the command in its first lines.

use std::fs;
use std::path::{Path, PathBuf};

use crate::program::Test;

/// Maximum time of a run, unless its topology shows a later event.
const SECONDS_MAX: u32 = 3;

/// The parts that an example needs and a test does not have.
#[derive(Debug, PartialEq)]
enum Needs {
    Nothing,
    /// The recording that this example makes.
    Recording(&'static str),
    /// librealsense: `tests/realsense.rs` runs it.
    RealSense,
}

fn needs(topology: &str) -> Needs {
    let has = |driver: &str| topology.contains(&format!("= \"{driver}\""));
    match topology {
        _ if has("realsense") => Needs::RealSense,
        _ if has("replay") => Needs::Recording("record.toml"),
        _ => Needs::Nothing,
    }
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/topologies")
}

/// Copies an example to where its command expects it, with free ports, and returns its text.
fn copy(name: &str, folder: &Path) -> String {
    let text = fs::read_to_string(examples().join(name)).unwrap();
    let text = text.replace("127.0.0.1:8470\"", "127.0.0.1:0\"").replace("127.0.0.1:9464\"", "127.0.0.1:0\"");
    fs::create_dir_all(folder.join("examples/topologies")).unwrap();
    fs::write(folder.join("examples/topologies").join(name), &text).unwrap();
    text
}

/// Returns the arguments of the first command in the comment of an example, with a limit of time.
fn command(name: &str, text: &str) -> Vec<String> {
    let line = text.lines().find_map(|line| line.strip_prefix("#   camrig "));
    let line = line.unwrap_or_else(|| panic!("{name} does not say how it is run"));
    let mut args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    assert_eq!(args[..2], ["run".to_owned(), format!("examples/topologies/{name}")]);
    let seconds = |arg: &String| arg.strip_suffix('s').and_then(|number| number.parse::<u32>().ok());
    match args.iter().position(|arg| arg == "--for") {
        // The faults that it injects come at their times.
        Some(_) if name == "injected-faults.toml" => {}
        Some(at) => args[at + 1] = format!("{}s", seconds(&args[at + 1]).unwrap().min(SECONDS_MAX)),
        None => args.extend(["--for".to_owned(), format!("{SECONDS_MAX}s")]),
    }
    args
}

/// Runs an example in `test`'s folder, and returns its standard output.
#[track_caller]
fn run(name: &str, test: &mut Test) -> String {
    let text = copy(name, test.folder());
    for folder in text.lines().filter_map(|line| line.strip_prefix("#   mkdir -p ")) {
        fs::create_dir_all(test.folder().join(folder)).unwrap();
    }
    let args = command(name, &text);
    test.set_args(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let (stdout, stderr, status) = test.output();
    let expected = if name == "injected-faults.toml" { 69 } else { 0 };
    assert_eq!(status, Some(expected), "{name}:\n{stdout}{stderr}");
    assert!(!stderr.contains("error:") && !stderr.contains("warning:"), "{name}:\n{stderr}");
    stdout
}

#[test]
fn every_example_topology_runs() {
    let mut names: Vec<_> = fs::read_dir(examples())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.iter().all(|name| Path::new(name).extension().is_some_and(|it| it == "toml")), "{names:?}");
    let mut ran = 0;
    for name in names {
        let needs = needs(&fs::read_to_string(examples().join(&name)).unwrap());
        let mut test = Test::new();
        if let Needs::Recording(maker) = needs {
            run(maker, &mut test);
        }
        if needs != Needs::RealSense {
            run(&name, &mut test);
            ran += 1;
        }
    }
    assert!(ran >= 9, "{ran} examples");
}

/// `before` has the example topologies of the program at 1af0345, without comments.
#[test]
fn earlier_topologies_are_valid() {
    let before = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/before");
    let mut test = Test::new();
    for folder in ["points", "recordings", "snapshots"] {
        fs::create_dir(test.folder().join(folder)).unwrap();
    }
    let mut checked = 0;
    for file in fs::read_dir(before).unwrap().map(|entry| entry.unwrap().path()) {
        let name = file.file_name().unwrap().to_str().unwrap();
        fs::copy(&file, test.folder().join(name)).unwrap();
        test.set_args(&["check", "--no-devices", name]);
        let (stdout, stderr, status) = test.output();
        assert_eq!((stderr.as_str(), status), ("", Some(0)), "{name}: {stdout}");
        assert!(stdout.starts_with(&format!("{name}: OK (")), "{stdout}");
        checked += 1;
    }
    assert_eq!(checked, 9);
}

#[test]
fn a_command_is_limited() {
    let args = |comment: &str| {
        command("a.toml", &format!("# A.\n#\n#   camrig run examples/topologies/a.toml{comment}\n"))
    };
    assert_eq!(args("")[2..], ["--for", "3s"]);
    assert_eq!(args(" --for 10s --report r.json")[2..], ["--for", "3s", "--report", "r.json"]);
}
