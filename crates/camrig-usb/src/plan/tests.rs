//! Needs and assessments, from assumptions and from trees.

use camrig_frame::{PixelFormat, Stream};

use super::*;

/// A USB tree as sysfs has it, in `folder`: the port, speed, version and serial number of each device.
fn usb_tree(folder: &tempfile::TempDir, devices: &[(&str, &str, &str, &str)]) -> UsbTree {
    for (port, speed, version, serial) in devices {
        let device = folder.path().join(port);
        std::fs::create_dir_all(&device).unwrap();
        for (name, text) in [("speed", speed), ("version", version), ("serial", serial)] {
            std::fs::write(device.join(name), format!("{text}\n")).unwrap();
        }
    }
    UsbTree::read(folder.path()).unwrap()
}

fn stream(stream: Stream, format: PixelFormat, profile: &str) -> DeviceProfile {
    DeviceProfile { stream, format: format.into(), profile: profile.parse().unwrap() }
}

fn demand(profile: &str) -> UsbDemand {
    let streams = vec![
        stream(Stream::COLOR, PixelFormat::Rgb8, profile),
        stream(Stream::DEPTH, PixelFormat::Z16, profile),
    ];
    UsbDemand { streams, ..UsbDemand::default() }
}

/// Six cameras, distributed evenly over the controllers.
fn six(profile: &str, controllers: usize) -> Plan {
    let camera = |number| UsbCamera {
        name: format!("c{number}"),
        demand: demand(profile),
        place: CameraLocation::Assumed(number % controllers),
        rivals: Vec::new(),
    };
    let cameras: Vec<_> = (0..6).map(camera).collect();
    plan("t.toml", &cameras, &UsbTree::default(), &UsbSettings::default(), Budgets::default())
}

#[test]
fn six_cameras_on_one_controller_and_on_three() {
    for (profile, need, on_one, on_three, largest) in [
        ("848x480@30", 2345, Assessment::Risky, Assessment::Fits, "424x240@30"),
        ("1280x720@30", 5308, Assessment::TooMuch, Assessment::Risky, "424x240@30"),
        ("424x240@30", 586, Assessment::Fits, Assessment::Fits, "424x240@30"),
        // 1173 Mb/s at the smallest size: still within.
        ("640x480@60", 3539, Assessment::TooMuch, Assessment::Fits, "424x240@60"),
        // Nothing at 90 Hz is common to all models.
        ("424x240@90", 1758, Assessment::Risky, Assessment::Fits, "424x240@60"),
    ] {
        let plan = six(profile, 1);
        assert_eq!((plan.need_megabits, plan.controllers.len()), (need, 1), "{profile}");
        let controller = &plan.controllers[0];
        assert_eq!((controller.assessment, controller.cameras.len()), (on_one, 6), "{profile}");
        assert_eq!(controller.largest_profile, Some(largest.parse().unwrap()), "{profile}");
        assert_eq!(plan.fits, on_one == Assessment::Fits);
        let plan = six(profile, 3);
        for controller in &plan.controllers {
            assert_eq!((controller.assessment, controller.cameras.len()), (on_three, 2), "{profile}");
        }
        assert_eq!(plan.fits, on_three == Assessment::Fits);
    }
}

#[test]
fn bytes_on_the_wire_are_those_of_the_camera() {
    let of = |format| bits(&[stream(Stream::COLOR, format, "1000x1000@10")]);
    for (format, megabits) in [
        (PixelFormat::Z16, 160),
        (PixelFormat::Yuyv, 160),
        (PixelFormat::Rgb8, 160),
        (PixelFormat::Bgr8, 160),
        (PixelFormat::Y8, 80),
    ] {
        assert_eq!(of(format), megabits * 1_000_000, "{format}");
    }
}

#[test]
fn the_largest_profile_is_one_that_every_stream_has() {
    let own = ["1280x720@30", "480x270@30", "480x270@5"];
    let profiles = own.iter().flat_map(|profile| demand(profile).streams).collect();
    let known = UsbDemand { profiles, ..demand("1280x720@30") };
    let camera = |demand: &UsbDemand| UsbCamera {
        name: String::new(),
        demand: demand.clone(),
        place: CameraLocation::Assumed(0),
        rivals: Vec::new(),
    };
    let largest = |demands: &[&UsbDemand], megabits: u64| {
        let cameras: Vec<_> = demands.iter().map(|&demand| camera(demand)).collect();
        let largest = largest(&cameras.iter().collect::<Vec<_>>(), megabits * 1_000_000);
        the_same(&largest).map(|profile| profile.to_string())
    };
    assert_eq!(largest(&[&known], 1200).as_deref(), Some("1280x720@30"));
    assert_eq!(largest(&[&known, &known], 1200).as_deref(), Some("480x270@30"));
    assert_eq!(largest(&[&known], 100).as_deref(), Some("480x270@5"));
    assert_eq!(largest(&[&known], 1), None);
    // The other camera's model is unknown: only the profiles common to all models can be assumed.
    assert_eq!(largest(&[&known, &demand("1280x720@30")], 2000).as_deref(), Some("1280x720@30"));
    assert_eq!(largest(&[&known, &demand("1280x720@30")], 1200), None);
}

#[test]
fn a_camera_is_found_by_port_by_serial_and_by_its_driver() {
    let folder = tempfile::tempdir().unwrap();
    let tree = usb_tree(&folder, &[("usb2", "5000", "3.10", "pci"), ("2-1", "5000", "3.20", "asic")]);
    let device = Device { serial: "optical".into(), usb_port: "2-1".into(), ..Device::default() };
    let by = |port: Option<&str>, serial: Option<&str>| UsbDemand {
        serial: serial.map(str::to_owned),
        port: port.map(str::to_owned),
        ..demand("640x480@30")
    };
    let found = |demand: &UsbDemand, attached: &[Device]| -> Vec<String> {
        find(demand, &tree, attached).into_iter().map(|it| it.port.clone()).collect()
    };
    let seen = &[device][..];
    assert_eq!(found(&by(Some("2-1"), None), &[]), ["2-1"]);
    assert_eq!(found(&by(None, Some("asic")), &[]), ["2-1"]);
    assert!(found(&by(None, Some("optical")), &[]).is_empty());
    assert_eq!(found(&by(None, Some("optical")), seen), ["2-1"]);
    assert!(found(&by(Some("2-2"), None), &[]).is_empty());
    assert!(found(&by(None, None), seen).is_empty());
}

#[test]
fn a_camera_is_found_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let devices = [("usb2", "pci"), ("2-1", "1"), ("2-2", "2"), ("2-3", "3"), ("2-4", "4")];
    usb_tree(&folder, &devices.map(|(port, serial)| (port, "5000", "3.20", serial)));
    for (port, product) in [
        ("2-1", "Intel(R) RealSense(TM) Depth Camera 405 "),
        ("2-2", "Intel(R) RealSense(TM) Depth Camera 435i"),
        ("2-3", "Intel(R) RealSense(TM) Depth Camera 435i"),
        ("2-4", "Webcam 415"),
    ] {
        std::fs::write(folder.path().join(port).join("product"), format!("{product}\n")).unwrap();
    }
    let tree = UsbTree::read(folder.path()).unwrap();
    let found = |name: &str, attached: &[Device]| -> Vec<String> {
        let demand = UsbDemand { name: Some(name.into()), ..demand("640x480@30") };
        find(&demand, &tree, attached).into_iter().map(|it| it.port.clone()).collect()
    };
    assert_eq!(found("D405", &[]), ["2-1"]);
    assert_eq!(found("d435I", &[]), ["2-2", "2-3"]);
    assert_eq!(found("RealSense", &[]), ["2-1", "2-2", "2-3"]);
    assert!(found("D435", &[]).is_empty() && found("", &[]).is_empty());
    // Information from the driver takes precedence.
    let device =
        |model: &str, port: &str| Device { model: model.into(), usb_port: port.into(), ..Device::default() };
    let seen = [device("Intel RealSense D435I", "2-3"), device("Intel RealSense D405", "2-1")];
    assert_eq!(found("D435i", &seen), ["2-3"]);
    assert_eq!(found("RealSense", &seen), ["2-3", "2-1"]);
}

/// Returns the largest profiles of cameras, each with its streams, within this data rate.
fn largest_of(cameras: &[(&str, &[DeviceProfile], &[DeviceProfile])], megabits: u64) -> Vec<String> {
    let camera = |(name, streams, profiles): &(&str, &[DeviceProfile], &[DeviceProfile])| UsbCamera {
        name: (*name).to_owned(),
        demand: UsbDemand { streams: streams.to_vec(), profiles: profiles.to_vec(), ..UsbDemand::default() },
        place: CameraLocation::Assumed(0),
        rivals: Vec::new(),
    };
    let cameras: Vec<_> = cameras.iter().map(camera).collect();
    let largest = largest(&cameras.iter().collect::<Vec<_>>(), megabits * 1_000_000);
    largest.iter().map(ToString::to_string).collect()
}

#[test]
fn mixed_rates_stay_mixed() {
    let depth = stream(Stream::DEPTH, PixelFormat::Z16, "848x480@60");
    let color = stream(Stream::COLOR, PixelFormat::Rgb8, "1280x720@15");
    let camera: (&str, &[DeviceProfile], &[DeviceProfile]) = ("c", &[depth, color], &[]);
    // 391 and 221 Mb/s: nothing is faster than requested.
    assert_eq!(largest_of(&[camera], 700), ["`c` depth 848x480@60", "`c` color 1280x720@15"]);
    assert_eq!(largest_of(&[camera], 400), ["`c` depth 640x480@60", "`c` color 640x480@15"]);
}

#[test]
fn a_profile_that_only_its_camera_has_is_kept() {
    let only = stream(Stream::COLOR, PixelFormat::Rgb8, "1920x1080@30");
    assert_eq!(largest_of(&[("c", &[only], &[])], 1000), ["`c` color 1920x1080@30"]);
    assert_eq!(largest_of(&[("c", &[only], &[])], 900), ["`c` color 1280x720@30"]);
}

#[test]
fn unequal_cameras_get_profiles_that_they_have() {
    let near = ["1280x720@30", "480x270@30"].map(|profile| stream(Stream::DEPTH, PixelFormat::Z16, profile));
    let far = ["1280x800@30", "640x400@30"].map(|profile| stream(Stream::DEPTH, PixelFormat::Z16, profile));
    let cameras: [(&str, &[DeviceProfile], &[DeviceProfile]); 2] =
        [("near", &near[..1], &near), ("far", &far[..1], &far)];
    // 442 and 123 Mb/s, or 62 and 123 Mb/s.
    assert_eq!(largest_of(&cameras, 600), ["`near` depth 1280x720@30", "`far` depth 640x400@30"]);
    assert_eq!(largest_of(&cameras, 300), ["`near` depth 480x270@30", "`far` depth 640x400@30"]);
    // The profile that both have would cost a rate.
    let with_slow = |fast| [fast, "640x480@15"].map(|it| stream(Stream::DEPTH, PixelFormat::Z16, it));
    let (one, other) = (with_slow("1280x720@30"), with_slow("848x480@30"));
    let slow: [(&str, &[DeviceProfile], &[DeviceProfile]); 2] =
        [("one", &one[..1], &one), ("other", &other[..1], &other)];
    assert_eq!(largest_of(&slow, 2000), ["`one` depth 1280x720@30", "`other` depth 848x480@30"]);
    let plan = |budget| {
        let camera = |&(name, streams, profiles): &(&str, &[DeviceProfile], &[DeviceProfile])| UsbCamera {
            name: name.to_owned(),
            demand: UsbDemand {
                streams: streams.to_vec(),
                profiles: profiles.to_vec(),
                ..UsbDemand::default()
            },
            place: CameraLocation::Assumed(0),
            rivals: Vec::new(),
        };
        let cameras: Vec<_> = cameras.iter().map(camera).collect();
        let budgets = Budgets { cautious_megabits: budget, ..Budgets::default() };
        plan("t.toml", &cameras, &UsbTree::default(), &UsbSettings::default(), budgets)
    };
    let controller = &plan(1000).controllers[0];
    assert_eq!((controller.largest_profile, controller.largest_profiles.len()), (None, 2));
    let controller = &plan(10).controllers[0];
    assert_eq!((controller.largest_profile, controller.largest_profiles.len()), (None, 0));
}

#[test]
fn a_tree_without_its_root_hub_has_an_unknown_controller() {
    let folder = tempfile::tempdir().unwrap();
    let tree = usb_tree(&folder, &[("2-1", "10000", "3.20", "a"), ("1-1", "480", "2.10", "b")]);
    let camera = |name: &str, port: &str| UsbCamera {
        name: name.to_owned(),
        demand: UsbDemand { refuses_usb2: true, ..demand("424x240@15") },
        place: CameraLocation::Port(port.to_owned()),
        rivals: Vec::new(),
    };
    let cameras = [camera("fast", "2-1"), camera("absent", "2-2"), camera("slow", "1-1")];
    let plan = plan("t.toml", &cameras, &tree, &UsbSettings::default(), Budgets::default());
    let links: Vec<_> =
        plan.controllers.iter().map(|it| (&*it.controller, &*it.bus, it.link_megabits)).collect();
    assert_eq!(links, [("unknown", "usb1", 480), ("unknown", "usb2", 5000)]);
    assert_eq!(
        plan.warnings,
        [
            "the USB tree has no root hub usb1: the controller of `slow` is unknown",
            "the USB tree has no root hub usb2: the controller of `fast`, `absent` is unknown",
            "camera `slow` at port 1-1 has 480 Mb/s: its port, plug or cable is one of USB 2; it is refused unless its \
             options have `allow_usb2 = true`",
        ],
    );
}

/// A machine's network as sysfs has it, in `root`: the name, speed and MTU of each interface.
fn network(root: &tempfile::TempDir, interfaces: &[(&str, &str, &str)]) -> UsbSettings {
    for (name, speed, mtu) in interfaces {
        let folder = root.path().join("sys/class/net").join(name);
        std::fs::create_dir_all(folder.join("device")).unwrap();
        for (name, text) in [("speed", speed), ("mtu", mtu)] {
            std::fs::write(folder.join(name), format!("{text}\n")).unwrap();
        }
    }
    UsbSettings::read(&root.path().join("sys/bus/usb/devices"))
}

fn on_ethernet(name: &str, profile: &str) -> UsbCamera {
    UsbCamera {
        name: name.to_owned(),
        demand: demand(profile),
        place: CameraLocation::Ethernet,
        rivals: Vec::new(),
    }
}

fn plan_of(cameras: &[UsbCamera], settings: &UsbSettings) -> Plan {
    plan("t.toml", cameras, &UsbTree::default(), settings, Budgets::default())
}

/// Its name, data rate, budgets and assessment.
type LinkFigures = (String, u64, (u64, u64), Assessment);

fn figures(plan: &Plan) -> Vec<LinkFigures> {
    let of = |it: &ControllerPlan| {
        let budgets = (it.cautious_megabits, it.optimistic_megabits);
        (it.controller.clone(), it.need_megabits, budgets, it.assessment)
    };
    plan.controllers.iter().map(of).collect()
}

#[test]
fn wired_interfaces_with_a_link_are_found_the_fastest_first() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("sys/class/net");
    network(
        &root,
        &[
            ("eth0", "1000", "1500"),
            ("eth1", "2500", "9000"),
            ("eth2", "-1", "1500"),
            ("wlan0", "600", "1500"),
        ],
    );
    std::fs::create_dir(folder.join("wlan0/wireless")).unwrap();
    std::fs::create_dir(folder.join("docker0")).unwrap();
    std::fs::write(folder.join("docker0/speed"), "10000\n").unwrap();
    let found = network(&root, &[]).interfaces;
    let found: Vec<_> = found.iter().map(|it| (&*it.name, it.megabits, it.mtu)).collect();
    assert_eq!(found, [("eth1", 2500, 9000), ("eth0", 1000, 1500)]);
}

#[test]
fn cameras_on_ethernet_share_the_fastest_interface() {
    let root = tempfile::tempdir().unwrap();
    let settings = network(&root, &[("eth0", "2500", "9000")]);
    let four =
        |profile| -> Vec<_> { (0..4).map(|number| on_ethernet(&format!("c{number}"), profile)).collect() };
    let plan = plan_of(&four("640x360@30"), &settings);
    assert_eq!(figures(&plan), [("eth0".to_owned(), 885, (1971, 2341), Assessment::Fits)]);
    assert_eq!((plan.fits, plan.need_megabits), (true, 885));
    let [sharing] = &plan.warnings[..] else { panic!("{:?}", plan.warnings) };
    assert!(sharing.starts_with("`c0`, `c1`, `c2`, `c3` share one link behind a switch"), "{sharing}");
    // Each of them is too fast for the gigabit of its own link as well.
    let plan = plan_of(&four("1280x720@30"), &settings);
    let own = |number| (format!("own link of c{number}"), 885, (788, 936), Assessment::Risky);
    let shared = ("eth0".to_owned(), 3539, (1971, 2341), Assessment::TooMuch);
    assert_eq!(figures(&plan), [shared, own(0), own(1), own(2), own(3)]);
    assert_eq!(plan.controllers[0].largest_profile, Some("848x480@30".parse().unwrap()));
}

#[test]
fn a_slow_link_and_small_packets_are_named() {
    let root = tempfile::tempdir().unwrap();
    let settings = network(&root, &[("eth0", "100", "1500")]);
    let plan = plan_of(&[on_ethernet("arm", "640x360@15")], &settings);
    assert_eq!(figures(&plan), [("eth0".to_owned(), 111, (73, 87), Assessment::TooMuch)]);
    assert_eq!(
        plan.warnings,
        [
            "interface `eth0` has 100 Mb/s, a camera's own link 1000: look for a slow switch, or a cable below Cat 5e",
            "interface `eth0` has an MTU of 1500, and cameras send packets of 9000 bytes unless they are set otherwise: \
             set it on the interface (`ip link set eth0 mtu 9000`) and on each switch, or lower it in the camera with a \
             transmission delay (librealsense's `rs-dds-config`)",
        ]
    );
    // Of a machine without a known network, and of one with two interfaces.
    let plan = plan_of(&[on_ethernet("arm", "640x360@15")], &UsbSettings::default());
    assert_eq!(figures(&plan), [("assumed link".to_owned(), 111, (732, 870), Assessment::Fits)]);
    assert!(
        plan.warnings[0].starts_with("no Ethernet interface with a link is known;"),
        "{:?}",
        plan.warnings
    );
    let settings = network(&root, &[("eth1", "1000", "9000")]);
    let plan = plan_of(&[on_ethernet("arm", "640x360@15")], &settings);
    assert_eq!(
        plan.warnings,
        ["planned on `eth1`, the fastest interface: `arm`; this machine also has `eth0` (100 Mb/s)"]
    );
}

#[test]
fn cameras_on_ethernet_take_nothing_of_usb() {
    let root = tempfile::tempdir().unwrap();
    let settings = UsbSettings { usbfs_memory_mb: Some(1), ..network(&root, &[("eth0", "1000", "9000")]) };
    let plan = plan_of(&[on_ethernet("arm", "848x480@30")], &settings);
    assert!(plan.warnings.is_empty(), "{:?}", plan.warnings);
    assert!(plan.cameras[0].on_ethernet && plan.controllers[0].is_ethernet());
}

#[test]
fn models_with_ethernet_are_known_by_name_and_by_their_driver() {
    let by = |name: Option<&str>, port: Option<&str>| UsbDemand {
        name: name.map(str::to_owned),
        port: port.map(str::to_owned),
        ..UsbDemand::default()
    };
    assert!(is_on_ethernet(&by(Some("D555"), None), None));
    assert!(is_on_ethernet(&by(Some("Intel RealSense D555"), None), None));
    assert!(is_on_ethernet(&by(None, None), Some("Intel RealSense D555")));
    assert!(!is_on_ethernet(&by(Some("D555"), Some("2-1")), None));
    assert!(!is_on_ethernet(&by(Some("D455"), None), None));
    assert!(!is_on_ethernet(&by(None, None), Some("Intel RealSense D457")));
}
