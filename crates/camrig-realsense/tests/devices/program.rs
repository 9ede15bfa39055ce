//! The camrig program that these tests run: the real driver, and a processor that prints the framesets it gets.

use std::collections::BTreeMap;

use camrig::prelude::*;
use camrig_realsense::RealSense;

/// The file of the panics, as messages name it; the harness removes line and column.
pub(crate) const FILE: &str = file!();

/// Number of framesets between two lines.
const BEAT: u64 = 5;

pub(crate) fn main() -> ExitCode {
    App::new()
        .driver::<RealSense>("realsense")
        .processor("pulse", |_: NoOptions| Ok(Pulse(BTreeMap::new())))
        .main()
}

/// Prints a line `pulse NAME COUNT` for each fifth frameset of each camera.
struct Pulse(BTreeMap<String, u64>);

impl Processor for Pulse {
    fn process(&mut self, frames: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        let framesets = self.0.entry(frames.camera().to_owned()).or_default();
        *framesets += 1;
        if framesets.is_multiple_of(BEAT) {
            println!("pulse {} {framesets}", frames.camera());
        }
        Ok(())
    }
}
