//! A program for the tests of the page: its processor `streams` publishes streams that no stock processor has, a second
//! depth at half the distance and an image of classes by distance.

use camrig::frame::{FrameHeader, Payload, PixelFormat, Role, Stream};
use camrig::prelude::*;
use camrig_view::View;

/// The depth of a class, in metres.
const CLASS_METERS: f32 = 0.5;

struct Streams;

impl Processor for Streams {
    fn process(&mut self, frames: &FrameSet, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        let Some(depth) = frames.depth() else { return Ok(()) };
        output.tell(format_args!("doubles depth\nof `{}`", frames.camera()));
        let first = *depth.frame().header();
        let second = FrameHeader { stream: Stream::new("depth-2")?, ..first };
        let (width, height) = (depth.frame().width(), depth.frame().height());
        let classes = FrameHeader {
            stream: Stream::new("classes")?,
            role: Role::Other,
            payload: Payload::image(PixelFormat::Y8, width, height),
            ..first
        };
        if let Some(mut loan) = output.derive(frames, [first, second, classes].into_iter().collect())? {
            loan.frame_mut(0).copy_from_slice(depth.frame().bytes());
            let (halves, _) = loan.frame_mut(1).as_chunks_mut();
            for (half, units) in halves.iter_mut().zip(depth.iter_units()) {
                *half = (units / 2).to_le_bytes();
            }
            for (class, meters) in loan.frame_mut(2).iter_mut().zip(depth.iter_meters()) {
                *class = meters.map_or(0, |meters| 1 + (meters / CLASS_METERS) as u8);
            }
            output.publish(loan);
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    App::new().processor("streams", |_: NoOptions| Ok(Streams)).actor("view", View::new).main()
}
