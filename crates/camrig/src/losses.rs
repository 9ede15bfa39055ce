//! Counts a camera's lost frames: the gaps in the numbers of its streams, by reason.
//!
//! A gap shows that frames are missing, but not why. A driver reports the frames that it discarded itself; all other
//! missing frames were lost by the device or its library. Gaps are found only between two frames: before the first and
//! after the last one, frames that the driver reported are counted, and losses of the device remain unknown. Several
//! streams that have a gap at the same time lack the same framesets, even if their next frames are in different
//! framesets: a loss counted for one stream is not counted again for another. This module depends on no output and no
//! counters.

use camrig_frame::{FrameHeader, Role, Stream, StreamInfo};
use camrig_ipc::LostReason;

/// Numbers of lost framesets, in the order of [`LostReason::ALL`].
pub(crate) type Lost = [u64; LostReason::ALL.len()];

/// The losses of one camera.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    streams: Vec<Numbers>,
}

/// The frame numbers of one stream.
#[derive(Debug)]
struct Numbers {
    stream: Stream,
    role: Role,
    last: Option<u64>,
    /// Framesets counted as lost since the last frame; the next gap counts that much less.
    counted: Lost,
    /// Discarded frames that the driver reported and that no gap has shown yet.
    reported: Lost,
    /// Number of repeated images, which leave no gap.
    repeated: u64,
}

impl Losses {
    /// Creates the counts of these streams, without losses.
    pub(crate) fn of(streams: &[StreamInfo]) -> Self {
        Self { streams: streams.iter().map(|info| Numbers::new(info.stream, info.role)).collect() }
    }

    /// Records frames that the driver discarded, and returns the losses to count immediately: of repeated images the largest
    /// number of any stream, of repeated samples all. All other reasons are counted when the gap shows.
    pub(crate) fn explain(&mut self, stream: Stream, reason: LostReason, frames: u64) -> Lost {
        let mut lost = Lost::default();
        let most = |streams: &[Numbers]| streams.iter().map(|it| it.repeated).max().unwrap_or_default();
        let before = most(&self.streams);
        let numbers = self.numbers(stream, Role::Other);
        if reason != LostReason::Repeated {
            numbers.reported[reason as usize] += frames;
        } else if numbers.role == Role::Motion {
            lost[reason as usize] = frames;
        } else {
            numbers.repeated += frames;
            lost[reason as usize] = most(&self.streams) - before;
        }
        lost
    }

    /// Records framesets that are counted by themselves, so that the gap before the next one does not count them again.
    pub(crate) fn note_counted(&mut self, reason: LostReason, framesets: u64) {
        for numbers in &mut self.streams {
            // They had one frame of each stream; the number of their samples is unknown.
            let frames = if numbers.role == Role::Motion && framesets > 0 { u64::MAX } else { framesets };
            let counted = &mut numbers.counted[reason as usize];
            *counted = counted.saturating_add(frames);
        }
    }

    /// Records the frames of a frameset, and returns the losses before it: of images the largest number of any stream,
    /// of samples all.
    pub(crate) fn note(&mut self, frames: &[FrameHeader]) -> Lost {
        let note = |frame: &FrameHeader| {
            (frame.role, self.numbers(frame.stream, frame.role).note(frame.number, frame.numbers()))
        };
        let (most, samples) = combine(frames.iter().map(note));
        let is_absent = |numbers: &&mut Numbers| {
            numbers.role != Role::Motion && frames.iter().all(|frame| frame.stream != numbers.stream)
        };
        self.streams.iter_mut().filter(is_absent).for_each(|numbers| add(&mut numbers.counted, most));
        sum(most, samples)
    }

    /// Forgets the last numbers: the streams were stopped, and start again. Returns the losses as [`Self::end`] does.
    pub(crate) fn begin_again(&mut self) -> Lost {
        self.streams.iter_mut().for_each(|numbers| numbers.last = None);
        self.end()
    }

    /// Returns the reported losses after the last frames; called once at the end.
    pub(crate) fn end(&mut self) -> Lost {
        let (most, samples) =
            combine(self.streams.iter_mut().map(|numbers| (numbers.role, numbers.take_reported())));
        sum(most, samples)
    }

    /// Returns the numbers of a stream, which starts with this role if it was not declared.
    fn numbers(&mut self, stream: Stream, role: Role) -> &mut Numbers {
        let known = self.streams.iter().position(|numbers| numbers.stream == stream);
        let index = known.unwrap_or_else(|| {
            self.streams.push(Numbers::new(stream, role));
            self.streams.len() - 1
        });
        &mut self.streams[index]
    }
}

/// Combines the losses of several streams: of images the largest number of any stream, of samples all.
fn combine(streams: impl Iterator<Item = (Role, Lost)>) -> (Lost, Lost) {
    let (mut most, mut samples) = (Lost::default(), Lost::default());
    for (role, lost) in streams {
        if role == Role::Motion {
            add(&mut samples, lost);
        } else if lost.iter().sum::<u64>() > most.iter().sum() {
            most = lost;
        }
    }
    (most, samples)
}

fn add(to: &mut Lost, more: Lost) {
    to.iter_mut().zip(more).for_each(|(to, more)| *to = to.saturating_add(more));
}

fn sum(mut one: Lost, other: Lost) -> Lost {
    add(&mut one, other);
    one
}

/// Returns the losses that are not counted yet. A loss and its counted frameset may have different reasons; one of the
/// same reason is preferred, then one of the device, which is the reason of all that is unexplained.
fn uncounted(mut lost: Lost, mut counted: Lost) -> Lost {
    for (lost, counted) in lost.iter_mut().zip(&mut counted) {
        let both = (*lost).min(*counted);
        *lost -= both;
        *counted -= both;
    }
    // `Device` is the first reason.
    let mut rest = counted.into_iter().fold(0, u64::saturating_add);
    for lost in &mut lost {
        let both = (*lost).min(rest);
        *lost -= both;
        rest -= both;
    }
    lost
}

impl Numbers {
    fn new(stream: Stream, role: Role) -> Self {
        let (reported, counted) = (Lost::default(), Lost::default());
        Self { stream, role, last: None, counted, reported, repeated: 0 }
    }

    /// Records a frame with `numbers` numbers up to `number`.
    fn note(&mut self, number: u64, numbers: u64) -> Lost {
        let Some(last) = self.last.replace(number) else { return self.take_reported() };
        if number <= last {
            // A restart of the numbers.
            (self.reported, self.counted) = (Lost::default(), Lost::default());
            return Lost::default();
        }
        let mut missing = (number - last).saturating_sub(numbers);
        let mut lost = Lost::default();
        for (lost, reported) in lost.iter_mut().zip(&mut self.reported) {
            *lost = missing.min(*reported);
            *reported -= *lost;
            missing -= *lost;
        }
        lost[LostReason::Device as usize] += missing;
        uncounted(lost, std::mem::take(&mut self.counted))
    }

    /// Takes the reported losses that no gap shows.
    fn take_reported(&mut self) -> Lost {
        uncounted(std::mem::take(&mut self.reported), std::mem::take(&mut self.counted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use camrig_frame::{Payload, PixelFormat};

    fn frame(stream: Stream, number: u64) -> FrameHeader {
        FrameHeader { number, ..FrameHeader::image(stream, PixelFormat::Y8, 4, 4) }
    }

    #[test]
    fn numbers_that_are_missing_after_a_pause_are_not_lost() {
        let mut losses = Losses::default();
        assert_eq!(losses.note(&[frame(Stream::DEPTH, 5)]), Lost::default());
        losses.explain(Stream::DEPTH, LostReason::QueueFull, 2);
        assert_eq!(losses.begin_again(), [0, 2, 0, 0, 0, 0]);
        assert_eq!(losses.note(&[frame(Stream::DEPTH, 90)]), Lost::default());
        assert_eq!(losses.note(&[frame(Stream::DEPTH, 92)]), [1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_gap_counts_as_device_unless_the_driver_reported_it() {
        let mut losses = Losses::default();
        let (depth, color) = (Stream::DEPTH, Stream::COLOR);
        assert_eq!(losses.note(&[frame(color, 7), frame(depth, 5)]), [0, 0, 0, 0, 0, 0]);
        assert_eq!(losses.note(&[frame(color, 8), frame(depth, 9)]), [3, 0, 0, 0, 0, 0]);
        // Reported before earlier frames were published: it applies when the gap shows.
        losses.explain(depth, LostReason::QueueFull, 2);
        losses.explain(color, LostReason::QueueFull, 1);
        assert_eq!(losses.note(&[frame(color, 9), frame(depth, 10)]), [0, 0, 0, 0, 0, 0]);
        assert_eq!(losses.note(&[frame(color, 12), frame(depth, 14)]), [1, 2, 0, 0, 0, 0]);
        assert_eq!(losses.note(&[frame(color, 13), frame(depth, 16)]), [1, 0, 0, 0, 0, 0]);
        losses.explain(depth, LostReason::NoPartner, 1);
        assert_eq!(losses.note(&[frame(color, 14)]), [0, 0, 0, 0, 0, 0]);
        assert_eq!(losses.note(&[frame(color, 15), frame(depth, 18)]), [0, 0, 1, 0, 0, 0]);
        // A restart of the numbers discards the reports.
        losses.explain(depth, LostReason::QueueFull, 9);
        assert_eq!(losses.note(&[frame(depth, 0)]), [0, 0, 0, 0, 0, 0]);
        assert_eq!(losses.note(&[frame(depth, 2)]), [1, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn repeated_images_are_counted_immediately_as_one_frameset() {
        let mut losses = Losses::default();
        let (depth, color) = (Stream::DEPTH, Stream::COLOR);
        losses.note(&[frame(color, 0), frame(depth, 0)]);
        assert_eq!(losses.explain(depth, LostReason::Repeated, 2), [0, 0, 0, 2, 0, 0]);
        assert_eq!(losses.explain(color, LostReason::Repeated, 2), [0, 0, 0, 0, 0, 0]);
        assert_eq!(losses.explain(color, LostReason::Repeated, 1), [0, 0, 0, 1, 0, 0]);
        // They leave no gap.
        assert_eq!(losses.note(&[frame(color, 1), frame(depth, 1)]), [0, 0, 0, 0, 0, 0]);
        assert_eq!(losses.end(), [0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn reports_after_the_last_frame_are_counted_at_the_end() {
        let mut losses = Losses::default();
        let (depth, color) = (Stream::DEPTH, Stream::COLOR);
        losses.note(&[frame(color, 0), frame(depth, 0)]);
        losses.explain(depth, LostReason::QueueFull, 3);
        losses.explain(color, LostReason::QueueFull, 2);
        losses.explain(depth, LostReason::NoPartner, 1);
        assert_eq!(losses.end(), [0, 3, 1, 0, 0, 0]);
        assert_eq!(losses.end(), [0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn every_sample_of_motion_counts() {
        let mut losses = Losses::default();
        let samples = |stream, number, count| FrameHeader {
            number,
            ..FrameHeader::new(stream, Payload::Motion { samples: count })
        };
        let (depth, accel, gyro) = (Stream::DEPTH, Stream::ACCEL, Stream::GYRO);
        assert_eq!(
            losses.note(&[frame(depth, 0), samples(accel, 0, 1), samples(gyro, 6, 7)]),
            [0, 0, 0, 0, 0, 0]
        );
        assert_eq!(
            losses.note(&[frame(depth, 1), samples(accel, 3, 3), samples(gyro, 13, 7)]),
            [0, 0, 0, 0, 0, 0]
        );
        // Two images, one sample, and three of seven.
        losses.explain(gyro, LostReason::NoPartner, 2);
        assert_eq!(
            losses.note(&[frame(depth, 4), samples(accel, 7, 3), samples(gyro, 20, 4)]),
            [4, 0, 2, 0, 0, 0]
        );
        for stream in [accel, gyro] {
            assert_eq!(losses.explain(stream, LostReason::Repeated, 2), [0, 0, 0, 2, 0, 0]);
            losses.explain(stream, LostReason::QueueFull, 1);
        }
        assert_eq!(losses.end(), [0, 2, 0, 0, 0, 0]);
    }

    #[test]
    fn a_frameset_that_is_counted_by_itself_is_not_missing_again() {
        let mut losses = Losses::default();
        let samples = |number, count| FrameHeader {
            number,
            ..FrameHeader::new(Stream::GYRO, Payload::Motion { samples: count })
        };
        let (depth, color) = (Stream::DEPTH, Stream::COLOR);
        losses.note(&[frame(color, 0), frame(depth, 0), samples(6, 7)]);
        losses.note_counted(LostReason::Unreadable, 1);
        losses.note_counted(LostReason::Unreadable, 1);
        assert_eq!(losses.note(&[frame(color, 3), frame(depth, 3), samples(27, 7)]), [0; 6]);
        // The next gap is another one.
        assert_eq!(losses.note(&[frame(color, 5), frame(depth, 4), samples(34, 7)]), [1, 0, 0, 0, 0, 0]);
        // More is missing than was counted.
        losses.note_counted(LostReason::Unreadable, 1);
        assert_eq!(losses.note(&[frame(color, 9), frame(depth, 8), samples(41, 7)]), [2, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_hole_in_several_streams_is_counted_once() {
        let (depth, color, infrared) = (Stream::DEPTH, Stream::COLOR, Stream::INFRARED_1);
        let after_one = || {
            let mut losses = Losses::default();
            assert_eq!(losses.note(&[frame(color, 20), frame(depth, 20), frame(infrared, 20)]), [0; 6]);
            losses
        };
        // 40 numbers are skipped, then the first color frame is missing, and the first two of infrared.
        let mut losses = after_one();
        assert_eq!(losses.note(&[frame(depth, 61)]), [40, 0, 0, 0, 0, 0]);
        assert_eq!(losses.note(&[frame(color, 62), frame(depth, 62)]), [1, 0, 0, 0, 0, 0]);
        let after = [frame(color, 63), frame(depth, 63), frame(infrared, 63)];
        assert_eq!(losses.note(&after), [1, 0, 0, 0, 0, 0]);
        assert_eq!(
            losses.note(&after.map(|it| FrameHeader { number: it.number + 3, ..it })),
            [2, 0, 0, 0, 0, 0]
        );

        // With reports of both streams, and with different reasons.
        for (of_color, expected) in
            [(LostReason::QueueFull, [0, 1, 0, 0, 0, 0]), (LostReason::NoPartner, [0, 0, 1, 0, 0, 0])]
        {
            let mut losses = after_one();
            losses.explain(depth, LostReason::QueueFull, 40);
            losses.explain(color, of_color, 41);
            assert_eq!(losses.note(&[frame(depth, 61)]), [0, 40, 0, 0, 0, 0]);
            assert_eq!(losses.note(&[frame(color, 62), frame(depth, 62)]), expected);
            assert_eq!(losses.end(), [0; 6]);
        }

        // The color never comes back, but the driver had some of it.
        let mut losses = after_one();
        losses.explain(color, LostReason::QueueFull, 41);
        assert_eq!(losses.note(&[frame(depth, 61)]), [40, 0, 0, 0, 0, 0]);
        assert_eq!(losses.end(), [0, 1, 0, 0, 0, 0]);
    }

    #[test]
    fn reports_before_the_first_frame_are_counted_with_it() {
        let mut losses = Losses::default();
        let (depth, color) = (Stream::DEPTH, Stream::COLOR);
        losses.explain(depth, LostReason::QueueFull, 3);
        losses.explain(color, LostReason::QueueFull, 4);
        assert_eq!(losses.note(&[frame(color, 9), frame(depth, 8)]), [0, 4, 0, 0, 0, 0]);
        assert_eq!(losses.note(&[frame(color, 10), frame(depth, 9)]), [0; 6]);
        assert_eq!(losses.end(), [0; 6]);
    }
}
