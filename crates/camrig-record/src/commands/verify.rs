//! `recording verify`: checks every byte of a file, every frameset, every frame, and that every gap is recorded.

use std::fmt::Write;
use std::path::Path;

use super::{CommandError, bar, counted, size_bytes};
use crate::read::{Content, Ending, ReadFrameSet, RecordedCamera, Recording, check_image, image_data};

/// Maximum number of problems that are printed.
const MAX_PROBLEMS: usize = 100;

pub(super) fn verify(file: &Path) -> Result<String, CommandError> {
    let scan_bar = bar(size_bytes(file), "reading");
    let recording = Recording::open(file, &|at| scan_bar.set_position(at))?;
    scan_bar.finish_and_clear();
    let mut problems = Problems::default();
    let index = recording.index();
    if index.ending == Ending::Open {
        problems.add("no index: the recorder did not close the file".to_owned());
    }
    for damage in &index.damage {
        let (start, end) = (damage.bytes.start, damage.bytes.end);
        problems.add(format!("bytes {start} to {end} are damaged: {}", damage.problem));
    }
    if let Some(problem) = recording.data_problem()? {
        problems.add(problem.to_string());
    }
    let unknown = index.messages.iter().filter(|(id, _)| !index.channels.contains_key(id));
    if let count @ 1.. = unknown.map(|(_, count)| count).sum::<u64>() {
        problems.add(format!("{} of no channel", counted(count, "message")));
    }
    let mut cameras: Vec<_> = recording.cameras().iter().map(|_| Checked::default()).collect();
    let bar = bar(recording.size_bytes(), "checking");
    let mut contents = recording.contents(|_| true, 0..u64::MAX);
    while let Some((index, content)) = contents.next(&recording) {
        bar.set_position(contents.position_bytes(&recording));
        cameras[index].check(&recording.cameras()[index], content, &mut problems);
    }
    bar.finish_and_clear();
    let mut text = String::new();
    for (camera, checked) in recording.cameras().iter().zip(cameras) {
        let Checked { framesets, missing, .. } = checked;
        // Writing to a string cannot fail.
        let _ =
            writeln!(text, "{}: {}, {missing} missing", camera.name, counted(framesets, "intact frameset"));
    }
    let problems = problems.finish();
    if problems.is_empty() {
        let _ = writeln!(text, "{}: OK", file.display());
        return Ok(text);
    }
    let problems = problems.into_iter().map(|problem| format!("`{}`: {problem}", file.display()));
    Err(CommandError::Damaged { text, problems: problems.collect() })
}

/// The problems of a file: the first ones, and how many more there are.
#[derive(Default)]
struct Problems {
    first: Vec<String>,
    more: u64,
}

impl Problems {
    fn add(&mut self, problem: String) {
        if self.first.len() < MAX_PROBLEMS {
            self.first.push(problem);
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self) -> Vec<String> {
        if self.more > 0 {
            self.first.push(counted(self.more, "more problem"));
        }
        self.first
    }
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
    fn check(&mut self, camera: &RecordedCamera, content: Content, problems: &mut Problems) {
        match content {
            Content::Gap(gap) => {
                self.missing = self.missing.saturating_add(gap.framesets());
                self.last = Some(gap.last_sequence);
            }
            Content::Unreadable { at, error, .. } => {
                problems.add(format!("`{}`, at byte {at}: {error}", camera.name));
            }
            Content::FrameSet(frameset) => self.check_frameset(camera, frameset, problems),
        }
    }

    fn check_frameset(&mut self, camera: &RecordedCamera, frameset: ReadFrameSet, problems: &mut Problems) {
        let sequence = frameset.record.sequence;
        // A processor numbers the framesets of all its cameras together, so one camera's numbers show no gaps.
        let counts = !camera.name.contains('/');
        if let Some(last) = self.last.replace(sequence)
            && counts
            && sequence > last.saturating_add(1)
        {
            let (first, last) = (last + 1, sequence - 1);
            problems.add(format!(
                "`{}`: framesets {first} to {last} are missing without a recorded gap",
                camera.name
            ));
        }
        let frames = frameset.record.frames.iter().zip(frameset.images);
        let mut wrong = frames.filter_map(|(frame, message)| {
            image_data(frame, message).and_then(|data| check_image(frame, &data)).err()
        });
        let mut intact = true;
        for problem in wrong.by_ref() {
            intact = false;
            problems.add(format!("`{}`: of frameset {sequence} {problem}", camera.name));
        }
        self.framesets += u64::from(intact);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::compression::Compression;
    use crate::record::testing::{TestFolder, write};

    #[test]
    fn every_flipped_bit_is_found() {
        let folder = TestFolder::new("bits");
        let path = folder.path().join("rig.mcap");
        write(&path, &["front"], 1, Compression::Zstd, &[]);
        let whole = fs::read(&path).unwrap();
        assert!(verify(&path).is_ok());
        // All of the start and of the end, and one byte in thirteen of the rest.
        let edges = |at: &usize| *at < 64 || whole.len() - *at < 64 || at.is_multiple_of(13);
        for at in (0..whole.len()).filter(edges) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            fs::write(&path, bytes).unwrap();
            assert!(verify(&path).is_err(), "bit {} of byte {at} of {}", at % 8, whole.len());
        }
    }
}
