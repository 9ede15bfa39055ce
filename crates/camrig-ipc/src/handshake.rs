//! How a process meets the one that started it, so that neither's death leaves anything behind.
//!
//! Two processes get their first ipc-channel through a socket in the file system, in a folder that
//! ipc-channel makes below the temporary one. Here the *started* process makes it, inside a folder whose name
//! its starter chose: both know that name before the folder exists, and whoever survives the other removes
//! it. A socket pair in the place of the started process's stdin carries the socket's name one way, and tells
//! each side of the other's end: no wait is in vain.
//!
//! It deliberately knows nothing of what the greeting holds.
#![allow(unsafe_code)] // The started process restores TMPDIR and closes what it inherited, while it has one thread.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ipc_channel::ipc::{IpcOneShotServer, IpcSender};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Says to a process that it was started to be greeted, and where to make its socket.
const FOLDER_VARIABLE: &str = "CAMRIG_HANDSHAKE";

/// The temporary folder, which `TMPDIR` does not name until the socket is made.
const TMPDIR_VARIABLE: &str = "CAMRIG_TMPDIR";

/// How long a started process may take to make its socket.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest socket name, in bytes, that is read: twice what a socket address holds.
const NAME_BYTES_MAX: u64 = 216;

/// A process that was started, or is about to be, and has not been greeted.
pub struct Handshake {
    folder: Folder,
    socket: UnixStream,
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
        let now = clock_gettime(ClockId::Monotonic);
        let name = format!(".camrig-{:x}-{:x}-{:x}", std::process::id(), now.tv_sec, now.tv_nsec);
        let folder = Folder(std::env::temp_dir().join(name));
        let (socket, theirs) = UnixStream::pair()?;
        command.env(FOLDER_VARIABLE, &folder.0).env("TMPDIR", &folder.0).stdin(OwnedFd::from(theirs));
        match std::env::var_os("TMPDIR") {
            Some(folder) => command.env(TMPDIR_VARIABLE, folder),
            None => command.env_remove(TMPDIR_VARIABLE),
        };
        Ok(Self { folder, socket })
    }

    /// Waits until the process is ready to be greeted, and greets it. The command has to be dropped before:
    /// it holds the process's end of the socket pair.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedEof`] when the process ended instead, [`ErrorKind::WouldBlock`] when it has not
    /// answered within 30 seconds.
    pub fn greet<T: Serialize>(self, greeting: T) -> Result<Lifeline> {
        self.socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        let mut name = String::new();
        BufReader::new((&self.socket).take(NAME_BYTES_MAX)).read_line(&mut name)?;
        let Some(name) = name.strip_suffix('\n') else { return Err(ErrorKind::UnexpectedEof.into()) };
        if !Path::new(name).starts_with(&self.folder.0) {
            return Err(Error::other("the worker's socket is not in its folder"));
        }
        // Without a descriptor left, `connect` would complain of a bad one.
        drop(self.socket.try_clone()?);
        // A process that was killed at this moment refuses, and ipc-channel loses the descriptor: one for each
        // process that dies between its answer and its greeting.
        IpcSender::connect(name.to_owned())?.send(greeting).map_err(Error::other)?;
        Ok(Lifeline { _socket: self.socket })
    }
}

/// In a process that was started to be greeted: waits for the greeting. None in any other process.
///
/// From here on the process ends when its starter does. Its stdin is empty. Has to be called before any
/// thread is started.
///
/// # Errors
/// When the starter is gone, or the socket cannot be made.
pub fn accept<T: DeserializeOwned + Serialize>() -> Option<Result<T>> {
    let folder = Folder(std::env::var_os(FOLDER_VARIABLE)?.into());
    Some(accept_in(&folder))
}

fn accept_in<T: DeserializeOwned + Serialize>(folder: &Folder) -> Result<T> {
    close_inherited_memory();
    let mut socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    // Only we can reach the socket: connecting takes the right to search its folder.
    DirBuilder::new().mode(0o700).create(&folder.0)?;
    let (server, name) = IpcOneShotServer::<T>::new()?;
    restore_temporary_folder(std::env::var_os(TMPDIR_VARIABLE).as_deref());
    writeln!(socket, "{name}")?;
    let path = folder.0.clone();
    std::thread::Builder::new().name("starter".to_owned()).spawn(move || {
        // The starter says nothing; this returns when it is gone.
        let _ = socket.read(&mut [0]);
        drop(Folder(path));
        std::process::exit(1);
    })?;
    let (_, greeting) = server.accept().map_err(Error::other)?;
    Ok(greeting)
}

/// Closes the starter's shared memory. It is not meant to be inherited, but ipc-channel copies its descriptors
/// without close-on-exec: they would add up, and keep memory alive that nobody uses.
fn close_inherited_memory() {
    let ours = std::process::id().to_string();
    let inherited = |descriptor: std::fs::DirEntry| -> Option<RawFd> {
        let target = std::fs::read_link(descriptor.path()).ok()?;
        // The name says how many there were before, and which process made it.
        let name = target.to_str()?.strip_prefix("/memfd:/ipc-channel-shared-memory.")?;
        name.split('.').nth(1).filter(|&maker| maker != ours)?;
        descriptor.file_name().to_str()?.parse().ok()
    };
    let descriptors = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    for descriptor in descriptors.filter_map(inherited).collect::<Vec<_>>() {
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
