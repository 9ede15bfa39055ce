//! The bytes of MCAP records that are written.

use std::collections::BTreeMap;

use mcap::records::op;

use super::Message;

/// Size of an opcode and a length.
pub(super) const HEADER_BYTES: usize = 9;

/// Size of a message before its data, with opcode and length.
pub(crate) const MESSAGE_BYTES: usize = HEADER_BYTES + 2 + 4 + 8 + 8;

/// The fields of one record.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fields(pub(super) Vec<u8>);

impl Fields {
    pub(super) fn u16(mut self, value: u16) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(super) fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_le_bytes());
        self
    }

    /// Adds bytes behind their length.
    pub(super) fn data(self, data: &[u8]) -> Self {
        let mut fields = self.u32(data.len() as u32);
        fields.0.extend(data);
        fields
    }

    pub(super) fn text(self, text: &str) -> Self {
        self.data(text.as_bytes())
    }

    pub(super) fn texts(self, entries: &BTreeMap<String, String>) -> Self {
        let fields =
            entries.iter().fold(Self::default(), |fields, (key, value)| fields.text(key).text(value));
        self.data(&fields.0)
    }

    /// Returns the record.
    pub(super) fn record(&self, opcode: u8) -> Vec<u8> {
        let mut record = Vec::with_capacity(HEADER_BYTES + self.0.len());
        push_header(&mut record, opcode, self.0.len() as u64);
        record.extend(&self.0);
        record
    }
}

fn push_header(bytes: &mut Vec<u8>, opcode: u8, length: u64) {
    bytes.push(opcode);
    bytes.extend(length.to_le_bytes());
}

/// Appends the record of a message up to its data.
pub(super) fn push_message_header(bytes: &mut Vec<u8>, message: &Message<'_>) {
    let Message { channel, sequence, log_time, publish_time, data } = *message;
    push_header(bytes, op::MESSAGE, (MESSAGE_BYTES - HEADER_BYTES + data.len()) as u64);
    bytes.extend(channel.to_le_bytes());
    bytes.extend(sequence.to_le_bytes());
    bytes.extend(log_time.to_le_bytes());
    bytes.extend(publish_time.to_le_bytes());
}

/// The header of a chunk.
pub(super) struct ChunkHeader<'a> {
    pub(super) start_time: u64,
    pub(super) end_time: u64,
    pub(super) content_bytes: u64,
    pub(super) crc32: u32,
    pub(super) compression: &'a str,
    pub(super) stored_bytes: u64,
}

impl ChunkHeader<'_> {
    /// Returns the record of the chunk up to its content.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let fields = Fields::default()
            .u64(self.start_time)
            .u64(self.end_time)
            .u64(self.content_bytes)
            .u32(self.crc32)
            .text(self.compression)
            .u64(self.stored_bytes);
        let mut bytes = Vec::new();
        push_header(&mut bytes, op::CHUNK, fields.0.len() as u64 + self.stored_bytes);
        bytes.extend(fields.0);
        bytes
    }
}

/// Returns the index of the messages of a chunk, and the place of each channel's index in it. `messages` has the channel,
/// the `log_time` and the place in the chunk's content of each message.
pub(super) fn message_index(messages: &[(u16, u64, u64)]) -> (Vec<u8>, BTreeMap<u16, u64>) {
    let mut channels = BTreeMap::<u16, Fields>::new();
    for &(channel, log_time, offset) in messages {
        let entries = std::mem::take(channels.entry(channel).or_default());
        channels.insert(channel, entries.u64(log_time).u64(offset));
    }
    let (mut bytes, mut places) = (Vec::new(), BTreeMap::new());
    for (channel, entries) in channels {
        places.insert(channel, bytes.len() as u64);
        bytes.extend(Fields::default().u16(channel).data(&entries.0).record(op::MESSAGE_INDEX));
    }
    (bytes, places)
}
