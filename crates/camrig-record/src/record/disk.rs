//! A file that grows: named so that none is ever overwritten, with room on the disk before anything is
//! written.
//!
//! A full disk shows when room is asked for, not in the middle of a chunk: so there is always room left for
//! the index, and the file ends whole. It deliberately knows nothing of what is written.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;

/// The room that is asked for at once, so that it is rarely asked for.
const STEP_BYTES: u64 = 16 << 20;

/// Where more than this is free, room is not asked for: on a file system in memory that costs a seventh of what a plain
/// write does. Whoever takes it all before the next chunk costs the file its index.
const PLENTY_BYTES: u64 = 1 << 30;

/// The most files of one name.
const MAX_FILES: u32 = 100_000;

/// Makes the first file of this name that does not exist: `rig.mcap`, `rig-2.mcap`, ... and its folder.
///
/// # Errors
/// What went wrong, with the name of the file.
pub(crate) fn create(path: &Path) -> Result<(File, PathBuf), String> {
    let fail = |path: &Path, error: io::Error| format!("cannot make `{}`: {error}", path.display());
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|error| fail(folder, error))?;
    }
    for number in 1..=MAX_FILES {
        let path = numbered(path, number);
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(file) => return Ok((file, path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(fail(&path, error)),
        }
    }
    Err(format!("`{}` and {MAX_FILES} files after it exist", path.display()))
}

/// `rig.mcap`, `rig-2.mcap`, `rig-3.mcap`, ...
pub(crate) fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 1 { path.to_owned() } else { with_suffix(path, &number.to_string()) }
}

/// `rig.mcap` with the suffix `front` is `rig-front.mcap`.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map(|extension| format!(".{}", extension.to_string_lossy()));
    path.with_file_name(format!("{stem}-{suffix}{}", extension.unwrap_or_default()))
}

/// The room that a file has on its disk.
pub(crate) struct Room {
    file: File,
    /// Up to here there is room. None where the file system cannot promise any.
    until: Option<u64>,
}

impl Room {
    pub(crate) fn new(file: File) -> Self {
        Self { file, until: Some(0) }
    }

    /// The bytes of the file.
    pub(crate) fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Makes sure that the file can grow up to `until`: room is there, or plenty is free.
    ///
    /// # Errors
    /// When the disk is full, or the file may not be so large.
    pub(crate) fn reserve(&mut self, until: u64) -> io::Result<()> {
        let Some(reserved) = self.until.filter(|&reserved| reserved < until) else { return Ok(()) };
        let reserved = reserved.max(self.size_bytes()?);
        let disk = fstatvfs(&self.file)?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) > PLENTY_BYTES + until.saturating_sub(reserved) {
            return Ok(());
        }
        let mut full = Errno::NOSPC;
        // Where a step is too much, what is needed may still be there.
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

    /// Ends the file at `size_bytes`, and gives back the room behind it.
    pub(crate) fn cut(&self, size_bytes: u64) -> io::Result<()> {
        self.file.set_len(size_bytes)
    }
}

/// An error, with the file that it is about.
pub(super) fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!("cannot write `{}`: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbered_before_their_extension() {
        assert_eq!(numbered(Path::new("a/rig.mcap"), 1), Path::new("a/rig.mcap"));
        assert_eq!(numbered(Path::new("a/rig.mcap"), 12), Path::new("a/rig-12.mcap"));
        assert_eq!(with_suffix(Path::new("a.b/rig.mcap"), "front"), Path::new("a.b/rig-front.mcap"));
    }
}
