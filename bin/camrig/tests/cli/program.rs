//! Runs the program in a folder of its own, under a watchdog, and checks that nothing is left of it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Maximum wait for a fact; a longer wait fails the test.
const WATCHDOG: Duration = Duration::from_secs(60);

/// Interval between two checks of a fact.
const LOOK: Duration = Duration::from_millis(2);

/// The arguments of `setpriv` before those of a program that the kernel kills when its parent, or the thread that started
/// it, has ended.
pub(crate) const ENDS_WITH_PARENT: [&str; 2] = ["--pdeathsig", "KILL"];

/// A small camera with a recorder that drops nothing.
pub(crate) const RECORDED: &str = r#"
[camera.front]
driver = "synthetic"
options = { depth = "64x48@300", color = "64x48@300", model = "any" }

[processor.recorder]
kind = "record"
inputs = ["front"]
overflow = "block"
options = { file = "rig.mcap" }
"#;

/// Waits until `fact` returns a value.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, fact: impl FnMut() -> Option<T>) -> T {
    wait_for_or(what, fact, String::new)
}

/// As [`wait_for`]; a wait that is too long fails with `more`.
#[track_caller]
fn wait_for_or<T>(what: &str, mut fact: impl FnMut() -> Option<T>, more: impl Fn() -> String) -> T {
    let deadline = Instant::now() + WATCHDOG;
    loop {
        if let Some(found) = fact() {
            return found;
        }
        assert!(Instant::now() < deadline, "timed out waiting for: {what}{}", more());
        std::thread::sleep(LOOK);
    }
}

/// Returns a line for each thread of a process and of its children: its name, its state and where it waits.
fn threads(process: u32) -> String {
    let numbers = |folder: &str| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).collect::<Vec<_>>()
    };
    let parent = |id: &u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
    };
    let own = numbers("/proc").into_iter().filter(|id| *id == process || parent(id) == Some(process));
    let thread = |id: u32, thread: u32| {
        let read =
            |name: &str| fs::read_to_string(format!("/proc/{id}/task/{thread}/{name}")).unwrap_or_default();
        let status = read("status");
        let state = status.lines().find_map(|line| line.strip_prefix("State:\t")).unwrap_or_default();
        let (name, place, stack) = (read("comm"), read("wchan"), read("stack"));
        format!(
            "\n{id}/{thread} {}: {state}, in {place} {:?}",
            name.trim(),
            stack.lines().collect::<Vec<_>>()
        )
    };
    let lines =
        own.flat_map(|id| numbers(&format!("/proc/{id}/task")).into_iter().map(move |it| thread(id, it)));
    lines.collect()
}

/// One run of the program and its expected outcome: by default no output and exit code 0.
pub(crate) struct Test {
    folder: TempDir,
    args: Vec<String>,
    stdout: String,
    stderr: String,
    status: i32,
}

impl Test {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Self { folder, args: Vec::new(), stdout: String::new(), stderr: String::new(), status: 0 }
    }

    /// Returns the folder in which the program runs; it is removed after the test.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Writes `t.toml`.
    pub(crate) fn topology(self, text: impl AsRef<[u8]>) -> Self {
        fs::write(self.folder().join("t.toml"), text).unwrap();
        self
    }

    pub(crate) fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args = args.into_iter().map(str::to_owned).collect();
        self
    }

    /// Sets the arguments of another run in the same folder.
    pub(crate) fn set_args(&mut self, args: &[&str]) {
        self.args = args.iter().map(|&arg| arg.to_owned()).collect();
    }

    pub(crate) fn stdout(mut self, stdout: &str) -> Self {
        self.stdout = without_margin(stdout);
        self
    }

    pub(crate) fn stderr(mut self, stderr: &str) -> Self {
        self.stderr = without_margin(stderr);
        self
    }

    pub(crate) fn status(mut self, status: i32) -> Self {
        self.status = status;
        self
    }

    /// Runs the program and compares its output and exit code.
    #[track_caller]
    pub(crate) fn run(&self) {
        let (stdout, stderr, status) = self.output();
        let command = format!("camrig {}", self.args.join(" "));
        assert_eq!(stderr, self.stderr, "stderr of {command}:\n{stderr}");
        assert_eq!(stdout, self.stdout, "stdout of {command}:\n{stdout}");
        assert_eq!(status, Some(self.status), "status of {command}");
    }

    /// Runs the program and returns its stdout, stderr and exit code; stderr [without its last line](without_ending).
    #[track_caller]
    pub(crate) fn output(&self) -> (String, String, Option<i32>) {
        let (stdout, stderr, status) = self.output_of("exec \"$@\"");
        (stdout, without_ending(&stderr), status)
    }

    /// Starts the program with these streams.
    pub(crate) fn start(&self, stdout: impl Into<Stdio>, stderr: impl Into<Stdio>) -> Running {
        // A test runner below `nohup` would have it ignore SIGHUP.
        let child = Command::new("setpriv")
            .args(ENDS_WITH_PARENT)
            .args(["env", "--default-signal=HUP", env!("CARGO_BIN_EXE_camrig")])
            .args(&self.args)
            .current_dir(self.folder())
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .unwrap();
        Running(child)
    }

    /// Runs the program through a shell command, in which `"$@"` is the program.
    #[track_caller]
    pub(crate) fn output_of(&self, line: &str) -> (String, String, Option<i32>) {
        self.output_with(line, &self.args)
    }

    /// Runs the program with other arguments.
    #[track_caller]
    pub(crate) fn output_of_args(&self, args: &[&str]) -> (String, String, Option<i32>) {
        let args: Vec<_> = args.iter().map(|&arg| arg.to_owned()).collect();
        self.output_with("exec \"$@\"", &args)
    }

    #[track_caller]
    fn output_with(&self, line: &str, args: &[String]) -> (String, String, Option<i32>) {
        // Every process of this run inherits the mark.
        let mark = format!("CAMRIG_TEST={}", self.folder().display());
        let (name, value) = mark.split_once('=').unwrap();
        let output = Command::new("setpriv")
            .args(ENDS_WITH_PARENT)
            .args(["timeout", "--kill-after=5", "60", "setpriv"])
            .args(ENDS_WITH_PARENT)
            .args(["sh", "-c", line, "sh", env!("CARGO_BIN_EXE_camrig")])
            .args(args)
            .current_dir(self.folder())
            .env_remove("RUST_LOG")
            .env(name, value)
            .output()
            .unwrap();
        assert_eq!(processes_with(&mark), [0_u32; 0], "processes left behind");
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(output.stdout), text(output.stderr), output.status.code())
    }
}

/// Removes the line about losses at the end of a run from stderr: its counts depend on the load of the machine.
pub(crate) fn without_ending(stderr: &str) -> String {
    stderr.split_inclusive('\n').filter(|line| !line.contains(": ended after ")).collect()
}

/// Returns the command of the program, of which nothing is left when a test is cut off.
pub(crate) fn program() -> Command {
    let mut command = Command::new("setpriv");
    command.args(ENDS_WITH_PARENT).arg(env!("CARGO_BIN_EXE_camrig"));
    command
}

/// A running program; it is killed when this is dropped.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Returns the process ID.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits for the end, and returns the exit code; `None` after a signal.
    #[track_caller]
    pub(crate) fn code(mut self) -> Option<i32> {
        let process = self.pid();
        wait_for_or("the end of the program", || self.0.try_wait().unwrap(), || threads(process)).code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Removes the line break after the opening quote.
fn without_margin(text: &str) -> String {
    text.strip_prefix('\n').unwrap_or(text).to_owned()
}

/// Returns the IDs of all processes that have `variable` in their environment.
pub(crate) fn processes_with(variable: &str) -> Vec<u32> {
    let id = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    // Processes may end while they are read.
    let has = |id: &u32| {
        let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
        environment.split(|&byte| byte == 0).any(|entry| entry == variable.as_bytes())
    };
    fs::read_dir("/proc").unwrap().flatten().filter_map(id).filter(has).collect()
}
