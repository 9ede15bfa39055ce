//! `recording info`: the contents of a recording, from its index.

use std::fmt::Write;
use std::path::Path;

use camrig::frame::{CameraInfo, Payload, StreamInfo};

use super::{CommandError, bar, size_bytes};
use crate::counted::{counted, megabytes};
use crate::format::{COMPRESSED_SCHEMA, GapRecord};
use crate::read::{Content, Ending, Parts, RecordedCamera, Recording};

/// Maximum number of gaps of one camera that are listed.
const MAX_GAPS: usize = 20;

pub(super) fn info(file: &Path) -> Result<String, CommandError> {
    let bar = bar(size_bytes(file), "reading");
    let parts = Parts::open(file, &|at| bar.set_position(at))?;
    bar.finish_and_clear();
    let mut cameras: Vec<CameraSummary<'_>> = Vec::new();
    let mut text = String::new();
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
        match parts.files().iter().map(|part| part.index().ending).max() {
            Some(Ending::Indexed) => "with an index",
            Some(Ending::Closed) => "complete, without an index of its own",
            _ if parts.files().iter().any(Recording::is_live) => "being recorded",
            _ => "without an index: `recording repair` restores it",
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
    for camera in &cameras {
        camera.write(&mut text);
    }
    Ok(text)
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

    fn write(&self, text: &mut String) {
        let CameraInfo { model, serial, depth_unit_meters, streams, .. } = &self.camera.info;
        let part = |what: &str, value: &str| {
            if value.is_empty() { String::new() } else { format!("{what}{value}, ") }
        };
        let (model, serial) = (part("", model), part("serial ", serial));
        let _ = writeln!(text, "{}: {model}{serial}depth unit {depth_unit_meters} m", self.camera.name);
        let coded = |stream: &StreamInfo| {
            let channels = &self.camera.image_channels;
            let id = channels.iter().find(|(_, which)| **which == stream.stream).map(|(id, _)| id);
            let channel = id.and_then(|id| self.recording.index().channels.get(id));
            let as_it_came = matches!(stream.payload, Payload::Encoded { .. });
            !as_it_came && channel.is_some_and(|channel| channel.schema_name() == COMPRESSED_SCHEMA)
        };
        let streams = streams.iter().map(|stream| {
            let coding = if coded(stream) { " from jpeg" } else { "" };
            match stream.profile() {
                Some(profile) => format!("{} {profile} {}{coding}", stream.stream, stream.format()),
                None => format!("{} {}", stream.stream, stream.payload),
            }
        });
        let _ = writeln!(text, "  {}", streams.collect::<Vec<_>>().join(", "));
        let seconds = self.last_nanos.saturating_sub(self.first_nanos) as f64 / 1e9;
        let rate = if seconds > 0.0 { self.framesets.saturating_sub(1) as f64 / seconds } else { 0.0 };
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
