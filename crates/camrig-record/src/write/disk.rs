//! A growing file: numbered so that none is overwritten, with space reserved on the disk before anything is written.
//!
//! A full disk is detected when space is reserved, not in the middle of a chunk: so there is always space left for the
//! index, and the file ends intact. This module does not depend on the content.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use camrig::probe_folder;
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock, fstatvfs};
use rustix::io::Errno;

use super::error::{MAX_FILES, WriteError};

/// Size of a reservation, so that reservations are rare.
const STEP_BYTES: u64 = 16 << 20;

/// If more than this is free, no space is reserved: on a file system in memory a reservation costs a seventh of a plain
/// write. If all of it is used before the next chunk, the file loses its index.
const AMPLE_BYTES: u64 = 1 << 30;

/// Creates the first file of this name that does not exist, such as `rig.mcap` or `rig-2.mcap`.
///
/// # Errors
/// The error with the name of the file.
pub(crate) fn create(path: &Path) -> Result<(File, PathBuf), WriteError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    probe_folder(folder).map_err(|reason| WriteError::Folder { path: path.to_owned(), reason })?;
    for number in 1..=MAX_FILES {
        let path = numbered(path, number);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => {
                // Readers see that it is being written. A file system may have no locks.
                let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
                return Ok((file, path));
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(WriteError::create(&path, error)),
        }
    }
    Err(WriteError::NamesTaken { path: path.to_owned() })
}

/// Returns `rig.mcap`, `rig-2.mcap`, `rig-3.mcap`, ...
pub(crate) fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 1 { path.to_owned() } else { with_suffix(path, &number.to_string()) }
}

/// Returns the files with lower numbers than that of `own`, of the files that are called `base`, from the highest number on.
pub(crate) fn numbered_before(base: &Path, own: &Path) -> impl Iterator<Item = PathBuf> {
    let number = (1..=MAX_FILES).find(|&number| numbered(base, number) == own).unwrap_or(1);
    (1..number).rev().map(|number| numbered(base, number)).filter(|path| path.exists())
}

/// Returns the names after a numbered one: `rig-4.mcap`, `rig-5.mcap`, ... for `rig-3.mcap`.
pub(crate) fn numbered_behind(path: &Path) -> impl Iterator<Item = PathBuf> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let number = stem.rsplit_once('-').and_then(|(base, number)| Some((base, number.parse::<u32>().ok()?)));
    let (base, number) = number.unwrap_or((&stem, 1));
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
    let base = path.with_file_name(format!("{base}{}", extension.unwrap_or_default()));
    (number.saturating_add(1)..=MAX_FILES).map(move |number| numbered(&base, number))
}

/// Returns `rig-front.mcap` for `rig.mcap` with the suffix `front`.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
    path.with_file_name(format!("{stem}-{suffix}{}", extension.unwrap_or_default()))
}

/// The reserved space of a file.
pub(crate) struct ReservedSpace {
    file: File,
    /// End of the reserved space; `None` if the file system cannot reserve any.
    until: Option<u64>,
}

impl ReservedSpace {
    pub(crate) fn new(file: File) -> Self {
        Self { file, until: Some(0) }
    }

    /// Returns the size of the file.
    pub(crate) fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Ensures that the file can grow up to `until`: reserves the space unless much more is free.
    ///
    /// # Errors
    /// If the disk is full, or the file may not be that large.
    pub(crate) fn reserve(&mut self, until: u64) -> io::Result<()> {
        let Some(reserved) = self.until.filter(|&reserved| reserved < until) else { return Ok(()) };
        let reserved = reserved.max(self.size_bytes()?);
        let disk = fstatvfs(&self.file)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) > AMPLE_BYTES + until.saturating_sub(reserved) {
            return Ok(());
        }
        let mut full = Errno::NOSPC;
        // If a whole step does not fit, the needed space may still.
        for until in [until + STEP_BYTES, until] {
            match fallocate(&self.file, FallocateFlags::KEEP_SIZE, reserved, until - reserved) {
                Ok(()) => {
                    self.until = Some(until);
                    return Ok(());
                }
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                    self.until = None;
                    return Ok(());
                }
                Err(error @ (Errno::NOSPC | Errno::FBIG | Errno::DQUOT)) => full = error,
                Err(error) => return Err(error.into()),
            }
        }
        Err(full.into())
    }

    /// Ends the file at `size_bytes`, and frees the space after it.
    pub(crate) fn cut(&self, size_bytes: u64) -> io::Result<()> {
        self.file.set_len(size_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbered_before_their_extension() {
        assert_eq!(numbered(Path::new("a/rig.mcap"), 1), Path::new("a/rig.mcap"));
        assert_eq!(numbered(Path::new("a/rig.mcap"), 12), Path::new("a/rig-12.mcap"));
        let behind = |path| numbered_behind(Path::new(path)).next().unwrap();
        assert_eq!(behind("a/rig.mcap"), Path::new("a/rig-2.mcap"));
        assert_eq!(behind("a/rig-b-9.mcap"), Path::new("a/rig-b-10.mcap"));
        assert_eq!(with_suffix(Path::new("a.b/rig.mcap"), "front"), Path::new("a.b/rig-front.mcap"));
    }
}
