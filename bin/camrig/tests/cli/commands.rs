//! Tests of each command's output, and of wrong command lines.

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
    Test::new().args(["check", "demo"]).stdout(&valid("7 processes", 59_964)).run();
    Test::new()
        .args(["check", "demo", "--placement", "in-process"])
        .stdout(&valid("1 process", 59_936))
        .run();
}

#[test]
fn list_shows_every_option() {
    Test::new().args(["list"]).stdout(LIST).run();
}

const LIST: &str = r#"
driver realsense
  serial                 string                                                                 -  The serial number of a live camera.
  port                   string                                                                 -  The physical USB port of a live camera, as a path from the root hub such as `2-1.3`.
  name                   string                                                                 -  The name of a live camera, such as `Intel RealSense D435`, or its last word.
  any                    bool                                                                   -  Selects the only connected live camera.
  file                   string                                                                 -  A `.bag` file recorded by librealsense.
  depth                  string                                                                 -  The depth stream, such as `640x480@30`.
  color                  string                                                                 -  The color stream.
  infrared_1             string                                                                 -  The left infrared stream.
  infrared_2             string                                                                 -  The right infrared stream.
  confidence             string                                                                 -  The confidence of each depth pixel, if the camera has that stream.
  streams                table                                                                  -  Further streams by name: a second one of a kind, such as `color-2`, or those of a kind without an option of its own, such as `fisheye-1`.
  accel                  integer                                                                -  Rate of the accelerometer, if the camera has one. The samples are part of the framesets of images.
  gyro                   integer                                                                -  Rate of the gyroscope.
  reset                  bool                                                                   -  Resets a live camera before it is opened for the first time.
  allow_usb2             bool                                                                   -  Accepts a live camera on USB 2, which has fewer and slower profiles; not accepted by default.
  set                    table                                                                  -  Settings of a live camera, by librealsense's names: `{ exposure = 8500, visual_preset = "hand" }`.
  set_color              table                                                                  -  Settings of the color sensor, if color has its own sensor; on a D405, that is the depth sensor.
  exposure_region        list of integer                                                        -  The pixels of depth from which auto exposure takes the brightness: left, top, right and bottom.
  exposure_region_color  list of integer                                                        -  Like `exposure_region`, of the sensor that gives color.
  preset                 string                                                                 -  A JSON file exported by realsense-viewer, for a live camera; `set` is applied after it.
  sync                   master|slave                                                           -  Role of a live camera in hardware synchronization.
  record_to              string                                                                 -  A `.bag` file to which librealsense records a live camera, without filters.
  filters                table|list of table                                                    -  The depth filters of librealsense: a table in the order that the camera recommends, or a list in its own order.
  align                  depth-to-color|color-to-depth                                          -  Aligns depth to color or color to depth.
  color_format           rgb8|bgr8|rgba8|bgra8|yuyv|uyvy|y8|y16|mjpeg|z16|distance|disparity32  -  Color format of a live camera; `rgb8` by default.
  infrared_format        rgb8|bgr8|rgba8|bgra8|yuyv|uyvy|y8|y16|mjpeg|z16|distance|disparity32  -  Format of both infrared streams of a live camera; `y8` by default.
  real_time              bool                                                                   -  Plays a file at its recorded speed, which is the default. If false, it plays as fast as its frames are read, without losses.
  repeat                 bool                                                                   -  Restarts a file at its end; by default it does not.
  start_offset_millis    integer (ms)                                                           -  When a file begins, after the rig's start. Without it, files whose frames have times of the host begin so that frames recorded together play together; others begin at once.

driver replay
  file          string      required  The recording. Files that continue it (`NAME-2.mcap`) follow by themselves.
  camera        string      -         The camera's name in the recording; the name of this camera if it is not given.
  paced         bool        true      Delivers framesets at the pace of the recording; `false` delivers them as fast as the readers take them.
  speed         number      1.0       Playback speed factor.
  repeat        bool        false     Starts again at the end, forever.
  from_seconds  number (s)  0.0       Where playback begins, after the beginning of the recording.
  to_seconds    number (s)  -         Where playback ends, after the beginning of the recording; at its end if it is not given.

driver synthetic
  model              d405|d435|d435i|any  "d435"        The model that is imitated; `any` takes every size and rate.
  serial             string               -             The serial number, which decides what the camera sees; by default it follows from the camera's name.
  seed               integer              -             The serial number as a number, which is filled up to twelve digits.
  depth              string               "848x480@30"  The profile of the depth stream, such as `848x480@30`, or `off`.
  color              string               "848x480@30"  The profile of the color stream, or `off`.
  color_format       rgb8|bgr8|yuyv       "rgb8"        The format of the color stream.
  infrared           string               "off"         The profile of the stream infrared-1, or `off`.
  accel              integer (samples/s)  -             The rate of the accelerometer, for models that have one; without it the sensor is off.
  gyro               integer (samples/s)  -             The rate of the gyroscope, for models that have one; without it the sensor is off.
  paced              bool                 true          Delivers framesets at the profiles' rate; `false` delivers them as fast as the readers take them.
  frames             integer              -             Ends the camera after this number of framesets.
  unplug_at          number (s)           -             Unplugs the camera at this time after the start, once.
  replug_after       number (s)           -             Plugs the camera in again at this time after `unplug_at`; without it the camera stays away.
  stall_at           number (s)           -             Delivers nothing more from this time after the start, without a failure, once.
  stall_stream       string               -             The stream that stalls at `stall_at` while the others go on; without it all streams stall.
  wedge_until_reset  bool                 false         Keeps a stalled camera silent until its device is reset, however often it is opened.
  drop_rate          number               0.0           The share of framesets that the device loses.
  clock_skew         number (ms)          0.0           The time by which the hardware clock is ahead; negative when it is behind.
  clock_drift_ppm    number (ppm)         0.0           The rate by which the hardware clock is too fast; negative when it is too slow.
  start_delay        number (ms)          0.0           The time from the start to the first frameset.

kind match, takes matches
  no options

kind pointcloud
  color  bool  true  Gives each point the color that the camera's color image shows there.

kind record
  file           string         required  The recording, `NAME.mcap`. No file is overwritten: a second one is `NAME-2.mcap`.
  files          rig|camera     "rig"     Whether all cameras share a file.
  color          raw|jpeg       "raw"     How color is recorded; depth and infrared are recorded as they are.
  jpeg_quality   integer        90        The quality of color in JPEG.
  compression    none|lz4|zstd  "none"    How the file is compressed; nothing is lost.
  split_mib      integer (MiB)  -         Begins a new file when one has this size.
  split_seconds  integer (s)    -         Begins a new file when one holds this time.
  memory_mib     integer (MiB)  256       Memory for framesets that wait for the disk. What does not fit is left out, and noted in the recording.

kind snapshot
  folder      string      required  The folder for the files; it is made if it does not exist.
  every       integer     30        Writes every n-th frameset of each camera.
  min_meters  number (m)  0.1       Distance that is drawn in the first color.
  max_meters  number (m)  4.0       Distance that is drawn in the last color.
  depth16     bool        false     Writes depth images of 16 bits too, in the camera's depth units.

kind stats
  every_seconds  number (s)  1.0    Time between two reports, on the clock of the arrivals; 0 reports at the end only.
  streams        bool        false  Prints a line for each stream of a camera too.

kind verify
  digest   bool  false  Prints a digest of everything that each camera sent, at the end.
  content  bool  true   Compares pixels with those that the synthetic driver renders; `false` admits other cameras.

kind view
  listen                 string              "127.0.0.1:0"  The address and port that serve the page; port 0 is any free one.
  token                  string              -              A secret that visitors give; it is needed where other machines can reach `listen`.
  signal_timeout_millis  integer (ms)        1000           Shows NO SIGNAL after this time without a frameset.
  frames_per_second      integer (frames/s)  15             The highest rate of each camera's pictures on each page.
  quality                integer             80             The quality of the pictures as JPEG.
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

  tip: a similar subcommand exists: 'run'

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
    for (path, reason) in
        [("no/report.json", "No such file or directory (os error 2)"), (".", "Is a directory (os error 21)")]
    {
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
    let (mut checked, mut skipped) = (0, Vec::new());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        if cfg!(not(feature = "realsense")) && text.contains("\"realsense\"") {
            skipped.push(file);
            continue;
        }
        let (stdout, stderr, status) =
            Test::new().args(["check", "--no-devices", file.to_str().unwrap()]).output();
        assert_eq!((stderr.as_str(), status), ("", Some(0)), "{}", file.display());
        assert!(stdout.starts_with(&format!("{}: OK (", file.display())), "{stdout}");
        checked += 1;
    }
    assert!(checked >= 5, "{checked} topologies");
    if !skipped.is_empty() {
        println!("skipped, because this build has no librealsense: {skipped:?}");
    }
}
