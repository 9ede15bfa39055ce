//! Images scaled down by a whole number: each pixel is the mean of a square.
//!
//! Most pictures are a half, a third or a quarter of their frame. Their loops have a fixed length and no division, so the
//! compiler makes vector instructions of them, those that the processor has.
#![allow(clippy::inline_always, reason = "only inlined code gets the instructions of its caller")]

use camrig_frame::{ColorView, Frame, PixelFormat};
use pulp::{Arch, Simd, WithSimd};

/// Bytes of a row that are added at a time: whole squares of every step that is fixed, in one channel and in three.
const BLOCK: usize = 288;

/// The distance between the first and the last pixel of a row of the largest such square, in three channels.
const BEYOND: usize = 9;

/// Returns the factor by which both sides of a frame are divided for a picture about `width` pixels wide.
pub(crate) fn step(frame: Frame<'_>, width: u32) -> usize {
    (frame.width() / width.max(1)).clamp(1, frame.height()) as usize
}

/// Returns width and height of a frame scaled down by `step`.
pub(crate) fn size(frame: Frame<'_>, step: usize) -> (u32, u32) {
    (frame.width() / step as u32, frame.height() / step as u32)
}

/// Returns an image as RGB8 without padding, whose sides are divided by `step`, at least 1: each pixel is the mean of a square,
/// rounded to the nearest number. Drops incomplete squares at the right and the bottom.
pub fn small_rgb8(color: &ColorView<'_>, step: u32) -> Vec<u8> {
    let (frame, step) = (color.frame(), step.max(1) as usize);
    if color.format() == PixelFormat::Rgb8 {
        return shrink::<3>(&frame.rows().collect::<Vec<_>>(), step);
    }
    let rgb8 = color.to_rgb8();
    shrink::<3>(&rgb8.chunks_exact((frame.width() as usize * 3).max(1)).collect::<Vec<_>>(), step)
}

/// Returns the mean of every square of `step` pixels, rounded to the nearest number, a half up. Drops incomplete squares at the
/// right and the bottom.
pub(crate) fn shrink<const CHANNELS: usize>(rows: &[&[u8]], step: usize) -> Vec<u8> {
    match step {
        0 | 1 => rows.concat(),
        2 => match Arch::new() {
            #[cfg(target_arch = "x86_64")]
            Arch::V3(simd) if CHANNELS == 3 => Simd::vectorize(simd, avx2::Halves(simd, rows)),
            arch => arch.dispatch(By::<CHANNELS, 2>(rows)),
        },
        3 => Arch::new().dispatch(By::<CHANNELS, 3>(rows)),
        4 => Arch::new().dispatch(By::<CHANNELS, 4>(rows)),
        5..=STEP_MAX => Arch::new().dispatch(ByColumns::<CHANNELS>(rows, step)),
        _ => by_any::<CHANNELS>(rows, step),
    }
}

/// The largest step whose columns add up to a number of 16 bits.
const STEP_MAX: usize = 256;

/// Rows to be scaled down by a step of at most [`STEP_MAX`].
struct ByColumns<'a, const CHANNELS: usize>(&'a [&'a [u8]], usize);

impl<const CHANNELS: usize> WithSimd for ByColumns<'_, CHANNELS> {
    type Output = Vec<u8>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<u8> {
        by_columns::<CHANNELS>(self.0, self.1)
    }
}

/// Adds up the columns of squares, which is most of the work, then the sums of each square.
#[inline(always)]
fn by_columns<const CHANNELS: usize>(rows: &[&[u8]], step: usize) -> Vec<u8> {
    let pixels = rows.first().map_or(0, |row| row.len() / CHANNELS / step);
    let mut small = Vec::with_capacity(rows.len() / step * pixels * CHANNELS);
    let mut columns = vec![0_u16; pixels * step * CHANNELS];
    // Sums are below 2^24, also rounded up by a half, so that a product with this is exact in its upper bits.
    let (part, half) = ((1 << 40) / (step * step) as u64 + 1, (step * step / 2) as u64);
    for rows in rows.chunks_exact(step) {
        columns.fill(0);
        for row in rows {
            columns.iter_mut().zip(*row).for_each(|(sum, &channel)| *sum += u16::from(channel));
        }
        for square in columns.chunks_exact(step * CHANNELS) {
            let mut sums = [0_u32; CHANNELS];
            for column in square.as_chunks::<CHANNELS>().0 {
                sums.iter_mut().zip(column).for_each(|(sum, &column)| *sum += u32::from(column));
            }
            small.extend(sums.map(|sum| (((u64::from(sum) + half) * part) >> 40) as u8));
        }
    }
    small
}

/// Rows to be scaled down by a step that is fixed.
struct By<'a, const CHANNELS: usize, const STEP: usize>(&'a [&'a [u8]]);

impl<const CHANNELS: usize, const STEP: usize> WithSimd for By<'_, CHANNELS, STEP> {
    type Output = Vec<u8>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<u8> {
        by::<CHANNELS, STEP>(self.0)
    }
}

#[inline(always)]
fn by<const CHANNELS: usize, const STEP: usize>(rows: &[&[u8]]) -> Vec<u8> {
    let pixels = rows.first().map_or(0, |row| row.len() / CHANNELS / STEP);
    let mut small = vec![0; rows.len() / STEP * pixels * CHANNELS];
    let (squares, _) = rows.as_chunks::<STEP>();
    for (square, small) in squares.iter().zip(small.chunks_exact_mut((pixels * CHANNELS).max(1))) {
        for (block, small) in small.chunks_mut(BLOCK / STEP).enumerate() {
            let start = block * BLOCK;
            let mut padded = [[0; BLOCK]; STEP];
            let whole = square.each_ref().map(|row| row[start..].first_chunk());
            if whole.iter().all(Option::is_some) {
                means::<CHANNELS, STEP>(whole.map(|row| row.unwrap_or(&[0; BLOCK])), small);
                continue;
            }
            for (padded, row) in padded.iter_mut().zip(square) {
                let rest = &row[start..];
                padded[..rest.len()].copy_from_slice(rest);
            }
            means::<CHANNELS, STEP>(padded.each_ref(), small);
        }
    }
    small
}

/// Writes the means of whole squares.
#[inline(always)]
fn means<const CHANNELS: usize, const STEP: usize>(rows: [&[u8; BLOCK]; STEP], small: &mut [u8]) {
    let area = (STEP * STEP) as u16;
    let mut sums = [0_u16; BLOCK + BEYOND];
    for (at, sum) in sums.iter_mut().take(BLOCK).enumerate() {
        *sum = rows.iter().map(|row| u16::from(row[at])).sum();
    }
    // The mean of the square that begins at each byte, of which those at whole squares are used.
    let mut means = [0; BLOCK];
    for (at, mean) in means.iter_mut().enumerate() {
        let sum: u16 = (0..STEP).map(|pixel| sums[at + pixel * CHANNELS]).sum();
        *mean = ((sum + area / 2) / area) as u8;
    }
    let (small, _) = small.as_chunks_mut::<CHANNELS>();
    let mut done = 0;
    if CHANNELS == 3 {
        // Whole words of four pixels.
        let four = small.as_flattened_mut().as_chunks_mut::<12>().0.iter_mut();
        for (four, means) in four.zip(means.chunks_exact(4 * STEP * CHANNELS)) {
            let pixel = |index: usize| {
                let bytes = means[index * STEP * CHANNELS..].first_chunk();
                u32::from_le_bytes(*bytes.unwrap_or(&[0; 4])) & 0xff_ffff
            };
            let [a, b, c, d] = [pixel(0), pixel(1), pixel(2), pixel(3)];
            let words = [a | b << 24, b >> 8 | c << 16, c >> 16 | d << 8];
            let bytes = four.as_chunks_mut::<4>().0.iter_mut();
            bytes.zip(words).for_each(|(bytes, word)| *bytes = word.to_le_bytes());
            done += 4;
        }
    }
    for (pixel, mean) in small.iter_mut().zip(means.chunks_exact(STEP * CHANNELS)).skip(done) {
        pixel.copy_from_slice(&mean[..CHANNELS]);
    }
}

/// Halves of three channels with the shuffles of AVX2, which add neighbours with a third of the instructions.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use pulp::x86::V3;
    use pulp::{Simd, WithSimd, cast};

    /// Bytes of a row that are read for [`NEXT`] bytes of it.
    const READ: usize = 52;
    const NEXT: usize = 48;

    /// Rows of three channels, whose pixels are divided by two in both directions.
    pub(super) struct Halves<'a>(pub(super) V3, pub(super) &'a [&'a [u8]]);

    impl WithSimd for Halves<'_> {
        type Output = Vec<u8>;

        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> Vec<u8> {
            let Self(simd, rows) = self;
            let pixels = rows.first().map_or(0, |row| row.len() / 6);
            let mut small = Vec::with_capacity(rows.len() / 2 * pixels * 3);
            for [above, below] in rows.as_chunks().0 {
                let (mut above, mut below) = (&above[..6 * pixels], &below[..6 * pixels]);
                while let (Some(first), Some(second)) = (above.first_chunk(), below.first_chunk()) {
                    let [one, other] = halves(simd, first, second);
                    small.extend_from_slice(&one);
                    small.extend_from_slice(&other);
                    (above, below) = (&above[NEXT..], &below[NEXT..]);
                }
                for (above, below) in above.as_chunks::<6>().0.iter().zip(below.as_chunks::<6>().0) {
                    let sum = |at: usize| {
                        let four = [above[at], above[at + 3], below[at], below[at + 3]];
                        ((four.map(u16::from).iter().sum::<u16>() + 2) / 4) as u8
                    };
                    small.extend_from_slice(&[sum(0), sum(1), sum(2)]);
                }
            }
            small
        }
    }

    /// Returns eight pixels of twice sixteen.
    #[inline(always)]
    fn halves(simd: V3, above: &[u8; READ], below: &[u8; READ]) -> [[u8; 12]; 2] {
        const PAIRS: [u8; 16] = [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11, 0x80, 0x80, 0x80, 0x80];
        const WHOLE: [u8; 16] = [0, 1, 2, 3, 4, 5, 8, 9, 10, 11, 12, 13, 0x80, 0x80, 0x80, 0x80];
        let avx2 = simd.avx2;
        let part = |row: &[u8; READ], at: usize| -> [u8; 16] { *row[at..].first_chunk().unwrap_or(&[0; 16]) };
        let sums = |row: &[u8; READ], at: usize| {
            let pixels =
                avx2._mm256_shuffle_epi8(cast([part(row, at), part(row, at + 24)]), cast([PAIRS; 2]));
            avx2._mm256_maddubs_epi16(pixels, simd.avx._mm256_set1_epi8(1))
        };
        let means = |at: usize| {
            let sums = avx2._mm256_add_epi16(sums(above, at), sums(below, at));
            avx2._mm256_srli_epi16::<2>(avx2._mm256_add_epi16(sums, simd.avx._mm256_set1_epi16(2)))
        };
        let bytes = avx2._mm256_packus_epi16(means(0), means(12));
        let [one, other]: [[u8; 16]; 2] = cast(avx2._mm256_shuffle_epi8(bytes, cast([WHOLE; 2])));
        let whole = |half: [u8; 16]| *half.first_chunk().unwrap_or(&[0; 12]);
        [whole(one), whole(other)]
    }
}

fn by_any<const CHANNELS: usize>(rows: &[&[u8]], step: usize) -> Vec<u8> {
    let width = rows.first().map_or(0, |row| row.len() / CHANNELS / step);
    let mut small = Vec::with_capacity(rows.len() / step * width * CHANNELS);
    let mut sums = vec![0_u32; width * CHANNELS];
    let area = (step * step) as u32;
    for rows in rows.chunks_exact(step) {
        sums.fill(0);
        for row in rows {
            for (sum, square) in sums.chunks_exact_mut(CHANNELS).zip(row.chunks_exact(step * CHANNELS)) {
                for pixel in square.chunks_exact(CHANNELS) {
                    sum.iter_mut().zip(pixel).for_each(|(sum, &channel)| *sum += u32::from(channel));
                }
            }
        }
        small.extend(sums.iter().map(|sum| ((sum + area / 2) / area) as u8));
    }
    small
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_picture_is_the_mean_of_squares() {
        let rows: [&[u8]; 3] = [&[1, 3, 10, 20, 99], &[5, 7, 30, 40, 99], &[99, 99, 99, 99, 99]];
        assert_eq!(shrink::<1>(&rows, 2), [4, 25]);
        assert_eq!(shrink::<1>(&rows, 1), rows.concat());
        assert!(shrink::<1>(&rows, 6).is_empty());
    }

    #[test]
    fn a_small_image_is_rgb8_of_any_format() {
        for format in [PixelFormat::Rgb8, PixelFormat::Bgr8, PixelFormat::Yuyv] {
            let header = camrig_frame::FrameHeader::image(camrig_frame::Stream::COLOR, format, 10, 5);
            let pixels: Vec<u8> = (0..header.size_bytes()).map(|index| (index * 37) as u8).collect();
            let color = ColorView::new(Frame::new(&header, &pixels).unwrap()).unwrap();
            let rgb8 = color.to_rgb8();
            let rows: Vec<&[u8]> = rgb8.chunks_exact(30).collect();
            assert_eq!(small_rgb8(&color, 2), reference::<3>(&rows, 2), "{format}");
            assert_eq!(small_rgb8(&color, 0), rgb8, "{format}");
        }
    }

    #[test]
    fn every_processor_shrinks_alike() {
        let pixels: Vec<u8> =
            (0..700 * 12_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 16) as u8).collect();
        let rows: Vec<&[u8]> = pixels.chunks_exact(700).collect();
        assert_eq!(By::<3, 2>(&rows).with_simd(pulp::Scalar), shrink::<3>(&rows, 2));
        assert_eq!(By::<3, 3>(&rows).with_simd(pulp::Scalar), shrink::<3>(&rows, 3));
        assert_eq!(By::<1, 4>(&rows).with_simd(pulp::Scalar), shrink::<1>(&rows, 4));
    }

    /// Returns the means of an image, added one by one.
    fn reference<const CHANNELS: usize>(rows: &[&[u8]], step: usize) -> Vec<u8> {
        let (width, height) = (rows[0].len() / CHANNELS / step, rows.len() / step);
        let mut small = Vec::new();
        for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
            for channel in 0..CHANNELS {
                let row = |row: &&[u8]| -> usize {
                    (0..step).map(|pixel| usize::from(row[(x * step + pixel) * CHANNELS + channel])).sum()
                };
                let sum: usize = rows[y * step..(y + 1) * step].iter().map(row).sum();
                small.push(((sum + step * step / 2) / (step * step)) as u8);
            }
        }
        small
    }

    #[test]
    fn every_step_gives_the_means_that_are_added_one_by_one() {
        for width in [1, 5, 95, 96, 97, 288, 400] {
            for bright in [0, 200] {
                let byte = |index: usize| (index.wrapping_mul(2_654_435_761) >> 16) as u8 | bright;
                let pixels: Vec<u8> = (0..width * 3 * 19).map(byte).collect();
                let [wide, narrow]: [Vec<&[u8]>; 2] =
                    [width * 3, width].map(|bytes| pixels.chunks_exact(bytes).take(19).collect());
                for step in 1..=9 {
                    assert!(shrink::<3>(&wide, step) == reference::<3>(&wide, step), "{width} by {step}");
                    assert!(shrink::<1>(&narrow, step) == reference::<1>(&narrow, step), "{width} by {step}");
                }
            }
        }
    }

    #[test]
    fn the_sums_of_the_largest_squares_are_exact() {
        for step in [STEP_MAX - 1, STEP_MAX, STEP_MAX + 1] {
            for darker in 0..3 {
                let mut pixels = vec![255; step * step];
                pixels[..darker].fill(0);
                let rows: Vec<&[u8]> = pixels.chunks_exact(step).collect();
                assert_eq!(shrink::<1>(&rows, step), reference::<1>(&rows, step), "{step} {darker}");
            }
        }
    }
}
