//! The file of an earlier instance of the recorder, which failed or was killed.

use std::collections::BTreeMap;
use std::path::Path;

use crate::read::{Last, Recording};
use crate::write::numbered_before;

/// The facts about the file that a recorder continues.
pub(super) struct Before {
    /// The `log_time` at which the recording began.
    pub(super) origin_nanos: u64,
    pub(super) part: u32,
    /// The last frameset of each camera.
    pub(super) last: BTreeMap<String, Last>,
}

impl Before {
    /// Reads the newest file before `own`, of the files that are called `base`; `None` if there is none, if it has no
    /// framesets, or if its recording has ended.
    pub(super) fn find(base: &Path, own: &Path) -> Option<Self> {
        let path = numbered_before(base, own)?;
        let recording = match Recording::skim(&path) {
            Ok(recording) => recording,
            Err(error) => {
                log::warn!("the recording before the restart cannot be read: {error}");
                return None;
            }
        };
        let camera = recording.cameras().first().filter(|_| recording.may_continue())?;
        let (origin_nanos, part) = (camera.origin_nanos, camera.part);
        Some(Self { origin_nanos, part, last: recording.last_framesets() })
    }

    /// Returns the largest number of a producer, whose framesets may be of several cameras.
    pub(super) fn last_sequence(&self, producer: &str) -> Option<u64> {
        let is_of =
            |name: &str| name == producer || name.split_once('/').is_some_and(|(by, _)| by == producer);
        self.last.iter().filter(|(name, _)| is_of(name)).map(|(_, last)| last.sequence).max()
    }
}
