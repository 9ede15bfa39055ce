//! Decides from times alone which framesets belong to the same instant.
//!
//! A state machine without clock, thread or link. Its owner pushes each camera's items in that camera's order, marks
//! cameras as ended, and takes the decisions. Decisions depend on times only: a decision that a later item could still
//! change is withheld, so that the order of arrival across cameras makes no difference, unless a camera is given up.
//!
//! # Decisions
//!
//! The *earliest* queued item is decided next. Every camera with an item within the window from it could be part of
//! its match. The latest of these cameras' first items is the *pivot*: an earlier item of another camera can have no
//! better partner on the pivot's camera. Among all sets of the pivot and one item of each other camera, the best is
//! the one with the smallest spread, and among equals the earliest.
//!
//! * If the best set contains the earliest item, it is a match.
//! * Otherwise the items before the best set fit nothing better: they are passed over if every awaited camera has to
//!   be in a match, and matched among themselves if cameras may be missing. In that case a complete set of first items
//!   is a match unless the best set has at most half its spread: two cameras half an interval apart would otherwise
//!   lose their pairs to partial matches.
//! * If a camera that every match requires has no item within the window, or no awaited camera has one, the earliest
//!   item is unmatched.
//!
//! # Waiting
//!
//! The search for the best set starts with the items nearest to the pivot: the earliest item of the set is replaced by the next
//! of its camera, until that item is the pivot. A camera's next item is at least its *gap* after the last one; an item that
//! could not improve the set is not waited for. An item that comes sooner than the gap is not used, so that waiting for it
//! makes no difference.
//!
//! Each camera's queue is bounded. To make room in a full one, the next decision is made with the items there are: the
//! cameras that it waited for are given up until they catch up.

use std::collections::VecDeque;

use camrig_ipc::Unmatched;

/// The conditions for a match.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// The largest spread of a match, from its earliest item to its latest.
    pub(super) window_nanos: u64,
    /// Whether a match may lack cameras that are awaited.
    pub(super) partial: bool,
    /// Maximum number of queued items of each camera.
    pub(super) depth: usize,
}

/// The properties of one camera.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneRules {
    /// Whether matches wait for its items.
    pub(super) awaited: bool,
    /// Whether every match has an item of it. Such a camera is awaited too.
    pub(super) required: bool,
    /// The smallest distance between its items.
    pub(super) gap_nanos: u64,
}

/// A decision about one or several items.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision<T> {
    /// These items are a match: each with its camera, in the order of the cameras.
    Match(Vec<(usize, Timed<T>)>),
    /// This item of this camera has no match.
    Unmatched(usize, Unmatched, T),
}

/// A value with a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Timed<T> {
    pub(super) nanos: u64,
    pub(super) value: T,
}

/// The queued items of each camera, and the decisions to be taken.
pub(super) struct Window<T> {
    rules: Rules,
    lanes: Vec<Lane<T>>,
    /// No decision is made about earlier items.
    frontier_nanos: u64,
    decided: VecDeque<Decision<T>>,
}

/// The queue of one camera.
struct Lane<T> {
    rules: LaneRules,
    items: VecDeque<Timed<T>>,
    last_nanos: Option<u64>,
    /// The next item is not earlier, as far as is known from items that were left out.
    floor_nanos: u64,
    ended: bool,
    given_up: bool,
}

/// The next decision about the queued items.
enum Step {
    Nothing,
    /// Wait: this camera's next item may change the decision.
    Wait(usize),
    /// The earliest item has no match.
    Drop,
    /// The first items of these cameras are a match.
    Match(Vec<usize>),
    /// This many items of each camera fit nothing better.
    Pass(Vec<usize>),
}

impl<T> Lane<T> {
    fn new(rules: LaneRules) -> Self {
        Self {
            rules,
            items: VecDeque::new(),
            last_nanos: None,
            floor_nanos: 0,
            ended: false,
            given_up: false,
        }
    }

    /// Returns the earliest time of the next item to come; `None` when no item is waited for.
    fn next_nanos(&self, depth: usize) -> Option<u64> {
        let waits = self.rules.awaited && !self.ended && !self.given_up && self.items.len() < depth;
        let next = self.last_nanos.map_or(0, |last| last.saturating_add(self.rules.gap_nanos));
        waits.then(|| next.max(self.floor_nanos))
    }
}

impl<T> Window<T> {
    pub(super) fn new(rules: Rules, lane_rules: impl IntoIterator<Item = LaneRules>) -> Self {
        let lanes = lane_rules.into_iter().map(Lane::new).collect();
        Self { rules, lanes, frontier_nanos: 0, decided: VecDeque::new() }
    }

    /// Sets the smallest distance between a camera's items, once it is known.
    pub(super) fn set_gap(&mut self, lane: usize, gap_nanos: u64) {
        self.lanes[lane].rules.gap_nanos = gap_nanos;
    }

    /// Notes that an item of a camera was left out: the next one is not earlier than `earliest_nanos`.
    pub(super) fn skip(&mut self, lane: usize, earliest_nanos: u64) {
        let floor_nanos = &mut self.lanes[lane].floor_nanos;
        *floor_nanos = earliest_nanos.max(*floor_nanos);
        self.decide();
    }

    /// Stops waiting for a camera until its next item.
    pub(super) fn stop_waiting_for(&mut self, lane: usize) {
        self.lanes[lane].given_up = true;
        self.decide();
    }

    /// Returns whether one more item of this camera can be queued without giving up another camera.
    pub(super) fn has_room(&self, lane: usize) -> bool {
        self.lanes[lane].items.len() < self.rules.depth
    }

    /// Queues the next item of a camera, and makes the decisions that it allows. Returns false when it is too soon or late, and not
    /// queued.
    pub(super) fn push(&mut self, lane: usize, nanos: u64, value: T) -> bool {
        if let Some(last) = self.lanes[lane].last_nanos {
            if nanos.saturating_add(self.rules.window_nanos) < last {
                // The clock went back: the queued items are from another time base.
                self.decide_all();
                self.frontier_nanos = 0;
                self.lanes.iter_mut().for_each(|lane| (lane.last_nanos, lane.floor_nanos) = (None, 0));
            } else if nanos < last.saturating_add(self.lanes[lane].rules.gap_nanos.max(1)) {
                self.decided.push_back(Decision::Unmatched(lane, Unmatched::TooSoon, value));
                return false;
            }
        }
        self.lanes[lane].last_nanos = Some(nanos);
        self.lanes[lane].floor_nanos = 0;
        if nanos < self.frontier_nanos {
            self.decided.push_back(Decision::Unmatched(lane, Unmatched::Late, value));
            return false;
        }
        self.lanes[lane].given_up = false;
        while !self.has_room(lane) {
            self.decide_without_waiting();
        }
        self.lanes[lane].items.push_back(Timed { nanos, value });
        self.decide();
        true
    }

    /// Marks a camera as ended; returns false when it was marked before.
    pub(super) fn end(&mut self, lane: usize) -> bool {
        let first = !std::mem::replace(&mut self.lanes[lane].ended, true);
        if first {
            self.decide();
        }
        first
    }

    /// Gives up the cameras that the next decision waits for, until they catch up.
    pub(super) fn give_up(&mut self) {
        while let Step::Wait(lane) = self.step() {
            self.lanes[lane].given_up = true;
        }
        self.decide();
    }

    /// Takes the oldest decision.
    pub(super) fn pop(&mut self) -> Option<Decision<T>> {
        self.decided.pop_front()
    }

    /// Returns the number of queued items.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lanes.iter().map(|lane| lane.items.len()).sum()
    }

    /// Takes all queued items.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (usize, T)> + '_ {
        let lanes = self.lanes.iter_mut().enumerate();
        lanes.flat_map(|(lane, Lane { items, .. })| items.drain(..).map(move |item| (lane, item.value)))
    }

    fn decide(&mut self) {
        while self.take(self.step()) {}
    }

    /// Makes one decision without waiting for any camera.
    fn decide_without_waiting(&mut self) {
        match self.step() {
            Step::Wait(lane) => self.lanes[lane].given_up = true,
            step => drop(self.take(step)),
        }
    }

    /// Decides about all queued items, as if every camera had ended.
    fn decide_all(&mut self) {
        let waiting: Vec<_> = self.lanes.iter_mut().map(|lane| std::mem::take(&mut lane.items)).collect();
        self.decide_among(waiting);
    }

    fn step(&self) -> Step {
        let lanes = self.lanes.iter();
        let next = |lane: usize| self.lanes[lane].next_nanos(self.rules.depth);
        step(&self.rules, &self.lane_rules(), &lanes.map(|lane| &lane.items).collect::<Vec<_>>(), next)
    }

    fn lane_rules(&self) -> Vec<LaneRules> {
        self.lanes.iter().map(|lane| lane.rules).collect()
    }

    /// Applies a step to the queued items; returns false for a step that changes nothing.
    fn take(&mut self, step: Step) -> bool {
        if matches!(step, Step::Nothing | Step::Wait(_)) {
            return false;
        }
        let firsts = self.lanes.iter().filter_map(|lane| lane.items.front());
        self.frontier_nanos = firsts.map(|item| item.nanos).min().unwrap_or(0).max(self.frontier_nanos);
        let mut waiting: Vec<_> = self.lanes.iter_mut().map(|lane| std::mem::take(&mut lane.items)).collect();
        let passed = self.take_from(&mut waiting, step);
        for (lane, items) in self.lanes.iter_mut().zip(waiting) {
            lane.items = items;
        }
        self.decide_among(passed);
        true
    }

    /// Applies a step to `waiting`; returns the items that it passes over, if cameras may be missing.
    fn take_from(&mut self, waiting: &mut [VecDeque<Timed<T>>], step: Step) -> Vec<VecDeque<Timed<T>>> {
        match step {
            Step::Nothing | Step::Wait(_) => {}
            Step::Drop => {
                let earliest = earliest(waiting.iter());
                let item = earliest.and_then(|lane| Some((lane, waiting[lane].pop_front()?.value)));
                let unmatched =
                    item.map(|(lane, value)| Decision::Unmatched(lane, Unmatched::Missing, value));
                self.decided.extend(unmatched);
            }
            Step::Match(lanes) => {
                let set = lanes.into_iter().filter_map(|lane| Some((lane, waiting[lane].pop_front()?)));
                self.decided.push_back(Decision::Match(set.collect()));
            }
            Step::Pass(counts) => {
                let passed =
                    waiting.iter_mut().zip(counts).map(|(items, count)| items.drain(..count).collect());
                let passed: Vec<VecDeque<_>> = passed.collect();
                if self.rules.partial {
                    return passed;
                }
                for (lane, items) in passed.into_iter().enumerate() {
                    let unmatched =
                        |item: Timed<T>| Decision::Unmatched(lane, Unmatched::PassedOver, item.value);
                    self.decided.extend(items.into_iter().map(unmatched));
                }
            }
        }
        Vec::new()
    }

    /// Decides about items to which none will be added.
    fn decide_among(&mut self, mut waiting: Vec<VecDeque<Timed<T>>>) {
        let lane_rules = self.lane_rules();
        while !waiting.is_empty() {
            let next = step(&self.rules, &lane_rules, &waiting.iter().collect::<Vec<_>>(), |_| None);
            if matches!(next, Step::Nothing) {
                return;
            }
            // Each step removes items, so this ends.
            let passed = self.take_from(&mut waiting, next);
            self.decide_among(passed);
        }
    }
}

/// Returns the camera of the earliest item.
fn earliest<'a, T: 'a>(waiting: impl Iterator<Item = &'a VecDeque<Timed<T>>>) -> Option<usize> {
    let firsts = waiting.enumerate().filter_map(|(lane, items)| Some((items.front()?.nanos, lane)));
    firsts.min().map(|(_, lane)| lane)
}

/// Returns the next step for `waiting`, where camera `lane` can get another item from `next_nanos(lane)` on.
fn step<T>(
    rules: &Rules,
    lane_rules: &[LaneRules],
    waiting: &[&VecDeque<Timed<T>>],
    next_nanos: impl Fn(usize) -> Option<u64>,
) -> Step {
    let Some(first) = earliest(waiting.iter().copied()) else { return Step::Nothing };
    let first_nanos = waiting[first][0].nanos;
    let end_nanos = first_nanos.saturating_add(rules.window_nanos);
    let lanes = 0..waiting.len();
    let may_come =
        |lane: usize| waiting[lane].is_empty() && next_nanos(lane).is_some_and(|next| next <= end_nanos);
    if let Some(lane) = lanes.clone().find(|&lane| may_come(lane)) {
        return Step::Wait(lane);
    }
    let is_near = |lane: &usize| waiting[*lane].front().is_some_and(|item| item.nanos <= end_nanos);
    let near: Vec<usize> = lanes.clone().filter(is_near).collect();
    let is_absent = |lane: &usize| !near.contains(lane);
    // At least one awaited camera is in every match: the others only join.
    let only_joins = near.iter().all(|&lane| !lane_rules[lane].awaited);
    if only_joins || lanes.clone().filter(is_absent).any(|lane| lane_rules[lane].required) {
        return Step::Drop;
    }
    let is_complete = !lanes.filter(is_absent).any(|lane| lane_rules[lane].awaited);

    let pivot_nanos = near.iter().map(|&lane| waiting[lane][0].nanos).max().unwrap_or(first_nanos);
    let mut at = vec![0; waiting.len()];
    let first_spread_nanos = pivot_nanos - first_nanos;
    let (mut best, mut best_nanos) = (at.clone(), first_spread_nanos);
    if rules.partial && is_complete {
        // To pass over items of a complete match makes a partial one of them: worth it for half the spread only.
        best_nanos = best_nanos.min(first_spread_nanos / 2 + 1);
    }
    let mut latest_nanos = pivot_nanos;
    loop {
        let (nanos, lane) = near
            .iter()
            .map(|&lane| (waiting[lane][at[lane]].nanos, lane))
            .min()
            .unwrap_or((pivot_nanos, first));
        // A further step could not improve the spread, or would leave the pivot behind.
        let next_latest = latest_nanos.max(nanos.saturating_add(lane_rules[lane].gap_nanos));
        if nanos == pivot_nanos || next_latest - pivot_nanos >= best_nanos {
            break;
        }
        match (waiting[lane].get(at[lane] + 1), next_nanos(lane)) {
            (Some(item), _) => {
                at[lane] += 1;
                latest_nanos = latest_nanos.max(item.nanos);
            }
            (None, Some(_)) => return Step::Wait(lane),
            (None, None) => break,
        }
        let earliest_nanos = near.iter().map(|&lane| waiting[lane][at[lane]].nanos).min();
        let spread_nanos = latest_nanos - earliest_nanos.unwrap_or(pivot_nanos);
        if spread_nanos < best_nanos {
            best.clone_from(&at);
            best_nanos = spread_nanos;
        }
    }
    if best.iter().all(|&at| at == 0) { Step::Match(near) } else { Step::Pass(best) }
}
