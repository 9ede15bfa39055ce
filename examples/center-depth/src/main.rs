//! The smallest camrig program: prints the depth at the center of each camera's image.
//!
//! `cargo run -p center-depth -- run examples/center-depth/center-depth.toml --framesets 3`
#![allow(clippy::print_stdout)] // An example prints as short programs do.

use camrig::prelude::*;

struct CenterDepth;

impl Processor for CenterDepth {
    fn process(&mut self, frames: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        if let Some(depth) = frames.depth() {
            println!("{} #{}: {:?} m", frames.camera(), frames.sequence(), depth.center_meters());
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    App::new().processor("center-depth", |_: NoOptions| Ok(CenterDepth)).main()
}
