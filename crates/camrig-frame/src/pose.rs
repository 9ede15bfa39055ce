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
    pub fn matrix(&self) -> [[f64; 4]; 4] {
        let [[xx, xy, xz], [yx, yy, yz], [zx, zy, zz]] = rotation(self.quaternion_xyzw);
        let [x, y, z] = self.translation_meters;
        [[xx, xy, xz, x], [yx, yy, yz, y], [zx, zy, zz, z], [0.0, 0.0, 0.0, 1.0]]
    }
}

/// Returns the rotation matrix of a quaternion, by rows. The quaternion may have any length; one of length 0 turns nothing.
///
/// Source: Shuster, "A Survey of Attitude Representations", 1993, equation 117 (transposed, since it rotates coordinates).
pub(crate) fn rotation([x, y, z, w]: [f64; 4]) -> [[f64; 3]; 3] {
    let norm = x * x + y * y + z * z + w * w;
    let scale = if norm > 0.0 { 2.0 / norm } else { 0.0 };
    [
        [1.0 - scale * (y * y + z * z), scale * (x * y - z * w), scale * (x * z + y * w)],
        [scale * (x * y + z * w), 1.0 - scale * (x * x + z * z), scale * (y * z - x * w)],
        [scale * (x * z - y * w), scale * (y * z + x * w), 1.0 - scale * (x * x + y * y)],
    ]
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
