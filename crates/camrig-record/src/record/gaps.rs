//! What is missing, by the sequence numbers of each producer.

use std::collections::BTreeMap;

use crate::format::{GapReason, GapRecord};

/// The most gaps of one producer that wait for a frameset to be written with; the last one grows instead.
const MAX_WAITING: usize = 1024;

/// The gaps of all producers.
#[derive(Default)]
pub(super) struct Gaps(BTreeMap<String, Producer>);

#[derive(Default)]
struct Producer {
    last: Option<u64>,
    waiting: Vec<GapRecord>,
}

impl Gaps {
    /// A frameset came: what is missing before it was dropped on the way. Nothing is known of what was before
    /// the first, nor when numbers go back, which is a new start.
    pub(super) fn arrive(&mut self, producer: &str, sequence: u64) {
        let producer = self.producer(producer);
        if let Some(last) = producer.last.replace(sequence)
            && sequence > last + 1
        {
            producer.note(last + 1, sequence - 1, GapReason::Link);
        }
    }

    /// The frameset that came is left out.
    pub(super) fn leave_out(&mut self, producer: &str, sequence: u64, reason: GapReason) {
        self.producer(producer).note(sequence, sequence, reason);
    }

    /// What is to be written before the next frameset of this producer.
    pub(super) fn take(&mut self, producer: &str) -> Vec<GapRecord> {
        std::mem::take(&mut self.producer(producer).waiting)
    }

    fn producer(&mut self, name: &str) -> &mut Producer {
        if !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), Producer::default());
        }
        self.0.get_mut(name).expect("it was just made")
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
                gaps.leave_out("front", sequence, GapReason::Memory);
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
        assert_eq!(gaps.take("front"), [], "a new start");
    }

    #[test]
    fn gaps_are_bounded() {
        let mut gaps = Gaps::default();
        for sequence in 0..10_000 {
            gaps.arrive("front", 2 * sequence);
            gaps.leave_out("front", 2 * sequence, GapReason::Memory);
        }
        let waiting = gaps.take("front");
        assert_eq!(waiting.len(), MAX_WAITING);
        assert_eq!(waiting.iter().map(GapRecord::framesets).sum::<u64>(), 19_999);
    }
}
