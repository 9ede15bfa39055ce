//! The crossings whose senders wait, while a part of a rig starts, until their readers take framesets: only then are they ready,
//! so that the cameras of their part start, and no frameset is lost to a slower start of another host.
//!
//! A sender may be in another process than the one that starts the part. That one has an abstract Unix socket for each of these
//! crossings: it has no file, and ends with its process.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Maximum number of crossings of a run whose senders wait.
const CROSSINGS_MAX: usize = 256;

/// The sockets of each run.
static STARTING: Mutex<BTreeMap<String, Vec<UnixDatagram>>> = Mutex::new(BTreeMap::new());

fn starting() -> MutexGuard<'static, BTreeMap<String, Vec<UnixDatagram>>> {
    STARTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the name of the socket of a crossing. A key may be longer than a name.
fn address(key: &str) -> io::Result<SocketAddr> {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    SocketAddr::from_abstract_name(format!("camrig-starting-{:016x}", hasher.finish()))
}

/// Has the senders of these crossings of a run wait for their readers from now on.
pub(crate) fn begin(run: &str, keys: &[String]) {
    let open = |key: &String| match address(key).and_then(|address| UnixDatagram::bind_addr(&address)) {
        Ok(socket) => Some(socket),
        Err(error) => {
            log::warn!("`{key}` does not wait for its reader: {error}");
            None
        }
    };
    if keys.len() > CROSSINGS_MAX {
        log::warn!(
            "run `{run}`: {CROSSINGS_MAX} of {} crossings wait for their readers, the others do not",
            keys.len()
        );
    }
    let sockets: Vec<_> = keys.iter().take(CROSSINGS_MAX).filter_map(open).collect();
    if !sockets.is_empty() {
        starting().insert(run.to_owned(), sockets);
    }
}

/// Has the senders of a run wait no longer.
pub(crate) fn end(run: &str) {
    starting().remove(run);
}

/// Returns whether senders of a run wait.
pub(crate) fn contains(run: &str) -> bool {
    starting().contains_key(run)
}

/// Returns whether the sender of a crossing waits for its reader.
pub(super) fn awaits_reader(key: &str) -> bool {
    let connect = || UnixDatagram::unbound()?.connect_addr(&address(key)?);
    connect().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_of_a_run_wait_until_that_ends() {
        let keys = ["left", "right"].map(|actor| format!("camrig/a1-{}/{actor}/main", std::process::id()));
        begin("a1", &keys[..1]);
        assert!(awaits_reader(&keys[0]) && !awaits_reader(&keys[1]));
        assert!(contains("a1") && !contains("a2"));
        end("a1");
        assert!(!awaits_reader(&keys[0]) && !contains("a1"));
    }
}
