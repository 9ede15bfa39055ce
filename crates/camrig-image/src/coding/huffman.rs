//! The codes of JPEG's coefficients: the tables of ITU-T T.81, K.3, and the bits that they become.
#![allow(clippy::inline_always, reason = "only inlined code gets the instructions of its caller")]
use super::transform::Coefficients;

/// The code of each symbol, in the lower 16 bits, and its length in bits above them.
pub(super) struct Codes([u32; 256]);

/// A table as a file has it: how many codes there are of each length from 1 to 16 bits, and their symbols in order.
pub(super) struct Table {
    pub(super) lengths: [u8; 16],
    pub(super) symbols: &'static [u8],
    pub(super) codes: Codes,
}

impl Table {
    const fn new(lengths: [u8; 16], symbols: &'static [u8]) -> Self {
        let mut codes = [0; 256];
        let (mut code, mut length, mut next) = (0_u32, 0, 0);
        while length < 16 {
            let mut of_length = lengths[length];
            while of_length > 0 {
                codes[symbols[next] as usize] = code | ((length as u32 + 1) << 16);
                code += 1;
                next += 1;
                of_length -= 1;
            }
            code <<= 1;
            length += 1;
        }
        Self { lengths, symbols, codes: Codes(codes) }
    }
}

/// The sizes of differences of mean values, which are the symbols of either table for them.
const SIZES: &[u8] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

/// The tables for mean values, and for other coefficients, of brightness (K.3 and K.5).
pub(super) static LUMA: [Table; 2] = [
    Table::new([0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], SIZES),
    Table::new(
        [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125],
        &[
            0x01, 0x02, 0x03, 0x00, 0x04, 0x11, 0x05, 0x12, 0x21, 0x31, 0x41, 0x06, 0x13, 0x51, 0x61, 0x07,
            0x22, 0x71, 0x14, 0x32, 0x81, 0x91, 0xa1, 0x08, 0x23, 0x42, 0xb1, 0xc1, 0x15, 0x52, 0xd1, 0xf0,
            0x24, 0x33, 0x62, 0x72, 0x82, 0x09, 0x0a, 0x16, 0x17, 0x18, 0x19, 0x1a, 0x25, 0x26, 0x27, 0x28,
            0x29, 0x2a, 0x34, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49,
            0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69,
            0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89,
            0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
            0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3, 0xc4, 0xc5,
            0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda, 0xe1, 0xe2,
            0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
            0xf9, 0xfa,
        ],
    ),
];

/// The same of color (K.4 and K.6).
pub(super) static CHROMA: [Table; 2] = [
    Table::new([0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0], SIZES),
    Table::new(
        [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119],
        &[
            0x00, 0x01, 0x02, 0x03, 0x11, 0x04, 0x05, 0x21, 0x31, 0x06, 0x12, 0x41, 0x51, 0x07, 0x61, 0x71,
            0x13, 0x22, 0x32, 0x81, 0x08, 0x14, 0x42, 0x91, 0xa1, 0xb1, 0xc1, 0x09, 0x23, 0x33, 0x52, 0xf0,
            0x15, 0x62, 0x72, 0xd1, 0x0a, 0x16, 0x24, 0x34, 0xe1, 0x25, 0xf1, 0x17, 0x18, 0x19, 0x1a, 0x26,
            0x27, 0x28, 0x29, 0x2a, 0x35, 0x36, 0x37, 0x38, 0x39, 0x3a, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48,
            0x49, 0x4a, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5a, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68,
            0x69, 0x6a, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78, 0x79, 0x7a, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87,
            0x88, 0x89, 0x8a, 0x92, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0xa2, 0xa3, 0xa4, 0xa5,
            0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xb2, 0xb3, 0xb4, 0xb5, 0xb6, 0xb7, 0xb8, 0xb9, 0xba, 0xc2, 0xc3,
            0xc4, 0xc5, 0xc6, 0xc7, 0xc8, 0xc9, 0xca, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8, 0xd9, 0xda,
            0xe2, 0xe3, 0xe4, 0xe5, 0xe6, 0xe7, 0xe8, 0xe9, 0xea, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8,
            0xf9, 0xfa,
        ],
    ),
];

/// The symbol of no more coefficients, and that of 16 zeros.
const END: usize = 0x00;
pub(super) const ZEROS: usize = 0xf0;

/// Appends bits to a file.
pub(super) struct BitWriter<'a> {
    file: &'a mut Vec<u8>,
    /// The last bits; `count` of them, always less than 64, are not in the file yet.
    bits: u64,
    count: u32,
}

impl<'a> BitWriter<'a> {
    pub(super) fn new(file: &'a mut Vec<u8>) -> Self {
        Self { file, bits: 0, count: 0 }
    }

    /// Appends up to 32 bits.
    #[inline(always)]
    fn put(&mut self, bits: u32, length: u32) {
        let free = 64 - self.count;
        if length < free {
            self.bits = self.bits << length | u64::from(bits);
            self.count += length;
            return;
        }
        let left = length - free;
        self.write(self.bits << free | u64::from(bits) >> left);
        // The bits above those that are left are lost when others are appended.
        (self.bits, self.count) = (u64::from(bits), left);
    }

    /// Appends a symbol, and the bits of a number of this size.
    #[inline(always)]
    fn put_number(&mut self, codes: &Codes, zeros: u32, number: i32) {
        let size = 32 - number.unsigned_abs().leading_zeros();
        // A negative number is coded as one less.
        let bits = (number + (number >> 31)) as u32 & ((1 << size) - 1);
        let code = codes.0[(zeros << 4 | size) as usize & 0xff];
        self.put((code & 0xffff) << size | bits, (code >> 16) + size);
    }

    #[inline(always)]
    fn put_symbol(&mut self, codes: &Codes, symbol: usize) {
        let code = codes.0[symbol];
        self.put(code & 0xffff, code >> 16);
    }

    /// Appends the coefficients of a block, in the order of a file; the first one as the difference to `before`.
    #[inline(always)]
    pub(super) fn put_block(
        &mut self,
        blocks: &Coefficients,
        block: usize,
        before: &mut i32,
        [means, others]: &[Table; 2],
    ) {
        let mean = blocks.number(block, 0);
        self.put_number(&means.codes, 0, mean - *before);
        *before = mean;
        let codes = &others.codes;
        let mut left = blocks.nonzero(block) >> 1;
        let mut at = 1;
        while left != 0 {
            let mut zeros = left.trailing_zeros();
            at += zeros as usize;
            left = left >> zeros >> 1;
            while zeros > 15 {
                self.put_symbol(codes, ZEROS);
                zeros -= 16;
            }
            self.put_number(codes, zeros, blocks.number(block, at));
            at += 1;
        }
        if at < 64 {
            self.put_symbol(codes, END);
        }
    }

    #[inline(always)]
    fn write(&mut self, bits: u64) {
        let bytes = bits.to_be_bytes();
        // A byte of ones is one whose highest bit is lost when one is added; a few others are taken for it, which costs
        // only time.
        if bits & 0x8080_8080_8080_8080 & !bits.wrapping_add(0x0101_0101_0101_0101) == 0 {
            self.file.extend_from_slice(&bytes);
        } else {
            self.write_with_zeros(&bytes);
        }
    }

    /// Writes bytes, and a zero behind each byte of ones, which would begin a marker.
    #[cold]
    fn write_with_zeros(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.file.push(byte);
            if byte == 0xff {
                self.file.push(0);
            }
        }
    }

    /// Writes the last bits, filled up with ones.
    pub(super) fn finish(mut self) {
        self.put(0x7f, 7);
        let bytes = (self.count / 8) as usize;
        // Those behind the last whole byte are ones that fill it up, and are not written.
        let last = (self.bits << (63 - self.count) << 1).to_be_bytes();
        self.write_with_zeros(&last[..bytes]);
    }
}
