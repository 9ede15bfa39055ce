//! `recording verify`: checks every chunk, every frameset, every frame, and that every gap is recorded.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use bytes::Bytes;

use super::{CommandError, bar, counted, size_bytes};
use crate::format::GapRecord;
use crate::read::{RecordedCamera, Recording, check_image, framesets, image_data, messages};

/// Maximum number of problems that are printed.
const MAX_PROBLEMS: usize = 100;

pub(super) fn verify(file: &Path) -> Result<String, CommandError> {
    let scan_bar = bar(size_bytes(file), "reading");
    let recording = Recording::open(file, &|at| scan_bar.set_position(at))?;
    scan_bar.finish_and_clear();
    let mut problems = Vec::new();
    if !recording.index().whole {
        problems.push("no index: the recorder did not close the file".to_owned());
    }
    problems.extend(recording.index().damage.iter().map(|damage| {
        format!("bytes {} to {} are damaged: {}", damage.bytes.start, damage.bytes.end, damage.problem)
    }));
    let mut cameras: BTreeMap<&str, Checked> = BTreeMap::new();
    let bar = bar(recording.size_bytes(), "checking");
    for chunk in &recording.index().chunks {
        bar.set_position(chunk.offset);
        let records = match recording.read_chunk(chunk) {
            Ok(records) => records,
            Err(problem) => {
                problems.push(format!("the chunk at byte {}: {problem}", chunk.offset));
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
            writeln!(text, "{}: {}, {missing} missing", camera.name, counted(framesets, "intact frameset"));
    }
    if problems.is_empty() {
        let _ = writeln!(text, "{}: OK", file.display());
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

/// The result of one camera.
#[derive(Default)]
struct Checked {
    framesets: u64,
    missing: u64,
    /// The last frameset that is present or in a gap.
    last: Option<u64>,
}

impl Checked {
    /// Checks a chunk's messages of a camera and returns every problem.
    fn check(&mut self, camera: &RecordedCamera, records: &Bytes) -> Vec<String> {
        let mut problems = Vec::new();
        for gap in messages(records).filter(|message| camera.gap_channels.contains(&message.channel)) {
            match serde_json::from_slice::<GapRecord>(&gap.data) {
                Ok(gap) => {
                    self.missing += gap.framesets();
                    self.last = Some(gap.last_sequence);
                }
                Err(error) => problems.push(format!("a gap of `{}` is invalid: {error}", camera.name)),
            }
        }
        for frameset in framesets(camera, records) {
            let frameset = match frameset {
                Ok(frameset) => frameset,
                Err(problem) => {
                    problems.push(format!("`{}`: {problem}", camera.name));
                    continue;
                }
            };
            let sequence = frameset.record.sequence;
            // A processor numbers the framesets of all its cameras together, so one camera's numbers show no gaps.
            let counts = !camera.name.contains('/');
            if let Some(last) = self.last.replace(sequence)
                && counts
                && sequence > last.saturating_add(1)
            {
                let (first, last) = (last + 1, sequence - 1);
                problems.push(format!(
                    "`{}`: framesets {first} to {last} are missing without a recorded gap",
                    camera.name
                ));
            }
            let frames = frameset.record.frames.iter().zip(frameset.images);
            let wrong = frames.filter_map(|(frame, message)| {
                image_data(frame, message).and_then(|data| check_image(frame, &data)).err()
            });
            let before = problems.len();
            problems
                .extend(wrong.map(|problem| format!("`{}`: of frameset {sequence} {problem}", camera.name)));
            self.framesets += u64::from(problems.len() == before);
        }
        problems
    }
}
