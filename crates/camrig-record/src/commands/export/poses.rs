//! The poses of cameras in a rig: those in the recording, or in the file that `calibrate` writes.

use std::collections::BTreeMap;
use std::path::Path;

use camrig::frame::{CameraInfo, CameraPose, Extrinsics, Role, Stream};

use super::CommandError;

/// The cameras of a calibrated rig, by name.
#[derive(Default)]
pub(in super::super) struct Poses(BTreeMap<String, Calibrated>);

/// A camera of a calibrated rig.
struct Calibrated {
    /// The serial number of the device; empty if it has none.
    serial: String,
    /// The stream whose images were used.
    stream: Stream,
    /// From the camera's coordinates to those of the root.
    camera: Extrinsics,
    /// From the stream's coordinates to those of the root.
    of_stream: Extrinsics,
}

impl Poses {
    /// Reads the file of a calibration.
    ///
    /// # Errors
    /// If it cannot be read, or is not a calibration.
    #[cfg(feature = "calibration")]
    pub(in super::super) fn read(path: &Path) -> Result<Self, CommandError> {
        use camrig_calib::{Pose, RigCalibration};

        use crate::read::ReadError;

        let text = std::fs::read_to_string(path).map_err(|error| ReadError::new(path, error))?;
        let calibration = RigCalibration::from_toml(&text)
            .map_err(|error| ReadError::new(path, format_args!("is not a calibration: {error}")))?;
        let extrinsics =
            |pose: Pose| Extrinsics::from_quaternion(pose.quaternion_xyzw, pose.translation_meters);
        let cameras = calibration.camera.into_iter().map(|(name, camera)| {
            let (own, of_stream) = (extrinsics(camera.pose()), extrinsics(camera.stream_pose()));
            (name, Calibrated { serial: camera.serial, stream: camera.stream, camera: own, of_stream })
        });
        Ok(Self(cameras.collect()))
    }

    /// Returns the error that calibrations cannot be read.
    #[cfg(not(feature = "calibration"))]
    pub(in super::super) fn read(path: &Path) -> Result<Self, CommandError> {
        Err(CommandError::Usage(format!(
            "`--calibration` is `{}`: this program is built without the feature `calibrate`",
            path.display()
        )))
    }

    /// Returns a camera. A device is identified by its serial number, or by `name` if it has none.
    fn known(&self, name: &str, info: &CameraInfo) -> Result<&Calibrated, String> {
        let same = |known: &&Calibrated| !known.serial.is_empty() && known.serial == info.serial;
        let named = || {
            let known = self.0.get(name.rsplit('/').next().unwrap_or(name))?;
            (known.serial.is_empty() || info.serial.is_empty()).then_some(known)
        };
        let serial = if info.serial.is_empty() { "" } else { ", of the serial number " };
        let known = self.0.values().find(same).or_else(named);
        known.ok_or_else(|| format!("it is not in the calibration{serial}{}", info.serial))
    }

    /// Returns the transform from the coordinates of a camera to those of the root.
    pub(in super::super) fn of_camera(&self, name: &str, info: &CameraInfo) -> Result<Extrinsics, String> {
        self.known(name, info).map(|known| known.camera)
    }

    /// Returns the transform from the coordinates of a camera's color to those of the root.
    pub(super) fn of_color(&self, name: &str, info: &CameraInfo) -> Result<Extrinsics, String> {
        let known = self.known(name, info)?;
        if known.stream == Stream::COLOR {
            return Ok(known.of_stream);
        }
        color_of(known.camera, info)
    }
}

/// Returns the transform from the coordinates of a camera's color to those of the root, from the pose in its recording.
pub(super) fn recorded(pose: &CameraPose, info: &CameraInfo) -> Result<Extrinsics, String> {
    color_of(Extrinsics::from_quaternion(pose.quaternion_xyzw, pose.translation_meters), info)
}

/// Returns whether a recording has the poses of all these cameras, in the coordinates of one root.
pub(super) fn are_recorded<'a>(cameras: impl Iterator<Item = &'a CameraInfo>) -> bool {
    let mut roots = cameras.map(|info| info.pose.as_ref().map(|pose| &pose.root));
    let first = roots.next().flatten();
    first.is_some() && roots.all(|root| root == first)
}

/// Returns the transform from the coordinates of a camera's color to those of the root.
fn color_of(camera: Extrinsics, info: &CameraInfo) -> Result<Extrinsics, String> {
    let to_depth = info.stream(Stream::COLOR).and_then(|color| color.to_depth);
    match to_depth {
        Some(to_depth) => Ok(camera.after(&to_depth)),
        None if info.stream_of(Role::Depth).is_none() => Ok(camera),
        None => Err("the position of its color relative to its depth is unknown".to_owned()),
    }
}

#[cfg(feature = "calibration")]
#[cfg(test)]
pub(in super::super) mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::record::testing::{TestFolder, info};

    /// A quarter turn about Y: the camera looks to the left.
    const TO_LEFT: [f64; 4] = [0.0, -std::f64::consts::FRAC_1_SQRT_2, 0.0, std::f64::consts::FRAC_1_SQRT_2];

    /// Writes the file of a calibration: the first camera is the root, the second is 0.5 m to the right of it and looks to
    /// the left. Each has a name, a serial number and a calibrated stream.
    pub(in super::super::super) fn write_calibration(path: &Path, cameras: [[&str; 3]; 2]) {
        let root = cameras[0][0];
        let mut text = format!(
            "version = 1\ndate = \"2026-01-01T00:00:00Z\"\nroot = \"{root}\"\nboard = \"a board\"\nmoments = 20\n\
             error_pixels = 0.2\n"
        );
        let poses = [([0.0; 3], [0.0, 0.0, 0.0, 1.0]), ([0.5, 0.0, 0.0], TO_LEFT)];
        for ([name, serial, stream], (translation, quaternion)) in cameras.into_iter().zip(poses) {
            let _ = write!(
                text,
                "[camera.{name}]\nserial = \"{serial}\"\nmodel = \"D435\"\nstream = \"{stream}\"\n\
                 translation_meters = {translation:?}\nquaternion_xyzw = {quaternion:?}\ndeviation_millimeters = 0.5\n\
                 deviation_degrees = 0.02\nerror_pixels = 0.2\nviews = 20\ncorners = 900\nfalse_corners = 1\n\
                 covariance = {:?}\nstream_to_camera = {{ translation_meters = [0.0, 0.0, 0.25], quaternion_xyzw = \
                 [0.0, 0.0, 0.0, 1.0] }}\nintrinsics = {{ width = 16, height = 12, fx = 12.5, fy = 12.75, ppx = 8.5, ppy = \
                 6.25, distortion = \"none\", coefficients = {:?} }}\n",
                [[0.0; 6]; 6], [0.0; 5],
            );
        }
        std::fs::write(path, text).unwrap();
    }

    fn poses(folder: &TestFolder, cameras: [[&str; 3]; 2]) -> Poses {
        let path = folder.path().join("rig.calib.toml");
        write_calibration(&path, cameras);
        Poses::read(&path).unwrap()
    }

    #[test]
    fn a_device_is_identified_by_its_serial_number() {
        let folder = TestFolder::new("poses");
        let mut rear = info("rear");
        let mut place = |serials: [&str; 2], own: &str, stream: &str| {
            rear.serial = own.to_owned();
            let poses = poses(&folder, [["front", serials[0], "depth"], ["rear", serials[1], stream]]);
            let pose = poses.of_color("together/rear", &rear)?;
            Ok::<_, String>(pose.translation_meters.map(|meters| (meters * 1e3).round() as i32))
        };
        // Color is 15 mm to the right of depth, which is 15 mm ahead for a camera that looks to the left.
        assert_eq!(place(["", ""], "", "depth").unwrap(), [500, 0, 15]);
        assert_eq!(place(["12", "13"], "12", "depth").unwrap(), [15, 0, 0]);
        // The pose of the stream is the one in the file.
        assert_eq!(place(["", "12"], "12", "color").unwrap(), [250, 0, 0]);
        let refused = place(["13", "14"], "12", "depth").unwrap_err();
        assert_eq!(refused, "it is not in the calibration, of the serial number 12");
        // The pose of the camera differs from that of its stream.
        let camera = poses(&folder, [["front", "", "depth"], ["rear", "12", "color"]]).of_camera("x", &rear);
        assert_eq!(camera.unwrap().translation_meters.map(|meters| (meters * 1e3) as i32), [500, 0, 0]);
    }

    #[test]
    fn another_file_is_refused() {
        let folder = TestFolder::new("poses");
        let path = folder.path().join("rig.calib.toml");
        std::fs::write(&path, "version = 1\n").unwrap();
        let error = Poses::read(&path).err().unwrap().to_string();
        assert!(error.contains("rig.calib.toml` is not a calibration: missing field"), "{error}");
    }
}
