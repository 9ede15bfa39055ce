//! Selects the moments of a recording to use: several cameras saw the board in one place, and no other moment has the same
//! view.

use std::collections::{BTreeMap, BTreeSet};

use crate::Corner;
use crate::median::median;

/// The largest movement of the board in an image, in pixels, between two pictures that are one moment.
pub(crate) const STILL_PIXELS: f64 = 0.3;
/// The longest time between two pictures of a moment, in nanoseconds, however still the board is.
const LONGEST_NANOS: u64 = 2_000_000_000;
/// The longest time between two pictures of a camera from which its board's speed is told, in nanoseconds.
const SPEED_NANOS: u64 = 1_000_000_000;
/// The least number of corners that two pictures have in common if their boards can be compared.
const MIN_COMMON: usize = 4;
/// A board is in a new place if its corners are this many pixels from where another moment has them.
const NEW_PIXELS: f64 = 25.0;

/// A picture in which a camera saw the board.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The index of the camera.
    pub camera: usize,
    /// When it was taken, in nanoseconds of a clock that all cameras share.
    pub nanos: u64,
    /// The number of its match, if there was one: pictures with the same number were taken at the same time.
    pub matched: Option<u64>,
    /// The corners that were found.
    pub corners: Vec<Corner>,
}

/// Chooses at most `most` moments, as indices of pictures: one of each of at least two cameras. Those come first that link
/// pairs of cameras which few others link.
pub fn choose_moments(seen: &[Seen], most: usize) -> Vec<Vec<usize>> {
    let mut candidates = candidates(seen);
    // Moments of many cameras are worth more; of equal ones, the earlier.
    candidates.sort_by_key(|moment| std::cmp::Reverse(moment.len()));
    let mut chosen: Vec<Vec<usize>> = Vec::new();
    let mut linked: BTreeMap<(usize, usize), u32> = BTreeMap::new();
    while chosen.len() < most {
        candidates.retain(|moment| is_new(seen, moment, &chosen));
        let worth = |moment: &[usize]| -> f64 {
            pairs(seen, moment).map(|pair| 1.0 / f64::from(1 + linked.get(&pair).copied().unwrap_or(0))).sum()
        };
        // The first of equal ones: `max_by` would take the last.
        let best = candidates.iter().enumerate().rev().max_by(|a, b| worth(a.1).total_cmp(&worth(b.1)));
        let Some((index, _)) = best else { break };
        let moment = candidates.swap_remove(index);
        pairs(seen, &moment).for_each(|pair| *linked.entry(pair).or_default() += 1);
        chosen.push(moment);
    }
    chosen.sort_by_key(|moment| moment.iter().map(|&picture| seen[picture].nanos).min());
    chosen
}

/// Returns the pairs of cameras of a moment.
fn pairs(seen: &[Seen], moment: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    let cameras: BTreeSet<_> = moment.iter().map(|&picture| seen[picture].camera).collect();
    let all: Vec<_> = cameras.iter().flat_map(|a| cameras.range(a + 1..).map(|b| (*a, *b))).collect();
    all.into_iter()
}

/// Returns every moment, once.
fn candidates(seen: &[Seen]) -> Vec<Vec<usize>> {
    let mut matches: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    let mut single = Vec::new();
    for (picture, it) in seen.iter().enumerate() {
        match it.matched {
            Some(number) => matches.entry(number).or_default().push(picture),
            None => single.push(picture),
        }
    }
    let mut moments: BTreeSet<Vec<usize>> =
        matches.into_values().map(|of_match| one_each(seen, of_match)).collect();
    let speeds = speeds(seen, &single);
    moments.extend(single.iter().map(|&picture| around(seen, &speeds, picture)));
    moments.into_iter().filter(|moment| moment.len() > 1).collect()
}

/// Leaves the first picture of each camera.
fn one_each(seen: &[Seen], pictures: Vec<usize>) -> Vec<usize> {
    let mut cameras = BTreeSet::new();
    pictures.into_iter().filter(|&picture| cameras.insert(seen[picture].camera)).collect()
}

/// Returns the pictures of other cameras in which the board is where it is in this one, with this one.
fn around(seen: &[Seen], speeds: &BTreeMap<usize, f64>, picture: usize) -> Vec<usize> {
    let mut nearest: BTreeMap<usize, (u64, usize)> = BTreeMap::new();
    for (&other, speed) in speeds {
        let apart = seen[other].nanos.abs_diff(seen[picture].nanos);
        let speed = speed.max(speeds[&picture]);
        // A picture of the same camera is at no time from itself.
        let is_one = other == picture
            || (seen[other].camera != seen[picture].camera
                && apart <= LONGEST_NANOS
                && speed * seconds(apart) <= STILL_PIXELS);
        if is_one {
            let entry = nearest.entry(seen[other].camera).or_insert((apart, other));
            *entry = (apart, other).min(*entry);
        }
    }
    let mut moment: Vec<_> = nearest.into_values().map(|(_, picture)| picture).collect();
    moment.sort_unstable();
    moment
}

/// Returns the speed of the board in each picture, in pixels per second: the larger one of those to the pictures of the same
/// camera before and after it; infinite without any.
fn speeds(seen: &[Seen], pictures: &[usize]) -> BTreeMap<usize, f64> {
    let mut by_camera: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for &picture in pictures {
        by_camera.entry(seen[picture].camera).or_default().push(picture);
    }
    let mut speeds = BTreeMap::new();
    for mut pictures in by_camera.into_values() {
        pictures.sort_by_key(|&picture| seen[picture].nanos);
        let between: Vec<_> = pictures.windows(2).map(|pair| speed(&seen[pair[0]], &seen[pair[1]])).collect();
        for (at, picture) in pictures.into_iter().enumerate() {
            let near =
                [at.checked_sub(1), Some(at)].into_iter().flatten().filter_map(|at| *between.get(at)?);
            speeds.insert(picture, near.reduce(f64::max).unwrap_or(f64::INFINITY));
        }
    }
    speeds
}

pub(crate) fn speed(a: &Seen, b: &Seen) -> Option<f64> {
    let apart = b.nanos.abs_diff(a.nanos);
    let pixels = distance(&a.corners, &b.corners)?;
    (apart > 0 && apart <= SPEED_NANOS).then(|| pixels / seconds(apart))
}

pub(crate) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// Returns the usual distance of the corners that two pictures have in common, in pixels; `None` if these are too few.
fn distance(a: &[Corner], b: &[Corner]) -> Option<f64> {
    let of_b: BTreeMap<_, _> = b.iter().map(|corner| (corner.id, corner.pixel)).collect();
    let common = a.iter().filter_map(|corner| {
        let other = of_b.get(&corner.id)?;
        Some((corner.pixel[0] - other[0]).hypot(corner.pixel[1] - other[1]))
    });
    let common: Vec<_> = common.collect();
    (common.len() >= MIN_COMMON).then(|| median(common))
}

/// Returns whether a moment adds to the chosen ones: shows the board in another place for at least one of its cameras, or a
/// pair of cameras.
pub(crate) fn is_new(seen: &[Seen], moment: &[usize], chosen: &[Vec<usize>]) -> bool {
    let shows = |known: &Vec<usize>| {
        moment.iter().all(|&picture| {
            let same = known.iter().find(|&&other| seen[other].camera == seen[picture].camera);
            let distance = same.and_then(|&other| distance(&seen[picture].corners, &seen[other].corners));
            distance.is_some_and(|pixels| pixels < NEW_PIXELS)
        })
    };
    !chosen.iter().any(shows)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a picture of a board at this place.
    fn seen(camera: usize, millis: u64, place: f64) -> Seen {
        let corners = (0..8).map(|id| Corner { id, pixel: [f64::from(id) + place, 100.0] }).collect();
        Seen { camera, nanos: millis * 1_000_000, matched: None, corners }
    }

    fn cameras(seen: &[Seen], moments: &[Vec<usize>]) -> Vec<Vec<(usize, u64)>> {
        let of = |picture: &usize| (seen[*picture].camera, seen[*picture].nanos / 1_000_000);
        moments.iter().map(|moment| moment.iter().map(of).collect()).collect()
    }

    #[test]
    fn a_board_that_does_not_move_is_one_moment() {
        // Camera 1 takes its pictures a tenth of a second later. The board stands, moves, and stands again.
        let places = [0.0, 0.0, 0.0, 40.0, 80.0, 120.0, 120.0, 120.0];
        let of = |camera, late| (0..8).map(move |at: u64| seen(camera, at * 200 + late, places[at as usize]));
        let seen: Vec<_> = of(0, 0).chain(of(1, 100)).collect();
        let chosen = choose_moments(&seen, 10);
        let found = cameras(&seen, &chosen);
        assert_eq!(found.len(), 2, "{found:?}");
        for (moment, range) in found.iter().zip([0..500, 1200..1600]) {
            assert!(
                moment.len() == 2 && moment.iter().all(|(_, millis)| range.contains(millis)),
                "{found:?}"
            );
        }
    }

    #[test]
    fn matches_are_moments_however_fast_the_board_moves() {
        let of = |camera, late| {
            (0..4).map(move |at: u64| Seen {
                matched: Some(at),
                ..seen(camera, at * 200 + late, at as f64 * 60.0)
            })
        };
        let seen: Vec<_> = of(0, 0).chain(of(1, 30)).collect();
        assert_eq!(choose_moments(&seen, 10).len(), 4);
        assert_eq!(choose_moments(&seen, 3).len(), 3);
    }

    #[test]
    fn rare_pairs_come_first() {
        let matched = |camera, number: u64| Seen {
            matched: Some(number),
            ..seen(camera, number * 200, number as f64 * 60.0)
        };
        let often = (0..20).flat_map(|number| [matched(0, number), matched(1, number)]);
        let rare = (20..22).flat_map(|number| [matched(1, number), matched(2, number)]);
        let seen: Vec<_> = often.chain(rare).collect();
        let chosen = choose_moments(&seen, 4);
        let with = |camera| {
            chosen.iter().filter(|moment| moment.iter().any(|&it| seen[it].camera == camera)).count()
        };
        assert_eq!((with(0), with(2)), (2, 2));
    }
}
