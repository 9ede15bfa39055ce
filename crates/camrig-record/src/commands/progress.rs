//! Progress bars, which are shown on terminals only. The bar of a recording is that of all its files.

use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};

use crate::read::{Parts, ReadError, Recording};
use crate::write::numbered;

/// Returns a progress bar of `total` bytes.
pub(super) fn bar(total: u64, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(total).with_message(what);
    let style = "{msg} {wide_bar} {bytes}/{total_bytes} {eta}";
    bar.with_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Returns the size of a file; 0 if it does not exist, which is reported when it is read.
pub(super) fn size_bytes(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |metadata| metadata.len())
}

/// Opens a recording.
///
/// # Errors
/// If it cannot be read.
pub(super) fn open(file: &Path) -> Result<Parts, ReadError> {
    // The files that continue a recording are known when it is open, so the sizes are those of the usual names.
    let names = (1..).map(|number| numbered(file, number)).take_while(|name| name.exists());
    let bar = bar(names.map(|name| size_bytes(&name)).sum(), "reading");
    let parts = Parts::open(file, &|at| bar.set_position(at))?;
    bar.finish_and_clear();
    Ok(parts)
}

/// The progress bar of reading the files of a recording, one after another.
pub(super) struct FilesBar {
    bar: ProgressBar,
    /// Size of the files before the one that is read.
    before_bytes: u64,
}

impl FilesBar {
    pub(super) fn new(parts: &Parts, what: &'static str) -> Self {
        Self::of(bar(parts.files().iter().map(Recording::size_bytes).sum(), what))
    }

    fn of(bar: ProgressBar) -> Self {
        Self { bar, before_bytes: 0 }
    }

    /// Shows the position in the file that is read.
    pub(super) fn set_position(&self, at: u64) {
        self.bar.set_position(self.before_bytes + at);
    }

    /// Shows that a file is read.
    pub(super) fn finish_file(&mut self, file: &Recording) {
        self.before_bytes += file.size_bytes();
        self.set_position(0);
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::record::testing::{TestFolder, write_parts};

    #[test]
    fn the_bar_of_a_recording_is_that_of_all_its_files() {
        let folder = TestFolder::new("bars");
        let path = folder.path().join("rig.mcap");
        write_parts(&path, &[&["front"], &["front"], &["front"]]);
        let total: u64 = (1..=3).map(|number| size_bytes(&numbered(&path, number))).sum();
        let parts = Parts::open(&path, &|_| {}).unwrap();
        let shown = FilesBar::of(ProgressBar::hidden());
        let (mut shown, mut positions) = (shown, Vec::new());
        for file in parts.files() {
            shown.set_position(file.size_bytes() / 2);
            positions.push(shown.bar.position());
            shown.finish_file(file);
            positions.push(shown.bar.position());
        }
        assert!(positions.is_sorted_by(|before, next| before < next), "{positions:?}");
        assert_eq!(positions.last(), Some(&total));
        assert_eq!(FilesBar::new(&parts, "reading").bar.length(), Some(total));
    }

    #[test]
    fn files_without_an_index_are_read_one_after_another() {
        let folder = TestFolder::new("no-index");
        let path = folder.path().join("rig.mcap");
        write_parts(&path, &[&["front"], &["front"]]);
        let mut total = 0;
        for number in 1..=2 {
            let path = numbered(&path, number);
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..bytes.len() - 10]).unwrap();
            total += bytes.len() as u64 - 10;
        }
        let positions = RefCell::new(Vec::new());
        let parts = Parts::open(&path, &|at| positions.borrow_mut().push(at)).unwrap();
        let positions = positions.into_inner();
        assert_eq!(parts.files().len(), 2);
        assert!(
            positions.is_sorted() && positions.last().is_some_and(|last| *last <= total),
            "{positions:?}"
        );
        assert!(positions.iter().any(|at| *at > parts.files()[0].size_bytes()), "{positions:?}");
    }
}
