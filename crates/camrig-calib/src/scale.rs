//! Depth as a check of a board's scale and of its plane: with a board that was printed too small, all distances are too large;
//! one that is bent, or was placed wrongly, is not where depth has it.

use camrig_frame::Intrinsics;
use nalgebra::Point3;

use crate::lens::Lens;
use crate::median::{median, spread};
use crate::{Board, Pose};

/// The least number of views for a scale.
const MIN_VIEWS: usize = 3;
/// The largest deviation from 1 that depth cameras have themselves.
const USUAL: f64 = 0.005;
/// The largest distance of depth from the plane of a board that is usual, as a share of its distance from the camera.
const USUAL_OFF_PLANE: f64 = 0.01;
/// Number of standard deviations by which a wrong scale must differ from 1.
const CLEARLY: f64 = 3.0;

/// Depth at the corners of a board in one view.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ViewDepth {
    /// The usual ratio of measured distances to those that follow from the board.
    pub ratio: f64,
    /// The deviation of the corners' ratios from it: how far depth is off the plane, as a share of the distance.
    pub off_plane: f64,
}

/// Measured distance divided by the one that follows from the board.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// The usual ratio: 0.99 of a board that was printed at 99 %.
    pub ratio: f64,
    /// Its standard deviation.
    pub deviation: f64,
    /// Number of views with depth at the corners.
    pub views: usize,
    /// How far depth usually is off the plane of the board, as a share of the distance.
    pub off_plane: f64,
}

impl Scale {
    /// Returns the scale from depth in each view; `None` of too few views.
    pub fn new(depths: &[ViewDepth]) -> Option<Self> {
        let views = depths.len();
        let ratios: Vec<_> = depths.iter().map(|view| view.ratio).collect();
        let ratio = median(ratios.clone());
        let deviation = spread(&ratios, ratio) / (views as f64).sqrt();
        let off_plane = median(depths.iter().map(|view| view.off_plane).collect());
        (views >= MIN_VIEWS).then_some(Self { ratio, deviation, views, off_plane })
    }

    /// Returns whether depth is farther from the plane of the board than it usually is.
    pub fn is_off_plane(&self) -> bool {
        self.off_plane > USUAL_OFF_PLANE
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

/// Returns what depth says in one view, from pairs of expected and measured distances; `None` of fewer than half of the corners.
pub fn view_depth(board: &Board, pairs: &[(f64, f64)]) -> Option<ViewDepth> {
    let ratios: Vec<_> = pairs.iter().map(|(expected, measured)| measured / expected).collect();
    let ratio = median(ratios.clone());
    (pairs.len() * 2 >= board.corners() as usize)
        .then(|| ViewDepth { ratio, off_plane: spread(&ratios, ratio) / ratio })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_wrong_if_it_is_off_by_more_than_noise() {
        let scale = |ratios: &[f64]| {
            let views: Vec<_> = ratios.iter().map(|&ratio| ViewDepth { ratio, off_plane: 0.002 }).collect();
            Scale::new(&views).map(|scale| (scale.ratio, scale.is_wrong()))
        };
        assert_eq!(scale(&[0.99, 0.991]), None);
        assert_eq!(scale(&[0.99, 0.991, 0.989, 0.9, 0.99]), Some((0.99, true)));
        assert_eq!(scale(&[1.001, 1.002, 0.998]), Some((1.001, false)));
        // Views that contradict each other determine no scale.
        assert_eq!(scale(&[0.99, 0.95, 1.03]), Some((0.99, false)));
    }
}
