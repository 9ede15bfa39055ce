//! Motion as text: a line for each sample, as spreadsheets and numeric programs read it.

use std::fmt::Write as _;

use camrig_frame::MotionView;

/// Samples of motion as a CSV file: nanoseconds of the camera's clock, then the values along x, y and z, to
/// the last digit.
pub fn encode(motion: &MotionView<'_>) -> Vec<u8> {
    let mut text = "nanos,x,y,z\n".to_owned();
    for sample in motion.iter() {
        let [x, y, z] = sample.xyz;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{},{x},{y},{z}", sample.nanos);
    }
    text.into_bytes()
}
