//! The handshake between a process and the one that starts it, robust against the crash of either side.
//!
//! Two processes get their first ipc-channel through a socket in the file system, in a folder that ipc-channel
//! creates in the temporary folder. Here the *started* process creates it, inside a folder whose name was chosen by
//! its parent: both know the name before the folder exists, and the one that survives removes it. A socket pair in
//! place of the started process's stdin transfers the socket's name, and shows each side the end of the other, so
//! that no wait is infinite. It also transfers a copy of the socket itself, so that the parent can connect even if
//! the started process is killed at this point: ipc-channel leaks the descriptor of a refused connection.
//!
//! Only processes of the same user can reach the socket, and their data is not trusted. Each side starts with a magic number
//! and the version of its protocol, and rejects other versions. The socket pair also transfers a secret to the started
//! process, which must come with the setup, and its answer: if an unknown peer connects first, the handshake fails within a
//! bounded time, with a reason, and the peer is not trusted.
//!
//! The setup is the first message of the parent. This module does not know its content.
#![allow(unsafe_code)] // The started process looks through its descriptors and restores TMPDIR, while it has one thread.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::io::{BufRead, BufReader, Cursor, Error, ErrorKind, IoSlice, IoSliceMut, Read, Result, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use ipc_channel::ipc::{IpcOneShotServer, IpcSender};
use rustix::cmsg_space;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, getsockname, listen, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::channel::{into_io, is_closed};
use crate::memory;
use crate::protocol::{self, HELLO_BYTES};
use crate::temporary;
use crate::threads::spawn_thread;

/// The environment variable of a worker: the folder in which it creates its socket.
const FOLDER_VARIABLE: &str = "CAMRIG_HANDSHAKE";

/// The environment variable with the temporary folder, while `TMPDIR` has another value.
const TMPDIR_VARIABLE: &str = "CAMRIG_TMPDIR";

/// Maximum time until a worker has created its socket, and maximum time that it waits for its setup.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Maximum number of bytes that are read from a worker: many times a socket's name and a reason.
const SAID_BYTES_MAX: u64 = 4096;

/// The answer of a worker that has received its setup; anything else is a reason.
const CONNECTED: &str = "connected";

/// Whether this process has called [`accept`].
static ACCEPTED: AtomicBool = AtomicBool::new(false);

/// Distinguishes the parent from unknown peers.
type Secret = [u8; 16];

/// The setup of a worker with the secret.
#[derive(Serialize, Deserialize)]
struct Sealed<T> {
    secret: Secret,
    setup: T,
}

/// A worker that is about to be started, or was started and is not connected yet.
pub struct Handshake {
    folder: Folder,
    socket: UnixStream,
    secret: Secret,
    bound: Duration,
}

/// Keeps a connected worker running: the worker ends when this is dropped, and so when this process ends.
pub struct KeepAlive {
    _socket: UnixStream,
}

/// The folder of a worker's socket. It is removed when this is dropped; the parent's, whose name nobody can guess, also if the
/// worker created it.
pub struct Folder(PathBuf);

/// The name of the socket in its folder.
const SOCKET: &str = "socket";

impl Drop for Folder {
    fn drop(&mut self) {
        // By their names: to list a folder takes descriptors, and there may be none left. Fails if the other side has
        // removed it, or never created it.
        let _ = std::fs::remove_file(self.0.join(SOCKET));
        if let Err(error) = std::fs::remove_dir(&self.0)
            && error.kind() == ErrorKind::DirectoryNotEmpty
        {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

impl Handshake {
    /// Prepares `command` to start a process that calls [`accept`].
    ///
    /// # Errors
    /// When the system has no descriptors left, or no temporary folder can have a socket.
    pub fn prepare(command: &mut Command) -> Result<Self> {
        Self::prepare_within(command, ANSWER_TIMEOUT)
    }

    /// Like [`Self::prepare`], with another time-out for each side's wait for the other.
    ///
    /// # Errors
    /// When the system has no descriptors left, or no temporary folder can have a socket.
    pub fn prepare_within(command: &mut Command, bound: Duration) -> Result<Self> {
        let mut random = File::open("/dev/urandom")?;
        let (mut secret, mut name) = (Secret::default(), [0; 8]);
        random.read_exact(&mut secret)?;
        random.read_exact(&mut name)?;
        // Nobody can guess the name, and make the folder first.
        let name = format!(".camrig-{:016x}", u64::from_le_bytes(name));
        let folder = Folder(temporary::path_of(&name)?);
        let (mut socket, theirs) = UnixStream::pair()?;
        // It fits into the socket pair's buffer, so this does not block.
        socket.write_all(&protocol::hello())?;
        socket.write_all(&secret)?;
        socket.write_all(&(bound.as_millis() as u64).to_le_bytes())?;
        command.env(FOLDER_VARIABLE, &folder.0).env("TMPDIR", &folder.0).stdin(OwnedFd::from(theirs));
        match std::env::var_os("TMPDIR") {
            Some(folder) => command.env(TMPDIR_VARIABLE, folder),
            None => command.env_remove(TMPDIR_VARIABLE),
        };
        Ok(Self { folder, socket, secret, bound })
    }

    /// Returns the folder of the worker's socket, to be dropped after the worker's end: a worker that is killed during its
    /// handshake may create its folder later than this process gives the handshake up.
    pub fn folder(&self) -> Folder {
        Folder(self.folder.0.clone())
    }

    /// Creates a handshake with a process at the other end of `socket`, with a folder that does not exist.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn with(socket: UnixStream) -> Self {
        let folder = Folder(PathBuf::from("/proc/self/nowhere"));
        Self { folder, socket, secret: Secret::default(), bound: ANSWER_TIMEOUT }
    }

    /// Waits until the worker is ready, sends it its setup, and waits for its answer. The command has to be dropped before,
    /// because it holds the worker's end of the socket pair.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedEof`] if the worker ended instead, [`ErrorKind::TimedOut`] if it did not answer in
    /// time, and the worker's reason if an unknown peer connected to it first.
    pub fn connect<T: Serialize>(self, setup: T) -> Result<KeepAlive> {
        // The worker times out first, and reports the reason.
        self.socket.set_read_timeout(Some(self.bound * 2))?;
        self.check_hello()?;
        let (first, listener) = self.listener()?;
        let mut said = BufReader::new(first.chain(&self.socket).take(SAID_BYTES_MAX));
        let name = self.line(&mut said)?;
        let Some(listener) = listener else {
            return Err(Error::other(name));
        };
        if !is_in(&self.folder.0, &name) {
            return Err(Error::other("its socket is not in its folder"));
        }
        // The backlog is as large as the system allows, because worker death does not unblock `connect`: this process
        // holds a duplicate of the listener, whose queue unknown peers may fill.
        listen(&listener, i32::MAX)?;
        let sealed = Sealed { secret: self.secret, setup };
        let sent = IpcSender::connect(name)
            .map_err(no_descriptor)
            .and_then(|sender| sender.send(sealed).map_err(into_io));
        // A worker that has ended, or closed its socket, reports the reason; other errors are this process's own.
        if let Err(error) = sent
            && !is_closed(&error)
        {
            return Err(error);
        }
        match self.line(&mut said)? {
            answer if answer == CONNECTED => Ok(KeepAlive { _socket: self.socket }),
            reason => Err(Error::other(reason)),
        }
    }

    /// Reads the first bytes that the process sends, and checks that it speaks this version of the protocol.
    fn check_hello(&self) -> Result<()> {
        let mut hello = [0; HELLO_BYTES];
        (&self.socket).read_exact(&mut hello).map_err(|error| self.read_error(error))?;
        protocol::check(&hello, "the process")
    }

    /// Returns the first byte of the process's next message, with the socket if it is the start of its name; a
    /// message with a reason for failure has no socket.
    fn listener(&self) -> Result<(Cursor<[u8; 1]>, Option<OwnedFd>)> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut attached = RecvAncillaryBuffer::new(&mut space);
        let mut first = [0];
        // A signal may interrupt the wait of a process that is stopped and continued.
        let received = retry_on_intr(|| {
            let received = &mut [IoSliceMut::new(&mut first)];
            recvmsg(&self.socket, received, &mut attached, RecvFlags::CMSG_CLOEXEC)
        });
        let received = received.map_err(|error| self.read_error(error.into()))?;
        if received.bytes == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            // No descriptor was left for it.
            return Err(Errno::MFILE.into());
        }
        let listener = attached.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        Ok((Cursor::new(first), listener))
    }

    /// Reads the next line of the worker.
    fn line(&self, said: &mut impl BufRead) -> Result<String> {
        let mut line = String::new();
        said.read_line(&mut line).map_err(|error| self.read_error(error))?;
        line.strip_suffix('\n').map(str::to_owned).ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }

    /// Converts the error of a failed read.
    fn read_error(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::WouldBlock => not_within(self.bound * 2, "it did not answer"),
            // The worker ended before it had read the secret.
            ErrorKind::ConnectionReset => ErrorKind::UnexpectedEof.into(),
            _ => error,
        }
    }
}

/// Returns whether a path is inside a folder and has no zero byte.
fn is_in(folder: &Path, path: &str) -> bool {
    let inside = |rest: &Path| rest.components().all(|part| matches!(part, Component::Normal(_)));
    !path.contains('\0') && Path::new(path).strip_prefix(folder).is_ok_and(inside)
}

fn not_within(bound: Duration, fact: &str) -> Error {
    Error::new(ErrorKind::TimedOut, format!("{fact} within {} s", bound.as_secs_f64()))
}

/// Returns the true error: without a free descriptor, ipc-channel reports a bad one.
fn no_descriptor(error: Error) -> Error {
    match Errno::from_io_error(&error) {
        Some(Errno::BADF) => Errno::MFILE.into(),
        _ => error,
    }
}

/// Waits for the setup in a worker; returns `None` in any other process.
///
/// From here on the process ends when its parent does. Its stdin is empty. Has to be called before any thread is
/// started.
///
/// # Errors
/// [`ErrorKind::NotConnected`] if no parent can be informed, because stdin is no socket. Otherwise the parent has ended or was
/// informed: the socket cannot be created, or only an unknown peer connects to it in time.
pub fn accept<T: DeserializeOwned + Serialize + Send + 'static>() -> Option<Result<T>> {
    let folder = std::env::var_os(FOLDER_VARIABLE)?;
    ACCEPTED.store(true, Ordering::Relaxed);
    Some(accept_in(Path::new(&folder)))
}

/// Returns whether this process was started as a worker and has not called [`accept`].
pub fn is_unanswered() -> bool {
    std::env::var_os(FOLDER_VARIABLE).is_some() && !ACCEPTED.load(Ordering::Relaxed)
}

fn accept_in<T: DeserializeOwned + Serialize + Send + 'static>(folder: &Path) -> Result<T> {
    if getsockname(std::io::stdin()).is_err() {
        let wrong = format!(
            "`{FOLDER_VARIABLE}` is set, but stdin is no socket; only a rig starts workers, with both"
        );
        return Err(Error::new(ErrorKind::NotConnected, wrong));
    }
    close_inherited_memory();
    let mut socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    socket.write_all(&protocol::hello())?;
    let setup = receive(folder, &mut socket);
    let answer = setup.as_ref().err().map_or_else(|| CONNECTED.to_owned(), Error::to_string);
    writeln!(socket, "{}", answer.lines().next().unwrap_or_default())?;
    setup
}

/// Receives the setup. The folder is removed before this returns: then the parent, which may have no descriptor left, has
/// nothing to remove.
fn receive<T: DeserializeOwned + Serialize + Send + 'static>(
    folder: &Path,
    socket: &mut UnixStream,
) -> Result<T> {
    let (mut hello, mut secret, mut bound) = ([0; HELLO_BYTES], Secret::default(), [0; 8]);
    socket.read_exact(&mut hello)?;
    protocol::check(&hello, "the process that started it")?;
    socket.read_exact(&mut secret)?;
    socket.read_exact(&mut bound)?;
    let bound = Duration::from_millis(u64::from_le_bytes(bound));
    // Only the same user can reach the socket: connecting needs the right to search its folder.
    let unmade = |error: Error| Error::new(error.kind(), format!("`{}`: {error}", folder.display()));
    DirBuilder::new().mode(0o700).create(folder).map_err(unmade)?;
    // Only from here on: a folder that was there belongs to somebody else.
    let folder = Folder(folder.to_owned());
    let (server, address) = server::<T>()?;
    restore_temporary_folder(std::env::var_os(TMPDIR_VARIABLE).as_deref());
    let path = move_socket(&address, &folder)?;
    send_socket(socket, &address, &path)?;
    let (mut parent, path) = (socket.try_clone()?, folder.0.clone());
    spawn_thread("parent-watch", move || {
        // The parent sends nothing more; the read returns when the parent has ended.
        let _ = parent.read(&mut [0]);
        drop(Folder(path));
        std::process::exit(1);
    })?;
    // In a thread of its own, because a peer may be silent forever, or send data on which ipc-channel panics.
    let (sender, received) = sync_channel(1);
    spawn_thread("setup", move || {
        // After a time-out nothing receives it.
        let _ = sender.send(server.accept());
    })?;
    match received.recv_timeout(bound) {
        Ok(Ok((_, Sealed { secret: theirs, setup }))) if theirs == secret => Ok(setup),
        Err(RecvTimeoutError::Timeout) => Err(not_within(bound, "no setup arrived")),
        _ => Err(Error::other("a peer connected to its socket")),
    }
}

/// Makes ipc-channel's socket. ipc-channel panics if its folder is gone, because the parent has ended this handshake.
fn server<T: Serialize + DeserializeOwned>() -> Result<(IpcOneShotServer<Sealed<T>>, String)> {
    // This process has one thread, and nothing has set a hook that would be missed.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let server = std::panic::catch_unwind(IpcOneShotServer::new);
    std::panic::set_hook(hook);
    server.unwrap_or_else(|_| Err(ErrorKind::NotFound.into()))
}

/// Moves ipc-channel's socket from its folder, whose name is random, to a place in `folder` where both sides can remove it
/// without a descriptor. Peers connect to it there as before. Returns its path.
fn move_socket(address: &str, folder: &Folder) -> Result<String> {
    let (address, path) = (Path::new(address), folder.0.join(SOCKET));
    std::fs::rename(address, &path)?;
    address.parent().map_or(Ok(()), std::fs::remove_dir)?;
    path.into_os_string().into_string().map_err(|_| ErrorKind::InvalidFilename.into())
}

/// Sends the path of ipc-channel's socket to the parent, together with a copy of the socket, which is bound to `address`.
fn send_socket(parent: &UnixStream, address: &str, path: &str) -> Result<()> {
    let mut sockets =
        descriptors().into_iter().filter(|(_, target)| target.to_string_lossy().starts_with("socket:"));
    let listener = sockets.find_map(|(descriptor, _)| {
        // SAFETY: it was open a moment ago, and there is no other thread that could have closed it.
        let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
        let bound = SocketAddrUnix::try_from(getsockname(descriptor).ok()?).ok()?;
        bound.path_bytes().is_some_and(|bound| bound == address.as_bytes()).then_some(descriptor)
    });
    let listener = listener.ok_or_else(|| match std::fs::read_dir("/proc/self/fd") {
        Err(error) => {
            Error::new(error.kind(), format!("/proc/self/fd cannot be read, but workers need /proc: {error}"))
        }
        Ok(_) => Error::other("ipc-channel's socket is not in /proc/self/fd"),
    })?;
    send_attached(parent, format!("{path}\n").as_bytes(), listener)
}

/// Sends bytes with a descriptor attached.
pub(crate) fn send_attached(socket: &UnixStream, said: &[u8], attached: BorrowedFd<'_>) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let (mut message, attached) = (SendAncillaryBuffer::new(&mut space), [attached]);
    let fits = message.push(SendAncillaryMessage::ScmRights(&attached));
    debug_assert!(fits, "there is space for one descriptor");
    // A short message into an empty buffer is never truncated.
    sendmsg(socket, &[IoSlice::new(said)], &mut message, SendFlags::empty())?;
    Ok(())
}

/// Returns the descriptors of this process with their targets.
fn descriptors() -> Vec<(RawFd, PathBuf)> {
    let descriptors = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let known = descriptors.filter_map(|descriptor| {
        let number = descriptor.file_name().to_str()?.parse().ok()?;
        Some((number, std::fs::read_link(descriptor.path()).ok()?))
    });
    known.collect()
}

/// Closes the parent's shared memory, which should not be inherited: ipc-channel duplicates its descriptors without
/// close-on-exec, so they would accumulate and keep unused memory alive.
fn close_inherited_memory() {
    let ours = std::process::id().to_string();
    let inherited = |target: &Path| {
        let name = target.to_str()?.strip_prefix("/memfd:")?;
        // A name contains the ID of the process that made the memory, in ipc-channel's behind a number.
        let maker = match name.strip_prefix(memory::NAME) {
            Some(maker) => maker.split(' ').next()?,
            None => name.strip_prefix("/ipc-channel-shared-memory.")?.split('.').nth(1)?,
        };
        Some(maker != ours)
    };
    for (descriptor, _) in descriptors().into_iter().filter(|(_, target)| inherited(target) == Some(true)) {
        // SAFETY: nothing in this process uses it: another process made it, and nothing was received yet.
        drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    }
}

/// Restores `TMPDIR` for the actors of this process.
fn restore_temporary_folder(folder: Option<&OsStr>) {
    // SAFETY: no other thread reads or writes the environment: `accept` is called before any is started.
    unsafe {
        match folder {
            Some(folder) => std::env::set_var("TMPDIR", folder),
            None => std::env::remove_var("TMPDIR"),
        }
        // Processes that this process starts are not workers.
        std::env::remove_var(FOLDER_VARIABLE);
        std::env::remove_var(TMPDIR_VARIABLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_guess_the_folder() {
        let random = || {
            let handshake = Handshake::prepare(&mut Command::new("true")).unwrap();
            let name = handshake.folder.0.file_name().unwrap().to_string_lossy().into_owned();
            let random = name.strip_prefix(".camrig-").unwrap().to_owned();
            assert!(random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_hexdigit()), "{name}");
            random
        };
        assert_ne!(random(), random());
    }
}
