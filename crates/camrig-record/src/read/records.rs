//! The bytes of MCAP records: lengths, checksums, compression. Nothing in a file is trusted.

use std::io::{self, BufReader, Read};

use bytes::Bytes;
use mcap::records::op;

use super::buffers::Buffers;
use super::error::ChunkError;
use super::fields::Fields;
use super::file::RecordedFile;
use crate::compression::Compression;

/// The start and the end of every MCAP file.
pub(crate) const MAGIC: &[u8] = mcap::MAGIC;

/// Size of an opcode and a length.
pub(super) const HEADER_BYTES: usize = 9;

/// Maximum size of a chunk's content: the largest frameset of any rig, with space for its headers.
pub(super) const MAX_CONTENT_BYTES: u64 = 512 << 20;

/// Size of a message before its data.
const MESSAGE_HEADER_BYTES: usize = 22;

/// Size of a chunk's header without the name of its compression, and the longest such name.
const CHUNK_HEADER_BYTES: usize = 40;
const MAX_COMPRESSION_NAME: usize = 16;

/// Number of bytes that are needed to recognise a chunk.
pub(super) const CHUNK_START_BYTES: usize = HEADER_BYTES + CHUNK_HEADER_BYTES + MAX_COMPRESSION_NAME;

/// Maximum memory that zstd may ask for, as a power of two. The levels up to 19 take at most half of it.
const ZSTD_WINDOW_LOG: u32 = 24;

/// Size of the buffer between a file and a decoder.
const BUFFER_BYTES: usize = 128 << 10;

/// Size of the pieces that a chunk is read in: their checksum is computed while they are in the processor's cache.
const PIECE_BYTES: usize = 256 << 10;

/// Returns the opcode and length of a record.
pub(super) fn header(bytes: &[u8]) -> Option<(u8, u64)> {
    let (&opcode, rest) = bytes.split_first()?;
    Some((opcode, Fields(rest).u64()?))
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

/// Consecutive records that are read one after the other, so that they need not be in memory together.
pub(super) struct RecordReader<R>(pub(super) R);

impl<R: Read> RecordReader<R> {
    /// Reads the opcode and length of the next record; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<(u8, u64)>> {
        let mut bytes = [0; HEADER_BYTES];
        let mut filled = 0;
        while filled < HEADER_BYTES {
            match self.0.read(&mut bytes[filled..])? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => filled += count,
            }
        }
        Ok(header(&bytes))
    }

    /// Reads the first `most` bytes of a record of this length, and skips the rest.
    pub(super) fn content(&mut self, length: u64, most: usize) -> io::Result<Vec<u8>> {
        let wanted = length.min(most as u64);
        let mut bytes = Vec::new();
        // The memory grows with the bytes of the file, not with the length that a record claims.
        self.0.by_ref().take(wanted).read_to_end(&mut bytes)?;
        let skipped = io::copy(&mut self.0.by_ref().take(length - wanted), &mut io::sink())?;
        if bytes.len() as u64 + skipped == length {
            Ok(bytes)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }
}

/// The header of a chunk.
#[derive(Clone, Debug)]
pub(super) struct ChunkHeader {
    pub(super) start_time: u64,
    pub(super) end_time: u64,
    pub(super) compression: Compression,
    content_bytes: u64,
    crc32: u32,
    /// Size of this header.
    size_bytes: usize,
}

impl ChunkHeader {
    /// Parses the first bytes of a chunk's record; `None` if they are inconsistent.
    pub(super) fn parse(record: &[u8]) -> Option<(Self, u64)> {
        let (opcode, length) = header(record)?;
        (opcode == op::CHUNK).then_some(())?;
        let mut fields = Fields(&record[HEADER_BYTES..]);
        let (start_time, end_time) = (fields.u64()?, fields.u64()?);
        let (content_bytes, crc32) = (fields.u64()?, fields.u32()?);
        let name = fields.data().filter(|name| name.len() <= MAX_COMPRESSION_NAME)?;
        let compressed_bytes = fields.u64()?;
        let size_bytes = CHUNK_HEADER_BYTES + name.len();
        let fits = compressed_bytes.checked_add(size_bytes as u64) == Some(length);
        let known = matches!(name, b"" | b"lz4" | b"zstd");
        let compression = Compression::of_name(name);
        let header = Self { start_time, end_time, compression, content_bytes, crc32, size_bytes };
        (fits && known && start_time <= end_time).then_some((header, length))
    }
}

/// Returns the content of a chunk's record, whose checksum is checked at its end.
///
/// # Errors
/// If the record has no valid header, or more than `most` bytes of content.
pub(super) fn open_chunk(
    file: &RecordedFile,
    record: std::ops::Range<u64>,
    most: u64,
) -> Result<(ChunkHeader, ChunkContent<'_>), ChunkError> {
    let parsed = file.peek(record.start, CHUNK_START_BYTES, ChunkHeader::parse).map_err(ChunkError::Io)?;
    let (header, length) = parsed.ok_or(ChunkError::NotAChunk)?;
    if (record.start + HEADER_BYTES as u64).checked_add(length) != Some(record.end) {
        return Err(ChunkError::NotAChunk);
    }
    if header.content_bytes > most {
        return Err(ChunkError::TooLarge { bytes: header.content_bytes, most });
    }
    let compressed = file.range(record.start + (HEADER_BYTES + header.size_bytes) as u64..record.end);
    let compressed = BufReader::with_capacity(BUFFER_BYTES, compressed);
    let decoder: Box<dyn Read> = match header.compression {
        Compression::None => Box::new(compressed),
        Compression::Lz4 => Box::new(lz4::Decoder::new(compressed).map_err(ChunkError::Compression)?),
        Compression::Zstd => {
            let mut decoder =
                zstd::stream::Decoder::with_buffer(compressed).map_err(ChunkError::Compression)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(ChunkError::Compression)?;
            Box::new(decoder)
        }
    };
    let content =
        ChunkContent { decoder, hasher: crc32fast::Hasher::new(), read_bytes: 0, header: header.clone() };
    Ok((header, content))
}

/// The decompressed content of a chunk.
pub(super) struct ChunkContent<'a> {
    decoder: Box<dyn Read + 'a>,
    hasher: crc32fast::Hasher,
    read_bytes: u64,
    header: ChunkHeader,
}

impl Read for ChunkContent<'_> {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = self.header.content_bytes - self.read_bytes;
        let count = left.min(bytes.len() as u64) as usize;
        let count = self.decoder.read(&mut bytes[..count])?;
        self.hasher.update(&bytes[..count]);
        self.read_bytes += count as u64;
        Ok(count)
    }
}

impl ChunkContent<'_> {
    pub(super) fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// As [`Self::finish`].
    pub(super) fn read_all(mut self, buffers: &Buffers) -> Result<Bytes, ChunkError> {
        let mut records = buffers.take(self.header.content_bytes as usize);
        let mut rest = records.bytes_mut();
        while !rest.is_empty() {
            let piece_bytes = rest.len().min(PIECE_BYTES);
            match self.read(&mut rest[..piece_bytes]) {
                Ok(0) => break,
                Ok(count) => rest = &mut rest[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(ChunkError::Compression(error)),
            }
        }
        self.finish()?;
        Ok(records.share())
    }

    /// Checks length and checksum, after everything was read.
    ///
    /// # Errors
    /// If the content has another length or checksum than that in its header.
    pub(super) fn finish(mut self) -> Result<(), ChunkError> {
        let expected = self.header.content_bytes;
        let more = self.decoder.read(&mut [0]).map_err(ChunkError::Compression)?;
        if self.read_bytes != expected || more > 0 {
            return Err(ChunkError::Length { found: self.read_bytes + more as u64, expected });
        }
        // 0 means that the writer stored no checksum.
        let (found, expected) = (self.hasher.finalize(), self.header.crc32);
        if expected != 0 && found != expected {
            return Err(ChunkError::Checksum { found, expected });
        }
        Ok(())
    }
}

/// The fields of a message before its data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageFields {
    pub(crate) channel: u16,
    pub(crate) sequence: u32,
    pub(crate) log_time: u64,
    pub(crate) publish_time: u64,
}

impl MessageFields {
    /// Number of bytes that [`Self::parse`] needs.
    pub(super) const BYTES: usize = MESSAGE_HEADER_BYTES;

    pub(super) fn parse(record: &[u8]) -> Option<Self> {
        let mut fields = Fields(record);
        Some(Self {
            channel: fields.u16()?,
            sequence: fields.u32()?,
            log_time: fields.u64()?,
            publish_time: fields.u64()?,
        })
    }
}

/// One message.
pub(crate) struct Message {
    pub(crate) fields: MessageFields,
    pub(crate) data: Bytes,
}

/// The messages among records, without copies of their data.
pub(crate) struct Messages(Bytes);

impl Iterator for Messages {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        loop {
            let mut records = Records(&self.0);
            let (opcode, content) = records.next()?;
            let (rest, content) = (self.0.slice_ref(records.0), self.0.slice_ref(content));
            self.0 = rest;
            if opcode == op::MESSAGE
                && let Some(fields) = MessageFields::parse(&content)
            {
                return Some(Message { fields, data: content.slice(MESSAGE_HEADER_BYTES..) });
            }
        }
    }
}

/// Returns the messages among records.
pub(crate) fn messages(records: &Bytes) -> Messages {
    Messages(records.clone())
}
