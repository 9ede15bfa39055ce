//! The stock program with a processor that reads every pixel, for the measurement `bin/camrig/tests/whole-rig`.

use std::hint::black_box;
use std::process::ExitCode;

use camrig::prelude::{FrameSet, NoOptions, Processor, ProcessorError, ProcessorOutput};

/// Converts color to red, green and blue, and depth to metres, and adds up all of them.
struct ReadPixels;

impl Processor for ReadPixels {
    fn process(&mut self, frames: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        if let Some(color) = frames.color() {
            let rgb = color.to_rgb8();
            // 32 bits are enough for 16 million channels.
            black_box(rgb.iter().map(|&channel| u32::from(channel)).sum::<u32>());
        }
        if let Some(depth) = frames.depth() {
            black_box(sum_of(&depth.to_meters()));
        }
        Ok(())
    }
}

/// The numbers that are added up side by side, by vector instructions.
const LANES: usize = 32;

fn sum_of(meters: &[f32]) -> f32 {
    let (chunks, rest) = meters.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, meters)| *sum += meters);
    }
    sums.iter().chain(rest).sum()
}

fn main() -> ExitCode {
    camrig_cli::app().processor("read-pixels", |_: NoOptions| Ok(ReadPixels)).main()
}
