//! Processor time and memory of a process, according to the kernel, for reports.
//!
//! It depends on no actor and no worker, and keeps no state: rates are computed from two readings.

use procfs::process::Process;

/// Resource usage of one process at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// Processor time since the process started, of all its threads, in user and kernel mode, in steps of the kernel's
    /// ticks, usually 10 ms.
    pub(crate) cpu_seconds: f64,
    /// Resident anonymous memory (`RssAnon` of `status`): the process's own heap and stacks. Code of programs and
    /// libraries, and slots, do not count.
    pub(crate) private_bytes: u64,
    /// Resident shared memory (`RssShmem` of `status`): the mapped slots and link states, its own and those it reads.
    ///
    /// The kernel updates these counters in batches, so both lag by some pages. `smaps_rollup` would be exact, but it
    /// walks the page tables: for six cameras of 1280x720 that took a twelfth of the whole rig's processor time.
    pub(crate) shared_bytes: u64,
}

/// Returns the usage of process `pid`; `None` if it does not exist, is a zombie, or belongs to another user.
pub(crate) fn of(pid: u32) -> Option<Usage> {
    let stat = Process::new(i32::try_from(pid).ok()?).ok()?.stat().ok()?;
    // `procfs` would keep each of its sixty lines, which costs more than everything else here.
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(Usage {
        cpu_seconds: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
        private_bytes: bytes_of(&status, "RssAnon:")?,
        shared_bytes: bytes_of(&status, "RssShmem:")?,
    })
}

/// Returns an amount of memory in the text of a process's `status`.
fn bytes_of(status: &str, field: &str) -> Option<u64> {
    let amount = status.lines().find_map(|line| line.strip_prefix(field))?;
    amount.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    use camrig_ipc::SlotPool;

    use super::*;

    /// Maximum wait for the kernel's counters; a longer wait fails the test.
    const WATCHDOG: Duration = Duration::from_secs(60);

    /// Reads the usage of `pid` until `accepts` returns true, which uses processor time.
    #[track_caller]
    fn read_until(pid: u32, accepts: impl Fn(Option<Usage>) -> bool) {
        let deadline = Instant::now() + WATCHDOG;
        loop {
            let usage = of(pid);
            if accepts(usage) {
                return;
            }
            assert!(Instant::now() < deadline, "the usage of process {pid} stays {usage:?}");
        }
    }

    #[test]
    fn processor_time_grows_with_work() {
        let before = of(std::process::id()).unwrap();
        read_until(std::process::id(), |usage| usage.unwrap().cpu_seconds > before.cpu_seconds);
    }

    #[test]
    fn private_and_shared_memory_are_counted_apart() {
        // Half of the size, because the kernel counts in batches; absolute values, because other tests allocate too.
        const SIZE: u64 = 32 << 20;
        let private = std::hint::black_box(vec![1_u8; SIZE as usize]);
        let slots = SlotPool::new(2, SIZE as usize / 2, 1).unwrap();
        let usage = of(std::process::id()).unwrap();
        assert!(usage.private_bytes > SIZE / 2, "{usage:?}");
        assert!(usage.shared_bytes > SIZE / 2, "{usage:?}");
        drop((private, slots));
    }

    #[test]
    fn an_ended_process_has_no_usage() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert!(of(child.id()).is_some(), "the process waits for its standard input");
        drop(child.stdin.take());
        // It has ended, but is a zombie until it is waited for.
        read_until(child.id(), |usage| usage.is_none());
        child.wait().unwrap();
        assert_eq!(of(child.id()), None);
        assert_eq!(of(u32::MAX), None);
    }
}
