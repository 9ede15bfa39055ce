//! Motion: the samples of a camera's accelerometer and gyroscope between two framesets.

use crate::{Clock, Frame, Payload, SAMPLE_BYTES};

/// Size of one sample in a frame, in bytes.
const BYTES: usize = SAMPLE_BYTES as usize;

/// One sample of a motion sensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MotionSample {
    /// Sample time, by the clock of its frame.
    pub nanos: u64,
    /// Values along +X to the right, +Y down and +Z away from the camera: librealsense converts the sensor axes
    /// to those of depth, as described in its `d435i.md`. [`Stream::ACCEL`](crate::Stream::ACCEL): metres per
    /// second squared; at rest, the acceleration of the supporting force, so y is -9.8 when level.
    /// [`Stream::GYRO`](crate::Stream::GYRO): radians per second.
    pub xyz: [f32; 3],
}

impl MotionSample {
    /// Encodes the sample in the format of [`Payload::Motion`].
    pub fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let (nanos, parts) = bytes.split_at_mut(8);
        nanos.copy_from_slice(&self.nanos.to_le_bytes());
        for (to, from) in parts.as_chunks_mut::<4>().0.iter_mut().zip(self.xyz) {
            *to = from.to_le_bytes();
        }
        bytes
    }

    fn from_bytes(bytes: &[u8; BYTES]) -> Self {
        let [n0, n1, n2, n3, n4, n5, n6, n7, parts @ ..] = *bytes;
        let (parts, _) = parts.as_chunks::<4>();
        Self {
            nanos: u64::from_le_bytes([n0, n1, n2, n3, n4, n5, n6, n7]),
            xyz: [parts[0], parts[1], parts[2]].map(f32::from_le_bytes),
        }
    }
}

/// A frame of motion: the samples since the previous frameset, oldest first.
#[derive(Clone, Copy, Debug)]
pub struct MotionView<'a> {
    frame: Frame<'a>,
}

impl<'a> MotionView<'a> {
    /// Creates a view; returns `None` if the payload is not [`Payload::Motion`].
    pub fn new(frame: Frame<'a>) -> Option<Self> {
        matches!(frame.header().payload, Payload::Motion { .. }).then_some(Self { frame })
    }

    /// Returns the underlying frame.
    pub fn frame(&self) -> Frame<'a> {
        self.frame
    }

    /// Returns the clock of the sample times.
    pub fn clock(&self) -> Clock {
        self.frame.header().timestamp.clock
    }

    /// Iterates over all samples.
    pub fn iter(&self) -> impl Iterator<Item = MotionSample> + use<'a> {
        let samples = self.frame.rows().flat_map(|row| row.as_chunks::<BYTES>().0);
        samples.map(MotionSample::from_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FrameHeader, ParseProfileError, PixelFormat, Role, Stream, StreamProfile, Timestamp};

    #[test]
    fn samples_come_back_as_they_were() {
        let samples = [
            MotionSample { nanos: 1_700_000_000_123_456_789, xyz: [0.0, -9.80665, f32::MIN_POSITIVE] },
            MotionSample { nanos: u64::MAX, xyz: [1.0, 2.0, f32::INFINITY] },
        ];
        let header = FrameHeader {
            number: 9,
            timestamp: Timestamp { clock: Clock::Global, nanos: u64::MAX },
            ..FrameHeader::new(Stream::GYRO, Payload::Motion { samples: 400 })
        };
        let header = header.with_samples(2);
        assert_eq!((header.size_bytes(), header.numbers(), header.role), (40, 2, Role::Motion));
        let bytes = samples.map(MotionSample::to_bytes).concat();
        let motion = MotionView::new(Frame::new(&header, &bytes).unwrap()).unwrap();
        assert_eq!(motion.iter().collect::<Vec<_>>(), samples);
        assert_eq!((motion.clock(), motion.frame().stream()), (Clock::Global, Stream::GYRO));
        let depth = FrameHeader { payload: Payload::image(PixelFormat::Y8, 40, 1), ..header };
        assert!(MotionView::new(Frame::new(&depth, &bytes).unwrap()).is_none());
        assert_eq!(depth.numbers(), 1);
    }

    #[test]
    fn a_profile_is_as_wide_as_two_seconds() {
        assert_eq!(StreamProfile::of_motion(200).unwrap().to_string(), "400x1@200");
        assert_eq!(StreamProfile::of_motion(1000).unwrap().to_string(), "2000x1@1000");
        for rate in [0, 1001, u32::MAX] {
            assert_eq!(StreamProfile::of_motion(rate), Err(ParseProfileError::Rate(rate)));
        }
    }
}
