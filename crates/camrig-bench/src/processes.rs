//! Resource usage of processes, measured from outside, in the same way for every candidate.
//!
//! It does not depend on any candidate. Processor time is the scheduler's accounting of each thread (`schedstat`, in
//! nanoseconds, user and system), not the ticks of `stat`.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use procfs::CurrentSI;
use procfs::process::{MMapPath, Process, all_processes};
use serde::{Deserialize, Serialize};

use crate::Fallible;

/// The processes of one measurement, by role.
#[derive(Clone, Debug, Default)]
pub(crate) struct Processes {
    /// Processes with a reader: all of them in a candidate of one process.
    pub(crate) readers: Vec<u32>,
    /// Processes with cameras.
    pub(crate) producers: Vec<u32>,
    /// The first process, if it has neither.
    pub(crate) supervisor: Option<u32>,
}

/// A figure for each role, all readers together. In a candidate of one process everything is the reader's.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Sides<T> {
    pub(crate) producers: T,
    pub(crate) reader: T,
    pub(crate) supervisor: T,
}

impl Sides<f64> {
    pub(crate) fn total(self) -> f64 {
        self.producers + self.reader + self.supervisor
    }
}

/// Processor time and page faults since a process started.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) cpu_nanos: u64,
    pub(crate) page_faults: u64,
}

impl Usage {
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            cpu_nanos: self.cpu_nanos.saturating_sub(earlier.cpu_nanos),
            page_faults: self.page_faults.saturating_sub(earlier.page_faults),
        }
    }
}

/// Returns the busy time of all processors of the machine since its start, in seconds.
pub(crate) fn machine_seconds() -> f64 {
    let Ok(stat) = procfs::KernelStats::current() else { return 0.0 };
    let cpu = stat.total;
    let late = cpu.irq.unwrap_or(0) + cpu.softirq.unwrap_or(0) + cpu.steal.unwrap_or(0);
    (cpu.user + cpu.nice + cpu.system + late) as f64 / procfs::ticks_per_second() as f64
}

/// The memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Resident pages that only this process has, outside shared-memory objects.
    pub(crate) private: u64,
    /// Its proportional share of resident shared-memory objects: the shares of all processes add up to the size of the
    /// objects.
    pub(crate) shared: u64,
    /// Its proportional share of all resident pages.
    pub(crate) all: u64,
}

impl Processes {
    /// Finds all descendants of `leader`, of which `readers` read.
    pub(crate) fn of(leader: u32, readers: Vec<u32>) -> Fallible<Self> {
        let producers = descendants(leader)?.into_iter().filter(|pid| !readers.contains(pid)).collect();
        let supervisor = (!readers.contains(&leader)).then_some(leader);
        Ok(Self { readers, producers, supervisor })
    }

    pub(crate) fn usage(&self) -> Sides<Usage> {
        let sum = |pids: &[u32]| {
            pids.iter().filter_map(|&pid| usage_of(pid)).fold(Usage::default(), |sum, usage| Usage {
                cpu_nanos: sum.cpu_nanos + usage.cpu_nanos,
                page_faults: sum.page_faults + usage.page_faults,
            })
        };
        Sides {
            producers: sum(&self.producers),
            reader: sum(&self.readers),
            supervisor: sum(self.supervisor.as_slice()),
        }
    }

    pub(crate) fn memory(&self) -> Sides<Vec<Memory>> {
        let each = |pids: &[u32]| pids.iter().filter_map(|&pid| memory_of(pid)).collect();
        Sides {
            producers: each(&self.producers),
            reader: each(&self.readers),
            supervisor: each(self.supervisor.as_slice()),
        }
    }
}

/// Returns all descendants of `leader`, without `leader` itself.
pub(crate) fn descendants(leader: u32) -> Fallible<Vec<u32>> {
    let parents: Vec<(u32, u32)> = all_processes()?
        .filter_map(|process| process.ok()?.stat().ok())
        .map(|stat| (stat.pid as u32, stat.ppid as u32))
        .collect();
    let mut found = vec![leader];
    let mut visited = 0;
    while visited < found.len() {
        let parent = found[visited];
        found.extend(parents.iter().filter(|&&(_, ppid)| ppid == parent).map(|&(pid, _)| pid));
        visited += 1;
    }
    Ok(found.split_off(1))
}

fn usage_of(pid: u32) -> Option<Usage> {
    let process = Process::new(pid as i32).ok()?;
    let stat = process.stat().ok()?;
    let threads = process.tasks().ok()?.filter_map(|task| task.ok()?.schedstat().ok());
    Some(Usage {
        cpu_nanos: threads.map(|thread| thread.sum_exec_runtime).sum(),
        page_faults: stat.minflt + stat.majflt,
    })
}

fn memory_of(pid: u32) -> Option<Memory> {
    let mut memory = Memory::default();
    for mapping in Process::new(pid as i32).ok()?.smaps().ok()? {
        let bytes = |key: &str| mapping.extension.map.get(key).copied().unwrap_or(0);
        memory.all += bytes("Pss");
        if is_shared_memory(&mapping.pathname) {
            memory.shared += bytes("Pss");
        } else {
            memory.private += bytes("Private_Clean") + bytes("Private_Dirty");
        }
    }
    Some(memory)
}

fn is_shared_memory(mapping: &MMapPath) -> bool {
    match mapping {
        MMapPath::Path(path) => path.starts_with("/dev/shm") || path.to_string_lossy().starts_with("/memfd:"),
        MMapPath::Vsys(_) => true,
        _ => false,
    }
}

/// Counts the system calls of processes for a time, with perf, which slows them less than tracing would.
pub(crate) struct SyscallCount {
    perf: Child,
    output: std::path::PathBuf,
}

impl SyscallCount {
    /// Returns whether this machine allows counting.
    pub(crate) fn is_available() -> bool {
        let mut perf = Command::new("perf");
        perf.args(["stat", "-e", EVENT, "true"]).stdin(Stdio::null());
        perf.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    pub(crate) fn start(pids: &[u32], time: Duration, output: &Path) -> Fallible<Self> {
        let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
        let mut perf = Command::new("perf");
        perf.args(["stat", "-x,", "-e", EVENT, "-p", &pids.join(","), "-o"]).arg(output);
        perf.args(["--", "sleep", &time.as_secs_f64().to_string()]);
        perf.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { perf: perf.spawn()?, output: output.to_owned() })
    }

    pub(crate) fn finish(mut self) -> Fallible<u64> {
        self.perf.wait()?;
        let text = std::fs::read_to_string(&self.output)?;
        let line = text.lines().find(|line| line.contains(EVENT)).ok_or("perf counted nothing")?;
        Ok(line.split(',').next().unwrap_or_default().parse()?)
    }
}

const EVENT: &str = "raw_syscalls:sys_enter";
