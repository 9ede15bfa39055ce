//! `calibrate`: the poses of the cameras of a recording.

use std::fmt::Write as _;
use std::path::PathBuf;

use camrig::clap;
use camrig::console::print_warning;
use camrig_calib::{
    Board, Detector, Pose, RigCalibration, Scale, Seen, Solution, UncalibratedCamera, View, choose_moments,
    expected_depth, view_ratio,
};
use camrig_record::OpenRecording;
use indicatif::{ProgressBar, ProgressStyle};

use super::pictures::{UsableCamera, depth, looked_at, sources};
use super::{CommandError, read, write};

#[derive(Debug, clap::Args)]
pub(super) struct CalibrateArgs {
    /// A recording of cameras to which a board was shown
    recording: PathBuf,
    /// The board's description, as `board` wrote it
    #[arg(long, value_name = "FILE")]
    board: PathBuf,
    /// The file to write
    #[arg(short, long, value_name = "FILE", default_value = "rig.calib.toml")]
    output: PathBuf,
    /// The camera whose coordinates all poses lead to; by default the first by name
    #[arg(long, value_name = "CAMERA")]
    root: Option<String>,
    /// Use at most this many moments at which several cameras saw the board
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1000))]
    moments: u32,
}

pub(super) fn calibrate(args: &CalibrateArgs) -> Result<String, CommandError> {
    let board = Board::from_toml(&read(&args.board)?).map_err(|error| {
        CommandError::Data(format!("`{}` describes no board: {error}", args.board.display()))
    })?;
    let recording =
        OpenRecording::open(&args.recording).map_err(|error| CommandError::Read(error.to_string()))?;
    let mut sources = sources(&recording);
    let root = root(&sources, args)?;
    let (seen, numbers) = look(&recording, &sources, &board)?;
    let chosen = choose_moments(&seen, args.moments as usize);
    let views: Vec<_> = chosen
        .iter()
        .enumerate()
        .flat_map(|(moment, pictures)| pictures.iter().map(move |&picture| (moment, picture)))
        .map(|(moment, picture)| View {
            camera: seen[picture].camera,
            moment,
            corners: seen[picture].corners.clone(),
        })
        .collect();
    let cameras: Vec<_> = sources
        .iter()
        .map(|source| UncalibratedCamera {
            name: source.identity.name.clone(),
            intrinsics: source.identity.intrinsics,
        })
        .collect();
    let solution = camrig_calib::calibrate(&board, &cameras, root, &views)
        .map_err(|error| CommandError::Data(format!("`{}`: {error}", args.recording.display())))?;
    let measured = chosen
        .iter()
        .enumerate()
        .flat_map(|(moment, pictures)| pictures.iter().map(move |&picture| (moment, picture)));
    let measured = measured.map(|(moment, picture)| (moment, seen[picture].camera, numbers[picture]));
    let scale = scale(&recording, &mut sources, &board, &solution, measured);
    let identities: Vec<_> = sources.into_iter().map(|source| source.identity).collect();
    let date = date(recording.range().start);
    let calibration = RigCalibration::new(&board, &identities, root, &solution, scale, date);
    write(&args.output, calibration.to_toml().as_bytes())?;
    if let Some(scale) = scale.filter(Scale::is_wrong) {
        print_warning(wrong_scale(&board, scale));
    }
    Ok(summary(&calibration, &solution, scale, args))
}

/// Returns the index of the root.
fn root(sources: &[UsableCamera], args: &CalibrateArgs) -> Result<usize, CommandError> {
    let Some(name) = &args.root else { return Ok(0) };
    sources.iter().position(|source| source.identity.name == *name).ok_or_else(|| {
        let names: Vec<_> = sources.iter().map(|source| format!("`{}`", source.identity.name)).collect();
        CommandError::Data(format!(
            "no camera `{name}` with images is recorded; expected one of: {}",
            names.join(", ")
        ))
    })
}

/// Looks for the board in pictures of a recording. Returns where it was found, with the frameset's number of each.
fn look(
    recording: &OpenRecording,
    sources: &[UsableCamera],
    board: &Board,
) -> Result<(Vec<Seen>, Vec<usize>), CommandError> {
    let detector = Detector::new(board).map_err(|error| CommandError::Data(error.to_string()))?;
    let pictures = looked_at(recording, sources);
    let bar = bar(pictures.len() as u64);
    let (mut seen, mut numbers) = (Vec::new(), Vec::new());
    for (number, camera) in pictures {
        bar.inc(1);
        // A damaged frameset is one picture less.
        let Ok(frames) = recording.read(number) else { continue };
        let Some((gray, width)) = sources[camera].gray(&frames) else { continue };
        let corners = quietly(|| detector.detect(&gray, width));
        if !corners.is_empty() {
            let (nanos, matched) = (frames.arrived_nanos(), frames.header().matched);
            seen.push(Seen { camera, nanos, matched, corners });
            numbers.push(number);
        }
    }
    bar.finish_and_clear();
    Ok((seen, numbers))
}

/// Calls the detector without its log: it warns of each picture that shows no board.
fn quietly<T>(detect: impl FnOnce() -> T) -> T {
    let level = log::max_level();
    log::set_max_level(log::LevelFilter::Off);
    let found = detect();
    log::set_max_level(level);
    found
}

/// Returns a progress bar of this many pictures, which is shown on terminals only.
fn bar(pictures: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("looking for the board {wide_bar} {pos}/{len} {eta}");
    ProgressBar::new(pictures).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Compares depth with the board: of each moment, camera and number of a frameset.
fn scale(
    recording: &OpenRecording,
    sources: &mut [UsableCamera],
    board: &Board,
    solution: &Solution,
    measured: impl Iterator<Item = (usize, usize, usize)>,
) -> Option<Scale> {
    let mut of_cameras = vec![Vec::new(); sources.len()];
    for (moment, camera, number) in measured {
        let (Some(shown), Ok(frames)) = (solution.boards.get(&moment), recording.read(number)) else {
            continue;
        };
        let to_stream = solution.cameras[camera].pose.inverse().after(shown);
        let to_depth = sources[camera].identity.stream_to_camera.after(&to_stream);
        let pairs = depth(&frames, |depth| {
            depth.intrinsics.map(|optics| expected_depth(board, &to_depth, &optics)).unwrap_or_default()
        });
        of_cameras[camera].extend(view_ratio(board, &pairs));
    }
    for (source, ratios) in sources.iter_mut().zip(&of_cameras) {
        source.identity.depth_ratio = Scale::new(ratios).map(|scale| scale.ratio);
    }
    Scale::new(&of_cameras.concat())
}

/// Formats nanoseconds since 1970 as a date.
fn date(nanos: u64) -> String {
    let seconds = i64::try_from(nanos / 1_000_000_000).unwrap_or_default();
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

fn wrong_scale(board: &Board, scale: Scale) -> String {
    let square = board.square_millimeters();
    format!(
        "depth says that the board is {:.1} % of its size (+-{:.1} %, {} views): measure it; squares of {:.2} mm instead of \
         {square} would agree",
        scale.ratio * 100.0,
        scale.deviation * 100.0,
        scale.views,
        square * scale.ratio,
    )
}

fn summary(
    calibration: &RigCalibration,
    solution: &Solution,
    scale: Option<Scale>,
    args: &CalibrateArgs,
) -> String {
    let mut text = format!("{}: {} moments", args.output.display(), calibration.moments);
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
            "depth: {:.1} % of what follows from the board (+-{:.1} %, {} views)",
            scale.ratio * 100.0,
            scale.deviation * 100.0,
            scale.views
        );
    }
    text
}
