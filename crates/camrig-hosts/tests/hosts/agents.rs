//! Tests of agents and first hosts, over 127.0.0.1: real processes.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use camrig_hosts::session::{self, SessionOptions};
use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use zenoh::Wait;

use crate::cable::Cable;
use crate::crossing::free_address;
use crate::harness::MARK;
use crate::program::WITHOUT_STILL;
use crate::test;

/// Maximum time of a wait: its end is a failure.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(120);

/// Returns a command of which only the program and its arguments are missing: the kernel kills the program when this process,
/// or this thread, has ended.
pub(crate) fn ends_with_parent() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    command
}

/// Returns the command of the program under test, of which nothing is left when a test is cut off.
pub(crate) fn program() -> Command {
    let mut command = ends_with_parent();
    command.arg(std::env::current_exe().unwrap());
    command
}

/// A process under test, which ends with the test.
pub(crate) struct Program {
    pub(crate) child: Child,
    stderr: PathBuf,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    pub(crate) fn start(folder: &Path, name: &str, arguments: &[&str]) -> Self {
        Self::start_by(program(), folder, name, arguments)
    }

    /// Starts the program by a command to which only its arguments are missing.
    pub(crate) fn start_by(mut command: Command, folder: &Path, name: &str, arguments: &[&str]) -> Self {
        let stderr = folder.join(format!("{name}.stderr"));
        let child = command
            .args(arguments)
            .env(MARK, "hosts")
            .env("CAMRIG_IDENTITY", folder.join("first.pem"))
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        Self { child, stderr }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stderr(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap()
    }

    /// Waits until stderr has this text.
    pub(crate) fn wait_for_stderr(&self, text: &str) {
        wait(&format!("`{text}`"), || self.stderr().contains(text), || self.stderr());
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id() as i32).unwrap(), signal).unwrap();
    }

    /// Returns the lines of stdout from here on, as they come; [`Self::finish`] then returns none.
    pub(crate) fn lines(&mut self) -> Arc<Mutex<Vec<String>>> {
        let pipe = BufReader::new(self.child.stdout.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let read = Arc::clone(&lines);
        std::thread::spawn(move || {
            pipe.lines().map_while(Result::ok).for_each(|line| read.lock().unwrap().push(line));
        });
        lines
    }

    /// Waits for the end; returns the exit code and stdout.
    pub(crate) fn finish(&mut self) -> (Option<i32>, String) {
        let mut code = None;
        let ended = || {
            code = self.child.try_wait().unwrap().map(|status| status.code());
            code.is_some()
        };
        let path = self.stderr.clone();
        wait("the end", ended, || std::fs::read_to_string(&path).unwrap());
        let mut stdout = String::new();
        if let Some(mut pipe) = self.child.stdout.take() {
            pipe.read_to_string(&mut stdout).unwrap();
        }
        (code.flatten(), stdout)
    }
}

/// Waits for a fact.
pub(crate) fn wait(what: &str, mut fact: impl FnMut() -> bool, context: impl Fn() -> String) {
    let until = Instant::now() + WATCHDOG;
    while !fact() {
        assert!(Instant::now() < until, "{what} did not come: {}", context());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts an agent, and waits until it listens or is connected to its router.
pub(crate) fn agent(folder: &Path, name: &str, arguments: &[&str]) -> Program {
    agent_by(program(), folder, name, arguments)
}

/// As [`agent`], by a command to which only the arguments are missing.
pub(crate) fn agent_by(command: Command, folder: &Path, name: &str, arguments: &[&str]) -> Program {
    let mut words = vec!["join"];
    words.extend(arguments);
    let mut agent = Program::start_by(command, folder, name, &words);
    let mut line = String::new();
    let stdout = agent.child.stdout.take().unwrap();
    let mut stdout = BufReader::new(stdout);
    stdout.read_line(&mut line).unwrap();
    assert!(
        line.starts_with("agent: listens at ") || line.starts_with("agent: connected as "),
        "{line}{}",
        agent.stderr()
    );
    agent.child.stdout = Some(stdout.into_inner());
    agent
}

/// Writes a topology in which a camera and its reader are on host `arm`.
pub(crate) fn topology(folder: &Path, host: &str) -> String {
    let path = folder.join("rig.toml");
    let text = format!(
        r#"
        [host.arm]
        {host}

        [camera.here]
        driver  = "synthetic"
        options = {{ model = "any", depth = "32x24@30" }}

        [processor.own]
        kind    = "verify"
        inputs  = ["here"]

        [camera.there]
        driver  = "synthetic"
        host    = "arm"
        options = {{ model = "any", depth = "32x24@30" }}

        [processor.far]
        kind    = "verify"
        host    = "arm"
        inputs  = ["there"]
        "#
    );
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

pub(crate) fn report(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("report.json")).unwrap()).unwrap()
}

/// The most framesets that are on their way between two hosts.
pub(crate) const WINDOW: u64 = 8;

/// The account of a crossing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crossing {
    /// Delivered to the sender.
    pub(crate) delivered: u64,
    /// Published by the receiver.
    pub(crate) published: u64,
    pub(crate) lost: u64,
}

impl Crossing {
    /// Reads the account of a crossing in a report or a status: both names are those of its rows.
    pub(crate) fn of(report: &Value, sender: &str, receiver: &str) -> Self {
        let to = format!("{sender}-to-{}", receiver.split_once('/').map_or("main", |(host, _)| host));
        let links = report["links"].as_array().unwrap().iter();
        let delivered = links.filter(|link| link["to"] == to).map(|link| link["delivered"].as_u64().unwrap());
        let actor = report["actors"].as_array().unwrap().iter().find(|actor| actor["name"] == receiver);
        let count = |key: &str| actor.and_then(|actor| actor[key].as_u64()).unwrap_or(0);
        Self { delivered: delivered.sum(), published: count("produced"), lost: count("lost") }
    }

    /// Returns the number of framesets that were delivered to the sender and that the receiver has not accounted for.
    pub(crate) fn in_flight(&self) -> u64 {
        let known = self.published + self.lost;
        self.delivered.checked_sub(known).unwrap_or_else(|| panic!("more arrived than was sent: {self:?}"))
    }
}

/// Returns the names of the actors of a report, each with its produced framesets.
pub(crate) fn produced(report: &Value) -> Vec<(String, u64)> {
    let actor =
        |actor: &Value| (actor["name"].as_str().unwrap().to_owned(), actor["produced"].as_u64().unwrap());
    report["actors"].as_array().unwrap().iter().map(actor).collect()
}

/// A rig whose actors are on two hosts runs to its end, and its report has the rows of both.
pub(crate) fn whole_run(host: &str, agent: &Program, folder: &Path) {
    let (rig, report_file) = (topology(folder, host), folder.join("report.json").display().to_string());
    let mut check = Program::start(folder, "check", &["check", &rig]);
    let (code, stdout) = check.finish();
    assert_eq!(code, Some(0), "{}", check.stderr());
    assert!(stdout.contains("\nhost arm: OK ("), "{stdout}");
    let mut run =
        Program::start(folder, "run", &["run", &rig, "--framesets", "30", "--report", &report_file]);
    let (code, _) = run.finish();
    assert_eq!(code, Some(0), "{} agent: {}", run.stderr(), agent.stderr());
    let report = report(folder);
    let cameras: Vec<_> = produced(&report).into_iter().filter(|(_, produced)| *produced > 0).collect();
    assert_eq!(cameras, [("here".to_owned(), 30), ("arm/there".to_owned(), 30)]);
    let far = report["links"].as_array().unwrap().iter().find(|link| link["to"] == "arm/far").unwrap();
    let dropped: u64 = far["dropped"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(far["delivered"].as_u64().unwrap() + dropped + far["in_flight"].as_u64().unwrap(), 30);
    assert_eq!(report["problems"].as_array().map(Vec::len), Some(0), "{report:#}");
}

fn plain() {
    let folder = tempfile::tempdir().unwrap();
    let listen = format!("tcp/{}", free_address());
    let mut agent = agent(folder.path(), "agent", &["--listen", &listen]);
    let host = format!("address = \"{listen}\"");
    whole_run(&host, &agent, folder.path());
    // The same agent takes the next rig.
    whole_run(&host, &agent, folder.path());
    agent.signal(Signal::TERM);
    assert_eq!(agent.finish().0, Some(0));
}

/// However a rig ends, each frameset sent to another host has arrived: the sender stops first, and the reader after it.
fn ends_in_order(to_first: bool) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let listen = format!("tcp/{}", free_address());
    let agent = agent(folder, "agent", &["--listen", &listen]);
    let path = folder.join("rig.toml").display().to_string();
    let on_arm = "host = \"arm\"";
    let (sender, reader) = if to_first { (on_arm, "") } else { ("", on_arm) };
    let (sending, receiving) = if to_first { ("arm/camera", "camera") } else { ("camera", "arm/camera") };
    let text = format!(
        r#"
        [host.arm]
        address = "{listen}"

        [camera.camera]
        driver  = "synthetic"
        {sender}
        options = {{ model = "any", depth = "32x24@30" }}

        [processor.reader]
        kind   = "verify"
        {reader}
        inputs = ["camera"]
        wire   = {{ depth = "delta", color = "zstd" }}
        "#
    );
    std::fs::write(&path, text).unwrap();
    let report_file = folder.join("report.json").display().to_string();
    for limit in [["--for", "2s"], ["--framesets", "30"]] {
        let arguments = ["run", &path, limit[0], limit[1], "--report", &report_file];
        let mut run = Program::start(folder, "run", &arguments);
        assert_eq!(run.finish().0, Some(0), "{} agent: {}", run.stderr(), agent.stderr());
        assert!(!run.stderr().contains("has not acknowledged"), "{limit:?}: {}", run.stderr());
        let report = report(folder);
        let link = report["links"].as_array().unwrap().iter().find(|link| link["from"] == sending).unwrap();
        let camera =
            report["actors"].as_array().unwrap().iter().find(|actor| actor["name"] == receiving).unwrap();
        let sent = link["delivered"].as_u64().unwrap();
        assert!(sent > 0, "{report:#}");
        assert_eq!(camera["produced"].as_u64(), Some(sent), "{limit:?}: {report:#}");
    }
}

/// Returns the row of an actor in the status of a rig; `None` while it has none.
fn status_of(run: &Program, actor: &str) -> Option<Value> {
    let output =
        program().args(["top", &run.id().to_string(), "--once", "--json"]).env(MARK, "hosts").output();
    let status: Value = serde_json::from_slice(&output.unwrap().stdout).ok()?;
    status["actors"].as_array()?.iter().find(|row| row["name"] == actor).cloned()
}

/// The cameras of a host start when their reader on another host takes framesets, however late that is: none is lost.
fn slow_start(to_first: bool) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let listen = format!("tcp/{}", free_address());
    let agent = agent(folder, "agent", &["--listen", &listen]);
    let [path, report_file, go] = ["rig.toml", "report.json", "go"].map(|name| folder.join(name));
    let on_arm = "host    = \"arm\"";
    let (sender, reader) = if to_first { (on_arm, "") } else { ("", on_arm) };
    let text = format!(
        r#"
        [host.arm]
        address = "{listen}"

        [camera.camera]
        driver  = "synthetic"
        {sender}
        options = {{ model = "any", color = "off", depth = "32x24@30" }}

        [processor.reader]
        kind    = "late"
        {reader}
        inputs  = ["camera"]
        queue   = 16
        options = {{ file = "{}" }}
        "#,
        go.display()
    );
    std::fs::write(&path, text).unwrap();
    let [path, report_file] = [path, report_file].map(|file| file.display().to_string());
    let mut run =
        Program::start(folder, "run", &["run", &path, "--framesets", "60", "--report", &report_file]);
    // Either it still waits after many looks, or more framesets flow than the queue and the window have space for.
    let mut waits = 0;
    let is_known = || {
        let row = status_of(&run, if to_first { "arm/camera" } else { "camera" }).unwrap_or_default();
        waits += u32::from(row["state"] == "ready");
        waits >= 20 || row["produced"].as_u64().is_some_and(|produced| produced >= 40)
    };
    wait("the camera", is_known, || run.stderr() + &agent.stderr());
    std::fs::write(go, "").unwrap();
    assert_eq!(run.finish().0, Some(0), "{} agent: {}", run.stderr(), agent.stderr());
    let report = report(folder);
    for link in report["links"].as_array().unwrap() {
        assert_eq!(link["delivered"].as_u64(), Some(60), "{link:#}");
    }
}

/// Makes an identity; returns its fingerprint.
pub(crate) fn identity(folder: &Path, name: &str) -> String {
    let file = folder.join(name).display().to_string();
    let mut made = Program::start(folder, "identity", &["join", "--new-identity", "--identity", &file]);
    let (code, stdout) = made.finish();
    assert_eq!(code, Some(0), "{}", made.stderr());
    stdout.trim().to_owned()
}

fn pinned() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (first, arm, other) =
        (identity(folder, "first.pem"), identity(folder, "arm.pem"), identity(folder, "other.pem"));
    let address = free_address();
    let listen = format!("tls/{address}");
    let file = folder.join("arm.pem").display().to_string();
    let agent = agent(folder, "agent", &["--listen", &listen, "--identity", &file, "--peer", &first]);
    // Garbage on the port has no effect.
    for garbage in [&b"\x16\x03\x01\xff\xff"[..], b"GET / HTTP/1.1\r\n\r\n", &[0; 4096]] {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        let _ = stream.write_all(garbage);
    }
    whole_run(&format!("address = \"{listen}\"\nfingerprint = \"{arm}\""), &agent, folder);
    // Another agent than the pinned one is refused.
    let rig = topology(folder, &format!("address = \"{listen}\"\nfingerprint = \"{other}\""));
    let mut refused = Program::start(folder, "refused", &["check", &rig]);
    assert_eq!(refused.finish().0, Some(69));
    let said = format!(
        "error: host `arm`: the program at `{listen}` is not an agent with fingerprint `{other}` that \
         takes commands from this host"
    );
    assert!(refused.stderr().contains(&said), "{}", refused.stderr());
    // A first host that the agent has not pinned is refused.
    std::fs::copy(folder.join("other.pem"), folder.join("first.pem")).unwrap();
    let rig = topology(folder, &format!("address = \"{listen}\"\nfingerprint = \"{arm}\""));
    let mut unknown = Program::start(folder, "unknown", &["check", &rig]);
    assert_eq!(unknown.finish().0, Some(69));
    assert!(
        unknown.stderr().contains(&format!("`camrig join --peer {other}` starts one")),
        "{}",
        unknown.stderr()
    );
}

fn agent_killed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let listen = format!("tcp/{}", free_address());
    let mut first_agent = agent(folder, "agent", &["--listen", &listen]);
    let (rig, report_file) = (
        topology(folder, &format!("address = \"{listen}\"")),
        folder.join("report.json").display().to_string(),
    );
    let mut run = Program::start(folder, "run", &["run", &rig, "--report", &report_file]);
    // It starts its own part when the agents have started theirs.
    wait("the own part", || has_workers(&run), || run.stderr() + &first_agent.stderr());
    first_agent.child.kill().unwrap();
    first_agent.child.wait().unwrap();
    run.wait_for_stderr("host `arm` at");
    let agent = agent(folder, "again", &["--listen", &listen]);
    run.wait_for_stderr("host `arm`: its agent was restarted: its part starts again");
    wait("the part of the new agent", || has_workers(&agent), || run.stderr() + &agent.stderr());
    run.signal(Signal::INT);
    assert_eq!(run.finish().0, Some(0), "{}", run.stderr());
    assert!(produced(&report(folder)).iter().any(|(name, _)| name == "arm/there"));
    wait("the end of the part", || !has_workers(&agent), || agent.stderr());
}

/// Starts a rig, and waits until both of its parts run.
fn started(folder: &Path, agent: &Program, rig: &str) -> Program {
    let report_file = folder.join("report.json").display().to_string();
    let run = Program::start(folder, "run", &["run", rig, "--report", &report_file]);
    wait("both parts", || has_workers(&run) && has_workers(agent), || run.stderr() + &agent.stderr());
    run
}

/// A host that does not answer for a moment at the end of a rig ends all the same: the request is sent again.
fn end_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let address = free_address();
    let agent = agent(folder, "agent", &["--listen", &format!("tcp/{address}")]);
    let cable = Cable::to(&address);
    let mut run = started(folder, &agent, &topology(folder, &format!("address = \"tcp/{}\"", cable.address)));
    cable.disconnect();
    run.wait_for_stderr("does not answer");
    run.signal(Signal::INT);
    run.wait_for_stderr("it is asked again to stop");
    cable.connect();
    assert_eq!(run.finish().0, Some(0), "{} agent: {}", run.stderr(), agent.stderr());
    assert!(run.stderr().contains("host `arm` has taken the request to stop"), "{}", run.stderr());
    let report = report(folder);
    assert_eq!(report["problems"].as_array().map(Vec::len), Some(0), "{report:#}");
    assert!(produced(&report).iter().any(|(name, _)| name == "arm/there"), "{report:#}");
}

/// While an agent looks for the devices of one part, it answers about another one.
fn a_part_that_starts() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let listen = format!("tcp/{}", free_address());
    let agent = agent(folder, "agent", &["--listen", &listen]);
    let rig = topology(folder, &format!("address = \"{listen}\""));
    let mut run = started(folder, &agent, &rig);
    let [path, asked, go] = ["probed.toml", "asked", "go"].map(|name| folder.join(name));
    let text = std::fs::read_to_string(&rig).unwrap().replace(
        "kind    = \"verify\"\n        host    = \"arm\"",
        &format!(
            "kind    = \"probed\"\n        options = {{ asked = \"{}\", go = \"{}\" }}\n        host    = \"arm\"",
            asked.display(),
            go.display()
        ),
    );
    std::fs::write(&path, text).unwrap();
    let mut starts = Program::start(folder, "starts", &["run", &path.display().to_string()]);
    let context = || starts.stderr() + &agent.stderr();
    let is_asked = |times: u64| std::fs::metadata(&asked).is_ok_and(|asked| asked.len() == times);
    wait("its check", || is_asked(1), context);
    std::fs::write(&go, "").unwrap();
    wait("its start", || is_asked(2), context);
    run.signal(Signal::INT);
    assert_eq!(run.finish().0, Some(0), "{} agent: {}", run.stderr(), agent.stderr());
    assert!(!run.stderr().contains("does not answer"), "{}", run.stderr());
    std::fs::write(&go, "").unwrap();
    wait("the other rig", || has_workers(&starts), || starts.stderr() + &agent.stderr());
    starts.signal(Signal::INT);
    assert_eq!(starts.finish().0, Some(0), "{} agent: {}", starts.stderr(), agent.stderr());
}

/// Readers that stand still without ending do not affect another one of the same host, though Zenoh closes their connections.
fn stopped_readers() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let listen = format!("tcp/{}", free_address());
    let agent = agent(folder, "agent", &["--listen", &listen]);
    let cameras = ["left", "middle", "right"];
    let table = |camera: &str| {
        format!(
            "[camera.{camera}]\ndriver = \"synthetic\"\nhost = \"arm\"\nslots = 32\n\
             options = {{ model = \"any\", depth = \"848x480@5\", color = \"848x480@5\" }}\n"
        )
    };
    let text = format!(
        "[host.arm]\naddress = \"{listen}\"\n{}[processor.reader]\nkind = \"stats\"\ninputs = {cameras:?}\nqueue = 16\n\
         wire = {{ depth = \"raw\", color = \"raw\" }}\n",
        cameras.map(table).concat()
    );
    let path = folder.join("rig.toml").display().to_string();
    std::fs::write(&path, text).unwrap();
    let report_file = folder.join("report.json").display().to_string();
    let mut run = Program::start(folder, "run", &["run", &path, "--report", &report_file]);
    let context = || run.stderr() + &agent.stderr();
    let arrived =
        |camera: &str| status_of(&run, camera).and_then(|row| row["produced"].as_u64()).unwrap_or(0);
    for camera in cameras {
        wait("framesets", || arrived(camera) >= 5, context);
    }
    let is_of = |pid: i32, camera: &str| {
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split('\0').any(|word| word == camera)
    };
    let workers = children(&run).into_iter();
    let stopped: Vec<_> =
        workers.filter(|&pid| cameras[..2].iter().any(|camera| is_of(pid, camera))).collect();
    assert_eq!(stopped.len(), 2, "{}", context());
    let signal = |signal| {
        for pid in &stopped {
            kill_process(Pid::from_raw(*pid).unwrap(), signal).unwrap();
        }
    };
    signal(Signal::STOP);
    // Zenoh closes both connections in the meantime.
    let before = arrived("right");
    wait("framesets of the other reader", || arrived("right") >= before + 60, context);
    signal(Signal::CONT);
    run.signal(Signal::INT);
    assert_eq!(run.finish().0, Some(0), "{} agent: {}", run.stderr(), agent.stderr());
    let report = report(folder);
    let link = report["links"].as_array().unwrap().iter().find(|link| link["from"] == "arm/right").unwrap();
    let dropped: u64 = link["dropped"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
    assert_eq!(dropped, 0, "{link:#} {}", run.stderr());
}

/// Parts that have ended take no place, though their first hosts may still ask for their reports.
fn ended_parts() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let listen = format!("tcp/{}", free_address());
    let agent = agent(folder, "agent", &["--listen", &listen]);
    let rig = topology(folder, &format!("address = \"{listen}\""));
    let run = |name: String| Program::start(folder, &name, &["run", &rig, "--framesets", "1"]);
    for round in 0..3 {
        let runs: Vec<_> = (0..4).map(|number| run(format!("run-{round}-{number}"))).collect();
        for mut run in runs {
            assert_eq!(run.finish().0, Some(0), "{} agent: {}", run.stderr(), agent.stderr());
        }
    }
}

fn first_host_killed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let listen = format!("tcp/{}", free_address());
    let agent = agent(folder, "agent", &["--listen", &listen, "--patience", "2"]);
    let rig = topology(folder, &format!("address = \"{listen}\""));
    let mut run = Program::start(folder, "run", &["run", &rig]);
    wait("the part of the agent", || has_workers(&agent), || run.stderr() + &agent.stderr());
    run.child.kill().unwrap();
    run.child.wait().unwrap();
    wait("the end of the part", || !has_workers(&agent), || agent.stderr());
    agent.wait_for_stderr("is gone: its part stops");
    // It is ready for the next rig.
    whole_run(&format!("address = \"{listen}\""), &agent, folder);
}

/// Returns the child processes of a program.
pub(crate) fn children(program: &Program) -> Vec<i32> {
    let tasks =
        std::fs::read_dir(format!("/proc/{}/task", program.child.id())).into_iter().flatten().flatten();
    let of_threads = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    of_threads
        .flat_map(|pids| pids.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

fn has_workers(program: &Program) -> bool {
    !children(program).is_empty()
}

fn nothing_listens() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let listen = format!("tcp/{}", free_address());
    let rig = topology(folder, &format!("address = \"{listen}\""));
    let mut check = Program::start(folder, "check", &["check", &rig]);
    assert_eq!(check.finish().0, Some(69));
    let expected =
        format!("error: host `arm`: nothing listens at `{listen}`; `camrig join` starts an agent there\n");
    assert_eq!(check.stderr(), expected);
}

/// An agent of another version is refused, with both versions named.
fn another_version() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let listen = format!("tcp/{}", free_address());
    let options = SessionOptions { listen: vec![listen.clone()], ..SessionOptions::default() };
    let session = session::open(&options).unwrap();
    let newer = br#"{"camrig_hosts":99,"program":"9.9.9","content":{"dance":{}}}"#;
    let answer = move |query: zenoh::query::Query| {
        query.reply(query.key_expr().clone(), newer.as_slice()).wait().unwrap();
    };
    let _queryable = session.declare_queryable("camrig/agent/ask").callback(answer).wait().unwrap();
    let rig = topology(folder, &format!("address = \"{listen}\""));
    let mut run = Program::start(folder, "run", &["run", &rig]);
    assert_eq!(run.finish().0, Some(69));
    let (said, own) = (run.stderr(), env!("CARGO_PKG_VERSION"));
    let both = "error: the agent of host `arm` is camrig 9.9.9 with protocol 99, and this is camrig ";
    assert!(said.starts_with(&format!("{both}{own} with protocol ")), "{said}");
}

/// Hosts with a camera each, read on the first one; then two rigs on four of these agents each, at the same time.
fn many_hosts(count: usize) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let agents: Vec<_> = (0..count)
        .map(|index| {
            let listen = format!("tcp/{}", free_address());
            let agent = agent(folder, &format!("agent{index}"), &["--listen", &listen]);
            (listen, agent)
        })
        .collect();
    let context = || agents.iter().map(|(_, agent)| agent.stderr()).collect::<String>();
    let rig = |name: &str, hosts: std::ops::Range<usize>| {
        let tables: Vec<String> = hosts
            .clone()
            .map(|index| {
                format!(
                    "[host.h{index}]\naddress = \"{}\"\n[camera.c{index}]\ndriver = 'synthetic'\nhost = 'h{index}'\n\
                     options = {{ model = 'any', depth = '32x24@30', color = 'off' }}\n",
                    agents[index].0
                )
            })
            .collect();
        let inputs: Vec<_> = hosts.map(|index| format!("c{index}")).collect();
        let text = format!(
            "{}[processor.all]\nkind = 'stats'\ninputs = {inputs:?}\noverflow = 'block'\nwire = {{ depth = 'raw' }}\n",
            tables.concat()
        );
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let finish = |mut run: Program, report_file: &str, hosts: std::ops::Range<usize>| {
        assert_eq!(run.finish().0, Some(0), "{}{}", run.stderr(), context());
        let report: Value = serde_json::from_slice(&std::fs::read(report_file).unwrap()).unwrap();
        assert_eq!(report["hosts"].as_array().map(Vec::len), Some(hosts.len()));
        for index in hosts {
            let (sender, receiver) = (format!("h{index}/c{index}"), format!("c{index}"));
            let crossing = Crossing::of(&report, &sender, &receiver);
            assert_eq!((crossing.delivered, crossing.published, crossing.lost), (60, 60, 0), "{report:#}");
            let clock = &report["hosts"][index % 4]["clock"];
            assert!(clock["uncertainty_us"].as_f64().is_some_and(|known| known > 0.0), "{report:#}");
        }
    };
    let file = |name: &str| folder.join(name).display().to_string();
    let start = |name: &str, path: &str, report: &str| {
        Program::start(folder, name, &["run", path, "--framesets", "60", "--report", report])
    };
    let all = start("all", &rig("all.toml", 0..count), &file("all.json"));
    finish(all, &file("all.json"), 0..count);
    // Each of these agents has a part of both.
    let (left, right) = (rig("left.toml", 0..4), rig("right.toml", 0..4));
    let runs = [start("left", &left, &file("left.json")), start("right", &right, &file("right.json"))];
    for (run, name) in runs.into_iter().zip(["left.json", "right.json"]) {
        finish(run, &file(name), 0..4);
    }
}

/// A file that is too large for the limit of a host is named on the first host.
fn full() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let listen = format!("tcp/{}", free_address());
    let mut limited = ends_with_parent();
    limited.args(["sh", "-c", "ulimit -f 16; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    let agent = agent_by(limited, folder, "agent", &["--listen", &listen]);
    let rig = topology(folder, &format!("address = \"{listen}\""));
    let text = std::fs::read_to_string(&rig).unwrap();
    // Beyond 8 kB.
    std::fs::write(&rig, text.replace("32x24@30", "160x120@30")).unwrap();
    let mut run = Program::start(folder, "run", &["run", &rig]);
    assert_eq!(run.finish().0, Some(70), "{}", run.stderr());
    let said = run.stderr();
    let line = said.lines().find(|line| line.contains("File too large")).unwrap_or_else(|| panic!("{said}"));
    assert!(line.starts_with("arm: ") && line.contains("`ulimit -f`"), "{line}");
    assert!(said.contains("host `arm`: its part has failed: the rig stops"), "{said}");
    drop(agent);
}

/// A disk that is full there is named on the first host.
fn full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let listen = format!("tcp/{}", free_address());
    let _agent = agent(folder, "agent", &["--listen", &listen]);
    // The first ones may be dropped.
    for sequence in 0..200 {
        let file = folder.join(format!("here-{sequence:06}-depth.png"));
        std::os::unix::fs::symlink("/dev/full", file).unwrap();
    }
    let path = folder.join("rig.toml").display().to_string();
    let text = format!(
        r#"
        [host.arm]
        address = "{listen}"

        [camera.here]
        driver  = "synthetic"
        options = {{ model = "any", depth = "32x24@30", color = "off" }}

        [processor.files]
        kind    = "snapshot"
        host    = "arm"
        inputs  = ["here"]
        restart = {{ max = 0 }}
        options = {{ folder = "{}", every = 1 }}
        "#,
        folder.display()
    );
    std::fs::write(&path, text).unwrap();
    let mut run = Program::start(folder, "run", &["run", &path]);
    assert_eq!(run.finish().0, Some(70), "{}", run.stderr());
    let said = run.stderr();
    let named =
        said.lines().any(|line| line.starts_with("arm: ") && line.contains("No space left on device"));
    assert!(named && said.contains("host `arm`: its part has failed: the rig stops"), "{said}");
}

fn refused_part() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let listen = format!("tcp/{}", free_address());
    let _agent = agent(folder, "agent", &["--listen", &listen]);
    let rig = topology(folder, &format!("address = \"{listen}\""));
    let text = std::fs::read_to_string(&rig).unwrap();
    let unknown = text.replace(
        "host    = \"arm\"\n        inputs",
        "host    = \"arm\"\n        options = { nothing = 1 }\n        inputs",
    );
    assert_ne!(unknown, text);
    std::fs::write(
        &rig,
        unknown
            .replace("kind    = \"verify\"\n        host", "kind    = \"of-another-program\"\n        host"),
    )
    .unwrap();
    let mut check = Program::start(folder, "check", &["check", &rig]);
    assert_eq!(check.finish().0, Some(69));
    let said = "host `arm`: error: processor `far` has unknown kind `of-another-program`";
    assert!(check.stderr().contains(said), "{}", check.stderr());
}

/// A driver that the first host lacks: what its agent knows of the framesets holds there too.
fn declared() {
    let folder = tempfile::tempdir().unwrap();
    let listen = format!("tcp/{}", free_address());
    let _agent = agent(folder.path(), "agent", &["--listen", &listen]);
    let path = folder.path().join("rig.toml").display().to_string();
    let camera = |name: &str| format!("[camera.{name}]\ndriver = \"still\"\nhost = \"arm\"\n");
    let text = format!(
        "[host.arm]\naddress = \"{listen}\"\n{}{}[processor.both]\nkind = \"pairs\"\n\
         inputs = [\"left\", \"right\"]\nmatch = {{ window_millis = 17, clock = \"CLOCK\" }}\n",
        camera("left"),
        camera("right"),
    );
    let checked = |clock: &str| {
        std::fs::write(&path, text.replace("CLOCK", clock)).unwrap();
        let mut command = program();
        command.env(WITHOUT_STILL, "");
        let mut check = Program::start_by(command, folder.path(), clock, &["check", &path]);
        (check.finish().0, check.stderr())
    };
    let (code, said) = checked("global");
    assert!(code == Some(78) && said.contains("`left` uses `hardware`, `right` uses `hardware`"), "{said}");
    assert_eq!(checked("hardware"), (Some(0), String::new()));
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    test(trials, "agents::a_rig_of_two_hosts_runs_and_its_report_names_them", plain);
    test(trials, "agents::what_was_sent_has_arrived_when_a_rig_ends", || ends_in_order(true));
    test(trials, "agents::what_the_first_host_sent_has_arrived_when_a_rig_ends", || ends_in_order(false));
    test(trials, "agents::no_frameset_is_lost_to_a_slow_start_of_its_reader", || slow_start(true));
    test(trials, "agents::no_frameset_of_the_first_host_is_lost_to_it", || slow_start(false));
    test(trials, "agents::only_pinned_peers_are_trusted", pinned);
    test(trials, "agents::an_agent_that_is_killed_is_named_and_gets_its_part_again", agent_killed);
    test(trials, "agents::a_host_that_does_not_answer_is_asked_again_to_stop", end_is_asked_again);
    test(trials, "agents::an_agent_answers_while_it_starts_another_part", a_part_that_starts);
    test(trials, "agents::parts_that_have_ended_take_no_place", ended_parts);
    test(trials, "agents::parts_stop_when_their_first_host_is_killed", first_host_killed);
    test(trials, "agents::a_host_without_an_agent_is_named", nothing_listens);
    test(trials, "agents::an_agent_of_another_version_is_refused_with_both_named", another_version);
    test(trials, "agents::eight_hosts_and_two_rigs_on_the_same_agents", || many_hosts(8));
    // They are some 100 processes: `just test-hosts` runs them.
    let mut of_many = Vec::new();
    test(&mut of_many, "agents::the_most_hosts_of_a_rig", || many_hosts(32));
    // It takes 15 s.
    test(&mut of_many, "agents::readers_that_stand_still_do_not_affect_another_one", stopped_readers);
    trials.extend(of_many.into_iter().map(|trial| trial.with_ignored_flag(true)));
    test(trials, "agents::a_host_without_room_is_named", full);
    test(trials, "agents::a_disk_that_is_full_there_is_named", full_disk);
    test(trials, "agents::a_part_that_its_agent_refuses_is_named", refused_part);
    test(trials, "agents::an_agent_declares_what_only_its_program_knows", declared);
}
