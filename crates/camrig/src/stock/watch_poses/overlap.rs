//! What two cameras see of the same places.

use camrig_frame::Extrinsics;

use super::align::align;
use super::camera_watch::{CameraWatch, Extent, Limits};
use super::cells::{Plane, Surface, dot};

/// Distances at which a place that one camera sees belongs to a plane that another one sees, in metres.
const REACH: f32 = 0.12;
const TOLERANCE: f32 = 0.03;

/// The least share of compared places that must fit.
const SHARE: f64 = 0.5;

/// The least number of places that decide.
const PLACES: usize = 30;

/// A place decides if it differs so much between the two answers, in metres.
const DECISIVE: f32 = 0.002;

/// Returns how far the camera `one` is from where its pose has it, by the surface that `other` sees; `to_other` leads from
/// the coordinates of one to those of the other. Returns `None` if they see too little of the same.
pub(super) fn offset(one: &CameraWatch, other: &CameraWatch, to_other: &Extrinsics) -> Option<Extent> {
    let ((own, _), (theirs, _)) = (one.known()?, other.known()?);
    let points = one.cells.points(&own.depths);
    let found = align(&points, &other.cells, theirs, to_other, REACH, TOLERANCE)?;
    let is_enough = found.share() >= SHARE && 20 * found.compared >= points.len();
    is_enough.then(|| Extent::of(&to_other.inverse().after(&found.motion)))
}

/// Returns whether the scene has moved that `one` sees, and not the camera: `other`, which is at rest, sees the same places
/// where `one` would see them from its old place.
pub(super) fn scene_moved(one: &CameraWatch, other: &CameraWatch, to_other: &Extrinsics) -> bool {
    let (Some((own, _)), Some((theirs, _))) = (one.known(), other.known()) else { return false };
    let now = Surface::new(&other.cells, other.now().to_vec(), theirs.spreads.clone());
    let distance = |surface: &Surface, point| {
        let point = to_other.apply(point);
        let (Plane { normal, meters }, _) = surface.plane(&other.cells, other.cells.cell_of(point)?)?;
        Some(dot(normal, point) - meters).filter(|distance| distance.abs() < REACH)
    };
    let motion = one.motion();
    let (mut camera, mut scene) = (0, 0);
    for (cell, (depth, rest)) in one.now().iter().zip(&own.depths).enumerate() {
        if *depth <= 0.0 || *rest <= 0.0 {
            continue;
        }
        let seen = one.cells.point(cell, *depth);
        let (Some(usual), Some(unmoved), Some(moved)) = (
            distance(theirs, one.cells.point(cell, *rest)),
            distance(&now, seen),
            distance(&now, motion.apply(seen)),
        ) else {
            continue;
        };
        if (moved - unmoved).abs() >= DECISIVE {
            let for_camera = (moved - usual).abs() < (unmoved - usual).abs();
            *(if for_camera { &mut camera } else { &mut scene }) += 1;
        }
    }
    camera + scene >= PLACES && 2 * scene > 3 * camera
}

/// The pairs of cameras that see the same places, and how far one of each is from where its pose has it.
#[derive(Debug, Default)]
pub(super) struct Pairs(pub(super) Vec<(usize, usize, Extent)>);

/// Cameras that do not fit the others as they were calibrated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Misfit {
    /// This camera fits none of at least two others, and those fit each other.
    Camera(usize, Extent),
    /// One of these two has moved.
    Pair(usize, usize, Extent),
}

impl Pairs {
    /// Returns the cameras that do not fit.
    pub(super) fn misfits(&self, limits: Limits) -> Vec<Misfit> {
        let of =
            |camera: usize| self.0.iter().filter(move |(one, other, _)| *one == camera || *other == camera);
        let fits = |extent: &Extent| extent.meters < limits.meters && extent.radians < limits.radians;
        let is_alone = |camera: usize| {
            let mut partners = of(camera).map(|(one, other, _)| if *one == camera { *other } else { *one });
            of(camera).count() >= 2
                && of(camera).all(|(.., extent)| !fits(extent))
                && partners.all(|partner| of(partner).any(|(.., extent)| fits(extent)))
        };
        let mut alone = Vec::new();
        let mut misfits = Vec::new();
        for (one, other, extent) in self.0.iter().filter(|(.., extent)| !fits(extent)) {
            match [*one, *other].into_iter().find(|camera| is_alone(*camera)) {
                Some(camera) if alone.contains(&camera) => {}
                Some(camera) => {
                    alone.push(camera);
                    misfits.push(Misfit::Camera(camera, *extent));
                }
                None => misfits.push(Misfit::Pair(*one, *other, *extent)),
            }
        }
        misfits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_camera_that_fits_no_other_is_named() {
        let limits = Limits { meters: 0.02, radians: 0.01 };
        let (near, far) = (Extent { meters: 0.004, radians: 0.0 }, Extent { meters: 0.03, radians: 0.0 });
        let misfits = |pairs: &[(usize, usize, Extent)]| Pairs(pairs.to_vec()).misfits(limits);
        assert_eq!(misfits(&[(0, 1, near), (0, 2, near), (1, 2, near)]), []);
        assert_eq!(misfits(&[(0, 1, far), (0, 2, near), (1, 2, far)]), [Misfit::Camera(1, far)]);
        assert_eq!(misfits(&[(0, 1, far)]), [Misfit::Pair(0, 1, far)]);
        // In a chain either of the two may have moved.
        assert_eq!(misfits(&[(0, 1, far), (1, 2, near)]), [Misfit::Pair(0, 1, far)]);
        let turned = Extent { meters: 0.0, radians: 0.02 };
        assert_eq!(misfits(&[(0, 1, turned)]), [Misfit::Pair(0, 1, turned)]);
    }
}
