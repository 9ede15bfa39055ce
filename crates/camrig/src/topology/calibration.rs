//! The key `calibration`: the poses of cameras, from a file that `camrig calibrate` wrote.
//!
//! The file is read with the devices, since it need not be on the machine where a topology is only checked.

use std::collections::BTreeMap;
use std::path::Path;

use camrig_frame::{CameraPose, check_calibration, one_line};
use camrig_ipc::protocol::CalibratedPose;
use serde::Deserialize;

use super::problem::{Problems, quote};
use super::section::Section;
use super::{Probed, Span, read_topology};

/// The calibration that a topology names.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Calibration {
    span: Span,
    file: String,
    /// By the name of the camera; or the reason why there are none.
    poses: Result<BTreeMap<String, CalibratedPose>, String>,
}

/// The part of the file that matters here.
#[derive(Deserialize)]
struct File {
    version: u32,
    root: String,
    camera: BTreeMap<String, Camera>,
}

#[derive(Deserialize)]
struct Camera {
    serial: String,
    translation_meters: [f64; 3],
    quaternion_xyzw: [f64; 4],
}

impl Calibration {
    /// Reads the key and the file that it names.
    pub(super) fn of(file: &mut Section<'_, '_>) -> Option<Self> {
        let named = file.optional("calibration")?;
        let (span, file) = (named.span(), named.into_inner());
        let poses = read_topology(Path::new(&file)).and_then(|text| poses(&text));
        Some(Self { span, file, poses })
    }

    /// Returns the pose of a camera; `None` if the file lacks it, or is none.
    pub(super) fn pose(&self, camera: &str) -> Option<&CalibratedPose> {
        self.poses.as_ref().ok()?.get(camera)
    }

    /// Reports a file that cannot be read, or that is of other devices than those that were found.
    pub(super) fn probe(&self, devices: &Probed, problems: &mut Problems) {
        let Self { span, file, poses } = self;
        let poses = match poses {
            Ok(poses) => poses,
            Err(fact) => {
                let title = format!("calibration {} {fact}", quote(file));
                return problems.add(span.clone(), title, "`camrig calibrate` writes one");
            }
        };
        for (name, device) in devices {
            // Under another name it would silently have no pose.
            let renamed = |(known, it): &(&String, &CalibratedPose)| {
                *known != name && !it.serial.is_empty() && it.serial == device.serial
            };
            if let Some((known, _)) = poses.iter().find(renamed).filter(|_| !poses.contains_key(name)) {
                let title = format!(
                    "camera {}: the calibration has its device, serial number {}, as camera {}",
                    quote(name),
                    quote(&device.serial),
                    quote(known)
                );
                problems.add(span.clone(), title, "give it the same name in both files");
            }
            if let Some(CalibratedPose { serial, .. }) =
                poses.get(name).filter(|it| it.serial != device.serial)
            {
                let title = format!("camera {}: {}", quote(name), of_another_device(serial, &device.serial));
                problems.add(span.clone(), title, "calibrate again, or remove it");
            }
        }
    }
}

/// Describes a camera that is not the one that was calibrated.
pub(crate) fn of_another_device(calibrated: &str, found: &str) -> String {
    let of = |serial: &str| match serial {
        "" => "a device without serial number".to_owned(),
        serial => format!("serial number {}", quote(serial)),
    };
    format!("its calibration is of {}, not of {}", of(calibrated), of(found))
}

/// Parses the file; an error is a phrase that follows its name.
fn poses(text: &str) -> Result<BTreeMap<String, CalibratedPose>, String> {
    let File { version, root, camera } = toml::from_str(text)
        .map_err(|error: toml::de::Error| format!("is not a calibration: {}", one_line(error.message())))?;
    let each = camera.iter().map(|(name, Camera { translation_meters, quaternion_xyzw, .. })| {
        (name.as_str(), *translation_meters, *quaternion_xyzw)
    });
    check_calibration(version, &root, each).map_err(|error| format!("is not a calibration: {error}"))?;
    let poses = camera.into_iter().map(|(name, Camera { serial, translation_meters, quaternion_xyzw })| {
        let pose = CameraPose { root: root.clone(), translation_meters, quaternion_xyzw };
        (name, CalibratedPose { serial, pose })
    });
    Ok(poses.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::tests::registry;
    use crate::topology::{Probe, StartTime, Topology};

    const FILE: &str = "version = 1\nroot = 'left'\ndate = 'today'\n\
         [camera.left]\nserial = '2'\ntranslation_meters = [0, 0, 0]\nquaternion_xyzw = [0, 0, 0, 1]\n\
         [camera.right]\nserial = '8'\ntranslation_meters = [0.5, 0, 0.1]\nquaternion_xyzw = [0, 1, 0, 0]\n";

    /// Returns the problems of two cameras with this calibration, whose devices have the serial numbers 2 and 4.
    fn problems(file: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rig.calib.toml");
        std::fs::write(&path, file).unwrap();
        let text = format!(
            "calibration = '{}'\n[camera.left]\ndriver = 'even'\noptions = {{ serial = 2 }}\n\
             [camera.right]\ndriver = 'even'\noptions = {{ serial = 4 }}\n",
            path.display()
        );
        let (registry, time) = (registry(), StartTime::default());
        let parsed = Topology::parse_and_probe("t.toml", &text, None, &registry, Probe::Every, time);
        // Without devices the file is not read.
        assert!(Topology::parse("t.toml", &text, None, &registry).is_ok());
        parsed.map_or_else(|problems| problems.render(false), |_| String::new())
    }

    #[test]
    fn poses_are_read() {
        let poses = poses(FILE).unwrap();
        let CalibratedPose { serial, pose } = &poses["right"];
        assert_eq!((serial.as_str(), pose.root.as_str()), ("8", "left"));
        assert_eq!((pose.translation_meters, pose.quaternion_xyzw), ([0.5, 0.0, 0.1], [0.0, 1.0, 0.0, 0.0]));
    }

    #[test]
    fn another_device_is_refused() {
        let said = problems(FILE);
        let title = "camera `right`: its calibration is of serial number `8`, not of serial number `4`";
        assert!(said.starts_with(&format!("error: {title}\n")), "{said}");
        assert_eq!(problems(&FILE.replace("'8'", "'4'")), "");
        // Under another name: both cameras, as swapped, or one of them.
        let swapped = FILE.replace("'8'", "'4'").replace("[camera.left]", "[camera.x]");
        let swapped =
            swapped.replace("[camera.right]", "[camera.left]").replace("[camera.x]", "[camera.right]");
        let said = problems(&swapped);
        for (name, calibrated, found) in [("left", 4, 2), ("right", 2, 4)] {
            let fact = format!(
                "camera `{name}`: its calibration is of serial number `{calibrated}`, not of serial number `{found}`"
            );
            assert!(said.contains(&fact), "{said}");
        }
        let renamed = problems(&FILE.replace("'8'", "'4'").replace("camera.right", "camera.rear"));
        let title = "camera `right`: the calibration has its device, serial number `4`, as camera `rear`";
        assert!(renamed.starts_with(&format!("error: {title}\n")), "{renamed}");
        // A camera that the file lacks has no pose.
        assert_eq!(problems(&FILE.replace("camera.right", "camera.rear")), "");
    }

    #[test]
    fn another_file_is_refused() {
        for (file, fact) in [
            ("", "is not a calibration: missing field `version`"),
            (&FILE.replace("version = 1", "version = 2"), "has version 2; this program reads version 1"),
            (&FILE.replace("root = 'left'", "root = 'top'"), "its root `top` is not one of its cameras"),
            (
                &FILE.replace("[0, 1, 0, 0]", "[0, 1, 1, 0]"),
                "the quaternion of camera `right` does not have the length 1",
            ),
            (&FILE.replace("0.5", "nan"), "the translation of camera `right` is not finite"),
        ] {
            let said = problems(file);
            assert!(said.contains(fact) && said.starts_with("error: calibration "), "{said}");
        }
    }
}
