//! The places of a file's messages.
//!
//! A section is a chunk, or consecutive messages outside of chunks. A recording has one for each frameset, so that a
//! section takes little memory: chunks of the same channels share the set of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::fields::ChunkIndexRecord;
use super::records::MessageFields;
use crate::compression::Compression;

/// Maximum number of channels in all sets together. Beyond it, a section counts as one of all channels.
const MAX_SET_CHANNELS: usize = 1 << 20;

/// The channels of a section's messages; `None` if they are unknown.
pub(crate) type ChannelSet = Option<Arc<BTreeSet<u16>>>;

/// The place of messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) offset: u64,
    pub(crate) size_bytes: u64,
    /// The smallest and the largest `log_time` of its messages.
    pub(crate) start_time: u64,
    pub(crate) end_time: u64,
    pub(crate) kind: SectionKind,
    pub(crate) channels: ChannelSet,
}

/// Kind of a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SectionKind {
    /// A chunk record.
    Chunk(Compression),
    /// Records that are not in a chunk.
    Messages,
}

impl Section {
    /// Returns whether it may have messages of a channel.
    pub(crate) fn has(&self, mut channel: impl FnMut(u16) -> bool) -> bool {
        self.channels.as_ref().is_none_or(|channels| channels.iter().any(|&id| channel(id)))
    }

    pub(super) fn bytes(&self) -> Range<u64> {
        self.offset..self.offset + self.size_bytes
    }
}

/// The sections of a file, in its order.
#[derive(Default)]
pub(crate) struct Sections {
    list: Vec<Section>,
    sets: BTreeMap<BTreeSet<u16>, Arc<BTreeSet<u16>>>,
    set_channels: usize,
    /// Whether the next message must begin another section.
    broken: bool,
}

impl Sections {
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Section> {
        self.list.iter()
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Section> {
        self.list.get(index)
    }

    /// Adds a section; one without messages is left out.
    pub(super) fn push(&mut self, section: Section) {
        if section.channels.as_ref().is_none_or(|channels| !channels.is_empty()) {
            self.list.push(section);
        }
    }

    /// Marks that the bytes behind the last section are not only records.
    pub(super) fn break_run(&mut self) {
        self.broken = true;
    }

    /// Adds a message outside of chunks to the last section, or begins another one.
    pub(super) fn push_message(&mut self, record: Range<u64>, message: &MessageFields, run_bytes: u64) {
        let broken = std::mem::take(&mut self.broken);
        if let Some(last) = self.list.last().filter(|last| last.kind == SectionKind::Messages && !broken)
            // Other small records may lie between two messages.
            && record.end - last.offset <= run_bytes
        {
            let mut channels = last.channels.as_deref().cloned();
            let known = channels.as_mut().is_none_or(|channels| !channels.insert(message.channel));
            let channels = if known { last.channels.clone() } else { channels.and_then(|set| self.set(set)) };
            let Some(last) = self.list.last_mut() else { return };
            last.size_bytes = record.end - last.offset;
            last.start_time = last.start_time.min(message.log_time);
            last.end_time = last.end_time.max(message.log_time);
            last.channels = channels;
            return;
        }
        let channels = self.set([message.channel]);
        self.list.push(Section {
            offset: record.start,
            size_bytes: record.end - record.start,
            start_time: message.log_time,
            end_time: message.log_time,
            kind: SectionKind::Messages,
            channels,
        });
    }

    /// Returns the section of a chunk in the file's own index.
    pub(super) fn indexed_chunk(&mut self, chunk: &ChunkIndexRecord) -> Section {
        Section {
            offset: chunk.offset,
            size_bytes: chunk.size_bytes,
            start_time: chunk.start_time,
            end_time: chunk.end_time,
            kind: SectionKind::Chunk(Compression::of_name(&chunk.compression)),
            channels: self.set(chunk.channels.iter().copied()),
        }
    }

    /// Returns the one set of these channels.
    pub(super) fn set(&mut self, channels: impl IntoIterator<Item = u16>) -> ChannelSet {
        let channels: BTreeSet<u16> = channels.into_iter().collect();
        if let Some(known) = self.sets.get(&channels) {
            return Some(Arc::clone(known));
        }
        if self.set_channels + channels.len() > MAX_SET_CHANNELS {
            return None;
        }
        self.set_channels += channels.len();
        let set = Arc::new(channels.clone());
        self.sets.insert(channels, Arc::clone(&set));
        Some(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(channel: u16, log_time: u64) -> MessageFields {
        MessageFields { channel, sequence: 0, log_time, publish_time: 0 }
    }

    #[test]
    fn messages_outside_of_chunks_are_read_together() {
        let mut sections = Sections::default();
        sections.push_message(0..40, &message(1, 9), 100);
        sections.push_message(50..90, &message(2, 7), 100);
        sections.push_message(90..130, &message(1, 8), 100);
        sections.push_message(130..400, &message(1, 11), 100);
        let found = sections.iter().map(|section| {
            let channels = section.channels.as_ref().unwrap().iter().copied().collect::<Vec<_>>();
            (section.bytes(), section.start_time..=section.end_time, channels)
        });
        let expected = [(0..90, 7..=9, vec![1, 2]), (90..130, 8..=8, vec![1]), (130..400, 11..=11, vec![1])];
        assert_eq!(found.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn sets_of_channels_are_shared_and_bounded() {
        let mut sections = Sections::default();
        let (first, second) = (sections.set([1, 2]), sections.set([2, 1]));
        assert!(Arc::ptr_eq(&first.unwrap(), &second.unwrap()));
        let mut sections = Sections::default();
        let sets = (0..60_000).take_while(|&first| sections.set(first..first + 1000).is_some());
        assert_eq!(sets.count(), MAX_SET_CHANNELS / 1000);
    }
}
