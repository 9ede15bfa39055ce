//! Converts complete images of YUYV or UYVY to red, green and blue, with the vector instructions that the processor has.

use pulp::{Arch, Simd, WithSimd};

use crate::format::yuv_to_rgb;

/// The chroma that a pixel without a partner lacks.
const NO_CHROMA: u8 = 128;

/// Writes rows of pairs of pixels as RGB8. The brightness of a pixel is its byte `luma`, 0 or 1, the chroma the other one.
pub(crate) fn write_rgb8<'a>(
    rows: impl Iterator<Item = &'a [u8]>,
    luma: usize,
    rgb: impl Iterator<Item = &'a mut [u8]>,
) {
    let arch = Arch::new();
    for (row, rgb) in rows.zip(rgb) {
        match luma {
            0 => arch.dispatch(Row::<0>(row, rgb)),
            _ => arch.dispatch(Row::<1>(row, rgb)),
        }
    }
}

/// A row, and its place as RGB8.
struct Row<'a, const LUMA: usize>(&'a [u8], &'a mut [u8]);

impl<const LUMA: usize> WithSimd for Row<'_, LUMA> {
    type Output = ();

    #[allow(clippy::inline_always, reason = "only inlined code gets the instructions of its caller")]
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        convert::<LUMA>(self.0, self.1);
    }
}

#[allow(clippy::inline_always, reason = "only inlined code gets the instructions of its caller")]
#[inline(always)]
fn convert<const LUMA: usize>(row: &[u8], rgb: &mut [u8]) {
    let (pairs, last) = row.as_chunks::<4>();
    let (colors, last_color) = rgb.as_chunks_mut::<6>();
    for (pair, colors) in pairs.iter().zip(colors) {
        let (u, v) = (pair[1 - LUMA], pair[3 - LUMA]);
        let [red, green, blue] = yuv_to_rgb(pair[LUMA], u, v);
        let [next_red, next_green, next_blue] = yuv_to_rgb(pair[2 + LUMA], u, v);
        *colors = [red, green, blue, next_red, next_green, next_blue];
    }
    if let &[one, other] = last {
        let [y, u] = if LUMA == 0 { [one, other] } else { [other, one] };
        last_color.copy_from_slice(&yuv_to_rgb(y, u, NO_CHROMA));
    }
}
