//! Several boards at once, which do not move against each other.

use super::render::{Frame, normal_deviate, pixel};
use super::stage::{arc, shown};
use super::{Stage, assert_near};
use crate::board::number_of;
use crate::{Board, Corner, SolveError, View, calibrate};

/// Boards, with the place of each beside the first one.
struct Boards {
    boards: Vec<Board>,
    beside_first: Vec<Frame>,
}

fn dictionary(name: &str) -> Board {
    Board::new(8, 6, 50.0).unwrap().with_dictionary(name).unwrap()
}

impl Boards {
    /// Shows the boards in these many places, to all cameras that see one from its front; `angle` is the direction that the
    /// first one faces.
    fn show(&self, stage: &mut Stage, angle: f64, moments: usize, noise: f64) {
        let first = stage.views.iter().map(|view| view.moment + 1).max().unwrap_or(0);
        let mut random = fastrand::Rng::with_seed(first as u64 + 11);
        for moment in first..first + moments {
            let shown = shown(&self.boards[0], angle, &mut random);
            for camera in 0..stage.frames.len() {
                let mut corners = Vec::new();
                for (index, (board, beside)) in self.boards.iter().zip(&self.beside_first).enumerate() {
                    let placed = Frame {
                        columns: beside.columns.map(|column| shown.turn(column)),
                        origin: shown.out(beside.origin),
                    };
                    corners.extend(seen(stage, camera, (index, board), &placed, noise, &mut random));
                }
                if !corners.is_empty() {
                    stage.views.push(View { camera, moment, corners });
                }
            }
        }
    }
}

/// The corners of a board inside of a camera's image; none if it is seen from behind.
fn seen(
    stage: &Stage,
    camera: usize,
    (index, board): (usize, &Board),
    placed: &Frame,
    noise: f64,
    random: &mut fastrand::Rng,
) -> Vec<Corner> {
    let (eye, optics) = (&stage.frames[camera], &stage.cameras[camera].intrinsics);
    let to_board: [f64; 3] = std::array::from_fn(|axis| placed.origin[axis] - eye.origin[axis]);
    let facing: f64 = (0..3).map(|axis| to_board[axis] * placed.columns[2][axis]).sum();
    let corner = |id| {
        let [x, y] = board.corner_meters(id)?;
        let at = eye.inside(placed.out([x, y, 0.0]));
        let pixel = pixel(optics, at);
        let inside = at[2] > 0.1 && (0.0..847.0).contains(&pixel[0]) && (0.0..479.0).contains(&pixel[1]);
        let id = number_of(index, id);
        inside.then(|| Corner { id, pixel: pixel.map(|at| at + noise * normal_deviate(random)) })
    };
    if facing > 0.2 { (0..board.corners()).filter_map(corner).collect() } else { Vec::new() }
}

const BESIDE_ITSELF: Frame =
    Frame { columns: [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], origin: [0.0; 3] };

/// Cameras on both sides of the place where boards are shown.
fn two_sides() -> Stage {
    let front = arc(2, 30.0);
    let behind = arc(2, 30.0).into_iter().map(|frame| {
        let [x, y, z] = frame.origin;
        Frame::looking([x, y, 2.2 - z], [0.0, 0.0, 1.1], 0.1)
    });
    Stage::new(front.into_iter().chain(behind).collect())
}

/// A plate of five millimetres with a board on each side; that on the back is not quite straight.
fn plate() -> Boards {
    let (sine, cosine) = 0.02_f64.sin_cos();
    let back = Frame {
        columns: [[-cosine, sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, -1.0]],
        origin: [0.403, -0.002, 0.005],
    };
    Boards {
        boards: vec![dictionary("4X4_50"), dictionary("5X5_50")],
        beside_first: vec![BESIDE_ITSELF, back],
    }
}

#[test]
fn both_sides_of_a_plate_relate_cameras_that_face_each_other() {
    let (mut stage, plate) = (two_sides(), plate());
    plate.show(&mut stage, 0.0, 20, 0.1);
    let solution = calibrate(&plate.boards, &stage.cameras, 0, &stage.views).unwrap();
    assert_near(&stage, &solution, 2.0, 0.1);
    assert_eq!(solution.boards.len(), 40);
    // Where the back is follows from the views.
    let found = solution.boards[&(3, 0)].inverse().after(&solution.boards[&(3, 1)]);
    for (found, truth) in found.translation_meters.iter().zip(plate.beside_first[1].origin) {
        assert!((found - truth).abs() < 0.002, "{found} {truth}");
    }
    let front: Vec<_> = stage.views.iter().filter(|view| view.camera < 2).cloned().collect();
    let error = calibrate(&plate.boards, &stage.cameras, 0, &front).unwrap_err();
    assert_eq!(error, SolveError::Unseen("camera-2".to_owned()));
}

#[test]
fn false_corners_and_views_of_a_plate_are_left_out() {
    let (mut stage, plate) = (two_sides(), plate());
    plate.show(&mut stage, 0.0, 20, 0.1);
    let mut random = fastrand::Rng::with_seed(3);
    for corner in stage.views.iter_mut().flat_map(|view| &mut view.corners) {
        if random.f64() < 0.1 {
            corner.pixel = corner.pixel.map(|at| at + (random.f64() - 0.5) * 60.0);
        }
    }
    let other = stage.views.iter().rfind(|view| view.camera == 3).unwrap().corners.clone();
    stage.views.iter_mut().find(|view| view.camera == 3).unwrap().corners = other;
    let solution = calibrate(&plate.boards, &stage.cameras, 0, &stage.views).unwrap();
    assert_near(&stage, &solution, 2.5, 0.15);
    assert_eq!(solution.unfit_views, 1);
}

#[test]
fn boards_side_by_side_relate_cameras_that_see_no_board_together() {
    // Three boards in a row, each half a metre from the next, behind a wall with holes: cameras see one or two of them.
    let beside = |steps: f64| Frame { origin: [0.55 * steps, 0.0, 0.0], ..BESIDE_ITSELF };
    let boards = Boards {
        boards: ["4X4_50", "5X5_50", "6X6_50"].map(dictionary).to_vec(),
        beside_first: [0.0, 1.0, 2.0].map(beside).to_vec(),
    };
    let frames = [-0.1, 0.3, 0.8, 1.2].map(|x| Frame::looking([x, 0.0, 0.0], [x, 0.0, 1.0], 0.0));
    let mut stage = Stage::new(frames.to_vec());
    boards.show(&mut stage, 0.0, 25, 0.1);
    let behind_holes: [&[usize]; 4] = [&[0], &[0, 1], &[1, 2], &[2]];
    for view in &mut stage.views {
        view.corners.retain(|corner| behind_holes[view.camera].contains(&corner.board()));
    }
    let sees = |camera: usize, board: usize| {
        let all = stage.views.iter().filter(|view| view.camera == camera);
        all.flat_map(|view| &view.corners).any(|corner| corner.board() == board)
    };
    assert!(!sees(0, 2) && !sees(3, 0), "the outer cameras see other boards");
    let solution = calibrate(&boards.boards, &stage.cameras, 0, &stage.views).unwrap();
    assert_near(&stage, &solution, 4.0, 0.2);
}
