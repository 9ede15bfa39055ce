//! Tests of agents and first hosts, over 127.0.0.1: real processes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::harness::MARK;
use crate::test;

/// Maximum time of a wait: its end is a failure.
const WATCHDOG: Duration = Duration::from_secs(120);

/// Returns an address that nobody listens at.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A process under test, which ends with the test.
pub(crate) struct Program {
    child: Child,
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
        Self::start_by(Command::new(std::env::current_exe().unwrap()), folder, name, arguments)
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

/// Starts an agent, and waits until it listens.
fn agent(folder: &Path, name: &str, arguments: &[&str]) -> Program {
    agent_by(Command::new(std::env::current_exe().unwrap()), folder, name, arguments)
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
    assert!(line.starts_with("agent: listens at "), "{line}{}", agent.stderr());
    agent.child.stdout = Some(stdout.into_inner());
    agent
}

/// Writes a topology in which a camera and its reader are on host `arm`.
fn topology(folder: &Path, host: &str) -> String {
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

/// Returns the names of the actors of a report, each with its produced framesets.
fn produced(report: &Value) -> Vec<(String, u64)> {
    let actor =
        |actor: &Value| (actor["name"].as_str().unwrap().to_owned(), actor["produced"].as_u64().unwrap());
    report["actors"].as_array().unwrap().iter().map(actor).collect()
}

/// A rig whose actors are on two hosts runs to its end, and its report has the rows of both.
fn whole_run(host: &str, agent: &Program, folder: &Path) {
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
        wire   = {{ depth = "delta" }}
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
    // Garbage on the port harms nobody.
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
        "error: host `arm`: what listens at `{listen}` is no agent with fingerprint `{other}` that obeys this host"
    );
    assert!(refused.stderr().contains(&said), "{}", refused.stderr());
    // A first host that the agent does not know is refused.
    std::fs::copy(folder.join("other.pem"), folder.join("first.pem")).unwrap();
    let rig = topology(folder, &format!("address = \"{listen}\"\nfingerprint = \"{arm}\""));
    let mut unknown = Program::start(folder, "unknown", &["check", &rig]);
    assert_eq!(unknown.finish().0, Some(69));
    assert!(
        unknown.stderr().contains(&format!("`camrig join --peer {other}` obeys it")),
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

/// Returns whether a program has child processes.
fn has_workers(program: &Program) -> bool {
    let id = program.child.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    let of_threads = std::fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let of_threads = of_threads.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    !children.trim().is_empty() || of_threads.into_iter().any(|children| !children.trim().is_empty())
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

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    test(trials, "agents::a_rig_of_two_hosts_runs_and_its_report_names_them", plain);
    test(trials, "agents::what_was_sent_has_arrived_when_a_rig_ends", || ends_in_order(true));
    test(trials, "agents::what_the_first_host_sent_has_arrived_when_a_rig_ends", || ends_in_order(false));
    test(trials, "agents::only_pinned_peers_are_trusted", pinned);
    test(trials, "agents::an_agent_that_is_killed_is_named_and_gets_its_part_again", agent_killed);
    test(trials, "agents::parts_stop_when_their_first_host_is_killed", first_host_killed);
    test(trials, "agents::a_host_without_an_agent_is_named", nothing_listens);
    test(trials, "agents::a_part_that_its_agent_refuses_is_named", refused_part);
}
