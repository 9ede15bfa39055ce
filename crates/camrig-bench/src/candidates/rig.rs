//! *camrig*, through its public API alone: an [`App`] with a driver and a processor of ours, run as a
//! user's program is, with a topology file and a report.
//!
//! # Where the stamps are taken
//!
//! The moment of hand-over travels in a third frame of eight bytes, behind color and depth. Where the
//! output copies held frames, it asks for that frame's pixels last, after the copies: the stamp is taken
//! when it asks. Where the driver itself copies or generates, it writes the stamp last. The arrival of the
//! frameset is from before any copy.
//!
//! The topology is written per measurement; what else driver and processor need to know is the task of
//! their process.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use camrig::frame::{
    CameraInfo, Clock, FrameHeader, Metadata, PixelFormat, Stream, StreamInfo, StreamProfile, Timestamp,
};
use camrig::prelude::*;
use camrig::{FrameHeaders, HeldFrames, monotonic_nanos};
use rustix::process::{Signal, getpid, kill_process};
use serde::Deserialize;

use super::Candidate;
use crate::Fallible;
use crate::load::{FRAMES_PER_SECOND, QUEUE, Size};
use crate::message::Message;
use crate::meter::{Account, Meter};
use crate::task::{Task, on_end_of_input};
use crate::work::{Pacer, Source, Stamped, copy, generate, read};

const DRIVER: &str = "bench";
const KIND: &str = "bench-reader";

/// Where the stamp lies among the frames of a frameset.
const STAMP: usize = 2;
const STAMP_BYTES: usize = 8;

/// Writes the topology of a measurement into `folder`, and says with which arguments the program runs it.
pub(crate) fn prepare(task: &Task, folder: &Path) -> Fallible<Vec<String>> {
    let multi_process = matches!(task.candidate, Candidate::CamrigCopies | Candidate::CamrigInSlot);
    let placement = if multi_process { "multi-process" } else { "in-process" };
    let overflow = if task.load.is_paced() { "drop-oldest" } else { "block" };
    let mut text = format!("placement = \"{placement}\"\n");
    for camera in 0..task.load.cameras {
        writeln!(text, "\n[camera.c{camera}]\ndriver = \"{DRIVER}\"\noptions = {{ camera = {camera} }}")?;
        if multi_process {
            writeln!(text, "process = \"p{}\"", camera / task.load.cameras_per_process())?;
        }
    }
    let inputs: Vec<String> = (0..task.load.cameras).map(|camera| format!("\"c{camera}\"")).collect();
    for reader in 0..task.load.readers {
        writeln!(text, "\n[processor.reader{reader}]\nkind = \"{KIND}\"\ninputs = [{}]", inputs.join(", "))?;
        writeln!(text, "overflow = \"{overflow}\"\nqueue = {QUEUE}\noptions = {{ reader = {reader} }}")?;
    }
    let topology = folder.join("topology.toml");
    std::fs::write(&topology, text)?;
    let path = |path: PathBuf| path.to_string_lossy().into_owned();
    Ok(vec!["run".to_owned(), path(topology), "--report".to_owned(), path(folder.join("report.json"))])
}

/// Framesets that camrig's own report calls dropped, over the whole run.
pub(crate) fn reported_drops(folder: &Path) -> Fallible<u64> {
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("report.json"))?)?;
    let links = report["links"].as_array().ok_or("the report has no links")?;
    let dropped = links.iter().filter_map(|link| link["dropped"].as_object()).flat_map(|map| map.values());
    Ok(dropped.filter_map(serde_json::Value::as_u64).sum())
}

/// The camrig program: the supervisor or a worker, as camrig finds out by itself.
pub(super) fn run(task: &Task) -> ExitCode {
    // Workers have no standard input, and end with their supervisor.
    if std::env::args().nth(1).is_some_and(|command| command == "run") {
        on_end_of_input(|| {
            // As a user's Ctrl-C would. Who signals himself is there.
            let _ = kill_process(getpid(), Signal::TERM);
        });
    }
    let task = task.clone();
    // The first one alone has a meter: what is measured is the same however many there are.
    let reader = move |ReaderOptions { reader }| {
        Ok(Reader { meter: (reader == 0).then(|| Meter::new(&task)), known: false })
    };
    App::new().driver::<BenchDriver>(DRIVER).processor(KIND, reader).main()
}

/// The camera whose framesets cost nothing but the work itself.
struct BenchDriver {
    task: Task,
    camera: usize,
    source: Option<Arc<Source>>,
    pacer: Pacer,
    account: Account,
    sequence: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DriverOptions {
    camera: usize,
}

impl Driver for BenchDriver {
    type Options = DriverOptions;

    fn open(_: &str, options: DriverOptions) -> Result<Self, DriverError> {
        let task = Task::of_this_process().ok_or_else(|| DriverError::new("this process has no task"))?;
        let camera = options.camera;
        let source = task.candidate.has_source().then(|| Arc::new(Source::new(task.load.size, camera)));
        let (pacer, account) = (Pacer::new(task.load, camera), Account::new(&task, camera));
        Ok(Self { task, camera, source, pacer, account, sequence: 0 })
    }

    fn info(&self) -> CameraInfo {
        let Size { width, height } = self.task.load.size;
        let stream = |stream, format, width, height| {
            let profile = StreamProfile::new(width, height, FRAMES_PER_SECOND);
            let profile = profile.expect("loads are within the limits of profiles");
            StreamInfo { stream, format, profile, intrinsics: None, to_depth: None }
        };
        CameraInfo {
            name: String::new(),
            driver: String::new(),
            // The reader knows cameras by their number.
            serial: self.camera.to_string(),
            model: String::new(),
            firmware: String::new(),
            usb_type: String::new(),
            depth_unit_meters: 0.001,
            streams: vec![
                stream(Stream::Color, PixelFormat::Rgb8, width, height),
                stream(Stream::Depth, PixelFormat::Z16, width, height),
                stream(Stream::Infrared1, PixelFormat::Y8, STAMP_BYTES as u32, 1),
            ],
        }
    }

    fn capture(&mut self, output: &mut CameraOutput, _: Duration) -> Result<Captured, DriverError> {
        self.pacer.wait();
        let begun = monotonic_nanos();
        let headers = headers(self.task.load.size, self.sequence, begun);
        let candidate = self.task.candidate;
        match &self.source {
            Some(source) if candidate != Candidate::CamrigInProcess => {
                let (size, sequence) = (self.task.load.size, self.sequence);
                let held =
                    HeldInSource { source: Arc::clone(source), size, sequence, handed: OnceLock::new() };
                if candidate == Candidate::CamrigInProcessHeld {
                    // Nothing is copied: this is the hand-over.
                    held.pixels(STAMP);
                }
                output.publish_held(begun, headers, Box::new(held)).map_err(refused)?;
            }
            source => {
                if let Some(mut loan) = output.loan(begun, headers).map_err(refused)? {
                    if let Some(source) = source {
                        let (color, depth) = planes(source.frameset(self.sequence), self.task.load.size);
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
        self.account.note(begun);
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
        stream,
        format,
        width,
        height,
        stride_bytes: width * format.bytes_per_pixel(),
        number,
        timestamp: Timestamp { clock: Clock::System, nanos },
        metadata: Metadata::EMPTY,
    };
    [
        header(Stream::Color, PixelFormat::Rgb8, size.width, size.height),
        header(Stream::Depth, PixelFormat::Z16, size.width, size.height),
        header(Stream::Infrared1, PixelFormat::Y8, STAMP_BYTES as u32, 1),
    ]
    .into_iter()
    .collect()
}

/// A frameset in the library's buffers.
struct HeldInSource {
    source: Arc<Source>,
    size: Size,
    sequence: u64,
    handed: OnceLock<[u8; STAMP_BYTES]>,
}

impl HeldFrames for HeldInSource {
    fn pixels(&self, index: usize) -> &[u8] {
        let (color, depth) = planes(self.source.frameset(self.sequence), self.size);
        match index {
            0 => color,
            1 => depth,
            _ => self.handed.get_or_init(|| monotonic_nanos().to_ne_bytes()),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReaderOptions {
    reader: usize,
}

/// The processor: notes each frameset and reads its pixels.
struct Reader {
    meter: Option<Meter>,
    /// Whether a reader without a meter has said that it reads.
    known: bool,
}

impl Processor for Reader {
    fn process(&mut self, frames: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        let camera = frames.info().serial.parse()?;
        let stamp = frames.frame(Stream::Infrared1).ok_or("a frameset without its stamp")?;
        let handed_nanos = u64::from_ne_bytes(stamp.bytes().try_into()?);
        let (sequence, begun_nanos) = (frames.sequence(), frames.arrival_nanos());
        if let Some(meter) = &mut self.meter {
            meter.note(&Stamped { camera, sequence, begun_nanos, handed_nanos });
        } else if !self.known {
            Message::ReadsToo { process: std::process::id() }.say();
            self.known = true;
        }
        frames.frames().take(STAMP).for_each(|frame| read(frame.bytes()));
        Ok(())
    }

    fn finish(&mut self, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        self.meter.take().into_iter().for_each(Meter::finish);
        Ok(())
    }
}
