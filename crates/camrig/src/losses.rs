//! What a camera lost before anyone saw it: the gaps in the numbers of its streams, by reason.
//!
//! A gap says that frames are missing, not why. A driver that left some out itself tells so; what is left is
//! the device's or its library's loss. It deliberately knows no outlet and no tally.

use camrig_frame::{FrameHeader, Stream};
use camrig_ipc::LostReason;

/// Framesets by reason, in the order of [`LostReason::ALL`].
pub(crate) type Lost = [u64; LostReason::ALL.len()];

/// The gaps of one camera.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    streams: [Numbers; Stream::ALL.len()],
}

/// The numbers of one stream.
#[derive(Debug, Default)]
struct Numbers {
    last: Option<u64>,
    /// What the driver left out, and no gap has shown yet.
    told: Lost,
}

impl Losses {
    /// Notes that the driver left out frames that the device gave; their numbers will be missing.
    pub(crate) fn tell(&mut self, stream: Stream, reason: LostReason, frames: u64) {
        self.streams[stream as usize].told[reason as usize] += frames;
    }

    /// What was lost before these frames of an instant: the most that is missing of one of their streams.
    pub(crate) fn note(&mut self, frames: &[FrameHeader]) -> Lost {
        let mut most = Lost::default();
        for frame in frames {
            let lost = self.streams[frame.stream as usize].note(frame.number);
            if lost.iter().sum::<u64>() > most.iter().sum() {
                most = lost;
            }
        }
        most
    }
}

impl Numbers {
    fn note(&mut self, number: u64) -> Lost {
        let last = self.last.replace(number);
        if last.is_none_or(|last| number <= last) {
            // The first one, or numbers that go back, which is a new start.
            self.told = Lost::default();
            return Lost::default();
        }
        let mut missing = number - last.unwrap_or_default() - 1;
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
    use camrig_frame::{Clock, PixelFormat, StreamInfo, Timestamp};

    fn frame(stream: Stream, number: u64) -> FrameHeader {
        let profile = "4x4@30".parse().unwrap();
        let info = StreamInfo { stream, format: PixelFormat::Y8, profile, intrinsics: None, to_depth: None };
        info.header(number, Timestamp { clock: Clock::Hardware, nanos: 0 })
    }

    #[test]
    fn a_gap_is_the_devices_unless_the_driver_explains_it() {
        let mut losses = Losses::default();
        let (depth, color) = (Stream::Depth, Stream::Color);
        assert_eq!(losses.note(&[frame(color, 7), frame(depth, 5)]), [0, 0, 0]);
        assert_eq!(losses.note(&[frame(color, 8), frame(depth, 9)]), [3, 0, 0]);
        // Told before earlier frames are out: it holds until the gap shows.
        losses.tell(depth, LostReason::QueueFull, 2);
        losses.tell(color, LostReason::QueueFull, 1);
        assert_eq!(losses.note(&[frame(color, 9), frame(depth, 10)]), [0, 0, 0]);
        assert_eq!(losses.note(&[frame(color, 12), frame(depth, 14)]), [1, 2, 0]);
        assert_eq!(losses.note(&[frame(color, 13), frame(depth, 16)]), [1, 0, 0]);
        losses.tell(depth, LostReason::NoPartner, 1);
        assert_eq!(losses.note(&[frame(color, 14)]), [0, 0, 0]);
        assert_eq!(losses.note(&[frame(color, 15), frame(depth, 18)]), [0, 0, 1]);
        // A new start explains everything.
        losses.tell(depth, LostReason::QueueFull, 9);
        assert_eq!(losses.note(&[frame(depth, 0)]), [0, 0, 0]);
        assert_eq!(losses.note(&[frame(depth, 2)]), [1, 0, 0]);
    }
}
