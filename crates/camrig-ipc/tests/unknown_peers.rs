//! Handshakes with an unknown peer in between: no process hangs, and none is hijacked. Also what a process does without free
//! descriptors, because this binary runs one test after the other.
//!
//! If a handshake has started it, this binary is the started process; otherwise it runs the tests. The unknown peer
//! is as powerful as possible: it has the same user, and connects before the parent.
#![allow(clippy::unwrap_used)] // An error fails the test.
#![allow(clippy::print_stdout, clippy::print_stderr)] // Tests print for the developer.

use std::ffi::OsStr;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use camrig_frame::{FrameHeader, FrameSetHeader, PixelFormat, Stream};
use camrig_ipc::handshake::{self, Handshake, KeepAlive};
use camrig_ipc::protocol::VERSION;
use camrig_ipc::{LinkReader, LinkState, LinkWriter, Notifier, Overflow, SlotPool, channel};
use ipc_channel::ipc::IpcSender;
use libtest_mimic::{Arguments, Trial};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Upper bound for any wait; longer means that the event will not happen.
const WATCHDOG: Duration = Duration::from_secs(60);

/// Timeout for waits that are expected to fail.
const SHORT: Duration = Duration::from_millis(500);

const UNKNOWN_PEER: &str = "a peer connected to its socket";
const NO_SETUP: &str = "no setup arrived within 0.5 s";
const SETUP: &str = "a setup";

/// Makes the process speak another protocol or version: its first bytes, as numbers.
const HELLO_VARIABLE: &str = "CAMRIG_TEST_HELLO";

fn main() -> ExitCode {
    if let Ok(hello) = std::env::var(HELLO_VARIABLE) {
        return send_hello(&hello);
    }
    match handshake::accept::<String>() {
        Some(Ok(setup)) => {
            println!("{setup}");
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
        test("a_new_reader_is_back_when_there_are_descriptors_again", is_back_later),
        test("a_process_is_connected_by_its_parent", is_connected),
        test("a_folder_that_a_process_did_not_make_stays", did_not_make),
        test("an_unknown_peer_with_garbage_is_refused", || refused(&[UnknownPeer::Garbage], UNKNOWN_PEER)),
        test("an_unknown_peer_that_disconnects_is_refused", || {
            refused(&[UnknownPeer::HangsUp], UNKNOWN_PEER);
        }),
        test("an_unknown_peer_with_a_setup_is_refused", || refused(&[UnknownPeer::SendsSetup], UNKNOWN_PEER)),
        test("an_unknown_peer_that_connects_twice_is_refused", || {
            refused(&[UnknownPeer::SendsSetup, UnknownPeer::SendsSetup], UNKNOWN_PEER);
        }),
        test("a_silent_unknown_peer_times_out", || refused(&[UnknownPeer::Silent], NO_SETUP)),
        test("many_silent_unknown_peers_time_out", || {
            let mut crowd = [UnknownPeer::Pushing; 32];
            crowd[0] = UnknownPeer::Silent;
            refused(&crowd, NO_SETUP);
        }),
        test("a_process_without_a_setup_ends", is_not_connected),
        test("a_later_unknown_peer_is_ignored", comes_later),
        test("a_process_of_another_version_is_refused", || {
            is_refused(OTHER_VERSION, &format!("the process speaks {OTHER_IS_SPOKEN} {VERSION}"));
        }),
        test("a_process_that_is_no_worker_is_refused", || {
            is_refused(*b"hello, world", "the process does not speak camrig's protocol");
        }),
        test("a_process_that_sends_too_little_has_ended", sends_too_little),
        test("a_parent_of_another_version_is_refused", || {
            let reason = format!("the process that started it speaks {OTHER_IS_SPOKEN} {VERSION}");
            refuses_its_parent(&OTHER_VERSION, &reason);
        }),
        test("a_parent_without_the_protocol_is_refused", || {
            refuses_its_parent(&[0xff; 64], "the process that started it does not speak camrig's protocol");
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
    /// Sends a setup that lacks only the secret.
    SendsSetup,
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
            Self::SendsSetup => {
                IpcSender::connect(socket).ok()?.send(([0_u8; 16], "obey".to_owned())).ok()?;
            }
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

/// A process that was started and is not connected yet.
struct Started {
    child: Child,
    folder: PathBuf,
}

fn start(bound: Duration) -> (Handshake, Started) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let handshake = Handshake::prepare_within(&mut command, bound).unwrap();
    let folder = command.get_envs().find(|(name, _)| *name == OsStr::new("TMPDIR")).unwrap().1.unwrap();
    let folder = PathBuf::from(folder);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    (handshake, Started { child, folder })
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

impl Started {
    /// Returns its socket, which is alone in its folder when it listens.
    fn socket(&self) -> PathBuf {
        let socket = self.folder.join("socket");
        let entries = || std::fs::read_dir(&self.folder).map_or(0, Iterator::count);
        wait_for("the socket", || (socket.exists() && entries() == 1).then_some(()));
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

fn connect(handshake: Handshake) -> Result<KeepAlive, String> {
    handshake.connect(SETUP.to_owned()).map_err(|error| error.to_string())
}

fn is_connected() {
    let (handshake, started) = start(WATCHDOG);
    let keep_alive = connect(handshake).unwrap();
    assert_eq!(started.end(), (Some(0), format!("{SETUP}\n")));
    drop(keep_alive);
}

fn was_killed() {
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let (handshake, mut started) = start(WATCHDOG);
    started.socket();
    started.child.kill().unwrap();
    started.child.wait().unwrap();
    let error = handshake.connect(SETUP.to_owned()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
    drop(started);
    assert_eq!(descriptors(), before);
}

/// Runs `action` while this process can open nothing.
fn without_descriptors(action: impl FnOnce()) {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(0), ..limit }).unwrap();
    action();
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// A worker is killed before it is connected, and a parent without descriptors removes its folder.
fn is_removed_without_a_descriptor() {
    let (handshake, mut started) = start(WATCHDOG);
    started.socket();
    started.child.kill().unwrap();
    started.child.wait().unwrap();
    assert!(started.folder.exists());
    without_descriptors(|| drop(handshake));
    assert!(!started.folder.exists());
}

/// The pool of a producer cannot be announced to a reader that was restarted, until the next frameset.
fn is_back_later() {
    let link_state = Arc::new(LinkState::new().unwrap());
    let (announcements, announced) = channel().unwrap();
    let notifier = Notifier::new().unwrap();
    let writer = LinkWriter::new(Arc::clone(&link_state), notifier, announcements, Overflow::Block, 1);
    writer.announce_source(&Arc::default());
    let pool = SlotPool::new(2, 1, 0).unwrap();
    writer.announce_pool(&pool).unwrap();
    let frame = FrameHeader::image(Stream::INFRARED_1, PixelFormat::Y8, 1, 1);
    let header = FrameSetHeader::new(0, [frame].into_iter().collect());
    let publish = |sequence| writer.publish(&pool.lend(&header).unwrap().unwrap().publish(sequence));

    drop(announced);
    let absence = link_state.set_reader_away();
    let (announcements, announced) = channel().unwrap();
    without_descriptors(|| assert!(writer.relink(announcements, absence).is_err()));
    assert!(link_state.reader_gone() && writer.has_room());
    publish(0);
    let mut reader = LinkReader::new(Arc::clone(&link_state), announced);
    assert_eq!(reader.take().unwrap().map(|lease| lease.header().sequence), Some(0));
    let counts = link_state.counts();
    assert_eq!((counts.produced, counts.dropped.iter().sum::<u64>()), (1, 0));
}

/// A worker creates its folder after its handshake was given up, and is killed: its parent removes it after its end.
fn is_made_late() {
    let (handshake, mut started) = start(WATCHDOG);
    let folder = handshake.folder();
    started.socket();
    started.child.kill().unwrap();
    started.child.wait().unwrap();
    // As if it were created now.
    handshake.connect(SETUP.to_owned()).err().unwrap();
    std::fs::create_dir(&started.folder).unwrap();
    std::fs::create_dir(started.folder.join("unfinished")).unwrap();
    drop(folder);
    assert!(!started.folder.exists());
}

/// A process started by hand, or by a parent whose folder is there already, removes nothing.
fn did_not_make() {
    let (handshake, mut started) = start(WATCHDOG);
    drop(handshake);
    started.child.wait().unwrap();
    let (folder, content) = (&started.folder, started.folder.join("sub"));
    std::fs::create_dir_all(&content).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let by_hand = command.env("CAMRIG_HANDSHAKE", folder).stdin(Stdio::null()).output().unwrap();
    assert!(by_hand.status.code() == Some(1) && content.exists(), "{by_hand:?}");
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let by_hand = command.stdin(OwnedFd::from(theirs));
    let hello = ours.write_all(b"camrig\r\n").and_then(|()| ours.write_all(&VERSION.to_le_bytes()));
    hello.and_then(|()| ours.write_all(&[0; 16 + 8])).unwrap();
    let by_hand = by_hand.output().unwrap();
    drop(command);
    let mut answer = Vec::new();
    ours.read_to_end(&mut answer).unwrap();
    assert!(by_hand.status.code() == Some(1) && content.exists(), "{by_hand:?}");
    assert!(String::from_utf8_lossy(&answer).contains("File exists"), "{answer:?}");
    std::fs::remove_dir_all(folder).unwrap();
}

fn refused(peers: &[UnknownPeer], reason: &str) {
    let (handshake, started) = start(if reason == NO_SETUP { SHORT } else { WATCHDOG });
    let socket = started.socket();
    let connected: Vec<_> = peers.iter().map(|peer| peer.connect(&socket)).collect();
    assert_eq!(connect(handshake).err().as_deref(), Some(reason));
    assert_eq!(started.end(), (Some(1), String::new()));
    drop(connected);
}

const OTHER_VERSION: [u8; 12] = *b"camrig\r\n\x01\x02\0\0";
const OTHER_IS_SPOKEN: &str = "version 513 of camrig's protocol, this program speaks version";

/// Runs a process that speaks no protocol or another one: sends these bytes, and waits for the end of its parent.
fn send_hello(hello: &str) -> ExitCode {
    let mut socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let hello: Vec<u8> = hello.split(' ').map(|number| number.parse().unwrap()).collect();
    socket.write_all(&hello).unwrap();
    // Until the end, or an error, which also means the end.
    let _ = socket.read_to_end(&mut Vec::new());
    ExitCode::SUCCESS
}

fn connected_to_one_that_sends(hello: &[u8]) -> (Result<KeepAlive, std::io::Error>, Child) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let handshake = Handshake::prepare_within(&mut command, WATCHDOG).unwrap();
    let numbers: Vec<String> = hello.iter().map(u8::to_string).collect();
    let child = command.env(HELLO_VARIABLE, numbers.join(" ")).spawn().unwrap();
    drop(command);
    (handshake.connect(SETUP.to_owned()), child)
}

fn is_refused(hello: [u8; 12], reason: &str) {
    let (connected, mut child) = connected_to_one_that_sends(&hello);
    assert_eq!(connected.map_err(|error| error.to_string()).err().as_deref(), Some(reason));
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

fn sends_too_little() {
    let mut command = Command::new("true");
    let handshake = Handshake::prepare_within(&mut command, WATCHDOG).unwrap();
    let mut child = command.spawn().unwrap();
    drop(command);
    let error = handshake.connect(SETUP.to_owned()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// A worker whose parent sends `hello` sends its own hello, and the reason why it exits.
fn refuses_its_parent(hello: &[u8], reason: &str) {
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

fn is_not_connected() {
    let (handshake, started) = start(SHORT);
    assert_eq!(started.end(), (Some(1), String::new()));
    assert_eq!(connect(handshake).err().as_deref(), Some(NO_SETUP));
}

fn comes_later() {
    let (handshake, started) = start(WATCHDOG);
    let socket = started.socket();
    let keep_alive = connect(handshake).unwrap();
    // The socket may already have been removed.
    UnknownPeer::SendsSetup.connect(&socket);
    assert_eq!(started.end(), (Some(0), format!("{SETUP}\n")));
    drop(keep_alive);
}
