//! Framesets between processes: slots, leases, ledgers and bells, on ipc-channel.
//!
//! A producer owns a pool of *slots*, one shared-memory region that is made, pre-faulted and sent to each
//! reader once. To publish a frameset it writes the pixels into a free slot and marks the slot as queued in
//! the [`Ledger`] of each link; a reader takes the oldest queued slot, holds it as a [`Lease`], and frees
//! it when the lease drops. A [`Bell`] wakes a sleeping reader; nothing else travels.
//!
//! * `region`: mapped shared memory; with `slots` and `reader` the only `unsafe` of the data path
//! * [`Ledger`]: the accounting of one link and who holds which slot; [`Latency`], [`Tally`],
//!   [`MatchTally`]: counts beside it
//! * [`SlotPool`], [`Loan`], [`LinkWriter`]: the producer's end
//! * [`LinkReader`], [`Lease`]: the reader's end, which trusts nothing that it reads
//! * [`Bell`], [`Inbox`]: waking a process
//! * [`handshake`]: how a process meets the one that started it
//!
//! It deliberately knows no actor, no topology and no thread: whoever owns an end decides when to call it.

mod bell;
mod futex;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod handshake;
mod header;
mod latency;
mod ledger;
mod matching;
mod reader;
mod region;
#[cfg(all(test, shuttle))]
mod schedules;
mod slots;
mod sync;
mod tally;

pub use bell::{Bell, Inbox};
pub use latency::{Latency, LatencyHistogram};
pub use ledger::{Absence, Counts, Deaths, DropReason, Ledger, MAX_SLOTS, Overflow, Step};
pub use matching::{ClockEstimate, MAX_MATCH_CAMERAS, MatchCamera, MatchCounts, MatchTally, Unmatched};
pub use reader::{Announcement, Lease, LinkReader, MAX_SOURCES, Refused};
pub use region::{MemoryError, prepare};
pub use slots::{LinkWriter, Loan, Published, SlotPool};
pub use tally::{LostReason, Tally};
