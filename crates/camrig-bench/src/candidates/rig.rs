//! *camrig*, through its public API alone: an [`App`] with a driver and a processor of the benchmark, run like a user's
//! program with a topology file and a report.
//!
//! # Timestamps
//!
//! The time at which a frameset is passed to camrig is in a third frame of eight bytes, after color and depth. Where
//! the output copies frames that the driver owns, it reads that frame's pixels last, after the copies, and the time is
//! taken at that moment. Where the driver itself copies or generates, it writes the time last. The frameset's arrival
//! time is taken before any copy.
//!
//! The topology is written per measurement; the task of a process has the driver's and processor's other settings.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use camrig::frame::{
    CameraInfo, Clock, FrameHeader, PixelFormat, Stream, StreamInfo, StreamProfile, Timestamp,
};
use camrig::prelude::*;
use camrig::{FrameHeaders, HeldFrames, monotonic_nanos};
use rustix::process::{Signal, getpid, kill_process};
use serde::Deserialize;

use crate::Fallible;
use crate::candidate::Candidate;
use crate::load::{FRAMES_PER_SECOND, QUEUE, Size};
use crate::message::Message;
use crate::meter::{Meter, ProducerMeter};
use crate::task::{Task, on_end_of_input};
use crate::work::{FrameRing, Pacer, Stamped, copy, generate, read};

const DRIVER: &str = "bench";
const KIND: &str = "bench-reader";
const PASS_ON: &str = "bench-pass-on";

/// Index of the timestamp's frame in a frameset.
const STAMP: usize = 2;
const STAMP_BYTES: usize = 8;

/// Writes the topology of a measurement into `folder`, and returns the program's arguments for it.
pub(crate) fn prepare(task: &Task, folder: &Path) -> Fallible<Vec<String>> {
    let multi_process = !task.candidate.is_one_process();
    let placement = if multi_process { "multi-process" } else { "in-process" };
    let overflow = if task.load.is_paced() { "drop-oldest" } else { "block" };
    let thread = match task.candidate {
        Candidate::CamrigOneThread => "thread = \"all\"\n",
        _ => "",
    };
    let mut text = format!("placement = \"{placement}\"\n");
    for camera in 0..task.load.cameras {
        writeln!(text, "\n[camera.c{camera}]\ndriver = \"{DRIVER}\"\noptions = {{ camera = {camera} }}")?;
        text.push_str(thread);
        if let Some(slots) = task.slots {
            writeln!(text, "slots = {slots}")?;
        }
        if multi_process {
            writeln!(text, "process = \"p{}\"", camera / task.load.cameras_per_process())?;
        }
    }
    let cameras: Vec<String> = (0..task.load.cameras).map(|camera| format!("\"c{camera}\"")).collect();
    let mut inputs = cameras.join(", ");
    if task.candidate == Candidate::CamrigPassedOn {
        writeln!(text, "\n[processor.between]\nkind = \"{PASS_ON}\"\ninputs = [{inputs}]")?;
        writeln!(text, "overflow = \"{overflow}\"\nqueue = {QUEUE}")?;
        // Passing on within a process copies nothing; to another one it takes a copy.
        text.push_str("process = \"reader0\"\n");
        "\"between\"".clone_into(&mut inputs);
    }
    for reader in 0..task.load.readers {
        writeln!(text, "\n[processor.reader{reader}]\nkind = \"{KIND}\"\ninputs = [{inputs}]")?;
        writeln!(text, "overflow = \"{overflow}\"\nqueue = {QUEUE}\noptions = {{ reader = {reader} }}")?;
        text.push_str(thread);
    }
    let topology = folder.join("topology.toml");
    std::fs::write(&topology, text)?;
    let path = |path: PathBuf| path.to_string_lossy().into_owned();
    Ok(vec!["run".to_owned(), path(topology), "--report".to_owned(), path(folder.join("report.json"))])
}

/// Returns the number of dropped framesets in camrig's own report, over the whole run.
pub(crate) fn reported_drops(folder: &Path) -> Fallible<u64> {
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("report.json"))?)?;
    let links = report["links"].as_array().ok_or("the report has no links")?;
    let dropped = links.iter().filter_map(|link| link["dropped"].as_object()).flat_map(|map| map.values());
    Ok(dropped.filter_map(serde_json::Value::as_u64).sum())
}

/// Runs the camrig program, as the supervisor or a worker.
pub(super) fn run(task: &Task) -> ExitCode {
    // Workers have no standard input, and end with their supervisor.
    if std::env::args().nth(1).is_some_and(|command| command == "run") {
        on_end_of_input(|| {
            // Like Ctrl-C. A process can always signal itself.
            let _ = kill_process(getpid(), Signal::TERM);
        });
    }
    let task = task.clone();
    // Only the first reader has a meter: the measurement is the same for any number of readers.
    let reader = move |ReaderOptions { reader }| {
        Ok(Reader { meter: (reader == 0).then(|| Meter::new(&task)), announced: false })
    };
    App::new()
        .driver::<BenchDriver>(DRIVER)
        .processor(KIND, reader)
        .processor(PASS_ON, |_: NoOptions| Ok(PassOn))
        .main()
}

/// A processor that passes each frameset on.
struct PassOn;

impl Processor for PassOn {
    fn process(&mut self, frames: &FrameSet, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        Ok(output.forward(frames)?)
    }
}

/// A camera whose framesets cost nothing beyond the common work.
struct BenchDriver {
    task: Task,
    camera: usize,
    ring: Option<Arc<FrameRing>>,
    pacer: Pacer,
    account: ProducerMeter,
    sequence: u64,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "camrig::schemars")]
#[serde(deny_unknown_fields)]
struct DriverOptions {
    camera: usize,
}

impl Driver for BenchDriver {
    type Options = DriverOptions;

    fn open(_: &str, options: DriverOptions) -> Result<Self, DriverError> {
        let task = Task::of_this_process().ok_or_else(|| DriverError::new("this process has no task"))?;
        let camera = options.camera;
        let ring = task.candidate.has_ring().then(|| Arc::new(FrameRing::new(task.load.size, camera)));
        let (pacer, account) = (Pacer::new(task.load, camera), ProducerMeter::new(&task, camera));
        Ok(Self { task, camera, ring, pacer, account, sequence: 0 })
    }

    fn info(&self) -> CameraInfo {
        let Size { width, height } = self.task.load.size;
        let stream = |stream, format, width, height| {
            let profile = StreamProfile::new(width, height, FRAMES_PER_SECOND);
            let profile = profile.expect("loads are within the limits of profiles");
            StreamInfo::image(stream, format, profile)
        };
        CameraInfo {
            // The reader identifies cameras by their number.
            serial: self.camera.to_string(),
            streams: vec![
                stream(Stream::COLOR, PixelFormat::Rgb8, width, height),
                stream(Stream::DEPTH, PixelFormat::Z16, width, height),
                stream(Stream::INFRARED_1, PixelFormat::Y8, STAMP_BYTES as u32, 1),
            ],
            ..CameraInfo::default()
        }
    }

    fn capture(&mut self, output: &mut CameraOutput, _: Duration) -> Result<Captured, DriverError> {
        self.pacer.wait();
        let begun = monotonic_nanos();
        let headers = headers(self.task.load.size, self.sequence, begun);
        let candidate = self.task.candidate;
        match &self.ring {
            Some(ring) if !matches!(candidate, Candidate::CamrigInProcess | Candidate::CamrigOneThread) => {
                let (size, sequence) = (self.task.load.size, self.sequence);
                let held = HeldInRing { ring: Arc::clone(ring), size, sequence, handed: OnceLock::new() };
                if candidate == Candidate::CamrigInProcessHeld {
                    // Nothing is copied: the frameset is passed on now.
                    held.pixels(STAMP);
                }
                output.publish_held(begun, headers, Box::new(held)).map_err(refused)?;
            }
            ring => {
                if let Some(mut loan) = output.loan(begun, headers).map_err(refused)? {
                    if let Some(ring) = ring {
                        let (color, depth) = planes(ring.frameset(self.sequence), self.task.load.size);
                        copy(color, loan.frame_mut(0));
                        copy(depth, loan.frame_mut(1));
                    } else {
                        generate(loan.frame_mut(0), self.sequence);
                        generate(loan.frame_mut(1), self.sequence);
                    }
                    loan.frame_mut(STAMP).copy_from_slice(&monotonic_nanos().to_ne_bytes());
                    output.publish(loan);
                }
            }
        }
        self.account.record(begun);
        self.sequence += 1;
        Ok(Captured::FrameSet)
    }
}

#[allow(clippy::needless_pass_by_value)] // For `map_err`.
fn refused(error: camrig::OutputError) -> DriverError {
    DriverError::new(error.to_string())
}

fn planes(frameset: &[u8], size: Size) -> (&[u8], &[u8]) {
    frameset.split_at(size.color_bytes())
}

fn headers(size: Size, number: u64, nanos: u64) -> FrameHeaders {
    let header = |stream, format: PixelFormat, width, height| FrameHeader {
        number,
        timestamp: Timestamp { clock: Clock::System, nanos },
        ..FrameHeader::image(stream, format, width, height)
    };
    [
        header(Stream::COLOR, PixelFormat::Rgb8, size.width, size.height),
        header(Stream::DEPTH, PixelFormat::Z16, size.width, size.height),
        header(Stream::INFRARED_1, PixelFormat::Y8, STAMP_BYTES as u32, 1),
    ]
    .into_iter()
    .collect()
}

/// A frameset in the library's buffers.
struct HeldInRing {
    ring: Arc<FrameRing>,
    size: Size,
    sequence: u64,
    handed: OnceLock<[u8; STAMP_BYTES]>,
}

impl HeldFrames for HeldInRing {
    fn pixels(&self, index: usize) -> &[u8] {
        let (color, depth) = planes(self.ring.frameset(self.sequence), self.size);
        match index {
            0 => color,
            1 => depth,
            _ => self.handed.get_or_init(|| monotonic_nanos().to_ne_bytes()),
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "camrig::schemars")]
#[serde(deny_unknown_fields)]
struct ReaderOptions {
    reader: usize,
}

/// The processor: records each frameset and reads its pixels.
struct Reader {
    meter: Option<Meter>,
    /// Whether a reader without a meter has announced itself.
    announced: bool,
}

impl Processor for Reader {
    fn process(&mut self, frames: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        let camera = frames.info().serial.parse()?;
        let stamp = frames.frame(Stream::INFRARED_1).ok_or("the frameset has no timestamp frame")?;
        let handed_nanos = u64::from_ne_bytes(stamp.bytes().try_into()?);
        // The number of the camera: a processor that passes framesets on counts those of all cameras together.
        let (sequence, begun_nanos) = (stamp.header().number, frames.arrival_nanos());
        if let Some(meter) = &mut self.meter {
            meter.record(&Stamped { camera, sequence, begun_nanos, handed_nanos });
        } else if !self.announced {
            Message::OtherReader { process: std::process::id() }.send();
            self.announced = true;
        }
        frames.frames().take(STAMP).for_each(|frame| read(frame.bytes()));
        Ok(())
    }

    fn finish(&mut self, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        self.meter.take().into_iter().for_each(Meter::finish);
        Ok(())
    }
}
