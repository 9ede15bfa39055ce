//! Measures each candidate under each load, in rounds.
//!
//! Rounds are interleaved and each begins with another candidate, so that other activity of the machine affects all of
//! them alike. A measurement is one run of real processes: the reader reports when its window begins and ends, and the
//! benchmark reads the usage of all processes at those two moments. No ratio is computed here.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use camrig::console::{print_stderr, print_warning};
use camrig::monotonic_nanos;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::Fallible;
use crate::allocations::Allocations;
use crate::candidate::Candidate;
use crate::candidates;
use crate::load::{FRAMES_PER_SECOND, Load};
use crate::message::Message;
use crate::message::{Produced, Window};
use crate::processes::{Memory, Processes, Sides, SyscallCount, Usage, descendants, machine_seconds};
use crate::task::{Role, Task};
use crate::work::FrameRing;

const WARMUP: Duration = Duration::from_millis(500);

/// Time during which system calls are counted.
const SYSCALL_TIME: Duration = Duration::from_secs(1);

/// Maximum time of each step outside the window, such as starting and stopping.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The loads, candidates and times to measure.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The loads, each with its candidates.
    pub(crate) loads: Vec<(Load, Vec<Candidate>)>,
    pub(crate) rounds: u32,
    pub(crate) window: Duration,
    /// Slots of each camera of camrig; `None` for the default.
    pub(crate) slots: Option<u32>,
}

/// The measurement of one candidate under one load in one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sample {
    pub(crate) candidate: Candidate,
    pub(crate) load: Load,
    pub(crate) round: u32,
    pub(crate) window: Window,
    /// Microseconds of processor time per frameset.
    pub(crate) cpu_micros: Sides<f64>,
    /// Average number of processors busy with other work of the machine: noise.
    pub(crate) others_busy: f64,
    /// Per frameset.
    pub(crate) page_faults: Sides<f64>,
    /// Calls of the allocator per frameset; in one process all of them are the reader's.
    pub(crate) allocations: Sides<f64>,
    /// Allocated bytes per frameset.
    pub(crate) allocated_bytes: Sides<f64>,
    /// The largest private memory of any process, without slots and the driver's own data.
    pub(crate) private_bytes: Sides<u64>,
    /// Shared memory of all processes together.
    pub(crate) shared_bytes: u64,
    /// The memory of all processes together, without the driver's own data.
    pub(crate) memory_bytes: u64,
    /// Dropped framesets according to camrig's own report, from start to end.
    pub(crate) reported_drops: Option<u64>,
    /// System calls per frameset; only in the round that counts them.
    pub(crate) syscalls: Option<Sides<f64>>,
}

/// All measurements, and the reasons of missing ones.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) samples: Vec<Sample>,
    /// The round in which system calls were counted, under paced loads.
    pub(crate) counted: Vec<Sample>,
    pub(crate) left_out: Vec<String>,
}

/// Measures all of the plan.
pub(crate) fn all(plan: &Plan) -> Fallible<Measured> {
    let mut measured = Measured::default();
    let count_syscalls = SyscallCount::is_available();
    if !count_syscalls {
        measured.left_out.push("system calls: perf cannot count them here".to_owned());
    }
    let mut number = 0;
    for (load, candidates) in &plan.loads {
        let load = *load;
        for round in 0..plan.rounds {
            print_stderr(format_args!("{load}, round {} of {}", round + 1, plan.rounds));
            let mut order = candidates.clone();
            let first = round as usize % order.len().max(1);
            order.rotate_left(first);
            for candidate in order {
                number += 1;
                match one(plan, candidate, load, round, number, false) {
                    Ok(sample) => measured.samples.push(sample),
                    Err(error) => {
                        let message = format!("{candidate}, {load}, round {}: {error}", round + 1);
                        print_warning(format_args!("skipped: {message}"));
                        measured.left_out.push(message);
                    }
                }
            }
        }
        if count_syscalls && load.is_paced() {
            for &candidate in candidates {
                number += 1;
                match one(plan, candidate, load, 0, number, true) {
                    Ok(sample) => measured.counted.push(sample),
                    Err(error) => {
                        measured.left_out.push(format!("system calls of {candidate}, {load}: {error}"));
                    }
                }
            }
        }
    }
    if measured.samples.is_empty() { Err("nothing could be measured".into()) } else { Ok(measured) }
}

fn one(
    plan: &Plan,
    candidate: Candidate,
    load: Load,
    round: u32,
    number: u32,
    count_syscalls: bool,
) -> Fallible<Sample> {
    let window = if count_syscalls { SYSCALL_TIME * 2 } else { plan.window };
    let name = format!("camrig-bench-{}-{number}", std::process::id());
    let folder = tempfile::Builder::new().prefix(&name).tempdir()?;
    let launch_nanos = monotonic_nanos();
    let (warmup, slots, role) = (WARMUP, plan.slots, Role::Leader);
    let task = Task { candidate, load, name, launch_nanos, warmup, window, slots, role };
    let mut run = Run::start(&task, folder.path())?;

    let mut readers = Vec::new();
    // The other readers start at the same time: they have announced themselves before the warm-up of the first one ends.
    let reader = run.wait_for(TIMEOUT, |message| match message {
        Message::Begin { reader } => Some(reader),
        Message::OtherReader { process } => {
            readers.push(process);
            None
        }
        _ => None,
    })?;
    readers.push(reader);
    let processes = Processes::of(run.leader.id(), readers)?;
    let (before, machine_before) = (processes.usage(), machine_seconds());
    let counters = count_syscalls.then(|| Counters::start(&processes, folder.path())).transpose()?;
    run.wait_for(window + TIMEOUT, |message| matches!(message, Message::End).then_some(()))?;
    let (after, machine_after) = (processes.usage(), machine_seconds());
    let memory = processes.memory();
    let syscalls = counters.map(|counters| counters.finish(load)).transpose()?;

    let (window, produced) = run.stop()?;
    let reported_drops =
        candidate.is_camrig().then(|| candidates::reported_drops(folder.path())).transpose()?;
    let framesets = window.delivered.max(1) as f64;
    let each = |figure: fn(&Usage) -> u64| Sides {
        producers: figure(&after.producers.since(before.producers)) as f64 / framesets,
        reader: figure(&after.reader.since(before.reader)) as f64 / framesets,
        supervisor: figure(&after.supervisor.since(before.supervisor)) as f64 / framesets,
    };
    let cpu = each(|usage| usage.cpu_nanos);
    let own_seconds = cpu.total() * framesets / 1e9;
    let others_busy = ((machine_after - machine_before - own_seconds) / window.seconds.max(0.1)).max(0.0);
    let single = processes.producers.is_empty();
    let allocated = |figure: fn(Allocations) -> u64| Sides {
        producers: if single { 0.0 } else { per_produced(load, &produced, figure) },
        reader: figure(window.allocations) as f64 / framesets,
        supervisor: 0.0,
    };
    Ok(Sample {
        candidate,
        load,
        round,
        cpu_micros: Sides {
            producers: cpu.producers / 1e3,
            reader: cpu.reader / 1e3,
            supervisor: cpu.supervisor / 1e3,
        },
        others_busy,
        page_faults: each(|usage| usage.page_faults),
        allocations: allocated(|allocations| allocations.count),
        allocated_bytes: allocated(|allocations| allocations.bytes),
        private_bytes: private_bytes(&task, single, &memory),
        shared_bytes: sum(&memory, |memory| memory.shared),
        memory_bytes: sum(&memory, |memory| memory.all).saturating_sub(rings(&task)),
        reported_drops,
        syscalls,
        window,
    })
}

fn per_produced(load: Load, produced: &[Produced], figure: fn(Allocations) -> u64) -> f64 {
    let framesets: u64 = produced.iter().map(|produced| produced.framesets).sum();
    let total: u64 = produced.iter().map(|produced| figure(produced.allocations)).sum();
    // Each camera of a process reported the allocations of the process.
    total as f64 / (framesets.max(1) * load.cameras_per_process() as u64) as f64
}

fn sum(memory: &Sides<Vec<Memory>>, figure: fn(&Memory) -> u64) -> u64 {
    [&memory.producers, &memory.reader, &memory.supervisor].into_iter().flatten().map(figure).sum()
}

/// Returns the size of the driver's own data, of all cameras.
fn rings(task: &Task) -> u64 {
    let ring = if task.candidate.has_ring() { FrameRing::bytes(task.load.size) as u64 } else { 0 };
    ring * task.load.cameras as u64
}

fn private_bytes(task: &Task, single: bool, memory: &Sides<Vec<Memory>>) -> Sides<u64> {
    let rings = rings(task);
    let most = |memory: &[Memory], own: u64| {
        memory.iter().map(|memory| memory.private.saturating_sub(own)).max().unwrap_or(0)
    };
    let of_reader = if single { rings } else { 0 };
    let of_process = rings / task.load.cameras as u64 * task.load.cameras_per_process() as u64;
    Sides {
        producers: most(&memory.producers, of_process),
        reader: most(&memory.reader, of_reader),
        supervisor: most(&memory.supervisor, 0),
    }
}

/// Counts of system calls, one per role.
struct Counters {
    producers: Option<SyscallCount>,
    reader: SyscallCount,
}

impl Counters {
    fn start(processes: &Processes, folder: &Path) -> Fallible<Self> {
        let count = |pids: &[u32], name| SyscallCount::start(pids, SYSCALL_TIME, &folder.join(name));
        let producers = &processes.producers;
        Ok(Self {
            producers: (!producers.is_empty()).then(|| count(producers, "producers")).transpose()?,
            reader: count(&processes.readers, "reader")?,
        })
    }

    fn finish(self, load: Load) -> Fallible<Sides<f64>> {
        // Paced: the number of framesets that the cameras produce in that time.
        let framesets = f64::from(FRAMES_PER_SECOND) * load.cameras as f64 * SYSCALL_TIME.as_secs_f64();
        let per_frameset = |count: SyscallCount| Ok::<_, crate::Error>(count.finish()? as f64 / framesets);
        Ok(Sides {
            producers: self.producers.map(per_frameset).transpose()?.unwrap_or(0.0),
            reader: per_frameset(self.reader)?,
            supervisor: 0.0,
        })
    }
}

/// The running processes of one measurement. All of them are ended when it is dropped.
struct Run {
    leader: Child,
    messages: Receiver<Message>,
    stderr: Option<JoinHandle<String>>,
    produced: Vec<Produced>,
}

impl Run {
    fn start(task: &Task, folder: &Path) -> Fallible<Self> {
        let mut command = task.command()?;
        if task.candidate.is_camrig() {
            command.args(candidates::prepare(task, folder)?);
        }
        let mut leader = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let (sender, messages) = sync_channel(256);
        let out = leader.stdout.take().ok_or("a leader without standard output")?;
        let mut err = leader.stderr.take().ok_or("a leader without standard error")?;
        std::thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            // The receiver is dropped when the measurement fails.
            lines.filter_map(|line| Message::parse(&line)).all(|message| sender.send(message).is_ok());
        });
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            // On an error the text read so far is used.
            let _ = err.read_to_string(&mut text);
            text
        });
        Ok(Self { leader, messages, stderr: Some(stderr), produced: Vec::new() })
    }

    /// Waits for a message of a kind; reports of cameras are collected meanwhile.
    fn wait_for<T>(
        &mut self,
        timeout: Duration,
        mut wanted: impl FnMut(Message) -> Option<T>,
    ) -> Fallible<T> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.messages.recv_timeout(left) {
                Ok(Message::Produced(produced)) => self.produced.push(produced),
                Ok(message) => {
                    if let Some(wanted) = wanted(message) {
                        return Ok(wanted);
                    }
                }
                Err(_) => return Err(self.fail().into()),
            }
        }
    }

    /// Ends the run in order, and returns its measurements.
    fn stop(mut self) -> Fallible<(Window, Vec<Produced>)> {
        drop(self.leader.stdin.take());
        let window = self.wait_for(TIMEOUT, |message| match message {
            Message::Window(window) => Some(window),
            _ => None,
        })?;
        while let Ok(message) = self.messages.recv_timeout(TIMEOUT) {
            if let Message::Produced(produced) = message {
                self.produced.push(produced);
            }
        }
        let status = self.leader.wait()?;
        if !status.success() {
            return Err(self.fail().into());
        }
        Ok((window, std::mem::take(&mut self.produced)))
    }

    /// Kills all processes, and returns the reason.
    fn fail(&mut self) -> String {
        self.kill();
        let text = self.stderr.take().and_then(|stderr| stderr.join().ok()).unwrap_or_default();
        let text = text.trim();
        if text.is_empty() { "timed out".to_owned() } else { text.replace('\n', "; ") }
    }

    fn kill(&mut self) {
        if self.leader.try_wait().is_ok_and(|status| status.is_some()) {
            return;
        }
        let others = descendants(self.leader.id()).unwrap_or_default();
        // Processes that have ended meanwhile cannot be killed.
        let _ = self.leader.kill();
        let _ = self.leader.wait();
        for pid in others.into_iter().filter_map(|pid| Pid::from_raw(pid as i32)) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.kill();
    }
}
