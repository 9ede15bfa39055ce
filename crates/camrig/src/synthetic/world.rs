//! The scene of the synthetic cameras: a room with a tiled floor and a wall under the sky, with a box and some balls
//! that move.
//!
//! All lengths are those of a room; the camera's model scales them. Coordinates are the camera's: +X right, +Y down,
//! +Z forward, the camera at the origin, so the distance of a point is its Z.
//!
//! Pixels are computed in two ways: [`World::look`] casts one ray at all objects and is the reference;
//! [`Body::rasterise`] is fast, and tests compare it with the reference. It can paint without depth tests, because the
//! room is convex and contains camera and bodies, and because each body stays in a range of Z of its own, the far ones
//! first in [`World::bodies`].
//!
//! Only `+ - * /`, square root and floor are used, which IEEE 754 defines to the last bit, so that every machine gives
//! the same pixels.

use std::ops::Range;

use camrig_frame::Intrinsics;

use super::mix;

/// Number of moving bodies.
pub(super) const BODIES: usize = 4;

/// The direction to the light, of length 1: from above, from the left, from behind the camera.
const LIGHT: [f64; 3] = [-0.36, -0.8, -0.48];

/// The brightness of unlit surfaces, and the addition of full light.
const AMBIENT_LEVEL: f64 = 95.0;
const LIGHT_LEVELS: f64 = 160.0;

/// The colors of the bodies.
const PALETTE: [[u8; 3]; 6] =
    [[225, 60, 50], [60, 185, 75], [65, 110, 230], [255, 190, 30], [175, 75, 205], [35, 200, 205]];

/// The side lengths of a tile of the floor and of the wall.
const FLOOR_TILE: f64 = 0.25;
const WALL_TILE: f64 = 0.4;
/// The wall's height above the floor.
const WALL_HEIGHT: f64 = 1.9;

/// A pinhole camera in double precision.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lens {
    pub(super) width: u32,
    pub(super) height: u32,
    focal: [f64; 2],
    center: [f64; 2],
}

impl Lens {
    pub(super) fn new(intrinsics: &Intrinsics) -> Self {
        Self {
            width: intrinsics.width,
            height: intrinsics.height,
            focal: [intrinsics.fx.into(), intrinsics.fy.into()],
            center: [intrinsics.ppx.into(), intrinsics.ppy.into()],
        }
    }

    /// Returns the slope of the rays through column `x`: X per Z.
    fn slope_x(&self, x: u32) -> f64 {
        (f64::from(x) - self.center[0]) / self.focal[0]
    }

    /// Returns the slope of the rays through row `y`: Y per Z.
    fn slope_y(&self, y: u32) -> f64 {
        (f64::from(y) - self.center[1]) / self.focal[1]
    }

    /// Returns the columns of a range of slopes, with one more on each side.
    fn columns(&self, slopes: [f64; 2]) -> Range<u32> {
        Self::pixels(slopes.map(|slope| slope * self.focal[0] + self.center[0]), self.width)
    }

    /// Returns the rows of a range of slopes, with one more on each side.
    fn rows(&self, slopes: [f64; 2]) -> Range<u32> {
        Self::pixels(slopes.map(|slope| slope * self.focal[1] + self.center[1]), self.height)
    }

    fn pixels([start, end]: [f64; 2], side: u32) -> Range<u32> {
        // A cast of a float saturates at both ends.
        (start.floor() as u32).min(side)..(end.floor() + 2.0).max(0.0).min(f64::from(side)) as u32
    }
}

/// The room and the paths of the bodies in it; both follow from a seed.
#[derive(Clone, Debug)]
pub(super) struct World {
    seed: u64,
    /// The camera's height above the floor.
    height: f64,
    /// The distance of the wall, measured along the floor.
    wall: f64,
    /// Sine and cosine of the camera's downward pitch.
    pitch: [f64; 2],
    paths: [Path; BODIES],
}

/// The path of one body: around a point, on each axis with a period of its own.
#[derive(Clone, Copy, Debug)]
struct Path {
    shape: Shape,
    rgb: [u8; 3],
    z: f64,
    periods_seconds: [f64; 3],
    phases: [f64; 3],
}

/// The shape of a body.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Ball { radius: f64 },
    Box { half: [f64; 3] },
}

/// A body at its position at one instant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body {
    pub(super) rgb: [u8; 3],
    shape: Shape,
    center: [f64; 3],
}

/// The first object on a ray.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sight {
    /// Its distance along Z; `None` for the sky.
    pub(super) distance: Option<f64>,
    /// Its color.
    pub(super) rgb: [u8; 3],
    /// Its kind.
    pub(super) surface: Surface,
}

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Surface {
    Floor,
    Wall,
    Sky,
    /// The body at this index.
    Body(usize),
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut draws = (0..).map(|draw| unit(mix(seed ^ mix(draw))));
        let mut draw =
            |range: Range<f64>| range.start + (range.end - range.start) * draws.next().unwrap_or(0.5);
        let height = draw(1.1..1.4);
        let wall = draw(3.6..4.4);
        // Half the angle's tangent gives sine and cosine without calling either: 3 to 8 degrees.
        let half = draw(0.03..0.07);
        let pitch = [2.0 * half, 1.0 - half * half].map(|part| part / (1.0 + half * half));
        // Far ones first. The ranges of Z, a swing plus the half depth around `z`, do not overlap.
        let places = [
            (2.75, Shape::Ball { radius: draw(0.2..0.24) }),
            (2.1, Shape::Ball { radius: draw(0.13..0.16) }),
            (1.55, Shape::Box { half: [draw(0.1..0.16), draw(0.08..0.12), 0.12] }),
            (1.05, Shape::Ball { radius: draw(0.08..0.1) }),
        ];
        let mut index = draw(0.0..6.0) as usize;
        let paths = places.map(|(z, shape)| {
            index += 1;
            Path {
                shape,
                rgb: PALETTE[index % PALETTE.len()],
                z,
                periods_seconds: [draw(4.0..8.0), draw(3.0..6.0), draw(5.0..9.0)],
                phases: [draw(0.0..1.0), draw(0.0..1.0), draw(0.0..1.0)],
            }
        });
        Self { seed, height, wall, pitch, paths }
    }

    /// Returns the bodies at one instant, far ones first.
    pub(super) fn bodies(&self, seconds: f64) -> [Body; BODIES] {
        self.paths.map(|path| {
            let [x, y, z] =
                [0, 1, 2].map(|axis| wave(seconds / path.periods_seconds[axis] + path.phases[axis]));
            // The swings keep the center in every field of view, above the floor and in its range of Z.
            let center = [x * 0.42 * path.z, y * 0.1 * path.z, path.z + z * 0.1];
            Body { rgb: path.rgb, shape: path.shape, center }
        })
    }

    /// Returns the first object on the ray through column `x` and row `y`, in the room and among `bodies`.
    pub(super) fn look(&self, lens: &Lens, x: u32, y: u32, bodies: &[Body]) -> Sight {
        let ray = [lens.slope_x(x), lens.slope_y(y), 1.0];
        let mut sight = self.look_at_room(ray);
        for (index, body) in bodies.iter().enumerate() {
            if let Some((distance, level)) = body.intersect(ray)
                && sight.distance.is_none_or(|other| distance < other)
            {
                let (rgb, surface) = (shade(body.rgb, level), Surface::Body(index));
                sight = Sight { distance: Some(distance), rgb, surface };
            }
        }
        sight
    }

    fn look_at_room(&self, ray: [f64; 3]) -> Sight {
        let [down, forward] = [self.down(), self.forward()].map(|axis| dot(axis, ray));
        let floor =
            (down > 0.0).then(|| self.height / down).filter(|distance| distance * forward < self.wall);
        if let Some(distance) = floor {
            let color = self.tile(0, distance * ray[0] / FLOOR_TILE, distance * forward / FLOOR_TILE);
            return Sight { distance: Some(distance), rgb: color, surface: Surface::Floor };
        }
        let distance = self.wall / forward;
        let above_floor = self.height - distance * down;
        if above_floor < WALL_HEIGHT {
            let color = self.tile(1, distance * ray[0] / WALL_TILE, above_floor / WALL_TILE);
            return Sight { distance: Some(distance), rgb: color, surface: Surface::Wall };
        }
        let blue = (-down / forward * 200.0).clamp(0.0, 160.0) as u8;
        Sight { distance: None, rgb: [200 - blue, 225 - blue / 2, 250], surface: Surface::Sky }
    }

    /// Returns the direction to the floor.
    pub(super) fn down(&self) -> [f64; 3] {
        [0.0, self.pitch[1], self.pitch[0]]
    }

    /// Returns the direction to the wall.
    fn forward(&self) -> [f64; 3] {
        [0.0, -self.pitch[0], self.pitch[1]]
    }

    /// Returns the height of a point above the floor.
    #[cfg(test)]
    pub(super) fn above_floor(&self, point: [f64; 3]) -> f64 {
        self.height - dot(self.down(), point)
    }

    /// Returns the color of a tiled surface at a point: light and dark tiles alternate, each slightly different.
    fn tile(&self, surface: u64, across: f64, along: f64) -> [u8; 3] {
        let [column, row] = [across.floor() as i64, along.floor() as i64];
        let own = mix(self.seed ^ mix(surface ^ mix(column as u64 ^ mix(row as u64))));
        let level = if (column + row) & 1 == 0 { 190 } else { 70 } + (own & 31) as u8;
        let base = if surface == 0 { [235, 225, 205] } else { [180, 195, 220] };
        shade(base, level)
    }
}

impl Body {
    /// Returns distance along Z and brightness where `ray` enters the body, from the definition of its shape.
    fn intersect(&self, ray: [f64; 3]) -> Option<(f64, u8)> {
        match self.shape {
            Shape::Ball { radius } => {
                // The point on the ray nearest to the center, and from there half the chord back.
                let length = dot(ray, ray).sqrt();
                let foot = dot(ray, self.center) / length;
                let chord = radius * radius - (dot(self.center, self.center) - foot * foot);
                let distance = (foot - chord.max(0.0).sqrt()) / length;
                let normal = [0, 1, 2].map(|axis| (ray[axis] * distance - self.center[axis]) / radius);
                (chord >= 0.0).then(|| (distance, level(dot(normal, LIGHT))))
            }
            Shape::Box { half } => {
                // The ray is inside the box while it is between all three pairs of faces; it enters through the last one.
                let mut inside = (0.0, f64::INFINITY);
                let mut light = 0.0;
                for axis in 0..3 {
                    let (center, half) = (self.center[axis], half[axis]);
                    if ray[axis] == 0.0 {
                        // The ray is parallel to these faces: it is always or never between them.
                        if center.abs() > half {
                            return None;
                        }
                        continue;
                    }
                    let side = -ray[axis].signum();
                    let (enter, leave) =
                        ((center + side * half) / ray[axis], (center - side * half) / ray[axis]);
                    if enter > inside.0 {
                        (inside.0, light) = (enter, side * LIGHT[axis]);
                    }
                    inside.1 = leave.min(inside.1);
                }
                (inside.0 <= inside.1).then(|| (inside.0, level(light)))
            }
        }
    }

    /// Calls `visit` for every pixel of the body with column, row, distance along Z and brightness.
    pub(super) fn rasterise(&self, lens: &Lens, visit: impl FnMut(u32, u32, f64, u8)) {
        match self.shape {
            Shape::Ball { radius } => self.rasterise_ball(radius, lens, visit),
            Shape::Box { half } => self.rasterise_box(half, lens, visit),
        }
    }

    fn rasterise_ball(&self, radius: f64, lens: &Lens, mut visit: impl FnMut(u32, u32, f64, u8)) {
        let [cx, cy, cz] = self.center;
        // The slopes of the tangents from the camera to the ball, in the plane of one axis and Z.
        let tangents = |c: f64| {
            let reach = radius * (c * c + cz * cz - radius * radius).sqrt();
            [c * cz - reach, c * cz + reach].map(|slope| slope / (cz * cz - radius * radius))
        };
        // The squared length of a tangent: by the secant theorem the product of the distances at which any ray enters and
        // leaves, so the nearer one needs no division by the ray's length.
        let power = dot(self.center, self.center) - radius * radius;
        let center_light = dot(self.center, LIGHT);
        let columns = lens.columns(tangents(cx));
        for y in lens.rows(tangents(cy)) {
            let slope_y = lens.slope_y(y);
            for x in columns.clone() {
                let slope_x = lens.slope_x(x);
                let foot = slope_x * cx + slope_y * cy + cz;
                let square = foot * foot - (slope_x * slope_x + slope_y * slope_y + 1.0) * power;
                if square >= 0.0 {
                    let distance = power / (foot + square.sqrt());
                    let light = slope_x * LIGHT[0] + slope_y * LIGHT[1] + LIGHT[2];
                    visit(x, y, distance, level((distance * light - center_light) / radius));
                }
            }
        }
    }

    fn rasterise_box(&self, half: [f64; 3], lens: &Lens, mut visit: impl FnMut(u32, u32, f64, u8)) {
        let [x, y, z] =
            [0, 1, 2].map(|axis| [self.center[axis] - half[axis], self.center[axis] + half[axis]]);
        // The outermost slopes of the box: near edges outside, far edges inside.
        let slopes =
            |[low, high]: [f64; 2]| [low / z[usize::from(low > 0.0)], high / z[usize::from(high < 0.0)]];
        // The only visible side face, and its brightness: the camera is at 0.
        let side = |[low, high]: [f64; 2], light: f64| {
            if low > 0.0 { Some((low, level(-light))) } else { (high < 0.0).then(|| (high, level(light))) }
        };
        // The distance at which a ray enters through a side face; `None` if it enters through the front.
        let through = |side: Option<(f64, u8)>, slope: f64| {
            side.map(|(face, level)| (face / slope, level)).filter(|(distance, _)| *distance > z[0])
        };
        let within = |[low, high]: [f64; 2], value: f64| low <= value && value <= high;
        let (side_x, side_y, front) = (side(x, LIGHT[0]), side(y, LIGHT[1]), level(-LIGHT[2]));
        let columns = lens.columns(slopes(x));
        for row in lens.rows(slopes(y)) {
            let slope_y = lens.slope_y(row);
            let entry_y = through(side_y, slope_y);
            for column in columns.clone() {
                let slope_x = lens.slope_x(column);
                let entry_x = through(side_x, slope_x);
                // The ray enters through the last of the faces, unless it has left between the others before.
                let (distance, level, hit) = match (entry_x, entry_y) {
                    (None, None) => (z[0], front, within(x, z[0] * slope_x) && within(y, z[0] * slope_y)),
                    (Some((dx, level)), other) if other.is_none_or(|(dy, _)| dx >= dy) => {
                        (dx, level, dx <= z[1] && within(y, dx * slope_y))
                    }
                    (_, Some((dy, level))) => (dy, level, dy <= z[1] && within(x, dy * slope_x)),
                    (Some(_), None) => continue,
                };
                if hit {
                    visit(column, row, distance, level);
                }
            }
        }
    }
}

/// Returns a color at a brightness of 0 to 255.
pub(super) fn shade(rgb: [u8; 3], level: u8) -> [u8; 3] {
    rgb.map(|channel| (u32::from(channel) * u32::from(level) / 255) as u8)
}

/// Returns the brightness of a surface from the cosine of its angle to the light.
fn level(cosine: f64) -> u8 {
    (AMBIENT_LEVEL + LIGHT_LEVELS * cosine.max(0.0)) as u8
}

/// Oscillates between -1 and 1 once per turn, nearly like a cosine but exact on every machine.
fn wave(turns: f64) -> f64 {
    let triangle = 4.0 * (turns - turns.floor() - 0.5).abs() - 1.0;
    triangle * (1.5 - 0.5 * triangle * triangle)
}

/// Returns a number from 0 up to 1 from random bits.
pub(super) fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_stay_in_their_ranges_inside_the_room() {
        for seed in 0..50 {
            let world = World::new(mix(seed));
            for step in 0..500 {
                let mut far = world.wall;
                for body in world.bodies(f64::from(step) * 0.13) {
                    let half = match body.shape {
                        Shape::Ball { radius } => [radius; 3],
                        Shape::Box { half } => half,
                    };
                    let [_, y, z] = [0, 1, 2].map(|axis| body.center[axis] + half[axis]);
                    assert!(z < far, "{body:?} reaches surface is behind it");
                    far = body.center[2] - half[2];
                    assert!(world.above_floor([0.0, y, z]) > 0.0, "{body:?} is in the floor");
                    let back = dot(world.forward(), [0.0, body.center[1] - half[1], z]);
                    assert!(back < world.wall, "{body:?} is in the wall");
                }
                assert!(far > 0.75, "nearer than a D405 sees in its tenth of the room");
            }
        }
    }
}
