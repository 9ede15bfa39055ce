//! Samples of motion that wait for a frameset.
//!
//! A frameset takes the samples that are not later than its first image. Later ones wait for the next frameset, and
//! those after the last frameset are discarded. This module does not depend on librealsense.

use std::collections::VecDeque;

use camrig::frame::{FrameHeader, MotionSample, Stream, StreamInfo, StreamProfile, Timestamp};

use crate::streams::is_motion;

/// One sample of a motion sensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// The device's number.
    pub(crate) number: u64,
    pub(crate) timestamp: Timestamp,
    pub(crate) xyz: [f32; 3],
}

/// The samples of one camera that are in no frameset yet.
#[derive(Debug)]
pub(crate) struct Motion(Vec<Queue>);

/// The samples of one stream.
#[derive(Debug)]
struct Queue {
    info: StreamInfo,
    samples: VecDeque<Sample>,
    /// Number of samples that were discarded since the last `take_lost`.
    lost: u64,
}

impl Motion {
    /// Creates queues for those of `streams` that are of motion.
    pub(crate) fn new(streams: impl Iterator<Item = (Stream, StreamProfile)>) -> Self {
        let queue = |(stream, profile): (_, StreamProfile)| Queue {
            info: StreamInfo::motion(stream, profile.frames_per_second()),
            samples: VecDeque::new(),
            lost: 0,
        };
        Self(streams.filter(|(stream, _)| is_motion(*stream)).map(queue).collect())
    }

    /// Adds the next sample of `stream`. If more samples wait than a frame can hold, the oldest is discarded.
    pub(crate) fn put(&mut self, stream: Stream, sample: Sample) {
        let Some(queue) = self.0.iter_mut().find(|own| own.info.stream == stream) else { return };
        if queue.samples.len() as u64 == queue.info.largest().numbers() {
            queue.samples.pop_front();
            queue.lost += 1;
        }
        queue.samples.push_back(sample);
    }

    /// Returns whether all samples of a frameset of this instant have arrived.
    pub(crate) fn is_past(&self, instant: Timestamp) -> bool {
        let is_past = |queue: &Queue| queue.samples.back().is_some_and(|last| !last.belongs_to(instant));
        self.0.iter().all(is_past)
    }

    /// Takes the frames of a frameset of this instant: one of each stream with samples for it.
    pub(crate) fn take(&mut self, instant: Timestamp) -> impl Iterator<Item = (FrameHeader, Vec<u8>)> {
        self.0.iter_mut().filter_map(move |queue| queue.take(instant))
    }

    /// Discards all samples, because a file restarts.
    pub(crate) fn clear(&mut self) {
        self.0.iter_mut().for_each(|queue| queue.samples.clear());
    }

    /// Takes the numbers of discarded samples of each stream.
    pub(crate) fn take_lost(&mut self) -> impl Iterator<Item = (Stream, u64)> {
        let lost = self.0.iter_mut().map(|queue| (queue.info.stream, std::mem::take(&mut queue.lost)));
        lost.filter(|(_, samples)| *samples > 0)
    }
}

impl Queue {
    fn take(&mut self, instant: Timestamp) -> Option<(FrameHeader, Vec<u8>)> {
        // A frame has one clock: after a change of the clock, the other samples are in the next frameset.
        let clock = self.samples.front()?.timestamp.clock;
        let of_frame = |sample: &&Sample| sample.timestamp.clock == clock && sample.belongs_to(instant);
        let count = self.samples.iter().take_while(of_frame).count();
        let last = *self.samples.get(count.checked_sub(1)?)?;
        let bytes = self.samples.drain(..count).flat_map(|Sample { timestamp, xyz, .. }| {
            MotionSample { nanos: timestamp.nanos, xyz }.to_bytes()
        });
        let bytes = bytes.collect();
        Some((self.info.header(last.number, last.timestamp).with_samples(count as u32), bytes))
    }
}

impl Sample {
    /// Returns whether a sample belongs to a frameset of this instant or before. If their clocks differ, it does.
    fn belongs_to(&self, instant: Timestamp) -> bool {
        self.timestamp.clock != instant.clock || self.timestamp.nanos <= instant.nanos
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use camrig::frame::{Clock, Frame, MotionView};

    fn at(clock: Clock, nanos: u64) -> Timestamp {
        Timestamp { clock, nanos }
    }

    fn motion(rate: u32, samples: &[(u64, Timestamp)]) -> Motion {
        let profile = StreamProfile::of_motion(rate).unwrap();
        let image = (Stream::DEPTH, "4x4@30".parse().unwrap());
        let mut motion = Motion::new([image, (Stream::GYRO, profile)].into_iter());
        for &(number, timestamp) in samples {
            motion.put(Stream::GYRO, Sample { number, timestamp, xyz: [number as f32; 3] });
        }
        motion
    }

    /// Returns the number of the frame for a frameset, and the times of its samples.
    fn taken(motion: &mut Motion, instant: Timestamp) -> Option<(u64, Vec<u64>)> {
        let frames: Vec<_> = motion.take(instant).collect();
        assert!(frames.len() <= 1);
        let (header, bytes) = frames.first()?;
        let view = MotionView::new(Frame::new(header, bytes).unwrap()).unwrap();
        let times: Vec<_> = view.iter().map(|sample| sample.nanos).collect();
        assert_eq!(times.last(), Some(&header.timestamp.nanos));
        Some((header.number, times))
    }

    #[test]
    fn a_frameset_takes_the_samples_before_it() {
        let own = |nanos| at(Clock::Hardware, nanos);
        let mut motion = motion(200, &[(7, own(10)), (8, own(15)), (9, own(20)), (11, own(25))]);
        assert!(motion.is_past(own(24)) && !motion.is_past(own(25)));
        assert_eq!(taken(&mut motion, own(9)), None);
        assert_eq!(taken(&mut motion, own(20)), Some((9, vec![10, 15, 20])));
        assert_eq!(taken(&mut motion, own(20)), None);
        assert_eq!(taken(&mut motion, own(99)), Some((11, vec![25])));
        assert!(!motion.is_past(own(0)), "nothing has come since");
    }

    #[test]
    fn clocks_do_not_mix() {
        let (hardware, global) = (|nanos| at(Clock::Hardware, nanos), |nanos| at(Clock::Global, nanos));
        let mut motion = motion(200, &[(1, hardware(90)), (2, hardware(95)), (3, global(5)), (4, global(8))]);
        assert_eq!(taken(&mut motion, global(7)), Some((2, vec![90, 95])));
        assert_eq!(taken(&mut motion, global(7)), Some((3, vec![5])));
        assert_eq!(taken(&mut motion, hardware(1)), Some((4, vec![8])));
    }

    #[test]
    fn without_framesets_the_oldest_are_lost_and_counted() {
        let own = |nanos| at(Clock::Hardware, nanos);
        let mut motion = motion(1, &[(1, own(1)), (2, own(2)), (3, own(3)), (4, own(4)), (5, own(5))]);
        assert_eq!(motion.take_lost().collect::<Vec<_>>(), [(Stream::GYRO, 3)]);
        assert_eq!(motion.take_lost().count(), 0);
        assert_eq!(taken(&mut motion, own(9)), Some((5, vec![4, 5])));
        motion.put(Stream::GYRO, Sample { number: 6, timestamp: own(6), xyz: [0.0; 3] });
        motion.clear();
        assert_eq!(taken(&mut motion, own(9)), None);
    }
}
