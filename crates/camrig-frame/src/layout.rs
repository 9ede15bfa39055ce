//! Location of each frame's content in the memory of a frameset.
//!
//! Both ends of a link compute the layout from the headers: offsets are never transferred, so they cannot be wrong.

use std::ops::Range;

use arrayvec::ArrayVec;

use crate::{FrameHeader, MAX_FRAMES, MAX_SIDE_PIXELS, Payload, Stream};

/// Alignment of each frame's content, for the widest vector loads.
pub const FRAME_ALIGN_BYTES: usize = 64;

/// Maximum total content of one frameset in bytes: 256 MiB.
pub const MAX_FRAMESET_BYTES: usize = 256 << 20;

/// The byte range of each frame's content, in the order of the headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    ranges: ArrayVec<Range<usize>, MAX_FRAMES>,
    size_bytes: usize,
}

impl Layout {
    /// Lays out `frames` consecutively, each aligned to [`FRAME_ALIGN_BYTES`].
    ///
    /// # Errors
    /// If a header is inconsistent (a side of zero or above [`MAX_SIDE_PIXELS`], a stride shorter than a row or
    /// longer than two, a duplicate stream), there are more than [`MAX_FRAMES`], or the total size exceeds
    /// [`MAX_FRAMESET_BYTES`].
    pub fn of(frames: &[FrameHeader]) -> Result<Self, LayoutError> {
        let mut ranges = ArrayVec::new();
        let mut end = 0;
        for (index, frame) in frames.iter().enumerate() {
            if frames[..index].iter().any(|other| other.stream == frame.stream) {
                return Err(LayoutError::Twice(frame.stream));
            }
            check(frame.stream, &frame.payload)?;
            let start = usize::next_multiple_of(end, FRAME_ALIGN_BYTES);
            let size_bytes = usize::try_from(frame.size_bytes()).map_err(|_| LayoutError::TooLarge)?;
            end = start.saturating_add(size_bytes);
            if end > MAX_FRAMESET_BYTES {
                return Err(LayoutError::TooLarge);
            }
            ranges.try_push(start..end).map_err(|_| LayoutError::TooMany)?;
        }
        Ok(Self { ranges, size_bytes: end })
    }

    /// Returns the total size of all frames in bytes.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Returns the range of the content of the frame at `index`.
    ///
    /// # Panics
    /// If the index is out of range.
    pub fn range(&self, index: usize) -> Range<usize> {
        self.ranges[index].clone()
    }
}

/// Checks that the sides and rows of a payload are valid.
fn check(stream: Stream, payload: &Payload) -> Result<(), LayoutError> {
    let sides = 1..=MAX_SIDE_PIXELS;
    if let Some((width, height)) = payload.size()
        && !(sides.contains(&width) && sides.contains(&height))
    {
        return Err(LayoutError::Size(stream, width, height));
    }
    if let (Some(stride_bytes), Some(row_bytes)) = (payload.stride_bytes(), payload.row_bytes())
        && !(row_bytes..=row_bytes.saturating_mul(2)).contains(&stride_bytes)
    {
        return Err(LayoutError::Stride(stream, stride_bytes, row_bytes));
    }
    Ok(())
}

/// Headers that do not form a valid frameset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A stream occurs twice.
    #[error("stream `{0}` occurs twice in one frameset")]
    Twice(Stream),
    /// A side is zero or too long.
    #[error("the {0} frame has {1}x{2} pixels; each side must be 1 to {MAX_SIDE_PIXELS}")]
    Size(Stream, u32, u32),
    /// The stride does not match the width.
    #[error("the {0} frame has a stride of {1} bytes; a row has {2}, and at most that again of padding")]
    Stride(Stream, u32, u32),
    /// There are too many frames.
    #[error("a frameset has at most {MAX_FRAMES} frames")]
    TooMany,
    /// The total size is too large.
    #[error("the frameset is larger than {} MiB", MAX_FRAMESET_BYTES >> 20)]
    TooLarge,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, PixelFormat, Shape};

    fn frame(stream: Stream, format: PixelFormat, width: u32, height: u32) -> FrameHeader {
        FrameHeader::image(stream, format, width, height)
    }

    #[test]
    fn frames_are_consecutive_and_aligned() {
        let color = frame(Stream::COLOR, PixelFormat::Rgb8, 5, 3);
        let depth = frame(Stream::DEPTH, PixelFormat::Z16, 4, 2);
        let shape = Shape::new(&[3, 0]).unwrap();
        let empty = FrameHeader::new(Stream::POINTS, Payload::Tensor { dtype: DType::F32, shape });
        let layout = Layout::of(&[color, empty, depth]).unwrap();
        assert_eq!((layout.range(0), layout.range(1), layout.range(2)), (0..45, 64..64, 64..80));
        assert_eq!(layout.size_bytes(), 80);
        assert_eq!(Layout::of(&[]).unwrap().size_bytes(), 0);
    }

    #[test]
    fn headers_that_contradict_themselves_are_refused() {
        let with = |width, height, stride_bytes| {
            let payload = Payload::Image { format: PixelFormat::Z16, width, height, stride_bytes };
            FrameHeader::new(Stream::DEPTH, payload)
        };
        let depth = with(4, 2, 8);
        let large = frame(Stream::COLOR, PixelFormat::Rgb8, 8192, 8192);
        let tensor = |lengths: &[u32]| {
            let shape = Shape::new(lengths).unwrap();
            FrameHeader::new(Stream::DEPTH, Payload::Tensor { dtype: DType::F64, shape })
        };
        let named =
            |index: usize| FrameHeader { stream: Stream::new(&format!("s-{index}")).unwrap(), ..depth };
        for (frames, error) in [
            (vec![depth, depth], LayoutError::Twice(Stream::DEPTH)),
            (vec![with(0, 2, 8)], LayoutError::Size(Stream::DEPTH, 0, 2)),
            (vec![with(4, u32::MAX, 8)], LayoutError::Size(Stream::DEPTH, 4, u32::MAX)),
            (vec![depth.with_samples(0)], LayoutError::Size(Stream::DEPTH, 0, 1)),
            (vec![with(4, 2, 7)], LayoutError::Stride(Stream::DEPTH, 7, 8)),
            (vec![with(4, 2, 17)], LayoutError::Stride(Stream::DEPTH, 17, 8)),
            (vec![large, FrameHeader { stream: Stream::INFRARED_1, ..large }], LayoutError::TooLarge),
            (vec![tensor(&[u32::MAX, u32::MAX])], LayoutError::TooLarge),
            (vec![tensor(&[u32::MAX, u32::MAX, u32::MAX])], LayoutError::TooLarge),
            ((0..=MAX_FRAMES).map(named).collect(), LayoutError::TooMany),
        ] {
            assert_eq!(Layout::of(&frames), Err(error));
        }
    }
}
