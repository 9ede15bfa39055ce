//! The speed at which a disk takes a recording.

use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use crate::finding::{Finding, State};

const TOPIC: &str = "disk";

/// Number of bytes that are written: more than fits into a disk's own cache.
pub const DISK_BYTES: u64 = 256 << 20;

/// Number of bytes of one write.
const BLOCK_BYTES: usize = 1 << 20;

/// The share of the measured speed that a recording may need: disks have slow moments.
const SHARE_PERCENT: u64 = 70;

/// Writes [`DISK_BYTES`] into a file without a name in `folder`, and compares the speed with `need_bytes` per second.
///
/// # Errors
/// If the file cannot be written.
pub fn measure_disk(folder: &Path, need_bytes: Option<u64>) -> io::Result<Finding> {
    let mut file = tempfile::tempfile_in(folder)?;
    // Bytes that no file system compresses to nothing.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let block: Vec<u8> = (0..BLOCK_BYTES / 8).flat_map(|_| next()).collect();
    let begin = Instant::now();
    for _ in 0..DISK_BYTES / BLOCK_BYTES as u64 {
        file.write_all(&block)?;
    }
    file.sync_data()?;
    let nanoseconds = begin.elapsed().as_nanos().max(1);
    let speed = u64::try_from(u128::from(DISK_BYTES) * 1_000_000_000 / nanoseconds).unwrap_or(u64::MAX);
    let free = rustix::fs::fstatvfs(&file)?;
    Ok(judge(folder, speed, free.f_bavail.saturating_mul(free.f_frsize), need_bytes))
}

/// Judges a disk that takes `speed` bytes per second and has `free` bytes left.
fn judge(folder: &Path, speed: u64, free: u64, need: Option<u64>) -> Finding {
    let megabytes = |bytes: u64| bytes / 1_000_000;
    let fact = format!(
        "`{}` takes {} MB/s and has {} GB left",
        folder.display(),
        megabytes(speed),
        free / 1_000_000_000
    );
    let Some(need) = need.filter(|&need| need > 0) else {
        return Finding::new(TOPIC, State::Ok, fact);
    };
    let fact = format!(
        "{fact}; the rig's recordings take up to {} MB/s before compression, {} minutes",
        megabytes(need),
        free / need / 60
    );
    let advice = "`compression = \"zstd\"`, smaller profiles, or a faster disk";
    if need > speed {
        return Finding::new(TOPIC, State::Problem, fact).advise(advice);
    }
    if need > speed / 100 * SHARE_PERCENT {
        return Finding::new(TOPIC, State::Warning, fact).advise(advice);
    }
    Finding::new(TOPIC, State::Ok, fact)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_compared_with_the_needs_of_recordings() {
        let state = |need| judge(Path::new("/data"), 100_000_000, 60_000_000_000, need).state;
        assert_eq!(
            [None, Some(0), Some(69_999_999), Some(70_000_001), Some(100_000_001)].map(state),
            [State::Ok, State::Ok, State::Ok, State::Warning, State::Problem]
        );
        assert_eq!(
            judge(Path::new("/data"), 100_000_000, 60_000_000_000, Some(50_000_000)).fact,
            "`/data` takes 100 MB/s and has 60 GB left; the rig's recordings take up to 50 MB/s before compression, 20 minutes"
        );
    }

    #[test]
    fn a_measurement_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let finding = measure_disk(folder.path(), None).unwrap();
        assert_eq!((finding.topic, finding.state), ("disk", State::Ok));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let missing = measure_disk(&folder.path().join("missing"), None);
        assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
