//! Draws a board as a camera sees it: a ray for each part of a pixel, with distortion, blur and noise.
//!
//! It shares no code with the solver: vectors are arrays, and distortion is inverted by Newton's method.

use camrig_frame::{Distortion, Intrinsics};

use crate::{Board, Rect};

pub(super) type Vector = [f64; 3];

/// Rays for each pixel's width and height.
const PARTS: usize = 3;
/// The brightness of black and white on the board, and of the background.
const BLACK: f64 = 28.0;
const WHITE: f64 = 205.0;
const BEHIND: f64 = 96.0;
/// White around the board, in millimetres.
const MARGIN: f64 = 20.0;

/// A position and a rotation: the columns are the directions of X, Y and Z.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) columns: [Vector; 3],
    pub(super) origin: Vector,
}

fn add(a: Vector, b: Vector, scale: f64) -> Vector {
    [a[0] + b[0] * scale, a[1] + b[1] * scale, a[2] + b[2] * scale]
}

fn dot(a: Vector, b: Vector) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

fn cross(a: Vector, b: Vector) -> Vector {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

fn unit(a: Vector) -> Vector {
    add([0.0; 3], a, 1.0 / dot(a, a).sqrt())
}

impl Frame {
    /// A frame at `origin` whose Z points to `target`, and whose X is level before it is rolled by an angle.
    pub(super) fn looking(origin: Vector, target: Vector, roll: f64) -> Self {
        let z = unit(add(target, origin, -1.0));
        // Down is +Y.
        let x = unit(cross([0.0, 1.0, 0.0], z));
        let y = cross(z, x);
        let (sine, cosine) = roll.sin_cos();
        let rolled = add(add([0.0; 3], x, cosine), y, sine);
        Self { columns: [rolled, cross(z, rolled), z], origin }
    }

    pub(super) fn turn(&self, at: Vector) -> Vector {
        let [x, y, z] = self.columns;
        add(add(add([0.0; 3], x, at[0]), y, at[1]), z, at[2])
    }

    pub(super) fn out(&self, at: Vector) -> Vector {
        add(self.turn(at), self.origin, 1.0)
    }

    fn turn_back(&self, at: Vector) -> Vector {
        self.columns.map(|column| dot(column, at))
    }

    /// Returns a point of the world in this frame.
    pub(super) fn inside(&self, at: Vector) -> Vector {
        self.turn_back(add(at, self.origin, -1.0))
    }
}

/// The brightness of a board, by position in millimetres.
pub(super) struct Print {
    squares: Vec<Vec<Rect>>,
    columns: usize,
    square: f64,
    size: [f64; 2],
}

impl Print {
    pub(super) fn new(board: &Board) -> Self {
        // An AprilGrid has squares on its right and below it.
        let (columns, square) = (board.columns() as usize + 1, board.pitch_millimeters());
        let mut squares = vec![Vec::new(); columns * (board.rows() as usize + 1)];
        for rect in board.drawing() {
            let [column, row] =
                [rect.x + rect.width / 2.0, rect.y + rect.height / 2.0].map(|at| (at / square) as usize);
            squares[row * columns + column].push(rect);
        }
        Self { squares, columns, square, size: board.size_millimeters() }
    }

    fn brightness(&self, x: f64, y: f64) -> Option<f64> {
        let [width, height] = self.size;
        if x < -MARGIN || y < -MARGIN || x > width + MARGIN || y > height + MARGIN {
            return None;
        }
        if x < 0.0 || y < 0.0 || x >= width || y >= height {
            return Some(WHITE);
        }
        let square = &self.squares[(y / self.square) as usize * self.columns + (x / self.square) as usize];
        let hit = square
            .iter()
            .rev()
            .find(|rect| x >= rect.x && x < rect.x + rect.width && y >= rect.y && y < rect.y + rect.height);
        Some(if hit.is_some_and(|rect| rect.black) { BLACK } else { WHITE })
    }
}

/// A camera that draws.
pub(super) struct Painter {
    intrinsics: Intrinsics,
    /// The ray of each part of a pixel.
    rays: Vec<[f64; 2]>,
}

impl Painter {
    pub(super) fn new(intrinsics: Intrinsics) -> Self {
        let (width, height) = (intrinsics.width as usize * PARTS, intrinsics.height as usize * PARTS);
        let mut rays = Vec::with_capacity(width * height);
        for row in 0..height {
            for column in 0..width {
                let [x, y] = [column, row].map(|part| (part as f64 + 0.5) / PARTS as f64 - 0.5);
                rays.push(ray(&intrinsics, [x, y]));
            }
        }
        Self { intrinsics, rays }
    }

    /// Returns the distance of a board that was printed in this scale from the camera, in millimetres for each pixel; 0
    /// where there is no board.
    pub(super) fn depth(&self, print: &Print, [camera, board]: [&Frame; 2], scale: f64) -> Vec<u16> {
        let width = self.intrinsics.width as usize;
        let middles = (0..self.intrinsics.height as usize).flat_map(|row| {
            (0..width).map(move |column| (row * PARTS + 1) * width * PARTS + column * PARTS + 1)
        });
        let normal = camera.turn_back(board.columns[2]);
        let origin = camera.inside(board.origin);
        let depth = |[x, y]: [f64; 2]| {
            let distance = dot(origin, normal) / dot([x, y, 1.0], normal);
            let at = add([x * distance, y * distance, distance], origin, -1.0);
            let [u, v] = [0, 1].map(|axis| dot(at, camera.turn_back(board.columns[axis])) * 1000.0 / scale);
            print.brightness(u, v).map_or(0, |_| (distance * 1000.0).round() as u16)
        };
        middles.map(|index| depth(self.rays[index])).collect()
    }

    /// Draws a board, with a standard deviation of noise in brightness and of blur in pixels; `scale` is how large it was
    /// printed. Returns gray pixels.
    pub(super) fn draw(
        &self,
        print: &Print,
        [camera, board]: [&Frame; 2],
        scale: f64,
        [noise, blur]: [f64; 2],
        seed: u64,
    ) -> Vec<u8> {
        let normal = camera.turn_back(board.columns[2]);
        let origin = camera.inside(board.origin);
        let [right, down] = [0, 1].map(|axis| camera.turn_back(board.columns[axis]));
        let reach = dot(origin, normal);
        let shade = |[x, y]: [f64; 2]| {
            let ray = [x, y, 1.0];
            let distance = reach / dot(ray, normal);
            let at = add([ray[0] * distance, ray[1] * distance, distance], origin, -1.0);
            // The board is seen from its front only.
            let front = distance > 0.0 && dot(ray, normal) > 0.0;
            let [u, v] = [right, down].map(|axis| dot(at, axis) * 1000.0 / scale);
            // Light falls from one side.
            front.then(|| print.brightness(u, v)).flatten().map_or(BEHIND, |light| light * (1.0 - 0.15 * x))
        };
        let (width, height) = (self.intrinsics.width as usize, self.intrinsics.height as usize);
        let mut sharp = vec![0.0; width * height];
        for (index, ray) in self.rays.iter().enumerate() {
            let (row, column) = (index / (width * PARTS), index % (width * PARTS));
            sharp[row / PARTS * width + column / PARTS] += shade(*ray) / (PARTS * PARTS) as f64;
        }
        let mut random = fastrand::Rng::with_seed(seed);
        let blurred = blurred(&blurred(&sharp, width, blur, true), width, blur, false);
        blurred
            .into_iter()
            .map(|light| (light + noise * normal_deviate(&mut random)).round().clamp(0.0, 255.0) as u8)
            .collect()
    }
}

/// The pixel of a point in a camera's frame, by the formulas of the models.
pub(super) fn pixel(intrinsics: &Intrinsics, at: Vector) -> [f64; 2] {
    let [u, v] = bent(intrinsics, [at[0] / at[2], at[1] / at[2]]);
    [
        u * f64::from(intrinsics.fx) + f64::from(intrinsics.ppx),
        v * f64::from(intrinsics.fy) + f64::from(intrinsics.ppy),
    ]
}

fn bent(intrinsics: &Intrinsics, [x, y]: [f64; 2]) -> [f64; 2] {
    let [k1, k2, p1, p2, k3] = intrinsics.coefficients.map(f64::from);
    let r2 = x * x + y * y;
    let radial = 1.0 + k1 * r2 + k2 * r2.powi(2) + k3 * r2.powi(3);
    let (xr, yr) = (x * radial, y * radial);
    match intrinsics.distortion {
        Distortion::None => [x, y],
        Distortion::BrownConrady => {
            [xr + 2.0 * p1 * x * y + p2 * (r2 + 2.0 * x * x), yr + 2.0 * p2 * x * y + p1 * (r2 + 2.0 * y * y)]
        }
        _ => [
            xr + 2.0 * p1 * xr * yr + p2 * (r2 + 2.0 * xr * xr),
            yr + 2.0 * p2 * xr * yr + p1 * (r2 + 2.0 * yr * yr),
        ],
    }
}

/// Inverts [`pixel`].
fn ray(intrinsics: &Intrinsics, [column, row]: [f64; 2]) -> [f64; 2] {
    let u = (column - f64::from(intrinsics.ppx)) / f64::from(intrinsics.fx);
    let v = (row - f64::from(intrinsics.ppy)) / f64::from(intrinsics.fy);
    let (mut x, mut y) = (u, v);
    for _ in 0..6 {
        let [fu, fv] = bent(intrinsics, [x, y]);
        let step = 1e-7;
        let [au, av] = bent(intrinsics, [x + step, y]);
        let [bu, bv] = bent(intrinsics, [x, y + step]);
        let (ux, uy, vx, vy) = ((au - fu) / step, (bu - fu) / step, (av - fv) / step, (bv - fv) / step);
        let determinant = ux * vy - uy * vx;
        x += ((u - fu) * vy - (v - fv) * uy) / determinant;
        y += ((v - fv) * ux - (u - fu) * vx) / determinant;
    }
    [x, y]
}

fn blurred(image: &[f64], width: usize, sigma: f64, along_rows: bool) -> Vec<f64> {
    let weights: [f64; 3] = [0.0, 1.0, 2.0].map(|at: f64| (-at * at / (2.0 * sigma * sigma)).exp());
    let sum = weights[0] + 2.0 * (weights[1] + weights[2]);
    let height = image.len() / width;
    let at = |row: isize, column: isize| {
        let row = row.clamp(0, height as isize - 1) as usize;
        image[row * width + column.clamp(0, width as isize - 1) as usize]
    };
    let mut out = Vec::with_capacity(image.len());
    for row in 0..height as isize {
        for column in 0..width as isize {
            let near = (-2..=2isize).map(|step| {
                let light = if along_rows { at(row, column + step) } else { at(row + step, column) };
                light * weights[step.unsigned_abs()]
            });
            out.push(near.sum::<f64>() / sum);
        }
    }
    out
}

/// A normal deviate, by Box and Muller.
pub(super) fn normal_deviate(random: &mut fastrand::Rng) -> f64 {
    (-2.0 * (1.0 - random.f64()).ln()).sqrt() * (std::f64::consts::TAU * random.f64()).cos()
}
