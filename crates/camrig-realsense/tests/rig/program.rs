//! The camrig program that these tests run: the driver as it is, and a processor that says what comes.

use std::collections::BTreeMap;

use camrig::prelude::*;
use camrig_realsense::RealSense;

/// Where faults panic, as messages name it; the harness takes away line and column.
pub(crate) const FILE: &str = file!();

/// How often framesets are said.
const BEAT: u64 = 5;

pub(crate) fn main() -> ExitCode {
    App::new()
        .driver::<RealSense>("realsense")
        .processor("pulse", |_: NoOptions| Ok(Pulse(BTreeMap::new())))
        .main()
}

/// Says each fifth frameset of each camera: `pulse NAME COUNT`.
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
