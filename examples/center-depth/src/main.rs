//! The smallest camrig program: prints the depth at the center of each camera's image.
//!
//! `cargo run -p center-depth -- run examples/center-depth/center-depth.toml --framesets 3`
#![allow(clippy::print_stdout)] // An example prints as short programs do.

use camrig::prelude::*;

struct CenterDepth;

impl Processor for CenterDepth {
    fn process(&mut self, frames: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        if let Some(meters) = frames.depth().and_then(|depth| depth.center_meters()) {
            println!("{} #{}: {meters:.3} m", frames.camera(), frames.sequence());
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    App::new().processor("center-depth", |_: NoOptions| Ok(CenterDepth)).main()
}
