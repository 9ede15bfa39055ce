//! The sum of bytes, with the vector instructions that the processor has.
#![allow(clippy::inline_always, reason = "only inlined code gets the instructions of its caller")]

use pulp::{Arch, Simd, WithSimd};

/// Bytes whose sum fits 16 bits.
const LANES: usize = 64;

/// Returns the sum of bytes.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    Arch::new().dispatch(Sum(bytes))
}

struct Sum<'a>(&'a [u8]);

impl WithSimd for Sum<'_> {
    type Output = u64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> u64 {
        let (whole, rest) = self.0.as_chunks::<LANES>();
        let mut total = 0;
        for bytes in whole {
            total += u64::from(bytes.iter().map(|&byte| u16::from(byte)).sum::<u16>());
        }
        total + rest.iter().map(|&byte| u64::from(byte)).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_single_bytes() {
        let bytes: Vec<u8> =
            (0..70_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for length in (0..300).chain([bytes.len()]) {
            let expected = bytes[..length].iter().copied().map(u64::from).sum::<u64>();
            assert_eq!(
                (sum(&bytes[..length]), Sum(&bytes[..length]).with_simd(pulp::Scalar)),
                (expected, expected)
            );
        }
        assert_eq!(sum(&vec![255; 100_000]), 25_500_000);
    }
}
