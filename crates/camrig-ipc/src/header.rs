//! The frameset header as bytes in a slot.
//!
//! The only user of bincode. A header is encoded in place and decoded from a private copy, because a slot's
//! producer could write while we read; what comes out is checked by the caller before any pixel is touched.

use camrig_frame::FrameSetHeader;

/// The room for a header at the start of each slot. The largest possible header (six frames with every kind
/// of metadata) takes about 2.8 kB.
pub(crate) const HEADER_BYTES: usize = 4096;

const PREFIX_BYTES: usize = 4;

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<HEADER_BYTES>()
}

/// Writes a length and the header.
pub(crate) fn encode(header: &FrameSetHeader, room: &mut [u8]) {
    let len = bincode::serde::encode_into_slice(header, &mut room[PREFIX_BYTES..], config())
        .expect("a header always fits: its frames and metadata are bounded by their types");
    room[..PREFIX_BYTES].copy_from_slice(&(len as u32).to_le_bytes());
}

/// Reads what `encode` wrote; none for anything else.
pub(crate) fn decode(room: &[u8]) -> Option<FrameSetHeader> {
    let (prefix, rest) = room.split_first_chunk::<PREFIX_BYTES>()?;
    let shared = rest.get(..u32::from_le_bytes(*prefix) as usize)?;
    // A private copy, no longer than the header: whoever writes the slot cannot change what was checked.
    let mut copy = [0; HEADER_BYTES];
    let bytes = &mut copy[..shared.len()];
    bytes.copy_from_slice(shared);
    let (header, read) = bincode::serde::decode_from_slice(&*bytes, config()).ok()?;
    (read == bytes.len()).then_some(header)
}

#[cfg(test)]
mod tests {
    use super::*;
    use camrig_frame::{Clock, FrameHeader, Metadata, MetadataKey, PixelFormat, Stream, Timestamp};

    fn largest() -> FrameSetHeader {
        let mut metadata = Metadata::EMPTY;
        MetadataKey::all().for_each(|key| metadata.set(key, i64::MIN));
        let frames = Stream::ALL.map(|stream| FrameHeader {
            stream,
            format: PixelFormat::Y8,
            width: u32::MAX,
            height: u32::MAX,
            stride_bytes: u32::MAX,
            number: u64::MAX,
            timestamp: Timestamp { clock: Clock::System, nanos: u64::MAX },
            metadata,
        });
        FrameSetHeader {
            sequence: u64::MAX,
            source: u16::MAX,
            arrival_nanos: u64::MAX,
            matched: Some(u64::MAX),
            frames: frames.into_iter().collect(),
        }
    }

    #[test]
    fn the_largest_header_fits_and_round_trips() {
        let mut room = [0; HEADER_BYTES];
        encode(&largest(), &mut room);
        assert_eq!(decode(&room), Some(largest()));
    }

    #[test]
    fn a_flipped_or_cut_header_is_refused_or_another_header_but_never_a_panic() {
        let mut room = [0; HEADER_BYTES];
        encode(&largest(), &mut room);
        for index in 0..3000 {
            for bit in 0..8 {
                let mut wild = room;
                wild[index] ^= 1 << bit;
                assert_ne!(decode(&wild).as_ref(), Some(&FrameSetHeader { sequence: 0, ..largest() }));
            }
        }
        assert_eq!(decode(&[0xff; HEADER_BYTES]), None);
        assert_eq!(decode(&[0; HEADER_BYTES]), None);
    }
}
