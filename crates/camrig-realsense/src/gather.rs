//! Gathers frames of the same instant into framesets, each frame exactly once.
//!
//! The streams of a camera arrive separately, each in order, and one may be a few frames ahead of another. Frames
//! belong together if their timestamps of the same clock are within half a frame period; a frame without a partner
//! becomes a frameset of one frame. This module does not depend on librealsense: frames are of any type `F`.

use std::collections::VecDeque;

use arrayvec::ArrayVec;
use camrig::frame::{MAX_FRAMES, Stream, Timestamp};

/// Number of frames of a stream that may wait for an earlier frame of another one before that counts as lost.
///
/// A player may be three frames ahead with one stream (one in use, one queued, one read); the others are for recordings
/// whose streams were written late.
const LOOKAHEAD_FRAMES: usize = 8;

/// A frame that waits for its partners.
#[derive(Debug)]
pub(crate) struct Waiting<F> {
    pub(crate) timestamp: Timestamp,
    /// Its arrival, by the host's monotonic clock.
    pub(crate) arrival_nanos: u64,
    pub(crate) frame: F,
}

/// Frames of one instant, at most one of each stream, in the order of the streams.
pub(crate) type Together<F> = ArrayVec<Waiting<F>, MAX_FRAMES>;

/// Gathers the frames of one camera into framesets.
#[derive(Debug)]
pub(crate) struct Gatherer<F> {
    tolerance_nanos: u64,
    queues: Vec<(Stream, VecDeque<Waiting<F>>)>,
}

impl<F> Gatherer<F> {
    /// Creates a gatherer for `streams`, the fastest of which has `frames_per_second`.
    pub(crate) fn new(streams: impl IntoIterator<Item = Stream>, frames_per_second: u32) -> Self {
        Self {
            // Half the shortest period, so that no frame has two partners in one stream.
            tolerance_nanos: 500_000_000 / u64::from(frames_per_second.max(1)),
            queues: streams.into_iter().map(|stream| (stream, VecDeque::new())).collect(),
        }
    }

    /// Adds the next frame of `stream`; returns it if the camera has no such stream.
    pub(crate) fn put(&mut self, stream: Stream, frame: Waiting<F>) -> Result<(), Waiting<F>> {
        match self.queues.iter_mut().find(|(own, _)| *own == stream) {
            Some((_, queue)) => queue.push_back(frame),
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
        let heads = || self.queues.iter().filter_map(|(_, queue)| queue.front());
        // Timestamps of different clocks are not comparable: the frame that arrived first determines the clock.
        let clock = heads().min_by_key(|head| head.arrival_nanos)?.timestamp.clock;
        let same_clock = |head: &&Waiting<F>| head.timestamp.clock == clock;
        let first = heads().filter(same_clock).min_by_key(|head| head.timestamp.nanos)?;

        let incomplete = self.queues.iter().any(|(_, queue)| queue.is_empty()) || !ready(first.timestamp);
        let overtaken = self.queues.iter().any(|(_, queue)| queue.len() > LOOKAHEAD_FRAMES);
        if incomplete && !overtaken && first.arrival_nanos >= give_up_before_nanos {
            return None;
        }
        let latest_nanos = first.timestamp.nanos.saturating_add(self.tolerance_nanos);
        let belongs =
            |head: &Waiting<F>| head.timestamp.clock == clock && head.timestamp.nanos <= latest_nanos;
        let partners = self.queues.iter_mut().map(|(_, queue)| queue);
        let partners = partners.filter(|queue| queue.front().is_some_and(belongs));
        Some(partners.filter_map(VecDeque::pop_front).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use camrig::frame::Clock;

    /// Adds frames as `(stream, clock, milliseconds)` to a gatherer for 30 frames per second, and returns the
    /// milliseconds of each frameset. The frames arrive 1 ns apart.
    fn gather(frames: &[(Stream, Clock, u64)], timeout_nanos: Option<u64>) -> Vec<Vec<u64>> {
        let mut gatherer = Gatherer::new([Stream::COLOR, Stream::DEPTH], 30);
        let mut framesets = Vec::new();
        let numbers = |together: Together<u64>| together.iter().map(|waiting| waiting.frame).collect();
        for (arrival_nanos, &(stream, clock, millis)) in (1..).zip(frames) {
            let timestamp = Timestamp { clock, nanos: millis * 1_000_000 };
            gatherer.put(stream, Waiting { timestamp, arrival_nanos, frame: millis }).unwrap();
            let give_up_before =
                timeout_nanos.map_or(0, |timeout| (arrival_nanos + 1).saturating_sub(timeout));
            framesets.extend(std::iter::from_fn(|| gatherer.take(give_up_before, |_| true)).map(numbers));
        }
        framesets.extend(std::iter::from_fn(|| gatherer.take(u64::MAX, |_| true)).map(numbers));
        framesets
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
        let mut gatherer = Gatherer::new([COLOR, DEPTH], 30);
        let timestamp = Timestamp { clock: GLOBAL, nanos: 0 };
        gatherer.put(DEPTH, Waiting { timestamp, arrival_nanos: 7, frame: () }).unwrap();
        assert!(gatherer.take(7, |_| true).is_none());
        assert!(gatherer.take(8, |_| true).is_some());
        gatherer.put(DEPTH, Waiting { timestamp, arrival_nanos: 9, frame: () }).unwrap();
        gatherer.put(COLOR, Waiting { timestamp, arrival_nanos: 9, frame: () }).unwrap();
        assert!(gatherer.take(9, |instant| instant != timestamp).is_none());
        assert!(gatherer.take(9, |instant| instant == timestamp).is_some());
        assert!(
            gatherer.put(Stream::INFRARED_1, Waiting { timestamp, arrival_nanos: 8, frame: () }).is_err()
        );
    }
}
