//! AprilGrids, drawn as cameras see them.

use super::render::{Painter, Print, pixel};
use super::stage::{USUAL, arc, intrinsics, shown};
use super::{Stage, assert_near};
use crate::{Board, Detector, View};

fn grid() -> Board {
    Board::april_grid(6, 4, 60.0, 0.3).unwrap()
}

#[test]
fn an_april_grid_relates_cameras() {
    let mut stage = Stage::new(arc(3, 18.0));
    stage.board = grid();
    let (print, detector) =
        (Print::new(&stage.board), Detector::new(std::slice::from_ref(&stage.board)).unwrap());
    let painters: Vec<_> = stage.cameras.iter().map(|camera| Painter::new(camera.intrinsics)).collect();
    let mut random = fastrand::Rng::with_seed(1);
    let (mut errors, mut visible) = (Vec::new(), 0);
    for moment in 0..12 {
        let shown = shown(&stage.board, 0.0, &mut random);
        for (camera, painter) in painters.iter().enumerate() {
            let gray = painter.draw(
                &print,
                [&stage.frames[camera], &shown],
                1.0,
                USUAL,
                (moment * 10 + camera) as u64,
            );
            let corners = detector.detect(&gray, 848);
            let truth = stage.corners(camera, &shown, 0.0, &mut random);
            visible += truth.len();
            for corner in &corners {
                let [x, y] = stage.board.corner_meters(corner.id).unwrap();
                let at = stage.frames[camera].inside(shown.out([x, y, 0.0]));
                let [u, v] = pixel(&stage.cameras[camera].intrinsics, at);
                errors.push((corner.pixel[0] - u).hypot(corner.pixel[1] - v));
            }
            stage.views.push(View { camera, moment, corners });
        }
    }
    errors.sort_by(f64::total_cmp);
    let (usual, worst) = (errors[errors.len() / 2], errors[errors.len() - 1]);
    println!("{} of {visible} corners, {usual:.3} pixels, at most {worst:.3}", errors.len());
    assert!(errors.len() * 10 >= visible * 9, "{} of {visible}", errors.len());
    assert!(usual < 0.1 && worst < 1.0, "{usual} {worst}");
    let solution = stage.calibrate().unwrap();
    println!("{:?}, {:.3} pixels", stage.errors(&solution), solution.error_pixels);
    assert_near(&stage, &solution, 1.0, 0.1);
}

#[test]
fn two_april_grids_are_told_apart_and_a_mirrored_one_is_not_found() {
    let (first, other) = (grid(), grid().with_first_tag(100).unwrap());
    let boards = [first, other];
    let detector = Detector::new(&boards).unwrap();
    let (painter, frames) = (Painter::new(intrinsics(1)), arc(1, 0.0));
    let mut random = fastrand::Rng::with_seed(7);
    for (index, board) in boards.iter().enumerate() {
        let placed = shown(board, 0.0, &mut random);
        let mut gray = painter.draw(&Print::new(board), [&frames[0], &placed], 1.0, USUAL, 5);
        let found = detector.detect(&gray, 848);
        assert!(found.len() >= 60 && found.iter().all(|corner| corner.board() == index), "{}", found.len());
        gray.chunks_exact_mut(848).for_each(<[u8]>::reverse);
        assert!(detector.detect(&gray, 848).is_empty());
    }
}
