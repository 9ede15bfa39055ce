//! Frames as JPEGs, in their own size or smaller.
//!
//! A smaller picture is scaled down by a whole number before it is encoded, which costs less than encoding pixels
//! that are not visible.

use camrig_frame::{ColorView, DepthView, Format, Frame, MJPEG, Payload, PixelFormat};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use crate::{Colorizer, DecodeError, LightImage};

/// A frame that cannot be encoded.
pub type JpegError = jpeg_encoder::EncodingError;

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
        PixelFormat::Rgb8 if packed => (frame.bytes(), ColorType::Rgb),
        PixelFormat::Bgr8 if packed => (frame.bytes(), ColorType::Bgr),
        PixelFormat::Y8 if packed => (frame.bytes(), ColorType::Luma),
        _ => {
            converted = ColorView::new(frame)?.to_rgb8();
            (converted.as_slice(), ColorType::Rgb)
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
    } else if frame.payload().pixel_format() == Some(PixelFormat::Y8) {
        let gray: Vec<u8> = frame.rows().flatten().copied().collect();
        encode(&shrink::<1>(gray, frame, step), size(frame, step), ColorType::Luma, quality, file)?;
    } else if let Some(color) = LightImage::new(frame)?.as_ref().and_then(LightImage::view) {
        encode(&shrink::<3>(color.to_rgb8(), frame, step), size(frame, step), ColorType::Rgb, quality, file)?;
    }
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
    let (columns, rows) = size(frame, step);
    let mut rgb = Vec::with_capacity(columns as usize * rows as usize * 3);
    for y in (0..rows).map(|row| row * step as u32) {
        for x in (0..columns).map(|column| column * step as u32) {
            rgb.extend(depth.meters(x, y).map_or(Colorizer::NONE, |meters| colors.color_of(meters)));
        }
    }
    encode(&rgb, (columns, rows), ColorType::Rgb, quality, file)
}

/// Returns the factor by which both sides of a frame are divided for a picture about `width` pixels wide.
pub(crate) fn step(frame: Frame<'_>, width: u32) -> usize {
    (frame.width() / width.max(1)).clamp(1, frame.height()) as usize
}

/// Returns width and height of a frame scaled down by `step`.
pub(crate) fn size(frame: Frame<'_>, step: usize) -> (u32, u32) {
    (frame.width() / step as u32, frame.height() / step as u32)
}

/// Returns the mean of every square of `step` pixels. Drops incomplete squares at the right and the bottom.
fn shrink<const CHANNELS: usize>(pixels: Vec<u8>, frame: Frame<'_>, step: usize) -> Vec<u8> {
    if step == 1 {
        return pixels;
    }
    let (width, height) = (frame.width() as usize / step, frame.height() as usize / step);
    let row_bytes = frame.width() as usize * CHANNELS;
    let mut small = Vec::with_capacity(width * height * CHANNELS);
    let mut sums = vec![0_u32; width * CHANNELS];
    let area = (step * step) as u32;
    for rows in pixels.chunks_exact(row_bytes * step) {
        sums.fill(0);
        for row in rows.chunks_exact(row_bytes) {
            for (sum, square) in sums.chunks_exact_mut(CHANNELS).zip(row.chunks_exact(step * CHANNELS)) {
                for pixel in square.chunks_exact(CHANNELS) {
                    sum.iter_mut().zip(pixel).for_each(|(sum, &channel)| *sum += u32::from(channel));
                }
            }
        }
        small.extend(sums.iter().map(|sum| (sum / area) as u8));
    }
    small
}

/// Appends a JPEG, or nothing after an error.
fn encode(
    pixels: &[u8],
    (width, height): (u32, u32),
    color: ColorType,
    quality: u8,
    file: &mut Vec<u8>,
) -> Result<(), JpegError> {
    let start = file.len();
    let mut encoder = Encoder::new(&mut *file, quality);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    // The sides of a frame are below 2^16.
    let encoded = encoder.encode(pixels, width as u16, height as u16, color);
    if encoded.is_err() {
        file.truncate(start);
    }
    encoded
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
    fn a_small_picture_is_the_mean_of_squares() {
        let header = header(PixelFormat::Y8, 5, 3);
        let pixels = [1, 3, 10, 20, 99, 5, 7, 30, 40, 99, 99, 99, 99, 99, 99];
        let frame = Frame::new(&header, &pixels).unwrap();
        assert_eq!(shrink::<1>(pixels.to_vec(), frame, 2), [4, 25]);
        assert_eq!(shrink::<1>(pixels.to_vec(), frame, 1), pixels);
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
    fn a_whole_picture_has_the_size_of_its_frame() {
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
