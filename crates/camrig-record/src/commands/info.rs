//! `recording info`: the contents of a recording, from its index.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use camrig::frame::{CameraInfo, Payload, StreamInfo};
use camrig::status::ChangeReport;
use serde::Serialize;

use super::{CommandError, progress};
use crate::counted::{counted, megabytes};
use crate::format::{COMPRESSED_SCHEMA, GapRecord};
use crate::read::{Content, Damage, Ending, Parts, RecordedCamera, Recording};

/// Maximum number of gaps of one camera that are listed.
const MAX_GAPS: usize = 20;

/// Maximum number of changes of the rig that are listed.
const MAX_CHANGES: usize = 100;

#[derive(Debug, clap::Args)]
pub(super) struct InfoArgs {
    /// A recording
    pub(super) file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn info(args: &InfoArgs) -> Result<String, CommandError> {
    let file = &args.file;
    let parts = progress::open(file)?;
    let cameras = summaries(&parts);
    if args.json {
        let info = Info::of(&parts, &cameras);
        let json = serde_json::to_string_pretty(&info)
            .map_err(|error| CommandError::Create(format!("cannot write JSON: {error}")))?;
        return Ok(json + "\n");
    }
    Ok(shown(file, &parts, &cameras))
}

/// Returns the content of a recording by camera.
fn summaries(parts: &Parts) -> Vec<CameraSummary<'_>> {
    let mut cameras: Vec<CameraSummary<'_>> = Vec::new();
    for recording in parts.files() {
        let indices: Vec<_> = recording
            .cameras()
            .iter()
            .map(|camera| CameraSummary::of(&mut cameras, recording, camera))
            .collect();
        let mut gaps = recording.gaps();
        while let Some((index, content)) = gaps.next(recording) {
            // `verify` reports the damaged parts.
            if let Content::Gap(gap) = content {
                cameras[indices[index]].add_gap(gap);
            }
        }
    }
    cameras
}

/// Returns the state of the least complete file of a recording.
fn state(parts: &Parts) -> State {
    match parts.files().iter().map(|part| part.index().ending).max() {
        Some(Ending::Indexed) => State::Indexed,
        Some(Ending::Closed) => State::Closed,
        _ if parts.files().iter().any(Recording::is_live) => State::Live,
        _ => State::Open,
    }
}

/// The end of a recording.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// With an index.
    Indexed,
    /// Complete, without an index of its own.
    Closed,
    /// A recorder is writing it.
    Live,
    /// Without an end.
    Open,
}

/// Returns a recording for people.
fn shown(file: &Path, parts: &Parts, cameras: &[CameraSummary<'_>]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{}{}: {}, {}, {} missing, {}, {}",
        file.display(),
        match parts.files().len() - 1 {
            0 => String::new(),
            more => format!(" and {}", counted(more as u64, "more file")),
        },
        counted(cameras.len() as u64, "camera"),
        counted(cameras.iter().fold(0, |sum: u64, camera| sum.saturating_add(camera.framesets)), "frameset"),
        cameras.iter().fold(0, |sum: u64, camera| sum.saturating_add(camera.missing)),
        megabytes(parts.files().iter().map(Recording::size_bytes).sum()),
        match state(parts) {
            State::Indexed => "with an index",
            State::Closed => "complete, without an index of its own",
            State::Live => "being recorded",
            State::Open => "without an index: `recording repair` restores it",
        },
    );
    for recording in parts.files() {
        let name = if parts.files().len() == 1 {
            String::new()
        } else {
            format!("{}: ", recording.path().display())
        };
        for damage in &recording.index().damage {
            let (start, end) = (damage.bytes.start, damage.bytes.end);
            let _ = writeln!(text, "{name}bytes {start} to {end} are damaged: {}", damage.problem);
        }
        if let more @ 1.. = recording.index().more_damage {
            let _ = writeln!(text, "{name}{} are damaged", counted(more, "more part"));
        }
    }
    if let Some(problem) = parts.problem() {
        let _ = writeln!(text, "the recording continues, but {problem}");
    }
    for incomplete in parts.incomplete() {
        let _ = writeln!(text, "{incomplete}");
    }
    let (changes, began) = (parts.changes(), parts.range().start);
    for change in changes.iter().take(MAX_CHANGES) {
        let _ = writeln!(text, "{}", change.line(began));
    }
    if let more @ 1.. = changes.len().saturating_sub(MAX_CHANGES) {
        let _ = writeln!(text, "changed {} later", counted(more as u64, "more time"));
    }
    for camera in cameras {
        camera.write(&mut text);
    }
    text
}

/// A recording for programs: the output of `--json`.
#[derive(Serialize)]
struct Info<'a> {
    state: State,
    framesets: u64,
    missing: u64,
    size_bytes: u64,
    files: Vec<FileInfo<'a>>,
    /// Why the files that follow could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    incomplete: Vec<String>,
    /// The changes of the rig, with seconds since the start of the recording.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changes: Vec<ChangeReport>,
    cameras: Vec<CameraRow<'a>>,
}

#[derive(Serialize)]
struct FileInfo<'a> {
    path: &'a Path,
    size_bytes: u64,
    /// The parts that are damaged, each with its bytes.
    damage: Vec<DamageRow>,
    more_damage: u64,
}

#[derive(Serialize)]
struct DamageRow {
    start: u64,
    end: u64,
    problem: String,
}

#[derive(Serialize)]
struct CameraRow<'a> {
    name: &'a str,
    framesets: u64,
    missing: u64,
    size_bytes: u64,
    /// Arrival of the first and the last frameset, in nanoseconds since 1970; `None` without framesets.
    first_nanos: Option<u64>,
    last_nanos: Option<u64>,
    rate_hz: f64,
    /// The streams that are stored as JPEG and decoded by readers.
    from_jpeg: Vec<&'a str>,
    gaps: &'a [GapRecord],
    more_gaps: u64,
    info: &'a CameraInfo,
}

impl<'a> Info<'a> {
    fn of(parts: &'a Parts, cameras: &'a [CameraSummary<'a>]) -> Self {
        let sum = |of: &dyn Fn(&CameraSummary<'_>) -> u64| {
            cameras.iter().fold(0, |sum: u64, camera| sum.saturating_add(of(camera)))
        };
        Self {
            state: state(parts),
            framesets: sum(&|camera| camera.framesets),
            missing: sum(&|camera| camera.missing),
            size_bytes: parts.files().iter().map(Recording::size_bytes).sum(),
            files: parts.files().iter().map(FileInfo::of).collect(),
            problem: parts.problem().map(ToString::to_string),
            incomplete: parts.incomplete().map(ToString::to_string).collect(),
            changes: parts.changes().into_iter().map(|it| it.report(parts.range().start)).collect(),
            cameras: cameras.iter().map(CameraRow::of).collect(),
        }
    }
}

impl<'a> FileInfo<'a> {
    fn of(part: &'a Recording) -> Self {
        let row = |damage: &Damage| DamageRow {
            start: damage.bytes.start,
            end: damage.bytes.end,
            problem: damage.problem.to_string(),
        };
        Self {
            path: part.path(),
            size_bytes: part.size_bytes(),
            damage: part.index().damage.iter().map(row).collect(),
            more_damage: part.index().more_damage,
        }
    }
}

impl<'a> CameraRow<'a> {
    fn of(summary: &'a CameraSummary<'a>) -> Self {
        let has_framesets = summary.first_nanos <= summary.last_nanos;
        let streams = summary.camera.info.streams.iter().filter(|stream| summary.is_from_jpeg(stream));
        Self {
            name: &summary.camera.name,
            framesets: summary.framesets,
            missing: summary.missing,
            size_bytes: summary.bytes,
            first_nanos: has_framesets.then_some(summary.first_nanos),
            last_nanos: has_framesets.then_some(summary.last_nanos),
            rate_hz: summary.rate_hz(),
            from_jpeg: streams.map(|stream| stream.stream.name()).collect(),
            gaps: &summary.listed,
            more_gaps: summary.gaps - summary.listed.len() as u64,
            info: &summary.camera.info,
        }
    }
}

/// The contents of a recording of one camera.
struct CameraSummary<'a> {
    /// The camera in the first file that has it.
    recording: &'a Recording,
    camera: &'a RecordedCamera,
    framesets: u64,
    bytes: u64,
    first_nanos: u64,
    last_nanos: u64,
    missing: u64,
    gaps: u64,
    /// The first gaps.
    listed: Vec<GapRecord>,
}

impl<'a> CameraSummary<'a> {
    /// Adds the framesets of a camera in one file. Returns the index of the camera among all.
    fn of(cameras: &mut Vec<Self>, recording: &'a Recording, camera: &'a RecordedCamera) -> usize {
        let known = cameras.iter().position(|known| known.camera.name == camera.name);
        let index = known.unwrap_or_else(|| {
            cameras.push(Self {
                recording,
                camera,
                framesets: 0,
                bytes: 0,
                first_nanos: u64::MAX,
                last_nanos: 0,
                missing: 0,
                gaps: 0,
                listed: Vec::new(),
            });
            cameras.len() - 1
        });
        let summary = &mut cameras[index];
        summary.framesets = summary.framesets.saturating_add(recording.framesets_of(camera));
        for (channels, extent) in recording.index().sections.extents() {
            let has = |is: &dyn Fn(u16) -> bool| {
                channels.as_ref().is_none_or(|channels| channels.iter().any(|&id| is(id)))
            };
            if !has(&|id| camera.has(id)) {
                continue;
            }
            summary.bytes += extent.size_bytes;
            if has(&|id| camera.frameset_channels.contains(&id)) {
                summary.first_nanos = summary.first_nanos.min(extent.start_time);
                summary.last_nanos = summary.last_nanos.max(extent.end_time);
            }
        }
        index
    }

    fn add_gap(&mut self, gap: GapRecord) {
        self.missing = self.missing.saturating_add(gap.framesets());
        self.gaps += 1;
        if self.listed.len() < MAX_GAPS {
            self.listed.push(gap);
        }
    }

    /// Returns whether a stream is stored as JPEG and shown decoded.
    fn is_from_jpeg(&self, stream: &StreamInfo) -> bool {
        let channels = &self.camera.image_channels;
        let id = channels.iter().find(|(_, which)| **which == stream.stream).map(|(id, _)| id);
        let channel = id.and_then(|id| self.recording.index().channels.get(id));
        let as_it_came = matches!(stream.payload, Payload::Encoded { .. });
        !as_it_came && channel.is_some_and(|channel| channel.schema_name() == COMPRESSED_SCHEMA)
    }

    /// Returns the time from the first frameset to the last.
    fn seconds(&self) -> f64 {
        self.last_nanos.saturating_sub(self.first_nanos) as f64 / 1e9
    }

    fn rate_hz(&self) -> f64 {
        let seconds = self.seconds();
        if seconds > 0.0 { self.framesets.saturating_sub(1) as f64 / seconds } else { 0.0 }
    }

    fn write(&self, text: &mut String) {
        let CameraInfo { model, serial, depth_unit_meters, streams, .. } = &self.camera.info;
        let part = |what: &str, value: &str| {
            if value.is_empty() { String::new() } else { format!("{what}{value}, ") }
        };
        let (model, serial) = (part("", model), part("serial ", serial));
        let _ = writeln!(text, "{}: {model}{serial}depth unit {depth_unit_meters} m", self.camera.name);
        let streams = streams.iter().map(|stream| {
            let coding = if self.is_from_jpeg(stream) { " from jpeg" } else { "" };
            match stream.profile() {
                Some(profile) => format!("{} {profile} {}{coding}", stream.stream, stream.format()),
                None => format!("{} {}", stream.stream, stream.payload),
            }
        });
        let _ = writeln!(text, "  {}", streams.collect::<Vec<_>>().join(", "));
        let (seconds, rate) = (self.seconds(), self.rate_hz());
        let _ = writeln!(
            text,
            "  {}, {} missing, {seconds:.2} s, {rate:.1} Hz, {}",
            counted(self.framesets, "frameset"),
            self.missing,
            megabytes(self.bytes),
        );
        for gap in &self.listed {
            let (first, last, reason) = (gap.first_sequence, gap.last_sequence, gap.reason.name());
            let _ = writeln!(text, "  missing: {first} to {last}, {reason}");
        }
        if let more @ 1.. = self.gaps - self.listed.len() as u64 {
            let _ = writeln!(text, "  missing: {}", counted(more, "more gap"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::progress::size_bytes;
    use super::*;
    use crate::compression::Compression;
    use crate::format::GapReason;
    use crate::record::testing::{ORIGIN, PERIOD, TestFolder, write};

    #[test]
    fn programs_get_the_same_as_people() {
        let folder = TestFolder::new("json");
        let file = folder.path().join("rig.mcap");
        let gap = GapRecord { first_sequence: 3, last_sequence: 4, reason: GapReason::Memory };
        write(&file, &["front", "rear"], 12, Compression::Lz4, &[gap]);
        let json = info(&InfoArgs { file: file.clone(), json: true }).unwrap();
        let found: serde_json::Value = serde_json::from_str(&json).unwrap();
        let size = size_bytes(&file);
        assert_eq!((&found["state"], &found["size_bytes"]), (&"indexed".into(), &size.into()));
        assert_eq!((&found["framesets"], &found["missing"]), (&20.into(), &4.into()));
        let expected =
            serde_json::json!([{ "path": file, "size_bytes": size, "damage": [], "more_damage": 0 }]);
        assert_eq!(found["files"], expected);
        let rear = &found["cameras"][1];
        assert_eq!(
            (&rear["name"], &rear["framesets"], &rear["missing"]),
            (&"rear".into(), &10.into(), &2.into())
        );
        let times = [ORIGIN, ORIGIN + 11 * PERIOD].map(serde_json::Value::from);
        assert_eq!([&rear["first_nanos"], &rear["last_nanos"]], [&times[0], &times[1]]);
        let gaps = serde_json::json!([{ "first_sequence": 3, "last_sequence": 4, "reason": "memory" }]);
        assert_eq!((&rear["gaps"], &rear["more_gaps"]), (&gaps, &0.into()));
        assert_eq!(rear["info"]["streams"][0]["stream"], "color");
    }
}
