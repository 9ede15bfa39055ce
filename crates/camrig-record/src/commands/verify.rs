//! `recording verify`: every chunk, every frameset, every frame, and that nothing is missing in silence.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use bytes::Bytes;

use super::{CommandError, bar, counted, size_bytes};
use crate::format::GapRecord;
use crate::read::{RecordedCamera, Recording, check_image, framesets, image_data, messages};

/// The most problems that are told.
const MAX_PROBLEMS: usize = 100;

pub(super) fn verify(file: &Path) -> Result<String, CommandError> {
    let looking = bar(size_bytes(file), "reading");
    let recording = Recording::open(file, &|at| looking.set_position(at))?;
    looking.finish_and_clear();
    let mut problems = Vec::new();
    if !recording.index().whole {
        problems.push("there is no index, as of a recorder that was killed".to_owned());
    }
    problems.extend(recording.index().damage.iter().map(|damage| {
        format!("bytes {} to {} are damaged: {}", damage.bytes.start, damage.bytes.end, damage.what)
    }));
    let mut cameras: BTreeMap<&str, Checked> = BTreeMap::new();
    let bar = bar(recording.size_bytes(), "checking");
    for chunk in &recording.index().chunks {
        bar.set_position(chunk.offset);
        let records = match recording.read_chunk(chunk) {
            Ok(records) => records,
            Err(what) => {
                problems.push(format!("the chunk at byte {}: {what}", chunk.offset));
                continue;
            }
        };
        for camera in recording.cameras().iter().filter(|camera| camera.is_in(chunk)) {
            let checked = cameras.entry(&camera.name).or_default();
            problems.extend(checked.check(camera, &records));
        }
    }
    bar.finish_and_clear();
    let mut text = String::new();
    for camera in recording.cameras() {
        let Checked { framesets, missing, .. } = cameras.remove(camera.name.as_str()).unwrap_or_default();
        // Writing to a string cannot fail.
        let _ =
            writeln!(text, "{}: {}, {missing} missing", camera.name, counted(framesets, "whole frameset"));
    }
    if problems.is_empty() {
        let _ = writeln!(text, "{} is what was recorded", file.display());
        return Ok(text);
    }
    let more = problems.len().saturating_sub(MAX_PROBLEMS);
    problems.truncate(MAX_PROBLEMS);
    if more > 0 {
        problems.push(counted(more as u64, "more problem"));
    }
    let problems = problems.into_iter().map(|problem| format!("`{}`: {problem}", file.display()));
    Err(CommandError::Damaged { text, problems: problems.collect() })
}

/// What was found of one camera.
#[derive(Default)]
struct Checked {
    framesets: u64,
    missing: u64,
    /// The last frameset that is there or known to be missing.
    last: Option<u64>,
}

impl Checked {
    /// Looks at what a chunk holds of a camera; every problem.
    fn check(&mut self, camera: &RecordedCamera, records: &Bytes) -> Vec<String> {
        let mut problems = Vec::new();
        for gap in messages(records).filter(|message| camera.gap_channels.contains(&message.channel)) {
            match serde_json::from_slice::<GapRecord>(&gap.data) {
                Ok(gap) => {
                    self.missing += gap.framesets();
                    self.last = Some(gap.last_sequence);
                }
                Err(error) => problems.push(format!("a gap of `{}` makes no sense: {error}", camera.name)),
            }
        }
        for frameset in framesets(camera, records) {
            let frameset = match frameset {
                Ok(frameset) => frameset,
                Err(what) => {
                    problems.push(format!("`{}`: {what}", camera.name));
                    continue;
                }
            };
            let sequence = frameset.record.sequence;
            // A processor counts the framesets of all cameras that it passes on: nothing follows from one's.
            let counts = !camera.name.contains('/');
            if let Some(last) = self.last.replace(sequence)
                && counts
                && sequence > last.saturating_add(1)
            {
                let (first, last) = (last + 1, sequence - 1);
                problems
                    .push(format!("`{}`: framesets {first} to {last} are missing in silence", camera.name));
            }
            let frames = frameset.record.frames.iter().zip(frameset.images);
            let wrong = frames.filter_map(|(frame, message)| {
                image_data(frame, message).and_then(|data| check_image(frame, &data)).err()
            });
            let before = problems.len();
            problems.extend(wrong.map(|what| format!("`{}`: of frameset {sequence} {what}", camera.name)));
            self.framesets += u64::from(problems.len() == before);
        }
        problems
    }
}
