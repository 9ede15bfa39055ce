//! Depth as a check of a board's scale: with a board that was printed too small, all distances are too large.

use camrig_frame::Intrinsics;
use nalgebra::Point3;

use crate::lens::Lens;
use crate::median::{median, spread};
use crate::{Board, Pose};

/// The least number of views for a scale.
const MIN_VIEWS: usize = 3;
/// The largest deviation from 1 that depth cameras have themselves.
const USUAL: f64 = 0.005;
/// Number of standard deviations by which a wrong scale must differ from 1.
const CLEARLY: f64 = 3.0;

/// Measured distance divided by the one that follows from the board.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// The usual ratio: 0.99 of a board that was printed at 99 %.
    pub ratio: f64,
    /// Its standard deviation.
    pub deviation: f64,
    /// Number of views with depth at the corners.
    pub views: usize,
}

impl Scale {
    /// Returns the scale from the ratio of each view; `None` of too few views.
    pub fn new(ratios: &[f64]) -> Option<Self> {
        let views = ratios.len();
        let ratio = median(ratios.to_vec());
        let deviation = spread(ratios, ratio) / (views as f64).sqrt();
        (views >= MIN_VIEWS).then_some(Self { ratio, deviation, views })
    }

    /// Returns whether it is off by more than depth cameras usually are.
    pub fn is_wrong(&self) -> bool {
        (self.ratio - 1.0).abs() > USUAL.max(CLEARLY * self.deviation)
    }
}

/// Returns the position of each corner of the board in a depth image, and its distance in metres; `to_depth` leads from the
/// board's coordinates to those of depth. Corners outside of the image are left out.
pub fn expected_depth(board: &Board, to_depth: &Pose, depth: &Intrinsics) -> Vec<([u32; 2], f64)> {
    let Some(lens) = Lens::new(depth) else { return Vec::new() };
    let pose = to_depth.isometry();
    let corner = |id| {
        let [x, y] = board.corner_meters(id)?;
        let point = pose * Point3::new(x, y, 0.0);
        let pixel = lens.project(&point)?;
        let inside =
            |at: f64, size: u32| (at > -0.5 && at < f64::from(size) - 0.5).then(|| at.round() as u32);
        Some(([inside(pixel.x, depth.width)?, inside(pixel.y, depth.height)?], point.z))
    };
    (0..board.corners()).filter_map(corner).collect()
}

/// Returns the ratio of one view, from pairs of expected and measured distances; `None` of fewer than half of the corners.
pub fn view_ratio(board: &Board, pairs: &[(f64, f64)]) -> Option<f64> {
    let enough = pairs.len() * 2 >= board.corners() as usize;
    enough.then(|| median(pairs.iter().map(|(expected, measured)| measured / expected).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_wrong_if_it_is_off_by_more_than_noise() {
        let scale = |ratios: &[f64]| Scale::new(ratios).map(|scale| (scale.ratio, scale.is_wrong()));
        assert_eq!(scale(&[0.99, 0.991]), None);
        assert_eq!(scale(&[0.99, 0.991, 0.989, 0.9, 0.99]), Some((0.99, true)));
        assert_eq!(scale(&[1.001, 1.002, 0.998]), Some((1.001, false)));
        // Views that contradict each other determine no scale.
        assert_eq!(scale(&[0.99, 0.95, 1.03]), Some((0.99, false)));
    }
}
