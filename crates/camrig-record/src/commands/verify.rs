//! `recording verify`: checks every byte of a file, every frameset, every frame, and that every gap is recorded.

use std::fmt::Write;
use std::path::Path;

use super::problems::Problems;
use super::progress::{self, FilesBar};
use super::{CommandError, counted};
use crate::read::{Content, Ending, ReadFrameSet, RecordedCamera, Recording, check_image, image_data};

pub(super) fn verify(file: &Path) -> Result<String, CommandError> {
    let parts = progress::open(file)?;
    let mut problems = FileProblems::default();
    let mut cameras: Vec<Checked<'_>> = Vec::new();
    let mut bar = FilesBar::new(&parts, "checking");
    for recording in parts.files() {
        check_file(recording, &mut cameras, &mut problems, &bar)?;
        bar.finish_file(recording);
    }
    bar.finish();
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
    let problems = problems.all.finish();
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
    problems: &mut FileProblems,
    bar: &FilesBar,
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
    problems.all.add_more(index.more_damage);
    if let Some(problem) = recording.data_problem()? {
        problems.add(&problem.to_string());
    }
    let unknown = index.messages.iter().filter(|(id, _)| !index.channels.contains_key(id));
    if let count @ 1.. = unknown.fold(0, |sum: u64, (_, count)| sum.saturating_add(*count)) {
        problems.add(&format!("{} of no channel", counted(count, "message")));
    }
    let indices: Vec<_> = recording.cameras().iter().map(|camera| Checked::of(cameras, camera)).collect();
    let mut contents = recording.contents(|_| true, 0..u64::MAX);
    while let Some((index, content)) = contents.next(recording) {
        bar.set_position(contents.position_bytes(recording));
        cameras[indices[index]].check(content, problems);
    }
    Ok(())
}

/// The problems of a recording, each with the name of its file.
#[derive(Default)]
struct FileProblems {
    /// The file that is checked.
    file: String,
    all: Problems,
}

impl FileProblems {
    fn add(&mut self, problem: &str) {
        self.all.add(format!("`{}`: {problem}", self.file));
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

    fn check(&mut self, content: Content, problems: &mut FileProblems) {
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

    fn check_frameset(&mut self, frameset: ReadFrameSet, problems: &mut FileProblems) {
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
    use std::collections::BTreeSet;
    use std::fs;
    use std::io::Cursor;
    use std::ops::Range;

    use mcap::WriteOptions;
    use mcap::records::op;

    use super::*;
    use crate::compression::Compression;
    use crate::record::testing::{TestFolder, write_with_topology};

    /// Each kind of record in a file of MCAP, outside of chunks.
    const KINDS: [(u8, &str); 15] = [
        (op::HEADER, "Header"),
        (op::SCHEMA, "Schema"),
        (op::CHANNEL, "Channel"),
        (op::MESSAGE, "Message"),
        (op::CHUNK, "Chunk"),
        (op::MESSAGE_INDEX, "MessageIndex"),
        (op::ATTACHMENT, "Attachment"),
        (op::METADATA, "Metadata"),
        (op::DATA_END, "DataEnd"),
        (op::CHUNK_INDEX, "ChunkIndex"),
        (op::ATTACHMENT_INDEX, "AttachmentIndex"),
        (op::METADATA_INDEX, "MetadataIndex"),
        (op::STATISTICS, "Statistics"),
        (op::SUMMARY_OFFSET, "SummaryOffset"),
        (op::FOOTER, "Footer"),
    ];

    /// Returns the kind and the place of each record outside of chunks.
    fn records(file: &[u8]) -> Vec<(u8, Range<usize>)> {
        let (mut at, mut found) = (mcap::MAGIC.len(), Vec::new());
        while at < file.len() - mcap::MAGIC.len() {
            let length = u64::from_le_bytes(file[at + 1..at + 9].try_into().unwrap()) as usize;
            found.push((file[at], at..at + 9 + length));
            at += 9 + length;
        }
        found
    }

    /// Writes the messages of a recording outside of chunks, as other programs may.
    fn write_loose(from: &Path, path: &Path) {
        let file = fs::read(from).unwrap();
        let options = WriteOptions::new().use_chunks(false).calculate_data_section_crc(true);
        let mut writer = options.profile("camrig").create(Cursor::new(Vec::new())).unwrap();
        for message in mcap::MessageStream::new(&file).unwrap() {
            writer.write(&message.unwrap()).unwrap();
        }
        writer.finish().unwrap();
        fs::write(path, writer.into_inner().into_inner()).unwrap();
    }

    #[test]
    fn every_flipped_bit_is_found_in_every_kind_of_record() {
        let folder = TestFolder::new("bits");
        let (path, loose) = (folder.path().join("rig.mcap"), folder.path().join("loose.mcap"));
        write_with_topology(&path, "front", "[camera.front]\n", Compression::Zstd);
        write_loose(&path, &loose);
        let mut flipped = BTreeSet::new();
        for path in [path, loose] {
            let whole = fs::read(&path).unwrap();
            assert!(verify(&path).is_ok());
            let is_found = |at: usize| {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << (at % 8);
                fs::write(&path, bytes).unwrap();
                verify(&path).is_err()
            };
            for (kind, place) in records(&whole) {
                let (_, name) = KINDS.iter().find(|(known, _)| *known == kind).unwrap();
                flipped.insert(*name);
                // All of the start and of the end, and one byte in thirteen of the rest.
                let edges =
                    |at: &usize| *at < place.start + 64 || *at + 64 >= place.end || at.is_multiple_of(13);
                let missed: Vec<_> = place.clone().filter(edges).filter(|at| !is_found(*at)).collect();
                assert_eq!(missed, [0; 0], "of {name} at {place:?} of {}", path.display());
            }
            let magic = (0..8).chain(whole.len() - 8..whole.len());
            assert!(magic.into_iter().all(is_found));
        }
        assert_eq!(flipped, KINDS.iter().map(|(_, name)| *name).collect());
    }
}
