//! Converts complete images of YUYV or UYVY to red, green and blue, with the vector instructions that the processor has.
#![allow(clippy::inline_always, reason = "only inlined code gets the instructions of its caller")]

use pulp::{Arch, Simd, WithSimd};

use crate::format::yuv_to_rgb;

/// The chroma that a pixel without a partner lacks.
const NO_CHROMA: u8 = 128;

/// Pairs of pixels that are converted together.
const PAIRS: usize = 32;

/// Appends rows of pairs of pixels as RGB8. The brightness of a pixel is its byte `luma`, 0 or 1, the chroma the other one.
pub(crate) fn append_rgb8<'a>(rows: impl Iterator<Item = &'a [u8]>, luma: usize, rgb: &mut Vec<u8>) {
    let arch = Arch::new();
    for row in rows {
        match luma {
            0 => arch.dispatch(Row::<0>(row, rgb)),
            _ => arch.dispatch(Row::<1>(row, rgb)),
        }
    }
}

/// A row, and where it is appended as RGB8.
struct Row<'a, const LUMA: usize>(&'a [u8], &'a mut Vec<u8>);

impl<const LUMA: usize> WithSimd for Row<'_, LUMA> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        convert::<LUMA>(self.0, self.1);
    }
}

#[inline(always)]
fn convert<const LUMA: usize>(row: &[u8], rgb: &mut Vec<u8>) {
    let (pairs, last) = row.as_chunks::<4>();
    let (blocks, rest) = pairs.as_chunks::<PAIRS>();
    for block in blocks {
        rgb.extend_from_slice(colors::<LUMA>(block).as_flattened());
    }
    match pairs.last_chunk() {
        // The last block again, with those pixels in it that are behind the others.
        Some(block) if !rest.is_empty() => {
            rgb.extend_from_slice(colors::<LUMA>(block)[2 * (PAIRS - rest.len())..].as_flattened());
        }
        _ => {
            for pair in rest {
                rgb.extend_from_slice(colors_of_pair::<LUMA>(*pair).as_flattened());
            }
        }
    }
    if let &[one, other] = last {
        let [y, u] = if LUMA == 0 { [one, other] } else { [other, one] };
        rgb.extend_from_slice(&yuv_to_rgb(y, u, NO_CHROMA));
    }
}

fn colors_of_pair<const LUMA: usize>(pair: [u8; 4]) -> [[u8; 3]; 2] {
    let (u, v) = (pair[1 - LUMA], pair[3 - LUMA]);
    [yuv_to_rgb(pair[LUMA], u, v), yuv_to_rgb(pair[2 + LUMA], u, v)]
}

/// Returns the same colors as [`yuv_to_rgb`], which computes with 32 bits, with 16: every factor is split into a multiple of
/// 256, which is added after the shift, and a rest whose sum with the others fits.
#[inline(always)]
fn colors<const LUMA: usize>(pairs: &[[u8; 4]; PAIRS]) -> [[u8; 3]; 2 * PAIRS] {
    let words: [u32; PAIRS] = std::array::from_fn(|index| u32::from_le_bytes(pairs[index]));
    let channel = |byte: usize| -> [i16; PAIRS] {
        std::array::from_fn(|index| (words[index] >> (8 * byte) & 0xff) as i16)
    };
    let (even, odd) = (channel(LUMA), channel(2 + LUMA));
    let (u, v) = (channel(1 - LUMA), channel(3 - LUMA));
    // Both pixels of a pair as two bytes of one number.
    let mut channels = [[0_u16; PAIRS]; 3];
    let [reds, greens, blues] = &mut channels;
    for index in 0..PAIRS {
        let (u, v) = (u[index] - 128, v[index] - 128);
        let both = |whole: i16, part: i16| {
            let byte = |y: i16| (y + whole + ((42 * y + (128 - 298 * 16) + part) >> 8)).clamp(0, 255) as u16;
            byte(even[index]) | byte(odd[index]) << 8
        };
        reds[index] = both(v, 153 * v);
        greens[index] = both(-v, 48 * v - 100 * u);
        blues[index] = both(2 * u, 4 * u);
    }
    let channels = channels.map(|channel| channel.map(u16::to_le_bytes));
    let [reds, greens, blues] = channels.each_ref().map(|channel| channel.as_flattened());
    let mut colors = [[0; 3]; 2 * PAIRS];
    for (((color, &red), &green), &blue) in colors.iter_mut().zip(reds).zip(greens).zip(blues) {
        *color = [red, green, blue];
    }
    colors
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All brightnesses with all chromas, in rows of every kind of length.
    #[test]
    fn every_color_is_that_of_the_plain_formula() {
        let mut rgb = Vec::new();
        for (u, v) in (0..=255).flat_map(|u| (0..=255).map(move |v| (u, v))) {
            let row: Vec<u8> = (0..=255_u8).step_by(2).flat_map(|y| [y, u, y + 1, v]).collect();
            rgb.clear();
            append_rgb8(std::iter::once(row.as_slice()), 0, &mut rgb);
            let expected = (0..=255).map(|y| yuv_to_rgb(y, u, v));
            assert!(rgb.as_chunks::<3>().0.iter().copied().eq(expected), "{u} {v}");
        }
    }

    #[test]
    fn rows_of_every_length_are_converted() {
        let byte = |index: usize| (index.wrapping_mul(2_654_435_761) >> 13) as u8;
        for pixels in 0..=2 * PAIRS + 70 {
            let row: Vec<u8> = (0..2 * pixels).map(byte).collect();
            let swapped: Vec<u8> =
                row.as_chunks::<2>().0.iter().flat_map(|&[one, other]| [other, one]).collect();
            let pixel = |index: usize| {
                let pair = index & !1;
                let v = row.get(2 * (pair + 1) + 1).copied().unwrap_or(NO_CHROMA);
                yuv_to_rgb(row[2 * index], row[2 * pair + 1], v)
            };
            let expected: Vec<u8> = (0..pixels).flat_map(pixel).collect();
            for (luma, row) in [(0, &row), (1, &swapped)] {
                let mut rgb = vec![7];
                append_rgb8([row.as_slice()].into_iter(), luma, &mut rgb);
                assert!(rgb[1..] == expected, "{pixels} {luma}");
                let mut plain = vec![7];
                match luma {
                    0 => Row::<0>(row, &mut plain).with_simd(pulp::Scalar),
                    _ => Row::<1>(row, &mut plain).with_simd(pulp::Scalar),
                }
                assert!(plain == rgb, "{pixels} {luma}");
            }
        }
    }
}
