//! A faulty producer: its reader rejects and counts invalid announcements, queue entries and frames, and continues.
#![allow(clippy::unwrap_used)] // An error fails the test.

use camrig_frame::{Clock, FrameHeader, Payload, PixelFormat, Stream, Timestamp};

use super::*;
use crate::channel::{Sender, channel};
use crate::{ActorCounters, Notifier};

const SLOTS: u32 = 2;
const PIXEL_BYTES: u64 = 4096;
const SLOT_BYTES: usize = HEADER_BYTES + PIXEL_BYTES as usize;

/// A link with a producer that can send anything.
struct FaultyProducer {
    link_state: Arc<LinkState>,
    announcements: Sender<Announcement>,
    reader: LinkReader,
    memory: Region,
}

impl FaultyProducer {
    fn new() -> Self {
        let link_state = Arc::new(LinkState::new().unwrap());
        let (announcements, received) = channel().unwrap();
        let reader = LinkReader::new(Arc::clone(&link_state), received);
        Self {
            link_state,
            announcements,
            reader,
            memory: Region::zeroed(SLOTS as usize * SLOT_BYTES).unwrap(),
        }
    }

    /// Creates a link without faults so far.
    fn announced() -> Self {
        let faulty = Self::new();
        faulty.announce(source());
        faulty.announce(faulty.pool(SLOTS, PIXEL_BYTES));
        faulty
    }

    fn pool(&self, slots: u32, pixel_bytes: u64) -> Announcement {
        Announcement::Pool { generation: 0, slots, pixel_bytes, memory: self.memory.share().unwrap() }
    }

    fn announce(&self, announcement: Announcement) {
        self.announcements.send(announcement).unwrap();
        self.link_state.count_announced();
    }

    fn write(&self, slot: usize, header: &FrameSetHeader) {
        let start = slot * SLOT_BYTES;
        // SAFETY: the reader is not reading: this is the only thread.
        header::encode(header, header.sequence, unsafe {
            self.memory.bytes_mut(start..start + HEADER_BYTES)
        });
    }

    fn queue(&self, slot: usize, generation: u16, sequence: u64) {
        self.link_state.count_produced();
        self.link_state.publish(slot, generation, sequence);
    }

    /// Checks that the queued item is rejected for this reason, counted, and holds no slot.
    fn assert_refused(mut self, reason: &str) {
        let refused = self.reader.take().err().map(|refused| refused.to_string());
        assert_eq!(refused.as_deref(), Some(reason));
        let counts = self.link_state.counts();
        let refused = counts.dropped[DropReason::Refused as usize];
        assert_eq!((counts.produced, counts.delivered, refused, counts.in_flight), (1, 0, 1, 0));
        assert!((0..MAX_SLOTS).all(|slot| self.link_state.slot_is_free(slot)));
    }
}

fn source() -> Announcement {
    Announcement::Source(Box::new(CameraInfo { name: "camera".to_owned(), ..CameraInfo::default() }))
}

/// Returns a valid header.
fn header() -> FrameSetHeader {
    let frame = FrameHeader {
        number: 7,
        timestamp: Timestamp { clock: Clock::System, nanos: 0 },
        ..FrameHeader::image(Stream::INFRARED_1, PixelFormat::Y8, 64, 64)
    };
    FrameSetHeader { sequence: 3, ..FrameSetHeader::new(0, [frame].into_iter().collect()) }
}

#[test]
fn valid_framesets_are_taken() {
    let mut faulty = FaultyProducer::announced();
    faulty.write(1, &header());
    faulty.queue(1, 0, 3);
    assert_eq!(faulty.reader.take().unwrap().unwrap().header(), &header());
}

#[test]
fn invalid_pools_are_refused() {
    for (slots, pixel_bytes, reason) in [
        (0, PIXEL_BYTES, "a pool of 0 slots of 4096 bytes was announced"),
        (65, PIXEL_BYTES, "a pool of 65 slots of 4096 bytes was announced"),
        (u32::MAX, PIXEL_BYTES, "a pool of 4294967295 slots of 4096 bytes was announced"),
        (1, u64::MAX, "a pool of 1 slots of 18446744073709551615 bytes was announced"),
        (3, PIXEL_BYTES, "shared memory has 32768 bytes, but 49152 were announced"),
        (1, 1 << 28, "shared memory has 32768 bytes, but 268447744 were announced"),
    ] {
        let faulty = FaultyProducer::new();
        faulty.announce(source());
        faulty.announce(faulty.pool(slots, pixel_bytes));
        faulty.queue(0, 0, 3);
        faulty.assert_refused(reason);
    }
}

#[test]
fn a_pool_that_its_producer_could_shrink_is_refused() {
    let faulty = FaultyProducer::new();
    faulty.announce(source());
    let memory = SharedMemory::unsealed(&vec![0; SLOTS as usize * SLOT_BYTES]);
    faulty.announce(Announcement::Pool { generation: 0, slots: SLOTS, pixel_bytes: PIXEL_BYTES, memory });
    faulty.queue(0, 0, 3);
    faulty.assert_refused(
        "shared memory of 32768 bytes is not sealed: its sender could shrink it while it is read",
    );
}

#[test]
fn an_invalid_announcement_is_refused() {
    let faulty = FaultyProducer::announced();
    faulty.announcements.clone().0.to_opaque().to::<[u8; 32]>().send([0xff; 32]).unwrap();
    faulty.link_state.count_announced();
    faulty.write(0, &header());
    faulty.queue(0, 0, 3);
    faulty.assert_refused(
        "an announcement cannot be read: Error in decoding or encoding: Serialization/Deserialization error.",
    );
}

#[test]
fn a_pool_that_is_announced_again_and_again_is_mapped_once() {
    let mut faulty = FaultyProducer::announced();
    faulty.queue(0, 0, 3);
    faulty.write(0, &header());
    for _ in 0..100 {
        faulty.announce(faulty.pool(SLOTS, PIXEL_BYTES));
        faulty.reader.receive_announcements().unwrap();
    }
    assert_eq!(faulty.reader.instance.pools.len(), 1);
    assert!(faulty.reader.take().unwrap().is_some());
}

#[test]
fn more_cameras_than_any_rig_has_are_refused() {
    let mut faulty = FaultyProducer::new();
    for _ in 0..MAX_SOURCES {
        faulty.announce(source());
        faulty.reader.receive_announcements().unwrap();
    }
    faulty.announce(source());
    faulty.queue(0, 0, 3);
    faulty.assert_refused("more than 256 cameras were announced");
}

#[test]
fn more_announcements_than_any_producer_makes_are_refused() {
    let faulty = FaultyProducer::announced();
    (0..ANNOUNCEMENTS_MAX).for_each(|_| faulty.announce(Announcement::Begin));
    faulty.write(0, &header());
    faulty.queue(0, 0, 3);
    faulty.assert_refused("more than 64 announcements arrived together");
}

#[test]
fn invalid_words_are_refused() {
    for (slot, generation, sequence, reason) in [
        (2, 0, 3, "slot 2 of a pool of 2 slots was queued"),
        (63, 0, 3, "slot 63 of a pool of 2 slots was queued"),
        (0, 1, 3, "a frameset came without an announcement of its pool"),
        (0, u16::MAX, 3, "a frameset came without an announcement of its pool"),
        (0, 0, 4, "the header in slot 0 is not that of a frameset"),
        (0, 0, (1 << 46) - 1, "the header in slot 0 is not that of a frameset"),
    ] {
        let faulty = FaultyProducer::announced();
        faulty.write(0, &header());
        faulty.queue(slot, generation, sequence);
        faulty.assert_refused(reason);
    }
}

#[test]
fn invalid_headers_are_refused() {
    let not_one = "the header in slot 0 is not that of a frameset";
    let image = |format, width, height, stride_bytes| {
        let mut faulty = header();
        faulty.frames[0].payload = Payload::Image { format, width, height, stride_bytes };
        faulty
    };
    for (header, reason) in vec![
        (image(PixelFormat::Y8, 0, 64, 64), not_one),
        (image(PixelFormat::Y8, u32::MAX, 64, 64), not_one),
        (image(PixelFormat::Y8, 64, u32::MAX, 64), not_one),
        (image(PixelFormat::Y8, 64, 64, 63), not_one),
        (image(PixelFormat::Y8, 64, 64, u32::MAX), not_one),
        // Valid by itself, but one row more than the slot's size.
        (image(PixelFormat::Y8, 64, 65, 64), not_one),
        (image(PixelFormat::Rgb8, 64, 64, 64), not_one),
        (FrameSetHeader { sequence: 2, ..header() }, not_one),
        (FrameSetHeader { source: 1, ..header() }, "a frameset came without an announcement of its camera"),
        (
            FrameSetHeader { source: u16::MAX, ..header() },
            "a frameset came without an announcement of its camera",
        ),
    ] {
        let faulty = FaultyProducer::announced();
        faulty.write(0, &header);
        faulty.queue(0, 0, 3);
        faulty.assert_refused(reason);
    }
    // No header at all.
    let faulty = FaultyProducer::announced();
    faulty.queue(0, 0, 0);
    faulty.assert_refused(not_one);
}

#[test]
fn too_little_memory_is_refused() {
    let little = || SharedMemory::of(&[0; 8]);
    for error in [
        LinkState::received(little()).err(),
        ActorCounters::received(little()).err(),
        Notifier::received(little()).err(),
    ] {
        assert!(matches!(error, Some(MemoryError::TooSmall { have: 8, .. })));
    }
    assert!(LinkState::received(SharedMemory::of(&[])).is_err());
}
