//! Matches by times that are known, such as those of a recording.

use super::window::{Decision, LaneRules, Rules, Window};

/// The conditions for a match of a [`Matcher`].
#[derive(Clone, Copy, Debug)]
pub struct MatchRules {
    /// The largest spread of a match, from its earliest item to its latest.
    pub window_nanos: u64,
    /// Whether matches may lack cameras.
    pub partial: bool,
    /// Maximum number of items of each camera that wait for a match.
    pub queue: usize,
}

/// Groups items of several cameras by their times, with the rules of `match` in a topology.
///
/// ```
/// use camrig::{MatchRules, Matcher};
///
/// let rules = MatchRules { window_nanos: 5, partial: false, queue: 8 };
/// let mut matcher = Matcher::new(rules, [10, 10]);
/// matcher.push(0, 100, "left");
/// matcher.push(1, 103, "right");
/// (0..2).for_each(|camera| matcher.end(camera));
/// assert_eq!(matcher.pop(), Some(vec![(0, 100, "left"), (1, 103, "right")]));
/// assert_eq!(matcher.pop(), None);
/// ```
pub struct Matcher<T> {
    window: Window<T>,
}

impl<T> Matcher<T> {
    /// Creates a matcher of cameras, each with the least time between two of its items, in nanoseconds.
    pub fn new(rules: MatchRules, gaps_nanos: impl IntoIterator<Item = u64>) -> Self {
        let MatchRules { window_nanos, partial, queue } = rules;
        let lanes = gaps_nanos.into_iter().map(|gap_nanos| LaneRules {
            awaited: true,
            required: !partial,
            gap_nanos,
        });
        Self { window: Window::new(Rules { window_nanos, partial, depth: queue.max(1) }, lanes) }
    }

    /// Adds the next item of a camera.
    ///
    /// # Panics
    /// If there is no camera with this index.
    pub fn push(&mut self, camera: usize, nanos: u64, item: T) {
        self.window.push(camera, nanos, item);
    }

    /// Ends a camera: matches no longer wait for its items.
    ///
    /// # Panics
    /// If there is no camera with this index.
    pub fn end(&mut self, camera: usize) {
        self.window.end(camera);
    }

    /// Takes the next match: the index of the camera, the time and the item of each, in the order of the cameras. `None`
    /// when there is no match yet, or no further one. Items without a match are left out.
    pub fn pop(&mut self) -> Option<Vec<(usize, u64, T)>> {
        loop {
            match self.window.pop()? {
                Decision::Match(items) => {
                    let items = items.into_iter().map(|(camera, item)| (camera, item.nanos, item.value));
                    return Some(items.collect());
                }
                Decision::Unmatched(..) => {}
            }
        }
    }
}
