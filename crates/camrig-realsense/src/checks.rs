//! The cameras that were checked, each with its options: a run does not open them for another check.
//!
//! The kernel's USB tree shows whether a camera is connected, and how fast. Everything else that a check finds depends on
//! the camera, the options and librealsense, which all are part of a check's key. A camera's own process checks its
//! options again.

use std::hash::{DefaultHasher, Hash, Hasher};

use camrig::Device;
use camrig_usb::UsbDevice;

use crate::guess::AttachedCamera;
use crate::hints::HintFile;
use crate::request::{CameraRequest, Selection, SourceRequest};
use crate::sys;

/// Name of the file.
const FILE_NAME: &str = "camrig-realsense.checks";

/// Maximum number of checks that are kept, the newest ones.
const CHECKS_MAX: usize = 256;

/// Separates the fields of a line.
const SEPARATOR: char = '\t';

/// Returns the device of a live camera that was checked with these options, if it is connected.
pub(crate) fn recall(request: &CameraRequest) -> Option<Device> {
    let SourceRequest::Live(live) = &request.source else { return None };
    let attached = AttachedCamera::read();
    let camera = attached.only(&live.selection)?;
    find(&HintFile::named(FILE_NAME)?.read(), camera, &live.selection, key(request, camera))
}

/// Records that a live camera can be used with these options.
pub(crate) fn remember(request: &CameraRequest, device: &Device) {
    let attached = AttachedCamera::read();
    let (Some(camera), Some(file)) = (attached.at(&device.usb_port), HintFile::named(FILE_NAME)) else {
        return;
    };
    if let Some(text) = with(&file.read(), camera, key(request, camera), device) {
        file.write(&text);
    }
}

/// Returns a number that differs if anything differs on which a check depends.
fn key(request: &CameraRequest, camera: &UsbDevice) -> u64 {
    let preset = match &request.source {
        SourceRequest::Live(live) => live.settings.preset.as_ref(),
        SourceRequest::File(_) => None,
    };
    let preset = preset.and_then(|path| path.metadata().ok()).map(|file| (file.len(), file.modified().ok()));
    let UsbDevice { product, megabits, version, release, .. } = camera;
    let mut hasher = DefaultHasher::new();
    (env!("CARGO_PKG_VERSION"), sys::version().to_string(), format!("{request:?}"), preset).hash(&mut hasher);
    (product, megabits, version.to_bits(), release).hash(&mut hasher);
    hasher.finish()
}

/// Returns the device of the check of `camera` with this key.
fn find(text: &str, camera: &UsbDevice, selection: &Selection, key: u64) -> Option<Device> {
    let key = format!("{key:x}");
    let device = text.lines().find_map(|line| {
        let fields: Vec<_> = line.split(SEPARATOR).collect();
        let [descriptor, own_key, serial, model, firmware, usb_type] = fields[..] else { return None };
        (descriptor == camera.serial && own_key == key).then(|| Device {
            serial: serial.to_owned(),
            model: model.to_owned(),
            firmware: firmware.to_owned(),
            usb_type: usb_type.to_owned(),
            usb_port: camera.port.clone(),
            ..Device::default()
        })
    });
    device.filter(|device| selection.matches(device))
}

/// Returns the text with one more check; `None` if it cannot be written as a line.
fn with(text: &str, camera: &UsbDevice, key: u64, device: &Device) -> Option<String> {
    let Device { serial, model, firmware, usb_type, .. } = device;
    let key = format!("{key:x}");
    let fields = [&camera.serial, &key, serial, model, firmware, usb_type];
    if camera.serial.is_empty() || fields.iter().any(|field| field.contains(char::is_control)) {
        return None;
    }
    let own = fields.map(String::as_str).join(&SEPARATOR.to_string());
    let same = format!("{}{SEPARATOR}{key}{SEPARATOR}", camera.serial);
    let mut lines: Vec<_> = text.lines().filter(|line| !line.starts_with(&same)).collect();
    lines.push(&own);
    let first = lines.len().saturating_sub(CHECKS_MAX);
    Some(lines[first..].iter().flat_map(|line| [line, "\n"]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::options;

    fn camera(descriptor: &str, port: &str) -> UsbDevice {
        UsbDevice { serial: descriptor.into(), port: port.into(), megabits: 5000, ..UsbDevice::default() }
    }

    fn device(serial: &str) -> Device {
        Device { serial: serial.into(), model: "Intel RealSense D405".into(), ..Device::default() }
    }

    #[test]
    fn a_check_is_found_for_the_same_camera_and_options_at_any_port() {
        let (one, other) = (camera("a", "2-1"), camera("b", "2-2"));
        let (first, second) = (device("1"), device("2"));
        let text = with("nonsense\n", &one, 7, &first).and_then(|text| with(&text, &other, 7, &second));
        let text = text.and_then(|text| with(&text, &one, 7, &first)).unwrap();
        assert_eq!(text.lines().count(), 3);
        let moved = camera("a", "2-6");
        let found = find(&text, &moved, &Selection::Serial("1".into()), 7);
        assert_eq!(found, Some(Device { usb_port: "2-6".into(), ..first }));
        assert_eq!(find(&text, &moved, &Selection::Serial("2".into()), 7), None);
        assert_eq!(find(&text, &moved, &Selection::Any, 8), None);
        assert_eq!(find(&text, &camera("c", "2-1"), &Selection::Any, 7), None);
    }

    #[test]
    fn the_newest_checks_are_kept_and_only_those_that_are_a_line() {
        let add = |text: String, key| with(&text, &camera("a", "2-1"), key, &device("1")).unwrap();
        let text = (0..=CHECKS_MAX as u64).fold(String::new(), add);
        assert_eq!(text.lines().count(), CHECKS_MAX);
        assert_eq!(find(&text, &camera("a", "2-1"), &Selection::Any, 0), None);
        assert!(find(&text, &camera("a", "2-1"), &Selection::Any, CHECKS_MAX as u64).is_some());
        assert_eq!(with("", &camera("", "2-1"), 0, &device("1")), None);
        assert_eq!(with("", &camera("a", "2-1"), 0, &device("1\n2")), None);
    }

    #[test]
    fn a_key_differs_with_options_link_and_preset() {
        let preset = tempfile::NamedTempFile::new().unwrap();
        let key = |toml: &str, camera: &UsbDevice| key(&CameraRequest::new(&options(toml)).unwrap(), camera);
        let toml = format!("serial = '1'\ndepth = '424x240@5'\npreset = '{}'\n", preset.path().display());
        let usb3 = camera("a", "2-1");
        let first = key(&toml, &usb3);
        assert_eq!(key(&toml, &camera("a", "2-1")), first);
        let more = format!("{toml}set = {{ gain = 20 }}");
        assert_ne!(key(&more, &usb3), first);
        assert_ne!(key(&toml, &UsbDevice { megabits: 480, ..camera("a", "2-1") }), first);
        // Another firmware.
        assert_ne!(key(&toml, &UsbDevice { release: "50a3".into(), ..camera("a", "2-1") }), first);
        std::fs::write(preset.path(), "{}").unwrap();
        assert_ne!(key(&toml, &usb3), first);
    }
}
