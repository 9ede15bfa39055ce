//! The scheduling of the threads of a process: their CPUs, and their precedence over other threads.
#![allow(unsafe_code)] // One call: rustix has none for a scheduling policy.

use std::io::{Error, ErrorKind, Result};

use rustix::process::{Pid, setpriority_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::threads::spawn_thread;

/// Highest number of a CPU, plus one.
pub const CPUS_MAX: u32 = CpuSet::MAX_CPU as u32;

/// Maximum number of passes over the threads of a process: each finds those that threads without the scheduling have
/// started meanwhile.
const PASSES_MAX: usize = 16;

/// The scheduling of the threads of a process. Threads that they start later inherit it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// The CPUs that they may run on, each below [`CPUS_MAX`]; all if it is empty.
    pub cpus: Vec<u32>,
    /// Their nice value, from -20 (first) to 19 (last); that of the parent if it is `None`.
    pub nice: Option<i8>,
    /// Their real-time priority from 1 to 99 (first) by the policy `SCHED_FIFO`; no such policy if it is `None`.
    pub fifo: Option<u8>,
}

/// A setting that the kernel refuses.
#[derive(Debug)]
pub struct Refusal {
    /// The field of [`Scheduling`].
    pub setting: &'static str,
    /// The kernel's reason.
    pub error: Error,
}

impl Scheduling {
    /// Applies it to all threads of the process `pid`. A process that has ended is not an error.
    ///
    /// # Errors
    /// If the kernel refuses a setting.
    pub fn apply(&self, pid: u32) -> std::result::Result<(), Refusal> {
        if *self == Self::default() {
            return Ok(());
        }
        let mut done = Vec::new();
        for _ in 0..PASSES_MAX {
            let new: Vec<_> = threads(pid).into_iter().filter(|thread| !done.contains(thread)).collect();
            if new.is_empty() {
                break;
            }
            for &thread in &new {
                self.apply_to(Some(thread))?;
            }
            done.extend(new);
        }
        Ok(())
    }

    /// Applies it to a thread that ends immediately, to learn whether the kernel accepts it.
    ///
    /// # Errors
    /// If the kernel refuses a setting, or no thread can be started.
    pub fn try_out(&self) -> Result<std::result::Result<(), Refusal>> {
        let scheduling = self.clone();
        let thread = spawn_thread("scheduling", move || scheduling.apply_to(None))?;
        thread.join().map_err(|_| Error::other("the thread that tries out the scheduling panicked"))
    }

    /// Applies it to a thread; to this one for `None`.
    fn apply_to(&self, thread: Option<Pid>) -> std::result::Result<(), Refusal> {
        if !self.cpus.is_empty() {
            let mut set = CpuSet::new();
            self.cpus.iter().filter(|&&cpu| cpu < CPUS_MAX).for_each(|&cpu| set.set(cpu as usize));
            accepted("cpus", sched_setaffinity(thread, &set).map_err(Error::from))?;
        }
        if let Some(nice) = self.nice {
            // In Linux this is the value of one thread.
            accepted("nice", setpriority_process(thread, i32::from(nice)).map_err(Error::from))?;
        }
        if let Some(priority) = self.fifo {
            accepted("fifo", set_fifo(thread, priority))?;
        }
        Ok(())
    }
}

/// Returns the CPUs that this thread may run on, in ascending order.
pub fn allowed_cpus() -> Vec<u32> {
    // Without an answer nothing is known to be allowed.
    let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    (0..CPUS_MAX).filter(|&cpu| set.is_set(cpu as usize)).collect()
}

/// Passes on a result, unless the thread has ended.
fn accepted(setting: &'static str, result: Result<()>) -> std::result::Result<(), Refusal> {
    let has_ended = |error: &Error| error.raw_os_error() == Some(libc::ESRCH);
    match result {
        Err(error) if !has_ended(&error) => Err(Refusal { setting, error }),
        _ => Ok(()),
    }
}

/// Returns the threads of a process; none if it has ended.
fn threads(pid: u32) -> Vec<Pid> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let thread = |entry: std::fs::DirEntry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?);
    entries.filter_map(thread).collect()
}

/// Gives a thread a real-time priority; this one for `None`.
fn set_fifo(thread: Option<Pid>, priority: u8) -> Result<()> {
    let parameter = libc::sched_param { sched_priority: i32::from(priority) };
    let thread = thread.map_or(0, Pid::as_raw_pid);
    // SAFETY: the parameter is alive during the call, which only reads it.
    match unsafe { libc::sched_setscheduler(thread, libc::SCHED_FIFO, &raw const parameter) } {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { setting, error } = self;
        write!(f, "the system refuses `{setting}`: {error}")?;
        match (*setting, error.kind()) {
            ("cpus", ErrorKind::InvalidInput) => {
                write!(f, "; this process may use the CPUs {:?}", allowed_cpus())
            }
            ("nice" | "fifo", ErrorKind::PermissionDenied) => {
                let limit = if *setting == "nice" { "-e" } else { "-r" };
                write!(f, "; it needs CAP_SYS_NICE, or a higher limit (`ulimit {limit}`)")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc::sync_channel;

    use super::*;

    /// Returns the nice value and the policy of a thread of this process.
    fn stat(thread: Pid) -> (i8, u32) {
        let text = fs::read_to_string(format!("/proc/self/task/{}/stat", thread.as_raw_pid())).unwrap();
        // After the name, which may contain spaces: the third field.
        let fields: Vec<_> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
        (fields[19 - 3].parse().unwrap(), fields[41 - 3].parse().unwrap())
    }

    #[test]
    fn each_thread_of_a_process_is_scheduled_and_those_that_it_starts() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let cpu = allowed_cpus()[0];
        // The lowest priority, which is allowed whatever that of the tests is.
        let scheduling = Scheduling { cpus: vec![cpu], nice: Some(19), fifo: None };
        scheduling.apply(child.id()).unwrap();
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t"));
        assert_eq!(allowed, Some(cpu.to_string().as_str()));
        assert_eq!(stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19 - 3), Some("19"));
        scheduling.apply(child.id()).unwrap();
    }

    #[test]
    fn a_trial_changes_no_other_thread() {
        let (sender, receiver) = sync_channel(0);
        let thread = std::thread::spawn(move || {
            let own = rustix::thread::gettid();
            let before = stat(own);
            Scheduling { nice: Some(19), ..Scheduling::default() }.try_out().unwrap().unwrap();
            sender.send((before, stat(own))).unwrap();
        });
        let (before, after) = receiver.recv().unwrap();
        thread.join().unwrap();
        assert_eq!(before, after);
    }

    #[test]
    fn a_refusal_names_the_setting_and_the_allowed_values() {
        let missing = Scheduling { cpus: vec![CPUS_MAX - 1], ..Scheduling::default() };
        let refusal = missing.try_out().unwrap().unwrap_err().to_string();
        let allowed = allowed_cpus();
        let expected = format!(
            "the system refuses `cpus`: Invalid argument (os error 22); this process may use the CPUs {allowed:?}"
        );
        assert_eq!(refusal, expected);
        let denied = Refusal { setting: "fifo", error: Error::from_raw_os_error(libc::EPERM) };
        let expected = "the system refuses `fifo`: Operation not permitted (os error 1); it needs CAP_SYS_NICE, or a \
                        higher limit (`ulimit -r`)";
        assert_eq!(denied.to_string(), expected);
    }
}
