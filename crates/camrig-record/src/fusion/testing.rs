//! A scene whose surface is known, as depth cameras see it.

use camrig::frame::{CameraPose, Distortion, Extrinsics, Intrinsics, POINT_BYTES, Point};

use super::FusedView;

/// A ball, a wall that faces the root, or both.
#[derive(Clone, Copy)]
pub(crate) struct Scene {
    has_ball: bool,
    has_wall: bool,
}

impl Scene {
    pub(crate) const BALL: Self = Self { has_ball: true, has_wall: false };
    pub(crate) const WALL: Self = Self { has_ball: false, has_wall: true };
    pub(crate) const BALL_AND_WALL: Self = Self { has_ball: true, has_wall: true };

    pub(crate) const BALL_CENTER: [f64; 3] = [0.0, 0.0, 1.2];
    pub(crate) const BALL_RADIUS: f64 = 0.2;
    pub(crate) const WALL_METERS: f64 = 1.8037;

    pub(crate) const BALL_RGB: [u8; 3] = [200, 40, 40];
    pub(crate) const WALL_RGB: [u8; 3] = [90, 100, 110];

    /// Returns the distance of a point from the surface, in metres.
    pub(crate) fn distance(self, meters: [f32; 3]) -> f64 {
        let meters = meters.map(f64::from);
        let from_center = [0, 1, 2].map(|axis| meters[axis] - Self::BALL_CENTER[axis]);
        let ball = (dot(from_center, from_center).sqrt() - Self::BALL_RADIUS).abs();
        let wall = (meters[2] - Self::WALL_METERS).abs();
        let [ball, wall] = [(self.has_ball, ball), (self.has_wall, wall)]
            .map(|(has, distance)| if has { distance } else { f64::INFINITY });
        ball.min(wall)
    }

    /// Returns where a ray meets the surface, in lengths of `along`, and the color there.
    fn meet(self, from: [f64; 3], along: [f64; 3]) -> Option<(f64, [u8; 3])> {
        let to_center = [0, 1, 2].map(|axis| Self::BALL_CENTER[axis] - from[axis]);
        let square = dot(along, along);
        let middle = dot(along, to_center) / square;
        let root = middle * middle - (dot(to_center, to_center) - Self::BALL_RADIUS.powi(2)) / square;
        let ball = (self.has_ball && root > 0.0).then(|| (middle - root.sqrt(), Self::BALL_RGB));
        let wall = (Self::WALL_METERS - from[2]) / along[2];
        let wall = (self.has_wall && wall > 0.0).then_some((wall, Self::WALL_RGB));
        ball.or(wall)
    }
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A depth camera at a known position.
pub(crate) struct Eye {
    pub(crate) lens: Intrinsics,
    pub(crate) pose: CameraPose,
}

impl Eye {
    /// Creates a camera at this position that is turned about Y, to the right if `radians` are positive.
    pub(crate) fn new(width: u32, height: u32, translation_meters: [f64; 3], radians: f64) -> Self {
        let half = radians / 2.0;
        Self::turned(width, height, translation_meters, [0.0, half.sin(), 0.0, half.cos()])
    }

    fn turned(width: u32, height: u32, translation_meters: [f64; 3], quaternion_xyzw: [f64; 4]) -> Self {
        let lens = Intrinsics {
            width,
            height,
            ppx: (width as f32 - 1.0) / 2.0,
            ppy: (height as f32 - 1.0) / 2.0,
            fx: width as f32,
            fy: width as f32,
            distortion: Distortion::None,
            coefficients: [0.0; 5],
        };
        Self { lens, pose: CameraPose { root: "root".to_owned(), translation_meters, quaternion_xyzw } }
    }

    /// Creates cameras that look at this point from six sides.
    pub(crate) fn around(center: [f64; 3], distance: f64) -> Vec<Self> {
        let half = std::f64::consts::FRAC_1_SQRT_2;
        let turns = [
            [0.0, 0.0, 0.0, 1.0],
            [0.0, 1.0, 0.0, 0.0],
            [0.0, half, 0.0, half],
            [0.0, -half, 0.0, half],
            [half, 0.0, 0.0, half],
            [-half, 0.0, 0.0, half],
        ];
        let eye = |turn| {
            let eye = Self::turned(300, 300, [0.0; 3], turn);
            let forward = eye.pose.matrix().map(|row| row[2]);
            let at = [0, 1, 2].map(|axis| center[axis] - forward[axis] * distance);
            Self::turned(300, 300, at, turn)
        };
        turns.map(eye).into()
    }

    pub(crate) fn to_root(&self) -> Extrinsics {
        Extrinsics::from_quaternion(self.pose.quaternion_xyzw, self.pose.translation_meters)
    }

    /// Returns depth in metres and color of each pixel; zeros where there is nothing.
    fn look(&self, scene: Scene) -> impl Iterator<Item = (f64, [u8; 3])> + use<> {
        let rows = self.pose.matrix();
        let lens = self.lens;
        let pixels = (0..lens.height).flat_map(move |y| (0..lens.width).map(move |x| [x, y]));
        let from = self.pose.translation_meters;
        pixels.map(move |[x, y]| {
            let [x, y] = [
                (f64::from(x) - f64::from(lens.ppx)) / f64::from(lens.fx),
                (f64::from(y) - f64::from(lens.ppy)) / f64::from(lens.fy),
            ];
            let along = [0, 1, 2].map(|axis| dot([rows[axis][0], rows[axis][1], rows[axis][2]], [x, y, 1.0]));
            scene.meet(from, along).unwrap_or_default()
        })
    }

    /// Returns depth in millimetres with noise of up to this many millimetres, and color.
    pub(crate) fn images(&self, scene: Scene, noise_units: u64, seed: u64) -> [Vec<u8>; 2] {
        let noise = |index: u64| {
            let mixed = (index + 1).wrapping_mul(seed * 2 + 0x9e37_79b9_7f4a_7c15) >> 33;
            (mixed % (2 * noise_units + 1)) as f64 - noise_units as f64
        };
        let mut images = [Vec::new(), Vec::new()];
        for (index, (depth, rgb)) in (0..).zip(self.look(scene)) {
            let units = if depth > 0.0 { (depth * 1000.0 + noise(index)).round() as u16 } else { 0 };
            images[0].extend(units.to_le_bytes());
            images[1].extend(rgb);
        }
        images
    }

    /// Returns the exact points of all pixels.
    pub(crate) fn points(&self, scene: Scene) -> Vec<[u8; POINT_BYTES as usize]> {
        let pixels =
            (0..self.lens.height).flat_map(|y| (0..self.lens.width).map(move |x| [x as f32, y as f32]));
        let points = pixels.zip(self.look(scene)).map(|(pixel, (depth, rgb))| {
            let meters = self.lens.deproject(pixel, depth as f32).unwrap();
            let rgb = (depth > 0.0).then_some(rgb);
            Point { meters, rgb }.to_bytes()
        });
        points.collect()
    }

    pub(crate) fn view<'a>(&'a self, points: &'a [[u8; POINT_BYTES as usize]]) -> FusedView<'a> {
        FusedView { lens: &self.lens, to_root: self.to_root(), points, far_meters: f32::INFINITY }
    }
}
