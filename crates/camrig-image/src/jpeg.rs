//! Frames as JPEGs, in their own size or smaller.
//!
//! A smaller picture is scaled down by a whole number before it is encoded, which costs less than encoding pixels
//! that are not visible.

use camrig_frame::{ColorView, DepthView, Format, Frame, MJPEG, Payload, PixelFormat};

use crate::coding::encode::{Channels, encode};
use crate::shrink::{shrink, size, step};
use crate::{Colorizer, DecodeError, LightImage};

pub use crate::coding::encode::JpegError;

/// A frame of which no picture can be made.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// It cannot be encoded.
    #[error(transparent)]
    Encode(#[from] JpegError),
    /// It is a JPEG that cannot be decoded, which a smaller picture needs.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// Encodes a frame in its own size, with a quality of 1 to 100. Returns `None` when it is not an image of light.
pub fn jpeg(frame: Frame<'_>, quality: u8) -> Option<Result<Vec<u8>, JpegError>> {
    let Payload::Image { format, width, height, stride_bytes } = *frame.payload() else { return None };
    let packed = frame.payload().row_bytes() == Some(stride_bytes);
    let converted;
    let (pixels, color) = match format {
        PixelFormat::Rgb8 if packed => (frame.bytes(), Channels::Rgb),
        PixelFormat::Bgr8 if packed => (frame.bytes(), Channels::Bgr),
        PixelFormat::Y8 if packed => (frame.bytes(), Channels::Luma),
        PixelFormat::Yuyv if packed && width % 2 == 0 => (frame.bytes(), Channels::Yuyv),
        _ => {
            converted = ColorView::new(frame)?.to_rgb8();
            (converted.as_slice(), Channels::Rgb)
        }
    };
    // Most images take less than a fifth of their pixels.
    let mut file = Vec::with_capacity(pixels.len() / 5);
    Some(encode(pixels, (width, height), color, quality, &mut file).map(|()| file))
}

/// Appends a picture of a frame of light, about `width` pixels wide but no wider than the frame: the frame itself when
/// it is a JPEG of that width. Appends nothing when the frame is not an image of light.
///
/// # Errors
/// When the frame cannot be encoded, or is a JPEG that cannot be decoded. Nothing is appended.
pub fn small_jpeg(frame: Frame<'_>, width: u32, quality: u8, file: &mut Vec<u8>) -> Result<(), PictureError> {
    let step = step(frame, width);
    if step == 1 && frame.payload().format() == Format::Encoded(MJPEG) {
        file.extend_from_slice(frame.bytes());
        return Ok(());
    }
    if frame.payload().pixel_format() == Some(PixelFormat::Y8) {
        let rows: Vec<&[u8]> = frame.rows().collect();
        encode(&shrink::<1>(&rows, step), size(frame, step), Channels::Luma, quality, file)?;
        return Ok(());
    }
    let image = LightImage::new(frame)?;
    let Some(view) = image.as_ref().and_then(LightImage::view) else { return Ok(()) };
    let converted;
    let (rows, color): (Vec<&[u8]>, _) = match view.format() {
        PixelFormat::Rgb8 => (view.frame().rows().collect(), Channels::Rgb),
        PixelFormat::Bgr8 => (view.frame().rows().collect(), Channels::Bgr),
        _ => {
            converted = view.to_rgb8();
            (converted.chunks_exact(frame.width() as usize * 3).collect(), Channels::Rgb)
        }
    };
    encode(&shrink::<3>(&rows, step), size(frame, step), color, quality, file)?;
    Ok(())
}

/// Appends a picture of depth in colors, about `width` pixels wide but no wider than the frame. It skips depths
/// instead of averaging them: a mean of near and far would be a depth that does not exist.
///
/// # Errors
/// When the frame cannot be encoded. Nothing is appended.
pub fn small_depth_jpeg(
    depth: &DepthView<'_>,
    colors: &Colorizer,
    width: u32,
    quality: u8,
    file: &mut Vec<u8>,
) -> Result<(), JpegError> {
    let frame = depth.frame();
    let step = step(frame, width);
    let rgb = colors.of_each(depth, step);
    encode(&rgb, size(frame, step), Channels::Rgb, quality, file)
}

#[cfg(test)]
mod tests {
    use camrig_frame::{FrameHeader, Payload, Role, Stream};

    use super::*;

    fn header(format: PixelFormat, width: u32, height: u32) -> FrameHeader {
        let stream = if format.role() == Role::Depth { Stream::DEPTH } else { Stream::COLOR };
        FrameHeader::image(stream, format, width, height)
    }

    #[test]
    fn pictures_are_as_wide_as_asked_or_as_the_frame() {
        for (asked, width, height) in [(424, 424, 240), (300, 424, 240), (2000, 848, 480), (0, 1, 0)] {
            let header = header(PixelFormat::Rgb8, 848, 480);
            let pixels = vec![7; header.size_bytes() as usize];
            let frame = Frame::new(&header, &pixels).unwrap();
            let mut file = Vec::new();
            small_jpeg(frame, asked, 80, &mut file).unwrap();
            if asked > 0 {
                assert_eq!(jpeg_size(&file), (width, height));
            } else {
                assert_eq!(jpeg_size(&file).1, 1);
            }
        }
    }

    #[test]
    fn motion_has_no_picture() {
        let payload = Payload::Motion { samples: 3 };
        let header = FrameHeader { stream: Stream::GYRO, payload, ..header(PixelFormat::Y8, 1, 1) };
        let mut file = Vec::new();
        small_jpeg(Frame::new(&header, &[7; 60]).unwrap(), 424, 80, &mut file).unwrap();
        assert!(file.is_empty());
        assert!(jpeg(Frame::new(&header, &[7; 60]).unwrap(), 80).is_none());
    }

    #[test]
    fn a_full_picture_has_the_size_of_its_frame() {
        for format in [PixelFormat::Rgb8, PixelFormat::Bgr8, PixelFormat::Yuyv, PixelFormat::Y8] {
            let header = header(format, 32, 24);
            let pixels = vec![7; header.size_bytes() as usize];
            let file = jpeg(Frame::new(&header, &pixels).unwrap(), 95).unwrap().unwrap();
            assert_eq!(jpeg_size(&file), (32, 24), "{format}");
        }
    }

    /// Returns width and height from the frame header of a JPEG (ITU-T T.81, B.2.2).
    fn jpeg_size(file: &[u8]) -> (u32, u32) {
        let at = file.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
        let number = |at: usize| u32::from(u16::from_be_bytes([file[at], file[at + 1]]));
        (number(at + 7), number(at + 5))
    }
}
