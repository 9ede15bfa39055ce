//! Framesets of several cameras that were taken together: `--match`.
//!
//! The times of framesets are read ahead of the export, as far as its next decision needs, so that no pixels wait.

use std::collections::VecDeque;
use std::path::Path;

use camrig::frame::{CameraInfo, Clock, Role};
use camrig::{MatchRules, Matcher};

use crate::read::{Content, Contents, Parts, ReadError};
use crate::replay::clock_of;

/// Maximum number of framesets of a camera that wait for those of others.
const QUEUE: usize = 32;

/// The matches of a recording.
pub(super) struct Matched {
    parts: Parts,
    /// Whether times are those of capture, otherwise those of arrival.
    by_capture: bool,
    cameras: Vec<Lane>,
    /// Items are the indices of framesets among those of their camera.
    matcher: Matcher<u64>,
    /// The number of the next match.
    next: u64,
    /// The file that is read ahead, and the rest of its contents.
    file: usize,
    contents: Option<Contents>,
    is_ended: bool,
}

/// A camera.
struct Lane {
    name: String,
    /// Number of framesets that were read ahead.
    read: u64,
    /// The index and the match of each frameset that was decided and not requested yet.
    decided: VecDeque<(u64, u64)>,
}

impl Matched {
    /// Opens the recording again.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(super) fn open(file: &Path, cameras: Vec<String>, window_nanos: u64) -> Result<Self, ReadError> {
        let parts = Parts::open(file, &|_| {})?;
        let mut clocks = cameras.iter().map(|name| clock_of(&parts, name));
        let first = clocks.next().flatten();
        // Clocks of different devices are not comparable.
        let by_capture = first.is_some_and(|clock| clock != Clock::Hardware) && clocks.all(|it| it == first);
        let rules = MatchRules { window_nanos, partial: false, queue: QUEUE };
        let gap = |name: &String| parts.camera(name).map_or(0, |camera| half_interval_nanos(&camera.info));
        let matcher = Matcher::new(rules, cameras.iter().map(gap));
        let lane = |name| Lane { name, read: 0, decided: VecDeque::new() };
        let cameras = cameras.into_iter().map(lane).collect();
        Ok(Self { parts, by_capture, cameras, matcher, next: 0, file: 0, contents: None, is_ended: false })
    }

    /// Returns the number of the match of a camera's frameset with this index; `None` if it has none. Indices of a camera are
    /// requested in order.
    pub(super) fn number_of(&mut self, camera: &str, index: u64) -> Option<u64> {
        let lane = self.cameras.iter().position(|lane| lane.name == camera)?;
        loop {
            let decided = &mut self.cameras[lane].decided;
            while decided.front().is_some_and(|(earlier, _)| *earlier < index) {
                decided.pop_front();
            }
            if let Some(&(found, number)) = decided.front() {
                return (found == index).then_some(number);
            }
            if let Some(items) = self.matcher.pop() {
                for (lane, _, index) in items {
                    self.cameras[lane].decided.push_back((index, self.next));
                }
                self.next += 1;
            } else if !self.read_ahead() {
                return None;
            }
        }
    }

    /// Adds the next frameset to the matcher. Returns false if there was no further one.
    fn read_ahead(&mut self) -> bool {
        while let Some(recording) = self.parts.files().get(self.file) {
            let names = &self.cameras;
            let contents = self.contents.get_or_insert_with(|| {
                recording.contents(|camera| names.iter().any(|lane| lane.name == camera.name), 0..u64::MAX)
            });
            match contents.next(recording) {
                Some((index, Content::FrameSet(frameset))) => {
                    let name = &recording.cameras()[index].name;
                    let Some(lane) = self.cameras.iter().position(|lane| lane.name == *name) else {
                        continue;
                    };
                    let captured = frameset.record.frames.first().map(|frame| frame.timestamp_nanos);
                    let nanos = captured.filter(|_| self.by_capture).unwrap_or(frameset.log_time);
                    self.matcher.push(lane, nanos, self.cameras[lane].read);
                    self.cameras[lane].read += 1;
                    return true;
                }
                Some(_) => {}
                None => (self.file, self.contents) = (self.file + 1, None),
            }
        }
        if std::mem::replace(&mut self.is_ended, true) {
            return false;
        }
        (0..self.cameras.len()).for_each(|lane| self.matcher.end(lane));
        true
    }
}

/// Returns half a frame interval of a camera: the least between two of its framesets.
fn half_interval_nanos(info: &CameraInfo) -> u64 {
    let images = info.streams.iter().filter(|info| info.role != Role::Motion);
    let rate = images.map(|stream| stream.frames_per_second).max().unwrap_or(0);
    500_000_000_u64.checked_div(rate.into()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::testing::{PERIOD, TestFolder, write_apart};

    #[test]
    fn framesets_of_one_instant_have_one_number() {
        let folder = TestFolder::new("matched");
        let path = folder.path().join("rig.mcap");
        let names = || vec!["front".to_owned(), "rear".to_owned()];
        // Hardware clocks are not compared: these arrive 2 ms apart.
        write_apart(&path, &["front", "rear"], 100, 2_000_000);
        let mut matched = Matched::open(&path, names(), 5_000_000).unwrap();
        for index in 0..100 {
            let numbers = ["front", "rear"].map(|name| matched.number_of(name, index));
            assert_eq!(numbers, [Some(index); 2]);
            assert!(matched.cameras.iter().all(|lane| lane.decided.len() <= QUEUE));
        }
        assert_eq!(matched.number_of("front", 100), None);
        let mut apart = Matched::open(&path, names(), 1_000_000).unwrap();
        assert!((0..100).all(|index| apart.number_of("front", index).is_none()));
        // A whole period and 2 ms: each has the next one of the other.
        let path = folder.path().join("late.mcap");
        write_apart(&path, &["front", "rear"], 100, PERIOD + 2_000_000);
        let mut late = Matched::open(&path, names(), 5_000_000).unwrap();
        let found: Vec<_> = (0..100).map(|index| late.number_of("front", index)).collect();
        assert_eq!(found, std::iter::once(None).chain((0..99).map(Some)).collect::<Vec<_>>());
        assert_eq!((late.number_of("rear", 0), late.number_of("rear", 99)), (Some(0), None));
    }
}
