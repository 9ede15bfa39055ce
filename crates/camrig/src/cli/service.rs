//! Notifications for the service manager of the system: that a rig has started, and that it still runs, as `sd_notify(3)`
//! describes.

use std::env;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::console::print_warning;
use crate::rig::RigHandle;
use crate::threads;

/// Name of the manager's socket; of an abstract one it begins with `@`.
const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";

/// The time without a watchdog notification after which the manager ends the program, in microseconds.
const WATCHDOG_VARIABLE: &str = "WATCHDOG_USEC";

/// Number of watchdog notifications within that time.
const NOTIFICATIONS: u32 = 3;

/// Minimum time between two of them.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// Notifies the service manager that the rig has started, and, as long as its supervisor answers, that it still runs. Does
/// nothing without a manager.
///
/// # Errors
/// When no thread can be started.
pub(super) fn tell(rig: RigHandle) -> io::Result<()> {
    let Some(name) = env::var_os(SOCKET_VARIABLE) else { return Ok(()) };
    let manager = Manager::at(&name).and_then(|manager| manager.say("READY=1").map(|()| manager));
    let manager = match manager {
        Ok(manager) => manager,
        Err(error) => {
            print_warning(format_args!("{SOCKET_VARIABLE} `{}`: {error}", name.display()));
            return Ok(());
        }
    };
    let Some(pause) = pause(env::var_os(WATCHDOG_VARIABLE)) else { return Ok(()) };
    threads::spawn("service", move || {
        while !rig.wait_timeout(pause) {
            // Waits for the supervisor: if it does not answer, no notification is sent.
            let _ = rig.status();
            // A manager that has ended gets none.
            let _ = manager.say("WATCHDOG=1");
        }
    })
}

/// Returns the time between two watchdog notifications; `None` if the manager expects none.
fn pause(watchdog: Option<OsString>) -> Option<Duration> {
    let micros = watchdog?.to_str()?.parse().ok().filter(|&micros| micros > 0)?;
    Some((Duration::from_micros(micros) / NOTIFICATIONS).max(PAUSE_MIN))
}

/// The socket of the service manager.
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

impl Manager {
    fn at(name: &std::ffi::OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'/', ..] => SocketAddr::from_pathname(name)?,
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => return Err(io::Error::new(ErrorKind::InvalidInput, "expected a path, or `@` and a name")),
        };
        Ok(Self { socket: UnixDatagram::unbound()?, address })
    }

    fn say(&self, text: &str) -> io::Result<()> {
        self.socket.send_to_addr(text.as_bytes(), &self.address).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifications_are_several_times_as_frequent_as_needed() {
        let pause = |text: &str| pause(Some(text.into()));
        assert_eq!(pause("30000000"), Some(Duration::from_secs(10)));
        assert_eq!(pause("1"), Some(PAUSE_MIN));
        assert_eq!((pause("0"), pause("soon"), super::pause(None)), (None, None, None));
    }
}
