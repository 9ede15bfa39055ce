//! The points of several cameras in one grid of voxels.
//!
//! Adjacent pixels are often in one voxel, so runs of them are reduced while they are read; the rest is sorted by voxel.
//! Sorting costs less than hashing: the memory is read in order, and the result does not depend on anything else.

use camrig_frame::{Extrinsics, POINT_BYTES, Point};

type PointBytes = [u8; POINT_BYTES as usize];

/// Half the number of voxels along an axis that a key can distinguish.
const HALF: u32 = 1 << 20;

/// The box outside of which points are left out, in the root's coordinates, in metres.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crop {
    pub(super) min: [f32; 3],
    pub(super) max: [f32; 3],
}

impl Crop {
    fn contains(&self, point: [f32; 3]) -> bool {
        point.iter().zip(self.min).zip(self.max).all(|((at, min), max)| (min..=max).contains(at))
    }
}

/// A point in the order of the result: by voxel, then by distance to its camera, then by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    voxel: u64,
    /// The bits of a positive number, which have its order.
    distance: u32,
    index: u32,
}

/// The points of a match.
pub(super) struct Merged {
    /// Edge of a voxel in metres; 0 keeps all points.
    voxel_meters: f32,
    voxels_per_meter: f64,
    crop: Crop,
    entries: Vec<Entry>,
    points: Vec<PointBytes>,
    origins: Vec<u8>,
    kept: (Vec<PointBytes>, Vec<u8>),
}

impl Merged {
    pub(super) fn new(voxel_meters: f32, crop: Crop) -> Self {
        let (entries, points, origins) = (Vec::new(), Vec::new(), Vec::new());
        let voxels_per_meter = 1.0 / f64::from(voxel_meters);
        Self { voxel_meters, voxels_per_meter, crop, entries, points, origins, kept: Default::default() }
    }

    /// Returns the memory that it holds, in bytes.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        let (points, origins) = &self.kept;
        self.entries.capacity() * size_of::<Entry>()
            + (self.points.capacity() + points.capacity()) * size_of::<PointBytes>()
            + self.origins.capacity()
            + origins.capacity()
    }

    /// Removes all points, and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.points.clear();
        self.origins.clear();
    }

    /// Adds the points of the camera with this number, which are in its own coordinates, row by row.
    pub(super) fn add(&mut self, camera: u8, points: &[u8], to_root: &Extrinsics) {
        for bytes in points.as_chunks::<{ POINT_BYTES as usize }>().0 {
            let own = Point::from_bytes(bytes);
            let distance = own.meters[2];
            if distance <= 0.0 {
                continue;
            }
            let meters = to_root.apply(own.meters);
            // Zeros mean no point.
            if !self.crop.contains(meters) || meters.iter().all(|&at| at == 0.0) {
                continue;
            }
            let merged = Point { meters, ..own }.to_bytes();
            if self.voxel_meters == 0.0 {
                self.points.push(merged);
                self.origins.push(camera);
                continue;
            }
            let (voxel, distance) = (self.voxel_of(meters), distance.to_bits());
            // Only the nearest of successive points in one voxel is kept.
            match self.entries.last_mut().zip(self.points.last_mut()).zip(self.origins.last()) {
                Some(((last, point), origin)) if last.voxel == voxel && *origin == camera => {
                    if distance < last.distance {
                        last.distance = distance;
                        *point = merged;
                    }
                }
                _ => {
                    self.entries.push(Entry { voxel, distance, index: self.points.len() as u32 });
                    self.points.push(merged);
                    self.origins.push(camera);
                }
            }
        }
    }

    /// Returns the points that remain, and the number of the camera of each.
    pub(super) fn points(&mut self) -> (&[PointBytes], &[u8]) {
        if self.voxel_meters == 0.0 {
            return (&self.points, &self.origins);
        }
        self.entries.sort_unstable();
        self.entries.dedup_by_key(|entry| entry.voxel);
        let (points, origins) = &mut self.kept;
        points.clear();
        origins.clear();
        points.extend(self.entries.iter().map(|entry| self.points[entry.index as usize]));
        origins.extend(self.entries.iter().map(|entry| self.origins[entry.index as usize]));
        (points, origins)
    }

    /// Returns the key of the voxel that has a point, 21 bits for each axis. Points farther than a million voxels from the
    /// root share the outermost ones.
    fn voxel_of(&self, meters: [f32; 3]) -> u64 {
        // A conversion to an integer cuts off, which is the floor of a positive number, and saves a call of `floor`.
        let along = |at: f32| (f64::from(at) * self.voxels_per_meter + f64::from(HALF)) as u32;
        let [x, y, z] = meters.map(along).map(|at| u64::from(at.min(2 * HALF - 1)));
        z << 42 | y << 21 | x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYWHERE: Crop = Crop { min: [f32::NEG_INFINITY; 3], max: [f32::INFINITY; 3] };

    /// Returns random points in front of a camera.
    fn cloud(seed: u64) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(seed);
        let point = |_| {
            let meters = [random.f32() - 0.5, random.f32() - 0.5, random.f32() + 0.1];
            Point { meters, rgb: Some([random.u8(..), random.u8(..), random.u8(..)]) }.to_bytes()
        };
        (0..2000).flat_map(point).collect()
    }

    #[test]
    fn the_result_is_that_of_a_map() {
        let mut merged = Merged::new(0.1, EVERYWHERE);
        let clouds = [cloud(1), cloud(2)];
        let places =
            [0.0, 0.25].map(|x| Extrinsics { translation_meters: [x, 0.0, 0.0], ..Extrinsics::IDENTITY });
        let mut expected = std::collections::BTreeMap::new();
        for (number, (points, to_root)) in clouds.iter().zip(&places).enumerate() {
            merged.add(number as u8, points, to_root);
            for bytes in points.as_chunks::<{ POINT_BYTES as usize }>().0 {
                let own = Point::from_bytes(bytes);
                let meters = to_root.apply(own.meters);
                let [x, y, z] = meters.map(|at| (f64::from(at) / f64::from(0.1_f32)).floor() as i64);
                let nearest = expected.entry([z, y, x]).or_insert((f32::INFINITY, [0; 16], 0));
                if own.meters[2] < nearest.0 {
                    *nearest = (own.meters[2], Point { meters, ..own }.to_bytes(), number as u8);
                }
            }
        }
        let (points, origins) = merged.points();
        let found: Vec<_> = points.iter().copied().zip(origins.iter().copied()).collect();
        let expected: Vec<_> = expected.into_values().map(|(_, point, number)| (point, number)).collect();
        assert!(found.len() > 500 && found == expected, "{} of {}", found.len(), expected.len());
        merged.clear();
        assert_eq!(merged.points().0.len(), 0);
    }
}
