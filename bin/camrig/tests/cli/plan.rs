//! Tests of `camrig plan`: the USB budget of a rig, with assumed controllers and with machines made of files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::program::Test;

/// Six cameras with serial numbers 0 to 5 and streams of this profile.
fn six(profile: &str) -> String {
    let camera = |number| {
        format!(
            "[camera.c{number}]\ndriver = \"synthetic\"\n\
             options = {{ serial = \"{number}\", depth = \"{profile}\", color = \"{profile}\" }}\n"
        )
    };
    (0..6).map(camera).collect()
}

/// Creates a machine's root folder with this sysfs: each device's port, and its attributes.
fn machine(root: &Path, devices: &[(&str, &[(&str, &str)])]) {
    let tree = root.join("sys/bus/usb/devices");
    fs::create_dir_all(&tree).unwrap();
    for (port, attributes) in devices {
        let device = root.join("sys/devices/pci0000:00").join(port);
        fs::create_dir_all(&device).unwrap();
        symlink(Path::new("../../../devices/pci0000:00").join(port), tree.join(port)).unwrap();
        for (name, text) in *attributes {
            fs::write(device.join(name), format!("{text}\n")).unwrap();
        }
    }
}

const ROOT_SLOW: (&str, &[(&str, &str)]) =
    ("usb1", &[("speed", "480"), ("version", " 2.00"), ("serial", "0000:00:14.0")]);
const ROOT_FAST: (&str, &[(&str, &str)]) =
    ("usb2", &[("speed", "10000"), ("version", " 3.10"), ("serial", "0000:00:14.0")]);

#[test]
fn six_cameras_do_not_fit_one_controller() {
    let stdout = "
t.toml: 6 cameras on USB, 2345 Mb/s in all

camera  serial  port  Mb/s  streams
c0      0       -     391   color rgb8 848x480@30, depth z16 848x480@30
c1      1       -     391   color rgb8 848x480@30, depth z16 848x480@30
c2      2       -     391   color rgb8 848x480@30, depth z16 848x480@30
c3      3       -     391   color rgb8 848x480@30, depth z16 848x480@30
c4      4       -     391   color rgb8 848x480@30, depth z16 848x480@30
c5      5       -     391   color rgb8 848x480@30, depth z16 848x480@30

controller  link  cameras  Mb/s  cautious  optimistic  assessment  largest that fits
assumed 1   5000  6        2345  1200      3200        risky       424x240@30
";
    let stderr = "
error: controller assumed 1 needs 2345 Mb/s for `c0`, `c1`, `c2`, `c3`, `c4`, `c5`, but its budget is 1200 Mb/s; \
the largest profile that fits all its cameras is 424x240@30
";
    let test = Test::new().topology(six("848x480@30"));
    test.args(["plan", "t.toml", "--controllers", "1"]).stdout(stdout).stderr(stderr).status(1).run();
}

#[test]
fn the_same_cameras_fit_three_controllers() {
    let stdout = "
t.toml: 6 cameras on USB, 2345 Mb/s in all

camera  serial  port  Mb/s  streams
c0      0       -     391   color rgb8 848x480@30, depth z16 848x480@30
c1      1       -     391   color rgb8 848x480@30, depth z16 848x480@30
c2      2       -     391   color rgb8 848x480@30, depth z16 848x480@30
c3      3       -     391   color rgb8 848x480@30, depth z16 848x480@30
c4      4       -     391   color rgb8 848x480@30, depth z16 848x480@30
c5      5       -     391   color rgb8 848x480@30, depth z16 848x480@30

controller  link  cameras  Mb/s  cautious  optimistic  assessment  largest that fits
assumed 1   5000  2        782   1200      3200        fits        848x480@30
assumed 2   5000  2        782   1200      3200        fits        848x480@30
assumed 3   5000  2        782   1200      3200        fits        848x480@30
";
    let test = Test::new().topology(six("848x480@30"));
    test.args(["plan", "t.toml", "--controllers", "3"]).stdout(stdout).run();
}

#[test]
fn budgets_come_from_the_file_or_the_command_line() {
    let status = |usb: &str, args: &[&str]| {
        let test = Test::new().topology(format!("{usb}\n{}", six("1280x720@30")));
        let args = [&["plan", "t.toml", "--controllers", "1", "--json"], args].concat();
        let (stdout, _, status) = test.args(args).output();
        let plan: serde_json::Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(plan["need_megabits"], 5308);
        (plan["controllers"][0]["verdict"].as_str().unwrap().to_owned(), status)
    };
    assert_eq!(status("", &[]), ("too-much".into(), Some(1)));
    assert_eq!(status("", &["--optimistic", "6000"]), ("risky".into(), Some(1)));
    assert_eq!(status("", &["--cautious", "6000"]), ("fits".into(), Some(0)));
    let usb = "[usb]\ncautious_megabits = 5400\noptimistic_megabits = 5500\n";
    assert_eq!(status(usb, &[]), ("fits".into(), Some(0)));
    assert_eq!(status(usb, &["--cautious", "1200"]), ("risky".into(), Some(1)));
}

#[test]
fn a_plan_as_json() {
    let stdout = r#"
{
  "camrig_plan": 1,
  "topology": "t.toml",
  "fits": true,
  "need_megabits": 49,
  "controllers": [
    {
      "controller": "assumed 1",
      "bus": "",
      "link_megabits": 5000,
      "cameras": [
        "c"
      ],
      "need_megabits": 49,
      "cautious_megabits": 1200,
      "optimistic_megabits": 3200,
      "verdict": "fits",
      "largest_profile": "1280x720@30"
    }
  ],
  "cameras": [
    {
      "name": "c",
      "serial": null,
      "port": null,
      "streams": [
        {
          "stream": "depth",
          "format": "z16",
          "profile": "424x240@30"
        }
      ],
      "need_megabits": 49
    }
  ],
  "warnings": []
}
"#;
    let camera =
        "[camera.c]\ndriver = \"synthetic\"\noptions = { depth = \"424x240@30\", color = \"off\" }\n";
    let args = ["plan", "t.toml", "--controllers", "1", "--json"];
    Test::new().topology(camera).args(args).stdout(stdout).run();
}

/// Five cameras on the first controller, one of them behind a USB 2 hub, and one that is not attached.
#[test]
fn cameras_are_found_in_a_usb_tree() {
    let test = Test::new().topology(six("640x480@30"));
    let machine_root = test.folder().join("machine");
    machine(
        &machine_root,
        &[
            ROOT_SLOW,
            ROOT_FAST,
            ("usb4", &[("speed", "5000"), ("version", " 3.00"), ("serial", "0000:03:00.0")]),
            // A USB 2 hub, and both halves of a USB 3 hub.
            ("1-2", &[("speed", "480"), ("version", " 2.00"), ("product", "Old Hub")]),
            ("1-4", &[("speed", "480"), ("version", " 2.10")]),
            ("2-1", &[("speed", "5000"), ("version", " 3.20")]),
            ("2-1.1", &[("speed", "5000"), ("version", " 3.20"), ("serial", "0")]),
            ("2-1.2", &[("speed", "5000"), ("version", " 3.20"), ("serial", "1")]),
            ("4-1", &[("speed", "5000"), ("version", " 3.20"), ("serial", "2")]),
            ("1-2.1", &[("speed", "480"), ("version", " 2.10"), ("serial", "3")]),
            ("1-4.3", &[("speed", "480"), ("version", " 2.10"), ("serial", "4")]),
            // A mouse, an interface, and a device that is just being unplugged.
            ("1-9", &[("speed", "1.5"), ("version", " 1.10")]),
            ("2-1.1:1.0", &[("bInterfaceClass", "0e")]),
            ("2-3", &[]),
        ],
    );
    let parameters = machine_root.join("sys/module/usbcore/parameters");
    fs::create_dir_all(&parameters).unwrap();
    fs::write(parameters.join("usbfs_memory_mb"), "13\n").unwrap();
    fs::create_dir_all(machine_root.join("etc/udev/rules.d")).unwrap();
    fs::write(machine_root.join("etc/udev/rules.d/70-snap.rules"), "").unwrap();

    let stdout = "
t.toml: 6 cameras on USB, 1769 Mb/s in all

camera  serial  port   Mb/s  streams
c0      0       2-1.1  295   color rgb8 640x480@30, depth z16 640x480@30
c1      1       2-1.2  295   color rgb8 640x480@30, depth z16 640x480@30
c2      2       4-1    295   color rgb8 640x480@30, depth z16 640x480@30
c3      3       1-2.1  295   color rgb8 640x480@30, depth z16 640x480@30
c4      4       1-4.3  295   color rgb8 640x480@30, depth z16 640x480@30
c5      5       -      295   color rgb8 640x480@30, depth z16 640x480@30

controller         link   cameras  Mb/s  cautious  optimistic  assessment  largest that fits
0000:00:14.0 usb1  480    2        590   115       307         too-much    424x240@15
0000:00:14.0 usb2  10000  2        590   1200      3200        fits        848x480@30
0000:03:00.0 usb4  5000   1        295   1200      3200        fits        1280x720@30
assumed 1          5000   1        295   1200      3200        fits        1280x720@30

warning: camera `c3` at port 1-2.1 has 480 Mb/s: the hub at port 1-2 is one of USB 2

warning: camera `c4` at port 1-4.3 has 480 Mb/s: its port, plug or cable is one of USB 2

warning: `usbfs_memory_mb` is 13, and a librealsense with the RSUSB backend takes about 15 for these streams \
(one with the V4L2 backend takes none); it is set in /sys/module/usbcore/parameters/usbfs_memory_mb

warning: no udev rule for RealSense cameras is installed: without librealsense's 99-realsense-libusb.rules in \
/etc/udev/rules.d users other than root may not open them

warning: not attached, and assumed on one controller (`--controllers N` assumes more): `c5`
";
    let stderr = "
error: controller 0000:00:14.0 usb1 needs 590 Mb/s for `c3`, `c4`, but its budget is 115 Mb/s; \
the largest profile that fits all its cameras is 424x240@15
";
    let args = ["plan", "t.toml", "--usb-tree", "machine/sys/bus/usb/devices"];
    let test = test.args(args).stdout(stdout).stderr(stderr).status(1);
    test.run();

    // With the rules and the memory limit, or with only a copy of the tree, there are no warnings about them.
    fs::write(machine_root.join("etc/udev/rules.d/99-realsense-libusb.rules"), "").unwrap();
    fs::write(parameters.join("usbfs_memory_mb"), "1000\n").unwrap();
    let (stdout, ..) = test.output();
    assert_eq!(stdout.matches("warning").count(), 3, "{stdout}");
    fs::rename(machine_root.join("sys"), machine_root.join("copy")).unwrap();
    let (stdout, ..) = test.args(["plan", "t.toml", "--usb-tree", "machine/copy/bus/usb/devices"]).output();
    assert_eq!(stdout.matches("warning").count(), 3, "{stdout}");
}

#[test]
fn invalid_arguments() {
    let refused = |args: &[&str], stderr: &str| {
        let args = [&["plan", "t.toml"], args].concat();
        Test::new().topology(six("640x480@30")).args(args).stderr(stderr).status(64).run();
    };
    refused(&["--usb-tree", "no"], "error: `no` cannot be read: No such file or directory (os error 2)\n");
    refused(
        &["--controllers", "0"],
        "error: invalid value '0' for '--controllers <N>': 0 is not in 1..=64\n\n\
         For more information, try '--help'.\n",
    );
    refused(
        &["--controllers", "1", "--usb-tree", "."],
        "error: the argument '--controllers <N>' cannot be used with '--usb-tree <FOLDER>'\n\n\
         Usage: camrig plan --controllers <N> <TOPOLOGY>\n\nFor more information, try '--help'.\n",
    );
    refused(
        &["--cautious", "0"],
        "error: invalid value '0' for '--cautious <MEGABITS>': 0 is not in 1..=80000\n\n\
         For more information, try '--help'.\n",
    );
    let stderr = "error: topology `no.toml` does not exist\n";
    Test::new().args(["plan", "no.toml"]).stderr(stderr).status(78).run();
}

/// The demand follows from the options alone, so neither the driver nor a camera is needed.
#[test]
fn realsense_cameras_are_planned_in_every_build() {
    let topology = r#"
[camera.left]
driver = "realsense"
options = { serial = "943222071836", depth = "1280x720@30", color = "848x480@30", infrared_1 = "1280x720@30" }

[camera.recorded]
driver = "realsense"
options = { file = "a.bag" }
"#;
    let args = ["plan", "t.toml", "--controllers", "1"];
    let (stdout, stderr, status) = Test::new().topology(topology).args(args).output();
    assert_eq!((stderr.as_str(), status), ("", Some(0)));
    // 1280 x 720 x (2 + 1) + 848 x 480 x 2 bytes, 30 times a second. A recording needs no USB.
    assert!(stdout.starts_with("t.toml: 1 camera on USB, 859 Mb/s in all\n"), "{stdout}");
    assert!(
        stdout.contains("\nassumed 1   5000  1        859   1200      3200        fits        1280x720@30\n"),
        "{stdout}"
    );

    let profile = topology.replace("848x480@30", "848x480");
    let stderr = "
error: option `color` of camera `left`: stream profile `848x480` is not of the form `640x480@30`
 --> t.toml:4:69
  |
4 | options = { serial = \"943222071836\", depth = \"1280x720@30\", color = \"848x480\", infrared_1 = \"1280x720@30\" }
  |                                                                     ^^^^^^^^^
";
    Test::new().topology(profile).args(args).stderr(stderr).status(78).run();
}

#[test]
fn every_example_topology_can_be_planned() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/topologies");
    for file in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let test = Test::new().args(["plan", file.to_str().unwrap(), "--controllers", "64"]);
        let (stdout, stderr, status) = test.output();
        assert_eq!((stderr.as_str(), status), ("", Some(0)), "{}", file.display());
        assert!(stdout.starts_with(&format!("{}: ", file.display())), "{stdout}");
    }
}

/// Cameras that are selected by name, or as the only one, are planned at the port of the camera that they will open.
#[test]
fn realsense_cameras_are_found_by_name() {
    let topology = r#"
[camera.near]
driver = "realsense"
options = { name = "Intel RealSense D405", depth = "1280x720@30" }

[camera.far]
driver = "realsense"
options = { name = "D435", depth = "1280x720@30" }

[camera.absent]
driver = "realsense"
options = { name = "D455", depth = "1280x720@30" }
"#;
    let test = Test::new().topology(topology);
    let d435 = ("product", "Intel(R) RealSense(TM) Depth Camera 435");
    machine(
        &test.folder().join("machine"),
        &[
            ROOT_FAST,
            ("usb4", &[("speed", "5000"), ("version", " 3.00"), ("serial", "0000:03:00.0")]),
            (
                "2-1",
                &[
                    ("speed", "5000"),
                    ("product", "Intel(R) RealSense(TM) Depth Camera 405 "),
                    ("serial", "1"),
                ],
            ),
            ("2-2", &[("speed", "5000"), ("product", "USB3.0 Hub")]),
            ("4-1", &[("speed", "5000"), d435, ("serial", "2")]),
        ],
    );
    let stdout = "
t.toml: 3 cameras on USB, 1327 Mb/s in all

camera  serial  port  Mb/s  streams
near    -       2-1   442   depth z16 1280x720@30
far     -       4-1   442   depth z16 1280x720@30
absent  -       -     442   depth z16 1280x720@30

controller         link   cameras  Mb/s  cautious  optimistic  assessment  largest that fits
0000:00:14.0 usb2  10000  1        442   1200      3200        fits        1280x720@30
0000:03:00.0 usb4  5000   1        442   1200      3200        fits        1280x720@30
assumed 1          5000   1        442   1200      3200        fits        1280x720@30

warning: not attached, and assumed on one controller (`--controllers N` assumes more): `absent`
";
    let args = ["plan", "t.toml", "--usb-tree", "machine/sys/bus/usb/devices"];
    let test = test.args(args).stdout(stdout);
    test.run();

    // A second D435, and an actor that accepts any camera.
    machine(&test.folder().join("machine"), &[("4-2", &[("speed", "5000"), d435, ("serial", "3")])]);
    fs::write(test.folder().join("t.toml"), topology.replace("name = \"D455\"", "any = true")).unwrap();
    let (stdout, ..) = test.output();
    let warnings: Vec<_> = stdout.lines().filter(|line| line.starts_with("warning")).collect();
    assert_eq!(
        warnings,
        [
            "warning: camera `far` is planned at port 4-1, and could be at 4-2 as well: it is refused unless its \
             options say which one is meant",
            "warning: camera `absent` is planned at port 2-1, and could be at 4-1, 4-2 as well: it is refused unless \
             its options say which one is meant",
        ]
    );
}

/// Cameras with Ethernet that are at no USB port are planned on the machine's network.
#[test]
fn cameras_on_ethernet_are_planned_on_their_interface() {
    let topology = r#"
[camera.arm]
driver = "realsense"
options = { name = "Intel RealSense D555", depth = "1280x720@30", color = "640x360@30" }

[camera.near]
driver = "realsense"
options = { name = "D405", depth = "1280x720@30" }
"#;
    let test = Test::new().topology(topology);
    let root = test.folder().join("machine");
    let d405 = ("product", "Intel(R) RealSense(TM) Depth Camera 405 ");
    machine(&root, &[ROOT_FAST, ("2-1", &[("speed", "5000"), d405, ("serial", "1")])]);
    let eth0 = root.join("sys/class/net/eth0");
    fs::create_dir_all(eth0.join("device")).unwrap();
    fs::write(eth0.join("speed"), "1000\n").unwrap();
    fs::write(eth0.join("mtu"), "1500\n").unwrap();
    let stdout = "
t.toml: 1 camera on USB, 1 on Ethernet, 995 Mb/s in all

camera  serial  port  Mb/s  streams
arm     -       -     553   color rgb8 640x360@30, depth z16 1280x720@30
near    -       2-1   442   depth z16 1280x720@30

controller         link   cameras  Mb/s  cautious  optimistic  assessment  largest that fits
0000:00:14.0 usb2  10000  1        442   1200      3200        fits        1280x720@30
eth0 ethernet      1000   1        553   732       870         fits        848x480@30

warning: interface `eth0` has an MTU of 1500, and cameras send packets of 9000 bytes unless they are set otherwise: \
set it on the interface (`ip link set eth0 mtu 9000`) and on each switch, or lower it in the camera with a \
transmission delay (librealsense's `rs-dds-config`)
";
    let args = ["plan", "t.toml", "--usb-tree", "machine/sys/bus/usb/devices"];
    let test = test.args(args).stdout(stdout);
    test.run();

    // The link of one camera does not carry two of them.
    let other = "
[camera.base]
driver = \"realsense\"
options = { name = \"D555\", depth = \"1280x720@30\" }
";
    fs::write(test.folder().join("t.toml"), format!("{topology}{other}")).unwrap();
    let (_, stderr, status) = test.output();
    let error =
        "error: Ethernet link eth0 needs 995 Mb/s for `arm`, `base`, but its budget is 732 Mb/s; the largest";
    assert!(stderr.starts_with(error), "{stderr}");
    assert_eq!(status, Some(1));
}
