//! Baseline JPEG with color at half the resolution (ITU-T T.81), by the vector instructions that the processor has.
#![allow(clippy::inline_always, reason = "only inlined code gets the instructions of its caller")]

use pulp::{Arch, Simd, WithSimd};

use super::huffman::{self, BitWriter, Table};
use super::transform::{BLOCKS, Coefficients, Divisors, ZIGZAG};

/// The order of the channels of pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channels {
    Rgb,
    Bgr,
    /// Gray, one byte for each pixel.
    Luma,
    /// Brightness of two pixels and their color in four bytes, in the range of video. The width is even.
    Yuyv,
}

impl Channels {
    fn bytes_per_pixel(self) -> usize {
        match self {
            Self::Rgb | Self::Bgr => 3,
            Self::Luma => 1,
            Self::Yuyv => 2,
        }
    }
}

/// An image that cannot be a JPEG.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an image of {width}x{height} pixels cannot be a JPEG, whose sides are 1 to {SIDE_MAX} pixels long")]
pub struct JpegError {
    /// In pixels.
    width: u32,
    /// In pixels.
    height: u32,
}

/// The largest width and height of a JPEG, in pixels.
const SIDE_MAX: u32 = 65_535;

/// The length of a side of a square of pixels that share two blocks of color.
pub(super) const SQUARE: usize = 16;

/// The markers of the begin and the end of an image.
pub(super) const BEGIN: [u8; 2] = [0xff, 0xd8];
pub(super) const END: [u8; 2] = [0xff, 0xd9];

/// Appends a JPEG of pixels without padding, with a quality of 1 to 100. Appends nothing after an error.
///
/// # Panics
/// If there are fewer pixels than these sides have.
pub(crate) fn encode(
    pixels: &[u8],
    (width, height): (u32, u32),
    channels: Channels,
    quality: u8,
    file: &mut Vec<u8>,
) -> Result<(), JpegError> {
    let sides = 1..=SIDE_MAX;
    if !sides.contains(&width) || !sides.contains(&height) {
        return Err(JpegError { width, height });
    }
    let size = (width as usize, height as usize);
    let divisors = Divisors::of_quality(quality);
    write_head(size, channels, &divisors, file);
    Arch::new().dispatch(Scan { pixels, size, channels, divisors: &divisors, file });
    file.extend_from_slice(&END);
    Ok(())
}

/// Writes everything in front of the coefficients.
fn write_head(
    (width, height): (usize, usize),
    channels: Channels,
    divisors: &[Divisors; 2],
    file: &mut Vec<u8>,
) {
    file.extend_from_slice(&BEGIN);
    let mut segment = |marker: u8, parts: &[&[u8]]| {
        let length = 2 + parts.iter().map(|part| part.len()).sum::<usize>();
        file.extend_from_slice(&[0xff, marker]);
        file.extend_from_slice(&(length as u16).to_be_bytes());
        for part in parts {
            file.extend_from_slice(part);
        }
    };
    let components: &[[u8; 3]] = if channels == Channels::Luma {
        &[[1, 0x11, 0]]
    } else {
        &[[1, 0x22, 0], [2, 0x11, 1], [3, 0x11, 1]]
    };
    let count = [components.len() as u8];
    // JFIF 1.2, with square pixels and no thumbnail.
    segment(0xe0, &[b"JFIF\0", &[1, 2, 0, 0, 1, 0, 1, 0, 0]]);
    for (index, divisors) in (0_u8..).zip(divisors).take(components.len()) {
        segment(0xdb, &[&[index], &ZIGZAG.map(|place| divisors.bytes[usize::from(place)])]);
    }
    let [height, width] = [height, width].map(|side| (side as u16).to_be_bytes());
    segment(0xc0, &[&[8], &height, &width, &count, components.as_flattened()]);
    for (index, tables) in (0_u8..).zip([&huffman::LUMA, &huffman::CHROMA]).take(components.len()) {
        for (class, Table { lengths, symbols, .. }) in (0_u8..).zip(tables) {
            segment(0xc4, &[&[class << 4 | index], lengths, symbols]);
        }
    }
    let selected: Vec<u8> = components.iter().flat_map(|&[id, _, table]| [id, table << 4 | table]).collect();
    segment(0xda, &[&count, &selected, &[0, 63, 0]]);
}

/// The coefficients of an image, to be written.
struct Scan<'a> {
    pixels: &'a [u8],
    size: (usize, usize),
    channels: Channels,
    divisors: &'a [Divisors; 2],
    file: &'a mut Vec<u8>,
}

impl WithSimd for Scan<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        match self.channels {
            Channels::Luma => self.gray(),
            _ => self.color(),
        }
    }
}

impl Scan<'_> {
    #[inline(always)]
    fn gray(self) {
        let (width, height) = self.size;
        let groups = width.div_ceil(8 * BLOCKS);
        let mut plane = vec![[[0; 8]; BLOCKS]; 8 * groups];
        let mut coefficients = Coefficients::ZERO;
        let mut bits = BitWriter::new(self.file);
        let mut before = 0;
        for top in (0..height).step_by(8) {
            for (y, row) in plane.chunks_exact_mut(groups).enumerate() {
                let row = row.as_flattened_mut().as_flattened_mut();
                let from = (top + y).min(height - 1) * width;
                row[..width].copy_from_slice(&self.pixels[from..from + width]);
                row[width..].fill(self.pixels[from + width - 1]);
            }
            for group in 0..groups {
                let rows = std::array::from_fn(|y| &plane[y * groups + group]);
                coefficients.transform(rows, &self.divisors[0]);
                let left = width.div_ceil(8) - group * BLOCKS;
                for block in 0..left.min(BLOCKS) {
                    bits.put_block(&coefficients, block, &mut before, &huffman::LUMA);
                }
            }
        }
        bits.finish();
    }

    #[inline(always)]
    fn color(self) {
        let (width, height) = self.size;
        let groups = width.div_ceil(8 * BLOCKS);
        let row_bytes = width * self.channels.bytes_per_pixel();
        let mut planes = Planes::new(groups);
        let (mut above, mut below, mut colors) = (Coefficients::ZERO, Coefficients::ZERO, Coefficients::ZERO);
        let mut bits = BitWriter::new(self.file);
        let [luma, chroma] = self.divisors;
        let [mut before_luma, mut before_blue, mut before_red] = [0; 3];
        for top in (0..height).step_by(SQUARE) {
            for pair in 0..SQUARE / 2 {
                let rows = [0, 1].map(|y| {
                    let from = (top + 2 * pair + y).min(height - 1) * row_bytes;
                    &self.pixels[from..from + row_bytes]
                });
                match self.channels {
                    Channels::Yuyv => planes.fill_video(pair, rows),
                    order => planes.fill(pair, rows, order),
                }
            }
            for group in 0..groups {
                let rows = |top: usize| std::array::from_fn(|y| &planes.luma[(top + y) * groups + group]);
                above.transform(rows(0), luma);
                below.transform(rows(8), luma);
                colors.transform(std::array::from_fn(|y| &planes.chroma[y * groups + group]), chroma);
                let left = width.div_ceil(SQUARE) - group * (BLOCKS / 2);
                for square in 0..left.min(BLOCKS / 2) {
                    for blocks in [&above, &below] {
                        bits.put_block(blocks, 2 * square, &mut before_luma, &huffman::LUMA);
                        bits.put_block(blocks, 2 * square + 1, &mut before_luma, &huffman::LUMA);
                    }
                    bits.put_block(&colors, square, &mut before_blue, &huffman::CHROMA);
                    bits.put_block(&colors, BLOCKS / 2 + square, &mut before_red, &huffman::CHROMA);
                }
            }
        }
        bits.finish();
    }
}

/// A row of blocks that are transformed together.
type Row = [[u8; 8]; BLOCKS];

/// Sixteen rows as brightness and color, as wide as whole groups of blocks.
struct Planes {
    luma: Vec<Row>,
    /// Of each group those to blue, then those to red.
    chroma: Vec<Row>,
    /// Two rows of each channel.
    channels: [[Vec<u8>; 2]; 3],
}

impl Planes {
    fn new(groups: usize) -> Self {
        let plane = |rows: usize| vec![[[0; 8]; BLOCKS]; rows * groups];
        let channels = [0; 3].map(|_| [0; 2].map(|_| vec![0; groups * 8 * BLOCKS]));
        Self { luma: plane(SQUARE), chroma: plane(SQUARE / 2), channels }
    }

    /// Converts two rows of video, whose brightness is 16 to 235 and whose color is 16 to 240, and repeats their last pixels.
    #[inline(always)]
    fn fill_video(&mut self, pair: usize, rows: [&[u8]; 2]) {
        let padded = self.channels[0][0].len();
        let luma = self.luma.as_flattened_mut().as_flattened_mut().chunks_exact_mut(padded);
        for (row, luma) in rows.into_iter().zip(luma.skip(2 * pair)) {
            let (pixels, _) = row.as_chunks::<2>();
            for (luma, &[video, _]) in luma.iter_mut().zip(pixels) {
                let video = i16::from(video);
                // 255 / 219 is 298 / 256, whose product would need more bits.
                *luma = (video + ((42 * video + (128 - 298 * 16)) >> 8)).clamp(0, 255) as u8;
            }
            let last = luma[pixels.len() - 1];
            luma[pixels.len()..].fill(last);
        }
        let [[blue, _], [red, _], _] = &mut self.channels;
        let [above, below] = rows.map(|row| row.as_chunks::<4>().0);
        for (((blue, red), above), below) in blue.iter_mut().zip(&mut *red).zip(above).zip(below) {
            // The sum of two rows, times 255 / 224 / 2.
            let full = |at: usize| {
                let sum = i32::from(above[at]) + i32::from(below[at]) - 256;
                (128 + ((9_326 * sum + (1 << 13)) >> 14)).clamp(0, 255) as u8
            };
            (*blue, *red) = (full(1), full(3));
        }
        for color in [&mut *blue, &mut *red] {
            let last = color[above.len() - 1];
            color[above.len()..padded / 2].fill(last);
        }
        let groups = padded / (8 * BLOCKS);
        for (group, chroma) in self.chroma[pair * groups..][..groups].iter_mut().enumerate() {
            let (to_blue, to_red) = chroma.as_flattened_mut().split_at_mut(4 * BLOCKS);
            let at = group * 4 * BLOCKS;
            to_blue.copy_from_slice(&blue[at..at + 4 * BLOCKS]);
            to_red.copy_from_slice(&red[at..at + 4 * BLOCKS]);
        }
    }

    /// Converts two rows by the matrix of JFIF, and repeats their last pixel up to the width of whole groups.
    #[inline(always)]
    fn fill(&mut self, pair: usize, rows: [&[u8]; 2], order: Channels) {
        let [first, second, third] = &mut self.channels;
        let padded = first[0].len();
        for (y, row) in rows.into_iter().enumerate() {
            let (pixels, _) = row.as_chunks::<3>();
            let (a, b, c) = (&mut first[y][..], &mut second[y][..], &mut third[y][..]);
            for (((a, b), c), pixel) in a.iter_mut().zip(&mut *b).zip(&mut *c).zip(pixels) {
                [*a, *b, *c] = *pixel;
            }
            for channel in [a, b, c] {
                let last = channel[pixels.len() - 1];
                channel[pixels.len()..].fill(last);
            }
        }
        let (red, green, blue) =
            if order == Channels::Bgr { (&*third, &*second, &*first) } else { (&*first, &*second, &*third) };
        let luma = self.luma.as_flattened_mut().as_flattened_mut().chunks_exact_mut(padded);
        for (y, luma) in luma.skip(2 * pair).take(2).enumerate() {
            for (((luma, &red), &green), &blue) in luma.iter_mut().zip(&red[y]).zip(&green[y]).zip(&blue[y]) {
                let sum = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue);
                *luma = ((sum + (1 << 15)) >> 16) as u8;
            }
        }
        let groups = padded / (8 * BLOCKS);
        for (group, chroma) in self.chroma[pair * groups..][..groups].iter_mut().enumerate() {
            let at = group * 8 * BLOCKS;
            let sums = |[above, below]: &[Vec<u8>; 2]| -> [i32; 4 * BLOCKS] {
                let (above, _) = above[at..at + 8 * BLOCKS].as_chunks::<2>();
                let (below, _) = below[at..at + 8 * BLOCKS].as_chunks::<2>();
                let sum = |pair: &[u8; 2]| i32::from(pair[0]) + i32::from(pair[1]);
                std::array::from_fn(|index| sum(&above[index]) + sum(&below[index]))
            };
            let (red, green, blue) = (sums(red), sums(green), sums(blue));
            let (to_blue, to_red) = chroma.as_flattened_mut().split_at_mut(4 * BLOCKS);
            // The sums are of four pixels. Half of the last bit less keeps the largest below 256.
            let middle = (128 << 18) + (1 << 17) - 1;
            for index in 0..4 * BLOCKS {
                let (red, green, blue) = (red[index], green[index], blue[index]);
                to_blue[index] = ((middle - 11_059 * red - 21_709 * green + 32_768 * blue) >> 18) as u8;
                to_red[index] = ((middle + 32_768 * red - 27_439 * green - 5_329 * blue) >> 18) as u8;
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::light::decode_jpeg;
    use camrig_frame::{ColorView, Frame, FrameHeader, PixelFormat, Stream};

    /// Returns an image with slopes, edges and noise.
    pub(in super::super) fn image(width: usize, height: usize, channels: usize) -> Vec<u8> {
        let mut random = 7_u32;
        let mut pixels = Vec::new();
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let edge = if (x / 13 + y / 9) % 2 == 0 { 60 } else { 0 };
            let slopes = [40 + edge + x * 90 / width, 30 + y * 150 / height, 200 - edge];
            pixels.extend(slopes[..channels].iter().map(|value| (value + (random >> 29) as usize) as u8));
        }
        pixels
    }

    fn encoded(pixels: &[u8], (width, height): (usize, usize), channels: Channels, quality: u8) -> Vec<u8> {
        let mut file = b"before".to_vec();
        encode(pixels, (width as u32, height as u32), channels, quality, &mut file).unwrap();
        file.split_off(6)
    }

    fn mean_difference(a: &[u8], b: &[u8]) -> f64 {
        assert_eq!(a.len(), b.len());
        a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
    }

    const SIZES: [(usize, usize); 9] =
        [(1, 1), (7, 3), (8, 8), (16, 16), (17, 33), (127, 5), (128, 16), (129, 31), (424, 240)];

    #[test]
    fn an_image_of_any_size_is_near_the_pixels_that_were_encoded() {
        for size in SIZES {
            let (width, height) = (size.0 as u32, size.1 as u32);
            for (channels, format, bytes) in [
                (Channels::Rgb, PixelFormat::Rgb8, 3),
                (Channels::Bgr, PixelFormat::Rgb8, 3),
                (Channels::Luma, PixelFormat::Y8, 1),
            ] {
                let pixels = image(size.0, size.1, bytes);
                let mut expected = pixels.clone();
                if channels == Channels::Bgr {
                    expected.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| pixel.reverse());
                }
                let decoded = |quality| {
                    let mut decoded = vec![0; pixels.len()];
                    let file = encoded(&pixels, size, channels, quality);
                    decode_jpeg(&file, (width, height), format, &mut decoded).unwrap();
                    mean_difference(&decoded, &expected)
                };
                // Color is blurred at edges.
                let (best, good) = if bytes == 1 { (0.8, 4.0) } else { (10.0, 12.0) };
                let far = [decoded(100), decoded(80)];
                assert!(far[0] < best && far[1] < good, "{size:?} {channels:?}: {far:?}");
            }
        }
    }

    /// All brightnesses, and all colors of both kinds, as far as they are those of a color.
    #[test]
    fn video_has_the_picture_of_its_colors() {
        let (width, height) = (256, 34);
        let video: Vec<u8> = (0..height)
            .flat_map(|y| (0..width / 2).map(move |x| (x as u8, y as u8)))
            .flat_map(|(x, y)| [16 + x, 100 + x / 4 + y, 16 + x + 80, 160 - x / 4 - y])
            .collect();
        let header = FrameHeader::image(Stream::COLOR, PixelFormat::Yuyv, width, height);
        let rgb = ColorView::new(Frame::new(&header, &video).unwrap()).unwrap().to_rgb8();
        let decoded = |pixels: &[u8], channels| {
            let mut decoded = vec![0; rgb.len()];
            let file = encoded(pixels, (width as usize, height as usize), channels, 95);
            decode_jpeg(&file, (width, height), PixelFormat::Rgb8, &mut decoded).unwrap();
            decoded
        };
        let (direct, converted) = (decoded(&video, Channels::Yuyv), decoded(&rgb, Channels::Rgb));
        let far = [mean_difference(&direct, &rgb), mean_difference(&converted, &rgb)];
        assert!(far[0] < far[1] + 0.1 && far[0] < 2.0, "{far:?}");
    }

    #[test]
    fn a_better_quality_is_a_larger_file() {
        let pixels = image(129, 31, 3);
        let sizes: Vec<_> = [1, 25, 50, 80, 100]
            .map(|quality| encoded(&pixels, (129, 31), Channels::Rgb, quality).len())
            .into();
        assert!(sizes.is_sorted_by(|a, b| a < b), "{sizes:?}");
        assert_eq!(encoded(&pixels, (129, 31), Channels::Rgb, 0).len(), sizes[0]);
    }

    /// The coefficients that are the hardest to write: all numbers of a block at their ends, and runs of bits that are 1.
    #[test]
    fn noise_and_the_largest_contrast_are_decoded() {
        for period in 1..24 {
            let pixels: Vec<u8> = (0..64 * 64)
                .map(|index: usize| if (index * period / 7).is_multiple_of(2) { 0 } else { 255 })
                .collect();
            let file = encoded(&pixels, (64, 64), Channels::Luma, 100);
            let mut decoded = vec![0; pixels.len()];
            decode_jpeg(&file, (64, 64), PixelFormat::Y8, &mut decoded).unwrap();
            let far = mean_difference(&decoded, &pixels);
            assert!(far < 1.0, "{period}: {far}");
        }
    }

    #[test]
    fn every_kind_of_vector_instructions_writes_the_same_file() {
        for size in SIZES {
            for channels in [Channels::Rgb, Channels::Bgr, Channels::Luma, Channels::Yuyv] {
                if channels == Channels::Yuyv && size.0 % 2 == 1 {
                    continue;
                }
                let pixels = image(size.0, size.1, channels.bytes_per_pixel());
                let divisors = Divisors::of_quality(80);
                let mut file = Vec::new();
                write_head(size, channels, &divisors, &mut file);
                let scan = Scan { pixels: &pixels, size, channels, divisors: &divisors, file: &mut file };
                scan.with_simd(pulp::Scalar);
                file.extend_from_slice(&END);
                assert!(file == encoded(&pixels, size, channels, 80), "{size:?} {channels:?}");
            }
        }
    }

    #[test]
    fn an_image_without_pixels_and_one_with_too_many_are_refused() {
        for (width, height) in [(0, 4), (4, 0), (65_536, 1)] {
            let mut file = Vec::new();
            let error = encode(&[], (width, height), Channels::Luma, 80, &mut file).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "an image of {width}x{height} pixels cannot be a JPEG, whose sides are 1 to 65535 pixels long"
                )
            );
            assert!(file.is_empty());
        }
    }
}
