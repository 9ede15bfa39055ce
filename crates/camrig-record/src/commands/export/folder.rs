//! Files and folders of an export: created, never overwritten, and named in errors.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use camrig::files::NewFile;
use camrig::probe_folder;

/// Creates the folder of a camera. Returns its path.
pub(super) fn of_camera(output: &Path, name: &str) -> io::Result<PathBuf> {
    // A name from a file must not select another folder.
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    if !name.split('/').all(plain) {
        return Err(io::Error::other(format!("`{name}` is not the name of a folder")));
    }
    let path = output.join(name);
    make(&path)?;
    Ok(path)
}

/// Creates a file that does not exist, completely or not at all.
pub(super) fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let create = || {
        let mut file = NewFile::creating(path)?;
        file.file().write_all(bytes)?;
        file.keep()
    };
    create().map_err(|error| named(path, &error))
}

/// Creates a list that is written line by line, so that it lists all exported framesets whenever the program ends.
pub(super) fn list(path: &Path, first: &str) -> io::Result<fs::File> {
    let create = || {
        let mut list = fs::File::create_new(path)?;
        list.write_all(first.as_bytes())?;
        Ok(list)
    };
    create().map_err(|error| named(path, &error))
}

/// Returns an error that names the file, which is below the folder that the user named.
pub(super) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
}

/// Creates the folder that the user named, if it does not exist. Folders above it are the user's to create.
///
/// # Errors
/// If it cannot be created, as when its parent does not exist.
pub(in super::super) fn make_output(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new(""));
    probe_folder(parent).map_err(io::Error::other)?;
    fs::create_dir(path)
}

/// Creates a folder below the user's, with those between.
pub(super) fn make(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path).map_err(|error| named(path, &error))
}
