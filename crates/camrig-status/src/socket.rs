//! The status socket: sends the status as JSON to each client that connects.
//!
//! The socket is an abstract Unix socket. It has a name but no file, so nothing remains of it, however its
//! supervisor ends. Such a name has no owner, so both sides ask the kernel for the user of the other, and accept
//! only the same user or root. There is no request, so a client can ask for nothing else.

use std::fs;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use rustix::process::getuid;
use rustix::time::{ClockId, clock_gettime};

use crate::RigStatus;

/// Maximum time that one side waits for the other.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The maximum size of a status, in bytes: a rig with the maximum number of actors and links stays below it.
const STATUS_BYTES_MAX: u64 = 16 << 20;

/// The system's list of socket names. An abstract name begins with `@`.
const NAMES: &str = "/proc/net/unix";

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
        let name = format!("{}{}-{:x}{:08x}", prefix(), std::process::id(), now.tv_sec, now.tv_nsec);
        Ok(Self { listener: UnixListener::bind_addr(&address(&name)?)?, name })
    }

    /// Returns the name with which other processes [`read`] it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends `status` to each client, on a thread of its own, until `status` returns `None` or the returned value
    /// drops.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn serve(self, status: impl Fn() -> Option<RigStatus> + Send + 'static) -> Result<Serving> {
        let serving = Serving { name: self.name.clone(), ended: Arc::default() };
        let ended = Arc::clone(&serving.ended);
        let serve = move || {
            // `accept` fails for a while when the system has no file descriptor left.
            for stream in self.listener.incoming() {
                if ended.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else {
                    thread::sleep(TIMEOUT);
                    continue;
                };
                if !is_trusted(&stream) {
                    continue;
                }
                let Some(status) = status() else { return };
                // A client that is gone or does not read gets no status.
                let _ = answer(&stream, &status);
            }
        };
        thread::Builder::new().name("status".to_owned()).spawn(serve)?;
        Ok(serving)
    }
}

/// A socket that is answered, until this drops.
pub struct Serving {
    name: String,
    ended: Arc<AtomicBool>,
}

impl Serving {
    /// Its name, by which other processes [`read`] it.
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

/// Sends the status to one client. A client that does not read delays the others by [`TIMEOUT`] at most.
fn answer(mut stream: &UnixStream, status: &RigStatus) -> Result<()> {
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(&serde_json::to_vec(status)?)
}

/// Reads the status of the rig whose socket is `name`.
///
/// # Errors
/// When the rig has ended, does not answer, or belongs to another user.
pub fn read(name: &str) -> Result<RigStatus> {
    let stream = UnixStream::connect_addr(&address(name)?)?;
    if !is_trusted(&stream) {
        return Err(Error::new(ErrorKind::PermissionDenied, "the rig belongs to another user"));
    }
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut json = Vec::new();
    stream.take(STATUS_BYTES_MAX).read_to_end(&mut json)?;
    if json.is_empty() {
        return Err(Error::new(ErrorKind::UnexpectedEof, "the rig is ending"));
    }
    Ok(serde_json::from_slice(&json)?)
}

/// Returns the names of the status sockets of this user's rigs, sorted.
///
/// # Errors
/// When the system's list of sockets cannot be read.
pub fn names() -> Result<Vec<String>> {
    let prefix = prefix();
    let names = fs::read_to_string(NAMES)?;
    let names = names.lines().filter_map(|line| line.split_whitespace().last()?.strip_prefix('@'));
    // There is one line per listener and one per connection that waits for it.
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

/// Whether the other side runs as the same user or as root.
fn is_trusted(stream: &UnixStream) -> bool {
    socket_peercred(stream).is_ok_and(|peer| peer.uid == getuid() || peer.uid.is_root())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

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
        while names().unwrap().contains(&name) {
            thread::yield_now();
        }
        assert_eq!(read(&name).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn a_socket_is_gone_when_it_is_no_longer_served() {
        let socket = StatusSocket::open().unwrap();
        let name = socket.name().to_owned();
        let serving = socket.serve(|| Some(RigStatus::default())).unwrap();
        assert_eq!(read(&name).unwrap(), RigStatus::default());
        drop(serving);
        while names().unwrap().contains(&name) {
            thread::yield_now();
        }
    }

    #[test]
    fn a_client_that_does_not_read_delays_others_by_a_bounded_time() {
        let socket = StatusSocket::open().unwrap();
        let name = socket.name().to_owned();
        // Larger than the kernel's buffer of a socket.
        let status = RigStatus { topology: "x".repeat(8 << 20), ..RigStatus::default() };
        let sent = status.clone();
        let _serving = socket.serve(move || Some(sent.clone())).unwrap();
        let _silent = UnixStream::connect_addr(&address(&name).unwrap()).unwrap();
        // The first read may time out itself while the server waits for the silent client.
        assert!((0..3).any(|_| read(&name).is_ok_and(|read| read == status)));
    }
}
