//! Where the pixels of each frame lie in the memory of a frameset.
//!
//! Both ends of a link compute the layout from the headers, so no offset ever travels and none can be wrong.

use std::ops::Range;

use arrayvec::ArrayVec;

use crate::{FrameHeader, MAX_FRAMES, MAX_SIDE_PIXELS, Stream};

/// Each frame starts at a multiple of this, so that rows can be read with the widest loads.
pub const FRAME_ALIGN_BYTES: usize = 64;

/// The most pixels, in bytes, that one frameset can hold: 256 MiB.
pub const MAX_FRAMESET_BYTES: usize = 256 << 20;

/// The byte range of each frame's pixels, in the order of the headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    ranges: ArrayVec<Range<usize>, MAX_FRAMES>,
    size_bytes: usize,
}

impl Layout {
    /// Lays out `frames` one behind the other, each aligned to [`FRAME_ALIGN_BYTES`].
    ///
    /// # Errors
    /// When a header contradicts itself (a side of zero or beyond [`MAX_SIDE_PIXELS`], a stride shorter
    /// than a row or longer than two, a stream twice), or all together exceed [`MAX_FRAMESET_BYTES`].
    pub fn of(frames: &[FrameHeader]) -> Result<Self, LayoutError> {
        let mut ranges = ArrayVec::new();
        let mut end = 0;
        for (index, frame) in frames.iter().enumerate() {
            if frames[..index].iter().any(|other| other.stream == frame.stream) {
                return Err(LayoutError::Twice(frame.stream));
            }
            let sides = 1..=MAX_SIDE_PIXELS;
            let row_bytes = frame.width.saturating_mul(frame.format.bytes_per_pixel());
            if !sides.contains(&frame.width) || !sides.contains(&frame.height) {
                return Err(LayoutError::Size(frame.stream, frame.width, frame.height));
            }
            if frame.stride_bytes < row_bytes || frame.stride_bytes > row_bytes.saturating_mul(2) {
                return Err(LayoutError::Stride(frame.stream, frame.stride_bytes, row_bytes));
            }
            let start = usize::next_multiple_of(end, FRAME_ALIGN_BYTES);
            // At most 2^13 rows of 2^18 bytes each: no overflow.
            end = start + frame.size_bytes() as usize;
            if end > MAX_FRAMESET_BYTES {
                return Err(LayoutError::TooLarge);
            }
            ranges.push(start..end);
        }
        Ok(Self { ranges, size_bytes: end })
    }

    /// The bytes that all frames take together.
    pub fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    /// Where the pixels of the frame at `index` lie.
    ///
    /// # Panics
    /// When there is no such frame.
    pub fn range(&self, index: usize) -> Range<usize> {
        self.ranges[index].clone()
    }
}

/// Why headers are not those of a frameset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A stream occurs twice.
    #[error("stream `{0}` occurs twice in one frameset")]
    Twice(Stream),
    /// A side is zero or too long.
    #[error("the {0} frame has {1}x{2} pixels; each side is 1 to {MAX_SIDE_PIXELS}")]
    Size(Stream, u32, u32),
    /// The stride does not fit the width.
    #[error("the {0} frame has a stride of {1} bytes; a row has {2}, and at most that again of padding")]
    Stride(Stream, u32, u32),
    /// All frames together are too large.
    #[error("the frameset is larger than {} MiB", MAX_FRAMESET_BYTES >> 20)]
    TooLarge,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clock, Metadata, PixelFormat, Timestamp};

    fn frame(stream: Stream, format: PixelFormat, width: u32, height: u32) -> FrameHeader {
        FrameHeader {
            stream,
            format,
            width,
            height,
            stride_bytes: width * format.bytes_per_pixel(),
            number: 0,
            timestamp: Timestamp { clock: Clock::Hardware, nanos: 0 },
            metadata: Metadata::EMPTY,
        }
    }

    #[test]
    fn frames_lie_behind_each_other_aligned() {
        let color = frame(Stream::Color, PixelFormat::Rgb8, 5, 3);
        let depth = frame(Stream::Depth, PixelFormat::Z16, 4, 2);
        let layout = Layout::of(&[color, depth]).unwrap();
        assert_eq!((layout.range(0), layout.range(1), layout.size_bytes()), (0..45, 64..80, 80));
        assert_eq!(Layout::of(&[]).unwrap().size_bytes(), 0);
    }

    #[test]
    fn headers_that_contradict_themselves_are_refused() {
        let depth = frame(Stream::Depth, PixelFormat::Z16, 4, 2);
        let large = frame(Stream::Color, PixelFormat::Rgb8, 8192, 8192);
        for (frames, error) in [
            (vec![depth, depth], LayoutError::Twice(Stream::Depth)),
            (vec![FrameHeader { width: 0, ..depth }], LayoutError::Size(Stream::Depth, 0, 2)),
            (vec![FrameHeader { height: u32::MAX, ..depth }], LayoutError::Size(Stream::Depth, 4, u32::MAX)),
            (vec![FrameHeader { stride_bytes: 7, ..depth }], LayoutError::Stride(Stream::Depth, 7, 8)),
            (vec![FrameHeader { stride_bytes: 17, ..depth }], LayoutError::Stride(Stream::Depth, 17, 8)),
            (vec![large, FrameHeader { stream: Stream::Infrared1, ..large }], LayoutError::TooLarge),
        ] {
            assert_eq!(Layout::of(&frames), Err(error));
        }
    }
}
