//! The surface of a volume as triangles, by surface nets: a vertex in each cell of eight voxels that the surface crosses, and a
//! quadrangle across each edge between two voxels of different sign.
//!
//! Source: Gibson, "Constrained Elastic Surface Nets", 1998, without its relaxation.

use camrig::frame::Point;

use super::{BLOCK_VOXELS, Block, SIDE, Volume, Voxel, index_of, place};

/// Adjacent voxels whose distances differ by more voxels than this are at the edge of an object in a view: between the object
/// and the space beside it, no surface was seen.
const STEP_VOXELS: f32 = 3.0;

/// The corners of a cell, from its voxel on.
const CORNERS: [[usize; 3]; 8] =
    [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 1], [0, 1, 1], [1, 1, 1]];

/// The edges of a cell: pairs of [`CORNERS`].
const EDGES: [[usize; 2]; 12] =
    [[0, 1], [2, 3], [4, 5], [6, 7], [0, 2], [1, 3], [4, 6], [5, 7], [0, 4], [1, 5], [2, 6], [3, 7]];

/// A surface in the coordinates of the root, in metres.
#[derive(Debug, PartialEq)]
pub(crate) struct Mesh {
    pub(crate) vertices: Vec<Point>,
    /// Numbers of vertices, counterclockwise as seen from the cameras.
    pub(crate) triangles: Vec<[u32; 3]>,
}

/// A block, and those adjacent to its last voxels.
struct Region<'a> {
    volume: &'a Volume,
    block: &'a Block,
    /// By [`CORNERS`].
    blocks: [Option<&'a Block>; CORNERS.len()],
}

impl<'a> Region<'a> {
    fn new(volume: &'a Volume, block: &'a Block) -> Self {
        let blocks = CORNERS.map(|corner| {
            let key = [0, 1, 2].map(|axis| block.key[axis] + corner[axis] as i32);
            volume.indices.get(&key).map(|&index| &*volume.blocks[index as usize])
        });
        Self { volume, block, blocks }
    }

    /// Returns the voxel at this offset from the voxel `index` of the block, at most one along each axis, if it was seen.
    fn seen(&self, index: usize, offset: [usize; 3]) -> Option<&'a Voxel> {
        let [x, y, z] = [0, 1, 2].map(|axis| index / SIDE.pow(axis as u32) % SIDE + offset[axis]);
        let block = self.blocks[x / SIDE + 2 * (y / SIDE) + 4 * (z / SIDE)]?;
        let voxel = &block.voxels[(z % SIDE * SIDE + y % SIDE) * SIDE + x % SIDE];
        (voxel.weight > 0.0).then_some(voxel)
    }

    /// Returns the vertex of the cell at this voxel: the middle of the crossings of its edges; `None` if there is none, or a
    /// corner was not seen.
    fn vertex(&self, index: usize) -> Option<Point> {
        let mut corners = [Voxel::default(); CORNERS.len()];
        for (corner, offset) in corners.iter_mut().zip(CORNERS) {
            *corner = *self.seen(index, offset)?;
        }
        let (mut sum, mut crossings) = ([0.0_f32; 3], 0.0);
        for [from, to] in EDGES {
            let distances = [from, to].map(|corner| corners[corner].distance);
            if (distances[0] < 0.0) == (distances[1] < 0.0) {
                continue;
            }
            if (distances[0] - distances[1]).abs() > STEP_VOXELS * self.volume.voxel_meters {
                return None;
            }
            let part = distances[0] / (distances[0] - distances[1]);
            crossings += 1.0;
            for axis in 0..3 {
                let [from, to] = [from, to].map(|corner| CORNERS[corner][axis] as f32);
                sum[axis] += from + (to - from) * part;
            }
        }
        (crossings > 0.0).then(|| {
            let at = place(self.block.key, index);
            let along = |axis: usize| f64::from(at[axis]) + f64::from(sum[axis] / crossings);
            let meters = [0, 1, 2].map(|axis| (along(axis) * f64::from(self.volume.voxel_meters)) as f32);
            Point { meters, rgb: color(&corners) }
        })
    }
}

/// The cells of a block that have a vertex.
struct Cells {
    /// The number of the first vertex.
    first: u32,
    /// A bit for each voxel.
    bits: [u64; BLOCK_VOXELS / 64],
}

impl Cells {
    /// Returns the number of the vertex of a cell, if it has one.
    fn vertex(&self, index: usize) -> Option<u32> {
        let (word, bit) = (index / 64, 1 << (index % 64));
        let before: u32 = self.bits[..word].iter().map(|bits| bits.count_ones()).sum();
        let has = self.bits[word] & bit != 0;
        has.then(|| self.first + before + (self.bits[word] & (bit - 1)).count_ones())
    }
}

impl Mesh {
    /// Returns the surface. It does not depend on the order in which blocks were created.
    pub(crate) fn of(volume: &Volume) -> Self {
        let mut order: Vec<_> = (0..volume.blocks.len()).collect();
        order.sort_unstable_by_key(|&index| volume.blocks[index].key);
        let mut mesh = Self { vertices: Vec::new(), triangles: Vec::new() };
        let mut cells: Vec<_> =
            volume.blocks.iter().map(|_| Cells { first: 0, bits: [0; BLOCK_VOXELS / 64] }).collect();
        for &index in &order {
            mesh.add_vertices(&Region::new(volume, &volume.blocks[index]), &mut cells[index]);
        }
        for &index in &order {
            mesh.add_triangles(&Region::new(volume, &volume.blocks[index]), &cells);
        }
        mesh
    }

    fn add_vertices(&mut self, region: &Region<'_>, cells: &mut Cells) {
        cells.first = self.vertices.len() as u32;
        for index in 0..BLOCK_VOXELS {
            if let Some(vertex) = region.vertex(index) {
                cells.bits[index / 64] |= 1 << (index % 64);
                self.vertices.push(vertex);
            }
        }
    }

    fn add_triangles(&mut self, region: &Region<'_>, cells: &[Cells]) {
        let vertex_at = |at: [i32; 3]| {
            let (key, index) = index_of(at);
            cells[*region.volume.indices.get(&key)? as usize].vertex(index)
        };
        for index in 0..BLOCK_VOXELS {
            let Some(voxel) = region.seen(index, CORNERS[0]) else { continue };
            let at = place(region.block.key, index);
            for (axis, corner) in [1, 2, 4].into_iter().enumerate() {
                let is_behind = voxel.distance < 0.0;
                let crosses = |next: &Voxel| is_behind != (next.distance < 0.0);
                if !region.seen(index, CORNERS[corner]).is_some_and(crosses) {
                    continue;
                }
                // The cells around the edge, counterclockwise as seen from its end.
                let [second, third] = [1, 2].map(|next| (axis + next) % 3);
                let around = [[1, 1], [0, 1], [0, 0], [1, 0]].map(|[by_second, by_third]| {
                    let mut cell = at;
                    cell[second] -= by_second;
                    cell[third] -= by_third;
                    vertex_at(cell)
                });
                if let [Some(a), Some(b), Some(c), Some(d)] = around {
                    self.add_quadrangle(if is_behind { [a, b, c, d] } else { [d, c, b, a] });
                }
            }
        }
    }

    /// Adds two triangles, divided along the shorter diagonal.
    fn add_quadrangle(&mut self, [a, b, c, d]: [u32; 4]) {
        let square = |from: u32, to: u32| {
            let [from, to] = [from, to].map(|number| self.vertices[number as usize].meters);
            from.iter().zip(to).map(|(from, to)| (to - from) * (to - from)).sum::<f32>()
        };
        let pair = if square(a, c) <= square(b, d) { [[a, b, c], [a, c, d]] } else { [[a, b, d], [b, c, d]] };
        self.triangles.extend(pair);
    }
}

/// Returns the mean color of those corners that have one.
fn color(corners: &[Voxel]) -> Option<[u8; 3]> {
    let known = corners.iter().filter_map(Voxel::color);
    let (sum, count) = known.fold(([0.0; 3], 0.0), |(sum, count), color| {
        ([0, 1, 2].map(|channel| sum[channel] + color[channel]), count + 1.0_f32)
    });
    (count > 0.0).then(|| sum.map(|levels: f32| (levels / count).round() as u8))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::testing::{Eye, Scene};
    use super::*;

    /// Returns the mesh of a scene that these cameras see.
    fn mesh(scene: Scene, eyes: &[Eye], voxel_meters: f32) -> Mesh {
        let mut volume = Volume::new(voxel_meters, usize::MAX);
        for eye in eyes {
            let points = eye.points(scene);
            volume.integrate(&eye.view(&points)).unwrap();
        }
        Mesh::of(&volume)
    }

    /// Returns the area and the signed volume below the triangles as seen from the origin.
    fn area_and_volume(mesh: &Mesh) -> (f64, f64) {
        let mut sums = (0.0, 0.0);
        for triangle in &mesh.triangles {
            let [a, b, c] = triangle.map(|number| mesh.vertices[number as usize].meters.map(f64::from));
            let side = |to: [f64; 3]| [0, 1, 2].map(|axis| to[axis] - a[axis]);
            let (b, c) = (side(b), side(c));
            let normal = [b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]];
            sums.0 += normal.iter().map(|at| at * at).sum::<f64>().sqrt() / 2.0;
            sums.1 += normal.iter().zip(a).map(|(normal, at)| normal * at).sum::<f64>() / 6.0;
        }
        sums
    }

    #[test]
    fn a_wall_is_flat_and_faces_the_camera() {
        let eye = Eye::new(160, 120, [0.0; 3], 0.0);
        let found = mesh(Scene::WALL, &[eye], 0.01);
        assert!(found.vertices.iter().all(|vertex| Scene::WALL.distance(vertex.meters) < 1e-4));
        assert!(found.vertices.iter().all(|vertex| vertex.rgb == Some(Scene::WALL_RGB)));
        // The camera sees 1.804 x 1.353 m of it, without an edge of less than two voxels.
        let (area, volume) = area_and_volume(&found);
        assert!((1.77 * 1.32..=1.804 * 1.353).contains(&area), "{area}");
        // The normals point to the camera at the origin.
        assert!((volume + area * Scene::WALL_METERS / 3.0).abs() < 1e-3, "{volume}");
        let used: std::collections::BTreeSet<_> = found.triangles.iter().flatten().collect();
        assert_eq!(used.len(), found.vertices.len());
    }

    #[test]
    fn a_ball_seen_from_all_sides_is_closed() {
        let eyes = Eye::around(Scene::BALL_CENTER, 1.0);
        let found = mesh(Scene::BALL, &eyes, 0.01);
        // Each edge is between two triangles, which pass it in opposite directions; and the mesh is one without holes.
        let mut edges: HashMap<[u32; 2], i32> = HashMap::new();
        for &[a, b, c] in &found.triangles {
            for [from, to] in [[a, b], [b, c], [c, a]] {
                assert_eq!(edges.insert([from, to], 1), None);
            }
        }
        assert!(edges.keys().all(|&[from, to]| edges.contains_key(&[to, from])));
        let [vertices, edges, triangles] = [found.vertices.len(), edges.len() / 2, found.triangles.len()];
        assert_eq!(vertices + triangles - edges, 2);
        let (_, volume) = area_and_volume(&found);
        let expected = 4.0 / 3.0 * std::f64::consts::PI * Scene::BALL_RADIUS.powi(3);
        assert!((volume / expected - 1.0).abs() < 0.03, "{volume} of {expected}");
        let mut off: Vec<_> =
            found.vertices.iter().map(|vertex| Scene::BALL.distance(vertex.meters)).collect();
        off.sort_by(f64::total_cmp);
        let [most, worst] = [off[off.len() * 95 / 100], off[off.len() - 1]];
        assert!(most < 0.003 && worst < 0.01, "{most} {worst}");
    }

    #[test]
    fn the_same_views_make_the_same_mesh() {
        // Maps of blocks have another order each time.
        let eyes = Eye::around(Scene::BALL_CENTER, 1.0);
        let first = mesh(Scene::BALL, &eyes[..2], 0.02);
        assert_eq!(first, mesh(Scene::BALL, &eyes[..2], 0.02));
        assert!(!first.triangles.is_empty());
    }

    #[test]
    fn the_edge_of_an_object_is_not_joined_to_its_background() {
        let eye = Eye::new(320, 240, [0.0; 3], 0.0);
        let found = mesh(Scene::BALL_AND_WALL, &[eye], 0.01);
        let between = found.vertices.iter().filter(|vertex| (1.35..1.7).contains(&vertex.meters[2])).count();
        assert_eq!(between, 0);
        let near = found.vertices.iter().filter(|vertex| vertex.meters[2] < 1.3).count();
        assert!(near > 500, "{near}");
    }
}
