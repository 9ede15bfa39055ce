//! The rules of the file that `camrig calibrate` writes: a rig reads its poses, and other programs all of it.

use crate::name::{is_name, shown};

/// The version of the file that is written and read.
pub const CALIBRATION_VERSION: u32 = 1;

/// The largest deviation of a quaternion's length from 1.
const LENGTH_DEVIATION: f64 = 1e-3;

/// A file of another version, or one that contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalibrationError {
    /// It is of another version.
    #[error("it has version {0}; this program reads version {CALIBRATION_VERSION}")]
    Version(u32),
    /// A topology refuses the name of a camera.
    #[error("`{}` cannot be the name of a camera", shown(.0))]
    Name(String),
    /// Its root is not one of its cameras.
    #[error("its root `{}` is not one of its cameras", shown(.0))]
    Root(String),
    /// The rotation of a camera is not a rotation.
    #[error("the quaternion of camera `{}` does not have the length 1", shown(.0))]
    Rotation(String),
    /// A coordinate of a camera is not a number of metres.
    #[error("the translation of camera `{}` is not finite", shown(.0))]
    Translation(String),
}

/// Checks the version, the names of the root and of the cameras, and each pose: the name of its camera, translation in metres, and quaternion x, y,
/// z, w. A camera can have several poses.
///
/// # Errors
/// The first contradiction.
pub fn check_calibration<'a>(
    version: u32,
    root: &str,
    poses: impl IntoIterator<Item = (&'a str, [f64; 3], [f64; 4])>,
) -> Result<(), CalibrationError> {
    if version != CALIBRATION_VERSION {
        return Err(CalibrationError::Version(version));
    }
    let mut has_root = false;
    for (camera, translation_meters, quaternion_xyzw) in poses {
        if !is_name(camera) {
            return Err(CalibrationError::Name(camera.to_owned()));
        }
        has_root |= camera == root;
        let length = quaternion_xyzw.iter().map(|part| part * part).sum::<f64>().sqrt();
        // Also false for a part that is not a number.
        let is_rotation = (length - 1.0).abs() <= LENGTH_DEVIATION;
        if !is_rotation {
            return Err(CalibrationError::Rotation(camera.to_owned()));
        }
        if !translation_meters.iter().all(|meters| meters.is_finite()) {
            return Err(CalibrationError::Translation(camera.to_owned()));
        }
    }
    if has_root { Ok(()) } else { Err(CalibrationError::Root(root.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_contradiction_is_named() {
        let half = std::f64::consts::FRAC_1_SQRT_2;
        let left = ("left", [0.0; 3], [0.0, 0.0, 0.0, 1.0]);
        let check = |version, right| {
            let error = check_calibration(version, "left", [left, right]).err();
            error.map(|error| error.to_string()).unwrap_or_default()
        };
        let right = ("right", [0.5, 0.0, 0.0], [0.0, 0.0, half, half]);
        assert_eq!(check(1, right), "");
        assert_eq!(check(2, right), "it has version 2; this program reads version 1");
        let is_off = "the quaternion of camera `right` does not have the length 1";
        assert_eq!(check(1, ("right", [0.0; 3], [0.0, 0.0, half, 1.0])), is_off);
        assert_eq!(check(1, ("right", [0.0; 3], [f64::NAN, 0.0, 0.0, 1.0])), is_off);
        let is_nowhere = "the translation of camera `right` is not finite";
        assert_eq!(check(1, ("right", [0.0, f64::INFINITY, 0.0], [1.0, 0.0, 0.0, 0.0])), is_nowhere);
        let error = check(1, ("a;b", [0.0; 3], [0.0, 0.0, 0.0, 1.0]));
        assert_eq!(error, "`a;b` cannot be the name of a camera");
        let error = check_calibration(1, "to\np", [left]).unwrap_err();
        assert_eq!(error.to_string(), "its root `to\\np` is not one of its cameras");
        assert_eq!(check_calibration(1, "left", []), Err(CalibrationError::Root("left".to_owned())));
    }
}
