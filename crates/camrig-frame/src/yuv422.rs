//! Converts complete images of YUYV or UYVY to red, green and blue, with the vector instructions that the processor has.
#![allow(clippy::inline_always, reason = "only inlined code gets the instructions of its caller")]

use pulp::{Arch, Simd, WithSimd};

use crate::format::yuv_to_rgb;

/// The chroma that a pixel without a partner lacks.
const NO_CHROMA: u8 = 128;

/// Pairs of pixels that are converted together.
const PAIRS: usize = 16;

/// Pairs of pixels that are converted together, and their colors.
type Block = [[u8; 4]; PAIRS];
type Colors = [[u8; 3]; 2 * PAIRS];

/// Appends rows of pairs of pixels as RGB8. The brightness of a pixel is its byte `luma`, 0 or 1, the chroma the other one.
pub(crate) fn append_rgb8<'a>(rows: impl Iterator<Item = &'a [u8]>, luma: usize, rgb: &mut Vec<u8>) {
    let arch = Arch::new();
    for row in rows {
        match luma {
            0 => append_row::<0>(arch, row, rgb),
            _ => append_row::<1>(arch, row, rgb),
        }
    }
}

fn append_row<const LUMA: usize>(arch: Arch, row: &[u8], rgb: &mut Vec<u8>) {
    match arch {
        #[cfg(target_arch = "x86_64")]
        Arch::V3(simd) => Simd::vectorize(simd, Row::<_, LUMA>(simd, row, rgb)),
        _ => arch.dispatch(Row::<_, LUMA>(Portable, row, rgb)),
    }
}

/// A way to convert pairs of pixels.
trait Conversion: Copy {
    fn colors<const LUMA: usize>(self, pairs: &Block) -> Colors;
}

/// A conversion, a row, and where it is appended as RGB8.
struct Row<'a, C, const LUMA: usize>(C, &'a [u8], &'a mut Vec<u8>);

impl<C: Conversion, const LUMA: usize> WithSimd for Row<'_, C, LUMA> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        convert::<C, LUMA>(self.0, self.1, self.2);
    }
}

#[inline(always)]
fn convert<C: Conversion, const LUMA: usize>(conversion: C, row: &[u8], rgb: &mut Vec<u8>) {
    let (pairs, last) = row.as_chunks::<4>();
    let (blocks, rest) = pairs.as_chunks::<PAIRS>();
    for block in blocks {
        rgb.extend_from_slice(conversion.colors::<LUMA>(block).as_flattened());
    }
    match pairs.last_chunk() {
        // The last block again, with those pixels in it that are behind the others.
        Some(block) if !rest.is_empty() => {
            rgb.extend_from_slice(
                conversion.colors::<LUMA>(block)[2 * (PAIRS - rest.len())..].as_flattened(),
            );
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

/// The conversion that the compiler has to vectorize. It returns the same colors as [`yuv_to_rgb`], which computes with 32 bits,
/// with 16: every factor is split into a multiple of 256, which is added after the shift, and a rest whose sum with the others
/// fits.
#[derive(Clone, Copy)]
struct Portable;

impl Conversion for Portable {
    #[inline(always)]
    fn colors<const LUMA: usize>(self, pairs: &Block) -> Colors {
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
                let byte =
                    |y: i16| (y + whole + ((42 * y + (128 - 298 * 16) + part) >> 8)).clamp(0, 255) as u16;
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
}

/// The same with the shuffles of AVX2, which separate the bytes of pixels and interleave colors with half of the instructions.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::__m256i;

    use pulp::cast;
    use pulp::x86::V3;

    use super::{Block, Colors, Conversion};

    /// An index that gives zero.
    const ZERO: u8 = 0x80;

    /// Repeats 16 bytes, since AVX2 shuffles each half of a vector alone.
    const fn twice(half: [u8; 16]) -> [u8; 32] {
        let mut both = [0; 32];
        let mut at = 0;
        while at < 32 {
            both[at] = half[at % 16];
            at += 1;
        }
        both
    }

    /// The indices that give each of eight pixels byte `byte` of its pair, as 16 bits.
    const fn byte_of_pair(byte: u8) -> [u8; 32] {
        let mut indices = [ZERO; 16];
        let mut pixel = 0;
        while pixel < 8 {
            indices[2 * pixel as usize] = 4 * (pixel / 2) + byte;
            pixel += 1;
        }
        twice(indices)
    }

    /// The indices that move each of 16 values of a channel to where it is in one of three vectors of colors.
    const fn spread(channel: usize) -> [u8; 32] {
        let mut indices = [0; 16];
        let mut at = 0;
        while at < 16 {
            let vector = (channel + 3 * 16 - at) % 3;
            indices[at] = ((16 * vector + at) / 3) as u8;
            at += 1;
        }
        twice(indices)
    }

    /// The bytes of a vector of colors that are those of a channel.
    const fn bytes_of(channel: usize, vector: usize) -> [u8; 32] {
        let mut bytes = [0; 16];
        let mut at = 0;
        while at < 16 {
            if (vector + at) % 3 == channel {
                bytes[at] = 0xff;
            }
            at += 1;
        }
        twice(bytes)
    }

    #[inline(always)]
    fn words(simd: V3, value: i16) -> __m256i {
        simd.avx._mm256_set1_epi16(value)
    }

    /// The chroma of 16 pixels.
    #[inline(always)]
    fn chroma(simd: V3, pixels: __m256i, indices: [u8; 32]) -> __m256i {
        let chroma = simd.avx2._mm256_shuffle_epi8(pixels, cast(indices));
        simd.avx2._mm256_sub_epi16(chroma, words(simd, 128))
    }

    /// A channel of 16 pixels, not yet limited to a byte.
    #[inline(always)]
    fn channel(simd: V3, y: __m256i, part_y: __m256i, whole: __m256i, part: __m256i) -> __m256i {
        let avx2 = simd.avx2;
        let part = avx2._mm256_srai_epi16::<8>(avx2._mm256_add_epi16(part_y, part));
        avx2._mm256_add_epi16(avx2._mm256_add_epi16(y, whole), part)
    }

    /// Red, green and blue of 16 pixels.
    #[inline(always)]
    fn channels<const LUMA: usize>(simd: V3, pixels: __m256i) -> [__m256i; 3] {
        let avx2 = simd.avx2;
        let y = match LUMA {
            0 => avx2._mm256_and_si256(pixels, words(simd, 0xff)),
            _ => avx2._mm256_srli_epi16::<8>(pixels),
        };
        let u = chroma(simd, pixels, const { byte_of_pair(1 - LUMA as u8) });
        let v = chroma(simd, pixels, const { byte_of_pair(3 - LUMA as u8) });
        let part_y = avx2._mm256_mullo_epi16(y, words(simd, 42));
        let part_y = avx2._mm256_add_epi16(part_y, words(simd, 128 - 298 * 16));
        let red = channel(simd, y, part_y, v, avx2._mm256_mullo_epi16(v, words(simd, 153)));
        let green = avx2._mm256_sub_epi16(
            avx2._mm256_mullo_epi16(v, words(simd, 48)),
            avx2._mm256_mullo_epi16(u, words(simd, 100)),
        );
        let green = channel(simd, y, part_y, avx2._mm256_sub_epi16(words(simd, 0), v), green);
        let (two, four) = (avx2._mm256_slli_epi16::<1>(u), avx2._mm256_slli_epi16::<2>(u));
        [red, green, channel(simd, y, part_y, two, four)]
    }

    /// A vector of colors, of channels that were spread.
    #[inline(always)]
    fn blend(simd: V3, [red, green, blue]: [__m256i; 3], greens: [u8; 32], blues: [u8; 32]) -> __m256i {
        let two = simd.avx2._mm256_blendv_epi8(red, green, cast(greens));
        simd.avx2._mm256_blendv_epi8(two, blue, cast(blues))
    }

    impl Conversion for V3 {
        #[inline(always)]
        fn colors<const LUMA: usize>(self, pairs: &Block) -> Colors {
            let simd = self;
            let avx2 = simd.avx2;
            // Of four times eight pixels the first and third, and the second and fourth, so that packing gives them in order.
            let [first, second, third, fourth]: [[u8; 16]; 4] = cast(*pairs);
            let even = channels::<LUMA>(simd, cast([first, third]));
            let odd = channels::<LUMA>(simd, cast([second, fourth]));
            let spread = const { [spread(0), spread(1), spread(2)] };
            let mut channels = even;
            for ((channel, odd), spread) in channels.iter_mut().zip(odd).zip(spread) {
                *channel = avx2._mm256_shuffle_epi8(avx2._mm256_packus_epi16(*channel, odd), cast(spread));
            }
            let one = blend(simd, channels, const { bytes_of(1, 0) }, const { bytes_of(2, 0) });
            let two = blend(simd, channels, const { bytes_of(1, 1) }, const { bytes_of(2, 1) });
            let three = blend(simd, channels, const { bytes_of(1, 2) }, const { bytes_of(2, 2) });
            cast([
                avx2._mm256_permute2x128_si256::<0x20>(one, two),
                avx2._mm256_permute2x128_si256::<0x30>(three, one),
                avx2._mm256_permute2x128_si256::<0x31>(two, three),
            ])
        }
    }
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
        for pixels in 0..=4 * PAIRS + 70 {
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
                    0 => Row::<_, 0>(Portable, row, &mut plain).with_simd(pulp::Scalar),
                    _ => Row::<_, 1>(Portable, row, &mut plain).with_simd(pulp::Scalar),
                }
                assert!(plain == rgb, "{pixels} {luma}");
            }
        }
    }
}
