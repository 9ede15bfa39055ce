//! The bytes of MCAP records: lengths, checksums, compression. Nothing in a file is trusted.
//!
//! This module takes bytes and depends on no file and no camera. Small and rare records are parsed by the mcap crate.

use std::io::Read;

use bytes::Bytes;
use mcap::records::op;

use super::error::ChunkError;

/// The start and the end of every MCAP file.
pub(crate) const MAGIC: &[u8] = mcap::MAGIC;

/// Size of an opcode and a length.
pub(super) const HEADER_BYTES: usize = 9;

/// Maximum size of a chunk: the largest frameset, with space for its headers.
pub(super) const MAX_CHUNK_BYTES: u64 = 512 << 20;

/// Size of a chunk's header without the name of its compression, and the longest such name.
const CHUNK_HEADER_BYTES: usize = 40;
const MAX_COMPRESSION_NAME: usize = 16;

/// Number of bytes that are needed to recognise a chunk.
pub(super) const CHUNK_START_BYTES: usize = HEADER_BYTES + CHUNK_HEADER_BYTES + MAX_COMPRESSION_NAME;

/// Returns the opcode and length of a record.
pub(super) fn header(bytes: &[u8]) -> Option<(u8, u64)> {
    let (&opcode, rest) = bytes.split_first()?;
    Some((opcode, u64_at(rest, 0)?))
}

/// Consecutive records, up to the first truncated one.
pub(super) struct Records<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Records<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (opcode, length) = header(self.0)?;
        let rest = &self.0[HEADER_BYTES..];
        let content = rest.get(..usize::try_from(length).ok()?)?;
        self.0 = &rest[content.len()..];
        Some((opcode, content))
    }
}

/// The header of a chunk.
pub(super) struct ChunkHeader<'a> {
    pub(super) start_time: u64,
    pub(super) end_time: u64,
    uncompressed_bytes: u64,
    crc32: u32,
    pub(super) compression: &'a [u8],
    compressed_bytes: u64,
    size_bytes: usize,
}

impl<'a> ChunkHeader<'a> {
    /// Parses the first bytes of a chunk's content; `None` if they are inconsistent with each other or with the length.
    pub(super) fn parse(bytes: &'a [u8], length: u64) -> Option<Self> {
        let name_bytes = usize::try_from(u32_at(bytes, 28)?).ok().filter(|&n| n <= MAX_COMPRESSION_NAME)?;
        let header = Self {
            start_time: u64_at(bytes, 0)?,
            end_time: u64_at(bytes, 8)?,
            uncompressed_bytes: u64_at(bytes, 16)?,
            crc32: u32_at(bytes, 24)?,
            compression: bytes.get(32..32 + name_bytes)?,
            compressed_bytes: u64_at(bytes, 32 + name_bytes)?,
            size_bytes: CHUNK_HEADER_BYTES + name_bytes,
        };
        let fits = header.compressed_bytes.checked_add(header.size_bytes as u64) == Some(length);
        let known = matches!(header.compression, b"" | b"lz4" | b"zstd");
        (fits && known && header.start_time <= header.end_time).then_some(header)
    }
}

/// Returns the length of a chunk's content; `None` if no chunk begins with these bytes.
pub(super) fn chunk_length(bytes: &[u8]) -> Option<u64> {
    let (opcode, length) = header(bytes)?;
    (opcode == op::CHUNK).then_some(())?;
    ChunkHeader::parse(&bytes[HEADER_BYTES..], length).map(|_| length)
}

/// Returns the decompressed records of a chunk, checked against its checksum.
///
/// # Errors
/// A description of the problem.
pub(super) fn open_chunk(content: &Bytes) -> Result<Bytes, ChunkError> {
    let length = content.len() as u64;
    let header = ChunkHeader::parse(content, length).ok_or(ChunkError::Header)?;
    if header.uncompressed_bytes > MAX_CHUNK_BYTES {
        return Err(ChunkError::ContentTooLarge(header.uncompressed_bytes));
    }
    // Fits because of the limit above.
    let size_bytes = header.uncompressed_bytes as usize;
    let compressed = content.slice(header.size_bytes..);
    let records = match header.compression {
        b"" => compressed,
        b"lz4" => Bytes::from(unpack(lz4::Decoder::new(compressed.as_ref()), size_bytes)?),
        _ => Bytes::from(unpack(zstd::stream::Decoder::new(compressed.as_ref()), size_bytes)?),
    };
    if records.len() != size_bytes {
        return Err(ChunkError::Length { found: records.len(), expected: size_bytes });
    }
    // 0 means that the writer stored no checksum.
    let crc32 = if header.crc32 == 0 { 0 } else { crc32fast::hash(&records) };
    if crc32 != header.crc32 {
        return Err(ChunkError::Checksum { found: crc32, expected: header.crc32 });
    }
    Ok(records)
}

fn unpack(decoder: std::io::Result<impl Read>, size_bytes: usize) -> Result<Vec<u8>, ChunkError> {
    let mut records = Vec::new();
    // A wrong size cannot cause a larger allocation than the data.
    let mut decoder = decoder.map_err(ChunkError::Compression)?.take(size_bytes as u64 + 1);
    decoder.read_to_end(&mut records).map_err(ChunkError::Compression)?;
    Ok(records)
}

/// One message of a chunk.
pub(crate) struct Message {
    pub(crate) channel: u16,
    pub(crate) sequence: u32,
    pub(crate) log_time: u64,
    pub(crate) publish_time: u64,
    pub(crate) data: Bytes,
}

/// Returns the messages among the records of a chunk, without copying their data.
pub(crate) fn messages(records: &Bytes) -> impl Iterator<Item = Message> {
    Records(records).filter(|(opcode, _)| *opcode == op::MESSAGE).filter_map(|(_, content)| {
        Some(Message {
            channel: u16::from_le_bytes(content.get(..2)?.try_into().ok()?),
            sequence: u32_at(content, 2)?,
            log_time: u64_at(content, 6)?,
            publish_time: u64_at(content, 14)?,
            data: records.slice_ref(content.get(22..)?),
        })
    })
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
