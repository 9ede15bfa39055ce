//! The files of a split recording.
//!
//! A recorder that splits continues in another file. A camera that started late, or was silent during a whole file, is
//! missing in some of them. This module reads no frameset.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::index::Continuation;
use super::{ReadError, RecordedCamera, Recording, no_camera};
use crate::format::{Changed, Incomplete};
use crate::write::{numbered, numbered_behind};

/// Number of files that are searched for one that continues a recording.
const MAX_CANDIDATES: usize = 8;

/// Number of files of a recording that stay open. The others are opened for each read: a process has some thousand descriptors.
const MAX_OPEN: usize = 16;

/// Maximum number of sections of all files: 1.8 MB, beside those of the file that is opened.
const MAX_SECTIONS: usize = 32 << 10;

/// The files of a recording, at least one.
pub(crate) struct Parts {
    files: Vec<Recording>,
    /// The reason why a continuation is not among the files.
    problem: Option<ReadError>,
}

impl Parts {
    /// Returns a recording of one file, even if others continue it.
    pub(crate) fn of(file: Recording) -> Self {
        Self { files: vec![file], problem: None }
    }

    /// Opens the file, and the files that continue it if it is the first, with calls of `progress` with a position in all
    /// files together.
    ///
    /// # Errors
    /// If the file cannot be read. A continuation that is missing or cannot be read ends the recording: see
    /// [`Self::problem`].
    pub(crate) fn open(file: &Path, progress: &dyn Fn(u64)) -> Result<Self, ReadError> {
        let mut parts = Self { files: vec![Recording::open(file, progress)?], problem: None };
        let mut before_bytes = 0;
        while let Some((last, place)) = parts.files.last().and_then(|last| Some((last, place(last)?)))
            && place.1 as usize == parts.files.len()
        {
            let wanted = (place.0, place.1 + 1);
            before_bytes += last.size_bytes();
            let progress: &dyn Fn(u64) = &|at| progress(before_bytes + at);
            let next = match &last.index().continuation {
                Continuation::End => break,
                Continuation::Next(name) => match beside(file, name) {
                    // The files may have been renamed, and others may have their names since.
                    Some(path) => named(&path, wanted, progress)
                        .or_else(|error| unnamed(file, last.path(), wanted, progress).unwrap_or(Err(error))),
                    None => break,
                },
                // It was not closed, its recorder failed, or it is of a version that names no other file.
                Continuation::Unknown => match unnamed(file, last.path(), wanted, progress) {
                    Some(next) => next,
                    None => break,
                },
            };
            match next {
                Ok(next) => parts.push(next),
                Err(problem) => {
                    parts.problem = Some(problem);
                    break;
                }
            }
        }
        Ok(parts)
    }

    /// Adds a file. All of them share the memory of records, and have a maximum number of sections.
    fn push(&mut self, mut file: Recording) {
        if self.files.len() >= MAX_OPEN {
            file.file.close();
        }
        let buffers = self.files[0].buffers.clone();
        self.files.push(Recording { buffers, ..file });
        let sections = self.files.iter().map(|file| file.index.sections.len()).sum::<usize>();
        if sections > MAX_SECTIONS {
            // Half as many, so that this is done seldom.
            let most = MAX_SECTIONS / 2 / self.files.len();
            self.files.iter_mut().for_each(|file| file.index.sections.shorten(most));
        }
    }

    /// Returns why a file that continues the recording is not read; `None` if all are.
    pub(crate) fn problem(&self) -> Option<&ReadError> {
        self.problem.as_ref()
    }

    pub(crate) fn files(&self) -> &[Recording] {
        &self.files
    }

    /// Returns the start and end of the recording across all cameras, by `log_time`.
    pub(crate) fn range(&self) -> Range<u64> {
        let extents = self.files.iter().flat_map(|part| part.index().sections.extents());
        let end = extents.map(|(_, extent)| extent.end_time).max();
        self.files[0].began_nanos()..end.unwrap_or(0)
    }

    /// Returns every camera, as described in the first file that has it.
    pub(crate) fn cameras(&self) -> Vec<&RecordedCamera> {
        let mut cameras: Vec<&RecordedCamera> = Vec::new();
        for camera in self.files.iter().flat_map(Recording::cameras) {
            if cameras.iter().all(|known| known.name != camera.name) {
                cameras.push(camera);
            }
        }
        cameras
    }

    /// Returns the parts that the recording lacks because its sources did, by camera.
    pub(crate) fn incomplete(&self) -> impl Iterator<Item = &Incomplete> {
        self.files.iter().flat_map(|part| part.index().incomplete.values())
    }

    /// Returns the changes of the rig during the recording, each once, in their order.
    pub(crate) fn changes(&self) -> Vec<&Changed> {
        let mut changes: Vec<_> = self.files.iter().flat_map(|part| &part.index().changes).collect();
        changes.sort_by_key(|change| change.unix_nanos);
        changes.dedup();
        changes
    }

    /// Returns the camera of this name.
    ///
    /// # Errors
    /// If there is none, with the names of all cameras.
    pub(crate) fn camera(&self, name: &str) -> Result<&RecordedCamera, ReadError> {
        let cameras = self.cameras();
        let found = cameras.iter().find(|camera| camera.name == name).copied();
        found.ok_or_else(|| no_camera(self.files[0].path(), name, cameras.into_iter()))
    }
}

/// Opens the file that a recording names as its next one.
fn named(path: &Path, wanted: (u64, u32), progress: &dyn Fn(u64)) -> Result<Recording, ReadError> {
    let next = Recording::open(path, progress)?;
    if place(&next) == Some(wanted) {
        return Ok(next);
    }
    Err(ReadError::new(path, "is not the file that continues this recording"))
}

/// Searches for the file that continues a recording, which does not name it; `None` if there is none.
fn unnamed(
    first: &Path,
    last: &Path,
    wanted: (u64, u32),
    progress: &dyn Fn(u64),
) -> Option<Result<Recording, ReadError>> {
    let by_part = numbered(first, wanted.1);
    // Files of other recordings may have names in between.
    let behind = numbered_behind(last).take(MAX_CANDIDATES).take_while(|path| path.exists());
    let mut problem = None;
    for path in std::iter::once(by_part.clone()).chain(behind.filter(|path| *path != by_part)) {
        match Recording::open(&path, progress) {
            Ok(next) if place(&next) == Some(wanted) => return Some(Ok(next)),
            Err(error) if path == by_part && path.exists() => problem = Some(Err(error)),
            Ok(_) | Err(_) => {}
        }
    }
    problem
}

/// Returns the identity of a recording and the number of a file in it; `None` without cameras.
fn place(recording: &Recording) -> Option<(u64, u32)> {
    recording.cameras().first().map(|camera| (camera.origin_nanos, camera.part))
}

/// Returns the path of a file in the same folder; `None` if the name, which comes from a file, leads to another folder.
fn beside(file: &Path, name: &str) -> Option<PathBuf> {
    let is_plain = Path::new(name).file_name().is_some_and(|plain| plain == name);
    is_plain.then(|| file.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::read::Content;
    use crate::record::testing::{TestFolder, write_parts};

    fn opened(file: &Path) -> (Vec<String>, Option<String>) {
        let parts = Parts::open(file, &|_| {}).unwrap();
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let folder = format!("{}/", file.parent().unwrap().display());
        let problem = parts.problem().map(|problem| problem.to_string().replace(&folder, ""));
        (parts.files().iter().map(|part| name(part.path())).collect(), problem)
    }

    #[test]
    fn files_name_the_next_one() {
        let folder = TestFolder::new("named");
        let path = folder.path().join("rig.mcap");
        let front: &[&str] = &["front"];
        // The names of a second recording follow those of the first.
        write_parts(&path, &[front, front]);
        write_parts(&path, &[front, front, front]);
        assert_eq!(opened(&path), (vec!["rig.mcap".to_owned(), "rig-2.mcap".to_owned()], None));
        let second = folder.path().join("rig-3.mcap");
        let names = ["rig-3.mcap", "rig-4.mcap", "rig-5.mcap"].map(str::to_owned);
        assert_eq!(opened(&second), (names.to_vec(), None));
        // A missing, a damaged and a wrong continuation are named.
        let (fourth, fifth) = (folder.path().join("rig-4.mcap"), folder.path().join("rig-5.mcap"));
        fs::rename(&fifth, folder.path().join("away")).unwrap();
        let missing = "`rig-5.mcap` cannot be read: No such file or directory (os error 2)";
        assert_eq!(opened(&second), (names[..2].to_vec(), Some(missing.to_owned())));
        fs::write(&fourth, b"broken").unwrap();
        let broken = "`rig-4.mcap` is not an MCAP file";
        assert_eq!(opened(&second), (names[..1].to_vec(), Some(broken.to_owned())));
        fs::copy(&path, &fourth).unwrap();
        let wrong = "`rig-4.mcap` is not the file that continues this recording";
        assert_eq!(opened(&second), (names[..1].to_vec(), Some(wrong.to_owned())));
    }

    #[test]
    fn a_name_in_a_file_is_one_of_its_folder() {
        let file = Path::new("folder/rig.mcap");
        assert_eq!(beside(file, "rig-2.mcap"), Some(PathBuf::from("folder/rig-2.mcap")));
        for name in ["", "..", "/etc/passwd", "../rig-2.mcap", "other/rig-2.mcap"] {
            assert_eq!(beside(file, name), None, "{name}");
        }
    }

    #[test]
    fn a_recording_of_many_files_keeps_few_open() {
        const FILES: usize = 20;
        let folder = TestFolder::new("many");
        let path = folder.path().join("rig.mcap");
        write_parts(&path, &[&["front"][..]; FILES]);
        let parts = Parts::open(&path, &|_| {}).unwrap();
        let open = parts.files().iter().filter(|part| part.file.is_open()).count();
        assert_eq!((parts.files().len(), open), (FILES, MAX_OPEN));
        let framesets = |part: &Recording| {
            let mut contents = part.contents(|_| true, 0..u64::MAX);
            std::iter::from_fn(|| contents.next(part))
                .filter(|(_, content)| matches!(content, Content::FrameSet(_)))
                .count()
        };
        assert!(parts.files().iter().all(|part| framesets(part) == 1));
        // Another file of that name is not read.
        let last = parts.files()[FILES - 1].path();
        fs::copy(&path, folder.path().join("other")).unwrap();
        fs::rename(folder.path().join("other"), last).unwrap();
        assert_eq!(framesets(&parts.files()[FILES - 1]), 0);
    }

    #[test]
    fn renamed_files_are_found_by_their_numbers() {
        let folder = TestFolder::new("renamed");
        let path = folder.path().join("rig.mcap");
        write_parts(&path, &[&["front"], &["front"]]);
        let renamed = folder.path().join("new.mcap");
        fs::rename(&path, &renamed).unwrap();
        fs::rename(numbered(&path, 2), numbered(&renamed, 2)).unwrap();
        let found = (vec!["new.mcap".to_owned(), "new-2.mcap".to_owned()], None);
        assert_eq!(opened(&renamed), found);
        // Another file has the old name.
        fs::write(numbered(&path, 2), "other").unwrap();
        assert_eq!(opened(&renamed), found);
    }
}
