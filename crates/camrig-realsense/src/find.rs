//! Finds the selected device among the attached cameras, and opens files.
//!
//! It does not depend on streams.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use camrig::{Device, DeviceProfile, DriverError};
use realsense_rust::kind::Rs2CameraInfo;

use crate::broken;
use crate::guess::{AttachedCamera, Guess};
use crate::names::list as list_of;
use crate::profiles::{Candidate, candidates};
use crate::request::Selection;
use crate::subject::Subject;
use crate::sys::{self, Context, DeviceList, Fault, OpenDevice, OpenSensor};
use crate::turn::Turns;

/// Number of bytes at the start of a file that identify its format.
const FORMAT_BYTES: u64 = 16;

/// The last word of the model of a camera in recovery mode.
const RECOVERY: &str = "Recovery";

/// The problem of such a camera.
const IN_RECOVERY: &str =
    "is in recovery mode: write its firmware again with `rs-fw-update -r`, or with realsense-viewer";

/// librealsense's words for a camera whose motion sensors the kernel does not show.
const NO_MOTION_SENSORS: &str = "bad optional access";

/// Creates a context, which finds devices. For live cameras the caller has to hold the host-wide lock.
pub(crate) fn context() -> Result<Context, DriverError> {
    Context::new().map_err(|fault| DriverError::unavailable(format!("librealsense cannot be used: {fault}")))
}

/// Returns the attached cameras.
pub(crate) fn devices() -> Result<Vec<Device>, DriverError> {
    let _turn = Turns::of_this_host().take("a list of devices")?;
    devices_in(&context()?)
}

/// Returns the cameras of `context`. One that cannot be opened is logged and omitted.
pub(crate) fn devices_in(context: &Context) -> Result<Vec<Device>, DriverError> {
    let list = listed(context)?;
    let mut attached = AttachedCamera::read();
    let mut look = |index| -> Result<Device, Fault> {
        let device = list.open(index)?;
        let own = describe(&device);
        // All are open now: later only the selected one has to be.
        attached.remember(&own);
        // A camera in recovery has no sensors to ask for.
        let profiles = if own.problem.is_empty() { profiles(&device.sensors()?) } else { Vec::new() };
        Ok(Device { profiles, ..own })
    };
    let warn = |fault: &Fault| log::warn!("a RealSense camera cannot be opened: {}", explained(fault));
    let mut devices: Vec<_> =
        (0..list.len()).filter_map(|index| look(index).inspect_err(warn).ok()).collect();
    // librealsense's order varies.
    devices.sort_by(|one, other| (&one.serial, &one.usb_port).cmp(&(&other.serial, &other.usb_port)));
    Ok(devices)
}

/// Returns the version of the loaded library, and its backend, which shows in the ports of attached cameras.
pub(crate) fn describe_library() -> Result<String, DriverError> {
    let _turn = Turns::of_this_host().take("a look at the library")?;
    let context = context()?;
    let list = listed(&context)?;
    let port = (0..list.len()).find_map(|index| {
        let port =
            list.open(index).ok()?.device().info(Rs2CameraInfo::PhysicalPort)?.to_string_lossy().into_owned();
        (!port.is_empty()).then_some(port)
    });
    let backend = match port {
        Some(port) if is_of_v4l2(&port) => "with the V4L2 backend",
        Some(_) => "with the RSUSB backend",
        None => "whose backend is unknown without a camera",
    };
    Ok(format!("librealsense {}, {backend}", sys::version()))
}

/// Returns whether a physical port is a path of sysfs, as the V4L2 backend reports it.
fn is_of_v4l2(physical_port: &str) -> bool {
    physical_port.starts_with('/')
}

fn listed(context: &Context) -> Result<DeviceList, DriverError> {
    context
        .devices()
        .map_err(|fault| DriverError::unavailable(format!("RealSense cameras cannot be listed: {fault}")))
}

/// Returns the candidates for the streams of these sensors, and the profiles that are left out.
pub(crate) fn profiles(sensors: &[OpenSensor]) -> Vec<DeviceProfile> {
    let (candidates, _) = candidates(sensors);
    let profile = |candidate: Candidate| {
        let Candidate { stream, format, profile, .. } = candidate;
        DeviceProfile { stream, format, profile }
    };
    candidates.into_iter().map(profile).collect()
}

/// Returns the description of a device, without its streams.
pub(crate) fn describe(device: &OpenDevice) -> Device {
    let info = |kind| {
        let text = device.device().info(kind);
        text.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let model = info(Rs2CameraInfo::Name);
    let in_recovery = device.is_in_recovery() || model.ends_with(RECOVERY);
    Device {
        model,
        serial: info(Rs2CameraInfo::SerialNumber),
        firmware: info(Rs2CameraInfo::FirmwareVersion),
        usb_type: info(Rs2CameraInfo::UsbTypeDescriptor),
        usb_port: usb_port(&info(Rs2CameraInfo::PhysicalPort)),
        profiles: Vec::new(),
        problem: if in_recovery { IN_RECOVERY.to_owned() } else { String::new() },
    }
}

/// Returns the port as sysfs names it, such as `2-1.3`; empty if librealsense does not report it.
///
/// With V4L2 librealsense reports a path of sysfs, with libusb the port and, after a dash, the device's number.
fn usb_port(physical_port: &str) -> String {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_port = |text: &&str| {
        text.split_once('-').is_some_and(|(bus, ports)| is_number(bus) && ports.split('.').all(is_number))
    };
    // The innermost one: those before it are hubs.
    if let Some(port) = physical_port.split('/').rev().find(is_port) {
        return port.to_owned();
    }
    let port = physical_port.rsplit_once('-').map(|(port, _)| port);
    port.filter(is_port).unwrap_or_default().to_owned()
}

/// Returns the name of a model without its maker, which librealsense 2.59 omits.
fn without_maker(model: &str) -> &str {
    model
        .split_once(' ')
        .filter(|(maker, _)| maker.eq_ignore_ascii_case("Intel"))
        .map_or(model, |(_, rest)| rest)
}

impl Selection {
    pub(crate) fn matches(&self, device: &Device) -> bool {
        match self {
            Self::Serial(serial) => device.serial == *serial,
            Self::Port(port) => device.usb_port == *port,
            Self::Name(name) => {
                let last_word = device.model.rsplit(' ').next().unwrap_or_default();
                let is_model = without_maker(&device.model).eq_ignore_ascii_case(without_maker(name));
                is_model || last_word.eq_ignore_ascii_case(name)
            }
            Self::Any => true,
        }
    }

    /// Returns the option that selects.
    pub(crate) fn key(&self) -> &'static str {
        match self {
            Self::Serial(_) => "serial",
            Self::Port(_) => "port",
            Self::Name(_) => "name",
            Self::Any => "any",
        }
    }

    /// Returns whether at most one device can match.
    fn is_unique(&self) -> bool {
        matches!(self, Self::Serial(_) | Self::Port(_))
    }
}

/// Returns the selected camera. Unlike librealsense's own search, it does not wait for one.
pub(crate) fn find(context: &Context, selection: &Selection) -> Result<(OpenDevice, Device), DriverError> {
    find_in(&listed(context)?, selection, &mut AttachedCamera::read())
}

/// Like [`find`], with the facts that are known without opening cameras.
fn find_in(
    list: &DeviceList,
    selection: &Selection,
    attached: &mut AttachedCamera,
) -> Result<(OpenDevice, Device), DriverError> {
    let guesses = attached.guesses(selection, list.len());
    let found = match guesses.map(|guesses| guessed(list, selection, &guesses, attached)) {
        Some(Guessed::One(device)) => return usable(*device, selection),
        Some(Guessed::None) => return Err(not_found(selection, "is connected", &attached.brief())),
        Some(Guessed::Wrong) | None => search(list, selection, attached)?,
    };
    usable(found, selection)
}

/// The result of opening the cameras that may be the selected one.
enum Guessed {
    One(Box<(OpenDevice, Device)>),
    None,
    /// A camera was not where it was expected, or several match: all have to be opened.
    Wrong,
}

/// Opens the guessed cameras, until the selected one is certain.
fn guessed(
    list: &DeviceList,
    selection: &Selection,
    guesses: &[Guess],
    attached: &mut AttachedCamera,
) -> Guessed {
    let mut one = None;
    for Guess { index, port } in guesses {
        let Ok(device) = list.open(*index) else { return Guessed::Wrong };
        let own = describe(&device);
        attached.remember(&own);
        match (own.usb_port == *port, selection.matches(&own), &one) {
            (true, true, None) => one = Some(Box::new((device, own))),
            (true, false, _) => {}
            _ => return Guessed::Wrong,
        }
        // Each examined device is opened for a moment: no more than necessary.
        if one.is_some() && selection.is_unique() {
            break;
        }
    }
    one.map_or(Guessed::None, Guessed::One)
}

/// Opens all cameras, until the selected one is certain.
fn search(
    list: &DeviceList,
    selection: &Selection,
    attached: &mut AttachedCamera,
) -> Result<(OpenDevice, Device), DriverError> {
    let (mut matching, mut others, mut refused) = (Vec::new(), Vec::new(), false);
    for index in 0..list.len() {
        match list.open(index).map(|device| (describe(&device), device)) {
            Ok((own, device)) => {
                attached.remember(&own);
                if !selection.matches(&own) {
                    others.push(brief(&own));
                    continue;
                }
                matching.push((device, own));
                if selection.is_unique() {
                    break;
                }
            }
            Err(fault) => {
                refused = true;
                others.push(format!("one that cannot be opened ({})", explained(&fault)));
            }
        }
    }
    if matching.len() > 1 {
        // librealsense's order varies.
        matching.sort_by(|(_, one), (_, other)| one.serial.cmp(&other.serial));
        let (count, which) = (matching.len(), list_of(matching.iter().map(|(_, own)| brief(own))));
        let matched = match selection {
            Selection::Any => "are connected".to_owned(),
            selection => format!("match {selection}"),
        };
        return Err(DriverError::new(format!(
            "{count} RealSense cameras {matched}: {which}; select one by `serial` or `port`"
        ))
        .at(selection.key()));
    }
    let verb = if refused { "can be opened" } else { "is connected" };
    matching.pop().ok_or_else(|| not_found(selection, verb, &list_of(others.into_iter())))
}

/// Returns librealsense's reason why a camera cannot be opened, with advice where the reason has none.
fn explained(fault: &Fault) -> String {
    let words = fault.to_string();
    if words != NO_MOTION_SENSORS {
        return words;
    }
    format!(
        "{words}: the kernel shows no motion sensors of it, without which librealsense opens no camera that has them and \
         firmware 5.16 or later: load the kernel modules hid-sensor-accel-3d and hid-sensor-gyro-3d"
    )
}

fn not_found(selection: &Selection, verb: &str, connected: &str) -> DriverError {
    let with = match selection {
        Selection::Serial(serial) => format!(" with serial `{serial}`"),
        Selection::Port(port) => format!(" at USB port `{port}`"),
        Selection::Name(name) => format!(" named `{name}`"),
        Selection::Any => String::new(),
    };
    DriverError::unavailable(format!("no RealSense camera{with} {verb}; connected: {connected}"))
        .at(selection.key())
}

/// Refuses a camera that cannot be used.
fn usable(
    (device, own): (OpenDevice, Device),
    selection: &Selection,
) -> Result<(OpenDevice, Device), DriverError> {
    if own.problem.is_empty() {
        return Ok((device, own));
    }
    Err(DriverError::unavailable(format!("camera {} {}", brief(&own), own.problem)).at(selection.key()))
}

/// Resets the selected camera, which then disappears for some seconds and comes back with the same serial number.
pub(crate) fn reset(who: &str, selection: &Selection) -> Result<(), DriverError> {
    let _turn = Turns::of_this_host().take(who)?;
    reset_in(&context()?, selection)
}

/// Returns whether the selected camera is connected.
pub(crate) fn is_connected(who: &str, selection: &Selection) -> Result<bool, DriverError> {
    let _turn = Turns::of_this_host().take(who)?;
    match find(&context()?, selection) {
        Ok(_) => Ok(true),
        Err(error) if error.is_unavailable() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Like [`reset`], among the devices of `context`.
pub(crate) fn reset_in(context: &Context, selection: &Selection) -> Result<(), DriverError> {
    let (device, Device { serial, .. }) = find(context, selection)?;
    device
        .hardware_reset()
        .map_err(|fault| DriverError::unavailable(format!("camera `{serial}` cannot be reset: {fault}")))
}

/// Formats a camera in a list.
fn brief(device: &Device) -> String {
    let Device { model, serial, usb_port, .. } = device;
    let port = if usb_port.is_empty() { String::new() } else { format!(" at USB port {usb_port}") };
    if serial.is_empty() { format!("{model}{port}") } else { format!("`{serial}` ({model}{port})") }
}

pub(crate) fn open_file(context: &Context, path: &Path) -> Result<OpenDevice, DriverError> {
    broken::check(path).and_then(|()| open(context, path)).map_err(|error| error.at("file"))
}

fn open(context: &Context, path: &Path) -> Result<OpenDevice, DriverError> {
    let name = path.display();
    match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(DriverError::new(format!("file `{name}` does not exist")));
        }
        Err(error) => return Err(DriverError::new(format!("file `{name}` cannot be read: {error}"))),
        Ok(metadata) if metadata.is_dir() => {
            return Err(DriverError::new(format!("file `{name}` is a directory")));
        }
        Ok(_) => {}
    }
    let subject = Subject::File(name.to_string()).to_string();
    context.open_file(path, &subject).map_err(|fault| {
        let message = fault.to_string();
        let mut begin = Vec::new();
        let read = File::open(path).and_then(|file| file.take(FORMAT_BYTES).read_to_end(&mut begin));
        if let (Ok(_), Some(reason)) = (read, sys::version().is_too_old_for(&begin)) {
            return DriverError::new(format!("file `{name}` {reason}"));
        }
        let reason = if message.contains("unindexed") {
            // The recorder writes the index last, and was killed before.
            "is not closed properly (bag unindexed)"
        } else if message.contains("Error reading from file") {
            // The start is valid, but the end is missing: the file was not copied completely.
            "is cut off"
        } else {
            "is not a recording that librealsense can play"
        };
        DriverError::new(format!("file `{name}` {reason}: {fault}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guess::tests::listed as tree;
    use crate::sys::OPENED;
    use crate::tests::SCENE;
    use crate::tests::software::{Identity, Plugged, Scene, SoftwareCamera};

    #[test]
    fn a_name_selects_the_model_with_every_librealsense() {
        for model in ["Intel RealSense D435", "RealSense D435"] {
            let device = Device { model: model.into(), ..Device::default() };
            let matches = |name: &str| Selection::Name(name.into()).matches(&device);
            assert!(
                ["Intel RealSense D435", "intel realsense d435", "RealSense D435", "D435"]
                    .map(matches)
                    .iter()
                    .all(|it| *it)
            );
            assert!(
                ["Intel RealSense D435I", "Intel D435", "Intel", "RealSense", "D4"]
                    .map(matches)
                    .iter()
                    .all(|it| !it)
            );
        }
    }

    #[test]
    fn ports_are_named_as_in_sysfs() {
        for (physical_port, port) in [
            ("/sys/devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1.3/2-1.3:1.0/video4linux/video0", "2-1.3"),
            ("/sys/devices/platform/3610000.xhci/usb2/2-3/2-3:1.0/video4linux/video4", "2-3"),
            ("2-1.3.4-17", "2-1.3.4"),
            ("4-2-9", "4-2"),
            ("/sys/devices/platform/cam/video4linux/video0", ""),
            ("video-i2c", ""),
            ("", ""),
        ] {
            assert_eq!(usb_port(physical_port), port, "{physical_port}");
        }
    }

    #[test]
    fn a_camera_without_its_motion_sensors_is_explained() {
        assert_eq!(explained(&Fault::new("timed out")), "timed out");
        let message = explained(&Fault::new("bad optional access"));
        assert!(
            message.ends_with("load the kernel modules hid-sensor-accel-3d and hid-sensor-gyro-3d"),
            "{message}"
        );
    }

    const PORTS: [&str; 3] = ["2-1", "2-2", "2-3"];

    /// Plugs a camera into each of [`PORTS`], and returns their ports in librealsense's order.
    fn three(context: &Context) -> (Vec<(SoftwareCamera, Plugged)>, Vec<String>) {
        let path = |port: &str| format!("/sys/devices/usb2/{port}/{port}:1.0/video4linux/video0");
        let camera = |port: &str| {
            let (serial, physical_port) = (format!("9{port}"), path(port));
            let identity =
                Identity { serial: serial.leak(), physical_port: physical_port.leak(), ..Identity::D435 };
            SoftwareCamera::new(Scene { identity, ..SCENE })
        };
        let plugged = PORTS.map(|port| {
            let camera = camera(port);
            let plugged = context.plug_in(&camera);
            (camera, plugged)
        });
        let list = context.devices().unwrap();
        let order = (0..list.len()).map(|index| describe(&list.open(index).unwrap()).usb_port).collect();
        (plugged.into(), order)
    }

    #[test]
    fn a_selected_camera_is_the_only_one_that_is_opened() {
        let context = Context::new().unwrap();
        let (_plugged, order) = three(&context);
        let list = context.devices().unwrap();
        let opens = |selection: &Selection, guesses: &[Guess]| {
            let before = OPENED.get();
            let found = guessed(&list, selection, guesses, &mut AttachedCamera::default());
            let port = match found {
                Guessed::One(found) => found.1.usb_port,
                Guessed::None => "none".to_owned(),
                Guessed::Wrong => "wrong".to_owned(),
            };
            (port, OPENED.get() - before)
        };
        for (index, port) in order.iter().enumerate() {
            let right = [Guess { index, port: port.clone() }];
            assert_eq!(opens(&Selection::Port(port.clone()), &right), (port.clone(), 1));
            assert_eq!(opens(&Selection::Serial(format!("9{port}")), &right), (port.clone(), 1));
            let other = [Guess { index: (index + 1) % 3, port: port.clone() }];
            assert_eq!(opens(&Selection::Port(port.clone()), &other), ("wrong".to_owned(), 1));
        }
        // The selected one is not attached: no camera is opened to see that.
        assert_eq!(opens(&Selection::Port("2-9".into()), &[]), ("none".to_owned(), 0));
        let all = |selection: &Selection| {
            let guess = |(index, port): (usize, &String)| Guess { index, port: port.clone() };
            opens(selection, &order.iter().enumerate().map(guess).collect::<Vec<_>>())
        };
        assert_eq!(all(&Selection::Serial("absent".into())), ("none".to_owned(), 3));
        // The others are not opened once it is found.
        assert_eq!(all(&Selection::Serial(format!("9{}", order[1]))), (order[1].clone(), 2));
        // All have one name.
        assert_eq!(all(&Selection::Name("D435".into())).0, "wrong");
        // Nothing is known of cameras that are not in the USB tree.
        let before = OPENED.get();
        let (_, found) =
            find_in(&list, &Selection::Port(order[0].clone()), &mut AttachedCamera::default()).unwrap();
        assert_eq!((found.usb_port, OPENED.get() - before), (order[0].clone(), 1));
        let (before, last) = (OPENED.get(), &order[2]);
        let (_, found) = find_in(&list, &Selection::Port(last.clone()), &mut tree(&order)).unwrap();
        assert_eq!((&found.usb_port, OPENED.get() - before), (last, 1));
    }

    #[test]
    fn a_camera_in_recovery_mode_is_listed_as_such() {
        let context = Context::new().unwrap();
        let identity = Identity {
            model: "Intel RealSense D4XX Recovery",
            serial: "",
            usb_type: "2.1",
            ..Identity::D435
        };
        let camera = SoftwareCamera::new(Scene { identity, ..SCENE });
        let _plugged = context.plug_in(&camera);
        let devices = devices_in(&context).unwrap();
        assert_eq!((devices.len(), &*devices[0].problem, devices[0].profiles.len()), (1, IN_RECOVERY, 0));
        let refused = find(&context, &Selection::Any).err().unwrap();
        assert!(refused.is_unavailable());
        assert_eq!(
            refused.to_string(),
            format!("camera Intel RealSense D4XX Recovery at USB port 2-2 {IN_RECOVERY}")
        );
    }
}
