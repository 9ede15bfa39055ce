//! `recording info`: the contents of a recording, from its index.

use std::fmt::Write;
use std::path::Path;

use camrig::frame::{CameraInfo, Payload, StreamInfo};

use super::{CommandError, bar, counted, size_bytes};
use crate::format::{COMPRESSED_SCHEMA, GapRecord};
use crate::read::{RecordedCamera, Recording, messages};

/// Maximum number of gaps of one camera that are listed.
const MAX_GAPS: usize = 20;

pub(super) fn info(file: &Path) -> Result<String, CommandError> {
    let bar = bar(size_bytes(file), "reading");
    let recording = Recording::open(file, &|at| bar.set_position(at))?;
    bar.finish_and_clear();
    let cameras: Vec<_> =
        recording.cameras().iter().map(|camera| CameraSummary::new(&recording, camera)).collect();
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{}: {}, {}, {} missing, {}, {}",
        file.display(),
        counted(cameras.len() as u64, "camera"),
        counted(cameras.iter().map(|camera| camera.framesets).sum(), "frameset"),
        cameras.iter().map(CameraSummary::missing).sum::<u64>(),
        megabytes(recording.size_bytes()),
        if recording.index().whole {
            "with an index"
        } else {
            "without an index: `recording repair` restores it"
        },
    );
    for damage in &recording.index().damage {
        let (start, end) = (damage.bytes.start, damage.bytes.end);
        let _ = writeln!(text, "bytes {start} to {end} are damaged: {}", damage.problem);
    }
    for camera in &cameras {
        camera.write(&recording, &mut text);
    }
    Ok(text)
}

/// The contents of a recording of one camera.
struct CameraSummary<'a> {
    camera: &'a RecordedCamera,
    framesets: u64,
    bytes: u64,
    first_nanos: u64,
    last_nanos: u64,
    gaps: Vec<GapRecord>,
}

impl<'a> CameraSummary<'a> {
    fn new(recording: &Recording, camera: &'a RecordedCamera) -> Self {
        let counts = &recording.index().messages;
        let framesets = camera.frameset_channels.iter().filter_map(|id| counts.get(id)).sum();
        let mut summary =
            Self { camera, framesets, bytes: 0, first_nanos: u64::MAX, last_nanos: 0, gaps: Vec::new() };
        for chunk in recording.chunks_of(camera) {
            summary.bytes += chunk.size_bytes;
            if !chunk.channels.is_disjoint(&camera.frameset_channels) {
                summary.first_nanos = summary.first_nanos.min(chunk.start_time);
                summary.last_nanos = summary.last_nanos.max(chunk.end_time);
            }
            if chunk.channels.is_disjoint(&camera.gap_channels) {
                continue;
            }
            // `verify` reports damaged chunks.
            let Ok(records) = recording.read_chunk(chunk) else { continue };
            let gaps = messages(&records).filter(|message| camera.gap_channels.contains(&message.channel));
            summary.gaps.extend(gaps.filter_map(|gap| serde_json::from_slice::<GapRecord>(&gap.data).ok()));
        }
        summary
    }

    fn missing(&self) -> u64 {
        self.gaps.iter().map(GapRecord::framesets).sum()
    }

    fn write(&self, recording: &Recording, text: &mut String) {
        let CameraInfo { model, serial, depth_unit_meters, streams, .. } = &self.camera.info;
        let part = |what: &str, value: &str| {
            if value.is_empty() { String::new() } else { format!("{what}{value}, ") }
        };
        let (model, serial) = (part("", model), part("serial ", serial));
        let _ = writeln!(text, "{}: {model}{serial}depth unit {depth_unit_meters} m", self.camera.name);
        let coded = |stream: &StreamInfo| {
            let channels = &self.camera.image_channels;
            let id = channels.iter().find(|(_, which)| **which == stream.stream).map(|(id, _)| id);
            let channel = id.and_then(|id| recording.index().channels.get(id));
            let as_it_came = matches!(stream.payload, Payload::Encoded { .. });
            !as_it_came && channel.is_some_and(|channel| channel.schema == COMPRESSED_SCHEMA)
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
            self.missing(),
            megabytes(self.bytes),
        );
        for gap in self.gaps.iter().take(MAX_GAPS) {
            let (first, last, reason) = (gap.first_sequence, gap.last_sequence, gap.reason.name());
            let _ = writeln!(text, "  missing: {first} to {last}, {reason}");
        }
        if let more @ 1.. = self.gaps.len().saturating_sub(MAX_GAPS) {
            let _ = writeln!(text, "  missing: {}", counted(more as u64, "more gap"));
        }
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
