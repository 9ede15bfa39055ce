//! `calibrate` of a recording.

use std::path::Path;

use camrig_calib::{Board, Detector, Seen};
use camrig_record::OpenRecording;
use indicatif::{ProgressBar, ProgressStyle};

use super::CommandError;
use super::args::CalibrateArgs;
use super::pictures::{Source, UsableCamera, looked_at, recorded_depth, sources};
use super::solve::{Found, check_count, root, solve};

/// The default of `--moments`.
const MOMENTS: u32 = 60;

/// Calibrates the cameras of a recording; returns the text to print.
pub(super) fn calibrate(args: &CalibrateArgs, path: &Path) -> Result<String, CommandError> {
    if args.time.is_some() {
        return Err(CommandError::Data("`--for` is of a live capture, and this is a recording".to_owned()));
    }
    let boards = args.boards()?;
    let recording = OpenRecording::open(path).map_err(|error| CommandError::Read(error.to_string()))?;
    let (sources, cameras) = sources(&recording, &args.cameras)?;
    check_count(cameras.len())?;
    let names = cameras.iter().map(|camera| &*camera.identity.name);
    let root = root(names, args.root.as_deref())?;
    let (seen, numbers) = look(&recording, &sources, &cameras, &boards)?;
    let depth = |picture: usize, expected: &dyn Fn(&_) -> _| {
        recording.read(numbers[picture]).map(|frames| recorded_depth(&frames, expected)).unwrap_or_default()
    };
    let found = Found {
        boards: &boards,
        cameras,
        root,
        seen: &seen,
        nanos: recording.range().start,
        refines: args.refine_intrinsics,
    };
    let solved = solve(found, args.moments.unwrap_or(MOMENTS) as usize, &args.output, depth);
    let solved = solved.map_err(|error| error.about(&format!("`{}`", path.display())));
    solved.map(|(calibration, summary)| args.shown(&calibration, summary))
}

/// Looks for the boards in pictures of a recording. Returns where it was found, with the frameset's number of each.
fn look(
    recording: &OpenRecording,
    sources: &[Source],
    cameras: &[UsableCamera],
    boards: &[Board],
) -> Result<(Vec<Seen>, Vec<usize>), CommandError> {
    let detector = Detector::new(boards).map_err(|error| CommandError::Data(error.to_string()))?;
    let pictures = looked_at(recording, sources).map_err(|error| CommandError::Read(error.to_string()))?;
    let bar = bar(pictures.len() as u64);
    let (mut seen, mut numbers) = (Vec::new(), Vec::new());
    for (number, source) in pictures {
        let Source { camera, matcher, .. } = sources[source];
        bar.inc(1);
        // A damaged frameset is skipped.
        let Ok(frames) = recording.read(number) else { continue };
        let Some((gray, width)) = cameras[camera].recorded_gray(&frames) else { continue };
        let corners = detector.detect(&gray, width);
        if !corners.is_empty() {
            let (nanos, matched) = (frames.arrived_nanos(), matcher.zip(frames.header().matched));
            seen.push(Seen { camera, nanos, matched, corners });
            numbers.push(number);
        }
    }
    bar.finish_and_clear();
    Ok((seen, numbers))
}

/// Returns a progress bar of this many pictures, which is shown on terminals only.
fn bar(pictures: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("looking for the board {wide_bar} {pos}/{len} {eta}");
    ProgressBar::new(pictures).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
