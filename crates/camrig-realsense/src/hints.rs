//! Files with facts that were found when cameras were opened, so that later fewer have to be opened. They are hints: everything
//! works without them, and they are verified when a camera is opened.

use std::fs::{self, File};
use std::io::{Read, Write};
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
        // In a folder of all users the name may be another user's link, which must not be followed.
        let beside = self.0.with_extension(std::process::id().to_string());
        let written = File::create_new(&beside)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(&beside, &self.0));
        if written.is_err() {
            let _ = fs::remove_file(&beside);
        }
    }
}
