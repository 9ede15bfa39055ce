//! Images scaled down by a whole number: each pixel is the mean of a square.
//!
//! Most pictures are a half, a third or a quarter of their frame. Their loops have a fixed length and no division, so the
//! compiler makes vector instructions of them, those that the processor has.
#![allow(clippy::inline_always, reason = "only inlined code gets the instructions of its caller")]

use camrig_frame::Frame;
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

/// Returns the mean of every square of `step` pixels, rounded down. Drops incomplete squares at the right and the bottom.
pub(crate) fn shrink<const CHANNELS: usize>(rows: &[&[u8]], step: usize) -> Vec<u8> {
    match step {
        0 | 1 => rows.concat(),
        2 => Arch::new().dispatch(By::<CHANNELS, 2>(rows)),
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
    // Sums are below 2^24, so that a product with this is exact in its upper bits.
    let part = (1 << 40) / (step * step) as u64 + 1;
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
            small.extend(sums.map(|sum| ((u64::from(sum) * part) >> 40) as u8));
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
            means::<CHANNELS, STEP>(square.map(|row| &row[start..row.len().min(start + BLOCK)]), small);
        }
    }
    small
}

/// Writes the means of whole squares.
#[inline(always)]
fn means<const CHANNELS: usize, const STEP: usize>(rows: [&[u8]; STEP], small: &mut [u8]) {
    let mut sums = [0_u16; BLOCK + BEYOND];
    for row in rows {
        sums.iter_mut().zip(row).for_each(|(sum, &channel)| *sum += u16::from(channel));
    }
    // The mean of the square that begins at each byte, of which those at whole squares are used.
    let mut means = [0; BLOCK];
    for (at, mean) in means.iter_mut().enumerate() {
        let sum: u16 = (0..STEP).map(|pixel| sums[at + pixel * CHANNELS]).sum();
        *mean = (sum / (STEP * STEP) as u16) as u8;
    }
    let (small, _) = small.as_chunks_mut::<CHANNELS>();
    for (pixel, mean) in small.iter_mut().zip(means.chunks_exact(STEP * CHANNELS)) {
        pixel.copy_from_slice(&mean[..CHANNELS]);
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
        small.extend(sums.iter().map(|sum| (sum / area) as u8));
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
                small.push((sum / (step * step)) as u8);
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
