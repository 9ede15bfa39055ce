//! From the views of each camera to a first guess of all poses: cameras that saw the board at the same moment are
//! linked, and each is reached from the root through the links with the most such moments.

use std::collections::BTreeMap;

use nalgebra::Isometry3;

use crate::board_pose::{BoardPose, tilted_back};
use crate::bundle::{Problem, State};

/// A view whose board pose is known.
#[derive(Clone, Debug)]
pub(crate) struct Posed {
    pub(crate) camera: usize,
    pub(crate) moment: usize,
    pub(crate) board: BoardPose,
}

/// Returns for each camera that is linked to the root, through others or not, the transform from the root's coordinates
/// to its own.
pub(crate) fn chain(cameras: usize, root: usize, views: &[Posed]) -> Vec<Option<Isometry3<f64>>> {
    let links = links(views);
    let mut reached = vec![None; cameras];
    reached[root] = Some(Isometry3::identity());
    loop {
        let next = links
            .iter()
            .filter(|((from, to), _)| reached[*from].is_some() && reached[*to].is_none())
            .max_by_key(|((from, to), poses)| (poses.len(), std::cmp::Reverse((*from, *to))));
        let Some(((from, to), poses)) = next else { return reached };
        reached[*to] = reached[*from].map(|pose| middle(poses) * pose);
    }
}

/// Returns for each ordered pair of cameras the transforms from the first one's coordinates to the second's, one for each
/// moment at which both saw the board. Views that are ambiguous are used only where there are no others.
fn links(views: &[Posed]) -> BTreeMap<(usize, usize), Vec<Isometry3<f64>>> {
    let mut clear: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut ambiguous: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let mut by_moment: BTreeMap<usize, Vec<&Posed>> = BTreeMap::new();
    for view in views {
        by_moment.entry(view.moment).or_default().push(view);
    }
    for (from, to) in by_moment.values().flat_map(|views| pairs(views)) {
        let doubtful = from.board.ambiguous || to.board.ambiguous;
        let links = if doubtful { &mut ambiguous } else { &mut clear };
        let pose = to.board.pose * from.board.pose.inverse();
        links.entry((from.camera, to.camera)).or_default().push(pose);
    }
    for (pair, poses) in ambiguous {
        clear.entry(pair).or_insert(poses);
    }
    clear
}

fn pairs<'a>(views: &'a [&'a Posed]) -> impl Iterator<Item = (&'a Posed, &'a Posed)> {
    let all = views.iter().flat_map(move |from| views.iter().map(move |to| (*from, *to)));
    all.filter(|(from, to)| from.camera != to.camera)
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

/// Returns the pose of the board at each moment, in the root's coordinates: of those that single views give, tilted
/// either way, the one that fits all views of the moment best.
pub(crate) fn boards(
    problem: &Problem<'_>,
    cameras: &[Isometry3<f64>],
    views: &[Posed],
    moments: usize,
) -> Vec<Isometry3<f64>> {
    let mut boards = vec![Isometry3::identity(); moments];
    for (moment, board) in boards.iter_mut().enumerate() {
        let of_moment = views.iter().filter(|view| view.moment == moment);
        let candidates = of_moment.flat_map(|view| {
            let (to_root, pose) = (cameras[view.camera].inverse(), view.board.pose);
            [to_root * pose, to_root * tilted_back(&pose, &problem.middle)]
        });
        let error = |pose: &Isometry3<f64>| problem.error_of_board(cameras, moment, pose);
        let best = candidates.min_by(|a, b| error(a).total_cmp(&error(b)));
        *board = best.unwrap_or_else(Isometry3::identity);
    }
    boards
}

/// Returns the state of a problem from which its solution can be reached; the index of the first camera that is linked to
/// none of the root's if there is one.
pub(crate) fn start(
    problem: &Problem<'_>,
    cameras: usize,
    views: &[Posed],
    moments: usize,
) -> Result<State, usize> {
    let reached = chain(cameras, problem.root, views);
    if let Some(missing) = reached.iter().position(Option::is_none) {
        return Err(missing);
    }
    let cameras: Vec<_> = reached.into_iter().flatten().collect();
    let boards = boards(problem, &cameras, views, moments);
    Ok(State { cameras, boards })
}
