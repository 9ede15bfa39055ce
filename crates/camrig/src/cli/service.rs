//! The service manager of the system: told that a rig runs, and that it still does, as `sd_notify(3)` describes.

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

/// The time without a sign of life after which the manager ends the program, in microseconds.
const WATCHDOG_VARIABLE: &str = "WATCHDOG_USEC";

/// Number of signs of life within that time.
const SIGNS: u32 = 3;

/// Minimum time between two of them.
const SIGN_MIN: Duration = Duration::from_millis(1);

/// Tells the service manager that the rig has started, and as long as its supervisor answers that it runs. Without a manager
/// it does nothing.
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
            // It waits for the supervisor. One that does not answer gives no sign of life.
            let _ = rig.status();
            // A manager that has ended is not served.
            let _ = manager.say("WATCHDOG=1");
        }
    })
}

/// Returns the time between two signs of life; `None` where the manager waits for none.
fn pause(watchdog: Option<OsString>) -> Option<Duration> {
    let micros = watchdog?.to_str()?.parse().ok().filter(|&micros| micros > 0)?;
    Some((Duration::from_micros(micros) / SIGNS).max(SIGN_MIN))
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
    fn signs_of_life_come_several_times_within_the_time() {
        let pause = |text: &str| pause(Some(text.into()));
        assert_eq!(pause("30000000"), Some(Duration::from_secs(10)));
        assert_eq!(pause("1"), Some(SIGN_MIN));
        assert_eq!((pause("0"), pause("soon"), super::pause(None)), (None, None, None));
    }
}
