//! Files with facts that were found when cameras were opened, so that later fewer have to be opened. They are hints: everything
//! works without them, and they are verified when a camera is opened.

use std::fs::{OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::PathBuf;

use rustix::fs::{Access, access};

use crate::turn::OF_OTHERS;

/// The folders if the user has none of their own, in order of preference.
const FOLDERS: [&str; 2] = ["/run/lock", "/tmp"];

/// Maximum size of a file in bytes: thousands of cameras.
const BYTES_MAX: u64 = 1 << 16;

/// One of these files.
#[derive(Debug)]
pub(crate) struct HintFile(PathBuf);

impl HintFile {
    /// Returns the file called `name` in the first folder that can be written: that of the user's caches, which outlasts a boot,
    /// that of the user's run-time files, or one that all users share.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let variable = |name| std::env::var_os(name).map(PathBuf::from);
        let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        let own = [cache, variable("XDG_RUNTIME_DIR")].into_iter().flatten();
        let own = own.filter(|folder| folder.is_absolute());
        Self::in_first(own.chain(FOLDERS.map(PathBuf::from)), name)
    }

    /// Returns the file called `name` in the first of these folders that can be written.
    fn in_first(mut folders: impl Iterator<Item = PathBuf>, name: &str) -> Option<Self> {
        let is_writable =
            |folder: &PathBuf| folder.is_dir() && access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok();
        folders.find(is_writable).map(|folder| Self(folder.join(name)))
    }

    #[cfg(test)]
    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Returns its text; empty if it cannot be read.
    pub(crate) fn read(&self) -> String {
        let read = || -> io::Result<String> {
            let file = OpenOptions::new().read(true).custom_flags(OF_OTHERS).open(&self.0)?;
            let mut text = String::new();
            if file.metadata()?.is_file() {
                file.take(BYTES_MAX).read_to_string(&mut text)?;
            }
            Ok(text)
        };
        read().unwrap_or_default()
    }

    /// Replaces its text, if that is possible.
    pub(crate) fn write(&self, text: &str) {
        let Some(folder) = self.0.parent() else { return };
        // In a folder of all users, the name of the temporary file cannot be guessed, and a link of another user under the
        // final name is replaced.
        let permissions = Permissions::from_mode(0o644);
        let beside = tempfile::Builder::new().prefix(".camrig-").permissions(permissions).tempfile_in(folder);
        let written = beside.and_then(|mut file| file.write_all(text.as_bytes()).map(|()| file));
        // Without it, more cameras are opened.
        let _ = written.map(|file| file.persist(&self.0));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::tests::WATCHDOG;
    use crate::turn::tests::{mkfifo, runs_with_read_only, worker};

    #[test]
    fn a_fifo_of_another_user_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("hints");
        mkfifo(&own);
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let file = HintFile::at(own);
        std::thread::spawn(move || sender.send(file.read()));
        assert_eq!(receiver.recv_timeout(WATCHDOG).as_deref(), Ok(""));
    }

    /// A service sees /run/lock read-only.
    #[test]
    fn a_folder_that_cannot_be_written_is_passed_over() {
        if let Some((folder, _)) = worker() {
            let next = folder.parent().unwrap().to_owned();
            let found = HintFile::in_first([folder, next.clone()].into_iter(), "hints");
            assert_eq!(found.unwrap().0, next.join("hints"));
            return;
        }
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("shared");
        fs::create_dir(&folder).unwrap();
        runs_with_read_only(&folder, "hints::tests::a_folder_that_cannot_be_written_is_passed_over");
    }

    #[test]
    fn a_file_is_replaced_whatever_others_have_put_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let (own, other) = (folder.path().join("hints"), folder.path().join("other"));
        fs::write(&other, "of another program").unwrap();
        symlink(&other, &own).unwrap();
        symlink(&other, own.with_extension(std::process::id().to_string())).unwrap();
        let file = HintFile::at(own.clone());
        file.write("one");
        assert_eq!((file.read().as_str(), own.is_symlink()), ("one", false));
        file.write("two");
        assert_eq!(file.read(), "two");
        assert_eq!(fs::read_to_string(&other).unwrap(), "of another program");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        // Others read it, as any file.
        let mode = |path: &PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o644;
        assert_eq!(mode(&own), mode(&other));
    }
}
