//! The index of a recording: read from the file, or made by scanning the whole file.
//!
//! A killed recorder leaves no index, and a damaged file may have a wrong one. Then every chunk is read and checked;
//! after damage the scan continues at the next bytes that can be a chunk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use mcap::records::{Record, op};

use super::error::ChunkError;
use super::records::{
    self, CHUNK_START_BYTES, ChunkHeader, HEADER_BYTES, MAGIC, MAX_CHUNK_BYTES, Records, chunk_length,
    open_chunk, u32_at, u64_at,
};
use crate::compression::Compression;

/// Size of the footer; the magic follows it.
const FOOTER_BYTES: u64 = 20;
const END_BYTES: u64 = HEADER_BYTES as u64 + FOOTER_BYTES + 8;

/// Maximum size of an index: some million chunks.
const MAX_INDEX_BYTES: u64 = 1 << 30;

/// Size of the window in which a chunk is searched at once.
const WINDOW_BYTES: u64 = 1 << 20;

/// The contents of a file and their positions.
#[derive(Default)]
pub(crate) struct Index {
    /// Whether the file has an index of its own.
    pub(crate) whole: bool,
    pub(crate) profile: String,
    pub(crate) channels: BTreeMap<u16, Channel>,
    /// Number of messages of each channel.
    pub(crate) messages: BTreeMap<u16, u64>,
    /// In the order of the file.
    pub(crate) chunks: Vec<ChunkPlace>,
    /// The unreadable parts. Only a scan finds them.
    pub(crate) damage: Vec<Damage>,
}

/// The description of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Channel {
    pub(crate) topic: String,
    pub(crate) schema: String,
    pub(crate) schema_encoding: String,
    pub(crate) schema_data: Vec<u8>,
    pub(crate) message_encoding: String,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// The position of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChunkPlace {
    /// Of the record, including opcode and length.
    pub(crate) offset: u64,
    pub(crate) size_bytes: u64,
    pub(crate) compression: Compression,
    pub(crate) start_time: u64,
    pub(crate) end_time: u64,
    /// The channels of its messages.
    pub(crate) channels: BTreeSet<u16>,
}

/// Damaged bytes.
#[derive(Debug)]
pub(crate) struct Damage {
    pub(crate) bytes: Range<u64>,
    pub(crate) problem: ChunkError,
}

impl Index {
    /// Reads the file's own index; `None` if there is none or it is inconsistent.
    pub(super) fn read(file: &File, size_bytes: u64) -> io::Result<Option<Self>> {
        let Some(end_at) = size_bytes.checked_sub(END_BYTES) else { return Ok(None) };
        let end = read_at(file, end_at, END_BYTES)?;
        if records::header(&end) != Some((op::FOOTER, FOOTER_BYTES)) || !end.ends_with(MAGIC) {
            return Ok(None);
        }
        let footer = &end[HEADER_BYTES..];
        let (Some(summary_at), Some(crc32)) = (u64_at(footer, 0), u32_at(footer, 16)) else {
            return Ok(None);
        };
        let Some(summary_bytes) =
            end_at.checked_sub(summary_at).filter(|&bytes| summary_at > 0 && bytes <= MAX_INDEX_BYTES)
        else {
            return Ok(None);
        };
        let summary = read_at(file, summary_at, summary_bytes)?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&summary);
        hasher.update(&end[..HEADER_BYTES + 16]);
        if crc32 != 0 && hasher.finalize() != crc32 {
            return Ok(None);
        }
        let mut index = Self { whole: true, profile: profile(file)?, ..Self::default() };
        let mut schemas = Schemas::default();
        for (opcode, content) in Records(&summary) {
            if opcode == op::STATISTICS {
                let Ok(Record::Statistics(counts)) = mcap::parse_record(opcode, content) else {
                    return Ok(None);
                };
                index.messages = counts.channel_message_counts;
            } else if opcode == op::CHUNK_INDEX {
                let Ok(Record::ChunkIndex(chunk)) = mcap::parse_record(opcode, content) else {
                    return Ok(None);
                };
                let inside = chunk.chunk_start_offset.checked_add(chunk.chunk_length);
                if inside.is_none_or(|end| end > summary_at) {
                    return Ok(None);
                }
                index.chunks.push(ChunkPlace {
                    compression: Compression::of_name(chunk.compression.as_bytes()),
                    offset: chunk.chunk_start_offset,
                    size_bytes: chunk.chunk_length,
                    start_time: chunk.message_start_time,
                    end_time: chunk.message_end_time,
                    channels: chunk.message_index_offsets.into_keys().collect(),
                });
            } else {
                index.define(&mut schemas, opcode, content);
            }
        }
        index.chunks.sort_by_key(|chunk| chunk.offset);
        Ok(Some(index))
    }

    /// Makes an index by scanning the whole file, and calls `progress` with the position.
    pub(super) fn scan(file: &File, size_bytes: u64, progress: &dyn Fn(u64)) -> io::Result<Self> {
        let mut index = Self::default();
        let mut schemas = Schemas::default();
        let mut at = MAGIC.len() as u64;
        while at < size_bytes {
            progress(at);
            let left = size_bytes - at;
            let start = read_at(file, at, left.min(HEADER_BYTES as u64))?;
            let found = records::header(&start).and_then(|(opcode, length)| {
                let record_bytes = length.checked_add(HEADER_BYTES as u64).filter(|&bytes| bytes <= left)?;
                (opcode != 0).then_some((opcode, length, record_bytes))
            });
            let content_at = at + HEADER_BYTES as u64;
            let problem = match found {
                None => Some(ChunkError::NoRecord),
                Some((op::CHUNK, length, record_bytes)) if length <= MAX_CHUNK_BYTES => {
                    let place = at..at + record_bytes;
                    index.take_chunk(&mut schemas, place, read_at(file, content_at, length)?).err()
                }
                Some((op::DATA_END, 4, _) | (op::FOOTER, FOOTER_BYTES, _)) => break,
                Some((op::HEADER | op::SCHEMA | op::CHANNEL, length, _)) if length <= WINDOW_BYTES => {
                    index.define(&mut schemas, start[0], &read_at(file, content_at, length)?);
                    None
                }
                Some(_) => None,
            };
            at = match (problem, found) {
                (None, Some((.., record_bytes))) => at + record_bytes,
                (problem, _) => {
                    let next = find_chunk(file, at + 1..size_bytes)?.unwrap_or(size_bytes);
                    index
                        .damage
                        .push(Damage { bytes: at..next, problem: problem.unwrap_or(ChunkError::NoRecord) });
                    next
                }
            };
        }
        progress(size_bytes);
        Ok(index)
    }

    /// Adds a chunk.
    fn take_chunk(
        &mut self,
        schemas: &mut Schemas,
        place: Range<u64>,
        content: Vec<u8>,
    ) -> Result<(), ChunkError> {
        let length = content.len() as u64;
        let header = ChunkHeader::parse(&content, length).ok_or(ChunkError::Header)?;
        let (start_time, end_time) = (header.start_time, header.end_time);
        let compression = Compression::of_name(header.compression);
        let records = open_chunk(&Bytes::from(content))?;
        for (opcode, content) in Records(&records) {
            self.define(schemas, opcode, content);
        }
        let mut channels = BTreeSet::new();
        for message in records::messages(&records) {
            channels.insert(message.channel);
            *self.messages.entry(message.channel).or_insert(0) += 1;
        }
        self.chunks.push(ChunkPlace {
            offset: place.start,
            size_bytes: place.end - place.start,
            compression,
            start_time,
            end_time,
            channels,
        });
        Ok(())
    }

    /// Adds a definition; other records and invalid ones are ignored.
    fn define(&mut self, schemas: &mut Schemas, opcode: u8, content: &[u8]) {
        if !matches!(opcode, op::HEADER | op::SCHEMA | op::CHANNEL) {
            return;
        }
        match mcap::parse_record(opcode, content) {
            Ok(Record::Header(header)) => self.profile = header.profile,
            Ok(Record::Schema { header, data }) => {
                schemas.insert(header.id, (header.name, header.encoding, data.into_owned()));
            }
            Ok(Record::Channel(channel)) => {
                let (schema, schema_encoding, schema_data) =
                    schemas.get(&channel.schema_id).cloned().unwrap_or_default();
                let (topic, message_encoding) = (channel.topic, channel.message_encoding);
                let metadata = channel.metadata;
                let channel_info =
                    Channel { topic, schema, schema_encoding, schema_data, message_encoding, metadata };
                self.channels.insert(channel.id, channel_info);
            }
            _ => {}
        }
    }
}

/// Name, encoding and data of each schema.
type Schemas = BTreeMap<u16, (String, String, Vec<u8>)>;

/// Returns the profile in the header, which is the file's first record.
fn profile(file: &File) -> io::Result<String> {
    let at = MAGIC.len() as u64;
    let start = read_at(file, at, HEADER_BYTES as u64)?;
    let Some((op::HEADER, length @ 0..=WINDOW_BYTES)) = records::header(&start) else {
        return Ok(String::new());
    };
    let content = read_at(file, at + HEADER_BYTES as u64, length)?;
    match mcap::parse_record(op::HEADER, &content) {
        Ok(Record::Header(header)) => Ok(header.profile),
        _ => Ok(String::new()),
    }
}

/// Returns the first position that can be a chunk.
fn find_chunk(file: &File, within: Range<u64>) -> io::Result<Option<u64>> {
    let mut from = within.start;
    while from < within.end {
        // A chunk's start that extends beyond the window is complete in these bytes.
        let bytes = read_at(file, from, (within.end - from).min(WINDOW_BYTES + CHUNK_START_BYTES as u64))?;
        let window = bytes.len().min(WINDOW_BYTES as usize);
        for (index, _) in bytes[..window].iter().enumerate().filter(|(_, byte)| **byte == op::CHUNK) {
            let at = from + index as u64;
            let fits = |length: u64| length <= within.end - at;
            if chunk_length(&bytes[index..]).is_some_and(fits) {
                return Ok(Some(at));
            }
        }
        from += window as u64;
    }
    Ok(None)
}

pub(super) fn read_at(file: &File, at: u64, size_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; size_bytes as usize];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}
