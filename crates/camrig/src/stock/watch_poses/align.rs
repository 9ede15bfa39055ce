//! The rigid motion that brings points onto a surface.
//!
//! Each point is compared with the plane of the cell that sees it; points that are too far from it are of something else,
//! such as a person. Directions that the planes do not determine, such as those within a single wall, stay as they were.

use camrig_frame::Extrinsics;

use super::cells::{Cells, Surface, Vector, cross, dot};

/// The unknowns: three of translation, three of rotation.
const UNKNOWNS: usize = 6;

type Matrix = [[f64; UNKNOWNS]; UNKNOWNS];

/// Steps of each width of the search.
const STEPS: usize = 6;

/// A direction with less information than this, relative to the best one, is not determined: it may come from errors of
/// normals. Nor is one whose standard deviation is longer than these metres at the mean depth.
const DETERMINED: f64 = 0.001;
const DETERMINED_METERS: f64 = 0.003;

/// Errors of depth that are the same in each look: metres, and metres for each metre of depth.
const BIAS: [f64; 2] = [0.001, 0.001];

/// Points within this many spreads of their plane belong to it.
const SPREADS: f32 = 4.0;

/// Neighbouring cells have related errors: so many count as one.
const RELATED: f64 = 4.0;

/// The fewest points that are compared.
const POINTS_MIN: usize = 60;

/// A motion that was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aligned {
    /// From the points' coordinates to those of the surface.
    pub(super) motion: Extrinsics,
    /// Points that some plane of the surface is compared with.
    pub(super) compared: usize,
    /// Points on their plane.
    pub(super) within: usize,
    /// Standard deviations of translation in metres and of rotation in radians.
    pub(super) deviation: [f64; 2],
    /// Number of directions that are determined, of six.
    pub(super) determined: usize,
}

impl Aligned {
    /// Returns the share of points on their plane.
    pub(super) fn share(&self) -> f64 {
        self.within as f64 / self.compared.max(1) as f64
    }
}

/// Brings points onto a surface, beginning at `start` with distances of up to `reach` metres; `None` if too few points
/// can be compared.
pub(super) fn align(
    points: &[Vector],
    cells: &Cells,
    surface: &Surface,
    start: &Extrinsics,
    reach: f32,
    tolerance: f32,
) -> Option<Aligned> {
    let mut motion = *start;
    let mut reach = reach;
    loop {
        let mut deviation = [0.0; 2];
        let mut determined = 0;
        for _ in 0..STEPS {
            let sums = Sums::of(points, cells, surface, &motion, reach, tolerance);
            if sums.within < POINTS_MIN {
                return None;
            }
            let step = sums.solve();
            motion = step.motion.after(&motion);
            (deviation, determined) = (step.deviation, step.determined);
            if step.is_small {
                break;
            }
        }
        if reach <= tolerance {
            let Sums { compared, within, .. } = Sums::of(points, cells, surface, &motion, reach, tolerance);
            return Some(Aligned { motion, compared, within, deviation, determined });
        }
        reach = (reach / 2.5).max(tolerance);
    }
}

/// The sums over all points from which a step follows.
struct Sums {
    information: Matrix,
    gradient: [f64; UNKNOWNS],
    /// The weighted square errors.
    squares: f64,
    compared: usize,
    within: usize,
    /// The mean depth: lengths and angles are compared by it.
    scale: f64,
}

struct Step {
    motion: Extrinsics,
    deviation: [f64; 2],
    determined: usize,
    is_small: bool,
}

impl Sums {
    fn of(
        points: &[Vector],
        cells: &Cells,
        surface: &Surface,
        motion: &Extrinsics,
        reach: f32,
        tolerance: f32,
    ) -> Self {
        let mut sums = Self {
            information: Default::default(),
            gradient: [0.0; 6],
            squares: 0.0,
            compared: 0,
            within: 0,
            scale: 0.0,
        };
        for point in points {
            let moved = motion.apply(*point);
            let Some((plane, spread)) = cells.cell_of(moved).and_then(|cell| surface.plane(cells, cell))
            else {
                continue;
            };
            sums.compared += 1;
            let error = dot(plane.normal, moved) - plane.meters;
            let reach = reach.max(tolerance).max(SPREADS * spread);
            if error.abs() > reach {
                continue;
            }
            sums.within += 1;
            sums.scale += f64::from(moved[2]);
            let turn = cross(moved, plane.normal);
            let row: [f64; UNKNOWNS] =
                std::array::from_fn(|at| f64::from(if at < 3 { plane.normal[at] } else { turn[at - 3] }));
            let near = 1.0 - f64::from(error / reach).powi(2);
            let bias = BIAS[0] + BIAS[1] * f64::from(moved[2]);
            let weight = near * near / (f64::from(spread).powi(2) + bias.powi(2));
            for (into, by) in sums.information.iter_mut().zip(row) {
                into.iter_mut().zip(row).for_each(|(into, at)| *into += weight * by * at);
            }
            sums.gradient.iter_mut().zip(row).for_each(|(into, at)| *into += weight * at * f64::from(error));
            sums.squares += weight * f64::from(error).powi(2);
        }
        sums.scale /= sums.within.max(1) as f64;
        sums
    }

    /// Returns the step that makes the errors least.
    fn solve(&self) -> Step {
        // Rotations are measured by the length that they move at the mean depth.
        let unit = |at: usize| if at < 3 { 1.0 } else { 1.0 / self.scale };
        let scaled = std::array::from_fn(|row| {
            std::array::from_fn(|column| self.information[row][column] * unit(row) * unit(column))
        });
        let (values, vectors) = eigen(scaled);
        let best = values.iter().copied().fold(0.0, f64::max);
        let noise = RELATED * (self.squares / self.within.max(1) as f64).max(0.1);
        let (mut step, mut variances) = ([0.0; UNKNOWNS], [0.0; UNKNOWNS]);
        let mut determined = 0;
        for (value, vector) in values.iter().zip(vectors) {
            if *value <= DETERMINED * best || noise / value > DETERMINED_METERS.powi(2) {
                continue;
            }
            determined += 1;
            // The direction in metres and radians.
            let direction: [f64; UNKNOWNS] = std::array::from_fn(|at| vector[at] * unit(at));
            let along: f64 = direction.iter().zip(self.gradient).map(|(part, slope)| part * slope).sum();
            step.iter_mut().zip(direction).for_each(|(step, part)| *step -= part * along / value);
            variances.iter_mut().zip(direction).for_each(|(sum, part)| *sum += noise * part.powi(2) / value);
        }
        let [x, y, z, turn_x, turn_y, turn_z] = step;
        let quaternion = [turn_x / 2.0, turn_y / 2.0, turn_z / 2.0, 1.0];
        let length = |range: std::ops::Range<usize>| variances[range].iter().sum::<f64>().sqrt();
        let is_small = step.iter().enumerate().all(|(at, part)| (part / unit(at)).abs() < 1e-5);
        Step {
            motion: Extrinsics::from_quaternion(quaternion, [x, y, z]),
            deviation: [length(0..3), length(3..UNKNOWNS)],
            determined,
            is_small,
        }
    }
}

/// Returns the eigenvalues of a symmetric matrix, each with its vector, by Jacobi's rotations.
fn eigen(mut matrix: Matrix) -> ([f64; UNKNOWNS], Matrix) {
    let mut vectors: Matrix =
        std::array::from_fn(|row| std::array::from_fn(|at| f64::from(u8::from(row == at))));
    for _ in 0..12 {
        for (first, second) in
            (0..UNKNOWNS).flat_map(|first| (first + 1..UNKNOWNS).map(move |at| (first, at)))
        {
            let off = matrix[first][second];
            if off.abs() <= f64::MIN_POSITIVE {
                continue;
            }
            let ratio = (matrix[second][second] - matrix[first][first]) / (2.0 * off);
            let tangent = ratio.signum() / (ratio.abs() + ratio.hypot(1.0));
            let cosine = 1.0 / tangent.hypot(1.0);
            let sine = tangent * cosine;
            for row in &mut matrix {
                (row[first], row[second]) =
                    (cosine * row[first] - sine * row[second], sine * row[first] + cosine * row[second]);
            }
            let turn = |rows: &mut Matrix| {
                let (one, other) = (rows[first], rows[second]);
                rows[first] = std::array::from_fn(|at| cosine * one[at] - sine * other[at]);
                rows[second] = std::array::from_fn(|at| sine * one[at] + cosine * other[at]);
            };
            turn(&mut matrix);
            turn(&mut vectors);
        }
    }
    (std::array::from_fn(|at| matrix[at][at]), vectors)
}
