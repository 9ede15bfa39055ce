//! Assembles framesets from the messages of a recording.
//!
//! A recorder writes each frameset as one chunk. Other programs write the same messages into chunks of other sizes, or outside
//! of chunks, and may sort them. So the messages of a frameset are collected by number and time until it is complete.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;
use camrig::frame::{MAX_FRAMES, Stream};

use super::error::FrameSetError;
use super::records::{Message, Messages, messages};
use super::sections::Section;
use super::{RecordedCamera, Recording, Walk};
use crate::format::{FrameSetRecord, GapRecord};

/// Maximum number of framesets of a camera that wait for frames, or for an earlier frameset.
const MAX_WAITING: usize = 64;

/// Maximum size of the waiting parts, beside the largest frameset of the recording.
const MAX_WAITING_BYTES: u64 = 16 << 20;

/// Maximum size of the record of a frameset or of a gap: several times that of a frameset with as many frames and as much
/// metadata as possible.
const MAX_RECORD_BYTES: usize = 1 << 20;

/// Memory of a record that was parsed, for each byte of its text: short entries of metadata take the most.
const PARSED_FACTOR: u64 = 16;

/// A recorded frameset.
#[derive(Debug)]
pub(crate) struct ReadFrameSet {
    pub(crate) log_time: u64,
    pub(crate) record: FrameSetRecord,
    /// The message of each frame, in the order of the record.
    pub(crate) images: Vec<Bytes>,
}

impl ReadFrameSet {
    /// Returns the memory of its messages and of its decoded frames, in bytes.
    pub(crate) fn size_bytes(&self) -> u64 {
        let messages: u64 = self.images.iter().map(|message| message.len() as u64).sum();
        let frames = self.record.frames.iter().map(|frame| frame.payload.size_bytes());
        frames.fold(messages, u64::saturating_add)
    }
}

/// A part of the recording of a camera.
#[derive(Debug)]
pub(crate) enum Content {
    FrameSet(ReadFrameSet),
    Gap(GapRecord),
    /// A part that cannot be read: its position in the file, the number of framesets that are lost with it, and the problem.
    Unreadable {
        at: u64,
        framesets: u64,
        error: FrameSetError,
    },
}

/// The contents of some cameras of a recording, in the order of the file. For each camera, framesets and gaps are in
/// the order in which they begin.
pub(crate) struct Contents {
    range: Range<u64>,
    kinds: HashMap<u16, (usize, ChannelKind)>,
    walk: Walk,
    cameras: Vec<Gathering>,
    /// The rest of a section, and its position.
    reading: Option<(Messages, u64)>,
    ready: VecDeque<(usize, Content)>,
}

/// Kind of a channel.
#[derive(Clone, Copy)]
enum ChannelKind {
    FrameSet,
    Gap,
    Frame(Stream),
}

impl Recording {
    /// Returns the contents of the wanted cameras whose `log_time` is in `range`.
    pub(crate) fn contents(&self, wanted: impl Fn(&RecordedCamera) -> bool, range: Range<u64>) -> Contents {
        let mut kinds = HashMap::new();
        for (index, camera) in self.cameras.iter().enumerate().filter(|(_, camera)| wanted(camera)) {
            kinds.extend(camera.frameset_channels.iter().map(|&id| (id, (index, ChannelKind::FrameSet))));
            kinds.extend(camera.gap_channels.iter().map(|&id| (id, (index, ChannelKind::Gap))));
            kinds.extend(
                camera.image_channels.iter().map(|(&id, &name)| (id, (index, ChannelKind::Frame(name)))),
            );
        }
        let cameras = self.cameras.iter().map(|_| Gathering::default()).collect();
        Contents { range, kinds, walk: Walk::default(), cameras, reading: None, ready: VecDeque::new() }
    }

    /// Returns the recorded gaps of all cameras.
    pub(crate) fn gaps(&self) -> Contents {
        let mut contents = self.contents(|_| true, 0..u64::MAX);
        contents.kinds.retain(|_, (_, kind)| matches!(kind, ChannelKind::Gap));
        contents
    }
}

impl Contents {
    /// Returns the next content of the same recording, with the index of its camera in [`Recording::cameras`]; `None` at
    /// the end.
    pub(crate) fn next(&mut self, recording: &Recording) -> Option<(usize, Content)> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            // A section of unknown channels has nothing of no camera.
            if self.kinds.is_empty() {
                return None;
            }
            if let Some((messages, at)) = &mut self.reading {
                let (message, at) = (messages.next(), *at);
                match message {
                    Some(message) => self.add(recording, &message, at),
                    None => self.end_section(recording),
                }
                continue;
            }
            let (range, kinds) = (&self.range, &self.kinds);
            let found = self.walk.next(recording, |section| {
                let overlaps = section.start_time < range.end && range.start <= section.end_time;
                overlaps && section.has(|channel| kinds.contains_key(&channel))
            });
            match found {
                Some(Ok(section)) => self.read(recording, &section),
                Some(Err((at, error))) => {
                    let error = error.into();
                    self.ready.push_back((0, Content::Unreadable { at, framesets: 0, error }));
                }
                None => {
                    // The last framesets no longer wait for anything.
                    for (index, camera) in self.cameras.iter_mut().enumerate() {
                        camera.take_all(&mut |content| self.ready.push_back((index, content)));
                    }
                    return self.ready.pop_front();
                }
            }
        }
    }

    /// Leaves out the sections before the one that begins at this position of the file.
    pub(crate) fn skip_to(&mut self, recording: &Recording, at: u64) {
        self.walk.skip_to(recording, at);
    }

    /// Returns how many contents wait for others.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.cameras.iter().map(|camera| camera.waiting.len()).sum()
    }

    /// Returns the memory of contents that wait for others.
    #[cfg(test)]
    pub(super) fn waiting_bytes(&self) -> u64 {
        self.cameras.iter().map(|camera| camera.waiting_bytes).sum()
    }

    /// Returns the position in the file, in bytes.
    pub(crate) fn position_bytes(&self, recording: &Recording) -> u64 {
        self.walk.position_bytes(recording)
    }

    fn read(&mut self, recording: &Recording, section: &Section) {
        let records = match recording.read_section(section) {
            Ok(records) => records,
            Err(error) => {
                let (camera, framesets) = self.lost_with(section);
                let error = error.into();
                self.ready.push_back((camera, Content::Unreadable { at: section.offset, framesets, error }));
                return;
            }
        };
        self.reading = Some((messages(&records), section.offset));
    }

    fn add(&mut self, recording: &Recording, message: &Message, at: u64) {
        let fields = message.fields;
        let Some(&(index, kind)) = self.kinds.get(&fields.channel) else { return };
        if !self.range.contains(&fields.log_time) {
            return;
        }
        let camera = &mut self.cameras[index];
        match kind {
            ChannelKind::FrameSet => camera.add_frameset(message, at),
            ChannelKind::Gap => camera.add_gap(message, at),
            ChannelKind::Frame(stream) => camera.add_frame(stream, message, at),
        }
        let mut found = |content| self.ready.push_back((index, content));
        camera.take_ready(&mut found);
        // The data of frames are part of the section until its end.
        camera.bound(recording.read_bytes_at_most() + MAX_WAITING_BYTES, &mut found);
    }

    fn end_section(&mut self, recording: &Recording) {
        self.reading = None;
        let most = MAX_WAITING_BYTES + recording.largest_bytes;
        let mut waiting_bytes = 0;
        for (index, camera) in self.cameras.iter_mut().enumerate() {
            camera.detach();
            camera.bound(most, &mut |content| self.ready.push_back((index, content)));
            waiting_bytes += camera.waiting_bytes;
        }
        // The bound holds for all cameras together.
        while waiting_bytes > most
            && let Some((index, camera)) =
                self.cameras.iter_mut().enumerate().max_by_key(|(_, camera)| camera.waiting_bytes)
        {
            waiting_bytes -= camera.waiting_bytes;
            camera.bound(camera.waiting_bytes / 2, &mut |content| self.ready.push_back((index, content)));
            waiting_bytes += camera.waiting_bytes;
        }
    }

    /// Returns the camera of a section that cannot be read, and the minimum number of its framesets that are lost.
    fn lost_with(&self, section: &Section) -> (usize, u64) {
        let ids = section.channels.iter().flat_map(|channels| channels.iter());
        let kinds: Vec<_> = ids.filter_map(|id| self.kinds.get(id)).collect();
        let frameset = kinds.iter().find(|(_, kind)| matches!(kind, ChannelKind::FrameSet));
        let camera = frameset.or(kinds.first()).map_or(0, |(index, _)| *index);
        (camera, u64::from(frameset.is_some()))
    }
}

/// The contents of a camera that are not complete, in the order in which they begin.
#[derive(Default)]
struct Gathering {
    waiting: VecDeque<WaitingContent>,
    /// Number of contents that were taken: the number of the first one that waits.
    taken: u64,
    /// The number of the content with this time and number.
    by_key: HashMap<Key, u64>,
    waiting_bytes: u64,
    /// Frames that belong to no frameset, and the position of the first.
    lone_frames: u64,
    lone_at: u64,
}

/// The `log_time` and `sequence` that all messages of a frameset have.
type Key = (u64, u32);

/// A content that is not complete, or that waits for an earlier one.
enum WaitingContent {
    /// Any content except a frameset.
    Other(Content),
    FrameSet {
        key: Key,
        at: u64,
        /// `None` until the frameset's own message is read.
        record: Option<FrameSetRecord>,
        /// Memory of the record, at most.
        record_bytes: u64,
        frames: Vec<(Stream, Bytes)>,
        /// The frames before this one have memory of their own.
        detached: usize,
    },
}

impl Gathering {
    fn add_frameset(&mut self, message: &Message, at: u64) {
        let sequence = message.fields.sequence;
        if message.data.len() > MAX_RECORD_BYTES {
            let error = FrameSetError::RecordTooLarge(message.data.len() as u64);
            self.push(WaitingContent::Other(Content::Unreadable { at, framesets: 1, error }));
            return;
        }
        match serde_json::from_slice::<FrameSetRecord>(&message.data) {
            Ok(parsed) if parsed.frames.len() > MAX_FRAMES => {
                let error = FrameSetError::TooManyFrames(parsed.frames.len());
                self.push(WaitingContent::Other(Content::Unreadable { at, framesets: 1, error }));
            }
            Ok(parsed) => {
                let size_bytes = message.data.len() as u64 * PARSED_FACTOR;
                if let WaitingContent::FrameSet { record, record_bytes, .. } =
                    self.of_message(message, at, true)
                {
                    (*record, *record_bytes) = (Some(parsed), size_bytes);
                    self.waiting_bytes += size_bytes;
                }
            }
            Err(source) => {
                let error = FrameSetError::Invalid { sequence, source };
                self.push(WaitingContent::Other(Content::Unreadable { at, framesets: 1, error }));
            }
        }
    }

    fn add_gap(&mut self, message: &Message, at: u64) {
        let content = match serde_json::from_slice(&message.data) {
            _ if message.data.len() > MAX_RECORD_BYTES => {
                let error = FrameSetError::RecordTooLarge(message.data.len() as u64);
                Content::Unreadable { at, framesets: 0, error }
            }
            Ok(gap) => Content::Gap(gap),
            Err(error) => Content::Unreadable { at, framesets: 0, error: FrameSetError::InvalidGap(error) },
        };
        self.push(WaitingContent::Other(content));
    }

    fn add_frame(&mut self, stream: Stream, message: &Message, at: u64) {
        let WaitingContent::FrameSet { frames, .. } = self.of_message(message, at, false) else { return };
        if frames.len() < MAX_FRAMES && frames.iter().all(|(known, _)| *known != stream) {
            frames.push((stream, message.data.clone()));
            self.waiting_bytes += message.data.len() as u64;
        }
    }

    /// Returns the frameset that a message belongs to. The message of a frameset begins another one if there was one with the
    /// same key, as in a recording that has a frameset twice.
    fn of_message(&mut self, message: &Message, at: u64, begins: bool) -> &mut WaitingContent {
        let key = (message.fields.log_time, message.fields.sequence);
        let known = self.by_key.get(&key).map(|number| (number - self.taken) as usize);
        let is_free =
            |waiting: &WaitingContent| matches!(waiting, WaitingContent::FrameSet { record: None, .. });
        let known = known.filter(|&index| !begins || self.waiting.get(index).is_some_and(is_free));
        let index = known.unwrap_or_else(|| {
            self.by_key.insert(key, self.taken + self.waiting.len() as u64);
            self.push(WaitingContent::FrameSet {
                key,
                at,
                record: None,
                record_bytes: 0,
                frames: Vec::new(),
                detached: 0,
            });
            self.waiting.len() - 1
        });
        &mut self.waiting[index]
    }

    fn push(&mut self, waiting: WaitingContent) {
        self.waiting.push_back(waiting);
    }

    /// Takes the complete framesets, up to the first incomplete one.
    fn take_ready(&mut self, found: &mut impl FnMut(Content)) {
        while self.waiting.front().is_some_and(WaitingContent::is_complete) {
            self.take_first(found);
        }
    }

    /// Takes everything, complete or not.
    fn take_all(&mut self, found: &mut impl FnMut(Content)) {
        while !self.waiting.is_empty() {
            self.take_first(found);
        }
        let count = std::mem::take(&mut self.lone_frames);
        if count > 0 {
            let error = FrameSetError::NoFrameSet(count);
            found(Content::Unreadable { at: self.lone_at, framesets: 0, error });
        }
    }

    /// Gives up the parts that have waited longest, until the others are within the bounds.
    fn bound(&mut self, most_bytes: u64, found: &mut impl FnMut(Content)) {
        while self.waiting.len() > MAX_WAITING || self.waiting_bytes > most_bytes {
            self.take_first(found);
            self.take_ready(found);
        }
    }

    fn take_first(&mut self, found: &mut impl FnMut(Content)) {
        let Some(first) = self.waiting.pop_front() else { return };
        let number = self.taken;
        self.taken += 1;
        match first {
            WaitingContent::Other(content) => found(content),
            WaitingContent::FrameSet { key, at, record, record_bytes, frames, .. } => {
                if self.by_key.get(&key) == Some(&number) {
                    self.by_key.remove(&key);
                }
                self.waiting_bytes -=
                    record_bytes + frames.iter().map(|(_, data)| data.len() as u64).sum::<u64>();
                let Some(record) = record else {
                    if self.lone_frames == 0 {
                        self.lone_at = at;
                    }
                    self.lone_frames += frames.len() as u64;
                    return;
                };
                found(match assemble(key.0, record, frames) {
                    Ok(frameset) => Content::FrameSet(frameset),
                    Err(error) => Content::Unreadable { at, framesets: 1, error },
                });
            }
        }
    }

    /// Copies the frames that wait, so that they do not keep the memory of their section.
    fn detach(&mut self) {
        for waiting in &mut self.waiting {
            if let WaitingContent::FrameSet { frames, detached, .. } = waiting {
                for (_, data) in &mut frames[*detached..] {
                    *data = Bytes::copy_from_slice(data);
                }
                *detached = frames.len();
            }
        }
    }
}

impl WaitingContent {
    fn is_complete(&self) -> bool {
        match self {
            Self::Other(_) => true,
            Self::FrameSet { record: None, .. } => false,
            Self::FrameSet { record: Some(record), frames, .. } => {
                frames.len() >= record.frames.len()
                    && record
                        .frames
                        .iter()
                        .all(|frame| frames.iter().any(|(stream, _)| *stream == frame.stream))
            }
        }
    }
}

/// Returns a frameset, or its first missing frame.
fn assemble(
    log_time: u64,
    record: FrameSetRecord,
    mut frames: Vec<(Stream, Bytes)>,
) -> Result<ReadFrameSet, FrameSetError> {
    let images = record.frames.iter().map(|frame| {
        let (sequence, stream) = (record.sequence, frame.stream);
        let found = frames.iter().position(|(known, _)| *known == stream);
        found.map(|at| frames.swap_remove(at).1).ok_or(FrameSetError::FrameMissing { sequence, stream })
    });
    let images = images.collect::<Result<_, _>>()?;
    Ok(ReadFrameSet { log_time, record, images })
}
