//! Computes the calibration of a rig from the pictures in which its board was found, and writes the file.

use std::fmt::Write as _;
use std::path::Path;

use camrig::console::print_warning;
use camrig::frame::StreamInfo;
use camrig_calib::{
    Board, LensCheck, Pose, RigCalibration, Scale, Seen, Solution, SolveError, UncalibratedCamera, View,
    choose_moments, expected_depth, view_depth,
};

use super::pictures::{Expected, UsableCamera};
use super::{CommandError, index_of, write};

/// The pictures of a rig in which boards were found.
pub(super) struct Found<'a> {
    pub(super) boards: &'a [Board],
    pub(super) cameras: Vec<UsableCamera>,
    /// The index of the root.
    pub(super) root: usize,
    pub(super) seen: &'a [Seen],
    /// When the pictures were taken, in nanoseconds since 1970.
    pub(super) nanos: u64,
    /// Whether intrinsics are refined.
    pub(super) refines: bool,
}

/// Finds the poses from at most `moments` moments, and writes them to `output`. `depth` returns the distances that the
/// depth image beside the picture of this index has, with those that are expected. Returns the calibration, and a summary
/// for people.
pub(super) fn solve(
    found: Found<'_>,
    moments: usize,
    output: &Path,
    depth: impl Fn(usize, &dyn Fn(&StreamInfo) -> Expected) -> Vec<(f64, f64)>,
) -> Result<(RigCalibration, String), UnsolvedError> {
    let Found { boards, mut cameras, root, seen, nanos, refines } = found;
    let chosen = choose_moments(seen, moments);
    let used = used(seen, &chosen, cameras.len());
    let view = |&(moment, picture): &(usize, usize)| View {
        camera: seen[picture].camera,
        moment,
        corners: seen[picture].corners.clone(),
    };
    let views: Vec<_> = used.iter().map(view).collect();
    let uncalibrated = cameras.iter().map(|camera| UncalibratedCamera {
        name: camera.identity.name.clone(),
        intrinsics: camera.identity.intrinsics,
    });
    let calibrate = if refines { camrig_calib::calibrate_lenses } else { camrig_calib::calibrate };
    let solution = calibrate(boards, &uncalibrated.collect::<Vec<_>>(), root, &views)?;
    let measured = used.into_iter().map(|(moment, picture)| (moment, seen[picture].camera, picture));
    let scale = scale(&mut cameras, boards, &solution, seen, measured, depth);
    let identities: Vec<_> = cameras.into_iter().map(|camera| camera.identity).collect();
    let calibration = RigCalibration::new(boards, &identities, root, &solution, scale, date(nanos));
    write(output, calibration.to_toml().as_bytes())?;
    if let Some(scale) = scale.filter(Scale::is_wrong) {
        print_warning(wrong_scale(boards, scale));
    }
    if let Some(scale) = scale.filter(Scale::is_off_plane) {
        print_warning(format_args!(
            "depth at the board is {:.1} % of its distance off its plane: the board is bent, or the calibration of depth is wrong",
            scale.off_plane * 100.0
        ));
    }
    for (identity, found) in identities.iter().zip(&solution.cameras) {
        if let Some(lens) = found.lens.filter(|lens| lens.is_wrong() && !refines) {
            print_warning(wrong_lens(&identity.name, lens));
        }
    }
    let summary = summary(&calibration, &solution, scale, output);
    Ok((calibration, summary))
}

/// Returns the pictures of moments, each with the number of its moment; and one of each camera that is in none, as a moment of
/// its own, so that a camera that saw the board alone is not named as one that did not see it.
fn used(seen: &[Seen], moments: &[Vec<usize>], cameras: usize) -> Vec<(usize, usize)> {
    let of_moment = |(moment, pictures): (usize, &Vec<usize>)| {
        pictures.iter().map(|&picture| (moment, picture)).collect::<Vec<_>>()
    };
    let mut used: Vec<_> = moments.iter().enumerate().flat_map(of_moment).collect();
    for camera in 0..cameras {
        if used.iter().all(|(_, picture)| seen[*picture].camera != camera) {
            let own = (0..seen.len()).filter(|&picture| seen[picture].camera == camera);
            let best = own.max_by_key(|&picture| seen[picture].corners.len());
            used.extend(best.map(|picture| (moments.len() + camera, picture)));
        }
    }
    used
}

/// The reason why there is no calibration.
pub(super) enum UnsolvedError {
    Views(SolveError),
    Command(CommandError),
}

impl From<SolveError> for UnsolvedError {
    fn from(error: SolveError) -> Self {
        Self::Views(error)
    }
}

impl From<CommandError> for UnsolvedError {
    fn from(error: CommandError) -> Self {
        Self::Command(error)
    }
}

impl UnsolvedError {
    /// Returns the error of a command about this subject.
    pub(super) fn about(self, subject: &str) -> CommandError {
        match self {
            Self::Views(error) => CommandError::Data(format!("{subject}: {error}")),
            Self::Command(error) => error,
        }
    }
}

/// Checks that there are enough cameras to relate to each other.
pub(super) fn check_count(cameras: usize) -> Result<(), CommandError> {
    if cameras < 2 { Err(CommandError::Data(SolveError::Cameras(cameras).to_string())) } else { Ok(()) }
}

/// Returns the index of the root among cameras with these names: the first, if none is named.
pub(super) fn root<'a>(
    names: impl Iterator<Item = &'a str> + Clone,
    wanted: Option<&str>,
) -> Result<usize, CommandError> {
    wanted.map_or(Ok(0), |wanted| index_of(names, wanted))
}

/// Compares depth with the boards: of each moment, camera and picture.
fn scale(
    cameras: &mut [UsableCamera],
    boards: &[Board],
    solution: &Solution,
    seen: &[Seen],
    measured: impl Iterator<Item = (usize, usize, usize)>,
    depth: impl Fn(usize, &dyn Fn(&StreamInfo) -> Expected) -> Vec<(f64, f64)>,
) -> Option<Scale> {
    let mut of_cameras = vec![Vec::new(); cameras.len()];
    for (moment, camera, picture) in measured {
        for (index, board) in boards.iter().enumerate() {
            // Another camera may see a board of which this one sees the back.
            let is_seen = seen[picture].corners.iter().any(|corner| corner.board() == index);
            let Some(shown) = solution.boards.get(&(moment, index)).filter(|_| is_seen) else { continue };
            let to_stream = solution.cameras[camera].pose.inverse().after(shown);
            let to_depth = cameras[camera].identity.stream_to_camera.after(&to_stream);
            let expected = |depth: &StreamInfo| {
                depth.intrinsics.map(|optics| expected_depth(board, &to_depth, &optics)).unwrap_or_default()
            };
            of_cameras[camera].extend(view_depth(board, &depth(picture, &expected)));
        }
    }
    for (camera, depths) in cameras.iter_mut().zip(&of_cameras) {
        camera.identity.depth_ratio = Scale::new(depths).map(|scale| scale.ratio);
    }
    Scale::new(&of_cameras.concat())
}

/// Formats nanoseconds since 1970 as a date.
fn date(nanos: u64) -> String {
    let seconds = i64::try_from(nanos / 1_000_000_000).unwrap_or_default();
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

fn wrong_scale(boards: &[Board], scale: Scale) -> String {
    let [board] = boards else {
        return format!(
            "depth says that the boards are {:.1} % of their sizes (+-{:.1} %, {} views): measure them",
            scale.ratio * 100.0,
            scale.deviation * 100.0,
            scale.views,
        );
    };
    let (parts, width) = board.measured_millimeters();
    format!(
        "depth says that the board is {:.1} % of its size (+-{:.1} %, {} views): measure it; {parts} of {:.2} mm instead of \
         {width} would agree",
        scale.ratio * 100.0,
        scale.deviation * 100.0,
        scale.views,
        width * scale.ratio,
    )
}

fn wrong_lens(camera: &str, lens: LensCheck) -> String {
    format!(
        "camera `{camera}`: the board fits another lens than that of its calibration: a focal length of {:.1} % (+-{:.1} %), and a \
         center {:.1} pixels aside (+-{:.1}); `--refine-intrinsics` uses it",
        lens.focal_ratio * 100.0,
        lens.focal_deviation * 100.0,
        lens.center_pixels,
        lens.center_deviation,
    )
}

fn summary(calibration: &RigCalibration, solution: &Solution, scale: Option<Scale>, output: &Path) -> String {
    let mut text = format!("{}: {} moments", output.display(), calibration.moments);
    if solution.unfit_views > 0 {
        let _ = write!(text, ", {} views left out that do not fit the others", solution.unfit_views);
    }
    let _ = writeln!(text, "; errors of {:.2} pixels", calibration.error_pixels);
    for (name, camera) in &calibration.camera {
        let [x, y, z] = camera.translation_meters;
        let (_, radians) = Pose { translation_meters: [0.0; 3], ..camera.pose() }.size();
        let known = if *name == calibration.root {
            "the root".to_owned()
        } else {
            format!(
                "at {x:.3} {y:.3} {z:.3} m, turned by {:.1} degrees; known to {:.1} mm and {:.2} degrees",
                radians.to_degrees(),
                camera.deviation_millimeters,
                camera.deviation_degrees,
            )
        };
        let _ = writeln!(
            text,
            "{name}: {known}; {} views, {} corners, {} false, errors of {:.2} pixels",
            camera.views, camera.corners, camera.false_corners, camera.error_pixels
        );
    }
    if let Some(scale) = scale {
        let _ = writeln!(
            text,
            "depth: {:.1} % of the distance that follows from the board (+-{:.1} %, {} views), {:.1} % off its plane",
            scale.ratio * 100.0,
            scale.deviation * 100.0,
            scale.views,
            scale.off_plane * 100.0
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use camrig_calib::Corner;

    use super::*;

    #[test]
    fn a_camera_that_saw_the_board_alone_is_not_left_out() {
        let picture = |camera, corners| Seen {
            camera,
            nanos: 0,
            matched: None,
            corners: vec![Corner { id: 0, pixel: [0.0; 2] }; corners],
        };
        let seen = [picture(0, 9), picture(1, 9), picture(2, 5), picture(2, 9), picture(2, 7), picture(0, 9)];
        let moments = [vec![0, 1], vec![1, 5]];
        assert_eq!(used(&seen, &moments, 4), [(0, 0), (0, 1), (1, 1), (1, 5), (4, 3)]);
    }
}
