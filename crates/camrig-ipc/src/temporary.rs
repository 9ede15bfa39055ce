//! The folder for sockets: one that can be written, with a path short enough for an address.

use std::io::{Error, Result};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;

/// Maximum number of bytes of a socket's path: an address has one more, which is 0.
const PATH_BYTES_MAX: usize = 107;

/// Number of bytes that ipc-channel adds to a folder: `/.tmpXXXXXX/socket`.
const SOCKET_BYTES: usize = 18;

/// Folders to try, in this order, after `TMPDIR`: the environment variable, or the path.
const OTHERS: [&str; 2] = ["XDG_RUNTIME_DIR", "/tmp"];

/// Returns the path of a new folder called `name`, in the first of `TMPDIR`, `XDG_RUNTIME_DIR` and `/tmp` where it can be
/// created and a socket in it has a valid address. The folder is not created.
///
/// # Errors
/// If there is none: each with its path and reason.
pub(crate) fn path_of(name: &str) -> Result<PathBuf> {
    let variable = |name| (name, std::env::var_os(name).map(PathBuf::from));
    let others =
        OTHERS.map(|it| if it.starts_with('/') { (it, Some(PathBuf::from(it))) } else { variable(it) });
    choose([variable("TMPDIR")].into_iter().chain(others), name, is_writable)
}

/// Returns the path of `name` in the first folder that fits.
fn choose<'a>(
    folders: impl IntoIterator<Item = (&'a str, Option<PathBuf>)>,
    name: &str,
    is_writable: impl Fn(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let mut reasons = Vec::new();
    // A variable that is set to nothing counts as not set.
    let set = folders.into_iter().filter_map(|(variable, path)| Some((variable, path?)));
    for (variable, folder) in set.filter(|(_, folder)| !folder.as_os_str().is_empty()) {
        let absolute = std::path::absolute(&folder)?;
        let fits = check(&absolute, name).and_then(|()| is_writable(&absolute).map_err(|it| it.to_string()));
        match fits {
            Ok(()) => return Ok(absolute.join(name)),
            Err(reason) if Path::new(variable) == folder => reasons.push(format!("{variable}: {reason}")),
            Err(reason) => reasons.push(format!("{variable}={}: {reason}", folder.display())),
        }
    }
    Err(Error::other(format!("no temporary folder can have a socket: {}", reasons.join("; "))))
}

/// Checks that a socket in the folder `name` of `folder` has a valid address.
fn check(folder: &Path, name: &str) -> std::result::Result<(), String> {
    let Some(path) = folder.to_str() else {
        return Err("its path is not UTF-8".to_owned());
    };
    let most = PATH_BYTES_MAX - SOCKET_BYTES - 1 - name.len();
    if path.len() > most { Err(format!("its path is longer than {most} bytes")) } else { Ok(()) }
}

/// Checks that something can be created in a folder: by a file without a name, which leaves nothing.
fn is_writable(folder: &Path) -> Result<()> {
    match openat(CWD, folder, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR) {
        Ok(_) => Ok(()),
        // The file system has no such files. That of `/proc` has none either: root may write there, but can create nothing.
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
            tempfile::Builder::new().prefix(".camrig-").tempdir_in(folder)?.close()
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    const NAME: &str = ".camrig-1-2-3";

    fn chosen(folders: &[(&str, &OsStr)]) -> std::result::Result<String, String> {
        let folders = folders.iter().map(|&(variable, path)| (variable, Some(PathBuf::from(path))));
        let fails = |folder: &Path| {
            if folder.ends_with("full") { Err(Errno::ROFS.into()) } else { Ok(()) }
        };
        let chosen = choose(folders, NAME, fails);
        chosen.map(|path| path.display().to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_first_folder_that_fits_is_taken() {
        let (a, b, empty) = (OsStr::new("/a"), OsStr::new("/b"), OsStr::new(""));
        assert_eq!(chosen(&[("TMPDIR", a), ("/b", b)]).unwrap(), "/a/.camrig-1-2-3");
        assert_eq!(chosen(&[("TMPDIR", empty), ("/b", b)]).unwrap(), "/b/.camrig-1-2-3");
        assert_eq!(chosen(&[("TMPDIR", OsStr::new("/full")), ("/b", b)]).unwrap(), "/b/.camrig-1-2-3");
        let relative = chosen(&[("TMPDIR", OsStr::new("x"))]).unwrap();
        assert_eq!(Path::new(&relative), std::env::current_dir().unwrap().join("x").join(NAME));
    }

    #[test]
    fn every_folder_that_does_not_fit_is_named_with_its_reason() {
        let long = format!("/{}", "x".repeat(75));
        let folders = [
            ("TMPDIR", OsStr::new(&long)),
            ("XDG_RUNTIME_DIR", OsStr::from_bytes(b"/\xff")),
            ("/full", OsStr::new("/full")),
        ];
        assert_eq!(
            chosen(&folders).unwrap_err(),
            format!(
                "no temporary folder can have a socket: TMPDIR={long}: its path is longer than 75 bytes; \
                 XDG_RUNTIME_DIR=/\u{fffd}: its path is not UTF-8; /full: Read-only file system (os error 30)"
            )
        );
        assert_eq!(
            chosen(&[("TMPDIR", OsStr::new(&long[..75]))]).unwrap(),
            format!("{}/{NAME}", &long[..75])
        );
    }

    #[test]
    fn a_folder_is_checked_without_leaving_anything() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("folder");
        assert_eq!(is_writable(&folder).unwrap_err().raw_os_error(), Some(Errno::NOENT.raw_os_error()));
        std::fs::create_dir(&folder).unwrap();
        is_writable(&folder).unwrap();
        // Fails unless it is empty.
        std::fs::remove_dir(&folder).unwrap();
    }

    #[test]
    fn a_folder_in_which_even_root_can_create_nothing_does_not_fit() {
        for folder in ["/proc", "/sys"] {
            assert!(is_writable(Path::new(folder)).is_err(), "{folder}");
        }
    }
}
