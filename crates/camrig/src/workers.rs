//! Worker processes from the supervisor's side: start, commands, monitoring, termination.
//!
//! This module has no knowledge of actors: it forwards a worker's messages, and reports its end once.

use std::io::{Error, ErrorKind};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{self, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use camrig_ipc::handshake::Handshake;
use camrig_ipc::{Receiver, Scheduling, Sender, channel, name_process_limit, spawn_thread};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use procfs::process::Process;
use rustix::io::retry_on_intr;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::control::{ActorEvent, Setup, WorkerCommand};
use crate::ids::ProcessId;
use crate::topology::ProcessCommand;

/// A message of a worker, or its end.
pub(crate) enum WorkerEvent {
    /// The worker is connected, and takes these commands.
    Connected(Sender<WorkerCommand>),
    /// An event of one of its actors.
    Actor(ActorEvent),
    /// It has closed its channels: it ends, or has ended.
    Closed,
    /// The worker ended for this reason; always the last event.
    Exited(String),
}

/// A process that was not reaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreaped {
    /// Whether it has ended, so that it holds no device and no memory.
    pub(crate) has_ended: bool,
    /// The reason why it was not reaped.
    pub(crate) reason: String,
}

impl Unreaped {
    /// Inspects the process with this ID.
    fn of(pid: u32) -> Self {
        let process = i32::try_from(pid).ok().and_then(|pid| Process::new(pid).ok());
        let Some(status) = process.as_ref().and_then(|process| process.status().ok()) else {
            return Self { has_ended: true, reason: "it is gone".to_owned() };
        };
        // The first thread is a zombie as long as others run.
        let has_ended = status.state.starts_with('Z') && status.threads <= 1;
        let mut threads = process.iter().filter_map(|process| process.tasks().ok()).flatten().flatten();
        let reason = if status.tracerpid != 0 {
            traced_by(status.tracerpid)
        } else if threads.any(|thread| thread.stat().is_ok_and(|stat| stat.state == 'D')) {
            "it is in uninterruptible sleep in the kernel".to_owned()
        } else {
            "the kernel gives no reason".to_owned()
        };
        Self { has_ended, reason }
    }
}

/// Names the process of a tracing thread.
fn traced_by(thread: i32) -> String {
    let process = Process::new(thread).and_then(|thread| Process::new(thread.status()?.tgid));
    match process.and_then(|process| process.stat()) {
        Ok(stat) => format!("process {} (`{}`) traces it", stat.pid, stat.comm),
        Err(_) => format!("process {thread} traces it"),
    }
}

/// A process started by the supervisor.
pub(crate) struct Worker {
    child: Arc<Mutex<Child>>,
    pid: u32,
    commands: Option<SyncSender<WorkerCommand>>,
    /// The reason why this process killed it, if that was no decision of the supervisor.
    fault: Arc<OnceLock<String>>,
    /// Closes when nothing is left to be removed after the process.
    cleared: mpsc::Receiver<()>,
}

/// Maximum wait for the thread that reaps a killed process and removes its folder. It takes longer only where a process
/// cannot be reaped.
const CLEARING: Duration = Duration::from_secs(1);

/// Maximum number of pending commands of a worker in addition to the first ones: the channel to it buffers some hundred
/// more. Each may contain a file descriptor.
const COMMANDS_MAX: usize = 64;

impl Worker {
    /// Starts a worker called `process`, by `program` or else by this executable; its messages are sent to `events`,
    /// with its process ID. The kernel runs its threads by `scheduling`.
    ///
    /// # Errors
    /// If the process cannot be created, or the kernel refuses the scheduling.
    pub(crate) fn start<E: From<(ProcessId, u32, WorkerEvent)> + Send + 'static>(
        id: ProcessId,
        process: &str,
        program: Option<&ProcessCommand>,
        scheduling: Option<&Scheduling>,
        events: SyncSender<E>,
    ) -> std::io::Result<Self> {
        let (commands, received) = channel()?;
        let (reports, reported) = channel()?;
        let setup = Setup { process: process.to_owned(), commands: received, events: reports };
        let mut command = command(process, program);
        let handshake = Handshake::prepare(&mut command)?;
        let folder = handshake.folder();
        let mut child = spawn_masked(&mut command).map_err(|error| unspawned(program, error))?;
        // It has one thread yet, or a few, which all later ones inherit from.
        if let Some(Err(refusal)) = scheduling.map(|scheduling| scheduling.apply(child.id())) {
            end(&mut child);
            return Err(Error::other(refusal.to_string()));
        }
        drop(command);
        let pid = child.id();
        let child = Arc::new(Mutex::new(child));
        let (watched, process) = (Arc::clone(&child), process.to_owned());
        let fault = Arc::new(OnceLock::new());
        let known_fault = Arc::clone(&fault);
        let (clearing, cleared) = sync_channel(0);
        let watching = spawn_thread(&process.clone(), move || {
            let _clearing: SyncSender<()> = clearing;
            // If `report` fails, there is no receiver: the supervisor is ending.
            let report = |event| events.send(E::from((id, pid, event))).is_ok();
            // A worker that has closed its channels may have work to do until it ends, for which it has some time.
            let connected = handshake.connect(setup).inspect(|_| {
                let _ = report(WorkerEvent::Connected(commands)) && listen(&reported, report);
            });
            if connected.is_err() {
                drop(lock(&watched).kill());
            }
            report(WorkerEvent::Closed);
            wait_for_end(pid);
            let status = lock(&watched).wait();
            drop(folder);
            report(WorkerEvent::Exited(match connected.err() {
                // Otherwise its exit status shows how it ended.
                Some(error) if error.kind() != ErrorKind::UnexpectedEof => {
                    format!("cannot be connected: {error}")
                }
                _ => known_fault.get().cloned().unwrap_or_else(|| describe(status)),
            }));
        });
        // Nothing else would end it, and as a zombie it counts towards the limit that prevents the thread.
        watching.inspect_err(|_| end(&mut lock(&child)))?;
        Ok(Self { child, pid, commands: None, fault, cleared })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Sets the worker's command channel and sends the first commands. Sending a command never blocks, even if the worker is
    /// stopped, because a separate thread sends it.
    ///
    /// # Errors
    /// If a thread cannot be created.
    pub(crate) fn begin(
        &mut self,
        commands: Sender<WorkerCommand>,
        first: Vec<WorkerCommand>,
    ) -> std::io::Result<()> {
        let (sender, given) = sync_channel(first.len() + COMMANDS_MAX);
        let (child, fault) = (Arc::clone(&self.child), Arc::clone(&self.fault));
        spawn_thread("commands", move || {
            while let Ok(command) = given.recv() {
                if let Err(error) = commands.send(command) {
                    // It has ended, or would miss a command: its end is reported as a separate
                    // event.
                    if let Some(reason) = unsent(&error) {
                        // The first reason is the one that counts.
                        let _ = fault.set(reason);
                    }
                    return drop(lock(&child).kill());
                }
            }
        })?;
        self.commands = Some(sender);
        for command in first {
            self.send(command);
        }
        Ok(())
    }

    /// Returns whether it takes commands: it has begun.
    pub(crate) fn has_begun(&self) -> bool {
        self.commands.is_some()
    }

    /// Sends a command. A worker that has ended receives none, and one whose queue is full is killed: its end is
    /// reported as a separate event.
    pub(crate) fn send(&self, command: WorkerCommand) {
        if let Some(commands) = &self.commands
            && commands.try_send(command).is_err()
        {
            self.kill();
        }
    }

    /// Returns the signal that has stopped it, while it is stopped.
    pub(crate) fn stopped_by(&self) -> Option<String> {
        let pid = WaitId::Pid(Pid::from_raw(self.pid as i32)?);
        // Only a query: its end can still be waited for.
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // An error means that it has ended.
        let signal = waitid(pid, options).ok().flatten()?.stopping_signal()?;
        Some(format!("{signal}{}", signal_name(signal)))
    }

    /// Returns whether it has ended; it may not have been reaped.
    pub(crate) fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let pid = Pid::from_raw(self.pid as i32).map(WaitId::Pid);
        // An error means that it was reaped.
        pid.is_none_or(|pid| !matches!(waitid(pid, options), Ok(None)))
    }

    /// Returns why it cannot be reaped, if it has ended or was killed.
    pub(crate) fn unreaped(&self) -> Unreaped {
        Unreaped::of(self.pid)
    }

    /// Kills the process.
    pub(crate) fn kill(&self) {
        // Only fails if it has already ended.
        let _ = lock(&self.child).kill();
    }
}

/// Ensures that a supervisor leaves no worker behind, and no folder of one, however it ends.
impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
        let _ = self.cleared.recv_timeout(CLEARING);
    }
}

/// Returns the command of a worker called `process`.
fn command(process: &str, program: Option<&ProcessCommand>) -> Command {
    if let Some(ProcessCommand { program, arguments, .. }) = program {
        let mut command = Command::new(program);
        command.args(arguments);
        return command;
    }
    let mut command = Command::new("/proc/self/exe");
    // The running executable, even if its file was replaced; name and arguments are for `ps`.
    command.arg0(std::env::args_os().next().unwrap_or_default()).args(["worker", process]);
    command
}

/// Waits until a child process can be reaped, without the lock that a kill takes: while it is traced, or in
/// uninterruptible sleep, that can be never.
fn wait_for_end(pid: u32) {
    let Some(pid) = Pid::from_raw(pid as i32) else { return };
    // An error means that it cannot be waited for, which reaping it reports.
    let _ = retry_on_intr(|| waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT));
}

/// Starts a process that does not receive SIGXFSZ (see [`threads`](crate::threads)), nor the signals which end a rig, since
/// it inherits the signal mask: Ctrl-C in a terminal, and the signal of `timeout`, reach the whole process group, but the
/// supervisor alone stops a rig in order. The worker stays in the group, so that Ctrl-Z stops it and `fg` continues it with
/// its supervisor.
fn spawn_masked(command: &mut Command) -> std::io::Result<Child> {
    let masked: SigSet =
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGXFSZ].into_iter().collect();
    let before = masked.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let child = command.spawn();
    let restored = before.thread_set_mask();
    child.and_then(|mut child| {
        restored.inspect_err(|_| end(&mut child))?;
        Ok(child)
    })
}

/// Kills and reaps a process that no thread watches.
fn end(child: &mut Child) {
    // An error means that it has ended already.
    let _ = (child.kill(), child.wait());
}

/// Names the program, unless it is this executable.
fn unspawned(program: Option<&ProcessCommand>, error: Error) -> Error {
    let error = name_process_limit(error);
    match program {
        Some(ProcessCommand { program, .. }) => {
            Error::new(error.kind(), format!("program `{program}`: {error}"))
        }
        None => error,
    }
}

/// Returns why a command could not be sent, unless the worker has ended, which has its own reason.
fn unsent(error: &Error) -> Option<String> {
    let has_ended = matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset);
    (!has_ended).then(|| format!("cannot be sent its commands: {error}"))
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forwards the worker's messages until it has ended or there is no receiver.
fn listen(events: &Receiver<ActorEvent>, report: impl Fn(WorkerEvent) -> bool) -> bool {
    while let Ok(event) = events.receive() {
        if !report(WorkerEvent::Actor(event)) {
            return false;
        }
    }
    true
}

/// Returns ` (SIGKILL)` for 9; empty for a signal without a name, such as a real-time signal.
fn signal_name(signal: i32) -> String {
    Signal::try_from(signal).map(|signal| format!(" ({signal})")).unwrap_or_default()
}

/// Describes how a process ended.
fn describe(status: std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => format!("was killed by signal {signal}{}", signal_name(signal)),
            (None, Some(code)) => format!("exited with code {code}"),
            (None, None) => status.to_string(),
        },
        Err(error) => format!("cannot be waited for: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::Receiver;

    use super::*;

    const PROCESS: ProcessId = ProcessId(1);

    /// A longer wait for an event fails the test.
    const WATCHDOG: Duration = Duration::from_secs(60);

    type Event = (ProcessId, u32, WorkerEvent);

    fn shell(script: &str) -> ProcessCommand {
        ProcessCommand::new("/bin/sh", &["-c", script])
    }

    fn start(program: &ProcessCommand) -> (std::io::Result<Worker>, Receiver<Event>) {
        let (sender, events) = sync_channel(8);
        (Worker::start(PROCESS, "eye", Some(program), None, sender), events)
    }

    /// Returns the events of a process to its end; those of a worker that never connects are only about its end.
    fn end(events: &Receiver<Event>) -> String {
        loop {
            match events.recv_timeout(WATCHDOG).unwrap() {
                (PROCESS, _, WorkerEvent::Closed) => {}
                (PROCESS, _, WorkerEvent::Exited(how)) => return how,
                _ => panic!("an event of a worker that has not connected"),
            }
        }
    }

    #[test]
    fn the_end_of_a_process_has_its_reason() {
        let of_status = |raw| describe(Ok(ExitStatus::from_raw(raw)));
        assert_eq!(of_status(9), "was killed by signal 9 (SIGKILL)");
        assert_eq!(of_status(40), "was killed by signal 40");
        assert_eq!(of_status(3 << 8), "exited with code 3");
        let error = Error::new(ErrorKind::NotFound, "no child");
        assert_eq!(describe(Err(error)), "cannot be waited for: no child");
    }

    #[test]
    fn a_command_that_cannot_be_sent_is_a_reason_unless_its_worker_has_ended() {
        let reason = "cannot be sent its commands: Too many open files (os error 24)";
        assert_eq!(unsent(&rustix::io::Errno::MFILE.into()).as_deref(), Some(reason));
        assert_eq!(unsent(&ErrorKind::BrokenPipe.into()), None);
        assert_eq!(unsent(&ErrorKind::ConnectionReset.into()), None);
    }

    #[test]
    fn a_worker_is_this_program_unless_its_process_has_another() {
        let own = command("eye", None);
        assert_eq!(own.get_program(), "/proc/self/exe");
        assert_eq!(own.get_args().collect::<Vec<_>>(), ["worker", "eye"]);
        let other = command("eye", Some(&shell("true")));
        assert_eq!(other.get_program(), "/bin/sh");
        assert_eq!(other.get_args().collect::<Vec<_>>(), ["-c", "true"]);
    }

    #[test]
    fn a_program_that_ends_without_a_handshake_is_reported_by_its_end() {
        for (script, how) in
            [("exit 3", "exited with code 3"), ("kill -9 $$", "was killed by signal 9 (SIGKILL)")]
        {
            let (worker, events) = start(&shell(script));
            let worker = worker.unwrap();
            assert_eq!(end(&events), how);
            assert!(worker.has_ended());
            // A late command, without effect.
            worker.kill();
        }
    }

    #[test]
    fn a_dropped_worker_is_killed() {
        let (worker, events) = start(&shell("read -r line; exec sleep 60"));
        assert!(!worker.as_ref().unwrap().has_ended());
        drop(worker);
        assert!(end(&events).ends_with("was killed by signal 9 (SIGKILL)"));
    }

    #[test]
    fn a_program_that_does_not_exist_is_named() {
        let (worker, _) = start(&ProcessCommand::new("/nowhere/worker", &[]));
        let error = worker.map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), "program `/nowhere/worker`: No such file or directory (os error 2)");
    }
}
