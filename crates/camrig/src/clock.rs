//! The host's monotonic clock, which all processes of a rig share.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the host's monotonic clock (`CLOCK_MONOTONIC`): comparable between processes of one host,
/// untouched by changes of the wall clock, without meaning across a reboot.
pub fn monotonic_nanos() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Both parts are never negative: the clock starts at boot.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
