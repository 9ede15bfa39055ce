//! Typed views of frames: depth in metres, color as red, green and blue, tensors, messages.

use std::borrow::Cow;
use std::fmt;

use crate::format::Light;
use crate::sum::sum;
use crate::{
    DType, Encoding, FrameHeader, Intrinsics, Payload, PixelFormat, Role, SchemaName, Shape, Stream, yuv422,
};

/// Location of a frame's content. All access to content goes through this type, so that another kind of memory only
/// needs another variant.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Memory<'a> {
    /// Memory of this host.
    Host(&'a [u8]),
}

impl<'a> Memory<'a> {
    /// Returns the bytes, as readable by this host.
    pub fn bytes(self) -> &'a [u8] {
        let Self::Host(bytes) = self;
        bytes
    }
}

impl<'a> From<&'a [u8]> for Memory<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Host(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Memory<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Self::Host(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Memory<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Host(bytes)
    }
}

/// One frame of one stream: a header and borrowed content.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    header: &'a FrameHeader,
    memory: Memory<'a>,
}

/// A header and content that do not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {stream} frame has {found} bytes; its header declares {expected}")]
pub struct FrameError {
    stream: Stream,
    found: usize,
    expected: u64,
}

impl<'a> Frame<'a> {
    /// Creates a frame with this content.
    ///
    /// # Errors
    /// If the length of the content differs from the size given by `header`.
    pub fn new(header: &'a FrameHeader, memory: impl Into<Memory<'a>>) -> Result<Self, FrameError> {
        let memory = memory.into();
        let (found, expected) = (memory.bytes().len(), header.size_bytes());
        if found as u64 == expected {
            Ok(Self { header, memory })
        } else {
            Err(FrameError { stream: header.stream, found, expected })
        }
    }

    /// Returns the header.
    pub fn header(&self) -> &'a FrameHeader {
        self.header
    }

    /// Returns the stream.
    pub fn stream(&self) -> Stream {
        self.header.stream
    }

    /// Returns the role.
    pub fn role(&self) -> Role {
        self.header.role
    }

    /// Returns type and layout of the content.
    pub fn payload(&self) -> &'a Payload {
        &self.header.payload
    }

    /// Returns the width in pixels, points or samples; 0 for tensors and messages.
    pub fn width(&self) -> u32 {
        self.header.payload.size().map_or(0, |(width, _)| width)
    }

    /// Returns the height in pixels or rows; 0 for tensors and messages.
    pub fn height(&self) -> u32 {
        self.header.payload.size().map_or(0, |(_, height)| height)
    }

    /// Returns the location of the content.
    pub fn memory(&self) -> Memory<'a> {
        self.memory
    }

    /// Returns the content, including row padding.
    pub fn bytes(&self) -> &'a [u8] {
        self.memory.bytes()
    }

    /// Returns the rows from the top, without padding, of an image, points or motion; otherwise the whole content
    /// as one row.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let payload = &self.header.payload;
        let all = self.bytes().len().max(1);
        let size = |bytes: Option<u32>| bytes.map_or(all, |bytes| bytes as usize);
        let row_bytes = size(payload.row_bytes());
        self.bytes()
            .chunks_exact(size(payload.stride_bytes()).max(1))
            .map(move |row| &row[..row_bytes.min(row.len())])
    }

    /// Returns the sum of all bytes of the content, including row padding.
    pub fn sum(&self) -> u64 {
        sum(self.bytes())
    }

    /// Returns the bytes of an image's pixel in column `x` and row `y`; `None` outside the image.
    fn pixel(&self, x: u32, y: u32) -> Option<&'a [u8]> {
        let Payload::Image { format, width, height, stride_bytes } = self.header.payload else { return None };
        if x >= width || y >= height {
            return None;
        }
        let size = format.bytes_per_pixel() as usize;
        let start = y as usize * stride_bytes as usize + x as usize * size;
        self.bytes().get(start..start + size)
    }
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("stream", &self.header.stream)
            .field("number", &self.header.number)
            .finish_non_exhaustive()
    }
}

/// A depth frame, in metres.
#[derive(Clone, Copy, Debug)]
pub struct DepthView<'a> {
    frame: Frame<'a>,
    format: PixelFormat,
    unit_meters: f32,
    intrinsics: Option<&'a Intrinsics>,
}

impl<'a> DepthView<'a> {
    /// Creates a view with this depth unit; returns `None` if the frame is not a depth image.
    pub fn new(frame: Frame<'a>, unit_meters: f32, intrinsics: Option<&'a Intrinsics>) -> Option<Self> {
        let format = frame.payload().pixel_format().filter(|format| format.role() == Role::Depth)?;
        Some(Self { frame, format, unit_meters, intrinsics })
    }

    /// Returns the underlying frame.
    pub fn frame(&self) -> Frame<'a> {
        self.frame
    }

    /// Returns the depth unit in metres.
    pub fn unit_meters(&self) -> f32 {
        self.unit_meters
    }

    /// Returns the pinhole model, if the camera reports it.
    pub fn intrinsics(&self) -> Option<&'a Intrinsics> {
        self.intrinsics
    }

    /// Returns the depth at column `x` and row `y` in depth units; 0 means no depth, `None` outside the image.
    /// Depth in metres is rounded to the nearest unit.
    pub fn units(&self, x: u32, y: u32) -> Option<u16> {
        self.frame.pixel(x, y).map(|bytes| self.units_of(bytes))
    }

    /// Returns the depth at column `x` and row `y` in metres along the optical axis; `None` outside the image or
    /// without depth.
    pub fn meters(&self, x: u32, y: u32) -> Option<f32> {
        self.frame.pixel(x, y).and_then(|bytes| self.meters_of(bytes))
    }

    /// Returns the depth at the center of the image in metres; `None` without depth.
    pub fn center_meters(&self) -> Option<f32> {
        self.meters(self.frame.width() / 2, self.frame.height() / 2)
    }

    /// Iterates over all depths in depth units, row by row, like [`Self::units`].
    pub fn iter_units(&self) -> impl Iterator<Item = u16> + use<'a> {
        let view = *self;
        self.pixels().map(move |bytes| view.units_of(bytes))
    }

    /// Iterates over all depths in metres, row by row; `None` for pixels without depth.
    pub fn iter_meters(&self) -> impl Iterator<Item = Option<f32>> + use<'a> {
        let view = *self;
        self.pixels().map(move |bytes| view.meters_of(bytes))
    }

    /// Returns all depths in metres, row by row; 0 for pixels without depth.
    pub fn to_meters(&self) -> Vec<f32> {
        let mut meters = Vec::with_capacity(self.frame.width() as usize * self.frame.height() as usize);
        if self.format == PixelFormat::Z16 {
            for row in self.frame.rows() {
                // Without depth, 0 units are 0 metres.
                let units = row.as_chunks().0.iter().copied().map(u16::from_le_bytes);
                meters.extend(units.map(|units| f32::from(units) * self.unit_meters));
            }
        } else {
            self.rows_meters().for_each(|row| meters.extend(row.map(Option::unwrap_or_default)));
        }
        meters
    }

    /// Returns the depth of each pixel in units, row by row; 0 without depth.
    pub(crate) fn to_units(self) -> Vec<u16> {
        if self.format != PixelFormat::Z16 {
            return self.iter_units().collect();
        }
        let mut units = Vec::with_capacity(self.frame.width() as usize * self.frame.height() as usize);
        for row in self.frame.rows() {
            units.extend(row.as_chunks().0.iter().copied().map(u16::from_le_bytes));
        }
        units
    }

    /// Iterates over the rows, and over the depths of each in metres; `None` for pixels without depth.
    pub(crate) fn rows_meters(
        &self,
    ) -> impl Iterator<Item = impl Iterator<Item = Option<f32>> + use<'a>> + use<'a> {
        let view = *self;
        let size = self.format.bytes_per_pixel() as usize;
        self.frame.rows().map(move |row| row.chunks_exact(size).map(move |bytes| view.meters_of(bytes)))
    }

    fn pixels(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let size = self.format.bytes_per_pixel() as usize;
        self.frame.rows().flat_map(move |row| row.chunks_exact(size))
    }

    fn units_of(&self, bytes: &[u8]) -> u16 {
        match *bytes {
            [low, high] => u16::from_le_bytes([low, high]),
            // The cast saturates.
            [a, b, c, d] => (f32::from_le_bytes([a, b, c, d]) / self.unit_meters).round() as u16,
            _ => 0,
        }
    }

    fn meters_of(&self, bytes: &[u8]) -> Option<f32> {
        if let [a, b, c, d] = *bytes {
            return Some(f32::from_le_bytes([a, b, c, d])).filter(|meters| *meters > 0.0);
        }
        let units = self.units_of(bytes);
        (units != 0).then(|| f32::from(units) * self.unit_meters)
    }
}

/// A color frame of any format, as red, green and blue.
#[derive(Clone, Copy, Debug)]
pub struct ColorView<'a> {
    frame: Frame<'a>,
    format: PixelFormat,
}

impl<'a> ColorView<'a> {
    /// Creates a view; returns `None` if the frame is not a light image.
    pub fn new(frame: Frame<'a>) -> Option<Self> {
        let format = frame.payload().pixel_format().filter(|format| format.is_light())?;
        Some(Self { frame, format })
    }

    /// Returns the underlying frame.
    pub fn frame(&self) -> Frame<'a> {
        self.frame
    }

    /// Returns the pixel format.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// Returns red, green and blue at column `x` and row `y`; `None` outside the image.
    pub fn rgb(&self, x: u32, y: u32) -> Option<[u8; 3]> {
        // Chroma is shared by a pair: its first pixel carries U, its second V.
        let pair = || Some((self.frame.pixel(x & !1, y)?, self.frame.pixel(x | 1, y)));
        self.format.decode_rgb(self.frame.pixel(x, y)?, pair)
    }

    /// Returns the whole image as RGB8, and the bytes from one row to the next: without a copy if it is RGB8 already.
    pub(crate) fn rgb8(&self) -> (Cow<'a, [u8]>, u32) {
        match self.frame.payload().stride_bytes() {
            Some(stride) if self.format == PixelFormat::Rgb8 => (self.frame.bytes().into(), stride),
            _ => (self.to_rgb8().into(), 3 * self.frame.width()),
        }
    }

    /// Converts the whole image to RGB8, 3 bytes per pixel, row by row without padding.
    pub fn to_rgb8(&self) -> Vec<u8> {
        let (width, height) = (self.frame.width() as usize, self.frame.height() as usize);
        let size = self.format.bytes_per_pixel() as usize;
        let pixels = || self.frame.rows().flat_map(|row| row.chunks_exact(size));
        let mut rgb = Vec::with_capacity(width * height * 3);
        match self.format.light() {
            Some(Light::Rgb(_)) if self.format == PixelFormat::Rgb8 => {
                self.frame.rows().for_each(|row| rgb.extend_from_slice(row));
            }
            Some(Light::Rgb(order)) => {
                pixels().for_each(|pixel| rgb.extend(order.map(|channel| pixel[channel])));
            }
            Some(Light::Luminance(at)) => pixels().for_each(|pixel| rgb.extend([pixel[at]; 3])),
            Some(Light::Yuv422(luma)) => yuv422::append_rgb8(self.frame.rows(), luma, &mut rgb),
            None => {}
        }
        rgb
    }
}

/// A tensor: a dense array, the last dimension contiguous.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    frame: Frame<'a>,
    dtype: DType,
    shape: &'a Shape,
}

impl<'a> TensorView<'a> {
    /// Creates a view; returns `None` if the payload is not [`Payload::Tensor`].
    pub fn new(frame: Frame<'a>) -> Option<Self> {
        let Payload::Tensor { dtype, shape } = frame.payload() else { return None };
        Some(Self { frame, dtype: *dtype, shape })
    }

    /// Returns the underlying frame.
    pub fn frame(&self) -> Frame<'a> {
        self.frame
    }

    /// Returns the element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Returns the length of each dimension.
    pub fn shape(&self) -> &'a [u32] {
        self.shape.lengths()
    }

    /// Returns the elements in little endian, the last dimension contiguous.
    pub fn bytes(&self) -> &'a [u8] {
        self.frame.bytes()
    }

    /// Iterates over the elements; `None` if they are not `f32`.
    pub fn iter_f32(&self) -> Option<impl ExactSizeIterator<Item = f32> + use<'a>> {
        let elements = self.bytes().as_chunks().0;
        (self.dtype == DType::F32).then(|| elements.iter().copied().map(f32::from_le_bytes))
    }

    /// Returns the bytes of the element at `index`, one position per dimension; `None` outside the tensor.
    pub fn element(&self, index: &[u32]) -> Option<&'a [u8]> {
        let lengths = self.shape();
        if index.len() != lengths.len() || index.iter().zip(lengths).any(|(at, length)| at >= length) {
            return None;
        }
        let at = index.iter().zip(lengths).fold(0, |at, (&own, &length)| at * length as usize + own as usize);
        let size = self.dtype.size_bytes() as usize;
        self.bytes().get(at * size..(at + 1) * size)
    }
}

/// A message: bytes with the name of their schema and their encoding.
#[derive(Clone, Copy, Debug)]
pub struct MessageView<'a> {
    frame: Frame<'a>,
    schema: &'a SchemaName,
    encoding: &'a Encoding,
}

impl<'a> MessageView<'a> {
    /// Creates a view; returns `None` if the payload is not [`Payload::Message`].
    pub fn new(frame: Frame<'a>) -> Option<Self> {
        let Payload::Message { schema, encoding, .. } = frame.payload() else { return None };
        Some(Self { frame, schema, encoding })
    }

    /// Returns the underlying frame.
    pub fn frame(&self) -> Frame<'a> {
        self.frame
    }

    /// Returns the name of the schema.
    pub fn schema(&self) -> &'a str {
        self.schema.as_str()
    }

    /// Returns the encoding, such as `json`.
    pub fn encoding(&self) -> &'a str {
        self.encoding.as_str()
    }

    /// Returns the encoded message.
    pub fn bytes(&self) -> &'a [u8] {
        self.frame.bytes()
    }

    /// Returns the message as text; `None` if it is not valid UTF-8.
    pub fn text(&self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{JSON, Name};

    fn header(
        stream: Stream,
        format: PixelFormat,
        width: u32,
        height: u32,
        stride_bytes: u32,
    ) -> FrameHeader {
        let payload = Payload::Image { format, width, height, stride_bytes };
        FrameHeader { number: 7, ..FrameHeader::new(stream, payload) }
    }

    #[test]
    fn depth_is_metric_and_zero_means_none() {
        let header = header(Stream::DEPTH, PixelFormat::Z16, 2, 2, 6);
        let pixels = [0, 0, 0xb8, 0x0b, 9, 9, 1, 0, 0xff, 0xff, 9, 9];
        let depth = DepthView::new(Frame::new(&header, &pixels).unwrap(), 0.0001, None).unwrap();
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
            let header = header(Stream::COLOR, format, 2, 1, 6);
            let color = ColorView::new(Frame::new(&header, &pixels).unwrap()).unwrap();
            assert_eq!((color.rgb(0, 0), color.rgb(1, 0)), (Some([1, 2, 3]), Some([4, 5, 6])));
            assert_eq!(color.to_rgb8(), [1, 2, 3, 4, 5, 6]);
        }
        // Reference values of BT.601: black, white and full red.
        let header = header(Stream::COLOR, PixelFormat::Yuyv, 4, 1, 8);
        let color = [16, 128, 235, 128, 81, 90, 81, 240];
        let color = ColorView::new(Frame::new(&header, &color).unwrap()).unwrap();
        assert_eq!(color.to_rgb8(), [0, 0, 0, 255, 255, 255, 255, 0, 0, 255, 0, 0]);
    }

    #[test]
    fn depth_in_metres_is_depth_too() {
        let header = header(Stream::DEPTH, PixelFormat::Distance, 3, 1, 12);
        let pixels = [0.0_f32, 1.25, 1e9].map(f32::to_le_bytes).concat();
        let depth = DepthView::new(Frame::new(&header, &pixels).unwrap(), 0.001, None).unwrap();
        assert_eq!(depth.iter_meters().collect::<Vec<_>>(), [None, Some(1.25), Some(1e9)]);
        assert_eq!(depth.iter_units().collect::<Vec<_>>(), [0, 1250, u16::MAX]);
        assert!(ColorView::new(depth.frame()).is_none());
    }

    #[test]
    fn an_image_of_depth_has_the_metres_of_its_pixels() {
        let units: Vec<u8> = (0..600_u32).flat_map(|unit| ((unit * 109) as u16).to_le_bytes()).collect();
        let meters = [0.0_f32, 1.25, f32::NAN, -1.0, 1e9, 0.5].map(f32::to_le_bytes).concat();
        for (format, pixels, width, height, stride) in
            [(PixelFormat::Z16, &units, 149, 4, 300), (PixelFormat::Distance, &meters, 3, 2, 12)]
        {
            let header = header(Stream::DEPTH, format, width, height, stride);
            let depth = DepthView::new(Frame::new(&header, pixels).unwrap(), 0.001, None).unwrap();
            let expected: Vec<f32> = depth.iter_meters().map(Option::unwrap_or_default).collect();
            assert_eq!(depth.to_meters(), expected);
            assert_eq!(expected.len(), (width * height) as usize);
        }
    }

    #[test]
    fn the_newer_formats_of_light_are_read() {
        for (format, pixels, rgb) in [
            (PixelFormat::Rgba8, vec![1, 2, 3, 9, 4, 5, 6, 9], [1, 2, 3, 4, 5, 6]),
            (PixelFormat::Bgra8, vec![3, 2, 1, 9, 6, 5, 4, 9], [1, 2, 3, 4, 5, 6]),
            (PixelFormat::Y16, vec![9, 7, 0, 200], [7, 7, 7, 200, 200, 200]),
            (PixelFormat::Uyvy, vec![90, 81, 240, 81], [255, 0, 0, 255, 0, 0]),
        ] {
            let header = FrameHeader::image(Stream::COLOR, format, 2, 1);
            let color = ColorView::new(Frame::new(&header, &pixels).unwrap()).unwrap();
            assert_eq!(color.to_rgb8(), rgb, "{format}");
            assert_eq!([color.rgb(0, 0).unwrap(), color.rgb(1, 0).unwrap()].concat(), rgb, "{format}");
        }
    }

    /// Every brightness with many chromas, in rows of an odd width with padding.
    #[test]
    fn an_image_of_pairs_is_converted_as_its_pixels_are() {
        for format in [PixelFormat::Yuyv, PixelFormat::Uyvy] {
            for (width, height, stride) in [(1023, 300, 2050), (1, 3, 2), (64, 2, 128)] {
                let header = header(Stream::COLOR, format, width, height, stride);
                let byte = |index: u32| (index.wrapping_mul(2_654_435_761) >> 13) as u8;
                let pixels: Vec<u8> = (0..stride * height).map(byte).collect();
                let color = ColorView::new(Frame::new(&header, &pixels).unwrap()).unwrap();
                let each = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
                let expected: Vec<u8> = each.filter_map(|(x, y)| color.rgb(x, y)).flatten().collect();
                assert!(color.to_rgb8() == expected, "{format} {width}x{height}");
            }
        }
    }

    #[test]
    fn a_wrong_length_is_an_error() {
        let header = header(Stream::DEPTH, PixelFormat::Z16, 2, 2, 6);
        let error = Frame::new(&header, &[0; 8]).unwrap_err();
        assert_eq!(error.to_string(), "the depth frame has 8 bytes; its header declares 12");
    }

    #[test]
    fn tensors_and_messages_are_read_as_such() {
        let shape = Shape::new(&[2, 3]).unwrap();
        let heat = Stream::new("heat").unwrap();
        let header = FrameHeader::new(heat, Payload::Tensor { dtype: DType::F32, shape });
        let bytes = [0.0_f32, 1.0, 2.0, 3.0, 4.0, 5.0].map(f32::to_le_bytes).concat();
        let frame = Frame::new(&header, &bytes).unwrap();
        let tensor = TensorView::new(frame).unwrap();
        assert_eq!((tensor.dtype(), tensor.shape()), (DType::F32, [2, 3].as_slice()));
        assert_eq!(tensor.iter_f32().unwrap().collect::<Vec<_>>(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(tensor.element(&[1, 1]), Some(4.0_f32.to_le_bytes().as_slice()));
        assert_eq!((tensor.element(&[2, 0]), tensor.element(&[0])), (None, None));
        assert!(MessageView::new(frame).is_none() && ColorView::new(frame).is_none());
        assert_eq!((frame.width(), frame.rows().count()), (0, 1));

        let schema = Name::constant("camrig.Boxes");
        let header = FrameHeader::new(heat, Payload::Message { schema, encoding: JSON, size_bytes: 2 });
        let message = MessageView::new(Frame::new(&header, b"[]").unwrap()).unwrap();
        assert_eq!(
            (message.schema(), message.encoding(), message.text()),
            ("camrig.Boxes", "json", Some("[]"))
        );
        assert!(TensorView::new(message.frame()).is_none());
    }
}
