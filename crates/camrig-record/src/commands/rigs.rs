//! `record` and `replay`: generate a topology from a topology or a recording.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use camrig::{Attachment, MadeTopology, probe_folder};
use clap::Parser;
use toml::{Table, Value};

use super::{CommandError, edit, progress, seconds};
use crate::read::{Parts, ReadError};
use crate::replay::SPEEDS;

/// Maximum number of queued framesets of a camera: a quarter of a second at 30 Hz.
const QUEUE: i64 = 8;

/// Run a topology and record all its cameras, or record cameras of a running rig
#[derive(Debug, Parser)]
#[command(name = "record")]
pub(super) struct RecordArgs {
    /// A topology file, or `demo`
    #[arg(required_unless_present = "attach")]
    topology: Option<PathBuf>,
    /// Record a running rig instead, until Ctrl-C or for the time of `--for`; without RIG the only one
    #[arg(long, value_name = "RIG", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["topology", "framesets", "report", "placement"])]
    attach: Option<String>,
    /// The cameras of the running rig to record; without it all
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', requires = "attach")]
    cameras: Vec<String>,
    /// Output file (must not exist)
    #[arg(short, long, value_name = "FILE", value_parser = recording_name)]
    output: PathBuf,
    /// Storage of color
    #[arg(long, value_name = "raw|jpeg", value_parser = ["raw", "jpeg"], default_value = "raw")]
    color: String,
    /// Compression of chunks [default: zstd with color in JPEG, none otherwise]
    #[arg(long, value_name = "none|lz4|zstd", value_parser = ["none", "lz4", "zstd"])]
    compression: Option<String>,
}

/// Run a recording, read by `stats` or instead of the cameras of a topology
#[derive(Debug, Parser)]
#[command(name = "replay")]
pub(super) struct ReplayArgs {
    /// A recording
    file: PathBuf,
    /// A topology file, or `demo`, whose cameras are replaced by those of the same names in the recording
    topology: Option<PathBuf>,
    /// Play as fast as the readers allow, without losses: every input has overflow `block`
    #[arg(long, conflicts_with = "speed")]
    fast: bool,
    /// Playback speed factor
    #[arg(long, value_name = "FACTOR", value_parser = speed, default_value_t = 1.0)]
    speed: f64,
    /// Start again at the end
    #[arg(long)]
    repeat: bool,
    /// Start at this time of the recording
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value_t = 0.0)]
    from: f64,
    /// End at this time of the recording
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    to: Option<f64>,
}

fn recording_name(text: &str) -> Result<PathBuf, &'static str> {
    let path = PathBuf::from(text);
    let is_mcap = path.extension().is_some_and(|extension| extension == "mcap");
    if is_mcap { Ok(path) } else { Err("the name of a recording ends with .mcap") }
}

fn speed(text: &str) -> Result<f64, String> {
    let (least, most) = (SPEEDS.start(), SPEEDS.end());
    let speed = text.parse().ok().filter(|speed| SPEEDS.contains(speed));
    speed.ok_or_else(|| format!("expected a number, {least} to {most}"))
}

impl RecordArgs {
    /// Records a running rig, if that is asked for: returns the exit code.
    pub(super) fn attach(&self, time: Option<Duration>) -> Option<Result<ExitCode, CommandError>> {
        let rig = Some(self.attach.clone()?).filter(|rig| !rig.is_empty());
        if let Err(error) = self.check_output() {
            return Some(Err(error));
        }
        let output = std::path::absolute(&self.output).unwrap_or_else(|_| self.output.clone());
        let text = |value: Value| value.to_string();
        let mut settings = vec![
            ("queue".to_owned(), QUEUE.to_string()),
            ("file".to_owned(), text(path_value(&output))),
            ("color".to_owned(), text(self.color.clone().into())),
        ];
        let compression = self.compression.clone();
        settings.extend(compression.map(|known| ("compression".to_owned(), text(known.into()))));
        let (kind, inputs) = ("record".to_owned(), self.cameras.clone());
        Some(Ok(Attachment { rig, kind, inputs, settings, time, is_own: true }.run(|| Ok(()))))
    }

    /// Checks that the file can be created.
    fn check_output(&self) -> Result<(), CommandError> {
        let output = &self.output;
        if output.exists() {
            return Err(CommandError::Create(format!(
                "`{}` exists already; choose another name",
                output.display()
            )));
        }
        let folder = output.parent().unwrap_or(Path::new(""));
        probe_folder(folder).map_err(|reason| {
            CommandError::Create(format!("cannot create `{}`: {reason}", output.display()))
        })?;
        Ok(())
    }

    pub(super) fn make(&self, demo: &str) -> Result<MadeTopology, CommandError> {
        self.check_output()?;
        let (output, topology) = (&self.output, self.topology.clone().unwrap_or_default());
        let (text, table) = read(&topology, demo)?;
        let names = |role: &str| {
            let table = table.get(role).and_then(Value::as_table);
            table.into_iter().flat_map(|table| table.keys().cloned()).collect::<Vec<_>>()
        };
        let (cameras, processors) = (names("camera"), names("processor"));
        let taken = |name: &String| cameras.contains(name) || processors.contains(name);
        let numbered = (2..).map(|number| format!("recorder-{number}"));
        let name = std::iter::once("recorder".to_owned()).chain(numbered).find(|name| !taken(name));
        let mut options = Table::from_iter([
            ("file".to_owned(), path_value(output)),
            ("color".to_owned(), self.color.clone().into()),
        ]);
        if let Some(compression) = &self.compression {
            options.insert("compression".to_owned(), compression.clone().into());
        }
        let recorder = Table::from_iter([
            ("kind".to_owned(), "record".into()),
            ("inputs".to_owned(), cameras.clone().into()),
            ("queue".to_owned(), QUEUE.into()),
            ("options".to_owned(), options.into()),
        ]);
        let recorder = Table::from_iter([(name.unwrap_or_default(), Value::Table(recorder))]);
        let added = Table::from_iter([("processor".to_owned(), Value::Table(recorder))]);
        // After the text, so that problems in the text keep their locations.
        Ok(MadeTopology { name: topology.display().to_string(), text: format!("{text}\n{added}") })
    }
}

impl ReplayArgs {
    pub(super) fn make(&self, demo: &str) -> Result<MadeTopology, CommandError> {
        let recording = progress::open(&self.file)?;
        if recording.cameras().is_empty() {
            return Err(ReadError::new(&self.file, "has no cameras, so there is nothing to replay").into());
        }
        edit::range(&self.file, &recording, self.from, self.to)?;
        let mut topology = match &self.topology {
            Some(path) => read(path, demo)?.1,
            None => into_stats(&recording),
        };
        let cameras = topology.get_mut("camera").and_then(Value::as_table_mut);
        for (name, camera) in cameras.into_iter().flatten() {
            let Some(camera) = camera.as_table_mut() else { continue };
            let own =
                self.topology.is_none().then(|| camera.get("options")?.get("camera")?.as_str()).flatten();
            let recorded = own.unwrap_or(name).to_owned();
            recording.camera(&recorded)?;
            camera.insert("driver".to_owned(), "replay".into());
            camera.insert("options".to_owned(), self.options(recorded).into());
        }
        if self.fast {
            lose_nothing(&mut topology);
        }
        let shown = self.topology.as_ref().unwrap_or(&self.file);
        Ok(MadeTopology { name: shown.display().to_string(), text: topology.to_string() })
    }

    fn options(&self, camera: String) -> Table {
        let mut options = Table::from_iter([
            ("file".to_owned(), path_value(&self.file)),
            ("camera".to_owned(), camera.into()),
            ("paced".to_owned(), (!self.fast).into()),
            ("speed".to_owned(), self.speed.into()),
            ("repeat".to_owned(), self.repeat.into()),
            ("from_seconds".to_owned(), self.from.into()),
        ]);
        options.extend(self.to.map(|to| ("to_seconds".to_owned(), to.into())));
        options
    }
}

/// Makes every input wait for its reader: cameras that are not paced would overtake them.
fn lose_nothing(topology: &mut Table) {
    let processors = topology.get_mut("processor").and_then(Value::as_table_mut);
    for processor in processors.into_iter().flatten().filter_map(|(_, processor)| processor.as_table_mut()) {
        processor.insert("overflow".to_owned(), "block".into());
    }
}

/// Returns a topology of all cameras of a recording, read by `stats`.
fn into_stats(recording: &Parts) -> Table {
    // A camera whose framesets the processor `mask` forwarded, `mask/front`, becomes the actor `mask-front`.
    let names = recording.cameras().into_iter().map(|camera| camera.name.clone());
    let actors: Vec<_> = names.map(|name| (name.replace('/', "-"), name)).collect();
    let inputs: Vec<_> = actors.iter().map(|(actor, _)| actor.clone()).collect();
    let stats = Table::from_iter([("kind".to_owned(), "stats".into()), ("inputs".to_owned(), inputs.into())]);
    let camera = |(actor, name): (String, String)| {
        let options = Table::from_iter([("camera".to_owned(), name.into())]);
        (actor, Value::Table(Table::from_iter([("options".to_owned(), options.into())])))
    };
    let cameras = Value::Table(actors.into_iter().map(camera).collect());
    let processors = Value::Table(Table::from_iter([("stats".to_owned(), stats.into())]));
    Table::from_iter([("camera".to_owned(), cameras), ("processor".to_owned(), processors)])
}

fn path_value(path: &Path) -> Value {
    path.to_string_lossy().into_owned().into()
}

/// Reads a topology as text and as a table; `demo` is that of the same name. An invalid one is reported when the text is
/// parsed.
fn read(path: &Path, demo: &str) -> Result<(String, Table), CommandError> {
    let text = if path.as_os_str() == "demo" {
        demo.to_owned()
    } else {
        camrig::read_topology(path).map_err(|fact| ReadError::new(path, fact))?
    };
    let table = text.parse().unwrap_or_default();
    Ok((text, table))
}
