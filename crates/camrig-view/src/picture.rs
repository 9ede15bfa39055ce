//! Encoding of framesets as JPEGs with a size suitable for the page.
//!
//! The page shows six cameras side by side: pictures are downscaled by an integer factor before encoding, which costs
//! less than encoding pixels that are not displayed. This module has no knowledge of the page.

use camrig::Colorizer;
use camrig::frame::{ColorView, DepthView, Frame, PixelFormat};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

/// Number of depth samples for determining the range of a picture.
const SAMPLES: usize = 2000;

/// Fraction of depths at either end that is ignored for the range, as outliers.
const STRAY: f32 = 0.02;

/// Weight of the newest frameset's range in the smoothed range, which prevents flicker.
const RANGE_SHARE: f32 = 0.1;

/// Encodes a picture of `frame`, about `width` pixels wide, but no wider than the frame. Appends a JPEG, or nothing
/// if the frame is not a light image.
pub(crate) fn light(frame: Frame<'_>, width: u32, quality: u8, jpeg: &mut Vec<u8>) {
    let step = step(frame, width);
    if frame.payload().pixel_format() == Some(PixelFormat::Y8) {
        let gray: Vec<u8> = frame.rows().flatten().copied().collect();
        encode(&shrink::<1>(gray, frame, step), (frame, step), ColorType::Luma, quality, jpeg);
    } else if let Some(color) = ColorView::new(frame) {
        encode(&shrink::<3>(color.to_rgb8(), frame, step), (frame, step), ColorType::Rgb, quality, jpeg);
    }
}

/// Encodes a picture of depth in colors. Depth is subsampled, not averaged: a mean of near and far would be
/// meaningless.
pub(crate) fn depth(depth: &DepthView<'_>, colors: &Colorizer, width: u32, quality: u8, jpeg: &mut Vec<u8>) {
    let frame = depth.frame();
    let step = step(frame, width);
    let (columns, rows) = (frame.width() / step as u32, frame.height() / step as u32);
    let mut rgb = Vec::with_capacity(columns as usize * rows as usize * 3);
    for y in (0..rows).map(|row| row * step as u32) {
        for x in (0..columns).map(|column| column * step as u32) {
            rgb.extend(depth.meters(x, y).map_or(Colorizer::NONE, |meters| colors.color_of(meters)));
        }
    }
    encode(&rgb, (frame, step), ColorType::Rgb, quality, jpeg);
}

/// Returns the range that covers most of a depth frame, smoothed with the one `before`; `None` without depth.
pub(crate) fn range(depth: &DepthView<'_>, before: Option<(f32, f32)>) -> Option<(f32, f32)> {
    let pixels = depth.frame().width() as usize * depth.frame().height() as usize;
    // Not a divisor of the width, which would sample only a few columns.
    let step = (pixels / SAMPLES).max(1) | 1;
    let mut samples: Vec<u16> = depth.iter_units().step_by(step).filter(|&units| units != 0).collect();
    samples.sort_unstable();
    let last = samples.len().checked_sub(1)?;
    let at = |share: f32| f32::from(samples[(share * last as f32) as usize]) * depth.unit_meters();
    let (near, far) = (at(STRAY), at(1.0 - STRAY));
    let (near, far) = before.map_or((near, far), |before| {
        (before.0 + RANGE_SHARE * (near - before.0), before.1 + RANGE_SHARE * (far - before.1))
    });
    Some((near, far.max(near + depth.unit_meters())))
}

/// Returns the downscaling factor in each direction.
fn step(frame: Frame<'_>, width: u32) -> usize {
    (frame.width() / width.max(1)).clamp(1, frame.height()) as usize
}

/// The mean of every square of pixels; what is left over at the right and at the bottom is cut.
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

fn encode(
    pixels: &[u8],
    (frame, step): (Frame<'_>, usize),
    color: ColorType,
    quality: u8,
    jpeg: &mut Vec<u8>,
) {
    let start = jpeg.len();
    let mut encoder = Encoder::new(&mut *jpeg, quality);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    // Both sides are below 2^13.
    let (width, height) = (frame.width() / step as u32, frame.height() / step as u32);
    if let Err(error) = encoder.encode(pixels, width as u16, height as u16, color) {
        log::warn!("no picture of a {} frame: {error}", frame.stream());
        jpeg.truncate(start);
    }
}

#[cfg(test)]
mod tests {
    use camrig::frame::{FrameHeader, Payload, Role, Stream};

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
            let mut jpeg = Vec::new();
            light(frame, asked, 80, &mut jpeg);
            if asked > 0 {
                assert_eq!(jpeg_size(&jpeg), (width, height));
            } else {
                assert_eq!(jpeg_size(&jpeg).1, 1);
            }
        }
    }

    #[test]
    fn motion_has_no_picture() {
        let header = FrameHeader::new(Stream::GYRO, Payload::Motion { samples: 3 });
        let mut jpeg = Vec::new();
        light(Frame::new(&header, &[7; 60]).unwrap(), 424, 80, &mut jpeg);
        assert!(jpeg.is_empty());
    }

    /// Width and height in the frame header of a JPEG (ITU-T T.81, B.2.2).
    fn jpeg_size(jpeg: &[u8]) -> (u32, u32) {
        let at = jpeg.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
        let number = |at: usize| u32::from(u16::from_be_bytes([jpeg[at], jpeg[at + 1]]));
        (number(at + 7), number(at + 5))
    }

    #[test]
    fn the_range_leaves_out_what_is_stray_and_follows_slowly() {
        let header = header(PixelFormat::Z16, 100, 10);
        let mut pixels: Vec<u8> = (0..1000_u16).flat_map(|index| (1000 + index).to_le_bytes()).collect();
        pixels[..20].fill(0);
        let depth = DepthView::new(Frame::new(&header, &pixels).unwrap(), 0.001, None).unwrap();
        let (near, far) = range(&depth, None).unwrap();
        assert!((near - 1.03).abs() < 0.01 && (far - 1.98).abs() < 0.01, "{near} {far}");
        let (near, far) = range(&depth, Some((2.0, 3.0))).unwrap();
        assert!((near - 1.903).abs() < 0.01 && (far - 2.898).abs() < 0.01, "{near} {far}");
        let none = vec![0; pixels.len()];
        let depth = DepthView::new(Frame::new(&header, &none).unwrap(), 0.001, None).unwrap();
        assert_eq!(range(&depth, None), None);
    }
}
