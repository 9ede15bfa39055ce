//! What a camera lost before anyone saw it: the gaps in the numbers of its streams, by reason.
//!
//! A gap says that frames are missing, not why. A driver that left some out itself tells so; what is left is
//! the device's or its library's loss. After a stream's last frame there is no gap: what a driver left out then
//! is counted at the end, what a device lost then nobody can tell from the end itself. It deliberately knows no
//! output and no counters.

use camrig_frame::{FrameHeader, Role, Stream, StreamInfo};
use camrig_ipc::LostReason;

/// Framesets by reason, in the order of [`LostReason::ALL`].
pub(crate) type Lost = [u64; LostReason::ALL.len()];

/// The gaps of one camera.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    streams: Vec<Numbers>,
}

/// The numbers of one stream.
#[derive(Debug)]
struct Numbers {
    stream: Stream,
    role: Role,
    last: Option<u64>,
    /// Losses that the driver explained and no gap has shown yet.
    told: Lost,
    /// Images that came again, for which no number is missing.
    repeated: u64,
}

impl Losses {
    /// No gaps yet in these streams.
    pub(crate) fn of(streams: &[StreamInfo]) -> Self {
        Self { streams: streams.iter().map(|info| Numbers::new(info.stream, info.role)).collect() }
    }

    /// Notes that the driver left out frames that the device gave. Those that came again are to be counted at once,
    /// of images as many as of the stream that has the most; the numbers of all others will be missing.
    pub(crate) fn tell(&mut self, stream: Stream, reason: LostReason, frames: u64) -> Lost {
        let mut lost = Lost::default();
        let most = |streams: &[Numbers]| streams.iter().map(|it| it.repeated).max().unwrap_or_default();
        let before = most(&self.streams);
        let numbers = self.numbers(stream, Role::Other);
        if reason != LostReason::Repeated {
            numbers.told[reason as usize] += frames;
        } else if numbers.role == Role::Motion {
            lost[reason as usize] = frames;
        } else {
            numbers.repeated += frames;
            lost[reason as usize] = most(&self.streams) - before;
        }
        lost
    }

    /// What was lost before these frames of an instant: the most that is missing of one of their streams of
    /// images, and every sample of motion.
    pub(crate) fn note(&mut self, frames: &[FrameHeader]) -> Lost {
        let note = |frame: &FrameHeader| {
            (frame.role, self.numbers(frame.stream, frame.role).note(frame.number, frame.numbers()))
        };
        together(frames.iter().map(note))
    }

    /// What was lost behind the last frames, as far as the driver told: at the end, once.
    pub(crate) fn end(&mut self) -> Lost {
        together(self.streams.iter_mut().map(|numbers| (numbers.role, std::mem::take(&mut numbers.told))))
    }

    /// Those of a stream, which is new with this role when it was not declared.
    fn numbers(&mut self, stream: Stream, role: Role) -> &mut Numbers {
        let known = self.streams.iter().position(|numbers| numbers.stream == stream);
        let index = known.unwrap_or_else(|| {
            self.streams.push(Numbers::new(stream, role));
            self.streams.len() - 1
        });
        &mut self.streams[index]
    }
}

/// What several streams lost: the most that one stream of images did, and every sample of motion.
fn together(streams: impl Iterator<Item = (Role, Lost)>) -> Lost {
    let (mut most, mut samples) = (Lost::default(), Lost::default());
    for (role, lost) in streams {
        if role == Role::Motion {
            samples.iter_mut().zip(lost).for_each(|(sum, lost)| *sum += lost);
        } else if lost.iter().sum::<u64>() > most.iter().sum() {
            most = lost;
        }
    }
    most.iter_mut().zip(samples).for_each(|(sum, lost)| *sum += lost);
    most
}

impl Numbers {
    fn new(stream: Stream, role: Role) -> Self {
        Self { stream, role, last: None, told: Lost::default(), repeated: 0 }
    }

    /// Of a frame that stands for so many `numbers`, up to its own.
    fn note(&mut self, number: u64, numbers: u64) -> Lost {
        let last = self.last.replace(number);
        if last.is_none_or(|last| number <= last) {
            // The first one, or numbers that go back, which is a new start.
            self.told = Lost::default();
            return Lost::default();
        }
        let mut missing = (number - last.unwrap_or_default()).saturating_sub(numbers);
        let mut lost = Lost::default();
        for (lost, told) in lost.iter_mut().zip(&mut self.told) {
            *lost = missing.min(*told);
            *told -= *lost;
            missing -= *lost;
        }
        lost[LostReason::Device as usize] += missing;
        lost
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
    fn a_gap_is_the_devices_unless_the_driver_explains_it() {
        let mut losses = Losses::default();
        let (depth, color) = (Stream::DEPTH, Stream::COLOR);
        assert_eq!(losses.note(&[frame(color, 7), frame(depth, 5)]), [0, 0, 0, 0]);
        assert_eq!(losses.note(&[frame(color, 8), frame(depth, 9)]), [3, 0, 0, 0]);
        // Told before earlier frames are out: it holds until the gap shows.
        losses.tell(depth, LostReason::QueueFull, 2);
        losses.tell(color, LostReason::QueueFull, 1);
        assert_eq!(losses.note(&[frame(color, 9), frame(depth, 10)]), [0, 0, 0, 0]);
        assert_eq!(losses.note(&[frame(color, 12), frame(depth, 14)]), [1, 2, 0, 0]);
        assert_eq!(losses.note(&[frame(color, 13), frame(depth, 16)]), [1, 0, 0, 0]);
        losses.tell(depth, LostReason::NoPartner, 1);
        assert_eq!(losses.note(&[frame(color, 14)]), [0, 0, 0, 0]);
        assert_eq!(losses.note(&[frame(color, 15), frame(depth, 18)]), [0, 0, 1, 0]);
        // A new start explains everything.
        losses.tell(depth, LostReason::QueueFull, 9);
        assert_eq!(losses.note(&[frame(depth, 0)]), [0, 0, 0, 0]);
        assert_eq!(losses.note(&[frame(depth, 2)]), [1, 0, 0, 0]);
    }

    #[test]
    fn what_came_again_is_counted_at_once_and_as_one_frameset() {
        let mut losses = Losses::default();
        let (depth, color) = (Stream::DEPTH, Stream::COLOR);
        losses.note(&[frame(color, 0), frame(depth, 0)]);
        assert_eq!(losses.tell(depth, LostReason::Repeated, 2), [0, 0, 0, 2]);
        assert_eq!(losses.tell(color, LostReason::Repeated, 2), [0, 0, 0, 0]);
        assert_eq!(losses.tell(color, LostReason::Repeated, 1), [0, 0, 0, 1]);
        // Nothing is missing for it.
        assert_eq!(losses.note(&[frame(color, 1), frame(depth, 1)]), [0, 0, 0, 0]);
        assert_eq!(losses.end(), [0, 0, 0, 0]);
    }

    #[test]
    fn what_the_driver_left_out_last_is_counted_at_the_end() {
        let mut losses = Losses::default();
        let (depth, color) = (Stream::DEPTH, Stream::COLOR);
        losses.note(&[frame(color, 0), frame(depth, 0)]);
        losses.tell(depth, LostReason::QueueFull, 3);
        losses.tell(color, LostReason::QueueFull, 2);
        losses.tell(depth, LostReason::NoPartner, 1);
        assert_eq!(losses.end(), [0, 3, 1, 0]);
        assert_eq!(losses.end(), [0, 0, 0, 0]);
    }

    #[test]
    fn every_sample_of_motion_counts() {
        let mut losses = Losses::default();
        let samples = |stream, number, count| FrameHeader {
            number,
            ..FrameHeader::new(stream, Payload::Motion { samples: count })
        };
        let (depth, accel, gyro) = (Stream::DEPTH, Stream::ACCEL, Stream::GYRO);
        assert_eq!(losses.note(&[frame(depth, 0), samples(accel, 0, 1), samples(gyro, 6, 7)]), [0, 0, 0, 0]);
        assert_eq!(losses.note(&[frame(depth, 1), samples(accel, 3, 3), samples(gyro, 13, 7)]), [0, 0, 0, 0]);
        // Two images, one sample, and three of seven.
        losses.tell(gyro, LostReason::NoPartner, 2);
        assert_eq!(losses.note(&[frame(depth, 4), samples(accel, 7, 3), samples(gyro, 20, 4)]), [4, 0, 2, 0]);
        for stream in [accel, gyro] {
            assert_eq!(losses.tell(stream, LostReason::Repeated, 2), [0, 0, 0, 2]);
            losses.tell(stream, LostReason::QueueFull, 1);
        }
        assert_eq!(losses.end(), [0, 2, 0, 0]);
    }
}
