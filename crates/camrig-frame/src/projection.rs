//! Projection between pixels and 3D points: the pinhole model, lens distortion, and transformations between streams.
//!
//! The results match those of librealsense except for the last bits of an `f32`: see the tests of camrig-realsense.

#![allow(clippy::inline_always, reason = "only inlined code gets the instructions of its caller")]

use crate::pose;
use crate::{Distortion, Extrinsics, Intrinsics};

/// Number of iterations for inverting a distortion that has no inverse in closed form. Each reduces the error by about
/// the magnitude of the distortion; librealsense uses the same number.
const ROUNDS: usize = 10;

/// Points that [`Intrinsics::project_each`] projects together.
pub(crate) const LANES: usize = 64;

/// From this number on, an `f32` has no fraction: added to a smaller integer, the lowest bits are that integer. Vectors have no
/// cast that saturates.
pub(crate) const FRACTIONLESS: f32 = (1 << 23) as f32;

impl Intrinsics {
    /// Returns whether [`Self::project`] and [`Self::deproject`] support the distortion model.
    pub const fn is_projective(&self) -> bool {
        !matches!(self.distortion, Distortion::Ftheta | Distortion::KannalaBrandt4)
    }

    /// Returns the 3D point of the pixel at column `x` and row `y` with this distance along the optical axis, in
    /// metres; `None` for fisheye models. Fractions are positions between pixels.
    pub fn deproject(&self, [x, y]: [f32; 2], depth_meters: f32) -> Option<[f32; 3]> {
        let ray = self.undistort([(x - self.ppx) / self.fx, (y - self.ppy) / self.fy])?;
        Some([ray[0] * depth_meters, ray[1] * depth_meters, depth_meters])
    }

    /// Returns the column and row of a point, in metres from the camera, even if it is outside the image; `None`
    /// behind the camera, and for fisheye models.
    pub fn project(&self, [x, y, z]: [f32; 3]) -> Option<[f32; 2]> {
        if z <= 0.0 {
            return None;
        }
        let [x, y] = self.distort([x / z, y / z])?;
        Some([x * self.fx + self.ppx, y * self.fy + self.ppy])
    }

    /// Returns the columns, and the rows, of points that are moved by `transform` first: as [`Self::project`] does for each, with
    /// what is not a number instead of `None`.
    #[inline(always)]
    pub(crate) fn project_each(
        &self,
        transform: &Extrinsics,
        [xs, ys, zs]: &[[f32; LANES]; 3],
    ) -> [[f32; LANES]; 2] {
        let (mut columns, mut rows) = ([0.0; LANES], [0.0; LANES]);
        for lane in 0..LANES {
            let [x, y, z] = transform.apply([xs[lane], ys[lane], zs[lane]]);
            let z = if z <= 0.0 { f32::NAN } else { z };
            [columns[lane], rows[lane]] = [x / z, y / z];
        }
        if self.distortion != Distortion::None {
            for (x, y) in columns.iter_mut().zip(&mut rows) {
                [*x, *y] = self.distort([*x, *y]).unwrap_or([f32::NAN; 2]);
            }
        }
        for (x, y) in columns.iter_mut().zip(&mut rows) {
            [*x, *y] = [*x * self.fx + self.ppx, *y * self.fy + self.ppy];
        }
        [columns, rows]
    }

    /// Converts undistorted to distorted image coordinates, both at distance 1.
    #[inline(always)]
    fn distort(&self, ideal: [f32; 2]) -> Option<[f32; 2]> {
        let (radial, shift) = self.bend(ideal)?;
        Some([ideal[0] * radial + shift[0], ideal[1] * radial + shift[1]])
    }

    /// Returns the inverse of [`Self::distort`], by fixed-point iteration.
    fn undistort(&self, seen: [f32; 2]) -> Option<[f32; 2]> {
        let mut ideal = seen;
        for _ in 0..ROUNDS {
            let (radial, shift) = self.bend(ideal)?;
            ideal = [(seen[0] - shift[0]) / radial, (seen[1] - shift[1]) / radial];
        }
        Some(ideal)
    }

    /// Returns the distortion at a point: the radial factor, and the tangential offset.
    #[inline(always)]
    fn bend(&self, [x, y]: [f32; 2]) -> Option<(f32, [f32; 2])> {
        let [k1, k2, p1, p2, k3] = self.coefficients;
        let square = x * x + y * y;
        let radial = 1.0 + square * (k1 + square * (k2 + square * k3));
        // Brown-Conrady evaluates the tangential part at the undistorted point, the two others after the
        // radial part is applied.
        let [x, y] = match self.distortion {
            Distortion::BrownConrady => [x, y],
            Distortion::ModifiedBrownConrady | Distortion::InverseBrownConrady => [x * radial, y * radial],
            Distortion::None => return Some((1.0, [0.0; 2])),
            Distortion::Ftheta | Distortion::KannalaBrandt4 => return None,
        };
        let twist = 2.0 * x * y;
        let shift = [p1 * twist + p2 * (square + 2.0 * x * x), p2 * twist + p1 * (square + 2.0 * y * y)];
        Some((radial, shift))
    }
}

impl Extrinsics {
    /// Creates a transform from a quaternion x, y, z, w of any length, and a translation in metres.
    pub fn from_quaternion(quaternion_xyzw: [f64; 4], translation_meters: [f64; 3]) -> Self {
        let rows = pose::rotation(quaternion_xyzw);
        Self {
            rotation: std::array::from_fn(|at| rows[at % 3][at / 3] as f32),
            translation_meters: translation_meters.map(|meters| meters as f32),
        }
    }

    /// Returns this transform after another one.
    #[must_use]
    pub fn after(&self, first: &Self) -> Self {
        let turn = Self { translation_meters: [0.0; 3], ..*self };
        let (columns, _) = first.rotation.as_chunks::<3>();
        let mut rotation = [0.0; 9];
        for (into, &column) in rotation.as_chunks_mut::<3>().0.iter_mut().zip(columns) {
            *into = turn.apply(column);
        }
        Self { rotation, translation_meters: self.apply(first.translation_meters) }
    }

    /// Returns the point in the target coordinates of the transform.
    #[inline(always)]
    pub fn apply(&self, point: [f32; 3]) -> [f32; 3] {
        let (columns, _) = self.rotation.as_chunks::<3>();
        std::array::from_fn(|row| {
            columns[0][row] * point[0]
                + columns[1][row] * point[1]
                + columns[2][row] * point[2]
                + self.translation_meters[row]
        })
    }

    /// Returns the inverse transform.
    #[must_use]
    pub fn inverse(&self) -> Self {
        // The inverse of a rotation matrix is its transpose.
        let rotation = std::array::from_fn(|at| self.rotation[at % 3 * 3 + at / 3]);
        let turned_back = Self { rotation, translation_meters: [0.0; 3] };
        let translation_meters = turned_back.apply(self.translation_meters.map(|meters| -meters));
        Self { translation_meters, ..turned_back }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lens(distortion: Distortion, coefficients: [f32; 5]) -> Intrinsics {
        let (ppx, ppy, fx, fy) = (320.5, 238.25, 610.0, 605.0);
        Intrinsics { width: 640, height: 480, ppx, ppy, fx, fy, distortion, coefficients }
    }

    /// As strong as the distortion of a D405's color image.
    const USUAL: [f32; 5] = [-0.055, 0.06, -0.0006, 0.0003, -0.02];

    #[test]
    fn a_pixel_and_its_point_belong_together() {
        for (distortion, coefficients) in [
            (Distortion::None, USUAL),
            (Distortion::BrownConrady, USUAL),
            (Distortion::ModifiedBrownConrady, USUAL),
            (Distortion::InverseBrownConrady, USUAL),
            (Distortion::BrownConrady, [0.0; 5]),
        ] {
            let lens = lens(distortion, coefficients);
            for pixel in [[0.0, 0.0], [639.0, 0.0], [320.5, 238.25], [17.25, 400.0], [639.0, 479.0]] {
                let point = lens.deproject(pixel, 0.3).unwrap();
                assert!((point[2] - 0.3).abs() < f32::EPSILON);
                let back = lens.project(point).unwrap();
                let off = (back[0] - pixel[0]).abs().max((back[1] - pixel[1]).abs());
                assert!(off < 1e-3, "{distortion:?}: {pixel:?} came back as {back:?}");
            }
        }
    }

    #[test]
    fn the_models_follow_their_formulas() {
        // At (0.5, 0) from the axis with k1 = 0.4: r^2 = 0.25, 0.5 * (1 + 0.4 * 0.25) = 0.55.
        let radial = lens(Distortion::BrownConrady, [0.4, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(radial.project([0.5, 0.0, 1.0]), Some([0.55 * 610.0 + 320.5, 238.25]));
        // p2 = 0.1 adds 0.1 * (0.25 + 2 * x^2): x is 0.5 for Brown-Conrady, 0.55 for the modified model.
        for (distortion, x) in [(Distortion::BrownConrady, 0.625), (Distortion::ModifiedBrownConrady, 0.6355)]
        {
            let lens = lens(distortion, [0.4, 0.0, 0.0, 0.1, 0.0]);
            let [column, row] = lens.project([0.5, 0.0, 1.0]).unwrap();
            assert!((column - (x * 610.0 + 320.5)).abs() < 1e-3, "{distortion:?}: {column}");
            assert!((row - 238.25).abs() < 1e-4);
        }
    }

    #[test]
    fn points_behind_a_camera_have_no_pixel() {
        assert_eq!(lens(Distortion::None, USUAL).project([0.1, 0.1, 0.0]), None);
        assert_eq!(lens(Distortion::None, USUAL).project([0.1, 0.1, -1.0]), None);
        for fish_eye in [Distortion::Ftheta, Distortion::KannalaBrandt4] {
            let lens = lens(fish_eye, [0.0; 5]);
            assert!(!lens.is_projective());
            assert_eq!((lens.project([0.0, 0.0, 1.0]), lens.deproject([0.0, 0.0], 1.0)), (None, None));
        }
    }

    #[test]
    fn a_transform_and_its_inverse_lead_back() {
        // A quarter turn about +Z takes +X to +Y; the matrix is written column by column.
        let turn = Extrinsics {
            rotation: [0.0, 1.0, 0.0, -1.0, 0.0, 0.0, 0.0, 0.0, 1.0],
            translation_meters: [0.5, 0.0, -2.0],
        };
        // Whole and half numbers: nothing is rounded.
        let bits = |point: [f32; 3]| point.map(f32::to_bits);
        assert_eq!(bits(turn.apply([1.0, 0.0, 0.0])), bits([0.5, 1.0, -2.0]));
        assert_eq!(bits(turn.inverse().apply([0.5, 1.0, -2.0])), bits([1.0, 0.0, 0.0]));
        assert_eq!(Extrinsics::IDENTITY.inverse(), Extrinsics::IDENTITY);
    }

    fn are_near(one: [f32; 3], other: [f32; 3]) -> bool {
        one.iter().zip(other).all(|(one, other)| (one - other).abs() < 1e-5)
    }

    #[test]
    fn a_quaternion_of_any_length_is_a_rotation() {
        // A third of a turn about the diagonal takes X to Y, Y to Z, and Z to X.
        let turn = Extrinsics::from_quaternion([3.0; 4], [1.0, 2.0, 3.0]);
        assert!(are_near(turn.apply([10.0, 20.0, 30.0]), [31.0, 12.0, 23.0]));
        let nothing = Extrinsics::from_quaternion([0.0; 4], [0.0; 3]);
        assert_eq!(nothing, Extrinsics::IDENTITY);
    }

    #[test]
    fn transforms_follow_one_another() {
        let turn = Extrinsics::from_quaternion([0.5; 4], [1.0, 0.0, 0.0]);
        let again = turn.after(&turn);
        assert!(are_near(again.apply([1.0, 2.0, 3.0]), turn.apply(turn.apply([1.0, 2.0, 3.0]))));
        let thrice = turn.after(&again);
        assert_eq!(Extrinsics { translation_meters: [0.0; 3], ..thrice }, Extrinsics::IDENTITY);
    }
}
