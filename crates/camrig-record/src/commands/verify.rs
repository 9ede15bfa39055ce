//! `recording verify`: checks every byte of a file, every frameset, every frame, and that every gap is recorded.

use std::fmt::Write;
use std::path::Path;

use super::{CommandError, bar, counted, size_bytes};
use crate::read::{Content, Ending, Parts, ReadFrameSet, RecordedCamera, Recording, check_image, image_data};

/// Maximum number of problems that are printed.
const MAX_PROBLEMS: usize = 100;

pub(super) fn verify(file: &Path) -> Result<String, CommandError> {
    let scan_bar = bar(size_bytes(file), "reading");
    let parts = Parts::open(file, &|at| scan_bar.set_position(at))?;
    scan_bar.finish_and_clear();
    let mut problems = Problems::default();
    let mut cameras: Vec<Checked<'_>> = Vec::new();
    for recording in parts.files() {
        check_file(recording, &mut cameras, &mut problems)?;
    }
    if let Some(problem) = parts.problem() {
        problems.add(&format!("the recording continues, but {problem}"));
    }
    let mut text = String::new();
    for Checked { name, framesets, missing, .. } in cameras {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name}: {}, {missing} missing", counted(framesets, "intact frameset"));
    }
    for incomplete in parts.incomplete() {
        let _ = writeln!(text, "{incomplete}");
    }
    let problems = problems.finish();
    if !problems.is_empty() {
        return Err(CommandError::Damaged { text, problems });
    }
    for recording in parts.files() {
        let _ = writeln!(text, "{}: OK", recording.path().display());
    }
    Ok(text)
}

/// Checks one file of a recording.
fn check_file<'a>(
    recording: &'a Recording,
    cameras: &mut Vec<Checked<'a>>,
    problems: &mut Problems,
) -> Result<(), CommandError> {
    problems.file = recording.path().display().to_string();
    let index = recording.index();
    if recording.is_live() {
        problems.add("it is being recorded: the recorder has not closed the file");
    } else if index.ending == Ending::Open {
        problems.add("no index: the recorder did not close the file");
    }
    for damage in &index.damage {
        let (start, end) = (damage.bytes.start, damage.bytes.end);
        problems.add(&format!("bytes {start} to {end} are damaged: {}", damage.problem));
    }
    problems.more += index.more_damage;
    if let Some(problem) = recording.data_problem()? {
        problems.add(&problem.to_string());
    }
    let unknown = index.messages.iter().filter(|(id, _)| !index.channels.contains_key(id));
    if let count @ 1.. = unknown.fold(0, |sum: u64, (_, count)| sum.saturating_add(*count)) {
        problems.add(&format!("{} of no channel", counted(count, "message")));
    }
    let indices: Vec<_> = recording.cameras().iter().map(|camera| Checked::of(cameras, camera)).collect();
    let bar = bar(recording.size_bytes(), "checking");
    let mut contents = recording.contents(|_| true, 0..u64::MAX);
    while let Some((index, content)) = contents.next(recording) {
        bar.set_position(contents.position_bytes(recording));
        cameras[indices[index]].check(content, problems);
    }
    bar.finish_and_clear();
    Ok(())
}

/// The problems of a recording: the first ones, and the number of others.
#[derive(Default)]
struct Problems {
    /// The file that is checked.
    file: String,
    first: Vec<String>,
    more: u64,
}

impl Problems {
    fn add(&mut self, problem: &str) {
        if self.first.len() < MAX_PROBLEMS {
            self.first.push(format!("`{}`: {problem}", self.file));
        } else {
            self.more += 1;
        }
    }

    fn finish(mut self) -> Vec<String> {
        if self.more > 0 {
            self.first.push(format!("`{}`: {}", self.file, counted(self.more, "more problem")));
        }
        self.first
    }
}

/// The result of one camera.
struct Checked<'a> {
    name: &'a str,
    framesets: u64,
    missing: u64,
    /// The last frameset that is present or in a gap.
    last: Option<u64>,
}

impl<'a> Checked<'a> {
    /// Returns the index of a camera among those of all files.
    fn of(cameras: &mut Vec<Self>, camera: &'a RecordedCamera) -> usize {
        let known = cameras.iter().position(|known| known.name == camera.name);
        known.unwrap_or_else(|| {
            cameras.push(Self { name: &camera.name, framesets: 0, missing: 0, last: None });
            cameras.len() - 1
        })
    }

    fn check(&mut self, content: Content, problems: &mut Problems) {
        match content {
            Content::Gap(gap) => {
                self.missing = self.missing.saturating_add(gap.framesets());
                self.last = Some(gap.last_sequence);
            }
            Content::Unreadable { at, error, .. } => {
                problems.add(&format!("`{}`, at byte {at}: {error}", self.name));
            }
            Content::FrameSet(frameset) => self.check_frameset(frameset, problems),
        }
    }

    fn check_frameset(&mut self, frameset: ReadFrameSet, problems: &mut Problems) {
        let sequence = frameset.record.sequence;
        // A processor numbers the framesets of all its cameras together, so one camera's numbers show no gaps.
        let counts = !self.name.contains('/');
        if let Some(last) = self.last.replace(sequence)
            && counts
            && sequence > last.saturating_add(1)
        {
            let (first, last) = (last + 1, sequence - 1);
            problems.add(&format!(
                "`{}`: framesets {first} to {last} are missing without a recorded gap",
                self.name
            ));
        }
        let frames = frameset.record.frames.iter().zip(frameset.images);
        let mut wrong = frames.filter_map(|(frame, message)| {
            image_data(frame, message).and_then(|data| check_image(frame, &data)).err()
        });
        let mut intact = true;
        for problem in wrong.by_ref() {
            intact = false;
            problems.add(&format!("`{}`: of frameset {sequence} {problem}", self.name));
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
