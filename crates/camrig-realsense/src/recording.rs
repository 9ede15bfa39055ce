//! Files for recording live cameras. Existing files are never replaced.

use std::path::{Path, PathBuf};

use camrig::{DriverError, probe_folder};

use crate::sys;

/// Maximum number of parts of a recording: one for each instance of a restarted camera.
const PARTS_MAX: u32 = 9999;

/// Checks that a recording can be written to `path`, without writing anything.
pub(crate) fn check(path: &Path) -> Result<(), DriverError> {
    let error = |fact: String| Err(DriverError::new(format!("`record_to`: {fact}")).at("record_to"));
    let name = path.display();
    let version = sys::version();
    let expected = version.extension();
    match path.extension().and_then(|extension| extension.to_str()) {
        Some(extension) if extension == expected => {}
        Some("bag" | "db3") => {
            return error(format!(
                "`{name}` does not end with `.{expected}`: the extension that librealsense {version} records"
            ));
        }
        _ => {
            return error(format!(
                "`{name}` does not end with `.{expected}`, as librealsense's tools expect"
            ));
        }
    }
    if path.exists() {
        return error(format!("file `{name}` exists, and no recording is replaced"));
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    probe_folder(folder).or_else(error)
}

/// Returns the file to write now: `path`, or for a restarted camera with `-2` after its name, and so on.
pub(crate) fn free_path(path: &Path) -> Result<PathBuf, DriverError> {
    let part = |number: u32| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        match number {
            1 => path.to_owned(),
            number => path.with_file_name(format!("{stem}-{number}.{extension}")),
        }
    };
    (1..=PARTS_MAX).map(part).find(|path| !path.exists()).ok_or_else(|| {
        DriverError::new(format!("`record_to`: there are {PARTS_MAX} parts of `{}` already", path.display()))
            .at("record_to")
    })
}
