//! Depth images as coarse grids of cells, and the surfaces that a camera sees at rest.

use camrig_frame::{DepthView, Intrinsics};

/// The largest number of columns of a grid.
const COLUMNS_MAX: u32 = 106;

/// Depths that are read of each cell, per side.
const SAMPLES: u32 = 4;

/// Depths of a cell this far from its median, relative to it, are left out of its mean.
const TRIM: f32 = 0.02;

/// The smallest spread of a cell's depth over time, in metres.
const SPREAD_MIN: f32 = 0.0005;

/// A cell whose depth spreads more than this, relative to it, is not at rest.
const SPREAD_MAX: f32 = 0.02;

/// Cells are of one plane if each is off it by less than this, relative to its depth.
const BEND_MAX: f32 = 0.015;

/// The least cosine between a surface's normal and the line of sight.
const GRAZING: f32 = 0.15;

/// A point, or a direction.
pub(super) type Vector = [f32; 3];

pub(super) fn dot(a: Vector, b: Vector) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn cross(a: Vector, b: Vector) -> Vector {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// A plane: points on it have this distance from the camera along the normal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Plane {
    pub(super) normal: Vector,
    pub(super) meters: f32,
}

/// The grid of a camera's depth images.
#[derive(Clone, Debug)]
pub(super) struct Cells {
    columns: usize,
    rows: usize,
    /// Pixels of a cell's side.
    block: u32,
    lens: Intrinsics,
    /// X and Y of each cell's line of sight at Z = 1.
    rays: Vec<[f32; 2]>,
    /// Neighbours of a cell on each side from which its plane is computed.
    reach: usize,
}

impl Cells {
    /// Creates the grid of images with these intrinsics; `None` if their model is not supported.
    pub(super) fn new(lens: &Intrinsics) -> Option<Self> {
        let block = lens.width.div_ceil(COLUMNS_MAX).max(1);
        let (columns, rows) = (lens.width / block, lens.height / block);
        let middle = |index: u32| (index * block) as f32 + (block - 1) as f32 / 2.0;
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (column, row)));
        let rays = places.map(|(column, row)| {
            let [x, y, _] = lens.deproject([middle(column), middle(row)], 1.0)?;
            Some([x, y])
        });
        let rays = rays.collect::<Option<Vec<_>>>()?;
        Some(Self {
            columns: columns as usize,
            rows: rows as usize,
            block,
            lens: *lens,
            rays,
            reach: if columns > COLUMNS_MAX / 2 + 1 { 2 } else { 1 },
        })
    }

    pub(super) fn len(&self) -> usize {
        self.rays.len()
    }

    /// Returns the depth of each cell of an image, in metres; 0 where most pixels have none.
    pub(super) fn depths(&self, image: &DepthView<'_>) -> Vec<f32> {
        let step = (self.block / SAMPLES).max(1);
        let mut depths = Vec::with_capacity(self.len());
        let mut samples = [0.0; (SAMPLES * SAMPLES) as usize];
        for cell in 0..self.len() as u32 {
            let (left, top) =
                (cell % self.columns as u32 * self.block, cell / self.columns as u32 * self.block);
            let (mut all, mut valid) = (0, 0);
            for row in (0..self.block).step_by(step as usize).take(SAMPLES as usize) {
                for column in (0..self.block).step_by(step as usize).take(SAMPLES as usize) {
                    all += 1;
                    if let Some(meters) = image.meters(left + column, top + row) {
                        samples[valid] = meters;
                        valid += 1;
                    }
                }
            }
            depths.push(if 2 * valid > all { trimmed(&mut samples[..valid]) } else { 0.0 });
        }
        depths
    }

    /// Returns the place of a cell at this depth, in the camera's coordinates.
    pub(super) fn point(&self, cell: usize, depth: f32) -> Vector {
        let [x, y] = self.rays[cell];
        [x * depth, y * depth, depth]
    }

    /// Returns the points of a look.
    pub(super) fn points(&self, depths: &[f32]) -> Vec<Vector> {
        let seen = depths.iter().enumerate().filter(|(_, depth)| **depth > 0.0);
        seen.map(|(cell, depth)| self.point(cell, *depth)).collect()
    }

    /// Returns the cell that sees a point.
    pub(super) fn cell_of(&self, point: Vector) -> Option<usize> {
        let pixel = self.lens.project(point)?;
        let [column, row] = pixel.map(|at| ((at + 0.5) / self.block as f32).floor());
        let is_inside = column >= 0.0 && row >= 0.0 && column < self.columns as f32 && row < self.rows as f32;
        is_inside.then(|| row as usize * self.columns + column as usize)
    }

    /// Returns the plane through a cell and its neighbours; `None` at an edge.
    ///
    /// On a plane, the inverse of depth is a linear function of the line of sight: its factors are the normal, divided by
    /// the plane's distance.
    fn plane(&self, depths: &[f32], cell: usize) -> Option<Plane> {
        let (column, row) = (cell % self.columns, cell / self.columns);
        let (left, top) = (column.checked_sub(self.reach)?, row.checked_sub(self.reach)?);
        let side = 2 * self.reach + 1;
        if left + side > self.columns || top + side > self.rows || depths[cell] <= 0.0 {
            return None;
        }
        let near = || {
            let rows =
                (top..top + side).flat_map(move |row| (left..left + side).map(move |column| (row, column)));
            rows.map(|(row, column)| row * self.columns + column).filter(|cell| depths[*cell] > 0.0)
        };
        let [x, y] = self.rays[cell];
        let from_middle = |cell: usize| [self.rays[cell][0] - x, self.rays[cell][1] - y];
        let mut sums = [0.0_f32; 9];
        for cell in near() {
            let ([x, y], inverse) = (from_middle(cell), depths[cell].recip());
            let parts = [1.0, x, y, x * x, x * y, y * y, inverse, inverse * x, inverse * y];
            sums.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
        }
        let [n, sx, sy, sxx, sxy, syy, sd, sdx, sdy] = sums;
        if 2.0 * n <= (side * side) as f32 {
            return None;
        }
        let (sxx, sxy, syy) = (sxx - sx * sx / n, sxy - sx * sy / n, syy - sy * sy / n);
        let (sdx, sdy) = (sdx - sd * sx / n, sdy - sd * sy / n);
        let determinant = sxx * syy - sxy * sxy;
        let (slope_x, slope_y) =
            ((sdx * syy - sdy * sxy) / determinant, (sdy * sxx - sdx * sxy) / determinant);
        let at_middle = (sd - slope_x * sx - slope_y * sy) / n;
        let fits = |cell: usize| {
            let [x, y] = from_middle(cell);
            ((at_middle + slope_x * x + slope_y * y) * depths[cell] - 1.0).abs() < BEND_MAX
        };
        let factors = [slope_x, slope_y, at_middle - slope_x * x - slope_y * y];
        let length = dot(factors, factors).sqrt();
        let sight = self.point(cell, 1.0);
        let cosine = at_middle / (length * dot(sight, sight).sqrt());
        let plane = Plane { normal: factors.map(|part| part / length), meters: length.recip() };
        (cosine > GRAZING && near().all(fits)).then_some(plane)
    }
}

/// Returns the mean of samples that are near their median.
fn trimmed(samples: &mut [f32]) -> f32 {
    let middle = samples.len() / 2;
    let median = *samples.select_nth_unstable_by(middle, f32::total_cmp).1;
    let near = samples.iter().filter(|sample| (*sample - median).abs() <= TRIM * median);
    let (sum, count) = near.fold((0.0, 0.0), |(sum, count), sample| (sum + sample, count + 1.0));
    sum / count
}

/// What a camera sees at rest.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Surface {
    /// The depth of each cell, in metres; 0 where it is not known.
    pub(super) depths: Vec<f32>,
    /// How far it spreads over time, in metres.
    pub(super) spreads: Vec<f32>,
    /// The plane of each cell that has one.
    planes: Vec<Option<Plane>>,
}

impl Surface {
    /// Creates it from several looks; a cell that most of them do not agree on is not known.
    pub(super) fn learn(cells: &Cells, looks: &[Vec<f32>]) -> Self {
        let mut values = Vec::with_capacity(looks.len());
        let (mut depths, mut spreads) = (Vec::new(), Vec::new());
        for cell in 0..cells.len() {
            values.clear();
            values.extend(looks.iter().map(|look| look[cell]).filter(|depth| *depth > 0.0));
            let (mut depth, mut spread) = (0.0, 0.0);
            if 2 * values.len() > looks.len() {
                depth = median(&mut values);
                for value in &mut values {
                    *value = (*value - depth).abs();
                }
                spread = (1.4826 * median(&mut values)).max(SPREAD_MIN);
                if spread > SPREAD_MAX * depth {
                    depth = 0.0;
                }
            }
            depths.push(depth);
            spreads.push(spread);
        }
        // The spread of a few looks is small by chance: that of a depth camera grows with the square of distance.
        let known = depths.iter().zip(&spreads).filter(|(depth, _)| **depth > 0.0);
        let mut usual: Vec<_> = known.map(|(depth, spread)| spread / depth.powi(2)).collect();
        if !usual.is_empty() {
            let usual = median(&mut usual);
            spreads
                .iter_mut()
                .zip(&depths)
                .for_each(|(spread, depth)| *spread = spread.max(usual * depth.powi(2)));
        }
        Self::new(cells, depths, spreads)
    }

    pub(super) fn new(cells: &Cells, depths: Vec<f32>, spreads: Vec<f32>) -> Self {
        let planes = (0..cells.len()).map(|cell| cells.plane(&depths, cell)).collect();
        Self { depths, spreads, planes }
    }

    /// Returns the plane at a cell, and how far places of it spread along its normal.
    pub(super) fn plane(&self, cells: &Cells, cell: usize) -> Option<(Plane, f32)> {
        let plane = self.planes[cell]?;
        let along = dot(plane.normal, cells.point(cell, 1.0)).abs();
        Some((plane, self.spreads[cell] * along))
    }
}

fn median(values: &mut [f32]) -> f32 {
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}
