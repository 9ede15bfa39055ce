//! The status socket: sends the status as JSON to each client that connects.
//!
//! The socket is an abstract Unix socket. It has a name but no file, so nothing remains of it, however its
//! supervisor ends. Such a name has no owner, so both sides ask the kernel for the user of the other. A rig accepts only
//! the same user or root, and so does a client; root accepts the rig of each user, such as that of a service, if its name
//! is one of that user's. Clients send no requests.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use camrig_frame::one_line;
use camrig_ipc::spawn_thread;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use rustix::process::{Uid, getuid};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::RigStatus;

/// Maximum time for sending or reading one status.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Pause before the next attempt when no connection can be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The maximum number of clients that have not read their complete status. A further one replaces the oldest.
const CLIENTS_MAX: usize = 32;

/// The maximum number of rigs that are asked at the same time.
const ASKED_MAX: usize = 32;

/// The maximum size of a status, in bytes: a rig with the maximum number of actors and links stays below it.
const STATUS_BYTES_MAX: usize = 16 << 20;

/// The size of the buffer for reading, in bytes.
const PART_BYTES: usize = 64 << 10;

/// The system's list of socket names. An abstract name begins with `@`.
const NAMES: &str = "/proc/net/unix";

/// Before the name of a rig's status socket, in that of its control socket.
pub(crate) const CONTROL: &str = "control-";

/// The status socket of a rig.
pub struct StatusSocket {
    listener: UnixListener,
    name: String,
}

impl StatusSocket {
    /// Opens a socket for a rig of this process.
    ///
    /// # Errors
    /// When no file descriptor is left.
    pub fn open() -> Result<Self> {
        let now = clock_gettime(ClockId::Monotonic);
        // The process id alone is not unique where containers share a network.
        let name = format!("{}{}-{:x}{:08x}", prefix(getuid()), std::process::id(), now.tv_sec, now.tv_nsec);
        Ok(Self { listener: UnixListener::bind_addr(&address(&name)?)?, name })
    }

    /// Returns the name with which other processes [`read`] it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends `status` to each client, on a thread of its own, until `status` returns `None` or the returned value
    /// drops. It waits for no client: those that do not read, or read slowly, delay no other.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn serve(self, status: impl Fn() -> Option<RigStatus> + Send + 'static) -> Result<Serving> {
        self.serve_within(TIMEOUT, status)
    }

    /// As [`Self::serve`], with this maximum time for sending one status.
    fn serve_within(
        self,
        timeout: Duration,
        status: impl Fn() -> Option<RigStatus> + Send + 'static,
    ) -> Result<Serving> {
        self.listener.set_nonblocking(true)?;
        let serving = Serving { name: self.name.clone(), ended: Arc::default() };
        let ended = Arc::clone(&serving.ended);
        let serve = move || {
            let mut clients = VecDeque::new();
            loop {
                wait(&self.listener, &clients);
                if ended.load(Ordering::Acquire) {
                    return;
                }
                clients.retain_mut(Client::send);
                match self.listener.accept() {
                    Ok((stream, _)) if is_trusted(&stream) => {
                        let Some(status) = status() else { return };
                        clients.extend(Client::new(stream, &status, timeout));
                        clients.retain_mut(Client::send);
                        if clients.len() > CLIENTS_MAX {
                            clients.pop_front();
                        }
                    }
                    Ok(_) => {}
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                    // No file descriptor is left at the moment.
                    Err(_) => thread::sleep(ACCEPT_PAUSE),
                }
            }
        };
        spawn_thread("status", serve)?;
        Ok(serving)
    }
}

/// A client that has not read its complete status.
struct Client {
    stream: UnixStream,
    json: Vec<u8>,
    sent: usize,
    until: Instant,
}

impl Client {
    /// Returns `None` if the client is gone.
    fn new(stream: UnixStream, status: &RigStatus, timeout: Duration) -> Option<Self> {
        stream.set_nonblocking(true).ok()?;
        let json = serde_json::to_vec(status).ok()?;
        Some(Self { stream, json, sent: 0, until: Instant::now() + timeout })
    }

    /// Sends as many bytes as the client takes. Returns whether some remain.
    fn send(&mut self) -> bool {
        while self.sent < self.json.len() && Instant::now() < self.until {
            match (&self.stream).write(&self.json[self.sent..]) {
                Ok(0) => return false,
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        false
    }
}

/// Waits until a client connects, or one takes more, or the time of one is over.
fn wait(listener: &UnixListener, clients: &VecDeque<Client>) {
    let now = Instant::now();
    let until = clients.iter().map(|client| client.until.saturating_duration_since(now)).min();
    let until = until.and_then(|until| Timespec::try_from(until).ok());
    let ready = clients.iter().map(|client| PollFd::new(&client.stream, PollFlags::OUT));
    let mut ready: Vec<_> = ready.chain([PollFd::new(listener, PollFlags::IN)]).collect();
    // After an error, such as a signal, the caller checks all of them.
    let _ = poll(&mut ready, until.as_ref());
}

/// A socket that is answered, until this drops.
pub struct Serving {
    name: String,
    ended: Arc<AtomicBool>,
}

impl Serving {
    /// Returns its name, by which other processes [`read`] it.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // Wakes the thread, which waits for a connection; an error means that it has ended.
        drop(address(&self.name).and_then(|address| UnixStream::connect_addr(&address)));
    }
}

/// Reads the status of the rig whose socket is `name`.
///
/// # Errors
/// When the rig has ended, does not answer, or belongs to another user.
pub fn read(name: &str) -> Result<RigStatus> {
    read_within(TIMEOUT, name)
}

/// As [`read`], with this maximum time.
fn read_within(timeout: Duration, name: &str) -> Result<RigStatus> {
    let until = Instant::now() + timeout;
    let stream = connect(name)?;
    let mut json = Vec::new();
    let mut part = vec![0; PART_BYTES];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || json.len() > STATUS_BYTES_MAX {
            return Err(silent());
        }
        stream.set_read_timeout(Some(left))?;
        match (&stream).read(&mut part) {
            Ok(0) if json.is_empty() => {
                return Err(Error::new(ErrorKind::UnexpectedEof, "the rig is ending"));
            }
            Ok(0) => {
                let mut status: Value = serde_json::from_slice(&json)?;
                escape_controls(&mut status);
                return Ok(serde_json::from_value(status)?);
            }
            Ok(size) => json.extend(&part[..size]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Escapes the control characters of all texts, except line breaks: a terminal would obey those of another user's rig.
fn escape_controls(status: &mut Value) {
    match status {
        Value::String(text) => {
            let obeyed = |letter: char| letter.is_control() && letter != '\n';
            if text.contains(obeyed) {
                let plain = |letter: char| match letter {
                    letter if obeyed(letter) => letter.escape_default().collect(),
                    letter => String::from(letter),
                };
                *text = text.chars().map(plain).collect();
            }
        }
        Value::Array(values) => values.iter_mut().for_each(escape_controls),
        Value::Object(map) => map.values_mut().for_each(escape_controls),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Returns the error of a rig that does not answer within [`TIMEOUT`].
fn silent() -> Error {
    Error::new(ErrorKind::TimedOut, "it does not answer in time")
}

/// Connects to the socket `name` of a rig that may be trusted. It does not wait, because the queue of a stopped supervisor
/// may be full.
pub(crate) fn connect(name: &str) -> Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
    rustix::net::connect(&socket, &address).map_err(|error| match error {
        Errno::AGAIN => silent(),
        error => error.into(),
    })?;
    let stream = UnixStream::from(socket);
    if !is_trusted(&stream) && !is_seen_by_root(&stream, name) {
        return Err(Error::new(ErrorKind::PermissionDenied, "the rig belongs to another user"));
    }
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Returns the names of the status sockets of this user's rigs, sorted; of the rigs of all users for root.
///
/// # Errors
/// When the system's list of sockets cannot be read.
pub fn names() -> Result<Vec<String>> {
    let prefix = if getuid().is_root() { "camrig-".to_owned() } else { prefix(getuid()) };
    let names = fs::read(NAMES)?;
    // Names of other programs may have any bytes.
    let names = String::from_utf8_lossy(&names);
    let names = names.lines().filter_map(|line| line.split_whitespace().last()?.strip_prefix('@'));
    // There is one line per listener and one per connection that waits for it.
    let mut names: Vec<_> = names.filter(|name| name.starts_with(&prefix)).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// Returns the name of the status socket of this user's running rig that is called `wanted`, by its topology, with or
/// without folder and extension, or by its process ID; of the only one if `wanted` is `None`. If root has no such rig, those of
/// other users are searched.
///
/// # Errors
/// If there is none, or several, or one that may be meant does not answer.
pub fn find(wanted: Option<&str>) -> std::result::Result<String, FindError> {
    let (own, others): (Vec<_>, Vec<_>) =
        names()?.into_iter().partition(|name| name.starts_with(&prefix(getuid())));
    let called = |names: Vec<String>| -> Vec<_> {
        let is_meant = |answer: &Option<RigStatus>| {
            // One that does not answer may have the name.
            wanted.is_none_or(|wanted| answer.as_ref().is_none_or(|rig| is_called(rig, wanted)))
        };
        let mut rigs = answers_within(TIMEOUT, names);
        rigs.retain(|(answer, _)| is_meant(answer));
        rigs
    };
    let mut rigs: Vec<_> = called(own);
    if !rigs.iter().any(|(answer, name)| answer.is_some() || is_meant_surely(name, wanted)) {
        rigs.extend(called(others));
    }
    only(&rigs, wanted)
}

/// Returns the status of each rig of these that is not ending; `None` if it does not answer in time. They are asked at the
/// same time, so that several that do not answer take no longer than one.
fn answers_within(timeout: Duration, names: Vec<String>) -> Vec<(Option<RigStatus>, String)> {
    let mut answers = Vec::new();
    for names in names.chunks(ASKED_MAX) {
        answers.extend(thread::scope(|scope| {
            let ask = |name| thread::Builder::new().spawn_scoped(scope, move || answer_of(timeout, name));
            let asked: Vec<_> = names.iter().map(|name| (name, ask(name))).collect();
            let answers = asked.into_iter().map(|(name, asked)| match asked {
                Ok(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
                // No thread is left: it is asked after the others.
                Err(_) => answer_of(timeout, name),
            });
            answers.collect::<Vec<_>>()
        }));
    }
    answers.into_iter().zip(names).filter_map(|(answer, name)| Some((answer.ok()?, name))).collect()
}

/// Returns the status of a rig; `None` if it does not answer in time, as one that is stopped.
///
/// # Errors
/// When it is ending, or belongs to another user.
fn answer_of(timeout: Duration, name: &str) -> Result<Option<RigStatus>> {
    match read_within(timeout, name) {
        Err(error) if error.kind() == ErrorKind::TimedOut => Ok(None),
        answered => answered.map(Some),
    }
}

/// Returns the process ID in the name of a rig's status socket.
fn pid_of(name: &str) -> &str {
    name.split('-').nth(2).unwrap_or_default()
}

/// Returns whether a rig that does not answer is the wanted one, whatever its name is.
fn is_meant_surely(name: &str, wanted: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| wanted == pid_of(name))
}

/// Returns the only one of these rigs, of which some do not answer.
fn only(
    rigs: &[(Option<RigStatus>, String)],
    wanted: Option<&str>,
) -> std::result::Result<String, FindError> {
    let answered: Vec<_> = rigs.iter().filter(|(answer, _)| answer.is_some()).collect();
    let silent: Vec<_> =
        rigs.iter().filter(|(answer, _)| answer.is_none()).map(|(_, name)| name.as_str()).collect();
    let is_meant = silent.iter().any(|name| is_meant_surely(name, wanted));
    match &answered[..] {
        [] if silent.is_empty() => Err(FindError::Nothing(wanted.map(str::to_owned))),
        [(_, name)] if !is_meant => Ok(name.clone()),
        several if several.len() > 1 || !several.is_empty() && wanted.is_none() => {
            let shown = rigs.iter().map(|(answer, name)| match answer {
                Some(rig) => format!("`{}` (process {})", one_line(&rig.topology), rig.pid),
                None => format!("process {}, which does not answer", pid_of(name)),
            });
            Err(FindError::Several(shown.collect()))
        }
        _ => Err(FindError::Silent(silent.into_iter().map(|name| pid_of(name).to_owned()).collect())),
    }
}

fn is_called(rig: &RigStatus, wanted: &str) -> bool {
    let path = Path::new(&rig.topology);
    let is = |part: Option<&OsStr>| part.is_some_and(|part| part == wanted);
    rig.topology == wanted || is(path.file_name()) || is(path.file_stem()) || rig.pid.to_string() == wanted
}

/// The reason why a rig was not [found](find).
#[derive(Debug)]
pub enum FindError {
    /// The system's list of sockets cannot be read.
    Unlisted(Error),
    /// No rig is running, or none of this name.
    Nothing(Option<String>),
    /// Several rigs are running: their names.
    Several(Vec<String>),
    /// The rigs that may be meant do not answer: their process IDs.
    Silent(Vec<String>),
}

impl From<Error> for FindError {
    fn from(error: Error) -> Self {
        Self::Unlisted(error)
    }
}

impl fmt::Display for FindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlisted(error) => write!(f, "the rigs of this machine cannot be listed: {error}"),
            Self::Nothing(Some(wanted)) => {
                write!(f, "no running rig has the name or process ID `{wanted}`")
            }
            Self::Nothing(None) => f.write_str("no rig is running"),
            Self::Silent(pids) => {
                write!(f, "the rig does not answer in time; its process is {}", pids.join(" or "))
            }
            Self::Several(rigs) => {
                write!(f, "several rigs are running; name one of: {}", rigs.join(", "))
            }
        }
    }
}

/// Returns the beginning of the names of a user's status sockets.
fn prefix(user: Uid) -> String {
    format!("camrig-{}-", user.as_raw())
}

pub(crate) fn address(name: &str) -> Result<SocketAddr> {
    SocketAddr::from_abstract_name(name)
}

/// Returns whether the other side runs as the same user or as root.
pub(crate) fn is_trusted(stream: &UnixStream) -> bool {
    socket_peercred(stream).is_ok_and(|peer| peer.uid == getuid() || peer.uid.is_root())
}

/// Returns whether this user is root, and the name of a socket is one of the user's who made it.
fn is_seen_by_root(stream: &UnixStream, name: &str) -> bool {
    let name = name.strip_prefix(CONTROL).unwrap_or(name);
    getuid().is_root() && socket_peercred(stream).is_ok_and(|peer| name.starts_with(&prefix(peer.uid)))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::sync::Barrier;
    use std::sync::mpsc::sync_channel;

    use super::*;

    const WATCHDOG: Duration = Duration::from_secs(60);

    #[test]
    fn each_client_gets_the_current_status() {
        let socket = StatusSocket::open().unwrap();
        let name = socket.name().to_owned();
        assert!(names().unwrap().contains(&name));
        let (sender, statuses) = sync_channel(2);
        let serving = socket.serve(move || statuses.recv().ok()).unwrap();
        assert_eq!(serving.name(), name);
        for produced in [1, 2] {
            let actor = crate::ActorStatus { produced, ..crate::ActorStatus::default() };
            let status = RigStatus { actors: vec![actor], ..RigStatus::default() };
            sender.send(status.clone()).unwrap();
            assert_eq!(read(&name).unwrap(), status);
        }
        drop(sender);
        assert_eq!(read(&name).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        let until = Instant::now() + WATCHDOG;
        while names().unwrap().contains(&name) {
            assert!(Instant::now() < until, "the socket is still there");
            thread::yield_now();
        }
        assert_eq!(read(&name).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    /// A program of any user may have such a socket.
    #[test]
    fn sockets_of_other_programs_may_have_any_name() {
        let name = [&[0xff, 0xfe][..], &std::process::id().to_le_bytes()].concat();
        let _other = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();
        assert!(fs::read_to_string(NAMES).is_err());
        let socket = StatusSocket::open().unwrap();
        assert!(names().unwrap().contains(&socket.name().to_owned()));
    }

    #[test]
    fn a_rig_that_does_not_answer_is_not_passed_over() {
        let name = |pid: u32| format!("camrig-0-{pid}-5");
        let answers = |pid, topology: &str| {
            let topology = topology.to_owned();
            (Some(RigStatus { topology, pid, ..RigStatus::default() }), name(pid))
        };
        let silent = |pid| (None, name(pid));
        let error = |rigs: &[_], wanted| only(rigs, wanted).unwrap_err().to_string();
        assert_eq!(only(&[answers(7, "a")], None).unwrap(), name(7));
        // It would not be the one that was meant.
        let several =
            "several rigs are running; name one of: `a` (process 7), process 8, which does not answer";
        assert_eq!(error(&[answers(7, "a"), silent(8)], None), several);
        assert_eq!(only(&[answers(7, "a"), silent(8)], Some("a")).unwrap(), name(7));
        let stopped = "the rig does not answer in time; its process is 8";
        for (rigs, wanted) in [
            (vec![silent(8)], None),
            (vec![silent(8)], Some("b")),
            (vec![answers(9, "8"), silent(8)], Some("8")),
        ] {
            assert_eq!(error(&rigs, wanted), stopped);
        }
        assert_eq!(error(&[], Some("b")), "no running rig has the name or process ID `b`");
        // The socket of one that is asked.
        let socket = StatusSocket::open().unwrap();
        let pid = std::process::id().to_string();
        assert_eq!((answer_of(TIMEOUT, socket.name()).unwrap(), pid_of(socket.name())), (None, pid.as_str()));
    }

    /// Each answers when all have been asked.
    #[test]
    fn rigs_are_asked_at_the_same_time() {
        let sockets: Vec<_> = (0..3).map(|_| StatusSocket::open().unwrap()).collect();
        let mut names: Vec<_> = sockets.iter().map(|socket| socket.name().to_owned()).collect();
        let all_asked = Arc::new(Barrier::new(sockets.len()));
        let serve = |socket: StatusSocket| {
            let all_asked = Arc::clone(&all_asked);
            let status = move || {
                all_asked.wait();
                Some(RigStatus::default())
            };
            socket.serve(status).unwrap()
        };
        let _serving: Vec<_> = sockets.into_iter().map(serve).collect();
        // One that is ending is left out, and the others keep their order.
        names.insert(1, pretended(std::process::id()));
        let answers = answers_within(WATCHDOG, names.clone());
        names.remove(1);
        let expected: Vec<_> = names.into_iter().map(|name| (Some(RigStatus::default()), name)).collect();
        assert_eq!(answers, expected);
    }

    #[test]
    fn control_characters_of_a_status_are_escaped() {
        let socket = StatusSocket::open().unwrap();
        let name = socket.name().to_owned();
        let progress = "12 moments\n\u{1b}[2Jleft\u{9b}31m".to_owned();
        let actor = crate::ActorStatus { progress, ..crate::ActorStatus::default() };
        let status =
            RigStatus { topology: "a\u{7}.toml".to_owned(), actors: vec![actor], ..RigStatus::default() };
        let _serving = socket.serve(move || Some(status.clone())).unwrap();
        let found = read(&name).unwrap();
        assert_eq!(found.topology, "a\\u{7}.toml");
        assert_eq!(found.actors[0].progress, "12 moments\n\\u{1b}[2Jleft\\u{9b}31m");
    }

    #[test]
    fn a_socket_is_gone_when_it_is_no_longer_served() {
        let socket = StatusSocket::open().unwrap();
        let name = socket.name().to_owned();
        let serving = socket.serve(|| Some(RigStatus::default())).unwrap();
        assert_eq!(read(&name).unwrap(), RigStatus::default());
        drop(serving);
        let until = Instant::now() + WATCHDOG;
        while names().unwrap().contains(&name) {
            assert!(Instant::now() < until, "the socket is still there");
            thread::yield_now();
        }
    }

    /// Set for the process that `root_sees_the_rig_of_another_user` starts: the name of a rig of root.
    const OF_ROOT: &str = "CAMRIG_TEST_RIG_OF_ROOT";

    /// The user and the group `nobody`.
    const NOBODY: u32 = 65534;

    /// Returns the name with which a process pretends that its rig belongs to root.
    fn pretended(process: u32) -> String {
        format!("camrig-0-{process}-0")
    }

    #[test]
    #[ignore = "the test below runs it as another user"]
    fn a_rig_of_another_user() {
        let Ok(of_root) = std::env::var(OF_ROOT) else { return };
        assert!(!names().unwrap().contains(&of_root));
        assert!(read(&of_root).is_err());
        let address = address(&pretended(std::process::id())).unwrap();
        let _pretender = UnixListener::bind_addr(&address).unwrap();
        let _serving = StatusSocket::open().unwrap().serve(|| Some(RigStatus::default())).unwrap();
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
    }

    #[test]
    fn root_sees_the_rig_of_another_user() {
        let as_nobody = || {
            let mut command = Command::new("setpriv");
            command.args(["--pdeathsig", "KILL", "--clear-groups"]);
            command.args([format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")]);
            command.arg(std::env::current_exe().unwrap());
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        // Not as root, or in a folder that others may not read.
        if !getuid().is_root() || !as_nobody().arg("--list").status().is_ok_and(|status| status.success()) {
            eprintln!("skipped: it needs root, setpriv, and a folder of tests that other users may read");
            return;
        }
        let own = StatusSocket::open().unwrap().serve(|| Some(RigStatus::default())).unwrap();
        let mut rig = as_nobody();
        rig.args(["--ignored", "--exact", "socket::tests::a_rig_of_another_user"]);
        let mut rig = rig.env(OF_ROOT, own.name()).stdin(Stdio::piped()).spawn().unwrap();
        let prefix = format!("camrig-{NOBODY}-{}-", rig.id());
        let until = Instant::now() + WATCHDOG;
        let name = loop {
            if let Some(name) = names().unwrap().into_iter().find(|name| name.starts_with(&prefix)) {
                break name;
            }
            assert!(Instant::now() < until, "no rig of another user is listed");
            thread::yield_now();
        };
        assert_eq!(read(&name).unwrap(), RigStatus::default());
        assert_eq!(read(&pretended(rig.id())).unwrap_err().kind(), ErrorKind::PermissionDenied);
        drop(rig.stdin.take());
        assert!(rig.wait().unwrap().success());
    }

    /// Returns a status of this many megabytes, which is larger than the kernel's buffer of a socket.
    fn large(megabytes: usize) -> RigStatus {
        RigStatus { topology: "x".repeat(megabytes << 20), ..RigStatus::default() }
    }

    /// Far longer than any test: whoever waits for it fails.
    const NEVER: Duration = Duration::from_secs(3600);

    /// Fails if a client that does not read, or only a part, delays the others until its time is over.
    #[test]
    fn clients_that_do_not_read_do_not_delay_others() {
        let socket = StatusSocket::open().unwrap();
        let name = socket.name().to_owned();
        let status = large(1);
        let _serving = socket.serve_within(NEVER, move || Some(large(1))).unwrap();
        let mut trickling = connect(&name).unwrap();
        for _ in 0..3 {
            trickling.read_exact(&mut [0; 1 << 10]).unwrap();
            assert_eq!(read_within(WATCHDOG, &name).unwrap(), status);
        }
        let _silent: Vec<_> = (0..2 * CLIENTS_MAX).map(|_| connect(&name).unwrap()).collect();
        for _ in 0..3 {
            assert_eq!(read_within(WATCHDOG, &name).unwrap(), status);
        }
    }

    #[test]
    fn a_client_that_trickles_is_disconnected() {
        let socket = StatusSocket::open().unwrap();
        let name = socket.name().to_owned();
        let _serving = socket.serve_within(Duration::from_millis(200), move || Some(large(1))).unwrap();
        let mut trickling = connect(&name).unwrap();
        let started = Instant::now();
        let mut bytes = 0;
        let mut part = [0; 1 << 10];
        // Each read makes room for more, so the server can always send.
        while let Ok(size @ 1..) = trickling.read(&mut part) {
            bytes += size;
            thread::sleep(Duration::from_millis(2));
            assert!(started.elapsed() < WATCHDOG, "it is never given up");
        }
        assert!(bytes < 1 << 20, "{bytes} bytes");
    }

    #[test]
    fn a_rig_that_trickles_is_not_read_for_ever() {
        let socket = StatusSocket::open().unwrap();
        let name = socket.name().to_owned();
        thread::spawn(move || {
            let (mut stream, _) = socket.listener.accept().unwrap();
            while stream.write_all(b" ").is_ok() {
                thread::sleep(Duration::from_millis(10));
            }
        });
        assert_eq!(read(&name).unwrap_err().to_string(), "it does not answer in time");
    }

    #[test]
    fn a_rig_that_accepts_no_client_is_not_waited_for() {
        let socket = StatusSocket::open().unwrap();
        rustix::net::listen(&socket.listener, 1).unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) = connect(socket.name()) {
            waiting.push(stream);
        }
        assert_eq!(read(socket.name()).unwrap_err().to_string(), "it does not answer in time");
    }
}
