//! Decides by its number and time whether a frame is a new one of its stream.
//!
//! On Linux librealsense takes pixels and metadata of a frame from two nodes of the kernel, each with four buffers. While the
//! host does not keep up, the kernel may have no buffer for the metadata of a frame when it begins, and one when it ends: it
//! delivers that one empty, and librealsense reads the metadata that an earlier frame left in it. Such a frame has the number
//! and the time of an earlier one. If that is the frame directly before it, only the next frame shows whether it was a
//! repetition: otherwise a number is missing.

use camrig::frame::Timestamp;

/// Maximum number of successive frames with the metadata of earlier ones. A camera whose count starts again, as its firmware
/// may do, sends more.
pub(crate) const EARLIER_MAX: u32 = 16;

/// The newest frame of a stream since the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newest {
    number: u64,
    timestamp: Timestamp,
    /// Whether it is also the first one.
    is_first: bool,
    /// Number of frames after it that had the number and time of earlier ones.
    earlier: u32,
}

/// A frame's place among those of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// It is new, and `missing` numbers between the newest one and this one did not come.
    New { missing: u64 },
    /// It is a repetition of the newest one, which is the first one as well if `of_first`.
    Again { of_first: bool },
    /// It has the number and time of an earlier frame than the newest one.
    Earlier,
}

impl Order {
    /// Compares a frame with the newest one of its stream, which it may become. With `any_order` it is new although it has
    /// the number and time of an earlier one.
    pub(crate) fn of(
        newest: &mut Option<Newest>,
        number: u64,
        timestamp: Timestamp,
        any_order: bool,
    ) -> Self {
        if let Some(newest) = newest {
            // Number and timestamp are compared, because a camera that does not count sends new frames with equal numbers.
            if (newest.number, newest.timestamp) == (number, timestamp) {
                return Self::Again { of_first: newest.is_first };
            }
            let is_earlier = number < newest.number
                && timestamp.clock == newest.timestamp.clock
                && timestamp.nanos < newest.timestamp.nanos;
            if is_earlier && !any_order && newest.earlier < EARLIER_MAX {
                newest.earlier += 1;
                return Self::Earlier;
            }
        }
        let missing = newest.map_or(0, |newest| number.saturating_sub(newest.number).saturating_sub(1));
        *newest = Some(Newest { number, timestamp, is_first: newest.is_none(), earlier: 0 });
        Self::New { missing }
    }
}

#[cfg(test)]
mod tests {
    use camrig::frame::Clock;

    use super::*;

    fn orders(frames: &[(u64, Clock, u64)], any_order: bool) -> Vec<Order> {
        let mut newest = None;
        let order = |&(number, clock, nanos): &_| {
            Order::of(&mut newest, number, Timestamp { clock, nanos }, any_order)
        };
        frames.iter().map(order).collect()
    }

    /// A new frame without a gap before it.
    const NEXT: Order = Order::New { missing: 0 };

    #[test]
    fn frames_are_repeated_if_number_and_time_are() {
        use Clock::Hardware;
        let frames =
            [(1, Hardware, 10), (1, Hardware, 10), (1, Hardware, 20), (1, Hardware, 20), (1, Hardware, 10)];
        let again = |of_first| Order::Again { of_first };
        assert_eq!(orders(&frames, false), [NEXT, again(true), NEXT, again(false), NEXT]);
    }

    #[test]
    fn a_frame_with_the_metadata_of_an_earlier_one_is_not_new() {
        use Clock::{Hardware, System};
        let frames = [(7, Hardware, 70), (4, Hardware, 40), (9, Hardware, 90), (8, Hardware, 80)];
        let gap = Order::New { missing: 1 };
        assert_eq!(orders(&frames, false), [NEXT, Order::Earlier, gap, Order::Earlier]);
        assert_eq!(orders(&frames, true), [NEXT, NEXT, Order::New { missing: 4 }, NEXT]);
        // Without metadata librealsense numbers frames itself, with times of another clock.
        let frames = [(7, Hardware, 70), (1, System, 40), (8, Hardware, 80)];
        assert_eq!(orders(&frames, false), [NEXT, NEXT, Order::New { missing: 6 }]);
        // Numbers that start again while time continues.
        assert_eq!(orders(&[(7, Hardware, 70), (1, Hardware, 80)], false), [NEXT; 2]);
    }

    #[test]
    fn a_restarted_count_is_accepted_after_some_frames() {
        let anew = (1..=20).map(|number| (number, Clock::Hardware, 10 * number));
        let frames: Vec<_> = std::iter::once((5000, Clock::Hardware, 50_000)).chain(anew).collect();
        let found = orders(&frames, false);
        assert_eq!(found[1..17], [Order::Earlier; EARLIER_MAX as usize]);
        assert_eq!(found[17..], [NEXT; 4]);
    }
}
