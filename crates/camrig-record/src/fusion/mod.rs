//! Fusion of depth images into one surface: a truncated signed distance field in sparse blocks of voxels, and the mesh of its
//! zero crossings.
//!
//! Source of the field: Curless and Levoy, "A Volumetric Method for Building Complex Models from Range Images", 1996; of the
//! sparse blocks: Nießner and others, "Real-time 3D Reconstruction at Scale using Voxel Hashing", 2013. It deliberately does
//! not depend on files and recordings.

mod mesh;
mod ply;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::{HashMap, HashSet};

use camrig::frame::{Extrinsics, Intrinsics, POINT_BYTES, Point};

pub(crate) use self::mesh::Mesh;
pub(crate) use self::ply::write_ply;

/// Number of voxels along the edge of a block.
const SIDE: usize = 8;

/// Number of voxels of a block.
const BLOCK_VOXELS: usize = SIDE * SIDE * SIDE;

/// Distances from the surface are kept up to this many voxels.
const TRUNCATION_VOXELS: f32 = 4.0;

/// Positions along the ray of a pixel at which blocks are searched, in parts of the truncation: close enough to miss no block.
const SAMPLES: [f32; 5] = [-1.0, -0.5, 0.0, 0.5, 1.0];

/// The largest coordinate of a point that is used, in metres. It keeps the numbers of voxels in an `i32`.
const FARTHEST_METERS: f32 = 1000.0;

/// Maximum number of colors in a voxel's mean; from then on older ones have less weight.
const COLORS_MAX: u16 = 256;

/// Parts of a level of color, for means.
const LEVEL: f32 = 256.0;

/// The direction of the surface at a pixel is that to the pixels at this distance.
const NEIGHBOR_PIXELS: usize = 2;

/// A surface that is seen at a smaller cosine of the angle between its normal and the ray is not used: that is 81 degrees.
/// Depth is far less exact there, and the space between an object and its background looks like this too.
const LEAST_COSINE: f32 = 0.15;

/// The position of a block, in blocks from the root.
type Key = [i32; 3];

/// One depth image with its pose.
pub(crate) struct FusedView<'a> {
    /// The lens of depth.
    pub(crate) lens: &'a Intrinsics,
    /// From the camera's coordinates to those of the root.
    pub(crate) to_root: Extrinsics,
    /// The point of each pixel by rows, in the camera's coordinates, as [`Point::to_bytes`] has it.
    pub(crate) points: &'a [[u8; POINT_BYTES as usize]],
    /// Depth beyond this is not used, in metres.
    pub(crate) far_meters: f32,
}

impl FusedView<'_> {
    fn is_usable(&self, point: &Point) -> bool {
        point.meters[2] > 0.0 && point.meters[2] <= self.far_meters
    }

    /// Returns the weight of each pixel; 0 of those that are not used.
    fn weights(&self) -> Vec<f32> {
        let width = (self.lens.width as usize).max(1);
        let rows = self.points.len() / width;
        let pixels = self.points.iter().map(Point::from_bytes).enumerate();
        let weight = |(index, point): (usize, Point)| {
            if !self.is_usable(&point) {
                return 0.0;
            }
            let (column, row) = (index % width, index / width);
            let across = self.slope(&point, index, 1, column, width);
            let down = self.slope(&point, index, width, row, rows);
            let cosine = across.zip(down).map_or(0.0, |(across, down)| cosine(point.meters, across, down));
            // The noise of depth grows with its square.
            if cosine < LEAST_COSINE { 0.0 } else { cosine / (point.meters[2] * point.meters[2]) }
        };
        pixels.map(weight).collect()
    }

    /// Returns the vector from the point of a pixel to that of an adjacent one, the one of two with the more similar depth. The
    /// pixel is the one at `at` of `count` in a line of pixels whose indices differ by `step`.
    fn slope(&self, point: &Point, index: usize, step: usize, at: usize, count: usize) -> Option<[f32; 3]> {
        let before = at.checked_sub(NEIGHBOR_PIXELS).map(|_| index - NEIGHBOR_PIXELS * step);
        let after = (at + NEIGHBOR_PIXELS < count).then_some(index + NEIGHBOR_PIXELS * step);
        let neighbors = [before, after].into_iter().flatten();
        let neighbors = neighbors.map(|index| Point::from_bytes(&self.points[index]));
        let vectors = neighbors
            .filter(|neighbor| self.is_usable(neighbor))
            .map(|neighbor| [0, 1, 2].map(|axis| neighbor.meters[axis] - point.meters[axis]));
        vectors.min_by(|a, b| a[2].abs().total_cmp(&b[2].abs()))
    }

    /// Returns the point of the nearest pixel, with its weight, if it is used.
    fn point_at(&self, weights: &[f32], [column, row]: [f32; 2]) -> Option<(Point, f32)> {
        // A pixel extends half its size beyond its center. A negative number must not become column 0.
        let (column, row) = ((column + 0.5).floor(), (row + 0.5).floor());
        if !(column >= 0.0 && row >= 0.0 && column < self.lens.width as f32) {
            return None;
        }
        let at = (row as usize).checked_mul(self.lens.width as usize)?.checked_add(column as usize)?;
        let weight = *weights.get(at).filter(|weight| **weight > 0.0)?;
        Some((Point::from_bytes(&self.points[at]), weight))
    }

    /// Calls `found` with each block near the surface that is seen, some of them several times, until it fails.
    fn each_block<E>(&self, voxel_meters: f32, mut found: impl FnMut(Key) -> Result<(), E>) -> Result<(), E> {
        let (edge, truncation) = (voxel_meters * SIDE as f32, voxel_meters * TRUNCATION_VOXELS);
        // Adjacent pixels are mostly in the same block.
        let mut last = [None; SAMPLES.len()];
        let points = self.points.iter().map(Point::from_bytes);
        for Point { meters: own, .. } in points.filter(|point| self.is_usable(point)) {
            for (last, sample) in last.iter_mut().zip(SAMPLES) {
                let scale = (1.0 + sample * truncation / own[2]).max(0.0);
                let meters = self.to_root.apply(own.map(|at| at * scale));
                // This is false of NaN as well.
                if !meters.iter().all(|at| at.abs() <= FARTHEST_METERS) {
                    continue;
                }
                let key = meters.map(|at| (at / edge).floor() as i32);
                if last.replace(key) != Some(key) {
                    found(key)?;
                }
            }
        }
        Ok(())
    }
}

/// Returns the cosine of the angle between a ray and the normal of the plane of two vectors.
fn cosine(ray: [f32; 3], a: [f32; 3], b: [f32; 3]) -> f32 {
    let normal = [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
    let dot = |a: [f32; 3], b: [f32; 3]| a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
    let lengths = (dot(normal, normal) * dot(ray, ray)).sqrt();
    if lengths > 0.0 { dot(normal, ray).abs() / lengths } else { 0.0 }
}

/// The distance of a point from the surface, and its color, as means of all views.
#[derive(Clone, Copy, Default)]
struct Voxel {
    /// In metres, positive in front of the surface.
    distance: f32,
    /// Sum of the weights; 0 where nothing was seen.
    weight: f32,
    /// In parts of a level: see [`LEVEL`].
    rgb: [u16; 3],
    /// Number of colors, at most [`COLORS_MAX`].
    colors: u16,
}

impl Voxel {
    fn add(&mut self, distance: f32, weight: f32) {
        self.weight += weight;
        self.distance += (distance - self.distance) * (weight / self.weight);
    }

    fn add_color(&mut self, rgb: [u8; 3]) {
        self.colors = (self.colors + 1).min(COLORS_MAX);
        for (mean, level) in self.rgb.iter_mut().zip(rgb) {
            let before = f32::from(*mean);
            let after = before + (f32::from(level) * LEVEL - before) / f32::from(self.colors);
            *mean = after.round() as u16;
        }
    }

    /// Returns the mean color in levels, if the voxel has one.
    fn color(&self) -> Option<[f32; 3]> {
        (self.colors > 0).then(|| self.rgb.map(|mean| f32::from(mean) / LEVEL))
    }
}

/// A cube of voxels, by z, y and x.
struct Block {
    key: Key,
    /// The number of the last view that changed it.
    view: u64,
    voxels: [Voxel; BLOCK_VOXELS],
}

impl Block {
    /// Adds a view with the weights of its pixels, of which `from_root` is the transform to the camera's coordinates.
    fn integrate(
        &mut self,
        view: &FusedView<'_>,
        weights: &[f32],
        from_root: &Extrinsics,
        voxel_meters: f32,
    ) {
        let truncation = voxel_meters * TRUNCATION_VOXELS;
        for (index, voxel) in self.voxels.iter_mut().enumerate() {
            let at = place(self.key, index).map(|at| at as f32 * voxel_meters);
            let own = from_root.apply(at);
            let pixel = view.lens.project(own);
            let Some((seen, weight)) = pixel.and_then(|pixel| view.point_at(weights, pixel)) else {
                continue;
            };
            let distance = (seen.meters[2] - own[2]).min(truncation);
            // The space behind the surface is a guess, the less certain the deeper.
            let certain = 1.0 + distance.min(0.0) / truncation;
            if certain <= 0.0 {
                continue;
            }
            voxel.add(distance, certain * weight);
            if let Some(rgb) = seen.rgb.filter(|_| distance < truncation) {
                voxel.add_color(rgb);
            }
        }
    }
}

/// Returns the position of a voxel, in voxels from the root.
fn place(key: Key, index: usize) -> [i32; 3] {
    let local = [index % SIDE, index / SIDE % SIDE, index / (SIDE * SIDE)];
    [0, 1, 2].map(|axis| key[axis] * SIDE as i32 + local[axis] as i32)
}

/// Returns the block of a voxel, and its index there: the inverse of [`place`].
fn index_of(place: [i32; 3]) -> (Key, usize) {
    let side = SIDE as i32;
    let [x, y, z] = place.map(|at| at.rem_euclid(side) as usize);
    (place.map(|at| at.div_euclid(side)), (z * SIDE + y) * SIDE + x)
}

/// The volume has its maximum number of blocks, and the view needs more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// A signed distance field of bounded size.
pub(crate) struct Volume {
    voxel_meters: f32,
    max_blocks: usize,
    /// The index of each block in `blocks`.
    indices: HashMap<Key, u32>,
    blocks: Vec<Box<Block>>,
    /// Number of views so far.
    views: u64,
    /// The blocks of the present view.
    seen: Vec<u32>,
}

impl Volume {
    /// Creates an empty field with voxels of this size, and at most `max_blocks` blocks, each of [`Self::BLOCK_BYTES`].
    pub(crate) fn new(voxel_meters: f32, max_blocks: usize) -> Self {
        let (indices, blocks, seen) = (HashMap::new(), Vec::new(), Vec::new());
        Self { voxel_meters, max_blocks, indices, blocks, views: 0, seen }
    }

    /// Memory of a block.
    pub(crate) const BLOCK_BYTES: usize = size_of::<Block>();

    /// Adds a view.
    ///
    /// # Errors
    /// If it needs more blocks than there may be. Then the field is without the view.
    pub(crate) fn integrate(&mut self, view: &FusedView<'_>) -> Result<(), Full> {
        self.views += 1;
        self.seen.clear();
        let Self { indices, blocks, seen, max_blocks, views, voxel_meters } = self;
        view.each_block(*voxel_meters, |key| {
            let index = match indices.get(&key) {
                Some(&index) => index,
                None if blocks.len() >= *max_blocks => return Err(Full),
                None => {
                    let index = blocks.len() as u32;
                    indices.insert(key, index);
                    blocks.push(Box::new(Block { key, view: 0, voxels: [Voxel::default(); BLOCK_VOXELS] }));
                    index
                }
            };
            let block = &mut blocks[index as usize];
            if block.view != *views {
                block.view = *views;
                seen.push(index);
            }
            Ok(())
        })?;
        let (weights, from_root) = (view.weights(), view.to_root.inverse());
        for &index in &*seen {
            blocks[index as usize].integrate(view, &weights, &from_root, *voxel_meters);
        }
        Ok(())
    }
}

/// The number of blocks that views need at some size of voxels, up to a maximum.
pub(crate) struct BlockCount {
    voxel_meters: f32,
    max_blocks: usize,
    keys: HashSet<Key>,
}

impl BlockCount {
    pub(crate) fn new(voxel_meters: f32, max_blocks: usize) -> Self {
        Self { voxel_meters, max_blocks, keys: HashSet::new() }
    }

    pub(crate) fn voxel_meters(&self) -> f32 {
        self.voxel_meters
    }

    /// Adds a view.
    ///
    /// # Errors
    /// If [`Volume::integrate`] would fail.
    pub(crate) fn add(&mut self, view: &FusedView<'_>) -> Result<(), Full> {
        view.each_block(self.voxel_meters, |key| {
            if self.keys.insert(key) && self.keys.len() > self.max_blocks { Err(Full) } else { Ok(()) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voxel_is_in_one_block() {
        for at in [[0, 0, 0], [-1, 7, 8], [-8, -9, 1000]] {
            let (key, index) = index_of(at);
            assert_eq!(place(key, index), at);
        }
        assert_eq!(index_of([-1, 7, 8]), ([-1, 0, 1], 7 * SIDE + 7));
    }

    #[test]
    fn means_are_weighted() {
        let mut voxel = Voxel::default();
        voxel.add(0.01, 3.0);
        voxel.add(-0.01, 1.0);
        assert!((voxel.distance - 0.005).abs() < 1e-7, "{}", voxel.distance);
        assert_eq!(voxel.color(), None);
        voxel.add_color([10, 255, 0]);
        voxel.add_color([20, 255, 0]);
        assert_eq!(voxel.color(), Some([15.0, 255.0, 0.0]));
        for _ in 0..1000 {
            voxel.add_color([30, 255, 0]);
        }
        assert!((voxel.color().unwrap()[0] - 30.0).abs() < 1.0);
        assert_eq!(size_of::<Voxel>(), 16);
    }

    #[test]
    fn the_number_of_blocks_is_bounded() {
        let wall = testing::Eye::new(64, 48, [0.0; 3], 0.0);
        let points = wall.points(testing::Scene::WALL);
        let view = wall.view(&points);
        // A block has an edge of 40 mm: the wall has some hundreds.
        let mut count = BlockCount::new(0.005, usize::MAX);
        count.add(&view).unwrap();
        let blocks = count.keys.len();
        assert!(blocks > 200, "{blocks}");
        assert_eq!(Volume::new(0.005, blocks).integrate(&view), Ok(()));
        assert_eq!(BlockCount::new(0.005, blocks).add(&view), Ok(()));
        let mut small = Volume::new(0.005, blocks - 1);
        assert_eq!(small.integrate(&view), Err(Full));
        assert_eq!(small.blocks.len(), blocks - 1);
        assert!(small.blocks.iter().all(|block| block.voxels.iter().all(|voxel| voxel.weight == 0.0)));
        assert_eq!(BlockCount::new(0.005, blocks - 1).add(&view), Err(Full));
        assert_eq!(BlockCount::new(0.02, blocks / 4).add(&view), Ok(()));
    }

    #[test]
    fn pixels_count_by_distance_and_direction() {
        let eye = testing::Eye::new(9, 9, [0.0; 3], 0.0);
        let points = |depth: &dyn Fn(usize, usize) -> f32| {
            let point = |index: usize| {
                let (x, y) = (index % 9, index / 9);
                let meters = eye.lens.deproject([x as f32, y as f32], depth(x, y)).unwrap();
                Point { meters, rgb: None }.to_bytes()
            };
            (0..81).map(point).collect::<Vec<_>>()
        };
        let weights = |depth: &dyn Fn(usize, usize) -> f32| eye.view(&points(depth)).weights();
        // The middle pixel looks along Z.
        let flat = weights(&|_, _| 2.0);
        assert!((flat[40] - 0.25).abs() < 1e-4 && flat.iter().all(|weight| *weight > 0.2), "{flat:?}");
        // A plane at 45 degrees through the middle: z = 2 + x.
        let slope = weights(&|x, _| 2.0 / (1.0 - (x as f32 - 4.0) / 9.0));
        assert!((slope[40] - 0.25 * std::f32::consts::FRAC_1_SQRT_2).abs() < 1e-3, "{}", slope[40]);
        // The last pixels of an object keep their weight; a pixel between it and its background has none.
        let edge = weights(&|x, _| [1.0, 3.0, 5.0][usize::from(x > 3) + usize::from(x > 4)]);
        assert!(edge[39] > 0.9 && edge[40] == 0.0 && edge[41] > 0.03, "{edge:?}");
        // Nor has a pixel without adjacent ones.
        let alone = weights(&|x, y| if (x, y) == (4, 4) { 1.0 } else { 0.0 });
        assert_eq!(alone, [0.0; 81]);
    }

    #[test]
    fn points_that_cannot_be_used_are_left_out() {
        let eye = testing::Eye::new(2, 2, [0.0; 3], 0.0);
        let point = |z: f32| Point { meters: [0.0, 0.0, z], rgb: None }.to_bytes();
        let count = |points: &[[u8; 16]], far_meters, to_root| {
            let mut count = BlockCount::new(0.005, usize::MAX);
            count.add(&FusedView { to_root, far_meters, ..eye.view(points) }).unwrap();
            count.keys.len()
        };
        let here = Extrinsics::IDENTITY;
        let wrong = [f32::NAN, f32::INFINITY, 2000.0, -1.0].map(point);
        assert_eq!(count(&wrong, f32::INFINITY, here), 0);
        assert_eq!(count(&[1.0, 1.0, 3.0, 3.0].map(point), 2.0, here), 2);
        let lost = Extrinsics { translation_meters: [f32::NAN; 3], ..here };
        assert_eq!(count(&[1.0; 4].map(point), 2.0, lost), 0);
    }
}
