//! The file of a calibrated rig.

use std::collections::BTreeMap;

use camrig_frame::{
    CALIBRATION_VERSION, CalibrationError, Distortion, Intrinsics, Stream, check_calibration, one_line,
};
use serde::{Deserialize, Serialize};

use crate::{Board, Pose, Scale, Solution};

/// A calibrated rig, as `rig.calib.toml` has it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RigCalibration {
    /// Version of the format.
    version: u32,
    /// When it was made, as RFC 3339 has it.
    pub date: String,
    /// The camera whose coordinates all poses lead to.
    pub root: String,
    /// The boards, as text.
    pub board: String,
    /// Number of moments at which several cameras saw the board.
    pub moments: usize,
    /// The square mean of the errors of all corners, in pixels.
    pub error_pixels: f64,
    /// Measured depth divided by the depth that follows from the board; missing without depth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth_ratio: Option<f64>,
    /// The cameras, by name.
    pub camera: BTreeMap<String, CalibratedCamera>,
}

/// A camera of a calibrated rig. Its coordinates are those of its depth, or of the calibrated stream if it has none.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CalibratedCamera {
    /// The serial number of the device; empty if it has none.
    pub serial: String,
    /// The model of the device.
    pub model: String,
    /// The stream whose images were used.
    pub stream: Stream,
    /// The position of the camera in the root's coordinates, in metres.
    pub translation_meters: [f64; 3],
    /// The rotation from the camera's coordinates to the root's: x, y, z, w.
    pub quaternion_xyzw: [f64; 4],
    /// Standard deviation of the position, in millimetres.
    pub deviation_millimeters: f64,
    /// Standard deviation of the direction, in degrees.
    pub deviation_degrees: f64,
    /// The square mean of the errors of its corners, in pixels.
    pub error_pixels: f64,
    /// Number of views that were used.
    pub views: usize,
    /// Number of corners that were used.
    pub corners: usize,
    /// Number of corners that were left out as false.
    pub false_corners: usize,
    /// Measured depth divided by the depth that follows from the board; missing without depth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth_ratio: Option<f64>,
    /// The covariance of the pose, by rows, in the coordinates of the calibrated stream: translation in metres, then
    /// rotation in radians.
    pub covariance: [[f64; 6]; 6],
    /// From the calibrated stream's coordinates to the camera's.
    pub stream_to_camera: Pose,
    /// The intrinsics of the calibrated stream: those of the factory calibration, or refined ones.
    pub intrinsics: Optics,
}

/// Intrinsics, as the file has them: see [`Intrinsics`].
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "those of `Intrinsics`")]
pub struct Optics {
    pub width: u32,
    pub height: u32,
    pub fx: f32,
    pub fy: f32,
    pub ppx: f32,
    pub ppy: f32,
    pub distortion: Distortion,
    pub coefficients: [f32; 5],
}

impl From<&Intrinsics> for Optics {
    fn from(intrinsics: &Intrinsics) -> Self {
        let Intrinsics { width, height, ppx, ppy, fx, fy, distortion, coefficients } = *intrinsics;
        Self { width, height, fx, fy, ppx, ppy, distortion, coefficients }
    }
}

impl From<&Optics> for Intrinsics {
    fn from(optics: &Optics) -> Self {
        let Optics { width, height, fx, fy, ppx, ppy, distortion, coefficients } = *optics;
        Self { width, height, ppx, ppy, fx, fy, distortion, coefficients }
    }
}

/// The description of a camera in a file, without its pose.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The camera's name.
    pub name: String,
    /// The serial number of the device.
    pub serial: String,
    /// The model of the device.
    pub model: String,
    /// The stream whose images were used.
    pub stream: Stream,
    /// Its intrinsics.
    pub intrinsics: Intrinsics,
    /// From the stream's coordinates to the camera's.
    pub stream_to_camera: Pose,
    /// Measured depth divided by the depth that follows from the board.
    pub depth_ratio: Option<f64>,
}

/// A file that is not a calibration.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is not TOML, or has other keys.
    #[error("{0}")]
    Toml(String),
    /// It is of another version, or contradicts itself.
    #[error(transparent)]
    Wrong(#[from] CalibrationError),
}

impl RigCalibration {
    /// Makes the file's content of a solution; `cameras` are those of [`calibrate`](crate::calibrate()), in its order, and
    /// `root` is the index of the root.
    pub fn new(
        boards: &[Board],
        cameras: &[Identity],
        root: usize,
        solution: &Solution,
        scale: Option<Scale>,
        date: String,
    ) -> Self {
        // Poses lead to the root's camera, not to its stream.
        let to_root = cameras[root].stream_to_camera;
        let camera = cameras.iter().zip(&solution.cameras).map(|(identity, found)| {
            let pose = to_root.after(&found.pose).after(&identity.stream_to_camera.inverse());
            let pose = if identity.name == cameras[root].name { Pose::IDENTITY } else { pose };
            let (meters, radians) = found.deviation();
            let calibrated = CalibratedCamera {
                serial: identity.serial.clone(),
                model: identity.model.clone(),
                stream: identity.stream,
                translation_meters: pose.translation_meters,
                quaternion_xyzw: pose.quaternion_xyzw,
                deviation_millimeters: meters * 1000.0,
                deviation_degrees: radians.to_degrees(),
                error_pixels: found.error_pixels,
                views: found.views,
                corners: found.corners,
                false_corners: found.false_corners,
                depth_ratio: identity.depth_ratio,
                covariance: found.covariance,
                stream_to_camera: identity.stream_to_camera,
                intrinsics: (&found.intrinsics).into(),
            };
            (identity.name.clone(), calibrated)
        });
        Self {
            version: CALIBRATION_VERSION,
            date,
            root: cameras[root].name.clone(),
            board: boards.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
            moments: solution.moments,
            error_pixels: solution.error_pixels,
            depth_ratio: scale.map(|scale| scale.ratio),
            camera: camera.collect(),
        }
    }

    /// Reads the content of a file.
    ///
    /// # Errors
    /// If it is not a calibration, or one that contradicts itself.
    pub fn from_toml(text: &str) -> Result<Self, FileError> {
        let calibration: Self = toml::from_str(text)
            .map_err(|error: toml::de::Error| FileError::Toml(one_line(error.message())))?;
        let poses = calibration.camera.iter().flat_map(|(name, camera)| {
            [camera.pose(), camera.stream_to_camera]
                .map(|pose| (name.as_str(), pose.translation_meters, pose.quaternion_xyzw))
        });
        check_calibration(calibration.version, &calibration.root, poses)?;
        Ok(calibration)
    }

    /// Writes the content of a file.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_default()
    }
}

impl CalibratedCamera {
    /// Returns the camera's pose in the root's coordinates.
    pub fn pose(&self) -> Pose {
        Pose { translation_meters: self.translation_meters, quaternion_xyzw: self.quaternion_xyzw }
    }

    /// Returns the pose of the calibrated stream in the root's coordinates.
    pub fn stream_pose(&self) -> Pose {
        self.pose().after(&self.stream_to_camera)
    }
}
