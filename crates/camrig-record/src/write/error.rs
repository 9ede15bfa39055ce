//! The errors of writing a recording.

use std::io;
use std::path::{Path, PathBuf};

/// Maximum number of files of one name.
pub(super) const MAX_FILES: u32 = 100_000;

/// A file of a recording that cannot be created or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// Nothing can be created in the folder of the file.
    #[error("cannot create `{}`: {reason}", path.display())]
    Folder { path: PathBuf, reason: String },
    /// The file cannot be created.
    #[error("cannot create `{}`: {source}", path.display())]
    Create { path: PathBuf, source: io::Error },
    /// The file and all its numbered successors exist.
    #[error("`{}` and {MAX_FILES} numbered files exist already", path.display())]
    NamesTaken { path: PathBuf },
    /// The file cannot be written.
    #[error("cannot write `{}`: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl WriteError {
    pub(crate) fn create(path: &Path, source: io::Error) -> Self {
        Self::Create { path: path.to_owned(), source }
    }

    pub(crate) fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }
}
