//! Finds missing framesets by the sequence numbers of each producer.

use std::collections::BTreeMap;

use crate::format::{GapReason, GapRecord};

/// Maximum number of gaps of one producer that wait to be written with a frameset; beyond it the last gap grows.
const MAX_WAITING: usize = 1024;

/// The gaps of all producers.
#[derive(Default)]
pub(super) struct Gaps(BTreeMap<String, Producer>);

#[derive(Default)]
struct Producer {
    /// The next number if nothing is missing.
    next: Option<u64>,
    waiting: Vec<GapRecord>,
}

impl Gaps {
    pub(super) fn knows(&self, producer: &str) -> bool {
        self.0.contains_key(producer)
    }

    /// Marks that a producer's framesets are expected from the number `first` on.
    pub(super) fn begin(&mut self, producer: &str, first: u64) {
        self.producer(producer).next = Some(first);
    }

    /// Records a frameset that arrived: missing numbers before it were dropped on the link. Numbers that go back are a
    /// restart, without a gap.
    pub(super) fn arrive(&mut self, producer: &str, sequence: u64) {
        let producer = self.producer(producer);
        if let Some(next) = producer.next.replace(sequence + 1)
            && sequence > next
        {
            producer.note(next, sequence - 1, GapReason::Link);
        }
    }

    /// Records the end of a producer that published `produced` framesets: the last ones may have been dropped on the link.
    pub(super) fn end(&mut self, producer: &str, produced: u64) {
        if self.knows(producer) && produced > 0 {
            self.arrive(producer, produced);
        }
    }

    /// Records that an arrived frameset was not recorded.
    pub(super) fn drop_frameset(&mut self, producer: &str, sequence: u64, reason: GapReason) {
        self.producer(producer).note(sequence, sequence, reason);
    }

    /// Takes the gaps to be written before the next frameset of this producer.
    pub(super) fn take(&mut self, producer: &str) -> Vec<GapRecord> {
        std::mem::take(&mut self.producer(producer).waiting)
    }

    fn producer(&mut self, name: &str) -> &mut Producer {
        if !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), Producer::default());
        }
        self.0.get_mut(name).expect("it was just inserted")
    }
}

impl Producer {
    fn note(&mut self, first_sequence: u64, last_sequence: u64, reason: GapReason) {
        let full = self.waiting.len() >= MAX_WAITING;
        match self.waiting.last_mut() {
            Some(last) if full || (last.reason == reason && last.last_sequence + 1 == first_sequence) => {
                last.last_sequence = last_sequence;
            }
            _ => self.waiting.push(GapRecord { first_sequence, last_sequence, reason }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_number_is_in_one_gap() {
        let mut gaps = Gaps::default();
        for sequence in [3, 4, 7, 8, 9, 12] {
            gaps.arrive("front", sequence);
            if [8, 9].contains(&sequence) {
                gaps.drop_frameset("front", sequence, GapReason::Memory);
            }
        }
        gaps.arrive("rear", 5);
        let gap = |first_sequence, last_sequence, reason| GapRecord { first_sequence, last_sequence, reason };
        assert_eq!(
            gaps.take("front"),
            [gap(5, 6, GapReason::Link), gap(8, 9, GapReason::Memory), gap(10, 11, GapReason::Link),]
        );
        assert_eq!((gaps.take("front"), gaps.take("rear")), (Vec::new(), Vec::new()));
        gaps.arrive("front", 0);
        assert_eq!(gaps.take("front"), [], "a restart");
        gaps.end("front", 3);
        assert_eq!(gaps.take("front"), [gap(1, 2, GapReason::Link)], "dropped at the end");
        gaps.begin("top", 0);
        gaps.arrive("top", 1);
        gaps.end("top", 2);
        assert_eq!(gaps.take("top"), [gap(0, 0, GapReason::Link)], "dropped at the start");
        gaps.begin("late", 100);
        gaps.arrive("late", 102);
        gaps.end("late", 104);
        let own = [gap(100, 101, GapReason::Link), gap(103, 103, GapReason::Link)];
        assert_eq!(gaps.take("late"), own, "nothing of before it joined");
    }

    #[test]
    fn gaps_are_bounded() {
        let mut gaps = Gaps::default();
        for sequence in 0..10_000 {
            gaps.arrive("front", 2 * sequence);
            gaps.drop_frameset("front", 2 * sequence, GapReason::Memory);
        }
        let waiting = gaps.take("front");
        assert_eq!(waiting.len(), MAX_WAITING);
        assert_eq!(waiting.iter().map(GapRecord::framesets).sum::<u64>(), 19_999);
    }
}
