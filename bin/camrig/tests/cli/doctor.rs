//! Tests of `camrig doctor`, on machines made of files.

use std::fs;
use std::path::Path;

use crate::program::Test;

/// Creates a machine with two cameras on one controller, and this much memory.
fn machine(root: &Path, available_kib: u64) {
    let file = |name: &str, text: &str| {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    file("proc/sys/kernel/osrelease", "6.8.0\n");
    file("proc/stat", "cpu0 1\ncpu1 1\n");
    file("proc/meminfo", &format!("MemAvailable: {available_kib} kB\n"));
    file("proc/self/limits", "Max open files  1024  4096  files\nMax realtime priority  0  0\n");
    for (port, serial) in [("usb2", "0000:00:14.0"), ("2-1", "1"), ("2-2", "2")] {
        for (name, text) in [("speed", "5000"), ("version", "3.20"), ("serial", serial)] {
            file(&format!("sys/bus/usb/devices/{port}/{name}"), text);
        }
    }
}

/// Two cameras whose streams are too many for their controller.
const TOPOLOGY: &str = "
[camera.left]
driver = 'synthetic'
options = { serial = '1', depth = '1280x720@30', color = '1280x720@30' }
[camera.right]
driver = 'synthetic'
options = { serial = '2', depth = '1280x720@30', color = '1280x720@30' }
";

#[test]
fn a_machine_is_compared_with_the_needs_of_a_topology() {
    let stdout = "
ok       machine      kernel 6.8.0, 2 CPUs
note     usb          no RealSense camera is attached
note     usb          no folder of udev rules exists: permissions of devices are those of this system's own manager
note     metadata     the kernel's driver `uvcvideo` is not loaded: only a librealsense with the RSUSB backend can open cameras
                        do: `sudo modprobe uvcvideo`, unless librealsense has the RSUSB backend
note     imu          the kernel has no HIDRAW: the V4L2 backend does not find cameras with an IMU (D435i, D455, D457)
                        do: use a librealsense with the RSUSB backend (its `libuvc_installation.sh`), or a kernel with CONFIG_HIDRAW and CONFIG_HID_SENSOR_HUB
note     power        the system does not show the clocks of its CPUs
note     temperature  the system shows no temperature
problem  memory       14 MiB are available; slots and queues take at most 18 MiB
                        do: fewer `slots`, smaller profiles, or `decimation`; `camrig check TOPOLOGY` prints the memory of a topology
ok       limits       1024 files may be open in a process
note     limits       this user may not use real-time priority (`ulimit -r` is 0)
note     time         no program synchronises the system's clock
                        do: only rigs on several machines, and recordings that are compared with others, need one: chrony, or PTP
warning  plan         controller 0000:00:14.0 usb2 needs 1769 Mb/s for `left`, `right`, but its budget is 1200 Mb/s; the largest profile that fits all its cameras is 848x480@30
                        do: `camrig plan TOPOLOGY` shows the budgets
";
    let test = Test::new().topology(TOPOLOGY);
    machine(&test.folder().join("root"), 15_000);
    let args = ["doctor", "t.toml", "--root", "root"];
    test.args(args)
        .stdout(stdout)
        .stderr("\nerror: 1 problem will keep a rig from running\n")
        .status(1)
        .run();
}

#[test]
fn findings_are_printed_as_json() {
    let test = Test::new();
    machine(&test.folder().join("root"), 4_000_000);
    let (stdout, stderr, status) = test.args(["doctor", "--root", "root", "--disk", ".", "--json"]).output();
    assert_eq!((stderr.as_str(), status), ("", Some(0)));
    let found: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(found["camrig_doctor"], 1);
    let findings = found["findings"].as_array().unwrap();
    let memory = findings.iter().find(|finding| finding["topic"] == "memory").unwrap();
    assert_eq!(
        *memory,
        serde_json::json!({ "topic": "memory", "state": "ok", "fact": "3906 MiB are available" })
    );
    let disk = findings.last().unwrap();
    assert_eq!((&disk["topic"], &disk["state"]), (&"disk".into(), &"ok".into()));
}

#[test]
fn this_machine_is_examined() {
    let (stdout, _, status) = Test::new().args(["doctor", "--json"]).output();
    let found: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let findings = found["findings"].as_array().unwrap();
    let problems = findings.iter().any(|finding| finding["state"] == "problem");
    assert_eq!(status, Some(i32::from(problems)));
    let library = findings.iter().find(|finding| finding["topic"] == "library").unwrap();
    let fact = library["fact"].as_str().unwrap();
    assert!(fact.starts_with("driver `realsense`: "), "{fact}");
}

#[test]
fn wrong_arguments_are_refused() {
    let root = "\nerror: `--root missing` is not a folder\n";
    Test::new().args(["doctor", "--root", "missing"]).stderr(root).status(64).run();
    let disk = "\nerror: `--disk missing` cannot be written: No such file or directory (os error 2)\n";
    Test::new().args(["doctor", "--disk", "missing"]).stderr(disk).status(73).run();
}
