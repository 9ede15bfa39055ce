//! The pose of a camera in a calibrated rig.

use serde::{Deserialize, Serialize};

/// The pose of a camera in the coordinates of a rig's root camera, as a calibration has measured it. The camera's coordinates
/// are those of its depth, or of its only stream: X points right, Y down, Z forward.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CameraPose {
    /// Name of the root camera, whose own pose is the identity.
    pub root: String,
    /// Position of the camera, in metres.
    pub translation_meters: [f64; 3],
    /// Rotation from the camera's coordinates to the root's, a unit quaternion: x, y, z, w.
    pub quaternion_xyzw: [f64; 4],
}

impl CameraPose {
    /// Returns the 4x4 matrix, by rows, that converts homogeneous coordinates of the camera to those of the root, in metres.
    ///
    /// Source of the rotation: Shuster, "A Survey of Attitude Representations", 1993, equation 117 (transposed, since it
    /// rotates coordinates).
    pub fn matrix(&self) -> [[f64; 4]; 4] {
        let [x, y, z, w] = self.quaternion_xyzw;
        let [tx, ty, tz] = self.translation_meters;
        [
            [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - z * w), 2.0 * (x * z + y * w), tx],
            [2.0 * (x * y + z * w), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - x * w), ty],
            [2.0 * (x * z - y * w), 2.0 * (y * z + x * w), 1.0 - 2.0 * (x * x + y * y), tz],
            [0.0, 0.0, 0.0, 1.0],
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pose(translation_meters: [f64; 3], quaternion_xyzw: [f64; 4]) -> CameraPose {
        CameraPose { root: "left".to_owned(), translation_meters, quaternion_xyzw }
    }

    #[test]
    fn a_matrix_rotates_and_then_moves() {
        let half = std::f64::consts::FRAC_1_SQRT_2;
        // A quarter turn about Z takes X to Y.
        let matrix = pose([1.0, 2.0, 3.0], [0.0, 0.0, half, half]).matrix();
        let at = |[x, y, z]: [f64; 3]| matrix.map(|row| row[0] * x + row[1] * y + row[2] * z + row[3]);
        let close = |a: [f64; 4], b: [f64; 4]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(close(at([1.0, 0.0, 0.0]), [1.0, 3.0, 3.0, 1.0]), "{matrix:?}");
        assert!(close(at([0.0, 1.0, 0.0]), [0.0, 2.0, 3.0, 1.0]), "{matrix:?}");
        assert!(close(at([0.0, 0.0, 1.0]), [1.0, 2.0, 4.0, 1.0]), "{matrix:?}");
        // A quarter turn about X takes Y to Z, one about Y takes Z to X.
        assert!((pose([0.0; 3], [half, 0.0, 0.0, half]).matrix()[2][1] - 1.0).abs() < 1e-12);
        assert!((pose([0.0; 3], [0.0, half, 0.0, half]).matrix()[0][2] - 1.0).abs() < 1e-12);
    }
}
