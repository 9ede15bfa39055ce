//! Parts of a recording as sequences of framesets, which take little memory however long they are.

use std::sync::Arc;

use crate::opened::OpenRecording;
use crate::places::FrameSetPlace;
use crate::read::ReadError;

/// Framesets of an open recording, in an order. It has the numbers of framesets in [`OpenRecording`], by position.
#[derive(Clone, Debug)]
pub struct Sequence {
    of: Of,
    /// The first position among the framesets of `of`, and the difference from one to the next.
    first: usize,
    step: isize,
    count: usize,
}

/// The framesets that a sequence is a part of.
#[derive(Clone, Debug)]
enum Of {
    All,
    Cameras(Arc<OfCameras>),
    /// These numbers.
    Numbers(Arc<[u32]>),
}

/// All framesets of some cameras.
#[derive(Debug)]
struct OfCameras {
    /// Whether a camera is one of them, by its index.
    is_wanted: Vec<bool>,
    /// Number of their framesets before each window.
    before: Vec<u32>,
    count: usize,
}

impl OfCameras {
    fn has(&self, place: &FrameSetPlace) -> bool {
        self.is_wanted[place.camera()]
    }
}

impl Sequence {
    /// Returns the number of framesets.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns the framesets at the positions `first`, `first + step` and so on. All of them are positions of this sequence.
    #[must_use]
    pub fn slice(&self, first: usize, step: isize, count: usize) -> Self {
        let (of, first) = (self.of.clone(), self.position(first));
        Self { of, first, step: self.step.saturating_mul(step), count }
    }

    fn position(&self, at: usize) -> usize {
        self.first.saturating_add_signed(self.step.saturating_mul(at as isize))
    }

    /// Returns whether its framesets follow each other among those of their cameras, in either direction.
    fn is_run(&self) -> bool {
        !matches!(self.of, Of::Numbers(_)) && (self.step.abs() == 1 || self.count < 2)
    }
}

impl OpenRecording {
    /// Returns all framesets, in the order of their arrival.
    pub fn sequence(&self) -> Sequence {
        Sequence { of: Of::All, first: 0, step: 1, count: self.count() }
    }

    /// Returns the number of the frameset at a position of a sequence.
    ///
    /// # Errors
    /// If there is no such position, or the index cannot be read.
    pub fn number(&self, sequence: &Sequence, at: usize) -> Result<usize, ReadError> {
        if at >= sequence.count {
            return Err(self.no_number(sequence.count, at));
        }
        let position = sequence.position(at);
        match &sequence.of {
            Of::All => Ok(position),
            Of::Numbers(numbers) => Ok(numbers[position] as usize),
            Of::Cameras(cameras) => {
                let behind = cameras.before.partition_point(|&before| before as usize <= position);
                let window = behind.saturating_sub(1);
                let places = self.window(window)?;
                let mut own = places.iter().enumerate().filter(|(_, place)| cameras.has(place));
                let found = own.nth(position - cameras.before[window] as usize);
                let first = self.places().numbers(window).start;
                found.map(|(index, _)| first + index).ok_or_else(|| self.no_number(cameras.count, position))
            }
        }
    }

    /// Returns the place of the frameset at a position of a sequence.
    ///
    /// # Errors
    /// As [`Self::number`].
    pub fn place_in(&self, sequence: &Sequence, at: usize) -> Result<FrameSetPlace, ReadError> {
        self.place(self.number(sequence, at)?)
    }

    /// Returns the framesets of a sequence that are of these cameras, which are indices in [`Self::cameras`].
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn of_cameras(&self, sequence: &Sequence, cameras: &[usize]) -> Result<Sequence, ReadError> {
        let is_in = |camera| match &sequence.of {
            Of::Cameras(of) => of.is_wanted[camera],
            Of::All | Of::Numbers(_) => true,
        };
        let is_wanted = |camera| cameras.contains(&camera) && is_in(camera);
        let is_wanted: Vec<_> = (0..self.cameras().len()).map(is_wanted).collect();
        if sequence.count == 0 {
            return Ok(sequence.clone());
        }
        if !sequence.is_run() {
            return self.of_cameras_by_numbers(sequence, &is_wanted);
        }
        let ends = [self.number(sequence, 0)?, self.number(sequence, sequence.count - 1)?];
        let (first, last) = (ends[0].min(ends[1]), ends[0].max(ends[1]));
        let mut of = OfCameras { is_wanted, before: Vec::with_capacity(self.places().windows()), count: 0 };
        for window in 0..self.places().windows() {
            of.before.push(of.count as u32);
            of.count += self.places().count_of(window, |camera| of.is_wanted[camera]) as usize;
        }
        let (from, to) = (self.before(&of, first)?, self.before(&of, last + 1)?);
        let step = if sequence.step < 0 { -1 } else { 1 };
        let first = if step < 0 { to.saturating_sub(1) } else { from };
        Ok(Sequence { of: Of::Cameras(Arc::new(of)), first, step, count: to - from })
    }

    /// Returns how many framesets of some cameras are before the one with a number.
    fn before(&self, of: &OfCameras, number: usize) -> Result<usize, ReadError> {
        let Some(window) = self.places().window_of(number) else { return Ok(of.count) };
        let places = self.window(window)?;
        let index = number - self.places().numbers(window).start;
        let own = places[..index].iter().filter(|place| of.has(place)).count();
        Ok(of.before[window] as usize + own)
    }

    /// As [`Self::of_cameras`], by looking at each frameset.
    fn of_cameras_by_numbers(&self, sequence: &Sequence, is_wanted: &[bool]) -> Result<Sequence, ReadError> {
        let each = |found: &mut dyn FnMut(u32)| {
            for at in 0..sequence.count {
                let number = self.number(sequence, at)?;
                if is_wanted[self.place(number)?.camera()] {
                    // There are no more framesets than that.
                    found(number as u32);
                }
            }
            Ok::<_, ReadError>(())
        };
        // Counted first, so that the list has the memory that it needs, and no more.
        let mut count = 0;
        each(&mut |_| count += 1)?;
        let mut numbers = Vec::with_capacity(count);
        each(&mut |number| numbers.push(number))?;
        Ok(Sequence { of: Of::Numbers(numbers.into()), first: 0, step: 1, count })
    }

    /// Returns the position of the first frameset of a camera in a sequence; `None` without one.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn first_of(&self, sequence: &Sequence, camera: usize) -> Result<Option<usize>, ReadError> {
        if sequence.is_run() {
            let own = self.of_cameras(sequence, &[camera])?;
            if own.count == 0 {
                return Ok(None);
            }
            // The sequence has the number, and its numbers are in order.
            let number = self.number(&own, 0)?;
            let is_before = |found: usize| if sequence.step < 0 { found > number } else { found < number };
            return partition(sequence.count, |at| Ok(is_before(self.number(sequence, at)?))).map(Some);
        }
        for at in 0..sequence.count {
            if self.place_in(sequence, at)?.camera() == camera {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// Returns the framesets of a sequence whose times of arrival are between two others, in nanoseconds since 1970.
    /// `is_before` says whether a time is before the first, `is_within` whether it is before the second.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn between(
        &self,
        sequence: &Sequence,
        is_before: impl Fn(u64) -> bool,
        is_within: impl Fn(u64) -> bool,
    ) -> Result<Sequence, ReadError> {
        let nanos = |at| Ok::<_, ReadError>(self.place_in(sequence, at)?.arrived_nanos);
        let count = sequence.count;
        let descends = count > 1 && self.number(sequence, 0)? > self.number(sequence, count - 1)?;
        let (from, to) = if descends {
            let from = partition(count, |at| Ok(!is_within(nanos(at)?)))?;
            (from, partition(count, |at| Ok(!is_before(nanos(at)?)))?)
        } else {
            let from = partition(count, |at| Ok(is_before(nanos(at)?)))?;
            (from, partition(count, |at| Ok(is_within(nanos(at)?)))?)
        };
        Ok(sequence.slice(from, 1, to.saturating_sub(from)))
    }
}

/// Returns how many of `count` positions, of which the first ones are, are before a point.
fn partition(count: usize, is_before: impl Fn(usize) -> Result<bool, ReadError>) -> Result<usize, ReadError> {
    let (mut from, mut to) = (0, count);
    while from < to {
        let middle = from + (to - from) / 2;
        if is_before(middle)? {
            from = middle + 1;
        } else {
            to = middle;
        }
    }
    Ok(from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compression::Compression;
    use crate::record::testing::{TestFolder, write};

    /// Compares sequences with lists of numbers, for all ways to make one from another.
    #[test]
    fn parts_of_parts_have_the_numbers_of_a_list() {
        let folder = TestFolder::new("sequences");
        let path = folder.path().join("rig.mcap");
        write(&path, &["a", "b", "c"], 200, Compression::None, &[]);
        let recording = OpenRecording::open(&path).unwrap();
        assert!(recording.places().windows() > 1);
        let place = |number: usize| recording.place(number).unwrap();
        let numbers = |sequence: &Sequence| -> Vec<usize> {
            (0..sequence.count()).map(|at| recording.number(sequence, at).unwrap()).collect()
        };
        let all: Vec<_> = (0..recording.count()).collect();
        let mut known = vec![(recording.sequence(), all)];
        let mut random = 7_u64;
        let mut below = |most: usize| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) as usize % most.max(1)
        };
        for _ in 0..300 {
            let (sequence, list) = known[below(known.len())].clone();
            let (made, expected) = match below(3) {
                0 => {
                    let cameras: Vec<_> = (0..3).filter(|_| below(2) == 0).collect();
                    let made = recording.of_cameras(&sequence, &cameras).unwrap();
                    let of = |number: &usize| cameras.contains(&place(*number).camera());
                    (made, list.into_iter().filter(of).collect::<Vec<_>>())
                }
                1 if !list.is_empty() => {
                    let (from, to) = (below(list.len()), below(list.len()));
                    let step = [1, 1, 2, 3, 400][below(5)];
                    let count = from.abs_diff(to) / step + 1;
                    let signed = if to < from { -(step as isize) } else { step as isize };
                    let at = |index: usize| list[from.saturating_add_signed(signed * index as isize)];
                    (sequence.slice(from, signed, count), (0..count).map(at).collect())
                }
                _ => {
                    let mut times = [(); 2].map(|()| place(below(recording.count())).arrived_nanos);
                    times.sort_unstable();
                    let within = |nanos: u64| nanos >= times[0] && nanos < times[1];
                    let made =
                        recording.between(&sequence, |nanos| nanos < times[0], |nanos| nanos < times[1]);
                    let within = |number: &usize| within(place(*number).arrived_nanos);
                    (made.unwrap(), list.into_iter().filter(within).collect())
                }
            };
            assert_eq!(numbers(&made), expected);
            for camera in 0..3 {
                let first = expected.iter().position(|&number| place(number).camera() == camera);
                assert_eq!(recording.first_of(&made, camera).unwrap(), first);
            }
            known.push((made, expected));
        }
        let listed = known.iter().filter(|(sequence, _)| matches!(sequence.of, Of::Numbers(_))).count();
        assert!(listed > 10 && listed < known.len() / 2, "{listed}");
        let error = recording.number(&recording.sequence(), 600).unwrap_err().to_string();
        assert!(error.ends_with("has 600 framesets, so no number 600"), "{error}");
    }
}
