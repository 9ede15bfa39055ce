//! What a process uses of the machine, for reports: processor time and memory, as the kernel tells them.
//!
//! It deliberately knows no actor and no worker, and keeps nothing: whoever wants a rate asks twice.

use procfs::process::Process;

/// What one process uses at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// Processor time since the process began, of all its threads, in user and in kernel mode. It grows in
    /// the kernel's ticks, mostly 10 ms.
    pub(crate) cpu_seconds: f64,
    /// Resident anonymous memory (`RssAnon` of `status`): heap and stacks, which are the process's own. The text
    /// of programs and libraries does not count, nor do slots.
    pub(crate) private_bytes: u64,
    /// Resident shared memory (`RssShmem` of `status`): the slots and link states that the process maps, its own
    /// and those it reads.
    ///
    /// The kernel counts in batches, so both lag by some pages. `smaps_rollup` would be exact, but it walks the page
    /// tables: for six cameras of 1280x720 that took a twelfth of the whole rig's processor time.
    pub(crate) shared_bytes: u64,
}

/// What the process `pid` uses; none when it is gone, has ended without having been waited for, or belongs to
/// someone else.
pub(crate) fn of(pid: u32) -> Option<Usage> {
    let process = Process::new(i32::try_from(pid).ok()?).ok()?;
    let stat = process.stat().ok()?;
    let status = process.status().ok()?;
    Some(Usage {
        cpu_seconds: (stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64,
        private_bytes: status.rssanon? << 10,
        shared_bytes: status.rssshmem? << 10,
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use camrig_ipc::SlotPool;

    use super::*;

    #[test]
    fn processor_time_grows_with_work() {
        let before = of(std::process::id()).unwrap();
        // Asking is work enough.
        while of(std::process::id()).unwrap().cpu_seconds <= before.cpu_seconds {}
    }

    #[test]
    fn memory_is_counted_where_it_belongs() {
        // Half of it, and not differences: the kernel counts in batches, and other tests come and go.
        const SIZE: u64 = 32 << 20;
        let private = std::hint::black_box(vec![1_u8; SIZE as usize]);
        let slots = SlotPool::new(2, SIZE as usize / 2, 1).unwrap();
        let usage = of(std::process::id()).unwrap();
        assert!(usage.private_bytes > SIZE / 2, "{usage:?}");
        assert!(usage.shared_bytes > SIZE / 2, "{usage:?}");
        drop((private, slots));
    }

    #[test]
    fn a_process_that_ended_uses_nothing() {
        let mut child = Command::new("true").spawn().unwrap();
        // It ends by itself, and stays a zombie until it is waited for.
        while of(child.id()).is_some() {}
        child.wait().unwrap();
        assert_eq!(of(child.id()), None);
        assert_eq!(of(u32::MAX), None);
    }
}
