//! `calibrate` of a running rig: views are taken by themselves, while the board is shown to its cameras.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use camrig::console::{print_note, print_stderr};
use camrig::frame::{Frame, FrameHeader, StreamInfo};
use camrig::schemars::JsonSchema;
use camrig::status::socket;
use camrig::{
    Attached, FrameSet, Joining, Processor, ProcessorError, ProcessorOutput, Registry, Rig, RunningRig,
    hand_over_command, monotonic_nanos, take_signals,
};
use camrig_calib::{Board, BoardState, Capture, CaptureStatus, Detector, Seen};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;

use super::CommandError;
use super::args::CalibrateArgs;
use super::pictures::{Expected, UsableCamera, depth_stream, gray, measured};
use super::solve::{Found, check_count, root, solve};

/// The default of `--moments`.
const MOMENTS: u32 = 30;
/// Minimum time between two pictures of a camera that are examined, in nanoseconds.
const INTERVAL_NANOS: u64 = 150_000_000;
/// Interval at which the state of the capture is checked.
const LOOK: Duration = Duration::from_millis(200);
/// Maximum number of depth images of a camera that are kept, to check the scale.
const DEPTHS: usize = 15;
/// The share of an image that must be covered.
const COVERED: f64 = 0.6;

/// Calibrates the cameras of a running rig, or of a topology, which runs meanwhile; returns the text to print.
pub(super) fn calibrate(
    args: &CalibrateArgs,
    topology: Option<&Path>,
    registry: &Registry,
) -> Result<String, CommandError> {
    let boards = args.boards()?;
    // Boards that cannot be told apart are refused before a camera starts.
    Detector::new(&boards).map_err(|error| CommandError::Data(error.to_string()))?;
    let signals = take_signals()
        .map_err(|error| CommandError::Failed(format!("signals cannot be received: {error}")))?;
    let own = topology.map(|path| start(path, registry, &signals)).transpose()?;
    let wanted = args.attach.as_deref().filter(|wanted| !wanted.is_empty());
    let rig = match &own {
        Some(own) => own.socket().to_owned(),
        None => socket::find(wanted).map_err(|error| CommandError::Unavailable(error.to_string()))?,
    };
    let names = cameras(&rig, &args.cameras)?;
    check_count(names.len())?;
    let root = root(names.iter().map(String::as_str), args.root.as_deref())?;
    let most = args.moments.unwrap_or(MOMENTS) as usize;
    let shared = Arc::new(Shared::new(&names, root, most));
    let attached = join(&rig, names, &boards, &shared)?;
    // A time beyond the clock's range has no end.
    let until = args.time.and_then(|time| Instant::now().checked_add(time));
    let mut shown = Shown::new(args.json);
    let ended = loop {
        let signal = signals.recv_timeout(LOOK);
        let (status, is_full, failure) = shared.state();
        shown.show(&status);
        let is_over = until.is_some_and(|until| Instant::now() >= until);
        if is_full || is_over || failure.is_some() || signal != Err(RecvTimeoutError::Timeout) {
            break failure;
        }
        if attached.is_over() {
            break (status.moments == 0).then(|| CommandError::Unavailable("the rig has ended".to_owned()));
        }
    };
    shown.clear();
    // An error means that the rig has ended.
    let _ = attached.leave();
    drop(own);
    if let Some(error) = ended {
        return Err(error);
    }
    let state = shared.lock();
    let Some(cameras) = state.cameras.iter().cloned().collect::<Option<Vec<_>>>() else {
        return Err(CommandError::Data(no_picture(&state)));
    };
    let kept = state.capture.kept();
    let depth = |picture: usize, expected: &dyn Fn(&StreamInfo) -> Expected| {
        kept[picture].as_ref().map(|depth| depth.measured(expected)).unwrap_or_default()
    };
    let nanos =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let (seen, refines) = (state.capture.seen(), args.refine_intrinsics);
    let found = Found { boards: &boards, cameras, root, seen, nanos, refines };
    let (calibration, summary) =
        solve(found, most, &args.output, depth).map_err(|error| error.about("the views do not suffice"))?;
    Ok(args.shown(&calibration, summary))
}

fn no_picture(state: &State) -> String {
    let status = state.capture.status(monotonic_nanos());
    let without = status.cameras.into_iter().zip(&state.cameras).filter(|(_, source)| source.is_none());
    let names: Vec<_> = without.map(|(camera, _)| format!("`{}`", camera.name)).collect();
    format!("no image has arrived from {}", names.join(", "))
}

/// Starts the rig of a topology, and waits until its cameras are ready.
fn start(
    path: &Path,
    registry: &Registry,
    signals: &std::sync::mpsc::Receiver<i32>,
) -> Result<RunningRig, CommandError> {
    let rig = Rig::read(path, registry).map_err(|problems| CommandError::Topology(problems.to_string()))?;
    let running = rig.start().map_err(|error| CommandError::Unavailable(error.to_string()))?;
    while running.status().seconds == 0.0 {
        if signals.try_recv().is_ok() {
            return Err(CommandError::Unavailable("interrupted before the rig was ready".to_owned()));
        }
        if running.wait_timeout(LOOK) {
            let exit = running.wait().exit;
            return Err(CommandError::Unavailable(format!("the rig has ended: {exit}")));
        }
    }
    Ok(running)
}

/// Returns the names of these cameras, or of all that have not ended, sorted.
fn cameras(rig: &str, wanted: &[String]) -> Result<Vec<String>, CommandError> {
    let status = socket::read(rig).map_err(|error| CommandError::Unavailable(error.to_string()))?;
    let cameras = status.cameras().filter(|camera| !camera.state.has_ended());
    let cameras = cameras.map(|camera| camera.plain_name().to_owned());
    let mut names: Vec<_> = cameras.collect();
    names.sort();
    if let Some(unknown) = wanted.iter().find(|name| !names.contains(name)) {
        let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
        let fact = format!("the rig has no camera `{unknown}`; expected one of: {}", names.join(", "));
        return Err(CommandError::Data(fact));
    }
    names.retain(|name| wanted.is_empty() || wanted.contains(name));
    Ok(names)
}

/// Adds the processor that detects the board to the rig.
fn join(
    rig: &str,
    inputs: Vec<String>,
    boards: &[Board],
    shared: &Arc<Shared>,
) -> Result<Attached, CommandError> {
    let command = hand_over_command().map_err(|error| CommandError::Failed(error.to_string()))?;
    let (boards, state) = (boards.to_vec(), Arc::clone(shared));
    let build = move |_: Command| -> Result<Look, ProcessorError> {
        Ok(Look { detector: Detector::new(&boards)?, shared: Arc::clone(&state) })
    };
    let registry = Registry::new().with_processor(Attached::KIND, build);
    let name = format!("calibrate-{}", std::process::id());
    let by = format!("`camrig calibrate` (process {})", std::process::id());
    let settings = vec![("queue".to_owned(), "1".to_owned())];
    let joining = Joining { name, inputs, settings, command, by };
    Attached::join(rig, &registry, joining).map_err(CommandError::Unavailable)
}

/// The options of an attached processor.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(crate = "camrig::schemars")]
#[expect(dead_code, reason = "the supervisor reads it")]
struct Command {
    command: Vec<String>,
}

/// The state that the processor and the command share.
struct Shared(Mutex<State>);

struct State {
    /// The cameras whose first picture has arrived.
    cameras: Vec<Option<UsableCamera>>,
    names: Vec<String>,
    /// The time of the last examined picture of each camera, in nanoseconds.
    looked: Vec<u64>,
    capture: Capture<Option<Arc<Depth>>>,
    failure: Option<String>,
}

/// A depth image beside a picture of the board.
#[derive(Debug)]
struct Depth {
    header: FrameHeader,
    pixels: Vec<u8>,
    info: StreamInfo,
    unit_meters: f32,
}

impl Depth {
    fn of(frames: &FrameSet) -> Option<Arc<Self>> {
        let info = depth_stream(frames.info())?;
        let frame = frames.frame(info.stream)?;
        Some(Arc::new(Self {
            header: *frame.header(),
            pixels: frame.bytes().to_vec(),
            info: *info,
            unit_meters: frames.info().depth_unit_meters,
        }))
    }

    fn measured(&self, expected: impl Fn(&StreamInfo) -> Expected) -> Vec<(f64, f64)> {
        let frame = Frame::new(&self.header, &self.pixels[..]);
        let pairs = frame.map(|frame| measured(frame, self.unit_meters, &self.info, expected(&self.info)));
        pairs.unwrap_or_default()
    }
}

impl Shared {
    fn new(names: &[String], root: usize, most: usize) -> Self {
        Self(Mutex::new(State {
            cameras: names.iter().map(|_| None).collect(),
            names: names.to_vec(),
            looked: vec![0; names.len()],
            capture: Capture::new(names.iter().cloned(), root, most),
            failure: None,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> (CaptureStatus, bool, Option<CommandError>) {
        let state = self.lock();
        let failure = state.failure.clone().map(CommandError::Data);
        (state.capture.status(monotonic_nanos()), state.capture.is_full(), failure)
    }
}

impl State {
    /// Returns the number of the frameset's camera and its description; `None` if the frameset should not be examined.
    fn begin(&mut self, frames: &FrameSet) -> Option<(usize, UsableCamera)> {
        let number = self.names.iter().position(|name| name == frames.camera())?;
        let nanos = frames.arrival_nanos();
        if self.failure.is_some() || nanos < self.looked[number] + INTERVAL_NANOS {
            return None;
        }
        self.looked[number] = nanos;
        let Some(camera) = UsableCamera::new(frames.camera(), frames.info()) else {
            let fact = format!(
                "camera `{}` has no images with known intrinsics; name the others by `--cameras`",
                frames.camera()
            );
            self.failure = Some(fact);
            return None;
        };
        match &self.cameras[number] {
            Some(known) if *known != camera => {
                self.failure = Some(format!("camera `{}` was changed meanwhile", frames.camera()));
                return None;
            }
            _ => self.cameras[number] = Some(camera.clone()),
        }
        Some((number, camera))
    }

    fn wants_depth(&self, camera: usize) -> bool {
        let kept = self.capture.seen().iter().zip(self.capture.kept());
        kept.filter(|(seen, kept)| seen.camera == camera && kept.is_some()).count() < DEPTHS
    }
}

/// Looks for the board in framesets.
struct Look {
    detector: Detector,
    shared: Arc<Shared>,
}

impl Processor for Look {
    fn process(&mut self, frames: &FrameSet, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        let Some((camera, described)) = self.shared.lock().begin(frames) else { return Ok(()) };
        let picture = frames.frame(described.identity.stream).and_then(gray);
        // A frameset without the image, or with one that cannot be decoded, is skipped.
        let Some((gray, width)) = picture else { return Ok(()) };
        let corners = self.detector.detect(&gray, width);
        let mut state = self.shared.lock();
        let depth = (!corners.is_empty() && state.wants_depth(camera)).then(|| Depth::of(frames)).flatten();
        let size = [width as u32, (gray.len() / width.max(1)) as u32];
        let seen = Seen { camera, nanos: frames.arrival_nanos(), matched: None, corners };
        state.capture.look(seen, size, depth);
        output.tell(self::described(&state.capture.status(monotonic_nanos())));
        Ok(())
    }
}

/// The state of the capture as it is shown: several lines that change on a terminal, or a line of JSON at each change, or a
/// line at each moment.
struct Shown {
    json: bool,
    bar: Option<ProgressBar>,
    last: Option<CaptureStatus>,
}

impl Shown {
    fn new(json: bool) -> Self {
        let bar = (!json && std::io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("{msg}");
            ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
        });
        Self { json, bar, last: None }
    }

    fn show(&mut self, status: &CaptureStatus) {
        if self.last.as_ref() == Some(status) {
            return;
        }
        let moments = self.last.as_ref().map_or(0, |last| last.moments);
        if self.json {
            print_note(serde_json::json!({ "capture": status }));
        } else if let Some(bar) = &self.bar {
            bar.set_message(described(status));
            bar.tick();
        } else if status.moments > moments {
            print_stderr(described(status).lines().next().unwrap_or_default());
        }
        self.last = Some(status.clone());
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Describes the state of a capture in lines.
fn described(status: &CaptureStatus) -> String {
    let mut text = format!("{} moments; {}\n", status.moments, advice(status));
    for camera in &status.cameras {
        let sees = match camera.sees {
            BoardState::No => "does not see the board",
            BoardState::Moving => "sees the board move",
            BoardState::Still => "sees the board stand still",
        };
        let (views, covered) = (camera.views, camera.coverage * 100.0);
        let _ = writeln!(text, "{:12} {views:3} views, {covered:3.0} % covered, {sees}", camera.name);
    }
    let links: Vec<_> = status.links.iter().map(|(a, b, moments)| format!("{a}-{b} {moments}")).collect();
    let _ =
        write!(text, "links: {}", if links.is_empty() { "none yet".to_owned() } else { links.join(", ") });
    text
}

/// Returns what to do next.
fn advice(status: &CaptureStatus) -> String {
    if let Some((linked, missing)) = &status.needed {
        return format!("show the board to `{linked}` and `{missing}` at the same time, and hold it still");
    }
    let least = status.cameras.iter().min_by(|a, b| a.coverage.total_cmp(&b.coverage));
    match least.filter(|camera| camera.coverage < COVERED) {
        Some(camera) => format!("show the board in other parts of the image of `{}`", camera.name),
        None => "show the board nearer, farther, and tilted".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use camrig_calib::SeeingCamera;

    use super::*;

    fn status(coverage: [f64; 2], needed: Option<(&str, &str)>) -> CaptureStatus {
        let camera =
            |name: &str, sees, coverage| SeeingCamera { name: name.to_owned(), sees, views: 7, coverage };
        CaptureStatus {
            moments: 7,
            cameras: vec![
                camera("left", BoardState::Still, coverage[0]),
                camera("right", BoardState::No, coverage[1]),
            ],
            links: vec![("left".to_owned(), "right".to_owned(), 7)],
            missing: vec![],
            needed: needed.map(|(a, b)| (a.to_owned(), b.to_owned())),
        }
    }

    #[test]
    fn the_state_is_described_with_the_next_step() {
        assert_eq!(
            described(&status([0.7, 0.3], None)),
            "7 moments; show the board in other parts of the image of `right`\n\
             left           7 views,  70 % covered, sees the board stand still\n\
             right          7 views,  30 % covered, does not see the board\n\
             links: left-right 7"
        );
        assert_eq!(
            advice(&status([0.7, 0.3], Some(("left", "right")))),
            "show the board to `left` and `right` at the same time, and hold it still"
        );
        assert_eq!(advice(&status([0.7, 0.6], None)), "show the board nearer, farther, and tilted");
    }
}
