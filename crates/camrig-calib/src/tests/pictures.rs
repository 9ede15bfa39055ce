//! Pictures whose results are compared with those of OpenCV: see the folders `tests/opencv` and `tests/real`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use camrig_frame::{Distortion, Intrinsics};

use super::Stage;
use super::render::{Frame, Painter, Print};
use super::stage::{USUAL, arc, board, intrinsics, shown};
use crate::{Board, Corner, Detector, Pose, Solution, SolvedPose, UncalibratedCamera, View, calibrate};

/// Writes pictures of a board, and the corners that were found in them, for `crates/camrig-calib/tests/opencv/run`.
#[test]
#[ignore = "writes files for a program that compares them with OpenCV"]
fn pictures_for_opencv() {
    let folder = PathBuf::from(std::env::var_os("CAMRIG_OPENCV_FOLDER").unwrap());
    write_pictures(&folder.join("charuco"), &board());
    write_pictures(&folder.join("aprilgrid"), &Board::april_grid(6, 4, 60.0, 0.3).unwrap());
    write_rig(&folder.join("rig"));
}

/// Writes pictures of three cameras, and the poses that follow.
fn write_rig(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    let mut stage = Stage::new(arc(3, 20.0));
    for camera in &mut stage.cameras {
        camera.intrinsics.distortion = Distortion::BrownConrady;
    }
    let save =
        |camera: usize, moment: usize, gray: &[u8]| write_gray(folder, &format!("{camera}-{moment}"), gray);
    stage.photograph_and(&[0, 1, 2], 0.0, 15, save);
    write_solution(folder, &stage.cameras, &stage.calibrate().unwrap());
}

/// Reads a board, cameras, and pictures or corners, and writes the poses of the cameras, for `tests/real/run`.
#[test]
#[ignore = "reads pictures that are downloaded"]
fn real_pictures() {
    let folder = PathBuf::from(std::env::var_os("CAMRIG_PICTURES_FOLDER").unwrap());
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let board = Board::from_toml(&read("board.toml")).unwrap();
    let boards = std::slice::from_ref(&board);
    let (lines, views_text) = (read("cameras.txt"), read("views.txt"));
    let cameras = lines.lines().enumerate().map(|(index, line)| {
        let numbers: Vec<f32> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
        let [fx, fy, ppx, ppy, k1, k2, p1, p2, k3]: [f32; 9] = numbers[2..].try_into().unwrap();
        let (width, height) = (numbers[0] as u32, numbers[1] as u32);
        let (distortion, coefficients) = (Distortion::BrownConrady, [k1, k2, p1, p2, k3]);
        let intrinsics = Intrinsics { width, height, ppx, ppy, fx, fy, distortion, coefficients };
        UncalibratedCamera { name: format!("camera-{index}"), intrinsics }
    });
    let cameras: Vec<_> = cameras.collect();
    let detector = Detector::new(boards).unwrap();
    let (mut views, mut found) = (Vec::new(), String::new());
    for line in views_text.lines() {
        // A camera, a moment, and the name of a picture, or the numbers and positions of corners.
        let words: Vec<_> = line.split_whitespace().collect();
        let [camera, moment] = [0, 1].map(|at| words[at].parse::<usize>().unwrap());
        let corners = match &words[2..] {
            [name] => {
                let file = std::fs::read(folder.join(name)).unwrap();
                let Intrinsics { width, height, .. } = cameras[camera].intrinsics;
                let gray = &file[file.len() - (width * height) as usize..];
                detector.detect(gray, width as usize)
            }
            corners => {
                let (corners, rest) = corners.as_chunks::<3>();
                assert!(rest.is_empty());
                let corner = |[id, x, y]: &[&str; 3]| Corner {
                    id: id.parse().unwrap(),
                    pixel: [x, y].map(|at| at.parse().unwrap()),
                };
                corners.iter().map(corner).collect()
            }
        };
        for Corner { id, pixel: [x, y] } in &corners {
            let _ = writeln!(found, "{camera} {moment} {id} {x} {y}");
        }
        views.push(View { camera, moment, corners });
    }
    std::fs::write(folder.join("corners.txt"), found).unwrap();
    write_solution(&folder, &cameras, &calibrate(boards, &cameras, 0, &views).unwrap());
}

/// Writes the cameras with their poses: their size, lens, matrix by rows, deviations in metres and radians, error in pixels.
fn write_solution(folder: &Path, cameras: &[UncalibratedCamera], solution: &Solution) {
    let line = |(camera, solved): (&UncalibratedCamera, &SolvedPose)| {
        let Intrinsics { width, height, ppx, ppy, fx, fy, coefficients, .. } = camera.intrinsics;
        let (meters, radians) = solved.deviation();
        let numbers = [fx, fy, ppx, ppy].into_iter().chain(coefficients).map(f64::from);
        let matrix = solved.pose.matrix();
        let numbers = numbers.chain(matrix.as_flattened().iter().copied());
        let numbers = numbers.chain([meters, radians, solved.error_pixels]).map(|number| number.to_string());
        format!("{width} {height} {}\n", numbers.collect::<Vec<_>>().join(" "))
    };
    let lines: String = cameras.iter().zip(&solution.cameras).map(line).collect();
    std::fs::write(folder.join("poses.txt"), lines).unwrap();
}

fn write_gray(folder: &Path, name: &str, gray: &[u8]) {
    let mut file = b"P5\n848 480\n255\n".to_vec();
    file.extend_from_slice(gray);
    std::fs::write(folder.join(format!("{name}.pgm")), file).unwrap();
}

fn write_pictures(folder: &Path, board: &Board) {
    std::fs::create_dir(folder).unwrap();
    let (print, detector) = (Print::new(board), Detector::new(std::slice::from_ref(board)).unwrap());
    // A model that OpenCV has.
    let optics = Intrinsics { distortion: Distortion::BrownConrady, ..intrinsics(0) };
    let (lens, painter) = (crate::lens::Lens::new(&optics).unwrap(), Painter::new(optics));
    let camera = Frame::looking([0.0; 3], [0.0, 0.0, 1.0], 0.0);
    let mut random = fastrand::Rng::with_seed(11);
    let mut lines = format!(
        "{} {} {} {} {} {}\n",
        optics.fx,
        optics.fy,
        optics.ppx,
        optics.ppy,
        optics.coefficients.map(|it| it.to_string()).join(" "),
        board.measured_millimeters().1
    );
    for number in 0..20 {
        let shown = shown(board, 0.0, &mut random);
        let gray = painter.draw(&print, [&camera, &shown], 1.0, USUAL, number);
        write_gray(folder, &number.to_string(), &gray);
        let corners = detector.detect(&gray, 848);
        let sights: Vec<_> = corners
            .iter()
            .map(|corner| crate::board_pose::Sight {
                point: board.corner_meters(corner.id).map(|[x, y]| nalgebra::Point3::new(x, y, 0.0)).unwrap(),
                pixel: corner.pixel.into(),
            })
            .collect();
        // An empty line where nothing was found.
        let pose = crate::board_pose::board_pose(&lens, &sights).map(|found| Pose::from(found.pose).matrix());
        let matrix = pose.iter().flatten().flatten().map(f64::to_string).collect::<Vec<_>>().join(" ");
        let corners =
            corners.iter().map(|corner| format!("{} {} {}", corner.id, corner.pixel[0], corner.pixel[1]));
        lines.extend([matrix, "\n".to_owned(), corners.collect::<Vec<_>>().join(" "), "\n".to_owned()]);
    }
    std::fs::write(folder.join("found.txt"), lines).unwrap();
    std::fs::write(folder.join("board.svg"), crate::Sheet::new(board).to_svg()).unwrap();
}
