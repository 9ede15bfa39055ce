//! Rigid transforms as they are written in files.

use camrig_frame::Extrinsics;
use nalgebra::{Isometry3, Matrix3, Quaternion, Rotation3, Translation3, UnitQuaternion, Vector3};
use serde::{Deserialize, Serialize};

/// A rigid transform in double precision. The pose of a camera leads from its coordinates to those of the root.
///
/// ```
/// use camrig_calib::Pose;
///
/// let half = std::f64::consts::FRAC_1_SQRT_2;
/// let turn = Pose { translation_meters: [0.5, 0.0, 0.0], quaternion_xyzw: [0.0, 0.0, half, half] };
/// let [x, y, z] = turn.apply([1.0, 0.0, 0.0]);
/// assert!((x - 0.5).abs() < 1e-12 && (y - 1.0).abs() < 1e-12 && z.abs() < 1e-12);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pose {
    /// The translation, in metres.
    pub translation_meters: [f64; 3],
    /// The rotation as a unit quaternion: x, y, z, w.
    pub quaternion_xyzw: [f64; 4],
}

impl Pose {
    /// The transform that changes nothing.
    pub const IDENTITY: Self = Self { translation_meters: [0.0; 3], quaternion_xyzw: [0.0, 0.0, 0.0, 1.0] };

    /// Returns a point, in metres, in the coordinates that the transform leads to.
    pub fn apply(&self, point: [f64; 3]) -> [f64; 3] {
        (self.isometry() * nalgebra::Point3::from(point)).into()
    }

    /// Returns the inverse transform.
    #[must_use]
    pub fn inverse(&self) -> Self {
        self.isometry().inverse().into()
    }

    /// Returns this transform after another one.
    #[must_use]
    pub fn after(&self, first: &Self) -> Self {
        (self.isometry() * first.isometry()).into()
    }

    /// Returns the transform as a matrix, row by row.
    pub fn matrix(&self) -> [[f64; 4]; 4] {
        let matrix = self.isometry().to_homogeneous();
        std::array::from_fn(|row| std::array::from_fn(|column| matrix[(row, column)]))
    }

    /// Returns roll, pitch and yaw in radians, as URDF has them.
    pub fn roll_pitch_yaw(&self) -> [f64; 3] {
        let (roll, pitch, yaw) = self.isometry().rotation.euler_angles();
        [roll, pitch, yaw]
    }

    /// Returns the length of the translation, in metres, and the angle of the rotation, in radians.
    pub fn size(&self) -> (f64, f64) {
        let pose = self.isometry();
        (pose.translation.vector.norm(), pose.rotation.angle())
    }

    pub(crate) fn isometry(&self) -> Isometry3<f64> {
        let [x, y, z, w] = self.quaternion_xyzw;
        let rotation = UnitQuaternion::from_quaternion(Quaternion::new(w, x, y, z));
        Isometry3::from_parts(Translation3::from(Vector3::from(self.translation_meters)), rotation)
    }
}

impl From<Isometry3<f64>> for Pose {
    /// Returns the quaternion with positive w, of the two of a rotation.
    fn from(pose: Isometry3<f64>) -> Self {
        let sign = if pose.rotation.w < 0.0 { -1.0 } else { 1.0 };
        let quaternion_xyzw = std::array::from_fn(|at| pose.rotation.coords[at] * sign);
        Self { translation_meters: pose.translation.vector.into(), quaternion_xyzw }
    }
}

impl From<&Extrinsics> for Pose {
    fn from(extrinsics: &Extrinsics) -> Self {
        let nearly = Matrix3::from_column_slice(&extrinsics.rotation.map(f64::from));
        let rotation = UnitQuaternion::from_rotation_matrix(&Rotation3::from_matrix(&nearly));
        let translation = Vector3::from(extrinsics.translation_meters.map(f64::from));
        Isometry3::from_parts(Translation3::from(translation), rotation).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pose_and_its_inverse_lead_back() {
        let quarter = Extrinsics {
            rotation: [0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0],
            translation_meters: [0.5, 0.0, -2.0],
        };
        let pose = Pose::from(&quarter);
        let [x, y, z] = pose.apply([1.0, 0.0, 0.0]);
        assert!((x - 0.5).abs() < 1e-9 && (y - 1.0).abs() < 1e-9 && (z + 2.0).abs() < 1e-9);
        let (meters, radians) = pose.after(&pose.inverse()).size();
        assert!(meters < 1e-12 && radians < 1e-12);
        assert!((pose.roll_pitch_yaw()[2] - std::f64::consts::FRAC_PI_2).abs() < 1e-6);
        assert!((pose.matrix()[0][3] - 0.5).abs() < 1e-12 && (pose.matrix()[1][0] - 1.0).abs() < 1e-6);
    }
}
