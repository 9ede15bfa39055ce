//! Selects the moments of a recording to use: several cameras saw the board in one place, and no other moment has the same
//! view.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::Corner;
use crate::median::median;

/// The largest movement of the board in an image, in pixels, between two pictures that are one moment.
pub(crate) const STILL_PIXELS: f64 = 0.3;
/// The longest time between two pictures of a moment, in nanoseconds, however still the board is.
const LONGEST_NANOS: u64 = 2_000_000_000;
/// The longest time between the arrivals of two pictures of a match, in nanoseconds: numbers begin anew in each of several
/// recordings that were merged.
const MATCH_NANOS: u64 = 10_000_000_000;
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
    /// The index of the processor that matched it, if there was one, and the number of the match. Pictures of one match were
    /// taken at the same time; numbers of different processors are unrelated.
    pub matched: Option<(usize, u64)>,
    /// The corners that were found.
    pub corners: Vec<Corner>,
}

/// Chooses at most `most` moments, as indices of pictures: one of each of at least two cameras. Those come first that link
/// pairs of cameras which few others link.
pub fn choose_moments(seen: &[Seen], most: usize) -> Vec<Vec<usize>> {
    let with_pairs = |moment: Vec<usize>| (pairs(seen, &moment), moment);
    let mut candidates: Vec<_> = candidates(seen).into_iter().map(with_pairs).collect();
    // Moments of many cameras are worth more; of equal ones, the earlier.
    candidates.sort_by_key(|(_, moment)| Reverse(moment.len()));
    let mut chosen: Vec<Vec<usize>> = Vec::new();
    let mut linked: BTreeMap<(usize, usize), u32> = BTreeMap::new();
    while chosen.len() < most {
        let worth = |(pairs, _): &(Vec<(usize, usize)>, _)| -> f64 {
            pairs.iter().map(|pair| 1.0 / f64::from(1 + linked.get(pair).copied().unwrap_or(0))).sum()
        };
        // The first of equal ones: `max_by` would take the last.
        let best = candidates.iter().map(worth).enumerate().rev().max_by(|a, b| a.1.total_cmp(&b.1));
        let Some((index, _)) = best else { break };
        let (pairs, moment) = candidates.remove(index);
        for pair in pairs {
            *linked.entry(pair).or_default() += 1;
        }
        // The others are new beside the earlier ones.
        candidates.retain(|(_, other)| is_new(seen, other, std::slice::from_ref(&moment)));
        chosen.push(moment);
    }
    chosen.sort_by_key(|moment| moment.iter().map(|&picture| seen[picture].nanos).min());
    chosen
}

/// Returns the pairs of cameras of a moment.
fn pairs(seen: &[Seen], moment: &[usize]) -> Vec<(usize, usize)> {
    let cameras: BTreeSet<_> = moment.iter().map(|&picture| seen[picture].camera).collect();
    cameras.iter().flat_map(|a| cameras.range(a + 1..).map(|b| (*a, *b))).collect()
}

/// Returns every moment, once.
fn candidates(seen: &[Seen]) -> BTreeSet<Vec<usize>> {
    let speeds = speeds(seen);
    let mut order: Vec<_> = (0..seen.len()).collect();
    order.sort_by_key(|&picture| seen[picture].nanos);
    let around_each = order.iter().map(|&picture| {
        let nanos = seen[picture].nanos;
        let first = order.partition_point(|&other| seen[other].nanos.saturating_add(MATCH_NANOS) < nanos);
        let near = order[first..].iter().copied();
        let near = near.take_while(|&other| seen[other].nanos.saturating_sub(nanos) <= MATCH_NANOS);
        around(seen, &speeds, near, picture)
    });
    around_each.filter(|moment| moment.len() > 1).collect()
}

/// Returns the pictures of other cameras, of those that are `near`, that show the board where this one does, with this one.
fn around(seen: &[Seen], speeds: &[f64], near: impl Iterator<Item = usize>, picture: usize) -> Vec<usize> {
    let mut nearest: BTreeMap<usize, (u64, usize)> = BTreeMap::new();
    for other in near.filter(|&other| seen[other].camera != seen[picture].camera) {
        let Some(apart) = apart(seen, speeds, [picture, other]) else { continue };
        let entry = nearest.entry(seen[other].camera).or_insert((apart, other));
        *entry = (apart, other).min(*entry);
    }
    let mut moment: Vec<_> = nearest.into_values().map(|(_, other)| other).chain([picture]).collect();
    moment.sort_unstable();
    moment
}

/// Returns the time between two pictures of a moment, in nanoseconds: zero of a match, otherwise that between their arrivals.
/// `None` if the board may have moved between them.
fn apart(seen: &[Seen], speeds: &[f64], [a, b]: [usize; 2]) -> Option<u64> {
    let apart = seen[a].nanos.abs_diff(seen[b].nanos);
    match (seen[a].matched, seen[b].matched) {
        // What one processor did not match was not taken at the same time, whenever it arrived.
        (Some(of_a), Some(of_b)) if of_a.0 == of_b.0 => (of_a.1 == of_b.1).then_some(0),
        _ => {
            let moved = speeds[a].max(speeds[b]) * seconds(apart);
            (apart <= LONGEST_NANOS && moved <= STILL_PIXELS).then_some(apart)
        }
    }
}

/// Returns the speed of the board in each picture, in pixels per second: the larger one of those to the pictures of the same
/// camera before and after it; infinite without any.
fn speeds(seen: &[Seen]) -> Vec<f64> {
    let mut by_camera: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (picture, it) in seen.iter().enumerate() {
        by_camera.entry(it.camera).or_default().push(picture);
    }
    let mut speeds = vec![f64::INFINITY; seen.len()];
    for mut pictures in by_camera.into_values() {
        pictures.sort_by_key(|&picture| seen[picture].nanos);
        let between: Vec<_> = pictures.windows(2).map(|pair| speed(&seen[pair[0]], &seen[pair[1]])).collect();
        for (at, picture) in pictures.into_iter().enumerate() {
            let near =
                [at.checked_sub(1), Some(at)].into_iter().flatten().filter_map(|at| *between.get(at)?);
            speeds[picture] = near.reduce(f64::max).unwrap_or(f64::INFINITY);
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
                matched: Some((0, at)),
                ..seen(camera, at * 200 + late, at as f64 * 60.0)
            })
        };
        let seen: Vec<_> = of(0, 0).chain(of(1, 30)).collect();
        let found = cameras(&seen, &choose_moments(&seen, 10));
        let expected = |at: u64| vec![(0, at * 200), (1, at * 200 + 30)];
        assert_eq!(found, (0..4).map(expected).collect::<Vec<_>>());
        // Of equal ones the earlier.
        let found = cameras(&seen, &choose_moments(&seen, 2));
        assert_eq!(found, (0..2).map(expected).collect::<Vec<_>>());
    }

    /// The second processor began three pictures later. The camera that both match has each picture twice.
    #[test]
    fn numbers_of_different_processors_are_unrelated() {
        let of = |by, camera, late: u64, first: u64| {
            (first..10).map(move |at| Seen {
                matched: Some((by, at - first)),
                ..seen(camera, at * 200 + late, at as f64 * 60.0)
            })
        };
        let all = of(0, 0, 0, 0).chain(of(0, 1, 10, 0)).chain(of(1, 1, 10, 3)).chain(of(1, 2, 20, 3));
        let seen: Vec<_> = all.collect();
        let found = cameras(&seen, &choose_moments(&seen, 100));
        assert_eq!(found.len(), 10 + 7, "{found:?}");
        for moment in &found {
            let places: BTreeSet<_> = moment.iter().map(|(_, millis)| millis / 200).collect();
            assert_eq!((moment.len(), places.len()), (2, 1), "{moment:?}");
        }
    }

    #[test]
    fn a_number_of_merged_recordings_is_that_of_several_matches() {
        let of = |camera, first: u64| {
            (0..5).map(move |at| Seen {
                matched: Some((0, at)),
                ..seen(camera, first + at * 200, (first / 300 + at) as f64 * 60.0)
            })
        };
        let seen: Vec<_> = [0, 60_000].iter().flat_map(|first| of(0, *first).chain(of(1, *first))).collect();
        let found = cameras(&seen, &choose_moments(&seen, 100));
        assert_eq!(found.len(), 10, "{found:?}");
        assert!(found.iter().all(|moment| moment[0].1 == moment[1].1), "{found:?}");
    }

    /// A match has two of three cameras; the third one was recorded without it.
    #[test]
    fn a_board_at_rest_links_matches_and_other_pictures() {
        let place = |at: u64| (at / 5) as f64 * 60.0;
        let of = |camera, late: u64, matched: bool| {
            (0..15).map(move |at| Seen {
                matched: matched.then_some((0, at)),
                ..seen(camera, at * 100 + late, place(at))
            })
        };
        let seen: Vec<_> = of(0, 0, true).chain(of(1, 10, true)).chain(of(2, 40, false)).collect();
        let found = cameras(&seen, &choose_moments(&seen, 100));
        assert_eq!(found.len(), 3, "{found:?}");
        for moment in &found {
            assert_eq!(moment.iter().map(|(camera, _)| *camera).collect::<Vec<_>>(), [0, 1, 2]);
            // Those of the match are of one match.
            assert_eq!(moment[0].1 + 10, moment[1].1, "{moment:?}");
        }
    }

    #[test]
    fn rare_pairs_come_first() {
        let matched = |camera, number: u64| Seen {
            matched: Some((0, number)),
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
