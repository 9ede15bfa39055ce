//! How a rig's status is asked for on its machine: whoever connects to its socket is sent it as JSON.
//!
//! The socket has a name but no file (it is an abstract one), so that nothing is left of it however its
//! supervisor ends. Such a name has no owner: both sides ask the kernel who the other is, and only the same
//! user, or root, is answered or believed. There is no request, so that nobody can ask for anything else.

use std::fs;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use rustix::process::getuid;
use rustix::time::{ClockId, clock_gettime};

use crate::RigStatus;

/// How long one side waits for the other.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest status that is read, in bytes: a rig of the most actors and links stays below it.
const STATUS_BYTES_MAX: u64 = 16 << 20;

/// Where all names of sockets of this machine are listed; an abstract one begins with `@`.
const NAMES: &str = "/proc/net/unix";

/// The socket of a rig, before it is answered.
pub struct StatusSocket {
    listener: UnixListener,
    name: String,
}

impl StatusSocket {
    /// A socket for the rig of this process.
    ///
    /// # Errors
    /// When the system has no descriptors left.
    pub fn open() -> Result<Self> {
        let now = clock_gettime(ClockId::Monotonic);
        // The process id alone is not unique where containers share a network.
        let name = format!("{}{}-{:x}{:08x}", prefix(), std::process::id(), now.tv_sec, now.tv_nsec);
        Ok(Self { listener: UnixListener::bind_addr(&address(&name)?)?, name })
    }

    /// Its name, by which other processes [`read`] it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Answers on a thread of its own as long as `status` has something to say.
    ///
    /// # Errors
    /// When the system has no room for a thread.
    pub fn serve(self, status: impl Fn() -> Option<RigStatus> + Send + 'static) -> Result<()> {
        let serve = move || {
            // An error to accept is one of the system, and passing: too many descriptors.
            for stream in self.listener.incoming() {
                let Ok(stream) = stream else {
                    thread::sleep(PATIENCE);
                    continue;
                };
                if !is_trusted(&stream) {
                    continue;
                }
                let Some(status) = status() else { return };
                // Who asked and went away, or does not read, misses it.
                let _ = answer(&stream, &status);
            }
        };
        thread::Builder::new().name("status".to_owned()).spawn(serve).map(drop)
    }
}

/// One after the other: whoever does not read holds up the rest for [`PATIENCE`] at most.
fn answer(mut stream: &UnixStream, status: &RigStatus) -> Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&serde_json::to_vec(status)?)
}

/// The status of the rig whose socket is called `name`.
///
/// # Errors
/// When the rig is gone, does not answer, or is another user's.
pub fn read(name: &str) -> Result<RigStatus> {
    let stream = UnixStream::connect_addr(&address(name)?)?;
    if !is_trusted(&stream) {
        return Err(Error::new(ErrorKind::PermissionDenied, "the rig is another user's"));
    }
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut json = Vec::new();
    stream.take(STATUS_BYTES_MAX).read_to_end(&mut json)?;
    if json.is_empty() {
        return Err(Error::new(ErrorKind::UnexpectedEof, "the rig is ending"));
    }
    Ok(serde_json::from_slice(&json)?)
}

/// The names of the sockets of all rigs of this user.
///
/// # Errors
/// When the system does not tell.
pub fn names() -> Result<Vec<String>> {
    let prefix = prefix();
    let names = fs::read_to_string(NAMES)?;
    let names = names.lines().filter_map(|line| line.split_whitespace().last()?.strip_prefix('@'));
    // A listener has a line, and each connection that waits for it another.
    let mut names: Vec<_> = names.filter(|name| name.starts_with(&prefix)).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    Ok(names)
}

fn prefix() -> String {
    format!("camrig-{}-", getuid().as_raw())
}

fn address(name: &str) -> Result<SocketAddr> {
    SocketAddr::from_abstract_name(name)
}

/// Whether the other side is the same user, or root.
fn is_trusted(stream: &UnixStream) -> bool {
    socket_peercred(stream).is_ok_and(|peer| peer.uid == getuid() || peer.uid.is_root())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn whoever_connects_is_told_the_status_of_the_moment() {
        let socket = StatusSocket::open().unwrap();
        let name = socket.name().to_owned();
        assert!(names().unwrap().contains(&name));
        let (sender, statuses) = sync_channel(2);
        socket.serve(move || statuses.recv().ok()).unwrap();
        for produced in [1, 2] {
            let actor = crate::ActorStatus { produced, ..crate::ActorStatus::default() };
            let status = RigStatus { actors: vec![actor], ..RigStatus::default() };
            sender.send(status.clone()).unwrap();
            assert_eq!(read(&name).unwrap(), status);
        }
        drop(sender);
        assert_eq!(read(&name).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        while names().unwrap().contains(&name) {
            thread::yield_now();
        }
        assert_eq!(read(&name).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn who_does_not_read_holds_up_nobody_for_long() {
        let socket = StatusSocket::open().unwrap();
        let name = socket.name().to_owned();
        // More than the kernel keeps for a reader.
        let status = RigStatus { topology: "x".repeat(8 << 20), ..RigStatus::default() };
        let told = status.clone();
        socket.serve(move || Some(told.clone())).unwrap();
        let _silent = UnixStream::connect_addr(&address(&name).unwrap()).unwrap();
        // The first may run into its own patience while the silent one is waited for.
        assert!((0..3).any(|_| read(&name).is_ok_and(|read| read == status)));
    }
}
