//! The positions of a file's messages.
//!
//! A section is a chunk, or consecutive messages outside of chunks. A recording has one for each frameset. If there are too
//! many of them, adjacent ones become a range of the file whose records are found again when it is read. So the index of a file
//! has a maximum size. Sections of the same channels share the set of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use super::fields::ChunkIndexRecord;
use super::records::MessageFields;
use crate::compression::Compression;

/// Maximum number of channels in all sets together. Beyond it, a section counts as one of all channels.
const MAX_SET_CHANNELS: usize = 1 << 20;

/// Maximum number of sections of a file: 200 kB.
pub(super) const MAX_SECTIONS: usize = 4096;

/// The channels of a section's messages; `None` if they are unknown.
pub(crate) type ChannelSet = Option<Arc<BTreeSet<u16>>>;

/// The position of messages.
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
    /// Several sections, and the bytes between them.
    Range,
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

/// The size and the times of all sections of the same channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    pub(crate) size_bytes: u64,
    pub(crate) start_time: u64,
    pub(crate) end_time: u64,
}

impl Extent {
    fn add(&mut self, other: Self) {
        self.size_bytes += other.size_bytes;
        self.start_time = self.start_time.min(other.start_time);
        self.end_time = self.end_time.max(other.end_time);
    }
}

/// The sections of a file, in its order.
pub(crate) struct Sections {
    list: Vec<Section>,
    /// Maximum length of the list.
    limit: usize,
    extents: BTreeMap<ChannelSet, Extent>,
    compression: Option<Compression>,
    sets: BTreeMap<BTreeSet<u16>, Arc<BTreeSet<u16>>>,
    set_channels: usize,
    /// Whether the next message must begin another section.
    broken: bool,
    /// Whether there are messages outside of chunks.
    has_loose: bool,
}

impl Default for Sections {
    fn default() -> Self {
        Self::with_limit(MAX_SECTIONS)
    }
}

impl Sections {
    /// Returns a list of at most this many sections, two at least.
    pub(super) fn with_limit(limit: usize) -> Self {
        Self {
            list: Vec::new(),
            limit,
            extents: BTreeMap::new(),
            compression: None,
            sets: BTreeMap::new(),
            set_channels: 0,
            broken: false,
            has_loose: false,
        }
    }

    /// Returns the size and the times of the messages of each set of channels; messages outside of chunks count alone.
    pub(crate) fn extents(&self) -> impl Iterator<Item = (&ChannelSet, &Extent)> {
        self.extents.iter()
    }

    /// Returns the compression of the first chunk that has messages.
    pub(crate) fn compression(&self) -> Option<Compression> {
        self.compression
    }

    /// Returns whether there are messages outside of chunks.
    pub(super) fn has_loose(&self) -> bool {
        self.has_loose
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Joins neighbours until the list has at most this length, or two sections. No section may be added afterwards.
    pub(super) fn shorten(&mut self, most: usize) {
        while self.list.len() > most.max(2) {
            self.halve();
        }
        self.list.shrink_to_fit();
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Section> {
        self.list.iter()
    }

    pub(crate) fn get(&self, index: usize) -> Option<&Section> {
        self.list.get(index)
    }

    /// Returns the number of sections that begin at or before a position of the file.
    pub(crate) fn behind(&self, at: u64) -> usize {
        self.list.partition_point(|section| section.offset <= at)
    }

    /// Adds a section; one without messages is left out.
    pub(super) fn push(&mut self, section: Section) {
        if section.channels.as_ref().is_some_and(|channels| channels.is_empty()) {
            return;
        }
        if let SectionKind::Chunk(compression) = section.kind {
            self.compression.get_or_insert(compression);
        }
        let Section { size_bytes, start_time, end_time, .. } = section;
        self.extend(section.channels.clone(), Extent { size_bytes, start_time, end_time });
        self.add(section);
    }

    fn extend(&mut self, channels: ChannelSet, extent: Extent) {
        self.extents.entry(channels).and_modify(|known| known.add(extent)).or_insert(extent);
    }

    fn add(&mut self, section: Section) {
        if self.list.len() >= self.limit {
            self.halve();
        }
        self.list.push(section);
    }

    /// Joins each section with the next one.
    fn halve(&mut self) {
        let list = std::mem::take(&mut self.list);
        let mut halved = Vec::with_capacity(list.len());
        let mut sections = list.into_iter();
        while let Some(first) = sections.next() {
            let Some(second) = sections.next() else {
                halved.push(first);
                break;
            };
            halved.push(Section {
                offset: first.offset,
                size_bytes: second.bytes().end - first.offset,
                start_time: first.start_time.min(second.start_time),
                end_time: first.end_time.max(second.end_time),
                kind: SectionKind::Range,
                channels: self.union(&first.channels, &second.channels),
            });
        }
        self.list = halved;
    }

    fn union(&mut self, first: &ChannelSet, second: &ChannelSet) -> ChannelSet {
        let (Some(first), Some(second)) = (first, second) else { return None };
        if Arc::ptr_eq(first, second) {
            return Some(Arc::clone(first));
        }
        let both: BTreeSet<_> = first.union(second).copied().collect();
        self.set(both)
    }

    /// Marks that the bytes after the last section are not only records.
    pub(super) fn break_run(&mut self) {
        self.broken = true;
    }

    /// Adds a message outside of chunks to the last section, or begins another one.
    pub(super) fn push_message(&mut self, record: Range<u64>, message: &MessageFields, run_bytes: u64) {
        let broken = std::mem::take(&mut self.broken);
        self.has_loose = true;
        let (time, size_bytes) = (message.log_time, record.end - record.start);
        let alone = self.set([message.channel]);
        self.extend(alone.clone(), Extent { size_bytes, start_time: time, end_time: time });
        if let Some(last) = self.list.last().filter(|last| last.kind == SectionKind::Messages && !broken)
            // Other small records may be between two messages.
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
        self.add(Section {
            offset: record.start,
            size_bytes,
            start_time: time,
            end_time: time,
            kind: SectionKind::Messages,
            channels: alone,
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
    fn a_list_has_a_maximum_length() {
        let mut sections = Sections::with_limit(4);
        for index in 0..100 {
            sections.push_message(100 * index..100 * index + 90, &message(index as u16 % 3, index), 0);
        }
        let list: Vec<_> = sections.iter().map(|section| (section.bytes(), section.kind)).collect();
        assert!((2..=4).contains(&list.len()), "{list:?}");
        assert_eq!((list[0].0.start, list[list.len() - 1].0.end, list[0].1), (0, 9990, SectionKind::Range));
        assert!(list.iter().zip(&list[1..]).all(|(first, next)| first.0.end <= next.0.start), "{list:?}");
        let times = sections.iter().map(|section| section.start_time..=section.end_time).collect::<Vec<_>>();
        assert_eq!((*times[0].start(), *times[list.len() - 1].end()), (0, 99));
        let channels = sections.iter().next().unwrap().channels.as_ref().unwrap();
        assert_eq!(channels.iter().copied().collect::<Vec<_>>(), [0, 1, 2]);
        let bytes: Vec<_> = sections.extents().map(|(_, extent)| extent.size_bytes).collect();
        assert_eq!(bytes, [34 * 90, 33 * 90, 33 * 90]);
        sections.shorten(1);
        let list: Vec<_> = sections.iter().map(Section::bytes).collect();
        assert_eq!((list.len(), list[0].start, list[1].end), (2, 0, 9990));
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
