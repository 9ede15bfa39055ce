//! Counts the allocations of this process with an instrumented system allocator, in every process of a measurement.
//!
//! The counts are those of the process, not of single threads or roles.

use std::alloc::System;

use serde::{Deserialize, Serialize};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Allocations of a process, or the difference of two such counts.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Allocations {
    /// Number of calls of the allocator; a reallocation is one.
    pub(crate) count: u64,
    /// Requested bytes.
    pub(crate) bytes: u64,
}

impl Allocations {
    /// Returns all allocations of this process so far.
    pub(crate) fn so_far() -> Self {
        let stats = ALLOCATOR.stats();
        Self { count: (stats.allocations + stats.reallocations) as u64, bytes: stats.bytes_allocated as u64 }
    }

    /// Returns the allocations after `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { count: self.count - earlier.count, bytes: self.bytes - earlier.bytes }
    }
}
