//! CDR, the encoding of ROS 2 messages: numbers at multiples of their size, after a header of four bytes that gives the byte
//! order.
//!
//! This module has no knowledge of message types.

/// Size of the header, from which alignment counts.
const HEADER_BYTES: usize = 4;

/// Appends one message in little endian.
pub(crate) struct CdrWriter<'a> {
    bytes: &'a mut Vec<u8>,
    /// Position of the first byte after the header.
    start: usize,
}

impl<'a> CdrWriter<'a> {
    /// Appends the header.
    pub(crate) fn new(bytes: &'a mut Vec<u8>) -> Self {
        bytes.extend([0, 1, 0, 0]);
        let start = bytes.len();
        Self { bytes, start }
    }

    fn aligned<const N: usize>(&mut self, number: [u8; N]) {
        let end = self.start + (self.bytes.len() - self.start).next_multiple_of(N);
        self.bytes.resize(end, 0);
        self.bytes.extend(number);
    }

    pub(crate) fn u8(&mut self, number: u8) {
        self.bytes.push(number);
    }

    pub(crate) fn u32(&mut self, number: u32) {
        self.aligned(number.to_le_bytes());
    }

    pub(crate) fn i32(&mut self, number: i32) {
        self.aligned(number.to_le_bytes());
    }

    /// Appends numbers without their count, as of an array or a structure.
    pub(crate) fn f64s(&mut self, numbers: &[f64]) {
        for number in numbers {
            self.aligned(number.to_le_bytes());
        }
    }

    /// Appends the number of elements of a sequence. A sequence has at most 4 G of them, since a frameset has less memory.
    pub(crate) fn count(&mut self, elements: usize) {
        self.u32(elements as u32);
    }

    pub(crate) fn string(&mut self, text: &str) {
        self.count(text.len() + 1);
        self.bytes.extend(text.bytes().chain([0]));
    }

    /// Appends a sequence of bytes.
    pub(crate) fn data(&mut self, data: &[u8]) {
        self.count(data.len());
        self.bytes.extend_from_slice(data);
    }
}

/// Reads one message. Each method returns `None` when the message ends before the value.
pub(crate) struct CdrReader<'a> {
    /// The message after its header.
    content: &'a [u8],
    at: usize,
    is_little_endian: bool,
}

impl<'a> CdrReader<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Option<Self> {
        let (header, content) = message.split_at_checked(HEADER_BYTES)?;
        let is_little_endian = match header[..2] {
            [0, 0] => false,
            [0, 1] => true,
            _ => return None,
        };
        Some(Self { content, at: 0, is_little_endian })
    }

    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let found = self.content.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(found)
    }

    fn aligned<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.at = self.at.next_multiple_of(N);
        let mut number: [u8; N] = self.bytes(N)?.try_into().ok()?;
        if !self.is_little_endian {
            number.reverse();
        }
        Some(number)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        Some(self.bytes(1)?[0])
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.aligned().map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.aligned().map(i32::from_le_bytes)
    }

    pub(crate) fn f64s<const N: usize>(&mut self) -> Option<[f64; N]> {
        let mut numbers = [0.0; N];
        for number in &mut numbers {
            *number = self.aligned().map(f64::from_le_bytes)?;
        }
        Some(numbers)
    }

    pub(crate) fn string(&mut self) -> Option<&'a str> {
        let count = self.u32()? as usize;
        let text = self.bytes(count)?;
        std::str::from_utf8(text.strip_suffix(&[0]).unwrap_or(text)).ok()
    }

    /// Returns a sequence of bytes.
    pub(crate) fn data(&mut self) -> Option<&'a [u8]> {
        let count = self.u32()? as usize;
        self.bytes(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_at_multiples_of_their_size() {
        let mut bytes = vec![9, 9, 9];
        let mut writer = CdrWriter::new(&mut bytes);
        writer.u8(1);
        writer.u32(2);
        writer.f64s(&[0.5]);
        writer.string("ab");
        writer.i32(-1);
        writer.data(&[7, 8]);
        let expected: Vec<u8> = [
            &[0, 1, 0, 0][..],
            &[1, 0, 0, 0, 2, 0, 0, 0],
            &0.5_f64.to_le_bytes(),
            &[3, 0, 0, 0, b'a', b'b', 0, 0, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 7, 8],
        ]
        .concat();
        assert_eq!(bytes[3..], expected);
        let read = |bytes: &[u8]| {
            let mut reader = CdrReader::new(bytes)?;
            let numbers = (reader.u8()?, reader.u32()?, reader.f64s::<1>()?[0]);
            Some((numbers, reader.string()?.to_owned(), reader.i32()?, reader.data()?.to_vec()))
        };
        assert_eq!(read(&expected), Some(((1, 2, 0.5_f64), "ab".to_owned(), -1, vec![7, 8])));
        // A truncated message has no such content.
        assert!((0..expected.len()).all(|length| read(&expected[..length]).is_none()));
        let big = [&[0, 0, 0, 0][..], &[0, 0, 0, 2, 0, 0, 0, 3]].concat();
        let mut reader = CdrReader::new(&big).unwrap();
        assert_eq!((reader.u32(), reader.u32(), reader.u8()), (Some(2), Some(3), None));
        assert!(CdrReader::new(&[0, 7, 0, 0]).is_none());
    }
}
