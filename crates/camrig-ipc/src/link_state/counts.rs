//! The counts of a link's framesets, and their latencies.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::LinkState;
use super::overflow::DropReason;
use crate::latency::{Latency, LatencyHistogram};

/// Maximum number of reads of the counts while framesets are being produced. A quicker producer makes `in_flight` too
/// high by the framesets produced meanwhile, but the sum always holds.
const COUNT_TRIES: u32 = 8;

/// The counts of a link's framesets: `produced = delivered + sum(dropped) + in_flight`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Framesets produced while the link existed.
    pub produced: u64,
    /// Framesets delivered to the reader's processor.
    pub delivered: u64,
    /// Framesets that will not be delivered, in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Framesets in transit.
    pub in_flight: u64,
}

impl Counts {
    /// Returns whether every frameset is accounted for once. Only a process that writes wrong counts changes that.
    pub fn add_up(&self) -> bool {
        self.produced == self.accounted_for()
    }

    /// Returns the number of framesets delivered, dropped and in flight. The sum saturates, because a faulty process can
    /// write any count.
    fn accounted_for(&self) -> u64 {
        let counts = self.dropped.iter().chain([&self.delivered, &self.in_flight]);
        counts.fold(0, |sum: u64, &count| sum.saturating_add(count))
    }
}

impl LinkState {
    /// Counts a frameset of the producer, always before its delivery or drop is counted.
    pub fn count_produced(&self) {
        // Pairs with `counts`: earlier framesets are delivered or dropped before, and the step of this one has begun.
        self.produced.fetch_add(1, Ordering::Release);
    }

    /// Counts a frameset delivered to the reader's processor, `latency` after it arrived in the camera actor.
    pub fn count_delivered(&self, latency: Duration) {
        let cells = self;
        cells.latency.count(latency);
        // Pairs with `counts`; after `count_produced` of the same frameset.
        cells.reader.delivered.fetch_add(1, Ordering::Release);
    }

    /// Counts a frameset that is not delivered.
    pub fn count_dropped(&self, reason: DropReason) {
        // Pairs with `counts`; after `count_produced` of the same frameset.
        self.dropped[reason as usize].fetch_add(1, Ordering::Release);
    }

    /// Counts a frameset that is dropped as it is produced, as one step.
    pub fn count_produced_and_dropped(&self, reason: DropReason) {
        let _step = self.producer_step();
        self.count_produced();
        self.count_dropped(reason);
    }

    /// Returns the current counts; in flight are the framesets neither delivered nor dropped yet.
    pub fn counts(&self) -> Counts {
        let cells = self;
        let mut tries = COUNT_TRIES;
        // These loads pair with `count_produced`, `count_delivered` and `count_dropped`.
        let mut before = cells.produced.load(Ordering::Acquire);
        let (produced, delivered, dropped) = loop {
            // Delivered and dropped are read before produced, because their framesets were counted as produced before.
            let delivered = cells.reader.delivered.load(Ordering::Acquire);
            let dropped =
                DropReason::ALL.map(|reason| cells.dropped[reason as usize].load(Ordering::Acquire));
            let produced = cells.produced.load(Ordering::Acquire);
            tries -= 1;
            // A frameset produced meanwhile may be delivered too, and would count as in flight.
            if produced == before || tries == 0 {
                break (produced, delivered, dropped);
            }
            before = produced;
        };
        let mut counts = Counts { produced, delivered, dropped, in_flight: 0 };
        counts.in_flight = produced.saturating_sub(counts.accounted_for());
        counts
    }

    /// Returns the latencies from the camera actor to the call of the processor.
    pub fn latency(&self) -> Latency {
        self.latency.sum_up()
    }

    /// Returns the histogram of the latencies.
    pub fn latency_histogram(&self) -> LatencyHistogram {
        self.latency.histogram()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_do_not_add_up_are_noticed() {
        let link_state = LinkState::new().unwrap();
        link_state.count_produced();
        assert!(link_state.counts().add_up());
        link_state.count_delivered(Duration::ZERO);
        assert!(link_state.counts().add_up());
        // A faulty process, also one with the largest count.
        link_state.count_delivered(Duration::ZERO);
        assert!(!link_state.counts().add_up());
        link_state.reader.delivered.store(u64::MAX, Ordering::SeqCst);
        assert!(!link_state.counts().add_up());
    }

    #[test]
    fn percentiles_are_those_of_the_counted_values() {
        let link_state = LinkState::new().unwrap();
        assert_eq!(link_state.latency(), Latency::default());
        for micros in 1..=100 {
            link_state.count_delivered(Duration::from_micros(micros));
        }
        let latency = link_state.latency();
        assert!((50..=53).contains(&latency.p50), "{latency:?}");
        assert!((99..=100).contains(&latency.p99), "{latency:?}");
        assert_eq!(latency.max, 100);
    }
}
