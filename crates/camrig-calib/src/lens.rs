//! Projection in double precision, with derivatives: the solver's. The models are those of
//! [`Intrinsics::project`], which is librealsense's.

use camrig_frame::{Distortion, Intrinsics};
use nalgebra::{Matrix2, Matrix2x3, Point3, SMatrix, Vector2, Vector6};

/// Number of iterations for inverting a distortion; each reduces the error by about the magnitude of the distortion.
const ROUNDS: usize = 30;
/// The step of the numerical derivatives of a distortion, in units of the focal length.
const STEP: f64 = 1e-6;
/// The least distance of a point that is projected, in metres.
const NEAREST_METERS: f64 = 1e-3;

/// The intrinsics of one camera, for projection.
#[derive(Clone, Debug)]
pub(crate) struct Lens {
    focal: Vector2<f64>,
    center: Vector2<f64>,
    distortion: Distortion,
    coefficients: [f64; 5],
}

impl Lens {
    /// Creates a lens; `None` of a fisheye, whose projection is not supported.
    pub(crate) fn new(intrinsics: &Intrinsics) -> Option<Self> {
        intrinsics.is_projective().then(|| Self {
            focal: Vector2::new(intrinsics.fx.into(), intrinsics.fy.into()),
            center: Vector2::new(intrinsics.ppx.into(), intrinsics.ppy.into()),
            distortion: intrinsics.distortion,
            coefficients: intrinsics.coefficients.map(f64::from),
        })
    }

    /// Returns the length of a pixel at distance 1.
    pub(crate) fn pixel(&self) -> f64 {
        2.0 / (self.focal.x + self.focal.y)
    }

    /// Returns the pixel of a point in metres; `None` behind the camera.
    pub(crate) fn project(&self, point: &Point3<f64>) -> Option<Vector2<f64>> {
        let ideal = ideal(point)?;
        Some(self.distort(ideal).component_mul(&self.focal) + self.center)
    }

    /// Returns the pixel of a point, and its derivative by the point, in pixels per metre.
    pub(crate) fn project_with_slope(&self, point: &Point3<f64>) -> Option<(Vector2<f64>, Matrix2x3<f64>)> {
        let ideal = ideal(point)?;
        let pixel = self.distort(ideal).component_mul(&self.focal) + self.center;
        let along =
            |step: Vector2<f64>| (self.distort(ideal + step) - self.distort(ideal - step)) / (2.0 * STEP);
        let bent = Matrix2::from_columns(&[along(Vector2::new(STEP, 0.0)), along(Vector2::new(0.0, STEP))]);
        let nearness = 1.0 / point.z;
        let flat = Matrix2x3::new(nearness, 0.0, -ideal.x * nearness, 0.0, nearness, -ideal.y * nearness);
        Some((pixel, Matrix2::from_diagonal(&self.focal) * bent * flat))
    }

    /// Returns the derivative of a point's pixel by a step of [`Self::moved_by`]; zeros behind the camera.
    pub(crate) fn slope_by_lens(&self, point: &Point3<f64>) -> SMatrix<f64, 2, 6> {
        let mut slope = SMatrix::<f64, 2, 6>::zeros();
        let Some(ideal) = ideal(point) else { return slope };
        let focal = self.distort(ideal).component_mul(&self.focal);
        let bent = if self.distortion == Distortion::None { 0.0 } else { ideal.norm_squared() };
        for axis in 0..2 {
            slope[(axis, axis)] = focal[axis];
            slope[(axis, 2 + axis)] = 1.0;
            slope[(axis, 4)] = self.focal[axis] * ideal[axis] * bent;
            slope[(axis, 5)] = self.focal[axis] * ideal[axis] * bent * bent;
        }
        slope
    }

    /// Returns the number of coordinates of [`Self::moved_by`] that change it.
    pub(crate) fn unknowns(&self) -> usize {
        if self.distortion == Distortion::None { 4 } else { 6 }
    }

    /// Returns this lens with other focal lengths, by these shares of them; with another center, in pixels; and with other
    /// first two coefficients, unless it has no distortion.
    pub(crate) fn moved_by(&self, step: &Vector6<f64>) -> Self {
        let mut moved = self.clone();
        moved.focal += self.focal.component_mul(&step.fixed_rows::<2>(0));
        moved.center += step.fixed_rows::<2>(2);
        if self.distortion != Distortion::None {
            moved.coefficients[0] += step[4];
            moved.coefficients[1] += step[5];
        }
        moved
    }

    /// Returns the mean ratio of this lens's focal lengths to those of another one, and the distance of its center, in pixels.
    pub(crate) fn compared_with(&self, other: &Self) -> (f64, f64) {
        let ratio = self.focal.component_div(&other.focal);
        (ratio.mean(), (self.center - other.center).norm())
    }

    /// Returns intrinsics with the numbers of this lens.
    pub(crate) fn intrinsics(&self, of: &Intrinsics) -> Intrinsics {
        Intrinsics {
            fx: self.focal.x as f32,
            fy: self.focal.y as f32,
            ppx: self.center.x as f32,
            ppy: self.center.y as f32,
            coefficients: self.coefficients.map(|coefficient| coefficient as f32),
            ..*of
        }
    }

    /// Returns the point on the ray of a pixel at distance 1.
    pub(crate) fn ray(&self, pixel: Vector2<f64>) -> Vector2<f64> {
        let seen = (pixel - self.center).component_div(&self.focal);
        let mut ideal = seen;
        for _ in 0..ROUNDS {
            let (radial, shift) = self.bend(ideal);
            ideal = (seen - shift) / radial;
        }
        ideal
    }

    fn distort(&self, ideal: Vector2<f64>) -> Vector2<f64> {
        let (radial, shift) = self.bend(ideal);
        ideal * radial + shift
    }

    /// Returns the radial factor and the tangential offset at a point.
    fn bend(&self, ideal: Vector2<f64>) -> (f64, Vector2<f64>) {
        if self.distortion == Distortion::None {
            return (1.0, Vector2::zeros());
        }
        let [k1, k2, p1, p2, k3] = self.coefficients;
        let square = ideal.norm_squared();
        let radial = 1.0 + square * (k1 + square * (k2 + square * k3));
        let at = if self.distortion == Distortion::BrownConrady { ideal } else { ideal * radial };
        let twist = 2.0 * at.x * at.y;
        let shift = Vector2::new(
            p1 * twist + p2 * (square + 2.0 * at.x * at.x),
            p2 * twist + p1 * (square + 2.0 * at.y * at.y),
        );
        (radial, shift)
    }
}

/// Returns a point's undistorted image at distance 1.
fn ideal(point: &Point3<f64>) -> Option<Vector2<f64>> {
    (point.z > NEAREST_METERS).then(|| Vector2::new(point.x, point.y) / point.z)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intrinsics(distortion: Distortion) -> Intrinsics {
        let coefficients = [-0.055, 0.06, -0.0006, 0.0003, -0.02];
        Intrinsics {
            width: 848,
            height: 480,
            ppx: 421.0,
            ppy: 238.5,
            fx: 610.0,
            fy: 607.0,
            distortion,
            coefficients,
        }
    }

    const MODELS: [Distortion; 4] = [
        Distortion::None,
        Distortion::BrownConrady,
        Distortion::ModifiedBrownConrady,
        Distortion::InverseBrownConrady,
    ];

    #[test]
    fn projection_is_that_of_frames() {
        for model in MODELS {
            let intrinsics = intrinsics(model);
            let lens = Lens::new(&intrinsics).unwrap();
            for [x, y, z] in [[0.0f32, 0.0, 1.0], [0.4, -0.2, 0.8], [-0.9, 0.5, 1.5]] {
                let point = Point3::new(x.into(), y.into(), z.into());
                let ours = lens.project(&point).unwrap();
                let [column, row] = intrinsics.project([x, y, z]).unwrap().map(f64::from);
                assert!((ours - Vector2::new(column, row)).norm() < 1e-3, "{model}: {ours}");
                let ray = lens.ray(ours);
                assert!((ray - Vector2::new(point.x, point.y) / point.z).norm() < 1e-9, "{model}: {ray}");
            }
            assert_eq!(lens.project(&Point3::new(0.0, 0.0, -1.0)), None);
        }
        assert!(Lens::new(&intrinsics(Distortion::Ftheta)).is_none());
    }

    #[test]
    fn slopes_are_differences() {
        for model in MODELS {
            let lens = Lens::new(&intrinsics(model)).unwrap();
            let point = Point3::new(0.3, -0.2, 0.9);
            let (pixel, slope) = lens.project_with_slope(&point).unwrap();
            assert_eq!(Some(pixel), lens.project(&point));
            for axis in 0..3 {
                let mut moved = point;
                moved[axis] += 1e-6;
                let change = (lens.project(&moved).unwrap() - pixel) / 1e-6;
                assert!((change - slope.column(axis)).norm() < 0.02, "{model}, {axis}: {change}");
            }
            let slope = lens.slope_by_lens(&point);
            for part in 0..6 {
                let step = Vector6::from_fn(|row, _| if row == part { 1e-6 } else { 0.0 });
                let change = (lens.moved_by(&step).project(&point).unwrap() - pixel) / 1e-6;
                // The tangential part of some models depends on the radial one; that is left out.
                assert!((change - slope.column(part)).norm() < 0.1, "{model}, {part}: {change}");
            }
        }
    }
}
