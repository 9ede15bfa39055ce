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
        place: Place::Assumed(number % controllers),
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
        place: Place::Assumed(0),
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
        place: Place::Assumed(0),
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
    let plan = |budget| {
        let camera = |&(name, streams, profiles): &(&str, &[DeviceProfile], &[DeviceProfile])| UsbCamera {
            name: name.to_owned(),
            demand: UsbDemand {
                streams: streams.to_vec(),
                profiles: profiles.to_vec(),
                ..UsbDemand::default()
            },
            place: Place::Assumed(0),
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
        place: Place::Port(port.to_owned()),
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
