//! The poses of cameras from their views of a board.

use std::collections::{BTreeMap, BTreeSet};

use camrig_frame::Intrinsics;
use nalgebra::{Matrix6, Point3, Vector2};

use crate::board::board_of;
use crate::board_pose::{BoardPose, MIN_CORNERS, Sight, board_pose};
use crate::bundle::{Covariances, ErrorWeight, Observation, Problem, State};
use crate::graph::{self, MIN_MOMENTS, Posed};
use crate::lens::Lens;
use crate::median::median;
use crate::{Board, Corner, Pose};

/// The error from which on corners count less, in pixels: at first this many times the usual error of the guess, up to
/// the larger one here, at last the smaller one.
const SCALE_TIMES: f64 = 3.0;
const SCALE_PIXELS: std::ops::RangeInclusive<f64> = 2.0..=30.0;
/// A corner is false if its error is more than this many times the usual one, and more than the least error here.
const FALSE_TIMES: f64 = 4.0;
/// The error up to which no corner is false, in pixels.
const FALSE_PIXELS: f64 = 0.3;
/// Number of passes that look for false corners.
const ROUNDS: usize = 4;
/// A view does not fit the others if its usual error is this much more than that of its own best pose, in pixels ...
const UNFIT_PIXELS: f64 = 1.0;
/// ... and this many times that.
const UNFIT_TIMES: f64 = 3.0;
/// The largest share of a camera's views that may not fit the others.
const MAX_UNFIT: f64 = 0.3;
/// The largest standard deviation of a pose, in metres and radians (half a degree), before it counts as not determined.
const MAX_METERS: f64 = 0.005;
const MAX_RADIANS: f64 = 0.5 * std::f64::consts::PI / 180.0;
/// The largest difference of a focal length from the given one that is usual, as a share, and of the center, in pixels.
const USUAL_FOCAL: f64 = 0.005;
const USUAL_CENTER: f64 = 4.0;
/// Number of standard deviations by which a lens must differ from the given one.
const CLEARLY: f64 = 4.0;
/// The ratio of the standard deviation of one coordinate to the median length, of errors with two coordinates.
const DEVIATION_OF_LENGTH: f64 = 0.8493;

/// A camera whose pose is wanted.
#[derive(Clone, Debug)]
pub struct UncalibratedCamera {
    /// Its name, for errors.
    pub name: String,
    /// The intrinsics of the images in which boards were found.
    pub intrinsics: Intrinsics,
}

/// The boards in the image of one camera at one moment.
#[derive(Clone, Debug)]
pub struct View {
    /// The index of the camera.
    pub camera: usize,
    /// A number that all views of the board in the same place have.
    pub moment: usize,
    /// The corners that were found.
    pub corners: Vec<Corner>,
}

/// The reason why cameras have no poses.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum SolveError {
    /// There are no cameras to relate to each other.
    #[error("a calibration needs at least two cameras, not {0}")]
    Cameras(usize),
    /// A camera has a fisheye lens.
    #[error("camera `{camera}` has the distortion `{distortion}`, whose projection is not supported")]
    Fisheye {
        /// The camera's name.
        camera: String,
        /// The name of the model.
        distortion: &'static str,
    },
    /// The images of a camera are mirrored.
    #[error("camera `{0}` sees the board mirrored: turn off the option that flips its images")]
    Mirrored(String),
    /// A camera saw no board.
    #[error("camera `{0}` saw the board in no usable image")]
    Unseen(String),
    /// Nothing relates two groups of cameras.
    #[error("no moment links {} to {}: show the board to `{}` and `{}` at the same time", list(.missing), list(.linked), .pair.0, .pair.1)]
    NotLinked {
        /// The cameras that are linked to the root.
        linked: Vec<String>,
        /// Those that are not.
        missing: Vec<String>,
        /// Two cameras, one of each, that saw the board most often.
        pair: (String, String),
    },
    /// Too few moments link a camera to the others: one that is wrong would contradict no other.
    #[error(
        "camera `{camera}` is linked to the others by {moments} of the {MIN_MOMENTS} moments that a calibration needs: show the board to `{neighbor}` and `{camera}` in more places"
    )]
    FewMoments {
        /// The camera's name.
        camera: String,
        /// A linked camera that saw the board with it, most often if there are several.
        neighbor: String,
        /// Number of the moments that link it.
        moments: usize,
    },
    /// The views of a camera contradict those of the others.
    #[error(
        "camera `{camera}` does not fit the others in {unfit} of {views} views (by {pixels:.0} pixels): it moved while the board was shown, the board moved between the cameras' images, or two cameras were mistaken for each other"
    )]
    Unfit {
        /// The camera's name.
        camera: String,
        /// Number of views that do not fit.
        unfit: usize,
        /// Number of its views.
        views: usize,
        /// The usual error of the views that do not fit.
        pixels: f64,
    },
    /// The views determine a pose too poorly.
    #[error(
        "the pose of camera `{camera}` is known only to {millimeters:.1} mm and {degrees:.2} degrees: show the board nearer, tilted, and in more places that it and adjacent cameras see at the same time"
    )]
    Undetermined {
        /// The camera's name.
        camera: String,
        /// Standard deviation of its position; infinite if nothing determines it.
        millimeters: f64,
        /// Standard deviation of its direction.
        degrees: f64,
    },
}

/// The poses of cameras.
#[derive(Clone, Debug)]
pub struct Solution {
    /// For each camera its pose.
    pub cameras: Vec<SolvedPose>,
    /// The poses of the boards that were seen at each moment that was used, in the root's coordinates: by moment, and by
    /// the index of the board.
    pub boards: BTreeMap<(usize, usize), Pose>,
    /// Number of moments that were used.
    pub moments: usize,
    /// The square mean of all errors of corners that are not false, in pixels.
    pub error_pixels: f64,
    /// Number of views that did not fit the others, and were left out.
    pub unfit_views: usize,
}

/// The pose of one camera, and its covariance.
#[derive(Clone, Debug)]
pub struct SolvedPose {
    /// From the coordinates of its images to those of the root's.
    pub pose: Pose,
    /// The covariance of the pose in its own coordinates, by rows: translation in metres, then rotation in radians.
    pub covariance: [[f64; 6]; 6],
    /// The square mean of the errors of its corners that are not false, in pixels.
    pub error_pixels: f64,
    /// Number of its views that were used.
    pub views: usize,
    /// Number of corners that were used.
    pub corners: usize,
    /// Number of corners in these views that are false.
    pub false_corners: usize,
    /// The intrinsics by which the pose was found: the given ones, or those that [`calibrate_lenses`] found.
    pub intrinsics: Intrinsics,
    /// How the lens that fits the corners best differs from the given one; `None` if they do not determine it.
    pub lens: Option<LensCheck>,
}

/// How the lens that fits the corners of a camera best differs from the given one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LensCheck {
    /// Its focal length divided by the given one.
    pub focal_ratio: f64,
    /// The standard deviation of that.
    pub focal_deviation: f64,
    /// Distance of its center from the given one, in pixels.
    pub center_pixels: f64,
    /// The standard deviation of the center, in pixels.
    pub center_deviation: f64,
}

impl LensCheck {
    /// Returns whether it differs clearly, and by more than factory calibrations usually do.
    pub fn is_wrong(&self) -> bool {
        (self.focal_ratio - 1.0).abs() > USUAL_FOCAL.max(CLEARLY * self.focal_deviation)
            || self.center_pixels > USUAL_CENTER.max(CLEARLY * self.center_deviation)
    }
}

impl SolvedPose {
    /// Returns the standard deviations of the pose: metres, and radians. That of the root is zero.
    pub fn deviation(&self) -> (f64, f64) {
        deviation(&Matrix6::from_fn(|row, column| self.covariance[row][column]))
    }
}

fn deviation(covariance: &Matrix6<f64>) -> (f64, f64) {
    let sum = |from: usize| (from..from + 3).map(|at| covariance[(at, at)]).sum::<f64>().sqrt();
    (sum(0), sum(3))
}

/// Finds the poses of cameras in the coordinates of the one with index `root`.
///
/// Several boards do not move against each other, as on both sides of a plate; where they are follows from the views. Corners
/// that are wrong, and single views that contradict the others, are left out.
///
/// # Errors
/// If the views do not determine the poses.
pub fn calibrate(
    boards: &[Board],
    cameras: &[UncalibratedCamera],
    root: usize,
    views: &[View],
) -> Result<Solution, SolveError> {
    calibrate_from(boards, cameras, root, views, false, |_, _, board| board)
}

/// As [`calibrate`], and finds the lenses too: focal lengths, centers, and the first two coefficients of distortion.
///
/// # Errors
/// If the views do not determine the poses beside the lenses.
pub fn calibrate_lenses(
    boards: &[Board],
    cameras: &[UncalibratedCamera],
    root: usize,
    views: &[View],
) -> Result<Solution, SolveError> {
    calibrate_from(boards, cameras, root, views, true, |_, _, board| board)
}

/// As [`calibrate`], or [`calibrate_lenses`] with `refines`, from what `begin` makes of the pose of each board, in an image of
/// this camera, with this middle.
pub(crate) fn calibrate_from(
    boards: &[Board],
    cameras: &[UncalibratedCamera],
    root: usize,
    views: &[View],
    refines: bool,
    begin: impl Fn(usize, &Point3<f64>, BoardPose) -> BoardPose,
) -> Result<Solution, SolveError> {
    if cameras.len() < 2 || root >= cameras.len() {
        return Err(SolveError::Cameras(cameras.len()));
    }
    let lenses = cameras.iter().map(lens).collect::<Result<Vec<_>, _>>()?;
    // From here on a view is of one board.
    let of_boards = |view| (0..boards.len()).map(move |board| (view, board));
    let (views, sights): (Vec<_>, Vec<_>) = views
        .iter()
        .flat_map(of_boards)
        .map(|(view, board)| ((view, board), sights(&boards[board], board, view)))
        .filter(|(_, sights)| !sights.is_empty())
        .unzip();
    let middle = |board: &Board| {
        let [width, height] = board.size_millimeters().map(|side| side / 2000.0);
        Point3::new(width, height, 0.0)
    };
    let middles: Vec<_> = boards.iter().map(middle).collect();
    let posed = views.iter().zip(&sights).map(|((view, board), sights)| {
        let (camera, moment, of) = (view.camera, view.moment, *board);
        let board = begin(camera, &middles[of], board_pose(&lenses[camera], sights)?);
        Some(Posed { camera, moment, of, board })
    });
    let mut posed: Vec<_> = posed.collect();
    let mirrored = |view: &Posed| view.board.is_mirrored(&middles[view.of]);
    for (camera, UncalibratedCamera { name, .. }) in cameras.iter().enumerate() {
        let own = posed.iter().flatten().filter(|view| view.camera == camera);
        if 2 * own.clone().filter(|view| mirrored(view)).count() > own.count() {
            return Err(SolveError::Mirrored(name.clone()));
        }
    }
    for view in &mut posed {
        if view.as_ref().is_some_and(mirrored) {
            *view = None;
        }
    }
    if let Some(unseen) =
        (0..cameras.len()).find(|camera| posed.iter().flatten().all(|view| view.camera != *camera))
    {
        return Err(SolveError::Unseen(cameras[unseen].name.clone()));
    }
    let of_root = |board: &usize| {
        let seen = posed.iter().flatten().filter(|view| view.camera == root && view.of == *board);
        (seen.count(), std::cmp::Reverse(*board))
    };
    let first = (0..boards.len()).max_by_key(of_root).unwrap_or(0);
    let work = Work {
        middles: &middles,
        first,
        cameras,
        lenses: &lenses,
        refines,
        root,
        sights: &sights,
        posed: &posed,
    };
    let all: BTreeSet<_> = (0..views.len()).filter(|view| posed[*view].is_some()).collect();
    let (_, _, in_problem) = work.problem(&all);
    let reached = work.chain(&in_problem);
    if reached.cameras.iter().any(Option::is_none) {
        return Err(work.not_linked(&in_problem));
    }
    let views = work.of_reached_boards(&all, &reached);
    let (problem, moments, in_problem) = work.problem(&views);
    let state = graph::start(&problem, reached, &in_problem, moments.len());
    work.finish(Fit { views, problem, moments, state })
}

/// Returns the state near `state` that most corners agree on.
fn narrowed(problem: &Problem<'_>, state: State) -> State {
    let last = *SCALE_PIXELS.start();
    let first = (SCALE_TIMES * median(problem.errors(&state))).clamp(last, *SCALE_PIXELS.end());
    let scales = [first, (first * last).sqrt(), last];
    scales.into_iter().fold(state, |state, pixels| problem.minimize(state, ErrorWeight::Pixels(pixels)))
}

fn lens(camera: &UncalibratedCamera) -> Result<Lens, SolveError> {
    Lens::new(&camera.intrinsics).ok_or_else(|| SolveError::Fisheye {
        camera: camera.name.clone(),
        distortion: camera.intrinsics.distortion.name(),
    })
}

/// Returns the corners of the board with this index in a view.
fn sights(board: &Board, index: usize, view: &View) -> Vec<Sight> {
    let sight = |corner: &Corner| {
        let (of, id) = board_of(corner.id);
        let [x, y] = board.corner_meters(id).filter(|_| of == index)?;
        let finite = corner.pixel.iter().all(|at| at.is_finite());
        finite.then(|| Sight { point: Point3::new(x, y, 0.0), pixel: Vector2::from(corner.pixel) })
    };
    view.corners.iter().filter_map(sight).collect()
}

/// The inputs of a solution.
struct Work<'a> {
    /// The middle of each board.
    middles: &'a [Point3<f64>],
    /// The board beside which the others are described.
    first: usize,
    cameras: &'a [UncalibratedCamera],
    lenses: &'a [Lens],
    /// Whether the solution has other lenses.
    refines: bool,
    root: usize,
    /// The corners of each view.
    sights: &'a [Vec<Sight>],
    /// The board pose of each view; `None` of one that has none.
    posed: &'a [Option<Posed>],
}

/// Views, and what fits them.
struct Fit<'a> {
    views: BTreeSet<usize>,
    /// The problem of those that relate cameras.
    problem: Problem<'a>,
    /// The moments in the problem.
    moments: Vec<usize>,
    state: State,
}

impl Fit<'_> {
    /// Leaves out the corners that do not fit the others.
    fn leave_out_false_corners(&mut self) {
        for _ in 0..ROUNDS {
            let errors = self.problem.errors(&self.state);
            let limit = (FALSE_TIMES * DEVIATION_OF_LENGTH * median(errors.clone())).max(FALSE_PIXELS);
            let before = self.problem.observations.len();
            let mut errors = errors.into_iter();
            self.problem.observations.retain(|_| errors.next().is_some_and(|error| error <= limit));
            self.state = self.problem.minimize(self.state.clone(), ErrorWeight::Squares);
            if self.problem.observations.len() == before {
                break;
            }
        }
    }
}

impl<'a> Work<'a> {
    fn chain(&self, views: &[Posed]) -> graph::Reached {
        graph::chain([self.cameras.len(), self.middles.len()], [self.root, self.first], views)
    }

    /// Returns the problem of these views, the moments in it, and the board poses with their moments' indices. Moments with
    /// a single view relate no cameras, so they are not in it.
    fn problem(&self, views: &BTreeSet<usize>) -> (Problem<'a>, Vec<usize>, Vec<Posed>) {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        let used = || views.iter().filter_map(|&view| Some((view, self.posed[view].as_ref()?)));
        for (_, posed) in used() {
            *counts.entry(posed.moment).or_default() += 1;
        }
        let moments: Vec<_> =
            counts.into_iter().filter(|(_, views)| *views > 1).map(|(moment, _)| moment).collect();
        let (mut observations, mut in_problem) = (Vec::new(), Vec::new());
        for (view, posed) in used() {
            let Ok(moment) = moments.binary_search(&posed.moment) else { continue };
            let camera = posed.camera;
            observations.extend(self.sights[view].iter().map(|sight| Observation {
                view,
                camera,
                moment,
                board: posed.of,
                sight: *sight,
            }));
            in_problem.push(Posed { moment, ..posed.clone() });
        }
        let Self { lenses, root, first, middles, .. } = *self;
        let problem = Problem { lenses, observations, root, first, middles, refines: false };
        (problem, moments, in_problem)
    }

    /// Improves a state, leaves out false corners and views, and checks the others.
    fn finish(&self, mut fit: Fit<'a>) -> Result<Solution, SolveError> {
        let all = fit.views.clone();
        fit.state = narrowed(&fit.problem, fit.state);
        loop {
            let unfit = self.unfit(&fit);
            if unfit.is_empty() {
                // Of a board that moved a little between the images of two cameras, nearly all corners are false.
                let found = fit.problem.observations.clone();
                fit.leave_out_false_corners();
                let poor = self.poor(&fit, &found);
                if poor.is_empty() {
                    return self.checked(fit, &all, &found);
                }
                fit = self.without(fit, &all, &poor)?;
            } else {
                fit = self.without(fit, &all, &unfit)?;
            }
        }
    }

    /// Returns the fit without these views of `all`, if the others still link all cameras.
    fn without(
        &self,
        Fit { mut views, moments, state, .. }: Fit<'a>,
        all: &BTreeSet<usize>,
        unfit: &BTreeMap<usize, f64>,
    ) -> Result<Fit<'a>, SolveError> {
        views.retain(|view| !unfit.contains_key(view));
        self.check_views(all, &views, unfit, false)?;
        let boards: BTreeMap<_, _> = moments.into_iter().zip(state.boards).collect();
        let (_, _, posed) = self.problem(&views);
        let reached = self.chain(&posed);
        if reached.cameras.iter().any(Option::is_none) {
            // The cameras saw the board together, but contradict each other.
            self.check_views(all, &views, unfit, true)?;
            return Err(self.not_linked(&posed));
        }
        let (problem, moments, _) = self.problem(&self.of_reached_boards(&views, &reached));
        let boards = moments.iter().map(|moment| boards[moment]).collect();
        let state = narrowed(&problem, State { boards, ..state });
        Ok(Fit { views, problem, moments, state })
    }

    /// Returns the views of boards that are related to the first one: another board says nothing.
    fn of_reached_boards(&self, views: &BTreeSet<usize>, reached: &graph::Reached) -> BTreeSet<usize> {
        let is_reached =
            |view: &&usize| self.posed[**view].as_ref().is_some_and(|view| reached.boards[view.of].is_some());
        views.iter().filter(is_reached).copied().collect()
    }

    /// Returns the solution of a fit without false corners. `found` are its corners with the false ones.
    fn checked(
        &self,
        Fit { views, mut problem, moments, state }: Fit<'a>,
        all: &BTreeSet<usize>,
        found: &[Observation],
    ) -> Result<Solution, SolveError> {
        let mut of_camera = vec![0; self.cameras.len()];
        for seen in found {
            of_camera[seen.camera] += 1;
        }
        let given = problem.covariance(&state, variance(&problem, &state));
        problem.refines = true;
        let refined = problem.minimize(state.clone(), ErrorWeight::Squares);
        let covariances = problem.covariance(&refined, variance(&problem, &refined));
        let lenses = self.lens_checks(&refined, covariances.as_ref());
        let (state, covariances) = if self.refines { (refined, covariances) } else { (state, given) };
        let mut solution = self.solution(&problem, &moments, &state, covariances.as_ref(), &of_camera)?;
        solution.unfit_views = all.len() - views.len();
        solution.cameras.iter_mut().zip(lenses).for_each(|(camera, lens)| camera.lens = lens);
        Ok(solution)
    }

    /// Compares lenses with the given ones.
    fn lens_checks(&self, state: &State, covariances: Option<&Covariances>) -> Vec<Option<LensCheck>> {
        let check = |camera: usize| {
            let covariance = covariances?.lenses.get(camera)?;
            let (focal_ratio, center_pixels) = state.lenses[camera].compared_with(&self.lenses[camera]);
            let part = |row: usize, column: usize| covariance[(row, column)];
            // The ratio is a mean of two.
            let focal_deviation = ((part(0, 0) + part(1, 1) + 2.0 * part(0, 1)) / 4.0).sqrt();
            let center_deviation = (part(2, 2) + part(3, 3)).sqrt();
            Some(LensCheck { focal_ratio, focal_deviation, center_pixels, center_deviation })
        };
        (0..self.lenses.len()).map(check).collect()
    }

    /// Returns the views that contradict the others, with their usual error.
    fn unfit(&self, Fit { problem, state, .. }: &Fit<'_>) -> BTreeMap<usize, f64> {
        let errors = usual_errors(&problem.observations, &problem.errors(state));
        let is_unfit = |(view, error): &(usize, f64)| {
            let own = self.posed[*view].as_ref().map_or(0.0, |posed| posed.board.error_pixels);
            *error > UNFIT_PIXELS + UNFIT_TIMES * own
        };
        self.worst_of_moments(errors).into_iter().filter(is_unfit).collect()
    }

    /// Returns the views of which few corners are left, with the usual error of all that were `found`.
    fn poor(&self, Fit { problem, state, .. }: &Fit<'_>, found: &[Observation]) -> BTreeMap<usize, f64> {
        let mut left: BTreeMap<usize, usize> = BTreeMap::new();
        problem.observations.iter().for_each(|seen| *left.entry(seen.view).or_default() += 1);
        let errors = usual_errors(found, &Problem::errors_of(found, state));
        let is_poor = |view: &usize| left.get(view).is_none_or(|corners| *corners < MIN_CORNERS);
        let of_poor = errors.map(|(view, error)| (view, if is_poor(&view) { error } else { 0.0 }));
        self.worst_of_moments(of_poor).into_iter().filter(|(_, error)| *error > 0.0).collect()
    }

    /// Returns the views with the largest error of their moment: one, since it draws the board away from where the others see
    /// it. Of two views that contradict each other, neither is right.
    fn worst_of_moments(&self, errors: impl Iterator<Item = (usize, f64)>) -> Vec<(usize, f64)> {
        let mut by_moment: BTreeMap<usize, Vec<(usize, f64)>> = BTreeMap::new();
        for (view, error) in errors {
            let Some(posed) = &self.posed[view] else { continue };
            by_moment.entry(posed.moment).or_default().push((view, error));
        }
        let worst = |mut views: Vec<(usize, f64)>| {
            views.sort_by(|a, b| b.1.total_cmp(&a.1));
            let most = if views.len() == 2 { 2 } else { 1 };
            views.into_iter().take(most)
        };
        by_moment.into_values().flat_map(worst).collect()
    }

    /// Checks that most views of each camera are left; with `strict`, that all are left.
    fn check_views(
        &self,
        all: &BTreeSet<usize>,
        left: &BTreeSet<usize>,
        unfit: &BTreeMap<usize, f64>,
        strict: bool,
    ) -> Result<(), SolveError> {
        let of = |views: &BTreeSet<usize>, camera: usize| {
            let of_camera =
                |view: &&usize| self.posed[**view].as_ref().is_some_and(|posed| posed.camera == camera);
            views.iter().filter(of_camera).count()
        };
        let most = if strict { 0.0 } else { MAX_UNFIT };
        let worst = (0..self.cameras.len())
            .map(|camera| (camera, of(all, camera), of(left, camera)))
            .map(|(camera, views, left)| (camera, views, views - left))
            .filter(|(_, views, gone)| *gone as f64 > most * *views as f64)
            // Of two cameras that do not fit each other, the root is assumed to be right.
            .max_by_key(|(camera, views, gone)| (strict || *camera != self.root, gone * 1000 / views));
        let Some((camera, views, gone)) = worst else { return Ok(()) };
        Err(SolveError::Unfit {
            camera: self.cameras[camera].name.clone(),
            unfit: gone,
            views,
            pixels: median(unfit.values().copied().collect()),
        })
    }

    /// Checks that enough moments link the cameras: one that is wrong has to contradict others.
    fn check_links(&self, problem: &Problem<'_>) -> Result<(), SolveError> {
        let mut cameras: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
        for seen in &problem.observations {
            cameras.entry(seen.moment).or_default().insert(seen.camera);
        }
        let moments: Vec<_> = cameras.into_values().collect();
        let linked = graph::linked(self.cameras.len(), self.root, &moments);
        let group =
            |is_linked: bool| (0..self.cameras.len()).filter(move |camera| linked[*camera] == is_linked);
        let (known, few): (Vec<_>, Vec<_>) = (group.clone()(true).collect(), group(false).collect());
        let common = |a: usize, b: usize| {
            moments.iter().filter(|moment| moment.contains(&a) && moment.contains(&b)).count()
        };
        let pairs = few.iter().flat_map(|camera| known.iter().map(|other| (*camera, *other)));
        let Some((camera, neighbor)) = pairs.rev().max_by_key(|(camera, other)| common(*camera, *other))
        else {
            return Ok(());
        };
        let links = |moment: &&BTreeSet<usize>| {
            moment.contains(&camera) && known.iter().any(|at| moment.contains(at))
        };
        let moments = moments.iter().filter(links).count();
        let [camera, neighbor] = [camera, neighbor].map(|camera| self.cameras[camera].name.clone());
        Err(SolveError::FewMoments { camera, neighbor, moments })
    }

    fn solution(
        &self,
        problem: &Problem<'_>,
        moments: &[usize],
        state: &State,
        covariances: Option<&Covariances>,
        found: &[usize],
    ) -> Result<Solution, SolveError> {
        let errors = problem.errors(state);
        let squares: f64 = errors.iter().map(|error| error * error).sum();
        let mut cameras = Vec::new();
        for (camera, pose) in state.cameras.iter().enumerate() {
            let covariance = covariances.map(|covariances| &covariances.cameras[camera]);
            let covariance = self.determined(camera, covariance)?;
            let of_camera =
                || problem.observations.iter().zip(&errors).filter(|(seen, _)| seen.camera == camera);
            let views: BTreeSet<_> = of_camera().map(|(seen, _)| seen.view).collect();
            let squares: f64 = of_camera().map(|(_, error)| error * error).sum();
            let corners = of_camera().count();
            cameras.push(SolvedPose {
                pose: pose.inverse().into(),
                covariance: std::array::from_fn(|row| {
                    std::array::from_fn(|column| covariance[(row, column)])
                }),
                error_pixels: (squares / corners.max(1) as f64).sqrt(),
                views: views.len(),
                corners,
                false_corners: found[camera] - corners,
                intrinsics: state.lenses[camera].intrinsics(&self.cameras[camera].intrinsics),
                lens: None,
            });
        }
        self.check_links(problem)?;
        let shown = problem.observations.iter().map(|seen| {
            let pose = state.boards[seen.moment] * state.offsets[seen.board];
            ((moments[seen.moment], seen.board), Pose::from(pose))
        });
        Ok(Solution {
            cameras,
            boards: shown.collect(),
            moments: moments.len(),
            error_pixels: (squares / errors.len().max(1) as f64).sqrt(),
            unfit_views: 0,
        })
    }

    /// Returns a camera's covariance if the pose is known well enough.
    fn determined<'b>(
        &self,
        camera: usize,
        covariance: Option<&'b Matrix6<f64>>,
    ) -> Result<&'b Matrix6<f64>, SolveError> {
        let (meters, radians) = covariance.map_or((f64::INFINITY, f64::INFINITY), deviation);
        match covariance {
            Some(covariance) if meters <= MAX_METERS && radians <= MAX_RADIANS => Ok(covariance),
            _ => Err(SolveError::Undetermined {
                camera: self.cameras[camera].name.clone(),
                millimeters: meters * 1000.0,
                degrees: radians.to_degrees(),
            }),
        }
    }

    /// Returns the error that names the cameras which nothing links to the root.
    fn not_linked(&self, views: &[Posed]) -> SolveError {
        let reached = self.chain(views).cameras;
        let views_of =
            |camera: &usize| self.posed.iter().flatten().filter(|view| view.camera == *camera).count();
        let group =
            |linked: bool| (0..self.cameras.len()).filter(move |&camera| reached[camera].is_some() == linked);
        let (linked, missing): (Vec<_>, Vec<_>) = (group.clone()(true).collect(), group(false).collect());
        let name = |camera: usize| self.cameras[camera].name.clone();
        let most =
            |cameras: &[usize]| name(cameras.iter().copied().max_by_key(views_of).unwrap_or(self.root));
        SolveError::NotLinked {
            pair: (most(&linked), most(&missing)),
            linked: linked.into_iter().map(name).collect(),
            missing: missing.into_iter().map(name).collect(),
        }
    }
}

/// Returns the median error of the corners of each view.
fn usual_errors(corners: &[Observation], errors: &[f64]) -> impl Iterator<Item = (usize, f64)> + use<> {
    let mut by_view: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    for (seen, error) in corners.iter().zip(errors) {
        by_view.entry(seen.view).or_default().push(*error);
    }
    by_view.into_iter().map(|(view, errors)| (view, median(errors)))
}

/// Returns the variance of one coordinate of a corner, in square pixels.
fn variance(problem: &Problem<'_>, state: &State) -> f64 {
    let errors = problem.errors(state);
    let lenses = if problem.refines { state.lenses.iter().map(Lens::unknowns).sum() } else { 0 };
    let poses = state.cameras.len() - 1 + state.boards.len() + state.offsets.len() - 1;
    let unknowns = 6 * poses + lenses;
    let squares: f64 = errors.iter().map(|error| error * error).sum();
    squares / (2 * errors.len()).saturating_sub(unknowns).max(1) as f64
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
