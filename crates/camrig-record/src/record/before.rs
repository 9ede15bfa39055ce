//! The file of an earlier instance of the recorder, which failed or was killed.

use std::collections::BTreeMap;
use std::path::Path;

use crate::read::{Last, Recording};
use crate::write::numbered_before;

/// Maximum number of files that are searched for the one before.
const MAX_CANDIDATES: usize = 8;

/// The facts about the file that a recorder continues.
pub(super) struct Before {
    /// The `log_time` at which the recording began.
    pub(super) origin_nanos: u64,
    pub(super) part: u32,
    /// The last frameset of each camera.
    pub(super) last: BTreeMap<String, Last>,
}

impl Before {
    /// Reads the newest file of this run with framesets before `own`, of the files that are called `base`; `None` if there is
    /// none, or if its recording has ended. Files of other runs may have names in between, and so may an instance that wrote
    /// no frameset.
    pub(super) fn find(base: &Path, own: &Path, run: &str) -> Option<Self> {
        for path in numbered_before(base, own).take(MAX_CANDIDATES) {
            let recording = match Recording::skim(&path) {
                Ok(recording) => recording,
                Err(error) => {
                    log::warn!("a file before the restart cannot be read: {error}");
                    continue;
                }
            };
            let Some(camera) = recording.cameras().first().filter(|camera| camera.run == run) else {
                continue;
            };
            let (origin_nanos, part) = (camera.origin_nanos, camera.part);
            let found = Self { origin_nanos, part, last: recording.last_framesets() };
            return recording.may_continue().then_some(found);
        }
        None
    }

    /// Returns the largest number of a producer, whose framesets may be of several cameras.
    pub(super) fn last_sequence(&self, producer: &str) -> Option<u64> {
        let is_of =
            |name: &str| name == producer || name.split_once('/').is_some_and(|(by, _)| by == producer);
        self.last.iter().filter(|(name, _)| is_of(name)).map(|(_, last)| last.sequence).max()
    }
}
