//! The messages of a crossing as bytes. Pure: bytes in, parts out.
//!
//! From the sender: a header of 48 bytes, all numbers little-endian; the frameset's header; the description of its camera,
//! until the receiver has it; for each frame its form (1 byte) and its encoded size (4 bytes); then the frames. From the
//! receiver: JSON.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;

use camrig_frame::{CameraInfo, FrameSetHeader, Layout, LayoutError};
use camrig_ipc::{MAX_HEADER_BYTES, header_from_bytes, header_to_bytes};
use serde::{Deserialize, Serialize};

use super::credit::{Ack, FrameSetNumber};
use crate::codec::Coding;

/// The first bytes of a message from a sender.
const MAGIC: [u8; 4] = *b"cmwi";

/// Version of both kinds of messages.
const VERSION: u16 = 4;

const HEAD_BYTES: usize = 48;

/// Maximum size of a frameset's header in bytes.
const HEADER_BYTES_MAX: u32 = MAX_HEADER_BYTES as u32;

/// Maximum size of the description of a camera in bytes.
const INFO_BYTES_MAX: u32 = 256 << 10;

/// Size of an entry of the table of frames, in bytes.
const ENTRY_BYTES: usize = 5;

/// Maximum number of descriptions that a receiver says it has.
pub(super) const KNOWN_MAX: usize = 64;

/// Maximum size of an answer in bytes.
const ANSWER_BYTES_MAX: usize = 8192;

/// The value of `base` that means none.
const NO_BASE: u64 = u64::MAX;

/// The kinds of messages from a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageKind {
    /// A frameset.
    FrameSet = 1,
    /// The question for everything up to its number.
    Question = 2,
    /// The end: nothing follows its number.
    End = 3,
}

/// The description of a camera as bytes, with the number by which messages refer to it.
#[derive(Clone, Debug)]
pub(super) struct Description {
    pub(super) id: u64,
    json: Vec<u8>,
}

impl Description {
    /// Describes a camera; `None` if it cannot be described, or not in the size that is allowed.
    pub(super) fn of(info: &CameraInfo) -> Option<Self> {
        let json = serde_json::to_vec(info).ok().filter(|json| json.len() <= INFO_BYTES_MAX as usize)?;
        let mut hasher = DefaultHasher::new();
        json.hash(&mut hasher);
        Some(Self { id: hasher.finish(), json })
    }
}

/// A message from a sender, without the frames.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) kind: MessageKind,
    pub(super) place: FrameSetNumber,
    /// `None` unless it is a frameset.
    pub(super) frameset: Option<IncomingFrameSet>,
}

/// The parts of a frameset's message before its frames.
#[derive(Debug)]
pub(super) struct IncomingFrameSet {
    pub(super) header: FrameSetHeader,
    pub(super) info_id: u64,
    /// The description of the camera, if the message has it.
    pub(super) info: Option<CameraInfo>,
    /// The form and the encoded size of each frame.
    pub(super) frames: Vec<(Coding, usize)>,
}

/// A message that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum MessageError {
    #[error("it is not a message of camrig")]
    Magic,
    #[error("it has version {0}; this program reads version {VERSION}")]
    Version(u16),
    #[error("it is cut off or too long")]
    Size,
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// Returns the bytes of a message without a frameset.
pub(super) fn plain(kind: MessageKind, place: FrameSetNumber) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES);
    push_head(&mut bytes, kind, place, [0; 3], 0);
    bytes
}

/// Returns whether a message of this size is one without a frameset.
pub(super) fn is_plain(bytes: usize) -> bool {
    bytes <= HEAD_BYTES
}

/// Returns the bytes of a frameset's message up to its frames; `described` if the receiver may lack the description.
pub(super) fn frameset(
    place: FrameSetNumber,
    header: &FrameSetHeader,
    description: &Description,
    described: bool,
    frames: impl ExactSizeIterator<Item = (Coding, usize)>,
) -> Vec<u8> {
    let header = header_to_bytes(header);
    let info: &[u8] = if described { &description.json } else { &[] };
    let mut bytes = Vec::with_capacity(HEAD_BYTES + header.len() + info.len() + ENTRY_BYTES * frames.len());
    let sizes = [header.len() as u32, info.len() as u32, frames.len() as u32];
    push_head(&mut bytes, MessageKind::FrameSet, place, sizes, description.id);
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(info);
    for (coding, size) in frames {
        bytes.push(coding as u8);
        bytes.extend_from_slice(&(size as u32).to_le_bytes());
    }
    bytes
}

fn push_head(bytes: &mut Vec<u8>, kind: MessageKind, place: FrameSetNumber, sizes: [u32; 3], info_id: u64) {
    let [header, info, frames] = sizes;
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    bytes.extend_from_slice(&[kind as u8, frames as u8]);
    let FrameSetNumber { epoch, base, number } = place;
    for number in [epoch, base.unwrap_or(NO_BASE), number] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&header.to_le_bytes());
    bytes.extend_from_slice(&info.to_le_bytes());
    bytes.extend_from_slice(&info_id.to_le_bytes());
}

/// Reads a message from a sender, up to its frames. The memory that it allocates is bounded for any bytes.
///
/// # Errors
/// If it is not a valid message.
pub(super) fn read(from: &mut impl Read) -> Result<Incoming, MessageError> {
    let mut head = [0; HEAD_BYTES];
    from.read_exact(&mut head).map_err(|_| MessageError::Size)?;
    let (magic, rest) = head.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(MessageError::Magic);
    }
    let version = u16::from_le_bytes([rest[0], rest[1]]);
    if version != VERSION {
        return Err(MessageError::Version(version));
    }
    let kind = [MessageKind::FrameSet, MessageKind::Question, MessageKind::End]
        .into_iter()
        .find(|kind| *kind as u8 == rest[2]);
    let kind = kind.ok_or(MessageError::Damaged("its kind is unknown"))?;
    let count = usize::from(rest[3]);
    let [epoch, base, number] = [8, 16, 24].map(|at| u64_at(&head, at));
    let place = FrameSetNumber { epoch, base: Some(base).filter(|&base| base != NO_BASE), number };
    if kind != MessageKind::FrameSet {
        return Ok(Incoming { kind, place, frameset: None });
    }
    let [header_bytes, info_bytes] = [32, 36].map(|at| u64_at(&head, at) as u32);
    if header_bytes > HEADER_BYTES_MAX || info_bytes > INFO_BYTES_MAX {
        return Err(MessageError::Size);
    }
    let header = header_from_bytes(&exactly(from, header_bytes as usize)?);
    let header = header.ok_or(MessageError::Damaged("its header cannot be read"))?;
    Layout::of(&header.frames)?;
    let info = match info_bytes {
        0 => None,
        size => Some(
            serde_json::from_slice(&exactly(from, size as usize)?)
                .map_err(|_| MessageError::Damaged("its camera cannot be read"))?,
        ),
    };
    if count != header.frames.len() {
        return Err(MessageError::Damaged("its number of frames differs from its header's"));
    }
    let table = exactly(from, ENTRY_BYTES * count)?;
    let entry = |(entry, frame): (&[u8], &camrig_frame::FrameHeader)| {
        let coding = Coding::of_number(entry[0]).ok_or(MessageError::Damaged("a frame's form is unknown"))?;
        let size = u32::from_le_bytes([entry[1], entry[2], entry[3], entry[4]]);
        // A frame that encoding makes larger is sent as `raw`.
        let fits = u64::from(size) <= frame.size_bytes();
        if fits { Ok((coding, size as usize)) } else { Err(MessageError::Size) }
    };
    let frames = table.chunks_exact(ENTRY_BYTES).zip(&header.frames).map(entry).collect::<Result<_, _>>()?;
    let frameset = IncomingFrameSet { header, info_id: u64_at(&head, 40), info, frames };
    Ok(Incoming { kind, place, frameset: Some(frameset) })
}

/// Reads this number of bytes.
pub(super) fn exactly(from: &mut impl Read, size: usize) -> Result<Vec<u8>, MessageError> {
    let mut bytes = vec![0; size];
    from.read_exact(&mut bytes).map_err(|_| MessageError::Size)?;
    Ok(bytes)
}

fn u64_at(head: &[u8; HEAD_BYTES], at: usize) -> u64 {
    let bytes = head[at..].first_chunk().copied().unwrap_or_default();
    u64::from_le_bytes(bytes)
}

/// The answer of a receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answer {
    version: u16,
    pub(super) ack: Ack,
    /// The descriptions of cameras that it has.
    pub(super) known: Vec<u64>,
    /// Whether it takes nothing more.
    pub(super) ends: bool,
}

impl Answer {
    pub(super) fn new(ack: Ack, known: impl Iterator<Item = u64>, ends: bool) -> Self {
        Self { version: VERSION, ack, known: known.take(KNOWN_MAX).collect(), ends }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads an answer.
    ///
    /// # Errors
    /// If it is not a valid answer.
    pub(super) fn of_bytes(bytes: &[u8]) -> Result<Self, MessageError> {
        if bytes.len() > ANSWER_BYTES_MAX {
            return Err(MessageError::Size);
        }
        let answer: Self = serde_json::from_slice(bytes).map_err(|_| MessageError::Magic)?;
        if answer.version != VERSION {
            return Err(MessageError::Version(answer.version));
        }
        if answer.known.len() > KNOWN_MAX { Err(MessageError::Size) } else { Ok(answer) }
    }
}

#[cfg(test)]
mod tests {
    use camrig_frame::{FrameHeader, PixelFormat, Stream, StreamInfo};
    use proptest::prelude::*;

    use super::super::credit::CreditWindow;
    use super::*;

    const PLACE: FrameSetNumber = FrameSetNumber { epoch: 7, base: Some(3), number: 12 };

    fn camera() -> CameraInfo {
        let stream = StreamInfo::image(Stream::DEPTH, PixelFormat::Z16, "8x4@30".parse().unwrap());
        CameraInfo { name: "left".to_owned(), streams: vec![stream], ..CameraInfo::default() }
    }

    fn header() -> FrameSetHeader {
        let frame = FrameHeader::image(Stream::DEPTH, PixelFormat::Z16, 8, 4);
        FrameSetHeader {
            sequence: 5,
            matched: Some(2),
            ..FrameSetHeader::new(9, [frame].into_iter().collect())
        }
    }

    fn message(described: bool, size: usize) -> Vec<u8> {
        let description = Description::of(&camera()).unwrap();
        frameset(PLACE, &header(), &description, described, [(Coding::Delta, size)].into_iter())
    }

    #[test]
    fn a_frameset_is_read_as_it_was_written() {
        for described in [true, false] {
            let bytes = message(described, 64);
            let read = read(&mut &bytes[..]).unwrap();
            assert_eq!((read.kind, read.place), (MessageKind::FrameSet, PLACE));
            let frameset = read.frameset.unwrap();
            assert_eq!((frameset.header, frameset.frames), (header(), vec![(Coding::Delta, 64)]));
            assert_eq!(frameset.info, described.then(camera));
            assert_eq!(frameset.info_id, Description::of(&camera()).unwrap().id);
        }
    }

    #[test]
    fn questions_and_ends_have_a_place() {
        for (kind, base) in [(MessageKind::Question, None), (MessageKind::End, Some(8))] {
            let place = FrameSetNumber { base, ..PLACE };
            let read = read(&mut &plain(kind, place)[..]).unwrap();
            assert!(read.kind == kind && read.place == place && read.frameset.is_none());
        }
    }

    #[test]
    fn bytes_that_are_not_a_message_are_refused() {
        let error = |bytes: &[u8]| read(&mut &*bytes).unwrap_err().to_string();
        let whole = message(true, 64);
        assert_eq!(error(&[]), "it is cut off or too long");
        assert_eq!(error(&[b'x'; 60]), "it is not a message of camrig");
        assert_eq!(error(&whole[..whole.len() - 1]), "it is cut off or too long");
        assert_eq!(error(&message(true, 65)), "it is cut off or too long", "larger than the frame itself");
        for (at, value, expected) in [
            (4, 9, "it has version 9; this program reads version 4"),
            (6, 9, "it is damaged: its kind is unknown"),
            (7, 2, "it is damaged: its number of frames differs from its header's"),
            (34, 255, "it is cut off or too long"),
            (38, 255, "it is cut off or too long"),
            (50, 0, "it is damaged: its header cannot be read"),
            (whole.len() - 5, 9, "it is damaged: a frame's form is unknown"),
        ] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            assert_eq!(error(&bytes), expected, "byte {at}");
        }
    }

    #[test]
    fn answers_are_read_as_they_were_written() {
        let window = CreditWindow { framesets: 8, bytes: 64 << 20 };
        let ack = Ack { instance: u64::MAX, epoch: 7, base: 3, number: 12, window };
        let answer = Answer::new(ack, [1, u64::MAX].into_iter(), true);
        assert_eq!(Answer::of_bytes(&answer.to_bytes()).unwrap(), answer);
        assert!(Answer::new(ack, 0..1000, false).to_bytes().len() < ANSWER_BYTES_MAX);
        let newer = Answer { version: 5, ..answer };
        let error = Answer::of_bytes(&newer.to_bytes()).unwrap_err().to_string();
        assert_eq!(error, "it has version 5; this program reads version 4");
        for bytes in [&b""[..], b"{}", &[b' '; ANSWER_BYTES_MAX + 1]] {
            assert!(Answer::of_bytes(bytes).is_err());
        }
    }

    proptest! {
        #[test]
        fn bytes_of_any_kind_are_errors_or_messages(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
            begins in 0..3_u8,
        ) {
            let window = CreditWindow { framesets: 8, bytes: 1 };
            let ack = Ack { instance: 1, epoch: 2, base: 3, number: 4, window };
            let answer = Answer::new(ack, 0..3, false).to_bytes();
            let mut bytes = match begins {
                0 => bytes,
                1 => [message(true, 64), bytes].concat(),
                _ => answer,
            };
            for (at, value) in changes {
                if !bytes.is_empty() {
                    let place = at.index(bytes.len());
                    bytes[place] = value;
                }
            }
            if let Ok(incoming) = read(&mut &bytes[..]) {
                let frames = incoming.frameset.map_or(0, |frameset| frameset.frames.len());
                prop_assert!(frames <= bytes.len());
            }
            if let Ok(answer) = Answer::of_bytes(&bytes) {
                prop_assert!(answer.known.len() <= KNOWN_MAX);
            }
        }

        #[test]
        fn damaged_messages_are_errors_or_bounded(at in any::<prop::sample::Index>(), value: u8, cut in any::<bool>()) {
            let mut bytes = message(true, 64);
            let place = at.index(bytes.len());
            bytes[place] = value;
            if cut {
                bytes.truncate(place);
            }
            prop_assert!(Answer::of_bytes(&bytes).is_err());
            let read = read(&mut &bytes[..]);
            prop_assert!(!cut || read.is_err());
            let Some(frameset) = read.ok().and_then(|read| read.frameset) else { return Ok(()) };
            prop_assert_eq!(frameset.frames.len(), frameset.header.frames.len());
            let mut sizes = frameset.frames.iter().zip(&frameset.header.frames);
            prop_assert!(sizes.all(|((_, size), frame)| *size as u64 <= frame.size_bytes()));
        }
    }
}
