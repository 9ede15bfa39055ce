//! How a process meets the one that started it, so that neither's death leaves anything behind.
//!
//! Two processes get their first ipc-channel through a socket in the file system, in a folder that
//! ipc-channel makes below the temporary one. Here the *started* process makes it, inside a folder whose name
//! its starter chose: both know that name before the folder exists, and whoever survives the other removes
//! it. A socket pair in the place of the started process's stdin carries the socket's name one way, and tells
//! each side of the other's end: no wait is in vain. It also carries a copy of the socket itself, so that the
//! starter can connect to it even when the started process was killed in that moment: ipc-channel keeps the
//! descriptor of a connection that is refused.
//!
//! Nobody but their own user can reach the socket; and of what that user's other programs send there nothing is
//! believed. Each side begins with a magic number and the version of its protocol, and refuses another version.
//! The socket pair also carries a secret to the started process, which the greeting repeats, and its
//! answer: a stranger who connects first, whatever he says or does not say, makes this handshake fail within a
//! bounded time, with a reason, and is not obeyed.
//!
//! It deliberately knows nothing of what the greeting holds.
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
use rustix::time::{ClockId, clock_gettime};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::channel::into_io;
use crate::protocol::{self, HELLO_BYTES};

/// Says to a process that it was started to be greeted, and where to make its socket.
const FOLDER_VARIABLE: &str = "CAMRIG_HANDSHAKE";

/// The temporary folder, which `TMPDIR` does not name until the socket is made.
const TMPDIR_VARIABLE: &str = "CAMRIG_TMPDIR";

/// How long a started process may take to make its socket, and how long it waits to be greeted.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The most bytes of what a started process says that are read: many times a socket's name and a reason.
const SAID_BYTES_MAX: u64 = 4096;

/// What a process says that was greeted by its starter; anything else is a reason.
const GREETED: &str = "greeted";

/// Whether this process has called [`accept`].
static ACCEPTED: AtomicBool = AtomicBool::new(false);

/// Tells the starter from strangers.
type Secret = [u8; 16];

/// A greeting, with what only the starter knows.
#[derive(Serialize, Deserialize)]
struct Sealed<T> {
    secret: Secret,
    greeting: T,
}

/// A process that was started, or is about to be, and has not been greeted.
pub struct Handshake {
    folder: Folder,
    socket: UnixStream,
    secret: Secret,
    bound: Duration,
}

/// What a greeted process lives by: it ends when this drops, and so when this process ends.
pub struct Lifeline {
    _socket: UnixStream,
}

/// A folder that goes when this value does, whoever made it.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        // Fails when the other side was quicker, or never made it.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Handshake {
    /// Prepares `command` to start a process that calls [`accept`].
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn prepare(command: &mut Command) -> Result<Self> {
        Self::prepare_within(command, ANSWER_TIMEOUT)
    }

    /// As [`Self::prepare`], with another bound of each side's wait for the other.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn prepare_within(command: &mut Command, bound: Duration) -> Result<Self> {
        let now = clock_gettime(ClockId::Monotonic);
        let name = format!(".camrig-{:x}-{:x}-{:x}", std::process::id(), now.tv_sec, now.tv_nsec);
        let folder = Folder(std::env::temp_dir().join(name));
        let (mut socket, theirs) = UnixStream::pair()?;
        let mut secret = Secret::default();
        File::open("/dev/urandom")?.read_exact(&mut secret)?;
        // It fits into the socket pair's buffer, so that nobody has to read it yet.
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

    /// With a process at the other end of `socket` whose folder is nowhere.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn with(socket: UnixStream) -> Self {
        let folder = Folder(PathBuf::from("/proc/self/nowhere"));
        Self { folder, socket, secret: Secret::default(), bound: ANSWER_TIMEOUT }
    }

    /// Waits until the process is ready to be greeted, greets it, and waits until it says so. The command has to
    /// be dropped before: it holds the process's end of the socket pair.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedEof`] when the process ended instead, [`ErrorKind::TimedOut`] when it has not
    /// answered in time, and what the process says when somebody else greeted it first.
    pub fn greet<T: Serialize>(self, greeting: T) -> Result<Lifeline> {
        // The process gives up first, and says why.
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
        // As much room as the system allows: with the copy in our hands, no end of the process wakes who waits
        // for a place in a queue of strangers.
        listen(&listener, i32::MAX)?;
        let sealed = Sealed { secret: self.secret, greeting };
        let sent = IpcSender::connect(name)
            .map_err(no_descriptor)
            .and_then(|sender| sender.send(sealed).map_err(into_io));
        // A process that is gone, or has closed its socket, says why; what is lacking here it would wait for.
        if let Err(error) = sent
            && !is_closed(&error)
        {
            return Err(error);
        }
        match self.line(&mut said)? {
            answer if answer == GREETED => Ok(Lifeline { _socket: self.socket }),
            reason => Err(Error::other(reason)),
        }
    }

    /// Reads the first bytes that the process sends, and checks that it speaks this version of the protocol.
    fn check_hello(&self) -> Result<()> {
        let mut hello = [0; HELLO_BYTES];
        (&self.socket).read_exact(&mut hello).map_err(|error| self.unheard(error))?;
        protocol::check(&hello, "the process")
    }

    /// The first byte of what the process says next, and the socket if that is the beginning of its name; none comes
    /// with a reason why there is none.
    fn listener(&self) -> Result<(Cursor<[u8; 1]>, Option<OwnedFd>)> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut attached = RecvAncillaryBuffer::new(&mut space);
        let mut first = [0];
        // A process that is stopped while it waits is interrupted when it goes on.
        let heard = retry_on_intr(|| {
            let heard = &mut [IoSliceMut::new(&mut first)];
            recvmsg(&self.socket, heard, &mut attached, RecvFlags::CMSG_CLOEXEC)
        });
        let heard = heard.map_err(|error| self.unheard(error.into()))?;
        if heard.bytes == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if heard.flags.contains(ReturnFlags::CTRUNC) {
            // There was no descriptor left for it.
            return Err(Errno::MFILE.into());
        }
        let listener = attached.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        Ok((Cursor::new(first), listener))
    }

    /// What the process says next.
    fn line(&self, said: &mut impl BufRead) -> Result<String> {
        let mut line = String::new();
        said.read_line(&mut line).map_err(|error| self.unheard(error))?;
        line.strip_suffix('\n').map(str::to_owned).ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }

    /// Why nothing was heard.
    fn unheard(&self, error: Error) -> Error {
        match error.kind() {
            ErrorKind::WouldBlock => not_within(self.bound * 2, "it did not answer"),
            // It ended before it had read the secret.
            ErrorKind::ConnectionReset => ErrorKind::UnexpectedEof.into(),
            _ => error,
        }
    }
}

/// Whether a path leads into a folder, and has no byte that no path has.
fn is_in(folder: &Path, path: &str) -> bool {
    let inside = |rest: &Path| rest.components().all(|part| matches!(part, Component::Normal(_)));
    !path.contains('\0') && Path::new(path).strip_prefix(folder).is_ok_and(inside)
}

fn not_within(bound: Duration, fact: &str) -> Error {
    Error::new(ErrorKind::TimedOut, format!("{fact} within {} s", bound.as_secs_f64()))
}

/// Whether nothing could be sent because the other side has closed its socket.
fn is_closed(error: &Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, NotFound};
    matches!(error.kind(), NotFound | ConnectionRefused | ConnectionReset | BrokenPipe)
}

/// Without a descriptor left, ipc-channel complains of a bad one.
fn no_descriptor(error: Error) -> Error {
    match Errno::from_io_error(&error) {
        Some(Errno::BADF) => Errno::MFILE.into(),
        _ => error,
    }
}

/// In a process that was started to be greeted: waits for the greeting. None in any other process.
///
/// From here on the process ends when its starter does. Its stdin is empty. Has to be called before any
/// thread is started.
///
/// # Errors
/// When the starter is gone, the socket cannot be made, or nobody but a stranger connects to it in time. The
/// starter has been told.
pub fn accept<T: DeserializeOwned + Serialize + Send + 'static>() -> Option<Result<T>> {
    let folder = Folder(std::env::var_os(FOLDER_VARIABLE)?.into());
    ACCEPTED.store(true, Ordering::Relaxed);
    Some(accept_in(&folder))
}

/// Returns whether this process was started to be greeted and has not called [`accept`].
pub fn is_unanswered() -> bool {
    std::env::var_os(FOLDER_VARIABLE).is_some() && !ACCEPTED.load(Ordering::Relaxed)
}

fn accept_in<T: DeserializeOwned + Serialize + Send + 'static>(folder: &Folder) -> Result<T> {
    close_inherited_memory();
    let mut socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    socket.write_all(&protocol::hello())?;
    let greeted = meet(folder, &mut socket);
    let answer = greeted.as_ref().err().map_or_else(|| GREETED.to_owned(), Error::to_string);
    writeln!(socket, "{}", answer.lines().next().unwrap_or_default())?;
    greeted
}

fn meet<T: DeserializeOwned + Serialize + Send + 'static>(
    folder: &Folder,
    socket: &mut UnixStream,
) -> Result<T> {
    let (mut hello, mut secret, mut bound) = ([0; HELLO_BYTES], Secret::default(), [0; 8]);
    socket.read_exact(&mut hello)?;
    protocol::check(&hello, "the process that started it")?;
    socket.read_exact(&mut secret)?;
    socket.read_exact(&mut bound)?;
    let bound = Duration::from_millis(u64::from_le_bytes(bound));
    // Only we can reach the socket: connecting takes the right to search its folder.
    DirBuilder::new().mode(0o700).create(&folder.0)?;
    let (server, name) = IpcOneShotServer::<Sealed<T>>::new()?;
    restore_temporary_folder(std::env::var_os(TMPDIR_VARIABLE).as_deref());
    tell_socket(socket, &name)?;
    let (mut starter, path) = (socket.try_clone()?, folder.0.clone());
    std::thread::Builder::new().name("starter".to_owned()).spawn(move || {
        // The starter says nothing more; this returns when it is gone.
        let _ = starter.read(&mut [0]);
        drop(Folder(path));
        std::process::exit(1);
    })?;
    // A thread of its own: who connects may say nothing for ever, or what ipc-channel panics at.
    let (sender, heard) = sync_channel(1);
    std::thread::Builder::new().name("greeting".to_owned()).spawn(move || {
        // Nobody hears what comes too late.
        let _ = sender.send(server.accept());
    })?;
    match heard.recv_timeout(bound) {
        Ok(Ok((_, Sealed { secret: theirs, greeting }))) if theirs == secret => Ok(greeting),
        Err(RecvTimeoutError::Timeout) => Err(not_within(bound, "nobody greeted it")),
        _ => Err(Error::other("a peer connected to its socket")),
    }
}

/// Tells the starter where the socket is that ipc-channel has made, together with a copy of it.
fn tell_socket(starter: &UnixStream, name: &str) -> Result<()> {
    let mut sockets =
        descriptors().into_iter().filter(|(_, target)| target.to_string_lossy().starts_with("socket:"));
    let listener = sockets.find_map(|(descriptor, _)| {
        // SAFETY: it was open a moment ago, and there is no other thread that could have closed it.
        let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
        let address = SocketAddrUnix::try_from(getsockname(descriptor).ok()?).ok()?;
        address.path_bytes().is_some_and(|path| path == name.as_bytes()).then_some(descriptor)
    });
    let listener =
        listener.ok_or_else(|| Error::other("ipc-channel's socket is not among its descriptors"))?;
    tell(starter, format!("{name}\n").as_bytes(), listener)
}

/// Says something, with a descriptor attached.
pub(crate) fn tell(socket: &UnixStream, said: &[u8], attached: BorrowedFd<'_>) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let (mut message, attached) = (SendAncillaryBuffer::new(&mut space), [attached]);
    let fits = message.push(SendAncillaryMessage::ScmRights(&attached));
    debug_assert!(fits, "there is space for one descriptor");
    // A short message into an empty buffer is never cut.
    sendmsg(socket, &[IoSlice::new(said)], &mut message, SendFlags::empty())?;
    Ok(())
}

/// The descriptors of this process, and what they are.
fn descriptors() -> Vec<(RawFd, PathBuf)> {
    let descriptors = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let known = descriptors.filter_map(|descriptor| {
        let number = descriptor.file_name().to_str()?.parse().ok()?;
        Some((number, std::fs::read_link(descriptor.path()).ok()?))
    });
    known.collect()
}

/// Closes the starter's shared memory. It is not meant to be inherited, but ipc-channel copies its descriptors
/// without close-on-exec: they would add up, and keep memory alive that nobody uses.
fn close_inherited_memory() {
    let ours = std::process::id().to_string();
    let inherited = |target: &Path| {
        // The name says how many there were before, and which process made it.
        let name = target.to_str()?.strip_prefix("/memfd:/ipc-channel-shared-memory.")?;
        Some(name.split('.').nth(1)? != ours)
    };
    for (descriptor, _) in descriptors().into_iter().filter(|(_, target)| inherited(target) == Some(true)) {
        // SAFETY: nobody in this process knows it: another process made it, and nothing was received yet.
        drop(unsafe { OwnedFd::from_raw_fd(descriptor) });
    }
}

/// What the actors of this process make of `TMPDIR` is theirs again.
fn restore_temporary_folder(folder: Option<&OsStr>) {
    // SAFETY: no other thread reads or writes the environment: `accept` is called before any is started.
    unsafe {
        match folder {
            Some(folder) => std::env::set_var("TMPDIR", folder),
            None => std::env::remove_var("TMPDIR"),
        }
        // What this process starts is nobody's worker.
        std::env::remove_var(FOLDER_VARIABLE);
        std::env::remove_var(TMPDIR_VARIABLE);
    }
}
