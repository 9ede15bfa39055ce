//! Tests of unknown peers at a worker's socket: a process of the same user connects before the supervisor. Nothing
//! hangs, the worker is not taken over, and the rig reports the failed handshake.
//!
//! The test stops the supervisor as soon as the worker runs, so that the unknown peer connects first.
//! `camrig-ipc/tests/unknown_peers.rs` tests the handshake's answer to every kind of message.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use libtest_mimic::Trial;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType, connect, send, socket};
use rustix::process::{Pid, Signal};

use crate::endings::{STEADY, started, wait_for_more};
use crate::harness::{Placement, Plan, Rig};
use crate::test;

/// The worker's message after an unknown peer connected.
const UNKNOWN_PEER: &str = "process `front` cannot be connected: a peer connected to its socket";

/// The worker's message after no valid setup arrived in time.
const NO_SETUP: &str = "process `front` cannot be connected: no setup arrived within 30 s";

/// The behaviour of an unknown peer.
#[derive(Clone, Copy)]
enum Peer {
    Garbage,
    HangsUp,
    /// Sends a setup without the secret.
    SendsSetup,
    Silent,
}

/// The open connection of a peer that does not hang up.
type Held = Option<OwnedFd>;

impl Peer {
    /// Connects and sends its message; `None` when the socket no longer exists.
    fn connect(self, socket: &str) -> Option<Held> {
        let connection = connected(socket)?;
        match self {
            // A string that claims to be longer than its message.
            Self::Garbage => send_message(&connection, &[0xff; 32])?,
            Self::HangsUp => {}
            Self::SendsSetup => send_message(&connection, b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x05front")?,
            Self::Silent => return Some(Some(connection)),
        }
        Some(None)
    }
}

fn connected(path: &str) -> Option<OwnedFd> {
    let connection = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    connect(&connection, &SocketAddrUnix::new(path).unwrap()).ok()?;
    Some(connection)
}

/// Sends a message as ipc-channel does: the sizes of the packet and of the message, and the message.
fn send_message(connection: &OwnedFd, message: &[u8]) -> Option<()> {
    let sizes = [size_of::<[usize; 2]>() + message.len(), message.len()].map(usize::to_ne_bytes);
    let packet = [sizes.as_flattened(), message].concat();
    send(connection, &packet, SendFlags::NOSIGNAL).ok().map(drop)
}

/// Returns the folder in which a worker creates its socket, from its environment.
fn folder(worker: Pid) -> Option<PathBuf> {
    let environment = fs::read(format!("/proc/{}/environ", worker.as_raw_nonzero())).ok()?;
    let mut variables = environment.split(|&byte| byte == 0);
    let folder = variables.find_map(|variable| variable.strip_prefix(b"CAMRIG_HANDSHAKE="))?;
    Some(PathBuf::from(std::str::from_utf8(folder).ok()?))
}

/// Returns the socket in this folder, which has this place when a process listens there.
fn socket_in(folder: &Path) -> Option<String> {
    let socket = folder.join("socket");
    socket.exists().then(|| socket.to_str().map(str::to_owned))?
}

/// Returns whether a worker has created its socket: it then has a thread that waits for its parent's end.
fn has_made_its_socket(worker: Pid) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", worker.as_raw_nonzero())).into_iter().flatten();
    let mut names =
        threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
    names.any(|name| name == "parent-watch\n")
}

/// Returns the worker `front`.
fn front(rig: &Rig) -> Option<Pid> {
    rig.children().into_iter().find(|worker| worker.process == "front").map(|worker| worker.pid)
}

/// Waits for a worker `front` other than `before`, and lets unknown peers connect to it before the supervisor continues.
/// Returns `None` when the supervisor was quicker.
fn connect_first(rig: &mut Rig, before: Option<Pid>, peers: &[Peer]) -> Option<Vec<Held>> {
    // Polls without sleeping, because the supervisor does not sleep either.
    let worker = rig
        .wait_for("the worker", |rig| (0..1000).find_map(|_| front(rig).filter(|&pid| Some(pid) != before)));
    rig.signal(Signal::STOP);
    let socket = rig.wait_for("its socket, or that it had one", |_| {
        let made = has_made_its_socket(worker);
        match folder(worker).and_then(|folder| socket_in(&folder)) {
            Some(socket) => Some(Some(socket)),
            None => made.then_some(None),
        }
    });
    let held = socket.and_then(|socket| peers.iter().map(|peer| peer.connect(&socket)).collect());
    rig.signal(Signal::CONT);
    held
}

/// Kills `front` repeatedly until unknown peers connect to its next instance before the supervisor; returns the number
/// of kills.
fn connect_before_supervisor(rig: &mut Rig, peers: &[Peer], said: &str) -> u64 {
    for kills in 1.. {
        let before = front(rig);
        rig.kill_worker("front");
        let held = connect_first(rig, before, peers);
        let connected = rig.wait_for("the end of the handshake", |rig| {
            let stderr = rig.stderr();
            let again =
                stderr.lines().filter(|line| line.ends_with("camera `front` is running again")).count();
            let refused = stderr.contains(said);
            // The other actors do not wait meanwhile.
            (refused || again >= kills).then_some(!refused)
        });
        drop(held);
        if !connected {
            return kills as u64;
        }
    }
    unreachable!("a supervisor that is always quicker")
}

/// A restart that unknown peers disturb is repeated, and the other actors continue meanwhile.
fn at_a_restart(peers: &[Peer], said: &str) {
    let policy = "process = 'front'\nrestart = { max = 1000, backoff_millis = 1, backoff_max_millis = 1 }\n";
    let mut rig = started(&STEADY.replace("process = 'front'\n", policy), Placement::MultiProcess);
    let kills = connect_before_supervisor(&mut rig, peers, said);
    for camera in ["rear", "front", "rear", "front"] {
        wait_for_more(&mut rig, camera);
    }
    rig.signal(Signal::TERM);
    let ended = rig.finish();
    assert_eq!(ended.code(), Some(0), "{:?}", ended.stderr);
    ended.assert_settled();
    let front = ended.report().actor("front");
    assert_eq!((front.state.as_str(), front.restarts), ("finished", kills), "{front:?}");
    assert_eq!(front.errors.iter().filter(|error| *error == said).count(), 1, "{front:?}");
    assert_eq!(front.errors.len() as u64, kills + 1, "{front:?}");
    for link in ended.report().links.iter().filter(|link| link.from == "rear") {
        assert_eq!((link.delivered, link.dropped.len()), (link.produced, 0), "{link:?}");
    }
}

/// A rig ends with the reason when an unknown peer connects to a worker at the start.
fn at_the_start(peer: Peer) {
    loop {
        let mut rig = Plan::new(STEADY, Placement::MultiProcess).arguments(&["--framesets", "20"]).start();
        let held = connect_first(&mut rig, None, &[peer]);
        let ended = rig.finish();
        drop(held);
        if ended.code() == Some(0) {
            // The supervisor was quicker.
            continue;
        }
        ended.assert_said(70, &[&format!("ERROR main: camera `front` failed: {UNKNOWN_PEER}")]);
        ended.assert_settled();
        return;
    }
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    // The longest test first: it is idle most of the time.
    test(trials, "unknown_peers::a_silent_one_times_out", || {
        at_a_restart(&[Peer::Silent], NO_SETUP);
    });
    for (name, peers) in [
        ("one_with_garbage", [Peer::Garbage].as_slice()),
        ("one_that_hangs_up", &[Peer::HangsUp]),
        ("one_with_a_setup", &[Peer::SendsSetup]),
        ("one_that_connects_twice", &[Peer::SendsSetup, Peer::SendsSetup]),
    ] {
        test(trials, format!("unknown_peers::{name}_is_refused"), || at_a_restart(peers, UNKNOWN_PEER));
    }
    for (name, peer) in [("garbage", Peer::Garbage), ("a_setup", Peer::SendsSetup)] {
        test(trials, format!("unknown_peers::one_with_{name}_at_the_start_is_named"), move || {
            at_the_start(peer);
        });
    }
}
