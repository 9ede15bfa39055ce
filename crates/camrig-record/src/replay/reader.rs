//! Reads the framesets of one camera, from the first file of a recording to the last.
//!
//! It has no clock; all times are those of the recording.

use std::ops::Range;

use camrig::frame::CameraInfo;

use super::bag::BagReader;
use super::played::Played;
use crate::read::{Content, Contents, Ending, Parts, ReadError, ReadFrameSet, RecordedCamera};

/// Maximum number of warnings about damage in one replay.
const MAX_WARNINGS: u32 = 20;

/// Source of a camera's framesets.
pub(super) enum Reader {
    Recording(Box<RecordingReader>),
    Bag(Box<BagReader>),
}

impl Reader {
    /// Begins to read a camera.
    ///
    /// # Errors
    /// If there is no such camera.
    pub(super) fn new(played: Played, camera: &str) -> Result<Self, ReadError> {
        Ok(match played {
            Played::Recording(parts) => Self::Recording(Box::new(RecordingReader::new(parts, camera)?)),
            Played::Bag(bag) => Self::Bag(Box::new(BagReader::new(*bag, camera)?)),
        })
    }

    pub(super) fn info(&self) -> &CameraInfo {
        match self {
            Self::Recording(reader) => &reader.camera.info,
            Self::Bag(reader) => reader.info(),
        }
    }

    /// Returns the number of framesets skipped since the last call, because the file is damaged, or lists them as not recorded.
    pub(super) fn take_unreadable(&mut self) -> u64 {
        match self {
            Self::Recording(reader) => std::mem::take(&mut reader.unreadable),
            Self::Bag(reader) => reader.take_unreadable(),
        }
    }

    /// Restarts with the first frameset at or after the start of `range`.
    pub(super) fn rewind(&mut self, range: Range<u64>) {
        match self {
            Self::Recording(reader) => reader.rewind(range),
            Self::Bag(reader) => reader.rewind(range),
        }
    }

    /// Returns the next frameset; `None` at the end. Damaged ones are reported and skipped.
    pub(super) fn next(&mut self) -> Option<ReadFrameSet> {
        match self {
            Self::Recording(reader) => reader.next(),
            Self::Bag(reader) => reader.next(),
        }
    }
}

/// Source of the framesets of a recording.
pub(super) struct RecordingReader {
    parts: Parts,
    camera: RecordedCamera,
    /// By `log_time`.
    range: Range<u64>,
    /// Index of the file that is read, and the rest of its contents.
    part: usize,
    contents: Option<Contents>,
    /// Framesets skipped since [`Reader::take_unreadable`], because the file is damaged or lacks them.
    unreadable: u64,
    warnings: u32,
}

impl RecordingReader {
    fn new(parts: Parts, camera: &str) -> Result<Self, ReadError> {
        if let Some(problem) = parts.problem() {
            log::warn!("the recording continues, but {problem}");
        }
        for part in parts.files().iter().filter(|part| part.index().ending == Ending::Open) {
            let path = part.path().display();
            if part.is_live() {
                log::warn!("`{path}` is being recorded; the part that it had when it was opened is played");
            } else {
                log::warn!("`{path}` has no index, so all of it was read; `recording repair` restores it");
            }
        }
        let camera = parts.camera(camera)?.clone();
        let lacks = parts.incomplete().filter(|lack| lack.camera == camera.name);
        let unreadable = lacks.fold(0, |sum: u64, lack| {
            log::warn!("`{}`: {lack}", parts.files()[0].path().display());
            sum.saturating_add(lack.unreadable)
        });
        Ok(Self { parts, camera, range: 0..u64::MAX, part: 0, contents: None, unreadable, warnings: 0 })
    }

    fn rewind(&mut self, range: Range<u64>) {
        self.range = range;
        (self.part, self.contents) = (0, None);
    }

    fn next(&mut self) -> Option<ReadFrameSet> {
        loop {
            let recording = self.parts.files().get(self.part)?;
            let contents = self.contents.get_or_insert_with(|| {
                recording.contents(|camera| camera.name == self.camera.name, self.range.clone())
            });
            match contents.next(recording) {
                Some((_, Content::FrameSet(frameset))) => return Some(frameset),
                // A processor that forwards framesets of several cameras numbers them together: its gaps cannot be assigned to
                // one camera.
                Some((_, Content::Gap(gap))) if !self.camera.name.contains('/') => {
                    self.unreadable = self.unreadable.saturating_add(gap.framesets());
                }
                Some((_, Content::Gap(_))) => {}
                Some((_, Content::Unreadable { at, framesets, error })) => {
                    self.unreadable = self.unreadable.saturating_add(framesets);
                    if self.warnings < MAX_WARNINGS {
                        self.warnings += 1;
                        let path = recording.path().display();
                        log::warn!("`{path}` is damaged at byte {at}: {error}; skipping it");
                    }
                }
                None => (self.part, self.contents) = (self.part + 1, None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::compression::Compression;
    use crate::format::{GapReason, GapRecord};
    use crate::read::Recording;
    use crate::record::testing::{ORIGIN, PERIOD, TestFolder, write, write_parts};

    fn open(path: &Path, camera: &str) -> Result<Reader, ReadError> {
        Reader::new(Played::open(path)?, camera)
    }

    fn sequences(reader: &mut Reader) -> Vec<u64> {
        std::iter::from_fn(|| reader.next()).map(|frameset| frameset.record.sequence).collect()
    }

    #[test]
    fn a_range_of_time_has_the_framesets_of_that_time() {
        let folder = TestFolder::new("range");
        let path = folder.path().join("rig.mcap");
        let gap = GapRecord { first_sequence: 3, last_sequence: 4, reason: GapReason::Link };
        write(&path, &["front", "rear"], 10, Compression::Lz4, &[gap]);
        let mut reader = open(&path, "rear").unwrap();
        assert_eq!(Played::open(&path).unwrap().range(), ORIGIN..ORIGIN + 9 * PERIOD);
        assert_eq!(sequences(&mut reader), [0, 1, 2, 5, 6, 7, 8, 9]);
        assert_eq!(reader.take_unreadable(), 2, "they were not recorded");
        reader.rewind(ORIGIN + PERIOD..ORIGIN + 6 * PERIOD);
        assert_eq!(sequences(&mut reader), [1, 2, 5]);
        reader.rewind(ORIGIN + 20 * PERIOD..u64::MAX);
        assert_eq!(sequences(&mut reader), [0; 0]);
        // Twice the same result: rewinding restarts the reader.
        for _ in 0..2 {
            reader.rewind(ORIGIN + 8 * PERIOD..u64::MAX);
            assert_eq!(sequences(&mut reader), [8, 9]);
        }
    }

    #[test]
    fn a_camera_may_be_missing_in_some_of_the_files() {
        let folder = TestFolder::new("parts");
        let path = folder.path().join("rig.mcap");
        write_parts(&path, &[&["front"], &["late", "front"], &["late"], &["front", "late"]]);
        for (camera, found) in [("front", [1, 2, 4]), ("late", [2, 3, 4])] {
            assert_eq!(sequences(&mut open(&path, camera).unwrap()), found, "{camera}");
        }
        let error = open(&path, "rear").err().unwrap().to_string();
        assert!(error.ends_with("has no camera `rear`; expected one of: `front`, `late`"), "{error}");
        // A later file on its own contains only its own framesets.
        let third = folder.path().join("rig-3.mcap");
        assert_eq!(sequences(&mut open(&third, "late").unwrap()), [3]);
    }

    #[test]
    fn damage_affects_only_its_frameset() {
        let folder = TestFolder::new("damage");
        let path = folder.path().join("rig.mcap");
        write(&path, &["front"], 5, Compression::None, &[]);
        let recording = Recording::open(&path, &|_| {}).unwrap();
        let middle = recording.index().sections.iter().nth(3).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[(middle.offset + middle.size_bytes / 2) as usize] ^= 4;
        std::fs::write(&path, bytes).unwrap();
        let mut reader = open(&path, "front").unwrap();
        let found = sequences(&mut reader);
        assert_eq!((found.len(), reader.take_unreadable(), reader.take_unreadable()), (4, 1, 0), "{found:?}");
    }
}
