//! Pixels with their meaning: depth in metres, color as red, green and blue.

use std::fmt;

use crate::{FrameHeader, Intrinsics, PixelFormat, Stream};

/// One image of one stream: a header and borrowed pixels.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    header: &'a FrameHeader,
    pixels: &'a [u8],
}

impl<'a> Frame<'a> {
    /// A frame of `pixels`, rows of `header.stride_bytes` from the top.
    ///
    /// # Panics
    /// When `pixels` is not exactly as long as `header` says.
    pub fn new(header: &'a FrameHeader, pixels: &'a [u8]) -> Self {
        assert_eq!(pixels.len() as u64, header.size_bytes(), "pixels of the {} frame", header.stream);
        Self { header, pixels }
    }

    /// Everything but the pixels.
    pub fn header(&self) -> &'a FrameHeader {
        self.header
    }

    /// Which stream it belongs to.
    pub fn stream(&self) -> Stream {
        self.header.stream
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.header.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.header.height
    }

    /// All bytes, rows with their padding.
    pub fn bytes(&self) -> &'a [u8] {
        self.pixels
    }

    /// The rows from the top, without padding.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let row_bytes = (self.header.width * self.header.format.bytes_per_pixel()) as usize;
        self.pixels.chunks_exact(self.header.stride_bytes as usize).map(move |row| &row[..row_bytes])
    }

    /// The bytes of the pixel in column `x` and row `y`; none outside the image.
    fn pixel(&self, x: u32, y: u32) -> Option<&'a [u8]> {
        if x >= self.header.width || y >= self.header.height {
            return None;
        }
        let size = self.header.format.bytes_per_pixel() as usize;
        let start = y as usize * self.header.stride_bytes as usize + x as usize * size;
        self.pixels.get(start..start + size)
    }
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("stream", &self.header.stream.name())
            .field("number", &self.header.number)
            .finish_non_exhaustive()
    }
}

/// A depth frame, in metres.
#[derive(Clone, Copy, Debug)]
pub struct DepthView<'a> {
    frame: Frame<'a>,
    unit_meters: f32,
    intrinsics: Option<&'a Intrinsics>,
}

impl<'a> DepthView<'a> {
    /// Depth with its unit; none when the frame is not [`PixelFormat::Z16`].
    pub fn new(frame: Frame<'a>, unit_meters: f32, intrinsics: Option<&'a Intrinsics>) -> Option<Self> {
        (frame.header.format == PixelFormat::Z16).then_some(Self { frame, unit_meters, intrinsics })
    }

    /// The frame itself.
    pub fn frame(&self) -> Frame<'a> {
        self.frame
    }

    /// Metres in one unit of depth.
    pub fn unit_meters(&self) -> f32 {
        self.unit_meters
    }

    /// The pinhole model, where the camera tells it.
    pub fn intrinsics(&self) -> Option<&'a Intrinsics> {
        self.intrinsics
    }

    /// The depth at column `x` and row `y` in depth units: 0 where there is none; none outside the image.
    pub fn units(&self, x: u32, y: u32) -> Option<u16> {
        self.frame.pixel(x, y).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    /// The depth at column `x` and row `y` in metres along the optical axis; none where there is none.
    pub fn meters(&self, x: u32, y: u32) -> Option<f32> {
        self.units(x, y).filter(|&units| units != 0).map(|units| f32::from(units) * self.unit_meters)
    }

    /// The depth in the middle of the image, in metres; none where there is none.
    pub fn center_meters(&self) -> Option<f32> {
        self.meters(self.frame.width() / 2, self.frame.height() / 2)
    }

    /// All depths in depth units, row by row.
    pub fn iter_units(&self) -> impl Iterator<Item = u16> + use<'a> {
        self.frame
            .rows()
            .flat_map(|row| row.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])))
    }
}

/// A color frame, whatever its format, as red, green and blue.
#[derive(Clone, Copy, Debug)]
pub struct ColorView<'a> {
    frame: Frame<'a>,
}

impl<'a> ColorView<'a> {
    /// Color of any format; none when the frame is no image of light.
    pub fn new(frame: Frame<'a>) -> Option<Self> {
        let light =
            !matches!(frame.header.format, PixelFormat::Z16 | PixelFormat::Xyzrgb | PixelFormat::Motion);
        light.then_some(Self { frame })
    }

    /// The frame itself.
    pub fn frame(&self) -> Frame<'a> {
        self.frame
    }

    /// Red, green and blue at column `x` and row `y`; none outside the image.
    pub fn rgb(&self, x: u32, y: u32) -> Option<[u8; 3]> {
        let bytes = self.frame.pixel(x, y)?;
        Some(match self.frame.header.format {
            PixelFormat::Rgb8 => [bytes[0], bytes[1], bytes[2]],
            PixelFormat::Bgr8 => [bytes[2], bytes[1], bytes[0]],
            PixelFormat::Yuyv => {
                // Chroma is shared by a pair: its first pixel carries U, its second V.
                let (even, odd) = (self.frame.pixel(x & !1, y)?, self.frame.pixel(x | 1, y));
                yuv_to_rgb(bytes[0], even[1], odd.map_or(128, |pixel| pixel[1]))
            }
            PixelFormat::Y8 | PixelFormat::Z16 | PixelFormat::Xyzrgb | PixelFormat::Motion => [bytes[0]; 3],
        })
    }

    /// The whole image as RGB8, 3 bytes a pixel, row by row without padding.
    pub fn to_rgb8(&self) -> Vec<u8> {
        let (width, height) = (self.frame.width(), self.frame.height());
        let mut rgb = Vec::with_capacity(width as usize * height as usize * 3);
        match self.frame.header.format {
            PixelFormat::Rgb8 => self.frame.rows().for_each(|row| rgb.extend_from_slice(row)),
            PixelFormat::Bgr8 => self
                .frame
                .rows()
                .flat_map(|row| row.chunks_exact(3))
                .for_each(|bgr| rgb.extend([bgr[2], bgr[1], bgr[0]])),
            PixelFormat::Y8 => self.frame.rows().flatten().for_each(|&luminance| rgb.extend([luminance; 3])),
            PixelFormat::Yuyv | PixelFormat::Z16 | PixelFormat::Xyzrgb | PixelFormat::Motion => rgb.extend(
                (0..height)
                    .flat_map(|y| (0..width).map(move |x| (x, y)))
                    .filter_map(|(x, y)| self.rgb(x, y))
                    .flatten(),
            ),
        }
        rgb
    }
}

/// BT.601, video range, as librealsense unpacks YUYV (ITU-R BT.601-7, 8-bit, fixed point as in many codecs).
fn yuv_to_rgb(y: u8, u: u8, v: u8) -> [u8; 3] {
    let (luma, blue, red) = (298 * (i32::from(y) - 16) + 128, i32::from(u) - 128, i32::from(v) - 128);
    [luma + 409 * red, luma - 100 * blue - 208 * red, luma + 516 * blue]
        .map(|channel| (channel >> 8).clamp(0, 255) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clock, Metadata, Timestamp};

    fn header(
        stream: Stream,
        format: PixelFormat,
        width: u32,
        height: u32,
        stride_bytes: u32,
    ) -> FrameHeader {
        FrameHeader {
            stream,
            format,
            width,
            height,
            stride_bytes,
            number: 7,
            timestamp: Timestamp { clock: Clock::Hardware, nanos: 0 },
            metadata: Metadata::EMPTY,
        }
    }

    #[test]
    fn depth_is_metric_and_zero_means_none() {
        let header = header(Stream::Depth, PixelFormat::Z16, 2, 2, 6);
        let pixels = [0, 0, 0xb8, 0x0b, 9, 9, 1, 0, 0xff, 0xff, 9, 9];
        let depth = DepthView::new(Frame::new(&header, &pixels), 0.0001, None).unwrap();
        assert_eq!(depth.meters(0, 0), None);
        assert!((depth.meters(1, 0).unwrap() - 0.3).abs() < 1e-6);
        assert_eq!(depth.units(1, 1), Some(65535));
        assert_eq!(depth.units(2, 0), None);
        assert_eq!(depth.iter_units().collect::<Vec<_>>(), [0, 3000, 1, 65535]);
        assert_eq!(format!("{:?}", depth.frame()), r#"Frame { stream: "depth", number: 7, .. }"#);
    }

    #[test]
    fn every_color_format_gives_the_same_rgb() {
        let image =
            [(PixelFormat::Rgb8, vec![1, 2, 3, 4, 5, 6]), (PixelFormat::Bgr8, vec![3, 2, 1, 6, 5, 4])];
        for (format, pixels) in image {
            let header = header(Stream::Color, format, 2, 1, 6);
            let color = ColorView::new(Frame::new(&header, &pixels)).unwrap();
            assert_eq!((color.rgb(0, 0), color.rgb(1, 0)), (Some([1, 2, 3]), Some([4, 5, 6])));
            assert_eq!(color.to_rgb8(), [1, 2, 3, 4, 5, 6]);
        }
        // BT.601's own reference points: black, white and full red.
        let header = header(Stream::Color, PixelFormat::Yuyv, 4, 1, 8);
        let color = [16, 128, 235, 128, 81, 90, 81, 240];
        let color = ColorView::new(Frame::new(&header, &color)).unwrap();
        assert_eq!(color.to_rgb8(), [0, 0, 0, 255, 255, 255, 255, 0, 0, 255, 0, 0]);
    }
}
