//! From the views of each camera to a first guess of all poses: cameras that saw boards at the same moment are linked, and
//! boards that a camera saw at the same moment. Each is reached from the root and the first board through the links with
//! the most views.

use std::collections::{BTreeMap, BTreeSet};

use nalgebra::{Isometry3, Matrix3, Rotation3, UnitQuaternion, Vector3};

use crate::board_pose::{BoardPose, tilted_back};
use crate::bundle::{Problem, State};
use crate::median::median;

/// A view of one board whose pose is known.
#[derive(Clone, Debug)]
pub(crate) struct Posed {
    pub(crate) camera: usize,
    pub(crate) moment: usize,
    /// The index of the board.
    pub(crate) of: usize,
    pub(crate) board: BoardPose,
}

/// What is linked to the root and to the first board, through others or not.
#[derive(Clone, Debug)]
pub(crate) struct Reached {
    /// From the root's coordinates to each camera's.
    pub(crate) cameras: Vec<Option<Isometry3<f64>>>,
    /// From each board's coordinates to those of the first one.
    pub(crate) boards: Vec<Option<Isometry3<f64>>>,
}

/// A pose that several views give.
#[derive(Default)]
struct Estimates {
    clear: Vec<Isometry3<f64>>,
    /// Of views that are ambiguous: they are used only where there are no others.
    ambiguous: Vec<Isometry3<f64>>,
}

impl Estimates {
    fn best(self) -> Vec<Isometry3<f64>> {
        if self.clear.is_empty() { self.ambiguous } else { self.clear }
    }
}

/// The least number of moments that link a camera to others: one that is wrong has to contradict others.
pub(crate) const MIN_MOMENTS: usize = 3;
/// The least number of moments from which the pose of a camera and that of a board follow at once.
const MIN_AT_ONCE: usize = 4;
/// The most moments that are used for that.
const MAX_AT_ONCE: usize = 40;
/// The least spread of axes by which boards were turned between moments, of a largest spread of 1.
const MIN_AXES: f64 = 0.02;

/// Links this number of cameras and of boards to the root and to the first board, beginning with the poses that most views
/// give.
pub(crate) fn chain([cameras, boards]: [usize; 2], [root, first]: [usize; 2], views: &[Posed]) -> Reached {
    let mut reached = Reached { cameras: vec![None; cameras], boards: vec![None; boards] };
    if let (Some(root), Some(first)) = (reached.cameras.get_mut(root), reached.boards.get_mut(first)) {
        (*root, *first) = (Some(Isometry3::identity()), Some(Isometry3::identity()));
    }
    let mut by_moment: BTreeMap<usize, Vec<&Posed>> = BTreeMap::new();
    for view in views {
        by_moment.entry(view.moment).or_default().push(view);
    }
    while reached.reach_next(&by_moment) || reached.reach_both(&by_moment) {}
    reached
}

impl Reached {
    /// Returns the transform from the root's coordinates to those of the first board, by a view whose camera and board are
    /// known.
    fn to_first(&self, view: &Posed) -> Option<Isometry3<f64>> {
        Some(self.boards[view.of]? * view.board.pose.inverse() * self.cameras[view.camera]?)
    }

    /// Links the camera or the board that most pairs of views link.
    fn reach_next(&mut self, by_moment: &BTreeMap<usize, Vec<&Posed>>) -> bool {
        let mut estimates: BTreeMap<(bool, usize), Estimates> = BTreeMap::new();
        for views in by_moment.values() {
            for known in views {
                let Some(to_first) = self.to_first(known) else { continue };
                for view in views {
                    let (unknown, pose) = match (self.cameras[view.camera], self.boards[view.of]) {
                        (None, Some(offset)) => {
                            ((true, view.camera), view.board.pose * offset.inverse() * to_first)
                        }
                        (Some(camera), None) => {
                            ((false, view.of), to_first * camera.inverse() * view.board.pose)
                        }
                        _ => continue,
                    };
                    let of = estimates.entry(unknown).or_default();
                    let is_doubtful = known.board.ambiguous || view.board.ambiguous;
                    (if is_doubtful { &mut of.ambiguous } else { &mut of.clear }).push(pose);
                }
            }
        }
        let estimates = estimates.into_iter().map(|(unknown, estimates)| (unknown, estimates.best()));
        let Some(((is_camera, index), poses)) =
            estimates.max_by_key(|(unknown, poses)| (poses.len(), std::cmp::Reverse(*unknown)))
        else {
            return false;
        };
        let into = if is_camera { &mut self.cameras[index] } else { &mut self.boards[index] };
        *into = Some(middle(&poses));
        true
    }

    /// Links a camera and a board of which neither is known, as behind a plate: the board was turned between moments at which
    /// a known camera saw a known board.
    fn reach_both(&mut self, by_moment: &BTreeMap<usize, Vec<&Posed>>) -> bool {
        let mut pairs: BTreeMap<(usize, usize), Vec<[Isometry3<f64>; 2]>> = BTreeMap::new();
        for views in by_moment.values() {
            let clear = || views.iter().filter(|view| !view.board.ambiguous);
            let Some(to_first) = clear().find_map(|view| self.to_first(view)) else { continue };
            let is_unknown =
                |view: &&&Posed| self.cameras[view.camera].is_none() && self.boards[view.of].is_none();
            for view in clear().filter(is_unknown) {
                let of = pairs.entry((view.camera, view.of)).or_default();
                of.push([view.board.pose, to_first.inverse()]);
            }
        }
        let mut pairs: Vec<_> = pairs.into_iter().collect();
        pairs.sort_by_key(|(_, poses)| std::cmp::Reverse(poses.len()));
        let found = pairs.into_iter().find_map(|(pair, poses)| Some((pair, both(poses)?)));
        let Some(((camera, board), [of_camera, of_board])) = found else { return false };
        (self.cameras[camera], self.boards[board]) = (Some(of_camera), Some(of_board));
        true
    }
}

/// Returns the transform from the root's coordinates to a camera's, and that from a board's coordinates to those of the first
/// board. Each moment has the transform from the board's coordinates to the camera's, and from the first board's to the
/// root's.
fn both(mut moments: Vec<[Isometry3<f64>; 2]>) -> Option<[Isometry3<f64>; 2]> {
    moments.truncate(MAX_AT_ONCE);
    let offset = |camera: &Isometry3<f64>, [seen, first]: &[Isometry3<f64>; 2]| {
        first.inverse() * camera.inverse() * seen
    };
    loop {
        if moments.len() < MIN_AT_ONCE {
            return None;
        }
        let camera = of_turns(&moments)?;
        let offsets: Vec<_> = moments.iter().map(|moment| offset(&camera, moment)).collect();
        let best = middle(&offsets);
        let distances: Vec<_> = offsets.iter().map(|offset| distance(offset, &best)).collect();
        let usual = median(distances.clone());
        // A wrong one draws the others along, so only the worst is left out at a time.
        let worst = (0..moments.len()).max_by(|a, b| distances[*a].total_cmp(&distances[*b]))?;
        if distances[worst] <= 6.0 * usual || distances[worst] < 0.02 {
            return Some([camera, best]);
        }
        moments.remove(worst);
    }
}

/// Returns the transform from the root's coordinates to a camera's, by what happened between each two moments, as both see
/// it; `None` if boards were turned about one axis only.
fn of_turns(moments: &[[Isometry3<f64>; 2]]) -> Option<Isometry3<f64>> {
    let between = |at: usize| moments.iter().map(move |moment| moment[at]);
    let all: Vec<_> =
        (1..moments.len()).flat_map(|second| (0..second).map(move |first| [first, second])).collect();
    let turns = |at: usize| -> Vec<Isometry3<f64>> {
        let poses: Vec<_> = between(at).collect();
        all.iter().map(|[first, second]| poses[*second] * poses[*first].inverse()).collect()
    };
    let (seen, known) = (turns(0), turns(1));
    let mut axes = Matrix3::zeros();
    for (seen, known) in seen.iter().zip(&known) {
        axes += seen.rotation.scaled_axis() * known.rotation.scaled_axis().transpose();
    }
    let parts = axes.svd(true, true);
    let (left, right) = (parts.u?, parts.v_t?);
    if parts.singular_values[1] < MIN_AXES * parts.singular_values[0] {
        return None;
    }
    let sign = (left * right).determinant().signum();
    let rotation = left * Matrix3::from_diagonal(&Vector3::new(1.0, 1.0, sign)) * right;
    let rotation = UnitQuaternion::from_rotation_matrix(&Rotation3::from_matrix_unchecked(rotation));
    let (mut squares, mut downhill) = (Matrix3::zeros(), Vector3::zeros());
    for (seen, known) in seen.iter().zip(&known) {
        let slope = seen.rotation.to_rotation_matrix().matrix() - Matrix3::identity();
        squares += slope.transpose() * slope;
        downhill += slope.transpose() * (rotation * known.translation.vector - seen.translation.vector);
    }
    let translation = squares.cholesky()?.solve(&downhill);
    Some(Isometry3::from_parts(translation.into(), rotation))
}

/// Returns the transform that is nearest to half of the others, so that a few wrong ones do not matter.
fn middle(poses: &[Isometry3<f64>]) -> Isometry3<f64> {
    let spread = |pose: &Isometry3<f64>| {
        let mut distances: Vec<_> = poses.iter().map(|other| distance(pose, other)).collect();
        distances.sort_by(f64::total_cmp);
        distances[distances.len() / 2]
    };
    let best = poses.iter().min_by(|a, b| spread(a).total_cmp(&spread(b)));
    best.copied().unwrap_or_else(Isometry3::identity)
}

/// Returns the largest movement of a point at one metre between two poses, in metres.
fn distance(a: &Isometry3<f64>, b: &Isometry3<f64>) -> f64 {
    (a.translation.vector - b.translation.vector).norm() + a.rotation.angle_to(&b.rotation)
}

/// Returns the pose of the first board at each moment, in the root's coordinates: of those that single views give, tilted
/// either way, the one that fits all views of the moment best.
fn boards(
    problem: &Problem<'_>,
    cameras: &[Isometry3<f64>],
    offsets: &[Isometry3<f64>],
    views: &[Posed],
    moments: usize,
) -> Vec<Isometry3<f64>> {
    let mut boards = vec![Isometry3::identity(); moments];
    for (moment, board) in boards.iter_mut().enumerate() {
        let of_moment = views.iter().filter(|view| view.moment == moment);
        let candidates = of_moment.flat_map(|view| {
            let (to_root, pose) = (cameras[view.camera].inverse(), view.board.pose);
            let either = [pose, tilted_back(&pose, &problem.middles[view.of])];
            either.map(|pose| to_root * pose * offsets[view.of].inverse())
        });
        let error = |pose: &Isometry3<f64>| problem.error_of_board(cameras, offsets, moment, pose);
        let best = candidates.min_by(|a, b| error(a).total_cmp(&error(b)));
        *board = best.unwrap_or_else(Isometry3::identity);
    }
    boards
}

/// Returns the state of a problem from which its solution can be reached; all cameras, and the boards of the views, are
/// reached.
pub(crate) fn start(problem: &Problem<'_>, reached: Reached, views: &[Posed], moments: usize) -> State {
    let cameras: Vec<_> = reached.cameras.into_iter().flatten().collect();
    let offsets: Vec<_> =
        reached.boards.into_iter().map(|offset| offset.unwrap_or_else(Isometry3::identity)).collect();
    let boards = boards(problem, &cameras, &offsets, views, moments);
    State { cameras, boards, offsets, lenses: problem.lenses.to_vec() }
}

/// Returns for each camera whether it is the root, or whether enough moments link it to the root, through others or not.
/// `moments` has the cameras of each.
pub(crate) fn linked(cameras: usize, root: usize, moments: &[BTreeSet<usize>]) -> Vec<bool> {
    let mut linked = vec![false; cameras];
    linked[root] = true;
    let is_next = |linked: &[bool], camera: usize| {
        let links =
            |moment: &&BTreeSet<usize>| moment.contains(&camera) && moment.iter().any(|other| linked[*other]);
        !linked[camera] && moments.iter().filter(links).count() >= MIN_MOMENTS
    };
    while let Some(next) = (0..cameras).find(|camera| is_next(&linked, *camera)) {
        linked[next] = true;
    }
    linked
}
