//! Attaching cameras to this machine's kernel: `vhci_hcd` takes over a connected socket.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

use crate::descriptors::Speed;
use crate::server::READY;

/// The virtual host controller in sysfs.
pub const CONTROLLER: &str = "/sys/devices/platform/vhci_hcd.0";

/// Status of a port to which nothing is attached.
const FREE: u32 = 4;

/// Polling interval of the ports.
const LOOK: Duration = Duration::from_millis(100);

/// Timeout for the emulator to report that a camera is plugged in.
const READY_TIMEOUT: Duration = Duration::from_secs(3600);

/// Keeps the camera at `address` attached, at first to the port with `index` among those of its speed: whenever the port is
/// free, it is attached again, to the port that the camera then names. Returns on an error only.
///
/// # Errors
/// If the kernel has no `vhci_hcd`, or its files are not accessible.
pub fn keep_attached(index: usize, address: SocketAddr, speed: Speed) -> io::Result<()> {
    let mut used = index;
    loop {
        if port(used, speed)?.status == FREE {
            match attach(address, index, speed) {
                Ok(port) => used = port,
                Err(error) => {
                    let _ = writeln!(io::stderr(), "camera {index} cannot be attached: {error}");
                }
            }
        }
        std::thread::sleep(LOOK);
    }
}

/// Reads the state of the port with `index` among those of `speed`.
fn port(index: usize, speed: Speed) -> io::Result<Port> {
    let status = fs::read_to_string(Path::new(CONTROLLER).join("status")).map_err(|error| {
        io::Error::new(error.kind(), format!("{CONTROLLER}/status: {error}; is the module vhci-hcd loaded?"))
    })?;
    port_of(&status, index, speed)
        .ok_or_else(|| io::Error::other(format!("{CONTROLLER} has no port {index} of this speed")))
}

/// Attaches a camera, and returns the index of the port that it named.
fn attach(address: SocketAddr, index: usize, speed: Speed) -> io::Result<usize> {
    let mut connection = TcpStream::connect(address)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(READY_TIMEOUT))?;
    let mut ready = [0; READY.len() + 1];
    connection.read_exact(&mut ready)?;
    let [first, second, named] = ready;
    if [first, second] != *READY {
        return Err(io::Error::other(format!("{address} is not an emulated camera")));
    }
    connection.set_read_timeout(None)?;
    let kernel_speed = if speed == Speed::Super { 5 } else { 3 };
    let device = (1 << 16) | (index as u32 + 2);
    let number = port(named.into(), speed)?.number;
    let line = format!("{number} {} {device} {kernel_speed}", connection.as_raw_fd());
    // The kernel keeps the socket; ours closes when this returns.
    fs::write(Path::new(CONTROLLER).join("attach"), line)?;
    Ok(named.into())
}

/// A port of the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Port {
    number: u32,
    status: u32,
}

/// Returns the port with `index` among those of `speed`, from the text of `status`.
fn port_of(status: &str, index: usize, speed: Speed) -> Option<Port> {
    let hub = if speed == Speed::Super { "ss" } else { "hs" };
    let mut ports = status.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == hub).then_some(())?;
        Some(Port { number: words.next()?.parse().ok()?, status: words.next()?.parse().ok()? })
    });
    ports.nth(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_found_by_their_hub() {
        let status = "hub port sta spd dev      sockfd local_busid\n\
                      hs  0000 004 000 00000000 000000 0-0\n\
                      hs  0001 006 003 00010002 000003 1-1\n\
                      ss  0008 004 000 00000000 000000 0-0\n\
                      ss  0009 006 005 00010003 000004 2-1\n";
        assert_eq!(port_of(status, 1, Speed::High), Some(Port { number: 1, status: 6 }));
        assert_eq!(port_of(status, 0, Speed::Super), Some(Port { number: 8, status: FREE }));
        assert_eq!(port_of(status, 2, Speed::Super), None);
    }
}
