//! Bounded reads below the root folder of a machine, or of a copy of its files.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Maximum length of a file that is read; the rest is ignored.
const TEXT_BYTES_MAX: u64 = 256 * 1024;

/// Maximum number of entries of a folder that are read.
const ENTRIES_MAX: usize = 16 * 1024;

/// The root folder of a machine's files.
pub(crate) struct Root {
    path: PathBuf,
}

impl Root {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// Returns the path of a file that is named without a leading `/`.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    /// Returns the content of a file, trimmed, without the zero bytes that end texts of device trees; `None` if it cannot
    /// be read.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let mut bytes = Vec::new();
        File::open(self.path(name)).ok()?.take(TEXT_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        Some(text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned())
    }

    /// Returns the number in a file.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.text(name)?.parse().ok()
    }

    /// Returns the names of the entries of a folder in alphabetical order; none if it cannot be read.
    pub(crate) fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten().flatten().take(ENTRIES_MAX);
        let mut names: Vec<_> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Returns whether a process with one of these names runs; the first of them that does.
    pub(crate) fn running<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        let numbers = self.names("proc").into_iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit()));
        let running: Vec<_> =
            numbers.filter_map(|number| self.text(&format!("proc/{number}/comm"))).collect();
        names.iter().copied().find(|name| running.iter().any(|it| it == name))
    }
}
