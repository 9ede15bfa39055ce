//! Checks motion samples: they must be those of the numbers in their frame, in chronological order.

use camrig_frame::{Frame, MotionSample, MotionView};

use super::Fault;
use crate::frameset::FrameSet;
use crate::synthetic::Scene;

/// Compares the samples of a frame with those of the scene. Their times are only checked as far as they are known here:
/// increasing, the last one equal to the frame's, and none after the frameset.
pub(super) fn check(frames: &FrameSet, frame: &Frame<'_>, scene: &Scene) -> Result<(), Fault> {
    let header = frame.header();
    let fault = |number, what| Fault::Sample {
        camera: frames.camera().to_owned(),
        sequence: frames.sequence(),
        stream: header.stream.name().into(),
        number,
        what,
    };
    let Some(motion) = MotionView::new(*frame) else {
        return Err(fault(header.number, format!("is in the format {}", header.payload.format())));
    };
    let Some(first) = header.number.checked_sub(header.numbers() - 1) else {
        return Err(fault(header.number, format!("is the last of {}", header.numbers())));
    };
    let mut before = None;
    for (number, MotionSample { nanos, xyz }) in (first..).zip(motion.iter()) {
        let expected = scene.motion(header.stream, number);
        if xyz.map(f32::to_bits) != expected.map(f32::to_bits) {
            return Err(fault(number, format!("is {xyz:?}, not {expected:?}")));
        }
        if before.replace(nanos).is_some_and(|before| nanos <= before) {
            return Err(fault(number, "is not later than the one before".to_owned()));
        }
    }
    let is_late = frames.timestamp().is_some_and(|taken| header.timestamp.nanos > taken.nanos);
    if before != Some(header.timestamp.nanos) || is_late {
        return Err(fault(
            header.number,
            "has another time than its frame, or is later than its frameset".to_owned(),
        ));
    }
    Ok(())
}
