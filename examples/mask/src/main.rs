//! Two more kinds of processing: a processor that publishes its output, and an actix actor.
//!
//! `cargo run -p mask -- run examples/mask/mask.toml --framesets 30`
#![allow(clippy::print_stdout)] // An example prints as short programs do.

use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler};
use camrig::frame::Stream;
use camrig::prelude::*;
use serde::Deserialize;

/// A processor with options. They are checked before anything is started: a wrong key or value is reported with its
/// line and the valid choices.
#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "camrig::schemars")]
#[serde(deny_unknown_fields)]
struct Mask {
    /// Depth beyond this distance is removed.
    far_meters: f32,
}

impl Processor for Mask {
    fn process(&mut self, frames: &FrameSet, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        let (Some(depth), Some(frame)) = (frames.depth(), frames.frame(Stream::DEPTH)) else {
            return Err(format!("camera `{}` has no depth to mask", frames.camera()).into());
        };
        // Derived frames keep camera, arrival time and timestamp of their origin.
        let headers = [*frame.header()].into_iter().collect();
        // No loan: all slots are in use. camrig has counted the frameset as dropped.
        if let Some(mut loan) = output.derive(frames, headers)? {
            let far = (self.far_meters / depth.unit_meters()) as u16;
            let masked = loan.frame_mut(0);
            masked.copy_from_slice(frame.bytes());
            for units in masked.chunks_exact_mut(2) {
                if u16::from_le_bytes([units[0], units[1]]) > far {
                    units.fill(0);
                }
            }
            output.publish(loan);
        }
        Ok(())
    }
}

/// A `Processor` cannot act while no framesets arrive. This actor can: it has a timer.
struct Watch {
    silence: Duration,
    last: Instant,
    silent: bool,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "camrig::schemars")]
#[serde(deny_unknown_fields)]
struct WatchOptions {
    silence_seconds: f32,
}

impl Actor for Watch {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(Duration::from_millis(100), |watch, context| {
            if !context.connected() {
                // All inputs have ended. Actix keeps an actor with a timer running, so it stops itself.
                context.stop();
            } else if !watch.silent && watch.last.elapsed() > watch.silence {
                watch.silent = true;
                println!("nothing arrives");
            }
        });
    }
}

/// Framesets arrive as messages, the next one after the response to this one.
impl Handler<FrameSet> for Watch {
    type Result = Result<(), ProcessorError>;

    fn handle(&mut self, frames: FrameSet, _: &mut Self::Context) -> Self::Result {
        (self.last, self.silent) = (Instant::now(), false);
        let near = frames.depth().map_or(0, |depth| depth.iter_units().filter(|&units| units > 0).count());
        println!("{} #{}: {near} pixels are near", frames.camera(), frames.sequence());
        Ok(())
    }
}

fn main() -> ExitCode {
    App::new()
        .processor("mask", |mask: Mask| Ok(mask))
        .actor("watch", |options: WatchOptions, _| {
            let silence = Duration::try_from_secs_f32(options.silence_seconds)?;
            Ok(Watch { silence, last: Instant::now(), silent: false })
        })
        .main()
}
