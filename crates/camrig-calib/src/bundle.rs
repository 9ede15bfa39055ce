//! Bundle adjustment: the poses of cameras and boards that explain all corners best.
//!
//! Levenberg-Marquardt with the weights of Geman-McClure, by which corners far from their expected positions do not count.
//! Huber's weights do not suffice: many corners that are wrong in the same way, such as those of a camera that was moved, would
//! still pull the others to a compromise. The poses of the boards at different moments do not depend on each other, so each is
//! eliminated, and the equations that are left have six unknowns for each camera. Several boards do not move against each
//! other: six more unknowns are the pose of each relative to the first one. The numbers of a lens are six more, where they
//! are not taken for granted.

use std::collections::BTreeMap;

use nalgebra::{DMatrix, DVector, Isometry3, Matrix6, Point3, SMatrix, Vector2, Vector6};

use crate::board_pose::{Sight, moved, moved_by};
use crate::lens::Lens;

/// The largest number of steps.
const STEPS: usize = 60;
/// The damping of the first step, as a share of the diagonal, and its bounds.
const DAMPING: f64 = 1e-3;
const LEAST_DAMPING: f64 = 1e-12;
const MOST_DAMPING: f64 = 1e9;
/// The search ends when a step improves less than this share.
const ENOUGH: f64 = 1e-10;
/// The error of a corner behind its camera, in pixels.
const BEHIND_PIXELS: f64 = 1e4;

/// The weight of errors.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ErrorWeight {
    /// By their squares.
    Squares,
    /// By their squares while they are small against this number of pixels; larger errors have nearly constant weight.
    Pixels(f64),
}

impl ErrorWeight {
    fn cost(self, error: f64) -> f64 {
        match self {
            Self::Squares => error * error / 2.0,
            Self::Pixels(pixels) => {
                let ratio = error / pixels;
                error * error / 2.0 / (1.0 + ratio * ratio)
            }
        }
    }

    fn weight(self, error: f64) -> f64 {
        match self {
            Self::Squares => 1.0,
            Self::Pixels(pixels) => (1.0 + (error / pixels).powi(2)).powi(-2),
        }
    }
}

/// A corner that one camera saw at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observation {
    /// The index of its view.
    pub(crate) view: usize,
    pub(crate) camera: usize,
    pub(crate) moment: usize,
    /// The index of the board.
    pub(crate) board: usize,
    pub(crate) sight: Sight,
}

/// The unknowns.
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// From the root's coordinates to each camera's.
    pub(crate) cameras: Vec<Isometry3<f64>>,
    /// From the first board's coordinates to the root's, at each moment.
    pub(crate) boards: Vec<Isometry3<f64>>,
    /// From each board's coordinates to those of the first one.
    pub(crate) offsets: Vec<Isometry3<f64>>,
    /// The lens of each camera.
    pub(crate) lenses: Vec<Lens>,
}

/// The observations, and the given intrinsics of each camera.
pub(crate) struct Problem<'a> {
    pub(crate) lenses: &'a [Lens],
    pub(crate) observations: Vec<Observation>,
    /// The camera whose pose is fixed.
    pub(crate) root: usize,
    /// The first board: the others are described beside it.
    pub(crate) first: usize,
    /// The middle of each board.
    pub(crate) middles: &'a [Point3<f64>],
    /// Whether lenses are unknown.
    pub(crate) refines: bool,
}

/// The covariances of a solution.
pub(crate) struct Covariances {
    /// Of each camera's pose, in its own coordinates: translation in metres, then rotation in radians; that of the root is zero.
    pub(crate) cameras: Vec<Matrix6<f64>>,
    /// Of each lens, in steps of [`Lens::moved_by`]; none if lenses are known.
    pub(crate) lenses: Vec<Matrix6<f64>>,
}

/// A movement of each pose: translation in metres, then rotation in radians.
type Steps = Vec<Vector6<f64>>;

/// The equations of one step. Poses of cameras, after them those of boards relative to the first one, and after them lenses
/// if they are unknown, are *lasting*.
struct Equations {
    lasting: Vec<(Matrix6<f64>, Vector6<f64>)>,
    /// Of two lasting unknowns.
    pairs: BTreeMap<(usize, usize), Matrix6<f64>>,
    boards: Vec<(Matrix6<f64>, Vector6<f64>)>,
    /// Of a lasting pose and the boards at a moment.
    mixed: BTreeMap<(usize, usize), Matrix6<f64>>,
    /// The first row of each lasting unknown; `None` of the root, of the first board and of one that nobody sees.
    rows: Vec<Option<usize>>,
    /// The index of the first lens among lasting unknowns.
    first_lens: usize,
}

impl Problem<'_> {
    /// Returns the distance of each corner from its projection by the state, in pixels.
    pub(crate) fn errors(&self, state: &State) -> Vec<f64> {
        Self::errors_of(&self.observations, state)
    }

    /// As [`Self::errors`], of these corners.
    pub(crate) fn errors_of(corners: &[Observation], state: &State) -> Vec<f64> {
        let error = |seen: &Observation| {
            let (lens, camera) = (&state.lenses[seen.camera], &state.cameras[seen.camera]);
            Self::error(seen, lens, camera, &state.board(seen))
        };
        corners.iter().map(error).collect()
    }

    fn error(seen: &Observation, lens: &Lens, camera: &Isometry3<f64>, board: &Isometry3<f64>) -> f64 {
        let pixel = lens.project(&(camera * (board * seen.sight.point)));
        pixel.map_or(BEHIND_PIXELS, |pixel| (pixel - seen.sight.pixel).norm().min(BEHIND_PIXELS))
    }

    /// Returns the mean error of the corners of a moment, with the first board at this pose in the root's coordinates.
    pub(crate) fn error_of_board(
        &self,
        cameras: &[Isometry3<f64>],
        offsets: &[Isometry3<f64>],
        moment: usize,
        board: &Isometry3<f64>,
    ) -> f64 {
        let of_moment = self.observations.iter().filter(|seen| seen.moment == moment);
        let (sum, count) = of_moment.fold((0.0, 0.0), |(sum, count), seen| {
            let board = board * offsets[seen.board];
            let lens = &self.lenses[seen.camera];
            (sum + Self::error(seen, lens, &cameras[seen.camera], &board).sqrt(), count + 1.0)
        });
        sum / f64::max(count, 1.0)
    }

    fn cost(&self, state: &State, scale: ErrorWeight) -> f64 {
        self.errors(state).into_iter().map(|error| scale.cost(error)).sum()
    }

    /// Returns the state near `state` with the least cost.
    pub(crate) fn minimize(&self, mut state: State, scale: ErrorWeight) -> State {
        let (mut least, mut damping) = (self.cost(&state, scale), DAMPING);
        let mut equations = self.equations(&state, scale);
        for _ in 0..STEPS {
            let next = equations.solve(damping).map(|(lasting, boards)| {
                let moved = |poses: &[Isometry3<f64>], steps: &[Vector6<f64>]| {
                    poses.iter().zip(steps).map(|(pose, step)| moved_by(step, pose)).collect()
                };
                let (cameras, rest) = lasting.split_at(state.cameras.len());
                let (offsets, lenses) = rest.split_at(state.offsets.len());
                let mut moved_lenses = state.lenses.clone();
                for (lens, step) in moved_lenses.iter_mut().zip(lenses) {
                    *lens = lens.moved_by(step);
                }
                State {
                    cameras: moved(&state.cameras, cameras),
                    boards: moved(&state.boards, &boards),
                    offsets: moved(&state.offsets, offsets),
                    lenses: moved_lenses,
                }
            });
            let cost = next.as_ref().map_or(f64::INFINITY, |next| self.cost(next, scale));
            match next {
                Some(next) if cost < least => {
                    let done = least - cost < least * ENOUGH;
                    (state, least) = (next, cost);
                    if done {
                        break;
                    }
                    damping = (damping / 10.0).max(LEAST_DAMPING);
                    equations = self.equations(&state, scale);
                }
                _ if damping < MOST_DAMPING => damping *= 10.0,
                _ => break,
            }
        }
        state
    }

    fn equations(&self, state: &State, scale: ErrorWeight) -> Equations {
        let cameras = state.cameras.len();
        let first_lens = cameras + state.offsets.len();
        let rows = self.rows(state);
        let mut equations = Equations {
            lasting: vec![(Matrix6::zeros(), Vector6::zeros()); rows.len()],
            pairs: BTreeMap::new(),
            boards: vec![(Matrix6::zeros(), Vector6::zeros()); state.boards.len()],
            mixed: BTreeMap::new(),
            rows,
            first_lens,
        };
        for seen in &self.observations {
            let (camera, board) = (&state.cameras[seen.camera], &state.boards[seen.moment]);
            let lens = &state.lenses[seen.camera];
            let beside_first = state.offsets[seen.board] * seen.sight.point;
            let in_root = board * beside_first;
            let at = camera * in_root;
            let Some((pixel, slope)) = lens.project_with_slope(&at) else { continue };
            let error: Vector2<f64> = seen.sight.pixel - pixel;
            let weight = scale.weight(error.norm());
            let by_camera: SMatrix<f64, 2, 6> = slope * moved(&at);
            let to_camera = slope * camera.rotation.to_rotation_matrix().matrix();
            let by_board = to_camera * moved(&in_root);
            let add = |(squares, downhill): &mut (Matrix6<f64>, Vector6<f64>), slope: &SMatrix<f64, 2, 6>| {
                *squares += slope.transpose() * slope * weight;
                *downhill += slope.transpose() * error * weight;
            };
            let mut lasting = vec![(seen.camera, by_camera)];
            if seen.board != self.first {
                let turn = board.rotation.to_rotation_matrix();
                lasting.push((cameras + seen.board, to_camera * turn.matrix() * moved(&beside_first)));
            }
            if self.refines {
                lasting.push((first_lens + seen.camera, lens.slope_by_lens(&at)));
            }
            add(&mut equations.boards[seen.moment], &by_board);
            for (index, (unknown, slope)) in lasting.iter().enumerate() {
                add(&mut equations.lasting[*unknown], slope);
                let mixed = equations.mixed.entry((*unknown, seen.moment)).or_insert_with(Matrix6::zeros);
                *mixed += slope.transpose() * by_board * weight;
                for (other, other_slope) in &lasting[index + 1..] {
                    let pair = equations.pairs.entry((*unknown, *other)).or_insert_with(Matrix6::zeros);
                    *pair += slope.transpose() * other_slope * weight;
                }
            }
        }
        equations
    }

    /// Returns the first row of each lasting unknown among the equations.
    fn rows(&self, state: &State) -> Vec<Option<usize>> {
        let (cameras, boards) = (state.cameras.len(), state.offsets.len());
        let lenses = if self.refines { cameras } else { 0 };
        let seen = |is: &dyn Fn(&Observation) -> bool| self.observations.iter().any(is);
        let mut rows = 0;
        let row = |lasting: usize| {
            let is_free = if lasting < cameras {
                lasting != self.root
            } else if lasting < cameras + boards {
                let board = lasting - cameras;
                board != self.first && seen(&|seen| seen.board == board)
            } else {
                seen(&|seen| seen.camera == lasting - cameras - boards)
            };
            is_free.then(|| {
                rows += 6;
                rows - 6
            })
        };
        (0..cameras + boards + lenses).map(row).collect()
    }

    /// Returns the covariances of the unknowns. `variance` is that of one coordinate of a corner, in square pixels. Returns
    /// `None` if the corners do not determine them.
    pub(crate) fn covariance(&self, state: &State, variance: f64) -> Option<Covariances> {
        let equations = self.equations(state, ErrorWeight::Squares);
        let (squares, _) = equations.reduced(0.0)?;
        let inverse = squares.cholesky()?.inverse() * variance;
        let block = |row: &Option<usize>| match *row {
            Some(row) => inverse.fixed_view::<6, 6>(row, row).into_owned(),
            None => Matrix6::zeros(),
        };
        let blocks = |rows: &[Option<usize>]| rows.iter().map(block).collect();
        Some(Covariances {
            cameras: blocks(&equations.rows[..state.cameras.len()]),
            lenses: blocks(&equations.rows[equations.first_lens..]),
        })
    }
}

impl State {
    /// From the coordinates of the board that was seen to the root's.
    fn board(&self, seen: &Observation) -> Isometry3<f64> {
        self.boards[seen.moment] * self.offsets[seen.board]
    }
}

fn damped(squares: &Matrix6<f64>, damping: f64) -> Matrix6<f64> {
    squares + Matrix6::from_diagonal(&(squares.diagonal() * damping))
}

impl Equations {
    /// Returns the equations of the lasting unknowns, with the boards at each moment eliminated.
    fn reduced(&self, damping: f64) -> Option<(DMatrix<f64>, DVector<f64>)> {
        let size = 6 * self.rows.iter().flatten().count();
        let (mut squares, mut downhill) = (DMatrix::zeros(size, size), DVector::zeros(size));
        for ((of_pose, steps), row) in self.lasting.iter().zip(&self.rows) {
            let Some(row) = *row else { continue };
            squares.fixed_view_mut::<6, 6>(row, row).copy_from(&damped(of_pose, damping));
            downhill.fixed_rows_mut::<6>(row).copy_from(steps);
        }
        for ((first, second), pair) in &self.pairs {
            let (Some(row), Some(column)) = (self.rows[*first], self.rows[*second]) else { continue };
            squares.fixed_view_mut::<6, 6>(row, column).copy_from(pair);
            squares.fixed_view_mut::<6, 6>(column, row).copy_from(&pair.transpose());
        }
        // Coefficients that a lens does not have.
        for row in self.rows[self.first_lens..].iter().flatten().flat_map(|row| *row..row + 6) {
            if squares[(row, row)] == 0.0 {
                squares[(row, row)] = 1.0;
            }
        }
        for (moment, (of_board, steps)) in self.boards.iter().enumerate() {
            let inverse = damped(of_board, damping).try_inverse()?;
            let rows = self.rows.iter().enumerate();
            let seeing: Vec<_> =
                rows.filter_map(|(pose, row)| Some(((*row)?, self.mixed.get(&(pose, moment))?))).collect();
            for (row, mixed) in &seeing {
                let share = *mixed * inverse;
                let mut rows = downhill.fixed_rows_mut::<6>(*row);
                rows -= share * steps;
                for (column, other) in &seeing {
                    let mut block = squares.fixed_view_mut::<6, 6>(*row, *column);
                    block -= share * other.transpose();
                }
            }
        }
        Some((squares, downhill))
    }

    /// Returns the steps of lasting unknowns, and of the boards at each moment.
    fn solve(&self, damping: f64) -> Option<(Steps, Steps)> {
        let (squares, downhill) = self.reduced(damping)?;
        let solved = squares.cholesky()?.solve(&downhill);
        let step = |row: &Option<usize>| {
            row.map_or_else(Vector6::zeros, |row| solved.fixed_rows::<6>(row).into_owned())
        };
        let lasting: Vec<_> = self.rows.iter().map(step).collect();
        let mut boards = Vec::with_capacity(self.boards.len());
        for (moment, (of_board, steps)) in self.boards.iter().enumerate() {
            let by_lasting: Vector6<f64> = lasting
                .iter()
                .enumerate()
                .filter_map(|(pose, step)| Some(self.mixed.get(&(pose, moment))?.transpose() * step))
                .sum();
            boards.push(damped(of_board, damping).cholesky()?.solve(&(steps - by_lasting)));
        }
        Some((lasting, boards))
    }
}
