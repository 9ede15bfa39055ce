//! JPEGs of pixels as they are in memory, without frames.

pub(crate) mod decode;
pub(crate) mod encode;
mod huffman;
mod transform;
