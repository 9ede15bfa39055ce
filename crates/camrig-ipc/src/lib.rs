//! Framesets between processes: slots, leases, link states and notifiers, on ipc-channel.
//!
//! A producer owns a pool of *slots*: one shared-memory region that is created, reserved and sent to each reader
//! once. To publish a frameset it writes the pixels into a free slot and marks the slot as queued in the
//! [`LinkState`] of each link; a reader takes the oldest queued slot, holds it as a [`Lease`], and frees it when the
//! lease is dropped. A [`Notifier`] wakes a sleeping reader; nothing else is sent per frameset.
//! * `memory`, `region`: sealed memory and its mappings; with `slots` and `reader` the only `unsafe` of the data path
//! * [`Mapped`]: a structure in shared memory of its own
//! * [`LinkState`]: the counters and slot states of one link; [`Latency`], [`ActorCounters`], [`MatchCounters`]: other
//!   counters
//! * [`SlotPool`], [`Loan`], [`LinkWriter`]: the producer's end
//! * [`LinkReader`], [`Lease`]: the reader's end, which validates everything that it reads
//! * [`Notifier`], [`Listener`]: waking a process
//! * [`handshake`]: connects a worker and the process that started it
//! * [`protocol`]: everything that crosses the boundary between processes, with its versions
//! * [`Sender`], [`Receiver`], [`SharedMemory`]: those of ipc-channel, on which no other crate depends
//!
//! It deliberately does not depend on actors, topologies or threads: the owner of an end decides when to call it.

mod channel;
mod counters;
mod futex;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod handover;
pub mod handshake;
mod header;
mod latency;
mod link_state;
mod mapped;
mod matching;
mod memory;
mod notifier;
#[cfg(all(test, orderings))]
mod orderings;
mod present;
pub mod protocol;
mod reader;
mod reasons;
mod region;
#[cfg(all(test, shuttle, not(orderings)))]
mod schedules;
mod scheduling;
mod slots;
mod startup;
mod sync;
mod temporary;
mod threads;

pub use channel::{ReceiveError, Receiver, Sender, channel, panics_are_caught};
pub use counters::{ActorCounters, LostReason, StreamCounts};
pub use header::{MAX_HEADER_BYTES, header_from_bytes, header_to_bytes};
pub use latency::{Latency, LatencyHistogram};
pub use link_state::{Absence, Counts, Deaths, DropReason, LinkState, MAX_SLOTS, Overflow, Step};
pub use mapped::Mapped;
pub use matching::{ClockEstimate, MAX_MATCH_CAMERAS, MatchCamera, MatchCounters, MatchCounts, Unmatched};
pub use memory::{MemoryError, SharedMemory};
pub use notifier::{Listener, Notifier};
pub use reader::{Lease, LinkReader, MAX_SOURCES, Refused};
pub use region::{page_bytes, prepare};
pub use scheduling::{CPUS_MAX, Refusal, Scheduling, allowed_cpus};
pub use slots::{LinkWriter, Loan, Published, SlotPool};
pub use startup::release_startup_memory;
pub use threads::{name_process_limit, set_variable_before_threads, spawn_thread};
