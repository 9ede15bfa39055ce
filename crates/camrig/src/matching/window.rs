//! Which framesets belong to the same instant: decided by their times alone.
//!
//! A state machine without clock, thread or link. Whoever owns it pushes each camera's items in the order of
//! that camera, says which cameras have ended, and takes out what was decided. What is decided follows from the
//! times: an answer that could still change with what comes is not given yet, so that the order in which the
//! cameras' items arrive makes no difference, until a camera is given up.
//!
//! # What is decided
//!
//! Of all that waits, the *earliest* item is decided next. The cameras that have an item within the window from
//! it could share its instant. Of their first items the latest is the *pivot*: what is earlier on the other
//! cameras can have no better partner on the pivot's camera. Among all sets that hold the pivot and one item of
//! each of the others, the one of the smallest spread is best, and of several such the earliest.
//!
//! * Holds the best set the earliest item, it is a match.
//! * Otherwise what lies before the best set fits nothing better: where every awaited camera has to be in a
//!   match it is passed over, and where some may be missing it is matched among itself.
//! * Where every awaited camera has to be in a match, and one has nothing within the window, the earliest item
//!   stays without a match.
//!
//! # When it is decided
//!
//! The best set is looked for from the pivot's neighbours on: the earliest of its items moves on to the next of
//! its camera, until that is the pivot. A camera's next item comes no sooner than its *gap* after the last one;
//! where such an item could improve nothing, it is not waited for. An item that comes sooner than that all the
//! same is not used, so that waiting for it or not is the same.
//!
//! At most so many items of a camera wait. For one more, what is decided next is decided with what is there: the
//! cameras that it waited for are given up until they catch up.

use std::collections::VecDeque;

use camrig_ipc::Unmatched;

/// What a match is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    /// The largest spread of a match: how much later its latest item is than its earliest.
    pub(super) window_nanos: u64,
    /// Whether a match may lack cameras that are awaited.
    pub(super) partial: bool,
    /// How many items of each camera can wait.
    pub(super) depth: usize,
}

/// What is known of a camera beside its items.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    /// Whether matches wait for its items.
    pub(super) awaited: bool,
    /// Its items are at least so far apart.
    pub(super) gap_nanos: u64,
}

/// What was decided of some items.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decided<T> {
    /// They are of one instant: each with its camera, in the order of the cameras.
    Match(Vec<(usize, Item<T>)>),
    /// One of this camera has no match.
    Unmatched(usize, Unmatched, T),
}

/// Something with a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item<T> {
    pub(super) nanos: u64,
    pub(super) what: T,
}

/// What waits, by camera, and what was decided of the rest.
pub(super) struct Window<T> {
    rules: Rules,
    lanes: Vec<Lane<T>>,
    /// Nothing earlier than this is decided again.
    frontier_nanos: u64,
    decided: VecDeque<Decided<T>>,
}

struct Lane<T> {
    source: Source,
    items: VecDeque<Item<T>>,
    last_nanos: Option<u64>,
    ended: bool,
    given_up: bool,
}

/// What is to be done next with what waits.
enum Step {
    Nothing,
    /// This camera's next item may change the answer.
    Wait(usize),
    /// The earliest item has no match.
    Drop,
    /// The first items of these cameras are a match.
    Match(Vec<usize>),
    /// So many items of each camera fit nothing better.
    Pass(Vec<usize>),
}

impl<T> Lane<T> {
    fn new(source: Source) -> Self {
        Self { source, items: VecDeque::new(), last_nanos: None, ended: false, given_up: false }
    }

    /// The earliest time that an item can have that is not there yet; none when no such item is waited for.
    fn next_nanos(&self, depth: usize) -> Option<u64> {
        let waits = self.source.awaited && !self.ended && !self.given_up && self.items.len() < depth;
        waits.then(|| self.last_nanos.map_or(0, |last| last.saturating_add(self.source.gap_nanos)))
    }
}

impl<T> Window<T> {
    pub(super) fn new(rules: Rules, sources: impl IntoIterator<Item = Source>) -> Self {
        let lanes = sources.into_iter().map(Lane::new).collect();
        Self { rules, lanes, frontier_nanos: 0, decided: VecDeque::new() }
    }

    /// Says how far apart a camera's items are, once it is known.
    pub(super) fn set_gap(&mut self, lane: usize, gap_nanos: u64) {
        self.lanes[lane].source.gap_nanos = gap_nanos;
    }

    /// Whether one more item of this camera can wait without another camera being given up for it.
    pub(super) fn has_room(&self, lane: usize) -> bool {
        self.lanes[lane].items.len() < self.rules.depth
    }

    /// Takes the next item of a camera, and decides what it lets decide.
    pub(super) fn push(&mut self, lane: usize, nanos: u64, what: T) {
        if let Some(last) = self.lanes[lane].last_nanos {
            if nanos.saturating_add(self.rules.window_nanos) < last {
                // The clock went back: what waits is of another time.
                self.decide_all();
                self.frontier_nanos = 0;
                self.lanes.iter_mut().for_each(|lane| lane.last_nanos = None);
            } else if nanos < last.saturating_add(self.lanes[lane].source.gap_nanos.max(1)) {
                return self.decided.push_back(Decided::Unmatched(lane, Unmatched::TooSoon, what));
            }
        }
        self.lanes[lane].last_nanos = Some(nanos);
        if nanos < self.frontier_nanos {
            return self.decided.push_back(Decided::Unmatched(lane, Unmatched::Late, what));
        }
        self.lanes[lane].given_up = false;
        while !self.has_room(lane) {
            self.decide_without_waiting();
        }
        self.lanes[lane].items.push_back(Item { nanos, what });
        self.decide();
    }

    /// Says that nothing more will come from a camera; false when that was known.
    pub(super) fn end(&mut self, lane: usize) -> bool {
        let news = !std::mem::replace(&mut self.lanes[lane].ended, true);
        if news {
            self.decide();
        }
        news
    }

    /// Gives up the cameras that the next decision waits for, until they catch up.
    pub(super) fn give_up(&mut self) {
        while let Step::Wait(lane) = self.step() {
            self.lanes[lane].given_up = true;
        }
        self.decide();
    }

    /// Takes out what was decided, oldest first.
    pub(super) fn pop(&mut self) -> Option<Decided<T>> {
        self.decided.pop_front()
    }

    /// How many items wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.lanes.iter().map(|lane| lane.items.len()).sum()
    }

    /// Takes out whatever still waits.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = (usize, T)> + '_ {
        let lanes = self.lanes.iter_mut().enumerate();
        lanes.flat_map(|(lane, Lane { items, .. })| items.drain(..).map(move |item| (lane, item.what)))
    }

    fn decide(&mut self) {
        while self.take(self.step()) {}
    }

    /// One decision, for which no camera is waited for.
    fn decide_without_waiting(&mut self) {
        match self.step() {
            Step::Wait(lane) => self.lanes[lane].given_up = true,
            step => drop(self.take(step)),
        }
    }

    /// Decides all that waits, as if every camera had ended.
    fn decide_all(&mut self) {
        let waiting: Vec<_> = self.lanes.iter_mut().map(|lane| std::mem::take(&mut lane.items)).collect();
        self.decide_among(waiting);
    }

    fn step(&self) -> Step {
        let lanes = self.lanes.iter();
        let next = |lane: usize| self.lanes[lane].next_nanos(self.rules.depth);
        step(&self.rules, &self.sources(), &lanes.map(|lane| &lane.items).collect::<Vec<_>>(), next)
    }

    fn sources(&self) -> Vec<Source> {
        self.lanes.iter().map(|lane| lane.source).collect()
    }

    /// Does a step with what waits; false when there is nothing to be done.
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

    /// Does a step with `waiting`; what it passes over where some cameras may be missing is returned.
    fn take_from(&mut self, waiting: &mut [VecDeque<Item<T>>], step: Step) -> Vec<VecDeque<Item<T>>> {
        match step {
            Step::Nothing | Step::Wait(_) => {}
            Step::Drop => {
                let earliest = earliest(waiting.iter());
                let item = earliest.and_then(|lane| Some((lane, waiting[lane].pop_front()?.what)));
                let unmatched = item.map(|(lane, what)| Decided::Unmatched(lane, Unmatched::Missing, what));
                self.decided.extend(unmatched);
            }
            Step::Match(lanes) => {
                let set = lanes.into_iter().filter_map(|lane| Some((lane, waiting[lane].pop_front()?)));
                self.decided.push_back(Decided::Match(set.collect()));
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
                        |item: Item<T>| Decided::Unmatched(lane, Unmatched::PassedOver, item.what);
                    self.decided.extend(items.into_iter().map(unmatched));
                }
            }
        }
        Vec::new()
    }

    /// Decides among items to which nothing will be added.
    fn decide_among(&mut self, mut waiting: Vec<VecDeque<Item<T>>>) {
        let sources = self.sources();
        while !waiting.is_empty() {
            let next = step(&self.rules, &sources, &waiting.iter().collect::<Vec<_>>(), |_| None);
            if matches!(next, Step::Nothing) {
                return;
            }
            // Fewer items each time: it ends.
            let passed = self.take_from(&mut waiting, next);
            self.decide_among(passed);
        }
    }
}

/// The camera of the earliest item.
fn earliest<'a, T: 'a>(waiting: impl Iterator<Item = &'a VecDeque<Item<T>>>) -> Option<usize> {
    let firsts = waiting.enumerate().filter_map(|(lane, items)| Some((items.front()?.nanos, lane)));
    firsts.min().map(|(_, lane)| lane)
}

/// What is to be done next with `waiting`, where camera `lane` can still have an item from `next_nanos(lane)` on.
fn step<T>(
    rules: &Rules,
    sources: &[Source],
    waiting: &[&VecDeque<Item<T>>],
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
    let lacks = |lane: usize| sources[lane].awaited && !near.contains(&lane);
    if !rules.partial && lanes.clone().any(lacks) {
        return Step::Drop;
    }

    let pivot_nanos = near.iter().map(|&lane| waiting[lane][0].nanos).max().unwrap_or(first_nanos);
    let mut at = vec![0; waiting.len()];
    let (mut best, mut best_nanos) = (at.clone(), pivot_nanos - first_nanos);
    let mut latest_nanos = pivot_nanos;
    loop {
        let (nanos, lane) = near
            .iter()
            .map(|&lane| (waiting[lane][at[lane]].nanos, lane))
            .min()
            .unwrap_or((pivot_nanos, first));
        // What could be won is no better than what is there, or the pivot itself would be left behind.
        let next_latest = latest_nanos.max(nanos.saturating_add(sources[lane].gap_nanos));
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
