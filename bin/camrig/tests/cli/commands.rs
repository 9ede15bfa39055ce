//! Tests of each command's output, and of wrong command lines.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use camrig_frame::PixelFormat;

use crate::program::Test;

/// Checks that the program refuses `args` with this text on stderr and exit code 64.
#[track_caller]
fn misused<'a>(args: impl IntoIterator<Item = &'a str>, stderr: &str) {
    Test::new().args(args).stderr(stderr).status(64).run();
}

#[test]
fn check_counts_actors_and_memory() {
    let valid = |processes, kib| {
        format!(
            "demo: OK (6 cameras, 1 processor, {processes})\n\
             slots and queues take at most {kib} KiB of memory\n"
        )
    };
    Test::new().args(["check", "demo"]).stdout(&valid("7 processes", 60_084)).run();
    Test::new()
        .args(["check", "demo", "--placement", "in-process"])
        .stdout(&valid("1 process", 60_056))
        .run();
}

/// Returns the names below "Commands:" of a help text, without `help`.
fn commands_of(help: &str) -> Vec<&str> {
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = list.take_while(|line| !line.is_empty()).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").collect()
}

#[test]
fn every_command_has_a_man_page() {
    let test = Test::new();
    let (_, stderr, status) = test.output_of_args(&["man", "pages"]);
    assert_eq!(stderr, "error: cannot write pages/camrig.1: there is no folder `pages`; create it first\n");
    assert_eq!(status, Some(73));

    let folder = test.folder().join("pages");
    std::fs::create_dir(&folder).unwrap();
    assert_eq!(test.output_of_args(&["man", "pages"]), (String::new(), String::new(), Some(0)));
    let page = |name: &str| {
        let text = std::fs::read_to_string(folder.join(format!("{name}.1"))).unwrap();
        assert!(text.contains(&format!(".TH {name} 1")), "{name}: {text}");
        text
    };
    let (help, ..) = test.output_of_args(&["--help"]);
    let commands = commands_of(&help);
    assert!(commands.contains(&"run") && commands.contains(&"recording"), "{help}");
    page("camrig");
    for command in commands {
        page(&format!("camrig-{command}"));
    }
    let (help, ..) = test.output_of_args(&["recording", "--help"]);
    for command in commands_of(&help) {
        page(&format!("camrig-recording-{command}"));
    }
    assert!(page("camrig-run").contains(r"\fB\-\-placement\fR"));
}

#[test]
fn a_program_can_have_any_name() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_camrig"));
    let output = program.arg0(OsStr::from_bytes(b"cam\xff")).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && help.contains("Usage: cam\u{fffd} "), "{help}");
}

/// Splits a line of an option into its name, type, default and description.
fn columns(line: &str) -> Vec<&str> {
    let mut columns = Vec::new();
    let mut rest = line.trim_start();
    while let Some((column, behind)) = rest.split_once("  ").filter(|_| columns.len() < 3) {
        columns.push(column);
        rest = behind.trim_start();
    }
    columns.push(rest);
    columns
}

#[test]
#[cfg_attr(feature = "hosts", ignore = "the feature `hosts` adds a driver and a kind")]
fn list_shows_every_option() {
    let (stdout, stderr, status) = Test::new().args(["list"]).output();
    assert_eq!((stderr.as_str(), status), ("", Some(0)));
    let mut shown = String::new();
    let mut described_at = None;
    for line in stdout.lines() {
        if !line.starts_with("  ") || line == "  no options" {
            described_at = None;
            shown.push_str(line);
        } else {
            let [name, kind, default, description] = columns(line)[..] else { panic!("{line}") };
            // The words are those of the types' documentation, and may change.
            assert!(description.ends_with('.') && description.len() > 10, "{line}");
            let at = line.find(description);
            assert_eq!(*described_at.get_or_insert(at), at, "the descriptions are not aligned: {line}");
            shown.push_str(&["", name, kind, default].join("  "));
        }
        shown.push('\n');
    }
    // The synthetic driver has each format of light that there is.
    let light = |colored| {
        let formats = PixelFormat::ALL.into_iter().filter(|it| it.is_light() && it.is_colored() == colored);
        formats.map(PixelFormat::name).collect::<Vec<_>>().join("|")
    };
    let list = LIST.replace("COLORED", &light(true)).replace("GRAY", &light(false));
    assert_eq!(shown, list.trim_start());
}

/// Drivers and processors with their options: name, type and default.
const LIST: &str = r#"
driver python
  script  string  required
  python  string  -
  class  string  -

driver realsense
  serial  string  -
  port  string  -
  name  string  -
  any  bool  -
  file  string  -
  depth  string  -
  color  string  -
  infrared_1  string  -
  infrared_2  string  -
  confidence  string  -
  streams  table  -
  accel  integer (samples/s)  -
  gyro  integer (samples/s)  -
  reset  bool  false
  allow_usb2  bool  false
  set  table  -
  set_color  table  -
  exposure_region  list of integer  -
  exposure_region_color  list of integer  -
  preset  string  -
  sync  master|slave  -
  record_to  string  -
  filters  table|list of table  -
  align  depth-to-color|color-to-depth  -
  color_format  rgb8|bgr8|rgba8|bgra8|yuyv|uyvy|y8|y16|mjpeg|z16|distance|disparity32  "rgb8"
  infrared_format  rgb8|bgr8|rgba8|bgra8|yuyv|uyvy|y8|y16|mjpeg|z16|distance|disparity32  "y8"
  real_time  bool  true
  repeat  bool  false
  start_offset_millis  integer (ms)  -

driver replay
  file  string  required
  camera  string  -
  paced  bool  true
  speed  number  1.0
  repeat  bool  false
  from_seconds  number (s)  0.0
  to_seconds  number (s)  -

driver synthetic
  model  d405|d435|d435i|any  "d435"
  serial  string  -
  seed  integer  -
  depth  string  "848x480@30"
  color  string  "848x480@30"
  color_format  COLORED|mjpeg  "rgb8"
  infrared  string  "off"
  infrared_format  GRAY  "y8"
  accel  integer (samples/s)  -
  gyro  integer (samples/s)  -
  exposure  integer (us)  -
  gain  integer  -
  emitter  bool  true
  paced  bool  true
  frames  integer  -
  unplug_at  number (s)  -
  replug_after  number (s)  -
  stall_at  number (s)  -
  stall_stream  string  -
  wedge_until_reset  bool  false
  drop_rate  number  0.0
  clock_skew  number (ms)  0.0
  clock_drift_ppm  number (ppm)  0.0
  start_delay  number (ms)  0.0

kind attached
  command  list of string  required

kind foxglove
  listen  string  "127.0.0.1:8765"
  token  string  -
  color  jpeg|raw  "jpeg"
  jpeg_quality  integer  80
  frames_per_second  integer (frames/s)  60

kind match, takes matches
  no options

kind merge, takes matches
  voxel_millimeters  number (mm)  10.0
  decimation  integer  2
  crop_min  list of number (m)  -
  crop_max  list of number (m)  -
  color  bool  true

kind pointcloud
  color  bool  true

kind python
  script  string  required
  python  string  -
  processor  string  -

kind record
  file  string  required
  files  rig|camera  "rig"
  color  raw|jpeg  "raw"
  jpeg_quality  integer  90
  compression  none|lz4|zstd  -
  split_mib  integer (MiB)  -
  split_seconds  integer (s)  -
  memory_mib  integer (MiB)  256

kind snapshot
  folder  string  required
  every  integer  30
  min_meters  number (m)  0.1
  max_meters  number (m)  4.0
  depth16  bool  false
  points  ply|pcd  "ply"

kind stats
  every_seconds  number (s)  1.0
  streams  bool  false

kind verify
  digest  bool  false
  content  bool  true
  emulated  bool  false

kind view
  listen  string  "127.0.0.1:0"
  token  string  -
  signal_timeout_millis  integer (ms)  1000
  frames_per_second  integer (frames/s)  15
  quality  integer  80
  control  bool  false

kind watch-poses, takes matches
  every_seconds  number (s)  1.0
  millimeters  number (mm)  3.0
  degrees  number (degrees)  0.2
  overlap_millimeters  number (mm)  20.0
  overlap_degrees  number (degrees)  1.0
  background  string  -
"#;

#[test]
#[cfg(not(feature = "realsense"))]
fn devices_names_the_missing_driver() {
    let stderr = "
error: driver `realsense`: this build has no librealsense: build it with `--features realsense` (`just sdk` installs \
the library)
";
    Test::new().args(["devices"]).stderr(stderr).status(69).run();
    let stdout = "{\n  \"camrig_devices\": 1,\n  \"devices\": []\n}\n";
    Test::new().args(["devices", "--json"]).stdout(stdout).stderr(stderr).status(69).run();
    let test = Test::new().args(["init"]).stderr(stderr).status(69);
    test.run();
    assert!(!test.folder().join("rig.toml").exists());
}

#[test]
fn help_names_every_command_and_option() {
    for (args, words) in [
        (
            ["--help"].as_slice(),
            [
                "run",
                "top",
                "check",
                "plan",
                "devices",
                "init",
                "list",
                "recording",
                "record",
                "replay",
                "--version",
            ]
            .as_slice(),
        ),
        (&["run", "--help"], &["TOPOLOGY", "--placement", "--for", "--framesets", "--report"]),
        (&["top", "--help"], &["RIG"]),
        (&["record", "--help"], &["Run a topology and record", "TOPOLOGY", "--output", "--framesets"]),
        (&["replay", "--help"], &["Run a recording", "FILE", "[TOPOLOGY]", "--fast", "--placement"]),
        (&["recording", "--help"], &["info", "verify", "repair", "export"]),
        (&["check", "--help"], &["TOPOLOGY", "--placement", "--no-devices"]),
        (&["devices", "--help"], &["--json"]),
        (&["init", "--help"], &["FILE", "rig.toml"]),
        (&["plan", "--help"], &["--controllers", "--usb-tree", "--cautious", "--optimistic", "--json"]),
    ] {
        let (stdout, stderr, status) = Test::new().args(args.iter().copied()).output();
        assert_eq!((stderr.as_str(), status), ("", Some(0)));
        assert!(stdout.contains("Usage: camrig"), "{stdout}");
        for word in words {
            assert!(stdout.contains(word), "no {word} in:\n{stdout}");
        }
    }
}

#[test]
fn no_command_prints_the_help_as_an_error() {
    let (help, ..) = Test::new().args(["--help"]).output();
    misused([], &help);
}

#[test]
fn unknown_commands_and_options() {
    misused(
        ["rum", "demo"],
        "
error: unrecognized subcommand 'rum'

  tip: some similar subcommands exist: 'run', 'resume'

Usage: camrig <COMMAND>

For more information, try '--help'.
",
    );
    misused(
        ["run"],
        "
error: the following required arguments were not provided:
  <TOPOLOGY>

Usage: camrig run <TOPOLOGY>

For more information, try '--help'.
",
    );
    misused(
        ["run", "demo", "--reprot", "report.json"],
        "
error: unexpected argument '--reprot' found

  tip: a similar argument exists: '--report'

Usage: camrig run --report <FILE> <TOPOLOGY>

For more information, try '--help'.
",
    );
    misused(
        ["run", "demo", "--placement", "here"],
        "
error: invalid value 'here' for '--placement <PLACEMENT>'
  [possible values: in-process, multi-process]

For more information, try '--help'.
",
    );
}

#[test]
fn invalid_limits() {
    let unit = "expected a number with a unit, such as 500ms, 10s or 5m";
    let huge = "999999999999999999999h";
    let count = "expected an integer, 1 or more";
    for (option, value_name, value, message) in [
        ("--for", "TIME", "soon", unit),
        ("--for", "TIME", "10", unit),
        ("--for", "TIME", huge, unit),
        ("--for", "TIME", "-1s", "must not be negative"),
        ("--for", "TIME", "0s", "must be greater than zero"),
        ("--framesets", "N", "0", count),
        ("--framesets", "N", "-3", count),
        ("--framesets", "N", "many", count),
        ("--framesets", "N", "18446744073709551616", count),
    ] {
        let argument = format!("{option}={value}");
        let stderr = format!(
            "error: invalid value '{value}' for '{option} <{value_name}>': {message}\n\n\
             For more information, try '--help'.\n"
        );
        misused(["run", "demo", &argument], &stderr);
    }
}

#[test]
fn top_needs_a_running_rig() {
    Test::new()
        .args(["top", "no-such-rig"])
        .stderr("error: no running rig has the name or process ID `no-such-rig`\n")
        .status(69)
        .run();
}

#[test]
fn nothing_runs_when_the_report_cannot_be_written() {
    for (path, reason) in [
        ("no/report.json", "there is no folder `no`; create it first"),
        (".", "Is a directory (os error 21)"),
    ] {
        Test::new()
            .args(["run", "demo", "--framesets", "1", "--report", path])
            .stderr(&format!("error: report `{path}` cannot be written: {reason}\n"))
            .status(73)
            .run();
    }
}

#[test]
fn every_example_topology_is_valid() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/topologies");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut checked = 0;
    // Without librealsense too.
    for file in files {
        let (stdout, stderr, status) =
            Test::new().args(["check", "--no-devices", file.to_str().unwrap()]).output();
        assert_eq!((stderr.as_str(), status), ("", Some(0)), "{}", file.display());
        assert!(stdout.starts_with(&format!("{}: OK (", file.display())), "{stdout}");
        checked += 1;
    }
    assert!(checked >= 14, "{checked} topologies");
}
