//! A processor that publishes more than images: for each frameset the color image, a mask, a heat map (a tensor) and
//! boxes with labels and scores (a message).
//!
//! `cargo run -p detect -- run examples/detect/detect.toml --framesets 30`

mod heat;

use camrig::frame::{
    DType, FrameHeader, JSON, Name, Payload, PixelFormat, Role, SchemaName, Shape, Stream, StreamInfo,
};
use camrig::prelude::*;
use camrig::{Declared, LightImage};
use camrig_view::View;
use serde::Deserialize;

use crate::heat::{BOX_BYTES, Heat, MAX_BOXES, grid};

/// The schema of the boxes: a JSON array of objects with `label`, `score` and `box`.
const BOXES: SchemaName = Name::constant("camrig.Boxes");

#[derive(Deserialize, JsonSchema)]
#[schemars(crate = "camrig::schemars")]
#[serde(deny_unknown_fields)]
struct Detect {
    /// The heat from which a cell belongs to a box, from 0 to 1.
    threshold: f32,
}

/// Returns the name of a stream of this processor's own.
fn named(name: &str) -> Result<Stream, ProcessorError> {
    Ok(Stream::new(name)?)
}

/// Returns the payloads of a mask, a heat map and boxes of at most this size, for an image of this size.
fn payloads(width: u32, height: u32, boxes_bytes: u32) -> Option<[Payload; 3]> {
    let (columns, rows) = grid(width, height);
    Some([
        Payload::image(PixelFormat::Y8, width, height),
        Payload::Tensor { dtype: DType::F32, shape: Shape::new(&[rows, columns])? },
        Payload::Message { schema: BOXES, encoding: JSON, size_bytes: boxes_bytes },
    ])
}

/// Returns the names of the streams with these payloads.
fn streams() -> Result<[Stream; 3], ProcessorError> {
    Ok([named("mask")?, named("heat")?, named("boxes")?])
}

impl Processor for Detect {
    /// Declares the streams, so that `camrig check` computes the memory of the framesets and reports a camera without color.
    fn declare(input: &[StreamInfo]) -> Declared {
        let color = input.iter().find(|info| info.stream == Stream::COLOR).ok_or("it has no color")?;
        if !LightImage::is_in(color.format()) {
            return Err(format!("its color is `{}`, which is not an image of light", color.format()));
        }
        let (width, height) = color.payload.size().ok_or("its color is not an image")?;
        let payloads =
            payloads(width, height, (MAX_BOXES * BOX_BYTES) as u32).ok_or("its color is too large")?;
        let own = streams().map_err(|error| error.to_string())?.into_iter().zip(payloads).map(
            |(stream, payload)| StreamInfo {
                role: Role::Other,
                ..StreamInfo::new(stream, payload, color.frames_per_second)
            },
        );
        Ok(Some(std::iter::once(*color).chain(own).collect()))
    }

    fn process(&mut self, frames: &FrameSet, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        let Some(frame) = frames.frame(Stream::COLOR) else { return Ok(()) };
        // A camera may send a damaged JPEG: there is nothing to find in it.
        let Ok(Some(image)) = frames.color_image() else { return Ok(()) };
        let Some(color) = image.view() else { return Ok(()) };
        let heat = Heat::of(&color);
        let boxes = serde_json::to_vec(&heat.boxes(self.threshold))?;
        let payloads = payloads(frame.width(), frame.height(), boxes.len() as u32).ok_or("too large")?;
        // A derived frame keeps the number and the time of the frame from which it was made.
        let own = streams()?.into_iter().zip(payloads);
        let own = own.map(|(stream, payload)| FrameHeader {
            stream,
            payload,
            role: Role::Other,
            ..*frame.header()
        });
        let headers = std::iter::once(*frame.header()).chain(own).collect();
        if let Some(mut loan) = output.derive(frames, headers)? {
            loan.frame_mut(0).copy_from_slice(frame.bytes());
            heat.write_mask(self.threshold, frame.width(), loan.frame_mut(1));
            for (to, value) in loan.frame_mut(2).as_chunks_mut().0.iter_mut().zip(&heat.values) {
                *to = value.to_le_bytes();
            }
            loan.frame_mut(3).copy_from_slice(&boxes);
            output.publish(loan);
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    let app = App::new().processor("detect", |detect: Detect| Ok(detect)).actor("view", View::new);
    camrig_record::add_to(app).main()
}
