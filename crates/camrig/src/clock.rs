//! The host's monotonic clock, which all processes of a rig share.

use rustix::time::{ClockId, clock_gettime};

/// Returns the host's monotonic time (`CLOCK_MONOTONIC`) in nanoseconds: comparable between processes of one host,
/// independent of the wall clock, meaningless after a reboot.
pub fn monotonic_nanos() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Neither part is negative, because the clock starts at boot.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
