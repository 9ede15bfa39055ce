//! The places of a recording's framesets, in the order of their arrival.
//!
//! A recording of a day has millions of framesets, which are not kept. Kept are windows: times that have some hundred
//! framesets each, how many of each camera, and the parts of the files' indexes that have them. A window is read again when
//! one of its framesets is requested. Framesets may be in any order in the files; the more they are in that of their
//! arrival, the less is read.
//!
//! This module reads no file.

use std::collections::VecDeque;
use std::ops::Range;

/// Minimum number of framesets of a window that another one follows, and the same for each camera: each window has a count
/// for each.
const WINDOW: usize = 256;
const WINDOW_OF_CAMERA: usize = 32;

/// Maximum number of framesets of a window, which are in memory together: 6 MB.
const MAX_WINDOW: u32 = 1 << 18;

/// Maximum number of framesets whose places are kept: 25 MB.
const MAX_LISTED: usize = 1 << 20;

/// Maximum number of parts: 8 MB.
const MAX_PARTS: usize = 1 << 18;

/// Number of parts of which one may continue, and of framesets of other windows that may be in a part.
const RECENT: usize = 8;
const MAX_APART: u64 = 256;

/// The place of one frameset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSetPlace {
    /// Time of its arrival by the wall clock, in nanoseconds since 1970.
    pub arrived_nanos: u64,
    /// Offset of its section in the file, in bytes.
    pub(crate) at: u64,
    pub(crate) file: u32,
    pub(crate) camera: u16,
    /// Number of framesets of the same camera with the same time before it.
    pub(crate) earlier: u16,
}

// `MAX_WINDOW` and `MAX_LISTED` count on it.
const _: () = assert!(size_of::<FrameSetPlace>() == 24);

impl FrameSetPlace {
    /// Returns the index of its camera in [`OpenRecording::cameras`](crate::OpenRecording::cameras).
    pub fn camera(&self) -> usize {
        self.camera.into()
    }
}

/// A time with some framesets.
#[derive(Clone, Copy, Debug)]
struct IndexWindow {
    /// It lasts until the next one begins.
    from_nanos: u64,
    /// Number of framesets before it.
    first: u32,
    count: u32,
    /// Index of its first part.
    parts: u32,
}

/// A part of the index of a file that has framesets of a window, among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexPart {
    window: u32,
    pub(crate) file: u32,
    pub(crate) index: Range<u64>,
}

/// The windows of a recording.
#[derive(Default)]
pub(crate) struct Places {
    cameras: usize,
    windows: Vec<IndexWindow>,
    /// For each window the number of framesets of each camera.
    counts: Vec<u32>,
    /// In the order of their windows, when all framesets were added.
    parts: Vec<IndexPart>,
    /// The framesets that are in no part, in the order of their arrival when all were added.
    listed: Vec<FrameSetPlace>,
    count: u32,
    latest_nanos: u64,
    /// The parts that were added or continued last, each with the number of its last frameset in the order of the files.
    recent: VecDeque<(usize, u64)>,
}

/// The framesets are too many, or too far out of order, for bounded memory.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlacesError {
    #[error("has more than {} framesets", u32::MAX)]
    TooMany,
    #[error("has more than {MAX_LISTED} framesets that are in no chunks of their own")]
    TooManyListed,
    #[error(
        "has more than {MAX_WINDOW} framesets that are not in the order of their arrival, or arrived at once"
    )]
    WindowTooLarge,
    #[error("has framesets out of the order of their arrival in more than {MAX_PARTS} places")]
    TooManyParts,
}

impl Places {
    /// Begins with no framesets of this number of cameras.
    pub(crate) fn new(cameras: usize) -> Self {
        Self { cameras, ..Self::default() }
    }

    /// Adds a frameset that is in this part of the index of its file.
    pub(crate) fn add(&mut self, place: FrameSetPlace, index: Range<u64>) -> Result<(), PlacesError> {
        let number = u64::from(self.count);
        let window = self.count_in(place)? as u32;
        let parts = &mut self.parts;
        let continues = |&(part, last): &(usize, u64)| {
            let IndexPart { window: of, file, .. } = parts[part];
            (of, file) == (window, place.file) && number - last <= MAX_APART
        };
        if let Some(at) = self.recent.iter().position(continues) {
            let recent = &mut self.recent[at];
            recent.1 = number;
            parts[recent.0].index.end = index.end;
            return Ok(());
        }
        if parts.len() == MAX_PARTS {
            return Err(PlacesError::TooManyParts);
        }
        parts.push(IndexPart { window, file: place.file, index });
        self.recent.truncate(RECENT - 1);
        self.recent.push_front((parts.len() - 1, number));
        Ok(())
    }

    /// Adds a frameset that no part of an index has alone.
    pub(crate) fn list(&mut self, place: FrameSetPlace) -> Result<(), PlacesError> {
        if self.listed.len() == MAX_LISTED {
            return Err(PlacesError::TooManyListed);
        }
        self.count_in(place)?;
        self.listed.push(place);
        Ok(())
    }

    /// Counts a frameset in its window; returns the index of that.
    fn count_in(&mut self, place: FrameSetPlace) -> Result<usize, PlacesError> {
        let nanos = place.arrived_nanos;
        let full = WINDOW.max(WINDOW_OF_CAMERA * self.cameras) as u32;
        self.count = self.count.checked_add(1).ok_or(PlacesError::TooMany)?;
        let window = match self.windows.last() {
            Some(last) if nanos <= self.latest_nanos || last.count < full => {
                if nanos >= last.from_nanos {
                    self.windows.len() - 1
                } else {
                    let behind = self.windows.partition_point(|window| window.from_nanos <= nanos);
                    let window = behind.saturating_sub(1);
                    // The first window may begin earlier.
                    self.windows[window].from_nanos = self.windows[window].from_nanos.min(nanos);
                    window
                }
            }
            _ => {
                self.windows.push(IndexWindow { from_nanos: nanos, first: 0, count: 0, parts: 0 });
                self.counts.resize(self.windows.len() * self.cameras, 0);
                self.windows.len() - 1
            }
        };
        self.latest_nanos = self.latest_nanos.max(nanos);
        let count = &mut self.windows[window].count;
        if *count == MAX_WINDOW {
            return Err(PlacesError::WindowTooLarge);
        }
        *count += 1;
        self.counts[window * self.cameras + place.camera()] += 1;
        Ok(window)
    }

    /// Puts everything in its order: all framesets were added.
    pub(crate) fn finish(&mut self) {
        self.recent = VecDeque::new();
        // Those of the same time stay in the order of the files.
        self.listed.sort_by_key(|place| place.arrived_nanos);
        self.parts.sort_by_key(|part| (part.window, part.file, part.index.start));
        let (mut first, mut parts) = (0, 0);
        for (index, window) in (0..).zip(&mut self.windows) {
            (window.first, window.parts) = (first, parts as u32);
            first += window.count;
            parts += self.parts[parts..].partition_point(|part| part.window == index);
        }
        self.windows.shrink_to_fit();
        self.counts.shrink_to_fit();
        self.parts.shrink_to_fit();
        self.listed.shrink_to_fit();
    }

    /// Returns the number of framesets.
    pub(crate) fn count(&self) -> usize {
        self.count as usize
    }

    /// Returns the number of windows.
    pub(crate) fn windows(&self) -> usize {
        self.windows.len()
    }

    /// Returns the numbers of the framesets of a window.
    pub(crate) fn numbers(&self, window: usize) -> Range<usize> {
        let IndexWindow { first, count, .. } = self.windows[window];
        first as usize..(first + count) as usize
    }

    /// Returns how many framesets of some cameras a window has.
    pub(crate) fn count_of(&self, window: usize, is_wanted: impl Fn(usize) -> bool) -> u32 {
        let counts = &self.counts[window * self.cameras..][..self.cameras];
        counts.iter().enumerate().filter(|(camera, _)| is_wanted(*camera)).map(|(_, count)| count).sum()
    }

    /// Returns the window that has the frameset of a number; `None` if there is no such frameset.
    pub(crate) fn window_of(&self, number: usize) -> Option<usize> {
        let behind = self.windows.partition_point(|window| window.first as usize <= number);
        (number < self.count()).then(|| behind - 1)
    }

    /// Returns whether a time is one of a window.
    pub(crate) fn has(&self, window: usize, nanos: u64) -> bool {
        let next = self.windows.get(window + 1);
        self.windows[window].from_nanos <= nanos && next.is_none_or(|next| nanos < next.from_nanos)
    }

    /// Returns the parts of the files' indexes that have framesets of a window, in the order of the files.
    pub(crate) fn parts(&self, window: usize) -> &[IndexPart] {
        let end = self.windows.get(window + 1).map_or(self.parts.len(), |next| next.parts as usize);
        &self.parts[self.windows[window].parts as usize..end]
    }

    /// Returns the framesets of a window that are in no part.
    pub(crate) fn listed(&self, window: usize) -> &[FrameSetPlace] {
        let from = self.windows[window].from_nanos;
        let begin = self.listed.partition_point(|place| place.arrived_nanos < from);
        let count = self.listed[begin..].partition_point(|place| self.has(window, place.arrived_nanos));
        &self.listed[begin..begin + count]
    }

    /// Returns the memory of all windows, in bytes.
    #[cfg(test)]
    pub(crate) fn size_bytes(&self) -> usize {
        size_of::<IndexWindow>() * self.windows.capacity()
            + size_of::<u32>() * self.counts.capacity()
            + size_of::<IndexPart>() * self.parts.capacity()
            + size_of::<FrameSetPlace>() * self.listed.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Size of an entry in the index of a file.
    const ENTRY_BYTES: u64 = 100;

    fn place(number: u64, cameras: u64, arrived_nanos: u64) -> FrameSetPlace {
        let (at, camera) = (number * 1000, (number % cameras) as u16);
        FrameSetPlace { arrived_nanos, at, file: (number / 250_000) as u32, camera, earlier: 0 }
    }

    /// Adds framesets that arrived at these times, in this order.
    fn added(cameras: u64, times: impl IntoIterator<Item = u64>) -> Result<Places, PlacesError> {
        let mut places = Places::new(cameras as usize);
        for (number, nanos) in (0..).zip(times) {
            let index = number * ENTRY_BYTES..(number + 1) * ENTRY_BYTES;
            places.add(place(number, cameras, nanos), index)?;
        }
        places.finish();
        Ok(places)
    }

    /// Checks that each window has its framesets in its parts.
    fn check(cameras: u64, times: &[u64]) -> Places {
        let places = added(cameras, times.iter().copied()).unwrap();
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        let mut found = Vec::new();
        for window in 0..places.windows() {
            assert_eq!(places.numbers(window).start, found.len());
            let parts = places.parts(window).iter();
            let numbers = parts.flat_map(|part| part.index.start / ENTRY_BYTES..part.index.end / ENTRY_BYTES);
            let in_it = numbers.filter(|&number| places.has(window, times[number as usize]));
            let in_it: Vec<_> = in_it.collect();
            let mut own: Vec<_> = in_it.iter().map(|&number| times[number as usize]).collect();
            own.sort_unstable();
            found.extend(own);
            assert_eq!(found.len(), places.numbers(window).end, "window {window}");
            for camera in 0..cameras {
                let count = in_it.iter().filter(|&number| number % cameras == camera).count();
                assert_eq!(places.count_of(window, |it| it as u64 == camera) as usize, count);
            }
        }
        assert!(found == sorted);
        for number in [0, times.len() / 2, times.len() - 1] {
            let window = places.window_of(number).unwrap();
            assert!(places.numbers(window).contains(&number) && places.has(window, sorted[number]));
        }
        assert_eq!(places.window_of(times.len()), None);
        places
    }

    #[test]
    fn windows_have_all_framesets_in_whatever_order() {
        let times: Vec<_> = (0..10_000).map(|number| 1000 + number * 10).collect();
        let ordered = check(6, &times);
        assert_eq!((ordered.windows(), ordered.parts.len()), (40, 40));
        // Written a little later than others that arrived later.
        let displaced: Vec<_> = (0..10_000).map(|number| 1000 + number * 10 - (number % 7) * 31).collect();
        let displaced = check(6, &displaced);
        assert!((38..45).contains(&displaced.windows()), "{}", displaced.windows());
        assert!(displaced.parts.len() < 60, "{}", displaced.parts.len());
        // Two recordings, one behind the other.
        let twice: Vec<_> = times.iter().chain(&times).copied().collect();
        let twice = check(1, &twice);
        assert_eq!((twice.windows(), twice.parts.len()), (40, 80));
        // Backwards, and all at once.
        let backwards: Vec<_> = times.iter().rev().copied().collect();
        check(2, &backwards);
        check(2, &[7; 1000]);
    }

    /// 15,552,000 framesets of six cameras at 30 Hz, in files as a recorder splits them.
    #[test]
    fn a_day_of_six_cameras_takes_little_memory() {
        const DAY: u64 = 6 * 30 * 86_400;
        let jitter = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 41;
        let places = added(6, (0..DAY).map(|number| number * 5_555_555 + jitter(number))).unwrap();
        assert_eq!(places.count() as u64, DAY);
        assert!(places.size_bytes() < 8 << 20, "{} bytes", places.size_bytes());
    }

    #[test]
    fn disorder_that_takes_too_much_memory_is_refused() {
        let times = (0..=u64::from(MAX_WINDOW)).rev();
        assert_eq!(added(1, times).err(), Some(PlacesError::WindowTooLarge));
        // To and fro between many windows.
        let there = (0..256 * 200).chain((0..).map(|number| number * 7919 % (256 * 200)));
        assert_eq!(added(1, there).err(), Some(PlacesError::TooManyParts));
        let mut places = Places::new(1);
        let listed = (0..=MAX_LISTED as u64).try_for_each(|number| places.list(place(number, 1, number)));
        assert_eq!(listed, Err(PlacesError::TooManyListed));
    }
}
