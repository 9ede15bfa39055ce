//! The frameset header as bytes in a slot.
//!
//! With the size of a description, the only user of bincode. A header is encoded in place and decoded from a private
//! copy, because a slot's producer could write while it is read; the caller checks the result before it accesses any
//! pixels.

use camrig_frame::FrameSetHeader;

/// Size of the header at the start of each slot. The largest possible header (the maximum number of frames, each a
/// message with all kinds of metadata, and all origins) takes about 11.5 kB.
pub(crate) const HEADER_BYTES: usize = 12288;

/// Maximum size of [`header_to_bytes`].
pub const MAX_HEADER_BYTES: usize = HEADER_BYTES;

/// The first bytes of a slot's header.
const MAGIC: [u8; 4] = *b"cmfs";

/// Version of the header's layout: must be incremented with every change of a field.
const VERSION: u32 = 2;

/// The magic number, the version, and the header's length, which are 32-bit little-endian numbers, and the number in the words
/// of the links, of 64 bits. It differs from the sequence number of a frameset that has one from another host.
const PREFIX_BYTES: usize = 20;

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<HEADER_BYTES>()
}

/// Writes the magic number, the version, the length, the number, and the header.
pub(crate) fn encode(header: &FrameSetHeader, number: u64, buffer: &mut [u8]) {
    let len = bincode::serde::encode_into_slice(header, &mut buffer[PREFIX_BYTES..], config())
        .expect("a header always fits: its frames and metadata are bounded by their types");
    let (magic, version, len) = (MAGIC, VERSION.to_le_bytes(), (len as u32).to_le_bytes());
    let (sizes, rest) = buffer.split_at_mut(PREFIX_BYTES - size_of::<u64>());
    sizes.copy_from_slice([magic, version, len].as_flattened());
    rest[..size_of::<u64>()].copy_from_slice(&number.to_le_bytes());
}

/// Decodes the output of `encode`, which it copies into `copy` first: the header and the number. Returns `None` for anything
/// else.
pub(crate) fn decode(buffer: &[u8], copy: &mut Vec<u8>) -> Option<(Box<FrameSetHeader>, u64)> {
    let (prefix, rest) = buffer.split_first_chunk::<PREFIX_BYTES>()?;
    let prefix = *prefix;
    let [magic, version, len] =
        [0, 4, 8].map(|at| [prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]]);
    if magic != MAGIC || u32::from_le_bytes(version) != VERSION {
        return None;
    }
    let number = u64::from_le_bytes(*prefix.last_chunk()?);
    let shared = rest.get(..u32::from_le_bytes(len) as usize)?;
    // A private copy, no longer than the header: the writer of the slot cannot change the checked bytes.
    copy.clear();
    copy.extend_from_slice(shared);
    // Frame by frame into its place: a header has room for the maximum number, and each move of all would copy 5 kB.
    let (fields, mut read) = bincode::serde::decode_from_slice(copy, config()).ok()?;
    let (sequence, source, arrival_nanos, matched, origins, count): (_, _, _, _, _, usize) = fields;
    let frames = std::iter::empty().collect();
    let mut header = Box::new(FrameSetHeader { sequence, source, arrival_nanos, matched, origins, frames });
    for _ in 0..count {
        let (frame, bytes) = bincode::serde::decode_from_slice(&copy[read..], config()).ok()?;
        header.frames.try_push(frame).ok()?;
        read += bytes;
    }
    (read == copy.len()).then_some((header, number))
}

/// Returns a copy of a header, of which only the frames are copied that it has.
pub(crate) fn copied(header: &FrameSetHeader) -> Box<FrameSetHeader> {
    let FrameSetHeader { sequence, source, arrival_nanos, matched, .. } = *header;
    let (origins, frames) = (header.origins.clone(), std::iter::empty().collect());
    let mut copy = Box::new(FrameSetHeader { sequence, source, arrival_nanos, matched, origins, frames });
    copy.frames.extend(header.frames.iter().copied());
    copy
}

/// Returns a header as bytes, for another host: at most [`MAX_HEADER_BYTES`], with its version.
pub fn header_to_bytes(header: &FrameSetHeader) -> Vec<u8> {
    let mut buffer = [0; HEADER_BYTES];
    encode(header, header.sequence, &mut buffer);
    let prefix = buffer.first_chunk::<PREFIX_BYTES>().copied().unwrap_or_default();
    let len = u32::from_le_bytes([prefix[8], prefix[9], prefix[10], prefix[11]]) as usize;
    buffer[..PREFIX_BYTES + len].to_vec()
}

/// Returns the header that [`header_to_bytes`] made bytes of; `None` for anything else. Whether its frames form a valid
/// frameset is not checked.
pub fn header_from_bytes(bytes: &[u8]) -> Option<FrameSetHeader> {
    decode(bytes, &mut Vec::new()).map(|(header, _)| *header)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use camrig_frame::{
        Clock, FrameHeader, MAX_FRAMES, MAX_ORIGIN_BYTES, MAX_ORIGINS, Metadata, MetadataKey, Name, Origin,
        Origins, Payload, Role, Stream, Timestamp,
    };

    const LATE: Timestamp = Timestamp { clock: Clock::System, nanos: u64::MAX };

    /// Returns the largest header that its types allow.
    pub(crate) fn largest() -> FrameSetHeader {
        let mut metadata = Metadata::EMPTY;
        MetadataKey::all().for_each(|key| metadata.set(key, i64::MIN));
        let payload = Payload::Message {
            schema: Name::new(&"s".repeat(48)).unwrap(),
            encoding: Name::new(&"e".repeat(16)).unwrap(),
            size_bytes: u32::MAX,
        };
        let frames = (0..MAX_FRAMES)
            .map(|index| FrameHeader {
                stream: Stream::new(&format!("{index:032}")).unwrap(),
                role: Role::Other,
                payload,
                number: u64::MAX,
                timestamp: LATE,
                metadata,
            })
            .collect();
        let camera = Name::new(&"c".repeat(MAX_ORIGIN_BYTES)).unwrap();
        let origin = Origin { camera, sequence: u64::MAX, timestamp: Some(LATE) };
        FrameSetHeader {
            sequence: u64::MAX,
            source: u16::MAX,
            matched: Some(u64::MAX),
            origins: Origins::new(&[origin; MAX_ORIGINS]).unwrap(),
            ..FrameSetHeader::new(u64::MAX, frames)
        }
    }

    #[test]
    fn the_largest_header_fits_and_round_trips() {
        let mut buffer = [0; HEADER_BYTES];
        encode(&largest(), 7, &mut buffer);
        assert_eq!(decode(&buffer, &mut Vec::new()), Some((Box::new(largest()), 7)));
    }

    #[test]
    fn a_flipped_or_cut_header_is_refused_or_another_header_but_never_a_panic() {
        let mut buffer = [0; HEADER_BYTES];
        encode(&largest(), 7, &mut buffer);
        let len = PREFIX_BYTES + u32::from_le_bytes([buffer[8], buffer[9], buffer[10], buffer[11]]) as usize;
        let mut refused = 0;
        for index in 0..len {
            for bit in 0..8 {
                let mut flipped = buffer;
                flipped[index] ^= 1 << bit;
                match decode(&flipped, &mut Vec::new()) {
                    // A flipped bit is visible in the result, or the header is rejected.
                    Some(decoded) => {
                        assert_ne!(decoded, (Box::new(largest()), 7), "bit {bit} of byte {index}");
                    }
                    None => refused += 1,
                }
            }
        }
        assert!(refused > 0);
        // One byte less than the length in the prefix.
        let mut cut = buffer;
        cut[8..12].copy_from_slice(&((len - PREFIX_BYTES - 1) as u32).to_le_bytes());
        assert_eq!(header_from_bytes(&cut), None);
        // The magic number, and the version.
        for index in 0..8 {
            let mut other = buffer;
            other[index] ^= 1;
            assert_eq!(header_from_bytes(&other), None);
        }
        assert_eq!(header_from_bytes(&[0xff; HEADER_BYTES]), None);
        assert_eq!(header_from_bytes(&[0; HEADER_BYTES]), None);
    }
}
