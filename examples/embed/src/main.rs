//! A rig inside a program with a main loop of its own: it measures the distance in the middle of the image.
//!
//! The topology is built in code. Its processor runs on a thread of the rig, and sends its measurements to the main
//! loop.
//!
//! `cargo run -p embed`
#![allow(clippy::print_stdout, clippy::print_stderr)] // An example prints as short programs do.

use std::error::Error;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use camrig::prelude::*;
use camrig::{ActorTable, Overflow, Registry, Rig, TopologyBuilder};

/// Measurements that may wait for the main loop.
const WAITING: usize = 16;

/// Measurements after which the program has enough.
const ENOUGH: usize = 3;

struct Distance(SyncSender<f32>);

impl Processor for Distance {
    fn process(&mut self, frames: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        if let Some(meters) = frames.depth().and_then(|depth| depth.center_meters()) {
            // A main loop that is slow misses measurements; the rig does not wait for it.
            let _ = self.0.try_send(meters);
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let (sender, measurements) = sync_channel(WAITING);
    let registry =
        Registry::new().with_processor("distance", move |_: NoOptions| Ok(Distance(sender.clone())));
    let topology = TopologyBuilder::new("embed")
        .set("placement", "in-process")
        .actor(ActorTable::camera("front", "synthetic"))
        .actor(ActorTable::processor("distance", "distance").inputs(["front"]).overflow(Overflow::Block));
    let rig = Rig::build(&topology, &registry)?.start()?;
    let mut measured = 0;
    while measured < ENOUGH && !rig.wait_timeout(Duration::ZERO) {
        match measurements.recv_timeout(Duration::from_millis(100)) {
            Ok(meters) => {
                measured += 1;
                println!("{meters:.3} m");
            }
            // Here the program does its other work.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
    }
    rig.stop();
    println!("{}", rig.wait().exit);
    Ok(())
}
