//! Runs a rig in real processes under a watchdog, and returns its outcome.
//!
//! All files of a run, including the program's temporary files, are in a folder of its own, and all its processes
//! have a mark in their environment: so a test can find a worker by name and check that nothing is left. The harness
//! does not depend on any topology.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use camrig_status::{RigStatus, socket};
use libtest_mimic::{Failed, Trial};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use serde::de::IgnoredAny;
use tempfile::{NamedTempFile, TempDir};

use crate::program;

/// The environment variable that makes this binary a camrig program, and marks a run's processes.
pub(crate) const MARK: &str = "CAMRIG_TEST_RIG";

/// Maximum wait for a fact; a longer wait fails the test.
const WATCHDOG: Duration = Duration::from_secs(60);

/// Interval between two checks of a fact.
const LOOK: Duration = Duration::from_millis(2);

/// The placement of actors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    InProcess,
    MultiProcess,
    /// According to the topology's `process` keys.
    Mixed,
    /// All actors on one thread.
    OneThread,
}

impl Placement {
    pub(crate) const ALL: [Self; 3] = [Self::InProcess, Self::MultiProcess, Self::Mixed];

    /// The placements of a topology whose readers need no camera to continue during their call.
    pub(crate) const WITH_ONE_THREAD: [Self; 4] =
        [Self::InProcess, Self::MultiProcess, Self::Mixed, Self::OneThread];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::InProcess => "in-process",
            Self::MultiProcess => "multi-process",
            Self::Mixed => "mixed",
            Self::OneThread => "one-thread",
        }
    }

    /// Returns the argument of `--placement`; `None` where the topology decides.
    fn argument(self) -> Option<&'static str> {
        matches!(self, Self::InProcess | Self::MultiProcess).then(|| self.name())
    }

    /// Returns a topology with the keys for this placement.
    fn applied_to(self, topology: &str) -> String {
        if self != Self::OneThread {
            return topology.to_owned();
        }
        let is_actor = |line: &str| line.starts_with("[camera.") || line.starts_with("[processor.");
        let mut lines = Vec::new();
        for line in topology.lines().filter(|line| !line.starts_with("process ")) {
            lines.push(line);
            lines.extend(is_actor(line).then_some("thread = 'one'"));
        }
        lines.join("\n")
    }
}

/// A running rig.
pub(crate) struct Rig {
    child: Child,
    mark: String,
    folder: TempDir,
    stdout: Output,
    stderr: Output,
    readers: Vec<JoinHandle<()>>,
    /// Names in `/dev/shm` before the rig started.
    shared_before: Vec<String>,
}

type Output = Arc<Mutex<Vec<u8>>>;

/// A rig that ended by itself.
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    /// Whole lines without their timestamps, and without line and column of a panic in this program; without the line
    /// at the end about losses.
    pub(crate) stderr: Vec<String>,
    report: Option<Report>,
}

/// A worker process of a rig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Worker {
    pub(crate) process: String,
    pub(crate) pid: Pid,
}

impl Worker {
    /// Returns the worker with this process ID, from its command line: the program, `worker`, the name of its process. An
    /// emulator of another architecture comes before the program.
    fn of(pid: u32) -> Option<Self> {
        let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let mut words = command.split(|&byte| byte == 0).skip(1);
        words.by_ref().take(2).find(|word| word == b"worker")?;
        let process = String::from_utf8_lossy(words.next()?).into_owned();
        Some(Self { process, pid: Pid::from_raw(pid as i32)? })
    }
}

/// The fields of a run's report that these tests use.
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    pub(crate) exit: String,
    pub(crate) actors: Vec<Actor>,
    pub(crate) links: Vec<Link>,
    pub(crate) matching: serde_json::Value,
    pub(crate) processes: Vec<IgnoredAny>,
    #[serde(default)]
    pub(crate) problems: Vec<String>,
    /// The changes of the rig while it ran.
    #[serde(default, rename = "changes")]
    pub(crate) changes_of_run: Vec<serde_json::Value>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Actor {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) changes: BTreeMap<String, u64>,
    pub(crate) produced: u64,
    pub(crate) copied: u64,
    pub(crate) lost: u64,
    pub(crate) lost_by_reason: BTreeMap<String, u64>,
    pub(crate) restarts: u64,
    pub(crate) errors: Vec<String>,
    pub(crate) warned: u64,
    #[serde(default)]
    pub(crate) warnings: Vec<Warning>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Warning {
    pub(crate) message: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Link {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) placement: String,
    pub(crate) produced: u64,
    pub(crate) delivered: u64,
    pub(crate) dropped: BTreeMap<String, u64>,
    pub(crate) in_flight: u64,
}

impl Link {
    pub(crate) fn dropped_of_all_reasons(&self) -> u64 {
        self.dropped.values().sum()
    }
}

impl Report {
    pub(crate) fn link(&self, from: &str, to: &str) -> &Link {
        let found = self.links.iter().find(|link| link.from == from && link.to == to);
        found.unwrap_or_else(|| panic!("there is no link from `{from}` to `{to}` in {self:#?}"))
    }

    pub(crate) fn actor(&self, name: &str) -> &Actor {
        let found = self.actors.iter().find(|actor| actor.name == name);
        found.unwrap_or_else(|| panic!("there is no actor `{name}` in {self:#?}"))
    }
}

/// A rig to run: topology, placement, arguments, environment.
pub(crate) struct Plan<'a> {
    topology: &'a str,
    placement: Placement,
    arguments: Vec<&'a str>,
    environment: Vec<(&'a str, &'a str)>,
    limit: &'a str,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(topology: &'a str, placement: Placement) -> Self {
        Self { topology, placement, arguments: Vec::new(), environment: Vec::new(), limit: ":" }
    }

    /// Sets a shell command that runs before the rig, such as `ulimit -n 20`.
    pub(crate) fn limit(mut self, limit: &'a str) -> Self {
        self.limit = limit;
        self
    }

    pub(crate) fn arguments(mut self, arguments: &[&'a str]) -> Self {
        self.arguments.extend(arguments);
        self
    }

    pub(crate) fn environment(mut self, name: &'a str, value: &'a str) -> Self {
        self.environment.push((name, value));
        self
    }

    /// Returns the output of `check`.
    pub(crate) fn check(self) -> String {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(self.placement.applied_to(self.topology).as_bytes()).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("check").arg(file.path()).env(MARK, "check");
        command.args(self.placement.argument().iter().flat_map(|placement| ["--placement", placement]));
        let checked = command.output().unwrap();
        String::from_utf8(checked.stdout).unwrap()
    }

    /// Starts the rig and waits until it has ended by itself.
    pub(crate) fn run(self) -> Ended {
        self.start().finish()
    }

    pub(crate) fn start(self) -> Rig {
        static RIGS: AtomicU32 = AtomicU32::new(0);
        let mark = format!("{}-{}", std::process::id(), RIGS.fetch_add(1, Ordering::Relaxed));
        let folder = tempfile::tempdir().unwrap();
        let file = |name| folder.path().join(name);
        fs::create_dir(file("tmp")).unwrap();
        fs::write(file("rig.toml"), self.placement.applied_to(self.topology)).unwrap();
        let shared_before = names_in(Path::new("/dev/shm"));
        // The kernel kills the supervisor when this process, or this thread, has ended; its workers end with it.
        let mut command = Command::new("setpriv");
        let program = std::env::current_exe().unwrap();
        command
            .args(["--pdeathsig", "KILL", "sh", "-c"])
            .arg(format!("{}; exec \"$0\" \"$@\"", self.limit))
            .arg(program);
        command.arg("run").arg(file("rig.toml")).arg("--report").arg(file("report.json"));
        command.args(self.placement.argument().iter().flat_map(|placement| ["--placement", placement]));
        command.args(&self.arguments).envs(self.environment.iter().copied());
        command.env(MARK, &mark).env("TMPDIR", file("tmp"));
        command.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Signals to this process group do not reach the rig.
        let mut child = command.process_group(0).spawn().unwrap();
        let (stdout, stderr) = (Output::default(), Output::default());
        let readers = vec![
            collect(child.stdout.take().unwrap(), &stdout),
            collect(child.stderr.take().unwrap(), &stderr),
        ];
        Rig { child, mark, folder, stdout, stderr, readers, shared_before }
    }
}

/// Returns the running processes of the rig with this mark.
pub(crate) fn processes_of(mark: &str) -> impl Iterator<Item = u32> {
    let marked = format!("{MARK}={mark}");
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    // An ended process or a zombie has no environment.
    pids.filter(move |pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|variable| variable == marked.as_bytes())
    })
}

/// Waits until `fact` is true; fails after [`WATCHDOG`].
#[allow(dead_code)] // Another binary uses this file without it.
pub(crate) fn wait_until(what: &str, mut fact: impl FnMut() -> bool) {
    let deadline = Instant::now() + WATCHDOG;
    while !fact() {
        assert!(Instant::now() < deadline, "timed out waiting for: {what}");
        std::thread::sleep(LOOK);
    }
}

/// Collects the output of a pipe.
fn collect(mut pipe: impl Read + Send + 'static, said: &Output) -> JoinHandle<()> {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = pipe.read(&mut bytes) {
            said.lock().unwrap_or_else(PoisonError::into_inner).extend(&bytes[..count]);
        }
    })
}

fn text(said: &Output) -> String {
    String::from_utf8_lossy(&said.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

impl Rig {
    /// Waits until `fact` returns a value; fails with all output so far after [`WATCHDOG`].
    pub(crate) fn wait_for<T>(&mut self, what: &str, mut fact: impl FnMut(&mut Self) -> Option<T>) -> T {
        let deadline = Instant::now() + WATCHDOG;
        loop {
            if let Some(found) = fact(self) {
                return found;
            }
            if Instant::now() >= deadline {
                let left = self.workers();
                self.kill_all();
                panic!(
                    "timed out waiting for: {what}\nworkers: {left:?}\n--- stdout ---\n{}--- stderr ---\n{}",
                    text(&self.stdout),
                    text(&self.stderr),
                );
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until `accepts` is true of the complete lines in stdout.
    pub(crate) fn wait_for_stdout(&mut self, what: &str, accepts: impl Fn(&[&str]) -> bool) {
        self.wait_for(what, |rig| {
            let all = text(&rig.stdout);
            let whole = all.rfind('\n').map_or("", |end| &all[..end]);
            accepts(&whole.lines().collect::<Vec<_>>()).then_some(())
        });
    }

    /// Waits until stderr has a line that ends with `end`.
    pub(crate) fn wait_for_stderr(&mut self, end: &str) {
        self.wait_for_stderr_times(end, 1);
    }

    /// Waits until stderr has this many lines that end with `end`.
    pub(crate) fn wait_for_stderr_times(&mut self, end: &str, times: usize) {
        self.wait_for(end, |rig| {
            let said = text(&rig.stderr).lines().filter(|line| line.ends_with(end)).count();
            (said >= times).then_some(())
        });
    }

    /// Returns the highest number after `start` in any line of stdout.
    pub(crate) fn highest(&self, start: &str) -> u64 {
        self.numbers(start).into_iter().max().unwrap_or(0)
    }

    /// Returns the numbers after `start` in all lines of stdout.
    pub(crate) fn numbers(&self, start: &str) -> Vec<u64> {
        let all = text(&self.stdout);
        let whole = all.rfind('\n').map_or("", |end| &all[..end]);
        whole.lines().filter_map(|line| line.strip_prefix(start)?.trim().parse().ok()).collect()
    }

    /// Returns the rig's status.
    pub(crate) fn status(&mut self) -> RigStatus {
        let pid = format!("-{}-", self.child.id());
        self.wait_for("its status", |_| {
            let names = socket::names().unwrap();
            socket::read(names.iter().find(|name| name.contains(&pid))?).ok()
        })
    }

    /// Clears the stdout collected so far.
    pub(crate) fn forget_stdout(&self) {
        self.stdout.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Returns the stderr collected so far.
    pub(crate) fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// Returns the supervisor's process ID.
    pub(crate) fn supervisor(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Returns the supervisor's running workers; quicker than [`workers`](Self::workers), but without orphans.
    pub(crate) fn children(&self) -> Vec<Worker> {
        // A process is listed with the thread that started it.
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten().flatten();
        let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let pids = children.collect::<Vec<_>>().concat();
        pids.split_whitespace().filter_map(|pid| Worker::of(pid.parse().ok()?)).collect()
    }

    /// Returns all running workers of this rig.
    pub(crate) fn workers(&self) -> Vec<Worker> {
        let supervisor = self.child.id();
        processes_of(&self.mark).filter(|&pid| pid != supervisor).filter_map(Worker::of).collect()
    }

    /// Returns the mark in the environment of this rig's processes.
    #[allow(dead_code)] // Another binary uses this file without it.
    pub(crate) fn mark(&self) -> &str {
        &self.mark
    }

    /// Returns a command of this program for this rig, as from another terminal.
    #[allow(dead_code)] // Another binary uses this file without it.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(std::env::current_exe().unwrap()).args(arguments);
        command.env(MARK, &self.mark).env_remove("RUST_LOG");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Sends a signal to the supervisor only.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits until the supervisor has ended.
    #[allow(dead_code)] // Another binary uses this file without it.
    pub(crate) fn wait_for_the_end(&mut self) {
        self.wait_for("the end of the supervisor", |rig| rig.child.try_wait().unwrap());
    }

    /// Sends a signal to the supervisor repeatedly until it has ended.
    pub(crate) fn signal_until_the_end(&mut self, signal: Signal) {
        self.wait_for("the end of the supervisor", |rig| {
            rig.signal(signal);
            rig.child.try_wait().unwrap()
        });
    }

    /// Kills the worker of this name with SIGKILL.
    pub(crate) fn kill_worker(&self, process: &str) {
        self.signal_worker(process, Signal::KILL);
    }

    /// Sends a signal to the worker of this name.
    pub(crate) fn signal_worker(&self, process: &str, signal: Signal) {
        let workers = self.workers();
        let worker = workers.iter().find(|worker| worker.process == process);
        let worker = worker.unwrap_or_else(|| panic!("no worker `{process}` among {workers:?}"));
        kill_process(worker.pid, signal).unwrap();
    }

    /// Returns the names in the rig's temporary folder.
    pub(crate) fn temporary_files(&self) -> Vec<String> {
        names_in(&self.folder.path().join("tmp"))
    }

    /// Waits until the supervisor has ended, and checks that nothing of the rig is left.
    pub(crate) fn finish(mut self) -> Ended {
        let status = self.wait_for("the end of the supervisor", |rig| rig.child.try_wait().unwrap());
        self.wait_for("the end of all workers", |rig| rig.workers().is_empty().then_some(()));
        self.wait_for("the end of stdout and stderr", |rig| {
            rig.readers.iter().all(JoinHandle::is_finished).then_some(())
        });
        let (stdout, stderr) = (text(&self.stdout), text(&self.stderr));
        let said = format!("{status}\n--- stdout ---\n{stdout}--- stderr ---\n{stderr}");
        let left = self.temporary_files();
        assert!(left.is_empty(), "the temporary folder holds {left:?} after {said}");
        // Other programs, and tests that run at the same time, use the folder too: only ipc-channel could leave files
        // of a rig there.
        let mut shared = names_in(Path::new("/dev/shm"));
        shared.retain(|name| name.contains("ipc-channel"));
        shared.retain(|name| !self.shared_before.contains(name));
        assert!(shared.is_empty(), "/dev/shm holds {shared:?} after {said}");
        let report = fs::read(self.folder.path().join("report.json")).unwrap_or_default();
        let report = (!report.is_empty()).then(|| serde_json::from_slice(&report).unwrap());
        // Printed only when the test fails: the output of these tests is not captured.
        LAST.with_borrow_mut(|last| *last = said);
        // Whether a run loses framesets depends on the load of the machine.
        let lines = stderr.lines().filter(|line| !line.contains(": ended after "));
        Ended { status, stdout, stderr: lines.map(without_time).collect(), report }
    }

    fn kill_all(&mut self) {
        // The processes may have ended already.
        let _ = self.child.kill();
        for worker in self.workers() {
            let _ = kill_process(worker.pid, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

thread_local! {
    /// The output of this thread's last rig.
    static LAST: std::cell::RefCell<String> = const { std::cell::RefCell::new(String::new()) };
}

/// Adds one test. Its failure shows the output of the last rig.
pub(crate) fn test(trials: &mut Vec<Trial>, name: impl Into<String>, run: impl FnOnce() + Send + 'static) {
    trials.push(Trial::test(name, move || {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("failed");
            Failed::from(format!("{text}\nthe last rig: {}", take_last_output()))
        })
    }));
}

/// Returns the output of this thread's last rig, for the message of a failed test.
fn take_last_output() -> String {
    LAST.take()
}

/// Ends the processes of a failed test, before its folder is removed.
impl Drop for Rig {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// Removes the timestamp such as `2026-01-02T03:04:05.678Z ` from a log line, and the line and column of a panic in
/// this program.
fn without_time(line: &str) -> String {
    let rest = line.split_once("Z ").filter(|(time, _)| time.len() == 23 && time.as_bytes()[10] == b'T');
    let line = rest.map_or(line, |(_, rest)| rest);
    match line.split_once(program::FILE) {
        Some((before, place)) => {
            let after = place.trim_start_matches(|char: char| char == ':' || char.is_ascii_digit());
            format!("{before}{}:{after}", program::FILE)
        }
        None => line.to_owned(),
    }
}

impl Ended {
    /// Returns the exit code; `None` after a signal.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }

    pub(crate) fn report(&self) -> &Report {
        self.report.as_ref().expect("the rig wrote a report")
    }

    /// Checks the exit code, and that stderr has exactly these lines.
    pub(crate) fn assert_said(&self, code: i32, stderr: &[&str]) {
        assert_eq!(
            (self.code(), self.stderr.iter().map(String::as_str).collect::<Vec<_>>()),
            (Some(code), stderr.to_vec())
        );
    }

    /// Checks that on every link every produced frameset was delivered or dropped, and that every lost one has a
    /// reason.
    pub(crate) fn assert_settled(&self) {
        for actor in &self.report().actors {
            assert_eq!(actor.lost, actor.lost_by_reason.values().sum::<u64>(), "{actor:?}");
        }
        for link in &self.report().links {
            assert_eq!(link.in_flight, 0, "{link:?}");
            assert_eq!(link.produced, link.delivered + link.dropped_of_all_reasons(), "{link:?}");
        }
    }

    /// Checks that every link delivered all of this many framesets.
    pub(crate) fn assert_complete(&self, framesets: u64) {
        for link in &self.report().links {
            let complete = (link.produced, link.delivered, link.in_flight) == (framesets, framesets, 0);
            assert!(complete && link.dropped.is_empty(), "not complete with {framesets}: {link:?}");
        }
    }
}
