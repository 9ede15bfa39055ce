//! Processing of a camera's frames: librealsense's own filters, and alignment.
//!
//! They run in the order that librealsense recommends: decimation, threshold, then in the disparity domain the spatial
//! and the temporal filter, hole filling, and alignment last. The result may have another size, lens or viewpoint than
//! the sensor, and the camera's streams are described accordingly.

use std::collections::BTreeMap;

use arrayvec::ArrayVec;
use camrig::DriverError;
use camrig::frame::{FrameHeader, Intrinsics, MAX_FRAMES, Payload, Stream, StreamInfo};
use realsense_sys as rs2;

use crate::convert::header;
use crate::names::list;
use crate::processing::{Align, Filters, Processing};
use crate::resolve::value;
use crate::settings::Setting;
use crate::sys::{Aligner, Block, BlockKind, Fault, OptionKind, Pixels, RawFrame};

/// The frames of an instant.
pub(crate) type Frames = ArrayVec<(FrameHeader, Pixels), MAX_FRAMES>;

/// The blocks of the filters and the alignment.
pub(crate) struct Chain {
    blocks: Vec<Block>,
    /// The factor by which each side of depth is reduced.
    magnitude: u32,
    align: Option<(Align, Aligner)>,
}

impl Chain {
    /// Creates the blocks; refuses options that a filter does not have, or invalid values. It needs no camera.
    pub(crate) fn new(processing: &Processing) -> Result<Self, DriverError> {
        let Filters { decimation, threshold, spatial, temporal, hole_filling } = &processing.filters;
        let in_disparity = (spatial.is_some() || temporal.is_some()).then(BTreeMap::new);
        let blocks = [
            ("decimation", BlockKind::Decimation, decimation),
            ("threshold", BlockKind::Threshold, threshold),
            ("disparity", BlockKind::DepthToDisparity, &in_disparity),
            ("spatial", BlockKind::Spatial, spatial),
            ("temporal", BlockKind::Temporal, temporal),
            ("depth", BlockKind::DisparityToDepth, &in_disparity),
            ("hole_filling", BlockKind::HoleFilling, hole_filling),
        ];
        let mut chain = Self { blocks: Vec::new(), magnitude: 1, align: None };
        for (name, kind, settings) in blocks {
            let Some(settings) = settings else { continue };
            let block = Block::new(kind).map_err(|fault| cannot_be_made(name, &fault))?;
            set(name, &block, settings)?;
            if kind == BlockKind::Decimation {
                let magnitude = block.options().get(OptionKind::FILTER_MAGNITUDE);
                chain.magnitude = magnitude.map_err(|fault| cannot_be_made(name, &fault))? as u32;
            }
            chain.blocks.push(block);
        }
        if let Some(align) = processing.align {
            let aligner = Aligner::new(align == Align::ColorToDepth);
            chain.align = Some((align, aligner.map_err(|fault| cannot_be_made("align", &fault))?));
        }
        Ok(chain)
    }

    /// Returns the stream whose viewpoint the others' positions refer to: that of the processed depth.
    pub(crate) fn place_of_depth(&self) -> Stream {
        match self.align {
            Some((Align::DepthToColor, _)) => Stream::COLOR,
            _ => Stream::DEPTH,
        }
    }

    /// Updates the descriptions of `streams` to the processed frames.
    pub(crate) fn tell(&self, streams: &mut [StreamInfo]) {
        let find = |streams: &[StreamInfo], stream| streams.iter().position(|own| own.stream == stream);
        let Some(depth) = find(streams, Stream::DEPTH) else { return };
        if self.magnitude > 1 {
            decimate(&mut streams[depth], self.magnitude);
        }
        let Some(color) = find(streams, Stream::COLOR) else { return };
        let (from, to) = match self.align {
            Some((Align::DepthToColor, _)) => (depth, color),
            Some((Align::ColorToDepth, _)) => (color, depth),
            None => return,
        };
        let StreamInfo { payload, intrinsics, to_depth, .. } = streams[to];
        if let Some((width, height)) = payload.size() {
            resize(&mut streams[from].payload, width, height);
        }
        (streams[from].intrinsics, streams[from].to_depth) = (intrinsics, to_depth);
    }

    /// Processes frames. A frame without its partner cannot be aligned and is dropped, which leaves a gap in its
    /// numbers.
    pub(crate) fn apply(&self, frames: Frames) -> Result<Frames, Fault> {
        if self.blocks.is_empty() && self.align.is_none() {
            return Ok(frames);
        }
        let (mut depth, mut color, mut rest) = (None, None, Frames::new());
        for (header, pixels) in frames {
            match header.stream {
                Stream::DEPTH => depth = Some(pixels.into_raw()),
                Stream::COLOR if self.align.is_some() => color = Some(pixels.into_raw()),
                _ => rest.push((header, pixels)),
            }
        }
        if let Some(mut frame) = depth.take() {
            for block in &self.blocks {
                frame = block.process(frame)?;
            }
            depth = Some(frame);
        }
        let done: ArrayVec<RawFrame, 2> = match (&self.align, depth, color) {
            (Some((_, aligner)), Some(depth), Some(color)) => aligner.process(depth, color)?,
            (Some((Align::DepthToColor, _)), _, color) => color.into_iter().collect(),
            (_, depth, _) => depth.into_iter().collect(),
        };
        for frame in done {
            // Of these two kinds only the streams of these names are processed.
            let stream = match frame.stream() {
                Some((rs2::rs2_stream_RS2_STREAM_COLOR, _)) => Stream::COLOR,
                _ => Stream::DEPTH,
            };
            let image = frame.into_image()?;
            let header = header(&image, stream)
                .ok_or_else(|| Fault::new("a filter made a frame of an unknown format"))?;
            rest.push((header, image.into_pixels()));
        }
        rest.sort_by_key(|(header, _)| header.stream);
        Ok(rest)
    }
}

/// Returns whether this driver sets an option of a filter itself: which frames it is applied to, and how many results it
/// may have at once.
pub(crate) fn is_internal(kind: OptionKind) -> bool {
    kind.name().starts_with("stream_") || kind.name() == "frames_queue_size"
}

fn set(filter: &str, block: &Block, settings: &BTreeMap<String, Setting>) -> Result<(), DriverError> {
    let owner = format!("filter `{filter}`");
    let mut kinds = block.options().kinds().map_err(|fault| cannot_be_made(filter, &fault))?;
    // The driver itself selects the streams of a filter, and the number of results in use.
    kinds.retain(|kind| !is_internal(*kind));
    for (name, setting) in settings {
        let kind = kinds.iter().find(|kind| kind.name() == *name).copied().ok_or_else(|| {
            let it_has = list(kinds.iter().map(|kind| format!("`{}`", kind.name())));
            DriverError::new(format!("{owner} has no option `{name}`; it has: {it_has}"))
        })?;
        let value = value(&owner, block.options(), kind, setting)?;
        block.options().set(kind, value).map_err(|fault| {
            DriverError::new(format!("option `{name}` of {owner} cannot be set to {value}: {fault}"))
        })?;
    }
    Ok(())
}

fn cannot_be_made(filter: &str, fault: &Fault) -> DriverError {
    DriverError::new(format!("filter `{filter}` cannot be made: {fault}"))
}

/// Applies the effect of librealsense's decimation: each side is divided, and then rounded up to a multiple of four.
fn decimate(depth: &mut StreamInfo, magnitude: u32) {
    let side = |pixels: u32| (pixels / magnitude).next_multiple_of(4);
    let Some((width, height)) = depth.payload.size() else { return };
    let (width, height) = (side(width), side(height));
    resize(&mut depth.payload, width, height);
    if let Some(Intrinsics { width: own_width, height: own_height, ppx, ppy, fx, fy, .. }) =
        &mut depth.intrinsics
    {
        (*own_width, *own_height) = (width, height);
        for pixels in [ppx, ppy, fx, fy] {
            *pixels /= magnitude as f32;
        }
    }
}

/// Gives an image another size.
fn resize(payload: &mut Payload, width: u32, height: u32) {
    if let Payload::Image { format, .. } = *payload {
        *payload = Payload::image(format, width, height);
    }
}
