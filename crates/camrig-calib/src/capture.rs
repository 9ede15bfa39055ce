//! Takes views of live cameras automatically when the board stands still in a new place.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::Seen;
use crate::graph;
use crate::select::{STILL_PIXELS, is_new, seconds, speed};

/// The least number of corners of a picture that is used.
const MIN_CORNERS: usize = 8;
/// Maximum age of a picture that counts as showing the board's present place, in nanoseconds.
const FRESH_NANOS: u64 = 1_000_000_000;
/// Number of pictures of each camera that are waited for when the board has come to rest: two show that it does not move.
const LOOKS: u32 = 2;
/// The longest time in which a camera's pictures are waited for, in nanoseconds: it may have failed.
const WAIT_NANOS: u64 = 1_500_000_000;
/// The largest number of moments, as a multiple of the wanted one, while cameras are not linked.
const MOST_TIMES: usize = 4;
/// Columns and rows of the cells in which corners cover an image.
const CELLS: [u32; 2] = [8, 6];

/// Whether a camera sees the board.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BoardState {
    /// It does not see the board, or too few of its corners.
    #[default]
    No,
    /// It sees the board, which moves or may move.
    Moving,
    /// It sees the board, which does not move.
    Still,
}

/// A camera while views are captured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeeingCamera {
    /// Its name.
    pub name: String,
    /// Whether it sees the board.
    pub sees: BoardState,
    /// Number of its views that were taken.
    pub views: u32,
    /// The share of its image in which corners of these views are, 0 to 1.
    pub coverage: f64,
}

/// The state of a capture.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CaptureStatus {
    /// Number of moments that were taken.
    pub moments: usize,
    /// The cameras, in the order of their numbers.
    pub cameras: Vec<SeeingCamera>,
    /// Each pair of cameras that saw the board at one moment, with the number of such moments.
    pub links: Vec<(String, String, u32)>,
    /// The cameras that too few moments link to the root.
    pub missing: Vec<String>,
    /// Two cameras to which the board should be shown at the same time, if a camera is missing: another one, and that one.
    pub needed: Option<(String, String)>,
}

/// Captures views of one board by cameras that see it at different times.
///
/// A moment is taken when at least two cameras see the board stand still, all others have looked at it meanwhile, and the
/// moment adds a view that no other one has. Each view that is taken is stored with a value of type `T`.
#[derive(Debug)]
pub struct Capture<T> {
    cameras: Vec<Camera<T>>,
    root: usize,
    wanted: usize,
    /// Since when several cameras see the board stand still in a new place, in nanoseconds.
    since: Option<u64>,
    seen: Vec<Seen>,
    kept: Vec<T>,
    moments: Vec<Vec<usize>>,
}

#[derive(Debug)]
struct Camera<T> {
    name: String,
    last: Option<Look<T>>,
    /// Number of pictures since the board stands still.
    looks: u32,
    cells: BTreeSet<[u32; 2]>,
}

#[derive(Debug)]
struct Look<T> {
    seen: Seen,
    /// The cells of the image in which corners are.
    cells: BTreeSet<[u32; 2]>,
    /// The speed of the board, in pixels per second.
    speed: f64,
    /// Since when the board stands where this picture has it, in nanoseconds.
    since: u64,
    keep: T,
}

impl<T> Look<T> {
    fn is_still(&self, nanos: u64) -> bool {
        let age = nanos.saturating_sub(self.seen.nanos);
        self.seen.corners.len() >= MIN_CORNERS
            && age <= FRESH_NANOS
            && self.speed * seconds(age) <= STILL_PIXELS
    }
}

impl<T: Clone> Capture<T> {
    /// Creates a capture of `wanted` moments, of cameras with these names; `root` is the index of the root.
    pub fn new(cameras: impl IntoIterator<Item = String>, root: usize, wanted: usize) -> Self {
        let camera = |name| Camera { name, last: None, looks: 0, cells: BTreeSet::default() };
        Self {
            cameras: cameras.into_iter().map(camera).collect(),
            root,
            wanted,
            since: None,
            seen: Vec::new(),
            kept: Vec::new(),
            moments: Vec::new(),
        }
    }

    /// Adds a picture with this many columns and rows, with the corners that were found, and the value `keep` to store with
    /// it. Returns whether a moment was taken.
    pub fn look(&mut self, seen: Seen, size: [u32; 2], keep: T) -> bool {
        let (camera, nanos) = (seen.camera, seen.nanos);
        let cells = seen.corners.iter().map(|corner| cell(corner.pixel, size)).collect();
        let last = self.cameras[camera].last.take();
        let moved = last.and_then(|last| Some((speed(&last.seen, &seen)?, last)));
        let (speed, since) = match moved {
            Some((speed, last)) if speed * seconds(nanos.saturating_sub(last.seen.nanos)) <= STILL_PIXELS => {
                (speed, last.since)
            }
            Some((speed, _)) => (speed, nanos),
            None => (f64::INFINITY, nanos),
        };
        self.cameras[camera].last = Some(Look { seen, cells, speed, since, keep });
        self.cameras[camera].looks += 1;
        if self.is_full() || !self.shows_new(nanos) {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert_with(|| {
            self.cameras.iter_mut().for_each(|camera| camera.looks = 0);
            nanos
        });
        let all_have_looked = self.cameras.iter().all(|camera| camera.looks >= LOOKS);
        let is_over = all_have_looked || nanos.saturating_sub(since) > WAIT_NANOS;
        if is_over {
            self.since = None;
            self.take(nanos);
        }
        is_over
    }

    /// Returns the cameras that see the board stand still, with their last pictures, which show it in the same place: there
    /// is an instant at which it stood there for all of them. The last picture of a camera that is late may have it where it
    /// was before.
    fn still(&self, nanos: u64) -> Vec<(usize, &Look<T>)> {
        let looks = self.cameras.iter().map(|camera| camera.last.as_ref()).enumerate();
        let mut still: Vec<_> = looks
            .filter_map(|(index, look)| Some((index, look.filter(|look| look.is_still(nanos))?)))
            .collect();
        let since = still.iter().map(|(_, look)| look.since).max();
        still.retain(|(_, look)| Some(look.seen.nanos) >= since);
        still
    }

    /// Returns whether several cameras see the board stand still in a place that no moment has.
    fn shows_new(&self, nanos: u64) -> bool {
        let now: Vec<_> = self.still(nanos).into_iter().map(|(_, look)| look.seen.clone()).collect();
        let moment: Vec<_> = (self.seen.len()..self.seen.len() + now.len()).collect();
        moment.len() > 1 && is_new(&[&self.seen[..], &now].concat(), &moment, &self.moments)
    }

    fn take(&mut self, nanos: u64) {
        let matched = Some((0, self.moments.len() as u64));
        let first = self.seen.len();
        let still = self.still(nanos).into_iter();
        let views: Vec<_> = still
            .map(|(camera, look)| (camera, look.seen.clone(), look.cells.clone(), look.keep.clone()))
            .collect();
        for (camera, seen, cells, keep) in views {
            self.cameras[camera].cells.extend(cells);
            self.seen.push(Seen { matched, ..seen });
            self.kept.push(keep);
        }
        self.moments.push((first..self.seen.len()).collect());
    }

    /// Returns whether as many moments were taken as were wanted, and link all cameras; or so many without linking them that
    /// this seems impossible.
    pub fn is_full(&self) -> bool {
        let is_linked = || self.linked().iter().all(|linked| *linked);
        self.moments.len() >= self.wanted && (self.moments.len() >= MOST_TIMES * self.wanted || is_linked())
    }

    /// Returns the views that were taken; those of a moment have the same number of a match.
    pub fn seen(&self) -> &[Seen] {
        &self.seen
    }

    /// Returns the values that were stored with the views, in the order of [`Self::seen`].
    pub fn kept(&self) -> &[T] {
        &self.kept
    }

    /// Returns the state at this time.
    pub fn status(&self, nanos: u64) -> CaptureStatus {
        let views = |camera: usize| self.seen.iter().filter(|seen| seen.camera == camera).count() as u32;
        let sees = |camera: &Camera<T>| match &camera.last {
            Some(look) if look.is_still(nanos) => BoardState::Still,
            Some(look) if look.seen.corners.len() >= MIN_CORNERS => BoardState::Moving,
            _ => BoardState::No,
        };
        let links = self.links();
        let linked = self.linked();
        let name = |camera: usize| self.cameras[camera].name.clone();
        let group =
            |is_linked: bool| (0..self.cameras.len()).filter(move |camera| linked[*camera] == is_linked);
        let most = |cameras: &mut dyn Iterator<Item = usize>| cameras.max_by_key(|camera| views(*camera));
        let needed = most(&mut group.clone()(true)).zip(most(&mut group.clone()(false)));
        CaptureStatus {
            moments: self.moments.len(),
            cameras: self
                .cameras
                .iter()
                .enumerate()
                .map(|(index, camera)| SeeingCamera {
                    name: camera.name.clone(),
                    sees: sees(camera),
                    views: views(index),
                    coverage: camera.cells.len() as f64 / f64::from(CELLS[0] * CELLS[1]),
                })
                .collect(),
            missing: group(false).map(name).collect(),
            links: links.into_iter().map(|((a, b), moments)| (name(a), name(b), moments)).collect(),
            needed: needed.map(|(linked, missing)| (name(linked), name(missing))),
        }
    }

    /// Returns the cameras of each moment.
    fn cameras_of_moments(&self) -> impl Iterator<Item = BTreeSet<usize>> {
        self.moments.iter().map(|moment| moment.iter().map(|&view| self.seen[view].camera).collect())
    }

    /// Returns for each camera whether it is the root, or linked to it by enough moments.
    fn linked(&self) -> Vec<bool> {
        graph::linked(self.cameras.len(), self.root, &self.cameras_of_moments().collect::<Vec<_>>())
    }

    /// Returns the number of moments of each pair of cameras that has any.
    fn links(&self) -> BTreeMap<(usize, usize), u32> {
        let mut links = BTreeMap::new();
        for cameras in self.cameras_of_moments() {
            let pairs = cameras.iter().flat_map(|a| cameras.range(a + 1..).map(|b| (*a, *b)));
            pairs.for_each(|pair| *links.entry(pair).or_default() += 1);
        }
        links
    }
}

/// Returns the cell of an image of this size in which a pixel is.
fn cell(pixel: [f64; 2], size: [u32; 2]) -> [u32; 2] {
    std::array::from_fn(|axis| {
        let share = (pixel[axis] + 0.5) / f64::from(size[axis].max(1));
        ((share * f64::from(CELLS[axis])).max(0.0) as u32).min(CELLS[axis] - 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Corner;

    const STEP: u64 = 200_000_000;

    fn capture(cameras: usize) -> Capture<u64> {
        let names = ["a", "b", "c", "d"].map(str::to_owned);
        Capture::new(names.into_iter().take(cameras), 0, 3)
    }

    fn corners(place: f64) -> Vec<Corner> {
        (0..12).map(|id| Corner { id, pixel: [f64::from(id) * 10.0 + place, 100.0] }).collect()
    }

    /// Shows a board at these places, or nowhere, to each camera, one place after another; returns the numbers of the steps
    /// at which moments were taken.
    fn show<const N: usize>(capture: &mut Capture<u64>, from: u64, places: &[[Option<f64>; N]]) -> Vec<u64> {
        let mut taken = Vec::new();
        for (step, places) in (from..).zip(places) {
            for (camera, place) in places.iter().enumerate() {
                let found = place.map(corners).unwrap_or_default();
                let nanos = step * STEP + camera as u64 * 30_000_000;
                let seen = Seen { camera, nanos, matched: None, corners: found };
                if capture.look(seen, [848, 480], step) {
                    taken.push(step);
                }
            }
        }
        taken
    }

    #[test]
    fn a_board_that_stands_still_in_a_new_place_is_taken_once() {
        let mut capture = capture(3);
        let moving = [0.0, 9.0, 18.0, 27.0].map(|place| [Some(place); 3]);
        assert!(show(&mut capture, 0, &moving).is_empty());
        let still = [[Some(36.0), Some(36.0), None]; 8];
        assert_eq!(show(&mut capture, 4, &still).len(), 1);
        assert_eq!(capture.seen().iter().map(|seen| seen.camera).collect::<Vec<_>>(), [0, 1]);
        assert!(capture.kept().iter().all(|step| *step > 4), "{:?}", capture.kept());
        // It returns to the same place, and then stays in another one.
        assert!(show(&mut capture, 12, &moving).is_empty());
        assert!(show(&mut capture, 16, &still).is_empty());
        assert_eq!(show(&mut capture, 24, &[[Some(80.0); 3]; 8]).len(), 1);
        assert!(!capture.is_full());
        let matched: Vec<_> = capture.seen().iter().map(|seen| seen.matched).collect();
        assert_eq!(matched, [(0, 0), (0, 0), (0, 1), (0, 1), (0, 1)].map(Some));
    }

    #[test]
    fn a_single_camera_and_too_few_corners_give_no_moment() {
        let mut capture = capture(2);
        assert!(show(&mut capture, 0, &[[Some(0.0), None]; 9]).is_empty());
        for step in 0..9 {
            for camera in 0..2 {
                let corners = corners(0.0)[..5].to_vec();
                let seen = Seen { camera, nanos: (20 + step) * STEP, matched: None, corners };
                assert!(!capture.look(seen, [848, 480], 0));
            }
        }
        assert_eq!(capture.status(28 * STEP).cameras[0].sees, BoardState::No);
    }

    #[test]
    fn a_late_camera_does_not_show_where_the_board_was() {
        let mut capture = capture(3);
        show(&mut capture, 0, &[[Some(0.0); 3]; 2]);
        // The board is in another place, of which `a` has no picture yet.
        for step in 2..5 {
            for camera in 1..3 {
                let seen = Seen { camera, nanos: step * STEP, matched: None, corners: corners(200.0) };
                capture.look(seen, [848, 480], step);
            }
        }
        let nanos = 4 * STEP;
        assert!(capture.cameras.iter().all(|camera| camera.last.as_ref().unwrap().is_still(nanos)));
        assert_eq!(capture.still(nanos).iter().map(|(camera, _)| *camera).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_camera_without_pictures_is_not_waited_for_forever() {
        let mut capture = capture(3);
        assert_eq!(show(&mut capture, 0, &[[Some(0.0), Some(0.0)]; 12]).len(), 1);
    }

    #[test]
    fn the_status_names_the_missing_cameras() {
        let mut capture = capture(4);
        for (step, place) in [0, 16, 32].into_iter().zip([0.0, 40.0, 80.0]) {
            show(&mut capture, step, &[[Some(place), Some(place), None, None]; 8]);
            show(&mut capture, step + 8, &[[None, None, Some(400.0 + place), Some(400.0 + place)]; 8]);
        }
        show(&mut capture, 48, &[[Some(400.0), Some(400.0), None, Some(9.0)]; 1]);
        let status = capture.status(48 * STEP + STEP / 2);
        let sees: Vec<_> = status.cameras.iter().map(|camera| camera.sees).collect();
        assert_eq!(sees, [BoardState::Moving, BoardState::Moving, BoardState::No, BoardState::Moving]);
        assert_eq!(status.cameras.iter().map(|camera| camera.views).collect::<Vec<_>>(), [3; 4]);
        let cells: Vec<_> = status.cameras.iter().map(|camera| (camera.coverage * 48.0).round()).collect();
        assert_eq!(cells, [2.0, 2.0, 3.0, 3.0]);
        let [a, b, c, d] = ["a", "b", "c", "d"].map(str::to_owned);
        assert_eq!(status.links, [(a.clone(), b.clone(), 3), (c.clone(), d.clone(), 3)]);
        assert_eq!((&*status.missing, &status.needed), (&[c.clone(), d.clone()][..], &Some((b, d))));
        // Three moments of one of each group link all.
        for (step, place) in [52, 60, 68].into_iter().zip([200.0, 240.0, 280.0]) {
            assert!(!capture.is_full());
            show(&mut capture, step, &[[None, Some(place), Some(place), None]; 8]);
        }
        let status = capture.status(76 * STEP);
        assert_eq!((status.missing, status.needed, status.moments), (vec![], None, 9));
        assert!(capture.is_full());
    }

    #[test]
    fn pixels_outside_of_an_image_are_in_its_outermost_cells() {
        assert_eq!(cell([-3.0, 479.4], [848, 480]), [0, 5]);
        assert_eq!(cell([106.0, 900.0], [848, 480]), [1, 5]);
    }
}
