//! The counters of one matching, in shared memory, with the names of its cameras.

use camrig_ipc::{MatchCamera, MatchCounters, MatchCounts, MemoryError, SharedMemory};

use super::spec::MatchSpec;

/// Counters of one matching.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MatchStatus<'a> {
    /// Number of matches, and their spread.
    pub counts: MatchCounts,
    /// The counters of each camera, with its name.
    pub cameras: Vec<(&'a str, MatchCamera)>,
}

/// The shared counters of one matching, with the names of its cameras.
#[derive(Debug)]
pub(crate) struct MatchStats {
    cameras: Vec<String>,
    pub(super) counters: MatchCounters,
}

impl MatchStats {
    pub(crate) fn new(spec: &MatchSpec) -> Result<Self, MemoryError> {
        Ok(Self::of(spec, MatchCounters::new()?))
    }

    pub(crate) fn received(spec: &MatchSpec, memory: SharedMemory) -> Result<Self, MemoryError> {
        Ok(Self::of(spec, MatchCounters::received(memory)?))
    }

    fn of(spec: &MatchSpec, counters: MatchCounters) -> Self {
        Self { cameras: spec.cameras.iter().map(|camera| camera.name.clone()).collect(), counters }
    }

    pub(crate) fn share(&self) -> Result<SharedMemory, MemoryError> {
        self.counters.share()
    }

    pub(crate) fn status(&self) -> MatchStatus<'_> {
        let cameras = self.cameras.iter().map(String::as_str).zip(0..);
        let cameras = cameras.map(|(name, index)| (name, self.counters.camera(index)));
        MatchStatus { counts: self.counters.counts(), cameras: cameras.collect() }
    }
}
