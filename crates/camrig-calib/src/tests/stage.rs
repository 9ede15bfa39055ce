//! The cameras of tests, and how boards are shown to them.

use camrig_frame::{Distortion, Intrinsics};

use super::render::Frame;
use crate::Board;

/// Noise in brightness and blur in pixels, as D435s have in a lit room.
pub(super) const USUAL: [f64; 2] = [2.5, 0.7];

pub(super) fn board() -> Board {
    Board::new(8, 6, 50.0).unwrap()
}

/// The intrinsics of a camera; each has different ones.
pub(super) fn intrinsics(index: usize) -> Intrinsics {
    let shift = index as f32;
    let models = [Distortion::InverseBrownConrady, Distortion::None, Distortion::BrownConrady];
    Intrinsics {
        width: 848,
        height: 480,
        ppx: 424.0 + 1.7 * shift,
        ppy: 240.0 - 2.3 * shift,
        fx: 612.0 + 2.0 * shift,
        fy: 611.0 + 2.1 * shift,
        distortion: models[index % 3],
        coefficients: [-0.055, 0.064, -0.0007, 0.0004, -0.021],
    }
}

/// Cameras in an arc around the place where boards are shown, at this many degrees from each other.
pub(super) fn arc(cameras: usize, degrees: f64) -> Vec<Frame> {
    (0..cameras)
        .map(|index| {
            let angle = (index as f64 - (cameras - 1) as f64 / 2.0) * degrees.to_radians();
            let height = if index % 2 == 0 { -0.25 } else { 0.15 };
            let origin = [1.1 * angle.sin(), height, 1.1 - 1.1 * angle.cos()];
            Frame::looking(origin, [0.0, 0.0, 1.1], 0.05 * index as f64)
        })
        .collect()
}

/// A board that faces the direction with this angle in the arc, tilted and moved by chance.
pub(super) fn shown(board: &Board, angle: f64, random: &mut fastrand::Rng) -> Frame {
    let mut chance = |reach: f64| (random.f64() * 2.0 - 1.0) * reach;
    let middle = [chance(0.15), chance(0.1), 1.1 + chance(0.15)];
    let toward = angle + chance(0.35);
    let down = chance(0.35);
    // Z points into the board, away from the cameras.
    let behind = [middle[0] - toward.sin(), middle[1] + down, middle[2] + toward.cos()];
    let facing = Frame::looking(middle, behind, chance(0.6));
    let [width, height] = board.size_millimeters().map(|side| side / 2000.0);
    Frame { origin: facing.out([-width, -height, 0.0]), ..facing }
}
