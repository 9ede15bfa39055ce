//! Processing of a camera's frames: librealsense's own filters, and alignment.
//!
//! `processing` has their order; alignment comes after all filters. The result may have another size, lens or viewpoint
//! than the sensor, and the camera's streams are described accordingly.

use arrayvec::ArrayVec;
use camrig::DriverError;
use camrig::frame::{FrameHeader, Intrinsics, MAX_FRAMES, Payload, Stream, StreamInfo};
use realsense_sys as rs2;

use crate::convert::header;
use crate::names::list;
use crate::processing::{Align, FilterKind, Processing, Step};
use crate::resolve::value;
use crate::rotation::Rotation;
use crate::settings::Setting;
use crate::sys::{Block, BlockKind, Fault, FrameSetBlock, OptionKind, Pixels, RawFrame};

/// The frames of an instant.
pub(crate) type Frames = ArrayVec<(FrameHeader, Pixels), MAX_FRAMES>;

/// The blocks of the filters and the alignment, with their state of earlier frames.
pub(crate) struct Chain {
    blocks: Vec<FilterBlock>,
    /// The factors by which each side of depth is reduced, one after the other.
    magnitudes: Vec<u32>,
    align: Option<(Align, FrameSetBlock)>,
    rotation: Rotation,
    /// The number and time of the last frame of depth that came out of the filters.
    last: Option<(u64, u64)>,
}

/// A filter.
enum FilterBlock {
    /// It takes a frame.
    Plain(Block),
    /// It takes a composed frame.
    Composed(FrameSetBlock),
}

impl Chain {
    /// Creates the blocks; refuses options that a filter does not have, or invalid values. `recommended` is the order of
    /// filters that the device recommends. It needs no camera.
    pub(crate) fn new(processing: &Processing, recommended: &[FilterKind]) -> Result<Self, DriverError> {
        let mut chain = Self {
            blocks: Vec::new(),
            magnitudes: Vec::new(),
            align: None,
            rotation: Rotation::default(),
            last: None,
        };
        for step in processing.filters.steps(recommended) {
            chain.add(&step)?;
        }
        if let Some(align) = processing.align {
            let aligner = FrameSetBlock::align(align == Align::ColorToDepth);
            chain.align = Some((align, aligner.map_err(|fault| cannot_be_made("align", &fault))?));
        }
        Ok(chain)
    }

    fn add(&mut self, (filter, settings): &Step) -> Result<(), DriverError> {
        let name = filter.name();
        if *filter == FilterKind::Rotation {
            self.rotation = Rotation::of(settings);
            return Ok(());
        }
        let Some(kind) = block_kind(*filter) else {
            let merge = FrameSetBlock::hdr_merge().map_err(|fault| cannot_be_made(name, &fault))?;
            self.blocks.push(FilterBlock::Composed(merge));
            return Ok(());
        };
        let block = Block::new(kind).map_err(|fault| cannot_be_made(name, &fault))?;
        set(name, &block, settings)?;
        if kind == BlockKind::Decimation {
            let magnitude = block.options().get(OptionKind::FILTER_MAGNITUDE);
            self.magnitudes.push(magnitude.map_err(|fault| cannot_be_made(name, &fault))? as u32);
        }
        self.blocks.push(FilterBlock::Plain(block));
        Ok(())
    }

    /// Returns the stream whose viewpoint the others' positions refer to: that of the processed depth.
    pub(crate) fn place_of_depth(&self) -> Stream {
        match self.align {
            Some((Align::DepthToColor, _)) => Stream::COLOR,
            _ => Stream::DEPTH,
        }
    }

    /// Updates the descriptions of `streams` to the processed frames.
    pub(crate) fn update(&self, streams: &mut [StreamInfo]) {
        let find = |streams: &[StreamInfo], stream| streams.iter().position(|own| own.stream == stream);
        let Some(depth) = find(streams, Stream::DEPTH) else { return };
        self.magnitudes.iter().for_each(|&magnitude| decimate(&mut streams[depth], magnitude));
        self.rotation.update(streams, depth);
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
    /// numbers. A frame for which a filter returns an earlier one again is dropped too.
    pub(crate) fn apply(&mut self, frames: Frames) -> Result<Frames, Fault> {
        if self.blocks.is_empty() && self.align.is_none() && self.rotation.is_none() {
            return Ok(frames);
        }
        let (mut depth, mut color, mut rest) = (None, None, Frames::new());
        for (header, pixels) in frames {
            match header.stream {
                Stream::DEPTH => depth = pixels.into_raw(),
                Stream::COLOR if self.align.is_some() => color = pixels.into_raw(),
                _ => rest.push((header, pixels)),
            }
        }
        let depth = depth.map(|frame| self.filter(frame)).transpose()?.flatten();
        let done: ArrayVec<RawFrame, MAX_FRAMES> = match (&self.align, depth, color) {
            (Some((_, aligner)), Some(depth), Some(color)) => aligner.process(depth, Some(color))?,
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
            let frame = (header, image.into_pixels());
            rest.push(if stream == Stream::DEPTH { self.rotation.apply(frame) } else { frame });
        }
        rest.sort_by_key(|(header, _)| header.stream);
        Ok(rest)
    }

    /// Returns the filtered frame of depth; `None` if a filter returned an earlier one again.
    fn filter(&mut self, mut frame: RawFrame) -> Result<Option<RawFrame>, Fault> {
        for block in &self.blocks {
            frame = match block {
                FilterBlock::Plain(block) => block.process(frame)?,
                FilterBlock::Composed(block) => {
                    let is_depth = |frame: &RawFrame| {
                        frame.stream().is_some_and(|(kind, _)| kind == rs2::rs2_stream_RS2_STREAM_DEPTH)
                    };
                    let depth = block.process(frame, None)?.into_iter().find(is_depth);
                    depth.ok_or_else(|| Fault::new("a filter returned no frame"))?
                }
            };
        }
        // A camera that does not count sends new frames with equal numbers.
        let last = self.last.replace(frame.number_and_time()?);
        Ok((last != self.last).then_some(frame))
    }
}

/// Returns the block of a filter; `None` for those that are not a plain block of librealsense.
fn block_kind(filter: FilterKind) -> Option<BlockKind> {
    Some(match filter {
        FilterKind::Decimation => BlockKind::Decimation,
        FilterKind::SequenceId => BlockKind::SequenceId,
        FilterKind::Threshold => BlockKind::Threshold,
        FilterKind::DepthToDisparity => BlockKind::DepthToDisparity,
        FilterKind::Spatial => BlockKind::Spatial,
        FilterKind::Temporal => BlockKind::Temporal,
        FilterKind::HoleFilling => BlockKind::HoleFilling,
        FilterKind::DisparityToDepth => BlockKind::DisparityToDepth,
        FilterKind::HdrMerge | FilterKind::Rotation => return None,
    })
}

/// Returns whether this driver sets an option of a filter itself: the frames that it is applied to, and the number of results
/// that it may hold.
pub(crate) fn is_internal(kind: OptionKind) -> bool {
    kind.name().starts_with("stream_") || kind.name() == "frames_queue_size"
}

fn set(
    filter: &str,
    block: &Block,
    settings: &std::collections::BTreeMap<String, Setting>,
) -> Result<(), DriverError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_have_the_options_of_the_library() {
        for filter in FilterKind::ALL {
            let Some(kind) = block_kind(filter) else { continue };
            let known = filter.options();
            let block = Block::new(kind).unwrap();
            assert_eq!(block.name(), filter.block_name());
            let options = block.options();
            let kinds = options.kinds().unwrap().into_iter().filter(|kind| !is_internal(*kind));
            let found = kinds.map(|kind| {
                let range = options.range(kind).unwrap();
                let values =
                    (0..=range.max as u32).filter_map(|value| options.value_name(kind, value as f32));
                (kind.name(), range.min, range.max, range.step, values.collect::<Vec<_>>())
            });
            let known = known.iter().map(|it| {
                let values = it.values.iter().map(|&value| value.to_owned());
                (it.name.to_owned(), it.min, it.max, it.step, values.collect::<Vec<_>>())
            });
            assert_eq!(found.collect::<Vec<_>>(), known.collect::<Vec<_>>(), "{kind:?}");
        }
    }
}
