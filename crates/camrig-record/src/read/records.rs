//! The bytes of MCAP records: lengths, checksums, compression. Nothing in a file is trusted.

use std::cell::RefCell;
use std::io::{self, BufReader, Read};

use bytes::Bytes;
use mcap::records::op;

use super::buffers::{Buffer, Buffers};
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

/// Maximum size of a compressed chunk that is decompressed in one call, beside its content.
const MAX_AT_ONCE_BYTES: u64 = 8 << 20;

/// The start of a frame of LZ4 as recorders write it: magic, version 1 with independent blocks, blocks of up to 256 KiB.
const LZ4_START: [u8; 6] = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x50];
const LZ4_BLOCK_BYTES: usize = 256 << 10;

/// The bit in the size of a block that is stored as it is.
const LZ4_PLAIN: u32 = 1 << 31;

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

/// Opens the record of a chunk.
///
/// # Errors
/// If the record has no valid header, or more than `most` bytes of content.
pub(super) fn open_chunk(
    file: &RecordedFile,
    record: std::ops::Range<u64>,
    most: u64,
) -> Result<Chunk<'_>, ChunkError> {
    let parsed = file.peek(record.start, CHUNK_START_BYTES, ChunkHeader::parse).map_err(ChunkError::Io)?;
    let (header, length) = parsed.ok_or(ChunkError::NotAChunk)?;
    if (record.start + HEADER_BYTES as u64).checked_add(length) != Some(record.end) {
        return Err(ChunkError::NotAChunk);
    }
    if header.content_bytes > most {
        return Err(ChunkError::TooLarge { bytes: header.content_bytes, most });
    }
    let stored = record.start + (HEADER_BYTES + header.size_bytes) as u64..record.end;
    Ok(Chunk { file, header, stored })
}

/// A chunk whose content was not read yet.
pub(super) struct Chunk<'a> {
    file: &'a RecordedFile,
    pub(super) header: ChunkHeader,
    /// The place of its content in the file.
    stored: std::ops::Range<u64>,
}

impl<'a> Chunk<'a> {
    /// Returns a reader of the content, whose checksum is checked at its end.
    ///
    /// # Errors
    /// If the content does not begin as its compression requires.
    pub(super) fn content(self) -> Result<ChunkContent<'a>, ChunkError> {
        let compressed = BufReader::with_capacity(BUFFER_BYTES, self.file.range(self.stored));
        let decoder: Box<dyn Read> = match self.header.compression {
            Compression::None => Box::new(compressed),
            Compression::Lz4 => Box::new(lz4::Decoder::new(compressed).map_err(ChunkError::Compression)?),
            Compression::Zstd => {
                let mut decoder =
                    zstd::stream::Decoder::with_buffer(compressed).map_err(ChunkError::Compression)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(ChunkError::Compression)?;
                Box::new(decoder)
            }
        };
        Ok(ChunkContent { decoder, hasher: crc32fast::Hasher::new(), read_bytes: 0, header: self.header })
    }

    /// Reads all of the content.
    ///
    /// # Errors
    /// As [`ChunkContent::finish`].
    pub(super) fn read_all(self, buffers: &Buffers) -> Result<Bytes, ChunkError> {
        let mut records = buffers.take(self.header.content_bytes as usize);
        // What fails here is damaged or of a rare form: the reader finds out, and has the error.
        if self.read_at_once(records.bytes_mut(), buffers).is_some() {
            return Ok(records.share());
        }
        self.content()?.read_all(records)
    }

    /// Reads all of the content into memory of its size without other memory of that size between them. Returns `None`
    /// if it is damaged, too large, or of a form that only [`Self::content`] reads.
    fn read_at_once(&self, content: &mut [u8], buffers: &Buffers) -> Option<()> {
        let stored_bytes = self.stored.end - self.stored.start;
        let mut hasher = crc32fast::Hasher::new();
        if self.header.compression == Compression::None {
            let mut at = self.stored.start;
            (stored_bytes == content.len() as u64).then_some(())?;
            for piece in content.chunks_mut(PIECE_BYTES) {
                self.file.read_into(at, piece).ok()?;
                at += piece.len() as u64;
                hasher.update(piece);
            }
        } else {
            (stored_bytes <= MAX_AT_ONCE_BYTES).then_some(())?;
            if self.header.compression == Compression::Lz4 {
                let is_known = |start: &[u8]| start.starts_with(&LZ4_START);
                self.file.peek(self.stored.start, LZ4_START.len(), is_known).ok()?.then_some(())?;
            }
            let mut stored = buffers.take(stored_bytes as usize);
            self.file.read_into(self.stored.start, stored.bytes_mut()).ok()?;
            match self.header.compression {
                Compression::Lz4 => decompress_lz4(stored.as_ref(), content, &mut hasher)?,
                _ => decompress_zstd(stored.as_ref(), content, &mut hasher)?,
            }
        }
        let checksum = self.header.crc32;
        (checksum == 0 || hasher.finalize() == checksum).then_some(())
    }
}

/// Decompresses a frame of LZ4 as recorders write it: of independent blocks, without checksums and sizes. Returns `None` for
/// any other frame, and if the content has another size.
fn decompress_lz4(stored: &[u8], mut content: &mut [u8], hasher: &mut crc32fast::Hasher) -> Option<()> {
    let mut fields = Fields(stored.strip_prefix(&LZ4_START)?);
    fields.u8()?; // The checksum of the start.
    loop {
        let size = fields.u32()?;
        if size == 0 {
            return (fields.0.is_empty() && content.is_empty()).then_some(());
        }
        let block = fields.bytes((size & !LZ4_PLAIN) as usize)?;
        let most = content.len().min(LZ4_BLOCK_BYTES);
        let decompressed = if size & LZ4_PLAIN != 0 {
            content.get_mut(..block.len())?.copy_from_slice(block);
            block.len()
        } else {
            lz4::block::decompress_to_buffer(block, Some(most as i32), &mut content[..most]).ok()?
        };
        let (done, rest) = content.split_at_mut_checked(decompressed)?;
        hasher.update(done);
        content = rest;
    }
}

/// Decompresses frames of zstd. Returns `None` if they are damaged, and if the content has another size.
fn decompress_zstd(stored: &[u8], content: &mut [u8], hasher: &mut crc32fast::Hasher) -> Option<()> {
    thread_local! {
        static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
    }
    let size_bytes = DECOMPRESSOR.with_borrow_mut(|kept| {
        let decompressor = match kept {
            Some(kept) => kept,
            None => kept.insert(zstd::bulk::Decompressor::new().ok()?),
        };
        decompressor.decompress_to_buffer(stored, content).ok()
    })?;
    hasher.update(content);
    (size_bytes == content.len()).then_some(())
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

    /// Reads all of it into memory of its size.
    ///
    /// # Errors
    /// As [`Self::finish`].
    fn read_all(mut self, mut records: Buffer) -> Result<Bytes, ChunkError> {
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Seek, SeekFrom, Write};

    use super::*;
    use crate::write::lz4_of;

    /// Returns content of several blocks, which compresses in part.
    fn content() -> Vec<u8> {
        let noise = (0..600_000_u32).map(|index| (index.wrapping_mul(0x9e37_79b9) >> 13) as u8);
        noise.chain((0..400_000_u32).map(|index| (index / 900) as u8)).collect()
    }

    fn lz4(mode: lz4::BlockMode, size: lz4::BlockSize, checksum: lz4::ContentChecksum) -> Vec<u8> {
        lz4_with(
            lz4::EncoderBuilder::new()
                .block_mode(mode)
                .block_size(size)
                .block_checksum(lz4::liblz4::BlockChecksum::NoBlockChecksum)
                .checksum(checksum),
        )
    }

    fn lz4_with(builder: &lz4::EncoderBuilder) -> Vec<u8> {
        let mut encoder = builder.build(Vec::new()).unwrap();
        encoder.write_all(&content()).unwrap();
        let (stored, finished) = encoder.finish();
        finished.unwrap();
        stored
    }

    fn recorded_lz4() -> Vec<u8> {
        lz4_of(&[&content()]).unwrap()
    }

    /// Returns a file with one chunk, and its size.
    fn chunk(compression: &str, stored: &[u8], content_bytes: u64, crc32: u32) -> RecordedFile {
        let mut record = vec![op::CHUNK];
        record.extend((40 + compression.len() as u64 + stored.len() as u64).to_le_bytes());
        record.extend([3, 4, content_bytes].map(u64::to_le_bytes).concat());
        record.extend(crc32.to_le_bytes());
        record.extend((compression.len() as u32).to_le_bytes());
        record.extend(compression.as_bytes());
        record.extend((stored.len() as u64).to_le_bytes());
        record.extend(stored);
        let named = tempfile::NamedTempFile::new().unwrap();
        let mut file: File = named.reopen().unwrap();
        file.write_all(&record).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        let metadata = file.metadata().unwrap();
        RecordedFile::new(file, named.path(), &metadata)
    }

    fn open(file: &RecordedFile) -> Chunk<'_> {
        open_chunk(file, 0..file.size_bytes(), MAX_CONTENT_BYTES).unwrap()
    }

    fn is_read_at_once(file: &RecordedFile) -> bool {
        let chunk = open(file);
        let mut content = vec![0; chunk.header.content_bytes as usize];
        chunk.read_at_once(&mut content, &Buffers::default()).is_some()
    }

    #[test]
    fn all_forms_of_chunks_are_read_and_those_of_recorders_at_once() {
        use lz4::BlockMode::{Independent, Linked};
        use lz4::BlockSize::{Max64KB, Max256KB};
        use lz4::ContentChecksum::{ChecksumEnabled, NoChecksum};
        let (content, buffers) = (content(), Buffers::default());
        let crc32 = crc32fast::hash(&content);
        let zstd = zstd::encode_all(&content[..], 1).unwrap();
        let two = [&content[..300_000], &content[300_000..]].map(|part| zstd::encode_all(part, 1).unwrap());
        for (compression, stored, at_once) in [
            ("", content.clone(), true),
            ("zstd", zstd, true),
            ("zstd", two.concat(), true),
            ("lz4", recorded_lz4(), true),
            ("lz4", lz4_with(&lz4::EncoderBuilder::new()), false),
            ("lz4", lz4(Linked, Max256KB, NoChecksum), false),
            ("lz4", lz4(Independent, Max256KB, ChecksumEnabled), false),
            ("lz4", lz4(Independent, Max64KB, NoChecksum), false),
        ] {
            for crc32 in [crc32, 0] {
                let file = chunk(compression, &stored, content.len() as u64, crc32);
                assert_eq!(is_read_at_once(&file), at_once, "{compression}");
                assert_eq!(open(&file).read_all(&buffers).unwrap(), content, "{compression}");
            }
        }
    }

    #[test]
    fn damage_has_the_same_error_as_while_it_is_streamed() {
        let (content, buffers) = (content(), Buffers::default());
        let (crc32, size) = (crc32fast::hash(&content), content.len() as u64);
        let zstd = zstd::encode_all(&content[..], 1).unwrap();
        for (compression, stored) in [("", content.clone()), ("zstd", zstd), ("lz4", recorded_lz4())] {
            let mut flipped = stored.clone();
            flipped[stored.len() / 2] ^= 4;
            for file in [
                chunk(compression, &stored, size, crc32 ^ 1),
                chunk(compression, &flipped, size, crc32),
                chunk(compression, &stored[..stored.len() - 9], size, crc32),
                chunk(compression, &stored, size - 1, crc32),
                chunk(compression, &stored, size + 1, crc32),
                chunk(compression, &[&stored[..], b"more"].concat(), size, crc32),
            ] {
                let streamed = open(&file).content().and_then(|content| {
                    let size_bytes = content.header.content_bytes as usize;
                    content.read_all(buffers.take(size_bytes))
                });
                let streamed = streamed.map_err(|error| error.to_string());
                assert_eq!(open(&file).read_all(&buffers).map_err(|error| error.to_string()), streamed);
            }
        }
    }
}
