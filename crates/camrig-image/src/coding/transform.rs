//! The cosine transform of blocks, and its coefficients as whole numbers.
#![allow(clippy::inline_always, reason = "only inlined code gets the instructions of its caller")]

/// The order of coefficients in a file (ITU-T T.81, figure 5): the index of each in a block of rows.
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
    14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39,
    46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// The divisors of quality 50 for brightness and color (K.1 and K.2).
const LUMA: [u8; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17,
    22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78,
    87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
];
const CHROMA: [u8; 64] = [
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
    99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
];

/// The blocks that are transformed together. Their numbers of one place lie side by side, so the compiler makes vector
/// instructions of the loops over them.
pub(super) const BLOCKS: usize = 16;

/// A number of each block.
type Lanes<T> = [T; BLOCKS];

/// The divisors of coefficients.
pub(super) struct Divisors {
    /// By rows, as in [`ZIGZAG`].
    pub(super) bytes: [u8; 64],
    /// The factors for coefficients as [`dct`] returns them.
    factors: [f32; 64],
}

impl Divisors {
    /// Returns the divisors for brightness and color at a quality of 1 to 100, as the Independent JPEG Group scales them.
    pub(super) fn of_quality(quality: u8) -> [Self; 2] {
        let quality = u32::from(quality.clamp(1, 100));
        let percent = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
        [LUMA, CHROMA].map(|table| {
            let bytes = table.map(|divisor| ((u32::from(divisor) * percent + 50) / 100).clamp(1, 255) as u8);
            let factors = std::array::from_fn(|place| {
                let scale = f64::from(bytes[place]) * gain(place % 8) * gain(place / 8);
                (1.0 / scale) as f32
            });
            Self { bytes, factors }
        })
    }
}

/// Returns the factor by which [`dct`]'s coefficients of a frequency are larger, in each direction.
fn gain(frequency: usize) -> f64 {
    let scale = if frequency == 0 { 1.0 } else { std::f64::consts::SQRT_2 };
    let angle = frequency as f64 * std::f64::consts::PI / 16.0;
    angle.cos() * scale * 8.0_f64.sqrt()
}

/// Coefficients of blocks as whole numbers.
pub(super) struct Coefficients {
    /// By rows, as in [`ZIGZAG`].
    numbers: [Lanes<i16>; 64],
    /// A bit for each coefficient that is not zero, in the order of a file, eight to a byte.
    nonzero: [Lanes<u16>; 8],
    /// Rows of the blocks after the first transform, kept so that no call has to clear them.
    rows: [[Lanes<f32>; 8]; 8],
}

impl Coefficients {
    pub(super) const ZERO: Self =
        Self { numbers: [[0; BLOCKS]; 64], nonzero: [[0; BLOCKS]; 8], rows: [[[0.0; BLOCKS]; 8]; 8] };

    /// Transforms blocks that are side by side in eight rows.
    #[inline(always)]
    pub(super) fn transform(&mut self, rows: [&[[u8; 8]; BLOCKS]; 8], divisors: &Divisors) {
        for (wide, row) in self.rows.iter_mut().zip(rows) {
            for block in 0..BLOCKS {
                let mut values = dct(row[block].map(f32::from));
                // Zero is in the middle of the range, which only the mean value shows.
                values[0] -= 128.0 * 8.0;
                for (wide, value) in wide.iter_mut().zip(values) {
                    wide[block] = value;
                }
            }
        }
        for column in 0..8 {
            let factors: [f32; 8] = std::array::from_fn(|row| divisors.factors[row * 8 + column]);
            for block in 0..BLOCKS {
                let values = dct(std::array::from_fn(|row| self.rows[row][column][block]));
                for row in 0..8 {
                    self.numbers[row * 8 + column][block] = rounded(values[row] * factors[row]);
                }
            }
        }
        for (nonzero, places) in self.nonzero.iter_mut().zip(ZIGZAG.as_chunks::<8>().0) {
            *nonzero = [0; BLOCKS];
            for (bit, &place) in places.iter().enumerate() {
                for (nonzero, &number) in nonzero.iter_mut().zip(&self.numbers[usize::from(place)]) {
                    *nonzero |= u16::from(number != 0) << bit;
                }
            }
        }
    }

    /// Returns a bit for each coefficient of a block that is not zero, the first one lowest.
    #[inline(always)]
    pub(super) fn nonzero(&self, block: usize) -> u64 {
        u64::from_le_bytes(self.nonzero.map(|bits| bits[block] as u8))
    }

    /// Returns the coefficient at an index in the order of a file.
    #[inline(always)]
    pub(super) fn number(&self, block: usize, index: usize) -> i32 {
        i32::from(self.numbers[usize::from(ZIGZAG[index & 63] & 63)][block])
    }
}

/// Returns the factors by which coefficients become those of [`inverse`], from the divisors in the order of a file.
pub(super) fn inverse_factors(divisors: &[u8; 64]) -> [f32; 64] {
    let mut factors = [0.0; 64];
    for (&divisor, place) in divisors.iter().zip(ZIGZAG.map(usize::from)) {
        let scale = gain(place % 8) * gain(place / 8) / 64.0;
        factors[place] = (f64::from(divisor) * scale) as f32;
    }
    factors
}

/// Coefficients of blocks as whole numbers, as they are read.
pub(super) struct Numbers {
    /// By rows, as in [`ZIGZAG`].
    numbers: [Lanes<i16>; 64],
    /// A bit for each place at which a block has a number.
    used: u64,
}

impl Default for Numbers {
    fn default() -> Self {
        Self { numbers: [[0; BLOCKS]; 64], used: 0 }
    }
}

impl Numbers {
    #[inline(always)]
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Sets the number at a place, by rows.
    #[inline(always)]
    pub(super) fn set(&mut self, place: usize, block: usize, number: i16) {
        self.numbers[place & 63][block & (BLOCKS - 1)] = number;
        self.used |= 1 << (place & 63);
    }
}

/// Samples of blocks, of which the columns are transformed.
#[derive(Default)]
pub(super) struct Samples {
    rows: [[Lanes<f32>; 8]; 8],
}

impl Samples {
    /// Transforms the columns of blocks, of which either half has its own factors.
    #[inline(always)]
    pub(super) fn transform(&mut self, from: &Numbers, [first, second]: [&[f32; 64]; 2]) {
        for column in 0..8 {
            let mut values = [[0.0; BLOCKS]; 8];
            // Of a column with only its mean, all rows are equal.
            let is_mean = from.used & (0x0101_0101_0101_0100 << column) == 0;
            for (row, values) in values.iter_mut().enumerate().take(if is_mean { 1 } else { 8 }) {
                let place = row * 8 + column;
                let mut factors = [first[place]; BLOCKS];
                factors[BLOCKS / 2..].fill(second[place]);
                for ((value, &number), factor) in values.iter_mut().zip(&from.numbers[place]).zip(factors) {
                    *value = f32::from(number) * factor;
                }
            }
            if is_mean {
                for row in &mut self.rows {
                    row[column] = values[0];
                }
                continue;
            }
            for block in 0..BLOCKS {
                let samples = inverse(&values, block);
                for (row, sample) in self.rows.iter_mut().zip(samples) {
                    row[column][block] = sample;
                }
            }
        }
    }

    /// Transforms a row of the blocks, and writes it as bytes.
    #[inline(always)]
    pub(super) fn write(&self, y: usize, to: &mut [[u8; 8]; BLOCKS]) {
        let mut bytes = [[0_u32; BLOCKS]; 8];
        for block in 0..BLOCKS {
            let samples = inverse(&self.rows[y], block);
            for (bytes, sample) in bytes.iter_mut().zip(samples) {
                bytes[block] = byte(sample);
            }
        }
        for (block, to) in to.iter_mut().enumerate() {
            let left = bytes[0][block] | bytes[1][block] << 8 | bytes[2][block] << 16 | bytes[3][block] << 24;
            let right =
                bytes[4][block] | bytes[5][block] << 8 | bytes[6][block] << 16 | bytes[7][block] << 24;
            *to = (u64::from(left) | u64::from(right) << 32).to_le_bytes();
        }
    }
}

/// Returns the nearest byte of a sample whose zero is in the middle of the range.
#[inline(always)]
fn byte(sample: f32) -> u32 {
    const LARGE: f32 = 12_582_912.0;
    // Also limits what is too large for a whole number, of a damaged file.
    let sample = (sample + 128.0).clamp(0.0, 255.0);
    (sample + LARGE).to_bits().wrapping_sub(LARGE.to_bits())
}

/// Returns the inverse of [`dct`] for a block, except for its scale: see [`inverse_factors`].
#[inline(always)]
fn inverse(of: &[Lanes<f32>; 8], block: usize) -> [f32; 8] {
    const ROOT: f32 = std::f32::consts::SQRT_2;
    let mut x = [0.0; 8];
    for (number, lanes) in x.iter_mut().zip(of) {
        *number = lanes[block];
    }
    let (sum, difference) = (x[0] + x[4], x[0] - x[4]);
    let turned = x[2] + x[6];
    let other = (x[2] - x[6]) * ROOT - turned;
    let even = [sum + turned, difference + other, difference - other, sum - turned];

    let (inner, inner_difference) = (x[5] + x[3], x[5] - x[3]);
    let (outer, outer_difference) = (x[1] + x[7], x[1] - x[7]);
    let shared = (inner_difference + outer_difference) * 1.847_759;
    let first = outer + inner;
    let second = shared - inner_difference * 2.613_126 - first;
    let third = (outer - inner) * ROOT - second;
    let fourth = shared - outer_difference * 1.082_392_2 - third;
    [
        even[0] + first,
        even[1] + second,
        even[2] + third,
        even[3] + fourth,
        even[3] - fourth,
        even[2] - third,
        even[1] - second,
        even[0] - first,
    ]
}

/// Returns a number as the nearest whole one. The number is far below 2^22, so its fraction is lost when this is added.
#[inline(always)]
fn rounded(value: f32) -> i16 {
    const LARGE: f32 = 12_582_912.0;
    ((value + LARGE).to_bits().wrapping_sub(LARGE.to_bits())) as i16
}

/// Returns the cosine transform of eight numbers by the method of Arai, Agui and Nakajima ("A fast DCT-SQ scheme for images",
/// Transactions of the IEICE E-71, 1988). See [`gain`] for its scale.
#[inline(always)]
fn dct(x: [f32; 8]) -> [f32; 8] {
    const HALF: f32 = std::f32::consts::FRAC_1_SQRT_2;
    let sum = |index: usize| x[index] + x[7 - index];
    let difference = |index: usize| x[index] - x[7 - index];
    let (outer, inner) = (sum(0) + sum(3), sum(1) + sum(2));
    let (outer_difference, inner_difference) = (sum(0) - sum(3), sum(1) - sum(2));
    let turned = (inner_difference + outer_difference) * HALF;

    let a = difference(3) + difference(2);
    let b = (difference(2) + difference(1)) * HALF;
    let c = difference(1) + difference(0);
    let shared = (a - c) * 0.382_683_43;
    let a = a * 0.541_196_1 + shared;
    let c = c * 1.306_563 + shared;
    let (above, below) = (difference(0) + b, difference(0) - b);
    [
        outer + inner,
        above + c,
        outer_difference + turned,
        below - a,
        outer - inner,
        below + a,
        outer_difference - turned,
        above - c,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition (A.3.3), divided and rounded.
    fn defined(pixels: &[[u8; 8]; 8], row: usize, column: usize, divisor: u8) -> f64 {
        let scale = |frequency: usize| if frequency == 0 { std::f64::consts::FRAC_1_SQRT_2 } else { 1.0 };
        let wave = |place: usize, frequency: usize| {
            ((2 * place + 1) as f64 * frequency as f64 * std::f64::consts::PI / 16.0).cos()
        };
        let places = (0..8).flat_map(|y| (0..8).map(move |x| (y, x)));
        let sum: f64 =
            places.map(|(y, x)| (f64::from(pixels[y][x]) - 128.0) * wave(y, row) * wave(x, column)).sum();
        sum * scale(row) * scale(column) / 4.0 / f64::from(divisor)
    }

    #[test]
    fn coefficients_are_those_of_the_definition() {
        let mut random = 1_u32;
        let mut byte = |block: usize| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if block == 0 { 255 } else { (random >> 24) as u8 }
        };
        let rows: [[[u8; 8]; BLOCKS]; 8] =
            std::array::from_fn(|_| std::array::from_fn(|block| std::array::from_fn(|_| byte(block))));
        for (quality, divisors) in [80, 100].map(|quality| (quality, Divisors::of_quality(quality))) {
            for divisors in &divisors {
                let mut found = Coefficients::ZERO;
                found.transform(rows.each_ref(), divisors);
                for block in 0..BLOCKS {
                    let pixels = rows.map(|row| row[block]);
                    for (index, place) in ZIGZAG.map(usize::from).into_iter().enumerate() {
                        let expected = defined(&pixels, place / 8, place % 8, divisors.bytes[place]);
                        let number = found.number(block, index);
                        assert!(
                            (f64::from(number) - expected).abs() < 0.501,
                            "{quality} {place}: {expected}"
                        );
                        assert_eq!(found.nonzero(block) >> index & 1 == 1, number != 0);
                    }
                }
            }
        }
    }

    #[test]
    fn blocks_come_back_from_their_coefficients() {
        let mut random = 1_u32;
        let mut pixel = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 24) as u8
        };
        let rows: [[[u8; 8]; BLOCKS]; 8] =
            std::array::from_fn(|_| std::array::from_fn(|_| std::array::from_fn(|_| pixel())));
        let [luma, _] = Divisors::of_quality(100);
        let mut found = Coefficients::ZERO;
        found.transform(rows.each_ref(), &luma);
        let mut numbers = Numbers::default();
        for (block, index) in (0..BLOCKS).flat_map(|block| (0..64).map(move |index| (block, index))) {
            numbers.set(usize::from(ZIGZAG[index]), block, found.number(block, index) as i16);
        }
        let mut samples = Samples::default();
        samples.transform(&numbers, [&inverse_factors(&luma.bytes); 2]);
        for (y, row) in rows.iter().enumerate() {
            let mut back = [[0; 8]; BLOCKS];
            samples.write(y, &mut back);
            let far = back.as_flattened().iter().zip(row.as_flattened()).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(far <= Some(2), "{y}: {far:?}");
        }
    }

    #[test]
    fn divisors_are_those_of_annex_k_at_a_quality_of_50() {
        let bytes = |quality| Divisors::of_quality(quality).map(|divisors| divisors.bytes);
        assert_eq!(bytes(50), [LUMA, CHROMA]);
        assert_eq!(bytes(100), [[1; 64]; 2]);
        assert_eq!(bytes(1)[0][0], 255);
        assert_eq!(bytes(80)[0][..3], [6, 4, 4]);
    }
}
