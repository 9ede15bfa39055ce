//! Images of light in every form in which a frame holds one: as pixels, or as a JPEG.

use camrig_frame::{ColorView, Format, Frame, FrameHeader, MAX_SIDE_PIXELS, MJPEG, Payload, PixelFormat};
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use crate::coding::decode;

/// A JPEG that cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The JPEG is damaged, or is not one.
    #[error("{0}")]
    Jpeg(String),
    /// The JPEG has other sides than its frame.
    #[error("it has another size")]
    Size,
}

impl From<DecodeErrors> for DecodeError {
    fn from(error: DecodeErrors) -> Self {
        Self::Jpeg(error.to_string())
    }
}

/// An image of light that can be read as red, green and blue, whether its frame holds pixels or a JPEG.
pub struct LightImage<'a>(LightContent<'a>);

enum LightContent<'a> {
    Pixels(ColorView<'a>),
    /// A JPEG as RGB8: the frame's header with that payload, and the pixels.
    Decoded(Box<FrameHeader>, Vec<u8>),
}

impl<'a> LightImage<'a> {
    /// Returns whether a frame in this format is such an image.
    pub fn is_in(format: Format) -> bool {
        match format {
            Format::Image(format) => format.is_light(),
            Format::Encoded(codec) => codec == MJPEG,
            Format::Points | Format::Motion | Format::Tensor(_) | Format::Message(_) => false,
        }
    }

    /// Reads a frame, which costs the decoding of a JPEG. Returns `None` if it is not an image of light.
    ///
    /// # Errors
    /// If it is a JPEG that cannot be decoded.
    pub fn new(frame: Frame<'a>) -> Result<Option<Self>, DecodeError> {
        let format = frame.payload().format();
        if !Self::is_in(format) {
            return Ok(None);
        }
        if let Some(color) = ColorView::new(frame) {
            return Ok(Some(Self(LightContent::Pixels(color))));
        }
        let payload = Payload::image(PixelFormat::Rgb8, frame.width(), frame.height());
        let header = FrameHeader { payload, ..*frame.header() };
        let mut pixels = vec![0; header.size_bytes() as usize];
        decode_jpeg(frame.bytes(), (frame.width(), frame.height()), PixelFormat::Rgb8, &mut pixels)?;
        Ok(Some(Self(LightContent::Decoded(Box::new(header), pixels))))
    }

    /// Returns the image as red, green and blue.
    pub fn view(&self) -> Option<ColorView<'_>> {
        match &self.0 {
            LightContent::Pixels(color) => Some(*color),
            LightContent::Decoded(header, pixels) => ColorView::new(Frame::new(header, pixels).ok()?),
        }
    }
}

/// Returns width and height of a JPEG; `None` if it does not begin as one.
pub fn jpeg_size(data: &[u8]) -> Option<(u32, u32)> {
    let mut decoder = JpegDecoder::new(ZCursor::new(data));
    decoder.decode_headers().ok()?;
    decoder.info().map(|info| (info.width.into(), info.height.into()))
}

/// Decodes a JPEG of this width and height into `pixels`: to [`PixelFormat::Y8`], or to RGB8 for any other `format`.
///
/// # Errors
/// If the JPEG is damaged, or has another size.
pub fn decode_jpeg(
    data: &[u8],
    size: (u32, u32),
    format: PixelFormat,
    pixels: &mut [u8],
) -> Result<(), DecodeError> {
    if format != PixelFormat::Y8 && decode::decode(data, size, pixels).is_some() {
        return Ok(());
    }
    decode_any(data, size, format, pixels)
}

/// As [`decode_jpeg`], for JPEGs of any kind.
pub(crate) fn decode_any(
    data: &[u8],
    size: (u32, u32),
    format: PixelFormat,
    pixels: &mut [u8],
) -> Result<(), DecodeError> {
    let color = if format == PixelFormat::Y8 { ColorSpace::Luma } else { ColorSpace::RGB };
    let sides = MAX_SIDE_PIXELS as usize;
    let options =
        DecoderOptions::default().jpeg_set_out_colorspace(color).set_max_width(sides).set_max_height(sides);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(data), options);
    decoder.decode_headers()?;
    let found = decoder.info().map(|info| (u32::from(info.width), u32::from(info.height)));
    if found != Some(size) || decoder.output_buffer_size() != Some(pixels.len()) {
        return Err(DecodeError::Size);
    }
    Ok(decoder.decode_into(pixels)?)
}

#[cfg(test)]
mod tests {
    use camrig_frame::Stream;

    use super::*;
    use crate::jpeg;

    const SIZE: (u32, u32) = (32, 24);

    /// Returns a frame with a gradient.
    fn gradient(format: PixelFormat) -> (FrameHeader, Vec<u8>) {
        let header = FrameHeader::image(Stream::COLOR, format, SIZE.0, SIZE.1);
        let pixels = (0..header.size_bytes()).map(|index| (index / 24 + 60) as u8).collect();
        (header, pixels)
    }

    fn encoded((header, pixels): &(FrameHeader, Vec<u8>)) -> (FrameHeader, Vec<u8>) {
        let file = jpeg(Frame::new(header, pixels).unwrap(), 95).unwrap().unwrap();
        let (width, height) = SIZE;
        let payload = Payload::Encoded { codec: MJPEG, width, height, size_bytes: file.len() as u32 };
        (FrameHeader { payload, ..*header }, file)
    }

    #[test]
    fn a_jpeg_has_the_colors_that_were_encoded() {
        for format in [PixelFormat::Rgb8, PixelFormat::Y8] {
            let original = gradient(format);
            let (header, file) = encoded(&original);
            assert_eq!((jpeg_size(&file), jpeg_size(&file[..20])), (Some(SIZE), None));
            let image = LightImage::new(Frame::new(&header, &file).unwrap()).unwrap().unwrap();
            let view = image.view().unwrap();
            assert_eq!(view.frame().payload(), &Payload::image(PixelFormat::Rgb8, SIZE.0, SIZE.1));
            let expected = ColorView::new(Frame::new(&original.0, &original.1).unwrap()).unwrap().to_rgb8();
            let far = view.to_rgb8().iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(far < Some(12), "{format}: {far:?}");
        }
    }

    #[test]
    fn pixels_are_read_as_they_are() {
        let (header, pixels) = gradient(PixelFormat::Uyvy);
        let frame = Frame::new(&header, &pixels).unwrap();
        let image = LightImage::new(frame).unwrap().unwrap();
        assert_eq!(image.view().unwrap().to_rgb8(), ColorView::new(frame).unwrap().to_rgb8());
        let (header, pixels) = gradient(PixelFormat::Z16);
        assert!(LightImage::new(Frame::new(&header, &pixels).unwrap()).unwrap().is_none());
    }

    #[test]
    fn a_damaged_jpeg_and_one_of_another_size_are_errors() {
        let (header, file) = encoded(&gradient(PixelFormat::Rgb8));
        let error = |payload: Payload, bytes: &[u8]| {
            let header = FrameHeader { payload, ..header };
            LightImage::new(Frame::new(&header, bytes).unwrap()).err().unwrap().to_string()
        };
        let size_bytes = file.len() as u32;
        let wider = Payload::Encoded { codec: MJPEG, width: 64, height: 24, size_bytes };
        assert_eq!(error(wider, &file), "it has another size");
        let cut = Payload::Encoded { codec: MJPEG, width: 32, height: 24, size_bytes: 30 };
        assert!(!error(cut, &file[..30]).is_empty());
    }
}
