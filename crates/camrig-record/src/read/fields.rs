//! The fields of MCAP's small records.
//!
//! The lengths in a record come from a file. A field is a part of the record's own bytes, so none can make a reader
//! allocate more than the file holds.

use std::collections::BTreeMap;

use mcap::records::op;

/// The rest of a record, whose fields are taken in order.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.bytes(1).map(|bytes| bytes[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.bytes(2)?.try_into().ok()?))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.bytes(4)?.try_into().ok()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.bytes(8)?.try_into().ok()?))
    }

    /// Takes bytes after their length.
    pub(super) fn data(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.u32()?).ok()?;
        self.bytes(count)
    }

    /// Takes a text after its length.
    pub(super) fn text(&mut self) -> Option<String> {
        String::from_utf8(self.data()?.to_vec()).ok()
    }

    /// Takes entries after the number of their bytes.
    pub(super) fn entries<T>(&mut self, entry: impl Fn(&mut Fields<'a>) -> Option<T>) -> Option<Vec<T>> {
        let mut fields = Fields(self.data()?);
        let mut entries = Vec::new();
        while !fields.0.is_empty() {
            entries.push(entry(&mut fields)?);
        }
        Some(entries)
    }
}

/// A schema, as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Schema {
    pub(crate) name: String,
    pub(crate) encoding: String,
    pub(crate) data: Vec<u8>,
}

impl Schema {
    /// Parses a schema and its number.
    pub(super) fn parse(record: &[u8]) -> Option<(u16, Self)> {
        let mut fields = Fields(record);
        let id = fields.u16()?;
        let (name, encoding) = (fields.text()?, fields.text()?);
        Some((id, Self { name, encoding, data: fields.data()?.to_vec() }))
    }
}

/// A channel, as it is stored.
pub(super) struct ChannelRecord {
    pub(super) id: u16,
    /// 0 if its messages have no schema.
    pub(super) schema: u16,
    pub(super) topic: String,
    pub(super) message_encoding: String,
    pub(super) metadata: BTreeMap<String, String>,
}

impl ChannelRecord {
    pub(super) fn parse(record: &[u8]) -> Option<Self> {
        let mut fields = Fields(record);
        Some(Self {
            id: fields.u16()?,
            schema: fields.u16()?,
            topic: fields.text()?,
            message_encoding: fields.text()?,
            metadata: fields.entries(|entry| Some((entry.text()?, entry.text()?)))?.into_iter().collect(),
        })
    }
}

/// The place of a chunk, as it is stored in the file's own index.
pub(super) struct ChunkIndexRecord {
    pub(super) start_time: u64,
    pub(super) end_time: u64,
    pub(super) offset: u64,
    pub(super) size_bytes: u64,
    /// The channels of the chunk's messages; empty if the file has no index of messages.
    pub(super) channels: Vec<u16>,
    /// Size of the index of messages, which follows the chunk.
    pub(super) message_index_bytes: u64,
    pub(super) compression: Vec<u8>,
}

impl ChunkIndexRecord {
    pub(super) fn parse(record: &[u8]) -> Option<Self> {
        let mut fields = Fields(record);
        Some(Self {
            start_time: fields.u64()?,
            end_time: fields.u64()?,
            offset: fields.u64()?,
            size_bytes: fields.u64()?,
            channels: fields.entries(|entry| {
                let channel = entry.u16()?;
                entry.u64()?;
                Some(channel)
            })?,
            message_index_bytes: fields.u64()?,
            compression: fields.data()?.to_vec(),
        })
    }
}

/// Parses the number of messages of each channel from the statistics of a file.
pub(super) fn message_counts(record: &[u8]) -> Option<BTreeMap<u16, u64>> {
    /// Size of the totals and times before the counts.
    const TOTALS_BYTES: usize = 8 + 2 + 4 + 4 + 4 + 4 + 8 + 8;
    let mut fields = Fields(record.get(TOTALS_BYTES..)?);
    Some(fields.entries(|entry| Some((entry.u16()?, entry.u64()?)))?.into_iter().collect())
}

/// Parses the name and the entries of a metadata record.
pub(super) fn metadata(record: &[u8]) -> Option<(String, BTreeMap<String, String>)> {
    let mut fields = Fields(record);
    let name = fields.text()?;
    Some((name, fields.entries(|entry| Some((entry.text()?, entry.text()?)))?.into_iter().collect()))
}

/// An attachment before its data.
pub(crate) struct AttachmentRecord {
    pub(crate) log_time: u64,
    pub(crate) create_time: u64,
    pub(crate) name: String,
    pub(crate) media_type: String,
    pub(crate) data_bytes: u64,
}

impl AttachmentRecord {
    /// Parses the fields before the data. Returns their size, too.
    pub(super) fn parse(record: &[u8]) -> Option<(Self, usize)> {
        let mut fields = Fields(record);
        let parsed = Self {
            log_time: fields.u64()?,
            create_time: fields.u64()?,
            name: fields.text()?,
            media_type: fields.text()?,
            data_bytes: fields.u64()?,
        };
        Some((parsed, record.len() - fields.0.len()))
    }
}

/// Returns whether the content of a header, a definition or metadata is as long as its fields.
pub(super) fn is_whole(opcode: u8, record: &[u8]) -> bool {
    let mut fields = Fields(record);
    let sizes = match opcode {
        op::HEADER => &[4, 4][..],
        op::SCHEMA => &[2, 4, 4, 4],
        op::CHANNEL => &[2, 2, 4, 4, 4],
        op::METADATA => &[4, 4],
        _ => return false,
    };
    // Texts and entries come after their lengths.
    let is_there = |size: &usize| match size {
        2 => fields.u16().is_some(),
        _ => fields.data().is_some(),
    };
    sizes.iter().all(is_there) && fields.0.is_empty()
}

/// Parses the profile from the header of a file.
pub(super) fn profile(record: &[u8]) -> Option<String> {
    Fields(record).text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_record_is_invalid() {
        // A header whose profile claims 4 GiB.
        assert_eq!(profile(&[0xff; 4]), None);
        assert_eq!(profile(&[2, 0, 0, 0, b'a', b'b']).as_deref(), Some("ab"));
        let mut channel = vec![1, 0, 2, 0, 1, 0, 0, 0, b't', 0, 0, 0, 0];
        channel.extend([10, 0, 0, 0, 1, 0, 0, 0, b'k', 1, 0, 0, 0, b'v']);
        let parsed = ChannelRecord::parse(&channel).unwrap();
        assert_eq!((parsed.id, parsed.schema, parsed.topic.as_str()), (1, 2, "t"));
        assert_eq!(parsed.metadata, BTreeMap::from([("k".to_owned(), "v".to_owned())]));
        for length in 0..channel.len() {
            assert!(ChannelRecord::parse(&channel[..length]).is_none(), "{length} bytes");
        }
        channel[17] = 0xff;
        assert!(ChannelRecord::parse(&channel).is_none(), "an entry longer than the map");
    }
}
