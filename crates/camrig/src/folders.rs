//! Folders that processors write into.

use std::fs;
use std::path::Path;

use rustix::fs::{Access, access};

/// Checks, without writing, that files can be made in `folder`: it exists, and this process may write into it.
///
/// # Errors
/// The reason, such as `` `a/b` is not a folder``, or which folder is missing.
pub fn probe_folder(folder: &Path) -> Result<(), String> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    // The nearest one that exists; a relative path ends with the empty one, which is the current folder.
    let exists = |path: &&Path| path.as_os_str().is_empty() || fs::symlink_metadata(path).is_ok();
    let nearest = folder.ancestors().find(exists).filter(|path| !path.as_os_str().is_empty());
    let nearest = nearest.unwrap_or(Path::new("."));
    let shown = nearest.display();
    match fs::metadata(nearest) {
        Ok(metadata) if !metadata.is_dir() => Err(format!("`{shown}` is not a folder")),
        Ok(_) if nearest != folder => {
            Err(format!("there is no folder `{}`; create it first", folder.display()))
        }
        Ok(_) => access(nearest, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| format!("`{shown}`: {}", std::io::Error::from(error))),
        Err(error) => Err(format!("`{shown}`: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestFolder;

    #[test]
    fn a_folder_is_one_that_exists() {
        let folder = TestFolder::new("probe-folder");
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(folder.path()).unwrap();
        fs::write(path("file"), "").unwrap();
        std::os::unix::fs::symlink("nowhere", path("link")).unwrap();
        assert_eq!(probe_folder(Path::new("")), Ok(()));
        assert_eq!(probe_folder(folder.path()), Ok(()));
        let missing = |path: &str| Err(format!("there is no folder `{path}`; create it first"));
        assert_eq!(probe_folder(Path::new("not-there/deep")), missing("not-there/deep"));
        assert_eq!(probe_folder(&path("a/b")), missing(&path("a/b").display().to_string()));
        let file = path("file").display().to_string();
        assert_eq!(probe_folder(&path("file")), Err(format!("`{file}` is not a folder")));
        // The file itself is found behind it.
        assert_eq!(probe_folder(&path("file/a")), Err(format!("`{file}` is not a folder")));
        let link = path("link").display().to_string();
        assert_eq!(
            probe_folder(&path("link/a")),
            Err(format!("`{link}`: No such file or directory (os error 2)"))
        );
        assert!(probe_folder(Path::new("/dev/null/a")).is_err());
    }
}
