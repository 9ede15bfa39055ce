//! Slots whose pages are present in a process: the first ones from the start, every other from its first use.
//!
//! The memory of all slots is reserved when it is made. Only the page's place in a mapping comes later, and that it is
//! zeroed: most of the time that memory costs at the start, and the memory that processes are charged for.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::header::HEADER_BYTES;
use crate::link_state::MAX_SLOTS;
use crate::region::Region;

/// Number of slots that are present from the start. A producer lends the lowest free slot, so one whose readers keep up
/// hardly needs a second one.
const PRESENT_AT_START: usize = 1;

const _: () = assert!(MAX_SLOTS <= u64::BITS as usize, "a bit for each slot");

/// The slots that are present, as bits. They are advice for the kernel: nothing else depends on them.
pub(crate) struct PresentSlots(AtomicU64);

impl PresentSlots {
    /// Makes the first slots present of a pool with `slots` slots for `pixel_bytes` of pixels, a multiple of pages.
    pub(crate) fn at_start(region: &Region, slots: usize, pixel_bytes: usize) -> Self {
        let present = Self(AtomicU64::new(0));
        (0..slots.min(PRESENT_AT_START)).for_each(|slot| present.provide(region, slot, pixel_bytes));
        present
    }

    /// Makes a slot present at its first use.
    pub(crate) fn provide(&self, region: &Region, slot: usize, pixel_bytes: usize) {
        if self.is_first_use(slot) {
            region.populate(bytes_of(slot, pixel_bytes));
        }
    }

    fn is_first_use(&self, slot: usize) -> bool {
        let bit = 1 << slot;
        // No pair: see the type.
        self.0.load(Ordering::Relaxed) & bit == 0 && self.0.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }
}

/// Returns the bytes of a slot, with its header.
pub(crate) fn bytes_of(slot: usize, pixel_bytes: usize) -> Range<usize> {
    let size = HEADER_BYTES + pixel_bytes;
    slot * size..(slot + 1) * size
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    #![allow(clippy::unwrap_used)] // A test that cannot go on fails.

    use super::*;

    /// A multiple of the size of a page, far above the pages that the kernel maps around an access.
    const PIXEL_BYTES: usize = 1 << 20;
    const SLOTS: usize = 8;

    /// Returns the resident bytes of the mapping that begins at the start of `region`, by the kernel's walk of its pages.
    fn resident_bytes(region: &Region) -> usize {
        let start = format!("{:x}-", region.start::<u8>().as_ptr().addr());
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let own = maps.lines().skip_while(|line| !line.starts_with(&start));
        let line = own.into_iter().find_map(|line| line.strip_prefix("Rss:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
    }

    fn slots(bytes: usize) -> usize {
        bytes.div_ceil(bytes_of(0, PIXEL_BYTES).len())
    }

    #[test]
    fn slots_are_present_from_their_first_use_on_at_both_ends() {
        let size = bytes_of(SLOTS - 1, PIXEL_BYTES).end;
        let region = Region::reserved(size).unwrap();
        assert_eq!(resident_bytes(&region), 0);
        let producer = PresentSlots::at_start(&region, SLOTS, PIXEL_BYTES);
        assert_eq!(slots(resident_bytes(&region)), 1);
        let mapped = Region::received_read_only(region.share().unwrap(), size).unwrap();
        let reader = PresentSlots::at_start(&mapped, SLOTS, PIXEL_BYTES);
        assert_eq!(slots(resident_bytes(&mapped)), 1);
        for (slot, present) in [(0, 1), (3, 2), (3, 2), (1, 3), (7, 4)] {
            for (end, region) in [(&producer, &region), (&reader, &mapped)] {
                end.provide(region, slot, PIXEL_BYTES);
                assert_eq!(slots(resident_bytes(region)), present, "slot {slot}");
            }
        }
    }

    #[test]
    fn a_slot_has_one_first_use() {
        let present = PresentSlots(AtomicU64::new(0));
        for slot in [0, 5, MAX_SLOTS - 1] {
            assert!(present.is_first_use(slot));
            assert!(!present.is_first_use(slot));
        }
        assert!(present.is_first_use(1));
    }

    #[test]
    fn slots_follow_one_another() {
        assert_eq!(bytes_of(0, 4096), 0..HEADER_BYTES + 4096);
        assert_eq!(bytes_of(2, 4096), 2 * (HEADER_BYTES + 4096)..3 * (HEADER_BYTES + 4096));
    }
}
