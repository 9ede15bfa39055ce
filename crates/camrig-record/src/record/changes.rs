//! The changes of the rig while it is recorded.
//!
//! They are read from the status of the rig at intervals and written immediately: so the file of a killed recorder has them,
//! and none is lost although a status has only the newest ones.

use std::time::{Duration, Instant};

use camrig::status::{self, ChangeReport};

use crate::format::Changed;

/// Interval at which the status is read. Up to this time before its end, a recorder that is killed may lack changes, unless its
/// next instance writes them.
const LOOK: Duration = Duration::from_secs(5);

/// The changes of a rig that a recorder has seen.
pub(super) struct Changes {
    /// The time from which on changes are recorded, in nanoseconds since 1970.
    from_nanos: u64,
    looked: Instant,
    seen: Vec<Changed>,
}

impl Changes {
    /// Begins with the changes from a time on, in nanoseconds since 1970.
    pub(super) fn from(from_nanos: u64) -> Self {
        Self { from_nanos, looked: Instant::now(), seen: Vec::new() }
    }

    /// Begins earlier: the recorder continues the recording of an earlier instance.
    pub(super) fn begin_at(&mut self, nanos: u64) {
        self.from_nanos = self.from_nanos.min(nanos);
    }

    /// Returns the changes that were seen so far, in their order.
    pub(super) fn seen(&self) -> &[Changed] {
        &self.seen
    }

    /// Reads the status of a rig if the interval has passed, and returns the changes that were not seen before.
    pub(super) fn look(&mut self, rig: &str) -> Vec<Changed> {
        if self.looked.elapsed() < LOOK {
            return Vec::new();
        }
        let found = status::socket::read(rig).map(|status| status.changes);
        // After the answer: a supervisor that does not answer delays few framesets.
        self.looked = Instant::now();
        found.map(|found| self.add(found)).unwrap_or_default()
    }

    /// Returns those of the changes of a rig that were not seen before.
    pub(super) fn add(&mut self, found: Vec<ChangeReport>) -> Vec<Changed> {
        let found = found.into_iter().filter(|change| change.unix_nanos >= self.from_nanos);
        let found =
            found.map(|ChangeReport { unix_nanos, by, changes, .. }| Changed { unix_nanos, by, changes });
        let new: Vec<_> = found.filter(|change| !self.seen.contains(change)).collect();
        self.seen.extend(new.iter().cloned());
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(unix_nanos: u64) -> ChangeReport {
        let changes = vec![format!("restart camera `c{unix_nanos}`: as requested")];
        ChangeReport { seconds: 1.0, unix_nanos, by: "a test".to_owned(), changes }
    }

    fn times(changes: &[Changed]) -> Vec<u64> {
        changes.iter().map(|change| change.unix_nanos).collect()
    }

    #[test]
    fn changes_are_new_once_and_those_before_the_recording_are_none() {
        let mut changes = Changes::from(5);
        assert_eq!(times(&changes.add(vec![change(4), change(5)])), [5]);
        assert_eq!(times(&changes.add(vec![change(4), change(5), change(7)])), [7]);
        // A status has the newest only.
        assert_eq!(times(&changes.add(vec![change(9)])), [9]);
        assert_eq!(times(changes.seen()), [5, 7, 9]);
        // An earlier instance began before.
        changes.begin_at(3);
        assert_eq!(times(&changes.add(vec![change(2), change(4), change(9)])), [4]);
        // It is not time for another read: no rig is queried.
        assert!(changes.look("nothing").is_empty());
    }
}
