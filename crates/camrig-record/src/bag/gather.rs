//! Makes framesets from the frames of a camera, which arrive one by one: each frame of the first stream with the nearest one of
//! each other stream, at most half a frame interval away. A frame without such a partner is a frameset of its own.

use std::collections::VecDeque;

use bytes::Bytes;
use camrig::frame::{MotionSample, Payload, Stream};

use crate::motion::MAX_SAMPLES;

/// Maximum number of frames of a stream that wait for others.
const MAX_WAITING: usize = 16;

/// Half of the frame interval while only one frame is known, and its maximum, in nanoseconds.
const HALF_NANOS: u64 = 16_666_667;
const MAX_HALF_NANOS: u64 = 100_000_000;

/// A frame.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) stream: Stream,
    /// Time of capture.
    pub(crate) nanos: u64,
    pub(crate) log_time: u64,
    pub(crate) payload: Payload,
    pub(crate) data: Bytes,
}

/// The frames and samples of a camera that are in no frameset yet.
pub(crate) struct Gather {
    /// By stream, the first one being that to which others are matched.
    frames: Vec<(Stream, VecDeque<Frame>)>,
    samples: Vec<(Stream, VecDeque<MotionSample>)>,
    half_nanos: u64,
    /// Number of samples that were left out, since no image followed them for too long.
    left_out: u64,
}

impl Gather {
    pub(crate) fn new(images: &[Stream], motions: &[Stream]) -> Self {
        Self {
            frames: images.iter().map(|&stream| (stream, VecDeque::new())).collect(),
            samples: motions.iter().map(|&stream| (stream, VecDeque::new())).collect(),
            half_nanos: HALF_NANOS,
            left_out: 0,
        }
    }

    /// Adds a sample. If too many wait for an image, the oldest is left out.
    pub(crate) fn add_sample(&mut self, stream: Stream, sample: MotionSample) {
        if let Some((_, samples)) = self.samples.iter_mut().find(|(known, _)| *known == stream) {
            if samples.len() >= MAX_SAMPLES {
                samples.pop_front();
                self.left_out += 1;
            }
            samples.push_back(sample);
        }
    }

    /// Returns the number of samples that were left out, since no image followed them for too long.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Adds a frame, and calls `found` with each frameset that is complete.
    pub(crate) fn add(&mut self, frame: Frame, found: &mut impl FnMut(Vec<Frame>)) {
        if let Some((_, frames)) = self.frames.iter_mut().find(|(known, _)| *known == frame.stream) {
            frames.push_back(frame);
        }
        self.take(false, found);
    }

    /// Calls `found` with the framesets of all frames that are left.
    pub(crate) fn finish(&mut self, found: &mut impl FnMut(Vec<Frame>)) {
        self.take(true, found);
    }

    /// Removes the samples up to this time.
    pub(crate) fn take_samples(&mut self, until_nanos: u64) -> Vec<(Stream, Vec<MotionSample>)> {
        let of_stream = |(stream, samples): &mut (Stream, VecDeque<MotionSample>)| {
            let count = samples.iter().take_while(|sample| sample.nanos <= until_nanos).count();
            (*stream, samples.drain(..count).collect::<Vec<_>>())
        };
        self.samples.iter_mut().map(of_stream).filter(|(_, samples)| !samples.is_empty()).collect()
    }

    fn take(&mut self, is_end: bool, found: &mut impl FnMut(Vec<Frame>)) {
        while let Some(frameset) = self.next(is_end) {
            found(frameset);
        }
    }

    fn next(&mut self, is_end: bool) -> Option<Vec<Frame>> {
        let is_full = self.frames.iter().any(|(_, frames)| frames.len() > MAX_WAITING);
        let hurries = is_end || is_full;
        let ((_, first), others) = self.frames.split_first_mut()?;
        let Some(anchor) = first.front() else {
            // Once no more frames are awaited: the earliest frame of the others.
            return hurries.then(|| earliest(others, u64::MAX)).flatten();
        };
        let at = anchor.nanos;
        match first.get(1) {
            Some(next) => self.half_nanos = (next.nanos.saturating_sub(at) / 2).clamp(1, MAX_HALF_NANOS),
            None if !hurries => return None,
            None => {}
        }
        let half = self.half_nanos;
        let is_passed =
            |frames: &VecDeque<Frame>| frames.back().is_some_and(|frame| frame.nanos >= at + half);
        if !hurries && !others.iter().all(|(_, frames)| is_passed(frames)) {
            return None;
        }
        if let Some(lone) = earliest(others, at.saturating_sub(half)) {
            return Some(lone);
        }
        let distance = |frame: &Frame| frame.nanos.abs_diff(at);
        for (_, frames) in others.iter() {
            // A frame before the nearest one is in no frameset.
            if frames.get(1).is_some_and(|second| distance(second) < distance(&frames[0])) {
                let nanos = frames[0].nanos;
                return earliest(others, nanos + 1);
            }
        }
        let anchor = first.pop_front()?;
        let near = |(_, frames): &mut (Stream, VecDeque<Frame>)| {
            frames.front().is_some_and(|frame| distance(frame) < half).then(|| frames.pop_front()).flatten()
        };
        Some(std::iter::once(anchor).chain(others.iter_mut().filter_map(near)).collect())
    }
}

/// Removes the earliest frame before this time.
fn earliest(streams: &mut [(Stream, VecDeque<Frame>)], before_nanos: u64) -> Option<Vec<Frame>> {
    let begun = streams
        .iter_mut()
        .map(|(_, frames)| frames)
        .filter(|frames| frames.front().is_some_and(|frame| frame.nanos < before_nanos));
    let frames = begun.min_by_key(|frames| frames.front().map_or(u64::MAX, |frame| frame.nanos))?;
    frames.pop_front().map(|frame| vec![frame])
}

#[cfg(test)]
mod tests {
    use camrig::frame::PixelFormat;

    use super::*;

    const MILLI: u64 = 1_000_000;

    fn gathered(frames: &[(Stream, u64)]) -> Vec<Vec<(Stream, u64)>> {
        let mut gather = Gather::new(&[Stream::DEPTH, Stream::COLOR], &[]);
        let mut found = Vec::new();
        let mut keep = |frameset: Vec<Frame>| {
            found.push(frameset.iter().map(|frame| (frame.stream, frame.nanos / MILLI)).collect());
        };
        for &(stream, millis) in frames {
            let payload = Payload::image(PixelFormat::Y8, 1, 1);
            let (nanos, data) = (millis * MILLI, Bytes::new());
            gather.add(Frame { stream, nanos, log_time: nanos, payload, data }, &mut keep);
        }
        gather.finish(&mut keep);
        found
    }

    #[test]
    fn each_depth_gets_the_nearest_color() {
        let (d, c) = (Stream::DEPTH, Stream::COLOR);
        let frames = [(d, 0), (c, 5), (c, 38), (d, 33), (d, 66), (c, 71), (d, 100), (c, 104)];
        let expected: Vec<_> = [0, 33, 66, 100]
            .into_iter()
            .zip([5, 38, 71, 104])
            .map(|(d_at, c_at)| vec![(d, d_at), (c, c_at)])
            .collect();
        assert_eq!(gathered(&frames), expected);
        // Twice as many colors, and a missing depth.
        let frames =
            [(d, 0), (c, 1), (c, 17), (d, 33), (c, 34), (c, 50), (c, 67), (c, 84), (d, 100), (c, 101)];
        let expected = [
            vec![(d, 0), (c, 1)],
            vec![(c, 17)],
            vec![(d, 33), (c, 34)],
            vec![(c, 50)],
            vec![(c, 67)],
            vec![(c, 84)],
            vec![(d, 100), (c, 101)],
        ];
        let mut found = gathered(&frames);
        found.sort_by_key(|frameset| frameset[0].1);
        assert_eq!(found, expected);
    }

    #[test]
    fn samples_that_wait_are_bounded() {
        let mut gather = Gather::new(&[Stream::DEPTH], &[Stream::GYRO]);
        for nanos in 0..MAX_SAMPLES as u64 + 3 {
            gather.add_sample(Stream::GYRO, MotionSample { nanos, xyz: [0.0; 3] });
        }
        let found = gather.take_samples(u64::MAX);
        assert_eq!((found[0].1.len(), found[0].1[0].nanos, gather.left_out()), (MAX_SAMPLES, 3, 3));
    }

    #[test]
    fn nothing_waits_for_a_stream_that_has_ended() {
        let frames: Vec<_> = (0..100).map(|number| (Stream::COLOR, number * 33)).collect();
        assert_eq!(gathered(&frames).len(), 100);
        let frames: Vec<_> = (0..100).map(|number| (Stream::DEPTH, number * 33)).collect();
        assert_eq!(gathered(&frames).len(), 100);
        assert!(gathered(&[]).is_empty());
    }
}
