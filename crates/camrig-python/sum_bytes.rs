//! A program with the processor `sum-bytes`, which `bench.py` compares with a script that does the same in Python.

use std::hint::black_box;

use camrig::prelude::*;

struct SumBytes;

impl Processor for SumBytes {
    fn process(&mut self, frames: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        for frame in frames.frames() {
            // Eight at a time, as the script does.
            let (words, _) = frame.bytes().as_chunks::<8>();
            let word = |sum: u64, word: &[u8; 8]| sum.wrapping_add(u64::from_ne_bytes(*word));
            black_box(words.iter().fold(0, word));
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    App::new().processor("sum-bytes", |_: NoOptions| Ok(SumBytes)).main()
}
