//! The index of a recording: read from the file, or made by scanning the whole file.
//!
//! A killed recorder leaves no index, other programs may write none, and a damaged file may have a wrong one. Then every
//! record is read and checked; after damage the scan continues at the next bytes that can be a chunk. Chunks are
//! decompressed piece by piece: a scan keeps definitions, not messages.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::sync::Arc;

use mcap::records::op;

use super::MAX_CHUNK_BYTES;
use super::error::{ChunkError, IndexError};
use super::fields::{self, AttachmentRecord, ChannelRecord, ChunkIndexRecord, Fields, Schema};
use super::file::{PEEK_BYTES, RangeReader, RecordedFile, WINDOW_BYTES};
use super::records::{
    self, CHUNK_START_BYTES, ChunkHeader, HEADER_BYTES, MAGIC, MAX_CONTENT_BYTES, MessageFields, RecordReader,
};
use super::sections::{ChannelSet, Section, SectionKind, Sections};
use crate::format::{CHANGE_METADATA, Changed, INCOMPLETE_METADATA, Incomplete, NEXT_KEY, PART_METADATA};

/// Size of the footer; the magic follows it.
const FOOTER_BYTES: u64 = 20;
const END_BYTES: u64 = HEADER_BYTES as u64 + FOOTER_BYTES + MAGIC.len() as u64;

/// Maximum size of one definition or other small record.
const MAX_RECORD_BYTES: u64 = 16 << 20;

/// Size of the index of a chunk's messages before its entries.
const MESSAGE_INDEX_BYTES: usize = 6;

/// The first opcode of records that other programs define.
const PRIVATE: u8 = 0x80;

/// Maximum length of a record that counts as one although the file ends before its end: a tebibyte.
const MAX_LENGTH: u64 = 1 << 40;

/// Size of the buffer for a part of the index.
const INDEX_BUFFER_BYTES: usize = 32 << 10;

/// Maximum size of all definitions of a file.
const MAX_DEFINITION_BYTES: u64 = 16 << 20;

/// Maximum size of consecutive messages outside of chunks that are read together. A larger message is read alone.
const RUN_BYTES: u64 = 1 << 20;

/// Maximum number of attachments and metadata records that are known.
const MAX_EXTRAS: usize = 10_000;

/// Number of channels from which on those of a chunk count as unknown.
const MAX_CHUNK_CHANNELS: usize = 4096;

/// Maximum number of unreadable parts that are known.
const MAX_DAMAGES: usize = 10_000;

/// Bytes of failed chunks that a scan reads, beside twice the size of the file. Then it no longer searches for a chunk inside
/// of a failed one, and reads no chunk larger than [`MAX_CHUNK_BYTES`], so that the time of a scan is linear.
const FAILED_BYTES: u64 = 256 << 20;

/// The end of a file, from the best to the worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    /// With an index of all its messages.
    Indexed,
    /// It was closed, without such an index.
    Closed,
    /// It was not closed, or its end is damaged.
    #[default]
    Open,
}

/// The reference of a file to the one that continues the recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Continuation {
    /// Nothing: it was not closed, or another program wrote it.
    #[default]
    Unknown,
    /// This name, in the same folder.
    Next(String),
    /// The recording ends.
    End,
}

/// The contents of a file and their positions.
#[derive(Default)]
pub(crate) struct Index {
    pub(crate) ending: Ending,
    pub(crate) profile: String,
    pub(crate) continuation: Continuation,
    pub(crate) channels: BTreeMap<u16, Channel>,
    /// Number of messages of each channel.
    pub(crate) messages: BTreeMap<u16, u64>,
    /// The places of all messages, in the order of the file.
    pub(crate) sections: Sections,
    /// The parts that the recording lacks because its sources did, by camera.
    pub(crate) incomplete: BTreeMap<String, Incomplete>,
    /// The changes of the rig during the recording, in their order.
    pub(crate) changes: Vec<Changed>,
    /// The first unreadable parts, up to [`MAX_DAMAGES`], in the order of the file. Only a scan finds them.
    pub(crate) damage: Vec<Damage>,
    /// The number of further ones, and the size of all of them.
    pub(crate) more_damage: u64,
    pub(crate) damaged_bytes: u64,
    /// The records of attachments and metadata outside of chunks, up to [`MAX_EXTRAS`].
    pub(super) extras: Vec<(u8, Range<u64>)>,
    /// The last chunk of each channel. Only a skim finds them.
    pub(super) last_chunks: BTreeMap<u16, Section>,
    /// The place of the file's own index of all its messages, if they are all in chunks.
    summary: Option<Range<u64>>,
    /// Whether chunks of known channels are not read.
    skims: bool,
    schemas: BTreeMap<u16, Arc<Schema>>,
    definition_bytes: u64,
    /// Whether a channel has a schema that is not defined before it.
    lacks_schema: bool,
}

/// The description of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Channel {
    pub(crate) topic: String,
    /// `None` if its messages have no schema.
    pub(crate) schema: Option<Arc<Schema>>,
    pub(crate) message_encoding: String,
    pub(crate) metadata: BTreeMap<String, String>,
}

impl Channel {
    /// Returns the name of the schema; empty without one.
    pub(crate) fn schema_name(&self) -> &str {
        self.schema.as_ref().map_or("", |schema| &schema.name)
    }
}

/// Damaged bytes.
#[derive(Debug)]
pub(crate) struct Damage {
    pub(crate) bytes: Range<u64>,
    pub(crate) problem: ChunkError,
}

impl Index {
    /// Reads the file's own index into an empty list of sections, and searches for messages that are not in it. Returns `None`
    /// if the file has no index, or one that is inconsistent or incomplete.
    pub(super) fn read(file: &RecordedFile, sections: Sections) -> Result<Option<Self>, IndexError> {
        let Some(summary) = summary(file)? else { return Ok(None) };
        let mut index = Self { sections, ..Self::default() };
        let (mut complete, mut counts) = (true, None);
        // The position after the last chunk.
        let mut at = MAGIC.len() as u64;
        let mut records = RecordReader(BufReader::new(file.range(summary.clone())));
        while let Some((opcode, length)) = records.next()? {
            let kept = if length <= MAX_RECORD_BYTES { length as usize } else { 0 };
            let content = records.content(length, kept)?;
            match opcode {
                op::STATISTICS => {
                    counts = fields::message_counts(&content);
                    complete &= counts.is_some();
                }
                op::CHUNK_INDEX => {
                    let Some(chunk) = ChunkIndexRecord::parse(&content) else { return Ok(None) };
                    let end = chunk.offset.checked_add(chunk.size_bytes);
                    let end = end.and_then(|end| end.checked_add(chunk.message_index_bytes));
                    // Chunks that are not in their order are found by a scan.
                    let Some(end) = end.filter(|&end| end <= summary.start && at <= chunk.offset) else {
                        return Ok(None);
                    };
                    // A chunk of definitions has no messages and no times.
                    complete &= !chunk.channels.is_empty() || (chunk.start_time, chunk.end_time) == (0, 0);
                    // Records between the chunks are not in the index. Usually that is the header of the file.
                    index.scan_range(file, at..chunk.offset, &|_| {})?;
                    let section = index.sections.indexed_chunk(&chunk);
                    index.sections.push(section);
                    at = end;
                }
                op::SCHEMA | op::CHANNEL => index.define(opcode, &content)?,
                _ => {}
            }
        }
        index.scan_range(file, at..summary.start, &|_| {})?;
        let Some(counts) = counts.filter(|_| complete) else { return Ok(None) };
        let defined = |channel: &u16| index.channels.contains_key(channel);
        if index.lacks_schema || !counts.keys().all(defined) || !index.damage.is_empty() {
            return Ok(None);
        }
        index.messages = counts;
        index.ending = Ending::Indexed;
        index.summary = Some(summary).filter(|_| !index.sections.has_loose());
        Ok(Some(index))
    }

    /// Makes an index by scanning the whole file into an empty list of sections, and calls `progress` with the position.
    pub(super) fn scan(
        file: &RecordedFile,
        sections: Sections,
        progress: &dyn Fn(u64),
    ) -> Result<Self, IndexError> {
        let mut index = Self { sections, ..Self::default() };
        let end = file.size_bytes();
        let at = index.scan_range(file, MAGIC.len() as u64..end, progress)?;
        progress(end);
        if at < end && summary(file)?.is_some() {
            index.ending = Ending::Closed;
        }
        Ok(index)
    }

    /// Makes an index of a file of this program that may not be closed, without reading its framesets: damage inside of
    /// chunks is not found, and messages are not counted.
    pub(super) fn skim(file: &RecordedFile) -> Result<Self, IndexError> {
        let mut index = Self { skims: true, ..Self::default() };
        index.scan_range(file, MAGIC.len() as u64..file.size_bytes(), &|_| {})?;
        Ok(index)
    }

    /// Adds a chunk without reading it, if the index of its messages has only known channels.
    fn skim_chunk(&mut self, file: &RecordedFile, record: Range<u64>) -> io::Result<bool> {
        let header = file.peek(record.start, CHUNK_START_BYTES, ChunkHeader::parse)?;
        let Some((header, _)) = header.filter(|_| self.skims) else { return Ok(false) };
        let Some(channels) = channels_behind(file, record.end..file.size_bytes()) else { return Ok(false) };
        if !channels.iter().all(|id| self.channels.contains_key(id)) {
            return Ok(false);
        }
        let channels = self.sections.set(channels.iter().copied());
        self.add_section(record, &header, channels);
        Ok(true)
    }

    fn add_section(&mut self, record: Range<u64>, header: &ChunkHeader, channels: ChannelSet) {
        let section = Section {
            offset: record.start,
            size_bytes: record.end - record.start,
            start_time: header.start_time,
            end_time: header.end_time,
            kind: SectionKind::Chunk(header.compression),
            channels,
        };
        if let Some(channels) = section.channels.as_ref().filter(|_| self.skims) {
            self.last_chunks.extend(channels.iter().map(|&id| (id, section.clone())));
        }
        self.sections.push(section);
    }

    /// Adds the records of a part of the file. Returns the position at which the data end.
    fn scan_range(
        &mut self,
        file: &RecordedFile,
        range: Range<u64>,
        progress: &dyn Fn(u64),
    ) -> Result<u64, IndexError> {
        let mut failed_bytes = 0;
        let mut at = range.start;
        while at < range.end {
            progress(at);
            let left = range.end - at;
            let header = if self.skims {
                file.peek(at, HEADER_BYTES, records::header)?
            } else {
                file.look(at, HEADER_BYTES, records::header)?
            };
            let found = header.and_then(|(opcode, length)| {
                let record_bytes = length.checked_add(HEADER_BYTES as u64).filter(|&bytes| bytes <= left)?;
                (opcode != 0).then_some((opcode, length, record_bytes))
            });
            let Some((opcode, length, record_bytes)) = found else {
                let next = find_chunk(file, at + 1..range.end, range.end)?.unwrap_or(range.end);
                self.add_damage(at..next, ChunkError::NoRecord);
                at = next;
                continue;
            };
            let record = at..at + record_bytes;
            let is_exhausted = |bytes: u64| bytes > 2 * file.size_bytes() + FAILED_BYTES;
            match opcode {
                op::CHUNK if self.skim_chunk(file, record.clone())? => {}
                op::CHUNK => {
                    let most = if is_exhausted(failed_bytes) { MAX_CHUNK_BYTES } else { MAX_CONTENT_BYTES };
                    if let Err((problem, read_bytes)) = self.add_chunk(file, record.clone(), most)? {
                        failed_bytes += read_bytes;
                        let exhausted = is_exhausted(failed_bytes);
                        let from = if exhausted { record.end } else { at + 1 };
                        let next = find_chunk(file, from..range.end, range.end)?.unwrap_or(range.end);
                        self.add_damage(at..next, problem);
                        at = next;
                        continue;
                    }
                }
                op::DATA_END if length == 4 => return Ok(at),
                op::FOOTER if length == FOOTER_BYTES => return Ok(at),
                _ if self.add_record(file, opcode, record.clone(), range.end)? => {}
                _ => {
                    // If its length is right, only this record is damaged.
                    let is_whole = is_followed(file, record.end..range.end)?;
                    let until = if is_whole { record.end } else { range.end };
                    failed_bytes += length.min(MAX_RECORD_BYTES);
                    let from = if is_exhausted(failed_bytes) { record.end } else { at + 1 };
                    let next = find_chunk(file, from..until, range.end)?.unwrap_or(until);
                    self.add_damage(at..next, ChunkError::NoRecord);
                    at = next;
                    continue;
                }
            }
            at = record.end;
        }
        Ok(at)
    }

    /// Adds a record that is not a chunk, in a part of the file that ends at `end`. Adds nothing and returns `false` if its
    /// content is not of its kind, if the data of a file have no such record, or if no record follows it: then its kind or its
    /// length is damaged.
    fn add_record(
        &mut self,
        file: &RecordedFile,
        opcode: u8,
        record: Range<u64>,
        end: u64,
    ) -> Result<bool, IndexError> {
        let content = record.start + HEADER_BYTES as u64..record.end;
        let length = content.end - content.start;
        match opcode {
            op::HEADER | op::SCHEMA | op::CHANNEL | op::METADATA if length <= MAX_RECORD_BYTES => {
                let bytes = file.read(content.clone())?;
                if !fields::is_whole(opcode, &bytes) {
                    return Ok(false);
                }
                self.add_extra(opcode, content);
                self.define(opcode, &bytes)?;
            }
            op::MESSAGE => {
                let fields = file.look(content.start, MessageFields::BYTES, MessageFields::parse)?;
                let fields = fields.filter(|_| length >= MessageFields::BYTES as u64);
                let Some(fields) = fields else { return Ok(false) };
                if !is_followed(file, record.end..end)? {
                    return Ok(false);
                }
                *self.messages.entry(fields.channel).or_insert(0) += 1;
                self.sections.push_message(record, &fields, RUN_BYTES);
            }
            op::MESSAGE_INDEX => {
                let entries_bytes = file.peek(content.start, MESSAGE_INDEX_BYTES, |bytes| {
                    let mut fields = Fields(bytes);
                    fields.u16().and_then(|_| fields.u32())
                })?;
                // An entry is a time and an offset.
                let is_whole = |bytes: &u32| {
                    u64::from(*bytes) + MESSAGE_INDEX_BYTES as u64 == length && bytes.is_multiple_of(16)
                };
                return Ok(entries_bytes.as_ref().is_some_and(is_whole));
            }
            op::ATTACHMENT => {
                let start = file.read(content.start..content.end.min(content.start + WINDOW_BYTES))?;
                let is_whole = AttachmentRecord::parse(&start).is_some_and(|(attachment, fields_bytes)| {
                    let data_end = attachment.data_bytes.checked_add(fields_bytes as u64);
                    data_end.and_then(|end| end.checked_add(4)) == Some(length)
                });
                if !is_whole || !is_followed(file, record.end..end)? {
                    return Ok(false);
                }
                self.add_extra(opcode, content);
            }
            // Definitions and metadata that are too large.
            op::HEADER | op::SCHEMA | op::CHANNEL | op::METADATA => {
                return Ok(is_followed(file, record.end..end)?);
            }
            PRIVATE.. => {
                let is_chunk = file.peek(record.start, CHUNK_START_BYTES, |bytes| {
                    let mut bytes = bytes[..bytes.len().min(CHUNK_START_BYTES)].to_vec();
                    bytes[0] = op::CHUNK;
                    ChunkHeader::parse(&bytes).is_some()
                })?;
                return Ok(!is_chunk && is_followed(file, record.end..end)?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn add_extra(&mut self, opcode: u8, content: Range<u64>) {
        if matches!(opcode, op::ATTACHMENT | op::METADATA) && self.extras.len() < MAX_EXTRAS {
            self.extras.push((opcode, content));
        }
    }

    /// Adds a chunk of at most this content. A damaged one adds nothing; then the inner error has the reason, and the number of bytes read to
    /// find it.
    fn add_chunk(
        &mut self,
        file: &RecordedFile,
        record: Range<u64>,
        most: u64,
    ) -> Result<Result<(), (ChunkError, u64)>, IndexError> {
        let opened = records::open_chunk(file, record.clone(), most)
            .and_then(|chunk| Ok((chunk.header.clone(), chunk.content()?)));
        let (header, mut content) = match opened {
            Ok(opened) => opened,
            Err(problem) => return Ok(Err((problem, CHUNK_START_BYTES as u64))),
        };
        let mut definitions = Vec::new();
        let mut counts = BTreeMap::<u16, u64>::new();
        let walked = walk(&mut content, &mut definitions, &mut counts);
        let read_bytes = content.read_bytes();
        if let Err(problem) = walked.map_err(ChunkError::Compression).and_then(|()| content.finish()) {
            return Ok(Err((problem, read_bytes)));
        }
        for (opcode, definition) in definitions {
            self.define(opcode, &definition)?;
        }
        let channels = self.sections.set(counts.keys().copied());
        self.add_section(record, &header, channels);
        for (channel, count) in counts {
            *self.messages.entry(channel).or_insert(0) += count;
        }
        Ok(Ok(()))
    }

    fn add_damage(&mut self, bytes: Range<u64>, problem: ChunkError) {
        self.sections.break_run();
        self.damaged_bytes += bytes.end - bytes.start;
        let before = self.damage.last_mut().filter(|before| before.bytes.end == bytes.start);
        if let (Some(before), ChunkError::NoRecord) = (before, &problem) {
            before.bytes.end = bytes.end;
        } else if self.damage.len() < MAX_DAMAGES {
            self.damage.push(Damage { bytes, problem });
        } else {
            self.more_damage += 1;
        }
    }

    /// Leaves out damage up to the end of a file that is being written: its recorder is just writing a chunk there.
    pub(super) fn leave_out_end(&mut self, end: u64) {
        if let Some(last) = self.damage.pop_if(|last| last.bytes.end == end) {
            self.damaged_bytes -= last.bytes.end - last.bytes.start;
        }
    }

    /// Adds a definition; an invalid one is ignored.
    fn define(&mut self, opcode: u8, content: &[u8]) -> Result<(), IndexError> {
        match opcode {
            op::HEADER => self.profile = fields::profile(content).unwrap_or_default(),
            op::METADATA => match fields::metadata(content) {
                Some((name, mut entries)) if name == PART_METADATA => {
                    let next = entries.remove(NEXT_KEY).map(Continuation::Next);
                    self.continuation = next.unwrap_or(Continuation::End);
                }
                Some((name, entries)) if name == INCOMPLETE_METADATA => {
                    if let Some(incomplete) = Incomplete::from_entries(&entries) {
                        self.keep(content)?;
                        self.incomplete.insert(incomplete.camera.clone(), incomplete);
                    }
                }
                Some((name, entries)) if name == CHANGE_METADATA => {
                    if let Some(change) = Changed::from_entries(&entries) {
                        self.keep(content)?;
                        self.changes.push(change);
                    }
                }
                _ => {}
            },
            op::SCHEMA => {
                let Some((id, schema)) = Schema::parse(content) else { return Ok(()) };
                if self.schemas.get(&id).is_none_or(|known| **known != schema) {
                    self.keep(content)?;
                    self.schemas.insert(id, Arc::new(schema));
                }
            }
            op::CHANNEL => {
                let Some(channel) = ChannelRecord::parse(content) else { return Ok(()) };
                let ChannelRecord { id, schema, topic, message_encoding, metadata } = channel;
                // 0 means no schema.
                self.lacks_schema |= schema != 0 && !self.schemas.contains_key(&schema);
                let schema = self.schemas.get(&schema).cloned();
                let channel = Channel { topic, schema, message_encoding, metadata };
                if self.channels.get(&id) != Some(&channel) {
                    self.keep(content)?;
                    self.channels.insert(id, channel);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Counts a definition that is kept.
    fn keep(&mut self, content: &[u8]) -> Result<(), IndexError> {
        self.definition_bytes += content.len() as u64;
        if self.definition_bytes > MAX_DEFINITION_BYTES {
            return Err(IndexError::TooManyDefinitions(MAX_DEFINITION_BYTES));
        }
        Ok(())
    }

    /// Returns the number of known damaged parts before a position.
    pub(crate) fn damages_before(&self, at: u64) -> usize {
        self.damage.partition_point(|damage| damage.bytes.start < at)
    }

    /// Returns the end of the known damage at a position.
    fn damage_end(&self, at: u64) -> Option<u64> {
        let behind = self.damage.partition_point(|damage| damage.bytes.start <= at);
        let damage = &self.damage.get(behind.checked_sub(1)?)?.bytes;
        damage.contains(&at).then_some(damage.end)
    }

    /// Returns the first section of a part of the file, and where its next record begins. There is no section where another
    /// record begins, or damage that a scan has found.
    pub(super) fn section_at(
        &self,
        file: &RecordedFile,
        range: Range<u64>,
    ) -> (Result<Option<Section>, ChunkError>, u64) {
        if let Some(end) = self.damage_end(range.start) {
            return (Ok(None), end);
        }
        let found = file.peek(range.start, CHUNK_START_BYTES, |bytes| {
            let (opcode, length) = records::header(bytes)?;
            let end = range.start.checked_add(HEADER_BYTES as u64)?.checked_add(length)?;
            let content = bytes.get(HEADER_BYTES..).unwrap_or_default();
            (opcode != 0 && end <= range.end)
                .then(|| (opcode, end, ChunkHeader::parse(bytes), MessageFields::parse(content)))
        });
        let (found, problem) = match found {
            Ok(found) => (found, ChunkError::NoRecord),
            Err(error) => (None, ChunkError::Io(error)),
        };
        let section = |end, times: (u64, u64), kind, channels| Section {
            offset: range.start,
            size_bytes: end - range.start,
            start_time: times.0,
            end_time: times.1,
            kind,
            channels,
        };
        match found {
            Some((op::CHUNK, end, Some((header, _)), _)) => {
                // If the file has no index, that of a chunk may be wrong.
                let is_indexed = self.ending == Ending::Indexed;
                let channels = is_indexed.then(|| channels_behind(file, end..file.size_bytes())).flatten();
                let times = (header.start_time, header.end_time);
                (Ok(Some(section(end, times, SectionKind::Chunk(header.compression), channels))), end)
            }
            Some((op::MESSAGE, end, _, Some(message))) => {
                let channels = Some(Arc::new(BTreeSet::from([message.channel])));
                let times = (message.log_time, message.log_time);
                (Ok(Some(section(end, times, SectionKind::Messages, channels))), end)
            }
            Some((opcode, end, ..)) if opcode != op::CHUNK => (Ok(None), end),
            other => {
                let problem = other.map_or(problem, |_| ChunkError::NotAChunk);
                let next = find_chunk(file, range.start + 1..range.end, range.end).ok().flatten();
                (Err(problem), next.unwrap_or(range.end))
            }
        }
    }
}

/// A section as the index of its file has it.
pub(crate) struct IndexEntry {
    /// Its place in the index. For a file without an index, that of the section.
    pub(crate) index: Range<u64>,
    pub(crate) offset: u64,
    /// The smallest and the largest `log_time` of its messages.
    pub(crate) start_time: u64,
    pub(crate) end_time: u64,
    /// The channels of its messages; `None` if they are unknown.
    pub(crate) channels: Option<Vec<u16>>,
}

/// The sections of a file from its own index, without those that have no messages.
pub(crate) struct SummaryEntries<'a> {
    records: RecordReader<BufReader<RangeReader<'a>>>,
    at: u64,
}

impl Index {
    /// Returns the sections in a part of the file's own index, by default in all of it; `None` if the file has no such index.
    pub(super) fn entries<'a>(
        &self,
        file: &'a RecordedFile,
        within: Option<Range<u64>>,
    ) -> Option<SummaryEntries<'a>> {
        let range = within.or(self.summary.clone()).filter(|_| self.summary.is_some())?;
        let at = range.start;
        let records = RecordReader(BufReader::with_capacity(INDEX_BUFFER_BYTES, file.range(range)));
        Some(SummaryEntries { records, at })
    }
}

impl SummaryEntries<'_> {
    /// Returns the next one; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<IndexEntry>> {
        while let Some((opcode, length)) = self.records.next()? {
            let kept = if opcode == op::CHUNK_INDEX { MAX_RECORD_BYTES as usize } else { 0 };
            let content = self.records.content(length, kept)?;
            let place = self.at..self.at + HEADER_BYTES as u64 + length;
            self.at = place.end;
            if opcode != op::CHUNK_INDEX {
                continue;
            }
            let chunk = ChunkIndexRecord::parse(&content).ok_or(io::ErrorKind::InvalidData)?;
            let ChunkIndexRecord { start_time, end_time, offset, channels, .. } = chunk;
            if !channels.is_empty() {
                let channels = Some(channels);
                return Ok(Some(IndexEntry { index: place, offset, start_time, end_time, channels }));
            }
        }
        Ok(None)
    }
}

/// Returns the channels of a chunk from the index of its messages, which follows it; `None` if there is none.
fn channels_behind(file: &RecordedFile, mut range: Range<u64>) -> ChannelSet {
    let mut channels = BTreeSet::new();
    while range.start < range.end && channels.len() < MAX_CHUNK_CHANNELS {
        // One read covers the indexes of several channels of a frameset.
        let (found, next) = file
            .peek(range.start, PEEK_BYTES, |bytes| {
                let (mut found, mut at) = (Vec::new(), 0);
                while let Some((op::MESSAGE_INDEX, length)) = bytes.get(at..).and_then(records::header)
                    && let Some(id) = bytes.get(at + HEADER_BYTES..).and_then(|rest| Fields(rest).u16())
                {
                    found.push(id);
                    at = at.saturating_add(HEADER_BYTES).saturating_add(length as usize);
                }
                (found, at as u64)
            })
            .ok()?;
        if found.is_empty() {
            break;
        }
        channels.extend(found);
        range.start = range.start.saturating_add(next);
    }
    let known = !channels.is_empty() && channels.len() < MAX_CHUNK_CHANNELS;
    known.then(|| Arc::new(channels))
}

/// Reads a chunk's records; keeps definitions, and counts messages.
fn walk(
    content: &mut impl Read,
    definitions: &mut Vec<(u8, Vec<u8>)>,
    counts: &mut BTreeMap<u16, u64>,
) -> io::Result<()> {
    let mut kept_bytes = 0;
    let mut records = RecordReader(BufReader::new(content));
    while let Some((opcode, length)) = records.next()? {
        match opcode {
            op::SCHEMA | op::CHANNEL if length <= MAX_RECORD_BYTES => {
                let definition = records.content(length, length as usize)?;
                kept_bytes += length;
                // One byte more than a file may define makes the file invalid when the definitions are added.
                if kept_bytes <= MAX_DEFINITION_BYTES + MAX_RECORD_BYTES {
                    definitions.push((opcode, definition));
                }
            }
            op::MESSAGE => {
                let fields = records.content(length, MessageFields::BYTES)?;
                if let Some(fields) = MessageFields::parse(&fields) {
                    *counts.entry(fields.channel).or_insert(0) += 1;
                }
            }
            _ => drop(records.content(length, 0)?),
        }
    }
    Ok(())
}

/// Returns the position of the summary, which may be empty; `None` if the file was not closed or its end is damaged.
fn summary(file: &RecordedFile) -> io::Result<Option<Range<u64>>> {
    let Some(end_at) = file.size_bytes().checked_sub(END_BYTES) else { return Ok(None) };
    let end = file.read(end_at..file.size_bytes())?;
    if records::header(&end) != Some((op::FOOTER, FOOTER_BYTES)) || !end.ends_with(MAGIC) {
        return Ok(None);
    }
    let mut footer = Fields(&end[HEADER_BYTES..]);
    let (Some(start), Some(_), Some(crc32)) = (footer.u64(), footer.u64(), footer.u32()) else {
        return Ok(None);
    };
    // 0 means that there is no summary.
    let start = if start == 0 { end_at } else { start };
    if start > end_at || start < MAGIC.len() as u64 {
        return Ok(None);
    }
    if crc32 != 0 {
        let mut hasher = checksum(file, start..end_at)?;
        hasher.update(&end[..HEADER_BYTES + 16]);
        if hasher.finalize() != crc32 {
            return Ok(None);
        }
    }
    Ok(Some(start..end_at))
}

/// Returns the problem of the bytes before the summary, as far as their own checksum shows one; `None` without a checksum
/// or without a summary.
pub(super) fn data_problem(file: &RecordedFile) -> io::Result<Option<ChunkError>> {
    const DATA_END_BYTES: u64 = HEADER_BYTES as u64 + 4;
    let Some(summary) = summary(file)? else { return Ok(None) };
    let Some(end) = summary.start.checked_sub(DATA_END_BYTES) else { return Ok(Some(ChunkError::NoDataEnd)) };
    let record = file.read(end..summary.start)?;
    if records::header(&record) != Some((op::DATA_END, 4)) {
        return Ok(Some(ChunkError::NoDataEnd));
    }
    let expected = Fields(&record[HEADER_BYTES..]).u32().unwrap_or_default();
    if expected == 0 {
        return Ok(None);
    }
    let found = checksum(file, 0..end)?.finalize();
    Ok((found != expected).then_some(ChunkError::DataChecksum { found, expected }))
}

/// Returns the checksum of a part of the file, to which more bytes can be added.
fn checksum(file: &RecordedFile, range: Range<u64>) -> io::Result<crc32fast::Hasher> {
    let mut hasher = crc32fast::Hasher::new();
    let mut reader = file.range(range);
    let mut bytes = vec![0; 64 << 10];
    loop {
        match reader.read(&mut bytes)? {
            0 => return Ok(hasher),
            count => hasher.update(&bytes[..count]),
        }
    }
}

/// Returns whether another record follows, at the start of this part of the file, or nothing. That record may be cut.
fn is_followed(file: &RecordedFile, rest: Range<u64>) -> io::Result<bool> {
    let is_kind = |opcode: u8| (op::HEADER..=op::DATA_END).contains(&opcode) || opcode >= PRIVATE;
    let left = (rest.end - rest.start).min(HEADER_BYTES as u64) as usize;
    file.peek(rest.start, left, |bytes| match records::header(&bytes[..left.min(bytes.len())]) {
        Some((opcode, length)) => is_kind(opcode) && length <= MAX_LENGTH,
        None => bytes.first().filter(|_| left > 0).is_none_or(|&opcode| is_kind(opcode)),
    })
}

/// Returns the first of these positions that can be a chunk, which ends before `end`.
fn find_chunk(file: &RecordedFile, starts: Range<u64>, end: u64) -> io::Result<Option<u64>> {
    let mut from = starts.start;
    while from < starts.end {
        let least = (end - from).min(CHUNK_START_BYTES as u64) as usize;
        let (found, searched) = file.look(from, least, |bytes| {
            let bytes = &bytes[..bytes.len().min((end - from) as usize)];
            // The start of a chunk that extends beyond these bytes is complete in the next ones.
            let last = bytes.len() as u64 == end - from;
            let searched = if last { bytes.len() } else { bytes.len() - CHUNK_START_BYTES + 1 };
            let searched = searched.min((starts.end - from) as usize);
            let candidates = bytes[..searched].iter().enumerate().filter(|(_, byte)| **byte == op::CHUNK);
            let found = candidates.map(|(index, _)| index).find(|&index| {
                let left = end - from - index as u64;
                ChunkHeader::parse(&bytes[index..])
                    .is_some_and(|(_, length)| length.saturating_add(HEADER_BYTES as u64) <= left)
            });
            (found, searched)
        })?;
        if let Some(index) = found {
            return Ok(Some(from + index as u64));
        }
        from += searched.max(1) as u64;
    }
    Ok(None)
}

// Both kinds of small reads hold the start of a chunk.
const _: () = assert!(CHUNK_START_BYTES < WINDOW_BYTES as usize && CHUNK_START_BYTES <= PEEK_BYTES);
