//! Counts what this process allocates: the system's allocator, instrumented, in every process of a
//! measurement.
//!
//! It knows no threads and no sides: the counts are those of the whole process.

use std::alloc::System;

use serde::{Deserialize, Serialize};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What a process has allocated, or the difference of two such counts.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Allocations {
    /// Calls of the allocator; a reallocation is one.
    pub(crate) count: u64,
    /// The bytes that they asked for.
    pub(crate) bytes: u64,
}

impl Allocations {
    /// Everything that this process has allocated so far.
    pub(crate) fn so_far() -> Self {
        let stats = ALLOCATOR.stats();
        Self { count: (stats.allocations + stats.reallocations) as u64, bytes: stats.bytes_allocated as u64 }
    }

    /// What came after `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self { count: self.count - earlier.count, bytes: self.bytes - earlier.bytes }
    }
}
