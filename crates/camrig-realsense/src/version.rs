//! Versions of librealsense, and their differences.

use std::fmt;

/// A version of librealsense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

/// The first version that records `.db3` instead of `.bag`, and plays both.
const DB3: Version = Version { major: 2, minor: 58, patch: 0 };

impl Version {
    /// Returns the version with librealsense's number, such as 25605 for 2.56.5.
    pub(crate) fn of(number: i32) -> Self {
        let number = u32::try_from(number).unwrap_or(0);
        Self { major: number / 10_000, minor: number / 100 % 100, patch: number % 100 }
    }

    /// Returns the extension of the files that it records.
    pub(crate) fn extension(self) -> &'static str {
        if self >= DB3 { "db3" } else { "bag" }
    }

    /// Returns the reason why it cannot play a file that begins with these bytes, if it is too old.
    pub(crate) fn is_too_old_for(self, begin: &[u8]) -> Option<String> {
        let is_db3 = begin.starts_with(b"SQLite format 3\0");
        (is_db3 && self < DB3).then(|| {
            format!("is a `.db3` recording, which librealsense {DB3} or later plays; this one is {self}")
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_of_recordings_depends_on_the_version() {
        for (number, shown, extension) in [
            (25_605, "2.56.5", "bag"),
            (25_707, "2.57.7", "bag"),
            (25_800, "2.58.0", "db3"),
            (25_901, "2.59.1", "db3"),
            (30_000, "3.0.0", "db3"),
        ] {
            let version = Version::of(number);
            assert_eq!((version.to_string().as_str(), version.extension()), (shown, extension));
        }
        let db3 = b"SQLite format 3\0and more";
        assert_eq!(
            Version::of(25_605).is_too_old_for(db3).unwrap(),
            "is a `.db3` recording, which librealsense 2.58.0 or later plays; this one is 2.56.5"
        );
        assert_eq!(Version::of(25_605).is_too_old_for(b"#ROSBAG V2.0"), None);
        assert_eq!(Version::of(25_901).is_too_old_for(db3), None);
    }
}
