//! Files of `NumPy`, version 1.0: a magic number, the length of a header that ends at a multiple of 64, the array.
//!
//! It deliberately does not depend on a file system.

use bytes::Bytes;
use camrig::frame::DType;

const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";

/// The magic and the length of the header.
const PREFIX_BYTES: usize = MAGIC.len() + 2;

/// Returns a file that holds an array of this shape, whose last dimension is contiguous.
pub(crate) fn file(dtype: DType, shape: &[u32], elements: &[u8]) -> Vec<u8> {
    let lengths: Vec<_> = shape.iter().map(u32::to_string).collect();
    // A tuple of one has a comma.
    let comma = if shape.len() == 1 { "," } else { "" };
    let (kind, shape) = (dtype.numpy_name(), format!("({}{comma})", lengths.join(", ")));
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
    let padding = (header.len() + PREFIX_BYTES + 1).next_multiple_of(64) - (header.len() + PREFIX_BYTES + 1);
    let length = (header.len() + padding + 1) as u16;
    let mut file = MAGIC.to_vec();
    file.extend(length.to_le_bytes());
    file.extend(header.bytes().chain(std::iter::repeat_n(b' ', padding)).chain([b'\n']));
    file.extend(elements);
    file
}

/// Returns the array of a file; `None` when it is not one of these files.
pub(crate) fn elements(file: &Bytes) -> Option<Bytes> {
    let rest = file.strip_prefix(MAGIC)?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let start = PREFIX_BYTES + usize::from(u16::from_le_bytes(*length));
    (rest.len() >= start - PREFIX_BYTES).then(|| file.slice(start..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_comes_back() {
        for (shape, text) in
            [(&[2, 3][..], "'shape': (2, 3), }"), (&[6], "'shape': (6,), }"), (&[], "'shape': (), }")]
        {
            let file = Bytes::from(file(DType::F32, shape, &[7; 24]));
            assert_eq!((file.len() - 24) % 64, 0);
            let header = String::from_utf8_lossy(&file[PREFIX_BYTES..]);
            assert!(header.starts_with("{'descr': '<f4', 'fortran_order': False, ") && header.contains(text));
            assert_eq!(elements(&file).unwrap(), [7; 24].as_slice());
            assert_eq!(elements(&file.slice(..40)), None);
        }
        assert_eq!(elements(&Bytes::from_static(b"no")), None);
    }
}
