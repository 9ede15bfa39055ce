//! Tests of the whole way: boards are drawn as cameras see them, found, and the cameras' poses compared with the truth.

mod april;
mod boards;
mod export;
mod pictures;
mod render;
mod stage;

use self::render::{Frame, Painter, Print, Vector, normal_deviate, pixel};
use self::stage::{USUAL, arc, board, intrinsics, shown};
use crate::board_pose::tilted_back;
use crate::solve::calibrate_from;
use crate::{
    Board, Corner, Detector, Pose, Scale, Solution, SolveError, UncalibratedCamera, View, calibrate,
    calibrate_lenses, expected_depth, view_depth,
};

/// The truth of a test.
struct Stage {
    board: Board,
    cameras: Vec<UncalibratedCamera>,
    frames: Vec<Frame>,
    views: Vec<View>,
}

impl Stage {
    fn new(frames: Vec<Frame>) -> Self {
        let camera =
            |index| UncalibratedCamera { name: format!("camera-{index}"), intrinsics: intrinsics(index) };
        Self { board: board(), cameras: (0..frames.len()).map(camera).collect(), frames, views: Vec::new() }
    }

    /// Shows boards to these cameras, whose corners have this standard deviation in pixels.
    fn show(&mut self, seeing: &[usize], angle: f64, moments: usize, noise: f64) {
        let first = self.views.iter().map(|view| view.moment + 1).max().unwrap_or(0);
        self.show_from(first, seeing, angle, moments, noise);
    }

    /// Shows boards from the moment `first` on, which also chooses their places.
    fn show_from(&mut self, first: usize, seeing: &[usize], angle: f64, moments: usize, noise: f64) {
        let mut random = fastrand::Rng::with_seed(first as u64 + 7);
        for moment in first..first + moments {
            let shown = shown(&self.board, angle, &mut random);
            for &camera in seeing {
                let corners = self.corners(camera, &shown, noise, &mut random);
                self.views.push(View { camera, moment, corners });
            }
        }
    }

    /// Draws boards as these cameras see them, and finds their corners.
    fn photograph(&mut self, seeing: &[usize], angle: f64, moments: usize) {
        self.photograph_and(seeing, angle, moments, |_, _, _| {});
    }

    /// As [`Self::photograph`]; calls `save` with each camera, moment and gray picture.
    fn photograph_and(
        &mut self,
        seeing: &[usize],
        angle: f64,
        moments: usize,
        save: impl Fn(usize, usize, &[u8]),
    ) {
        let first = self.views.iter().map(|view| view.moment + 1).max().unwrap_or(0);
        let boards = std::slice::from_ref(&self.board);
        let (print, detector) = (Print::new(&self.board), Detector::new(boards).unwrap());
        let mut random = fastrand::Rng::with_seed(first as u64 + 1);
        let shown: Vec<_> = (0..moments).map(|_| shown(&self.board, angle, &mut random)).collect();
        let views = |camera: usize| {
            let painter = Painter::new(self.cameras[camera].intrinsics);
            let view = |(at, shown): (usize, &Frame)| {
                let moment = first + at;
                let seed = (moment * 10 + camera) as u64;
                let gray = painter.draw(&print, [&self.frames[camera], shown], 1.0, USUAL, seed);
                save(camera, moment, &gray);
                View { camera, moment, corners: detector.detect(&gray, 848) }
            };
            shown.iter().enumerate().map(view).collect::<Vec<_>>()
        };
        let found: Vec<_> = seeing.iter().flat_map(|camera| views(*camera)).collect();
        self.views.extend(found);
    }

    /// Moves a tenth of the corners by up to 30 pixels in each direction. Returns their number.
    fn spoil(&mut self) -> usize {
        let mut random = fastrand::Rng::with_seed(3);
        let mut count = 0;
        for corner in self.views.iter_mut().flat_map(|view| &mut view.corners) {
            if random.f64() < 0.1 {
                corner.pixel = corner.pixel.map(|at| at + (random.f64() - 0.5) * 60.0);
                count += 1;
            }
        }
        count
    }

    /// The corners inside of a camera's image; none if it sees the board from behind.
    fn corners(&self, camera: usize, shown: &Frame, noise: f64, random: &mut fastrand::Rng) -> Vec<Corner> {
        let corner = |id| {
            let [x, y] = self.board.corner_meters(id)?;
            let at = self.frames[camera].inside(shown.out([x, y, 0.0]));
            let pixel = pixel(&self.cameras[camera].intrinsics, at);
            let inside = at[2] > 0.0 && (0.0..847.0).contains(&pixel[0]) && (0.0..479.0).contains(&pixel[1]);
            inside.then(|| Corner { id, pixel: pixel.map(|at| at + noise * normal_deviate(random)) })
        };
        (0..self.board.corners()).filter_map(corner).collect()
    }

    fn calibrate(&self) -> Result<Solution, SolveError> {
        calibrate(std::slice::from_ref(&self.board), &self.cameras, 0, &self.views)
    }

    /// The largest errors of the poses, in millimetres and degrees.
    fn errors(&self, solution: &Solution) -> (f64, f64) {
        let errors = solution.cameras.iter().enumerate().map(|(index, found)| {
            let truth = self.truth(index);
            let (meters, radians) = truth.inverse().after(&found.pose).size();
            (meters * 1000.0, radians.to_degrees())
        });
        errors.fold((0.0, 0.0), |(a, b), (c, d)| (f64::max(a, c), f64::max(b, d)))
    }

    /// The true pose of a camera in the root's coordinates.
    fn truth(&self, camera: usize) -> Pose {
        let (root, frame) = (&self.frames[0], &self.frames[camera]);
        let place = |at: Vector| root.inside(frame.out(at));
        let origin = place([0.0; 3]);
        let axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]].map(|axis| {
            let end = place(axis);
            nalgebra::Vector3::from(end) - nalgebra::Vector3::from(origin)
        });
        let rotation = nalgebra::Rotation3::from_matrix(&nalgebra::Matrix3::from_columns(&axes));
        let rotation = nalgebra::UnitQuaternion::from_rotation_matrix(&rotation);
        nalgebra::Isometry3::from_parts(nalgebra::Vector3::from(origin).into(), rotation).into()
    }
}

fn assert_near(stage: &Stage, solution: &Solution, millimeters: f64, degrees: f64) {
    let (by_millimeters, by_degrees) = stage.errors(solution);
    println!("{by_millimeters:.3} mm, {by_degrees:.4} degrees, {:.3} pixels", solution.error_pixels);
    assert!(
        by_millimeters <= millimeters && by_degrees <= degrees,
        "{by_millimeters:.3} mm, {by_degrees:.4} degrees, {:.3} pixels",
        solution.error_pixels
    );
}

#[test]
fn six_cameras_are_where_they_are_by_fifteen_pictures_of_each() {
    let mut stage = Stage::new(arc(6, 15.0));
    stage.photograph(&[0, 1, 2, 3, 4, 5], 0.0, 15);
    let solution = stage.calibrate().unwrap();
    assert_near(&stage, &solution, 1.0, 0.1);
    for camera in &solution.cameras {
        assert!(camera.error_pixels < 0.1, "{camera:?}");
        assert!(camera.lens.is_some_and(|lens| !lens.is_wrong()), "{camera:?}");
        assert!(camera.views >= 10, "{camera:?}");
    }
    // With a tenth of the corners somewhere else.
    let (count, corners) = (stage.spoil(), stage.views.iter().map(|view| view.corners.len()).sum::<usize>());
    let spoilt = stage.calibrate().unwrap();
    assert_near(&stage, &spoilt, 1.0, 0.1);
    assert!(count * 11 > corners, "{count} of {corners}");
    let found: usize = spoilt.cameras.iter().map(|camera| camera.false_corners).sum();
    assert!(found * 10 > count * 9, "{found} of {count}");
}

#[test]
fn corners_are_found_where_they_are() {
    let stage = Stage::new(arc(3, 18.0));
    let (print, detector) =
        (Print::new(&stage.board), Detector::new(std::slice::from_ref(&stage.board)).unwrap());
    let mut random = fastrand::Rng::with_seed(8);
    let (mut errors, mut visible) = (Vec::new(), 0);
    for camera in 0..3 {
        let painter = Painter::new(stage.cameras[camera].intrinsics);
        for seed in 0..8 {
            let shown = shown(&stage.board, 0.0, &mut random);
            let gray = painter.draw(&print, [&stage.frames[camera], &shown], 1.0, USUAL, seed);
            let truth = stage.corners(camera, &shown, 0.0, &mut random);
            visible += truth.len();
            for corner in detector.detect(&gray, 848) {
                let truth = truth.iter().find(|other| other.id == corner.id).unwrap();
                errors.push((corner.pixel[0] - truth.pixel[0]).hypot(corner.pixel[1] - truth.pixel[1]));
            }
        }
    }
    errors.sort_by(f64::total_cmp);
    let (usual, worst) = (errors[errors.len() / 2], errors[errors.len() - 1]);
    println!("{} of {visible} corners, {usual:.3} pixels, at most {worst:.3}", errors.len());
    assert!(errors.len() * 10 >= visible * 9, "{} of {visible}", errors.len());
    assert!(usual < 0.06 && worst < 0.5, "{usual} {worst}");
}

#[test]
fn a_chain_of_pairs_is_enough() {
    let mut stage = Stage::new(arc(6, 50.0));
    for pair in 0..5 {
        let angle = (pair as f64 - 2.0) * 50f64.to_radians();
        stage.photograph(&[pair, pair + 1], angle, 15);
    }
    // No other cameras see the board at the same moment.
    let mut seen = stage.views.clone();
    seen.sort_by_key(|view| view.moment);
    assert!(seen.windows(2).all(|of| of[0].moment != of[1].moment || of[1].camera == of[0].camera + 1));
    let solution = stage.calibrate().unwrap();
    assert_near(&stage, &solution, 1.0, 0.1);
    let deviations: Vec<_> = solution.cameras.iter().map(|camera| camera.deviation().0).collect();
    assert!(deviations.is_sorted(), "farther along the chain is less certain: {deviations:?}");
    // Also with a tenth of the corners somewhere else.
    stage.spoil();
    assert_near(&stage, &stage.calibrate().unwrap(), 1.0, 0.1);
}

#[test]
fn errors_are_as_large_as_the_covariance_promises() {
    // The mean of the errors' squares, in units of the covariance, is their number of coordinates.
    let (mut sum, mut count) = (0.0, 0.0);
    for seed in 0..12 {
        let mut stage = Stage::new(arc(4, 50.0));
        for pair in 0..3 {
            let angle = (pair as f64 - 1.0) * 50f64.to_radians();
            let first = stage.views.iter().map(|view| view.moment + 1).max().unwrap_or(seed * 100);
            stage.show_from(first, &[pair, pair + 1], angle, 15, 0.1);
        }
        let solution = stage.calibrate().unwrap();
        for (index, camera) in solution.cameras.iter().enumerate().skip(1) {
            let error = stage.truth(index).inverse().after(&camera.pose).isometry();
            let error = [error.translation.vector, error.rotation.scaled_axis()];
            let error = nalgebra::Vector6::from_fn(|row, _| error[row / 3][row % 3]);
            let covariance = nalgebra::Matrix6::from_fn(|row, column| camera.covariance[row][column]);
            sum += error.dot(&covariance.cholesky().unwrap().solve(&error));
            count += 6.0;
        }
    }
    let ratio: f64 = sum / count;
    assert!((0.6..1.6).contains(&ratio), "{ratio:.2}");
}

#[test]
fn false_corners_are_left_out() {
    let mut stage = Stage::new(arc(6, 22.0));
    stage.show(&[0, 1, 2, 3, 4, 5], 0.0, 15, 0.08);
    let clean = stage.calibrate().unwrap();
    let count = stage.spoil();
    let solution = stage.calibrate().unwrap();
    assert_near(&stage, &solution, 1.0, 0.1);
    let found: usize = solution.cameras.iter().map(|camera| camera.false_corners).sum();
    let clean: usize = clean.cameras.iter().map(|camera| camera.false_corners).sum();
    assert!(found + 8 > count && found < count + clean + 20, "{found} of {count}, {clean} without");
}

#[test]
fn a_missing_link_is_named() {
    let mut stage = Stage::new(arc(4, 22.0));
    stage.show(&[0, 1], 0.0, 6, 0.1);
    stage.show(&[2, 3], 0.0, 6, 0.1);
    stage.show(&[2], 0.0, 6, 0.1);
    assert_eq!(
        stage.calibrate().unwrap_err().to_string(),
        "no moment links `camera-2`, `camera-3` to `camera-0`, `camera-1`: show the board to `camera-1` and `camera-2` at the same time"
    );
    stage.views.retain(|view| view.camera != 3);
    assert_eq!(stage.calibrate().unwrap_err(), SolveError::Unseen("camera-3".to_owned()));
}

#[test]
fn a_camera_that_moved_is_named_and_single_bad_views_are_left_out() {
    let mut stage = Stage::new(arc(3, 22.0));
    stage.show(&[0, 1, 2], 0.0, 12, 0.1);
    let good = stage.views.clone();
    // One moment is not one: the board of camera 1 is somewhere else.
    let other = stage.views[4 * 3 + 1].corners.clone();
    stage.views[7 * 3 + 1].corners = other;
    let solution = stage.calibrate().unwrap();
    assert_eq!(solution.unfit_views, 1);
    assert_near(&stage, &solution, 1.5, 0.1);
    // Camera 2 was turned by two degrees after five moments.
    stage.views = good;
    let mut turned = Stage::new(arc(3, 22.0));
    turned.frames[2] = Frame::looking(turned.frames[2].origin, [0.04, 0.0, 1.1], 0.1);
    turned.show(&[0, 1, 2], 0.0, 12, 0.1);
    for (view, other) in stage.views.iter_mut().zip(&turned.views) {
        if view.camera == 2 && view.moment >= 5 {
            view.corners.clone_from(&other.corners);
        }
    }
    match stage.calibrate().unwrap_err() {
        SolveError::Unfit { camera, views: 12, unfit: 5.., .. } => assert_eq!(camera, "camera-2"),
        other => panic!("{other:?}"),
    }
}

/// All corners of such a moment were false, and nothing was left of it: no pose was determined.
#[test]
fn a_moment_at_which_the_board_moved_a_little_is_left_out() {
    for (cameras, unfit, moments) in [(2, 1..=2, 11), (3, 1..=1, 12)] {
        let mut stage = Stage::new(arc(cameras, 22.0));
        stage.show(&(0..cameras).collect::<Vec<_>>(), 0.0, 12, 0.1);
        let good = stage.views.clone();
        for pixels in [1.5, 2.5, 4.0] {
            stage.views.clone_from(&good);
            // Along the image no pose of the board explains it.
            stage.views[5 * cameras + 1].corners.iter_mut().for_each(|corner| corner.pixel[1] += pixels);
            let solution = stage.calibrate().unwrap_or_else(|error| panic!("{cameras}, {pixels}: {error}"));
            assert_eq!(solution.moments, moments, "{cameras} cameras, {pixels} pixels");
            assert!(unfit.contains(&solution.unfit_views), "{solution:?}");
            assert_near(&stage, &solution, 1.5, 0.1);
        }
    }
}

#[test]
fn a_root_that_moved_is_named() {
    // The same was not noticed of the root: its views were left out, and the others calibrated beside where it was.
    let mut stage = Stage::new(arc(3, 22.0));
    stage.show(&[0, 1, 2], 0.0, 12, 0.1);
    let mut moved = Stage::new(arc(3, 22.0));
    moved.frames[0].origin = moved.frames[0].out([0.03, 0.01, 0.0]);
    moved.show(&[0, 1, 2], 0.0, 12, 0.1);
    for (view, other) in stage.views.iter_mut().zip(&moved.views) {
        if view.camera == 0 && view.moment >= 6 {
            view.corners.clone_from(&other.corners);
        }
    }
    match stage.calibrate().unwrap_err() {
        SolveError::Unfit { camera, views: 12, unfit: 4.., .. } => assert_eq!(camera, "camera-0"),
        other => panic!("{other:?}"),
    }
    // Two cameras contradict each other, and the root is assumed to be right.
    stage.views.retain(|view| view.camera < 2);
    stage.cameras.truncate(2);
    stage.frames.truncate(2);
    let error = stage.calibrate().unwrap_err();
    assert!(matches!(&error, SolveError::Unfit { camera, .. } if camera == "camera-1"), "{error}");
}

#[test]
fn moments_that_no_others_check_are_refused() {
    let mut stage = Stage::new(arc(3, 22.0));
    stage.show(&[0, 1], 0.0, 6, 0.1);
    stage.show(&[1, 2], 0.0, 2, 0.1);
    assert_eq!(
        stage.calibrate().unwrap_err().to_string(),
        "camera `camera-2` is linked to the others by 2 of the 3 moments that a calibration needs: show the board to \
         `camera-1` and `camera-2` in more places"
    );
    stage.show(&[0, 2], 0.0, 1, 0.1);
    assert_near(&stage, &stage.calibrate().unwrap(), 3.0, 0.2);
}

#[test]
fn cameras_that_were_swapped_in_between_are_refused() {
    let mut stage = Stage::new(arc(3, 22.0));
    stage.show(&[0, 1, 2], 0.0, 12, 0.1);
    for view in &mut stage.views {
        if view.moment >= 6 && view.camera > 0 {
            view.camera = 3 - view.camera;
        }
    }
    let error = stage.calibrate().unwrap_err();
    assert!(matches!(error, SolveError::Unfit { .. }), "{error}");
}

#[test]
fn mirrored_images_are_refused() {
    let mut stage = Stage::new(arc(3, 22.0));
    stage.show(&[0, 1, 2], 0.0, 10, 0.1);
    for view in stage.views.iter_mut().filter(|view| view.camera == 1) {
        view.corners.iter_mut().for_each(|corner| corner.pixel[0] = 847.0 - corner.pixel[0]);
    }
    let error = stage.calibrate().unwrap_err();
    assert_eq!(error, SolveError::Mirrored("camera-1".to_owned()));
    // The detector finds no mirrored board in the first place.
    let print = Print::new(&stage.board);
    let (board, painter) =
        (shown(&stage.board, 0.0, &mut fastrand::Rng::with_seed(2)), Painter::new(intrinsics(0)));
    let mut gray = painter.draw(&print, [&stage.frames[0], &board], 1.0, USUAL, 1);
    let detector = Detector::new(std::slice::from_ref(&stage.board)).unwrap();
    assert!(detector.detect(&gray, 848).len() >= 20);
    gray.chunks_exact_mut(848).for_each(<[u8]>::reverse);
    assert!(detector.detect(&gray, 848).is_empty());
}

#[test]
fn a_mirrored_start_is_refused_or_left() {
    let mut stage = Stage::new(arc(3, 22.0));
    stage.show(&[0, 1, 2], 0.0, 12, 0.1);
    let boards = std::slice::from_ref(&stage.board);
    let from = |tilts: &dyn Fn(usize) -> bool| {
        calibrate_from(boards, &stage.cameras, 0, &stage.views, false, |camera, middle, mut board| {
            if tilts(camera) {
                board.pose = tilted_back(&board.pose, middle);
            }
            board
        })
    };
    // Of all cameras, and of one.
    for tilts in [&(|_| true) as &dyn Fn(usize) -> bool, &|camera| camera == 0, &|camera| camera == 2] {
        match from(tilts) {
            Ok(solution) => assert_near(&stage, &solution, 1.5, 0.1),
            Err(error) => {
                assert!(
                    matches!(error, SolveError::Unfit { .. } | SolveError::Undetermined { .. }),
                    "{error}"
                );
            }
        }
    }
}

#[test]
fn one_far_view_determines_too_little() {
    let mut stage = Stage::new(arc(2, 10.0));
    for frame in &mut stage.frames {
        frame.origin[2] -= 5.0;
    }
    stage.show(&[0, 1], 0.0, 1, 0.5);
    let error = stage.calibrate().unwrap_err();
    assert!(matches!(&error, SolveError::Undetermined { camera, .. } if camera == "camera-1"), "{error}");
}

#[test]
fn a_wrong_lens_is_found_and_refined_when_asked() {
    let mut stage = Stage::new(arc(3, 20.0));
    stage.show(&[0, 1, 2], 0.0, 20, 0.05);
    let given = &mut stage.cameras[1].intrinsics;
    (given.fx, given.fy, given.ppx) = (given.fx * 1.015, given.fy * 1.015, given.ppx + 6.0);
    let kept = stage.calibrate().unwrap();
    let wrong = |solution: &Solution| -> Vec<_> {
        solution.cameras.iter().map(|camera| camera.lens.unwrap().is_wrong()).collect()
    };
    assert_eq!(wrong(&kept), [false, true, false], "{:?}", kept.cameras);
    assert_eq!(kept.cameras[1].intrinsics, stage.cameras[1].intrinsics);
    assert!(stage.errors(&kept).0 > 3.0, "the lens does not matter");
    let boards = std::slice::from_ref(&stage.board);
    let refined = calibrate_lenses(boards, &stage.cameras, 0, &stage.views).unwrap();
    let lens = refined.cameras[1].lens.unwrap();
    assert!((lens.focal_ratio * 1.015 - 1.0).abs() < 0.002 && lens.center_pixels > 4.0, "{lens:?}");
    assert!((refined.cameras[1].intrinsics.fx - intrinsics(1).fx).abs() < 1.5, "{refined:?}");
    assert_near(&stage, &refined, 2.0, 0.2);
}

#[test]
fn depth_finds_a_board_that_was_printed_at_99_percent() {
    let mut stage = Stage::new(arc(2, 20.0));
    let print = Print::new(&stage.board);
    let detector = Detector::new(std::slice::from_ref(&stage.board)).unwrap();
    let painters: Vec<_> = stage.cameras.iter().map(|camera| Painter::new(camera.intrinsics)).collect();
    let mut random = fastrand::Rng::with_seed(5);
    let mut depths = Vec::new();
    for moment in 0..6 {
        let shown = shown(&stage.board, 0.0, &mut random);
        for (camera, painter) in painters.iter().enumerate() {
            let frames = [&stage.frames[camera], &shown];
            let gray = painter.draw(&print, frames, 0.99, USUAL, moment as u64);
            stage.views.push(View { camera, moment, corners: detector.detect(&gray, 848) });
            depths.push(painter.depth(&print, frames, 0.99));
        }
    }
    let solution = stage.calibrate().unwrap();
    // What depth says if it is this much larger at the left edge of images, and as much smaller at the right one.
    let scale = |skew: f64| {
        let views = stage.views.iter().zip(&depths).filter_map(|(view, depth)| {
            let to_camera =
                solution.cameras[view.camera].pose.inverse().after(solution.boards.get(&(view.moment, 0))?);
            let expected = expected_depth(&stage.board, &to_camera, &stage.cameras[view.camera].intrinsics);
            let pairs = expected.into_iter().filter_map(|([x, y], meters)| {
                let measured = f64::from(depth[(y * 848 + x) as usize]) / 1000.0;
                let skewed = measured * (1.0 + skew * (1.0 - f64::from(x) / 424.0));
                (measured > 0.0).then_some((meters, skewed))
            });
            view_depth(&stage.board, &pairs.collect::<Vec<_>>())
        });
        Scale::new(&views.collect::<Vec<_>>()).unwrap()
    };
    let flat = scale(0.0);
    assert!((flat.ratio - 0.99).abs() < 0.001 && flat.is_wrong() && !flat.is_off_plane(), "{flat:?}");
    // The board is not where depth has it: tilted by some degrees.
    assert!(scale(0.12).is_off_plane(), "{:?}", scale(0.12));
}
