//! A processor that publishes framesets of its own from matches, and one that checks them.

use std::sync::Arc;

use camrig::FrameHeaders;
use camrig::frame::{CameraInfo, FrameHeader, PixelFormat, Stream};
use camrig::prelude::*;

/// The camera that readers see.
const SOURCE: &str = "volume";
/// A pixel for each camera of a match.
const CAMERAS: u32 = 2;

/// Publishes for each match an image with the lowest byte of each frameset's sequence number.
pub(super) struct Mosaic(Arc<CameraInfo>);

impl Mosaic {
    pub(super) fn new() -> Self {
        Self(Arc::new(CameraInfo { name: SOURCE.to_owned(), ..CameraInfo::default() }))
    }
}

impl Processor<Match> for Mosaic {
    fn process(&mut self, matched: &Match, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        let header = FrameHeader::image(Stream::INFRARED_1, PixelFormat::Y8, CAMERAS, 1);
        let headers = FrameHeaders::from_iter([header]);
        let Some(mut loan) = output.derive_match(&self.0, matched, headers)? else { return Ok(()) };
        for (pixel, frames) in loan.frame_mut(0).iter_mut().zip(matched.framesets()) {
            *pixel = frames.sequence() as u8;
        }
        output.publish(loan);
        Ok(())
    }
}

/// Checks the framesets of [`Mosaic`].
#[derive(Default)]
pub(super) struct CheckMosaic(u64);

impl Processor for CheckMosaic {
    fn process(&mut self, frames: &FrameSet, _: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        let found = (frames.camera(), frames.sequence(), frames.header().matched);
        if found != (SOURCE, self.0, Some(self.0)) {
            return Err(format!("mosaic {}: {found:?}", self.0).into());
        }
        let image = frames.frame(Stream::INFRARED_1).ok_or("no image")?;
        let origins: Vec<_> = frames.origins().iter().map(|origin| origin.sequence as u8).collect();
        if origins.len() != CAMERAS as usize || image.bytes() != origins {
            return Err(format!("{:?} of {origins:?}", image.bytes()).into());
        }
        self.0 += 1;
        Ok(())
    }

    fn finish(&mut self, output: &mut ProcessorOutput) -> Result<(), ProcessorError> {
        println!("{}: {} mosaics", output.name(), self.0);
        Ok(())
    }
}
