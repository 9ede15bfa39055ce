//! The accounts of a crossing, at both of its ends. Pure: messages in, decisions out.
//!
//! The framesets that a link delivered to the sender are numbered 1, 2, 3, ... over all instances of the sender, because the
//! link counts them. The receiver accounts for each number once: the frameset is published, or it is lost on the wire. The
//! number of framesets that it has accounted for is the sum of two counters of its actor, which outlast its instances. So the
//! numbers alone show which framesets are missing, whichever process died and whichever messages the network lost, doubled or
//! delayed:
//!
//! `delivered to the sender = published by the receiver + lost on the wire + in flight`.
//!
//! What has no receiver any more when the sender ends is counted by the sender.
//!
//! The receiver acknowledges the last number that it has accounted for. The sender has at most a window of framesets and bytes
//! beyond it. If nothing is acknowledged any more, the sender asks about its last number: everything up to there
//! that has not arrived before the question is lost, since messages of one sender arrive in order. One that arrives later all the
//! same is ignored.
//!
//! The numbers begin again with the rig of the sender, in another epoch. The receiver knows how much it had accounted for
//! then, and tells the sender, which knows it for the receiver's next instance.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

/// Number of epochs whose late messages are recognised.
const EPOCHS_KEPT: usize = 16;

/// Maximum of framesets and bytes that a receiver lets a sender have in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreditWindow {
    /// Framesets.
    pub framesets: u32,
    /// Bytes, as encoded. A frameset that is larger crosses alone.
    pub bytes: u64,
}

/// The answer of a receiver: the framesets that it has accounted for, and the credit of the sender beyond them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The receiver's instance.
    pub instance: u64,
    /// The epoch of `number`; 0 before the first message.
    pub epoch: u64,
    /// The number of framesets that were accounted for at number 0 of the epoch.
    pub base: u64,
    /// The last number that is accounted for.
    pub number: u64,
    /// The credit of the sender beyond it.
    pub window: CreditWindow,
}

/// The number of a frameset, as a sender writes it into its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameSetNumber {
    /// The epoch of `number`, never 0: another one when the numbers begin again.
    pub epoch: u64,
    /// The number of framesets that the receiver had accounted for at number 0 of the epoch, as it has said; `None` before.
    pub base: Option<u64>,
    /// The number: of the frameset; of the last one that was sent, if it is a question; of all, at the end.
    pub number: u64,
}

/// The sending end.
#[derive(Debug)]
pub struct Sender {
    epoch: u64,
    pending: VecDeque<(u64, u64)>,
    pending_bytes: u64,
    /// The last answer; `None` before the first one.
    ack: Option<Ack>,
    /// The base of the epoch, once the receiver has said it: the receiver's next instance does not know it.
    base: Option<u64>,
}

impl Sender {
    /// Begins without anything in flight, and without credit. `epoch` is that of the numbers: it is another one if they begin
    /// again, and never 0.
    pub fn new(epoch: u64) -> Self {
        Self { epoch, pending: VecDeque::new(), pending_bytes: 0, ack: None, base: None }
    }

    /// Returns the epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Returns whether a frameset of this size may be sent.
    pub fn may_send(&self, bytes: u64) -> bool {
        let Some(Ack { window, .. }) = self.ack else { return false };
        let room = (self.pending.len() as u64) < u64::from(window.framesets);
        let alone = self.pending.is_empty() && window.framesets > 0;
        alone || room && self.pending_bytes.saturating_add(bytes) <= window.bytes
    }

    /// Returns the place of a frameset with this number.
    pub fn place(&self, number: u64) -> FrameSetNumber {
        FrameSetNumber { epoch: self.epoch, base: self.base, number }
    }

    /// Records that a frameset is sent.
    pub fn sent(&mut self, number: u64, bytes: u64) {
        self.pending.push_back((number, bytes));
        self.pending_bytes = self.pending_bytes.saturating_add(bytes);
    }

    /// Records an answer. Returns whether it is of another instance of the receiver than the one before.
    pub fn acked(&mut self, ack: Ack) -> bool {
        let is_new = self.ack.is_none_or(|last| last.instance != ack.instance);
        let is_older = |last: Ack| last.epoch == ack.epoch && last.number > ack.number;
        if !is_new && self.ack.is_some_and(is_older) {
            // Answers of one instance may arrive in another order than that in which they were sent.
            return false;
        }
        if ack.epoch == self.epoch {
            self.base = Some(ack.base);
            while let Some(&(_, bytes)) = self.pending.front().filter(|(number, _)| *number <= ack.number) {
                self.pending.pop_front();
                self.pending_bytes -= bytes;
            }
        }
        self.ack = Some(ack);
        is_new
    }

    /// Returns whether the receiver has accounted for everything up to a number.
    pub fn is_acked(&self, number: u64) -> bool {
        self.ack.is_some_and(|ack| ack.epoch == self.epoch && ack.number >= number)
    }

    /// Returns how many of this number of framesets the receiver had not accounted for when it last answered.
    pub fn unaccounted(&self, delivered: u64) -> u64 {
        let ack = self.ack.filter(|ack| ack.epoch == self.epoch);
        delivered.saturating_sub(ack.map_or(0, |ack| ack.number))
    }

    /// Returns the number of framesets in flight.
    pub fn in_flight(&self) -> usize {
        self.pending.len()
    }

    /// Returns the question for the framesets in flight; `None` without any.
    pub fn probe(&self) -> Option<FrameSetNumber> {
        self.pending.back().map(|&(number, _)| self.place(number))
    }
}

/// The decision on a frameset that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Publish it, or count it as lost if that fails, after counting this number of framesets as lost.
    Next {
        /// Those before it that will not arrive.
        lost: u64,
    },
    /// It was accounted for before.
    Late,
}

/// The receiving end.
#[derive(Debug)]
pub struct Receiver {
    instance: u64,
    window: CreditWindow,
    /// Published and lost, in all instances and epochs.
    accounted: u64,
    /// The present epoch, and the value of `accounted` at its number 0.
    epoch: Option<(u64, u64)>,
    /// Epochs that are over.
    over: VecDeque<u64>,
}

impl Receiver {
    /// Begins an instance; `accounted` is the number of framesets that those before it have published or lost.
    pub fn new(instance: u64, accounted: u64, window: CreditWindow) -> Self {
        Self { instance, window, accounted, epoch: None, over: VecDeque::new() }
    }

    /// Returns the answer to the sender.
    pub fn ack(&self) -> Ack {
        let (epoch, base) = self.epoch.unwrap_or((0, self.accounted));
        Ack { instance: self.instance, epoch, base, number: self.accounted - base, window: self.window }
    }

    /// Decides on a frameset; it is accounted for from here on.
    pub fn arrived(&mut self, place: FrameSetNumber) -> Arrival {
        let before = place.number.checked_sub(1).map(|number| FrameSetNumber { number, ..place });
        match before.and_then(|before| self.resolve(before)) {
            Some(Resolved { lost, is_last: true }) => {
                self.accounted += 1;
                Arrival::Next { lost }
            }
            _ => Arrival::Late,
        }
    }

    /// Accounts for everything up to a number, at the question of the sender or at its end. Returns how many framesets are
    /// to be counted as lost.
    pub fn probed(&mut self, place: FrameSetNumber) -> u64 {
        self.resolve(place).map_or(0, |resolved| resolved.lost)
    }

    /// Accounts for missing framesets up to a number; `None` for a message of an epoch that is over, or with an impossible
    /// number.
    fn resolve(&mut self, place: FrameSetNumber) -> Option<Resolved> {
        let FrameSetNumber { epoch, number, .. } = place;
        if epoch == 0 || self.over.contains(&epoch) {
            return None;
        }
        let base = match self.epoch {
            Some((present, base)) if present == epoch => base,
            Some(_) => self.accounted,
            None => self.base_of_instances_before(place),
        };
        let reached = base.checked_add(number).filter(|&reached| reached < u64::MAX)?;
        if let Some((over, _)) = self.epoch.replace((epoch, base)).filter(|(present, _)| *present != epoch) {
            self.over.push_back(over);
            let more = self.over.len().saturating_sub(EPOCHS_KEPT);
            self.over.drain(..more);
        }
        let (lost, is_last) = (reached.saturating_sub(self.accounted), reached >= self.accounted);
        self.accounted = self.accounted.max(reached);
        Some(Resolved { lost, is_last })
    }

    /// Returns the base of an epoch that began before this instance. If the sender does not know it either, the numbers are
    /// of the first epoch, unless that is impossible: then nothing of their epoch is missing.
    fn base_of_instances_before(&self, place: FrameSetNumber) -> u64 {
        // 0 if the number is not below the accounted ones.
        place
            .base
            .filter(|&base| base <= self.accounted)
            .unwrap_or_else(|| self.accounted.saturating_sub(place.number))
    }
}

/// The result of accounting up to a number.
struct Resolved {
    /// The framesets to be counted as lost.
    lost: u64,
    /// Whether no later number was accounted for.
    is_last: bool,
}

#[cfg(test)]
mod tests;
