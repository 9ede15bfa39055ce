//! Motion as JSON messages, which viewers can plot: `samples[:].x`.
//!
//! This module has no knowledge of files.

use std::fmt;

use bytes::Bytes;
use camrig::frame::{Frame, MotionSample, MotionView};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Maximum size of one sample in a message, in bytes.
pub(crate) const SAMPLE_BYTES: usize = 128;

/// Maximum number of samples of a stream in a frameset that is made of a bag: 25 s at 400 Hz.
pub(crate) const MAX_SAMPLES: usize = 10_000;

/// The samples of a frame of motion.
#[derive(Serialize)]
struct MotionMessage {
    samples: Vec<Sample>,
}

/// One sample. NaN and infinity are `null` in JSON.
#[derive(Serialize, Deserialize)]
struct Sample {
    nanos: u64,
    x: Option<f32>,
    y: Option<f32>,
    z: Option<f32>,
}

/// Appends the message with the samples of a frame; appends nothing if the frame is not motion.
///
/// # Errors
/// Never: a vector grows as needed.
pub(crate) fn encode(frame: Frame<'_>, message: &mut Vec<u8>) -> serde_json::Result<()> {
    let Some(motion) = MotionView::new(frame) else { return Ok(()) };
    let samples = motion.iter().map(|MotionSample { nanos, xyz: [x, y, z] }| Sample {
        nanos,
        x: Some(x),
        y: Some(y),
        z: Some(z),
    });
    serde_json::to_writer(message, &MotionMessage { samples: samples.collect() })
}

/// Decodes a message to the content of its frame.
///
/// # Errors
/// If the message is invalid.
pub(crate) fn decode(message: &[u8]) -> serde_json::Result<Bytes> {
    let Decoded { samples: Samples(bytes) } = serde_json::from_slice(message)?;
    Ok(bytes.into())
}

/// The message as it is read.
#[derive(Deserialize)]
struct Decoded {
    samples: Samples,
}

/// The content of a frame. Samples become bytes one by one: a list of them would take four times the memory of the
/// shortest message.
struct Samples(Vec<u8>);

impl<'de> Deserialize<'de> for Samples {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Samples;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of samples")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut samples: A) -> Result<Samples, A::Error> {
                let mut bytes = Vec::new();
                while let Some(Sample { nanos, x, y, z }) = samples.next_element()? {
                    let xyz = [x, y, z].map(|part: Option<f32>| part.unwrap_or(f32::NAN));
                    bytes.extend(MotionSample { nanos, xyz }.to_bytes());
                }
                Ok(Samples(bytes))
            }
        }

        deserializer.deserialize_seq(Each)
    }
}

#[cfg(test)]
mod tests {
    use camrig::frame::{FrameHeader, Payload, Stream};

    use super::*;

    #[test]
    fn samples_come_back_to_the_last_bit() {
        let samples = [
            MotionSample { nanos: u64::MAX, xyz: [-9.80665, 1e-9, f32::MIN_POSITIVE] },
            MotionSample { nanos: 7, xyz: [0.1, -0.0, f32::NAN] },
            MotionSample { nanos: u64::MAX, xyz: [f32::MIN; 3] },
        ];
        let header = FrameHeader::new(Stream::ACCEL, Payload::Motion { samples: 3 });
        let bytes = samples.map(MotionSample::to_bytes).concat();
        let mut message = Vec::new();
        encode(Frame::new(&header, &bytes).unwrap(), &mut message).unwrap();
        assert!(message.len() <= samples.len() * SAMPLE_BYTES, "{}", message.len());
        assert!(message.starts_with(br#"{"samples":[{"nanos":18446744073709551615,"x":-9.80665,"y":"#));
        assert_eq!(decode(&message).unwrap(), bytes);
        assert!(decode(b"{}").is_err());
    }
}
