//! Handshakes with an unknown peer in between: no process hangs, and none is hijacked.
//!
//! If a handshake has started it, this binary is the started process; otherwise it runs the tests. The unknown peer
//! is as powerful as possible: it has the same user, and connects before the starter.
#![allow(clippy::unwrap_used)] // An error fails the test.
#![allow(clippy::print_stdout, clippy::print_stderr)] // Of a test, for its reader.

use std::ffi::OsStr;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use camrig_ipc::handshake::{self, Handshake, Lifeline};
use camrig_ipc::protocol::VERSION;
use ipc_channel::ipc::IpcSender;
use libtest_mimic::{Arguments, Trial};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Upper bound for any wait; longer means that the event will not happen.
const WATCHDOG: Duration = Duration::from_secs(60);

/// Timeout for waits that are expected to fail.
const SHORT: Duration = Duration::from_millis(500);

const UNKNOWN_PEER: &str = "a peer connected to its socket";
const NO_GREETING: &str = "nobody greeted it within 0.5 s";
const GREETING: &str = "hello";

/// Makes the process speak another protocol or version: its first bytes, as numbers.
const HELLO_VARIABLE: &str = "CAMRIG_TEST_HELLO";

fn main() -> ExitCode {
    if let Ok(hello) = std::env::var(HELLO_VARIABLE) {
        return say(&hello);
    }
    match handshake::accept::<String>() {
        Some(Ok(greeting)) => {
            println!("{greeting}");
            return ExitCode::SUCCESS;
        }
        Some(Err(_)) => return ExitCode::FAILURE,
        None => {}
    }
    let test = |name: &str, run: fn()| {
        Trial::test(name, move || {
            run();
            Ok(())
        })
    };
    let trials = vec![
        test("a_process_that_was_killed_costs_no_descriptor", was_killed),
        test("a_folder_is_removed_without_a_descriptor", is_removed_without_a_descriptor),
        test("a_folder_that_is_made_late_is_removed", is_made_late),
        test("a_process_is_greeted_by_its_starter", is_greeted),
        test("an_unknown_peer_with_garbage_is_refused", || refused(&[UnknownPeer::Garbage], UNKNOWN_PEER)),
        test("an_unknown_peer_that_disconnects_is_refused", || {
            refused(&[UnknownPeer::HangsUp], UNKNOWN_PEER);
        }),
        test("an_unknown_peer_with_a_greeting_is_refused", || refused(&[UnknownPeer::Greets], UNKNOWN_PEER)),
        test("an_unknown_peer_that_connects_twice_is_refused", || {
            refused(&[UnknownPeer::Greets, UnknownPeer::Greets], UNKNOWN_PEER);
        }),
        test("a_silent_unknown_peer_times_out", || refused(&[UnknownPeer::Silent], NO_GREETING)),
        test("many_silent_unknown_peers_time_out", || {
            let mut crowd = [UnknownPeer::Pushing; 32];
            crowd[0] = UnknownPeer::Silent;
            refused(&crowd, NO_GREETING);
        }),
        test("a_process_without_a_greeting_ends", is_not_greeted),
        test("a_later_unknown_peer_is_ignored", comes_later),
        test("a_process_of_another_version_is_refused", || {
            is_refused(OTHER_VERSION, &format!("the process speaks {OTHER_IS_SPOKEN} {VERSION}"));
        }),
        test("a_process_that_is_no_worker_is_refused", || {
            is_refused(*b"hello, world", "the process does not speak camrig's protocol");
        }),
        test("a_process_that_says_too_little_has_ended", says_too_little),
        test("a_starter_of_another_version_is_refused", || {
            let reason = format!("the process that started it speaks {OTHER_IS_SPOKEN} {VERSION}");
            refuses_its_starter(&OTHER_VERSION, &reason);
        }),
        test("a_starter_that_is_none_is_refused", || {
            refuses_its_starter(&[0xff; 64], "the process that started it does not speak camrig's protocol");
        }),
    ];
    // Sequentially: a test counts the file descriptors of this process.
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// An unknown peer that connects to the socket of a started process.
#[derive(Clone, Copy)]
enum UnknownPeer {
    Garbage,
    HangsUp,
    /// Sends a greeting that lacks only the secret.
    Greets,
    Silent,
    /// Also silent, but connects as soon as there is room.
    Pushing,
}

impl UnknownPeer {
    /// Connects and sends its data. Returns `None` if the socket no longer exists, because another peer was first.
    fn connect(self, socket: &Path) -> Option<IpcSender<u8>> {
        let socket = socket.to_str().unwrap().to_owned();
        match self {
            // A string that is longer than its message.
            Self::Garbage => IpcSender::connect(socket).ok()?.send([0xff_u8; 32]).ok()?,
            Self::HangsUp => drop(IpcSender::<u8>::connect(socket).ok()?),
            Self::Greets => IpcSender::connect(socket).ok()?.send(([0_u8; 16], "obey".to_owned())).ok()?,
            Self::Silent => return IpcSender::connect(socket).ok(),
            Self::Pushing => drop(std::thread::spawn(move || {
                let held = IpcSender::<u8>::connect(socket);
                std::thread::park_timeout(WATCHDOG);
                drop(held);
            })),
        }
        None
    }
}

/// A process that was started and has not been greeted yet.
struct Guest {
    child: Child,
    folder: PathBuf,
}

fn start(bound: Duration) -> (Handshake, Guest) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let handshake = Handshake::prepare_within(&mut command, bound).unwrap();
    let folder = command.get_envs().find(|(name, _)| *name == OsStr::new("TMPDIR")).unwrap().1.unwrap();
    let folder = PathBuf::from(folder);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    (handshake, Guest { child, folder })
}

fn wait_for<T>(what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WATCHDOG;
    loop {
        if let Some(found) = fact() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Guest {
    /// Returns its socket, which has this place when it listens.
    fn socket(&self) -> PathBuf {
        let socket = self.folder.join("socket");
        wait_for("the socket", || socket.exists().then_some(()));
        socket
    }

    /// Returns its exit code and output after it has ended by itself; its folder has then been removed.
    fn end(mut self) -> (Option<i32>, String) {
        let status = wait_for("the end of the process", || self.child.try_wait().unwrap());
        let said = std::io::read_to_string(self.child.stdout.take().unwrap()).unwrap();
        assert!(!self.folder.exists());
        (status.code(), said)
    }
}

fn greet(handshake: Handshake) -> Result<Lifeline, String> {
    handshake.greet(GREETING.to_owned()).map_err(|error| error.to_string())
}

fn is_greeted() {
    let (handshake, guest) = start(WATCHDOG);
    let lifeline = greet(handshake).unwrap();
    assert_eq!(guest.end(), (Some(0), format!("{GREETING}\n")));
    drop(lifeline);
}

fn was_killed() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let (handshake, mut guest) = start(WATCHDOG);
    guest.socket();
    guest.child.kill().unwrap();
    guest.child.wait().unwrap();
    let error = handshake.greet(GREETING.to_owned()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
    drop(guest);
    assert_eq!(descriptors(), before);
}

/// Runs `act` while this process can open nothing.
fn without_descriptors(act: impl FnOnce()) {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..limit }).unwrap();
    act();
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// A worker is killed before it is greeted, and a starter without descriptors removes its folder.
fn is_removed_without_a_descriptor() {
    let (handshake, mut guest) = start(WATCHDOG);
    guest.socket();
    guest.child.kill().unwrap();
    guest.child.wait().unwrap();
    assert!(guest.folder.exists());
    without_descriptors(|| drop(handshake));
    assert!(!guest.folder.exists());
}

/// A worker creates its folder after its handshake was given up, and is killed: its starter removes it after its end.
fn is_made_late() {
    let (handshake, mut guest) = start(WATCHDOG);
    let folder = handshake.folder();
    guest.socket();
    guest.child.kill().unwrap();
    guest.child.wait().unwrap();
    // As if it were created now.
    handshake.greet(GREETING.to_owned()).err().unwrap();
    std::fs::create_dir(&guest.folder).unwrap();
    std::fs::create_dir(guest.folder.join("unfinished")).unwrap();
    drop(folder);
    assert!(!guest.folder.exists());
}

fn refused(peers: &[UnknownPeer], reason: &str) {
    let (handshake, guest) = start(if reason == NO_GREETING { SHORT } else { WATCHDOG });
    let socket = guest.socket();
    let connected: Vec<_> = peers.iter().map(|peer| peer.connect(&socket)).collect();
    assert_eq!(greet(handshake).err().as_deref(), Some(reason));
    assert_eq!(guest.end(), (Some(1), String::new()));
    drop(connected);
}

const OTHER_VERSION: [u8; 12] = *b"camrig\r\n\x01\x02\0\0";
const OTHER_IS_SPOKEN: &str = "version 513 of camrig's protocol, this program speaks version";

/// Runs a process that speaks no protocol or another one: sends these bytes, and waits for the end of its starter.
fn say(hello: &str) -> ExitCode {
    let mut socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let hello: Vec<u8> = hello.split(' ').map(|number| number.parse().unwrap()).collect();
    socket.write_all(&hello).unwrap();
    // Until the end, or an error, which also means the end.
    let _ = socket.read_to_end(&mut Vec::new());
    ExitCode::SUCCESS
}

fn greeted_by_one_who_says(hello: &[u8]) -> (Result<Lifeline, std::io::Error>, Child) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let handshake = Handshake::prepare_within(&mut command, WATCHDOG).unwrap();
    let numbers: Vec<String> = hello.iter().map(u8::to_string).collect();
    let child = command.env(HELLO_VARIABLE, numbers.join(" ")).spawn().unwrap();
    drop(command);
    (handshake.greet(GREETING.to_owned()), child)
}

fn is_refused(hello: [u8; 12], reason: &str) {
    let (greeted, mut child) = greeted_by_one_who_says(&hello);
    assert_eq!(greeted.map_err(|error| error.to_string()).err().as_deref(), Some(reason));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

fn says_too_little() {
    let mut command = Command::new("true");
    let handshake = Handshake::prepare_within(&mut command, WATCHDOG).unwrap();
    let mut child = command.spawn().unwrap();
    drop(command);
    let error = handshake.greet(GREETING.to_owned()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// A worker whose starter sends `hello` sends its own hello, and the reason why it exits.
fn refuses_its_starter(hello: &[u8], reason: &str) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.write_all(hello).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("handshake");
    command.env("CAMRIG_HANDSHAKE", &folder).stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut said = Vec::new();
    // Unread bytes of this side turn the end into an error.
    let _ = ours.read_to_end(&mut said);
    let expected = [b"camrig\r\n".as_slice(), &VERSION.to_le_bytes(), reason.as_bytes(), b"\n"].concat();
    assert_eq!(String::from_utf8_lossy(&said), String::from_utf8_lossy(&expected));
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(!folder.exists());
}

fn is_not_greeted() {
    let (handshake, guest) = start(SHORT);
    assert_eq!(guest.end(), (Some(1), String::new()));
    assert_eq!(greet(handshake).err().as_deref(), Some(NO_GREETING));
}

fn comes_later() {
    let (handshake, guest) = start(WATCHDOG);
    let socket = guest.socket();
    let lifeline = greet(handshake).unwrap();
    // The socket may already have been removed.
    UnknownPeer::Greets.connect(&socket);
    assert_eq!(guest.end(), (Some(0), format!("{GREETING}\n")));
    drop(lifeline);
}
