//! What a matching came to, with names: a tally in shared memory, and whose it is.

use camrig_ipc::{MatchCamera, MatchCounts, MatchTally, MemoryError};
use ipc_channel::ipc::IpcSharedMemory;

use super::spec::MatchSpec;

/// What a matching came to so far, for whoever shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MatchStatus<'a> {
    /// Matches, and their spread.
    pub counts: MatchCounts,
    /// What became of each camera's framesets.
    pub cameras: Vec<(&'a str, MatchCamera)>,
}

/// The counts of one matching with the names of its cameras.
#[derive(Debug)]
pub(crate) struct MatchBook {
    cameras: Vec<String>,
    pub(super) tally: MatchTally,
}

impl MatchBook {
    pub(crate) fn new(spec: &MatchSpec) -> Result<Self, MemoryError> {
        Ok(Self::of(spec, MatchTally::new()?))
    }

    pub(crate) fn received(spec: &MatchSpec, memory: IpcSharedMemory) -> Result<Self, MemoryError> {
        Ok(Self::of(spec, MatchTally::received(memory)?))
    }

    fn of(spec: &MatchSpec, tally: MatchTally) -> Self {
        Self { cameras: spec.cameras.iter().map(|camera| camera.name.clone()).collect(), tally }
    }

    pub(crate) fn share(&self) -> Result<IpcSharedMemory, MemoryError> {
        self.tally.share()
    }

    pub(crate) fn status(&self) -> MatchStatus<'_> {
        let cameras = self.cameras.iter().map(String::as_str).zip(0..);
        let cameras = cameras.map(|(name, index)| (name, self.tally.camera(index)));
        MatchStatus { counts: self.tally.counts(), cameras: cameras.collect() }
    }
}
