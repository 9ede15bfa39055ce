//! Gathers frames of the same instant into framesets, each frame exactly once.
//!
//! The streams of a camera arrive separately, each in order, and one may be ahead of another. Frames belong together if they
//! are about half an interval apart at most, by the interval of the faster stream. Intervals are measured, because the clock
//! and the exposure of a camera change them; only until then the nominal rate is used. Where frames are lost, their numbers
//! show how many intervals two of them are apart. A frame that is half an interval from two frames of another stream has two
//! possible partners: the streams keep the order that they had before. A frame without a partner becomes a frameset of one
//! frame. This module does not depend on librealsense: frames are of any type `F`.

use std::collections::VecDeque;

use arrayvec::ArrayVec;
use camrig::frame::{MAX_FRAMES, Stream, Timestamp};

/// Time by which frames of one stream may be ahead of an earlier frame of another one, by their timestamps, before that
/// frame counts as lost. In a recording they are ahead by the difference of their latencies.
const LOOKAHEAD_NANOS: u64 = 300_000_000;

/// The same in intervals of the slowest stream, if that is longer.
const LOOKAHEAD_INTERVALS: u64 = 3;

/// Maximum number of frames of a stream that wait, if their timestamps do not increase.
const WAITING_MAX: usize = 128;

/// Number of intervals of which the median is used, so that lost frames and leaps do not change it.
const INTERVALS: usize = 7;

/// The unit of distances between frames: this part of an interval.
const PARTS: u64 = 16;

/// Maximum distance at which frames belong together without doubt, in [`PARTS`] of an interval.
const NEAR: u64 = 7;

/// Maximum distance at which they can belong together: between two frames, one is at most [`NEAR`] or both are within
/// this distance.
const FAR: u64 = PARTS - NEAR;

/// A frame that waits for its partners.
#[derive(Debug)]
pub(crate) struct WaitingFrame<F> {
    /// Its number in its stream. Numbers of a camera that does not count are equal.
    pub(crate) number: u64,
    pub(crate) timestamp: Timestamp,
    /// Its arrival, by the host's monotonic clock.
    pub(crate) arrival_nanos: u64,
    pub(crate) frame: F,
}

/// Frames of one instant, at most one of each stream, in the order of the streams.
pub(crate) type Together<F> = ArrayVec<WaitingFrame<F>, MAX_FRAMES>;

/// Gathers the frames of one camera into framesets.
#[derive(Debug)]
pub(crate) struct Gatherer<F> {
    queues: Vec<Queue<F>>,
}

/// The waiting frames of one stream, and its times.
#[derive(Debug)]
struct Queue<F> {
    stream: Stream,
    nominal_nanos: u64,
    frames: VecDeque<WaitingFrame<F>>,
    /// The number and timestamp of the last frame that was taken.
    last: Option<(u64, Timestamp)>,
    /// The newest intervals between frames that were taken, oldest first.
    intervals: ArrayVec<Interval, INTERVALS>,
    /// Time after the first frame, in the last frameset of several frames.
    offset_nanos: Option<u64>,
}

impl<F> Gatherer<F> {
    /// Creates a gatherer for streams, each with its nominal number of frames per second.
    pub(crate) fn new(streams: impl IntoIterator<Item = (Stream, u32)>) -> Self {
        Self { queues: streams.into_iter().map(|(stream, rate)| Queue::new(stream, rate)).collect() }
    }

    /// Adds the next frame of `stream`; returns it if the camera has no such stream.
    pub(crate) fn put(&mut self, stream: Stream, frame: WaitingFrame<F>) -> Result<(), WaitingFrame<F>> {
        match self.queues.iter_mut().find(|queue| queue.stream == stream) {
            Some(queue) => queue.frames.push_back(frame),
            None => return Err(frame),
        }
        Ok(())
    }

    /// Returns the next frameset as soon as its frames are certain: every stream has a later frame, or the first
    /// frame has waited since before `give_up_before_nanos`. An instant that is not `ready` is waited for in the same
    /// way.
    ///
    /// With 0 only later frames end the wait, so the result depends on the frames alone; with `u64::MAX` nothing is
    /// waited for.
    pub(crate) fn take(
        &mut self,
        give_up_before_nanos: u64,
        ready: impl Fn(Timestamp) -> bool,
    ) -> Option<Together<F>> {
        let heads = || self.queues.iter().filter_map(|queue| Some((queue, queue.frames.front()?)));
        // Timestamps of different clocks are not comparable: the frame that arrived first determines the clock.
        let (_, earliest) = heads().min_by_key(|(_, head)| head.arrival_nanos)?;
        let clock = earliest.timestamp.clock;
        let same_clock = |(_, head): &(&Queue<F>, &WaitingFrame<F>)| head.timestamp.clock == clock;
        let (leader, first) = heads().filter(same_clock).min_by_key(|(_, head)| head.timestamp.nanos)?;
        let first_nanos = first.timestamp.nanos;

        let incomplete = self.queues.iter().any(|queue| queue.frames.is_empty()) || !ready(first.timestamp);
        let undecided = heads().filter(same_clock).any(|(queue, _)| leader.has_partner(queue).is_none());
        let overtaken = self.queues.iter().any(|queue| queue.is_longer_than(self.lookahead_nanos()));
        if (incomplete || undecided) && !overtaken && first.arrival_nanos >= give_up_before_nanos {
            return None;
        }
        let belongs = |queue: &Queue<F>| {
            let head = queue.frames.front().filter(|head| head.timestamp.clock == clock);
            head.is_some() && leader.has_partner(queue).unwrap_or_else(|| leader.is_within_half(queue))
        };
        let belongs: Vec<bool> = self.queues.iter().map(belongs).collect();
        let queues = self.queues.iter_mut().zip(&belongs);
        let queues: ArrayVec<_, MAX_FRAMES> =
            queues.filter_map(|(queue, own)| own.then_some(queue)).collect();
        let is_alone = queues.len() == 1;
        let take = |queue: &mut Queue<F>| {
            let frame = queue.take()?;
            if !is_alone {
                queue.offset_nanos = Some(frame.timestamp.nanos - first_nanos);
            }
            Some(frame)
        };
        Some(queues.into_iter().filter_map(take).collect())
    }

    /// Returns the time by which a stream may be ahead of another one.
    fn lookahead_nanos(&self) -> u64 {
        let slowest =
            self.queues.iter().map(|queue| queue.settled_nanos().unwrap_or(queue.nominal_nanos)).max();
        LOOKAHEAD_NANOS.max(slowest.unwrap_or_default().saturating_mul(LOOKAHEAD_INTERVALS))
    }
}

impl<F> Queue<F> {
    fn new(stream: Stream, frames_per_second: u32) -> Self {
        Self {
            stream,
            nominal_nanos: 1_000_000_000 / u64::from(frames_per_second.max(1)),
            frames: VecDeque::new(),
            last: None,
            intervals: ArrayVec::new(),
            offset_nanos: None,
        }
    }

    /// Takes the first frame, and measures its interval.
    fn take(&mut self) -> Option<WaitingFrame<F>> {
        let frame = self.frames.pop_front()?;
        let place = (frame.number, frame.timestamp);
        let last = self.last.replace(place);
        if let Some(interval) = last.and_then(|last| Interval::between(last, place)) {
            if self.intervals.is_full() {
                self.intervals.remove(0);
            }
            self.intervals.push(interval);
        }
        Some(frame)
    }

    fn timestamp(&self, index: usize) -> Option<Timestamp> {
        self.place(index).map(|(_, timestamp)| timestamp)
    }

    /// Returns the number and timestamp of a frame that waits.
    fn place(&self, index: usize) -> Option<(u64, Timestamp)> {
        self.frames.get(index).map(|frame| (frame.number, frame.timestamp))
    }

    /// Returns the interval of the frames up to the first; `None` if that is the first one of the stream.
    fn settled_nanos(&self) -> Option<u64> {
        self.measured_nanos().or_else(|| Some(Interval::between(self.last?, self.place(0)?)?.nanos))
    }

    /// Returns the interval of the frames that were taken; `None` before two of them.
    fn measured_nanos(&self) -> Option<u64> {
        let mut of_one: ArrayVec<_, INTERVALS> = self.intervals.iter().map(Interval::of_one).collect();
        of_one.sort_unstable();
        // Numbers of a slower camera may increase by the same step each time.
        let step = self.intervals.iter().map(|interval| interval.steps).min()?;
        of_one.get(of_one.len() / 2).map(|nanos| nanos * step)
    }

    /// Returns the interval of the frames up to the second.
    fn interval_nanos(&self) -> Option<u64> {
        self.settled_nanos().or_else(|| Some(Interval::between(self.place(0)?, self.place(1)?)?.nanos))
    }

    /// Returns whether the first frame of `other` belongs to the first of this queue, which is the earliest of all;
    /// `None` if only later frames decide that. Both are of one clock.
    ///
    /// The number of frames that wait changes no answer, only whether there is one.
    fn has_partner(&self, other: &Self) -> Option<bool> {
        if self.stream == other.stream {
            return Some(true);
        }
        let distance = self.distance_nanos(other);
        let within = |parts: u64, interval: u64| {
            u128::from(distance) * u128::from(PARTS) <= u128::from(interval) * u128::from(parts)
        };
        let [settled, other_settled] =
            [self, other].map(|queue| queue.settled_nanos().unwrap_or(queue.nominal_nanos));
        if within(NEAR, settled.min(other_settled)) {
            return Some(true);
        }
        match (self.interval_nanos(), other.interval_nanos()) {
            (Some(own), Some(others)) if within(NEAR, own.min(others)) => Some(true),
            (Some(own), Some(others)) if within(FAR, own.min(others)) => self.is_in_order(other),
            (Some(known), None) | (None, Some(known)) if within(FAR, known) => None,
            (None, None) => None,
            _ => Some(false),
        }
    }

    /// Returns whether `other` follows this stream, at a distance of half an interval: as before, or else if its frame
    /// is nearer to the first of this queue than to the second.
    fn is_in_order(&self, other: &Self) -> Option<bool> {
        if let (Some(own), Some(others)) = (self.offset_nanos, other.offset_nanos) {
            return Some(own <= others);
        }
        let (head, second) = (other.timestamp(0)?, self.timestamp(1)?);
        let is_before = second.clock == head.clock && second.nanos < head.nanos;
        let to_second = distance(head, second).unwrap_or(u64::MAX);
        Some(!is_before && self.distance_nanos(other) <= to_second)
    }

    fn is_within_half(&self, other: &Self) -> bool {
        let interval = [self, other].map(|queue| queue.interval_nanos().unwrap_or(queue.nominal_nanos));
        self.distance_nanos(other) <= interval[0].min(interval[1]) / 2
    }

    /// Returns the time between the first frames of two queues.
    fn distance_nanos(&self, other: &Self) -> u64 {
        let [own, others] = [self, other].map(|queue| queue.timestamp(0).map_or(0, |it| it.nanos));
        own.abs_diff(others)
    }

    /// Returns whether its frames span more time than `nanos`, or there are too many.
    fn is_longer_than(&self, nanos: u64) -> bool {
        let ends = self.timestamp(0).zip(self.frames.back().map(|frame| frame.timestamp));
        let span = ends.and_then(|(first, newest)| distance(first, newest));
        self.frames.len() >= WAITING_MAX || span.is_some_and(|it| it > nanos)
    }
}

/// Returns the time from one frame to a later one; `None` if the clock changed, or the time did not increase.
fn distance(one: Timestamp, next: Timestamp) -> Option<u64> {
    let nanos = next.nanos.checked_sub(one.nanos)?;
    (one.clock == next.clock && nanos > 0).then_some(nanos)
}

/// The time between two frames of a stream.
#[derive(Clone, Copy, Debug)]
struct Interval {
    nanos: u64,
    /// The difference of their numbers, at least 1.
    steps: u64,
}

impl Interval {
    /// Returns the interval between two frames; `None` if the clock changed, or the time did not increase.
    fn between((one, since): (u64, Timestamp), (next, until): (u64, Timestamp)) -> Option<Self> {
        Some(Self { nanos: distance(since, until)?, steps: next.saturating_sub(one).max(1) })
    }

    /// Returns the time of one step.
    fn of_one(&self) -> u64 {
        self.nanos / self.steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use camrig::frame::Clock;

    /// Adds frames as `(stream, clock, milliseconds)` to a gatherer for 30 frames per second, and returns the
    /// milliseconds of each frameset. The frames arrive 1 ns apart.
    fn gather(frames: &[(Stream, Clock, u64)], timeout_nanos: Option<u64>) -> Vec<Vec<u64>> {
        let mut gatherer = Gatherer::new([(COLOR, 30), (DEPTH, 30)]);
        let nanos: Vec<_> =
            frames.iter().map(|&(stream, clock, millis)| (stream, clock, millis * 1_000_000)).collect();
        let framesets = gather_with(&mut gatherer, &nanos, timeout_nanos);
        framesets.into_iter().map(|nanos| nanos.iter().map(|nanos| nanos / 1_000_000).collect()).collect()
    }

    /// The same with nanoseconds.
    fn gather_with(
        gatherer: &mut Gatherer<u64>,
        frames: &[(Stream, Clock, u64)],
        timeout_nanos: Option<u64>,
    ) -> Vec<Vec<u64>> {
        let mut framesets = Vec::new();
        let numbers = |together: Together<u64>| together.iter().map(|waiting| waiting.frame).collect();
        for (arrival_nanos, &(stream, clock, nanos)) in (1..).zip(frames) {
            let timestamp = Timestamp { clock, nanos };
            gatherer.put(stream, WaitingFrame { number: 0, timestamp, arrival_nanos, frame: nanos }).unwrap();
            let give_up_before =
                timeout_nanos.map_or(0, |timeout| (arrival_nanos + 1).saturating_sub(timeout));
            framesets.extend(std::iter::from_fn(|| gatherer.take(give_up_before, |_| true)).map(numbers));
        }
        framesets.extend(std::iter::from_fn(|| gatherer.take(u64::MAX, |_| true)).map(numbers));
        framesets
    }

    /// Gathers frames of a depth and a color stream at these times, of 30 nominal frames per second each. Color arrives
    /// `late_nanos` after its time.
    fn gather_late(depth: &[u64], color: &[u64], late_nanos: u64) -> Vec<Vec<u64>> {
        let of = |stream, late: u64| move |&nanos: &u64| (nanos + late, (stream, GLOBAL, nanos));
        let depth = depth.iter().map(of(DEPTH, 0));
        let mut frames: Vec<_> = depth.chain(color.iter().map(of(COLOR, late_nanos))).collect();
        frames.sort_by_key(|(arrival, _)| *arrival);
        let frames: Vec<_> = frames.into_iter().map(|(_, frame)| frame).collect();
        gather_with(&mut Gatherer::new([(COLOR, 30), (DEPTH, 30)]), &frames, None)
    }

    /// `count` times at this interval, from `first` on.
    fn times(count: u64, first: u64, interval: u64) -> Vec<u64> {
        (0..count).map(|index| first + index * interval).collect()
    }

    fn pairs(depth: &[u64], color: &[u64]) -> Vec<Vec<u64>> {
        depth.iter().zip(color).map(|(&depth, &color)| vec![color, depth]).collect()
    }

    const COLOR: Stream = Stream::COLOR;
    const DEPTH: Stream = Stream::DEPTH;
    const GLOBAL: Clock = Clock::Global;

    #[test]
    fn frames_within_half_a_period_belong_together() {
        let frames = [(DEPTH, GLOBAL, 0), (COLOR, GLOBAL, 16), (COLOR, GLOBAL, 49), (DEPTH, GLOBAL, 33)];
        assert_eq!(gather(&frames, None), [[16, 0], [49, 33]]);
        let frames = [(DEPTH, GLOBAL, 0), (COLOR, GLOBAL, 17), (DEPTH, GLOBAL, 33), (COLOR, GLOBAL, 50)];
        assert_eq!(gather(&frames, None), [vec![0], vec![17, 33], vec![50]]);
    }

    #[test]
    fn a_stream_may_be_ahead() {
        let depth = [0, 33, 67, 100].map(|millis| (DEPTH, GLOBAL, millis));
        let color = [1, 34, 68, 101].map(|millis| (COLOR, GLOBAL, millis));
        assert_eq!(gather(&[depth, color].concat(), None), [[1, 0], [34, 33], [68, 67], [101, 100]]);
    }

    #[test]
    fn frames_without_a_partner_are_neither_lost_nor_repeated() {
        let depth = (0..20).map(|index| (DEPTH, GLOBAL, index * 33));
        let color = (0..5).map(|index| (COLOR, GLOBAL, 2000 + index * 33));
        let frames: Vec<_> = depth.chain(color).collect();
        let expected: Vec<_> = frames.iter().map(|frame| vec![frame.2]).collect();
        assert_eq!(gather(&frames, None), expected);
    }

    #[test]
    fn clocks_do_not_mix() {
        let frames = [(DEPTH, Clock::Hardware, 5), (COLOR, Clock::System, 5), (DEPTH, Clock::System, 6)];
        assert_eq!(gather(&frames, None), [vec![5], vec![5, 6]]);
    }

    #[test]
    fn a_new_start_loses_nothing() {
        let frames = [(DEPTH, GLOBAL, 900), (COLOR, GLOBAL, 900), (DEPTH, GLOBAL, 933), (DEPTH, GLOBAL, 0)];
        let frames = [&frames[..], &[(COLOR, GLOBAL, 0), (COLOR, GLOBAL, 33)]].concat();
        assert_eq!(gather(&frames, None), [vec![900, 900], vec![0], vec![33], vec![933], vec![0]]);
    }

    #[test]
    fn the_timeout_ends_the_wait_for_a_silent_stream() {
        let frames: Vec<_> = (0..4).map(|index| (DEPTH, GLOBAL, index * 33)).collect();
        // The last frame has not waited long enough when the next one would arrive, and leaves at the end.
        assert_eq!(gather(&frames, Some(2)), [[0], [33], [66], [99]]);
        let mut gatherer = Gatherer::new([(COLOR, 30), (DEPTH, 30)]);
        let timestamp = Timestamp { clock: GLOBAL, nanos: 0 };
        gatherer.put(DEPTH, WaitingFrame { number: 0, timestamp, arrival_nanos: 7, frame: () }).unwrap();
        assert!(gatherer.take(7, |_| true).is_none());
        assert!(gatherer.take(8, |_| true).is_some());
        gatherer.put(DEPTH, WaitingFrame { number: 0, timestamp, arrival_nanos: 9, frame: () }).unwrap();
        gatherer.put(COLOR, WaitingFrame { number: 0, timestamp, arrival_nanos: 9, frame: () }).unwrap();
        assert!(gatherer.take(9, |instant| instant != timestamp).is_none());
        assert!(gatherer.take(9, |instant| instant == timestamp).is_some());
        assert!(
            gatherer
                .put(Stream::INFRARED_1, WaitingFrame { number: 0, timestamp, arrival_nanos: 8, frame: () })
                .is_err()
        );
    }

    const MILLI: u64 = 1_000_000;

    #[test]
    fn half_an_interval_apart_streams_keep_their_order() {
        // 0 of 45 pairs by half the nominal interval, which is 16.7 ms.
        let (depth, color) = (times(45, 0, 33_600_000), times(45, 16_800_000, 33_600_000));
        assert_eq!(gather_late(&depth, &color, 0), pairs(&depth, &color));
        assert_eq!(gather_late(&depth, &color, 45 * MILLI), pairs(&depth, &color));

        // With times that vary by one millisecond.
        let vary = |times: &[u64], seed: u64| -> Vec<u64> {
            let one = |(index, nanos): (u64, &u64)| nanos + (index * index * seed) % 11 * 100_000;
            (0..).zip(times).map(one).collect()
        };
        let (varied_depth, varied_color) = (vary(&depth, 3), vary(&color, 5));
        assert_eq!(gather_late(&varied_depth, &varied_color, 0), pairs(&varied_depth, &varied_color));

        // The color of a lost depth frame stays alone, and all others in order.
        let with_hole: Vec<_> = depth.iter().copied().filter(|nanos| *nanos != depth[9]).collect();
        let mut expected = pairs(&depth, &color);
        expected[9] = vec![color[9]];
        assert_eq!(gather_late(&with_hole, &color, 0), expected);
    }

    #[test]
    fn streams_that_drift_past_each_other_lose_one_pair_at_most() {
        let (depth, color) = (times(1000, 0, 33_300_000), times(1000, 0, 33_400_000));
        let framesets = gather_late(&depth, &color, 0);
        let pairs = framesets.iter().filter(|frames| frames.len() == 2);
        assert!(pairs.clone().all(|frames| frames[0].abs_diff(frames[1]) <= 33_300_000 * FAR / PARTS));
        // 100 ms of drift are three intervals.
        assert_eq!(framesets.len() - pairs.count(), 2 * 3);
    }

    #[test]
    fn a_faster_stream_may_be_far_ahead() {
        // 0 of 30 pairs when 8 frames could be ahead.
        let (depth, color) = (times(300, 0, 3_333_333), times(30, 0, 33_333_330));
        let mut expected: Vec<_> = depth.iter().map(|&nanos| vec![nanos]).collect();
        expected.iter_mut().step_by(10).for_each(|frames| frames.push(frames[0]));
        assert_eq!(gather_late(&depth, &color, 45 * MILLI), expected);
        assert_eq!(gather_late(&depth, &color, 250 * MILLI), expected);
    }

    #[test]
    fn intervals_are_measured() {
        // In the dark both take 66.6 ms, not 33.3.
        let (depth, color) = (times(20, 0, 66_600_000), times(20, 30 * MILLI, 66_600_000));
        assert_eq!(gather_late(&depth, &color, 45 * MILLI), pairs(&depth, &color));
        // A camera that is faster than its profile: 20 ms are two intervals.
        let (depth, color) = (times(9, 0, 10 * MILLI), times(9, 20 * MILLI, 10 * MILLI));
        let framesets = gather_late(&depth, &color, 0);
        assert_eq!(framesets[..3], [vec![0], vec![10 * MILLI], vec![20 * MILLI; 2]]);
    }

    #[test]
    fn losses_in_both_streams_join_no_frames() {
        let (depth, color) = (times(40, 0, 33 * MILLI), times(40, 2 * MILLI, 33 * MILLI));
        let lost =
            |times: &[u64], lost: std::ops::Range<usize>| [&times[..lost.start], &times[lost.end..]].concat();
        let framesets = gather_late(&lost(&depth, 10..20), &lost(&color, 9..25), 45 * MILLI);
        let mut expected = pairs(&depth, &color);
        expected.drain(10..20);
        expected[9..15].iter_mut().for_each(|frames| *frames = vec![frames[1]]);
        assert_eq!(framesets, expected);
    }

    #[test]
    fn numbers_show_the_interval_where_most_frames_are_lost() {
        let mut gatherer = Gatherer::new([(COLOR, 30), (DEPTH, 30)]);
        let mut framesets = Vec::new();
        // Most frames are lost, then the color of an instant, and the depth of the next one.
        let both = [0, 3, 6, 7, 10, 13, 16].into_iter().flat_map(|number| [(COLOR, number), (DEPTH, number)]);
        for (stream, number) in both.chain([(DEPTH, 19), (COLOR, 20)]) {
            let timestamp = Timestamp { clock: GLOBAL, nanos: number * 33 * MILLI };
            let waiting = WaitingFrame { number, timestamp, arrival_nanos: number, frame: number };
            gatherer.put(stream, waiting).unwrap();
        }
        while let Some(together) = gatherer.take(u64::MAX, |_| true) {
            framesets.push(together.iter().map(|waiting| waiting.frame).collect::<Vec<_>>());
        }
        assert_eq!(framesets[5..], [vec![13, 13], vec![16, 16], vec![19], vec![20]]);
    }

    #[test]
    fn the_order_of_arrival_changes_nothing() {
        let depth = times(60, 0, 33_300_000);
        let color: Vec<_> = times(60, 16_600_000, 33_350_000).into_iter().filter(|it| it % 7 != 0).collect();
        let expected = gather_late(&depth, &color, 0);
        for late in 1..=8 {
            assert_eq!(gather_late(&depth, &color, late * 33 * MILLI), expected, "{late}");
            assert_eq!(gather_late(&depth, &color, late * 31_700_000), expected, "{late}");
        }
    }

    #[test]
    fn the_wait_for_a_silent_stream_is_bounded() {
        let mut gatherer = Gatherer::new([(COLOR, 30), (DEPTH, 300)]);
        let put = |gatherer: &mut Gatherer<()>, nanos| {
            let timestamp = Timestamp { clock: GLOBAL, nanos };
            gatherer.put(DEPTH, WaitingFrame { number: 0, timestamp, arrival_nanos: 1, frame: () }).unwrap();
            gatherer.take(0, |_| true).is_some()
        };
        let count = LOOKAHEAD_NANOS / (3 * MILLI);
        assert!((0..=count).all(|index| !put(&mut gatherer, index * 3 * MILLI)));
        assert!(put(&mut gatherer, (count + 1) * 3 * MILLI));
        let mut stopped = Gatherer::new([(COLOR, 30), (DEPTH, 30)]);
        assert!((1..WAITING_MAX).all(|_| !put(&mut stopped, 7)));
        assert!(put(&mut stopped, 7));
    }
}
