//! Files that are written under another name in the same folder, then renamed. So whenever the program is killed, a file has
//! its old content or its new one, and no other process reads a part of it.
//!
//! The other name cannot be guessed and is always new, so no symbolic link is followed. Content is not synced to the disk:
//! after a power loss a file may be cut.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use tempfile::NamedTempFile;

use crate::folders::probe_folder;

/// The permissions of a new file, before the process's umask removes some.
const MODE: u32 = 0o666;

/// Maximum number of links that are followed, as by the system.
const LINKS_MAX: usize = 40;

/// A file that gets its name when it is complete. If it is dropped before, nothing is left.
#[derive(Debug)]
pub struct NewFile {
    file: NamedTempFile,
    path: PathBuf,
    replaces: bool,
}

impl NewFile {
    /// Begins a file that [`keep`](Self::keep) calls `path`, in place of one that may exist.
    ///
    /// # Errors
    /// If the folder cannot be written, or `path` is a folder or a file that may not be written.
    pub fn replacing(path: &Path) -> io::Result<Self> {
        let path = target(path)?;
        let existing = match File::options().write(true).open(&path) {
            Ok(file) => Some(file.metadata()?.permissions()),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
            Err(error) => return Err(error),
        };
        let new = Self::begin(path, true)?;
        if let Some(permissions) = existing {
            new.file.as_file().set_permissions(permissions)?;
        }
        Ok(new)
    }

    /// Begins a file that [`keep`](Self::keep) calls `path`, which must not exist.
    ///
    /// # Errors
    /// If the folder cannot be written, or `path` exists.
    pub fn creating(path: &Path) -> io::Result<Self> {
        if path.symlink_metadata().is_ok() {
            return Err(Errno::EXIST.into());
        }
        Self::begin(path.to_owned(), false)
    }

    fn begin(path: PathBuf, replaces: bool) -> io::Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut prefix = OsString::from(".");
        prefix.push(path.file_name().ok_or(Errno::ISDIR)?);
        prefix.push("-");
        let made = tempfile::Builder::new().prefix(&prefix).suffix(".part").make_in(folder, open_new);
        let file = made.map_err(|error| match (error.kind(), probe_folder(folder)) {
            (ErrorKind::NotFound | ErrorKind::NotADirectory, Err(reason)) => {
                io::Error::new(error.kind(), reason)
            }
            _ => error,
        })?;
        Ok(Self { file, path, replaces })
    }

    /// Returns the file, to be written.
    pub fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Returns the path of the file until it gets its name, for another program that writes it.
    pub fn beside(&self) -> &Path {
        self.file.path()
    }

    /// Returns another handle of the file.
    ///
    /// # Errors
    /// If no descriptor is left.
    pub fn try_clone(&self) -> io::Result<File> {
        self.file.as_file().try_clone()
    }

    /// Gives the file another name, one that does not exist: for a part of the content.
    ///
    /// # Errors
    /// As [`Self::keep`].
    pub fn keep_as(self, path: &Path) -> io::Result<()> {
        self.file.persist_noclobber(path).map(drop).map_err(|error| error.error)
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// If it cannot be renamed; then nothing of it is left.
    pub fn keep(self) -> io::Result<()> {
        let Self { file, path, replaces } = self;
        let kept = if replaces { file.persist(path) } else { file.persist_noclobber(path) };
        kept.map(drop).map_err(|error| error.error)
    }
}

/// Returns the path to which links lead, also that of a file that does not exist yet.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let Ok(link) = fs::read_link(&path) else { return Ok(path) };
        path.pop();
        path.push(link);
    }
    Err(Errno::LOOP.into())
}

/// Creates a file. A path that exists is an error, also if it is a link that leads nowhere.
fn open_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)
}

/// Writes a file, in place of one that may exist. Pipes, devices and other special files are written
/// directly.
///
/// # Errors
/// If it cannot be written; an existing file is unchanged.
pub fn write(path: &Path, content: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    if is_special(path) {
        return content(&mut open_special(path)?);
    }
    let mut new = NewFile::replacing(path)?;
    content(new.file())?;
    new.keep()
}

/// Checks that [`write()`] can write a file, as far as this can be known before. Leaves nothing.
///
/// # Errors
/// If its folder cannot be written, or it is a folder or a file that may not be written.
pub fn check(path: &Path) -> io::Result<()> {
    if is_special(path) { Ok(()) } else { NewFile::replacing(path).map(drop) }
}

/// Opens a special file. The standard streams are those of this process, so that its later lines come behind.
fn open_special(path: &Path) -> io::Result<File> {
    match path.to_str() {
        Some("/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1") => {
            Ok(io::stdout().as_fd().try_clone_to_owned()?.into())
        }
        Some("/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2") => {
            Ok(io::stderr().as_fd().try_clone_to_owned()?.into())
        }
        _ => File::options().append(true).open(path),
    }
}

/// Returns whether `path` is neither a regular file nor a folder, or a descriptor of a process, such as `/dev/stdout`, which
/// may lead to a file that others write too.
fn is_special(path: &Path) -> bool {
    let is_stream = ["/dev/stdin", "/dev/stdout", "/dev/stderr"].iter().any(|it| path == Path::new(it));
    let is_descriptor = is_stream || ["/dev/fd", "/proc"].iter().any(|folder| path.starts_with(folder));
    is_descriptor && path.is_symlink()
        || fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::testing::TestFolder;

    fn folder(name: &str) -> TestFolder {
        let folder = TestFolder::new(name);
        fs::create_dir(folder.path()).unwrap();
        folder
    }

    /// Writes a file that fails after its first bytes.
    fn fail(path: &Path) -> String {
        write(path, |file| file.write_all(b"new").and(Err(ErrorKind::StorageFull.into())))
            .unwrap_err()
            .to_string()
    }

    fn write_text(path: &Path, text: &str) -> io::Result<()> {
        write(path, |file| file.write_all(text.as_bytes()))
    }

    #[test]
    fn a_file_has_its_old_content_until_it_is_complete() {
        let folder = folder("files-whole");
        let path = folder.path().join("a");
        write_text(&path, "old").unwrap();
        assert_eq!(fail(&path), "no storage space");
        let mut new = NewFile::replacing(&path).unwrap();
        new.file().write_all(b"new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        new.keep().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        check(&path).unwrap();
        assert_eq!(folder.file_names(), ["a"]);
    }

    #[test]
    fn a_file_keeps_its_permissions_and_a_link_its_place() {
        let folder = folder("files-links");
        let (path, link) = (folder.path().join("a"), folder.path().join("link"));
        write_text(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        symlink(&path, &link).unwrap();
        write_text(&link, "new").unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode), ("new", 0o640));
        assert!(link.is_symlink());
    }

    #[test]
    fn a_new_file_replaces_nothing() {
        let folder = folder("files-new");
        let path = folder.path().join("a");
        let mut new = NewFile::creating(&path).unwrap();
        new.file().write_all(b"new").unwrap();
        // Another program creates the file first.
        fs::write(&path, "old").unwrap();
        assert_eq!(new.keep().unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(NewFile::creating(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        // A link that leads nowhere yet is not followed.
        let link = folder.path().join("link");
        symlink("absent", &link).unwrap();
        assert_eq!(NewFile::creating(&link).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(folder.file_names(), ["a", "link"]);
    }

    #[test]
    fn nobody_can_guess_the_name_beside() {
        let folder = folder("files-beside");
        let path = folder.path().join("a");
        let [one, other] = [(); 2].map(|()| NewFile::replacing(&path).unwrap());
        let random = |new: &NewFile| {
            let name = new.beside().file_name().unwrap().to_string_lossy().into_owned();
            let random = name.strip_prefix(".a-").and_then(|rest| rest.strip_suffix(".part"));
            let random = random.unwrap_or_default().to_owned();
            assert!(random.len() >= 6, "{name}");
            random
        };
        assert_ne!(random(&one), random(&other));
        assert!(one.beside().exists() && other.beside().exists());
        drop((one, other));
        assert!(folder.file_names().is_empty());
    }

    /// Even where another user has guessed the name beside.
    #[test]
    fn a_new_file_follows_no_link() {
        let folder = folder("files-follow");
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        symlink(&target, &link).unwrap();
        assert_eq!(open_new(&link).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert!(!target.exists());
        fs::write(&target, "of another program").unwrap();
        assert_eq!(open_new(&link).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&target).unwrap(), "of another program");
    }

    #[test]
    fn a_device_is_written_directly() {
        write_text(Path::new("/dev/null"), "text").unwrap();
        check(Path::new("/dev/full")).unwrap();
        let error = write_text(Path::new("/dev/full"), "text").unwrap_err();
        assert_eq!(error.to_string(), "No space left on device (os error 28)");
    }

    /// As `--report /dev/stdout` in a script whose output is a file.
    #[test]
    fn a_descriptor_is_written_directly() {
        let folder = folder("files-descriptor");
        let path = folder.path().join("out");
        fs::write(&path, "first\n").unwrap();
        let mut out = File::options().append(true).open(&path).unwrap();
        let descriptor = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&out));
        check(Path::new(&descriptor)).unwrap();
        write_text(Path::new(&descriptor), "report\n").unwrap();
        out.write_all(b"last\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "first\nreport\nlast\n");
    }

    #[test]
    fn a_link_to_a_file_that_does_not_exist_yet_is_followed() {
        let folder = folder("files-future");
        let (first, link) = (folder.path().join("first"), folder.path().join("link"));
        symlink("link", &first).unwrap();
        symlink(folder.path().join("target"), &link).unwrap();
        check(&first).unwrap();
        write_text(&first, "new").unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("target")).unwrap(), "new");
        assert!(first.is_symlink() && link.is_symlink());
        let circle = folder.path().join("circle");
        symlink("circle", &circle).unwrap();
        assert!(check(&circle).is_err());
    }

    #[test]
    fn errors_name_the_folder_or_are_those_of_the_system() {
        let folder = folder("files-errors");
        let path = |name: &str| folder.path().join(name);
        let error = |name: &str| check(&path(name)).unwrap_err().to_string();
        fs::write(path("file"), "").unwrap();
        assert_eq!(error("no/a"), format!("there is no folder `{}`; create it first", path("no").display()));
        assert_eq!(error("file/a"), format!("`{}` is not a folder", path("file").display()));
        assert!(!path("no").exists());
        assert_eq!(error("."), "Is a directory (os error 21)");
    }
}
