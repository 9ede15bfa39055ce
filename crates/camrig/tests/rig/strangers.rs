//! Somebody else at a worker's socket, of the same user and there before the supervisor: nobody hangs, nobody is
//! hijacked, and the rig says whom it could not meet.
//!
//! The supervisor is stopped as soon as the worker is there, so that the stranger comes first. It deliberately
//! leaves to `camrig-ipc/tests/strangers.rs` what a handshake makes of each thing that a stranger may say.

use std::fs;
use std::path::{Path, PathBuf};

use ipc_channel::ipc::IpcSender;
use libtest_mimic::Trial;
use rustix::process::{Pid, Signal};

use crate::endings::{STEADY, begun, wait_for_more};
use crate::harness::{Placement, Plan, Rig};
use crate::test;

/// What a worker says of a stranger.
const A_STRANGER: &str = "process `front` cannot be met: a stranger connected to its socket";

/// What a worker says whom nobody greets.
const NOBODY: &str = "process `front` cannot be met: nobody greeted it within 30 s";

/// What a stranger has to say.
#[derive(Clone, Copy)]
enum Stranger {
    Garbage,
    HangsUp,
    /// With what lacks only the secret.
    Greets,
    Silent,
}

/// What a stranger keeps, so as not to hang up.
type Held = Option<IpcSender<u8>>;

impl Stranger {
    /// Connects, and says it; none when there is nobody to connect to any more.
    fn connect(self, socket: &str) -> Option<Held> {
        let socket = socket.to_owned();
        match self {
            // A string that is longer than its message.
            Self::Garbage => IpcSender::connect(socket).ok()?.send([0xff_u8; 32]).ok()?,
            Self::HangsUp => drop(IpcSender::<u8>::connect(socket).ok()?),
            Self::Greets => IpcSender::connect(socket).ok()?.send(([0_u8; 16], "front")).ok()?,
            Self::Silent => return IpcSender::connect(socket).ok().map(Some),
        }
        Some(None)
    }
}

/// Where a worker makes its socket, as its supervisor told it.
fn folder(worker: Pid) -> Option<PathBuf> {
    let environment = fs::read(format!("/proc/{}/environ", worker.as_raw_nonzero())).ok()?;
    let mut variables = environment.split(|&byte| byte == 0);
    let folder = variables.find_map(|variable| variable.strip_prefix(b"CAMRIG_HANDSHAKE="))?;
    Some(PathBuf::from(std::str::from_utf8(folder).ok()?))
}

/// The socket in this folder, if somebody listens there.
fn socket_in(folder: &Path) -> Option<String> {
    let listeners = fs::read_to_string("/proc/net/unix").unwrap();
    // The flag of a listener.
    let listens = |path: &str| {
        listeners.lines().any(|line| line.contains(" 00010000 ") && line.split(' ').next_back() == Some(path))
    };
    let sockets = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path().join("socket"));
    sockets.filter_map(|socket| socket.to_str().map(str::to_owned)).find(|socket| listens(socket))
}

/// Whether a worker has made its socket, now or before: then it has a thread that waits for its starter's end.
fn has_made_its_socket(worker: Pid) -> bool {
    let threads = fs::read_dir(format!("/proc/{}/task", worker.as_raw_nonzero())).into_iter().flatten();
    let mut names =
        threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
    names.any(|name| name == "starter\n")
}

/// The worker `front`.
fn front(rig: &Rig) -> Option<Pid> {
    rig.children().into_iter().find(|worker| worker.process == "front").map(|worker| worker.pid)
}

/// Waits for a worker `front` that is not the one `before`, and lets strangers connect to it before the supervisor
/// goes on. None when the supervisor was quicker.
fn come_first(rig: &mut Rig, before: Option<Pid>, strangers: &[Stranger]) -> Option<Vec<Held>> {
    // Many looks without a rest: the supervisor does not rest either.
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
    let held = socket.and_then(|socket| strangers.iter().map(|stranger| stranger.connect(&socket)).collect());
    rig.signal(Signal::CONT);
    held
}

/// Kills `front` again and again until the strangers are there before the supervisor meets its next life; how
/// often it was killed.
fn ambush(rig: &mut Rig, strangers: &[Stranger], said: &str) -> u64 {
    for kills in 1.. {
        let before = front(rig);
        rig.kill_worker("front");
        let held = come_first(rig, before, strangers);
        let met = rig.wait_for("that it was met, or not", |rig| {
            let stderr = rig.stderr();
            let again =
                stderr.lines().filter(|line| line.ends_with("camera `front` is running again")).count();
            let refused = stderr.contains(said);
            // The others wait for nobody meanwhile.
            (refused || again >= kills).then_some(!refused)
        });
        drop(held);
        if !met {
            return kills as u64;
        }
    }
    unreachable!("a supervisor that is always quicker")
}

/// A restart that strangers come in between is tried again, and the others go on meanwhile.
fn at_a_restart(strangers: &[Stranger], said: &str) {
    let policy = "process = 'front'\nrestart = { max = 1000, backoff_millis = 1, backoff_max_millis = 1 }\n";
    let mut rig = begun(&STEADY.replace("process = 'front'\n", policy), Placement::MultiProcess);
    let kills = ambush(&mut rig, strangers, said);
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

/// A rig whose worker strangers meet before it does not begin, and says why.
fn at_the_start(stranger: Stranger) {
    loop {
        let mut rig = Plan::new(STEADY, Placement::MultiProcess).arguments(&["--framesets", "20"]).start();
        let held = come_first(&mut rig, None, &[stranger]);
        let ended = rig.finish();
        drop(held);
        if ended.code() == Some(0) {
            // The supervisor was quicker.
            continue;
        }
        ended.assert_said(70, &[&format!("ERROR main: camera `front` failed: {A_STRANGER}")]);
        ended.assert_settled();
        return;
    }
}

pub(crate) fn add_to(trials: &mut Vec<Trial>) {
    // First the longest, which is idle for most of its time.
    test(trials, "strangers::one_who_is_silent_is_not_waited_for_in_vain", || {
        at_a_restart(&[Stranger::Silent], NOBODY);
    });
    for (name, strangers) in [
        ("one_with_garbage", [Stranger::Garbage].as_slice()),
        ("one_who_hangs_up", &[Stranger::HangsUp]),
        ("one_with_a_greeting", &[Stranger::Greets]),
        ("one_who_connects_twice", &[Stranger::Greets, Stranger::Greets]),
    ] {
        test(trials, format!("strangers::{name}_is_refused"), || at_a_restart(strangers, A_STRANGER));
    }
    for (name, stranger) in [("garbage", Stranger::Garbage), ("a_greeting", Stranger::Greets)] {
        test(trials, format!("strangers::one_with_{name}_at_the_start_is_named"), move || {
            at_the_start(stranger);
        });
    }
}
