//! Files with facts that were found when cameras were opened, so that later fewer have to be opened. They are hints: everything
//! works without them, and they are verified when a camera is opened.

use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// The folders if the user has none of their own, in order of preference.
const FOLDERS: [&str; 2] = ["/run/lock", "/tmp"];

/// Maximum size of a file in bytes: thousands of cameras.
const BYTES_MAX: u64 = 1 << 16;

/// One of these files.
#[derive(Debug)]
pub(crate) struct HintFile(PathBuf);

impl HintFile {
    /// Returns the file called `name` in the first folder that exists: that of the user's caches, which outlasts a boot,
    /// that of the user's run-time files, or one that all users share.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let variable = |name| std::env::var_os(name).map(PathBuf::from);
        let cache = variable("XDG_CACHE_HOME").or_else(|| Some(variable("HOME")?.join(".cache")));
        let own = [cache, variable("XDG_RUNTIME_DIR")].into_iter().flatten();
        let mut folders = own.filter(|folder| folder.is_absolute()).chain(FOLDERS.map(PathBuf::from));
        folders.find(|folder| folder.is_dir()).map(|folder| Self(folder.join(name)))
    }

    #[cfg(test)]
    pub(crate) fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Returns its text; empty if it cannot be read.
    pub(crate) fn read(&self) -> String {
        let mut text = String::new();
        let read = File::open(&self.0).and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text));
        if read.is_ok() { text } else { String::new() }
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
