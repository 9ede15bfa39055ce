//! Tests of the window against brute force, in any order of arrival.

use std::collections::VecDeque;

use camrig_ipc::Unmatched;
use proptest::prelude::*;

use super::window::{Decision, LaneRules, Rules, Window};

/// A match as its items' cameras and times.
type Set = Vec<(usize, u64)>;

fn lane_rules(gap_nanos: u64, required: bool) -> LaneRules {
    LaneRules { awaited: true, required, gap_nanos }
}

/// Returns all matches and reasons for these cameras' times, pushed in this order of cameras.
fn matched(
    rules: Rules,
    lane_rules: LaneRules,
    times: &[Vec<u64>],
    order: &[usize],
) -> (Vec<Set>, Vec<Unmatched>) {
    let mut window = Window::new(rules, times.iter().map(|_| lane_rules));
    let mut left: Vec<VecDeque<u64>> = times.iter().map(|times| times.iter().copied().collect()).collect();
    let mut push = |window: &mut Window<()>, lane: usize| match left[lane].pop_front() {
        Some(nanos) => {
            window.push(lane, nanos, ());
            true
        }
        None => false,
    };
    for &lane in order {
        // Like a link that blocks: without room, the item is pushed later.
        if window.has_room(lane % times.len()) {
            push(&mut window, lane % times.len());
        }
    }
    let mut ended = vec![false; times.len()];
    while !ended.iter().all(|&ended| ended) {
        let mut stuck = true;
        for (lane, ended) in ended.iter_mut().enumerate() {
            while !*ended && window.has_room(lane) {
                stuck = false;
                if !push(&mut window, lane) {
                    *ended = true;
                    window.end(lane);
                }
            }
        }
        assert!(!stuck, "all cameras are full, and nothing is decided");
    }
    let (mut sets, mut unmatched) = (Vec::new(), Vec::new());
    while let Some(decided) = window.pop() {
        match decided {
            Decision::Match(set) => {
                sets.push(set.into_iter().map(|(lane, item)| (lane, item.nanos)).collect());
            }
            Decision::Unmatched(_, reason, ()) => unmatched.push(reason),
        }
    }
    assert_eq!(window.drain().count(), 0);
    (sets, unmatched)
}

/// Finds the same matches by trying every set, with all times known in advance.
fn by_brute_force(
    window_nanos: u64,
    partial: bool,
    required: bool,
    mut times: Vec<VecDeque<u64>>,
) -> Vec<Set> {
    let mut sets = Vec::new();
    while let Some(first) = times.iter().filter_map(VecDeque::front).min().copied() {
        let near: Vec<usize> = (0..times.len())
            .filter(|&lane| times[lane].front().is_some_and(|nanos| *nanos <= first + window_nanos))
            .collect();
        if required && near.len() < times.len() {
            let lane = near.iter().find(|&&lane| times[lane][0] == first).unwrap();
            times[*lane].pop_front();
            continue;
        }
        let (pivot_nanos, pivot) = near.iter().map(|&lane| (times[lane][0], lane)).max().unwrap();
        let mut best: Option<(u64, Vec<usize>)> = None;
        let mut at = vec![0; near.len()];
        'all: loop {
            let of_set = || near.iter().zip(&at).map(|(&lane, &at)| times[lane][at]);
            let spread = of_set().max().unwrap() - of_set().min().unwrap();
            let earlier = best.as_ref().is_none_or(|(least, _)| spread < *least);
            if at[near.iter().position(|&lane| lane == pivot).unwrap()] == 0 && earlier {
                best = Some((spread, at.clone()));
            }
            // Enumerates all sets, the earliest item of each camera first.
            for (digit, &lane) in near.iter().enumerate().rev() {
                at[digit] += 1;
                if at[digit] < times[lane].len() {
                    continue 'all;
                }
                at[digit] = 0;
            }
            break;
        }
        assert!(pivot_nanos <= first + window_nanos);
        let (spread, mut best) = best.unwrap();
        let first_spread = pivot_nanos - first;
        if partial && near.len() == times.len() && spread > first_spread / 2 {
            best.fill(0);
        }
        if best.iter().all(|&at| at == 0) {
            sets.push(near.iter().map(|&lane| (lane, times[lane].pop_front().unwrap())).collect());
            continue;
        }
        let mut passed = vec![VecDeque::new(); times.len()];
        for (&lane, &at) in near.iter().zip(&best) {
            passed[lane] = times[lane].drain(..at).collect();
        }
        if partial {
            sets.extend(by_brute_force(window_nanos, true, required, passed));
        }
    }
    sets
}

/// The earliest time of a camera's next item, as known from one that was left out, is of the time before.
#[test]
fn a_clock_that_goes_back_makes_earlier_knowledge_void() {
    let mut window =
        Window::new(Rules { window_nanos: 10, partial: true, depth: 4 }, [lane_rules(15, false); 2]);
    let mut push_both = |nanos: [u64; 2], left_out| {
        window.push(0, nanos[0], ());
        assert_eq!(window.pop(), None, "the other camera is waited for");
        window.push(1, nanos[1], ());
        window.skip(1, left_out);
        match window.pop() {
            Some(Decision::Match(set)) => set.into_iter().map(|(lane, item)| (lane, item.nanos)).collect(),
            other => panic!("no match: {other:?}"),
        }
    };
    let first: Set = push_both([1000, 1003], 1020);
    let second: Set = push_both([100, 103], 0);
    assert_eq!((first, second), (vec![(0, 1000), (1, 1003)], vec![(0, 100), (1, 103)]));
}

prop_compose! {
    /// Times of two to four cameras, a few each, at least `gap` apart.
    fn some_times(gap: u64)(
        steps in prop::collection::vec(prop::collection::vec(1_u64..20, 0..7), 2..5),
    ) -> Vec<Vec<u64>> {
        let times = |steps: Vec<u64>| {
            steps.into_iter().scan(0, |now, step| {
                *now += gap + step;
                Some(*now)
            })
        };
        steps.into_iter().map(|steps| times(steps).collect()).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_finds_the_same_matches_as_brute_force_in_any_order_of_arrival(
        times in (0_u64..12).prop_flat_map(some_times),
        gap in 0_u64..12,
        window_nanos in 0_u64..40,
        partial: bool,
        named: bool,
        order in prop::collection::vec(0_usize..12, 0..40),
    ) {
        let rules = Rules { window_nanos, partial, depth: 8 };
        // The times have to keep the gap.
        let apart = times.iter().flat_map(|times| times.windows(2).map(|pair| pair[1] - pair[0])).min();
        let gap = gap.min(apart.unwrap_or(gap));
        let required = !partial || named;
        let (sets, unmatched) = matched(rules, lane_rules(gap, required), &times, &order);
        let whole = times.iter().map(|times| times.iter().copied().collect()).collect();
        prop_assert_eq!(&sets, &by_brute_force(window_nanos, partial, required, whole));

        let in_sets: usize = sets.iter().map(Vec::len).sum();
        prop_assert_eq!(in_sets + unmatched.len(), times.iter().map(Vec::len).sum::<usize>());
        for set in &sets {
            let nanos = || set.iter().map(|(_, nanos)| *nanos);
            prop_assert!(nanos().max().unwrap() - nanos().min().unwrap() <= window_nanos);
            prop_assert!(!required || set.len() == times.len());
        }
    }

    #[test]
    fn with_short_queues_the_order_of_arrival_makes_no_difference(
        times in some_times(0),
        window_nanos in 0_u64..40,
        partial: bool,
        depth in 1_usize..4,
        orders in prop::collection::vec(prop::collection::vec(0_usize..12, 0..40), 2),
    ) {
        let rules = Rules { window_nanos, partial, depth };
        let of = |order: &[usize]| matched(rules, lane_rules(0, !partial), &times, order);
        prop_assert_eq!(of(&orders[0]), of(&orders[1]));
    }
}
