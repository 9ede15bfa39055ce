//! The names of a bag's files. A recorder of ROS 2 that splits writes `bag_0.mcap`, `bag_1.mcap` and so on into a folder, and
//! lists them in `metadata.yaml`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::read::ReadError;

/// The list of the files of a bag.
const METADATA: &str = "metadata.yaml";

/// Maximum size of a list.
const MAX_METADATA_BYTES: u64 = 16 << 20;

/// Maximum number of files of a bag, all of which are open at the same time.
const MAX_FILES: usize = 500;

/// Returns the files of a bag in their order, at least one: those of a folder, or the given one and those that continue it.
///
/// # Errors
/// If `path` is a folder without a list of files, or they are too many.
pub(super) fn files_of(path: &Path) -> Result<Vec<PathBuf>, ReadError> {
    let files = if path.is_dir() {
        let listed = listed_in(path).unwrap_or_default();
        if listed.is_empty() {
            return Err(ReadError::new(
                path,
                format_args!("is a folder whose `{METADATA}` lists no files of a bag"),
            ));
        }
        listed
    } else {
        let folder = path.parent().unwrap_or(Path::new(""));
        let listed = listed_in(folder).unwrap_or_default();
        match listed.iter().position(|file| file.file_name() == path.file_name()) {
            Some(at) => listed[at..].to_vec(),
            None => numbered(path),
        }
    };
    if files.len() > MAX_FILES {
        let what = format!("is a bag of {} files; {MAX_FILES} can be read together", files.len());
        return Err(ReadError::new(path, what));
    }
    Ok(files)
}

/// Returns the files that the list in a folder names; `None` without a list.
fn listed_in(folder: &Path) -> Option<Vec<PathBuf>> {
    let path = folder.join(METADATA);
    if !path.metadata().ok()?.is_file() {
        return None;
    }
    let mut text = String::new();
    File::open(path).ok()?.take(MAX_METADATA_BYTES).read_to_string(&mut text).ok()?;
    // A name from a file must not select another folder.
    let plain = |name: &&str| Path::new(name).file_name().is_some_and(|plain| plain == *name);
    Some(names(&text).filter(plain).map(|name| folder.join(name)).collect())
}

/// Returns the names in the list `relative_file_paths`. Of YAML only the form of rosbag2 and rosbags is read: an item in each
/// line, or all in one pair of brackets.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let behind = text.split_once("relative_file_paths:").map_or("", |(_, behind)| behind);
    let listed = behind.trim_start().strip_prefix('[').and_then(|list| list.split_once(']'));
    let in_line = listed.into_iter().flat_map(|(list, _)| list.split(','));
    let lines = behind.lines().skip(1).take(if listed.is_some() { 0 } else { usize::MAX });
    let items = lines.map_while(|line| line.trim_start().strip_prefix("- "));
    in_line.chain(items).map(|name| name.trim().trim_matches(['"', '\'']))
}

/// Returns the file, and those with the next numbers: `bag_1.mcap` and so on for `bag_0.mcap`.
fn numbered(path: &Path) -> Vec<PathBuf> {
    let mut files = vec![path.to_owned()];
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let (stem, extension) = name.split_once('.').unwrap_or((&name, ""));
    if let Some((base, number)) = stem.rsplit_once('_')
        && let Ok(number) = number.parse::<u32>()
    {
        let next = (number.saturating_add(1)..)
            .map(|next| path.with_file_name(format!("{base}_{next}.{extension}")));
        files.extend(next.take(MAX_FILES).take_while(|next| next.exists()));
    }
    files
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::record::testing::TestFolder;

    fn found(path: &Path) -> Vec<String> {
        let name = |file: &PathBuf| file.file_name().unwrap().to_string_lossy().into_owned();
        files_of(path).unwrap().iter().map(name).collect()
    }

    #[test]
    fn files_are_those_of_the_list_or_of_the_next_numbers() {
        let folder = TestFolder::new("bag-names");
        let folder = folder.path();
        for name in ["bag_0.db3", "bag_1.db3", "bag_3.db3", "other.db3"] {
            fs::write(folder.join(name), "").unwrap();
        }
        assert_eq!(found(&folder.join("bag_0.db3")), ["bag_0.db3", "bag_1.db3"]);
        assert_eq!(found(&folder.join("other.db3")), ["other.db3"]);
        let error = files_of(folder).unwrap_err().to_string();
        assert!(error.ends_with("is a folder whose `metadata.yaml` lists no files of a bag"), "{error}");
        let list = "rosbag2_bagfile_information:\n  version: 5\n  relative_file_paths:\n    - bag_0.db3\n    - \
                    \"bag_2.db3\"\n    - ../bag_1.db3\n  duration:\n    - 7\n";
        fs::write(folder.join("metadata.yaml"), list).unwrap();
        assert_eq!(found(folder), ["bag_0.db3", "bag_2.db3"]);
        assert_eq!(found(&folder.join("bag_2.db3")), ["bag_2.db3"]);
        assert_eq!(found(&folder.join("bag_3.db3")), ["bag_3.db3"]);
        fs::write(folder.join("metadata.yaml"), "relative_file_paths: ['bag_3.db3', bag_0.db3]\n").unwrap();
        assert_eq!(found(folder), ["bag_3.db3", "bag_0.db3"]);
    }
}
