//! Writes recordings as MCAP files, with memory that does not grow with the length of a file.
//!
//! A chunk is written as a whole, by one system call if it is not compressed. Its entry in the index at the end of the file is
//! kept compressed. The writer of the mcap crate keeps some hundred bytes for each chunk until the file ends, twice at the end.
//!
//! * `records`: the bytes of records
//! * `disk`: files and their space on the disk
//! * `error`: the errors of writing

mod disk;
mod error;
mod records;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSlice, Read, Seek, SeekFrom, Write};

use crc32fast::Hasher;
use mcap::records::op;
use zstd::stream::raw::{Encoder, Operation};
use zstd::stream::zio;

use self::disk::ReservedSpace;
pub(crate) use self::disk::{create, numbered, numbered_before, numbered_behind, with_suffix};
pub(crate) use self::error::WriteError;
pub(crate) use self::records::MESSAGE_BYTES as MESSAGE_HEADER_BYTES;
use self::records::{ChunkHeader, Fields, HEADER_BYTES, MESSAGE_BYTES, message_index, push_message_header};
use crate::compression::Compression;

/// Number of chunks, which are framesets, after which another file is started: 23 minutes of six cameras at 30 Hz. It bounds
/// the memory of the recorder, and that of programs which read the whole index of a file.
pub(crate) const MAX_CHUNKS: u32 = 250_000;

/// The fastest level, so that the recorder keeps up.
const ZSTD_LEVEL: i32 = 1;

/// Number of pieces that one system call writes.
const MAX_PIECES: usize = 1000;

/// Size of a piece of an attachment or of the index.
const COPY_BYTES: usize = 64 << 10;

/// Space for a chunk's header, and minimum space for the overhead of its compression.
const CHUNK_OVERHEAD_BYTES: u64 = 16 << 10;

/// Space for the end of a file, beside definitions and the index of chunks.
const END_BYTES: u64 = 64 << 10;

/// One message.
#[derive(Clone, Copy)]
pub(crate) struct Message<'a> {
    pub(crate) channel: u16,
    pub(crate) sequence: u32,
    pub(crate) log_time: u64,
    pub(crate) publish_time: u64,
    pub(crate) data: &'a [u8],
}

/// An attachment before its data.
pub(crate) struct Attachment<'a> {
    pub(crate) log_time: u64,
    pub(crate) create_time: u64,
    pub(crate) name: &'a str,
    pub(crate) media_type: &'a str,
    pub(crate) data_bytes: u64,
}

/// Definitions of one kind, by their content.
#[derive(Default)]
struct Definitions(BTreeMap<Fields, u16>);

impl Definitions {
    /// Returns the number of a definition, and whether it is new.
    fn add(&mut self, content: &Fields) -> io::Result<(u16, bool)> {
        if let Some(&known) = self.0.get(content) {
            return Ok((known, false));
        }
        // 0 means no schema.
        let id =
            u16::try_from(self.0.len() + 1).map_err(|_| io::Error::other("too many schemas or channels"))?;
        self.0.insert(content.clone(), id);
        Ok((id, true))
    }

    fn records(&self, opcode: u8) -> Vec<u8> {
        let mut sorted: Vec<_> = self.0.iter().collect();
        sorted.sort_by_key(|(_, id)| **id);
        sorted.into_iter().flat_map(|(content, &id)| definition(opcode, id, content)).collect()
    }
}

fn definition(opcode: u8, id: u16, content: &Fields) -> Vec<u8> {
    let mut fields = Fields::default().u16(id);
    fields.0.extend(&content.0);
    fields.record(opcode)
}

/// A recording that is being written. Errors leave the file with all chunks that were written before.
pub(crate) struct Output {
    file: File,
    space: ReservedSpace,
    compression: Compression,
    /// Reused, since making one takes longer than a small chunk.
    zstd: Option<Encoder<'static>>,
    /// Size of the complete chunks and records.
    size_bytes: u64,
    /// Whether bytes after `size_bytes` may have been written.
    is_torn: bool,
    /// The checksum of the complete chunks and records.
    hasher: Hasher,
    schemas: Definitions,
    channels: Definitions,
    /// The records of definitions for the next chunk.
    pending: Vec<u8>,
    definition_bytes: u64,
    counts: BTreeMap<u16, u64>,
    /// The smallest and the largest `log_time`.
    times: Option<(u64, u64)>,
    chunks: u32,
    /// The index records of all chunks, compressed.
    chunk_indexes: zio::Writer<Vec<u8>, Encoder<'static>>,
    chunk_index_bytes: u64,
    /// The index records of attachments and metadata, and their numbers.
    attachments: (Vec<u8>, u32),
    metadata: (Vec<u8>, u32),
}

impl Output {
    /// Begins the recording in an empty file.
    pub(crate) fn new(file: File, compression: Compression) -> io::Result<Self> {
        Self::of_profile("camrig", file, compression)
    }

    /// Begins a file with messages of another program's kind, of this profile.
    pub(crate) fn of_profile(profile: &str, file: File, compression: Compression) -> io::Result<Self> {
        let mut output = Self {
            space: ReservedSpace::new(file.try_clone()?),
            file,
            compression,
            zstd: None,
            size_bytes: 0,
            is_torn: false,
            hasher: Hasher::new(),
            schemas: Definitions::default(),
            channels: Definitions::default(),
            pending: Vec::new(),
            definition_bytes: 0,
            counts: BTreeMap::new(),
            times: None,
            chunks: 0,
            chunk_indexes: zio::Writer::new(Vec::new(), Encoder::new(ZSTD_LEVEL)?),
            chunk_index_bytes: 0,
            attachments: (Vec::new(), 0),
            metadata: (Vec::new(), 0),
        };
        let library = concat!("camrig ", env!("CARGO_PKG_VERSION"));
        let header = Fields::default().text(profile).text(library).record(op::HEADER);
        output.space.reserve(END_BYTES)?;
        output.append(&[mcap::MAGIC, &header])?;
        Ok(output)
    }

    /// Returns the size of the file, up to the last complete chunk.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Returns the number of chunks.
    pub(crate) fn chunks(&self) -> u32 {
        self.chunks
    }

    /// Returns whether the next chunk must be written into another file.
    pub(crate) fn is_full(&self) -> bool {
        self.chunks >= MAX_CHUNKS
    }

    /// Returns the number of a schema, which is defined if it is new.
    ///
    /// # Errors
    /// If the file has too many.
    pub(crate) fn add_schema(&mut self, name: &str, encoding: &str, data: &[u8]) -> io::Result<u16> {
        let content = Fields::default().text(name).text(encoding).data(data);
        self.define(op::SCHEMA, &content)
    }

    /// Returns the number of a channel, which is defined if it is new. Schema 0 means none.
    ///
    /// # Errors
    /// If the file has too many.
    pub(crate) fn add_channel(
        &mut self,
        schema: u16,
        topic: &str,
        message_encoding: &str,
        metadata: &BTreeMap<String, String>,
    ) -> io::Result<u16> {
        let content = Fields::default().u16(schema).text(topic).text(message_encoding).texts(metadata);
        self.define(op::CHANNEL, &content)
    }

    fn define(&mut self, opcode: u8, content: &Fields) -> io::Result<u16> {
        let known = if opcode == op::SCHEMA { &mut self.schemas } else { &mut self.channels };
        let (id, is_new) = known.add(content)?;
        if is_new {
            let record = definition(opcode, id, content);
            self.definition_bytes += record.len() as u64;
            self.pending.extend(record);
        }
        Ok(id)
    }

    /// Writes a chunk: the definitions that were added since the last one, then these messages.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub(crate) fn write_chunk(&mut self, messages: &[Message<'_>]) -> io::Result<()> {
        let (mut headers, mut places) = (Vec::with_capacity(messages.len() * MESSAGE_BYTES), Vec::new());
        let mut content_bytes = self.pending.len() as u64;
        for message in messages {
            places.push((message.channel, message.log_time, content_bytes));
            push_message_header(&mut headers, message);
            content_bytes += (MESSAGE_BYTES + message.data.len()) as u64;
        }
        let pending = std::mem::take(&mut self.pending);
        let pieces =
            headers.chunks(MESSAGE_BYTES).zip(messages).flat_map(|(header, message)| [header, message.data]);
        let content: Vec<&[u8]> = std::iter::once(&pending[..]).chain(pieces).collect();
        let written = self.write_content(&content, content_bytes, &places);
        if written.is_err() {
            self.pending = pending;
        }
        written
    }

    fn write_content(
        &mut self,
        content: &[&[u8]],
        content_bytes: u64,
        places: &[(u16, u64, u64)],
    ) -> io::Result<()> {
        let (message_index, index_places) = message_index(places);
        let index_bytes = self.chunk_index_bytes + 256 + 16 * index_places.len() as u64;
        // Data that cannot be compressed grow by one byte in 255.
        let chunk_bytes =
            content_bytes + content_bytes / 255 + message_index.len() as u64 + CHUNK_OVERHEAD_BYTES;
        let end_bytes = self.definition_bytes + index_bytes + END_BYTES;
        self.space.reserve(self.size_bytes + chunk_bytes + end_bytes)?;

        let mut hasher = Hasher::new();
        for piece in content {
            hasher.update(piece);
        }
        let stored = match self.compression {
            Compression::None => None,
            Compression::Lz4 => Some(lz4_of(content)?),
            Compression::Zstd => Some(self.zstd_of(content)?),
        };
        let stored_bytes = stored.as_ref().map_or(content_bytes, |stored| stored.len() as u64);
        let times = places.iter().map(|&(_, time, _)| time);
        let (start_time, end_time) = (times.clone().min().unwrap_or(0), times.max().unwrap_or(0));
        let compression = self.compression.name();
        let crc32 = hasher.clone().finalize();
        let header =
            ChunkHeader { start_time, end_time, content_bytes, crc32, compression, stored_bytes }.bytes();
        let chunk_at = self.size_bytes;
        let record_bytes = header.len() as u64 + stored_bytes;
        if let Some(stored) = &stored {
            self.append(&[&header, stored, &message_index])?;
        } else {
            let content = content.iter().copied();
            let pieces: Vec<_> =
                [&header[..]].into_iter().chain(content).chain([&message_index[..]]).collect();
            // The checksum of the content is known.
            self.append_with(&pieces, |data| {
                data.update(&header);
                data.combine(&hasher);
                data.update(&message_index);
            })?;
        }

        let index_at = chunk_at + record_bytes;
        let offsets = index_places
            .iter()
            .fold(Fields::default(), |fields, (&channel, &place)| fields.u16(channel).u64(index_at + place));
        let index = Fields::default()
            .u64(start_time)
            .u64(end_time)
            .u64(chunk_at)
            .u64(record_bytes)
            .data(&offsets.0)
            .u64(message_index.len() as u64)
            .text(compression)
            .u64(stored_bytes)
            .u64(content_bytes)
            .record(op::CHUNK_INDEX);
        self.chunk_indexes.write_all(&index)?;
        self.chunk_index_bytes += index.len() as u64;
        self.chunks += 1;
        for &(channel, time, _) in places {
            *self.counts.entry(channel).or_insert(0) += 1;
            let (first, last) = self.times.get_or_insert((time, time));
            (*first, *last) = ((*first).min(time), (*last).max(time));
        }
        Ok(())
    }

    fn zstd_of(&mut self, content: &[&[u8]]) -> io::Result<Vec<u8>> {
        let mut encoder = match self.zstd.take() {
            Some(encoder) => encoder,
            None => Encoder::new(ZSTD_LEVEL)?,
        };
        encoder.reinit()?;
        let mut writer = zio::Writer::new(Vec::new(), encoder);
        content.iter().try_for_each(|piece| writer.write_all(piece))?;
        writer.finish()?;
        let (stored, encoder) = writer.into_inner();
        self.zstd = Some(encoder);
        Ok(stored)
    }

    /// Writes a metadata record.
    ///
    /// # Errors
    /// If the disk is full or fails.
    pub(crate) fn write_metadata(
        &mut self,
        name: &str,
        entries: &BTreeMap<String, String>,
    ) -> io::Result<()> {
        let record = Fields::default().text(name).texts(entries).record(op::METADATA);
        self.space.reserve(self.size_bytes + record.len() as u64 + self.end_bytes())?;
        let at = self.size_bytes;
        self.append(&[&record])?;
        let index = Fields::default().u64(at).u64(record.len() as u64).text(name);
        self.metadata.0.extend(index.record(op::METADATA_INDEX));
        self.metadata.1 += 1;
        Ok(())
    }

    /// Writes an attachment, piece by piece.
    ///
    /// # Errors
    /// If the disk is full or fails, or if `data` has another length.
    pub(crate) fn write_attachment(
        &mut self,
        attachment: &Attachment<'_>,
        data: impl Read,
    ) -> io::Result<()> {
        let Attachment { log_time, create_time, name, media_type, data_bytes } = *attachment;
        let fields =
            Fields::default().u64(log_time).u64(create_time).text(name).text(media_type).u64(data_bytes);
        let length = (fields.0.len() as u64).saturating_add(data_bytes).saturating_add(4);
        let record_bytes = length.saturating_add(HEADER_BYTES as u64);
        self.space.reserve(self.size_bytes.saturating_add(record_bytes).saturating_add(self.end_bytes()))?;
        let (at, hasher) = (self.size_bytes, self.hasher.clone());
        let copied = self.copy_attachment(&fields, length, data.take(data_bytes));
        match copied {
            Ok(()) if self.size_bytes - at == record_bytes => {}
            other => {
                // The record is removed.
                (self.size_bytes, self.hasher, self.is_torn) = (at, hasher, true);
                other?;
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let index =
            Fields::default().u64(at).u64(record_bytes).u64(log_time).u64(create_time).u64(data_bytes);
        self.attachments.0.extend(index.text(name).text(media_type).record(op::ATTACHMENT_INDEX));
        self.attachments.1 += 1;
        Ok(())
    }

    fn copy_attachment(&mut self, fields: &Fields, length: u64, mut data: impl Read) -> io::Result<()> {
        let mut hasher = Hasher::new();
        hasher.update(&fields.0);
        let mut header = vec![op::ATTACHMENT];
        header.extend(length.to_le_bytes());
        self.append(&[&header, &fields.0])?;
        let mut bytes = vec![0; COPY_BYTES];
        loop {
            match data.read(&mut bytes)? {
                0 => break,
                count => {
                    hasher.update(&bytes[..count]);
                    self.append(&[&bytes[..count]])?;
                }
            }
        }
        self.append(&[&hasher.finalize().to_le_bytes()])
    }

    /// Writes the index, and returns the size of the file. A file without an index ends with the last complete chunk.
    ///
    /// # Errors
    /// If the disk is full or fails: then the file has no index.
    pub(crate) fn finish(mut self) -> io::Result<u64> {
        let whole = self.size_bytes;
        let finished = self.write_end();
        // Frees the space that was reserved and is not needed.
        let cut = self.space.cut(if finished.is_ok() { self.size_bytes } else { whole });
        finished.and(cut).map(|()| self.size_bytes)
    }

    fn write_end(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            self.write_chunk(&[])?;
        }
        let data_crc = self.hasher.clone().finalize();
        self.append(&[&Fields::default().u32(data_crc).record(op::DATA_END)])?;
        let start = self.size_bytes;
        // From here on the checksum is that of the summary.
        self.hasher = Hasher::new();
        let mut groups = Vec::new();
        let statistics = self.statistics();
        let small = [
            (op::SCHEMA, self.schemas.records(op::SCHEMA)),
            (op::CHANNEL, self.channels.records(op::CHANNEL)),
            (op::STATISTICS, statistics),
            (op::ATTACHMENT_INDEX, std::mem::take(&mut self.attachments.0)),
            (op::METADATA_INDEX, std::mem::take(&mut self.metadata.0)),
        ];
        for (opcode, records) in small {
            let at = self.size_bytes;
            self.append(&[&records])?;
            groups.push((opcode, at, records.len() as u64));
        }
        let at = self.size_bytes;
        self.write_chunk_indexes()?;
        groups.push((op::CHUNK_INDEX, at, self.size_bytes - at));
        let offsets_at = self.size_bytes;
        for (opcode, start, length) in groups.into_iter().filter(|(.., length)| *length > 0) {
            let mut fields = Fields(vec![opcode]);
            fields = fields.u64(start).u64(length);
            self.append(&[&fields.record(op::SUMMARY_OFFSET)])?;
        }
        let mut footer = Fields::default().u64(start).u64(offsets_at).u32(0).record(op::FOOTER);
        let crc_at = footer.len() - 4;
        let mut hasher = self.hasher.clone();
        hasher.update(&footer[..crc_at]);
        footer[crc_at..].copy_from_slice(&hasher.finalize().to_le_bytes());
        self.append(&[&footer, mcap::MAGIC])
    }

    fn statistics(&self) -> Vec<u8> {
        let (first, last) = self.times.unwrap_or((0, 0));
        let counts =
            self.counts.iter().fold(Fields::default(), |fields, (&id, &count)| fields.u16(id).u64(count));
        Fields::default()
            .u64(self.counts.values().sum())
            .u16(self.schemas.0.len() as u16)
            .u32(self.channels.0.len() as u32)
            .u32(self.attachments.1)
            .u32(self.metadata.1)
            .u32(self.chunks)
            .u64(first)
            .u64(last)
            .data(&counts.0)
            .record(op::STATISTICS)
    }

    fn write_chunk_indexes(&mut self) -> io::Result<()> {
        self.chunk_indexes.finish()?;
        let packed = std::mem::take(self.chunk_indexes.writer_mut());
        let mut records = zstd::stream::read::Decoder::with_buffer(&packed[..])?;
        let mut bytes = vec![0; COPY_BYTES];
        loop {
            match records.read(&mut bytes)? {
                0 => return Ok(()),
                count => self.append(&[&bytes[..count]])?,
            }
        }
    }

    /// Returns the space that the end of the file takes.
    fn end_bytes(&self) -> u64 {
        let extras = (self.attachments.0.len() + self.metadata.0.len()) as u64;
        self.definition_bytes + self.chunk_index_bytes + extras + END_BYTES
    }

    fn append(&mut self, pieces: &[&[u8]]) -> io::Result<()> {
        self.append_with(pieces, |hasher| pieces.iter().for_each(|piece| hasher.update(piece)))
    }

    /// Appends to the complete part. `hash` adds the pieces to the checksum.
    fn append_with(&mut self, pieces: &[&[u8]], hash: impl FnOnce(&mut Hasher)) -> io::Result<()> {
        if self.is_torn {
            self.space.cut(self.size_bytes)?;
            self.file.seek(SeekFrom::Start(self.size_bytes))?;
        }
        self.is_torn = true;
        write_all(&mut self.file, pieces)?;
        self.is_torn = false;
        hash(&mut self.hasher);
        self.size_bytes += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        Ok(())
    }
}

/// Writes all pieces, many by one call of the system.
fn write_all(file: &mut File, pieces: &[&[u8]]) -> io::Result<()> {
    let mut slices: Vec<_> =
        pieces.iter().filter(|piece| !piece.is_empty()).map(|piece| IoSlice::new(piece)).collect();
    let mut left = &mut slices[..];
    while !left.is_empty() {
        match file.write_vectored(&left[..left.len().min(MAX_PIECES)]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut left, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Compresses the content of a chunk in blocks that a reader decompresses where they belong. Checksums of LZ4 would be
/// others beside that of the chunk.
pub(crate) fn lz4_of(content: &[&[u8]]) -> io::Result<Vec<u8>> {
    let mut encoder = lz4::EncoderBuilder::new()
        .block_size(lz4::BlockSize::Max256KB)
        .block_mode(lz4::BlockMode::Independent)
        .block_checksum(lz4::liblz4::BlockChecksum::NoBlockChecksum)
        .checksum(lz4::ContentChecksum::NoChecksum)
        .build(Vec::new())?;
    content.iter().try_for_each(|piece| encoder.write_all(piece))?;
    let (stored, finished) = encoder.finish();
    finished.map(|()| stored)
}

#[cfg(test)]
mod tests;
