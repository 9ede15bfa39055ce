//! Size and time of codings for depth, over the frames of recordings that are named in `CAMRIG_CODECS`, separated by colons.

use std::time::Instant;

use camrig::frame::PixelFormat;

use crate::opened::OpenRecording;

/// As the recorder has it.
const LEVEL: i32 = 1;
/// Rounds of each coding; the fastest one counts.
const ROUNDS: usize = 9;

/// `just bench-depth RECORDING`
#[test]
#[ignore = "a measurement, worth something in release only"]
fn depth() {
    let names = std::env::var("CAMRIG_CODECS").unwrap();
    let frames: Vec<_> = names.split(':').flat_map(frames_of).collect();
    let pixels: usize = frames.iter().map(|(_, values)| values.len()).sum();
    println!("{} frames of depth, {} bytes each on average", frames.len(), 2 * pixels / frames.len());
    for (values, width) in frames.iter().map(|(width, values)| (values, *width)) {
        assert_eq!(&joined(&split(values, width), width), values);
        assert_eq!(&from_rvl(&rvl(values), values.len()), values);
    }
    let bytes = |values: &[u16]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
    let zstd = |bytes: &[u8]| zstd::bulk::compress(bytes, LEVEL).unwrap();
    let (plain, apart): (Vec<_>, Vec<_>) =
        frames.iter().map(|(width, values)| (bytes(values), (values.as_slice(), *width))).unzip();
    measure("as it is", &plain, Vec::clone);
    measure("lz4", &plain, |bytes| lz4::block::compress(bytes, None, false).unwrap());
    measure("zstd", &plain, |bytes| zstd(bytes));
    measure("differences along rows, bytes apart, zstd", &apart, |(values, width)| {
        zstd(&split(values, *width))
    });
    measure("RVL", &apart, |(values, _)| rvl(values));
    measure("RVL, zstd", &apart, |(values, _)| zstd(&rvl(values)));
}

/// Prints the mean size and the mean time of a coding.
fn measure<T>(name: &str, frames: &[T], code: impl Fn(&T) -> Vec<u8>) {
    let round = || {
        let start = Instant::now();
        let bytes: usize = frames.iter().map(|frame| code(frame).len()).sum();
        (start.elapsed(), bytes)
    };
    let (time, bytes) = (0..ROUNDS).map(|_| round()).min().unwrap_or_default();
    let count = frames.len() as f64;
    println!("{name}: {:.0} kB, {:.2} ms", bytes as f64 / count / 1e3, time.as_secs_f64() * 1e3 / count);
}

/// Returns the width and the numbers of each depth image of a recording.
fn frames_of(path: &str) -> Vec<(usize, Vec<u16>)> {
    let recording = OpenRecording::open(path.as_ref()).unwrap();
    let mut found = Vec::new();
    for number in 0..recording.count() {
        let frameset = recording.read(number).unwrap();
        for (index, header) in frameset.header().frames.iter().enumerate() {
            if header.payload.pixel_format() == Some(PixelFormat::Z16) {
                let width = header.payload.size().unwrap().0 as usize;
                let bytes = frameset.decode(index).unwrap();
                found.push((
                    width,
                    bytes.as_chunks().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect(),
                ));
            }
        }
    }
    found
}

/// Returns the difference of each number from the one to its left: all low bytes, then all high bytes. The difference has its
/// sign in the lowest bit, so that small ones have a high byte of zero.
fn split(values: &[u16], width: usize) -> Vec<u8> {
    let mut bytes = vec![0; 2 * values.len()];
    let (low, high) = bytes.split_at_mut(values.len());
    let rows = values.chunks(width).zip(low.chunks_mut(width).zip(high.chunks_mut(width)));
    for (row, (low, high)) in rows {
        let mut left = 0;
        for ((&value, low), high) in row.iter().zip(low).zip(high) {
            [*low, *high] = zigzag(value.wrapping_sub(left)).to_le_bytes();
            left = value;
        }
    }
    bytes
}

fn joined(bytes: &[u8], width: usize) -> Vec<u16> {
    let (low, high) = bytes.split_at(bytes.len() / 2);
    let rows = low.chunks(width).zip(high.chunks(width));
    let row = |(low, high): (&[u8], &[u8])| {
        let pairs = low.iter().zip(high);
        let add = |left: &mut u16, (&low, &high)| {
            *left = left.wrapping_add(unzigzag(u16::from_le_bytes([low, high])));
            Some(*left)
        };
        pairs.scan(0, add).collect::<Vec<_>>()
    };
    rows.flat_map(row).collect()
}

fn zigzag(difference: u16) -> u16 {
    (difference << 1) ^ ((difference as i16) >> 15) as u16
}

fn unzigzag(number: u16) -> u16 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

/// Codes runs of zeros and of other numbers as Wilson's RVL does: lengths and differences in groups of three bits, of which
/// a fourth says whether more follow.
fn rvl(values: &[u16]) -> Vec<u8> {
    let mut out = Nibbles::default();
    let (mut rest, mut last) = (values, 0u16);
    while !rest.is_empty() {
        let zeros = rest.iter().take_while(|value| **value == 0).count();
        let others = rest[zeros..].iter().take_while(|value| **value != 0).count();
        out.number(zeros as u32);
        out.number(others as u32);
        for &value in &rest[zeros..zeros + others] {
            out.number(zigzag(value.wrapping_sub(last)).into());
            last = value;
        }
        rest = &rest[zeros + others..];
    }
    out.bytes
}

fn from_rvl(bytes: &[u8], count: usize) -> Vec<u16> {
    let mut nibbles = bytes.iter().flat_map(|byte| [byte & 15, byte >> 4]);
    let mut number = || {
        let (mut number, mut shift) = (0u32, 0);
        loop {
            let nibble = u32::from(nibbles.next().unwrap());
            number |= (nibble & 7) << shift;
            shift += 3;
            if nibble & 8 == 0 {
                return number;
            }
        }
    };
    let (mut values, mut last) = (Vec::new(), 0u16);
    while values.len() < count {
        let (zeros, others) = (number(), number());
        values.resize(values.len() + zeros as usize, 0);
        for _ in 0..others {
            last = last.wrapping_add(unzigzag(number() as u16));
            values.push(last);
        }
    }
    values
}

/// Half bytes in their order, the low one of a byte first.
#[derive(Default)]
struct Nibbles {
    bytes: Vec<u8>,
    is_half: bool,
}

impl Nibbles {
    fn number(&mut self, mut number: u32) {
        loop {
            let more = if number > 7 { 8 } else { 0 };
            self.nibble((number & 7) as u8 | more);
            number >>= 3;
            if number == 0 {
                return;
            }
        }
    }

    fn nibble(&mut self, nibble: u8) {
        match self.bytes.last_mut().filter(|_| self.is_half) {
            Some(byte) => *byte |= nibble << 4,
            None => self.bytes.push(nibble),
        }
        self.is_half = !self.is_half;
    }
}
