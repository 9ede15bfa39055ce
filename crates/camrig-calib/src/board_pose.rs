//! The pose of a board in one image.
//!
//! A flat board has two poses that look similar: one of them is wrong, tilted the other way. Both are found and compared.

use nalgebra::{
    Isometry3, Matrix3, Matrix6, Point3, Rotation3, SMatrix, Translation3, UnitQuaternion, Vector2, Vector3,
    Vector6,
};

use crate::lens::Lens;

/// The least number of corners in an image that is used.
pub(crate) const MIN_CORNERS: usize = 8;
/// Number of random sets of four corners, to find those that fit each other.
const TRIALS: usize = 200;
/// The largest distance of a corner that fits, in pixels, while an initial pose is searched.
const FITS_PIXELS: f64 = 3.0;
/// The least share of corners that must fit each other.
const MIN_SHARE: f64 = 0.5;
/// The largest number of steps of a refinement.
const STEPS: usize = 30;
/// Factor by which the second pose must be worse, so that the first is the true one.
const CLEARLY_WORSE: f64 = 1.5;
/// Poses whose directions differ by less than this, in radians, are one.
const SAME_RADIANS: f64 = 0.02;
/// The least ratio of a set of corners' width to its length: corners in a line have no pose.
const MIN_WIDTH: f64 = 0.05;
/// The share of the solution that a step must reach to continue.
const ENOUGH: f64 = 1e-10;

/// A corner on the board, in metres, and its position in the image, in pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    pub(crate) point: Point3<f64>,
    pub(crate) pixel: Vector2<f64>,
}

/// A board as one image shows it.
#[derive(Clone, Debug)]
pub(crate) struct BoardPose {
    /// From the board's coordinates to the camera's.
    pub(crate) pose: Isometry3<f64>,
    /// The root mean square of the distances between corners that fit and their projections by the pose, in pixels.
    pub(crate) error_pixels: f64,
    /// Whether the pose that is tilted the other way explains the image almost as well.
    pub(crate) ambiguous: bool,
}

impl BoardPose {
    /// Returns whether the board shows its back, where it has no corners: the image is mirrored.
    pub(crate) fn is_mirrored(&self, middle: &Point3<f64>) -> bool {
        (self.pose * Vector3::z()).dot(&(self.pose * middle).coords) < 0.0
    }
}

/// Returns the pose of a board; `None` if too few corners fit each other, or all are in a line.
pub(crate) fn board_pose(lens: &Lens, sights: &[Sight]) -> Option<BoardPose> {
    let plane: Vec<_> = sights.iter().map(|sight| sight.point.xy().coords).collect();
    let rays: Vec<_> = sights.iter().map(|sight| lens.ray(sight.pixel)).collect();
    let fitting = fitting(&plane, &rays, FITS_PIXELS * lens.pixel())?;
    let pick = |from: &[Vector2<f64>]| fitting.iter().map(|&index| from[index]).collect::<Vec<_>>();
    if fitting.len() < MIN_CORNERS || !is_wide(&pick(&plane)) {
        return None;
    }
    let start = pose_of(&homography(&pick(&plane), &pick(&rays))?)?;
    let sights: Vec<_> = fitting.iter().map(|&index| sights[index]).collect();
    let middle = sights.iter().map(|sight| sight.point.coords).sum::<Vector3<f64>>() / sights.len() as f64;
    let (first, first_error) = refine(lens, &sights, start)?;
    let second = refine(lens, &sights, tilted_back(&first, &middle.into()));
    let mut best = BoardPose { pose: first, error_pixels: first_error, ambiguous: false };
    if let Some((second, error)) = second
        && first.rotation.angle_to(&second.rotation) > SAME_RADIANS
    {
        best.ambiguous = error.max(first_error) < CLEARLY_WORSE * error.min(first_error);
        if error < first_error {
            (best.pose, best.error_pixels) = (second, error);
        }
    }
    Some(best)
}

/// Returns the pose that looks almost the same: the board tilted the other way, seen from the camera.
pub(crate) fn tilted_back(pose: &Isometry3<f64>, middle: &Point3<f64>) -> Isometry3<f64> {
    let seen = pose * middle;
    let sight = seen.coords.normalize();
    let normal = pose * Vector3::z();
    let other = sight * (2.0 * normal.dot(&sight)) - normal;
    let Some(turn) = UnitQuaternion::rotation_between(&normal, &other) else { return *pose };
    let rotation = turn * pose.rotation;
    let translation = seen.coords - rotation * middle.coords;
    Isometry3::from_parts(translation.into(), rotation)
}

/// Returns whether corners are far enough from a line.
fn is_wide(plane: &[Vector2<f64>]) -> bool {
    let middle = plane.iter().sum::<Vector2<f64>>() / plane.len() as f64;
    let spread =
        plane.iter().map(|at| (at - middle) * (at - middle).transpose()).sum::<nalgebra::Matrix2<f64>>();
    let sizes = spread.symmetric_eigenvalues();
    sizes.min() > sizes.max() * MIN_WIDTH * MIN_WIDTH
}

/// Returns the corners that fit the most of the others, by a homography of four of them. The choice is the same for the
/// same corners.
fn fitting(plane: &[Vector2<f64>], rays: &[Vector2<f64>], limit: f64) -> Option<Vec<usize>> {
    let count = plane.len();
    if count < MIN_CORNERS {
        return None;
    }
    let mut random = fastrand::Rng::with_seed(count as u64);
    let near = |homography: &Matrix3<f64>| -> Vec<usize> {
        let fits = |index: &usize| {
            let seen = homography * plane[*index].push(1.0);
            seen.z.abs() > f64::EPSILON && (seen.xy() / seen.z - rays[*index]).norm() < limit
        };
        (0..count).filter(fits).collect()
    };
    let mut best: Vec<usize> = Vec::new();
    for _ in 0..TRIALS {
        let four = random.choose_multiple(0..count, 4);
        let of = |from: &[Vector2<f64>]| four.iter().map(|&index| from[index]).collect::<Vec<_>>();
        let Some(candidate) = homography(&of(plane), &of(rays)) else { continue };
        let found = near(&candidate);
        if found.len() > best.len() {
            best = found;
        }
        if best.len() == count {
            break;
        }
    }
    // Again by all of them, which is nearer to the truth than any four.
    let of = |from: &[Vector2<f64>]| best.iter().map(|&index| from[index]).collect::<Vec<_>>();
    let again = near(&homography(&of(plane), &of(rays))?);
    let best = if again.len() >= best.len() { again } else { best };
    (best.len() as f64 >= MIN_SHARE * count as f64).then_some(best)
}

/// Returns the homography from points to points; `None` if they have none.
fn homography(from: &[Vector2<f64>], to: &[Vector2<f64>]) -> Option<Matrix3<f64>> {
    if from.len() < 4 {
        return None;
    }
    let (from_scale, to_scale) = (centered(from)?, centered(to)?);
    let mut squares = SMatrix::<f64, 9, 9>::zeros();
    for (from, to) in from.iter().zip(to) {
        let (from, to) = ((from_scale * from.push(1.0)), (to_scale * to.push(1.0)));
        for (at, shift) in [(0, 0), (1, 3)] {
            let mut row = SMatrix::<f64, 9, 1>::zeros();
            for axis in 0..3 {
                row[shift + axis] = from[axis];
                row[6 + axis] = -to[at] * from[axis];
            }
            squares += row * row.transpose();
        }
    }
    let eigen = squares.symmetric_eigen();
    let least = eigen.eigenvalues.imin();
    let column = eigen.eigenvectors.column(least);
    let scaled = Matrix3::from_row_slice(column.as_slice());
    Some(to_scale.try_inverse()? * scaled * from_scale)
}

/// Returns the transform that puts the middle of points into the origin, and their mean distance to 1.
fn centered(points: &[Vector2<f64>]) -> Option<Matrix3<f64>> {
    let count = points.len() as f64;
    let middle = points.iter().sum::<Vector2<f64>>() / count;
    let distance = points.iter().map(|point| (point - middle).norm()).sum::<f64>() / count;
    (distance > f64::EPSILON).then(|| {
        let scale = 1.0 / distance;
        Matrix3::new(scale, 0.0, -middle.x * scale, 0.0, scale, -middle.y * scale, 0.0, 0.0, 1.0)
    })
}

/// Returns the pose of a plane from its homography, with the plane before the camera.
fn pose_of(homography: &Matrix3<f64>) -> Option<Isometry3<f64>> {
    let (x, y, origin) = (homography.column(0), homography.column(1), homography.column(2));
    let scale = 2.0 / (x.norm() + y.norm()) * origin.z.signum();
    if !scale.is_finite() {
        return None;
    }
    let (x, y) = (x * scale, y * scale);
    let nearly = Matrix3::from_columns(&[x, y, x.cross(&y)]);
    let rotation = Rotation3::from_matrix(&nearly);
    Some(Isometry3::from_parts(
        Translation3::from(origin * scale),
        UnitQuaternion::from_rotation_matrix(&rotation),
    ))
}

/// Returns the pose near `start` that explains sights best, and the root mean square of its errors in pixels; `None` if it
/// leaves the space before the camera.
fn refine(lens: &Lens, sights: &[Sight], start: Isometry3<f64>) -> Option<(Isometry3<f64>, f64)> {
    let cost = |pose: &Isometry3<f64>| -> Option<f64> {
        let errors = sights.iter().map(|sight| {
            lens.project(&(pose * sight.point)).map(|pixel| (pixel - sight.pixel).norm_squared())
        });
        errors.sum()
    };
    let (mut pose, mut least, mut damping) = (start, cost(&start)?, 1e-3);
    for _ in 0..STEPS {
        let (mut squares, mut downhill) = (Matrix6::zeros(), Vector6::zeros());
        for sight in sights {
            let at = pose * sight.point;
            let (pixel, slope) = lens.project_with_slope(&at)?;
            let slope = slope * moved(&at);
            squares += slope.transpose() * slope;
            downhill += slope.transpose() * (sight.pixel - pixel);
        }
        let damped = squares + Matrix6::from_diagonal(&(squares.diagonal() * damping));
        let Some(step) = damped.cholesky().map(|of| of.solve(&downhill)) else { break };
        let next = moved_by(&step, &pose);
        match cost(&next) {
            Some(now) if now < least => {
                let done = least - now < least * ENOUGH;
                (pose, least, damping) = (next, now, damping / 10.0);
                if done {
                    break;
                }
            }
            _ => damping *= 10.0,
        }
    }
    Some((pose, (least / sights.len() as f64).sqrt()))
}

/// Returns the derivative of a point by a movement of its coordinates: translation, then rotation, as
/// [`moved_by`] does it.
pub(crate) fn moved(point: &Point3<f64>) -> SMatrix<f64, 3, 6> {
    let mut slope = SMatrix::<f64, 3, 6>::zeros();
    slope.fixed_view_mut::<3, 3>(0, 0).copy_from(&Matrix3::identity());
    slope.fixed_view_mut::<3, 3>(0, 3).copy_from(&-point.coords.cross_matrix());
    slope
}

/// Moves the target of a pose: by a translation in metres, then a rotation vector in radians.
pub(crate) fn moved_by(step: &Vector6<f64>, pose: &Isometry3<f64>) -> Isometry3<f64> {
    let rotation = UnitQuaternion::from_scaled_axis(step.fixed_rows::<3>(3).into_owned());
    Isometry3::from_parts(Translation3::from(step.fixed_rows::<3>(0).into_owned()), rotation) * pose
}

#[cfg(test)]
mod tests {
    use camrig_frame::{Distortion, Intrinsics};

    use super::*;

    fn lens() -> Lens {
        let coefficients = [-0.055, 0.06, -0.0006, 0.0003, -0.02];
        let distortion = Distortion::InverseBrownConrady;
        let intrinsics = Intrinsics {
            width: 848,
            height: 480,
            ppx: 421.0,
            ppy: 238.5,
            fx: 610.0,
            fy: 607.0,
            distortion,
            coefficients,
        };
        Lens::new(&intrinsics).unwrap()
    }

    /// Sights of a board of 8 x 6 corners, 30 mm apart.
    fn sights(pose: &Isometry3<f64>) -> Vec<Sight> {
        let points = (0..48).map(|id| Point3::new(f64::from(id % 8) * 0.03, f64::from(id / 8) * 0.03, 0.0));
        points.map(|point| Sight { point, pixel: lens().project(&(pose * point)).unwrap() }).collect()
    }

    fn pose(tilt: f64, distance: f64) -> Isometry3<f64> {
        let rotation = UnitQuaternion::from_euler_angles(tilt, 0.2, 0.4);
        Isometry3::from_parts(Translation3::new(-0.05, -0.1, distance), rotation)
    }

    #[test]
    fn a_board_is_where_it_is_seen() {
        for (tilt, distance) in [(0.5, 0.6), (-0.8, 1.2), (0.1, 0.4)] {
            let truth = pose(tilt, distance);
            let found = board_pose(&lens(), &sights(&truth)).unwrap();
            assert!((found.pose.translation.vector - truth.translation.vector).norm() < 1e-7);
            assert!(found.pose.rotation.angle_to(&truth.rotation) < 1e-7);
            assert!(found.error_pixels < 1e-5 && !found.ambiguous, "{found:?}");
        }
    }

    #[test]
    fn false_corners_do_not_matter() {
        let truth = pose(0.5, 0.6);
        let mut seen = sights(&truth);
        for sight in seen.iter_mut().step_by(4) {
            sight.pixel += Vector2::new(31.0, -17.0);
        }
        let found = board_pose(&lens(), &seen).unwrap();
        assert!((found.pose.translation.vector - truth.translation.vector).norm() < 1e-7);
    }

    #[test]
    fn a_far_board_is_ambiguous() {
        let truth = pose(0.15, 8.0);
        let mut random = fastrand::Rng::with_seed(1);
        let mut seen = sights(&truth);
        for sight in &mut seen {
            sight.pixel += Vector2::new(random.f64() - 0.5, random.f64() - 0.5);
        }
        assert!(board_pose(&lens(), &seen).unwrap().ambiguous);
    }

    #[test]
    fn corners_in_a_line_have_no_pose() {
        let line: Vec<_> = sights(&pose(0.5, 0.6)).into_iter().take(8).collect();
        assert!(board_pose(&lens(), &line).is_none());
        assert!(board_pose(&lens(), &line[..4]).is_none());
    }
}
